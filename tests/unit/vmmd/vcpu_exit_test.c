/* SPDX-License-Identifier: ISC */
#include "vmmd/vcpu_exit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <linux/kvm.h>

enum { RUN_BYTES = 3 * 4096, DATA_OFFSET = 4096 };

/* A device at port 0x100 and address 0x1000 that remembers what was asked of it. */
struct device {
	unsigned reads, writes, len;
	uint64_t off;
	uint8_t last[8];
	_Atomic int *over; /* set by the third write */
};

static void dev_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct device *d = dev;

	d->reads++;
	d->off = off;
	d->len = len;
	memset(data, (int)(0x10 + d->reads), len);
}

static void dev_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct device *d = dev;

	d->writes++;
	d->off = off;
	d->len = len;
	memcpy(d->last, data, len);
	if (d->writes == 3 && d->over != NULL)
		atomic_store(d->over, 1);
}

static const struct bus_ops dev_ops = { .read = dev_read, .write = dev_write };

struct fixture {
	struct bus pio, mmio;
	struct device dev;
	_Atomic int over;
	unsigned eois;
	uint8_t eoi_vector;
	struct vcpu_env env;
	char why[VCPU_WHY_MAX];
	union {
		struct kvm_run run;
		uint8_t bytes[RUN_BYTES];
	};
};

static void on_eoi(void *arg, uint8_t vector)
{
	struct fixture *f = arg;

	f->eois++;
	f->eoi_vector = vector;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return -1;
	bus_init(&f->pio);
	bus_init(&f->mmio);
	if (bus_add(&f->pio, 0x100, 8, &dev_ops, &f->dev, "device") < 0 ||
	    bus_add(&f->mmio, 0x1000, 0x100, &dev_ops, &f->dev, "device") < 0)
		return -1;
	bus_seal(&f->pio);
	bus_seal(&f->mmio);
	f->env = (struct vcpu_env){
		.pio = &f->pio,
		.mmio = &f->mmio,
		.eoi = on_eoi,
		.arg = f,
		.over = &f->over,
	};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static enum vcpu_next handle(struct fixture *f)
{
	return vcpu_exit_handle(&f->run, RUN_BYTES, &f->env, f->why);
}

static void set_pio(struct fixture *f, uint8_t direction, uint16_t port, uint8_t size, uint32_t count)
{
	f->run.exit_reason = KVM_EXIT_IO;
	f->run.io.direction = direction;
	f->run.io.port = port;
	f->run.io.size = size;
	f->run.io.count = count;
	f->run.io.data_offset = DATA_OFFSET;
}

static void pio_read_reaches_the_device(void **state)
{
	struct fixture *f = *state;

	set_pio(f, KVM_EXIT_IO_IN, 0x102, 2, 1);
	assert_int_equal(handle(f), VCPU_AGAIN);
	assert_int_equal(f->dev.off, 2);
	assert_int_equal(f->dev.len, 2);
	assert_memory_equal(f->bytes + DATA_OFFSET, "\x11\x11\0", 3);
}

static void pio_string_write_carries_out_each_element(void **state)
{
	struct fixture *f = *state;

	set_pio(f, KVM_EXIT_IO_OUT, 0x100, 1, 5);
	memcpy(f->bytes + DATA_OFFSET, "abcde", 5);
	assert_int_equal(handle(f), VCPU_AGAIN);
	assert_int_equal(f->dev.writes, 5);
	assert_int_equal(f->dev.last[0], 'e');
}

static void pio_string_read_fills_each_element(void **state)
{
	struct fixture *f = *state;

	set_pio(f, KVM_EXIT_IO_IN, 0x100, 4, 3);
	assert_int_equal(handle(f), VCPU_AGAIN);
	assert_memory_equal(f->bytes + DATA_OFFSET, "\x11\x11\x11\x11\x12\x12\x12\x12\x13\x13\x13\x13", 12);
}

static void pio_string_stops_at_the_write_that_ends_the_run(void **state)
{
	struct fixture *f = *state;

	f->dev.over = &f->over;
	set_pio(f, KVM_EXIT_IO_OUT, 0x100, 1, 100);
	assert_int_equal(handle(f), VCPU_AGAIN);
	assert_int_equal(f->dev.writes, 3);
}

static void pio_unclaimed_reads_all_ones(void **state)
{
	struct fixture *f = *state;

	set_pio(f, KVM_EXIT_IO_IN, 0x200, 4, 2);
	assert_int_equal(handle(f), VCPU_AGAIN);
	assert_memory_equal(f->bytes + DATA_OFFSET, "\xff\xff\xff\xff\xff\xff\xff\xff\0", 9);
}

static void pio_data_outside_the_run_area_is_refused(void **state)
{
	struct fixture *f = *state;

	set_pio(f, KVM_EXIT_IO_IN, 0x100, 4, (RUN_BYTES - DATA_OFFSET) / 4 + 1);
	assert_int_equal(handle(f), VCPU_FAILED);
	set_pio(f, KVM_EXIT_IO_IN, 0x100, 4, 1);
	f->run.io.data_offset = RUN_BYTES + 1;
	assert_int_equal(handle(f), VCPU_FAILED);
	assert_int_equal(f->dev.reads, 0);
}

static void mmio_read_and_write_reach_the_device(void **state)
{
	struct fixture *f = *state;

	f->run.exit_reason = KVM_EXIT_MMIO;
	f->run.mmio.phys_addr = 0x1010;
	f->run.mmio.len = 8;
	assert_int_equal(handle(f), VCPU_AGAIN);
	assert_int_equal(f->dev.off, 0x10);
	assert_memory_equal(f->run.mmio.data, "\x11\x11\x11\x11\x11\x11\x11\x11", 8);
	f->run.mmio.is_write = 1;
	f->run.mmio.len = 2;
	memcpy(f->run.mmio.data, "xy", 2);
	assert_int_equal(handle(f), VCPU_AGAIN);
	assert_memory_equal(f->dev.last, "xy\0", 3);
}

static void mmio_too_long_is_refused(void **state)
{
	struct fixture *f = *state;

	f->run.exit_reason = KVM_EXIT_MMIO;
	f->run.mmio.phys_addr = 0x1000;
	f->run.mmio.len = 9;
	assert_int_equal(handle(f), VCPU_FAILED);
	assert_int_equal(f->dev.reads, 0);
}

static void eoi_goes_to_the_ioapic(void **state)
{
	struct fixture *f = *state;

	f->run.exit_reason = KVM_EXIT_IOAPIC_EOI;
	f->run.eoi.vector = 0x31;
	assert_int_equal(handle(f), VCPU_AGAIN);
	assert_int_equal(f->eois, 1);
	assert_int_equal(f->eoi_vector, 0x31);
}

static void triple_fault_and_halt_reset(void **state)
{
	struct fixture *f = *state;

	f->run.exit_reason = KVM_EXIT_SHUTDOWN;
	assert_int_equal(handle(f), VCPU_RESET);
	f->run.exit_reason = KVM_EXIT_HLT;
	assert_int_equal(handle(f), VCPU_RESET);
}

static void interrupted_run_is_entered_again(void **state)
{
	struct fixture *f = *state;

	f->run.exit_reason = KVM_EXIT_INTR;
	assert_int_equal(handle(f), VCPU_AGAIN);
}

static void system_events_end_the_run(void **state)
{
	struct fixture *f = *state;

	f->run.exit_reason = KVM_EXIT_SYSTEM_EVENT;
	f->run.system_event.type = KVM_SYSTEM_EVENT_SHUTDOWN;
	assert_int_equal(handle(f), VCPU_POWER_OFF);
	f->run.system_event.type = KVM_SYSTEM_EVENT_RESET;
	assert_int_equal(handle(f), VCPU_RESET);
	f->run.system_event.type = 12345;
	assert_int_equal(handle(f), VCPU_FAILED);
	assert_string_equal(f->why, "unknown system event 12345");
}

static void trouble_and_unknown_reasons_fail_with_their_number(void **state)
{
	struct fixture *f = *state;

	f->run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
	f->run.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	assert_int_equal(handle(f), VCPU_FAILED);
	assert_string_equal(f->why, "KVM internal error, sub-error 1");
	f->run.exit_reason = KVM_EXIT_FAIL_ENTRY;
	f->run.fail_entry.hardware_entry_failure_reason = 0x80000021;
	assert_int_equal(handle(f), VCPU_FAILED);
	assert_string_equal(f->why, "the processor refused to enter the guest, reason 2147483681");
	/* Everything else, whatever the kernel may come to know. */
	for (uint32_t reason = 0; reason < 200; reason++) {
		static const uint32_t handled[] = {
			KVM_EXIT_IO,       KVM_EXIT_MMIO, KVM_EXIT_IOAPIC_EOI,   KVM_EXIT_INTR,
			KVM_EXIT_SHUTDOWN, KVM_EXIT_HLT,  KVM_EXIT_SYSTEM_EVENT,
		};
		bool known = false;

		for (size_t i = 0; i < nitems(handled); i++)
			known = known || handled[i] == reason;
		f->run.exit_reason = reason;
		if (!known)
			assert_int_equal(handle(f), VCPU_FAILED);
	}
	assert_string_equal(f->why, "unexpected KVM exit reason 199");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(pio_read_reaches_the_device),
		T(pio_string_write_carries_out_each_element),
		T(pio_string_read_fills_each_element),
		T(pio_string_stops_at_the_write_that_ends_the_run),
		T(pio_unclaimed_reads_all_ones),
		T(pio_data_outside_the_run_area_is_refused),
		T(mmio_read_and_write_reach_the_device),
		T(mmio_too_long_is_refused),
		T(eoi_goes_to_the_ioapic),
		T(triple_fault_and_halt_reset),
		T(interrupted_run_is_entered_again),
		T(system_events_end_the_run),
		T(trouble_and_unknown_reasons_fail_with_their_number),
	};

	return cmocka_run_group_tests_name("vcpu_exit", tests, NULL, NULL);
}
