#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The runner itself: no way for a test program to fail may read as success."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
import check
import tap


def run(script, test_limit=20, total_limit=20):
    return check.run_program("fake", ["sh", "-c", script], None, test_limit, total_limit)


def counts(report):
    return (report.passed, report.failed, report.skipped)


@tap.test
def results_are_counted():
    got = run("echo 1..4; echo ok 1 - a; echo ok 2; echo not ok 3 - c; echo ok 4 - d '# SKIP no KVM'; exit 1")
    tap.eq(counts(got), (2, 1, 1))
    tap.eq(got.skips, ["d: no KVM"])


@tap.test
def skip_in_the_form_of_cmocka_is_a_skip():
    got = run("echo 1..2; echo ok 1 - a; echo 'not ok 2 # SKIP b'")
    tap.eq(counts(got), (1, 0, 1))
    tap.contains(got.skips[0], "b")


@tap.test
def plan_may_stand_at_the_end():
    tap.eq(counts(run("echo ok 1 - a; echo ok 2 - b; echo 1..2")), (2, 0, 0))


@tap.test
def plans_of_several_groups_add_up():
    tap.eq(counts(run("echo 1..1; echo ok 1 - a; echo 1..2; echo ok 1 - b; echo ok 2 - c")), (3, 0, 0))


@tap.test
def diagnostics_go_with_their_failure():
    got = run("echo 1..2; echo ok 1 - a; echo not ok 2 - b; echo '# 1 != 2'; echo why >&2; exit 1")
    tap.eq(got.failures[0], ["not ok: b", ["# 1 != 2"]])
    tap.eq(got.failures[1][1], ["why"])


@tap.test
def fewer_tests_than_planned_fail():
    tap.eq(counts(run("echo 1..3; echo ok 1 - a")), (1, 2, 0))


@tap.test
def more_tests_than_planned_fail():
    tap.eq(counts(run("echo 1..1; echo ok 1 - a; echo ok 2 - b")), (2, 1, 0))


@tap.test
def no_plan_fails():
    tap.eq(counts(run("echo ok 1 - a")), (1, 1, 0))
    tap.eq(counts(run("true")), (0, 1, 0))


@tap.test
def empty_plan_without_a_reason_fails():
    tap.eq(counts(run("echo 1..0")), (0, 1, 0))


@tap.test
def whole_file_may_be_skipped_with_a_reason():
    got = run("echo '1..0 # SKIP needs root'")
    tap.eq(counts(got), (0, 0, 1))
    tap.eq(got.skips, ["needs root"])


@tap.test
def death_by_signal_fails():
    got = run("echo 1..2; echo ok 1 - a; kill -SEGV $$")
    tap.eq(counts(got), (1, 1, 0))
    tap.contains(got.failures[0][0], "SIGSEGV")


@tap.test
def bad_exit_after_good_results_fails():
    tap.eq(counts(run("echo 1..1; echo ok 1 - a; exit 99")), (1, 1, 0))


@tap.test
def missing_program_fails():
    tap.eq(counts(check.run_program("fake", ["/nonexistent/program"])), (0, 1, 0))


@tap.test
def silent_test_is_killed_with_its_children():
    got = run("echo 1..2; echo ok 1 - a; sleep 1000 & sleep 1000", test_limit=0.3)
    tap.eq(counts(got), (1, 1, 0))
    tap.contains(got.failures[0][0], "no result within")


@tap.test
def endless_chatter_is_killed():
    got = run("echo 1..1000000; while :; do echo ok - a; sleep 0.01; done", total_limit=0.5)
    tap.ok(got.failed >= 1, "counted as failure")
    tap.contains(got.failures[0][0], "not done within")


@tap.test
def diagnostics_alone_do_not_extend_the_limit():
    got = run("echo 1..1; while :; do echo '# still here'; sleep 0.01; done", test_limit=0.3)
    tap.eq(counts(got), (0, 1, 0))


tap.main()
