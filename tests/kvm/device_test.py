#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Virtio devices from a driver's first register to the helper and back, while helpers work, hang and die."""

import os
import re
import signal
import sys
import time

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
import guest  # noqa: E402
import tap  # noqa: E402

guest.need_kvm()

SECTOR = bytes(range(1, 9)) + os.urandom(504)
FIRST = "%08x" % (int.from_bytes(SECTOR[:4], "little") | int.from_bytes(SECTOR[4:8], "little"))
FOUND = ["status_reset 00000000", "status_features 0000000b", "status_ok 0000000f"]


class Machine(guest.Machine):
    """With one disk. Events are read in the log."""

    def __init__(self, *args, **kw):
        super().__init__("-v", *args, **kw)
        self.image = os.path.join(self.dir, "disk.img")
        with open(self.image, "wb") as f:
            f.write(SECTOR + bytes(1 << 20))

    def boot_driver(self, how, **more):
        self.put("vm.create", guest.config("virtio", self.serial, cmdline=how, disks=[{"path": self.image}], **more))
        self.put("vm.boot")
        return self

    def device_events(self, name):
        return re.findall(r"event: device %s \(id (\S+)\)" % name, self.stderr())

    def wait_event(self, name, count=1):
        tap.poll(lambda: len(self.device_events(name)) >= count, 10, "%d events %r" % (count, name))

    def helper(self, name):
        return tap.poll(lambda: self.pid_of("cloister-" + name), 10, "cloister-" + name)

    def answers(self):
        return self.output().count("bytes ")

    def wait_more_answers(self, n=3):
        self.wait_output("bytes ", count=self.answers() + n)

    def all_answers_are_the_sector(self):
        lines = self.output().split("\n")[:-1]
        tap.eq({line for line in lines if line.startswith("bytes ")}, {"bytes " + FIRST}, "what was read")
        tap.eq({line for line in lines if line.startswith("request_status ")}, {"request_status 00000000"}, "status")
        tap.eq({line for line in lines if line.startswith("got ")}, {"got 00000201"}, "bytes written by the device")


def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    return pid


# --- a driver's way ---------------------------------------------------------------------------------------------------


@tap.test
def entropy_comes_through_the_configuration_window():
    with Machine().wait_up() as m:
        m.boot_driver("rl")
        m.wait_output("bytes ", count=5)
        lines = m.output().split("\n")[:-1]
        tap.eq(lines[0], "slot 00000003", "slot")
        tap.eq(lines[2:5], FOUND, "status")
        tap.eq({line for line in lines if line.startswith("got ")}, {"got 00000040"}, "bytes written by the device")
        tap.ok(len({line for line in lines if line.startswith("bytes ")}) > 3, "bytes differ")


@tap.test
def disk_reads_its_first_sector_and_counts():
    with Machine().wait_up() as m:
        m.boot_driver("dl")
        m.wait_output("bytes ", count=5)
        tap.eq(m.output().split("\n")[0], "slot 00000002", "slot")
        tap.eq(m.output().split("\n")[2:5], FOUND, "status")
        m.all_answers_are_the_sector()
        tree = m.info()["device_tree"]
        bar = tree["_virtio-pci-_disk0"]["resources"][0]["PciBar"]
        tap.eq(bar["type_"], "Mmio32", "BAR of a boot disk")
        tap.eq(m.output().split("\n")[1], "bar %08x" % bar["base"], "BAR")
        counters = m.call("GET", "vm.counters").json()
        tap.eq(list(counters), ["_disk0"], "devices that count")
        tap.eq(sorted(counters["_disk0"]), sorted(
            "%s_%s" % (way, what) for way in ("read", "write")
            for what in ("bytes", "ops", "latency_min", "latency_max", "latency_avg")), "names")
        tap.ok(counters["_disk0"]["read_ops"] >= 4, "reads are counted")
        tap.eq(counters["_disk0"]["read_bytes"], 512 * counters["_disk0"]["read_ops"], "bytes")
        tap.eq(counters["_disk0"]["write_latency_avg"], 1844674407370955, "no write yet")


@tap.test
def each_reset_of_a_device_begins_anew():
    for device, name in (("d", "disk"), ("r", "rng")):
        with Machine().wait_up() as m:
            m.boot_driver(device + "d")
            m.wait_output("status_again 00000000", count=10)
            v = guest.values(m.output().rsplit("\n", 1)[0])
            tap.eq(set(v["status_reset"]), {"00000000"}, name + ": after a reset")
            tap.eq(set(v["status_ok"]), {"0000000f"}, name + ": running again")
            tap.eq(m.device_events("restarted"), [], name + ": events")


@tap.test
def each_reset_of_the_machine_keeps_the_helpers():
    with Machine().wait_up() as m:
        m.boot_driver("dm")
        m.wait_output("reset machine")
        before = m.helper("blk"), m.helper("rng")
        m.wait_output("reset machine", count=10)
        tap.eq((m.helper("blk"), m.helper("rng")), before, "helpers")
        m.all_answers_are_the_sector()


@tap.test
def broken_ring_needs_a_reset_and_then_works():
    for device in "d", "r":
        with Machine().wait_up() as m:
            m.boot_driver(device + "b")
            tap.eq(m.wait(), 0, "exit status")
            tap.contains(m.output(), "status_broken 0000004f", "output")
            tap.contains(m.output(), "bytes ", "output")


@tap.test
def more_queues_than_the_soft_limit_on_descriptors():
    with Machine(wrap=("prlimit", "--nofile=128:4096")).wait_up() as m:
        images = [os.path.join(m.dir, "%d.img" % n) for n in range(8)]
        for image in images:
            with open(image, "wb") as f:
                f.write(SECTOR)
        m.put("vm.create", guest.config("virtio", m.serial, cmdline="dl", vcpus=8,
                                        disks=[{"path": i, "num_queues": 8} for i in images]))
        m.put("vm.boot")
        m.wait_output("bytes ", count=3)
        tap.ok(len(m.descriptors()) > 128, "descriptors")
        tap.eq(len([n for n in m.info()["device_tree"] if n.startswith("_virtio-pci-")]), 10, "devices")


# --- helpers that die -------------------------------------------------------------------------------------------------


@tap.test
def killed_helper_is_a_pause():
    for device, name, helper in (("d", "_disk0", "blk"), ("r", "__rng", "rng")):
        with Machine().wait_up() as m:
            m.boot_driver(device + "l")
            m.wait_output("bytes ", count=3)
            for n in range(1, 4):
                os.kill(m.helper(helper), signal.SIGKILL)
                m.wait_event("restarted", n)
                m.wait_more_answers()
            tap.eq(m.device_events("restarted"), [name] * 3, "events")
            tap.eq(m.device_events("failed"), [], "events")
            if device == "d":
                m.all_answers_are_the_sector()
            tap.eq(m.output().count("status_ok"), 1, "the driver started once")


@tap.test
def helper_that_dies_too_often_is_a_failed_device_in_a_running_vm():
    with Machine().wait_up() as m:
        m.boot_driver("rl")
        m.wait_output("bytes ", count=3)
        blk = m.helper("blk")
        for n in range(1, 6):
            os.kill(m.helper("rng"), signal.SIGKILL)
            tap.poll(lambda: len(m.device_events("restarted")) >= n or m.device_events("failed"), 15, "restart or failure")
            if m.device_events("failed"):
                break
        tap.eq(m.device_events("failed"), ["__rng"], "events")
        tap.eq(m.state(), "Running", "state")
        tap.eq(m.helper("blk"), blk, "the other helper")
        m.put("vm.shutdown")
        m.put("vm.boot")
        m.wait_more_answers()


@tap.test
def helpers_killed_during_resets_of_the_machine():
    with Machine().wait_up() as m:
        m.boot_driver("dm")
        for n in range(1, 5):
            m.wait_output("reset machine", count=m.output().count("reset machine") + 2)
            os.kill(m.helper(("blk", "rng")[n % 2]), signal.SIGKILL)
            m.wait_event("restarted", n)
        m.wait_output("reset machine", count=m.output().count("reset machine") + 3)
        m.all_answers_are_the_sector()


# --- helpers that hang ------------------------------------------------------------------------------------------------


@tap.test
def reset_of_a_device_whose_helper_hangs_is_bounded():
    with Machine().wait_up() as m:
        m.boot_driver("dd")
        m.wait_output("status_again", count=3)
        pid = m.helper("blk")
        guest.hang(pid, lambda: m.device_events("restarted"))
        tap.ok(m.helper("blk") != pid, "another helper")
        m.wait_output("status_again", count=m.output().count("status_again") + 3)
        m.all_answers_are_the_sector()


@tap.test
def reset_of_the_machine_does_not_wait_for_a_helper_that_hangs():
    with Machine().wait_up() as m:
        # The driver starts the entropy device and asks nothing of it, so the next reset is what waits for its helper.
        m.boot_driver("em")
        m.wait_output("reset machine", count=2)
        pid = m.helper("rng")
        os.kill(pid, signal.SIGSTOP)
        m.wait_event("restarted")
        tap.ok(m.helper("rng") != pid, "another helper")
        m.wait_output("reset machine", count=m.output().count("reset machine") + 3)
        m.all_answers_are_the_sector()


@tap.test
def helper_that_hangs_neither_stops_the_vm_nor_its_end():
    with Machine().wait_up() as m:
        m.boot_driver("rl")
        m.wait_output("bytes ", count=3)
        stopped(m.helper("rng"))
        stopped(m.helper("blk"))
        since = time.monotonic()
        tap.eq(m.state(), "Running", "state")
        m.put("vm.shutdown")
        took = time.monotonic() - since
        tap.ok(took < 2, "info and shutdown took %.2f s" % took)
        m.put("vm.boot")
        m.wait_more_answers()


tap.main()
