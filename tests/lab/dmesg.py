# SPDX-License-Identifier: ISC
"""The guest's warnings: which ones may be there, and who else shows them."""

import os
import re

LIST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dmesg_allowed.txt")


class Entry:
    def __init__(self, why, qemu, patterns):
        self.why, self.qemu = why, qemu
        self.patterns = [re.compile(p) for p in patterns]

    def matches(self, line):
        return any(p.fullmatch(line) for p in self.patterns)


def load(path=LIST):
    """Blocks of lines between empty ones: `why: TEXT`, `qemu: yes|no|at times`, then patterns, each for a whole line."""
    entries = []
    with open(path) as f:
        text = "\n".join(line for line in f.read().splitlines() if not line.startswith("#"))
    for block in re.split(r"\n\s*\n", text.strip()):
        if not block.strip():
            continue
        lines = block.strip("\n").splitlines()
        if len(lines) < 3 or not lines[0].startswith("why: ") or lines[1] not in ("qemu: yes", "qemu: no", "qemu: at times"):
            raise ValueError("dmesg_allowed.txt: bad entry %r" % block)
        entries.append(Entry(lines[0][5:], lines[1][6:], lines[2:]))
    return entries


def unlisted(lines, entries=None):
    entries = load() if entries is None else entries
    return [line for line in lines if not any(e.matches(line) for e in entries)]
