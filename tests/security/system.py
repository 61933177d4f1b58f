# SPDX-License-Identifier: ISC
"""The whole system from outside: its processes by role, and what the kernel tells about each of them."""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "../integration")]
import tap  # noqa: E402
import vmm  # noqa: E402

PTOOL = tap.program("tests/security/ptool")


def read(path, mode="r"):
    with open(path, mode) as f:
        return f.read()


def alive(pid):
    try:
        return read("/proc/%d/stat" % pid).rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid):
    """By parent, as /proc/PID/task/TID/children may miss some while others end."""
    out = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                rest = read("/proc/%s/stat" % entry).rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(rest[1]) == pid and rest[0] not in "ZX":
                out.append(int(entry))
    return out


def payload(name):
    path = tap.program("tests/guest/%s.bin" % name)
    if not os.path.exists(path):
        tap.skip("guest payloads are not built (make payloads)")
    return path


def need_kvm():
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError as e:
        tap.skip("/dev/kvm: %s" % e.strerror)


class System(vmm.Vmm):
    """A cloister with its processes: vmmd (the started one), monitor, apid, console."""

    def role(self, name):
        """The pid, or None while there is none."""
        if name == "vmmd":
            return self.pid
        monitors = [p for p in children(self.pid) if os.path.basename(self.exe(p)) == "cloister-monitor"]
        if name == "monitor":
            return monitors[0] if monitors else None
        for monitor in monitors:
            for pid in children(monitor):
                if os.path.basename(self.exe(pid)) == "cloister-" + name and alive(pid):
                    return pid
        return None

    @staticmethod
    def exe(pid):
        try:
            return os.readlink("/proc/%d/exe" % pid).replace(" (deleted)", "")
        except OSError:
            return ""

    def roles(self):
        return {r: self.role(r) for r in ("vmmd", "monitor", "apid", "console")}

    @property
    def serial(self):
        return os.path.join(self.dir, "serial")

    def create(self, kernel="/nonexistent", serial=None, **more):
        config = {"payload": {"kernel": kernel}, "memory": {"size": 64 << 20},
                  "serial": serial or {"mode": "File", "file": self.serial}, "console": {"mode": "Off"}}
        config.update(more)
        reply = self.call("PUT", "vm.create", config)
        tap.eq(reply.status, 204, "vm.create: %r" % reply)
        if config["serial"]["mode"] not in ("Off", "Null"):  # these have no process; the others' starts beside the answer
            tap.poll(lambda: self.role("console"), 5, "the console's process", every=0.001)
        return self

    def boot(self, name="spin", **more):
        """A guest that runs until it is stopped."""
        need_kvm()
        self.create(payload(name), **more)
        reply = self.call("PUT", "vm.boot")
        tap.eq(reply.status, 204, "vm.boot: %r %s" % (reply, self.stderr()))
        return self

    def state(self):
        return self.call("GET", "vm.info").json()["state"]

    def everything_gone(self, pids, seconds=2):
        tap.poll(lambda: not any(alive(p) for p in pids), seconds, "end of all processes", every=0.001)


# --- what the kernel tells -------------------------------------------------------------------------------------------------


def status(pid, tid=None):
    path = "/proc/%d/task/%d/status" % (pid, tid) if tid else "/proc/%d/status" % pid
    return {k: v.strip() for k, v in (line.split(":", 1) for line in read(path).splitlines())}


def limits(pid):
    out = {}
    for line in read("/proc/%d/limits" % pid).splitlines()[1:]:
        m = re.match(r"Max (.*?)\s{2,}(\S+)\s+(\S+)", line)
        out[m.group(1)] = tuple(None if v == "unlimited" else int(v) for v in m.group(2, 3))
    return out


def namespaces(pid):
    return {n: os.readlink("/proc/%d/ns/%s" % (pid, n)) for n in os.listdir("/proc/%d/ns" % pid)
            if not n.endswith("_for_children")}


def threads(pid):
    """tid -> name."""
    return {int(t): read("/proc/%d/task/%s/comm" % (pid, t)).strip() for t in os.listdir("/proc/%d/task" % pid)}


def unix_sockets():
    """inode -> stream, dgram, seqpacket or listen."""
    kinds = {"0001": "stream", "0002": "dgram", "0005": "seqpacket"}
    out = {}
    for line in read("/proc/net/unix").splitlines()[1:]:
        f = line.split()
        out[f[6]] = "listen" if int(f[3], 16) & 0x10000 else kinds[f[4]]
    return out


def describe_fd(base, fd, sockets):
    """(what, how): ("seqpacket", "rw")."""
    target = os.readlink("%s/fd/%d" % (base, fd))
    flags = int(re.search(r"^flags:\s*(\d+)", read("%s/fdinfo/%d" % (base, fd)), re.M).group(1), 8)
    how = "path" if flags & 0o10000000 else ("r", "w", "rw")[flags & 3]
    if target == "/dev/null":
        return "null", how
    m = re.match(r"socket:\[(\d+)\]", target)
    if m:
        return sockets.get(m.group(1), "unknown socket"), how
    m = re.match(r"anon_inode:\[?([a-z0-9-]+)(:\d+)?\]?", target)
    if m:
        return m.group(1), how
    if target.startswith("pipe:"):
        return "pipe", how
    if target.startswith("/memfd:"):
        return target[1:].replace(" (deleted)", ""), how
    m = re.match(r"(\w+):\[\d+\]", target)
    if m:
        return m.group(1) + " namespace", how
    return target, how


def descriptors(pid, tid=None):
    """number -> (what, how)."""
    base = "/proc/%d/task/%d" % (pid, tid) if tid else "/proc/%d" % pid
    sockets = unix_sockets()
    out = {}
    for n in os.listdir(base + "/fd"):
        try:
            out[int(n)] = describe_fd(base, int(n), sockets)
        except FileNotFoundError:
            pass  # closed meanwhile
    return out


def mappings(pid):
    """(permissions, file) of every mapping with a file."""
    out = []
    for line in read("/proc/%d/maps" % pid).splitlines():
        f = line.split(None, 5)
        out.append((f[1], f[5] if len(f) > 5 else ""))
    return out


def filters(tid):
    """The thread's seccomp programs, inherited ones first, its own last, as raw bytes."""
    out = subprocess.run([PTOOL, "filters", str(tid)], capture_output=True, text=True, check=False)
    if out.returncode != 0:
        raise AssertionError(out.stderr)
    return [bytes.fromhex(line) for line in out.stdout.split()]


def inject(tid, nr, *args):
    """Make the thread call @nr: "killed N" or "returned N"."""
    line = [PTOOL, "inject", str(tid), str(nr)] + [str(a) for a in args]
    out = subprocess.run(line, capture_output=True, text=True, check=False, timeout=20)
    if out.returncode != 0:
        raise AssertionError(out.stderr)
    return out.stdout.strip()
