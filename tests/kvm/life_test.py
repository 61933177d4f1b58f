# SPDX-License-Identifier: ISC
"""The life of a VM on the real /dev/kvm: states, boots that fail and succeed afterwards, resets, ends, and what is left."""

import os
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import guest  # noqa: E402
import tap  # noqa: E402

guest.need_kvm()


def chain(reply):
    return reply.json()[2:]


@tap.test
def create_boot_info_shutdown_delete_and_again():
    with guest.Machine().wait_up() as m:
        for _ in range(2):
            m.put("vm.create", guest.config("spin", m.serial))
            tap.eq(m.state(), "Created", "state")
            tap.ok("device_tree" not in m.info(), "no device tree before the boot")
            for _ in range(2):
                m.put("vm.boot")
                tap.eq(m.state(), "Running", "state")
                tap.eq(sorted(m.info()["device_tree"]), ["__console", "__ioapic", "__rng", "__serial", "_virtio-pci-__console",
                                                         "_virtio-pci-__rng"], "device tree")
                tap.eq(m.call("GET", "vm.counters").json(), {}, "counters")
                m.wait_output("spinning")
                m.put("vm.boot", want=500)
                m.put("vm.shutdown")
                tap.eq(m.state(), "Created", "state")
                m.put("vm.shutdown", want=500)
            m.put("vm.delete")
            tap.eq(m.call("GET", "vm.info").status, 404, "vm.info after delete")
        m.put("vm.create", guest.config("spin", m.serial))
        m.put("vm.boot")
        m.wait_output("spinning")
        m.put("vmm.shutdown")
        tap.eq(m.wait(), 0, "exit status")


@tap.test
def vcpu_threads_are_there_when_boot_answers_and_hold_four_descriptors():
    with guest.Machine().wait_up() as m:
        m.boot("spin", vcpus=3)
        tasks = m.tasks()
        for i in range(3):
            tap.ok("vcpu%d" % i in tasks, "vcpu%d in %r" % (i, tasks))
            fds = m.descriptors(tasks["vcpu%d" % i])
            tap.eq(sorted(fds), [0, 1, 2, 3], "descriptors of vcpu%d" % i)
            tap.eq([fds[1], fds[2], fds[3]], ["anon_inode:kvm-vcpu:%d" % i, "anon_inode:kvm-vm",
                                              "anon_inode:[eventfd]"], "what they are")
        for what in m.descriptors().values():
            tap.ok("kvm-vcpu" not in what, "the control thread keeps no vCPU")
        m.put("vm.shutdown")
        tap.poll(lambda: not any(n.startswith("vcpu") for n in m.tasks()), 5, "vCPU threads are gone")


@tap.test
def guest_power_off_ends_the_process_with_0():
    with guest.Machine().wait_up() as m:
        m.put("vm.create", guest.config("hello", m.serial))
        m.put("vm.boot")
        tap.eq(m.wait(), 0, "exit status")
        tap.eq(m.output(), "hello from the guest\n", "output")
        tap.ok(not os.path.exists(m.path), "the API socket is unlinked")


@tap.test
def guest_power_off_with_no_shutdown_leaves_it_created():
    with guest.Machine("--no-shutdown").wait_up() as m:
        m.put("vm.create", guest.config("hello", m.serial))
        for _ in range(3):
            m.put("vm.boot")
            tap.poll(lambda: m.state() == "Created", 5, "Created after the guest's power-off")
            tap.poll(lambda: m.output() == "hello from the guest\n", 5, "the output of this boot alone")
        os.kill(m.pid, signal.SIGTERM)
        tap.eq(m.wait(), 0, "exit status")


@tap.test
def sigterm_and_sigint_end_a_running_vm_with_0():
    for signo in (signal.SIGTERM, signal.SIGINT):
        with guest.Machine().wait_up() as m:
            m.boot("spin", vcpus=2)
            m.wait_output("spinning")
            os.kill(m.pid, signo)
            tap.eq(m.wait(), 0, "exit status")


@tap.test
def nothing_is_left_after_kill_9():
    with guest.Machine().wait_up() as m:
        m.boot("spin", vcpus=2)
        m.wait_output("spinning")
        others = [pid for pid in m.processes() if pid != m.pid]
        tap.ok(len(others) >= 3, "monitor, apid and console: %r" % m.processes())
        os.kill(m.pid, signal.SIGKILL)
        tap.poll(lambda: not any(alive(pid) for pid in others), 2, "all processes are gone")
        tap.eq(m.wait(), -signal.SIGKILL, "exit status")


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@tap.test
def reset_needs_no_apid():
    with guest.Machine().wait_up() as m:
        m.put("vm.create", guest.config("reset", m.serial, cmdline="a"))
        apid = m.pid_of("cloister-apid")
        m.put("vm.boot")
        os.kill(apid, signal.SIGSTOP)
        try:
            n = m.output().count("reset acpi\n")
            m.wait_output("reset acpi\n", count=n + 5)
        finally:
            os.kill(apid, signal.SIGCONT)
        tap.eq(m.state(), "Running", "state")
        m.put("vm.shutdown")
        tap.eq(m.state(), "Created", "state")


@tap.test
def death_of_apid_leaves_the_guest_alone():
    with guest.Machine().wait_up() as m:
        m.boot("flood")
        m.wait_output("line 00000010")
        vcpu = m.tasks()["vcpu0"]
        apid = m.pid_of("cloister-apid")
        os.kill(apid, signal.SIGKILL)
        tap.eq(m.state(), "Running", "state told by the successor")
        tap.eq(m.tasks().get("vcpu0"), vcpu, "the same thread")
        before = len(m.output())
        tap.poll(lambda: len(m.output()) > before, 5, "the guest prints on")
        m.put("vm.shutdown")
        lines = m.output().splitlines()[:-1]
        tap.eq(lines, ["line %08x" % i for i in range(len(lines))], "no line lost or repeated")


@tap.test
def shutdown_in_the_middle_of_resets():
    with guest.Machine().wait_up() as m:
        m.put("vm.create", guest.config("reset", m.serial, cmdline="a", vcpus=2))
        for i in range(30):
            m.put("vm.boot")
            time.sleep(0.002 * (i % 7))  # spread over the phases of a reset, not a wait for anything
            m.put("vm.shutdown")
            tap.eq(m.state(), "Created", "state")


# --- boots that fail -------------------------------------------------------------------------------------------------


def fails_then_boots(m, broken, part, mend=lambda: None):
    """vm.boot with the configuration @broken: 500 with @part in the chain, nothing left; mended, it succeeds."""
    m.put("vm.create", broken)
    before = None
    for _ in range(3):
        reply = m.put("vm.boot", want=500)
        tap.contains(": ".join(chain(reply)), part, "error chain")
        tap.eq(m.state(), "Created", "state")
        now = sorted(m.descriptors().values())
        tap.ok(not any("guest-ram" in what or "kvm-v" in what for what in now), "nothing half-built: %r" % now)
        if before is not None:
            tap.eq(len(now), len(before), "descriptors after another failure")
        before = now
    mend()
    return m


@tap.test
def boot_succeeds_when_its_cause_is_mended():
    with guest.Machine().wait_up() as m, tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "kernel")

        def write(data):
            with open(path, "wb") as f:
                f.write(data)
            os.chmod(path, 0o644)

        with open(guest.payload("spin"), "rb") as f:
            good = f.read()
        for bad in (b"not a kernel at all\n" * 100, good[:200], good.replace(b"Xen\0", b"Yen\0")):
            write(bad)
            fails_then_boots(m, guest.config(path, m.serial), "", lambda: write(good))
            m.put("vm.boot")
            m.wait_output("spinning")
            m.put("vm.delete")


@tap.test
def each_impossible_boot_says_why():
    with guest.Machine().wait_up() as m, tempfile.NamedTemporaryFile() as big:
        big.truncate(80 << 20)
        os.chmod(big.name, 0o644)
        with open(guest.payload("spin"), "rb") as f, tempfile.NamedTemporaryFile(delete=False) as nonote:
            nonote.write(f.read().replace(b"Xen\0", b"Yen\0"))
        os.chmod(nonote.name, 0o644)
        cases = [
            (dict(name=nonote.name), "PVH"),
            (dict(name="spin", mib=1 << 26), "does not fit in"),
            (dict(name="spin", vcpus=4000), "4000 vCPUs are more than the"),
            (dict(name="spin", cmdline="x" * 70000), "command line of 70000 bytes"),
        ]
        for kw, part in cases:
            fails_then_boots(m, guest.config(out=m.serial, **kw), part)
            m.put("vm.delete")
        broken = guest.config("spin", m.serial)
        broken["payload"]["initramfs"] = big.name
        fails_then_boots(m, broken, "do not fit into")
        os.unlink(nonote.name)


# --- leaks -----------------------------------------------------------------------------------------------------------


def settled(m):
    """Descriptors of vmmd and processes, once ending vCPU threads and the console are gone."""
    tap.poll(lambda: not any(n.startswith(("vcpu", "kvm-")) for n in m.tasks()), 5, "threads are gone")
    tap.poll(lambda: m.pid_of("cloister-console") is None, 5, "the console process is gone")
    return len(m.descriptors()), len(m.processes())


def rss_kib(pid):
    with open("/proc/%d/status" % pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


@tap.test(limit=300)
def hundred_boots_leave_nothing_behind():
    with guest.Machine().wait_up() as m:
        m.put("vm.create", guest.config("spin", m.serial, vcpus=2))

        def once():
            m.put("vm.boot")
            m.put("vm.shutdown")

        for _ in range(10):
            once()
        before, rss = settled(m), rss_kib(m.pid)
        for _ in range(100):
            once()
        tap.eq(settled(m), before, "descriptors and processes")
        tap.ok(rss_kib(m.pid) <= rss + 256, "RSS grew from %d to %d KiB" % (rss, rss_kib(m.pid)))


@tap.test(limit=300)
def hundred_resets_leave_nothing_behind():
    with guest.Machine().wait_up() as m:
        m.boot("reset", cmdline="k")
        m.wait_output("reset keyboard\n", count=10)
        rss = rss_kib(m.pid)
        fds = len(m.descriptors())
        m.wait_output("reset keyboard\n", count=110, seconds=60)
        tap.poll(lambda: len(m.descriptors()) <= fds, 5, "as many descriptors as before (%d)" % fds)
        tap.ok(rss_kib(m.pid) <= rss + 512, "RSS grew from %d to %d KiB" % (rss, rss_kib(m.pid)))


tap.main()
