"""parts: where the CPU time of one relayed message goes, by perf's samples of the whole daemon.

Each sample belongs to one part: by what the kernel does (send, receive, files), else by the thread,
else by the innermost of our own functions, whose source file says it. Loopback hands a packet to its
receiver inside the sender's send, so "network out" also pays for the receiver's side of it. Whoever
calls memcpy, malloc or RocksDB is charged with it."""

import bisect
import collections
import os
import re
import shutil
import subprocess

PARTS = ["network in", "parse", "commit", "schedule", "network out", "journal", "loop and waking"]

# The first that matches, from the innermost frame outwards. Kernel functions of a worker: the only
# files that it writes buffered and syncs are the journal's.
KERNEL = [
    (re.compile(r"tcp_sendmsg|sock_sendmsg|io_sendmsg|io_send\b"), "network out"),
    (re.compile(r"tcp_recvmsg|sock_recvmsg|io_recv|inet_recvmsg|tcp_cleanup_rbuf"), "network in"),
    (re.compile(r"accept|io_socket|tcp_connect|io_connect|tcp_close|inet_release"), "network in"),
    (re.compile(r"iomap_dio|ext4_dio"), "commit"),
    (re.compile(r"vfs_fsync|ext4_|jbd2|vfs_write|io_fsync"), "journal"),
]

# By source file, the first that matches.
SOURCES = [
    (re.compile(r"queue/(journal|event)"), "journal"),
    (re.compile(r"queue/(commit|store|accept|record|segment|bod)"), "commit"),
    (re.compile(r"queue/(message|upload)"), "parse"),  # the body's one copy
    (re.compile(r"queue/|smtp/(lane|route|worker|egress)|dns/"), "schedule"),
    (re.compile(r"smtp/(client|delivery|stuffing|reply_parser|capabilities)"), "network out"),
    (re.compile(r"smtp/|core/(address|span|digest|base64)"), "parse"),
    (re.compile(r"core/(conn|listen)"), "network in"),
]


class Symbols:
    """Function addresses of a program, with the file that each is from."""

    def __init__(self, path):
        output = subprocess.run(["nm", "-l", "--defined-only", "-n", path], capture_output=True,
                                text=True, check=True).stdout
        self.addresses, self.files = [], []
        for line in output.splitlines():
            match = re.match(r"([0-9a-f]+) [tT] \S+(?:\t(\S+):\d+)?", line)
            if match:
                self.addresses.append(int(match[1], 16))
                self.files.append(match[2] or "")

    def file_of(self, address):
        at = bisect.bisect_right(self.addresses, address) - 1
        return self.files[at] if at >= 0 else ""


def part_of(thread, frames, symbols, program):
    if thread.startswith(("committer", "rocksdb")):
        return "commit"
    for address, name, dso in frames:
        if dso.startswith("[kernel"):
            found = next((part for pattern, part in KERNEL if pattern.search(name)), None)
        elif os.path.basename(dso) == program:
            file = symbols.file_of(address)
            found = next((part for pattern, part in SOURCES if pattern.search(file)), None)
        else:
            found = None
        if found:
            return found
    return "loop and waking"


def samples(path):
    """(thread, [(address, function, file)]), innermost first."""
    output = subprocess.run(["perf", "script", "-i", path, "-F", "comm,ip,sym,dso"],
                            capture_output=True, text=True, check=True).stdout
    for block in output.split("\n\n"):
        thread, *lines = block.strip("\n").split("\n")
        frames = []
        for line in lines:
            match = re.match(r"\s*([0-9a-f]+) (.*) \((.*)\)$", line)
            if match:
                frames.append((int(match[1], 16), match[2], match[3]))
        if frames:
            yield thread.strip(), frames


def available():
    return bool(shutil.which("perf")) and bool(shutil.which("nm"))


class Recording:
    """perf beside a running process."""

    def __init__(self, pid, path):
        self.path = path
        self.process = subprocess.Popen(
            ["perf", "record", "-q", "-e", "cpu-clock", "-F", "1999", "-g", "-o", path, "-p",
             str(pid)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)

    def shares(self, program):
        """{part: share}, the unknown included."""
        self.process.terminate()
        self.process.wait()
        symbols, counts = Symbols(program), collections.Counter()
        for thread, frames in samples(self.path):
            counts[part_of(thread, frames, symbols, os.path.basename(program))] += 1
        total = sum(counts.values())
        return {part: counts[part] / total for part in PARTS} if total else {}
