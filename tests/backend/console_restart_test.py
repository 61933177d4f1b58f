#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""cloister-console killed at any point, and its successor."""
import fcntl
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
import wire  # noqa: E402
from backend.console import CHUNK, Console, numbered, pattern, put_all, read_exactly, reads_all  # noqa: E402

# --- restart ---------------------------------------------------------------------------------------------------------------

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
    tap.ok({"killed at 0 return", "killed at 1 entry", "killed at 1 return"} <= places, places)
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


tap.main()
