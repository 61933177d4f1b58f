/* SPDX-License-Identifier: ISC */
/* A queue between a ring in memory and an engine that finishes what the test says, when it says. */
#include "devices/blk/blk_queue.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/ev.h"
#include "common/gmem.h"
#include "common/le.h"
#include "devices/blk/blk_stats.h"
#include "devices/common/vq_internal.h"

enum { NUM = 16, DESC = 0x1000, AVAIL = 0x2000, USED = 0x3000, SLOTS = 0x4000, SLOT = 0x2000, DATA = 0x1000, MEM = 0x40000 };

static struct fixture {
	uint8_t *mem;
	struct gmem gm;
	struct dirty_log log;
	struct vq vq;
	struct event_base *base;
	struct blk_disk disk;
	struct blk_queue q;
	struct ratelimit_shared limits;
	struct stats_page page;
	uint16_t avail;

	struct blk_io *begun[NUM], *done[NUM]; /* in order */
	unsigned n_begun, n_done, at_done;
	unsigned again, idle, guest_errors;
} *f;

/* --- the library's part --------------------------------------------------------------------------------------- */

struct stats_page *vdevice_stats(struct vdevice *vd)
{
	(void)vd;
	return &f->page;
}

void vdevice_count(struct vdevice *vd, unsigned counter, uint64_t n)
{
	(void)vd;
	f->page.v[counter] += n;
}

void vdevice_again(struct vdevice *vd, unsigned q, unsigned ms)
{
	(void)vd;
	(void)q;
	(void)ms;
	f->again++;
}

void vdevice_queue_idle(struct vdevice *vd, unsigned q)
{
	(void)vd;
	(void)q;
	f->idle++;
}

void vdevice_guest_error(struct vdevice *vd, unsigned q, const char *why)
{
	(void)vd;
	(void)q;
	(void)why;
	vq_break(&f->vq, why);
	f->guest_errors++;
}

void vdevice_serve(struct vdevice *vd, unsigned q)
{
	(void)vd;
	(void)q;
	blk_queue_run(&f->q);
}

/* --- the engine ----------------------------------------------------------------------------------------------- */

static bool fake_begin(struct blk_engine *g, struct blk_io *io)
{
	(void)g;
	f->begun[f->n_begun++] = io;
	return false;
}

static bool fake_submit(struct blk_engine *g)
{
	(void)g;
	return true;
}

static struct blk_io *fake_reap(struct blk_engine *g)
{
	(void)g;
	return f->at_done < f->n_done ? f->done[f->at_done++] : NULL;
}

static bool fake_has_finished(struct blk_engine *g)
{
	(void)g;
	return f->at_done < f->n_done;
}

static void fake_fini(struct blk_engine *g)
{
	(void)g;
}

static const struct blk_engine_ops fake_ops = { .name = "fake", .begin = fake_begin, .submit = fake_submit, .reap = fake_reap,
						.has_finished = fake_has_finished, .fini = fake_fini };

/* The @nth operation that was begun ends with @res. */
static void finish(unsigned nth, int64_t res)
{
	f->begun[nth]->res = res;
	f->done[f->n_done++] = f->begun[nth];
	blk_queue_run(&f->q);
}

/* --- the driver ----------------------------------------------------------------------------------------------- */

static void put_desc(unsigned i, uint64_t gpa, uint32_t len, uint16_t flags)
{
	uint8_t *d = f->mem + DESC + 16 * i;

	le64_put(d, gpa);
	le32_put(d + 8, len);
	le16_put(d + 12, flags);
	le16_put(d + 14, (uint16_t)(i + 1));
}

/* Request @i: descriptors 3i.., header, status and data in its own place. */
static void add(unsigned i, uint32_t type, uint64_t sector, uint32_t len)
{
	uint64_t at = SLOTS + (uint64_t)SLOT * i;
	bool in = type == VIRTIO_BLK_T_IN;
	unsigned n = 0;

	le32_put(f->mem + at, type);
	le64_put(f->mem + at + 8, sector);
	f->mem[at + 16] = 0xee;
	put_desc(3 * i + n++, at, 16, VRING_DESC_F_NEXT);
	if (len > 0)
		put_desc(3 * i + n++, at + DATA, len, (uint16_t)(VRING_DESC_F_NEXT | (in ? VRING_DESC_F_WRITE : 0)));
	put_desc(3 * i + n, at + 16, 1, VRING_DESC_F_WRITE);
	le16_put(f->mem + AVAIL + 4 + 2 * (f->avail % NUM), (uint16_t)(3 * i));
	le16_put(f->mem + AVAIL + 2, ++f->avail);
}

static uint8_t status(unsigned i)
{
	return f->mem[SLOTS + SLOT * i + 16];
}

static uint16_t used(void)
{
	return le16_get(f->mem + USED + 2);
}

static int setup(void **state)
{
	struct err e = { 0 };

	(void)state;
	f = calloc(1, sizeof(*f));
	f->mem = aligned_alloc(4096, MEM);
	memset(f->mem, 0, MEM);
	f->base = ev_new(EV_BACKEND_POLL);
	if (gmem_add(&f->gm, 0, MEM, f->mem) < 0 || vq_init(&f->vq, 0, NUM, NULL) < 0 || f->base == NULL)
		return -1;
	blk_stats_init(&f->page);
	f->disk.image = (struct blk_image){ .fd = -1, .off_align = 1, .mem_align = 1, .shape = { .bytes = 1 << 20 } };
	f->disk.rules = (struct blk_rules){ .capacity = 2048, .discard = true, .zeroes = true, .write_unit = 512 };
	f->disk.writeback = true;
	blk_order_init(&f->disk.order, false);
	if (blk_queue_init(&f->q, &f->disk, 0, NUM, &e) < 0)
		return -1;
	f->q.engine = (struct blk_engine){ .ops = &fake_ops, .fd = -1 };
	struct vq_setup s = { .gm = &f->gm, .log = &f->log, .num = NUM, .desc = DESC, .avail = AVAIL, .used = USED };

	if (blk_queue_watch(&f->q, f->base, &e) < 0 || vq_start(&f->vq, &s, &e) < 0)
		return -1;
	blk_queue_start(&f->q, &f->vq);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	blk_queue_fini(&f->q);
	(void)vq_stop(&f->vq);
	vq_fini(&f->vq);
	ev_free(f->base);
	free(f->mem);
	free(f);
	return 0;
}

/* --- tests ---------------------------------------------------------------------------------------------------- */

static void a_read_ends_with_data_and_status(void **state)
{
	(void)state;
	add(0, VIRTIO_BLK_T_IN, 3, 1024);
	blk_queue_run(&f->q);
	assert_int_equal(f->n_begun, 1);
	assert_int_equal(f->begun[0]->op, BLK_IO_READ);
	assert_int_equal(f->begun[0]->off, 1536);
	assert_ptr_equal(f->begun[0]->iov[0].iov_base, f->mem + SLOTS + DATA);
	assert_int_equal(used(), 0);
	finish(0, 1024);
	assert_int_equal(used(), 1);
	assert_int_equal(status(0), VIRTIO_BLK_S_OK);
	assert_int_equal(le32_get(f->mem + USED + 8), 1025);
	assert_int_equal(f->page.v[STATS_BLK_READ_BYTES], 1024);
}

static void a_write_waits_for_one_that_it_overlaps(void **state)
{
	(void)state;
	add(0, VIRTIO_BLK_T_OUT, 8, 1024);
	add(1, VIRTIO_BLK_T_OUT, 9, 512);
	blk_queue_run(&f->q);
	assert_int_equal(f->n_begun, 1);
	finish(0, 1024);
	/* Begun, and the driver has the first one. */
	assert_int_equal(f->n_begun, 2);
	assert_int_equal(used(), 1);
	assert_int_equal(f->begun[1]->off, 9 * 512);
	finish(1, 512);
	assert_int_equal(used(), 2);
}

static void discards_and_zeroes_wait_too(void **state)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		unsigned first = f->n_begun;

		add(0, VIRTIO_BLK_T_OUT, 8, 1024);
		add(1, types[k], 0, 16);
		le64_put(f->mem + SLOTS + SLOT + DATA, 9);
		le32_put(f->mem + SLOTS + SLOT + DATA + 8, 100);
		blk_queue_run(&f->q);
		assert_int_equal(f->n_begun, first + 1);
		finish(first, 1024);
		assert_int_equal(f->n_begun, first + 2);
		finish(first + 1, 0);
		assert_int_equal(status(1), VIRTIO_BLK_S_OK);
	}
}

static void nothing_overtakes_a_write_that_waits(void **state)
{
	(void)state;
	add(0, VIRTIO_BLK_T_OUT, 8, 512);
	add(1, VIRTIO_BLK_T_OUT, 8, 512);
	add(2, VIRTIO_BLK_T_OUT, 8, 512);
	blk_queue_run(&f->q);
	finish(0, 512);
	assert_int_equal(f->n_begun, 2);
	assert_ptr_equal(f->begun[1]->iov[0].iov_base, f->mem + SLOTS + SLOT + DATA);
	finish(1, 512);
	assert_int_equal(f->n_begun, 3);
}

static void another_queues_write_is_waited_for(void **state)
{
	struct blk_range other;

	(void)state;
	assert_true(blk_order_begin(&f->disk.order, &other, 0, 4096));
	add(0, VIRTIO_BLK_T_OUT, 7, 512);
	blk_queue_run(&f->q);
	assert_int_equal(f->n_begun, 0);
	assert_int_equal(f->again, 1);
	blk_order_end(&f->disk.order, &other);
	blk_queue_run(&f->q);
	assert_int_equal(f->n_begun, 1);
}

static void others_go_side_by_side(void **state)
{
	(void)state;
	add(0, VIRTIO_BLK_T_OUT, 8, 512);
	add(1, VIRTIO_BLK_T_OUT, 9, 512);
	add(2, VIRTIO_BLK_T_IN, 8, 512);
	add(3, VIRTIO_BLK_T_FLUSH, 0, 0);
	blk_queue_run(&f->q);
	assert_int_equal(f->n_begun, 4);
	finish(2, 512);
	assert_int_equal(status(2), VIRTIO_BLK_S_OK);
	assert_int_equal(le32_get(f->mem + USED + 4), 6); /* out of order */
}

static void what_was_short_is_gone_on_with(void **state)
{
	(void)state;
	add(0, VIRTIO_BLK_T_IN, 0, 4096);
	blk_queue_run(&f->q);
	finish(0, 1000);
	assert_int_equal(f->n_begun, 2);
	assert_int_equal(f->begun[1]->off, 1000);
	assert_ptr_equal(f->begun[1]->iov[0].iov_base, f->mem + SLOTS + DATA + 1000);
	assert_int_equal(f->begun[1]->iov[0].iov_len, 3096);
	finish(1, 3096);
	assert_int_equal(status(0), VIRTIO_BLK_S_OK);
}

static void the_end_of_the_image_is_an_error(void **state)
{
	(void)state;
	add(0, VIRTIO_BLK_T_IN, 0, 4096);
	blk_queue_run(&f->q);
	finish(0, 512);
	finish(1, 0);
	assert_int_equal(status(0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(le32_get(f->mem + USED + 8), 0);
	assert_int_equal(f->page.v[STATS_BLK_READ_OPS], 0);
}

static void what_must_be_repeated_is_repeated(void **state)
{
	static const int again[] = { EAGAIN, EINTR, ECANCELED };

	(void)state;
	add(0, VIRTIO_BLK_T_OUT, 0, 512);
	blk_queue_run(&f->q);
	for (unsigned i = 0; i < 3; i++) {
		finish(i, -again[i]);
		while (f->n_begun == i + 1)
			(void)event_base_loop(f->base, EVLOOP_ONCE);
		assert_int_equal(used(), 0);
		assert_true(f->begun[i + 1]->may_block);
	}
	finish(3, 512);
	assert_int_equal(status(0), VIRTIO_BLK_S_OK);
}

static void a_failed_flush_fails_all_later_ones(void **state)
{
	(void)state;
	add(0, VIRTIO_BLK_T_FLUSH, 0, 0);
	blk_queue_run(&f->q);
	finish(0, -EIO);
	assert_int_equal(status(0), VIRTIO_BLK_S_IOERR);
	add(1, VIRTIO_BLK_T_FLUSH, 0, 0);
	blk_queue_run(&f->q);
	assert_int_equal(f->n_begun, 1);
	assert_int_equal(status(1), VIRTIO_BLK_S_IOERR);
	f->page.v[STATS_BLK_FLUSH_FAILED] = 0; /* a reset */
	add(2, VIRTIO_BLK_T_FLUSH, 0, 0);
	blk_queue_run(&f->q);
	finish(1, 0);
	assert_int_equal(status(2), VIRTIO_BLK_S_OK);
}

static void without_a_cache_a_write_ends_with_a_flush(void **state)
{
	(void)state;
	f->disk.writeback = false;
	add(0, VIRTIO_BLK_T_OUT, 0, 512);
	blk_queue_run(&f->q);
	finish(0, 512);
	assert_int_equal(used(), 0);
	assert_int_equal(f->begun[1]->op, BLK_IO_SYNC);
	finish(1, 0);
	assert_int_equal(status(0), VIRTIO_BLK_S_OK);
	add(1, VIRTIO_BLK_T_IN, 0, 512);
	blk_queue_run(&f->q);
	finish(2, 512);
	assert_int_equal(status(1), VIRTIO_BLK_S_OK);
	assert_int_equal(f->n_begun, 3);
}

static void other_ways_to_zero_are_tried_in_turn(void **state)
{
	(void)state;
	add(0, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16);
	le32_put(f->mem + SLOTS + DATA + 8, 16);
	le32_put(f->mem + SLOTS + DATA + 12, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
	blk_queue_run(&f->q);
	assert_int_equal(f->begun[0]->op, BLK_IO_PUNCH);
	finish(0, -EOPNOTSUPP);
	(void)event_base_loop(f->base, EVLOOP_NONBLOCK);
	assert_int_equal(f->begun[1]->op, BLK_IO_ZERO);
	finish(1, -EOPNOTSUPP);
	(void)event_base_loop(f->base, EVLOOP_NONBLOCK);
	assert_int_equal(f->n_begun, 3);
	assert_int_equal(f->begun[2]->op, BLK_IO_WRITE);
	assert_int_equal(f->begun[2]->iov[0].iov_len, 16 * 512);
	finish(2, 16 * 512);
	assert_int_equal(status(0), VIRTIO_BLK_S_OK);
}

static void long_discards_go_step_by_step(void **state)
{
	(void)state;
	f->disk.rules.capacity = UINT64_C(1) << 40;
	add(0, VIRTIO_BLK_T_DISCARD, 0, 16);
	le32_put(f->mem + SLOTS + DATA + 8, 5 << 20); /* 2.5 GiB */
	blk_queue_run(&f->q);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(f->n_begun, i + 1);
		assert_true(f->begun[i]->off == (uint64_t)i << 30);
		assert_true(f->begun[i]->len == UINT64_C(1) << (i < 2 ? 30 : 29));
		finish(i, 0);
		(void)event_base_loop(f->base, EVLOOP_NONBLOCK);
	}
	assert_int_equal(status(0), VIRTIO_BLK_S_OK);
	assert_int_equal(f->n_begun, 3);
}

static void what_the_limit_refuses_stays_in_the_ring(void **state)
{
	const struct cfg_rate_limiter one = { .has_ops = true, .ops = { .size = 1, .refill_time = 100000 } };

	(void)state;
	assert_int_equal(ratelimit_shared_init(&f->limits, &one, 1), 0);
	f->disk.limits = &f->limits;
	add(0, VIRTIO_BLK_T_IN, 0, 512);
	add(1, VIRTIO_BLK_T_OUT, 0, 512);
	blk_queue_run(&f->q);
	assert_int_equal(f->n_begun, 1);
	assert_int_equal(f->again, 1);
	assert_int_equal(vq_pending(&f->vq), 1);
	assert_int_equal(f->page.v[STATS_LIMITED], 1);
	assert_true(LIST_EMPTY(&f->disk.order.busy));
}

static void a_stop_waits_for_what_is_under_way(void **state)
{
	(void)state;
	add(0, VIRTIO_BLK_T_IN, 0, 512);
	blk_queue_run(&f->q);
	add(1, VIRTIO_BLK_T_IN, 0, 512);
	blk_queue_stop(&f->q);
	assert_int_equal(f->idle, 0);
	finish(0, 512);
	assert_int_equal(f->idle, 1);
	assert_int_equal(f->n_begun, 1);
	assert_int_equal(used(), 1);
}

static void a_stop_without_anything_is_idle_at_once(void **state)
{
	(void)state;
	blk_queue_stop(&f->q);
	assert_int_equal(f->idle, 1);
}

static void a_request_without_status_breaks_the_ring(void **state)
{
	(void)state;
	add(0, VIRTIO_BLK_T_OUT, 0, 512);
	put_desc(1, SLOTS + DATA, 512, 0);
	blk_queue_run(&f->q);
	assert_int_equal(f->guest_errors, 1);
	assert_int_equal(f->n_begun, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_read_ends_with_data_and_status),
		TEST(a_write_waits_for_one_that_it_overlaps),
		TEST(discards_and_zeroes_wait_too),
		TEST(nothing_overtakes_a_write_that_waits),
		TEST(another_queues_write_is_waited_for),
		TEST(others_go_side_by_side),
		TEST(what_was_short_is_gone_on_with),
		TEST(the_end_of_the_image_is_an_error),
		TEST(what_must_be_repeated_is_repeated),
		TEST(a_failed_flush_fails_all_later_ones),
		TEST(without_a_cache_a_write_ends_with_a_flush),
		TEST(other_ways_to_zero_are_tried_in_turn),
		TEST(long_discards_go_step_by_step),
		TEST(what_the_limit_refuses_stays_in_the_ring),
		TEST(a_stop_waits_for_what_is_under_way),
		TEST(a_stop_without_anything_is_idle_at_once),
		TEST(a_request_without_status_breaks_the_ring),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("blk_queue", tests, NULL, NULL);
}
