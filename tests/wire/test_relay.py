#!/usr/bin/python3
"""Mail in by SMTP, out by SMTP to where DNS says: bodies untouched, everybody accounted for."""

import collections
import email
import email.policy
import smtplib
import time
import unittest

from harness import (FINAL, PATIENCE_S, NameServer, Sink, cut_after_dot, defer, defer_forever, delay,
                     domain, eventually, free_port, make_message, refuse, sha256, shut_down,
                     start_ringpost, without_received)

# The sender's own domain, where reports go, is 127.0.0.9; the others are destinations.
ZONE = [
    *domain("sender", "127.0.0.9"),
    *domain("a", "127.0.0.2"),
    *domain("b", "127.0.0.3", "127.0.0.2"),
    "implicit A 127.0.0.4",
    *domain("dead", "127.0.0.250"),
    *domain("backup", "127.0.0.250", "127.0.0.2"),
    "null MX 0 .",
    *domain("self", "127.0.0.1"),
    "noaddress MX 10 nowhere.test.",
    "alias CNAME a",
]

SENDER = "ann@sender.test"
FAST_RETRIES = {"intervals": ["1s"], "jitter": "0%"}


def parse(message):
    return email.message_from_bytes(message.body, policy=email.policy.SMTPUTF8)


class Relay(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        cls.name_server = NameServer(ZONE)
        cls.name_server.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.name_server.__exit__()

    def setUp(self):
        self.sinks = {}

    def sink(self, last, **options):
        """A sink at 127.0.0.<last>, on the one port that deliveries go to."""
        sink = Sink(f"127.0.0.{last}", self.port, **options)
        self.enterContext(sink)
        self.sinks[last] = sink
        return sink

    def ringpost(self, **options):
        options.setdefault("retry", FAST_RETRIES)
        return start_ringpost(self, name_server=self.name_server, smtp_port=self.port, **options)

    def tearDown(self):
        for sink in self.sinks.values():
            self.assertEqual(sink.violations, [])

    def assert_intact(self, message, sent):
        self.assertEqual(sha256(without_received(message.body)), sha256(sent))

    def assert_all_final(self, ringpost):
        """The journal has, for each recipient of each reception, exactly one final event."""

        def count():
            received, final = collections.Counter(), collections.Counter()
            for event in ringpost.journal():
                recipients = event["recipient"]
                if isinstance(recipients, str):
                    recipients = [recipients]
                for recipient in recipients:
                    if event["type"] == "Reception":
                        received[event["id"], recipient] += 1
                    elif event["type"] in FINAL:
                        final[event["id"], recipient] += 1
            return received and received == final

        eventually(count, "every reception has one final event")

    # ---- plain relaying

    def test_bodies_arrive_as_they_were_sent(self):
        sinks = self.sink(2), self.sink(3), self.sink(4)
        ringpost = self.ringpost()
        sent = {}
        with ringpost.smtp() as client:
            for number in range(60):
                recipient = f"user{number}@{('a', 'b', 'implicit')[number % 3]}.test"
                body = make_message(f"message {number}", number * 700, recipient=recipient, seed=number)
                client.sendmail(SENDER, [recipient], body)
                sent[recipient] = body
        for sink in sinks:
            for message in sink.wait_for(20):
                self.assertEqual(message.sender, SENDER)
                (recipient,) = message.recipients
                self.assert_intact(message, sent.pop(recipient))
        self.assertEqual(sent, {})
        self.assert_all_final(ringpost)
        ringpost.queue_empty()

    def test_received_says_how_it_came(self):
        sink, ringpost = self.sink(2), self.ringpost()
        ringpost.send(SENDER, ["bob@a.test"], make_message())
        (message,) = sink.wait_for(1)
        received = parse(message)["Received"]
        self.assertRegex(received, r"client\.ringpost\.test")
        self.assertRegex(received, r"127\.0\.0\.1")
        self.assertRegex(received, r"by mail\.ringpost\.test")
        self.assertRegex(received, r"with ESMTP")
        self.assertEqual(message.ehlo, "mail.ringpost.test")

    def test_journal_says_who_and_by_what(self):
        self.sink(2)
        ringpost = self.ringpost()
        ringpost.send(SENDER, ["bob@a.test"], make_message())
        self.assert_all_final(ringpost)
        reception, delivery = ringpost.journal()
        self.assertEqual(reception["peer_address"],
                         {"name": "client.ringpost.test", "addr": "127.0.0.1"})
        self.assertEqual(reception["reception_protocol"], "ESMTP")
        self.assertEqual(delivery["response"]["command"], ".")  # also where BDAT was used

    def test_eight_bit_and_utf8(self):
        sink, ringpost = self.sink(2), self.ringpost()
        body = "Subject: grüße\r\n\r\nschöne grüße\r\n".encode()
        ringpost.send("änn@sender.test", ["böb@a.test"], body,
                      mail_options=["BODY=8BITMIME", "SMTPUTF8"])
        (message,) = sink.wait_for(1)
        self.assertEqual((message.sender, message.recipients), ("änn@sender.test", ("böb@a.test",)))
        self.assert_intact(message, body)
        self.assertIn("SMTPUTF8", message.mail_parameters)

    def test_without_pipelining_and_chunking(self):
        sink = self.sink(2, extensions=("SIZE", "8BITMIME"))
        ringpost = self.ringpost()
        bodies = [make_message(f"m{number}", 3000, seed=number) for number in range(10)]
        with ringpost.smtp() as client:
            for body in bodies:
                client.sendmail(SENDER, ["bob@a.test"], body)
        messages = sink.wait_for(10)
        self.assertEqual({sha256(without_received(message.body)) for message in messages},
                         {sha256(body) for body in bodies})
        self.assertFalse(any(message.by_bdat for message in messages))

    def test_dot_stuffing_without_chunking(self):
        sink = self.sink(2, extensions=("PIPELINING", "8BITMIME"))
        ringpost = self.ringpost()
        body = b"Subject: dots\r\n\r\n" + b".\r\n..\r\n...\r\n.x\r\n" * 5000 + b".\r\n"
        ringpost.send(SENDER, ["bob@a.test"], body)
        self.assert_intact(sink.wait_for(1)[0], body)

    def test_large_message(self):
        sink, ringpost = self.sink(2), self.ringpost()
        body = make_message("large", 5 << 20)
        ringpost.send(SENDER, ["bob@a.test"], body)
        self.assert_intact(sink.wait_for(1)[0], body)
        ringpost.queue_empty()

    def test_one_transaction_for_one_domain(self):
        sinks = self.sink(2), self.sink(3)
        ringpost = self.ringpost()
        body = make_message()
        ringpost.send(SENDER, [f"u{number}@{name}.test" for number in range(10) for name in "ab"], body)
        for sink, name in zip(sinks, "ab"):
            (message,) = sink.wait_for(1)
            self.assertEqual(set(message.recipients), {f"u{number}@{name}.test" for number in range(10)})
            self.assert_intact(message, body)
        self.assert_all_final(ringpost)

    def test_connections_are_used_again(self):
        sink = self.sink(2)
        ringpost = self.ringpost(workers=1, delivery={"connection_limit": 2})
        with ringpost.smtp() as client:
            for number in range(50):
                client.sendmail(SENDER, ["bob@a.test"], make_message(seed=number))
        sink.wait_for(50)
        self.assertLessEqual(sink.session_count, 10)

    # ---- routing

    def test_one_connection_for_one_message(self):
        """And the next one that comes while it idles opens no other."""
        sink, ringpost = self.sink(2), self.ringpost()
        with ringpost.smtp() as client:
            for number in range(1, 4):
                client.sendmail(SENDER, ["bob@a.test"], make_message(f"m{number}"))
                sink.wait_for(number)
                ringpost.queue_empty()
        self.assertEqual(sink.session_count, 1)

    def test_next_host_when_the_first_is_dead(self):
        sink, ringpost = self.sink(2), self.ringpost()
        body = make_message()
        ringpost.send(SENDER, ["bob@backup.test"], body)
        self.assert_intact(sink.wait_for(1)[0], body)

    def test_greeting_that_is_no_welcome(self):
        unwelcoming = self.sink(3, banner="554 go away")
        sink, ringpost = self.sink(2), self.ringpost()
        ringpost.send(SENDER, ["bob@b.test"], make_message())
        sink.wait_for(1)
        self.assertEqual(unwelcoming.messages, [])

    def test_alias(self):
        sink, ringpost = self.sink(2), self.ringpost()
        ringpost.send(SENDER, ["bob@alias.test"], make_message())
        self.assertEqual(sink.wait_for(1)[0].recipients[0].lower(), "bob@alias.test")

    def test_static_routes_and_smart_host(self):
        fixed, smart = self.enterContext(Sink()), self.enterContext(Sink())
        ringpost = self.ringpost(routes={
            "fixed.test": [f"127.0.0.1:{free_port()}", f"127.0.0.1:{fixed.port}"],
            "*": [f"127.0.0.1:{smart.port}"]})
        ringpost.send(SENDER, ["bob@fixed.test"], make_message())
        ringpost.send(SENDER, ["bob@null.test"], make_message())
        self.assertEqual(fixed.wait_for(1)[0].recipients, ("bob@fixed.test",))
        self.assertEqual(smart.wait_for(1)[0].recipients, ("bob@null.test",))
        self.assertEqual(fixed.violations + smart.violations, [])

    def test_ipv6_in_and_out(self):
        sink = self.enterContext(Sink("::1"))
        port = free_port()
        ringpost = self.ringpost(
            routes={"six.test": [f"[::1]:{sink.port}"]},
            tables=f"""[[listener]]
                       address = "[::1]:{port}"
                       service = "smtp"
                       relay_from = ["::1"] """)
        with smtplib.SMTP("::1", port, timeout=PATIENCE_S, local_hostname="client.test") as client:
            client.sendmail(SENDER, ["bob@six.test"], make_message())
        (message,) = sink.wait_for(1)
        self.assertRegex(parse(message)["Received"], r"\[IPv6:::1\]")
        eventually(lambda: len(ringpost.journal()) == 2, "both are in the journal")
        self.assertEqual([event["peer_address"]["addr"] for event in ringpost.journal()], ["::1"] * 2)

    def test_relay_is_denied_to_strangers(self):
        ringpost = self.ringpost(relay_from=["192.0.2.0/24"])
        with ringpost.smtp() as client:
            client.mail(SENDER)
            code, text = client.rcpt("bob@a.test")
            self.assertEqual((code, text[:5]), (550, b"5.7.1"))
            self.assertEqual(client.docmd("DATA")[0] // 100, 5)
        self.assertEqual([event for event in ringpost.journal() if event["type"] == "Reception"], [])

    # ---- failures

    def assert_report(self, reports, recipient, *, action="failed", status, diagnostic=None):
        """The one report in `reports` is about `recipient`."""
        (message,) = reports.wait_for(1)
        self.assertEqual((message.sender, message.recipients), ("", (SENDER,)))
        report = parse(message)
        self.assertEqual(report.get_content_type(), "multipart/report")
        self.assertEqual(report["Auto-Submitted"], "auto-replied")
        self.assertEqual(report["To"].addresses[0].addr_spec, SENDER)
        person, machine, original = report.iter_parts()
        self.assertIn(recipient, person.get_content())
        _, fields = machine.get_payload()
        self.assertEqual(fields["Final-Recipient"].replace(" ", ""), f"rfc822;{recipient}")
        self.assertEqual(fields["Action"], action)
        self.assertRegex(fields["Status"], f"^{status}$")
        if diagnostic:
            self.assertRegex(fields["Diagnostic-Code"], diagnostic)
        self.assertIn("Subject: hello", original.as_string())
        return report

    def bounced(self, recipient, status, **options):
        reports = self.sink(9)
        ringpost = self.ringpost(**options)
        ringpost.send(SENDER, [recipient], make_message())
        self.assert_report(reports, recipient, status=status)
        self.assert_all_final(ringpost)
        return ringpost

    def test_null_mx_bounces(self):
        self.bounced("bob@null.test", "5.1.10")

    def test_unknown_domain_bounces(self):
        self.bounced("bob@nowhere.test", "5.1.2")

    def test_mx_that_is_a_wildcard_listener_of_ours_bounces(self):
        reports = self.enterContext(Sink())
        ringpost = self.ringpost(
            routes={"sender.test": [f"127.0.0.1:{reports.port}"]},
            tables=f"""[[listener]]
                       address = "0.0.0.0:{self.port}"
                       service = "smtp" """)
        ringpost.send(SENDER, ["bob@self.test"], make_message())
        self.assert_report(reports, "bob@self.test", status="5.4.6")
        self.assertEqual(ringpost.metric("ringpost_connections_accepted_total"), 1)

    def test_mx_in_a_prohibited_network_bounces(self):
        reports = self.enterContext(Sink())
        ringpost = self.ringpost(delivery={"prohibited_hosts": ["127.0.0.2/32"]},
                                 routes={"sender.test": [f"127.0.0.1:{reports.port}"]})
        ringpost.send(SENDER, ["bob@a.test"], make_message())
        self.assert_report(reports, "bob@a.test", status="5.4.4")

    def test_refused_recipient_bounces_and_the_others_do_not(self):
        reports, sink = self.sink(9), self.sink(2, rules={"no@a.test": refuse()})
        ringpost = self.ringpost()
        ringpost.send(SENDER, ["yes@a.test", "no@a.test"], make_message())
        self.assertEqual(sink.wait_for(1)[0].recipients, ("yes@a.test",))
        self.assert_report(reports, "no@a.test", status="5.1.1",
                           diagnostic=r"^smtp; 550 5\.1\.1 no such user$")
        self.assert_all_final(ringpost)

    def test_refused_at_the_dot(self):
        reports = self.sink(9)
        self.sink(2, rules={"*": refuse("554 5.7.1 not this", at="dot")})
        ringpost = self.ringpost()
        ringpost.send(SENDER, ["bob@a.test"], make_message())
        self.assert_report(reports, "bob@a.test", status="5.7.1")

    def test_null_sender_gets_no_report(self):
        reports = self.sink(9)
        self.sink(2, rules={"*": refuse()})
        ringpost = self.ringpost()
        ringpost.send("", ["bob@a.test"], make_message())
        self.assert_all_final(ringpost)
        self.assertEqual(reports.messages, [])

    def test_report_that_is_refused_makes_no_other(self):
        reports = self.sink(9, rules={"*": refuse()})
        self.sink(2, rules={"*": refuse()})
        ringpost = self.ringpost()
        ringpost.send(SENDER, ["bob@a.test"], make_message())
        eventually(lambda: reports.attempts[SENDER] == 1, "the report was tried")
        self.assert_all_final(ringpost)
        ringpost.queue_empty()
        ringpost.metric_becomes("ringpost_dsn_made_total", 1)

    def test_bounce_as_event_only(self):
        reports = self.sink(9)
        self.sink(2, rules={"*": refuse()})
        ringpost = self.ringpost(bounce={"mode": "event"})
        ringpost.send(SENDER, ["bob@a.test"], make_message())
        self.assert_all_final(ringpost)
        self.assertEqual([event["type"] for event in ringpost.journal()], ["Reception", "Bounce"])
        self.assertEqual(reports.messages, [])

    def test_message_that_is_too_large_for_the_peer(self):
        reports = self.sink(9)
        self.sink(2, extensions=("PIPELINING", "SIZE 2000"))
        ringpost = self.ringpost()
        ringpost.send(SENDER, ["bob@a.test"], make_message(size=10000))
        self.assert_report(reports, "bob@a.test", status="5.3.4")

    def test_eight_bit_is_not_downgraded(self):
        reports = self.sink(9)
        self.sink(2, extensions=("PIPELINING",))
        ringpost = self.ringpost()
        ringpost.send(SENDER, ["bob@a.test"], "Subject: hello\r\n\r\ngrüße\r\n".encode(),
                      mail_options=["BODY=8BITMIME"])
        self.assert_report(reports, "bob@a.test", status="5.6.3")

    # ---- DSN

    def test_report_has_what_was_asked_for(self):
        reports = self.sink(9)
        self.sink(2, rules={"*": refuse()})
        ringpost = self.ringpost()
        with ringpost.smtp() as client:
            client.mail(SENDER, ["RET=FULL", "ENVID=QQ+2B314"])
            client.rcpt("bob@a.test", ["NOTIFY=FAILURE", "ORCPT=rfc822;Bob+2BTag@A.test"])
            client.data(make_message())
        report = self.assert_report(reports, "bob@a.test", status="5.1.1")
        _, machine, original = report.iter_parts()
        message, fields = machine.get_payload()
        self.assertEqual(message["Original-Envelope-Id"], "QQ+314")
        self.assertEqual(fields["Original-Recipient"].replace(" ", ""), "rfc822;Bob+Tag@A.test")
        self.assertEqual(original.get_content_type(), "message/rfc822")

    def test_notify_never(self):
        reports = self.sink(9)
        self.sink(2, rules={"*": refuse()})
        ringpost = self.ringpost()
        ringpost.send(SENDER, ["bob@a.test"], make_message(), rcpt_options=["NOTIFY=NEVER"])
        self.assert_all_final(ringpost)
        ringpost.queue_empty()
        self.assertEqual(reports.messages, [])

    def test_success_is_reported_where_the_next_server_cannot(self):
        reports = self.sink(9)
        self.sink(2, extensions=("PIPELINING",))
        ringpost = self.ringpost()
        ringpost.send(SENDER, ["bob@a.test"], make_message(), rcpt_options=["NOTIFY=SUCCESS"])
        self.assert_report(reports, "bob@a.test", action="relayed", status=r"2\.\d+\.\d+")

    def test_dsn_parameters_are_passed_on(self):
        reports, sink = self.sink(9), self.sink(2)
        ringpost = self.ringpost()
        ringpost.send(SENDER, ["bob@a.test"], make_message(),
                      mail_options=["RET=HDRS", "ENVID=QQ314"],
                      rcpt_options=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Bob@A.test"])
        (message,) = sink.wait_for(1)
        self.assertIn("RET=HDRS", message.mail_parameters)
        self.assertIn("ENVID=QQ314", message.mail_parameters)
        self.assertIn("NOTIFY=SUCCESS,FAILURE", message.rcpt_parameters[0])
        self.assertIn("ORCPT=rfc822;Bob@A.test", message.rcpt_parameters[0])
        self.assert_all_final(ringpost)
        self.assertEqual(reports.messages, [])

    # ---- later

    def test_deferred_then_delivered(self):
        sink = self.sink(2, rules={"bob@a.test": defer(2), "dot@a.test": defer(1, at="dot")})
        ringpost = self.ringpost()
        bodies = {name: make_message(name) for name in ("bob@a.test", "dot@a.test")}
        for recipient, body in bodies.items():
            ringpost.send(SENDER, [recipient], body)
        for message in sink.wait_for(2):
            self.assert_intact(message, bodies[message.recipients[0]])
        self.assertEqual(sink.attempts["bob@a.test"], 3)
        self.assert_all_final(ringpost)
        events = [event for event in ringpost.journal() if event["recipient"] == "bob@a.test"]
        self.assertEqual([event["type"] for event in events],
                         ["Reception", "TransientFailure", "TransientFailure", "Delivery"])
        self.assertEqual(events[1]["response"]["code"], 451)
        self.assertEqual(events[-1]["num_attempts"], 3)

    def test_some_recipients_deferred(self):
        sink = self.sink(2, rules={"later@a.test": defer(1)})
        ringpost = self.ringpost()
        ringpost.send(SENDER, ["now@a.test", "later@a.test"], make_message())
        self.assertEqual([message.recipients for message in sink.wait_for(2)],
                         [("now@a.test",), ("later@a.test",)])
        self.assert_all_final(ringpost)

    def test_server_that_shuts_down(self):
        sink = self.sink(2, rules={"bob@a.test": shut_down(1)})
        ringpost = self.ringpost()
        ringpost.send(SENDER, ["bob@a.test"], make_message())
        sink.wait_for(1)
        self.assert_all_final(ringpost)

    def test_connection_lost_after_the_dot_is_tried_again(self):
        sink = self.sink(2, rules={"bob@a.test": cut_after_dot(1)})
        ringpost = self.ringpost()
        body = make_message()
        ringpost.send(SENDER, ["bob@a.test"], body)
        for message in sink.wait_for(2):  # the duplicate that the protocol makes
            self.assert_intact(message, body)
        self.assert_all_final(ringpost)
        ringpost.metric_becomes("ringpost_may_duplicate_total", 1)

    def test_server_that_comes_up_later(self):
        ringpost = self.ringpost()
        body = make_message()
        ringpost.send(SENDER, ["bob@dead.test"], body)
        eventually(lambda: [event for event in ringpost.journal()
                            if event["type"] == "TransientFailure"], "it was tried")
        sink = self.sink(250)
        self.assert_intact(sink.wait_for(1)[0], body)

    def test_slow_answer_to_the_dot(self):
        sink = self.sink(2, rules={"*": delay(3)})
        ringpost = self.ringpost()
        ringpost.send(SENDER, ["bob@a.test"], make_message())
        self.assert_all_final(ringpost)
        self.assertEqual(len(sink.messages), 1)

    def test_expiry(self):
        reports = self.sink(9)
        self.sink(2, rules={"*": defer_forever()})
        ringpost = self.ringpost(retry={**FAST_RETRIES, "max_age": "3s"})
        ringpost.send(SENDER, ["bob@a.test"], make_message())
        self.assert_report(reports, "bob@a.test", status=r"[45]\.\d+\.\d+", diagnostic="451 4.3.0")
        self.assert_all_final(ringpost)
        self.assertIn("Expiration", [event["type"] for event in ringpost.journal()])

    def test_delay_report(self):
        reports, sink = self.sink(9), self.sink(2, rules={"bob@a.test": defer(4)})
        ringpost = self.ringpost(bounce={"delay_after": "1s"})
        ringpost.send(SENDER, ["bob@a.test"], make_message())
        self.assert_report(reports, "bob@a.test", action="delayed", status=r"4\.3\.0")
        sink.wait_for(1)
        self.assert_all_final(ringpost)
        self.assertEqual(len(reports.messages), 1)

    # ---- restart

    def test_restart_keeps_the_queue(self):
        rule = defer_forever()
        sink = self.sink(2, rules={"a.test": rule})
        ringpost = self.ringpost()
        bodies = [make_message(f"m{number}", 4000, seed=number) for number in range(30)]
        with ringpost.smtp() as client:
            for body in bodies:
                client.sendmail(SENDER, ["bob@a.test"], body)
        eventually(lambda: sink.attempts["bob@a.test"] >= 1, "a first attempt")
        ringpost.restart()
        sink.rules.clear()
        messages = sink.wait_for(30)
        self.assertEqual(sorted(sha256(without_received(message.body)) for message in messages),
                         sorted(sha256(body) for body in bodies))
        self.assert_all_final(ringpost)
        ringpost.restart()
        time.sleep(2)
        self.assertEqual(len(sink.messages), 30)

    def test_kill_loses_nothing(self):
        rule = defer_forever()
        sink = self.sink(2, rules={"a.test": rule})
        ringpost = self.ringpost()
        bodies = [make_message(f"m{number}", 2000, seed=number) for number in range(20)]
        with ringpost.smtp() as client:
            for body in bodies:
                client.sendmail(SENDER, ["bob@a.test"], body)
            ringpost.kill()
        ringpost.start()
        ringpost.metric_becomes("ringpost_queue_rows", 20)
        sink.rules.clear()
        arrived = lambda: {sha256(without_received(message.body)) for message in sink.messages}
        eventually(lambda: arrived() == {sha256(body) for body in bodies}, "all have arrived")
        ringpost.queue_empty()


if __name__ == "__main__":
    unittest.main(verbosity=2)
