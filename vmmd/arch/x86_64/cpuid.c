/* SPDX-License-Identifier: ISC */
/*
 * Leaves are named by their number, as the manuals do (Intel SDM vol. 2 "CPUID", AMD APM vol. 3
 * appendix E, Linux Documentation/virt/kvm/x86/cpuid.rst for 0x4000_00xx).
 */
#include "vmmd/arch/x86_64/cpuid.h"

#include <cpuid.h>
#include <stddef.h>
#include <string.h>

_Static_assert(offsetof(struct cpuid_list, entries) == offsetof(struct kvm_cpuid2, entries),
	       "KVM_SET_CPUID2");

#define BIT(n) (UINT32_C(1) << (n))

enum {
	LEAF_1_EDX_MTRR = 12,
	LEAF_1_EDX_HTT = 28,
	LEAF_1_ECX_VMX = 5,
	LEAF_1_ECX_TSC_DEADLINE = 24,
	LEAF_1_ECX_HYPERVISOR = 31,
	LEAF_7_0_EDX_AMX_BF16 = 22,
	LEAF_7_0_EDX_AMX_TILE = 24,
	LEAF_7_0_EDX_AMX_INT8 = 25,
	LEAF_7_1_EAX_AMX_FP16 = 21,
	LEAF_7_1_EDX_AMX_COMPLEX = 8,
	EXT_1_ECX_CMP_LEGACY = 1,
	EXT_1_ECX_SVM = 2,
	EXT_1_ECX_TOPOLOGY = 22,
	EXT_7_EDX_INVARIANT_TSC = 8,
	KVM_EAX_MSI_EXT_DEST_ID = 15,
	LAPIC_TIMER_KHZ = 1000000, /* KVM's bus clock: one tick a nanosecond */
	PHYS_BITS_UNKNOWN = 36,
};
#define LEAF_EXT_MAX       UINT32_C(0x80000000)
#define LEAF_EXT_1         UINT32_C(0x80000001)
#define LEAF_BRAND         UINT32_C(0x80000002)
#define LEAF_EXT_CACHE     UINT32_C(0x80000005)
#define LEAF_EXT_7         UINT32_C(0x80000007)
#define LEAF_ADDRESS_SIZES UINT32_C(0x80000008)
#define LEAF_AMD_CACHE     UINT32_C(0x8000001D)
#define LEAF_AMD_TOPOLOGY  UINT32_C(0x8000001E)
#define LEAF_KVM_MAX       UINT32_C(0x40000000)
#define LEAF_KVM_FEATURES  UINT32_C(0x40000001)
#define LEAF_KVM_TIMING    UINT32_C(0x40000010)

/* --- the host --- */

static struct cpuid_regs host_leaf(uint32_t leaf)
{
	struct cpuid_regs r;

	__cpuid_count(leaf, 0, r.eax, r.ebx, r.ecx, r.edx);
	return r;
}

static enum cpuid_vendor host_vendor(void)
{
	struct cpuid_regs r = host_leaf(0);

	if (r.ebx == signature_INTEL_ebx && r.edx == signature_INTEL_edx &&
	    r.ecx == signature_INTEL_ecx)
		return CPUID_VENDOR_INTEL;
	if (r.ebx == signature_AMD_ebx && r.edx == signature_AMD_edx && r.ecx == signature_AMD_ecx)
		return CPUID_VENDOR_AMD;
	return CPUID_VENDOR_OTHER;
}

void cpuid_host_read(struct cpuid_host *h)
{
	memset(h, 0, sizeof(*h));
	h->vendor = host_vendor();
	h->max_ext = host_leaf(LEAF_EXT_MAX).eax;
	h->phys_bits = PHYS_BITS_UNKNOWN;
	/* Without extended leaves the processor answers with its last basic one. */
	if (h->max_ext < LEAF_EXT_MAX)
		h->max_ext = 0;
	for (uint32_t i = 0; i < nitems(h->brand) && h->max_ext >= LEAF_BRAND + i; i++)
		h->brand[i] = host_leaf(LEAF_BRAND + i);
	for (uint32_t i = 0; i < nitems(h->cache) && h->max_ext >= LEAF_EXT_CACHE + i; i++)
		h->cache[i] = host_leaf(LEAF_EXT_CACHE + i);
	if (h->max_ext >= LEAF_EXT_7)
		h->invariant_tsc = (host_leaf(LEAF_EXT_7).edx & BIT(EXT_7_EDX_INVARIANT_TSC)) != 0;
	if (h->max_ext >= LEAF_ADDRESS_SIZES)
		h->phys_bits = host_leaf(LEAF_ADDRESS_SIZES).eax & 0xFF;
}

/* --- topology --- */

/* Bits of an APIC id that number the units below each level; each includes those before it. */
struct widths {
	unsigned thread, core, die;
};

static unsigned ceil_log2(uint32_t n)
{
	unsigned bits = 0;

	while (bits < 32 && (UINT64_C(1) << bits) < n)
		bits++;
	return bits;
}

static struct widths topology_widths(const struct cpuid_topology *t)
{
	struct widths w;

	w.thread = ceil_log2(t->threads);
	w.core = w.thread + ceil_log2(t->cores);
	w.die = w.core + ceil_log2(t->dies);
	return w;
}

struct cpuid_topology cpuid_topology_default(uint32_t boot_vcpus)
{
	return (struct cpuid_topology){
		.threads = 1,
		.cores = boot_vcpus,
		.dies = 1,
		.packages = 1,
		.flat = true,
	};
}

uint32_t cpuid_x2apic_id(const struct cpuid_topology *t, uint32_t index)
{
	struct widths w = topology_widths(t);

	if (t->flat)
		return index;
	uint32_t thread = index % t->threads;
	uint32_t core = index / t->threads % t->cores;
	uint32_t die = index / t->threads / t->cores % t->dies;
	uint32_t package = index / t->threads / t->cores / t->dies;

	return thread | core << w.thread | die << w.core | package << w.die;
}

/* --- lists --- */

static struct kvm_cpuid_entry2 *find(struct cpuid_list *l, uint32_t leaf, uint32_t index)
{
	for (uint32_t i = 0; i < l->nent; i++) {
		struct kvm_cpuid_entry2 *e = &l->entries[i];
		bool indexed = (e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0;

		if (e->function == leaf && (!indexed || e->index == index))
			return e;
	}
	return NULL;
}

static struct kvm_cpuid_entry2 *find_or_add(struct cpuid_list *l, uint32_t leaf, uint32_t index,
					    uint32_t flags)
{
	struct kvm_cpuid_entry2 *e = find(l, leaf, index);

	if (e != NULL || l->nent == CPUID_ENTRIES_MAX)
		return e;
	e = &l->entries[l->nent++];
	*e = (struct kvm_cpuid_entry2){ .function = leaf, .index = index, .flags = flags };
	return e;
}

static void set_regs(struct kvm_cpuid_entry2 *e, const struct cpuid_regs *r)
{
	e->eax = r->eax;
	e->ebx = r->ebx;
	e->ecx = r->ecx;
	e->edx = r->edx;
}

static void remove_leaf(struct cpuid_list *l, uint32_t leaf)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < l->nent; i++) {
		if (l->entries[i].function != leaf)
			l->entries[kept++] = l->entries[i];
	}
	l->nent = kept;
}

static int copy_list(struct cpuid_list *out, const struct cpuid_list *in, struct err *e)
{
	if (in->nent > CPUID_ENTRIES_MAX)
		return err_set(e, -E2BIG, "%u CPUID leaves are more than the %d provided for",
			       in->nent, CPUID_ENTRIES_MAX);
	memset(out, 0, sizeof(*out));
	out->nent = in->nent;
	memcpy(out->entries, in->entries, in->nent * sizeof(in->entries[0]));
	return 0;
}

static int no_room(uint32_t leaf, struct err *e)
{
	return err_set(e, -E2BIG, "no room for CPUID leaf 0x%x", leaf);
}

/* --- what all vCPUs share --- */

static int common_brand(struct cpuid_list *l, const struct cpuid_host *host, struct err *e)
{
	for (uint32_t i = 0; i < nitems(host->brand) && host->max_ext >= LEAF_BRAND + i; i++) {
		struct kvm_cpuid_entry2 *ent = find_or_add(l, LEAF_BRAND + i, 0, 0);

		if (ent == NULL)
			return no_room(LEAF_BRAND + i, e);
		set_regs(ent, &host->brand[i]);
	}
	return 0;
}

/* KVM leaves these to user space: the guest gets the host's sizes rather than none. */
static int common_cache(struct cpuid_list *l, const struct cpuid_host *host, struct err *e)
{
	for (uint32_t i = 0; i < nitems(host->cache) && host->max_ext >= LEAF_EXT_CACHE + i; i++) {
		struct kvm_cpuid_entry2 *ent = find_or_add(l, LEAF_EXT_CACHE + i, 0, 0);

		if (ent == NULL)
			return no_room(LEAF_EXT_CACHE + i, e);
		if ((ent->eax | ent->ebx | ent->ecx | ent->edx) == 0)
			set_regs(ent, &host->cache[i]);
	}
	return 0;
}

static void common_no_amx(struct cpuid_list *l)
{
	static const struct cpuid_regs none;

	for (uint32_t i = 0; i < l->nent; i++) {
		struct kvm_cpuid_entry2 *e = &l->entries[i];

		if (e->function == 7 && e->index == 0) {
			e->edx &= ~(BIT(LEAF_7_0_EDX_AMX_BF16) | BIT(LEAF_7_0_EDX_AMX_TILE) |
				    BIT(LEAF_7_0_EDX_AMX_INT8));
		} else if (e->function == 7 && e->index == 1) {
			e->eax &= ~BIT(LEAF_7_1_EAX_AMX_FP16);
			e->edx &= ~BIT(LEAF_7_1_EDX_AMX_COMPLEX);
		} else if (e->function == 0x1D || e->function == 0x1E) {
			set_regs(e, &none);
		}
	}
}

/* There is no PIT to calibrate against: the guest is told both frequencies. */
static int common_timing(struct cpuid_list *l, const struct cpuid_host *host, uint32_t tsc_khz,
			 struct err *e)
{
	struct kvm_cpuid_entry2 *max = find(l, LEAF_KVM_MAX, 0);

	if (tsc_khz == 0 || !host->invariant_tsc || max == NULL)
		return 0;
	if (max->eax < LEAF_KVM_TIMING)
		max->eax = LEAF_KVM_TIMING;
	struct kvm_cpuid_entry2 *ent = find_or_add(l, LEAF_KVM_TIMING, 0, 0);
	if (ent == NULL)
		return no_room(LEAF_KVM_TIMING, e);
	set_regs(ent, &(struct cpuid_regs){ .eax = tsc_khz, .ebx = LAPIC_TIMER_KHZ });
	return 0;
}

static void common_features(struct cpuid_list *l, const struct cpuid_cfg *cfg)
{
	struct kvm_cpuid_entry2 *ent = find(l, 1, 0);

	if (ent != NULL) {
		ent->ecx |= BIT(LEAF_1_ECX_HYPERVISOR) | BIT(LEAF_1_ECX_TSC_DEADLINE);
		ent->edx |= BIT(LEAF_1_EDX_MTRR);
	}
	ent = find(l, LEAF_ADDRESS_SIZES, 0);
	if (ent != NULL) { /* the 64-bit aperture was laid out for exactly these bits */
		ent->eax &= ~UINT32_C(0x00FF00FF);
		ent->eax |= cfg->phys_bits << 16 | cfg->phys_bits;
	}
	ent = find(l, LEAF_KVM_FEATURES, 0);
	if (ent != NULL)
		ent->eax |= BIT(KVM_EAX_MSI_EXT_DEST_ID);
}

int cpuid_common(const struct cpuid_list *supported, const struct cpuid_host *host,
		 const struct cpuid_cfg *cfg, struct cpuid_list *out, struct err *e)
{
	int r = copy_list(out, supported, e);

	if (r < 0)
		return r;
	common_features(out, cfg);
	if (!cfg->amx)
		common_no_amx(out);
	r = common_brand(out, host, e);
	if (r == 0)
		r = common_cache(out, host, e);
	if (r == 0)
		r = common_timing(out, host, cfg->tsc_khz, e);
	return r;
}

/* --- what differs from vCPU to vCPU --- */

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static void vcpu_features(struct cpuid_list *l, const struct cpuid_cfg *cfg, uint32_t id)
{
	const struct cpuid_topology *t = &cfg->topo;
	uint32_t per_package = t->threads * t->cores * t->dies;
	struct kvm_cpuid_entry2 *ent = find(l, 1, 0);

	if (ent != NULL) {
		ent->ebx = (ent->ebx & 0xFFFF) | (per_package & 0xFF) << 16 | (id & 0xFF) << 24;
		ent->edx |= BIT(LEAF_1_EDX_HTT);
		if (!cfg->nested)
			ent->ecx &= ~BIT(LEAF_1_ECX_VMX);
	}
	ent = find(l, LEAF_EXT_1, 0);
	if (ent != NULL && !cfg->nested)
		ent->ecx &= ~BIT(EXT_1_ECX_SVM);
}

/* Leaves 0xB and 0x1F are made anew: KVM gives the host's sublevels, or only the first. */
struct level {
	unsigned shift;
	uint32_t units, type; /* type: 1 thread, 2 core, 5 die, 0 ends the list */
};

static int put_levels(struct cpuid_list *l, uint32_t leaf, const struct level *levels, uint32_t n,
		      uint32_t id, struct err *e)
{
	if (find(l, leaf, 0) == NULL)
		return 0; /* a processor without this leaf */
	remove_leaf(l, leaf);
	for (uint32_t i = 0; i < n; i++) {
		struct kvm_cpuid_entry2 *ent =
			find_or_add(l, leaf, i, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);

		if (ent == NULL)
			return no_room(leaf, e);
		ent->eax = levels[i].shift;
		ent->ebx = levels[i].units & 0xFFFF;
		ent->ecx = levels[i].type << 8 | i;
		ent->edx = id;
	}
	return 0;
}

static int vcpu_levels(struct cpuid_list *l, const struct cpuid_topology *t, uint32_t id,
		       struct err *e)
{
	struct widths w = topology_widths(t);
	uint32_t cores = t->threads * t->cores, all = cores * t->dies;
	/* Leaf 0xB knows no dies: its core level is as wide as the package. */
	const struct level leaf_b[] = {
		{ w.thread, t->threads, 1 },
		{ w.die, all, 2 },
		{ 0, 0, 0 },
	};
	const struct level leaf_1f[] = {
		{ w.thread, t->threads, 1 },
		{ w.core, cores, 2 },
		{ w.die, all, 5 },
		{ 0, 0, 0 },
	};
	int r = put_levels(l, 0xB, leaf_b, nitems(leaf_b), id, e);

	return r < 0 ? r : put_levels(l, 0x1F, leaf_1f, nitems(leaf_1f), id, e);
}

/* How many ids share a cache: never more than a package of this guest has. */
static void vcpu_caches(struct cpuid_list *l, const struct cpuid_topology *t)
{
	struct widths w = topology_widths(t);
	uint32_t sharing = min_u32(BIT(min_u32(w.core, 12)) - 1, 0xFFF);
	uint32_t cores = min_u32(BIT(min_u32(w.die - w.thread, 6)) - 1, 0x3F);

	for (uint32_t i = 0; i < l->nent; i++) {
		struct kvm_cpuid_entry2 *e = &l->entries[i];

		if ((e->function != 4 && e->function != LEAF_AMD_CACHE) || (e->eax & 0x1F) == 0)
			continue;
		uint32_t ids = min_u32(e->eax >> 14 & 0xFFF, sharing);
		e->eax = (e->eax & ~UINT32_C(0x03FFC000)) | ids << 14;
		if (e->function == 4)
			e->eax = (e->eax & ~UINT32_C(0xFC000000)) | cores << 26;
	}
}

static void vcpu_amd(struct cpuid_list *l, const struct cpuid_topology *t, uint32_t id)
{
	struct widths w = topology_widths(t);
	uint32_t all = t->threads * t->cores * t->dies;
	struct kvm_cpuid_entry2 *ent = find(l, LEAF_AMD_TOPOLOGY, 0);

	if (ent != NULL) {
		ent->eax = id;
		ent->ebx = (t->threads - 1) << 8 | (id >> w.thread & 0xFF);
		ent->ecx = ((t->dies - 1) & 7) << 8 | (id >> w.core & 0xFF);
		ent->edx = 0;
	}
	ent = find(l, LEAF_EXT_1, 0);
	if (ent != NULL && t->threads * t->cores > 1)
		ent->ecx |= BIT(EXT_1_ECX_CMP_LEGACY) | BIT(EXT_1_ECX_TOPOLOGY);
	ent = find(l, LEAF_ADDRESS_SIZES, 0);
	if (ent != NULL)
		ent->ecx = all > 1 ? min_u32(w.die, 15) << 12 | min_u32(all - 1, 0xFF) : 0;
}

int cpuid_vcpu(const struct cpuid_list *common, const struct cpuid_host *host,
	       const struct cpuid_cfg *cfg, uint32_t index, struct cpuid_list *out, struct err *e)
{
	uint32_t id = cpuid_x2apic_id(&cfg->topo, index);
	int r = copy_list(out, common, e);

	if (r < 0)
		return r;
	vcpu_features(out, cfg, id);
	vcpu_caches(out, &cfg->topo);
	if (host->vendor == CPUID_VENDOR_AMD)
		vcpu_amd(out, &cfg->topo, id);
	return vcpu_levels(out, &cfg->topo, id, e);
}
