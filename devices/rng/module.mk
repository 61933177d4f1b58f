# cloister-rng.
PROGS += cloister-rng
cloister-rng_SRCS := devices/rng/rng.c
cloister-rng_LINK := static
cloister-rng_LIBS := -levent_core
cloister-rng_DIR := libexec/cloister

ROLES += rng rng_alone
rng_FILES := $(VDEVICE_FILES) devices/rng/rng.c
rng_alone_FILES := $(rng_FILES)
