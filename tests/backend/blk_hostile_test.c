/* SPDX-License-Identifier: ISC */
/* cloister-blk under drivers and front ends that keep to no rule. */
#include <stdlib.h>
#include <string.h>

#include "tests/backend/vu/disk.h"
#include "tests/backend/vu/hostile.h"
#include "tests/backend/vu/tests.h"

enum { SYNC = 8, HEAD = 16, RANDOM_CHAINS = 4000, RANDOM_MESSAGES = 500, RESETS = 300, FLOOD = 20000 };

static struct virtio_blk_outhdr head = { .type = VIRTIO_BLK_T_OUT, .sector = 64 };

/* A write and a read back. */
static bool good(struct vu *v)
{
	static struct vu_blk b;
	static uint64_t sequence;
	static unsigned of;

	if (of != v->id && vu_blk_init(&b, v, 0, 4, 4096) < 0)
		return false;
	of = v->id;
	vu_blk_stamp(vu_blk_data(&b, 0), 4096, 9, ++sequence);
	int r = vu_blk_do(&b, VIRTIO_BLK_T_OUT, 72, 4096);

	WANT(r == VIRTIO_BLK_S_OK, "write: %d", r);
	memset(vu_blk_data(&b, 0), 0, 4096);
	r = vu_blk_do(&b, VIRTIO_BLK_T_IN, 72, 4096);
	WANT(r == VIRTIO_BLK_S_OK, "read: %d", r);
	WANT(vu_blk_read_stamp(vu_blk_data(&b, 0), 4096, 9) == sequence, "what was written does not come back");
	return true;
}

static struct vu_hostile hostile(int arg)
{
	/* Never freed: the configuration lives as long as the test's process. */
	struct vu_disk *d = vu_disk_new_cold(&(struct vu_disk_opts){ .mode = arg & 7, .no_uring = (arg & SYNC) != 0 });

	if (d == NULL)
		exit(1);
	(void)unlink(d->path);
	if ((arg & 7) == VU_ALONE) { /* it opens by name, so the name stays a little */
		(void)vu_disk_free(d);
		d = vu_disk_new_cold(&(struct vu_disk_opts){ .mode = arg & 7, .no_uring = (arg & SYNC) != 0 });
	}
	return (struct vu_hostile){ .cfg = d->cfg, .queue = 0, .good = good, .head = &head, .head_len = HEAD };
}

#define HOSTILE(fn, ...) \
	static bool fn(int arg) \
	{ \
		struct vu_hostile h = hostile(arg); \
\
		return __VA_ARGS__; \
	}
HOSTILE(broken_chains, vu_hostile_chains(&h))
HOSTILE(chains_by_chance, vu_hostile_random_chains(&h, 1, RANDOM_CHAINS))
HOSTILE(descriptors_that_change_under_its_eyes, vu_hostile_flipper(&h, 700))
HOSTILE(resets_at_any_moment, vu_hostile_resets(&h, RESETS))
HOSTILE(a_guest_does_not_fill_the_log, vu_hostile_log_is_short(&h))
HOSTILE(broken_messages, vu_hostile_messages(&h))
HOSTILE(messages_by_chance, vu_hostile_random_messages(&h, 1, RANDOM_MESSAGES))
HOSTILE(spare_descriptors_are_closed, vu_hostile_spare_fds(&h))

/* Requests that fail leave nothing behind. */
static bool a_flood_of_bad_requests_takes_no_memory(int arg)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = arg & 7, .no_uring = (arg & SYNC) != 0 });

	WANT(d != NULL, "no disk");
	struct vu_blk *b = &d->b[0];
	uint64_t before = 0;

	for (unsigned i = 0; i < FLOOD; i++) {
		if (i == FLOOD / 10)
			before = vu_proc_rss_kib(d->v);
		int r = vu_blk_do(b, i % 2 == 0 ? VIRTIO_BLK_T_IN : 77, UINT64_MAX - i, 512 + i % 3);

		WANT(r == VIRTIO_BLK_S_IOERR || r == VIRTIO_BLK_S_UNSUPP, "request %u: %d", i, r);
	}
	WANT(vu_proc_rss_kib(d->v) <= before + 64, "%llu KiB, before %llu", (unsigned long long)vu_proc_rss_kib(d->v),
	     (unsigned long long)before);
	return vu_disk_free(d);
}

/* A chain without room for a status is the driver's fault. */
static bool no_room_for_a_status_is_a_broken_ring(int arg)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = arg & 7, .no_uring = (arg & SYNC) != 0 });

	WANT(d != NULL, "no disk");
	struct vu_blk *b = &d->b[0];

	memset(b->head_p, 0, HEAD);
	WANT(vu_ring_add(b->r, &(struct vu_buf){ b->head, HEAD }, 1, NULL, 0, 0) >= 0, "no room");
	vu_ring_kick(b->r);
	WANT(vu_needs_reset(d->v, VU_TIMEOUT_MS), "no reset was asked for");
	WANT(vu_reset(d->v) == 0 && vu_disk_write(d, 0, 0, 8, 1), "after a reset");
	return vu_disk_free(d);
}

#define TEST_ALL(fn) \
	{ .name = #fn, .run = (fn), .arg = VU_ALONE, .suffix = ", alone", .seconds = 120 }, \
	{ .name = #fn, .run = (fn), .arg = VU_PRESET, .suffix = ", jailed", .seconds = 120 }, \
	{ .name = #fn, .run = (fn), .arg = VU_PRESET | SYNC, .suffix = ", jailed, pread and pwrite", .seconds = 120 }

static const struct vu_test tests[] = {
	TEST_ALL(broken_chains),
	TEST_ALL(chains_by_chance),
	TEST_ALL(descriptors_that_change_under_its_eyes),
	TEST_ALL(resets_at_any_moment),
	TEST_ALL(a_guest_does_not_fill_the_log),
	TEST_BOTH(broken_messages),
	TEST_BOTH(messages_by_chance),
	TEST_BOTH(spare_descriptors_are_closed),
	TEST_ALL(a_flood_of_bad_requests_takes_no_memory),
	TEST_ALL(no_room_for_a_status_is_a_broken_ring),
};

int main(int argc, char **argv)
{
	return vu_tests_main(tests, nitems(tests), argc, argv);
}
