/* SPDX-License-Identifier: ISC */
#include "devices/common/vq.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/unit/devices/common/driver.h"

static struct driver d;
static struct vq vq;
static struct iovec iov[16];
static struct vq_chain c;

static int fresh(void **state)
{
	(void)state;
	vq_fini(&vq); /* tests of many cases begin again in between */
	driver_init(&d, NUM, F_INDIRECT);
	return vq_init(&vq, 0, 16, NULL);
}

static int gone(void **state)
{
	(void)state;
	if (vq.call_fd >= 0)
		(void)close(vq.call_fd);
	vq_fini(&vq);
	return 0;
}

static void begin(void)
{
	assert_int_equal(vq_start(&vq, &d.setup, NULL), 0);
}

/* --- rings ------------------------------------------------------------------------------------------------------ */

static void start_refuses_rings_that_are_none(void **state)
{
	const struct { uint64_t desc, avail, used; uint16_t num; } bad[] = {
		{ DESC + 8, AVAIL, USED, NUM }, { DESC, AVAIL + 1, USED, NUM }, { DESC, AVAIL, USED + 2, NUM }, /* alignment */
		{ 0, AVAIL, USED, NUM }, { DESC, 0, USED, NUM }, { DESC, AVAIL, 0, NUM },
		{ LOW - 16, AVAIL, USED, NUM }, { LOW + LOW_BYTES - 16, AVAIL, USED, NUM }, /* over an end */
		{ DESC, LOW + LOW_BYTES - 4, USED, NUM }, { DESC, AVAIL, LOW + LOW_BYTES - 64, NUM },
		{ HIGH - 16, AVAIL, USED, NUM }, { UINT64_MAX - 15, AVAIL, USED, NUM }, { DESC, UINT64_MAX - 1, USED, NUM },
		{ DESC, AVAIL, UINT64_MAX - 3, NUM },
		{ DESC, AVAIL, USED, 0 }, { DESC, AVAIL, USED, 3 }, { DESC, AVAIL, USED, 32 }, { DESC, AVAIL, USED, 32768 },
	};

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++) {
		struct vq_setup s = d.setup;

		s.desc = bad[i].desc;
		s.avail = bad[i].avail;
		s.used = bad[i].used;
		s.num = bad[i].num;
		s.base = 77;
		assert_int_equal(vq_start(&vq, &s, NULL), -EBADMSG);
		assert_int_equal(vq_pop(&vq, &c, iov, 16), 0);
		assert_int_equal(vq_stop(&vq), 77);
	}
}

static void start_takes_rings_that_end_with_memory(void **state)
{
	(void)state;
	d.setup.desc = LOW + LOW_BYTES - 16 * NUM;
	d.setup.avail = HIGH + HIGH_BYTES - (4 + 2 * NUM);
	d.setup.used = HIGH;
	begin();
	assert_true(vq_is_started(&vq));
}

static void empty_ring_pops_nothing(void **state)
{
	(void)state;
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 0);
	assert_int_equal(vq_pending(&vq), 0);
}

static void pop_gives_readable_then_writable_buffers(void **state)
{
	(void)state;
	driver_desc(&d, 3, BUF, 16, VRING_DESC_F_NEXT, 5);
	driver_desc(&d, 5, HIGH + 4, 100, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	driver_desc(&d, 1, BUF + 64, 1, VRING_DESC_F_WRITE, 0);
	driver_offer(&d, 3);
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	assert_int_equal(c.head, 3);
	assert_int_equal(c.n_out, 1);
	assert_int_equal(c.n_in, 2);
	assert_int_equal(c.out_bytes, 16);
	assert_int_equal(c.in_bytes, 101);
	assert_ptr_equal(iov[0].iov_base, driver_at(&d, BUF));
	assert_ptr_equal(iov[1].iov_base, driver_at(&d, HIGH + 4));
	assert_ptr_equal(iov[2].iov_base, driver_at(&d, BUF + 64));
	assert_int_equal(vq_in_flight(&vq), 1);
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 0);
}

static void unpop_brings_the_chain_again(void **state)
{
	(void)state;
	driver_simple(&d, 2);
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	vq_unpop(&vq, &c);
	assert_int_equal(vq_in_flight(&vq), 0);
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	assert_int_equal(c.head, 2);
}

static void index_wraps_around(void **state)
{
	(void)state;
	d.setup.base = 65533;
	d.avail_idx = 65533;
	driver_used(&d)[1] = 65533;
	driver_avail(&d)[1] = 65533;
	begin();
	for (uint16_t i = 0; i < 3 * NUM; i++) {
		driver_simple(&d, i % NUM);
		assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
		vq_push(&vq, c.head, i);
		vq_flush(&vq);
		assert_int_equal(driver_used_id(&d, (uint16_t)(65533 + i)), i % NUM);
		assert_int_equal(driver_used_len(&d, (uint16_t)(65533 + i)), i);
	}
	assert_int_equal(driver_used_idx(&d), (uint16_t)(65533 + 3 * NUM));
	assert_int_equal(vq_stop(&vq), (uint16_t)(65533 + 3 * NUM));
}

static void nothing_is_published_before_the_flush(void **state)
{
	(void)state;
	driver_simple(&d, 0);
	driver_simple(&d, 1);
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	vq_push(&vq, 0, 1);
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	vq_push(&vq, 1, 1);
	assert_int_equal(driver_used_idx(&d), 0);
	vq_flush(&vq);
	assert_int_equal(driver_used_idx(&d), 2);
}

static void stop_goes_back_to_what_was_given_up(void **state)
{
	(void)state;
	for (uint16_t i = 0; i < 4; i++)
		driver_simple(&d, i);
	begin();
	for (int i = 0; i < 3; i++)
		assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	vq_push(&vq, 0, 0);
	assert_int_equal(vq_stop(&vq), 1);
	assert_int_equal(driver_used_idx(&d), 1);
	d.setup.base = 1;
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	assert_int_equal(c.head, 1);
}

static void more_pushes_than_pops_are_ignored(void **state)
{
	(void)state;
	driver_simple(&d, 0);
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	vq_push(&vq, 0, 0);
	vq_push(&vq, 0, 0);
	vq_flush(&vq);
	assert_int_equal(driver_used_idx(&d), 1);
}

/* --- faults of the guest ---------------------------------------------------------------------------------------- */

static void assert_broken(void)
{
	assert_int_equal(vq_pop(&vq, &c, iov, 16), -EBADMSG);
	assert_int_equal(vq_pop(&vq, &c, iov, 16), -EBADMSG);
	assert_int_equal(vq_pending(&vq), -EBADMSG);
	assert_false(vq_is_started(&vq));
	assert_true(strlen(vq_fault(&vq)) > 0);
	d.setup.base = d.avail_idx; /* a reset, and it works again */
	driver_used(&d)[1] = d.avail_idx;
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 0);
}

static void head_outside_the_table_breaks(void **state)
{
	(void)state;
	driver_offer(&d, NUM);
	begin();
	assert_broken();
}

static void index_that_jumps_breaks(void **state)
{
	const uint16_t jumps[] = { NUM + 1, 0x7fff, 0x8000, 0xffff };

	(void)state;
	for (size_t i = 0; i < nitems(jumps); i++) {
		assert_int_equal(fresh(NULL), 0);
		driver_avail(&d)[1] = d.avail_idx = jumps[i];
		begin();
		assert_broken();
		(void)gone(NULL);
	}
	assert_int_equal(fresh(NULL), 0);
}

static void full_ring_is_no_jump(void **state)
{
	(void)state;
	for (uint16_t i = 0; i < NUM; i++)
		driver_simple(&d, i);
	begin();
	assert_int_equal(vq_pending(&vq), NUM);
	for (uint16_t i = 0; i < NUM; i++)
		assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	assert_int_equal(vq_in_flight(&vq), NUM);
}

static void head_in_flight_breaks(void **state)
{
	(void)state;
	driver_simple(&d, 2);
	driver_simple(&d, 2);
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	assert_int_equal(vq_pop(&vq, &c, iov, 16), -EBADMSG);
	/* what is in flight can still be given back */
	vq_push(&vq, 2, 0);
	vq_flush(&vq);
	assert_int_equal(driver_used_idx(&d), 1);
}

static void head_comes_again_when_published_only(void **state)
{
	(void)state;
	driver_simple(&d, 2);
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	vq_push(&vq, 2, 0);
	driver_simple(&d, 2);
	assert_int_equal(vq_pop(&vq, &c, iov, 16), -EBADMSG);
}

static void buffers_outside_memory_break(void **state)
{
	const struct { uint64_t addr; uint32_t len; } bad[] = {
		{ 0, 1 }, { LOW - 1, 1 }, { LOW - 1, 2 }, { LOW + LOW_BYTES - 1, 2 }, { LOW + LOW_BYTES, 1 }, { HIGH - 1, 2 },
		{ HIGH, HIGH_BYTES + 1 }, { HIGH, UINT32_MAX }, { UINT64_MAX, 1 }, { UINT64_MAX, 2 }, { UINT64_MAX - 15, 16 },
		{ LOW, HIGH + HIGH_BYTES - LOW }, { UINT64_C(1) << 63, 4096 },
	};

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++) {
		assert_int_equal(fresh(NULL), 0);
		driver_desc(&d, 0, bad[i].addr, bad[i].len, VRING_DESC_F_WRITE, 0);
		driver_offer(&d, 0);
		begin();
		assert_broken();
		(void)gone(NULL);
	}
	assert_int_equal(fresh(NULL), 0);
}

static void buffers_at_the_borders_are_fine(void **state)
{
	(void)state;
	driver_desc(&d, 0, LOW, LOW_BYTES, VRING_DESC_F_NEXT, 1);
	driver_desc(&d, 1, HIGH + HIGH_BYTES - 1, 1, VRING_DESC_F_WRITE, 0);
	driver_offer(&d, 0);
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	assert_int_equal(c.out_bytes, LOW_BYTES);
}

static void more_than_four_gigabytes_break(void **state)
{
	static struct gmem big;

	(void)state;
	/* Never touched: addresses are all that counts here. */
	big = (struct gmem){ 0 };
	assert_int_equal(gmem_add(&big, LOW, LOW_BYTES, d.low), 0);
	assert_int_equal(gmem_add(&big, UINT64_C(1) << 40, UINT64_C(1) << 33, (void *)(uintptr_t)(UINT64_C(1) << 44)), 0);
	d.setup.gm = &big;
	for (unsigned i = 0; i < 3; i++)
		driver_desc(&d, i, UINT64_C(1) << 40, 0x80000000u - (i == 1), i < 2 ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	driver_desc(&d, 3, UINT64_C(1) << 40, UINT32_MAX, 0, 0);
	driver_offer(&d, 3);
	driver_offer(&d, 0);
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	assert_int_equal(c.out_bytes, UINT32_MAX);
	assert_int_equal(vq_pop(&vq, &c, iov, 16), -EBADMSG);
}

static void more_buffers_than_the_device_takes_break(void **state)
{
	(void)state;
	for (uint16_t i = 0; i < 4; i++)
		driver_desc(&d, i, BUF, 16, i < 3 ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	driver_offer(&d, 0);
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 3), -EBADMSG);
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 4), 1);
}

static void empty_buffers_count_for_nothing(void **state)
{
	(void)state;
	driver_desc(&d, 0, UINT64_MAX, 0, VRING_DESC_F_NEXT, 1);
	driver_desc(&d, 1, BUF, 8, VRING_DESC_F_NEXT, 2);
	driver_desc(&d, 2, 0, 0, VRING_DESC_F_WRITE, 0);
	driver_offer(&d, 0);
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 1), 1);
	assert_int_equal(c.n_out, 1);
	assert_int_equal(c.n_in, 0);
}

/* --- indirect tables -------------------------------------------------------------------------------------------- */

static void indirect(uint64_t table, uint32_t len, uint16_t more)
{
	driver_desc(&d, 0, table, len, (uint16_t)(VRING_DESC_F_INDIRECT | more), 1);
	driver_offer(&d, 0);
	begin();
}

static void indirect_table_is_walked(void **state)
{
	(void)state;
	driver_desc_at(&d, TABLE, 0, BUF, 16, VRING_DESC_F_NEXT, 2);
	driver_desc_at(&d, TABLE, 2, BUF + 64, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	driver_desc_at(&d, TABLE, 1, BUF + 1024, 1, VRING_DESC_F_WRITE, 0);
	indirect(TABLE, 48, 0);
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	assert_int_equal(c.head, 0);
	assert_int_equal(c.n_out, 1);
	assert_int_equal(c.n_in, 2);
	assert_int_equal(c.in_bytes, 513);
}

static void indirect_table_behind_direct_buffers_is_walked(void **state)
{
	(void)state;
	driver_desc_at(&d, TABLE, 0, BUF, 16, VRING_DESC_F_WRITE, 0);
	driver_desc(&d, 1, BUF + 64, 4, VRING_DESC_F_NEXT, 0);
	driver_desc(&d, 0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	driver_offer(&d, 1);
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	assert_int_equal(c.n_out + c.n_in, 2);
}

static void indirect_table_may_be_unaligned_and_longer_than_the_ring(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 12; i++)
		driver_desc_at(&d, TABLE + 1, i, BUF, 1, i < 11 ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	indirect(TABLE + 1, 12 * 16, 0);
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	assert_int_equal(c.n_out, 12);
}

static void impossible_indirect_tables_break(void **state)
{
	const struct { uint64_t table; uint32_t len; uint16_t more; } bad[] = {
		{ TABLE, 0, 0 }, { TABLE, 8, 0 }, { TABLE, 17, 0 }, { TABLE, UINT32_MAX - 15, 0 }, { TABLE, 16 * 1025, 0 },
		{ TABLE, 16, VRING_DESC_F_NEXT }, { LOW + LOW_BYTES - 16, 32, 0 }, { HIGH - 16, 32, 0 }, { UINT64_MAX - 15, 16, 0 },
		{ 0, 16, 0 },
	};

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++) {
		assert_int_equal(fresh(NULL), 0);
		indirect(bad[i].table, bad[i].len, bad[i].more);
		assert_broken();
		(void)gone(NULL);
	}
	assert_int_equal(fresh(NULL), 0);
}

static void indirect_inside_indirect_breaks_wherever_it_lies(void **state)
{
	const uint64_t tables[] = { TABLE, DESC }; /* the second: on top of the ring's own */

	(void)state;
	for (size_t i = 0; i < nitems(tables); i++) {
		assert_int_equal(fresh(NULL), 0);
		driver_desc_at(&d, tables[i], 0, tables[i], 16, VRING_DESC_F_INDIRECT, 0);
		indirect(tables[i], 16, 0);
		assert_broken();
		(void)gone(NULL);
	}
	assert_int_equal(fresh(NULL), 0);
}

static void indirect_that_was_not_negotiated_breaks(void **state)
{
	(void)state;
	d.setup.features = 0;
	driver_desc_at(&d, TABLE, 0, BUF, 16, 0, 0);
	indirect(TABLE, 16, 0);
	assert_broken();
}

static void loop_in_an_indirect_table_breaks(void **state)
{
	(void)state;
	driver_desc_at(&d, TABLE, 0, BUF, 1, VRING_DESC_F_NEXT, 1);
	driver_desc_at(&d, TABLE, 1, BUF, 1, VRING_DESC_F_NEXT, 0);
	indirect(TABLE, 32, 0);
	assert_broken();
}

/* --- all shapes of up to six descriptors ------------------------------------------------------------------------ */

enum { LINKS = 6, KINDS = 2 * (LINKS + 2) }; /* end, next 0..5, next outside; each readable or writable */

static void put_kind(unsigned i, unsigned kind)
{
	unsigned to = kind / 2;
	uint16_t flags = kind % 2 != 0 ? VRING_DESC_F_WRITE : 0;

	driver_desc(&d, i, (uint64_t)BUF + i * 16, 16, (uint16_t)(flags | (to > 0 ? VRING_DESC_F_NEXT : 0)),
		    (uint16_t)(to == LINKS + 1 ? NUM : to - 1));
}

/* What the specification says about it: the number of buffers, or -1. */
static int judge(const unsigned *kind)
{
	unsigned seen = 0, i = 0;
	bool in = false;

	for (int n = 1;; n++) {
		bool w = kind[i] % 2 != 0;
		unsigned to = kind[i] / 2;

		if ((seen & 1u << i) != 0 || (in && !w))
			return -1;
		seen |= 1u << i;
		in = in || w;
		if (to == 0)
			return n;
		if (to == LINKS + 1)
			return -1;
		i = to - 1;
	}
}

static void every_shape_is_judged_right(void **state)
{
	unsigned kind[LINKS] = { 0 };
	unsigned links = LINKS, good = 0, bad = 0;
	uint64_t total = 1;

#if defined(CLOISTER_SANITIZER)
	links = 4; /* the same loops, fewer of them */
#endif
	(void)state;
	for (unsigned i = 0; i < links; i++)
		total *= KINDS;
	for (unsigned i = 0; i < LINKS; i++)
		put_kind(i, 0);
	driver_offer(&d, 0);
	begin();
	for (uint64_t t = 0; t < total; t++) {
		uint64_t rest = t;

		for (unsigned i = 0; i < links; i++, rest /= KINDS) {
			kind[i] = (unsigned)(rest % KINDS);
			put_kind(i, kind[i]);
		}
		int want = judge(kind), got = vq_pop(&vq, &c, iov, 16);
		if (want < 0) {
			assert_int_equal(got, -EBADMSG);
			vq.broken = false; /* a reset, in short */
			bad++;
			continue;
		}
		assert_int_equal(got, 1);
		assert_int_equal((int)(c.n_out + c.n_in), want);
		for (unsigned i = 0; i < c.n_out + c.n_in; i++)
			assert_in_range((uint64_t)((uint8_t *)iov[i].iov_base - d.low), BUF - LOW, BUF - LOW + 16 * LINKS - 1);
		vq_unpop(&vq, &c);
		good++;
	}
	assert_true(good > 100 && bad > 100);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fresh, gone)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(start_refuses_rings_that_are_none), T(start_takes_rings_that_end_with_memory),
		T(empty_ring_pops_nothing), T(pop_gives_readable_then_writable_buffers),
		T(unpop_brings_the_chain_again), T(index_wraps_around), T(nothing_is_published_before_the_flush),
		T(stop_goes_back_to_what_was_given_up), T(more_pushes_than_pops_are_ignored),
		T(head_outside_the_table_breaks), T(index_that_jumps_breaks), T(full_ring_is_no_jump),
		T(head_in_flight_breaks), T(head_comes_again_when_published_only), T(buffers_outside_memory_break),
		T(buffers_at_the_borders_are_fine), T(more_than_four_gigabytes_break),
		T(more_buffers_than_the_device_takes_break), T(empty_buffers_count_for_nothing),
		T(indirect_table_is_walked), T(indirect_table_behind_direct_buffers_is_walked),
		T(indirect_table_may_be_unaligned_and_longer_than_the_ring), T(impossible_indirect_tables_break),
		T(indirect_inside_indirect_breaks_wherever_it_lies), T(indirect_that_was_not_negotiated_breaks),
		T(loop_in_an_indirect_table_breaks), T(every_shape_is_judged_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
