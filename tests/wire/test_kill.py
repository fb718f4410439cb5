#!/usr/bin/python3
"""kill -9 at random moments under load: what was acknowledged is delivered or still queued, always,
and the journal has exactly one Reception for each of its recipients.

RINGPOST_KILL_ROUNDS and RINGPOST_KILL_SEED choose how often and when; a failure names its seed.
"""

import collections
import itertools
import os
import random
import threading
import time
import unittest

from harness import (Injector, Ringpost, Rule, Sink, eventually, make_message, sha256,
                     without_received)

ROUNDS = int(os.environ.get("RINGPOST_KILL_ROUNDS", "50" if os.environ.get("CI") else "10"))
SEED = int(os.environ.get("RINGPOST_KILL_SEED", str(time.time_ns() % 1000000)))
SENDER = "ann@sender.test"


class Unsteady(Rule):
    """Accepts most, defers some, cuts a few connections behind the dot."""

    def __init__(self, random_source):
        super().__init__(at="dot")
        self.random = random_source
        self.steady = False

    def next(self, at):
        self.cut = False
        if at != "dot" or self.steady:
            return None
        chance = self.random.random()
        if chance < 0.1:
            return "451 4.3.0 not now"
        if chance < 0.12:
            self.cut = True
            return "cut"
        return None


class Kill(unittest.TestCase):
    def setUp(self):
        self.random = random.Random(SEED)
        self.rule = Unsteady(random.Random(SEED + 1))
        self.sink = self.enterContext(Sink(rules={"*": self.rule}))
        self.ringpost = Ringpost(routes={"*": [f"127.0.0.1:{self.sink.port}"]},
                                 retry={"intervals": ["1s"], "jitter": "50%"},
                                 queue={"nursery_age": "500ms", "segment_size": "1MB"})
        self.addCleanup(self.ringpost.__exit__, None, None, None)
        self.numbers = itertools.count()
        self.lock = threading.Lock()
        self.sent = {}  # SHA-256 of each body by its first recipient

    def endless_messages(self):
        while True:
            with self.lock:
                number = next(self.numbers)
            domains = ("a.test", "b.test", "c.test")[: 1 + number % 3]
            recipients = [f"m{number}@{domain}" for domain in domains]
            size = 500_000 if number % 97 == 0 else number * 37 % 12_000
            body = make_message(f"m{number}", size, seed=number)
            self.sent[number] = sha256(body)
            yield SENDER, recipients, body

    def run_and_kill(self):
        """One life; the recipients of what was acknowledged in it."""
        self.ringpost.start()
        injectors = [Injector(self.ringpost.port, self.endless_messages()) for _ in range(8)]
        for injector in injectors:
            injector.start()
        time.sleep(self.random.uniform(0.02, 1.5))
        self.ringpost.kill()
        for injector in injectors:
            injector.join()
        return [recipient for injector in injectors for entry in injector.accepted
                for recipient in entry[1]]

    def deliveries(self):
        return collections.Counter(recipient for message in list(self.sink.messages)
                                   for recipient in message.recipients)

    def until_quiet(self):
        """What was durable but not acknowledged is delivered too; then nothing more comes."""

        def quiet():
            before = len(self.sink.messages)
            time.sleep(4)  # longer than the longest retry
            return len(self.sink.messages) == before

        eventually(quiet, "no more deliveries", patience_s=300)

    def assert_received_once(self, acknowledged):
        receptions = collections.Counter()
        for event in self.ringpost.journal():
            if event["type"] == "Reception":
                named = event["recipient"]
                receptions.update([named] if isinstance(named, str) else named)
        wrong = {name: receptions[name] for name in acknowledged if receptions[name] != 1}
        self.assertEqual(wrong, {}, "receptions in the journal")

    def test_nothing_acknowledged_is_lost(self):
        print(f"seed {SEED}, {ROUNDS} rounds", flush=True)
        acknowledged = set()
        for _ in range(ROUNDS):
            acknowledged.update(self.run_and_kill())
            self.ringpost.check_queue()
        self.rule.steady = True
        self.ringpost.start()
        eventually(lambda: acknowledged <= set(self.deliveries()), "all has been delivered",
                   patience_s=300)
        self.until_quiet()
        self.ringpost.stop()
        self.assertIn("0 fresh, 0 queued in 0 row(s) with 0 reference(s)", self.ringpost.check_queue())
        if "segments are not used" not in self.ringpost.log():
            self.assertTrue(os.listdir(os.path.join(self.ringpost.data_dir, "queue", "segments")),
                            "larger bodies went past the log")
        self.assertEqual(self.sink.violations, [])
        for message in self.sink.messages:
            number = int(message.recipients[0].partition("@")[0][1:])
            self.assertEqual(sha256(without_received(message.body)), self.sent[number])
        self.assert_received_once(acknowledged)
        twice = sum(count - 1 for count in self.deliveries().values())
        print(f"{len(acknowledged)} recipients acknowledged, {sum(self.deliveries().values())} "
              f"deliveries, {twice} of them again", flush=True)
        self.assertGreater(len(acknowledged), 10 * ROUNDS)


if __name__ == "__main__":
    unittest.main(verbosity=2)
