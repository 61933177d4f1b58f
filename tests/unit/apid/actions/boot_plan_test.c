/* SPDX-License-Identifier: ISC */
#include "apid/actions/boot_plan.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/proto/json_util.h"

static void names_come_from_one_counter(void **state)
{
	struct cfg_vm c;

	(void)state;
	take("{\"disks\":[{},{\"id\":\"mine\"},{}],\"net\":[{},{}]}", &c);
	assert_int_equal(boot_plan_names(&c, NULL), 0);
	assert_string_equal(c.disks[0].id, "_disk0");
	assert_string_equal(c.disks[1].id, "mine");
	assert_string_equal(c.disks[2].id, "_disk1");
	assert_string_equal(c.net[0].id, "_net2");
	assert_string_equal(c.net[1].id, "_net3");
	assert_null(c.rng.id);
	assert_null(c.console.id);
	assert_int_equal(boot_plan_names(&c, NULL), 0); /* the next boot changes nothing */
	assert_string_equal(c.net[1].id, "_net3");
	obj_fini(&desc_cfg_vm, &c);
}

/* Whoever has a name that would be next keeps it. */
static void names_in_use_are_skipped(void **state)
{
	struct cfg_vm c;

	(void)state;
	take("{\"disks\":[{},{\"id\":\"_disk0\"},{}],\"net\":[{},{\"id\":\"_net4\"},{}],\"rng\":{\"src\":\"/r\",\"id\":\"_disk2\"},"
	     "\"console\":{\"mode\":\"Off\",\"id\":\"_net5\"},"
	     "\"rate_limit_groups\":[{\"id\":\"_disk1\",\"rate_limiter_config\":{}}]}", &c);
	assert_int_equal(boot_plan_names(&c, NULL), 0);
	assert_string_equal(c.disks[0].id, "_disk3");
	assert_string_equal(c.disks[2].id, "_disk4");
	assert_string_equal(c.net[0].id, "_net6"); /* 5 is the console's */
	assert_string_equal(c.net[2].id, "_net7");
	obj_fini(&desc_cfg_vm, &c);
}

static void macs_are_random_unless_given(void **state)
{
	struct cfg_vm c;

	(void)state;
	take("{\"net\":[{},{\"mac\":\"00:11:22:33:44:55\"},{}]}", &c);
	assert_int_equal(boot_plan_names(&c, NULL), 0);
	assert_string_equal(c.net[1].mac, "00:11:22:33:44:55");
	for (size_t i = 0; i < 3; i += 2) {
		const char *mac = c.net[i].mac;

		assert_int_equal(strlen(mac), 17);
		assert_int_equal(strncmp(mac, "2e:", 3), 0);
		for (size_t k = 0; k < 17; k++)
			assert_true(k % 3 == 2 ? mac[k] == ':' : isxdigit((unsigned char)mac[k]) && !isupper((unsigned char)mac[k]));
	}
	assert_string_not_equal(c.net[0].mac, c.net[2].mac); /* one run in 2^40 may fail */
	obj_fini(&desc_cfg_vm, &c);
}

static void image_types_are_taken_from_the_devices(void **state)
{
	struct msg_dev_detail d[] = { { DEV_DISK, 0, IMAGE_TYPE_RAW }, { DEV_DISK, 1, IMAGE_TYPE_RAW }, { DEV_DISK, 2, IMAGE_TYPE_UNKNOWN } };
	struct msg_mon_handover_result res = { .n_details = 3, .details = d };
	struct cfg_vm c;
	struct err e;

	(void)state;
	take("{\"disks\":[{\"id\":\"a\"},{\"id\":\"b\",\"image_type\":\"Raw\"},{\"id\":\"c\"}]}", &c);
	assert_int_equal(boot_plan_details(&c, &res, &e), 0);
	assert_int_equal(c.disks[0].image_type, IMAGE_TYPE_RAW);
	assert_true(c.disks[0].image_detected);
	assert_int_equal(boot_plan_image_type(&c.disks[0]), IMAGE_TYPE_UNKNOWN);
	assert_false(c.disks[1].image_detected);
	assert_int_equal(boot_plan_image_type(&c.disks[1]), IMAGE_TYPE_RAW);
	assert_int_equal(c.disks[2].image_type, IMAGE_TYPE_UNKNOWN);
	assert_false(c.disks[2].image_detected);
	d[1].detail = IMAGE_TYPE_VHDX;
	assert_int_equal(boot_plan_details(&c, &res, &e), -EINVAL);
	assert_string_equal(err_text(&e, 0), "disk \"b\": the image is Vhdx, not Raw");
	obj_fini(&desc_cfg_vm, &c);
}

static void groups_are_used_when_a_disk_is_in_them(void **state)
{
	struct cfg_vm c;

	(void)state;
	take("{\"disks\":[{},{\"rate_limit_group\":\"g\"}]}", &c);
	assert_true(boot_plan_uses_group(&c, "g"));
	assert_false(boot_plan_uses_group(&c, "h"));
	obj_fini(&desc_cfg_vm, &c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_come_from_one_counter),
		cmocka_unit_test(names_in_use_are_skipped),
		cmocka_unit_test(macs_are_random_unless_given),
		cmocka_unit_test(image_types_are_taken_from_the_devices),
		cmocka_unit_test(groups_are_used_when_a_disk_is_in_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
