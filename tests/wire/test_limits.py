#!/usr/bin/python3
"""What a peer may do, over real sockets: each limit answers in its own words and then closes, and
clients that are odd but right (half-closed, pipelined to the QUIT, huge chunks) are served."""

import contextlib
import re
import socket
import time
import unittest

from harness import (PATIENCE_S, Sink, eventually, make_message, sha256, start_ringpost,
                     without_received)

SENDER = "ann@sender.test"


class Peer:
    """A raw connection."""

    def __init__(self, ringpost):
        self.socket = socket.create_connection(("127.0.0.1", ringpost.port), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replies = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.replies.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def reply(self):
        """The last line of the next reply; "" at the end."""
        while True:
            line = self.replies.readline()
            if line[3:4] != b"-":
                return line.decode().rstrip()

    def ask(self, command):
        self.send(command.encode() + b"\r\n")
        return self.reply()

    def hello(self):
        self.reply()
        self.ask("EHLO client.ringpost.test")
        return self

    def envelope(self, parameters=""):
        self.ask(f"MAIL FROM:<{SENDER}>{parameters}")
        return self.ask("RCPT TO:<bob@a.test>")

    def ended(self):
        """Nothing more comes, and the connection is closed."""
        try:
            return self.replies.read() == b""
        except ConnectionError:
            return True


class Limits(unittest.TestCase):
    def setUp(self):
        self.sink = self.enterContext(Sink())

    def tearDown(self):
        self.assertEqual(self.sink.violations, [])

    def ringpost(self, **options):
        options.setdefault("workers", 1)
        return start_ringpost(self, routes={"*": [f"127.0.0.1:{self.sink.port}"]}, **options)

    def peer(self, ringpost):
        return self.enterContext(Peer(ringpost))

    def assert_cut(self, peer, reply):
        self.assertRegex(peer.reply(), reply)
        self.assertTrue(peer.ended())

    # ---- admission

    def test_connections_per_address(self):
        ringpost = self.ringpost(limits={"connections_per_address": 3})
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                self.assertRegex(stack.enter_context(Peer(ringpost)).reply(), "^220")
            self.assert_cut(self.peer(ringpost), r"^421 4\.7\.0 .*address")
        eventually(lambda: self.welcome(ringpost), "there is room again")
        self.assertGreaterEqual(
            ringpost.metric(
                'ringpost_connections_refused_total{reason="connections_per_address"}'), 1)

    def test_limits_are_totals_over_the_workers(self):
        """Whichever worker the kernel gives a connection to: five are five."""
        ringpost = self.ringpost(workers=3, limits={"connections_per_address": 5})
        with contextlib.ExitStack() as stack:
            for _ in range(5):
                self.assertRegex(stack.enter_context(Peer(ringpost)).reply(), "^220")
            for _ in range(5):
                self.assert_cut(self.peer(ringpost), r"^421 4\.7\.0 .*address")

    def welcome(self, ringpost):
        with Peer(ringpost) as peer:
            return peer.reply().startswith("220")

    def test_connections_in_all(self):
        ringpost = self.ringpost(limits={"connections": 2})
        with contextlib.ExitStack() as stack:
            for _ in range(2):
                self.assertRegex(stack.enter_context(Peer(ringpost)).reply(), "^220")
            self.assert_cut(self.peer(ringpost), r"^421 4\.7\.0 .*later")
        eventually(lambda: self.welcome(ringpost), "there is room again")

    # ---- time

    def test_idle(self):
        ringpost = self.ringpost(limits={"idle": "300ms"})
        self.assert_cut(self.peer(ringpost).hello(), r"^421 4\.4\.2 ")

    def test_command_that_trickles(self):
        ringpost = self.ringpost(limits={"command": "500ms"})
        peer = self.peer(ringpost).hello()
        peer.send(b"NOO")
        self.assert_cut(peer, r"^421 4\.4\.2 ")

    def test_data_that_trickles(self):
        ringpost = self.ringpost(limits={"data_rate": "10KB", "data_rate_window": "1s"})
        peer = self.peer(ringpost).hello()
        peer.envelope()
        peer.ask("DATA")
        peer.send(b"Subject: slow\r\n\r\nhello\r\n")
        self.assert_cut(peer, r"^421 4\.4\.2 ")
        self.assertEqual(self.sink.messages, [])

    def test_slow_but_within_the_rate(self):
        ringpost = self.ringpost(limits={"data_rate": "1B", "data_rate_window": "1s", "idle": "1s"})
        peer = self.peer(ringpost).hello()
        peer.envelope()
        peer.ask("DATA")
        for _ in range(25):
            peer.send(b"slow but steady\r\n")
            time.sleep(0.1)
        self.assertRegex(peer.ask("."), "^250")

    def test_client_that_never_reads(self):
        ringpost = self.ringpost(limits={"idle": "2s", "junk_commands": 1_000_000})
        peer = self.peer(ringpost).hello()
        peer.socket.settimeout(1)
        sent = 0
        with contextlib.suppress(OSError):  # stuck, then cut
            while sent < 1 << 30:
                sent += peer.socket.send(b"HELP\r\nNOOP\r\n" * 5000)
        self.assertLess(sent, 100 << 20)
        eventually(lambda: ringpost.metric("ringpost_connections_in") == 0, "it is cut")
        self.assertLess(ringpost.metric("ringpost_connections_in"), 1)
        self.assertTrue(self.welcome(ringpost))

    # ---- sizes

    def test_size_that_is_announced(self):
        ringpost = self.ringpost(limits={"message_size": "64KB"})
        peer = self.peer(ringpost).hello()
        self.assertRegex(peer.ask(f"MAIL FROM:<{SENDER}> SIZE=70000"), r"^552 5\.3\.4")
        self.assertRegex(peer.envelope(" SIZE=60000"), "^250")

    def test_body_that_is_too_big(self):
        ringpost = self.ringpost(limits={"message_size": "64KB"})
        peer = self.peer(ringpost).hello()
        peer.envelope()
        peer.ask("DATA")
        peer.send(re.sub(rb"(^|\n)\.", rb"\1..", make_message("big", 100_000)) + b".\r\n")
        self.assertRegex(peer.reply(), r"^552 5\.3\.4")
        self.assertRegex(peer.envelope(), "^250")
        peer.ask("DATA")
        peer.send(b"Subject: small\r\n\r\nhello\r\n.\r\n")
        self.assertRegex(peer.reply(), "^250")
        self.sink.wait_for(1)

    def test_chunks_that_are_too_big(self):
        ringpost = self.ringpost(limits={"message_size": "64KB"})
        peer = self.peer(ringpost).hello()
        peer.envelope()
        chunk = b"y" * 76 + b"\r\n"
        peer.send(b"BDAT 78000\r\n" + chunk * 1000)
        self.assertRegex(peer.reply(), r"^552 5\.3\.4")
        self.assertRegex(peer.ask("RSET"), "^250")
        self.assertRegex(peer.envelope(), "^250")

    def test_command_line_that_is_too_long(self):
        ringpost = self.ringpost()
        peer = self.peer(ringpost).hello()
        peer.send(b"NOOP " + b"x" * 10_000 + b"\r\n")
        self.assertRegex(peer.reply(), r"^500 5\.5\.2")
        self.assertRegex(peer.ask("NOOP"), "^250")
        peer.send(b"NOOP " + b"x" * 1_000_000)
        self.assertRegex(peer.reply(), r"^421 4\.7\.0")

    # ---- manners

    def test_errors(self):
        ringpost = self.ringpost(limits={"errors": 3})
        peer = self.peer(ringpost).hello()
        for _ in range(3):
            self.assertRegex(peer.ask("WHAT"), "^5")
        peer.send(b"WHAT\r\n")
        self.assert_cut(peer, r"^421 4\.7\.0")

    def test_junk(self):
        ringpost = self.ringpost(limits={"junk_commands": 5})
        peer = self.peer(ringpost).hello()
        peer.send(b"NOOP\r\n" * 50)
        replies = []
        while (reply := peer.reply()):
            replies.append(reply[:3])
        self.assertEqual(replies[-1], "421")
        self.assertLessEqual(len(replies), 7)

    def test_messages_per_connection(self):
        ringpost = self.ringpost(limits={"messages_per_connection": 2})
        peer = self.peer(ringpost).hello()
        for _ in range(2):
            self.assertRegex(peer.envelope(), "^250")
            peer.ask("DATA")
            self.assertRegex(peer.ask("Subject: one\r\n\r\nhello\r\n."), "^250")
        peer.send(f"MAIL FROM:<{SENDER}>\r\n".encode())
        self.assert_cut(peer, r"^421 4\.7\.0")
        self.sink.wait_for(2)

    # ---- odd but right

    def conversation(self, count):
        text = b"EHLO client.ringpost.test\r\n"
        for number in range(count):
            body = f"Subject: {number}\r\n\r\nhello, dear Bob\r\n".encode()
            text += (f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<bob@a.test>\r\n"
                     f"BDAT {len(body)} LAST\r\n").encode() + body
        return text + b"QUIT\r\n"

    def test_everything_at_once_and_half_closed(self):
        ringpost = self.ringpost()
        peer = self.peer(ringpost)
        peer.send(self.conversation(50))
        peer.socket.shutdown(socket.SHUT_WR)
        replies = peer.replies.read().split(b"\r\n")
        self.assertEqual(sum(b"queued as" in reply for reply in replies), 50)
        self.assertRegex(replies[-2], b"^221")
        self.assertEqual(len(self.sink.wait_for(50)), 50)

    def test_half_closed_without_quit(self):
        ringpost = self.ringpost()
        peer = self.peer(ringpost)
        peer.send(self.conversation(3)[: -len(b"QUIT\r\n")])
        peer.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(peer.replies.read().count(b"queued as"), 3)
        self.sink.wait_for(3)

    def test_input_behind_quit_is_not_read_as_commands(self):
        ringpost = self.ringpost()
        peer = self.peer(ringpost).hello()
        peer.send(b"QUIT\r\n" + self.conversation(1))
        self.assertRegex(peer.reply(), "^221")
        self.assertTrue(peer.ended())
        self.assertEqual(ringpost.metric("ringpost_messages_accepted_total"), 0)

    def test_twenty_megabytes_by_chunks(self):
        ringpost = self.ringpost()
        body = make_message("large", 20 << 20, seed=7)
        peer = self.peer(ringpost).hello()
        self.assertRegex(peer.envelope(f" SIZE={len(body)}"), "^250")
        at = 0
        for size in (1, 0, 65536, 1 << 20, 12_345_678):
            peer.send(f"BDAT {size}\r\n".encode() + body[at : at + size])
            self.assertRegex(peer.reply(), "^250")
            at += size
        peer.send(f"BDAT {len(body) - at} LAST\r\n".encode() + body[at:])
        self.assertRegex(peer.reply(), "^250 2.0.0 Ok: queued")
        (message,) = self.sink.wait_for(1)
        self.assertEqual(sha256(without_received(message.body)), sha256(body))
        ringpost.queue_empty()
        ringpost.stop()
        ringpost.check_queue()
        ringpost.start()

    def test_uploads_that_end_in_the_middle_leave_nothing(self):
        # Closing over an unread 354 is a reset, and the kernel may lose that one on its way past a full
        # window: then only the time limit of the data ends the session.
        ringpost = self.ringpost(limits={"data_rate_window": "2s"})
        part = make_message("half", 6 << 20)
        ways = {
            "data": lambda peer: peer.send(b"DATA\r\n" + re.sub(rb"(^|\n)\.", rb"\1..", part)),
            "chunk": lambda peer: peer.send(f"BDAT {2 * len(part)} LAST\r\n".encode() + part),
            "reset": lambda peer: peer.send(f"BDAT {len(part)}\r\n".encode() + part + b"RSET\r\n"),
            "quit": lambda peer: peer.send(f"BDAT {len(part)}\r\n".encode() + part + b"QUIT\r\n"),
            "nul": lambda peer: peer.send(f"BDAT {len(part) + 1} LAST\r\n".encode() + part + b"\0"),
        }
        for way, act in ways.items():
            with self.subTest(way), Peer(ringpost) as peer:
                peer.hello()
                peer.envelope()
                act(peer)
                if way in ("reset", "quit"):
                    self.assertRegex(peer.reply(), "^250")
                    self.assertRegex(peer.reply(), "^250" if way == "reset" else "^221")
                elif way == "nul":
                    self.assertRegex(peer.reply(), r"^550 5\.6\.0")
        eventually(lambda: ringpost.metric("ringpost_connections_in") == 0, "all are gone")
        self.assertEqual(ringpost.metric("ringpost_messages_accepted_total"), 0)
        ringpost.stop()
        self.assertIn("0 fresh, 0 queued in 0 row(s)", ringpost.check_queue())
        ringpost.start()
        self.assertEqual(self.sink.messages, [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
