/* SPDX-License-Identifier: ISC */
/* The harness against somebody else's back end: it speaks the protocol as everybody does. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/virtio_blk.h>

#include "tests/backend/vu/tests.h"
#include "tests/backend/vu/vu.h"

#define QSD "qemu-storage-daemon"
enum { IMAGE_BYTES = 1 << 20, BLOCK = 4096, SECTOR = 512 };

static bool is_installed(void)
{
	return access("/usr/bin/" QSD, X_OK) == 0;
}

static bool blocks_written_come_back(int queues)
{
	static const char *const args[] = {
		"--blockdev", "driver=null-co,node-name=n,size=1048576,read-zeroes=on", "--export",
		"type=vhost-user-blk,id=e,node-name=n,writable=on,num-queues=2,addr.type=unix,addr.path=%s", NULL
	};
	struct vu_cfg cfg = { .mode = VU_FOREIGN, .program = QSD, .args = args, .n_queues = (unsigned)queues };

	if (!is_installed())
		return vu_skip(QSD " is not installed");
	struct vu *v = vu_new(&cfg);

	WANT(v != NULL, "no back end");
	for (unsigned q = 0; q < v->n_queues; q++) {
		uint64_t head = vu_alloc(v, 16, 16), data = vu_alloc(v, BLOCK, BLOCK), status = vu_alloc(v, 1, 1);
		struct virtio_blk_outhdr h = { .type = VIRTIO_BLK_T_IN, .sector = 8 };
		uint8_t *s = vu_ptr(v, status, 1), *d = vu_ptr(v, data, BLOCK);

		memcpy(vu_ptr(v, head, 16), &h, sizeof(h));
		memset(d, 0x5a, BLOCK);
		*s = 0xff;
		for (int indirect = 1; indirect >= 0; indirect--) {
			v->ring[q]->use_indirect = v->ring[q]->use_indirect && indirect;
			int n = vu_ring_do(v->ring[q], &(struct vu_buf){ head, 16 }, 1,
					   (struct vu_buf[]){ { data, BLOCK }, { status, 1 } }, 2);

			WANT(n == BLOCK + 1 && *s == VIRTIO_BLK_S_OK, "queue %u: %d bytes, status %u", q, n, *s);
			WANT(d[0] == 0 && d[BLOCK - 1] == 0, "the image is full of zeroes");
		}
	}
	WANT(vu_stop_ring(v, 0) == 2, "the base is what was taken");
	return vu_free(v);
}

static const struct vu_test tests[] = {
	{ .name = "one_queue_of_qemu-storage-daemon", .run = blocks_written_come_back, .arg = 1, .suffix = "" },
	{ .name = "two_queues_of_qemu-storage-daemon", .run = blocks_written_come_back, .arg = 2, .suffix = "" },
};

int main(int argc, char **argv)
{
	return vu_tests_main(tests, nitems(tests), argc, argv);
}
