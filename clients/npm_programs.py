"""Programs that are released as npm packages, installed once and kept in the cache."""
import fcntl
import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from venvs import CACHE

INSTALL_SECONDS = 900
FOLDER = CACHE.parent / "npm"


@dataclass
class Package:
    name: str
    version: str


# By the program that the package brings.
PROGRAMS = {
    "claude": Package("@anthropic-ai/claude-code", "2.1.332"),
    "codex": Package("@openai/codex", "0.171.0"),
    "azurite-blob": Package("azurite", "3.37.0"),
    "gemini": Package("@google/gemini-cli", "0.61.0"),
}


def why_not(name):
    """Why the program cannot be installed on this machine; "" when it can."""
    if _path(name).exists() or shutil.which("npm"):
        return ""
    return f"{PROGRAMS[name].name} is installed with npm, which is not on this machine"


def _folder(name):
    package = PROGRAMS[name]
    return FOLDER / (re.sub(r"[^a-z]+", "-", package.name.lstrip("@")) + "-" + package.version)


def _path(name):
    return _folder(name) / "node_modules" / ".bin" / name


def program(name):
    """The path of the program, installed first if need be."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _path(name).exists():
            _install(name)
    return _path(name)


def _install(name):
    package, folder = PROGRAMS[name], _folder(name)
    beside = folder.with_suffix(".new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    print(f"installing {package.name} {package.version}", flush=True)
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", beside, f"{package.name}@{package.version}"],
                   cwd=beside, env=os.environ, check=True, stdin=subprocess.DEVNULL, timeout=INSTALL_SECONDS)
    # Whole or not at all.
    beside.rename(folder)
