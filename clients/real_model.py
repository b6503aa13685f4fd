#!/usr/bin/env python3
"""A real model behind the server: the same questions asked of the model directly and through the server give the same text and the same usage."""
import os
import tempfile
import warnings
from pathlib import Path

from databricks.sdk.service.serving import EndpointCoreConfigInput, ExternalModel, ExternalModelProvider, OpenAiConfig, ServedEntityInput

from harness import *
from processes import Program, free_port

warnings.simplefilter("ignore", DeprecationWarning)
NAME, CLAUDE = f"{PREFIX}-openai", f"{PREFIX}-anthropic"
MODEL = "smollm2"
QUESTIONS = ("What is the capital of France?", "Name three primary colours.", "Write one sentence about the sea.")
# Without its cache of prompts the model server computes each question from its start, so that each answer is comparable.
FIXED = {"temperature": 0, "seed": 1, "max_tokens": 48}
UNCACHED = {"cache_prompt": False}


def user(question):
    return [{"role": "user", "content": question}]


def counts(usage):
    return {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


def direct(model_url, question, **more):
    """What the model server itself says: text and usage."""
    body = post("/v1/chat/completions", {"model": MODEL, "messages": user(question), **FIXED, **UNCACHED, **more}, base=model_url, token=None).ok()
    return body["choices"][0]["message"]["content"], counts(body["usage"])


def direct_stream(model_url, question):
    reply = post("/v1/chat/completions", {"model": MODEL, "messages": user(question), **FIXED, **UNCACHED, "stream": True,
                                          "stream_options": {"include_usage": True}}, base=model_url, token=None)
    chunks, _ = sse_chunks(reply)
    return streamed_text(chunks), counts([chunk["usage"] for chunk in chunks if chunk.get("usage")][-1])


def through_openai(model_url):
    """Endpoint made with databricks-sdk, asked with the openai client that it gives."""
    client = workspace()

    @check("create_and_wait of an endpoint whose openai_api_base is the model server")
    def created():
        delete(f"{ENDPOINTS}/{NAME}")
        return client.serving_endpoints.create_and_wait(name=NAME, config=EndpointCoreConfigInput(name=NAME, served_entities=[ServedEntityInput(
            external_model=ExternalModel(name=MODEL, provider=ExternalModelProvider.OPENAI, task="llm/v1/chat", openai_config=OpenAiConfig(
                openai_api_key=secret(), openai_api_base=model_url + "/v1")))]))
    chat = client.serving_endpoints.get_open_ai_client(max_retries=0).chat.completions
    for question in QUESTIONS:
        @check(f"the model alone gives one text and one usage each time, streamed or not: {question}")
        def expected():
            answers = [direct(model_url, question), direct_stream(model_url, question), direct(model_url, question)]
            assert answers[0] == answers[1] == answers[2], answers
            return answers[0]

        @check(f"openai client through the server: {question}")
        def asked():
            raw = chat.with_raw_response.create(model=NAME, messages=user(question), extra_body=UNCACHED, **FIXED)
            answer = raw.parse()
            text, usage = expected
            assert answer.choices[0].message.content == text, answer
            assert counts(answer.usage.model_dump()) == usage and usage["prompt_tokens"] > 0 < usage["completion_tokens"], (answer.usage, usage)
            assert raw.headers["served-model-name"] == MODEL, raw.headers
            print(f"     {text[:100]!r} {usage}")

        for options in ({}, {"stream_options": {"include_usage": True}}):
            @check(f"streamed, {'include_usage' if options else 'no stream_options'}: the same text and usage: {question}")
            def streamed():
                chunks = list(chat.create(model=NAME, messages=user(question), stream=True, extra_body=UNCACHED, **FIXED, **options))
                text, usage = expected
                assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
                assert counts([chunk.usage for chunk in chunks if chunk.usage][-1].model_dump()) == usage
                assert len(chunks) > usage["completion_tokens"] / 2, "the model's small steps were joined into large ones"


def through_anthropic(model_url):
    """The model server also speaks Anthropic's format. The address is an extension field, so the endpoint is made with plain REST."""
    @check("create an endpoint whose anthropic_api_base is the model server")
    def created():
        make_endpoint(CLAUDE, anthropic_entity(MODEL, anthropic_api_base=model_url))
    for question in QUESTIONS:
        @check(f"anthropic provider, unified answer with usage, streamed the same: {question}")
        def asked():
            reply = ask(CLAUDE, question, temperature=0, max_tokens=48)
            body = reply.ok()
            text, usage = body["choices"][0]["message"]["content"], counts(body["usage"])
            # This model server counts a cached prompt apart from input_tokens; the sum is the prompt.
            direct_text, direct_usage = direct(model_url, question)
            assert text == direct_text and usage == direct_usage, (body, direct_text, direct_usage)
            assert body["choices"][0]["finish_reason"] in ("stop", "length") and reply.headers["served-model-name"] == MODEL
            chunks, done = sse_chunks(ask(CLAUDE, question, temperature=0, max_tokens=48, stream=True))
            assert done and streamed_text(chunks) == text, streamed_text(chunks)
            assert counts([chunk["usage"] for chunk in chunks if chunk.get("usage")][-1]) == usage, chunks[-2:]


make_scope()
with tempfile.TemporaryDirectory(prefix="tollgate-model-") as folder:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with Program("model", [os.environ["BESIDE_PYTHON"], Path(__file__).parent / "model_server.py", port], folder, own_group=False) as model:
        model.wait_for(address + "/health")
        through_openai(address)
        through_anthropic(address)
finish()
