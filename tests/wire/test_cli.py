#!/usr/bin/python3
"""ringpostd as a program: what it says, with which status, when things are as they should be and when
they are not; and what its HTTP listener serves."""

import ctypes
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest

from harness import PATIENCE_S, Sink, eventually, free_port, make_message, program, start_ringpost

SENDER = "ann@sender.test"

GOOD = """hostname = "mail.ringpost.test"
data_dir = "{folder}/data"
[[listener]]
address = "127.0.0.1:{port}"
service = "smtp"
[[listener]]
address = "127.0.0.1:{http_port}"
service = "http"
"""


def run(*arguments, **options):
    return subprocess.run([program("ringpostd"), *arguments], capture_output=True, text=True,
                          timeout=PATIENCE_S, **options)


def refuse_system_call(number, error):
    """For preexec_fn: from now on `number` answers `error` (seccomp, classic BPF)."""
    libc = ctypes.CDLL(None, use_errno=True)
    load, equal, give = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | error
    steps = [(load, 0, 0, 0), (equal, 0, 1, number), (give, 0, 0, refuse), (give, 0, 0, allow)]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4

    def install():
        buffer = ctypes.create_string_buffer(code)
        head = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(buffer)))
        if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.addressof(head), 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")

    return install


IO_URING_SETUP, EPERM, ENOSYS = 425, 1, 38


class CommandLine(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="ringpost-cli-")
        self.addCleanup(shutil.rmtree, self.folder)
        os.mkdir(f"{self.folder}/data")
        self.port, self.http_port = free_port(), free_port()

    def config(self, text=GOOD):
        path = f"{self.folder}/ringpost.toml"
        with open(path, "w") as file:
            file.write(text.format(folder=self.folder, port=self.port, http_port=self.http_port))
        return path

    # ---- usage

    def test_version_and_help(self):
        self.assertRegex(run("--version").stdout, r"^ringpostd \d+\.\d+\.\d+\n$")
        result = run("--help")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertIn("--config FILE", result.stdout)

    def test_wrong_usage(self):
        for arguments in ((), ("--config",), ("--no-such",), ("a", "b", "c"), ("--version", "x")):
            with self.subTest(arguments):
                result = run(*arguments)
                self.assertEqual((result.returncode, result.stdout), (2, ""))
                self.assertIn("usage: ", result.stderr)

    # ---- configuration

    def test_good_configuration(self):
        result = run("--check-config", self.config())
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))

    def test_bad_configurations(self):
        cases = {
            'hostnam = "x"\n' + GOOD: r"ringpost\.toml:1:1: .*did you mean 'hostname'\?",
            GOOD + "[delivry]\n": r"ringpost\.toml:9:\d+: .*did you mean \[delivery\]\?",
            GOOD + "[delivery]\nconnection_limt = 5\n": r":10:1: .*mean 'connection_limit'\?",
            GOOD + "[delivery]\nconnection_limit = 0\n": r":10:\d+: ",
            GOOD + '[delivery]\nconnection_limit = "many"\n': r":10:\d+: ",
            GOOD + '[retry]\nmax_age = "5 parsecs"\n': r":10:\d+: ",
            GOOD.replace('"smtp"', '"smpt"'): r":5:\d+: .*did you mean \"smtp\"\?",
            GOOD + "[delivery\n": r":9:\d+: ",
            GOOD.replace('data_dir = "{folder}/data"\n', ""): r"data_dir",
        }
        for text, message in cases.items():
            with self.subTest(message):
                for option in ("--check-config", "--config"):
                    result = run(option, self.config(text))
                    self.assertEqual((result.returncode, result.stdout), (1, ""))
                    self.assertRegex(result.stderr, message)

    def test_configuration_that_is_not_there(self):
        result = run("--check-config", f"{self.folder}/nowhere.toml")
        self.assertEqual(result.returncode, 1)
        self.assertIn("nowhere.toml", result.stderr)

    # ---- start-up

    def fails_to_start(self, message, **options):
        result = run("--config", self.config(), **options)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(result.stderr, message)
        return result.stderr

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", self.port)):
            self.fails_to_start(r"ringpost\.toml:3: .*in use")
        with socket.create_server(("127.0.0.1", self.http_port)):
            self.fails_to_start(r"ringpost\.toml:6: .*in use")

    def test_data_dir_that_cannot_be(self):
        os.rmdir(f"{self.folder}/data")
        with open(f"{self.folder}/data", "w"):
            pass
        self.fails_to_start(f"cannot open {self.folder}/data")

    def test_io_uring_that_is_forbidden(self):
        text = self.fails_to_start("io_uring",
                                   preexec_fn=refuse_system_call(IO_URING_SETUP, EPERM))
        if open_setting("kernel/io_uring_disabled") == "0":
            self.assertIn("seccomp", text)
            self.assertIn("allow the system calls io_uring_setup", text)

    def test_io_uring_that_is_hidden(self):
        self.fails_to_start("no io_uring, or a seccomp filter hides it",
                            preexec_fn=refuse_system_call(IO_URING_SETUP, ENOSYS))


def open_setting(name):
    try:
        with open(f"/proc/sys/{name}") as file:
            return file.read().strip()
    except OSError:
        return "0"


class Running(unittest.TestCase):
    def test_two_on_one_data_dir(self):
        ringpost = start_ringpost(self)
        other = config_beside(ringpost)
        result = run("--config", other)
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"{ringpost.data_dir} is in use by another process", result.stderr)
        self.assertEqual(ringpost.get("/readyz")[0], 200)

    def test_two_on_the_same_ports(self):
        """Their sockets could share the ports, and each would get a part of the mail."""
        ringpost = start_ringpost(self)
        path = os.path.join(ringpost.folder, "other.toml")
        with open(ringpost.config_path) as file, open(path, "w") as copy:
            copy.write(file.read().replace('data_dir = "', 'data_dir = "' + ringpost.folder + "/other"))
        result = run("--config", path)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(result.stderr, r"cannot listen on 127\.0\.0\.1:\d+: Address already in use")

    def test_other_signals_do_no_harm(self):
        ringpost = start_ringpost(self)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            ringpost.process.send_signal(number)
        eventually(lambda: "SIGUSR2: nothing to do" in ringpost.log(), "it says so")
        self.assertEqual(ringpost.get("/readyz")[0], 200)

    def test_http(self):
        ringpost = start_ringpost(self)
        self.assertEqual(ringpost.get("/healthz"), (200, "ok\n"))
        self.assertEqual(ringpost.get("/readyz"), (200, "ready\n"))
        self.assertEqual(ringpost.get("/nothing")[0], 404)

    def test_metrics_are_clean(self):
        sink = self.enterContext(Sink())
        ringpost = start_ringpost(self, routes={"*": [f"127.0.0.1:{sink.port}"]})
        ringpost.send(SENDER, ["bob@a.test"], make_message())
        sink.wait_for(1)
        ringpost.metric_becomes("ringpost_journal_frames_total", 2)  # reception and delivery
        text = ringpost.get("/metrics")[1]
        self.assertIn("ringpost_messages_accepted_total 1\n", text)
        self.assertIn("ringpost_journal_lost_total 0\n", text)
        promtool = shutil.which("promtool", path=os.environ.get("PATH", "") + ":/usr/bin")
        result = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True,
                                text=True, timeout=PATIENCE_S)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))

    def test_not_ready_while_draining(self):
        sink = self.enterContext(Sink())
        ringpost = start_ringpost(self, routes={"*": [f"127.0.0.1:{sink.port}"]})
        client = ringpost.smtp()  # in a transaction: it may finish it
        client.mail(SENDER)
        client.rcpt("bob@a.test")
        ringpost.process.send_signal(signal.SIGTERM)
        eventually(lambda: ringpost.get("/readyz") == (503, "shutting down\n"), "it says so")
        self.assertEqual(ringpost.get("/healthz")[0], 200)
        code, text = client.data(make_message())
        self.assertEqual(code, 250, text)
        self.assertEqual(ringpost.process.wait(PATIENCE_S), 0)
        client.close()
        ringpost.process = None
        ringpost.check_queue()
        ringpost.start()
        sink.wait_for(1)

    def test_second_signal_and_interrupt(self):
        ringpost = start_ringpost(self)
        ringpost.process.send_signal(signal.SIGINT)
        ringpost.process.send_signal(signal.SIGTERM)
        self.assertEqual(ringpost.process.wait(PATIENCE_S), 0)
        self.assertRegex(ringpost.log(), r"SIGINT: shutting down")
        ringpost.process = None

    def test_lines_that_were_held_back_are_summed_up(self):
        ringpost = start_ringpost(self)
        for _ in range(100):  # signals merge: only some are seen
            ringpost.process.send_signal(signal.SIGHUP)
            time.sleep(0.005)
        eventually(lambda: re.search(r"\d+ more like this: SIGHUP", ringpost.log()), "the sum")


def config_beside(ringpost):
    """The same with other ports."""
    path = os.path.join(ringpost.folder, "other.toml")
    with open(ringpost.config_path) as file, open(path, "w") as copy:
        text = file.read()
        for port in (ringpost.port, ringpost.http_port):
            text = text.replace(f":{port}", f":{free_port()}")
        copy.write(text)
    return path


if __name__ == "__main__":
    unittest.main(verbosity=2)
