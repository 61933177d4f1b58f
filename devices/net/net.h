/* SPDX-License-Identifier: ISC */
/*
 * cloister-net's inside.
 *
 *	net.c		the device: configuration, features, which queue is what
 *	net_tx.c	guest to tap		net_rx.c	tap to guest		net_cmd.c	control queue
 *	net_alone.c	options of the stand-alone life
 *	net_hdr, net_ctrl	what a guest writes, checked (pure)
 */
#ifndef DEVICES_NET_NET_H
#define DEVICES_NET_NET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <event2/event.h>

#include "devices/common/ratelimit.h"
#include "devices/common/vdevice.h"
#include "devices/net/net_hdr.h"
#include "devices/net/tapdev.h"

enum {
	/* The driver goes on while the next batch is sent: not all frames between two interrupts, nor every single one. */
	NET_BATCH = 64,                /* frames between two flushes, or ... */
	NET_BATCH_BYTES = 512 * 1024,  /* ... as many bytes */
	NET_BATCHES = 4,               /* for one call of on_queue */
	NET_IOV_MAX = 1024,     /* of one system call (UIO_MAXIOV) */
	NET_IOV_SLACK = 64,     /* buffers that lie across regions of memory take more than one */
	NET_HELD_MAX = 1024,    /* receive chains popped ahead of their frame */
	NET_RETRY_MS = 100,     /* after an error of the tap that may pass */
};

struct net;

/* One queue of the tap; tap queue i belongs to receive ring i modulo the active pairs. */
struct net_tap {
	struct net *net;
	int fd;
	struct event *on_readable, *on_writable;
	bool watched;   /* on_readable is armed */
	bool may_have;  /* frames: it was readable, or nobody watched */
	bool dead;      /* its interface is gone */
};

/* A receive ring. Chains are popped ahead, so that one readv() can bring the longest frame; what is held and unused when
 * the ring stops comes again with its next start. */
struct net_rx {
	struct ratelimit limit;
	struct vq_chain *held; /* [first, first + n) */
	unsigned held_max, first, n;
	uint32_t held_bytes;
	struct iovec *pool;    /* of the held chains, in order */
	unsigned pool_max, pool_used, chain_max;
	uint8_t *bounce;       /* what of a frame found no room in the buffers that readv() was given */

	/* The frame that was read and is not yet delivered, because of a limit or for lack of buffers: it is never lost. */
	bool has_frame, paid;
	struct net_hdr hdr;
	uint32_t frame_len, in_place; /* without header; bytes of it that are in the held chains already */

	uint32_t expect;       /* room that is given to the next frame */
	unsigned small;        /* frames in a row that needed little */
	bool running, blocked, broken;
};

struct net_tx {
	struct ratelimit limit;
	bool running, broken;
};

struct net {
	/* const after the descriptor phase */
	struct vdevice *vd;
	unsigned n_pairs;      /* 0: only the control queue is served, for a foreign back end */
	unsigned ctrl_pairs;   /* which has so many, 0: unknown */
	uint8_t mac[TAP_MAC_BYTES];
	uint16_t mtu;          /* 0: not known */
	bool offload_tso, offload_ufo, offload_csum;
	struct cfg_rate_limiter limits;
	struct net_tap tap[TAP_PAIRS_MAX];
	struct net_rx rx[TAP_PAIRS_MAX];
	struct net_tx tx[TAP_PAIRS_MAX];

	/* negotiated */
	uint64_t features;
	unsigned hdr_bytes;
	bool mergeable;

	/* by the control queue */
	unsigned pairs_set;    /* 0: not yet */
	bool announce;

	/* scratch of the one thread */
	struct iovec *popped;  /* a chain's */
	unsigned popped_max;
	struct iovec iov[NET_IOV_MAX]; /* a system call's */
	uint8_t out[NET_HDR_BYTES + NET_HEAD_MAX]; /* our header and the checked copy of a frame's first bytes */
	uint8_t *frame;        /* of too many pieces for one system call */
};

/* --- net.c ----------------------------------------------------------------------------------------------------------- */

int net_alloc(struct net *net, struct jail_limits *lim, struct err *e) __must_check;
/* Index of the control queue by what the driver accepted, or -1. */
int net_ctrl_queue(const struct net *net);
/* Pairs that frames for the guest are spread over, at least 1. */
unsigned net_active_pairs(const struct net *net);
/* 0, or -errno of the tap that refused. */
int net_set_offloads(struct net *net, uint64_t offloads);
void net_update_config(struct net *net);
unsigned net_pairs_max(const struct net *net);

/* --- net_tx.c, net_rx.c, net_cmd.c ------------------------------------------------------------------------------------- */

void net_tx_serve(struct net *net, unsigned pair, struct vq *vq);

void net_rx_serve(struct net *net, unsigned pair, struct vq *vq);
/* Forget what the ring held. */
void net_rx_reset(struct net_rx *rx);
/* Watch the taps whose ring can take frames, and no others: after whatever changes that. */
void net_rx_watch(struct net *net);
void net_rx_on_readable(evutil_socket_t fd, short what, void *arg);

void net_cmd_serve(struct net *net, struct vq *vq);
/* The control queue starts: take up what a predecessor was told, or (a fresh ring) nothing. */
void net_cmd_resume(struct net *net, const struct vq *vq);

/* --- net_alone.c -------------------------------------------------------------------------------------------------- */

extern const struct vdevice_option net_options[];
int net_open_alone(void *dev, struct jail_limits *lim, struct err *e);

#endif
