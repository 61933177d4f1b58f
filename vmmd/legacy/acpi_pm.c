/* SPDX-License-Identifier: ISC */
#include "vmmd/legacy/acpi_pm.h"

#include <stddef.h>
#include <string.h>

#include "common/clock.h"

enum {
	RESET_VALUE = 1, /* FADT RESET_VALUE */
	/* ACPI 6.5 4.8.3.7: sleep type in bits 4:2, SLP_EN in bit 5; \_S5_ says type 5. */
	SLEEP_S5 = 5 << 2 | 1 << 5,
};
#define PM_TIMER_HZ UINT64_C(3579545)

/* One byte-wide register, seen at each of the four ports; reads as 0. */
static void sleep_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	const struct platform_sink *sink = dev;

	(void)off;
	if (len != 1)
		return;
	switch (*(const uint8_t *)data) {
	case RESET_VALUE:
		sink->event(sink->arg, PLATFORM_RESET);
		break;
	case SLEEP_S5:
		sink->event(sink->arg, PLATFORM_POWER_OFF);
		break;
	}
}

const struct bus_ops acpi_sleep_bus_ops = { .write = sleep_write };

void acpi_pm_timer_init(struct acpi_pm_timer *t, uint64_t (*now_ns)(void))
{
	t->now_ns = now_ns != NULL ? now_ns : clock_mono_ns;
	t->start_ns = t->now_ns();
}

static void pm_timer_read(void *dev, uint64_t off, void *data, unsigned len)
{
	const struct acpi_pm_timer *t = dev;

	if (off != 0 || len != sizeof(uint32_t))
		return;
	/* Whole seconds apart from the rest: the product would overflow after an hour and a
	 * half. */
	uint64_t ns = t->now_ns() - t->start_ns;
	uint64_t s = ns / UINT64_C(1000000000), rest = ns % UINT64_C(1000000000);
	uint32_t ticks = (uint32_t)(s * PM_TIMER_HZ + rest * PM_TIMER_HZ / UINT64_C(1000000000));
	for (unsigned i = 0; i < sizeof(ticks); i++)
		((uint8_t *)data)[i] = (uint8_t)(ticks >> (8 * i));
}

const struct bus_ops acpi_pm_timer_bus_ops = { .read = pm_timer_read };

void ged_init(struct ged *g, void (*raise_irq)(void *arg), void *arg)
{
	atomic_init(&g->status, 0);
	g->raise_irq = raise_irq;
	g->arg = arg;
}

void ged_notify(struct ged *g, enum ged_bit bit)
{
	atomic_fetch_or_explicit(&g->status, (uint8_t)bit, memory_order_release);
	g->raise_irq(g->arg);
}

/* Reading takes the events away, all in one: two processors that read at once share them without
 * loss. */
static void ged_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct ged *g = dev;

	(void)off;
	if (len == 1)
		*(uint8_t *)data = atomic_exchange_explicit(&g->status, 0, memory_order_acquire);
}

const struct bus_ops ged_bus_ops = { .read = ged_read };
