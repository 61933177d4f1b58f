/* SPDX-License-Identifier: ISC */
#include "devices/console/console_ring.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIZE = CONSOLE_RING_HEADER + 3 * CONSOLE_CHUNK - 100 }; /* a capacity that no chunk divides */

struct fixture {
	_Alignas(4096) uint8_t mem[SIZE];
	struct console_ring r;
};

static int setup(void **state)
{
	struct fixture *f = aligned_alloc(4096, (sizeof(*f) + 4095) & ~(size_t)4095);

	if (f == NULL)
		return -1;
	memset(f, 0, sizeof(*f));
	if (console_ring_attach(&f->r, f->mem, SIZE) != 0)
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

/* A stream in which every byte tells its position. */
static uint8_t byte_at(uint64_t pos)
{
	return (uint8_t)(pos * 7 + (pos >> 8));
}

static size_t put_run(struct console_ring *r, size_t n)
{
	uint8_t buf[CONSOLE_CHUNK];

	for (size_t i = 0; i < n; i++)
		buf[i] = byte_at(r->head + i);
	return console_ring_put(r, buf, n);
}

static void check_and_take_all(struct console_ring *r)
{
	const uint8_t *p;
	size_t n;

	while ((n = console_ring_peek(r, &p)) > 0) {
		for (size_t i = 0; i < n; i++)
			assert_int_equal(p[i], byte_at(r->tail + i));
		console_ring_take(r, n);
	}
}

static void ring_attach_refuses_sizes_without_room_for_two_chunks(void **state)
{
	struct fixture *f = *state;
	struct console_ring r;

	assert_int_equal(console_ring_attach(&r, f->mem, 0), -EINVAL);
	assert_int_equal(console_ring_attach(&r, f->mem, CONSOLE_RING_HEADER), -EINVAL);
	assert_int_equal(console_ring_attach(&r, f->mem, CONSOLE_RING_HEADER + 2 * CONSOLE_CHUNK - 1), -EINVAL);
	assert_int_equal(console_ring_attach(&r, f->mem, (size_t)CONSOLE_RING_SIZE_MAX + 1), -EINVAL);
}

static void ring_gives_back_bytes_in_order_across_the_end(void **state)
{
	struct fixture *f = *state;

	for (size_t n = 1; n <= CONSOLE_CHUNK; n += 97) {
		assert_int_equal(put_run(&f->r, n), 0);
		assert_int_equal(console_ring_used(&f->r), n);
		check_and_take_all(&f->r);
	}
	assert_true(f->r.head > 4 * f->r.cap);
	assert_int_equal(f->r.dropped, 0);
}

static void ring_full_drops_the_oldest_and_counts_them(void **state)
{
	struct fixture *f = *state;
	size_t dropped = 0;

	for (int i = 0; i < 5; i++)
		dropped += put_run(&f->r, CONSOLE_CHUNK);
	assert_int_equal(console_ring_used(&f->r), f->r.cap);
	assert_int_equal(dropped, 5 * CONSOLE_CHUNK - f->r.cap);
	assert_int_equal(f->r.dropped, dropped);
	assert_int_equal(f->r.tail, dropped);
	check_and_take_all(&f->r);
}

static void ring_successor_goes_on_where_the_predecessor_stopped(void **state)
{
	struct fixture *f = *state;
	struct console_ring next;

	for (int i = 0; i < 4; i++)
		(void)put_run(&f->r, CONSOLE_CHUNK);
	console_ring_take(&f->r, 1000);
	assert_int_equal(console_ring_attach(&next, f->mem, SIZE), 1);
	assert_int_equal(next.head, f->r.head);
	assert_int_equal(next.tail, f->r.tail);
	assert_int_equal(next.dropped, f->r.dropped);
	check_and_take_all(&next);
}

static void ring_bytes_in_flight_are_not_seen_by_a_successor(void **state)
{
	struct fixture *f = *state;
	struct console_ring next;
	const uint8_t *p;

	(void)put_run(&f->r, 100);
	size_t n = console_ring_peek(&f->r, &p);
	console_ring_take(&f->r, n); /* ... and killed while writing them */
	assert_int_equal(console_ring_attach(&next, f->mem, SIZE), 1);
	assert_int_equal(console_ring_used(&next), 0);
}

static void ring_put_back_returns_what_the_target_did_not_take(void **state)
{
	struct fixture *f = *state;

	(void)put_run(&f->r, 100);
	console_ring_take(&f->r, 100);
	console_ring_put_back(&f->r, 60);
	assert_int_equal(console_ring_used(&f->r), 60);
	check_and_take_all(&f->r);
}

static void ring_drop_is_bounded_by_what_is_there(void **state)
{
	struct fixture *f = *state;

	(void)put_run(&f->r, 10);
	console_ring_drop(&f->r, 1000);
	assert_int_equal(f->r.dropped, 10);
	assert_int_equal(console_ring_used(&f->r), 0);
}

static void ring_note_reaches_a_successor_and_is_none_in_a_fresh_ring(void **state)
{
	struct fixture *f = *state;
	struct console_ring next;

	assert_int_equal(console_ring_noted(&f->r), 0);
	console_ring_note(&f->r, UINT64_C(0x1234567890abcdef));
	assert_int_equal(console_ring_attach(&next, f->mem, SIZE), 1);
	assert_int_equal(console_ring_noted(&next), UINT64_C(0x1234567890abcdef));
	memset(f->mem, 0, 4); /* no ring any more */
	assert_int_equal(console_ring_attach(&next, f->mem, SIZE), 0);
	assert_int_equal(console_ring_noted(&next), 0);
}

/* Header fields by offset: magic and version, capacity, head, tail, dropped. */
enum { AT_MAGIC = 0, AT_VERSION = 4, AT_CAP = 8, AT_HEAD = 16, AT_TAIL = 24, AT_DROPPED = 32 };

static void expect_fresh_after(struct fixture *f, size_t at, uint64_t value, size_t len)
{
	struct console_ring next;

	(void)put_run(&f->r, 100);
	memcpy(f->mem + at, &value, len);
	assert_int_equal(console_ring_attach(&next, f->mem, SIZE), 0);
	assert_int_equal(next.head, 0);
	assert_int_equal(console_ring_used(&next), 0);
	assert_int_equal(console_ring_attach(&f->r, f->mem, SIZE), 1); /* and now it makes sense again */
}

static void ring_header_that_lies_starts_empty(void **state)
{
	struct fixture *f = *state;

	expect_fresh_after(f, AT_MAGIC, 0, 4);
	expect_fresh_after(f, AT_VERSION, 1, 4); /* another program's */
	expect_fresh_after(f, AT_CAP, f->r.cap + 1, 8);
	expect_fresh_after(f, AT_CAP, UINT64_MAX, 8);
	expect_fresh_after(f, AT_HEAD, f->r.cap + 1, 8);
	expect_fresh_after(f, AT_HEAD, UINT64_MAX, 8);
	expect_fresh_after(f, AT_TAIL, 101, 8);
	expect_fresh_after(f, AT_TAIL, UINT64_MAX, 8);
	expect_fresh_after(f, AT_DROPPED, 1, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ring_attach_refuses_sizes_without_room_for_two_chunks, setup, teardown),
		cmocka_unit_test_setup_teardown(ring_gives_back_bytes_in_order_across_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(ring_full_drops_the_oldest_and_counts_them, setup, teardown),
		cmocka_unit_test_setup_teardown(ring_successor_goes_on_where_the_predecessor_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(ring_bytes_in_flight_are_not_seen_by_a_successor, setup, teardown),
		cmocka_unit_test_setup_teardown(ring_put_back_returns_what_the_target_did_not_take, setup, teardown),
		cmocka_unit_test_setup_teardown(ring_drop_is_bounded_by_what_is_there, setup, teardown),
		cmocka_unit_test_setup_teardown(ring_note_reaches_a_successor_and_is_none_in_a_fresh_ring, setup, teardown),
		cmocka_unit_test_setup_teardown(ring_header_that_lies_starts_empty, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
