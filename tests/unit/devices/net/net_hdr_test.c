/* SPDX-License-Identifier: ISC */
#include "devices/net/net_hdr.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define F(n) (UINT64_C(1) << (n))
#define ALL \
	(F(VIRTIO_F_VERSION_1) | F(VIRTIO_NET_F_CSUM) | F(VIRTIO_NET_F_HOST_TSO4) | F(VIRTIO_NET_F_HOST_TSO6) | \
	 F(VIRTIO_NET_F_HOST_ECN) | F(VIRTIO_NET_F_HOST_UFO))

enum { CSUM = VIRTIO_NET_HDR_F_NEEDS_CSUM, TCP4 = VIRTIO_NET_HDR_GSO_TCPV4, TCP6 = VIRTIO_NET_HDR_GSO_TCPV6,
       UFO = VIRTIO_NET_HDR_GSO_UDP, ECN = VIRTIO_NET_HDR_GSO_ECN };

struct frame {
	uint8_t p[NET_HEAD_MAX];
	size_t l3, l4, payload; /* where they begin */
};

/* A frame's headers: @tags VLAN tags, IP @version with @options bytes of options, TCP with @tcp_options or UDP. */
static struct frame make(unsigned tags, int version, size_t options, int protocol, size_t tcp_options)
{
	struct frame f = { .l3 = 14 + 4 * tags };
	uint8_t *p = f.p + 12;

	for (unsigned i = 0; i < tags; i++, p += 4)
		memcpy(p, i == 0 && tags == 2 ? "\x88\xa8\x00\x05" : "\x81\x00\x00\x07", 4);
	memcpy(p, version == 4 ? "\x08\x00" : "\x86\xdd", 2);
	p = f.p + f.l3;
	if (version == 4) {
		p[0] = (uint8_t)(0x40 | (20 + options) / 4);
		p[9] = (uint8_t)protocol;
		f.l4 = f.l3 + 20 + options;
	} else {
		p[0] = 0x60;
		p[6] = (uint8_t)(options > 0 ? 60 : protocol); /* destination options */
		p[40] = (uint8_t)protocol;
		p[41] = (uint8_t)(options > 0 ? options / 8 - 1 : 0);
		f.l4 = f.l3 + 40 + options;
	}
	f.p[f.l4 + 12] = (uint8_t)((20 + tcp_options) / 4 << 4);
	f.payload = f.l4 + (protocol == 6 ? 20 + tcp_options : 8);
	return f;
}

static struct net_hdr gso_hdr(const struct frame *f, uint8_t type, uint16_t offset)
{
	return (struct net_hdr){ .flags = CSUM, .gso_type = type, .hdr_len = (uint16_t)f->payload, .gso_size = 1448,
				 .csum_start = (uint16_t)f->l4, .csum_offset = offset };
}

static int check(const struct net_hdr *h, uint32_t len, const struct frame *f, uint64_t features, struct net_hdr *out)
{
	const char *why = NULL;
	size_t head = len < NET_HEAD_MAX ? len : NET_HEAD_MAX;
	/* Exactly as long as it is said to be, so that a sanitizer sees a byte too many. */
	uint8_t *copy = malloc(head + 1);

	assert_non_null(copy);
	memcpy(copy, f->p, head);
	uint8_t *exact = realloc(copy, head > 0 ? head : 1);
	int r = net_hdr_check(h, len, exact, head, features, out, &why);
	free(exact);
	assert_true(r == 0 || (r == -EBADMSG && why != NULL));
	return r;
}

static void hdr_survives_store_and_load(void **state)
{
	const struct net_hdr h = { 1, 0x81, 0x1234, 0x5678, 0x9abc, 0xdef0, 0x1357 };
	const uint8_t bytes[NET_HDR_BYTES] = { 1, 0x81, 0x34, 0x12, 0x78, 0x56, 0xbc, 0x9a, 0xf0, 0xde, 0x57, 0x13 };
	uint8_t p[NET_HDR_BYTES];
	struct net_hdr back;

	(void)state;
	net_hdr_store(&h, p);
	assert_memory_equal(p, bytes, sizeof(p));
	net_hdr_load(&back, p);
	assert_memory_equal(&back, &h, sizeof(h));
}

static void hdr_has_12_bytes_unless_the_driver_is_a_legacy_one(void **state)
{
	(void)state;
	assert_int_equal(net_hdr_bytes(0), 10);
	assert_int_equal(net_hdr_bytes(~(F(VIRTIO_F_VERSION_1) | F(VIRTIO_NET_F_MRG_RXBUF))), 10);
	assert_int_equal(net_hdr_bytes(F(VIRTIO_F_VERSION_1)), 12);
	assert_int_equal(net_hdr_bytes(F(VIRTIO_NET_F_MRG_RXBUF)), 12);
}

static void hdr_length_of_the_frame_has_two_ends(void **state)
{
	static const struct {
		uint32_t len;
		int r;
	} t[] = { { 0, -EBADMSG }, { 1, -EBADMSG }, { 13, -EBADMSG }, { 14, 0 }, { 60, 0 }, { 1514, 0 }, { 65550, 0 },
		  { NET_FRAME_MAX, 0 }, { NET_FRAME_MAX + 1, -EBADMSG }, { 1 << 20, -EBADMSG }, { UINT32_MAX, -EBADMSG } };
	struct frame f = make(0, 4, 0, 6, 0);
	struct net_hdr h = { 0 }, out;

	(void)state;
	for (size_t i = 0; i < nitems(t); i++)
		assert_int_equal(check(&h, t[i].len, &f, ALL, &out), t[i].r);
}

static void hdr_out_has_nothing_that_was_not_understood(void **state)
{
	struct frame f = make(0, 4, 0, 6, 0);
	/* Unknown flags, and fields that mean nothing without theirs */
	struct net_hdr h = { 0xfe, 0, 999, 999, 0xffff, 0xffff, 7 }, out, none = { 0 };

	(void)state;
	assert_int_equal(check(&h, 64, &f, ALL, &out), 0);
	assert_memory_equal(&out, &none, sizeof(out));
}

static void hdr_checksum_lies_inside_the_frame(void **state)
{
	static const struct {
		uint16_t start, offset;
		uint32_t len;
		int r;
	} t[] = {
		{ 34, 16, 60, 0 },	    { 34, 24, 60, 0 },	     { 34, 25, 60, -EBADMSG }, { 58, 0, 60, 0 },
		{ 59, 0, 60, -EBADMSG },    { 60, 0, 60, -EBADMSG },  { 13, 0, 60, -EBADMSG },  { 0, 0, 60, -EBADMSG },
		{ 14, 0, 16, 0 },	    { 14, 0, 15, -EBADMSG },  { 14, 0, 14, -EBADMSG },  { 0xffff, 0, 60, -EBADMSG },
		{ 0, 0xffff, 60, -EBADMSG }, { 34, 0xffff, 60, -EBADMSG }, { 0xffff, 0xffff, 65550, -EBADMSG },
		{ 0xffff, 0, 65550, 0 },
	};
	struct frame f = make(0, 4, 0, 6, 0);

	(void)state;
	for (size_t i = 0; i < nitems(t); i++) {
		struct net_hdr h = { .flags = CSUM, .csum_start = t[i].start, .csum_offset = t[i].offset }, out;

		assert_int_equal(check(&h, t[i].len, &f, ALL, &out), t[i].r);
		if (t[i].r == 0) {
			assert_int_equal(out.csum_start, t[i].start);
			assert_int_equal(out.csum_offset, t[i].offset);
		}
		assert_int_equal(check(&h, t[i].len, &f, ALL & ~F(VIRTIO_NET_F_CSUM), &out), -EBADMSG);
	}
}

static void hdr_one_byte_frame_with_checksum_is_refused(void **state)
{
	struct frame f = make(0, 4, 0, 6, 0);
	struct net_hdr h = { .flags = CSUM }, out;

	(void)state;
	assert_int_equal(check(&h, 1, &f, ALL, &out), -EBADMSG);
}

static void hdr_gso_passes_for_what_drivers_send(void **state)
{
	static const struct {
		unsigned tags;
		int version;
		size_t options;
		int protocol;
		size_t tcp_options;
		uint8_t type;
		uint8_t feature;
	} t[] = {
		{ 0, 4, 0, 6, 0, TCP4, VIRTIO_NET_F_HOST_TSO4 },     { 0, 4, 0, 6, 12, TCP4, VIRTIO_NET_F_HOST_TSO4 },
		{ 1, 4, 40, 6, 40, TCP4, VIRTIO_NET_F_HOST_TSO4 },   { 2, 4, 0, 6, 0, TCP4, VIRTIO_NET_F_HOST_TSO4 },
		{ 0, 6, 0, 6, 12, TCP6, VIRTIO_NET_F_HOST_TSO6 },    { 2, 6, 64, 6, 40, TCP6, VIRTIO_NET_F_HOST_TSO6 },
		{ 0, 4, 0, 17, 0, UFO, VIRTIO_NET_F_HOST_UFO },	     { 0, 6, 8, 17, 0, UFO, VIRTIO_NET_F_HOST_UFO },
		{ 0, 4, 0, 6, 0, TCP4 | ECN, VIRTIO_NET_F_HOST_ECN }, { 1, 6, 0, 6, 0, TCP6 | ECN, VIRTIO_NET_F_HOST_ECN },
	};

	(void)state;
	for (size_t i = 0; i < nitems(t); i++) {
		struct frame f = make(t[i].tags, t[i].version, t[i].options, t[i].protocol, t[i].tcp_options);
		struct net_hdr h = gso_hdr(&f, t[i].type, t[i].protocol == 6 ? 16 : 6), out;

		h.hdr_len = 0xffff; /* a lie that costs nothing */
		assert_int_equal(check(&h, 65226, &f, ALL, &out), 0);
		assert_int_equal(out.gso_type, t[i].type);
		assert_int_equal(out.gso_size, 1448);
		assert_int_equal(out.hdr_len, f.payload);
		assert_int_equal(out.csum_start, f.l4);
		/* The headers and no payload at all, and one byte less */
		assert_int_equal(check(&h, (uint32_t)f.payload, &f, ALL, &out), 0);
		assert_int_equal(check(&h, (uint32_t)f.payload - 1, &f, ALL, &out), -EBADMSG);
		/* Only what was negotiated */
		assert_int_equal(check(&h, 65226, &f, ALL & ~F(t[i].feature), &out), -EBADMSG);
		assert_int_equal(check(&h, 65226, &f, ALL & ~F(VIRTIO_NET_F_CSUM), &out), -EBADMSG);
	}
}

static void hdr_gso_of_every_unknown_type_is_refused(void **state)
{
	struct frame f = make(0, 4, 0, 6, 0);
	struct net_hdr out;
	unsigned passed = 0;

	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		struct net_hdr h = gso_hdr(&f, (uint8_t)type, 16);

		passed += check(&h, 9000, &f, ~UINT64_C(0), &out) == 0;
	}
	assert_int_equal(passed, 3); /* none, TCPv4, TCPv4 with ECN */
}

static void hdr_gso_size_has_a_lower_end(void **state)
{
	static const struct {
		uint16_t size;
		int r;
	} t[] = { { 0, -EBADMSG }, { 1, -EBADMSG }, { 7, -EBADMSG }, { 8, 0 }, { 1448, 0 }, { 65535, 0 } };
	struct frame f = make(0, 4, 0, 6, 0);

	(void)state;
	for (size_t i = 0; i < nitems(t); i++) {
		struct net_hdr h = gso_hdr(&f, TCP4, 16), out;

		h.gso_size = t[i].size;
		assert_int_equal(check(&h, 9000, &f, ALL, &out), t[i].r);
	}
}

static void hdr_gso_needs_the_checksum_of_its_own_header(void **state)
{
	struct frame f = make(0, 4, 0, 6, 0);
	struct net_hdr out;

	(void)state;
	for (int delta = -20; delta <= 20; delta++) {
		struct net_hdr h = gso_hdr(&f, TCP4, 16);

		h.csum_start = (uint16_t)(h.csum_start + delta);
		assert_int_equal(check(&h, 9000, &f, ALL, &out), delta == 0 ? 0 : -EBADMSG);
	}
	for (uint16_t offset = 0; offset < 32; offset++) {
		struct net_hdr h = gso_hdr(&f, TCP4, offset);

		assert_int_equal(check(&h, 9000, &f, ALL, &out), offset == 16 ? 0 : -EBADMSG);
	}
	struct net_hdr none = gso_hdr(&f, TCP4, 16);
	none.flags = 0;
	assert_int_equal(check(&none, 9000, &f, ALL, &out), -EBADMSG);
}

static void hdr_gso_of_a_frame_that_is_something_else_is_refused(void **state)
{
	static const struct {
		const char *what;
		uint8_t at, value;
	} t[] = {
		{ "ethertype", 12, 0x09 },   { "version", 14, 0x65 },	     { "header shorter than IPv4's", 14, 0x44 },
		{ "protocol", 23, 17 },	     { "more fragments", 20, 0x20 }, { "a later fragment", 21, 1 },
		{ "header longer", 14, 0x46 }, { "TCP header too short", 46, 0x40 },
	};

	(void)state;
	for (size_t i = 0; i < nitems(t); i++) {
		struct frame f = make(0, 4, 0, 6, 0);
		struct net_hdr h = gso_hdr(&f, TCP4, 16), out;

		assert_int_equal(check(&h, 9000, &f, ALL, &out), 0);
		f.p[t[i].at] = t[i].value;
		if (check(&h, 9000, &f, ALL, &out) == 0)
			fail_msg("%s", t[i].what);
	}
}

static void hdr_gso_kind_and_ip_version_agree(void **state)
{
	struct frame f4 = make(0, 4, 0, 6, 0), f6 = make(0, 6, 0, 6, 0);
	struct net_hdr h4 = gso_hdr(&f4, TCP6, 16), h6 = gso_hdr(&f6, TCP4, 16), out;

	(void)state;
	assert_int_equal(check(&h4, 9000, &f4, ALL, &out), -EBADMSG);
	assert_int_equal(check(&h6, 9000, &f6, ALL, &out), -EBADMSG);
	h4 = gso_hdr(&f4, UFO, 6);
	assert_int_equal(check(&h4, 9000, &f4, ALL, &out), -EBADMSG);
	f4 = make(0, 4, 0, 17, 0);
	h4 = gso_hdr(&f4, UFO | ECN, 6);
	assert_int_equal(check(&h4, 9000, &f4, ALL, &out), -EBADMSG);
}

static void hdr_ipv6_options_that_lead_nowhere_are_refused(void **state)
{
	struct frame f = make(0, 6, 8, 6, 0);
	struct net_hdr h = gso_hdr(&f, TCP6, 16), out;

	(void)state;
	assert_int_equal(check(&h, 9000, &f, ALL, &out), 0);
	f.p[14 + 41] = 255; /* longer than what is looked at */
	assert_int_equal(check(&h, 9000, &f, ALL, &out), -EBADMSG);
	f.p[14 + 41] = 0;
	f.p[14 + 40] = 44; /* a fragment */
	assert_int_equal(check(&h, 9000, &f, ALL, &out), -EBADMSG);
	for (size_t i = 14 + 6; i < sizeof(f.p); i++) /* options without end */
		f.p[i] = 0;
	assert_int_equal(check(&h, 9000, &f, ALL, &out), -EBADMSG);
}

static void hdr_three_tags_are_one_too_many(void **state)
{
	struct frame f = make(3, 4, 0, 6, 0);
	struct net_hdr h = gso_hdr(&f, TCP4, 16), out;

	(void)state;
	assert_int_equal(check(&h, 9000, &f, ALL, &out), -EBADMSG);
}

static void hdr_incoming_is_what_the_driver_accepted(void **state)
{
	static const struct {
		uint8_t flags, type;
		uint64_t need;
	} t[] = {
		{ 0, 0, 0 },
		{ VIRTIO_NET_HDR_F_DATA_VALID, 0, 0 },
		{ CSUM, 0, F(VIRTIO_NET_F_GUEST_CSUM) },
		{ CSUM, TCP4, F(VIRTIO_NET_F_GUEST_CSUM) | F(VIRTIO_NET_F_GUEST_TSO4) },
		{ CSUM, TCP6, F(VIRTIO_NET_F_GUEST_CSUM) | F(VIRTIO_NET_F_GUEST_TSO6) },
		{ 0, TCP4 | ECN, F(VIRTIO_NET_F_GUEST_ECN) | F(VIRTIO_NET_F_GUEST_TSO4) },
		{ 0, UFO, F(VIRTIO_NET_F_GUEST_UFO) },
	};
	struct net_hdr unknown = { .gso_type = 5 };

	(void)state;
	for (size_t i = 0; i < nitems(t); i++) {
		struct net_hdr h = { .flags = t[i].flags, .gso_type = t[i].type };

		assert_true(net_hdr_is_acceptable(&h, t[i].need));
		assert_true(net_hdr_is_acceptable(&h, ~UINT64_C(0)));
		if (t[i].need != 0)
			assert_false(net_hdr_is_acceptable(&h, t[i].need & (t[i].need - 1)));
	}
	assert_false(net_hdr_is_acceptable(&unknown, ~UINT64_C(0)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hdr_survives_store_and_load),
		cmocka_unit_test(hdr_has_12_bytes_unless_the_driver_is_a_legacy_one),
		cmocka_unit_test(hdr_length_of_the_frame_has_two_ends),
		cmocka_unit_test(hdr_out_has_nothing_that_was_not_understood),
		cmocka_unit_test(hdr_checksum_lies_inside_the_frame),
		cmocka_unit_test(hdr_one_byte_frame_with_checksum_is_refused),
		cmocka_unit_test(hdr_gso_passes_for_what_drivers_send),
		cmocka_unit_test(hdr_gso_of_every_unknown_type_is_refused),
		cmocka_unit_test(hdr_gso_size_has_a_lower_end),
		cmocka_unit_test(hdr_gso_needs_the_checksum_of_its_own_header),
		cmocka_unit_test(hdr_gso_of_a_frame_that_is_something_else_is_refused),
		cmocka_unit_test(hdr_gso_kind_and_ip_version_agree),
		cmocka_unit_test(hdr_ipv6_options_that_lead_nowhere_are_refused),
		cmocka_unit_test(hdr_three_tags_are_one_too_many),
		cmocka_unit_test(hdr_incoming_is_what_the_driver_accepted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
