#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Every endpoint with every method and body, in the states that need no KVM: no VM, and Created."""

import json
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vmm  # noqa: E402
from vmm import NO_CONTENT, ok, tap  # noqa: E402

the = vmm.shared()

GETS = ["vmm.ping", "vm.info", "vm.counters"]
IGNORE_BODY = GETS + ["vmm.shutdown"]
BODYLESS = ["vm.boot", "vm.delete", "vm.shutdown", "vm.reboot", "vm.pause", "vm.resume", "vm.power-button", "vm.nmi",
            "vmm.nmi"]
WITH_BODY = ["vm.create", "vm.resize", "vm.resize-disk", "vm.resize-zone", "vm.add-device", "vm.add-user-device",
             "vm.add-disk", "vm.add-fs", "vm.add-generic-vhost-user", "vm.add-pmem", "vm.add-net", "vm.add-vdpa",
             "vm.add-vsock", "vm.remove-device", "vm.snapshot", "vm.restore", "vm.coredump", "vm.receive-migration",
             "vm.send-migration"]
ALL = IGNORE_BODY + BODYLESS + WITH_BODY

# Endpoint -> status without a VM; what this build does not serve and would succeed there is refused with 500.
WITHOUT_VM = {
    "vm.info": 404, "vm.counters": 500, "vm.boot": 404, "vm.shutdown": 500, "vm.delete": 204, "vm.reboot": 404,
    "vm.pause": 500, "vm.resume": 500, "vm.power-button": 500, "vm.nmi": 500, "vmm.nmi": 500, "vm.resize": 404,
    "vm.resize-disk": 404, "vm.resize-zone": 404, "vm.add-device": 404, "vm.add-user-device": 404, "vm.add-disk": 404,
    "vm.add-fs": 404, "vm.add-generic-vhost-user": 404, "vm.add-pmem": 404, "vm.add-net": 404, "vm.add-vdpa": 404,
    "vm.add-vsock": 404, "vm.remove-device": 404, "vm.snapshot": 500, "vm.restore": 500, "vm.coredump": 500,
    "vm.receive-migration": 500, "vm.send-migration": 500,
}
UNSERVED = [name for name in BODYLESS + WITH_BODY if name not in ("vm.create", "vm.boot", "vm.delete", "vm.shutdown")]


def method_of(name):
    return "GET" if name in GETS else "PUT"


def body_of(name):
    return "{}" if name in WITH_BODY else None


def assert_error(r, status, first, last=None):
    tap.eq(r.status, status)
    chain = r.json()
    tap.ok(isinstance(chain, list) and all(isinstance(link, str) and link for link in chain), chain)
    tap.eq(chain[0], first)
    if last is not None:
        tap.eq(chain[-1], last)
    tap.ok(first != "Error from API" or len(chain) >= 3, chain)


@tap.test
def the_list_of_endpoints_is_complete():
    tap.eq(len(set(ALL)), 32)
    tap.eq(sorted(WITHOUT_VM), sorted(n for n in ALL if n not in ("vmm.ping", "vmm.shutdown", "vm.create")))


@tap.test
def every_other_method_is_a_bad_request_with_a_body():
    with the().conn() as c:
        for name in ALL:
            for method in ("GET", "PUT", "PATCH", "DELETE"):
                if method != method_of(name):
                    tap.eq(c.call(method, name).raw, vmm.BAD_REQUEST, "%s %s" % (method, name))
                    tap.eq(c.call(method, name, "{}").raw, vmm.BAD_REQUEST, "%s %s with a body" % (method, name))


@tap.test
def missing_body_is_a_bad_request():
    with the().conn() as c:
        for name in WITH_BODY:
            tap.eq(c.call("PUT", name).raw, vmm.BAD_REQUEST, name)
            tap.eq(c.call("PUT", name, "").raw, vmm.BAD_REQUEST, name + " of length 0")


@tap.test
def body_where_none_belongs_is_a_bad_request():
    with the().conn() as c:
        for name in BODYLESS:
            tap.eq(c.call("PUT", name, "{}").raw, vmm.BAD_REQUEST, name)
            tap.eq(c.call("PUT", name, " ").raw, vmm.BAD_REQUEST, name)


@tap.test
def body_of_a_get_is_ignored():
    with the().conn() as c:
        for name in GETS:
            tap.eq(c.call("GET", name, "{not json").raw, c.call("GET", name).raw, name)


@tap.test
def unknown_paths_are_404_for_every_method():
    with the().conn() as c:
        for path in ("/", "/api", "/api/v1", "/api/v1/", "/api/v1/vmm.ping/", "/api/v1/vmm.ping?x=1", "/api/v1/VMM.PING",
                     "/api/v2/vmm.ping", "//api/v1/vmm.ping", "/api/v1/vmm%2eping", "/api/v1/vm.nothing", "/api/v1/vm."):
            for method in ("GET", "PUT", "PATCH", "DELETE"):
                tap.eq(c.ask(("%s %s HTTP/1.1\r\n\r\n" % (method, path)).encode()).raw, vmm.NOT_FOUND, path)


@tap.test
def without_vm_every_endpoint_has_its_status():
    with the().conn() as c:
        for name, status in WITHOUT_VM.items():
            r = c.call(method_of(name), name, body_of(name))
            if status == 204:
                tap.eq(r.raw, NO_CONTENT, name)
                continue
            assert_error(r, status, "Error from API")
            if status == 404:
                tap.eq(r.json()[-1], "VM is not created", name)
            if name in ("vm.restore", "vm.receive-migration"):
                tap.eq(r.json()[-1], "%s is not supported by this build" % name)


def created(c, config='{"payload":{"kernel":"/nowhere/vmlinux"}}'):
    tap.eq(c.call("PUT", "vm.create", config).raw, NO_CONTENT)


@tap.test
def created_vm_is_told_by_info_and_can_be_deleted():
    with the().conn() as c:
        created(c)
        info = c.call("GET", "vm.info").json()
        tap.eq(list(info), ["config", "state", "memory_actual_size"])
        tap.eq(info["state"], "Created")
        tap.eq(info["memory_actual_size"], 536870912)
        tap.eq(c.call("PUT", "vm.delete").raw, NO_CONTENT)
        tap.eq(c.call("GET", "vm.info").status, 404)
        tap.eq(c.call("PUT", "vm.delete").raw, NO_CONTENT, "once more")


@tap.test
def second_create_fails_and_changes_nothing():
    with the().conn() as c:
        created(c)
        before = c.call("GET", "vm.info").raw
        assert_error(c.call("PUT", "vm.create", '{"payload":{"kernel":"/other"}}'), 500, "Error from API",
                     "VM is already created")
        tap.eq(c.call("GET", "vm.info").raw, before)
        tap.eq(c.call("PUT", "vm.delete").status, 204)


@tap.test
def created_vm_refuses_what_needs_a_running_one():
    with the().conn() as c:
        created(c)
        for name in ("vm.shutdown", "vm.counters"):
            assert_error(c.call(method_of(name), name), 500, "Error from API")
        tap.eq(c.call("GET", "vm.info").json()["state"], "Created")
        tap.eq(c.call("PUT", "vm.delete").status, 204)


@tap.test
def created_vm_what_is_not_served_says_so():
    with the().conn() as c:
        created(c)
        for name in UNSERVED:
            r = c.call("PUT", name, body_of(name))
            assert_error(r, 500, "Error from API", "%s is not supported by this build" % name)
            tap.eq(len(r.json()), 3, name)
        tap.eq(c.call("PUT", "vm.delete").status, 204)


@tap.test
def ping_works_in_every_state():
    with the().conn() as c:
        want = c.call("GET", "vmm.ping").raw
        created(c)
        tap.eq(c.call("GET", "vmm.ping").raw, want)
        tap.eq(c.call("PUT", "vm.delete").status, 204)


@tap.test
def delete_then_create_a_hundred_times():
    with the().conn() as c:
        for i in range(100):
            created(c, '{"payload":{"kernel":"/k%d"}}' % i)
            tap.eq(c.call("GET", "vm.info").json()["config"]["payload"]["kernel"], "/k%d" % i)
            tap.eq(c.call("PUT", "vm.delete").raw, NO_CONTENT)


# --- boots that fail without KVM ---


@tap.test
def boot_that_fails_leaves_created_and_can_be_repeated():
    cases = [
        ('{}', 400),
        ('{"payload":{}}', 400),
        ('{"payload":{"cmdline":"x"}}', 400),
        ('{"payload":{"kernel":"/nowhere/vmlinux"}}', 500),
        ('{"payload":{"kernel":"/proc/self/mem"},"console":{"mode":"Off"}}', 500),
        ('{"payload":{"kernel":"/"}}', 500),
        ('{"payload":{"kernel":"relative/nowhere"}}', 500),
        ('{"payload":{"kernel":"/nowhere","initramfs":"/nowhere2"}}', 500),
        ('{"cpus":{"boot_vcpus":2,"max_vcpus":1},"payload":{"kernel":"/nowhere"}}', 400),
        ('{"cpus":{"boot_vcpus":9000,"max_vcpus":9000},"payload":{"kernel":"/nowhere"}}', 400),
        ('{"cpus":{"boot_vcpus":0,"max_vcpus":1},"payload":{"kernel":"/nowhere"}}', 400),
        ('{"memory":{"size":0},"payload":{"kernel":"/nowhere"}}', 500),
        ('{"memory":{"size":4096001},"payload":{"kernel":"/nowhere"}}', 500),
        ('{"memory":{"size":18446744073709551615},"payload":{"kernel":"/nowhere"}}', 500),
        ('{"memory":{"size":1152921504606846976},"payload":{"kernel":"/nowhere"}}', 500),
    ]
    with the().conn() as c:
        for config, status in cases:
            created(c, config)
            before = c.call("GET", "vm.info").raw
            for _ in range(2):
                r = c.call("PUT", "vm.boot")
                tap.ok(r.status == status, "%s: %r" % (config, r.raw))
                assert_error(r, status, "Error from API")
                tap.eq(c.call("GET", "vm.info").raw, before, config)
            tap.eq(c.call("PUT", "vm.delete").status, 204)


def files(v):
    """Kernels and initramfs files that are none, by what is wrong with them."""
    made = {}

    def put(name, data=b"", size=None):
        made[name] = os.path.join(v.dir, name)
        with open(made[name], "wb") as f:
            f.write(data)
            f.truncate(len(data) if size is None else size)

    elf = b"\x7fELF\x02\x01\x01" + b"\0" * 9
    put("empty")
    put("garbage", os.urandom(100000))
    put("elf-header-only", elf)
    put("elf-garbage", elf + os.urandom(10000))
    put("bzimage-truncated", b"\0" * 0x1fe + b"\x55\xaa" + b"\0\0HdrS" + b"\x0f\x02" + b"\xff" * 100)
    put("huge", b"", 600 << 20)
    made["fifo"] = os.path.join(v.dir, "fifo")
    if not os.path.exists(made["fifo"]):
        os.mkfifo(made["fifo"])
    made["socket"] = v.path
    made["folder"] = v.dir
    made["device"] = "/dev/zero"
    made["missing"] = os.path.join(v.dir, "missing")
    made["unreadable-for-all"] = "/proc/self/mem"
    made["no-path"] = ""
    made["long-path"] = "/" + "x" * 5000
    return made


@tap.test
def kernels_and_initramfs_files_that_are_none_fail_the_boot():
    v = the()
    with v.conn() as c:
        for name, path in files(v).items():
            for payload in ({"kernel": path}, {"kernel": "/bin/sh", "initramfs": path}):
                created(c, json.dumps({"payload": payload, "console": {"mode": "Off"}}))
                before = c.call("GET", "vm.info").raw
                began = time.monotonic()
                assert_error(c.call("PUT", "vm.boot"), 500, "Error from API")
                tap.ok(time.monotonic() - began < 5, name + " takes its time")
                tap.eq(c.call("GET", "vm.info").raw, before, name)
                tap.eq(c.call("PUT", "vm.delete").status, 204)


@tap.test
def boot_works_once_its_cause_of_failure_is_mended():
    """The file is missing, then garbage, then a folder, then a kernel: all in one process, without a new create."""
    payload = tap.program("tests/guest/spin.bin")
    if not os.path.exists(payload) or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        tap.skip("needs /dev/kvm and the guest payloads")
    v = the()
    path = os.path.join(v.dir, "kernel")
    with v.conn(20) as c:
        created(c, json.dumps({"payload": {"kernel": path}}))
        tap.eq(c.call("PUT", "vm.boot").status, 500)
        with open(path, "wb") as f:
            f.write(b"garbage" * 1000)
        tap.eq(c.call("PUT", "vm.boot").status, 500)
        os.unlink(path)
        os.mkdir(path)
        tap.eq(c.call("PUT", "vm.boot").status, 500)
        os.rmdir(path)
        shutil.copy(payload, path)
        for _ in range(3):
            tap.eq(c.call("PUT", "vm.boot").raw, NO_CONTENT)
            tap.eq(c.call("GET", "vm.info").json()["state"], "Running")
            tap.eq(c.call("GET", "vm.counters").raw, ok(200, "{}"))
            assert_error(c.call("PUT", "vm.boot"), 500, "Error from API", "VM is already running")
            assert_error(c.call("PUT", "vm.create", "{}"), 500, "Error from API", "VM is already created")
            tap.eq(c.call("PUT", "vm.shutdown").raw, NO_CONTENT)
            tap.eq(c.call("GET", "vm.info").json()["state"], "Created")
        tap.eq(c.call("PUT", "vm.delete").status, 204)


@tap.test
def missing_kernel_is_named():
    with the().conn() as c:
        created(c)
        chain = c.call("PUT", "vm.boot").json()
        tap.ok("/nowhere/vmlinux" in " ".join(chain), chain)
        tap.eq(c.call("PUT", "vm.delete").status, 204)


# --- side by side ---


@tap.test
def questions_are_answered_while_commands_run():
    """Thirty creates and deletes from ten clients at once: one at a time, and nobody waits for them to ask."""
    v = the()
    clients = [v.conn() for _ in range(10)]
    for c in clients:
        c.send(vmm.request("PUT", "vm.create", '{"payload":{"kernel":"/k"}}'))
    with v.conn() as asking:
        began = time.monotonic()
        for _ in range(20):
            tap.eq(asking.call("GET", "vmm.ping").status, 200)
            tap.ok(asking.call("GET", "vm.info").status in (200, 404), "info")
        tap.ok(time.monotonic() - began < 2, "took %.3f s" % (time.monotonic() - began))
    statuses = sorted(c.reply().status for c in clients)
    tap.eq(statuses, [204] + [500] * 9)
    for c in clients:
        c.close()
    tap.eq(v.call("PUT", "vm.delete").status, 204)


@tap.test
def command_of_a_client_that_left_is_carried_out():
    v = the()
    with v.conn() as c:
        c.send(vmm.request("PUT", "vm.create", '{"payload":{"kernel":"/left"}}'))
    with v.conn() as c:
        tap.poll(lambda: c.call("GET", "vm.info").status == 200, 5, "created")
        tap.eq(c.call("PUT", "vm.delete").status, 204)


@tap.test
def errors_are_logged_as_one_chain():
    v = vmm.Vmm("-v").wait_up()
    tap.eq(v.call("PUT", "vm.boot").status, 404)
    tap.poll(lambda: "Error from API: VM cannot be booted: VM is not created" in v.stderr(), 5, "the chain in the log")
    v.kill()


tap.main()
