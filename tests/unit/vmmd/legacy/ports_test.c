/* SPDX-License-Identifier: ISC */
/* The registers without much state: i8042, sleep and reset byte, PM timer, GED status, debug
 * ports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "vmmd/legacy/acpi_pm.h"
#include "vmmd/legacy/debug_port.h"
#include "vmmd/legacy/i8042.h"

static struct {
	unsigned resets, power_offs, irqs, lines;
	char line[256];
	uint64_t now_ns;
} seen;

static void on_event(void *arg, enum platform_event ev)
{
	(void)arg;
	switch (ev) {
	case PLATFORM_RESET:
		seen.resets++;
		break;
	case PLATFORM_POWER_OFF:
		seen.power_offs++;
		break;
	}
}

static struct platform_sink sink = { .event = on_event };

static void on_irq(void *arg)
{
	(void)arg;
	seen.irqs++;
}

static void on_line(void *arg, const char *text)
{
	(void)arg;
	seen.lines++;
	(void)snprintf(seen.line, sizeof(seen.line), "%s", text);
}

static uint64_t fake_ns(void)
{
	return seen.now_ns;
}

static int setup(void **state)
{
	(void)state;
	memset(&seen, 0, sizeof(seen));
	return 0;
}

/* --- i8042 --- */

static void port_b_reads_timer_output_set(void **state)
{
	uint8_t v[4] = { 0 };

	(void)state;
	i8042_bus_ops.read(&sink, 0, v, 1);
	assert_int_equal(v[0], 0x20);
	for (unsigned off = 1; off < I8042_PORTS; off++) {
		v[0] = 0;
		i8042_bus_ops.read(&sink, off, v, 1);
		assert_int_equal(v[0], 0);
	}
}

static void only_fe_at_64_resets(void **state)
{
	(void)state;
	for (unsigned off = 0; off < I8042_PORTS; off++) {
		for (unsigned v = 0; v < 256; v++) {
			const uint8_t b = (uint8_t)v;

			if (off != 3 || v != 0xFE)
				i8042_bus_ops.write(&sink, off, &b, 1);
		}
	}
	i8042_bus_ops.write(&sink, 2, "\xFE\xFE", 2);
	i8042_bus_ops.write(&sink, 0, "\xFE\xFE\xFE\xFE", 4);
	assert_int_equal(seen.resets, 0);
	i8042_bus_ops.write(&sink, 3, "\xFE", 1);
	assert_int_equal(seen.resets, 1);
	assert_int_equal(seen.power_offs, 0);
}

/* --- ACPI --- */

static void sleep_register_knows_two_values(void **state)
{
	(void)state;
	for (unsigned off = 0; off < ACPI_SLEEP_PORTS; off++) {
		for (unsigned v = 0; v < 256; v++) {
			const uint8_t b = (uint8_t)v;

			acpi_sleep_bus_ops.write(&sink, off, &b, 1);
			assert_int_equal(seen.resets, off + (v >= 1 ? 1 : 0));
			assert_int_equal(seen.power_offs, off + (v >= 0x34 ? 1 : 0));
		}
	}
}

static void sleep_register_ignores_wide_writes(void **state)
{
	(void)state;
	acpi_sleep_bus_ops.write(&sink, 0, "\x34\0", 2);
	acpi_sleep_bus_ops.write(&sink, 0, "\x01\0\0\0", 4);
	assert_int_equal(seen.resets + seen.power_offs, 0);
}

static uint32_t timer(struct acpi_pm_timer *t)
{
	uint32_t v = 0;

	acpi_pm_timer_bus_ops.read(t, 0, &v, sizeof(v));
	return v;
}

static void pm_timer_counts_at_its_rate_and_wraps(void **state)
{
	struct acpi_pm_timer t;

	(void)state;
	seen.now_ns = 123456789;
	acpi_pm_timer_init(&t, fake_ns);
	assert_int_equal(timer(&t), 0);
	seen.now_ns += UINT64_C(1000000000);
	assert_int_equal(timer(&t), 3579545);
	seen.now_ns += 500000000;
	assert_int_equal(timer(&t), 3579545 + 3579545 / 2);
	/* a year: nothing overflows but the counter */
	seen.now_ns = 123456789 + UINT64_C(1000000000) * 86400 * 365;
	assert_int_equal(timer(&t), (uint32_t)(UINT64_C(3579545) * 86400 * 365));
}

static void pm_timer_answers_whole_reads_only(void **state)
{
	struct acpi_pm_timer t;
	uint8_t v[8];

	(void)state;
	acpi_pm_timer_init(&t, fake_ns);
	seen.now_ns = UINT64_C(10000000000);
	for (unsigned len = 1; len <= 8; len++) {
		memset(v, 0, sizeof(v));
		acpi_pm_timer_bus_ops.read(&t, 0, v, len);
		assert_int_equal(v[0] != 0 || v[1] != 0, len == 4);
	}
	assert_null(acpi_pm_timer_bus_ops.write);
}

static uint8_t ged_status(struct ged *g)
{
	uint8_t v = 0;

	ged_bus_ops.read(g, 0, &v, 1);
	return v;
}

static void ged_status_collects_events_and_clears_on_read(void **state)
{
	struct ged g;

	(void)state;
	ged_init(&g, on_irq, NULL);
	assert_int_equal(ged_status(&g), 0);
	ged_notify(&g, GED_POWER_BUTTON);
	ged_notify(&g, GED_MEMORY);
	assert_int_equal(seen.irqs, 2);
	assert_int_equal(ged_status(&g), 0x0A);
	assert_int_equal(ged_status(&g), 0);
}

static void ged_status_survives_wide_reads(void **state)
{
	struct ged g;
	uint8_t v[8] = { 0 };

	(void)state;
	ged_init(&g, on_irq, NULL);
	ged_notify(&g, GED_CPU);
	ged_bus_ops.read(&g, 0, v, 4);
	assert_int_equal(v[0], 0);
	assert_int_equal(ged_status(&g), 1);
	assert_null(ged_bus_ops.write);
}

/* --- debug ports --- */

static void debug_port_names_the_stage(void **state)
{
	static const struct {
		uint8_t code;
		const char *text;
	} cases[] = {
		{ 0x00, "firmware code 0x00" },   { 0x1F, "firmware code 0x1f" },
		{ 0x20, "bootloader code 0x20" }, { 0x40, "kernel code 0x40" },
		{ 0x7F, "userspace code 0x7f" },  { 0x80, "custom code 0x80" },
		{ 0xFF, "custom code 0xff" },
	};

	(void)state;
	for (unsigned i = 0; i < nitems(cases); i++) {
		struct debug_port d;

		debug_port_init(&d, clock_mono_ns(), on_line, NULL);
		debug_port_bus_ops.write(&d, 0, &cases[i].code, 1);
		assert_non_null(strstr(seen.line, cases[i].text));
	}
	assert_int_equal(seen.lines, nitems(cases));
}

static void debug_port_tells_the_time_since_the_start(void **state)
{
	struct debug_port d;

	(void)state;
	debug_port_init(&d, clock_mono_ns() - UINT64_C(7000000000), on_line, NULL);
	debug_port_bus_ops.write(&d, 0, "\x40", 1);
	assert_non_null(strstr(seen.line, " at 7."));
}

static void debug_port_is_rate_limited(void **state)
{
	struct debug_port d;

	(void)state;
	debug_port_init(&d, clock_mono_ns(), on_line, NULL);
	for (unsigned i = 0; i < 1000; i++)
		debug_port_bus_ops.write(&d, 0, "\x40", 1);
	assert_in_range(seen.lines, 1, 20); /* ten a second; the loop may see two of them */
}

static void debug_port_ignores_wide_writes_and_reads_all_ones(void **state)
{
	struct debug_port d;
	uint32_t v = 0;

	(void)state;
	debug_port_init(&d, clock_mono_ns(), on_line, NULL);
	debug_port_bus_ops.write(&d, 0, "\x40\x40", 2);
	assert_int_equal(seen.lines, 0);
	debug_port_bus_ops.read(&d, 0, &v, sizeof(v));
	assert_int_equal(v, UINT32_MAX);
}

static void firmware_debug_port_says_it_is_there(void **state)
{
	uint8_t v[2] = { 0 };

	(void)state;
	fw_debug_bus_ops.read(NULL, 0, v, 1);
	assert_int_equal(v[0], 0xE9);
	v[0] = 0;
	fw_debug_bus_ops.read(NULL, 0, v, 2);
	assert_int_equal(v[0], 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		T(port_b_reads_timer_output_set),
		T(only_fe_at_64_resets),
		T(sleep_register_knows_two_values),
		T(sleep_register_ignores_wide_writes),
		T(pm_timer_counts_at_its_rate_and_wraps),
		T(pm_timer_answers_whole_reads_only),
		T(ged_status_collects_events_and_clears_on_read),
		T(ged_status_survives_wide_reads),
		T(debug_port_names_the_stage),
		T(debug_port_tells_the_time_since_the_start),
		T(debug_port_is_rate_limited),
		T(debug_port_ignores_wide_writes_and_reads_all_ones),
		T(firmware_debug_port_says_it_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
