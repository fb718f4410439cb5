#!/usr/bin/python3
"""bench: what a message costs on this machine, beside the floor and beside others.

    ./run bench                     everything, five interleaved rounds
    ./run bench --quick             the most important rows, under three minutes
    ./run bench --peer postfix      Postfix as well, as shipped and tuned (as root); also: exim
    ./run bench --compare OLD       and then what has moved since the results in OLD
    ./run bench --compare OLD NEW   compares two files, measures nothing
    ./run bench --report [FILE]     writes the results of a run into bench/README.md

Results are JSON lines, one for each measurement, in bench/results/ (--output). bench/README.md says
what the numbers mean."""

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, FOLDER)

import cases  # noqa: E402
import machine  # noqa: E402
import meters  # noqa: E402
import parts  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402
import servers  # noqa: E402
from harness import eventually  # noqa: E402

PATIENCE_S = 300
TAKEN_LEAST = 0.95
SETTLE_S = 0.3  # what a server does behind a delivery: journal, deletes


class Failure(Exception):
    """A measurement that says nothing: mail was lost, refused or broken."""


# ---- measuring ----


class Snapshot:
    """What a server has cost by now."""

    def __init__(self, server, device, sink):
        self.cpu_s = server.meter.cpu_s()
        self.at_s = time.monotonic()
        self.recipients = sink.count("recipients")
        self.written = server.meter.written_bytes()
        self.flushes, self.device_written = device.flushes(), device.written_bytes()
        self.counters = server.counters()


def per_message(before, after, messages, exclusive):
    """The difference of two snapshots, per message."""
    facts = {"cpu_us": (after.cpu_s - before.cpu_s) * 1e6 / messages,
             "written_bytes": (after.written - before.written) / messages}
    if exclusive and before.flushes is not None:
        facts["device_flushes"] = (after.flushes - before.flushes) / messages
        facts["device_bytes"] = (after.device_written - before.device_written) / messages
    for name, value in after.counters.items():
        facts[name] = (value - before.counters[name]) / messages
    return facts


def load_options(case, messages):
    options = ["--size", case["size"], "--recipients", case["recipients"], "--connections",
               case["connections"], "--per-connection", case["per_connection"], "--pipelining",
               case["pipelining"]]
    if messages:
        options += ["--messages", messages]
    if case.get("domains"):
        options += ["--numbered-domains", case["domains"]]
    return options + case.get("load", [])


def await_recipients(server, sink, count):
    """All have arrived; the server has done what comes behind that."""
    eventually(lambda: sink.count("recipients") >= count, "everything has arrived", PATIENCE_S)
    time.sleep(SETTLE_S)


def taken(result, messages):
    """How many messages were; a server may say 4xx for a moment, which is kept as `not_taken`."""
    if result["accepted"] < messages * TAKEN_LEAST:
        raise Failure(f"of {messages} messages {result['accepted']} were taken, {result['deferred']} "
                      f"deferred, {result['refused']} refused, {result['lost']} lost: "
                      f"{result['first_refusal']}")
    return result["accepted"]


def measure_batch(server, sink, case, messages, place):
    warmup = max(messages // 10, 2 * case["connections"])
    result = servers.load(server.port, *load_options(case, warmup))
    taken(result, warmup)
    expected = result["recipients"]
    await_recipients(server, sink, expected)
    before, began_ns = Snapshot(server, place.device, sink), time.monotonic_ns()
    result = servers.load(server.port, *load_options(case, messages))
    count = taken(result, messages)
    await_recipients(server, sink, expected + result["recipients"])
    after = Snapshot(server, place.device, sink)
    facts = per_message(before, after, count, place.exclusive)
    facts.update(not_taken=1 - count / messages, rate_in=result["rate"], p50_us=result["latency_us"]["p50"],
                 p99_us=result["latency_us"]["p99"],
                 rate=count * 1e9 / (sink.count("last_ns") - began_ns),
                 memory_mb=server.meter.memory_bytes() / 1e6, messages=count)
    return facts


def measure_window(server, sink, case, messages, place):
    """Costs while a stream flows: connections are open, what is in flight is in flight."""
    seconds = case["settle_s"] + case["window_s"] + 1
    options = load_options({**case, "per_connection": 0}, 0) + ["--seconds", seconds]
    if case["rate"]:
        options += ["--rate", case["rate"]]
    process = subprocess.Popen(
        [servers.tool("load"), "--to", f"127.0.0.1:{server.port}", *map(str, options)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        time.sleep(case["settle_s"])
        before = Snapshot(server, place.device, sink)
        time.sleep(case["window_s"])
        after = Snapshot(server, place.device, sink)
        memory_mb = server.meter.memory_bytes() / 1e6
        result = json.loads(process.communicate()[0])
    finally:
        process.kill()
        process.wait()
    count = taken(result, result["messages"])
    messages = after.recipients - before.recipients
    if messages == 0:
        raise Failure("nothing was delivered meanwhile")
    await_recipients(server, sink, result["accepted"])
    facts = per_message(before, after, messages, place.exclusive)
    facts.update(not_taken=1 - count / result["messages"], rate=messages / (after.at_s - before.at_s), p50_us=result["latency_us"]["p50"],
                 p99_us=result["latency_us"]["p99"], memory_mb=memory_mb, messages=messages)
    return facts


def measure_relay(case, system, scale, place, measure=None):
    kind = servers.SYSTEMS[system]
    messages = cases.peer_messages(case) if system.split()[0] in ("postfix", "exim") else \
        case["messages"]
    messages = max(messages // scale, 2 * case["connections"])
    measure = measure or (measure_window if case["kind"] == "window" else measure_batch)
    folder = tempfile.mkdtemp(prefix="ringpost-bench-", dir=place.folder)
    os.chmod(folder, 0o755)  # other servers' processes have users of their own
    tempfile.tempdir = folder
    group = meters.Group()
    sink_options = case.get("sink", [])
    if case.get("tls_out"):
        certificate, key = servers.make_certificate(folder)
        sink_options = [*sink_options, "--certificate", certificate, "--key", key]
    sink = servers.Sink(folder, *sink_options)
    more = {}
    try:
        server = kind(folder, sink, case, group)
        try:
            facts = measure(server, sink, case, messages, place)
            if case.get("tls_out") and not sink.count("secured"):
                raise Failure("the server did not use TLS to deliver")
        finally:
            more = server.close() or {}
    finally:
        sink.end()
        group.close()
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)
    if "syncs_per_message" in more:
        facts["syncs"] = more["syncs_per_message"]
    return facts


def measure_queue(case, place):
    tempfile.tempdir = place.folder
    try:
        return rows.measure(case["rows"], case.get("queues", 1), case.get("row_bytes", 1000))
    finally:
        tempfile.tempdir = None


def measure_parts(case, scale, place):
    """None without perf."""
    if not parts.available():
        return []
    found = {}

    def watch(server, sink, case, messages, place):
        recording = parts.Recording(server.daemon.process.pid, os.path.join(place.folder, "perf"))
        facts = measure_batch(server, sink, case, messages, place)
        found.update(recording.shares(servers.harness.program("ringpostd")))
        return facts

    facts = measure_relay(case, "ringpost", scale, place, watch)
    return [(f"{case['name']}: {part}", {"share": share, "part_us": share * facts["cpu_us"]})
            for part, share in found.items()]


def measure_idle(kind, place):
    folder = tempfile.mkdtemp(prefix="ringpost-bench-", dir=place.folder)
    tempfile.tempdir = folder
    sink, group = servers.Sink(folder), meters.Group()
    try:
        server = servers.Ringpost(folder, sink, {"tls_in": kind == "tls"}, group)
        try:
            result = subprocess.run(
                [servers.tool("idle"), "--to", f"127.0.0.1:{server.port}", "--kind", kind,
                 "--connections", str(min(10_000, cases.MOST)), "--pid",
                 str(server.daemon.process.pid)], check=True, stdout=subprocess.PIPE)
        finally:
            server.close()
    finally:
        sink.end()
        group.close()
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)
    facts = json.loads(result.stdout)
    return {"user_kb": facts["process_anonymous_kb"] + facts["process_mapped_kb"],
            "kernel_kb": facts["kernel_slab_kb"] + facts["kernel_socket_buffers_kb"]
            + facts["page_tables_kb"], "connections": facts["connections"]}


def measure_micro(scale):
    """Medians of five: CPU time, not that of the disk."""
    result = subprocess.run(
        [servers.tool("micro"), "--benchmark_format=json", "--benchmark_repetitions=5",
         f"--benchmark_min_time={0.1 / scale}"], check=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL)
    for found in json.loads(result.stdout)["benchmarks"]:
        if found.get("aggregate_name") == "median":
            facts = {"ns": found["cpu_time"]}
            if "bytes_per_second" in found:
                facts["mb_per_s"] = found["bytes_per_second"] / 1e6
            yield found["run_name"], facts


def measure(case, system, scale, place):
    """Pairs of (row, facts)."""
    if case["kind"] == "queue":
        return [(case["name"], measure_queue(case, place))]
    if case["kind"] == "parts":
        return measure_parts(case, scale, place)
    if case["kind"] == "idle":
        return [(f"idle: {kind}", measure_idle(kind, place))
                for kind in ("banner", "ehlo", "mail", "data", "tls")]
    if case["kind"] == "micro":
        return list(measure_micro(scale))
    return [(case["name"], measure_relay(case, system, scale, place))]


# ---- a run ----


class Progress:
    """One line on a terminal, a line each elsewhere."""

    def __init__(self, total):
        self.total, self.done, self.began_s = total, 0, time.monotonic()

    def begin(self, text):
        used_s = time.monotonic() - self.began_s
        left = ""
        if self.done >= 3:
            left_s = used_s / self.done * (self.total - self.done)
            left = f", about {left_s // 60:.0f}:{left_s % 60:02.0f} left"
        line = f"[{self.done + 1}/{self.total}] {text}{left}"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{line}")
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()
        self.done += 1

    def end(self):
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")


def plan(options):
    """(case, system, round), interleaved: each round has every row once."""
    chosen = cases.all_cases(options.peer)
    if options.rows:
        chosen = [cases.queue_of(options.rows)]
    if options.only:
        chosen = [each for each in chosen + cases.BY_HAND if re.search(options.only, each["name"])]
    elif options.quick and not options.rows:
        chosen = [each for each in chosen if each["quick"]]
    steps = []
    for number in range(1, options.rounds + 1):
        for each in chosen:
            if number <= each.get("rounds", options.rounds):
                systems = each["systems"] if each["kind"] in ("batch", "window") else ["ringpost"]
                steps += [(each, system, number) for system in systems
                          if not options.quick or options.only or system != "floor none"]
    return steps


def take(step, options, place, output):
    case, system, number = step
    try:
        found = measure(case, system, 3 if options.quick else 1, place)
    except (Failure, AssertionError, subprocess.CalledProcessError, rows.Fault) as error:
        sys.stderr.write(f"\n{case['name']}, {system}: {error}\n")
        return 1
    for row, facts in found:
        line = {"row": row, "system": system, "round": number,
                **{name: round(value, 4) for name, value in facts.items()}}
        output.write(json.dumps(line) + "\n")
    output.flush()
    return 0


def run(options):
    steps = plan(options)
    if not steps:
        raise SystemExit("no such row: --list")
    os.makedirs(os.path.dirname(options.output), exist_ok=True)
    failures = 0
    progress = Progress(len(steps))
    with machine.place(options.folder, bool(options.peer)) as place, \
            open(options.output, "w") as output:
        output.write(json.dumps(machine.describe(options, place)) + "\n")
        output.flush()
        for step in steps:
            case, system, number = step
            progress.begin(f"round {number} of {options.rounds}: {case['name']}, {system}")
            failures += take(step, options, place, output)
    progress.end()
    return failures


def parse():
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rows, three short rounds")
    parser.add_argument("--rounds", type=int, help="default 5, with --quick 3")
    parser.add_argument("--only", metavar="PATTERN", help="rows whose name matches")
    parser.add_argument("--rows", type=int, metavar="N", help="only a deferred queue of N rows")
    parser.add_argument("--peer", action="append", choices=["postfix", "exim"], default=[])
    parser.add_argument("--folder", help="where queues are kept (default: a folder in build/)")
    parser.add_argument("--output", metavar="FILE")
    parser.add_argument("--compare", nargs="+", metavar="FILE")
    parser.add_argument("--report", nargs="?", const="", metavar="FILE")
    parser.add_argument("--list", action="store_true", help="the names of all rows")
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 3 if options.quick else 5
    if options.peer and os.getuid() != 0:
        parser.error("other servers start as root only")
    if options.compare and len(options.compare) > 2:
        parser.error("--compare OLD [NEW]")
    if not options.output:
        options.output = machine.default_output()
    options.output = os.path.abspath(options.output)
    return options


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is put away
    if options.list:
        print("\n".join(each["name"] for each in cases.all_cases() + cases.BY_HAND))
        return 0
    if options.report is not None:
        return report.write_readme(options.report or machine.newest_output())
    if options.compare and len(options.compare) == 2:
        report.compare(*options.compare)
        return 0
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (131072, 131072))
    try:
        failures = run(options)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return 130
    report.show(options.output)
    print(f"\nkept in {os.path.relpath(options.output)}")
    if options.compare:
        report.compare(options.compare[0], options.output)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
