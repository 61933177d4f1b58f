# SPDX-License-Identifier: ISC
"""A running cloister under test, and raw connections to its API socket: every byte is visible in the test."""

import array
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402

CLOISTER = tap.program("bin/cloister")
HEAD = b"HTTP/1.1 %d \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n"
NO_CONTENT = HEAD % 204 + b"\r\n"


def ok(status, body):
    """The exact bytes of a reply with a body."""
    if isinstance(body, str):
        body = body.encode()
    return (HEAD % status + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)) + body


PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_the_test():
    """A test that is killed leaves no VMM behind."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


BAD_REQUEST = ok(400, '["Bad Request"]')
NOT_FOUND = ok(404, '["Not Found"]')


class Reply:
    def __init__(self, raw, status, headers, body):
        self.raw, self.status, self.headers, self.body = raw, status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return "<Reply %r>" % self.raw


class Conn:
    """One connection to the API socket."""

    def __init__(self, path, timeout=10):
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.s.connect(path)  # blocking: waits while the backlog is full
        self.s.settimeout(timeout)
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.s.close()

    def send(self, data, fds=()):
        if not fds:
            self.s.sendall(data)
            return
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        n = self.s.sendmsg([data], rights)
        self.s.sendall(data[n:])

    def _more(self):
        got = self.s.recv(65536)
        if not got:
            raise AssertionError("end of file, with %r read" % self.rest)
        self.rest += got

    def reply(self):
        """One whole reply."""
        while b"\r\n\r\n" not in self.rest:
            self._more()
        head = self.rest.split(b"\r\n\r\n", 1)[0] + b"\r\n\r\n"
        lines = head.decode("ascii").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        length = int(headers.get("Content-Length", "0"))
        while len(self.rest) < len(head) + length:
            self._more()
        raw, self.rest = self.rest[:len(head) + length], self.rest[len(head) + length:]
        return Reply(raw, int(lines[0].split(" ")[1]), headers, raw[len(head):])

    def ask(self, data, fds=()):
        self.send(data, fds)
        return self.reply()

    def call(self, method, name, body=None):
        return self.ask(request(method, name, body))

    def at_end(self):
        """The server has closed, with nothing more to say."""
        try:
            return self.rest == b"" and self.s.recv(1) == b""
        except ConnectionResetError:
            return True

    def is_quiet(self, seconds=0.05):
        """Nothing comes for a while."""
        before = self.s.gettimeout()
        self.s.settimeout(seconds)
        try:
            return self.rest == b"" and self.s.recv(1) is None
        except socket.timeout:
            return True
        finally:
            self.s.settimeout(before)


def request(method, name, body=None, headers=()):
    head = ["%s /api/v1/%s HTTP/1.1" % (method, name), "Host: localhost"] + list(headers)
    data = b""
    if body is not None:
        data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        head.append("Content-Length: %d" % len(data))
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


class Vmm:
    """cloister with an API socket in a folder of its own."""

    def __init__(self, *args, api=True, cwd=None, wrap=(), argv=None):
        self.dir = tempfile.mkdtemp(prefix="cl-")
        self.path = os.path.join(self.dir, "api.sock")
        self.out_path, self.err_path = os.path.join(self.dir, "stdout"), os.path.join(self.dir, "stderr")
        line = argv or [CLOISTER] + (["--api-socket", self.path] if api else []) + list(args)
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.proc = subprocess.Popen(list(wrap) + line, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                         cwd=cwd or self.dir, start_new_session=True, preexec_fn=die_with_the_test)
        self.pid = self.proc.pid
        tap.at_exit(self.kill)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def wait_up(self, seconds=10):
        tap.poll(self._answers, seconds, "the API socket answers")
        return self

    def _answers(self):
        if self.proc.poll() is not None:
            raise AssertionError("ended with %s: %s" % (self.proc.returncode, self.stderr()))
        try:
            with Conn(self.path) as c:
                return c.call("GET", "vmm.ping").status == 200
        except (ConnectionRefusedError, FileNotFoundError):
            return False

    def conn(self, timeout=10):
        return Conn(self.path, timeout)

    def call(self, method, name, body=None):
        with self.conn() as c:
            return c.call(method, name, body)

    def wait(self, seconds=10):
        try:
            return self.proc.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError("still running after %g s" % seconds)

    def stdout(self):
        with open(self.out_path, "rb") as f:
            return f.read().decode("utf-8", "replace")

    def stderr(self):
        with open(self.err_path, "rb") as f:
            return f.read().decode("utf-8", "replace")

    def kill(self):
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGKILL)
            self.proc.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    # --- its processes ---

    def processes(self):
        """pid -> command name, of everything that descends from the started process."""
        parents = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open("/proc/%s/stat" % entry) as f:
                        text = f.read()
                except OSError:
                    continue
                name, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
                if rest[0] != "Z":
                    parents[int(entry)] = (int(rest[1]), name)
        found = {self.pid: parents.get(self.pid, (0, ""))[1]}
        grown = True
        while grown:
            grown = False
            for pid, (ppid, name) in parents.items():
                if ppid in found and pid not in found:
                    found[pid] = name
                    grown = True
        return found

    def pid_of(self, name):
        """The one process with that command name (cut to 15 bytes by the kernel)."""
        pids = [pid for pid, comm in self.processes().items() if comm == name[:15]]
        return pids[0] if len(pids) == 1 else None


def shared(*args):
    """One VMM for the tests of a file that leave it as they found it, started at the first use."""
    running = []

    def get():
        if not running or running[0].proc.poll() is not None:
            running[:] = [Vmm(*args).wait_up()]
        return running[0]

    return get
