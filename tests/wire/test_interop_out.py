#!/usr/bin/python3
"""Mail out to servers that others wrote: Postfix, its smtp-sink, Exim, aiosmtpd."""

import glob
import grp
import os
import pwd
import shutil
import signal
import smtplib
import subprocess
import tempfile
import unittest

from harness import (ROOT, eventually, free_port, make_message, sha256, start_ringpost,
                     without_received)

SENDER, COUNT = "ann@sender.test", 100


def tool(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        raise unittest.SkipTest(f"{name} is not installed")
    return path


def greets(port):
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=5) as client:
            return client.noop()[0] == 250
    except (OSError, smtplib.SMTPException):
        return False


def read(path):
    with open(path, "rb") as file:
        return file.read()


def behind(text, start=b"From: <"):
    """A stored message from our first own header on, in CRLF form."""
    text = text.replace(b"\r\n", b"\n")
    at = text.find(b"\n" + start) + 1 if not text.startswith(start) else 0
    return text[at:].replace(b"\n", b"\r\n")


class InteropOut(unittest.TestCase):
    def setUp(self):
        self.port = free_port()
        self.folder = tempfile.mkdtemp(prefix="ringpost-out-")
        os.chmod(self.folder, 0o755)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, *command, **options):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   start_new_session=True, **options)

        def end():
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()

        self.addCleanup(end)
        eventually(lambda: greets(self.port), f"{command[0]} greets")
        return process

    def send_to_it(self, utf8=False):
        """Sends COUNT messages through us; their bodies, by recipient."""
        ringpost = start_ringpost(self, routes={"*": [f"127.0.0.1:{self.port}"]},
                                  retry={"intervals": ["1s"]})
        bodies = {f"user{number}@a.test": make_message(f"m{number}", number * 150, seed=number)
                  for number in range(COUNT)}
        with ringpost.smtp() as client:
            for recipient, body in bodies.items():
                client.sendmail(SENDER, [recipient], body)
        eventually(lambda: ringpost.metric("ringpost_recipients_delivered_total") == COUNT,
                   f"{COUNT} delivered")
        self.assertEqual(ringpost.metric("ringpost_recipients_bounced_total"), 0)
        return bodies

    def assert_stored(self, files, bodies, added=b""):
        """Each file holds one of the bodies, all are there. `added`: what the server puts behind."""
        stored = sorted(sha256(behind(read(file)).removesuffix(added)) for file in files)
        self.assertEqual(stored, sorted(sha256(body) for body in bodies.values()))

    def test_smtp_sink(self):
        os.mkdir(self.path("dump"))
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        os.chmod(self.path("dump"), 0o777)
        self.start(tool("smtp-sink"), *user, "-c", "-R", self.folder, "-d", "dump/%M.",
                   f"127.0.0.1:{self.port}", "1000", stderr=subprocess.DEVNULL)
        bodies = self.send_to_it()
        files = eventually(lambda: len(found := glob.glob(self.path("dump/*"))) == COUNT and found)
        self.assert_stored(files, bodies, added=b"\r\n")

    def test_aiosmtpd(self):
        try:
            from aiosmtpd.controller import Controller
        except ImportError:
            self.fail("aiosmtpd is not installed (package python3-aiosmtpd; ./run test installs it)")
        envelopes = []

        class Handler:
            async def handle_DATA(self, server, session, envelope):
                envelopes.append(envelope)
                return "250 taken"

        controller = Controller(Handler(), hostname="127.0.0.1", port=self.port, enable_SMTPUTF8=True)
        controller.start()
        self.addCleanup(controller.stop)
        bodies = self.send_to_it()
        self.assertEqual(len(envelopes), COUNT)
        for envelope in envelopes:
            (recipient,) = envelope.rcpt_tos
            self.assertEqual(sha256(without_received(envelope.original_content)),
                             sha256(bodies[recipient]))

    def test_postfix(self):
        """A whole Postfix of its own, delivering into files."""
        postfix = tool("postfix")
        if os.getuid() != 0:
            self.skipTest("Postfix needs root")
        self.make_postfix()
        subprocess.run([postfix, "-c", self.path("etc"), "start"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(subprocess.run, [postfix, "-c", self.path("etc"), "stop"],
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: greets(self.port), "Postfix greets")
        bodies = self.send_to_it()
        files = eventually(lambda: len(found := glob.glob(self.path("mail/box/new/*"))) == COUNT
                           and found, "Postfix has delivered all")
        self.assert_stored(files, bodies)

    def make_postfix(self):
        for name in ("etc", "queue", "data", "mail"):
            os.mkdir(self.path(name))
        owner = pwd.getpwnam("postfix").pw_uid
        os.chown(self.path("data"), owner, -1)
        nobody = pwd.getpwnam("nobody").pw_uid, grp.getgrnam("nogroup").gr_gid
        os.chown(self.path("mail"), *nobody)
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": self.path("queue"),
            "data_directory": self.path("data"),
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "myhostname": "postfix.test",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "maillog_file": self.path("log"),
            "maillog_file_prefixes": self.folder,
            "virtual_mailbox_domains": "a.test",
            "virtual_mailbox_base": self.path("mail"),
            "virtual_mailbox_maps": "static:box/",
            "virtual_uid_maps": f"static:{nobody[0]}",
            "virtual_gid_maps": f"static:{nobody[1]}",
            "smtputf8_enable": "yes",
            "alias_maps": "",
            "alias_database": "",
        }
        services = f"""
127.0.0.1:{self.port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""
        with open(self.path("etc/main.cf"), "w") as file:
            file.writelines(f"{key} = {value}\n" for key, value in settings.items())
        with open(self.path("etc/master.cf"), "w") as file:
            file.write(services)

    def test_exim(self):
        """Unpacked by tests/wire/fetch_peers; it insists on a user that only its package makes, so
        it gets a user list of its own (a mount that nobody else sees)."""
        folder = os.environ.get("RINGPOST_PEERS", os.path.join(ROOT, "build", "peers"))
        exim = shutil.which("exim4") or os.path.join(folder, "exim", "usr", "sbin", "exim4")
        if not os.access(exim, os.X_OK):
            self.fail("Exim is not there: tests/wire/fetch_peers build/peers gets it, as ./run test does")
        if os.getuid() != 0 or subprocess.run(["unshare", "-m", "true"],
                                              stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("Exim needs root and a mount namespace")
        self.make_exim(exim)
        script = 'mount --bind passwd /etc/passwd && mount --bind group /etc/group && exec "$@"'
        self.start("unshare", "-m", "sh", "-c", script, "sh", exim, "-C", self.path("conf"), "-bdf",
                   "-oX", f"127.0.0.1.{self.port}", cwd=self.folder, stderr=subprocess.DEVNULL)
        bodies = self.send_to_it()
        files = eventually(lambda: len(found := glob.glob(self.path("mail/new/*"))) == COUNT
                           and found, "Exim has delivered all")
        self.assert_stored(files, bodies)

    def make_exim(self, exim):
        for name, entry in (("passwd", "Debian-exim:x:65000:65000::/:/bin/false\n"),
                            ("group", "Debian-exim:x:65000:\n")):
            with open(f"/etc/{name}") as original, open(self.path(name), "w") as copy:
                copy.write(original.read() + entry)
        for name in ("mail", "spool"):
            os.mkdir(self.path(name))
            os.chown(self.path(name), 65000, 65000)
        with open(self.path("conf"), "w") as file:
            file.write(f"""exim_path = {exim}
keep_environment =
spool_directory = {self.path("spool")}
log_file_path = {self.path("spool")}/%slog
pid_file_path = {self.path("spool")}/pid
primary_hostname = exim.test
tls_advertise_hosts =
acl_smtp_rcpt = accept
acl_smtp_data = accept
dsn_advertise_hosts = *
queue_run_in_order = false
smtp_accept_max = 200
smtp_accept_queue_per_connection = 0
begin acl
accept:
  accept
begin routers
all:
  driver = accept
  transport = files
begin transports
files:
  driver = appendfile
  user = Debian-exim
  directory = {self.path("mail")}
  maildir_format
  create_directory
begin retry
* * F,1h,1m
""")


if __name__ == "__main__":
    unittest.main(verbosity=2)
