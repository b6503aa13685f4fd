"""Child processes and what they use: started pinned, stopped for certain, measured with their descendants."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A reason to end the run, in words for the user."""


class Children:
    """Everything this run has started. Leaving the `with` block stops it, whatever the reason."""

    def __init__(self, logs: Path):
        self.logs = logs
        self.running: list[subprocess.Popen] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second ctrl-C must not leave anything behind
        for child in list(self.running):
            self.stop(child)

    def start(self, name, argv, core=None, env=None, **options):
        """Starts a program in a session of its own, so that its own children can be stopped with it."""
        if "stdout" not in options:
            options |= {"stdout": (self.logs / f"{name}.log").open("wb"), "stderr": subprocess.STDOUT}
        pin = None if core is None else lambda: os.sched_setaffinity(0, {core})
        try:
            child = subprocess.Popen(
                argv, env=env, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=pin, **options)
        except OSError as error:
            raise BenchError(f"{name} does not start: {error}") from error
        self.running.append(child)
        return child

    def run(self, name, argv, **options):
        """Runs a program to its end; returns its standard output."""
        child = self.start(name, argv, stdout=subprocess.PIPE, **options)
        out, _ = child.communicate()
        self.running.remove(child)
        if child.returncode:
            raise BenchError(f"{name} failed with {child.returncode}: {' '.join(map(str, argv))}")
        return out.decode()

    def stop(self, child):
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(child.pid, number)
                child.wait(5)
                break
            except ProcessLookupError:
                child.wait()
                break
            except subprocess.TimeoutExpired:
                continue
        if child in self.running:
            self.running.remove(child)

    def log(self, name):
        path = self.logs / f"{name}.log"
        return path.read_text(errors="replace")[-1500:].strip() if path.exists() else ""


def check_free(port):
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise BenchError(f"port {port} is in use")


def family(pid):
    """The process and all its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path(f"/proc/{entry}/stat").read_text()
        except OSError:
            continue  # it has ended meanwhile
        parent = int(stat[stat.rindex(")") + 2:].split()[1])
        children.setdefault(parent, []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cpu_seconds(pid):
    """Processor time of a family in nanosecond resolution: the kernel's CPU clock of each process, where /proc
    counts in 10 ms. The clock's id is the one of clock_getcpuclockid(3)."""
    total = 0.0
    for member in family(pid):
        try:
            total += time.clock_gettime((~member << 3) | 2)
        except OSError:
            continue
    return total


def rss_mib(pid):
    total = 0
    for member in family(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Rss:"))
    return total / 1024


def machine_busy_seconds():
    """Processor time that anyone used, time stolen by the hypervisor included."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS
