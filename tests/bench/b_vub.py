#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Block requests without a guest: cloister-blk, the floors of its work and qemu-storage-daemon take turns behind the same
driver, which runs on core 0, they on core 1. 4 KiB reads of a file in the page cache."""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import benchlib

ROUNDS = int(os.environ.get("ROUNDS") or "15")
IMAGE_MIB = 64
OURS = ("ours", "ours-thread", "ours-sync")
FLOORS = ("pread", "pread-spin", "memcpy", "memcpy-spin")
KEYS = ("iops", "p50", "p99", "cpu", "kicks", "calls", "syscalls")


class Turns:
    """What each contender did in each case, in the order of the rounds."""

    def __init__(self):
        self.rows = {}

    def add(self, line):
        name, case, *values = line.split()
        self.rows.setdefault((name, case), []).append(dict(zip(KEYS, map(float, values))))

    def has(self, name):
        return any(key[0] == name for key in self.rows)

    def mid(self, name, case, key):
        rows = self.rows.get((name, case), [])[1 if case.find("count") < 0 else 0:]  # the first round warms up
        return statistics.median(r[key] for r in rows) if rows else float("nan")

    def ratio(self, name, other, case, key):
        """The middle of the ratios of turns that were neighbours."""
        ours, theirs = self.rows[(name, case)][1:], self.rows[(other, case)][1:]
        return statistics.median(a[key] / b[key] for a, b in zip(ours, theirs))


def measure(image, contenders):
    turns = Turns()
    done = subprocess.run([benchlib.built("tests/bench/b_vub"), image, str(ROUNDS)] + contenders, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True, env=dict(os.environ, CLOISTER_BUILD=benchlib.BUILD))
    for line in done.stdout.splitlines():
        if re.match(r"[a-z-]+ qd\d+-", line):
            turns.add(line)
        else:
            print("  " + line)
    if done.returncode != 0:
        raise SystemExit(2)
    return turns


def table(turns, contenders):
    print("  %-12s %-10s %9s %8s %8s %8s %7s %7s %8s" % ("", "", "IOPS", "p50 us", "p99 us", "CPU us", "kicks", "calls", "syscalls"))
    for case in ("qd1-irq", "qd1-poll", "qd32-irq", "qd32-poll"):
        for name in contenders:
            if turns.has(name):
                print("  %-12s %-10s %9.0f %8.1f %8.1f %8.2f %7.3f %7.3f %8.2f" % (
                    name, case, turns.mid(name, case, "iops"), turns.mid(name, case, "p50") / 1e3,
                    turns.mid(name, case, "p99") / 1e3, turns.mid(name, case, "cpu") / 1e3, turns.mid(name, case, "kicks"),
                    turns.mid(name, case, "calls"), turns.mid(name, case + "-count", "syscalls")))


def judge(turns):
    """Each limit is a largest value, so rates are turned round: theirs / ours."""
    gate = benchlib.Gate()
    deep, single, polled = "qd32-irq", "qd1-irq", "qd1-poll"
    gate.line("qd32: pread floor / ours", turns.ratio("pread", "ours", deep, "iops"), 1 / 0.95, "x")
    gate.line("qd32: memcpy floor / ours", turns.ratio("memcpy", "ours", deep, "iops"), 1 / 0.6, "x")
    gate.line("qd32: CPU of a request", turns.mid("ours", deep, "cpu") / 1e3, 1.4, "us")
    gate.line("qd32: kicks of a request", turns.mid("ours", deep, "kicks"), 0.035, "")
    gate.line("qd32: interrupts of a request", turns.mid("ours", deep, "calls"), 0.035, "")
    if turns.mid("ours", deep + "-count", "syscalls") >= 0:
        gate.line("qd32: system calls of a request", turns.mid("ours", deep + "-count", "syscalls"), 0.1, "")
    gate.line("qd1: ours / memcpy floor, p50", turns.ratio("ours", "memcpy", single, "p50"), 1.2, "x")
    gate.line("qd1, driver polls: p50", turns.mid("ours", polled, "p50") / 1e3, 7, "us")
    if turns.has("ours-thread"):
        gate.line("qd32: as a thread / ours", turns.ratio("ours-thread", "ours", deep, "iops"), 1 / 0.95, "x")
    if turns.has("qsd"):
        gate.line("qd32: qemu-storage-daemon / ours", turns.ratio("qsd", "ours", deep, "iops"), 1 / 1.5, "x")
        gate.line("qd1: ours / qemu-storage-daemon, p50", turns.ratio("ours", "qsd", single, "p50"), 0.85, "x")
    return gate.status()


def main():
    contenders = list(OURS + FLOORS)
    if shutil.which("qemu-storage-daemon") is not None:
        contenders.append("qsd")
    else:
        print("  qemu-storage-daemon is not installed: no comparison with it")
    with tempfile.NamedTemporaryFile(dir=os.environ.get("BENCH_DIR") or "/var/tmp") as image:
        for _ in range(IMAGE_MIB):
            image.write(os.urandom(1 << 20))
        image.flush()
        print("b_vub: block requests of 4 KiB, %d rounds" % ROUNDS)
        turns = measure(image.name, contenders)
    table(turns, contenders)
    return judge(turns)


if __name__ == "__main__":
    sys.exit(main())
