#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Started with fewer rights: comes up to Created all the same, with the layers that it can have and one log line for each
that it cannot. The test itself is root, to look from outside."""
import fcntl
import os
import re
import signal
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
from security import census_table as table  # noqa: E402
from security import mondrive  # noqa: E402
from security import system  # noqa: E402

if os.geteuid() != 0:
    tap.skip_all("needs root")
if os.environ.get("SAN"):
    tap.skip_all("a sanitizer build has no filter and no empty root")

NOBODY = 65534
AS_USER = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "as_user.py")]

# What people read, by hand.
NAMESPACE_LAYERS = {"mount namespace", "empty root", "network namespace", "IPC namespace", "host name namespace",
                    "cgroup namespace", "process id namespace"}


def missing_layers(text):
    """layer -> how often it was told to be not permitted."""
    out = {}
    for layer in re.findall(r"WARN\S* -- cloister-\w+ goes without (.*?): not permitted here", text):
        out[layer] = out.get(layer, 0) + 1
    return out


def started(wrap, *args):
    s = system.System(*args, wrap=wrap)
    try:
        s.wait_up().create()
    except Exception:
        tap.diag(s.stderr())
        raise
    tap.eq(s.state(), "Created")
    return s


def check_layers(s, want):
    tap.poll(lambda: want <= set(missing_layers(s.stderr())), 5, "all lines: %s" % want)
    tap.eq(missing_layers(s.stderr()), {layer: 1 for layer in want}, "layers that are missing, and how often that was said")


def check_always(s, uid):
    """What needs no right at all."""
    for role, pid in s.roles().items():
        st = system.status(pid)
        tap.eq((st["NoNewPrivs"], st["Seccomp"]), ("1", "2"), "NoNewPrivs and Seccomp of " + role)
        if role != table.MONITOR:
            tap.eq([int(st["Cap" + k], 16) for k in ("Inh", "Prm", "Eff", "Amb")], [0] * 4, "capabilities of " + role)
        tap.eq(system.read("/proc/%d/environ" % pid, "rb"), b"", "environment of " + role)
        if uid != 0:
            tap.eq(os.stat("/proc/%d/environ" % pid).st_uid, 0, "owner of %s, which is not dumpable" % role)
        tap.eq(system.limits(pid)["core file size"], (0, 0), "core size of " + role)
        tap.eq(st["Uid"].split(), [str(uid)] * 4, "Uid of " + role)
    tap.eq(system.limits(s.role("console"))["open files"], (7, 7), "descriptor limit of the console")
    tap.eq(sorted(system.descriptors(s.role("console"))), [0, 1, 2, 3, 4, 5, 6], "descriptors of the console")


def check_works(s):
    """A helper and apid are restarted, and the end is an orderly one."""
    for role in ("apid", "console"):
        old = s.role(role)
        os.kill(old, signal.SIGKILL)
        tap.poll(lambda: s.role(role) not in (None, old), 5, "a new " + role)
    tap.eq(s.state(), "Created", "after the deaths")
    os.kill(s.pid, signal.SIGTERM)
    tap.eq(s.wait(), 0, "exit status")
    tap.ok(not os.path.exists(s.path), "the API socket is gone")


@tap.test
def nobody_gets_everything_but_user_ids_of_their_own():
    with started(AS_USER) as s:
        check_layers(s, {"own user id"})
        check_always(s, NOBODY)
        host = system.namespaces(os.getpid())
        for role in table.JAILED:
            pid = s.role(role)
            mine = system.namespaces(pid)
            tap.eq({n for n in mine if mine[n] != host[n]}, table.OWN_NAMESPACES[role] | {"user"}, "namespaces of " + role)
            tap.eq(os.listdir("/proc/%d/root/" % pid), [], "root of " + role)
            tap.eq(int(system.status(pid)["CapBnd"], 16), 0, "bounding set of " + role)
        monitor = system.namespaces(s.role(table.MONITOR))
        tap.eq({n for n in monitor if monitor[n] != host[n]}, set(), "the monitor never enters a user namespace")
        check_works(s)


@tap.test
def nobody_where_user_namespaces_are_unavailable_still_comes_up():
    with started(AS_USER + ["--no-userns"]) as s:
        check_layers(s, NAMESPACE_LAYERS | {"own user id", "user namespace", "empty capability bounding set"})
        check_always(s, NOBODY)
        check_works(s)


@tap.test
def root_without_the_right_to_make_namespaces_still_has_user_ids():
    with started(["setpriv", "--bounding-set", "-sys_admin"]) as s:
        check_layers(s, NAMESPACE_LAYERS)
        base = int(system.status(s.pid)["Uid"].split()[0])
        tap.ok(base >= table.FIRST_UID, "vmmd has an id of its own")
        for role in table.JAILED:
            st = system.status(s.role(role))
            tap.eq(st["Uid"].split(), [str(base + table.UID_OFFSET[role])] * 4, "Uid of " + role)
            tap.eq([int(st["Cap" + k], 16) for k in ("Inh", "Prm", "Eff", "Bnd", "Amb")], [0] * 5, "capabilities of " + role)
            tap.eq((st["NoNewPrivs"], st["Seccomp"]), ("1", "2"), "NoNewPrivs and Seccomp of " + role)
        check_works(s)


@tap.test
def root_without_any_right_comes_up_and_says_what_is_missing():
    with started(["setpriv", "--bounding-set", "-all"]) as s:
        said = set(missing_layers(s.stderr()))
        tap.ok(NAMESPACE_LAYERS | {"own user id"} <= said | set(missing_layers(s.stderr())), said)
        check_always(s, 0)
        check_works(s)


@tap.test
def root_of_a_user_namespace_has_no_ids_to_give_away():
    with started(["unshare", "--user", "--map-root-user"]) as s:
        check_layers(s, {"own user id"})
        for role in table.JAILED:
            tap.eq(os.listdir("/proc/%d/root/" % s.role(role)), [], "root of " + role)
        check_works(s)


@tap.test
def unprivileged_boot_fails_cleanly_without_access_to_kvm():
    """The node belongs to root here; state and processes stay as they were."""
    if subprocess.run(["setpriv", "--reuid", str(NOBODY), "--clear-groups", "test", "-w", "/dev/kvm"], check=False).returncode == 0:
        tap.skip("/dev/kvm is open to everybody")
    with system.System(wrap=AS_USER) as s:
        s.wait_up().create(system.payload("spin"))
        before = s.roles()
        reply = s.call("PUT", "vm.boot")
        tap.eq(reply.status, 500, "vm.boot: %r" % reply)
        tap.contains(reply.body.decode(), "/dev/kvm")
        tap.eq((s.state(), s.roles()), ("Created", before), "state and processes")


@tap.test
def devices_of_an_ordinary_user_are_jailed_inside_user_namespaces():
    given = ()
    if os.path.exists("/dev/net/tun"):
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"", 0x5002))  # TUNSETIFF: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
        given = (fd,)
    m = mondrive.Monitor(fake=(), uids=-1, pass_fds=given, wrap=AS_USER).prepare()
    os.chown(m.image("disk"), NOBODY, NOBODY)
    m.do("MON_OPEN_DISK", **m.disk(m.path("disk"), image_type="Raw"))
    m.do("MON_OPEN_RNG")
    for n in given:
        m.do("MON_OPEN_NET", index=0, config__id="n", config__mac="2e:00:00:00:00:01", config__fds=n)
        os.close(n)
    m.image("roots")
    os.chmod(m.path("roots"), 0o600)
    m.refused("MON_OPEN_DISK", 'disk "_disk1"', "Permission denied", **m.disk(m.path("roots"), index=1))
    answer = m.ask("MON_HANDOVER", vcpus=1)  # waits for all helpers; then it may lack /dev/kvm
    tap.ok(answer.name == "MON_HANDOVER_RESULT" or "/dev/kvm" in answer.chain()[1], "%r; log: %r" % (answer.chain(), m.log))
    host = system.namespaces(os.getpid())
    for name in ["cloister-blk", "cloister-rng"] + ["cloister-net"] * len(given):
        pid = m.children(name)[0]
        st = system.status(pid)
        tap.eq((st["Uid"].split(), st["NoNewPrivs"], st["Seccomp"]), ([str(NOBODY)] * 4, "1", "2"), name)
        mine = system.namespaces(pid)
        tap.eq({n for n in mine if mine[n] != host[n]} - {"time"}, {"user", "mnt", "ipc", "uts", "net", "cgroup", "pid"}, name)
        tap.eq(os.listdir("/proc/%d/root/" % pid), [], "root of " + name)
    m.do("MON_RELEASE")
    tap.poll(lambda: not any(m.children(n) for n in mondrive.HELPERS), 5, "the end of the helpers")


@tap.test
def a_tap_that_an_ordinary_user_may_not_make_is_refused_by_name():
    m = mondrive.Monitor(fake=(), uids=-1, wrap=AS_USER).prepare()
    r = m.ask("MON_OPEN_NET", index=0, config__id="n", config__mac="2e:00:00:00:00:01", config__tap="clno%d" % os.getpid())
    if r.fields["code"] == "0":
        r = m.ask("MON_HANDOVER", vcpus=1)
    tap.eq((r.name, r.chain()[0]), ("RESULT", 'net "n"'), "refusal")
    tap.ok(re.search("/dev/net/tun|tap \"clno|CAP_NET_ADMIN", " ".join(r.chain())), repr(r.chain()))


tap.main()
