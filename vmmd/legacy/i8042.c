/* SPDX-License-Identifier: ISC */
#include "vmmd/legacy/i8042.h"

enum {
	OFF_PORT_B = 0,  /* 0x61 */
	OFF_COMMAND = 3, /* 0x64 */
	/* Output of PIT channel 2. There is no PIT: a guest that calibrates against it must see the
	 * wait end at once, or it waits for ever. */
	PORT_B_TIMER2_OUT = 0x20,
	COMMAND_PULSE_RESET = 0xFE,
};

static void i8042_read(void *dev, uint64_t off, void *data, unsigned len)
{
	(void)dev;
	(void)len;
	if (off == OFF_PORT_B)
		*(uint8_t *)data = PORT_B_TIMER2_OUT;
}

static void i8042_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	const struct platform_sink *sink = dev;

	if (len == 1 && off == OFF_COMMAND && *(const uint8_t *)data == COMMAND_PULSE_RESET)
		sink->event(sink->arg, PLATFORM_RESET);
}

const struct bus_ops i8042_bus_ops = { .read = i8042_read, .write = i8042_write };
