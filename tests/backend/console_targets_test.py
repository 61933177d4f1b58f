#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""cloister-console: every kind of target, and targets that are slow, stuck or gone."""
import fcntl
import os
import socket
import sys
import tempfile
import termios
import time
import tty

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
import wire  # noqa: E402
from backend.console import (  # noqa: E402
    Console, Listener, MIB, open_pty, open_tty, pattern, put_all, read_exactly, reads_all, termios_bytes)

# --- targets ---------------------------------------------------------------------------------------------------------------

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


# --- what is slow, stuck or gone -------------------------------------------------------------------------------------------

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


tap.main()
