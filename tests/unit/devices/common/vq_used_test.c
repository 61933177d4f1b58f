/* SPDX-License-Identifier: ISC */
/* Giving back: interrupts, kicks, copies, the dirty log. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/eventfd.h>

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

static uint64_t interrupts(void)
{
	uint64_t n = 0;

	return read(vq.call_fd, &n, sizeof(n)) == (ssize_t)sizeof(n) ? n : 0;
}

static void begin_with_interrupts(void)
{
	begin();
	vq.call_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_true(vq.call_fd >= 0);
}

/* --- interrupts and kicks --------------------------------------------------------------------------------------- */

static void serve_one(uint16_t head)
{
	driver_simple(&d, head);
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	vq_push(&vq, head, 0);
	vq_flush(&vq);
}

static void a_batch_is_one_interrupt(void **state)
{
	(void)state;
	begin_with_interrupts();
	for (uint16_t i = 0; i < 5; i++)
		driver_simple(&d, i);
	for (uint16_t i = 0; i < 5; i++) {
		assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
		vq_push(&vq, c.head, 0);
	}
	vq_flush(&vq);
	vq_flush(&vq);
	assert_int_equal(interrupts(), 1);
}

static void driver_that_wants_no_interrupt_gets_none(void **state)
{
	(void)state;
	begin_with_interrupts();
	driver_avail(&d)[0] = VRING_AVAIL_F_NO_INTERRUPT;
	serve_one(0);
	assert_int_equal(interrupts(), 0);
	driver_avail(&d)[0] = 0;
	serve_one(1);
	assert_int_equal(interrupts(), 1);
}

static void event_index_chooses_the_interrupt(void **state)
{
	(void)state;
	d.setup.features = F_EVENT;
	begin_with_interrupts();
	driver_avail(&d)[2 + NUM] = 1; /* used_event: when the index passes 1 */
	serve_one(0);
	assert_int_equal(interrupts(), 0);
	serve_one(1);
	assert_int_equal(interrupts(), 1);
	serve_one(2);
	assert_int_equal(interrupts(), 0);
}

static void kicks_are_asked_for_by_flag_or_event(void **state)
{
	(void)state;
	begin();
	assert_int_equal(vq_want_kicks(&vq, false), 0);
	assert_int_equal(driver_used(&d)[0], VRING_USED_F_NO_NOTIFY);
	assert_int_equal(vq_want_kicks(&vq, true), 0);
	assert_int_equal(driver_used(&d)[0], 0);
	driver_simple(&d, 0);
	assert_int_equal(vq_want_kicks(&vq, true), 1); /* came meanwhile */
	(void)vq_stop(&vq);

	d.setup.features = F_EVENT;
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
	assert_int_equal(vq_want_kicks(&vq, true), 0);
	assert_int_equal(driver_used(&d)[2 + 4 * NUM], 1); /* avail_event: at the next one */
}

/* --- copies and the log ----------------------------------------------------------------------------------------- */

static void popped_pieces(void)
{
	driver_desc(&d, 0, BUF, 3, VRING_DESC_F_NEXT, 1);
	driver_desc(&d, 1, BUF + 0x100, 5, VRING_DESC_F_NEXT, 2);
	driver_desc(&d, 2, HIGH + 0xffe, 4, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 3);
	driver_desc(&d, 3, HIGH + 0x3000, 2, VRING_DESC_F_WRITE, 0);
	driver_offer(&d, 0);
	begin();
	assert_int_equal(vq_pop(&vq, &c, iov, 16), 1);
}

static void copies_cross_buffers_and_stay_inside(void **state)
{
	char to[8] = { 0 };

	(void)state;
	memcpy(driver_at(&d, BUF), "abc", 3);
	memcpy(driver_at(&d, BUF + 0x100), "defgh", 5);
	popped_pieces();
	assert_int_equal(vq_chain_read(&c, 0, to, 8), 0);
	assert_memory_equal(to, "abcdefgh", 8);
	assert_int_equal(vq_chain_read(&c, 2, to, 3), 0);
	assert_memory_equal(to, "cde", 3);
	assert_int_equal(vq_chain_read(&c, 1, to, 8), -ERANGE);
	assert_int_equal(vq_chain_read(&c, UINT32_MAX, to, 2), -ERANGE);
	assert_int_equal(vq_chain_read(&c, 8, to, 0), 0);
	assert_int_equal(vq_chain_write(&vq, &c, 1, "WXYZ!", 5), 0);
	assert_memory_equal(driver_at(&d, HIGH + 0xfff), "WXY", 3);
	assert_memory_equal(driver_at(&d, HIGH + 0x3000), "Z!", 2);
	assert_int_equal(vq_chain_write(&vq, &c, 2, "12345", 5), -ERANGE);
}

static void iovecs_of_a_part_are_cut_to_it(void **state)
{
	struct iovec out[4];

	(void)state;
	popped_pieces();
	assert_int_equal(vq_chain_iov(&c, true, 1, 4, out, 4), 2);
	assert_ptr_equal(out[0].iov_base, driver_at(&d, HIGH + 0xfff));
	assert_int_equal(out[0].iov_len, 3);
	assert_int_equal(out[1].iov_len, 1);
	assert_int_equal(vq_chain_iov(&c, true, 1, 4, out, 1), -E2BIG);
	assert_int_equal(vq_chain_iov(&c, true, 3, 4, out, 4), -ERANGE);
	assert_int_equal(vq_chain_iov(&c, false, 8, 0, out, 4), 0);
}

static bool is_dirty(uint64_t gpa)
{
	return (d.log_map[gpa / 4096 / 8] >> (gpa / 4096 % 8) & 1) != 0;
}

static void written_pages_are_logged_and_no_others(void **state)
{
	(void)state;
	popped_pieces();
	assert_int_equal(vq_chain_write(&vq, &c, 0, "1234", 4), 0);
	assert_false(is_dirty(HIGH)); /* the log is off */
	d.log.on = true;
	vq_chain_dirty(&vq, &c, 2, 2);
	assert_false(is_dirty(HIGH));
	assert_true(is_dirty(HIGH + 0x1000));
	vq_chain_dirty(&vq, &c, 0, 6);
	assert_true(is_dirty(HIGH));
	assert_false(is_dirty(HIGH + 0x2000));
	assert_true(is_dirty(HIGH + 0x3000));
	assert_false(is_dirty(BUF));
	assert_false(is_dirty(USED));
	vq_push(&vq, 0, 6);
	assert_true(is_dirty(USED));
}

static void used_ring_is_logged_where_the_front_end_says(void **state)
{
	(void)state;
	d.setup.log_ring = true;
	d.setup.log_used = 0x5000;
	d.log.on = true;
	begin();
	serve_one(0);
	assert_true(is_dirty(0x5000));
	assert_false(is_dirty(USED));
}

static void log_that_is_too_short_is_not_overrun(void **state)
{
	(void)state;
	d.log.on = true;
	d.log.bytes = 1;
	begin();
	serve_one(0);
	dirty_log_mark(&d.log, UINT64_MAX, 1);
	dirty_log_mark(&d.log, UINT64_MAX, 2);
	dirty_log_mark(&d.log, 0, UINT64_MAX);
	assert_int_equal(d.log_map[0], 0xff);
	assert_int_equal(d.log_map[1], 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fresh, gone)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_batch_is_one_interrupt), T(driver_that_wants_no_interrupt_gets_none),
		T(event_index_chooses_the_interrupt), T(kicks_are_asked_for_by_flag_or_event),
		T(copies_cross_buffers_and_stay_inside), T(iovecs_of_a_part_are_cut_to_it),
		T(written_pages_are_logged_and_no_others), T(used_ring_is_logged_where_the_front_end_says),
		T(log_that_is_too_short_is_not_overrun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
