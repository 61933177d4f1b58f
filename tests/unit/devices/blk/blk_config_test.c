/* SPDX-License-Identifier: ISC */
#include "devices/blk/blk_config.h"

#include <linux/virtio_blk.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/le.h"

#define BIT(n) (UINT64_C(1) << (n))
#define ALWAYS (BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_BLK_SIZE) | \
		BIT(VIRTIO_BLK_F_TOPOLOGY) | BIT(VIRTIO_BLK_F_SEG_MAX))
#define AT(field) offsetof(struct virtio_blk_config, field)

static const struct blk_shape plain = { .bytes = 1 << 20, .logical = 512, .physical = 512, .min_io = 512,
					.can_zero = true, .can_discard = true, .sparse = true };

static void features_follow_the_image(void **state)
{
	struct blk_shape s = plain;

	(void)state;
	assert_true(blk_features(&s, 1) == (ALWAYS | BIT(VIRTIO_BLK_F_WRITE_ZEROES) | BIT(VIRTIO_BLK_F_DISCARD)));
	assert_true(blk_features(&s, 2) == (blk_features(&s, 1) | BIT(VIRTIO_BLK_F_MQ)));
	s.sparse = false;
	assert_true(blk_features(&s, 1) == (ALWAYS | BIT(VIRTIO_BLK_F_WRITE_ZEROES)));
	s.can_discard = false;
	s.sparse = true;
	assert_true(blk_features(&s, 1) == (ALWAYS | BIT(VIRTIO_BLK_F_WRITE_ZEROES)));
	s.can_zero = false;
	assert_true(blk_features(&s, 1) == ALWAYS);
}

static void a_read_only_disk_offers_no_changes(void **state)
{
	struct blk_shape s = plain;

	(void)state;
	s.readonly = true;
	assert_true(blk_features(&s, 1) == (ALWAYS | BIT(VIRTIO_BLK_F_RO)));
}

static void the_space_has_what_the_platform_promises(void **state)
{
	uint8_t c[BLK_CONFIG_BYTES];

	(void)state;
	blk_config_fill(&plain, 4, 128, c);
	assert_int_equal(le64_get(c + AT(capacity)), 2048);
	assert_int_equal(le32_get(c + AT(size_max)), 0);
	assert_int_equal(le32_get(c + AT(seg_max)), 126);
	assert_int_equal(le32_get(c + AT(blk_size)), 512);
	assert_int_equal(c[AT(physical_block_exp)], 0);
	assert_int_equal(le16_get(c + AT(min_io_size)), 1);
	assert_int_equal(le32_get(c + AT(opt_io_size)), 0);
	assert_int_equal(c[BLK_CONFIG_WCE], 1);
	assert_int_equal(le16_get(c + AT(num_queues)), 4);
	assert_int_equal(le32_get(c + AT(max_discard_sectors)), UINT32_MAX);
	assert_int_equal(le32_get(c + AT(max_discard_seg)), 1);
	assert_int_equal(le32_get(c + AT(discard_sector_alignment)), 1);
	assert_int_equal(le32_get(c + AT(max_write_zeroes_sectors)), UINT32_MAX);
	assert_int_equal(le32_get(c + AT(max_write_zeroes_seg)), 1);
	assert_int_equal(c[AT(write_zeroes_may_unmap)], 1);
}

static void what_is_not_offered_has_no_limits(void **state)
{
	struct blk_shape s = plain;
	uint8_t c[BLK_CONFIG_BYTES];

	(void)state;
	s.sparse = false;
	blk_config_fill(&s, 1, 128, c);
	assert_int_equal(le32_get(c + AT(max_discard_sectors)), 0);
	assert_int_equal(le32_get(c + AT(max_write_zeroes_sectors)), UINT32_MAX);
	assert_int_equal(c[AT(write_zeroes_may_unmap)], 0);
	s.readonly = true;
	blk_config_fill(&s, 1, 128, c);
	assert_int_equal(le32_get(c + AT(max_write_zeroes_sectors)), 0);
}

static void topology_counts_logical_blocks(void **state)
{
	struct blk_shape s = plain;
	uint8_t c[BLK_CONFIG_BYTES];

	(void)state;
	s.logical = 4096;
	s.physical = 16384;
	s.min_io = 65536;
	s.opt_io = 1 << 20;
	s.bytes = 4096 * 3 + 511;
	blk_config_fill(&s, 1, 256, c);
	assert_int_equal(le64_get(c + AT(capacity)), 24);
	assert_int_equal(le32_get(c + AT(blk_size)), 4096);
	assert_int_equal(c[AT(physical_block_exp)], 2);
	assert_int_equal(le16_get(c + AT(min_io_size)), 16);
	assert_int_equal(le32_get(c + AT(opt_io_size)), 256);
	assert_int_equal(le32_get(c + AT(discard_sector_alignment)), 8);
	s.min_io = UINT32_MAX;
	s.logical = 512;
	blk_config_fill(&s, 1, 256, c);
	assert_int_equal(le16_get(c + AT(min_io_size)), 0);
}

static void tiny_queues_still_have_a_segment(void **state)
{
	uint8_t c[BLK_CONFIG_BYTES];

	(void)state;
	for (uint16_t size = 1; size <= 4; size++) {
		blk_config_fill(&plain, 1, size, c);
		assert_int_equal(le32_get(c + AT(seg_max)), size > 2 ? size - 2 : 1);
	}
}

static void segments_end_at_what_a_chain_can_have(void **state)
{
	static const uint16_t sizes[] = { 1024, 2048, 32768 };
	uint8_t c[BLK_CONFIG_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		blk_config_fill(&plain, 1, sizes[i], c);
		assert_int_equal(le32_get(c + AT(seg_max)), 1022);
	}
}

static void the_cache_is_on_as_negotiated(void **state)
{
	uint64_t flush = BIT(VIRTIO_BLK_F_FLUSH), both = flush | BIT(VIRTIO_BLK_F_CONFIG_WCE);

	(void)state;
	assert_true(blk_is_writeback(both, 1));
	assert_false(blk_is_writeback(both, 0));
	assert_true(blk_is_writeback(flush, 0));
	assert_true(blk_is_writeback(flush, 1));
	assert_false(blk_is_writeback(BIT(VIRTIO_BLK_F_CONFIG_WCE), 1));
	assert_false(blk_is_writeback(0, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(features_follow_the_image),
		cmocka_unit_test(a_read_only_disk_offers_no_changes),
		cmocka_unit_test(the_space_has_what_the_platform_promises),
		cmocka_unit_test(what_is_not_offered_has_no_limits),
		cmocka_unit_test(topology_counts_logical_blocks),
		cmocka_unit_test(tiny_queues_still_have_a_segment),
		cmocka_unit_test(segments_end_at_what_a_chain_can_have),
		cmocka_unit_test(the_cache_is_on_as_negotiated),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("blk_config", tests, NULL, NULL);
}
