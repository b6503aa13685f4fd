#!/usr/bin/env python3
"""The anthropic client at the three Messages bases, on an entity of its own format and on a foreign one."""
import asyncio

import anthropic
from anthropic import Anthropic, AsyncAnthropic

from client_pages import run_page
from harness import *

print("anthropic", anthropic.__version__)
OWN, FOREIGN, FAULTY = f"{PREFIX}-own", f"{PREFIX}-foreign", f"{PREFIX}-faulty"
USER = [{"role": "user", "content": "hello there"}]
TOOLS = [{"name": "get_weather", "description": "The weather of a city", "cache_control": {"type": "ephemeral"}, "input_schema": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]
SYSTEM = [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]
make_scope()
make_endpoint(OWN, anthropic_entity(name="echo"))
make_endpoint(FOREIGN, openai_entity(name="echo"))
BASES = ("/ai-gateway/anthropic", "/anthropic", "/serving-endpoints/anthropic")


def client_at(base, **credential):
    return Anthropic(base_url=HOST + base, max_retries=0, timeout=60, **(credential or {"auth_token": TOKEN}))


for base in BASES:
    for credential in ({"auth_token": TOKEN}, {"api_key": TOKEN}, {"api_key": "unused", "default_headers": {"Authorization": f"Bearer {TOKEN}"}}):
        @check(f"{base}: a message, with {' and '.join(credential)}")
        def credentials():
            raw = client_at(base, **credential).messages.with_raw_response.create(model=OWN, max_tokens=20, messages=USER)
            assert raw.parse().content[0].text == "echo: hello there"
            assert raw.headers["served-model-name"] == "echo" and raw.headers["x-request-id"], raw.headers

client = client_at(BASES[0])
messages = client.messages
for endpoint in (OWN, FOREIGN):
    @check(f"{endpoint}: a message, streamed and not")
    def answers():
        whole = messages.create(model=endpoint, max_tokens=20, system=SYSTEM, messages=USER, extra_body={"temperature": 0.5})
        assert whole.content[0].text == "echo: hello there" and whole.stop_reason == "end_turn" and whole.role == "assistant", whole
        assert whole.usage.input_tokens > 0 and whole.usage.output_tokens > 0, whole.usage
        with messages.stream(model=endpoint, max_tokens=20, system=SYSTEM, messages=USER) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert text == "echo: hello there" == final.content[0].text and final.stop_reason == "end_turn", final
        assert final.usage.output_tokens == whole.usage.output_tokens, final.usage

    @check(f"{endpoint}: tools, the call, its streamed pieces, and the answer to its result")
    def tools():
        asked = {"model": endpoint, "max_tokens": 100, "tools": TOOLS, "tool_choice": {"type": "any"}, "messages": USER}
        whole = messages.create(**asked)
        [called] = [block for block in whole.content if block.type == "tool_use"]
        assert whole.stop_reason == "tool_use" and called.name == "get_weather" and isinstance(called.input, dict), whole
        with messages.stream(**asked) as stream:
            final = stream.get_final_message()
        [streamed] = [block for block in final.content if block.type == "tool_use"]
        assert streamed.input == called.input and final.stop_reason == "tool_use", final
        result = {"type": "tool_result", "tool_use_id": called.id, "is_error": True, "content": [{"type": "text", "text": "no such city"}]}
        rest = [{"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in whole.content]}, {"role": "user", "content": [result]}]
        assert messages.create(model=endpoint, max_tokens=100, tools=TOOLS, messages=USER + rest).content[0].text

    @check(f"{endpoint}: what Claude Code sends: betas, adaptive thinking, a system turn among the messages")
    def agents():
        answer = client.beta.messages.create(
            model=endpoint, max_tokens=2000, betas=["context-1m-2025-08-07"], system=SYSTEM, tools=TOOLS, tool_choice={"type": "none"},
            thinking={"type": "adaptive"}, metadata={"user_id": "user_" + "0" * 100}, messages=[*USER, {"role": "assistant", "content": "yes?"},
            {"role": "system", "content": "stay brief"}, {"role": "user", "content": "go on"}])
        assert answer.content[-1].text == "echo: go on", answer

    @check(f"{endpoint}: tokens are counted")
    def counts():
        assert messages.count_tokens(model=endpoint, messages=USER, system=SYSTEM).input_tokens > 0

    @check(f"{endpoint}: 10 streams at once")
    def async_streams():
        async def one(aclient, number):
            async with aclient.messages.stream(model=endpoint, max_tokens=20, messages=[{"role": "user", "content": f"n {number}"}]) as stream:
                return await stream.get_final_text()

        async def all_of_them():
            async with AsyncAnthropic(base_url=HOST + BASES[1], auth_token=TOKEN, max_retries=0) as aclient:
                return await asyncio.gather(*(one(aclient, number) for number in range(10)))
        assert asyncio.run(all_of_them()) == [f"echo: n {number}" for number in range(10)]


@check("the models are the endpoints")
def models():
    listed = [model.id for model in client.models.list()]
    assert {OWN, FOREIGN} <= set(listed), listed


ERRORS = ((400, anthropic.BadRequestError), (403, anthropic.PermissionDeniedError), (404, anthropic.NotFoundError),
          (429, anthropic.RateLimitError), (500, anthropic.InternalServerError), (529, anthropic.APIStatusError))
for make in (anthropic_entity, openai_entity):
    for status, kind in ERRORS:
        @check(f"{make.__name__}: a provider's {status} is {kind.__name__} in the format's own shape")
        def errors():
            make_endpoint(FAULTY, make(f"echo;status={status}", name="faulty"))
            error = raises(kind, lambda: messages.create(model=FAULTY, max_tokens=5, messages=USER))
            assert error.status_code == status and error.body["type"] == "error" and error.body["error"]["type"], error.body
            assert error.body["error_code"] and error.body["message"], error.body

    @check(f"{make.__name__}: a failure inside a stream raises")
    def broken_streams():
        make_endpoint(FAULTY, impatient(make("echo;cut_after=2", name="faulty")))
        error = raises(anthropic.APIError, lambda: list(messages.create(model=FAULTY, max_tokens=5, messages=USER, stream=True)))
        assert error.body["error"]["type"] and error.body["error_code"], error.body


@check("an unknown endpoint and a bad token have errors of the format's own shape")
def refusals():
    error = raises(anthropic.NotFoundError, lambda: messages.create(model="nope", max_tokens=5, messages=USER))
    assert error.body["error"]["type"] == "not_found_error", error.body
    error = raises(anthropic.PermissionDeniedError, lambda: client_at(BASES[0], auth_token="bad").messages.create(model=OWN, max_tokens=5, messages=USER))
    assert error.body["error"]["type"] == "permission_error", error.body


@check("docs/clients: the lines for Anthropic's SDKs")
def pages():
    make_endpoint(f"{PREFIX}-page", anthropic_entity(name="echo"))
    assert run_page("anthropic", host=HOST, token=TOKEN, endpoint=f"{PREFIX}-page").content[0].text == "echo: hello"


finish()
