"""One virtual environment per client, made from requirements/<client>.txt and kept in the cache until that file changes."""
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent / "requirements"
CACHE = Path(os.environ.get("TOLLGATE_CACHE") or Path.home() / ".cache" / "tollgate") / "venvs"


def python_of(client):
    """The interpreter of the client's environment, installed first if need be."""
    requirements = REQUIREMENTS / f"{client}.txt"
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = CACHE / f"{client}-{key}"
    CACHE.mkdir(parents=True, exist_ok=True)
    # Two runs on one machine must not build the same environment at once.
    with open(CACHE / f"{client}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _install(folder, requirements)
    return folder / "bin" / "python"


def _install(folder, requirements):
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing {requirements.stem}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    # The files name every package that is needed; --no-deps keeps pip from looking for others.
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:",
                    "--requirement", requirements], check=True, stdin=subprocess.DEVNULL, timeout=900)
    (folder / "complete").touch()
