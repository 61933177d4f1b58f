# SPDX-License-Identifier: ISC
"""Seccomp filters, evaluated outside the kernel: what would it answer to this call?"""
import re
import struct

KILL, ERRNO, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def parse_header(path):
    """The program in a header made by policy_gen: a list of (code, jt, jf, k)."""
    with open(path) as f:
        text = f.read()
    rows = re.findall(r"\{ (0x[0-9a-f]+), (\d+), (\d+), (0x[0-9a-f]+) \}", text)
    return [(int(c, 16), int(t), int(f), int(k, 16)) for c, t, f, k in rows]


def parse_bytes(data):
    return list(struct.iter_unpack("<HBBI", data))


def evaluate(prog, nr, args=(), arch=AUDIT_ARCH["x86_64"], ip=0):
    """The filter's answer. Every load must lie inside struct seccomp_data, every jump inside the program."""
    padded = tuple(a & 0xFFFFFFFFFFFFFFFF for a in args) + (0,) * (6 - len(args))
    data = struct.pack("<IIQ6Q", nr & 0xFFFFFFFF, arch, ip, *padded)
    acc, mem, pc = 0, {}, 0
    while True:
        code, jt, jf, k = prog[pc]
        pc += 1
        if code == 0x06:  # return
            return k
        if code == 0x20:  # load word
            acc = struct.unpack_from("<I", data, k)[0]
        elif code == 0x54:  # and
            acc &= k
        elif code == 0x05:  # jump
            pc += k
        elif code in (0x15, 0x25, 0x35, 0x45):
            hit = {0x15: acc == k, 0x25: acc > k, 0x35: acc >= k, 0x45: acc & k != 0}[code]
            pc += jt if hit else jf
        elif code == 0x02:
            mem[k] = acc
        elif code == 0x60:
            acc = mem[k]
        else:
            raise ValueError("instruction %#x" % code)


def possible(prog, nr, arch=AUDIT_ARCH["x86_64"]):
    """Every answer that some arguments could get: both ways at each test of an argument."""
    answers, seen, work = set(), set(), [(0, None)]  # None: the accumulator depends on arguments
    while work:
        pc, acc = work.pop()
        if (pc, acc) in seen:
            continue
        seen.add((pc, acc))
        code, jt, jf, k = prog[pc]
        pc += 1
        if code == 0x06:
            answers.add(k)
        elif code == 0x20:
            work.append((pc, {0: nr & 0xFFFFFFFF, 4: arch}.get(k)))
        elif code == 0x05:
            work.append((pc + k, acc))
        elif code in (0x15, 0x25, 0x35, 0x45) and acc is not None:
            hit = {0x15: acc == k, 0x25: acc > k, 0x35: acc >= k, 0x45: acc & k != 0}[code]
            work.append((pc + (jt if hit else jf), acc))
        elif code in (0x15, 0x25, 0x35, 0x45):
            work += [(pc + jt, None), (pc + jf, None)]
        elif code == 0x54:
            work.append((pc, None if acc is None else acc & k))
        else:
            raise ValueError("instruction %#x" % code)
    return answers


def constants(prog):
    """What the program compares with: no other value can be singled out."""
    return {k for code, _, _, k in prog if code in (0x15, 0x25, 0x35, 0x45)}


def evaluate_all(programs, nr, args=()):
    """Several filters on one thread: the strictest answer counts (kill is negative as a signed number)."""
    answers = [evaluate(p, nr, args) for p in programs]
    return min(answers, key=lambda a: a - (1 << 32) if a & 0x80000000 else a)
