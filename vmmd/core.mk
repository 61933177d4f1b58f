# The VMM's own: control loop, VM, vCPUs, KVM. (The machine's devices and loaders: platform.mk.)
SRCS += vmmd/control.c vmmd/control_apid.c vmmd/control_monitor.c vmmd/peer.c vmmd/results.c vmmd/events.c \
	vmmd/vm.c vmmd/machine.c vmmd/machine_boot.c vmmd/machine_devices.c vmmd/memory.c vmmd/serial_link.c \
	vmmd/vcpu.c vmmd/vcpu_exit.c vmmd/gate.c vmmd/wake.c vmmd/log_ring.c vmmd/irq.c vmmd/kvm.c vmmd/kvm_caps.c

PROGS += cloister-vmmd
cloister-vmmd_SRCS := vmmd/main.c
cloister-vmmd_LINK := static
cloister-vmmd_LIBS := -levent_core -lpthread
cloister-vmmd_DIR := libexec/cloister
