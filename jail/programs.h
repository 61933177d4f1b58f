/* SPDX-License-Identifier: ISC */
/* Where the sibling programs are: beside the own executable, in the build tree and installed, never by PATH. */
#ifndef JAIL_PROGRAMS_H
#define JAIL_PROGRAMS_H

#include "common/cleanup.h"
#include "common/err.h"

/* The folder that lies at @rel from the folder of the own executable ("." for siblings). A descriptor, or -errno. */
int programs_dir(const char *rel, struct err *e) __must_check;

/* Program @name in it, a descriptor for execveat(), or -errno. Neither the folder nor the program may be writable by
 * anyone but root and the starting uid. */
int programs_open(int dir_fd, const char *name, struct err *e) __must_check;

#endif
