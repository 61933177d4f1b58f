# SPDX-License-Identifier: ISC
"""Storage and networks that fail under a real guest, and resources that somebody else has: guests see I/O errors, clients
of the API named errors, and nobody dies."""

import errno
import json
import os
import re
import signal
import subprocess
import threading
import time

import fuse
import small
import vm
from suite import scenario

MIB = 1 << 20
DD_ERROR = r"I/O error"


def members(v):
    return {p: vm.executable(p) for p in vm.family(v.pid)}


def refused(t, what, v, body, *parts):
    """vm.boot answers 500 with a chain that holds @parts, and the VM is Created, its processes gone."""
    v.put("vm.create", body)
    status, text = v.request("PUT", "vm.boot", timeout=120)
    try:
        chain = ": ".join(json.loads(text))
    except (ValueError, TypeError):
        chain = text
    t.check(what, status == 500 and all(p in chain for p in parts), "%d %s" % (status, chain))
    t.equal(what + ": state", v.state(), "Created")
    v.put("vm.delete")


# --- images ------------------------------------------------------------------------------------------------------------


@scenario("storage that fails: EIO and ENOSPC in the middle")
def failing_storage(t):
    good = small.image("good.img", 8)
    with fuse.FaultyFile(8 * MIB) as f, vm.Cloister(["-v"], tty=True) as v:
        g = small.Guest(v, small.devices(disks=[{"path": f.path, "image_type": "Raw"}, {"path": good, "image_type": "Raw"}]))
        before = members(v)
        write = "dd if=/dev/zero of=/dev/vda bs=16k count=4 seek=%d oflag=direct"
        read = "dd if=/dev/vda of=/dev/null bs=16k count=4 skip=%d iflag=direct"
        other = ("dd if=/dev/urandom of=/dev/vdb bs=16k count=4 oflag=direct conv=fsync && "
                 "dd if=/dev/vdb of=/dev/null bs=16k count=4 iflag=direct")
        g.good(t, "works before", write % 0 + " && " + read % 0)
        for what, number in (("EIO", errno.EIO), ("ENOSPC", errno.ENOSPC)):
            f.fail("write", number, 1)
            g.bad(t, what + " once: one write fails", write % 4, DD_ERROR)
            g.good(t, what + " once: the next works", write % 8)
            f.fail("write", number)
            g.bad(t, what + " on every write: the guest sees I/O errors", write % 12, DD_ERROR)
            g.good(t, what + ": reads go on", read % 0)
            g.good(t, what + ": the other disk is not concerned", other)
            f.fail("write", None)
            g.good(t, what + " is over: writes work", write % 16)
        f.fail("read", errno.EIO)
        g.bad(t, "reads fail", read % 8, DD_ERROR)
        f.fail("read", None)
        g.good(t, "and work again", read % 8)
        f.fail("fsync", errno.EIO, 1)
        flush = "dd if=/dev/zero of=/dev/vda bs=4k count=1 seek=%d conv=fsync"
        g.bad(t, "a flush fails", flush % 32, DD_ERROR)
        g.bad(t, "then every later one, with storage that works again: no false durability", flush % 40, DD_ERROR)
        g.good(t, "until the device is reset", "cd /sys/bus/virtio/drivers/virtio_blk; "
               "n=$(basename $(readlink /sys/block/vda/device)); echo $n >unbind && echo $n >bind && cd / && " + flush % 48)
        t.check("the faults were met", f.hits >= 6, f.hits)
        g.good(t, "the other disk saw no error", "! dmesg | grep 'I/O error.*vdb'")
        t.equal("the same processes as before", members(v), before)
        t.equal("the VM runs", v.state(), "Running")
        small.end(t, v)


@scenario("storage that hangs")
def hanging_storage(t):
    good = small.image("good2.img", 8)
    with fuse.FaultyFile(8 * MIB) as f, vm.Cloister(["-v"], tty=True) as v:
        body = small.devices(disks=[{"path": f.path, "image_type": "Raw"}, {"path": good, "image_type": "Raw"}])
        g = small.Guest(v, body)
        f.hang()
        g.good(t, "a write hangs, the guest goes on",
               "(dd if=/dev/zero of=/dev/vda bs=4k count=1 oflag=direct; echo @late $?) & sleep 1")
        g.good(t, "the other disk works", "dd if=/dev/zero of=/dev/vdb bs=4k count=4 oflag=direct")
        t.equal("vmm.ping answers", v.request("GET", "vmm.ping")[0], 200)
        f.go_on()
        v.stdout.wait(r"^@late 0", 60)
        t.passed("it ends well when storage goes on")
        f.hang()
        g.start("dd if=/dev/zero of=/dev/vda bs=4k count=1 oflag=direct")
        time.sleep(1)                    # until it is under way; later is as good
        started = time.monotonic()
        v.put("vm.shutdown")
        t.check("vm.shutdown does not wait for it", time.monotonic() - started < 5, time.monotonic() - started)
        t.equal("state Created", v.state(), "Created")
        # What hangs in the kernel cannot be killed: the image stays its own until then.
        status, text = v.request("PUT", "vm.boot", timeout=60)
        t.check("the next boot is refused while the old helper hangs in the kernel", status == 500 and
                "has not ended after" in text, (status, text))
        t.equal("the API answers", v.request("GET", "vmm.ping")[0], 200)
        f.go_on()
        started = time.monotonic()
        while True:
            status, text = v.request("PUT", "vm.boot", timeout=60)
            if status == 204 or time.monotonic() - started > 30:
                break
            time.sleep(0.2)
        t.check("and works when it is over", status == 204, (status, text))
        g.wait_ready(2)
        g.good(t, "with its disk", "dd if=/dev/zero of=/dev/vda bs=4k count=1 oflag=direct")
        small.end(t, v)


@scenario("images truncated, removed and replaced underneath")
def images_underneath(t):
    paths = [small.image("under%d.img" % i, 8) for i in range(3)]
    with vm.Cloister(["-v"], tty=True) as v:
        g = small.Guest(v, small.devices(disks=[{"path": p, "image_type": "Raw"} for p in paths]))
        before = members(v)
        end = "dd if=/dev/%s of=/dev/null bs=4k count=1 skip=1800 iflag=direct"
        start = "dd if=/dev/%s of=/dev/null bs=4k count=1 iflag=direct"
        g.good(t, "all of them are read", " && ".join(end % d for d in ("vda", "vdb", "vdc")))
        os.truncate(paths[0], 4 * MIB)
        g.bad(t, "truncated: an I/O error beyond the new end", end % "vda", DD_ERROR)
        g.good(t, "and none before it", start % "vda")
        os.truncate(paths[0], 0)
        g.bad(t, "truncated to nothing: an I/O error", start % "vda", DD_ERROR)
        os.truncate(paths[0], 16 * MIB)
        g.good(t, "extended: it reads again", end % "vda")
        os.unlink(paths[1])
        g.good(t, "removed: no effect", "yes removed | head -c 4096 >/tmp/r; "
               "dd if=/tmp/r of=/dev/vdb bs=4k seek=1800 conv=fsync && "
               "echo 3 >/proc/sys/vm/drop_caches && dd if=/dev/vdb bs=4k skip=1800 count=1 iflag=direct | cmp - /tmp/r")
        with open(paths[2] + ".new", "wb") as f:
            f.truncate(MIB)
        os.rename(paths[2] + ".new", paths[2])
        g.good(t, "replaced by another: no effect", "dd if=/tmp/r of=/dev/vdc bs=4k seek=1800 conv=fsync && " + end % "vdc")
        t.equal("the other file is not touched", os.path.getsize(paths[2]), MIB)
        t.equal("the same processes as before", members(v), before)
        small.end(t, v)
    for p in paths[::2]:
        vm.remove_quietly(p)


@scenario("an image that is somebody else's")
def image_locked(t):
    path, other = small.image("locked.img", 8), small.image("locked2.img", 8)
    text = 'is in use: somebody else has a lock on it'
    with vm.Cloister(["-v"], tty=True) as v, vm.Cloister(["-v"]) as second:
        g = small.Guest(v, small.devices(disks=[{"path": path, "image_type": "Raw"}]))
        refused(t, "a second VM on the same image", second, small.devices(disks=[{"path": path}]),
                'disk "_disk0"', path, text)
        refused(t, "also to read it", second, small.devices(disks=[{"path": path, "readonly": True}]),
                'disk "_disk0"', path, "is in use: somebody else has a write lock on it")
        refused(t, "also as its second disk", second, small.devices(disks=[{"path": other}, {"path": path}]),
                'disk "_disk1"', text)
        os.kill(vm.member(v.pid, "cloister-blk"), signal.SIGKILL)
        refused(t, "also while its helper is dead", second, small.devices(disks=[{"path": path}]), text)
        small.wait_restart(v, "_disk0")
        refused(t, "and when that is back", second, small.devices(disks=[{"path": path}]), text)
        g.good(t, "whose guest reads and writes",
               "dd if=/dev/zero of=/dev/vda bs=4k count=4 conv=fsync && dd if=/dev/vda of=/dev/null bs=4k count=4")
        t.check("refusals left no helper", not {"cloister-blk", "cloister-rng"} & set(members(second).values()), members(second))
        v.put("vm.shutdown")
        second.put("vm.create", small.devices(disks=[{"path": path}]))
        status, answer = second.request("PUT", "vm.boot")
        t.check("free when the first VM is off", status == 204, (status, answer))
        refused_first = v.request("PUT", "vm.boot")
        t.check("then it is the first that is refused", refused_first[0] == 500 and text in refused_first[1], refused_first)
        second.put("vmm.shutdown")
        second.wait_exit(0)
        small.end(t, v)


@scenario("images that cannot be")
def bad_images(t):
    folder = os.path.join(vm.SCRATCH, "images")
    os.makedirs(folder, exist_ok=True)

    def made(name, size):
        path = os.path.join(folder, name)
        with open(path, "wb") as f:
            f.truncate(size)
        return path

    qcow = made("qcow", 4 * MIB)
    with open(qcow, "r+b") as f:
        f.write(b"QFI\xfb\0\0\0\3")
    os.mkfifo(os.path.join(folder, "fifo"))
    cases = (("missing", os.path.join(folder, "none"), "No such file or directory"),
             ("empty", made("empty", 0), "has 0 bytes, less than one sector"),
             ("of 511 bytes", made("511", 511), "has 511 bytes, less than one sector"),
             ("that is a directory", folder, "is a directory"),
             ("that is a pipe", os.path.join(folder, "fifo"), "neither a regular file nor a block device"),
             ("of a format not read yet", qcow, "image type Qcow2 is not supported"))
    with vm.Cloister(["-v"], tty=True) as v:
        for what, path, text in cases:
            refused(t, "an image " + what, v, small.devices(disks=[{"path": path}]), 'disk "_disk0"', text)
        g = small.Guest(v, small.devices(disks=[{"path": made("513", 4096 + 513)}]))
        text = g.good(t, "the odd bytes at the end of an image are not the guest's",
                      "cat /sys/block/vda/size; dd if=/dev/vda of=/dev/null bs=512")
        t.check("nine sectors", re.search(r"^9$", text, re.M), text)
        small.end(t, v)


# --- taps and sockets -----------------------------------------------------------------------------------------------------


def ip(*argv):
    subprocess.run(["ip", *argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


@scenario("taps that are busy or of another type")
def bad_taps(t):
    ip("tuntap", "add", "mode", "tun", "name", "atun0")
    ip("tuntap", "add", "mode", "tap", "name", "single0")
    ip("tuntap", "add", "mode", "tap", "multi_queue", "name", "multi0")
    try:
        with vm.Cloister(["-v"], tty=True) as v, vm.Cloister(["-v"]) as second:
            g = small.Guest(v, small.devices(net=[{"tap": "busy0"}]))

            def no(what, net, *parts):
                refused(t, what, second, small.devices(cpus=2, net=[net]), 'net "_net0"', *parts)
            no("a tap of another VM", {"tap": "busy0"}, 'tap "busy0"', "it is in use by another process")
            no("a tun", {"tap": "atun0"}, 'tap "atun0"', "it exists and is a tun interface: a tap is needed")
            no("something else", {"tap": "lo"}, 'tap "lo"', "it exists and is no tap")
            no("two queue pairs on a tap of one", {"tap": "single0", "num_queues": 4}, 'tap "single0"',
               "it exists without multi-queue, which 2 queue pairs need")
            no("one queue pair on a tap of many", {"tap": "multi0"}, 'tap "multi0"',
               "it exists with multi-queue: one queue pair needs a tap without")
            t.check("refusals left no helper", vm.member(second.pid, "cloister-net") is None and
                    vm.member(second.pid, "cloister-tap") is None, members(second))
            second.put("vm.create", small.devices(cpus=2, net=[{"tap": "multi0", "num_queues": 4}]))
            second.put("vm.boot")
            t.passed("two queue pairs on a tap of many")
            second.put("vm.delete")
            os.kill(vm.member(v.pid, "cloister-net"), signal.SIGKILL)
            small.wait_restart(v, "_net0")
            no("the tap of a VM whose helper died", {"tap": "busy0"}, "it is in use by another process")
            g.good(t, "the first VM has its card", "cat /sys/class/net/eth0/address")
            ip("link", "delete", "busy0")
            g.good(t, "its tap is deleted underneath: the guest lives",
                   "ip link set eth0 up; ping -c 1 -W 1 -I eth0 10.9.9.9; echo alive")
            t.equal("and the VM runs", v.state(), "Running")
            small.end(t, v)
            second.put("vmm.shutdown")
            second.wait_exit(0)
    finally:
        for name, mode in (("atun0", "tun"), ("single0", "tap")):
            ip("tuntap", "delete", "mode", mode, "name", name)
        ip("tuntap", "delete", "mode", "tap", "multi_queue", "name", "multi0")


def boot_quietly(v):
    try:
        v.request("PUT", "vm.boot", timeout=120)
    except OSError:
        pass                     # its end cut the connection


@scenario("sockets of back ends that are not there")
def bad_sockets(t):
    with vm.Cloister(["-v"]) as v:
        disk = {"vhost_user": True, "vhost_socket": os.path.join(v.folder, "none.sock")}
        v.put("vm.create", small.devices(shared=True, disks=[disk]))
        thread = threading.Thread(target=boot_quietly, args=(v,))
        thread.start()
        vm.wait_until(lambda: vm.member(v.pid, "cloister-rng"), 10, "the boot's other helpers")
        everyone = vm.family(v.pid)
        t.equal("while a boot looks for one, the API answers", v.request("GET", "vmm.ping")[0], 200)
        started = time.monotonic()
        v.process.terminate()
        v.wait_exit(0, 30)
        t.check("SIGTERM in the middle does not wait for it", time.monotonic() - started < 10, time.monotonic() - started)
        vm.wait_until(lambda: vm.gone(everyone), 5, "end of all processes")
        t.passed("and no process stays")
        thread.join(10)
    with vm.Cloister(["-v"]) as v:
        path = os.path.join(v.folder, "there.sock")
        with open(path, "w"):
            pass
        net = {"vhost_user": True, "vhost_socket": path, "vhost_mode": "Server"}
        refused(t, "a socket to listen on that exists", v, small.devices(shared=True, net=[net]),
                'net "_net0"', '"%s" exists' % path)
        v.put("vmm.shutdown")
        v.wait_exit(0)
