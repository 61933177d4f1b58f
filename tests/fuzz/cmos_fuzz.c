/* SPDX-License-Identifier: ISC */
/* CMOS ports at any time of any year: every clock register is BCD in its range, and reset needs its
 * one sequence. */
#include "tests/fuzz/ops.h"
#include "vmmd/legacy/cmos.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct timespec now_ts;
static unsigned resets;

static void now(struct timespec *ts)
{
	*ts = now_ts;
}

static void on_event(void *arg, enum platform_event ev)
{
	(void)arg;
	ops_promise(ev == PLATFORM_RESET);
	resets++;
}

static uint8_t reg(struct cmos *c, uint8_t index)
{
	uint8_t v = 0;

	cmos_bus_ops.write(c, 0, &index, 1);
	cmos_bus_ops.read(c, 1, &v, 1);
	return v;
}

static void check_bcd(struct cmos *c, uint8_t index, unsigned min, unsigned max)
{
	uint8_t v = reg(c, index);
	unsigned n = (v >> 4) * 10u + (v & 0xF);

	ops_promise((v & 0xF) < 10 && v < 0xA0 && n >= min && n <= max);
}

static void check_clock(struct cmos *c)
{
	check_bcd(c, 0x00, 0, 59);
	check_bcd(c, 0x02, 0, 59);
	check_bcd(c, 0x04, 0, 23);
	check_bcd(c, 0x06, 1, 7);
	check_bcd(c, 0x07, 1, 31);
	check_bcd(c, 0x08, 1, 12);
	check_bcd(c, 0x09, 0, 99);
	check_bcd(c, 0x32, 0, 99);
}

static void step(struct cmos *c, struct ops *o)
{
	uint8_t op = (uint8_t)ops_take(o, 1), data[8];
	unsigned len = (op & 0x40) != 0 ? 1 : 1 + (op & 7);
	uint64_t v = ops_take(o, len), off = op >> 7;
	uint8_t latch = 0;

	memcpy(data, &v, sizeof(data));
	cmos_bus_ops.read(c, 0, &latch, 1);
	unsigned before = resets;
	if ((op & 0x20) != 0)
		cmos_bus_ops.read(c, off, data, len);
	else
		cmos_bus_ops.write(c, off, data, len);
	bool wanted = (op & 0x20) == 0 && len == 1 && off == 1 && latch == 0x8F && data[0] == 0;
	ops_promise(resets - before == (wanted ? 1 : 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct platform_sink sink = { .event = on_event };
	struct ops o = { data, size };
	struct cmos c;

	/* Years -9999 to 9999 or so: what a host's clock can be set to. */
	now_ts.tv_sec = (time_t)((int64_t)ops_take(&o, 8) % INT64_C(250000000000));
	now_ts.tv_nsec = (long)(ops_take(&o, 4) % 1000000000);
	cmos_init(&c, ops_take(&o, 8), ops_take(&o, 8), &sink, now);
	while (o.left > 0)
		step(&c, &o);
	if (now_ts.tv_sec > INT64_C(-62135596800)) /* year 1: a year is a number from here on */
		check_clock(&c);
	cmos_fini(&c);
	return 0;
}
