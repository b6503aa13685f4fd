"""Config updates: validated, failed, cancelled, rolled back, and a hundred of them under load without a failed request."""
import itertools
import random
import threading
import time
from collections import Counter

from harness import (ENDPOINTS, PREFIX, PROVIDER_KEY, SCOPE, Arrivals, ask, call, check, delete, finish, get, ledger,
                     make_endpoint, make_scope, openai_entity, post, put)

NAME = f"{PREFIX}-updates"
OURS = f"/api/tollgate/v1/endpoints/{NAME}"
LOAD_THREADS, CHANGES = 200, 100


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


def serves(name):
    found = served().headers["served-model-name"]
    assert found == name, f"{found} serves, not {name}"


make_scope()
make_endpoint(NAME, entity("first"))


@check("a validated update probes the upstream and then swaps: version 2, new entity serves")
def validated():
    reply = configure(entity("second"), validate=True).ok()
    assert reply["state"]["config_update"] in ("IN_PROGRESS", "NOT_UPDATING"), reply["state"]
    now = settled()
    assert now["state"] == {"ready": "READY", "config_update": "NOT_UPDATING"} and "pending_config" not in now, now
    assert now["config"]["config_version"] == 2, now["config"]
    serves("second")


@check("an update whose upstream does not answer is UPDATE_FAILED, says why, and the old config serves")
def failed():
    configure(entity("third", openai_api_base="http://127.0.0.1:1/v1"), validate=True).ok()
    now = settled()
    assert now["state"]["config_update"] == "UPDATE_FAILED" and now["state"]["ready"] == "READY", now["state"]
    pending = now["pending_config"]
    assert pending["config_version"] == 3 and pending["start_time"] > 10**12, pending
    message = pending["served_entities"][0]["state"]["deployment_state_message"]
    assert "third" in message and "127.0.0.1:1" in message, message
    serves("second")


@check("while one update runs a second is 409 RESOURCE_CONFLICT; a cancelled one leaves the old config")
def cancelled():
    configure(entity("slow", model="echo;latency_ms=1500"), validate=True).ok()
    assert state() == "IN_PROGRESS"
    configure(entity("other")).refused(409, "RESOURCE_CONFLICT")
    post(f"{OURS}/rollback", {"revision": 1}).refused(409, "RESOURCE_CONFLICT")
    serves("second")
    now = post(f"{OURS}/cancel-update").ok()
    assert now["state"]["config_update"] == "UPDATE_CANCELED" and "pending_config" not in now, now
    time.sleep(2)
    assert state() == "UPDATE_CANCELED", state()
    serves("second")
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
    serves("first")
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
    serves("plain")
    served().ok()
    shown = get(f"{OURS}/revisions").text + get(f"{OURS}/revisions/{revision}").text
    assert PROVIDER_KEY not in shown and "internal/" not in shown


class Eras:
    """Which value was in force when: from just before the change was sent until the next one had been answered."""
    def __init__(self, first):
        self.eras = [[first, 0.0, float("inf")]]

    def change(self, value, act):
        began = time.monotonic()
        act()
        self.eras[-1][2] = time.monotonic()
        self.eras.append([value, began, float("inf")])

    def had(self, value, start, end):
        return any(value == known and began <= end and start <= ended for known, began, ended in self.eras)


class Load:
    """Threads that call the endpoint without a pause and keep what came back, and when."""
    def __init__(self):
        self.stop, self.problems, self.answers = threading.Event(), [], []
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(LOAD_THREADS)]
        self.working = threading.Barrier(LOAD_THREADS + 1)

    def run(self, number):
        self.working.wait(60)
        for turn in itertools.count():
            if self.stop.is_set():
                return
            question, start = f"load-{number}-{turn}", time.monotonic()
            try:
                reply = ask(NAME, question)
                model = reply.ok()["model"]
            except Exception as error:
                self.problems.append(f"{type(error).__name__}: {error}")
                continue
            self.answers.append((question, reply.headers["served-model-name"], model, start, time.monotonic()))

    def wait_for(self, answers):
        """Until as many calls have been answered, or one has failed."""
        give_up = time.monotonic() + 60
        while len(self.answers) < answers and not self.problems:
            assert time.monotonic() < give_up, f"{len(self.answers)} calls answered, none of the others for a minute"
            time.sleep(0.005)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.working.wait(60)
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def note(arrivals, received, sent):
    """Counts what the provider was asked, and keeps how."""
    for request in arrivals.take():
        # Other suites share the simulator, and what they send may be anything.
        body = request["body"] if isinstance(request["body"], dict) else {}
        messages = [message for message in body.get("messages") or [] if isinstance(message, dict)]
        question = messages[0].get("content") if messages else None
        if isinstance(question, str):
            received[question] += 1
            sent[question] = request


def slow(name):
    """A model that answers after half a second: all callers are in a call almost always, and changes come in the middle of it."""
    return f"echo-{name};latency_ms=500"


def change(turn, versions, keys, revisions):
    """One update, rotation or rollback."""
    if turn % 3 == 0:
        name = f"v{turn}"
        versions.change(name, lambda: configure(entity(name, model=slow(name))).ok())
        revisions[name] = get(f"{OURS}/revisions").ok()["revisions"][-1]["revision"]
    elif turn % 3 == 1:
        key = f"{PROVIDER_KEY}-{turn}"
        keys.change(key, lambda: post("/api/2.0/secrets/put", {"scope": SCOPE, "key": "openai", "string_value": key}).ok())
    else:
        name = random.choice(list(revisions))
        versions.change(name, lambda: post(f"{OURS}/rollback", {"revision": revisions[name]}).ok())


@check(f"{CHANGES} updates, rollbacks and secret rotations under {LOAD_THREADS} concurrent callers: no failed request, "
       "each served by exactly one version that was active during it")
def under_load():
    configure(entity("start", model=slow("start"))).ok()
    revisions = {"start": get(f"{OURS}/revisions").ok()["revisions"][-1]["revision"]}
    versions, keys = Eras("start"), Eras(PROVIDER_KEY)
    arrivals, received, sent = Arrivals(), Counter(), {}
    with Load() as load:
        for turn in range(CHANGES):
            # The callers set the pace: a fast server would be through its changes before they have asked often.
            load.wait_for(turn * LOAD_THREADS // 10)
            change(turn, versions, keys, revisions)
            note(arrivals, received, sent)
    note(arrivals, received, sent)
    assert not load.problems, (len(load.problems), load.problems[:3])
    seen = set()
    for question, name, model, start, end in load.answers:
        assert received[question] == 1, (question, received[question])
        upstream = sent[question]
        # The header, the answer, what the provider was asked for: all of one version.
        assert model == slow(name) == upstream["body"]["model"], (name, model, upstream["body"]["model"])
        assert versions.had(name, start, end), f"{question}: {name} was not active while it ran"
        key = upstream["headers"]["authorization"].removeprefix("Bearer ")
        assert keys.had(key, start, end), f"{question}: its key was not the secret's value while it ran"
        seen.add(name)
    assert len(load.answers) >= LOAD_THREADS and len(seen) > 10, (len(load.answers), seen)


@check("a changed secret reaches the provider within a second")
def rotated():
    post("/api/2.0/secrets/put", {"scope": SCOPE, "key": "openai", "string_value": "sk-rotated-key"}).ok()
    served().ok()
    seen = ledger()[-1]["headers"]["authorization"]
    assert seen == "Bearer sk-rotated-key", seen


delete(f"{ENDPOINTS}/{NAME}")
finish()
