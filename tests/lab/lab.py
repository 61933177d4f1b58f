#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The lab: real guests on a machine without usable hardware virtualisation.

  lab.py run [--limit SECONDS] -- CMD...   run a command in a fresh lab host, pass on output and exit status
  lab.py suite [NAME...]                   every lab test (or those whose names contain NAME), shared out over a few lab hosts; TAP
  lab.py assets                            fill the cache and list it
  lab.py dmesg-compare                     the guest's warnings under Cloister and under QEMU in the same lab host
"""

import argparse
import concurrent.futures
import json
import os
import re
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import assets  # noqa: E402
import debian  # noqa: E402
import l1  # noqa: E402

# A lab host is emulated, and emulators of nested guests crash now and then. Each loses one scenario's work.
HOSTS_LOST_MAX = 3


def cmd_run(args):
    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    if not argv:
        raise SystemExit("lab.py run: no command")
    return l1.run_once(argv, args.limit)


class Tap:
    """Numbers the results of all lab hosts; they speak one at a time."""

    def __init__(self):
        self.count = self.failed = 0
        self.lock = threading.RLock()

    def say(self, text):
        with self.lock:
            print(text if text.startswith("#") else "# " + text, flush=True)

    def result(self, good, what):
        with self.lock:
            self.count += 1
            self.failed += not good
            print("%sok %d - %s" % ("" if good else "not ", self.count, what), flush=True)


class Relay:
    """Passes on the blocks that one lab host's suite prints, and remembers which scenarios are done."""

    def __init__(self, tap):
        self.tap = tap
        self.done, self.finished, self.pending, self.block = [], False, b"", []

    def take(self, data):
        self.pending += data
        *lines, self.pending = self.pending.split(b"\n")
        for line in lines:
            self.line(line.decode(errors="replace"))

    def line(self, text):
        if text == "# suite-done":
            self.finished = True
        elif text.startswith("# scenario-done "):
            self.done.append(text[len("# scenario-done "):])
            self.flush()
        else:
            self.block.append(text)

    def flush(self):
        with self.tap.lock:
            for text in self.block:
                m = re.match(r"(not )?ok - (.*)$", text)
                if m:
                    self.tap.result(not m.group(1), m.group(2))
                else:
                    self.tap.say(text)
        self.block = []


def suite_once(paths, relay, shard, args):
    """One lab host; returns what went wrong with it, or None when its share of the suite came to its end."""
    relay.pending, relay.block = b"", []
    argv = [sys.executable, "-B", os.path.join(assets.HERE, "suite.py"), json.dumps(paths), "--share", shard]
    for name in relay.done:
        argv += ["--skip", name]
    for name in args.name:
        argv += ["--only", name]
    try:
        with l1.L1(paths) as host:
            status = host.run(argv, assets.TOP, l1.host_env(), relay.take, l1.writer(sys.stderr), args.limit)
    except l1.Hung as e:
        return str(e)
    relay.flush()
    if not relay.finished:
        relay.tap.result(False, "share %s of the suite comes to its end (exit status %d)" % (shard, status))
    return None


def run_share(paths, tap, shard, args):
    relay = Relay(tap)
    for attempt in range(HOSTS_LOST_MAX + 1):
        trouble = suite_once(paths, relay, shard, args)
        if trouble is None:
            return
        # Emulated hosts do crash now and then (see README): what is done is done, another one takes the rest.
        for line in trouble.splitlines()[-12:]:
            tap.say("# lab host: " + line)
        tap.say("# lab host lost after %d scenarios of share %s" % (len(relay.done), shard))
    tap.result(False, "a lab host lives through share %s of the suite" % shard)


def cmd_suite(args):
    tap, paths = Tap(), {**assets.fill(), **debian.fill()}
    with concurrent.futures.ThreadPoolExecutor(args.hosts) as pool:
        shares = [pool.submit(run_share, paths, tap, "%d/%d" % (i, args.hosts), args) for i in range(args.hosts)]
        for share in shares:
            try:
                share.result()
            except (l1.Hung, l1.TimeLimit) as e:
                tap.result(False, "a share of the suite comes to its end: %s" % e)
    print("1..%d" % tap.count)
    return 1 if tap.failed or tap.count == 0 else 0


def cmd_dmesg(args):
    argv = [sys.executable, "-B", os.path.join(assets.HERE, "compare.py"), json.dumps(assets.fill())]
    argv += ["--busy"] if args.busy else []
    return l1.run_once(argv, 600, cwd=assets.TOP)


def cmd_assets(args):
    for name, path in sorted({**assets.fill(), **debian.fill()}.items()):
        print("%-16s %s" % (name, path))
    return 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(dest="what", required=True)
    r = sub.add_parser("run")
    r.add_argument("--limit", type=int, default=3600)
    r.add_argument("argv", nargs=argparse.REMAINDER)
    r.set_defaults(fn=cmd_run)
    u = sub.add_parser("suite")
    u.add_argument("--limit", type=int, default=2400)
    u.add_argument("--hosts", type=int, default=2)
    u.add_argument("name", nargs="*")
    u.set_defaults(fn=cmd_suite)
    d = sub.add_parser("dmesg-compare")
    d.add_argument("--busy", action="store_true", help="on a busy host")
    d.set_defaults(fn=cmd_dmesg)
    sub.add_parser("assets").set_defaults(fn=cmd_assets)
    args = p.parse_args()
    l1.end_with_us()
    try:
        return args.fn(args)
    except (assets.AssetError, l1.Hung, l1.TimeLimit) as e:
        print("lab: %s" % e, file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main())
