#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Run the test tiers and add up their TAP: check.py [TIER...].

CLOISTER_BUILD names the build folder (default: build), SAN says that it is a sanitizer build. The last line is
"N passed, N failed, N skipped"; the exit status is 1 if anything failed. A tier that can't run says why and counts as
one skip.
"""

import glob
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

TESTS = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(TESTS)
BUILD = os.environ.get("CLOISTER_BUILD") or "build"
SAN = os.environ.get("SAN", "")

RESULT = re.compile(r"^(not )?ok\b[ \t]*(\d+)?[ \t]*(?:- )?(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)(?:\s*#\s*SKIP\b\s*(.*))?", re.I)
DIRECTIVE = re.compile(r"(?:^|\s)#\s*(SKIP|TODO)\b\s*(.*)$", re.I)


class Report:
    """What one test program said."""

    def __init__(self, name):
        self.name = name
        self.passed = self.failed = self.skipped = 0
        self.planned = None
        self.seen = 0
        self.failures = []  # [title, lines]
        self.skips = []
        self.seconds = 0.0
        self._open = None  # the failure that diagnostics belong to
        self._before = []  # diagnostics since the last result: cmocka prints them first

    def line(self, text):
        """Returns True for a result line."""
        plan = PLAN.match(text)
        if plan:
            self.planned = (self.planned or 0) + int(plan.group(1))
            if plan.group(2) is not None and plan.group(1) == "0":
                self.skip_all(plan.group(2))
            return False
        result = RESULT.match(text)
        if result:
            self._result(result)
            return True
        (self._open[1] if self._open else self._before).append(text)
        return False

    def _result(self, m):
        self.seen += 1
        directive = DIRECTIVE.search(m.group(3))
        if m.group(1) and not directive:  # cmocka writes "not ok 1 # SKIP name" for what skip() left
            self._open = ["not ok: " + m.group(3), list(self._before)]
            self.failures.append(self._open)
            self.failed += 1
        else:
            self._open = None
            if directive:
                self.skipped += 1
                self.skips.append(": ".join(filter(None, (m.group(3)[: directive.start()].strip(), directive.group(2)))))
            else:
                self.passed += 1
        self._before = []

    def skip_all(self, why):
        self.skipped += 1
        self.skips.append(why or "no reason given")

    def fail(self, title, lines=(), count=1):
        self.failed += count
        self.failures.append([title, list(lines)])

    def finish(self, status, killed):
        """The program has ended: whatever it planned and did not show is a failure."""
        tail = self._before[-20:]
        if killed:
            self.fail(killed, tail)
        if self.planned is None:
            if not killed:
                self.fail("printed no plan (%s)" % exit_text(status), tail)
        elif self.seen != self.planned:
            missing = max(self.planned - self.seen - (1 if killed else 0), 0 if killed else 1)
            if missing:
                self.fail("planned %d tests, showed %d (%s)" % (self.planned, self.seen, exit_text(status)), tail, missing)
        elif self.planned == 0 and not self.skipped:
            self.fail("planned no test at all")
        if status != 0 and self.failed == 0:
            self.fail("all tests passed, but: " + exit_text(status), tail)


def exit_text(status):
    if status < 0:
        try:
            return "killed by " + signal.Signals(-status).name
        except ValueError:
            return "killed by signal %d" % -status
    return "exit status %d" % status


def kill_group(proc):
    try:
        os.killpg(proc.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def pump(proc, report, test_limit, total_limit):
    """Feed the program's lines to the report until it ends. Returns why it was killed, or None."""
    started = last = time.monotonic()
    ended = None
    pending = b""
    fd = proc.stdout.fileno()
    while True:
        now = time.monotonic()
        if now - last > test_limit:
            return "no result within %d s after test %d: killed" % (test_limit, report.seen)
        if now - started > total_limit:
            return "not done within %d s: killed" % total_limit
        if ended is None and proc.poll() is not None:
            ended = now
        if ended is not None and now - ended > 5:
            return "ended, but a process it left behind holds its output: killed"
        if not select.select([fd], [], [], 0.2)[0]:
            continue
        chunk = os.read(fd, 65536)
        if not chunk:
            break
        pending += chunk
        *lines, pending = pending.split(b"\n")
        for line in lines:
            if report.line(line.decode("utf-8", "replace").rstrip("\r")):
                last = time.monotonic()
    if pending:
        report.line(pending.decode("utf-8", "replace"))
    return None


def run_program(name, argv, env=None, test_limit=120, total_limit=1200):
    report = Report(name)
    started = time.monotonic()
    full_env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", CLOISTER_BUILD=BUILD, PYTHONDONTWRITEBYTECODE="1",
                    PYTHONPATH=TESTS, **(env or {}))
    with tempfile.TemporaryFile() as err:
        try:
            proc = subprocess.Popen(argv, cwd=TOP, env=full_env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=err, start_new_session=True)
        except OSError as e:
            report.fail("can't be started: %s" % e)
            return report
        killed = pump(proc, report, test_limit, total_limit)
        if killed:
            kill_group(proc)
        try:
            status = proc.wait(10)
        except subprocess.TimeoutExpired:
            killed = killed or "closed its output, but did not end: killed"
            kill_group(proc)
            status = proc.wait()
        kill_group(proc)  # what it left behind in its group
        proc.stdout.close()
        report.finish(status, killed)
        err.seek(0)
        text = err.read().decode("utf-8", "replace").splitlines()
    if report.failed and text:
        report.failures.append(["stderr of %s:" % name, text[-60:]])
    report.seconds = time.monotonic() - started
    return report


class Totals:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, tier, report):
        self.passed += report.passed
        self.failed += report.failed
        self.skipped += report.skipped
        counts = ["%d passed" % report.passed]
        if report.failed:
            counts.append("%d FAILED" % report.failed)
        if report.skipped:
            counts.append("%d skipped" % report.skipped)
        print("%-9s %-44s %5.1f s  %s" % (tier, report.name, report.seconds, ", ".join(counts)))
        for why in report.skips:
            print("          skipped: " + why)
        for title, lines in report.failures:
            print("          " + title)
            for line in lines[-80:]:
                print("            | " + line)
        sys.stdout.flush()

    def skip_tier(self, tier, why):
        self.skipped += 1
        print("%-9s skipped: %s" % (tier, why), flush=True)


SAN_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:exitcode=99:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "exitcode=99:halt_on_error=1:allocator_may_return_null=1",
}


def sources(pattern):
    return sorted(os.path.relpath(p, TOP) for p in glob.glob(os.path.join(TESTS, pattern), recursive=True))


def unit_jobs(build):
    """(name, argv) of every unit test program and of every fuzz target over its kept inputs."""
    jobs = []
    for src in sources("unit/**/*_test.c"):
        jobs.append((src[len("tests/unit/"):-len(".c")], [os.path.join(build, src[:-2])]))
    for src in sources("fuzz/*_fuzz.c"):
        name = os.path.basename(src)[: -len("_fuzz.c")]
        jobs.append(("replay " + name, [os.path.join(build, src[:-2] + "_replay"), "tests/fuzz/corpus/" + name]))
    return jobs


def run_unit(totals):
    jobs = unit_jobs(BUILD)
    for src in sources("unit/**/*_test.py"):
        jobs.append((src[len("tests/unit/"):], [sys.executable, src]))
    if not SAN:
        jobs.append(("lint", [sys.executable, "tests/lint.py"]))
    run_parallel(totals, "unit", jobs, SAN_ENV if SAN else None)


def run_unit_again(totals, tier, san, target, wanted):
    """The unit tests once more from a sanitizer build, as `make check` has made it."""
    build = BUILD.rstrip("/") + "-" + san
    if not os.path.isdir(os.path.join(TOP, build)):
        totals.skip_tier(tier, "no folder %s: make SAN=%s BUILD=%s %s" % (build, san, build, target))
        return
    run_parallel(totals, tier, [job for job in unit_jobs(build) if wanted(job[0])], SAN_ENV)


def run_unit_asan(totals):
    run_unit_again(totals, "unit-asan", "address", "unit-bins", lambda name: True)


def run_unit_tsan(totals):
    run_unit_again(totals, "unit-tsan", "thread", "thread-bins", lambda name: name.endswith("_threads_test"))


def run_parallel(totals, tier, jobs, env):
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(run_program, name, argv, env) for name, argv in jobs]
        for future in waiting:
            totals.add(tier, future.result())


def run_scripts(totals, tier, folder):
    found = sources(folder + "/*_test.py")
    if not found:
        totals.skip_tier(tier, "there are no tests in tests/%s" % folder)
    for src in found:
        totals.add(tier, run_program(os.path.basename(src)[:-3], [sys.executable, src], SAN_ENV if SAN else None))


def run_contract(totals):
    run_scripts(totals, "contract", "integration")


def run_backend(totals):
    for src in sources("backend/*_test.c"):
        totals.add("backend", run_program(os.path.basename(src)[:-2], [os.path.join(BUILD, src[:-2])], SAN_ENV if SAN else None))
    run_scripts(totals, "backend", "backend")


def run_security(totals):
    if os.geteuid() != 0:
        totals.skip_tier("security", "needs root")
        return
    run_scripts(totals, "security", "security")


def run_kvm(totals):
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError as e:
        totals.skip_tier("kvm", "/dev/kvm: %s" % e.strerror)
        return
    run_scripts(totals, "kvm", "kvm")


def run_lab(totals):
    if shutil.which("qemu-system-x86_64") is None:
        totals.skip_tier("lab", "qemu-system-x86_64 is not installed")
        return
    if not os.path.exists(os.path.join(TESTS, "lab", "lab.py")):
        totals.skip_tier("lab", "there is no tests/lab/lab.py")
        return
    totals.add("lab", run_program("suite", [sys.executable, "tests/lab/lab.py", "suite"], None, 600, 3300))


def run_fuzz(totals):
    clang = os.environ.get("CLANG") or "clang"
    if shutil.which(clang) is None:
        totals.skip_tier("fuzz", "%s is not installed (make deps-dev)" % clang)
        return
    build = BUILD.rstrip("/") + "-fuzz"
    made = subprocess.run(["make", "-j2", "--no-print-directory", "FUZZING=1", "SAN=", "BUILD=" + build, "CLANG=" + clang,
                           "fuzz-bins"], cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=without_make(os.environ))
    if made.returncode != 0:
        report = Report("build of the fuzzers")
        report.fail("make fuzz-bins failed", made.stdout.decode("utf-8", "replace").splitlines())
        totals.add("fuzz", report)
        return
    seconds = os.environ.get("FUZZ_SECONDS") or "10"
    totals.add("fuzz", run_program("run", [sys.executable, "tests/fuzz/run.py", seconds],
                                   {"CLOISTER_FUZZ_BUILD": build}, 120 + 4 * int(seconds), 7200))


def without_make(env):
    """The environment without what a make above hands down (its flags and jobs are not for this one)."""
    return {k: v for k, v in env.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")}


TIERS = [
    ("unit", run_unit),
    ("unit-asan", run_unit_asan),
    ("unit-tsan", run_unit_tsan),
    ("contract", run_contract),
    ("backend", run_backend),
    ("security", run_security),
    ("kvm", run_kvm),
    ("lab", run_lab),
    ("fuzz", run_fuzz),
]
SAN_TIERS = ("unit", "contract", "backend", "fuzz")


def chosen_tiers(wanted):
    names = [name for name, _ in TIERS]
    for name in wanted:
        if name not in names:
            sys.exit("check.py: no tier \"%s\"; there are %s" % (name, ", ".join(names)))
    if "unit" in wanted:
        wanted = wanted + ["unit-asan", "unit-tsan"]
    return [(name, fn) for name, fn in TIERS if not wanted or name in wanted]


def main():
    totals = Totals()
    for name, run in chosen_tiers(sys.argv[1:]):
        if SAN and name in ("unit-asan", "unit-tsan"):
            continue
        if SAN and name not in SAN_TIERS:
            totals.skip_tier(name, "a sanitizer build has no filter and no empty root")
            continue
        run(totals)
    print("%d passed, %d failed, %d skipped" % (totals.passed, totals.failed, totals.skipped))
    return 1 if totals.failed else 0


if __name__ == "__main__":
    sys.exit(main())
