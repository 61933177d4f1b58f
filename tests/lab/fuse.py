# SPDX-License-Identifier: ISC
"""A file system with one file, "img", whose operations fail, or hang, when told: linux/fuse.h, version 7.31, over /dev/fuse.

A thread serves it. Whoever uses the file must be another process: this one would wait for itself.
"""

import ctypes
import errno
import os
import stat
import struct
import subprocess
import tempfile
import threading

import small
import vm

ROOT, FILE = 1, 2
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT, OPENDIR, RELEASEDIR = (
    1, 2, 3, 4, 14, 15, 16, 17, 18, 20, 25, 26, 27, 29)
ACCESS, INTERRUPT, BATCH_FORGET, FALLOCATE = 34, 36, 42, 43
NAMES = {"read": READ, "write": WRITE, "fsync": FSYNC}
MAX_WRITE = 128 * 1024
FOPEN_DIRECT_IO, FATTR_SIZE, FUSE_BIG_WRITES = 1, 8, 32
MNT_DETACH = 2


class FaultyFile:
    """@path is the file. fail("write", errno.EIO, times=1) and the like say what is to go wrong."""

    def __init__(self, size):
        if not os.path.isdir("/sys/module/fuse"):
            subprocess.run(["modprobe", "fuse"], stdin=subprocess.DEVNULL, check=True)
        self.size, self.data = size, bytearray(size)
        self.faults, self.hits, self.gate = {}, 0, threading.Event()
        self.gate.set()
        self.dev = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self.folder = tempfile.mkdtemp(prefix="fuse.", dir=vm.work_dir())
        self.path = os.path.join(self.folder, "img")
        small.mount("faulty", self.folder, "fuse.faulty", "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % self.dev)
        threading.Thread(target=self.serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.gate.set()
        ctypes.CDLL(None).umount2(self.folder.encode(), MNT_DETACH)
        os.rmdir(self.folder)

    def fail(self, what, number, times=-1):
        """The next @times operations of that kind; -1: from now on. None of @number: they work again."""
        if number is None:
            self.faults.pop(NAMES[what], None)
        else:
            self.faults[NAMES[what]] = [number, times]

    def hang(self):
        self.gate.clear()

    def go_on(self):
        self.gate.set()

    def fault(self, opcode):
        self.gate.wait()
        f = self.faults.get(opcode)
        if f is None or f[1] == 0:
            return 0
        f[1] -= 1 if f[1] > 0 else 0
        self.hits += 1
        return f[0]

    # --- the protocol ---------------------------------------------------------------------------------------------------

    def serve(self):
        while True:
            try:
                request = os.read(self.dev, MAX_WRITE + 4096)
            except OSError as e:
                if e.errno in (errno.EINTR, errno.ENOENT):
                    continue
                break                                    # ENODEV: unmounted
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
                continue                                 # no answer is wanted
            error, body = self.answer(opcode, node, request[40:])
            try:
                os.write(self.dev, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)
            except OSError:
                pass                                     # whoever asked is gone
        os.close(self.dev)

    def attributes(self, node):
        size, mode = (0, stat.S_IFDIR | 0o755) if node == ROOT else (self.size, stat.S_IFREG | 0o666)
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def answer(self, opcode, node, body):
        if opcode == INIT:
            readahead = struct.unpack_from("<III", body)[2]
            return 0, struct.pack("<IIIIHHIIHH32x", 7, 31, readahead, FUSE_BIG_WRITES, 16, 12, MAX_WRITE, 1, 0, 0)
        if opcode == LOOKUP:
            if body != b"img\0":
                return errno.ENOENT, b""
            return 0, struct.pack("<QQQQII", FILE, 1, 1000, 0, 0, 0) + self.attributes(FILE)
        if opcode in (GETATTR, SETATTR):
            if opcode == SETATTR and struct.unpack_from("<I", body)[0] & FATTR_SIZE:
                return errno.EPERM, b""
            return 0, struct.pack("<QII", 0, 0, 0) + self.attributes(node)
        if opcode in (OPEN, OPENDIR):
            return 0, struct.pack("<QII", 1, FOPEN_DIRECT_IO if opcode == OPEN else 0, 0)
        if opcode in (READ, WRITE, FSYNC):
            return self.transfer(opcode, body)
        if opcode == STATFS:
            return 0, struct.pack("<QQQQQIIII24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)
        return (0 if opcode in (RELEASE, RELEASEDIR, FLUSH, ACCESS) else errno.ENOSYS), b""

    def transfer(self, opcode, body):
        error = self.fault(opcode)
        if error or opcode == FSYNC:
            return error, b""
        _, offset, size = struct.unpack_from("<QQI", body)
        if opcode == READ:
            return 0, bytes(self.data[offset:min(offset + size, self.size)])
        self.data[offset:offset + size] = body[40:40 + size]
        return 0, struct.pack("<II", size, 0)
