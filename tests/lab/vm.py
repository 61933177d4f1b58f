# SPDX-License-Identifier: ISC
"""A cloister under test: starting it, talking to its API, reading its guest's console, looking at its processes."""

import http.client
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.path.join(TOP, os.environ.get("CLOISTER_BUILD") or "build"))
PROGRAM = os.path.join(BUILD, "bin/cloister")
API = "http://localhost/api/v1/"
SCRATCH = "/run/scratch"     # a disk with ext4, made by the lab host's agent


class Failed(Exception):
    """A check that did not hold; the text is what people read."""


def wait_until(fn, seconds, what):
    """Call @fn until it answers something true. The deadline is believed only after one more call."""
    deadline = time.monotonic() + seconds
    while True:
        late = time.monotonic() >= deadline
        value = fn()
        if value:
            return value
        if late:
            raise Failed("not within %g s: %s" % (seconds, what() if callable(what) else what))
        time.sleep(0.005)


class Output:
    """Reads a descriptor in a thread of its own and keeps what came."""

    def __init__(self, fd):
        self.fd, self.data, self.end, self.lock = fd, bytearray(), False, threading.Lock()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while True:
            try:
                chunk = os.read(self.fd, 65536)
            except OSError:        # EIO: the other side of a terminal is gone
                chunk = b""
            if not chunk:
                self.end = True
                return
            with self.lock:
                self.data += chunk

    def bytes(self):
        with self.lock:
            return bytes(self.data)

    def text(self):
        return self.bytes().decode(errors="replace").replace("\r\n", "\n")

    def wait(self, pattern, seconds=180, count=1):
        """Wait for the @count-th match of @pattern; returns it."""
        regex = re.compile(pattern, re.M)

        def look():
            found = list(regex.finditer(self.text()))
            return found[count - 1] if len(found) >= count else None
        return wait_until(look, seconds, lambda: "%r (%d times) in the guest's output, which ends: %r" % (
            pattern, count, self.text()[-600:]))

    def close(self):
        try:
            os.close(self.fd)
        except OSError:
            pass


class Report:
    """What a guest's `report` said (see guest_init.sh)."""

    def __init__(self, text):
        self.online = re.findall(r"^@online (.*)$", text, re.M)[-1]
        self.memmap = sorted((int(a, 16), int(b, 16), c) for a, b, c in
                             re.findall(r"^@memmap (0x[0-9a-f]+) (0x[0-9a-f]+) (.*)$", text, re.M))
        self.dmesg = [re.sub(r"^\[ *[0-9.]+\] ?", "", m) for m in re.findall(r"^@dmesg <[0-4]>(.*)$", text, re.M)]
        self.acpi = re.findall(r"^@acpi (.*)$", text, re.M)
        self.pci = re.findall(r"^@pci (\S+) (\S+) (\S+)$", text, re.M)


class Cloister:
    """One started program. Use as a context manager: whatever happens, nothing of it stays."""

    def __init__(self, args=(), api=True, tty=False, user=None, program=PROGRAM, folder=None, argv0=None, stdin=None, api_path=None, stale=False):
        self.folder = folder or tempfile.mkdtemp(prefix="vm.", dir=work_dir())
        if user is not None:
            os.chown(self.folder, user, user)
        self.api_path = api_path or os.path.join(self.folder, "api.sock")
        argv = [argv0 or program] + (["--api-socket", "path=" + self.api_path] if api else []) + list(args)
        self.master = self.slave = None
        if tty:
            self.master, self.slave = pty.openpty()
            self.saved_termios = termios.tcgetattr(self.slave)
            stdin = out = self.slave
        else:
            stdin = subprocess.DEVNULL if stdin is None else stdin
            out = subprocess.PIPE
        ids = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        self.started = time.monotonic()
        self.process = subprocess.Popen(argv, executable=program, stdin=stdin, stdout=out, stderr=subprocess.PIPE,
                                        cwd=self.folder, start_new_session=True, **ids)
        self.pid = self.process.pid
        self.stdout = Output(self.master if tty else self.process.stdout.fileno())
        self.stderr = Output(self.process.stderr.fileno())
        if api:
            self.wait_api(stale)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.explain(value)
        self.kill()

    def explain(self, value):
        for name, out in (("stderr", self.stderr), ("output", self.stdout)):
            text = out.text()
            if text:
                print("# %s of the failed run ends:" % name)
                for line in text.splitlines()[-25:]:
                    print("#   " + line)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for fd in (self.master, self.slave):
            if fd is not None:
                try:
                    os.close(fd)
                except OSError:
                    pass
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- the API -----------------------------------------------------------------------------------------------------

    def wait_api(self, stale, seconds=30):
        """The file is there only when a connection would be answered, unless a dead one left it (@stale)."""
        def look():
            if self.process.poll() is not None:
                raise Failed("exit status %d at start: %s" % (self.process.returncode, self.stderr.text()[-800:]))
            try:
                return os.path.exists(self.api_path) and self.request("GET", "vmm.ping")[0] == 200
            except ConnectionRefusedError:
                if not stale:
                    raise
                return False
        wait_until(look, seconds, "the API socket answers")

    def request(self, method, what, body=None, timeout=60):
        """(status, text)"""
        c = http.client.HTTPConnection("localhost", timeout=timeout)
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.settimeout(timeout)
        c.sock.connect(self.api_path)
        try:
            c.request(method, "/api/v1/" + what, body=None if body is None else json.dumps(body))
            r = c.getresponse()
            return r.status, r.read().decode()
        finally:
            c.close()

    def put(self, what, body=None, want=204):
        status, text = self.request("PUT", what, body)
        if status != want:
            raise Failed("%s answered %d, not %d: %s" % (what, status, want, text))
        return text

    def info(self):
        status, text = self.request("GET", "vm.info")
        if status != 200:
            raise Failed("vm.info answered %d: %s" % (status, text))
        return json.loads(text)

    def counters(self):
        status, text = self.request("GET", "vm.counters")
        if status != 200:
            raise Failed("vm.counters answered %d: %s" % (status, text))
        return json.loads(text)

    def state(self):
        return self.info()["state"]

    def curl(self, what, method="PUT", body=None, want=204):
        """The same with curl, as people do it. Returns the body."""
        argv = ["curl", "-sS", "--unix-socket", self.api_path, "-X", method, "-w", "\n%{http_code}", API + what]
        if body is not None:
            argv += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        r = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        text, _, status = r.stdout.decode().rpartition("\n")
        if r.returncode != 0 or int(status) != want:
            raise Failed("curl %s: exit status %d, HTTP %s, not %d: %s%s" % (
                what, r.returncode, status, want, text, r.stderr.decode()))
        return text

    # --- the process ---------------------------------------------------------------------------------------------------

    def wait_exit(self, want=0, seconds=60):
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed("still running after %d s; state of its processes: %s" % (seconds, family(self.pid)))
        if status != want:
            raise Failed("exit status %d, not %d" % (status, want))

    def running(self):
        return self.process.poll() is None

    def type(self, data):
        os.write(self.master, data)

    def termios(self):
        return termios.tcgetattr(self.slave)


def work_dir():
    path = os.environ.get("CLOISTER_LAB_WORK") or "/run/lab"
    os.makedirs(path, exist_ok=True)
    return path


def remove_quietly(path):
    try:
        os.unlink(path)
    except OSError:
        pass


# --- processes of a VM, seen in /proc --------------------------------------------------------------------------------

def processes():
    """{pid: (comm, parent)} of all that live (zombies left out)."""
    out = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, errors="replace") as f:
                text = f.read()
        except OSError:
            continue
        comm = text[text.index("(") + 1:text.rindex(")")]
        fields = text[text.rindex(")") + 2:].split()
        if fields[0] not in "ZX":
            out[int(name)] = (comm, int(fields[1]))
    return out


def family(pid):
    """The started process and all below it: {pid: comm}."""
    everything = processes()
    found = {pid} if pid in everything else set()
    grown = True
    while grown:
        grown = False
        for p, (_, parent) in everything.items():
            if parent in found and p not in found:
                found.add(p)
                grown = True
    return {p: everything[p][0] for p in sorted(found)}


def executable(pid):
    """The name of the program a process runs, whatever it calls itself."""
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            return os.path.basename(f.read().split(b"\0")[0].decode(errors="replace"))
    except OSError:
        return ""


def member(pid, program):
    """The pid of the VM's process whose argv[0] is @program, or None."""
    for p in family(pid):
        if p != pid and executable(p) == program:
            return p
    return None


def wait_member(pid, program, seconds=10, other_than=None):
    return wait_until(lambda: (lambda p: p if p and p != other_than else None)(member(pid, program)), seconds,
                      "a process %s of %d" % (program, pid))


def gone(pids):
    alive = processes()
    return not any(p in alive for p in pids)


class Stream:
    """A connection to a guest's serial port: a socket or a terminal. Reads go on in the background."""

    def __init__(self, fd):
        self.fd = fd
        self.out = Output(fd)

    def send(self, text):
        data = text.encode() if isinstance(text, str) else text
        while data:
            select.select([], [self.fd], [], 10)
            data = data[os.write(self.fd, data):]

    def wait(self, *args, **kw):
        return self.out.wait(*args, **kw)

    def text(self):
        return self.out.text()

    def close(self):
        self.out.close()


def connect_stream(path, seconds=5):
    def look():
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
            return s.detach()
        except OSError:
            s.close()
            return None
    return Stream(wait_until(look, seconds, "a connection to " + path))


def open_tty(path):
    return Stream(os.open(path, os.O_RDWR | os.O_NOCTTY))


def drain(fd, seconds):
    """Everything that comes on @fd in the next @seconds."""
    end, data = time.monotonic() + seconds, b""
    while time.monotonic() < end and select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
        chunk = os.read(fd, 65536)
        if not chunk:
            break
        data += chunk
    return data


def note(text):
    print("# " + text, file=sys.stderr, flush=True)


SIGNAMES = {s: s.name for s in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)}
