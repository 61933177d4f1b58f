/* SPDX-License-Identifier: ISC */
/* What commands.c (queue, running, undoing) and the steps (what each command asks of whom) share. */
#ifndef APID_ACTIONS_COMMANDS_INTERNAL_H
#define APID_ACTIONS_COMMANDS_INTERNAL_H

#include <stdbool.h>
#include <sys/queue.h>

#include "apid/actions/commands.h"

/* What a step's sending says. */
enum { STEP_SENT = 0, STEP_SKIPPED = 1, STEP_POSTPONED = 2 };

enum {
	CONSOLES = 2,     /* enum console_id */
	STEP_NAME = 320,  /* bytes of what a failed step was about */
};

struct run;

struct step {
	const char *name;
	enum msg_type answer; /* the typed one, or MSG_RESULT */
	/* STEP_SENT, STEP_SKIPPED, STEP_POSTPONED (will be called again), or -errno with @e filled */
	int (*ask)(struct run *r, struct err *e);
	/* The answer is there; @m is NULL when it was RESULT. NULL: nothing to do. */
	int (*got)(struct run *r, struct chan_msg *m, struct err *e);
	/* How often the step is made, r->index counting; NULL: once. */
	size_t (*times)(const struct run *r);
	/* What it is about, for the chain of a failure; NULL: the chain says it. */
	const char *(*about)(const struct run *r, char out[STEP_NAME]);
	enum console_id which; /* of the console steps */
	unsigned timeout_ms;   /* of a question to the monitor; 0: the usual one */
	bool may_fail;         /* a failure is logged, the command goes on */
};

struct flow {
	const char *name;
	const struct step *steps, *undo; /* ended by a step without ask() */
};

struct run {
	TAILQ_ENTRY(run) link;
	struct commands *cs;
	struct command_request req;
	const struct flow *flow;
	const struct step *step;
	size_t index; /* of a step that is made several times */
	bool undoing;
	bool console_fresh[CONSOLES]; /* opened by this command */
	bool fresh_pty[CONSOLES];
	bool holds;   /* the monitor may hold files, memory and devices for it */
	bool unknown; /* the command timed out: vmmd may still carry it out */
	struct err e; /* why it failed, while undoing */
};

struct commands {
	struct event_base *base;
	struct rpc *mon, *vmm;
	struct event *ev_next, *ev_pace;
	TAILQ_HEAD(, run) queue; /* the first one runs */
	bool running;
	uint64_t second; /* the one in which this many requests went to the monitor */
	unsigned in_second;
	bool console_open[CONSOLES]; /* as far as we know; a stopped VM's are closed without us */
};

extern const struct flow command_flows[]; /* by enum command */
extern const struct step create_steps[], create_undo[], boot_steps[], boot_undo[];

/* A request to the monitor, or STEP_POSTPONED when there were too many lately. */
int command_ask_monitor(struct run *r, enum msg_type type, const void *obj, struct err *e);
/* A request to vmmd. @id may be NULL. */
int command_ask_vmmd(struct run *r, enum msg_type type, const void *obj, unsigned timeout_ms, uint32_t *id,
		     struct err *e);
/* The command itself: its id lets a successor find the result. */
int command_ask_change(struct run *r, enum msg_type type, const void *obj, struct err *e);

/* Steps that the runner treats in a way of their own. */
int step_ask_info(struct run *r, struct err *e);
int step_got_info_for_create(struct run *r, struct chan_msg *m, struct err *e);
int step_ask_create(struct run *r, struct err *e);
int step_ask_boot(struct run *r, struct err *e);

/* The consoles (console_steps.c), of which step->which says one. */
int step_check_consoles(struct run *r, struct err *e); /* modes and paths, before anything is opened */
int step_ask_console(struct run *r, struct err *e);
int step_got_console(struct run *r, struct chan_msg *m, struct err *e);
int step_close_console(struct run *r, struct err *e);
int step_undo_console(struct run *r, struct err *e);
int step_undo_fresh_pty(struct run *r, struct err *e);

/* What the monitor's messages can carry. */
int step_check_path(const char *what, const char *path, struct err *e);

#endif
