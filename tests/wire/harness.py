"""harness: what the wire tests share. Standard library only.

The tests talk to a real ringpostd over real sockets: `Ringpost` starts one on free ports in a folder
of its own and ends it with SIGTERM, which must give status 0. `Sink` is the SMTP server that mail
goes to: scriptable per recipient or domain, and strict about what it is sent (`violations`).
`NameServer` runs nsd with a zone made from a few lines. `read_journal` gives the journal's lines.

Nothing here asserts how long something takes; `eventually` has a deadline so that a test that will
never pass ends.
"""

import asyncio
import collections
import contextlib
import ctypes
import hashlib
import json
import logging
import os
import random
import re
import shutil
import signal
import smtplib
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

PATIENCE_S = float(os.environ.get("RINGPOST_TEST_PATIENCE", "60"))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def program(name):
    """The built program: from the environment (RINGPOSTD, RINGPOST), else from build/."""
    return os.environ.get(name.upper(), os.path.join(ROOT, "build", name))


logging.getLogger("asyncio").setLevel(logging.ERROR)  # peers that vanish are what we test

_ports = set()


def free_port(host="127.0.0.1", kind=socket.SOCK_STREAM):
    """A port that nothing uses, different from all that were given before. It lies below the range
    from which the kernel takes ports for outgoing connections, so that none of those, of any test
    beside this one, gets it before our program does."""
    chooser = random.SystemRandom()
    while True:
        port = chooser.randrange(10000, 32000)
        if port in _ports:
            continue
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, kind) as probe:
            probe.bind((host, port))
            _ports.add(port)
            return port


def eventually(question, what="", patience_s=PATIENCE_S):
    """Asks until the answer is true, and returns it."""
    deadline = time.monotonic() + patience_s
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"has not become true: {what or question}")
        time.sleep(0.02)


# ---- the daemon ----


class Ringpost:
    """One ringpostd. Its folder, and with it the queue, lasts over stop and start.

    `tables` is TOML that follows the generated tables; `delivery`, `retry`, ... are dicts whose values
    are TOML text or Python values.
    """

    def __init__(self, *, name_server=None, smtp_port=None, workers=2, relay_from=("127.0.0.0/8",),
                 hostname="mail.ringpost.test", routes=None, tables="", environment=None, **settings):
        self.folder = tempfile.mkdtemp(prefix="ringpost-wire-")
        self.data_dir = os.path.join(self.folder, "data")
        os.mkdir(self.data_dir)
        self.port, self.http_port = free_port(), free_port()
        self.hostname = hostname
        self.environment = environment or {}
        self.process = None
        self.log_path = os.path.join(self.folder, "log")
        self.config_path = os.path.join(self.folder, "ringpost.toml")
        settings.setdefault("delivery", {})
        settings["delivery"] = {"prohibited_hosts": [], **settings["delivery"]}
        if smtp_port:
            settings["delivery"].setdefault("smtp_port", smtp_port)
        if name_server:
            settings.setdefault("dns", {})
            settings["dns"] = {"servers": [f"127.0.0.1:{name_server.port}"], **settings["dns"]}
        settings.setdefault("control", {"socket": os.path.join(self.folder, "control.socket")})
        self._write_config(workers, relay_from, routes or {}, tables, settings)

    def _write_config(self, workers, relay_from, routes, tables, settings):
        lines = [
            f"hostname = {json.dumps(self.hostname)}",
            f"data_dir = {json.dumps(self.data_dir)}",
            f"workers = {workers}",
            "[[listener]]",
            f'address = "127.0.0.1:{self.port}"',
            'service = "smtp"',
            f"relay_from = {json.dumps(list(relay_from))}",
            "[[listener]]",
            f'address = "127.0.0.1:{self.http_port}"',
            'service = "http"',
        ]
        for table, values in settings.items():
            lines.append(f"[{table}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        for domain, hosts in routes.items():
            lines += [f'[route."{domain}"]', f"hosts = {json.dumps(list(hosts))}"]
        with open(self.config_path, "w") as file:
            file.write("\n".join(lines) + "\n" + tables + "\n")

    def start(self):
        # A signal that ends us must not come between the process and our knowing of it. The daemon
        # blocks these itself.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        try:
            with open(self.log_path, "ab") as log:
                self.process = subprocess.Popen(
                    [program("ringpostd"), "--config", self.config_path], stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, env={**os.environ, **self.environment})
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            eventually(self.ready, "ringpostd is ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None
        return self

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"ringpostd ended with {self.process.returncode}")
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def stop(self):
        """SIGTERM; the status must be 0."""
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            process.wait()
            raise AssertionError(f"ringpostd did not end at SIGTERM\n{self.log()}") from None
        if status != 0:
            raise AssertionError(f"ringpostd ended with {status} at SIGTERM\n{self.log()}")

    def kill(self):
        process, self.process = self.process, None
        process.kill()
        process.wait()

    def restart(self):
        self.stop()
        return self.start()

    def __enter__(self):
        try:
            return self.start()
        except BaseException as error:  # there will be no __exit__
            self.__exit__(type(error), error, None)
            raise

    def __exit__(self, kind, error, trace):
        try:
            if self.process and error is None:
                self.stop()
            elif self.process:
                sys.stderr.write(f"---- log of ringpostd\n{self.log()}----\n")
                self.kill()
        finally:
            if not os.environ.get("RINGPOST_TEST_KEEP"):
                shutil.rmtree(self.folder, ignore_errors=True)

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def get(self, path):
        """(status, body) of its HTTP listener."""
        url = f"http://127.0.0.1:{self.http_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self):
        """{"name{labels}": value}; a name without labels also sums its family."""
        values = {}
        for line in self.get("/metrics")[1].splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
                family = name.split("{")[0]
                if family != name:
                    values[family] = values.get(family, 0) + float(value)
        return values

    def metric(self, name):
        return self.metrics().get(name, 0)

    def smtp(self):
        """A connected smtplib client that has said EHLO."""
        client = smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE_S,
                              local_hostname="client.ringpost.test")
        client.ehlo()
        return client

    def send(self, sender, recipients, message, **options):
        with self.smtp() as client:
            return client.sendmail(sender, recipients, message, **options)

    def metric_becomes(self, name, value):
        """Workers publish what their queue counts a few times a second."""
        eventually(lambda: self.metric(name) == value, f"{name} is {value}")

    def queue_empty(self):
        """Empty, and still so when the workers have published again."""

        def empty():
            return self.metric("ringpost_queue_rows") == 0

        eventually(lambda: empty() and (time.sleep(0.6) or empty()), "the queue is empty")

    def command(self, *words, status=0, config=True):
        """`ringpost WORDS`; (standard output, standard error). Its exit status must be `status`."""
        where = ["--config", self.config_path] if config else []
        result = subprocess.run([program("ringpost"), *where, *map(str, words)],
                                capture_output=True, text=True, timeout=10 * PATIENCE_S)
        if result.returncode != status:
            raise AssertionError(f"ringpost {words} says {result.returncode}: {result.stdout}"
                                 f"{result.stderr}")
        return result.stdout, result.stderr

    def records(self, *words, status=0):
        """The records of `ringpost WORDS --json`."""
        return [json.loads(line) for line in
                self.command(*words, "--json", status=status)[0].splitlines()]

    def check_queue(self):
        """`ringpost queue check` on the stopped queue."""
        result = subprocess.run([program("ringpost"), "queue", "check", self.data_dir],
                                capture_output=True, text=True, timeout=10 * PATIENCE_S)
        if result.returncode != 0:
            raise AssertionError(f"queue check says {result.returncode}: {result.stdout}"
                                 f"{result.stderr}")
        return result.stdout

    def journal(self):
        return read_journal(os.path.join(self.data_dir, "journal"))

    def cpu_s(self):
        """User and system time it has used."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def start_ringpost(test, **options):
    """Starts one for a unittest.TestCase; it must end well, and its log is shown if the test fails."""
    ringpost = Ringpost(**options)

    def end():
        outcome = getattr(test, "_outcome", None)
        failed = outcome is not None and not outcome.success
        ringpost.__exit__(AssertionError if failed else None, failed or None, None)

    test.addCleanup(end)
    return ringpost.start()


# ---- the journal ----


def _crc32c_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC32C = _crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def unpack_zstd(packed):
    """Python 3.11 has no zstd; the library that ringpostd links has."""
    zstd = ctypes.CDLL("libzstd.so.1")
    zstd.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    size = zstd.ZSTD_getFrameContentSize(packed, ctypes.c_size_t(len(packed)))
    data = ctypes.create_string_buffer(size)
    got = zstd.ZSTD_decompress(data, ctypes.c_size_t(size), packed, ctypes.c_size_t(len(packed)))
    if got != size:
        raise AssertionError("damaged zstd data")
    return data.raw


def read_frames(path):
    """(sequence, line) of each whole frame; a torn tail ends it, anything else is an error."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:  # compressed since the folder was listed
        path += ".zst"
        with open(path, "rb") as file:
            data = file.read()
    if path.endswith(".zst"):
        data = unpack_zstd(data)
    at = 0
    while at < len(data):
        head = re.match(rb"([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{16}) ", data[at : at + 35])
        if not head:
            if len(data) - at < 35:
                return
            raise AssertionError(f"{path}: no frame at {at}")
        length = int(head[1], 16)
        line, end = data[at + 35 : at + 35 + length], at + 35 + length
        if end >= len(data):
            return
        if data[end : end + 1] != b"\n" or crc32c(data[at + 18 : end]) != int(head[2], 16):
            raise AssertionError(f"{path}: damaged frame at {at}")
        yield int(head[3], 16), line
        at = end + 1


def read_journal(folder):
    """All events of all workers, each worker's in order; the sequences must have no gap."""
    events = []
    files = collections.defaultdict(list)
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        match = re.fullmatch(r"w(\d+)-([0-9a-f]{16})\.log(\.zst)?", name)
        if match and not (match[3] and os.path.exists(os.path.join(folder, name[:-4]))):
            files[int(match[1])].append((int(match[2], 16), os.path.join(folder, name)))
    for worker, names in sorted(files.items()):
        expected = None
        for _, path in sorted(names):
            for sequence, line in read_frames(path):
                event = json.loads(line)
                declared = event["type"] == "Loss" and event["from"] <= (expected or 1)
                if expected is not None and sequence != expected and not declared:
                    raise AssertionError(f"{path}: frame {sequence} follows {expected - 1}")
                expected = sequence + 1
                events.append({**event, "worker": worker, "seq": sequence})
    return events


FINAL = {"Delivery", "Bounce", "Expiration", "AdminBounce"}


# ---- the name server ----


class NameServer:
    """nsd with one zone, "test.": `records` are zone-file lines with names relative to it."""

    def __init__(self, records):
        self.folder = tempfile.mkdtemp(prefix="ringpost-nsd-")
        self.port = free_port(kind=socket.SOCK_DGRAM)
        self.process = None
        self.serial = 0
        self._write_zone(records)
        with open(os.path.join(self.folder, "nsd.conf"), "w") as file:
            file.write(f"""server:
    ip-address: 127.0.0.1@{self.port}
    server-count: 1
    username: ""
    chroot: ""
    zonesdir: "{self.folder}"
    database: ""
    pidfile: "{self.folder}/pid"
    logfile: "{self.folder}/log"
    xfrdfile: "{self.folder}/xfrd"
    zonelistfile: "{self.folder}/zones"
    rrl-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: "test"
    zonefile: "zone"
""")

    def _write_zone(self, records):
        self.serial += 1
        with open(os.path.join(self.folder, "zone"), "w") as file:
            file.write("$ORIGIN test.\n$TTL 5\n"
                       f"@ SOA ns.test. root.test. {self.serial} 3600 600 86400 5\n"
                       "@ NS ns.test.\nns A 127.0.0.1\n" + "\n".join(records) + "\n")

    def __enter__(self):
        nsd = shutil.which("nsd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        self.process = subprocess.Popen([nsd, "-d", "-c", os.path.join(self.folder, "nsd.conf")],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        eventually(self._answers, "nsd answers")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self):
        if self.process.poll() is not None:
            with open(os.path.join(self.folder, "log"), errors="replace") as file:
                raise AssertionError(f"nsd ended: {file.read()}")
        query = struct.pack(">HHHHHH", 4711, 0, 1, 0, 0, 0) + b"\4test\0" + struct.pack(">HH", 6, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.5)
            try:
                client.sendto(query, ("127.0.0.1", self.port))
                return client.recv(4096)[3] & 15 == 0
            except OSError:
                return False

    def replace_zone(self, records):
        self._write_zone(records)
        self.process.send_signal(signal.SIGHUP)


def domain(name, *mail_hosts):
    """Zone lines: `name` has an MX for each address, in the order given."""
    lines = []
    for number, address in enumerate(mail_hosts, 1):
        lines += [f"{name} MX {number * 10} mx{number}.{name}.test.", f"mx{number}.{name} A {address}"]
    return lines


# ---- the sink ----

Message = collections.namedtuple(
    "Message", "sender recipients body sha256 time mail_parameters rcpt_parameters ehlo by_bdat session")

DEFAULT_EXTENSIONS = ("PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN",
                      "ENHANCEDSTATUSCODES")


class Rule:
    """What becomes of a recipient: `replies` are used one after the other, then it is accepted (or,
    with `forever`, the last one goes on). At "rcpt" or at "dot"."""

    def __init__(self, replies=(), at="rcpt", forever=False, delay_s=0.0, cut=False):
        self.replies = list(replies)
        self.at, self.forever, self.delay_s, self.cut = at, forever, delay_s, cut
        self.used = 0

    def next(self, at):
        """The reply (None: accept) for this attempt."""
        if at != self.at or not self.replies:
            return None
        if self.used >= len(self.replies) and not self.forever:
            return None
        reply = self.replies[min(self.used, len(self.replies) - 1)]
        self.used += 1
        return reply


def accept():
    return Rule()


def defer(times, reply="451 4.3.0 try again later", at="rcpt"):
    return Rule([reply] * times, at)


def defer_forever(reply="451 4.3.0 try again later", at="rcpt"):
    return Rule([reply], at, forever=True)


def refuse(reply="550 5.1.1 no such user", at="rcpt"):
    return Rule([reply], at, forever=True)


def shut_down(times):
    """421 to RCPT, and the connection is closed."""
    return Rule(["421 4.3.2 shutting down"] * times)


def cut_after_dot(times):
    """The connection ends between the final dot and its answer; the message was taken."""
    return Rule(["cut"] * times, "dot", cut=True)


def delay(seconds, at="dot"):
    return Rule(at=at, delay_s=seconds)


class _Session(asyncio.Protocol):
    """One connection. Commands are read line by line; DATA and BDAT bodies as bytes."""

    def __init__(self, sink):
        self.sink = sink
        self.buffer = bytearray()
        self.state = "command"
        self.waiting = False  # a delayed answer: nothing is read until it is out
        self.ehlo = ""
        self.number = sink.count_session()
        self.mark = 0
        self.reset()

    def reset(self):
        self.sender = None
        self.mail_parameters = ""
        self.recipients, self.rcpt_parameters = [], []
        self.chunks = []
        self.by_bdat = False

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sink.sessions.add(self)
        if self.sink.banner.startswith("220"):
            self.reply(self.sink.banner)
        else:
            self.reply(self.sink.banner, close=True)

    def connection_lost(self, error):
        self.sink.sessions.discard(self)

    def violation(self, text):
        self.sink.violations.append(f"session {self.number}: {text}")

    def reply(self, text, close=False):
        if self.transport.is_closing():
            return
        self.transport.write(text.encode() + b"\r\n")
        if close:
            self.transport.close()
            self.waiting = True

    def data_received(self, data):
        self.buffer += data
        self.work()

    def work(self):
        while not self.waiting and not self.transport.is_closing():
            progress = {"command": self.read_command, "data": self.read_data,
                        "bdat": self.read_chunk}[self.state]()
            if not progress:
                return

    def offers(self, name):
        return any(extension.split()[0] == name for extension in self.sink.extensions)

    # -- commands

    def read_command(self):
        end = self.buffer.find(b"\n")
        if end < 0:
            return False
        line = bytes(self.buffer[: end + 1])
        del self.buffer[: end + 1]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            self.violation(f"bare CR or LF in a command: {line!r}")
        text = line.rstrip(b"\r\n").decode("utf-8", "replace")
        verb, _, argument = text.partition(" ")
        verb = verb.upper()
        run = getattr(self, "run_" + verb.lower(), None)
        if self.buffer and not self.offers("PIPELINING") and verb != "BDAT":
            self.violation(f"sent on behind {verb} without PIPELINING")
        if run:
            run(argument)
        else:
            self.reply("500 5.5.2 unknown command")
            self.violation(f"unknown command: {text}")
        return True

    def run_ehlo(self, argument):
        self.ehlo = argument
        self.reset()
        lines = [self.sink.hostname, *self.sink.extensions]
        for line in lines[:-1]:
            self.transport.write(f"250-{line}\r\n".encode())
        self.reply(f"250 {lines[-1]}")

    def run_helo(self, argument):
        self.ehlo = argument
        self.reset()
        self.reply(f"250 {self.sink.hostname}")

    def run_mail(self, argument):
        match = re.fullmatch(r"FROM:<([^>]*)>(.*)", argument, re.IGNORECASE)
        if not match or self.sender is not None:
            self.violation(f"MAIL {argument}")
            self.reply("503 5.5.1 what?")
            return
        self.sender, self.mail_parameters = match[1], match[2].strip()
        for word in self.mail_parameters.split():
            needs = {"SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8", "RET": "DSN",
                     "ENVID": "DSN"}.get(word.split("=")[0].upper())
            if not needs or not self.offers(needs):
                self.violation(f"MAIL parameter that was not offered: {word}")
        self.reply("250 2.1.0 ok")

    def run_rcpt(self, argument):
        match = re.fullmatch(r"TO:<([^>]*)>(.*)", argument, re.IGNORECASE)
        if not match or self.sender is None:
            self.violation(f"RCPT {argument}")
            self.reply("503 5.5.1 what?")
            return
        recipient, parameters = match[1], match[2].strip()
        if parameters and not self.offers("DSN"):
            self.violation(f"RCPT parameter that was not offered: {parameters}")
        rule = self.sink.rule(recipient)
        self.sink.attempts[recipient] += 1
        reply = rule.next("rcpt")
        if reply is None:
            self.recipients.append(recipient)
            self.rcpt_parameters.append(parameters)
            self.answer(rule.delay_s if rule.at == "rcpt" else 0, "250 2.1.5 ok")
        else:
            self.answer(rule.delay_s, reply, close=reply.startswith("421"))

    def answer(self, delay_s, text, close=False):
        if not delay_s:
            self.reply(text, close)
            return
        self.waiting = True

        def later():
            self.waiting = False
            self.reply(text, close)
            self.work()

        asyncio.get_running_loop().call_later(delay_s, later)

    def run_data(self, argument):
        if not self.recipients:
            self.reply("554 5.5.1 no valid recipients")
            return
        self.state, self.mark = "data", 0
        self.reply("354 go on")

    def run_bdat(self, argument):
        words = argument.upper().split()
        if not self.offers("CHUNKING") or not words or not words[0].isdigit():
            self.violation(f"BDAT {argument}")
        self.chunk_size, self.chunk_last = int(words[0]), words[1:] == ["LAST"]
        self.state, self.by_bdat = "bdat", True

    def run_rset(self, argument):
        self.reset()
        self.reply("250 2.0.0 ok")

    def run_noop(self, argument):
        self.reply("250 2.0.0 ok")

    def run_quit(self, argument):
        self.reply("221 2.0.0 bye", close=True)

    # -- bodies

    def read_data(self):
        if self.mark == 0 and self.buffer.startswith(b".\r\n"):
            end, after = 0, 3
        else:
            found = self.buffer.find(b"\r\n.\r\n", max(0, self.mark - 4))
            if found < 0:
                self.mark = len(self.buffer)
                return False
            end, after = found + 2, found + 5
        stuffed = bytes(self.buffer[:end])
        del self.buffer[:after]
        self.mark = 0
        if re.search(rb"(?:^|\n)\.[^.]", stuffed) or re.search(rb"(?:^|\n)\.$", stuffed):
            self.violation("a line that begins with one dot")
        body = re.sub(rb"(^|\n)\.\.", rb"\1.", stuffed)
        self.state = "command"
        self.finish(body)
        return True

    def read_chunk(self):
        if len(self.buffer) < self.chunk_size:
            return False
        self.chunks.append(bytes(self.buffer[: self.chunk_size]))
        del self.buffer[: self.chunk_size]
        self.state = "command"
        if not self.recipients:
            self.reply("554 5.5.1 no valid recipients")
        elif self.chunk_last:
            self.finish(b"".join(self.chunks))
        else:
            self.reply(f"250 2.0.0 {self.chunk_size} octets")
        return True

    def finish(self, body):
        if re.search(rb"\r(?!\n)|(?<!\r)\n|\0", body):
            self.violation("bare CR, bare LF or NUL in a body")
        if not body.endswith(b"\r\n"):
            self.violation("a body that does not end in CRLF")
        if not self.offers("8BITMIME") and not body.isascii():
            self.violation("an 8-bit body without 8BITMIME")
        rules = [self.sink.rule(recipient) for recipient in self.recipients]
        delay_s = max((rule.delay_s for rule in rules if rule.at == "dot"), default=0)
        replies = [(rule, rule.next("dot")) for rule in rules]
        reply = next((text for _, text in replies if text), None)
        if reply is None or any(rule.cut and text for rule, text in replies):
            self.sink.keep(Message(
                self.sender, tuple(self.recipients), body if self.sink.keep_bodies else None,
                hashlib.sha256(body).hexdigest(), time.time(), self.mail_parameters,
                tuple(self.rcpt_parameters), self.ehlo, self.by_bdat, self.number))
        self.reset()
        if reply == "cut":
            self.transport.abort()
        elif reply:
            self.answer(delay_s, reply, close=reply.startswith("421"))
        else:
            self.answer(delay_s, "250 2.0.0 taken")


class Sink:
    """An SMTP server on a port of its own, in a thread of its own."""

    def __init__(self, host="127.0.0.1", port=None, *, rules=None, extensions=DEFAULT_EXTENSIONS,
                 banner="220 sink.test ESMTP", hostname="sink.test", keep_bodies=True):
        self.host, self.port = host, port or free_port()
        self.rules = dict(rules or {})
        self.extensions, self.banner, self.hostname = tuple(extensions), banner, hostname
        self.keep_bodies = keep_bodies
        self.messages, self.violations, self.sessions = [], [], set()
        self.attempts = collections.Counter()
        self.session_count = 0
        self._arrived = threading.Condition()

    def count_session(self):
        self.session_count += 1
        return self.session_count

    def rule(self, recipient):
        """That of the recipient, else of the domain, else "*"."""
        for key in (recipient, recipient.rpartition("@")[2], "*"):
            if key in self.rules:
                return self.rules[key]
        return accept()

    def keep(self, message):
        with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()

    def wait_for(self, count, patience_s=PATIENCE_S):
        """The messages, once there are so many."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.messages) >= count, patience_s):
                raise AssertionError(f"{len(self.messages)} messages of {count} have arrived")
            return list(self.messages)

    def __enter__(self):
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        if not self._started.wait(PATIENCE_S) or self._error:
            raise AssertionError(f"the sink cannot listen: {self._error}")
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    _error = None

    def _run(self):
        self._loop = asyncio.new_event_loop()
        try:
            listening = self._loop.run_until_complete(self._loop.create_server(
                lambda: _Session(self), self.host, self.port, backlog=1024))
        except OSError as error:
            self._error = error
            self._started.set()
            return
        self._started.set()
        self._loop.run_forever()
        listening.close()
        for session in list(self.sessions):
            session.transport.abort()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


# ---- injecting fast ----


class Injector(threading.Thread):
    """Sends messages over one connection as a good bulk client does: MAIL, RCPT and DATA in one
    write, the next message's right behind the body. `messages` yields (sender, recipients, body);
    `accepted` gets (id, recipients, body, seconds from the dot to its 250) for each 250."""

    def __init__(self, port, messages, host="127.0.0.1"):
        super().__init__(daemon=True)
        self.address, self.messages = (host, port), iter(messages)
        self.accepted, self.refused = [], []
        self.error = self.replies = None

    def run(self):
        try:
            with socket.create_connection(self.address, timeout=PATIENCE_S) as self.socket:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.replies = self.socket.makefile("rb")
                self.converse()
        except (OSError, EOFError) as error:
            self.error = error
        finally:
            if self.replies:
                self.replies.close()

    def reply(self):
        while True:
            line = self.replies.readline()
            if not line:
                raise EOFError("connection closed")
            if line[3:4] != b"-":
                return line.decode("utf-8", "replace").rstrip()

    @staticmethod
    def envelope(message):
        sender, recipients, _ = message
        lines = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{recipient}>" for recipient in recipients),
                 "DATA"]
        return ("\r\n".join(lines) + "\r\n").encode()

    def converse(self):
        self.reply()
        self.socket.sendall(b"EHLO injector.ringpost.test\r\n")
        self.reply()
        message = next(self.messages, None)
        if message:
            self.socket.sendall(self.envelope(message))
        while message:
            message = self.transact(message, next(self.messages, None))
        self.socket.sendall(b"QUIT\r\n")
        self.reply()

    def transact(self, message, following):
        """The envelope is out already; sends the body and the next envelope."""
        _, recipients, body = message
        answers = [self.reply() for _ in range(1 + len(recipients))]
        go_on = self.reply()
        if not go_on.startswith("354"):
            self.refused.append((message, answers + [go_on]))
            if following:
                self.socket.sendall(self.envelope(following))
            return following
        stuffed = re.sub(rb"(^|\n)\.", rb"\1..", body) + b".\r\n"
        self.socket.sendall(stuffed + (self.envelope(following) if following else b""))
        started = time.monotonic()
        answer = self.reply()
        seconds = time.monotonic() - started
        match = re.match(r"250 .*queued as (\S+)", answer)
        if match:
            self.accepted.append((match[1], recipients, body, seconds))
        else:
            self.refused.append((message, answers + [answer]))
        return following


def inject(port, messages, connections=10):
    """Sends all messages over several connections; the injectors, ended."""
    messages = list(messages)
    injectors = [Injector(port, messages[number::connections]) for number in range(connections)]
    for injector in injectors:
        injector.start()
    for injector in injectors:
        injector.join()
    return injectors


# ---- messages ----


def make_message(subject="hello", size=0, *, sender="ann@sender.test", recipient="bob@a.test", seed=0):
    """A message with what breaks careless relays: dots, long lines, blank lines, 8-bit letters off."""
    lines = [f"From: <{sender}>", f"To: <{recipient}>", f"Subject: {subject}",
             "Date: Tue, 24 Nov 2026 15:42:20 +0000",
             f"Message-ID: <{subject.replace(' ', '.')}.{seed}@sender.test>", "", ".", "..", ". a",
             "From here on", "", " " * 3, "x" * 990, "."]
    text = bytearray("\r\n".join(lines).encode() + b"\r\n")
    filler = random.Random(seed)
    while len(text) < size:
        line = bytes(filler.choices(b".abcdefghijklmnopqrstuvwxyz ", k=min(76, size - len(text))))
        text += line + b"\r\n"
    return bytes(text)


def without_received(body):
    """The body behind the one Received field that was put in front of it."""
    match = re.match(rb"Received:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", body)
    if not match:
        raise AssertionError(f"no Received field in front: {body[:200]!r}")
    return body[match.end():]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def all_of(*managers):
    """Enters several context managers, leaves them in reverse order."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(manager) for manager in managers]
