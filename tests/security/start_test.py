#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""How the started process becomes vmmd, and where its helpers live: what clients and administrators look at."""
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import system  # noqa: E402
from system import tap, vmm  # noqa: E402

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


@tap.test
def started_process_keeps_pid_argv_and_name_and_loses_its_environment():
    with system.System("-v") as s:
        s.wait_up()  # by apid, which does not wait for vmmd's exec to end
        tap.poll(lambda: os.path.basename(s.exe(s.pid) or "") == "cloister-vmmd"
                 and system.read("/proc/%d/comm" % s.pid) == "cloister\n", 5, "vmmd runs under the old name")
        cmdline = system.read("/proc/%d/cmdline" % s.pid).split("\0")[:-1]
        tap.eq(cmdline, [vmm.CLOISTER, "--api-socket", s.path, "-v"], "command line")
        tap.eq(system.read("/proc/%d/comm" % s.pid).strip(), "cloister", "comm")
        tap.eq(system.read("/proc/%d/environ" % s.pid), "", "environment")
        tap.eq(os.path.basename(s.exe(s.pid)), "cloister-vmmd", "program")


@tap.test
def name_is_that_by_which_it_was_called():
    with system.System(argv=None, wrap=[]) as probe:
        probe.wait_up()
        link = os.path.join(probe.dir, "a-name-of-more-than-15")
        os.symlink(vmm.CLOISTER, link)
        path = os.path.join(probe.dir, "other.sock")
        with system.System(argv=[link, "--api-socket", path]) as s:
            s.path = path
            s.wait_up()
            tap.eq(system.read("/proc/%d/comm" % s.pid).strip(), "a-name-of-more-", "comm")


@tap.test
def inherited_descriptors_stay_with_the_monitor():
    r, w = os.pipe()
    os.set_inheritable(w, True)
    mine = os.readlink("/proc/self/fd/%d" % w)
    path = tempfile.mkdtemp(prefix="cl-")
    p = subprocess.Popen([vmm.CLOISTER, "--api-socket", path + "/s"], pass_fds=[w], stdin=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    os.close(w)
    try:
        tap.poll(lambda: os.path.exists(path + "/s"), 5, "the API socket")
        tap.poll(lambda: os.path.basename(system.System.exe(p.pid)) == "cloister-vmmd", 5, "vmmd")  # starts beside apid
        monitor = system.children(p.pid)[0]
        have = {pid: [os.readlink("/proc/%d/fd/%s" % (pid, n)) for n in os.listdir("/proc/%d/fd" % pid)]
                for pid in [p.pid, monitor] + system.children(monitor)}
        tap.eq([pid for pid in have if mine in have[pid]], [monitor], "holders of the client's descriptor")
    finally:
        p.terminate()
        tap.eq(p.wait(10), 0, "exit status")
        shutil.rmtree(path)
    os.set_blocking(r, False)
    tap.eq(tap.poll(lambda: os.read(r, 1) == b"" or None, 2, "the descriptor is closed with the run"), True)
    os.close(r)


@tap.test
def parent_death_signal_of_the_client_survives_the_change_of_user():
    path = tempfile.mkdtemp(prefix="cl-") + "/s"
    # A parent between us and cloister, which dies; cloister asked for SIGKILL then.
    parent = os.fork()
    if parent == 0:
        try:
            subprocess.Popen([vmm.CLOISTER, "--api-socket", path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
            signal.pause()
        finally:
            os._exit(0)
    child = tap.poll(lambda: (system.children(parent) or [None])[0], 5, "the started process")
    tap.poll(lambda: os.path.exists(path), 5, "the API socket")
    pids = [child] + system.children(child) + [p for m in system.children(child) for p in system.children(m)]
    tap.ok(len(pids) >= 3, "processes: %r" % pids)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    tap.poll(lambda: not any(system.alive(p) for p in pids), 2, "everybody is gone with the client")
    shutil.rmtree(os.path.dirname(path))


@tap.test
def signals_that_came_before_vmmd_are_not_lost():
    for _ in range(20):
        with system.System() as s:
            os.kill(s.pid, signal.SIGTERM)
            # Before the starter has blocked it, SIGTERM ends the process; afterwards it is an orderly end.
            tap.ok(s.wait() in (0, -signal.SIGTERM), "exit status")


@tap.test
def process_1_of_a_container_ends_in_order():
    path = tempfile.mkdtemp(prefix="cl-") + "/s"
    p = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", vmm.CLOISTER, "--api-socket", path],
                         stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        tap.poll(lambda: os.path.exists(path), 5, "the API socket")
        init = system.children(p.pid)[0]
        tap.eq(system.status(init)["NSpid"].split()[1], "1", "pid inside")
        with vmm.Conn(path) as c:
            tap.eq(c.call("GET", "vmm.ping").json()["pid"], 1, "pid told by vmm.ping")
        os.kill(init, signal.SIGTERM)
        tap.eq(p.wait(10), 0, "exit status")
    finally:
        p.kill()
        p.wait()
        shutil.rmtree(os.path.dirname(path))


def copy_of_the_build():
    top = tempfile.mkdtemp(prefix="cl-")
    for part in ("bin", "libexec"):
        shutil.copytree(tap.program(part), os.path.join(top, part), symlinks=True)
    return top


@tap.test
def programs_that_others_can_write_are_refused():
    top = copy_of_the_build()
    try:
        cloister, folder = top + "/bin/cloister", top + "/libexec/cloister"

        def run():
            return subprocess.run([cloister, "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=10)

        tap.eq(run().returncode, 0, "status of a sound copy")
        for name in ("", "cloister-monitor", "cloister-vmmd"):
            path = os.path.join(folder, name)
            mode = os.stat(path).st_mode
            os.chmod(path, mode | 0o002)
            done = run()
            os.chmod(path, mode)
            tap.eq((name, done.returncode), (name, 1), "status")
            tap.contains(done.stderr.decode(), "can be written by others than its owner")
            tap.eq(done.stdout, b"", "stdout")
        os.chown(folder + "/cloister-console", 1234, 1234)
        done = run()
        tap.eq(done.returncode, 1, "status with another user's helper")
        tap.contains(done.stderr.decode(), "belongs to another user")
    finally:
        shutil.rmtree(top)


@tap.test
def missing_programs_are_named():
    top = copy_of_the_build()
    try:
        for name in ("cloister-apid", "cloister-console", "cloister-monitor", "cloister-vmmd"):
            path = os.path.join(top, "libexec/cloister", name)
            os.rename(path, path + "-")
            done = subprocess.run([top + "/bin/cloister", "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=10)
            os.rename(path + "-", path)
            tap.eq((name, done.returncode), (name, 1), "status")
            tap.contains(done.stderr.decode(), 'cannot find "%s"' % name)
    finally:
        shutil.rmtree(top)


# --- cgroups ---------------------------------------------------------------------------------------------------------------


def hierarchies():
    """Mount points in which a group can be made."""
    out = []
    for line in system.read("/proc/self/mountinfo").splitlines():
        left, right = line.split(" - ", 1)
        if right.split()[0] in ("cgroup", "cgroup2") and left.split()[3] == "/":
            path = left.split()[4]
            if not os.path.exists(os.path.join(path, "cpuset.cpus")):  # needs more than a folder
                out.append(path)
    return out


def group_names(pid):
    return sorted(line.split(":", 2)[2] for line in system.read("/proc/%d/cgroup" % pid).splitlines()
                  if "cloister test" in line)


@tap.test
def helpers_follow_the_started_process_into_its_groups_at_boot_and_leave_them_empty():
    groups = []
    try:
        for mount in hierarchies():
            path = os.path.join(mount, "cloister test %d" % os.getpid())
            try:
                os.mkdir(path)
            except OSError:
                continue
            groups.append(path)
        if not groups:
            tap.skip("no cgroup can be made here")
        system.need_kvm()
        with system.System() as s:
            s.wait_up().create(system.payload("spin"))
            for path in groups:
                with open(path + "/cgroup.procs", "w") as f:
                    f.write(str(s.pid))
            want = group_names(s.pid)
            tap.eq(len(want), len(groups), "groups of the started process")
            for role in ("monitor", "apid", "console"):
                tap.eq(group_names(s.role(role)), [], "groups of %s before the boot" % role)
            reply = s.call("PUT", "vm.boot")
            tap.eq(reply.status, 204, "vm.boot: %r" % reply)
            for role in ("monitor", "apid", "console"):
                tap.eq(group_names(s.role(role)), want, "groups of %s" % role)
            old = s.role("console")
            os.kill(old, signal.SIGKILL)
            new = tap.poll(lambda: s.role("console") not in (None, old) and s.role("console"), 5, "a new console helper")
            tap.eq(group_names(new), want, "groups of a successor")
            os.kill(s.pid, signal.SIGTERM)
            tap.eq(s.wait(), 0, "exit status")
        for path in groups:
            tap.poll(lambda: system.read(path + "/cgroup.procs") == "", 1, path + " is empty")
    finally:
        for path in groups:
            os.rmdir(path)


if os.geteuid() != 0:
    tap.skip_all("only root can look into jailed processes")
tap.main()
