/* SPDX-License-Identifier: ISC */
#include "vmmd/boot/elf.h"

#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/units.h"
#include "tests/unit/vmmd/boot/image_mem.h"

enum { FILE_SIZE = 0x3000, ENTRY = 0x1000370, PHDRS = 4 };

/* A small kernel: two segments and a note, as a Linux vmlinux has them. */
struct kernel {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[PHDRS];
	Elf64_Nhdr other;
	char other_name[8];
	uint8_t other_desc[12];
	Elf64_Nhdr pvh;
	char pvh_name[4];
	uint32_t pvh_entry;
	uint8_t rest[FILE_SIZE - 64 - PHDRS * 56 - 12 - 8 - 12 - 12 - 4 - 4];
};
_Static_assert(sizeof(struct kernel) == FILE_SIZE, "no padding");

static struct memmap map;

static void make(struct kernel *k)
{
	memset(k, 0, sizeof(*k));
	memcpy(k->eh.e_ident, ELFMAG, SELFMAG);
	k->eh.e_ident[EI_CLASS] = ELFCLASS64;
	k->eh.e_ident[EI_DATA] = ELFDATA2LSB;
	k->eh.e_type = ET_EXEC;
	k->eh.e_machine = EM_X86_64;
	k->eh.e_entry = 0x1000000;
	k->eh.e_phoff = 64;
	k->eh.e_phentsize = 56;
	k->eh.e_phnum = PHDRS;
	k->ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD,
				 .p_offset = 0x1000,
				 .p_paddr = 0x1000000,
				 .p_filesz = 0x1000,
				 .p_memsz = 0x1000 };
	k->ph[1] = (Elf64_Phdr){ .p_type = PT_LOAD,
				 .p_offset = 0x2000,
				 .p_paddr = 0x1001000,
				 .p_filesz = 0x800,
				 .p_memsz = 0x4000 };
	k->ph[2] = (Elf64_Phdr){ .p_type = PT_NOTE,
				 .p_offset = offsetof(struct kernel, other),
				 .p_filesz = 52,
				 .p_memsz = 52,
				 .p_align = 4 };
	k->ph[3] = (Elf64_Phdr){ .p_type = PT_GNU_STACK };
	k->other = (Elf64_Nhdr){ .n_namesz = 5, .n_descsz = 10, .n_type = 18 };
	memcpy(k->other_name, "Linux", 5); /* right type, wrong name */
	k->pvh = (Elf64_Nhdr){ .n_namesz = 4, .n_descsz = 4, .n_type = 18 };
	memcpy(k->pvh_name, "Xen", 4);
	k->pvh_entry = ENTRY;
}

static int setup(void **state)
{
	(void)state;
	return memmap_init(&map, 512 * MIB, 46, NULL);
}

static int load(const struct kernel *k, uint64_t size, struct boot_kernel *out, struct err *e)
{
	struct image_mem m;

	err_clear(e);
	image_mem_init(&m, &map, k, size);
	return elf_load(&m.img, &map, out, e);
}

/* Loading @k fails with @code and a reason that has @text in it, and nothing was loaded. */
static void refuse(const struct kernel *k, int code, const char *text)
{
	struct boot_kernel out;
	struct image_mem m;
	struct err e;

	err_clear(&e);
	image_mem_init(&m, &map, k, FILE_SIZE);
	assert_int_equal(elf_load(&m.img, &map, &out, &e), code);
	if (strstr(err_text(&e, 0), text) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", err_text(&e, 0), text);
	assert_int_equal(m.n_loads, 0);
}

static void good_file_is_loaded_at_its_physical_addresses(void **state)
{
	struct kernel k;
	struct boot_kernel out;
	struct image_mem m;

	(void)state;
	make(&k);
	image_mem_init(&m, &map, &k, FILE_SIZE);
	assert_int_equal(elf_load(&m.img, &map, &out, NULL), 0);
	assert_int_equal(out.proto, BOOT_PVH);
	assert_true(out.entry == ENTRY);
	assert_true(out.start == 0x1000000 && out.end == 0x1005000);
	assert_int_equal(m.n_loads, 2);
	assert_true(m.load[0].off == 0x1000 && m.load[0].gpa == 0x1000000 &&
		    m.load[0].len == 0x1000);
	assert_true(m.load[1].off == 0x2000 && m.load[1].gpa == 0x1001000 &&
		    m.load[1].len == 0x800);
}

static void header_lies_are_named(void **state)
{
	struct kernel k;

	(void)state;
	make(&k);
	k.eh.e_ident[EI_CLASS] = ELFCLASS32;
	refuse(&k, -ENOEXEC, "not 64-bit");
	make(&k);
	k.eh.e_ident[EI_DATA] = ELFDATA2MSB;
	refuse(&k, -ENOEXEC, "not little endian");
	make(&k);
	k.eh.e_phentsize = 32;
	refuse(&k, -ENOEXEC, "32 bytes instead of 56");
	make(&k);
	k.eh.e_phoff = 63;
	refuse(&k, -ENOEXEC, "inside the file header");
	make(&k);
	k.eh.e_entry = 0xFFFFF;
	refuse(&k, -ENOEXEC, "entry point 0xfffff is below 1 MiB");
	make(&k);
	k.eh.e_phnum = 0;
	refuse(&k, -ENOEXEC, "no program headers");
	make(&k);
	k.eh.e_phnum = 0xFFFF;
	refuse(&k, -ENOEXEC, "65535 program headers");
	make(&k);
	k.eh.e_phoff = FILE_SIZE - 1;
	refuse(&k, -ENOEXEC, "beyond the end of the file");
	make(&k);
	k.eh.e_phoff = UINT64_MAX - 55;
	refuse(&k, -ENOEXEC, "beyond the end of the file");
}

static void segment_lies_are_named(void **state)
{
	struct kernel k;

	(void)state;
	make(&k);
	k.ph[0].p_memsz = 0xFFF;
	refuse(&k, -ENOEXEC, "more bytes in the file");
	make(&k);
	k.ph[0].p_offset = FILE_SIZE;
	refuse(&k, -ENOEXEC, "segment 0");
	make(&k);
	k.ph[0].p_offset = UINT64_MAX;
	refuse(&k, -ENOEXEC, "beyond the end of the file");
	make(&k);
	k.ph[1].p_memsz = UINT64_MAX;
	refuse(&k, -ENOEXEC, "wraps around");
	make(&k);
	k.ph[1].p_memsz = 0x20000000;
	refuse(&k, -ENOSPC, "does not fit into guest RAM");
	make(&k);
	k.ph[1].p_paddr = 0xF0000000;
	refuse(&k, -ENOSPC, "does not fit into guest RAM");
	make(&k);
	k.ph[1].p_paddr = 0xFFFFF;
	refuse(&k, -ENOEXEC, "below 1 MiB");
	make(&k);
	k.ph[1].p_paddr = 0;
	refuse(&k, -ENOEXEC, "below 1 MiB");
	make(&k);
	k.ph[1].p_paddr = 0x1000FFF;
	refuse(&k, -ENOEXEC, "segments 0 and 1 overlap");
	make(&k);
	k.ph[1].p_paddr = 0x1000000;
	refuse(&k, -ENOEXEC, "segments 0 and 1 overlap");
	make(&k);
	k.ph[0].p_type = k.ph[1].p_type = PT_NULL;
	refuse(&k, -ENOEXEC, "nothing to load");
}

static void segments_that_repeat_the_file_are_refused(void **state)
{
	struct kernel k;

	(void)state;
	make(&k);
	k.ph[0].p_offset = k.ph[1].p_offset = 0;
	k.ph[0].p_filesz = k.ph[0].p_memsz = FILE_SIZE;
	k.ph[1].p_filesz = k.ph[1].p_memsz = FILE_SIZE;
	k.ph[1].p_paddr = 0x2000000;
	refuse(&k, -ENOEXEC, "add up to more than the file");
}

static void note_lies_are_named(void **state)
{
	struct kernel k;

	(void)state;
	make(&k);
	k.ph[2].p_type = PT_NULL;
	refuse(&k, -ENOEXEC, "no PVH entry point");
	make(&k);
	k.pvh.n_type = 17;
	refuse(&k, -ENOEXEC, "no PVH entry point");
	make(&k);
	k.pvh.n_descsz = 3;
	refuse(&k, -ENOEXEC, "no PVH entry point");
	make(&k);
	k.ph[2].p_filesz = 0;
	refuse(&k, -ENOEXEC, "no PVH entry point");
	make(&k);
	k.other.n_namesz = UINT32_MAX;
	refuse(&k, -ENOEXEC, "damaged");
	make(&k);
	k.other.n_descsz = UINT32_MAX;
	refuse(&k, -ENOEXEC, "damaged");
	make(&k);
	k.ph[2].p_offset = FILE_SIZE - 51;
	refuse(&k, -ENOEXEC, "segment 2");
	make(&k);
	k.ph[2].p_align = 12;
	refuse(&k, -ENOEXEC, "aligned");
	make(&k);
	k.ph[2].p_align = UINT64_C(1) << 63;
	refuse(&k, -ENOEXEC, "aligned");
}

static void entry_outside_of_the_segments_is_refused(void **state)
{
	struct kernel k;

	(void)state;
	make(&k);
	k.pvh_entry = 0xFFFFFF;
	refuse(&k, -ENOEXEC, "outside of all segments");
	k.pvh_entry = 0x1005000;
	refuse(&k, -ENOEXEC, "outside of all segments");
	k.pvh_entry = 0;
	refuse(&k, -ENOEXEC, "outside of all segments");
}

static void unaligned_notes_count_as_aligned_to_4(void **state)
{
	struct kernel k;
	struct boot_kernel out;
	struct err e;

	(void)state;
	for (uint64_t align = 0; align < 4; align++) {
		make(&k);
		k.ph[2].p_align = align;
		assert_int_equal(load(&k, FILE_SIZE, &out, &e), 0);
	}
}

static void every_truncation_is_refused(void **state)
{
	struct kernel k;
	struct boot_kernel out;
	struct err e;

	(void)state;
	make(&k);
	for (uint64_t size = 4; size < 0x2800; size++) {
		assert_int_equal(load(&k, size, &out, &e), -ENOEXEC);
		assert_true(err_count(&e) > 0);
	}
	assert_int_equal(load(&k, 0x2800, &out, &e), 0);
}

static void failing_callbacks_are_passed_on(void **state)
{
	struct kernel k;
	struct boot_kernel out;
	struct image_mem m;
	struct err e;

	(void)state;
	make(&k);
	err_clear(&e);
	image_mem_init(&m, &map, &k, FILE_SIZE);
	m.fail_read = -EIO;
	assert_int_equal(elf_load(&m.img, &map, &out, &e), -EIO);
	err_clear(&e);
	image_mem_init(&m, &map, &k, FILE_SIZE);
	m.fail_load = -EIO;
	assert_int_equal(elf_load(&m.img, &map, &out, &e), -EIO);
	assert_non_null(strstr(err_text(&e, 0), "segment 0"));
}

/* Each number in the headers and notes at each extreme, alone and in pairs with its neighbour: some
 * hundred thousand files, each of which must be loaded within its bounds (image_mem.h checks them)
 * or refused with a reason. */
static void every_field_at_every_extreme_is_survived(void **state)
{
	static const uint64_t extremes[] = {
		0,
		1,
		2,
		3,
		4,
		7,
		8,
		63,
		64,
		0x7F,
		0xFF,
		0xFFF,
		0x1000,
		0xFFFF,
		0xFFFFF,
		0x100000,
		0x1FFFFFFF,
		0x20000000,
		0x7FFFFFFF,
		0x80000000,
		0xBFFFFFFF,
		0xFFFFFFFF,
		0x100000000,
		UINT64_MAX / 2,
		UINT64_MAX / 2 + 1,
		UINT64_MAX - 0xFFF,
		UINT64_MAX - 1,
		UINT64_MAX,
	};
	enum { HEADERS = offsetof(struct kernel, rest), WIDTHS = 4 };
	struct kernel good, k;
	struct boot_kernel out;
	struct err e;
	struct timespec start, end;
	unsigned files = 0;

	(void)state;
	make(&good);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
	for (size_t at = 4; at < HEADERS; at += 2) {
		for (unsigned w = 0; w < WIDTHS; w++) {
			size_t width = (size_t)1 << w;

			for (unsigned i = 0; i < nitems(extremes) && at + width <= HEADERS; i++) {
				k = good;
				memcpy((uint8_t *)&k + at, &extremes[i], width);
				int r = load(&k, FILE_SIZE, &out, &e);
				assert_true(r == 0 || err_count(&e) > 0);
				files++;
			}
		}
	}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	assert_true(files > 500);
	assert_true(end.tv_sec - start.tv_sec < 30);
}

/* The most a file can ask for: as many headers as are read, all of them segments or notes. */
static void the_largest_headers_take_no_second(void **state)
{
	enum { N = 512, SIZE = 64 + N * 56 + (1 << 20) };
	struct boot_kernel out;
	struct image_mem m;
	struct err e;
	struct timespec start, end;
	uint8_t *file = calloc(1, SIZE);
	struct kernel k;

	(void)state;
	assert_non_null(file);
	make(&k);
	k.eh.e_phnum = N;
	memcpy(file, &k.eh, sizeof(k.eh));
	for (unsigned i = 0; i < N; i++) {
		Elf64_Phdr ph = { .p_type = i < 64 ? PT_LOAD : PT_NOTE,
				  .p_offset = SIZE - (1 << 20),
				  .p_align = 4 };

		/* 448 notes below 1 MiB together */
		ph.p_filesz = ph.p_memsz = i < 64 ? 1 << 10 : 2340;
		ph.p_paddr = 0x1000000 + i * 0x1000;
		memcpy(file + 64 + i * 56, &ph, sizeof(ph));
	}
	err_clear(&e);
	image_mem_init(&m, &map, file, SIZE);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
	assert_int_equal(elf_load(&m.img, &map, &out, &e), -ENOEXEC);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	assert_non_null(strstr(err_text(&e, 0), "no PVH entry point"));
	assert_true(end.tv_sec - start.tv_sec < 2); /* whole seconds: less than one, rounded */
	free(file);
}

static void notes_without_end_are_damaged(void **state)
{
	uint8_t notes[64];
	uint32_t entry;

	(void)state;
	memset(notes, 0, sizeof(notes)); /* empty notes: each moves on by its header */
	assert_int_equal(elf_find_pvh_entry(notes, sizeof(notes), 4, &entry), 0);
	memset(notes, 0xFF, sizeof(notes));
	assert_int_equal(elf_find_pvh_entry(notes, sizeof(notes), 4, &entry), -EBADMSG);
	assert_int_equal(elf_find_pvh_entry(notes, 0, 4, &entry), 0);
	assert_int_equal(elf_find_pvh_entry(notes, 11, 4, &entry), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_file_is_loaded_at_its_physical_addresses),
		cmocka_unit_test(header_lies_are_named),
		cmocka_unit_test(segment_lies_are_named),
		cmocka_unit_test(segments_that_repeat_the_file_are_refused),
		cmocka_unit_test(note_lies_are_named),
		cmocka_unit_test(entry_outside_of_the_segments_is_refused),
		cmocka_unit_test(unaligned_notes_count_as_aligned_to_4),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(failing_callbacks_are_passed_on),
		cmocka_unit_test(every_field_at_every_extreme_is_survived),
		cmocka_unit_test(the_largest_headers_take_no_second),
		cmocka_unit_test(notes_without_end_are_damaged),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
