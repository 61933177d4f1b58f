# cloister-blk.
PROGS += cloister-blk
cloister-blk_SRCS := devices/blk/blk.c
cloister-blk_LINK := static
cloister-blk_LIBS := -levent_core
cloister-blk_DIR := libexec/cloister

ROLES += blk blk_alone
blk_FILES := $(VDEVICE_FILES) devices/blk/blk.c
blk_alone_FILES := $(blk_FILES)
