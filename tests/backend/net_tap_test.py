#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""cloister-tap as a child of the test, which plays its monitor, in a network namespace of its own."""
import array
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
import wire  # noqa: E402

PROGRAM = tap.program("libexec/cloister/cloister-tap")
SAN = bool(os.environ.get("SAN"))
CLONE_NEWNET = 0x40000000
RESULT, TAP_CONFIG, TAP_RESULT = 0x0001, 0x0520, 0x0521
TUNSETIFF, TUNGETIFF, TUNGETFEATURES = 0x400454CA, 0x800454D2, 0x800454CF
TUNGETVNETHDRSZ, TUNGETVNETLE = 0x800454D7, 0x800454DD
IFF_TUN, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE, IFF_PERSIST = 1, 2, 0x1000, 0x4000, 0x0100, 0x0800
LIBC = ctypes.CDLL(None, use_errno=True)


def unshare_network():
    if LIBC.unshare(CLONE_NEWNET) < 0:
        tap.skip_all("needs root: a network namespace of its own (%s)" % os.strerror(ctypes.get_errno()))


# --- the helper's life ------------------------------------------------------------------------------------------------------


def optional(text):
    if text is None:
        return b"\0"
    return b"\1" + struct.pack("<I", len(text)) + text.encode()


def config(name=None, ip=None, mask=None, host_mac=None, mtu=0, pairs=1, n_fds=0):
    return wire.obj(optional(name) + optional(ip) + optional(mask) + optional(host_mac) +
                    struct.pack("<HII", mtu, pairs, n_fds))


class Taker:
    """Bytes of a message, one field after the other."""

    def __init__(self, body):
        self.body, self.at = body, 0

    def take(self, layout):
        values = struct.unpack_from("<" + layout, self.body, self.at)
        self.at += struct.calcsize("<" + layout)
        return values[0]

    def text(self):
        n = self.take("I")
        self.at += n
        return self.body[self.at - n:self.at].decode()


def receive(sock):
    """(type, id, body, descriptors)"""
    room = socket.CMSG_SPACE(4 * 253)
    data, ancillary, flags, _ = sock.recvmsg(65536, room, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for _, _, part in ancillary:
        fds.frombytes(part)
    tap.eq(flags & socket.MSG_CTRUNC, 0, "lost descriptors")
    if not data:
        return None
    magic, kind, _, ident, total, offset, chunk = wire.HEADER.unpack_from(data)
    tap.eq((magic, offset, chunk), (wire.MAGIC, 0, total), "header")
    return kind, ident, data[wire.HEADER.size:], list(fds)


class Refused(Exception):
    """RESULT instead of a tap: its chain, outermost first."""

    def __init__(self, code, links):
        super().__init__(": ".join(links))
        self.code, self.links = code, links


class Answer:
    def __init__(self, name, mtu, made, fds, log):
        self.name, self.mtu, self.made, self.fds, self.log = name, mtu, made, fds, log

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []


def spawn(uid=None):
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log, their_log = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.settimeout(20)
    pid = os.fork()
    if pid == 0:
        try:
            high = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 100) for s in (theirs, their_log)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)
            program = os.open(PROGRAM, os.O_RDONLY | os.O_CLOEXEC)  # the uid may have no way there
            os.closerange(program + 1, 200)
            if uid is not None:
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            env = {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}
            if SAN:
                env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
            os.execve(program, ["cloister-tap"], env)
        finally:
            os._exit(127)
    theirs.close()
    their_log.close()
    return pid, control, log


def log_text(sock):
    text = b""
    while True:
        record = sock.recv(65536)
        if not record:
            return text.decode("latin-1")
        text += record + b"\n"


def ask(*args, fds=(), uid=None, **kwargs):
    """One whole life: what came back, or Refused. Its exit status is 0 either way."""
    pid, control, log = spawn(uid)
    with control, log:
        tap.eq(receive(control)[0], wire.HLP_HELLO, "first message")
        wire.send(control, wire.frame(TAP_CONFIG, config(*args, **kwargs), 7), list(fds))
        kind, ident, body, got = receive(control)
        tap.eq(ident, 7, "id")
        text = log_text(log)
        tap.eq(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, "exit status")
    t = Taker(body[6:])
    if kind == RESULT:
        tap.eq(got, [], "descriptors of a refusal")
        code = t.take("i")
        links = []
        for _ in range(t.take("I")):
            t.take("HI")  # the link is an object
            t.take("i")
            links.append(t.text())
        raise Refused(code, links[::-1])
    tap.eq(kind, TAP_RESULT, "answer")
    return Answer(t.text(), t.take("H"), t.take("?"), got, text)


def refusal(*args, **kwargs):
    try:
        answer = ask(*args, **kwargs)
    except Refused as refused:
        return str(refused)
    answer.close()
    raise AssertionError("not refused")


# --- the host's side --------------------------------------------------------------------------------------------------------


def ip(*args):
    return subprocess.run(["ip", *args], check=True, stdout=subprocess.PIPE, text=True).stdout


def exists(name):
    return os.path.exists("/proc/sys/net/ipv4/conf/" + name)


def gone(name):
    tap.poll(lambda: not exists(name), 10, "%s is gone" % name)


class Interface:
    """An interface that is there before: deleted at the end."""

    def __init__(self, name, *how):
        self.name = name
        ip(*how)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        ip("link", "delete", self.name)


def tap_there(name, *more):
    return Interface(name, "tuntap", "add", "dev", name, "mode", "tap", *more)


def open_tap(name, flags):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    return fd


def mode_of(fd):
    name, flags = struct.unpack_from("16sH", fcntl.ioctl(fd, TUNGETIFF, bytes(40)))
    header, = struct.unpack("i", fcntl.ioctl(fd, TUNGETVNETHDRSZ, bytes(4)))
    little, = struct.unpack("i", fcntl.ioctl(fd, TUNGETVNETLE, bytes(4)))
    blocking = os.get_blocking(fd)
    return name.rstrip(b"\0").decode(), flags & ~IFF_PERSIST, header, little, blocking


def is_ready(fd, name, flags):
    tap.eq(mode_of(fd), (name, flags, 12, 1, False), "name, mode, header, little endian, blocking")


SINGLE = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
MULTI = SINGLE | IFF_MULTI_QUEUE


# --- making -------------------------------------------------------------------------------------------------------------------


@tap.test
def makes_a_tap_that_goes_with_its_descriptor():
    with ask("new0") as a:
        tap.eq((a.name, a.made, a.mtu, len(a.fds)), ("new0", True, 1500, 1), "answer")
        is_ready(a.fds[0], "new0", SINGLE)
        tap.ok("UP" in ip("link", "show", "new0"), "up")
        tap.ok("persist off" in ip("-d", "link", "show", "new0"), "not persistent")
    gone("new0")


@tap.test
def without_a_name_the_kernel_counts():
    with ask() as a, ask() as b:
        tap.eq((a.name, b.name), ("vmtap0", "vmtap1"), "names")
        tap.ok(a.made and b.made, "made")
        is_ready(a.fds[0], "vmtap0", SINGLE)


@tap.test
def makes_one_queue_for_each_pair():
    with ask("multi0", pairs=4) as a:
        tap.eq(len(a.fds), 4, "descriptors")
        for fd in a.fds:
            is_ready(fd, "multi0", MULTI)
        tap.ok("numtxqueues 256" in ip("-d", "link", "show", "multi0"), "queues")
    with ask(pairs=127) as a:
        tap.eq((len(a.fds), a.name), (127, "vmtap0"), "as many as there can be")


@tap.test
def address_mac_and_mtu_read_back():
    with ask("new0", "192.168.249.1", "255.255.255.0", "02:aa:bb:cc:dd:ee", 9000) as a:
        text = ip("addr", "show", "new0")
        tap.ok("inet 192.168.249.1/24 brd 192.168.249.255 scope global new0" in text, text)
        tap.ok("link/ether 02:aa:bb:cc:dd:ee" in text, text)
        tap.ok("mtu 9000" in text and a.mtu == 9000, text)
        tap.ok("192.168.249.0/24 dev new0" in ip("route"), ip("route"))
    with ask("new1", "fd00:1::1", "ffff:ffff:ffff::", mtu=1280) as a:
        text = ip("addr", "show", "new1")
        tap.ok("inet6 fd00:1::1/48 scope global" in text, text)
        tap.ok("tentative" not in text.split("fd00:1::1")[1].split("\n")[0], text)
        tap.eq(a.mtu, 1280, "MTU")
    for mask, prefix in (("0.0.0.0", 0), ("255.255.255.255", 32), ("255.255.255.254", 31), ("255.240.0.0", 12)):
        with ask("new2", "10.1.2.3", mask):
            text = ip("addr", "show", "new2")
            tap.ok("inet 10.1.2.3%s " % ("" if prefix == 32 else "/%d" % prefix) in text.replace("/32 ", " "), text)


@tap.test
def the_control_device_may_be_opened_by_the_monitor():
    fds = [os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK) for _ in range(2)]
    with ask("new0", pairs=2, fds=fds) as a:
        tap.eq((a.made, len(a.fds)), (True, 2), "answer")
        for fd in fds:
            os.close(fd)
        is_ready(a.fds[1], "new0", MULTI)


@tap.test
def names_that_no_interface_can_have_are_refused():
    for name in ("a b", "a/b", "a:b", "..", ".", "tab\t", "per%d", "\x7f"):
        tap.ok('tap "%s": ' % name in refusal(name) and "name" in refusal(name), refusal(name))
    tap.ok(not any(n.startswith("per") for n in os.listdir("/sys/class/net")), "nothing was made")


@tap.test
def addresses_that_are_none_are_refused():
    cases = (
        (("10.0.0.256", "255.255.255.0"), '"10.0.0.256" is no address'),
        (("10.0.0", "255.255.255.0"), '"10.0.0" is no address'),
        (("10.0.0.1/24", "255.255.255.0"), "is no address"),
        (("10.0.0.1", "255.0.255.0"), 'network mask "255.0.255.0" has holes'),
        (("10.0.0.1", "24"), '"24" is no network mask'),
        (("10.0.0.1", "ffff::"), "different families"),
        (("fe80::zz", "ffff::"), '"fe80::zz" is no address'),
        (("10.0.0.1", None), "address and mask go together"),
        ((None, "255.0.0.0"), "address and mask go together"),
        ((None, None, "01:00:00:00:00:00"), "can't be an interface's own address"),
        ((None, None, "00:00:00:00:00:00"), "can't be an interface's own address"),
        ((None, None, "02:00:00:00:00:0g"), "is no MAC address"),
        ((None, None, "02-00-00-00-00-00"), "is no MAC address"),
    )
    for args, text in cases:
        got = refusal("new0", *args)
        tap.ok(got.startswith('tap "new0": ') and text in got, got)
        gone("new0")


@tap.test
def an_mtu_that_the_kernel_refuses_is_named():
    got = refusal("new0", mtu=67)
    tap.ok('tap "new0": MTU 67 is out of range' in got, got)
    gone("new0")


# --- taps that are there --------------------------------------------------------------------------------------------------------


@tap.test
def an_existing_tap_is_used_as_it_is():
    with tap_there("there0"):
        ip("link", "set", "there0", "mtu", "1400", "address", "02:11:11:11:11:11")
        with ask("there0", "10.0.0.1", "255.0.0.0", "02:22:22:22:22:22", 9000) as a:
            tap.eq((a.name, a.made, a.mtu), ("there0", False, 1400), "answer")
            is_ready(a.fds[0], "there0", SINGLE)
            text = ip("addr", "show", "there0")
            tap.ok("10.0.0.1" not in text and "02:11:11:11:11:11" in text and "mtu 1400" in text, text)
            tap.ok('tap "there0" exists already: its addresses stay' in a.log, a.log)
            tap.ok("its MTU stays 1400" in a.log, a.log)
            tap.ok("UP" in text, "brought up")
        with ask("there0") as a:  # nothing asked, nothing said
            tap.eq(a.log, "", "log")
        tap.ok(exists("there0"), "it stays")


@tap.test
def multi_queue_and_pairs_must_agree():
    with tap_there("there0"):
        got = refusal("there0", pairs=2)
        tap.ok('tap "there0": it exists without multi-queue, which 2 queue pairs need' in got, got)
    with tap_there("there1", "multi_queue"):
        got = refusal("there1")
        tap.ok('tap "there1": it exists with multi-queue: one queue pair needs a tap without' in got, got)
        with ask("there1", pairs=2) as a:
            tap.eq((a.made, len(a.fds)), (False, 2), "answer")
            is_ready(a.fds[1], "there1", MULTI)


@tap.test
def interfaces_of_other_kinds_are_named():
    cases = (
        (("link", "add", "other0", "type", "bridge"), "it exists and is no tap but a bridge interface"),
        (("link", "add", "other0", "type", "veth", "peer", "name", "other1"), "no tap but a veth interface"),
        (("link", "add", "other0", "type", "dummy"), "no tap but a dummy interface"),
        (("tuntap", "add", "dev", "other0", "mode", "tun"), "it exists and is a tun interface: a tap is needed"),
    )
    seen = 0
    for how, text in cases:
        try:
            interface = Interface("other0", *how)
        except subprocess.CalledProcessError:
            tap.diag("this kernel has no %s" % " ".join(how))
            continue
        seen += 1
        with interface:
            got = refusal("other0")
            tap.ok('tap "other0": ' in got and text in got, got)
    tap.ok(seen >= 2, "kinds that could be tried: %d" % seen)
    got = refusal("lo")
    tap.ok('tap "lo": it exists and is no tap' in got, got)


@tap.test
def a_tap_in_use_is_busy():
    with ask("new0") as a:
        tap.eq(len(a.fds), 1, "held")
        got = refusal("new0")
        tap.ok(got == 'tap "new0": it is in use by another process', got)


@tap.test
def no_more_queues_than_the_kernel_has():
    with tap_there("there0", "multi_queue"):
        with ask("there0", pairs=127), ask("there0", pairs=127):
            got = refusal("there0", pairs=3)
            tap.ok('tap "there0": it has no more free queues' in got, got)
            with ask("there0", pairs=2) as a:
                tap.eq(len(a.fds), 2, "the last two")


@tap.test
def without_rights_it_says_so():
    fds = [os.open("/dev/net/tun", os.O_RDWR)]
    try:
        got = refusal("new0", fds=fds, uid=65534)
        tap.ok(got == 'tap "new0": no permission to make it (CAP_NET_ADMIN)', got)
        with tap_there("there0", "user", "1"):
            got = refusal("there0", fds=[os.open("/dev/net/tun", os.O_RDWR)], uid=65534)
            tap.ok(got == 'tap "there0": no permission to use it: it has another owner', got)
        with tap_there("there0", "user", "65534"), \
                ask("there0", fds=[os.open("/dev/net/tun", os.O_RDWR)], uid=65534) as a:
            tap.eq((a.made, len(a.fds)), (False, 1), "its owner needs no rights")
            tap.ok("is down: " in a.log, a.log)
    finally:
        os.close(fds[0])


# --- taps that were given -----------------------------------------------------------------------------------------------------


@tap.test
def given_taps_are_made_ready():
    fd = open_tap("given0", SINGLE)
    ip("link", "set", "given0", "mtu", "1300")
    with ask(n_fds=1, fds=[fd]) as a:
        tap.eq((a.name, a.made, a.mtu), ("given0", False, 1300), "answer")
        is_ready(a.fds[0], "given0", SINGLE)
    os.close(fd)
    fds = [open_tap("given1", MULTI) for _ in range(3)]
    with ask(pairs=3, n_fds=3, fds=fds) as a:
        tap.eq((a.name, len(a.fds)), ("given1", 3), "answer")
        for mine in a.fds:
            is_ready(mine, "given1", MULTI)
    with ask(pairs=1, n_fds=1, fds=fds[:1]) as a:  # some clients open all taps with multi-queue
        is_ready(a.fds[0], "given1", MULTI)
    for fd in fds:
        os.close(fd)


@tap.test
def given_descriptors_that_are_no_such_taps_are_refused_by_name():
    def one(fd, pairs=1, fds=None):
        fds = fds or [fd] * pairs
        got = refusal(pairs=pairs, n_fds=pairs, fds=fds)
        for each in set(fds):
            os.close(each)
        return got

    first = "descriptor 1 of the 1 that were given: "
    tap.eq(one(os.open("/dev/null", os.O_RDWR)), first + "it is no tap")
    tap.eq(one(os.memfd_create("x")), first + "it is no tap")
    tap.eq(one(os.pipe()[0]), first + "it is no tap")
    tap.eq(one(os.open("/dev/net/tun", os.O_RDWR)), first + "it is not attached to an interface")
    tap.ok('"bad0" is a tun interface' in one(open_tap("bad0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)), "tun")
    tap.ok('"bad1" has no virtio header' in one(open_tap("bad1", IFF_TAP | IFF_NO_PI)), "vnet header")
    tap.ok('"bad2" puts packet information' in one(open_tap("bad2", IFF_TAP | IFF_VNET_HDR)), "packet information")
    got = one(open_tap("bad3", SINGLE), 2)
    tap.ok('descriptor 1 of the 2 that were given: tap "bad3" is not multi-queue' in got, got)
    got = one(0, 2, [open_tap("bad4", MULTI), open_tap("bad5", MULTI)])
    tap.ok('belong to different taps, "bad4" and "bad5"' in got, got)
    good = open_tap("good", MULTI)
    tap.ok("descriptor 2 of the 2" in one(0, 2, [good, os.open("/dev/null", os.O_RDWR)]), "the second")


@tap.test
def a_tap_of_another_namespace_has_an_unknown_mtu():
    fd = open_tap("far0", SINGLE)
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    tap.eq(LIBC.unshare(CLONE_NEWNET), 0, "unshare")
    try:
        with ask(n_fds=1, fds=[fd]) as a:
            tap.eq((a.name, a.mtu), ("far0", 0), "no interface of that name here")
        with tap_there("far0"), ask(n_fds=1, fds=[fd]) as a:
            tap.eq((a.name, a.mtu), ("far0", 0), "another one has its name")
    finally:
        tap.eq(LIBC.setns(here, CLONE_NEWNET), 0, "setns")
        os.close(here)
        os.close(fd)


# --- a monitor that does not play along -------------------------------------------------------------------------------------------


@tap.test
def ends_with_its_monitor():
    pid, control, log = spawn()
    with log:
        tap.eq(receive(control)[0], wire.HLP_HELLO, "first message")
        control.close()
        tap.eq(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, "exit status")


@tap.test
def odd_messages_are_refused():
    def odd(message, fds=()):
        pid, control, log = spawn()
        with control, log:
            receive(control)
            wire.send(control, message, list(fds))
            answer = receive(control)
            os.waitpid(pid, 0)
            return answer

    null = os.open("/dev/null", os.O_RDWR)
    for message, fds in (
            (wire.frame(wire.HLP_LOCKDOWN), ()),
            (wire.frame(TAP_CONFIG, b""), ()),
            (wire.frame(TAP_CONFIG, config("x" * 16)), ()),
            (wire.frame(TAP_CONFIG, config(pairs=0)), ()),
            (wire.frame(TAP_CONFIG, config(pairs=128)), ()),
            (wire.frame(TAP_CONFIG, config(n_fds=1)), ()),
            (wire.frame(TAP_CONFIG, config(n_fds=1)), (null, null)),
            (wire.frame(TAP_CONFIG, config(pairs=2, n_fds=1)), (null,)),
            (wire.frame(TAP_CONFIG, config(pairs=3)), (null,)),
    ):
        answer = odd(message, fds)
        tap.eq((answer[0], answer[3]), (RESULT, []), "answer to %r" % message)
    os.close(null)
    pid, control, log = spawn()
    with control, log:
        receive(control)
        control.send(b"no message")
        os.waitpid(pid, 0)


signal.signal(signal.SIGPIPE, signal.SIG_IGN)
unshare_network()
ip("link", "set", "lo", "up")
tap.main()
