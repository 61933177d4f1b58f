APID_SRCS := apid/http.c apid/reply.c apid/connpage.c apid/conn.c apid/server.c apid/rpc.c apid/logsink.c \
	apid/vminfo.c apid/routes.c apid/cli.c apid/app.c apid/actions/commands.c
SRCS += $(APID_SRCS)
PROGS += cloister-apid
cloister-apid_SRCS := apid/main.c
cloister-apid_LINK := dynamic
cloister-apid_LIBS := -levent_core -lcjson -lhttp_parser
cloister-apid_DIR := libexec/cloister
