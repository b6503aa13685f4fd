#!/usr/bin/env python3
"""The openai client at /serving-endpoints: chat, streams with usage, tool calls, error classes, sync and async."""
import asyncio
import json

import openai
from openai import AsyncOpenAI, OpenAI

from client_pages import page_has, run_page
from harness import *

print("openai", openai.__version__)
CHAT, CLAUDE, FAULTY = f"{PREFIX}-chat", f"{PREFIX}-claude", f"{PREFIX}-faulty"
BASE = HOST + "/serving-endpoints"
USER = [{"role": "user", "content": "hello there"}]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
make_scope()
make_endpoint(CHAT, openai_entity())
make_endpoint(CLAUDE, anthropic_entity())
client = OpenAI(api_key=TOKEN, base_url=BASE, max_retries=0, timeout=60)
chat = client.chat.completions


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def error_of(script, kind, retries=0, **config):
    make_endpoint(FAULTY, impatient(openai_entity(script, name="faulty-entity", **config)))
    patient = client.with_options(max_retries=retries)
    return raises(kind, lambda: patient.chat.completions.create(model=FAULTY, messages=USER))


for endpoint in (CHAT, CLAUDE):
    @check(f"{endpoint}: chat, with the raw headers")
    def answers():
        raw = chat.with_raw_response.create(model=endpoint, messages=USER, max_tokens=20, user="someone", metadata={"a": "b"})
        answer = raw.parse()
        assert answer.choices[0].message.content == "echo: hello there" and answer.choices[0].finish_reason == "stop", answer
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0, answer.usage
        assert raw.headers["served-model-name"] == "echo" and answer._request_id == raw.headers["x-request-id"], raw.headers

    @check(f"{endpoint}: stream, with and without include_usage")
    def streams():
        whole = chat.create(model=endpoint, messages=USER, max_tokens=20)
        for options in ({}, {"stream_options": {"include_usage": True}}):
            chunks = list(chat.create(model=endpoint, messages=USER, max_tokens=20, stream=True, **options))
            assert text_of(chunks) == "echo: hello there", text_of(chunks)
            assert [chunk for chunk in chunks if chunk.choices][-1].choices[0].finish_reason == "stop"
            assert [chunk.usage for chunk in chunks if chunk.usage][-1].total_tokens == whole.usage.total_tokens

    @check(f"{endpoint}: tools, the call, its streamed deltas, and the answer to its result")
    def tools():
        choice = chat.create(model=endpoint, messages=USER, tools=TOOLS, tool_choice="required", max_tokens=100).choices[0]
        [called] = choice.message.tool_calls
        assert choice.finish_reason == "tool_calls" and called.id and called.type == "function", choice
        assert called.function.name == "get_weather" and isinstance(json.loads(called.function.arguments), dict), called
        deltas = [delta for chunk in chat.create(model=endpoint, messages=USER, tools=TOOLS, tool_choice="required", max_tokens=100, stream=True)
                  if chunk.choices for delta in chunk.choices[0].delta.tool_calls or []]
        assert deltas[0].id and deltas[0].function.name == "get_weather", deltas
        arguments = "".join(delta.function.arguments or "" for delta in deltas)
        assert json.loads(arguments) == json.loads(called.function.arguments), arguments
        rest = [choice.message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": called.id, "content": "sunny"}]
        assert chat.create(model=endpoint, messages=USER + rest, tools=TOOLS, max_tokens=100).choices[0].message.content

    @check(f"{endpoint}: a conversation with system, developer and earlier turns; content in parts")
    def conversation():
        messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                    {"role": "user", "content": [{"type": "text", "text": "last part"}]}]
        assert chat.create(model=endpoint, messages=messages, max_tokens=20).choices[0].message.content == "echo: last part"
        messages[0]["role"] = "developer"
        assert chat.create(model=endpoint, messages=messages, max_tokens=20).choices[0].message.content == "echo: last part"


@check("async: 20 streams at once")
def async_streams():
    async def one(aclient, number):
        stream = await aclient.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": f"n {number}"}], stream=True)
        return text_of([chunk async for chunk in stream])

    async def all_of_them():
        async with AsyncOpenAI(api_key=TOKEN, base_url=BASE, max_retries=0) as aclient:
            return await asyncio.gather(*(one(aclient, number) for number in range(20)))
    assert asyncio.run(all_of_them()) == [f"echo: n {number}" for number in range(20)]


@check("errors of ours: NotFoundError, AuthenticationError or PermissionDeniedError, BadRequestError, with a message")
def our_errors():
    assert "nowhere" in str(raises(openai.NotFoundError, lambda: chat.create(model="nowhere", messages=USER)))
    wrong = OpenAI(api_key="dapi-wrong", base_url=BASE, max_retries=0)
    raises((openai.AuthenticationError, openai.PermissionDeniedError), lambda: wrong.chat.completions.create(model=CHAT, messages=USER))
    error = raises(openai.BadRequestError, lambda: chat.create(model=CHAT, messages="no list"))
    assert error.body["error_code"] and error.body["message"] and error.request_id, error.body


@check("errors of the provider: each status its class; a dead provider is InternalServerError 502; a hang 504")
def provider_errors():
    for status, kind in ((400, openai.BadRequestError), (401, openai.AuthenticationError), (403, openai.PermissionDeniedError),
                         (404, openai.NotFoundError), (429, openai.RateLimitError), (500, openai.InternalServerError)):
        error = error_of(f"echo;status={status}", kind)
        assert error.status_code == status and "external_model_error" in error.body["message"], error.body
    assert error_of("echo", openai.InternalServerError, openai_api_base="http://127.0.0.1:1/v1").status_code == 502
    assert error_of("echo;hang=headers", openai.InternalServerError).status_code == 504


@check("a stream that breaks off raises APIError after what had arrived")
def broken_stream():
    make_endpoint(FAULTY, openai_entity("echo;chunks=10;cut_after=3", name="faulty-entity"))
    arrived = []

    def read():
        for chunk in chat.create(model=FAULTY, messages=[{"role": "user", "content": "one two three four five six seven"}], stream=True):
            arrived.append(chunk)
    raises(openai.APIError, read)
    assert arrived


@check("a stream that is closed early leaves the connection usable")
def closed_early():
    make_endpoint(FAULTY, openai_entity("echo;chunks=50;chunk_ms=20", name="slow-entity"))
    for _ in range(5):
        with chat.create(model=FAULTY, messages=[{"role": "user", "content": "x " * 60}], stream=True) as stream:
            next(iter(stream))
    assert chat.create(model=CHAT, messages=USER).choices[0].message.content == "echo: hello there"


@check("two retries by the client's own rule on 429")
def retried():
    model = "echo;status=429;retry_after=1"
    error_of(model, openai.RateLimitError, retries=2)
    assert len([request for request in ledger() if request["model"] == model]) == 3


@check("docs/clients: the lines for OpenAI's SDKs, and Cursor's base")
def pages():
    make_endpoint(f"{PREFIX}-page", openai_entity(name="echo"))
    assert run_page("openai", host=HOST, token=TOKEN, endpoint=f"{PREFIX}-page").output_text == "echo: hello"
    cursor = f"{HOST}/ai-gateway/cursor/v1"
    page_has("cursor", cursor, host=HOST)
    answer = OpenAI(api_key=TOKEN, base_url=cursor, max_retries=0).chat.completions.create(model=f"{PREFIX}-page", messages=USER)
    assert answer.choices[0].message.content == "echo: hello there", answer


finish()
