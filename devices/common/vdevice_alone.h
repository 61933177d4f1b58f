/* SPDX-License-Identifier: ISC */
/* Options of a virtio device that is started by hand. */
#ifndef DEVICES_COMMON_VDEVICE_ALONE_H
#define DEVICES_COMMON_VDEVICE_ALONE_H

#include "common/err.h"
#include "devices/common/vdevice.h"

struct alone_options {
	const char *socket_path; /* borrowed from argv; NULL: fd */
	int fd;                  /* -1: socket_path */
};

/* Common options here, the device's own to its .take. 0; 1: --help or --version was answered; -EINVAL. */
int alone_options_parse(const struct vdevice_ops *ops, void *dev, int argc, char **argv, struct alone_options *out,
			struct err *e) __must_check;

#endif
