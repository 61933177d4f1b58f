/* SPDX-License-Identifier: ISC */
/*
 * ACPI from both sides: the registers, driven by a guest, and the tables of any machine, in a
 * buffer of any size: either they are refused or every length and checksum holds.
 */
#include "common/buf.h"
#include "tests/fuzz/ops.h"
#include "vmmd/acpi/tables.h"
#include "vmmd/legacy/acpi_pm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned events, irqs;
static uint64_t now_ns;

static void on_event(void *arg, enum platform_event ev)
{
	(void)arg;
	(void)ev;
	events++;
}

static void on_irq(void *arg)
{
	(void)arg;
	irqs++;
}

static uint64_t now(void)
{
	return now_ns;
}

static void drive_registers(struct ops *o)
{
	struct platform_sink sink = { .event = on_event };
	struct acpi_pm_timer timer;
	struct ged ged;
	uint8_t pending = 0;

	acpi_pm_timer_init(&timer, now);
	ged_init(&ged, on_irq, NULL);
	while (o->left > 0) {
		uint8_t op = (uint8_t)ops_take(o, 1), data[8] = { 0 };
		unsigned len = 1 + (op & 7), before = events;
		uint64_t v = ops_take(o, len);

		memcpy(data, &v, sizeof(data));
		switch (op >> 6) {
		case 0:
			acpi_sleep_bus_ops.write(&sink, op >> 3 & 3, data, len);
			ops_promise(events - before == (len == 1 && (v == 1 || v == 0x34) ? 1 : 0));
			break;
		case 1:
			now_ns += v;
			acpi_pm_timer_bus_ops.read(&timer, op >> 3 & 3, data, len);
			break;
		case 2:
			ged_notify(&ged, (enum ged_bit)(1 << (op >> 3 & 3)));
			pending |= (uint8_t)(1 << (op >> 3 & 3));
			break;
		case 3:
			ged_bus_ops.read(&ged, 0, data, len);
			ops_promise(len != 1 || data[0] == pending);
			pending = len == 1 ? 0 : pending;
			break;
		}
	}
}

static void check_tables(const struct wbuf *b)
{
	for (size_t at = 36; at < b->len;) {
		uint32_t len;
		uint8_t sum = 0;

		ops_promise(b->len - at >= 36);
		memcpy(&len, b->p + at + 4, sizeof(len));
		ops_promise(len >= 36 && len <= b->len - at);
		for (uint32_t i = 0; i < len; i++)
			sum = (uint8_t)(sum + b->p[at + i]);
		ops_promise(sum == 0);
		at += len;
	}
}

/* Mostly few: thousands of processors take long to build. */
static uint32_t take_vcpus(struct ops *o)
{
	uint32_t n = (uint32_t)ops_take(o, 2);

	return (n & 0x8000) != 0 ? n & 0x1FFF : n & 0x1F;
}

static struct acpi_cfg take_cfg(struct ops *o)
{
	struct acpi_cfg cfg = { .boot_vcpus = 0 };

	cfg.boot_vcpus = take_vcpus(o);
	cfg.max_vcpus = take_vcpus(o);
	cfg.serial = (ops_take(o, 1) & 1) != 0;
	cfg.mmio32 = ops_take(o, 8);
	cfg.mmio32_size = ops_take(o, 8);
	cfg.mmio64 = ops_take(o, 8);
	cfg.mmio64_size = ops_take(o, 8);
	cfg.ged = ops_take(o, 8);
	cfg.topo.threads = 1 + ((uint32_t)ops_take(o, 1) & 7);
	cfg.topo.cores = 1 + ((uint32_t)ops_take(o, 1) & 63);
	cfg.topo.dies = 1 + ((uint32_t)ops_take(o, 1) & 3);
	cfg.topo.packages = 1;
	return cfg;
}

static void build_tables(struct ops *o)
{
	const struct acpi_cfg cfg = take_cfg(o);
	struct wbuf b;
	struct err e;

	err_clear(&e);
	wbuf_init(&b, ops_take(o, 3));
	int r = acpi_build(0xA0000, &cfg, &b, &e);
	ops_promise((r < 0) == (err_count(&e) > 0));
	if (r == 0)
		check_tables(&b);
	wbuf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ops o = { data, size };

	if (ops_take(&o, 1) % 2 == 0)
		drive_registers(&o);
	else
		build_tables(&o);
	return 0;
}
