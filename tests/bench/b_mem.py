#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Memory of all processes of a VMM, guest pages left out: of one that waits for its first request, and of booted VMs with
disk, network, console and entropy, the first on a host and ten more. Kernel memory counts where a memory cgroup tells it."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import benchlib  # noqa: E402

LIMIT_MIB = 5.0
LIMIT_FIRST_MIB, LIMIT_FURTHER_MIB = 9.0, 4.0
FURTHER = 10
CGROUPS = "/sys/fs/cgroup/memory"        # version 1, which has a counter of kernel memory
STACK_KIB = 16                           # of each thread, in the kernel


def start(argv):
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(fn, p, what):
    deadline = time.monotonic() + 30
    while not fn():
        if time.monotonic() > deadline or p.poll() is not None:
            raise SystemExit("b_mem: no %s from %s" % (what, p.args[0]))
        time.sleep(0.01)


def total(argv, socket_path):
    """Start it, wait until it answers, settle, and add up; returns ({name: KiB PSS}, private dirty + page tables)."""
    p = start(argv)
    try:
        wait_for(lambda: subprocess.run(["curl", "-s", "--unix-socket", socket_path, "http://localhost/api/v1/vmm.ping"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode == 0, p, "answer")
        pss, private = {}, 0
        for pid in benchlib.family(p.pid):
            m = benchlib.smaps(pid)
            name = benchlib.name_of(pid)
            pss[name] = pss.get(name, 0) + m["Pss"]
            private += m["Private_Dirty"] + benchlib.page_tables(pid)
        return pss, private
    finally:
        p.kill()
        p.wait()


# --- booted VMs --------------------------------------------------------------------------------------------------------


def mappings(pid):
    """{kind: KiB PSS} of a process; the guest's RAM is "guest"."""
    out, kind = {}, None
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            m = re.match(r"[0-9a-f]+-[0-9a-f]+ (\S+) \S+ \S+ \S+ *(.*)$", line)
            if m:
                kind = ("guest" if "guest-ram" in m.group(2) else "heap, stack" if m.group(2) in ("[heap]", "[stack]", "") else
                        "shared memory" if "memfd:" in m.group(2) or "anon_inode" in m.group(2) else
                        "program, data" if "w" in m.group(1) else "program, text")
            elif line.startswith("Pss:"):
                out[kind] = out.get(kind, 0) + int(line.split()[1])
    return out


class Cgroup:
    """A memory cgroup for one VM, where there are any."""

    def __init__(self, name):
        self.path = os.path.join(CGROUPS, name)
        try:
            os.mkdir(self.path)
        except OSError:
            self.path = None

    def enter(self):
        if self.path is not None:
            with open(os.path.join(self.path, "cgroup.procs"), "w") as f:
                f.write("%d" % os.getpid())

    def kernel_kib(self):
        if self.path is None:
            return None
        with open(os.path.join(self.path, "memory.kmem.usage_in_bytes")) as f:
            return int(f.read()) // 1024

    def remove(self):
        for _ in range(100 if self.path else 0):
            try:
                os.rmdir(self.path)
                return
            except OSError:      # its processes have not ended
                time.sleep(0.05)


class Vm:
    def __init__(self, folder, n):
        image, serial = os.path.join(folder, "disk%d" % n), os.path.join(folder, "serial%d" % n)
        with open(image, "wb") as f:
            f.truncate(1 << 20)
        self.cgroup = Cgroup("b_mem.%d.%d" % (os.getpid(), n))
        argv = [benchlib.built("bin/cloister"), "--api-socket", "path=%s/api%d" % (folder, n), "--memory", "size=64M",
                "--kernel", benchlib.built_file("tests/guest/virtio.bin"), "--cmdline", "ap", "--serial", "file=" + serial,
                "--console", "null", "--disk", "path=%s,image_type=raw" % image, "--net", "tap=bmem%d" % n]
        self.p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  preexec_fn=self.cgroup.enter)
        wait_for(lambda: os.path.exists(serial) and b"\nbytes " in read(serial), self.p, "guest's answer")

    def weigh(self):
        """[(process, {kind: KiB}, page tables, threads)]"""
        return [(benchlib.name_of(pid), mappings(pid), benchlib.page_tables(pid), len(os.listdir("/proc/%d/task" % pid)))
                for pid in benchlib.family(self.p.pid)]

    def kib(self):
        """(PSS without the guest's pages, kernel memory)"""
        rows = self.weigh()
        pss = sum(n for _, m, _, _ in rows for kind, n in m.items() if kind != "guest")
        kernel = self.cgroup.kernel_kib()
        return pss, sum(pt + STACK_KIB * threads for _, _, pt, threads in rows) if kernel is None else kernel

    def end(self):
        self.p.kill()
        self.p.wait()
        self.cgroup.remove()


def read(path):
    with open(path, "rb") as f:
        return f.read()


def show(v):
    for name, m, pt, threads in v.weigh():
        kinds = ", ".join("%s %d" % (k, n) for k, n in sorted(m.items()) if k != "guest" and n > 0)
        print("  %-18s %5d KiB: %s; page tables %d, threads %d" % (
            name, sum(n for k, n in m.items() if k != "guest"), kinds, pt, threads))
    print("  kernel memory%s: %d KiB" % ("" if v.cgroup.path else " (page tables and stacks only: no cgroup counts the rest)", v.kib()[1]))


def booted(gate, folder):
    vms = []
    try:
        vms.append(Vm(folder, 0))
        show(vms[0])
        first = sum(vms[0].kib())
        gate.line("first booted VM", first / 1024, LIMIT_FIRST_MIB, "MiB", "  (kernel: %.2f MiB)" % (vms[0].kib()[1] / 1024))
        for n in range(1, FURTHER + 1):
            vms.append(Vm(folder, n))
        print("  the last of them, with the others running:")
        show(vms[-1])
        weights = [v.kib() for v in vms]
        gate.line("each further one of ten", (sum(a + b for a, b in weights) - first) / FURTHER / 1024, LIMIT_FURTHER_MIB, "MiB",
                  "  (kernel: %.2f MiB)" % (sum(k for _, k in weights[1:]) / FURTHER / 1024))
    finally:
        for v in vms:
            v.end()


def main():
    folder = tempfile.mkdtemp(prefix="b_mem.")
    try:
        path = os.path.join(folder, "sock")
        print("b_mem: PSS of all processes before the first request")
        ours, private = total([benchlib.built("bin/cloister"), "--api-socket", "path=" + path], path)
        for name, kib in sorted(ours.items()):
            print("  %-20s %6.2f MiB" % (name, kib / 1024))
        gate = benchlib.Gate()
        rest = "  (private dirty and page tables: %.2f MiB)" % (private / 1024)
        path = os.path.join(folder, "floor")
        floor = sum(total([benchlib.built("tests/bench/floor_start"), path], path)[0].values())
        rest += "  floor %.2f MiB, ratio %.2f" % (floor / 1024, sum(ours.values()) / floor)
        gate.line("all processes", sum(ours.values()) / 1024, LIMIT_MIB, "MiB", rest)
        if benchlib.kvm_usable() and os.geteuid() == 0:
            print("b_mem: booted with disk, net, console and rng, guest pages left out")
            booted(gate, folder)
        else:
            print("  no booted VMs: /dev/kvm and, for taps, root are needed")
        return gate.status()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
