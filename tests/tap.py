# SPDX-License-Identifier: ISC
"""TAP for tests that drive processes from outside.

    import os, sys
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    import tap

    @tap.test
    def ping_answers_200():
        reply = tap.poll(try_ping, 5, "the API socket answers")
        tap.eq(reply.status, 200, "status")

    tap.main()

Each decorated function is one test; its name, or the text given to the decorator, states the outcome. A test fails by
any exception, and skips by tap.skip(why). Arguments on the command line choose the tests whose name contains one.
"""

import os
import signal
import sys
import time
import traceback

TESTS_DIR = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(TESTS_DIR)
BUILD = os.path.abspath(os.path.join(TOP, os.environ.get("CLOISTER_BUILD") or "build"))

_tests = []
_cleanups = []


class Skip(Exception):
    """This test cannot run here; the text says why."""


class TimedOut(Exception):
    """The test took longer than its limit."""


def program(path):
    """A program of the build under test: program("bin/cloister")."""
    return os.path.join(BUILD, path)


def test(arg=None, limit=60):
    """Register a test: @test, @test("name"), @test("name", limit=120)."""

    def register(fn, name):
        _tests.append((name or fn.__name__.replace("_", " "), fn, limit))
        return fn

    if callable(arg):
        return register(arg, None)
    return lambda fn: register(fn, arg)


def skip(why):
    raise Skip(why)


def skip_all(why):
    """Nothing in this file can run here."""
    print("1..0 # SKIP " + why, flush=True)
    sys.exit(0)


def diag(text):
    for line in str(text).splitlines():
        print("# " + line, flush=True)


def ok(condition, what):
    if not condition:
        raise AssertionError(what)


def eq(got, want, what="value"):
    if got != want:
        raise AssertionError("%s:\n  got  %r\n  want %r" % (what, got, want))


def contains(text, part, what="text"):
    if part not in text:
        raise AssertionError("%s: %r not found in\n%r" % (what, part, text))


def poll(fn, seconds=5, what="condition", every=0.005):
    """Call @fn until it answers something true, which is returned; fails after @seconds.

    The deadline is believed only after one more call, as this process may have been stopped in between."""
    deadline = time.monotonic() + seconds
    while True:
        late = time.monotonic() >= deadline
        value = fn()
        if value:
            return value
        if late:
            raise AssertionError("not within %g s: %s" % (seconds, what))
        time.sleep(every)


def at_exit(fn):
    """Called when all tests have run, also after failures; last registered first."""
    _cleanups.append(fn)


def _on_alarm(_signo, _frame):
    raise TimedOut("time limit reached")


def _run_one(number, name, fn, limit):
    signal.setitimer(signal.ITIMER_REAL, limit)
    failed = False
    try:
        fn()
        line = "ok %d - %s" % (number, name)
    except Skip as why:
        line = "ok %d - %s # SKIP %s" % (number, name, why)
    except Exception:  # noqa: whatever a test raises is its failure
        failed = True
        trace = traceback.format_exc()
        line = "not ok %d - %s" % (number, name)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    print(line, flush=True)
    if failed:
        diag(trace)
    return not failed


def main():
    """Run what was registered, print the plan and the results, exit 1 if anything failed."""
    wanted = sys.argv[1:]
    chosen = [t for t in _tests if not wanted or any(w in t[0] for w in wanted)]
    signal.signal(signal.SIGALRM, _on_alarm)
    print("1..%d" % len(chosen), flush=True)
    good = True
    try:
        for i, (name, fn, limit) in enumerate(chosen, 1):
            good = _run_one(i, name.replace("#", ""), fn, limit) and good
    finally:
        for fn in reversed(_cleanups):
            fn()
    sys.exit(0 if good else 1)
