#!/usr/bin/env python3
"""The openai client's AzureOpenAI against the simulator directly: deployments, api-version, key and token, and all that comes back."""
import openai
from openai import AzureOpenAI

from harness import *

print("openai", openai.__version__)
SETTINGS = {"azure_endpoint": UPSTREAM, "api_version": "2024-10-21", "max_retries": 0, "timeout": 60}
client = AzureOpenAI(api_key="azure-key", **SETTINGS)
USER = [{"role": "user", "content": "hello there"}]


@check("chat, with a key and with a token")
def chat():
    for azure in (client, AzureOpenAI(azure_ad_token_provider=lambda: "a-token", **SETTINGS)):
        answer = azure.chat.completions.create(model="echo", messages=USER)
        assert answer.choices[0].message.content == "echo: hello there" and answer.usage.total_tokens > 0, answer


@check("stream with usage")
def streams():
    chunks = list(client.chat.completions.create(model="echo", messages=USER, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "echo: hello there" and chunks[-1].usage.total_tokens > 0, chunks[-1]


@check("completions and embeddings")
def others():
    assert client.completions.create(model="echo", prompt="abc").choices[0].text == "echo: abc"
    assert len(client.embeddings.create(model="echo", input=["a", "b"], dimensions=4).data[1].embedding) == 4


@check("errors: each status is the client's own class; a missing api-version is none of the API")
def errors():
    for status, kind in ((400, openai.BadRequestError), (401, openai.AuthenticationError), (429, openai.RateLimitError),
                         (500, openai.InternalServerError)):
        error = raises(kind, lambda: client.chat.completions.create(model=f"echo;status={status}", messages=USER))
        assert "scripted" in error.message, error
    raises(openai.NotFoundError, lambda: client.with_options(default_query={"api-version": ""}).chat.completions.create(
        model="echo", messages=USER, extra_query={"api-version": ""}))


finish()
