/* SPDX-License-Identifier: ISC */
/* Where the sibling programs are: beside the own executable, in the build tree and installed, never by PATH. */
#ifndef JAIL_PROGRAMS_H
#define JAIL_PROGRAMS_H

#include "common/cleanup.h"
#include "common/err.h"

/* Open program @name of the folder that lies at @rel from the folder of the own executable ("." for siblings). The
 * program and its folder must not be writable by anyone but root and the starting uid. A descriptor to execveat(), or
 * -errno. */
int programs_open(const char *rel, const char *name, struct err *e) __must_check;

#endif
