#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Documents printed from the tables: the option list of cloister(1) and the schemas of the configuration."""

import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402

SERVED = ["api-socket", "cmdline", "console", "cpus", "debug-console", "disk", "help", "initramfs", "kernel", "log-file",
          "memory", "net", "no-shutdown", "rate-limit-group", "rng", "seccomp", "serial", "version"]


def printed(what):
    done = subprocess.run([tap.program("host/schema_print"), what], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=30)
    return done.returncode, done.stdout.decode("ascii"), done.stderr.decode()


@tap.test
def option_list_names_what_is_served_and_nothing_else():
    status, text, errors = printed("man-options")
    tap.eq((status, errors), (0, ""))
    named = [re.sub(r"^\.It Fl (?:[hV] , Fl )?-(\S+).*", r"\1", line) for line in text.splitlines()
             if re.match(r"\.It Fl (?:[hV] , Fl )?-", line)]
    tap.eq(named, SERVED)
    tap.contains(text, ".It Fl v\n")
    tap.contains(text, ".It Cm boot Ns = Ns Ar number\nvirtual CPUs present at boot (default 1)\n")
    tap.contains(text, ".Ql size=512M .\n")


@tap.test
def option_list_is_clean_mdoc():
    if shutil.which("mandoc") is None:
        tap.skip("mandoc is not installed")
    page = ".Dd January 1, 2025\n.Dt X 1\n.Os\n.Sh NAME\n.Nm x\n.Nd y\n.Sh OPTIONS\n" + printed("man-options")[1]
    lint = subprocess.run(["mandoc", "-T", "lint"], input=page.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=30)
    tap.eq(lint.stdout.decode(), "")


@tap.test
def schemas_are_json_with_ranges_defaults_and_references_that_exist():
    status, text, errors = printed("openapi")
    tap.eq((status, errors), (0, ""))
    schemas = json.loads(text)["components"]["schemas"]
    cpus = schemas["CpusConfig"]
    tap.eq(cpus["required"], ["boot_vcpus", "max_vcpus"])
    tap.eq(cpus["properties"]["max_phys_bits"]["default"], 46)
    tap.eq(cpus["properties"]["max_phys_bits"]["maximum"], 255)
    tap.contains(text, '"maximum":18446744073709551615')
    tap.eq(schemas["SerialConfig"]["properties"]["mode"]["enum"], ["Off", "Pty", "Tty", "File", "Socket", "Null"])
    tap.eq(schemas["ConsoleConfig"]["properties"]["mode"]["enum"], ["Off", "Pty", "Tty", "File", "Socket", "Null"])
    tap.eq(schemas["DebugConsoleConfig"]["properties"]["mode"]["enum"], ["Off", "Null"])
    disk = schemas["DiskConfig"]["properties"]
    tap.eq(disk["image_type"], {"type": "string", "enum": ["FlatVmdk", "FixedVhd", "Qcow2", "Raw", "Vhdx", "Unknown"],
                                "description": disk["image_type"]["description"], "default": "Unknown"})
    tap.ok("iommu" not in disk and "image_detected" not in disk, "neither what is not served nor what is ours")
    tap.eq(schemas["TokenBucketConfig"]["required"], ["size", "refill_time"])
    tap.eq(schemas["RngConfig"]["required"], ["src"])
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        tap.ok(name in schemas, name)
    tap.ok("fs" not in schemas["VmConfig"]["properties"], "what is not served is not promised")


@tap.test
def anything_else_is_a_usage_error():
    status, text, errors = printed("nosuch")
    tap.eq((status, text), (2, ""))
    tap.contains(errors, "usage:")


tap.main()
