#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""What is not HTTP, or too much of it: a clear 400, then the connection goes on or ends; everybody else is served."""

import concurrent.futures
import os
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vmm  # noqa: E402
from vmm import tap  # noqa: E402

the = vmm.shared()

PING = vmm.request("GET", "vmm.ping")
BUSY = (b"HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\nContent-Length: 40\r\n\r\n"
        b'{ "error": "Too many open connections" }')
MORE = "\nAll previous unanswered requests will be dropped."


def assert_parse_error(r, goes_on):
    tap.eq(r.status, 400)
    keep = b"keep-alive" if goes_on else b"close"
    want = (b"HTTP/1.1 400 \r\nServer: Firecracker API\r\nConnection: " + keep +
            b"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(r.body))
    tap.eq(r.raw[:len(want)], want)
    text = r.json()["error"]
    tap.ok(text.endswith(MORE) and len(text) > len(MORE), text)
    tap.ok(b"\n" not in r.body, "the line feed is escaped")


def refused(data, goes_on=False):
    """Send @data: a parse error, then the connection works or ends as told."""
    with the().conn() as c:
        c.send(data)
        assert_parse_error(c.reply(), goes_on)
        if goes_on:
            tap.eq(c.ask(PING).status, 200, "the next request")
        else:
            tap.ok(c.at_end(), "closed")
    tap.eq(the().call("GET", "vmm.ping").status, 200, "others are served")


# --- request line ---


@tap.test
def methods_that_are_not_served_leave_the_connection_usable():
    for method in (b"POST", b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"get", b"Put", b"BREW", b"G\xc3\xa9T"):
        refused(method + b" /api/v1/vmm.ping HTTP/1.1\r\nHost: x\r\n\r\n", True)


@tap.test
def body_of_a_refused_method_is_no_request():
    refused(b"POST /api/v1/vmm.ping HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(PING) + PING, True)
    refused(b"POST /api/v1/vmm.ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", True)


@tap.test
def versions_and_targets_that_are_not_served():
    for line in (b"GET /api/v1/vmm.ping HTTP/1.2", b"GET /api/v1/vmm.ping HTTP/2.0", b"GET /api/v1/vmm.ping HTTP/0.9",
                 b"GET /api/v1/vmm.ping http/1.1", b"GET api/v1/vmm.ping HTTP/1.1", b"GET * HTTP/1.1",
                 b"GET http://localhost HTTP/1.1", b"GET https://localhost/api/v1/vmm.ping HTTP/1.1",
                 b"GET /api/v1/\xff HTTP/1.1", b"GET /api/v1/\xc0\xaf HTTP/1.1"):
        refused(line + b"\r\nHost: x\r\n\r\n", True)


@tap.test
def lines_of_another_shape_end_the_connection():
    for line in (b"GARBAGE", b"GET /api/v1/vmm.ping", b"GET  /api/v1/vmm.ping HTTP/1.1", b" GET /api/v1/vmm.ping HTTP/1.1",
                 b"GET /api/v1/vmm.ping HTTP/1.1 ", b"GET\t/api/v1/vmm.ping\tHTTP/1.1", b"GET /api/v1/ vmm.ping HTTP/1.1",
                 b"GET /a\nGET /b HTTP/1.1", b"GET /\x00 HTTP/1.1", b"\x16\x03\x01\x02\x00\x01", b"0\r\nX", b"\x00" * 100):
        refused(line + b"\r\n")


# --- header lines: pairs that two readers would split differently ---


@tap.test
def lengths_that_are_no_lengths():
    for value in (b"", b" ", b"+5", b"-1", b"5,5", b"5 5", b"0x10", b"5.0", b"1e3", b"five", b"4194305", b"4294967296",
                  b"4294967301", b"18446744073709551616", b"9" * 100):
        refused(b"PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: " + value + b"\r\n\r\n{}{}{}{}")


@tap.test
def two_lengths_and_length_with_chunks():
    for lines in (b"Content-Length: 2\r\nContent-Length: 2", b"Content-Length: 2\r\nContent-Length: 3",
                  b"Content-Length: 2\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nContent-Length: 2",
                  b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked",
                  b"Transfer-Encoding: gzip", b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked, identity",
                  b"Transfer-Encoding: xchunked", b"Transfer-Encoding: "):
        refused(b"PUT /api/v1/vm.create HTTP/1.1\r\n" + lines + b"\r\n\r\n{}")


@tap.test
def header_lines_out_of_form():
    for line in (b"no colon", b": no name", b"Content-Length : 2", b" Content-Length: 2", b"A: b\r\n folded: c",
                 b"A: b\nContent-Length: 2", b"A: b\rContent-Length: 2", b"A: \x00", b"A: \x01", b"A: \xff", b"A\x80: b",
                 b"A b: c", b"Accept-Encoding: identity;q=0", b"Accept-Encoding: *;q=0", b"Accept-Encoding:"):
        refused(b"PUT /api/v1/vm.delete HTTP/1.1\r\n" + line + b"\r\n\r\n")


@tap.test
def bare_line_feeds_end_no_head():
    refused(b"GET /api/v1/vmm.ping HTTP/1.1\nHost: x\n\n\r\n")
    refused(b"GET /api/v1/vmm.ping HTTP/1.1\r\nHost: x\n\nGET /api/v1/vm.info HTTP/1.1\r\n\r\n")


@tap.test
def chunks_out_of_form():
    for chunks in (b"5\nhello\r\n0\r\n\r\n", b"5\rXhello\r\n0\r\n\r\n", b"5\r\nhelloXX0\r\n\r\n", b"5\r\nhello0\r\n\r\n",
                   b"-1\r\n", b"0x5\r\nhello\r\n", b" 5\r\nhello\r\n", b"g\r\n", b"\r\n", b"0\r\nTrailer: x\r\n\r\n",
                   b"fffffffffffffffff\r\n", b"5;a\nb\r\nhello\r\n0\r\n\r\n", b"0\n\n", b"1" + b"0" * 50 + b"\r\n"):
        refused(b"PUT /api/v1/vm.create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)


@tap.test
def nothing_behind_a_refused_head_is_a_request():
    """The body of a request whose length is not known may hold another one: it must not be served."""
    v = the()
    with v.conn() as c:
        c.send(b"PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n" +
               vmm.request("PUT", "vm.create", '{"payload":{"kernel":"/smuggled"}}') * 3)
        assert_parse_error(c.reply(), False)
        tap.ok(c.at_end(), "closed")
    tap.eq(v.call("GET", "vm.info").status, 404, "nothing was created")


# --- sizes ---


@tap.test
def head_of_16_kib_passes_and_one_byte_more_does_not():
    line, end = b"GET /api/v1/vmm.ping HTTP/1.1\r\nHost: ", b"\r\n\r\n"
    fill = 16384 - len(line) - len(end)
    with the().conn() as c:
        tap.eq(c.ask(line + b"h" * fill + end).status, 200)
    refused(line + b"h" * (fill + 1) + end)


@tap.test
def endless_heads_are_cut_off():
    refused(b"G" * (1 << 20))
    refused(b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\n\r\n")
    refused(b"GET /api/v1/vmm.ping HTTP/1.1\r\n" + b"A: b\r\n" * 10000)
    refused(b"GET /api/v1/vmm.ping HTTP/1.1\r\nA: " + b"a" * (1 << 20))


@tap.test
def body_of_4_mib_is_served_and_one_byte_more_refused():
    body = b'{"payload":{"kernel":"/k"},"junk":"' + b"j" * (4194304 - 37) + b'"}'
    tap.eq(len(body), 4194304)
    with the().conn() as c:
        tap.eq(c.ask(vmm.request("PUT", "vm.create", body)).raw, vmm.NO_CONTENT)
        tap.eq(c.call("PUT", "vm.delete").status, 204)
    refused(vmm.request("PUT", "vm.create", body + b" "))


@tap.test
def client_that_sends_a_too_large_body_gets_to_the_answer():
    """It writes all of it before it reads: it must not be stopped by a reset."""
    with the().conn() as c:
        c.send(b"PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n")
        c.send(b"x" * 20000000)
        assert_parse_error(c.reply(), False)


@tap.test
def chunks_beyond_4_mib_are_refused():
    with the().conn() as c:
        c.send(b"PUT /api/v1/vm.create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        c.send((b"10000\r\n" + b"x" * 65536 + b"\r\n") * 65)
        assert_parse_error(c.reply(), False)


@tap.test("many large bodies at once are all served", limit=120)
def many_large_bodies():
    """More than their budget in sum: they wait for each other."""
    body = b'["' + b"x" * 4000000 + b'"'

    def one(_):
        return the().call("PUT", "vm.create", body).status

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        tap.eq(list(pool.map(one, range(24))), [400] * 24)


# --- slow and silent clients ---


def pinging(seconds):
    """Answers of a well-behaved client while others misbehave; returns the slowest."""
    worst, end = 0.0, time.monotonic() + seconds
    with the().conn() as c:
        while time.monotonic() < end:
            began = time.monotonic()
            tap.eq(c.ask(PING).status, 200)
            worst = max(worst, time.monotonic() - began)
            time.sleep(0.01)
    return worst


@tap.test
def half_sent_request_then_gone():
    for data in (b"G", b"GET /api/v1/vmm.ping HTTP/1.1\r\n", b"PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 10\r\n\r\n{"):
        for _ in range(20):
            c = the().conn()
            c.send(data)
            c.close()
        tap.eq(the().call("GET", "vmm.ping").status, 200)


@tap.test
def half_sent_request_then_half_closed_is_told():
    for data in (b"GET /api/v1/vmm.pi", b"PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 10\r\n\r\n{"):
        with the().conn() as c:
            c.send(data)
            c.s.shutdown(socket.SHUT_WR)
            assert_parse_error(c.reply(), False)
            tap.ok(c.at_end(), "closed")


@tap.test
def client_that_never_reads_is_dropped_and_blocks_nobody():
    with the().conn() as c:
        c.s.setblocking(False)
        data = PING * 1000
        end = time.monotonic() + 20
        dropped = False
        while not dropped and time.monotonic() < end:
            try:
                c.s.send(data)
            except BlockingIOError:
                tap.ok(pinging(0.1) < 1, "a ping took a second")
            except (BrokenPipeError, ConnectionResetError):
                dropped = True
        tap.ok(dropped, "its connection is ended")


# --- too many ---


@tap.test
def connection_129_is_refused_with_503_and_closed():
    v = vmm.Vmm().wait_up()
    held = [v.conn() for _ in range(128)]
    for c in held:
        tap.eq(c.ask(PING).status, 200)
    for _ in range(3):
        with v.conn() as extra:
            got = b""
            while True:
                more = extra.s.recv(4096)
                if not more:
                    break
                got += more
            tap.eq(got, BUSY)
    tap.eq(held[0].ask(PING).status, 200, "those that are there")
    held[64].close()

    def is_served():
        with v.conn() as c:
            c.send(PING)
            return c.s.recv(4096).startswith(b"HTTP/1.1 200 ")

    tap.poll(is_served, 5, "a place that became free is given again")
    for c in held:
        c.close()
    v.kill()


@tap.test
def two_thousand_connections_at_once():
    v = vmm.Vmm().wait_up()
    clients = []
    for _ in range(2000):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.connect(v.path)
        clients.append(s)
    answers = 0
    for s in clients:
        s.settimeout(0.01)
        try:
            answers += s.recv(4096) == BUSY
        except socket.timeout:
            pass
    for s in clients:
        s.close()
    tap.eq(answers, 2000 - 128, "refused")
    tap.poll(lambda: v.call("GET", "vmm.ping").status == 200, 5, "served again")
    v.kill()


@tap.test
def too_many_descriptors_end_the_connection_only():
    r, w = os.pipe()
    with the().conn() as c:
        try:
            for _ in range(10):
                c.send(b"A", [w] * 253)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert_parse_error(c.reply(), False)
    tap.eq(the().call("GET", "vmm.ping").status, 200)
    os.close(w)
    os.close(r)


@tap.test
def descriptors_of_unfinished_requests_leave_room_for_all_clients():
    v = vmm.Vmm().wait_up()
    r, w = os.pipe()
    greedy = [v.conn() for _ in range(20)]
    for c in greedy:  # 500 descriptors, each client within what a request may bring
        c.send(b"PUT /api/v1/vm.add-net HTTP/1.1\r\n", [w] * 25)
    others = [v.conn() for _ in range(100)]
    for c in others:
        tap.eq(c.ask(PING).status, 200)
    for c in greedy + others:
        c.close()
    os.close(w)
    os.close(r)
    tap.eq(v.call("GET", "vmm.ping").status, 200)
    v.kill()


tap.main()
