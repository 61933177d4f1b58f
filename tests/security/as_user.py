#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""as_user.py [--no-userns] PROGRAM ARGS...: run it as nobody, in the working directory, which becomes his. With --no-userns
in a user namespace that allows no further one. Started as root."""
import ctypes
import os
import sys

NOBODY = 65534
CLONE_NEWUSER = 0x10000000


def forbid_user_namespaces():
    """Enter a namespace in which nobody is nobody, then set its own limit to 0."""
    ready_r, ready_w = os.pipe()
    mapped_r, mapped_w = os.pipe()
    parent = os.getpid()
    if os.fork() == 0:
        os.read(ready_r, 1)
        for name in ("uid_map", "gid_map"):
            with open("/proc/%d/%s" % (parent, name), "w") as f:
                f.write("0 0 1\n%d %d 1\n" % (NOBODY, NOBODY))
        os.write(mapped_w, b"x")
        os._exit(0)
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) != 0:
        sys.exit("unshare: " + os.strerror(ctypes.get_errno()))
    os.write(ready_w, b"x")
    os.read(mapped_r, 1)
    os.wait()
    for fd in (ready_r, ready_w, mapped_r, mapped_w):
        os.close(fd)
    with open("/proc/sys/user/max_user_namespaces", "w") as f:
        f.write("0")


def main():
    args = sys.argv[1:]
    os.chown(".", NOBODY, NOBODY)
    if args[0] == "--no-userns":
        args = args[1:]
        forbid_user_namespaces()
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    os.execve(args[0], args, {"PATH": "/usr/bin:/bin"})


main()
