/* SPDX-License-Identifier: ISC */
#include "vmmd/pci/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct pci_ids ids = {
	.vendor = 0x1AF4,
	.device = 0x1042,
	.subsys_vendor = 0x1AF5,
	.subsys = 0x1043,
	.class_code = 0x018000,
	.revision = 7,
};

static void header_carries_the_ids(void **state)
{
	struct pci_config c;

	(void)state;
	pci_config_init(&c, &ids);
	assert_int_equal(pci_config_read(&c, 0), 0x10421AF4);
	assert_int_equal(pci_config_read(&c, 2), 0x01800007);
	assert_int_equal(pci_config_read(&c, 11), 0x10431AF5);
	pci_config_fini(&c);
}

static void writes_need_both_masks(void **state)
{
	struct pci_config c;

	(void)state;
	pci_config_init(&c, &ids);
	pci_config_write(&c, 1, 0xFFFFFFFF, 0x00FF);
	assert_int_equal(pci_config_read(&c, 1), 0x00FF);
	pci_config_write(&c, 1, 0, 0xFFFF0000);
	assert_int_equal(pci_config_read(&c, 1), 0x00FF);
	pci_config_write(&c, 0, 0, 0xFFFFFFFF);
	assert_int_equal(pci_config_read(&c, 0), 0x10421AF4);
	pci_config_fini(&c);
}

static void the_last_register_is_there(void **state)
{
	struct pci_config c;

	(void)state;
	pci_config_init(&c, &ids);
	c.writable[PCI_CONFIG_DWORDS - 1] = 0xF0;
	pci_config_write(&c, PCI_CONFIG_DWORDS - 1, 0xFF, 0xFFFFFFFF);
	assert_int_equal(pci_config_read(&c, PCI_CONFIG_DWORDS - 1), 0xF0);
	pci_config_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_carries_the_ids),
		cmocka_unit_test(writes_need_both_masks),
		cmocka_unit_test(the_last_register_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
