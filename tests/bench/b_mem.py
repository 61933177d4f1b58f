#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Memory of all processes of a VMM that waits for its first request: PSS, beside that of processes that do nothing."""

import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import benchlib  # noqa: E402

LIMIT_MIB = 5.0


def total(argv, socket_path):
    """Start it, wait until it answers, settle, and add up; returns ({name: KiB PSS}, private dirty + page tables)."""
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while subprocess.run(["curl", "-s", "--unix-socket", socket_path, "http://localhost/api/v1/vmm.ping"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode != 0:
            if time.monotonic() > deadline or p.poll() is not None:
                raise SystemExit("b_mem: no answer from " + argv[0])
            time.sleep(0.01)
        pss, private = {}, 0
        for pid in benchlib.family(p.pid):
            m = benchlib.smaps(pid)
            name = benchlib.name_of(pid)
            pss[name] = pss.get(name, 0) + m["Pss"]
            private += m["Private_Dirty"] + benchlib.page_tables(pid)
        return pss, private
    finally:
        p.kill()
        p.wait()


def main():
    folder = tempfile.mkdtemp(prefix="b_mem.")
    try:
        path = os.path.join(folder, "sock")
        print("b_mem: PSS of all processes before the first request")
        ours, private = total([benchlib.built("bin/cloister"), "--api-socket", "path=" + path], path)
        for name, kib in sorted(ours.items()):
            print("  %-20s %6.2f MiB" % (name, kib / 1024))
        gate = benchlib.Gate()
        rest = "  (private dirty and page tables: %.2f MiB)" % (private / 1024)
        path = os.path.join(folder, "floor")
        floor = sum(total([benchlib.built("tests/bench/floor_start"), path], path)[0].values())
        rest += "  floor %.2f MiB, ratio %.2f" % (floor / 1024, sum(ours.values()) / floor)
        gate.line("all processes", sum(ours.values()) / 1024, LIMIT_MIB, "MiB", rest)
        return gate.status()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
