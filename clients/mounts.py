"""Small disks for what happens when one is full or cannot be written."""
import os
import subprocess
from contextlib import contextmanager

from harness import Skip


def fill(mount):
    """Takes the last byte of the disk; gives the file that has them."""
    filler = os.path.join(mount, "filler")
    with open(filler, "wb", buffering=0) as file:
        for size in (65536, 4096, 512, 64, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return filler


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
