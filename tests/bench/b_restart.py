#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""After kill -9: of vmmd until its descriptors are free, of a console until its guest's output goes on, of apid until the next
answer, of the monitor until nothing is left. Floor of the console's figure: the same helper, unjailed, started again by this
program itself."""

import os
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..")]
import benchlib  # noqa: E402
import wire  # noqa: E402
from backend.console import Console, put_all, read_exactly  # noqa: E402
from security import system  # noqa: E402

RUNS = 15


def ms(start):
    return (time.monotonic() - start) * 1e3


def spin(condition, seconds=10):
    """Busy: the figure is a few milliseconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("nothing happened within %d s" % seconds)


def middle(values):
    return sorted(values)[len(values) // 2]


def bare_console():
    out = []
    r, w = os.pipe()
    with Console().configure(wire.TARGET_STREAM, [w]) as c:
        for _ in range(RUNS):
            start = time.monotonic()
            c.kill()
            c.spawn()
            c.configure(wire.TARGET_STREAM, [w])
            put_all(c, b"x")
            read_exactly(r, 1)
            out.append(ms(start))
    os.close(r)
    os.close(w)
    return out


def console():
    """Flood guest; the first death of each instance, as a crash loop is slowed down on purpose."""
    out = []
    for _ in range(RUNS):
        with system.System() as s:
            s.wait_up().boot("flood")
            spin(lambda: os.stat(s.serial).st_size > 1000)
            pid = s.role("console")
            start = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            spin(lambda: not system.alive(pid))
            at = os.stat(s.serial).st_size
            spin(lambda: os.stat(s.serial).st_size > at)
            out.append(ms(start))
    return out


def apid():
    out = []
    for _ in range(RUNS):
        with system.System() as s:
            s.wait_up()
            pid = s.role("apid")
            start = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            s.call("GET", "vmm.ping")
            out.append(ms(start))
    return out


def vmmd():
    """An API connection closes when vmmd's channels have."""
    out = []
    for _ in range(RUNS):
        with system.System() as s:
            s.wait_up().boot(memory={"size": 512 << 20})
            with s.conn() as c:
                c.call("GET", "vmm.ping")
                start = time.monotonic()
                os.kill(s.pid, signal.SIGKILL)
                c.s.recv(1)
                out.append(ms(start))
            s.proc.wait()
    return out


def monitor():
    out = []
    for _ in range(RUNS):
        with system.System() as s:
            s.wait_up().create()
            everyone = list(s.processes())
            start = time.monotonic()
            os.kill(s.role("monitor"), signal.SIGKILL)
            s.proc.wait(10)
            spin(lambda: not any(system.alive(p) for p in everyone))
            out.append(ms(start))
    return out


def main():
    if os.geteuid() != 0:
        print("restart: needs root")
        return 0
    benchlib.built("bin/cloister")
    gate = benchlib.Gate()
    print("after kill -9, %d runs each, median (worst)" % RUNS)
    if benchlib.kvm_usable():
        floor = middle(bare_console())
        figures = console()
        gate.line("console: output goes on", middle(figures), 50, "ms", "  (%.1f)  floor %.2f ms, ratio %.1f" %
                  (max(figures), floor, middle(figures) / floor))
        figures = vmmd()
        gate.line("vmmd: descriptors free", middle(figures), 50, "ms", "  (%.1f)" % max(figures))
    else:
        print("  console and vmmd: no /dev/kvm here")
    figures = apid()
    gate.line("apid: next answer", middle(figures), 200, "ms", "  (%.1f)" % max(figures))
    figures = monitor()
    gate.line("monitor: nothing left", middle(figures), 1000, "ms", "  (%.1f)" % max(figures))
    return gate.status()


sys.exit(main())
