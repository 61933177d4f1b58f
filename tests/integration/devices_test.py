#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Disks, networks, entropy and limit groups up to state Created: what vm.info makes of them, and every bad one with its
exact status, at the create or at the boot. A boot that is refused changes nothing."""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vmm  # noqa: E402
from vmm import NO_CONTENT, tap  # noqa: E402

shared = vmm.shared()

BUCKET = {"size": 1000, "refill_time": 100}
LIMIT = {"ops": BUCKET}
GROUP = {"id": "g", "rate_limiter_config": LIMIT}


def the():
    """The VMM, without a VM that a failed test may have left."""
    v = shared()
    v.call("PUT", "vm.delete")
    return v


def machine(**members):
    """A configuration that boots as far as its devices; /bin/sh is a file that opens."""
    config = {"payload": {"kernel": "/bin/sh"}, "cpus": {"boot_vcpus": 4, "max_vcpus": 4}, "console": {"mode": "Off"}}
    config.update(members)
    return config


def disk(**members):
    return machine(disks=[dict({"path": "/nowhere/disk"}, **members)])


def net(**members):
    return machine(net=[members])


def config_after(body):
    with the().conn() as c:
        tap.eq(c.call("PUT", "vm.create", body).raw, NO_CONTENT, body)
        config = c.call("GET", "vm.info").json()["config"]
        tap.eq(c.call("PUT", "vm.delete").raw, NO_CONTENT)
        return config


def create_refused(body, status, first, *words):
    with the().conn() as c:
        r = c.call("PUT", "vm.create", body)
        tap.ok(r.status == status, "%r: %r" % (body, r.raw))
        tap.eq(r.json()[0], first, body)
        for word in words:
            tap.contains(": ".join(r.json()), word, body)
        tap.eq(c.call("GET", "vm.info").status, 404, "%r: stored all the same" % body)


def boot_refused(body, status, *words):
    """Twice, as the first refusal may leave nothing behind."""
    with the().conn() as c:
        tap.eq(c.call("PUT", "vm.create", body).raw, NO_CONTENT, body)
        before = c.call("GET", "vm.info").raw
        for _ in range(2):
            r = c.call("PUT", "vm.boot")
            tap.ok(r.status == status, "%r: %r" % (body, r.raw))
            chain = r.json()
            tap.eq(chain[:2], ["Error from API", "VM cannot be booted"], body)
            for word in words:
                tap.contains(": ".join(chain[2:]), word, body)
            tap.eq(c.call("GET", "vm.info").raw, before, body)
        tap.eq(c.call("PUT", "vm.delete").raw, NO_CONTENT)


# --- vm.info ---


@tap.test
def defaults_of_devices_are_filled_in_byte_by_byte():
    with the().conn() as c:
        tap.eq(c.call("PUT", "vm.create", '{"disks":[{"path":"/d"}],"net":[{"tap":"t0","mac":"2E:51:0F:9A:3C:07"}],'
                                          '"rate_limit_groups":[{}],"console":{"mode":"Null"}}').raw, NO_CONTENT)
        body = c.call("GET", "vm.info").body.decode()
        tap.contains(body, '"thp":true},"rate_limit_groups":[{"id":"","rate_limiter_config":{"bandwidth":null,"ops":null}}],'
                     '"disks":[{"pci_segment":0,"path":"/d","readonly":false,"direct":false,"num_queues":1,"queue_size":128,'
                     '"vhost_user":false,"disable_io_uring":false,"disable_aio":false,"backing_files":false,"sparse":true,'
                     '"image_type":"Unknown","lock_granularity":"ByteRange"}],"net":[{"pci_segment":0,"tap":"t0",'
                     '"mac":"2e:51:0f:9a:3c:07","num_queues":2,"queue_size":256,"vhost_user":false,"vhost_mode":"Client",'
                     '"offload_tso":true,"offload_ufo":true,"offload_csum":true}],"rng":{"pci_segment":0,"src":"/dev/urandom"},'
                     '"serial":{"mode":"Null"},"console":{"mode":"Null","pci_segment":0},')
        tap.eq(c.call("PUT", "vm.delete").status, 204)


@tap.test
def given_values_of_devices_come_back():
    one = {"id": "d", "pci_segment": 0, "pci_device_id": 7, "path": "/d", "readonly": True, "direct": True, "num_queues": 2**64 - 1,
           "queue_size": 64, "vhost_user": True, "vhost_socket": "/s", "rate_limit_group": "g",
           "rate_limiter_config": {"bandwidth": {"size": 2**64 - 1, "one_time_burst": 1, "refill_time": 2}, "ops": None},
           "disable_io_uring": True, "disable_aio": True, "serial": "S" * 40,
           "queue_affinity": [{"queue_index": 0, "host_cpus": [0, 3]}], "backing_files": True, "sparse": False,
           "image_type": "Qcow2", "lock_granularity": "Full"}
    config = config_after(machine(disks=[one], rng={"src": "/dev/hwrng", "id": "r"}, rate_limit_groups=[GROUP]))
    tap.eq(config["disks"], [one])
    tap.eq(list(config["disks"][0]), list(one), "order")
    tap.eq(config["rng"], {"id": "r", "pci_segment": 0, "src": "/dev/hwrng"})
    tap.eq(config["rate_limit_groups"], [{"id": "g", "rate_limiter_config":
                                          {"bandwidth": None, "ops": {"size": 1000, "one_time_burst": None, "refill_time": 100}}}])


@tap.test
def nothing_of_a_disk_or_network_is_looked_at_before_the_boot():
    config = config_after(machine(disks=[{}, {"path": "/nowhere"}], net=[{"tap": "x" * 200}], rng={"src": "/nowhere"}))
    tap.eq(len(config["disks"]), 2)
    tap.ok("id" not in config["disks"][0] and "mac" not in config["net"][0], "names come with the boot")


@tap.test
def descriptors_in_a_body_are_nobodys():
    v = vmm.Vmm("-v").wait_up()
    with v.conn() as c:
        tap.eq(c.call("PUT", "vm.create", '{"net":[{"fds":[3,4],"num_queues":4},{"fds":[]}]}').raw, NO_CONTENT)
        for one in c.call("GET", "vm.info").json()["config"]["net"]:
            tap.ok("fds" not in one, one)
        tap.poll(lambda: 'WARN:' in v.stderr() and '"net[0].fds" is not taken from a request' in v.stderr(), 5, "a warning")
    v.kill()


@tap.test
def descriptors_beside_a_create_are_closed():
    r, w = os.pipe()
    with the().conn() as c:
        tap.eq(c.ask(vmm.request("PUT", "vm.create", '{"net":[{}]}'), [w]).raw, NO_CONTENT)
        tap.ok("fds" not in c.call("GET", "vm.info").json()["config"]["net"][0], "not taken")
        os.close(w)
        tap.eq(os.read(r, 1), b"", "nobody has the other end any more")
        tap.eq(c.call("PUT", "vm.delete").status, 204)
    os.close(r)


def node(name, wrapper, bdf, bar, kind):
    """The two nodes of a virtio device, as they are written."""
    return {name: '{"id":"%s","resources":[],"parent":"%s","children":[]}' % (name, wrapper),
            wrapper: '{"id":"%s","resources":[{"PciBar":{"index":0,"base":%d,"size":524288,"type_":"%s","prefetchable":false}}],'
                     '"children":["%s"],"pci_bdf":"%s"}' % (wrapper, bar, kind, name, bdf)}


def example_tree():
    tree = {name: '{"id":"%s","resources":[],"children":[]}' % name for name in ("__ioapic", "__serial")}
    tree.update(node("__console", "_virtio-pci-__console", "0000:00:01.0", 70368735789056, "Mmio64"))
    tree.update(node("_disk0", "_virtio-pci-_disk0", "0000:00:02.0", 3891789824, "Mmio32"))
    tree.update(node("_net1", "_virtio-pci-_net1", "0000:00:03.0", 70368727400448, "Mmio64"))
    tree.update(node("__rng", "_virtio-pci-__rng", "0000:00:04.0", 70368719011840, "Mmio64"))
    return tree


def pieces(text):
    """A JSON object's members as they are written, by name."""
    return {name: json.dumps(value, separators=(",", ":")) for name, value in json.loads(text).items()}


@tap.test
def example_of_the_api_document_comes_out_as_printed_there():
    kernel = tap.program("tests/guest/spin.bin")
    if not os.path.exists(kernel) or not os.access("/dev/kvm", os.R_OK | os.W_OK) or os.geteuid() != 0:
        tap.skip("needs root, /dev/kvm and the guest payloads")
    v = vmm.Vmm().wait_up()
    path, tap_name = os.path.join(v.dir, "root.img"), "clex%d" % (v.pid % 1000000)
    with open(path, "wb") as f:
        f.truncate(1 << 20)
    with v.conn(20) as c:
        tap.eq(c.call("PUT", "vm.create", '{"payload":{"kernel":"%s","cmdline":"console=hvc0 root=/dev/vda1"},"disks":[{"path":"%s"}],'
                                          '"net":[{"tap":"%s"}]}' % (kernel, path, tap_name)).raw, NO_CONTENT)
        tap.eq(c.call("PUT", "vm.boot").raw, NO_CONTENT)
        body = c.call("GET", "vm.info").body.decode()
        mac = json.loads(body)["config"]["net"][0]["mac"]
        head, tree = body.split(',"device_tree":')
        tap.eq(head, '{"config":{"cpus":{"boot_vcpus":1,"max_vcpus":1,"kvm_hyperv":false,"max_phys_bits":46,"features":{"amx":false},'
               '"nested":true,"core_scheduling":"Vm","profile":"Host"},"memory":{"size":536870912,"mergeable":false,'
               '"hotplug_method":"Acpi","shared":false,"hugepages":false,"prefault":false,"reserve":false,"thp":true},'
               '"payload":{"kernel":"%s","cmdline":"console=hvc0 root=/dev/vda1"},"disks":[{"id":"_disk0","pci_segment":0,"path":"%s",'
               '"readonly":false,"direct":false,"num_queues":1,"queue_size":128,"vhost_user":false,"disable_io_uring":false,'
               '"disable_aio":false,"backing_files":false,"sparse":true,"image_type":"Raw","lock_granularity":"ByteRange"}],'
               '"net":[{"id":"_net1","pci_segment":0,"tap":"%s","mac":"%s","num_queues":2,"queue_size":256,"vhost_user":false,'
               '"vhost_mode":"Client","offload_tso":true,"offload_ufo":true,"offload_csum":true}],'
               '"rng":{"pci_segment":0,"src":"/dev/urandom"},"serial":{"mode":"Null"},"console":{"mode":"Tty","pci_segment":0},'
               '"debug_console":{"mode":"Off","iobase":233},"pvpanic":false,"iommu":false,"watchdog":false,"landlock_enable":false},'
               '"state":"Running","memory_actual_size":536870912' % (kernel, path, tap_name, mac))
        tap.ok(mac.startswith("2e:"), mac)
        tap.eq(pieces(tree[:-1]), example_tree())
        idle = {"_disk0": {"%s_%s" % (way, what): 0 for way in ("read", "write") for what in ("bytes", "ops")},
                "_net1": {name: 0 for name in ("rx_bytes", "rx_frames", "tx_bytes", "tx_frames")}}
        for way in ("read", "write"):
            idle["_disk0"].update({"%s_latency_%s" % (way, of): 2**64 - 1 for of in ("min", "max")})
            idle["_disk0"]["%s_latency_avg" % way] = 1844674407370955
        counters = c.call("GET", "vm.counters").json()
        tap.eq(sorted(counters), sorted(idle))
        tap.eq(counters["_disk0"], idle["_disk0"])
        tap.eq(sorted(counters["_net1"]), sorted(idle["_net1"]), "a host may have sent something")
        tap.eq(c.call("PUT", "vm.shutdown").raw, NO_CONTENT)
        tap.eq(c.call("PUT", "vm.boot").raw, NO_CONTENT)
        net = c.call("GET", "vm.info").json()["config"]["net"][0]
        tap.eq((net["id"], net["mac"]), ("_net1", mac), "kept")
        tap.eq(c.call("PUT", "vm.delete").raw, NO_CONTENT)
    v.kill()


# --- refused at the create ---


@tap.test
def wrong_types_of_device_members_are_not_json():
    for body in ('{"disks":{}}', '{"disks":[5]}', '{"disks":[{"path":5}]}', '{"disks":[{"queue_size":65536}]}',
                 '{"disks":[{"queue_size":"128"}]}', '{"disks":[{"num_queues":-1}]}', '{"disks":[{"num_queues":1.0}]}',
                 '{"disks":[{"readonly":null}]}', '{"disks":[{"image_type":"raw"}]}', '{"disks":[{"lock_granularity":"full"}]}',
                 '{"disks":[{"pci_device_id":256}]}', '{"disks":[{"pci_segment":null}]}', '{"disks":[{"id":5}]}',
                 '{"disks":[{"path":"/a","path":"/b"}]}', '{"disks":[{"queue_affinity":[{"queue_index":0}]}]}',
                 '{"disks":[{"rate_limiter_config":{"bandwidth":{"size":1}}}]}',
                 '{"disks":[{"rate_limiter_config":{"bw":null}}]}', '{"net":[{"rate_limiter_config":{"x":1}}]}',
                 '{"rate_limit_groups":[{"rate_limiter_config":{"x":1}}]}', '{"rate_limit_groups":[{"id":null}]}',
                 '{"net":{}}', '{"net":[{"mac":"2e:51:0f:9a:3c"}]}', '{"net":[{"host_mac":"x"}]}', '{"net":[{"ip":"10.0.0"}]}',
                 '{"net":[{"mask":"/24"}]}', '{"net":[{"mtu":-1}]}', '{"net":[{"vhost_mode":"server"}]}', '{"net":[{"fds":["3"]}]}',
                 '{"net":[{"fds":[2147483648]}]}', '{"net":[{"offload_csum":"on"}]}', '{"rng":{"src":null}}', '{"rng":"/dev/urandom"}',
                 '{"console":{"mode":"Tty","pci_device_id":-1}}'):
        create_refused(body, 400, "Failed to deserialize JSON")
    create_refused('{"net":[{"mac":"2e:51:0f:9a:3c"}]}', 400, "Failed to deserialize JSON", "net[0].mac", "line 1 column ")


@tap.test
def virtual_iommu_is_not_served_and_named():
    for body, word in ((disk(iommu=True), "disks[0].iommu"), (net(iommu=True), "net[0].iommu"),
                       (machine(rng={"src": "/r", "iommu": True}), "rng.iommu"),
                       (machine(console={"mode": "Tty", "iommu": True}), "console.iommu"), (machine(iommu=True), "iommu")):
        create_refused(body, 400, "Error from API", word, "is not supported by this build")


# --- refused at the boot: 400 and 409 by the rules, 500 by the rest ---


@tap.test
def rules_of_limit_groups():
    for groups in ([{}], [{"id": "g"}], [{"rate_limiter_config": LIMIT}], [{"id": "__g", "rate_limiter_config": LIMIT}]):
        boot_refused(machine(rate_limit_groups=groups), 400, "group")
    boot_refused(machine(rate_limit_groups=[GROUP, GROUP]), 409, 'id "g" is not unique')


@tap.test
def rules_of_disks():
    shared_memory = {"size": 1 << 20, "shared": True}
    foreign = {"vhost_user": True, "vhost_socket": "/nowhere/s"}
    for body, word in (
            (disk(vhost_socket="/s"), "exclude each other"),
            (machine(disks=[foreign]), "shared memory"),
            (machine(disks=[{"vhost_user": True}], memory=shared_memory), "vhost_socket"),
            (machine(disks=[dict(foreign, rate_limiter_config=LIMIT)], memory=shared_memory), "limited"),
            (machine(disks=[dict(foreign, rate_limit_group="g")], memory=shared_memory, rate_limit_groups=[GROUP]), "limited"),
            (disk(rate_limit_group="g"), 'rate_limit_group "g"'),
            (disk(pci_segment=1), "PCI segment 1 does not exist"),
            (disk(pci_device_id=32), "pci_device_id 32"),
            (disk(pci_device_id=0), "pci_device_id 0"),
            (disk(num_queues=5), "num_queues 5"),
            (disk(queue_size=0), "queue_size 0"),
            (disk(queue_size=129), "queue_size 129"),
            (disk(queue_size=2), "queue_size 2"),
            (machine(disks=[{"path": "/d", "rate_limit_group": "g", "rate_limiter_config": LIMIT}], rate_limit_groups=[GROUP]),
             "exclude each other"),
            (disk(serial="x" * 21), "21 bytes"),
            (disk(id="__d"), "__d")):
        boot_refused(body, 400, "disk", word)
    boot_refused(machine(disks=[{"path": "/a", "id": "x"}, {"path": "/b", "id": "x"}]), 409, 'disk "x"', "not unique")


@tap.test
def rules_of_networks():
    for body, word in (
            (net(vhost_user=True, vhost_socket="/s"), "shared memory"),
            (net(pci_segment=1), "PCI segment 1 does not exist"),
            (net(pci_device_id=0), "pci_device_id 0"),
            (net(num_queues=1), "num_queues 1"),
            (net(num_queues=10), "num_queues 10"),
            (net(queue_size=100), "queue_size 100"),
            (net(mtu=1000), "mtu 1000"),
            (net(offload_csum=False), "offload_csum"),
            (net(mask="255.0.0.0"), "mask without ip"),
            (net(ip="10.0.0.1"), "ip without mask"),
            (net(id="__n"), "__n")):
        boot_refused(body, 400, "net", word)
    boot_refused(machine(net=[{"id": "x"}], disks=[{"path": "/d", "id": "x"}]), 409, 'net "x"', "not unique")


@tap.test
def rules_of_the_entropy_device_and_the_console():
    boot_refused(machine(rng={"src": "/dev/urandom", "pci_segment": 2}), 400, "rng", "PCI segment 2")
    boot_refused(machine(rng={"src": "/dev/urandom", "id": "__rng"}), 400, "rng", "__rng")
    boot_refused(machine(console={"mode": "Off", "pci_device_id": 32}), 400, "console", "32")
    boot_refused(machine(rng={"src": "/dev/urandom", "id": "x"}, net=[{"id": "x"}]), 409, "rng", "not unique")


@tap.test
def what_no_device_can_be_made_of_fails_with_500():
    many = [{"path": "/d"}] * 31
    for body, word in (
            (machine(disks=[{}]), "neither path"),
            (disk(path=""), "path is empty"),
            (disk(path="/" + "x" * 4096), "4097 bytes"),
            (disk(num_queues=0), "num_queues is 0"),
            (disk(image_type="Qcow2"), "image_type Qcow2 is not supported by this build"),
            (disk(image_type="Vhdx"), "image_type Vhdx is not supported by this build"),
            (disk(id=""), "id is empty"),
            (disk(id="i" * 300), "300 bytes"),
            (net(queue_size=1), "queue_size 1"),
            (net(tap="x" * 16), "interface"),
            (machine(rng={"src": ""}), "src is empty"),
            (machine(disks=many), "32 devices"),
            (machine(disks=[{"path": "/a", "pci_device_id": 5}, {"path": "/b", "pci_device_id": 5}]), "PCI slot 5"),
            (machine(cpus={"boot_vcpus": 600, "max_vcpus": 600}, disks=[{"path": "/d", "num_queues": 257}]), "num_queues 257"),
            (machine(cpus={"boot_vcpus": 600, "max_vcpus": 600}, net=[{"num_queues": 256}]), "num_queues 256")):
        boot_refused(body, 500, word)


@tap.test
def images_that_cannot_be_opened_fail_the_boot_and_are_named():
    v = the()
    folder = v.dir
    for path in (os.path.join(folder, "missing"), folder, v.path, "/dev/null", "/nowhere/x"):
        boot_refused(disk(path=path), 500, 'disk "_disk0"')
    boot_refused(machine(disks=[{"path": "/nowhere/a", "id": "mine"}]), 500, 'disk "mine"', "/nowhere/a")


def image(name, head=b"", size=1 << 20):
    path = os.path.join(the().dir, name)
    with open(path, "wb") as f:
        f.write(head)
        f.truncate(size)
    return path


@tap.test
def images_of_the_wrong_size_or_type_fail_the_boot_and_are_named():
    qcow2 = image("qcow2", b"QFI\xfb" + b"\0" * 508)
    boot_refused(disk(path=image("empty", size=0)), 500, 'disk "_disk0"')
    boot_refused(disk(path=image("short", size=511)), 500, 'disk "_disk0"')
    boot_refused(disk(path=qcow2), 500, 'disk "_disk0"', "Qcow2")
    boot_refused(disk(path=qcow2, image_type="Raw"), 500, 'disk "_disk0"', "Qcow2")
    boot_refused(machine(disks=[{"path": image("good")}, {"path": qcow2}]), 500, 'disk "_disk1"', "Qcow2")


@tap.test
def refusal_of_a_helper_is_no_fault_of_apid():
    """Whether the helper says so before or after apid asks for the hand-over."""
    qcow2 = image("qcow2", b"QFI\xfb" + b"\0" * 508)
    before = the().pid_of("cloister-apid")
    for _ in range(30):
        boot_refused(disk(path=qcow2), 500, 'disk "_disk0"', "Qcow2")
    tap.eq(the().pid_of("cloister-apid"), before, "apid")


@tap.test
def what_a_boot_finds_is_kept_and_found_again():
    """The boots go as far as the kernel, which is none."""
    v = vmm.Vmm().wait_up()
    path = image("found")
    warned = "the guest cannot write to the first sector"
    with v.conn() as c:
        tap.eq(c.call("PUT", "vm.create", machine(disks=[{"path": path}, {"path": image("said"), "image_type": "Raw", "id": "_disk0"}])).raw,
               NO_CONTENT)
        for n in (1, 2):
            tap.eq(c.call("PUT", "vm.boot").status, 500)
            disks = c.call("GET", "vm.info").json()["config"]["disks"]
            tap.eq([(d["id"], d["image_type"]) for d in disks], [("_disk1", "Raw"), ("_disk0", "Raw")])
            # the guest may not make it another type, at no boot
            tap.poll(lambda: v.stderr().count(warned) == n, 5, "boot %d protects the one whose type was found" % n)
    v.kill()


@tap.test
def entropy_source_that_cannot_be_opened_fails_the_boot():
    for src in ("/nowhere/rng", "/"):
        boot_refused(machine(rng={"src": src}), 500, "rng", src)


@tap.test
def rules_come_before_anything_is_opened():
    boot_refused(machine(payload={"kernel": "/nowhere"}, net=[{"mtu": 1}]), 400, "mtu 1")
    boot_refused(machine(payload={"kernel": "/nowhere"}, disks=[{}]), 500, "neither path")


@tap.test
def several_consoles_on_the_terminal_are_a_warning():
    v = vmm.Vmm().wait_up()
    with v.conn() as c:
        tap.eq(c.call("PUT", "vm.create", json.dumps({"payload": {"kernel": "/nowhere"}, "serial": {"mode": "Tty"}})).raw, NO_CONTENT)
        tap.eq(c.call("PUT", "vm.boot").status, 500)
        tap.poll(lambda: "2 consoles share one terminal" in v.stderr(), 5, "a warning")
    v.kill()


tap.main()
