/* SPDX-License-Identifier: ISC */
#include "vmmd/vhost/profile.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/vhost_user.h"

#define BIT(n) (UINT64_C(1) << (n))

static int setup(void **state)
{
	struct cfg_vm *cfg = calloc(1, sizeof(*cfg));

	assert_non_null(cfg);
	obj_init(&desc_cfg_vm, cfg);
	cfg->has_disks = cfg->has_net = true;
	cfg->n_disks = 2;
	cfg->disks = calloc(2, sizeof(*cfg->disks));
	cfg->n_net = 1;
	cfg->net = calloc(1, sizeof(*cfg->net));
	for (int i = 0; i < 2; i++)
		obj_init(&desc_cfg_disk, &cfg->disks[i]);
	obj_init(&desc_cfg_net, &cfg->net[0]);
	cfg->disks[1].id = strdup("root");
	cfg->disks[1].has_pci_device_id = true;
	cfg->disks[1].pci_device_id = 9;
	cfg->net[0].id = strdup("_net1");
	*state = cfg;
	return 0;
}

static int teardown(void **state)
{
	obj_fini(&desc_cfg_vm, *state);
	free(*state);
	return 0;
}

static uint64_t fill(const struct cfg_vm *cfg, enum dev_kind kind, bool ours, unsigned queues, uint64_t features,
		     uint8_t *config)
{
	return vhost_profile_fill(vhost_profile(kind, ours), cfg, kind, 0, ours, queues, features, 0, config);
}

static void offers_of_ours_are_those_of_the_platform(void **state)
{
	uint8_t config[256] = { 0 };
	uint64_t blk = fill(*state, DEV_DISK, true, 1, UINT64_MAX, config);
	uint64_t net = fill(*state, DEV_NET, true, 3, UINT64_MAX, config);

	assert_int_equal(blk, BIT(32) | BIT(28) | BIT(29) | BIT(2) | BIT(5) | BIT(6) | BIT(9) | BIT(10) | BIT(11) |
				      BIT(12) | BIT(13) | BIT(14));
	assert_false(net & BIT(VIRTIO_RING_F_INDIRECT_DESC)); /* so the queue's size bounds a chain */
	assert_true(net & BIT(VIRTIO_NET_F_MRG_RXBUF));
	assert_int_equal(fill(*state, DEV_CONSOLE, true, 2, UINT64_MAX, config), BIT(32) | BIT(0));
	assert_int_equal(fill(*state, DEV_RNG, true, 1, UINT64_MAX, config), BIT(32));
}

static void vhosts_own_features_are_never_offered(void **state)
{
	uint8_t config[256] = { 0 };
	uint64_t own =
		BIT(VHOST_USER_F_LOG_ALL) | BIT(VHOST_USER_F_PROTOCOL_FEATURES) | BIT(38) | BIT(40) | BIT(34) | BIT(33);

	for (int ours = 0; ours < 2; ours++) {
		assert_int_equal(fill(*state, DEV_DISK, ours, 1, UINT64_MAX, config) & own, 0);
		assert_int_equal(fill(*state, DEV_NET, ours, 2, UINT64_MAX, config) & own, 0);
	}
}

static void what_the_back_end_lacks_is_not_offered(void **state)
{
	uint8_t config[256] = { 0 };

	assert_int_equal(fill(*state, DEV_DISK, true, 1, BIT(32) | BIT(9), config), BIT(32) | BIT(9));
	assert_int_equal(fill(*state, DEV_DISK, false, 4, BIT(32) | BIT(9), config), BIT(32) | BIT(9));
}

static void another_disk_has_the_queues_of_the_configuration(void **state)
{
	uint8_t config[256];

	memset(config, 0xff, sizeof(config));
	assert_true(fill(*state, DEV_DISK, false, 4, UINT64_MAX, config) & BIT(VIRTIO_BLK_F_MQ));
	assert_int_equal(config[34], 4);
	assert_int_equal(config[35], 0);
	assert_false(fill(*state, DEV_DISK, false, 1, UINT64_MAX, config) & BIT(VIRTIO_BLK_F_MQ));
}

static void another_net_has_the_users_address(void **state)
{
	static const uint8_t mac[6] = { 0x2e, 0x51, 0x0f, 0x9a, 0x3c, 0x07 };
	struct cfg_vm *cfg = *state;
	uint8_t config[256] = { 1, 2, 3, 4, 5, 6 };

	/* of the back end's, while the user has none */
	assert_false(fill(cfg, DEV_NET, false, 2, BIT(32), config) & BIT(VIRTIO_NET_F_MAC));
	assert_int_equal(config[0], 1);
	cfg->net[0].mac = strdup("2e:51:0f:9A:3c:07");
	cfg->net[0].has_mtu = true;
	cfg->net[0].mtu = 9000;
	uint64_t f = fill(cfg, DEV_NET, false, 2, BIT(32) | BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_MQ), config);

	assert_int_equal(f, BIT(32) | BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_MTU));
	assert_memory_equal(config, mac, 6);
	assert_int_equal(config[10] | config[11] << 8, 9000);
	assert_int_equal(config[8], 1);
}

static void control_queue_of_another_is_offered_when_both_sides_know_it(void **state)
{
	const uint64_t all = BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) |
			     BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	const uint64_t with = BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_GUEST_ANNOUNCE);
	const uint64_t rings = BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX);
	const struct {
		unsigned queues;
		uint64_t has, control, want;
	} t[] = {
		{ 4, UINT64_MAX, UINT64_MAX, with | BIT(VIRTIO_NET_F_MQ) },
		{ 2, UINT64_MAX, UINT64_MAX, with },
		{ 4, UINT64_MAX, 0, 0 },
		{ 4, ~BIT(VIRTIO_NET_F_CTRL_VQ), UINT64_MAX, 0 },
		{ 4, ~BIT(VIRTIO_NET_F_MQ), UINT64_MAX, with },
		{ 4, BIT(VIRTIO_NET_F_CTRL_VQ), BIT(VIRTIO_NET_F_CTRL_VQ), with },
	};
	const struct vhost_profile *p = vhost_profile(DEV_NET, false);
	uint8_t config[256] = { 0 };

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		assert_int_equal(vhost_profile_fill(p, *state, DEV_NET, 0, false, t[i].queues, t[i].has, t[i].control,
						    config) &
					 all,
				 t[i].want);
	/* rings of the control queue are made the same way */
	assert_int_equal(vhost_profile_fill(p, *state, DEV_NET, 0, false, 2, UINT64_MAX,
					    UINT64_MAX & ~BIT(VIRTIO_RING_F_INDIRECT_DESC), config) & rings,
			 BIT(VIRTIO_RING_F_EVENT_IDX));
	assert_int_equal(vhost_profile_fill(p, *state, DEV_NET, 0, false, 2, UINT64_MAX, 0, config) & rings, rings);
}

static void identities_come_from_the_configuration(void **state)
{
	struct cfg_vm *cfg = *state;
	struct vhost_identity who;

	assert_true(vhost_profile_identity(cfg, DEV_DISK, 1, &who));
	assert_string_equal(who.id, "root");
	assert_int_equal(who.slot, 9);
	assert_true(vhost_profile_identity(cfg, DEV_NET, 0, &who));
	assert_string_equal(who.id, "_net1");
	assert_int_equal(who.slot, -1);
	assert_true(vhost_profile_identity(cfg, DEV_CONSOLE, 0, &who));
	assert_string_equal(who.id, "__console");
	assert_true(vhost_profile_identity(cfg, DEV_RNG, 0, &who));
	assert_string_equal(who.id, "__rng");
}

static void devices_that_are_not_configured_have_none(void **state)
{
	struct cfg_vm *cfg = *state;
	struct vhost_identity who;

	assert_false(vhost_profile_identity(cfg, DEV_DISK, 2, &who));
	assert_false(vhost_profile_identity(cfg, DEV_DISK, UINT32_MAX, &who));
	assert_false(vhost_profile_identity(cfg, DEV_NET, 1, &who));
	assert_false(vhost_profile_identity(cfg, DEV_RNG, 1, &who));
	assert_false(vhost_profile_identity(cfg, DEV_CONSOLE, 1, &who));
	cfg->console.mode = CONSOLE_MODE_OFF;
	assert_false(vhost_profile_identity(cfg, DEV_CONSOLE, 0, &who));
}

static void configuration_spaces_are_as_long_as_the_platform_says(void **state)
{
	(void)state;
	assert_int_equal(vhost_profile(DEV_DISK, true)->config_len, 60);
	assert_true(vhost_profile(DEV_DISK, true)->config_len_hidden);
	assert_int_equal(vhost_profile(DEV_DISK, true)->writable_off, 32);
	assert_int_equal(vhost_profile(DEV_DISK, true)->writable_len, 1);
	assert_int_equal(vhost_profile(DEV_NET, true)->config_len, 17);
	assert_true(vhost_profile(DEV_NET, true)->config_len_hidden);
	assert_int_equal(vhost_profile(DEV_CONSOLE, true)->config_len, 12);
	assert_false(vhost_profile(DEV_CONSOLE, true)->config_len_hidden);
	assert_int_equal(vhost_profile(DEV_RNG, true)->config_len, 0);
	assert_int_equal(vhost_profile(DEV_RNG, true)->type, VIRTIO_ID_RNG);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(offers_of_ours_are_those_of_the_platform),  T(vhosts_own_features_are_never_offered),
		T(what_the_back_end_lacks_is_not_offered),    T(another_disk_has_the_queues_of_the_configuration),
		T(another_net_has_the_users_address),         T(identities_come_from_the_configuration),
		T(control_queue_of_another_is_offered_when_both_sides_know_it),
		T(devices_that_are_not_configured_have_none), T(configuration_spaces_are_as_long_as_the_platform_says),
	};

	return cmocka_run_group_tests_name("vhost/profile", tests, NULL, NULL);
}
