# SPDX-License-Identifier: ISC
"""What a guest sees of the platform, told by tiny payloads: boot protocol, memory map, registers, interrupts, other
processors, and the ways out."""

import os
import re
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import guest  # noqa: E402
import tap  # noqa: E402

guest.need_kvm()


def ran(*args, **kw):
    """The payload powered off by itself: its output, with status 0 and nothing on stderr."""
    out, status, err = guest.run(*args, **kw)
    tap.eq(status, 0, "exit status (output %r, stderr %r)" % (out, err))
    tap.ok("ALIVE" not in out, "no instruction runs after the write that powers off: %r" % out)
    tap.eq(err, "", "stderr")
    return out


@tap.test
def hello_is_printed_and_the_guest_powers_off():
    tap.eq(ran("hello"), "hello from the guest\n", "output")


@tap.test
def start_info_has_command_line_and_rsdp():
    v = guest.values(ran("bootinfo", cmdline="root=/dev/vda1 quiet"))
    tap.eq(v["start_info"], "00006000", "where start_info lies")
    tap.eq(v["magic"], "336ec578", "magic")
    tap.eq(v["version"], "00000001", "version")
    tap.eq(v["modules"], "00000000", "modules")
    tap.eq(v["cmdline"], "root=/dev/vda1 quiet", "command line")
    tap.eq(bytes.fromhex(v["rsdp"])[::-1], b"RSD ", "RSDP")
    tap.eq(v["ebda"], "0000a000", "EBDA segment")


def memory_map(mib):
    rows = guest.values(ran("bootinfo", mib=mib))["map"]
    return [tuple(int(x, 16) for x in row.split()) for row in rows]


LOW, ECAM = (0, 0xA0000, 1), (0xE8000000, 0x10000000, 2)


@tap.test
def memory_map_of_64_mib():
    tap.eq(memory_map(64), [LOW, (0x100000, 63 << 20, 1), ECAM], "map")


@tap.test
def memory_map_ends_at_the_hole_with_3_gib():
    tap.eq(memory_map(3072), [LOW, (0x100000, 3071 << 20, 1), ECAM], "map")


@tap.test
def memory_map_goes_on_above_4_gib():
    tap.eq(memory_map(5120), [LOW, (0x100000, 3071 << 20, 1), (1 << 32, 2 << 30, 1), ECAM], "map")


@tap.test
def initramfs_lies_at_the_end_of_low_ram():
    with tempfile.NamedTemporaryFile() as f:
        f.write(b"\x78\x56\x34\x12" + bytes(9996))
        f.flush()
        os.chmod(f.name, 0o644)
        v = guest.values(ran("bootinfo", initramfs=f.name))
    tap.eq(v["modules"], "00000001", "modules")
    tap.eq(int(v["module_size"], 16), 10000, "size")
    tap.eq(int(v["module_addr"], 16), ((64 << 20) - 10000) & ~0xFFF, "address")
    tap.eq(v["module_word"], "12345678", "first bytes")


@tap.test
def unclaimed_ports_and_memory_read_all_ones_and_drop_writes():
    v = guest.values(ran("ports"))
    for name, want in (("pio1", "000000ff"), ("pio2", "0000ffff"), ("pio4", "ffffffff"), ("pio_written", "ffffffff"),
                       ("mmio1", "000000ff"), ("mmio2", "0000ffff"), ("mmio4", "ffffffff"),
                       ("mmio_written", "ffffffff"), ("ins_0", "ffffffff"), ("ins_4", "000000ff")):
        tap.eq(v[name], want, name)


@tap.test
def string_output_writes_each_byte():
    tap.contains(ran("ports"), "\nouts every byte of a string\n", "output")


@tap.test
def legacy_registers_read_as_documented():
    v = guest.values(ran("ports", mib=5120))
    for name, want in (("port61", 0x20), ("port64", 0), ("port402", 0xE9), ("sleep", 0), ("cmos_b", 2), ("cmos_d", 0x80),
                       ("cmos_century", 0x20)):
        tap.eq(int(v[name], 16), want, name)
    below = (3 << 30) - (16 << 20) >> 16
    above = 2 << 30 >> 16
    tap.eq([int(v["cmos_" + r], 16) for r in ("34", "35", "5b", "5c", "5d")],
           [below & 0xFF, below >> 8, above & 0xFF, above >> 8 & 0xFF, above >> 16], "memory size in CMOS")
    tap.ok(0 < int(v["pm_timer_step"], 16) < 3579545, "the ACPI timer counts: " + v["pm_timer_step"])


@tap.test
def pci_has_the_host_bridge_and_the_entropy_device():
    v = guest.values(ran("ports"))
    for way in ("cf8", "ecam"):
        tap.eq(v[way + "_slot0"], "0d578086", way)
        tap.eq(v[way + "_slot1"], "10441af4", way)
        tap.eq(v[way + "_slot31"], "ffffffff", way)
    tap.eq(v["ecam_class"], "06000000", "class and revision")
    tap.eq(v["ioapic_version"], "00170011", "IOAPIC version")


@tap.test
def other_processors_start_by_init_and_sipi():
    v = guest.values(ran("smp", vcpus=3, cmdline="2"))
    tap.eq(v["started"], "00000002", "processors started")
    tap.eq(sorted(v["apic_id"]), ["00000001", "00000002"], "APIC ids")


@tap.test
def serial_interrupt_comes_by_edge_and_by_level():
    v = guest.values(ran("irq"))
    tap.ok(int(v["edge"], 16) >= 1, "edge: %r" % v)
    tap.ok(int(v["level"], 16) >= 1, "level: %r" % v)
    # Remote IRR is set while a level-triggered interrupt is in service; a KVM without hardware help reports the end of
    # interrupt before the handler has run, so only the state after it can be told for sure.
    tap.ok(int(v["in_handler"], 16) & ~0x4000 == 0x8030, "entry in the handler: " + v["in_handler"])
    tap.eq(v["after_eoi"], "00008030", "entry after the end of interrupt")


@tap.test
def every_way_to_reset_starts_over_with_clean_memory_and_devices():
    for letter, name in (("a", "acpi"), ("k", "keyboard"), ("c", "cmos"), ("t", "triple")):
        with guest.Machine().wait_up() as m:
            m.boot("reset", cmdline=letter)
            m.wait_output("reset " + name, count=5)
            m.put("vmm.shutdown")
            tap.eq(m.wait(), 0, "exit status")
            run = "witness 00000000\ncmos 00000000\nreset %s\n" % name
            whole = m.output().count("reset %s\n" % name)
            tap.ok(m.output().startswith(run * whole), "%s: each run is like the first: %r" % (name, m.output()[:500]))


@tap.test
def instruction_that_kvm_cannot_emulate_is_a_defined_stop():
    with guest.Machine("-v").wait_up() as m:
        m.boot("stuck")
        m.wait_output("stuck")
        # With hardware help it is a triple fault, hence a reset; else the VM ends, with the reason in the log.
        ended = tap.poll(lambda: "reset" if m.output().count("stuck") > 1 else m.proc.poll() is not None, 10,
                         "reset or end")
        tap.ok("ALIVE" not in m.output(), "no instruction runs after it")
        if ended != "reset":
            tap.eq(m.wait(), 0, "exit status")
            tap.ok(re.search(r"<vcpu0> ERROR:.* vCPU 0 stops: KVM internal error, sub-error 1", m.stderr()),
                   "the log names the reason: " + m.stderr())


@tap.test
def input_reaches_the_guest_by_a_pty():
    with guest.Machine().wait_up() as m:
        m.put("vm.create", guest.config("echo", serial={"mode": "Pty"}))
        fd = os.open(m.info()["config"]["serial"]["file"], os.O_RDWR | os.O_NOCTTY)
        m.put("vm.boot")
        text = b""

        def reads(want):
            nonlocal text
            while want not in text:
                text += os.read(fd, 4096)

        reads(b"echo\n")
        os.write(fd, b"A")
        reads(b"got 00000041")
        os.write(fd, b"zq")
        reads(b"got 0000007a")
        tap.eq(m.wait(), 0, "exit status")
        os.close(fd)


tap.main()
