/* SPDX-License-Identifier: ISC */
/* Just enough of the FUSE protocol (linux/fuse.h, version 7.31) for one file. */
#include "tests/backend/vu/fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	ROOT = 1,
	FILE_INO = 2,
	MAX_WRITE = 1 << 20,
	REQUEST_MAX = MAX_WRITE + 4096,
	MINOR = 31,
};

struct server {
	int dev, store;
	uint64_t size;
	struct vu_fuse_faults *faults;
	uint8_t *in, *out;
};

static void answer(const struct server *s, uint64_t unique, int error, const void *p, size_t len)
{
	struct fuse_out_header h = { .len = (uint32_t)(sizeof(h) + len), .error = -error, .unique = unique };
	struct iovec iov[2] = { { &h, sizeof(h) }, { (void *)(uintptr_t)p, len } };

	(void)!writev(s->dev, iov, len > 0 ? 2 : 1);
}

static struct fuse_attr attr_of(const struct server *s, uint64_t ino)
{
	struct fuse_attr a = { .ino = ino, .mode = ino == ROOT ? S_IFDIR | 0755 : S_IFREG | 0666, .nlink = 1, .blksize = 4096 };

	if (ino != ROOT) {
		a.size = s->size;
		a.blocks = s->size / 512;
	}
	return a;
}

/* Does this one fail? Its errno, 0: no. */
static int fault(struct server *s, enum vu_fuse_op op)
{
	uint32_t n = atomic_fetch_add(&s->faults->op[op].count, 1) + 1, error = atomic_load(&s->faults->op[op].error);

	if (atomic_load(&s->faults->op[op].delay_us) > 0)
		(void)usleep(atomic_load(&s->faults->op[op].delay_us));
	if (error == 0 || n < atomic_load(&s->faults->op[op].after))
		return 0;
	uint32_t times = atomic_load(&s->faults->op[op].times);

	if (times == 0)
		return 0;
	if (times != UINT32_MAX)
		atomic_store(&s->faults->op[op].times, times - 1);
	return (int)error;
}

static size_t shortened(const struct server *s, size_t n)
{
	uint32_t by = atomic_load(&s->faults->short_by);

	return by > 0 && n > by ? n - by : n;
}

static void do_read(struct server *s, const struct fuse_in_header *h, const struct fuse_read_in *r)
{
	int error = fault(s, VU_FUSE_READ);
	size_t want = shortened(s, r->size < MAX_WRITE ? r->size : MAX_WRITE);
	ssize_t n = error != 0 ? 0 : pread(s->store, s->out, want, (off_t)r->offset);

	answer(s, h->unique, n < 0 ? errno : error, s->out, n > 0 ? (size_t)n : 0);
}

static void do_write(struct server *s, const struct fuse_in_header *h, const struct fuse_write_in *w, const void *data)
{
	int error = fault(s, VU_FUSE_WRITE);
	struct fuse_write_out out = { .size = 0 };
	ssize_t n = error != 0 ? 0 : pwrite(s->store, data, shortened(s, w->size), (off_t)w->offset);

	if (n < 0)
		error = errno;
	if (error != 0) {
		answer(s, h->unique, error, NULL, 0);
		return;
	}
	if (w->offset + (uint64_t)n > s->size)
		s->size = w->offset + (uint64_t)n;
	atomic_fetch_add(&s->faults->written, (uint64_t)n);
	out.size = (uint32_t)n;
	answer(s, h->unique, 0, &out, sizeof(out));
}

static void do_setattr(struct server *s, const struct fuse_in_header *h, const struct fuse_setattr_in *in)
{
	struct fuse_attr_out out = { .attr_valid = 0 };

	if ((in->valid & FATTR_SIZE) != 0 && h->nodeid == FILE_INO) {
		s->size = in->size;
		(void)!ftruncate(s->store, (off_t)in->size);
	}
	out.attr = attr_of(s, h->nodeid);
	answer(s, h->unique, 0, &out, sizeof(out));
}

static void do_lookup(struct server *s, const struct fuse_in_header *h, const char *name)
{
	struct fuse_entry_out out = { .nodeid = FILE_INO, .generation = 1, .entry_valid = 1000 };

	out.attr = attr_of(s, FILE_INO);
	if (strcmp(name, "img") == 0)
		answer(s, h->unique, 0, &out, sizeof(out));
	else
		answer(s, h->unique, ENOENT, NULL, 0);
}

static void do_init(struct server *s, const struct fuse_in_header *h, const struct fuse_init_in *in)
{
	struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION, .minor = MINOR, .max_readahead = in->max_readahead,
				     .flags = FUSE_BIG_WRITES | FUSE_ASYNC_READ | FUSE_MAX_PAGES | FUSE_ASYNC_DIO, .max_background = 64,
				     .congestion_threshold = 48, .max_write = MAX_WRITE, .time_gran = 1, .max_pages = MAX_WRITE / 4096 };

	answer(s, h->unique, 0, &out, sizeof(out));
}

static void do_allocate(struct server *s, const struct fuse_in_header *h, const struct fuse_fallocate_in *in)
{
	int error = fault(s, VU_FUSE_ALLOCATE);

	if (error == 0 && fallocate(s->store, (int)in->mode, (off_t)in->offset, (off_t)in->length) < 0)
		error = errno;
	answer(s, h->unique, error, NULL, 0);
}

static void serve(struct server *s)
{
	const struct fuse_in_header *h = (const void *)s->in;
	const void *body = s->in + sizeof(*h);
	struct fuse_attr_out attr = { .attr_valid = 0 };
	struct fuse_open_out opened = { .fh = 1, .open_flags = h->opcode == FUSE_OPEN ? FOPEN_DIRECT_IO : 0 };
	struct fuse_statfs_out fs = { .st = { .bsize = 4096, .frsize = 4096, .namelen = 255 } };

	switch (h->opcode) {
	case FUSE_INIT:
		do_init(s, h, body);
		break;
	case FUSE_LOOKUP:
		do_lookup(s, h, body);
		break;
	case FUSE_GETATTR:
		attr.attr = attr_of(s, h->nodeid);
		answer(s, h->unique, 0, &attr, sizeof(attr));
		break;
	case FUSE_SETATTR:
		do_setattr(s, h, body);
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		answer(s, h->unique, 0, &opened, sizeof(opened));
		break;
	case FUSE_READ:
		do_read(s, h, body);
		break;
	case FUSE_WRITE:
		do_write(s, h, body, (const uint8_t *)body + sizeof(struct fuse_write_in));
		break;
	case FUSE_FSYNC:
		answer(s, h->unique, fault(s, VU_FUSE_FSYNC), NULL, 0);
		break;
	case FUSE_FALLOCATE:
		do_allocate(s, h, body);
		break;
	case FUSE_STATFS:
		answer(s, h->unique, 0, &fs, sizeof(fs));
		break;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_ACCESS:
		answer(s, h->unique, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break; /* no answer is wanted */
	default:
		answer(s, h->unique, ENOSYS, NULL, 0);
	}
}

static void __attribute__((noreturn)) server_main(struct server *s)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	s->in = malloc(REQUEST_MAX);
	s->out = malloc(MAX_WRITE);
	while (s->in != NULL && s->out != NULL) {
		ssize_t n = read(s->dev, s->in, REQUEST_MAX);

		if (n < 0 && (errno == EINTR || errno == ENOENT))
			continue;
		if (n < (ssize_t)sizeof(struct fuse_in_header))
			break;
		serve(s);
	}
	_exit(0);
}

static int mount_it(struct vu_fuse *f, int dev)
{
	char options[128];

	(void)snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", dev);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/vufuseXXXXXX");
	if (mkdtemp(f->dir) == NULL)
		return -errno;
	(void)snprintf(f->path, sizeof(f->path), "%s/img", f->dir);
	return mount("vu", f->dir, "fuse.vu", MS_NOSUID | MS_NODEV, options) < 0 ? -errno : 0;
}

int vu_fuse_start(struct vu_fuse *f, uint64_t bytes)
{
	*f = (struct vu_fuse){ .server = 0 };
	struct server s = { .dev = open("/dev/fuse", O_RDWR | O_CLOEXEC), .store = memfd_create("store", MFD_CLOEXEC), .size = bytes };
	void *p = mmap(NULL, sizeof(*f->faults), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (s.dev < 0 || s.store < 0 || p == MAP_FAILED || ftruncate(s.store, (off_t)bytes) < 0)
		return -errno;
	f->faults = s.faults = p;
	int r = mount_it(f, s.dev);

	if (r == 0) {
		f->server = fork();
		if (f->server == 0)
			server_main(&s);
	}
	(void)close(s.dev);
	(void)close(s.store);
	return r;
}

void vu_fuse_stop(struct vu_fuse *f)
{
	if (f->server > 0) {
		(void)kill(f->server, SIGKILL);
		(void)waitpid(f->server, NULL, 0);
	}
	if (f->dir[0] != '\0') {
		(void)umount2(f->dir, MNT_DETACH);
		(void)rmdir(f->dir);
	}
}

void vu_fuse_fail(struct vu_fuse *f, enum vu_fuse_op op, int error, uint32_t after, uint32_t times)
{
	atomic_store(&f->faults->op[op].error, 0);
	atomic_store(&f->faults->op[op].after, after > 0 ? atomic_load(&f->faults->op[op].count) + after : 0);
	atomic_store(&f->faults->op[op].times, times);
	atomic_store(&f->faults->op[op].error, (uint32_t)error);
}
