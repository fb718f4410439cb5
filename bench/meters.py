"""meters: what a running server has cost so far, whatever it is made of.

CPU time is what the kernel charged to all of a server's processes, those that have ended included:
from a control group of their own where one can be made (it catches processes that nobody waits for),
else from /proc. io_uring's helper threads belong to their process and are counted either way."""

import contextlib
import os

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def stat_of(pid):
    """The fields of /proc/PID/stat behind the name, from "state" on."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()


def processes_below(pid):
    """`pid` and all that descends from it."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parents[int(name)] = int(stat_of(name)[1])
    found = {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


class Group:
    """A control group; `cpu_s` is None where the kernel keeps no such account."""

    number = 0

    def __init__(self):
        Group.number += 1
        name = f"ringpost-bench-{os.getpid()}-{Group.number}"
        self.path = self.account = None
        for root, account, unit in self.mounts():
            path = os.path.join(root, name)
            with contextlib.suppress(OSError):
                os.mkdir(path)
                if os.path.exists(os.path.join(path, account)):
                    self.path, self.account, self.unit_s = path, account, unit
                    return
                os.rmdir(path)

    @staticmethod
    def mounts():
        """(folder, file of the account, its unit in seconds)"""
        with open("/proc/mounts") as file:
            for line in file:
                _, path, kind, options, *_ = line.split()
                if kind == "cgroup" and "cpuacct" in options.split(","):
                    yield path, "cpuacct.usage", 1e-9
                elif kind == "cgroup2":
                    yield path, "cpu.stat", 1e-6

    def enter(self, pid=0):
        if self.path:
            with open(os.path.join(self.path, "cgroup.procs"), "w") as file:
                file.write(str(pid or os.getpid()))

    def processes(self):
        with open(os.path.join(self.path, "cgroup.procs")) as file:
            return {int(line) for line in file}

    def cpu_s(self):
        with open(os.path.join(self.path, self.account)) as file:
            text = file.read()
        if self.account == "cpu.stat":
            text = next(line.split()[1] for line in text.splitlines()
                        if line.startswith("usage_usec"))
        return int(text) * self.unit_s

    def close(self):
        if self.path:
            with contextlib.suppress(OSError):
                os.rmdir(self.path)


class Meter:
    """Of a server whose first process is `pid`."""

    def __init__(self, group, pid):
        self.group, self.pid = group, pid

    def processes(self):
        return self.group.processes() if self.group.path else processes_below(self.pid)

    def cpu_s(self):
        if self.group.path:
            return self.group.cpu_s()
        ticks = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                ticks += sum(int(field) for field in stat_of(pid)[11:15])
        return ticks * TICK_S

    def written_bytes(self):
        """Bytes that its processes caused to be written, those of waited-for children included."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/io") as file:
                    for line in file:
                        if line.startswith("write_bytes"):
                            total += int(line.split()[1])
        return total

    def memory_bytes(self):
        """Resident memory, what processes share counted once."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/smaps_rollup") as file:
                    for line in file:
                        if line.startswith("Pss:"):
                            total += int(line.split()[1]) * 1024
        return total


class Device:
    """The block device under a folder; what it has written and flushed, by anybody."""

    def __init__(self, folder):
        number = os.stat(folder).st_dev
        self.key = (os.major(number), os.minor(number))

    def fields(self):
        with open("/proc/diskstats") as file:
            for line in file:
                fields = line.split()
                if (int(fields[0]), int(fields[1])) == self.key:
                    return [int(field) for field in fields[3:]]
        return []

    def name(self):
        with open("/proc/diskstats") as file:
            for line in file:
                fields = line.split()
                if (int(fields[0]), int(fields[1])) == self.key:
                    return fields[2]
        return None

    def flushes(self):
        fields = self.fields()
        return fields[15] if len(fields) > 15 else None

    def written_bytes(self):
        fields = self.fields()
        return fields[6] * 512 if len(fields) > 6 else None
