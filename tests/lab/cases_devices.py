# SPDX-License-Identifier: ISC
"""Disks, networks, consoles and entropy of real guests: a whole Debian from its disk image, and the small guest with drivers."""

import json
import os
import re
import signal
import subprocess
import time

import debian
import vm
from suite import ASSETS, config, scenario

MIB = 1 << 20
HELLO = r"^Hello from the guest: .*$"
HOST_ADDRESS = "192.168.249.1"
DEBIAN_DISK = "/dev/vdb"         # of the lab host
PROMPT = r"root@guest:~# $"


def scratch(name, size_mib):
    """A sparse image on the lab host's scratch disk."""
    path = os.path.join(vm.SCRATCH, name)
    vm.remove_quietly(path)
    with open(path, "wb") as f:
        f.truncate(size_mib * MIB)
    return path


def device_config(test, **more):
    c = config("devices," + test, serial={"mode": "Tty"})
    c["payload"]["initramfs"] = ASSETS["device_initramfs"]
    c.update(more)
    return c


class Shell:
    """A root shell on the guest's console, behind its login prompt."""

    def __init__(self, v, seconds=600):
        self.v, self.count = v, 0
        v.stdout.wait(r"guest login: ", seconds)
        v.type(b"root\n")
        v.stdout.wait(r"Password: ", 120)
        v.type(debian.PASSWORD.encode() + b"\n")
        v.stdout.wait(PROMPT, 120)
        # A dumb terminal: no echo, no escape sequences around each line.
        v.type(b"bind 'set enable-bracketed-paste off'; stty -echo; PS1=; dmesg -n 1; echo; echo @quiet\n")
        v.stdout.wait(r"^@quiet$", 120)

    def run(self, command, seconds=300):
        """(exit status, output)"""
        self.count += 1
        start = len(self.v.stdout.text())        # quiet: nothing but answers comes
        self.v.type(("%s; echo \"@rc=$?@%d\"\n" % (command, self.count)).encode())
        mark = re.compile(r"^@rc=(\d+)@%d$" % self.count, re.M)
        found = vm.wait_until(lambda: mark.search(self.v.stdout.text(), start), seconds,
                              lambda: "the end of %r; output ends %r" % (command, self.v.stdout.text()[-400:]))
        return int(found.group(1)), self.v.stdout.text()[start:found.start()]


def good(t, what, shell, command, seconds=300):
    status, text = shell.run(command, seconds)
    t.check(what, status == 0, "exit status %d\n%s" % (status, text[-1500:]))
    return text


def debian_config(cpus=1, disks=(), **more):
    c = {
        "cpus": {"boot_vcpus": cpus, "max_vcpus": cpus}, "memory": {"size": 512 * MIB},
        "payload": {"kernel": ASSETS["debian_kernel"], "initramfs": ASSETS["debian_initrd"],
                    "cmdline": "console=ttyS0 console=hvc0 root=/dev/vda quiet systemd.show_status=false"},
        "disks": [{"path": DEBIAN_DISK, "image_type": "Raw"}] + list(disks),   # no partitions: sector 0 is the file system's
        "net": [{"tap": "debian0", "ip": HOST_ADDRESS, "mask": "255.255.255.0"}],
        "console": {"mode": "Tty"},
    }
    c.update(more)
    return c


def iperf_server():
    return subprocess.Popen(["iperf3", "-s", "-1", "-B", HOST_ADDRESS], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)


def network(t, shell):
    good(t, "the guest reaches the host", shell, "ping -c 3 -i 0.3 -w 60 %s" % HOST_ADDRESS)
    r = subprocess.run(["ping", "-c", "3", "-i", "0.3", "-w", "60", debian.GUEST_ADDRESS], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    t.check("the host reaches the guest", r.returncode == 0, r.stdout.decode())
    for way, flag in (("to", ""), ("from", " -R")):
        with iperf_server() as server:
            try:
                text = good(t, "iperf3 %s the host" % way, shell, "iperf3 -c %s -t 2%s -J" % (HOST_ADDRESS, flag), 120)
                result = json.loads(text[text.index("{"):text.rindex("}") + 1])
                t.check("iperf3 %s the host moves data" % way, result["end"]["sum_received"]["bytes"] > 100000, text[-800:])
            except ValueError:
                t.check("iperf3 %s the host says JSON" % way, False, text[-800:])
            finally:
                server.kill()


def verify(name, device, direct, more=""):
    """Random writes of many sizes, read back and checked by checksum."""
    return ("fio --name=%s --filename=%s --rw=randwrite --bsrange=4k-64k --size=8M --verify=crc32c --verify_fatal=1 --ioengine=libaio "
            "--iodepth=16 --direct=%d --randseed=7 --output-format=terse %s" % (name, device, direct, more))


@scenario("Debian from its disk: login, disks with fio, network, entropy")
def whole_debian(t):
    """4 CPUs; four more disks: one queue and four, through the host's page cache and past it."""
    disks = [{"path": scratch("fio%d.img" % i, 64), "num_queues": queues, "direct": direct, "image_type": "Raw"}
             for i, (queues, direct) in enumerate(((1, False), (1, True), (4, False), (4, True)))]
    with vm.Cloister(tty=True) as v:
        v.curl("vm.create", body=debian_config(4, disks))
        v.curl("vm.boot")
        shell = Shell(v)
        t.passed("boots to a login prompt on hvc0, and root can log in")
        text = good(t, "the root file system is the disk", shell, "findmnt -no SOURCE,FSTYPE,OPTIONS /; cat /sys/block/vda/size")
        t.check("which is vda with ext4, to be written", re.search(r"/dev/vda +ext4 +rw", text), text)
        text = good(t, "the entropy device feeds /dev/hwrng", shell,
                    "cat /sys/class/misc/hw_random/rng_current; dd if=/dev/hwrng bs=64 count=4 2>/dev/null | wc -c")
        t.check("and is the virtio one", "virtio_rng" in text and "256" in text, text)
        network(t, shell)
        for i, disk in enumerate(disks):
            device = "/dev/vd" + "bcde"[i]
            what = "fio --verify, %d queue(s), direct %s" % (disk["num_queues"], "on" if disk["direct"] else "off")
            text = good(t, what, shell, "cat /sys/block/%s/mq/*/cpu_list | wc -l; %s" % (device[5:], verify("v%d" % i, device, i % 2)), 600)
            t.check(what + ": as many queues", re.search(r"^%d$" % disk["num_queues"], text, re.M), text[:200])
        counters = json.loads(v.curl("vm.counters", "GET", want=200))
        ids = [d["id"] for d in v.info()["config"]["disks"]]
        t.check("vm.counters saw the writes", counters[ids[1]]["write_bytes"] >= 8 * MIB, counters)
        good(t, "no I/O error in the log", shell, "! dmesg | grep -iE 'i/o error|blk_update_request|buffer i/o'")
        v.type(b"poweroff\n")
        v.wait_exit(0, 300)
        t.passed("powers off with status 0")


# --- what vm.info and vm.counters say -----------------------------------------------------------------------------------

BLK_COUNTERS = ["read_bytes", "write_bytes", "read_ops", "write_ops", "read_latency_min", "read_latency_max", "read_latency_avg",
                "write_latency_min", "write_latency_max", "write_latency_avg"]
NET_COUNTERS = ["rx_bytes", "rx_frames", "tx_bytes", "tx_frames"]


def virtio_nodes(tree, ident, bdf, kind):
    node, wrapper = tree.get(ident), tree.get("_virtio-pci-" + ident)
    if node != {"id": ident, "resources": [], "parent": "_virtio-pci-" + ident, "children": []} or wrapper is None:
        return False
    bars = wrapper.pop("resources")
    bar = bars[0]["PciBar"] if len(bars) == 1 else {}
    return (wrapper == {"id": "_virtio-pci-" + ident, "children": [ident], "pci_bdf": bdf} and
            list(bar) == ["index", "base", "size", "type_", "prefetchable"] and
            (bar["index"], bar["size"], bar["type_"], bar["prefetchable"]) == (0, 524288, kind, False))


@scenario("vm.info and vm.counters of a guest with devices")
def info_and_counters(t):
    disk = scratch("info.img", 16)
    c = device_config("serve", disks=[{"path": disk}], net=[{"tap": "info0"}], console={"mode": "Null"})
    c["serial"] = {"mode": "Tty"}
    with vm.Cloister(tty=True) as v:
        v.curl("vm.create", body=c)
        v.curl("vm.boot")
        v.stdout.wait(r"^@devices-done")
        info = v.info()
        cfg, tree = info["config"], info["device_tree"]
        t.equal("the disk's entry", cfg["disks"], [{
            "id": "_disk0", "pci_segment": 0, "path": disk, "readonly": False, "direct": False, "num_queues": 1, "queue_size": 128,
            "vhost_user": False, "disable_io_uring": False, "disable_aio": False, "backing_files": False, "sparse": True,
            "image_type": "Raw", "lock_granularity": "ByteRange"}])
        mac = cfg["net"][0].pop("mac", "")
        t.check("a MAC address was made up", re.match(r"^2e(:[0-9a-f]{2}){5}$", mac), mac)
        t.equal("the network's entry", cfg["net"], [{
            "id": "_net1", "pci_segment": 0, "tap": "info0", "num_queues": 2, "queue_size": 256, "vhost_user": False,
            "vhost_mode": "Client", "offload_tso": True, "offload_ufo": True, "offload_csum": True}])
        t.equal("the entropy device's", cfg["rng"], {"pci_segment": 0, "src": "/dev/urandom"})
        t.equal("ten nodes", len(tree), 10)
        for ident, bdf, kind in (("__console", "0000:00:01.0", "Mmio64"), ("_disk0", "0000:00:02.0", "Mmio32"),
                                 ("_net1", "0000:00:03.0", "Mmio64"), ("__rng", "0000:00:04.0", "Mmio64")):
            t.check("nodes of %s" % ident, virtio_nodes(tree, ident, bdf, kind), tree)
        counters = json.loads(v.curl("vm.counters", "GET", want=200))
        t.equal("counters' names", {k: list(x) for k, x in counters.items()}, {"_disk0": BLK_COUNTERS, "_net1": NET_COUNTERS})
        t.equal("no write yet: latency as documented", [counters["_disk0"]["write_latency_" + x] for x in ("min", "max", "avg")],
                [18446744073709551615, 18446744073709551615, 1844674407370955])
        v.type(b"sh dd if=/dev/urandom of=/dev/vda bs=64k count=16 seek=16 conv=fsync\n")
        v.stdout.wait(r"^@done sh")
        after = json.loads(v.curl("vm.counters", "GET", want=200))["_disk0"]
        t.check("a mebibyte was written", after["write_bytes"] == MIB and after["write_ops"] >= 2, after)
        t.check("with a latency", after["write_latency_min"] <= after["write_latency_avg"] <= after["write_latency_max"] < 1 << 40, after)
        v.curl("vmm.shutdown")
        v.wait_exit(0)


@scenario("the API document's example")
def document_example(t):
    """As printed there, with the paths of this lab."""
    image = scratch("example.img", 32)
    with vm.Cloister(tty=True) as v:
        body = """{
         "cpus":{"boot_vcpus": 4, "max_vcpus": 4},
         "payload":{"kernel":"%s", "initramfs":"%s", "cmdline":"console=ttyS0 console=hvc0 root=/dev/vda1 rw quiet cloister.test=devices,hvc,serve"},
         "disks":[{"path":"%s"}],
         "rng":{"src":"/dev/urandom"},
         "net":[{"ip":"192.168.10.10", "mask":"255.255.255.0", "mac":"12:34:56:78:90:01"}]
         }""" % (ASSETS["vmlinux"], ASSETS["device_initramfs"], image)
        r = subprocess.run(["curl", "--unix-socket", v.api_path, "-i", "-sS", "-X", "PUT", "http://localhost/api/v1/vm.create",
                            "-H", "Accept: application/json", "-H", "Content-Type: application/json", "-d", body],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60)
        t.check("vm.create", r.stdout.startswith(b"HTTP/1.1 204 \r\n"), r.stdout)
        v.curl("vm.boot")
        taps = subprocess.run(["ip", "-br", "addr"], stdout=subprocess.PIPE).stdout.decode()
        t.check("a tap with that address", re.search(r"^vmtap\d+ .*192\.168\.10\.10/24", taps, re.M), taps)
        v.stdout.wait(r"^@ready", 300)
        t.passed("the guest speaks on hvc0")
        v.type(b"sh cat /sys/class/net/eth0/address /sys/block/vda/size /sys/class/misc/hw_random/rng_available\n")
        v.stdout.wait(r"^@done sh")
        t.check("disk, net and rng are there", re.search(r"^12:34:56:78:90:01\n65536\n.*virtio_rng", v.stdout.text(), re.M), v.stdout.text)
        v.curl("vm.shutdown")
        t.equal("state Created", v.state(), "Created")
        taps = subprocess.run(["ip", "-br", "addr"], stdout=subprocess.PIPE).stdout.decode()
        t.check("the tap is gone", "192.168.10.10" not in taps, taps)
        v.curl("vmm.shutdown")
        v.wait_exit(0)


# --- reboots, without growth ---------------------------------------------------------------------------------------------

def weight(pid):
    """{program: (processes, descriptors, KiB of its own memory)} of a VM's family."""
    out = {}
    for p in vm.family(pid):
        try:
            with open("/proc/%d/smaps_rollup" % p) as f:
                private = int(re.search(r"^Anonymous: +(\d+) kB", f.read(), re.M).group(1))
            fds = len(os.listdir("/proc/%d/fd" % p))
        except OSError:
            continue
        name = vm.executable(p)
        n, d, k = out.get(name, (0, 0, 0))
        out[name] = (n + 1, d + fds, k + private)
    return out


@scenario("reboot x 20 in one process, without growth")
def many_reboots(t):
    disk = scratch("reboot.img", 16)
    c = device_config("serve", disks=[{"path": disk}], net=[{"tap": "again0"}], console={"mode": "Null"})
    with vm.Cloister(tty=True) as v:
        v.put("vm.create", c)
        v.put("vm.boot")
        weights = []
        for n in range(1, 21):
            v.stdout.wait(r"^@ready", count=n)
            weights.append(weight(v.pid))
            v.type(b"reboot\n")
        v.stdout.wait(r"^@ready", count=21)
        t.passed("comes up again 20 times")
        last = weight(v.pid)
        t.equal("the same processes", {k: x[0] for k, x in last.items()}, {k: x[0] for k, x in weights[2].items()})
        t.equal("the same descriptors", {k: x[1] for k, x in last.items()}, {k: x[1] for k, x in weights[2].items()})
        # What grows with each boot would be 17 times itself.
        grown = {k: x[2] - weights[2][k][2] for k, x in last.items() if k in weights[2]}
        t.check("no memory that grows", all(x < 128 for x in grown.values()), grown)
        v.put("vmm.shutdown")
        v.wait_exit(0)


# --- helpers that die ------------------------------------------------------------------------------------------------------

@scenario("helpers killed under load, seen by a Debian guest")
def killed_helpers(t):
    disk = scratch("kill.img", 64)
    with vm.Cloister(["-v"], tty=True) as v:
        v.put("vm.create", debian_config(1, [{"path": disk, "image_type": "Raw"}]))
        v.put("vm.boot")
        shell = Shell(v)
        pids = {p: vm.executable(p) for p in vm.family(v.pid)}
        victims = [p for p, name in pids.items() if name in ("cloister-blk", "cloister-net", "cloister-rng")]
        t.check("two disk helpers, one for net, one for rng", len(victims) == 4, pids)
        shell.run("ping -i 0.2 %s >/tmp/ping.txt 2>&1 & (%s; echo $? >/tmp/fio.rc) >/tmp/fio.txt 2>&1 & true" % (
            HOST_ADDRESS, verify("k", "/dev/vdb", 1, "--loops=4")))
        for round_ in range(3):
            time.sleep(2)
            for p in [p for p in vm.family(v.pid) if vm.executable(p) in ("cloister-blk", "cloister-net", "cloister-rng")]:
                os.kill(p, signal.SIGKILL)
            vm.wait_until(lambda: len([p for p in vm.family(v.pid) if vm.executable(p) == "cloister-blk"]) == 2, 20, "successors")
        status, text = shell.run("while [ ! -s /tmp/fio.rc ]; do sleep 1; done; cat /tmp/fio.rc; tail -5 /tmp/fio.txt", 600)
        t.check("fio --verify is content", re.search(r"^0$", text, re.M), text)
        good(t, "no I/O error was seen", shell, "! dmesg | grep -iE 'i/o error|blk_update_request|remounting filesystem'")
        good(t, "the network works", shell, "ping -c 3 -i 0.3 -w 60 %s" % HOST_ADDRESS)
        good(t, "entropy comes", shell, "dd if=/dev/hwrng bs=64 count=4 of=/dev/null")
        console = [p for p in vm.family(v.pid) if vm.executable(p) == "cloister-console"]
        os.kill(console[-1], signal.SIGKILL)
        good(t, "the console answers after its helper's death", shell, "echo still here", 60)
        t.equal("the VM runs", v.state(), "Running")
        v.put("vmm.shutdown")
        v.wait_exit(0)
