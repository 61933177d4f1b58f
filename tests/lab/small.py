# SPDX-License-Identifier: ISC
"""The small guest with drivers, as an object that runs commands: its console is the terminal of the cloister under test."""

import ctypes
import os
import re

import vm
from suite import ASSETS, config

MIB = 1 << 20


def image(name, size_mib):
    """A sparse image on the lab host's scratch disk."""
    path = os.path.join(vm.SCRATCH, name)
    vm.remove_quietly(path)
    with open(path, "wb") as f:
        f.truncate(size_mib * MIB)
    return path


def mount(source, path, kind, options=""):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), path.encode(), kind.encode(), 0, options.encode()) < 0:
        raise vm.Failed("cannot mount %s on %s: %s" % (kind, path, os.strerror(ctypes.get_errno())))


def devices(test="devices,serve", shared=False, memory_mib=256, cpus=1, **more):
    """A vm.create body of a guest that loads its drivers and then does as it is told."""
    c = config(test, cpus, memory_mib * MIB, serial={"mode": "Tty"})
    c["payload"]["initramfs"] = ASSETS["device_initramfs"]
    c["memory"]["shared"] = shared
    c["console"] = {"mode": "Null"}
    c.update(more)
    return c


class Guest:
    """A booted one; @v was started with tty=True."""

    def __init__(self, v, body, boots=1):
        self.v, self.count = v, 0
        v.put("vm.create", body)
        v.put("vm.boot")
        self.wait_ready(boots)

    def wait_ready(self, count=1):
        self.v.stdout.wait(r"^@ready", 240, count)

    def start(self, command):
        """Types it; returns what end() takes. It has one line."""
        self.count += 1
        start = len(self.v.stdout.text())
        self.v.type(("sh %s; echo \"@rc=$?@%d\"\n" % (command, self.count)).encode())
        return command, self.count, start

    def end(self, started, seconds=120):
        """(exit status, output)"""
        command, number, start = started
        mark = re.compile(r"^@rc=(\d+)@%d$" % number, re.M)
        found = vm.wait_until(lambda: mark.search(self.v.stdout.text(), start), seconds,
                              lambda: "the end of %r; output ends %r" % (command, self.v.stdout.text()[-400:]))
        return int(found.group(1)), self.v.stdout.text()[start:found.start()]

    def run(self, command, seconds=120):
        return self.end(self.start(command), seconds)

    def good(self, t, what, command, seconds=120):
        status, text = self.run(command, seconds)
        t.check(what, status == 0, "exit status %d\n%s" % (status, text[-1500:]))
        return text

    def bad(self, t, what, command, pattern, seconds=120):
        """The command fails, and its output says @pattern."""
        status, text = self.run(command, seconds)
        t.check(what, status != 0 and re.search(pattern, text), "exit status %d\n%s" % (status, text[-1500:]))
        return text


def restarts(v, ident, what="restarted"):
    return len(re.findall(r"event: device %s \(id %s\)" % (what, ident), v.stderr.text()))


def wait_restart(v, ident, count=1, what="restarted", seconds=30):
    vm.wait_until(lambda: restarts(v, ident, what) >= count, seconds,
                  lambda: "%d events %r of %s; the log ends %r" % (count, what, ident, v.stderr.text()[-600:]))


def end(t, v):
    """An orderly end, and nobody is left."""
    everyone = vm.family(v.pid)
    v.put("vmm.shutdown")
    v.wait_exit(0)
    vm.wait_until(lambda: vm.gone(everyone), 5, lambda: "end of all processes, not %r" % {
        p: c for p, c in vm.processes().items() if p in everyone})
    t.passed("ends with status 0, and no process stays")
