/* SPDX-License-Identifier: ISC */
/*
 * The clock registers are made from the host's wall clock at each read, in UTC, BCD and 24-hour
 * form, and can't be set. The latch is compared whole, NMI bit included, so a time register read
 * with that bit set is plain RAM.
 */
#include "vmmd/legacy/cmos.h"

#include <string.h>

#include "common/units.h"

enum {
	PORT_INDEX = 0,
	PORT_DATA = 1,
	REG_SECONDS = 0x00,
	REG_MINUTES = 0x02,
	REG_HOURS = 0x04,
	REG_WEEKDAY = 0x06, /* 1 = Sunday */
	REG_DAY = 0x07,
	REG_MONTH = 0x08,
	REG_YEAR = 0x09,
	REG_A = 0x0A,
	REG_B = 0x0B,
	REG_D = 0x0D,
	REG_CENTURY = 0x32,
	REG_EXT_MEM_LOW = 0x34,  /* RAM from 16 MiB to 4 GiB, 64 KiB units, 16 bits */
	REG_HIGH_MEM_LOW = 0x5B, /* RAM above 4 GiB, 64 KiB units, 24 bits */
	INDEX_SHUTDOWN = 0x8F,   /* with the NMI bit: how firmware arms a soft reset */
	INDEX_MASK = 0x7F,
	A_DIVIDER_32KHZ = 0x20,
	A_UPDATING = 0x80,
	B_24_HOUR = 0x02,
	D_BATTERY_GOOD = 0x80,
};
#define UPDATE_NS 244000 /* MC146818: the registers change within 244 us after this bit rises */

/* Month and day count from 1, the weekday from 0 = Sunday. */
struct civil {
	unsigned year, month, day, weekday, hour, minute, second;
};

/* Gregorian calendar from seconds since 1970. Not gmtime_r(): it reads the time zone file at its
 * first use, which no file system is there for. Counts in 400-year eras that begin on 1 March 0000,
 * so that a leap day ends a year. */
static void civil_from_unix(int64_t t, struct civil *c)
{
	const int64_t day_s = 86400, era_days = 146097, epoch = 719468;
	int64_t s = t % day_s;
	if (s < 0)
		s += day_s;
	int64_t days = (t - s) / day_s;
	int64_t weekday = (days % 7 + 11) % 7; /* 1 January 1970 was a Thursday */
	int64_t z = days + epoch;
	int64_t era = (z >= 0 ? z : z - (era_days - 1)) / era_days;
	int64_t doe = z - era * era_days;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153; /* months since March */
	int64_t month = mp < 10 ? mp + 3 : mp - 9;

	*c = (struct civil){
		.year = (unsigned)(yoe + era * 400 + (month <= 2 ? 1 : 0)),
		.month = (unsigned)month,
		.day = (unsigned)(doy - (153 * mp + 2) / 5 + 1),
		.weekday = (unsigned)weekday,
		.hour = (unsigned)(s / 3600),
		.minute = (unsigned)(s / 60 % 60),
		.second = (unsigned)(s % 60),
	};
}

static uint8_t bcd(unsigned v)
{
	return (uint8_t)((v / 10 % 10) << 4 | v % 10);
}

static void real_now(struct timespec *ts)
{
	clock_gettime(CLOCK_REALTIME, ts);
}

static void put_le(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

void cmos_init(struct cmos *c, uint64_t ram_below_4g, uint64_t ram_above_4g,
	       const struct platform_sink *sink, void (*now)(struct timespec *ts))
{
	const uint64_t unit = 64 * KIB;
	uint64_t ext = ram_below_4g > 16 * MIB ? (ram_below_4g - 16 * MIB) / unit : 0;
	uint64_t high = ram_above_4g / unit;

	memset(c, 0, sizeof(*c));
	c->sink = *sink;
	c->now = now != NULL ? now : real_now;
	pthread_mutex_init(&c->mtx, NULL);
	c->ram[REG_B] = B_24_HOUR; /* 0 would say 12-hour, which the hours register isn't in */
	put_le(&c->ram[REG_EXT_MEM_LOW], ext < 0xFFFF ? ext : 0xFFFF, 2);
	put_le(&c->ram[REG_HIGH_MEM_LOW], high < 0xFFFFFF ? high : 0xFFFFFF, 3);
}

void cmos_fini(struct cmos *c)
{
	pthread_mutex_destroy(&c->mtx);
}

static uint8_t read_index(const struct cmos *c, uint8_t index)
{
	struct timespec ts = { 0 };
	struct civil t;

	c->now(&ts);
	civil_from_unix(ts.tv_sec, &t);
	switch (index) {
	case REG_SECONDS:
		return bcd(t.second);
	case REG_MINUTES:
		return bcd(t.minute);
	case REG_HOURS:
		return bcd(t.hour);
	case REG_WEEKDAY:
		return bcd(t.weekday + 1);
	case REG_DAY:
		return bcd(t.day);
	case REG_MONTH:
		return bcd(t.month);
	case REG_YEAR:
		return bcd(t.year % 100);
	case REG_CENTURY:
		return bcd(t.year / 100);
	case REG_A:
		return A_DIVIDER_32KHZ | (ts.tv_nsec >= 1000000000 - UPDATE_NS ? A_UPDATING : 0);
	case REG_D:
		return D_BATTERY_GOOD;
	}
	return c->ram[index & INDEX_MASK];
}

/* Both ports are a byte wide; other accesses are not decoded. */
static void cmos_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct cmos *c = dev;

	if (len != 1)
		return;
	pthread_mutex_lock(&c->mtx);
	*(uint8_t *)data = off == PORT_INDEX ? c->index : read_index(c, c->index);
	pthread_mutex_unlock(&c->mtx);
}

static void cmos_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct cmos *c = dev;
	uint8_t v;
	bool reset = false;

	if (len != 1)
		return;
	v = *(const uint8_t *)data;
	pthread_mutex_lock(&c->mtx);
	if (off == PORT_INDEX)
		c->index = v;
	else if (c->index == INDEX_SHUTDOWN && v == 0)
		reset = true;
	else
		c->ram[c->index & INDEX_MASK] = v;
	pthread_mutex_unlock(&c->mtx);
	if (reset)
		c->sink.event(c->sink.arg, PLATFORM_RESET);
}

const struct bus_ops cmos_bus_ops = { .read = cmos_read, .write = cmos_write };
