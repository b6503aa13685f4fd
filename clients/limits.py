#!/usr/bin/env python3
"""Rate limits, fallbacks and explain by REST, as the openai client meets them."""
import asyncio
import json
import os
import resource
import time
from collections import Counter
from urllib.parse import urlsplit

import openai
from openai import OpenAI

from harness import *

CHAT, CROWD, PAIR = f"{PREFIX}-chat", f"{PREFIX}-crowd", f"{PREFIX}-pair"
USER = [{"role": "user", "content": "hello there"}]
make_scope()
make_endpoint(CHAT, openai_entity())
make_endpoint(CROWD, openai_entity())
client = OpenAI(api_key=TOKEN, base_url=HOST + "/serving-endpoints", max_retries=0, timeout=60)


def limit(*limits, on=CHAT):
    put(f"/api/2.0/serving-endpoints/{on}/ai-gateway", {"rate_limits": list(limits)}).ok()


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


async def all_at_once(count):
    """The statuses of so many calls, each on a connection of its own; none is sent before all are connected."""
    address, body = urlsplit(HOST), json.dumps({"messages": USER})
    head = [f"POST /serving-endpoints/{CROWD}/invocations HTTP/1.1", "Host: server", f"Authorization: Bearer {TOKEN}", "Connection: close",
            f"Content-Length: {len(body)}"]
    request, connecting, connected, links = ("\r\n".join(head) + "\r\n\r\n" + body).encode(), asyncio.Semaphore(500), asyncio.Event(), []

    async def once():
        async with connecting:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
        links.append(writer)
        if len(links) == count:
            connected.set()
        await connected.wait()
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return int(answer[9:12])
    return await asyncio.gather(*(once() for _ in range(count)))


# Ten thousand at once are in `crates/gateway/tests/it/limits.rs`, without sockets: a server built for tests takes longer to accept them than it waits for a
# request.
BURST, RUNS = 2_000, 10 if os.environ.get("FULL") else 2


@check(f"of {BURST} calls at once exactly 100 are let in, {RUNS} times")
def burst():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    limit({"calls": 100, "key": "endpoint", "renewal_period": "hour"}, on=CROWD)
    arrivals = Arrivals()
    for _ in range(RUNS):
        used = {item["measure"]: item["used"] for item in explained(endpoint=CROWD)["limits"]}["calls"]
        limit({"calls": 100 + used, "key": "endpoint", "renewal_period": "hour"}, on=CROWD)
        statuses = Counter(asyncio.run(all_at_once(BURST)))
        assert statuses == {200: 100, 429: BURST - 100}, statuses
        assert len(arrivals.take()) == 100, "the provider got another number of calls than were let in"


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
