#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Time limits: 10 s for a head, 30 s for a request, none for an idle connection. All waits run side by side."""

import concurrent.futures
import os
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


waits = {
    "fifty heads that drip are given up after 10 s": pool.submit(dripping_heads),
    "others are served meanwhile": pool.submit(well_behaved),
    "head of one byte is given up after 10 s": pool.submit(silent_head),
    "body that does not come is given up after 30 s": pool.submit(
        slow_body, b"PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"),
    "chunks that do not come are given up after 30 s": pool.submit(
        slow_body, b"PUT /api/v1/vm.create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"),
    "idle connections stay beyond every limit": pool.submit(idle),
}
for name, future in waits.items():
    tap.test(name)(future.result)

tap.main()
