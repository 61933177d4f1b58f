# What exec'ed programs link for themselves (jail.c, jail_self.c, mechanisms) and what stays before their exec
# (jail_pre.c, spawn.c, start.c) are different files: seccomp notes are gathered by file.
JAIL_MONITOR := jail/monitor_ops.c jail/monitor_apid.c jail/monitor_helper.c jail/monitor_con.c jail/monitor_vm.c \
	jail/monitor_dev.c jail/monitor_dev_shared.c jail/monitor_dev_disk.c jail/monitor_dev_net.c jail/monitor_dev_misc.c \
	jail/monitor_dev_foreign.c jail/monitor_tap.c jail/disk_open.c jail/monitor_end.c jail/monitor_adopt.c jail/link.c \
	jail/spawn.c jail/con_open.c jail/open_policy.c jail/api_socket.c jail/breaker.c jail/verify.c jail/jail_cgroup.c
SRCS += $(JAIL_MONITOR) jail/jail.c jail/jail_thread.c jail/jail_pre.c jail/jail_self.c jail/jail_ns.c jail/jail_fs.c \
	jail/jail_caps.c jail/jail_limits.c jail/jail_landlock.c jail/jail_seccomp.c jail/jail_misc.c jail/uids.c jail/programs.c jail/spread.c

PROGS += cloister cloister-monitor
cloister_SRCS := jail/start.c
cloister_LINK := static
cloister_DIR := bin
cloister-monitor_SRCS := jail/monitor.c
cloister-monitor_LINK := static
cloister-monitor_LIBS := -levent_core
cloister-monitor_DIR := libexec/cloister

# Filters are inherited: the monitor's holds what its children do until they have theirs, and what theirs allow.
ROLES += monitor
monitor_CHILDREN := apid console vconsole blk blk_uring net rng tap
monitor_FILES := jail/monitor.c $(JAIL_MONITOR) jail/jail.c jail/jail_pre.c jail/jail_ns.c jail/jail_fs.c jail/jail_caps.c \
	jail/jail_limits.c jail/jail_landlock.c jail/jail_seccomp.c jail/jail_misc.c \
	common/ev.c common/fd.c common/fd_recv.c common/fd_send.c common/fd_flags.c common/fd_wait.c common/fd_write.c common/fd_pair.c \
	common/log_send.c proto/chan.c proto/chan_dup.c proto/chan_in.c proto/chan_recv.c proto/chan_send.c
