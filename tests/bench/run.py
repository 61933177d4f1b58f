#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Run the benchmarks: run.py [NAME...]. Each prints figure, floor and ratio; the exit status is 1 if one is beyond its
figure. A machine this size has bad minutes: what is beyond is measured again, twice at most, and the best run counts."""

import glob
import os
import platform
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TRIES = 3


def steal_percent():
    with open("/proc/stat") as f:
        v = [int(x) for x in f.readline().split()[1:]]
    return 100.0 * v[7] / max(sum(v), 1)


def main():
    names = sorted(glob.glob(os.path.join(HERE, "b_*.py")))
    if sys.argv[1:]:
        names = [n for n in names if any(w in os.path.basename(n) for w in sys.argv[1:])]
    print("%s, %d processors, load %.2f, steal %.1f %%" % (platform.release(), os.cpu_count(), os.getloadavg()[0], steal_percent()))
    beyond = []
    for path in names:
        for attempt in range(TRIES):
            status = subprocess.run([sys.executable, "-B", path], stdin=subprocess.DEVNULL).returncode
            if status != 1:
                break
        if status != 0:
            beyond.append(os.path.basename(path)[:-3])
        sys.stdout.flush()
    print("beyond the figure: " + ", ".join(beyond) if beyond else "all within their figures", flush=True)
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
