"""Tokens read from a cache, written to one, and spent on reasoning: told by each provider in its own form, plain and streamed, they are in the tables
as the simulator's ledger has them, call by call and in sum."""
import json
import time

import harness
import lake
from harness import ENDPOINTS, PROVIDER_KEY, check, finish, google_entity, vertex_entity
from processes import Server, Simulator, scratch_folder

SETTINGS = {"TOLLGATE_TABLES__FLUSH_SECONDS": "1", "TOLLGATE_LOG__LEVEL": "warn"}
SERVING, GATEWAY = "system/serving/endpoint_usage", "system/ai_gateway/usage"
KINDS = ("cached_tokens", "cache_write_tokens", "reasoning_tokens")
# Which of them each provider's form can say, with a number for each that no other has.
PROVIDERS = {"openai": (101, 0, 31), "azure": (102, 0, 32), "custom": (103, 0, 33), "databricks-model-serving": (104, 0, 34), "anthropic": (105, 25, 35),
             "amazon-bedrock": (106, 26, 0), "google": (107, 0, 37), "google-cloud-vertex-ai": (108, 0, 38), "cohere": (109, 0, 0)}
# Tokens of the question, by the simulator's quarter of the characters.
PROMPT = -(-len("hello there") // 4)


def script(numbers):
    return "m;answer=four%20words%20of%20it;" + ";".join(f"{kind}={count}" for kind, count in zip(KINDS, numbers) if count)


def entity(provider, model):
    if provider == "google":
        return google_entity(model, name="main", google_api_base=simulator.url)
    if provider == "google-cloud-vertex-ai":
        return vertex_entity(model, name="main", vertex_api_base=simulator.url)
    key, url = PROVIDER_KEY, simulator.url
    named, block, config = {
        "openai": ("openai", "openai_config", {"openai_api_key_plaintext": key, "openai_api_base": url + "/v1"}),
        "azure": ("openai", "openai_config", {"openai_api_type": "azure", "openai_api_key_plaintext": key, "openai_api_base": url,
                                              "openai_api_version": "2024-10-21", "openai_deployment_name": model}),
        "custom": ("custom", "custom_provider_config", {"custom_provider_url": url + "/v1", "bearer_token_auth": {"token_plaintext": key}}),
        "databricks-model-serving": ("databricks-model-serving", "databricks_model_serving_config",
                                     {"databricks_workspace_url": url, "databricks_api_token_plaintext": key}),
        "anthropic": ("anthropic", "anthropic_config", {"anthropic_api_key_plaintext": key, "anthropic_api_base": url}),
        "amazon-bedrock": ("amazon-bedrock", "amazon_bedrock_config", {
            "aws_access_key_id_plaintext": "AKIA", "aws_secret_access_key_plaintext": key, "aws_region": "us-east-1", "bedrock_provider": "amazon",
            "bedrock_runtime_endpoint": url}),
        "cohere": ("cohere", "cohere_config", {"cohere_api_key_plaintext": key, "cohere_api_base": url}),
    }[provider]
    return {"name": "main", "external_model": {"name": model, "provider": named, "task": "llm/v1/chat", block: config}}


def call(method, path, body):
    return harness.call(method, path, body, token=server.token, base=server.url)


def surfaces(provider, stream):
    """Every format that an endpoint is asked in, with the table that has its calls."""
    name = f"on-{provider}"
    chat = {"messages": [{"role": "user", "content": "hello there"}], "max_tokens": 50, "stream": stream}
    counted = chat | ({"stream_options": {"include_usage": True}} if stream else {})
    said = [{"role": "user", "parts": [{"text": "hello there"}]}]
    converse = {"messages": [{"role": "user", "content": [{"text": "hello there"}]}], "inferenceConfig": {"maxTokens": 50}}
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    of_chat = [
        (SERVING, f"/serving-endpoints/{name}/invocations", counted),
        (GATEWAY, "/ai-gateway/mlflow/v1/chat/completions", counted | {"model": name}),
    ]
    # Not asked for usage, since the real one always tells it; the simulator of it has to be asked.
    return of_chat if stream and provider == "databricks-model-serving" else of_chat + [
        (GATEWAY, "/ai-gateway/anthropic/v1/messages", chat | {"model": name}),
        (GATEWAY, "/ai-gateway/openai/v1/responses", {"model": name, "input": "hello there", "stream": stream}),
        (GATEWAY, f"/ai-gateway/gemini/v1beta/models/{name}:{method}", {"contents": said}),
        (GATEWAY, f"/ai-gateway/model/{name}/converse" + ("-stream" if stream else ""), converse),
    ]


def told_by_chat(reply, stream):
    """The usage of a unified answer."""
    if not stream:
        return reply.json["usage"]
    lines = [json.loads(line[6:]) for line in reply.text.split("\n") if line.startswith("data: {")]
    return next(line["usage"] for line in reversed(lines) if line.get("usage"))


COLUMNS = {
    SERVING: ("databricks_request_id", "endpoint_name, input_token_count, output_token_count, cache_read_input_tokens, cache_creation_input_tokens, "
              "output_reasoning_tokens, usage_provenance"),
    GATEWAY: ("request_id", "endpoint_name, input_tokens, output_tokens, token_details.cache_read_input_tokens, token_details.cache_creation_input_tokens, "
              "token_details.output_reasoning_tokens, usage_provenance"),
}

with scratch_folder("kinds") as folder, Simulator(folder) as simulator, Server(folder, simulator.url, SETTINGS) as server:
    expected = {SERVING: [], GATEWAY: []}

    for provider, numbers in PROVIDERS.items():
        @check(f"{provider}: every surface answers, and a chat tells its caller of each kind")
        def asked():
            cached, written, reasoned = numbers
            gateway = {"usage_tracking_config": {"enabled": True}}
            call("POST", ENDPOINTS, {"name": f"on-{provider}", "config": {"served_entities": [entity(provider, script(numbers))]}, "ai_gateway": gateway}).ok()
            for stream in (False, True):
                for table, path, body in surfaces(provider, stream):
                    reply = call("POST", path, body)
                    assert reply.status == 200 and ("four words" in reply.text or "wor" in reply.text), (path, str(reply))
                    expected[table].append(provider)
                    if "chat" in path or "invocations" in path:
                        usage = told_by_chat(reply, stream)
                        assert usage["prompt_tokens"] == PROMPT + cached + written, (path, usage)
                        assert usage["prompt_tokens_details"]["cached_tokens"] == cached, (path, usage)
                        told = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
                        assert told == reasoned, (path, usage)

    ledger = harness.get("/_ledger/summary", base=simulator.url, token=None).json
    found = {}

    @check("each call has one row")
    def rows():
        deadline = time.monotonic() + 30
        for table, (own, columns) in COLUMNS.items():
            while not (server.data / "tables" / table / "_delta_log").exists() or len(found.get(table, [])) < len(expected[table]):
                assert time.monotonic() < deadline, (table, len(found.get(table, [])), len(expected[table]))
                time.sleep(0.5)
                if (server.data / "tables" / table / "_delta_log").exists():
                    found[table] = [row[1:] for row in lake.rows(server.data / "tables", table, f"{own}, {columns}")]
            assert len(found[table]) == len(expected[table])

    @check("whose columns have each kind of token as the provider told it")
    def columns():
        wrong = []
        for table, all_rows in found.items():
            for name, inputs, outputs, cached, written, reasoned, provenance in all_rows:
                numbers = PROVIDERS[name.removeprefix("on-")]
                got = (inputs - cached - written, cached, written, reasoned, provenance)
                if got != (PROMPT, *numbers, "provider") or outputs <= reasoned:
                    wrong.append((table, name, got, outputs, numbers))
        assert not wrong, (len(wrong), wrong[:6])

    @check("and which add up to the simulator's ledger")
    def sums():
        all_rows = [row for rows in found.values() for row in rows]
        totals = [sum(row[column] for row in all_rows) for column in range(1, 6)]
        names = ("input_tokens", "output_tokens", *KINDS)
        assert totals == [ledger[name] for name in names], (dict(zip(names, totals)), ledger)
        print(f"-- {dict(zip(names, totals))}", flush=True)

finish()
