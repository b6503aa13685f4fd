"""Small disks for what happens when one is full or cannot be written."""
import os
import subprocess
from contextlib import contextmanager

from harness import Skip


@contextmanager
def tmpfs(folder, name, *options):
    """A file system in memory, mounted as `name` in `folder` for as long as the block lasts."""
    mount = os.path.join(folder, name)
    os.mkdir(mount)
    chosen = ["-o", ",".join(options)] if options else []
    if subprocess.run(["mount", "-t", "tmpfs", *chosen, "tmpfs", mount], capture_output=True).returncode != 0:
        raise Skip("no tmpfs can be mounted here")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", mount], check=True)
