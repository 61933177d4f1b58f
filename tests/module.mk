# Found by name, so that a new test needs no line here.
UNIT += $(wildcard tests/unit/*/*_test.c tests/unit/*/*/*_test.c tests/unit/*/*/*/*_test.c)
FUZZ += $(wildcard tests/fuzz/*_fuzz.c)
BENCH += $(wildcard tests/bench/*.c)
PAYLOADS += $(wildcard tests/guest/*.S)
TOOLS += $(wildcard tests/integration/*.c tests/backend/*.c tests/security/*.c tests/kvm/*.c tests/lab/*.c)
HARNESS += $(wildcard tests/backend/vu/*.c)
# cloister-blk as a thread of the benchmark: its options, which the archive of the tree leaves out, and no lock-down.
HARNESS += devices/blk/blk_alone.c
$(B)/tests/bench/b_vub: LDFLAGS += -l:liburing.a -Wl,--wrap=jail_lock_rest
