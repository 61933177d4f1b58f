#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Our helpers under other people's front ends: a Linux guest of QEMU (emulated, one), and DPDK's virtio-user."""
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lab"))
import tap  # noqa: E402
import assets  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
INSIDE = "CLOISTER_INTEROP_NETNS"  # set once this runs in a network namespace of its own
QEMU, TESTPMD = "qemu-system-x86_64", "dpdk-testpmd"
MAC = "2e:11:22:33:44:55"
PIECE = 1 << 20
IMAGE = 4 << 20


class Helper:
    def __init__(self, name, *options):
        self.dir = tempfile.mkdtemp(prefix="interop")
        self.socket = os.path.join(self.dir, "s")
        self.text = tempfile.TemporaryFile()
        self.proc = subprocess.Popen([tap.program("libexec/cloister/cloister-" + name), "--socket-path=" + self.socket, *options],
                                     stdin=subprocess.DEVNULL, stdout=self.text, stderr=self.text)
        tap.poll(lambda: os.path.exists(self.socket) or self.proc.poll() is not None, 10, name + " listens")
        if self.proc.poll() is not None:
            raise AssertionError("%s: %s" % (name, self.said()))

    def said(self):
        self.text.seek(0)
        return self.text.read().decode("latin-1")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        alive = self.proc.poll() is None
        self.proc.send_signal(signal.SIGTERM)
        try:
            status = self.proc.wait(10)
        finally:
            self.proc.kill()
        if exc[0] is not None:
            tap.diag(self.said())
        shutil.rmtree(self.dir, ignore_errors=True)
        if exc[0] is None:
            tap.ok(alive and status in (0, -signal.SIGTERM), "ended early or with %r: %s" % (status, self.said()))


def ifconfig(*args):
    subprocess.run([shutil.which("busybox"), "ifconfig", *args], check=True, stdin=subprocess.DEVNULL)


class Listener(threading.Thread):
    """Takes one connection: reads it to its end, or sends @data."""

    def __init__(self, port, data=None):
        super().__init__(daemon=True)
        self.sock = socket.create_server(("192.168.77.1", port))
        self.sock.settimeout(120)
        self.data, self.got = data, b""
        self.start()

    def run(self):
        conn, _ = self.sock.accept()
        with conn:
            conn.settimeout(60)
            if self.data is not None:
                conn.sendall(self.data)
                return
            while True:
                part = conn.recv(65536)
                if not part:
                    return
                self.got += part


def initramfs(kernel):
    c = assets.base_image("../backend/interop_init.sh")
    assets.add_modules(c, kernel, assets.GUEST_MODULES)
    return assets.image_entry("interop-initramfs", c.finish())


def run_qemu(kernel, disk, net, rng):
    argv = [QEMU, "-M", "q35,memory-backend=m", "-accel", "tcg", "-m", "256M", "-nodefaults", "-no-user-config", "-no-reboot",
            "-display", "none", "-serial", "stdio", "-object", "memory-backend-memfd,id=m,size=256M,share=on",
            "-chardev", "socket,id=b,path=" + disk.socket, "-device", "vhost-user-blk-pci,chardev=b",
            "-chardev", "socket,id=n,path=" + net.socket, "-netdev", "vhost-user,id=net,chardev=n",
            # Without KVM this QEMU dies of MSI-X of a network card whose back end is vhost-user.
            "-device", "virtio-net-pci,netdev=net,romfile=,vectors=0,mac=" + MAC,
            "-chardev", "socket,id=r,path=" + rng.socket, "-device", "vhost-user-rng-pci,chardev=r",
            "-kernel", kernel.bzimage, "-initrd", initramfs(kernel), "-append", "console=ttyS0 quiet"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=150)
    if done.returncode != 0:
        tap.diag("%s ended with %d" % (QEMU, done.returncode))
    return done.stdout.decode("latin-1").replace("\r", "")


def said(text):
    """{word: rest} of the lines that begin with "@"."""
    found = {}
    for line in text.splitlines():
        if "@" in line:
            word, _, rest = line[line.index("@") + 1:].partition(" ")
            found[word] = rest
    return found


@tap.test("a Linux under QEMU uses our disk, network and entropy", limit=200)
def qemu_linux():
    if shutil.which(QEMU) is None:
        tap.skip(QEMU + " is not installed")
    try:
        kernel = assets.guest_kernel()
    except (assets.AssetError, OSError, subprocess.CalledProcessError) as e:
        tap.skip("no kernel: %s" % e)
    content = os.urandom(PIECE)
    with tempfile.NamedTemporaryFile() as image:
        image.write(content)
        image.truncate(IMAGE)
        image.flush()
        with Helper("blk", "--path=" + image.name, "--image-type=raw") as disk, Helper("rng") as rng, \
                Helper("net", "--tap=interop0", "--mac=" + MAC) as net:
            ifconfig("interop0", "192.168.77.1", "netmask", "255.255.255.0", "up")
            taken, given = Listener(5000), Listener(5001, content[::-1])
            text = run_qemu(kernel, disk, net, rng)
            found = said(text)
            tap.diag(text[-3500:] if "received" not in found else "%d lines" % text.count("\n"))
        after = image.seek(0) or image.read()
    digest = hashlib.sha256(content).hexdigest()
    tap.ok("failed" not in found, "drivers: %r" % found)
    tap.eq(found.get("size"), str(IMAGE // 512), "size of the disk")
    tap.eq(found.get("read"), digest, "what was read")
    tap.ok("written" in found and after[PIECE:2 * PIECE] == content, "what was written is in the image")
    tap.ok("virtio" in found.get("rng", ""), "source of entropy: %r" % found.get("rng"))
    tap.ok(len(set(found.get("random", ""))) > 8, "entropy: %r" % found.get("random"))
    tap.eq(found.get("mac"), MAC, "MAC address")
    tap.ok("ping" in found, "ping")
    taken.join(10)
    tap.ok("sent" in found and taken.got == content, "sent by the guest: %d bytes" % len(taken.got))
    tap.eq(found.get("received"), hashlib.sha256(content[::-1]).hexdigest(), "sent to the guest")


@tap.test("DPDK's virtio-user answers pings through our network card", limit=120)
def dpdk_echo():
    if shutil.which(TESTPMD) is None:
        tap.skip(TESTPMD + " is not installed")
    with Helper("net", "--tap=interop1", "--mac=" + MAC) as net, tempfile.TemporaryFile() as text:
        ifconfig("interop1", "192.168.78.1", "netmask", "255.255.255.0", "up")
        argv = [TESTPMD, "-l", "0,1", "--no-huge", "-m", "256", "--no-pci", "--no-telemetry", "--file-prefix=interop%d" % os.getpid(),
                "--vdev=net_virtio_user0,path=%s,mac=%s,queue_size=256" % (net.socket, MAC), "--", "--forward-mode=icmpecho",
                "--auto-start", "--no-mlockall", "--total-num-mbufs=8192", "--stats-period=1"]
        pmd = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=text, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 60
            while True:
                ping = subprocess.run([shutil.which("busybox"), "ping", "-c", "5", "-W", "2", "192.168.78.2"],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
                if ping.returncode == 0 or pmd.poll() is not None or time.monotonic() > deadline:
                    break
        finally:
            pmd.send_signal(signal.SIGINT)
            try:
                pmd.wait(20)
            finally:
                pmd.kill()
            text.seek(0)
            out = text.read().decode("latin-1")
        if ping.returncode != 0:
            tap.diag(out[-3000:])
        tap.contains(ping.stdout.decode(), "5 packets received", "ping")
        tap.diag(ping.stdout.decode().splitlines()[-1])


def main():
    if os.geteuid() != 0:
        tap.skip_all("taps and network namespaces need root")
    if shutil.which("busybox") is None:
        tap.skip_all("busybox is not installed")
    if INSIDE not in os.environ:
        os.execvpe("unshare", ["unshare", "--net", sys.executable] + sys.argv, dict(os.environ, **{INSIDE: "1"}))
    ifconfig("lo", "up")
    tap.main()


if __name__ == "__main__":
    main()
