#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The option list of cloister(1) is the one that the tables make, and each page is complete. (That they are clean is lint's.)

With --update the list is written into the page.
"""

import glob
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
import tap  # noqa: E402

PAGES = sorted(glob.glob(os.path.join(tap.TOP, "man", "*.[1-8]")))


def with_list(page, options):
    """The page with @options between its two marks."""
    return re.sub(r'(?<=\n)(\.\\" BEGIN options[^\n]*\n).*?(\.\\" END options\n)', lambda m: m.group(1) + options + m.group(2), page,
                  flags=re.S)


def read(path):
    with open(path) as f:
        return f.read()


def made_list():
    return read(tap.program("gen/options.mdoc"))


@tap.test
def cloister_1_has_the_option_list_of_the_tables():
    page = read(os.path.join(tap.TOP, "man/cloister.1"))
    tap.contains(page, made_list(), "man/cloister.1 (mandoc_test.py --update mends it)")


@tap.test
def each_page_has_a_privileges_section():
    for page in PAGES:
        tap.contains(read(page), "\n.Sh PRIVILEGES\n", page)


@tap.test
def each_page_is_installed():
    listed = read(os.path.join(tap.TOP, "man", "module.mk"))
    for page in PAGES:
        tap.contains(listed, "man/" + os.path.basename(page), "module.mk")


def update():
    path = os.path.join(tap.TOP, "man/cloister.1")
    page = with_list(read(path), made_list())
    with open(path, "w") as f:
        f.write(page)


if sys.argv[1:] == ["--update"]:
    update()
else:
    tap.main()
