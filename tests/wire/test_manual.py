"""The manual pages and completions that come from the tables, looked at by those who read them."""

import shutil
import subprocess
import unittest

import harness

PAGES = ("ringpost.1", "ringpostd.8", "ringpost.toml.5")


def ringpost(*words):
    return subprocess.run([harness.program("ringpost"), *words], capture_output=True, text=True,
                          check=True).stdout


class Manual(unittest.TestCase):
    def test_pages_are_clean(self):
        if not shutil.which("mandoc"):
            self.skipTest("mandoc is missing")
        for page in PAGES:
            result = subprocess.run(["mandoc", "-Tlint", "-Wwarning"], input=ringpost("manual", page),
                                    capture_output=True, text=True)
            self.assertEqual((result.returncode, result.stdout), (0, ""), page)

    def test_pages_are_complete(self):
        page = ringpost("manual", "ringpost.1")
        for line in ringpost("--help").splitlines():
            if line.startswith("  ") and line[2] not in " -":
                name = line[2:22].strip()
                self.assertIn(f".Ss {name}\n", page)
        options = subprocess.run([harness.program("ringpostd"), "--options"], capture_output=True,
                                 text=True, check=True).stdout
        page = ringpost("manual", "ringpost.toml.5")
        for line in options.splitlines():
            if line.startswith("| `"):
                self.assertIn(f".It Cm {line.split('`')[1]}\n", page)


class Completion(unittest.TestCase):
    def complete(self, *words):
        """What bash would offer for the last word."""
        script = (ringpost("completion", "bash") +
                  'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ringpost; printf "%s\\n" "${COMPREPLY[@]}"')
        return set(subprocess.run(["bash", "-c", script, "bash", "ringpost", *words],
                                  capture_output=True, text=True, check=True,
                                  cwd="/").stdout.split())

    def test_bash(self):
        self.assertLessEqual({"queue", "lane", "status", "--socket"}, self.complete(""))
        self.assertEqual(self.complete("que"), {"queue"})
        self.assertLessEqual({"list", "show", "summary"}, self.complete("queue", ""))
        self.assertIn("--domain", self.complete("queue", "list", "--d"))
        self.assertEqual(self.complete("queue", "list", "--state", ""), {"new", "deferred", "due"})
        self.assertEqual(self.complete("--config", "x", "log", "level", "d"), {"debug"})
        self.assertEqual(self.complete("completion", "z"), {"zsh"})

    def test_other_shells(self):
        for shell in ("zsh", "fish"):
            text = ringpost("completion", shell)
            self.assertIn("queue", text)
            if shutil.which(shell):
                subprocess.run([shell, "-n"], input=text, text=True, check=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
