#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""What a compiler does not see: `make lint`. TAP, one test a rule; every finding is a diagnostic "file:line: text".

An exception to a rule stands in tests/lint.allow with its reason.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

TESTS = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(TESTS)
BUILD = os.environ.get("CLOISTER_BUILD") or "build"
CC = os.environ.get("CC") or "gcc"

FILE_LINES_MAX = {".c": 700, ".h": 700, ".S": 700, ".py": 1000, ".sh": 700}
FUNCTION_LINES_MAX = 100
COLUMNS_MAX = 125

RULES = []


def rule(title):
    def register(fn):
        RULES.append((title, fn))
        return fn

    return register


class Skip(Exception):
    pass


# --- the tree --------------------------------------------------------------------------------------------------------


def list_files():
    try:
        done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=TOP, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        names = done.stdout.decode().splitlines()
    except (OSError, subprocess.CalledProcessError):
        names = []
        for folder, below, files in os.walk(TOP):
            below[:] = [d for d in below if d != ".git" and not d.startswith("build")]
            names += [os.path.relpath(os.path.join(folder, f), TOP) for f in files]
    return sorted(n for n in set(names) if os.path.isfile(os.path.join(TOP, n)))


FILES = list_files()
_texts = {}


def text(path):
    if path not in _texts:
        with open(os.path.join(TOP, path), encoding="utf-8", errors="surrogateescape") as f:
            _texts[path] = f.read()
    return _texts[path]


def with_ending(*endings):
    return [f for f in FILES if f.endswith(endings)]


def is_corpus(path):
    return path.startswith("tests/fuzz/corpus/")


def is_script(path):
    return os.path.splitext(path)[1] in ("", ".sh") and re.match(r"#!.*\b(sh|bash)\b", text(path)) is not None


TOKENS = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code_of(path):
    """The C text without comments and the inside of strings; line numbers stay."""

    def blank(m):
        return "\n" * m.group().count("\n") if m.group()[0] == "/" else '""'

    return TOKENS.sub(blank, text(path))


def allowed(name, path):
    """Does tests/lint.allow have "NAME PATH reason"?"""
    return (name, path) in ALLOWED


def read_allowed():
    known = {}
    if "tests/lint.allow" in FILES:
        for line in text("tests/lint.allow").splitlines():
            words = line.split(None, 2)
            if words and not words[0].startswith("#"):
                known[tuple(words[:2])] = words[2] if len(words) > 2 else ""
    return known


ALLOWED = read_allowed()


def grep(paths, pattern, complaint, of=text):
    """Yield a finding for each line of @paths that matches."""
    for path in paths:
        for number, line in enumerate(of(path).split("\n"), 1):
            m = pattern.search(line)
            if m:
                yield "%s:%d: %s" % (path, number, complaint % {"it": m.group().strip()})


# --- look ------------------------------------------------------------------------------------------------------------


@rule("each source names its licence in its first lines")
def spdx():
    for path in with_ending(".c", ".h", ".def", ".S", ".py", ".sh"):
        if "SPDX-License-Identifier: ISC" not in "\n".join(text(path).split("\n")[:2]):
            yield "%s:1: no SPDX line" % path


@rule("blanks: none at line ends, no blank in front of a tab, one empty line at a time, one newline at the end")
def blanks():
    made = with_ending(".c", ".h", ".def", ".S", ".py", ".sh", ".mk", ".md") + ["GNUmakefile"]
    for path in made:
        body = text(path)
        if body and (not body.endswith("\n") or body.endswith("\n\n")):
            yield "%s: the last line must end with one newline" % path
        if path.endswith((".c", ".h")) and "\n\n\n" in body:
            yield "%s:%d: two empty lines" % (path, body[: body.index("\n\n\n")].count("\n") + 2)
        yield from (f for f in grep([path], re.compile(r"[ \t]+$"), "blank at the end of the line"))
        if path.endswith((".c", ".h", ".S")):
            yield from grep([path], re.compile(r"^\t* +\t"), "blank in front of a tab")
            yield from grep([path], re.compile(r"^ {8}"), "indented by blanks")


@rule("no line of C has more than %d columns" % COLUMNS_MAX)
def columns():
    for path in with_ending(".c", ".h", ".S"):
        if path.startswith("tests/"):  # tables of inputs read best one a line
            continue
        for number, line in enumerate(text(path).split("\n"), 1):
            if len(line.expandtabs(8)) > COLUMNS_MAX:
                yield "%s:%d: %d columns" % (path, number, len(line.expandtabs(8)))


@rule("no file is too long")
def file_length():
    for path in with_ending(*FILE_LINES_MAX):
        if text(path).count("\n") > FILE_LINES_MAX[os.path.splitext(path)[1]]:
            yield "%s: %d lines" % (path, text(path).count("\n"))


@rule("functions have at most %d lines" % FUNCTION_LINES_MAX)
def function_length():
    for path in with_ending(".c", ".h"):
        start = None
        for number, line in enumerate(text(path).split("\n"), 1):
            if line == "{":
                start = number
            elif line == "}" and start is not None:
                if number - start - 1 > FUNCTION_LINES_MAX and not allowed("function-length", path):
                    yield "%s:%d: %d lines" % (path, start, number - start - 1)
                start = None


@rule("nothing is left to do later without a word")
def leftovers():
    mark = "X" * 3
    yield from grep(with_ending(".c", ".h", ".S", ".sh"), re.compile(r"\b(%s|FIX" % mark + r"ME|HACK)\b"), "%(it)s")


@rule("no file names a path of the machine it was written on")
def machine_paths():
    parts = [r"/home/[a-z_][a-z0-9_-]*/", r"/root/[A-Za-z]"]
    if len(TOP.strip("/").split("/")) > 1:
        parts.append(re.escape(TOP) + r"\b")
    readable = [f for f in FILES if not is_corpus(f)]
    yield from grep(readable, re.compile("|".join(parts)), "path of a machine: %(it)s")


# --- C ---------------------------------------------------------------------------------------------------------------

INCLUDE = re.compile(r'^#include\s+[<"]([^>"]+)[>"]', re.M)


@rule("a .c file includes its own header first")
def own_header_first():
    for path in with_ending(".c"):
        header = path[:-2] + ".h"
        if header not in FILES:
            continue
        first = INCLUDE.search(text(path))
        inner = path[:-2] + "_internal.h"  # which includes it
        if first is None or first.group(1) not in (header, inner):
            yield '%s: the first include is not "%s"' % (path, header)


@rule("include guards are named after the file")
def guards():
    for path in with_ending(".h"):
        want = re.sub(r"[^A-Za-z0-9]", "_", path).upper()
        if "#ifndef %s\n#define %s\n" % (want, want) not in text(path) and not path.startswith("tests/guest/"):
            yield "%s: no guard %s" % (path, want)


def compiled(header):
    """The compiler's complaints about a header that stands alone."""
    done = subprocess.run([CC, "-std=gnu17", "-D_GNU_SOURCE", "-I.", "-I" + os.path.join(BUILD, "gen"), "-Wall", "-Wextra",
                           "-Werror", "-fsyntax-only", "-x", "c", "-"], cwd=TOP, input=b'#include "%s"\n' % header.encode(),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return ["%s: not self-sufficient: %s" % (header, line) for line in lines[:3]] if done.returncode else []


@rule("each header compiles alone")
def headers_alone():
    if shutil.which(CC) is None:
        raise Skip("there is no %s" % CC)
    headers = [f for f in with_ending(".h") if not f.startswith("tests/guest/")]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for findings in pool.map(compiled, headers):
            yield from findings


def lives_for_good(path):
    """Code that outside data must never end: all but host tools, the starter, apid and the tests."""
    return path.startswith(("common/", "proto/", "vmmd/", "devices/", "jail/monitor"))


@rule("nothing that must live on calls assert, abort or exit")
def no_sudden_end():
    ours = [f for f in with_ending(".c", ".h") if lives_for_good(f)]
    kinds = (("assert", r"\bassert\s*\("), ("exit", r"\b(abort|_?exit|_Exit|quick_exit|errx?|perror)\s*\("))
    for kind, pattern in kinds:
        for path in ours:
            if not allowed(kind, path):
                yield from grep([path], re.compile(pattern), "%%(it)s...), no \"%s\" in tests/lint.allow" % kind, code_of)


@rule("no unbounded or ambiguous call of libc")
def no_bad_calls():
    bad = re.compile(r"\b(strcpy|strcat|strncpy|strncat|v?sprintf|gets|strtok|alloca|system|popen|ato[il]l?|strto[iu]max|"
                     r"scanf|sscanf|tmpnam|mktemp|rand|sleep|usleep|setjmp|longjmp)\s*\(")
    ours = [f for f in with_ending(".c", ".h") if not f.startswith("tests/") and not f.startswith("jail/policy/")]
    for path in ours:
        if not allowed("call", path):
            yield from grep([path], bad, "%(it)s...)", code_of)


@rule("guest memory is reached through gmem only")
def guest_pointers():
    homes = ("common/gmem.c", "common/gmem.h")
    ours = [f for f in with_ending(".c", ".h") if not f.startswith("tests/") and f not in homes]
    for path in ours:
        if not allowed("hva", path):
            yield from grep([path], re.compile(r"(->|\.)\s*hva\b"), "%(it)s", code_of)


@rule("a file with packed structures asserts their size")
def wire_structs():
    packed = re.compile(r"__attribute__\(\(packed\)\)|__packed\b")
    for path in with_ending(".c", ".h"):
        if path.startswith("tests/"):
            continue
        if packed.search(code_of(path)) and "_Static_assert(sizeof(" not in code_of(path):
            yield "%s: a packed structure and no _Static_assert on its size" % path


# --- seccomp notes -----------------------------------------------------------------------------------------------------

# The names a call has in the source: a libc wrapper, or the call into the library that makes it.
WRAPPERS = {
    "close": ("close", "fd_closep", "fd_close_all", "pclose", "fclose"),
    "sendto": ("send", "sendto"),
    "recvfrom": ("recv", "recvfrom"),
    "epoll_ctl": ("epoll_ctl", "event_base_new_with_config", "event_base_dispatch", "ev_new"),
    "epoll_wait": ("epoll_wait", "event_base_new_with_config", "event_base_dispatch", "ev_new"),
    "epoll_pwait": ("epoll_pwait", "event_base_new_with_config"),
    "poll": ("poll", "event_base_new_with_config", "fd_wait", "fd_write_all"),
    "write": ("write", "fd_write_all"),
    "socketpair": ("socketpair", "fd_socketpair"),
    "sendmsg": ("sendmsg", "fd_sendmsg"),
    "recvmsg": ("recvmsg", "fd_recvmsg"),
    "clone": ("clone", "pthread_create", "fork"),
    "io_uring_enter": ("io_uring_submit", "io_uring_wait_cqe"),
    "fork": ("fork",),
    "set_robust_list": ("pthread_create",),
    "rseq": ("pthread_create",),
    "pread64": ("pread",),
    "pwrite64": ("pwrite",),
    "newfstatat": ("fstat", "stat", "lstat", "fstatat", "opendir", "fdopendir"),
    "fstat": ("fstat", "opendir", "fdopendir"),
    "getdents64": ("readdir",),
    "lseek": ("lseek", "fdopendir", "rewinddir"),
    "rt_sigprocmask": ("sigprocmask", "pthread_sigmask", "pthread_create"),
    "rt_sigtimedwait": ("sigtimedwait", "sigwaitinfo"),
    "rt_sigaction": ("sigaction", "signal"),
    "rt_sigpending": ("sigpending",),
    "prlimit64": ("prlimit", "setrlimit", "getrlimit"),
    "signalfd4": ("signalfd",),
    "eventfd2": ("eventfd",),
    "tgkill": ("tgkill", "pthread_kill"),
    "wait4": ("waitpid", "wait4", "wait"),
    "sched_setaffinity": ("sched_setaffinity", "pthread_setaffinity_np"),
    "ioctl": ("ioctl", "tcgetattr", "tcsetattr", "isatty", "ptsname", "grantpt", "unlockpt"),
    "openat": ("openat", "open"),
    "accept4": ("accept4",),
    "mmap": ("mmap", "pthread_create"),
    "mprotect": ("mprotect", "pthread_create"),
    "clone3": ("clone3", "pthread_create"),
    "prctl": ("prctl", "pthread_setname_np"),
}
NOTE = re.compile(r"^[ \t/*]*#syscalls\s+(.*?)(?:\s--\s.*|\*/.*)?$")


def notes(path):
    """(line, call) of each note in a source."""
    lines = text(path).split("\n")
    i = 0
    while i < len(lines):
        m = NOTE.match(lines[i])
        number = i + 1
        i += 1
        if not m:
            continue
        body = m.group(1)
        while body.count("(") > body.count(")") and i < len(lines):
            body += " " + lines[i].strip(" \t*/")
            i += 1
        bare = re.sub(r"\([^)]*\)", "", body)
        bare = re.sub(r"^[\w ]+:", "", bare)
        for call in bare.split():
            yield number, call


@rule("no seccomp note names a call that its file does not make")
def unused_notes():
    for path in with_ending(".c", ".h"):
        if path.startswith(("tests/", "jail/policy/")):
            continue
        code = None
        for number, call in notes(path):
            code = code if code is not None else code_of(path)
            names = WRAPPERS.get(call, (call,)) + ("SYS_" + call, "__NR_" + call)
            if not any(re.search(r"\b%s\b" % re.escape(n), code) for n in names) and not allowed("note/" + call, path):
                yield "%s:%d: %s is not called here" % (path, number, call)


FUNCTION = re.compile(r"^(static\b.*?)?\b(\w+)\([^;]*$")


def function_after(path, line):
    """(name, is static) of the function whose comment has this line."""
    lines = text(path).split("\n")
    for i in range(line - 1, len(lines)):
        if lines[i] == "{":
            for j in range(i - 1, line - 1, -1):
                m = FUNCTION.match(lines[j])
                if m and not lines[j].startswith((" ", "\t")):
                    return m.group(2), m.group(1) is not None
    return None, True


def program_of(role):
    """A helper's stand-alone life and its engines have roles of their own, the virtio console another one."""
    base = re.sub(r"_(alone|uring)$", "", role)
    return {"vcpu": "vmmd", "vconsole": "console"}.get(base, base)


def linked_symbols(program):
    done = subprocess.run(["nm", program], cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=True)
    return {line.split()[-1] for line in done.stdout.decode().splitlines() if line}


@rule("no policy has an entry for a function that its program does not contain")
def unused_entries():
    """The linker drops functions that nobody calls; what they need must not be in the filter then."""
    generator = os.path.join(BUILD, "host", "policy_gen")
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}  # nothing of a make above
    done = subprocess.run(["make", "-s", "policy-files"], cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, env=env)
    roles = [line.split() for line in done.stdout.decode().splitlines() if line.strip()]
    if done.returncode != 0 or not roles or not os.path.exists(os.path.join(TOP, generator)):
        raise Skip("no policies are built")
    for role, *files in roles:
        program = os.path.join(BUILD, "libexec/cloister", "cloister-" + program_of(role))
        if not os.path.exists(os.path.join(TOP, program)):
            yield "%s: there is no %s" % (role, program)
            continue
        symbols = linked_symbols(program)
        listed = subprocess.run([generator, "--list", role] + files, cwd=TOP, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if listed.returncode != 0:
            yield "%s: %s" % (role, listed.stdout.decode("utf-8", "replace").strip())
            continue
        for entry in listed.stdout.decode().splitlines():
            call, _, where = entry.split("\t")
            path, line = where.rsplit(":", 1)
            if path not in FILES or not path.endswith(".c"):  # notes of the generator itself and of libs.sys
                continue
            function, is_static = function_after(path, int(line))
            if function and not is_static and function not in symbols:
                yield "%s: %s allows %s, but %s() is not in %s" % (where, role, call, function, program)


# --- other languages -----------------------------------------------------------------------------------------------------


@rule("Python files compile")
def python_compiles():
    for path in with_ending(".py"):
        try:
            compile(text(path), path, "exec")
        except SyntaxError as e:
            yield "%s:%s: %s" % (path, e.lineno, e.msg)


@rule("shell scripts parse")
def shell_parses():
    for path in FILES:
        if is_corpus(path) or not is_script(path):
            continue
        shell = "bash" if "bash" in text(path).split("\n")[0] else "sh"
        done = subprocess.run([shell, "-n", path], cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        if done.returncode != 0:
            yield done.stdout.decode("utf-8", "replace").strip()


@rule("manual pages are clean under mandoc -T lint")
def man_pages():
    pages = [f for f in FILES if re.match(r"man/[^/]+\.[1-8]$", f)]
    if not pages:
        raise Skip("there are no manual pages")
    if shutil.which("mandoc") is None:
        raise Skip("mandoc is not installed")
    done = subprocess.run(["mandoc", "-T", "lint"] + pages, cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        # Pages of the system's that are not installed, or not in its index, are no fault of ours.
        if "outdated mandoc.db" in line:
            continue
        ref = re.search(r"referenced manual not found: Xr (\S+) (\d)", line)
        if ref is None or "man/%s.%s" % ref.groups() not in pages:
            yield line


@rule("each exception in tests/lint.allow has a reason and a file")
def exceptions():
    for (name, path), why in ALLOWED.items():
        if path not in FILES:
            yield "tests/lint.allow: %s: no such file" % path
        if len(why) < 10:
            yield "tests/lint.allow: %s %s: no reason" % (name, path)


@rule("each fuzz target has kept inputs, and each set of inputs its target")
def corpora():
    targets = {os.path.basename(f)[: -len("_fuzz.c")] for f in FILES if re.match(r"tests/fuzz/[^/]+_fuzz\.c$", f)}
    folders = {f.split("/")[3] for f in FILES if is_corpus(f)}
    for name in sorted(targets ^ folders):
        yield "tests/fuzz: %s has %s" % (name, "no corpus" if name in targets else "a corpus and no target")


def main():
    print("1..%d" % len(RULES), flush=True)
    good = True
    for number, (title, fn) in enumerate(RULES, 1):
        why = None
        try:
            findings = list(fn())
        except Skip as e:
            findings, why = [], str(e)
        good = good and not findings
        print("%sok %d - lint: %s%s" % ("not " if findings else "", number, title, " # SKIP " + why if why else ""))
        for line in findings[:50]:
            print("# " + line)
        if len(findings) > 50:
            print("# ... and %d more" % (len(findings) - 50))
        sys.stdout.flush()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
