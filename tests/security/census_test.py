#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Census: every process as the kernel shows it, against census_table.py. As root."""
import itertools
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
from security import bpf  # noqa: E402
from security import census_table as table  # noqa: E402
from security.judge import NAME, NR, check_arguments, judge, other_entries_are_killed  # noqa: E402
from security import system  # noqa: E402

if os.geteuid() != 0:
    tap.skip_all("needs root")
if os.environ.get("SAN"):
    tap.skip_all("a sanitizer build has no filter and no empty root")

ROLES = (table.VMMD, table.MONITOR, table.APID, table.CONSOLE)
_systems = {}


def created():
    """One system in state Created with a console to a file, for all tests that only look."""
    if "created" not in _systems:
        _systems["created"] = system.System().wait_up().create()
    return _systems["created"]


def running():
    """The same with a guest of two vCPUs that runs for ever."""
    if "running" not in _systems:
        _systems["running"] = system.System().wait_up().boot(cpus={"boot_vcpus": 2, "max_vcpus": 2})
    return _systems["running"]


def each_role(check, which=ROLES, s=None):
    for role, pid in (s or created()).roles().items():
        if role in which:
            tap.ok(pid is not None, "there is a " + role)
            try:
                check(role, pid)
            except AssertionError as e:
                raise AssertionError("%s: %s" % (role, e)) from None


def mask(names):
    return sum(1 << bit for bit in names.values())


def uid_base(s):
    return int(system.status(s.pid)["Uid"].split()[0]) - table.UID_OFFSET[table.VMMD]


# --- processes ----------------------------------------------------------------------------------------------------------------


@tap.test
def there_are_exactly_these_processes():
    s = created()
    roles = s.roles()
    tap.eq(sorted(s.processes()), sorted(roles.values()), "processes")
    tap.eq(system.children(s.pid), [roles["monitor"]], "children of the started process")
    tap.eq(sorted(system.children(roles["monitor"])), sorted([roles["apid"], roles["console"]]), "children of the monitor")


@tap.test
def names_and_programs():
    def check(role, pid):
        tap.eq(system.read("/proc/%d/comm" % pid).strip(), table.COMM[role], "comm")
        tap.eq(os.path.basename(os.readlink("/proc/%d/exe" % pid)), table.EXE[role], "program")

    each_role(check)


@tap.test
def each_process_has_the_user_id_of_its_own_four_times():
    base = uid_base(created())
    tap.ok(base >= table.FIRST_UID and (base - table.FIRST_UID) % table.UIDS_PER_INSTANCE == 0, "block at %d" % base)

    def check(role, pid):
        offset = table.UID_OFFSET[role]
        want = [str(0 if offset is None else base + offset)] * 4
        st = system.status(pid)
        tap.eq(st["Uid"].split(), want, "Uid")
        tap.eq(st["Gid"].split(), want, "Gid")
        tap.eq(st["Groups"].split(), [], "Groups")

    each_role(check)


@tap.test
def two_instances_share_no_user_id():
    with system.System() as other:
        other.wait_up()
        tap.ok(uid_base(other) != uid_base(created()), "blocks differ")


@tap.test
def capabilities_are_all_zero_but_the_monitors():
    def check(role, pid):
        st = system.status(pid)
        got = {k: int(st["Cap" + k], 16) for k in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
        want = mask(table.MONITOR_CAPS) if role == table.MONITOR else 0
        # What the test itself does not have (a container), the monitor cannot keep.
        have = int(system.status(os.getpid())["CapPrm"], 16)
        tap.eq(got, {"Inh": 0, "Prm": want & have, "Eff": want & have, "Bnd": want & have, "Amb": 0}, "capabilities")

    each_role(check)


@tap.test
def no_new_privs_and_a_filter_everywhere():
    def check(_role, pid):
        st = system.status(pid)
        tap.eq((st["NoNewPrivs"], st["Seccomp"]), ("1", "2"), "NoNewPrivs, Seccomp")
        tap.ok(int(st["Seccomp_filters"]) >= 1, "filters")

    each_role(check)


@tap.test
def one_thread_each():
    def check(role, pid):
        tap.eq(list(system.threads(pid).values()), [table.COMM[role]], "threads")

    each_role(check)


# --- surroundings -------------------------------------------------------------------------------------------------------------


@tap.test
def namespaces_differ_from_the_hosts_and_only_the_empty_ones_are_shared():
    host = system.namespaces(os.getpid())
    seen = {}

    def check(role, pid):
        mine = system.namespaces(pid)
        tap.eq({n for n in mine if mine[n] != host[n]}, table.OWN_NAMESPACES[role], "own namespaces")
        for n in table.OWN_NAMESPACES[role]:
            seen.setdefault((n, mine[n]), []).append(role)

    each_role(check)
    for (name, _), users in seen.items():
        tap.eq(sorted(users), sorted(table.JAILED) if name in table.SHARED_NAMESPACES else users[:1], "users of " + name)


@tap.test
def network_namespace_has_nothing_but_a_loopback_that_is_down():
    s = created()
    devices = system.read("/proc/%d/net/dev" % s.role("apid")).splitlines()[2:]
    tap.eq([d.split(":")[0].strip() for d in devices], ["lo"], "interfaces")
    tap.eq(system.read("/proc/%d/net/route" % s.role("apid")).splitlines()[1:], [], "routes")


@tap.test
def root_is_empty_read_only_and_the_only_mount():
    def check(_role, pid):
        tap.eq(os.listdir("/proc/%d/root/" % pid), [], "entries")
        tap.eq(os.readlink("/proc/%d/cwd" % pid), "/", "working directory")
        mounts = system.read("/proc/%d/mountinfo" % pid).splitlines()
        tap.eq(len(mounts), 1, "mounts")
        fields = mounts[0].split()
        tap.eq(fields[4], "/", "mount point")
        tap.ok({"ro", "nosuid", "nodev", "noexec"} <= set(fields[5].split(",")), "mount options " + fields[5])
        tap.eq(fields[fields.index("-") + 1], "tmpfs", "file system")
        tap.eq(os.stat("/proc/%d/root/" % pid).st_mode & 0o222, 0, "write bits")

    each_role(check, table.JAILED)


@tap.test
def environment_is_empty_and_memory_is_not_for_others():
    def check(role, pid):
        tap.eq(system.read("/proc/%d/environ" % pid, "rb"), b"", "environment")
        if role != table.MONITOR:  # its own uid is root already
            tap.eq(os.stat("/proc/%d/environ" % pid).st_uid, 0, "owner of a process that is not dumpable")
        tap.ok(int(system.read("/proc/%d/oom_score_adj" % pid)) in table.OOM_SCORE_ADJ[role], "oom_score_adj")

    each_role(check)


@tap.test
def umask_and_signals():
    def check(role, pid):
        st = system.status(pid)
        tap.eq(st["Umask"], "0077", "umask")
        tap.eq(int(st["SigCgt"], 16), 0, "caught signals (there are no handlers)")
        ignored, blocked = int(st["SigIgn"], 16), int(st["SigBlk"], 16)
        if role == table.VMMD:
            want = sum(1 << (n - 1) for n in table.VMMD_BLOCKED.values())
            tap.eq((blocked & want, ignored & want), (want, 0), "signals that vmmd waits for")
        else:
            want = sum(1 << (n - 1) for n in table.IGNORED_SIGNALS.values())
            tap.eq((ignored & want, blocked), (want, 0), "ignored, blocked")

    each_role(check)


@tap.test
def speculation_controls_are_set_where_the_processor_has_them():
    mine = system.status(os.getpid())

    def check(_role, pid):
        st = system.status(pid)
        for key in ("Speculation_Store_Bypass", "SpeculationIndirectBranch"):
            if mine.get(key) in ("thread vulnerable", "conditional enabled"):
                tap.ok("force" in st[key], "%s is %s" % (key, st[key]))

    each_role(check)


# --- limits, descriptors, memory ------------------------------------------------------------------------------------------------


@tap.test
def limits_are_those_of_the_table():
    host = system.limits(os.getpid())

    def check(role, pid):
        got = system.limits(pid)
        want = dict(table.LIMITS[role])
        if role == table.CONSOLE:
            want.update(table.CONSOLE_FILE_TARGET)
        for name, value in want.items():
            tap.eq(got[name], host[name] if value is table.HOST else value, name)

    each_role(check)


def named(s, what, role):
    """Paths of this run as the table's words."""
    words = {os.path.join(s.dir, "stderr"): "LOG", s.serial: "SERIAL", s.path + ".lock": "LOCK", "/run/cloister/uids": "UIDS",
             tap.program("tests/guest/spin.bin"): "KERNEL"}
    if role == table.MONITOR and what.startswith(tap.BUILD):
        return "KERNEL" if what == tap.program("tests/guest/spin.bin") else "PROGRAM " + os.path.basename(what)
    return words.get(what, what)


def check_descriptors(s, role, pid, more=()):
    got = {n: (named(s, what, role), how) for n, (what, how) in system.descriptors(pid).items()}
    fixed = table.FIXED_FDS[role]
    tap.eq({n: got.get(n) for n in fixed}, fixed, "descriptors at fixed numbers")
    others = sorted(v for n, v in got.items() if n not in fixed and not (role == table.MONITOR and n <= 2))
    tap.eq(others, sorted(table.OTHER_FDS[role] + list(more)), "other descriptors")


def quiet(s):
    """No API connection is open (they are the test's own)."""
    tap.poll(lambda: not any(what == "stream" for n, (what, _) in system.descriptors(s.role("apid")).items()), 5,
             "apid has no connection")


@tap.test
def descriptors_are_those_of_the_table():
    s = created()
    quiet(s)
    each_role(lambda role, pid: check_descriptors(s, role, pid))


@tap.test
def no_memory_is_writable_and_executable_and_no_foreign_file_is_mapped():
    s = created()

    def check(role, pid):
        for perms, path in system.mappings(pid):
            tap.ok("w" not in perms or "x" not in perms, "%s %s" % (perms, path))
            if not path or path.startswith("["):
                continue
            plain = path.replace(" (deleted)", "")
            own = plain == os.readlink("/proc/%d/exe" % pid)
            library = role == table.APID and re.match(r"/(usr/)?lib/.*\.so", plain)
            anonymous = plain == "/dev/zero"
            tap.ok(own or library or anonymous or plain in table.MEMORY.get(role, ()), "mapping of " + path)
            if not own and not library:
                tap.ok("x" not in perms, "executable: " + path)

    each_role(check, s=s)


# --- with a guest ---------------------------------------------------------------------------------------------------------------


@tap.test
def running_descriptors_are_those_of_the_table():
    s = running()
    quiet(s)
    each_role(lambda role, pid: check_descriptors(s, role, pid, table.RUNNING_FDS[role]), table.RUNNING_FDS, s)


@tap.test
def running_threads_are_the_vcpus_and_the_kernels_own():
    s = running()
    names = sorted(n for t, n in system.threads(s.pid).items() if t != s.pid)
    tap.eq([n for n in names if n != "kvm-nx-lpage-re"], ["vcpu0", "vcpu1"], "threads")
    for role in (table.APID, table.CONSOLE, table.MONITOR):
        tap.eq(len(system.threads(s.role(role))), 1, "threads of " + role)


@tap.test
def vcpu_threads_hold_four_descriptors_and_two_filters():
    s = running()
    for tid, name in system.threads(s.pid).items():
        if name.startswith("vcpu"):
            tap.eq(system.descriptors(s.pid, tid), table.VCPU_FDS, name)
            st = system.status(s.pid, tid)
            tap.eq((st["Seccomp"], int(st["Seccomp_filters"]) >= 2), ("2", True), "filters of " + name)
            tap.eq([int(st["Cap" + k], 16) for k in ("Inh", "Prm", "Eff", "Bnd", "Amb")], [0] * 5, "capabilities of " + name)


@tap.test
def running_limits_have_not_risen():
    before = {r: system.limits(p) for r, p in created().roles().items()}
    each_role(lambda role, pid: tap.eq(system.limits(pid), before[role], "limits"), s=running())


@tap.test
def running_memory_is_mapped_without_execution():
    s = running()
    for perms, path in system.mappings(s.pid):
        plain = re.sub(r"(kvm-vcpu):\d+", r"\1", path.replace(" (deleted)", ""))
        tap.ok("w" not in perms or "x" not in perms, "%s %s" % (perms, path))
        if plain in table.RUNNING_MEMORY[table.VMMD]:
            tap.ok("x" not in perms, "%s %s" % (perms, path))
        elif plain and not plain.startswith("["):
            tap.eq(plain, os.readlink("/proc/%d/exe" % s.pid), "mapping")


# --- the filters that the kernel runs -------------------------------------------------------------------------------------------


def own_filter(role, s=None):
    """The filter that the process installed itself, as the kernel has it: (program, raw bytes)."""
    if role == "vcpu":
        tid = next(t for t, n in system.threads((s or running()).pid).items() if n == "vcpu0")
    else:
        tid = (s or created()).role(role)
    raw = system.filters(tid)
    return bpf.parse_bytes(raw[-1]), raw


JUDGED = (table.APID, table.VMMD, "vcpu", table.CONSOLE)


def for_filters(check):
    skipped = False
    for role in JUDGED:
        try:
            prog, raw = own_filter(role)
        except tap.Skip:
            skipped = True  # the others still count
            continue
        try:
            check(role, prog, raw)
        except AssertionError as e:
            raise AssertionError("%s: %s" % (role, e)) from None
    if skipped:
        tap.diag("vCPU threads were left out: no /dev/kvm")


@tap.test
def calls_and_their_arguments_are_exactly_the_tables_and_everything_else_kills():
    for_filters(lambda role, prog, _raw: judge(prog, table.CALLS[role], table.ARGUMENTS[role], table.ERRNO_CALLS.get(role)))


@tap.test
def counts_stay_within_the_goals():
    def check(role, prog, _raw):
        n = sum(bpf.ALLOW in bpf.possible(prog, nr) for nr in range(512))
        tap.ok(n <= table.BUDGET[role], "%d calls, %d are the goal" % (n, table.BUDGET[role]))
        tap.ok(len(prog) <= table.INSTRUCTIONS_MAX.get(role, 4096), "%d instructions" % len(prog))
        tap.diag("%-8s %2d calls (%d beyond the eight), %d instructions" % (role, n, n - 8, len(prog)))

    for_filters(check)


@tap.test
def the_monitors_filter_is_the_tables_too():
    prog, _ = own_filter(table.MONITOR)
    allowed = {NAME.get(nr, nr) for nr in range(512) if bpf.ALLOW in bpf.possible(prog, nr)}
    tap.eq(sorted(map(str, allowed - table.CALLS[table.MONITOR])), [], "allowed beyond the table")
    tap.eq(sorted(table.CALLS[table.MONITOR] - allowed), [], "in the table but not allowed")
    tap.ok(len(table.MONITOR_OWN) <= table.MONITOR_OWN_MAX, "%d calls of its own" % len(table.MONITOR_OWN))
    errnos = table.ERRNO_CALLS[table.MONITOR]
    for nr in set(range(512)) - {NR[n] for n in table.CALLS[table.MONITOR]}:
        want = bpf.ERRNO | errnos[NAME[nr]] if NAME.get(nr) in errnos else bpf.KILL
        tap.eq(bpf.possible(prog, nr), {want}, "call %s" % NAME.get(nr, nr))
    for call, alternatives in table.ARGUMENTS[table.MONITOR].items():
        check_arguments(prog, call, alternatives)
    tap.diag("%d calls of its own, %d with its children's" % (len(table.MONITOR_OWN), len(allowed)))


@tap.test
def entries_of_other_architectures_are_killed():
    for_filters(lambda _role, prog, _raw: other_entries_are_killed(prog))


@tap.test
def forbidden_calls_are_forbidden():
    def check(role, prog, _raw):
        for name in table.NEVER:
            if name in NR:
                tap.ok(bpf.ALLOW not in bpf.possible(prog, NR[name]), name)

    for_filters(check)
    prog, _ = own_filter(table.MONITOR)
    for name in table.MONITOR_NEVER:
        if name in NR:
            tap.ok(bpf.ALLOW not in bpf.possible(prog, NR[name]), "monitor: " + name)


@tap.test
def memory_is_never_made_executable_and_clone_makes_threads_only():
    def check(role, prog, _raw):
        for call in {"mmap", "mprotect"} & table.CALLS[role]:
            for prot in range(16):
                tap.eq(bpf.evaluate(prog, NR[call], (0, 4096, prot)) == bpf.ALLOW, prot & 4 == 0, "%s prot %d" % (call, prot))
        if "clone" in table.CALLS[role]:
            for bits in itertools.product((0, 0x100), (0, 0x10000), (0, 17, 0x10000000, 0x3D0F00)):
                flags = sum(bits)
                want = flags & table.CLONE_THREAD_FLAGS == table.CLONE_THREAD_FLAGS
                tap.eq(bpf.evaluate(prog, NR["clone"], (flags,)) == bpf.ALLOW, want, "clone %#x" % flags)

    for_filters(check)


@tap.test
def vmmd_has_kvm_ioctls_only():
    prog, _ = own_filter(table.VMMD)
    tap.ok(len(table.VMMD_IOCTLS) <= table.VMMD_IOCTLS_MAX, "count")
    for cmd in table.VMMD_IOCTLS.values():
        tap.eq(cmd >> 8 & 0xFF, 0xAE, "type of %#x" % cmd)
    for cmd in list(range(0x5400, 0x5480)) + list(range(0x8900, 0x8A00)) + [0x400454CA, 0xC0189436, 0x1260]:
        tap.eq(bpf.evaluate(prog, NR["ioctl"], (11, cmd)), bpf.KILL, "ioctl %#x" % cmd)


@tap.test
def the_kernel_runs_the_filter_that_was_built():
    def check(role, prog, _raw):
        tap.ok(prog == bpf.parse_header(os.path.join(tap.BUILD, "gen/policy_%s.h" % role)), "differs from the build's")

    for_filters(check)


@tap.test
def a_vcpu_thread_is_under_both_filters():
    _, raw = own_filter("vcpu")
    programs = [bpf.parse_bytes(r) for r in raw]
    tap.ok(len(programs) >= 2, "filters")
    tap.ok(programs[-2] == own_filter(table.VMMD, running())[0], "the outer one is vmmd's")
    for nr in range(512):
        both = all(bpf.ALLOW in bpf.possible(p, nr) for p in programs)
        tap.eq(both, NAME.get(nr) in table.CALLS["vcpu"], "call %s" % NAME.get(nr, nr))


tap.main()
