#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""cloister-console under a correct and under a hostile monitor and vmmd."""
import fcntl
import mmap
import os
import pty
import random
import select
import signal
import socket
import struct
import subprocess
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
        tap.eq(ready, (wire.HLP_READY, 2, b""), "answer to LOCKDOWN")
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


# --- targets ------------------------------------------------------------------------------------------------------------


@tap.test
def hello_comes_first_and_nothing_unasked_follows():
    with Console() as c:
        m = wire.recv(c.control)
        tap.eq(m[:2], (wire.HLP_HELLO, 0))
        version, perm, _old = wire.body_of(m, "III")
        tap.eq((version, perm), (1, 0), "version and layers not permitted")
        c.control.settimeout(0.05)
        try:
            tap.eq(wire.recv(c.control), "nothing")
        except TimeoutError:
            pass
        tap.ok(c.alive(), "alive")


@tap.test
def null_target_takes_everything():
    with Console().configure(wire.TARGET_NULL) as c:
        put_all(c, pattern(5 * MIB))
        reads_all(c, 5 * MIB)
        tap.eq(c.stats(), {"in": 5 * MIB, "out": 5 * MIB, "dropped": 0})


@tap.test
def file_gets_every_byte():
    with tempfile.NamedTemporaryFile() as f, Console().configure(wire.TARGET_FILE, [f.fileno()]) as c:
        data = pattern(4 * MIB + 123)
        put_all(c, data)
        tap.ok(c.drain(5000), "drained")
        with open(f.name, "rb") as again:
            tap.ok(again.read() == data, "file holds what was written")
        tap.eq(c.stats(), {"in": len(data), "out": len(data), "dropped": 0})


@tap.test
def full_disk_loses_bytes_and_counts_them_but_goes_on():
    # /dev/full stands for a disk without room; a later file write would fit again.
    full = os.open("/dev/full", os.O_WRONLY)
    with Console().configure(wire.TARGET_FILE, [full]) as c:
        os.close(full)
        put_all(c, pattern(100000))
        tap.poll(lambda: c.stats() == {"in": 100000, "out": 0, "dropped": 100000}, 5, "all counted as dropped")
        tap.contains(c.log_text(), "console output lost")
        tap.ok(c.alive(), "alive")


@tap.test
def pipe_gets_every_byte():
    r, w = os.pipe()
    with Console().configure(wire.TARGET_STREAM, [w]) as c:
        os.close(w)
        data = pattern(3 * MIB)
        for at in range(0, len(data), 65536):
            put_all(c, data[at:at + 65536])
            tap.ok(read_exactly(r, len(data[at:at + 65536])) == data[at:at + 65536], "bytes at %d" % at)
        tap.eq(c.stats()["dropped"], 0)
    os.close(r)


@tap.test
def pipe_without_reader_is_given_up_and_the_guest_goes_on():
    r, w = os.pipe()
    with Console().configure(wire.TARGET_STREAM, [w]) as c:
        os.close(w)
        os.close(r)
        put_all(c, pattern(2 * MIB))
        reads_all(c, 2 * MIB)
        tap.eq(c.stats(), {"in": 2 * MIB, "out": 0, "dropped": 2 * MIB})
        tap.contains(c.log_text(), "no reader any more")


@tap.test
def socket_gets_every_byte_without_a_change_to_its_flags():
    ours, theirs = socket.socketpair()
    with Console().configure(wire.TARGET_STREAM, [theirs.fileno()]) as c:
        tap.eq(fcntl.fcntl(theirs, fcntl.F_GETFL) & os.O_NONBLOCK, 0, "O_NONBLOCK on a shared description")
        data = pattern(300000)
        put_all(c, data)
        tap.ok(read_exactly(ours.fileno(), len(data)) == data, "bytes")
    ours.close()
    theirs.close()


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


@tap.test
def tty_shows_output_and_its_input_reaches_the_guest():
    master, slave, out, into = open_tty()
    tty.setraw(slave)
    with Console().configure(wire.TARGET_STREAM, [out, into], has_input=True) as c:
        put_all(c, b"login: ")
        tap.eq(read_exactly(master, 7), b"login: ")
        os.write(master, b"root\x03\x1a")
        tap.eq(read_exactly(c.device.fileno(), 6), b"root\x03\x1a", "typed, control characters too")
        os.write(master, b"\n")
        tap.eq(read_exactly(c.device.fileno(), 1), b"\r", "a chunk that is a single LF")
        os.write(master, b"a\n")
        tap.eq(read_exactly(c.device.fileno(), 2), b"a\n", "an LF in a longer chunk")
    for fd in (master, slave, out, into):
        os.close(fd)


@tap.test
def tty_without_input_reads_nothing_from_it():
    master, slave, out, into = open_tty()
    tty.setraw(slave)
    with Console().configure(wire.TARGET_STREAM, [out]) as c:
        os.write(master, b"typed")
        put_all(c, b"x")
        tap.eq(read_exactly(master, 1), b"x")
        tap.eq(os.read(into, 10), b"typed", "left for whoever else reads the terminal")
    for fd in (master, slave, out, into):
        os.close(fd)


@tap.test
def terminal_is_restored_when_the_control_channel_ends():
    master, slave, out, into = open_tty()
    before, saved = termios.tcgetattr(slave), termios_bytes(slave)
    tty.setraw(slave)
    with Console().configure(wire.TARGET_STREAM, [out, into], True, saved) as c:
        tap.ok(termios.tcgetattr(slave) != before, "raw meanwhile")
        put_all(c, b"last words")
        c.control.close()
        tap.eq(c.wait(), 0, "exit status")
        tap.eq(termios.tcgetattr(slave), before, "settings")
        tap.eq(read_exactly(master, 10), b"last words")
    for fd in (master, slave, out, into):
        os.close(fd)


@tap.test
def terminal_is_left_alone_when_not_told_to_restore_it():
    master, slave, out, into = open_tty()
    tty.setraw(slave)
    raw = termios.tcgetattr(slave)
    with Console().configure(wire.TARGET_STREAM, [out, into], True) as c:
        c.control.close()
        tap.eq(c.wait(), 0, "exit status")
        tap.eq(termios.tcgetattr(slave), raw, "settings")
    for fd in (master, slave, out, into):
        os.close(fd)


def open_pty():
    master, slave = pty.openpty()
    tty.setraw(slave)
    return master, slave, os.ttyname(slave)


@tap.test
def pty_keeps_output_for_a_late_reader_and_carries_input():
    master, slave, name = open_pty()
    with Console().configure(wire.TARGET_PTY, [master, slave], has_input=True) as c:
        os.close(master)
        os.close(slave)
        data = pattern(200000)
        put_all(c, data)
        reads_all(c, len(data))
        user = os.open(name, os.O_RDWR | os.O_NOCTTY)
        tap.ok(read_exactly(user, len(data)) == data, "bytes written before anybody looked")
        os.write(user, b"\n")
        tap.eq(read_exactly(c.device.fileno(), 1), b"\r")
        os.close(user)
        put_all(c, b"between two readers")
        reads_all(c, len(data) + 19)
        user = os.open(name, os.O_RDWR | os.O_NOCTTY)
        tap.eq(read_exactly(user, 19), b"between two readers")
        os.write(user, b"hello")
        tap.eq(read_exactly(c.device.fileno(), 5), b"hello")
        os.close(user)


@tap.test
def pty_without_a_reader_costs_no_processor_time():
    master, slave, _name = open_pty()
    with Console().configure(wire.TARGET_PTY, [master, slave], has_input=True) as c:
        os.close(master)
        os.close(slave)
        put_all(c, pattern(300000))
        reads_all(c, 300000)

        def cpu():
            with open("/proc/%d/stat" % c.pid) as f:
                fields = f.read().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])

        before = cpu()
        time.sleep(0.3)  # the time measured, not a synchronisation
        tap.ok(cpu() - before <= 2, "used %d ticks in 0.3 s" % (cpu() - before))


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


@tap.test
def socket_client_that_comes_late_gets_what_was_kept():
    listener = Listener()
    with listener.console() as c:
        data = pattern(500000)
        put_all(c, data)
        reads_all(c, len(data))
        client = listener.connect()
        tap.ok(read_exactly(client.fileno(), len(data)) == data, "kept output")
        put_all(c, b"more")
        tap.eq(read_exactly(client.fileno(), 4), b"more")
        client.sendall(b"\n")
        tap.eq(read_exactly(c.device.fileno(), 1), b"\r")
        tap.eq(c.stats()["dropped"], 0)


@tap.test
def socket_newer_client_replaces_the_older():
    listener = Listener()
    with listener.console() as c:
        first = listener.connect()
        put_all(c, b"one")
        tap.eq(read_exactly(first.fileno(), 3), b"one")
        second = listener.connect()
        tap.eq(first.recv(10), b"", "the older client sees its end")
        put_all(c, b"two")
        tap.eq(read_exactly(second.fileno(), 3), b"two")
        for i in range(50):  # the number in the filter is always the same
            third = listener.connect()
            tap.eq(second.recv(10), b"", "the older client sees its end")
            put_all(c, b"%04d" % i)
            tap.eq(read_exactly(third.fileno(), 4), b"%04d" % i)
            second = third
        tap.ok(c.alive(), "alive")


@tap.test
def socket_output_between_two_clients_is_kept():
    listener = Listener()
    with listener.console() as c:
        first = listener.connect()
        put_all(c, b"one")
        tap.eq(read_exactly(first.fileno(), 3), b"one")
        first.close()
        put_all(c, b"kept")
        reads_all(c, 7)
        second = listener.connect()
        tap.eq(read_exactly(second.fileno(), 4), b"kept")


@tap.test
def socket_client_that_closes_its_sending_side_still_reads():
    listener = Listener()
    with listener.console() as c:
        client = listener.connect()
        client.sendall(b"bye")
        client.shutdown(socket.SHUT_WR)
        tap.eq(read_exactly(c.device.fileno(), 3), b"bye")
        put_all(c, b"answer")
        tap.eq(read_exactly(client.fileno(), 6), b"answer")


# --- what is slow, stuck or gone ------------------------------------------------------------------------------------------


@tap.test
def stuck_target_costs_the_oldest_bytes_which_are_counted():
    r, w = os.pipe()
    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 65536)
    with Console().configure(wire.TARGET_STREAM, [w]) as c:
        os.close(w)
        data = pattern(3 * MIB)
        put_all(c, data)  # the guest's side never waits for the reader
        reads_all(c, len(data))
        s = c.stats()
        tap.eq(s["dropped"], len(data) - MIB - s["out"], "dropped = all but what fits ring and pipe")
        tap.ok(0 < s["out"] <= 65536, "%d bytes went into the pipe" % s["out"])
        rest = read_exactly(r, s["out"] + MIB)
        tap.ok(rest[:s["out"]] == data[:s["out"]], "what was in the pipe")
        tap.ok(rest[s["out"]:] == data[-MIB:], "the newest MiB, in order")
        put_all(c, b"and on")
        tap.eq(read_exactly(r, 6), b"and on")
    os.close(r)


@tap.test
def stopped_terminal_stops_nobody_else():
    master, slave, out, into = open_tty()
    tty.setraw(slave)
    termios.tcflow(slave, termios.TCOOFF)  # Ctrl-S
    with Console().configure(wire.TARGET_STREAM, [out, into], True) as c:
        put_all(c, pattern(2 * MIB))
        reads_all(c, 2 * MIB)
        os.write(master, b"x")
        tap.eq(read_exactly(c.device.fileno(), 1), b"x", "input still works")
        termios.tcflow(slave, termios.TCOON)
        tap.ok(read_exactly(master, 1000)[-1:] != b"", "output goes on")
    for fd in (master, slave, out, into):
        os.close(fd)


@tap.test
def input_waits_while_the_guest_does_not_read_and_loses_nothing():
    master, slave, name = open_pty()
    with Console().configure(wire.TARGET_PTY, [master, slave], has_input=True) as c:
        os.close(master)
        os.close(slave)
        user = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        sent = b""
        data = pattern(4 * MIB)

        def full():
            nonlocal sent
            try:
                sent += data[len(sent):len(sent) + os.write(user, data[len(sent):len(sent) + 65536])]
                return False
            except BlockingIOError:
                return True

        end = time.monotonic() + 10
        quiet = 0
        while quiet < 50 and time.monotonic() < end:
            quiet = quiet + 1 if full() else 0
            time.sleep(0.001)
        tap.ok(len(sent) < len(data), "back-pressure reaches the user")
        tap.ok(read_exactly(c.device.fileno(), len(sent)) == sent, "every byte, in order")
        put_all(c, b"output")
        tap.eq(read_exactly(user, 6), b"output")
        os.close(user)


@tap.test
def stream_that_ends_leaves_the_rest_of_the_output_to_the_target():
    r, w = os.pipe()
    with Console().configure(wire.TARGET_STREAM, [w]) as c:
        os.close(w)
        data = pattern(300000)
        put_all(c, data)
        c.device.close()
        tap.ok(read_exactly(r, len(data)) == data, "bytes")
        tap.eq(c.stats()["out"], len(data))
        tap.ok(c.alive(), "alive until its parent says otherwise")
        c.device = socket.socketpair()[0]
    os.close(r)


@tap.test
def drain_answers_complete_when_all_is_out():
    with tempfile.TemporaryFile() as f, Console().configure(wire.TARGET_FILE, [f.fileno()]) as c:
        put_all(c, pattern(150000))
        tap.ok(c.drain(5000), "complete")
        tap.eq(os.fstat(f.fileno()).st_size, 150000)
        tap.ok(c.drain(0), "complete with nothing to do")


@tap.test
def drain_of_a_stuck_target_ends_at_its_deadline():
    r, w = os.pipe()
    with Console().configure(wire.TARGET_STREAM, [w]) as c:
        os.close(w)
        put_all(c, pattern(MIB))
        began = time.monotonic()
        tap.ok(not c.drain(200), "incomplete")
        took = time.monotonic() - began
        tap.ok(0.19 <= took < 2, "took %.3f s" % took)
        tap.ok(c.stats()["in"] == MIB, "and it goes on serving")
    os.close(r)


@tap.test
def drain_ends_early_when_the_reader_catches_up():
    r, w = os.pipe()
    with Console().configure(wire.TARGET_STREAM, [w]) as c:
        os.close(w)
        put_all(c, pattern(500000))
        wire.send(c.control, wire.frame(wire.HLP_DRAIN, wire.drain(60000), 5))
        tap.ok(read_exactly(r, 500000) == pattern(500000), "bytes")
        m = wire.recv(c.control)
        tap.eq((m[0], m[1], wire.body_of(m, "?")[0]), (wire.HLP_DRAINED, 5, True))
    os.close(r)


@tap.test
def drain_does_not_wait_for_a_client_that_is_not_there():
    listener = Listener()
    with listener.console() as c:
        put_all(c, b"nobody reads this")
        began = time.monotonic()
        tap.ok(not c.drain(30000), "incomplete")
        tap.ok(time.monotonic() - began < 2, "at once")


@tap.test
def drain_asked_twice_refuses_the_second():
    r, w = os.pipe()
    with Console().configure(wire.TARGET_STREAM, [w]) as c:
        os.close(w)
        put_all(c, pattern(MIB))
        wire.send(c.control, wire.frame(wire.HLP_DRAIN, wire.drain(300), 5))
        wire.send(c.control, wire.frame(wire.HLP_DRAIN, wire.drain(1), 6))
        m = wire.recv(c.control)
        tap.eq((m[0], m[1]), (wire.HLP_DRAINED, 5), "the only answer")
        tap.contains(c.log_text(), "a drain is going on")
    os.close(r)


# --- restart --------------------------------------------------------------------------------------------------------------


def check_lines(data, last, lost_max):
    """Numbered lines with at most @lost_max bytes missing and none twice. Returns the bytes lost."""
    lines = numbered(0, last)
    # Whatever came must be a subsequence in runs: compare by position, skipping at gaps.
    at, pos, lost = 0, 0, 0
    while at < len(data):
        run = 0
        while at + run < len(data) and pos + run < len(lines) and data[at + run] == lines[pos + run]:
            run += 1
            if run == 65536:
                break
        at, pos = at + run, pos + run
        if at == len(data):
            break
        if run == 65536:
            continue
        # A gap: the next 28 bytes are unique in the stream, as they hold a whole number.
        probe = data[at:at + 28]
        found = lines.find(probe, pos)
        if found < 0 and len(probe) < 28:
            break
        if found < 0:
            raise AssertionError("bytes at %d came twice or from nowhere: %r" % (at, probe))
        tap.ok(found - pos <= lost_max, "one kill lost %d bytes" % (found - pos))
        lost += found - pos
        pos = found
    tap.ok(len(lines) - pos <= lost_max, "one kill lost the last %d bytes" % (len(lines) - pos))
    return lost + len(lines) - pos


@tap.test(limit=120)
def killed_at_random_points_loses_at_most_4_KiB_each_and_repeats_nothing():
    rng = random.Random(1)
    r, w = os.pipe()
    c = Console().configure(wire.TARGET_STREAM, [w])
    kills, total = 60, 40000
    reader_data = bytearray()
    data = numbered(0, total)
    sent = 0
    with c:
        c.device.setblocking(False)
        os.set_blocking(r, False)
        next_kill = time.monotonic() + 0.005
        end = time.monotonic() + 90
        quiet_since = None
        while time.monotonic() < end:
            if sent < len(data):
                try:
                    sent += c.device.send(data[sent:sent + rng.randrange(1, 3000)])
                except BlockingIOError:
                    pass
            try:
                part = os.read(r, 65536)
            except BlockingIOError:
                part = b""
            reader_data += part
            if kills > 0 and time.monotonic() > next_kill:
                c.kill()
                c.control.close()
                c.log.close()
                c.spawn()
                c.configure(wire.TARGET_STREAM, [w])
                kills -= 1
                next_kill = time.monotonic() + rng.uniform(0.0005, 0.006)
            if sent == len(data) and kills == 0 and not part:
                quiet_since = quiet_since or time.monotonic()
                if time.monotonic() - quiet_since > 0.2:
                    break
            else:
                quiet_since = None
        tap.eq((sent, kills), (len(data), 0), "the test ran to its end")
        s = c.stats()
        tap.eq(s["dropped"], 0, "dropped")
    os.close(r)
    os.close(w)
    lost = check_lines(bytes(reader_data), total, CHUNK)
    tap.eq(lost, len(data) - len(reader_data), "bytes that are missing")
    tap.diag("60 kills lost %d bytes in all" % lost)


def killed_at_stop(number, reader_is_slow):
    """Kill at the given entry or return of a call, go on with a successor. Returns (bytes lost, where)."""
    r, w = os.pipe()
    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(r, False)
    got = bytearray()
    sent = 0
    data = numbered(0, 4000)
    with Console().configure(wire.TARGET_STREAM, [w]) as c:
        tool = subprocess.Popen([tap.program("tests/security/ptool"), "kill-at", str(c.pid), str(number)],
                                stdout=subprocess.PIPE, text=True)
        tap.eq(tool.stdout.readline(), "attached\n")

        def read_some():
            try:
                got.extend(os.read(r, 65536))
            except BlockingIOError:
                pass

        c.device.setblocking(False)
        end = time.monotonic() + 10
        while tool.poll() is None and time.monotonic() < end:
            try:
                sent += c.device.send(data[sent:sent + 1400])
                if sent == len(data):  # something to do until the number is reached
                    wire.send(c.control, wire.frame(wire.HLP_STATS, b""))
                    time.sleep(0.001)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                pass  # it is being killed
            if not reader_is_slow:
                read_some()
        where = tool.communicate(timeout=10)[0].strip()
        tap.ok(where.startswith("killed at"), where)
        os.waitpid(c.pid, 0)
        c.spawn()
        c.configure(wire.TARGET_STREAM, [w])
        put_all(c, data[sent:])
        tap.poll(lambda: read_some() or c.drain(0), 10, "stream and ring are empty")
        read_some()
        tap.eq(c.stats()["dropped"], 0, "dropped")
    os.close(r)
    os.close(w)
    lost = check_lines(bytes(got), 4000, CHUNK)
    tap.eq(lost, len(data) - len(got), "bytes that are missing, killed at stop %d (%s)" % (number, where))
    return lost, where


@tap.test(limit=120)
def killed_at_every_call_loses_at_most_4_KiB_and_repeats_nothing():
    if os.geteuid() != 0:
        tap.skip("needs root: the helper is not dumpable")
    places, worst = set(), 0
    for slow in (False, True):
        for number in range(1, 41):
            lost, where = killed_at_stop(number, slow)
            places.add(where)
            worst = max(worst, lost)
    tap.ok({"killed at 0 return", "killed at 1 entry", "killed at 1 return", "killed at 7 entry"} <= places, places)
    tap.ok(0 < worst <= CHUNK, "a kill between two positions was among them: %d" % worst)
    tap.diag("at most %d bytes lost; %s" % (worst, ", ".join(sorted(places))))


@tap.test
def successor_delivers_what_the_ring_still_holds():
    r, w = os.pipe()
    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 4096)
    with Console().configure(wire.TARGET_STREAM, [w]) as c:
        data = pattern(400000)
        put_all(c, data)
        reads_all(c, len(data))
        c.kill()
        c.spawn()
        c.configure(wire.TARGET_STREAM, [w])
        os.close(w)
        tap.ok(read_exactly(r, len(data)) == data, "bytes")
        tap.eq(c.stats(), {"in": len(data), "out": len(data), "dropped": 0}, "counters go on too")
    os.close(r)


# --- hostile parents, hostile memory ----------------------------------------------------------------------------------------


def ends_quietly(c, what):
    """Ended by itself, not by a signal: neither the filter nor memory was hit."""
    status = c.wait()
    tap.ok(status in (0, 1), "%s: exit status %d" % (what, status))


@tap.test
def broken_frames_end_the_process_without_a_signal():
    hello = wire.HLP_HELLO
    frames = [b"", b"x", wire.frame(0), b"\0" * 24, os.urandom(24), os.urandom(32768), wire.frame(hello, magic=0x434C5302),
              wire.frame(wire.HLP_STATS, flags=1), wire.frame(wire.HLP_STATS, offset=1), wire.frame(wire.HLP_STATS, total=8193),
              wire.frame(wire.HLP_STATS, total=0xFFFFFFFF, chunk=0xFFFFFFFF), wire.frame(wire.HLP_STATS, b"xx", chunk=1),
              wire.frame(wire.HLP_STATS, b"x", chunk=2), wire.frame(wire.CON_CONFIG, b"x" * 9000),
              wire.frame(wire.CON_CONFIG, b"x" * 100, total=200) + b""]
    for locked in (False, True):
        for bad in frames:
            with Console() as c:
                if locked:
                    c.configure(wire.TARGET_NULL)
                wire.send(c.control, bad)
                c.control.close()
                ends_quietly(c, "frame %r locked %r" % (bad[:30], locked))


@tap.test
def messages_out_of_turn_are_refused_and_change_nothing():
    with Console() as c:
        for kind in (wire.HLP_LOCKDOWN, wire.HLP_STATS, wire.HLP_READY, wire.HLP_HELLO, 0x101, 0xFFFF):
            wire.send(c.control, wire.frame(kind, b"", 9))
        wire.send(c.control, wire.frame(wire.HLP_DRAIN, wire.drain(5), 9))
        c.configure(wire.TARGET_NULL)  # the answer to LOCKDOWN is the first message after HELLO
        again = wire.con_config(wire.TARGET_NULL)
        for kind, body in ((wire.CON_CONFIG, again), (wire.HLP_LOCKDOWN, b""), (wire.HLP_STATS, b"x"),
                           (wire.HLP_DRAIN, b""), (wire.HLP_DRAIN, b"\0" * 10)):
            wire.send(c.control, wire.frame(kind, body, 9))
        tap.eq(c.stats()["in"], 0, "still serving")


@tap.test
def descriptors_sent_after_lockdown_never_arrive():
    with Console().configure(wire.TARGET_NULL) as c:
        before = sorted(os.listdir("/proc/%d/fd" % c.pid))
        r, w = os.pipe()
        for _ in range(100):
            wire.send(c.control, wire.frame(wire.HLP_STATS, b"", 1), [r, w] * 100)
            tap.eq(wire.recv(c.control)[0], wire.HLP_STATS_RESULT)
        tap.eq(sorted(os.listdir("/proc/%d/fd" % c.pid)), before, "descriptors")
        os.close(r)
        os.close(w)


def refuse_config(what, target, fds, has_input=False, termios_settings=b"", stream=None, ring=None, count=None):
    with Console() as c:
        wire.recv(c.control)
        first = [stream if stream is not None else c.stream.fileno(), ring if ring is not None else c.ring]
        all_fds = (first + list(fds))[:count]
        wire.send(c.control, wire.frame(wire.CON_CONFIG, wire.con_config(target, has_input, termios_settings), 1), all_fds)
        try:
            wire.send(c.control, wire.frame(wire.HLP_LOCKDOWN, b"", 2))
        except BrokenPipeError:
            pass  # it has ended already
        tap.eq(wire.recv(c.control), None, what + ": answer")
        tap.eq(c.wait(), 1, what + ": exit status")
        tap.contains(c.log_text(), "configuration", what)


@tap.test
def configurations_that_make_no_sense_end_the_process():
    null = os.open("/dev/null", os.O_RDWR)
    pipe_r, pipe_w = os.pipe()
    master, slave = pty.openpty()
    pair = socket.socketpair()
    dgram = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    small = os.memfd_create("small")
    os.ftruncate(small, 8192)
    huge = os.memfd_create("huge")
    os.ftruncate(huge, 1 << 40)
    s, t = wire.TARGET_STREAM, wire.TARGET_LISTEN
    refuse_config("no descriptors", wire.TARGET_NULL, [], count=0)
    refuse_config("one descriptor", wire.TARGET_NULL, [], count=1)
    refuse_config("one too many", wire.TARGET_NULL, [null])
    refuse_config("200 too many", wire.TARGET_NULL, [null] * 200)
    refuse_config("file without file", wire.TARGET_FILE, [])
    refuse_config("input of a null target", wire.TARGET_NULL, [null], True)
    refuse_config("input of a file", wire.TARGET_FILE, [null, null], True)
    refuse_config("input not sent", s, [pipe_w], True)
    refuse_config("pty without slave", wire.TARGET_PTY, [master], True)
    refuse_config("slave in place of the master", wire.TARGET_PTY, [slave, master], True)
    refuse_config("two masters", wire.TARGET_PTY, [master, master], True)
    refuse_config("no pty", wire.TARGET_PTY, [null, null], True)
    refuse_config("listening pipe", t, [pipe_r], True)
    refuse_config("connected socket", t, [pair[0].fileno()], True)
    refuse_config("short terminal settings", s, [slave, slave], True, b"x" * 59)
    refuse_config("settings for a pty", wire.TARGET_PTY, [master, slave], True, b"x" * 60)
    refuse_config("stream is a pipe", wire.TARGET_NULL, [], stream=pipe_r)
    refuse_config("stream of records", wire.TARGET_NULL, [], stream=dgram[0].fileno())
    refuse_config("ring is a pipe", wire.TARGET_NULL, [], ring=pipe_r)
    refuse_config("ring without room", wire.TARGET_NULL, [], ring=small)
    refuse_config("ring beyond reason", wire.TARGET_NULL, [], ring=huge)
    for fd in (null, pipe_r, pipe_w, master, slave, small, huge):
        os.close(fd)
    for sock in pair + dgram:
        sock.close()


@tap.test
def config_bodies_that_do_not_decode_are_refused_and_a_good_one_still_works():
    good = wire.con_config(wire.TARGET_NULL)
    with Console() as c:
        for body in (b"", b"x", good[:-1], good + b"x", wire.con_config(5), wire.con_config(0xFFFFFFFF),
                     good[:10] + b"\2" + good[11:], b"\2" + good[1:]):
            wire.send(c.control, wire.frame(wire.CON_CONFIG, body, 1), [c.stream.fileno(), c.ring])
        c.configure(wire.TARGET_NULL)
        put_all(c, b"x" * 100)
        reads_all(c, 100)


@tap.test
def ring_header_of_a_taken_over_predecessor_is_not_believed():
    rng = random.Random(2)
    cap = RING_SIZE - 4096
    headers = [os.urandom(64), b"\xff" * 64]
    for _ in range(20):
        values = [rng.choice([0, 1, cap, cap + 1, 1 << 62, (1 << 64) - 1, rng.getrandbits(64)]) for _ in range(4)]
        headers.append(struct.pack("<II4Q", 0x52434C43, 1, rng.choice([cap, values[0]]), *values[1:]))
    for header in headers:
        r, w = os.pipe()
        with Console() as c:
            m = mmap.mmap(c.ring, RING_SIZE)
            m[:len(header)] = header
            sane = header[:16] == struct.pack("<IIQ", 0x52434C43, 1, cap)
            c.configure(wire.TARGET_STREAM, [w])
            s = c.stats()
            tap.ok(s["out"] + s["dropped"] <= s["in"] <= 1 << 62, "counters %r" % s)
            put_all(c, b"marker")
            if not sane:
                tap.eq(read_exactly(r, 6), b"marker", "starts empty")
            tap.ok(c.alive(), "alive with header %r" % header)
            m.close()
        os.close(r)
        os.close(w)


@tap.test
def parent_that_never_reads_is_left():
    with Console().configure(wire.TARGET_NULL) as c:
        c.control.settimeout(None)
        c.control.setblocking(False)
        end = time.monotonic() + 30
        while c.alive() and time.monotonic() < end:
            try:
                wire.send(c.control, wire.frame(wire.HLP_STATS, b"", 1))
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                time.sleep(0.001)
        tap.eq(c.wait(1), 1, "exit status")


@tap.test
def client_flooding_input_does_not_delay_the_output():
    listener = Listener()
    with listener.console() as c:
        client = listener.connect()
        client.setblocking(False)
        try:
            while True:
                client.send(b"x" * 65536)
        except BlockingIOError:
            pass
        put_all(c, b"output")
        tap.eq(read_exactly(client.fileno(), 6), b"output")
        tap.eq(c.stats()["out"], 6)


# --- the jail ---------------------------------------------------------------------------------------------------------------


def held(pid):
    out = {}
    for name in os.listdir("/proc/%d/fd" % pid):
        out[int(name)] = os.readlink("/proc/%d/fd/%s" % (pid, name)).split(":")[0]
    return out


def limit(pid, name):
    with open("/proc/%d/limits" % pid) as f:
        for line in f:
            if line.startswith(name):
                return line[26:].split()[:2]
    raise AssertionError(name)


def check_jail(c, extra, fsize="0"):
    fds = {0: "/dev/null", 1: "/dev/null", 2: "/dev/null", 3: "socket", 4: "socket", 5: "socket"}
    fds.update(extra)
    if SAN:
        fds.pop(2)
    got = held(c.pid)
    if SAN:
        got.pop(2, None)
    tap.eq(sorted(got), sorted(fds), "descriptor numbers")
    for fd, kind in fds.items():
        tap.ok(kind is None or got[fd].startswith(kind), "descriptor %d is %s" % (fd, got[fd]))
    top = str(max(max(fds), 9 if 8 in extra and 7 in extra and extra[7] == "/dev/null" else 0) + 1)
    tap.eq(limit(c.pid, "Max open files"), [top, top])
    tap.eq(limit(c.pid, "Max file size"), [fsize, fsize])
    if SAN:
        return
    tap.eq(limit(c.pid, "Max address space"), [str(64 * MIB)] * 2)
    with open("/proc/%d/status" % c.pid) as f:
        status = dict(line.split(":", 1) for line in f)
    tap.eq(status["Seccomp"].strip(), "2")
    tap.eq(status["Threads"].strip(), "1")


@tap.test
def descriptors_and_limits_are_exact_for_every_target():
    null = os.open("/dev/null", os.O_RDWR)
    r, w = os.pipe()
    with Console().configure(wire.TARGET_NULL) as c:
        check_jail(c, {})
    with tempfile.TemporaryFile() as f, Console().configure(wire.TARGET_FILE, [f.fileno()]) as c:
        check_jail(c, {6: "/"}, "unlimited")
    with Console().configure(wire.TARGET_STREAM, [w]) as c:
        check_jail(c, {6: "pipe"})
    master, slave, out, into = open_tty()
    with Console().configure(wire.TARGET_STREAM, [out, into], True) as c:
        check_jail(c, {6: "/dev/pts/", 7: "/dev/pts/"})
    with Console().configure(wire.TARGET_PTY, [master, slave], True) as c:
        check_jail(c, {6: "/dev/p", 7: "/dev/p", 8: "/dev/pts/"})
    listener = Listener()
    with listener.console() as c:
        check_jail(c, {6: "/dev/null", 7: "/dev/null", 8: "socket"})
        client = listener.connect()
        put_all(c, b"x")
        tap.eq(read_exactly(client.fileno(), 1), b"x")
        check_jail(c, {6: "/dev/null", 7: "/dev/null", 8: "socket", 9: "socket"})
    for fd in (null, r, w, master, slave, out, into):
        os.close(fd)


@tap.test
def end_signals_are_ignored():
    with Console().configure(wire.TARGET_NULL) as c:
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            os.kill(c.pid, sig)
        tap.eq(c.stats()["in"], 0, "still serving")


tap.main()
