#!/usr/bin/python3
"""TLS to receivers: each policy against servers with good and bad certificates, none at all, and
faults of every kind; what is remembered; Postfix as receiver."""

import ssl
import unittest

import test_interop_out
from harness import NameServer, eventually, make_message, start_ringpost
from tls_peer import Peer, certificate, key

SENDER, RECIPIENT = "ann@sender.test", "bob@a.test"


class TlsOut(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.name_server = cls.enterClassContext(NameServer(["mx A 127.0.0.1"]))

    def start(self, policy=None, peers=(), tables="", **delivery):
        if policy:
            delivery["enable_tls"] = policy
        delivery.setdefault("tls_roots", certificate("ca"))
        delivery.setdefault("starttls_timeout", "2s")
        routes = {"*": [f"mx.test:{peer.port}" for peer in peers]} if peers else {}
        return start_ringpost(self, routes=routes, delivery={"ip_lookup_strategy": "Ipv4Only",
                                                             **delivery},
                              retry={"intervals": ["1s"], "jitter": "0%"}, tables=tables, workers=1,
                              name_server=self.name_server)

    def peer(self, *arguments, **options):
        return self.enterContext(Peer(*arguments, **options))

    def event(self, ringpost, kind):
        def find():
            found = [event for event in ringpost.journal() if event["type"] == kind]
            return found and found[0]

        return eventually(find, f"a {kind} in the journal")

    def assert_delivered(self, ringpost, peer, version):
        ringpost.send(SENDER, [RECIPIENT], make_message())
        eventually(lambda: peer.messages, "it arrives")
        self.assertEqual([message[:2] for message in peer.messages], [(RECIPIENT, version)])
        return self.event(ringpost, "Delivery")

    def assert_deferred(self, ringpost, peer, text):
        ringpost.send(SENDER, [RECIPIENT], make_message())
        event = self.event(ringpost, "TransientFailure")
        self.assertIn(text, event["response"]["content"])
        self.assertEqual(peer.messages, [])
        self.assertNotIn("MAIL", peer.clear_commands)
        return event

    # -- a good server

    def test_good(self):
        for policy in ("Opportunistic", "Required", "OpportunisticInsecure", "RequiredInsecure"):
            with self.subTest(policy):
                peer = self.peer()
                event = self.assert_delivered(self.start(policy, [peer]), peer, "TLSv1.3")
                self.assertEqual(event["tls_protocol_version"], "TLSv1.3")
                self.assertTrue(event["tls_cipher"].startswith("TLS_"))
                self.assertIs(event["tls_verified"], True)
                self.assertEqual(event["tls_peer_subject_name"], ["CN=mx.example.com"])
                self.assertEqual(event["delivery_protocol"], "ESMTPS")
                self.assertEqual(peer.clear_commands, ["EHLO", "STARTTLS"])

    def test_opportunistic_is_the_default(self):
        peer = self.peer()
        self.assert_delivered(self.start(None, [peer]), peer, "TLSv1.3")

    def test_tls_1_2(self):
        peer = self.peer(maximum_version=ssl.TLSVersion.TLSv1_2)
        event = self.assert_delivered(self.start("Required", [peer]), peer, "TLSv1.2")
        self.assertEqual(event["tls_protocol_version"], "TLSv1.2")

    def test_disabled(self):
        peer = self.peer()
        event = self.assert_delivered(self.start("Disabled", [peer]), peer, None)
        self.assertNotIn("tls_cipher", event)
        self.assertNotIn("tls_verified", event)
        self.assertEqual(event["delivery_protocol"], "ESMTP")

    def test_not_offered(self):
        for policy in ("Opportunistic", "OpportunisticInsecure"):
            peer = self.peer(fault="no")
            self.assert_delivered(self.start(policy, [peer]), peer, None)
        for policy in ("Required", "RequiredInsecure"):
            peer = self.peer(fault="no")
            self.assert_deferred(self.start(policy, [peer]), peer, "was not offered")

    def test_refused(self):
        for fault in ("454 4.7.0 not now", "502 5.5.1 what?"):
            peer = self.peer(fault=fault)
            self.assert_delivered(self.start("Opportunistic", [peer]), peer, None)
            peer = self.peer(fault=fault)
            event = self.assert_deferred(self.start("Required", [peer]), peer, fault[10:])
            self.assertEqual(event["response"]["command"], "STARTTLS")

    # -- bad certificates

    def test_bad_certificates(self):
        rows = {
            "self-signed": "certificate: self signed certificate",
            "stranger": "certificate: unable to get local issuer certificate",
            "expired": "certificate: certificate has expired",
            "future": "certificate: certificate is not yet valid",
            "other-name": "certificate: Hostname mismatch",
            "only-cn": "certificate: Hostname mismatch",
        }
        for name, text in rows.items():
            with self.subTest(name):
                peer = self.peer(name)
                self.assert_deferred(self.start("Opportunistic", [peer]), peer, text)
                peer = self.peer(name)
                event = self.assert_delivered(self.start("RequiredInsecure", [peer]), peer, "TLSv1.3")
                self.assertIs(event["tls_verified"], False)
                self.assertNotIn("tls_peer_subject_name", event)

    def test_the_next_host_is_tried(self):
        bad, good = self.peer("expired"), self.peer()
        event = self.assert_delivered(self.start("Opportunistic", [bad, good]), good, "TLSv1.3")
        self.assertEqual(bad.messages, [])
        self.assertIs(event["tls_verified"], True)

    def test_old_versions_are_not_spoken(self):
        peer = self.peer(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
        self.assert_deferred(self.start("RequiredInsecure", [peer]), peer, "TLS failed: ")

    # -- faults

    def test_faults(self):
        rows = {
            "smuggle": "TLS failed: more than an answer to STARTTLS",
            "stall": "TLS failed: the handshake was not done in time",
            "close": "TLS failed: the connection was closed during the handshake",
            "garbage": "TLS failed: ",
            "vanish": "go away",
        }
        for fault, text in rows.items():
            with self.subTest(fault):
                peer = self.peer(fault=fault)
                self.assert_deferred(self.start("Opportunistic", [peer]), peer, text)

    def test_clear_text_after_a_failure(self):
        """Where the policy permits; and the host is remembered, so TLS is asked for only once."""
        for fault in ("stall", "close", "garbage", "smuggle"):
            with self.subTest(fault):
                peer = self.peer(fault=fault)
                ringpost = self.start("OpportunisticInsecure", [peer], idle_timeout="0s",
                                      max_deliveries_per_connection=1)
                self.assert_delivered(ringpost, peer, None)
                ringpost.send(SENDER, [RECIPIENT], make_message())
                eventually(lambda: len(peer.messages) == 2, "the second arrives")
                self.assertEqual(peer.clear_commands.count("STARTTLS"), 1)
                self.assertEqual([event["type"] for event in ringpost.journal()
                                  if event["type"] == "TransientFailure"], [])

    def test_clear_text_must_be_allowed(self):
        peer = self.peer("expired")
        self.assert_delivered(
            self.start("Opportunistic", [peer],
                       opportunistic_tls_reconnect_on_failed_handshake=True), peer, None)
        for policy in ("Required", "RequiredInsecure"):
            peer = self.peer(fault="close")
            self.assert_deferred(
                self.start(policy, [peer], opportunistic_tls_reconnect_on_failed_handshake=True),
                peer, "TLS failed")

    def test_broken_hosts_are_forgotten(self):
        peer = self.peer(fault="close")
        ringpost = self.start("OpportunisticInsecure", [peer], remember_broken_tls="1s",
                              idle_timeout="0s", max_deliveries_per_connection=1)
        self.assert_delivered(ringpost, peer, None)
        peer.fault = None

        def secured():
            ringpost.send(SENDER, [RECIPIENT], make_message())
            return any(version for _, version, _ in peer.messages)

        eventually(secured, "TLS is tried again")

    # -- what is kept

    def test_sessions_are_resumed(self):
        for options in ({}, {"maximum_version": ssl.TLSVersion.TLSv1_2}):
            peer = self.peer(**options)
            ringpost = self.start("Required", [peer], idle_timeout="0s",
                                  max_deliveries_per_connection=1)
            for number in range(1, 5):
                ringpost.send(SENDER, [RECIPIENT], make_message())
                eventually(lambda: len(peer.messages) == number, "it arrives")
            self.assertGreaterEqual(peer.resumed, 1)
            self.assertGreaterEqual(ringpost.metric("ringpost_tls_resumed_total"), 1)
            eventually(lambda: [event["tls_verified"] for event in ringpost.journal()
                                if event["type"] == "Delivery"] == [True] * 4, "all were verified")

    # -- per route

    def test_a_route_of_its_own(self):
        """Two domains with the same host: one must be safe, the other goes as it can."""
        peer = self.peer("expired")
        ringpost = self.start("OpportunisticInsecure", tables=f"""
[route."*"]
hosts = ["mx.test:{peer.port}"]
[route."safe.test"]
hosts = ["mx.test:{peer.port}"]
enable_tls = "Required"
""")
        ringpost.send(SENDER, ["bob@a.test"], make_message())
        ringpost.send(SENDER, ["bob@safe.test"], make_message())
        event = self.event(ringpost, "TransientFailure")
        self.assertEqual(event["recipient"], "bob@safe.test")
        eventually(lambda: peer.messages, "the other one arrives")
        self.assertEqual([message[:2] for message in peer.messages], [("bob@a.test", "TLSv1.3")])

    def test_bulk(self):
        peer = self.peer()
        ringpost = self.start("Required", [peer])
        bodies = {f"user{number}@a.test": make_message(f"m{number}", number * 5000, seed=number)
                  for number in range(40)}
        with ringpost.smtp() as client:
            for recipient, body in bodies.items():
                client.sendmail(SENDER, [recipient], body)
        eventually(lambda: len(peer.messages) == len(bodies), "all arrive")
        for recipient, version, body in peer.messages:
            self.assertEqual(version, "TLSv1.3")
            self.assertTrue(body.endswith(bodies[recipient]))


class PostfixOut(test_interop_out.InteropOut):
    """As without TLS, to a Postfix that insists on it."""

    def make_postfix(self):
        super().make_postfix()
        with open(self.path("etc/main.cf"), "a") as file:
            file.write(f"smtpd_tls_security_level = encrypt\n"
                       f"smtpd_tls_cert_file = {certificate('server')}\n"
                       f"smtpd_tls_key_file = {key('server')}\n"
                       f"smtpd_tls_received_header = yes\ntls_random_source = dev:/dev/urandom\n")
        with open(self.path("etc/master.cf"), "a") as file:
            file.write("tlsmgr unix - - n 1000? 1 tlsmgr\n")

    def send_to_it(self, utf8=False):
        name_server = self.enterContext(NameServer(["mx A 127.0.0.1"]))
        ringpost = start_ringpost(self, routes={"*": [f"mx.test:{self.port}"]},
                                  name_server=name_server,
                                  delivery={"enable_tls": "Required", "tls_roots": certificate("ca"),
                                            "ip_lookup_strategy": "Ipv4Only"},
                                  retry={"intervals": ["1s"]})
        bodies = {f"user{number}@a.test": make_message(f"m{number}", number * 150, seed=number)
                  for number in range(test_interop_out.COUNT)}
        with ringpost.smtp() as client:
            for recipient, body in bodies.items():
                client.sendmail(SENDER, [recipient], body)
        eventually(lambda: ringpost.metric("ringpost_recipients_delivered_total") == len(bodies),
                   "all delivered")
        deliveries = [event for event in ringpost.journal() if event["type"] == "Delivery"]
        self.assertEqual({event["tls_protocol_version"] for event in deliveries}, {"TLSv1.3"})
        self.assertEqual({event["tls_verified"] for event in deliveries}, {True})
        return bodies


# Only Postfix's own test; the other receivers know no TLS there.
for name in [name for name in dir(PostfixOut) if name.startswith("test_") and name != "test_postfix"]:
    setattr(PostfixOut, name, None)

if __name__ == "__main__":
    unittest.main(verbosity=2)
