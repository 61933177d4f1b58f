/* SPDX-License-Identifier: ISC */
/*
 * virtio console (virtio v1.2 5.3): one port, no multiport, size of the terminal in the configuration space.
 *
 *	transmitq ──> chain ──> ring (shared memory, 1 MiB) ──> target
 *	receiveq <── chain <── one chunk <── target's input
 *
 * Output is taken at once, however slow the target; input waits in the target until the guest has buffers.
 *
 * Killed at any point it repeats no output and loses at most 4 KiB. A chain is copied into the ring in pieces; before
 * each piece is published the ring's note says which chain it belongs to (the index of its used entry) and how much
 * of it will then be there. A successor gets the chains that were in flight once more and leaves out what the note
 * covers. The note is believed only for those: a driver that begins afresh has none in flight.
 *
 * Descriptors held: jail/policy/roles.def. Believed: the parent's configuration. Not believed: the ring's header,
 * chains, bytes of guest and target (never interpreted but for a lone LF).
 */
#include "devices/console/console_virtio.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/units.h"
#include "devices/common/vdevice.h"
#include "devices/console/console_host.h"
#include "jail/con_open.h"
#include "jail/policy/roles.h"

_Static_assert(sizeof(struct virtio_console_config) == 12, "virtio v1.2 5.3.4");

enum {
	QUEUE_RX = 0,
	QUEUE_TX = 1,
	QUEUES = 2,
	IOVS_MAX = 256, /* of a chain; drivers send pages */
	BUDGET = 64,    /* chains for a wake-up */
	NOTE_VALID = 1, /* bits of a note: valid, 16 index from bit 8, 32 bytes from bit 32 */
};
_Static_assert((int)FD_vconsole_EVENTS + 2 * (int)QUEUES == (int)FD_vconsole_CLIENT, "a client follows the events");

static const struct console_numbers jailed_numbers = {
	.out = FD_vconsole_TARGET_OUT,
	.in = FD_vconsole_TARGET_IN,
	.listen = FD_vconsole_LISTEN,
	.client = FD_vconsole_CLIENT,
};

struct vconsole {
	struct vdevice *vd;
	struct console_host host;
	struct virtio_console_config config; /* little endian, as told last */
	bool started;

	/* transmitq */
	uint16_t tx_index;   /* of the used entry of the chain that is popped next */
	uint16_t tx_resumed; /* how many of the next chains a predecessor had in flight */

	/* alone: what to open */
	enum console_mode mode;
	const char *path;

	struct event *ev_deadline;
	void (*drained)(void *arg, bool complete);
	void *drained_arg;
};

/* --- size ------------------------------------------------------------------------------------------------------------ */

static void tell_size(struct vconsole *c)
{
	uint16_t cols = 0, rows = 0;

	(void)console_target_size(&c->host.target, &cols, &rows);
	c->config = (struct virtio_console_config){
		.cols = htole16(cols),
		.rows = htole16(rows),
		.max_nr_ports = htole32(1),
	};
	vdevice_set_config(c->vd, &c->config, sizeof(c->config), 0, 0);
}

/* --- output ---------------------------------------------------------------------------------------------------------- */

static uint64_t make_note(uint16_t index, uint32_t bytes)
{
	return NOTE_VALID | (uint64_t)index << 8 | (uint64_t)bytes << 32;
}

/* How much of the chain that is to become used entry @index is in the ring already. */
static uint32_t noted_bytes(const struct vconsole *c, uint16_t index, uint32_t len)
{
	uint64_t note = console_ring_noted(&c->host.ring);
	uint16_t at = (uint16_t)(note >> 8), ahead = (uint16_t)(at - index);
	uint32_t bytes = (uint32_t)(note >> 32);

	if ((note & NOTE_VALID) == 0 || ahead > INT16_MAX)
		return 0;
	if (ahead > 0)
		return len;
	return bytes < len ? bytes : len;
}

/* One chain into the ring. */
static int take_output(struct vconsole *c, const struct vq_chain *chain)
{
	uint8_t buf[CONSOLE_CHUNK];
	uint32_t off = 0;

	if (c->tx_resumed > 0) {
		c->tx_resumed--;
		off = noted_bytes(c, c->tx_index, chain->out_bytes);
	}
	while (off < chain->out_bytes) {
		uint32_t n = chain->out_bytes - off < sizeof(buf) ? chain->out_bytes - off : (uint32_t)sizeof(buf);

		if (vq_chain_read(chain, off, buf, n) < 0)
			return -EBADMSG;
		off += n;
		console_ring_note(&c->host.ring, make_note(c->tx_index, off));
		console_host_put(&c->host, buf, n);
	}
	c->tx_index++;
	return 0;
}

static void serve_tx(struct vconsole *c, struct vq *vq)
{
	struct iovec iov[IOVS_MAX];
	struct vq_chain chain;
	int r = 0, i = 0;

	while (i < BUDGET && (r = vq_pop(vq, &chain, iov, IOVS_MAX)) == 1) {
		i++;
		if (chain.n_in > 0 || take_output(c, &chain) < 0) {
			r = -EBADMSG;
			break;
		}
		vq_push(vq, chain.head, 0);
	}
	vq_flush(vq);
	if (r < 0)
		vdevice_guest_error(c->vd, QUEUE_TX, "transmitq");
	else if (i == BUDGET)
		vdevice_again(c->vd, QUEUE_TX, 0);
}

/* --- input ----------------------------------------------------------------------------------------------------------- */

/* What waits, into the buffers that are there. */
static void serve_rx(struct vconsole *c, struct vq *vq)
{
	struct iovec iov[IOVS_MAX];
	struct vq_chain chain;
	const uint8_t *p;
	size_t n;
	int r = 0, i = 0;

	/* Buffers may be empty, so input alone does not bound this. */
	while (i < BUDGET && (n = console_host_input(&c->host, &p)) > 0 &&
	       (r = vq_pop(vq, &chain, iov, IOVS_MAX)) == 1) {
		i++;
		uint32_t len = chain.in_bytes < n ? chain.in_bytes : (uint32_t)n;

		if (chain.n_out > 0 || vq_chain_write(vq, &chain, 0, p, len) < 0) {
			r = -EBADMSG;
			break;
		}
		vq_push(vq, chain.head, len);
		console_host_input_taken(&c->host, len);
	}
	vq_flush(vq);
	if (r < 0)
		vdevice_guest_error(c->vd, QUEUE_RX, "receiveq");
	else if (i == BUDGET)
		vdevice_again(c->vd, QUEUE_RX, 0);
}

/* From the host's half. Whoever types has the terminal before him: the best moment to look at its size. */
static void on_host_input(void *arg)
{
	struct vconsole *c = arg;

	if (c->host.target.kind == CON_TARGET_PTY)
		tell_size(c);
	vdevice_serve(c->vd, QUEUE_RX);
}

static void drain_check(struct vconsole *c)
{
	void (*done)(void *arg, bool complete) = c->drained;
	bool complete;

	if (done == NULL || !console_host_is_settled(&c->host, &complete))
		return;
	c->drained = NULL;
	(void)event_del(c->ev_deadline);
	done(c->drained_arg, complete);
}

static void on_host_output(void *arg)
{
	drain_check(arg);
}

static const struct console_guest_ops guest_ops = { .on_input = on_host_input, .on_output = on_host_output };

/* --- queues ---------------------------------------------------------------------------------------------------------- */

static void vcon_on_queue(void *dev, struct vq *vq)
{
	struct vconsole *c = dev;

	if (vq_index(vq) == QUEUE_TX)
		serve_tx(c, vq);
	else
		serve_rx(c, vq);
}

static void vcon_queue_start(void *dev, struct vq *vq)
{
	struct vconsole *c = dev;

	if (vq_index(vq) != QUEUE_TX)
		return;
	c->tx_index = vq_used_index(vq);
	c->tx_resumed = vq_resubmitted(vq);
}

/* --- descriptor phase ------------------------------------------------------------------------------------------------- */

static int vcon_configure(void *dev, const void *config, struct chan_msg *m, struct jail_limits *lim, struct err *e)
{
	struct vconsole *c = dev;
	const struct msg_vcon_config *v = config;
	const struct msg_con_config cfg = {
		.target = v->target,
		.has_input = v->has_input,
		.restore_tty = v->restore_tty,
		.n_termios = v->n_termios,
		.termios = v->termios,
	};
	int fds[CONSOLE_TARGET_FDS] = { -1, -1 };
	int want = console_target_count(&cfg, e);

	if (want < 0)
		return want;
	if (m->nfds != 1 + (unsigned)want)
		return err_set(e, -EBADMSG, "%u descriptors instead of %d", m->nfds, 1 + want);
	int r = console_host_map_ring(&c->host, m->fds[0], e);

	if (r < 0)
		return r;
	fd_closep(&m->fds[0]);
	for (int i = 0; i < want; i++)
		fds[i] = fd_take(&m->fds[1 + i]);
	r = console_target_place(&c->host.target, &jailed_numbers, &cfg, fds, e);
	fd_close_all(fds, CONSOLE_TARGET_FDS);
	if (cfg.target == CON_TARGET_FILE)
		lim->fsize = JAIL_KEEP;
	if (cfg.target == CON_TARGET_LISTEN)
		lim->nofile = 1; /* a client */
	return r;
}

/* --- alone ----------------------------------------------------------------------------------------------------------- */

static int take_mode(void *dev, const char *value, struct err *e)
{
	struct vconsole *c = dev;

	for (unsigned i = 0; i < enum_console_mode.n; i++) {
		if (strcmp(enum_console_mode.names[i].kv, value) == 0 && i != CONSOLE_MODE_OFF) {
			c->mode = (enum console_mode)i;
			return 0;
		}
	}
	return err_set(e, -EINVAL, "\"%s\" is none of pty, tty, file, socket, null", value);
}

static int take_path(void *dev, const char *value, struct err *e)
{
	struct vconsole *c = dev;

	(void)e;
	c->path = value;
	return 0;
}

static const struct vdevice_option options[] = {
	{ "mode", "pty|tty|file|socket|null", "where the console leads (tty)", take_mode },
	{ "path", "PATH", "the file, or the socket to listen on", take_path },
	{ 0 },
};

/* Alone nothing outlives the process, but the ring is what the rest works with. */
static int make_ring(struct console_host *h, struct err *e)
{
	_cleanup_(fd_closep) int fd = memfd_create("console", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, CONSOLE_RING_SIZE) < 0)
		return err_sys(e, -errno, "console ring");
	return console_host_map_ring(h, fd, e);
}

static int vcon_open_alone(void *dev, struct jail_limits *lim, struct err *e)
{
	enum { HIGH = 100 }; /* out of the way of what the library has */
	static const struct console_numbers numbers = { .out = HIGH, .in = HIGH + 1, .listen = HIGH + 2, .client = -1 };
	static struct con_host opened = { .fds = { -1, -1 } };
	struct vconsole *c = dev;
	struct msg_con_config cfg;
	int fds[CONSOLE_TARGET_FDS];
	int r = 0;

	if ((c->mode == CONSOLE_MODE_FILE || c->mode == CONSOLE_MODE_SOCKET) && c->path == NULL)
		return err_set(e, -EINVAL, "this mode needs --path");
	r = con_open(&opened, c->mode, c->path, e);
	if (r < 0)
		return r;
	cfg = (struct msg_con_config){ .target = opened.kind, .has_input = opened.has_input, .restore_tty = opened.is_tty };
	if (opened.is_tty) {
		cfg.n_termios = sizeof(opened.saved);
		cfg.termios = (uint8_t *)&opened.saved;
	}
	if (opened.kind == CON_TARGET_PTY)
		log_info("console: pty %s", opened.path);
	for (int i = 0; i < CONSOLE_TARGET_FDS; i++) {
		/* Above the numbers where they go. */
		fds[i] = opened.fds[i] < 0 ? -1 : fcntl(opened.fds[i], F_DUPFD_CLOEXEC, 2 * HIGH);
		if (opened.fds[i] >= 0 && fds[i] < 0)
			r = err_sys(e, -errno, "descriptors");
	}
	if (r == 0)
		r = make_ring(&c->host, e);
	if (r == 0)
		r = console_target_place(&c->host.target, &numbers, &cfg, fds, e);
	fd_close_all(fds, CONSOLE_TARGET_FDS);
	if (r == 0 && (r = con_make_raw(&opened)) < 0)
		r = err_sys(e, r, "the terminal's settings");
	if (c->mode == CONSOLE_MODE_FILE)
		lim->fsize = JAIL_KEEP;
	return r;
}

/* --- life ------------------------------------------------------------------------------------------------------------ */

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct vconsole *c = arg;

	(void)fd;
	(void)what;
	/* Stopped in between? One more look before the deadline counts. */
	console_host_push(&c->host, true);
	drain_check(c);
	if (c->drained != NULL) {
		void (*done)(void *a, bool complete) = c->drained;

		c->drained = NULL;
		done(c->drained_arg, false);
	}
}

static int vcon_start(void *dev, uint32_t *detail, struct err *e)
{
	struct vconsole *c = dev;
	struct event_base *base = vdevice_base(c->vd, QUEUE_RX);

	(void)detail;
	c->ev_deadline = event_new(base, -1, 0, on_deadline, c);
	if (c->ev_deadline == NULL)
		return err_set(e, -ENOMEM, "events");
	vdevice_set_features(c->vd, UINT64_C(1) << VIRTIO_CONSOLE_F_SIZE, 0);
	tell_size(c);
	int r = console_host_start(&c->host, base, &guest_ops, c, e);

	c->started = r == 0;
	return r;
}

static int vcon_control(void *dev, struct chan_msg *m, struct err *e)
{
	if (m->type != MSG_VCON_WINSIZE)
		return err_set(e, -ENOTSUP, "no message for a console");
	tell_size(dev);
	return 0;
}

static void vcon_drain(void *dev, uint32_t timeout_ms, void (*done)(void *arg, bool complete), void *arg)
{
	struct vconsole *c = dev;
	struct timeval after = { .tv_sec = timeout_ms / 1000, .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000 };

	c->drained = done;
	c->drained_arg = arg;
	console_host_push(&c->host, true);
	drain_check(c);
	if (c->drained != NULL && event_add(c->ev_deadline, &after) < 0)
		on_deadline(-1, 0, c);
}

/* What the target takes without waiting still goes out; then the terminal is the user's again. */
static void vcon_stop(void *dev)
{
	struct vconsole *c = dev;

	if (c->started)
		console_host_push(&c->host, true);
	console_target_restore(&c->host.target);
}

static const struct vdevice_ops vconsole_ops = {
	.name = "console",
	.role = JAIL_VCONSOLE,
	.role_alone = JAIL_VCONSOLE_ALONE,
	.fd_events = FD_vconsole_EVENTS,
	.flags = VDEVICE_INFLIGHT,
	.queues_max = QUEUES,
	.config_type = MSG_VCON_CONFIG,
	.config_desc = &desc_msg_vcon_config,
	.configure = vcon_configure,
	.options = options,
	.open_alone = vcon_open_alone,
	.start = vcon_start,
	.on_queue = vcon_on_queue,
	.queue_start = vcon_queue_start,
	.control = vcon_control,
	.drain = vcon_drain,
	.stop = vcon_stop,
};

int virtio_console_main(int argc, char **argv)
{
	static struct vconsole console = { .mode = CONSOLE_MODE_TTY };

	return vdevice_main(&vconsole_ops, &console, &console.vd, argc, argv);
}
