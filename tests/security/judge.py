# SPDX-License-Identifier: ISC
"""Judging a filter by what a table says about it."""
import itertools
import re

import tap
from security import bpf


class From:
    """As a set of numbers of descriptors: @first and all above it, as 32 bits."""

    def __init__(self, first):
        self.first = first

    def __contains__(self, value):
        return value & 0xFFFFFFFF >= self.first

    def __iter__(self):
        return iter((self.first - 1, self.first, self.first + 1, 0x7FFFFFFF))


def call_numbers():
    out = {}
    with open("/usr/include/x86_64-linux-gnu/asm/unistd_64.h") as f:
        for m in re.finditer(r"#define __NR_(\w+) (\d+)", f.read()):
            out[m.group(1)] = int(m.group(2))
    return out


NR = call_numbers()
NAME = {n: name for name, n in NR.items()}


def accepts(alternatives, args):
    return any(all(args[a] in values for a, values in alt.items()) for alt in alternatives)


def check_arguments(prog, call, alternatives):
    """All combinations of every value that the program or the table mentions, and some others."""
    used = sorted(set().union(*(alt for alt in alternatives)))
    values = set(range(12)) | {31, 63, 255, 1023, 0xFFFFFFFF} | bpf.constants(prog)
    values = values.union(*(v for alt in alternatives for v in alt.values()))
    for combo in itertools.product(sorted(values), repeat=len(used)):
        args = [0] * 6
        for position, value in zip(used, combo):
            args[position] = value
        got = bpf.evaluate(prog, NR[call], args) == bpf.ALLOW
        tap.eq(got, accepts(alternatives, args), "%s%r" % (call, tuple(args)))


def allowed_calls(prog):
    return {NAME.get(nr, nr) for nr in range(512) if bpf.ALLOW in bpf.possible(prog, nr)}


def judge(prog, calls, arguments, errnos=None):
    """Exactly @calls (call -> errno in @errnos: answered with that), with @arguments, everything else kills."""
    errnos = errnos or {}
    allowed = allowed_calls(prog)
    tap.eq(sorted(map(str, allowed - calls)), [], "allowed beyond the table")
    tap.eq(sorted(calls - allowed), [], "in the table but not allowed")
    for nr in list(range(512)) + [512, 547, 1023, 1 << 20, 0x40000000, 0x40000001, 0x4000003B, 0x7FFFFFFF, 0xFFFFFFFF]:
        answers = bpf.possible(prog, nr)
        if NAME.get(nr) in errnos:
            tap.eq(answers, {bpf.ERRNO | errnos[NAME[nr]]}, NAME[nr])
        elif NAME.get(nr) not in calls:
            tap.eq(answers, {bpf.KILL}, "call %s" % NAME.get(nr, hex(nr)))
        else:
            tap.ok(answers <= {bpf.ALLOW, bpf.KILL}, "call %s: %r" % (NAME[nr], answers))
    for call, alternatives in arguments.items():
        check_arguments(prog, call, alternatives)
    for call in calls - set(arguments) - {"mmap", "mprotect", "clone"}:
        tap.eq(bpf.possible(prog, NR[call]), {bpf.ALLOW}, call)


def other_entries_are_killed(prog):
    for arch in (0x40000003, 0xC00000B7, 0):  # int 0x80, another machine, nonsense
        for nr in range(512):
            tap.eq(bpf.possible(prog, nr, arch), {bpf.KILL}, "call %d, architecture %#x" % (nr, arch))
