#!/usr/bin/env python3
"""Secrets stay where they belong: planted through every input, searched for in everything that the server writes or says.

Its server logs at the trace level. The simulator's record is the provider's side and is not searched.
"""
import base64
import os
import secrets as randomness
import time
import urllib.parse
from pathlib import Path

from harness import *

# Files whose purpose is to hold a secret.
OWN_FILES = {"admin.token", "master.key"}
# Characters that change under percent-encoding, so that this form differs from the raw one.
CANARIES = {kind: f"canary-{kind}+/=&{randomness.token_hex(12)}" for kind in
            ("secret", "secret-bytes", "overwritten", "deleted", "plaintext", "bad-body", "wrong-token", "query", "file")}
CANARIES["admin-token"] = TOKEN
spoken = []


def forms(value):
    """The value as it could show up: raw, base64 at each of its three alignments, hex, percent-encoded, as bytes printed in a list."""
    raw = value.encode()
    found = {"raw": raw, "hex": raw.hex().encode(), "HEX": raw.hex().upper().encode(), "url": urllib.parse.quote(value, safe="").encode(),
             "utf-16": value.encode("utf-16-le"), "list of bytes": ", ".join(map(str, raw)).encode()}
    for shift in range(3):
        # The characters at both ends depend on what stands beside the value.
        inner = base64.b64encode(b"\0" * shift + raw).rstrip(b"=")[4 if shift else 0:-2]
        found[f"base64+{shift}"] = inner
        found[f"base64url+{shift}"] = inner.translate(bytes.maketrans(b"+/", b"-_"))
    return found


def keep(reply, given=None):
    """Records a reply for the search, without the one value that it was asked for."""
    text = reply.text
    if given is not None:
        assert given in text, reply
        text = text.replace(given, "")
    spoken.append(f"{reply.headers}\n{text}".encode())
    return reply


def encoded(value):
    return base64.b64encode(value.encode()).decode()


def chat_both_ways(name):
    for stream in (False, True):
        keep(ask(name, "hello", stream=stream))
        keep(post("/serving-endpoints/chat/completions", {"model": name, "messages": [{"role": "user", "content": "x"}], "stream": stream}))


def with_config(config, model="echo"):
    entity = openai_entity(model, name="entity")
    entity["external_model"]["openai_config"] = {"openai_api_base": UPSTREAM + "/v1", **config}
    return entity


def put_secret(key, **value):
    return keep(post("/api/2.0/secrets/put", {"scope": SCOPE, "key": key, **value}))


make_scope()


@check("plant: a bundle's state with a credential in it, written, overwritten, read back, deleted")
def files():
    folder, state = f"/Users/admin/{PREFIX}", json.dumps({"openai_api_key_plaintext": CANARIES["file"]})
    keep(post("/api/2.0/workspace/mkdirs", {"path": folder})).ok()
    for name in ("kept", "gone"):
        path = urllib.parse.quote(f"Users/admin/{PREFIX}/{name}", safe="")
        for _ in range(2):
            keep(call("POST", f"/api/2.0/workspace-files/import-file/{path}?overwrite=true", state.encode())).ok()
        keep(get(f"/api/2.0/workspace-files/{path}"), given=CANARIES["file"])
        keep(post("/api/2.0/workspace/import", {"path": f"{folder}/{name}", "content": encoded(state), "format": "AUTO", "overwrite": True})).ok()
    keep(post("/api/2.0/workspace/delete", {"path": f"{folder}/gone"})).ok()


@check("plant: secrets as text and bytes, overwritten, deleted, read back")
def planted():
    put_secret("planted", string_value=CANARIES["overwritten"]).ok()
    put_secret("planted", string_value=CANARIES["secret"]).ok()
    put_secret("bytes", bytes_value=encoded(CANARIES["secret-bytes"])).ok()
    put_secret("gone", string_value=CANARIES["deleted"]).ok()
    keep(post("/api/2.0/secrets/delete", {"scope": SCOPE, "key": "gone"})).ok()
    keep(get(f"/api/2.0/secrets/get?scope={SCOPE}&key=planted"), given=encoded(CANARIES["secret"])).ok()
    keep(get(f"/api/2.0/secrets/list?scope={SCOPE}")).ok()


@check("plant: a token, used, listed, deleted, used again")
def user_token():
    made = post("/api/2.0/token/create", {"comment": "leak"})
    value = CANARIES["user-token"] = made.ok()["token_value"]
    keep(made, given=value)
    keep(get(ENDPOINTS, token=value)).ok()
    keep(get("/api/2.0/token/list", token=value)).ok()
    keep(post("/api/2.0/token/delete", {"token_id": made.json["token_info"]["token_id"]})).ok()
    keep(get(ENDPOINTS, token=value)).refused((401, 403))


@check("plant: keys of endpoints, by reference and in plain text, asked with success and with each fault of the provider")
def traffic():
    scripts = {"fine": "echo", "refusing": "echo;status=401", "failing": "echo;status=500", "limited": "echo;status=429;retry_after=1",
               "cut": "echo;chunks=10;cut_after=3"}
    configs = {"ref": {"openai_api_key": secret("planted")}, "plain": {"openai_api_key_plaintext": CANARIES["plaintext"]}}
    for fault, script in scripts.items():
        for holder, config in configs.items():
            keep(post(ENDPOINTS, endpoint_body(f"{fault}-{holder}", with_config(config, script)))).ok()
            chat_both_ways(f"{fault}-{holder}")
    keep(post(ENDPOINTS, endpoint_body("claude", anthropic_entity(anthropic_api_key=secret("bytes"))))).ok()
    keep(post(ENDPOINTS, endpoint_body("dead", with_config({**configs["plain"], "openai_api_base": "http://127.0.0.1:1/v1"})))).ok()
    keep(put(f"{ENDPOINTS}/fine-plain/config", {"served_entities": [with_config(configs["plain"])]})).ok()
    for name in ("claude", "dead", "fine-ref", "fine-plain"):
        chat_both_ways(name)
        keep(get(f"{ENDPOINTS}/{name}")).ok()
    received = json.dumps(ledger())
    for kind in ("secret", "secret-bytes", "plaintext"):
        assert CANARIES[kind] in received, f"the provider did not get the key planted as {kind}"


@check("plant: values in requests that are refused")
def wrong_requests():
    bad = CANARIES["bad-body"]
    wrong_provider = with_config({"openai_api_key_plaintext": bad})
    wrong_provider["external_model"]["provider"] = "opneai"
    entities = [wrong_provider] + [with_config(config) for config in (
        {"openai_api_key": bad}, {"openai_api_key_plaintext": bad, "openai_api_key": secret()}, {"openai_api_key_plaintext": [bad]})]
    for entity in entities:
        keep(post(ENDPOINTS, endpoint_body("bad", entity))).refused(400)
    put_secret("no key", string_value=bad).refused(400)
    put_secret("key", string_value={"a": bad}).refused(400)
    put_secret("key", string_value=bad, bytes_value=bad).refused(400)
    put_secret("key", bytes_value=bad + "!").refused(400)
    keep(post("/api/2.0/secrets/put", {"scope": "absent", "key": "k", "string_value": bad})).refused(404)
    keep(post("/api/2.0/secrets/put", f'{{"scope": "{SCOPE}", "string_value": "{bad}"'.encode())).refused(400)


@check("plant: wrong credentials, and credentials in the address")
def wrong_credentials():
    token = CANARIES["wrong-token"]
    basic = f"Basic {encoded('token:' + token)}"
    for headers in ({"Authorization": f"Bearer {token}"}, {"Authorization": basic}, {"Authorization": token}, {"x-api-key": token}):
        keep(get(ENDPOINTS, token=None, headers=headers)).refused((401, 403))
        keep(post("/serving-endpoints/fine-ref/invocations", {"messages": []}, token=None, headers=headers)).refused((401, 403))
    in_address = urllib.parse.quote(CANARIES["query"], safe="")
    keep(get(f"{ENDPOINTS}?token={in_address}&api_key={in_address}"))
    keep(get(f"/no-such-path?access_token={in_address}"))


@check("the exports answer")
def exports():
    for path in ("/metrics", "/readyz", ENDPOINTS, "/api/2.0/preview/scim/v2/Me", f"{ENDPOINTS}/fine-ref/metrics"):
        keep(get(path, headers={"Accept": "*/*"}))
    # What is written after the answers: records of the requests, buffered lines of the log.
    time.sleep(1)


data = Path(os.environ["SERVER_DATA"])
written = {str(path.relative_to(data)): path.read_bytes() for path in sorted(data.rglob("*")) if path.is_file() and path.name not in OWN_FILES}
logs = {Path(name).name: Path(name).read_bytes() for name in os.environ["SERVER_LOGS"].split(":")}
searched = {**written, **logs, "replies": b"\n".join(spoken)}


@check("the search would find them: an endpoint's name is in the data files, in the log and in the replies")
def search_works():
    for contents in (written.values(), logs.values(), [searched["replies"]]):
        assert any(b"fine-ref" in content for content in contents), list(searched)


for kind, value in CANARIES.items():
    @check(f"not in {', '.join(searched)}: {kind}")
    def absent():
        hits = [f"{where} has it as {form}" for where, content in searched.items() for form, needle in forms(value).items() if needle in content]
        assert not hits, hits


finish()
