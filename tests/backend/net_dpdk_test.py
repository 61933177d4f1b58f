#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""cloister-net alone, with DPDK's virtio-user as its front end and driver: an independent one."""
import ctypes
import os
import shutil
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402

PROGRAM = tap.program("libexec/cloister/cloister-net")
TESTPMD = shutil.which("dpdk-testpmd")
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
MAC = bytes.fromhex("021122334455")
PEER = bytes.fromhex("020000000001")


class Echo:
    """testpmd sends back what comes, with addresses swapped."""

    def __init__(self, name, pairs):
        self.dir = tempfile.TemporaryDirectory()
        path = os.path.join(self.dir.name, "s")
        self.text = tempfile.TemporaryFile()
        self.net = subprocess.Popen([PROGRAM, "--socket-path=" + path, "--tap=" + name, "--num-queues=%d" % (2 * pairs)],
                                    stdin=subprocess.DEVNULL)
        tap.poll(lambda: os.path.exists(path), 10, "its socket")
        self.pmd = subprocess.Popen(
            [TESTPMD, "-l", "0,1", "--no-pci", "--no-huge", "-m", "256", "--no-telemetry", "--file-prefix=cl%d" % os.getpid(),
             "--vdev=net_virtio_user0,path=%s,queues=%d,mac=02:11:22:33:44:55" % (path, pairs), "--",
             "--total-num-mbufs=8192", "--rxq=%d" % pairs, "--txq=%d" % pairs, "--port-topology=loop",
             "--forward-mode=macswap", "--auto-start", "--stats-period=3600"],
            stdin=subprocess.DEVNULL, stdout=self.text, stderr=subprocess.STDOUT)
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.sock.bind((name, 0))

    def echoed(self, frame, seconds):
        self.sock.settimeout(seconds)
        self.sock.send(frame)
        try:
            while True:
                data, address = self.sock.recvfrom(70000)
                if address[2] != socket.PACKET_OUTGOING and data[14:18] == frame[14:18]:
                    return data == frame[6:12] + frame[:6] + frame[12:]
        except TimeoutError:
            return False

    def is_up(self):
        if self.pmd.poll() is not None:
            self.text.seek(0)
            raise AssertionError(self.text.read().decode("utf-8", "replace")[-2000:])
        return self.echoed(make(0, 60), 0.1)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.pmd.kill()
        self.pmd.wait()
        self.net.terminate()
        self.net.wait()
        self.sock.close()
        self.dir.cleanup()


def make(number, length):
    return MAC + PEER + b"\x88\xb5" + (number.to_bytes(4, "little") + bytes(i * 7 & 255 for i in range(length)))[:length - 14]


def echoes(name, pairs):
    with Echo(name, pairs) as e:
        tap.poll(e.is_up, 20, "frames come back")
        for i in range(1, 400):
            tap.ok(e.echoed(make(i, 60 + i * 37 % 1455), 5), "frame %d comes back as it was" % i)
        tap.eq(e.net.poll(), None, "cloister-net")


@tap.test(limit=120)
def one_pair_of_queues():
    echoes("dpdk0", 1)


@tap.test(limit=120)
def two_pairs_of_queues():
    echoes("dpdk1", 2)


if TESTPMD is None:
    tap.skip_all("needs dpdk-testpmd")
if LIBC.unshare(CLONE_NEWNET) < 0:
    tap.skip_all("needs root: a network namespace of its own")
try:
    with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w", encoding="ascii") as f:
        f.write("1")
except OSError:
    pass
tap.main()
