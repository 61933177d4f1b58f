/* SPDX-License-Identifier: ISC */
/* A disk's requests: whatever is to be done lies on the disk, and is allowed. Input: rules, lengths, header, segment. */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/le.h"
#include "devices/blk/blk_req.h"

enum { RULES = 10, LENGTHS = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void want(int good)
{
	if (!good)
		abort();
}

static void check_run(const struct blk_raw *raw, const struct blk_rules *rules, const struct blk_req *req, int r)
{
	uint64_t bytes = rules->capacity * BLK_SECTOR;

	want(req->op == BLK_FLUSH || req->op == BLK_GET_ID || (req->off <= bytes && req->len <= bytes - req->off));
	want(!blk_op_writes(req->op) || !rules->readonly);
	want((r == BLK_REQ_NOTHING) == (req->len == 0 && req->op != BLK_FLUSH && req->op != BLK_GET_ID));
	switch (req->op) {
	case BLK_READ:
		want(req->len == raw->in_bytes - 1);
		break;
	case BLK_WRITE:
		want(req->len == raw->out_bytes - BLK_HDR_BYTES);
		want(req->len == 0 || req->off != 0 || !rules->guard_first);
		want(req->len == 0 || (req->off % rules->write_unit == 0 && req->len % rules->write_unit == 0));
		break;
	case BLK_GET_ID:
		want(req->len <= BLK_ID_BYTES && req->len < raw->in_bytes);
		break;
	case BLK_DISCARD:
		want(rules->discard && !req->unmap);
		break;
	case BLK_ZEROES:
		want(rules->zeroes);
		break;
	case BLK_FLUSH:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct blk_rules rules;
	struct blk_raw raw = { 0 };
	struct blk_req req;

	if (size < RULES + LENGTHS + BLK_HDR_BYTES + BLK_SEG_BYTES)
		return 0;
	rules = (struct blk_rules){
		.capacity = le64_get(data) >> 9, /* what a file can have */
		.readonly = (data[8] & 1) != 0,
		.guard_first = (data[8] & 2) != 0,
		.discard = (data[8] & 4) != 0,
		.zeroes = (data[8] & 8) != 0,
		.write_unit = (uint32_t)BLK_SECTOR << data[9] % 8,
	};
	raw.out_bytes = le32_get(data + RULES);
	raw.in_bytes = le32_get(data + RULES + 4);
	memcpy(raw.hdr, data + RULES + LENGTHS, BLK_HDR_BYTES);
	memcpy(raw.seg, data + RULES + LENGTHS + BLK_HDR_BYTES, BLK_SEG_BYTES);
	int r = blk_req_parse(&raw, &rules, &req);
	want(r == BLK_REQ_RUN || r == BLK_REQ_NOTHING || r == BLK_REQ_IOERR || r == BLK_REQ_UNSUPP || r == -EBADMSG);
	want((r == -EBADMSG) == (raw.in_bytes == 0));
	if (r >= 0)
		check_run(&raw, &rules, &req, r);
	return 0;
}
