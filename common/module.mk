# What a role must not get stands in a file of its own: seccomp notes are gathered by file.
SRCS += common/buf.c common/err.c common/ev.c common/gmem.c common/str.c common/units.c \
	common/log.c common/log_rec.c common/log_send.c \
	common/fd.c common/fd_flags.c common/fd_limit.c common/fd_move.c common/fd_pair.c common/fd_recv.c common/fd_send.c \
	common/fd_wait.c common/fd_write.c
