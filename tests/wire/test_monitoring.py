#!/usr/bin/python3
"""What operators watch: a running daemon's exposition is clean, has a line for each site and listener,
and everything that the alerts and the dashboard in packaging/ ask for is in it."""

import json
import os
import re
import shutil
import subprocess
import unittest

from harness import PATIENCE_S, Sink, make_message, start_ringpost

PACKAGING = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../packaging")
RULES = os.path.join(PACKAGING, "prometheus/ringpost.rules.yml")
RULES_TEST = os.path.join(PACKAGING, "prometheus/ringpost.rules.test.yml")
DASHBOARD = os.path.join(PACKAGING, "grafana/ringpost.json")


def promtool(*arguments, **options):
    return subprocess.run([shutil.which("promtool"), *arguments], text=True, timeout=PATIENCE_S,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)


def names_in(text):
    return set(re.findall(r"\bringpost_[a-z0-9_]+", text))


class Monitoring(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sink = Sink().__enter__()
        cls.addClassCleanup(cls.sink.__exit__, None, None, None)

    def exposition(self):
        server = start_ringpost(self, routes={"site.test": [f"127.0.0.1:{self.sink.port}"]})
        server.send("a@sender.test", ["b@site.test"], make_message())
        server.metric_becomes("ringpost_recipients_delivered_total", 1)
        self.listener = f"127.0.0.1:{server.port}"
        return server.get("/metrics")[1]

    def test_the_exposition(self):
        text = self.exposition()
        checked = promtool("check", "metrics", input=text)
        self.assertEqual(checked.returncode, 0, checked.stdout)
        self.assertEqual(checked.stdout, "")
        for line in (f'ringpost_listener_messages_total{{listener="{self.listener}"}} 1',
                     'ringpost_site_delivered_total{site="other"} 0',
                     'ringpost_queue_seconds_count 1',
                     'ringpost_attempt_transaction_seconds_count 1',
                     'ringpost_limit_hits_total{limit="message_size"} 0'):
            self.assertIn(line + "\n", text)
        self.assertRegex(text, r'ringpost_site_delivered_total\{site="[^"]*127\.0\.0\.1[^"]*"\} 1\n')
        self.assertRegex(text, r"ringpost_commit_group_size_count [1-9]")

    def test_limits_are_counted(self):
        server = start_ringpost(self)
        with server.smtp() as client:
            client.ehlo()
            self.assertEqual(client.docmd("NOOP " + "x" * 5000)[0], 500)
        self.assertIn('ringpost_limit_hits_total{limit="command_line"} 1\n',
                      server.get("/metrics")[1])

    def test_the_alerts(self):
        for arguments in (("check", "rules", RULES), ("test", "rules", RULES_TEST)):
            run = promtool(*arguments, cwd=os.path.dirname(RULES))
            self.assertEqual(run.returncode, 0, run.stdout)

    def test_alerts_and_dashboard_ask_for_what_is_there(self):
        there = names_in(self.exposition())
        with open(RULES) as file:
            rules = file.read()
        expressions = re.findall(r"expr: (.*)", rules)
        self.assertGreater(len(expressions), 10)
        with open(DASHBOARD) as file:
            panels = json.load(file)["panels"]
        expressions += [target["expr"] for panel in panels for target in panel.get("targets", [])]
        for expression in expressions:
            self.assertLessEqual(names_in(expression), there, expression)

    def test_the_dashboard_has_the_form_that_grafana_reads(self):
        with open(DASHBOARD) as file:
            board = json.load(file)
        self.assertTrue(board["uid"] and board["title"] and board["schemaVersion"] >= 36)
        variables = {variable["name"] for variable in board["templating"]["list"]}
        taken, ids = set(), set()
        for panel in board["panels"]:
            self.assertNotIn(panel["id"], ids)
            ids.add(panel["id"])
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                     for y in range(at["y"], at["y"] + at["h"])}
            self.assertLessEqual(at["x"] + at["w"], 24)
            self.assertFalse(cells & taken, panel["title"])
            taken |= cells
            for target in panel.get("targets", []):
                used = set(re.findall(r"\$\{?([a-z]+)\}?", target["expr"] + target["datasource"]["uid"]))
                self.assertLessEqual(used, variables, target["expr"])


if __name__ == "__main__":
    unittest.main()
