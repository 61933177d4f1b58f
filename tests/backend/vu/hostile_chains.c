/* SPDX-License-Identifier: ISC */
/* Rings that are broken in every way that virtio v1.2 2.7 leaves open. */
#include "tests/backend/vu/hostile.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/backend/vu/tests.h"

enum {
	BUFFER = 65536,
	SETTLE_MS = 30,
	MUST_MS = 2000,
	TABLE_ENTRIES = 512,
	LOG_BYTES_MAX = 65536,
	LOG_LINES_MAX = 20,
};

uint32_t vu_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* What the cases are made of. */
struct bench {
	struct vu *v;
	struct vu_ring *r;
	uint64_t buf;	/* BUFFER bytes, the device's request head in front */
	uint64_t table; /* TABLE_ENTRIES descriptors */
	uint64_t end;	/* first gpa behind the first region */
};

static struct vu_desc desc(uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
	return (struct vu_desc){ .addr = addr, .len = len, .flags = (uint16_t)flags, .next = (uint16_t)next };
}

static void one(struct bench *b, struct vu_desc d)
{
	vu_ring_raw(b->r, &d, 1, 0, 1);
}

/* Descriptor 0 is readable and good, 1 is @d. */
static void second(struct bench *b, struct vu_desc d)
{
	struct vu_desc t[2] = { desc(b->buf, 16, VU_NEXT, 1), d };

	vu_ring_raw(b->r, t, 2, 0, 1);
}

static void indirect(struct bench *b, const struct vu_desc *d, unsigned n, uint32_t len, unsigned flags)
{
	struct vu_desc *t = vu_ptr(b->v, b->table, 16 * TABLE_ENTRIES);

	for (unsigned i = 0; i < n; i++)
		t[i] = d[i];
	struct vu_desc heads[2] = { desc(b->table, len, VU_INDIRECT | flags, 1), desc(b->buf, 64, VU_WRITE, 0) };

	vu_ring_raw(b->r, heads, 2, 0, 1);
}

/* --- loops and indices --------------------------------------------------------------------------------------------------------------- */

static void loop_of_one(struct bench *b)
{
	one(b, desc(b->buf, 16, VU_NEXT, 0));
}
static void loop_of_two(struct bench *b)
{
	second(b, desc(b->buf, 16, VU_NEXT, 0));
}
static void loop_of_all(struct bench *b)
{
	for (unsigned i = 0; i < b->r->size; i++)
		b->r->d[i] = desc(b->buf, 16, VU_NEXT, (i + 1) % b->r->size);
	vu_ring_raw(b->r, NULL, 0, 0, 1);
}
static void loop_at_the_end(struct bench *b)
{
	for (unsigned i = 0; i < b->r->size; i++)
		b->r->d[i] = desc(b->buf, 16, VU_NEXT, i + 1u < b->r->size ? i + 1u : i);
	vu_ring_raw(b->r, NULL, 0, 0, 1);
}
static void next_is_the_size(struct bench *b)
{
	one(b, desc(b->buf, 16, VU_NEXT, b->r->size));
}
static void next_is_huge(struct bench *b)
{
	one(b, desc(b->buf, 16, VU_NEXT, 0xffff));
}
static void head_is_the_size(struct bench *b)
{
	vu_ring_raw(b->r, NULL, 0, b->r->size, 1);
}
static void head_is_huge(struct bench *b)
{
	vu_ring_raw(b->r, NULL, 0, 0xffff, 1);
}

/* --- indirect tables ------------------------------------------------------------------------------------------------------------------- */

static void indirect_in_indirect(struct bench *b)
{
	struct vu_desc t[2] = { desc(b->table + 16, 16, VU_INDIRECT, 0), desc(b->buf, 16, VU_WRITE, 0) };

	indirect(b, t, 2, 32, 0);
}
static void indirect_with_next(struct bench *b)
{
	struct vu_desc t = desc(b->buf, 16, 0, 0);

	indirect(b, &t, 1, 16, VU_NEXT);
}
static void indirect_empty(struct bench *b)
{
	indirect(b, NULL, 0, 0, 0);
}
static void indirect_half(struct bench *b)
{
	indirect(b, NULL, 0, 8, 0);
}
static void indirect_one_and_a_bit(struct bench *b)
{
	struct vu_desc t = desc(b->buf, 16, VU_WRITE, 0);

	indirect(b, &t, 1, 17, 0);
}
static void indirect_endless(struct bench *b)
{
	indirect(b, NULL, 0, 0xfffffff0, 0);
}
static void indirect_next_outside(struct bench *b)
{
	struct vu_desc t = desc(b->buf, 16, VU_NEXT, 1);

	indirect(b, &t, 1, 16, 0);
}
static void indirect_loop(struct bench *b)
{
	struct vu_desc t[2] = { desc(b->buf, 16, VU_NEXT, 1), desc(b->buf, 16, VU_NEXT, 0) };

	indirect(b, t, 2, 32, 0);
}
static void indirect_behind_memory(struct bench *b)
{
	one(b, desc(b->end, 16, VU_INDIRECT, 0));
}
static void indirect_over_the_end(struct bench *b)
{
	one(b, desc(b->end - 16, 32, VU_INDIRECT, 0));
}
static void indirect_wraps(struct bench *b)
{
	one(b, desc(UINT64_MAX - 15, 32, VU_INDIRECT, 0));
}
static void indirect_in_the_ring(struct bench *b)
{
	b->r->d[2] = desc(b->buf, 16, VU_NEXT, 1);
	b->r->d[3] = desc(b->buf, 16, VU_WRITE, 0);
	one(b, desc(b->r->desc_gpa + 32, 32, VU_INDIRECT, 0));
}
static void indirect_long(struct bench *b)
{
	struct vu_desc t[TABLE_ENTRIES];

	for (unsigned i = 0; i < nitems(t); i++)
		t[i] = desc(b->buf, 1, i + 1 < nitems(t) ? VU_NEXT : VU_WRITE, i + 1);
	indirect(b, t, nitems(t), sizeof(t), 0);
}

/* --- addresses and lengths ----------------------------------------------------------------------------------------------------------------- */

static void behind_memory(struct bench *b)
{
	one(b, desc(b->end, 16, VU_WRITE, 0));
}
static void over_the_end(struct bench *b)
{
	one(b, desc(b->end - 8, 16, VU_WRITE, 0));
}
static void over_the_end_readable(struct bench *b)
{
	second(b, desc(b->end - 8, 16, 0, 0));
}
static void wraps(struct bench *b)
{
	second(b, desc(UINT64_MAX - 7, 16, VU_WRITE, 0));
}
static void wraps_to_zero(struct bench *b)
{
	second(b, desc(UINT64_MAX, 2, VU_WRITE, 0));
}
static void longest(struct bench *b)
{
	second(b, desc(b->buf, 0xffffffff, VU_WRITE, 0));
}
static void half_of_all(struct bench *b)
{
	second(b, desc(b->buf, 0x80000000, VU_WRITE, 0));
}
static void sum_over_32_bits(struct bench *b)
{
	uint64_t len = b->end - 4096;

	for (unsigned i = 0; i < b->r->size; i++)
		b->r->d[i] = desc(4096, (uint32_t)len, i + 1u < b->r->size ? VU_NEXT | VU_WRITE : VU_WRITE, i + 1u);
	vu_ring_raw(b->r, NULL, 0, 0, 1);
}
static void readable_behind_writable(struct bench *b)
{
	struct vu_desc t[2] = { desc(b->buf, 16, VU_WRITE | VU_NEXT, 1), desc(b->buf, 16, 0, 0) };

	vu_ring_raw(b->r, t, 2, 0, 1);
}
static void empty_first(struct bench *b)
{
	struct vu_desc t[3] = { desc(b->buf, 0, VU_NEXT, 1), desc(b->buf, 16, VU_NEXT, 2), desc(b->buf, 64, VU_WRITE, 0) };

	vu_ring_raw(b->r, t, 3, 0, 1);
}
static void empty_middle(struct bench *b)
{
	struct vu_desc t[3] = { desc(b->buf, 16, VU_NEXT, 1), desc(b->buf, 0, VU_NEXT, 2), desc(b->buf, 64, VU_WRITE, 0) };

	vu_ring_raw(b->r, t, 3, 0, 1);
}
static void empty_last(struct bench *b)
{
	second(b, desc(b->buf, 0, VU_WRITE, 0));
}
static void empty_at_nowhere(struct bench *b)
{
	second(b, desc(UINT64_MAX, 0, VU_WRITE, 0));
}
static void all_empty(struct bench *b)
{
	for (unsigned i = 0; i < b->r->size; i++)
		b->r->d[i] = desc(b->buf, 0, i + 1u < b->r->size ? VU_NEXT : 0, i + 1u);
	vu_ring_raw(b->r, NULL, 0, 0, 1);
}
static void all_readable(struct bench *b)
{
	second(b, desc(b->buf, 64, 0, 0));
}
static void all_writable(struct bench *b)
{
	one(b, desc(b->buf, 64, VU_WRITE, 0));
}
static void one_writable_byte(struct bench *b)
{
	second(b, desc(b->buf, 1, VU_WRITE, 0));
}
static void in_single_bytes(struct bench *b)
{
	for (unsigned i = 0; i < 24; i++)
		b->r->d[i] = desc(b->buf + i, 1, (i < 23 ? VU_NEXT : 0) | (i < 16 ? 0 : VU_WRITE), i + 1);
	vu_ring_raw(b->r, NULL, 0, 0, 1);
}
static void same_buffer_twice(struct bench *b)
{
	struct vu_desc t[3] = { desc(b->buf, 16, VU_NEXT, 1), desc(b->buf, 64, VU_NEXT | VU_WRITE, 2),
				desc(b->buf, 64, VU_WRITE, 0) };

	vu_ring_raw(b->r, t, 3, 0, 1);
}
static void into_the_descriptors(struct bench *b)
{
	second(b, desc(b->r->desc_gpa, 64, VU_WRITE, 0));
}
static void into_the_available_ring(struct bench *b)
{
	second(b, desc(b->r->avail_gpa, 64, VU_WRITE, 0));
}
static void into_the_used_ring(struct bench *b)
{
	second(b, desc(b->r->used_gpa, 64, VU_WRITE, 0));
}
static void odd_flags(struct bench *b)
{
	second(b, desc(b->buf, 64, VU_WRITE | 0xfff8, 0));
}
static void packed_layout(struct bench *b)
{
	/* id 5, AVAIL and USED bits of a packed ring */
	second(b, desc(b->buf, 64, VU_WRITE | 0x80 | 0x8000, 5));
}

/* --- indices of the rings -------------------------------------------------------------------------------------------------------------------- */

static void same_head_often(struct bench *b)
{
	struct vu_desc t[2] = { desc(b->buf, 16, VU_NEXT, 1), desc(b->buf + 4096, 513, VU_WRITE, 0) };

	vu_ring_raw(b->r, t, 2, 0, 64);
}
static void full_of_one_head(struct bench *b)
{
	struct vu_desc t[2] = { desc(b->buf, 16, VU_NEXT, 1), desc(b->buf + 4096, 513, VU_WRITE, 0) };

	vu_ring_raw(b->r, t, 2, 0, b->r->size);
}
static void jump(struct bench *b, unsigned by)
{
	struct vu_desc t[2] = { desc(b->buf, 16, VU_NEXT, 1), desc(b->buf + 4096, 513, VU_WRITE, 0) };

	b->r->avail_idx = (uint16_t)(b->r->avail_idx + by - 1);
	vu_ring_raw(b->r, t, 2, 0, 1);
}
static void one_too_many(struct bench *b)
{
	jump(b, b->r->size + 1u);
}
static void jump_half_way(struct bench *b)
{
	jump(b, 0x8000);
}
static void one_backwards(struct bench *b)
{
	jump(b, 0xffff);
}
static void kick_for_nothing(struct bench *b)
{
	uint64_t n = 1000;

	(void)!write(b->r->kick, &n, sizeof(n));
}
static void used_rewritten(struct bench *b)
{
	b->r->used[0] = 0xffff;
	b->r->used[1] = 0x1234;
	b->r->used[2 + 4 * b->r->size] = 0x4321;
	all_writable(b);
}
static void odd_events(struct bench *b)
{
	b->r->avail[0] = 0xffff;
	b->r->avail[2 + b->r->size] = 0x8001;
	same_head_often(b);
}

/* BROKEN: there is no way to go on, a reset must be asked for. ODD: the device may make something of it. */
enum verdict { ODD, BROKEN };

static const struct chain_case {
	const char *name;
	void (*make)(struct bench *b);
	enum verdict verdict;
} cases[] = {
#define C(fn, verdict) { #fn, fn, verdict }
	C(loop_of_one, BROKEN), C(loop_of_two, BROKEN), C(loop_of_all, BROKEN), C(loop_at_the_end, BROKEN),
	C(next_is_the_size, BROKEN), C(next_is_huge, BROKEN), C(head_is_the_size, BROKEN), C(head_is_huge, BROKEN),
	C(indirect_in_indirect, BROKEN), C(indirect_with_next, BROKEN), C(indirect_empty, BROKEN),
	C(indirect_half, BROKEN), C(indirect_one_and_a_bit, BROKEN), C(indirect_endless, BROKEN),
	C(indirect_next_outside, BROKEN), C(indirect_loop, BROKEN), C(indirect_behind_memory, BROKEN),
	C(indirect_over_the_end, BROKEN), C(indirect_wraps, BROKEN), C(indirect_in_the_ring, ODD), C(indirect_long, ODD),
	C(behind_memory, BROKEN), C(over_the_end, BROKEN), C(over_the_end_readable, BROKEN), C(wraps, BROKEN),
	C(wraps_to_zero, BROKEN), C(longest, BROKEN), C(half_of_all, BROKEN), C(sum_over_32_bits, BROKEN),
	C(readable_behind_writable, BROKEN), C(empty_first, ODD), C(empty_middle, ODD), C(empty_last, ODD),
	C(empty_at_nowhere, ODD), C(all_empty, ODD), C(all_readable, ODD), C(all_writable, ODD), C(one_writable_byte, ODD),
	C(in_single_bytes, ODD), C(same_buffer_twice, ODD), C(into_the_descriptors, ODD), C(into_the_available_ring, ODD),
	C(into_the_used_ring, ODD), C(odd_flags, ODD), C(packed_layout, ODD), C(same_head_often, ODD),
	C(full_of_one_head, ODD), C(one_too_many, BROKEN), C(jump_half_way, BROKEN), C(one_backwards, BROKEN),
	C(kick_for_nothing, ODD), C(used_rewritten, ODD), C(odd_events, ODD),
#undef C
};

/* --- running them ------------------------------------------------------------------------------------------------------------------------------ */

static bool bench_init(struct bench *b, const struct vu_hostile *h, struct vu *v)
{
	*b = (struct bench){ .v = v, .r = v->ring[h->queue], .end = v->region[0].gpa + v->region[0].size };
	b->buf = vu_alloc(v, BUFFER, 4096);
	b->table = vu_alloc(v, 16 * TABLE_ENTRIES, 4096);
	return b->buf != 0 && b->table != 0;
}

static void fill_buffer(const struct bench *b, const struct vu_hostile *h)
{
	uint8_t *p = vu_ptr(b->v, b->buf, BUFFER);

	memset(p, 0, BUFFER);
	if (h->head != NULL)
		memcpy(p, h->head, h->head_len);
}

static bool recovers(const struct vu_hostile *h, struct vu *v, const char *what)
{
	WANT(vu_proc_alive(v), "%s: it died", what);
	WANT(vu_reset(v) == 0, "%s: no reset afterwards", what);
	WANT(h->good(v), "%s: not served afterwards", what);
	return true;
}

static bool run_case(const struct vu_hostile *h, struct bench *b, const struct chain_case *c)
{
	fill_buffer(b, h);
	(void)vu_needs_reset(b->v, 0);
	c->make(b);
	bool asked = vu_needs_reset(b->v, c->verdict == BROKEN ? MUST_MS : SETTLE_MS);

	WANT(c->verdict == ODD || asked, "%s: no reset was asked for", c->name);
	return recovers(h, b->v, c->name);
}

bool vu_hostile_chains(const struct vu_hostile *h)
{
	struct vu *v = vu_new(&h->cfg);
	struct bench b;
	bool good = true;

	WANT(v != NULL && bench_init(&b, h, v) && h->good(v), "no device to begin with");
	for (unsigned i = 0; i < nitems(cases) && (good || vu_proc_alive(v)); i++)
		good = run_case(h, &b, &cases[i]) && good;
	if (!good)
		vu_proc_text(v);
	return vu_free(v) && good;
}

/* --- by chance ----------------------------------------------------------------------------------------------------------------------------------- */

static struct vu_desc random_desc(const struct bench *b, uint32_t *s)
{
	static const unsigned flags[] = { 0, VU_NEXT, VU_NEXT, VU_WRITE, VU_WRITE | VU_NEXT, VU_INDIRECT, VU_INDIRECT | VU_NEXT };
	static const uint32_t lens[] = { 0, 1, 15, 16, 17, 512, 513, 4096, 0x7fffffff, 0xffffffff };
	const uint64_t addrs[] = { b->buf, b->buf, b->buf + 4096, b->table, b->end - 1, b->end, 0, UINT64_MAX, b->r->desc_gpa };

	return desc(addrs[vu_random(s) % nitems(addrs)], lens[vu_random(s) % nitems(lens)], flags[vu_random(s) % nitems(flags)],
		    vu_random(s) % 16 == 0 ? vu_random(s) : vu_random(s) % 6);
}

bool vu_hostile_random_chains(const struct vu_hostile *h, unsigned seed, unsigned n)
{
	struct vu *v = vu_new(&h->cfg);
	uint32_t s = seed * 2654435761u + 1;
	struct bench b;

	WANT(v != NULL && bench_init(&b, h, v), "no device to begin with");
	struct vu_desc *table = vu_ptr(v, b.table, 16 * TABLE_ENTRIES);

	for (unsigned i = 0; i < n; i++) {
		struct vu_desc d[6];

		fill_buffer(&b, h);
		for (unsigned k = 0; k < nitems(d); k++) {
			d[k] = random_desc(&b, &s);
			table[k] = random_desc(&b, &s);
		}
		vu_ring_raw(b.r, d, nitems(d), (uint16_t)(vu_random(&s) % nitems(d)), 1);
		if (i % 8 != 7)
			continue; /* several at once */
		(void)vu_needs_reset(v, 1);
		WANT(vu_proc_alive(v), "seed %u, chain %u: it died", seed, i);
		WANT(vu_reset(v) == 0, "seed %u, chain %u: no reset", seed, i);
		WANT(i % 64 != 63 || h->good(v), "seed %u, chain %u: not served afterwards", seed, i);
	}
	bool good = recovers(h, v, "at the end");

	return vu_free(v) && good;
}

/* --- while it looks -------------------------------------------------------------------------------------------------------------------------------- */

struct flipper {
	struct bench *b;
	_Atomic bool stop;
};

static void *flip(void *arg)
{
	struct flipper *f = arg;
	struct bench *b = f->b;
	uint32_t s = 7;

	while (!atomic_load(&f->stop)) {
		for (unsigned i = 0; i < 4; i++) {
			volatile struct vu_desc *d = &b->r->d[i];

			d->addr = vu_random(&s) % 2 == 0 ? b->buf : b->end - 1;
			d->len = vu_random(&s) % 2 == 0 ? 16 : 0xffffffff;
			d->flags = (uint16_t)(vu_random(&s) % 8);
			d->next = (uint16_t)(vu_random(&s) % 5);
			d->addr = b->buf;
			d->len = 16;
			d->flags = i < 2 ? VU_NEXT : VU_WRITE;
			d->next = (uint16_t)(i + 1);
		}
	}
	return NULL;
}

bool vu_hostile_flipper(const struct vu_hostile *h, unsigned ms)
{
	struct vu *v = vu_new(&h->cfg);
	struct bench b;
	pthread_t t;
	unsigned resets = 0;

	WANT(v != NULL && bench_init(&b, h, v), "no device to begin with");
	fill_buffer(&b, h);
	struct flipper f = { .b = &b };

	WANT(pthread_create(&t, NULL, flip, &f) == 0, "no thread");
	struct timespec from, now;

	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	for (now = from; (now.tv_sec - from.tv_sec) * 1000 + (now.tv_nsec - from.tv_nsec) / 1000000 < (long)ms;
	     (void)clock_gettime(CLOCK_MONOTONIC, &now)) {
		vu_ring_raw(b.r, NULL, 0, (uint16_t)(resets % 4), 1);
		if (!vu_needs_reset(v, 0) && vu_ring_in_flight(b.r) < b.r->size / 2)
			continue;
		resets++;
		if (!vu_proc_alive(v) || vu_reset(v) < 0)
			break;
	}
	atomic_store(&f.stop, true);
	(void)pthread_join(t, NULL);
	WANT(resets > 0, "the ring was never broken");
	bool good = recovers(h, v, "flipped descriptors");

	return vu_free(v) && good;
}

bool vu_hostile_resets(const struct vu_hostile *h, unsigned n)
{
	struct vu *v = vu_new(&h->cfg);
	struct bench b;

	WANT(v != NULL && bench_init(&b, h, v), "no device to begin with");
	for (unsigned i = 0; i < n; i++) {
		fill_buffer(&b, h);
		for (unsigned k = 0; k < i % 8; k++)
			(void)vu_ring_add(b.r, &(struct vu_buf){ b.buf, 16 }, 1, &(struct vu_buf){ b.buf + 4096, 513 }, 1, k);
		vu_ring_kick(b.r);
		for (volatile unsigned spin = 0; spin < i * 37 % 5000; spin++)
			;
		WANT(vu_reset(v) == 0, "reset %u", i);
		WANT(i % 50 != 49 || h->good(v), "after reset %u", i);
	}
	bool good = recovers(h, v, "at the end");

	return vu_free(v) && good;
}

/* --- log ----------------------------------------------------------------------------------------------------------------------------------------- */

static unsigned lines_written(struct vu *v)
{
	static char text[LOG_BYTES_MAX];
	unsigned lines = 0;
	ssize_t n;

	if (v->cfg.mode == VU_PRESET) {
		while (recv(v->text_fd, text, sizeof(text), MSG_DONTWAIT) > 0)
			lines++;
		return lines;
	}
	n = pread(v->text_fd, text, sizeof(text), 0);
	for (ssize_t i = 0; i < n; i++)
		lines += text[i] == '\n';
	return lines;
}

bool vu_hostile_log_is_short(const struct vu_hostile *h)
{
	struct vu *v = vu_new(&h->cfg);
	struct bench b;

	WANT(v != NULL && bench_init(&b, h, v), "no device to begin with");
	(void)lines_written(v);
	for (unsigned i = 0; i < 200; i++) {
		loop_of_one(&b);
		WANT(vu_needs_reset(v, MUST_MS), "round %u: no reset was asked for", i);
		for (unsigned k = 0; k < 100; k++)
			kick_for_nothing(&b);
		WANT(vu_reset(v) == 0, "round %u: no reset", i);
	}
	unsigned lines = lines_written(v);

	WANT(lines <= LOG_LINES_MAX, "%u lines of log", lines);
	return vu_free(v);
}
