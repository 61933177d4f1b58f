/* SPDX-License-Identifier: ISC */
/* The inside of a machine, for machine.c, machine_devices.c and machine_boot.c. */
#ifndef VMMD_MACHINE_INTERNAL_H
#define VMMD_MACHINE_INTERNAL_H

#include "vmmd/arch/x86_64/cpuid.h"
#include "vmmd/boot/loader.h"
#include "vmmd/bus.h"
#include "vmmd/errand.h"
#include "vmmd/irq.h"
#include "vmmd/legacy/acpi_pm.h"
#include "vmmd/legacy/cmos.h"
#include "vmmd/legacy/debug_port.h"
#include "vmmd/machine.h"
#include "vmmd/pci/pci.h"
#include "vmmd/pci/window.h"
#include "vmmd/virtio/virtio_dev.h"

struct devices {
	struct bus pio, mmio;
	struct irqs irqs;
	struct ioapic *ioapic;
	struct serial *serial;
	struct platform_sink sink;
	struct cmos cmos;
	struct acpi_pm_timer pm_timer;
	struct ged ged;
	struct debug_port debug_port;
	struct pci_segment pci;
	struct pci_windows windows;
	unsigned n_virtio;
	struct virtio_dev *virtio[PCI_SLOTS]; /* the first n_virtio, in creation order */
	struct virtio_dev **out[PCI_SLOTS];   /* whom to tell that they are gone */
	bool made; /* the ones without a pointer */
	bool windows_made;
};

struct machine {
	struct machine_cfg cfg;
	int vm; /* KVM's VM */
	struct errands errands;
	bool wide_ids;
	struct cpuid_topology topo;
	struct cpuid_host host;
	struct devices dev;
	struct vcpus *vcpus;
	struct boot_kernel kernel;
};

/* After the vCPUs exist. devices_fini accepts zeroed or half-made ones. */
int devices_init(struct machine *m, struct err *e) __must_check;
/* Nothing of a device is registered with KVM any more. While the VM is open and no vCPU runs. */
void devices_disconnect(struct machine *m);
void devices_fini(struct machine *m);

/* Payload and firmware tables into RAM. */
int boot_load(struct machine *m, struct err *e) __must_check;
/* CPUID and the registers of each vCPU. */
int boot_set_vcpus(struct machine *m, struct err *e) __must_check;

#endif
