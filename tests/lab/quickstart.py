#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A first virtual machine: start Cloister, drive it with curl, watch the guest's console, check each answer.

Uses the machine's hardware virtualisation when there is some, else the lab: the same thing inside an emulated machine
(see lab.py). Exit status 0 only if the guest was seen and each answer was the documented one.
"""

import argparse
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import assets  # noqa: E402
import l1  # noqa: E402

BUILD = os.path.abspath(os.path.join(assets.TOP, os.environ.get("CLOISTER_BUILD") or "build"))
GUEST_LINE = re.compile(r"^Hello from the guest: .*$", re.M)
KVM_GET_API_VERSION = 0xAE00


class Failed(Exception):
    pass


def hardware():
    """None when guests can run on this machine's own KVM, else the reason why not."""
    with open("/proc/cpuinfo") as f:
        if not re.search(r"^flags\s*:.*\b(vmx|svm)\b", f.read(), re.M):
            return "/proc/cpuinfo shows neither vmx nor svm"
    try:
        fd = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as e:
        return "/dev/kvm: " + e.strerror
    try:
        if fcntl.ioctl(fd, KVM_GET_API_VERSION) != 12:
            return "/dev/kvm speaks another version"
    except OSError as e:
        return "/dev/kvm: " + e.strerror
    finally:
        os.close(fd)
    return None


_screen = threading.Lock()


def show(text):
    with _screen:
        print(text, flush=True)


class Console(threading.Thread):
    """The guest's serial port: cloister's stdout. A pipe, as raw mode would garble the lines of this script."""

    def __init__(self, pipe):
        super().__init__(daemon=True)
        self.pipe, self.text, self.seen = pipe, "", threading.Event()
        self.start()

    def run(self):
        for raw in self.pipe:
            line = raw.decode(errors="replace").rstrip("\r\n")
            show("  guest | " + line)
            self.text += line + "\n"
            if GUEST_LINE.search(self.text):
                self.seen.set()


class Tour:
    def __init__(self, folder, kernel, initramfs):
        self.socket = os.path.join(folder, "api.sock")
        self.kernel, self.initramfs = kernel, initramfs
        argv = [os.path.join(BUILD, "bin/cloister"), "--api-socket", "path=" + self.socket]
        show("$ %s &" % shlex.join([os.path.relpath(argv[0])] + argv[1:]))
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.console = Console(self.process.stdout)
        self.wait_socket()

    def wait_socket(self):
        deadline = time.monotonic() + 10
        while not os.path.exists(self.socket):
            if self.process.poll() is not None:
                raise Failed("cloister ended at once, with status %d" % self.process.returncode)
            if time.monotonic() > deadline:
                raise Failed("no API socket after 10 s")
            time.sleep(0.01)

    def curl(self, method, what, want, body=None):
        argv = ["curl", "-s", "--unix-socket", self.socket, "-X", method, "http://localhost/api/v1/" + what]
        if body is not None:
            argv += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        show("$ " + shlex.join(argv))
        r = subprocess.run(argv + ["-w", "\n%{http_code}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60)
        text, _, status = r.stdout.decode(errors="replace").rpartition("\n")
        if r.returncode != 0:
            raise Failed("%s: curl ended with status %d" % (what, r.returncode))
        show("  %s%s" % (status, " " + text if text else ""))
        if int(status) != want:
            raise Failed("%s answered %s; documented is %d" % (what, status, want))
        return text

    def take(self):
        self.curl("GET", "vmm.ping", 200)
        self.curl("PUT", "vm.create", 204, {
            "cpus": {"boot_vcpus": 1, "max_vcpus": 1},
            "memory": {"size": 512 << 20},
            "payload": {"kernel": self.kernel, "initramfs": self.initramfs, "cmdline": "console=ttyS0 quiet cloister.test=idle"},
            "serial": {"mode": "Tty"}, "console": {"mode": "Off"},
        })
        self.curl("PUT", "vm.boot", 204)
        if not self.console.seen.wait(120):
            raise Failed("the guest did not say a word within 120 s")
        info = json.loads(self.curl("GET", "vm.info", 200))
        if info.get("state") != "Running":
            raise Failed("vm.info says state %r, not Running" % info.get("state"))
        self.curl("PUT", "vm.shutdown", 204)
        self.curl("PUT", "vm.delete", 204)
        self.curl("PUT", "vmm.shutdown", 204)
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            raise Failed("cloister is still running 10 s after vmm.shutdown")
        if status != 0:
            raise Failed("cloister ended with status %d, not 0" % status)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def tour(kernel, initramfs):
    folder = tempfile.mkdtemp(prefix="cloister-quickstart.")
    t = None
    try:
        t = Tour(folder, kernel, initramfs)
        t.take()
    finally:
        if t is not None:
            t.end()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--lab", action="store_true", help="use the lab even if the machine could do without")
    p.add_argument("--here", nargs=2, metavar=("KERNEL", "INITRAMFS"), help="take the tour in this very machine")
    args = p.parse_args()
    l1.end_with_us()
    try:
        if args.here:
            tour(*args.here)
            return 0
        started = time.monotonic()
        why = "asked for" if args.lab else hardware()
        kernel, initramfs = assets.guest_kernel().bzimage, assets.guest_initramfs()
        if why is None:
            show("This machine has hardware virtualisation: the guest runs on its own /dev/kvm.")
            tour(kernel, initramfs)
        else:
            show("No usable hardware virtualisation (%s):\nthe tour is taken in the lab, an emulated machine that has it." % why)
            argv = [sys.executable, "-B", os.path.abspath(__file__), "--here", kernel, initramfs]
            if l1.run_once(argv, 200) != 0:
                return 1
        show("quickstart: all answers as documented, guest seen, %.0f s." % (time.monotonic() - started))
        return 0
    except (Failed, assets.AssetError, l1.Hung, l1.TimeLimit, OSError, subprocess.TimeoutExpired) as e:
        show("quickstart: FAILED: %s" % e)
        return 1


if __name__ == "__main__":
    sys.exit(main())
