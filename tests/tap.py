# SPDX-License-Identifier: ISC
"""What every test program in Python needs: TAP output, deadlines, where the build is. Standard library only."""
import os
import sys
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("CLOISTER_BUILD", "build"))
SAN = os.environ.get("SAN", "")


class Skip(Exception):
    """Raised by a test that cannot run here; the text says why."""


def program(name):
    path = os.path.join(BUILD, name)
    if not os.access(path, os.X_OK):
        raise Skip("%s is not built" % path)
    return path


def wait_for(what, condition, seconds=5.0, interval=0.002):
    """Poll until condition() is true and return its value; a deadline that is never used as a synchronisation."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %.1f s: %s" % (seconds, what))
        time.sleep(interval)


def equal(got, want, what=""):
    if got != want:
        raise AssertionError("%sgot %r, want %r" % (what + ": " if what else "", got, want))


def run(module_globals):
    """Run every function test_* of a module, in the order of its text. Exit status 1 when one failed."""
    tests = [(n[5:], f) for n, f in module_globals.items() if n.startswith("test_") and callable(f)]
    only = sys.argv[1:]
    if only:
        tests = [t for t in tests if any(o in t[0] for o in only)]
    failed = 0
    print("1..%d" % len(tests), flush=True)
    for number, (name, function) in enumerate(tests, 1):
        line = "ok %d - %s" % (number, name)
        try:
            function()
        except Skip as why:
            line += " # SKIP %s" % why
        except Exception:  # noqa: BLE001: whatever it was, it is this test's failure
            failed += 1
            line = "not " + line
            for text in traceback.format_exc().splitlines():
                print("# " + text)
        print(line, flush=True)
    sys.exit(1 if failed else 0)
