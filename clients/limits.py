#!/usr/bin/env python3
"""Rate limits, fallbacks and explain by REST, as the openai client meets them."""
import concurrent.futures
import time

import openai
from openai import OpenAI

from harness import *

CHAT, PAIR = f"{PREFIX}-chat", f"{PREFIX}-pair"
USER = [{"role": "user", "content": "hello there"}]
make_scope()
make_endpoint(CHAT, openai_entity())
client = OpenAI(api_key=TOKEN, base_url=HOST + "/serving-endpoints", max_retries=0, timeout=60)


def limit(*limits):
    put(f"/api/2.0/serving-endpoints/{CHAT}/ai-gateway", {"rate_limits": list(limits)}).ok()


def ask(**more):
    return client.chat.completions.with_raw_response.create(model=CHAT, messages=USER, max_tokens=20, **more)


def room_in_this_minute(seconds=10):
    """So that no window ends in the middle of a check."""
    left = 60 - time.time() % 60
    if left < seconds:
        time.sleep(left + 0.2)


def explained(**more):
    return post("/api/tollgate/v1/explain", {"endpoint": CHAT, **more}).ok()


@check("the headers count down, then RateLimitError with Retry-After")
def headers():
    limit({"calls": 2, "tokens": 100000, "key": "user", "renewal_period": "minute"})
    room_in_this_minute()
    left = [ask(stream=stream).headers["x-ratelimit-remaining-requests"] for stream in (False, True)]
    assert left == ["1", "0"], left
    error = raises(openai.RateLimitError, ask)
    told = error.response.headers
    assert 1 <= int(told["retry-after"]) <= 60 and told["x-ratelimit-limit-requests"] == "2", dict(told)
    assert int(told["x-ratelimit-remaining-tokens"]) > 99000 and told["x-ratelimit-reset-tokens"].endswith("s"), dict(told)
    assert "user default rate limit is 2 calls per minute, 2 are used" in str(error), error


@check("of 300 calls at once exactly 40 are let in")
def burst():
    limit({"calls": 40, "key": "endpoint", "renewal_period": "hour"})
    used = {item["measure"]: item["used"] for item in explained()["limits"]}["calls"]
    limit({"calls": 40 + used, "key": "endpoint", "renewal_period": "hour"})

    def once(_):
        return post(f"/serving-endpoints/{CHAT}/invocations", {"messages": USER}).status
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        statuses = list(pool.map(once, range(300)))
    assert (statuses.count(200), statuses.count(429)) == (40, 260), {status: statuses.count(status) for status in statuses}


@check("0 is PermissionDeniedError, and nothing else has changed when it is gone")
def switched_off():
    limit({"tokens": 0, "renewal_period": "minute"})
    assert "rate limit of 0" in str(raises(openai.PermissionDeniedError, ask))
    assert explained()["would"]["status"] == 403
    limit()
    assert "x-ratelimit-limit-requests" not in ask().headers


@check("a limit that only reports lets through, and is in the metrics")
def reports():
    limit({"calls": 1, "key": "service_principal", "renewal_period": "hour"},
          {"calls": 0, "key": "user", "renewal_period": "hour", "report_only": True})
    assert ask().parse().usage.total_tokens > 0
    lines = [line for line in get("/metrics").text.splitlines() if line.startswith("tollgate_limits_exceeded_total{") and f'"{CHAT}"' in line]
    assert any('refused="false"' in line and 'key="user"' in line for line in lines), lines
    limit()


@check("explain tells permission, headroom and route, and takes nothing")
def explains():
    limit({"tokens": 1000, "key": "endpoint", "renewal_period": "hour"})
    first = explained(request={"messages": USER, "max_tokens": 50})
    again = explained(request={"messages": USER, "max_tokens": 50})
    assert first["limits"][0]["used"] == again["limits"][0]["used"], (first, again)
    assert first["would"]["be_served"] and first["permission"]["has"] == "CAN_MANAGE", first
    assert first["tokens"]["most"] == first["tokens"]["least"] + 49, first["tokens"]
    assert first["route"][0]["circuit"]["state"] == "closed", first["route"]
    limit()


@check("an entity with a 429 is left to its circuit, which says whose it is")
def circuit():
    body = endpoint_body(PAIR, openai_entity("fail-429;retry_after=30", name="busy"), openai_entity(name="well"),
                         ai_gateway={"fallback_config": {"enabled": True}})
    body["config"]["traffic_config"] = {"routes": [{"served_entity_name": name, "traffic_percentage": share} for name, share in (("busy", 100), ("well", 0))]}
    post("/api/2.0/serving-endpoints", body).ok()
    for _ in range(5):
        raw = client.chat.completions.with_raw_response.create(model=PAIR, messages=USER)
        assert raw.headers["served-model-name"] == "well", dict(raw.headers)
    circuits = get(f"/api/tollgate/v1/endpoints/{PAIR}/circuits").json["circuits"]
    assert [(c["served_entity_name"], c["state"], c["blames"]) for c in circuits] == [("busy", "open", "quota"), ("well", "closed", None)], circuits
    assert circuits[0]["failures"] == 1 and 20 < circuits[0]["probe_in_seconds"] <= 30, circuits[0]


finish()
