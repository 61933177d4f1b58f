APID_SRCS := apid/http.c apid/reply.c apid/connpage.c apid/conn.c apid/server.c apid/rpc.c apid/logsink.c \
	apid/vminfo.c apid/routes.c apid/cli.c apid/app.c apid/actions/commands.c apid/actions/steps.c \
	apid/actions/console_steps.c apid/actions/boot_steps.c apid/actions/boot_plan.c
SRCS += $(APID_SRCS)
PROGS += cloister-apid
cloister-apid_SRCS := apid/main.c
cloister-apid_LINK := dynamic
# What comes as an archive is linked from it: each shared library costs a start 80 us.
cloister-apid_LIBS := -Wl,-Bstatic -levent_core -lhttp_parser -Wl,-Bdynamic -lcjson
cloister-apid_DIR := libexec/cloister

# Its own sources, and what they call of the rest.
ROLES += apid
apid_FILES := apid/main.c $(APID_SRCS) common/ev.c common/fd.c common/fd_recv.c common/fd_send.c common/fd_wait.c \
	proto/chan.c proto/chan_dup.c proto/chan_in.c proto/chan_recv.c proto/chan_send.c proto/chan_wait.c
