#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Run every fuzzer for a while: run.py [SECONDS]. TAP, one test a target; a crash, leak or hang is "not ok".

Fuzzers are found in CLOISTER_FUZZ_BUILD or CLOISTER_BUILD (default: build-fuzz). New inputs are kept in its corpus/,
beside the committed seeds in tests/fuzz/corpus/; what broke a target is left in its crash/.
"""

import glob
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("CLOISTER_FUZZ_BUILD") or os.environ.get("CLOISTER_BUILD") or "build-fuzz"

LEAKS = {"ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1", "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}


def command(name, seconds):
    build = os.path.join(TOP, BUILD)
    kept = os.path.join(build, "corpus", name)
    crashes = os.path.join(build, "crash")
    os.makedirs(kept, exist_ok=True)
    os.makedirs(crashes, exist_ok=True)
    argv = [os.path.join(build, "tests/fuzz", name + "_fuzz"), "-max_total_time=%d" % seconds, "-timeout=5",
            "-rss_limit_mb=1024", "-malloc_limit_mb=256", "-print_final_stats=1", "-verbosity=0", "-use_value_profile=1",
            "-artifact_prefix=%s/%s-" % (crashes, name), kept]
    seeds = os.path.join(HERE, "corpus", name)
    if os.path.isdir(seeds):
        argv.append(seeds)
    words = os.path.join(HERE, name + ".dict")
    if os.path.exists(words):
        argv.append("-dict=" + words)
    return argv


def fuzz(name, seconds):
    """Returns (good, comment, output)."""
    try:
        done = subprocess.run(command(name, seconds), cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds + 60, env=dict(os.environ, **LEAKS))
    except subprocess.TimeoutExpired as e:
        return False, "did not end", (e.stdout or b"").decode("utf-8", "replace")
    except OSError as e:
        return False, str(e), ""
    text = done.stdout.decode("utf-8", "replace")
    runs = re.search(r"number_of_executed_units:\s*(\d+)", text)
    return done.returncode == 0, "%s inputs" % (runs.group(1) if runs else "?"), text


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] else 60
    names = sorted(os.path.basename(p)[: -len("_fuzz.c")] for p in glob.glob(os.path.join(HERE, "*_fuzz.c")))
    print("1..%d" % len(names), flush=True)
    good = True
    started = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        running = {pool.submit(fuzz, name, seconds): name for name in names}
        for number, future in enumerate(as_completed(running), 1):
            fine, comment, text = future.result()
            print("%sok %d - fuzz %s, %d s: %s" % ("" if fine else "not ", number, running[future], seconds, comment))
            if not fine:
                good = False
                for line in text.splitlines()[-60:]:
                    print("# " + line)
            sys.stdout.flush()
    print("# %d fuzzers in %d s" % (len(names), time.monotonic() - started))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
