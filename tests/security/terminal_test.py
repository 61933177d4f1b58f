#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Serial port and virtio console on one terminal: raw while a helper serves one of them, and as it was when both are closed."""
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
from security import system  # noqa: E402
import vmm  # noqa: E402

if os.environ.get("SAN"):
    tap.skip_all("terminals are tested with the real jails")

TTY, NULL, OFF = {"mode": "Tty"}, {"mode": "Null"}, {"mode": "Off"}


class OnTerminal(system.System):
    """Standard input and output are a terminal."""

    def __init__(self):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        real = subprocess.Popen

        def popen(*args, **kw):
            return real(*args, **{**kw, "stdin": self.slave, "stdout": self.slave})

        vmm.subprocess.Popen = popen
        try:
            super().__init__()
        finally:
            vmm.subprocess.Popen = real

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def is_as_before(self):
        return termios.tcgetattr(self.slave) == self.before

    def helpers(self):
        monitor = self.role("monitor")
        return [p for p in system.children(monitor) if os.path.basename(self.exe(p)) == "cloister-console"]

    def new(self, serial, console, name="spin"):
        reply = self.call("PUT", "vm.create", {"payload": {"kernel": system.payload(name)}, "memory": {"size": 64 << 20},
                                               "serial": serial, "console": console})
        tap.eq(reply.status, 204, "vm.create: %r" % reply)
        return self


@tap.test
def the_serial_ports_terminal_comes_back_while_the_other_never_ran():
    with OnTerminal() as s:
        s.wait_up().new(TTY, TTY)
        tap.poll(s.is_raw, 5, "raw")
        tap.eq(s.call("PUT", "vm.delete").status, 204)
        tap.poll(s.is_as_before, 5, "as it was")


@tap.test
def a_console_that_no_helper_serves_leaves_the_terminal_alone():
    with OnTerminal() as s:
        s.wait_up().new(NULL, TTY)
        tap.eq(s.call("GET", "vm.info").status, 200)
        tap.ok(s.is_as_before(), "as it was")
        tap.eq(s.call("PUT", "vm.delete").status, 204)
        tap.ok(s.is_as_before(), "as it was")


@tap.test
def both_on_one_terminal_give_it_back_once():
    system.need_kvm()
    with OnTerminal() as s:
        s.wait_up().new(TTY, TTY)
        for _ in range(2):
            tap.eq(s.call("PUT", "vm.boot").status, 204, "vm.boot: " + s.stderr())
            tap.eq(len(s.helpers()), 2, "helpers")
            tap.ok(s.is_raw(), "raw")
            tap.eq(s.call("PUT", "vm.shutdown").status, 204)
            tap.poll(s.is_as_before, 5, "as it was")


@tap.test
def the_terminal_stays_raw_when_one_of_the_two_fails():
    system.need_kvm()
    if os.geteuid() != 0:
        tap.skip("needs root")
    with OnTerminal() as s:
        s.wait_up().new(TTY, TTY)
        tap.eq(s.call("PUT", "vm.boot").status, 204, "vm.boot: " + s.stderr())
        victim = s.helpers()[-1]
        tap.eq(system.inject(victim, 257, -100 & 0xFFFFFFFFFFFFFFFF, 0, 0), "killed 31", "openat")
        tap.poll(lambda: len(s.helpers()) == 1, 5, "the other one")
        tap.ok(s.is_raw(), "still raw")
        tap.eq(s.call("PUT", "vm.shutdown").status, 204)
        tap.poll(s.is_as_before, 5, "as it was")


@tap.test
def a_killed_monitor_or_vmmd_leaves_the_terminal_as_it_was():
    system.need_kvm()
    for who in ("monitor", "vmmd"):
        with OnTerminal() as s:
            s.wait_up().new(TTY, TTY)
            tap.eq(s.call("PUT", "vm.boot").status, 204, "vm.boot: " + s.stderr())
            os.kill(s.role(who), signal.SIGKILL)
            s.proc.wait(5)
            tap.poll(s.is_as_before, 5, "as it was, after the death of " + who)


@tap.test
def a_change_of_the_terminals_size_breaks_nothing():
    system.need_kvm()
    with OnTerminal() as s:
        fcntl.ioctl(s.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        s.wait_up().new(NULL, TTY)
        tap.eq(s.call("PUT", "vm.boot").status, 204, "vm.boot: " + s.stderr())
        fcntl.ioctl(s.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
        os.kill(s.pid, signal.SIGWINCH)
        tap.eq(s.state(), "Running", "nothing breaks")
        tap.eq(len(s.helpers()), 1, "helpers")


tap.main()
