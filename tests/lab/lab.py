#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The lab: real guests on a machine without usable hardware virtualisation.

  lab.py run [--limit SECONDS] -- CMD...   run a command in a fresh lab host, pass on output and exit status
  lab.py suite [NAME...]                   one lab host, every lab test (or those whose names contain NAME); TAP
  lab.py assets                            fill the cache and list it
  lab.py dmesg-compare                     the guest's warnings under Cloister and under QEMU in the same lab host
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import assets  # noqa: E402
import l1  # noqa: E402


def cmd_run(args):
    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    if not argv:
        raise SystemExit("lab.py run: no command")
    return l1.run_once(argv, args.limit)


def cmd_assets(args):
    for name, path in sorted(assets.fill().items()):
        print("%-14s %s" % (name, path))
    return 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(dest="what", required=True)
    r = sub.add_parser("run")
    r.add_argument("--limit", type=int, default=3600)
    r.add_argument("argv", nargs=argparse.REMAINDER)
    r.set_defaults(fn=cmd_run)
    sub.add_parser("assets").set_defaults(fn=cmd_assets)
    args = p.parse_args()
    try:
        return args.fn(args)
    except (assets.AssetError, l1.Hung, l1.TimeLimit) as e:
        print("lab: %s" % e, file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main())
