#!/usr/bin/python3
"""Two workers are one mail system: what a site may be given is a total over both, and how
many there are may change from start to start."""

import collections
import re
import unittest

from harness import Sink, inject, make_message, sha256, start_ringpost, without_received

SENDER = "ann@sender.test"
OVERLAP_S = 0.05  # a close and the open that follows it may be seen in any order


class Sessions(set):
    """A sink's open sessions; `most` is how many were open together for longer than a moment."""

    def __init__(self, sink):
        super().__init__()
        self.sink = sink
        self.most = 0

    def add(self, session):
        super().add(session)
        together = set(self)
        self.sink._loop.call_later(
            OVERLAP_S, lambda: setattr(self, "most", max(self.most, len(together & self))))


class Workers(unittest.TestCase):
    def setUp(self):
        self.sink = Sink()
        self.sink.sessions = Sessions(self.sink)
        self.enterContext(self.sink)

    def tearDown(self):
        self.assertEqual(self.sink.violations, [])

    def ringpost(self, workers=2, **delivery):
        return start_ringpost(self, workers=workers, routes={"*": [f"127.0.0.1:{self.sink.port}"]},
                              delivery=delivery, retry={"intervals": ["1s"], "jitter": "0%"})

    def inject(self, ringpost, count, prefix="m"):
        """Over so many connections that each worker has some; {SHA-256 of each body}."""
        bodies = [make_message(f"{prefix}{number}", 2000, seed=number) for number in range(count)]
        injectors = inject(ringpost.port, [(SENDER, [f"{prefix}{number}@a.test"], body)
                                           for number, body in enumerate(bodies)], connections=30)
        self.assertEqual(sum(len(injector.accepted) for injector in injectors), count)
        return {sha256(body) for body in bodies}

    def assert_arrive_once(self, bodies):
        messages = self.sink.wait_for(len(bodies))
        self.assertEqual(collections.Counter(sha256(without_received(message.body))
                                             for message in messages),
                         collections.Counter(bodies))

    def assert_both_worked(self, ringpost):
        workers = {event["worker"] for event in ringpost.journal() if event["type"] == "Reception"}
        self.assertEqual(workers, {0, 1})

    # ---- totals

    def test_connection_limit_is_a_total(self):
        ringpost = self.ringpost(connection_limit=3)
        bodies = self.inject(ringpost, 600)
        self.assert_arrive_once(bodies)
        self.assert_both_worked(ringpost)
        self.assertLessEqual(self.sink.sessions.most, 3)
        self.assertGreaterEqual(self.sink.sessions.most, 2)

    def test_one_connection_goes_from_worker_to_worker(self):
        ringpost = self.ringpost(connection_limit=1)
        bodies = self.inject(ringpost, 300)
        self.assert_arrive_once(bodies)
        self.assert_both_worked(ringpost)
        self.assertEqual(self.sink.sessions.most, 1)
        ringpost.queue_empty()

    def seconds(self):
        times = sorted(message.time for message in self.sink.messages)
        return times[-1] - times[0]

    def test_message_rate_is_a_total(self):
        ringpost = self.ringpost(max_message_rate="40/s")
        bodies = self.inject(ringpost, 200)
        self.assert_arrive_once(bodies)
        self.assert_both_worked(ringpost)
        # A second's worth may come at once, the other 160 no faster than the rate: 4 s. If it were
        # the rate of each worker it would be 2 s. Slower machines only take longer.
        self.assertGreater(self.seconds(), 3.5)
        times = sorted(message.time for message in self.sink.messages)
        for first, last in zip(times, times[100:]):
            self.assertGreater(last - first, 1.0)  # 100 of them: 40 at once and 60 by the rate

    def test_connection_rate_is_a_total(self):
        ringpost = self.ringpost(max_connection_rate="5/s", max_deliveries_per_connection=1)
        bodies = self.inject(ringpost, 25)
        self.assert_arrive_once(bodies)
        self.assertGreaterEqual(self.sink.session_count, 25)
        self.assertGreater(self.seconds(), 3.0)

    def test_deliveries_per_connection(self):
        ringpost = self.ringpost(max_deliveries_per_connection=3)
        bodies = self.inject(ringpost, 100)
        self.assert_arrive_once(bodies)
        of_session = collections.Counter(message.session for message in self.sink.messages)
        self.assertLessEqual(max(of_session.values()), 3)
        self.assertGreaterEqual(self.sink.session_count, 34)

    # ---- another number

    def with_workers(self, ringpost, count):
        with open(ringpost.config_path) as file:
            text = file.read()
        with open(ringpost.config_path, "w") as file:
            file.write(re.sub(r"(?m)^workers = \d+$", f"workers = {count}", text))

    def test_number_of_workers_changes(self):
        self.sink.__exit__()  # nothing is delivered until the end
        ringpost = self.ringpost(workers=2)
        bodies = self.inject(ringpost, 60, "two")
        for count, name in ((3, "three"), (1, "one"), (2, "again")):
            ringpost.stop()
            ringpost.check_queue()
            self.with_workers(ringpost, count)
            ringpost.start()
            ringpost.metric_becomes("ringpost_queue_rows", len(bodies))
            bodies |= self.inject(ringpost, 60, name)
        ringpost.kill()
        self.with_workers(ringpost, 3)
        ringpost.start()
        self.sink.__enter__()
        self.assert_arrive_once(bodies)
        ringpost.queue_empty()


if __name__ == "__main__":
    unittest.main(verbosity=2)
