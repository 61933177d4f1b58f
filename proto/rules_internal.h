/* SPDX-License-Identifier: ISC */
/* What rules.c (the machine), rules_device.c (each device) and rules_runtime.c (what fails at boot) share. */
#ifndef PROTO_RULES_INTERNAL_H
#define PROTO_RULES_INTERNAL_H

#include <stdbool.h>

#include "proto/rules.h"

struct rule {
	const char *name;
	int (*check)(const struct cfg_vm *cfg, struct err *e);
};

/* The first that fails wins. */
int rules_run(const struct rule *rules, size_t n, const struct cfg_vm *cfg, struct err *e);
/* The next rule of many. */
void rules_log(const char *name);

/* Refusal of the configuration. */
int rules_no(struct err *e, const char *text);

static inline bool rules_given(const char *s)
{
	return s != NULL && *s != '\0';
}

/* Around the refusal of a device, whose id may not be known. */
int rules_of_device(struct err *e, int r, const char *kind, const char *list, size_t i, const char *id);

/* In rules_device.c: each in the place that the documented order gives it. */
int rules_groups(const struct cfg_vm *cfg, struct err *e);
int rules_disks(const struct cfg_vm *cfg, struct err *e);
int rules_nets(const struct cfg_vm *cfg, struct err *e);
int rules_rng(const struct cfg_vm *cfg, struct err *e);
int rules_console(const struct cfg_vm *cfg, struct err *e);

#endif
