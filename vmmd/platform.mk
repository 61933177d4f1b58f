# The machine as a guest sees it, free of KVM and of system calls but clock_gettime.
SRCS += vmmd/bus.c \
	vmmd/legacy/serial.c vmmd/legacy/cmos.c vmmd/legacy/i8042.c vmmd/legacy/debug_port.c vmmd/legacy/acpi_pm.c \
	vmmd/legacy/ioapic.c \
	vmmd/pci/config.c vmmd/pci/segment.c vmmd/pci/window.c \
	vmmd/acpi/aml.c vmmd/acpi/aml_res.c vmmd/acpi/dsdt.c vmmd/acpi/tables.c

ifeq ($(ARCH),x86_64)
SRCS += vmmd/arch/x86_64/memmap.c vmmd/arch/x86_64/cpuid.c vmmd/arch/x86_64/regs.c \
	vmmd/boot/loader.c vmmd/boot/elf.c vmmd/boot/bzimage.c vmmd/boot/pvh.c \
	vmmd/boot/smbios.c vmmd/boot/mptable.c vmmd/boot/firmware.c
endif
