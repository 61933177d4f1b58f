# SPDX-License-Identifier: ISC
"""The lab host ("L1"): a full-system emulator with nested virtualisation, seen from the build machine.

QEMU's TCG emulates AMD SVM, so a stock Debian kernel inside it has a complete KVM whatever this machine is.
L1 sees this machine's root file system read-only under a scratch layer: same paths, same programs.
"""

import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import assets

UP_TIMEOUT_S = 90         # L1 is up in 6 to 9 s on an idle machine
SILENCE_S = 60            # the agent sends a sign of life every 2 s

# TCG lets a nested guest's XSETBV through without the intercept that KVM asks for, so guest and host disagree on which
# state XSAVE saves: guests warn of it ("XSAVE consistency problem"), and two host kernels in a hundred boots were lost.
CPU = "EPYC,+svm,-xsave"

HOST_ENV = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TERM", "CI", "SAN", "V", "CLOISTER_BUILD", "CLOISTER_CACHE",
            "XDG_CACHE_HOME", "PYTHONDONTWRITEBYTECODE")


class Hung(Exception):
    """L1 did not come up, or stopped showing signs of life."""


class TimeLimit(Exception):
    pass


def escape(text):
    return "".join(c if c.isalnum() or c in "/._-+:,@" else "".join("\\x%02x" % b for b in c.encode()) for c in text)


# One processor: with several, each in a thread of the emulator's own, a lab host in ten was lost while guests ran in it (memory
# corruption or lock-ups, under Cloister and QEMU alike), and a guest's boot took three times as long. Two hosts of this size run
# side by side instead. Guests touch little of the memory that they are given.
MEMORY_MIB = 2800
CPUS = 1
# For image files: an ext4 on a disk, as this kernel's tmpfs has no O_DIRECT. Sparse.
SCRATCH_GIB = 8


_alive = set()


def _on_signal(number, _frame):
    for host in list(_alive):
        host.close()
    os._exit(128 + number)


def end_with_us():
    """Whoever ends this program ends its emulators: for the programs that start lab hosts."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _on_signal)


class L1:
    def __init__(self, paths, memory_mib=MEMORY_MIB, cpus=CPUS):
        self.folder = tempfile.mkdtemp(prefix="cloister-lab.")
        self.console = os.path.join(self.folder, "console")
        self.socket = None
        self.inbuf = b""
        self.stderr = open(os.path.join(self.folder, "qemu.stderr"), "wb")
        _alive.add(self)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.path.join(self.folder, "channel"))
        listener.listen(1)
        cmdline = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr lab.agent=%s lab.modules=%s" % (
            escape(os.path.join(assets.HERE, "l1_agent.py")), escape(paths["l1_modules"]))
        argv = ["qemu-system-x86_64", "-name", "cloister-lab", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", CPU,
                "-m", str(memory_mib), "-smp", str(cpus), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-kernel", paths["l1_kernel"], "-initrd", paths["l1_initramfs"], "-append", cmdline,
                "-serial", "file:" + self.console,
                "-device", "virtio-serial-pci", "-chardev", "socket,id=ch,path=" + os.path.join(self.folder, "channel"),
                "-device", "virtserialport,chardev=ch,name=cloister.lab",
                *self.disks(paths),
                "-virtfs", "local,path=/,mount_tag=host,security_model=passthrough,readonly=on,multidevs=remap"]
        try:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.stderr, stderr=self.stderr)
            self.wait_up(listener)
        except BaseException:
            self.close()
            raise
        finally:
            listener.close()

    def disks(self, paths):
        """A scratch disk (vda) and, for the suite, the guests' Debian (vdb); nothing is written back to that one."""
        scratch = os.path.join(self.folder, "scratch.img")
        with open(scratch, "wb") as f:
            f.truncate(SCRATCH_GIB << 30)
        argv = ["-drive", "file=%s,format=raw,if=virtio,cache=unsafe,discard=unmap" % scratch]
        if "debian_image" in paths:
            argv += ["-drive", "file=%s,format=raw,if=virtio,snapshot=on,cache=unsafe" % paths["debian_image"]]
        return argv

    def wait_up(self, listener):
        deadline = time.monotonic() + UP_TIMEOUT_S
        listener.settimeout(10)
        try:
            self.socket, _ = listener.accept()
        except socket.timeout:
            raise Hung("the emulator did not start: " + self.trouble())
        while True:
            kind, _ = self.receive(deadline)
            if kind == b"R":
                return

    def trouble(self):
        text = ""
        for name in ("qemu.stderr", "console"):
            path = os.path.join(self.folder, name)
            if os.path.exists(path):
                with open(path, "rb") as f:
                    text += f.read()[-8000:].decode(errors="replace")
        # QEMU names each feature of the processor model that it does not emulate: expected.
        lines = [line for line in text.splitlines() if "TCG doesn't support requested feature" not in line]
        return "\n".join(lines).strip() or "no output"

    def receive(self, deadline):
        """One frame, or Hung when there is none in time or the emulator is gone."""
        while True:
            if len(self.inbuf) >= 5:
                n = struct.unpack("<I", self.inbuf[1:5])[0]
                if len(self.inbuf) >= 5 + n:
                    kind, body = self.inbuf[:1], self.inbuf[5:5 + n]
                    self.inbuf = self.inbuf[5 + n:]
                    return kind, body
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                raise Hung("no sign of life from the lab host: " + self.trouble())
            data = self.socket.recv(65536)
            if not data:
                raise Hung("the lab host went down: " + self.trouble())
            self.inbuf += data

    def run(self, argv, cwd, env, out, err, limit_s):
        """Run a command; out(bytes) and err(bytes) take its output. Returns its exit status."""
        command = {"argv": argv, "cwd": cwd, "env": env, "date": time.time()}
        body = json.dumps(command).encode()
        self.socket.sendall(b"C" + struct.pack("<I", len(body)) + body)
        end = time.monotonic() + limit_s
        while True:
            if time.monotonic() >= end:
                raise TimeLimit("time limit of %d s reached" % limit_s)
            kind, body = self.receive(time.monotonic() + SILENCE_S)
            if kind == b"O":
                out(body)
            elif kind == b"E":
                err(body)
            elif kind == b"X":
                return json.loads(body)["status"]

    def close(self):
        process = getattr(self, "process", None)
        if process is not None:
            process.kill()
            process.wait()
        if self.socket is not None:
            self.socket.close()
        self.stderr.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        _alive.discard(self)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def host_env(extra=None):
    env = {k: os.environ[k] for k in HOST_ENV if k in os.environ}
    env.setdefault("HOME", "/root")
    env["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    env["CLOISTER_LAB"] = "1"
    env.update(extra or {})
    return env


def writer(stream):
    def write(data):
        stream.buffer.write(data)
        stream.buffer.flush()
    return write


def run_once(argv, limit_s, env=None, out=None, err=None, cwd=None):
    """A fresh lab host for one command. Tried twice when L1 hangs before the command has said anything."""
    paths = assets.fill()
    said = []

    def marked(write):
        def wrapped(data):
            said.append(True)
            write(data)
        return wrapped

    for attempt in range(2):
        try:
            with L1(paths) as host:
                return host.run(argv, cwd or os.getcwd(), host_env(env), marked(out or writer(sys.stdout)),
                                marked(err or writer(sys.stderr)), limit_s)
        except Hung as e:
            if attempt or said:
                raise
            assets.say("%s; starting it again" % e)
