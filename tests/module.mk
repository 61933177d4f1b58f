# Found by name, so that a new test needs no line here.
UNIT += $(wildcard tests/unit/*/*_test.c tests/unit/*/*/*_test.c tests/unit/*/*/*/*_test.c)
FUZZ += $(wildcard tests/fuzz/*_fuzz.c)
BENCH += $(wildcard tests/bench/*.c)
PAYLOADS += $(wildcard tests/guest/*.S)
TOOLS += $(wildcard tests/integration/*.c tests/backend/*.c tests/security/*.c tests/kvm/*.c tests/lab/*.c)
HARNESS += $(wildcard tests/backend/vu/*.c)
