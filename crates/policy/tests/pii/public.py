#!/usr/bin/env python3
"""Makes public.jsonl: passages of public text and code, from packages in Cargo.lock whose files are in the public domain or under the
Unlicense. `python3 public.py`, after a build.

Nothing in it is changed; passages with an e-mail address are left out, since that is somebody's. The set was frozen when it was made, and is not
made again when recognisers or packages change.
"""
import json
import pathlib
import random
import re
import subprocess

SEED = 20261128
EACH = 300
LINES = 6
HERE = pathlib.Path(__file__).resolve().parent
# The source, its package, and which of its files.
SOURCES = [
    ("tz", "chrono-tz", ["tz/NEWS", "tz/africa", "tz/antarctica", "tz/asia", "tz/australasia", "tz/europe", "tz/northamerica", "tz/southamerica"]),
    ("sqlite", "libsqlite3-sys", ["sqlite3/sqlite3.c"]),
    ("rust", "csv", ["**/*.rs", "**/*.md"]),
    ("rust", "csv-core", ["**/*.rs"]),
    ("rust", "aho-corasick", ["**/*.rs", "**/*.md"]),
    ("rust", "memchr", ["**/*.rs", "**/*.md"]),
    ("rust", "byteorder", ["**/*.rs", "**/*.md"]),
]
ADDRESS = re.compile(r"[\w.]@[\w.-]+\.[a-z]{2,}", re.IGNORECASE)


def packages():
    asked = ["cargo", "metadata", "--locked", "--format-version", "1"]
    told = json.loads(subprocess.run(asked, cwd=HERE, capture_output=True, check=True).stdout)
    return {package["name"]: pathlib.Path(package["manifest_path"]).parent for package in told["packages"]}


def passages(files):
    for file in files:
        lines = file.read_text(encoding="utf-8").splitlines()
        for at in range(0, len(lines), LINES):
            text = "\n".join(lines[at:at + LINES]).strip()
            if len(text) >= 60 and not ADDRESS.search(text):
                yield text


def rows():
    draw, where, found = random.Random(SEED), packages(), {}
    for source, package, globs in SOURCES:
        files = sorted({file for pattern in globs for file in where[package].glob(pattern)})
        found.setdefault(source, set()).update(passages(files))
    for source, texts in found.items():
        # Half of them with a number of some length, or an `@`.
        hard = {text for text in texts if re.search(r"\d{3}|@", text)}
        for among in (hard, texts - hard):
            for text in draw.sample(sorted(among), min(EACH // 2, len(among))):
                yield {"text": text, "spans": [], "source": source}


with open(HERE / "public.jsonl", "w", encoding="utf-8") as out:
    for row in rows():
        out.write(json.dumps(row, ensure_ascii=False) + "\n")
