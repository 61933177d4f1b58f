/* SPDX-License-Identifier: ISC */
#include "devices/common/vu_mem.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/ovf.h"

/* File offsets in a mapping must be multiples of the file's page, which is a large one on hugetlbfs. */
static uint64_t page_of(const struct stat *st)
{
	uint64_t page = st->st_blksize > 0 ? (uint64_t)st->st_blksize : 4096;

	return is_pow2_u64(page) && page >= 4096 ? page : 4096;
}

/* #syscalls blk_alone net_alone rng_alone vconsole_alone: newfstatat mmap madvise(DONTDUMP) munmap
 * #syscalls monitor: newfstatat mmap madvise(DONTDUMP) munmap -- of a child before its own filter
 */
uint8_t *vu_mem_map_file(int fd, uint64_t off, uint64_t bytes, void **map, uint64_t *map_bytes, struct err *e)
{
	struct stat st;
	uint64_t end;

	*map = NULL;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		err_set(e, -EINVAL, "memory that is no file");
		return NULL;
	}
	if (bytes == 0 || ovf_add_u64(off, bytes, &end) < 0 || st.st_size < 0 || end > (uint64_t)st.st_size) {
		err_set(e, -ERANGE, "memory that its file of %lld bytes does not have", (long long)st.st_size);
		return NULL;
	}
	uint64_t page = page_of(&st), from = off & ~(page - 1);
	if (ovf_align_up_u64(end - from, page, map_bytes) < 0 || *map_bytes > SIZE_MAX) {
		err_set(e, -ERANGE, "memory of an impossible size");
		return NULL;
	}
	void *p = mmap(NULL, (size_t)*map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)from);
	if (p == MAP_FAILED) {
		err_sys(e, -errno, "mapping memory");
		return NULL;
	}
	(void)madvise(p, (size_t)*map_bytes, MADV_DONTDUMP);
	*map = p;
	return (uint8_t *)p + (off - from);
}

static void unmap(struct vu_slot *s)
{
	if (s->map != NULL)
		(void)munmap(s->map, (size_t)s->map_bytes);
	s->map = NULL;
}

void vu_mem_clear(struct vu_mem *m)
{
	for (unsigned i = 0; i < m->n; i++)
		unmap(&m->slot[i]);
	m->n = 0;
	m->gm.n = 0;
}

static bool overlaps(uint64_t a, uint64_t b, uint64_t a_size, uint64_t b_size)
{
	return a < b ? b - a < a_size : a - b < b_size;
}

/* Does @r make sense beside the others? */
static int check(const struct vu_mem *m, const struct vhost_user_mem_region *r, struct err *e)
{
	uint64_t end;

	if (m->n >= VU_SLOTS_MAX)
		return err_set(e, -ENOSPC, "more than %d regions", VU_SLOTS_MAX);
	if (r->size == 0 || ovf_add_u64(r->guest_addr, r->size, &end) < 0 || ovf_add_u64(r->user_addr, r->size, &end) < 0)
		return err_set(e, -EINVAL, "a region that is empty or wraps");
	for (unsigned i = 0; i < m->n; i++) {
		const struct vhost_user_mem_region *o = &m->slot[i].is;

		if (overlaps(o->guest_addr, r->guest_addr, o->size, r->size) ||
		    overlaps(o->user_addr, r->user_addr, o->size, r->size))
			return err_set(e, -EEXIST, "regions that overlap");
	}
	return 0;
}

int vu_mem_add(struct vu_mem *m, const struct vhost_user_mem_region *r, int fd, struct err *e)
{
	struct vu_slot s = { .is = *r };
	uint64_t end;
	int bad = check(m, r, e);

	if (bad < 0)
		return bad;
	if (m->ram != NULL) {
		if (ovf_add_u64(r->mmap_offset, r->size, &end) < 0 || end > m->ram_bytes)
			return err_set(e, -ERANGE, "a region outside the memory that was given");
		s.at = m->ram + r->mmap_offset;
	} else {
		s.at = vu_mem_map_file(fd, r->mmap_offset, r->size, &s.map, &s.map_bytes, e);
		if (s.at == NULL)
			return -EINVAL;
	}
	if (gmem_add(&m->gm, r->guest_addr, r->size, s.at) < 0) {
		unmap(&s);
		return err_set(e, -EINVAL, "a region that fits nowhere");
	}
	m->slot[m->n++] = s;
	return 0;
}

int vu_mem_set(struct vu_mem *m, const struct vhost_user_mem_region *r, unsigned n, const int *fds, struct err *e)
{
	vu_mem_clear(m);
	for (unsigned i = 0; i < n; i++) {
		int bad = vu_mem_add(m, &r[i], fds != NULL ? fds[i] : -1, e);

		if (bad < 0) {
			vu_mem_clear(m);
			return bad;
		}
	}
	return 0;
}

int vu_mem_remove(struct vu_mem *m, const struct vhost_user_mem_region *r, struct err *e)
{
	unsigned at = 0;

	while (at < m->n && (m->slot[at].is.guest_addr != r->guest_addr || m->slot[at].is.user_addr != r->user_addr ||
			     m->slot[at].is.size != r->size))
		at++;
	if (at == m->n)
		return err_set(e, -ENOENT, "a region that there is not");
	unmap(&m->slot[at]);
	m->n--;
	for (unsigned i = at; i < m->n; i++)
		m->slot[i] = m->slot[i + 1];
	m->gm.n = 0;
	for (unsigned i = 0; i < m->n; i++) {
		if (gmem_add(&m->gm, m->slot[i].is.guest_addr, m->slot[i].is.size, m->slot[i].at) < 0)
			return err_set(e, -EINVAL, "regions that do not fit any more"); /* they did before: cannot be */
	}
	return 0;
}

int vu_mem_from_user(const struct vu_mem *m, uint64_t user, uint64_t *gpa)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct vhost_user_mem_region *r = &m->slot[i].is;

		if (user >= r->user_addr && user - r->user_addr < r->size) {
			*gpa = r->guest_addr + (user - r->user_addr);
			return 0;
		}
	}
	return -EFAULT;
}
