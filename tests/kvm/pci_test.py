#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A disk as PCI shows it: a BAR that moves, interrupts of its own, and requests that no exit to user space is needed for."""

import os
import subprocess
import sys
import tempfile

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
import guest  # noqa: E402
import tap  # noqa: E402

guest.need_kvm()

BATCH = 500  # requests a line, as in the payload


@tap.test
def bar_moves_and_its_vector_is_masked_and_unmasked():
    with tempfile.NamedTemporaryFile() as image:
        image.write(bytes(1 << 20))
        image.flush()
        os.chmod(image.name, 0o666)
        out, status, err = guest.run("msix", "--disk", "path=%s,image_type=raw" % image.name, cmdline="one")
    tap.eq(status, 0, "exit status (output %r, stderr %r)" % (out, err))
    v = guest.values(out)
    for name, want in (("size", "fff80000"), ("queues_before", "00000001"), ("queues_meanwhile", "00000001"),
                       ("old_place", "ffffffff"), ("queues_after", "00000001"), ("refused", "d0000000"),
                       ("irqs", "00000001"), ("pending", "00000001"), ("irqs_masked", "00000001"),
                       ("irqs_unmasked", "00000002"), ("pending_after", "00000000"), ("irqs_without_vector", "00000002"),
                       ("status", "0000004f"), ("irqs_of_configuration", "00000003")):
        tap.eq(v[name], want, name)


@tap.test
def request_costs_no_exit_to_user_space():
    if os.geteuid() != 0:
        tap.skip("counting another process's calls takes root")
    with guest.Machine().wait_up() as m:
        image = os.path.join(m.dir, "disk.img")
        with open(image, "wb") as f:
            f.write(bytes(1 << 20))
        m.put("vm.create", guest.config("msix", m.serial, cmdline="n", disks=[{"path": image, "image_type": "Raw"}]))
        m.put("vm.boot")
        m.wait_output("used ")
        before = m.output().count("used ")
        done = subprocess.run([tap.program("tests/kvm/exits"), str(m.tasks()["vcpu0"]), "2000"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
        tap.eq(done.returncode, 0, "exits: %r" % done.stderr)
        m.wait_output("used ", count=m.output().count("used ") + 1)
        lines = m.output().count("used ") - before
        # A line takes a few exits for each of its characters; a request takes none.
        tap.ok(lines >= 2, "requests went on: %d lines" % lines)
        tap.ok(int(done.stdout) > 0, "the thread was watched")
        tap.ok(int(done.stdout) <= lines * 60, "%s exits for %d requests, %d lines" % (done.stdout, lines * BATCH, lines))


tap.main()
