#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Who dies when, among the processes of devices: real helpers under a monitor whose vmmd and apid this test plays. What a guest
sees of it is for other tests; here it is who follows whom, and that nothing is left. As root."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
from security import mondrive  # noqa: E402
from security import system  # noqa: E402

if os.geteuid() != 0:
    tap.skip_all("needs root")
if os.environ.get("SAN"):
    tap.skip_all("a sanitizer build has no filter and no empty root")

# role: (program, kind and index in messages)
ROLES = {"blk": ("cloister-blk", "1"), "net": ("cloister-net", "2"), "rng": ("cloister-rng", "3"),
         "console": ("cloister-console", "0")}
READY_MS = 20  # the goal for a successor, with nothing else to do
AT_FDCWD = -100 & 0xFFFFFFFFFFFFFFFF


def vm():
    m = mondrive.Monitor(fake=()).prepare()
    m.do("MON_OPEN_CONSOLE", which="console", mode="Null")
    m.do("MON_OPEN_VCON", config__mode="Null")
    m.do("MON_OPEN_RNG")
    m.do("MON_OPEN_DISK", **m.disk(m.image("disk"), image_type="Raw"))
    if os.path.exists("/dev/net/tun"):
        m.do("MON_OPEN_NET", index=0, config__mac="2e:00:00:00:00:01", config__id="_net1",
             config__tap="cl%dk%d" % (os.getpid(), next(_numbers)))
    m.hand_over()
    for role in roles(m):
        m.wait("vmmd", "MON_DEVICE", kind=ROLES[role][1])
    return m


_numbers = iter(range(10000))


def roles(m):
    return [r for r in ROLES if m.children(ROLES[r][0])]


def pid_of(m, role):
    found = m.children(ROLES[role][0])
    return found[-1] if found else None


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has died of the one before


def others(m, role):
    return {r: pid_of(m, r) for r in ROLES if r != role}


@tap.test
def each_helper_is_replaced_in_time_and_the_others_notice_nothing():
    times = {}
    m = vm()
    for role in roles(m):
        rest, old = others(m, role), pid_of(m, role)
        began = time.monotonic()
        kill(old)
        tap.eq(m.wait("vmmd", "MON_DEVICE_GONE").fields["kind"], ROLES[role][1], "who is gone")
        up = m.wait("vmmd", "MON_DEVICE_UP")
        times[role] = (time.monotonic() - began) * 1000
        tap.eq((up.fields["kind"], up.fields["generation"], len(up.fds)), (ROLES[role][1], "1", 2), "successor of " + role)
        tap.ok(pid_of(m, role) not in (None, old), "another process")
        tap.eq(others(m, role), rest, "the others")
    tap.diag("successor ready after %s (goal %d ms)" % (", ".join("%s %.1f ms" % t for t in times.items()), READY_MS))


@tap.test(limit=180)
def a_helper_killed_at_any_moment_of_its_start_is_followed_by_another():
    """The first death is of one that serves; the next ones hit its successors while they start."""
    early = late = 0
    for role in ROLES:
        for delay in (0, 0.0003, 0.0006, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.02):
            m = vm()
            if role not in roles(m):
                continue
            known = set(m.any_children())
            kill(pid_of(m, role))
            for _ in range(2):
                young = tap.poll(lambda: set(m.any_children()) - known, 5, "a successor", every=0.0001).pop()
                known.add(young)
                time.sleep(delay)  # the moment under test
                kill(young)
            tap.poll(lambda: m.read(0.05) or (state_of(m, role) == "up" and pid_of(m, role) not in known | {None}), 10,
                     "%s is up again after all" % role)
            tap.eq(len(m.children(ROLES[role][0])), 1, "processes of " + role)
            died_up = sum(x.name == "MON_DEVICE_GONE" for x in m.inbox) - 1
            early, late = early + 2 - died_up, late + died_up
            m.end()
    tap.diag("%d killed before they were up, %d after" % (early, late))
    tap.ok(early and late, "both sides of the moment when it is up: %d, %d" % (early, late))


def state_of(m, role):
    """By the last message about it; no incarnation may come up twice, or be gone that was not up."""
    live, generation = True, 0
    for x in m.inbox:
        if x.fields.get("kind") != ROLES[role][1] or x.name not in ("MON_DEVICE_UP", "MON_DEVICE_GONE"):
            continue
        if x.name == "MON_DEVICE_UP":
            tap.ok(int(x.fields["generation"]) > generation, "a generation of its own: %r" % m.inbox)
            generation, live = int(x.fields["generation"]), True
        else:
            tap.ok(live, "gone, but not up: %r" % m.inbox)
            live = False
    return "up" if live and generation > 0 else "down"


@tap.test
def two_helpers_at_once():
    m = vm()
    names = roles(m)
    for i, a in enumerate(names):
        b = names[(i + 1) % len(names)]
        for pid in (pid_of(m, a), pid_of(m, b)):
            kill(pid)
        for role in (a, b):
            m.wait("vmmd", "MON_DEVICE_GONE", kind=ROLES[role][1])
            m.wait("vmmd", "MON_DEVICE_UP", kind=ROLES[role][1])
        tap.eq(sorted(roles(m)), sorted(names), "helpers")


@tap.test
def helpers_that_hang_do_not_hold_up_the_end():
    m = vm()
    pids = [pid_of(m, r) for r in roles(m)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    m.say("vmmd", "VMM_STOPPED")
    tap.poll(lambda: not any(system.alive(p) for p in pids), 5, "end of all of them")


@tap.test
def the_end_of_vmmd_ends_them_all():
    m = vm()
    pids = [pid_of(m, r) for r in roles(m)] + [m.monitor()]
    kill(m.pid)
    began = time.monotonic()
    tap.poll(lambda: not any(system.alive(p) for p in pids), 2, "end of all of them", every=0.001)
    tap.diag("all gone after %.1f ms" % ((time.monotonic() - began) * 1000))


@tap.test
def the_end_of_the_monitor_ends_them_all():
    m = vm()
    pids = [pid_of(m, r) for r in roles(m)]
    kill(m.monitor())
    tap.poll(lambda: not any(system.alive(p) for p in pids), 2, "end of all of them", every=0.001)


# --- taken over ---------------------------------------------------------------------------------------------------------------

CALLS = (("openat", 257, AT_FDCWD, 0, 0), ("socket", 41, 2, 1, 0), ("execve", 59, 0, 0, 0), ("fork", 57), ("ptrace", 101, 0, 0, 0),
         ("clone without CLONE_THREAD", 56, 17), ("mmap for execution", 9, 0, 4096, 7, 0x22, 0xFFFFFFFF), ("mmap", 9, 0, 4096, 3, 0x22),
         ("mprotect", 10, 0, 4096, 5), ("memfd_create", 319, 0, 0), ("io_uring_setup", 425, 1, 0), ("io_uring_register", 427, 9, 0, 0, 0),
         ("recvmsg", 47, 3, 0, 0), ("dup", 32, 3), ("fcntl", 72, 3, 0), ("ftruncate", 77, 8, 0), ("ioctl TUNSETIFF", 16, 8, 0x400454CA, 0),
         ("read of the control socket", 0, 3, 0, 0), ("write to the image or source", 1, 8, 0, 0), ("kill of everybody", 62, AT_FDCWD, 0),
         ("unshare", 272, 0x10000000), ("bpf", 321, 0, 0, 0), ("userfaultfd", 323, 0), ("setuid", 105, 0), ("x32 read", 0x40000000, 0, 0, 0))
MAY = {(role, "write to the image or source") for role in ("net", "console")}  # taps begin there; its output


@tap.test(limit=180)
def a_helper_that_tries_what_it_must_not_is_killed_alone_and_for_good():
    for role in ROLES:
        for call in CALLS:
            if (role, call[0]) in MAY:
                continue
            m = one(role)
            if m is None:
                continue
            tap.eq(system.inject(pid_of(m, role), *call[1:]), "killed 31", "%s: %s" % (role, call[0]))
            gone = m.wait("vmmd", "MON_DEVICE_GONE")
            tap.eq(gone.fields["final"], "1", "never again")
            tap.contains(gone.fields["reason"], "killed by signal 31")
            tap.eq(m.children(ROLES[role][0]), [], "helpers")
            tap.ok(system.alive(m.monitor()), "the monitor lives")
            m.end()


def one(role):
    """A VM with this device only."""
    m = mondrive.Monitor(fake=()).prepare()
    if role == "blk":
        m.do("MON_OPEN_DISK", **m.disk(m.image("disk"), image_type="Raw"))
    elif role == "rng":
        m.do("MON_OPEN_RNG")
    elif role == "console":
        m.do("MON_OPEN_CONSOLE", which="console", mode="Null")
        m.do("MON_OPEN_VCON", config__mode="Null")
    elif not os.path.exists("/dev/net/tun"):
        m.end()
        return None
    else:
        m.do("MON_OPEN_NET", index=0, config__mac="2e:00:00:00:00:01", config__id="n",
             config__tap="cl%dk%d" % (os.getpid(), next(_numbers)))
    m.hand_over()
    return m


@tap.test
def a_helper_killed_by_its_filter_costs_the_others_nothing():
    m = vm()
    rest = others(m, "rng")
    tap.eq(system.inject(pid_of(m, "rng"), 257, AT_FDCWD, 0, 0), "killed 31", "openat")
    tap.eq(m.wait("vmmd", "MON_DEVICE_GONE").fields["final"], "1")
    tap.eq(others(m, "rng"), rest, "the others")
    m.say("vmmd", "VMM_STOPPED")
    tap.poll(lambda: not roles(m), 5, "all are gone")
    m.prepare()
    m.do("MON_OPEN_RNG")  # the next boot has one again
    m.hand_over()


tap.main()
