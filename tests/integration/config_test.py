#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""vm.create's body and what vm.info makes of it: defaults, order, exact numbers, refusals that store nothing."""

import os
import stat
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vmm  # noqa: E402
from vmm import NO_CONTENT, tap  # noqa: E402

shared = vmm.shared()


def the():
    """The VMM, without a VM that a failed test may have left."""
    v = shared()
    v.call("PUT", "vm.delete")
    return v


CPUS = ('"cpus":{"boot_vcpus":1,"max_vcpus":1,"kvm_hyperv":false,"max_phys_bits":46,"features":{"amx":false},'
        '"nested":true,"core_scheduling":"Vm","profile":"Host"}')
MEMORY = ('"memory":{"size":536870912,"mergeable":false,"hotplug_method":"Acpi","shared":false,"hugepages":false,'
          '"prefault":false,"reserve":false,"thp":true}')
RNG = '"rng":{"pci_segment":0,"src":"/dev/urandom"}'
SERIAL = '"serial":{"mode":"Null"}'
CONSOLES = ('"console":{"mode":"Tty","pci_segment":0},"debug_console":{"mode":"Off","iobase":233},'
            '"pvpanic":false,"iommu":false,"watchdog":false,"landlock_enable":false')


def info_after(body):
    """vm.info after creating with @body; the VM is deleted again."""
    with the().conn() as c:
        tap.eq(c.call("PUT", "vm.create", body).raw, NO_CONTENT, body)
        r = c.call("GET", "vm.info")
        tap.eq(c.call("PUT", "vm.delete").raw, NO_CONTENT)
        tap.eq(r.status, 200)
        return r


def config_after(body):
    return info_after(body).json()["config"]


def refused(body, first, status=400, *words):
    with the().conn() as c:
        r = c.call("PUT", "vm.create", body)
        stored = c.call("GET", "vm.info").status != 404
        if stored:
            c.call("PUT", "vm.delete")
        tap.ok(r.status == status, "%r: %r" % (body, r.raw))
        tap.ok(not stored, "%r: stored all the same" % body)
        chain = r.json()
        tap.eq(chain[0], first, str(body))
        for word in words:
            tap.contains(" ".join(chain), word, str(body))
        return chain


def not_json(body, *words):
    return refused(body, "Failed to deserialize JSON", 400, *words)


def not_served(body, *words):
    return refused(body, "Error from API", 400, *words)


# --- vm.info ---


@tap.test
def defaults_are_filled_in_byte_by_byte():
    tap.eq(info_after("{}").body.decode(), "{\"config\":{%s,%s,%s,%s,%s},\"state\":\"Created\",\"memory_actual_size\":536870912}" %
           (CPUS, MEMORY, RNG, SERIAL, CONSOLES))


@tap.test
def payload_stands_behind_memory_and_absent_members_are_left_out():
    body = info_after('{"payload":{"kernel":"/k","cmdline":"a b"}}').body.decode()
    tap.contains(body, MEMORY + ',"payload":{"kernel":"/k","cmdline":"a b"},' + RNG + "," + SERIAL)


@tap.test
def given_values_come_back():
    config = config_after('{"cpus":{"boot_vcpus":3,"max_vcpus":5,"max_phys_bits":40},"memory":{"size":1073741824,"shared":true},'
                          '"payload":{"kernel":"/k","initramfs":"/i","cmdline":"console=ttyS0"},"serial":{"mode":"Off"}}')
    tap.eq((config["cpus"]["boot_vcpus"], config["cpus"]["max_vcpus"], config["cpus"]["max_phys_bits"]), (3, 5, 40))
    tap.eq((config["memory"]["size"], config["memory"]["shared"]), (1073741824, True))
    tap.eq(config["payload"], {"kernel": "/k", "cmdline": "console=ttyS0", "initramfs": "/i"})
    tap.eq(config["serial"], {"mode": "Off"})


@tap.test
def integers_are_exact_up_to_2_to_64_minus_1():
    for n in (0, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1):
        r = info_after('{"memory":{"size":%d}}' % n)
        tap.contains(r.body, b'"size":%d,' % n)
        tap.contains(r.body, b'"memory_actual_size":%d}' % n)


@tap.test
def null_unknown_and_empty_members_are_absent():
    tap.eq(info_after("{}").body, info_after(
        '{"payload":null,"disks":null,"net":[],"fs":[],"devices":[],"vsock":null,"numa":[],"platform":null,"tpm":null,'
        '"nobody_knows":{"deep":[[[[1.5e400,-0,"x"]]]]},"iommu":false,"watchdog":false,"pvpanic":false,'
        '"landlock_enable":false,"landlock_rules":[],"balloon":{"size":0},"rng":{"src":"/dev/urandom"},"rate_limit_groups":[],'
        '"sgx_epc":null}').body)


@tap.test
def whitespace_escapes_and_a_trailing_newline_are_fine():
    config = config_after('\n {\t"payload" :\r\n{ "cmd\\u006cine" : "a\\u003cb\\u003e \\u0026 \\"q\\" \\\\ \\/ \\t" } }\n\n')
    tap.eq(config["payload"]["cmdline"], 'a<b> & "q" \\ / \t')


@tap.test
def text_beyond_ascii_comes_back_escaped():
    r = info_after('{"payload":{"cmdline":"\u00e9\u20ac\U0001f41f","kernel":"/\\u00e9\\ud83d\\udc1f"}}'.encode())
    tap.ok(all(b < 128 for b in r.body), "ASCII")
    tap.eq(r.json()["config"]["payload"], {"kernel": "/\u00e9\U0001f41f", "cmdline": "\u00e9\u20ac\U0001f41f"})


# --- JSON that is none ---


@tap.test
def malformed_json_is_told_with_line_and_column():
    for body in ("{", "}", "[", '{"a"}', '{"a":}', '{"a":1,}', "{'a':1}", "nul", "tru", '"', '{"a":"\\x"}', '{"a":01}', '{"a":1.}',
                 '{"a":.5}', '{"a":+1}', '{"a":1e}', '{"a":0x1}', '{"a":NaN}', '{"a":Infinity}', '{"a":"\t"}', "{}x", "{}{}",
                 "{} ]", '{"a":"\\ud800"}', '{"a":"\\udc00\\ud800"}', "\ufeff{}", " ", "\n"):
        chain = not_json(body.encode())
        tap.eq(len(chain), 2)
        tap.ok("line " in chain[1] and "column " in chain[1], chain)


@tap.test
def line_and_column_point_at_the_place():
    tap.contains(not_json('{\n  "payload": {\n    "kernel": 5\n  }\n}')[1], "line 3 column ")
    tap.contains(not_json('{"cpus":{"boot_vcpus":"4","max_vcpus":4}}')[1], "line 1 column ")


@tap.test
def bytes_that_are_no_utf_8_and_nul_are_refused():
    for raw in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3", b"\x00"):
        not_json(b'{"payload":{"kernel":"/' + raw + b'"}}')
        not_json(b'{"a":"' + raw + b'"}')
    not_json('{"payload":{"kernel":"a\\u0000b"}}')


@tap.test
def depth_and_amount_are_bounded():
    not_json("[" * 1000000)
    not_json('{"a":' * 100000)
    not_json('{"a":[' + "1," * 1000000 + "1]}")
    not_json("{" + ",".join('"k%d":0' % i for i in range(300000)) + "}")


@tap.test
def wrong_types_are_refused():
    for body in ("[]x", "5", '"text"', "true", "null", '{"cpus":null}', '{"cpus":5}', '{"cpus":{}}', '{"cpus":{"boot_vcpus":1}}',
                 '{"cpus":{"boot_vcpus":null,"max_vcpus":1}}', '{"cpus":{"boot_vcpus":"1","max_vcpus":1}}',
                 '{"cpus":{"boot_vcpus":1.0,"max_vcpus":1}}', '{"cpus":{"boot_vcpus":1e0,"max_vcpus":1}}',
                 '{"cpus":{"boot_vcpus":-1,"max_vcpus":1}}', '{"cpus":{"boot_vcpus":4294967296,"max_vcpus":1}}',
                 '{"cpus":{"boot_vcpus":true,"max_vcpus":1}}', '{"cpus":{"boot_vcpus":[1],"max_vcpus":1}}',
                 '{"cpus":{"boot_vcpus":1,"max_vcpus":1,"max_phys_bits":256}}', '{"memory":{}}', '{"memory":null}',
                 '{"memory":{"size":18446744073709551616}}', '{"memory":{"size":-1}}', '{"memory":{"size":"512M"}}',
                 '{"memory":{"size":1,"shared":null}}', '{"memory":{"size":1,"shared":1}}', '{"memory":{"size":1,"shared":"on"}}',
                 '{"payload":[]}', '{"payload":{"kernel":5}}', '{"payload":{"kernel":["/k"]}}', '{"serial":{}}',
                 '{"serial":{"mode":"null"}}', '{"serial":{"mode":"Serial"}}', '{"serial":{"mode":null}}', '{"serial":null}',
                 '{"console":{"mode":"tty"}}', '{"console":{}}', '{"console":null}', '{"rng":null}', '{"rng":{}}', '{"iommu":0}', '{"watchdog":"no"}'):
        not_json(body)


@tap.test
def members_given_twice_are_refused():
    not_json('{"cpus":{"boot_vcpus":1,"max_vcpus":1},"cpus":{"boot_vcpus":2,"max_vcpus":2}}')
    not_json('{"memory":{"size":1,"size":1}}')


# --- what this build does not serve ---


@tap.test
def devices_and_members_of_later_builds_are_named():
    for body, word in (
            ('{"disks":[{"path":"/d","iommu":true}]}', "disks[0].iommu"), ('{"net":[{},{"iommu":true}]}', "net[1].iommu"),
            ('{"rng":{"src":"/r","iommu":true}}', "rng.iommu"), ('{"console":{"mode":"Off","iommu":true}}', "console.iommu"),
            ('{"fs":[{"tag":"a","socket":"/s"}]}', "fs"),
            ('{"pmem":[{"file":"/f"}]}', "pmem"), ('{"vsock":{"cid":3,"socket":"/s"}}', "vsock"),
            ('{"devices":[{"path":"/sys/x"}]}', "devices"), ('{"vdpa":[{"path":"/v"}]}', "vdpa"), ('{"balloon":{"size":1}}', "balloon"),
            ('{"numa":[{"guest_numa_id":0}]}', "numa"), ('{"watchdog":true}', "watchdog"),
            ('{"pvpanic":true}', "pvpanic"), ('{"iommu":true}', "iommu"), ('{"tpm":{"socket":"/s"}}', "tpm"),
            ('{"landlock_enable":true}', "landlock_enable"), ('{"rtc":{}}', "rtc"), ('{"gdb":true}', "gdb"),
            ('{"platform":{"num_pci_segments":2}}', "platform"), ('{"pci_segments":[{"pci_segment":0}]}', "pci_segments"),
            ('{"ivshmem":{"path":"/p","size":4096}}', "ivshmem"), ('{"payload":{"firmware":"/f"}}', "firmware"),
            ('{"payload":{"igvm":"/f"}}', "igvm"),
            ('{"debug_console":{"mode":"Tty"}}', "debug_console"), ('{"memory":{"size":1,"hugepages":true}}', "hugepages"),
            ('{"memory":{"size":0,"zones":[{"id":"m","size":1}]}}', "zones"), ('{"memory":{"size":1,"thp":false}}', "thp"),
            ('{"memory":{"size":1,"hotplug_size":1}}', "hotplug_size"),
            ('{"cpus":{"boot_vcpus":1,"max_vcpus":1,"kvm_hyperv":true}}', "kvm_hyperv"),
            ('{"cpus":{"boot_vcpus":1,"max_vcpus":1,"nested":false}}', "nested"),
            ('{"cpus":{"boot_vcpus":1,"max_vcpus":1,"features":{"amx":true}}}', "amx"),
            ('{"cpus":{"boot_vcpus":2,"max_vcpus":2,"topology":{"threads_per_core":1,"cores_per_die":2,"dies_per_package":1,'
             '"packages":1}}}', "topology"),
            ('{"cpus":{"boot_vcpus":1,"max_vcpus":1,"affinity":[{"vcpu":0,"host_cpus":[0]}]}}', "affinity")):
        not_served(body, word)


# --- the serial port at create ---


@tap.test
def pty_is_open_after_create_and_gone_after_delete():
    with the().conn() as c:
        tap.eq(c.call("PUT", "vm.create", '{"serial":{"mode":"Pty"}}').raw, NO_CONTENT)
        serial = c.call("GET", "vm.info").json()["config"]["serial"]
        tap.eq(serial["mode"], "Pty")
        tap.ok(serial["file"].startswith("/dev/pts/"), serial)
        tap.ok(stat.S_ISCHR(os.stat(serial["file"]).st_mode), "a terminal")
        fd = os.open(serial["file"], os.O_RDWR | os.O_NOCTTY)
        os.close(fd)
        tap.eq(c.call("PUT", "vm.delete").status, 204)
        tap.poll(lambda: not os.path.exists(serial["file"]), 5, "the pty is closed")


@tap.test
def socket_is_bound_at_create_and_gone_after_delete():
    path = os.path.join(the().dir, "serial.sock")
    with the().conn() as c:
        tap.eq(c.call("PUT", "vm.create", {"serial": {"mode": "Socket", "socket": path}}).raw, NO_CONTENT)
        tap.ok(stat.S_ISSOCK(os.stat(path).st_mode), "a socket")
        tap.eq(c.call("GET", "vm.info").json()["config"]["serial"], {"mode": "Socket", "socket": path})
        vmm.Conn(path).close()
        tap.eq(c.call("PUT", "vm.delete").status, 204)
        tap.poll(lambda: not os.path.exists(path), 5, "the socket is gone")


@tap.test
def file_is_made_at_create():
    path = os.path.join(the().dir, "serial.out")
    with the().conn() as c:
        tap.eq(c.call("PUT", "vm.create", {"serial": {"mode": "File", "file": path}}).raw, NO_CONTENT)
        tap.eq(os.stat(path).st_mode & 0o777, 0o600)
        tap.eq(c.call("PUT", "vm.delete").status, 204)


@tap.test
def serial_that_cannot_be_opened_fails_the_create_and_stores_nothing():
    for serial, word in (({"mode": "File"}, "path"), ({"mode": "Socket"}, "path"), ({"mode": "File", "file": ""}, ""),
                         ({"mode": "File", "file": "/nowhere/out"}, "/nowhere/out"), ({"mode": "File", "file": "/"}, "/"),
                         ({"mode": "Socket", "socket": "/nowhere/s"}, "/nowhere/s"),
                         ({"mode": "Socket", "socket": "/" + "s" * 200}, "")):
        refused({"serial": serial}, "Error from API", 500, word)


# --- the virtio console at create ---


@tap.test
def both_consoles_can_be_ptys():
    with the().conn() as c:
        tap.eq(c.call("PUT", "vm.create", '{"serial":{"mode":"Pty"},"console":{"mode":"Pty"}}').raw, NO_CONTENT)
        config = c.call("GET", "vm.info").json()["config"]
        paths = [config[name]["file"] for name in ("serial", "console")]
        tap.ok(paths[0] != paths[1], paths)
        tap.eq(list(config["console"]), ["file", "mode", "pci_segment"])
        for path in paths:
            tap.ok(stat.S_ISCHR(os.stat(path).st_mode), "a terminal")
        tap.eq(c.call("PUT", "vm.delete").status, 204)
        for path in paths:
            tap.poll(lambda: not os.path.exists(path), 5, "the pty is closed")


@tap.test
def console_file_is_made_at_create():
    path = os.path.join(the().dir, "console.out")
    with the().conn() as c:
        tap.eq(c.call("PUT", "vm.create", {"console": {"mode": "File", "file": path}}).raw, NO_CONTENT)
        tap.eq(os.stat(path).st_mode & 0o777, 0o600)
        tap.eq(c.call("PUT", "vm.delete").status, 204)


@tap.test
def console_that_cannot_be_opened_fails_the_create_and_stores_nothing():
    for console, word in (({"mode": "File"}, "path"), ({"mode": "Socket"}, "Socket"), ({"mode": "Socket", "socket": "/s"}, "Socket"),
                          ({"mode": "File", "file": ""}, "empty"), ({"mode": "File", "file": "/nowhere/out"}, "/nowhere/out"),
                          ({"mode": "File", "file": "/"}, "/")):
        refused({"console": console, "serial": {"mode": "Pty"}}, "Error from API", 500, word)


@tap.test
def create_works_after_a_failed_one():
    path = os.path.join(the().dir, "again.out")
    refused({"serial": {"mode": "File", "file": "/nowhere/out"}}, "Error from API", 500)
    with the().conn() as c:
        tap.eq(c.call("PUT", "vm.create", {"serial": {"mode": "File", "file": path}}).raw, NO_CONTENT)
        tap.eq(c.call("PUT", "vm.delete").status, 204)


tap.main()
