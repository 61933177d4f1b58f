SRCS += proto/config.c proto/msg.c
