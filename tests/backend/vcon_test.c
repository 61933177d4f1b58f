/* SPDX-License-Identifier: ISC */
/* cloister-console as a virtio console, under a correct and a hostile front end and driver (virtio v1.2 5.3). */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/console/console_ring.h"
#include "devices/console/console_virtio.h"
#include "tests/backend/vu/hostile.h"
#include "tests/backend/vu/tests.h"
#include "tests/backend/vu/vu.h"

enum {
	RX,
	TX,
	LINE = 16, /* bytes of a numbered line */
	LINES_OF_CHAIN = 700,
	KILLS = 60,
	RESETS = 200,
	RANDOM_CHAINS = 3000,
	RANDOM_MESSAGES = 2000,
};

/* --- the host's side -------------------------------------------------------------------------------------------------------- */

/* A stream that the console writes to and reads from, or a file. [0] is ours. */
static int host[2] = { -1, -1 };
static char file_path[64];
static int preset_fds[3];
static struct msg_vcon_config preset;

static int make_ring(void)
{
	return vu_memfd("console", CONSOLE_RING_SIZE);
}

/* Alone the same in a file: the socket is the front end's. */
static struct vu_cfg config(int mode)
{
	static char path_arg[96];
	static const char *args[] = { "--mode=file", path_arg, NULL };

	if (host[0] < 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, host) < 0)
		host[0] = -1;
	if (file_path[0] == '\0') {
		(void)snprintf(file_path, sizeof(file_path), "/tmp/vcon.%d", (int)getpid());
		(void)snprintf(path_arg, sizeof(path_arg), "--path=%s", file_path);
		preset_fds[0] = make_ring();
		preset_fds[1] = fcntl(host[1], F_DUPFD_CLOEXEC, 0);
		preset_fds[2] = fcntl(host[1], F_DUPFD_CLOEXEC, 0);
		preset = (struct msg_vcon_config){ .target = CON_TARGET_STREAM, .has_input = true };
	}
	return (struct vu_cfg){ .mode = (enum vu_mode)mode, .program = "cloister-console", .word = CONSOLE_VIRTIO_WORD, .args = args,
				.n_queues = 2, .config_type = MSG_VCON_CONFIG, .config_desc = &desc_msg_vcon_config, .config = &preset,
				.fds = preset_fds, .n_fds = 3 };
}

/* What has come out, at least @want bytes of it. */
static size_t output(int mode, char *buf, size_t cap, size_t want)
{
	size_t n = 0;

	for (unsigned ms = 0; n < want && ms < VU_TIMEOUT_MS; ms++) {
		int fd = mode == VU_ALONE ? open(file_path, O_RDONLY | O_CLOEXEC) : host[0];
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t r = 0;

		if (mode == VU_ALONE) {
			r = fd < 0 ? 0 : pread(fd, buf, cap, 0);
			n = r > 0 ? (size_t)r : 0;
			(void)close(fd);
			if (n < want)
				(void)poll(NULL, 0, 1);
		} else if (poll(&p, 1, 1) == 1 && (r = read(fd, buf + n, cap - n)) > 0) {
			n += (size_t)r;
		}
	}
	return n;
}

/* --- the guest's side ----------------------------------------------------------------------------------------------------------- */

static uint64_t page(struct vu *v)
{
	static uint64_t gpa;
	static unsigned of;

	if (of != v->id)
		gpa = vu_alloc(v, 65536, 4096);
	of = v->id;
	return gpa;
}

static bool print(struct vu *v, const void *text, uint32_t len)
{
	uint64_t gpa = page(v);

	memcpy(vu_ptr(v, gpa, len), text, len);
	int r = vu_ring_do(v->ring[TX], &(struct vu_buf){ gpa, len }, 1, NULL, 0);

	WANT(r == 0, "%u bytes: %d", len, r);
	return true;
}

static bool good(struct vu *v)
{
	return print(v, ".", 1);
}

static bool what_the_guest_prints_comes_out(int mode)
{
	struct vu_cfg cfg = config(mode);
	struct vu *v = vu_new(&cfg);
	char got[64] = "";

	WANT(v != NULL, "no device");
	WANT(print(v, "hello ", 6) && print(v, "world\n", 6), "not taken");
	WANT(output(mode, got, sizeof(got), 12) == 12 && memcmp(got, "hello world\n", 12) == 0, "\"%s\"", got);
	return vu_free(v);
}

static bool a_chain_of_many_pieces_comes_out_whole(int mode)
{
	struct vu_cfg cfg = config(mode);
	struct vu *v = vu_new(&cfg);
	static char got[65536];
	struct vu_buf out[16];

	WANT(v != NULL, "no device");
	uint64_t gpa = page(v);
	uint8_t *p = vu_ptr(v, gpa, 40000);

	for (unsigned i = 0; i < 40000; i++)
		p[i] = (uint8_t)("abcdefghijklmnopqrstuvw"[i % 23]);
	for (unsigned i = 0; i < 16; i++)
		out[i] = (struct vu_buf){ gpa + 2500 * i, 2500 };
	WANT(vu_ring_do(v->ring[TX], out, 16, NULL, 0) == 0, "not taken");
	WANT(output(mode, got, sizeof(got), 40000) == 40000 && memcmp(got, p, 40000) == 0, "not what was printed");
	return vu_free(v);
}

static bool what_is_typed_comes_in(int mode)
{
	struct vu_cfg cfg = config(mode);
	struct vu *v = vu_new(&cfg);
	uint64_t token;
	uint32_t len = 0;

	WANT(v != NULL, "no device");
	/* Before there is a buffer: it waits. */
	WANT(write(host[0], "typed\n", 6) == 6, "the socket is full");
	uint64_t gpa = page(v);

	WANT(vu_ring_add(v->ring[RX], NULL, 0, &(struct vu_buf){ gpa, 4 }, 1, 1) >= 0 &&
		     vu_ring_add(v->ring[RX], NULL, 0, &(struct vu_buf){ gpa + 64, 64 }, 1, 2) >= 0, "no room");
	vu_ring_kick(v->ring[RX]);
	WANT(vu_ring_wait(v->ring[RX], VU_TIMEOUT_MS) == 1 && vu_ring_pop(v->ring[RX], &token, &len) == 1 && len == 4, "length %u", len);
	WANT(memcmp(vu_ptr(v, gpa, 4), "type", 4) == 0, "other bytes");
	WANT(vu_ring_wait(v->ring[RX], VU_TIMEOUT_MS) == 1 && vu_ring_pop(v->ring[RX], &token, &len) == 1 && len == 2, "length %u", len);
	WANT(memcmp(vu_ptr(v, gpa + 64, 2), "d\n", 2) == 0, "other bytes");
	/* With a buffer that waits; a lone line feed is the Enter key. */
	WANT(vu_ring_add(v->ring[RX], NULL, 0, &(struct vu_buf){ gpa, 64 }, 1, 3) >= 0, "no room");
	vu_ring_kick(v->ring[RX]);
	WANT(write(host[0], "\n", 1) == 1, "the socket is full");
	WANT(vu_ring_wait(v->ring[RX], VU_TIMEOUT_MS) == 1 && vu_ring_pop(v->ring[RX], &token, &len) == 1 && len == 1, "length %u", len);
	WANT(*(char *)vu_ptr(v, gpa, 1) == '\r', "no carriage return");
	return vu_free(v);
}

/* Empty buffers take no input: they come back, as many as there are, and the bytes go into the first that has room. */
static bool empty_buffers_come_back_and_input_goes_past_them(int mode)
{
	struct vu_cfg cfg = config(mode);
	struct vu *v = vu_new(&cfg);
	uint64_t token;
	uint32_t len = 0;
	unsigned n;

	WANT(v != NULL, "no device");
	uint64_t gpa = page(v);

	for (n = 0; n < 100; n++)
		WANT(vu_ring_add(v->ring[RX], NULL, 0, &(struct vu_buf){ gpa, 0 }, 1, n) >= 0, "no room for %u", n);
	WANT(vu_ring_add(v->ring[RX], NULL, 0, &(struct vu_buf){ gpa, 64 }, 1, n) >= 0, "no room");
	vu_ring_kick(v->ring[RX]);
	WANT(write(host[0], "typed", 5) == 5, "the socket is full");
	for (unsigned i = 0; i <= n; i++) {
		WANT(vu_ring_wait(v->ring[RX], VU_TIMEOUT_MS) == 1 && vu_ring_pop(v->ring[RX], &token, &len) == 1, "%u came back", i);
		WANT(token == i && len == (i < n ? 0 : 5), "buffer %u: token %u, length %u", i, (unsigned)token, len);
	}
	WANT(memcmp(vu_ptr(v, gpa, 5), "typed", 5) == 0, "other bytes");
	return vu_free(v);
}

/* One chain of numbered lines. Returns how many. */
static unsigned add_lines(struct vu *v, uint64_t gpa, unsigned first, unsigned n)
{
	char *p = vu_ptr(v, gpa, LINE * n);

	for (unsigned i = 0; i < n; i++) {
		char line[LINE + 1];

		(void)snprintf(line, sizeof(line), "%014u:\n", first + i);
		memcpy(p + LINE * i, line, LINE);
	}
	return vu_ring_add(v->ring[TX], &(struct vu_buf){ gpa, LINE * n }, 1, NULL, 0, first) < 0 ? 0 : n;
}

static bool a_stuck_reader_costs_the_oldest_bytes_and_nobody_waits(int mode)
{
	struct vu_cfg cfg = config(mode);
	struct vu *v = vu_new(&cfg);
	static char got[3 << 20];
	uint64_t token;
	uint32_t len;
	unsigned n = 0;

	WANT(v != NULL, "no device");
	uint64_t gpa = page(v);

	while (n < 4 * (1 << 20) / LINE) { /* 4 MiB that nobody reads */
		n += add_lines(v, gpa, n, LINES_OF_CHAIN);
		vu_ring_kick(v->ring[TX]);
		WANT(vu_ring_wait(v->ring[TX], VU_TIMEOUT_MS) == 1 && vu_ring_pop(v->ring[TX], &token, &len) == 1, "not taken after %u lines", n);
	}
	size_t have = output(mode, got, sizeof(got), sizeof(got));

	WANT(have >= CONSOLE_RING_DATA, "only %zu bytes are left", have);
	WANT((unsigned)atoi(got + have - LINE) == n - 1, "the last line is \"%.14s\" of %u", got + have - LINE, n);
	return vu_free(v);
}

/* Lines come once each and in order; what a kill loses is 4 KiB at most. */
static bool check_lines(const char *text, size_t len, unsigned printed, unsigned kills)
{
	size_t lost = (size_t)printed * LINE - len;
	unsigned last = 0, n = 0;

	WANT(len <= (size_t)printed * LINE, "%zu bytes of %u lines: something came twice", len, printed);
	WANT(lost <= (size_t)kills * CONSOLE_CHUNK, "%zu bytes are lost in %u kills", lost, kills);
	for (size_t at = 0; at + LINE <= len;) {
		unsigned number = 0;
		int eaten = 0;

		if (sscanf(text + at, "%14u:\n%n", &number, &eaten) == 1 && eaten == LINE) {
			WANT(n == 0 || number > last, "line %u after line %u", number, last);
			last = number;
			n++;
			at += LINE;
		} else {
			at++; /* the middle of a line is lost: find the next one */
		}
	}
	WANT(n > printed / 2, "%u of %u lines", n, printed);
	return true;
}

static bool killed_at_random_it_repeats_nothing_and_loses_little(int mode)
{
	static char got[8 << 20];
	struct vu_cfg cfg = config(mode);
	struct vu *v = vu_new(&cfg);
	uint32_t seed = 3, len;
	unsigned printed = 0;
	size_t have = 0;
	uint64_t token;

	WANT(v != NULL, "no device");
	uint64_t gpa[8];

	for (unsigned i = 0; i < nitems(gpa); i++)
		gpa[i] = vu_alloc(v, LINE * LINES_OF_CHAIN, 4096);
	for (unsigned kills = 0; kills < KILLS; kills++) {
		for (unsigned i = 0; i < nitems(gpa); i++)
			printed += add_lines(v, gpa[i], printed, LINES_OF_CHAIN);
		vu_ring_kick(v->ring[TX]);
		/* Somewhere in the middle: by time, and by what has come out. */
		for (unsigned us = vu_random(&seed) % 400; us > 0; us--) {
			struct pollfd p = { .fd = host[0], .events = POLLIN };

			if (poll(&p, 1, 0) == 1)
				have += (size_t)read(host[0], got + have, sizeof(got) - have);
		}
		WANT(vu_restart(v) == 0, "no successor after %u kills", kills);
		while (vu_ring_in_flight(v->ring[TX]) > 0)
			WANT(vu_ring_wait(v->ring[TX], VU_TIMEOUT_MS) == 1 && vu_ring_pop(v->ring[TX], &token, &len) == 1, "a chain is lost");
		struct pollfd p = { .fd = host[0], .events = POLLIN };

		while (poll(&p, 1, 20) == 1)
			have += (size_t)read(host[0], got + have, sizeof(got) - have);
	}
	WANT(check_lines(got, have, printed, KILLS), "%u kills", KILLS);
	return vu_free(v);
}

static bool has_size(struct vu *v, uint16_t cols, uint16_t rows)
{
	struct virtio_console_config c;

	WANT(vu_get_config(v, &c, sizeof(c)) == 0, "no configuration space");
	WANT(le16toh(c.cols) == cols && le16toh(c.rows) == rows, "%u x %u", le16toh(c.cols), le16toh(c.rows));
	return true;
}

static bool a_terminal_has_a_size_and_a_new_one_is_told(int mode)
{
	struct vu_cfg cfg = config(mode);
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave = -1;
	struct winsize size = { .ws_col = 100, .ws_row = 40 };

	WANT(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0, "no pty");
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	WANT(slave >= 0 && ioctl(slave, TIOCSWINSZ, &size) == 0, "no size");
	preset.target = CON_TARGET_PTY;
	preset_fds[1] = master;
	preset_fds[2] = slave;
	struct vu *v = vu_new(&cfg);

	WANT(v != NULL && (v->acked & VHOST_USER_BIT(VIRTIO_CONSOLE_F_SIZE)) != 0, "no device with a size");
	WANT(has_size(v, 100, 40), "at the start");
	WANT(vu_backend_request(v, 0) == 0, "something was told already");
	size.ws_col = 132;
	WANT(ioctl(slave, TIOCSWINSZ, &size) == 0, "no size");
	WANT(chan_send(v->control, MSG_VCON_WINSIZE, 0, NULL, NULL, NULL, 0) == 0, "the control socket is gone");
	WANT(vu_backend_request(v, VU_TIMEOUT_MS) == VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, "nothing was told");
	WANT(has_size(v, 132, 40), "afterwards");
	return vu_free(v);
}

/* --- hostile ---------------------------------------------------------------------------------------------------------------------- */

static struct vu_hostile hostile(int mode)
{
	return (struct vu_hostile){ .cfg = config(mode), .queue = TX, .good = good };
}
static bool broken_chains(int mode)
{
	struct vu_hostile h = hostile(mode);

	return vu_hostile_chains(&h);
}
static bool broken_chains_for_input(int mode)
{
	struct vu_hostile h = hostile(mode);

	h.queue = RX;
	return vu_hostile_random_chains(&h, 2, RANDOM_CHAINS);
}
static bool chains_by_chance(int mode)
{
	struct vu_hostile h = hostile(mode);

	return vu_hostile_random_chains(&h, 1, RANDOM_CHAINS);
}
static bool descriptors_that_change_under_its_eyes(int mode)
{
	struct vu_hostile h = hostile(mode);

	return vu_hostile_flipper(&h, 500);
}
static bool resets_at_any_moment(int mode)
{
	struct vu_hostile h = hostile(mode);

	return vu_hostile_resets(&h, RESETS);
}
static bool broken_messages(int mode)
{
	struct vu_hostile h = hostile(mode);

	return vu_hostile_messages(&h);
}
static bool messages_by_chance(int mode)
{
	struct vu_hostile h = hostile(mode);

	return vu_hostile_random_messages(&h, 1, RANDOM_MESSAGES);
}

static const struct vu_test tests[] = {
	TEST_BOTH(what_the_guest_prints_comes_out),
	TEST_BOTH(a_chain_of_many_pieces_comes_out_whole),
	TEST(what_is_typed_comes_in, VU_PRESET),
	TEST(empty_buffers_come_back_and_input_goes_past_them, VU_PRESET),
	TEST(a_stuck_reader_costs_the_oldest_bytes_and_nobody_waits, VU_PRESET),
	TEST(killed_at_random_it_repeats_nothing_and_loses_little, VU_PRESET),
	TEST(a_terminal_has_a_size_and_a_new_one_is_told, VU_PRESET),
	TEST_BOTH(broken_chains),
	TEST_BOTH(broken_chains_for_input),
	TEST_BOTH(chains_by_chance),
	TEST_BOTH(descriptors_that_change_under_its_eyes),
	TEST_BOTH(resets_at_any_moment),
	TEST_BOTH(broken_messages),
	TEST_BOTH(messages_by_chance),
};

int main(int argc, char **argv)
{
	return vu_tests_main(tests, nitems(tests), argc, argv);
}
