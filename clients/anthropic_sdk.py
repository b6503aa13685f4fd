#!/usr/bin/env python3
"""Anthropic's own client against the simulator directly: it parses all that the simulator sends, so that what the server is tested with is real."""
import anthropic

from harness import *

print("anthropic", anthropic.__version__)
client = anthropic.Anthropic(api_key="sk-ant-key", base_url=UPSTREAM, max_retries=0, timeout=60)
ASKED = {"max_tokens": 100, "messages": [{"role": "user", "content": "hello there"}]}
TOOLS = [{"name": "get_weather", "description": "The weather of a city", "input_schema": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]


@check("messages: text, stop reason and usage are of the client's types")
def message():
    answer = client.messages.create(model="echo", **ASKED)
    assert answer.content[0].text == "echo: hello there" and answer.stop_reason == "end_turn", answer
    assert answer.usage.input_tokens > 0 < answer.usage.output_tokens, answer.usage


@check("stream: the client puts the same message together from it")
def streams():
    whole = client.messages.create(model="echo", **ASKED)
    with client.messages.stream(model="echo", **ASKED) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text and final.content[0].text == text, text
    assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens), final


@check("stream: every event is of a known type")
def events():
    kinds = [event.type for event in client.messages.create(model="echo", stream=True, **ASKED)]
    assert [kinds[0], kinds[-1]] == ["message_start", "message_stop"] and "content_block_delta" in kinds, kinds


@check("tools: the call, the same streamed, and the answer to its result")
def tools():
    answer = client.messages.create(model="echo", tools=TOOLS, **ASKED)
    [call] = answer.content
    assert answer.stop_reason == "tool_use" and call.type == "tool_use" and isinstance(call.input["city"], str), answer
    with client.messages.stream(model="echo", tools=TOOLS, **ASKED) as stream:
        assert stream.get_final_message().content[0].input == call.input
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]}
    turns = ASKED["messages"] + [{"role": "assistant", "content": answer.content}, result]
    after = client.messages.create(model="echo", tools=TOOLS, max_tokens=100, messages=turns)
    assert after.content[0].text == "echo: hello there", after


@check("errors: each status is the client's own class, before and in a stream")
def errors():
    for status, kind in ((400, anthropic.BadRequestError), (401, anthropic.AuthenticationError), (403, anthropic.PermissionDeniedError),
                         (404, anthropic.NotFoundError), (429, anthropic.RateLimitError), (500, anthropic.InternalServerError)):
        error = raises(kind, lambda: client.messages.create(model=f"echo;status={status}", **ASKED))
        assert error.status_code == status and "scripted" in error.message and error.request_id, error
    broken = raises(anthropic.APIStatusError, lambda: list(client.messages.create(model="echo;error_after=1", stream=True, **ASKED)))
    assert "scripted" in broken.message, broken


finish()
