#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Devices of other people's processes, while those work, hang and die: a disk of qemu-storage-daemon, a network card of
DPDK's testpmd."""

import os
import re
import shutil
import signal
import subprocess
import sys

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
import guest  # noqa: E402
import tap  # noqa: E402

guest.need_kvm()
QSD = shutil.which("qemu-storage-daemon")
PMD = shutil.which("dpdk-testpmd")

SECTOR = bytes(range(1, 9)) + bytes(504)
FIRST = "%08x" % (int.from_bytes(SECTOR[:4], "little") | int.from_bytes(SECTOR[4:8], "little"))


class Machine(guest.Machine):
    """Its one disk is another process's."""

    def __init__(self):
        super().__init__("-v")
        self.socket = os.path.join(self.dir, "disk.sock")
        self.image = os.path.join(self.dir, "disk.img")
        with open(self.image, "wb") as f:
            f.write(SECTOR + bytes(1 << 20))
        self.serve()

    def serve(self, queues=2):
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        self.qsd = subprocess.Popen(
            [QSD, "--blockdev", "driver=file,node-name=f,filename=" + self.image, "--export",
             "type=vhost-user-blk,id=e,node-name=f,addr.type=unix,addr.path=%s,num-queues=%d" % (self.socket, queues)],
            stdin=subprocess.DEVNULL)
        tap.at_exit(self.qsd.kill)
        tap.poll(lambda: os.path.exists(self.socket), 10, "qemu-storage-daemon listens")

    def kill_server(self):
        self.qsd.kill()
        self.qsd.wait()

    def kill(self):
        super().kill()
        self.kill_server()

    def config(self, how, queues=1):
        disk = {"vhost_user": True, "vhost_socket": self.socket, "num_queues": queues}
        cfg = guest.config("virtio", self.serial, cmdline=how, disks=[disk], vcpus=queues)
        cfg["memory"]["shared"] = True
        return cfg

    def boot_driver(self, how, queues=1):
        self.put("vm.create", self.config(how, queues))
        self.put("vm.boot")

    def wait_more(self, text="bytes ", n=3):
        self.wait_output(text, count=self.output().count(text) + n)

    def restarts(self):
        return len(re.findall(r"event: device restarted \(id _disk0\)", self.stderr()))

    def check(self):
        for name, value in ("bytes", FIRST), ("request_status", "00000000"), ("got", "00000201"):
            found = set(re.findall(r"^%s (\S+)\n" % name, self.output(), re.M))
            tap.eq(found, {value}, name)


def need(program, name):
    if program is None:
        tap.skip("no " + name)


@tap.test
def disk_of_another_process_is_read():
    need(QSD, "qemu-storage-daemon")
    with Machine().wait_up() as m:
        m.boot_driver("dl", queues=2)
        m.wait_more()
        m.check()
        tap.eq(m.call("GET", "vm.counters").json(), {}, "it has no counters")
        tap.ok("_virtio-pci-_disk0" in m.info()["device_tree"], "it has its nodes")


@tap.test
def resets_of_the_device_and_of_the_machine():
    need(QSD, "qemu-storage-daemon")
    for how, text in ("dd", "status_again"), ("dm", "reset machine"):
        with Machine().wait_up() as m:
            m.boot_driver(how)
            m.wait_output(text, count=5)
            m.check()
            tap.eq(m.restarts(), 0, "restarts")


@tap.test
def one_that_dies_is_a_pause_until_another_listens():
    need(QSD, "qemu-storage-daemon")
    with Machine().wait_up() as m:
        m.boot_driver("dl")
        for n in range(1, 4):
            m.wait_more()
            m.kill_server()
            m.serve()
            tap.poll(lambda: m.restarts() == n, 10, "restart %d" % n)
            m.wait_more()
        m.check()
        tap.eq(m.output().count("status_ok"), 1, "the driver started once")


@tap.test
def one_that_hangs_does_not_hold_a_reset():
    need(QSD, "qemu-storage-daemon")
    for how, text in ("dd", "status_again"), ("dm", "reset machine"):
        with Machine().wait_up() as m:
            m.boot_driver(how)
            m.wait_output(text, count=2)
            guest.hang(m.qsd.pid, lambda: "its back end is given up" in m.stderr())
            tap.eq(m.state(), "Running", "state")
            m.kill_server()
            m.serve()
            m.wait_more(text)
            m.check()


@tap.test
def boot_without_enough_queues_says_so():
    need(QSD, "qemu-storage-daemon")
    with Machine().wait_up() as m:
        m.put("vm.create", m.config("dl", queues=4))
        reply = m.put("vm.boot", want=500)
        tap.contains(": ".join(reply.json()), "fewer queues than the device", "error chain")
        tap.eq(m.state(), "Created", "state")


# --- network ----------------------------------------------------------------------------------------------------------


class NetMachine(guest.Machine):
    """Whatever it sends comes back with the addresses swapped."""

    def __init__(self):
        super().__init__("-v")
        self.socket = os.path.join(self.dir, "net.sock")
        self.pmd = None
        self.serve()

    def serve(self):
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        # It ends with its standard input.
        self.pmd = subprocess.Popen(
            [PMD, "--no-huge", "-m", "128", "--no-pci", "-l", "0,1",
             "--vdev", "net_vhost0,iface=%s,queues=1" % self.socket, "--", "--no-mlockall", "--forward-mode=macswap",
             "--auto-start", "--total-num-mbufs=2048", "--nb-cores=1"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "RUNTIME_DIRECTORY": self.dir})
        tap.at_exit(self.pmd.kill)
        tap.poll(lambda: os.path.exists(self.socket), 20, "testpmd listens")

    def kill_server(self):
        self.pmd.kill()
        self.pmd.wait()
        self.pmd.stdin.close()

    def kill(self):
        super().kill()
        self.kill_server()

    def boot_driver(self, how):
        net = {"vhost_user": True, "vhost_socket": self.socket, "mac": "2e:00:00:00:00:01"}
        cfg = guest.config("virtio", self.serial, cmdline=how, net=[net])
        cfg["memory"]["shared"] = True
        self.put("vm.create", cfg)
        self.put("vm.boot")

    def check_control(self):
        for name, value in ("got", "00000001"), ("request_status", "00000000"):
            tap.eq(set(re.findall(r"^%s (\S+)\n" % name, self.output(), re.M)), {value}, name)

    def check(self):
        tap.eq(set(re.findall(r"^got (\S+)\n", self.output(), re.M)), {"%08x" % (12 + 60)}, "length")
        tap.eq(set(re.findall(r"^bytes (\S+)\n", self.output(), re.M)), {"0202032e"}, "swapped address")


@tap.test
def frames_come_back_from_dpdk_over_resets():
    need(PMD, "dpdk-testpmd")
    for how, text in ("nl", "bytes "), ("nd", "status_again"), ("nm", "reset machine"):
        with NetMachine().wait_up() as m:
            m.boot_driver(how)
            m.wait_output(text, count=4)
            m.check()


@tap.test
def network_card_fails_nobody_when_dpdk_dies():
    need(PMD, "dpdk-testpmd")
    with NetMachine().wait_up() as m:
        m.boot_driver("nd")
        m.wait_output("status_again", count=3)
        m.kill_server()
        tap.poll(lambda: "its back end is given up" in m.stderr(), 10, "it is given up")
        tap.eq(m.state(), "Running", "state")
        m.serve()
        m.wait_output("status_again", count=m.output().count("status_again") + 1, seconds=20)
        m.check()


@tap.test
def control_queue_is_served_beside_dpdk():
    need(PMD, "dpdk-testpmd")
    for how, text in ("cl", "bytes "), ("cd", "status_again"), ("cm", "reset machine"):
        with NetMachine().wait_up() as m:
            m.boot_driver(how)
            m.wait_output(text, count=4)
            m.check_control()


@tap.test
def control_queue_outlives_its_helper_and_dpdk():
    need(PMD, "dpdk-testpmd")
    with NetMachine().wait_up() as m:
        m.boot_driver("cl")
        m.wait_output("bytes ", count=2)
        for n in range(1, 4):
            os.kill(m.pid_of("cloister-net"), signal.SIGKILL)
            tap.poll(lambda: len(re.findall("event: device restarted", m.stderr())) == n, 10, "restart %d" % n)
            m.wait_output("bytes ", count=m.output().count("bytes ") + 3)
        m.kill_server()
        m.wait_output("bytes ", count=m.output().count("bytes ") + 3)
        m.serve()
        tap.poll(lambda: len(re.findall("event: device restarted", m.stderr())) == 4, 10, "DPDK's restart")
        m.check_control()
        tap.eq(m.output().count("status_ok"), 1, "the driver started once")


tap.main()
