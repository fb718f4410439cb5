"""machine: where a run takes place, and what has to be known about it to read its numbers."""

import contextlib
import datetime
import os
import platform
import shutil
import subprocess
import sys
import tempfile

import meters

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(ROOT, "bench", "results")
IMAGE_BYTES = 16 << 30  # sparse


class Place:
    """`folder` is where queues lie; `exclusive`: its device is used by nobody else."""

    def __init__(self, folder, exclusive):
        self.folder, self.exclusive = folder, exclusive
        self.device = meters.Device(folder)

    def has_journal(self):
        """ext4 without a journal exists; jbd2 lists those that have one. Others: None."""
        name = self.device.name()
        if not name or not os.path.isdir(f"/proc/fs/ext4/{name}"):
            return None
        return any(each.startswith(f"{name}-") for each in
                   (os.listdir("/proc/fs/jbd2") if os.path.isdir("/proc/fs/jbd2") else []))


@contextlib.contextmanager
def place(folder, wants_journal):
    """A temporary folder in `folder`. If a journal is wanted and the file system has none, an image
    with ext4 is mounted there, for all that is measured in this run: then none of them has an
    advantage by it."""
    parent = folder or os.path.join(ROOT, "build")
    os.makedirs(parent, exist_ok=True)
    path = tempfile.mkdtemp(prefix="bench-", dir=parent)
    os.chmod(path, 0o755)
    try:
        plain = Place(path, False)
        if wants_journal and plain.has_journal() is False:
            with image(path) as mounted:
                yield mounted
        else:
            yield plain
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def image(path):
    file, mount = os.path.join(path, "image"), os.path.join(path, "mount")
    os.mkdir(mount)
    with open(file, "wb") as sparse:
        sparse.truncate(IMAGE_BYTES)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", file],
                       check=True)
        subprocess.run(["mount", "-o", "loop", file, mount], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"no image with a journal, the file system as it is: {error}\n")
        yield Place(path, False)
        return
    try:
        yield Place(mount, True)
    finally:
        subprocess.run(["umount", mount], check=False)


def command(*words):
    try:
        return subprocess.run(words, capture_output=True, text=True, cwd=ROOT).stdout.strip()
    except OSError:
        return ""


def processor():
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def describe(options, where):
    """The first line of a file of results."""
    return {
        "commit": command("git", "describe", "--always", "--dirty", "--abbrev=10"),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor(), "processors": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "kernel": platform.release(), "load_average": round(os.getloadavg()[0], 1),
        "journal": where.has_journal(), "image": where.exclusive,
        "rounds": options.rounds, "quick": options.quick, "only": options.only,
    }


def default_output():
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d-%H%M%S")
    commit = command("git", "rev-parse", "--short=10", "HEAD") or "unknown"
    return os.path.join(RESULTS, f"{now}-{commit}.jsonl")


def newest_output():
    files = sorted(name for name in os.listdir(RESULTS) if name.endswith(".jsonl")
                   and name[0].isdigit()) if os.path.isdir(RESULTS) else []
    if not files:
        raise SystemExit("no results yet")
    return os.path.join(RESULTS, files[-1])
