# SPDX-License-Identifier: ISC
"""The monitor alone (mondrive.c), with helpers that a test chooses."""
import os
import select
import shutil
import subprocess
import tempfile
import time
import urllib.parse

import tap

DRIVE = tap.program("tests/security/mondrive")
FAKE = tap.program("tests/security/fakehelper")
LIBEXEC = tap.program("libexec/cloister")
HELPERS = ("cloister-blk", "cloister-net", "cloister-rng", "cloister-console", "cloister-tap")
UIDS = 1900000000 + 128 * 4000  # a block that no instance of a test run gets to
MEMORY = 64 << 20


class Message:
    """A line of mondrive's: who, name, fields (texts and numbers as text), fds."""

    def __init__(self, line):
        words = line.split(" ")
        self.who, self.name = words[0], words[1]
        pairs = [w.split("=", 1) for w in words[2:] if w]
        self.fields = {k: urllib.parse.unquote(v) for k, v in pairs}
        self.fds = [int(n) for n in self.fields.pop("fds", "").split(",") if n]
        self.id = int(self.fields.pop("id", "0"))

    def __repr__(self):
        return "%s %s %r fds=%r" % (self.who, self.name, self.fields, self.fds)

    def chain(self):
        """Of a RESULT: its texts, outermost first."""
        texts = [v for k, v in self.fields.items() if k.startswith("links.") and k.endswith(".text")]
        return list(reversed(texts))


class Monitor:
    """fake: names of the programs that fakehelper stands for; the others are the real ones."""

    def __init__(self, fake=HELPERS, uids=UIDS, pass_fds=(), wrap=()):
        self.dir = tempfile.mkdtemp(prefix="cl-mon")
        os.chmod(self.dir, 0o755)
        self.bin = os.path.join(self.dir, "bin")
        os.mkdir(self.bin, 0o755)
        shutil.copy2(os.path.join(LIBEXEC, "cloister-monitor"), self.bin)
        for name in HELPERS:
            shutil.copy2(FAKE if name in fake else os.path.join(LIBEXEC, name), os.path.join(self.bin, name))
            os.chmod(os.path.join(self.bin, name), 0o755)
        with open(os.path.join(self.dir, "stderr"), "wb") as err:
            self.proc = subprocess.Popen([*wrap, DRIVE, self.bin, str(uids)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=err, pass_fds=pass_fds, cwd=self.dir)
        self.pid = self.proc.pid
        self.inbox, self.log, self.rest = [], [], b""
        self.next = 0
        tap.at_exit(self.end)
        self.wait("apid", "APID_LISTEN")

    def end(self):
        self.proc.kill()
        self.proc.wait()
        self.proc.stdin.close()
        self.proc.stdout.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def image(self, name, size=1 << 20):
        with open(self.path(name), "wb") as f:
            f.truncate(size)
        return self.path(name)

    def say(self, who, name, **fields):
        words = ["%s=%s" % (k.replace("__", "."), v) for k, v in fields.items()]
        self.proc.stdin.write((" ".join([who, name] + words) + "\n").encode())
        self.proc.stdin.flush()
        self.next += 1
        return self.next

    def read(self, seconds):
        """What has been said by now, or within @seconds."""
        if not select.select([self.proc.stdout], [], [], seconds)[0]:
            return
        data = os.read(self.proc.stdout.fileno(), 65536)
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            text = line.decode()
            if text.startswith("log "):
                _, level, message = text.split(" ", 2)
                self.log.append((int(level), urllib.parse.unquote(message)))
            else:
                self.inbox.append(Message(text))
        if not data:
            raise AssertionError("mondrive has ended; log: %r" % self.log)

    def wait(self, who, name, seconds=10, **fields):
        """The first message of that name with these fields."""
        end = time.monotonic() + seconds
        while True:
            for i, m in enumerate(self.inbox):
                if (m.who, m.name) == (who, name) and all(m.fields.get(k) == str(v) for k, v in fields.items()):
                    return self.inbox.pop(i)
            left = end - time.monotonic()
            tap.ok(left > 0, "no %s %s %r in %g s; said: %r; log: %r" % (who, name, fields, seconds, self.inbox, self.log))
            self.read(min(left, 0.5))

    def ask(self, name, seconds=15, **fields):
        """apid's request and its answer, whatever that is."""
        ident = self.say("apid", name, **fields)
        end = time.monotonic() + seconds
        while True:
            for i, m in enumerate(self.inbox):
                if m.who == "apid" and m.id == ident:
                    return self.inbox.pop(i)
            left = end - time.monotonic()
            tap.ok(left > 0, "%s is not answered; said: %r; log: %r" % (name, self.inbox, self.log))
            self.read(min(left, 0.5))

    def do(self, name, **fields):
        """A request that has to work."""
        m = self.ask(name, **fields)
        tap.ok(m.name != "RESULT" or m.fields["code"] == "0", "%s %r: %r; log: %r" % (name, fields, m.chain(), self.log))
        return m

    def refused(self, name, *texts, **fields):
        """A request that must not work; @texts are parts of the chain's links, outermost first."""
        m = self.ask(name, **fields)
        tap.ok(m.name == "RESULT" and m.fields["code"] != "0", "%s works: %r" % (name, m))
        chain = m.chain()
        tap.eq(len(chain), len(texts), "links of %r" % chain)
        for got, want in zip(chain, texts):
            tap.contains(got, want)
        return m

    def prepare(self):
        """What a boot has beside devices."""
        with open(self.path("kernel"), "wb") as f:
            f.write(b"k" * 512)
        self.do("MON_OPEN_FILE", kind="kernel", path=self.path("kernel"))
        self.do("MON_MAKE_MEMORY", size=MEMORY, shared="off")
        return self

    def disk(self, path, index=0, **fields):
        fields = {"config__" + k: v for k, v in fields.items()}
        fields.setdefault("config__id", "_disk%d" % index)
        return dict(index=index, config__path=path, **fields)

    def hand_over(self):
        m = self.do("MON_HANDOVER", vcpus=1)
        tap.eq(m.name, "MON_HANDOVER_RESULT", "answer")
        return m

    def children(self, name):
        """Processes of the VM with this program's name, the newest last."""
        found = []
        monitor = self.monitor()
        for pid in sorted(int(p) for p in os.listdir("/proc") if p.isdigit()):
            try:
                with open("/proc/%d/stat" % pid) as f:
                    text = f.read()
            except OSError:
                continue
            comm, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
            if comm == name[:15] and int(rest[1]) == monitor and rest[0] != "Z":
                found.append(pid)
        return found

    def any_children(self):
        """Pids of the monitor's children, whatever they are by now."""
        monitor = self.monitor()
        with open("/proc/%d/task/%d/children" % (monitor, monitor)) as f:
            return [int(p) for p in f.read().split()]

    def monitor(self):
        with open("/proc/%d/task/%d/children" % (self.pid, self.pid)) as f:
            return int(f.read().split()[0])
