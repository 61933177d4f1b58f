# SPDX-License-Identifier: ISC
"""A whole Debian on a disk image, with systemd, a kernel of its own and the initrd that initramfs-tools makes for it.

The image is a file system without a partition table; root's password is PASSWORD. Made with mmdebstrap from the archive,
kept in the assets' cache under a hash of the recipe and the kernel's version.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile

import assets

PASSWORD = "cloister"
GUEST_ADDRESS, PREFIX = "192.168.249.2", 24
IMAGE_MIB = 1024

PACKAGES = ["systemd-sysv", "udev", "linux-image-cloud-amd64", "initramfs-tools", "zstd", "kmod", "login", "iproute2",
            "iputils-ping", "fio", "iperf3"]
# Nobody reads them in a test guest.
LEFT_OUT = ["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*"]
# What a test guest has no use for and would wait or run for.
MASKED = ["systemd-timesyncd.service", "systemd-networkd-wait-online.service", "apt-daily.timer", "apt-daily-upgrade.timer",
          "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "getty@tty1.service",
          "getty-static.service", "systemd-pstore.service"]
FILES = {
    "etc/hostname": "guest\n",
    "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
    "etc/systemd/network/10-test.network":
        "[Match]\nType=ether\n[Network]\nAddress=%s/%d\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n" % (GUEST_ADDRESS, PREFIX),
    # Their self-tests take half a minute under emulation, and warn of it.
    "etc/modprobe.d/10-test.conf": "".join("blacklist %s\n" % m for m in (
        "aesni_intel", "ghash_clmulni_intel", "sha512_ssse3", "sha256_ssse3", "sha1_ssse3", "crc32_pclmul", "crct10dif_pclmul")),
    "etc/systemd/journald.conf.d/10-test.conf": "[Journal]\nStorage=volatile\n",
    # The prompt says that the machine is up; nothing else is printed there.
    "etc/issue": "Debian test guest \\n \\l\n\n",
}


# The console is a module of Debian's kernel: in the initrd, so that it is one from the beginning.
CONSOLE_HOOK = ("mkdir -p \"$1/usr/share/initramfs-tools/modules.d\" && "
                "echo virtio_console >\"$1/usr/share/initramfs-tools/modules.d/console\"")


def recipe_hash(kernel):
    text = repr((CONSOLE_HOOK, PASSWORD, GUEST_ADDRESS, PREFIX, IMAGE_MIB, PACKAGES, LEFT_OUT, MASKED, sorted(FILES.items()), kernel))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def bootstrap(root):
    argv = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=" + ",".join(PACKAGES),
            "--aptopt=Apt::Install-Recommends \"false\"", "--customize-hook=echo root:%s | chroot \"$1\" chpasswd" % PASSWORD,
            "--essential-hook=" + CONSOLE_HOOK,
            "--customize-hook=chroot \"$1\" systemctl -q enable systemd-networkd.service serial-getty@hvc0.service",
            "--customize-hook=chroot \"$1\" systemctl -q mask " + " ".join(MASKED)]
    argv += ["--dpkgopt=path-exclude=" + p for p in LEFT_OUT] + ["bookworm", root]
    assets.run(argv)
    for name, body in FILES.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(body)


def boot_file(root, prefix):
    names = [n for n in os.listdir(os.path.join(root, "boot")) if n.startswith(prefix)]
    if len(names) != 1:
        raise assets.AssetError("the new system has %r in /boot, not one %s..." % (names, prefix))
    return os.path.join(root, "boot", names[0])


def build(dest):
    assets.say("making a Debian disk image (a minute or two)")
    os.mkdir(dest)
    # Device nodes and set-uid files have no place below a home directory's mount options.
    work = tempfile.mkdtemp(prefix="cloister-debian.")
    os.chmod(work, 0o755)
    root = os.path.join(work, "root")
    try:
        bootstrap(root)
        shutil.copyfile(boot_file(root, "vmlinuz-"), os.path.join(dest, "vmlinuz"))
        shutil.copyfile(boot_file(root, "initrd.img-"), os.path.join(dest, "initrd"))
        image = os.path.join(dest, "root.img")
        assets.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-d", root, image, "%dM" % IMAGE_MIB])
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", work], stdin=subprocess.DEVNULL)


def fill():
    """{"debian_image": ..., "debian_kernel": ..., "debian_initrd": ...}"""
    found = assets.resolve_meta("linux-image-cloud-amd64")
    folder = assets.cached("debian_") if found is None else None
    if folder is None:
        folder = assets.entry("debian_" + recipe_hash(found), build)
    return {"debian_image": os.path.join(folder, "root.img"), "debian_kernel": os.path.join(folder, "vmlinuz"),
            "debian_initrd": os.path.join(folder, "initrd")}
