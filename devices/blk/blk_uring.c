/* SPDX-License-Identifier: ISC */
/*
 * The engine over io_uring.
 *
 * The ring is made disabled; then it gets its one file (the image, as registered file 0), at most one worker of
 * each kind, and the list of what it may do: read, write, fsync and fallocate, and these on registered files only.
 * Only then is it enabled. After the lock-down the filter leaves io_uring_enter, so all of this is for life: the
 * ring can do less than the calls of the other engine, and nothing to any other descriptor of this process.
 *
 * Guest memory is never registered: pages of it that the guest gives back, and gets again, would be others than
 * those that the ring knows.
 *
 * Every request has one operation under way at most and the completion queue has room for all of them, so it cannot
 * overflow.
 *
 * With direct I/O the ring holds one more registered file, the control socket (#1), which no operation names. What
 * a device was told to do goes on when the process that asked for it is gone; the kernel lets go of a ring's files
 * behind the last of it. Until then the parent's end of that socket sees no end of file: that is how the parent
 * knows that nothing of a dead helper writes to the image, or to guest memory, any more. (Everything else is done
 * by threads of the process, and ends before it.)
 */
#include "devices/blk/blk_engine.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "common/ovf.h"

enum { FILE_IMAGE, FILE_CONTROL };
enum { SQ_MAX = 1024, CQ_MAX = 65536 };

/* Which operations a ring may do, and that they must name a registered file. IOSQE_ASYNC: may wait (a retry). */
static int restrict_ring(struct io_uring *ring)
{
	static const uint8_t allowed[] = { IORING_OP_READ,  IORING_OP_WRITE, IORING_OP_READV,
					   IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE };
	struct io_uring_restriction res[nitems(allowed) + 2] = { 0 };

	for (unsigned i = 0; i < nitems(allowed); i++) {
		res[i].opcode = IORING_RESTRICTION_SQE_OP;
		res[i].sqe_op = allowed[i];
	}
	res[nitems(allowed)].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
	res[nitems(allowed)].sqe_flags = IOSQE_FIXED_FILE;
	res[nitems(allowed) + 1].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	res[nitems(allowed) + 1].sqe_flags = IOSQE_FIXED_FILE | IOSQE_ASYNC;
	return io_uring_register_restrictions(ring, res, nitems(res));
}

static int make_ring(struct io_uring *ring, const int *files, unsigned n_files, unsigned depth)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_COOP_TASKRUN |
			 IORING_SETUP_TASKRUN_FLAG,
		.cq_entries = depth * 2 < CQ_MAX ? depth * 2 : CQ_MAX,
	};
	unsigned workers[2] = { 1, 1 };
	int r = io_uring_queue_init_params(depth < SQ_MAX ? depth : SQ_MAX, ring, &p);

	if (r < 0)
		return r;
	r = io_uring_register_iowq_max_workers(ring, workers);
	if (r >= 0)
		r = io_uring_register_files(ring, files, n_files);
	if (r >= 0)
		r = restrict_ring(ring);
	if (r >= 0)
		r = io_uring_enable_rings(ring);
	if (r < 0)
		io_uring_queue_exit(ring);
	return r < 0 ? r : 0;
}

/* --- operations ----------------------------------------------------------------------------------------------- */

/* liburing's calls, made by its own code:
 * #syscalls blk_uring: io_uring_enter(fd>=EVENTS)
 * #syscalls blk_alone: io_uring_enter
 */
static bool hand_over(struct blk_engine *g)
{
	while (g->begun > 0) {
		int n = io_uring_submit(g->ring);

		if (n == -EINTR)
			continue;
		/* Out of memory, or completions wait to be taken: the entries stay in the ring. */
		if (n <= 0)
			return false;
		g->begun -= (unsigned)n <= g->begun ? (unsigned)n : g->begun;
	}
	return true;
}

static void fill(struct io_uring_sqe *sqe, struct blk_io *io)
{
	switch (io->op) {
	case BLK_IO_READ:
		if (io->n_iov == 1)
			io_uring_prep_read(sqe, FILE_IMAGE, io->iov->iov_base, (unsigned)io->iov->iov_len, io->off);
		else
			io_uring_prep_readv(sqe, FILE_IMAGE, io->iov, io->n_iov, io->off);
		break;
	case BLK_IO_WRITE:
		if (io->n_iov == 1)
			io_uring_prep_write(sqe, FILE_IMAGE, io->iov->iov_base, (unsigned)io->iov->iov_len, io->off);
		else
			io_uring_prep_writev(sqe, FILE_IMAGE, io->iov, io->n_iov, io->off);
		break;
	case BLK_IO_SYNC:
		io_uring_prep_fsync(sqe, FILE_IMAGE, IORING_FSYNC_DATASYNC);
		break;
	case BLK_IO_PUNCH:
	case BLK_IO_ZERO:
	case BLK_IO_DISCARD:
		io_uring_prep_fallocate(sqe, FILE_IMAGE, blk_io_fallocate_mode(io->op), (off_t)io->off, (off_t)io->len);
		break;
	}
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE | (io->may_block ? IOSQE_ASYNC : 0u));
	io_uring_sqe_set_data(sqe, io);
}

/* To the ring's memory. False: the kernel does not take what lies there. */
static bool enqueue(struct blk_engine *g, struct blk_io *io)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(g->ring);

	if (sqe == NULL && hand_over(g))
		sqe = io_uring_get_sqe(g->ring);
	if (sqe == NULL)
		return false;
	fill(sqe, io);
	g->begun++;
	return true;
}

/* A read that comes alone, of what is in the page cache, is faster without a detour through the ring: 0.4 us of
 * 2.2, measured.
 * #syscalls blk_uring blk_alone: preadv2(fd=IMAGE)
 */
static bool read_inline(struct blk_engine *g, struct blk_io *io)
{
	ssize_t n = preadv2(g->fd, io->iov, (int)io->n_iov, (off_t)io->off, RWF_NOWAIT);

	if (n > 0) {
		io->res = n;
		g->inlined = io;
		return true;
	}
	g->no_inline = n < 0 && errno == EOPNOTSUPP;
	return false;
}

static bool uring_submit(struct blk_engine *g)
{
	struct blk_io *io = g->held;

	if (io != NULL && (g->inlined != NULL || !read_inline(g, io)) && !enqueue(g, io))
		return false;
	g->held = NULL;
	return hand_over(g);
}

static bool uring_begin(struct blk_engine *g, struct blk_io *io)
{
	if (io->op == BLK_IO_DISCARD) {
		io->res = blk_discard_device(g->fd, io->off, io->len);
		return true;
	}
	if (io->op == BLK_IO_READ && g->begun == 0 && g->held == NULL && !io->may_block && !g->no_inline) {
		g->held = io;
		return false;
	}
	/* It is not alone. */
	if (g->held != NULL && enqueue(g, g->held))
		g->held = NULL;
	if (enqueue(g, io))
		return false;
	io->res = -EAGAIN;
	return true;
}

static struct blk_io *uring_reap(struct blk_engine *g)
{
	struct io_uring_cqe *cqe = NULL;
	struct blk_io *done = g->inlined;

	g->inlined = NULL;
	if (done != NULL)
		return done;
	if (io_uring_peek_cqe(g->ring, &cqe) != 0 || cqe == NULL)
		return NULL;
	struct blk_io *io = io_uring_cqe_get_data(cqe);
	io->res = cqe->res;
	io_uring_cqe_seen(g->ring, cqe);
	return io;
}

static bool uring_has_finished(struct blk_engine *g)
{
	/* Completions that wait for this thread to enter the kernel count: reaping does that. */
	return g->inlined != NULL || io_uring_cq_ready(g->ring) > 0 ||
	       (__atomic_load_n(g->ring->sq.kflags, __ATOMIC_RELAXED) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

static void uring_wait(struct blk_engine *g)
{
	struct io_uring_cqe *cqe = NULL;

	(void)io_uring_wait_cqe(g->ring, &cqe);
}

static void uring_fini(struct blk_engine *g)
{
	if (g->ring != NULL)
		io_uring_queue_exit(g->ring);
	free(g->ring);
	*g = (struct blk_engine){ .fd = -1 };
}

static const struct blk_engine_ops uring_ops = {
	.name = "io_uring",
	.begin = uring_begin,
	.submit = uring_submit,
	.reap = uring_reap,
	.has_finished = uring_has_finished,
	.wait = uring_wait,
	.fini = uring_fini,
};

int blk_uring_init(struct blk_engine *g, int fd, bool direct, int control_fd, unsigned depth, struct err *e)
{
	int files[] = { [FILE_IMAGE] = fd, [FILE_CONTROL] = control_fd };
	struct io_uring *ring = calloc(1, sizeof(*ring));

	*g = (struct blk_engine){ .fd = -1 };
	if (ring == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	int r = make_ring(ring, files, control_fd >= 0 ? 2 : 1, depth);
	if (r < 0) {
		free(ring);
		return err_sys(e, r, "io_uring");
	}
	*g = (struct blk_engine){ .ops = &uring_ops, .fd = fd, .ring = ring, .no_inline = direct };
	return 0;
}

int blk_uring_fd(const struct blk_engine *g)
{
	return g->ring != NULL ? g->ring->ring_fd : -1;
}

void blk_uring_set_fd(struct blk_engine *g, int fd)
{
	g->ring->ring_fd = fd;
	g->ring->enter_ring_fd = fd;
}
