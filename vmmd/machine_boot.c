/* SPDX-License-Identifier: ISC */
/* From files to the first instruction: the payload into RAM, the tables beside it, the vCPUs' registers. */
#include "vmmd/machine_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "common/units.h"
#include "vmmd/arch/x86_64/layout.h"
#include "vmmd/arch/x86_64/regs.h"
#include "vmmd/boot/firmware.h"
#include "vmmd/kvm.h"

/* --- files ---------------------------------------------------------------------------------------------------------- */

enum { LOAD_CHUNK = 16 * 1024 * 1024, LOAD_IOVECS = 2 * MEMMAP_RAM_MAX };

struct file_ctx {
	int fd;
	const struct machine_cfg *cfg;
};

/*
 * #syscalls vmmd: preadv
 */
static int read_all(int fd, struct iovec *iov, int n, uint64_t off)
{
	while (n > 0) {
		ssize_t got = preadv(fd, iov, n, (off_t)off);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -ENODATA; /* it was longer when it was opened */
		off += (uint64_t)got;
		while (n > 0 && (size_t)got >= iov->iov_len) {
			got -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n > 0) {
			iov->iov_base = (uint8_t *)iov->iov_base + got;
			iov->iov_len -= (size_t)got;
		}
	}
	return 0;
}

static int file_read_at(void *ctx, uint64_t off, void *dst, size_t len)
{
	const struct file_ctx *f = ctx;
	struct iovec iov = { dst, len };

	return read_all(f->fd, &iov, 1, off);
}

/* The kernel copies from the file straight into guest memory. */
static int file_load(void *ctx, uint64_t off, uint64_t gpa, uint64_t len)
{
	const struct file_ctx *f = ctx;

	while (len > 0) {
		struct iovec iov[LOAD_IOVECS];
		uint64_t part = len < LOAD_CHUNK ? len : LOAD_CHUNK;
		int n = gmem_iov(&f->cfg->memory->gmem, gpa, part, iov, LOAD_IOVECS);
		int r = n < 0 ? n : read_all(f->fd, iov, n, off);

		if (r < 0)
			return r;
		off += part;
		gpa += part;
		len -= part;
		f->cfg->progress(f->cfg->arg);
	}
	return 0;
}

static struct boot_image image_of(const struct machine_file *file, struct file_ctx *ctx, const struct machine_cfg *cfg)
{
	*ctx = (struct file_ctx){ .fd = file->fd, .cfg = cfg };
	return (struct boot_image){
		.size = file->size,
		.read_at = file_read_at,
		.load = file_load,
		.ctx = ctx,
	};
}

/* --- memory --------------------------------------------------------------------------------------------------------- */

static int load_initramfs(struct machine *m, struct boot_params *params, struct err *e)
{
	struct file_ctx ctx;
	struct boot_image img = image_of(&m->cfg.initramfs, &ctx, &m->cfg);

	params->initramfs_size = img.size;
	return loader_load_initramfs(&img, m->cfg.map, &m->kernel, &params->initramfs_gpa, e);
}

int boot_load(struct machine *m, struct err *e)
{
	const struct gmem *gm = &m->cfg.memory->gmem;
	const struct firmware_cfg fw = {
		.map = m->cfg.map,
		.topo = m->topo,
		.boot_vcpus = m->cfg.boot_vcpus,
		.max_vcpus = m->cfg.max_vcpus,
		.serial = m->cfg.serial,
	};
	struct boot_params params = { .map = m->cfg.map, .kernel = &m->kernel, .cmdline = m->cfg.cmdline };
	struct file_ctx ctx;
	struct boot_image img = image_of(&m->cfg.kernel, &ctx, &m->cfg);
	int r = m->cfg.cmdline != NULL ? loader_check_cmdline(m->cfg.cmdline, e) : 0;

	if (r == 0)
		r = loader_load_kernel(&img, m->cfg.map, &m->kernel, e);
	if (r == 0 && m->cfg.initramfs.fd >= 0)
		r = load_initramfs(m, &params, e);
	if (r == 0)
		r = loader_write_params(gm, &params, e);
	if (r == 0)
		r = firmware_write(gm, &fw, e);
	return r;
}

/* --- vCPUs ---------------------------------------------------------------------------------------------------------- */

/* Three lists are too large for the stack of a thread that should be small. */
struct cpuid_lists {
	struct cpuid_list supported, common, vcpu;
};

static int set_registers(struct machine *m, int fd, struct err *e)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_fpu fpu;
	struct kvm_lapic_state lapic;
	struct regs_msrs msrs;
	int r;

	regs_msrs(&msrs);
	r = kvm_set_msrs(fd, (const struct kvm_msrs *)(const void *)&msrs);
	if (r >= 0 && r != (int)msrs.nmsrs)
		return err_set(e, -ENOTSUP, "KVM refuses MSR 0x%x", msrs.entries[r].index);
	if (r < 0)
		return err_sys(e, r, "KVM_SET_MSRS");
	regs_general(&regs, m->kernel.proto, m->kernel.entry);
	r = kvm_set_regs(fd, &regs);
	if (r < 0)
		return err_sys(e, r, "KVM_SET_REGS");
	r = kvm_get_sregs(fd, &sregs);
	if (r < 0)
		return err_sys(e, r, "KVM_GET_SREGS");
	regs_special(&sregs, m->wide_ids);
	r = kvm_set_sregs(fd, &sregs);
	if (r < 0)
		return err_sys(e, r, "KVM_SET_SREGS");
	regs_fpu(&fpu);
	r = kvm_set_fpu(fd, &fpu);
	if (r < 0)
		return err_sys(e, r, "KVM_SET_FPU");
	r = kvm_get_lapic(fd, &lapic);
	if (r < 0)
		return err_sys(e, r, "KVM_GET_LAPIC");
	regs_lapic(&lapic);
	r = kvm_set_lapic(fd, &lapic);
	return r < 0 ? err_sys(e, r, "KVM_SET_LAPIC") : 0;
}

static int set_vcpu(struct machine *m, uint32_t index, const struct cpuid_cfg *cfg, struct cpuid_lists *l,
		    struct err *e)
{
	int fd = vcpus_fd(m->vcpus, index);
	int r = cpuid_vcpu(&l->common, &m->host, cfg, index, &l->vcpu, e);

	if (r == 0) {
		r = kvm_set_cpuid(fd, cpuid_kvm(&l->vcpu));
		if (r < 0)
			r = err_sys(e, r, "KVM_SET_CPUID2");
	}
	if (r == 0)
		r = set_registers(m, fd, e);
	return r < 0 ? err_wrap(e, r, "vCPU %u", index) : 0;
}

static int set_vcpus(struct machine *m, struct cpuid_lists *l, struct err *e)
{
	int khz = kvm_tsc_khz(vcpus_fd(m->vcpus, 0));
	const struct cpuid_cfg cfg = {
		.phys_bits = m->cfg.map->phys_bits,
		.nested = m->cfg.nested,
		.tsc_khz = khz > 0 ? (uint32_t)khz : 0,
		.topo = m->topo,
	};
	int r;

	l->supported.nent = CPUID_ENTRIES_MAX;
	r = kvm_supported_cpuid(m->cfg.kvm, cpuid_kvm(&l->supported));
	if (r < 0)
		return err_sys(e, r, "KVM_GET_SUPPORTED_CPUID");
	r = cpuid_common(&l->supported, &m->host, &cfg, &l->common, e);
	for (uint32_t i = 0; r == 0 && i < m->cfg.boot_vcpus; i++)
		r = set_vcpu(m, i, &cfg, l, e);
	return r;
}

int boot_set_vcpus(struct machine *m, struct err *e)
{
	struct cpuid_lists *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return err_set(e, -ENOMEM, "out of memory for CPUID");
	int r = set_vcpus(m, l, e);

	free(l);
	return r;
}
