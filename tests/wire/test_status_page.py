#!/usr/bin/python3
"""The status page: its files and their headers, what /api/ answers and refuses, who may see it; and in
a real browser (headless Chromium), with mail in several states."""

import base64
import http.client
import json
import os
import shutil
import subprocess
import tempfile
import unittest
import urllib.parse

from harness import (PATIENCE_S, Ringpost, Sink, defer_forever, free_port, make_message, program,
                     start_ringpost)

SENDER = "ann@sender.test"


def get(port, path, headers=None, method="GET"):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        client.request(method, path, headers=headers or {})
        reply = client.getresponse()
        return reply, reply.read()
    finally:
        client.close()


def api(server, path, **values):
    query = urllib.parse.urlencode(values)
    reply, body = get(server.http_port, f"/api/{path}" + (f"?{query}" if query else ""))
    return reply.status, json.loads(body)


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sink = Sink(rules={"busy@busy.test": defer_forever("452 4.2.2 <b>mailbox</b> full")}).__enter__()
        cls.addClassCleanup(cls.sink.__exit__, None, None, None)

    def server_with_mail(self):
        route = [f"127.0.0.1:{self.sink.port}"]
        server = start_ringpost(self, routes={"busy.test": route, "good.test": route})
        for number in range(3):
            server.send(SENDER, ["busy@busy.test"], make_message())
            server.send(SENDER, [f"u{number}@good.test"], make_message())
        server.metric_becomes("ringpost_recipients_delivered_total", 3)
        server.metric_becomes("ringpost_recipients_deferred_total", 3)
        return server

    def test_files_and_headers(self):
        server = start_ringpost(self)
        for path, kind in (("/", "text/html"), ("/status.css", "text/css"), ("/status.js", "text/javascript")):
            reply, body = get(server.http_port, path)
            self.assertEqual(reply.status, 200)
            self.assertTrue(reply.getheader("Content-Type").startswith(kind))
            policy = reply.getheader("Content-Security-Policy")
            self.assertIn("default-src 'none'", policy)
            self.assertNotIn("unsafe-inline", policy)
            self.assertEqual(reply.getheader("X-Content-Type-Options"), "nosniff")
            self.assertGreater(len(body), 500)
        page = get(server.http_port, "/")[1]
        for inline in (b"<style", b"onclick", b"http://", b"https://"):
            self.assertNotIn(inline, page)
        self.assertEqual(page.count(b"<script"), page.count(b"<script src=\"/status.js\""))

    def test_what_the_api_answers(self):
        server = self.server_with_mail()
        status, answer = api(server, "status")
        self.assertEqual((status, answer["records"][0]["state"], answer["truncated"]), (200, "running", False))
        names = {record["name"]: record["rows"] for record in api(server, "queue/summary")[1]["records"]}
        self.assertEqual(names["busy.test"], 3)
        status, answer = api(server, "queue/list", domain="busy.test")
        self.assertEqual(sum(record["rows"] for record in answer["records"]), 3)
        queue = answer["records"][0]["queue"]
        status, answer = api(server, "queue/show", NAME=queue, limit=2)
        self.assertLessEqual(len(answer["records"]), 2)
        self.assertIn("<b>mailbox</b>", answer["records"][0]["last_reply"])
        status, answer = api(server, "queue/why", NAME=queue)
        self.assertTrue(any(record["reasons"] for record in answer["records"]), answer)
        self.assertTrue(api(server, "lane/list")[1]["records"])

    def test_what_the_api_refuses(self):
        server = start_ringpost(self)
        for path, expected in (("queue/flush", 404), ("stop", 404), ("bounce?domain=x", 404), ("", 404),
                               ("queue/list?nonsense=1", 400), ("queue/list?domain=%zz", 400),
                               ("queue/summary?limit=many", 400), ("queue/show?limit=%00", 400)):
            reply, body = get(server.http_port, "/api/" + path)
            self.assertEqual(reply.status, expected, path)
            self.assertTrue(json.loads(body)["error"], path)
        self.assertEqual(get(server.http_port, "/api/status", method="POST")[0].status, 405)

    def test_a_token_guards(self):
        folder = tempfile.mkdtemp(prefix="ringpost-token-")
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, "token")
        with open(path, "w") as file:
            file.write("open sesame\n")
        port = free_port()
        start_ringpost(self, tables=f'[[listener]]\naddress = "127.0.0.1:{port}"\nservice = "http"\n'
                                    f'token_file = {json.dumps(path)}\n')
        basic = "Basic " + base64.b64encode(b"any:open sesame").decode()
        for path in ("/", "/metrics", "/api/status"):
            for authorization, expected in (("", 401), ("Bearer open", 401), ("Bearer open sesamee", 401),
                                            ("Basic !", 401), ("Bearer open sesame", 200), (basic, 200)):
                reply, _ = get(port, path, {"Authorization": authorization} if authorization else {})
                self.assertEqual(reply.status, expected, (path, authorization))
                if expected == 401:
                    self.assertIn("Basic", reply.getheader("WWW-Authenticate"))
        self.assertEqual(get(port, "/healthz")[0].status, 200)

    def test_without_a_token_only_on_loopback(self):
        port = free_port()
        start_ringpost(self, tables=f'[[listener]]\naddress = "0.0.0.0:{port}"\nservice = "http"\n')
        self.assertEqual(get(port, "/")[0].status, 403)
        self.assertEqual(get(port, "/api/status")[0].status, 403)
        self.assertEqual(get(port, "/metrics")[0].status, 200)

    def test_an_empty_token_file_is_an_error(self):
        with tempfile.NamedTemporaryFile() as file:
            server = Ringpost(tables=f'[[listener]]\naddress = "127.0.0.1:{free_port()}"\n'
                                     f'service = "http"\ntoken_file = {json.dumps(file.name)}\n')
            self.addCleanup(shutil.rmtree, server.folder)
            run = subprocess.run([program("ringpostd"), "--config", server.config_path],
                                 capture_output=True, text=True, timeout=PATIENCE_S)
            self.assertEqual(run.returncode, 1)
            self.assertIn("its first line is empty", run.stderr)

    def browse(self, server, *options):
        """What the browser shows after a while, as HTML."""
        folder = tempfile.mkdtemp(prefix="ringpost-chromium-")
        self.addCleanup(shutil.rmtree, folder, True)
        run = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", f"--user-data-dir={folder}", "--virtual-time-budget=8000", *options,
             f"http://127.0.0.1:{server.http_port}/"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=4 * PATIENCE_S, check=False)
        return run.stdout.decode(errors="replace"), run.stderr.decode(errors="replace")

    def test_in_a_browser(self):
        server = self.server_with_mail()
        server.command("suspend", "domain", "busy.test", "--reason", "they asked us to wait")
        shown, errors = self.browse(server, "--dump-dom", "--enable-logging=stderr", "--v=0")
        self.assertIn(">busy.test<", shown, errors)
        self.assertIn("they asked us to wait", shown)
        self.assertIn(">running<", shown)
        self.assertNotIn("Content Security Policy", errors)
        self.assertNotIn("Uncaught", errors)
        folder = os.environ.get("RINGPOST_SCREENSHOTS")
        if folder:
            for name, size, dark in (("wide", "1300,1000", 0), ("phone", "390,1400", 0),
                                     ("wide-dark", "1300,1000", 1), ("phone-dark", "390,1400", 1)):
                self.browse(server, f"--window-size={size}", f"--screenshot={folder}/{name}.png",
                            *(["--blink-settings=preferredColorScheme=0"] if dark else []))
                self.assertTrue(os.path.getsize(f"{folder}/{name}.png") > 5000)


if __name__ == "__main__":
    unittest.main()
