/* SPDX-License-Identifier: ISC */
/*
 * Everything that changes the VM's state, whoever asks for it (HTTP, command line). One command runs at a time, the
 * others wait in order. A command is a list of steps over the two channels; when a step fails, what the earlier ones
 * made is undone: a failed create stores nothing, a failed boot leaves the VM created and nothing half built.
 */
#ifndef APID_ACTIONS_COMMANDS_H
#define APID_ACTIONS_COMMANDS_H

#include <stdint.h>

#include "apid/rpc.h"
#include "proto/config.h"
#include "proto/msg.h"

enum command {
	COMMAND_CREATE,
	COMMAND_BOOT,
	COMMAND_SHUTDOWN,
	COMMAND_DELETE,
	COMMAND_VMM_SHUTDOWN,
};

struct commands;

/* The end of a command; @e NULL: it succeeded. */
typedef void command_done_fn(void *arg, const struct err *e);
/* The request whose result is the command's went to vmmd. */
typedef void command_sent_fn(void *arg, uint32_t id);

struct command_request {
	enum command what;
	struct cfg_vm config; /* CREATE: taken */
	uint8_t status;       /* VMM_SHUTDOWN: exit status of the run */
	command_done_fn *done;
	command_sent_fn *sent; /* may be NULL */
	void *arg;
};

/* NULL: out of memory. */
struct commands *commands_new(struct event_base *base, struct rpc *mon, struct rpc *vmm);
void commands_free(struct commands *cs);

/* Queue a command. Its callbacks come from the loop, done() exactly once. On failure (-ENOMEM) the config stays the
 * caller's. */
int commands_queue(struct commands *cs, const struct command_request *req) __must_check;

/* A predecessor may have left something half built: put it away. @state as vmmd told it. */
void commands_clean_up(struct commands *cs, enum vm_state state);
/* The predecessor's boot command failed: undo what it had made. */
void commands_undo_boot(struct commands *cs);

/* What a request waits for an answer, in ms. */
enum { COMMAND_INFO_TIMEOUT_MS = 20000, COMMAND_LONG_TIMEOUT_MS = 120000 };

/* The link for "there is no VM": clients look for the words. */
int commands_no_vm(struct err *e);

#endif
