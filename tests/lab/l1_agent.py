# SPDX-License-Identifier: ISC
"""Runs in the lab host (L1): takes one command from the build machine, passes its output and status back.

The channel is a virtio-serial port; both ends speak frames of a type byte, a 32-bit little-endian length
and so many bytes: R ready, C the command (JSON), O and E output, X the exit status (JSON), H still alive.
"""

import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import assets  # noqa: E402

PORT_NAME = "cloister.lab"
HEARTBEAT_S = 2
SCRATCH = "/run/scratch"       # of vm.py too


def find_port():
    base = "/sys/class/virtio-ports"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for port in os.listdir(base) if os.path.isdir(base) else []:
            with open(os.path.join(base, port, "name")) as f:
                if f.read().strip() == PORT_NAME:
                    return os.open("/dev/" + port, os.O_RDWR | os.O_CLOEXEC)
        time.sleep(0.05)
    raise SystemExit("lab: no channel")


class Channel:
    def __init__(self, fd):
        self.fd, self.lock = fd, threading.Lock()

    def send(self, kind, body=b""):
        data = kind + struct.pack("<I", len(body)) + body
        with self.lock:
            while data:
                data = data[os.write(self.fd, data):]

    def take(self, n):
        data = b""
        while len(data) < n:
            got = os.read(self.fd, n - len(data))
            if not got:
                time.sleep(0.01)      # the other end is not connected yet
            data += got
        return data

    def receive(self):
        head = self.take(5)
        return head[:1], self.take(struct.unpack("<I", head[1:])[0])


def beat(channel):
    while True:
        time.sleep(HEARTBEAT_S)
        channel.send(b"H")


def quietly(*argv):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def prepare():
    """What a lab host has beyond its root file system: KVM, taps, and a scratch disk with a file system."""
    for m in assets.L1_MODULES:
        subprocess.run(["modprobe", m], stdin=subprocess.DEVNULL)
    os.makedirs(SCRATCH, exist_ok=True)
    if not (quietly("mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1", "-O", "^has_journal", "/dev/vda") and
            quietly("mount", "-t", "ext4", "/dev/vda", SCRATCH)):
        print("lab: no scratch disk", file=sys.stderr)


def pump(channel, process):
    sel = selectors.DefaultSelector()
    sel.register(process.stdout, selectors.EVENT_READ, b"O")
    sel.register(process.stderr, selectors.EVENT_READ, b"E")
    while sel.get_map():
        # A daemon may keep the pipes open for ever: the command's end is what counts.
        ready = sel.select(0.2)
        if not ready and process.poll() is not None:
            return
        for key, _ in ready:
            data = os.read(key.fd, 65536)
            if data:
                channel.send(key.data, data)
            else:
                sel.unregister(key.fileobj)


def main():
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    channel = Channel(find_port())
    channel.send(b"R")
    threading.Thread(target=beat, args=(channel,), daemon=True).start()
    kind, body = channel.receive()
    if kind != b"C":
        raise SystemExit("lab: unexpected frame")
    command = json.loads(body)
    if "date" in command:
        time.clock_settime(time.CLOCK_REALTIME, command["date"])
    prepare()
    try:
        p = subprocess.Popen(command["argv"], cwd=command["cwd"], env=command["env"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as e:
        channel.send(b"E", ("lab: %s: %s\n" % (command["argv"][0], e.strerror)).encode())
        status = 127
    else:
        pump(channel, p)
        status = p.wait()
        status = 128 - status if status < 0 else status
    channel.send(b"X", json.dumps({"status": status}).encode())
    signal.pause()        # the build machine ends the emulator


if __name__ == "__main__":
    main()
