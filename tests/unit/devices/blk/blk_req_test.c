/* SPDX-License-Identifier: ISC */
#include "devices/blk/blk_req.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/le.h"

enum { CAPACITY = 1000 };

static const struct blk_rules rw = { .capacity = CAPACITY, .discard = true, .zeroes = true, .write_unit = BLK_SECTOR };

static struct blk_raw raw_of(uint32_t type, uint64_t sector, uint32_t out_data, uint32_t in_data)
{
	struct blk_raw raw = { .out_bytes = BLK_HDR_BYTES + out_data, .in_bytes = in_data + 1 };

	le32_put(raw.hdr, type);
	le64_put(raw.hdr + 8, sector);
	return raw;
}

static struct blk_raw seg_of(uint32_t type, uint64_t sector, uint32_t n, uint32_t flags)
{
	struct blk_raw raw = raw_of(type, 0, BLK_SEG_BYTES, 0);

	le64_put(raw.seg, sector);
	le32_put(raw.seg + 8, n);
	le32_put(raw.seg + 12, flags);
	return raw;
}

static int parse_with(const struct blk_raw *raw, const struct blk_rules *rules, struct blk_req *out)
{
	memset(out, 0xaa, sizeof(*out));
	return blk_req_parse(raw, rules, out);
}

static int transfer(uint32_t type, uint64_t sector, uint32_t bytes, const struct blk_rules *rules)
{
	struct blk_raw raw = raw_of(type, sector, type == VIRTIO_BLK_T_OUT ? bytes : 0, type == VIRTIO_BLK_T_OUT ? 0 : bytes);
	struct blk_req req;

	return parse_with(&raw, rules, &req);
}

static int segment(uint32_t type, uint64_t sector, uint32_t n, uint32_t flags, const struct blk_rules *rules)
{
	struct blk_raw raw = seg_of(type, sector, n, flags);
	struct blk_req req;

	return parse_with(&raw, rules, &req);
}

static void read_and_write_give_bytes(void **state)
{
	struct blk_raw in = raw_of(VIRTIO_BLK_T_IN, 3, 0, 1024), out = raw_of(VIRTIO_BLK_T_OUT, 4, 512, 0);
	struct blk_req req;

	(void)state;
	assert_int_equal(parse_with(&in, &rw, &req), BLK_REQ_RUN);
	assert_int_equal(req.op, BLK_READ);
	assert_int_equal(req.off, 1536);
	assert_int_equal(req.len, 1024);
	assert_int_equal(parse_with(&out, &rw, &req), BLK_REQ_RUN);
	assert_int_equal(req.op, BLK_WRITE);
	assert_int_equal(req.off, 2048);
	assert_int_equal(req.len, 512);
}

static void no_room_for_the_status_is_a_guest_error(void **state)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, 99 };
	struct blk_req req;

	(void)state;
	for (size_t i = 0; i < nitems(types); i++) {
		struct blk_raw raw = raw_of(types[i], 0, 512, 0);

		raw.in_bytes = 0;
		assert_int_equal(parse_with(&raw, &rw, &req), -EBADMSG);
	}
}

static void a_short_header_fails(void **state)
{
	struct blk_req req;

	(void)state;
	for (uint32_t n = 0; n < BLK_HDR_BYTES; n++) {
		struct blk_raw raw = raw_of(VIRTIO_BLK_T_IN, 0, 0, 512);

		raw.out_bytes = n;
		assert_int_equal(parse_with(&raw, &rw, &req), BLK_REQ_IOERR);
	}
}

static void ranges_end_at_the_capacity(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t bytes;
		int want;
	} cases[] = {
		{ 0, CAPACITY * 512, BLK_REQ_RUN },
		{ 0, CAPACITY * 512 + 512, BLK_REQ_IOERR },
		{ CAPACITY - 1, 512, BLK_REQ_RUN },
		{ CAPACITY - 1, 1024, BLK_REQ_IOERR },
		{ CAPACITY, 512, BLK_REQ_IOERR },
		{ CAPACITY, 0, BLK_REQ_NOTHING },
		{ CAPACITY + 1, 0, BLK_REQ_IOERR },
		{ UINT64_C(1) << 55, 512, BLK_REQ_IOERR },
		{ UINT64_C(1) << 63, 512, BLK_REQ_IOERR },
		{ UINT64_MAX, 512, BLK_REQ_IOERR },
		{ UINT64_MAX, 0, BLK_REQ_IOERR },
		{ UINT64_MAX - 7, UINT32_MAX - 511, BLK_REQ_IOERR },
	};

	(void)state;
	for (size_t i = 0; i < nitems(cases); i++) {
		assert_int_equal(transfer(VIRTIO_BLK_T_IN, cases[i].sector, cases[i].bytes, &rw), cases[i].want);
		assert_int_equal(transfer(VIRTIO_BLK_T_OUT, cases[i].sector, cases[i].bytes, &rw), cases[i].want);
	}
}

static void lengths_are_whole_sectors(void **state)
{
	static const uint32_t odd[] = { 1, 2, 511, 513, 1023, 4097 };

	(void)state;
	for (size_t i = 0; i < nitems(odd); i++) {
		assert_int_equal(transfer(VIRTIO_BLK_T_IN, 0, odd[i], &rw), BLK_REQ_IOERR);
		assert_int_equal(transfer(VIRTIO_BLK_T_OUT, 0, odd[i], &rw), BLK_REQ_IOERR);
	}
}

static void a_read_only_disk_refuses_every_change(void **state)
{
	struct blk_rules ro = rw;

	(void)state;
	ro.readonly = true;
	assert_int_equal(transfer(VIRTIO_BLK_T_IN, 0, 512, &ro), BLK_REQ_RUN);
	assert_int_equal(transfer(VIRTIO_BLK_T_OUT, 0, 512, &ro), BLK_REQ_IOERR);
	assert_int_equal(transfer(VIRTIO_BLK_T_OUT, 0, 0, &ro), BLK_REQ_IOERR);
	assert_int_equal(segment(VIRTIO_BLK_T_DISCARD, 0, 1, 0, &ro), BLK_REQ_IOERR);
	assert_int_equal(segment(VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0, &ro), BLK_REQ_IOERR);
	assert_int_equal(transfer(VIRTIO_BLK_T_FLUSH, 0, 0, &ro), BLK_REQ_RUN);
}

static void the_guarded_first_sector_cannot_be_written(void **state)
{
	struct blk_rules guarded = rw;

	(void)state;
	guarded.guard_first = true;
	assert_int_equal(transfer(VIRTIO_BLK_T_OUT, 0, 512, &guarded), BLK_REQ_IOERR);
	assert_int_equal(transfer(VIRTIO_BLK_T_OUT, 0, 4096, &guarded), BLK_REQ_IOERR);
	assert_int_equal(transfer(VIRTIO_BLK_T_OUT, 1, 512, &guarded), BLK_REQ_RUN);
	assert_int_equal(transfer(VIRTIO_BLK_T_IN, 0, 512, &guarded), BLK_REQ_RUN);
}

static void writes_in_part_of_a_unit_fail(void **state)
{
	struct blk_rules units = rw;

	(void)state;
	units.write_unit = 4096;
	assert_int_equal(transfer(VIRTIO_BLK_T_OUT, 8, 4096, &units), BLK_REQ_RUN);
	assert_int_equal(transfer(VIRTIO_BLK_T_OUT, 1, 4096, &units), BLK_REQ_IOERR);
	assert_int_equal(transfer(VIRTIO_BLK_T_OUT, 8, 512, &units), BLK_REQ_IOERR);
	assert_int_equal(transfer(VIRTIO_BLK_T_IN, 1, 512, &units), BLK_REQ_RUN);
}

static void other_types_are_unsupported(void **state)
{
	static const uint32_t types[] = { 2, 3, 5, 6, 7, 9, 10, 12, 14, 15, 16, 255, 0x80000000, 0x80000001, UINT32_MAX };

	(void)state;
	for (size_t i = 0; i < nitems(types); i++)
		assert_int_equal(transfer(types[i], 0, 512, &rw), BLK_REQ_UNSUPP);
}

static void an_id_is_cut_to_the_buffer(void **state)
{
	static const struct {
		uint32_t room, want;
	} cases[] = { { 0, 0 }, { 1, 1 }, { 19, 19 }, { 20, 20 }, { 21, 20 }, { UINT32_C(1) << 31, 20 } };

	(void)state;
	for (size_t i = 0; i < nitems(cases); i++) {
		struct blk_raw raw = raw_of(VIRTIO_BLK_T_GET_ID, UINT64_MAX, 0, cases[i].room);
		struct blk_req req;

		assert_int_equal(parse_with(&raw, &rw, &req), BLK_REQ_RUN);
		assert_int_equal(req.op, BLK_GET_ID);
		assert_int_equal(req.len, cases[i].want);
	}
}

static void a_flush_ignores_sector_and_data(void **state)
{
	struct blk_raw raw = raw_of(VIRTIO_BLK_T_FLUSH, UINT64_MAX, 777, 3);
	struct blk_req req;

	(void)state;
	assert_int_equal(parse_with(&raw, &rw, &req), BLK_REQ_RUN);
	assert_int_equal(req.op, BLK_FLUSH);
	assert_int_equal(req.len, 0);
}

static void segments_give_ranges(void **state)
{
	struct blk_raw raw = seg_of(VIRTIO_BLK_T_WRITE_ZEROES, 10, 20, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
	struct blk_req req;

	(void)state;
	assert_int_equal(parse_with(&raw, &rw, &req), BLK_REQ_RUN);
	assert_int_equal(req.op, BLK_ZEROES);
	assert_int_equal(req.off, 5120);
	assert_int_equal(req.len, 10240);
	assert_true(req.unmap);
	raw = seg_of(VIRTIO_BLK_T_DISCARD, 0, CAPACITY, 0);
	assert_int_equal(parse_with(&raw, &rw, &req), BLK_REQ_RUN);
	assert_int_equal(req.op, BLK_DISCARD);
	assert_int_equal(req.len, CAPACITY * 512);
	assert_false(req.unmap);
}

static void segment_ranges_end_at_the_capacity(void **state)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };

	(void)state;
	for (size_t i = 0; i < nitems(types); i++) {
		assert_int_equal(segment(types[i], CAPACITY - 1, 1, 0, &rw), BLK_REQ_RUN);
		assert_int_equal(segment(types[i], CAPACITY - 1, 2, 0, &rw), BLK_REQ_IOERR);
		assert_int_equal(segment(types[i], 1, UINT32_MAX, 0, &rw), BLK_REQ_IOERR);
		assert_int_equal(segment(types[i], UINT64_MAX, 1, 0, &rw), BLK_REQ_IOERR);
		assert_int_equal(segment(types[i], UINT64_MAX, UINT32_MAX, 0, &rw), BLK_REQ_IOERR);
		assert_int_equal(segment(types[i], 5, 0, 0, &rw), BLK_REQ_NOTHING);
		assert_int_equal(segment(types[i], CAPACITY + 1, 0, 0, &rw), BLK_REQ_IOERR);
	}
}

static void unknown_flags_are_unsupported(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 32; bit++) {
		uint32_t flags = UINT32_C(1) << bit;

		assert_int_equal(segment(VIRTIO_BLK_T_DISCARD, 0, 1, flags, &rw), BLK_REQ_UNSUPP);
		assert_int_equal(segment(VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, flags, &rw), bit == 0 ? BLK_REQ_RUN : BLK_REQ_UNSUPP);
	}
}

static void only_one_whole_segment_is_supported(void **state)
{
	static const uint32_t lengths[] = { 0, 1, 15, 17, 24, 32, 48, 4096 };
	struct blk_req req;

	(void)state;
	for (size_t i = 0; i < nitems(lengths); i++) {
		struct blk_raw raw = seg_of(VIRTIO_BLK_T_DISCARD, 0, 1, 0);

		raw.out_bytes = BLK_HDR_BYTES + lengths[i];
		assert_int_equal(parse_with(&raw, &rw, &req), BLK_REQ_UNSUPP);
		le32_put(raw.hdr, VIRTIO_BLK_T_WRITE_ZEROES);
		assert_int_equal(parse_with(&raw, &rw, &req), BLK_REQ_UNSUPP);
	}
}

static void what_is_not_offered_is_unsupported(void **state)
{
	struct blk_rules plain = { .capacity = CAPACITY, .write_unit = BLK_SECTOR };

	(void)state;
	assert_int_equal(segment(VIRTIO_BLK_T_DISCARD, 0, 1, 0, &plain), BLK_REQ_UNSUPP);
	assert_int_equal(segment(VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0, &plain), BLK_REQ_UNSUPP);
}

static void a_disk_that_shrank_is_believed(void **state)
{
	struct blk_rules small = rw;

	(void)state;
	small.capacity = 8;
	assert_int_equal(transfer(VIRTIO_BLK_T_IN, 8, 512, &small), BLK_REQ_IOERR);
	small.capacity = 0;
	assert_int_equal(transfer(VIRTIO_BLK_T_IN, 0, 512, &small), BLK_REQ_IOERR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_and_write_give_bytes),
		cmocka_unit_test(no_room_for_the_status_is_a_guest_error),
		cmocka_unit_test(a_short_header_fails),
		cmocka_unit_test(ranges_end_at_the_capacity),
		cmocka_unit_test(lengths_are_whole_sectors),
		cmocka_unit_test(a_read_only_disk_refuses_every_change),
		cmocka_unit_test(the_guarded_first_sector_cannot_be_written),
		cmocka_unit_test(writes_in_part_of_a_unit_fail),
		cmocka_unit_test(other_types_are_unsupported),
		cmocka_unit_test(an_id_is_cut_to_the_buffer),
		cmocka_unit_test(a_flush_ignores_sector_and_data),
		cmocka_unit_test(segments_give_ranges),
		cmocka_unit_test(segment_ranges_end_at_the_capacity),
		cmocka_unit_test(unknown_flags_are_unsupported),
		cmocka_unit_test(only_one_whole_segment_is_supported),
		cmocka_unit_test(what_is_not_offered_is_unsupported),
		cmocka_unit_test(a_disk_that_shrank_is_believed),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("blk_req", tests, NULL, NULL);
}
