# Helpers: one jailed program each around devices/common.
# What every virtio device's filter is made of.
VDEVICE_FILES := devices/common/helper.c devices/common/vdevice.c devices/common/vdevice_queue.c \
	devices/common/vdevice_conn.c devices/common/vdevice_jailed.c devices/common/vdevice_alone.c devices/common/vdevice_options.c \
	devices/common/vq.c devices/common/vq_used.c devices/common/vq_chain.c devices/common/inflight.c \
	devices/common/dirty_log.c devices/common/vu_server.c devices/common/vu_shared.c devices/common/vu_wire.c devices/common/vu_rings.c devices/common/vu_mem.c

SRCS += $(VDEVICE_FILES) devices/common/ratelimit.c devices/common/control.c devices/common/device.c

-include devices/blk/module.mk devices/console/module.mk devices/net/module.mk devices/rng/module.mk
