#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A network card without a guest: cloister-net over a tap against a bare loop of write() to the same tap, frames of 64
bytes and TCP segments of 64 KiB; the time an echo takes against the same wake-ups and tap calls without rings.

Rates are of the back end's core: frames in a second of its processor time. What the clock says depends on the driver too, and on
who else wants the two cores; it is printed beside."""

import os
import statistics
import subprocess
import sys

import benchlib

ROUNDS = os.environ.get("ROUNDS") or "15"
KEYS = ("rate", "cpu", "p50", "p99")


def measure():
    done = subprocess.run([benchlib.built("tests/bench/b_vun"), ROUNDS], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, env=dict(os.environ, CLOISTER_BUILD=benchlib.BUILD))
    rows = {}
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) == 6 and words[0] in ("ours", "floor"):
            rows.setdefault((words[0], words[1]), []).append(dict(zip(KEYS, map(float, words[2:]))))
        else:
            print("  " + line)
    if done.returncode != 0:
        raise SystemExit(2)
    return rows


def mid(rows, name, case, key):
    return statistics.median(r[key] for r in rows[(name, case)])


def ratio(rows, case, key):
    """Ours / floor, the middle of turns that were neighbours."""
    return statistics.median(a[key] / b[key] for a, b in zip(rows[("ours", case)], rows[("floor", case)]))


def main():
    if os.geteuid() != 0:
        print("b_vun: taps need root")
        return 2
    print("b_vun: a tap, %s rounds" % ROUNDS)
    rows = measure()
    for case in ("tx64", "tso"):
        for name in ("ours", "floor"):
            print("  %-6s %-6s %9.0f frames/s of processor time, %9.0f by the clock" % (
                name, case, 1e9 / mid(rows, name, case, "cpu"), mid(rows, name, case, "rate")))
    for name in ("ours", "floor"):
        print("  %-6s rr     p50 %.1f us, p99 %.1f us" % (name, mid(rows, name, "rr", "p50") / 1e3, mid(rows, name, "rr", "p99") / 1e3))
    gate = benchlib.Gate()
    gate.line("64 bytes: tap write floor / ours", ratio(rows, "tx64", "cpu"), 1 / 0.8, "x")
    gate.line("64 KiB segments: floor / ours", ratio(rows, "tso", "cpu"), 1 / 0.9, "x")
    gate.line("echo: ours / floor, p50", mid(rows, "ours", "rr", "p50") / mid(rows, "floor", "rr", "p50"), 1.3, "x")
    return gate.status()


if __name__ == "__main__":
    sys.exit(main())
