/* SPDX-License-Identifier: ISC */
/* cloister-blk over an image, both ways of starting it. */
#ifndef TESTS_BACKEND_VU_DISK_H
#define TESTS_BACKEND_VU_DISK_H

#include "tests/backend/vu/blk.h"
#include "tests/backend/vu/vu.h"

struct vu_disk_opts {
	int mode;	  /* enum vu_mode */
	const char *path; /* NULL: a file of @bytes zeroes, removed at the end */
	uint64_t bytes;   /* 0: 16 MiB */
	const char *dir;  /* of that file; NULL: /tmp */
	bool readonly, direct, no_uring, no_type, hole;
	unsigned n_queues;
	uint16_t queue_size;
	uint64_t without; /* features to leave out */
	const char *serial;
	uint32_t buffer;  /* bytes of a slot; 0: 65536 */
	unsigned slots;   /* of each queue; 0: 32 */
	bool log;	  /* ask for the dirty log */
};

struct vu_disk {
	struct vu_disk_opts opts;
	struct vu *v;
	struct vu_blk *b; /* of each queue */
	struct vu_cfg cfg;
	struct msg_blk_config config;
	const char *args[16];
	char text[8][160], path[128];
	int fd;
	bool own_file;
	uint64_t sectors;
};

/* NULL: failed, and said why. */
struct vu_disk *vu_disk_new(const struct vu_disk_opts *opts);
/* The same up to the image and the configuration; no helper yet (d->v NULL). */
struct vu_disk *vu_disk_new_cold(const struct vu_disk_opts *opts);
bool vu_disk_free(struct vu_disk *d);

/* Fill slot 0 with stamped blocks of 512 bytes and write them; read them and see that they are those. @n sectors. */
bool vu_disk_write(struct vu_disk *d, unsigned queue, uint64_t sector, unsigned n, uint64_t sequence);
bool vu_disk_check(struct vu_disk *d, unsigned queue, uint64_t sector, unsigned n, uint64_t sequence);

#endif
