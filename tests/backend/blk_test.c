/* SPDX-License-Identifier: ISC */
/* cloister-blk under a correct driver: what is written comes back, in every form; what is asked wrongly is refused. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/backend/vu/disk.h"
#include "tests/backend/vu/hostile.h"
#include "tests/backend/vu/tests.h"

enum { ROUNDS = 400, MODEL_SECTORS = 4096, QUEUES = 4, UNSUPP = VIRTIO_BLK_S_UNSUPP, IOERR = VIRTIO_BLK_S_IOERR };

static bool config_space_tells_the_image(int mode)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = mode, .n_queues = 2, .bytes = 3 << 20 });
	struct virtio_blk_config c;

	WANT(d != NULL, "no disk");
	memset(&c, 0, sizeof(c));
	WANT(vu_get_config(d->v, &c, sizeof(c)) == 0, "no configuration");
	WANT(c.capacity == (3 << 20) / VU_SECTOR, "%llu sectors", (unsigned long long)c.capacity);
	WANT(c.num_queues == 2, "%u queues", c.num_queues);
	WANT(c.blk_size >= 512 && (c.blk_size & (c.blk_size - 1)) == 0, "blocks of %u", c.blk_size);
	WANT(c.seg_max > 0, "no segments");
	static const unsigned wanted[] = { VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_SEG_MAX };

	for (unsigned i = 0; i < nitems(wanted); i++)
		WANT((d->v->offered & VHOST_USER_BIT(wanted[i])) != 0, "feature %u is not offered", wanted[i]);
	WANT((d->v->offered & VHOST_USER_BIT(VIRTIO_BLK_F_RO)) == 0, "it says that it is read-only");
	return vu_disk_free(d);
}

static bool half_a_sector_at_the_end_is_not_there(int mode)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = mode, .bytes = 8 * VU_SECTOR + 100 });

	WANT(d != NULL, "no disk");
	WANT(d->sectors == 8, "%llu sectors", (unsigned long long)d->sectors);
	WANT(vu_disk_write(d, 0, 0, 8, 1) && vu_disk_check(d, 0, 0, 8, 1), "what is there");
	WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_IN, 8, 512) == IOERR, "the rest is");
	return vu_disk_free(d);
}

/* Random writes and reads of up to 64 KiB in sectors of the queue's own, against a model. */
static bool verify_model(struct vu_disk *d, unsigned queue, uint32_t seed, uint64_t *model)
{
	uint64_t base = (uint64_t)queue * MODEL_SECTORS;

	for (unsigned i = 1; i <= ROUNDS; i++) {
		unsigned n = 1 + vu_random(&seed) % 128;
		uint64_t at = vu_random(&seed) % (MODEL_SECTORS - n);

		if (vu_random(&seed) % 2 == 0) {
			WANT(vu_disk_write(d, queue, base + at, n, i), "round %u", i);
			for (unsigned k = 0; k < n; k++)
				model[at + k] = i;
			continue;
		}
		for (unsigned k = 0; k < n; k += 16)
			WANT(vu_disk_check(d, queue, base + at + k, 1, model[at + k]), "round %u", i);
	}
	for (uint64_t at = 0; at < MODEL_SECTORS; at++)
		WANT(vu_disk_check(d, queue, base + at, 1, model[at]), "at the end");
	return true;
}

static bool verify(struct vu_disk *d, unsigned queue, uint32_t seed)
{
	uint64_t *model = calloc(MODEL_SECTORS, sizeof(*model));
	bool good = model != NULL && verify_model(d, queue, seed, model);

	free(model);
	return good;
}

static bool what_is_written_comes_back(int mode)
{
	for (unsigned form = 0; form < 8; form++) {
		struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){
			.mode = mode, .no_uring = (form & 1) != 0, .hole = (form & 2) != 0, .direct = (form & 4) != 0,
			.dir = "/var/tmp",
			.without = (form & 1 ? VHOST_USER_BIT(28) : 0) | (form & 2 ? VHOST_USER_BIT(29) : 0) });

		WANT(d != NULL, "form %u: no disk", form);
		WANT(verify(d, 0, form + 1), "form %u", form);
		WANT(vu_disk_free(d), "form %u: its end", form);
	}
	return true;
}

struct lane {
	struct vu_disk *d;
	unsigned queue;
	bool good;
};

static void *run_lane(void *arg)
{
	struct lane *l = arg;

	l->good = verify(l->d, l->queue, l->queue + 1);
	return NULL;
}

static bool four_queues_work_side_by_side(int mode)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = mode, .n_queues = QUEUES, .slots = 8 });
	struct lane lane[QUEUES];
	pthread_t thread[QUEUES];

	WANT(d != NULL, "no disk");
	for (unsigned q = 0; q < QUEUES; q++) {
		lane[q] = (struct lane){ d, q, false };
		WANT(pthread_create(&thread[q], NULL, run_lane, &lane[q]) == 0, "no thread");
	}
	for (unsigned q = 0; q < QUEUES; q++)
		(void)pthread_join(thread[q], NULL);
	for (unsigned q = 0; q < QUEUES; q++)
		WANT(lane[q].good, "queue %u", q);
	/* What one wrote, another reads. */
	WANT(vu_disk_write(d, 1, 77, 8, 4711) && vu_disk_check(d, 3, 77, 8, 4711), "across queues");
	return vu_disk_free(d);
}

static bool requests_in_many_pieces(int mode)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = mode });

	WANT(d != NULL, "no disk");
	struct vu_blk *b = &d->b[0];
	struct vu_buf out[16], in[40];
	unsigned n_in = 0;

	WANT(vu_disk_write(d, 0, 100, 8, 5), "whole");
	memset(vu_blk_data(b, 0), 0, 4096);
	memset(b->head_p, 0, 16);
	b->head_p[8] = 100;
	for (unsigned i = 0; i < 16; i++) /* the header in single bytes */
		out[i] = (struct vu_buf){ b->head + i, 1 };
	uint32_t at = 0;

	for (uint32_t len = 1; at < 4096; at += len, len = len * 2 < 4096 - at ? len * 2 : 4096 - at, n_in++)
		in[n_in] = (struct vu_buf){ b->data + at, len };
	in[n_in++] = (struct vu_buf){ b->status, 1 };
	b->status_p[0] = VU_BLK_NO_STATUS;
	int n = vu_ring_do(b->r, out, 16, in, n_in);

	WANT(n == 4097 && b->status_p[0] == VIRTIO_BLK_S_OK, "%d bytes, status %u", n, b->status_p[0]);
	for (unsigned i = 0; i < 8; i++)
		WANT(vu_blk_read_stamp((uint8_t *)vu_blk_data(b, 0) + i * VU_SECTOR, VU_SECTOR, 100 + i) == 5, "sector %u", i);
	/* The status in the same descriptor as the data's end. */
	in[0] = (struct vu_buf){ b->data, 4097 };
	((uint8_t *)vu_blk_data(b, 0))[4096] = VU_BLK_NO_STATUS;
	n = vu_ring_do(b->r, out, 16, in, 1);
	WANT(n == 4097 && ((uint8_t *)vu_blk_data(b, 0))[4096] == VIRTIO_BLK_S_OK, "data and status together: %d", n);
	return vu_disk_free(d);
}

static bool what_is_not_on_the_disk_is_refused(int mode)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = mode });

	WANT(d != NULL, "no disk");
	struct vu_blk *b = &d->b[0];
	const struct {
		uint64_t sector;
		uint32_t len;
		int want;
	} cases[] = {
		{ d->sectors - 1, 512, VIRTIO_BLK_S_OK }, { d->sectors, 512, IOERR },	   { d->sectors - 1, 1024, IOERR },
		{ UINT64_C(1) << 55, 512, IOERR },	  { UINT64_C(1) << 63, 512, IOERR }, { UINT64_MAX, 512, IOERR },
		{ UINT64_MAX, 1024, IOERR },		  { 0, 511, IOERR },		   { 0, 513, IOERR },
		{ 0, 1, IOERR },
	};
	static const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT };

	for (unsigned t = 0; t < nitems(types); t++)
		for (unsigned i = 0; i < nitems(cases); i++) {
			int r = vu_blk_do(b, types[t], cases[i].sector, cases[i].len);

			WANT(r == cases[i].want, "type %u, %u bytes at %llx: %d", types[t], cases[i].len,
			     (unsigned long long)cases[i].sector, r);
		}
	struct stat st;

	WANT(fstat(d->fd, &st) == 0 && (uint64_t)st.st_size == d->sectors * VU_SECTOR, "the image has grown");
	WANT(!vu_needs_reset(d->v, 0), "these are no reason for a reset");
	return vu_disk_free(d);
}

static bool unknown_requests_are_unsupported(int mode)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = mode });
	static const uint32_t types[] = { 2, 3, 5, 7, 9, 10, 12, 14, 15, 16, 0x80000000, UINT32_MAX };

	WANT(d != NULL, "no disk");
	memset(vu_blk_data(&d->b[0], 0), 0x77, 512);
	for (unsigned i = 0; i < nitems(types); i++) {
		int r = vu_blk_do(&d->b[0], types[i], 0, 512);

		WANT(r == UNSUPP, "type %u: %d", types[i], r);
	}
	for (unsigned i = 0; i < 512; i++)
		WANT(((uint8_t *)vu_blk_data(&d->b[0], 0))[i] == 0x77, "its buffer was touched");
	return vu_disk_free(d);
}

static bool the_serial_number_is_told(int mode)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = mode, .serial = "cloister-4711" });

	WANT(d != NULL, "no disk");
	memset(vu_blk_data(&d->b[0], 0), 0x55, 64);
	int r = vu_blk_do(&d->b[0], VIRTIO_BLK_T_GET_ID, 0, 20);
	const char *id = vu_blk_data(&d->b[0], 0);

	WANT(r == VIRTIO_BLK_S_OK && strncmp(id, "cloister-4711", 20) == 0, "%d, \"%.20s\"", r, id);
	WANT(id[20] == 0x55, "more than 20 bytes");
	static const uint32_t lens[] = { 1, 19, 21, 512 };

	for (unsigned i = 0; i < nitems(lens); i++) {
		r = vu_blk_do(&d->b[0], VIRTIO_BLK_T_GET_ID, 0, lens[i]);
		WANT(r == VIRTIO_BLK_S_OK || r == IOERR || r == UNSUPP, "%u bytes: %d", lens[i], r);
	}
	WANT(!vu_needs_reset(d->v, 0), "these are no reason for a reset");
	return vu_disk_free(d);
}

static bool zeroes_and_discards(int mode)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = mode, .dir = "/var/tmp" });

	WANT(d != NULL, "no disk");
	struct vu_blk *b = &d->b[0];

	if ((d->v->acked & VHOST_USER_BIT(VIRTIO_BLK_F_WRITE_ZEROES)) == 0)
		return vu_disk_free(d) && vu_skip("neither is offered here");
	for (uint32_t flags = 0; flags < 2; flags++) {
		WANT(vu_disk_write(d, 0, 0, 64, 3), "write");
		int r = vu_blk_range(b, VIRTIO_BLK_T_WRITE_ZEROES, 3, 17, flags);

		WANT(r == VIRTIO_BLK_S_OK, "zeroes, flags %u: %d", flags, r);
		WANT(vu_disk_check(d, 0, 0, 3, 3) && vu_disk_check(d, 0, 3, 17, 0) && vu_disk_check(d, 0, 20, 44, 3), "flags %u", flags);
	}
	WANT(vu_blk_range(b, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 2) == UNSUPP, "a flag that is reserved");
	WANT(vu_blk_range(b, VIRTIO_BLK_T_WRITE_ZEROES, d->sectors, 1, 0) == IOERR, "behind the end");
	WANT(vu_blk_range(b, VIRTIO_BLK_T_WRITE_ZEROES, UINT64_MAX, 1, 0) == IOERR, "at the end of everything");
	WANT(vu_blk_range(b, VIRTIO_BLK_T_WRITE_ZEROES, 1, UINT32_MAX, 0) == IOERR, "longer than the disk");
	if ((d->v->acked & VHOST_USER_BIT(VIRTIO_BLK_F_DISCARD)) != 0) {
		struct stat before, after;

		WANT(vu_disk_write(d, 0, 0, 128, 9) && vu_disk_write(d, 0, 128, 128, 9) && fsync(d->fd) == 0, "write");
		(void)fstat(d->fd, &before);
		WANT(vu_blk_range(b, VIRTIO_BLK_T_DISCARD, 0, 128, 0) == VIRTIO_BLK_S_OK, "discard");
		(void)fstat(d->fd, &after);
		WANT(after.st_blocks < before.st_blocks, "nothing was given back: %lld blocks", (long long)after.st_blocks);
		WANT(after.st_size == before.st_size, "the image's size has changed");
		WANT(vu_disk_check(d, 0, 128, 128, 9), "what was not discarded");
		WANT(vu_blk_range(b, VIRTIO_BLK_T_DISCARD, 0, 1, 1) == UNSUPP, "unmap is no flag of a discard");
		WANT(vu_blk_range(b, VIRTIO_BLK_T_DISCARD, d->sectors - 1, 2, 0) == IOERR, "over the end");
	}
	return vu_disk_free(d);
}

static bool a_read_only_disk_takes_no_write(int mode)
{
	for (unsigned form = 0; form < 2; form++) {
		char path[] = "/tmp/vuroXXXXXX";
		int fd = mkostemp(path, O_CLOEXEC);

		WANT(fd >= 0 && ftruncate(fd, 1 << 20) == 0, "no file");
		struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = mode, .path = path, .readonly = true,
									.without = form ? VHOST_USER_BIT(VIRTIO_BLK_F_RO) : 0 });

		WANT(d != NULL, "no disk");
		WANT((d->v->offered & VHOST_USER_BIT(VIRTIO_BLK_F_RO)) != 0, "it does not say so");
		WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_OUT, 0, 512) == IOERR, "written, RO %s", form ? "not accepted" : "accepted");
		int r = vu_blk_range(&d->b[0], VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0);

		WANT(r == IOERR || r == UNSUPP, "zeroes: %d", r);
		r = vu_blk_range(&d->b[0], VIRTIO_BLK_T_DISCARD, 0, 1, 0);
		WANT(r == IOERR || r == UNSUPP, "discard: %d", r);
		WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_IN, 0, 512) == VIRTIO_BLK_S_OK, "not read");
		WANT(vu_disk_free(d), "its end");
		(void)unlink(path);
		(void)close(fd);
	}
	return true;
}

/* Without a type the first sector stays as it is, or the guest could make another image of it for the next start. */
static bool a_guest_writes_no_header_when_the_type_was_found(int mode)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = mode, .no_type = true });

	WANT(d != NULL, "no disk");
	memcpy(vu_blk_data(&d->b[0], 0), "QFI\xfb", 4);
	WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_OUT, 0, 512) == IOERR, "a header was written");
	WANT(vu_disk_write(d, 0, 1, 8, 2) && vu_disk_check(d, 0, 1, 8, 2), "the rest");
	return vu_disk_free(d);
}

static bool a_deep_queue_comes_back_whole(int mode)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = mode, .queue_size = 256, .slots = 128, .buffer = 8192 });
	unsigned submitted = 0, done = 0;

	WANT(d != NULL, "no disk");
	struct vu_blk *b = &d->b[0];

	while (done < 20000) {
		while (submitted < 20000 && submitted - done < 128) {
			if (vu_blk_add(b, submitted % 128, submitted % 3 == 0 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN,
				       submitted * 37 % (d->sectors - 16), 8192) < 0)
				break;
			submitted++;
		}
		vu_ring_kick(b->r);
		WANT(vu_ring_wait(b->r, VU_TIMEOUT_MS) == 1, "%u of %u came back", done, submitted);
		/* Slots are used in turn, so wait for this lot. */
		while (done < submitted) {
			int slot = vu_blk_take(b, NULL);

			if (slot == -EAGAIN) {
				WANT(vu_ring_wait(b->r, VU_TIMEOUT_MS) == 1, "%u of %u came back", done, submitted);
				continue;
			}
			WANT(slot >= 0 && vu_blk_status(b, (unsigned)slot) == VIRTIO_BLK_S_OK, "status");
			done++;
		}
	}
	return vu_disk_free(d);
}

static bool pages_read_into_are_logged(int mode)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = mode, .log = true });

	WANT(d != NULL, "no disk");
	struct vu_blk *b = &d->b[0];
	uint64_t page = b->data / VHOST_USER_LOG_PAGE;

	WANT((d->v->acked & VHOST_USER_BIT(VHOST_USER_F_LOG_ALL)) != 0, "no dirty log");
	memset(d->v->log, 0, d->v->log_bytes);
	WANT(vu_blk_do(b, VIRTIO_BLK_T_IN, 0, 8192) == VIRTIO_BLK_S_OK, "read");
	for (unsigned i = 0; i < 2; i++)
		WANT((d->v->log[(page + i) / 8] & 1u << (page + i) % 8) != 0, "page %u of the data is not marked", i);
	WANT((d->v->log[(page + 2) / 8] & 1u << (page + 2) % 8) == 0, "a page that was not written is marked");
	memset(d->v->log, 0, d->v->log_bytes);
	WANT(vu_blk_do(b, VIRTIO_BLK_T_OUT, 0, 8192) == VIRTIO_BLK_S_OK, "write");
	WANT((d->v->log[page / 8] & 1u << page % 8) == 0, "a page that was only read is marked");
	return vu_disk_free(d);
}

static bool counters_count(int mode)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = mode });

	WANT(d != NULL, "no disk");
	if (d->v->stats == NULL)
		return vu_disk_free(d);
	WANT(vu_disk_write(d, 0, 8, 8, 1) && vu_disk_check(d, 0, 8, 8, 1) && vu_disk_check(d, 0, 8, 2, 1), "requests");
	WANT(vu_stat(d->v, STATS_BLK_WRITE_OPS) == 1 && vu_stat(d->v, STATS_BLK_WRITE_BYTES) == 4096, "writes");
	WANT(vu_stat(d->v, STATS_BLK_READ_OPS) == 2 && vu_stat(d->v, STATS_BLK_READ_BYTES) == 5120, "reads");
	WANT(vu_restart(d->v) == 0 && vu_disk_check(d, 0, 8, 8, 1), "a successor");
	WANT(vu_stat(d->v, STATS_BLK_READ_OPS) == 3, "a successor begins anew: %llu",
	     (unsigned long long)vu_stat(d->v, STATS_BLK_READ_OPS));
	return vu_disk_free(d);
}

static const struct vu_test tests[] = {
	TEST_BOTH(config_space_tells_the_image),
	TEST_BOTH(half_a_sector_at_the_end_is_not_there),
	TEST_BOTH(what_is_written_comes_back),
	TEST_BOTH(four_queues_work_side_by_side),
	TEST_BOTH(requests_in_many_pieces),
	TEST_BOTH(what_is_not_on_the_disk_is_refused),
	TEST_BOTH(unknown_requests_are_unsupported),
	TEST_BOTH(the_serial_number_is_told),
	TEST_BOTH(zeroes_and_discards),
	TEST_BOTH(a_read_only_disk_takes_no_write),
	TEST_BOTH(a_guest_writes_no_header_when_the_type_was_found),
	TEST_BOTH(a_deep_queue_comes_back_whole),
	TEST_BOTH(pages_read_into_are_logged),
	TEST(counters_count, VU_PRESET),
};

int main(int argc, char **argv)
{
	return vu_tests_main(tests, nitems(tests), argc, argv);
}
