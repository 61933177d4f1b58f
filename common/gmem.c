/* SPDX-License-Identifier: ISC */
/*
 * Guest memory. The guest's other processors may change any byte at any time: what is copied is copied once, and
 * the barrier after each copy keeps the compiler from fetching the source a second time.
 */
#include "common/gmem.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "common/ovf.h"

#define gmem_barrier() __asm__ volatile("" ::: "memory")

/* Exclusive end; gmem_add() made sure that it does not wrap. */
static uint64_t region_end(const struct gmem_region *r)
{
	return r->gpa + r->size;
}

int gmem_add(struct gmem *gm, uint64_t gpa, uint64_t size, void *hva)
{
	uint64_t end;
	unsigned at = 0;

	if (size == 0 || hva == NULL || ovf_add_u64(gpa, size, &end) < 0)
		return -EINVAL;
	if (gm->n >= GMEM_REGIONS_MAX)
		return -ENOSPC;
	while (at < gm->n && gm->r[at].gpa < gpa)
		at++;
	if (at > 0 && region_end(&gm->r[at - 1]) > gpa)
		return -EINVAL;
	if (at < gm->n && gm->r[at].gpa < end)
		return -EINVAL;
	memmove(&gm->r[at + 1], &gm->r[at], (gm->n - at) * sizeof(gm->r[0]));
	gm->r[at] = (struct gmem_region){ .gpa = gpa, .size = size, .hva = hva };
	gm->n++;
	return 0;
}

/* The longest run of host memory at @gpa, at most @len bytes; *@run is 0 when @gpa is not RAM. */
static uint8_t *gmem_run(const struct gmem *gm, uint64_t gpa, uint64_t len, uint64_t *run)
{
	for (unsigned i = 0; i < gm->n; i++) {
		const struct gmem_region *r = &gm->r[i];

		if (gpa < r->gpa || gpa - r->gpa >= r->size)
			continue;
		uint64_t off = gpa - r->gpa;
		*run = len < r->size - off ? len : r->size - off;
		return (uint8_t *)r->hva + off;
	}
	*run = 0;
	return NULL;
}

int gmem_check(const struct gmem *gm, uint64_t gpa, uint64_t len)
{
	uint64_t end, run;

	if (ovf_add_u64(gpa, len, &end) < 0)
		return -EFAULT;
	for (; gpa < end; gpa += run) {
		if (gmem_run(gm, gpa, end - gpa, &run) == NULL)
			return -EFAULT;
	}
	return 0;
}

int gmem_read(const struct gmem *gm, uint64_t gpa, void *dst, size_t len)
{
	uint8_t *to = dst;
	uint64_t run;

	if (gmem_check(gm, gpa, len) < 0)
		return -EFAULT;
	for (; len > 0; len -= run, gpa += run, to += run) {
		const uint8_t *from = gmem_run(gm, gpa, len, &run);

		if (from == NULL) /* checked above: cannot be */
			return -EFAULT;
		memcpy(to, from, run);
	}
	gmem_barrier();
	return 0;
}

int gmem_write(const struct gmem *gm, uint64_t gpa, const void *src, size_t len)
{
	const uint8_t *from = src;
	uint64_t run;

	if (gmem_check(gm, gpa, len) < 0)
		return -EFAULT;
	for (; len > 0; len -= run, gpa += run, from += run) {
		uint8_t *to = gmem_run(gm, gpa, len, &run);

		if (to == NULL)
			return -EFAULT;
		memcpy(to, from, run);
	}
	gmem_barrier();
	return 0;
}

int gmem_zero(const struct gmem *gm, uint64_t gpa, uint64_t len)
{
	uint64_t run;

	if (gmem_check(gm, gpa, len) < 0)
		return -EFAULT;
	for (; len > 0; len -= run, gpa += run) {
		uint8_t *to = gmem_run(gm, gpa, len, &run);

		if (to == NULL)
			return -EFAULT;
		memset(to, 0, run);
	}
	gmem_barrier();
	return 0;
}

int gmem_iov(const struct gmem *gm, uint64_t gpa, uint64_t len, struct iovec *iov, unsigned max)
{
	unsigned n = 0;
	uint64_t run;

	if (gmem_check(gm, gpa, len) < 0)
		return -EFAULT;
	for (; len > 0; len -= run, gpa += run) {
		uint8_t *p = gmem_run(gm, gpa, len, &run);

		if (p == NULL)
			return -EFAULT;
		if (n == max)
			return -E2BIG;
		iov[n++] = (struct iovec){ .iov_base = p, .iov_len = run };
	}
	return (int)n;
}

int gmem_iov_near(const struct gmem *gm, unsigned *hint, uint64_t gpa, uint64_t len, struct iovec *iov, unsigned max)
{
	const struct gmem_region *r = &gm->r[*hint < gm->n ? *hint : 0];

	/* Subtraction on our side only: whatever wraps is out of range. */
	if (gm->n > 0 && max > 0 && gpa >= r->gpa && gpa - r->gpa < r->size && len > 0 && len <= r->size - (gpa - r->gpa)) {
		iov[0] = (struct iovec){ .iov_base = (uint8_t *)r->hva + (gpa - r->gpa), .iov_len = len };
		return 1;
	}
	for (unsigned i = 0; i < gm->n; i++) {
		if (gpa >= gm->r[i].gpa && gpa - gm->r[i].gpa < gm->r[i].size)
			*hint = i;
	}
	return gmem_iov(gm, gpa, len, iov, max);
}

int gmem_gpa_of(const struct gmem *gm, const void *p, uint64_t *gpa)
{
	for (unsigned i = 0; i < gm->n; i++) {
		uintptr_t off = (uintptr_t)p - (uintptr_t)gm->r[i].hva;

		if (off < gm->r[i].size) {
			*gpa = gm->r[i].gpa + off;
			return 0;
		}
	}
	return -EFAULT;
}

uint64_t gmem_total(const struct gmem *gm)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < gm->n; i++)
		sum += gm->r[i].size; /* disjoint ranges of a 64-bit space: no overflow */
	return sum;
}

uint64_t gmem_end(const struct gmem *gm)
{
	return gm->n > 0 ? region_end(&gm->r[gm->n - 1]) : 0;
}
