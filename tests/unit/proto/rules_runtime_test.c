/* SPDX-License-Identifier: ISC */
/* What passes every rule of the configuration and still cannot be booted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/rules.h"
#include "tests/unit/proto/json_util.h"

static void make(const char *rest, struct cfg_vm *c)
{
	char *text = malloc(strlen(rest) + 256);

	assert_non_null(text);
	(void)sprintf(text, "{\"payload\":{\"kernel\":\"/k\"},\"cpus\":{\"boot_vcpus\":512,\"max_vcpus\":512},"
			    "\"memory\":{\"size\":4096,\"shared\":true}%s%s}", *rest != '\0' ? "," : "", rest);
	take(text, c);
	free(text);
	assert_int_equal(rules_check_boot(c, NULL), 0);
}

static void passes(const char *rest)
{
	struct cfg_vm c;
	struct err e = { 0 };

	make(rest, &c);
	if (rules_check_runtime(&c, &e) != 0)
		fail_msg("%s: %s: %s", rest, err_text(&e, 0), err_text(&e, 1));
	obj_fini(&desc_cfg_vm, &c);
}

/* @inner NULL: @outer is all there is. */
static void refused(const char *rest, const char *outer, const char *inner)
{
	struct cfg_vm c;
	struct err e = { 0 };
	int r;

	make(rest, &c);
	r = rules_check_runtime(&c, &e);
	if ((r != -EINVAL && r != -ENAMETOOLONG) || strcmp(err_text(&e, 0), outer) != 0 ||
	    (inner != NULL && strcmp(err_text(&e, 1), inner) != 0))
		fail_msg("%s: %d \"%s\": \"%s\"", rest, r, err_text(&e, 0), err_text(&e, 1));
	obj_fini(&desc_cfg_vm, &c);
}

static void disks_need_something_behind_them(void **state)
{
	(void)state;
	passes("\"disks\":[{\"path\":\"/d\",\"image_type\":\"Raw\"},{\"vhost_user\":true,\"vhost_socket\":\"/s\"}]");
	refused("\"disks\":[{}]", "disks[0]", "neither path nor vhost_user with vhost_socket is given");
	refused("\"disks\":[{\"vhost_socket\":\"/s\"}]", "disks[0]", "neither path nor vhost_user with vhost_socket is given");
	refused("\"disks\":[{\"path\":\"\"}]", "disks[0]", "path is empty");
	refused("\"disks\":[{\"vhost_user\":true,\"vhost_socket\":\"\"}]", "disks[0]", "vhost_socket is empty");
}

static void formats_of_later_builds_are_named(void **state)
{
	static const char *const types[] = { "FlatVmdk", "FixedVhd", "Qcow2", "Vhdx" };

	(void)state;
	for (size_t i = 0; i < nitems(types); i++) {
		char rest[128], want[128];

		(void)snprintf(rest, sizeof(rest), "\"disks\":[{\"path\":\"/d\",\"image_type\":\"%s\"}]", types[i]);
		(void)snprintf(want, sizeof(want), "image_type %s is not supported by this build", types[i]);
		refused(rest, "disks[0]", want);
	}
}

static void queues_have_a_number_and_a_size(void **state)
{
	(void)state;
	passes("\"disks\":[{\"path\":\"/d\",\"num_queues\":256,\"queue_size\":32768}],\"net\":[{\"num_queues\":254}]");
	refused("\"disks\":[{\"path\":\"/d\",\"num_queues\":257}]", "disks[0]",
		"num_queues 257 is above 256, the most that this build serves");
	refused("\"disks\":[{\"path\":\"/d\",\"num_queues\":0}]", "disks[0]", "num_queues is 0");
	refused("\"net\":[{\"id\":\"n\",\"num_queues\":255}]", "net \"n\"",
		"num_queues 255 is above 254, the most that this build serves");
	refused("\"net\":[{\"queue_size\":2}]", "net[0]", "queue_size 2 is too small");
	refused("\"net\":[{\"queue_size\":1}]", "net[0]", "queue_size 1 is too small");
}

static void names_fit_what_they_name(void **state)
{
	char rest[8192], text[5000];

	(void)state;
	passes("\"net\":[{\"tap\":\"fifteen-letters\"}]");
	refused("\"net\":[{\"tap\":\"sixteen-letters-\"}]", "net[0]", "\"sixteen-letters-\" cannot be the name of an interface");
	refused("\"net\":[{\"tap\":\"\"}]", "net[0]", "\"\" cannot be the name of an interface");
	refused("\"net\":[{\"tap\":\"a/b\"}]", "net[0]", "\"a/b\" cannot be the name of an interface");
	refused("\"rng\":{\"src\":\"\"}", "rng", "src is empty");
	memset(text, 'x', sizeof(text));
	text[4096] = '\0';
	(void)snprintf(rest, sizeof(rest), "\"disks\":[{\"path\":\"%s\"}]", text);
	refused(rest, "disks[0]", "path has 4096 bytes, more than 4095");
	(void)snprintf(rest, sizeof(rest), "\"rng\":{\"src\":\"%s\"}", text);
	refused(rest, "rng", "src has 4096 bytes, more than 4095");
	text[4095] = '\0';
	(void)snprintf(rest, sizeof(rest), "\"disks\":[{\"path\":\"%s\"}],\"rng\":{\"src\":\"%s\"}", text, "/r");
	passes(rest);
	text[108] = '\0';
	(void)snprintf(rest, sizeof(rest), "\"net\":[{\"vhost_user\":true,\"vhost_socket\":\"%s\"}]", text);
	refused(rest, "net[0]", "vhost_socket has 108 bytes, more than 107");
}

static void ids_can_be_nodes(void **state)
{
	char rest[512], id[300];

	(void)state;
	refused("\"disks\":[{\"id\":\"\",\"path\":\"/d\"}]", "disk \"\"", "the id is empty");
	refused("\"net\":[{\"id\":\"\"}]", "net \"\"", "the id is empty");
	refused("\"rng\":{\"src\":\"/r\",\"id\":\"\"}", "rng", "the id is empty");
	refused("\"console\":{\"mode\":\"Tty\",\"id\":\"\"}", "console", "the id is empty");
	refused("\"net\":[{\"id\":\"_virtio-pci-x\"}]", "net \"_virtio-pci-x\"",
		"id \"_virtio-pci-x\": such names are those of PCI devices");
	memset(id, 'i', sizeof(id));
	id[240] = '\0';
	(void)snprintf(rest, sizeof(rest), "\"net\":[{\"id\":\"%s\"}]", id);
	passes(rest);
	id[240] = 'i';
	id[241] = '\0';
	(void)snprintf(rest, sizeof(rest), "\"rng\":{\"src\":\"/r\",\"id\":\"%s\"}", id);
	refused(rest, "rng", "the id has 241 bytes, more than 240");
	(void)snprintf(rest, sizeof(rest),
		       "\"rate_limit_groups\":[{\"id\":\"%s\",\"rate_limiter_config\":{\"ops\":{\"size\":1,\"refill_time\":1}}}]", id);
	refused(rest, "rate_limit_groups[0]", "the id has 241 bytes, more than 240");
}

/* @disks disks, with what else is there. */
static void many(char *rest, unsigned disks, const char *more)
{
	rest += sprintf(rest, "\"disks\":[");
	for (unsigned i = 0; i < disks; i++)
		rest += sprintf(rest, "%s{\"path\":\"/d\"}", i > 0 ? "," : "");
	(void)sprintf(rest, "]%s", more);
}

static void slots_are_31(void **state)
{
	char rest[2048];

	(void)state;
	many(rest, 29, ""); /* and console, rng */
	passes(rest);
	many(rest, 30, "");
	refused(rest, "32 devices, PCI segment 0 has room for 31", NULL);
	many(rest, 30, ",\"console\":{\"mode\":\"Off\"}");
	passes(rest);
	many(rest, 28, ",\"net\":[{}]");
	passes(rest);
	many(rest, 28, ",\"net\":[{},{}]");
	refused(rest, "32 devices, PCI segment 0 has room for 31", NULL);
	passes("\"disks\":[{\"path\":\"/d\",\"pci_device_id\":31}],\"net\":[{\"pci_device_id\":1}],"
	       "\"console\":{\"mode\":\"Off\",\"pci_device_id\":1}");
	refused("\"disks\":[{\"path\":\"/d\",\"pci_device_id\":31}],\"net\":[{\"pci_device_id\":31}]",
		"PCI slot 31 is taken by two devices", NULL);
	refused("\"console\":{\"mode\":\"Null\",\"pci_device_id\":1},\"rng\":{\"src\":\"/r\",\"pci_device_id\":1}",
		"PCI slot 1 is taken by two devices", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disks_need_something_behind_them),
		cmocka_unit_test(formats_of_later_builds_are_named),
		cmocka_unit_test(queues_have_a_number_and_a_size),
		cmocka_unit_test(names_fit_what_they_name),
		cmocka_unit_test(ids_can_be_nodes),
		cmocka_unit_test(slots_are_31),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
