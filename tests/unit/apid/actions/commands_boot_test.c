/* SPDX-License-Identifier: ISC */
/* The boot, step by step: what is asked of whom and in which order, and what is undone when a step is refused. */
#include "tests/unit/apid/actions/commands_util.h"

static void boot_to(const struct cfg_vm *c)
{
	ask(0, COMMAND_BOOT, NULL);
	reply_info(take(f.as_vmm, MSG_CMD_VM_INFO, NULL), c, VM_STATE_CREATED);
}

/* Up to the devices. */
static void boot_to_memory(const struct cfg_vm *c)
{
	boot_to(c);
	reply_file(take(f.as_mon, MSG_MON_OPEN_FILE, NULL));
	succeed(f.as_mon, take(f.as_mon, MSG_MON_MAKE_MEMORY, NULL));
}

static void reply_handover(uint32_t id, const struct msg_dev_detail *details, size_t n)
{
	struct msg_mon_handover_result res = { .n_details = n };

	if (n > 0) {
		res.details = calloc(n, sizeof(*details));
		assert_non_null(res.details);
		memcpy(res.details, details, n * sizeof(*details));
	}
	reply(f.as_mon, id, MSG_MON_HANDOVER_RESULT, &res);
	free(res.details);
}

static void assert_released(int code, const char *text)
{
	assert_int_equal(f.out[0].ended, 0); /* not told before it is undone */
	succeed(f.as_mon, take(f.as_mon, MSG_MON_RELEASE, NULL));
	assert_failed(0, code, text);
	assert_silent(f.as_mon);
	assert_silent(f.as_vmm);
}

static void add_disk(struct cfg_vm *c, const char *path, const char *group)
{
	struct cfg_disk *d;

	c->has_disks = true;
	c->disks = realloc(c->disks, (c->n_disks + 1) * sizeof(*d));
	assert_non_null(c->disks);
	d = &c->disks[c->n_disks++];
	obj_init(&desc_cfg_disk, d);
	d->path = strdup(path);
	d->rate_limit_group = group != NULL ? strdup(group) : NULL;
}

static void add_net(struct cfg_vm *c, const char *id, const char *mac)
{
	struct cfg_net *n;

	c->has_net = true;
	c->net = realloc(c->net, (c->n_net + 1) * sizeof(*n));
	assert_non_null(c->net);
	n = &c->net[c->n_net++];
	obj_init(&desc_cfg_net, n);
	n->id = id != NULL ? strdup(id) : NULL;
	n->mac = mac != NULL ? strdup(mac) : NULL;
}

static void add_group(struct cfg_vm *c, const char *id)
{
	struct cfg_rate_limit_group *g;

	c->has_rate_limit_groups = true;
	c->rate_limit_groups = realloc(c->rate_limit_groups, (c->n_rate_limit_groups + 1) * sizeof(*g));
	assert_non_null(c->rate_limit_groups);
	g = &c->rate_limit_groups[c->n_rate_limit_groups++];
	obj_init(&desc_cfg_rate_limit_group, g);
	g->id = strdup(id);
	g->rate_limiter_config.has_ops = true;
	g->rate_limiter_config.ops = (struct cfg_token_bucket){ .size = 7, .refill_time = 1 };
}

/* Two groups of which one is used, a console, two disks, two networks. */
static struct cfg_vm config_with_devices(void)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_NULL, NULL);

	c.console.mode = CONSOLE_MODE_PTY;
	c.console.file = strdup("/dev/pts/9");
	add_group(&c, "idle");
	add_group(&c, "slow");
	add_disk(&c, "/a", NULL);
	add_disk(&c, "/b", "slow");
	add_net(&c, "_net0", "2e:00:00:00:00:01");
	add_net(&c, NULL, NULL);
	return c;
}

static void boot_collects_everything_then_boots(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_NULL, "/i");
	struct msg_mon_open_file file;
	struct msg_mon_make_memory memory;
	struct msg_mon_handover handover;
	struct msg_cmd_vm_boot boot;

	(void)state;
	c.cpus.boot_vcpus = c.cpus.max_vcpus = 3;
	boot_to(&c);
	reply_file(take(f.as_mon, MSG_MON_OPEN_FILE, &file));
	assert_int_equal(file.kind, MON_FILE_KERNEL);
	assert_string_equal(file.path, "/k");
	obj_fini(&desc_msg_mon_open_file, &file);
	reply_file(take(f.as_mon, MSG_MON_OPEN_FILE, &file));
	assert_int_equal(file.kind, MON_FILE_INITRAMFS);
	assert_string_equal(file.path, "/i");
	obj_fini(&desc_msg_mon_open_file, &file);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_MAKE_MEMORY, &memory));
	assert_int_equal(memory.size, 536870912);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_RNG, NULL)); /* the one device that nobody can leave out */
	reply_handover(take(f.as_mon, MSG_MON_HANDOVER, &handover), NULL, 0);
	assert_int_equal(handover.vcpus, 3);
	uint32_t id = take(f.as_vmm, MSG_CMD_VM_BOOT, &boot);
	assert_true(obj_equal(&desc_cfg_vm, &boot.config, &c)); /* nothing had to be added */
	assert_int_equal(f.out[0].sent_id, id);
	succeed(f.as_vmm, id);
	assert_ok(0);
	assert_silent(f.as_mon);
	obj_fini(&desc_msg_cmd_vm_boot, &boot);
	obj_fini(&desc_cfg_vm, &c);
}

static void take_group_and_console(void)
{
	struct msg_mon_limit_group group;
	struct msg_mon_open_vcon vcon;

	succeed(f.as_mon, take(f.as_mon, MSG_MON_LIMIT_GROUP, &group));
	assert_string_equal(group.config.id, "slow");
	assert_int_equal(group.config.rate_limiter_config.ops.size, 7);
	obj_fini(&desc_msg_mon_limit_group, &group);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_VCON, &vcon));
	assert_int_equal(vcon.config.mode, CONSOLE_MODE_PTY);
	obj_fini(&desc_msg_mon_open_vcon, &vcon);
}

static void take_disks(void)
{
	static const char *const ids[] = { "_disk0", "_disk1" }, *const paths[] = { "/a", "/b" };

	for (unsigned i = 0; i < 2; i++) {
		struct msg_mon_open_disk disk;

		succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_DISK, &disk));
		assert_int_equal(disk.index, i);
		assert_string_equal(disk.config.id, ids[i]);
		assert_string_equal(disk.config.path, paths[i]);
		assert_int_equal(disk.config.image_type, IMAGE_TYPE_UNKNOWN);
		obj_fini(&desc_msg_mon_open_disk, &disk);
	}
}

static void boot_opens_devices_in_their_order_and_completes_the_config(void **state)
{
	static const struct msg_dev_detail details[] = { { DEV_NET, 0, 3 }, { DEV_DISK, 1, IMAGE_TYPE_RAW }, { DEV_RNG, 0, 9 },
							  { DEV_DISK, 0, IMAGE_TYPE_RAW } };
	struct cfg_vm c = config_with_devices();
	struct msg_mon_open_net net;
	struct msg_mon_open_rng rng;
	struct msg_cmd_vm_boot boot;

	(void)state;
	boot_to(&c);
	reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, NULL), "/dev/pts/9");
	reply_file(take(f.as_mon, MSG_MON_OPEN_FILE, NULL));
	succeed(f.as_mon, take(f.as_mon, MSG_MON_MAKE_MEMORY, NULL));
	take_group_and_console();
	take_disks();
	succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_NET, &net));
	assert_int_equal(net.index, 0);
	assert_string_equal(net.config.mac, "2e:00:00:00:00:01");
	obj_fini(&desc_msg_mon_open_net, &net);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_NET, &net));
	assert_int_equal(net.index, 1);
	assert_string_equal(net.config.id, "_net2");
	assert_int_equal(strncmp(net.config.mac, "2e:", 3), 0);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_RNG, &rng));
	assert_null(rng.config.src);
	reply_handover(take(f.as_mon, MSG_MON_HANDOVER, NULL), details, nitems(details));
	succeed(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_BOOT, &boot));
	assert_ok(0);
	assert_int_equal(boot.config.disks[0].image_type, IMAGE_TYPE_RAW);
	assert_true(boot.config.disks[0].image_detected && boot.config.disks[1].image_detected);
	assert_string_equal(boot.config.disks[1].id, "_disk1");
	assert_string_equal(boot.config.net[1].id, "_net2");
	assert_string_equal(boot.config.net[1].mac, net.config.mac);
	assert_string_equal(boot.config.console.file, "/dev/pts/9");
	assert_null(boot.config.rng.id);
	obj_fini(&desc_msg_mon_open_net, &net);
	obj_fini(&desc_msg_mon_open_rng, &rng);
	obj_fini(&desc_msg_cmd_vm_boot, &boot);
	obj_fini(&desc_cfg_vm, &c);
}

/* The guest may not turn an image whose type was found into another one: not at any later boot either. */
static void image_type_that_was_found_is_looked_for_again(void **state)
{
	struct msg_dev_detail detail = { DEV_DISK, 0, IMAGE_TYPE_RAW };
	struct cfg_vm c = config_with(CONSOLE_MODE_NULL, NULL);
	struct msg_mon_open_disk disk;
	struct msg_cmd_vm_boot boot;

	(void)state;
	add_disk(&c, "/a", NULL);
	c.disks[0].image_type = IMAGE_TYPE_RAW;
	c.disks[0].image_detected = true;
	boot_to_memory(&c);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_DISK, &disk));
	assert_int_equal(disk.config.image_type, IMAGE_TYPE_UNKNOWN);
	obj_fini(&desc_msg_mon_open_disk, &disk);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_RNG, NULL));
	reply_handover(take(f.as_mon, MSG_MON_HANDOVER, NULL), &detail, 1);
	succeed(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_BOOT, &boot));
	assert_true(boot.config.disks[0].image_detected);
	assert_int_equal(boot.config.disks[0].image_type, IMAGE_TYPE_RAW);
	assert_ok(0);
	obj_fini(&desc_msg_cmd_vm_boot, &boot);

	f.out[0] = (struct outcome){ 0 };
	boot_to_memory(&c);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_DISK, NULL));
	succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_RNG, NULL));
	detail.detail = IMAGE_TYPE_QCOW2;
	reply_handover(take(f.as_mon, MSG_MON_HANDOVER, NULL), &detail, 1);
	assert_released(-EINVAL, "disk \"_disk0\": the image is Qcow2, not Raw");

	f.out[0] = (struct outcome){ 0 };
	c.disks[0].image_detected = false; /* somebody said so */
	boot_to_memory(&c);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_DISK, &disk));
	assert_int_equal(disk.config.image_type, IMAGE_TYPE_RAW);
	obj_fini(&desc_msg_mon_open_disk, &disk);
	refuse(f.as_mon, take(f.as_mon, MSG_MON_OPEN_RNG, NULL), -EIO, "broken");
	succeed(f.as_mon, take(f.as_mon, MSG_MON_RELEASE, NULL));
	obj_fini(&desc_cfg_vm, &c);
}

static void nonsense_from_the_monitor_fails_the_boot(void **state)
{
	static const struct msg_dev_detail bad[] = { { DEV_DISK, 1, IMAGE_TYPE_RAW }, { DEV_DISK, 0, 6 },
						     { DEV_DISK, UINT32_MAX, 0 } };

	(void)state;
	for (unsigned i = 0; i < nitems(bad); i++) {
		struct cfg_vm c = config_with(CONSOLE_MODE_NULL, NULL);

		add_disk(&c, "/a", NULL);
		f.out[0] = (struct outcome){ 0 };
		boot_to_memory(&c);
		succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_DISK, NULL));
		succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_RNG, NULL));
		reply_handover(take(f.as_mon, MSG_MON_HANDOVER, NULL), &bad[i], 1);
		succeed(f.as_mon, take(f.as_mon, MSG_MON_RELEASE, NULL));
		assert_int_equal(f.out[0].ended, 1);
		assert_int_equal(err_code(&f.out[0].e, 0), -EBADMSG);
		assert_silent(f.as_vmm);
		obj_fini(&desc_cfg_vm, &c);
	}
}

static void boot_tells_vmmd_of_new_ptys(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_PTY, NULL);
	struct msg_cmd_vm_boot boot;

	(void)state;
	c.serial.file = strdup("/dev/pts/1");
	c.console.mode = CONSOLE_MODE_PTY;
	c.console.file = strdup("/dev/pts/2");
	boot_to(&c);
	reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, NULL), "/dev/pts/3");
	reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, NULL), "/dev/pts/4");
	reply_file(take(f.as_mon, MSG_MON_OPEN_FILE, NULL));
	succeed(f.as_mon, take(f.as_mon, MSG_MON_MAKE_MEMORY, NULL));
	succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_VCON, NULL));
	succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_RNG, NULL));
	reply_handover(take(f.as_mon, MSG_MON_HANDOVER, NULL), NULL, 0);
	uint32_t id = take(f.as_vmm, MSG_CMD_VM_BOOT, &boot);
	assert_string_equal(boot.config.serial.file, "/dev/pts/3");
	assert_string_equal(boot.config.console.file, "/dev/pts/4");
	succeed(f.as_vmm, id);
	assert_ok(0);
	obj_fini(&desc_msg_cmd_vm_boot, &boot);
	obj_fini(&desc_cfg_vm, &c);
}

/* Every request of a boot with all kinds of devices, in order. */
static const enum msg_type all_steps[] = {
	MSG_MON_OPEN_FILE, MSG_MON_MAKE_MEMORY, MSG_MON_LIMIT_GROUP, MSG_MON_OPEN_VCON, MSG_MON_OPEN_DISK, MSG_MON_OPEN_DISK,
	MSG_MON_OPEN_NET,  MSG_MON_OPEN_NET,	MSG_MON_OPEN_RNG,    MSG_MON_HANDOVER,	MSG_CMD_VM_BOOT,
};
/* What the chain says around "broken", by step; NULL: nothing. */
static const char *const all_abouts[] = {
	NULL,		  NULL,		   "rate limit group \"slow\"", "console", "disk \"_disk0\"", "disk \"_disk1\"",
	"net \"_net0\"", "net \"_net2\"", "rng",			NULL,	   NULL,
};

/* At each step of the boot in turn the request is refused. */
static void boot_that_fails_anywhere_releases_what_it_took(void **state)
{
	(void)state;
	for (unsigned fail_at = 0; fail_at < nitems(all_steps); fail_at++) {
		struct cfg_vm c = config_with_devices();
		const char *about = all_abouts[fail_at];

		memset(f.out, 0, sizeof(f.out));
		boot_to(&c);
		reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, NULL), "/dev/pts/9");
		for (unsigned i = 0; i <= fail_at; i++) {
			struct chan *whose = all_steps[i] == MSG_CMD_VM_BOOT ? f.as_vmm : f.as_mon;
			uint32_t id = take(whose, all_steps[i], NULL);

			if (i == fail_at)
				refuse(whose, id, -EIO, "broken");
			else if (all_steps[i] == MSG_MON_OPEN_FILE)
				reply_file(id);
			else if (all_steps[i] == MSG_MON_HANDOVER)
				reply_handover(id, NULL, 0);
			else
				succeed(whose, id);
		}
		assert_released(-EIO, about != NULL ? about : "broken");
		assert_string_equal(err_text(&f.out[0].e, about != NULL ? 1 : 0), "broken");
		obj_fini(&desc_cfg_vm, &c);
	}
}

/* A kernel that is refused, then a disk: whatever was not asked for is not released either. */
static void initramfs_that_is_refused_is_the_end(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_NULL, "/i");

	(void)state;
	boot_to(&c);
	reply_file(take(f.as_mon, MSG_MON_OPEN_FILE, NULL));
	refuse(f.as_mon, take(f.as_mon, MSG_MON_OPEN_FILE, NULL), -ENOENT, "missing");
	assert_released(-ENOENT, "missing");
	obj_fini(&desc_cfg_vm, &c);
}

/* What the monitor has said of the device is not said again. */
static void device_is_named_once(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_NULL, NULL);
	struct msg_result res;
	struct err e;

	(void)state;
	boot_to_memory(&c);
	uint32_t id = take(f.as_mon, MSG_MON_OPEN_RNG, NULL);
	(void)err_set(&e, -ENOENT, "/dev/none: No such file or directory");
	(void)err_wrap(&e, -ENOENT, "rng");
	assert_int_equal(msg_result_set(&res, -ENOENT, &e), 0);
	reply(f.as_mon, id, MSG_RESULT, &res);
	obj_fini(&desc_msg_result, &res);
	assert_released(-ENOENT, "rng");
	assert_int_equal(err_count(&f.out[0].e), 2);
	obj_fini(&desc_cfg_vm, &c);
}

/* Host CPUs of queues are a list that a client may make longer than the monitor reads. */
static void config_that_does_not_fit_a_message_is_refused(void **state)
{
	enum { CPUS = 2000 };
	struct cfg_vm c = config_with(CONSOLE_MODE_NULL, NULL);
	struct cfg_queue_affinity *a = calloc(1, sizeof(*a));

	(void)state;
	add_disk(&c, "/a", NULL);
	assert_non_null(a);
	a->n_host_cpus = CPUS;
	a->host_cpus = calloc(CPUS, sizeof(uint64_t));
	c.disks[0].has_queue_affinity = true;
	c.disks[0].n_queue_affinity = 1;
	c.disks[0].queue_affinity = a;
	boot_to_memory(&c);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_RELEASE, NULL));
	assert_int_equal(f.out[0].ended, 1);
	assert_int_equal(err_code(&f.out[0].e, 0), -EMSGSIZE);
	assert_string_equal(err_text(&f.out[0].e, 0), "disk \"_disk0\"");
	obj_fini(&desc_cfg_vm, &c);
}

static void failed_boot_closes_the_ptys_that_it_opened(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_PTY, NULL);
	struct msg_mon_close_console close;

	(void)state;
	c.serial.file = strdup("/dev/pts/1");
	c.console.mode = CONSOLE_MODE_PTY;
	c.console.file = strdup("/dev/pts/3");
	for (unsigned fresh = 0; fresh < 4; fresh++) {
		memset(f.out, 0, sizeof(f.out));
		boot_to(&c);
		reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, NULL), (fresh & 1) != 0 ? "/dev/pts/2" : "/dev/pts/1");
		reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, NULL), (fresh & 2) != 0 ? "/dev/pts/4" : "/dev/pts/3");
		refuse(f.as_mon, take(f.as_mon, MSG_MON_OPEN_FILE, NULL), -ENOENT, "missing");
		succeed(f.as_mon, take(f.as_mon, MSG_MON_RELEASE, NULL));
		for (unsigned i = 0; i < 2; i++) {
			if ((fresh >> i & 1) == 0)
				continue;
			succeed(f.as_mon, take(f.as_mon, MSG_MON_CLOSE_CONSOLE, &close));
			assert_int_equal(close.which, i);
		}
		assert_failed(0, -ENOENT, "missing");
		assert_silent(f.as_mon);
	}
	obj_fini(&desc_cfg_vm, &c);
}

static void boot_by_rules_or_state_asks_the_monitor_for_nothing(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_PTY, NULL);

	(void)state;
	ask(0, COMMAND_BOOT, NULL);
	refuse(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_INFO, NULL), -ERR_NOT_FOUND, "nothing here");
	assert_failed(0, -ERR_NOT_FOUND, "VM is not created");
	ask(1, COMMAND_BOOT, NULL);
	reply_info(take(f.as_vmm, MSG_CMD_VM_INFO, NULL), &c, VM_STATE_RUNNING);
	assert_failed(1, -EBUSY, "VM is already running");
	c.cpus.max_vcpus = 0;
	ask(2, COMMAND_BOOT, NULL);
	reply_info(take(f.as_vmm, MSG_CMD_VM_INFO, NULL), &c, VM_STATE_CREATED);
	assert_int_equal(f.out[2].ended, 1);
	assert_int_equal(err_code(&f.out[2].e, 0), -ERR_INVALID);
	c.cpus.max_vcpus = 1;
	add_disk(&c, "", NULL);
	ask(3, COMMAND_BOOT, NULL);
	reply_info(take(f.as_vmm, MSG_CMD_VM_INFO, NULL), &c, VM_STATE_CREATED);
	assert_failed(3, -EINVAL, "disks[0]");
	assert_silent(f.as_mon);
	obj_fini(&desc_cfg_vm, &c);
}

static void answer_of_the_wrong_kind_fails_the_step(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_NULL, NULL);

	(void)state;
	boot_to(&c);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_FILE, NULL)); /* a size was due */
	succeed(f.as_mon, take(f.as_mon, MSG_MON_RELEASE, NULL));
	assert_int_equal(f.out[0].ended, 1);
	assert_int_equal(err_code(&f.out[0].e, 0), -EPROTO);
	obj_fini(&desc_cfg_vm, &c);
}

static void undoing_that_fails_itself_ends_all_the_same(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_NULL, NULL);

	(void)state;
	boot_to(&c);
	refuse(f.as_mon, take(f.as_mon, MSG_MON_OPEN_FILE, NULL), -ENOENT, "missing");
	refuse(f.as_mon, take(f.as_mon, MSG_MON_RELEASE, NULL), -EIO, "cannot");
	assert_failed(0, -ENOENT, "missing");
	obj_fini(&desc_cfg_vm, &c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(boot_collects_everything_then_boots),
		TEST(boot_opens_devices_in_their_order_and_completes_the_config),
		TEST(image_type_that_was_found_is_looked_for_again),
		TEST(nonsense_from_the_monitor_fails_the_boot),
		TEST(boot_tells_vmmd_of_new_ptys),
		TEST(boot_that_fails_anywhere_releases_what_it_took),
		TEST(initramfs_that_is_refused_is_the_end),
		TEST(device_is_named_once),
		TEST(config_that_does_not_fit_a_message_is_refused),
		TEST(failed_boot_closes_the_ptys_that_it_opened),
		TEST(boot_by_rules_or_state_asks_the_monitor_for_nothing),
		TEST(answer_of_the_wrong_kind_fails_the_step),
		TEST(undoing_that_fails_itself_ends_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
