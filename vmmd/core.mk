# The VMM's own: control loop, VM, vCPUs, KVM. (The machine's devices and loaders: platform.mk.)
VMMD_CONTROL := vmmd/control.c vmmd/control_apid.c vmmd/control_monitor.c vmmd/peer.c vmmd/results.c vmmd/events.c \
	vmmd/vm.c vmmd/machine.c vmmd/machine_boot.c vmmd/machine_devices.c vmmd/memory.c vmmd/serial_link.c
# What runs in vCPU threads too.
VMMD_VCPU := vmmd/vcpu.c vmmd/vcpu_exit.c vmmd/gate.c vmmd/wake.c vmmd/errand.c vmmd/log_ring.c vmmd/irq.c vmmd/kvm.c
VMMD_VIRTIO := vmmd/virtio/virtio.c vmmd/virtio/virtio_pci.c vmmd/virtio/virtio_regs.c vmmd/pci/msix.c
SRCS += $(VMMD_CONTROL) $(VMMD_VCPU) $(VMMD_VIRTIO) vmmd/kvm_caps.c

PROGS += cloister-vmmd
cloister-vmmd_SRCS := vmmd/main.c
cloister-vmmd_LINK := static
cloister-vmmd_LIBS := -levent_core -lpthread
cloister-vmmd_DIR := libexec/cloister

ROLES += vmmd vcpu
vcpu_FILES := $(VMMD_VCPU) $(VMMD_VIRTIO) vmmd/bus.c $(wildcard vmmd/legacy/*.c) $(filter-out vmmd/pci/msix.c,$(wildcard vmmd/pci/*.c))
vmmd_FILES := vmmd/main.c $(VMMD_CONTROL) vmmd/kvm_caps.c $(vcpu_FILES) \
	common/ev.c common/fd.c common/fd_recv.c common/fd_send.c common/fd_wait.c common/gmem.c common/log_send.c \
	proto/chan.c proto/chan_dup.c proto/chan_in.c proto/chan_recv.c proto/chan_send.c jail/jail_thread.c
