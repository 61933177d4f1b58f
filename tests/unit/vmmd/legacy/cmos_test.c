/* SPDX-License-Identifier: ISC */
#include "vmmd/legacy/cmos.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/units.h"

static struct timespec fake_now;
static unsigned events;
static enum platform_event last_event;

static void now(struct timespec *ts)
{
	*ts = fake_now;
}

static void on_event(void *arg, enum platform_event ev)
{
	(void)arg;
	events++;
	last_event = ev;
}

static void start(struct cmos *c, uint64_t below, uint64_t above)
{
	const struct platform_sink sink = { .event = on_event };

	events = 0;
	fake_now = (struct timespec){ 0 };
	cmos_init(c, below, above, &sink, now);
}

static uint8_t in(struct cmos *c, unsigned port)
{
	uint8_t v = 0;

	cmos_bus_ops.read(c, port, &v, 1);
	return v;
}

static void out(struct cmos *c, unsigned port, unsigned v)
{
	const uint8_t b = (uint8_t)v;

	cmos_bus_ops.write(c, port, &b, 1);
}

static uint8_t reg(struct cmos *c, unsigned index)
{
	out(c, 0, index);
	return in(c, 1);
}

static void index_reads_back_with_its_nmi_bit(void **state)
{
	struct cmos c;

	(void)state;
	start(&c, 512 * MIB, 0);
	for (unsigned i = 0; i < 256; i++) {
		out(&c, 0, i);
		assert_int_equal(in(&c, 0), i);
	}
	cmos_fini(&c);
}

struct moment {
	int64_t unix_s;
	uint8_t century, year, month, day, weekday, hour, minute, second;
};

static void clock_tells_utc_in_bcd(void **state)
{
	static const struct moment moments[] = {
		{ 0, 0x19, 0x70, 0x01, 0x01, 5, 0x00, 0x00, 0x00 },         /* a Thursday */
		{ 951782399, 0x20, 0x00, 0x02, 0x28, 2, 0x23, 0x59, 0x59 }, /* before a leap day */
		{ 951782400, 0x20, 0x00, 0x02, 0x29, 3, 0x00, 0x00, 0x00 }, /* a leap year */
		{ 951868800, 0x20, 0x00, 0x03, 0x01, 4, 0x00, 0x00, 0x00 },
		{ 1767225599, 0x20, 0x25, 0x12, 0x31, 4, 0x23, 0x59, 0x59 },
		{ 1767225600, 0x20, 0x26, 0x01, 0x01, 5, 0x00, 0x00, 0x00 },
		{ 2147483648, 0x20, 0x38, 0x01, 0x19, 3, 0x03, 0x14, 0x08 }, /* beyond 31 bits */
		{ 4107542400, 0x21, 0x00, 0x03, 0x01, 2, 0x00, 0x00,
		  0x00 }, /* 2100 is no leap year */
		{ -1, 0x19, 0x69, 0x12, 0x31, 4, 0x23, 0x59, 0x59 },
	};
	struct cmos c;

	(void)state;
	start(&c, 512 * MIB, 0);
	for (unsigned i = 0; i < nitems(moments); i++) {
		const struct moment *m = &moments[i];

		fake_now.tv_sec = m->unix_s;
		assert_int_equal(reg(&c, 0x32), m->century);
		assert_int_equal(reg(&c, 0x09), m->year);
		assert_int_equal(reg(&c, 0x08), m->month);
		assert_int_equal(reg(&c, 0x07), m->day);
		assert_int_equal(reg(&c, 0x06), m->weekday);
		assert_int_equal(reg(&c, 0x04), m->hour);
		assert_int_equal(reg(&c, 0x02), m->minute);
		assert_int_equal(reg(&c, 0x00), m->second);
	}
	cmos_fini(&c);
}

/* Every day from 1900 to 2200 against the C library. */
static void calendar_agrees_with_the_c_library(void **state)
{
	struct cmos c;

	(void)state;
	start(&c, 512 * MIB, 0);
	for (int64_t t = INT64_C(-2208988800); t < INT64_C(7258118400); t += 86400 + 3661) {
		time_t as_time = (time_t)t;
		struct tm tm;

		fake_now.tv_sec = as_time;
		assert_non_null(gmtime_r(&as_time, &tm));
		int year = tm.tm_year + 1900;
		assert_int_equal(reg(&c, 0x09), (year % 100 / 10) << 4 | year % 10);
		assert_int_equal(reg(&c, 0x08), ((tm.tm_mon + 1) / 10) << 4 | (tm.tm_mon + 1) % 10);
		assert_int_equal(reg(&c, 0x07), (tm.tm_mday / 10) << 4 | tm.tm_mday % 10);
		assert_int_equal(reg(&c, 0x06), tm.tm_wday + 1);
		assert_int_equal(reg(&c, 0x04), (tm.tm_hour / 10) << 4 | tm.tm_hour % 10);
	}
	cmos_fini(&c);
}

static void update_in_progress_shows_at_the_end_of_a_second(void **state)
{
	struct cmos c;

	(void)state;
	start(&c, 512 * MIB, 0);
	fake_now.tv_nsec = 999755999;
	assert_int_equal(reg(&c, 0x0A), 0x20);
	fake_now.tv_nsec = 999756000;
	assert_int_equal(reg(&c, 0x0A), 0xA0);
	fake_now.tv_nsec = 999999999;
	assert_int_equal(reg(&c, 0x0A), 0xA0);
	cmos_fini(&c);
}

static void status_registers_have_their_start_values(void **state)
{
	struct cmos c;

	(void)state;
	start(&c, 512 * MIB, 0);
	assert_int_equal(reg(&c, 0x0B), 0x02);
	assert_int_equal(reg(&c, 0x0D), 0x80);
	assert_int_equal(reg(&c, 0x0C), 0);
	cmos_fini(&c);
}

static void memory_sizes_are_told(void **state)
{
	struct cmos c;

	(void)state;
	start(&c, 512 * MIB, 0);
	assert_int_equal(reg(&c, 0x34) | reg(&c, 0x35) << 8, (512 - 16) * 16);
	assert_int_equal(reg(&c, 0x5B) | reg(&c, 0x5C) << 8 | reg(&c, 0x5D) << 16, 0);
	cmos_fini(&c);
	start(&c, 3 * GIB, 2 * GIB);
	assert_int_equal(reg(&c, 0x34) | reg(&c, 0x35) << 8, (3072 - 16) * 16);
	assert_int_equal(reg(&c, 0x5B) | reg(&c, 0x5C) << 8 | reg(&c, 0x5D) << 16, 2048 * 16);
	cmos_fini(&c);
	start(&c, 2 * MIB, 0);
	assert_int_equal(reg(&c, 0x34) | reg(&c, 0x35) << 8, 0);
	cmos_fini(&c);
	start(&c, UINT64_MAX, UINT64_MAX);
	assert_int_equal(reg(&c, 0x34) | reg(&c, 0x35) << 8, 0xFFFF);
	assert_int_equal(reg(&c, 0x5B) | reg(&c, 0x5C) << 8 | reg(&c, 0x5D) << 16, 0xFFFFFF);
	cmos_fini(&c);
}

static void ram_keeps_what_is_written(void **state)
{
	struct cmos c;

	(void)state;
	start(&c, 512 * MIB, 0);
	for (unsigned i = 0x40; i < 0x80; i++) {
		out(&c, 0, i);
		out(&c, 1, 255 - i);
	}
	for (unsigned i = 0x40; i < 0x80; i++) {
		assert_int_equal(reg(&c, i), 255 - i);
		assert_int_equal(reg(&c, i | 0x80), 255 - i); /* the NMI bit selects no other RAM */
	}
	cmos_fini(&c);
}

static void clock_cannot_be_set(void **state)
{
	struct cmos c;

	(void)state;
	start(&c, 512 * MIB, 0);
	fake_now.tv_sec = 1767225600;
	for (unsigned i = 0; i < 10; i++) {
		out(&c, 0, i);
		out(&c, 1, 0xEE);
	}
	assert_int_equal(reg(&c, 0x09), 0x26);
	assert_int_equal(reg(&c, 0x00), 0);
	cmos_fini(&c);
}

static void only_a_zero_at_8f_resets(void **state)
{
	struct cmos c;

	(void)state;
	start(&c, 512 * MIB, 0);
	for (unsigned i = 0; i < 256; i++) {
		out(&c, 0, i);
		for (unsigned v = 0; v < 256; v++) {
			if (i != 0x8F || v != 0)
				out(&c, 1, v);
		}
	}
	assert_int_equal(events, 0);
	out(&c, 0, 0x8F);
	out(&c, 1, 0);
	assert_int_equal(events, 1);
	assert_int_equal(last_event, PLATFORM_RESET);
	cmos_fini(&c);
}

static void accesses_of_other_widths_do_nothing(void **state)
{
	struct cmos c;
	uint8_t data[8] = { 0 };

	(void)state;
	start(&c, 512 * MIB, 0);
	out(&c, 0, 0x8F);
	cmos_bus_ops.write(&c, 0, "\x44\x44", 2);
	cmos_bus_ops.write(&c, 1, "\0\0\0\0", 4);
	assert_int_equal(events, 0);
	assert_int_equal(in(&c, 0), 0x8F);
	cmos_bus_ops.read(&c, 0, data, 2);
	assert_int_equal(data[0], 0);
	cmos_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(index_reads_back_with_its_nmi_bit),
		cmocka_unit_test(clock_tells_utc_in_bcd),
		cmocka_unit_test(calendar_agrees_with_the_c_library),
		cmocka_unit_test(update_in_progress_shows_at_the_end_of_a_second),
		cmocka_unit_test(status_registers_have_their_start_values),
		cmocka_unit_test(memory_sizes_are_told),
		cmocka_unit_test(ram_keeps_what_is_written),
		cmocka_unit_test(clock_cannot_be_set),
		cmocka_unit_test(only_a_zero_at_8f_resets),
		cmocka_unit_test(accesses_of_other_widths_do_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
