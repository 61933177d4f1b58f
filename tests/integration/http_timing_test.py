#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Time limits: 10 s for a head, 30 s for a request, none for an idle connection, 20 s for a question to another process.

All waits run side by side."""

import concurrent.futures
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vmm  # noqa: E402
from vmm import tap  # noqa: E402

v = vmm.Vmm().wait_up()
pool = concurrent.futures.ThreadPoolExecutor(8)
PING = vmm.request("GET", "vmm.ping")


def assert_given_up(c, began, at_least, at_most):
    r = c.reply()
    took = time.monotonic() - began
    tap.eq(r.status, 400)
    tap.contains(r.raw, b"\r\nConnection: close\r\n")
    tap.contains(r.body, b"not complete in time")
    tap.ok(at_least < took < at_most, "after %.1f s" % took)
    tap.ok(c.at_end(), "closed")


def dripping_heads():
    """50 clients send a header line every half second."""
    slow = [v.conn(30) for _ in range(50)]
    began = time.monotonic()
    for c in slow:
        c.send(b"GET /api/v1/vmm.ping HTTP/1.1\r\n")
    drips = 0
    while time.monotonic() < began + 9:
        drips += 1
        for c in slow:
            c.send(b"A: %d\r\n" % drips)
        time.sleep(0.5)
    for c in slow:
        assert_given_up(c, began, 9.5, 15)
        c.close()


def silent_head():
    with v.conn(30) as c:
        began = time.monotonic()
        c.send(b"G")
        assert_given_up(c, began, 9.5, 15)


def slow_body(data):
    with v.conn(60) as c:
        began = time.monotonic()
        c.send(data)
        assert_given_up(c, began, 29, 40)


def idle():
    with v.conn() as fresh, v.conn() as used:
        tap.eq(used.ask(PING).status, 200)
        time.sleep(32)
        tap.eq(fresh.ask(PING).status, 200)
        tap.eq(used.ask(PING).status, 200)


def well_behaved():
    worst, end = 0.0, time.monotonic() + 15
    with v.conn() as c:
        while time.monotonic() < end:
            began = time.monotonic()
            tap.eq(c.ask(PING).status, 200)
            worst = max(worst, time.monotonic() - began)
            time.sleep(0.01)
    tap.ok(worst < 1, "a ping took %.3f s" % worst)


def vmmd_that_is_stopped():
    """A question that vmmd does not answer fails after 20 s; pings and other clients go on, and so does everything later."""
    with vmm.Vmm() as w:
        w.wait_up()
        os.kill(w.pid, signal.SIGSTOP)
        try:
            with w.conn(40) as waiting, w.conn() as other:
                began = time.monotonic()
                waiting.send(vmm.request("GET", "vm.info"))
                while time.monotonic() < began + 15:
                    tap.eq(other.ask(PING).status, 200)
                    time.sleep(0.1)
                r = waiting.reply()
                took = time.monotonic() - began
                tap.eq(r.status, 500)
                tap.contains(r.json()[-1], "no answer from vmmd")
                tap.ok(19 < took < 30, "after %.1f s" % took)
                os.kill(w.pid, signal.SIGCONT)
                tap.eq(waiting.call("GET", "vm.info").status, 404, "the late answer is not taken for another one")
                tap.eq(waiting.call("PUT", "vm.create", "{}").raw, vmm.NO_CONTENT)
        finally:
            os.kill(w.pid, signal.SIGCONT)


def monitor_that_is_stopped():
    """A create that the monitor does not carry out fails and leaves nothing, also when the monitor goes on later."""
    with vmm.Vmm() as w:
        w.wait_up()
        path = os.path.join(w.dir, "serial.sock")
        monitor = tap.poll(lambda: w.pid_of("cloister-monitor"), 5, "the monitor")
        config = {"serial": {"mode": "Socket", "socket": path}}
        os.kill(monitor, signal.SIGSTOP)
        try:
            with w.conn(90) as c, w.conn() as other:
                c.send(vmm.request("PUT", "vm.create", config))
                time.sleep(15)
                tap.eq(other.ask(PING).status, 200)
                tap.eq(other.call("GET", "vm.info").status, 404, "questions do not wait for commands")
                r = c.reply()
                tap.eq(r.status, 500)
                tap.contains(r.json()[-1], "no answer from the monitor")
                os.kill(monitor, signal.SIGCONT)
                tap.eq(c.call("GET", "vm.info").status, 404)
                tap.eq(c.call("PUT", "vm.create", config).raw, vmm.NO_CONTENT)
                vmm.Conn(path).close()
                tap.eq(c.call("PUT", "vm.delete").raw, vmm.NO_CONTENT)
                tap.poll(lambda: not os.path.exists(path), 5, "the socket is gone")
        finally:
            os.kill(monitor, signal.SIGCONT)


waits = {
    "fifty heads that drip are given up after 10 s": pool.submit(dripping_heads),
    "others are served meanwhile": pool.submit(well_behaved),
    "head of one byte is given up after 10 s": pool.submit(silent_head),
    "body that does not come is given up after 30 s": pool.submit(
        slow_body, b"PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"),
    "chunks that do not come are given up after 30 s": pool.submit(
        slow_body, b"PUT /api/v1/vm.create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"),
    "idle connections stay beyond every limit": pool.submit(idle),
    "vmmd that does not answer costs its question only": pool.submit(vmmd_that_is_stopped),
    "monitor that does not answer costs its command only": pool.submit(monitor_that_is_stopped),
}
for name, future in waits.items():
    tap.test(name, limit=100)(future.result)

tap.main()
