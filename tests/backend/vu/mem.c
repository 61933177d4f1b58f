/* SPDX-License-Identifier: ISC */
/* Guest memory of the harness. */
#include "tests/backend/vu/vu.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/backend/vu/tests.h"

/* Nothing lies at gpa 0, so that it can mean "none". */
enum { FIRST_GPA = 4096 };

int vu_memfd(const char *name, uint64_t bytes)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		int r = -errno;

		fd_closep(&fd);
		return r;
	}
	return fd;
}

int vu_mem_init(struct vu *v)
{
	uint64_t bytes = v->cfg.ram_bytes != 0 ? v->cfg.ram_bytes : VU_RAM_DEFAULT;

	v->ram_fd = vu_memfd("ram", bytes);
	if (v->ram_fd < 0)
		return v->ram_fd;
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->ram_fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	v->ram = p;
	v->ram_bytes = bytes;
	v->n_regions = v->cfg.hole ? 2 : 1;
	v->region[0] = (struct vu_region){ .gpa = 0, .size = v->cfg.hole ? bytes / 2 : bytes, .off = 0 };
	v->region[1] = (struct vu_region){ .gpa = VU_HIGH_GPA, .size = bytes / 2, .off = bytes / 2 };
	v->next_gpa = FIRST_GPA;
	return 0;
}

void vu_mem_fini(struct vu *v)
{
	if (v->ram != NULL)
		(void)munmap(v->ram, v->ram_bytes);
	v->ram = NULL;
	fd_closep(&v->ram_fd);
}

void *vu_ptr(struct vu *v, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < v->n_regions; i++) {
		const struct vu_region *r = &v->region[i];

		if (gpa >= r->gpa && gpa - r->gpa <= r->size && len <= r->size - (gpa - r->gpa))
			return v->ram + r->off + (gpa - r->gpa);
	}
	return NULL;
}

uint64_t vu_alloc(struct vu *v, uint64_t bytes, uint64_t align)
{
	uint64_t gpa = (v->next_gpa + align - 1) / align * align;

	if (vu_ptr(v, gpa, bytes) == NULL && v->n_regions == 2 && gpa < VU_HIGH_GPA)
		gpa = VU_HIGH_GPA;
	void *p = vu_ptr(v, gpa, bytes);

	if (p == NULL) {
		vu_diag("guest memory is used up");
		return 0;
	}
	memset(p, 0, bytes);
	v->next_gpa = gpa + bytes;
	return gpa;
}

void vu_alloc_reset(struct vu *v)
{
	v->next_gpa = FIRST_GPA;
}
