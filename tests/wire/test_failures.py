#!/usr/bin/python3
"""What goes wrong around the daemon: disks full and dead, damaged logs, wrong clocks, silent name
servers, and a stop in the middle of everything. What was acknowledged is never lost."""

import mmap
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import unittest

from harness import (PATIENCE_S, ROOT, Injector, NameServer, Ringpost, Sink, defer_forever, delay,
                     domain, eventually, make_message, sha256, start_ringpost, without_received)

SENDER = "ann@sender.test"
FAST_RETRIES = {"intervals": ["1s"], "jitter": "0%"}
LIBRARY = os.environ.get("RINGPOST_FAULTS_LIBRARY", os.path.join(ROOT, "build/tests/faults.so"))


class Faults:
    """The switches of faults.c, shared with the daemon that has `environment`."""

    (WALL_OFFSET_S, SYNCS_LEFT, SYNCS_FAILED, SYNC_TAKES_MS, DISK_IS_FULL, SWITCHES) = range(6)

    def __init__(self):
        self.file = tempfile.NamedTemporaryFile(prefix="ringpost-faults-")
        self.file.write(bytes(8 * self.SWITCHES))
        self.file.flush()
        self.memory = mmap.mmap(self.file.fileno(), 8 * self.SWITCHES)
        self.set(self.SYNCS_LEFT, -1)
        self.environment = {
            "LD_PRELOAD": LIBRARY,
            "RINGPOST_FAULTS": self.file.name,
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0",
        }

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.memory.close()
        self.file.close()

    def set(self, switch, value):
        struct.pack_into("=q", self.memory, 8 * switch, value)

    def get(self, switch):
        return struct.unpack_from("=q", self.memory, 8 * switch)[0]


class Silence:
    """A port that takes connections and says nothing: what goes there stays in first attempts."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]

    def end(self):
        self.socket.close()

    __del__ = end


class Failures(unittest.TestCase):
    def ringpost(self, port, **options):
        options.setdefault("retry", FAST_RETRIES)
        return start_ringpost(self, routes={"*": [f"127.0.0.1:{port}"]}, **options)

    def send_some(self, ringpost, count, prefix="m"):
        """{SHA-256: id} of so many acknowledged messages."""
        sent = {}
        with ringpost.smtp() as client:
            for number in range(count):
                body = make_message(f"{prefix}{number}", 3000, seed=number)
                client.mail(SENDER)
                client.rcpt("bob@a.test")
                code, text = client.data(body)
                self.assertEqual(code, 250, text)
                sent[sha256(body)] = text.split()[-1].decode()
        return sent

    def assert_arrive(self, sink, bodies):
        def arrived():
            return {sha256(without_received(message.body)) for message in list(sink.messages)}

        eventually(lambda: set(bodies) <= arrived(), "all have arrived")
        self.assertEqual(sink.violations, [])

    def until_ended(self, ringpost):
        """Ends by itself; the status."""
        process, ringpost.process = ringpost.process, None
        try:
            return process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"ringpostd has not ended\n{ringpost.log()}") from None

    # ---- disks

    def begin(self, ringpost, body):
        """A client whose message is complete but for the final dot."""
        client = ringpost.smtp()
        self.addCleanup(client.close)
        client.mail(SENDER)
        client.rcpt("bob@a.test")
        self.assertEqual(client.docmd("DATA")[0], 354)
        client.send(re.sub(rb"(^|\n)\.", rb"\1..", body))
        return client

    def refusal(self, ringpost):
        """The reply to MAIL, None if it is welcome."""
        with ringpost.smtp() as client:
            code, text = client.mail(SENDER)
            return None if code == 250 else f"{code} {text.decode()}"

    @unittest.skipUnless(os.geteuid() == 0, "needs mount; test_log_that_has_no_room needs nothing")
    def test_full_disk(self):
        silence = Silence()
        ringpost = Ringpost(routes={"*": [f"127.0.0.1:{silence.port}"]}, retry=FAST_RETRIES,
                            queue={"disk_reserve": "1MB"}, journal={"keep": "16MB"})
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", ringpost.data_dir],
            capture_output=True, text=True)
        if mounted.returncode != 0:  # a container: test_log_that_has_no_room is what can be had
            shutil.rmtree(ringpost.folder)
            self.skipTest(f"cannot mount: {mounted.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", ringpost.data_dir], check=True)
        self.enterContext(ringpost)
        sent = self.send_some(ringpost, 5)
        body = make_message("in time", 20_000)
        client = self.begin(ringpost, body)
        ballast = os.path.join(ringpost.data_dir, "ballast")
        with open(ballast, "wb") as file:
            try:
                while True:
                    file.write(b"x" * 65536)
                    file.flush()
            except OSError:
                pass
        code, text = client.docmd(".")
        self.assertIn(code, (250, 452), text)  # 250: the log had room in its last page
        if code == 250:
            sent[sha256(body)] = ""
        eventually(lambda: self.refusal(ringpost), "MAIL is refused")
        self.assertRegex(self.refusal(ringpost), r"^452 4\.3\.1")
        self.assertEqual(ringpost.get("/healthz")[0], 200)
        eventually(lambda: "disk" in ringpost.log(), "the log says why")
        os.unlink(ballast)
        eventually(lambda: self.refusal(ringpost) is None, "mail is taken again")
        eventually(lambda: ringpost.get("/readyz")[0] == 200, "ready again")
        sent |= self.send_some(ringpost, 5, "again")
        silence.end()
        sink = self.enterContext(Sink(port=silence.port))
        self.assert_arrive(sink, sent)
        ringpost.restart()
        ringpost.stop()
        ringpost.check_queue()

    def test_log_that_has_no_room(self):
        faults = self.enterContext(Faults())
        silence = Silence()
        ringpost = self.ringpost(silence.port, environment=faults.environment)
        sent = self.send_some(ringpost, 5)
        client = self.begin(ringpost, make_message("too late"))
        faults.set(Faults.DISK_IS_FULL, 1)
        code, text = client.docmd(".")
        self.assertEqual((code, text[:5]), (452, b"4.3.1"))
        eventually(lambda: self.refusal(ringpost), "MAIL is refused")
        self.assertRegex(self.refusal(ringpost), r"^452 4\.3\.1")
        self.assertEqual(ringpost.get("/readyz"), (503, "the disk is full\n"))
        eventually(lambda: "the disk is full" in ringpost.log(), "the log says why")
        faults.set(Faults.DISK_IS_FULL, 0)
        eventually(lambda: self.refusal(ringpost) is None, "mail is taken again")
        eventually(lambda: "the disk has room again" in ringpost.log(), "the log says so")
        sent |= self.send_some(ringpost, 5, "again")
        silence.end()
        sink = self.enterContext(Sink(port=silence.port))
        self.assert_arrive(sink, sent)
        ringpost.restart()
        self.assertEqual(len(sink.messages), len(sent))

    def test_verdicts_outlive_a_full_disk(self):
        """What was delivered while the queue could not be written is in the journal: not again."""
        faults = self.enterContext(Faults())
        sink = self.enterContext(Sink(rules={"*": delay(1)}))
        ringpost = self.ringpost(sink.port, environment=faults.environment)
        sent = self.send_some(ringpost, 10)
        faults.set(Faults.DISK_IS_FULL, 1)
        sink.wait_for(1)
        eventually(lambda: [event for event in ringpost.journal() if event["type"] == "Delivery"],
                   "a delivery in the journal")
        ringpost.stop()
        faults.set(Faults.DISK_IS_FULL, 0)
        sink.rules.clear()
        ringpost.start()
        self.assert_arrive(sink, sent)
        ringpost.queue_empty()
        self.assertEqual(len(sink.messages), len(sent))

    def test_sync_that_takes_too_long(self):
        """451, and the message is withdrawn: the client sends it again, and it comes once."""
        faults = self.enterContext(Faults())
        sink = self.enterContext(Sink())
        ringpost = self.ringpost(sink.port, environment=faults.environment,
                                 limits={"commit": "300ms"})
        body = make_message("slow")
        client = self.begin(ringpost, body)
        faults.set(Faults.SYNC_TAKES_MS, 3000)
        code, text = client.docmd(".")
        self.assertEqual((code, text[:5]), (451, b"4.3.0"))
        faults.set(Faults.SYNC_TAKES_MS, 0)

        def again():
            client.mail(SENDER)
            client.rcpt("bob@a.test")
            return client.data(body)[0] == 250

        eventually(again, "it is taken")
        sink.wait_for(1)
        self.assertGreaterEqual(ringpost.metric("ringpost_messages_withdrawn_total"), 1)
        ringpost.queue_empty()
        ringpost.restart()
        self.assertEqual(len(sink.messages), 1)

    def test_failing_sync_ends_it(self):
        faults = self.enterContext(Faults())
        silence = Silence()
        ringpost = self.ringpost(silence.port, environment=faults.environment,
                                 delivery={"system_shutdown_timeout": "2s"})
        sent = self.send_some(ringpost, 10)
        clients = [self.begin(ringpost, make_message(f"late{number}", 2000)) for number in range(4)]
        faults.set(Faults.SYNCS_LEFT, 0)
        for client in clients:
            client.send(b".\r\n")
        for client in clients:
            try:
                code, text = client.getreply()
            except OSError:
                continue  # closed: no 250 either
            self.assertNotEqual(code, 250, text)
        self.assertEqual(self.until_ended(ringpost), 1)
        self.assertGreaterEqual(faults.get(Faults.SYNCS_FAILED), 1)
        self.assertIn("writing failed for good", ringpost.log())
        faults.set(Faults.SYNCS_LEFT, -1)
        silence.end()
        sink = self.enterContext(Sink(port=silence.port))
        ringpost.start()
        self.assert_arrive(sink, sent)

    def test_failing_sync_under_load(self):
        faults = self.enterContext(Faults())
        sink = self.enterContext(Sink())
        ringpost = self.ringpost(sink.port, environment=faults.environment)
        injectors = self.inject_until_it_ends(ringpost, lambda: faults.set(Faults.SYNCS_LEFT, 20))
        self.assertEqual(self.until_ended(ringpost), 1)
        acknowledged = self.acknowledged_by(injectors)
        faults.set(Faults.SYNCS_LEFT, -1)
        ringpost.start()
        self.assert_arrive(sink, acknowledged)

    # ---- logs

    def logs(self, ringpost):
        """RocksDB's logs that hold something, oldest first."""
        folder = os.path.join(ringpost.data_dir, "queue")
        paths = sorted(os.path.join(folder, name) for name in os.listdir(folder)
                       if re.fullmatch(r"\d+\.log", name))
        return [path for path in paths if os.path.getsize(path)]

    def filled_and_killed(self, count):
        silence = Silence()
        ringpost = self.ringpost(silence.port)
        sent = self.send_some(ringpost, count)
        ringpost.kill()
        silence.end()
        return ringpost, sent, silence.port

    def test_torn_tail(self):
        ringpost, sent, port = self.filled_and_killed(20)
        log = self.logs(ringpost)[-1]
        with open(log, "rb+") as file:
            torn = file.read(100)  # the beginning of a record that was being written
            file.seek(0, os.SEEK_END)
            file.write(torn)
        sink = self.enterContext(Sink(port=port))
        ringpost.start()
        self.assertRegex(ringpost.log(), r"notice.* queue: .*(torn|tail|end)")
        self.assertNotRegex(ringpost.log(), r"warning.* queue:")
        self.assert_arrive(sink, sent)

    def test_flipped_bit(self):
        for place in (0.2, 0.5, 0.8):
            with self.subTest(place):
                self.check_flipped_bit(place)

    def check_flipped_bit(self, place):
        ringpost, sent, port = self.filled_and_killed(20)
        log = self.logs(ringpost)[-1]
        with open(log, "rb+") as file:
            at = int(os.path.getsize(log) * place)
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 0x10]))
        with self.assertRaisesRegex(AssertionError, "DAMAGED.*NOT ALL IS READ HERE"):
            ringpost.check_queue()
        sink = self.enterContext(Sink(port=port))
        ringpost.start()
        self.assertRegex(ringpost.log(), r"warning.* queue: .*damage")
        sink.wait_for(len(sent) - 1)  # each message was a record of its own
        ringpost.queue_empty()
        self.assertLessEqual({sha256(without_received(message.body)) for message in sink.messages},
                             set(sent))
        ringpost.stop()
        ringpost.check_queue()

    # ---- clocks

    def assert_nothing_expired(self, ringpost):
        self.assertEqual(ringpost.metric("ringpost_recipients_expired_total"), 0)
        self.assertEqual([event["type"] for event in ringpost.journal()
                          if event["type"] in ("Expiration", "Bounce")], [])

    def check_clock(self, seconds, while_running):
        faults = self.enterContext(Faults())
        silence = Silence()
        ringpost = self.ringpost(silence.port, environment=faults.environment)
        sent = self.send_some(ringpost, 10)
        if while_running:
            faults.set(Faults.WALL_OFFSET_S, seconds)
        else:
            time.sleep(3)  # the time is recorded by the first tick, and then each minute
            ringpost.kill()
            faults.set(Faults.WALL_OFFSET_S, seconds)
            ringpost.start()
        eventually(lambda: re.search(r"warning.* clock", ringpost.log()), "an alarm in the log")
        later = self.send_some(ringpost, 10, "later")
        self.assertEqual(set(sent.values()) & set(later.values()), set())
        self.assertEqual(len(set(later.values())), 10)
        silence.end()
        sink = self.enterContext(Sink(port=silence.port))
        self.assert_arrive(sink, sent | later)
        self.assert_nothing_expired(ringpost)

    DAY_S = 86400

    def test_clock_stepped_forward(self):
        self.check_clock(10 * self.DAY_S, True)

    def test_clock_stepped_back(self):
        self.check_clock(-3 * self.DAY_S, True)

    def test_clock_forward_at_start(self):
        self.check_clock(10 * self.DAY_S, False)

    def test_clock_back_at_start(self):
        self.check_clock(-3 * self.DAY_S, False)

    # ---- what waits without an attempt

    def deferred_far_ahead(self, faults):
        """A daemon whose ten mails were deferred by a clock ten days ahead."""
        faults.set(Faults.WALL_OFFSET_S, 10 * self.DAY_S)
        sink = self.enterContext(Sink(rules={"*": defer_forever()}))
        ringpost = self.ringpost(sink.port, environment=faults.environment,
                                 retry={"intervals": ["5s"], "jitter": "0%"})
        sent = self.send_some(ringpost, 10)
        ringpost.metric_becomes("ringpost_recipients_deferred_total", 10)
        eventually(lambda: len([event for event in ringpost.journal()
                                if event["type"] == "TransientFailure"]) == 10, "all recorded")
        sink.rules = {}
        return ringpost, sink, sent

    def test_clock_set_back_does_not_strand_deferred_mail(self):
        faults = self.enterContext(Faults())
        ringpost, sink, sent = self.deferred_far_ahead(faults)
        faults.set(Faults.WALL_OFFSET_S, 0)
        self.assert_arrive(sink, sent)
        self.assert_nothing_expired(ringpost)
        self.assertEqual(ringpost.metric("ringpost_queue_rows_set_back_total"), 10)

    def test_clock_set_back_while_stopped_does_not_strand_deferred_mail(self):
        faults = self.enterContext(Faults())
        ringpost, sink, sent = self.deferred_far_ahead(faults)
        ringpost.stop()
        faults.set(Faults.WALL_OFFSET_S, 0)
        ringpost.start()
        self.assert_arrive(sink, sent)
        self.assert_nothing_expired(ringpost)

    def test_what_a_slow_rate_holds_back_expires(self):
        """One message an hour; the others pass their age without an attempt."""
        sink = self.enterContext(Sink())
        ringpost = self.ringpost(sink.port, retry={"intervals": ["1s"], "max_age": "10s"},
                                 delivery={"max_message_rate": "1/h"},
                                 queue={"expiry_sweep": "1s", "nursery_age": "1s"})
        self.send_some(ringpost, 20)
        eventually(lambda: ringpost.metric("ringpost_recipients_expired_total") >= 19,
                   "all but the first have expired")
        expired = [event for event in ringpost.journal() if event["type"] == "Expiration"]
        self.assertTrue(all(event["num_attempts"] == 0 for event in expired
                            if event["sender"] == SENDER), expired)
        eventually(lambda: len([event for event in ringpost.journal() if event.get("is_dsn")
                                and event["type"] == "Reception"]) == 19, "each with its report")

    # ---- names

    def test_name_server_that_is_away(self):
        names = self.enterContext(NameServer(domain("a", "127.0.0.2")))
        sink = self.enterContext(Sink("127.0.0.2"))
        ringpost = start_ringpost(self, name_server=names, smtp_port=sink.port, retry=FAST_RETRIES,
                                  dns={"timeout": "300ms", "negative_ttl": "1s"})
        names.process.terminate()
        names.process.wait()
        sent = self.send_some(ringpost, 3)
        eventually(lambda: [event for event in ringpost.journal()
                            if event["type"] == "TransientFailure"], "it waits")
        self.assertEqual(sink.messages, [])
        names.__enter__()
        self.assert_arrive(sink, sent)
        self.assert_nothing_expired(ringpost)

    # ---- stopping

    def inject_until_it_ends(self, ringpost, end):
        """Eight connections send as fast as they can; `end` is called in the middle of it."""
        self.bodies = {}

        def messages(number):
            for count in range(1_000_000):
                name = f"i{number}x{count}"
                body = make_message(name, 4000, seed=count)
                self.bodies[name] = sha256(body)
                yield SENDER, [f"{name}@a.test"], body

        injectors = [Injector(ringpost.port, messages(number)) for number in range(8)]
        for injector in injectors:
            injector.start()
        eventually(lambda: sum(len(injector.accepted) for injector in injectors) > 100, "a load")
        end()
        return injectors

    def acknowledged_by(self, injectors):
        for injector in injectors:
            injector.join(PATIENCE_S)
            self.assertFalse(injector.is_alive())
        return [self.bodies[recipients[0].partition("@")[0]]
                for injector in injectors for _, recipients, _, _ in injector.accepted]

    def test_stop_under_load(self):
        sink = self.enterContext(Sink())
        ringpost = self.ringpost(sink.port, delivery={"system_shutdown_timeout": "5s"})
        injectors = self.inject_until_it_ends(ringpost, lambda: None)
        ringpost.stop()
        acknowledged = self.acknowledged_by(injectors)
        ringpost.check_queue()
        ringpost.start()
        self.assert_arrive(sink, acknowledged)
        recipients = [recipient for message in sink.messages for recipient in message.recipients]
        self.assertEqual(len(recipients), len(set(recipients)))  # a clean stop duplicates nothing

    def test_stop_with_peers_that_are_stuck(self):
        """A server that says nothing, a client that stops in the middle: held up for so long."""
        silence = Silence()
        ringpost = self.ringpost(silence.port, delivery={"system_shutdown_timeout": "1s"})
        sent = self.send_some(ringpost, 3)
        stuck = self.begin(ringpost, make_message("stuck"))
        ringpost.stop()
        stuck.close()
        ringpost.check_queue()
        silence.end()
        sink = self.enterContext(Sink(port=silence.port))
        ringpost.start()
        self.assert_arrive(sink, sent)


if __name__ == "__main__":
    unittest.main(verbosity=2)
