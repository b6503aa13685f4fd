#!/usr/bin/env python3
"""LiteLLM as a client, by its `api_base`: chat with the prefix `openai/`, Messages with `anthropic/`."""
import asyncio
import importlib.metadata
import os

# Its prices lie in the package; else it would fetch them.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

from client_pages import page_has
from harness import *

print("litellm", importlib.metadata.version("litellm"))
litellm.telemetry = False
litellm.suppress_debug_info = True
USER = [{"role": "user", "content": "hello there"}]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
BASES = {"openai": f"{HOST}/ai-gateway/openai/v1", "anthropic": f"{HOST}/ai-gateway/anthropic"}
OWN = {"openai": openai_entity, "anthropic": anthropic_entity}
make_scope()
for kind, entity in OWN.items():
    make_endpoint(f"{PREFIX}-{kind}", entity(name="echo"))
FAULTY = f"{PREFIX}-faulty"


def to(prefix, endpoint):
    page_has("litellm", f'litellm.completion(model="{prefix}/{endpoint}", api_base="{BASES[prefix]}", api_key="{TOKEN}", messages=messages)',
             host=HOST, token=TOKEN, endpoint=endpoint)
    return {"model": f"{prefix}/{endpoint}", "api_base": BASES[prefix], "api_key": TOKEN, "num_retries": 0, "max_tokens": 50}


for prefix in BASES:
    for kind in OWN:
        asked = {**to(prefix, f"{PREFIX}-{kind}"), "messages": USER}

        @check(f"{prefix}/ on an entity of {kind}: chat, whole, streamed and async")
        def chat():
            whole = litellm.completion(**asked)
            assert whole.choices[0].message.content == "echo: hello there" and whole.choices[0].finish_reason == "stop", whole
            assert whole.usage.prompt_tokens > 0 and whole.usage.completion_tokens > 0, whole.usage
            chunks = list(litellm.completion(**asked, stream=True, stream_options={"include_usage": True}))
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            assert text == "echo: hello there", text
            usage = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
            assert usage and usage[-1].completion_tokens == whole.usage.completion_tokens, usage
            assert asyncio.run(litellm.acompletion(**asked)).choices[0].message.content == "echo: hello there"

        @check(f"{prefix}/ on an entity of {kind}: a tool is called, whole and streamed, and its result answered")
        def tools():
            choice = litellm.completion(**asked, tools=TOOLS, tool_choice="required").choices[0]
            [called] = choice.message.tool_calls
            assert choice.finish_reason == "tool_calls" and called.function.name == "get_weather", choice
            assert json.loads(called.function.arguments) == {"city": "Paris"}, called
            chunks = list(litellm.completion(**asked, tools=TOOLS, tool_choice="required", stream=True))
            [streamed] = litellm.stream_chunk_builder(chunks).choices[0].message.tool_calls
            assert json.loads(streamed.function.arguments) == {"city": "Paris"}, streamed
            turns = [*USER, choice.message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": called.id, "content": "sunny"}]
            after = litellm.completion(**{**asked, "messages": turns}, tools=TOOLS)
            assert after.choices[0].message.content, after


for prefix, kind in (("openai", "anthropic"), ("anthropic", "openai")):
    for status, error in ((400, litellm.BadRequestError), (429, litellm.RateLimitError), (500, litellm.InternalServerError)):
        @check(f"{prefix}/ on an entity of {kind}: a provider's {status} is {error.__name__}")
        def errors():
            make_endpoint(FAULTY, OWN[kind](f"echo;status={status}", name="faulty"))
            raises(error, lambda: litellm.completion(**to(prefix, FAULTY), messages=USER))

    @check(f"{prefix}/: a bad token and an unknown endpoint are errors of LiteLLM's own")
    def refusals():
        raises(litellm.NotFoundError, lambda: litellm.completion(**to(prefix, "nope"), messages=USER))
        refused = raises((litellm.AuthenticationError, litellm.PermissionDeniedError, litellm.APIError),
                         lambda: litellm.completion(**{**to(prefix, f"{PREFIX}-openai"), "api_key": "bad"}, messages=USER))
        assert refused.status_code in (401, 403), refused


finish()
