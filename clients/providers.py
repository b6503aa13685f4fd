#!/usr/bin/env python3
"""The openai client through the server to every provider: whatever is behind the endpoint, the client reads the same.

Chat, streams, a conversation with a tool, completions and embeddings, each where the provider serves it, and an error.
"""
import json

import openai
from openai import OpenAI

from harness import *

print("openai", openai.__version__)
USER = [{"role": "user", "content": "hello there"}]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
AZURE = {"openai_api_base": UPSTREAM, "openai_api_version": "2024-10-21", "openai_deployment_name": "echo"}
# Provider, its block, and what it serves beside chat; the name of a kind where a provider has several.
PROVIDERS = {
    "openai": ("openai", {"openai_api_key_plaintext": PROVIDER_KEY, "openai_api_base": f"{UPSTREAM}/v1"}, "completions embeddings"),
    "azure": ("openai", {"openai_api_type": "azure", "openai_api_key_plaintext": PROVIDER_KEY, **AZURE}, "completions embeddings"),
    "anthropic": ("anthropic", {"anthropic_api_key_plaintext": PROVIDER_KEY, "anthropic_api_base": UPSTREAM}, ""),
    "bedrock": ("amazon-bedrock", {"aws_access_key_id_plaintext": "AKIDEXAMPLE", "aws_secret_access_key_plaintext": PROVIDER_KEY, "aws_region": "us-east-1",
                                   "bedrock_provider": "amazon", "bedrock_runtime_endpoint": UPSTREAM}, "completions embeddings"),
    "google": ("google", {"google_api_key_plaintext": PROVIDER_KEY, "google_api_base": UPSTREAM}, "embeddings"),
    "cohere": ("cohere", {"cohere_api_key_plaintext": PROVIDER_KEY, "cohere_api_base": UPSTREAM}, "completions embeddings"),
    "ai21": ("ai21labs", {"ai21labs_api_key_plaintext": PROVIDER_KEY, "ai21labs_api_base": f"{UPSTREAM}/studio/v1"}, ""),
    "databricks": ("databricks-model-serving", {"databricks_workspace_url": UPSTREAM, "databricks_api_token_plaintext": PROVIDER_KEY}, "completions embeddings"),
    "custom": ("custom", {"custom_provider_url": f"{UPSTREAM}/v1", "bearer_token_auth": {"token_plaintext": PROVIDER_KEY}}, "completions embeddings"),
}
EMBEDDERS = {"bedrock": "amazon.titan-embed-text-v2:0", "cohere": "embed-v4.0", "google": "gemini-embedding-001"}
BLOCKS = {"amazon-bedrock": "amazon_bedrock_config", "databricks-model-serving": "databricks_model_serving_config", "custom": "custom_provider_config"}
client = OpenAI(api_key=TOKEN, base_url=HOST + "/serving-endpoints", max_retries=0, timeout=60)


def entity(kind, model, task="llm/v1/chat"):
    provider, block, _ = PROVIDERS[kind]
    return {"name": "entity", "external_model": {"name": model, "provider": provider, "task": task,
                                                 BLOCKS.get(provider, f"{provider}_config"): block}}


def vertex(model):
    made = vertex_entity(model)
    return {**made, "name": "entity"}


def chat_checks(kind, name):
    create = client.chat.completions.create

    @check(f"{kind}: chat, whole and streamed, with usage")
    def chat():
        whole = create(model=name, messages=USER, max_tokens=20)
        assert whole.choices[0].message.content == "echo: hello there" and whole.choices[0].finish_reason == "stop", whole
        assert whole.id and whole.created and whole.model, whole
        assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens > 0, whole.usage
        chunks = list(create(model=name, messages=USER, max_tokens=20, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == "echo: hello there", text
        assert len({chunk.id for chunk in chunks}) == 1 and chunks[0].id, {chunk.id for chunk in chunks}
        assert [chunk.usage for chunk in chunks if chunk.usage][-1].total_tokens == whole.usage.total_tokens

    @check(f"{kind}: a tool is called, whole and streamed, and its result answered")
    def tools():
        ask = dict(model=name, messages=USER, tools=TOOLS, max_tokens=100)
        choice = create(**ask).choices[0]
        [called] = choice.message.tool_calls
        assert choice.finish_reason == "tool_calls" and called.function.name == "get_weather" and called.id, choice
        assert json.loads(called.function.arguments) == {"city": "Paris"}, called
        deltas = [delta for chunk in create(**ask, stream=True) if chunk.choices for delta in chunk.choices[0].delta.tool_calls or []]
        assert json.loads("".join(delta.function.arguments or "" for delta in deltas)) == {"city": "Paris"}, deltas
        result = {"role": "tool", "tool_call_id": called.id, "content": "sunny"}
        after = create(**{**ask, "messages": USER + [choice.message.model_dump(exclude_none=True), result]})
        assert after.choices[0].message.content == "echo: hello there", after

    @check(f"{kind}: what the provider says no to comes as the client's own error")
    def refused():
        limited = f"{PREFIX}-limited"
        model = "echo;status=429;retry_after=7"
        make_endpoint(limited, vertex(model) if kind == "vertex" else entity(kind, model))
        error = raises(openai.RateLimitError, lambda: create(model=limited, messages=USER, max_tokens=5))
        assert error.response.headers["retry-after"] == "7" and "scripted 429" in str(error), error


def other_checks(kind):
    serves = PROVIDERS[kind][2].split()
    if "completions" in serves:
        @check(f"{kind}: completions, whole and streamed")
        def completions():
            name = f"{PREFIX}-{kind}-completions"
            make_endpoint(name, entity(kind, "echo", "llm/v1/completions"))
            whole = client.completions.create(model=name, prompt="hello there", max_tokens=20)
            chunks = list(client.completions.create(model=name, prompt="hello there", max_tokens=20, stream=True))
            text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
            assert whole.object == "text_completion" and "hello there" in whole.choices[0].text == text, (whole, text)
    if "embeddings" in serves:
        @check(f"{kind}: embeddings of one and of several, the client's base64 included")
        def embeddings():
            name = f"{PREFIX}-{kind}-embeddings"
            make_endpoint(name, entity(kind, EMBEDDERS.get(kind, "echo"), "llm/v1/embeddings"))
            one = client.embeddings.create(model=name, input="hello")
            many = client.embeddings.create(model=name, input=["hello", "there", "hello"], encoding_format="float")
            assert [row.index for row in many.data] == [0, 1, 2] and many.usage.prompt_tokens > 0, many
            close = [abs(a - b) < 1e-6 for a, b in zip(one.data[0].embedding, many.data[0].embedding)]
            assert close and all(close) and many.data[0].embedding == many.data[2].embedding, (one.data[0], many.data[0])


for kind in PROVIDERS:
    make_endpoint(f"{PREFIX}-{kind}", entity(kind, "echo"))
    chat_checks(kind, f"{PREFIX}-{kind}")
    other_checks(kind)
make_endpoint(f"{PREFIX}-vertex", vertex("echo"))
chat_checks("vertex", f"{PREFIX}-vertex")

finish()
