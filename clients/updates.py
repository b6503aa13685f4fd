"""Config updates: validated, failed, cancelled, rolled back, and a hundred of them under load without a failed request."""
import threading
import time
from collections import Counter

from harness import (ENDPOINTS, PREFIX, PROVIDER_KEY, SCOPE, ask, call, check, delete, finish, get, ledger,
                     make_endpoint, make_scope, openai_entity, post, put)

NAME = f"{PREFIX}-updates"
OURS = f"/api/tollgate/v1/endpoints/{NAME}"
LOAD_THREADS, CHANGES = 50, 100


def entity(name, model="echo", **config):
    return openai_entity(model, name, **config)


def configure(*entities, **extra):
    return put(f"{ENDPOINTS}/{NAME}/config", {"served_entities": list(entities), **extra})


def state():
    return get(f"{ENDPOINTS}/{NAME}").ok()["state"]["config_update"]


def settled(within=20):
    deadline = time.time() + within
    while state() == "IN_PROGRESS":
        assert time.time() < deadline, "the update never ended"
        time.sleep(0.02)
    return get(f"{ENDPOINTS}/{NAME}").ok()


def served():
    return ask(NAME, "x")


make_scope()
make_endpoint(NAME, entity("first"))


@check("a validated update probes the upstream and then swaps: version 2, new entity serves")
def validated():
    reply = configure(entity("second"), validate=True).ok()
    assert reply["state"]["config_update"] in ("IN_PROGRESS", "NOT_UPDATING"), reply["state"]
    now = settled()
    assert now["state"] == {"ready": "READY", "config_update": "NOT_UPDATING"} and "pending_config" not in now, now
    assert now["config"]["config_version"] == 2, now["config"]
    assert served().headers["served-model-name"] == "second"


@check("an update whose upstream does not answer is UPDATE_FAILED, says why, and the old config serves")
def failed():
    configure(entity("third", openai_api_base="http://127.0.0.1:1/v1"), validate=True).ok()
    now = settled()
    assert now["state"]["config_update"] == "UPDATE_FAILED" and now["state"]["ready"] == "READY", now["state"]
    pending = now["pending_config"]
    assert pending["config_version"] == 3 and pending["start_time"] > 10**12, pending
    message = pending["served_entities"][0]["state"]["deployment_state_message"]
    assert "third" in message and "127.0.0.1:1" in message, message
    assert served().headers["served-model-name"] == "second"


@check("while one update runs a second is 409 RESOURCE_CONFLICT; a cancelled one leaves the old config")
def cancelled():
    configure(entity("slow", model="echo;latency_ms=1500"), validate=True).ok()
    assert state() == "IN_PROGRESS"
    configure(entity("other")).refused(409, "RESOURCE_CONFLICT")
    post(f"{OURS}/rollback", {"revision": 1}).refused(409, "RESOURCE_CONFLICT")
    assert served().headers["served-model-name"] == "second"
    now = post(f"{OURS}/cancel-update").ok()
    assert now["state"]["config_update"] == "UPDATE_CANCELED" and "pending_config" not in now, now
    time.sleep(2)
    assert state() == "UPDATE_CANCELED" and served().headers["served-model-name"] == "second"
    post(f"{OURS}/cancel-update").refused(400, "INVALID_STATE")


@check("a create that asks to be validated is refused when its upstream does not answer")
def create_validated():
    config = {"served_entities": [entity("dead", openai_api_base="http://127.0.0.1:1/v1")]}
    message = post(ENDPOINTS, {"name": f"{NAME}-dead", "config": config, "validate": True}).refused(400, "INVALID_PARAMETER_VALUE")
    assert "dead" in message, message
    get(f"{ENDPOINTS}/{NAME}-dead").refused(404)


@check("revisions: numbered, with author, time and what changed; the ai_gateway block counts, tags do not")
def revisions():
    put(f"{ENDPOINTS}/{NAME}/ai-gateway", {"fallback_config": {"enabled": True}}).ok()
    call("PATCH", f"{ENDPOINTS}/{NAME}/tags", {"add_tags": [{"key": "k"}]}).ok()
    found = get(f"{OURS}/revisions").ok()["revisions"]
    assert [r["revision"] for r in found] == [1, 2, 3], found
    assert [r["config_version"] for r in found] == [1, 2, 2], found
    assert all(r["author"] == "admin" and r["created_at"] > 10**12 for r in found), found
    paths = [change["path"] for change in found[1]["changes"]]
    assert "config.served_entities[0].name" in paths, paths
    assert [c["path"] for c in found[2]["changes"]] == ["ai_gateway"], found[2]
    assert get(f"{OURS}/revisions/1").ok()["config"]["served_entities"][0]["name"] == "first"
    get(f"{OURS}/revisions/99").refused(404, "RESOURCE_DOES_NOT_EXIST")


@check("rollback puts a revision back in force as a new one")
def rollback():
    now = post(f"{OURS}/rollback", {"revision": 1}).ok()
    assert now["config"]["config_version"] == 3 and now["config"]["served_entities"][0]["name"] == "first", now["config"]
    assert served().headers["served-model-name"] == "first"
    assert [r["revision"] for r in get(f"{OURS}/revisions").ok()["revisions"]] == [1, 2, 3, 4]


@check("a plaintext credential survives a rollback and is never shown")
def plaintext_rollback():
    plain = entity("plain")
    block = plain["external_model"]["openai_config"]
    del block["openai_api_key"]
    block["openai_api_key_plaintext"] = PROVIDER_KEY
    configure(plain).ok()
    revision = get(f"{OURS}/revisions").ok()["revisions"][-1]["revision"]
    configure(entity("referenced")).ok()
    post(f"{OURS}/rollback", {"revision": revision}).ok()
    assert served().headers["served-model-name"] == "plain"
    served().ok()
    shown = get(f"{OURS}/revisions").text + get(f"{OURS}/revisions/{revision}").text
    assert PROVIDER_KEY not in shown and "internal/" not in shown


class Load:
    """Threads that call the endpoint without a pause and keep what came back."""
    def __init__(self):
        self.stop, self.problems, self.served = threading.Event(), [], Counter()
        self.threads = [threading.Thread(target=self.run) for _ in range(LOAD_THREADS)]

    def run(self):
        while not self.stop.is_set():
            try:
                reply = served()
                answer = reply.ok()
                # The model is the entity's own: both are of one version of the config.
                assert answer["model"] == "echo-" + reply.headers["served-model-name"], (answer["model"], reply.headers)
                self.served[reply.headers["served-model-name"]] += 1
            except Exception as error:
                self.problems.append(f"{type(error).__name__}: {error}")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


@check(f"{CHANGES} updates, rollbacks and secret rotations under {LOAD_THREADS} concurrent callers: no failed request")
def under_load():
    configure(entity("a", model="echo-a")).ok()
    base = get(f"{OURS}/revisions").ok()["revisions"][-1]["revision"]
    with Load() as load:
        for turn in range(CHANGES):
            if turn % 3 == 0:
                name = "ab"[turn // 3 % 2]
                configure(entity(name, model=f"echo-{name}")).ok()
            elif turn % 3 == 1:
                post("/api/2.0/secrets/put", {"scope": SCOPE, "key": "openai", "string_value": f"{PROVIDER_KEY}-{turn}"}).ok()
            else:
                post(f"{OURS}/rollback", {"revision": base}).ok()
    assert not load.problems, (len(load.problems), load.problems[:3])
    assert load.served["a"] and load.served["b"], load.served


@check("a changed secret reaches the provider within a second")
def rotated():
    post("/api/2.0/secrets/put", {"scope": SCOPE, "key": "openai", "string_value": "sk-rotated-key"}).ok()
    served().ok()
    seen = ledger()[-1]["headers"]["authorization"]
    assert seen == "Bearer sk-rotated-key", seen


delete(f"{ENDPOINTS}/{NAME}")
finish()
