# SPDX-License-Identifier: ISC
"""cloister-console as a child of the test, which plays its monitor and vmmd."""
import fcntl
import os
import pty
import select
import signal
import socket
import struct
import sys
import tempfile
import termios
import time
import tty

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
import wire  # noqa: E402

PROGRAM = tap.program("libexec/cloister/cloister-console")
SAN = bool(os.environ.get("SAN"))
MIB = 1 << 20
RING_SIZE = MIB + 4096
CHUNK = 4096


class Console:
    """One helper process, with this test in the roles of its monitor and of vmmd.

    The stream, the ring and the target are kept by the test like by a monitor, for a successor."""

    def __init__(self):
        self.pid = None
        self.device, self.stream = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.ring = os.memfd_create("ring")
        os.ftruncate(self.ring, RING_SIZE)
        self.spawn()

    def spawn(self):
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.log, log = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(10)
        null = os.open("/dev/null", os.O_RDWR)
        actions = [(os.POSIX_SPAWN_DUP2, null, n) for n in (0, 1)]
        if not SAN:
            actions.append((os.POSIX_SPAWN_DUP2, null, 2))
        # Through high numbers: the targets may be numbers that are in use here.
        high = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 100) for s in (theirs, log)]
        actions += [(os.POSIX_SPAWN_DUP2, high[0], 3), (os.POSIX_SPAWN_DUP2, high[1], 4)]
        actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in high]
        env = {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}
        if SAN:  # looking for leaks opens /proc, which neither Landlock nor the descriptor limit lets it do
            env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        self.pid = os.posix_spawn(PROGRAM, ["cloister-console"], env, file_actions=actions)
        for fd in high + [null]:
            os.close(fd)
        theirs.close()
        log.close()

    def configure(self, target, fds=(), has_input=False, termios_bytes=b""):
        """Up to READY."""
        hello = wire.recv(self.control)
        tap.eq(hello[0], wire.HLP_HELLO, "first message")
        body = wire.con_config(target, has_input, termios_bytes)
        wire.send(self.control, wire.frame(wire.CON_CONFIG, body, 1), [self.stream.fileno(), self.ring, *fds])
        wire.send(self.control, wire.frame(wire.HLP_LOCKDOWN, b"", 2))
        ready = wire.recv(self.control)
        if ready is None:
            raise AssertionError("ended instead of READY: %s" % self.log_text())
        tap.eq(ready[:2], (wire.HLP_READY, 2), "answer to LOCKDOWN")
        return self

    def stats(self):
        wire.send(self.control, wire.frame(wire.HLP_STATS, b"", 77))
        m = wire.recv(self.control)
        tap.eq(m[:2], (wire.HLP_STATS_RESULT, 77), "answer to STATS")
        return dict(zip(("in", "out", "dropped"), wire.body_of(m, "QQQ")))

    def drain(self, timeout_ms):
        wire.send(self.control, wire.frame(wire.HLP_DRAIN, wire.drain(timeout_ms), 88))
        m = wire.recv(self.control)
        tap.eq(m[:2], (wire.HLP_DRAINED, 88), "answer to DRAIN")
        return wire.body_of(m, "?")[0]

    def log_text(self):
        text = b""
        self.log.setblocking(False)
        try:
            while True:
                record = self.log.recv(65536)
                if not record:
                    break
                text += record + b"\n"
        except BlockingIOError:
            pass
        return text.decode("latin-1")

    def alive(self):
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def wait(self, seconds=10):
        """Exit status, negative for a signal."""
        tap.poll(lambda: not self.alive(), seconds, "the console ends")
        _, status = os.waitpid(self.pid, 0)
        self.pid = None
        return os.waitstatus_to_exitcode(status)

    def kill(self):
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.kill()
        for s in (self.control, self.log, self.device, self.stream):
            s.close()
        os.close(self.ring)


def read_exactly(fd, n, seconds=10):
    data = b""
    end = time.monotonic() + seconds
    while len(data) < n:
        ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
        if not ready:
            raise AssertionError("%d of %d bytes came" % (len(data), n))
        part = os.read(fd, min(65536, n - len(data)))
        if not part:
            raise AssertionError("end after %d of %d bytes" % (len(data), n))
        data += part
    return data


def numbered(first, count):
    return b"".join(b"line %08d\n" % i for i in range(first, first + count))


def pattern(n):
    return numbered(0, n // 14 + 1)[:n]


def put_all(console, data):
    """As vmmd: never blocks on the helper, but the helper always reads."""
    console.device.settimeout(10)
    console.device.sendall(data)


def reads_all(console, total):
    tap.poll(lambda: console.stats()["in"] == total, 10, "all bytes are read")


def open_tty():
    """A terminal as a monitor hands it out: (user's side, output, input), both re-opened."""
    master, slave = pty.openpty()
    name = os.ttyname(slave)
    out = os.open(name, os.O_WRONLY | os.O_NOCTTY)
    into = os.open(name, os.O_RDONLY | os.O_NOCTTY)
    return master, slave, out, into


def termios_bytes(fd):
    """struct termios of glibc."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = termios.tcgetattr(fd)
    chars = b"".join(c if isinstance(c, bytes) else bytes([c]) for c in cc).ljust(32, b"\0")
    return struct.pack("<4IB32s3x2I", iflag, oflag, cflag, lflag, 0, chars, ispeed, ospeed)


def open_pty():
    master, slave = pty.openpty()
    tty.setraw(slave)
    return master, slave, os.ttyname(slave)


class Listener:
    def __init__(self):
        self.dir = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.dir.name, "s")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.bind(self.path)
        self.sock.listen(16)

    def connect(self):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.connect(self.path)
        s.settimeout(10)
        return s

    def console(self):
        return Console().configure(wire.TARGET_LISTEN, [self.sock.fileno()], has_input=True)
