# cloister-console: a serial port's and the virtio console's host side.
CONSOLE_HOST := devices/console/console_host.c devices/console/console_ring.c devices/console/console_target.c
SRCS += $(CONSOLE_HOST) devices/console/console_serial.c devices/console/console_virtio.c

PROGS += cloister-console
cloister-console_SRCS := devices/console/console.c
cloister-console_LINK := static
cloister-console_LIBS := -levent_core
cloister-console_DIR := libexec/cloister

# What common/ and proto/ do for a locked helper stands in its own notes, pinned to its descriptors.
ROLES += console
console_FILES := devices/common/control.c devices/common/device.c devices/console/console_serial.c $(CONSOLE_HOST)

ROLES += vconsole vconsole_alone
vconsole_FILES := $(VDEVICE_FILES) devices/console/console_virtio.c $(CONSOLE_HOST)
vconsole_alone_FILES := $(vconsole_FILES)
