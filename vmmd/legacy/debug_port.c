/* SPDX-License-Identifier: ISC */
#include "vmmd/legacy/debug_port.h"

#include "common/clock.h"
#include "common/str.h"

enum { FW_DEBUG_PRESENT = 0xE9 /* what firmware looks for before it writes */ };

/* Who owns which codes is a convention between this port and its users. */
static const char *stage(uint8_t code)
{
	static const char *const names[] = { "firmware", "bootloader", "kernel", "userspace" };

	return code < 0x80 ? names[code >> 5] : "custom";
}

static void log_line(void *arg, const char *text)
{
	(void)arg;
	log_info("%s", text);
}

void debug_port_init(struct debug_port *d, uint64_t start_ns,
		     void (*line)(void *arg, const char *text), void *arg)
{
	*d = (struct debug_port){
		.start_ns = start_ns,
		.line = line != NULL ? line : log_line,
		.arg = arg,
	};
}

static void debug_port_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct debug_port *d = dev;
	uint32_t suppressed = 0;
	char text[128];

	(void)off;
	if (len != 1 || !log_rl_pass(&d->rl, &suppressed))
		return;
	uint8_t code = *(const uint8_t *)data;
	uint64_t us = (clock_mono_ns() - d->start_ns) / 1000;
	(void)str_fmt(text, sizeof(text), "debug port: %s code 0x%02x at %llu.%06llu s",
		      stage(code), code, (unsigned long long)(us / 1000000),
		      (unsigned long long)(us % 1000000));
	if (suppressed > 0) {
		char more[sizeof(text) + 48];

		(void)str_fmt(more, sizeof(more), "%s (%u codes before it left out)", text,
			      suppressed);
		d->line(d->arg, more);
	} else {
		d->line(d->arg, text);
	}
}

/* Nothing drives the bus on a read of this port: all ones, as from a port that nobody claims. */
static void debug_port_read(void *dev, uint64_t off, void *data, unsigned len)
{
	(void)dev;
	(void)off;
	for (unsigned i = 0; i < len; i++)
		((uint8_t *)data)[i] = 0xFF;
}

const struct bus_ops debug_port_bus_ops = { .read = debug_port_read, .write = debug_port_write };

static void fw_debug_read(void *dev, uint64_t off, void *data, unsigned len)
{
	(void)dev;
	(void)off;
	if (len == 1)
		*(uint8_t *)data = FW_DEBUG_PRESENT;
}

/* TODO: when firmware is served, its text goes to stdout by way of cloister-console. Until then
 * writes are dropped. */
const struct bus_ops fw_debug_bus_ops = { .read = fw_debug_read };
