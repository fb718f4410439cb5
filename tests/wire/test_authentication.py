#!/usr/bin/python3
"""Mail from strangers to a domain of ours: SPF, DKIM and ARC verified, told in Authentication-Results and
in the journal, never a reason to refuse it."""

import base64
import re
import subprocess
import tempfile
import unittest

import dkim

from harness import NameServer, Sink, eventually, free_port, start_ringpost
from test_dkim import Client, Key

US = "mail.ringpost.test"


def unfold(value):
    return re.sub(r"\s+", " ", value).strip()


def results(octets):
    """The values of the Authentication-Results fields, unfolded."""
    head = octets.partition(b"\r\n\r\n")[0].decode("latin-1") + "\r\n"
    return [unfold(value) for value in
            re.findall(r"(?im)^Authentication-Results:((?:[^\r]|\r\n[ \t])*)\r\n", head)]


class World(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="ringpost-auth-"))
        cls.rsa, cls.ed = Key(cls.folder, "rsa", "rsa"), Key(cls.folder, "ed", "ed25519")
        cls.port = free_port()
        cls.name_server = cls.enterClassContext(NameServer([
            cls.rsa.zone("author"), cls.ed.zone("author"), cls.rsa.zone("relay"),
            'author TXT "v=spf1 ip4:127.0.0.1 -all"', 'strict TXT "v=spf1 -all"',
            'soft TXT "v=spf1 include:author.test ~all"', 'helo.strict TXT "v=spf1 ?all"',
            'broken TXT "v=spf1 bogus"', 'revoked._domainkey.author TXT "v=DKIM1; p="']))
        with open(cls.rsa.path, "rb") as file:
            cls.rsa_pem = file.read()
        der = subprocess.run(["openssl", "pkey", "-in", cls.ed.path, "-outform", "DER"], check=True,
                             capture_output=True).stdout
        cls.ed_seed = base64.b64encode(der[-32:])

    def start(self, **options):
        sink = self.enterContext(Sink("127.0.0.2", self.port))
        options.setdefault("authentication", {"verify": True})
        options.setdefault("name_server", self.name_server)
        ringpost = start_ringpost(self, smtp_port=self.port, relay_from=["192.0.2.0/24"],
                                  routes={US: [f"127.0.0.2:{self.port}"]}, **options)
        client = Client(ringpost.port)
        self.addCleanup(client.close)
        return ringpost, sink, client

    def arrived(self, octets, sender="bounce@author.test", by_bdat=False, **options):
        _, sink, client = self.start(**options)
        client.send(f"postmaster@{US}", octets, by_bdat, sender=sender)
        return sink.wait_for(1)[0].body

    def sign(self, octets, **options):
        options = {"canonicalize": (b"relaxed", b"relaxed"), **options}
        if options.pop("ed25519", False):
            return dkim.sign(octets, b"ed", b"author.test", self.ed_seed,
                             signature_algorithm=b"ed25519-sha256", **options) + octets
        return dkim.sign(octets, b"rsa", b"author.test", self.rsa_pem, **options) + octets

    PLAIN = b"From: a@author.test\r\nSubject: s\r\nTo: p\r\n\r\nhello  there \r\n\r\nyou\r\n"


class Verifying(World):
    def test_signatures(self):
        """What dkimpy signs, in all forms, is verified; what was changed is not."""
        _, sink, client = self.start()
        cases = []
        for header in (b"simple", b"relaxed"):
            for body in (b"simple", b"relaxed"):
                for length in (False, True):
                    cases.append((self.sign(self.PLAIN, canonicalize=(header, body), length=length),
                                  ["pass"]))
        cases.append((self.sign(self.PLAIN, ed25519=True), ["pass"]))
        cases.append((self.sign(self.sign(self.PLAIN), ed25519=True), ["pass", "pass"]))
        signed = self.sign(self.PLAIN)
        cases.append((signed.replace(b"you", b"them"), ["fail"]))
        cases.append((signed.replace(b"Subject: s", b"Subject: t"), ["fail"]))
        cases.append((signed.replace(b"hello  there ", b"hello there"), ["pass"]))
        cases.append((self.sign(self.PLAIN, length=True) + b"more\r\n", ["pass"]))
        cases.append((signed.replace(b"s=rsa", b"s=none"), ["permerror"]))
        cases.append((signed.replace(b"s=rsa", b"s=revoked"), ["permerror"]))
        cases.append((signed.replace(b"v=1", b"v=2"), ["permerror"]))
        cases.append((signed.replace(b"rsa-sha256", b"rsa-sha1"), ["permerror"]))
        cases.append((b"X-Late: 1\r\n" + signed, ["pass"]))
        cases.append((self.PLAIN, ["none"]))
        cases.append((b"From: a@author.test\r\nbroken line\r\n\r\nx\r\n", ["none"]))
        for number, (octets, _) in enumerate(cases):
            client.send(f"postmaster@{US}", octets, number % 2 == 1)
            found = sink.wait_for(number + 1)[number].body
            with self.subTest(number=number):
                values = results(found)
                self.assertEqual(len(values), 1, found)
                self.assertTrue(values[0].startswith(f"{US}; spf=pass smtp.mailfrom=bounce@author.test; "))
                self.assertEqual(re.findall(r"dkim=(\w+)", values[0]), cases[number][1], values)
                self.assertTrue(found.startswith(b"Authentication-Results: "))
                self.assertTrue(found.endswith(octets), found)
        value = results(sink.messages[0].body)[0]
        self.assertRegex(value, r"dkim=pass \(2048-bit key\) header.d=author.test header.s=rsa "
                                r'header.a=rsa-sha256 header.b="?[A-Za-z0-9+/]{8}')

    def test_spf(self):
        ringpost, sink, client = self.start()
        cases = [("a@author.test", "pass smtp.mailfrom=a@author.test"),
                 ("a@strict.test", "fail smtp.mailfrom=a@strict.test"),
                 ("a@soft.test", "pass smtp.mailfrom=a@soft.test"),
                 ("a@broken.test", "permerror smtp.mailfrom=a@broken.test"),
                 ("a@nowhere.test", "none smtp.mailfrom=a@nowhere.test"),
                 ("", "none smtp.helo=client.test")]
        for number, (sender, wanted) in enumerate(cases):
            client.send(f"postmaster@{US}", self.PLAIN, False, sender=sender)
            found = sink.wait_for(number + 1)[number].body
            self.assertIn(f"spf={wanted};", results(found)[0])

        def receptions():
            return [e["authentication"] for e in ringpost.journal() if e["type"] == "Reception"]

        eventually(lambda: len(receptions()) == len(cases))
        self.assertEqual(sorted(receptions()),
                         sorted(f"spf={wanted}; dkim=none" for _, wanted in cases))

    def test_forged_results_are_taken_out(self):
        ours = [f"Authentication-Results: {US}; dkim=pass",
                f"authentication-results:\r\n\t(a (nested) comment) {US.upper()} 1; spf=pass",
                f'Authentication-Results: "{US}"; dkim=pass\r\n\theader.d=bank.test',
                f"Authentication-Results : {US}"]
        others = ["Authentication-Results: other.test; dkim=pass", f"Authentication-Results: x.{US}; none",
                  f"X-Authentication-Results: {US}; dkim=pass"]
        fields = ["From: a@author.test", ours[0], others[0], ours[1], others[1], "Subject: s", ours[2],
                  ours[3], others[2]]
        body = f"\r\n\r\nAuthentication-Results: {US}; dkim=pass\r\n"
        _, sink, client = self.start()
        for by_bdat in (False, True):
            client.send(f"postmaster@{US}", ("\r\n".join(fields) + body).encode(), by_bdat)
            octets = sink.wait_for(1 + by_bdat)[by_bdat].body
            kept = "\r\n".join(f for f in fields if f not in ours) + body
            self.assertTrue(octets.endswith(kept.encode()), octets)
            self.assertEqual(len([v for v in results(octets) if v.startswith(US)]), 1)

    def test_off_by_default_and_for_our_clients(self):
        octets = self.arrived(self.PLAIN, authentication={})
        self.assertEqual(results(octets), [])
        forged = f"Authentication-Results: {US}; dkim=pass\r\n".encode() + self.PLAIN
        sink = Sink("127.0.0.3", self.port)
        self.enterContext(sink)
        ringpost = start_ringpost(self, name_server=self.name_server, smtp_port=self.port,
                                  authentication={"verify": True}, routes={US: [f"127.0.0.3:{self.port}"]})
        client = Client(ringpost.port)
        self.addCleanup(client.close)
        client.send(f"postmaster@{US}", forged, False)
        self.assertTrue(sink.wait_for(1)[0].body.endswith(forged))

    def test_name_servers_that_are_silent(self):
        """The message waits for no longer than it was told to, and goes on."""
        ringpost, sink, client = self.start(name_server=None, dns={"servers": ["127.0.0.1:9"]},
                                            authentication={"verify": True, "timeout": "300ms"})
        client.send(f"postmaster@{US}", self.sign(self.PLAIN), False)
        value = results(sink.wait_for(1)[0].body)[0]
        self.assertIn("spf=temperror", value)
        self.assertIn("dkim=temperror", value)

    def test_domains_that_we_relay_to(self):
        _, sink, client = self.start(tables='[domain."ours.test"]\nrelay_to = true\n[route."ours.test"]\n'
                                            f'hosts = ["127.0.0.2:{self.port}"]\n')
        client.send("bob@ours.test", self.sign(self.PLAIN), False)
        value = results(sink.wait_for(1)[0].body)[0]
        self.assertIn("spf=pass", value)
        self.assertIn("dkim=pass", value)

    def test_large_and_odd(self):
        """Bodies that are written out while they arrive, headers in many pieces, none at all."""
        ringpost, sink, client = self.start()
        large = b"From: a@author.test\r\n" + b"X-Filler: y\r\n" * 200 + b"\r\n" + b"z" * 76 * 3 + b"\r\n"
        large += (b"line of a large body\r\n" * 50000)
        cases = [self.sign(large), b"From: a@author.test\r\n", b"no header\r\n", b"\r\nbody\r\n", b""]
        for number, octets in enumerate(cases):
            client.send(f"postmaster@{US}", octets, number % 2 == 0)
            found = sink.wait_for(number + 1)[number].body
            self.assertTrue(found.endswith(octets))
            self.assertEqual(len(results(found)), 1)
            if number == 0:
                self.assertIn("dkim=pass", results(found)[0])

    def test_lost_while_verifying(self):
        """Clients that go away before the name servers have answered leave nothing behind."""
        ringpost, sink, _ = self.start(name_server=None, dns={"servers": ["127.0.0.1:9"]},
                                       authentication={"verify": True, "timeout": "2s"})
        for _ in range(10):
            lost = Client(ringpost.port)
            lost.say("MAIL FROM:<bounce@author.test>")
            lost.say(f"RCPT TO:<postmaster@{US}>")
            lost.say("DATA")
            lost.socket.sendall(self.PLAIN + b".\r\n")
            lost.close()
        # ends in good order, with some of them still waiting


class Chains(World):
    """ARC, as dkimpy seals it."""

    def seal(self, octets):
        """One more link; what it says about the chain before comes from the Authentication-Results."""
        lines = dkim.arc_sign(octets, b"rsa", b"relay.test", self.rsa_pem, b"relay.test")
        return b"".join(lines) + octets

    def test_chain(self):
        _, sink, client = self.start()
        start = b"Authentication-Results: relay.test; spf=pass\r\n" + self.sign(self.PLAIN)
        once = self.seal(start)
        twice = self.seal(b"Authentication-Results: relay.test; arc=pass\r\n" + once)
        # dkimpy wants to find one result for the chain; the second link's signature need not hold any more
        thrice = self.seal(b"Authentication-Results: relay.test; arc=pass\r\n" + twice.replace(
            b"\r\nAuthentication-Results: relay.test; arc=pass", b""))
        cases = [
            (once, "pass"), (twice, "pass"), (thrice, "pass"), (start, None),
            (once.replace(b"you\r\n", b"them\r\n"), "fail"),
            (once.replace(b"Subject: s", b"Subject: t"), "fail"),
            (once.replace(b"cv=none", b"cv=pass"), "fail"),
            (twice.replace(b"cv=pass", b"cv=fail"), "fail"),
            (re.sub(rb"ARC-Seal: i=1;(?:[^\r]|\r\n[ \t])*\r\n", b"", twice), "fail"),
            (twice.replace(b"i=1; relay.test", b"i=1; other.test"), "fail"),
            (once.replace(b"i=1;", b"i=2;"), "fail"), (once.replace(b"i=1;", b"i=0;"), "fail"),
            (once.replace(b"s=rsa", b"s=none"), "fail"),
        ]
        for number, (octets, wanted) in enumerate(cases):
            client.send(f"postmaster@{US}", octets, False)
            value = [v for v in results(sink.wait_for(number + 1)[number].body) if v.startswith(US)][0]
            with self.subTest(number=number):
                self.assertEqual(re.findall(r"\barc=(\w+)", value), [wanted] if wanted else [], value)
                if wanted == "pass":
                    self.assertIn("smtp.remote-ip=127.0.0.1", value)


if __name__ == "__main__":
    unittest.main(verbosity=2)
