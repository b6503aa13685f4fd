#!/usr/bin/env python3
"""The requests by which ucode finds the gateway and its models, read as it reads them. It is on no registry, so that it is not run itself."""
from client_pages import page_has
from harness import *

NAMES = {"anthropic/v1/messages": f"{PREFIX}-databricks-claude-sonnet-4-5", "openai/v1/responses": f"{PREFIX}-databricks-gpt-5-1",
         "gemini/v1/generateContent": f"{PREFIX}-databricks-gemini-2-5-flash"}
make_scope()
for name in NAMES.values():
    make_endpoint(name, openai_entity(name="echo"))
page_has("ucode", f"host = {HOST}", f"token = {TOKEN}", host=HOST, token=TOKEN)


@check("the gateway is there: the newest way to ask, and the one before it")
def probes():
    assert get("/api/2.1/unity-catalog/model-services?page_size=1").ok() == {"model_services": []}
    assert get("/api/ai-gateway/v2/endpoints?page_size=1").ok() == {"endpoints": []}


@check("models of each format are found by their api type, with AI Gateway v2")
def foundation_models():
    found = {}
    for endpoint in get("/api/2.0/serving-endpoints:foundation-models").ok()["endpoints"]:
        for entity in endpoint["config"]["served_entities"]:
            model = entity["foundation_model"]
            for api_type in model["api_types"] if model["ai_gateway_v2_supported"] is True else ():
                found.setdefault(api_type, []).append(endpoint["name"])
    for api_type, name in NAMES.items():
        assert name in found[api_type], found


@check("Claude models are in Anthropic's list, by the names that it looks for")
def claude_models():
    ids = [model["id"] for model in get("/ai-gateway/anthropic/v1/models").ok()["data"]]
    assert [name for name in ids if "databricks-claude-sonnet-" in name] == [NAMES["anthropic/v1/messages"]], ids


@check("whose token it is, and the addresses that it writes for each agent answer")
def agents():
    assert get("/api/2.0/preview/scim/v2/Me").ok()["userName"]
    message = post("/ai-gateway/anthropic/v1/messages", {"model": NAMES["anthropic/v1/messages"], "max_tokens": 20, "messages": [{"role": "user", "content": "x"}]})
    assert message.ok()["content"][0]["text"] == "echo: x", message
    response = post("/ai-gateway/codex/v1/responses", {"model": NAMES["openai/v1/responses"], "input": "x", "store": False})
    assert response.ok()["output"][-1]["content"][0]["text"] == "echo: x", response
    content = post(f"/ai-gateway/gemini/v1beta/models/{NAMES['gemini/v1/generateContent']}:generateContent", {"contents": [{"parts": [{"text": "x"}]}]})
    assert content.ok()["candidates"][0]["content"]["parts"][0]["text"] == "echo: x", content


finish()
