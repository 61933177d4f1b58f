/* SPDX-License-Identifier: ISC */
/* The tables themselves, and the walkers that need no codec. */
#include "proto/desc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/msg.h"
#include "tests/unit/proto/full_config.h"

#define CFG_NAME(S, ver, FIELDS) &desc_##S,
#define MSG_NAME(S, ver, FIELDS) &desc_##S,
#define MSG_TYPED(T, S, num, ver, FIELDS) &desc_##S,
#define MSG_BARE(T, num)
static const struct desc *const all[] = { CFG_OBJECTS(CFG_NAME) ALL_MESSAGES(MSG_NAME, MSG_TYPED, MSG_BARE) };

static unsigned nesting(const struct desc *d)
{
	unsigned deepest = 0;

	for (unsigned i = 0; i < d->n; i++) {
		unsigned n = d->f[i].kind == FK_OBJ ? nesting(d->f[i].obj) : 0;

		deepest = n > deepest ? n : deepest;
	}
	return deepest + 1;
}

static void tables_hold_what_the_walkers_rely_on(void **state)
{
	(void)state;
	for (size_t k = 0; k < nitems(all); k++) {
		const struct desc *d = all[k];

		assert_true(nesting(d) <= DESC_NEST_MAX);
		assert_true(d->version > 0);
		for (unsigned i = 0; i < d->n; i++) {
			const struct field_desc *f = &d->f[i];

			/* names are unique, but for keys of the command line that JSON does not have */
			for (unsigned j = 0; j < i; j++)
				assert_true(strcmp(f->name, d->f[j].name) != 0);
			assert_true(f->kind != FK_ANY || !field_is_stored(f));
			assert_true(f->kind != FK_ENUM || f->en->n <= 32);
			assert_true(f->kind != FK_I32 || f->max == 0 || field_is_list(f));
			assert_true(f->def_str == NULL || f->pres == FP_NULLABLE);
			assert_true(!f->put_null || f->pres == FP_OPT);
			assert_true(!f->strict || f->kind == FK_OBJ);
			assert_true(!f->distrust || (f->pres == FP_OPTLIST && f->kind != FK_STR && f->kind != FK_OBJ));
			assert_true(!f->internal || (f->pres == FP_DEF && f->kv == KV_NONE));
			assert_true(f->form == TF_ANY || f->kind == FK_STR);
			assert_true(f->kv != KV_LIMITER || f->obj == &desc_cfg_rate_limiter);
			assert_true(f->def == 0 || f->def <= field_value_max(f));
			assert_true(f->kind != FK_STR || !field_is_stored(f) || f->def == 0);
			assert_true(f->pres != FP_NULLABLE || f->kind == FK_STR);
			assert_true(f->pres != FP_OPT || f->kind != FK_STR);
			assert_true(f->pres != FP_OPTLIST || f->min == 0);
			assert_true(field_max(f) <= UINT32_MAX || f->kind == FK_U64);
			assert_true(!field_is_stored(f) || f->off + f->elem <= d->size || field_is_list(f));
			assert_true(f->kv != KV_MODE || f->en == &enum_console_mode);
			assert_true(!f->kv_like_prev || i > 0);
		}
	}
}

static void message_types_are_unique_and_named(void **state)
{
#define T_PART(S, ver, FIELDS)
#define T_BODY(T, S, num, ver, FIELDS) MSG_##T,
#define T_BARE(T, num) MSG_##T,
	static const enum msg_type types[] = { ALL_MESSAGES(T_PART, T_BODY, T_BARE) };

	(void)state;
	for (size_t i = 0; i < nitems(types); i++) {
		assert_true(types[i] > 0 && types[i] <= UINT16_MAX);
		assert_non_null(msg_type_name(types[i]));
		for (size_t j = 0; j < i; j++)
			assert_true(types[i] != types[j]);
	}
	assert_null(msg_type_name((enum msg_type)0x7777));
	assert_null(msg_type_desc((enum msg_type)0x7777));
	assert_ptr_equal(msg_type_desc(MSG_CMD_VM_CREATE), &desc_msg_cmd_vm_create);
	assert_null(msg_type_desc(MSG_CMD_VM_INFO));
	assert_string_equal(msg_type_name(MSG_CMD_VM_INFO), "CMD_VM_INFO");
}

static void enumerations_keep_their_numbers(void **state)
{
	(void)state;
	/* they are on the wire and in the contract with other parts */
	assert_int_equal(CONSOLE_MODE_OFF, 0);
	assert_int_equal(CONSOLE_MODE_NULL, 5);
	assert_int_equal(enum_console_mode.n, 6);
	assert_string_equal(enum_console_mode.names[CONSOLE_MODE_SOCKET].json, "Socket");
	assert_int_equal(VM_STATE_NONE, 0);
	assert_int_equal(enum_vm_state.n, 5);
}

static void obj_init_gives_the_documented_defaults(void **state)
{
	struct cfg_vm c;

	(void)state;
	memset(&c, 0xff, sizeof(c));
	obj_init(&desc_cfg_vm, &c);
	assert_int_equal(c.cpus.boot_vcpus, 1);
	assert_int_equal(c.cpus.max_vcpus, 1);
	assert_int_equal(c.cpus.max_phys_bits, 46);
	assert_true(c.cpus.nested);
	assert_int_equal(c.cpus.core_scheduling, CORE_SCHEDULING_VM);
	assert_false(c.cpus.has_topology);
	assert_true(c.memory.size == UINT64_C(536870912));
	assert_true(c.memory.thp);
	assert_false(c.memory.shared);
	assert_int_equal(c.memory.hotplug_method, HOTPLUG_METHOD_ACPI);
	assert_int_equal(c.serial.mode, CONSOLE_MODE_NULL);
	assert_int_equal(c.console.mode, CONSOLE_MODE_TTY);
	assert_null(c.rng.src); /* which means /dev/urandom */
	assert_false(c.has_disks || c.has_net || c.has_rate_limit_groups);
	assert_int_equal(c.debug_console.mode, CONSOLE_MODE_OFF);
	assert_true(c.debug_console.has_iobase);
	assert_int_equal(c.debug_console.iobase, 233);
	assert_false(c.has_payload);
	assert_null(c.payload.kernel);
	obj_fini(&desc_cfg_vm, &c);
}

static void obj_fini_accepts_zeroed_and_finished_objects(void **state)
{
	struct cfg_vm c = { 0 };

	(void)state;
	obj_fini(&desc_cfg_vm, &c);
	full_config(&c);
	obj_fini(&desc_cfg_vm, &c);
	obj_fini(&desc_cfg_vm, &c);
	assert_null(c.payload.kernel);
	for (size_t k = 0; k < nitems(all); k++) {
		void *obj = calloc(1, all[k]->size);

		assert_non_null(obj);
		obj_fini(all[k], obj);
		obj_init(all[k], obj);
		obj_fini(all[k], obj);
		free(obj);
	}
}

static void obj_copy_is_deep_and_equal(void **state)
{
	struct cfg_vm a, b;

	(void)state;
	full_config(&a);
	assert_int_equal(obj_copy(&desc_cfg_vm, &b, &a), 0);
	assert_true(obj_equal(&desc_cfg_vm, &a, &b));
	assert_ptr_not_equal(a.payload.kernel, b.payload.kernel);
	assert_ptr_not_equal(a.cpus.affinity, b.cpus.affinity);
	assert_ptr_not_equal(a.cpus.affinity[0].host_cpus, b.cpus.affinity[0].host_cpus);
	assert_ptr_not_equal(a.memory.zones[1].file, b.memory.zones[1].file);
	obj_fini(&desc_cfg_vm, &a);
	assert_string_equal(b.memory.zones[1].file, "/dev/hugepages/z");
	obj_fini(&desc_cfg_vm, &b);
}

static void obj_equal_sees_every_difference(void **state)
{
	struct cfg_vm a, b;

	(void)state;
	full_config(&a);
	full_config(&b);
	assert_true(obj_equal(&desc_cfg_vm, &a, &b));
#define DIFFERS(member, value) \
	do { \
		__typeof__(a.member) was = a.member; \
		a.member = (value); \
		assert_false(obj_equal(&desc_cfg_vm, &a, &b)); \
		a.member = was; \
		assert_true(obj_equal(&desc_cfg_vm, &a, &b)); \
	} while (0)
	DIFFERS(cpus.boot_vcpus, 77);
	DIFFERS(cpus.topology.packages, 77);
	DIFFERS(cpus.has_topology, false);
	DIFFERS(cpus.features.amx, false);
	DIFFERS(cpus.profile, (enum cpu_profile)1);
	DIFFERS(cpus.affinity[1].host_cpus[2], 77);
	DIFFERS(cpus.affinity[1].n_host_cpus, 2);
	DIFFERS(cpus.n_affinity, 1);
	DIFFERS(memory.size, a.memory.size ^ UINT64_C(1) << 63);
	DIFFERS(memory.zones[0].id, b.memory.zones[1].id);
	DIFFERS(memory.zones[0].has_host_numa_node, false);
	DIFFERS(payload.kernel, NULL);
	DIFFERS(payload.cmdline, b.payload.kernel);
	DIFFERS(has_payload, false);
	DIFFERS(serial.mode, CONSOLE_MODE_OFF);
	DIFFERS(console.pci_device_id, 9);
	DIFFERS(debug_console.iobase, 9);
	DIFFERS(watchdog, false);
	DIFFERS(disks[1].path, b.disks[0].path);
	DIFFERS(disks[0].image_detected, false);
	DIFFERS(disks[0].rate_limiter_config.ops.size, 9);
	DIFFERS(disks[0].rate_limiter_config.has_bandwidth, false);
	DIFFERS(disks[0].queue_affinity[1].host_cpus[0], 9);
	DIFFERS(net[0].fds[1], 9);
	DIFFERS(net[0].mac, NULL);
	DIFFERS(rng.src, NULL);
	DIFFERS(rate_limit_groups[0].id, NULL);
	/* what an absent member holds is no difference */
	a.cpus.has_topology = b.cpus.has_topology = false;
	a.cpus.topology.packages = 77;
	assert_true(obj_equal(&desc_cfg_vm, &a, &b));
	obj_fini(&desc_cfg_vm, &a);
	obj_fini(&desc_cfg_vm, &b);
}

static void field_is_plain_recognises_defaults(void **state)
{
	struct cfg_vm c;
	const struct field_desc *mode = desc_find(&desc_cfg_debug_console, "mode");

	(void)state;
	obj_init(&desc_cfg_vm, &c);
	for (unsigned i = 0; i < desc_cfg_vm.n; i++)
		assert_true(field_is_plain(&desc_cfg_vm.f[i], &c) || i == 2);
	c.debug_console.mode = CONSOLE_MODE_NULL;
	assert_true(field_is_plain(mode, &c.debug_console));
	c.debug_console.mode = CONSOLE_MODE_TTY;
	assert_false(field_is_plain(mode, &c.debug_console));
	c.debug_console.iobase = 234;
	assert_false(field_is_plain(desc_find(&desc_cfg_debug_console, "iobase"), &c.debug_console));
	c.debug_console.has_iobase = false;
	assert_true(field_is_plain(desc_find(&desc_cfg_debug_console, "iobase"), &c.debug_console));
	obj_fini(&desc_cfg_vm, &c);
}

static void msg_result_carries_a_chain_there_and_back(void **state)
{
	struct msg_result r;
	struct err a, b;

	(void)state;
	(void)err_set(&a, -ENOENT, "no such file");
	(void)err_wrap(&a, -ERR_INVALID, "disk \"%s\"", "x");
	(void)err_wrap(&a, -EIO, "Error from API");
	assert_int_equal(msg_result_set(&r, -EIO, &a), 0);
	assert_int_equal(r.n_links, 3);
	assert_string_equal(r.links[0].text, "no such file");
	msg_result_err(&r, &b);
	assert_int_equal(err_count(&b), 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_string_equal(err_text(&a, i), err_text(&b, i));
		assert_int_equal(err_code(&a, i), err_code(&b, i));
	}
	obj_fini(&desc_msg_result, &r);
}

static void msg_result_without_links_still_says_something(void **state)
{
	struct msg_result r;
	struct err e;

	(void)state;
	assert_int_equal(msg_result_set(&r, -ENOENT, NULL), 0);
	msg_result_err(&r, &e);
	assert_int_equal(err_count(&e), 1);
	assert_int_equal(err_code(&e, 0), -ENOENT);
	assert_true(strlen(err_text(&e, 0)) > 0);
	obj_fini(&desc_msg_result, &r);
	assert_int_equal(msg_result_set(&r, 0, NULL), 0);
	msg_result_err(&r, &e);
	assert_int_equal(err_count(&e), 0);
	obj_fini(&desc_msg_result, &r);
}

static void msg_result_from_a_liar_gives_sane_codes(void **state)
{
	struct msg_link links[2] = { { .code = 5, .text = NULL }, { .code = INT32_MIN, .text = NULL } };
	struct msg_result r = { .code = 0, .n_links = 2, .links = links };
	char a[] = "a", b[] = "%s%n";
	struct err e;

	(void)state;
	links[0].text = a;
	links[1].text = b;
	msg_result_err(&r, &e);
	assert_int_equal(err_count(&e), 2);
	assert_int_equal(err_code(&e, 0), -EPROTO);
	assert_int_equal(err_code(&e, 1), -EPROTO);
	assert_string_equal(err_text(&e, 0), "%s%n");
	r.n_links = 0;
	r.code = 77;
	msg_result_err(&r, &e);
	assert_int_equal(err_code(&e, 0), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_hold_what_the_walkers_rely_on),
		cmocka_unit_test(message_types_are_unique_and_named),
		cmocka_unit_test(enumerations_keep_their_numbers),
		cmocka_unit_test(obj_init_gives_the_documented_defaults),
		cmocka_unit_test(obj_fini_accepts_zeroed_and_finished_objects),
		cmocka_unit_test(obj_copy_is_deep_and_equal),
		cmocka_unit_test(obj_equal_sees_every_difference),
		cmocka_unit_test(field_is_plain_recognises_defaults),
		cmocka_unit_test(msg_result_carries_a_chain_there_and_back),
		cmocka_unit_test(msg_result_without_links_still_says_something),
		cmocka_unit_test(msg_result_from_a_liar_gives_sane_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
