# SPDX-License-Identifier: ISC
"""Payloads of tests/guest on the real /dev/kvm, through the whole product."""

import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "..", "integration")]
import tap  # noqa: E402
import vmm  # noqa: E402


def need_kvm():
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError as e:
        tap.skip_all("/dev/kvm: " + e.strerror)


def payload(name):
    return tap.program("tests/guest/%s.bin" % name)


def config(name, out=None, mib=64, vcpus=1, cmdline=None, **more):
    """A VM that boots the payload @name, with COM1 in the file @out."""
    cfg = {"cpus": {"boot_vcpus": vcpus, "max_vcpus": vcpus}, "memory": {"size": mib << 20},
           "payload": {"kernel": name if "/" in name else payload(name)},
           "serial": {"mode": "File", "file": out} if out else {"mode": "Null"}}
    if cmdline is not None:
        cfg["payload"]["cmdline"] = cmdline
    cfg.update(more)
    return cfg


class Machine(vmm.Vmm):
    """cloister with an API socket, and the guest's serial output in a file."""

    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.serial = os.path.join(self.dir, "serial")

    def put(self, name, body=None, want=204):
        reply = self.call("PUT", name, body)
        tap.eq(reply.status, want, "%s: status (body %r)" % (name, reply.body))
        return reply

    def boot(self, name, **kw):
        self.put("vm.create", config(name, self.serial, **kw))
        self.put("vm.boot")

    def info(self):
        reply = self.call("GET", "vm.info")
        tap.eq(reply.status, 200, "vm.info")
        return reply.json()

    def state(self):
        return self.info()["state"]

    def output(self):
        try:
            with open(self.serial, "rb") as f:
                return f.read().decode("ascii", "replace")
        except FileNotFoundError:
            return ""

    def wait_output(self, text, seconds=10, count=1):
        tap.poll(lambda: self.output().count(text) >= count, seconds, "%r %d times in the output" % (text, count))

    def tasks(self):
        """thread name -> thread id of vmmd."""
        found = {}
        for tid in os.listdir("/proc/%d/task" % self.pid):
            try:
                with open("/proc/%d/task/%s/comm" % (self.pid, tid)) as f:
                    found[f.read().strip()] = int(tid)
            except FileNotFoundError:
                pass
        return found

    def descriptors(self, tid=None):
        """number -> what it is, of vmmd's control thread or of one of its threads."""
        folder = "/proc/%d/task/%d/fd" % (self.pid, tid or self.pid)
        found = {}
        for number in os.listdir(folder):
            try:
                found[int(number)] = os.readlink(os.path.join(folder, number))
            except FileNotFoundError:
                pass  # closed since
        return found


def run(name, *args, seconds=20, **kw):
    """Boot @name from the command line, wait until it is off; returns what it printed and the exit status."""
    cfg = config(name, **kw)
    line = ["--kernel", cfg["payload"]["kernel"], "--memory", "size=%d" % cfg["memory"]["size"], "--cpus",
            "boot=%d" % cfg["cpus"]["boot_vcpus"], "--console", "off", "--serial", "tty"]
    if "cmdline" in cfg["payload"]:
        line += ["--cmdline", cfg["payload"]["cmdline"]]
    if "initramfs" in kw:
        line += ["--initramfs", kw["initramfs"]]
    with vmm.Vmm(*(line + list(args)), api=False) as v:
        status = v.wait(seconds)
        return v.stdout(), status, v.stderr()


def hang(pid, noticed):
    """Stop the process @pid for good, at a moment when somebody waits for it: @noticed tells. At any other moment nobody
    would, and most moments are such: it is tried often, each time for somewhat longer than those who wait have patience."""
    def once():
        try:
            os.kill(pid, signal.SIGSTOP)
            return tap.poll(noticed, 0.12)
        except AssertionError:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass  # the next round sees that
            return False
        except ProcessLookupError:
            return tap.poll(noticed, 5, "a successor of the hanging process")

    tap.poll(once, 90, "the hanging process is noticed")


def values(text):
    """The "name value" lines of a payload; a name that comes twice has a list."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name in found:
            found[name] = (found[name] if isinstance(found[name], list) else [found[name]]) + [value]
        else:
            found[name] = value
    return found
