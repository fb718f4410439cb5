"""The command line against a living daemon: each command, with mail in several states."""

import json
import os
import select
import socket
import stat
import struct
import unittest

import harness

HELLO = b"\0\0\0\x0bHringpost\0\1"


def mail(number, size=200):
    return f"Subject: {number}\r\nX-Number: {number}\r\n\r\n{'x' * size}\r\n"


class Commands(unittest.TestCase):
    """Two workers; dead.test is refused its connections, slow.test says 451 to everybody."""

    @classmethod
    def setUpClass(cls):
        cls.sink = harness.Sink(rules={"*": harness.defer_forever("451 4.2.0 later")}).__enter__()
        cls.addClassCleanup(cls.sink.__exit__)
        cls.ringpost = harness.Ringpost(
            workers=2,
            routes={**{f"slow{i}.test": [f"127.0.0.1:{cls.sink.port}"] for i in range(12)},
                    **{f"dead{i}.test": [f"127.0.0.1:{harness.free_port()}"] for i in range(60)}},
            policy={"tenant_header": "X-Tenant", "campaign_header": "X-Campaign"},
            retry={"intervals": ["1h"]})
        cls.ringpost.__enter__()
        cls.addClassCleanup(cls.ringpost.__exit__, None, None, None)
        for i in range(60):
            text = f"X-Tenant: t{i % 2}\r\nX-Campaign: c{i % 3}\r\n" + mail(i)
            with cls.ringpost.smtp() as client:  # the kernel chooses a worker for each
                client.sendmail("a@x.test", [f"u{i}@{f'slow{i % 12}' if i % 2 else f'dead{i}'}.test"],
                                text)
        harness.eventually(lambda: all(row["attempts"] for row in cls.rows()), "all were tried")

    @classmethod
    def rows(cls, *words):
        return cls.ringpost.records("queue", "show", *words)

    def test_status(self):
        record, = self.ringpost.records("status")
        self.assertEqual((record["state"], record["workers"], record["rows"], record["accepted"]),
                         ("running", 2, 60, 60))
        self.assertEqual(record["pid"], self.ringpost.process.pid)
        text, _ = self.ringpost.command("status")
        self.assertRegex(text, r"(?m)^state +running$")
        self.assertNotIn("\033", text)

    def test_queue_list(self):
        queues = self.ringpost.records("queue", "list")
        self.assertEqual(sum(queue["rows"] for queue in queues), 60)
        self.assertEqual(len({(queue["queue"], queue["worker"]) for queue in queues}), len(queues))
        self.assertEqual({queue["worker"] for queue in queues}, {0, 1})
        for queue in queues:
            self.assertEqual(queue["queue"],
                             f"{queue['campaign']}:{queue['tenant']}@{queue['domain']}")
            self.assertGreater(queue["next_due_ms"], 0)
        some = self.ringpost.records("queue", "list", "--tenant", "t1", "--campaign=c1")
        self.assertEqual({(queue["tenant"], queue["campaign"]) for queue in some}, {("t1", "c1")})
        self.assertEqual(sum(queue["rows"] for queue in some), 10)
        name = queues[0]["queue"]
        self.assertEqual(self.ringpost.records("queue", "list", "--queue", name),
                         [queue for queue in queues if queue["queue"] == name])
        self.assertEqual(self.ringpost.records("queue", "list", "--domain", "none.test"), [])
        deferred = self.ringpost.records("queue", "list", "--state", "deferred")
        self.assertEqual(sum(queue["matched"] for queue in deferred), 60)
        self.assertEqual(self.ringpost.records("queue", "list", "--state", "new"), [])
        self.assertEqual(self.ringpost.records("queue", "list", "--age", "1h"), [])

    def test_queue_summary(self):
        for by, count in (("domain", 36), ("tenant", 2), ("campaign", 3)):
            groups = self.ringpost.records("queue", "summary", "--by", by, "--limit", "99")
            self.assertEqual(len(groups), count)
            self.assertEqual(sum(group["rows"] for group in groups), 60)
            self.assertEqual([group["rows"] for group in groups],
                             sorted((group["rows"] for group in groups), reverse=True))
        two = self.ringpost.records("queue", "summary", "--limit", "2", "--state", "deferred")
        self.assertEqual([group["matched"] for group in two], [5, 5])
        text, _ = self.ringpost.command("queue", "summary")
        self.assertRegex(text.splitlines()[0], r"^name +queues +rows +fresh +due")

    def test_queue_show(self):
        rows = self.rows()
        self.assertEqual({row["to"].split("@")[0] for row in rows}, {f"u{i}" for i in range(60)})
        self.assertEqual(len({row["id"] for row in rows}), 60)
        for row in rows:
            self.assertEqual((row["from"], row["attempts"], row["state"]), ("a@x.test", 1, "deferred"))
            self.assertIn("later" if "slow" in row["to"] else "cannot connect", row["last_reply"])
            self.assertGreater(row["due_ms"], row["arrived_ms"])
        name = rows[0]["queue"]
        self.assertEqual({row["queue"] for row in self.rows(name)}, {name})
        self.assertEqual(self.rows(name), self.rows("--queue", name))
        self.assertEqual(len(self.rows("--limit", "7")), 7)
        self.assertEqual(len(self.rows("--tenant", "t0", "--campaign", "c0")), 10)
        self.ringpost.command("queue", "show", name, "--queue", name, status=2)

    def test_lanes(self):
        lanes = self.ringpost.records("lane", "list")
        self.assertEqual({lane["state"] for lane in lanes}, {"ok", "held"})
        held = [lane for lane in lanes if lane["state"] == "held"]
        self.assertTrue(all(lane["until_ms"] and lane["failures"] for lane in held))
        self.assertEqual([lane["lane"] for lane in self.ringpost.records("lane", "list", "--state",
                                                                          "held")],
                         [lane["lane"] for lane in held])
        shown = self.ringpost.records("lane", "show", held[0]["lane"])
        self.assertEqual(shown[0]["lane"], held[0]["lane"])
        self.assertTrue(shown[0]["hosts"][0]["bad_until_ms"])
        self.assertTrue(shown[0]["hosts"][0]["address"].startswith("127.0.0.1:"))
        text, _ = self.ringpost.command("lane", "show", held[0]["site"])
        self.assertRegex(text, r"(?m)^hosts\n  name +")
        _, error = self.ringpost.command("lane", "show", "nobody", status=1)
        self.assertIn("no lane", error)

    def test_log_level(self):
        self.assertEqual(self.ringpost.records("log", "level"), [{"level": "info"}])
        self.assertEqual(self.ringpost.records("log", "level", "debug"), [{"level": "debug"}])
        self.assertEqual(self.ringpost.records("log", "level", "info"), [{"level": "info"}])
        self.assertIn("log's level is now debug", self.ringpost.log())

    def test_what_is_wrong_is_said(self):
        for words in ([], ["queue"], ["queue", "lsit"], ["queue", "list", "--domian", "x"],
                      ["queue", "list", "--age", "5"], ["log", "level", "loud"], ["status", "x"]):
            output, error = self.ringpost.command(*words, status=2)
            self.assertEqual(output, "")
            self.assertIn("ringpost: ", error)
        self.assertIn("did you mean list", self.ringpost.command("queue", "lsit", status=2)[1])
        self.assertIn("did you mean --domain",
                      self.ringpost.command("queue", "list", "--domian", "x", status=2)[1])

    def test_unreachable_is_3(self):
        folder = self.ringpost.folder
        for where in (["--socket", os.path.join(folder, "none")],
                      ["--config", os.path.join(folder, "none.toml")]):
            self.ringpost.command(*where, "status", status=3, config=False)
        other = os.path.join(folder, "other")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(other)
            self.ringpost.command("--socket", other, "status", status=3, config=False)

    # ---- the protocol itself ----

    def connect(self):
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(harness.PATIENCE_S)
        client.connect(os.path.join(self.ringpost.folder, "control.socket"))
        return client

    @staticmethod
    def call(*strings):
        payload = b"C" + bytes([len(strings)]) + b"".join(
            struct.pack(">H", len(text)) + text.encode() for text in strings)
        return struct.pack(">I", len(payload)) + payload

    def frames(self, client, count):
        """`count` frames that are no pulses."""
        stream = client.makefile("rb")
        found = []
        while len(found) < count:
            length, = struct.unpack(">I", stream.read(4))
            payload = stream.read(length)
            if payload[:1] != b"P":
                found.append(payload)
        return found

    def test_socket_is_for_owner_and_group(self):
        mode = os.stat(os.path.join(self.ringpost.folder, "control.socket")).st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o660)

    def test_several_calls_on_a_connection(self):
        client = self.connect()
        client.sendall(HELLO + self.call("log level") + self.call("status") + self.call("none"))
        kinds = [frame[:1] for frame in self.frames(client, 6)]
        self.assertEqual(kinds, [b"H", b"R", b"E", b"R", b"E", b"E"])

    def test_pieces(self):
        client = self.connect()
        for byte in HELLO + self.call("status"):
            client.sendall(bytes([byte]))
        self.assertEqual([frame[:1] for frame in self.frames(client, 3)], [b"H", b"R", b"E"])

    def test_nonsense_ends_the_connection(self):
        for nonsense in (b"GET / HTTP/1.0\r\n\r\n", HELLO + b"\0\0\0\0C", HELLO + b"\xff" * 8,
                         HELLO + HELLO, self.call("status")):
            client = self.connect()
            client.sendall(nonsense)
            while client.recv(4096):
                pass

    def test_another_version_is_told_ours(self):
        client = self.connect()
        client.sendall(HELLO[:-1] + b"\7")
        self.assertEqual(self.frames(client, 1), [HELLO[4:]])
        self.assertEqual(client.recv(1), b"")

    def test_a_client_that_does_not_read_holds_nobody_up(self):
        slow = self.connect()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(HELLO + self.call("queue show") * 50)
        for _ in range(5):
            self.assertEqual(len(self.rows()), 60)
        self.assertEqual(self.ringpost.records("status")[0]["state"], "running")

    def test_too_many_connections_are_closed(self):
        clients = [self.connect() for _ in range(40)]
        closed = lambda: sum(1 for client in select.select(clients, [], [], 0)[0])
        harness.eventually(lambda: closed() >= 8, "those beyond 32 are closed")
        self.assertEqual(closed(), 8)


class Many(unittest.TestCase):
    """A hundred thousand messages wait; mail goes on coming while they are looked at."""

    COUNT = 100_000

    def test_many(self):
        ringpost = harness.start_ringpost(
            self, workers=2, routes={"*": [f"127.0.0.1:{harness.free_port()}"]},
            retry={"intervals": ["4h"]})
        harness.inject(ringpost.port, [("a@x.test", [f"u{i}@d{i % 50}.test"], b"Subject: x\r\n\r\nx\r\n")
                                       for i in range(self.COUNT)], 20)
        ringpost.metric_becomes("ringpost_queue_rows", self.COUNT)
        queues = ringpost.records("queue", "list")
        self.assertEqual(sum(queue["rows"] for queue in queues), self.COUNT)
        self.assertEqual(sum(group["rows"] for group in
                             ringpost.records("queue", "summary", "--limit", "99")), self.COUNT)
        # Somebody who does not read holds nobody up, and mail comes in meanwhile.
        slow = socket.socket(socket.AF_UNIX)
        self.addCleanup(slow.close)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(os.path.join(ringpost.folder, "control.socket"))
        slow.sendall(HELLO + Commands.call("queue show"))
        ids = {row["id"] for row in ringpost.records("queue", "show")}
        self.assertEqual(len(ids), self.COUNT)
        self.assertEqual(len(ringpost.records("queue", "show", "--domain", "d7.test")),
                         self.COUNT // 50)
        self.assertEqual(len(ringpost.records("queue", "show", "--limit", "1000")), 1000)
        ringpost.send("a@x.test", ["late@d7.test"], mail("late"))
        self.assertEqual(len(ringpost.records("queue", "show", "--domain", "d7.test")),
                         self.COUNT // 50 + 1)
        self.assertEqual(ringpost.get("/healthz")[0], 200)


class Stop(unittest.TestCase):
    def test_stop(self):
        ringpost = harness.start_ringpost(self, workers=2)
        self.assertEqual(ringpost.command("stop"), ("", ""))
        self.assertEqual(ringpost.process.wait(harness.PATIENCE_S), 0)
        ringpost.process = None
        self.assertFalse(os.path.exists(os.path.join(ringpost.folder, "control.socket")))
        ringpost.command("status", status=3)
        ringpost.start()
        self.assertEqual(json.loads(ringpost.command("status", "--json")[0])["state"], "running")


if __name__ == "__main__":
    unittest.main(verbosity=2)
