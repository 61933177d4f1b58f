# SPDX-License-Identifier: ISC
"""What the process of each virtio device must look like from outside, by hand from the design as census_table.py. The VM has a
disk with one queue and plain system calls, one with four queues and rings, a network device, entropy, a virtio console.
"""
from security import census_table
from security.judge import From

BLK, URING, NET, RNG, VCON = "blk", "blk_uring", "net", "rng", "vconsole"
DEVICES = (BLK, URING, NET, RNG, VCON)
PROGRAM = {BLK: "cloister-blk", URING: "cloister-blk", NET: "cloister-net", RNG: "cloister-rng", VCON: "cloister-console"}
UID_OFFSET = {BLK: 32, URING: 33, NET: 64, RNG: 4, VCON: 3}
URING_QUEUES = 4
THREADS = {BLK: 1, URING: 1 + URING_QUEUES, NET: 1, RNG: 1, VCON: 1}
OWN_NAMESPACES = {"mnt", "ipc", "uts", "net", "cgroup", "pid"}

KIB, MIB = 1 << 10, 1 << 20
MEMORY, IMAGE = 64 * MIB, 1 * MIB
# The guest's memory and 64 MiB for all else, and the pages that a device shares with others.
ADDRESS_SPACE = (MEMORY + 64 * MIB, MEMORY + 80 * MIB)
COMMON_LIMITS = {"core file size": (0, 0), "msgqueue size": (0, 0), "nice priority": (0, 0), "realtime priority": (0, 0),
                 "stack size": (256 * KIB, 256 * KIB), "pending signals": (64, 64)}
LIMITS = {
    BLK: {"file size": (IMAGE, IMAGE), "open files": (11, 11), "processes": (0, 0)},
    # Two workers of the kernel's for each ring; its threads are there by then.
    URING: {"file size": (IMAGE, IMAGE), "open files": (22, 22), "processes": (13, 13)},
    NET: {"file size": (0, 0), "open files": (15, 15), "processes": (0, 0), "locked memory": (0, 0)},
    RNG: {"file size": (0, 0), "open files": (11, 11), "processes": (0, 0), "locked memory": (0, 0)},
    VCON: {"file size": (0, 0), "processes": (0, 0), "locked memory": (0, 0)},
}
LOCKED_MEMORY_MAX = 64 * MIB  # a disk's: rings count as locked

SEQPACKET, STREAM, EVENTFD = ("seqpacket", "rw"), ("stream", "rw"), ("eventfd", "rw")
NULLS = {0: ("null", "rw"), 1: ("null", "rw"), 2: ("null", "rw")}
COMMON_FDS = {**NULLS, 3: SEQPACKET, 4: SEQPACKET, 5: STREAM, 6: STREAM, 7: EVENTFD}  # control, log, vhost-user, requests, err
FDS = {
    BLK: {**COMMON_FDS, 8: ("IMAGE", "rw"), 9: EVENTFD, 10: EVENTFD},
    # A ring and a wake-up for each thread, then call and kick of each queue.
    URING: {**COMMON_FDS, 8: ("IMAGE", "rw"), **{n: None for n in range(9, 22)}},
    NET: {**COMMON_FDS, 8: ("/dev/net/tun", "rw"), **{n: EVENTFD for n in range(9, 15)}},
    RNG: {**COMMON_FDS, 8: ("/dev/urandom", "r"), 9: EVENTFD, 10: EVENTFD},
}
URING_KINDS = {EVENTFD: 4 + 4 + 2 * URING_QUEUES - 3, ("io_uring", "rw"): URING_QUEUES}

# Shared with vmmd and successors, and nothing else; the guest's memory has no descriptor any more.
MEMORY_MAPS = {"/memfd:guest-ram", "/memfd:inflight", "/memfd:dirty-log", "/memfd:statistics"}
MORE_MAPS = {URING: {"anon_inode:[io_uring]"}, VCON: {"/memfd:console"}}

EIGHT = census_table.EIGHT
LOOP = {"poll", "gettimeofday", "read", "write", "recvfrom", "sendto"}  # queues, vhost-user, control, log
CALLS = {
    BLK: EIGHT | LOOP | {"preadv", "pwritev", "fdatasync", "fallocate", "ioctl"},
    URING: EIGHT | LOOP | {"io_uring_enter", "preadv2", "ioctl"},  # preadv2: a read that comes alone
    NET: EIGHT | LOOP | {"readv", "writev", "ioctl"},
    RNG: EIGHT | LOOP | {"readv"},
    VCON: EIGHT | LOOP | {"accept4", "close", "ioctl"},
}
BUDGET = {BLK: 8 + 12, URING: 8 + 9, NET: 8 + 11, RNG: 8 + 7, VCON: 8 + 9}
INSTRUCTIONS_MAX = 60

MADVISE = [{2: {census_table.MADV_DONTNEED, census_table.MADV_FREE}}]
BLKDISCARD, TUNSETOFFLOAD = 0x1277, 0x400454D0


def common(events):
    """By number; @events: the first of the run that goes to the end."""
    return {"read": [{0: From(events)}], "write": [{0: {7}}, {0: From(events)}], "recvfrom": [{0: {3, 5}}],
            "sendto": [{0: {3, 4, 5, 6}}], "madvise": MADVISE}


ARGUMENTS = {
    BLK: {**common(9), "preadv": [{0: {8}}], "pwritev": [{0: {8}}], "fdatasync": [{0: {8}}], "fallocate": [{0: {8}}],
          "ioctl": [{0: {8}, 1: {BLKDISCARD}}]},
    URING: {**common(9), "io_uring_enter": [{0: From(9)}], "preadv2": [{0: {8}}], "ioctl": [{0: {8}, 1: {BLKDISCARD}}]},
    NET: {**common(8), "readv": [{0: From(8)}], "writev": [{0: From(8)}], "ioctl": [{0: From(8), 1: {TUNSETOFFLOAD}}]},
    RNG: {**common(9), "readv": [{0: {8}}]},
}
