# Helpers: one jailed program each around devices/common.
# What every virtio device's filter is made of.
VDEVICE_FILES := devices/common/control.c

SRCS += devices/common/control.c devices/common/device.c devices/console/console_ring.c devices/console/console_target.c

PROGS += cloister-console
cloister-console_SRCS := devices/console/console.c
cloister-console_LINK := static
cloister-console_LIBS := -levent_core
cloister-console_DIR := libexec/cloister

# What common/ and proto/ do for a locked helper stands in its own notes, pinned to its descriptors.
ROLES += console
console_FILES := devices/common/control.c devices/common/device.c devices/console/console.c \
	devices/console/console_ring.c devices/console/console_target.c

# The virtio console is the same program; its role differs.
ROLES += vconsole vconsole_alone
vconsole_FILES := $(VDEVICE_FILES) devices/console/console.c devices/console/console_ring.c devices/console/console_target.c
vconsole_alone_FILES := $(vconsole_FILES)

-include devices/blk/module.mk devices/net/module.mk devices/rng/module.mk
