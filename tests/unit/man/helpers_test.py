#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Options of the programs that also run by hand: --help, the manual page and the program agree."""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
import tap  # noqa: E402

NAMES = ("blk", "console", "net", "rng")


def run(name, *args):
    done = subprocess.run([tap.program("libexec/cloister/cloister-" + name), *args], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def told(name):
    """The options that --help names."""
    status, text, errors = run(name, "--help")
    tap.eq((status, errors), (0, ""), name)
    return re.findall(r"^  --([a-z0-9-]+)", text, re.M)


def page(name):
    path = os.path.join(tap.TOP, "man", "cloister-%s.8" % name)
    if not os.path.exists(path):
        return ""
    with open(path) as f:
        return f.read()


def helpers():
    """Those whose page says that they run alone."""
    return [name for name in NAMES if ".It Fl -socket-path" in page(name)]


@tap.test
def page_lists_the_options_of_help_and_no_others():
    tap.ok("rng" in helpers(), "rng runs alone")
    for name in helpers():
        items = "\n".join(re.findall(r"^\.It (Fl -.*(?:\\\n.*)*)", page(name), re.M))
        listed = re.findall(r"\bFl -([a-z0-9-]+)", items)
        tap.eq(sorted(listed), sorted(told(name)), name)


@tap.test
def options_that_make_no_sense_are_usage_errors():
    for name in helpers():
        for args in (["--nosuch"], ["x"], ["--fd=0"], ["--fd=x"], ["--fd"], ["--fd=3", "--socket-path=/nosuch"], ["--socket-path="]):
            status, text, errors = run(name, *args)
            tap.eq((status, text), (2, ""), "%s %s" % (name, args))
            tap.contains(errors, "cloister-%s: " % name)
            tap.contains(errors, 'Try "cloister-%s --help"' % name)


@tap.test
def version_is_told():
    for name in helpers():
        status, text, _ = run(name, "--version")
        tap.eq((status, text.split()[0]), (0, "cloister-" + name))


@tap.test
def source_that_is_not_there_is_named():
    status, _, errors = run("rng", "--socket-path=/nosuch/s", "--src=/nosuch/source")
    tap.eq(status, 1)
    tap.contains(errors, '"/nosuch/source": No such file or directory')
    status, _, errors = run("rng", "--socket-path=/nosuch/s")
    tap.eq(status, 1)
    tap.contains(errors, '"/nosuch/s": No such file or directory')


tap.main()
