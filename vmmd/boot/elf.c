/* SPDX-License-Identifier: ISC */
/*
 * The file is a tenant's: every number in it may be a lie. Headers are copied once and judged as a
 * whole, then the segments are loaded. What bounds the work: ELF_PHDRS_MAX headers, NOTE_BYTES_MAX
 * bytes of notes, and segments that together load no more bytes than the file has.
 */
#include "vmmd/boot/elf.h"

#include <elf.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/ovf.h"
#include "vmmd/arch/x86_64/layout.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "headers are copied as they are");
_Static_assert(sizeof(Elf64_Ehdr) == 64 && sizeof(Elf64_Phdr) == 56,
	       "ELF-64 object file format 1.5");

enum {
	ELF_PHDRS_MAX = 512,
	ELF_LOADS_MAX = 64,
	NOTE_BYTES_MAX = 1 << 20,
	NOTE_ALIGN_MIN = 4,            /* linkers write 0 or 1 where they mean this */
	XEN_ELFNOTE_PHYS32_ENTRY = 18, /* Xen PVH boot ABI */
};

struct elf_file {
	const struct boot_image *img;
	const struct memmap *map;
	Elf64_Ehdr eh;
	unsigned n_ph, n_load;
	Elf64_Phdr ph[ELF_PHDRS_MAX];
	unsigned load[ELF_LOADS_MAX]; /* program headers that occupy memory */
};

bool elf_has_magic(const uint8_t magic[4])
{
	return memcmp(magic, ELFMAG, SELFMAG) == 0;
}

static int read_header(struct elf_file *f, struct err *e)
{
	const Elf64_Ehdr *eh = &f->eh;
	int r;

	if (f->img->size < sizeof(f->eh))
		return err_set(e, -ENOEXEC, "ELF file of %" PRIu64 " bytes ends within its header",
			       f->img->size);
	r = f->img->read_at(f->img->ctx, 0, &f->eh, sizeof(f->eh));
	if (r < 0)
		return err_sys(e, r, "cannot read the ELF header");
	if (eh->e_ident[EI_CLASS] != ELFCLASS64)
		return err_set(e, -ENOEXEC, "ELF file is not 64-bit");
	if (eh->e_ident[EI_DATA] != ELFDATA2LSB)
		return err_set(e, -ENOEXEC, "ELF file is not little endian");
	if (eh->e_phentsize != sizeof(Elf64_Phdr))
		return err_set(e, -ENOEXEC, "ELF program headers have %u bytes instead of %zu",
			       eh->e_phentsize, sizeof(Elf64_Phdr));
	if (eh->e_phoff < sizeof(Elf64_Ehdr))
		return err_set(e, -ENOEXEC, "ELF program headers lie inside the file header");
	if (eh->e_entry < LAYOUT_HIGH_RAM)
		return err_set(e, -ENOEXEC, "ELF entry point 0x%" PRIx64 " is below 1 MiB",
			       eh->e_entry);
	return 0;
}

static int read_program_headers(struct elf_file *f, struct err *e)
{
	uint64_t len = (uint64_t)f->eh.e_phnum * sizeof(Elf64_Phdr), end;

	if (f->eh.e_phnum == 0)
		return err_set(e, -ENOEXEC, "ELF file has no program headers");
	if (f->eh.e_phnum > ELF_PHDRS_MAX)
		return err_set(e, -ENOEXEC, "ELF file has %u program headers, more than %d",
			       f->eh.e_phnum, ELF_PHDRS_MAX);
	if (ovf_add_u64(f->eh.e_phoff, len, &end) < 0 || end > f->img->size)
		return err_set(e, -ENOEXEC, "ELF program headers reach beyond the end of the file");
	int r = f->img->read_at(f->img->ctx, f->eh.e_phoff, f->ph, len);
	if (r < 0)
		return err_sys(e, r, "cannot read the ELF program headers");
	f->n_ph = f->eh.e_phnum;
	return 0;
}

static int check_in_file(const struct elf_file *f, unsigned i, struct err *e)
{
	const Elf64_Phdr *ph = &f->ph[i];
	uint64_t end;

	if (ovf_add_u64(ph->p_offset, ph->p_filesz, &end) < 0 || end > f->img->size)
		return err_set(e, -ENOEXEC,
			       "ELF segment %u (offset 0x%" PRIx64 ", 0x%" PRIx64
			       " bytes) reaches beyond the end of the file",
			       i, ph->p_offset, ph->p_filesz);
	return 0;
}

static int check_load(const struct elf_file *f, unsigned i, struct err *e)
{
	const Elf64_Phdr *ph = &f->ph[i];
	uint64_t end;

	if (ph->p_memsz < ph->p_filesz)
		return err_set(e, -ENOEXEC,
			       "ELF segment %u has more bytes in the file than in memory", i);
	int r = check_in_file(f, i, e);
	if (r < 0)
		return r;
	if (ovf_add_u64(ph->p_paddr, ph->p_memsz, &end) < 0)
		return err_set(e, -ENOEXEC,
			       "ELF segment %u (0x%" PRIx64 " bytes at 0x%" PRIx64 ") wraps around",
			       i, ph->p_memsz, ph->p_paddr);
	/* Below 1 MiB lie the tables and parameters that the guest is handed. */
	if (ph->p_paddr < LAYOUT_HIGH_RAM)
		return err_set(e, -ENOEXEC, "ELF segment %u is at 0x%" PRIx64 ", below 1 MiB", i,
			       ph->p_paddr);
	if (!memmap_is_ram(f->map, ph->p_paddr, ph->p_memsz))
		return err_set(e, -ENOSPC,
			       "ELF segment %u (0x%" PRIx64 " bytes at 0x%" PRIx64
			       ") does not fit into guest RAM",
			       i, ph->p_memsz, ph->p_paddr);
	return 0;
}

/* Do the bytes that two segments load share an address? (What they only zero may: nobody writes
 * it.) */
static bool overlap(const Elf64_Phdr *a, const Elf64_Phdr *b)
{
	return a->p_filesz > 0 && b->p_filesz > 0 && a->p_paddr < b->p_paddr + b->p_filesz &&
	       b->p_paddr < a->p_paddr + a->p_filesz;
}

static int check_overlap(const struct elf_file *f, struct err *e)
{
	for (unsigned i = 0; i < f->n_load; i++) {
		for (unsigned j = 0; j < i; j++) {
			if (overlap(&f->ph[f->load[i]], &f->ph[f->load[j]]))
				return err_set(e, -ENOEXEC, "ELF segments %u and %u overlap",
					       f->load[j], f->load[i]);
		}
	}
	return 0;
}

static int collect_loads(struct elf_file *f, struct err *e)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < f->n_ph; i++) {
		if (f->ph[i].p_type != PT_LOAD || (f->ph[i].p_memsz == 0 && f->ph[i].p_filesz == 0))
			continue;
		if (f->n_load == ELF_LOADS_MAX)
			return err_set(e, -ENOEXEC, "ELF file has more than %d segments to load",
				       ELF_LOADS_MAX);
		int r = check_load(f, i, e);
		if (r < 0)
			return r;
		f->load[f->n_load++] = i;
		/* Each is at most the file's size, so 64 of them don't wrap in practice; believe
		 * nothing. */
		if (ovf_add_u64(total, f->ph[i].p_filesz, &total) < 0 || total > f->img->size)
			return err_set(e, -ENOEXEC, "ELF segments add up to more than the file");
	}
	if (total == 0)
		return err_set(e, -ENOEXEC, "ELF file has nothing to load");
	return check_overlap(f, e);
}

/* Step over one part of a note. False when it ends beyond the segment. */
static bool note_skip(size_t *off, size_t len, uint64_t n, uint64_t align)
{
	uint64_t up;

	if (ovf_align_up_u64(n, align, &up) < 0 || up > len - *off)
		return false;
	*off += up;
	return true;
}

int elf_find_pvh_entry(const uint8_t *notes, size_t len, uint64_t align, uint32_t *entry)
{
	size_t off = 0;

	while (len - off >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr nh;

		memcpy(&nh, notes + off, sizeof(nh));
		off += sizeof(nh); /* each note moves on by this much at least */
		size_t name = off;
		if (nh.n_namesz > len - off || !note_skip(&off, len, nh.n_namesz, align))
			return -EBADMSG;
		size_t desc = off;
		if (nh.n_descsz > len - off)
			return -EBADMSG;
		if (nh.n_type == XEN_ELFNOTE_PHYS32_ENTRY && nh.n_namesz == 4 && nh.n_descsz >= 4 &&
		    memcmp(notes + name, "Xen", 4) == 0) {
			memcpy(entry, notes + desc, sizeof(*entry));
			return 1;
		}
		/* The last description need not be padded. */
		if (!note_skip(&off, len, nh.n_descsz, align))
			return 0;
	}
	return 0;
}

/* @align of a note segment as linkers mean it, 0 when it makes no sense. */
static uint64_t note_align(uint64_t align)
{
	if (align < NOTE_ALIGN_MIN)
		return NOTE_ALIGN_MIN;
	return is_pow2_u64(align) && align <= NOTE_BYTES_MAX ? align : 0;
}

static int search_notes(const struct elf_file *f, unsigned i, uint8_t *buf, uint32_t *entry,
			struct err *e)
{
	const Elf64_Phdr *ph = &f->ph[i];
	uint64_t align = note_align(ph->p_align);

	if (align == 0)
		return err_set(e, -ENOEXEC, "ELF notes %u are aligned to 0x%" PRIx64, i,
			       ph->p_align);
	int r = f->img->read_at(f->img->ctx, ph->p_offset, buf, ph->p_filesz);
	if (r < 0)
		return err_sys(e, r, "cannot read the ELF notes");
	r = elf_find_pvh_entry(buf, ph->p_filesz, align, entry);
	if (r < 0)
		return err_set(e, -ENOEXEC, "ELF notes %u are damaged", i);
	return r;
}

/* 1 and *@entry, or an error. */
static int find_entry(const struct elf_file *f, uint32_t *entry, struct err *e)
{
	uint64_t total = 0;
	int r = 0;

	_cleanup_(freep) uint8_t *buf = malloc(NOTE_BYTES_MAX);
	if (buf == NULL)
		return err_sys(e, -ENOMEM, "cannot read the ELF notes");
	for (unsigned i = 0; i < f->n_ph && r == 0; i++) {
		if (f->ph[i].p_type != PT_NOTE || f->ph[i].p_filesz == 0)
			continue;
		r = check_in_file(f, i, e);
		if (r < 0)
			return r;
		/* In the file, so the sum of the few allowed headers can't wrap either. */
		if (ovf_add_u64(total, f->ph[i].p_filesz, &total) < 0 || total > NOTE_BYTES_MAX)
			return err_set(e, -ENOEXEC, "ELF file has more than %d bytes of notes",
				       NOTE_BYTES_MAX);
		r = search_notes(f, i, buf, entry, e);
	}
	if (r == 0)
		return err_set(e, -ENOEXEC, "ELF file has no PVH entry point (Xen note of type %d)",
			       XEN_ELFNOTE_PHYS32_ENTRY);
	return r;
}

static int check_entry(const struct elf_file *f, uint32_t entry, struct err *e)
{
	for (unsigned i = 0; i < f->n_load; i++) {
		const Elf64_Phdr *ph = &f->ph[f->load[i]];

		if (entry >= ph->p_paddr && entry - ph->p_paddr < ph->p_memsz)
			return 0;
	}
	return err_set(e, -ENOEXEC, "PVH entry point 0x%" PRIx32 " is outside of all segments",
		       entry);
}

static int load_segments(const struct elf_file *f, struct boot_kernel *out, struct err *e)
{
	out->start = UINT64_MAX;
	for (unsigned i = 0; i < f->n_load; i++) {
		const Elf64_Phdr *ph = &f->ph[f->load[i]];

		if (ph->p_paddr < out->start)
			out->start = ph->p_paddr;
		if (ph->p_paddr + ph->p_memsz > out->end)
			out->end = ph->p_paddr + ph->p_memsz;
		if (ph->p_filesz == 0)
			continue;
		int r = f->img->load(f->img->ctx, ph->p_offset, ph->p_paddr, ph->p_filesz);
		if (r < 0)
			return err_sys(e, r, "cannot load ELF segment %u", f->load[i]);
	}
	return 0;
}

static int load_file(struct elf_file *f, struct boot_kernel *out, struct err *e)
{
	uint32_t entry = 0;
	int r = read_header(f, e);

	if (r == 0)
		r = read_program_headers(f, e);
	if (r == 0)
		r = collect_loads(f, e);
	if (r == 0)
		r = find_entry(f, &entry, e);
	if (r < 0)
		return r;
	r = check_entry(f, entry, e);
	if (r < 0)
		return r;
	*out = (struct boot_kernel){ .proto = BOOT_PVH, .entry = entry };
	return load_segments(f, out, e);
}

int elf_load(const struct boot_image *img, const struct memmap *map, struct boot_kernel *out,
	     struct err *e)
{
	_cleanup_(freep) struct elf_file *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return err_sys(e, -ENOMEM, "cannot read the ELF file");
	f->img = img;
	f->map = map;
	return load_file(f, out, e);
}
