/* SPDX-License-Identifier: ISC */
/* Between chains and private memory. The iovecs were checked when the chain was popped; each byte is copied once. */
#include <errno.h>
#include <string.h>

#include "devices/common/vq_internal.h"

#define barrier() __asm__ volatile("" ::: "memory")

/* Is [@off, @off + @len) inside of @bytes? */
static bool inside(uint32_t off, uint32_t len, uint32_t bytes)
{
	return off <= bytes && len <= bytes - off;
}

int vq_chain_iov(const struct vq_chain *c, bool in, uint32_t off, uint32_t len, struct iovec *out, unsigned max)
{
	const struct iovec *iov = in ? c->iov + c->n_out : c->iov;
	unsigned count = in ? c->n_in : c->n_out, n = 0;

	if (!inside(off, len, in ? c->in_bytes : c->out_bytes))
		return -ERANGE;
	for (unsigned i = 0; i < count && len > 0; i++) {
		if (off >= iov[i].iov_len) {
			off -= (uint32_t)iov[i].iov_len;
			continue;
		}
		size_t run = iov[i].iov_len - off;
		if (run > len)
			run = len;
		if (n == max)
			return -E2BIG;
		out[n++] = (struct iovec){ .iov_base = (uint8_t *)iov[i].iov_base + off, .iov_len = run };
		len -= (uint32_t)run;
		off = 0;
	}
	return (int)n;
}

/* The piece of the chain's readable or writable part at @off, at most @len bytes; false at its end. */
static bool piece(const struct iovec *iov, unsigned n, uint32_t off, uint32_t len, struct iovec *out)
{
	for (unsigned i = 0; i < n; i++) {
		if (off < iov[i].iov_len) {
			size_t run = iov[i].iov_len - off;

			*out = (struct iovec){ .iov_base = (uint8_t *)iov[i].iov_base + off,
					       .iov_len = run < len ? run : len };
			return true;
		}
		off -= (uint32_t)iov[i].iov_len;
	}
	return false;
}

int vq_chain_read(const struct vq_chain *c, uint32_t off, void *dst, uint32_t len)
{
	uint8_t *to = dst;
	struct iovec p;

	if (!inside(off, len, c->out_bytes))
		return -ERANGE;
	for (; len > 0 && piece(c->iov, c->n_out, off, len, &p); off += (uint32_t)p.iov_len, len -= (uint32_t)p.iov_len) {
		memcpy(to, p.iov_base, p.iov_len);
		to += p.iov_len;
	}
	barrier(); /* nobody fetches the source again */
	return 0;
}

int vq_chain_write(struct vq *vq, const struct vq_chain *c, uint32_t off, const void *src, uint32_t len)
{
	const struct iovec *in = c->iov + c->n_out;
	const uint8_t *from = src;
	struct iovec p;

	if (!inside(off, len, c->in_bytes))
		return -ERANGE;
	for (; len > 0 && piece(in, c->n_in, off, len, &p); off += (uint32_t)p.iov_len, len -= (uint32_t)p.iov_len) {
		memcpy(p.iov_base, from, p.iov_len);
		dirty_log_mark_iov(vq->log, vq->gm, &p);
		from += p.iov_len;
	}
	barrier();
	return 0;
}

void vq_chain_dirty(struct vq *vq, const struct vq_chain *c, uint32_t off, uint32_t len)
{
	const struct iovec *in = c->iov + c->n_out;
	struct iovec p;

	if (!dirty_log_is_on(vq->log) || !inside(off, len, c->in_bytes))
		return;
	for (; len > 0 && piece(in, c->n_in, off, len, &p); off += (uint32_t)p.iov_len, len -= (uint32_t)p.iov_len)
		dirty_log_mark_iov(vq->log, vq->gm, &p);
}
