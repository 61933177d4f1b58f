#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The lab suite, run inside a lab host by `lab.py suite`: suite.py ASSETS.json [--share I/N] [--skip NAME]... [--only PART]...

A scenario is a function that makes a number of checks; each check is one test. Results come in one block when a scenario
ends, without numbers (lab.py gives those), followed by "# scenario-done NAME", so that a lab host that hangs can be
replaced by another one that goes on where it stopped. One at a time: a lab host has one processor (l1.py).
"""

import argparse
import json
import os
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vm  # noqa: E402

SCENARIOS = []
ASSETS = {}


class Scenario:
    def __init__(self, name, fn):
        self.name, self.fn = name, fn
        self.results = []

    def check(self, what, condition, detail=""):
        """One test. @detail is shown when it fails; a function is called only then."""
        if condition:
            self.results.append(("ok", what, ""))
        else:
            self.results.append(("not ok", what, str(detail() if callable(detail) else detail)))
        return bool(condition)

    def equal(self, what, got, want):
        return self.check(what, got == want, lambda: "got  %r\nwant %r" % (got, want))

    def passed(self, what):
        self.check(what, True)

    def run(self):
        started = time.monotonic()
        try:
            self.fn(self)
        except vm.Failed as e:
            self.check("runs to its end", False, e)
        except Exception:  # noqa: whatever a scenario raises is its failure
            self.check("runs to its end", False, traceback.format_exc())
        if not self.results:
            self.check("checks something", False)
        for word, what, detail in self.results:
            print("%s - %s: %s" % (word, self.name, what))
            for line in detail.splitlines():
                print("#   " + line)
        print("# %s: %.1f s" % (self.name, time.monotonic() - started))
        print("# scenario-done " + self.name, flush=True)


def scenario(name):
    def register(fn):
        SCENARIOS.append(Scenario(name, fn))
        return fn
    return register


def config(test, cpus=1, memory=512 << 20, kernel="bzimage", serial=None, cmdline="console=ttyS0 quiet"):
    """A vm.create body for the stock guest; @test as guest_init.sh takes it."""
    c = {
        "cpus": {"boot_vcpus": cpus, "max_vcpus": cpus},
        "memory": {"size": memory},
        "payload": {"kernel": ASSETS[kernel], "initramfs": ASSETS["initramfs"], "cmdline": "%s cloister.test=%s" % (cmdline, test)},
        "console": {"mode": "Off"},
    }
    c["serial"] = serial or {"mode": "Tty"}
    return c


def boot_args(test, cpus=1, memory="512M", kernel="bzimage", serial="tty", cmdline="console=ttyS0 quiet"):
    """The same for the command line."""
    return ["--kernel", ASSETS[kernel], "--initramfs", ASSETS["initramfs"], "--cmdline", "%s cloister.test=%s" % (cmdline, test),
            "--cpus", "boot=%d" % cpus, "--memory", "size=" + memory, "--serial", serial, "--console", "off"]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("assets")
    p.add_argument("--skip", action="append", default=[])
    p.add_argument("--share", default="0/1")
    p.add_argument("--only", action="append", default=[])
    args = p.parse_args()
    ASSETS.update(json.loads(args.assets))
    import cases_boot, cases_console, cases_devices, cases_process  # noqa: F401, E401: they register themselves
    import cases_exits, cases_faults, cases_foreign  # noqa: F401, E401
    index, count = (int(x) for x in args.share.split("/"))
    wanted = [s for s in SCENARIOS if not args.only or any(f in s.name for f in args.only)]
    for s in wanted[index::count]:
        if s.name not in args.skip:
            s.run()
    print("# suite-done", flush=True)


if __name__ == "__main__":
    # The cases import this file as "suite": one module, one list.
    sys.modules["suite"] = sys.modules["__main__"]
    main()
