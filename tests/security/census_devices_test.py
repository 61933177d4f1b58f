#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Census of the virtio devices' processes: as the kernel shows them, against census_devices_table.py. They run under a monitor
that this test plays vmmd and apid for, so that no guest is needed. As root."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
from security import bpf  # noqa: E402
from security import census_devices_table as table  # noqa: E402
from security import mondrive  # noqa: E402
from security import system  # noqa: E402
from security.judge import allowed_calls, judge, other_entries_are_killed  # noqa: E402

if os.geteuid() != 0:
    tap.skip_all("needs root")
if os.environ.get("SAN"):
    tap.skip_all("a sanitizer build has no filter and no empty root")
if not os.path.exists("/dev/net/tun"):
    tap.skip_all("no /dev/net/tun")

_made = []


def vm():
    """All devices at once, for all tests that only look."""
    if not _made:
        m = mondrive.Monitor(fake=()).prepare()
        m.do("MON_OPEN_CONSOLE", which="console", mode="Null")
        m.do("MON_OPEN_VCON", config__mode="Null")
        m.do("MON_OPEN_RNG")
        m.do("MON_OPEN_DISK", **m.disk(m.image("plain", table.IMAGE), index=0, disable_io_uring="on", image_type="Raw"))
        m.do("MON_OPEN_DISK", **m.disk(m.image("rings", table.IMAGE), index=1, num_queues=table.URING_QUEUES,
                                       image_type="Raw"))
        m.do("MON_OPEN_NET", index=0, config__mac="2e:00:00:00:00:01", config__id="_net2",
             config__tap="cl%dc" % os.getpid())
        m.hand_over()
        _made.append(m)
    return _made[0]


def pids():
    m = vm()
    by_uid = {}
    for program in set(table.PROGRAM.values()):
        for pid in m.children(program):
            by_uid[int(system.status(pid)["Uid"].split()[0]) - mondrive.UIDS] = pid
    return {role: by_uid.get(offset) for role, offset in table.UID_OFFSET.items()}


def each(check, which=table.DEVICES):
    for role, pid in pids().items():
        if role in which:
            tap.ok(pid is not None, "there is no process of %s with its user id; log: %r" % (role, vm().log))
            try:
                check(role, pid)
            except AssertionError as e:
                raise AssertionError("%s: %s" % (role, e)) from None


@tap.test
def each_device_is_a_process_with_a_user_id_of_its_own():
    def check(role, pid):
        want = [str(mondrive.UIDS + table.UID_OFFSET[role])] * 4
        st = system.status(pid)
        tap.eq((st["Uid"].split(), st["Gid"].split(), st["Groups"].split()), (want, want, []), "ids")
        tap.eq(st["Name"], table.PROGRAM[role][:15], "name")

    each(check)


@tap.test
def they_hold_no_capability_and_can_gain_none():
    def check(_role, pid):
        st = system.status(pid)
        tap.eq([int(st["Cap" + k], 16) for k in ("Inh", "Prm", "Eff", "Bnd", "Amb")], [0] * 5, "capabilities")
        tap.eq((st["NoNewPrivs"], st["Seccomp"]), ("1", "2"), "NoNewPrivs, Seccomp")
        tap.ok(int(st["Seccomp_filters"]) >= 2, "the monitor's filter and its own")

    each(check)


@tap.test
def threads_are_those_of_the_table_and_all_under_the_filter():
    def check(role, pid):
        threads = {t: n for t, n in system.threads(pid).items() if not n.startswith("iou-wrk-")}
        tap.eq(len(threads), table.THREADS[role], "threads %r" % threads)
        for tid in threads:
            st = system.status(pid, tid)
            tap.eq((st["Seccomp"], st["NoNewPrivs"], int(st["CapEff"], 16)), ("2", "1", 0), "thread %d" % tid)
            raw = system.filters(tid)
            tap.eq(raw, system.filters(pid), "filters of thread %d" % tid)

    each(check)


@tap.test
def namespaces_are_their_own_and_the_root_is_empty():
    host = system.namespaces(os.getpid())

    def check(_role, pid):
        mine = system.namespaces(pid)
        tap.eq({n for n in mine if mine[n] != host[n]}, table.OWN_NAMESPACES, "own namespaces")
        tap.eq(os.listdir("/proc/%d/root/" % pid), [], "entries of the root")
        tap.eq(system.read("/proc/%d/environ" % pid, "rb"), b"", "environment")
        tap.eq(int(system.read("/proc/%d/oom_score_adj" % pid)), 300, "oom_score_adj")
        tap.eq(os.stat("/proc/%d/environ" % pid).st_uid, 0, "owner of a process that is not dumpable")

    each(check)


@tap.test
def limits_are_those_of_the_table():
    def check(role, pid):
        got = system.limits(pid)
        for name, value in {**table.COMMON_LIMITS, **table.LIMITS[role]}.items():
            tap.eq(got[name], value, name)
        low, high = table.ADDRESS_SPACE
        tap.ok(low <= got["address space"][1] <= high, "address space %r" % (got["address space"],))
        tap.ok(got["locked memory"][1] <= table.LOCKED_MEMORY_MAX, "locked memory")

    each(check)


@tap.test
def descriptors_are_those_of_the_table_without_a_gap():
    m = vm()
    words = {m.path("plain"): "IMAGE", m.path("rings"): "IMAGE"}

    def check(role, pid):
        got = {n: (words.get(what, what), how) for n, (what, how) in system.descriptors(pid).items()}
        want = table.FDS[role]
        tap.eq({n: v for n, v in got.items() if want.get(n) is not None or n not in want},
               {n: v for n, v in want.items() if v is not None}, "descriptors")
        tap.eq(sorted(got), list(range(system.limits(pid)["open files"][1])), "numbers: none is free")

    each(check, tuple(table.FDS))


@tap.test
def only_what_is_shared_by_design_is_mapped_and_nothing_can_be_executed():
    def check(role, pid):
        for perms, path in system.mappings(pid):
            tap.ok("w" not in perms or "x" not in perms, "%s %s" % (perms, path))
            plain = path.replace(" (deleted)", "")
            if not plain or plain.startswith("[") or plain == os.readlink("/proc/%d/exe" % pid).replace(" (deleted)", ""):
                continue
            tap.ok(plain in table.MEMORY_MAPS | table.MORE_MAPS.get(role, set()) | {"/dev/zero"}, "mapping of " + path)
            tap.ok("x" not in perms, "executable: " + path)
        tap.ok(any("guest-ram" in path for _, path in system.mappings(pid)), "the guest's memory is mapped")

    each(check)


def own_filter(pid):
    return bpf.parse_bytes(system.filters(pid)[-1])


@tap.test
def calls_and_their_arguments_are_exactly_the_tables_and_everything_else_kills():
    each(lambda role, pid: judge(own_filter(pid), table.CALLS[role], table.ARGUMENTS[role]), tuple(table.ARGUMENTS))


@tap.test
def counts_stay_within_the_goals():
    def check(role, pid):
        prog = own_filter(pid)
        n = len(allowed_calls(prog))
        tap.ok(n <= table.BUDGET[role], "%d calls, %d are the goal" % (n, table.BUDGET[role]))
        tap.ok(len(prog) <= table.INSTRUCTIONS_MAX, "%d instructions" % len(prog))
        tap.diag("%-9s %2d calls beyond the eight, %d instructions" % (role, n - 8, len(prog)))

    each(check)


@tap.test
def entries_of_other_architectures_are_killed():
    each(lambda _role, pid: other_entries_are_killed(own_filter(pid)))


@tap.test
def the_kernel_runs_the_filter_that_was_built():
    def check(role, pid):
        built = bpf.parse_header(os.path.join(tap.BUILD, "gen/policy_%s.h" % role))
        tap.ok(own_filter(pid) == built, "differs from the build's")

    each(check)


@tap.test
def a_ring_is_restricted_to_what_a_disk_needs():
    def check(_role, pid):
        for n, (what, _) in system.descriptors(pid).items():
            if "io_uring" in what:
                text = system.read("/proc/%d/fdinfo/%d" % (pid, n))
                tap.ok(re.search(r"UserFiles:\s+1\b", text), "registered files: %s" % text[:400])

    each(check, (table.URING,))


tap.main()
