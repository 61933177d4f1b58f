# SPDX-License-Identifier: ISC
"""What the benchmarks share."""

import os

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.path.join(TOP, os.environ.get("CLOISTER_BUILD") or "build"))


def built(path):
    path = os.path.join(BUILD, path)
    if not os.access(path, os.X_OK):
        print("%s is not built (make all bench-bins)" % path)
        raise SystemExit(2)
    return path


def built_file(path):
    path = os.path.join(BUILD, path)
    if not os.path.exists(path):
        print("%s is not built (make payloads)" % path)
        raise SystemExit(2)
    return path


def kvm_usable():
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
        return True
    except OSError:
        return False


class Gate:
    """Prints "what: figure (limit) ..." and remembers whether anything was beyond."""

    def __init__(self):
        self.beyond = False

    def line(self, what, figure, limit, unit, rest=""):
        bad = figure > limit
        self.beyond = self.beyond or bad
        print("  %-34s %8.2f %-4s limit %6.2f  %s%s" % (what, figure, unit, limit, "BEYOND" if bad else "ok", rest), flush=True)

    def status(self):
        return 1 if self.beyond else 0


def family(pid):
    """@pid and all below it."""
    parent = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, errors="replace") as f:
                    text = f.read()
            except OSError:
                continue
            parent[int(name)] = int(text[text.rindex(")") + 2:].split()[1])
    found = {pid}
    while True:
        more = {p for p, up in parent.items() if up in found} - found
        if not more:
            return sorted(found)
        found |= more


def smaps(pid):
    """{field: KiB} of /proc/PID/smaps_rollup."""
    out = {}
    with open("/proc/%d/smaps_rollup" % pid) as f:
        for line in f.read().splitlines()[1:]:
            key, value = line.split(":")
            out[key] = int(value.split()[0])
    return out


def page_tables(pid):
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith("VmPTE:"):
                return int(line.split()[1])
    return 0


def name_of(pid):
    with open("/proc/%d/cmdline" % pid, "rb") as f:
        return os.path.basename(f.read().split(b"\0")[0].decode(errors="replace"))
