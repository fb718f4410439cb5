#!/usr/bin/python3
"""The demo with few mails: it accounts for each, says so, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

from harness import PATIENCE_S, ROOT, eventually

DEMO = os.path.join(ROOT, "tests", "demo", "demo.py")


def command(*options):
    return [sys.executable, "-B", DEMO, *options]


class Demo(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ringpost-demo-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.environment = {**os.environ, "TMPDIR": self.folder}

    def run_demo(self, *options):
        return subprocess.run(command(*options), env=self.environment, capture_output=True, text=True,
                              timeout=4 * PATIENCE_S)

    def row(self, output, name):
        match = re.search(rf"^ *{re.escape(name)} +([\d,.]+)", output, re.MULTILINE)
        self.assertTrue(match, f"no row {name!r} in\n{output}")
        return float(match[1].replace(",", ""))

    def test_accounts_for_every_message(self):
        result = self.run_demo("--messages", "500")
        output = result.stdout
        self.assertEqual(result.returncode, 0, output + result.stderr)
        self.assertEqual(self.row(output, "injected"), 500)
        # 200 plain ones, then three lots of a hundred: 79 accepted at once, 15 deferred, 6 bounced.
        self.assertEqual(self.row(output, "delivered"), 482)
        self.assertEqual(self.row(output, "deferred then delivered"), 45)
        self.assertEqual(self.row(output, "bounced"), 18)
        self.assertEqual(self.row(output, "DSNs received"), 18)
        for name in ("250, median", "250, p99", "messages per second, in", "messages per second, through",
                     "daemon CPU per message", "with retries and reports"):
            self.assertGreater(self.row(output, name), 0)
        self.assertIn("Every message is accounted for", output)
        self.assertIn("What to try next", output)
        self.assertNotIn("\r", output)  # redrawn on a terminal only
        self.assertEqual(os.listdir(self.folder), [])

    def test_keeps_its_folder_if_asked(self):
        result = self.run_demo("--messages", "20", "--keep")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        (kept,) = os.listdir(self.folder)
        self.assertIn(f"Kept: {os.path.join(self.folder, kept)}", result.stdout)
        self.assertTrue(os.path.exists(os.path.join(self.folder, kept, "ringpost.toml")))

    def test_a_lost_daemon_is_not_success(self):
        demo = subprocess.Popen(command("--messages", "1000000"), env=self.environment,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with demo:
            self.kill_daemon(demo)
            output, errors = demo.communicate(timeout=4 * PATIENCE_S)
        self.assertEqual(demo.returncode, 1, output + errors)
        self.assertIn("NOT every message is accounted for", output)
        self.assertEqual(os.listdir(self.folder), [])

    def kill_daemon(self, demo):
        """Once it has taken some mail."""

        def line():
            return next((text for text in demo.stdout if re.match(r" *\d+\.\d s  in [1-9]", text)), "")

        if not line():
            self.fail(f"no line of progress:\n{demo.stderr.read()}")
        children = eventually(lambda: daemons_of(demo.pid), "ringpostd is a child of the demo")
        for pid in children:
            os.kill(pid, signal.SIGKILL)

    def test_stops_when_told(self):
        demo = subprocess.Popen(command("--messages", "1000000"), env=self.environment,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with demo:
            demo.stdout.readline()
            children = eventually(lambda: daemons_of(demo.pid), "ringpostd is a child of the demo")
            demo.send_signal(signal.SIGTERM)
            demo.communicate(timeout=4 * PATIENCE_S)
        self.assertEqual(demo.returncode, 1)
        for pid in children:
            eventually(lambda pid=pid: not os.path.exists(f"/proc/{pid}"), "the daemon has ended")
        self.assertEqual(os.listdir(self.folder), [])

    def test_shows_its_configuration(self):
        result = self.run_demo("--show-config")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("[[listener]]", result.stdout)


def daemons_of(parent):
    """The process ids of the ringpostd that `parent` has started."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                name, _, rest = file.read().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name.startswith("ringpostd") and int(rest.split()[1]) == parent:
            found.append(int(pid))
    return found


if __name__ == "__main__":
    unittest.main(verbosity=2)
