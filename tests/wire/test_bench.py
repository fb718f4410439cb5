#!/usr/bin/python3
"""The tools of bench/ against the daemon and against each other: what they send, count and print."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

import harness

FOLDER = os.path.join(os.path.dirname(harness.program("ringpostd")), "bench")


def tool(name):
    return os.path.join(FOLDER, name)


class Server:
    """A tool that runs until SIGTERM and then prints its counts."""

    def __init__(self, test, name, *options):
        self.port = harness.free_port()
        self.process = subprocess.Popen(
            [tool(name), "--listen", f"127.0.0.1:{self.port}", *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        test.addCleanup(self.process.communicate)
        test.addCleanup(self.process.kill)
        harness.eventually(self.listens, f"{name} listens")

    def listens(self):
        if self.process.poll() is not None:
            raise AssertionError(self.process.stderr.read())
        with harness.socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        output, errors = self.process.communicate(timeout=harness.PATIENCE_S)
        if self.process.returncode != 0:
            raise AssertionError(errors)
        return json.loads(output)


def load(port, *options, status=0):
    result = subprocess.run([tool("load"), "--to", f"127.0.0.1:{port}", *options],
                            capture_output=True, text=True, timeout=2 * harness.PATIENCE_S)
    if result.returncode != status:
        raise AssertionError(f"load ended with {result.returncode}: {result.stdout}{result.stderr}")
    return json.loads(result.stdout)


def messages_in(tally):
    """The first field of struct tally."""
    with open(tally, "rb") as file:
        return int.from_bytes(file.read(8), "little")


class Tools(unittest.TestCase):
    """load and sink, without a relay between them."""

    def test_every_mode_of_pipelining(self):
        for mode in ("none", "classic", "behind", "bdat"):
            with self.subTest(mode):
                sink = Server(self, "sink", "--check")
                result = load(sink.port, "--messages", "300", "--connections", "7", "--recipients",
                              "3", "--size", "1024:2,70000:1", "--pipelining", mode)
                counts = sink.end()
                self.assertEqual(result["accepted"], 300)
                self.assertEqual(result["recipients"], 900)
                self.assertEqual(result["latency_us"]["count"], 300)
                self.assertEqual(sum(count for _, count in result["latency_us"]["buckets"]), 300)
                self.assertGreaterEqual(result["latency_us"]["buckets"][-1][0],
                                        result["latency_us"]["max"])
                self.assertEqual(result["pipelining"], mode)
                self.assertEqual(counts["messages"], 300)
                self.assertEqual(counts["recipients"], 900)
                self.assertEqual(counts["hash_right"], 300)
                self.assertEqual(counts["bytes"], result["bytes"])
                self.assertEqual(counts["by_chunks"], 300 if mode == "bdat" else 0)

    def test_open_loop_counts_from_the_due_time(self):
        sink = Server(self, "sink", "--delay-ms", "50")
        # One connection, an answer each 50 ms, a message due each 10 ms: the last ones wait long.
        result = load(sink.port, "--messages", "40", "--connections", "1", "--rate", "100")
        self.assertEqual(result["loop"], "open")
        # The fortieth is answered 2,000 ms after the start at the earliest and was due after 390 ms.
        self.assertGreater(result["latency_us"]["max"], 1600e3)

    def test_share_of_a_connection_and_warm_up(self):
        sink = Server(self, "sink")
        result = load(sink.port, "--messages", "100", "--connections", "2", "--per-connection", "10",
                      "--warmup", "40")
        self.assertEqual(result["connections"], 10)
        self.assertEqual(result["accepted"], 60)
        self.assertEqual(sink.end()["messages"], 100)

    def test_refusals_by_rate(self):
        for stage in ("mail", "rcpt", "dot"):
            for mode in ("none", "classic", "behind", "bdat"):
                with self.subTest(f"{stage} {mode}"):
                    sink = Server(self, "sink", "--check", "--deferred", "0.2", "--refused", "0.2",
                                  "--closed", "0.02", "--at", stage)
                    result = load(sink.port, "--messages", "500", "--recipients", "2",
                                  "--pipelining", mode, "--connections", "5", status=1)
                    counts = sink.end()
                    self.assertEqual(result["messages"], 500)
                    self.assertEqual(result["accepted"], counts["messages"])
                    self.assertEqual(result["recipients"], counts["recipients"])
                    self.assertEqual(counts["hash_right"], counts["messages"])
                    self.assertEqual(result["messages"], result["accepted"] + result["deferred"] +
                                     result["refused"] + result["lost"])
                    self.assertGreater(result["connections"], 5)
                    self.assertLessEqual(result["connections"], 5 + counts["closed"])
                    if stage == "mail":  # one refusal, one message; a 421 is one or a loss
                        self.assertEqual(result["refused"], counts["refused"])
                        self.assertEqual(result["deferred"] + result["lost"],
                                         counts["deferred"] + counts["closed"])
                    self.assertRegex(result["first_refusal"], r"^[45]\d\d ")
                    for name in ("deferred", "refused", "closed"):
                        self.assertGreater(counts[name], 0)
                    if stage == "dot":
                        self.assertEqual(result["refused"], counts["refused"])
                        self.assertEqual(result["deferred"],
                                         counts["deferred"] + counts["closed"])

    def test_a_wrong_body_is_seen(self):
        sink = Server(self, "sink", "--check")
        with harness.smtplib.SMTP("127.0.0.1", sink.port) as client:
            client.sendmail("a@a.test", ["b@b.test"], "X-Bench-Hash: 00000000\r\n\r\nother\r\n")
            client.sendmail("a@a.test", ["b@b.test"], "Subject: none\r\n\r\nother\r\n")
        counts = sink.end()
        self.assertEqual((counts["hash_right"], counts["hash_wrong"], counts["hash_missing"]),
                         (0, 1, 1))

    def test_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = os.path.join(folder, "c.pem"), os.path.join(folder, "k.pem")
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                            "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=bench.test",
                            "-keyout", key, "-out", certificate], check=True, capture_output=True)
            for kind, more in (("starttls", ()), ("implicit", ("--implicit-tls",))):
                with self.subTest(kind):
                    sink = Server(self, "sink", "--check", "--certificate", certificate, "--key",
                                  key, *more)
                    result = load(sink.port, "--messages", "200", "--connections", "4", "--tls",
                                  kind, "--roots", certificate, "--per-connection", "20")
                    self.assertEqual((result["accepted"], result["tls"]), (200, kind))
                    counts = sink.end()
                    self.assertEqual(counts["hash_right"], 200)
                    self.assertEqual(counts["secured"], result["connections"])

    def test_login(self):
        sink = Server(self, "sink", "--login", "ann:secret")
        self.assertEqual(load(sink.port, "--messages", "20", "--login", "ann:secret")["accepted"], 20)
        self.assertEqual(load(sink.port, "--messages", "20", status=1)["refused"], 20)

    def test_idle(self):
        for kind in ("banner", "ehlo", "mail", "data"):
            with self.subTest(kind):
                sink = Server(self, "sink")
                result = subprocess.run(
                    [tool("idle"), "--to", f"127.0.0.1:{sink.port}", "--connections", "300",
                     "--kind", kind, "--pid", str(sink.process.pid)], capture_output=True, text=True)
                self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
                facts = json.loads(result.stdout)
                self.assertEqual((facts["connections"], facts["lost"]), (300, 0))
                self.assertGreater(facts["process_anonymous_kb"], 0)
                self.assertEqual(sink.end()["connections"], 300 + 1)  # one asked if it listens

    def test_nonsense_is_refused(self):
        for options in (("--size", "10"), ("--pipelining", "fast"), ("--messages", "x"),
                        ("--never", "1"), ()):
            result = subprocess.run([tool("load"), "--to", "127.0.0.1:1", *options],
                                    capture_output=True, text=True)
            self.assertEqual(result.returncode, 2, options)


class Driver(unittest.TestCase):
    """`./run bench` with little of everything."""

    def bench(self, *options):
        result = subprocess.run([sys.executable, "-B", os.path.join(harness.ROOT, "bench", "bench.py"),
                                 *options], capture_output=True, text=True,
                                timeout=4 * harness.PATIENCE_S)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return result

    def test_measures_keeps_and_compares(self):
        with tempfile.TemporaryDirectory(prefix="ringpost-bench-") as folder:
            path = os.path.join(folder, "results.jsonl")
            options = ("--only", "^relay 1 KB|^queue of 10,000$|^20 connections$", "--rounds", "1",
                       "--quick", "--folder", folder, "--output", path)
            result = self.bench(*options)
            self.assertEqual(os.listdir(folder), ["results.jsonl"])
            with open(path) as file:
                machine, *lines = [json.loads(line) for line in file]
            self.assertIn("commit", machine)
            self.assertEqual({(line["row"], line["system"]) for line in lines}, {
                ("relay 1 KB", "ringpost"), ("relay 1 KB", "floor segment"),
                ("relay 1 KB", "floor record"), ("relay 1 KB", "floor none"),
                ("20 connections", "ringpost"), ("queue of 10,000", "ringpost")})
            for line in lines:
                self.assertGreater(line["cpu_us"], 0)
            self.assertIn("x floor", result.stdout)
            self.assertRegex(result.stderr, r"\[2/6\] round 1 of 1: relay 1 KB, floor segment")
            # The same file, made slower: what moved is named, the rest is not.
            slower = os.path.join(folder, "slower.jsonl")
            with open(slower, "w") as file:
                for line in [machine, *lines]:
                    if line.get("system") == "floor none":
                        line = {**line, "cpu_us": line["cpu_us"] * 2}
                    file.write(json.dumps(line) + "\n")
            moved = self.bench("--compare", path, slower).stdout
            self.assertRegex(moved, r"relay 1 KB +\| floor none +\| cpu_us .*\+100 %")
            self.assertNotIn("ringpost ", moved.split("change")[1])

    def test_lists_its_rows(self):
        self.assertIn("relay 10 KB", self.bench("--list").stdout.splitlines())


class Relayed(unittest.TestCase):
    """With the daemon, or the null relay, in between."""

    def test_through_the_daemon(self):
        folder = tempfile.TemporaryDirectory(prefix="ringpost-bench-")
        self.addCleanup(folder.cleanup)
        tally = os.path.join(folder.name, "tally")
        sink = Server(self, "sink", "--check", "--tally", tally, "--numbers", "1500")
        ringpost = harness.start_ringpost(self, routes={"*": [f"127.0.0.1:{sink.port}"]})
        result = load(ringpost.port, "--messages", "500", "--recipients", "3", "--size",
                      "1024:4,10240:4,300000:1", "--pipelining", "behind", "--domains",
                      "a.test:3,b.test:1", "--spread")
        self.assertEqual(result["accepted"], 500)
        ringpost.queue_empty()
        counts = sink.end()
        self.assertEqual(counts["recipients"], 1500)
        self.assertEqual(counts["hash_right"], counts["messages"])
        self.assertEqual((counts["duplicates"], counts["strangers"]), (0, 0))
        with open(tally, "rb") as file:
            self.assertEqual(file.read()[-1500:].count(1), 1500)

    def test_deferrals_are_tried_again(self):
        sink = Server(self, "sink", "--check", "--deferred", "0.3", "--at", "dot")
        ringpost = harness.start_ringpost(self, routes={"*": [f"127.0.0.1:{sink.port}"]},
                                          retry={"intervals": ["1s"]})
        load(ringpost.port, "--messages", "100", "--size", "2000")
        ringpost.queue_empty()
        counts = sink.end()
        self.assertEqual(counts["hash_right"], 100)
        self.assertGreater(counts["deferred"], 0)

    def test_the_null_relay(self):
        for durability in ("none", "record", "segment"):
            with self.subTest(durability), tempfile.TemporaryDirectory() as folder:
                tally = os.path.join(folder, "tally")
                sink = Server(self, "sink", "--check", "--tally", tally)
                floor = Server(self, "floor", "--sink", f"127.0.0.1:{sink.port}", "--folder", folder,
                               "--durability", durability, "--size", "5000", "--recipients", "2")
                result = load(floor.port, "--messages", "400", "--size", "5000", "--recipients", "2")
                self.assertEqual(result["accepted"], 400)
                harness.eventually(lambda: messages_in(tally) == 400, "everything has arrived")
                counts = floor.end()
                self.assertGreaterEqual(counts["relayed"], 399)  # the last answer may be on its way
                self.assertEqual(counts["durability"], durability)
                self.assertEqual(counts["syncs"] > 0, durability != "none")
                self.assertEqual(sink.end()["hash_right"], 400)


if __name__ == "__main__":
    unittest.main(verbosity=2)
