#!/usr/bin/python3
"""demo: ten thousand mails through Ringpost, and an account of every one of them.

Everything is real and on loopback: a name server (nsd) with a zone of its own, receiving servers that
accept, defer or refuse, and ringpostd between them and several pipelining clients. The account does
not rest on what the daemon says about itself: the clients know which id each `250` promised, the
servers know which bytes arrived (SHA-256), and each bounced mail must have its report at the sender's
server. What the daemon counts must agree. The exit status is 0 only if all that adds up, recipient by
recipient.

It has two stages. First mail of exactly 10 KB that is accepted at once: that gives the CPU of a plain
relay. Then mail of several sizes to all domains, with what can go wrong.

Servers and clients are processes of their own, forked before any thread exists; the zone, the
servers' addresses and the outcome expected of each domain stand in one table, DOMAINS."""

import argparse
import asyncio
import collections
import contextlib
import email
import hashlib
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "wire"))

from harness import (NameServer, Ringpost, Sink, accept, defer, domain, free_port,  # noqa: E402
                     program, refuse, without_received)

Domain = collections.namedtuple("Domain", "name share outcome zone about")

# `share` is out of a hundred mails of the second stage. 127.0.0.250 is nobody: there the second MX
# must do.
DOMAINS = [
    Domain("news", 40, "accept", domain("news", "127.0.0.11"), "accepts"),
    Domain("shop", 20, "accept", domain("shop", "127.0.0.250", "127.0.0.12"),
           "accepts; its first MX is down"),
    Domain("club", 19, "accept", ["club A 127.0.0.13"], "accepts; has no MX, only an address"),
    Domain("busy", 15, "defer", domain("busy", "127.0.0.14"), "451 once, every fifth twice"),
    Domain("strict", 3, "refuse", domain("strict", "127.0.0.15"), "550 to everybody"),
    Domain("gone", 2, "bounce", [], "does not exist (NXDOMAIN)"),
    Domain("nomail", 1, "bounce", ["nomail MX 0 ."], "takes no mail (null MX)"),
]
SENDER_ZONE = domain("sender", "127.0.0.20")  # where the reports go
SINKS = [("127.0.0.11",), ("127.0.0.12", "127.0.0.13", "127.0.0.14", "127.0.0.15", "127.0.0.20")]
INJECTORS, CONNECTIONS = 2, 16  # processes, and connections of each
PLAIN_SHARE = 0.4  # of all mails: the first stage
PLAIN_SIZE = 10_000
SIZES = [PLAIN_SIZE] * 46 + [2_000, 2_000, 40_000, 120_000]
STALLED_S, LONGEST_S = 15, 50

CONFIG = """\
# The demo's configuration. `{program} --options` explains every key.
hostname = "mail.ringpost.test"
data_dir = "{data_dir}"
workers = 2

# Our software injects here, from this machine only.
[[listener]]
address = "127.0.0.1:{port}"
service = "smtp"
relay_from = ["127.0.0.0/8"]

# curl http://127.0.0.1:{http_port}/metrics
[[listener]]
address = "127.0.0.1:{http_port}"
service = "http"

# The demo's own zone, "test."
[dns]
servers = ["127.0.0.1:{dns_port}"]

[delivery]
smtp_port = {smtp_port}       # the demo's servers; 25 in the world
prohibited_hosts = []   # they are on loopback, which is never connected to otherwise
connection_limit = 16

# Minutes and hours in the world; here nobody wants to wait.
[retry]
intervals = ["1s", "2s"]
max_age = "1h"

# A report (RFC 3464) to the sender of what cannot be delivered.
[bounce]
mode = "dsn"
"""

NEXT = """\
What to try next
  ./run demo --show-config             the configuration that this ran with
  ./run demo --messages 50000 --keep   more of it; the queue, the journal and the log are kept
  ./run serve --config FILE            your own: start from packaging/ringpost.toml
  ./run rows                           a queue of a million rows: start, memory, drain
  ./run test                           all tests
  docs/ARCHITECTURE.md                 how it works"""


# Which count of a process is which.
ARRIVED, ARRIVED_LATER, REPORTED, ACCEPTED, TALLIES = range(5)


# ---- the servers, in processes of their own ----


class Receiver(Sink):
    """A sink that notes only what the account needs: no body stays in memory."""

    def __init__(self, host, port, tally):
        super().__init__(host, port)
        self.tally = tally
        self.people = {}
        self.arrivals = []  # (id, recipient, SHA-256, first attempt, time)
        self.reports = []   # (recipient, status)

    def rule(self, recipient):
        if recipient not in self.people:
            self.people[recipient] = self.new_rule(*recipient.split("@"))
        return self.people[recipient]

    @staticmethod
    def new_rule(local, name):
        if name == "busy.test":
            return defer(2 if local.endswith(("0", "5")) else 1, "451 4.7.1 busy, come back soon")
        return refuse("550 5.1.1 nobody of that name") if name == "strict.test" else accept()

    def keep(self, message):
        if message.recipients[0].endswith("@sender.test"):
            self.reports.append(report_of(message))
            self.tally[REPORTED] += 1
            return
        body_id = re.match(rb"Received:[^;]*? id (\S+?)[;\s]", message.body)[1].decode()
        digest = hashlib.sha256(without_received(message.body)).hexdigest()
        for recipient in message.recipients:
            first = self.attempts[recipient] == 1
            self.arrivals.append((body_id, recipient, digest, first, message.time))
            self.tally[ARRIVED if first else ARRIVED_LATER] += 1


def report_of(message):
    """(null sender?, its address, recipient, status) as a report (RFC 3464) says."""
    report = email.message_from_bytes(message.body)
    fields = {}
    for part in report.walk():
        if part.get_content_type() == "message/delivery-status":
            for block in part.get_payload():
                fields.update({name.lower(): value for name, value in block.items()})
    recipient = fields.get("final-recipient", "").rpartition(";")[2].strip()
    return (message.sender == "", message.recipients[0], recipient, fields.get("status", ""))


def run_sinks(hosts, port, tally, pipe):
    """A process: serves until asked for what has arrived."""
    leave_signals_to_the_parent()
    with contextlib.ExitStack() as stack:
        sinks = [stack.enter_context(Receiver(host, port, tally)) for host in hosts]
        pipe.send("listening")
        try:
            pipe.recv()
        except EOFError:
            return
        pipe.send(([row for sink in sinks for row in sink.arrivals],
                   [row for sink in sinks for row in sink.reports],
                   [text for sink in sinks for text in sink.violations]))


# ---- the clients ----

Mail = collections.namedtuple("Mail", "number sender recipient body")


def lot_of(outcomes):
    """Names of domains, each as often as its share, shuffled the same way in every run."""
    lot = [entry.name for entry in DOMAINS if entry.outcome in outcomes for _ in range(entry.share)]
    random.Random(2026).shuffle(lot)
    return lot


def mails(numbers, lot, sizes):
    """The mails of these numbers. Which domain and size a number has is the same in every run."""
    shuffler = random.Random(2026)
    letters = bytes(shuffler.choices(b"..abcdefghijklmnopqrstuvwxyz   ", k=200_000))
    lines = [letters[at : at + 74] for at in range(0, len(letters), 74)]
    for number in numbers:
        recipient = f"user{number}@{lot[number % len(lot)]}.test"
        size = sizes[number // 7 % len(sizes)]
        head = (f"From: Demo <news@sender.test>\r\nTo: <{recipient}>\r\nSubject: number {number}\r\n"
                f"Message-ID: <{number}@sender.test>\r\nMIME-Version: 1.0\r\n"
                "Content-Type: text/plain; charset=us-ascii\r\n\r\n").encode()
        count = (size - len(head)) // 76
        first = number * 31 % (len(lines) - count)
        yield Mail(number, f"bounce{number}@sender.test", recipient,
                   head + b"\r\n".join(lines[first : first + count]) + b"\r\n")


class Client(asyncio.Protocol):
    """One connection: the next envelope goes out right behind a body, before that body's 250."""

    def __init__(self, source, results, tally):
        self.source, self.results, self.tally = source, results, tally
        self.ended = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.awaited = collections.deque(["greeting"])
        self.mail = self.next = None
        self.dot_at = 0.0

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, error):
        if not self.ended.done():
            self.ended.set_result(None if not self.mail and not self.awaited
                                  else f"connection closed: {error or 'by ringpostd'}")

    def data_received(self, data):
        *lines, self.buffer = (self.buffer + data).split(b"\r\n")
        for line in lines:
            if line[3:4] != b"-" and self.awaited:
                getattr(self, "on_" + self.awaited.popleft())(line)

    def envelope(self, mail):
        self.awaited.extend(["envelope", "envelope", "data"])
        return f"MAIL FROM:<{mail.sender}>\r\nRCPT TO:<{mail.recipient}>\r\nDATA\r\n".encode()

    def on_greeting(self, _line):
        self.awaited.append("ehlo")
        self.transport.write(b"EHLO client.sender.test\r\n")

    def on_ehlo(self, _line):
        self.go_on(next(self.source, None))
        if self.mail:
            self.transport.write(self.envelope(self.mail))

    def go_on(self, mail):
        self.mail = mail
        if not mail:
            self.transport.write(b"QUIT\r\n")
            self.awaited.append("quit")

    def on_envelope(self, line):
        if not line.startswith(b"250"):
            self.give_up(line)

    def on_data(self, line):
        if not line.startswith(b"354"):
            self.give_up(line)
            return
        self.awaited.append("dot")
        following = next(self.source, None)
        stuffed = self.mail.body.replace(b"\r\n.", b"\r\n..") + b".\r\n"
        self.next = following
        self.transport.write(stuffed + (self.envelope(following) if following else b""))
        self.dot_at = time.monotonic()

    def on_dot(self, line):
        queued = re.match(rb"250 .*queued as (\S+)", line)
        if not queued:
            self.give_up(line)
            return
        self.results.append((queued[1].decode(), self.mail.recipient,
                             hashlib.sha256(self.mail.body).hexdigest(),
                             time.monotonic() - self.dot_at))
        self.tally[ACCEPTED] += 1
        self.go_on(self.next)

    def on_quit(self, _line):
        self.transport.close()

    def give_up(self, line):
        if not self.ended.done():
            self.ended.set_result(f"{self.mail.recipient}: {line.decode('utf-8', 'replace')}")
        self.awaited.clear()
        self.transport.close()


async def inject(port, source, tally):
    """All of `source` over CONNECTIONS connections; what was accepted, and complaints."""
    results, loop = [], asyncio.get_running_loop()
    clients = []
    for _ in range(CONNECTIONS):
        _, client = await loop.create_connection(lambda: Client(source, results, tally),
                                                 "127.0.0.1", port)
        clients.append(client)
    complaints = [await client.ended for client in clients]
    return results, [complaint for complaint in complaints if complaint], time.time()


def run_injector(port, plain, mixed, tally, pipe):
    """A process: for each stage it waits for the word, and sends the mails of these numbers."""
    leave_signals_to_the_parent()
    pipe.send("prepared")
    for source in (mails(plain, lot_of({"accept"}), [PLAIN_SIZE]),
                   mails(mixed, lot_of({"accept", "defer", "refuse", "bounce"}), SIZES)):
        try:
            pipe.recv()
            pipe.send(asyncio.run(inject(port, source, tally)))
        except EOFError:
            return
        except OSError as error:
            pipe.send(([], [str(error)], time.time()))


def leave_signals_to_the_parent():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Helper:
    """A process of ours: what it says comes through a pipe, and closing the pipe ends it."""

    def __init__(self, target, *arguments):
        self.tally = context.Array("Q", TALLIES, lock=False)  # written by the helper only
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=target, args=(*arguments, self.tally, theirs),
                                       daemon=True)
        self.process.start()
        theirs.close()
        self.answer()

    def answer(self, patience_s=30):
        if not self.pipe.poll(patience_s):
            raise SystemExit(f"demo: {self.process.name} does not answer")
        return self.pipe.recv()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.join()
        self.pipe.close()


context = multiprocessing.get_context("fork")


# ---- the progress line ----


class Progress:
    """Redrawn in place on a terminal, else a line every two seconds."""

    def __init__(self, total, helpers):
        self.total, self.helpers = total, helpers
        self.terminal = sys.stdout.isatty()
        self.started = self.drawn = time.monotonic()

    def counts(self):
        return [sum(helper.tally[index] for helper in self.helpers) for index in range(TALLIES)]

    def show(self, last=False):
        now = time.monotonic()
        if not last and now - self.drawn < (0.1 if self.terminal else 2):
            return
        self.drawn = now
        arrived, later, reported, accepted = self.counts()
        line = (f"{now - self.started:5.1f} s  in {accepted:,} of {self.total:,}   delivered {arrived:,}"
                f"   after a retry {later:,}   reports {reported:,}")
        if self.terminal:
            print("\r\x1b[K" + line, end="\n" if last else "", flush=True)
        else:
            print(line, flush=True)


def wait_for_all(progress, goal, ringpost):
    """Until so many have arrived or have their report; False if nothing moves any more."""
    before, moved = None, time.monotonic()
    while True:
        arrived, later, reported, accepted = counts = progress.counts()
        now = time.monotonic()
        if counts != before:
            before, moved = counts, now
        if accepted >= goal and arrived + later + reported >= goal:
            return True
        if ringpost.process.poll() is not None or now - moved > STALLED_S:
            return False
        if now - progress.started > max(LONGEST_S, progress.total / 200):
            return False
        progress.show()
        time.sleep(0.05)


# ---- the account ----


class Account:
    """What was promised at the one end and what came of it at the other."""

    def __init__(self, sent, arrivals, reports):
        self.faults = []
        self.promised = {(entry[0], entry[1]): entry[2] for entry in sent}
        self.seconds = sorted(entry[3] for entry in sent)
        self.outcome = {f"{entry.name}.test": entry.outcome for entry in DOMAINS}
        self.arrivals, self.reports = arrivals, reports
        self.delivered = collections.Counter((row[0], row[1]) for row in arrivals)
        self.bounced = collections.Counter(recipient for _, _, recipient, _ in reports)
        self.judge_arrivals()
        self.judge_reports()
        self.judge_promises()

    def judge_arrivals(self):
        for identifier, recipient, digest, _, _ in self.arrivals:
            promised = self.promised.get((identifier, recipient))
            if promised is None:
                self.faults.append(f"{identifier} {recipient}: arrived, but nobody had its 250")
            elif promised != digest:
                self.faults.append(f"{identifier} {recipient}: arrived changed")

    def judge_reports(self):
        for null_sender, address, recipient, status in self.reports:
            number = recipient.partition("@")[0].replace("user", "bounce")
            if not null_sender or address != f"{number}@sender.test" or status[:2] != "5.":
                self.faults.append(f"{recipient}: its report came to {address}, status {status}, "
                                   f"{'null' if null_sender else 'not null'} reverse-path")

    def judge_promises(self):
        for identifier, recipient in self.promised:
            arrived, bounced = self.delivered[identifier, recipient], self.bounced[recipient]
            fine = self.outcome[recipient.partition("@")[2]] in ("accept", "defer")
            if arrived + bounced == 0:
                self.faults.append(f"{identifier} {recipient}: missing")
            elif (arrived, bounced) != ((1, 0) if fine else (0, 1)):
                self.faults.append(f"{identifier} {recipient}: delivered {arrived} times, "
                                   f"{bounced} reports")

    def compare_bounces(self, bounced_by_daemon):
        self.bounced_by_daemon = bounced_by_daemon
        if bounced_by_daemon != len(self.reports):
            self.faults.append(f"the daemon counts {bounced_by_daemon:,} bounces, but "
                               f"{len(self.reports):,} reports have come")

    def deferred(self):
        return sum(not first for _, _, _, first, _ in self.arrivals)

    def quantile_ms(self, share):
        if not self.seconds:
            return 0
        return self.seconds[min(int(len(self.seconds) * share), len(self.seconds) - 1)] * 1000


def print_table(rows):
    width = max(len(name) for name, _, _ in rows)
    print()
    for name, value, remark in rows:
        print(f"  {name:<{width}}  {value:>8}  {remark}".rstrip())
    print()


def file_system(path):
    """The kind of file system that `path` is on: what a sync costs depends on it."""
    path, best = os.path.realpath(path), ("", "disk")
    with open("/proc/self/mounts") as file:
        for _, mount, kind, *_ in (line.split() for line in file):
            if path.startswith(mount) and len(mount) >= len(best[0]):
                best = (mount, kind)
    return best[1]


def bounced_count(ringpost, expected):
    """The daemon's own count, which it publishes a few times a second."""
    deadline = time.monotonic() + 3
    while True:
        count = int(ringpost.metric("ringpost_recipients_bounced_total"))
        if count == expected or time.monotonic() > deadline:
            return count
        time.sleep(0.1)


def share_of_cpu(cpu_s, wall_s):
    return f"{cpu_s / max(wall_s, 1e-3) / os.cpu_count():.0%} of {os.cpu_count()} processors"


def table(account, ringpost, plain, mixed):
    sent, inject_s = len(account.promised), plain.inject_s + mixed.inject_s
    cpu_s, wall_s = plain.cpu_s + mixed.cpu_s, plain.wall_s + mixed.wall_s
    return [
        ("injected", f"{sent:,}", f"in {inject_s:.1f} s, {INJECTORS * CONNECTIONS} connections"),
        ("delivered", f"{len(account.arrivals):,}", "SHA-256 of every body compared"),
        ("  deferred then delivered", f"{account.deferred():,}", ""),
        ("bounced", f"{account.bounced_by_daemon:,}", "as the daemon counts"),
        ("DSNs received", f"{len(account.reports):,}", "at the sender's server"),
        ("250, median", f"{account.quantile_ms(0.5):.1f} ms",
         f"from the final dot; synced to {file_system(ringpost.data_dir)}"),
        ("250, p99", f"{account.quantile_ms(0.99):.1f} ms", ""),
        ("messages per second, in", f"{sent / max(inject_s, 1e-3):,.0f}",
         "clients and servers are Python, on the same processors"),
        ("messages per second, through", f"{plain.count / max(plain.wall_s, 1e-3):,.0f}",
         f"the first {plain.count:,}: plain mail of 10 KB, delivered"),
        ("daemon CPU per message", f"{plain.cost_us():,.0f} us",
         f"the same: {plain.cpu_s:.2f} s, {share_of_cpu(plain.cpu_s, plain.wall_s)}"),
        ("  with retries and reports", f"{mixed.cost_us():,.0f} us",
         f"the other {mixed.count:,}; all in all {cpu_s:.2f} s, {share_of_cpu(cpu_s, wall_s)}"),
    ]


# ---- the story ----


def free_smtp_port():
    """A port that is free on each of the servers' addresses."""
    while True:
        port = free_port()
        with contextlib.ExitStack() as stack:
            try:
                for host in [host for hosts in SINKS for host in hosts]:
                    probe = stack.enter_context(socket.socket())
                    probe.bind((host, port))
                return port
            except OSError:
                continue


def config_text(ringpost, name_server, smtp_port):
    return CONFIG.format(program=os.path.relpath(program("ringpostd")), data_dir=ringpost.data_dir,
                         port=ringpost.port, http_port=ringpost.http_port,
                         dns_port=name_server.port, smtp_port=smtp_port)


class Stage:
    """Some of the mails, from the word to the clients until each has arrived or has its report."""

    def __init__(self, count):
        self.count = count
        self.sent, self.complaints = [], []
        self.inject_s = self.cpu_s = self.wall_s = 0.0

    def run(self, injectors, progress, goal, ringpost):
        cpu_before, started = ringpost.cpu_s(), time.time()
        for injector in injectors:
            injector.pipe.send("go")
        self.complete = wait_for_all(progress, goal, ringpost)
        self.wall_s = time.time() - started
        if ringpost.process.poll() is None:
            self.cpu_s = ringpost.cpu_s() - cpu_before
        for injector in injectors:
            if injector.pipe.poll(2):
                sent, complaints, ended = injector.pipe.recv()
                self.sent += sent
                self.complaints += complaints
                self.inject_s = max(self.inject_s, ended - started)

    def cost_us(self):
        return self.cpu_s / max(self.count, 1) * 1e6


def plain_count(messages):
    return int(messages * PLAIN_SHARE)


def run_stages(options, ringpost, sinks, injectors):
    """Everything runs: the mails go through it. Both stages."""
    progress = Progress(options.messages, sinks + injectors)
    plain = Stage(plain_count(options.messages))
    mixed = Stage(options.messages - plain.count)
    plain.run(injectors, progress, plain.count, ringpost)
    if plain.complete:
        mixed.run(injectors, progress, options.messages, ringpost)
    progress.show(last=True)
    return plain, mixed


def account_of(options, ringpost, sinks, stages):
    arrivals, reports = [], []
    complaints = [text for stage in stages for text in stage.complaints]
    sent = [entry for stage in stages for entry in stage.sent]
    for sink in sinks:
        sink.pipe.send("result")
        rows, notices, violations = sink.answer()
        arrivals += rows
        reports += notices
        complaints += violations
    account = Account(sent, arrivals, reports)
    account.faults += complaints
    alive = ringpost.process.poll() is None
    account.compare_bounces(bounced_count(ringpost, len(reports)) if alive else 0)
    if len(sent) != options.messages:
        account.faults.append(f"{options.messages - len(sent):,} mails were not answered 250")
    return account


def conclude(account, ringpost):
    """Ends the daemon; its queue must be legal and empty. The exit status."""
    try:
        ringpost.stop()
        left = ringpost.check_queue().strip()
        if not left.startswith("0 fresh, 0 queued"):
            account.faults.append(f"the queue is not empty: {left}")
    except AssertionError as error:
        account.faults.append(str(error))
    if not account.faults:
        print("Every message is accounted for, the queue is empty and legal.\n")
        return 0
    print(f"NOT every message is accounted for; {len(account.faults):,} faults:")
    for fault in account.faults[:40]:
        print(f"  {fault}")
    if len(account.faults) > 40:
        print(f"  ... and {len(account.faults) - 40:,} more")
    return 1


def run(options):
    smtp_port, plain = free_smtp_port(), plain_count(options.messages)
    with contextlib.ExitStack() as stack:
        zone = [line for entry in DOMAINS for line in entry.zone]
        name_server = NameServer(zone + SENDER_ZONE)
        ringpost = Ringpost(name_server=name_server)
        stack.callback(put_away, ringpost, options.keep)
        with open(ringpost.config_path, "w") as file:
            file.write(config_text(ringpost, name_server, smtp_port))
        sinks = [stack.enter_context(Helper(run_sinks, hosts, smtp_port)) for hosts in SINKS]
        injectors = [stack.enter_context(Helper(
            run_injector, ringpost.port, range(number, plain, INJECTORS),
            range(plain + number, options.messages, INJECTORS))) for number in range(INJECTORS)]
        stack.enter_context(name_server)
        print(f"{options.messages:,} mails, mostly of 10 KB, to")
        for entry in DOMAINS:
            print(f"  {entry.name + '.test':<12}  {entry.about}")
        print(f"Configuration: {ringpost.config_path}"
              + ("" if options.keep else " (until this ends; --show-config prints it)"))
        ringpost.start()
        stages = run_stages(options, ringpost, sinks, injectors)
        account = account_of(options, ringpost, sinks, stages)
        print_table(table(account, ringpost, *stages))
        status = conclude(account, ringpost)
        if status:
            sys.stderr.write(f"---- log of ringpostd\n{ringpost.log()[-4000:]}----\n")
        print(f"Kept: {ringpost.folder}\n" if options.keep else "", end="")
        print(NEXT)
        return status


def put_away(ringpost, keep):
    if ringpost.process:
        ringpost.kill()
    if not keep:
        shutil.rmtree(ringpost.folder, ignore_errors=True)


def show_config():
    """As it would be; a run that keeps its folder has it there."""
    text = CONFIG.format(program="build/ringpostd", data_dir="/tmp/ringpost-wire-XXXXXXXX/data",
                         port=2525, http_port=8025, dns_port=5353, smtp_port=2500)
    print("# The ports are examples: each run picks free ones.\n" + text, end="")


def main():
    parser = argparse.ArgumentParser(prog="./run", description="Mail on its way through Ringpost.")
    parser.add_argument("--messages", type=int, default=10_000, metavar="N", help="default 10,000")
    parser.add_argument("--keep", action="store_true", help="keep the folder with queue and journal")
    parser.add_argument("--show-config", action="store_true", help="print the configuration")
    options = parser.parse_args()
    if options.messages < 1:
        parser.error("--messages: at least 1")
    if options.show_config:
        show_config()
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is put away
    try:
        return run(options)
    except KeyboardInterrupt:
        print("\nstopped")
        return 130


if __name__ == "__main__":
    sys.exit(main())
