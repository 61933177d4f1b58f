#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The monitor's devices: what it opens and refuses, what it hands over, and who follows a dead helper. As root."""
import fcntl
import os
import signal
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
from security import mondrive  # noqa: E402
from security import system  # noqa: E402

if os.geteuid() != 0:
    tap.skip_all("needs root")
if os.environ.get("SAN"):
    tap.skip_all("a sanitizer build has no filter and no empty root")

RAW, QCOW2 = 3, 2
EAGAIN, EBUSY = 11, 16


def monitor(**kw):
    return mondrive.Monitor(**kw).prepare()


def link_of(m, fd):
    return os.readlink("/proc/%d/fd/%d" % (m.pid, fd))


def ofd_lock(path, kind, length=0):
    """A lock of somebody else's, kept until the descriptor is closed."""
    fd = os.open(path, os.O_RDWR)
    fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, length, 0))  # F_OFD_SETLK
    return fd


def lock_is_free(path):
    try:
        os.close(ofd_lock(path, fcntl.F_WRLCK))
        return True
    except BlockingIOError:
        return False


# --- what is handed over ------------------------------------------------------------------------------------------------------


@tap.test
def a_disk_is_handed_over_with_its_descriptors():
    m = monitor()
    m.do("MON_OPEN_DISK", **m.disk(m.image("a"), num_queues=3, queue_size=64))
    answer = m.hand_over()
    tap.eq({k: v for k, v in answer.fields.items()},
           {"details.0.kind": "1", "details.0.index": "0", "details.0.detail": str(QCOW2)}, "what the helper found")
    tap.eq(m.wait("vmmd", "MON_BOOT_FDS").fields["has_serial"], "0")
    dev = m.wait("vmmd", "MON_DEVICE")
    tap.eq(dev.fields, {"kind": "1", "index": "0", "generation": "0", "ours": "1", "n_queues": "3", "queue_size": "64",
                        "n_events": "6"})
    tap.eq(len(dev.fds), 4 + 6, "descriptors")
    tap.ok(link_of(m, dev.fds[0]).startswith("socket:") and link_of(m, dev.fds[1]).startswith("socket:"), "sockets")
    tap.eq([link_of(m, fd) for fd in dev.fds[4:] + dev.fds[2:3]], ["anon_inode:[eventfd]"] * 7, "events")
    tap.contains(link_of(m, dev.fds[3]), "memfd:statistics")


@tap.test
def more_events_than_one_message_carries_come_in_several():
    m = monitor()
    m.do("MON_OPEN_DISK", **m.disk(m.image("a"), num_queues=256))
    m.hand_over()
    dev = m.wait("vmmd", "MON_DEVICE")
    tap.eq((dev.fields["n_events"], len(dev.fds)), ("240", 244))
    more = [m.wait("vmmd", "MON_DEVICE_EVENTS") for _ in range(2)]
    tap.eq([len(x.fds) for x in more], [252, 20], "the rest")
    for x in more:
        tap.eq((x.fields["kind"], x.fields["index"], int(x.fields["n"])), ("1", "0", len(x.fds)))


@tap.test
def devices_come_in_the_order_of_their_slots():
    m = monitor()
    m.do("MON_OPEN_CONSOLE", which="console", mode="Null")
    m.do("MON_OPEN_RNG")
    m.do("MON_OPEN_DISK", **m.disk(m.image("b"), index=1))
    m.do("MON_OPEN_DISK", **m.disk(m.image("a"), index=0))
    m.do("MON_OPEN_VCON", config__mode="Null")
    m.hand_over()
    got = [m.wait("vmmd", "MON_DEVICE").fields for _ in range(4)]
    tap.eq([(d["kind"], d["index"]) for d in got], [("0", "0"), ("1", "0"), ("1", "1"), ("3", "0")], "kind, index")
    tap.eq([d["n_queues"] for d in got], ["2", "1", "1", "1"], "queues")


@tap.test
def a_helper_has_its_own_uid_and_only_its_descriptors():
    m = monitor()
    m.do("MON_OPEN_DISK", **m.disk(m.image("a"), index=0))
    m.do("MON_OPEN_DISK", **m.disk(m.image("b"), index=1))
    m.do("MON_OPEN_RNG")
    m.hand_over()
    uids = [system.status(pid)["Uid"].split()[0] for pid in m.children("cloister-blk") + m.children("cloister-rng")]
    tap.eq(sorted(int(u) - mondrive.UIDS for u in uids), [4, 32, 33], "offset in the block")


@tap.test
def the_order_of_requests_is_checked():
    m = mondrive.Monitor()
    m.refused("MON_OPEN_RNG", "memory comes before devices")
    m.prepare()
    m.do("MON_OPEN_RNG")
    m.refused("MON_OPEN_RNG", "rng 0 is open already")
    m.refused("MON_MAKE_MEMORY", "devices have the memory", size=mondrive.MEMORY, shared="off")
    m.refused("MON_OPEN_VCON", "console", "its target is not open", config__mode="Null")


# --- images -------------------------------------------------------------------------------------------------------------------


@tap.test
def images_that_are_none_are_refused_by_name():
    m = monitor()
    os.mkdir(m.path("folder"))
    os.mkfifo(m.path("fifo"))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(m.path("sock"))
    prefix = 'disk "_disk0"'
    for name, text in (("missing", "No such file or directory"), ("folder", "is a directory"), ("fifo", "is a FIFO"),
                       ("sock", "is a socket")):
        m.refused("MON_OPEN_DISK", prefix, text, **m.disk(m.path(name)))
    m.refused("MON_OPEN_DISK", prefix, "is a character device", **m.disk("/dev/null"))
    m.refused("MON_OPEN_DISK", prefix, "has 0 bytes", **m.disk(m.image("empty", 0)))
    m.refused("MON_OPEN_DISK", prefix, "has 511 bytes, less than one sector", **m.disk(m.image("short", 511)))
    m.refused("MON_OPEN_DISK", prefix, "no rate limit group", **m.disk(m.image("x"), rate_limit_group="none"))
    m.do("MON_OPEN_DISK", **m.disk(m.image("good")))  # nothing of the failures is left


@tap.test
def an_odd_size_is_cut_with_a_warning():
    m = monitor(fake=())
    m.do("MON_OPEN_DISK", **m.disk(m.image("odd", 513)))
    m.hand_over()
    tap.poll(lambda: m.read(0.1) or any("the last 1 are no sector" in t for _, t in m.log), 5, "the warning")


@tap.test
def an_image_in_use_by_somebody_else_is_refused():
    m = monitor()
    path = m.image("a")
    for kind, readonly in ((fcntl.F_WRLCK, "off"), (fcntl.F_RDLCK, "off"), (fcntl.F_WRLCK, "on")):
        other = ofd_lock(path, kind)
        for granularity in ("ByteRange", "Full"):
            r = m.refused("MON_OPEN_DISK", 'disk "_disk0"', "is in use",
                          **m.disk(path, readonly=readonly, lock_granularity=granularity))
            tap.eq(int(r.fields["code"]), -EAGAIN)
        os.close(other)
    other = ofd_lock(path, fcntl.F_RDLCK)
    m.do("MON_OPEN_DISK", **m.disk(path, readonly="on"))
    os.close(other)


@tap.test
def byte_range_locks_what_is_there_and_full_all():
    m = monitor()
    a, b = m.image("a", 4096), m.image("b", 4096)
    m.do("MON_OPEN_DISK", **m.disk(a, index=0))
    m.do("MON_OPEN_DISK", **m.disk(b, index=1, lock_granularity="Full"))
    for path, beyond_is_free in ((a, True), (b, False)):
        fd = os.open(path, os.O_RDWR)
        for start, free in ((0, False), (4095, False), (4096, beyond_is_free)):
            got = fcntl.fcntl(fd, 36, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0))  # F_OFD_GETLK
            tap.eq(struct.unpack("hhqqi4x", got)[0] == fcntl.F_UNLCK, free, "%s at %d" % (path, start))
        os.close(fd)


@tap.test
def one_image_twice_in_a_vm_only_to_read():
    m = monitor()
    a = m.image("a")
    os.symlink(a, m.path("link"))
    os.link(a, m.path("hard"))
    m.do("MON_OPEN_DISK", **m.disk(a, index=0, readonly="on"))
    m.do("MON_OPEN_DISK", **m.disk(m.path("link"), index=1, readonly="on"))
    m.refused("MON_OPEN_DISK", 'disk "_disk2"', "already in use in this VM", **m.disk(m.path("hard"), index=2))


@tap.test
def the_lock_outlives_the_helper_and_goes_with_the_device():
    m = monitor()
    a = m.image("a")
    m.do("MON_OPEN_DISK", **m.disk(a))
    m.hand_over()
    for _ in range(2):
        pid = m.children("cloister-blk")[0]
        os.kill(pid, signal.SIGKILL)
        m.wait("vmmd", "MON_DEVICE_GONE")
        tap.ok(not lock_is_free(a), "the lock is held while there is no helper")
        m.wait("vmmd", "MON_DEVICE_UP")
    m.say("vmmd", "VMM_STOPPED")
    tap.poll(lambda: lock_is_free(a), 5, "the lock is free again")
    tap.eq(m.children("cloister-blk"), [], "helpers")


@tap.test
def sparse_off_allocates_the_blocks():
    m = monitor()
    with open(os.path.join("/dev/shm", "cl-%d.img" % os.getpid()), "wb") as f:
        f.truncate(1 << 20)
    try:
        m.do("MON_OPEN_DISK", **m.disk(f.name, sparse="off"))
        tap.eq(os.stat(f.name).st_blocks * 512, 1 << 20, "bytes allocated")
    finally:
        os.unlink(f.name)


@tap.test
def a_group_of_limits_is_there_for_its_disks():
    m = monitor()
    limits = {"config__rate_limiter_config__bandwidth__size": 1000,
              "config__rate_limiter_config__bandwidth__refill_time": 100}
    m.do("MON_LIMIT_GROUP", config__id="g", **limits)
    m.refused("MON_LIMIT_GROUP", "there already", config__id="g", **limits)
    m.do("MON_OPEN_DISK", **m.disk(m.image("a"), rate_limit_group="g"))
    m.hand_over()
    m.say("vmmd", "VMM_STOPPED")
    tap.poll(lambda: not m.children("cloister-blk"), 5, "the end of the helper")
    m.do("MON_LIMIT_GROUP", config__id="g", **limits)  # it went with the VM


@tap.test
def thirty_disks_have_thirty_user_ids():
    m = monitor()
    for i in range(30):
        m.do("MON_OPEN_DISK", **m.disk(m.image("d%d" % i), index=i))
    m.hand_over()
    uids = {system.status(pid)["Uid"].split()[0] for pid in m.children("cloister-blk")}
    tap.eq(len(uids), 30, "user ids")
    tap.eq([int(m.wait("vmmd", "MON_DEVICE").fields["index"]) for _ in range(30)], list(range(30)), "order")


# --- helpers that misbehave ---------------------------------------------------------------------------------------------------


@tap.test
def a_refusal_reaches_the_hand_over_with_its_chain():
    m = monitor()
    m.do("MON_OPEN_DISK", **m.disk(m.image("a"), serial="refuse"))
    m.refused("MON_HANDOVER", 'disk "_disk0"', "outer reason", "inner reason", vcpus=1)
    m.refused("MON_HANDOVER", 'disk "_disk0"', "outer reason", "inner reason", vcpus=1)
    m.do("MON_RELEASE")
    m.prepare()
    m.do("MON_OPEN_DISK", **m.disk(m.path("a")))
    m.hand_over()


@tap.test
def a_helper_that_only_says_it_is_locked_gets_no_guest():
    m = monitor()
    m.do("MON_OPEN_DISK", **m.disk(m.image("a"), serial="lie"))
    m.refused("MON_HANDOVER", 'disk "_disk0"', "is not started again", vcpus=1)
    tap.ok(any("not locked as it says" in t for _, t in m.log), "the log says why: %r" % m.log)


@tap.test
def a_helper_that_dies_early_opens_the_breaker():
    for serial, how in (("die", "exited with status 7"), ("noise", "was killed by signal 9")):
        m = monitor()
        m.do("MON_OPEN_DISK", **m.disk(m.image("a"), serial=serial))
        m.refused("MON_HANDOVER", 'disk "_disk0"', how, vcpus=1)
        delays = [t.rsplit(" in ", 1)[1] for _, t in m.log if "the next one starts" in t]
        tap.eq(delays, ["0 ms", "10 ms", "20 ms", "40 ms"], "delays of %s" % serial)
        tap.eq(m.children("cloister-blk"), [], "helpers")


@tap.test
def a_helper_killed_by_its_filter_is_not_started_again():
    m = monitor()
    m.do("MON_OPEN_DISK", **m.disk(m.image("a"), serial="crash"))
    answer = m.ask("MON_HANDOVER", vcpus=1)
    if answer.name == "RESULT":  # it was killed before the hand-over
        tap.contains(answer.chain()[1], "signal 31")
    else:
        gone = m.wait("vmmd", "MON_DEVICE_GONE")
        tap.eq(gone.fields["final"], "1")
        tap.contains(gone.fields["reason"], "signal 31")
    tap.ok(not any("the next one starts" in t for _, t in m.log), repr(m.log))


# --- death and successor ------------------------------------------------------------------------------------------------------


@tap.test
def a_dead_helper_is_followed_by_one_with_the_same_things():
    m = monitor()
    m.do("MON_OPEN_DISK", **m.disk(m.image("a")))
    m.hand_over()
    dev = m.wait("vmmd", "MON_DEVICE")
    old = m.children("cloister-blk")[0]
    os.kill(old, signal.SIGKILL)
    gone = m.wait("vmmd", "MON_DEVICE_GONE")
    tap.eq((gone.fields["generation"], gone.fields["final"]), ("0", "0"))
    up = m.wait("vmmd", "MON_DEVICE_UP")
    tap.eq((up.fields["kind"], up.fields["index"], up.fields["generation"]), ("1", "0", "1"))
    tap.eq(len(up.fds), 2, "vhost-user socket, back end requests")
    tap.ok(link_of(m, up.fds[0]) != link_of(m, dev.fds[0]), "a fresh socket")
    tap.ok(m.children("cloister-blk")[0] != old, "another process")
    tap.ok(any('cloister-blk of "_disk0" was killed by signal' in t and "0 ms" in t for _, t in m.log), repr(m.log))


@tap.test
def five_deaths_in_a_minute_are_the_last():
    m = monitor()
    m.do("MON_OPEN_RNG")
    m.hand_over()
    for generation in range(4):
        os.kill(m.children("cloister-rng")[0], signal.SIGKILL)
        tap.eq(m.wait("vmmd", "MON_DEVICE_GONE").fields["final"], "0")
        tap.eq(m.wait("vmmd", "MON_DEVICE_UP").fields["generation"], str(generation + 1))
    os.kill(m.children("cloister-rng")[0], signal.SIGKILL)
    gone = m.wait("vmmd", "MON_DEVICE_GONE")
    tap.eq((gone.fields["final"], gone.fields["generation"]), ("1", "4"))
    tap.contains(gone.fields["reason"], "was killed by signal 9")
    tap.eq(m.children("cloister-rng"), [], "helpers")


@tap.test
def vmmd_can_have_a_helper_killed_but_not_its_successor():
    m = monitor()
    m.do("MON_OPEN_RNG")
    m.hand_over()
    os.kill(m.children("cloister-rng")[0], signal.SIGSTOP)
    m.say("vmmd", "VMM_DEVICE_KILL", kind="rng", index=0, generation=7)
    m.say("vmmd", "VMM_DEVICE_KILL", kind="disk", index=3, generation=0)
    m.say("vmmd", "VMM_DEVICE_KILL", kind="rng", index=0, generation=0)
    m.wait("vmmd", "MON_DEVICE_GONE")
    m.wait("vmmd", "MON_DEVICE_UP", generation=1)
    pid = m.children("cloister-rng")[0]
    m.say("vmmd", "VMM_DEVICE_KILL", kind="rng", index=0, generation=0)
    m.do("MON_CLOSE_CONSOLE", which="serial")  # it has been read by now
    tap.eq(m.children("cloister-rng"), [pid], "helpers")


@tap.test
def the_next_boot_waits_until_locks_are_free():
    m = monitor()
    a = m.image("a")
    for _ in range(10):
        m.do("MON_OPEN_DISK", **m.disk(a))
        m.hand_over()
        m.do("MON_RELEASE")
        m.prepare()
    m.do("MON_OPEN_DISK", **m.disk(a))
    m.hand_over()


@tap.test
def a_process_that_is_just_starting_holds_up_no_lock():
    """Until its exec it has copies of all that the monitor has open."""
    m = monitor(fake=tuple(n for n in mondrive.HELPERS if n != "cloister-console"))
    for i in range(12):  # a hundred requests a second are answered
        m.do("MON_OPEN_DISK", **m.disk(m.image("a")))
        m.hand_over()
        m.say("vmmd", "VMM_STOPPED")
        m.do("MON_OPEN_CONSOLE", which="serial", mode="File", path=m.path("out%d" % i))  # a process starts
        m.prepare()


@tap.test
def a_dead_apid_leaves_no_half_made_boot():
    m = monitor()
    m.do("MON_OPEN_DISK", **m.disk(m.image("a")))
    tap.poll(lambda: m.children("cloister-blk"), 5, "the helper")
    stand_in = [p for p in system.children(m.monitor()) if system.read("/proc/%d/comm" % p).strip() == "mondrive"]
    os.kill(stand_in[0], signal.SIGKILL)
    tap.poll(lambda: not m.children("cloister-blk"), 5, "its end")
    tap.poll(lambda: lock_is_free(m.path("a")), 5, "the lock is free")


# --- taps ---------------------------------------------------------------------------------------------------------------------

WITHOUT_TAP = tuple(n for n in mondrive.HELPERS if n != "cloister-tap")


def new_tap():
    """A name that no interface has."""
    if not os.path.exists("/dev/net/tun"):
        tap.skip("no /dev/net/tun")
    return next(n for n in ("cl%dt%d" % (os.getpid(), i) for i in range(100)) if n not in interfaces())


def net(index=0, **fields):
    fields = {"config__" + k: v for k, v in fields.items()}
    fields.setdefault("config__mac", "2e:00:00:00:00:01")
    return dict(index=index, config__id="_net%d" % index, **fields)


def interfaces():
    return set(os.listdir("/sys/class/net"))


def open_tap(name, flags=0x5002):  # IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), flags))  # TUNSETIFF
    return fd


@tap.test
def a_tap_is_made_and_goes_with_the_device():
    name = new_tap()
    m = monitor(fake=WITHOUT_TAP)
    m.do("MON_OPEN_NET", **net(tap=name, ip="192.168.249.1", mask="255.255.255.0", mtu=1400))
    m.hand_over()
    dev = m.wait("vmmd", "MON_DEVICE")
    tap.eq((dev.fields["kind"], dev.fields["n_queues"], dev.fields["n_events"]), ("2", "3", "6"))
    tap.ok(name in interfaces(), "the tap is there")
    tap.eq(system.read("/sys/class/net/%s/mtu" % name).strip(), "1400")
    tap.eq(m.children("cloister-tap"), [], "cloister-tap is gone")
    m.say("vmmd", "VMM_STOPPED")
    tap.poll(lambda: name not in interfaces(), 5, "the tap goes")


@tap.test
def the_tap_stays_while_helpers_come_and_go():
    name = new_tap()
    m = monitor(fake=WITHOUT_TAP)
    m.do("MON_OPEN_NET", **net(tap=name, num_queues=4))
    m.hand_over()
    os.kill(m.children("cloister-net")[0], signal.SIGKILL)
    m.wait("vmmd", "MON_DEVICE_GONE")
    tap.ok(name in interfaces(), "the tap is there")
    m.wait("vmmd", "MON_DEVICE_UP")


@tap.test
def taps_that_cannot_be_had_are_told_at_the_hand_over():
    name = new_tap()
    m = monitor(fake=WITHOUT_TAP)
    busy = open_tap(name)
    m.do("MON_OPEN_NET", **net(tap=name))
    r = m.ask("MON_HANDOVER", vcpus=1)
    tap.eq(r.name, "RESULT")
    tap.eq(r.chain()[:2], ['net "_net0"', 'tap "%s"' % name], "chain")
    m.do("MON_RELEASE")
    m.prepare()
    m.do("MON_OPEN_NET", **net(tap="lo"))
    r = m.ask("MON_HANDOVER", vcpus=1)
    tap.eq(r.chain()[:2], ['net "_net0"', 'tap "lo"'], "chain")
    os.close(busy)


@tap.test
def taps_of_the_command_line_are_taken_by_number():
    name = new_tap()
    fd = open_tap(name)
    m = monitor(fake=WITHOUT_TAP, pass_fds=(fd,))
    os.close(fd)
    for _ in range(2):
        m.do("MON_OPEN_NET", **net(fds=fd))
        m.hand_over()
        m.say("vmmd", "VMM_STOPPED")
        tap.poll(lambda: not m.children("cloister-net"), 5, "the helper's end")
        tap.ok(name in interfaces(), "it is still held for the next boot")
        m.prepare()
    own = os.listdir("/proc/%d/fd" % m.monitor())
    for n in own:
        if int(n) != fd and int(n) > 2:
            m.refused("MON_OPEN_NET", 'net "_net0"', "descriptor %s was not given" % n, **net(fds=n))
    m.refused("MON_OPEN_NET", 'net "_net0"', "descriptor 0 was not given", **net(fds=0))
    m.refused("MON_OPEN_NET", 'net "_net0"', "descriptor 9999 was not given", **net(fds=9999))
    m.refused("MON_OPEN_NET", 'net "_net0"', "2 descriptors for 1 pairs", **net(fds="%d,%d" % (fd, fd)))


@tap.test
def impossible_queues_are_refused():
    m = monitor()
    for queues in (0, 1, 3, 256):
        m.refused("MON_OPEN_NET", 'net "_net0"', "%d queues" % queues, **net(num_queues=queues))
    m.refused("MON_OPEN_DISK", 'disk "_disk0"', "257 queues", **m.disk(m.image("a"), num_queues=257))
    m.refused("MON_OPEN_DISK", 'disk "_disk0"', "queues of 0 descriptors", **m.disk(m.image("a"), queue_size=0))


@tap.test
def a_message_with_text_of_the_wrong_form_is_no_message():
    """The decoder refuses it, and whoever sent it is not one of ours any more."""
    m = monitor()
    m.say("apid", "MON_OPEN_NET", **net(mac="2e:00:00:00:00:0"))
    tap.poll(lambda: m.read(0.1) or "mondrive" not in [system.read("/proc/%d/comm" % p).strip() for p in
                                                      system.children(m.monitor())], 5, "apid is killed")
    tap.eq(m.children("cloister-tap"), [], "nothing was asked")


@tap.test
def cloister_tap_that_dies_is_an_error_of_the_device():
    name = new_tap()
    m = monitor()  # the stand-in does not know what a tap is
    m.do("MON_OPEN_NET", **net(tap=name))
    pid = tap.poll(lambda: m.children("cloister-tap"), 5, "cloister-tap")[0]
    status = system.status(pid)
    tap.eq([int(status["Cap" + k], 16) for k in ("Prm", "Eff", "Bnd", "Amb", "Inh")], [1 << 12] * 5, "CAP_NET_ADMIN alone")
    mine, its = system.namespaces(os.getpid()), system.namespaces(pid)
    tap.eq({n for n in mine if mine[n] == its[n]} - {"user", "time"}, {"net"}, "namespaces that it shares with the host")
    tap.eq(os.listdir("/proc/%d/root/" % pid), [], "its root")
    os.kill(pid, signal.SIGKILL)
    m.refused("MON_HANDOVER", 'net "_net0"', "cloister-tap was killed by signal 9", vcpus=1)


@tap.test
def a_release_ends_cloister_tap():
    name = new_tap()
    m = monitor()
    m.do("MON_OPEN_NET", **net(tap=name))
    tap.poll(lambda: m.children("cloister-tap"), 5, "cloister-tap")
    m.do("MON_RELEASE")
    tap.poll(lambda: not m.children("cloister-tap"), 5, "its end")


# --- somebody else's back ends ------------------------------------------------------------------------------------------------


@tap.test
def a_foreign_back_end_is_connected_to_when_it_is_there():
    m = monitor()
    path = m.path("backend")
    m.do("MON_OPEN_DISK", index=0, config__vhost_user="on", config__vhost_socket=path, config__id="d")
    ident = m.say("apid", "MON_HANDOVER", vcpus=1)
    m.do("MON_CLOSE_CONSOLE", which="serial")  # the monitor does not wait for it
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
        s.listen()
        conn, _ = s.accept()
        m.wait("apid", "MON_HANDOVER_RESULT")
        dev = m.wait("vmmd", "MON_DEVICE")
        tap.eq((dev.fields["ours"], len(dev.fds)), ("0", 2 + 2), "ours, descriptors")
        conn.sendall(b"x")
        m.say("vmmd", "VMM_DEVICE_KILL", kind="disk", index=0, generation=0)
        m.wait("vmmd", "MON_DEVICE_GONE", final=0)
        again, _ = s.accept()
        up = m.wait("vmmd", "MON_DEVICE_UP", generation=1)
        tap.eq(len(up.fds), 1)
        again.close()
        conn.close()
    tap.ok(ident > 0, "asked")


@tap.test
def a_foreign_net_back_end_may_connect_to_us():
    m = monitor()
    path = m.path("net")
    m.do("MON_OPEN_NET", index=0, config__vhost_user="on", config__vhost_socket=path, config__vhost_mode="Server",
         config__id="n")
    m.say("apid", "MON_HANDOVER", vcpus=1)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        m.wait("apid", "MON_HANDOVER_RESULT")
        tap.eq(m.wait("vmmd", "MON_DEVICE", kind=2).fields["ours"], "0")
    m.say("vmmd", "VMM_STOPPED")
    tap.poll(lambda: not os.path.exists(path), 5, "the socket is removed")
    m.prepare()
    m.image("net")
    m.refused("MON_OPEN_NET", 'net "n"', "exists", index=0, config__vhost_user="on", config__vhost_socket=path,
              config__vhost_mode="Server", config__id="n")
    tap.poll(lambda: m.children("cloister-net") == [], 5, "the control queue's helpers end")


@tap.test
def a_foreign_net_back_end_has_a_helper_for_its_control_queue():
    m = monitor(fake=())
    path = m.path("net")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
        s.listen()
        m.do("MON_OPEN_NET", index=3, config__vhost_user="on", config__vhost_socket=path, config__id="n",
             config__num_queues=8, config__queue_size=64)
        m.hand_over()
        conn, _ = s.accept()
        data = m.wait("vmmd", "MON_DEVICE", kind=2)
        tap.eq((data.fields["ours"], data.fields["n_queues"], len(data.fds)), ("0", "8", 2 + 16), "of the other")
        ctl = m.wait("vmmd", "MON_DEVICE", kind=4)
        tap.eq(ctl.fields, {"kind": "4", "index": "3", "generation": "0", "ours": "1", "n_queues": "1",
                            "queue_size": "64", "n_events": "2"})
        tap.eq(len(ctl.fds), 4 + 2, "descriptors")
        pid, = m.children("cloister-net")
        tap.eq(int(system.status(pid)["Uid"].split()[0]) - mondrive.UIDS, 64 + 3, "offset in the block")
        tap.eq(max(int(n) for n in os.listdir("/proc/%d/fd" % pid)), 9, "its last descriptor")
        os.kill(pid, signal.SIGKILL)
        m.wait("vmmd", "MON_DEVICE_GONE", kind=4, index=3, generation=0, final=0)
        tap.eq(len(m.wait("vmmd", "MON_DEVICE_UP", kind=4, index=3, generation=1).fds), 2, "sockets")
        m.say("vmmd", "VMM_DEVICE_KILL", kind="net-control", index=3, generation=1)
        m.wait("vmmd", "MON_DEVICE_GONE", kind=4, index=3, generation=1)
        m.wait("vmmd", "MON_DEVICE_UP", kind=4, index=3, generation=2)
        tap.eq([x for x in m.inbox if x.fields.get("kind") == "2"], [], "said of the other")
        conn.close()
    m.say("vmmd", "VMM_STOPPED")
    tap.poll(lambda: not m.children("cloister-net"), 5, "its end")


tap.main()
