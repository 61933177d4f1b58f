/* SPDX-License-Identifier: ISC */
#include "vmmd/memory.h"

#include <string.h>
#include <sys/mman.h>

#include "common/log.h"
#include "common/units.h"
#include "vmmd/kvm.h"

/*
 * MAP_NORESERVE: overcommitting guests is the operator's business (limits of the cgroup). Neither is writing RAM into a
 * core file: dumps of this process are off anyway, this is the second lock.
 *
 * #syscalls vmmd: mmap madvise(DONTDUMP)
 */
static int map_run(struct memory *m, int fd, const struct memmap_ram *run, struct err *e)
{
	void *p = mmap(NULL, run->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)run->file_off);

	if (p == MAP_FAILED)
		return err_sys(e, -errno, "cannot map %llu MiB of guest RAM", (unsigned long long)(run->size / MIB));
	if (madvise(p, run->size, MADV_DONTDUMP) < 0)
		log_debug("guest RAM: MADV_DONTDUMP: %s", strerror(errno));
	int r = gmem_add(&m->gmem, run->gpa, run->size, p);

	if (r < 0) {
		(void)munmap(p, run->size);
		return err_sys(e, r, "guest RAM at 0x%llx", (unsigned long long)run->gpa);
	}
	return 0;
}

int memory_map(struct memory *m, int fd, const struct memmap *map, struct err *e)
{
	m->gmem.n = 0;
	for (unsigned i = 0; i < map->n_ram; i++) {
		int r = map_run(m, fd, &map->ram[i], e);

		if (r < 0) {
			memory_unmap(m);
			return r;
		}
	}
	return 0;
}

void memory_unmap(struct memory *m)
{
	for (unsigned i = 0; i < m->gmem.n; i++)
		(void)munmap(m->gmem.r[i].hva, m->gmem.r[i].size);
	m->gmem.n = 0;
}

int memory_set_slots(const struct memory *m, int vm, struct err *e)
{
	for (unsigned i = 0; i < m->gmem.n; i++) {
		const struct gmem_region *r = &m->gmem.r[i];
		int err = kvm_set_memory(vm, i, r->gpa, r->size, r->hva);

		if (err < 0)
			return err_sys(e, err, "KVM refuses %llu MiB of RAM at 0x%llx",
				       (unsigned long long)(r->size / MIB), (unsigned long long)r->gpa);
	}
	return 0;
}

/* A part that is given back in some ten milliseconds. */
#define CLEAR_PIECE (256 * MIB)

/*
 * A hole in the memfd is the cheapest zero, and gives the pages back to the host. A file system that cannot punch holes
 * gets its zeros written.
 *
 * #syscalls vmmd: madvise(REMOVE)
 */
static int clear_piece(const struct gmem *gm, const struct gmem_region *r, uint64_t off, uint64_t len)
{
	if (madvise((uint8_t *)r->hva + off, len, MADV_REMOVE) == 0)
		return 0;
	log_debug("guest RAM: MADV_REMOVE: %s", strerror(errno));
	return gmem_zero(gm, r->gpa + off, len);
}

int memory_clear(struct memory *m, void (*progress)(void *arg), void *arg, struct err *e)
{
	for (unsigned i = 0; i < m->gmem.n; i++) {
		const struct gmem_region *region = &m->gmem.r[i];
		uint64_t len;

		for (uint64_t off = 0; off < region->size; off += len) {
			len = region->size - off < CLEAR_PIECE ? region->size - off : CLEAR_PIECE;
			int r = clear_piece(&m->gmem, region, off, len);

			if (r < 0)
				return err_sys(e, r, "cannot clear guest RAM");
			progress(arg);
		}
	}
	return 0;
}
