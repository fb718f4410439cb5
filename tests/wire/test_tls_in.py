#!/usr/bin/python3
"""TLS from clients: programs that people use, what is spoken and what is not, certificates by name
and their renewal, and clients that mean no good: smuggled text, stalled and flooding handshakes,
ends in the middle."""

import contextlib
import os
import pwd
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
import tempfile
import unittest

import test_interop_out
from harness import (PATIENCE_S, Sink, eventually, free_port, make_message, program, sha256,
                     start_ringpost, without_received)
from test_interop_in import run, tool
from tls_peer import certificate, client_context, key

SENDER, RECIPIENT = "ann@sender.test", "bob@a.test"
NAME = "client.ringpost.test"


class Base(unittest.TestCase):
    def start(self, name="server", listener="", tables="", **options):
        """One with three listeners: plain, "starttls" and "implicit"."""
        self.sink = self.enterContext(Sink())
        self.folder = tempfile.mkdtemp(prefix="ringpost-tls-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.starttls, self.implicit = free_port(), free_port()
        self.certificate, self.key = self.path("now.pem"), self.path("now.key")
        self.install(name)
        both = "".join(f"""
[[listener]]
address = "127.0.0.1:{port}"
tls = "{mode}"
certificate = "{self.certificate}"
key = "{self.key}"
relay_from = ["127.0.0.0/8"]
{listener}
""" for port, mode in ((self.starttls, "starttls"), (self.implicit, "implicit")))
        self.ringpost = start_ringpost(self, routes={"*": [f"127.0.0.1:{self.sink.port}"]},
                                       tables=both + tables, **options)

    def path(self, name):
        return os.path.join(self.folder, name)

    def install(self, name):
        """The certificate of that name is what the listeners' files hold from now on."""
        for source, target in ((certificate(name), self.certificate), (key(name), self.key)):
            shutil.copy(source, target + ".new")
            os.replace(target + ".new", target)

    @contextlib.contextmanager
    def client(self, **options):
        with smtplib.SMTP("127.0.0.1", self.starttls, timeout=PATIENCE_S, local_hostname=NAME) as client:
            client.starttls(context=client_context(**options))
            yield client

    def plain(self, port=None):
        connection = socket.create_connection(("127.0.0.1", port or self.starttls), PATIENCE_S)
        self.addCleanup(connection.close)
        return connection

    def reception(self):
        def find():
            return [event for event in self.ringpost.journal() if event["type"] == "Reception"]

        return eventually(find, "the reception is in the journal")[0]

    def arrived(self):
        (message,) = self.sink.wait_for(1)
        return message


class Programs(Base):
    def setUp(self):
        self.start()
        self.body = make_message(size=20000)
        self.file = self.path("message")
        with open(self.file, "wb") as file:
            file.write(self.body)

    def assert_arrived(self, exact=True):
        message = self.arrived()
        self.assertEqual((message.sender, message.recipients), (SENDER, (RECIPIENT,)))
        if exact:
            self.assertEqual(sha256(without_received(message.body)), sha256(self.body))
        event = self.reception()
        self.assertEqual(event["reception_protocol"], "ESMTPS")
        self.assertIn(event["tls_protocol_version"], ("TLSv1.2", "TLSv1.3"))
        self.assertTrue(event["tls_cipher"].startswith("TLS_"))
        received = message.body.split(b"\r\n\tfor ")[0].split(b";")[0]
        self.assertRegex(received, rb"\(using TLSv1\.[23] with cipher TLS_[A-Z0-9_]+\)")
        self.assertIn(b" with ESMTPS id ", received)

    def test_swaks(self):
        run(tool("swaks"), "--tls", "--tls-verify", "--tls-ca-path", certificate("ca"), "--server",
            f"127.0.0.1:{self.starttls}", "--from", SENDER, "--to", RECIPIENT,
            "--data", "@" + self.file, "--no-data-fixup")
        self.assert_arrived(exact=False)

    def test_swaks_implicit(self):
        run(tool("swaks"), "--tlsc", "--server", f"127.0.0.1:{self.implicit}", "--from", SENDER,
            "--to", RECIPIENT, "--data", "@" + self.file, "--no-data-fixup")
        self.assert_arrived(exact=False)

    def test_curl(self):
        for scheme, port in (("smtp", self.starttls), ("smtps", self.implicit)):
            run(tool("curl"), "--silent", "--show-error", "--ssl-reqd", "--cacert", certificate("ca"),
                f"{scheme}://localhost:{port}/{NAME}", "--mail-from", SENDER, "--mail-rcpt", RECIPIENT,
                "--upload-file", self.file, "-4")
        self.sink.wait_for(2)
        for message in self.sink.messages:
            self.assertEqual(sha256(without_received(message.body)), sha256(self.body))

    def test_msmtp(self):
        for port, starttls in ((self.starttls, "on"), (self.implicit, "off")):
            run(tool("msmtp"), "--file=/dev/null", "--host=localhost", f"--port={port}",
                f"--from={SENDER}", "--auth=off", "--tls=on", f"--tls-starttls={starttls}",
                f"--tls-trust-file={certificate('ca')}", f"--domain={NAME}",
                "--set-from-header=off", "--set-date-header=off", "--", RECIPIENT,
                stdin=self.body.replace(b"\r\n", b"\n"))
        self.sink.wait_for(2)

    def test_mutt(self):
        run(tool("mutt"), "-F", "/dev/null", "-n", "-e", f"set from={SENDER}", "-e",
            "set use_envelope_from=yes", "-e", "set ssl_force_tls=yes", "-e", "set copy=no", "-e",
            f"set ssl_ca_certificates_file={certificate('ca')}", "-e",
            f"set smtp_url=smtp://localhost:{self.starttls}", "-s", "hello", RECIPIENT,
            stdin=b"some text\n")
        self.assert_arrived(exact=False)

    def test_smtplib(self):
        with self.client() as client:
            client.sendmail(SENDER, [RECIPIENT], self.body)
        self.assert_arrived()

    def test_smtplib_implicit(self):
        with smtplib.SMTP_SSL("127.0.0.1", self.implicit, timeout=PATIENCE_S, local_hostname=NAME,
                              context=client_context()) as client:
            client.sendmail(SENDER, [RECIPIENT], self.body)
        self.assert_arrived()

    def test_openssl(self):
        for version in ("-tls1_2", "-tls1_3"):
            said = subprocess.run(
                [tool("openssl"), "s_client", "-connect", f"127.0.0.1:{self.starttls}", "-starttls", "smtp",
                 version, "-CAfile", certificate("ca"), "-verify_return_error", "-verify_hostname",
                 "mx.example.com", "-crlf", "-ign_eof"],
                input=b"EHLO a\nQUIT\n", capture_output=True, timeout=PATIENCE_S)
            self.assertEqual(said.returncode, 0)
            self.assertIn(b"Verify return code: 0 (ok)", said.stdout)
            self.assertIn(b"\n221 2.0.0 Bye", said.stdout)
        for version in ("-tls1", "-tls1_1"):
            said = subprocess.run(
                [tool("openssl"), "s_client", "-connect", f"127.0.0.1:{self.implicit}", version,
                 "-cipher", "DEFAULT@SECLEVEL=0"], stdin=subprocess.DEVNULL, capture_output=True,
                timeout=PATIENCE_S)
            self.assertNotEqual(said.returncode, 0)

    def test_sslscan(self):
        for options, port in ((["--starttls-smtp"], self.starttls), ([], self.implicit)):
            said = run(tool("sslscan"), "--no-colour", *options, f"127.0.0.1:{port}")
            enabled = set(re.findall(r"^(\S+)\s+enabled", said, re.MULTILINE))
            self.assertEqual(enabled, {"TLSv1.2", "TLSv1.3"})
            self.assertEqual(set(re.findall(r"^(?:Accepted|Preferred)\s+(\S+)", said, re.MULTILINE)),
                             {"TLSv1.2", "TLSv1.3"})
            self.assertNotRegex(said, r"(?i)^Accepted.*(RC4|DES|NULL|EXP|anon)")
            self.assertIn("does not support compression", said.replace("Compression disabled",
                                                                      "does not support compression"))

    def test_bulk(self):
        """Many sizes on one connection, by DATA; and the next command behind a record's border."""
        bodies = {f"user{number}@a.test": make_message(f"m{number}", number * 3000, seed=number)
                  for number in range(40)}
        with self.client() as client:
            for recipient, body in bodies.items():
                client.sendmail(SENDER, [recipient], body)
        for message in self.sink.wait_for(len(bodies)):
            self.assertEqual(sha256(without_received(message.body)),
                             sha256(bodies[message.recipients[0]]))

    def test_pipelined(self):
        """A whole conversation in one write: what stands behind a message waits, sealed or not."""
        with self.client() as client:
            client.ehlo()
            body = self.body.replace(b"\r\n.", b"\r\n..")
            one = (f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode() + body
                   + b".\r\n")
            client.sock.sendall(one * 20 + b"QUIT\r\n")
            said = b""
            while part := client.sock.recv(65536):
                said += part
            client.sock = client.file = None
        self.assertEqual(said.count(b"250 2.0.0 Ok: queued as "), 20)
        self.assertTrue(said.endswith(b"221 2.0.0 Bye\r\n"))
        self.sink.wait_for(20)

    def test_no_other_library(self):
        """OpenSSL's libcrypto.so.3 must never be in our process."""
        with self.client() as client:
            client.sendmail(SENDER, [RECIPIENT], self.body)
        with open(f"/proc/{self.ringpost.process.pid}/maps") as file:
            libraries = {line.split()[-1] for line in file if ".so" in line}
        crypto = [name for name in libraries if re.search(r"lib(crypto|ssl)", name)]
        self.assertEqual(sorted(os.path.basename(name) for name in crypto),
                         ["libcrypto.so.0", "libssl.so.0"])


class PostfixIn(Base):
    """A Postfix that sends on what it gets, to us, and insists on TLS."""

    def test_postfix(self):
        postfix = tool("postfix")
        if os.getuid() != 0:
            self.skipTest("Postfix needs root")
        self.start()
        os.chmod(self.folder, 0o755)
        self.port = free_port()
        test_interop_out.InteropOut.make_postfix(self)
        with open(self.path("etc/main.cf"), "a") as file:
            file.write(f"virtual_mailbox_domains =\nrelayhost = [localhost]:{self.starttls}\n"
                       f"smtp_tls_security_level = secure\nsmtp_tls_CAfile = {certificate('ca')}\n"
                       "smtp_tls_secure_cert_match = mx.example.com\nsmtp_host_lookup = native\n"
                       "smtp_address_preference = ipv4\ntls_random_source = dev:/dev/urandom\n")
        with open(self.path("etc/master.cf"), "a") as file:
            file.write("tlsmgr unix - - n 1000? 1 tlsmgr\nsmtp unix - - n - - smtp\n")
        subprocess.run([postfix, "-c", self.path("etc"), "start"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(subprocess.run, [postfix, "-c", self.path("etc"), "stop"],
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: test_interop_out.greets(self.port), "Postfix greets")
        with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE_S) as client:
            for number in range(50):
                client.sendmail(SENDER, [f"user{number}@a.test"], make_message(size=number * 1000))
        self.sink.wait_for(50)
        receptions = [event for event in self.ringpost.journal() if event["type"] == "Reception"]
        self.assertEqual({event["reception_protocol"] for event in receptions}, {"ESMTPS"})
        self.assertEqual({event["tls_protocol_version"] for event in receptions}, {"TLSv1.3"})


class Enemies(Base):
    def test_offered_where_it_is(self):
        self.start()
        for port, offered in ((self.ringpost.port, False), (self.starttls, True)):
            with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_S) as client:
                client.ehlo()
                self.assertEqual(client.has_extn("starttls"), offered)
        with self.client() as client:
            client.ehlo()
            self.assertFalse(client.has_extn("starttls"))
            self.assertEqual(client.docmd("STARTTLS")[0], 503)
        with smtplib.SMTP("127.0.0.1", self.ringpost.port, timeout=PATIENCE_S) as client:
            self.assertEqual(client.docmd("STARTTLS")[0], 502)

    def test_smuggled_text(self):
        self.start()
        for pieces in ([b"STARTTLS\r\nEHLO thief\r\nMAIL FROM:<a@b.test>\r\n"],
                       [b"EHLO a\r\nSTARTTLS\r\nRSET\r\n"], [b"STARTTLS\r\n\x16\x03\x01"]):
            connection = self.plain()
            for piece in pieces:
                connection.sendall(piece)
            said = b""
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(4096):
                    said += part
            self.assertIn(b"421 4.7.0 Nothing may follow STARTTLS", said)
            self.assertNotIn(b"220 2.0.0", said)

    def test_what_was_said_is_forgotten(self):
        self.start()
        with smtplib.SMTP("127.0.0.1", self.starttls, timeout=PATIENCE_S) as client:
            client.ehlo()
            client.docmd(f"MAIL FROM:<{SENDER}>")
            client.docmd(f"RCPT TO:<{RECIPIENT}>")
            client.starttls(context=client_context())
            self.assertEqual(client.docmd("DATA")[0], 503)
            client.ehlo()
            self.assertEqual(client.docmd("DATA")[0], 503)

    def test_stalled_handshakes(self):
        self.start(limits={"tls_handshake": "500ms"})
        connections = [self.plain(self.implicit)]
        waiting = self.plain()
        waiting.recv(4096)
        waiting.sendall(b"STARTTLS\r\n")
        self.assertTrue(waiting.recv(4096).startswith(b"220"))
        connections.append(waiting)
        half = self.plain(self.implicit)
        half.sendall(b"\x16\x03\x01\x02\x00\x01")
        for each in (*connections, half):
            with contextlib.suppress(ConnectionResetError):
                while each.recv(4096):
                    pass  # until it is closed
        self.ringpost.metric_becomes('ringpost_tls_handshakes_total{side="in",result="failed"}', 3)

    def test_flood_of_handshakes(self):
        """Beyond the cap nobody is let in, and the plain listener does not notice."""
        self.start(limits={"tls_handshakes": 4})
        held = [self.plain(self.implicit) for _ in range(4)]
        self.ringpost.metric_becomes("ringpost_connections_in", 4)  # all four are inside
        busy = 'ringpost_tls_handshakes_total{side="in",result="busy"}'

        def refused():
            with self.plain(self.implicit) as one, contextlib.suppress(ConnectionResetError):
                return one.recv(1) == b""
            return True

        eventually(refused, "the fifth is refused")
        with smtplib.SMTP("127.0.0.1", self.starttls, timeout=PATIENCE_S) as client:
            client.ehlo()
            self.assertEqual(client.docmd("STARTTLS")[0], 454)
            client.sendmail(SENDER, [RECIPIENT], make_message())  # in the clear, as it may
        self.assertGreaterEqual(self.ringpost.metric(busy), 2)
        self.arrived()
        for each in held:
            each.close()
        with self.client() as client:
            client.sendmail(SENDER, [RECIPIENT], make_message())
        self.sink.wait_for(2)

    def test_not_tls(self):
        self.start()
        for data in (b"EHLO a\r\n" * 100, b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096)):
            connection = self.plain(self.implicit)
            connection.sendall(data)
            with contextlib.suppress(ConnectionResetError):
                said = connection.recv(4096)
                self.assertNotIn(b"220 ", said)  # an alert, or nothing
                while connection.recv(4096):
                    pass

    def test_close_in_the_middle(self):
        """close_notify ends the connection in any state, also in the middle of a chunk or of data."""
        self.start()
        for begin, text in ((None, b"BDAT 100000\r\nthe beginning"), ("DATA", b"Subject: a\r\n\r\nb")):
            with self.client() as client:
                client.ehlo()
                client.docmd(f"MAIL FROM:<{SENDER}>")
                client.docmd(f"RCPT TO:<{RECIPIENT}>")
                if begin:
                    self.assertEqual(client.docmd(begin)[0], 354)
                client.sock.sendall(text)
                plain = client.sock.unwrap()  # says close_notify, and waits for the other one
                plain.settimeout(PATIENCE_S)
                self.assertEqual(plain.recv(1), b"")
                client.sock = client.file = None
        self.ringpost.metric_becomes("ringpost_connections_in", 0)
        self.assertEqual(self.ringpost.metric("ringpost_messages_accepted_total"), 0)

    def test_lost_in_the_middle(self):
        """The same for a connection that just ends."""
        self.start()
        with self.client() as client:
            client.ehlo()
            client.docmd(f"MAIL FROM:<{SENDER}>")
            client.docmd(f"RCPT TO:<{RECIPIENT}>")
            client.sock.sendall(b"BDAT 100000 LAST\r\nthe beginning")
            os.close(client.sock.detach())
            client.sock = client.file = None
        self.ringpost.metric_becomes("ringpost_connections_in", 0)
        self.assertEqual(self.ringpost.metric("ringpost_messages_accepted_total"), 0)

    def test_we_say_close_notify(self):
        self.start()
        with self.client() as client:
            client.sock.sendall(b"QUIT\r\n")
            said = b""
            client.sock.suppress_ragged_eofs = False  # an end without close_notify would raise
            while part := client.sock.recv(4096):
                said += part
            self.assertIn(b"221 2.0.0", said)
            client.sock = client.file = None

    def test_drain_with_handshakes(self):
        """Stopping while handshakes stall and sessions are idle: what can be told is told."""
        self.start(delivery={"system_shutdown_timeout": "1h"})
        self.plain(self.implicit)
        waiting = self.plain()
        waiting.sendall(b"STARTTLS\r\n")
        waiting.recv(4096)
        with self.client() as client:
            client.ehlo()
            self.ringpost.stop()
            self.assertEqual(client.getreply()[0], 421)
            client.sock.close()
            client.sock = client.file = None


class Certificates(Base):
    def served(self, name=None):
        """The serial number that a client gets."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with self.plain(self.implicit) as connection:
            with context.wrap_socket(connection, server_hostname=name) as secured:
                der = secured.getpeercert(binary_form=True)
        return ssl.DER_cert_to_PEM_cert(der).strip()

    def pem(self, name):
        with open(certificate(name)) as file:
            return file.read().strip()

    def test_renewal(self):
        self.start("server")
        self.assertEqual(self.served(), self.pem("server"))
        with self.client() as open_before:
            open_before.ehlo()
            self.install("next")
            eventually(lambda: self.served() == self.pem("next"), "the new one is in use")
            self.assertEqual(open_before.noop()[0], 250)
        self.assertIn("the files have changed and are in use now", self.ringpost.log())

    def test_bad_renewals(self):
        rows = {
            "expired": "the certificate expired on Jan  1 00:00:00 2021 GMT",
            "truncated": "damaged or cut short",
        }
        for name, text in rows.items():
            with self.subTest(name):
                self.start("server")
                self.install(name)
                eventually(lambda: text in self.ringpost.log(), text)
                self.assertIn("what was in use stays in use", self.ringpost.log())
                self.assertEqual(self.served(), self.pem("server"))
                self.install("next")  # and a good one is taken after that
                eventually(lambda: self.served() == self.pem("next"), "the good one is in use")

    def test_the_key_of_another(self):
        self.start("server")
        shutil.copy(key("next"), self.key)
        eventually(lambda: "belongs to another certificate" in self.ringpost.log(), "it is told")
        self.assertEqual(self.served(), self.pem("server"))

    def test_files_vanish(self):
        self.start("server")
        os.remove(self.certificate)
        eventually(lambda: "cannot read it: No such file" in self.ringpost.log(), "it is told")
        self.assertEqual(self.served(), self.pem("server"))

    def test_names(self):
        tables = "".join(f"""
[[certificate]]
names = {names}
certificate = "{certificate(name)}"
key = "{key(name)}"
""" for name, names in (("wild", '["*.hosted.example", "hosted.example"]'),
                        ("other-name", '["other.example"]')))
        self.start("server", tables=tables)
        for asked, name in ((None, "server"), ("mx.example.com", "server"), ("other.example", "other-name"),
                            ("a.hosted.example", "wild"), ("hosted.example", "wild"),
                            ("unknown.example", "server")):
            self.assertEqual(self.served(asked), self.pem(name))

    def test_client_certificates(self):
        self.start(listener=f'client_ca = "{certificate("ca")}"')
        with self.client(name="client") as client:
            client.sendmail(SENDER, [RECIPIENT], make_message())
        self.assertIn(b"verified client /CN=client.example)", self.arrived().body)
        self.assertEqual(self.reception()["tls_peer_subject_name"], ["CN=client.example"])
        with self.client(name="stranger") as client:  # another root: taken, and not named
            client.sendmail(SENDER, [RECIPIENT], make_message())
        with self.client() as client:
            client.sendmail(SENDER, [RECIPIENT], make_message())
        for message in self.sink.wait_for(3)[1:]:
            self.assertNotIn(b"verified client", message.body)

    def test_resumption(self):
        """Across workers, since they share the service; not with the other listener."""
        self.start(workers=2)
        context = client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # Python can resume only this one simply
        session, resumed = None, []
        for port in (self.implicit, self.implicit, self.implicit):
            with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
                with context.wrap_socket(connection, server_hostname="localhost",
                                         session=session) as secured:
                    secured.recv(1)
                    resumed.append(secured.session_reused)
                    session = secured.session
        self.assertEqual(resumed, [False, True, True])
        with socket.create_connection(("127.0.0.1", self.starttls), PATIENCE_S) as connection:
            connection.recv(4096)
            connection.sendall(b"STARTTLS\r\n")
            connection.recv(4096)
            with context.wrap_socket(connection, server_hostname="localhost",
                                     session=session) as secured:
                self.assertFalse(secured.session_reused)

    def test_mistakes_at_start(self):
        """Told by --check-config too, all of them, each with its file."""
        rows = {
            ("missing.pem", key("server")): "missing.pem: cannot read it: No such file or directory",
            (certificate("truncated"), key("server")): "truncated.pem: a certificate in it is damaged",
            (certificate("server"), key("truncated")): "truncated.key: the private key in it is damaged",
            (certificate("server"), key("encrypted")): "encrypted.key: the key is protected by a password",
            (certificate("server"), key("next")): "next.key belongs to another certificate",
            (certificate("expired"), key("expired")): "expired.pem: the certificate expired on",
        }
        folder = tempfile.mkdtemp(prefix="ringpost-tls-")
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, "ringpost.toml")
        for (pem, private), text in rows.items():
            with open(path, "w") as file:
                file.write(f'hostname = "mx.example.com"\ndata_dir = "{folder}"\n[[listener]]\n'
                           f'address = "127.0.0.1:2525"\ntls = "starttls"\ncertificate = "{pem}"\n'
                           f'key = "{private}"\n')
            for option in ("--check-config", "--config"):
                said = subprocess.run([program("ringpostd"), option, path], capture_output=True,
                                      text=True, timeout=PATIENCE_S)
                self.assertEqual(said.returncode, 1)
                self.assertIn(text, said.stderr)

    def test_no_roots(self):
        """What delivery needs is told too, and how to do without."""
        folder = tempfile.mkdtemp(prefix="ringpost-tls-")
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, "ringpost.toml")
        for policy, status in (("Opportunistic", 1), ("Disabled", 0)):
            with open(path, "w") as file:
                file.write(f'hostname = "mx.example.com"\ndata_dir = "{folder}"\n[[listener]]\n'
                           f'address = "127.0.0.1:2525"\n[delivery]\ntls_roots = "{folder}/none.pem"\n'
                           f'enable_tls = "{policy}"\n')
            said = subprocess.run([program("ringpostd"), "--check-config", path], capture_output=True,
                                  text=True, timeout=PATIENCE_S)
            self.assertEqual(said.returncode, status)
            self.assertEqual("none.pem: cannot read it: No such file" in said.stderr, status == 1)
            self.assertEqual("package ca-certificates" in said.stderr, status == 1)

    def test_remarks_at_start(self):
        self.start("self-signed", hostname="elsewhere.ringpost.test")
        self.assertIn("the certificate is self-signed", self.ringpost.log())
        self.assertIn("does not cover the name elsewhere.ringpost.test", self.ringpost.log())


if __name__ == "__main__":
    unittest.main(verbosity=2)
