# Helpers: one jailed program each around devices/common.
# What every virtio device's filter is made of.
VDEVICE_FILES := devices/common/control.c

SRCS += devices/common/control.c devices/common/device.c

-include devices/blk/module.mk devices/console/module.mk devices/net/module.mk devices/rng/module.mk
