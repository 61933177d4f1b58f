/* SPDX-License-Identifier: ISC */
/* cloister-rng and its source: one that is dry, one that ends, one that fails. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "tests/backend/vu/tests.h"
#include "tests/backend/vu/vu.h"

enum { BUFFER = 4096, QUIET_MS = 50, RETRY_MS = 5000 };

static const struct msg_rng_config from_device = { .is_stream = true };

static struct vu_cfg config(int *source)
{
	return (struct vu_cfg){ .mode = VU_PRESET, .program = "cloister-rng", .config_type = MSG_RNG_CONFIG,
				.config_desc = &desc_msg_rng_config, .config = &from_device, .fds = source, .n_fds = 1, .queue_size = 16 };
}

static bool add(struct vu *v, uint64_t gpa, uint32_t len, uint64_t token)
{
	struct vu_buf in = { gpa, len };

	WANT(vu_ring_add(v->ring[0], NULL, 0, &in, 1, token) >= 0, "the ring is full");
	vu_ring_kick(v->ring[0]);
	return true;
}

static bool got(struct vu *v, uint64_t token, uint32_t len, int timeout_ms)
{
	uint64_t t = ~token;
	uint32_t n = 0;

	WANT(vu_ring_wait(v->ring[0], timeout_ms) == 1 && vu_ring_pop(v->ring[0], &t, &n) == 1, "nothing came");
	WANT(t == token && n == len, "request %u with %u bytes, not %u with %u", (unsigned)t, n, (unsigned)token, len);
	return true;
}

/* A request waits while there is nothing, costs nothing meanwhile, and gets what comes: all of it, once, in order. */
static bool dry_source_is_waited_for(int mode)
{
	int pair[2];

	(void)mode;
	WANT(fd_socketpair(SOCK_STREAM, pair) == 0, "socket pair");
	struct vu_cfg cfg = config(&pair[1]);
	struct vu *v = vu_new(&cfg);

	WANT(v != NULL, "no device");
	uint64_t gpa = vu_alloc(v, 2 * BUFFER, 4096);
	uint8_t *p = vu_ptr(v, gpa, 2 * BUFFER);
	memset(p, 0, 2 * BUFFER);
	WANT(add(v, gpa, BUFFER, 1) && add(v, gpa + BUFFER, 3, 2), "two requests");
	WANT(vu_ring_wait(v->ring[0], QUIET_MS) == 0, "something from nothing");
	uint64_t before = vu_proc_cpu_us(v);
	WANT(vu_ring_wait(v->ring[0], QUIET_MS) == 0, "something from nothing");
	WANT(vu_proc_cpu_us(v) - before < QUIET_MS * 1000 / 2, "it spins");
	WANT(write(pair[0], "abcde", 5) == 5 && got(v, 1, 5, VU_TIMEOUT_MS), "the first bytes");
	WANT(memcmp(p, "abcde", 6) == 0, "other bytes");
	WANT(vu_ring_wait(v->ring[0], QUIET_MS) == 0, "something from nothing");
	WANT(write(pair[0], "vwxyz", 5) == 5 && got(v, 2, 3, VU_TIMEOUT_MS), "the next bytes");
	WANT(memcmp(p + BUFFER, "vwx", 4) == 0, "other bytes");
	WANT(add(v, gpa, BUFFER, 3) && got(v, 3, 2, VU_TIMEOUT_MS), "the rest");
	WANT(memcmp(p, "yzcde", 5) == 0, "other bytes");
	(void)close(pair[0]);
	bool good = vu_free(v);
	(void)close(pair[1]);
	return good;
}

/* A ring that is stopped while its request waits stops at once, and the request is there again afterwards. */
static bool dry_source_keeps_no_ring_from_stopping(int mode)
{
	int pair[2];

	(void)mode;
	WANT(fd_socketpair(SOCK_STREAM, pair) == 0, "socket pair");
	struct vu_cfg cfg = config(&pair[1]);
	struct vu *v = vu_new(&cfg);

	WANT(v != NULL, "no device");
	uint64_t gpa = vu_alloc(v, BUFFER, 4096);
	WANT(add(v, gpa, BUFFER, 1), "a request");
	WANT(vu_ring_wait(v->ring[0], QUIET_MS) == 0, "something from nothing");
	int base = vu_stop_ring(v, 0);
	WANT(base == 0, "stopped at %d", base);
	WANT(write(pair[0], "abc", 3) == 3, "bytes");
	WANT(vu_ring_wait(v->ring[0], QUIET_MS) == 0, "a stopped ring is served");
	WANT(vu_start_ring(v, 0, (uint16_t)base) == 0 && got(v, 1, 3, VU_TIMEOUT_MS), "the request again");
	(void)close(pair[0]);
	bool good = vu_free(v);
	(void)close(pair[1]);
	return good;
}

/* The end of the source is an error that is said once, not an end; what is there again later is used. */
static bool source_that_ends_is_tried_again(int mode)
{
	char path[] = "/tmp/rng-sourceXXXXXX";
	int fd = mkstemp(path);

	(void)mode;
	WANT(fd >= 0, "a file");
	(void)unlink(path);
	WANT(write(fd, "0123456789", 10) == 10 && lseek(fd, 0, SEEK_SET) == 0, "a file");
	struct vu_cfg cfg = config(&fd);
	struct vu *v = vu_new(&cfg);

	WANT(v != NULL, "no device");
	uint64_t gpa = vu_alloc(v, BUFFER, 4096);
	WANT(add(v, gpa, 8, 1) && got(v, 1, 8, VU_TIMEOUT_MS), "the beginning");
	WANT(add(v, gpa, 8, 2) && got(v, 2, 2, VU_TIMEOUT_MS), "the rest");
	WANT(add(v, gpa, 8, 3) && vu_ring_wait(v->ring[0], QUIET_MS) == 0, "something from nothing");
	WANT(vu_proc_alive(v), "it went");
	WANT(pwrite(fd, "abc", 3, 10) == 3 && got(v, 3, 3, RETRY_MS), "what came later");
	bool good = vu_free(v);
	(void)close(fd);
	return good;
}

static const struct vu_test tests[] = {
	TEST(dry_source_is_waited_for, 0),
	TEST(dry_source_keeps_no_ring_from_stopping, 0),
	TEST(source_that_ends_is_tried_again, 0),
};

int main(int argc, char **argv)
{
	return vu_tests_main(tests, nitems(tests), argc, argv);
}
