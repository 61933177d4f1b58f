#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Client programs and libraries as they are: curl and Python's http.client."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vmm  # noqa: E402
from vmm import tap  # noqa: E402

the = vmm.shared()
CONFIG = {"payload": {"kernel": "/k", "cmdline": "a<b> & c"}}


def curl(*args, data=None):
    """(status, body) of one curl run, which must succeed."""
    if shutil.which("curl") is None:
        tap.skip("curl is not installed")
    p = subprocess.run(["curl", "-sS", "--max-time", "20", "--unix-socket", the().path, "-w", "\n%{http_code}"] + list(args),
                       input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    tap.eq(p.returncode, 0, p.stderr.decode())
    body, status = p.stdout.decode().rsplit("\n", 1)
    return int(status), body


def url(name):
    return "http://localhost/api/v1/" + name


@tap.test
def curl_asks_creates_and_deletes():
    tap.eq(curl(url("vmm.ping"))[0], 200)
    tap.eq(curl(url("vm.info"))[0], 404)
    tap.eq(curl("-X", "PUT", "-H", "Content-Type: application/json", "-d", json.dumps(CONFIG), url("vm.create")), (204, ""))
    status, body = curl(url("vm.info"))
    tap.eq((status, json.loads(body)["config"]["payload"]), (200, CONFIG["payload"]))
    tap.eq(curl("-X", "PUT", url("vm.delete")), (204, ""))


@tap.test
def curl_uses_one_connection_for_several_requests():
    out = subprocess.run(["curl", "-sSv", "--unix-socket", the().path, url("vmm.ping"), url("vm.info"), url("nothing"),
                          url("vmm.ping")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    tap.eq(out.returncode, 0)
    text = out.stderr.decode()
    tap.eq(text.count("Re-using existing connection"), 3, text)


@tap.test
def curl_uploads_from_a_pipe_in_chunks():
    tap.eq(curl("-T", "-", url("vm.create"), data=json.dumps(CONFIG).encode()), (204, ""))
    tap.eq(curl("-X", "PUT", url("vm.delete"))[0], 204)


@tap.test
def curl_sends_bodies_of_2_mib():
    body = json.dumps(dict(CONFIG, junk="j" * (2 << 20)))
    with tempfile.NamedTemporaryFile("w") as f:
        f.write(body)
        f.flush()
        tap.eq(curl("-X", "PUT", "-d", "@" + f.name, url("vm.create")), (204, ""))
    tap.eq(curl("-X", "PUT", url("vm.delete"))[0], 204)


@tap.test
def curl_sees_the_answer_to_a_body_that_is_too_large():
    with tempfile.NamedTemporaryFile("w") as f:
        f.write("j" * (6 << 20))
        f.flush()
        status, body = curl("-X", "PUT", "-d", "@" + f.name, url("vm.create"))
        tap.eq(status, 400)
        tap.ok("error" in json.loads(body), body)


@tap.test
def curl_with_http_1_0_offers_of_http_2_and_compression():
    for args in (["--http1.0"], ["--http2"], ["--compressed"], ["-H", "Connection: close"], ["-H", "Expect: 100-continue"]):
        tap.eq(curl(*args, url("vmm.ping"))[0], 200, str(args))


class UnixConnection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(the().path)
        self.sock.settimeout(10)


@tap.test
def http_client_keeps_its_connection_through_all_kinds_of_replies():
    c = UnixConnection("localhost")
    c.connect()
    first = c.sock
    for method, name, body, status in (
            ("GET", "vmm.ping", None, 200), ("PUT", "vm.create", json.dumps(CONFIG), 204), ("GET", "vm.info", None, 200),
            ("PUT", "vm.create", "{}", 500), ("PUT", "vm.pause", None, 500), ("PATCH", "vm.boot", None, 400),
            ("PUT", "vm.delete", None, 204), ("GET", "vm.info", None, 404), ("POST", "vm.info", "x", 400),
            ("GET", "vmm.ping", None, 200)):
        c.request(method, "/api/v1/" + name, body)
        r = c.getresponse()
        text = r.read()
        tap.eq((r.status, r.reason, r.version), (status, "", 11), "%s %s" % (method, name))
        tap.eq(len(text) == 0, status == 204, name)
        tap.ok(c.sock is first, "the same connection after %s" % name)
    c.close()


@tap.test
def http_client_sends_chunks():
    c = UnixConnection("localhost")
    pieces = [b'{"payload":', b'{"kernel":"/k"}', b"}"]
    c.request("PUT", "/api/v1/vm.create", iter(pieces), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    r = c.getresponse()
    r.read()
    tap.eq(r.status, 204)
    c.request("PUT", "/api/v1/vm.delete")
    r = c.getresponse()
    r.read()
    tap.eq(r.status, 204)
    c.close()


tap.main()
