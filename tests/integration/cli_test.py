#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The command line from outside: texts, exit codes, what ends where, and the log's form."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vmm  # noqa: E402
from vmm import tap  # noqa: E402

folder = tempfile.mkdtemp(prefix="cl-")
tap.at_exit(lambda: subprocess.run(["rm", "-rf", folder]))
LINE = re.compile(r"^cloud-hypervisor: [ 0-9]{3}[0-9]*\.[0-9]{6}s: <[^>]+> (ERROR|WARN|INFO|DEBUG|TRACE):[^ ]+:[0-9]+ -- [^\r\n]*\r\n$")


def run(*args, stdin=subprocess.DEVNULL, env=None, timeout=20, argv0=None, **more):
    """(status, stdout, stderr) of a run that ends by itself."""
    p = subprocess.run([argv0 or vmm.CLOISTER] + list(args), executable=vmm.CLOISTER, stdin=stdin, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=timeout, env=env, cwd=folder, **more)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def block(stderr):
    """The links of the error block that ends a run with status 1; what stands before it must be log lines."""
    one = "Error: Cloud Hypervisor exited with the following error:\n  "
    chain = "Error: Cloud Hypervisor exited with the following chain of errors:\n"
    tap.eq(stderr.count("Error: Cloud Hypervisor"), 1, stderr)
    at = stderr.index("Error: Cloud Hypervisor")
    lines = stderr[:at].splitlines(keepends=True)
    tap.ok(lines and all(LINE.match(line) for line in lines), stderr)
    tap.ok(any(" ERROR:" in line for line in lines), "an ERROR record comes first: " + stderr)
    text = stderr[at:]
    if text.startswith(one):
        return [text[len(one):-1]]
    tap.ok(text.startswith(chain), text)
    links = text[len(chain):].splitlines()
    for i, link in enumerate(links):
        tap.ok(link.startswith("  %d: " % i), link)
    return [link[len("  0: "):] for link in links]


def fails(*args, words=()):
    status, out, err = run(*args)
    tap.eq((status, out), (1, ""), "%s: %s" % (args, err))
    links = block(err)
    for word in words:
        tap.contains(": ".join(links), word, str(args))
    return links


def misused(*args, word=None):
    status, out, err = run(*args)
    tap.eq((status, out), (2, ""), "%s: %s" % (args, err))
    tap.ok(err.startswith("error: "), err)
    tap.contains(err, "Usage: ")
    tap.contains(err, "--help")
    if word:
        tap.contains(err.splitlines()[0], word)


# --- texts ---


@tap.test
def version_has_the_first_line_that_clients_parse():
    for args in (["--version"], ["-V"], ["--version", "--kernel", "/nowhere"], ["--api-socket", "/nowhere/s", "-V"]):
        status, out, err = run(*args, env={"LC_ALL": "C", "RUST_BACKTRACE": "full"})
        tap.eq((status, err), (0, ""), str(args))
        tap.eq(out, "cloud-hypervisor v54.0.0\nMigration Protocol Versions: 0\n")
        tap.ok("/" not in out, "no slash")


@tap.test
def version_with_v_tells_the_features():
    for args in (["-v", "--version"], ["-vvV"], ["-V", "-vvv"]):
        status, out, err = run(*args)
        tap.eq((status, err), (0, ""), str(args))
        tap.eq(out, 'cloud-hypervisor v54.0.0\nMigration Protocol Versions: 0\nEnabled features: ["kvm"]\n')


@tap.test
def help_goes_to_stdout():
    for arg in ("-h", "--help"):
        status, out, err = run(arg, argv0="/usr/bin/cloud-hypervisor")
        tap.eq((status, err), (0, ""))
        lines = out.splitlines()
        tap.eq(lines[1:4], ["", "Usage: cloud-hypervisor [OPTIONS]", ""])
        tap.eq(lines[4], "Options:")
        for option in ("api-socket", "kernel", "initramfs", "cmdline", "cpus", "memory", "serial", "console", "disk", "net",
                       "rng", "rate-limit-group", "log-file", "version", "help"):
            tap.ok(any(("--" + option) in line for line in lines), option)
        names = [re.match(r"\s+(?:-\w, )?--([a-z-]+)", line) for line in lines]
        names = [m.group(1) for m in names if m]
        tap.eq(names, sorted(names), "alphabetical")


@tap.test
def no_arguments_are_help_on_stderr_with_status_2():
    status, out, err = run()
    tap.eq((status, out), (2, ""))
    tap.contains(err, "Usage: ")
    tap.contains(err, "--api-socket")


@tap.test
def texts_come_out_whole_into_a_closed_or_full_stdout():
    """Not even a stdout that nobody reads keeps the process."""
    r, w = os.pipe()
    os.close(r)
    p = subprocess.Popen([vmm.CLOISTER, "--help"], stdout=w, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    os.close(w)
    tap.eq(p.wait(20), 0)
    status, out, _ = run("--help")
    tap.eq(status, 0)
    tap.ok(out.endswith("\n") and "-V, --version" in out, "to its last option")


# --- usage errors: status 2 ---


@tap.test
def unknown_stray_repeated_and_incomplete_arguments():
    misused("--frobnicate", word="--frobnicate")
    misused("--kern", "/k", word="--kern")
    misused("stray", word="stray")
    misused("--kernel", "/k", "stray", word="stray")
    misused("--kernel", "/k", "--kernel", "/k2", word="--kernel")
    misused("--kernel", word="--kernel")
    misused("--kernel", "-v", word="--kernel")
    misused("--no-shutdown=yes", word="--no-shutdown")
    misused("-x", word="-x")
    misused("-vx", word="x")
    misused("--seccomp", "maybe", word="maybe")
    misused("--", "stray", word="stray")


@tap.test
def options_of_a_vm_need_something_to_boot():
    for args in (("--cmdline", "x"), ("--cpus", "boot=1"), ("--memory", "size=1G"), ("--initramfs", "/i"),
                 ("--serial", "tty"), ("--console", "off"), ("--disk", "path=/d"), ("--net", "tap=t"), ("--rng", "src=/r"),
                 ("--rate-limit-group", "id=g")):
        misused(*args)


# --- errors: status 1 ---


@tap.test
def bad_values_are_told_as_a_chain():
    for args, words in (
            (("--cpus", "boot=x"), ("parsing config", "--cpus", "boot")),
            (("--cpus", "boot=1,frob=2"), ("--cpus", "frob")),
            (("--cpus", "boot"), ("--cpus",)),
            (("--cpus", "boot=1,"), ("--cpus",)),
            (("--cpus", "boot=99999999999"), ("--cpus", "boot")),
            (("--memory", "size=1x"), ("--memory", "size")),
            (("--memory", "size=-1"), ("--memory", "size")),
            (("--memory", "shared=maybe"), ("--memory", "shared")),
            (("--serial", "frob"), ("--serial",)),
            (("--serial", "file="), ("serial",)),
            (("--console", "id=c"), ("--console", "no mode")),
            (("--console", "tty,iommu=on"), ("--console", "iommu", "not supported")),
            (("--disk", "/d"), ("--disk", "/d")),
            (("--disk", "path=/d", "frob=8"), ("--disk", "frob")),
            (("--disk", "path=/d,queue_size=70000"), ("--disk", "queue_size")),
            (("--net", "mac=zz"), ("--net", "mac")),
            (("--net", "ip=1.2.3"), ("--net", "ip")),
            (("--rng", "source=/x"), ("--rng", "source")),
            (("--rate-limit-group", "id=g,bw_size=1K"), ("--rate-limit-group", "bw_size")),
            (("--debug-console", "pty"), ("--debug-console", "not supported"))):
        fails("--kernel", "/nowhere", *args, words=words)


@tap.test
def boots_that_fail_end_the_run():
    fails("--kernel", "/nowhere/vmlinux", words=("VM cannot be booted", "/nowhere/vmlinux", "No such file"))
    fails("--kernel", "/nowhere", "--cpus", "boot=2,max=1", words=("VM cannot be booted",))
    fails("--kernel", "/nowhere", "--cpus", "boot=0", words=("boot_vcpus",))
    fails("--kernel", "/nowhere", "--memory", "size=0", words=("VM cannot be booted",))
    fails("--kernel", "/nowhere", "--serial", "file=/nowhere/x", words=("VM cannot be created", "/nowhere/x"))
    fails("--kernel", "nowhere/relative", words=("nowhere/relative",))
    off = ("--kernel", "/bin/sh", "--console", "off")
    fails("--kernel", "/nowhere", "--console", "socket=/s", words=("VM cannot be created", "console", "Socket"))
    fails("--kernel", "/nowhere", "--console", "file=/nowhere/x", words=("VM cannot be created", "/nowhere/x"))
    fails(*off, "--disk", "path=/nowhere/d", words=("VM cannot be booted", 'disk "_disk0"', "/nowhere/d"))
    fails(*off, "--disk", "path=/nowhere/d,queue_size=3", words=("disks[0]", "queue_size 3"))
    fails(*off, "--disk", "path=/a,id=x", "--disk", "path=/b,id=x", words=('disk "x"', "not unique"))
    fails(*off, "--net", "num_queues=4", words=("net[0]", "num_queues 4"))
    fails(*off, "--net", "fd=2", words=("net[0]", "fd 2"))
    fails(*off, "--rng", "src=/nowhere/r", words=("rng", "/nowhere/r"))


@tap.test
def options_of_later_builds_are_named():
    for args in (("--fs", "tag=a,socket=/s"), ("--pmem", "file=/f"), ("--vsock", "cid=3,socket=/s"), ("--watchdog",), ("--landlock",),
                 ("--seccomp", "false"), ("--seccomp", "log"), ("--firmware", "/f"),
                 ("--event-monitor", "path=/e"), ("--log-format", "x")):
        fails("--kernel", "/nowhere", *args, words=(args[0], "not supported by this build"))


@tap.test
def api_socket_that_cannot_be_opened_ends_the_run():
    fails("--api-socket", "/nowhere/api.sock", words=("/nowhere/api.sock",))
    fails("--api-socket", "path=/nowhere/api.sock", words=("/nowhere/api.sock",))
    fails("--api-socket", "", words=("api-socket",))
    fails("--api-socket", "fd=99", words=("99",))
    fails("--api-socket", "fd=abc", words=("abc",))
    fails("--api-socket", os.path.join(folder, "s" * 200), words=())
    tap.eq([n for n in os.listdir(folder) if n.startswith("s") and not n.endswith(".lock")], [], "nothing is left behind")


@tap.test
def api_socket_in_use_is_left_alone():
    with vmm.Vmm() as v:
        v.wait_up()
        fails("--api-socket", v.path, words=("another instance",))
        tap.eq(v.call("GET", "vmm.ping").status, 200)


@tap.test
def log_file_that_cannot_be_opened_ends_the_run():
    status, out, err = run("--log-file", "/nowhere/log", "--api-socket", os.path.join(folder, "l.sock"))
    tap.eq((status, out), (1, ""), err)
    tap.contains(err, "/nowhere/log")
    tap.contains(err, "Error: Cloud Hypervisor exited")


# --- what runs ---


@tap.test
def all_spellings_of_the_api_socket():
    for i, spell in enumerate(("%s", "path=%s")):
        for joined in (False, True):
            path = os.path.join(folder, "spell-%d-%d" % (i, joined))
            args = ["--api-socket=" + spell % path] if joined else ["--api-socket", spell % path]
            v = vmm.Vmm(api=False, argv=[vmm.CLOISTER] + args)
            v.path = path
            v.wait_up()
            tap.eq(os.stat(path).st_mode & 0o077, 0, "the owner's only")
            tap.eq(v.call("PUT", "vmm.shutdown").status, 204)
            tap.eq(v.wait(), 0)
            tap.ok(not os.path.exists(path), "the socket is gone")


@tap.test
def inherited_listening_socket_is_served_and_not_unlinked():
    path = os.path.join(folder, "inherited.sock")
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.bind(path)
    s.listen(1)
    fd = s.fileno()
    p = subprocess.Popen([vmm.CLOISTER, "--api-socket", "fd=%d" % fd], pass_fds=[fd], stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    tap.at_exit(lambda: p.poll() is None and p.kill())
    s.close()

    with vmm.Conn(path) as c:
        tap.eq(c.call("GET", "vmm.ping").json()["pid"], p.pid)
        tap.eq(c.call("PUT", "vmm.shutdown").status, 204)
    tap.eq(p.wait(10), 0)
    tap.ok(os.path.exists(path), "the file is the client's")


@tap.test
def relative_socket_path_is_below_the_working_folder():
    v = vmm.Vmm(api=False, argv=[vmm.CLOISTER, "--api-socket", "rel.sock"], cwd=folder)
    v.path = os.path.join(folder, "rel.sock")
    v.wait_up()
    v.kill()


@tap.test
def signals_end_the_run_with_0_and_remove_the_socket():
    for signo in (signal.SIGTERM, signal.SIGINT):
        v = vmm.Vmm().wait_up()
        v.proc.send_signal(signo)
        tap.eq(v.wait(), 0)
        tap.ok(not os.path.exists(v.path), "the socket is gone")
        v.kill()


@tap.test
def run_without_api_and_vm_waits_for_a_signal():
    v = vmm.Vmm("-v", api=False)
    tap.poll(lambda: "event: vmm starting" in v.stderr(), 10, "it is up")
    tap.eq(v.proc.poll(), None)
    v.proc.send_signal(signal.SIGTERM)
    tap.eq(v.wait(), 0)


@tap.test
def stale_socket_is_replaced():
    path = os.path.join(folder, "stale.sock")
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.bind(path)
    s.close()
    v = vmm.Vmm(api=False, argv=[vmm.CLOISTER, "--api-socket", path])
    v.path = path
    v.wait_up()
    v.kill()


# --- the log ---


def log_of(*args):
    v = vmm.Vmm(*args).wait_up()
    tap.eq(v.call("GET", "vm.info").status, 404)
    tap.eq(v.call("PUT", "vmm.shutdown").status, 204)
    tap.eq(v.wait(), 0)
    text = open(v.err_path, newline="").read()
    v.kill()
    return text


@tap.test
def log_lines_have_the_documented_form():
    lines = log_of("-vvv").splitlines(keepends=True)
    tap.ok(len(lines) > 5, "a few lines")
    for line in lines:
        tap.ok(LINE.match(line), repr(line))
    stamps = [float(line.split(":")[1].strip(" s")) for line in lines]
    tap.ok(all(0 <= t < 60 for t in stamps), stamps)


@tap.test
def verbosity_chooses_the_levels():
    tap.ok("INFO:" not in log_of() and "DEBUG:" not in log_of(), "warnings only")
    info = log_of("-v")
    tap.ok("INFO:" in info and "DEBUG:" not in info, info)
    tap.contains(info, "v54.0.0 starting")
    tap.contains(info, "Error from API: VM information is not available: VM is not created")
    tap.contains(log_of("-v", "-v"), "DEBUG:")


@tap.test
def log_file_takes_the_log_instead_of_stderr():
    path = os.path.join(folder, "the.log")
    with open(path, "w") as f:
        f.write("old\n")
    tap.eq(log_of("-v", "--log-file", path), "")
    text = open(path, newline="").read()
    tap.ok("old" not in text, "truncated")
    tap.contains(text, "v54.0.0 starting")
    tap.contains(text, "event: vmm shutdown")


@tap.test
def stderr_that_nobody_reads_stops_nothing():
    """A pipe that is full, then closed: lines are lost, requests are not."""
    r, w = os.pipe()
    path = os.path.join(folder, "full.sock")
    p = subprocess.Popen([vmm.CLOISTER, "-vvv", "--api-socket", path], stdin=subprocess.DEVNULL, stdout=w, stderr=w)
    tap.at_exit(lambda: p.poll() is None and p.kill())
    os.close(w)
    tap.poll(lambda: os.path.exists(path), 10, "the socket")
    with vmm.Conn(path) as c:
        for _ in range(2000):
            tap.eq(c.call("GET", "nothing").status, 404)
        os.close(r)
        for _ in range(200):
            tap.eq(c.call("GET", "nothing").status, 404)
        tap.eq(c.call("PUT", "vmm.shutdown").status, 204)
    tap.eq(p.wait(10), 0)


@tap.test
def client_text_cannot_forge_log_lines():
    v = vmm.Vmm("-vvv").wait_up()
    evil = "/x\r\ncloud-hypervisor:   0.000000s: <vmm> ERROR:a.c:1 -- forged\x1b[2J"
    with v.conn() as c:
        tap.eq(c.call("PUT", "vm.create", {"payload": {"kernel": evil}}).status, 204)
        tap.eq(c.call("PUT", "vm.boot").status, 500)
        tap.eq(c.call("PUT", "vmm.shutdown").status, 204)
    tap.eq(v.wait(), 0)
    text = open(v.err_path, newline="").read()
    tap.ok("\x1b" not in text, "no escape sequence")
    for line in text.splitlines(keepends=True):
        tap.ok(LINE.match(line), repr(line))
        tap.ok("<vmm> ERROR:a.c:1" not in line or "--" in line.split("<vmm> ERROR:a.c:1")[0], line)
    v.kill()


@tap.test
def started_with_few_descriptors_and_much_in_the_environment():
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))

    env = dict(os.environ, RUST_BACKTRACE="full", FILLER="x" * 100000)
    status, out, _ = run("--version", env=env, preexec_fn=limit)
    tap.eq(status, 0)
    tap.ok(out.startswith("cloud-hypervisor v"), out)


tap.main()
