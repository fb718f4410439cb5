#!/usr/bin/python3
"""`./run rows` with few rows: nothing is lost over a restart in the middle, in one queue or in many."""

import os
import re
import subprocess
import sys
import tempfile
import unittest

from harness import PATIENCE_S, ROOT

SCRIPT = os.path.join(ROOT, "bench", "rows.py")


class Rows(unittest.TestCase):
    def run_rows(self, *options):
        with tempfile.TemporaryDirectory(prefix="ringpost-rows-") as folder:
            result = subprocess.run([sys.executable, "-B", SCRIPT, *options], capture_output=True,
                                    env={**os.environ, "TMPDIR": folder}, text=True,
                                    timeout=8 * PATIENCE_S)
            self.assertEqual(os.listdir(folder), [])
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return result.stdout

    def assert_row(self, output, name, value):
        match = re.search(rf"^ *{re.escape(name)} +(\S+)", output, re.MULTILINE)
        self.assertTrue(match, f"no row {name!r} in\n{output}")
        self.assertEqual(match[1], value)

    def test_one_queue(self):
        output = self.run_rows("5000")
        self.assert_row(output, "delivered", "5,000")
        self.assertIn("0 twice, 0 still queued", output)
        self.assertIn("SIGTERM in the middle", output)
        self.assertIn("Every row is accounted for.", output)

    def test_many_queues(self):
        output = self.run_rows("5000", "--queues", "1000")
        self.assert_row(output, "delivered", "5,000")
        self.assertIn("0 twice, 0 still queued", output)

    def test_more_queues_than_routes(self):
        """More domains than look-ups run at a time, and more than are remembered."""
        output = self.run_rows("40000", "--queues", "40000", "--body", "64")
        self.assert_row(output, "delivered", "40,000")
        self.assertIn("0 twice, 0 still queued", output)

    def test_killed_in_the_middle(self):
        output = self.run_rows("5000", "--queues", "10", "--kill")
        self.assert_row(output, "delivered", "5,000")
        self.assertIn("0 still queued", output)

    def test_what_is_not_due_stays(self):
        output = self.run_rows("5000", "--no-drain")
        self.assert_row(output, "delivered", "0")
        self.assertIn("5,000 still queued", output)

    def test_refuses_nonsense(self):
        result = subprocess.run([sys.executable, "-B", SCRIPT, "5", "--queues", "6"],
                                capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual(result.returncode, 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
