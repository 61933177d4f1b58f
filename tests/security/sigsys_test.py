#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A process that was taken over tries what it must not: it is killed by its filter, it alone, and what the design says about
its death follows. The call is made by a debugger's hand inside the running process. As root."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
from security import system  # noqa: E402

if os.geteuid() != 0:
    tap.skip_all("needs root")
if os.environ.get("SAN"):
    tap.skip_all("a sanitizer build has no filter")

AT_FDCWD = -100 & 0xFFFFFFFFFFFFFFFF
AF_INET, AF_UNIX, SOCK_STREAM = 2, 1, 1
SIGSYS_DEATH = "killed %d" % signal.SIGSYS

# name, number, arguments (pointers may be wild: the filter is asked before the kernel looks)
OPENAT = ("openat", 257, AT_FDCWD, 0, 0)
SOCKET = ("socket", 41, AF_INET, SOCK_STREAM, 0)
MORE = (("open", 2, 0, 0), ("socket of AF_UNIX", 41, AF_UNIX, SOCK_STREAM, 0), ("connect", 42, 3, 0, 0),
        ("execve", 59, 0, 0, 0), ("fork", 57), ("clone without CLONE_THREAD", 56, 17), ("ptrace", 101, 0, 0, 0),
        ("kill of everybody", 62, (-1) & 0xFFFFFFFFFFFFFFFF, 0), ("setuid(0)", 105, 0), ("unshare", 272, 0x10000000),
        ("mmap for execution", 9, 0, 4096, 7, 0x22, 0xFFFFFFFF), ("mprotect for execution", 10, 0, 4096, 5),
        ("memfd_create", 319, 0, 0), ("io_uring_setup", 425, 1, 0), ("userfaultfd", 323, 0), ("bpf", 321, 0, 0, 0),
        ("ioctl TIOCSTI", 16, 0, 0x5412, 0), ("prctl PR_SET_DUMPABLE", 157, 4, 1), ("process_vm_readv", 310, 1, 0, 0, 0, 0),
        ("pidfd_getfd", 438, 3, 0, 0), ("x32 read", 0x40000000, 0, 0, 0), ("no such call", 1000))


def attempt(tid, call):
    tap.eq(system.inject(tid, *call[1:]), SIGSYS_DEATH, call[0])


# --- the console: its output ends, nothing else ---------------------------------------------------------------------------------


def console_tries(call):
    with system.System() as s:
        s.wait_up().create()
        rest = {r: p for r, p in s.roles().items() if r != "console"}
        attempt(s.role("console"), call)
        tap.poll(lambda: "killed by signal 31" in s.stderr(), 5, "the log names process and signal")
        tap.contains(s.stderr(), "cloister-console")
        tap.eq({r: s.role(r) for r in rest}, rest, "the others")
        tap.eq(s.role("console"), None, "a successor (never after a filter kill)")
        tap.eq(s.state(), "Created")
        return s


@tap.test
def console_that_tries_openat_is_killed_alone():
    console_tries(OPENAT)


@tap.test
def console_that_tries_socket_is_killed_alone():
    console_tries(SOCKET)


@tap.test
def console_killed_by_its_filter_costs_a_running_guest_nothing_but_output():
    with system.System() as s:
        s.wait_up().boot("flood")
        vcpus = {t for t, n in system.threads(s.pid).items() if n.startswith("vcpu")}
        attempt(s.role("console"), OPENAT)
        tap.poll(lambda: "is not started again" in s.stderr(), 5, "the log says that there will be no successor")
        tap.eq(s.state(), "Running")
        tap.ok(vcpus <= set(system.threads(s.pid)), "same vCPU threads")
        tap.eq(s.call("PUT", "vm.shutdown").status, 204, "vm.shutdown")
        tap.eq(s.call("PUT", "vm.boot").status, 204, "boots again, with a console that is opened anew")
        tap.ok(s.role("console"), "a console")


# --- apid: the API ends, the guest does not -------------------------------------------------------------------------------------


def apid_tries(call):
    with system.System() as s:
        s.wait_up().create()
        rest = {r: p for r, p in s.roles().items() if r != "apid"}
        attempt(s.role("apid"), call)
        tap.poll(lambda: s.role("apid") is None, 5, "its end")
        tap.eq({r: s.role(r) for r in rest}, rest, "the others")
        os.kill(s.pid, signal.SIGTERM)
        tap.eq(s.wait(), 0, "exit status of an orderly end without apid")


@tap.test
def apid_that_tries_openat_is_killed_alone():
    apid_tries(OPENAT)


@tap.test
def apid_that_tries_socket_is_killed_alone():
    apid_tries(SOCKET)


@tap.test
def apid_killed_by_its_filter_costs_a_running_guest_nothing():
    with system.System() as s:
        s.wait_up().boot("flood")
        attempt(s.role("apid"), OPENAT)
        size = os.stat(s.serial).st_size
        tap.poll(lambda: os.stat(s.serial).st_size > size + 1000, 10, "the guest goes on printing")


# --- vmmd and its vCPU threads: the VM ends ---------------------------------------------------------------------------------------


def vmmd_tries(call, thread, boot):
    with system.System() as s:
        s.wait_up()
        if boot:
            s.boot()
        else:
            s.create()  # answered by vmmd, which is locked by then; a ping is not
        everyone = list(s.processes())
        tid = s.pid
        if thread != "control":
            tid = next(t for t, n in system.threads(s.pid).items() if n == thread)
        if tid == s.pid:
            attempt(tid, call)
        else:
            # The debugger sees the thread killed; the process's own end tells of the signal.
            tap.ok(system.inject(tid, *call[1:]).startswith("killed"), call[0])
        tap.eq(s.wait(), -signal.SIGSYS, "how the started process ended")
        s.everything_gone(everyone)


@tap.test
def vmmd_that_tries_openat_is_killed_and_nothing_stays():
    vmmd_tries(OPENAT, "control", False)


@tap.test
def vmmd_that_tries_socket_is_killed_and_nothing_stays():
    vmmd_tries(SOCKET, "control", False)


@tap.test
def vmmd_with_a_guest_that_tries_openat_is_killed_and_nothing_stays():
    vmmd_tries(OPENAT, "control", True)


@tap.test
def vcpu_thread_that_tries_openat_takes_the_process_with_it():
    vmmd_tries(OPENAT, "vcpu0", True)


@tap.test
def vcpu_thread_that_tries_socket_takes_the_process_with_it():
    vmmd_tries(SOCKET, "vcpu0", True)


@tap.test
def vcpu_thread_that_tries_what_only_the_control_thread_may_is_killed_too():
    for call in (("mmap", 9, 0, 4096, 3, 0x22, 0xFFFFFFFF), ("KVM_CREATE_VM", 16, 2, 0xAE01, 0), ("sendto", 44, 3, 0, 0),
                 ("KVM_RUN of another", 16, 2, 0xAE80, 0), ("write to the lifeline", 1, 0, 0, 0)):
        vmmd_tries(call, "vcpu0", True)


# --- monitor: the VM is taken down ------------------------------------------------------------------------------------------------


def monitor_tries(call):
    with system.System() as s:
        s.wait_up().create()
        everyone = list(s.processes())
        attempt(s.role("monitor"), call)
        s.proc.wait(5)
        s.everything_gone(everyone)


@tap.test
def monitor_that_tries_a_network_socket_is_killed_and_nothing_stays():
    monitor_tries(SOCKET)


@tap.test
def monitor_that_tries_what_it_never_needs_is_killed():
    for call in (("ptrace", 101, 0, 0, 0), ("process_vm_readv", 310, 1, 0, 0, 0, 0), ("init_module", 175, 0, 0, 0),
                 ("keyctl", 250, 0, 0), ("userfaultfd", 323, 0), ("execve by name", 59, 0, 0, 0),
                 ("open_by_handle_at", 304, 3, 0, 0), ("kexec_load", 246, 0, 0, 0, 0)):
        monitor_tries(call)


# --- the rest of the list, in the processes that face a guest or a client -----------------------------------------------------------


@tap.test(limit=120)
def console_is_killed_at_everything_else_too():
    for call in MORE:
        with system.System() as s:
            s.wait_up().create()
            attempt(s.role("console"), call)


@tap.test(limit=120)
def apid_is_killed_at_everything_else_too():
    for call in MORE:
        with system.System() as s:
            s.wait_up()
            attempt(s.role("apid"), call)


@tap.test(limit=120)
def vmmd_is_killed_at_everything_else_too():
    for call in MORE:
        with system.System() as s:
            s.wait_up().create()
            attempt(s.pid, call)


@tap.test
def allowed_calls_still_work_under_the_debuggers_hand():
    """So that a kill is the filter's answer and not the debugger's doing."""
    with system.System() as s:
        s.wait_up().create()
        for role in ("console", "apid", "vmmd"):
            tap.ok(system.inject(s.role(role), 228, 1, 0).startswith("returned"), "clock_gettime in " + role)
            tap.eq(system.inject(s.role(role), 11, 0, 0), "returned -22", "munmap of nothing in " + role)
        tap.eq(s.state(), "Created", "and the processes go on")
        tap.ok(s.role("console"), "the console too")


tap.main()
