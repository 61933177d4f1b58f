#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The manual pages are clean, and there is one with a PRIVILEGES section for each program that people may name."""

import glob
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
import tap  # noqa: E402

PAGES = sorted(glob.glob(os.path.join(tap.TOP, "man", "*.[1-8]")))


@tap.test
def mandoc_finds_nothing_to_say():
    if shutil.which("mandoc") is None:
        tap.skip("mandoc is not installed")
    tap.ok(PAGES, "there are pages")
    r = subprocess.run(["mandoc", "-T", "lint"] + PAGES, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    tap.eq(r.stdout.decode(), "", "mandoc -T lint")


@tap.test
def each_page_has_a_privileges_section():
    for page in PAGES:
        with open(page) as f:
            tap.contains(f.read(), "\n.Sh PRIVILEGES\n", page)


@tap.test
def each_page_is_installed():
    with open(os.path.join(tap.TOP, "man", "module.mk")) as f:
        listed = f.read()
    for page in PAGES:
        tap.contains(listed, "man/" + os.path.basename(page), "module.mk")


tap.main()
