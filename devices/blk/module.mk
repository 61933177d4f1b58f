# cloister-blk.
BLK_FILES := devices/blk/blk_req.c devices/blk/blk_probe.c devices/blk/blk_config.c devices/blk/blk_stats.c devices/blk/blk_order.c \
	devices/blk/blk_image.c devices/blk/blk_io.c devices/blk/blk_queue.c devices/blk/blk_discard.c
SRCS += $(BLK_FILES) devices/blk/blk_sync.c devices/blk/blk_uring.c

PROGS += cloister-blk
cloister-blk_SRCS := devices/blk/blk.c devices/blk/blk_alone.c
cloister-blk_LINK := static
# The archive in every build: the shared library does not export all of it.
cloister-blk_LIBS := -levent_core -l:liburing.a -lpthread
cloister-blk_DIR := libexec/cloister

# Two filters, as each engine needs calls that the other has no use for. (blk: plain system calls.)
ROLES += blk blk_uring blk_alone
blk_FILES := $(VDEVICE_FILES) $(BLK_FILES) devices/blk/blk_sync.c devices/blk/blk.c
blk_uring_FILES := $(VDEVICE_FILES) $(BLK_FILES) devices/blk/blk_uring.c devices/blk/blk.c
blk_alone_FILES := $(VDEVICE_FILES) $(BLK_FILES) devices/blk/blk_sync.c devices/blk/blk_uring.c devices/blk/blk.c
