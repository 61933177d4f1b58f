/* SPDX-License-Identifier: ISC */
#include "devices/net/tapif.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- texts ------------------------------------------------------------------------------------------------------------- */

static void addr_and_mask_of_either_family_parse(void **state)
{
	static const struct {
		const char *ip, *mask;
		unsigned len, prefix;
	} t[] = {
		{ "192.168.249.1", "255.255.255.0", 4, 24 }, { "10.0.0.1", "0.0.0.0", 4, 0 },
		{ "10.0.0.1", "255.255.255.255", 4, 32 },    { "10.0.0.1", "255.255.254.0", 4, 23 },
		{ "fd00::1", "ffff:ffff:ffff:ffff::", 16, 64 }, { "::1", "::", 16, 0 },
		{ "fe80::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 16, 128 }, { "::ffff:1.2.3.4", "fffe::", 16, 15 },
	};
	struct tap_addr a;

	(void)state;
	for (size_t i = 0; i < nitems(t); i++) {
		assert_int_equal(tapif_parse_addr(t[i].ip, t[i].mask, &a, NULL), 0);
		assert_int_equal(a.len, t[i].len);
		assert_int_equal(a.prefix, t[i].prefix);
	}
	assert_int_equal(tapif_parse_addr(NULL, NULL, &a, NULL), 0);
	assert_int_equal(a.len, 0);
}

static void addr_that_is_none_says_why(void **state)
{
	static const struct {
		const char *ip, *mask, *why;
	} t[] = {
		{ "", "255.0.0.0", "\"\" is no address" },
		{ "1.2.3", "255.0.0.0", "\"1.2.3\" is no address" },
		{ "1.2.3.4 ", "255.0.0.0", "\"1.2.3.4 \" is no address" },
		{ "1.2.3.4", "255.0.0", "\"255.0.0\" is no network mask" },
		{ "1.2.3.4", "0.0.0.1", "network mask \"0.0.0.1\" has holes" },
		{ "1.2.3.4", "255.255.253.0", "network mask \"255.255.253.0\" has holes" },
		{ "fd00::1", "255.0.0.0", "address and mask are of different families" },
		{ "fd00::1", "ffff::1", "network mask \"ffff::1\" has holes" },
		{ "1.2.3.4", NULL, "address and mask go together" },
		{ NULL, "255.0.0.0", "address and mask go together" },
	};
	struct tap_addr a;

	(void)state;
	for (size_t i = 0; i < nitems(t); i++) {
		struct err e = { 0 };

		assert_int_equal(tapif_parse_addr(t[i].ip, t[i].mask, &a, &e), -EINVAL);
		assert_string_equal(err_text(&e, 0), t[i].why);
	}
}

static void mac_is_six_groups_and_nobodys_group_address(void **state)
{
	static const char *const bad[] = { "", "0", "02", "02:", "02:00:00:00:00", "02:00:00:00:00:0", "02:00:00:00:00:00:",
					   "02:00:00:00:00:000", "02-00-00-00-00-00", "g2:00:00:00:00:00", "02:00:00:00:00:0:",
					   "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "+2:00:00:00:00:00" };
	const uint8_t want[] = { 0x2e, 0xab, 0xcd, 0xef, 0x01, 0x90 };
	uint8_t mac[TAP_MAC_BYTES];

	(void)state;
	assert_int_equal(tapif_parse_mac("2e:aB:Cd:eF:01:90", mac, NULL), 0);
	assert_memory_equal(mac, want, sizeof(want));
	for (size_t i = 0; i < nitems(bad); i++)
		assert_int_equal(tapif_parse_mac(bad[i], mac, NULL), -EINVAL);
}

static void name_rules_are_the_kernels_and_no_patterns(void **state)
{
	static const char *const bad[] = { "", ".", "..", "a b", "a/b", "a:b", "tap%d", "sixteen-bytes-xx", "\x01", "\xc3\xa4" };
	static const char *const good[] = { "a", "tap0", "vmtap0", "fifteen-bytes-x", "a.b", "...", "-", "t_1@x" };

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++) {
		struct err e = { 0 };

		assert_int_equal(tapdev_check_name(bad[i], &e), -EINVAL);
		assert_int_equal(err_count(&e), 1);
	}
	for (size_t i = 0; i < nitems(good); i++)
		assert_int_equal(tapdev_check_name(good[i], NULL), 0);
}

/* --- the kernel's answers ----------------------------------------------------------------------------------------------- */

struct attrs {
	uint8_t p[256];
	size_t len;
};

static void put(struct attrs *a, uint16_t type, const void *data, size_t len)
{
	struct rtattr h = { .rta_len = (uint16_t)RTA_LENGTH(len), .rta_type = type };

	memcpy(a->p + a->len, &h, sizeof(h));
	memcpy(a->p + a->len + RTA_LENGTH(0), data, len);
	a->len += RTA_ALIGN(RTA_LENGTH(len));
}

static struct attrs answer(const char *kind, uint8_t type, uint8_t multi_queue, uint8_t pi)
{
	struct attrs data = { 0 }, info = { 0 }, all = { 0 };
	uint32_t mtu = 1400;

	put(&data, IFLA_TUN_TYPE, &type, 1);
	put(&data, IFLA_TUN_PI, &pi, 1);
	put(&data, IFLA_TUN_MULTI_QUEUE, &multi_queue, 1);
	put(&info, IFLA_INFO_KIND, kind, strlen(kind) + 1);
	put(&info, IFLA_INFO_DATA | NLA_F_NESTED, data.p, data.len);
	put(&all, IFLA_IFNAME, "tap0", 5);
	put(&all, IFLA_MTU, &mtu, sizeof(mtu));
	put(&all, IFLA_ADDRESS, "\x02\x01\x02\x03\x04\x05", 6);
	put(&all, IFLA_LINKINFO, info.p, info.len);
	return all;
}

static void attrs_of_a_tap_are_understood(void **state)
{
	struct attrs a = answer("tun", IFF_TAP, 1, 0);
	struct tap_found f;

	(void)state;
	tapif_read_attrs(a.p, a.len, &f);
	assert_int_equal(f.kind, TAP_TAP);
	assert_true(f.multi_queue);
	assert_false(f.packet_info);
	assert_int_equal(f.mtu, 1400);
	assert_memory_equal(f.mac, "\x02\x01\x02\x03\x04\x05", 6);
	a = answer("tun", IFF_TAP, 0, 1);
	tapif_read_attrs(a.p, a.len, &f);
	assert_false(f.multi_queue);
	assert_true(f.packet_info);
}

static void attrs_of_others_tell_their_kind(void **state)
{
	struct attrs a = answer("tun", IFF_TUN, 0, 0);
	struct tap_found f;

	(void)state;
	tapif_read_attrs(a.p, a.len, &f);
	assert_int_equal(f.kind, TAP_TUN);
	a = answer("macvtap", IFF_TAP, 0, 0); /* data of another kind mean nothing */
	tapif_read_attrs(a.p, a.len, &f);
	assert_int_equal(f.kind, TAP_OTHER);
	assert_string_equal(f.what, "macvtap");
	a = answer("a-kind-of-too-many-letters", 0, 0, 0);
	tapif_read_attrs(a.p, a.len, &f);
	assert_string_equal(f.what, "a-kind-of-too-m");
	tapif_read_attrs(a.p, 0, &f); /* a physical interface has no kind */
	assert_int_equal(f.kind, TAP_OTHER);
	assert_string_equal(f.what, "");
}

static void attrs_cut_or_lying_anywhere_are_survived(void **state)
{
	struct attrs whole = answer("tun", IFF_TAP, 1, 0);
	struct tap_found f;

	(void)state;
	for (size_t len = 0; len <= whole.len; len++) {
		uint8_t *copy = malloc(len > 0 ? len : 1);

		assert_non_null(copy);
		memcpy(copy, whole.p, len);
		tapif_read_attrs(copy, len, &f);
		for (size_t i = 0; i < len; i++) {
			uint8_t was = copy[i];

			copy[i] = 0;
			tapif_read_attrs(copy, len, &f);
			copy[i] = 0xff;
			tapif_read_attrs(copy, len, &f);
			copy[i] = was;
		}
		free(copy);
	}
	assert_int_equal(f.kind, TAP_TAP); /* the last byte belongs to the last flag: 0xff is a flag too */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addr_and_mask_of_either_family_parse),
		cmocka_unit_test(addr_that_is_none_says_why),
		cmocka_unit_test(mac_is_six_groups_and_nobodys_group_address),
		cmocka_unit_test(name_rules_are_the_kernels_and_no_patterns),
		cmocka_unit_test(attrs_of_a_tap_are_understood),
		cmocka_unit_test(attrs_of_others_tell_their_kind),
		cmocka_unit_test(attrs_cut_or_lying_anywhere_are_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
