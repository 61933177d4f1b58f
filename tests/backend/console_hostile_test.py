#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""cloister-console under a hostile monitor, with hostile memory, and what its jail leaves it."""
import mmap
import os
import pty
import random
import signal
import socket
import struct
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
import wire  # noqa: E402
from backend.console import Console, Listener, MIB, RING_SIZE, SAN, open_tty, put_all, read_exactly, reads_all  # noqa: E402

# --- hostile parents, hostile memory ---------------------------------------------------------------------------------------

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


# --- the jail --------------------------------------------------------------------------------------------------------------

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
