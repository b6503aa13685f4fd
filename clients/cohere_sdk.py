#!/usr/bin/env python3
"""Cohere's own client against the simulator directly: it parses all that the simulator sends, so that what the server is tested with is real."""
import json

import cohere
from cohere.core.api_error import ApiError

from harness import *

print("cohere", cohere.__version__ if hasattr(cohere, "__version__") else "")
client = cohere.ClientV2(api_key="co-key", base_url=UPSTREAM, timeout=60)
USER = [{"role": "user", "content": "hello there"}]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]


@check("chat: text, finish reason and usage are of the client's types")
def chat():
    answer = client.chat(model="echo", messages=USER)
    assert answer.message.content[0].text == "echo: hello there" and answer.finish_reason == "COMPLETE", answer
    assert answer.usage.tokens.input_tokens > 0 < answer.usage.tokens.output_tokens, answer.usage


@check("chat_stream: every event is of a known type and they say what the whole answer says")
def streams():
    events = list(client.chat_stream(model="echo", messages=USER))
    assert [events[0].type, events[-1].type] == ["message-start", "message-end"], events
    assert all(type(event).__name__.endswith("V2ChatStreamResponse") for event in events), {type(event).__name__ for event in events}
    assert "".join(event.delta.message.content.text for event in events if event.type == "content-delta") == "echo: hello there"
    assert events[-1].delta.finish_reason == "COMPLETE" and events[-1].delta.usage.tokens.output_tokens > 0


@check("tools: the call, its streamed deltas, and the answer to its result")
def tools():
    answer = client.chat(model="echo", messages=USER, tools=TOOLS, tool_choice="REQUIRED")
    [call] = answer.message.tool_calls
    assert answer.finish_reason == "TOOL_CALL" and call.function.name == "get_weather", answer
    events = list(client.chat_stream(model="echo", messages=USER, tools=TOOLS))
    streamed = "".join(event.delta.message.tool_calls.function.arguments for event in events if event.type == "tool-call-delta")
    assert json.loads(streamed) == json.loads(call.function.arguments), streamed
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    after = client.chat(model="echo", messages=USER + [answer.message, result], tools=TOOLS)
    assert after.message.content[0].text == "echo: hello there", after


@check("json: an answer of the schema")
def structured():
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    answer = client.chat(model="echo", messages=USER, response_format={"type": "json_object", "json_schema": schema})
    assert isinstance(json.loads(answer.message.content[0].text)["city"], str)


@check("embed: floats, by type")
def embed():
    answer = client.embed(model="embed-v4.0", texts=["a", "b"], input_type="search_document", embedding_types=["float"], output_dimension=4)
    assert [len(vector) for vector in answer.embeddings.float_] == [4, 4] and answer.meta.billed_units.input_tokens > 0, answer


@check("errors: each status is the client's own class, with the message")
def errors():
    for status, kind in ((400, "BadRequestError"), (401, "UnauthorizedError"), (404, "NotFoundError"), (429, "TooManyRequestsError"),
                         (500, "InternalServerError")):
        error = raises(ApiError, lambda: client.chat(model=f"echo;status={status}", messages=USER, request_options={"max_retries": 0}))
        assert type(error).__name__ == kind and "scripted" in str(error.body), error


finish()
