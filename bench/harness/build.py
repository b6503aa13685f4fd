"""Gets the programs of a run: nginx from Debian, the bench's own, the product, and peers from PyPI."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from harness.processes import BenchError

BENCH = Path(__file__).resolve().parent.parent
REPOSITORY = BENCH.parent
PEERS = BENCH / ".peers"


def find_nginx():
    return shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


def nginx(children):
    """The nginx program, installed if need be."""
    if found := find_nginx():
        return found
    if os.geteuid() != 0:
        raise BenchError("nginx is missing and only root can install it: apt-get install nginx")
    print("installing nginx", file=sys.stderr)
    # The program is wanted, not a web server on port 80: a masked service is not started by its package.
    systemctl("mask", "nginx.service")
    try:
        install(children, "nginx")
    finally:
        systemctl("unmask", "nginx.service")
        systemctl("disable", "nginx.service")
    if found := find_nginx():
        return found
    raise BenchError("nginx was installed but is not to be found")


def systemctl(*args):
    if Path("/run/systemd/system").exists():
        subprocess.run(["systemctl", *args], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def install(children, package):
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    argv = ["apt-get", "install", "-y", "--no-install-recommends", package]
    try:
        children.run("apt-get", argv, env=env)
    except BenchError:  # the package lists may be missing or old
        children.run("apt-get", ["apt-get", "update"], env=env)
        children.run("apt-get", argv, env=env)


def cargo(children, manifest, *args):
    """Builds; returns the executables by name, wherever cargo puts them on this machine."""
    argv = ["cargo", "build", "--locked", "--manifest-path", str(manifest),
            "--message-format=json-render-diagnostics", *args]
    print("building:", "cargo build", *args, file=sys.stderr)
    found = {}
    for line in children.run("cargo", argv).splitlines():
        message = json.loads(line)
        if message.get("executable"):
            found[message["target"]["name"]] = message["executable"]
    return found


def own_programs(children):
    return cargo(children, BENCH / "Cargo.toml", "--release")


def product(children, profile):
    found = cargo(children, REPOSITORY / "Cargo.toml", "--profile", profile, "-p", "tollgate")
    if "tollgate" not in found:
        raise BenchError("cargo built no program named tollgate")
    return found["tollgate"]


def peer(children, name, requirement):
    """A peer from PyPI in an environment of its own."""
    folder = PEERS / name
    if not (folder / "installed").exists():
        print(f"installing {requirement}", file=sys.stderr)
        children.run("venv", [sys.executable, "-m", "venv", str(folder)])
        children.run("pip", [str(folder / "bin" / "pip"), "install", "--quiet", requirement])
        (folder / "installed").touch()


def describe(nginx_program, profile):
    """The machine and the versions behind the figures."""
    def output(*argv):
        done = subprocess.run(argv, capture_output=True, text=True, cwd=BENCH)
        return (done.stdout + done.stderr).strip() if done.returncode == 0 else ""
    info = Path("/proc/cpuinfo").read_text()
    models = [line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")]
    memory = Path("/proc/meminfo").read_text().split()[1]
    commit = output("git", "rev-parse", "--short=12", "HEAD") or "none"
    changed = output("git", "status", "--porcelain", "--", str(REPOSITORY))
    return {
        "cores": os.cpu_count(),
        "cpu": models[0] if models else os.uname().machine,
        "memory_gib": round(int(memory) / 2**20, 1),
        "kernel": os.uname().release,
        "commit": commit + (" with changes" if changed else ""),
        "profile": profile,
        "rustc": output("rustc", "--version"),
        "nginx": output(nginx_program, "-v").removeprefix("nginx version: "),
    }
