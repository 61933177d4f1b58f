/* SPDX-License-Identifier: ISC */
#include "vmmd/arch/x86_64/memmap.h"

#include <inttypes.h>

#include "common/ovf.h"
#include "vmmd/arch/x86_64/layout.h"

enum { PAGE = 4096, PHYS_BITS_MIN = 33, PHYS_BITS_MAX = 52 /* architectural limit */ };

unsigned memmap_phys_bits(unsigned host_bits, unsigned max_bits)
{
	return host_bits < max_bits ? host_bits : max_bits;
}

static void layout_ram(struct memmap *m)
{
	uint64_t below = m->ram_size < LAYOUT_RAM_HOLE ? m->ram_size : LAYOUT_RAM_HOLE;

	m->ram[0] = (struct memmap_ram){ .gpa = 0, .size = below, .file_off = 0 };
	m->n_ram = 1;
	if (m->ram_size > below) {
		m->ram[1] = (struct memmap_ram){
			.gpa = LAYOUT_RAM_ABOVE,
			.size = m->ram_size - below,
			.file_off = below,
		};
		m->n_ram = 2;
	}
}

/* Device registers are handed out from the top down, a page each. */
static void layout_platform(struct memmap *m)
{
	m->pci_hotplug = m->platform_end - 1 * PAGE;
	m->cpu_hotplug = m->platform_end - 2 * PAGE;
	m->ged = m->platform_end - 3 * PAGE;
}

int memmap_init(struct memmap *m, uint64_t ram_size, unsigned phys_bits, struct err *e)
{
	uint64_t end;

	*m = (struct memmap){ .ram_size = ram_size, .phys_bits = phys_bits };
	if (ram_size <= LAYOUT_HIGH_RAM)
		return err_set(e, -EINVAL,
			       "memory of %" PRIu64 " bytes is too small: it takes more than 1 MiB",
			       ram_size);
	if (ram_size % PAGE != 0)
		return err_set(e, -EINVAL, "memory size %" PRIu64 " is not a multiple of %d bytes",
			       ram_size, PAGE);
	if (phys_bits < PHYS_BITS_MIN || phys_bits > PHYS_BITS_MAX)
		return err_set(e, -EINVAL, "%u physical address bits are not between %d and %d",
			       phys_bits, PHYS_BITS_MIN, PHYS_BITS_MAX);
	layout_ram(m);
	m->platform_end = (UINT64_C(1) << phys_bits) - LAYOUT_TOP_GAP;
	m->platform = m->platform_end - LAYOUT_PLATFORM_SIZE;
	m->device64 = LAYOUT_RAM_ABOVE;
	m->device64_end = m->platform;
	if (m->n_ram > 1) {
		if (ovf_add_u64(m->ram[1].gpa, m->ram[1].size, &end) < 0 || end >= m->device64_end)
			return err_set(e, -EINVAL,
				       "memory of %" PRIu64 " bytes does not fit in a guest's %u "
				       "physical address bits",
				       ram_size, phys_bits);
		m->device64 = end;
	}
	layout_platform(m);
	return 0;
}

bool memmap_is_ram(const struct memmap *m, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < m->n_ram; i++) {
		const struct memmap_ram *r = &m->ram[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->size)
			return len <= r->size - (gpa - r->gpa);
	}
	return false;
}

unsigned memmap_e820(const struct memmap *m, struct memmap_e820 out[MEMMAP_E820_MAX])
{
	unsigned n = 0;

	out[n++] = (struct memmap_e820){ 0, LAYOUT_LOW_RAM_END, MEMMAP_E820_RAM };
	out[n++] = (struct memmap_e820){ LAYOUT_HIGH_RAM, m->ram[0].size - LAYOUT_HIGH_RAM,
					 MEMMAP_E820_RAM };
	for (unsigned i = 1; i < m->n_ram; i++)
		out[n++] = (struct memmap_e820){ m->ram[i].gpa, m->ram[i].size, MEMMAP_E820_RAM };
	/* Linux uses the configuration window only when the memory map reserves it. */
	out[n++] = (struct memmap_e820){ LAYOUT_ECAM, LAYOUT_ECAM_SIZE, MEMMAP_E820_RESERVED };
	return n;
}
