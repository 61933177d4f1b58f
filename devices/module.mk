# Helpers: one jailed program each around devices/common.
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
