/* SPDX-License-Identifier: ISC */
#include "vmmd/arch/x86_64/regs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void pvh_entry_points_rbx_at_the_start_info(void **state)
{
	struct kvm_regs r, want = { .rip = 0x1000370, .rbx = 0x6000, .rflags = 2 };

	(void)state;
	memset(&r, 0xAA, sizeof(r));
	regs_general(&r, BOOT_PVH, 0x1000370);
	assert_memory_equal(&r, &want, sizeof(r));
}

static void bzimage_entry_points_rsi_at_the_zero_page(void **state)
{
	struct kvm_regs r, want = { .rip = 0x100000, .rsi = 0x7000, .rsp = 0x8FF0, .rflags = 2 };

	(void)state;
	memset(&r, 0xAA, sizeof(r));
	regs_general(&r, BOOT_BZIMAGE, 0x100000);
	assert_memory_equal(&r, &want, sizeof(r));
}

static void check_segment(const struct kvm_segment *s, unsigned selector, uint32_t limit,
			  unsigned type, bool code_or_data)
{
	assert_int_equal(s->selector, selector);
	assert_true(s->base == 0);
	assert_int_equal(s->limit, limit);
	assert_int_equal(s->type, type);
	assert_int_equal(s->s, code_or_data);
	assert_int_equal(s->db, code_or_data);
	assert_int_equal(s->g, code_or_data);
	assert_int_equal(s->present, 1);
	assert_int_equal(s->dpl | s->l | s->avl | s->unusable, 0);
}

static void special_registers_are_flat_protected_mode(void **state)
{
	struct kvm_sregs s;

	(void)state;
	memset(&s, 0, sizeof(s));
	s.cr0 = 0x60000010;
	s.cr4 = 0x20;
	s.apic_base = 0xFEE00900;
	s.cr8 = 5;
	regs_special(&s, false);
	assert_true(s.cr0 == 1 && s.cr4 == 0 && s.cr3 == 0 && s.efer == 0);
	assert_true(s.cr8 == 5); /* what KVM had stays */
	assert_true(s.apic_base == 0xFEE00900);
	check_segment(&s.cs, 0x08, UINT32_MAX, 0xB, true);
	check_segment(&s.ds, 0x10, UINT32_MAX, 0x3, true);
	check_segment(&s.es, 0x10, UINT32_MAX, 0x3, true);
	check_segment(&s.fs, 0x10, UINT32_MAX, 0x3, true);
	check_segment(&s.gs, 0x10, UINT32_MAX, 0x3, true);
	check_segment(&s.ss, 0x10, UINT32_MAX, 0x3, true);
	check_segment(&s.tr, 0x18, 0x67, 0xB, false);
	assert_true(s.gdt.base == 0x500 && s.gdt.limit == 31);
	assert_true(s.idt.base == 0x520 && s.idt.limit == 7);
}

static void high_apic_ids_start_in_x2apic_mode(void **state)
{
	struct kvm_sregs s = { .apic_base = 0xFEE00900 };

	(void)state;
	regs_special(&s, true);
	assert_true(s.apic_base == 0xFEE00D00);
}

static void fpu_is_as_after_finit(void **state)
{
	struct kvm_fpu f;

	(void)state;
	memset(&f, 0xAA, sizeof(f));
	regs_fpu(&f);
	assert_int_equal(f.fcw, 0x37F);
	assert_int_equal(f.mxcsr, 0x1F80);
	assert_int_equal(f.fsw | f.ftwx | f.last_opcode, 0);
}

static void msr_list_is_as_documented(void **state)
{
	static const struct {
		uint32_t index;
		uint64_t data;
	} want[] = {
		{ 0x174, 0 },      { 0x175, 0 },      { 0x176, 0 },      { 0xC0000081, 0 },
		{ 0xC0000082, 0 }, { 0xC0000083, 0 }, { 0xC0000084, 0 }, { 0xC0000102, 0 },
		{ 0x10, 0 },       { 0x1A0, 1 },      { 0x2FF, 0x806 },
	};
	struct regs_msrs m;

	(void)state;
	regs_msrs(&m);
	assert_int_equal(m.nmsrs, nitems(want));
	for (unsigned i = 0; i < nitems(want); i++) {
		assert_int_equal(m.entries[i].index, want[i].index);
		assert_true(m.entries[i].data == want[i].data);
	}
}

static void lapic_keeps_its_mask_bits(void **state)
{
	struct kvm_lapic_state l;
	uint32_t v = 0x00010000, lint0, lint1;

	(void)state;
	memset(&l, 0, sizeof(l));
	memcpy(&l.regs[0x350], &v, 4);
	v = 0x00010500;
	memcpy(&l.regs[0x360], &v, 4);
	regs_lapic(&l);
	memcpy(&lint0, &l.regs[0x350], 4);
	memcpy(&lint1, &l.regs[0x360], 4);
	assert_int_equal(lint0, 0x00010700);
	assert_int_equal(lint1, 0x00010400);
}

static void tables_are_written_where_the_registers_point(void **state)
{
	static const uint64_t want[5] = {
		0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF, 0x00008B0000000067, 0,
	};
	static uint8_t ram[0x1000];
	struct gmem gm = { 0 };

	(void)state;
	assert_int_equal(regs_write_tables(&gm), -EFAULT);
	memset(ram, 0xEE, sizeof(ram));
	assert_int_equal(gmem_add(&gm, 0, sizeof(ram), ram), 0);
	assert_int_equal(regs_write_tables(&gm), 0);
	assert_memory_equal(ram + 0x500, want, sizeof(want));
	assert_int_equal(ram[0x4FF], 0xEE);
	assert_int_equal(ram[0x528], 0xEE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pvh_entry_points_rbx_at_the_start_info),
		cmocka_unit_test(bzimage_entry_points_rsi_at_the_zero_page),
		cmocka_unit_test(special_registers_are_flat_protected_mode),
		cmocka_unit_test(high_apic_ids_start_in_x2apic_mode),
		cmocka_unit_test(fpu_is_as_after_finit),
		cmocka_unit_test(msr_list_is_as_documented),
		cmocka_unit_test(lapic_keeps_its_mask_bits),
		cmocka_unit_test(tables_are_written_where_the_registers_point),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
