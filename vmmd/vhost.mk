# The vhost-user front end: what stands between virtio devices and the processes that serve them.
VMMD_VHOST := $(wildcard vmmd/vhost/*.c)
SRCS += $(VMMD_VHOST)
vmmd_FILES += $(VMMD_VHOST)
