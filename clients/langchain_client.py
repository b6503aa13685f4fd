#!/usr/bin/env python3
"""databricks-openai and databricks-langchain in each way that they route, and LangChain's own packages for OpenAI and Anthropic."""
import asyncio
import importlib.metadata
import os
import warnings

warnings.simplefilter("ignore")
import harness

# Both packages find the server and the token where databricks-sdk does.
os.environ |= {"DATABRICKS_HOST": harness.HOST, "DATABRICKS_TOKEN": harness.TOKEN, "MLFLOW_TRACKING_URI": "databricks"}
import openai
from databricks_langchain import ChatDatabricks, DatabricksEmbeddings
from databricks_openai import AsyncDatabricksOpenAI, DatabricksOpenAI
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from client_pages import code_of, page_has
from harness import *

for package in ("databricks-openai", "databricks-langchain", "langchain-openai", "langchain-anthropic"):
    print(package, importlib.metadata.version(package))
OWN, FOREIGN, EMBED, FAULTY = f"{PREFIX}-gpt", f"{PREFIX}-claude", f"{PREFIX}-embed", f"{PREFIX}-faulty"
USER = [{"role": "user", "content": "hello there"}]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
make_scope()
make_endpoint(OWN, openai_entity(name="echo"))
make_endpoint(FOREIGN, anthropic_entity(name="echo"))
embeddings = openai_entity(name="embedder")
embeddings["external_model"] |= {"task": "llm/v1/embeddings", "name": "embed"}
make_endpoint(EMBED, embeddings)
client = workspace()
# One for all: LangChain keeps its connections between models.
loop = asyncio.new_event_loop()


def joined(chunks):
    full = None
    for chunk in chunks:
        full = chunk if full is None else full + chunk
    return full


class GetWeather(BaseModel):
    """The weather of a city."""
    city: str


class Answer(BaseModel):
    """An answer."""
    answer: str


for way in ({}, {"use_ai_gateway": True}, {"use_ai_gateway_native_api": True}):
    asking = DatabricksOpenAI(workspace_client=client, max_retries=0, **way)
    for endpoint in (OWN, FOREIGN):
        @check(f"DatabricksOpenAI({way}) on {endpoint}: chat, a stream, tools and their results")
        def chat():
            create = asking.chat.completions.create
            assert create(model=endpoint, messages=USER, max_tokens=20).choices[0].message.content == "echo: hello there"
            chunks = list(create(model=endpoint, messages=USER, max_tokens=20, stream=True))
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "echo: hello there"
            message = create(model=endpoint, messages=USER, tools=TOOLS, tool_choice="required", max_tokens=100).choices[0].message
            [called] = message.tool_calls
            assert called.function.name == "get_weather" and isinstance(json.loads(called.function.arguments), dict), called
            rest = [message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": called.id, "content": "sunny"}]
            assert create(model=endpoint, messages=USER + rest, tools=TOOLS, max_tokens=100).choices[0].message.content

        if "use_ai_gateway" in way:
            continue

        @check(f"DatabricksOpenAI({way}) on {endpoint}: responses, whole and streamed, ids of at most 64 characters")
        def responses():
            whole = asking.responses.create(model=endpoint, input=USER)
            assert whole.output_text == "echo: hello there" and len(whole.id) <= 64, whole
            last = list(asking.responses.create(model=endpoint, input=USER, stream=True))[-1]
            assert last.type == "response.completed" and last.response.output_text == "echo: hello there", last


@check("DatabricksOpenAI: embeddings, async chats at once, errors as the openai client has them")
def rest_of_openai():
    assert len(DatabricksOpenAI(workspace_client=client).embeddings.create(model=EMBED, input=["a", "b"]).data) == 2

    async def at_once():
        asking = AsyncDatabricksOpenAI(workspace_client=client, max_retries=0)
        asked = (asking.chat.completions.create(model=OWN, messages=[{"role": "user", "content": f"n {n}"}]) for n in range(10))
        return [answer.choices[0].message.content for answer in await asyncio.gather(*asked)]
    assert loop.run_until_complete(at_once()) == [f"echo: n {n}" for n in range(10)]
    make_endpoint(FAULTY, openai_entity("echo;status=429", name="faulty"))
    asking = DatabricksOpenAI(workspace_client=client, max_retries=0)
    raises(openai.RateLimitError, lambda: asking.chat.completions.create(model=FAULTY, messages=USER))
    raises(openai.NotFoundError, lambda: asking.chat.completions.create(model="nowhere", messages=USER))


def models():
    """Every chat model of LangChain that is held to the same."""
    for endpoint in (OWN, FOREIGN):
        for way in ({}, {"use_ai_gateway": True}):
            yield f"ChatDatabricks({way}) on {endpoint}", ChatDatabricks(model=endpoint, workspace_client=client, max_tokens=50, temperature=0, **way)
        for base in ("/ai-gateway/openai/v1", "/serving-endpoints"):
            yield f"ChatOpenAI at {base} on {endpoint}", ChatOpenAI(model=endpoint, base_url=HOST + base, api_key=TOKEN, max_retries=0, stream_usage=True)
        anthropic = ChatAnthropic(model=endpoint, base_url=f"{HOST}/ai-gateway/anthropic", api_key=TOKEN, max_tokens=50, max_retries=0)
        yield f"ChatAnthropic on {endpoint}", anthropic


for what, model in models():
    @check(f"{what}: invoke, stream with usage, batch, async")
    def asks():
        whole = model.invoke([SystemMessage("be brief"), HumanMessage("hello there")])
        assert whole.text == "echo: hello there" and whole.usage_metadata["total_tokens"] > 0, whole
        full = joined(model.stream([SystemMessage("be brief"), HumanMessage("hello there")]))
        assert full.text == "echo: hello there" and full.usage_metadata["total_tokens"] == whole.usage_metadata["total_tokens"], full
        assert [answer.text for answer in model.batch(["a", "b", "c"])] == ["echo: a", "echo: b", "echo: c"]
        assert loop.run_until_complete(model.ainvoke("x")).text == "echo: x"

    @check(f"{what}: tools, whole and streamed, and their results")
    def tools():
        bound = model.bind_tools([GetWeather], tool_choice="any")
        called = bound.invoke("x")
        assert called.tool_calls[0]["name"] == "GetWeather" and isinstance(called.tool_calls[0]["args"]["city"], str), called
        assert joined(bound.stream("x")).tool_calls[0]["args"] == called.tool_calls[0]["args"]
        result = ToolMessage("sunny", tool_call_id=called.tool_calls[0]["id"])
        assert model.bind_tools([GetWeather]).invoke([HumanMessage("x"), called, result]).text

    @check(f"{what}: structured output")
    def structured():
        method = "function_calling" if isinstance(model, ChatAnthropic) else "json_schema"
        assert isinstance(model.with_structured_output(Answer, method=method).invoke("x").answer, str)


@check("ChatDatabricks as responses, and embeddings in chunks of its own")
def rest_of_langchain():
    for endpoint in (OWN, FOREIGN):
        answer = ChatDatabricks(model=endpoint, workspace_client=client, use_responses_api=True).invoke("hi")
        assert answer.content[0]["text"] == "echo: hi", answer
    found = DatabricksEmbeddings(endpoint=EMBED)
    assert len(found.embed_documents(["a"] * 25)) == 25 and len(found.embed_query("q")) > 1
    other = OpenAIEmbeddings(model=EMBED, base_url=f"{HOST}/ai-gateway/openai/v1", api_key=TOKEN, check_embedding_ctx_length=False)
    assert len(other.embed_documents(["a", "b"])) == 2


@check("docs/clients: the lines for databricks-openai, LangChain and MLflow")
def pages():
    for page in ("databricks-openai", "langchain", "mlflow"):
        names = {}
        lines = code_of(page, host=HOST, token=TOKEN, endpoint=OWN)
        page_has(page, f"export DATABRICKS_HOST={HOST} DATABRICKS_TOKEN={TOKEN}", host=HOST, token=TOKEN)
        for line in lines[1:]:
            if "import" in line or " = " in line:
                exec(line, names)
                continue
            answer = eval(line, names)
            assert "echo: hello" in str(answer), (line, answer)


finish()
