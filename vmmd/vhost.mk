# The vhost-user front end: what stands between virtio devices and the processes that serve them.
VMMD_VHOST := $(addprefix vmmd/vhost/,msg.c link.c front.c front_config.c front_run.c backend.c profile.c)
SRCS += $(VMMD_VHOST)
vmmd_FILES += $(VMMD_VHOST)
