"""Targets of Tollgate in turn, two seconds each, until all that they wrote is in their tables: what one costs more than
another, on a machine whose speed changes from minute to minute."""

import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from harness.measure import Meter
from harness.processes import BenchError, cpu_seconds
from harness.targets import Running

SECONDS = 2.0
RATE = 500  # of the calls whose latency is measured
WRITTEN_WITHIN_S = 180
EMPTY_BYTES = 4096  # of a journal with nothing to write


def at_port(target, port):
    url = urlsplit(target["url"])
    return {**target, "url": url._replace(netloc=f"{url.hostname}:{port}").geturl()}


def journal_bytes(running):
    files = [file for file in (running.folder / "journal").rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def tables_ns(pid):
    """Processor time of each thread that writes tables, so far."""
    found = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            if (thread / "comm").read_text().strip() == "tables":
                found[thread.name] = int((thread / "schedstat").read_text().split()[0])
        except OSError:
            continue  # it has ended meanwhile
    return found


def wait_written(running):
    """Gives the processor time of the threads that wrote, those that ended meanwhile as last seen."""
    end, seen = time.monotonic() + WRITTEN_WITHIN_S, tables_ns(running.pid)
    while journal_bytes(running) > EMPTY_BYTES:
        if time.monotonic() > end:
            raise BenchError(f"{running.target['name']}: {journal_bytes(running)} bytes are not in the tables after {WRITTEN_WITHIN_S} s")
        time.sleep(0.2)
        seen |= tables_ns(running.pid)
    return seen


class Turns:
    """All targets run at once, and one at a time is asked, when no other has anything left to write."""

    def __init__(self, stack, children, targets, places, settings):
        self.names = [target["name"] for target in targets]
        self.runs = [stack.enter_context(Running(children, at_port(target, 9310 + at), places)) for at, target in enumerate(targets)]
        self.meters = [Meter(running, places["loadgen"], places["stub"], settings) for running in self.runs]

    def each(self, turns, ask):
        """What `ask` says of each target, turn by turn. Each turn begins with another one, so that nobody always comes after the same."""
        results = [[] for _ in self.runs]
        for turn in range(turns):
            for at in range(len(self.runs)):
                which = (turn + at) % len(self.runs)
                results[which].append(ask(which))
        return results

    def saturation(self, which):
        """With the processor time up to the last row in the tables."""
        running = self.runs[which]
        cpu, tables = cpu_seconds(running.pid), tables_ns(running.pid)
        result = self.meters[which].saturation()
        written = sum(ns - tables.get(thread, 0) for thread, ns in wait_written(running).items())
        return result | {"whole_cpu_s": cpu_seconds(running.pid) - cpu, "tables_cpu_s": written / 1e9}

    def latency(self, which):
        return self.meters[which].latency()

    def errors(self):
        return [error for meter in self.meters for error in meter.errors]


def settings_of(settings, turns):
    return replace(settings, rounds=turns, seconds=SECONDS, warmup_s=0, rate=RATE)


def measure(children, targets, places, settings):
    turns = settings.rounds
    with ExitStack() as stack:
        run = Turns(stack, children, targets, places, settings)
        run.each(1, run.saturation)  # what is made once is made
        saturated = run.each(turns, run.saturation)
        print(f"{turns} turns of saturation: done", file=sys.stderr)
        latencies = run.each(turns, run.latency)
        figures = {name: {"saturation": saturated[at], "latency": latencies[at]} for at, name in enumerate(run.names)}
        return figures, run.errors()


def cpu_us(turn, part="whole_cpu_s"):
    return turn[part] * 1e6 / turn["total"]


def all_cpu_us(of, part):
    """Of all turns together: what the machine's speed does to one it does, in the long run, to all."""
    return sum(turn[part] for turn in of) * 1e6 / sum(turn["total"] for turn in of)


def middle(of, get):
    return median(get(turn) for turn in of)


def ratio(of, first, get):
    """The median of the ratios of each turn: within one the machine is nearly the same for all."""
    return median(get(a) / get(b) for a, b in zip(of, first))


def latency_ms(quantile):
    return lambda turn: turn["latency_us"][quantile] / 1e3


def markdown(figures, turns):
    first = next(iter(figures.values()))["saturation"]
    lines = [
        f"{turns} turns of {SECONDS:.0f} s each, one target at a time: saturated, then {RATE} requests/s; medians.", "",
        "| target | requests/s | ÷ first | CPU µs / request, tables written | ÷ first | of all turns | of it tables | p50 / p99 ms | other |",
        "|---|" + "---:|" * 8,
    ]
    for name, of in figures.items():
        turn, late = of["saturation"], of["latency"]
        rate, other = (lambda turn: turn["per_s"]), max(each["other"] for each in turn + late)
        lines.append(
            f"| {name} | {middle(turn, rate):,.0f} | {ratio(turn, first, rate):.3f} | {middle(turn, cpu_us):.1f} | {ratio(turn, first, cpu_us):.3f} "
            f"| {all_cpu_us(turn, 'whole_cpu_s'):.1f} | {all_cpu_us(turn, 'tables_cpu_s'):.1f} "
            f"| {middle(late, latency_ms('p50')):.2f} / {middle(late, latency_ms('p99')):.2f} | {other:.2f} |")
    return "\n".join(lines)
