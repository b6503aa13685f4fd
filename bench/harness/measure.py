"""The measurements of one target in one round."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.processes import cpu_seconds, machine_busy_seconds, rss_mib
from harness.targets import body, control

LOAD_CORE = 1
ANSWER_S = 20  # the longest answer, of a held stream, takes half of it


@dataclass(frozen=True)
class Settings:
    """How much is measured. Everything is bounded by count or time."""

    rounds: int = 3
    seconds: float = 4
    warmup_s: float = 1
    connections: int = 64
    rate: float = 100
    latency_us: int = 20_000
    streams: int = 50
    chunks: int = 100
    pace_us: int = 10_000
    repeat: int = 3
    held: int = 1000
    held_chunks: int = 16
    held_pace_us: int = 500_000
    held_ramp_s: float = 4

    @classmethod
    def quick(cls):
        return cls(rounds=1, seconds=3, warmup_s=0.5, repeat=2, held_chunks=10, held_ramp_s=2.5)

    def to_json(self):
        return asdict(self)


class Meter:
    """Runs the load generator against one target and adds what the target used."""

    def __init__(self, running, loadgen, stub, settings):
        self.running, self.loadgen, self.stub, self.settings = running, loadgen, stub, settings
        self.errors: list[str] = []

    def load(self, mode, streamed=False, watch_memory=False, **options):
        target, pid = self.running.target, self.running.pid
        file = Path(self.running.folder) / f"body-{'stream' if streamed else 'plain'}.json"
        file.write_bytes(body(target, streamed))
        argv = [self.loadgen, f"mode={mode}", f"url={target['url']}", f"body=@{file}",
                f"timeout={ANSWER_S}"]
        argv += [f"header={key}: {value}" for key, value in self.running.headers.items()]
        argv += [f"{key}={value}" for key, value in options.items()]
        before, peak = self.usage(), 0.0
        child = self.running.children.start("loadgen", argv, core=LOAD_CORE, stdout=subprocess.PIPE)
        while watch_memory and child.poll() is None:
            peak = max(peak, rss_mib(pid) if pid else 0.0)
            time.sleep(0.2)
        out, _ = child.communicate()
        after = self.usage()
        self.running.children.running.remove(child)
        result = json.loads(out) if out else {"errors": 1, "first_error": "the load generator failed"}
        return self.finish(mode, result, before, after, peak)

    def usage(self):
        pid = self.running.pid
        return {"at": time.monotonic(), "busy": machine_busy_seconds(), "gateway": cpu_seconds(pid) if pid else 0.0,
                "own": sum(os.times()[:2]) + cpu_seconds(self.stub.pid), "upstream": control()["requests"]}

    def finish(self, mode, result, before, after, peak):
        spent = {key: after[key] - before[key] for key in before}
        others = spent["busy"] - spent["gateway"] - spent["own"] - result.get("cpu_s", 0.0)
        result |= {"gateway_cpu_s": spent["gateway"], "core_busy": spent["gateway"] / spent["at"],
                   "other": max(0.0, others) / (spent["at"] * os.cpu_count()), "peak_rss_mib": peak}
        if not result["errors"] and spent["upstream"] < result["total"]:
            result["errors"] = result["total"] - spent["upstream"]
            result["first_error"] = f"{result['errors']} answers did not come from the upstream"
        if result["errors"]:
            name = self.running.target["name"]
            self.errors.append(f"{name}, {mode}: {result['errors']} errors, the first: {result['first_error']}")
            print("error:", self.errors[-1], file=sys.stderr)
        return result

    def timed(self):
        return {"duration": self.settings.seconds, "warmup": self.settings.warmup_s, "chunks": self.settings.chunks}

    def saturation(self):
        control(latency_us=0, pace_us=0, chunks=self.settings.chunks)
        return self.load("closed", conns=self.settings.connections, **self.timed())

    def latency(self):
        control(latency_us=self.settings.latency_us)
        return self.load("open", rate=self.settings.rate, **self.timed())

    def stream(self):
        s = self.settings
        control(latency_us=0, pace_us=s.pace_us)
        ramp_s = s.chunks * s.pace_us / 1e6 / 2  # so that the chunks do not come in lockstep
        return self.load("streams", True, streams=s.streams, repeat=s.repeat, ramp=ramp_s, chunks=s.chunks)

    def hold(self):
        s = self.settings
        control(latency_us=0, pace_us=s.held_pace_us, chunks=s.held_chunks)
        held = self.load("streams", True, watch_memory=True, streams=s.held, ramp=s.held_ramp_s, chunks=s.held_chunks)
        control(pace_us=0, chunks=s.chunks)
        return held

    def idle(self):
        time.sleep(1)  # what a start leaves to do is done by then
        return rss_mib(self.running.pid)

    def round(self, first):
        """Memory is measured in the first round only: it does not vary, and holding streams takes long."""
        result = {}
        gateway = self.running.pid is not None
        if first and gateway:
            result["idle_rss_mib"] = self.idle()
        result |= {"saturation": self.saturation(), "latency": self.latency(), "stream": self.stream()}
        if first and gateway:
            result["hold"] = self.hold()
        return result
