#!/usr/bin/env python3
"""The google-genai client at the simulator itself: it parses all that the simulator says in its place.

So the simulator speaks as Google does, and what holds against it holds against the real one.
"""
import asyncio

from google import genai
from google.auth.credentials import Credentials
from google.genai import errors, types

from client_pages import page_has, run_page
from harness import *

print("google-genai", genai.__version__)


class Token(Credentials):
    """A token that is there already."""

    def __init__(self):
        super().__init__()
        self.token = "ya29.suite"

    def refresh(self, request):
        raise AssertionError("the token is to be used as it is")


AT = types.HttpOptions(base_url=UPSTREAM)
CLIENTS = {
    "gemini": genai.Client(api_key="key", http_options=AT),
    "vertex": genai.Client(vertexai=True, project="p", location="us-central1", credentials=Token(), http_options=AT),
}
WEATHER = types.FunctionDeclaration(name="get_weather", description="The weather of a city", parameters_json_schema={
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
TOOLS = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[WEATHER])],
                                    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True))

for name, client in CLIENTS.items():
    models = client.models

    @check(f"{name}: an answer with its usage")
    def answers():
        config = types.GenerateContentConfig(system_instruction="be brief", temperature=0.5, max_output_tokens=20, seed=7, stop_sequences=["x"])
        answer = models.generate_content(model="gemini-2.5-flash", contents="hello there", config=config)
        assert answer.text == "echo: hello there", answer
        assert answer.candidates[0].finish_reason == types.FinishReason.STOP and answer.model_version == "gemini-2.5-flash", answer
        usage = answer.usage_metadata
        assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count > 0, usage
        assert answer.response_id, answer

    @check(f"{name}: a stream says the same, its usage at the end")
    def streams():
        whole = models.generate_content(model="gemini-2.5-flash;chunks=5", contents="hello there")
        chunks = list(models.generate_content_stream(model="gemini-2.5-flash;chunks=5", contents="hello there"))
        assert len(chunks) > 4 and "".join(chunk.text or "" for chunk in chunks) == whole.text, chunks
        assert chunks[-1].usage_metadata == whole.usage_metadata, chunks[-1]
        assert [chunk.candidates[0].finish_reason for chunk in chunks if chunk.candidates[0].finish_reason] == [types.FinishReason.STOP]

    @check(f"{name}: thoughts come apart from the text, signed calls and their results go back")
    def thoughts():
        config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=1024))
        for answer in (models.generate_content(model="gemini-2.5-flash", contents="hello", config=config),
                       *list(models.generate_content_stream(model="gemini-2.5-flash", contents="hello", config=config))[:1]):
            [thought] = [part for part in answer.candidates[0].content.parts if part.thought]
            assert thought.text, answer
        answer = models.generate_content(model="gemini-2.5-flash", contents="hello", config=config)
        assert answer.text == "echo: hello" and answer.usage_metadata.thoughts_token_count > 0, answer

    @check(f"{name}: a call of a tool, streamed too, and the answer to its result")
    def tools():
        answer = models.generate_content(model="gemini-2.5-flash", contents="the weather", config=TOOLS)
        [call] = answer.function_calls
        assert (call.name, call.args) == ("get_weather", {"city": "Paris"}), answer
        streamed = [call for chunk in models.generate_content_stream(model="gemini-2.5-flash", contents="the weather", config=TOOLS)
                    for call in chunk.function_calls or []]
        assert [call.args for call in streamed] == [{"city": "Paris"}], streamed
        turns = [types.UserContent("the weather"), answer.candidates[0].content,
                 types.UserContent(types.Part.from_function_response(name="get_weather", response={"output": "sunny"}))]
        assert models.generate_content(model="gemini-2.5-flash", contents=turns, config=TOOLS).text == "echo: the weather"

    @check(f"{name}: JSON as a schema asks for it")
    def structured():
        schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        config = types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=schema)
        assert models.generate_content(model="gemini-2.5-flash", contents="x", config=config).parsed == {"city": "42"}

    @check(f"{name}: embeddings")
    def embeddings():
        model = "text-embedding-005" if name == "vertex" else "gemini-embedding-001"
        found = models.embed_content(model=model, contents=["a", "b"], config=types.EmbedContentConfig(output_dimensionality=4, task_type="RETRIEVAL_QUERY"))
        assert [len(one.values) for one in found.embeddings] == [4, 4] and found.embeddings[0] != found.embeddings[1], found
        found = models.embed_content(model="gemini-embedding-2", contents="a", config=types.EmbedContentConfig(output_dimensionality=4))
        assert len(found.embeddings[0].values) == 4, found

    @check(f"{name}: errors of each status, with the words and the name of the status")
    def faults():
        for status, word in ((400, "INVALID_ARGUMENT"), (403, "PERMISSION_DENIED"), (404, "NOT_FOUND"), (429, "RESOURCE_EXHAUSTED"), (503, "UNAVAILABLE")):
            kind = errors.ClientError if status < 500 else errors.ServerError
            for ask in (lambda m: models.generate_content(model=m, contents="x"), lambda m: list(models.generate_content_stream(model=m, contents="x"))):
                error = raises(kind, lambda: ask(f"m;status={status}"))
                assert (error.code, error.status) == (status, word) and f"scripted {status}" in error.message, error
        raises(errors.APIError, lambda: list(models.generate_content_stream(model="m;chunks=5;error_after=2", contents="x")))

    @check(f"{name}: twenty streams at once")
    def at_once():
        async def one(number):
            stream = await client.aio.models.generate_content_stream(model="gemini-2.5-flash", contents=f"n {number}")
            return "".join([chunk.text or "" async for chunk in stream])

        async def all_of_them():
            return await asyncio.gather(*(one(number) for number in range(20)))
        assert asyncio.run(all_of_them()) == [f"echo: n {number}" for number in range(20)]

@check("docs/clients: the lines for google-genai and Gemini CLI, through the server")
def pages():
    make_scope()
    make_endpoint(f"{PREFIX}-page", openai_entity(name="echo"))
    assert run_page("google-genai", host=HOST, token=TOKEN, endpoint=f"{PREFIX}-page").text == "echo: hello"
    base = f"{HOST}/ai-gateway/gemini"
    page_has("gemini-cli", f"export GOOGLE_GEMINI_BASE_URL={base}", "export GEMINI_API_KEY_AUTH_MECHANISM=bearer", host=HOST)
    asked = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    streamed = post(f"/ai-gateway/gemini/v1beta/models/{PREFIX}-page:streamGenerateContent?alt=sse", asked)
    said = [part["text"] for chunk in streamed.text.split("\n") if chunk for part in json.loads(chunk.removeprefix("data: "))["candidates"][0]["content"]["parts"]]
    assert "".join(said) == "echo: hello", streamed.text


finish()
