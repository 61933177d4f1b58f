#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Launch to the first vmm.ping reply, with all jails in place, against the jailed floor and QEMU's first QMP reply."""

import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import benchlib  # noqa: E402

ROUNDS = 100
LIMIT_MS = 3.0            # p50
LIMIT_FLOOR = 1.6         # of the floor: three processes that do nothing, in the same jails
LIMIT_QEMU = 0.1


def measure():
    argv = [benchlib.built("tests/bench/b_start"), "-n", str(ROUNDS), "-f", benchlib.built("tests/bench/floor_start")]
    qemu = shutil.which("qemu-system-x86_64")
    if qemu and benchlib.kvm_usable():
        argv += ["-q", qemu]
    else:
        print("  no comparison with QEMU: " + ("/dev/kvm cannot be opened" if qemu else "it is not installed"))
    out = subprocess.run(argv + [benchlib.built("bin/cloister")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    results = {}
    for line in out.stdout.decode().splitlines():
        name, _, *us = line.split()
        results[name] = [float(x) / 1e3 for x in us]
    return results


def main():
    print("b_start: exec to the first vmm.ping reply, %d rounds, %s" % (
        ROUNDS, "as root" if os.geteuid() == 0 else "as an ordinary user"))
    r = measure()
    for name, (least, p10, p50, p90, most) in r.items():
        print("  %-9s ms: min %.2f  p10 %.2f  p50 %.2f  p90 %.2f  max %.2f" % (name, least, p10, p50, p90, most))
    gate = benchlib.Gate()
    p50 = r["cloister"][2]
    gate.line("p50", p50, LIMIT_MS, "ms")
    gate.line("ratio to the jailed floor", p50 / r["floor"][2], LIMIT_FLOOR, "x",
              "  (p10: %.2f)" % (r["cloister"][1] / r["floor"][1]))
    if "qemu" in r:
        gate.line("ratio to QEMU's first QMP reply", p50 / r["qemu"][2], LIMIT_QEMU, "x")
    return gate.status()


if __name__ == "__main__":
    sys.exit(main())
