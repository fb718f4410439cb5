#!/usr/bin/python3
"""DKIM: every message leaves signed, and those who did not write our code agree that it is."""

import base64
import contextlib
import ctypes
import json
import os
import random
import re
import shutil
import smtplib
import socket
import subprocess
import tempfile
import unittest

import dkim

from harness import (PATIENCE_S, NameServer, Ringpost, Sink, domain, eventually, free_port, program,
                     refuse, start_ringpost)

MESSAGES = 240
SEED = 20260101


def openssl(*arguments, **options):
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, **options).stdout


class Key:
    """A private key in a file, and its record."""

    def __init__(self, folder, selector, kind, bits=2048):
        self.selector, self.kind = selector, kind
        self.path = os.path.join(folder, f"{selector}.pem")
        subprocess.run([program("ringpost"), "dkim", "new", self.path,
                        *(["--type", kind] if kind == "ed25519" else ["--bits", str(bits)])],
                       check=True, capture_output=True)
        public = openssl("pkey", "-in", self.path, "-pubout", "-outform", "DER")
        octets = public[-32:] if kind == "ed25519" else public
        self.record = f"v=DKIM1; k={kind}; p={base64.b64encode(octets).decode()}"

    def zone(self, author):
        parts = [self.record[at:at + 200] for at in range(0, len(self.record), 200)]
        return f"{self.selector}._domainkey.{author} TXT " + " ".join(f'"{part}"' for part in parts)


# ---- messages ----


def words(chooser, count):
    return " ".join("".join(chooser.choices("abcdefghijklmnopqrstuvwxyz", k=chooser.randint(1, 11)))
                    for _ in range(count))


def header(chooser, author):
    """A header section, in all the ways that are legal and some that are only usual."""
    name = chooser.choice(["", "Ann ", '"Ann, of Example" ', "=?utf-8?q?=C3=84nn?= ", "(a note) Ann "])
    address = f"ann@{author}.test"
    fields = [chooser.choice([f"From: {name}<{address}>" if name else f"From: {address}",
                              f"FROM:{name}<{address}>", f"from:\r\n {name}<{address}>"])]
    fields.append(f"Subject: {words(chooser, chooser.randint(0, 12))}")
    fields.append("Date: Thu, 1 Jan 2026 00:00:00 +0000")
    fields.append(f"Message-ID: <{chooser.getrandbits(60):x}@{author}.test>")
    fields.append("To: " + ",\r\n\t".join(f"r{i}@b.test" for i in range(chooser.randint(1, 12))))
    if chooser.random() < 0.3:
        fields.append("Subject: " + words(chooser, 4))  # twice
    if chooser.random() < 0.3:
        fields += [f"X-Trace: {words(chooser, 3)}"] * chooser.randint(2, 5)
    if chooser.random() < 0.3:
        fields.append("List-Unsubscribe: <https://example.test/u?a=b;c=d>,\r\n  \t <mailto:u@b.test>  ")
        fields.append("List-Unsubscribe-Post: List-Unsubscribe=One-Click")
    if chooser.random() < 0.2:
        fields.append("X-8bit: \xe4\xf6\xfc raw octets")
    if chooser.random() < 0.2:
        fields.append("X-Long: " + "x" * chooser.randint(900, 990))
    if chooser.random() < 0.3:
        fields.append("References: " + "\r\n ".join(
            f"<{chooser.getrandbits(90):x}@b.test>" for _ in range(chooser.randint(1, 30))))
    if chooser.random() < 0.2:
        fields.append("Cc:\r\n\t \r\n c@b.test") if chooser.random() < 0 else fields.append("Cc:\tc@b.test \t ")
    if chooser.random() < 0.3:
        chooser.shuffle(fields)
    return fields


def lines_text(chooser):
    lines = []
    for _ in range(chooser.randint(1, 60)):
        lines.append(chooser.choice([
            "", " ", "\t", ".", "..", ".x", "...", "-- ", "From here",
            words(chooser, chooser.randint(1, 14)), "  " + words(chooser, 3) + " \t ",
            words(chooser, 2) + "\t\t" + words(chooser, 2) + "   " + words(chooser, 1),
            "y" * chooser.randint(70, 990), "\xc3\xa4\xc3\xb6 " + words(chooser, 2), "\xff\xfe",
            "=3D=20", "a=\t=b"]))
    return "\r\n".join(lines)


def body(chooser, fields, kind):
    text = lines_text(chooser)
    if kind == "none":  # no blank line either
        return None
    if kind == "empty":
        return ""
    if kind == "blank":
        return chooser.choice(["\r\n", "\r\n\r\n\r\n", " \r\n", " \t\r\n\r\n"])
    if kind == "trailing":
        return text + "\r\n" * chooser.randint(2, 9) + chooser.choice(["", " \r\n", "\t \r\n\r\n"])
    if kind == "open":  # no line end at all: BDAT only
        return text + "x"
    if kind == "base64":
        fields.append("Content-Transfer-Encoding: base64")
        return base64.encodebytes(chooser.randbytes(chooser.randint(1, 40000))).decode().replace(
            "\n", "\r\n")
    if kind == "large":
        return "\r\n".join(lines_text(chooser) for _ in range(600)) + "\r\n"
    if kind == "mime":
        fields += ["MIME-Version: 1.0", 'Content-Type: multipart/mixed;\r\n boundary="=_b"']
        return (f"preamble\r\n--=_b\r\nContent-Type: text/plain\r\n\r\n{text}\r\n--=_b\r\n"
                "Content-Type: message/rfc822\r\n\r\nFrom: x@y.test\r\nDKIM-Signature: v=1; a=none\r\n\r\n"
                f"inner\r\n\r\n--=_b--\r\n{chooser.choice(['', 'epilogue' + chr(13) + chr(10)])}")
    return text + "\r\n"


KINDS = ["text", "text", "none", "empty", "blank", "trailing", "open", "base64", "mime", "text"]


def message(number, author):
    """(octets, by BDAT)"""
    chooser = random.Random(f"{SEED} {number}")
    kind = "large" if number % 60 == 59 else KINDS[number % len(KINDS)]
    fields = header(chooser, author)
    text = body(chooser, fields, kind)
    octets = "\r\n".join(fields) + "\r\n"
    if text is not None:
        octets += "\r\n" + text
    return octets.encode("latin-1"), kind == "open" or chooser.random() < 0.3


class Client:
    """Sends octets exactly as they are."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.file = self.socket.makefile("rb")
        self.reply()
        self.say("EHLO client.test")

    def close(self):
        self.file.close()
        self.socket.close()

    def reply(self):
        while True:
            line = self.file.readline()
            if line[3:4] != b"-":
                break
        if line[:1] not in (b"2", b"3"):
            raise AssertionError(f"refused: {line!r}")
        return line

    def say(self, line):
        self.socket.sendall(line.encode() + b"\r\n")
        return self.reply()

    def send(self, recipient, octets, by_bdat, sender="bounce@author.test"):
        self.say(f"MAIL FROM:<{sender}> BODY=8BITMIME")
        self.say(f"RCPT TO:<{recipient}>")
        if by_bdat:
            cut = len(octets) // 3
            for part, last in ((octets[:cut], ""), (octets[cut:], " LAST")):
                self.socket.sendall(f"BDAT {len(part)}{last}\r\n".encode() + part)
                answer = self.reply()
            return answer
        self.say("DATA")
        stuffed = re.sub(rb"(^|\r\n)\.", rb"\1..", octets)
        self.socket.sendall(stuffed + b".\r\n")
        return self.reply()


# ---- verifiers ----


class Zone:
    """What a verifier asks DNS for."""

    def __init__(self, lines):
        self.texts = {}
        for line in lines:
            match = re.match(r"(\S+) TXT (.*)", line)
            if match:
                self.texts[f"{match[1]}.test."] = "".join(re.findall(r'"([^"]*)"', match[2]))

    def txt(self, name, timeout=None):
        name = name.decode() if isinstance(name, bytes) else name
        text = self.texts.get(name if name.endswith(".") else name + ".")
        return text.encode() if text else None


def dkimpy_verdicts(octets, zone, count):
    verifier = dkim.DKIM(octets, minkey=1024)
    return [verifier.verify(idx=index, dnsfunc=zone.txt) for index in range(count)]


def mail_dkim_verdicts(paths, dns_port):
    result = subprocess.run(
        ["perl", os.path.join(os.path.dirname(os.path.abspath(__file__)), "verify_dkim.pl"), *paths],
        capture_output=True, text=True, check=True, env={**os.environ, "DNS_PORT": str(dns_port)})
    return result.stdout.splitlines()


class OpenDkim:
    """libopendkim, with a file of keys in place of DNS. It knows no Ed25519."""

    def __init__(self, folder, zone):
        self.library = ctypes.CDLL("libopendkim.so.11")
        self.keys = os.path.join(folder, "opendkim.keys")
        with open(self.keys, "w") as file:
            for name, text in zone.texts.items():
                file.write(f"{name.rstrip('.')} {text}\n")
        self.library.dkim_init.restype = ctypes.c_void_p
        self.library.dkim_verify.restype = ctypes.c_void_p
        self.handle = ctypes.c_void_p(self.library.dkim_init(None, None))
        method = ctypes.c_int(1)  # DKIM_QUERY_FILE
        self._option(6, ctypes.byref(method), ctypes.sizeof(method))
        self._option(7, ctypes.c_char_p(self.keys.encode()), len(self.keys))

    def _option(self, option, data, size):
        self.check(self.library.dkim_options(self.handle, 1, option, data, ctypes.c_size_t(size)), 0)

    @staticmethod
    def check(status, *wanted):
        if status not in wanted:
            raise AssertionError(f"libopendkim says {status}")

    def verdict(self, octets):
        """Of one signature of the message, that it takes first."""
        status = ctypes.c_int()
        message = ctypes.c_void_p(self.library.dkim_verify(self.handle, b"id", None, ctypes.byref(status)))
        try:
            head, blank, rest = octets.partition(b"\r\n\r\n")
            for field in filter(None, re.split(rb"\r\n(?![ \t])", head)):
                self.check(self.library.dkim_header(message, field, ctypes.c_size_t(len(field))), 0)
            self.check(self.library.dkim_eoh(message), 0)
            if rest:
                self.check(self.library.dkim_body(message, rest, ctypes.c_size_t(len(rest))), 0)
            return self.library.dkim_eom(message, None)
        finally:
            self.library.dkim_free(message)


def signatures(octets):
    head = octets.partition(b"\r\n\r\n")[0]
    return re.findall(rb"(?:^|\r\n)DKIM-Signature:((?:[^\r]|\r\n[ \t])*)", head)


def tags(signature):
    text = re.sub(rb"\s", b"", signature).decode()
    return dict(part.split("=", 1) for part in text.split(";") if part)


class Signing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="ringpost-dkim-"))
        cls.keys = {
            "author": [Key(cls.folder, "rsa", "rsa"), Key(cls.folder, "ed", "ed25519")],
            "strict": [Key(cls.folder, "simple", "rsa", 1024)],
            "house": [Key(cls.folder, "house", "rsa", 3072)],
        }
        lines = [key.zone(author) for author, keys in cls.keys.items() for key in keys]
        cls.zone = Zone(lines)
        cls.port = free_port()
        cls.name_server = cls.enterClassContext(NameServer(
            [*domain("b", "127.0.0.2"), *domain("author", "127.0.0.2"), *domain("house", "127.0.0.2"),
             *lines]))

    def tables(self):
        def table(author, key, **more):
            return "\n".join(["[[dkim]]", f'domain = "{author}.test"', f'selector = "{key.selector}"',
                              f'key = "{key.path}"', *(f"{k} = {json.dumps(v)}" for k, v in more.items())])

        author, strict, house = self.keys["author"], self.keys["strict"][0], self.keys["house"][0]
        return "\n".join([
            table("author", author[0]), table("author", author[1]),
            table("strict", strict, canonicalization="relaxed/simple", expires_after="7d",
                  headers=["From", "To", "Subject", "X-Trace", "X-Absent"]),
            table("house", house, default=True)])

    def start(self):
        sink = self.enterContext(Sink("127.0.0.2", self.port))
        ringpost = start_ringpost(self, name_server=self.name_server, smtp_port=self.port,
                                  tables=self.tables())
        client = Client(ringpost.port)
        self.addCleanup(client.close)
        return ringpost, sink, client

    def write(self, name, octets):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(octets)
        return path

    def test_verified_by_others(self):
        ringpost, sink, client = self.start()
        for number in range(MESSAGES):
            author = ["author", "strict", "elsewhere"][number % 3]
            octets, by_bdat = message(number, author)
            client.send(f"n{number}@b.test", octets, by_bdat)
        arrived = {m.recipients[0].partition("@")[0]: m.body for m in sink.wait_for(MESSAGES)}
        opendkim = OpenDkim(self.folder, self.zone)
        paths = [self.write(f"n{number}", arrived[f"n{number}"]) for number in range(MESSAGES)]
        perl = mail_dkim_verdicts(paths, self.name_server.port)
        for number in range(MESSAGES):
            octets, count = arrived[f"n{number}"], 2 if number % 3 == 0 else 1
            with self.subTest(number=number, path=paths[number]):
                self.assertEqual(len(signatures(octets)), count, octets[:2000])
                self.assertTrue(octets.startswith(b"DKIM-Signature: v=1;"))
                self.assertEqual(dkimpy_verdicts(octets, self.zone, count), [True] * count)
                self.assertIn("rsa-sha256=pass", perl[number])
                self.assertIn("all=pass", perl[number])
                self.assertNotIn("fail", perl[number])
                self.assertEqual(opendkim.verdict(octets), 0)
        wanted = MESSAGES + MESSAGES // 3
        self.assertEqual(ringpost.metric("ringpost_dkim_signatures_total"), wanted)
        self.assertEqual(ringpost.metric("ringpost_dkim_unsigned_total"), 0)
        self.assertEqual(sink.violations, [])

    def test_a_changed_message_fails(self):
        """The verifiers can say no."""
        _, sink, client = self.start()
        client.send("x@b.test", b"From: a@author.test\r\nSubject: s\r\n\r\none\r\ntwo\r\n", False)
        octets = sink.wait_for(1)[0].body
        opendkim = OpenDkim(self.folder, self.zone)
        self.assertEqual(dkimpy_verdicts(octets, self.zone, 2), [True, True])
        added = octets.replace(b"Subject: s", b"Subject: s\r\nSubject: t", 1)
        second_author = octets.replace(b"\r\nSubject: s", b"\r\nSubject: s\r\nFrom: b@author.test", 1)
        reply_to = octets.replace(b"\r\nSubject: s", b"\r\nSubject: s\r\nReply-To: b@author.test", 1)
        for changed in (octets.replace(b"two", b"three"), added, second_author, reply_to):
            self.assertNotEqual(changed, octets)
            self.assertNotIn(True, [self.verdict(changed, index) for index in (0, 1)])
            self.assertNotEqual(opendkim.verdict(changed), 0)
            self.assertNotIn("pass", mail_dkim_verdicts([self.write("changed", changed)],
                                                        self.name_server.port)[0])
        spaces = octets.replace(b"one\r\ntwo", b"one  \r\ntwo \r\n")
        self.assertEqual(dkimpy_verdicts(spaces, self.zone, 2), [True, True])

    def verdict(self, octets, index):
        with contextlib.suppress(dkim.DKIMException):
            return dkim.DKIM(octets).verify(idx=index, dnsfunc=self.zone.txt)
        return False

    def test_tags(self):
        _, sink, client = self.start()
        client.send("x@b.test", b"From: a@STRICT.test\r\nTo: x\r\nX-Trace: 1\r\nX-Trace: 2\r\n\r\nx\r\n", False)
        client.send("y@b.test", b"From: a@elsewhere.test\r\nSender: s@b.test\r\n\r\nx\r\n", False)
        found = {m.recipients[0]: [tags(s) for s in signatures(m.body)] for m in sink.wait_for(2)}
        strict, other = found["x@b.test"][0], found["y@b.test"][0]
        self.assertEqual((strict["c"], strict["d"], strict["s"], strict["a"]),
                         ("relaxed/simple", "strict.test", "simple", "rsa-sha256"))
        self.assertEqual(strict["h"], "From:From:To:To:Subject:X-Trace:X-Trace:X-Trace:X-Absent")
        self.assertEqual(int(strict["x"]) - int(strict["t"]), 7 * 86400)
        self.assertEqual((other["d"], other["s"]), ("house.test", "house"))
        self.assertNotIn("x", other)
        self.assertTrue(other["h"].startswith("From:From:Sender:Sender:Reply-To:Subject:"))
        self.assertNotIn("List-Id", other["h"])

    def test_reports(self):
        """Our own reports carry a signature as well, of the key for all others."""
        _, sink, client = self.start()
        sink.rules["nobody@b.test"] = refuse()
        client.send("nobody@b.test", b"From: a@author.test\r\n\r\nx\r\n", False)
        report = sink.wait_for(1)[0]
        self.assertEqual((report.sender, report.recipients), ("", ("bounce@author.test",)))
        self.assertEqual([tags(s)["d"] for s in signatures(report.body)], ["house.test"])
        self.assertEqual(dkimpy_verdicts(report.body, self.zone, 1), [True])
        self.assertIn("all=pass", mail_dkim_verdicts([self.write("report", report.body)],
                                                     self.name_server.port)[0])

    def test_strangers_are_not_signed_for(self):
        """Who may not send to anywhere cannot have our signature by naming our domain."""
        sink = self.enterContext(Sink("127.0.0.2", self.port))
        ringpost = start_ringpost(
            self, name_server=self.name_server, smtp_port=self.port, tables=self.tables(),
            relay_from=["192.0.2.0/24"], routes={"mail.ringpost.test": [f"127.0.0.2:{self.port}"]})
        client = Client(ringpost.port)
        self.addCleanup(client.close)
        client.send("postmaster@mail.ringpost.test", b"From: a@author.test\r\n\r\nx\r\n", False)
        self.assertEqual(signatures(sink.wait_for(1)[0].body), [])
        self.assertEqual(ringpost.metric("ringpost_dkim_signatures_total"), 0)

    def test_what_is_added_at_submission_is_signed(self):
        """A Date and a Message-ID of ours, in mail of a client that has logged in."""
        sink, port = self.enterContext(Sink("127.0.0.2", self.port)), free_port()
        passwd = os.path.join(self.folder, "passwd")
        subprocess.run([program("ringpost"), "user", "add", "ann", "--file", passwd], check=True,
                       input="secret\n", text=True, capture_output=True)
        start_ringpost(self, name_server=self.name_server, smtp_port=self.port, relay_from=[],
                       authentication={"verify": True}, accounts={"passwd_file": passwd},
                       tables=self.tables() + f'''
[[listener]]
address = "127.0.0.1:{port}"
service = "submission"
allow_plaintext_auth = true
''')
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_S) as client:
            client.login("ann", "secret")
            client.sendmail("ann@author.test", ["x@b.test"], "From: a@author.test\r\nSubject: s\r\n\r\nx\r\n")
        octets = sink.wait_for(1)[0].body
        self.assertIn(b"\r\nMessage-ID: ", octets)
        self.assertIn(b"\r\nDate: ", octets)
        self.assertNotIn(b"Authentication-Results", octets)
        self.assertEqual(dkimpy_verdicts(octets, self.zone, 2), [True, True])
        self.assertIn("Date:Date:Message-ID:Message-ID:", tags(signatures(octets)[0])["h"])

    def test_reload(self):
        """Other keys without a restart; a file that cannot be used changes nothing; none at all."""
        ringpost, sink, client = self.start()
        with open(ringpost.config_path) as file:
            text = file.read()

        def write(old, new):
            with open(ringpost.config_path, "w") as file:
                file.write(text.replace(old, new))

        def selectors(number):
            client.send("x@b.test", b"From: a@author.test\r\n\r\nx\r\n", False)
            octets = sink.wait_for(number)[number - 1].body
            self.assertNotIn(False, dkimpy_verdicts(octets, self.zone, len(signatures(octets))))
            return [tags(s)["s"] for s in signatures(octets)]

        self.assertEqual(selectors(1), ["rsa", "ed"])
        write(f'key = "{self.keys["author"][0].path}"', 'key = "/none"')
        self.assertIn("/none", ringpost.command("reload", status=1)[1])
        client.close()
        client = Client(ringpost.port)
        self.addCleanup(client.close)
        self.assertEqual(selectors(2), ["rsa", "ed"])
        write('domain = "author.test"\nselector = "rsa"', 'domain = "other.test"\nselector = "rsa"')
        ringpost.command("reload")
        client.close()
        client = Client(ringpost.port)
        self.addCleanup(client.close)
        self.assertEqual(selectors(3), ["ed"])
        sink.rules["nobody@b.test"] = refuse()
        client.send("nobody@b.test", b"From: a@author.test\r\n\r\nx\r\n", False)
        self.assertEqual([tags(s)["d"] for s in signatures(sink.wait_for(4)[3].body)], ["house.test"])
        write(self.tables(), "")
        ringpost.command("reload")
        client.close()
        client = Client(ringpost.port)
        self.addCleanup(client.close)
        self.assertEqual(selectors(5), [])
        client.send("nobody@b.test", b"From: a@author.test\r\n\r\nx\r\n", False)
        self.assertEqual(signatures(sink.wait_for(6)[5].body), [])

    def test_not_signable(self):
        """What verifiers would read differently goes out without a signature, and is counted."""
        ringpost, sink, client = self.start()
        for octets in (b"Subject: no author\r\n\r\nx\r\n", b"no header at all\r\n",
                       b"From: undisclosed\r\n\r\nx\r\n", b"From: a@author.test\r\nbroken\r\n\r\nx\r\n"):
            client.send("x@b.test", octets, False)
        for arrived in sink.wait_for(4):
            self.assertEqual(signatures(arrived.body), [])
        eventually(lambda: ringpost.metric("ringpost_dkim_unsigned_total") == 4)

    def test_other_connections_go_on(self):
        """While many messages wait for their signatures, a command is answered between them."""
        ringpost, sink, _ = self.start()
        clients = [Client(ringpost.port) for _ in range(40)]
        for client in clients:
            self.addCleanup(client.close)
        octets = b"From: a@author.test\r\nSubject: s\r\n\r\nx\r\n"
        for number, client in enumerate(clients):
            client.say("MAIL FROM:<bounce@author.test>")
            client.say(f"RCPT TO:<x{number}@b.test>")
            client.say("DATA")
        for client in clients:
            client.socket.sendall(octets + b".\r\n")
        other = Client(ringpost.port)
        self.addCleanup(other.close)
        other.say("NOOP")
        for client in clients:
            client.reply()
        for arrived in sink.wait_for(len(clients)):
            self.assertEqual(dkimpy_verdicts(arrived.body, self.zone, 2), [True, True])

    def test_lost_while_signing(self):
        """Clients that vanish behind their final dot."""
        ringpost, sink, client = self.start()
        octets = b"From: a@author.test\r\nSubject: s\r\n\r\nx\r\n"
        for number in range(30):
            lost = Client(ringpost.port)
            lost.say("MAIL FROM:<bounce@author.test>")
            lost.say(f"RCPT TO:<x{number}@b.test>")
            lost.say("DATA")
            lost.socket.sendall(octets + b".\r\n")
            lost.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            lost.close()
        client.send("last@b.test", octets, False)
        eventually(lambda: any(m.recipients == ("last@b.test",) for m in sink.messages))
        for arrived in list(sink.messages):
            self.assertEqual(dkimpy_verdicts(arrived.body, self.zone, 2), [True, True])


class Tool(unittest.TestCase):
    """`ringpost dkim`: keys, their records, and both held against each other."""

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory(prefix="ringpost-dkim-"))

    def ringpost(self, *arguments):
        return subprocess.run([program("ringpost"), *arguments], capture_output=True, text=True)

    def config(self, tables, name_server=None):
        ringpost = Ringpost(name_server=name_server, tables=tables)
        self.addCleanup(shutil.rmtree, ringpost.folder)
        return ringpost.config_path

    def table(self, selector, path):
        return f'[[dkim]]\ndomain = "a.test"\nselector = "{selector}"\nkey = "{path}"\n'

    def key(self, name, *kind):
        path = os.path.join(self.folder, name)
        self.assertEqual(self.ringpost("dkim", "new", path, *kind).returncode, 0)
        return path

    def test_new(self):
        path = self.key("one")
        self.assertEqual(os.stat(path).st_mode & 0o7777, 0o600)
        self.assertIn("2048 bit", openssl("pkey", "-in", path, "-text", "-noout", text=True))
        again = self.ringpost("dkim", "new", path)
        self.assertEqual(again.returncode, 3)
        self.assertIn("File exists", again.stderr)
        self.assertEqual(self.ringpost("dkim", "new", path + "2", "--bits", "512").returncode, 2)
        self.assertEqual(self.ringpost("dkim", "new", path + "2", "--type", "dsa").returncode, 2)
        self.assertEqual(self.ringpost("dkim", "new").returncode, 2)
        self.assertFalse(os.path.exists(path + "2"))

    def test_dns_and_check(self):
        paths = {"r": self.key("r", "--bits", "4096"), "e": self.key("e", "--type", "ed25519"), "x": self.key("x"),
                 "gone": self.key("gone"), "two": self.key("two", "--type=ed25519")}
        tables = {selector: self.table(selector, path) for selector, path in paths.items()}
        printed = self.ringpost("--config", self.config("".join(tables.values())), "dkim", "dns")
        self.assertEqual((printed.returncode, printed.stderr), (0, ""))
        records = {line.split(".")[0]: line for line in printed.stdout.splitlines()}
        self.assertEqual(records.keys(), paths.keys())
        self.assertGreater(records["r"].count('"'), 4)  # in strings of at most 255
        zone = [records["r"], records["e"], records["two"],
                records["r"].replace("r._domainkey", "x._domainkey"), 'two._domainkey.a TXT "v=DKIM1; p="']
        with NameServer(zone) as name_server:
            wanted = {"r": (0, "good"), "e": (0, "good"), "x": (1, "another key"),
                      "gone": (1, "no record"), "two": (1, "several records")}
            for selector, (status, text) in wanted.items():
                config = self.config(tables[selector], name_server)
                result = self.ringpost("--config", config, "dkim", "check")
                self.assertEqual(result.returncode, status, result)
                self.assertIn(f"{selector}._domainkey.a.test: ", result.stdout)
                self.assertIn(text, result.stdout)
        dead = self.ringpost("--config", self.config(tables["r"] + '[dns]\nservers = ["127.0.0.1:9"]\n'
                                                     'timeout = "100ms"\n'), "dkim", "check")
        self.assertEqual(dead.returncode, 3, dead)

    def test_check_against_a_file(self):
        path = self.key("e", "--type", "ed25519")
        config, record = self.config(self.table("e", path)), os.path.join(self.folder, "record")
        text = re.search(r'"(.*)"', self.ringpost("--config", config, "dkim", "dns").stdout)[1]
        for content, status in ((text, 0), (text + "\n", 0), (text[:-8] + "AAAAAAA=", 1), ("nothing", 1)):
            with open(record, "w") as file:
                file.write(content)
            result = self.ringpost("--config", config, "dkim", "check", record)
            self.assertEqual(result.returncode, status, result)
        self.assertEqual(self.ringpost("--config", config, "dkim", "check", "/none").returncode, 3)

    def test_bad_keys_stop_the_start(self):
        good, weak = self.key("good"), os.path.join(self.folder, "weak")
        with open(weak, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(openssl("genrsa", "512"))
        os.chmod(good, 0o644)
        for path, text in ((good, "0644"), (weak, "1024"), ("/none", "No such file")):
            config = self.config(self.table("s", path))
            for how in ("--check-config", "--config"):
                result = subprocess.run([program("ringpostd"), how, config], capture_output=True, text=True)
                self.assertEqual(result.returncode, 1, result)
                self.assertIn(text, result.stderr)
                self.assertIn(f"[[dkim]] key {path}", result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
