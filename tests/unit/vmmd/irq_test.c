/* SPDX-License-Identifier: ISC */
#include "vmmd/irq.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <linux/kvm.h>

static void msi_address_without_extended_id_stays(void **state)
{
	(void)state;
	assert_int_equal(irq_msi_addr_to_kvm(0xfee05000), 0xfee05000);
	assert_int_equal(irq_msi_addr_to_kvm(0xfee0500c), 0xfee0500c);
}

/* MSI_EXT_DEST_ID: destination 14:8 in address bits 11:5. */
static void msi_address_with_extended_id_moves_to_the_high_half(void **state)
{
	(void)state;
	assert_int_equal(irq_msi_addr_to_kvm(0xfee010e0), UINT64_C(0x00000700fee01000));
	assert_int_equal(irq_msi_addr_to_kvm(0xfeeffff0 & ~UINT64_C(0x10)), UINT64_C(0x00007f00feeff000));
}

static void msi_address_in_remappable_format_or_with_a_high_half_stays(void **state)
{
	(void)state;
	assert_int_equal(irq_msi_addr_to_kvm(0xfee010f0), 0xfee010f0);
	assert_int_equal(irq_msi_addr_to_kvm(UINT64_C(0x100fee010e0)), UINT64_C(0x100fee010e0));
}

/* -1 is no VM, so KVM's part fails; the table is ours. */
static void unmasked_pins_stand_in_the_table_at_their_own_number(void **state)
{
	struct irqs irqs;

	(void)state;
	assert_int_equal(irqs_init(&irqs, -1, false), 0);
	assert_int_equal(irqs_set_pin(&irqs, 23, false, 0xfee00000, 0x8041), -EBADF);
	assert_int_equal(irqs_set_pin(&irqs, 4, false, 0xfee01008, 0x31), -EBADF);
	assert_int_equal(irqs.table->nr, 2);
	assert_int_equal(irqs.table->entries[0].gsi, 4);
	assert_int_equal(irqs.table->entries[0].type, KVM_IRQ_ROUTING_MSI);
	assert_int_equal(irqs.table->entries[0].u.msi.address_lo, 0xfee01008);
	assert_int_equal(irqs.table->entries[0].u.msi.data, 0x31);
	assert_int_equal(irqs.table->entries[1].gsi, 23);
	assert_int_equal(irqs_set_pin(&irqs, 4, true, 0xfee01008, 0x31), -EBADF);
	assert_int_equal(irqs.table->nr, 1);
	assert_int_equal(irqs.table->entries[0].gsi, 23);
	irqs_fini(&irqs);
}

static void unchanged_pin_asks_nothing_of_kvm(void **state)
{
	struct irqs irqs;

	(void)state;
	assert_int_equal(irqs_init(&irqs, -1, false), 0);
	assert_int_equal(irqs_set_pin(&irqs, 4, true, 0, 0), 0);
	assert_int_equal(irqs_set_pin(&irqs, 4, false, 0xfee00000, 0x31), -EBADF);
	assert_int_equal(irqs_set_pin(&irqs, 4, false, 0xfee00000, 0x31), 0);
	irqs_fini(&irqs);
}

static void masked_and_absent_pins_inject_nothing(void **state)
{
	struct irqs irqs;

	(void)state;
	assert_int_equal(irqs_init(&irqs, -1, false), 0);
	assert_int_equal(irqs_inject_pin(&irqs, 4), 0);
	assert_int_equal(irqs_inject_pin(&irqs, IOAPIC_PINS), 0);
	assert_int_equal(irqs_set_pin(&irqs, IOAPIC_PINS, false, 0xfee00000, 1), -EINVAL);
	assert_int_equal(irqs_set_pin(&irqs, 4, false, 0xfee00000, 0x31), -EBADF);
	assert_int_equal(irqs_inject_pin(&irqs, 4), -EBADF);
	irqs_fini(&irqs);
	irqs_fini(&irqs);
}

static void wide_ids_reach_the_table(void **state)
{
	struct irqs irqs;

	(void)state;
	assert_int_equal(irqs_init(&irqs, -1, true), 0);
	assert_int_equal(irqs_set_pin(&irqs, 4, false, 0xfee010e0, 0x31), -EBADF);
	assert_int_equal(irqs.table->entries[0].u.msi.address_lo, 0xfee01000);
	assert_int_equal(irqs.table->entries[0].u.msi.address_hi, 0x700);
	irqs_fini(&irqs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(msi_address_without_extended_id_stays),
		cmocka_unit_test(msi_address_with_extended_id_moves_to_the_high_half),
		cmocka_unit_test(msi_address_in_remappable_format_or_with_a_high_half_stays),
		cmocka_unit_test(unmasked_pins_stand_in_the_table_at_their_own_number),
		cmocka_unit_test(unchanged_pin_asks_nothing_of_kvm),
		cmocka_unit_test(masked_and_absent_pins_inject_nothing),
		cmocka_unit_test(wide_ids_reach_the_table),
	};

	return cmocka_run_group_tests_name("irq", tests, NULL, NULL);
}
