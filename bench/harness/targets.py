"""Reads targets.json, and starts and prepares each target."""

import json
import os
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from harness.build import BENCH
from harness.processes import BenchError, check_free

READY_S = 120
TOLLGATE_READY_S = 15
STUB = "http://127.0.0.1:9100"


def http(url, data=None, headers=None, timeout=10):
    request = urllib.request.Request(url, data=data, headers=headers or {})
    with urllib.request.urlopen(request, timeout=timeout) as response:
        return response.read()


def control(**settings):
    """Changes the stub's settings; returns its counters."""
    query = "&".join(f"{key}={value}" for key, value in settings.items())
    return json.loads(http(f"{STUB}/_ctl?{query}"))


def read(wanted, peers, quick, skip_tollgate):
    """The targets of this run, in the order of the file."""
    targets = json.loads((BENCH / "targets.json").read_text())
    names = {target["name"] for target in targets}
    if unknown := (set(wanted) | set(peers)) - names:
        raise BenchError(f"no such target: {', '.join(sorted(unknown))} (there are {', '.join(sorted(names))})")

    def chosen(target):
        name = target["name"]
        if "peer" in target:
            return name in peers
        if skip_tollgate and target.get("tollgate"):
            return False
        if name == "direct":
            return True  # what latencies are compared with
        return name in wanted if wanted else not (quick and target.get("not_quick"))
    return [target for target in targets if chosen(target)]


def body(target, stream, size=1024):
    """A chat request of `size` bytes."""
    system = "You are a helpful assistant for the finance department. Answer briefly and cite the policy number."
    text = "Summarise the quarterly travel expense report and list the three largest items with their centres. "
    user = {"role": "user", "content": ""}
    request = {"model": target.get("model", "gpt-4o-mini"), "max_tokens": 256, "temperature": 0.7,
               "messages": [{"role": "system", "content": system}, user]}
    if stream:
        request["stream"] = True
    missing = size - len(json.dumps(request))
    user["content"] = (text * (size // len(text) + 1))[:missing]
    return json.dumps(request).encode()


class Running:
    """A started target: its process, if it has one, and the headers its requests need."""

    def __init__(self, children, target, places):
        self.children, self.target = children, target
        self.child, self.headers = None, dict(target.get("headers", {}))
        # A new folder for each start: the next round's Tollgate must find none of this one's data.
        self.folder = Path(tempfile.mkdtemp(prefix=f"{target['name']}-", dir=places["TMP"]))
        self.places = {**places, "TMP": str(self.folder), "BENCH": str(BENCH)}

    def __enter__(self):
        try:
            self.launch()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.child:
            self.children.stop(self.child)

    def launch(self):
        url = urlsplit(self.target["url"])
        self.root = f"http://{url.netloc}"
        if self.target.get("tollgate"):
            self.start(url.port, [self.places["TOLLGATE"], "serve"], tollgate_env(url.netloc, self.folder))
            self.prepare_tollgate()
        elif "cmd" in self.target:
            argv = [Template(word).substitute(self.places) for word in self.target["cmd"]]
            self.start(url.port, argv, {**os.environ, **self.target.get("env", {})})
        headers = {"content-type": "application/json", **self.headers}
        self.wait(lambda: http(self.target["url"], body(self.target, stream=False), headers))

    @property
    def pid(self):
        return self.child.pid if self.child else None

    def start(self, port, argv, env):
        check_free(port)
        self.child = self.children.start(self.target["name"], argv, core=0, env=env)

    def wait(self, attempt):
        """Tries until it works or the time is up."""
        limit_s = TOLLGATE_READY_S if self.target.get("tollgate") else READY_S
        last, end = "", time.monotonic() + limit_s
        while time.monotonic() < end:
            if self.child and self.child.poll() is not None:
                last = f"it ended with {self.child.returncode}"
                break
            try:
                return attempt()
            except urllib.error.HTTPError as error:
                last = f"status {error.code}: {error.read()[:300].decode(errors='replace')}"
            except OSError as error:
                last = str(error)
            time.sleep(0.05)
        log = self.children.log(self.target["name"])
        raise BenchError(f"{self.target['name']} does not get ready: {last}\n{log}")

    def prepare_tollgate(self):
        """Creates what the requests need, as a user would: over REST, with the token of the first start."""
        self.wait(lambda: http(f"{self.root}/readyz"))
        token = self.wait(lambda: (self.folder / "admin.token").read_text().strip())
        self.headers["authorization"] = f"Bearer {token}"
        self.post("/api/2.0/secrets/scopes/create", {"scope": "bench"})
        self.post("/api/2.0/secrets/put", {"scope": "bench", "key": "k", "string_value": "sk-bench"})
        for endpoint in (openai_endpoint("bench"), payload_endpoint(), governed_endpoint(), anthropic_endpoint()):
            self.post("/api/2.0/serving-endpoints", endpoint)

    def post(self, path, value):
        headers = {"content-type": "application/json", **self.headers}
        try:
            http(self.root + path, json.dumps(value).encode(), headers)
        except urllib.error.HTTPError as error:
            answer = error.read()[:500].decode(errors="replace")
            raise BenchError(f"POST {path} is answered with {error.code}: {answer}") from error


def tollgate_env(listen, data):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("TOLLGATE_")}
    return inherited | {"TOLLGATE_SERVER__LISTEN": listen, "TOLLGATE_SERVER__DATA": str(data),
                        "TOLLGATE_EGRESS__ALLOW": "127.0.0.1", "TOLLGATE_LOG__LEVEL": "warn"}


def endpoint(name, model, provider, config):
    external = {"name": model, "provider": provider, "task": "llm/v1/chat", f"{provider}_config": config}
    return {"name": name, "config": {"served_entities": [{"name": "stub", "external_model": external}]}}


def openai_endpoint(name):
    config = {"openai_api_key": "{{secrets/bench/k}}", "openai_api_base": f"{STUB}/v1"}
    return endpoint(name, "gpt-4o-mini", "openai", config)


def payload_endpoint():
    """Every request and answer is kept in a table."""
    return openai_endpoint("bench-payload") | {"ai_gateway": {"inference_table_config": inference_table("payload")}}


def governed_endpoint():
    """All at once: limits that are never reached, guardrails on what goes in and comes out, usage and bodies in tables."""
    limits = [{"key": key, kind: 10**9, "renewal_period": "minute"} for key in ("endpoint", "user") for kind in ("calls", "tokens")]
    guards = {"pii": {"behavior": "BLOCK"}, "invalid_keywords": ["project nightingale"]}
    return openai_endpoint("bench-governed") | {"ai_gateway": {
        "rate_limits": limits, "guardrails": {"input": guards, "output": guards},
        "usage_tracking_config": {"enabled": True}, "inference_table_config": inference_table("governed")}}


def inference_table(prefix):
    return {"enabled": True, "catalog_name": "main", "schema_name": "bench", "table_name_prefix": prefix}


def anthropic_endpoint():
    config = {"anthropic_api_key": "{{secrets/bench/k}}", "anthropic_api_base": STUB}
    return endpoint("bench-anthropic", "claude-3-5-sonnet-latest", "anthropic", config)
