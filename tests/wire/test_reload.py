"""Another configuration for a daemon at work: `ringpost reload`, SIGHUP, `ringpost drain`."""

import os
import re
import signal
import smtplib
import socket
import threading
import unittest

import harness

MAIL = "Subject: hello\r\n\r\nhello\r\n"


class Reload(unittest.TestCase):
    def setUp(self):
        self.sink = harness.Sink()
        self.sink.__enter__()
        self.addCleanup(self.sink.__exit__)
        self.ringpost = harness.start_ringpost(
            self, workers=2, routes={"a.test": [f"127.0.0.1:{self.sink.port}"]},
            limits={"recipients": 100}, retry={"intervals": ["1h"]})

    def edit(self, pattern, replacement):
        with open(self.ringpost.config_path) as file:
            text = file.read()
        new, count = re.subn(pattern, replacement, text, flags=re.M | re.S)
        self.assertEqual(count, 1, pattern)
        with open(self.ringpost.config_path, "w") as file:
            file.write(new)

    def append(self, text):
        with open(self.ringpost.config_path, "a") as file:
            file.write(text)

    def reload(self, status=0):
        if status == 0:
            return {record["option"]: record for record in self.ringpost.records("reload")}
        return self.ringpost.command("reload", status=status)[1]

    def test_what_has_changed_is_told(self):
        self.assertEqual(self.reload(), {})
        self.edit("^recipients = 100$", "recipients = 200")
        changes = self.reload()
        self.assertEqual(changes, {"limits.recipients": {"option": "limits.recipients", "was": "100",
                                                         "is": "200"}})
        self.assertIn("recipients = 200", self.ringpost.command("config", "dump")[0])

    def test_a_bad_file_changes_nothing(self):
        dump = self.ringpost.command("config", "dump")[0]
        with open(self.ringpost.config_path) as file:
            good = file.read()
        for bad, said in (("recipients = 1O0", "expected digit"), ("nonsense = 1", "nonsense"),
                          ("[limits", "table header")):
            self.append(f"\n{bad}\n")
            self.assertIn(said, self.reload(status=1))
            with open(self.ringpost.config_path, "w") as file:
                file.write(good)
        self.edit("^workers = 2$", "workers = 1")
        self.assertIn("'workers' at the top of the file changes only with a restart",
                      self.reload(status=1))
        self.edit("^workers = 1$", "workers = 2")
        self.append(f'[[listener]]\naddress = "127.0.0.1:{harness.free_port()}"\ntls = "starttls"\n'
                    'certificate = "/none"\nkey = "/none"\n')
        self.assertIn("/none", self.reload(status=1))
        with open(self.ringpost.config_path, "w") as file:
            file.write(good)
        self.assertEqual(self.ringpost.command("config", "dump")[0], dump)
        self.ringpost.send("a@x.test", ["b@a.test"], MAIL)
        self.sink.wait_for(1)

    def test_a_taken_port_changes_nothing(self):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            free = harness.free_port()
            self.append(f'[[listener]]\naddress = "127.0.0.1:{free}"\n'
                        f'[[listener]]\naddress = "127.0.0.1:{port}"\n')
            self.assertIn(f"cannot listen on 127.0.0.1:{port}", self.reload(status=1))
            with self.assertRaises(OSError):
                socket.create_connection(("127.0.0.1", free))
        self.assertEqual(set(self.reload()), {"listener"})
        socket.create_connection(("127.0.0.1", free)).close()

    def test_listeners_come_and_go(self):
        smtp, http = harness.free_port(), harness.free_port()
        old = self.ringpost.smtp()
        self.append(f'[[listener]]\naddress = "127.0.0.1:{smtp}"\nrelay_from = ["127.0.0.0/8"]\n'
                    f'[[listener]]\naddress = "127.0.0.1:{http}"\nservice = "http"\n')
        self.assertEqual(set(self.reload()), {"listener"})
        with smtplib.SMTP("127.0.0.1", smtp, timeout=harness.PATIENCE_S) as client:
            client.sendmail("a@x.test", ["new@a.test"], MAIL)
            old_port, self.ringpost.http_port = self.ringpost.http_port, http
            self.assertEqual(self.ringpost.get("/healthz")[0], 200)
            self.ringpost.http_port = old_port
            # ... and without them: who is connected is served on.
            self.edit(rf'\[\[listener\]\]\naddress = "127.0.0.1:{smtp}".*$', "")
            self.assertEqual(set(self.reload()), {"listener"})
            client.sendmail("a@x.test", ["kept@a.test"], MAIL)
        harness.eventually(lambda: self.refused(smtp) and self.refused(http), "both are closed")
        old.sendmail("a@x.test", ["old@a.test"], MAIL)
        old.quit()
        self.assertEqual({message.recipients[0] for message in self.sink.wait_for(3)},
                         {"new@a.test", "kept@a.test", "old@a.test"})

    @staticmethod
    def refused(port):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return True
        return False

    def test_sessions_take_new_settings_between_messages(self):
        client = self.ringpost.smtp()
        client.mail("a@x.test")
        client.rcpt("b@a.test")
        self.edit(r'^relay_from = \["127.0.0.0/8"\]$', "relay_from = []")
        self.assertEqual(set(self.reload()), {"listener"})
        self.assertEqual(client.rcpt("c@a.test")[0], 250)  # this transaction is under the old ones
        self.assertEqual(client.data(MAIL)[0], 250)
        client.mail("a@x.test")
        self.assertEqual(client.rcpt("b@a.test")[0], 550)
        client.quit()

    def test_routes_and_limits_of_delivery(self):
        other = harness.Sink()
        other.__enter__()
        self.addCleanup(other.__exit__)
        self.ringpost.send("a@x.test", ["one@a.test"], MAIL)
        self.sink.wait_for(1)
        self.edit(rf'^hosts = \["127.0.0.1:{self.sink.port}"\]', f'hosts = ["127.0.0.1:{other.port}"]')
        self.assertEqual(set(self.reload()), {"route"})
        self.ringpost.send("a@x.test", ["two@a.test"], MAIL)
        other.wait_for(1)
        self.edit(r"^\[delivery\]$", "[delivery]\nconnection_limit = 3")
        self.reload()
        self.ringpost.send("a@x.test", ["three@a.test"], MAIL)
        other.wait_for(2)
        self.assertEqual({lane["limit"] for lane in self.ringpost.records("lane", "list")}, {3})

    def test_retry_and_bounces(self):
        self.sink.rules["*"] = harness.defer_forever()
        self.edit('^intervals = .*?$', 'intervals = ["3h"]')
        self.edit(r"^\[retry\]$", '[bounce]\nmode = "event"\n[retry]')
        self.assertEqual(set(self.reload()), {"retry.intervals", "bounce.mode"})
        self.ringpost.send("a@x.test", ["later@a.test"], MAIL)
        row, = harness.eventually(lambda: [row for row in self.ringpost.records("queue", "show")
                                           if row["attempts"]], "it was tried")
        self.assertGreater(row["due_ms"] - row["last_attempt_ms"], 2 * 3600 * 1000)
        self.sink.rules["*"] = harness.refuse()
        self.ringpost.send("a@a.test", ["never@a.test"], MAIL)
        harness.eventually(lambda: self.ringpost.metric("ringpost_recipients_bounced_total") == 1)
        self.assertEqual(self.ringpost.metric("ringpost_dsn_made_total"), 0)

    def test_hangup_does_the_same(self):
        self.edit("^recipients = 100$", "recipients = 300")
        self.ringpost.process.send_signal(signal.SIGHUP)
        harness.eventually(lambda: "recipients = 300" in self.ringpost.command("config", "dump")[0],
                           "SIGHUP was heard")
        self.edit("^recipients = 300$", "recipients = 3OO")
        self.ringpost.process.send_signal(signal.SIGHUP)
        harness.eventually(lambda: "nothing has changed" in self.ringpost.log(), "it says so")
        self.assertIn("recipients = 300", self.ringpost.command("config", "dump")[0])

    def test_the_log_can_be_moved_away(self):
        path = os.path.join(self.ringpost.folder, "own.log")
        self.append(f'[log]\nfile = "{path}"\nlevel = "debug"\n')
        self.reload()
        self.ringpost.command("log", "level", "notice")
        os.rename(path, path + ".1")
        self.ringpost.process.send_signal(signal.SIGUSR1)
        harness.eventually(lambda: os.path.exists(path), "a new one is open")
        self.ringpost.command("log", "level", "info")
        harness.eventually(lambda: "level is now info" in self.text(path), "it is written to")
        self.assertRegex(self.text(path + ".1"), r"(?m)^20\d\d-\d\d-\d\dT.*level is now notice$")

    @staticmethod
    def text(path):
        with open(path) as file:
            return file.read()

    def test_drain(self):
        waiting = self.ringpost.smtp()
        waiting.mail("a@x.test")
        waiting.rcpt("b@a.test")
        self.ringpost.command("drain")
        self.ringpost.command("drain")  # again is no mistake
        self.assertEqual(self.ringpost.get("/readyz"), (503, "drained\n"))
        self.assertEqual(self.ringpost.records("status")[0]["state"], "drained")
        harness.eventually(lambda: self.refused(self.ringpost.port), "the door is closed")
        self.assertEqual(waiting.data(MAIL)[0], 250)  # it may finish, and is delivered
        self.assertEqual(len(self.sink.wait_for(1)), 1)
        with self.assertRaises(smtplib.SMTPException):
            waiting.mail("a@x.test")
            waiting.noop()
        self.ringpost.command("drain", "--off")
        harness.eventually(self.ringpost.ready, "the door is open")
        self.ringpost.send("a@x.test", ["c@a.test"], MAIL)
        self.sink.wait_for(2)

    def test_no_connection_is_dropped_under_load(self):
        """Clients that connect, send and leave, or stay, while the configuration changes all the time."""
        stop, failures, sent = threading.Event(), [], [0] * 6

        def work(number):
            try:
                client = None
                while not stop.is_set():
                    if client is None or number % 2:
                        client = self.ringpost.smtp()
                    client.sendmail("a@x.test", [f"u{number}@a.test"], MAIL)
                    sent[number] += 1
                    if number % 2:
                        client.quit()
                if number % 2 == 0:
                    client.quit()
            except (OSError, smtplib.SMTPException) as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(sent))]
        for thread in threads:
            thread.start()
        for i in range(40):
            self.edit(r"^recipients = \d+$", f"recipients = {100 + i}")
            self.reload()
            if i % 8 == 7:
                self.append(f'[[listener]]\naddress = "127.0.0.1:{harness.free_port()}"\n')
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertTrue(all(sent), sent)
        self.sink.wait_for(sum(sent))
        self.assertEqual(len(self.sink.messages), sum(sent))
        self.assertEqual(self.sink.violations, [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
