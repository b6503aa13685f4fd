#!/usr/bin/env python3
"""The openai client's Responses at every base, on an entity of the same format and on a foreign one."""
import json

import openai
from openai import OpenAI

from harness import *

print("openai", openai.__version__)
OWN, FOREIGN, FAULTY = f"{PREFIX}-own", f"{PREFIX}-foreign", f"{PREFIX}-faulty"
TOOLS = [{"type": "function", "name": "get_weather", "description": "The weather of a city", "strict": False, "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]
make_scope()
make_endpoint(OWN, openai_entity(name="echo"))
make_endpoint(FOREIGN, anthropic_entity(name="echo"))
BASES = ("/serving-endpoints", "/ai-gateway/openai/v1", "/openai/v1", "/ai-gateway/codex/v1", "/codex/v1", "/ai-gateway/mlflow/v1", "/mlflow/v1")


def client_at(base, token=TOKEN):
    return OpenAI(api_key=token, base_url=HOST + base, max_retries=0, timeout=60)


client = client_at("/ai-gateway/codex/v1")
responses = client.responses


def shape_of(events):
    """Checks numbers and order; gives the last event."""
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(set(numbers)), numbers
    assert [events[0].type, events[1].type] == ["response.created", "response.in_progress"], [event.type for event in events]
    added = [event.output_index for event in events if event.type == "response.output_item.added"]
    assert added == [event.output_index for event in events if event.type == "response.output_item.done"] == list(range(len(added)))
    return events[-1]


for endpoint in (OWN, FOREIGN):
    for base in BASES:
        @check(f"{base}: {endpoint}, a response")
        def bases():
            raw = client_at(base).responses.with_raw_response.create(model=endpoint, input="ping", store=False)
            assert raw.parse().output_text == "echo: ping" and raw.parse().status == "completed", raw.parse()
            assert raw.headers["served-model-name"] == "echo", raw.headers

    @check(f"{endpoint}: a stream has the whole response at its end")
    def streams():
        asked = {"model": endpoint, "instructions": "be brief", "input": [{"role": "user", "content": "ping"}], "store": False}
        whole = responses.create(**asked)
        events = list(responses.create(**asked, stream=True))
        last = shape_of(events)
        assert last.type == "response.completed" and last.response.output_text == "echo: ping", last
        assert last.response.usage.total_tokens == whole.usage.total_tokens > 0, last.response.usage
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "echo: ping"

    @check(f"{endpoint}: tools, the call, its streamed pieces, and the answer to its result")
    def tools():
        asked = {"model": endpoint, "input": [{"role": "user", "content": "ping"}], "tools": TOOLS, "tool_choice": "required", "store": False}
        whole = responses.create(**asked)
        [called] = [item for item in whole.output if item.type == "function_call"]
        assert called.name == "get_weather" and called.call_id and isinstance(json.loads(called.arguments), dict), called
        events = list(responses.create(**asked, stream=True))
        arguments = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
        assert json.loads(arguments) == json.loads(called.arguments), arguments
        assert [item for item in shape_of(events).response.output if item.type == "function_call"], events[-1]
        rest = [called.model_dump(exclude_none=True), {"type": "function_call_output", "call_id": called.call_id, "output": "sunny"}]
        assert responses.create(model=endpoint, input=asked["input"] + rest, tools=TOOLS, store=False).output_text

    @check(f"{endpoint}: JSON by a schema")
    def schemas():
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"], "additionalProperties": False}
        answer = responses.create(model=endpoint, input="ping", store=False, text={"format": {"type": "json_schema", "name": "a", "schema": schema, "strict": True}})
        assert isinstance(json.loads(answer.output_text)["answer"], str), answer.output_text


@check("what Codex sends: namespaces, free-form tools, built-in ones, developer items")
def agents():
    tools = [*TOOLS, {"type": "web_search"}, {"type": "custom", "name": "apply_patch", "description": "edit"},
             {"type": "namespace", "name": "mcp__files", "description": "d", "tools": [{"type": "function", "name": "read", "parameters": {"type": "object", "properties": {}}}]}]
    body = {"model": FOREIGN, "instructions": "be brief", "store": False, "stream": True, "include": ["reasoning.encrypted_content"], "tools": tools,
            "tool_choice": {"type": "custom", "name": "apply_patch"}, "parallel_tool_calls": False, "prompt_cache_key": "k", "client_metadata": {"a": "b"},
            "reasoning": {"summary": "auto"}, "input": [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "d"}]},
                                                         {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}]}
    events = list(responses.create(**{key: body[key] for key in body if key != "client_metadata"}, extra_body={"client_metadata": body["client_metadata"]}))
    [called] = [item for item in shape_of(events).response.output if item.type == "custom_tool_call"]
    assert called.name == "apply_patch" and isinstance(called.input, str), called


@check("what needs state is refused by name where nothing is kept")
def state():
    error = raises(openai.BadRequestError, lambda: responses.create(model=FOREIGN, input="x", previous_response_id="resp_1"))
    assert "previous_response_id" in error.message and error.type == "invalid_request_error", error.body
    raises(openai.NotFoundError, lambda: client_at("/openai/v1").responses.retrieve("resp_1"))
    raises(openai.NotFoundError, lambda: client_at("/openai/v1").responses.delete("resp_1"))


@check("a response that is kept is gone on from, read and deleted, by an id that is not the upstream's")
def kept():
    for base in BASES:
        at = client_at(base).responses
        first = at.create(model=OWN, input="ping")
        assert first.id.startswith("resp_") and len(first.id) <= 64, first.id
        with at.stream(model=OWN, input="pong", previous_response_id=first.id) as stream:
            last = stream.get_final_response()
        assert last.output_text == "echo: pong" and last.previous_response_id == first.id, last
        sent = ledger()[-1]["body"]
        assert sent["previous_response_id"] != first.id and len(sent["previous_response_id"]) == 55, sent
        again = [{"type": "item_reference", "id": last.output[0].id}, {"role": "user", "content": "and?"}]
        assert at.create(model=OWN, input=again, store=False).output_text == "echo: and?"
        assert at.retrieve(last.id).output_text == last.output_text
        assert [item.role for item in at.input_items.list(last.id)] == ["user"]
        raises(openai.BadRequestError, lambda: at.cancel(last.id))
        at.delete(last.id)
        raises(openai.NotFoundError, lambda: at.retrieve(last.id))
        error = raises(openai.BadRequestError, lambda: at.create(model=FOREIGN, input="x", previous_response_id=first.id))
        assert "keeps nothing" in error.message, error.message


ERRORS = ((400, openai.BadRequestError), (403, openai.PermissionDeniedError), (404, openai.NotFoundError),
          (429, openai.RateLimitError), (500, openai.InternalServerError), (529, openai.InternalServerError))
for make in (openai_entity, anthropic_entity):
    for status, kind in ERRORS:
        @check(f"{make.__name__}: a provider's {status} is {kind.__name__}")
        def errors():
            make_endpoint(FAULTY, make(f"echo;status={status}", name="faulty"))
            error = raises(kind, lambda: responses.create(model=FAULTY, input="x"))
            assert error.status_code == status and error.body["message"] and error.body["type"], error.body

    @check(f"{make.__name__}: a stream that breaks off does not complete")
    def broken_streams():
        make_endpoint(FAULTY, impatient(make("echo;cut_after=2", name="faulty")))
        try:
            events = list(responses.create(model=FAULTY, input="a b c d e f", stream=True))
        except openai.APIError:
            return
        assert events[-1].type in ("response.failed", "error"), events[-1]


@check("the models are the endpoints")
def models():
    for base in BASES:
        listed = [model.id for model in client_at(base).models.list()]
        assert {OWN, FOREIGN} <= set(listed), (base, listed)


finish()
