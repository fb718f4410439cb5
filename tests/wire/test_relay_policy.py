#!/usr/bin/python3
"""Who may send where: every way in which open relays have been found, on every kind of listener, in
every state of TLS and AUTH; and whom proxies may speak for."""

import socket
import ssl
import struct
import subprocess
import unittest

from harness import PATIENCE_S, Sink, eventually, free_port, program
from test_auth import CERTIFICATES, MESSAGE, Server, b64

D, S, IP = "there.example", "here.example", "127.0.0.1"

# As they stand behind "RCPT TO:". D is foreign, mail for S is passed on ([domain] relay_to).
FORMS = [
    f"<u@{D}>", f"<u%{D}@[{IP}]>", f"<u%{D}@{S}>", f'<"u@{D}">', f'<"u%{D}">', f"<u@{D}@[{IP}]>",
    f'<"u@{D}"@[{IP}]>', f"<u@{D}@{S}>", f"<@[{IP}]:u@{D}>", f"<@{S}:u@{D}>", f"<{D}!u>",
    f"<{D}!u@[{IP}]>", f"<{D}!u@{S}>", f'<"u%{D}"@{S}>', f'<"u@{D}"@{S}>', f"<u%{D}%{S}>",
    f"<@a,@b:u@{D}>", f"<@a.example,@b.example:u@{D}>", f"<@{S}:@{D}:u@{D}>", f"<u%{D}@localhost>",
    f"<u@{D}.>", "<u@[127.1]>", "<u@[2130706433]>", "<u@[0x7f.1]>", f"<u@[{IP}]>", "<u@[IPv6:::1]>",
    "<u@[IPv6:::ffff:127.0.0.1]>", f"<u@[{D}]>", f"<u\\@{D}@{S}>", f"<u@{S}>,<u@{D}>",
    f"<u@{S} u@{D}>", f"u@{D}", f" <u@{D}>", f"<u\x07@{D}>", f"<u@{D}\x00>", f"<u\uff20{D}>",
    f"<u@there\u2024example>", f"<u\uff20{D}@{S}>", f"<postmaster%{D}>", f"<postmaster@{D}>",
    f"<postmaster@{S}.{D}>", f"<u@{S}.{D}>", f"<u@x{S}>", f"<u@.{S}>", f"<u@{S}..>", "<>", "<u>",
]
SENDERS = ["<>", f"<u@{D}>", f"<u@{S}>", f"<u@[{IP}]>"]


class Session:
    """Says lines, pipelined or one at a time, over plain sockets and TLS."""

    def __init__(self, port, implicit=False, first=b""):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.sendall(first)
        if implicit:
            self.secure()
        self.buffer = b""
        self.greeting = self.reply()

    def secure(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket)
        self.buffer = b""

    def line(self):
        while b"\n" not in self.buffer:
            octets = self.socket.recv(65536)
            if not octets:
                return b""
            self.buffer += octets
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line

    def reply(self):
        while True:
            line = self.line()
            if line[3:4] != b"-":
                return line.decode().rstrip("\r")

    def say(self, *commands):
        """The last reply to these, which go out together."""
        self.socket.sendall(b"".join(command.encode() + b"\r\n" for command in commands))
        return [self.reply() for _ in commands]

    def ehlo(self):
        self.say("EHLO client.test")
        return self

    def starttls(self):
        assert self.say("STARTTLS")[0].startswith("220")
        self.secure()
        return self.ehlo()

    def login(self, password="secret"):
        return self.say(f"AUTH PLAIN {b64(chr(0) + 'tim' + chr(0) + password)}")[0][:3]

    def close(self):
        self.socket.close()


class PolicyTest(unittest.TestCase):
    def setUp(self):
        self.sink = Sink()
        self.sink.__enter__()
        self.addCleanup(self.sink.__exit__, None, None, None)
        self.smtps, self.smtp_starttls = free_port(), free_port()
        self.proxied, self.xclient, self.proxied_tls = free_port(), free_port(), free_port()
        files = f'certificate = "{CERTIFICATES}/server.pem"\nkey = "{CERTIFICATES}/server.key"\n'
        local = '["127.0.0.0/8"]'
        tables = "".join(
            f'[[listener]]\naddress = "127.0.0.1:{port}"\n{more}\n' for port, more in (
                (self.smtp_starttls, 'tls = "starttls"\nallow_plaintext_auth = true\n' + files),
                (self.smtps, 'tls = "implicit"\n' + files),
                (self.proxied, f'proxy_from = {local}\nrelay_from = ["192.0.2.0/24", "127.0.0.0/8"]\n'),
                (self.proxied_tls, f'proxy_from = {local}\nrelay_from = ["192.0.2.0/24"]\n'
                                   'tls = "implicit"\n' + files),
                (self.xclient, f'xclient_from = {local}\nrelay_from = ["192.0.2.0/24", "127.0.0.0/8"]\n')))
        tables += f'[domain."{S.upper()}"]\nrelay_to = true\n[domain."not.example"]\nrelay_to = false\n'
        self.server = Server(self.sink, tables, limits={"errors": 100000, "login_failures": 100000,
                                                        "connections_per_address": 50})
        self.server.__enter__()
        self.addCleanup(self.server.__exit__, None, None, None)

    def strangers(self):
        """(what it is, a session in which nobody has logged in) for every listener and state."""
        server = self.server
        for name, port, implicit, starttls in (
                ("smtp", server.port, False, False), ("smtp starttls", self.smtp_starttls, False, True),
                ("smtps", self.smtps, True, False), ("submission", server.submission, False, True),
                ("submissions", server.submissions, True, False), ("clear", server.clear, False, False)):
            yield name, Session(port, implicit).ehlo()
            session = Session(port, implicit)
            session.say("HELO client.test")
            yield name + ", HELO", session
            if starttls:
                yield name + ", TLS", Session(port).ehlo().starttls()
            session = Session(port, implicit).ehlo()
            if starttls:
                session.starttls()
            session.login("wrong")
            yield name + ", wrong password", session
            session = Session(port, implicit).ehlo()
            session.say("AUTH SCRAM-SHA-256")
            assert session.say("*")[0][:3] == "501"
            yield name + ", login given up", session
            session = Session(port, implicit).ehlo()
            session.say(f"MAIL FROM:<a@{S}>", f"RCPT TO:<u@{S}>", "RSET")
            yield name + ", after RSET", session
        session = Session(self.smtp_starttls).ehlo()
        assert session.login() == "235"
        yield "smtp starttls, logged in before STARTTLS", session.starttls()
        session = Session(self.xclient).ehlo()
        assert session.say("XCLIENT ADDR=198.51.100.1")[0][:3] == "220"
        yield "XCLIENT, a stranger", session.ehlo()
        session = Session(self.xclient).ehlo()
        assert session.say("XCLIENT LOGIN=tim")[0][:3] == "220"
        assert session.say("XCLIENT ADDR=[UNAVAILABLE]")[0][:3] == "220"
        yield "XCLIENT, nobody", session.ehlo()
        yield "PROXY, a stranger", Session(
            self.proxied, first=b"PROXY TCP4 198.51.100.1 127.0.0.1 1 2\r\n").ehlo()
        yield "PROXY, nobody", Session(self.proxied, first=b"PROXY UNKNOWN\r\n").ehlo()

    def test_strangers(self):
        """None of the forms gets in anywhere; mail for our own domain does, where mail is taken."""
        for name, session in self.strangers():
            takes_mail = "submission" not in name and "clear" not in name
            for sender in SENDERS:
                replies = session.say(f"MAIL FROM:{sender}", f"RCPT TO:<u@{S}>",
                                      *(f"RCPT TO:{form}" for form in FORMS),
                                      f"RCPT TO:<U@{S.upper()}>", "RCPT TO:<postmaster>", "RSET")
                for form, reply in zip(FORMS, replies[2:]):
                    self.assertEqual(reply[:1], "5", f"{name}: MAIL {sender}, RCPT {form!r}: {reply}")
                ours = [replies[0], replies[1], *replies[2 + len(FORMS):-1]]
                wanted = "250" if takes_mail else "530"
                self.assertEqual([reply[:3] for reply in ours], [wanted] * 4, f"{name}: {ours}")
            session.close()

    def test_in_a_transaction(self):
        """A recipient that is refused takes no other one with it, and no data comes through."""
        session = Session(self.server.port).ehlo()
        replies = session.say("MAIL FROM:<>", f"RCPT TO:<u@{D}>", "DATA", "RSET")
        self.assertEqual([reply[:3] for reply in replies], ["250", "550", "554", "250"])
        replies = session.say("MAIL FROM:<>", f"RCPT TO:<u@{D}>", f"RCPT TO:<u@{S}>", "DATA")
        self.assertEqual([reply[:3] for reply in replies], ["250", "550", "250", "354"])
        session.say(MESSAGE + ".")
        session.close()
        eventually(lambda: self.sink.messages, "the message at the sink")
        self.assertEqual(list(self.sink.messages[0].recipients), [f"u@{S}"])

    def test_those_who_may(self):
        """Logged in, or from a network that may: to anywhere, and then malformed is still malformed."""
        server = self.server

        def logged_in(session):
            self.assertEqual(session.login(), "235")
            return session

        xclient = Session(self.xclient).ehlo()
        xclient.say("XCLIENT ADDR=198.51.100.1 LOGIN=tim")
        for session in (logged_in(Session(server.submission).ehlo().starttls()),
                        logged_in(Session(server.submissions, True).ehlo()),
                        logged_in(Session(server.clear).ehlo()),
                        logged_in(Session(self.smtps, True).ehlo()), xclient.ehlo(),
                        Session(self.xclient).ehlo(),
                        Session(self.proxied, first=b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n").ehlo()):
            replies = session.say("MAIL FROM:<a@a.example>", f"RCPT TO:<u@{D}>", f"RCPT TO:<u%{D}@{S}>",
                                  f'RCPT TO:<"u@{D}">', f"RCPT TO:<u@{D}@{S}>", f"RCPT TO:u@{D}", "RSET")
            self.assertEqual([reply[:3] for reply in replies],
                             ["250", "250", "250", "501", "501", "501", "250"])
            session.close()

    def test_reload(self):
        """A domain that is added counts for sessions that are there; a login outlives it."""
        stranger, client = Session(self.server.port).ehlo(), Session(self.server.clear).ehlo()
        self.assertEqual(client.login(), "235")
        self.assertEqual(stranger.say("MAIL FROM:<>", "RCPT TO:<u@not.example>", "RSET")[1][:3], "550")
        with open(self.server.config_path) as file:
            text = file.read()
        with open(self.server.config_path, "w") as file:
            file.write(text.replace("relay_to = false", "relay_to = true"))
        subprocess.run([program("ringpost"), "--config", self.server.config_path, "reload"], check=True,
                       capture_output=True, timeout=PATIENCE_S)
        eventually(lambda: stranger.say("MAIL FROM:<>", "RCPT TO:<u@not.example>", "RSET")[1][:3] == "250",
                   "the domain is relayed to")
        replies = client.say("MAIL FROM:<a@a.example>", f"RCPT TO:<u@{D}>", "DATA", MESSAGE + ".")
        self.assertEqual([reply[:3] for reply in replies], ["250", "250", "354", "250"])
        eventually(lambda: self.sink.messages, "the message at the sink")
        self.assertIn(b"with ESMTPA id", self.sink.messages[0].body)
        another = Session(self.server.clear).ehlo()
        self.assertEqual(another.login(), "235")
        for session in (stranger, client, another):
            session.close()

    # ---- proxies ----

    def test_proxy_in_front(self):
        """The client is who the header says: in Received, in the journal, in relay_from; TLS comes behind."""
        v2 = (b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", 12) + socket.inet_aton("192.0.2.7") +
              socket.inet_aton("127.0.0.1") + struct.pack("!HH", 4711, 25))
        for number, (port, implicit, header) in enumerate((
                (self.proxied, False, b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 25\r\n"),
                (self.proxied, False, v2), (self.proxied_tls, True, v2))):
            session = Session(port, implicit, first=header).ehlo()
            replies = session.say("MAIL FROM:<a@a.example>", f"RCPT TO:<u@{D}>", "DATA", MESSAGE + ".")
            self.assertEqual(replies[-1][:3], "250")
            session.close()
            eventually(lambda: len(self.sink.messages) > number, "the message at the sink")
            self.assertIn(b"([192.0.2.7])", self.sink.messages[-1].body)

    def test_bad_headers(self):
        """A balancer that says nothing, or nonsense, gets nothing; nobody else may say PROXY."""
        for header in (b"EHLO client.test\r\n", b"PROXY TCP4 1 2 3 4\r\n", b"PROXY " + b"x" * 300,
                       b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" + b"x" * 300, b"\x16\x03\x01\x02\x00"):
            with socket.create_connection(("127.0.0.1", self.proxied), PATIENCE_S) as client:
                client.sendall(header)
                try:
                    self.assertEqual(client.recv(100), b"", header)
                except ConnectionResetError:
                    pass
        self.assertEqual(self.server.metric("ringpost_proxy_headers_bad_total"), 5)
        session = Session(self.server.port)
        self.assertEqual(session.say("PROXY TCP4 192.0.2.7 127.0.0.1 1 2")[0][:3], "500")
        self.assertEqual(session.say("XCLIENT ADDR=192.0.2.7")[0][:3], "550")
        session.close()

    def test_proxies_are_counted_by_their_clients(self):
        """connections_per_address is for clients, not for the balancer in front of them."""
        sessions = [Session(self.proxied, first=f"PROXY TCP4 198.51.100.{n} 127.0.0.1 1 2\r\n".encode())
                    for n in range(60)]
        self.assertTrue(all(session.greeting.startswith("220") for session in sessions))
        sessions += [Session(self.proxied, first=b"PROXY TCP4 203.0.113.9 127.0.0.1 1 2\r\n")
                     for _ in range(51)]
        self.assertEqual([session.greeting[:3] for session in sessions[60:]], ["220"] * 50 + ["421"])
        for session in sessions:
            session.close()
        eventually(lambda: self.server.metric("ringpost_connections_in") == 0, "all are gone")


if __name__ == "__main__":
    unittest.main(verbosity=2)
