# SPDX-License-Identifier: ISC
"""What every process must look like from outside, written by hand from the design. Nothing here is taken from the sources or
the policies, so that a mistake there shows as a difference. Change it only together with the reason for the change.

Started as root with a block of user ids. "host" is what the test itself has.
"""

VMMD, MONITOR, APID, CONSOLE = "vmmd", "monitor", "apid", "console"
FIRST_UID, UIDS_PER_INSTANCE = 1900000000, 128

# Offset in the instance's block; None: stays root.
UID_OFFSET = {VMMD: 0, APID: 1, CONSOLE: 2, MONITOR: None}

# Name that ps shows (15 bytes).
COMM = {VMMD: "cloister", MONITOR: "cloister-monitor"[:15], APID: "cloister-apid", CONSOLE: "cloister-console"[:15]}
EXE = {VMMD: "cloister-vmmd", MONITOR: "cloister-monitor", APID: "cloister-apid", CONSOLE: "cloister-console"}

# The only capabilities anywhere: what opening and spawning need. Never SYS_PTRACE, SYS_RESOURCE, SYS_MODULE, ...
MONITOR_CAPS = {"CHOWN": 0, "DAC_OVERRIDE": 1, "KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8, "NET_ADMIN": 12,
                "SYS_CHROOT": 18, "SYS_ADMIN": 21, "BPF": 39}

# Namespaces that differ from the host's. A process cannot move itself into a pid namespace, and vmmd is the started one.
# As root there is no user namespace (time namespaces protect nothing).
OWN_NAMESPACES = {
    VMMD: {"mnt", "ipc", "uts", "net", "cgroup"},
    APID: {"mnt", "ipc", "uts", "net", "cgroup", "pid"},
    CONSOLE: {"mnt", "ipc", "uts", "net", "cgroup", "pid"},
    MONITOR: set(),
}
# One network namespace and one mount namespace a VM, each with nothing in it; everything else is each process's alone.
SHARED_NAMESPACES = {"net", "mnt"}

JAILED = (VMMD, APID, CONSOLE)

# Soft and hard. HOST: as inherited.
HOST = object()
NONE = (None, None)
LIMITS = {
    VMMD: {"file size": (0, 0), "core file size": (0, 0), "msgqueue size": (0, 0), "nice priority": (0, 0),
           "realtime priority": (0, 0), "stack size": (1 << 20, 1 << 20), "pending signals": (4096, 4096),
           "open files": HOST, "locked memory": HOST, "processes": HOST, "address space": HOST},
    APID: {"file size": NONE, "core file size": (0, 0), "msgqueue size": (0, 0), "nice priority": (0, 0),
           "realtime priority": (0, 0), "stack size": (1 << 20, 1 << 20), "pending signals": (64, 64),
           "open files": (256, 256), "locked memory": (0, 0), "processes": (0, 0), "address space": HOST},
    CONSOLE: {"file size": (0, 0), "core file size": (0, 0), "msgqueue size": (0, 0), "nice priority": (0, 0),
              "realtime priority": (0, 0), "stack size": (256 << 10, 256 << 10), "pending signals": (64, 64),
              "open files": (7, 7), "locked memory": (0, 0), "processes": (0, 0), "address space": (64 << 20, 64 << 20)},
    MONITOR: {"core file size": (0, 0)},
}
CONSOLE_FILE_TARGET = {"file size": NONE}  # a file may grow

# Signals that a stop of the unit sends to everybody: only vmmd acts on them (by signalfd, so it blocks them).
IGNORED_SIGNALS = {"HUP": 1, "INT": 2, "PIPE": 13, "TERM": 15}
VMMD_BLOCKED = {"INT": 2, "TERM": 15}

# -900 for the monitor needs CAP_SYS_RESOURCE, which not every root has.
OOM_SCORE_ADJ = {VMMD: {0}, APID: {500}, CONSOLE: {300}, MONITOR: {-900, 0}}

# --- descriptors --------------------------------------------------------------------------------------------------------------

NULLS = {0: ("null", "rw"), 1: ("null", "rw"), 2: ("null", "rw")}

# At fixed numbers ...
FIXED_FDS = {
    VMMD: {**NULLS, 3: ("seqpacket", "rw"), 4: ("seqpacket", "rw")},  # monitor, log
    APID: {**NULLS, 3: ("seqpacket", "rw")},  # monitor
    CONSOLE: {**NULLS, 3: ("seqpacket", "rw"), 4: ("seqpacket", "rw"), 5: ("stream", "rw")},  # control, log, device
    MONITOR: {},
}
# ... and wherever they were allocated. LOG: the log's output, SERIAL: the console's file, KERNEL: the guest's kernel.
LOOP = [("eventpoll", "rw"), ("pipe", "r"), ("pipe", "w")]  # libevent's own
OTHER_FDS = {
    VMMD: LOOP + [("signalfd", "rw"), ("eventfd", "rw"), ("seqpacket", "rw")],  # signals, wake-ups of vCPUs, apid's commands
    APID: LOOP + [("seqpacket", "rw"), ("seqpacket", "rw"), ("LOG", "w"), ("listen", "rw")],  # commands, log's read end
    CONSOLE: [("SERIAL", "w")],
    MONITOR: LOOP + [
        ("null", "rw"),                          # what children get as 0-2
        ("seqpacket", "rw"),                     # vmmd
        ("seqpacket", "rw"),                     # apid
        ("seqpacket", "rw"), ("seqpacket", "rw"),  # the log's two ends
        ("seqpacket", "rw"), ("seqpacket", "rw"),  # the console helper's control, and a copy that tells its very end
        ("pidfd", "rw"), ("pidfd", "rw"), ("pidfd", "rw"),  # vmmd, apid, console
        ("pipe", "r"), ("pipe", "r"),            # what apid and console had to say before their exec
        ("LOG", "w"),
        ("memfd:connections", "rw"),             # the page of API connections' states
        ("net namespace", "r"), ("mnt namespace", "r"),  # empty, for later helpers
        ("UIDS", "rw"),                          # the lock on the block of user ids
        ("LOCK", "rw"),                          # the API socket's lock
        ("listen", "rw"),                        # kept for apid's successor
        ("PROGRAM cloister-apid", "path"), ("PROGRAM cloister-console", "path"), ("PROGRAM cloister-blk", "path"),
        ("PROGRAM cloister-net", "path"), ("PROGRAM cloister-rng", "path"), ("PROGRAM cloister-tap", "path"),
        ("SERIAL", "w"), ("memfd:console", "rw"),  # for the console's successor
        ("stream", "rw"), ("stream", "rw"),      # both ends of the device's stream
    ],
}
# While a guest runs, beside the above.
RUNNING_FDS = {
    VMMD: [("/dev/kvm", "rw"), ("kvm-vm", "rw"), ("memfd:guest-ram", "rw"), ("KERNEL", "r"), ("stream", "rw"),
           # the entropy device, which is always there: vhost-user, requests; call and kick of its queue, err
           ("stream", "rw"), ("stream", "rw"), ("eventfd", "rw"), ("eventfd", "rw"), ("eventfd", "rw")],
    APID: [],
    CONSOLE: [],
}
VCPU_FDS = {0: ("pipe", "w"), 1: ("kvm-vcpu", "rw"), 2: ("kvm-vm", "rw"), 3: ("eventfd", "rw")}

# Shared mappings other than of the own binary (and apid's libraries).
MEMORY = {VMMD: set(), APID: {"/memfd:connections"}, CONSOLE: {"/memfd:console"}}
RUNNING_MEMORY = {VMMD: {"/memfd:guest-ram", "/memfd:statistics", "anon_inode:kvm-vcpu"}}

# --- system calls -------------------------------------------------------------------------------------------------------------

EIGHT = {"clock_gettime", "futex", "restart_syscall", "rt_sigreturn", "exit", "exit_group", "munmap", "madvise"}

CALLS = {
    # memory for requests; epoll; accept, receive with and without descriptors; answers; the log; connections end by
    # shutdown; MAC addresses by chance; descriptors of queued messages are duplicated; gettimeofday where the clock is a real call
    APID: EIGHT | {"brk", "mmap", "mremap", "epoll_ctl", "epoll_wait", "poll", "gettimeofday", "accept4", "getsockopt",
                   "recvmsg", "sendmsg", "sendto", "write", "shutdown", "close", "fcntl", "getrandom"},
    # the same loop; KVM; back ends of devices (preadv2: an eventfd that others hold, without waiting); threads (clone, its C library's part, seccomp once, a private descriptor table); kernel and
    # initramfs are read into guest memory; vCPUs are kicked by a signal
    VMMD: EIGHT | {"brk", "mmap", "mremap", "mprotect", "epoll_ctl", "epoll_wait", "poll", "gettimeofday", "read", "write",
                   "preadv", "preadv2", "recvmsg", "recvfrom", "sendmsg", "sendto", "close", "fcntl", "ioctl", "clone",
                   "eventfd2", "rt_sigaction",
                   "rt_sigprocmask", "rt_sigtimedwait", "rseq", "set_robust_list", "close_range", "dup3", "prctl", "seccomp",
                   "getpid", "tgkill"},
    # KVM_RUN and what exits need; the kick; one wake-up
    "vcpu": EIGHT | {"ioctl", "rt_sigtimedwait", "rt_sigprocmask", "write"},
    CONSOLE: EIGHT | {"poll", "gettimeofday", "read", "write", "recvfrom", "sendto", "accept4", "close", "ioctl"},
}
# Filters are inherited, so the monitor's allows what it does itself, what a child of it does until that has its own filter,
# and what a child's own filter allows.
MONITOR_OWN = EIGHT | {
    # its loop, its channels, time, memory
    "epoll_ctl", "epoll_wait", "poll", "gettimeofday", "recvmsg", "sendmsg", "sendto", "close", "fcntl", "brk", "mmap",
    # opening: files, consoles, the API socket (which gets its name when it listens); making memory
    "renameat2", "openat", "newfstatat", "ioctl", "read", "write", "unlink", "socket", "bind", "listen", "connect", "getsockopt",
    "socketpair", "memfd_create", "ftruncate", "pipe2",
    # devices: blocks of an image ahead of need, calls and kicks, a foreign back end that connects
    "fallocate", "eventfd2", "accept4",
    # spawning, verifying, reaping
    "clone", "waitid", "pidfd_send_signal", "getdents64", "lseek", "getpid", "getuid", "getgid", "geteuid", "getegid",
}
MONITOR_OWN_MAX = 56
CHILD_JAIL = {"setsid", "umask", "rt_sigaction", "dup3", "close_range", "unshare", "setns", "fsopen",
              "fsconfig", "fsmount", "move_mount", "mount", "umount2", "pivot_root", "chdir", "fchdir", "prctl", "capget",
              "capset", "setgroups", "getgroups", "setresuid", "setresgid", "getresuid", "getresgid", "prlimit64",
              "landlock_create_ruleset", "landlock_restrict_self", "seccomp", "execveat"}
CHILD_START = {"arch_prctl", "set_tid_address", "set_robust_list", "rseq", "getrandom", "readlink", "readlinkat", "access",
               "pread64", "mremap", "mprotect", "epoll_create1"}
# Devices: the calls of the queues' threads, once they are there; what makes threads and rings before that.
CHILD_DEVICES = {"statx", "preadv", "preadv2", "pwritev", "readv", "writev", "fdatasync", "fallocate", "io_uring_enter", "io_uring_setup",
                 "io_uring_register", "rt_sigprocmask", "sched_setaffinity"}
CALLS[MONITOR] = MONITOR_OWN | CHILD_JAIL | CHILD_START | CHILD_DEVICES | CALLS[APID] | CALLS[CONSOLE]

# Answered with an error instead of a kill: the C library then uses clone, whose flags a filter can read.
ERRNO_CALLS = {VMMD: {"clone3": 38}, MONITOR: {"clone3": 38}}
# Totals for the monitor and vmmd, beyond the eight for the others (goals of the design).
BUDGET = {APID: 8 + 18, VMMD: 45, "vcpu": 8 + 12, CONSOLE: 8 + 9}
# A helper's filter stays short: it runs on every call.
INSTRUCTIONS_MAX = {CONSOLE: 60}

# Never, whatever else: names, new processes, new kinds of descriptors.
NEVER = {"open", "openat", "openat2", "creat", "socket", "connect", "bind", "listen", "accept", "execve", "fork", "vfork",
         "ptrace", "process_vm_readv", "process_vm_writev", "memfd_create", "userfaultfd", "io_uring_setup", "io_uring_enter",
         "io_uring_register", "bpf", "perf_event_open", "mount", "umount2", "pivot_root", "setns", "unshare", "keyctl", "kill",
         "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "setuid", "setresuid", "capset", "init_module", "finit_module",
         "kexec_load", "shmget", "msgget", "semget", "mremap_file_pages", "execveat", "name_to_handle_at", "open_by_handle_at"}
# What the monitor may do and nobody else may: all it takes to open and to spawn.
MONITOR_MAY = {"io_uring_setup", "io_uring_enter", "io_uring_register", "openat", "socket", "connect", "bind", "listen", "memfd_create", "mount", "umount2", "pivot_root", "setns",
               "unshare", "setresuid", "capset", "execveat", "pidfd_send_signal"}
# It must never ...
MONITOR_NEVER = NEVER - MONITOR_MAY

READ_WRITE_ONLY = 1 | 2  # PROT_READ | PROT_WRITE
CLONE_THREAD_FLAGS = 0x100 | 0x10000  # CLONE_VM | CLONE_THREAD
AT_EMPTY_PATH = 0x1000
F_DUPFD_CLOEXEC = 1030
SOL_SOCKET, SO_PEERCRED = 1, 17
SECCOMP_SET_MODE_FILTER, CLOSE_RANGE_UNSHARE, PR_SET_NAME = 1, 2, 15
MADV_DONTNEED, MADV_FREE, MADV_REMOVE, MADV_DONTDUMP = 4, 8, 9, 16
TCSETS = 0x5402
AF_UNIX, AF_NETLINK, P_PIDFD, SIGKILL = 1, 16, 3, 9


# KVM ioctls as the kernel's interface numbers them: direction << 30 | size << 16 | 0xAE << 8 | number.
KVM_RUN, KVM_SET_GSI_ROUTING, KVM_SIGNAL_MSI = 0xAE80, 0x4008AE6A, 0x4020AEA5
VMMD_IOCTLS = {
    # system
    "GET_API_VERSION": 0xAE00, "CREATE_VM": 0xAE01, "CHECK_EXTENSION": 0xAE03, "GET_VCPU_MMAP_SIZE": 0xAE04,
    "GET_SUPPORTED_CPUID": 0xC008AE05,
    # VM
    "CREATE_VCPU": 0xAE41, "SET_USER_MEMORY_REGION": 0x4020AE46, "SET_TSS_ADDR": 0xAE47,
    "SET_IDENTITY_MAP_ADDR": 0x4008AE48, "SET_GSI_ROUTING": KVM_SET_GSI_ROUTING, "SIGNAL_MSI": KVM_SIGNAL_MSI,
    "IRQFD": 0x4020AE76, "IOEVENTFD": 0x4040AE79, "ENABLE_CAP": 0x4068AEA3,
    # vCPU
    "RUN": KVM_RUN, "SET_REGS": 0x4090AE82, "GET_SREGS": 0x8138AE83, "SET_SREGS": 0x4138AE84, "SET_MSRS": 0x4008AE89,
    "SET_SIGNAL_MASK": 0x4004AE8B, "SET_FPU": 0x41A0AE8D, "GET_LAPIC": 0x8400AE8E, "SET_LAPIC": 0x4400AE8F,
    "SET_CPUID2": 0x4008AE90, "GET_TSC_KHZ": 0xAEA3,
}
VMMD_IOCTLS_MAX = 60

# Per call: alternatives, each {argument: allowed values}; an argument that is not named is free.
ARGUMENTS = {
    MONITOR: {
        "execveat": [{4: {AT_EMPTY_PATH}}],          # by descriptor, never by name
        "pidfd_send_signal": [{1: {SIGKILL}}],
        "waitid": [{0: {P_PIDFD}}],
        "socket": [{0: {AF_UNIX, AF_NETLINK}}],      # netlink: cloister-tap's, before its own filter
        "socketpair": [{0: {AF_UNIX}}],
        "madvise": [{2: {MADV_DONTNEED, MADV_FREE, MADV_DONTDUMP}}],
    },
    APID: {
        "fcntl": [{1: {F_DUPFD_CLOEXEC}}],
        "getsockopt": [{1: {SOL_SOCKET}, 2: {SO_PEERCRED}}],
        "madvise": [{2: {MADV_DONTNEED, MADV_FREE}}],
    },
    VMMD: {
        "fcntl": [{1: {F_DUPFD_CLOEXEC}}],
        "madvise": [{2: {MADV_DONTNEED, MADV_FREE, MADV_REMOVE, MADV_DONTDUMP}}],
        "seccomp": [{0: {SECCOMP_SET_MODE_FILTER}}],
        "prctl": [{0: {PR_SET_NAME}}],
        "dup3": [{1: {0, 1, 2, 3}}],
        "close_range": [{2: {0, CLOSE_RANGE_UNSHARE}}],
        "ioctl": [{1: set(VMMD_IOCTLS.values())}],
    },
    "vcpu": {
        "ioctl": [{0: {1}, 1: {KVM_RUN}}, {0: {2}, 1: {KVM_SET_GSI_ROUTING, KVM_SIGNAL_MSI}}],
        "write": [{0: {3}}],
        "madvise": [{2: {MADV_DONTNEED, MADV_FREE}}],
    },
    CONSOLE: {
        "read": [{0: {5, 7, 9}}],
        "write": [{0: {5, 6, 9}}],
        "recvfrom": [{0: {3}}],
        "sendto": [{0: {3, 4, 6}}],
        "accept4": [{0: {8}}],
        "close": [{0: {9}}],
        "ioctl": [{0: {6}, 1: {TCSETS}}],
        "madvise": [{2: {MADV_DONTNEED, MADV_FREE}}],
    },
}
