#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""policy_gen: what it makes of notes, judged by evaluating the filters it writes."""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
from security import bpf  # noqa: E402

NR = {"read": 0, "write": 1, "close": 3, "poll": 7, "mmap": 9, "mprotect": 10, "munmap": 11, "ioctl": 16, "madvise": 28,
      "sendto": 44, "recvfrom": 45, "clone": 56, "exit": 60, "fcntl": 72, "rt_sigreturn": 15, "prctl": 157, "futex": 202,
      "restart_syscall": 219, "clock_gettime": 228, "exit_group": 231, "openat": 257, "accept4": 288, "clone3": 435}
EIGHT = ("clock_gettime", "futex", "restart_syscall", "rt_sigreturn", "exit", "exit_group", "munmap")
PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
CLONE_VM, CLONE_THREAD, CLONE_NEWUSER = 0x100, 0x10000, 0x10000000
KVM_RUN, TCSETS, TIOCSTI, TIOCGWINSZ, TUNSETOFFLOAD = 0xAE80, 0x5402, 0x5412, 0x5413, 0x400454D0


def generate(role, text, want_error=None, extra=()):
    """The filter made of one source with @text; with want_error: the message of the refusal."""
    gen = tap.program("host/policy_gen")
    with tempfile.TemporaryDirectory() as d:
        source, out = os.path.join(d, "source.c"), os.path.join(d, "out.h")
        with open(source, "w") as f:
            f.write(text)
        r = subprocess.run([gen, role, out, source, *extra], capture_output=True, text=True, cwd=tap.TOP)
        if want_error is not None:
            assert r.returncode == 1, "accepted: %r" % text
            assert want_error in r.stderr, "%r not in %r" % (want_error, r.stderr)
            assert not os.path.exists(out), "a header in spite of the error"
            return None
        assert r.returncode == 0, r.stderr
        return bpf.parse_header(out)


def allowed(prog, name, *args):
    answer = bpf.evaluate(prog, NR[name], args)
    assert answer in (bpf.ALLOW, bpf.KILL) or answer & 0xFFFF0000 == bpf.ERRNO, hex(answer)
    return answer == bpf.ALLOW


@tap.test
def empty_source_allows_the_eight_and_nothing_else():
    prog = generate("console", "int x;\n")
    names = {v: k for k, v in NR.items()}
    for nr in range(600):
        want = names.get(nr) in EIGHT
        tap.eq(bpf.evaluate(prog, nr) == bpf.ALLOW, want, "call %d" % nr)


@tap.test
def madvise_is_allowed_by_advice_value():
    prog = generate("console", "")
    for advice in range(0, 110):
        tap.eq(allowed(prog, "madvise", 0, 0, advice), advice in (4, 8), "advice %d" % advice)
    more = generate("console", "/* #syscalls madvise(DONTDUMP) */\n")
    tap.eq([a for a in range(110) if allowed(more, "madvise", 0, 0, a)], [4, 8, 16])


@tap.test
def other_architectures_and_x32_are_killed():
    prog = generate("console", "/* #syscalls read write */\n")
    for arch in (0x40000003, 0xC00000B7, 0, 0xFFFFFFFF):
        tap.eq(bpf.evaluate(prog, 0, arch=arch), bpf.KILL, "arch %#x" % arch)
    for nr in (0x40000000, 0x40000001, 0x40000000 + 515, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
        tap.eq(bpf.evaluate(prog, nr), bpf.KILL, "nr %#x" % nr)


@tap.test
def default_is_kill_process_not_thread():
    prog = generate("vcpu", "")
    tap.eq(bpf.evaluate(prog, NR["openat"]), 0x80000000)


@tap.test
def plain_list_over_several_notes():
    prog = generate("apid", "/*\n * #syscalls read write\n */\n\t/* #syscalls close */\n// #syscalls poll\n")
    for name in ("read", "write", "close", "poll"):
        assert allowed(prog, name, 77), name
    assert not allowed(prog, "sendto")


@tap.test
def note_must_stand_at_the_start_of_its_line():
    prog = generate("apid", "char *s = \"#syscalls read\";\n/* see #syscalls write */\n")
    assert not allowed(prog, "read") and not allowed(prog, "write")


@tap.test
def role_prefix_takes_only_its_own():
    text = "/* #syscalls vcpu: read\n * #syscalls apid monitor: write\n * #syscalls monitor:close */\n"
    apid, vcpu = generate("apid", text), generate("vcpu", text)
    tap.eq([n for n in ("read", "write", "close") if allowed(apid, n)], ["write"])
    tap.eq([n for n in ("read", "write", "close") if allowed(vcpu, n)], ["read"])


@tap.test
def reason_after_dashes_is_no_call():
    prog = generate("apid", "/* #syscalls read -- write close poll */\n")
    assert allowed(prog, "read") and not allowed(prog, "write")


@tap.test
def descriptors_are_pinned_by_number():
    prog = generate("console", "/* #syscalls read(fd=STREAM|TARGET_IN) write(fd=CLIENT) */\n")
    for fd in list(range(20)) + [0xFFFFFFFF, 0x80000005]:
        tap.eq(allowed(prog, "read", fd), fd in (5, 7), "read %d" % fd)
        tap.eq(allowed(prog, "write", fd), fd == 9, "write %d" % fd)


@tap.test
def descriptors_are_pinned_from_a_number_on():
    prog = generate("rng", "/* #syscalls read(fd>=EVENTS) read(fd=CONTROL) write(fd>=EVENTS) close(fd>=VHOST) */\n")
    for fd in list(range(20)) + [64, 255, 1023, 65535, 1 << 16, 1 << 20, 0x7FFFFFFF]:
        tap.eq(allowed(prog, "read", fd), fd == 3 or fd >= 9, "read %d" % fd)
        tap.eq(allowed(prog, "write", fd), fd >= 9, "write %d" % fd)
        tap.eq(allowed(prog, "close", fd), fd >= 5, "close %d" % fd)
    # The kernel looks at the lower half alone.
    assert allowed(prog, "read", 0xABCD00000009) and not allowed(prog, "read", 0xABCD00000008)
    assert not allowed(prog, "write", 1 << 32)


@tap.test
def ioctl_is_pinned_from_a_descriptor_on():
    prog = generate("net", "/* #syscalls ioctl(fd>=EVENTS: TUNSETOFFLOAD,\n *\tTCSETS) ioctl(LOG: TIOCGWINSZ) */\n")
    for fd in range(300):
        for cmd in (TUNSETOFFLOAD, TCSETS, TIOCSTI, TIOCGWINSZ, 0):
            want = fd >= 8 and cmd in (TUNSETOFFLOAD, TCSETS) or fd == 4 and cmd == TIOCGWINSZ
            tap.eq(allowed(prog, "ioctl", fd, cmd), want, "%d %#x" % (fd, cmd))


@tap.test
def a_number_inside_a_range_may_be_named_too():
    prog = generate("vconsole", "/* #syscalls read(fd=CLIENT) read(fd>=EVENTS) */\n")
    tap.eq([fd for fd in range(40) if allowed(prog, "read", fd)], list(range(11, 40)))


@tap.test
def a_range_in_a_long_filter():
    calls = "open close stat fstat lstat poll lseek brk rt_sigaction rt_sigprocmask pread64 pwrite64 readv writev access " \
            "pipe select sched_yield mremap msync mincore dup dup2 pause nanosleep getpid"
    prog = generate("blk", "/* #syscalls %s read(fd>=EVENTS) */\n" % calls)
    tap.eq([fd for fd in range(40) if allowed(prog, "read", fd)], list(range(9, 40)))


@tap.test
def a_childs_ranges_mean_nothing_to_the_monitor():
    with tempfile.NamedTemporaryFile("w", suffix=".c") as f:
        f.write("/* #syscalls read(fd>=EVENTS) ioctl(fd>=EVENTS: TUNSETOFFLOAD) */\n")
        f.flush()
        prog = generate("monitor", "", extra=("--child", "net", f.name))
    tap.eq([allowed(prog, "read", fd) for fd in (0, 7, 8)], [True] * 3)
    tap.eq([allowed(prog, "ioctl", fd, TUNSETOFFLOAD) for fd in (0, 7, 8)], [True] * 3)
    assert not allowed(prog, "ioctl", 8, TCSETS)


@tap.test
def upper_half_of_a_descriptor_is_ignored_as_by_the_kernel():
    prog = generate("console", "/* #syscalls read(fd=STREAM) */\n")
    assert allowed(prog, "read", 0xABCD00000005)
    assert not allowed(prog, "read", 0x500000000)


@tap.test
def ioctl_is_pinned_to_descriptor_and_command():
    prog = generate("vcpu", "/* #syscalls ioctl(VCPU: KVM_RUN,\n *\tTCSETS) */\n")
    for fd in range(6):
        for cmd in (KVM_RUN, TCSETS, TIOCSTI, 0):
            tap.eq(allowed(prog, "ioctl", fd, cmd), fd == 1 and cmd != TIOCSTI and cmd != 0, "%d %#x" % (fd, cmd))


@tap.test
def ioctl_without_descriptor_is_pinned_to_commands():
    prog = generate("vmmd", "/* #syscalls ioctl(KVM_RUN) ioctl(ANY: TCSETS) */\n")
    assert allowed(prog, "ioctl", 99, KVM_RUN) and allowed(prog, "ioctl", 5, TCSETS)
    assert not allowed(prog, "ioctl", 99, TIOCSTI)


@tap.test
def ioctl_command_is_32_bits_whatever_the_caller_extends():
    prog = generate("vmmd", "/* #syscalls ioctl(KVM_GET_REGS) */\n")
    cmd = 0x8090AE81
    assert allowed(prog, "ioctl", 1, cmd) and allowed(prog, "ioctl", 1, cmd | 0xFFFFFFFF00000000)


@tap.test
def mmap_and_mprotect_never_executable():
    prog = generate("vmmd", "/* #syscalls mmap mprotect */\n")
    for name in ("mmap", "mprotect"):
        for prot in range(8):
            tap.eq(allowed(prog, name, 0, 4096, prot), not prot & PROT_EXEC, "%s prot %d" % (name, prot))


@tap.test
def clone_only_for_threads_and_clone3_is_enosys():
    prog = generate("vmmd", "/* #syscalls clone clone3 */\n")
    assert allowed(prog, "clone", CLONE_VM | CLONE_THREAD | 0x3D0F00)
    for flags in (0, 17, CLONE_VM, CLONE_THREAD, CLONE_NEWUSER | 17):
        assert not allowed(prog, "clone", flags), hex(flags)
    tap.eq(bpf.evaluate(prog, NR["clone3"]), bpf.ERRNO | 38)


@tap.test
def errno_condition_answers_instead_of_allowing():
    prog = generate("apid", "/* #syscalls openat(errno=ENOENT) */\n")
    tap.eq(bpf.evaluate(prog, NR["openat"]), bpf.ERRNO | 2)


@tap.test
def any_argument_can_be_pinned():
    prog = generate("apid", "/* #syscalls accept4(arg3=0x80800) fcntl(F_GETFL, F_SETFL) prctl(PR_SET_NAME) */\n")
    tap.eq([f for f in (0, 0x800, 0x80800) if allowed(prog, "accept4", 3, 0, 0, f)], [0x80800])
    tap.eq([c for c in range(16) if allowed(prog, "fcntl", 3, c)], [3, 4])
    tap.eq([c for c in range(70) if allowed(prog, "prctl", c)], [15])


@tap.test
def unconditional_note_wins_over_a_pinned_one():
    prog = generate("console", "/* #syscalls read(fd=STREAM) */\n/* #syscalls read */\n")
    assert allowed(prog, "read", 3)


@tap.test
def long_filters_keep_their_meaning_as_a_tree():
    calls = "read write open close stat fstat lstat poll lseek mmap mprotect brk rt_sigaction rt_sigprocmask pread64 " \
            "pwrite64 readv writev access pipe select sched_yield mremap msync mincore dup dup2 pause nanosleep getpid"
    prog = generate("monitor", "/* #syscalls %s ioctl(TCSETS) */\n" % calls)
    ioctl = [c for c in range(0x5400, 0x5420) if allowed(prog, "ioctl", 0, c)]
    tap.eq(ioctl, [TCSETS])
    got = {nr for nr in range(512) if bpf.evaluate(prog, nr, (0, 0, 0)) == bpf.ALLOW}
    tap.eq(len(got), len(calls.split()) + len(EIGHT))


@tap.test
def mistakes_are_refused_with_their_place():
    cases = [("no_such_call", "unknown system call"), ("read(fd=NOWHERE)", "no descriptor \"NOWHERE\""),
             ("ioctl(STREAM: NO_SUCH_CMD)", "unknown constant"), ("ioctl", "needs its commands"),
             ("read(STREAM)", "which argument"), ("nobody: read", "unknown role"), ("read(fd=STREAM", "unbalanced"),
             ("console:", "empty note"), ("Read", "no system call's name"), ("read(arg6=1)", "unknown condition"),
             ("ioctl(STREAM:)", "empty value"), ("read(fd>=NOWHERE)", "no descriptor \"NOWHERE\""),
             ("ioctl(fd>=NOWHERE: TCSETS)", "no descriptor"), ("read(fd>STREAM)", "which argument"),
             ("poll(arg1=0x7ffe0003)", "the mark of a range")]
    for text, message in cases:
        generate("console", "\n/* #syscalls %s\n */\n" % text, want_error=message)
    gen = tap.program("host/policy_gen")
    r = subprocess.run([gen, "nobody", "/dev/null"], capture_output=True, text=True)
    assert r.returncode == 1 and "unknown role" in r.stderr, r
    generate("console", "", want_error="No such file", extra=("/nonexistent.c",))


@tap.test
def list_shows_where_each_rule_comes_from():
    gen = tap.program("host/policy_gen")
    with tempfile.NamedTemporaryFile("w", suffix=".c") as f:
        f.write("\n/* #syscalls read(fd=STREAM|CLIENT)\n * #syscalls poll */\n")
        f.flush()
        out = subprocess.run([gen, "--list", "console", f.name], capture_output=True, text=True, check=True).stdout
        lines = [tuple(line.split("\t")) for line in out.splitlines()]
        assert ("read", "read(fd=STREAM|CLIENT)", f.name + ":2") in lines, lines
        assert ("poll", "poll", f.name + ":3") in lines, lines
        tap.eq(sum(1 for line in lines if line[0] == "read"), 1)


tap.main()
