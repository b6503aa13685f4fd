#!/usr/bin/env python3
"""AWS' own client: it parses all that the simulator sends, and its signer makes the signatures that Tollgate made."""
import json
import os

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EventStreamError

from client_pages import run_page
from harness import *
from tls_front import TlsFront

print("boto3", boto3.__version__)
REGION, KEY_ID, KEY = "us-west-2", "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
client = boto3.client("bedrock-runtime", endpoint_url=UPSTREAM, region_name=REGION, aws_access_key_id=KEY_ID, aws_secret_access_key=KEY,
                      config=Config(retries={"total_max_attempts": 1}, proxies={}))
USER = [{"role": "user", "content": [{"text": "hello there"}]}]
TOOLS = {"tools": [{"toolSpec": {"name": "get_weather", "description": "The weather of a city", "inputSchema": {"json": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}}]}


def events_of(model="echo", **more):
    return list(client.converse_stream(modelId=model, messages=USER, **more)["stream"])


def deltas(events):
    return [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]


@check("converse: text, stop reason and usage are of the client's types")
def converse():
    answer = client.converse(modelId="echo", messages=USER)
    assert answer["output"]["message"]["content"] == [{"text": "echo: hello there"}] and answer["stopReason"] == "end_turn", answer
    assert answer["usage"]["inputTokens"] > 0 < answer["usage"]["outputTokens"], answer


@check("converse_stream: botocore reads every frame, and they say what the whole answer says")
def streams():
    events = events_of()
    names = [next(iter(event)) for event in events]
    assert names[0] == "messageStart" and names[-3:] == ["contentBlockStop", "messageStop", "metadata"], names
    assert "".join(delta["text"] for delta in deltas(events)) == "echo: hello there"
    assert events[-1]["metadata"]["usage"]["outputTokens"] > 0 and events[-2]["messageStop"]["stopReason"] == "end_turn"


@check("tools: the call, its streamed deltas, and the answer to its result")
def tools():
    answer = client.converse(modelId="echo", messages=USER, toolConfig={**TOOLS, "toolChoice": {"any": {}}})
    message = answer["output"]["message"]
    use = message["content"][0]["toolUse"]
    assert answer["stopReason"] == "tool_use" and use["name"] == "get_weather", answer
    streamed = "".join(delta["toolUse"]["input"] for delta in deltas(events_of(toolConfig=TOOLS)))
    assert json.loads(streamed) == use["input"], streamed
    result = {"role": "user", "content": [{"toolResult": {"toolUseId": use["toolUseId"], "content": [{"text": "sunny"}]}}]}
    after = client.converse(modelId="echo", messages=USER + [message, result], toolConfig=TOOLS)
    assert after["output"]["message"]["content"][0]["text"] == "echo: hello there", after


@check("errors: the status and the message are the client's")
def errors():
    for status in (400, 403, 404, 429, 500):
        error = raises(ClientError, lambda: client.converse(modelId=f"echo;status={status}", messages=USER)).response
        assert error["ResponseMetadata"]["HTTPStatusCode"] == status and "scripted" in error["Error"]["Message"], error


@check("an error inside a stream is the client's exception")
def stream_errors():
    error = raises(EventStreamError, lambda: events_of("echo;error_after=2"))
    assert error.response["Error"]["Code"] == "modelStreamErrorException", error.response


@check("invoke_model: an embedding of Titan")
def embedding():
    answer = client.invoke_model(modelId="amazon.titan-embed-text-v2:0", body=json.dumps({"inputText": "a", "dimensions": 4}))
    assert len(json.loads(answer["body"].read())["embedding"]) == 4


def entity(model, task="llm/v1/chat"):
    return {"name": "one", "external_model": {"name": model, "provider": "amazon-bedrock", "task": task, "amazon_bedrock_config": {
        "aws_access_key_id_plaintext": KEY_ID, "aws_secret_access_key_plaintext": KEY, "aws_region": REGION,
        "bedrock_provider": "amazon", "bedrock_runtime_endpoint": UPSTREAM}}}


def signature_of(request):
    """What botocore signs the recorded request with."""
    sent = request["headers"]
    signed = sent["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    again = AWSRequest(request["method"], UPSTREAM + request["path"], {name: sent[name] for name in signed if name != "x-amz-date"})
    again.context["timestamp"] = sent["x-amz-date"]
    signer = SigV4Auth(Credentials(KEY_ID, KEY), "bedrock", REGION)
    # The body as its hash, which the ledger keeps of the bytes that came.
    signer.payload = lambda _: request["body_sha256"]
    again.headers["X-Amz-Date"] = sent["x-amz-date"]
    return signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)


@check("signatures: botocore makes the same for everything that Tollgate sent")
def signatures():
    ids = ["echo", "amazon.nova-lite-v1:0", "arn:aws:bedrock:us-west-2:123456789012:inference-profile/us.amazon.nova-lite-v1:0"]
    arrivals = Arrivals()
    for at, model in enumerate(ids):
        name = f"{PREFIX}-{at}"
        make_endpoint(name, entity(model))
        for more in ({}, {"stream": True}, {"temperature": 0.5, "max_tokens": 9}):
            ask(name, "grüße 世界 'x'", **more).ok() if "stream" not in more else sse_chunks(ask(name, "hi", **more))
    make_endpoint(f"{PREFIX}-e", entity("amazon.titan-embed-text-v2:0", "llm/v1/embeddings"))
    post(f"/serving-endpoints/{PREFIX}-e/invocations", {"input": ["a", "b"]}).ok()
    requests = [request for request in arrivals.take() if "/model/" in request["path"]]
    assert len(requests) == 3 * len(ids) + 2, len(requests)
    for request in requests:
        made = request["headers"]["authorization"].rsplit("Signature=", 1)[1]
        assert made == signature_of(request), (request["path"], request["headers"])


def gateway_client(**settings):
    return boto3.client("bedrock-runtime", endpoint_url=f"{HOST}/ai-gateway", region_name=REGION, config=Config(retries={"total_max_attempts": 1}, proxies={}), **settings)


BY_KEY = {"aws_access_key_id": TOKEN, "aws_secret_access_key": "unused"}
OWN, FOREIGN = f"{PREFIX}-own", f"{PREFIX}-foreign"
make_scope()
make_endpoint(OWN, entity("echo"))
make_endpoint(FOREIGN, openai_entity(name="echo"))


@check("docs/clients: the lines for boto3, with the token as AWS' bearer token, and no signature")
def pages():
    # botocore sends a bearer token over TLS alone.
    with TlsFront(HOST) as front:
        os.environ.update(AWS_CA_BUNDLE=front.certificate, NO_PROXY="*")
        try:
            answer = run_page("boto3", host=front.url, token=TOKEN, endpoint=FOREIGN)
        finally:
            for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_CA_BUNDLE"):
                os.environ.pop(name, None)
    assert answer["output"]["message"]["content"] == [{"text": "echo: hello"}], answer


for endpoint in (OWN, FOREIGN):
    @check(f"{endpoint}: converse and converse_stream at Tollgate, with the token as the access key")
    def surface():
        at = gateway_client(**BY_KEY)
        answer = at.converse(modelId=endpoint, messages=USER, inferenceConfig={"maxTokens": 50})
        assert answer["output"]["message"]["content"] == [{"text": "echo: hello there"}] and answer["stopReason"] == "end_turn", answer
        assert answer["usage"]["inputTokens"] > 0 < answer["usage"]["outputTokens"], answer
        events = list(at.converse_stream(modelId=endpoint, messages=USER)["stream"])
        assert "".join(delta["text"] for delta in deltas(events)) == "echo: hello there", events
        assert events[-1]["metadata"]["usage"]["outputTokens"] == answer["usage"]["outputTokens"], events

    @check(f"{endpoint}: tools at Tollgate, whole, streamed, and the answer to a result")
    def surface_tools():
        at = gateway_client(**BY_KEY)
        answer = at.converse(modelId=endpoint, messages=USER, toolConfig={**TOOLS, "toolChoice": {"any": {}}})
        message = answer["output"]["message"]
        [use] = [block["toolUse"] for block in message["content"] if "toolUse" in block]
        assert answer["stopReason"] == "tool_use" and use["name"] == "get_weather", answer
        events = list(at.converse_stream(modelId=endpoint, messages=USER, toolConfig=TOOLS)["stream"])
        assert json.loads("".join(delta["toolUse"]["input"] for delta in deltas(events))) == use["input"], events
        result = {"role": "user", "content": [{"toolResult": {"toolUseId": use["toolUseId"], "content": [{"text": "sunny"}]}}]}
        after = at.converse(modelId=endpoint, messages=USER + [message, result], toolConfig=TOOLS)
        assert after["output"]["message"]["content"][0]["text"] == "echo: hello there", after


@check("guardrails mask and block streams at Tollgate, whoever made the frames")
def surface_guarded():
    at = gateway_client(**BY_KEY)
    for model in (entity("echo;answer=write%20to%20bob@example.com%20or%20to%20Bluebird;chunks=30"), openai_entity("echo;answer=write%20to%20bob@example.com%20or%20to%20Bluebird;chunks=30")):
        for guards, told, reason in (({"pii": {"behavior": "MASK"}}, "write to <EMAIL_ADDRESS> or to Bluebird", "end_turn"), ({"invalid_keywords": ["bluebird"]}, None, "content_filtered")):
            make_endpoint(f"{PREFIX}-guarded", model, ai_gateway={"guardrails": {"output": guards}})
            events = list(at.converse_stream(modelId=f"{PREFIX}-guarded", messages=USER)["stream"])
            said = "".join(delta["text"] for delta in deltas(events))
            assert said == told or told is None and "Bluebird" not in said, events
            assert [event["messageStop"]["stopReason"] for event in events if "messageStop" in event] == [reason], events


@check("errors at Tollgate are the client's exceptions")
def surface_errors():
    at = gateway_client(**BY_KEY)
    for status, name in ((400, "ValidationException"), (403, "AccessDeniedException"), (404, "ResourceNotFoundException"), (429, "ThrottlingException"), (500, "InternalServerException")):
        for make in (lambda model: entity(model), lambda model: openai_entity(model, name="faulty")):
            make_endpoint(f"{PREFIX}-faulty", make(f"echo;status={status}"))
            error = raises(ClientError, lambda: at.converse(modelId=f"{PREFIX}-faulty", messages=USER)).response
            assert error["ResponseMetadata"]["HTTPStatusCode"] == status and error["Error"]["Code"] == name, error
            assert "scripted" in error["Error"]["Message"], error
    error = raises(at.exceptions.ResourceNotFoundException, lambda: at.converse(modelId="nobody", messages=USER))
    stranger = gateway_client(aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="x")
    raises(stranger.exceptions.AccessDeniedException, lambda: stranger.converse(modelId=OWN, messages=USER))
    make_endpoint(f"{PREFIX}-faulty", openai_entity("echo;error_after=2", name="faulty"))
    error = raises(EventStreamError, lambda: list(at.converse_stream(modelId=f"{PREFIX}-faulty", messages=USER)["stream"]))
    assert error.response["Error"]["Code"].endswith("Exception"), error.response


finish()
