#!/usr/bin/python3
"""rows: a queue of a million rows, and what it costs to start over it and to drain it.

fill_rows writes the queue as a daemon that could not deliver would have left it. Then it is measured
from outside: from exec to the first connection that is taken and to /readyz, the memory, the time to
the first delivery, and the drain in tenths, with a restart in the middle (SIGTERM, or kill -9 with
--kill). sink takes the mail and counts per recipient, so that lost and doubled rows show.

The exit status is 1 if something is wrong: rows lost or doubled without a cause, an illegal queue, a
daemon that does not end well. Figures that miss their goal are marked "short": that depends on the
machine, so it is not an error.

`./run bench` runs this as well, with less to say (measure)."""

import argparse
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from servers import Sink, listens, tool  # noqa: E402
from harness import Ringpost, program  # noqa: E402

GOAL_LISTENING_S, GOAL_RSS_MB = 2.0, 500
START_S, STALLED_S = 600, 60


class Fault(Exception):
    """What makes the exit status 1."""


# ---- the daemon, measured ----


def bind_life():
    """A daemon is not to outlive the measurement, even if that is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Measured(Ringpost):
    """A Ringpost whose start is watched closely."""

    def start(self):
        with open(self.log_path, "ab") as log:
            began = time.monotonic()
            self.process = subprocess.Popen([program("ringpostd"), "--config", self.config_path],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=bind_life)
        self.began_ns = int(began * 1e9)
        self.listening_s = self.wait_until(lambda: listens(self.port)) - began
        self.ready_s = self.wait_until(self.ready) - began
        self.rss_mb, self.start_cpu_s = self.status_mb("VmRSS"), self.cpu_s()
        return self

    def wait_until(self, question):
        deadline = time.monotonic() + START_S
        while not question():
            if self.process.poll() is not None:
                raise Fault(f"ringpostd ended with {self.process.returncode}\n{self.log()}")
            if time.monotonic() > deadline:
                raise Fault("ringpostd does not start")
            time.sleep(0.001)
        return time.monotonic()

    def status_mb(self, name):
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                if line.startswith(name + ":"):
                    return int(line.split()[1]) / 1024
        return 0.0

    def report_start(self, title):
        say(title)
        show("listening", f"{self.listening_s:.2f} s", short(self.listening_s, GOAL_LISTENING_S, "s"))
        show("/readyz is 200", f"{self.ready_s:.2f} s", f"{self.start_cpu_s:.2f} s of CPU")
        show("RSS", f"{self.rss_mb:.0f} MB", short(self.rss_mb, GOAL_RSS_MB, "MB"))


quiet = False  # measure() says nothing


def say(*words):
    if not quiet:
        print(*words, flush=True)


def show(name, value, remark=""):
    say(f"  {name:<28} {value:>14}  {remark}".rstrip())


def short(value, goal, unit):
    return f"short of the goal, {goal:g} {unit}" if value > goal else f"goal {goal:g} {unit}"


# ---- the drain ----


class Drain:
    """Follows the sink; every tenth of the rows makes a line."""

    def __init__(self, sink, rows):
        self.sink, self.rows = sink, rows
        self.tenth = 0
        self.costs_us = []  # daemon CPU per row, by tenth

    def header(self):
        say("drain, by tenths")
        say(f"  {'rows':>14} {'rows/s':>10} {'CPU us/row':>11} {'loaded/s':>10} {'RSS MB':>8}")

    def mark(self, ringpost):
        self.at, self.cpu_s = time.monotonic(), ringpost.cpu_s()
        self.count = self.sink.distinct()
        self.loaded = ringpost.metric("ringpost_queue_rows_loaded_total")

    def line(self, ringpost):
        at, cpu_s, count, loaded = self.at, self.cpu_s, self.count, self.loaded
        self.mark(ringpost)
        seconds, rows = max(self.at - at, 1e-6), max(self.count - count, 1)
        cost_us = (self.cpu_s - cpu_s) / rows * 1e6
        self.costs_us.append(cost_us)
        say(f"  {self.count:>14,} {rows / seconds:>10,.0f} {cost_us:>11.1f} "
            f"{(self.loaded - loaded) / seconds:>10,.0f} {ringpost.status_mb('VmRSS'):>8.0f}")

    def until(self, ringpost, goal):
        """Until `goal` rows are out."""
        moved_at, before = time.monotonic(), -1
        while True:
            count = self.sink.distinct()
            now = time.monotonic()
            if count != before:
                moved_at, before = now, count
            while self.tenth < 10 and count >= self.rows * (self.tenth + 1) // 10:
                if self.rows >= 10:
                    self.line(ringpost)
                self.tenth += 1
            if count >= goal:
                return
            if ringpost.process.poll() is not None:
                raise Fault(f"ringpostd ended with {ringpost.process.returncode}\n{ringpost.log()}")
            if now - moved_at > STALLED_S:
                raise Fault(f"nothing moves any more at {count:,} of {self.rows:,} rows")
            time.sleep(0.005)

    def conclude(self):
        """Is the cost per window flat? The first tenth also pays for the start, the last one waits for
        stragglers."""
        first, last = self.costs_us[1:3] or [0], self.costs_us[-3:-1] or [0]
        ratio = (sum(last) / len(last)) / max(sum(first) / len(first), 1e-9)
        show("cost of the last rows", f"{ratio:.2f}",
             "of the first ones'" + (": not flat" if ratio > 1.5 else ": flat"))


def report_first(sink, ringpost):
    deadline = time.monotonic() + STALLED_S
    while not sink.counts()["first_ns"]:
        if time.monotonic() > deadline or ringpost.process.poll() is not None:
            raise Fault(f"nothing is delivered\n{ringpost.log()}")
        time.sleep(0.001)
    first_s = (sink.counts()["first_ns"] - ringpost.began_ns) / 1e9
    show("first delivery", f"{first_s:.2f} s", "from exec")
    return first_s


def restart(ringpost, sink, kill):
    """In the middle; nothing may get lost."""
    peak_mb = ringpost.status_mb("VmHWM")
    began = time.monotonic()
    if kill:
        ringpost.kill()
    else:
        ringpost.stop()
    ended_s = time.monotonic() - began
    say(f"{'kill -9' if kill else 'SIGTERM'} in the middle, and again")
    show("RSS, peak", f"{peak_mb:.0f} MB", short(peak_mb, GOAL_RSS_MB, "MB"))
    if not kill:
        show("ended after", f"{ended_s:.2f} s", "with status 0")
    show("queue check", "clean", ringpost.check_queue().strip().replace(": 0 illegal", ""))
    sink.ask_first()
    ringpost.start()


def drain(ringpost, sink, options):
    follow = Drain(sink, options.rows)
    facts = {"first_s": report_first(sink, ringpost)}
    follow.header()
    follow.mark(ringpost)
    follow.until(ringpost, options.rows // 2)
    restart(ringpost, sink, options.kill)
    ringpost.report_start("the second start")
    report_first(sink, ringpost)
    follow.header()
    follow.mark(ringpost)
    follow.until(ringpost, options.rows)
    ringpost.queue_empty()
    follow.conclude()
    seconds = (sink.counts()["last_ns"] - sink.counts()["first_ns"]) / 1e9
    costs = follow.costs_us or [0]
    return {**facts, "again_listening_s": ringpost.listening_s, "cpu_us": sum(costs) / len(costs),
            "rows_per_s": (options.rows - options.rows // 2) / max(seconds, 1e-6)}


# ---- the whole ----


def fill(ringpost, options):
    began = time.monotonic()
    subprocess.run([tool("fill_rows"), ringpost.data_dir, str(options.rows),
                    str(options.queues), str(options.body), str(options.due)], check=True)
    size = sum(os.path.getsize(os.path.join(path, name))
               for path, _, names in os.walk(ringpost.data_dir) for name in names)
    say(f"{options.rows:,} rows in {options.queues:,} queues, bodies of {options.body:,} bytes: "
        f"{size / 1e9:.2f} GB, filled in {time.monotonic() - began:.0f} s")
    show("queue check", "clean", ringpost.check_queue().strip().replace(": 0 illegal", ""))


def judge(ringpost, sink, options):
    """The queue is legal; every row is out exactly once, or still there."""
    show("RSS, peak", f"{ringpost.status_mb('VmHWM'):.0f} MB",
         short(ringpost.status_mb("VmHWM"), GOAL_RSS_MB, "MB"))
    ringpost.stop()
    left = ringpost.check_queue().strip()
    show("queue check", "clean", left.replace(": 0 illegal", ""))
    queued = int(left.split(",")[1].split()[0])
    counts = sink.counts()
    duplicates, strangers = counts["duplicates"], counts["strangers"]
    messages = sink.distinct()
    show("delivered", f"{messages:,}", f"{duplicates:,} twice, {queued:,} still queued")
    if strangers:
        raise Fault(f"{strangers:,} messages for nobody of ours")
    if messages + queued != options.rows:
        raise Fault(f"{options.rows:,} rows, but {messages:,} delivered and {queued:,} queued")
    if duplicates and not options.kill:
        raise Fault(f"{duplicates:,} rows were delivered twice without a cause")
    if not options.no_drain and (queued or sink.missing()):
        raise Fault(f"{sink.missing():,} rows were never delivered")


def carry_out(options):
    """The figures; Fault if something is wrong."""
    folder = tempfile.mkdtemp(prefix="ringpost-rows-")
    sink = ringpost = None
    try:
        sink = Sink(folder, numbers=options.rows)
        ringpost = Measured(
            routes={"*": [f"127.0.0.1:{sink.port}"]},
            delivery={"connection_limit": 64, "max_deliveries_per_connection": 100_000})
        fill(ringpost, options)
        ringpost.start().report_start("the first start")
        facts = {"listening_s": ringpost.listening_s, "ready_s": ringpost.ready_s,
                 "start_rss_mb": ringpost.rss_mb, "start_cpu_s": ringpost.start_cpu_s}
        if options.no_drain:
            time.sleep(2)  # what the start put off
        else:
            facts.update(drain(ringpost, sink, options))
        facts["rss_mb"] = ringpost.status_mb("VmHWM")
        judge(ringpost, sink, options)
        return facts
    finally:
        put_away(folder, sink, ringpost, options.keep)


def measure(rows, queues=1, body=1000):
    """For ./run bench."""
    global quiet
    quiet = True
    return carry_out(argparse.Namespace(rows=rows, queues=queues, body=body, due=0, no_drain=False,
                                        kill=False, keep=False))


def run(options):
    try:
        carry_out(options)
        print("Every row is accounted for.")
        return 0
    except (Fault, AssertionError, subprocess.CalledProcessError) as error:
        print(f"WRONG: {error}")
        return 1


def put_away(folder, sink, ringpost, keep):
    if sink:
        sink.end()
    if ringpost and ringpost.process:
        ringpost.kill()
    shutil.rmtree(folder, ignore_errors=True)
    if ringpost and keep:
        print(f"Kept: {ringpost.folder}")
    elif ringpost:
        shutil.rmtree(ringpost.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(prog="./run rows", description="A queue of many rows.")
    parser.add_argument("rows", type=int, nargs="?", default=1_000_000, metavar="N")
    parser.add_argument("--queues", type=int, default=1, metavar="K", help="default 1")
    parser.add_argument("--body", type=int, default=1_000, metavar="BYTES", help="default 1,000")
    parser.add_argument("--no-drain", action="store_true", help="only start; nothing is due")
    parser.add_argument("--kill", action="store_true", help="kill -9 in the middle, not SIGTERM")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    options = parser.parse_args()
    if options.rows < 1 or not 1 <= options.queues <= options.rows or options.body < 64:
        parser.error("at least one row, no more queues than rows, bodies of 64 bytes or more")
    options.due = 24 * 3600 if options.no_drain else 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is put away
    try:
        return run(options)
    except KeyboardInterrupt:
        print("\nstopped")
        return 130


if __name__ == "__main__":
    sys.exit(main())
