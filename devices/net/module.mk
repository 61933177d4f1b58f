# cloister-net, and the one-shot cloister-tap.
SRCS += devices/net/net_hdr.c devices/net/net_ctrl.c devices/net/tapdev.c devices/net/tapif.c

PROGS += cloister-net
NET_DEVICE := devices/net/net.c devices/net/net_tx.c devices/net/net_rx.c devices/net/net_cmd.c
cloister-net_SRCS := $(NET_DEVICE) devices/net/net_alone.c
cloister-net_LINK := static
cloister-net_LIBS := -levent_core
cloister-net_DIR := libexec/cloister

ROLES += net net_alone
net_FILES := $(VDEVICE_FILES) $(NET_DEVICE)
net_alone_FILES := $(net_FILES)

PROGS += cloister-tap
cloister-tap_SRCS := devices/net/tap.c
cloister-tap_LINK := static
cloister-tap_LIBS := -levent_core
cloister-tap_DIR := libexec/cloister

ROLES += tap
tap_FILES := devices/net/tap.c devices/net/tapdev.c devices/net/tapif.c
