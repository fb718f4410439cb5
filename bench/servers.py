"""servers: what is measured, each started, asked and ended in the same way; and the sink.

Every server has `port`, `meter` (meters.Meter), `counters()` (its own syncs and bytes, where it can
tell), `empty()` and `close()`. All are configured to relay everything to one sink on loopback."""

import contextlib
import json
import mmap
import os
import pwd
import shutil
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "wire"))
import harness  # noqa: E402
import meters  # noqa: E402

CONNECTIONS_OUT = 20


def tool(name):
    """A program of bench/."""
    return os.path.join(os.path.dirname(harness.program("ringpostd")), "bench", name)


def system_program(name):
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin:/usr/libexec/postfix")
    if not path:
        raise SystemExit(f"{name} is missing: ./run test installs what is needed")
    return path


def listens(port):
    with harness.socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Tool:
    """A program of bench/ that runs until SIGTERM and then prints one JSON object."""

    def __init__(self, name, *options, group=None):
        self.port = harness.free_port()
        self.process = subprocess.Popen(
            [tool(name), "--listen", f"127.0.0.1:{self.port}", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            preexec_fn=group.enter if group else None)
        harness.eventually(lambda: self.process.poll() is not None or listens(self.port), name)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate()
        return json.loads(output) if self.process.returncode == 0 else {}


class Sink(Tool):
    """With its counts, as they stand (struct tally in tally.h)."""

    LAYOUT = struct.Struct("=17Q")
    FIELDS = ("messages", "recipients", "bytes", "connections", "duplicates", "strangers",
              "hash_right", "hash_wrong", "hash_missing", "deferred", "refused", "closed",
              "by_chunks", "secured", "first_ns", "last_ns", "numbers")

    def __init__(self, folder, *options, numbers=0):
        path = os.path.join(folder, "tally")
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
        super().__init__("sink", "--tally", path, "--numbers", str(numbers), *options)
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)

    def counts(self):
        return dict(zip(self.FIELDS, self.LAYOUT.unpack_from(self.memory)))

    def count(self, name):
        return struct.unpack_from("=Q", self.memory, 8 * self.FIELDS.index(name))[0]

    def distinct(self):
        """Recipients that are ours, each once; needs `numbers`."""
        counts = self.counts()
        return counts["recipients"] - counts["duplicates"] - counts["strangers"]

    def ask_first(self):
        """The next message sets first_ns anew."""
        struct.pack_into("=Q", self.memory, 8 * self.FIELDS.index("first_ns"), 0)

    def missing(self):
        return self.memory[self.LAYOUT.size:].count(0)


def load(port, *options):
    """Runs load to its end; its result."""
    result = subprocess.run([tool("load"), "--to", f"127.0.0.1:{port}", *map(str, options)],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    if not result.stdout:
        raise SystemExit("load has failed")
    return json.loads(result.stdout)


def make_certificate(folder):
    """(certificate, key) of bench.test."""
    paths = os.path.join(folder, "certificate.pem"), os.path.join(folder, "key.pem")
    if not os.path.exists(paths[0]):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
                        "/CN=bench.test", "-out", paths[0], "-keyout", paths[1]],
                       check=True, capture_output=True)
    return paths


class Ringpost:
    def __init__(self, folder, sink, case, group):
        # Its folder is made below tempfile.tempdir, which is `folder`.
        self.port, tables = None, []
        if case.get("tls_in"):
            self.port = harness.free_port()
            certificate, key = make_certificate(folder)
            tables += ["[[listener]]", f'address = "127.0.0.1:{self.port}"', 'service = "smtp"',
                       'relay_from = ["127.0.0.0/8"]', 'tls = "starttls"',
                       f'certificate = "{certificate}"', f'key = "{key}"']
        if case.get("dkim"):
            key = os.path.join(folder, "dkim.pem")
            subprocess.run([harness.program("ringpost"), "dkim", "new", key, *case["dkim"]],
                           check=True, capture_output=True)
            tables += ["[[dkim]]", 'domain = "source.test"', 'selector = "s1"', f'key = "{key}"']
        self.daemon = harness.Ringpost(
            workers=case.get("workers", 2), routes={"*": [f"127.0.0.1:{sink.port}"]},
            delivery={"connection_limit": case.get("connections_out", CONNECTIONS_OUT),
                      "max_deliveries_per_connection": 100_000,
                      "enable_tls": "OpportunisticInsecure"},
            limits={"connections": 50_000, "connections_per_address": 50_000,
                    "messages_per_connection": 1_000_000},
            # Load that is faster than sink, for a moment, is to wait in memory, not to be told 452.
            queue={"inbound_memory": "1GB"}, tables="\n".join(tables))
        self.prepare(case)
        self.daemon.start()
        group.enter(self.daemon.process.pid)
        self.port = self.port or self.daemon.port
        self.meter = meters.Meter(group, self.daemon.process.pid)
        # What the start itself has used was charged elsewhere, or is in `before`.

    def prepare(self, case):
        """Before the start: rows that wait, say."""
        if not case.get("rows"):
            return
        subprocess.run([tool("fill_rows"), self.daemon.data_dir, str(case["rows"]),
                        str(case.get("queues", 1)), str(case.get("row_bytes", 1000)),
                        str(24 * 3600)], check=True)

    def counters(self):
        metrics = self.daemon.metrics()
        return {"syncs": metrics["ringpost_commit_syncs_total"]
                + metrics["ringpost_journal_syncs_total"],
                "commit_bytes": metrics["ringpost_commit_bytes_total"]}

    def rows(self):
        return self.daemon.metric("ringpost_queue_rows")

    def close(self):
        self.daemon.stop()
        shutil.rmtree(self.daemon.folder, ignore_errors=True)


class Floor:
    durability = "none"

    def __init__(self, folder, sink, case, group):
        self.folder = os.path.join(folder, "floor")
        os.mkdir(self.folder)
        self.tool = Tool("floor", "--sink", f"127.0.0.1:{sink.port}", "--folder", self.folder,
                         "--durability", self.durability, "--size", str(case["size"]),
                         "--recipients", str(case["recipients"]), "--workers",
                         str(case.get("workers", 2)), "--connections-out", str(CONNECTIONS_OUT),
                         group=group)
        self.port = self.tool.port
        self.meter = meters.Meter(group, self.tool.process.pid)

    def counters(self):
        return {}

    def rows(self):
        return 0

    def close(self):
        result = self.tool.end()
        shutil.rmtree(self.folder, ignore_errors=True)
        return {"syncs_per_message": result["syncs"] / max(result["relayed"], 1)}


class FloorRecord(Floor):
    durability = "record"


class FloorSegment(Floor):
    durability = "segment"


# ---- Postfix ----

# As Debian ships it, but for what a relay on loopback without DNS needs.
POSTFIX_SHIPPED = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.postfix.test
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{sink}
disable_dns_lookups = yes
smtpd_tls_security_level = none
smtp_tls_security_level = none
maillog_file_prefixes = {folder}
maillog_file = {folder}/log
"""

# As somebody who sends in bulk would: no look-ups, no limits that protect small sites, connections
# kept, as much at once as Ringpost is given, processes that live long. Durable as before: a queue
# file is synced before its 250. It logs as before.
POSTFIX_TUNED = POSTFIX_SHIPPED + """\
smtpd_peername_lookup = no
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_relay_restrictions =
smtpd_client_connection_count_limit = 0
smtp_connection_cache_destinations = 127.0.0.1
smtp_connection_reuse_time_limit = 3600s
default_destination_concurrency_limit = {connections}
initial_destination_concurrency = {connections}
default_process_limit = 200
qmgr_message_active_limit = 40000
qmgr_message_recipient_limit = 40000
in_flow_delay = 0
max_use = 100000
max_idle = 600s
anvil_status_update_time = 86400s
local_header_rewrite_clients =
"""

POSTFIX_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """An instance of its own; nothing of an installed one is touched."""

    main = POSTFIX_SHIPPED

    def __init__(self, folder, sink, case, group):
        self.folder = os.path.join(folder, "postfix")
        self.port = harness.free_port()
        for name in ("", "config", "queue", "data"):
            os.mkdir(os.path.join(self.folder, name))
        shutil.chown(os.path.join(self.folder, "data"), pwd.getpwnam("postfix").pw_uid)
        self.write("main.cf", self.main.format(folder=self.folder, sink=sink.port,
                                               connections=CONNECTIONS_OUT))
        self.write("master.cf", POSTFIX_MASTER.format(port=self.port))
        self.command("start", group)
        with open(os.path.join(self.folder, "queue", "pid", "master.pid")) as file:
            self.meter = meters.Meter(group, int(file.read()))
        harness.eventually(lambda: listens(self.port), "Postfix listens")

    def write(self, name, text):
        with open(os.path.join(self.folder, "config", name), "w") as file:
            file.write(text)

    def command(self, verb, group=None):
        subprocess.run([system_program("postfix"), "-c", os.path.join(self.folder, "config"), verb],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       preexec_fn=group.enter if group else None)

    def counters(self):
        return {}

    def rows(self):
        queue = os.path.join(self.folder, "queue")
        return sum(len(names) for each in ("maildrop", "incoming", "active", "deferred")
                   for _, _, names in os.walk(os.path.join(queue, each)))

    def close(self):
        self.command("stop")
        shutil.rmtree(self.folder, ignore_errors=True)


class PostfixTuned(Postfix):
    main = POSTFIX_TUNED


# ---- Exim ----

EXIM_SHIPPED = """\
exim_path = {exim}
keep_environment =
spool_directory = {folder}/spool
log_file_path = {folder}/spool/%slog
pid_file_path = {folder}/spool/pid
primary_hostname = mail.exim.test
tls_advertise_hosts =
acl_smtp_rcpt = accept
acl_smtp_data = accept
pipelining_advertise_hosts = *
{more}
begin acl
accept:
  accept
begin routers
all:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = remote
begin transports
remote:
  driver = smtp
  port = {sink}
  allow_localhost
  hosts_try_chunking =
  {transport}
begin retry
* * F,1h,1m
"""


class Exim:
    """Unpacked by tests/wire/fetch_peers: Debian does not let it be installed beside Postfix. It
    insists on a user that only its package makes, so it gets a list of users of its own."""

    # Its defaults let 20 connections in and deliver at once for the first ten messages of each; the
    # others would wait for a queue runner, so there is one.
    more, transport, runner = "smtp_accept_max = 200", "", ["-q5s"]

    def __init__(self, folder, sink, case, group):
        exim = os.path.join(harness.ROOT, "build", "peers", "exim", "usr", "sbin", "exim4")
        if not os.access(exim, os.X_OK):
            subprocess.run([os.path.join(harness.ROOT, "tests", "wire", "fetch_peers"),
                            os.path.join(harness.ROOT, "build", "peers")], check=True)
        self.folder = os.path.join(folder, "exim")
        self.port = harness.free_port()
        os.mkdir(self.folder)
        os.mkdir(os.path.join(self.folder, "spool"))
        os.chown(os.path.join(self.folder, "spool"), 65000, 65000)
        for name, entry in (("passwd", "Debian-exim:x:65000:65000::/:/bin/false\n"),
                            ("group", "Debian-exim:x:65000:\n")):
            with open(f"/etc/{name}") as original, \
                    open(os.path.join(self.folder, name), "w") as copy:
                copy.write(original.read() + entry)
        with open(os.path.join(self.folder, "conf"), "w") as file:
            file.write(EXIM_SHIPPED.format(exim=exim, folder=self.folder, sink=sink.port,
                                           more=self.more, transport=self.transport))
        script = 'mount --bind passwd /etc/passwd && mount --bind group /etc/group && exec "$@"'
        self.process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script, "sh", exim, "-C",
             os.path.join(self.folder, "conf"), "-bdf", *self.runner, "-oX",
             f"127.0.0.1.{self.port}"], cwd=self.folder, stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, preexec_fn=group.enter)
        self.group = group
        self.meter = meters.Meter(group, self.process.pid)
        harness.eventually(lambda: self.process.poll() is not None or listens(self.port),
                           "Exim listens")

    def counters(self):
        return {}

    def rows(self):
        return sum(name.endswith("-H") for _, _, names in
                   os.walk(os.path.join(self.folder, "spool", "input")) for name in names)

    def close(self):
        self.process.terminate()
        self.process.wait()
        for pid in self.meter.processes() - {self.process.pid}:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.2)
        shutil.rmtree(self.folder, ignore_errors=True)


class EximTuned(Exim):
    """As somebody who sends in bulk would: everything through the queue, so that a runner sends many
    messages over one connection; many runners; the queue in many folders; few look-ups."""

    runner = ["-q1s"]
    more = """\
smtp_accept_max = 200
smtp_accept_max_per_connection = 0
queue_only = true
split_spool_directory = true
queue_run_max = 20
host_lookup =
rfc1413_query_timeout = 0s
smtp_enforce_sync = false
deliver_queue_load_max = 1000
smtp_reserve_hosts = *
"""
    transport = "connection_max_messages = 500"


SYSTEMS = {
    "ringpost": Ringpost,
    "floor none": Floor,
    "floor record": FloorRecord,
    "floor segment": FloorSegment,
    "postfix": Postfix,
    "postfix tuned": PostfixTuned,
    "exim": Exim,
    "exim tuned": EximTuned,
}
