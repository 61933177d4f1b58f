/* SPDX-License-Identifier: ISC */
/* The command line as a front end: texts that end the run at once, and the VM that it describes. */
#ifndef APID_CLI_H
#define APID_CLI_H

#include "apid/app.h"
#include "common/buf.h"

/* Look at the original command line. @v->text is the caller's to free; @o is filled (opts_fini) when true is returned. */
bool cli_parse(int argc, char *const *argv, struct opts *o, struct cli_verdict *v);

/* Send the text to the monitor and end the run. */
void cli_end(struct app *a, const struct cli_verdict *v);
/* A failure after the start: the error block on stderr, status 1. */
void cli_fail(struct app *a, const struct err *e);

/* Create and boot the VM of the command line, where @state says that a predecessor has not. */
void cli_run_vm(struct app *a, enum vm_state state);

#endif
