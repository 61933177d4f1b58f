# SPDX-License-Identifier: ISC
"""Runs in the lab host: the same guest under QEMU and under Cloister, and what each one's dmesg warns of.

This is how an entry of dmesg_allowed.txt learns its "qemu:" line."""

import json
import os
import subprocess
import sys

import dmesg
import vm

CMDLINE = "console=ttyS0 quiet cloister.test=report,poweroff"


def under_qemu(a, machine):
    argv = ["qemu-system-x86_64", "-M", machine, "-accel", "kvm", "-cpu", "host", "-m", "512", "-smp", "2", "-nodefaults",
            "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", a["bzimage"],
            "-initrd", a["initramfs"], "-append", CMDLINE]
    r = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=300)
    return r.stdout


def under_cloister(a):
    argv = [vm.PROGRAM, "--kernel", a["bzimage"], "--initramfs", a["initramfs"], "--cmdline", CMDLINE, "--cpus", "boot=2",
            "--memory", "size=512M", "--serial", "tty", "--console", "off"]
    r = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=300)
    return r.stdout


def warnings(output):
    text = output.decode(errors="replace").replace("\r\n", "\n")
    if "@report-end" not in text:
        print("no report:\n" + text[-1500:])
        return []
    return vm.Report(text).dmesg


def main():
    a = json.loads(sys.argv[1])
    # Some warnings come of a processor that is busy elsewhere: --busy makes it so.
    loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(2 if "--busy" in sys.argv else 0)]
    shown = {"qemu": warnings(under_qemu(a, "q35"))}
    if os.path.exists(vm.PROGRAM):
        shown["cloister"] = warnings(under_cloister(a))
    for p in loops:
        p.kill()
    entries = dmesg.load()
    for who, lines in shown.items():
        print("== %s: %d lines at level warning and above" % (who, len(lines)))
        for line in lines:
            listed = [e for e in entries if e.matches(line)]
            print("%-10s %s" % ("listed" if listed else "UNLISTED", line))
    for e in entries:
        seen = any(e.matches(line) for line in shown["qemu"])
        if e.qemu != "at times" and seen != (e.qemu == "yes"):
            print("entry %r says qemu: %s, but QEMU %s it" % (e.why, e.qemu, "shows" if seen else "does not show"))


if __name__ == "__main__":
    main()
