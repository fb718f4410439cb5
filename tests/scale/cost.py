"""cost: what one relayed message costs, in CPU time of all of the daemon's threads.

    ./run cost                    Ringpost alone
    ./run cost --peer postfix     the same mail through a tuned Postfix as well, and the ratio (as root)

smtp-source (or, with --pipelining, this program) injects and smtp-sink receives; neither is counted.
The time is what the kernel charged to the process and its children, those that ended meanwhile
included (io-wq's threads are the process's own), from before the first message until the queue is
empty; a warm-up is not counted. Both keep their queue in --folder: choose a disk with a journaled
file system, or neither pays for its syncs what it would elsewhere.

Postfix is tuned for this one job: no chroot, no DNS, no rate limits, as much concurrency as
Ringpost, connections kept and reused, processes that live long. It is as durable as by default (a
queue file is fsynced before the 250) and logs as by default, to a file as Ringpost does its journal
(--quiet-peer: not at all)."""

import argparse
import os
import pwd
import re
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "wire"))
import harness  # noqa: E402

CONNECTIONS_OUT = 20
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def stat_of(pid):
    """The fields behind the name, from "state" on."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()


def children_of(pid):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if int(stat_of(name)[1]) == pid:
                    found.append(int(name))
            except (OSError, IndexError):
                pass
    return found


def cpu_s(pid):
    """User and system time of a process, of its children, and of those that have ended."""
    ticks = 0
    for each in (pid, *children_of(pid)):
        try:
            ticks += sum(int(field) for field in stat_of(each)[11:15])
        except OSError:
            pass
    return ticks * TICK_S


class Sink:
    """smtp-sink, with its running counters."""

    def __init__(self, folder):
        self.port = harness.free_port()
        self.path = os.path.join(folder, "sink")
        self.output = open(self.path, "wb")
        self.process = subprocess.Popen(
            [tool("smtp-sink"), "-c", "-u", "nobody", f"127.0.0.1:{self.port}", "1000"],
            stdout=self.output, stderr=self.output)

    def messages(self):
        with open(self.path, "rb") as file:
            file.seek(max(0, os.path.getsize(self.path) - 200))
            found = re.findall(rb"mesg=(\d+)", file.read())
        return int(found[-1]) if found else 0

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.output.close()


def tool(name):
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/libexec/postfix")
    if not path:
        raise SystemExit(f"{name} is missing: ./run test installs what is needed")
    return path


class Ringpost:
    name = "ringpost"

    def __init__(self, folder, sink, options):
        self.daemon = harness.Ringpost(
            workers=options.workers, routes={"*": [f"127.0.0.1:{sink.port}"]},
            delivery={"connection_limit": CONNECTIONS_OUT})
        self.daemon.start()
        self.port = self.daemon.port

    def cpu_s(self):
        return cpu_s(self.daemon.process.pid)

    def empty(self):
        return self.daemon.metric("ringpost_queue_rows") == 0

    def close(self):
        self.daemon.stop()
        shutil.rmtree(self.daemon.folder, ignore_errors=True)


POSTFIX_MAIN = """\
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
smtpd_peername_lookup = no
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_relay_restrictions =
smtpd_client_connection_count_limit = 0
smtpd_tls_security_level = none
smtp_tls_security_level = none
smtp_connection_cache_destinations = 127.0.0.1
smtp_connection_reuse_time_limit = 3600s
default_destination_concurrency_limit = {connections}
initial_destination_concurrency = {connections}
default_destination_recipient_limit = 50
default_process_limit = 200
qmgr_message_active_limit = 40000
qmgr_message_recipient_limit = 40000
in_flow_delay = 0
max_use = 100000
max_idle = 600s
anvil_status_update_time = 86400s
local_header_rewrite_clients =
enable_long_queue_ids = no
maillog_file_prefixes = {folder}
maillog_file = {log}
"""

POSTFIX_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd -o smtpd_client_event_limit_exceptions=127.0.0.0/8
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

    name = "postfix"

    def __init__(self, folder, sink, options):
        self.folder = os.path.join(folder, "postfix")
        self.config = os.path.join(self.folder, "config")
        self.port = harness.free_port()
        os.makedirs(self.config)
        for name in ("queue", "data"):
            os.mkdir(os.path.join(self.folder, name))
        shutil.chown(os.path.join(self.folder, "data"), pwd.getpwnam("postfix").pw_uid)
        log = "" if options.quiet_peer else os.path.join(self.folder, "log")
        self.write("main.cf", POSTFIX_MAIN.format(folder=self.folder, sink=sink.port, log=log,
                                                  connections=CONNECTIONS_OUT))
        self.write("master.cf", POSTFIX_MASTER.format(port=self.port))
        self.command("start")
        with open(os.path.join(self.folder, "queue", "pid", "master.pid")) as file:
            self.pid = int(file.read())

    def write(self, name, text):
        with open(os.path.join(self.config, name), "w") as file:
            file.write(text)

    def command(self, verb):
        subprocess.run([tool("postfix"), "-c", self.config, verb], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def cpu_s(self):
        return cpu_s(self.pid)

    def empty(self):
        queue = os.path.join(self.folder, "queue")
        return not any(names for each in ("maildrop", "incoming", "active", "deferred")
                       for _, _, names in os.walk(os.path.join(queue, each)))

    def close(self):
        self.command("stop")


class Injection:
    """One connection that pipelines: a message's text and the next one's envelope in one write."""

    def __init__(self, port, count, text):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.waiting, self.text = count, text
        self.awaited = [b"220", b"250"]  # the codes of the replies to come
        self.lines = b""
        self.socket.sendall(b"EHLO source.test\r\n")

    ENVELOPE = b"MAIL FROM:<sender@source.test>\r\nRCPT TO:<person@destination.test>\r\nDATA\r\n"

    def envelope(self):
        self.waiting -= 1
        self.awaited += [b"250", b"250", b"354"]
        return self.ENVELOPE

    def read(self):
        """True: all is sent and acknowledged."""
        received = self.socket.recv(65536)
        if not received:
            raise SystemExit("the server has closed the connection")
        *lines, self.lines = (self.lines + received).split(b"\r\n")
        for line in lines:
            if line[3:4] == b"-":
                continue
            if not self.awaited or line[:3] != self.awaited.pop(0):
                raise SystemExit(f"unexpected reply: {line.decode()}")
            if line[:3] == b"354":
                self.awaited.append(b"250")
                more = self.envelope() if self.waiting else b""
                self.socket.sendall(self.text + more)
            elif not self.awaited and self.waiting:
                self.socket.sendall(self.envelope())
        return not self.awaited


def inject_pipelined(port, count, options):
    line = b"X" * 70 + b"\r\n"
    text = b"Subject: cost\r\n\r\n" + line * max(options.bytes // len(line), 1) + b".\r\n"
    shares = [count // options.sessions + (i < count % options.sessions)
              for i in range(options.sessions)]
    selector = selectors.DefaultSelector()
    for injection in [Injection(port, share, text) for share in shares if share]:
        selector.register(injection.socket, selectors.EVENT_READ, injection)
    while selector.get_map():
        for key, _ in selector.select():
            if key.data.read():
                selector.unregister(key.fileobj)
                key.fileobj.close()


def inject(port, count, options):
    if options.pipelining:
        inject_pipelined(port, count, options)
        return
    command = [tool("smtp-source"), "-s", str(options.sessions), "-m", str(count),
               "-l", str(options.bytes), "-f", "sender@source.test", "-t", "person@destination.test"]
    if not options.reconnect:
        command.append("-d")
    subprocess.run([*command, f"127.0.0.1:{port}"], check=True)


def relay(server, sink, count, options):
    """Injects `count` messages and waits until all have arrived; (CPU s, wall s, of it injecting)."""
    arrived_before = sink.messages()
    started_s, cpu_before_s = time.monotonic(), server.cpu_s()
    inject(server.port, count, options)
    injected_s = time.monotonic() - started_s
    harness.eventually(lambda: sink.messages() >= arrived_before + count and server.empty(),
                       "everything has arrived", patience_s=600)
    return server.cpu_s() - cpu_before_s, time.monotonic() - started_s, injected_s


def measure(kind, options):
    folder = tempfile.mkdtemp(prefix="ringpost-cost-")
    os.chmod(folder, 0o755)  # Postfix's processes have a user of their own
    sink = Sink(folder)
    try:
        server = kind(folder, sink, options)
        try:
            relay(server, sink, max(options.messages // 20, 200), options)  # what a start costs
            cpu, wall, injected = relay(server, sink, options.messages, options)
        finally:
            server.close()
    finally:
        sink.close()
        shutil.rmtree(folder, ignore_errors=True)
    cost_us = cpu * 1e6 / options.messages
    print(f"{kind.name:10} {cost_us:8.1f} us CPU a message   {options.messages / injected:8.0f}/s in"
          f"   {options.messages / wall:8.0f}/s through", flush=True)
    return cost_us


def main():
    parser = argparse.ArgumentParser(prog="./run cost", description="CPU per relayed message")
    parser.add_argument("--messages", type=int, default=20000)
    parser.add_argument("--bytes", type=int, default=10240)
    parser.add_argument("--sessions", type=int, default=20, help="injecting connections")
    parser.add_argument("--reconnect", action="store_true", help="a connection in for each message")
    parser.add_argument("--pipelining", action="store_true",
                        help="inject with pipelining, which smtp-source does not do")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", help="where the queues are kept (default: the temporary folder)")
    parser.add_argument("--peer", choices=["postfix"], help="measure this one as well")
    parser.add_argument("--quiet-peer", action="store_true", help="without its log")
    options = parser.parse_args()
    if options.folder:
        tempfile.tempdir = os.path.abspath(options.folder)
    if options.peer and os.getuid() != 0:
        raise SystemExit("Postfix starts as root only")
    ours = min(measure(Ringpost, options) for _ in range(options.rounds))
    if options.peer:
        theirs = min(measure(Postfix, options) for _ in range(options.rounds))
        print(f"Ringpost uses 1/{theirs / ours:.1f} of Postfix's CPU")


if __name__ == "__main__":
    main()
