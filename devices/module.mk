# Helpers: one jailed program each around devices/common.
ROLES += console
console_FILES := $(wildcard devices/common/*.c devices/console/*.c)
