# SPDX-License-Identifier: ISC
"""Other people's back ends under a real guest: a disk of qemu-storage-daemon, a network card of DPDK's testpmd."""

import os
import re
import subprocess
import threading
import time

import small
import vm
from suite import scenario

MIB = 1 << 20
CHUNK = 64 * 1024
GIVE_UP_S = 60                   # how long a lost back end is looked for
GUEST, PEER = "192.168.77.2", "192.168.77.1"


class Storage:
    """qemu-storage-daemon with one image."""

    def __init__(self, image, socket_path):
        self.image, self.socket, self.process = image, socket_path, None

    def start(self):
        vm.remove_quietly(self.socket)
        self.process = subprocess.Popen(
            ["qemu-storage-daemon", "--blockdev", "driver=file,node-name=f,filename=" + self.image, "--export",
             "type=vhost-user-blk,id=e,node-name=f,addr.type=unix,addr.path=%s,writable=on,num-queues=1" % self.socket],
            stdin=subprocess.DEVNULL)
        return self

    def wait(self):
        vm.wait_until(lambda: os.path.exists(self.socket), 60, "qemu-storage-daemon listens")
        return self

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.kill()


def disk_of(storage):
    return small.devices(shared=True, disks=[{"vhost_user": True, "vhost_socket": storage.socket}])


def pattern(n):
    """What the guest writes as chunk @n: lines with its number."""
    line = b"chunk %06d\n" % n
    return (line * (CHUNK // len(line) + 1))[:CHUNK]


def write_command(first, last, flags):
    """Chunk by chunk; a line is printed for each that is acknowledged."""
    return ("for i in $(seq %d %d); do yes \"chunk $(printf %%06d $i)\" | head -c %d >/tmp/c; "
            "dd if=/tmp/c of=/dev/vda bs=%d seek=$i %s 2>/tmp/e && echo \"@acked $i\" || { cat /tmp/e; break; }; done" % (
                first, last, CHUNK, CHUNK, flags))


def acked(v):
    return [int(n) for n in re.findall(r"^@acked (\d+)$", v.stdout.text(), re.M)]


def damaged(image, numbers):
    out = []
    with open(image, "rb") as f:
        for n in numbers:
            f.seek(n * CHUNK)
            if f.read(CHUNK) != pattern(n):
                out.append(n)
    return out


@scenario("foreign disk: read, write, back end killed under load")
def foreign_disk(t):
    image = small.image("foreign.img", 32)
    with open(image, "r+b") as f:
        f.write(pattern(7))
    with vm.Cloister(["-v"], tty=True) as v, Storage(image, os.path.join(v.folder, "disk.sock")) as s:
        s.start().wait()
        g = small.Guest(v, disk_of(s))
        text = g.good(t, "the guest reads it", "cat /sys/block/vda/size; dd if=/dev/vda bs=%d count=1 iflag=direct | md5sum; "
                      "yes 'chunk 000007' | head -c %d | md5sum" % (CHUNK, CHUNK))
        sums = re.findall(r"^([0-9a-f]{32})", text, re.M)
        t.check("as large as it is, with the right contents", "65536\n" in text and len(sums) == 2 and sums[0] == sums[1], text)
        g.good(t, "and writes it", write_command(1, 16, "conv=fsync"))
        t.equal("every chunk that was acknowledged is in the image", (acked(v), damaged(image, acked(v))), (list(range(1, 17)), []))
        running = g.start(write_command(17, 160, "oflag=direct"))
        for kill in range(1, 4):
            before = len(acked(v))
            vm.wait_until(lambda: len(acked(v)) > before + 5, 120, "chunks under way")
            s.kill()
            numbers = acked(v)
            t.equal("kill %d: nothing acknowledged is lost" % kill, damaged(image, numbers), [])
            s.start().wait()
            small.wait_restart(v, "_disk0", kill)
        status, text = g.end(running, 240)
        t.check("no I/O error reaches the guest", status == 0 and not re.search("error", text, re.I), text[-1500:])
        t.equal("everything was acknowledged", acked(v), list(range(1, 161)))
        t.equal("and is in the image", damaged(image, range(1, 161)), [])
        g.good(t, "the guest's log has no I/O error", "! dmesg | grep -i 'i/o error'")
        small.end(t, v)


WRITERS, EACH = 8, 40


@scenario("foreign disk: kills with many requests under way")
def foreign_disk_deep(t):
    """The daemon tracks nothing that is in flight: what it had begun is taken up again from the used index."""
    image = small.image("deep.img", 64)
    with vm.Cloister(["-v"], tty=True) as v, Storage(image, os.path.join(v.folder, "disk.sock")) as s:
        s.start().wait()
        g = small.Guest(v, disk_of(s))
        writers = " ".join("(" + write_command(w * EACH + 1, w * EACH + EACH, "oflag=direct").replace("/tmp/", "/tmp/%d." % w) + ") &"
                           for w in range(WRITERS))
        running = g.start(writers + " wait")
        for kill in range(1, 4):
            before = len(acked(v))
            vm.wait_until(lambda: len(acked(v)) > before + 40, 120, lambda: "chunks under way, not %d" % len(acked(v)))
            s.kill()
            t.equal("kill %d: nothing acknowledged is lost" % kill, damaged(image, acked(v)), [])
            s.start().wait()
            small.wait_restart(v, "_disk0", kill)
        status, text = g.end(running, 240)
        t.check("no I/O error reaches the guest", status == 0 and not re.search("error", text, re.I), text[-1500:])
        t.equal("everything was acknowledged", sorted(acked(v)), list(range(1, WRITERS * EACH + 1)))
        t.equal("and is in the image", damaged(image, range(1, WRITERS * EACH + 1)), [])
        g.good(t, "the guest's log has no error of the device", "! dmesg | grep -iE 'i/o error|is not a head'")
        small.end(t, v)


@scenario("foreign disk: absent at boot, then gone for good")
def foreign_disk_absent(t):
    image = small.image("absent.img", 8)
    with vm.Cloister(["-v"], tty=True) as v, Storage(image, os.path.join(v.folder, "disk.sock")) as s:
        late = threading.Timer(2, s.start)
        late.start()
        started = time.monotonic()
        g = small.Guest(v, disk_of(s))
        late.join()
        t.check("a back end that is 2 s late is waited for", time.monotonic() - started > 2)
        g.good(t, "and serves", write_command(1, 4, "oflag=direct"))
        s.kill()
        started = time.monotonic()
        running = g.start("dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct")
        small.wait_restart(v, "_disk0", 1, "failed", GIVE_UP_S + 30)
        took = time.monotonic() - started
        t.check("gone for good: given up after a minute", GIVE_UP_S - 5 < took < GIVE_UP_S + 20, took)
        t.check("with its reason in the log", re.search(
            r'disk "_disk0".*cannot connect to ".*/disk\.sock" for 60 s: ', v.stderr.text()), v.stderr.text()[-1500:])
        t.equal("the VM runs", v.state(), "Running")
        v.type(b"\x03")                          # no signal: the console is raw; the request hangs or fails, the guest lives
        status = None
        try:
            status = g.end(running, 20)[0]
        except vm.Failed:
            pass
        t.check("what was under way hangs or fails, but is no success", status != 0, status)
        v.put("vm.shutdown")
        t.equal("and can be shut down", v.state(), "Created")
        reply = {}

        def boot():
            reply["boot"] = v.request("PUT", "vm.boot", timeout=GIVE_UP_S + 60)
        booting = threading.Thread(target=boot)
        booting.start()
        booting.join(3)
        t.check("a boot without it waits", booting.is_alive(), reply)
        t.equal("while the API answers", v.request("GET", "vmm.ping")[0], 200)
        booting.join()
        status, text = reply["boot"]
        t.check("and is refused after a minute, with the reason", status == 500 and re.search(
            r'disk \\"_disk0\\".*cannot connect to \\".*/disk\.sock\\" for 60 s: (No such file or directory|Connection refused)',
            text), (status, text))
        t.equal("state Created", v.state(), "Created")
        small.end(t, v)


# --- network -----------------------------------------------------------------------------------------------------------


class Switch:
    """testpmd that answers ARP and echo requests of everybody. One processor: both of its threads are on that."""

    def __init__(self, path, client):
        self.path, self.client, self.process = path, client, None

    def start(self):
        if not self.client:
            vm.remove_quietly(self.path)
        folder = os.path.dirname(self.path)
        # It ends with its standard input.
        self.process = subprocess.Popen(
            ["nice", "-n", "10", "dpdk-testpmd", "--no-huge", "-m", "128", "--no-pci", "--lcores", "0@0,1@0", "--no-telemetry",
             "--vdev", "net_vhost0,iface=%s,queues=1%s" % (self.path, ",client=1" if self.client else ""), "--", "--no-mlockall",
             "--forward-mode=icmpecho", "--auto-start", "--total-num-mbufs=2048", "--nb-cores=1"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "RUNTIME_DIRECTORY": folder})
        self.out = vm.Output(self.process.stdout.fileno())
        return self

    def wait(self):
        vm.wait_until(lambda: os.path.exists(self.path), 120,
                      lambda: "testpmd is up; it says " + self.out.text()[-800:])
        return self

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.kill()


PING = "ping -c 3 -W 30 " + PEER


def set_up(t, g):
    text = g.good(t, "the guest has the card",
                  "ip link set eth0 up && ip addr add %s/24 dev eth0 && cat /sys/class/net/eth0/address" % GUEST)
    t.check("with the address that was given", "2e:00:00:00:00:77\n" in text, text)
    g.good(t, "and a ping goes through it", PING, 240)


def net_of(path, mode):
    net = {"vhost_user": True, "vhost_socket": path, "vhost_mode": mode, "mac": "2e:00:00:00:00:77"}
    return small.devices(shared=True, net=[net])


@scenario("foreign network card, as a client")
def foreign_net_client(t):
    with vm.Cloister(["-v"], tty=True) as v, Switch(os.path.join(v.folder, "net.sock"), False) as s:
        s.start().wait()
        g = small.Guest(v, net_of(s.path, "Client"))
        set_up(t, g)
        s.kill()
        vm.wait_until(lambda: "it was disconnected" in v.stderr.text(), 30, "it is missed")
        t.equal("killed: the VM runs", v.state(), "Running")
        s.start().wait()
        small.wait_restart(v, "_net0", 1, seconds=90)
        g.good(t, "back: a ping goes through it", PING, 240)
        s.kill()
        small.end(t, v)


@scenario("foreign network card, as a server")
def foreign_net_server(t):
    with vm.Cloister(["-v"], tty=True) as v, Switch(os.path.join(v.folder, "net.sock"), True) as s:
        late = threading.Timer(1, s.start)
        late.start()
        g = small.Guest(v, net_of(s.path, "Server"))
        late.join()
        set_up(t, g)
        s.kill()
        small.end(t, v)
        t.check("the socket is gone", not os.path.exists(s.path))
