#!/usr/bin/env python3
"""Guardrails as real clients see them: this python's client of openai, anthropic and databricks-sdk, whichever it has."""
import importlib.util
import json

from harness import *

MAIL, MASKED = "bob@example.com", "<EMAIL_ADDRESS>"
BLOCK, MASK, WORD, OUT, SAFE, JUDGE = (f"{PREFIX}-{name}" for name in ("block", "mask", "word", "out", "safe", "judge"))
SAYS = "echo;answer=" + "".join(f"%{byte:02x}" for byte in (f"Of course. Write to {MAIL} about it. " + "And so on. " * 60).encode())
make_scope()


def guarded(name, *entities, **guardrails):
    make_endpoint(name, *entities, ai_gateway={"guardrails": guardrails})


guarded(BLOCK, openai_entity(name="e"), input={"pii": {"behavior": "BLOCK"}})
guarded(MASK, openai_entity(name="e"), input={"pii": {"behavior": "MASK"}})
guarded(WORD, openai_entity(SAYS + ";chunks=40", name="e"), output={"invalid_keywords": ["so on"]})
guarded(OUT, openai_entity(SAYS + ";chunks=200", name="e"), output={"pii": {"behavior": "MASK"}})
make_endpoint(JUDGE, openai_entity("echo;answer=%7B%22flagged%22%3Atrue,%22categories%22%3A[%22hate%22]%7D", name="e"))
guarded(SAFE, openai_entity(name="e"), input={"safety": True, "llm_judge": {"model": JUDGE, "prompt": "Flag everything.", "behaviour": "NONE"}})
ASKED = [{"role": "user", "content": f"write to {MAIL}"}]


def has(module):
    return importlib.util.find_spec(module) is not None


def told(message, phase="input"):
    """The guardrail that a serving endpoint tells in a message."""
    said = json.loads(message)
    assert said["finishReason"] == f"{phase}_guardrail_triggered", said
    return said[f"{phase}_guardrail"][0]


@check("a guardrail that nobody can judge is refused with what to set")
def nobody():
    reply = put(f"/api/2.0/serving-endpoints/{MASK}/ai-gateway", {"guardrails": {"input": {"safety": True}}})
    assert reply.status == 400 and "guardrails.judge.endpoint" in reply.json["message"], reply


@check("the block that was set is told back, and clearing it lets text pass")
def told_back():
    endpoint, path = f"{PREFIX}-clear", "/api/2.0/serving-endpoints/"
    guarded(endpoint, openai_entity(name="e"), input={"pii": {"behavior": "BLOCK"}})
    assert get(path + endpoint).json["ai_gateway"]["guardrails"] == {"input": {"pii": {"behavior": "BLOCK"}}}
    assert ask(endpoint, f"write to {MAIL}").status == 400
    assert put(f"{path}{endpoint}/ai-gateway", {}).status == 200
    assert ask(endpoint, f"write to {MAIL}").status == 200


@check("what is masked is not what the provider sees")
def masked():
    reply = ask(MASK, f"write to {MAIL}")
    assert reply.status == 200 and MASKED in reply.json["choices"][0]["message"]["content"] and MAIL not in json.dumps(reply.json), reply


@check("verdicts are in the metrics")
def metrics():
    text = get("/metrics").text
    assert 'tollgate_guardrail_verdicts_total{' in text and 'outcome="blocked"' in text and 'phase="input"' in text, text[-2000:]


if has("openai"):
    import openai
    from openai import OpenAI
    print("openai", openai.__version__)
    serving = OpenAI(base_url=HOST + "/serving-endpoints", api_key=TOKEN, max_retries=0)
    gateway = OpenAI(base_url=HOST + "/ai-gateway/openai/v1", api_key=TOKEN, max_retries=0)

    @check("openai at serving endpoints: BadRequestError, with the guardrail in its message")
    def openai_serving():
        for stream in (False, True):
            error = raises(openai.BadRequestError, lambda: serving.chat.completions.create(model=BLOCK, messages=ASKED, stream=stream))
            item = told(error.body["message"])
            assert item["pii_detection"] is True and MASKED in item["anonymized_input"][0]["content"], item

    @check("openai at the AI Gateway: an answer that stopped for content_filter, streamed and not")
    def openai_gateway():
        whole = gateway.chat.completions.create(model=BLOCK, messages=ASKED)
        assert whole.choices[0].finish_reason == "content_filter" and "blocked" in whole.choices[0].message.content, whole
        assert whole.databricks_service_policy["action"] == "deny" and whole.databricks_service_policy["phase"] == "pre_call", whole
        chunks = list(gateway.chat.completions.create(model=BLOCK, messages=ASKED, stream=True))
        reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
        assert reasons == ["content_filter"], chunks

    @check("openai: a stream that is masked, and one that is cut off")
    def openai_streams():
        def read(model):
            chunks = list(serving.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}], stream=True))
            text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
            return text, [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
        text, reasons = read(OUT)
        assert MASKED in text and MAIL not in text and text.endswith("And so on. ") and reasons == ["stop"], (text, reasons)
        text, reasons = read(WORD)
        assert "so on" not in text and reasons == ["content_filter"], (text, reasons)

    @check("openai: responses that are incomplete for content_filter")
    def openai_responses():
        whole = gateway.responses.create(model=BLOCK, input=f"write to {MAIL}")
        assert whole.status == "incomplete" and whole.incomplete_details.reason == "content_filter" and "blocked" in whole.output_text, whole
        events = list(gateway.responses.create(model=WORD, input="hi", stream=True))
        assert events[-1].type == "response.incomplete" and events[-1].response.incomplete_details.reason == "content_filter", events[-1]
        numbers = [event.sequence_number for event in events]
        assert numbers == sorted(set(numbers)), numbers

    @check("openai: safety that a model judges, with its categories")
    def openai_safety():
        error = raises(openai.BadRequestError, lambda: serving.chat.completions.create(model=SAFE, messages=[{"role": "user", "content": "hi"}]))
        item = told(error.body["message"])
        assert item["flagged"] is True and item["categories"]["hate"] is True and item["categories"]["self-harm"] is False, item

if has("anthropic"):
    import anthropic
    from anthropic import Anthropic
    print("anthropic", anthropic.__version__)
    client = Anthropic(base_url=HOST + "/ai-gateway/anthropic", auth_token=TOKEN, max_retries=0)
    own = Anthropic(base_url=HOST + "/serving-endpoints/anthropic", auth_token=TOKEN, max_retries=0)
    NATIVE = f"{PREFIX}-native"
    guarded(NATIVE, anthropic_entity(SAYS + ";chunks=100", name="e"), output={"pii": {"behavior": "MASK"}})

    @check("anthropic at serving endpoints: BadRequestError")
    def anthropic_serving():
        error = raises(anthropic.BadRequestError, lambda: own.messages.create(model=BLOCK, max_tokens=50, messages=ASKED))
        assert error.body["error"]["type"] == "invalid_request_error" and told(error.body["message"])["pii_detection"] is True, error.body

    @check("anthropic at the AI Gateway: a message that ends in a refusal, streamed and not")
    def anthropic_gateway():
        whole = client.messages.create(model=BLOCK, max_tokens=50, messages=ASKED)
        assert whole.stop_reason == "refusal" and "blocked" in whole.content[0].text, whole
        for model in (BLOCK, WORD):
            with client.messages.stream(model=model, max_tokens=500, messages=ASKED) as stream:
                final = stream.get_final_message()
            assert final.stop_reason == "refusal", final

    @check("anthropic: a stream of its own format that passes through is masked in place")
    def anthropic_native():
        for model in (NATIVE, OUT):
            with client.messages.stream(model=model, max_tokens=500, messages=[{"role": "user", "content": "hi"}]) as stream:
                text = "".join(stream.text_stream)
                final = stream.get_final_message()
            assert MASKED in text and MAIL not in text and text.endswith("And so on. ") and final.stop_reason == "end_turn", final

if has("databricks"):
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.errors import BadRequest
    from databricks.sdk.service.serving import AiGatewayGuardrailParameters, AiGatewayGuardrailPiiBehavior, AiGatewayGuardrailPiiBehaviorBehavior, AiGatewayGuardrails, ChatMessage, ChatMessageRole
    workspace_client = WorkspaceClient(host=HOST, token=TOKEN)

    @check("databricks-sdk: guardrails are set with its types, and a block is BadRequest")
    def sdk():
        endpoint = f"{PREFIX}-sdk"
        make_endpoint(endpoint, openai_entity(name="e"))
        pii = AiGatewayGuardrailPiiBehavior(behavior=AiGatewayGuardrailPiiBehaviorBehavior.BLOCK)
        asked = AiGatewayGuardrails(input=AiGatewayGuardrailParameters(pii=pii, invalid_keywords=["bluebird"]), output=AiGatewayGuardrailParameters(pii=pii))
        reply = workspace_client.serving_endpoints.put_ai_gateway(endpoint, guardrails=asked)
        assert reply.guardrails.input.invalid_keywords == ["bluebird"], reply
        say = lambda text: workspace_client.serving_endpoints.query(endpoint, messages=[ChatMessage(role=ChatMessageRole.USER, content=text)])
        assert say("hello").choices[0].message.content == "echo: hello"
        for text in (f"write to {MAIL}", "about the Bluebird"):
            item = told(str(raises(BadRequest, lambda: say(text))))
            assert item["pii_detection"] is True or item["invalid_keywords"] is True, item

finish()
