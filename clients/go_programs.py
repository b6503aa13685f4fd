"""Programs that are released as Go modules, built once and kept in the cache.

The module comes from the Go module proxy, with its checksum; nothing of it lies in this repository. `go install` refuses these
modules, because their go.mod replaces or excludes others, so they are built in a copy of their own source.
"""
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from venvs import CACHE

BUILD_SECONDS = 1800
FOLDER = CACHE.parent / "go-programs"


@dataclass
class Program:
    module: str
    version: str
    package: str
    go: tuple  # the least version of Go that builds it


# The newest versions that the proxy serves.
PROGRAMS = {
    "databricks": Program("github.com/databricks/cli", "v1.12.1", ".", (1, 26)),
    "tofu": Program("github.com/opentofu/opentofu", "v1.12.6", "./cmd/tofu", (1, 26)),
    "terraform-provider-databricks": Program("github.com/databricks/terraform-provider-databricks", "v1.126.0", ".", (1, 26)),
}


def why_not(name):
    """Why the program cannot be built on this machine; "" when it can."""
    if built(name).exists():
        return ""
    if not shutil.which("go"):
        return "there is no Go on this machine"
    found = re.search(r"go(\d+)\.(\d+)", subprocess.run(["go", "version"], capture_output=True, text=True, check=True).stdout)
    wanted = PROGRAMS[name].go
    if not found or tuple(map(int, found.groups())) < wanted:
        return f"{name} needs Go {wanted[0]}.{wanted[1]}, this machine has {found.group(0) if found else 'an unknown one'}"
    return ""


def built(name):
    return FOLDER / PROGRAMS[name].version / name


def program(name):
    """The path of the program, built first if need be: some minutes on two processors."""
    path = built(name)
    FOLDER.mkdir(parents=True, exist_ok=True)
    # One build at a time: each fills the machine.
    with open(FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _build(PROGRAMS[name], path)
    return path


def _build(wanted, path):
    print(f"building {wanted.module} {wanted.version}", flush=True)
    environment = {**os.environ, "GOFLAGS": "-buildvcs=false -trimpath", "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    with tempfile.TemporaryDirectory(prefix="tollgate-go-") as folder:
        asked = subprocess.run(["go", "mod", "download", "-json", f"{wanted.module}@{wanted.version}"], cwd=folder, env=environment,
                               capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=BUILD_SECONDS)
        answer = json.loads(asked.stdout or "{}")
        if "Dir" not in answer:
            raise OSError(f"{wanted.module}@{wanted.version}: {answer.get('Error') or asked.stderr.strip()}")
        source = Path(folder) / "source"
        shutil.copytree(answer["Dir"], source)
        # The cache of modules is read-only.
        for inner in [source, *source.rglob("*")]:
            inner.chmod(inner.stat().st_mode | 0o200)
        made = Path(folder) / "made"
        subprocess.run(["go", "build", "-p", "2", "-ldflags", "-s -w", "-o", made, wanted.package], cwd=source, env=environment, check=True,
                       stdin=subprocess.DEVNULL, timeout=BUILD_SECONDS)
        path.parent.mkdir(parents=True, exist_ok=True)
        # First beside it, so that it is there whole or not at all.
        beside = path.with_suffix(".new")
        shutil.copy2(made, beside)
        beside.rename(path)
