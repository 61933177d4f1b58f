# SPDX-License-Identifier: ISC
"""Signals, exit statuses, deaths of single processes, an ordinary user: with a real guest running."""

import os
import re
import shutil
import signal
import time

import vm
from suite import ASSETS, boot_args, config, scenario

HELLO = r"^Hello from the guest: .*$"
USER = 54321


def end_by(t, number, group):
    name = vm.SIGNAMES[number]
    with vm.Cloister(boot_args("idle")) as v:
        v.stdout.wait(HELLO)
        everyone = vm.family(v.pid)
        if group:
            for p in everyone:
                os.kill(p, number)
        else:
            v.process.send_signal(number)
        start = time.monotonic()
        v.wait_exit(0, 10)
        t.passed("%s: status 0 within 10 s" % name)
        t.check("%s: the API socket is gone" % name, not os.path.exists(v.api_path))
        vm.wait_until(lambda: vm.gone(everyone), 2, "end of all processes")
        t.passed("%s: no process stays" % name)
        vm.note("%s: %.0f ms until the exit" % (name, (time.monotonic() - start) * 1e3))


@scenario("SIGTERM")
def sigterm(t):
    end_by(t, signal.SIGTERM, False)


@scenario("SIGINT to every process at once")
def sigint(t):
    end_by(t, signal.SIGINT, True)


@scenario("exit statuses")
def statuses(t):
    with vm.Cloister(["--no-such-option"], api=False) as v:
        v.wait_exit(2)
        t.check("usage error: 2, and says so", v.stderr.text().startswith("error:"), v.stderr.text)
    with vm.Cloister(boot_args("idle")[2:] + ["--kernel", "/nonexistent"], api=False) as v:
        v.wait_exit(1)
        vm.wait_until(lambda: v.stderr.end, 5, "end of stderr")
        t.check("a kernel that is not there: 1, with the chain", re.search(
            r"^Error: Cloud Hypervisor exited with the following chain of errors:\n  0: ", v.stderr.text(), re.M), v.stderr.text)
    with vm.Cloister() as v:
        with vm.Cloister(["--api-socket", v.api_path], api=False) as second:
            second.wait_exit(1)
        t.check("an API socket in use: 1, the other one unharmed", v.request("GET", "vmm.ping")[0] == 200)
        v.process.terminate()
        v.wait_exit(0)


@scenario("kill -9 of the started process")
def kill_started(t):
    folder = os.path.join(vm.work_dir(), "killed")
    os.makedirs(folder)
    with vm.Cloister(tty=True, api_path=os.path.join(folder, "api.sock")) as v:
        v.put("vm.create", config("idle", cpus=2, memory=5 << 30))
        v.put("vm.boot")
        v.stdout.wait(HELLO)
        everyone = [p for p in vm.family(v.pid) if p != v.pid]
        v.process.kill()
        start = time.monotonic()
        vm.wait_until(lambda: vm.gone(everyone), 5, "end of the helpers")
        ms = (time.monotonic() - start) * 1e3
        t.check("every helper is gone at once", ms < 1000, "%.0f ms" % ms)
        vm.wait_until(lambda: v.termios() == v.saved_termios, 2, "restored terminal")
        t.passed("the terminal is restored")
        vm.note("kill -9: helpers gone after %.0f ms" % ms)
    # The stale socket is replaced at once.
    with vm.Cloister(api_path=v.api_path, stale=True) as again:
        t.passed("the same command line can be started again")
        again.put("vmm.shutdown")
        again.wait_exit(0)
    shutil.rmtree(folder)


@scenario("kill -9 of apid")
def kill_apid(t):
    with vm.Cloister() as v:
        v.put("vm.create", config("serve", serial={"mode": "Pty"}))
        s = vm.open_tty(v.info()["config"]["serial"]["file"])
        v.put("vm.boot")
        s.wait(r"^@ready")
        before = v.info()
        old = vm.wait_member(v.pid, "cloister-apid")
        os.kill(old, signal.SIGKILL)
        t.equal("the next request is answered", v.request("GET", "vmm.ping")[0], 200)
        t.equal("vm.info is as before", v.info(), before)
        t.check("by another process", vm.wait_member(v.pid, "cloister-apid", other_than=old) != old)
        s.send("echo alive\n")
        s.wait(r"^@echo alive")
        t.passed("the guest has noticed nothing")
        v.put("vmm.shutdown")
        v.wait_exit(0)
        s.close()


@scenario("kill -9 of the monitor")
def kill_monitor(t):
    with vm.Cloister(tty=True) as v:
        v.put("vm.create", config("idle"))
        v.put("vm.boot")
        v.stdout.wait(HELLO)
        everyone = vm.family(v.pid)
        os.kill(vm.wait_member(v.pid, "cloister-monitor"), signal.SIGKILL)
        vm.wait_until(lambda: not v.running(), 10, "end of the started process")
        vm.wait_until(lambda: vm.gone(everyone), 5, "end of all processes")
        t.passed("its VM is taken down")
        vm.wait_until(lambda: v.termios() == v.saved_termios, 2, "restored terminal")
        t.passed("the terminal is restored")


def missing_layers(log, why):
    """The layers that log lines name as missing because of @why."""
    return re.findall(r" goes without ([^:\r\n]+): " + why, log)


def as_user(t, what, no_userns):
    """An ordinary user with /dev/kvm opened to it boots a guest; each missing layer is named once."""
    home = os.path.join(vm.work_dir(), "user")
    shutil.rmtree(home, ignore_errors=True)
    os.makedirs(home)
    for part in ("bin", "libexec"):
        shutil.copytree(os.path.join(vm.BUILD, part), os.path.join(home, part), symlinks=True)
    payload = {}
    for name in ("bzimage", "initramfs"):
        payload[name] = os.path.join(home, name)
        shutil.copy(ASSETS[name], payload[name])
    os.chmod(vm.work_dir(), 0o755)
    info = os.stat("/dev/kvm")
    os.chown("/dev/kvm", USER, info.st_gid)
    try:
        with vm.Cloister(["-v"], user=USER, program=os.path.join(home, "bin/cloister")) as v:
            c = config("report,poweroff", cpus=2)
            c["payload"].update(kernel=payload["bzimage"], initramfs=payload["initramfs"])
            v.put("vm.create", c)
            v.put("vm.boot")
            v.stdout.wait(r"^@report-end")
            t.equal("%s: two CPUs online" % what, vm.Report(v.stdout.text()).online, "0-1")
            everyone = vm.family(v.pid)
            v.wait_exit(0, 180)
            t.passed("%s: boots, powers off, status 0" % what)
            vm.wait_until(lambda: vm.gone(everyone), 5, "end of all processes")
            log = v.stderr.text()
            refused = missing_layers(log, "not permitted")
            layers = refused + missing_layers(log, "this kernel")
            t.check("%s: each missing layer is named once" % what, len(layers) == len(set(layers)), layers)
            t.check("%s: the log says that it has no uid of its own" % what, "own user id" in refused, log)
            t.equal("%s: the log says whether namespaces are missing" % what, "user namespace" in refused, no_userns)
            t.check("%s: nothing is logged as an error" % what, "ERROR:" not in log, log)
            vm.note("%s: %s" % (what, layers))
    finally:
        os.chown("/dev/kvm", info.st_uid, info.st_gid)
        shutil.rmtree(home, ignore_errors=True)


@scenario("an ordinary user")
def ordinary_user(t):
    as_user(t, "with user namespaces", False)


@scenario("an ordinary user without user namespaces")
def ordinary_user_without(t):
    knob = "/proc/sys/user/max_user_namespaces"
    with open(knob) as f:
        old = f.read()
    with open(knob, "w") as f:
        f.write("0")
    try:
        as_user(t, "without user namespaces", True)
    finally:
        with open(knob, "w") as f:
            f.write(old)
