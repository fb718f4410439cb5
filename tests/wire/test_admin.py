#!/usr/bin/python3
"""What an administrator does to waiting mail and asks about it, against a living daemon with two
workers: bounce, delete, flush, move, suspend, resume, and why."""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import unittest

import harness
from harness import (PATIENCE_S, Ringpost, Sink, defer_forever, delay, eventually, free_port,
                     start_ringpost)
from test_failures import Silence

SENDER = "ann@sender.test"
HOUR = {"intervals": ["1h"], "jitter": "0%"}


def text(number, headers=""):
    return f"{headers}Subject: {number}\r\nX-Number: {number}\r\n\r\n{'x' * 300}\r\n"


class Admin(unittest.TestCase):
    def ringpost(self, routes, **options):
        options.setdefault("retry", HOUR)
        options["delivery"] = {"system_shutdown_timeout": "1s", **options.get("delivery", {})}
        options.setdefault("policy", {"tenant_header": "X-Tenant", "campaign_header": "X-Campaign"})
        return start_ringpost(self, routes=routes, workers=2, **options)

    def sink(self, **options):
        return self.enterContext(Sink(**options))

    def send(self, ringpost, recipient, count=1, headers=""):
        """The numbers of the messages; each comes by a connection of its own, to any worker."""
        ids = []
        for number in range(count):
            with ringpost.smtp() as client:
                client.mail(SENDER)
                for one in recipient.split():
                    client.rcpt(one.replace("#", str(number)))
                code, answer = client.data(text(number, headers))
                self.assertEqual(code, 250, answer)
                ids.append(answer.split()[-1].decode())
        return ids

    def deferred(self, ringpost, count):
        eventually(lambda: sum(row["attempts"] for row in ringpost.records("queue", "show")) ==
                   count, f"{count} were tried")

    def job(self, ringpost, *words):
        """The last line of its answer."""
        last = ringpost.records(*words)[-1]
        self.assertTrue(last["finished"])
        return last

    def reasons(self, ringpost, *words):
        """{reason: its record} of all cards."""
        return {reason["reason"]: reason for card in ringpost.records(*words)
                for reason in card["reasons"]}

    def until_reason(self, ringpost, name, *words):
        eventually(lambda: name in self.reasons(ringpost, *words), f"{words} say {name}")
        return self.reasons(ringpost, *words)[name]

    def events(self, ringpost, kind):
        return [event for event in ringpost.journal() if event["type"] == kind]

    # ---- jobs

    def test_bounce(self):
        sink = self.sink(rules={"a.test": defer_forever(), "b.test": defer_forever()})
        ringpost = self.ringpost({"*": [f"127.0.0.1:{sink.port}"]})
        self.send(ringpost, "u#@a.test", 20)
        self.send(ringpost, "u#@b.test", 10)
        self.deferred(ringpost, 30)
        words = ("bounce", "--domain", "a.test")
        self.assertEqual(self.job(ringpost, *words, "--dry-run")["matched"], 20)
        self.assertEqual(len(ringpost.records("queue", "show")), 30)
        ringpost.command(*words, status=2)  # no reason
        ringpost.command("bounce", "--reason", "everything", status=2)  # no filter
        last = self.job(ringpost, *words, "--reason", "a wrong list", "--rate", "1000")
        self.assertEqual((last["matched"], last["done"], last["in_delivery"]), (20, 20, 0))
        for report in sink.wait_for(20):
            self.assertIn(b"returned by the administrator: a wrong list", report.body)
            self.assertIn(b"Status: 5.7.1", report.body)
        eventually(lambda: len(self.events(ringpost, "AdminBounce")) == 20, "all in the journal")
        self.assertEqual({row["queue"] for row in ringpost.records("queue", "show")}, {"b.test"})
        ringpost.metric_becomes("ringpost_recipients_admin_bounced_total", 20)
        ringpost.stop()
        ringpost.check_queue()

    def test_delete(self):
        sink = self.sink(rules={"*": defer_forever()})
        ringpost = self.ringpost({"*": [f"127.0.0.1:{sink.port}"]})
        self.send(ringpost, "u#@a.test", 8, "X-Tenant: red\r\n")
        self.send(ringpost, "u#@a.test v@b.test", 4, "X-Tenant: blue\r\n")
        self.deferred(ringpost, 16)
        self.assertEqual(self.job(ringpost, "queue", "delete", "red@a.test")["done"], 8)
        self.assertEqual(self.job(ringpost, "queue", "delete", "--tenant", "blue")["done"], 8)
        ringpost.queue_empty()
        self.assertEqual(ringpost.metric("ringpost_dsn_made_total"), 0)
        ringpost.stop()
        ringpost.check_queue()

    def test_interrupted(self):
        sink = self.sink(rules={"*": defer_forever()})
        ringpost = self.ringpost({"*": [f"127.0.0.1:{sink.port}"]})
        self.send(ringpost, "u#@a.test", 30)
        self.deferred(ringpost, 30)
        process = subprocess.Popen(
            [harness.program("ringpost"), "--config", ringpost.config_path, "queue", "delete",
             "--domain", "a.test", "--rate", "2"], stdout=subprocess.DEVNULL)
        eventually(lambda: len(ringpost.records("queue", "show")) < 30, "it has begun")
        process.kill()
        process.wait()
        time.sleep(1.2)  # what is under way ends
        left = len(ringpost.records("queue", "show"))
        self.assertGreater(left, 20)
        time.sleep(1.5)
        self.assertEqual(len(ringpost.records("queue", "show")), left)

    def test_flush(self):
        sink = self.sink(rules={"*": defer_forever()})
        ringpost = self.ringpost({"*": [f"127.0.0.1:{sink.port}"]})
        self.send(ringpost, "u#@a.test", 12)
        self.deferred(ringpost, 12)
        sink.rules = {}
        self.assertEqual(self.job(ringpost, "queue", "flush", "a.test")["done"], 12)
        sink.wait_for(12)
        ringpost.queue_empty()

    def test_flush_forgives_hosts(self):
        port = free_port()
        ringpost = self.ringpost({"*": [f"127.0.0.1:{port}"]})
        self.send(ringpost, "u#@a.test", 4)
        self.deferred(ringpost, 4)
        sink = self.sink(port=port)
        self.job(ringpost, "queue", "flush", "--all")
        sink.wait_for(4)

    def test_move_and_rebind(self):
        dead, sink = free_port(), self.sink()
        ringpost = self.ringpost({"a.test": [f"127.0.0.1:{dead}"],
                                  "relay.test": [f"127.0.0.1:{sink.port}"]})
        self.send(ringpost, "u#@a.test", 10, "X-Tenant: red\r\n")
        self.deferred(ringpost, 10)
        self.assertEqual(self.job(ringpost, "queue", "move", "red@a.test", "late:blue@a.test")
                         ["done"], 10)
        self.assertEqual({(row["queue"], row["attempts"]) for row in
                          ringpost.records("queue", "show")}, {("late:blue@a.test", 1)})
        ringpost.command("rebind", "--tenant", "blue", status=2)  # into what?
        for domain in ("Relay.test", "relay test", "relay..test", ".test", "relay.test.", "a@b", "<b>"):
            ringpost.command("rebind", "--all", "--to-domain", domain, status=2)
        last = self.job(ringpost, "rebind", "--tenant", "blue", "--to-domain", "relay.test",
                        "--reason", "their MX is gone")
        self.assertEqual(last["done"], 10)
        ringpost.stop()
        ringpost.check_queue()
        ringpost.start()
        self.assertEqual({row["queue"] for row in ringpost.records("queue", "show")},
                         {"late:blue@relay.test"})
        self.job(ringpost, "queue", "flush", "--all")
        self.assertEqual({message.recipients[0].split("@")[1].rstrip(">") for message in
                          sink.wait_for(10)}, {"a.test"})
        moved = self.events(ringpost, "AdminRebind")
        self.assertEqual(len(moved), 20)
        self.assertEqual(moved[-1]["from_queue"], "late:blue@a.test")
        self.assertEqual(moved[-1]["response"]["content"], "their MX is gone")

    # ---- suspensions

    def check_suspension(self, what, name, delivered_again=True):
        sink = self.sink()
        ringpost = self.ringpost({"*": [f"127.0.0.1:{sink.port}"]})
        record, = ringpost.records("suspend", what, name, "--reason", "they asked us to",
                                   "--for", "1h")
        self.assertEqual((record["what"], record["name"]), (what, name))
        ids = self.send(ringpost, "u#@a.test", 6, "X-Tenant: red\r\nX-Campaign: spring\r\n")
        why = self.until_reason(ringpost, "suspended", "queue", "why", "spring:red@a.test")
        self.assertIn("they asked us to", why["text"])
        self.assertAlmostEqual(why["until_ms"] - why["since_ms"], 3600_000, delta=10)
        ringpost.stop()
        ringpost.start()
        listed, = ringpost.records("suspension", "list")
        self.assertEqual(listed["until_ms"], record["until_ms"])
        for one in ids:
            self.assertIn("they asked us to",
                          self.until_reason(ringpost, "suspended", "message", "why", one)["text"])
        self.assertEqual(sink.messages, [])
        ringpost.command("resume", what, name)
        ringpost.command("resume", what, name, status=1)
        sink.wait_for(6)
        self.assertEqual(ringpost.records("suspension", "list"), [])

    def test_suspend_queue(self):
        self.check_suspension("queue", "spring:red@a.test")

    def test_suspend_domain(self):
        self.check_suspension("domain", "A.test")

    def test_suspend_tenant(self):
        self.check_suspension("tenant", "red")

    def test_suspend_campaign(self):
        self.check_suspension("campaign", "spring")

    def test_suspend_source(self):
        self.check_suspension("source", "default")

    def test_suspend_lane(self):
        sink = self.sink(rules={"*": defer_forever()})
        ringpost = self.ringpost({"*": [f"127.0.0.1:{sink.port}"]})
        self.send(ringpost, "u#@a.test", 4)
        self.deferred(ringpost, 4)
        name = ringpost.records("lane", "list")[0]["lane"]
        ringpost.command("suspend", "lane", name)
        sink.rules = {}
        self.job(ringpost, "queue", "flush", "--all")
        self.until_reason(ringpost, "suspended", "lane", "why", name)
        self.until_reason(ringpost, "suspended", "queue", "why", "a.test")
        self.assertEqual(sink.messages, [])
        ringpost.command("resume", "lane", name)
        sink.wait_for(4)

    def test_suspension_ends_by_itself(self):
        sink = self.sink()
        ringpost = self.ringpost({"*": [f"127.0.0.1:{sink.port}"]})
        ringpost.command("suspend", "domain", "a.test", "--for", "0s", status=2)
        self.assertEqual(ringpost.records("suspension", "list"), [])
        ringpost.command("suspend", "domain", "a.test", "--for", "3s")
        self.send(ringpost, "u#@a.test", 4)
        self.until_reason(ringpost, "suspended", "queue", "why", "a.test")
        sink.wait_for(4)
        self.assertEqual(ringpost.records("suspension", "list"), [])

    # ---- why

    def test_why_not_due(self):
        sink = self.sink(rules={"*": defer_forever("451 4.2.0 greylisted")})
        ringpost = self.ringpost({"*": [f"127.0.0.1:{sink.port}"]})
        one, = self.send(ringpost, "u@a.test")
        self.deferred(ringpost, 1)
        why = self.until_reason(ringpost, "not-due", "message", "why", one)
        self.assertIn("attempt 2", why["text"])
        self.assertAlmostEqual(why["until_ms"] / 1000, time.time() + 3600, delta=60)
        self.assertRegex(why["option"], r"^retry\.intervals \(.*ringpost\.toml:\d+\)$")
        card, = ringpost.records("message", "why", one)
        self.assertIn("greylisted", card["last_reply"])
        self.until_reason(ringpost, "not-due", "queue", "why", "a.test")
        shown, = ringpost.records("message", "show", one)
        self.assertEqual((shown["state"], shown["from"], shown["attempts"], shown["queue"]),
                         ("deferred", SENDER, 1, "a.test"))
        self.assertEqual(shown["recipients"], [{"address": "u@a.test"}])
        ringpost.stop()  # on disk only
        ringpost.start()
        self.until_reason(ringpost, "not-due", "message", "why", one)
        self.assertEqual(ringpost.records("message", "show", one)[0]["state"], "deferred")

    def test_why_message_to_several_domains(self):
        sink = self.sink(rules={"*": defer_forever()})
        ringpost = self.ringpost({"*": [f"127.0.0.1:{sink.port}"]})
        one, = self.send(ringpost, "u@a.test u@b.test u@c.test")
        self.deferred(ringpost, 3)
        self.assertEqual({card["queue"] for card in ringpost.records("message", "show", one)},
                         {"a.test", "b.test", "c.test"})
        self.assertEqual(len(ringpost.records("message", "why", one)), 3)
        ringpost.command("message", "show", "0123456789abcdef", status=1)
        ringpost.command("message", "why", "nonsense", status=2)
        ringpost.command("queue", "why", "nobody.test", status=1)
        ringpost.command("lane", "why", "nobody.test", status=1)

    def test_why_in_delivery(self):
        sink = self.sink(rules={"*": delay(PATIENCE_S)})
        ringpost = self.ringpost({"*": [f"127.0.0.1:{sink.port}"]})
        one, = self.send(ringpost, "u@a.test")
        why = self.until_reason(ringpost, "in-delivery", "message", "why", one)
        eventually(lambda: "sends the body" in
                   self.reasons(ringpost, "message", "why", one)["in-delivery"]["text"],
                   "its step is named")
        self.assertIn(f"127.0.0.1:{sink.port}", why["text"])
        self.assertAlmostEqual(why["since_ms"] / 1000, time.time(), delta=PATIENCE_S)
        self.assertEqual(ringpost.records("message", "show", one)[0]["state"], "in-delivery")
        self.until_reason(ringpost, "in-delivery", "queue", "why", "a.test")

    def test_why_connection_limit(self):
        sink = self.sink(rules={"*": delay(PATIENCE_S)})
        ringpost = self.ringpost({"*": [f"127.0.0.1:{sink.port}"]},
                                 delivery={"connection_limit": 1})
        ids = self.send(ringpost, "u#@a.test", 8)
        eventually(lambda: "connection-limit" in
                   {name for one in ids for name in self.reasons(ringpost, "message", "why", one)},
                   "the limit is named")
        why = self.until_reason(ringpost, "connection-limit", "queue", "why", "a.test")
        self.assertRegex(why["option"], r"^delivery\.connection_limit \(.*ringpost\.toml:\d+\)$")
        self.assertIn("1 connections are open over all workers and 1 may be", why["text"])
        self.assertTrue(why["since_ms"])

    def test_why_message_rate(self):
        sink = self.sink()
        ringpost = self.ringpost({"*": [f"127.0.0.1:{sink.port}"]},
                                 delivery={"max_message_rate": "1/h"})
        self.send(ringpost, "u#@a.test", 8)
        why = self.until_reason(ringpost, "message-rate", "queue", "why", "a.test")
        self.assertAlmostEqual(why["until_ms"] / 1000, time.time() + 3600, delta=120)
        self.assertIn("delivery.max_message_rate", why["option"])
        self.until_reason(ringpost, "message-rate", "lane", "why",
                          ringpost.records("lane", "list")[0]["site"])

    def test_why_connection_rate(self):
        sink = self.sink()
        ringpost = self.ringpost({"*": [f"127.0.0.1:{sink.port}"]},
                                 delivery={"max_connection_rate": "1/h",
                                           "max_deliveries_per_connection": 1})
        self.send(ringpost, "u#@a.test", 6)
        self.until_reason(ringpost, "connection-rate", "queue", "why", "a.test")

    def test_why_backoff(self):
        port = free_port()
        ringpost = self.ringpost({"*": [f"127.0.0.1:{port}"]})
        self.send(ringpost, "u#@a.test", 6)
        self.deferred(ringpost, 6)
        self.send(ringpost, "v#@b.test", 6)
        why = self.until_reason(ringpost, "backoff", "queue", "why", "b.test")
        self.assertIn("refused", why["text"])
        self.assertNotIn("option", why)  # one failure: no limit has been met
        self.assertGreater(why["until_ms"], why["since_ms"])

    def test_why_connecting(self):
        silence = Silence()
        ringpost = self.ringpost({"*": [f"127.0.0.1:{silence.port}"]})
        self.send(ringpost, "u#@a.test", 2)
        self.until_reason(ringpost, "connecting", "queue", "why", "a.test")

    def test_why_no_route(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            ringpost = self.ringpost({}, dns={"servers": [address], "timeout": "3s",
                                              "negative_ttl": "60s"})
            one, = self.send(ringpost, "u@nobody.test")
            self.assertTrue(self.until_reason(ringpost, "resolving", "message", "why", one)
                            ["since_ms"])
            why = self.until_reason(ringpost, "no-route", "queue", "why", "nobody.test")
            self.assertGreater(why["until_ms"], why["since_ms"])

    # ---- traces

    def trace(self, ringpost, *words):
        """Its lines, as they come, in a list that grows."""
        process = subprocess.Popen(
            [harness.program("ringpost"), "--config", ringpost.config_path, "--json", "trace",
             *words], stdout=subprocess.PIPE, text=True)
        lines = []

        def read():
            for line in process.stdout:
                lines.append(json.loads(line))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()

        def end():
            process.kill()
            process.wait()
            reader.join()
            process.stdout.close()

        self.addCleanup(end)
        return lines

    def said(self, lines, side):
        return [line["line"] for line in list(lines) if line.get("side") == side]

    def test_trace_in(self):
        sink = self.sink()
        ringpost = self.ringpost({"*": [f"127.0.0.1:{sink.port}"]})
        everything = self.trace(ringpost, "smtp-in")
        only_b = self.trace(ringpost, "smtp-in", "--domain", "B.test")
        nobody = self.trace(ringpost, "smtp-in", "--address", "127.0.0.9")

        def seen():
            self.send(ringpost, "u@a.test")
            self.send(ringpost, "u@b.test")
            return any("<u@b.test>" in line for line in self.said(only_b, "C")) and \
                self.said(everything, "C")

        eventually(seen, "both see something")
        time.sleep(0.5)
        client, server = self.said(everything, "C"), self.said(everything, "S")
        self.assertTrue(any(line.lower().startswith("mail from:<ann@sender.test>")
                            for line in client), client)
        self.assertTrue(any(line.startswith("250 2.0.0 Ok: queued as") for line in server))
        self.assertTrue(any("octets of message" in line for line in self.said(everything, "*")))
        self.assertFalse(any("X-Number" in line["line"] for line in everything))
        self.assertFalse(any("a.test" in line for line in self.said(only_b, "C")), only_b)
        self.assertEqual(nobody, [])
        self.assertEqual({line["peer"].split(":")[0] for line in everything}, {"127.0.0.1"})

    def test_trace_hides_logins(self):
        ringpost = self.ringpost({"*": ["127.0.0.1:9"]})
        lines = self.trace(ringpost, "smtp-in")
        eventually(lambda: (self.send(ringpost, "u@a.test"), lines)[1], "it has begun")
        with socket.create_connection(("127.0.0.1", ringpost.port)) as client:
            for piece in (b"EHLO x\r\n", b"AUTH PLAIN AHRpbQBzZWNyZXQ=\r\n", b"AUTH PLAIN AHRp",
                          b"bQBzZWNyZXQ=\r\nNOOP\r\n", b"AUTH LOGIN dGltU2VjcmV0\r\n"):
                client.sendall(piece)
                time.sleep(0.3)
            client.sendall(b"QUIT\r\n")
        eventually(lambda: "QUIT" in self.said(lines, "C"), "the last line is seen")
        said = self.said(lines, "C")
        self.assertIn("NOOP", said)
        self.assertEqual([line for line in said if line.startswith(("AUTH", "["))],
                         ["AUTH PLAIN", "AUTH PLAIN", "[hidden]", "AUTH LOGIN"])

    def test_trace_hides_chunks(self):
        """Message text stays unseen when commands and chunks come in one piece."""
        sink = self.sink()
        ringpost = self.ringpost({"*": [f"127.0.0.1:{sink.port}"]})
        lines = self.trace(ringpost, "smtp-in", "--domain", "c.test")
        commands = ["EHLO x", "MAIL FROM:<ann@sender.test>", "RCPT TO:<u@c.test>", "BDAT 12", "NOOP",
                    "BDAT 10 LAST", "QUIT"]
        texts = {"BDAT 12": "private: 1\r\n", "BDAT 10 LAST": "\r\nsecret\r\n"}
        burst = "".join(f"{line}\r\n{texts.get(line, '')}" for line in commands)

        def seen():
            with socket.create_connection(("127.0.0.1", ringpost.port)) as client:
                client.sendall(burst.encode())
                while client.recv(4096):
                    pass
            return "QUIT" in self.said(lines, "C")

        eventually(seen, "it has begun")
        said = self.said(lines, "C")
        self.assertEqual(said[:said.index("QUIT") + 1], commands)
        self.assertFalse(any("priv" in line["line"] or "secr" in line["line"] for line in lines))
        self.assertEqual([line for line in self.said(lines, "*") if "octets" in line][:2],
                         ["[12 octets of message]", "[10 octets of message]"])

    def test_trace_out(self):
        sink = self.sink(rules={"b.test": defer_forever("450 4.2.1 not now")})
        ringpost = self.ringpost({"*": [f"127.0.0.1:{sink.port}"]}, delivery={"idle_timeout": "1s"})
        lines = self.trace(ringpost, "smtp-out", "--queue", "red@b.test")

        def seen():
            self.send(ringpost, "u@a.test")
            self.send(ringpost, "u@b.test", headers="X-Tenant: red\r\n")
            return "450 4.2.1 not now" in self.said(lines, "S")

        eventually(seen, "the refusal is seen")
        client = self.said(lines, "C")
        self.assertTrue(any(line.startswith("RCPT TO:<u@b.test>") for line in client), client)
        self.assertEqual({line["peer"] for line in lines}, {f"127.0.0.1:{sink.port}"})

    def test_trace_bounds(self):
        ringpost = self.ringpost({"*": ["127.0.0.1:9"]})
        running = [self.trace(ringpost, "smtp-in") for _ in range(4)]
        eventually(lambda: (self.send(ringpost, "u@a.test"), all(running))[1], "four are running")
        text, error = ringpost.command("trace", "smtp-in", status=1)
        self.assertIn("4 traces are running", error)
        ringpost.command("trace", "smtp-in", "--domain", "x" * 300, status=2)

    # ---- top

    def some_of_everything(self):
        dead, sink = free_port(), self.sink(rules={"slow.test": defer_forever("451 4.7.1 slow down")})
        ringpost = self.ringpost({"dead.test": [f"127.0.0.1:{dead}"],
                                  "*": [f"127.0.0.1:{sink.port}"]})
        self.send(ringpost, "u#@slow.test", 6)
        self.send(ringpost, "u#@dead.test", 4)
        ringpost.command("suspend", "domain", "later.test")
        self.send(ringpost, "u#@later.test", 2)
        eventually(lambda: sum(row["attempts"] for row in ringpost.records("queue", "show")) >= 7,
                   "all lanes have tried")  # what comes to one that is held waits
        return ringpost

    def assert_screen(self, screen):
        lines = screen.splitlines()
        self.assertLessEqual(len(lines), 24)
        self.assertLessEqual(max(map(len, lines)), 80)
        self.assertRegex(lines[0], r"^ringpost \S+  running  up \d+s  2 workers  \d\d:\d\d:\d\d")
        self.assertRegex(screen, r"(?m)^in +[\d.]+/s +12 accepted")
        self.assertRegex(screen, r"(?m)^late .* 1 suspensions")
        self.assertRegex(screen, r"(?m)^queue +12 waiting in \d+ queues")
        self.assertRegex(screen, r"(?m)^slow\.test +6 +(\d+m|now)  451 4\.7\.1 slow down")
        self.assertRegex(screen, r"(?m)^dead\.test +4 +(\d+m|now)  451 4\.4\.1 cannot connect")
        self.assertRegex(screen, r"(?m)^later\.test +2 +now")
        self.assertRegex(screen, r"(?m)^default->mx_list:127\.0\.0\.1:?\d* +held +\d+s  cannot connect")

    def test_top_once(self):
        ringpost = self.some_of_everything()
        screen, _ = ringpost.command("top", "--once", "--interval", "300ms")
        self.assertNotIn("\033", screen)
        self.assert_screen(screen)
        errors = {record["domain"]: record["error"]
                  for record in ringpost.records("domain", "errors")}
        self.assertEqual(set(errors), {"slow.test", "dead.test"})
        self.assertIn("suspensions", ringpost.records("status")[0])
        suspended, = {queue["suspended"] for queue in ringpost.records("queue", "list")
                      if queue["domain"] == "later.test"}
        self.assertEqual(suspended, "domain")

    @unittest.skipUnless(shutil.which("tmux"), "needs tmux")
    def test_top_live(self):
        ringpost = self.some_of_everything()
        name = f"ringpost-{os.getpid()}"
        tmux = ["tmux", "-L", name, "-f", "/dev/null"]
        words = [harness.program("ringpost"), "--config", ringpost.config_path, "top", "--interval",
                 "500ms"]
        subprocess.run([*tmux, "new-session", "-d", "-x", "80", "-y", "24", *words], check=True)
        self.addCleanup(subprocess.run, [*tmux, "kill-server"], stderr=subprocess.DEVNULL)

        def screen():
            return subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True,
                                  text=True).stdout

        eventually(lambda: " 12 waiting" in screen() and "held" in screen(), "it shows")
        self.assert_screen(screen())
        self.send(ringpost, "u#@more.test", 3)
        eventually(lambda: " 15 accepted" in screen() and " 12 waiting" in screen(), "it is redrawn")
        self.assert_screen(screen().replace(" 15 accepted", " 12 accepted"))
        subprocess.run([*tmux, "send-keys", "q"], check=True)
        eventually(lambda: subprocess.run([*tmux, "list-sessions"], capture_output=True).returncode,
                   "q ends it")

    # ---- many rows

    def test_with_many_rows(self):
        """100,000 wait on disk, and every command answers; who waits is what was asked for."""
        sink = self.sink(rules={"*": defer_forever()})
        ringpost = Ringpost(routes={"*": [f"127.0.0.1:{sink.port}"]}, workers=2, retry=HOUR)
        fill = os.path.join(os.path.dirname(harness.program("ringpostd")), "bench", "fill_rows")
        subprocess.run([fill, ringpost.data_dir, "100000", "50", "300", "7200"], check=True)
        self.enterContext(ringpost)
        self.assertEqual(self.job(ringpost, "bounce", "--all", "--dry-run")["matched"], 100_000)
        self.assertEqual(self.job(ringpost, "bounce", "--domain", "d7.example", "--dry-run")
                         ["matched"], 2000)
        self.assertEqual(self.job(ringpost, "queue", "delete", "d7.example")["done"], 2000)
        row = ringpost.records("queue", "show", "--domain", "d9.example", "--limit", "1")[0]
        self.assertEqual(ringpost.records("message", "show", row["id"])[0]["queue"], "d9.example")
        self.until_reason(ringpost, "not-due", "message", "why", row["id"])
        self.until_reason(ringpost, "not-due", "queue", "why", "d9.example")
        self.assertEqual(self.job(ringpost, "rebind", "--domain", "d8.example", "--to-tenant", "late")
                         ["done"], 2000)
        ringpost.command("suspend", "domain", "d9.example")
        self.assertEqual(self.job(ringpost, "queue", "flush", "d9.example")["done"], 2000)
        self.until_reason(ringpost, "suspended", "queue", "why", "d9.example")
        eventually(lambda: ringpost.metric("ringpost_queue_rows") == 98_000, "98,000 are left")
        ringpost.stop()
        ringpost.check_queue()


if __name__ == "__main__":
    unittest.main(verbosity=2)
