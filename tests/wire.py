# SPDX-License-Identifier: ISC
"""proto/chan.h and proto/helper.def spoken by tests, independent of the C that they test."""
import array
import socket
import struct

MAGIC = 0x434C5301
HEADER = struct.Struct("<IHHIIII")

HLP_HELLO, CON_CONFIG, HLP_LOCKDOWN, HLP_READY = 0x0501, 0x0502, 0x0503, 0x0504
HLP_STATS, HLP_STATS_RESULT, HLP_DRAIN, HLP_DRAINED = 0x0505, 0x0506, 0x0507, 0x0508
TARGET_NULL, TARGET_FILE, TARGET_STREAM, TARGET_PTY, TARGET_LISTEN = range(5)


def obj(fields, version=1):
    return struct.pack("<HI", version, len(fields)) + fields


def frame(kind, body=b"", ident=0, magic=MAGIC, flags=0, total=None, offset=0, chunk=None):
    total = len(body) if total is None else total
    chunk = len(body) if chunk is None else chunk
    return HEADER.pack(magic, kind, flags, ident, total, offset, chunk) + body


def send(sock, data, fds=()):
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([data], ancillary)


def recv(sock):
    """(type, id, body) of a message that fits one record; None at the end of the channel."""
    try:
        data = sock.recv(65536)
    except ConnectionResetError:  # it ended with messages unread
        return None
    if not data:
        return None
    magic, kind, flags, ident, total, offset, chunk = HEADER.unpack_from(data)
    assert magic == MAGIC and flags == 0 and offset == 0 and chunk == total == len(data) - HEADER.size, data
    return kind, ident, data[HEADER.size:]


def body_of(message, layout):
    """The fields of a message without lists and strings, by a struct layout without the byte order."""
    version, length = struct.unpack_from("<HI", message[2])
    assert version == 1 and length == len(message[2]) - 6, message
    return struct.unpack_from("<" + layout, message[2], 6)


def con_config(target, has_input=False, termios=b""):
    return obj(struct.pack("<I??I", target, has_input, bool(termios), len(termios)) + termios)


def drain(timeout_ms):
    return obj(struct.pack("<I", timeout_ms))
