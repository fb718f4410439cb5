#!/usr/bin/python3
"""The journal as an operator meets it: segments rotated, compressed and removed, read by consumers
over restarts, verified after kill -9 and after somebody laid hands on it.

RINGPOST_KILL_ROUNDS says how often it is killed.
"""

import csv
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from harness import Injector, Ringpost, Sink, eventually, make_message, program

ROUNDS = int(os.environ.get("RINGPOST_KILL_ROUNDS", "50" if os.environ.get("CI") else "8"))
SENDER = "ann@sender.test"


class Journal(unittest.TestCase):
    def setUp(self):
        self.sink = self.enterContext(Sink())
        self.number = 0

    def start(self, workers=2, **journal):
        options = {"segment_size": "64KB", "segment_time": "1h", **journal}
        ringpost = Ringpost(workers=workers, routes={"*": [f"127.0.0.1:{self.sink.port}"]}, journal=options)
        self.addCleanup(ringpost.__exit__, None, None, None)
        ringpost.start()
        return ringpost

    def journal_of_one(self, **journal):
        """With a single worker: one sequence."""
        return self.start(workers=1, **journal)

    def messages(self, count):
        for _ in range(count):
            self.number += 1
            yield SENDER, [f"m{self.number}@a.test"], make_message(f"m{self.number}", 300,
                                                                   seed=self.number)

    def inject(self, ringpost, count):
        before = len(self.sink.messages)
        injector = Injector(ringpost.port, self.messages(count))
        injector.start()
        injector.join()
        eventually(lambda: len(self.sink.messages) >= before + count, "all are delivered")
        ringpost.queue_empty()

    def files(self, ringpost, pattern):
        folder = os.path.join(ringpost.data_dir, "journal")
        return sorted(os.path.join(folder, name) for name in os.listdir(folder)
                      if re.search(pattern, name))

    def grow(self, ringpost, segments=3):
        """Until so many are compressed."""
        while len(self.files(ringpost, r"\.zst$")) < segments:
            self.inject(ringpost, 100)
            time.sleep(0.3)

    def export(self, ringpost, *words, status=0):
        return [json.loads(line) for line in
                ringpost.command("journal", "export", *words, status=status)[0].splitlines()]

    def assert_whole(self, events, first=1):
        """No sequence is missing and none comes twice."""
        for worker in {event["worker"] for event in events}:
            sequences = [event["sequence"] for event in events if event["worker"] == worker]
            self.assertEqual(sequences, list(range(first, first + len(sequences))))

    def test_segments_and_export(self):
        ringpost = self.journal_of_one()
        self.grow(ringpost)
        ringpost.command("journal", "verify")
        events = self.export(ringpost)
        self.assert_whole(events)
        self.assertEqual(sum(event["type"] == "Delivery" for event in events), self.number)
        self.assertEqual(self.export(ringpost, "--from", 50), events[49:])
        for path in self.files(ringpost, r"\.zst$"):
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o440)
        self.assertGreaterEqual(len(self.files(ringpost, r"\.log$")), 2)
        self.assertEqual(ringpost.metric("ringpost_journal_lost_total"), 0)
        ringpost.restart()
        self.inject(ringpost, 10)
        self.assert_whole(self.export(ringpost))
        ringpost.stop()
        self.assertIn(" 0 finding(s)", ringpost.command("journal", "verify")[0])

    def test_accounting_file(self):
        ringpost = self.journal_of_one()
        self.inject(ringpost, 5)
        text = ringpost.command("journal", "export", "--format", "csv")[0]
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        self.assertEqual(sorted(row["type"] for row in rows), ["d"] * 5 + ["r"] * 5)
        self.assertEqual({row["orig"] for row in rows}, {SENDER})
        self.assertEqual({row["rcpt"] for row in rows if row["type"] == "d"},
                         {f"m{number}@a.test" for number in range(1, 6)})
        for row in rows:
            self.assertRegex(row["timeLogged"], r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+0000$")
            if row["type"] == "d":
                self.assertEqual(row["dlvDestinationIp"], "127.0.0.1")
                self.assertTrue(row["dsnStatus"].endswith(" (success)"))
        only = ringpost.command("journal", "export", "--format", "csv", "--types", "d")[0]
        self.assertEqual(only.count("\nd,"), 5)
        self.assertNotIn("\nr,", only)
        ringpost.command("journal", "export", "--format", "csv", "--types", "x", status=2)

    def test_consumers_go_on_over_restarts(self):
        ringpost = self.start()
        seen = []
        for round_number in range(4):
            self.inject(ringpost, 150)
            seen += self.export(ringpost, "--consumer", "billing")
            if round_number % 2:
                ringpost.restart()
        self.assert_whole(seen)
        self.assertEqual(sum(event["type"] == "Reception" for event in seen), self.number)
        self.assertEqual(self.export(ringpost, "--consumer", "billing"), [])
        self.assertEqual([(cursor["consumer"], cursor["behind"])
                          for cursor in ringpost.records("journal", "cursors")], [("billing", 0)])
        self.inject(ringpost, 5)
        self.assertEqual(ringpost.records("journal", "cursors")[0]["behind"], 10)
        ringpost.command("journal", "cursors", "--remove", "billing")
        self.assertEqual(ringpost.records("journal", "cursors"), [])
        ringpost.command("journal", "cursors", "--remove", "billing", status=1)
        self.assert_whole(self.export(ringpost, "--consumer", "billing"))
        ringpost.command("journal", "export", "--consumer", "a/b", status=2)

    def test_a_killed_consumer_loses_nothing(self):
        ringpost = self.journal_of_one()
        seen = set()
        for _ in range(5):
            with tempfile.TemporaryFile() as output:
                tail = subprocess.Popen(
                    [program("ringpost"), "--config", ringpost.config_path, "journal", "tail", "-f",
                     "--consumer", "alerts"], stdout=output)
                self.inject(ringpost, 60)
                time.sleep(0.1)
                tail.send_signal(signal.SIGKILL)
                tail.wait()
                output.seek(0)
                seen |= {json.loads(line)["sequence"] for line in output.read().splitlines()
                         if line.endswith(b"}")}
        seen |= {event["sequence"] for event in self.export(ringpost, "--consumer", "alerts")}
        self.assertEqual(seen, set(range(1, 2 * self.number + 1)))

    def test_tail_follows(self):
        ringpost = self.journal_of_one()
        self.inject(ringpost, 20)
        last = ringpost.command("journal", "tail", "--lines", 3)[0].splitlines()
        self.assertEqual([json.loads(line)["sequence"] for line in last], [38, 39, 40])
        with subprocess.Popen([program("ringpost"), "--config", ringpost.config_path, "journal",
                               "tail", "-f", "--lines", "1"], stdout=subprocess.PIPE,
                              text=True) as tail:
            self.assertEqual(json.loads(tail.stdout.readline())["sequence"], 40)
            self.inject(ringpost, 500)  # over several segments
            for sequence in range(41, 1041):
                self.assertEqual(json.loads(tail.stdout.readline())["sequence"], sequence)
            tail.terminate()

    def test_a_second_run_of_a_consumer_is_refused(self):
        ringpost = self.journal_of_one()
        with subprocess.Popen([program("ringpost"), "--config", ringpost.config_path, "journal",
                               "tail", "-f", "--consumer", "billing"],
                              stdout=subprocess.PIPE, text=True) as tail:
            self.inject(ringpost, 1)
            tail.stdout.readline()
            error = ringpost.command("journal", "export", "--consumer", "billing", status=1)[1]
            self.assertIn("running", error)
            tail.terminate()

    def test_what_consumers_need_is_kept_for_a_while(self):
        ringpost = self.start(keep="16MB", keep_time="1s", keep_for_consumers="0B")
        seen = self.export(ringpost, "--consumer", "billing")  # from now on it is waited for

        def removed():
            self.inject(ringpost, 100)
            seen.extend(self.export(ringpost, "--consumer", "billing"))
            return ringpost.metric("ringpost_journal_segments_removed_total") >= 2

        eventually(removed, "old segments are removed")
        for _ in range(4):  # none of these, however old: the consumer has not read them
            self.inject(ringpost, 150)
            time.sleep(1)
        ringpost.command("journal", "verify")
        seen += self.export(ringpost, "--consumer", "billing")
        self.assert_whole(seen)
        self.assertEqual(ringpost.metric("ringpost_journal_segments_dropped_total"), 0)

    def test_refusals_are_told(self):
        ringpost = self.journal_of_one()
        with ringpost.smtp() as client:
            client.docmd("AUTH", "PLAIN c2VjcmV0")
            client.docmd("MAIL", "FROM:<ann@sender.test>")
            client.docmd("RCPT", "TO:<nonsense")
            client.docmd("WHAT", "is this")

        def rejections():
            return [event for event in self.export(ringpost) if event["type"] == "Rejection"]

        eventually(lambda: len(rejections()) == 3, "three refusals")
        auth, rcpt, what = rejections()
        self.assertEqual(auth["response"]["command"], "AUTH")
        self.assertEqual(rcpt["response"]["command"], "RCPT TO:<nonsense")
        self.assertEqual(rcpt["sender"], SENDER)
        self.assertEqual(rcpt["response"]["code"] // 100, 5)
        self.assertEqual(rcpt["response"]["enhanced_code"]["class"], 5)
        self.assertEqual(what["peer_address"]["addr"], "127.0.0.1")
        self.assertEqual(ringpost.command("journal", "export", "--format", "csv")[0].count("\n"), 1)

    # ---- what verify finds ----

    def broken_copy(self, ringpost):
        """Its journal in a folder of its own."""
        folder = tempfile.mkdtemp(prefix="ringpost-journal-")
        self.addCleanup(shutil.rmtree, folder)
        shutil.copytree(os.path.join(ringpost.data_dir, "journal"), os.path.join(folder, "journal"))
        return folder

    def findings(self, ringpost, folder, status):
        return ringpost.records("journal", "verify", folder, status=status)

    def test_verify_finds_it(self):
        ringpost = self.journal_of_one()
        self.grow(ringpost)
        ringpost.stop()
        whole = self.broken_copy(ringpost)
        self.assertEqual(self.findings(ringpost, whole, 0), [])
        segments = self.files(ringpost, r"\.log(\.zst)?$")
        for path in segments:
            with self.subTest("a removed segment", path=path):
                folder = self.broken_copy(ringpost)
                os.unlink(os.path.join(folder, "journal", os.path.basename(path)))
                self.assertEqual([finding["finding"] for finding in
                                  self.findings(ringpost, folder, 1)], ["missing"])
        for path in (segments[0], segments[-2]):
            with self.subTest("a flipped bit", path=path):
                folder = self.broken_copy(ringpost)
                broken = os.path.join(folder, "journal", os.path.basename(path))
                with open(broken, "rb") as file:
                    data = bytearray(file.read())
                data[len(data) // 2] ^= 16
                os.unlink(broken)
                with open(broken, "wb") as file:
                    file.write(data)
                self.assertGreater(len(self.findings(ringpost, folder, 1)), 0)
        with self.subTest("a removed line"):
            folder = self.broken_copy(ringpost)
            broken = os.path.join(folder, "journal", os.path.basename(segments[-2]))
            with open(broken, "rb") as file:
                lines = file.readlines()
            os.unlink(broken)
            with open(broken, "wb") as file:
                file.writelines(lines[:5] + lines[6:])
            missing = int(lines[5].split()[2], 16)
            found = self.findings(ringpost, folder, 1)
            self.assertEqual([(f["finding"], f["from"], f["to"]) for f in found],
                             [("missing", missing, missing)])

    def test_no_undeclared_gap_after_kills(self):
        ringpost = self.start()
        source = random.Random(ROUNDS)
        for _ in range(ROUNDS):
            injectors = [Injector(ringpost.port, self.messages(10 ** 9)) for _ in range(2)]
            for injector in injectors:
                injector.start()
            time.sleep(source.uniform(0.05, 0.8))
            ringpost.kill()
            for injector in injectors:
                injector.join()
            ringpost.command("journal", "verify")
            ringpost.start()
        ringpost.queue_empty()
        ringpost.stop()
        ringpost.command("journal", "verify")
        self.assert_whole(self.export(ringpost))


if __name__ == "__main__":
    unittest.main(verbosity=2)
