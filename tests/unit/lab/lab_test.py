#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The lab's own tools: archives, kernels, the cache, the list of allowed warnings, the numbering of results."""

import contextlib
import gzip
import io
import os
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", ".."), os.path.join(HERE, "..", "..", "lab")]
import tap  # noqa: E402
import assets  # noqa: E402
import dmesg  # noqa: E402
import l1  # noqa: E402
import lab  # noqa: E402

FOLDER = tempfile.mkdtemp(prefix="lab_test.")
tap.at_exit(lambda: shutil.rmtree(FOLDER, ignore_errors=True))
os.environ["CLOISTER_CACHE"] = os.path.join(FOLDER, "cache")


@tap.test
def an_archive_holds_what_was_put_in():
    if shutil.which("cpio") is None:
        tap.skip("cpio is not installed")
    c = assets.Cpio()
    c.folder("bin")
    c.file("bin/odd", b"12345", 0o750)
    c.add("bin/link", 0o120777, b"odd")
    r = subprocess.run(["cpio", "-tv", "--quiet"], input=c.finish(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
    lines = [line.split() for line in r.stdout.decode().splitlines()]
    tap.eq([(words[0], words[4], words[8]) for words in lines],
           [("drwxr-xr-x", "0", "bin"), ("-rwxr-x---", "5", "bin/odd"), ("lrwxrwxrwx", "3", "bin/link")], "listing")


def bzimage(payload):
    image = bytearray(3 * 512)
    image[0x1f1] = 2
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, 16, len(payload))
    return bytes(image) + bytes(16) + payload


@tap.test
def the_elf_file_in_a_bzimage_is_found():
    elf = b"\x7fELF" + bytes(range(256)) * 64
    path = os.path.join(FOLDER, "bzImage")
    with open(path, "wb") as f:
        f.write(bzimage(gzip.compress(elf) + struct.pack("<I", len(elf))))
    tap.eq(assets.extract_vmlinux(path), elf, "payload")
    with open(path, "wb") as f:
        f.write(bzimage(gzip.compress(elf) + struct.pack("<I", len(elf) + 1)))
    try:
        assets.extract_vmlinux(path)
    except assets.AssetError:
        return
    tap.ok(False, "a wrong size is noticed")


@tap.test
def a_cache_entry_is_made_once_and_whole_or_not_at_all():
    made = []

    def build(dest):
        made.append(dest)
        with open(dest, "w") as f:
            f.write("x")

    def fail(dest):
        os.mkdir(dest)
        raise assets.AssetError("no")

    first = assets.entry("thing_1", build)
    tap.eq((assets.entry("thing_1", build), len(made)), (first, 1), "second use")
    try:
        assets.entry("thing_2", fail)
    except assets.AssetError:
        pass
    tap.eq(os.listdir(assets.cache_dir()), ["thing_1"], "what is in the cache")


@tap.test
def each_allowed_warning_has_a_reason():
    entries = dmesg.load()
    tap.ok(entries and all(e.why and e.patterns for e in entries), "entries")
    tap.eq(dmesg.unlisted(["hrtimer: interrupt took 123 ns", "BUG: and hrtimer: interrupt took 123 ns"]),
           ["BUG: and hrtimer: interrupt took 123 ns"], "a pattern is for a whole line")


@tap.test
def results_are_numbered_and_finished_scenarios_remembered():
    numbers = lab.Tap()
    one, other = lab.Relay(numbers), lab.Relay(numbers)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        one.take(b"ok - a: one\nnot ok - a: t")
        other.take(b"ok - b: three\n# scenario-done b\n")
        one.take(b"wo\n#   why\n# scenario-done a\nstray\n# suite-done\n")
        one.flush()
    tap.eq(out.getvalue(), "ok 1 - b: three\nok 2 - a: one\nnot ok 3 - a: two\n#   why\n# stray\n", "output")
    tap.eq((numbers.failed, one.done, one.finished, other.done), (1, ["a"], True, ["b"]), "what they know")


@tap.test
def paths_reach_the_lab_host_whatever_they_contain():
    for path in ("/a b/c", "/x\"y", "/ü", "/plain-1.0_x"):
        text = l1.escape(path)
        tap.ok(" " not in text and '"' not in text, text)
        r = subprocess.run(["busybox", "printf", "%b", text] if shutil.which("busybox") else ["printf", "%b", text],
                           stdout=subprocess.PIPE, check=True)
        tap.eq(r.stdout.decode(), path, "what the init script makes of it")


tap.main()
