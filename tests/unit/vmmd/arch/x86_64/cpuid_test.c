/* SPDX-License-Identifier: ISC */
#include "vmmd/arch/x86_64/cpuid.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct cpuid_host intel = {
	.vendor = CPUID_VENDOR_INTEL,
	.max_ext = 0x80000008,
	.brand = { { 1, 2, 3, 4 }, { 5, 6, 7, 8 }, { 9, 10, 11, 12 } },
	.cache = { { 21, 22, 23, 24 }, { 31, 32, 33, 34 } },
	.invariant_tsc = true,
	.phys_bits = 46,
};

static void add(struct cpuid_list *l, uint32_t leaf, int index, uint32_t eax, uint32_t ebx,
		uint32_t ecx, uint32_t edx)
{
	struct kvm_cpuid_entry2 *e = &l->entries[l->nent++];

	*e = (struct kvm_cpuid_entry2){
		.function = leaf, .eax = eax, .ebx = ebx, .ecx = ecx, .edx = edx
	};
	if (index >= 0) {
		e->index = (uint32_t)index;
		e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	}
}

static const struct kvm_cpuid_entry2 *get(const struct cpuid_list *l, uint32_t leaf, uint32_t index)
{
	const struct kvm_cpuid_entry2 *found = NULL;

	for (uint32_t i = 0; i < l->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &l->entries[i];

		if (e->function == leaf && e->index == index) {
			assert_null(found); /* no leaf twice */
			found = e;
		}
	}
	assert_non_null(found);
	return found;
}

/* Roughly what KVM supports on a large Intel host. */
static struct cpuid_list supported(void)
{
	struct cpuid_list l = { 0 };

	add(&l, 0, -1, 0x1F, 0x756E6547, 0x6C65746E, 0x49656E69);
	add(&l, 1, -1, 0x606A6, 0x00100800, 0x00000020, 0);
	add(&l, 4, 0, 0x7C004121, 0x02C0003F, 0x3F, 0);
	add(&l, 4, 1, 0xFC1FC163, 0x02C0003F, 0x3F, 0); /* shared by 128 */
	add(&l, 4, 2, 0, 0, 0, 0);
	add(&l, 7, 0, 1, 0, 0, UINT32_MAX);
	add(&l, 7, 1, UINT32_MAX, 0, 0, UINT32_MAX);
	add(&l, 0xB, 0, 1, 2, 0x100, 0x77);
	add(&l, 0xB, 1, 7, 128, 0x201, 0x77);
	add(&l, 0x1D, 0, 1, 2, 3, 4);
	add(&l, 0x1E, 0, 1, 2, 3, 4);
	add(&l, 0x1F, 0, 1, 2, 0x100, 0x77);
	add(&l, 0x40000000, -1, 0x40000001, 0x4B4D564B, 0x564B4D56, 0x4D);
	add(&l, 0x40000001, -1, 0x01007EFB, 0, 0, 0);
	add(&l, 0x80000000, -1, 0x80000008, 0, 0, 0);
	add(&l, 0x80000001, -1, 0, 0, 0x4, 0);
	add(&l, 0x80000005, -1, 0, 0, 0, 0);
	add(&l, 0x80000006, -1, 0, 0, 0x01006040, 0);
	add(&l, 0x80000008, -1, 0x00003934, 0, 0x5555, 0);
	return l;
}

static struct cpuid_cfg cfg_of(uint32_t vcpus)
{
	return (struct cpuid_cfg){
		.phys_bits = 40,
		.nested = true,
		.tsc_khz = 2100000,
		.topo = cpuid_topology_default(vcpus),
	};
}

static void common_list_sets_what_the_platform_needs(void **state)
{
	const struct cpuid_list in = supported();
	const struct cpuid_cfg cfg = cfg_of(2);
	struct cpuid_list out;

	(void)state;
	assert_int_equal(cpuid_common(&in, &intel, &cfg, &out, NULL), 0);
	assert_int_equal(get(&out, 1, 0)->ecx, UINT32_C(1) << 31 | 1 << 24 | 0x20);
	assert_int_equal(get(&out, 1, 0)->edx, 1 << 12);
	assert_int_equal(get(&out, 0x40000001, 0)->eax, 0x0100FEFB);
	assert_int_equal(get(&out, 0x80000008, 0)->eax, 0x00283928);
	assert_int_equal(get(&out, 0x40000010, 0)->eax, 2100000);
	assert_int_equal(get(&out, 0x40000010, 0)->ebx, 1000000);
	assert_int_equal(get(&out, 0x40000000, 0)->eax, 0x40000010);
}

static void common_list_has_the_hosts_brand_and_missing_cache_leaves(void **state)
{
	const struct cpuid_list in = supported();
	const struct cpuid_cfg cfg = cfg_of(2);
	struct cpuid_list out;

	(void)state;
	assert_int_equal(cpuid_common(&in, &intel, &cfg, &out, NULL), 0);
	assert_int_equal(get(&out, 0x80000002, 0)->eax, 1);
	assert_int_equal(get(&out, 0x80000003, 0)->edx, 8);
	assert_int_equal(get(&out, 0x80000004, 0)->ecx, 11);
	assert_int_equal(get(&out, 0x80000005, 0)->ebx, 22);         /* KVM had nothing */
	assert_int_equal(get(&out, 0x80000006, 0)->ecx, 0x01006040); /* KVM had something */
}

static void amx_is_hidden_unless_asked_for(void **state)
{
	const struct cpuid_list in = supported();
	struct cpuid_cfg cfg = cfg_of(1);
	struct cpuid_list out;

	(void)state;
	assert_int_equal(cpuid_common(&in, &intel, &cfg, &out, NULL), 0);
	assert_int_equal(get(&out, 7, 0)->edx, ~(UINT32_C(1) << 22 | 1 << 24 | 1 << 25));
	assert_int_equal(get(&out, 7, 1)->eax, ~(UINT32_C(1) << 21));
	assert_int_equal(get(&out, 7, 1)->edx, ~(UINT32_C(1) << 8));
	assert_int_equal(get(&out, 0x1D, 0)->eax | get(&out, 0x1D, 0)->edx, 0);
	assert_int_equal(get(&out, 0x1E, 0)->eax | get(&out, 0x1E, 0)->ebx, 0);
	cfg.amx = true;
	assert_int_equal(cpuid_common(&in, &intel, &cfg, &out, NULL), 0);
	assert_int_equal(get(&out, 7, 0)->edx, UINT32_MAX);
	assert_int_equal(get(&out, 0x1D, 0)->edx, 4);
}

static void timing_leaf_needs_an_invariant_tsc(void **state)
{
	const struct cpuid_list in = supported();
	struct cpuid_cfg cfg = cfg_of(1);
	struct cpuid_host host = intel;
	struct cpuid_list out;

	(void)state;
	host.invariant_tsc = false;
	assert_int_equal(cpuid_common(&in, &host, &cfg, &out, NULL), 0);
	assert_int_equal(get(&out, 0x40000000, 0)->eax, 0x40000001);
	cfg.tsc_khz = 0;
	assert_int_equal(cpuid_common(&in, &intel, &cfg, &out, NULL), 0);
	assert_int_equal(get(&out, 0x40000000, 0)->eax, 0x40000001);
}

static void vcpu_list(uint32_t vcpus, uint32_t index, struct cpuid_list *out)
{
	const struct cpuid_list in = supported();
	const struct cpuid_cfg cfg = cfg_of(vcpus);
	struct cpuid_list common;

	assert_int_equal(cpuid_common(&in, &intel, &cfg, &common, NULL), 0);
	assert_int_equal(cpuid_vcpu(&common, &intel, &cfg, index, out, NULL), 0);
}

static void a_single_vcpu_is_one_thread_of_one_core(void **state)
{
	struct cpuid_list out;

	(void)state;
	vcpu_list(1, 0, &out);
	assert_int_equal(get(&out, 1, 0)->ebx, 0x00010800);
	assert_int_equal(get(&out, 0xB, 0)->eax, 0);
	assert_int_equal(get(&out, 0xB, 0)->ebx, 1);
	assert_int_equal(get(&out, 0xB, 1)->eax, 0);
	assert_int_equal(get(&out, 0xB, 1)->ebx, 1);
}

static void vcpu_leaves_tell_its_id_and_the_topology(void **state)
{
	struct cpuid_list out;

	(void)state;
	vcpu_list(6, 5, &out);
	assert_int_equal(get(&out, 1, 0)->ebx, 0x05060800);
	assert_int_equal(get(&out, 1, 0)->edx, 1 << 28 | 1 << 12);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(get(&out, 0xB, i)->edx, 5);
	assert_int_equal(get(&out, 0xB, 0)->eax, 0);
	assert_int_equal(get(&out, 0xB, 0)->ebx, 1);
	assert_int_equal(get(&out, 0xB, 0)->ecx, 0x100);
	assert_int_equal(get(&out, 0xB, 1)->eax, 3);
	assert_int_equal(get(&out, 0xB, 1)->ebx, 6);
	assert_int_equal(get(&out, 0xB, 1)->ecx, 0x201);
	assert_int_equal(get(&out, 0xB, 2)->ebx, 0);
	assert_int_equal(get(&out, 0xB, 2)->ecx, 2);
	assert_int_equal(get(&out, 0x1F, 1)->eax, 3);
	assert_int_equal(get(&out, 0x1F, 1)->ebx, 6);
	assert_int_equal(get(&out, 0x1F, 2)->ecx, 0x502);
	assert_int_equal(get(&out, 0x1F, 2)->ebx, 6);
	assert_int_equal(get(&out, 0x1F, 3)->ebx, 0);
}

static void caches_are_shared_within_the_guest_only(void **state)
{
	struct cpuid_list out;

	(void)state;
	vcpu_list(6, 0, &out);
	assert_int_equal(get(&out, 4, 0)->eax >> 14 & 0xFFF, 1); /* the host's two threads */
	assert_int_equal(get(&out, 4, 1)->eax >> 14 & 0xFFF, 7);
	assert_int_equal(get(&out, 4, 0)->eax >> 26, 7);
	assert_int_equal(get(&out, 4, 2)->eax, 0); /* the end of the list stays one */
	vcpu_list(1, 0, &out);
	assert_int_equal(get(&out, 4, 1)->eax >> 14 & 0xFFF, 0);
	assert_int_equal(get(&out, 4, 1)->eax >> 26, 0);
}

static void nested_off_hides_vmx_and_svm(void **state)
{
	const struct cpuid_list in = supported();
	struct cpuid_cfg cfg = cfg_of(1);
	struct cpuid_list out;

	(void)state;
	assert_int_equal(cpuid_vcpu(&in, &intel, &cfg, 0, &out, NULL), 0);
	assert_int_equal(get(&out, 1, 0)->ecx & 0x20, 0x20);
	assert_int_equal(get(&out, 0x80000001, 0)->ecx & 4, 4);
	cfg.nested = false;
	assert_int_equal(cpuid_vcpu(&in, &intel, &cfg, 0, &out, NULL), 0);
	assert_int_equal(get(&out, 1, 0)->ecx & 0x20, 0);
	assert_int_equal(get(&out, 0x80000001, 0)->ecx & 4, 0);
}

static void amd_leaves_tell_ids_and_counts(void **state)
{
	struct cpuid_list in = supported(), out;
	struct cpuid_cfg cfg = cfg_of(6);
	struct cpuid_host amd = intel;

	(void)state;
	amd.vendor = CPUID_VENDOR_AMD;
	add(&in, 0x8000001D, 0, 0x00004121, 0, 0, 0);
	add(&in, 0x8000001D, 1, 0x03FFC163, 0, 0, 0);
	add(&in, 0x8000001E, -1, 1, 2, 3, 4);
	assert_int_equal(cpuid_vcpu(&in, &amd, &cfg, 5, &out, NULL), 0);
	assert_int_equal(get(&out, 0x8000001E, 0)->eax, 5);
	assert_int_equal(get(&out, 0x8000001E, 0)->ebx, 5);
	assert_int_equal(get(&out, 0x8000001E, 0)->ecx, 0);
	assert_int_equal(get(&out, 0x8000001E, 0)->edx, 0);
	assert_int_equal(get(&out, 0x80000001, 0)->ecx, 0x4 | 1 << 1 | 1 << 22);
	assert_int_equal(get(&out, 0x80000008, 0)->ecx, 3 << 12 | 5);
	assert_int_equal(get(&out, 0x8000001D, 1)->eax >> 14 & 0xFFF, 7);
	cfg.topo = cpuid_topology_default(1);
	assert_int_equal(cpuid_vcpu(&in, &amd, &cfg, 0, &out, NULL), 0);
	assert_int_equal(get(&out, 0x80000001, 0)->ecx, 0x4);
	assert_int_equal(get(&out, 0x80000008, 0)->ecx, 0);
}

static void intel_leaves_are_not_given_amds_counts(void **state)
{
	struct cpuid_list out;

	(void)state;
	vcpu_list(6, 5, &out);
	assert_int_equal(get(&out, 0x80000008, 0)->ecx, 0x5555);
	assert_int_equal(get(&out, 0x80000001, 0)->ecx, 0x4);
}

static void topology_leaves_are_not_invented(void **state)
{
	struct cpuid_list in = { 0 }, out;
	const struct cpuid_cfg cfg = cfg_of(2);

	(void)state;
	add(&in, 1, -1, 0, 0, 0, 0);
	assert_int_equal(cpuid_vcpu(&in, &intel, &cfg, 1, &out, NULL), 0);
	assert_int_equal(out.nent, 1);
}

static void ids_equal_indices_without_a_topology(void **state)
{
	struct cpuid_topology t = cpuid_topology_default(300);

	(void)state;
	for (uint32_t i = 0; i < 400; i++)
		assert_int_equal(cpuid_x2apic_id(&t, i), i);
}

static void ids_are_spread_by_the_topology(void **state)
{
	const struct cpuid_topology t = { .threads = 2, .cores = 3, .dies = 2, .packages = 2 };

	(void)state;
	assert_int_equal(cpuid_x2apic_id(&t, 0), 0);
	assert_int_equal(cpuid_x2apic_id(&t, 1), 1);
	assert_int_equal(cpuid_x2apic_id(&t, 5), 2 << 1 | 1);
	assert_int_equal(cpuid_x2apic_id(&t, 6), 1 << 3);
	assert_int_equal(cpuid_x2apic_id(&t, 11), 1 << 3 | 2 << 1 | 1);
	assert_int_equal(cpuid_x2apic_id(&t, 12), 1 << 4);
	assert_int_equal(cpuid_x2apic_id(&t, 23), 1 << 4 | 1 << 3 | 2 << 1 | 1);
}

static void a_full_list_is_refused(void **state)
{
	struct cpuid_list in = { 0 }, out;
	const struct cpuid_cfg cfg = cfg_of(2);
	struct err e = { 0 };

	(void)state;
	while (in.nent < CPUID_ENTRIES_MAX)
		add(&in, 0x0D, (int)in.nent, 0, 0, 0, 0);
	assert_int_equal(cpuid_common(&in, &intel, &cfg, &out, &e), -E2BIG);
	assert_non_null(strstr(err_text(&e, 0), "0x80000002"));
	in.nent = CPUID_ENTRIES_MAX + 1;
	assert_int_equal(cpuid_common(&in, &intel, &cfg, &out, &e), -E2BIG);
	assert_int_equal(cpuid_vcpu(&in, &intel, &cfg, 0, &out, &e), -E2BIG);
}

static void the_real_host_can_be_read(void **state)
{
	struct cpuid_host h;

	(void)state;
	cpuid_host_read(&h);
	assert_in_range(h.phys_bits, 32, 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(common_list_sets_what_the_platform_needs),
		cmocka_unit_test(common_list_has_the_hosts_brand_and_missing_cache_leaves),
		cmocka_unit_test(amx_is_hidden_unless_asked_for),
		cmocka_unit_test(timing_leaf_needs_an_invariant_tsc),
		cmocka_unit_test(a_single_vcpu_is_one_thread_of_one_core),
		cmocka_unit_test(vcpu_leaves_tell_its_id_and_the_topology),
		cmocka_unit_test(caches_are_shared_within_the_guest_only),
		cmocka_unit_test(nested_off_hides_vmx_and_svm),
		cmocka_unit_test(amd_leaves_tell_ids_and_counts),
		cmocka_unit_test(intel_leaves_are_not_given_amds_counts),
		cmocka_unit_test(topology_leaves_are_not_invented),
		cmocka_unit_test(ids_equal_indices_without_a_topology),
		cmocka_unit_test(ids_are_spread_by_the_topology),
		cmocka_unit_test(a_full_list_is_refused),
		cmocka_unit_test(the_real_host_can_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
