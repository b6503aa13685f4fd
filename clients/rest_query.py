#!/usr/bin/env python3
"""Query paths over plain HTTP: answers, streams, what the provider gets to see, faults of the provider, and bad input. Standard library only."""
import concurrent.futures
import http.client
import json
import shlex
import shutil
import subprocess
import time
from urllib.parse import urlsplit

from client_pages import code_of
from harness import *
from processes import free_port

CHAT, CLAUDE, FAULTY = f"{PREFIX}-chat", f"{PREFIX}-claude", f"{PREFIX}-faulty"
INVALID = ("BAD_REQUEST", "INVALID_PARAMETER_VALUE", "MALFORMED_REQUEST")
OVER_LIMIT = 1 << 30
make_scope()
make_endpoint(CHAT, openai_entity("echo", name="echo-entity"))
make_endpoint(CLAUDE, anthropic_entity("echo", name="claude-entity"))


def faulty(script, entity=openai_entity, **config):
    """An endpoint whose only served entity misbehaves as the script says."""
    return make_endpoint(FAULTY, impatient(entity(script, name="faulty-entity", **config)))


def provider_error(reply):
    """The inner object of a provider's error, which travels as JSON in the message string."""
    return json.loads(reply.json["message"])


def connection(seconds=30):
    address = urlsplit(HOST)
    return http.client.HTTPConnection(address.hostname, address.port, timeout=seconds)


def wait_for(what, seconds=5):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.05)


# ---- answers

for endpoint, entity in ((CHAT, "echo-entity"), (CLAUDE, "claude-entity")):
    @check(f"{endpoint}: answer, usage, served-model-name, model as the provider says")
    def answer():
        reply = ask(endpoint, "hi there", max_tokens=20)
        body = reply.ok()
        assert body["object"] == "chat.completion" and body["id"] and body["model"] == "echo" and isinstance(body["created"], int), body
        [choice] = body["choices"]
        assert choice["message"]["content"] == "echo: hi there" and choice["message"]["role"] == "assistant", body
        assert choice["finish_reason"] == "stop" and choice["index"] == 0, body
        usage = body["usage"]
        assert usage["prompt_tokens"] > 0 < usage["completion_tokens"], usage
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"], usage
        assert reply.headers["served-model-name"] == entity, reply.headers

    @check(f"{endpoint}: the stream has data lines only, the same text and usage as without, and ends with [DONE]")
    def stream():
        whole = ask(endpoint, "one two three", max_tokens=20).ok()
        reply = ask(endpoint, "one two three", max_tokens=20, stream=True)
        assert reply.status == 200 and reply.headers["content-type"].startswith("text/event-stream"), reply.headers
        assert reply.headers["served-model-name"] == entity and "content-length" not in reply.headers, reply.headers
        chunks, done = sse_chunks(reply)
        assert done and all(chunk["object"] == "chat.completion.chunk" for chunk in chunks), chunks[:2]
        assert streamed_text(chunks) == whole["choices"][0]["message"]["content"], streamed_text(chunks)
        assert len({chunk["id"] for chunk in chunks}) == 1
        reasons = [chunk["choices"][0].get("finish_reason") for chunk in chunks if chunk["choices"]]
        assert reasons[-1] == "stop" and not any(reasons[:-1]), reasons
        usages = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
        # Asked for by no stream_options: ChatDatabricks counts on it all the same.
        assert usages and {key: usages[-1][key] for key in ("prompt_tokens", "completion_tokens", "total_tokens")} == \
            {key: whole["usage"][key] for key in ("prompt_tokens", "completion_tokens", "total_tokens")}, usages


@check("chat/completions takes the endpoint from the body; the invocations path ignores a model in it")
def openai_path():
    reply = post("/serving-endpoints/chat/completions", {"model": CHAT, "messages": [{"role": "user", "content": "yo"}]})
    assert reply.ok()["choices"][0]["message"]["content"] == "echo: yo" and reply.headers["served-model-name"] == "echo-entity"
    assert ask(CHAT, "yo", model="some-other").ok()["choices"][0]["message"]["content"] == "echo: yo"


@check("a stream comes through as it is made, not at its end")
def not_buffered():
    faulty("echo;chunks=10;chunk_ms=150")
    link = connection()
    started = time.monotonic()
    link.request("POST", f"/serving-endpoints/{FAULTY}/invocations", json.dumps({"stream": True, "messages": [{"role": "user", "content": "x " * 30}]}),
                 {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "Accept-Encoding": "gzip"})
    answer = link.getresponse()
    answer.readline()
    first = time.monotonic() - started
    answer.read()
    whole = time.monotonic() - started
    assert first < whole / 2, f"first line after {first:.2f} s of {whole:.2f} s"


@check("a client that goes away in mid-stream stops the request at the provider")
def cancelled():
    model = "echo;chunks=200;chunk_ms=100"
    faulty(model)
    link = connection()
    link.request("POST", f"/serving-endpoints/{FAULTY}/invocations", json.dumps({"stream": True, "messages": [{"role": "user", "content": "x " * 300}]}),
                 {"Authorization": f"Bearer {TOKEN}"})
    answer = link.getresponse()
    answer.readline()
    assert last_upstream_request(model)["state"] == "open"
    answer.close()
    link.close()
    wait_for(lambda: last_upstream_request(model)["state"] == "cancelled")


@check("60 questions at the same time each get their own answer")
def no_crosstalk():
    def one(number):
        if number % 2:
            return ask(CHAT, f"number {number}").ok()["choices"][0]["message"]["content"]
        return streamed_text(sse_chunks(ask(CLAUDE, f"number {number}", stream=True, max_tokens=50))[0])
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(one, range(60)))
    assert answers == [f"echo: number {number}" for number in range(60)], answers


# ---- what the provider gets to see

@check("the provider gets its own key and the model's name; nothing of ours")
def upstream_view():
    assert ask(CHAT, "look", client_request_id="canary-c1", usage_context={"team": "canary-u1"}, databricks_options={"return_trace": True},
               extra_params={"top_p": "0.5"}, temperature=0.25, some_new_field={"a": [1]}).status == 200
    seen = last_upstream_request("echo")
    body, headers = seen["body"], {name.lower(): value for name, value in seen["headers"].items()}
    assert headers["authorization"] == f"Bearer {PROVIDER_KEY}" and body["model"] == "echo", seen
    assert body["temperature"] == 0.25 and body["top_p"] == 0.5 and body["some_new_field"] == {"a": [1]}, body
    for ours in ("client_request_id", "usage_context", "databricks_options", "extra_params"):
        assert ours not in body, body
    text = json.dumps(seen)
    assert TOKEN not in text and "canary" not in text, "the caller's token or fields reached the provider"
    assert not [name for name in headers if "databricks" in name], headers


@check("anthropic: x-api-key and anthropic-version are sent, max_tokens is always there, the system text is moved")
def anthropic_view():
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "look"}]
    post(f"/serving-endpoints/{CLAUDE}/invocations", {"messages": messages}, headers={"X-Databricks-Org-Id": "7"}).ok()
    seen = [request for request in ledger() if {name.lower() for name in request["headers"]} & {"x-api-key"}][-1]
    headers = {name.lower(): value for name, value in seen["headers"].items()}
    assert headers["x-api-key"] == PROVIDER_KEY and headers["anthropic-version"] and "authorization" not in headers, headers
    assert seen["body"]["max_tokens"] > 0 and "be brief" in json.dumps(seen["body"]["system"]), seen["body"]
    assert [message["role"] for message in seen["body"]["messages"]] == ["user"], seen["body"]


for make_google, provider, header, credential in ((google_entity, "google", "x-goog-api-key", PROVIDER_KEY),
                                                  (vertex_entity, "google-cloud-vertex-ai", "authorization", "Bearer ya29.")):
    @check(f"{provider}: the answer, its stream, what it is authorised with, and nothing that the format has not")
    def google_view():
        make_endpoint(f"{PREFIX}-google", make_google("gemini-2.5-flash", name="gemini-entity"))
        whole = ask(f"{PREFIX}-google", "one two three", max_tokens=20, user="u", metadata={"a": "b"}).ok()
        assert whole["choices"][0]["message"]["content"] == "echo: one two three", whole
        chunks, done = sse_chunks(ask(f"{PREFIX}-google", "one two three", max_tokens=20, stream=True))
        assert done and streamed_text(chunks) == "echo: one two three" and chunks[-1]["usage"] == whole["usage"], chunks
        seen = last_upstream_request("gemini-2.5-flash")
        assert seen["headers"][header].startswith(credential) and "PRIVATE KEY" not in json.dumps(seen), seen
        assert seen["body"]["generationConfig"] == {"maxOutputTokens": 20} and set(seen["body"]) == {"contents", "generationConfig"}, seen


# ---- faults of the provider

CODES = {400: ("BAD_REQUEST", "INVALID_PARAMETER_VALUE"), 401: ("UNAUTHENTICATED",), 403: ("PERMISSION_DENIED",),
         404: ("RESOURCE_DOES_NOT_EXIST", "ENDPOINT_NOT_FOUND", "NOT_FOUND"), 429: ("REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"),
         500: ("INTERNAL_ERROR",), 503: ("TEMPORARILY_UNAVAILABLE",)}

for make_entity, provider in ((openai_entity, "openai"), (anthropic_entity, "anthropic")):
    @check(f"{provider}'s errors {', '.join(map(str, CODES))} keep their status and body, streamed or not")
    def passthrough():
        for status, codes in CODES.items():
            faulty(f"echo;status={status}" + (";retry_after=2" if status == 429 else ""), make_entity)
            for stream in (False, True):
                reply = ask(FAULTY, "x", stream=stream)
                reply.refused(status, *codes)
                inner = provider_error(reply)
                assert inner["external_model_provider"] == provider and isinstance(inner["external_model_error"], dict), inner
                assert inner["external_model_error"].get("error"), inner
                assert reply.headers.get("retry-after", "1").isdigit(), reply.headers
                assert "error" not in reply.json, "a top-level error would take the message's place in databricks-sdk"


@check("a provider that cannot be reached is 502 INTERNAL_ERROR naming the served entity, within 5 s")
def dead():
    faulty("echo", openai_api_base=f"http://127.0.0.1:{free_port()}/v1")
    for stream in (False, True):
        started = time.monotonic()
        ask(FAULTY, "x", stream=stream).refused(502, "INTERNAL_ERROR", saying="faulty-entity")
        assert time.monotonic() - started < 5
    assert get(f"{ENDPOINTS}/{FAULTY}").ok()["state"]["ready"] == "READY", "a dead provider does not make the endpoint NOT_READY"


@check("a provider that never answers is 504 DEADLINE_EXCEEDED naming the served entity")
def hanging():
    faulty("echo;hang=headers")
    for stream in (False, True):
        started = time.monotonic()
        ask(FAULTY, "x", stream=stream).refused(504, "DEADLINE_EXCEEDED", saying="faulty-entity")
        assert 0.9 < time.monotonic() - started < 3, time.monotonic() - started


@check("a provider that falls silent in mid-stream: what had arrived, an error event, no [DONE]")
def silent():
    faulty("echo;hang=body")
    chunks, done = sse_chunks(ask(FAULTY, "one two three", stream=True))
    assert not done and chunks[-1]["error"]["message"] and any(chunk.get("choices") for chunk in chunks[:-1]), chunks


@check("an answer that breaks off, is broken JSON or an HTML page is 502 INTERNAL_ERROR")
def broken_answers():
    for script in ("echo;cut_after=1", "echo;malformed", "echo;html"):
        faulty(script)
        ask(FAULTY, "x").refused(502, "INTERNAL_ERROR")


@check("a stream that breaks off ends with an error event and no [DONE]")
def cut():
    faulty("echo;chunks=10;cut_after=3")
    chunks, done = sse_chunks(ask(FAULTY, "one two three four five six seven eight", stream=True))
    assert not done and chunks[-1]["error"]["message"], chunks[-2:]
    assert any(chunk.get("choices") for chunk in chunks[:-1]), "what had arrived before comes through"


@check("an address that the egress rule does not allow is refused at once and not reached")
def egress():
    for base in ("http://169.254.169.254/v1", "http://10.1.2.3/v1", "http://[::ffff:169.254.169.254]/v1"):
        delete(f"{ENDPOINTS}/{FAULTY}")
        started = time.monotonic()
        made = post(ENDPOINTS, endpoint_body(FAULTY, openai_entity("echo", name="faulty-entity", openai_api_base=base)))
        reply = ask(FAULTY, "x") if made.status == 200 else made
        reply.refused((400, 403, 502))
        assert time.monotonic() - started < 4, f"{base} was waited for"


# ---- bad input

@check("wrong JSON is 400: cut off, empty, no object, NaN, not UTF-8, no messages, wrong types, 100000 levels deep")
def wrong_json():
    deep = b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    bodies = (b"", b"{", b"[]", b'"x"', b"null", b'{"messages": NaN}', b'{"messages": [], "temperature": NaN}', b'{"messages": "\xff"}', b"{}", b'{"messages": "hi"}',
              b'{"messages": [5]}', b'{"messages": [{"role": "user"', b'{"input": "an embedding question"}', deep)
    accepted = []
    for body in bodies:
        for path in (f"/serving-endpoints/{CHAT}/invocations", f"/serving-endpoints/{CLAUDE}/invocations"):
            try:
                post(path, body).refused(400, *INVALID)
            except (AssertionError, ValueError) as error:
                accepted.append(f"{path} {body[:40]}: {error}")
    assert not accepted, accepted
    post("/serving-endpoints/chat/completions", {"messages": [{"role": "user", "content": "x"}]}).refused((400, 404))
    post("/serving-endpoints/chat/completions", {"model": 5, "messages": [{"role": "user", "content": "x"}]}).refused((400, 404))


@check("duplicate keys: refused, or the provider gets one value and it is the last")
def duplicate_keys():
    first, last = ('[{"role":"user","content":"%s"}]' % word for word in ("first", "last"))
    for endpoint in (CHAT, CLAUDE):
        reply = post(f"/serving-endpoints/{endpoint}/invocations", f'{{"messages":{first},"messages":{last}}}'.encode())
        if reply.status != 200:
            reply.refused(400, *INVALID)
        else:
            assert reply.json["choices"][0]["message"]["content"] == "echo: last", reply


@check("text of every kind comes through unchanged: escapes, emoji, NUL, line separators, a lone surrogate without a crash")
def odd_text():
    text = 'q"\\/\b\f\n\r\t\u0000\u001f é 日本 🙂 \u2028\u2029 data: [DONE]\n\n</s>'
    for endpoint in (CHAT, CLAUDE):
        assert ask(endpoint, text).ok()["choices"][0]["message"]["content"] == "echo: " + text
        chunks, done = sse_chunks(ask(endpoint, text, stream=True))
        assert done and streamed_text(chunks) == "echo: " + text, streamed_text(chunks)
    lone = b'{"messages":[{"role":"user","content":"a \\ud800 b"}]}'
    assert post(f"/serving-endpoints/{CHAT}/invocations", lone).status in (200, 400)


@check("a body of 15 MB passes; the server says 413 REQUEST_ENTITY_TOO_LARGE to one of 1 GiB before reading it")
def body_limit():
    long = "x" * (15 << 20)
    assert len(ask(CHAT, long).ok()["choices"][0]["message"]["content"]) == len(long) + 6
    for path in (f"/serving-endpoints/{CHAT}/invocations", ENDPOINTS):
        link = connection(10)
        link.putrequest("POST", path)
        for header in (("Authorization", f"Bearer {TOKEN}"), ("Content-Type", "application/json"), ("Content-Length", str(OVER_LIMIT))):
            link.putheader(*header)
        link.endheaders()
        answer = link.getresponse()
        Reply(answer.status, answer.headers.items(), answer.read().decode()).refused(413, "REQUEST_ENTITY_TOO_LARGE")


@check("a body without a declared length is cut off at the limit with 413")
def chunked_body_limit():
    link = connection(30)
    link.putrequest("POST", f"/serving-endpoints/{CHAT}/invocations")
    for header in (("Authorization", f"Bearer {TOKEN}"), ("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")):
        link.putheader(*header)
    link.endheaders()
    piece, sent = b"100000\r\n" + b" " * (1 << 20) + b"\r\n", 0
    link.sock.setblocking(True)
    try:
        while sent < 256:
            link.sock.sendall(piece)
            sent += 1
    except (BrokenPipeError, ConnectionResetError):
        pass  # The server has stopped reading; its answer is in our receive buffer.
    assert sent < 256, "256 MB were read"
    answer = link.getresponse()
    Reply(answer.status, answer.headers.items(), answer.read().decode()).refused(413, "REQUEST_ENTITY_TOO_LARGE")


@check("a request that stops half way does not hold up the others")
def slow_sender():
    links = []
    for _ in range(30):
        link = connection()
        link.putrequest("POST", f"/serving-endpoints/{CHAT}/invocations")
        link.putheader("Content-Length", "100")
        link.endheaders(b"{")
        links.append(link)
    started = time.monotonic()
    ask(CHAT, "still there").ok()
    assert time.monotonic() - started < 2
    for link in links:
        link.close()


@check("docs/clients: the line for curl")
def pages():
    [line] = code_of("curl", host=HOST, token=TOKEN, endpoint=CHAT)
    words = shlex.split(line)
    if shutil.which(words[0]):
        said = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True, stdin=subprocess.DEVNULL).stdout
        assert json.loads(said)["choices"][0]["message"]["content"] == "echo: hello", said


finish()
