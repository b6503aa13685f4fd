"""What every suite needs: PASS/FAIL lines, plain HTTP, and the endpoints and secrets to test with.

`clients/run` sets the environment: HOST and TOKEN (an admin's token), UPSTREAM (the simulator), PREFIX (names made by this suite).
"""
import json
import os
import sys
import time
import traceback
import urllib.error
import urllib.request
from pathlib import Path

from processes import exit_on_signals

# Whoever ends a suite ends what it started too.
exit_on_signals()

HOST = os.environ["HOST"].rstrip("/")
TOKEN = os.environ["TOKEN"]
UPSTREAM = os.environ["UPSTREAM"].rstrip("/")
PREFIX = os.environ["PREFIX"]
SCOPE = f"{PREFIX}-keys"
PROVIDER_KEY = f"sk-provider-key-of-{PREFIX}"
ENDPOINTS = "/api/2.0/serving-endpoints"

_counts = {"PASS": 0, "FAIL": 0, "SKIP": 0}
_rule_breaks = []


class Skip(Exception):
    """Raised by a check that this machine cannot run, with why."""


def report(verdict, name, why=""):
    _counts[verdict] += 1
    print(f"{verdict} {name}" + (f" -- {why}" if why else ""), flush=True)


def check(name):
    """Runs the decorated function at once: PASS unless it raises. Its return value takes the function's name (None on FAIL)."""
    def run(function):
        try:
            result = function()
        except Skip as why:
            report("SKIP", name, str(why))
            return None
        except Exception as error:
            report("FAIL", name, f"{type(error).__name__}: {error}".replace("\n", " ")[:600])
            if os.environ.get("VERBOSE"):
                traceback.print_exc()
            return None
        report("PASS", name)
        return result
    return run


def raises(kind, function):
    """The exception that `function` must raise."""
    try:
        function()
    except kind as error:
        return error
    raise AssertionError(f"expected {kind}, nothing was raised")


def finish():
    """Closing checks over all replies of the suite, then the exit code."""
    @check("every reply had x-request-id, every error had error_code and message strings, no permanent error was a 503")
    def rules():
        assert not _rule_breaks, _rule_breaks[:5]
    print(f"{_counts['PASS']} passed, {_counts['FAIL']} failed, {_counts['SKIP']} skipped", flush=True)
    sys.exit(1 if _counts["FAIL"] else 0)


class Reply:
    """Status, lower-cased headers and text of one answer."""
    def __init__(self, status, headers, text):
        self.status, self.text = status, text
        self.headers = {name.lower(): value for name, value in headers}

    @property
    def json(self):
        return json.loads(self.text)

    def ok(self):
        assert self.status == 200, str(self)
        return self.json

    def refused(self, status, *codes, saying=()):
        """Checks an error answer; gives its message. `status` is one number or a tuple of them."""
        allowed = status if isinstance(status, tuple) else (status,)
        assert self.status in allowed, f"expected {allowed}, got {self}"
        body = self.json
        assert not codes or body["error_code"] in codes, f"expected {codes}, got {self}"
        for part in [saying] if isinstance(saying, str) else saying:
            assert part in body["message"], f"message does not say {part!r}: {self}"
        return body["message"]

    def __str__(self):
        return f"HTTP {self.status} {self.text[:300]}"


# No proxy, and no redirect: following one would hide it and could carry the token away.
class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def call(method, path, body=None, token=TOKEN, headers=None, base=None, timeout=60):
    """One request. `body` is sent as JSON unless it is bytes; a `token` of None sends no credential."""
    sent = {"Accept": "application/json", **(headers or {})}
    if token is not None:
        sent.setdefault("Authorization", f"Bearer {token}")
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    if data is not None:
        sent.setdefault("Content-Type", "application/json")
    request = urllib.request.Request((base or HOST) + path, data=data, method=method, headers=sent)
    try:
        answer = _opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        reply = Reply(answer.status, answer.headers.items(), answer.read().decode("utf-8", "replace"))
    if base is None:
        _note_rule_breaks(f"{method} {path}", reply)
    return reply


def _note_rule_breaks(what, reply):
    if not reply.headers.get("x-request-id"):
        _rule_breaks.append(f"{what}: no x-request-id")
    if reply.status < 400:
        return
    try:
        body = reply.json
        good = isinstance(body["error_code"], str) and isinstance(body["message"], str) and body["message"]
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        _rule_breaks.append(f"{what}: {reply}")
    # databricks-sdk sleeps and tries again for five minutes on a 503; only a provider's own 503 may come through.
    if reply.status == 503 and "external_model_error" not in reply.text:
        _rule_breaks.append(f"{what}: 503 {reply}")


def get(path, **options):
    return call("GET", path, **options)


def post(path, body=None, **options):
    return call("POST", path, body, **options)


def put(path, body=None, **options):
    return call("PUT", path, body, **options)


def delete(path, **options):
    return call("DELETE", path, **options)


def secret(key="openai"):
    return "{{secrets/%s/%s}}" % (SCOPE, key)


def make_scope():
    """The scope of this suite, holding the providers' keys."""
    made = post("/api/2.0/secrets/scopes/create", {"scope": SCOPE})
    assert made.status == 200 or made.json["error_code"] == "RESOURCE_ALREADY_EXISTS", str(made)
    for key in ("openai", "anthropic"):
        post("/api/2.0/secrets/put", {"scope": SCOPE, "key": key, "string_value": PROVIDER_KEY}).ok()


def openai_entity(model="echo", name=None, **config):
    """A served entity at the simulator. The name is given whenever the model's name is a script."""
    entity = {"external_model": {"name": model, "provider": "openai", "task": "llm/v1/chat", "openai_config": {
        "openai_api_key": secret(), "openai_api_base": UPSTREAM + "/v1", **config}}}
    return {"name": name, **entity} if name else entity


def anthropic_entity(model="echo", name=None, **config):
    entity = {"external_model": {"name": model, "provider": "anthropic", "task": "llm/v1/chat", "anthropic_config": {
        "anthropic_api_key": secret("anthropic"), **config}}}
    return {"name": name, **entity} if name else entity


def google_entity(model="echo", name=None, **config):
    entity = {"external_model": {"name": model, "provider": "google", "task": "llm/v1/chat", "google_config": {
        "google_api_key_plaintext": PROVIDER_KEY, "google_api_base": UPSTREAM, **config}}}
    return {"name": name, **entity} if name else entity


def vertex_entity(model="echo", name=None, **config):
    """Its tokens come from the simulator as well, for the key of the gateway's own tests."""
    pem = Path(__file__).resolve().parents[1] / "crates" / "gateway" / "tests" / "it" / "service_account.pem"
    account = {"type": "service_account", "client_email": f"{PREFIX}@p.iam.gserviceaccount.com", "private_key": pem.read_text(),
               "token_uri": UPSTREAM + "/google/token"}
    entity = {"external_model": {"name": model, "provider": "google-cloud-vertex-ai", "task": "llm/v1/chat", "google_cloud_vertex_ai_config": {
        "project_id": "p", "region": "us-central1", "private_key_plaintext": json.dumps(account), "vertex_api_base": UPSTREAM, **config}}}
    return {"name": name, **entity} if name else entity


def impatient(entity):
    """The entity with a limit on silence that a test can wait for: an extension field, unknown to the clients' own types."""
    return {**entity, "timeouts": {"first_byte_ms": 1000, "idle_ms": 1000}}


def endpoint_body(name, *entities, **more):
    return {"name": name, "config": {"served_entities": list(entities)}, **more}


def make_endpoint(name, *entities, **more):
    """Creates (anew) the endpoint and waits until it serves."""
    delete(f"{ENDPOINTS}/{name}")
    post(ENDPOINTS, endpoint_body(name, *entities, **more)).ok()
    return wait_ready(name)


def wait_ready(name, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        endpoint = get(f"{ENDPOINTS}/{name}").ok()
        if endpoint["state"] == {"ready": "READY", "config_update": "NOT_UPDATING"}:
            return endpoint
        time.sleep(0.1)
    raise AssertionError(f"{name} is not ready after {seconds} s: {endpoint['state']}")


def ask(endpoint, text="hello", **fields):
    """One chat question at the invocations path."""
    body = {"messages": [{"role": "user", "content": text}], **fields}
    return post(f"/serving-endpoints/{endpoint}/invocations", body)


def sse_chunks(reply):
    """The JSON chunks of a streamed chat answer; whether it ended with [DONE]."""
    lines = [line for line in reply.text.split("\n") if line.strip()]
    strange = [line for line in lines if not line.startswith("data:")]
    assert not strange, f"only data: lines may be in this stream: {strange[:3]}"
    texts = [line[5:].strip() for line in lines]
    done = bool(texts) and texts[-1] == "[DONE]"
    return [json.loads(text) for text in texts if text != "[DONE]"], done


def streamed_text(chunks):
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk.get("choices"))


def ledger():
    """What the simulator received, oldest first."""
    return get("/_ledger?limit=1000000", base=UPSTREAM, token=None).json["requests"]


class Arrivals:
    """What the simulator received since this was made. It keeps no more than the last 20,000 requests: of more, take them now and then."""
    def __init__(self):
        self.last = max((request["id"] for request in ledger()), default=0)

    def take(self):
        """Those that were not taken before, oldest first."""
        requests = get(f"/_ledger?limit=1000000&since={self.last}", base=UPSTREAM, token=None).json["requests"]
        self.last = max((request["id"] for request in requests), default=self.last)
        return requests


def last_upstream_request(model):
    return [request for request in ledger() if request["model"] == model][-1]


def workspace(token=TOKEN):
    """databricks-sdk's client, with a short budget for retries."""
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.core import Config
    return WorkspaceClient(config=Config(host=HOST, token=token, retry_timeout_seconds=5))
