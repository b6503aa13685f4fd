"""A disk that fails at random, by libfiu (`apt-get install fiu-utils`), and a database that somebody holds: calls go on, and every one is in the tables.

Starts servers of its own.
"""
import json
import os
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import harness
import lake
from harness import ENDPOINTS, PREFIX, UPSTREAM, Skip, check, endpoint_body, finish
from processes import Server, kill_group, scratch_folder

NAME = f"{PREFIX}-chat"
TABLE = {"catalog_name": "main", "schema_name": "logs", "table_name_prefix": "chat", "enabled": True}
PAYLOAD, USAGE = "main/logs/chat_payload", "system/serving/endpoint_usage"
SETTINGS = {"TOLLGATE_TABLES__FLUSH_SECONDS": "1", "TOLLGATE_TABLES__KEEP_SECONDS": "2", "TOLLGATE_JOURNAL__FSYNC": "strict"}
FIU = [Path("/usr/lib/fiu", f"fiu_{part}_preload.so") for part in ("run", "posix")]
FAULTS = {"posix/io/sync/fdatasync": 0.1, "posix/io/sync/fsync": 0.1, "posix/io/dir/rename": 0.05}
EIO = 5
CALLS, THREADS = 400, 8


def call(server, method, path, body=None, timeout=60):
    return harness.call(method, path, body, token=server.token, base=server.url, timeout=timeout)


def body_of(name):
    config = {"openai_api_key_plaintext": "sk-x", "openai_api_base": UPSTREAM + "/v1"}
    return endpoint_body(name, {"name": "main", "external_model": {"name": "echo", "provider": "openai", "task": "llm/v1/chat", "openai_config": config}})


def make_endpoint(server):
    body = body_of(NAME)
    body["ai_gateway"] = {"usage_tracking_config": {"enabled": True}, "inference_table_config": TABLE}
    call(server, "POST", ENDPOINTS, body).ok()


def metric(server, name):
    text = harness.call("GET", "/metrics", token=None, base=server.url).text
    return float(next(line for line in text.split("\n") if line.startswith(name + " ")).split()[1])


def ask(server, marker, stream=False):
    body = {"messages": [{"role": "user", "content": "hello"}], "client_request_id": marker, "stream": stream}
    return call(server, "POST", f"/serving-endpoints/{NAME}/invocations", body)


def under_load(server, count, wait=0.0):
    """Asks `count` times, several at once; gives what the answers say was used, by marker, and what was no answer."""
    tokens, failed, lock, numbers = {}, [], threading.Lock(), iter(range(count))

    def run():
        while (number := next_of(numbers, lock)) is not None:
            time.sleep(wait)
            reply = ask(server, f"call-{number}", stream=number % 2 == 1)
            with lock:
                if reply.status == 200:
                    tokens[f"call-{number}"] = used(reply.text)
                else:
                    failed.append(str(reply))
    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return tokens, failed


def next_of(numbers, lock):
    with lock:
        return next(numbers, None)


def used(text):
    lines = [line[6:] for line in text.split("\n") if line.startswith("data: {")] or [text]
    return max((json.loads(line).get("usage") or {}).get("total_tokens", 0) for line in lines)


def told(tables):
    """What the tables say was used, by marker."""
    return lake.rows(tables, USAGE, "client_request_id, input_token_count + output_token_count", "client_request_id LIKE 'call-%'")


def quiet(log):
    # The library that writes files tries to take back what it could not finish, and catches the panic that it gets for it.
    panics = [line for line in log.splitlines() if "panicked at" in line and "/object_store-" not in line]
    assert not panics, panics[:3]


@check(f"while one in ten syncs and one in twenty renames fail, {CALLS} calls that wait for the disk are answered, and after kill -9 each is in the tables once")
def failing():
    if not all(path.exists() for path in FIU):
        raise Skip("libfiu is not on this machine: apt-get install fiu-utils")
    with scratch_folder("broken") as folder:
        pipe = os.path.join(folder, "fiu")
        injected = {"LD_PRELOAD": ":".join(map(str, FIU)), "FIU_CTRL_FIFO": pipe}
        with Server(folder, UPSTREAM, {**SETTINGS, **injected}) as server:
            make_endpoint(server)
            commands = [word for name, chance in FAULTS.items() for word in ("-c", f"enable_random name={name},probability={chance},failinfo={EIO}")]
            subprocess.run(["fiu-ctrl", "-f", pipe, *commands, str(server.child.pid)], check=True, timeout=20, env={**os.environ, "TMPDIR": folder})
            tokens, failed = under_load(server, CALLS)
            assert not failed, failed[:3]
            assert metric(server, "tollgate_journal_failed_syncs_total") > 3, "hardly any fault"
            kill_group(server.child)
            server.child.wait()
            quiet(server.log())
        with Server(folder, UPSTREAM, SETTINGS) as again:
            deadline = time.monotonic() + 60
            while metric(again, "tollgate_journal_bytes") > 1000:
                assert time.monotonic() < deadline, "the journal is not emptied"
                time.sleep(0.2)
            groups = call(again, "GET", "/api/tollgate/v1/usage?group_by=endpoint").ok()["groups"]
        tables = server.data / "tables"
        found = told(tables)
        assert Counter(found) == Counter(tokens.items()), list((Counter(found) - Counter(tokens.items())).items())[:3]
        assert lake.agree(tables, USAGE, ["input_token_count", "output_token_count"]) == CALLS
        assert lake.agree(tables, PAYLOAD) == CALLS
        for name in lake.SYSTEM[1], lake.SYSTEM[3]:
            lake.agree(tables, name)
        assert [group["requests"] for group in groups] == [CALLS], groups


@check("while somebody holds the database no call fails and changes are refused with 503; both are well again within two seconds")
def locked():
    with scratch_folder("held") as folder, Server(folder, UPSTREAM, SETTINGS) as server:
        make_endpoint(server)
        holder = sqlite3.connect(server.data / "tollgate.db", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        refusals, ended = [], threading.Event()

        def change():
            while not ended.is_set():
                refusals.append(call(server, "POST", ENDPOINTS, body_of(f"{PREFIX}-{len(refusals)}")))
        changing = threading.Thread(target=change)
        changing.start()
        try:
            tokens, failed = under_load(server, 300, wait=0.3)
        finally:
            ended.set()
            changing.join()
            holder.execute("ROLLBACK")
        assert not failed and len(tokens) == 300, failed[:3]
        for refusal in refusals:
            refusal.refused(503, "TEMPORARILY_UNAVAILABLE")
        began = time.monotonic()
        call(server, "POST", ENDPOINTS, body_of(f"{PREFIX}-after")).ok()
        assert time.monotonic() - began < 2, time.monotonic() - began
        deadline = time.monotonic() + 30
        while len(told(server.data / "tables")) < 300:
            assert time.monotonic() < deadline, "rows are missing"
            time.sleep(0.5)
        assert Counter(told(server.data / "tables")) == Counter(tokens.items())
        quiet(server.log())

finish()
