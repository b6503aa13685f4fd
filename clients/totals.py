"""Many calls, plain and streamed, of several formats, some of them failed over: tables, sums by the hour and the simulator's ledger agree to the token.

Six thousand calls; FULL=1 makes it a million. Starts a simulator of its own, whose ledger has these calls alone.
"""
import json
import multiprocessing
import os
import socket
import threading
import time
from urllib.parse import urlsplit

import harness
import lake
from harness import ENDPOINTS, PREFIX, check, finish
from processes import Server, Simulator, scratch_folder

CALLS = 1_000_000 if os.environ.get("FULL") else 6_000
PROCESSES, THREADS = 2, 16
WORKERS = PROCESSES * THREADS
SETTINGS = {"TOLLGATE_LOG__LEVEL": "warn", "TOLLGATE_TABLES__FLUSH_SECONDS": "5"}
SHARES = {"a": 80, "b": 20, "c": 0}
# Of the chi-square with one degree of freedom: what a fair split exceeds once in a hundred times, and once in a million.
ONE_IN_A_HUNDRED, ONE_IN_A_MILLION = 6.635, 23.93
SERVING, GATEWAY = "system/serving/endpoint_usage", "system/ai_gateway/usage"


def entity(name, model, provider, task, upstream):
    base = {"openai": upstream + "/v1", "anthropic": upstream}[provider]
    config = {f"{provider}_api_key_plaintext": "sk-x", f"{provider}_api_base": base}
    return {"name": name, "external_model": {"name": model, "provider": provider, "task": task, f"{provider}_config": config}}


def endpoints(upstream):
    failing = [entity("failing", "fails;status=500", "openai", "llm/v1/chat", upstream), entity("full", "full;status=429", "anthropic", "llm/v1/chat", upstream)]
    second = entity("second", "second", "anthropic", "llm/v1/chat", upstream)
    routes = [{"served_model_name": name, "traffic_percentage": share} for name, share in (("failing", 50), ("full", 50), ("second", 0))]
    thirds = [entity(name, name, "openai", "llm/v1/chat", upstream) for name in ("a", "b", "c")]
    split = [{"served_model_name": name, "traffic_percentage": share} for name, share in SHARES.items()]
    configs = {
        "split": {"served_entities": thirds, "traffic_config": {"routes": split}},
        "chat": {"served_entities": [entity("main", "m;chunks=5;cached_tokens=7;reasoning_tokens=3", "openai", "llm/v1/chat", upstream)]},
        "claude": {"served_entities": [entity("main", "claude;cached_tokens=11;cache_write_tokens=5", "anthropic", "llm/v1/chat", upstream)]},
        "vectors": {"served_entities": [entity("main", "vectors", "openai", "llm/v1/embeddings", upstream)]},
        "falls": {"served_entities": [*failing, second], "traffic_config": {"routes": routes}},
    }
    gateway = {"fallback_config": {"enabled": True}, "usage_tracking_config": {"enabled": True}}
    return [{"name": f"{PREFIX}-{name}", "config": config, "ai_gateway": gateway} for name, config in configs.items()]


def request(number, host, token):
    """The bytes of one call; which one depends on its number alone."""
    text = "word " * (number % 37) + str(number)
    chat = {"messages": [{"role": "user", "content": text}], "max_tokens": 64}
    streamed = {"stream": True} if number % 4 == 1 else {}
    path, body = [
        (f"/serving-endpoints/{PREFIX}-chat/invocations", chat | streamed),
        (f"/serving-endpoints/{PREFIX}-claude/invocations", chat | streamed),
        (f"/serving-endpoints/{PREFIX}-vectors/invocations", {"input": [text, "and more"]}),
        ("/ai-gateway/mlflow/v1/chat/completions", chat | streamed | {"model": f"{PREFIX}-chat"}),
        ("/ai-gateway/anthropic/v1/messages", chat | streamed | {"model": f"{PREFIX}-claude"}),
        (f"/serving-endpoints/{PREFIX}-falls/invocations", chat | streamed),
        (f"/serving-endpoints/{PREFIX}-split/invocations", chat | streamed),
    ][number // 4 % 7]
    payload = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
    return head.encode() + payload


class Connection:
    """HTTP/1.1 kept alive, with the little of it that the server answers with: a client library takes longer than the server."""
    def __init__(self, url):
        address = urlsplit(url)
        self.socket = socket.create_connection((address.hostname, address.port), timeout=60)
        self.left = b""

    def until(self, end):
        while end not in self.left:
            piece = self.socket.recv(65536)
            assert piece, "the server closed the connection"
            self.left += piece
        found, self.left = self.left.split(end, 1)
        return found

    def take(self, count):
        while len(self.left) < count:
            piece = self.socket.recv(65536)
            assert piece, "the server closed the connection"
            self.left += piece
        self.left = self.left[count:]

    def ask(self, request):
        self.socket.sendall(request)
        head = self.until(b"\r\n\r\n").lower()
        if b"transfer-encoding: chunked" not in head:
            self.take(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        else:
            while size := int(self.until(b"\r\n"), 16):
                self.take(size + 2)
            self.until(b"\r\n")
        return int(head[9:12])


def work(first, url, token, failures):
    connection, host = Connection(url), urlsplit(url).netloc
    for number in range(first, CALLS, WORKERS):
        status = connection.ask(request(number, host, token))
        if status != 200:
            failures.put(f"call {number}: {status}")
            return


def process(index, url, token, failures):
    threads = [threading.Thread(target=work, args=(index * THREADS + n, url, token, failures)) for n in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def ask_all(server):
    failures = multiprocessing.Queue()
    children = [multiprocessing.Process(target=process, args=(n, server.url, server.token, failures)) for n in range(PROCESSES)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0, child.exitcode
    assert failures.empty(), failures.get()


def sums(tables, table, columns):
    return lake.rows(tables, table, f"count(*), count(distinct {columns[0]}), " + ", ".join(f"sum({name})::bigint" for name in columns[1:]))[0]


def chi_square(served):
    expected = {name: len(served) * share / 100 for name, share in SHARES.items() if share}
    return sum((served.count(name) - count) ** 2 / count for name, count in expected.items())


def wait_for_rows(tables):
    """Until all is flushed, while the server runs: the sums by the hour are asked of it after that."""
    deadline = time.monotonic() + 60
    while True:
        written = [name for name in (SERVING, GATEWAY) if (tables / name / "_delta_log").exists()]
        if sum(lake.rows(tables, name, "count(*)")[0][0] for name in written) >= CALLS:
            return
        assert time.monotonic() < deadline, "not all rows were written"
        time.sleep(1)


with scratch_folder("totals") as folder, Simulator(folder) as simulator, Server(folder, simulator.url, SETTINGS) as server:
    def call(method, path, body=None):
        return harness.call(method, path, body, token=server.token, base=server.url)

    for endpoint in endpoints(simulator.url):
        call("POST", ENDPOINTS, endpoint).ok()
    tables, began = server.data / "tables", time.monotonic()

    @check(f"{CALLS} calls are answered")
    def asked():
        ask_all(server)
        print(f"-- {CALLS / (time.monotonic() - began):.0f} calls/s", flush=True)
        return True

    ledger = harness.get("/_ledger/summary", base=simulator.url, token=None).json

    @check("all rows are written")
    def written():
        wait_for_rows(tables)

    @check("each has one row, and the tables add up to the simulator's ledger to the token")
    def agree():
        kinds = ("cache_read_input_tokens", "cache_creation_input_tokens", "output_reasoning_tokens")
        serving = sums(tables, SERVING, ["databricks_request_id", "input_token_count", "output_token_count", *kinds])
        gateway = sums(tables, GATEWAY, ["request_id", "input_tokens", "output_tokens", *(f"token_details.{kind}" for kind in kinds)])
        assert serving[0] == serving[1] and gateway[0] == gateway[1], (serving, gateway)
        assert serving[0] + gateway[0] == CALLS, (serving, gateway)
        totals = [ours + theirs for ours, theirs in zip(serving[2:], gateway[2:])]
        assert totals == [ledger[name] for name in ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")], (totals, ledger)
        print(f"-- {ledger}", flush=True)

    @check("the split of the traffic is 80 to 20, as far as chance lets it be, and nothing goes to the entity with 0")
    def split():
        # In the order of their ids, which is that of time.
        where = f"endpoint_name = '{PREFIX}-split' ORDER BY databricks_request_id"
        served = [row[0] for row in lake.rows(tables, SERVING, "served_entity_name", where)]
        print(f"-- {[served.count(name) for name in SHARES]}", flush=True)
        assert len(served) > CALLS // 8 and "c" not in served
        size = len(served) // 3
        apart = [chi_square(served[at * size:(at + 1) * size]) for at in range(3)]
        assert chi_square(served) < ONE_IN_A_MILLION and min(apart) < ONE_IN_A_HUNDRED, (chi_square(served), apart)

    @check("so do the sums by the hour")
    def hourly():
        rows = call("GET", "/api/tollgate/v1/usage?group_by=endpoint").ok()["groups"]
        total = [sum(row[name] for row in rows) for name in ("requests", "input_tokens", "output_tokens")]
        assert total == [CALLS, ledger["input_tokens"], ledger["output_tokens"]], (total, ledger)

finish()
