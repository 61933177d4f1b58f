#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The request forms of real clients, byte by byte, and the exact replies they were written against."""

import os
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vmm  # noqa: E402
from vmm import NO_CONTENT, ok, tap  # noqa: E402

the = vmm.shared()
NO_VM = '["Error from API","VM information is not available","VM is not created"]'


def ping_body(v):
    return '{"build_version":"v54.0.0","version":"54.0.0","pid":%d,"features":["kvm"]}' % v.pid


def ping_reply(v):
    return ok(200, ping_body(v))


# --- replies ---


@tap.test
def ping_is_answered_byte_by_byte():
    with the().conn() as c:
        tap.eq(c.ask(b"GET /api/v1/vmm.ping HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n").raw, ping_reply(the()))


@tap.test
def reply_comes_in_one_write():
    """A client that reads once gets all of it."""
    with the().conn() as c:
        for _ in range(20):
            c.send(vmm.request("GET", "vmm.ping"))
            tap.eq(c.s.recv(1023), ping_reply(the()))


@tap.test
def info_without_vm_is_404_with_the_words_clients_look_for():
    with the().conn() as c:
        tap.eq(c.call("GET", "vm.info").raw, ok(404, NO_VM))
        tap.contains(NO_VM, "VM is not created")


@tap.test
def success_without_body_is_204_without_length():
    with the().conn() as c:
        tap.eq(c.call("PUT", "vm.delete").raw, NO_CONTENT)


@tap.test
def unknown_path_is_404_with_a_body():
    with the().conn() as c:
        tap.eq(c.call("GET", "vm.nothing").raw, vmm.NOT_FOUND)


@tap.test
def connection_outlives_error_replies():
    with the().conn() as c:
        for _ in range(3):
            tap.eq(c.call("GET", "nothing").status, 404)
            tap.eq(c.call("GET", "vm.boot").status, 400)
            tap.eq(c.call("PUT", "vm.create", "{").status, 400)
        tap.eq(c.call("GET", "vmm.ping").raw, ping_reply(the()))


@tap.test
def replies_are_ascii():
    with the().conn() as c:
        r = c.call("PUT", "vm.create", '{"payload":{"kernel":"/tmp/\u00e4\U0001f600"}}'.encode())
        tap.eq(r.raw, NO_CONTENT)
        try:
            r = c.call("GET", "vm.info")
            tap.ok(all(b < 128 for b in r.raw), "ASCII only")
            tap.eq(r.json()["config"]["payload"]["kernel"], "/tmp/\u00e4\U0001f600")
            tap.contains(r.body, b"\\u00e4\\ud83d\\ude00")
        finally:
            tap.eq(c.call("PUT", "vm.delete").status, 204)


# --- Kata, Go runtime ---

KATA_GO = (b"Host: localhost\r\nUser-Agent: OpenAPI-Generator/1.0.0/go\r\nAccept: application/json\r\n"
           b"Accept-Encoding: gzip\r\n")


@tap.test
def kata_go_generated_client():
    v = the()
    body = b'{"cpus":{"boot_vcpus":1,"max_vcpus":1},"payload":{"kernel":"/k","cmdline":"a=\\u003cb\\u003e \\u0026"}}\n'
    with v.conn() as c:
        tap.eq(c.ask(b"GET /api/v1/vmm.ping HTTP/1.1\r\n" + KATA_GO + b"\r\n").raw, ping_reply(v))
        tap.eq(c.ask(b"PUT /api/v1/vm.create HTTP/1.1\r\n" + KATA_GO + b"Content-Type: application/json\r\n"
                     b"Content-Length: %d\r\n\r\n" % len(body) + body).raw, NO_CONTENT)
        r = c.ask(b"GET /api/v1/vm.info HTTP/1.1\r\n" + KATA_GO + b"\r\n")
        tap.eq(r.json()["state"], "Created")
        tap.eq(r.json()["config"]["payload"]["cmdline"], "a=<b> &")
        tap.eq(r.headers["Content-Type"], "application/json")
        tap.ok("Content-Encoding" not in r.headers, "never compressed")
        tap.eq(c.ask(b"PUT /api/v1/vm.delete HTTP/1.1\r\n" + KATA_GO + b"Content-Length: 0\r\n\r\n").raw, NO_CONTENT)


@tap.test
def kata_go_raw_add_net_with_descriptors_in_one_message():
    v = the()
    body = b'{"mac":"02:00:00:00:00:01","num_queues":2,"queue_size":256}'
    head = (b"PUT /api/v1/vm.add-net HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nContent-Length: %d\r\n"
            b"Content-Type: application/json\r\n\r\n" % len(body))
    with v.conn() as c, open("/dev/null") as fd:
        for _ in range(3):
            r = c.ask(head + body, [fd.fileno()])
            tap.eq(r.raw, ok(404, '["Error from API","network device cannot be added","VM is not created"]'))
            tap.ok(len(r.raw) < 1024, "one small write")


# --- Kata, runtime-rs, and the api_client crate ---


def api_client(c, first, body=None, fds=()):
    """Several writes: request line and fixed headers (with descriptors), length, empty line, body."""
    c.send(first + b" HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n", fds)
    if body is not None:
        c.send(b"Content-Length: %d\r\n" % len(body))
    c.send(b"\r\n")
    if body is not None:
        c.send(body)
    return c.reply()


@tap.test
def api_client_writes_a_request_in_pieces():
    v = the()
    body = b'{\n  "cpus": {\n    "boot_vcpus": 1,\n    "max_vcpus": 1,\n    "topology": null\n  },\n  "disks": null,\n' \
           b'  "fs": [],\n  "devices": [],\n  "rng": {\n    "src": "/dev/urandom"\n  },\n  "unknown_to_us": {"a": [1.5e9]}\n}'
    with v.conn() as c:
        tap.eq(api_client(c, b"GET /api/v1/vmm.ping").raw, ping_reply(v))
        tap.eq(api_client(c, b"PUT /api/v1/vm.create", body).raw, NO_CONTENT)
        tap.eq(api_client(c, b"GET /api/v1/vm.info").json()["state"], "Created")
        tap.eq(api_client(c, b"PUT /api/v1/vm.delete").raw, NO_CONTENT)


@tap.test
def api_client_finds_its_status_and_length():
    """Everything between "HTTP/1.1 " and CR must be a number, and "Content-Length: " is looked for as it stands."""
    with the().conn() as c:
        for data in (vmm.request("GET", "vmm.ping"), vmm.request("GET", "vm.info"), vmm.request("GET", "x"),
                     vmm.request("PATCH", "vm.boot"), vmm.request("PUT", "vm.create", "{")):
            r = c.ask(data)
            int(r.raw[len(b"HTTP/1.1 "):r.raw.index(b"\r")].decode())
            at = r.raw.index(b"Content-Length: ") + len(b"Content-Length: ")
            tap.eq(int(r.raw[at:r.raw.index(b"\r", at)]), len(r.body))


@tap.test
def api_client_sends_descriptors_with_the_first_piece():
    with the().conn() as c, open("/dev/null") as fd:
        for _ in range(3):
            r = api_client(c, b"PUT /api/v1/vm.add-net", b'{"fds":[3],"num_queues":2}', [fd.fileno()] * 2)
            tap.eq(r.status, 404)


# --- libvirt 9, over curl ---

LV9_HEAD = (b" HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
CONTINUE = b"HTTP/1.1 100 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n"


@tap.test
def libvirt_9_bodyless_put_is_invited_then_answered():
    with the().conn() as c:
        for _ in range(3):
            c.send(b"PUT /api/v1/vm.delete" + LV9_HEAD)
            tap.eq(c.reply().raw, CONTINUE)
            c.send(b"0\r\n\r\n")
            tap.eq(c.reply().raw, NO_CONTENT)


@tap.test
def libvirt_9_terminator_may_come_with_the_head():
    with the().conn() as c:
        c.send(b"PUT /api/v1/vm.delete" + LV9_HEAD + b"0\r\n\r\n" + vmm.request("GET", "vmm.ping"))
        tap.eq(c.reply().raw, CONTINUE)
        tap.eq(c.reply().raw, NO_CONTENT)
        tap.eq(c.reply().raw, ping_reply(the()))


@tap.test
def lone_terminator_is_swallowed_between_requests():
    for piece in (5, 1, 2):
        with the().conn() as c:
            tap.eq(c.call("GET", "vmm.ping").status, 200)
            text = b"0\r\n\r\n" * 2
            for i in range(0, len(text), piece):
                c.send(text[i:i + piece])
            tap.ok(c.is_quiet(), "no answer to a terminator")
            tap.eq(c.call("GET", "vmm.ping").raw, ping_reply(the()))
            c.send(b"0\r\n\r\n" + vmm.request("GET", "vmm.ping"))
            tap.eq(c.reply().raw, ping_reply(the()))


@tap.test
def libvirt_9_config_in_the_old_shape_is_taken():
    v = the()
    body = b'{"cpus":{"boot_vcpus":1,"max_vcpus":1},"memory":{"size":536870912},"kernel":{"path":"/boot/k"},' \
           b'"cmdline":{"args":"console=ttyS0"},"initramfs":{"path":"/boot/i"}}'
    with v.conn() as c:
        tap.eq(c.ask(b"PUT /api/v1/vm.create HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
                     b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body).raw, NO_CONTENT)
        config = c.call("GET", "vm.info").json()["config"]
        tap.eq(config["payload"], {"kernel": "/boot/k", "cmdline": "console=ttyS0", "initramfs": "/boot/i"})
        tap.eq(c.call("PUT", "vm.delete").status, 204)


@tap.test
def chunked_body_with_content_is_decoded():
    body = b'{"payload":{"kernel":"/k"}}'
    with the().conn() as c:
        c.send(b"PUT /api/v1/vm.create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(0, len(body), 5):
            piece = body[i:i + 5]
            c.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
        c.send(b"0\r\n\r\n")
        tap.eq(c.reply().raw, NO_CONTENT)
        tap.eq(c.call("PUT", "vm.delete").status, 204)


# --- libvirt 11 ---


@tap.test
def libvirt_11_second_connection_closed_without_a_byte():
    v = the()
    with v.conn() as c:
        for _ in range(5):
            other = v.conn()
            other.close()
            tap.eq(c.ask(b"PUT /api/v1/vm.delete HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
                         b"Content-Length: 0\r\n\r\n").raw, NO_CONTENT)


@tap.test
def libvirt_11_several_add_net_on_one_connection_each_with_its_descriptors():
    body = b'{"id":"net_0","mac":"52:54:00:00:00:01","num_queues":4,"queue_size":256,"mtu":1500,"iommu":false}'
    head = (b"PUT /api/v1/vm.add-net HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body))
    with the().conn() as c, open("/dev/null") as fd:
        for _ in range(3):
            c.send(head + body, [fd.fileno()] * 2)
            got = c.s.recv(1023)
            tap.ok(got.startswith(b"HTTP/1.1 404 \r\n"), got)


# --- curl, Node, Python, others ---


@tap.test
def curl_put_without_length_and_body():
    with the().conn() as c:
        r = c.ask(b"PUT /api/v1/vm.delete HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n")
        tap.eq(r.raw, NO_CONTENT)


@tap.test
def curl_large_body_is_invited():
    body = b'{"payload":{"kernel":"/k"}}' + b" " * (1 << 20)
    with the().conn() as c:
        c.send(b"PUT /api/v1/vm.create HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
               b"Content-Length: %d\r\nContent-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\n\r\n"
               % len(body))
        tap.eq(c.reply().raw, CONTINUE)
        c.send(body)
        tap.eq(c.reply().raw, NO_CONTENT)
        tap.eq(c.call("PUT", "vm.delete").status, 204)


@tap.test
def invitation_comes_even_if_the_body_is_already_there():
    with the().conn() as c:
        c.send(b"PUT /api/v1/vm.create HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n{")
        tap.eq(c.reply().raw, CONTINUE.replace(b"HTTP/1.1", b"HTTP/1.0"))
        tap.eq(c.reply().status, 400)


@tap.test
def node_writes_header_names_in_lower_case():
    with the().conn() as c:
        r = c.ask(b"GET /api/v1/vmm.ping HTTP/1.1\r\nhost: 2f746d702f636c2e736f636b:0\r\ncontent-length: 0\r\n"
                  b"connection: keep-alive\r\n\r\n")
        tap.eq(r.raw, ping_reply(the()))
        r = c.ask(b"PUT /api/v1/vm.delete HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n")
        tap.eq(r.raw, NO_CONTENT)


@tap.test
def host_of_any_content_up_to_1_kib():
    with the().conn() as c:
        for host in (b"", b"[::1]:80", b"a" * 1024, b"unix:/x/y z", "\u00e4".encode()):
            tap.eq(c.ask(b"GET /api/v1/vmm.ping HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").raw, ping_reply(the()))


@tap.test
def absolute_target_and_version_1_0():
    with the().conn() as c:
        tap.eq(c.ask(b"GET http://localhost/api/v1/vmm.ping HTTP/1.1\r\n\r\n").raw, ping_reply(the()))
        tap.eq(c.ask(b"GET /api/v1/vmm.ping HTTP/1.0\r\n\r\n").raw, ping_reply(the()))


@tap.test
def upgrade_offer_is_ignored():
    with the().conn() as c:
        for _ in range(2):
            r = c.ask(b"GET /api/v1/vmm.ping HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                      b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n")
            tap.eq(r.raw, ping_reply(the()))


@tap.test
def connection_close_is_honoured():
    with the().conn() as c:
        r = c.ask(b"GET /api/v1/vmm.ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        tap.eq(r.raw, ping_reply(the()).replace(b"keep-alive", b"close"))
        tap.ok(c.at_end(), "closed")


@tap.test
def every_split_of_a_request_gives_the_same_answer():
    data = vmm.request("PUT", "vm.create", '{"payload":{"kernel":"/k"},"cpus":1}')
    want = None
    with the().conn() as c:
        for at in range(1, len(data)):
            c.send(data[:at])
            c.send(data[at:])
            got = c.reply()
            tap.eq(got.status, 400)
            tap.eq(got.raw, want or got.raw)
            want = got.raw
        for b in data:
            c.send(bytes([b]))
        tap.eq(c.reply().raw, want)


@tap.test
def pipelined_requests_are_answered_in_order():
    v = the()
    data = b"".join([vmm.request("GET", "vmm.ping"), vmm.request("GET", "vm.info"), vmm.request("PUT", "vm.delete"),
                     vmm.request("GET", "x"), vmm.request("GET", "vmm.ping")])
    with v.conn() as c:
        c.send(data)
        for want in (ping_reply(v), ok(404, NO_VM), NO_CONTENT, vmm.NOT_FOUND, ping_reply(v)):
            tap.eq(c.reply().raw, want)


@tap.test
def ten_thousand_pipelined_pings():
    v = the()
    data, want = vmm.request("GET", "vmm.ping") * 10000, ping_reply(v) * 10000
    with v.conn() as c:
        c.s.setblocking(False)
        sent, got = 0, []
        deadline = time.monotonic() + 30
        size = 0
        while size < len(want) and time.monotonic() < deadline:
            try:
                if sent < len(data):
                    sent += c.s.send(data[sent:sent + 65536])
            except BlockingIOError:
                pass
            try:
                got.append(c.s.recv(1 << 20))
                size += len(got[-1])
            except BlockingIOError:
                time.sleep(0.001)
        tap.ok(b"".join(got) == want, "%d of %d bytes" % (size, len(want)))


@tap.test
def half_closed_client_gets_its_answers():
    with the().conn() as c:
        c.send(vmm.request("GET", "vmm.ping") * 2)
        c.s.shutdown(socket.SHUT_WR)
        tap.eq(c.reply().raw, ping_reply(the()))
        tap.eq(c.reply().raw, ping_reply(the()))
        tap.ok(c.at_end(), "closed")


@tap.test
def descriptors_that_nobody_wants_are_closed():
    r, w = os.pipe()
    with the().conn() as c:
        for name, method in (("vmm.ping", "GET"), ("vm.info", "GET"), ("vm.delete", "PUT"), ("nothing", "GET")):
            c.ask(vmm.request(method, name), [w] * 64)
        c.ask(b"BREW / HTTP/1.1\r\n\r\n", [w] * 64)
        c.send(b"0\r\n\r\n", [w] * 64)
        tap.eq(c.call("GET", "vmm.ping").status, 200)
    os.close(w)
    os.set_blocking(r, False)

    def is_closed():
        try:
            return os.read(r, 1) == b""
        except BlockingIOError:
            return False

    tap.poll(is_closed, 5, "no writer is left")
    os.close(r)


@tap.test
def connections_that_say_nothing_leave_no_trace():
    """Clients that wait for a VMM connect and close a hundred times a second."""
    v = vmm.Vmm("-vvv").wait_up()
    with v.conn() as c:
        tap.eq(c.call("GET", "vmm.ping").status, 200)
        before = len(v.stderr())
        for _ in range(300):
            v.conn().close()
        tap.eq(c.call("GET", "vmm.ping").status, 200)
        tap.eq(v.stderr()[before:].count("API connection"), 0, "lines about them")
    with v.conn() as c:
        tap.eq(c.call("GET", "vmm.ping").status, 200)
    v.kill()


@tap.test
def vmm_shutdown_is_answered_before_the_end():
    v = vmm.Vmm().wait_up()
    with v.conn() as c:
        tap.eq(c.call("PUT", "vmm.shutdown", "ignored body").raw, NO_CONTENT)
        tap.ok(c.at_end(), "closed")
    tap.eq(v.wait(), 0)
    tap.ok(not os.path.exists(v.path), "the socket is gone")


tap.main()
