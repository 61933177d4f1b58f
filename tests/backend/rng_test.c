/* SPDX-License-Identifier: ISC */
/* cloister-rng under a correct and a hostile front end and driver (virtio v1.2 5.4). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/backend/vu/hostile.h"
#include "tests/backend/vu/tests.h"
#include "tests/backend/vu/vu.h"

enum { BUFFER = 65536, RESETS = 300, RANDOM_CHAINS = 4000, RANDOM_MESSAGES = 3000, RESTARTS = 50, HUGE_MEMORY_MIB = 256 };

static const struct msg_rng_config from_device = { .is_stream = false };

static struct vu_cfg config(int mode)
{
	static const char *const args[] = { "--src=/dev/urandom", NULL };
	static int source = -1;

	if (source < 0)
		source = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	return (struct vu_cfg){ .mode = (enum vu_mode)mode, .program = "cloister-rng", .args = args, .config_type = MSG_RNG_CONFIG,
				.config_desc = &desc_msg_rng_config, .config = &from_device, .fds = &source, .n_fds = 1 };
}

static bool is_random(const uint8_t *p, uint32_t n)
{
	unsigned zeroes = 0;

	for (uint32_t i = 0; i < n; i++)
		zeroes += p[i] == 0;
	return n < 32 || zeroes < n / 4;
}

/* One request of @len bytes: whatever comes is random, and it is said how much. */
static bool ask(struct vu *v, uint64_t gpa, uint32_t len)
{
	uint8_t *p = vu_ptr(v, gpa, len);

	memset(p, 0, len);
	int n = vu_ring_do(v->ring[0], NULL, 0, &(struct vu_buf){ gpa, len }, 1);

	WANT(n > 0 && (uint32_t)n <= len, "%d of %u bytes", n, len);
	WANT(is_random(p, (uint32_t)n), "%d bytes, but zeroes", n);
	for (uint32_t i = (uint32_t)n; i < len; i++)
		WANT(p[i] == 0, "byte %u was written, %d were said to be", i, n);
	return true;
}

static bool good(struct vu *v)
{
	static uint64_t gpa;
	static unsigned of;

	if (of != v->id)
		gpa = vu_alloc(v, BUFFER, 4096);
	of = v->id;
	return ask(v, gpa, 64);
}

static bool random_bytes_come(int mode)
{
	static const uint32_t lens[] = { 1, 2, 15, 64, 4095, 4096, 65536 };
	struct vu_cfg cfg = config(mode);
	struct vu *v = vu_new(&cfg);

	WANT(v != NULL, "no device");
	uint64_t gpa = vu_alloc(v, BUFFER, 4096);

	for (unsigned i = 0; i < nitems(lens); i++)
		WANT(ask(v, gpa, lens[i]), "%u bytes", lens[i]);
	return vu_free(v);
}

static bool two_requests_differ(int mode)
{
	struct vu_cfg cfg = config(mode);
	struct vu *v = vu_new(&cfg);

	WANT(v != NULL, "no device");
	uint64_t a = vu_alloc(v, 64, 64), b = vu_alloc(v, 64, 64);

	WANT(ask(v, a, 64) && ask(v, b, 64), "not served");
	WANT(memcmp(vu_ptr(v, a, 64), vu_ptr(v, b, 64), 64) != 0, "twice the same");
	return vu_free(v);
}

/* Fill the ring, wait for all, ten times around. */
static bool fill_rounds(struct vu *v, unsigned n_bufs)
{
	struct vu_ring *r = v->ring[0];
	uint64_t gpa = vu_alloc(v, UINT64_C(64) * r->size * n_bufs, 64);
	struct vu_buf in[8];

	for (unsigned round = 0; round < 10; round++) {
		unsigned added = 0;

		for (;; added++) {
			for (unsigned i = 0; i < n_bufs; i++)
				in[i] = (struct vu_buf){ gpa + 64 * (UINT64_C(1) * added * n_bufs + i), 64 };
			if (vu_ring_add(r, NULL, 0, in, n_bufs, added) < 0)
				break;
		}
		vu_ring_kick(r);
		for (unsigned done = 0; done < added; done++) {
			uint64_t token;
			uint32_t len;

			WANT(vu_ring_wait(r, VU_TIMEOUT_MS) == 1, "round %u: %u of %u came back", round, done, added);
			WANT(vu_ring_pop(r, &token, &len) == 1 && len > 0 && len <= 64 * n_bufs, "round %u: length %u", round, len);
		}
	}
	return true;
}

static bool the_ring_goes_round_in_every_form(int mode)
{
	for (unsigned form = 0; form < 8; form++) {
		struct vu_cfg cfg = config(mode);
		uint64_t without = (form & 1 ? VHOST_USER_BIT(28) : 0) | (form & 2 ? VHOST_USER_BIT(29) : 0);

		cfg.features = ~(without | VHOST_USER_BIT(VHOST_USER_F_LOG_ALL));
		cfg.hole = (form & 4) != 0;
		cfg.queue_size = form & 4 ? 8 : 256;
		struct vu *v = vu_new(&cfg);

		WANT(v != NULL, "form %u: no device", form);
		WANT(v->ring[0]->use_indirect == ((form & 1) == 0), "form %u: indirect", form);
		WANT(v->ring[0]->event_idx == ((form & 2) == 0), "form %u: event indices", form);
		WANT(fill_rounds(v, 1) && fill_rounds(v, 3), "form %u", form);
		WANT(vu_free(v), "form %u: its end", form);
	}
	return true;
}

static bool memory_above_the_hole_is_served(int mode)
{
	struct vu_cfg cfg = config(mode);

	cfg.hole = true;
	struct vu *v = vu_new(&cfg);

	WANT(v != NULL, "no device");
	WANT(ask(v, VU_HIGH_GPA, 4096), "its first page");
	WANT(ask(v, VU_HIGH_GPA + v->region[1].size - 64, 64), "its last bytes");
	return vu_free(v);
}

static bool a_stopped_ring_is_silent_and_goes_on_where_it_was(int mode)
{
	struct vu_cfg cfg = config(mode);
	struct vu *v = vu_new(&cfg);

	WANT(v != NULL && good(v) && good(v) && good(v), "no device");
	int base = vu_stop_ring(v, 0);

	WANT(base == 3, "base %d after 3 requests", base);
	uint64_t gpa = vu_alloc(v, 64, 64), token;
	uint32_t len;

	WANT(vu_ring_add(v->ring[0], NULL, 0, &(struct vu_buf){ gpa, 64 }, 1, 9) >= 0, "no room");
	vu_ring_kick(v->ring[0]);
	WANT(vu_ring_wait(v->ring[0], 50) == 0, "served while stopped");
	WANT(vu_start_ring(v, 0, (uint16_t)base) == 0, "no start");
	WANT(vu_ring_wait(v->ring[0], VU_TIMEOUT_MS) == 1 && vu_ring_pop(v->ring[0], &token, &len) == 1 && token == 9,
	     "what was added meanwhile is lost");
	return vu_free(v);
}

static bool killed_under_load_nothing_is_lost(int mode)
{
	struct vu_cfg cfg = config(mode);
	struct vu *v = vu_new(&cfg);
	uint32_t seed = 1;
	unsigned done = 0;

	WANT(v != NULL, "no device");
	struct vu_ring *r = v->ring[0];
	uint64_t gpa = vu_alloc(v, UINT64_C(4096) * r->size, 4096), token;
	uint32_t len;

	for (unsigned kills = 0; kills < RESTARTS; kills++) {
		while (vu_ring_add(r, NULL, 0, &(struct vu_buf){ gpa + UINT64_C(4096) * (done % r->size), 4096 }, 1, done) >= 0)
			;
		vu_ring_kick(r);
		for (unsigned n = vu_random(&seed) % r->size; n > 0; n--) {
			WANT(vu_ring_wait(r, VU_TIMEOUT_MS) == 1 && vu_ring_pop(r, &token, &len) == 1, "after %u kills", kills);
			done++;
		}
		WANT(vu_restart(v) == 0, "no successor after %u kills", kills);
	}
	while (vu_ring_in_flight(r) > 0)
		WANT(vu_ring_wait(r, VU_TIMEOUT_MS) == 1 && vu_ring_pop(r, &token, &len) == 1, "%u are lost", vu_ring_in_flight(r));
	return vu_free(v);
}

static bool a_successor_interrupts_once_for_what_it_cannot_know(int mode)
{
	struct vu_cfg cfg = config(mode);
	struct vu *v = vu_new(&cfg);
	uint64_t n = 0;

	WANT(v != NULL && good(v), "no device");
	(void)!read(v->call[0], &n, sizeof(n));
	WANT(vu_restart(v) == 0, "no successor");
	n = 0;
	for (unsigned waited = 0; waited < VU_TIMEOUT_MS && read(v->call[0], &n, sizeof(n)) < 0; waited++)
		(void)usleep(1000);
	WANT(n >= 1, "the predecessor may have died before its interrupt, and no one makes up for it");
	return vu_free(v);
}

static bool a_dead_front_end_leaves_no_process(int mode)
{
	struct vu_cfg cfg = config(mode);
	struct vu *v = vu_new(&cfg);

	WANT(v != NULL && good(v), "no device");
	return vu_free(v);
}

static bool written_pages_are_logged(int mode)
{
	struct vu_cfg cfg = config(mode);

	cfg.features = ~UINT64_C(0);
	struct vu *v = vu_new(&cfg);

	WANT(v != NULL, "no device");
	WANT((v->acked & VHOST_USER_BIT(VHOST_USER_F_LOG_ALL)) != 0, "no dirty log offered");
	uint64_t gpa = vu_alloc(v, BUFFER, BUFFER), page = gpa / VHOST_USER_LOG_PAGE;

	memset(v->log, 0, v->log_bytes);
	int n = vu_ring_do(v->ring[0], NULL, 0, &(struct vu_buf){ gpa + 4096, 64 }, 1);

	WANT(n > 0, "not served: %d", n);
	WANT((v->log[(page + 1) / 8] & 1u << (page + 1) % 8) != 0, "the page of the data is not marked");
	WANT((v->log[page / 8] & 1u << page % 8) == 0, "a page that was not written is marked");
	uint64_t used = v->ring[0]->used_gpa / VHOST_USER_LOG_PAGE;

	WANT((v->log[used / 8] & 1u << used % 8) != 0, "the page of the used ring is not marked");
	return vu_free(v);
}

static struct vu_hostile hostile(int mode)
{
	return (struct vu_hostile){ .cfg = config(mode), .queue = 0, .good = good };
}

static bool broken_chains(int mode)
{
	struct vu_hostile h = hostile(mode);

	return vu_hostile_chains(&h);
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
static bool a_guest_does_not_fill_the_log(int mode)
{
	struct vu_hostile h = hostile(mode);

	return vu_hostile_log_is_short(&h);
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
static bool spare_descriptors_are_closed(int mode)
{
	struct vu_hostile h = hostile(mode);

	return vu_hostile_spare_fds(&h);
}

static const struct vu_test tests[] = {
	TEST_BOTH(random_bytes_come),
	TEST_BOTH(two_requests_differ),
	TEST_BOTH(the_ring_goes_round_in_every_form),
	TEST_BOTH(memory_above_the_hole_is_served),
	TEST_BOTH(a_stopped_ring_is_silent_and_goes_on_where_it_was),
	TEST_BOTH(killed_under_load_nothing_is_lost),
	TEST_BOTH(a_successor_interrupts_once_for_what_it_cannot_know),
	TEST_BOTH(a_dead_front_end_leaves_no_process),
	TEST_BOTH(written_pages_are_logged),
	TEST_BOTH(broken_chains),
	TEST_BOTH(chains_by_chance),
	TEST_BOTH(descriptors_that_change_under_its_eyes),
	TEST_BOTH(resets_at_any_moment),
	TEST_BOTH(a_guest_does_not_fill_the_log),
	TEST_BOTH(broken_messages),
	TEST_BOTH(messages_by_chance),
	TEST_BOTH(spare_descriptors_are_closed),
};

int main(int argc, char **argv)
{
	return vu_tests_main(tests, nitems(tests), argc, argv);
}
