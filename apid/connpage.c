/* SPDX-License-Identifier: ISC */
#include "apid/connpage.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE_BYTES = 4096, PAGE_MAGIC = 0x43504731 };

struct page_slot {
	_Atomic uint32_t word; /* state, bit 8 close, from bit 16 the route */
	_Atomic uint32_t id;
};

struct page {
	_Atomic uint32_t magic;
	_Atomic uint32_t started;
	struct page_slot slots[CONN_MAX];
};
_Static_assert(sizeof(struct page) <= PAGE_BYTES, "one page");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "shared with another process");

struct connpage {
	struct page *page;
};

/* #syscalls mmap munmap -- readable and writable */
static int map(int fd, int flags, struct connpage **out)
{
	struct connpage *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return -ENOMEM;
	void *at = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (at == MAP_FAILED) {
		int r = -errno;

		free(p);
		return r;
	}
	p->page = at;
	if (atomic_load(&p->page->magic) != PAGE_MAGIC)
		connpage_clear(p);
	*out = p;
	return 0;
}

int connpage_map(int fd, struct connpage **out)
{
	return map(fd, MAP_SHARED, out);
}

int connpage_private(struct connpage **out)
{
	return map(-1, MAP_PRIVATE | MAP_ANONYMOUS, out);
}

void connpage_unmap(struct connpage *p)
{
	if (p == NULL)
		return;
	(void)munmap(p->page, PAGE_BYTES);
	free(p);
}

void connpage_clear(struct connpage *p)
{
	for (unsigned i = 0; i < CONN_MAX; i++)
		connpage_set(p, i, SLOT_FREE);
	atomic_store(&p->page->started, 0);
	atomic_store(&p->page->magic, PAGE_MAGIC);
}

void connpage_set(struct connpage *p, unsigned slot, enum slot_state state)
{
	atomic_store_explicit(&p->page->slots[slot].word, (uint32_t)state, memory_order_release);
}

void connpage_set_sent(struct connpage *p, unsigned slot, const struct slot_info *i)
{
	struct page_slot *s = &p->page->slots[slot];

	atomic_store_explicit(&s->id, i->id, memory_order_relaxed);
	atomic_store_explicit(&s->word, SLOT_SENT | (uint32_t)i->close << 8 | (i->route & 0xffff) << 16,
			      memory_order_release);
}

struct slot_info connpage_get(const struct connpage *p, unsigned slot)
{
	const struct page_slot *s = &p->page->slots[slot];
	uint32_t word = atomic_load_explicit(&s->word, memory_order_acquire);
	struct slot_info i = {
		.state = (enum slot_state)(word & 0xff),
		.id = atomic_load_explicit(&s->id, memory_order_relaxed),
		.route = word >> 16,
		.close = (word >> 8 & 1) != 0,
	};

	if ((word & 0xff) >= SLOT_STATES)
		i.state = SLOT_READING;
	return i;
}

void connpage_set_started(struct connpage *p)
{
	atomic_store(&p->page->started, 1);
}

bool connpage_started(const struct connpage *p)
{
	return atomic_load(&p->page->started) != 0;
}
