#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""kill -9 of apid: the next one takes over listening socket, connections and state; clients notice a pause at most."""

import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vmm  # noqa: E402
from vmm import NO_CONTENT, tap  # noqa: E402


def kill_apid(v):
    """Returns when another process has its place."""
    old = tap.poll(lambda: v.pid_of("cloister-apid"), 5, "an apid")
    os.kill(old, signal.SIGKILL)
    return tap.poll(lambda: (v.pid_of("cloister-apid") or old) != old, 5, "a new apid")


def state_of(c):
    r = c.call("GET", "vm.info")
    return r.json()["state"] if r.status == 200 else None


def expect_ping(v, c):
    tap.eq(c.call("GET", "vmm.ping").json()["pid"], v.pid)


@tap.test
def idle_connections_survive_and_the_next_request_is_answered():
    with vmm.Vmm() as v:
        v.wait_up()
        clients = [v.conn() for _ in range(20)]
        for c in clients[:10]:  # the others have said nothing yet
            expect_ping(v, c)
        tap.poll(lambda: v.call("GET", "vmm.ping").status == 200, 5)
        kill_apid(v)
        for c in clients:
            expect_ping(v, c)
        expect_ping(v, v.conn())


@tap.test
def request_sent_while_nobody_is_there_is_answered():
    with vmm.Vmm() as v:
        v.wait_up()
        c = v.conn()
        expect_ping(v, c)
        old = v.pid_of("cloister-apid")
        os.kill(old, signal.SIGSTOP)
        c.send(vmm.request("GET", "vmm.ping"))
        new = v.conn()  # waits in the backlog
        new.send(vmm.request("GET", "vm.info"))
        os.kill(old, signal.SIGKILL)
        tap.eq(c.reply().json()["pid"], v.pid)
        tap.eq(new.reply().status, 404)


@tap.test
def created_vm_is_still_there():
    with vmm.Vmm() as v:
        v.wait_up()
        with v.conn() as c:
            tap.eq(c.call("PUT", "vm.create", '{"payload":{"kernel":"/k"},"serial":{"mode":"Pty"}}').raw, NO_CONTENT)
            before = c.call("GET", "vm.info").raw
            kill_apid(v)
            tap.eq(c.call("GET", "vm.info").raw, before)
            pty = c.call("GET", "vm.info").json()["config"]["serial"]["file"]
            tap.ok(os.path.exists(pty), "the pty survives")
            tap.eq(c.call("PUT", "vm.create", "{}").status, 500, "already created")
            tap.eq(c.call("PUT", "vm.delete").raw, NO_CONTENT)
            tap.poll(lambda: not os.path.exists(pty), 5, "the pty is closed")
            tap.eq(c.call("GET", "vm.info").status, 404)


@tap.test
def half_read_request_is_lost_with_its_connection():
    with vmm.Vmm() as v:
        v.wait_up()
        c, idle = v.conn(), v.conn()
        expect_ping(v, c)
        expect_ping(v, idle)
        c.send(b"PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 10\r\n\r\n{")
        tap.ok(c.is_quiet(0.2), "half of it was read")
        kill_apid(v)
        tap.ok(c.at_end(), "closed, as nobody knows the first half")
        expect_ping(v, idle)


@tap.test
def command_in_flight_is_answered_by_the_next_apid():
    """vmmd is stopped in the middle of the command; its answer goes to whoever is there."""
    with vmm.Vmm() as v:
        v.wait_up()
        create, info, delete = v.conn(20), v.conn(20), v.conn(20)
        for c in (create, info, delete):
            expect_ping(v, c)
        os.kill(v.pid, signal.SIGSTOP)
        try:
            info.send(vmm.request("GET", "vm.info"))
            delete.send(vmm.request("PUT", "vm.delete"))
            tap.ok(info.is_quiet(0.2) and delete.is_quiet(0.2), "on their way")
            old = v.pid_of("cloister-apid")
            os.kill(old, signal.SIGKILL)
            tap.poll(lambda: old not in v.processes(), 5, "gone")
        finally:
            os.kill(v.pid, signal.SIGCONT)
        tap.eq(info.reply().status, 404)
        tap.eq(delete.reply().raw, NO_CONTENT)
        expect_ping(v, create)
        expect_ping(v, info)
        expect_ping(v, delete)


@tap.test
def create_cut_off_half_way_leaves_nothing():
    """apid dies between opening the console and the command itself."""
    with vmm.Vmm() as v:
        v.wait_up()
        path = os.path.join(v.dir, "serial.sock")
        monitor = tap.poll(lambda: v.pid_of("cloister-monitor"), 5, "the monitor")
        c = v.conn(20)
        expect_ping(v, c)
        os.kill(monitor, signal.SIGSTOP)
        try:
            c.send(vmm.request("PUT", "vm.create", {"serial": {"mode": "Socket", "socket": path}}))
            tap.ok(c.is_quiet(0.3), "the console is being asked for")
            os.kill(v.pid_of("cloister-apid"), signal.SIGKILL)
        finally:
            os.kill(monitor, signal.SIGCONT)
        tap.ok(c.at_end(), "the request is lost, its connection says so")
        with v.conn() as again:
            tap.eq(again.call("GET", "vm.info").status, 404)
            tap.poll(lambda: not os.path.exists(path), 5, "the socket is not left behind")
            tap.eq(again.call("PUT", "vm.create", {"serial": {"mode": "Socket", "socket": path}}).raw, NO_CONTENT)
            tap.eq(again.call("PUT", "vm.delete").status, 204)


@tap.test
def boot_that_waits_for_a_back_end_is_cut_off_and_leaves_nothing():
    """apid dies while one disk is open and locked and the other's back end has not come."""
    with vmm.Vmm() as v:
        v.wait_up()
        image = os.path.join(v.dir, "image")
        with open(image, "wb") as f:
            f.truncate(1 << 20)
        mine = {"path": image, "image_type": "Raw"}
        foreign = {"vhost_user": True, "vhost_socket": os.path.join(v.dir, "nobody.sock")}
        config = {"payload": {"kernel": "/bin/sh"}, "console": {"mode": "Off"}, "memory": {"size": 1 << 20, "shared": True}}
        c, other = v.conn(20), v.conn(20)
        tap.eq(c.call("PUT", "vm.create", dict(config, disks=[mine, foreign])).raw, NO_CONTENT)
        c.send(vmm.request("PUT", "vm.boot"))
        tap.poll(lambda: v.pid_of("cloister-blk"), 5, "the first disk's process")
        tap.ok(c.is_quiet(0.3), "it waits for the second")
        tap.eq(state_of(other), "Created")
        kill_apid(v)
        tap.ok(c.at_end(), "the request is lost, its connection says so")
        tap.poll(lambda: not v.pid_of("cloister-blk"), 5, "the disk is closed")
        tap.eq(state_of(other), "Created")
        tap.eq(other.call("PUT", "vm.delete").raw, NO_CONTENT)
        tap.eq(other.call("PUT", "vm.create", dict(config, disks=[mine])).raw, NO_CONTENT)
        chain = other.call("PUT", "vm.boot").json()
        tap.ok("disk" not in " ".join(chain), "not even its lock is left: %r" % chain)
        tap.eq(other.call("PUT", "vm.delete").raw, NO_CONTENT)


@tap.test
def running_vm_of_the_command_line_is_left_alone():
    payload = tap.program("tests/guest/spin.bin")
    if not os.path.exists(payload) or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        tap.skip("needs /dev/kvm and the guest payloads")
    with vmm.Vmm("-v", "--kernel", payload) as v:
        v.wait_up()
        c = v.conn()
        tap.poll(lambda: state_of(c) == "Running", 10, "it runs")
        kill_apid(v)
        tap.eq(state_of(c), "Running")
        tap.eq(c.call("PUT", "vm.shutdown").raw, NO_CONTENT)
        kill_apid(v)
        tap.eq(state_of(c), "Created", "what a client shut down is not booted again")
        tap.eq(v.stderr().count("event: vm booted"), 1)
        tap.eq(c.call("PUT", "vm.boot").raw, NO_CONTENT)
        tap.eq(c.call("PUT", "vm.delete").raw, NO_CONTENT)


@tap.test
def three_deaths_in_a_row():
    with vmm.Vmm() as v:
        v.wait_up()
        c = v.conn()
        for _ in range(3):
            expect_ping(v, c)
            kill_apid(v)
            time.sleep(0.2)  # not a test of the breaker
        expect_ping(v, c)
        tap.eq(c.call("PUT", "vmm.shutdown").raw, NO_CONTENT)
        tap.eq(v.wait(), 0)


@tap.test
def inherited_listening_socket_is_kept():
    with vmm.Vmm("-v") as v:
        v.wait_up()
        kill_apid(v)
        expect_ping(v, v.conn())
        tap.eq(v.stderr().count("v54.0.0 starting"), 1, "started once")
        tap.contains(v.stderr(), "a new apid takes over, VM state None")


tap.main()
