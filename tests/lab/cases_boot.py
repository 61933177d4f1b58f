# SPDX-License-Identifier: ISC
"""A stock Debian kernel through the API with curl, and from the command line alone."""

import itertools
import os
import re
import shutil
import threading
import time

import dmesg
import vm
from suite import ASSETS, boot_args, config, scenario

MIB, GIB = 1 << 20, 1 << 30
HELLO = r"^Hello from the guest: .*$"


def expected_memmap(kernel, size):
    """The documented map: RAM below 3 GiB less the 640 KiB - 1 MiB hole, the rest from 4 GiB, ECAM reserved."""
    table = [(0, 0x9ffff, "System RAM"), (0x100000, min(size, 3 * GIB) - 1, "System RAM"),
             (0xe8000000, 0xf7ffffff, "Reserved")]
    if kernel == "vmlinux":
        # Linux's PVH entry adds the hole itself to whatever it is given (init_pvh_bootparams()).
        table.append((0xa0000, 0xfffff, "Reserved"))
    if size > 3 * GIB:
        table.append((4 * GIB, 4 * GIB + size - 3 * GIB - 1, "System RAM"))
    return sorted(table)


def expected_config(c):
    """What vm.info says of a config: what was given, and the documented defaults."""
    return {
        "cpus": {"boot_vcpus": c["cpus"]["boot_vcpus"], "max_vcpus": c["cpus"]["max_vcpus"], "kvm_hyperv": False,
                 "max_phys_bits": 46, "features": {"amx": False}, "nested": True, "core_scheduling": "Vm", "profile": "Host"},
        "memory": {"size": c["memory"]["size"], "mergeable": False, "hotplug_method": "Acpi", "shared": False,
                   "hugepages": False, "prefault": False, "reserve": False, "thp": True},
        "payload": c["payload"], "rng": {"pci_segment": 0, "src": "/dev/urandom"}, "serial": c["serial"], "console": {"mode": "Off", "pci_segment": 0},
        "debug_console": {"mode": "Off", "iobase": 233}, "pvpanic": False, "iommu": False, "watchdog": False,
        "landlock_enable": False,
    }


def node(name):
    return {"id": name, "resources": [], "children": []}


def threads(pid):
    names = []
    for t in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/comm" % (pid, t)) as f:
            names.append(f.read().strip())
    return sorted(names)


def check_report(t, text, kernel, cpus, memory):
    r = vm.Report(text)
    t.equal("exactly the CPUs 0..%d are online" % (cpus - 1), r.online, "0" if cpus == 1 else "0-%d" % (cpus - 1))
    t.equal("the memory map is the documented one", [tuple(map(str, e)) for e in r.memmap],
            [tuple(map(str, e)) for e in expected_memmap(kernel, memory)])
    extra = dmesg.unlisted(r.dmesg)
    t.check("no warning beyond the list in dmesg", not extra, "\n".join(extra))


def flow_poweroff(t, kernel, cpus, memory):
    """create, boot, info, the guest's own output, the guest powers off."""
    c = config("report,poweroff", cpus, memory, kernel)
    with vm.Cloister() as v:
        v.curl("vm.create", body=c)
        t.equal("created", v.state(), "Created")
        v.curl("vm.boot")
        t.equal("vcpu threads are there when vm.boot answers",
                [n for n in threads(v.pid) if n.startswith("vcpu")], ["vcpu%d" % i for i in range(cpus)])
        info = v.info()
        t.equal("vm.info: config with its defaults", info["config"], expected_config(c))
        t.equal("vm.info: state", info["state"], "Running")
        t.equal("vm.info: memory_actual_size", info["memory_actual_size"], memory)
        t.equal("vm.info: device tree", sorted(info["device_tree"]), ["__ioapic", "__rng", "__serial", "_virtio-pci-__rng"])
        t.equal("vm.info: nodes without resources", [info["device_tree"][n] for n in ("__ioapic", "__serial")],
                [node("__ioapic"), node("__serial")])
        t.equal("vm.counters", v.curl("vm.counters", "GET", want=200), "{}")
        v.stdout.wait(HELLO)
        t.passed("the guest's own line is seen")
        v.wait_exit(0, 180)
        t.passed("power-off ends the process with status 0")
        vm.wait_until(lambda: v.stdout.end, 5, "end of output")
        text = v.stdout.text()
        t.check("no output is lost at the end", "@report-end" in text, text[-300:])
        check_report(t, text, kernel, cpus, memory)
        t.check("the API socket is gone", not os.path.exists(v.api_path))
        t.check("nothing was logged as an error", "ERROR:" not in v.stderr.text(), v.stderr.text)


def flow_reboot(t, kernel, cpus, memory):
    """The same with a reboot from inside."""
    with vm.Cloister() as v:
        path = os.path.join(v.folder, "serial.sock")
        v.curl("vm.create", body=config("serve", cpus, memory, kernel, {"mode": "Socket", "socket": path}))
        s = vm.connect_stream(path)
        v.curl("vm.boot")
        s.wait(r"^@ready")
        s.send("reboot\n")
        s.wait(HELLO, count=2)
        t.passed("the guest comes up again after its reboot")
        s.wait(r"^@ready", count=2)
        t.equal("still running", v.state(), "Running")
        t.equal("with the same vcpu threads", [n for n in threads(v.pid) if n.startswith("vcpu")],
                ["vcpu%d" % i for i in range(cpus)])
        before = len(s.text())
        s.send("report\n")
        s.wait(r"^@report-end")
        check_report(t, s.text()[before:], kernel, cpus, memory)
        s.send("poweroff\n")
        v.wait_exit(0, 180)
        t.passed("and powers off with status 0")
        s.close()


def flow_cycle(t, kernel, cpus, memory):
    """boot, vm.shutdown, vm.delete, create, boot, vmm.shutdown: twice in one process."""
    c = config("idle", cpus, memory, kernel)
    with vm.Cloister() as v:
        v.curl("vm.create", body=c)
        v.curl("vm.boot")
        v.stdout.wait(HELLO)
        v.curl("vm.shutdown")
        info = v.info()
        t.equal("vm.shutdown leaves the config", (info["state"], info["config"]), ("Created", expected_config(c)))
        t.check("and no device tree", "device_tree" not in info, info)
        t.equal("nor a vcpu thread", [n for n in threads(v.pid) if n.startswith("vcpu")], [])
        v.curl("vm.delete")
        t.equal("vm.delete forgets it", v.request("GET", "vm.info")[0], 404)
        v.curl("vm.create", body=c)
        v.curl("vm.boot")
        v.stdout.wait(HELLO, count=2)
        t.passed("a second guest boots in the same process")
        v.curl("vmm.shutdown")
        v.wait_exit(0)
        t.passed("vmm.shutdown ends the process with status 0")
        t.check("the API socket is gone", not os.path.exists(v.api_path))


def matrix():
    sizes = {"512 MiB": 512 * MIB, "5 GiB": 5 * GIB}
    for kernel, cpus, (label, size) in itertools.product(("bzimage", "vmlinux"), (1, 2), sizes.items()):
        where = "%s, %d CPU, %s" % ({"bzimage": "bzImage", "vmlinux": "PVH"}[kernel], cpus, label)
        scenario("poweroff (%s)" % where)(lambda t, a=(kernel, cpus, size): flow_poweroff(t, *a))
    # The two longer flows take each number of CPUs and each size with one of the two kernels.
    for kernel, cpus, label in (("vmlinux", 1, "512 MiB"), ("bzimage", 2, "512 MiB"), ("bzimage", 1, "5 GiB"), ("vmlinux", 2, "5 GiB")):
        where = "%s, %d CPU, %s" % ({"bzimage": "bzImage", "vmlinux": "PVH"}[kernel], cpus, label)
        scenario("reboot (%s)" % where)(lambda t, a=(kernel, cpus, sizes[label]): flow_reboot(t, *a))
        scenario("cycle (%s)" % where)(lambda t, a=(kernel, cpus, sizes[label]): flow_cycle(t, *a))


matrix()


@scenario("command line alone")
def command_line(t):
    with vm.Cloister(boot_args("report,poweroff", cpus=2), api=False) as v:
        v.wait_exit(0, 180)
        t.passed("boots, powers off, status 0")
        vm.wait_until(lambda: v.stdout.end, 5, "end of output")
        check_report(t, v.stdout.text(), "bzimage", 2, 512 * MIB)
        t.check("stdout is the guest's alone", not re.search(r"(INFO|WARN|ERROR):", v.stdout.text()), v.stdout.text)


@scenario("command line with an API socket")
def command_line_api(t):
    with vm.Cloister(boot_args("idle")) as v:
        v.stdout.wait(HELLO)
        t.equal("running", v.state(), "Running")
        t.equal("a second vm.create is refused", v.request("PUT", "vm.create", config("idle"))[0], 500)
        v.curl("vmm.shutdown")
        v.wait_exit(0)
        t.passed("ends with status 0")


@scenario("reset by keyboard controller and by triple fault")
def other_resets(t):
    with vm.Cloister() as v:
        path = os.path.join(v.folder, "serial.sock")
        v.put("vm.create", config("serve", cpus=2, serial={"mode": "Socket", "socket": path}, kernel="vmlinux"))
        s = vm.connect_stream(path)
        v.put("vm.boot")
        for n, kind in enumerate(("kbd", "triple", "acpi"), 2):
            s.wait(r"^@ready", count=n - 1)
            s.send("reboot %s\n" % kind)
            s.wait(HELLO, count=n)
            t.passed("reset by %s starts the guest again" % kind)
        v.put("vmm.shutdown")
        v.wait_exit(0)
        s.close()


@scenario("power-off with --no-shutdown")
def no_shutdown(t):
    with vm.Cloister(["--no-shutdown"]) as v:
        v.put("vm.create", config("poweroff"))
        v.put("vm.boot")
        v.stdout.wait(HELLO)
        vm.wait_until(lambda: v.state() == "Created", 180, "state Created")
        t.check("the process stays, state Created", v.running())
        v.put("vm.boot")
        v.stdout.wait(HELLO, count=2)
        t.passed("and can be booted again")
        vm.wait_until(lambda: v.state() == "Created", 180, "state Created again")
        v.put("vmm.shutdown")
        v.wait_exit(0)


@scenario("a failed boot, mended")
def mended(t):
    """Each cause of failure in turn, then the same boot in the same process without it."""
    with vm.Cloister() as v:
        kernel, initramfs = os.path.join(v.folder, "kernel"), os.path.join(v.folder, "initramfs")
        c = config("idle")
        c["payload"].update(kernel=kernel, initramfs=initramfs)
        v.put("vm.create", c)
        shutil.copy(ASSETS["initramfs"], initramfs)
        with open(ASSETS["bzimage"], "rb") as f:
            image = f.read()
        for what, data in (("missing", None), ("empty", b""), ("garbage", b"\x5a" * 65536), ("truncated", image[:300000])):
            if data is not None:
                with open(kernel, "wb") as f:
                    f.write(data)
            status, text = v.request("PUT", "vm.boot")
            t.check("%s kernel: an error, state Created" % what, status == 500 and v.state() == "Created", (status, text))
            t.check("%s kernel: no vcpu thread left" % what, not [n for n in threads(v.pid) if n.startswith("vcpu")])
        with open(kernel, "wb") as f:
            f.write(image)
        v.put("vm.boot")
        v.stdout.wait(HELLO)
        t.passed("boots once the kernel is right")
        v.put("vmm.shutdown")
        v.wait_exit(0)


@scenario("the API answers while a guest boots")
def busy_api(t):
    with vm.Cloister() as v:
        v.put("vm.create", config("idle", cpus=2, memory=5 * GIB))
        worst, stop = [0.0], threading.Event()

        def ping():
            while not stop.is_set():
                start = time.monotonic()
                if v.request("GET", "vmm.ping")[0] != 200 or v.request("GET", "vm.info")[0] != 200:
                    worst[0] = 1e9
                worst[0] = max(worst[0], time.monotonic() - start)
        pinger = threading.Thread(target=ping)
        pinger.start()
        try:
            v.put("vm.boot")
        finally:
            stop.set()
            pinger.join()
        # A second is promised on a real machine; this one is some fifteen times slower and has two guests to run.
        t.check("vmm.ping and vm.info are answered, within 5 s", worst[0] < 5.0, "%.3f s" % worst[0])
        v.put("vmm.shutdown")
        v.wait_exit(0)
