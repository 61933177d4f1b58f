/* SPDX-License-Identifier: ISC */
#include "devices/net/net_ctrl.h"

#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"

#define F(n) (UINT64_C(1) << (n))
#define CSUM F(VIRTIO_NET_F_GUEST_CSUM)
#define TSO4 F(VIRTIO_NET_F_GUEST_TSO4)
#define TSO6 F(VIRTIO_NET_F_GUEST_TSO6)
#define ECN F(VIRTIO_NET_F_GUEST_ECN)
#define UFO F(VIRTIO_NET_F_GUEST_UFO)
#define ALL \
	(F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | F(VIRTIO_NET_F_GUEST_ANNOUNCE) | CSUM | TSO4 | TSO6 | \
	 ECN | UFO)

/* As the device has it: no more bytes than NET_CTRL_BYTES_MAX, whatever the length. */
static struct net_ctrl parse(const char *bytes, uint32_t len, uint64_t features, unsigned pairs)
{
	size_t n = len < NET_CTRL_BYTES_MAX ? len : NET_CTRL_BYTES_MAX;
	uint8_t *copy = malloc(n > 0 ? n : 1);

	assert_non_null(copy);
	memcpy(copy, bytes, n);
	struct net_ctrl c = net_ctrl_parse(copy, len, features, pairs);
	free(copy);
	return c;
}

static void ctrl_truncated_commands_are_refused(void **state)
{
	static const char *const commands[] = { "\4\0\1\0", "\5\0\2\0\0\0\0\0\0\0" };

	(void)state;
	assert_int_equal(parse("", 0, ALL, 4).act, NET_CTRL_REFUSE);
	assert_int_equal(parse("\0", 1, ALL, 4).act, NET_CTRL_REFUSE);
	assert_int_equal(parse("\3", 1, ALL, 4).act, NET_CTRL_REFUSE);
	for (uint32_t len = 0; len < 4; len++)
		assert_int_equal(parse(commands[0], len, ALL, 4).act, NET_CTRL_REFUSE);
	for (uint32_t len = 0; len < 10; len++)
		assert_int_equal(parse(commands[1], len, ALL, 4).act, NET_CTRL_REFUSE);
}

static void ctrl_oversized_commands_are_refused(void **state)
{
	static const uint32_t lens[] = { 5, 11, 12, 16, 17, 4096, UINT32_MAX };

	(void)state;
	for (size_t i = 0; i < nitems(lens); i++) {
		assert_int_equal(parse("\4\0\1\0\0\0\0\0\0\0\0\0\0\0\0", lens[i], ALL, 4).act, NET_CTRL_REFUSE);
		assert_int_equal(parse("\5\0\2\0\0\0\0\0\0\0\0\0\0\0\0", lens[i], ALL, 4).act, NET_CTRL_REFUSE);
		assert_int_equal(parse("\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0", lens[i], ALL, 4).act, NET_CTRL_REFUSE);
	}
}

static void ctrl_pairs_are_in_range(void **state)
{
	static const struct {
		const char *bytes;
		unsigned max;
		enum net_ctrl_act act;
	} t[] = {
		{ "\4\0\0\0", 4, NET_CTRL_REFUSE },	  { "\4\0\1\0", 4, NET_CTRL_SET_PAIRS },
		{ "\4\0\4\0", 4, NET_CTRL_SET_PAIRS },	  { "\4\0\5\0", 4, NET_CTRL_REFUSE },
		{ "\4\0\0\1", 4, NET_CTRL_REFUSE },	  { "\4\0\xff\xff", 4, NET_CTRL_REFUSE },
		{ "\4\0\1\0", 0, NET_CTRL_REFUSE },	  { "\4\0\x7f\0", 127, NET_CTRL_SET_PAIRS },
		{ "\4\1\1\0", 4, NET_CTRL_REFUSE },	  { "\4\2\1\0", 4, NET_CTRL_REFUSE }, /* RSS */
		{ "\4\xff\1\0", 4, NET_CTRL_REFUSE },
	};

	(void)state;
	for (size_t i = 0; i < nitems(t); i++) {
		assert_int_equal(parse(t[i].bytes, 4, ALL, t[i].max).act, t[i].act);
		assert_int_equal(parse(t[i].bytes, 4, ALL & ~F(VIRTIO_NET_F_MQ), t[i].max).act, NET_CTRL_REFUSE);
	}
	assert_int_equal(parse("\4\0\3\0", 4, ALL, 4).pairs, 3);
}

static void ctrl_offloads_are_among_the_negotiated(void **state)
{
	static const struct {
		const char *bytes;
		uint64_t features;
		enum net_ctrl_act act;
	} t[] = {
		{ "\5\0\0\0\0\0\0\0\0\0", ALL, NET_CTRL_SET_OFFLOADS },
		{ "\5\0\x82\x07\0\0\0\0\0\0", ALL, NET_CTRL_SET_OFFLOADS },
		{ "\5\0\x02\0\0\0\0\0\0\0", ALL, NET_CTRL_SET_OFFLOADS },
		{ "\5\0\x82\x07\0\0\0\0\0\0", ALL & ~UFO, NET_CTRL_REFUSE },
		{ "\5\0\x02\0\0\0\0\0\0\0", ALL & ~CSUM, NET_CTRL_REFUSE },
		{ "\5\0\x02\0\0\0\0\0\0\0", ALL & ~F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS), NET_CTRL_REFUSE },
		{ "\5\0\x01\0\0\0\0\0\0\0", ~UINT64_C(0), NET_CTRL_REFUSE }, /* CSUM is the driver's own */
		{ "\5\0\0\0\x40\0\0\0\0\0", ~UINT64_C(0), NET_CTRL_REFUSE }, /* MQ is none */
		{ "\5\0\0\0\0\0\0\0\0\x80", ~UINT64_C(0), NET_CTRL_REFUSE },
		{ "\5\1\0\0\0\0\0\0\0\0", ALL, NET_CTRL_REFUSE },
	};

	(void)state;
	for (size_t i = 0; i < nitems(t); i++)
		assert_int_equal(parse(t[i].bytes, 10, t[i].features, 1).act, t[i].act);
	assert_int_equal(parse("\5\0\x82\x01\0\0\0\0\0\0", 10, ALL, 1).offloads, CSUM | TSO4 | TSO6);
}

static void ctrl_announcement_is_acknowledged_only_when_negotiated(void **state)
{
	(void)state;
	assert_int_equal(parse("\3\0", 2, ALL, 1).act, NET_CTRL_ANNOUNCED);
	assert_int_equal(parse("\3\1", 2, ALL, 1).act, NET_CTRL_REFUSE);
	assert_int_equal(parse("\3\0", 2, ALL & ~F(VIRTIO_NET_F_GUEST_ANNOUNCE), 1).act, NET_CTRL_REFUSE);
}

static void ctrl_filters_are_accepted_without_effect(void **state)
{
	char bytes[NET_CTRL_BYTES_MAX] = { 0 };

	(void)state;
	for (unsigned command = 0; command < 256; command++) {
		bytes[1] = (char)command;
		for (uint32_t len = 2; len < 6; len++) {
			bytes[0] = VIRTIO_NET_CTRL_RX;
			assert_int_equal(parse(bytes, len, 0, 1).act, NET_CTRL_IGNORE);
			bytes[0] = VIRTIO_NET_CTRL_VLAN;
			assert_int_equal(parse(bytes, len, 0, 1).act, NET_CTRL_IGNORE);
		}
	}
}

static void ctrl_mac_tables_and_unknown_classes_are_refused(void **state)
{
	char bytes[NET_CTRL_BYTES_MAX];

	(void)state;
	/* Table counts of every kind are behind a command that is refused before one is read. */
	memset(bytes, 0xff, sizeof(bytes));
	for (unsigned command = 0; command < 3; command++) {
		bytes[0] = VIRTIO_NET_CTRL_MAC;
		bytes[1] = (char)command;
		assert_int_equal(parse(bytes, UINT32_MAX, ~UINT64_C(0), 1).act, NET_CTRL_REFUSE);
	}
	for (unsigned class = 6; class < 256; class++) {
		bytes[0] = (char)class;
		assert_int_equal(parse(bytes, 10, ~UINT64_C(0), 1).act, NET_CTRL_REFUSE);
	}
}

static void ctrl_tap_offloads_are_what_the_kernel_takes(void **state)
{
	static const struct {
		uint64_t features;
		unsigned flags;
	} t[] = {
		{ 0, 0 },
		{ CSUM, TUN_F_CSUM },
		{ TSO4 | TSO6 | ECN | UFO, 0 },
		{ CSUM | TSO4, TUN_F_CSUM | TUN_F_TSO4 },
		{ CSUM | TSO6 | ECN, TUN_F_CSUM | TUN_F_TSO6 | TUN_F_TSO_ECN },
		{ CSUM | ECN, TUN_F_CSUM },
		{ CSUM | UFO, TUN_F_CSUM | TUN_F_UFO },
		{ ~UINT64_C(0), TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_UFO },
	};

	(void)state;
	for (size_t i = 0; i < nitems(t); i++)
		assert_int_equal(net_ctrl_tap_offloads(t[i].features), t[i].flags);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ctrl_truncated_commands_are_refused),
		cmocka_unit_test(ctrl_oversized_commands_are_refused),
		cmocka_unit_test(ctrl_pairs_are_in_range),
		cmocka_unit_test(ctrl_offloads_are_among_the_negotiated),
		cmocka_unit_test(ctrl_announcement_is_acknowledged_only_when_negotiated),
		cmocka_unit_test(ctrl_filters_are_accepted_without_effect),
		cmocka_unit_test(ctrl_mac_tables_and_unknown_classes_are_refused),
		cmocka_unit_test(ctrl_tap_offloads_are_what_the_kernel_takes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
