"""The server keeps to its OpenAPI document: schemathesis, as four kinds of principal.

FULL=1 tries for four times as long.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema_rs

from harness import HOST, PREFIX, SCOPE, TOKEN, call, check, finish, get, make_endpoint, make_scope, openai_entity, post, put, wait_ready

FULL = bool(os.environ.get("FULL"))
EXAMPLES = 50 if FULL else 2
SECONDS = 150 if FULL else 60
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth,unsupported_method"
NAME = f"{PREFIX}-chat"
SCIM = "/api/2.0/preview/scim/v2"
# What ends the things that the other operations are tried on.
ENDING = ("DELETE /api/2.0/serving-endpoints/{name}", "DELETE /api/2.0/preview/scim/v2/Users/{id}",
          "DELETE /api/2.0/preview/scim/v2/Groups/{id}", "DELETE /api/2.0/preview/scim/v2/ServicePrincipals/{id}")

HEADERS = {"Host": "evil.test", "X-Forwarded-Host": "evil.test", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-User": "admin", "X-Original-URL": "/healthz",
           "X-Rewrite-URL": "/openapi.json", "X-HTTP-Method-Override": "GET"}


def service_principal(name):
    """A new one's application id, SCIM id and token."""
    made = post(f"{SCIM}/ServicePrincipals", {"displayName": f"{PREFIX}-{name}"})
    assert made.status == 201, made
    ask = {"application_id": made.json["applicationId"], "comment": name}
    return made.json["applicationId"], made.json["id"], post("/api/2.0/token-management/on-behalf-of/tokens", ask).ok()["token_value"]


@check("an endpoint, a scope, and principals with nothing and with CAN_VIEW")
def world():
    make_scope()
    endpoint = make_endpoint(NAME, openai_entity())
    _, _, plain = service_principal("plain")
    viewer_name, viewer_id, viewer = service_principal("viewer")
    entry = {"service_principal_name": viewer_name, "permission_level": "CAN_VIEW"}
    put(f"/api/2.0/permissions/serving-endpoints/{endpoint['id']}", {"access_control_list": [entry]}).ok()
    post("/api/2.0/secrets/acls/put", {"scope": SCOPE, "principal": viewer_name, "permission": "READ"}).ok()
    group = post(f"{SCIM}/Groups", {"displayName": f"{PREFIX}-group"})
    user = post(f"{SCIM}/Users", {"userName": f"{PREFIX}-user@example.com"})
    assert group.status == user.status == 201, (group, user)
    return {"endpoint": endpoint, "plain": plain, "viewer": viewer, "service": viewer_id, "viewer_name": viewer_name,
            "group": group.json["id"], "user": user.json["id"]}


@check("the document is OpenAPI 3.1, needs no token, names every operation, and is the one in docs/")
def document():
    document = get("/openapi.json", token=None).ok()
    assert document["openapi"].startswith("3.1"), document["openapi"]
    operations = [operation for methods in document["paths"].values() for name, operation in methods.items() if name != "parameters"]
    assert len(operations) > 80 and all(operation["operationId"] for operation in operations), len(operations)
    assert document == json.loads((Path(__file__).resolve().parents[1] / "docs" / "openapi.json").read_text()), "it differs from docs/openapi.json"
    return document


@check("no spelling of a path, and no header, lets in whom the path does not")
def spellings():
    wrong, tried = [], 0
    for path, methods in document["paths"].items():
        path = path.replace("{name}", NAME).replace("{id}", world["endpoint"]["id"]).replace("{number}", "1").replace("{", "").replace("}", "")
        head, tail = path.rsplit("/", 1)
        others = ["/" + path, f"{head}%2f{tail}", f"{head}/%2e%2e/{tail}", f"{head}/./{tail}", f"/healthz/..{path}", f"{path}/..", f"{path}%00", path.upper()]
        for method, operation in methods.items():
            if method == "parameters" or operation["x-tollgate-needs"] == "nothing":
                continue
            same = [({}, path), ({}, path + "/"), *(({name: value}, path) for name, value in HEADERS.items())]
            for token, status in ((None, 401), ("dapi-nobody", 403)):
                tried += len(same) + len(others)
                for headers, spelling in same:
                    found = call(method.upper(), spelling, {}, token=token, headers=headers, base=HOST).status
                    wrong += [(method, spelling, headers, found)] if found != status else []
                for spelling in others:
                    found = call(method.upper(), spelling, {}, token=token, base=HOST).status
                    wrong += [(method, spelling, found)] if not 400 <= found < 500 else []
    print(f"   {tried} calls", flush=True)
    assert not wrong, wrong[:5]


def answered(method, template, body=None, query="", token=TOKEN, raw=None, **values):
    """A call that must succeed, with an answer that is as the document says; gives the answer."""
    operation = document["paths"][template][method.lower()]
    path = template
    for name, value in values.items():
        path = path.replace("{%s}" % name, str(value))
    reply = call(method, path + query, raw or body, token=token, headers={"Content-Type": "application/x-www-form-urlencoded"} if raw else None)
    response = operation["responses"].get(str(reply.status))
    assert reply.status < 300 and response, f"{method} {path}: {reply}"
    content = response.get("content", {})
    if not content:
        assert not reply.text, f"{method} {path}: {reply}"
        return None
    [kind] = [kind for kind in content if reply.headers["content-type"].startswith(kind)]
    if kind != "application/json":
        return reply.text
    jsonschema_rs.validator_for({**content[kind]["schema"], "components": document["components"]}).validate(reply.json)
    return reply.json


@check("what succeeds is answered as the document says: endpoints, permissions, revisions, queries")
def endpoints():
    one, name = "/api/2.0/serving-endpoints/{name}", f"{PREFIX}-whole"
    entity = {**openai_entity(name="echo"), "timeouts": {"idle_ms": 5000}}
    body = {"name": name, "config": {"served_entities": [entity]}, "tags": [{"key": "a", "value": "b"}, {"key": "c"}], "description": "d", "validate": True,
            "ai_gateway": {"rate_limits": [{"calls": 500, "renewal_period": "minute"}, {"key": "user", "concurrent_calls": 50}]}, "email_notifications": {"on_update_success": ["a@example.com"]},
            "budget_policy_id": "b", "usage_policy_id": "u"}
    made = answered("POST", "/api/2.0/serving-endpoints", body)
    for path in ("/api/2.0/serving-endpoints", "/api/2.0/serving-endpoints:foundation-models"):
        answered("GET", path)
    for path in (one, one + "/metrics", one + "/openapi"):
        answered("GET", path, name=name)
    for path in ("/logs", "/build-logs"):
        answered("GET", one + "/served-models/{entity}" + path, name=name, entity="echo")
    answered("PUT", one + "/config", {"served_entities": [openai_entity(name="other")], "validate": True}, name=name)
    wait_ready(name)
    answered("PUT", one + "/ai-gateway", {"fallback_config": {"enabled": True}, "usage_tracking_config": {"enabled": True}}, name=name)
    answered("PUT", one + "/rate-limits", {"rate_limits": [{"calls": 1, "renewal_period": "minute", "key": "user"}]}, name=name)
    answered("PATCH", one + "/tags", {"add_tags": [{"key": "x"}], "delete_tags": ["a"]}, name=name)
    answered("PATCH", one + "/notifications", {"email_notifications": {"on_update_failure": []}}, name=name)
    grants = {"access_control_list": [{"service_principal_name": world["viewer_name"], "permission_level": "CAN_QUERY"}]}
    permissions = "/api/2.0/permissions/serving-endpoints/{id}"
    for method in ("PUT", "PATCH"):
        answered(method, permissions, grants, id=made["id"])
    for path in (permissions, permissions + "/permissionLevels"):
        answered("GET", path, id=made["id"])
    answered("GET", "/api/tollgate/v1/endpoints/{name}/revisions", name=name)
    answered("GET", "/api/tollgate/v1/endpoints/{name}/revisions/{number}", name=name, number=1)
    answered("POST", "/api/tollgate/v1/endpoints/{name}/rollback", {"revision": 1}, name=name)
    chat = {"model": name, "messages": [{"role": "user", "content": "hello"}]}
    for path in ("/serving-endpoints/{name}/invocations", "/serving-endpoints/chat/completions", "/ai-gateway/mlflow/v1/chat/completions", "/mlflow/v1/chat/completions"):
        answered("POST", path, chat, name=name)
        answered("POST", path, {**chat, "stream": True}, name=name)
    answered("POST", "/api/tollgate/v1/explain", {"endpoint": name, "principal": world["viewer_name"], "request": chat})
    answered("GET", "/api/tollgate/v1/endpoints/{name}/circuits", name=name)
    answered("DELETE", one, name=name)


def client(principal):
    """A service principal's way to an access token."""
    secrets, made = "/api/2.0/accounts/servicePrincipals/{id}/credentials/secrets", principal["id"]
    secret = answered("POST", secrets, {"lifetime": "3600s"}, id=made)
    answered("GET", secrets, id=made)
    form = f"grant_type=client_credentials&scope=all-apis&client_id={principal['applicationId']}&client_secret={secret['secret']}"
    answered("POST", "/oidc/v1/token", raw=form.encode(), token=None)
    answered("POST", "/api/2.0/token-management/on-behalf-of/tokens", {"application_id": principal["applicationId"], "lifetime_seconds": 60})
    answered("DELETE", secrets + "/{secret_id}", id=made, secret_id=secret["id"])
    answered("POST", "/api/tollgate/v1/service-principals/{id}/revoke-tokens", id=made)


def files():
    """The workspace's files and folders."""
    api, folder = "/api/2.0/workspace/", f"/Workspace/Shared/{PREFIX}"
    answered("POST", api + "mkdirs", {"path": folder})
    notebook = {"path": f"{folder}/n", "content": "MQ==", "language": "PYTHON", "overwrite": True}
    for body in (notebook, {"path": f"{folder}/f.txt", "content": "MQ==", "format": "AUTO"}):
        answered("POST", api + "import", body)
    answered("POST", "/api/2.0/workspace-files/import-file/{path}", query="?overwrite=true", raw=b"content", path=f"{folder}/f.txt"[1:].replace("/", "%2F"))
    for path in ("list", "get-status"):
        answered("GET", api + path, query=f"?path={folder}")
    answered("GET", api + "get-status", query=f"?path={folder}/n&return_export_info=true")
    assert answered("GET", api + "export", query=f"?path={folder}/f.txt")["file_type"] == "txt"
    for template, options in ((api + "export", {"query": f"?path={folder}/f.txt&direct_download=true"}),
                              ("/api/2.0/workspace-files/{path}", {"path": f"{folder}/f.txt"[1:]})):
        assert answered("GET", template, **options) == "content"
    answered("POST", api + "delete", {"path": folder, "recursive": True})
    answered("POST", api + "mkdirs", {"path": f"/Users/admin/{PREFIX}"})
    made = answered("GET", api + "get-status", query=f"?path=/Users/admin/{PREFIX}")["resource_id"]
    grants, permissions = {"access_control_list": [{"group_name": "users", "permission_level": "CAN_READ"}]}, "/api/2.0/permissions/directories/{id}"
    for method, body in (("PUT", grants), ("PATCH", grants), ("GET", None)):
        answered(method, permissions, body, id=made)
    answered("GET", permissions + "/permissionLevels", id=made)


@check("what succeeds is answered as the document says: secrets, files, identity, tokens, OAuth")
def the_rest():
    scope, secrets = f"{PREFIX}-whole", "/api/2.0/secrets/"
    for path, body in (("scopes/create", {"scope": scope}), ("put", {"scope": scope, "key": "k", "string_value": "v"}),
                       ("acls/put", {"scope": scope, "principal": world["viewer_name"], "permission": "READ"})):
        answered("POST", secrets + path, body)
    for path in ("scopes/list", "list", "get", "acls/get", "acls/list"):
        answered("GET", secrets + path, query=f"?scope={scope}&key=k&principal={world['viewer_name']}")
    for path, body in (("acls/delete", {"scope": scope, "principal": world["viewer_name"]}), ("delete", {"scope": scope, "key": "k"}), ("scopes/delete", {"scope": scope})):
        answered("POST", secrets + path, body)
    files()
    answered("GET", SCIM + "/Me")
    answered("GET", SCIM + "/Me", token=world["viewer"])
    for kind, body in (("Users", {"userName": f"{PREFIX}-whole@example.com"}), ("Groups", {"displayName": f"{PREFIX}-whole"}), ("ServicePrincipals", {"displayName": "whole"})):
        made = answered("POST", f"{SCIM}/{kind}", body)
        answered("GET", f"{SCIM}/{kind}", query="?count=2")
        answered("GET", f"{SCIM}/{kind}", query="?attributes=id")
        one = f"{SCIM}/{kind}/{{id}}"
        answered("GET", one, id=made["id"])
        answered("PUT", one, made, id=made["id"])
        answered("PATCH", one, {"Operations": [{"op": "replace", "path": "displayName", "value": f"{PREFIX}-{kind}"}]}, id=made["id"])
        if kind == "ServicePrincipals":
            client(made)
        answered("DELETE", one, id=made["id"])
    token = answered("POST", "/api/2.0/token/create", {"comment": "c", "lifetime_seconds": 60})["token_info"]["token_id"]
    answered("GET", "/api/2.0/token/list")
    answered("PATCH", "/api/2.0/token/{token_id}", {"token": {"comment": "d"}, "update_mask": "comment"}, token_id=token)
    answered("GET", "/api/2.0/token-management/tokens")
    answered("GET", "/api/2.0/token-management/tokens/{token_id}", token_id=token)
    answered("DELETE", "/api/2.0/token-management/tokens/{token_id}", token_id=token)
    token = answered("POST", "/api/2.0/token/create", {})["token_info"]["token_id"]
    answered("POST", "/api/2.0/token/delete", {"token_id": token})
    for path in ("/oidc/.well-known/oauth-authorization-server", "/oidc/.well-known/openid-configuration", "/oidc/jwks.json", "/.well-known/databricks-config",
                 "/openapi.json", "/healthz", "/readyz", "/metrics"):
        answered("GET", path, token=None)


def operation(patterns, **parameters):
    lines = ["[[operations]]", f"include-path-regex = {json.dumps(patterns)}"]
    return "\n".join(lines + ["[operations.parameters]"] + [f"{json.dumps(name.replace('_', '.', 1))} = {json.dumps(value)}" for name, value in parameters.items()])


def configuration():
    """What stands in paths and queries, so that calls get further than "no such object"."""
    deletions = "\n".join(f"[[operations]]\ninclude-name = {json.dumps(name)}\n[operations.parameters]\n\"path.name\" = \"nothing\"\n\"path.id\" = \"0\""
                          for name in ENDING)
    return "\n".join([
        "[parameters]", f'"path.name" = "{NAME}"', '"path.entity" = "echo"', '"path.number" = 1',
        f'"query.path" = "/Workspace/Shared/{PREFIX}"', f'"query.scope" = "{SCOPE}"', '"query.key" = "openai"', f'"query.principal" = "{world["viewer_name"]}"',
        # A refusal by design.
        "[[operations]]", 'include-path = "/api/2.0/external-function"', "[operations.checks]",
        'not_a_server_error = { expected-statuses = ["2xx", "3xx", "4xx", 501] }',
        deletions,
        operation("^/api/2.0/permissions/", path_id=world["endpoint"]["id"]),
        operation("/Users/", path_id=world["user"]),
        operation("/Groups/", path_id=world["group"]),
        operation("(/ServicePrincipals/|/servicePrincipals/|/service-principals/)", path_id=world["service"]),
    ]) + "\n"


def schemathesis(token):
    """Runs it as one principal; gives how many calls it made."""
    with tempfile.TemporaryDirectory() as folder:
        settings, report = Path(folder) / "schemathesis.toml", Path(folder) / "calls.json"
        settings.write_text(configuration())
        # One worker: with more, Python 3.11 now and then fails to parse (a race in its ast module).
        argv = [Path(sys.executable).parent / "st", "--config-file", settings, "run", HOST + "/openapi.json",
                "--checks", CHECKS, "--max-examples", EXAMPLES, "--max-time", SECONDS // 4, "--phases", "coverage,fuzzing",
                "--continue-on-failure", "--generation-database", "none", "--suppress-health-check", "all", "--request-timeout", "20",
                "--warnings", "off", "--no-color", "--workers", "1", "--report", "ndjson", "--report-ndjson-path", report]
        if token:
            argv += ["-H", f"Authorization: Bearer {token}"]
        run = subprocess.run([str(word) for word in argv], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    output = run.stdout + run.stderr
    if os.environ.get("VERBOSE"):
        print(output, flush=True)
    failures = output[output.find("= FAILURES ="):] if "= FAILURES =" in output else output[-3000:]
    assert run.returncode == 0, failures
    counted = re.search(r"[\d,]+ generated, [\d,]+ passed", output)
    # All but the document itself, which schemathesis leaves out.
    count = sum(len([name for name in methods if name != "parameters"]) for methods in document["paths"].values())
    assert counted and f"Tested: {count - 1}" in output, output[-1000:]
    return counted.group(0)


KINDS = {"no token": None, "a principal without grants": "plain", "a principal with CAN_VIEW": "viewer", "an administrator": TOKEN}
for kind, key in KINDS.items():
    @check(f"as {kind}: no 5xx, no undocumented status, answers as their schemas say")
    def as_kind():
        print("  ", schemathesis(world.get(key, key) if key else None), flush=True)


finish()
