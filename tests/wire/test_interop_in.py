#!/usr/bin/python3
"""Mail in from programs that people use: swaks, Postfix's smtp-source, curl, msmtp, smtplib."""

import collections
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from harness import (PATIENCE_S, Sink, eventually, inject, make_message, sha256, start_ringpost,
                     without_received)

SENDER, RECIPIENT = "ann@sender.test", "bob@a.test"


def tool(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        raise unittest.SkipTest(f"{name} is not installed")
    return path


def run(*command, stdin=None):
    result = subprocess.run(command, input=stdin, capture_output=True, timeout=4 * PATIENCE_S)
    if result.returncode != 0:
        raise AssertionError(f"{command} ended with {result.returncode}: "
                             f"{result.stdout.decode()}{result.stderr.decode()}")
    return result.stdout.decode(errors="replace")


class InteropIn(unittest.TestCase):
    def setUp(self):
        self.sink = self.enterContext(Sink())
        self.ringpost = start_ringpost(self, routes={"*": [f"127.0.0.1:{self.sink.port}"]})
        self.server = f"127.0.0.1:{self.ringpost.port}"
        folder = tempfile.mkdtemp(prefix="ringpost-in-")
        self.addCleanup(shutil.rmtree, folder)
        self.body = make_message(size=20000)
        self.file = os.path.join(folder, "message")
        with open(self.file, "wb") as file:
            file.write(self.body)

    def tearDown(self):
        self.assertEqual(self.sink.violations, [])

    def assert_arrived(self):
        (message,) = self.sink.wait_for(1)
        self.assertEqual((message.sender, message.recipients), (SENDER, (RECIPIENT,)))
        self.assertEqual(sha256(without_received(message.body)), sha256(self.body))

    def test_swaks(self):
        run(tool("swaks"), "--server", self.server, "--from", SENDER, "--to", RECIPIENT,
            "--data", "@" + self.file, "--no-data-fixup")
        self.assert_arrived_from_swaks()

    def test_swaks_pipelining(self):
        run(tool("swaks"), "--pipeline", "--server", self.server, "--from", SENDER,
            "--to", RECIPIENT, "--data", "@" + self.file, "--no-data-fixup")
        self.assert_arrived_from_swaks()

    def assert_arrived_from_swaks(self):
        """Without its fix-ups it neither stuffs dots nor is the first lone dot other than the end."""
        (message,) = self.sink.wait_for(1)
        self.assertEqual((message.sender, message.recipients), (SENDER, (RECIPIENT,)))
        self.assertTrue(self.body.startswith(without_received(message.body).rstrip(b"\r\n")))

    def test_swaks_sees_what_we_offer(self):
        transcript = run(tool("swaks"), "--server", self.server, "--quit-after", "EHLO")
        offered = set(re.findall(r"250[- ](\S+)", transcript))
        for extension in ("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN",
                          "ENHANCEDSTATUSCODES"):
            self.assertIn(extension, offered)

    def test_curl(self):
        run(tool("curl"), "--silent", "--show-error", f"smtp://{self.server}/client.ringpost.test",
            "--mail-from", SENDER, "--mail-rcpt", RECIPIENT, "--upload-file", self.file)
        self.assert_arrived()

    def test_msmtp(self):
        host, port = self.server.split(":")
        run(tool("msmtp"), "--file=/dev/null", f"--host={host}", f"--port={port}",
            f"--from={SENDER}", "--auth=off", "--tls=off", "--domain=client.ringpost.test",
            "--set-from-header=off", "--set-date-header=off", "--", RECIPIENT,
            stdin=self.body.replace(b"\r\n", b"\n"))
        self.assert_arrived()

    def test_smtplib(self):
        self.ringpost.send(SENDER, [RECIPIENT], self.body)
        self.assert_arrived()

    def test_smtp_source(self):
        """Many at once, each on a connection of its own; it sends one body over and over."""
        run(tool("smtp-source"), "-s", "10", "-m", "500", "-l", "10240", "-f", SENDER,
            "-t", RECIPIENT, self.server)
        messages = self.sink.wait_for(500)
        self.assertEqual({message.recipients for message in messages}, {(RECIPIENT,)})
        subject = re.compile(rb"Message-Id: <[^>]*>|Date: [^\r]*|\nX+\r|\n\r", re.IGNORECASE)
        self.assertTrue(all(subject.search(message.body) for message in messages))
        self.assertTrue(all(10000 < len(message.body) < 12000 for message in messages))

    def test_smtp_source_keeps_connections(self):
        run(tool("smtp-source"), "-d", "-s", "5", "-m", "500", "-l", "2000", "-f", SENDER,
            "-t", RECIPIENT, self.server)
        self.sink.wait_for(500)

    def test_smtp_source_many_recipients(self):
        run(tool("smtp-source"), "-s", "2", "-m", "20", "-r", "50", "-f", SENDER, "-t", RECIPIENT,
            self.server)
        eventually(lambda: sum(len(message.recipients) for message in self.sink.messages) >= 1000,
                   "1,000 recipients")
        self.assertEqual(len({name for message in self.sink.messages
                              for name in message.recipients}), 50)

    def test_full_pipelining(self):
        """The next envelope right behind the body, on many connections; nothing lost, none twice."""
        bodies = {f"user{number}@a.test": make_message(f"m{number}", number * 7 % 9000, seed=number)
                  for number in range(2000)}
        injectors = inject(self.ringpost.port,
                           [(SENDER, [recipient], body) for recipient, body in bodies.items()], 20)
        for injector in injectors:
            self.assertIsNone(injector.error)
            self.assertEqual(injector.refused, [])
        ids = [entry[0] for injector in injectors for entry in injector.accepted]
        self.assertEqual(len(set(ids)), 2000)
        messages = self.sink.wait_for(2000)
        self.assertEqual(collections.Counter(message.recipients[0] for message in messages),
                         collections.Counter(bodies.keys()))
        for message in messages:
            self.assertEqual(sha256(without_received(message.body)),
                             sha256(bodies[message.recipients[0]]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
