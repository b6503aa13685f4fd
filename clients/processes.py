"""Starts and stops the programs under test: the server, the simulator, and whatever else a suite needs beside them."""
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

START_SECONDS = 30
STOP_SECONDS = 20  # for one program


def free_port():
    """A loopback port that is free now; the program under test binds it a moment later."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def build():
    """Names the server and the simulator in the environment, built by cargo unless TOLLGATE_BIN and SIMULATOR_BIN are set already."""
    if "TOLLGATE_BIN" in os.environ and "SIMULATOR_BIN" in os.environ:
        return
    target = Path(os.environ.get("CARGO_TARGET_DIR") or Path.home() / ".cache" / "tollgate" / "target")
    subprocess.run(["cargo", "build", "--locked", "--package", "tollgate", "--package", "tollgate-simulator", "--bins"],
                   cwd=Path(__file__).resolve().parents[1], env={**os.environ, "CARGO_TARGET_DIR": str(target)}, check=True,
                   stdin=subprocess.DEVNULL)
    os.environ.setdefault("TOLLGATE_BIN", str(target / "debug" / "tollgate"))
    os.environ.setdefault("SIMULATOR_BIN", str(target / "debug" / "tollgate-simulator"))


def exit_on_signals():
    """Makes the signals that end a run unwind its `with` blocks, which stop the children."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))


def kill_group(child):
    """Ends all that is left of a child's process group."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Program:
    """One child, its output in files (on ours without a folder); leaving the `with` block stops it and what it started.

    In a group of its own it is safe from the terminal's ctrl-C; without one it ends when its parent's group is ended.
    """

    def __init__(self, name, argv, folder, env=None, own_group=True):
        self.name, self.own_group = name, own_group
        started = {"stdin": subprocess.DEVNULL, "env": env, "start_new_session": own_group}
        words = [str(word) for word in argv]
        if folder is None:
            self.child = subprocess.Popen(words, **started)
            return
        self.stdout, self.stderr = Path(folder) / f"{name}.stdout", Path(folder) / f"{name}.stderr"
        with open(self.stdout, "wb") as out, open(self.stderr, "wb") as err:
            self.child = subprocess.Popen(words, stdout=out, stderr=err, **started)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """SIGTERM, then SIGKILL. Gives the exit code, negative when a signal ended it."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                pass
        if self.own_group:
            kill_group(self.child)
        self.child.kill()
        return self.child.wait()

    def log(self):
        return self.stdout.read_text(errors="replace") + self.stderr.read_text(errors="replace")

    def wait_for(self, url):
        """Until `url` answers 200. A program that does not get there is stopped, and its last words are in the exception."""
        try:
            if self._answers(url):
                return
            state = "ended" if self.child.poll() is not None else f"gave no answer in {START_SECONDS} s"
            raise RuntimeError(f"{self.name} {state}, exit code {self.stop()}; its last words:\n{self.log()[-3000:]}")
        except BaseException:
            self.stop()
            raise

    def wait_to_listen(self, port):
        """Until it takes connections at this port; as `wait_for` where it does not."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=2):
                    return
            except OSError:
                if time.monotonic() > deadline or self.child.poll() is not None:
                    raise RuntimeError(f"{self.name} does not listen, exit code {self.stop()}; its last words:\n{self.log()[-3000:]}") from None
                time.sleep(0.05)

    def _answers(self, url):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.child.poll() is None:
            try:
                with opener.open(url, timeout=2):
                    return True
            except OSError:
                time.sleep(0.05)
        return False


class Simulator(Program):
    def __init__(self, folder):
        port = free_port()
        super().__init__("simulator", [os.environ["SIMULATOR_BIN"], "--listen", f"127.0.0.1:{port}"], folder)
        self.url = f"http://127.0.0.1:{port}"
        self.wait_for(self.url + "/_ledger")


class Server(Program):
    """`tollgate serve` with a data folder of its own; upstreams are allowed on loopback only."""

    def __init__(self, folder, upstream, settings=None):
        port = free_port()
        self.data = Path(folder) / "data"
        # The user's own settings, those of the providers' tools that the server reads too, are not for the server under test.
        foreign = ("TOLLGATE_", "OPENAI_", "AZURE_", "ANTHROPIC_", "CO_API_", "AI21_", "AWS_", "GOOGLE_", "OTEL_")
        env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        env |= {"TOLLGATE_SERVER__LISTEN": f"127.0.0.1:{port}", "TOLLGATE_SERVER__DATA": str(self.data),
                "TOLLGATE_EGRESS__ALLOW": "127.0.0.1", "TOLLGATE_PROVIDERS__ANTHROPIC__BASE_URL": upstream,
                "TOLLGATE_LOG__FORMAT": "json", **(settings or {})}
        super().__init__("server", [os.environ["TOLLGATE_BIN"], "serve"], folder, env)
        self.url = f"http://127.0.0.1:{port}"
        self.wait_for(self.url + "/readyz")
        self.token = (self.data / "admin.token").read_text().strip()


def scratch_folder(name):
    """A folder that goes away with the `with` block."""
    return tempfile.TemporaryDirectory(prefix=f"tollgate-{name}-")
