"""`kill -9` at random moments under load: the client's ledger, the tables and the simulator's ledger agree call by call.

Five times; FULL=1 does it fifty times. SEED repeats a run.
"""
import http.client
import json
import os
import random
import shutil
import threading
import time
from collections import Counter
from urllib.parse import urlsplit

import lake
from harness import ENDPOINTS, PREFIX, UPSTREAM, Arrivals, call, check, endpoint_body, finish
from mounts import fill, tmpfs
from processes import Server, kill_group, scratch_folder

NAME = f"{PREFIX}-chat"
KILLS, THREADS = (50, 8) if os.environ.get("FULL") else (5, 6)
SEED = int(os.environ.get("SEED") or random.randrange(10**6))
TABLE = {"catalog_name": "main", "schema_name": "logs", "table_name_prefix": "chat", "enabled": True}
SETTINGS = {"TOLLGATE_TABLES__FLUSH_SECONDS": "1", "TOLLGATE_LOG__LEVEL": "warn"}
USAGE, GATEWAY, PAYLOAD = "system/serving/endpoint_usage", "system/ai_gateway/usage", "main/logs/chat_payload"
READY_SECONDS, CHUNKS = 2.0, 10


def entity():
    config = {"openai_api_key_plaintext": "sk-x", "openai_api_base": UPSTREAM + "/v1"}
    model = {"name": f"m;chunks={CHUNKS};chunk_ms=3", "provider": "openai", "task": "llm/v1/chat", "openai_config": config}
    return {"name": "main", "external_model": model}


class Load:
    """Threads that ask one question after the other, and note which of them were answered to the end."""
    def __init__(self, server):
        self.whole, self.begun, self.lock, self.stopped = {}, set(), threading.Lock(), False
        self.server, self.numbers = server, iter(range(10**9))
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(THREADS)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.stopped:
            with self.lock:
                marker = f"crash-{next(self.numbers)}"
                self.begun.add(marker)
            try:
                status, text = self.ask(marker)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
                continue
            if status == 200 and ("[DONE]" in text or '"finish_reason"' in text):
                with self.lock:
                    self.whole[marker] = True

    def ask(self, marker):
        address = urlsplit(self.server.url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
        try:
            number = int(marker.split("-")[1])
            path = "/ai-gateway/mlflow/v1/chat/completions" if number % 3 == 0 else f"/serving-endpoints/{NAME}/invocations"
            body = {"model": NAME, "messages": [{"role": "user", "content": marker}], "client_request_id": marker, "stream": number % 2 == 0}
            connection.request("POST", path, json.dumps(body),
                               {"Authorization": f"Bearer {self.server.token}", "Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def stop(self):
        self.stopped = True
        for thread in self.threads:
            thread.join(30)


def last_said(request):
    """The text of the last message, where it is one: what other suites sent need not be."""
    body = request["body"]
    messages = body.get("messages") if isinstance(body, dict) else None
    last = messages[-1] if isinstance(messages, list) and messages else None
    return last.get("content") if isinstance(last, dict) else None


arrivals, asked_upstream, cut = Arrivals(), Counter(), set()


def seen_upstream():
    """How often the simulator was asked each question, until now. Notes those that it was left in the middle of: not all of
    the answer had been handed to the connection, so that the server cannot have had it whole."""
    for request in arrivals.take():
        text = last_said(request)
        if isinstance(text, str) and text.startswith("crash-"):
            asked_upstream[text] += 1
            if request["state"] == "cancelled" and request["chunks_sent"] < (CHUNKS if request["body"].get("stream") else 1):
                cut.add(text)
    return asked_upstream


def written_up(folder):
    """What the last flush left when it took too long is in the tables soon after the next start."""
    with Server(folder, UPSTREAM, SETTINGS) as again:
        deadline = time.monotonic() + 60
        while journal_bytes(again) > 10_000:
            assert time.monotonic() < deadline, f"{journal_bytes(again)} bytes are still in the journal"
            time.sleep(0.2)


def journal_bytes(server):
    lines = call("GET", "/metrics", token=None, base=server.url).text.splitlines()
    return max((float(line.split()[1]) for line in lines if line.startswith("tollgate_journal_bytes ")), default=1e9)


def served_full(small, mount):
    """The same where calls are served while their records have room in memory; gives how many were."""
    def asked(marker):
        body = {"messages": [{"role": "user", "content": "hello"}], "client_request_id": marker}
        return call("POST", f"/serving-endpoints/{NAME}/invocations", body, token=server.token, base=small.url)
    filler = fill(mount)
    for n in range(20):
        asked(f"served-{n}").ok()
    refused, deadline = False, time.monotonic() + 30
    served = 20
    while not refused:
        assert time.monotonic() < deadline, "the memory has no bound"
        reply = asked(f"served-{served}")
        refused = reply.status == 503
        served += 0 if refused else 1
    os.remove(filler)
    deadline = time.monotonic() + 10
    while "tollgate_journal_full 0" not in call("GET", "/metrics", token=None, base=small.url).text:
        assert time.monotonic() < deadline, "it does not end"
        time.sleep(0.2)
    return served


def full(small, mount):
    """Calls on a server whose journal's disk is full, and has room again; gives how many had room after all."""
    def asked(marker):
        body = {"messages": [{"role": "user", "content": f"crash-{marker}"}], "client_request_id": marker}
        return call("POST", f"/serving-endpoints/{NAME}/invocations", body, token=server.token, base=small.url)
    asked("before").ok()
    filler, refusals, deadline = fill(mount), 0, time.monotonic() + 20
    while refusals < 5:
        assert time.monotonic() < deadline, "calls are let in on a full disk"
        reply = asked("full")
        if reply.status == 503:
            reply.refused(503, "TEMPORARILY_UNAVAILABLE", saying="USAGE_STORE_FULL")
            refusals += 1
        elif refusals:
            raise AssertionError(f"let in after a refusal: {reply}")
        else:
            fill(mount)
    served = seen_upstream()["crash-full"]
    deadline = time.monotonic() + 10
    while "tollgate_journal_full 1" not in call("GET", "/metrics", token=None, base=small.url).text:
        assert time.monotonic() < deadline, "no metric says that it is full"
        time.sleep(0.2)
    assert seen_upstream()["crash-full"] == served, "an upstream was called for a refused call"
    os.remove(filler)
    deadline = time.monotonic() + 10
    while asked("after").status != 200:
        assert time.monotonic() < deadline, "still refused"
        time.sleep(0.1)
    return served


with scratch_folder("crashes") as folder:
    print(f"SEED={SEED} KILLS={KILLS}", flush=True)
    chance, slowest = random.Random(SEED), 0.0
    server = Server(folder, UPSTREAM, SETTINGS)
    body = endpoint_body(NAME, entity())
    body["ai_gateway"] = {"usage_tracking_config": {"enabled": True}, "inference_table_config": TABLE}
    call("POST", ENDPOINTS, body, token=server.token, base=server.url).ok()
    load = Load(server)
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.3, 2.2))
        kill_group(server.child)
        server.child.wait()
        began = time.monotonic()
        server = Server(folder, UPSTREAM, SETTINGS)
        slowest = max(slowest, time.monotonic() - began)
        load.server = server
        seen_upstream()
    time.sleep(1)
    load.stop()
    server.stop()
    written_up(folder)
    tables = server.data / "tables"
    found = lake.rows(tables, PAYLOAD, "client_request_id, outcome, databricks_request_id")
    used = {row[0]: row[1:] for name, own in ((USAGE, "databricks_request_id"), (GATEWAY, "request_id"))
            for row in lake.rows(tables, name, f"{own}, outcome, usage_provenance")}
    outcomes, upstream = {row[0]: row[1] for row in found}, dict(seen_upstream())

    @check(f"each of {len(load.begun)} calls has at most one row, with an id of its own")
    def once():
        twice = [marker for marker, count in Counter(row[0] for row in found).items() if count > 1]
        assert not twice, twice[:5]
        assert len({row[2] for row in found}) == len(found)

    @check(f"each of {len(load.whole)} calls that were answered to the end has its row, completed")
    def complete():
        wrong = {marker: outcomes.get(marker) for marker in load.whole if outcomes.get(marker) != "completed"}
        assert not wrong, list(wrong.items())[:5]
        assert len(load.whole) > 10 * KILLS, "hardly any load"

    @check("each call that the simulator saw has a row, and was made once")
    def agreed():
        missing = [marker for marker in upstream if marker not in outcomes]
        assert not missing, missing[:5]
        assert max(upstream.values()) == 1, [marker for marker, count in upstream.items() if count > 1][:3]

    @check(f"calls that a kill cut are aborted, {len(cut)} of them surely, and estimated: {Counter(outcomes.values())}")
    def aborted():
        assert all(provenance == "estimated" for outcome, provenance in used.values() if outcome == "aborted"), list(used.items())[:3]
        # A client goes only when the server is gone, and the simulator does not fail: there is no other end. Of the calls that
        # a client lost some had ended just before, so that nobody but the simulator can tell which were still under way.
        assert set(outcomes.values()) == {"completed", "aborted"}, Counter(outcomes.values())
        wrong = {marker: outcomes.get(marker) for marker in cut if outcomes.get(marker) != "aborted"}
        assert not wrong, list(wrong.items())[:5]

    @check("the tables of usage have the same calls, each in one of them, and so have the sums by the hour")
    def usage():
        assert {row[2]: row[1] for row in found} == {own: outcome for own, (outcome, _) in used.items()}
        rows = lake.agree(tables, USAGE, ["input_token_count", "output_token_count"]), lake.agree(tables, GATEWAY, ["input_tokens", "output_tokens"])
        assert lake.agree(tables, PAYLOAD) == len(found) == sum(rows) and min(rows) > 0, rows
        with Server(folder, UPSTREAM, SETTINGS) as again:
            groups = call("GET", "/api/tollgate/v1/usage?group_by=endpoint", token=again.token, base=again.url).ok()["groups"]
        assert [group["requests"] for group in groups] == [len(found)], groups

    @check(f"it was ready again within {READY_SECONDS} s each time: at most {slowest:.2f} s")
    def ready():
        assert slowest <= READY_SECONDS, slowest

    @check("on a full disk calls are served as long as there is memory, where that is asked, and recorded once there is room")
    def full_memory():
        with tmpfs(folder, "smaller", "size=6m") as mount:
            data, place = os.path.join(mount, "data"), os.path.join(folder, "beyond")
            shutil.copytree(server.data, data, ignore=lambda _, names: [name for name in names if name in ("journal", "tables")])
            settings = {**SETTINGS, "TOLLGATE_SERVER__DATA": data, "TOLLGATE_TABLES__LOCATION": place,
                        "TOLLGATE_JOURNAL__ON_FULL": "serve", "TOLLGATE_JOURNAL__QUEUE_BYTES": "200000"}
            with Server(folder, UPSTREAM, settings) as small:
                served = served_full(small, mount)
            found = lake.rows(place, USAGE, "client_request_id", "status_code = 200")
            assert len(found) == len(set(found)) == served, (len(found), served)

    @check("on a full disk calls are refused before the upstream, and all is recorded once there is room")
    def full_disk():
        with tmpfs(folder, "small", "size=6m") as mount:
            data = os.path.join(mount, "data")
            shutil.copytree(server.data, data, ignore=lambda _, names: [name for name in names if name in ("journal", "tables")])
            settings = {**SETTINGS, "TOLLGATE_SERVER__DATA": data, "TOLLGATE_TABLES__LOCATION": os.path.join(folder, "elsewhere")}
            with Server(folder, UPSTREAM, settings) as small:
                served = full(small, mount)
            found = Counter(row[0] for row in lake.rows(os.path.join(folder, "elsewhere"), USAGE, "client_request_id", "status_code = 200"))
            assert found == {"after": 1, "before": 1, "full": served}, found

finish()
