#!/usr/bin/env python3
"""databricks-sdk: identity, secrets, tokens, endpoint lifecycle, query, and its get_open_ai_client(), streamed and not."""
import base64
import datetime
import time
import warnings

import databricks.sdk.version
import openai
from databricks.sdk.errors import (BadRequest, DatabricksError, DeadlineExceeded, InternalError, InvalidParameterValue, NotFound,
                                   PermissionDenied, ResourceAlreadyExists, ResourceConflict, TooManyRequests, Unauthenticated)
from databricks.sdk.service.serving import (ChatMessage, ChatMessageRole, EndpointCoreConfigInput, EndpointStateConfigUpdate,
                                            EndpointStateReady, EndpointTag, AnthropicConfig, ExternalModel, ExternalModelProvider,
                                            OpenAiConfig, Route, ServedEntityInput, ServingEndpointDetailedPermissionLevel, TrafficConfig)

from client_pages import run_page
from harness import *

warnings.simplefilter("ignore", DeprecationWarning)
print("databricks-sdk", databricks.sdk.version.__version__, "with openai", openai.__version__)
NAME = f"{PREFIX}-chat"
MINUTE = datetime.timedelta(seconds=60)
USER = [{"role": "user", "content": "hello"}]
make_scope()
delete(f"{ENDPOINTS}/{NAME}")
client = workspace()


def entity(name, model="echo", base=None, key=None):
    return ServedEntityInput(name=name, external_model=ExternalModel(
        name=model, provider=ExternalModelProvider.OPENAI, task="llm/v1/chat",
        openai_config=OpenAiConfig(openai_api_key=key or secret(), openai_api_base=base or UPSTREAM + "/v1")))


def serve(*entities, **more):
    """Puts these entities behind NAME."""
    return client.serving_endpoints.update_config_and_wait(name=NAME, served_entities=list(entities), timeout=MINUTE, **more)


def query(text="hello", name=NAME, **options):
    return client.serving_endpoints.query(name=name, messages=[ChatMessage(role=ChatMessageRole.USER, content=text)], **options)


@check("current_user.me and get_workspace_id")
def me():
    assert isinstance(client.get_workspace_id(), int)
    return client.current_user.me()


@check("a wrong token is Unauthenticated or PermissionDenied")
def wrong_token():
    raises((Unauthenticated, PermissionDenied), lambda: workspace("dapi-wrong").current_user.me())


@check("secrets: scope, put, list, get, delete and their exceptions")
def secrets():
    scope = f"{PREFIX}-scope"
    client.secrets.create_scope(scope=scope)
    raises(ResourceAlreadyExists, lambda: client.secrets.create_scope(scope=scope))
    client.secrets.put_secret(scope=scope, key="text", string_value="vé")
    client.secrets.put_secret(scope=scope, key="bytes", bytes_value="AAEC")
    assert sorted(entry.key for entry in client.secrets.list_secrets(scope)) == ["bytes", "text"]
    assert scope in [entry.name for entry in client.secrets.list_scopes()]
    assert base64.b64decode(client.secrets.get_secret(scope, "text").value) == "vé".encode()
    assert base64.b64decode(client.secrets.get_secret(scope, "bytes").value) == b"\x00\x01\x02"
    client.secrets.delete_secret(scope, "bytes")
    raises(NotFound, lambda: client.secrets.get_secret(scope, "bytes"))
    client.secrets.delete_scope(scope)
    raises(NotFound, lambda: list(client.secrets.list_secrets(scope)))


@check("tokens: create, use, list, delete; refused at once")
def tokens():
    made = client.tokens.create(comment="from the sdk", lifetime_seconds=600)
    other = workspace(made.token_value)
    assert other.current_user.me().user_name == me.user_name
    assert made.token_info.token_id in [info.token_id for info in client.tokens.list()]
    client.tokens.delete(made.token_info.token_id)
    raises((Unauthenticated, PermissionDenied), other.current_user.me)


@check("create_and_wait: ready, order of the entities, types of the fields")
def created():
    endpoint = client.serving_endpoints.create_and_wait(
        name=NAME, config=EndpointCoreConfigInput(name=NAME, served_entities=[entity("first"), entity("second")], traffic_config=TrafficConfig(
            routes=[Route(served_model_name="first", traffic_percentage=70), Route(served_model_name="second", traffic_percentage=30)])),
        tags=[EndpointTag(key="team", value="a")], timeout=MINUTE)
    assert endpoint.state.ready == EndpointStateReady.READY and endpoint.state.config_update == EndpointStateConfigUpdate.NOT_UPDATING
    assert [served.name for served in endpoint.config.served_entities] == ["first", "second"] and endpoint.config.config_version == 1
    assert endpoint.config.served_entities[0].external_model.provider == ExternalModelProvider.OPENAI
    assert endpoint.config.served_entities[0].external_model.openai_config.openai_api_key == secret()
    assert endpoint.permission_level == ServingEndpointDetailedPermissionLevel.CAN_MANAGE and endpoint.creator == me.user_name
    return endpoint


@check("get and list find it; an unknown name is NotFound with RESOURCE_DOES_NOT_EXIST")
def found():
    assert client.serving_endpoints.get(NAME).id == created.id
    [item] = [item for item in client.serving_endpoints.list() if item.name == NAME]
    assert item.id == created.id and item.task == "llm/v1/chat" and item.state.ready == EndpointStateReady.READY
    error = raises(NotFound, lambda: client.serving_endpoints.get("nowhere"))
    assert error.error_code == "RESOURCE_DOES_NOT_EXIST" and "nowhere" in str(error), error


@check("create again is ResourceAlreadyExists; a missing secret and an unknown provider are InvalidParameterValue")
def refused():
    config = lambda *entities: EndpointCoreConfigInput(name=NAME, served_entities=list(entities))
    raises((ResourceAlreadyExists, ResourceConflict), lambda: client.serving_endpoints.create(name=NAME, config=config(entity("a"))))
    missing = entity("a", key="{{secrets/%s/absent}}" % SCOPE)
    error = raises(InvalidParameterValue, lambda: client.serving_endpoints.create(name=f"{PREFIX}-bad", config=config(missing)))
    assert "absent" in str(error), error
    unconfigured = ServedEntityInput(name="a", external_model=ExternalModel(name="m", provider=ExternalModelProvider.COHERE, task="llm/v1/chat"))
    raises((InvalidParameterValue, BadRequest), lambda: client.serving_endpoints.create(name=f"{PREFIX}-bad", config=config(unconfigured)))


@check("query: text, usage, and served_model_name from the header; both entities get traffic")
def queried():
    names = set()
    for _ in range(40):
        answer = query(max_tokens=20, temperature=0.1, n=1, stop=["X"], extra_params={"top_p": "0.9"}, client_request_id="id-1", usage_context={"team": "a"})
        assert answer.choices[0].message.content == "echo: hello" and answer.usage.total_tokens > 0, answer
        names.add(answer.served_model_name)
    assert names == {"first", "second"}, names


@check("update_config_and_wait: version 2, the new entity answers")
def updated():
    endpoint = serve(entity("third"))
    assert endpoint.config.config_version == 2 and endpoint.pending_config is None, endpoint
    assert query().served_model_name == "third"


@check("an anthropic entity answers in the same shape")
def anthropic():
    serve(ServedEntityInput(name="claude", external_model=ExternalModel(
        name="echo", provider=ExternalModelProvider.ANTHROPIC, task="llm/v1/chat", anthropic_config=AnthropicConfig(anthropic_api_key=secret("anthropic")))))
    answer = query("from claude", max_tokens=20)
    assert answer.choices[0].message.content == "echo: from claude" and answer.served_model_name == "claude" and answer.usage.completion_tokens > 0


@check("provider errors are typed exceptions with the provider's text; a dead provider is INTERNAL_ERROR, at once")
def provider_errors():
    for script, kind in (("echo;status=400", BadRequest), ("echo;status=403", PermissionDenied), ("echo;status=500", InternalError)):
        serve(entity("faulty", script))
        error = raises(kind, query)
        assert "external_model_error" in str(error), error
    serve(entity("faulty", base="http://127.0.0.1:1/v1"))
    started = time.monotonic()
    # The client has no class of its own for 502.
    error = raises(DatabricksError, query)
    assert error.error_code == "INTERNAL_ERROR" and "faulty" in str(error) and time.monotonic() - started < 5, (error, time.monotonic() - started)


@check("a provider that never answers is DeadlineExceeded")
def hanging():
    make_endpoint(f"{PREFIX}-hanging", impatient(openai_entity("echo;hang=headers", name="faulty")))
    assert "faulty" in str(raises(DeadlineExceeded, lambda: query(name=f"{PREFIX}-hanging")))


@check("a provider's 429 with Retry-After is tried again and ends in an answer or TooManyRequests, within the budget")
def rate_limited():
    serve(entity("faulty", "echo;status=429;retry_after=2"))
    started = time.monotonic()
    # The client gives TimeoutError with the last error inside when its budget (5 s here) is spent.
    raises((TooManyRequests, TimeoutError), query)
    assert time.monotonic() - started < 12


@check("get_open_ai_client: chat and stream with usage")
def open_ai_client():
    serve(entity("openai"))
    chat = client.serving_endpoints.get_open_ai_client(max_retries=0).chat.completions
    answer = chat.create(model=NAME, messages=USER)
    assert answer.choices[0].message.content == "echo: hello" and answer.usage.total_tokens > 0
    chunks = list(chat.create(model=NAME, messages=USER, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "echo: hello"
    assert [chunk.usage for chunk in chunks if chunk.usage][-1].total_tokens == answer.usage.total_tokens
    raises(openai.NotFoundError, lambda: chat.create(model="nowhere", messages=USER))


@check("delete; then get and query are NotFound")
def deleted():
    client.serving_endpoints.delete(NAME)
    raises(NotFound, lambda: client.serving_endpoints.get(NAME))
    raises(NotFound, query)
    raises(NotFound, lambda: client.serving_endpoints.delete(NAME))


@check("docs/clients: the lines for databricks-sdk")
def pages():
    make_endpoint(f"{PREFIX}-page", openai_entity(name="echo"))
    assert run_page("databricks-sdk", host=HOST, token=TOKEN, endpoint=f"{PREFIX}-page").choices[0].message.content == "echo: hello"


finish()
