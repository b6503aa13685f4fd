#!/usr/bin/env python3
"""The requests that Bifrost makes for its two custom providers: the unified one at `/mlflow`, the native one at `/anthropic`.

Its base URL is joined with the path of the format that the custom provider is based on; the token comes as an extra header, keyless.
"""
from client_pages import page_has
from harness import *

OPENAI, ANTHROPIC = f"{PREFIX}-openai", f"{PREFIX}-anthropic"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NATIVE = {**BEARER, "x-api-key": "", "anthropic-version": "2023-06-01"}
USER = [{"role": "user", "content": "Hello!"}]
TOOL = {"name": "get_weather", "description": "The weather of a city"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
make_scope()
make_endpoint(OPENAI, openai_entity(name="echo"))
make_endpoint(ANTHROPIC, anthropic_entity(name="echo"))
# What is set up as `network_config.base_url`, and the paths that are joined to it.
UNIFIED, MESSAGES = HOST + "/mlflow", HOST + "/anthropic"
page_has("bifrost", *(f'"network_config": {{"base_url": "{base}", "extra_headers": {{"Authorization": "Bearer {TOKEN}"}}}},' for base in (UNIFIED, MESSAGES)),
         host=HOST, token=TOKEN)


def chat(endpoint, prefix="", **fields):
    body = {"model": endpoint, "messages": USER, "max_completion_tokens": 20, **fields}
    return call("POST", prefix + UNIFIED.removeprefix(HOST) + "/v1/chat/completions", body, token=None, headers=BEARER)


def message(endpoint, prefix="", **fields):
    body = {"model": endpoint, "max_tokens": 20, "messages": USER, **fields}
    return call("POST", prefix + MESSAGES.removeprefix(HOST) + "/v1/messages", body, token=None, headers=NATIVE)


for endpoint in (OPENAI, ANTHROPIC):
    for prefix in ("", "/ai-gateway"):
        @check(f"{prefix}/mlflow: {endpoint}, chat with max_completion_tokens, whole and streamed")
        def unified():
            whole = chat(endpoint, prefix).ok()
            assert whole["object"] == "chat.completion" and whole["choices"][0]["message"]["content"] == "echo: Hello!", whole
            chunks, done = sse_chunks(chat(endpoint, prefix, stream=True, stream_options={"include_usage": True}))
            text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
            assert done and text == "echo: Hello!" and [chunk for chunk in chunks if chunk.get("usage")], chunks

        @check(f"{prefix}/anthropic: {endpoint}, a message with an empty x-api-key, whole and streamed")
        def native():
            whole = message(endpoint, prefix).ok()
            assert whole["type"] == "message" and whole["content"] == [{"type": "text", "text": "echo: Hello!"}], whole
            streamed = message(endpoint, prefix, stream=True)
            names = [line.removeprefix("event: ") for line in streamed.text.split("\n") if line.startswith("event: ")]
            assert streamed.status == 200 and names[0] == "message_start" and names[-1] == "message_stop", streamed

    @check(f"{endpoint}: tools at both")
    def tools():
        called = chat(endpoint, tools=[{"type": "function", "function": {**TOOL, "parameters": SCHEMA}}], tool_choice="required").ok()
        assert called["choices"][0]["finish_reason"] == "tool_calls", called
        assert called["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_weather", called
        used = message(endpoint, tools=[{**TOOL, "input_schema": SCHEMA}], tool_choice={"type": "any"}).ok()
        assert used["stop_reason"] == "tool_use" and used["content"][0]["name"] == "get_weather", used


@check("the empty x-api-key alone is no credential")
def nothing():
    refused = call("POST", "/anthropic/v1/messages", {"model": ANTHROPIC, "max_tokens": 20, "messages": USER}, token=None, headers={"x-api-key": ""})
    assert refused.status == 401 and refused.json["type"] == "error", str(refused)


@check("the list of models that its path override names")
def models():
    listed = call("GET", "/api/2.1/unity-catalog/models", token=None, headers=BEARER).ok()
    assert isinstance(listed["registered_models"], list), listed


finish()
