#!/usr/bin/python3
"""Logging in: other people's programs, wrong passwords, accounts that change, and what an account may."""

import base64
import os
import re
import shutil
import smtplib
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
import unittest

import dkim

from harness import PATIENCE_S, ROOT, Ringpost, Sink, eventually, free_port, program
from test_dkim import Key

CERTIFICATES = os.path.join(ROOT, "tests", "certificates")
MESSAGE = "From: Tim <tim@a.example>\r\nSubject: x\r\n\r\nbody\r\n"


def b64(text):
    return base64.b64encode(text.encode()).decode()


def user(path, *arguments, password=None, status=0):
    """`ringpost user ...` on this password file."""
    result = subprocess.run([program("ringpost"), "user", *arguments, "--file", path], text=True,
                            input=None if password is None else password + "\n", capture_output=True,
                            timeout=PATIENCE_S)
    if result.returncode != status:
        raise AssertionError(f"user {arguments} says {result.returncode}: {result.stderr}")
    return result.stdout


class Server(Ringpost):
    """One with every kind of listener: its own port 25, `submission` (STARTTLS), `submissions`
    (implicit TLS), `clear` (submission where passwords may be shown)."""

    def __init__(self, sink, tables="", **options):
        self.passwd_folder = tempfile.mkdtemp(prefix="ringpost-passwd-")
        self.passwd = os.path.join(self.passwd_folder, "passwd")
        user(self.passwd, "add", "tim", password="secret")
        self.submission, self.submissions, self.clear = free_port(), free_port(), free_port()
        certificate = (f'certificate = "{CERTIFICATES}/server.pem"\nkey = "{CERTIFICATES}/server.key"\n')
        listeners = "".join(
            f'[[listener]]\naddress = "127.0.0.1:{port}"\nservice = "submission"\n{more}\n'
            for port, more in ((self.submission, 'tls = "starttls"\n' + certificate),
                               (self.submissions, 'tls = "implicit"\n' + certificate),
                               (self.clear, "allow_plaintext_auth = true\n")))
        options.setdefault("relay_from", ())
        options.setdefault("accounts", {})
        options["accounts"] = {"passwd_file": self.passwd, "failure_delay": "10ms",
                               "failure_delay_most": "50ms", **options["accounts"]}
        super().__init__(routes={"*": [f"127.0.0.1:{sink.port}"]}, tables=listeners + tables, **options)

    def __exit__(self, *arguments):
        try:
            super().__exit__(*arguments)
        finally:
            shutil.rmtree(self.passwd_folder, ignore_errors=True)

    def client(self, port):
        client = smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_S, local_hostname="client.test")
        client.ehlo()
        return client


class Line:
    """A client that says exactly what it is told."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.file = self.socket.makefile("rb")

    def say(self, text):
        self.socket.sendall(text.encode() + b"\r\n")
        return self.reply()

    def reply(self):
        lines = []
        while True:
            line = self.file.readline().decode().rstrip("\r\n")
            lines.append(line)
            if line[3:4] != "-":
                return "\n".join(lines)

    def close(self):
        self.file.close()
        self.socket.close()


class AuthTest(unittest.TestCase):
    def setUp(self):
        self.sink = self.enterContext(Sink())
        self.server = self.enterContext(Server(self.sink))

    def enterContext(self, context):  # of newer unittest
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def received(self, count):
        eventually(lambda: len(self.sink.messages) >= count, f"{count} messages at the sink")
        return self.sink.messages[-1]

    def receptions(self, count):
        """The journal is written a moment later than the mail."""
        def found():
            return [event for event in self.server.journal() if event["type"] == "Reception"]
        eventually(lambda: len(found()) >= count, f"{count} receptions")
        return found()

    # ---- other people's programs ----

    def test_smtplib(self):
        """PLAIN and LOGIN, over STARTTLS and over implicit TLS."""
        context = ssl._create_unverified_context()
        for number, (port, mechanism) in enumerate(((self.server.submission, "PLAIN"),
                                                    (self.server.submission, "LOGIN"),
                                                    (self.server.submissions, "PLAIN"))):
            if port == self.server.submissions:
                client = smtplib.SMTP_SSL("127.0.0.1", port, timeout=PATIENCE_S, context=context)
            else:
                client = self.server.client(port)
                self.assertEqual(client.esmtp_features["auth"].split(), ["SCRAM-SHA-256"])
                client.starttls(context=context)
            with client:
                client.ehlo()
                client.user, client.password = "tim", "secret"
                handler = client.auth_plain if mechanism == "PLAIN" else client.auth_login
                client.auth(mechanism, handler, initial_response_ok=number % 2 == 0)
                client.sendmail("tim@a.example", ["u@elsewhere.example"], MESSAGE)
            message = self.received(number + 1)
            self.assertRegex(message.body, rb"with ESMTPSA id ")
            self.assertRegex(message.body, rb"(?m)^Message-ID: <[^ ]+@mail.ringpost.test>\r$")
            self.assertRegex(message.body, rb"(?m)^Date: [A-Z][a-z][a-z], ")
        self.assertEqual(self.server.metric('ringpost_logins_total{result="good"}'), 3)
        self.assertEqual([event["meta"] for event in self.receptions(3)], 3 * [{"user": "tim"}])

    def test_swaks(self):
        for number, mechanism in enumerate(("PLAIN", "LOGIN")):
            for arguments in (["--port", str(self.server.submission), "--tls"],
                              ["--port", str(self.server.submissions), "--tlsc"]):
                result = subprocess.run(
                    ["swaks", "--server", "127.0.0.1", *arguments, "--auth", mechanism, "--auth-user", "tim",
                     "--auth-password", "secret", "--from", "tim@a.example", "--to",
                     f"u{number}@elsewhere.example"], capture_output=True, text=True, timeout=PATIENCE_S)
                self.assertEqual(result.returncode, 0, result.stdout)
        self.received(4)

    def test_swaks_refused(self):
        result = subprocess.run(
            ["swaks", "--server", "127.0.0.1", "--port", str(self.server.submission), "--tls", "--auth",
             "PLAIN", "--auth-user", "tim", "--auth-password", "wrong", "--to", "u@elsewhere.example"],
            capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual(result.returncode, 28, result.stdout)
        self.assertIn("535 5.7.8", result.stdout)

    def msmtp(self, port, password, *options):
        return subprocess.run(
            ["msmtp", "--host=127.0.0.1", f"--port={port}", "--user=tim",
             f"--passwordeval=echo {password}", "--from=tim@a.example", "--tls-certcheck=off", *options,
             "u@elsewhere.example"], input=MESSAGE, capture_output=True, text=True, timeout=PATIENCE_S)

    def test_msmtp_scram(self):
        """SCRAM-SHA-256 by GNU SASL, in the clear and over TLS: it checks our proof, too."""
        result = self.msmtp(self.server.submission, "secret", "--tls=off", "--auth=scram-sha-256")
        self.assertEqual(result.returncode, 0, result.stderr)
        result = self.msmtp(self.server.submission, "secret", "--tls=on", "--auth=scram-sha-256")
        self.assertEqual(result.returncode, 0, result.stderr)
        result = self.msmtp(self.server.submission, "wrong", "--tls=on", "--auth=scram-sha-256")
        self.assertNotEqual(result.returncode, 0)
        self.received(2)

    def test_curl(self):
        with tempfile.NamedTemporaryFile("w", newline="") as file:
            file.write(MESSAGE)
            file.flush()
            for options in ([], ["--login-options", "AUTH=LOGIN"], ["--login-options", "AUTH=PLAIN"]):
                result = subprocess.run(
                    ["curl", "-sS", "--insecure", "--ssl-reqd", "--url",
                     f"smtp://127.0.0.1:{self.server.submission}", "--user", "tim:secret", "--mail-from",
                     "tim@a.example", "--mail-rcpt", "u@elsewhere.example", "-T", file.name, *options],
                    capture_output=True, text=True, timeout=PATIENCE_S)
                self.assertEqual(result.returncode, 0, result.stderr)
        self.received(3)

    # ---- wrong passwords ----

    def test_login_limit(self):
        line = Line(self.server.clear)
        line.reply()
        line.say("EHLO c")
        for _ in range(4):
            self.assertEqual(line.say(f"AUTH PLAIN {b64(chr(0) + 'tim' + chr(0) + 'wrong')}")[:9],
                             "535 5.7.8")
        self.assertEqual(line.say(f"AUTH PLAIN {b64(chr(0) + 'tim' + chr(0) + 'wrong')}")[:9],
                         "421 4.7.0")
        self.assertEqual(line.file.read(), b"")
        line.close()
        self.assertEqual(self.server.metric('ringpost_logins_total{result="wrong"}'), 5)

    def test_unknown_user_looks_like_a_known_one(self):
        """The same words, and in SCRAM a salt that stays the same."""
        line = Line(self.server.clear)
        line.reply()
        line.say("EHLO c")
        salts = set()
        for name in ("nobody", "nobody", "tim"):
            self.assertEqual(line.say(f"AUTH PLAIN {b64(chr(0) + name + chr(0) + 'x')}"),
                             "535 5.7.8 Wrong name or password")
            challenge = line.say(f"AUTH SCRAM-SHA-256 {b64(f'n,,n={name},r=abc')}")
            first = base64.b64decode(challenge[4:]).decode()
            salts.add((name, first.split(",s=")[1]))
            self.assertEqual(len(base64.b64decode(first.split(",s=")[1].split(",")[0])), 16)
            self.assertTrue(first.endswith(",i=15000"))
            self.assertEqual(line.say("*")[:3], "501")
        self.assertEqual(len(salts), 2)
        line.close()

    def test_client_that_leaves(self):
        """While its password is being checked, and while its answer is held back."""
        for _ in range(20):
            line = Line(self.server.clear)
            line.reply()
            line.say("EHLO c")
            line.socket.sendall(f"AUTH PLAIN {b64(chr(0) + 'tim' + chr(0) + 'wrong')}\r\n".encode())
            line.close()
        eventually(lambda: self.server.metric("ringpost_connections_in") == 0, "all are gone")

    def test_flood_of_logins_leaves_the_mail_alone(self):
        user(self.server.passwd, "add", "slow", "--scheme", "ARGON2ID", password="secret")
        eventually(lambda: "has changed" in self.server.log(), "the accounts are read again")
        lines = []
        for number in range(60):
            line = Line(self.server.clear)
            line.reply()
            line.say("EHLO c")
            line.socket.sendall(f"AUTH PLAIN {b64(chr(0) + 'slow' + chr(0) + str(number))}\r\n".encode())
            lines.append(line)
        with self.server.client(self.server.clear) as client:
            self.assertEqual(client.noop()[0], 250)
        replies = [line.reply()[:3] for line in lines]
        self.assertLessEqual(set(replies), {"535", "454"})
        for line in lines:
            line.close()

    # ---- accounts ----

    def test_reload(self):
        """Without a restart: a new account, a changed password, a deleted account; sessions too."""
        client = self.server.client(self.server.clear)
        client.login("tim", "secret")
        user(self.server.passwd, "add", "Ann", "--scheme", "SHA512-CRYPT", password="of Green Gables")
        user(self.server.passwd, "passwd", "tim", password="changed")
        eventually(lambda: self.server.log().count("has changed") >= 1, "the accounts are read again")

        def logs_in(name, password):
            with self.server.client(self.server.clear) as other:
                try:
                    other.login(name, password)
                    return True
                except smtplib.SMTPAuthenticationError:
                    return False

        eventually(lambda: logs_in("ann", "of Green Gables"), "the new account works")
        eventually(lambda: logs_in("tim", "changed"), "the new password works")
        self.assertFalse(logs_in("tim", "secret"))
        self.assertEqual(client.docmd("MAIL FROM:<tim@a.example>")[0], 421)
        user(self.server.passwd, "delete", "ann")
        eventually(lambda: not logs_in("ann", "of Green Gables"), "the deleted account is gone")
        os.rename(self.server.passwd, self.server.passwd + ".away")
        eventually(lambda: "stays in use" in self.server.log(), "the missing file is told")
        self.assertTrue(logs_in("tim", "changed"))

    def test_bound_account(self):
        user(self.server.passwd, "add", "bound", "--domains", "a.example,*.b.example", "--tenant", "acme",
             "--rate", "3/h", password="secret")
        eventually(lambda: "has changed" in self.server.log(), "the accounts are read again")
        with self.server.client(self.server.clear) as client:
            client.login("bound", "secret")
            for sender, code in (("x@c.example", 553), ("x@b.example", 553), ("", 553),
                                 ("x@A.example", 250)):
                self.assertEqual(client.docmd(f"MAIL FROM:<{sender}>")[0], code, sender)
            client.rset()
            with self.assertRaises(smtplib.SMTPDataError) as caught:
                client.sendmail("x@a.example", ["u@elsewhere.example"],
                                MESSAGE.replace("tim@a.example", "boss@c.example"))
            self.assertEqual(caught.exception.smtp_code, 550)
            client.sendmail("x@y.b.example", ["u@elsewhere.example"], MESSAGE)
            self.assertEqual(client.docmd("MAIL FROM:<x@a.example>")[0], 450)
        self.received(1)
        reception, = self.receptions(1)
        self.assertEqual(reception["queue"], "acme@elsewhere.example")
        self.assertEqual(reception["meta"]["user"], "bound")

    def test_added_fields_are_signed(self):
        """Date and Message-ID that we add are in the DKIM signature, which says what is not there, too."""
        key = Key(self.server.passwd_folder, "s1", "ed25519")
        tables = f'[[dkim]]\ndomain = "a.example"\nselector = "s1"\nkey = "{key.path}"\n'
        server = self.enterContext(Server(self.sink, tables))
        before = len(self.sink.messages)
        with server.client(server.clear) as client:
            client.login("tim", "secret")
            for extra in ("", "Date: Thu, 1 Jan 2026 00:00:00 +0000\r\n", "Message-ID: <1@a.example>\r\n"):
                client.sendmail("tim@a.example", ["u@elsewhere.example"], extra + MESSAGE)
        self.received(before + 3)
        for message in self.sink.messages[before:]:
            body = message.body
            self.assertEqual(len(re.findall(rb"(?mi)^(?:date|message-id):", body)), 2)
            self.assertTrue(dkim.verify(body, dnsfunc=lambda name, timeout=5: key.record.encode()), body)

    def test_the_file(self):
        """`ringpost user` keeps what it does not mean, owner and mode, and says what is wrong."""
        path = os.path.join(self.server.passwd_folder, "other")
        with open(path, "w") as file:
            file.write("# ours\nbob:{CRYPT}x:1000:1000::/home/bob::userdb_quota=1\nlast:*")
        os.chmod(path, 0o640)
        user(path, "add", "BOB", password="x", status=1)
        user(path, "add", "new one", password="x", status=1)
        user(path, "add", "new", "--domains", "not a domain", password="x", status=1)
        user(path, "add", "new", password="", status=1)
        user(path, "add", "new", "--scheme", "PLAIN", password="x", status=2)
        user(path, "passwd", "nobody", password="x", status=1)
        user(path, "delete", "nobody", status=1)
        user(path, "passwd", "Bob", "--scheme", "BLF-CRYPT", password="secret")
        user(path, "add", "new", "--rate", "1/s", password="secret")
        user(path, "delete", "last")
        with open(path) as file:
            lines = file.read().split("\n")
        self.assertEqual(lines[0], "# ours")
        self.assertRegex(lines[1], r"^bob:\{BLF-CRYPT\}\$2y\$12\$[^:]+:1000:1000::/home/bob::userdb_quota=1$")
        self.assertRegex(lines[2], r"^new:\{SCRAM-SHA-256\}15000,[^:]+::::::ringpost_rate=1/s$")
        self.assertEqual(lines[3:], [""])
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o640)
        self.assertEqual(os.listdir(self.server.passwd_folder).count("other"), 1)
        self.assertIn("new", user(path, "list"))
        user(os.path.join(self.server.passwd_folder, "none"), "list", status=3)

    def test_the_file_by_dovecot(self):
        """What we write, Dovecot's own program finds right."""
        if not shutil.which("doveadm"):
            self.skipTest("no doveadm here")
        path = os.path.join(self.server.passwd_folder, "dovecot")
        for number, scheme in enumerate(("SCRAM-SHA-256", "ARGON2ID", "SHA512-CRYPT", "BLF-CRYPT")):
            user(path, "add", f"u{number}", "--scheme", scheme, password="pencil")
        with open(path) as file:
            for line in file:
                stored = line.split(":")[1]
                result = subprocess.run(["doveadm", "pw", "-t", stored, "-p", "pencil"],
                                        capture_output=True, text=True, timeout=PATIENCE_S)
                self.assertIn("(verified)", result.stdout, result.stderr)

    def test_concurrent_changes(self):
        """Two at a time: neither undoes the other."""
        path = os.path.join(self.server.passwd_folder, "many")
        threads = [threading.Thread(target=user, args=(path, "add", f"u{number}"),
                                    kwargs={"password": "x"}) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(user(path, "list", "--json").splitlines()), 8)


if __name__ == "__main__":
    unittest.main(verbosity=2)
