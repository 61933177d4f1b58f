# SPDX-License-Identifier: ISC
"""What the lab is made of, fetched from Debian and kept in a cache.

The cache is ${CLOISTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cloister}. Every entry is keyed by the
version of the package it comes from (or by a hash of what went into it), made under a temporary name
and renamed when whole, so that two runs at once and a run killed half way do no harm. Packages are
downloaded and unpacked, never installed.
"""

import gzip
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))

# Modules of the lab host's initramfs: what it takes to reach its root file system and the command channel.
L1_BOOT_MODULES = ["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"]

# ... and what the agent loads then: KVM, disks, taps.
L1_MODULES = ["kvm_amd", "virtio_blk", "ext4", "tun"]
# Drivers of a guest's devices, in the initramfs of guests that have some.
GUEST_MODULES = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng"]

# Parts of a kernel package that no lab needs; they are two thirds of its size.
PRUNE = ["sound", "drivers/gpu", "drivers/media", "drivers/infiniband", "drivers/staging", "drivers/usb/gadget",
         "drivers/net/wireless", "drivers/net/ethernet", "drivers/isdn", "drivers/scsi", "drivers/iio"]


class AssetError(Exception):
    pass


def say(text):
    print("# " + text, file=sys.stderr, flush=True)


def cache_dir():
    path = os.environ.get("CLOISTER_CACHE")
    if not path:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        path = os.path.join(base, "cloister")
    path = os.path.abspath(path)
    os.makedirs(path, exist_ok=True)
    return path


def entry(name, build):
    """The cache entry @name; build(path) makes it when it is missing (path does not exist yet)."""
    cache = cache_dir()
    final = os.path.join(cache, name)
    if os.path.exists(final):
        return final
    sweep(cache)
    work = tempfile.mkdtemp(prefix="tmp.", dir=cache)
    try:
        made = os.path.join(work, "made")
        build(made)
        try:
            os.rename(made, final)
        except OSError:
            if not os.path.exists(final):      # else somebody else was faster: theirs is as good
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return final


def sweep(cache):
    """Remove what killed runs left under temporary names more than a day ago."""
    for name in os.listdir(cache):
        path = os.path.join(cache, name)
        if name.startswith("tmp.") and time.time() - os.lstat(path).st_mtime > 86400:
            shutil.rmtree(path, ignore_errors=True)


def run(argv, **kw):
    r = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)
    if r.returncode != 0:
        raise AssetError("%s: exit status %d: %s" % (" ".join(argv[:3]), r.returncode,
                                                     r.stderr.decode(errors="replace").strip()[-400:]))
    return r.stdout


# --- Debian packages ---------------------------------------------------------------------------------------------

PACKAGES = ["linux-image-amd64", "linux-image-cloud-amd64", "busybox-static"]
_records = None
_updated = False


def apt_record(package):
    """What the package lists say of @package now: {field: value}, or None. One apt-cache call serves all."""
    global _records
    if _records is None:
        _records = {}
        r = subprocess.run(["apt-cache", "show", "--no-all-versions"] + PACKAGES, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for block in r.stdout.decode(errors="replace").split("\n\n"):
            fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", block, re.M))
            if "Package" in fields:
                _records.setdefault(fields["Package"], fields)
    return _records.get(package)


def apt_update():
    """Once a run, and only as root: package lists that are missing or too old."""
    global _updated, _records
    if _updated or os.geteuid() != 0:
        return False
    _updated, _records = True, None
    say("apt-get update (package lists are missing or out of date)")
    subprocess.run(["apt-get", "-q", "update"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return True


def apt_download(package, version, folder):
    argv = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", "%s=%s" % (package, version)]
    run(argv, cwd=folder)
    debs = [f for f in os.listdir(folder) if f.endswith(".deb")]
    if len(debs) != 1:
        raise AssetError("apt-get download %s left %r" % (package, debs))
    return os.path.join(folder, debs[0])


def unpack(package, version, dest):
    say("fetching %s %s" % (package, version))
    folder = os.path.join(os.path.dirname(dest), "deb")
    os.mkdir(folder)
    deb = apt_download(package, version, folder)
    run(["dpkg-deb", "-x", deb, dest])
    os.chmod(dest, 0o755)


def cached(prefix):
    """The newest cache entry whose name starts with @prefix, for a machine that has no package lists."""
    names = [n for n in os.listdir(cache_dir()) if n.startswith(prefix)]
    names.sort(key=lambda n: os.stat(os.path.join(cache_dir(), n)).st_mtime)
    return os.path.join(cache_dir(), names[-1]) if names else None


def package_entry(prefix, resolve, build):
    """resolve() says (package, version) or None; build(package, version, dest) makes the entry."""
    for attempt in range(2):
        found = resolve()
        if found is None:
            have = cached(prefix)
            if have:
                return have
            if not apt_update():
                break
            continue
        package, version = found
        name = "%s%s" % (prefix, version.replace(":", "."))
        try:
            return entry(name, lambda dest: build(package, version, dest))
        except AssetError as e:
            # Lists name a version that the archive has replaced since: ask again, once.
            if attempt or not apt_update():
                raise
            say(str(e))
    raise AssetError("no package found for %s (is apt set up, and `apt-get update` done?)" % prefix)


def resolve_meta(meta):
    """linux-image-amd64 and its like are empty and depend on the real package."""
    m = re.search(r"(linux-image-[0-9][^ ,]*) \(= ([^)]+)\)", (apt_record(meta) or {}).get("Depends", ""))
    return (m.group(1), m.group(2)) if m else None


def resolve_plain(package):
    record = apt_record(package)
    return (package, record["Version"]) if record else None


# --- kernels -------------------------------------------------------------------------------------------------------

def build_kernel(package, version, dest):
    unpack(package, version, dest)
    release = package[len("linux-image-"):]
    modules = os.path.join(dest, "lib/modules", release)
    for part in PRUNE:
        shutil.rmtree(os.path.join(modules, "kernel", part), ignore_errors=True)
    run(["depmod", "-b", dest, release])
    with open(os.path.join(dest, "vmlinux"), "wb") as f:
        f.write(extract_vmlinux(os.path.join(dest, "boot/vmlinuz-" + release)))
    os.symlink("boot/vmlinuz-" + release, os.path.join(dest, "bzImage"))
    with open(os.path.join(dest, "release"), "w") as f:
        f.write(release + "\n")


def extract_vmlinux(path):
    """The ELF kernel inside a bzImage (Linux x86 boot protocol 2.08: payload_offset, payload_length)."""
    with open(path, "rb") as f:
        image = f.read()
    if image[0x202:0x206] != b"HdrS":
        raise AssetError("%s is not a bzImage" % path)
    word = lambda off: int.from_bytes(image[off:off + 4], "little")
    setup_sects = image[0x1f1] or 4
    start = (setup_sects + 1) * 512 + word(0x248)
    payload = image[start:start + word(0x24c)]
    size = int.from_bytes(payload[-4:], "little")
    elf = decompress(payload)
    if elf[:4] != b"\x7fELF" or len(elf) != size:
        raise AssetError("%s: the payload is not an ELF file of %d bytes" % (path, size))
    return elf


def decompress(payload):
    # The kernel's build appends the size of the contents to every payload.
    body = payload[:-4]
    if payload.startswith(b"\x1f\x8b"):
        return gzip.decompress(body)
    if payload.startswith(b"\xfd7zXZ"):
        return lzma.LZMADecompressor().decompress(body)
    for magic, tool in ((b"\x02\x21\x4c\x18", "lz4"), (b"\x28\xb5\x2f\xfd", "zstd")):
        if payload.startswith(magic):
            r = subprocess.run([tool, "-dc"], input=body, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            if r.returncode != 0:
                raise AssetError("%s: %s" % (tool, r.stderr.decode(errors="replace").strip()))
            return r.stdout
    raise AssetError("unknown payload compression: %s" % payload[:6].hex())


class Kernel:
    """An unpacked kernel package: .bzimage, .vmlinux (both boot), .modules (for /lib/modules), .release."""

    def __init__(self, meta):
        self.root = package_entry(meta + "_", lambda: resolve_meta(meta), build_kernel)
        self.bzimage = os.path.join(self.root, "bzImage")
        self.vmlinux = os.path.join(self.root, "vmlinux")
        self.modules = os.path.join(self.root, "lib/modules")
        with open(os.path.join(self.root, "release")) as f:
            self.release = f.read().strip()

    def module_files(self, names):
        """Paths below .modules of @names and all they need, each after what it needs; built-in ones left out."""
        base = os.path.join(self.modules, self.release)
        deps, by_name = {}, {}
        with open(os.path.join(base, "modules.dep")) as f:
            for line in f:
                path, _, rest = line.partition(":")
                deps[path] = rest.split()
                by_name[os.path.basename(path).split(".")[0].replace("-", "_")] = path
        with open(os.path.join(base, "modules.builtin")) as f:
            builtin = {os.path.basename(line.strip()).split(".")[0].replace("-", "_") for line in f}
        order = []
        for name in names:
            if name not in by_name:
                if name not in builtin:
                    raise AssetError("kernel %s has no module %s" % (self.release, name))
                continue
            # modules.dep lists the nearest need first and the farthest last.
            for path in list(reversed(deps[by_name[name]])) + [by_name[name]]:
                if path not in order:
                    order.append(path)
        return [os.path.join(self.release, p) for p in order]


def l1_kernel():
    return Kernel("linux-image-amd64")


def guest_kernel():
    return Kernel("linux-image-cloud-amd64")


def busybox():
    root = package_entry("busybox-static_", lambda: resolve_plain("busybox-static"), unpack)
    for path in ("bin/busybox", "usr/bin/busybox"):
        if os.path.isfile(os.path.join(root, path)):
            return os.path.join(root, path)
    raise AssetError("busybox-static has no busybox")


# --- initramfs images ------------------------------------------------------------------------------------------------

class Cpio:
    """An archive in the "newc" form that the kernel unpacks; made without root and without the cpio tool."""

    def __init__(self):
        self.data = bytearray()
        self.ino = 1

    def add(self, name, mode, body=b"", rdev=(0, 0)):
        head = [0x070701, self.ino, mode, 0, 0, 1, 0, len(body), 0, 0, rdev[0], rdev[1], len(name) + 1, 0]
        self.data += b"%06x" % head[0] + b"".join(b"%08x" % h for h in head[1:]) + name.encode() + b"\0"
        self.pad()
        self.data += body
        self.pad()
        self.ino += 1

    def pad(self):
        self.data += bytes(-len(self.data) % 4)

    def folder(self, name):
        self.add(name, 0o040755)

    def file(self, name, body, mode=0o755):
        self.add(name, 0o100000 | mode, body)

    def finish(self):
        self.add("TRAILER!!!", 0)
        self.data += bytes(-len(self.data) % 512)
        return bytes(self.data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def image_entry(name, data):
    """Keep @data under its hash."""
    def build(dest):
        with open(dest, "wb") as f:
            f.write(data)
    return entry("%s_%s.cpio" % (name, hashlib.sha256(data).hexdigest()[:16]), build)


def base_image(init):
    c = Cpio()
    for d in ("bin", "dev", "proc", "sys", "lib", "newroot", "run", "tmp"):
        c.folder(d)
    c.add("dev/console", 0o020600, rdev=(5, 1))
    c.add("dev/null", 0o020666, rdev=(1, 3))
    c.file("bin/busybox", read(busybox()))
    c.add("bin/sh", 0o120777, b"busybox")
    c.file("init", read(os.path.join(HERE, init)))
    return c


def add_modules(c, kernel, names):
    """Modules below /lib, and in /lib/order the order in which they are loaded."""
    listing = []
    for path in kernel.module_files(names):
        name = "lib/%02d-%s" % (len(listing), os.path.basename(path))
        c.file(name, read(os.path.join(kernel.modules, path)), 0o644)
        listing.append("/" + name)
    c.file("lib/order", ("\n".join(listing) + "\n").encode(), 0o644)


def l1_initramfs(kernel):
    c = base_image("l1_init.sh")
    add_modules(c, kernel, L1_BOOT_MODULES)
    return image_entry("l1-initramfs", c.finish())


def guest_initramfs():
    return image_entry("guest-initramfs", base_image("guest_init.sh").finish())


def device_initramfs(kernel):
    """The same with the drivers of virtio devices."""
    c = base_image("guest_init.sh")
    add_modules(c, kernel, GUEST_MODULES)
    return image_entry("device-initramfs", c.finish())


def fill():
    """Everything the lab needs; returns it as a dictionary of paths."""
    l1, guest = l1_kernel(), guest_kernel()
    return {
        "l1_kernel": l1.vmlinux, "l1_initramfs": l1_initramfs(l1), "l1_modules": l1.modules,
        "bzimage": guest.bzimage, "vmlinux": guest.vmlinux, "initramfs": guest_initramfs(),
        "device_initramfs": device_initramfs(guest), "release": guest.release,
    }
