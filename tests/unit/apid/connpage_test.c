/* SPDX-License-Identifier: ISC */
#include "apid/connpage.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static int page_fd;

static int setup(void **state)
{
	(void)state;
	page_fd = memfd_create("page", MFD_CLOEXEC);
	return page_fd < 0 ? -1 : ftruncate(page_fd, 4096);
}

static int teardown(void **state)
{
	(void)state;
	return close(page_fd);
}

static void successor_reads_what_the_predecessor_wrote(void **state)
{
	struct connpage *a, *b;
	struct slot_info sent = { .id = 77, .route = 5, .close = true };

	(void)state;
	assert_int_equal(connpage_map(page_fd, &a), 0);
	connpage_set(a, 0, SLOT_IDLE);
	connpage_set(a, 1, SLOT_REPLYING);
	connpage_set_sent(a, CONN_MAX - 1, &sent);
	connpage_set_started(a);
	assert_int_equal(connpage_map(page_fd, &b), 0);
	connpage_unmap(a);
	assert_int_equal(connpage_get(b, 0).state, SLOT_IDLE);
	assert_int_equal(connpage_get(b, 1).state, SLOT_REPLYING);
	assert_int_equal(connpage_get(b, 2).state, SLOT_FREE);
	struct slot_info i = connpage_get(b, CONN_MAX - 1);
	assert_int_equal(i.state, SLOT_SENT);
	assert_int_equal(i.id, 77);
	assert_int_equal(i.route, 5);
	assert_true(i.close);
	assert_true(connpage_started(b));
	connpage_unmap(b);
}

static void page_left_by_nobody_reads_as_empty(void **state)
{
	struct connpage *p;

	(void)state;
	assert_int_equal(pwrite(page_fd, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, 0), 12);
	assert_int_equal(connpage_map(page_fd, &p), 0);
	for (unsigned i = 0; i < CONN_MAX; i++)
		assert_int_equal(connpage_get(p, i).state, SLOT_FREE);
	assert_false(connpage_started(p));
	connpage_unmap(p);
}

static void state_that_does_not_exist_reads_as_lost(void **state)
{
	struct connpage *p;
	uint8_t junk[2048];

	(void)state;
	assert_int_equal(connpage_map(page_fd, &p), 0);
	memset(junk, 0xee, sizeof(junk));
	assert_int_equal(pwrite(page_fd, junk, sizeof(junk), 8), sizeof(junk));
	for (unsigned i = 0; i < CONN_MAX; i++)
		assert_int_equal(connpage_get(p, i).state, SLOT_READING);
	connpage_unmap(p);
}

static void clearing_forgets_everything(void **state)
{
	struct connpage *p;

	(void)state;
	assert_int_equal(connpage_private(&p), 0);
	connpage_set(p, 3, SLOT_IDLE);
	connpage_set_started(p);
	connpage_clear(p);
	assert_int_equal(connpage_get(p, 3).state, SLOT_FREE);
	assert_false(connpage_started(p));
	connpage_unmap(p);
}

static void descriptor_that_is_no_file_is_refused(void **state)
{
	struct connpage *p = NULL;

	(void)state;
	assert_true(connpage_map(-1, &p) < 0);
	assert_null(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(successor_reads_what_the_predecessor_wrote, setup, teardown),
		cmocka_unit_test_setup_teardown(page_left_by_nobody_reads_as_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(state_that_does_not_exist_reads_as_lost, setup, teardown),
		cmocka_unit_test(clearing_forgets_everything),
		cmocka_unit_test(descriptor_that_is_no_file_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
