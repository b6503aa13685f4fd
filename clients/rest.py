#!/usr/bin/env python3
"""Control plane over plain HTTP: serving endpoints, secrets, tokens, identity, and bad input. Standard library only."""
import base64
import concurrent.futures
import http.client
import json
import re
import time
from urllib.parse import urlsplit

from harness import *

NAME = f"{PREFIX}-endpoint"
ONE = f"{ENDPOINTS}/{NAME}"
INVALID = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST")
make_scope()
for listed in get(ENDPOINTS).ok()["endpoints"]:
    if listed["name"].startswith(PREFIX + "-"):
        delete(f"{ENDPOINTS}/{listed['name']}")


def nulls(value, path="reply"):
    """Where a reply has null: a missing object is to be left out."""
    if value is None:
        return [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in nulls(item, f"{path}.{key}")]


def create_refused(body, *codes, saying=()):
    reply = post(ENDPOINTS, body)
    if reply.status == 200 and isinstance(body, dict):
        delete(f"{ENDPOINTS}/{body['name']}")
    return reply.refused(400, *(codes or INVALID), saying=saying)


# ---- identity and discovery

@check("readyz answers 200 without a credential")
def readyz():
    assert get("/readyz", token=None).status == 200


@check("well-known: databricks-config leads to the OAuth metadata; no credential needed")
def discovery():
    config = get("/.well-known/databricks-config", token=None).ok()
    assert int(config["workspace_id"]) and isinstance(config["workspace_id"], str) and config["account_id"], config
    assert config["oidc_endpoint"].startswith(HOST), config
    path = config["oidc_endpoint"][len(HOST):].rstrip("/")
    metadata = get(path + "/.well-known/oauth-authorization-server", token=None).ok()
    assert metadata["token_endpoint"] and metadata["authorization_endpoint"], metadata


@check("SCIM Me: the admin, in group admins, with an integer X-Databricks-Org-Id")
def me():
    reply = get("/api/2.0/preview/scim/v2/Me")
    body = reply.ok()
    assert body["userName"] and isinstance(body["id"], str) and body["schemas"] and body["active"] is True, body
    assert "admins" in [group["display"] for group in body["groups"]], body
    assert int(reply.headers["x-databricks-org-id"]) >= 0
    return body


@check("credentials: bearer in any letter case and Basic token:<PAT> are accepted")
def credentials():
    basic = base64.b64encode(f"token:{TOKEN}".encode()).decode()
    for value in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Basic {basic}"):
        get(ENDPOINTS, token=None, headers={"Authorization": value}).ok()


@check("no credential is 401 UNAUTHENTICATED, a wrong one 401 or 403, on control and query paths")
def no_credentials():
    for path, send in ((ENDPOINTS, get), ("/serving-endpoints/x/invocations", post), ("/serving-endpoints/chat/completions", post)):
        body = {} if send is get else {"body": {"model": "x", "messages": []}}
        send(path, token=None, **body).refused(401, "UNAUTHENTICATED", "401")
        wrong = base64.b64encode(b"token:dapi0").decode()
        for value in ("Bearer dapi0123456789", "Bearer ", "Bearer", f"Basic {wrong}", "Basic ???", "Digest x", "\u00ff"):
            send(path, token=None, headers={"Authorization": value}, **body).refused((401, 403))


@check("a path that is no API is 404 ENDPOINT_NOT_FOUND, a wrong method 404 or 405")
def no_such_api():
    for path in ("/api/2.0/no-such-api", "/api/9.9/serving-endpoints", "/no-such-page/x"):
        get(path, headers={"Accept": "application/json"}).refused(404, "ENDPOINT_NOT_FOUND")
    call("PATCH", ENDPOINTS, {}).refused((404, 405))


# ---- tokens

@check("tokens: create, use, list without the value, delete, refused at once")
def tokens():
    made = post("/api/2.0/token/create", {"comment": "from rest", "lifetime_seconds": 600}).ok()
    value, info = made["token_value"], made["token_info"]
    assert value.startswith("dapi") and len(value) >= 36, "a token is dapi and enough random characters"
    assert 595_000 <= info["expiry_time"] - info["creation_time"] <= 605_000 and info["comment"] == "from rest", info
    assert get("/api/2.0/preview/scim/v2/Me", token=value).ok()["userName"] == me["userName"]
    listing = get("/api/2.0/token/list")
    assert info["token_id"] in [entry["token_id"] for entry in listing.ok()["token_infos"]] and value not in listing.text
    assert post("/api/2.0/token/delete", {"token_id": info["token_id"]}).ok() == {}
    get(ENDPOINTS, token=value).refused((401, 403))
    post("/api/2.0/token/delete", {"token_id": info["token_id"]}).refused(404, "RESOURCE_DOES_NOT_EXIST")


@check("tokens: one without a lifetime never expires, one of a second does; a bad lifetime is refused")
def token_lifetimes():
    forever = post("/api/2.0/token/create", {}).ok()
    assert forever["token_info"]["expiry_time"] == -1, forever["token_info"]
    post("/api/2.0/token/delete", {"token_id": forever["token_info"]["token_id"]}).ok()
    short = post("/api/2.0/token/create", {"lifetime_seconds": 1}).ok()["token_value"]
    get(ENDPOINTS, token=short).ok()
    time.sleep(1.3)
    get(ENDPOINTS, token=short).refused((401, 403))
    for lifetime in (-5, "soon"):
        post("/api/2.0/token/create", {"lifetime_seconds": lifetime}).refused(400, *INVALID)


# ---- secrets

@check("secrets: scopes are made once, whatever the letter case, and go with their secrets")
def scopes():
    scope = f"{PREFIX}-scope"
    assert post("/api/2.0/secrets/scopes/create", {"scope": scope}).ok() == {}
    for again in (scope, scope.upper()):
        post("/api/2.0/secrets/scopes/create", {"scope": again}).refused(400, "RESOURCE_ALREADY_EXISTS")
    assert scope in [entry["name"] for entry in get("/api/2.0/secrets/scopes/list").ok()["scopes"]]
    post("/api/2.0/secrets/put", {"scope": scope, "key": "k", "string_value": "v"}).ok()
    assert post("/api/2.0/secrets/scopes/delete", {"scope": scope}).ok() == {}
    get(f"/api/2.0/secrets/get?scope={scope}&key=k").refused(404, "RESOURCE_DOES_NOT_EXIST")
    post("/api/2.0/secrets/scopes/delete", {"scope": scope}).refused(404, "RESOURCE_DOES_NOT_EXIST")
    post("/api/2.0/secrets/put", {"scope": scope, "key": "k", "string_value": "v"}).refused(404, "RESOURCE_DOES_NOT_EXIST")
    get(f"/api/2.0/secrets/list?scope={scope}").refused(404, "RESOURCE_DOES_NOT_EXIST")


@check("secrets: put text and bytes, overwrite, get base64, list without values, delete")
def secrets():
    def value(key):
        return base64.b64decode(get(f"/api/2.0/secrets/get?scope={SCOPE}&key={key}").ok()["value"])
    assert post("/api/2.0/secrets/put", {"scope": SCOPE, "key": "text", "string_value": "vé\u0000\n"}).ok() == {}
    assert value("text") == "vé\u0000\n".encode()
    post("/api/2.0/secrets/put", {"scope": SCOPE, "key": "text", "string_value": "second"}).ok()
    assert value("text") == b"second"
    post("/api/2.0/secrets/put", {"scope": SCOPE, "key": "bytes", "bytes_value": "AAH/"}).ok()
    assert value("bytes") == b"\x00\x01\xff"
    listing = get(f"/api/2.0/secrets/list?scope={SCOPE}")
    entry = [entry for entry in listing.ok()["secrets"] if entry["key"] == "text"][0]
    assert set(entry) == {"key", "last_updated_timestamp"} and abs(entry["last_updated_timestamp"] / 1000 - time.time()) < 60, entry
    assert "second" not in listing.text
    assert post("/api/2.0/secrets/delete", {"scope": SCOPE, "key": "text"}).ok() == {}
    get(f"/api/2.0/secrets/get?scope={SCOPE}&key=text").refused(404, "RESOURCE_DOES_NOT_EXIST")
    post("/api/2.0/secrets/delete", {"scope": SCOPE, "key": "text"}).refused(404, "RESOURCE_DOES_NOT_EXIST")


@check("secrets: 128 KB is the most; both values, none, bad base64 and bad names are refused")
def bad_secrets():
    def put_secret(**fields):
        return post("/api/2.0/secrets/put", {"scope": SCOPE, "key": "limits", **fields})
    put_secret(string_value="x" * 128 * 1024).ok()
    put_secret(string_value="x" * (128 * 1024 + 1)).refused(400, *INVALID)
    put_secret(string_value="a", bytes_value="YQ==").refused(400, *INVALID)
    put_secret().refused(400, *INVALID)
    put_secret(bytes_value="not base64!").refused(400, *INVALID)
    for name in ("", "a b", "k" * 129, "a{b}"):
        put_secret(key=name, string_value="v").refused(400, *INVALID)
        post("/api/2.0/secrets/scopes/create", {"scope": name}).refused(400, *INVALID)
    post("/api/2.0/secrets/delete", {"scope": SCOPE, "key": "limits"}).ok()


# ---- serving endpoints

@check("create: the whole ServingEndpointDetailed, nothing null, the secret still a reference")
def created():
    before = time.time() * 1000
    body = endpoint_body(NAME, openai_entity("gpt-4.1:x"), tags=[{"key": "team", "value": "a"}, {"key": "bare"}], unknown_field={"a": 1})
    reply = post(ENDPOINTS, body).ok()
    assert reply["name"] == NAME, reply
    endpoint = wait_ready(NAME)
    assert re.fullmatch(r"[0-9a-f]{8,}", endpoint["id"]) and endpoint["creator"] == me["userName"], endpoint
    assert before - 5000 <= endpoint["creation_timestamp"] <= endpoint["last_updated_timestamp"] <= time.time() * 1000 + 5000, endpoint
    assert endpoint["permission_level"] == "CAN_MANAGE" and endpoint["task"] == "llm/v1/chat", endpoint
    assert endpoint["route_optimized"] is False and endpoint["description"] == "", endpoint
    assert endpoint["tags"] == [{"key": "team", "value": "a"}, {"key": "bare", "value": ""}], endpoint["tags"]
    assert not {"pending_config", "data_plane_info", "endpoint_url", "unknown_field"} & set(endpoint), list(endpoint)
    config = endpoint["config"]
    assert config["config_version"] == 1, config
    [entity] = config["served_entities"]
    assert entity["name"] == "gpt-4-1-x" and entity["state"]["deployment"] == "DEPLOYMENT_READY", entity
    assert isinstance(entity["state"]["deployment_state_message"], str) and entity["creator"] == me["userName"], entity
    assert entity["external_model"] == openai_entity("gpt-4.1:x")["external_model"], entity
    assert config["traffic_config"] == {"routes": [
        {"served_model_name": "gpt-4-1-x", "served_entity_name": "gpt-4-1-x", "traffic_percentage": 100}]}, config
    assert not nulls(reply) and not nulls(endpoint), nulls(reply) + nulls(endpoint)
    return endpoint


@check("get and list agree; the trailing slash changes nothing")
def listed_endpoints():
    for path in (ENDPOINTS, ENDPOINTS + "/"):
        [item] = [item for item in get(path).ok()["endpoints"] if item["name"] == NAME]
        for key in ("name", "id", "creator", "creation_timestamp", "state", "task", "tags"):
            assert item[key] == created[key], (key, item)
        [entity] = item["config"]["served_entities"]
        assert entity["name"] == "gpt-4-1-x" and entity["external_model"]["name"] == "gpt-4.1:x", item
        assert not nulls(item), nulls(item)
    assert get(ONE + "/").ok() == get(ONE).ok()


@check("a name is taken once: RESOURCE_ALREADY_EXISTS, also for eight creates at the same time")
def duplicates():
    create = lambda name: post(ENDPOINTS, endpoint_body(name, openai_entity()))
    create(NAME).refused((400, 409), "RESOURCE_ALREADY_EXISTS")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(create, [f"{PREFIX}-race"] * 8))
    assert sorted(reply.status for reply in replies)[:2][0] == 200 and [reply.status for reply in replies].count(200) == 1, [str(r) for r in replies]
    for reply in replies:
        reply.status == 200 or reply.refused((400, 409), "RESOURCE_ALREADY_EXISTS")
    delete(f"{ENDPOINTS}/{PREFIX}-race").ok()


@check("update: the config is replaced, its version grows, order and a 0 % route are kept")
def updated():
    routes = [{"served_model_name": "second", "traffic_percentage": 100}, {"served_entity_name": "first", "traffic_percentage": 0}]
    reply = put(ONE + "/config", {"name": NAME, "served_entities": [openai_entity(name="second"), openai_entity(name="first")],
                                  "traffic_config": {"routes": routes}}).ok()
    assert reply["name"] == NAME and reply["state"]["ready"] == "READY", reply
    endpoint = wait_ready(NAME)
    assert endpoint["config"]["config_version"] == 2 and "pending_config" not in endpoint, endpoint
    assert [entity["name"] for entity in endpoint["config"]["served_entities"]] == ["second", "first"]
    shares = {route["served_entity_name"]: route["traffic_percentage"] for route in endpoint["config"]["traffic_config"]["routes"]}
    assert shares == {"second": 100, "first": 0}, shares
    assert all(route["served_entity_name"] == route["served_model_name"] for route in endpoint["config"]["traffic_config"]["routes"])
    assert endpoint["id"] == created["id"] and endpoint["creation_timestamp"] == created["creation_timestamp"]
    put(f"{ENDPOINTS}/{PREFIX}-none/config", {"served_entities": [openai_entity()]}).refused(404, "RESOURCE_DOES_NOT_EXIST")


@check("a refused update leaves the endpoint as it was")
def update_refused():
    before = get(ONE).ok()
    for bad in ({"served_entities": []}, {"served_entities": [openai_entity(openai_api_key="{{secrets/nowhere/key}}")]},
                {"served_entities": [{"name": "c", "entity_name": "main.default.m", "entity_version": "1"}]}):
        put(ONE + "/config", bad).refused(400, *INVALID)
    assert get(ONE).ok() == before


@check("unknown endpoint: 404 RESOURCE_DOES_NOT_EXIST naming it, for get, delete, query; odd names too")
def unknown_endpoint():
    for reply in (get(f"{ENDPOINTS}/nowhere"), delete(f"{ENDPOINTS}/nowhere"), ask("nowhere"),
                  post("/serving-endpoints/chat/completions", {"model": "nowhere", "messages": [{"role": "user", "content": "x"}]})):
        reply.refused(404, "RESOURCE_DOES_NOT_EXIST", saying="nowhere")
    for odd in ("%00", "%2e%2e", "a%2Fb", "%ff", "%F0%9F%98%80", "x" * 5000):
        get(f"{ENDPOINTS}/{odd}").refused((400, 404, 414))


@check("create refuses a missing secret with 400 and says which")
def missing_secret():
    message = create_refused(endpoint_body(f"{PREFIX}-bad", openai_entity(openai_api_key="{{secrets/%s/absent-key}}" % SCOPE)), "INVALID_PARAMETER_VALUE")
    assert SCOPE in message and "absent-key" in message, message
    message = create_refused(endpoint_body(f"{PREFIX}-bad", openai_entity(openai_api_key="{{secrets/absent-scope/k}}")), "INVALID_PARAMETER_VALUE")
    assert "absent-scope" in message, message
    create_refused(endpoint_body(f"{PREFIX}-bad", openai_entity(openai_api_key="sk-not-a-reference")))


@check("create refuses a wrong provider name and names the nearest right one")
def wrong_provider():
    for wrong, right in (("opneai", "openai"), ("antropic", "anthropic"), ("OpenAI", "openai"), ("anthropics", "anthropic")):
        entity = openai_entity()
        entity["external_model"]["provider"] = wrong
        create_refused(endpoint_body(f"{PREFIX}-bad", entity), "INVALID_PARAMETER_VALUE", saying=(wrong, right))


def _external(**changes):
    entity = openai_entity()
    entity["external_model"].update(changes)
    return {"served_entities": [{**entity, "external_model": {k: v for k, v in entity["external_model"].items() if v is not None}}]}


def _routes(*shares):
    return {"served_entities": [openai_entity(name="a"), openai_entity(name="b")],
            "traffic_config": {"routes": [{"served_model_name": name, "traffic_percentage": share} for name, share in shares]}}


BAD_CONFIGS = {
    "no config": None, "no entities": {"served_entities": []}, "an entity that is nothing": {"served_entities": [{}]},
    "entities no list": {"served_entities": {"a": 1}}, "two entities, no routes": {"served_entities": [openai_entity(name="a"), openai_entity(name="b")]},
    "one entity name twice": {**_routes(("a", 100)), "served_entities": [openai_entity(name="a"), openai_entity(name="a")]},
    "a bad entity name": {"served_entities": [openai_entity(name="a;b")]}, "routes above 100": _routes(("a", 60), ("b", 60)),
    "routes below 100": _routes(("a", 60), ("b", 30)), "a negative route": _routes(("a", 150), ("b", -50)), "a route to nowhere": _routes(("a", 50), ("z", 50)),
    "no model name": _external(name=None), "no task": _external(task=None), "an unknown task": _external(task="llm/v1/chatt"),
    "no provider": _external(provider=None), "no provider config": _external(openai_config=None),
    "another provider's config": _external(provider="anthropic"),
    "no key": _external(openai_config={}), "both keys": _external(openai_config={"openai_api_key": secret(), "openai_api_key_plaintext": "sk"}),
    "mixed tasks": {**_routes(("a", 50), ("b", 50)), "served_entities": [openai_entity(name="a"), {**_external(task="llm/v1/embeddings")["served_entities"][0], "name": "b"}]},
}


@check(f"create refuses {len(BAD_CONFIGS)} wrong configs and 8 wrong names with 400 and a message")
def bad_creates():
    accepted = []
    bodies = {what: endpoint_body(f"{PREFIX}-bad") | {"config": config} for what, config in BAD_CONFIGS.items()}
    for name in ("", "bad name", "a/b", "ä", "x" * 64, "databricks-mine", 5, None):
        bodies[f"name {name!r}"] = endpoint_body(name, openai_entity())
    for what, body in bodies.items():
        try:
            create_refused(body)
        except (AssertionError, ValueError, KeyError) as error:
            accepted.append(f"{what}: {error}")
    assert not accepted, accepted
    make_endpoint("y" * 63, openai_entity())
    delete(f"{ENDPOINTS}/{'y' * 63}").ok()


@check("wrong JSON is 400: cut off, empty, no object, NaN, not UTF-8, wrong types, 100000 levels deep")
def wrong_json():
    deep = b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for body in (b"", b"{", b"[]", b'"x"', b"null", b"17", b'{"name": NaN}', b'{"name": "\xff\xfe"}', b'{"name": {}}', b'{"name": "x", "config": []}', deep):
        post(ENDPOINTS, body).refused(400, *INVALID)
        post("/api/2.0/secrets/scopes/create", body).refused(400, *INVALID)
    message = post(ENDPOINTS, {"name": 5, "config": {}}).refused(400)
    assert "name" in message, message
    get("/readyz")


@check("duplicate keys: refused, or the last one counts everywhere")
def duplicate_keys():
    first, last = f"{PREFIX}-dup-a", f"{PREFIX}-dup-b"
    config = json.dumps({"served_entities": [openai_entity()]})
    reply = post(ENDPOINTS, f'{{"name":"{first}","name":"{last}","config":{config}}}'.encode())
    if reply.status != 200:
        return reply.refused(400, *INVALID)
    assert reply.json["name"] == last, reply
    get(f"{ENDPOINTS}/{first}").refused(404)
    delete(f"{ENDPOINTS}/{last}").ok()


@check("a body without Content-Type is read as JSON; unknown fields are ignored")
def no_content_type():
    address = urlsplit(HOST)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    connection.request("POST", "/api/2.0/secrets/put", json.dumps({"scope": SCOPE, "key": "untyped", "string_value": "v", "later": 1}),
                       {"Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    assert answer.status == 200 and json.loads(answer.read()) == {}, answer.status


@check("plaintext keys are in no reply")
def plaintext():
    name, key = f"{PREFIX}-plain", "sk-PLAINTEXT-0123456789"
    entity = openai_entity()
    entity["external_model"]["openai_config"] = {"openai_api_key_plaintext": key, "openai_api_base": UPSTREAM + "/v1"}
    replies = [post(ENDPOINTS, endpoint_body(name, entity)), get(f"{ENDPOINTS}/{name}"), get(ENDPOINTS), ask(name)]
    for reply in replies:
        reply.ok()
        assert key not in reply.text and "_plaintext" not in reply.text, reply
    assert last_upstream_request("echo")["headers"]["authorization"] == f"Bearer {key}"
    delete(f"{ENDPOINTS}/{name}").ok()


@check("default parameters are checked, echoed, kept by an update that sends them, and reach the provider where the caller sent none")
def default_params():
    name, wanted = f"{PREFIX}-defaults", {"max_tokens": 7, "temperature": 0.25}
    entity = openai_entity()
    entity["external_model"]["default_params"] = wanted
    make_endpoint(name, entity)
    shown = get(f"{ENDPOINTS}/{name}").ok()["config"]["served_entities"][0]["external_model"]["default_params"]
    assert shown == wanted, shown
    ask(name, temperature=1).ok()
    sent = last_upstream_request("echo")["body"]
    assert (sent["max_tokens"], sent["temperature"]) == (7, 1), sent
    put(f"{ENDPOINTS}/{name}/config", {"served_entities": [entity]}).ok()
    assert get(f"{ENDPOINTS}/{name}").ok()["config"]["served_entities"][0]["external_model"]["default_params"] == wanted
    entity["external_model"]["default_params"] = {"temprature": 1}
    message = put(f"{ENDPOINTS}/{name}/config", {"served_entities": [entity]}).refused(400, "INVALID_PARAMETER_VALUE")
    assert "default_params" in message and "temperature" in message, message
    delete(f"{ENDPOINTS}/{name}").ok()


@check("delete answers {} once, then 404; the name is free again")
def deleted():
    assert delete(ONE).ok() == {}
    delete(ONE).refused(404, "RESOURCE_DOES_NOT_EXIST")
    ask(NAME).refused(404, "RESOURCE_DOES_NOT_EXIST")
    again = make_endpoint(NAME, openai_entity())
    assert again["id"] != created["id"] and again["config"]["config_version"] == 1, again
    delete(ONE).ok()


finish()
