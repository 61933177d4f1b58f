# SPDX-License-Identifier: ISC
"""What a guest's I/O costs vmmd at steady state: nothing. KVM counts every return to user space."""

import glob
import os
import re

import small
import vm
from suite import scenario

FEW, MANY = 200, 2200
# What a batch has besides its I/O: a command typed and answered on the serial port, timers.
NOISE = 100
TRACING = "/sys/kernel/tracing"
DEBUG = "/sys/kernel/debug"


class UserspaceExits:
    """How often the tracepoint kvm:kvm_userspace_exit was passed: every end of a KVM_RUN, whatever its reason."""

    FOLDER = TRACING + "/events/kvm/kvm_userspace_exit"

    def __enter__(self):
        for kind, path in (("tracefs", TRACING), ("debugfs", DEBUG)):
            if not os.listdir(path):
                small.mount(kind, path, kind)
        self.tell("hist:keys=reason")
        return self

    def __exit__(self, *exc):
        self.tell("!hist:keys=reason")

    def tell(self, text):
        with open(self.FOLDER + "/trigger", "w") as f:
            f.write(text + "\n")

    def count(self):
        """{reason: count}"""
        with open(self.FOLDER + "/hist") as f:
            found = re.findall(r"^\{ reason: *(\S+).*\} hitcount: *(\d+)", f.read(), re.M)
        return {int(reason): int(n) for reason, n in found}


def kvm_counter(pid, name):
    """One of KVM's own counters of the VM."""
    folders = glob.glob("%s/kvm/%d-*" % (DEBUG, pid))
    if len(folders) != 1:
        raise vm.Failed("%d folders of KVM's statistics: %r" % (len(folders), folders))
    with open(os.path.join(folders[0], name)) as f:
        return int(f.read())


def wakeups(pid):
    """How often vmmd's control thread has waited for something."""
    with open("/proc/%d/task/%d/status" % (pid, pid)) as f:
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)$", f.read(), re.M).group(1))


def cost(g, exits, command):
    """What grows while the guest runs @command."""
    pid = g.v.pid
    reasons, mmio, woken = exits.count(), kvm_counter(pid, "mmio_exits"), wakeups(pid)
    status, text = g.run(command, 300)
    if status != 0:
        raise vm.Failed("%r: exit status %d: %s" % (command, status, text))
    grown = {r: n - reasons.get(r, 0) for r, n in exits.count().items()}
    return {"user-space exits": sum(grown.values()), "mmio_exits": kvm_counter(pid, "mmio_exits") - mmio,
            "wake-ups of vmmd": wakeups(pid) - woken}, grown


LOADS = (
    ("reads of a disk", "dd if=/dev/vda of=/dev/null bs=4k count=%d iflag=direct 2>/dev/null"),
    ("writes of a disk", "dd if=/dev/zero of=/dev/vda bs=4k count=%d oflag=direct 2>/dev/null"),
    ("reads of /dev/hwrng", "dd if=/dev/hwrng of=/dev/null bs=16 count=%d 2>/dev/null"),
)


@scenario("no user-space exit of vmmd per I/O")
def no_exits(t):
    disk = small.image("exits.img", 16)
    with UserspaceExits() as exits, vm.Cloister(tty=True) as v:
        g = small.Guest(v, small.devices(disks=[{"path": disk, "image_type": "Raw"}]))
        for what, command in LOADS:
            g.run(command % 10, 300)
            requests = v.counters().get("_disk0") if "disk" in what else None
            few, _ = cost(g, exits, command % FEW)
            many, reasons = cost(g, exits, command % MANY)
            if requests is not None:
                done = v.counters()["_disk0"]
                ops = sum(done[k] - requests[k] for k in ("read_ops", "write_ops"))
                t.check("%s: each was a request" % what, ops >= FEW + MANY, ops)
            for name in few:
                t.check("%s: %s do not grow with their number" % (what, name), many[name] - few[name] < NOISE,
                        "%d of them: %d; %d: %d; by reason: %r" % (FEW, few[name], MANY, many[name], reasons))
            vm.note("%s: %d cost %r, %d cost %r" % (what, FEW, few, MANY, many))
        small.end(t, v)
