"""The Databricks CLI, unmodified: its commands for what we serve, and bundles on its direct engine. DATABRICKS_BIN is the program."""
import json
import os
import subprocess
from pathlib import Path

from harness import ENDPOINTS, HOST, PREFIX, PROVIDER_KEY, SCOPE, TOKEN, UPSTREAM, check, finish, get, make_scope, openai_entity

BINARY = os.environ["DATABRICKS_BIN"]
HOME = Path(os.environ["HOME"])
NAME, SCIM = f"{PREFIX}-chat", "/api/2.0/preview/scim/v2"
COMMAND_SECONDS = 60


def run(*words, token=TOKEN, cwd=HOME):
    """Exit code, output, and what was said beside it."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(HOME), "DATABRICKS_HOST": HOST, "DATABRICKS_TOKEN": token, "NO_PROXY": "127.0.0.1",
                   "DATABRICKS_CONFIG_FILE": "/nonexistent", "DATABRICKS_BUNDLE_ENGINE": "direct"}
    child = subprocess.run([BINARY, *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                           timeout=COMMAND_SECONDS)
    return child.returncode, child.stdout, child.stderr


def cli(*words, body=None, **options):
    """A command that must succeed; its JSON, None when it says nothing."""
    words = [*words, "-o", "json", *(["--json", json.dumps(body)] if body is not None else [])]
    code, said, complaint = run(*words, **options)
    assert code == 0, f"{' '.join(map(str, words))}: exit code {code}: {said} {complaint}"
    return json.loads(said) if said.strip() else None


def refused(*words, saying, body=None, **options):
    words = [*words, *(["--json", json.dumps(body)] if body is not None else [])]
    code, said, complaint = run(*words, **options)
    assert code != 0 and saying in said + complaint, f"{' '.join(map(str, words))}: exit code {code}: {said} {complaint}"


def serving(command, *words, **options):
    tried.add(command)
    return cli("serving-endpoints", command, *words, **options)


tried = set()


@check("current-user me: the name and the workspace's id")
def me():
    assert cli("current-user", "me")["userName"] == "admin"


@check("secrets: scope, secret, value, access control list, all listed and deleted again")
def secrets():
    scope = f"{PREFIX}-cli"
    cli("secrets", "create-scope", scope)
    assert scope in [s["name"] for s in cli("secrets", "list-scopes")]
    cli("secrets", "put-secret", scope, "k", "--string-value", "v")
    assert [s["key"] for s in cli("secrets", "list-secrets", scope)] == ["k"]
    assert cli("secrets", "get-secret", scope, "k")["value"] == "dg=="
    cli("secrets", "put-acl", scope, "users", "READ")
    assert cli("secrets", "get-acl", scope, "users")["permission"] == "READ"
    assert {"principal": "users", "permission": "READ"} in cli("secrets", "list-acls", scope)
    cli("secrets", "delete-acl", scope, "users")
    cli("secrets", "delete-secret", scope, "k")
    cli("secrets", "delete-scope", scope)
    refused("secrets", "list-secrets", scope, saying="does not exist")


@check("serving-endpoints: created and ready, read, listed, queried, changed")
def lifecycle():
    make_scope()
    entity = openai_entity(name="main")
    body = {"name": NAME, "config": {"served_entities": [entity]}, "tags": [{"key": "team", "value": "a"}]}
    made = serving("create", body=body)
    assert made["state"]["ready"] == "READY" and made["name"] == NAME, made
    assert serving("get", NAME)["id"] == made["id"]
    assert NAME in [endpoint["name"] for endpoint in serving("list")]
    answer = serving("query", NAME, body={"messages": [{"role": "user", "content": "hello"}]})
    assert answer["choices"][0]["message"]["content"] == "echo: hello", answer
    changed = serving("update-config", NAME, body={"served_entities": [openai_entity(model="echo-2", name="main")]})
    assert changed["config"]["served_entities"][0]["external_model"]["name"] == "echo-2", changed
    serving("put-ai-gateway", NAME, body={"usage_tracking_config": {"enabled": True}})
    serving("put", NAME, body={"rate_limits": [{"calls": 10, "renewal_period": "minute"}]})
    serving("patch", NAME, body={"add_tags": [{"key": "cost", "value": "b"}], "delete_tags": ["team"]})
    serving("update-notifications", NAME, body={"email_notifications": {"on_update_failure": ["a@example.com"]}})
    assert [tag["key"] for tag in serving("get", NAME)["tags"]] == ["cost"]
    return made["id"]


@check("serving-endpoints: metrics, OpenAPI and logs")
def exports():
    for command, words in (("export-metrics", [NAME]), ("get-open-api", [NAME])):
        tried.add(command)
        code, said, complaint = run("serving-endpoints", command, *words)
        assert code == 0 and said.strip(), (command, code, complaint)
    for command in ("logs", "build-logs"):
        serving(command, NAME, "main")


@check("serving-endpoints: what cannot be here is refused with a reason")
def no_models_here():
    tried.update(("create-provisioned-throughput-endpoint", "update-provisioned-throughput-endpoint-config", "patch-telemetry-config"))
    unit = {"served_entities": [{"entity_name": "a.b.c", "entity_version": "1", "provisioned_model_units": 50, "name": "m"}]}
    refused("serving-endpoints", "create-provisioned-throughput-endpoint", body={"name": f"{PREFIX}-pt", "config": unit}, saying="hosts no models")
    refused("serving-endpoints", "update-provisioned-throughput-endpoint-config", NAME, body={"config": unit}, saying="hosts no models")
    refused("serving-endpoints", "patch-telemetry-config", NAME, body={"telemetry_config": {}}, saying="not supported")


@check("serving-endpoints and permissions: levels, grants, and an endpoint that is not there")
def permissions():
    entry = [{"group_name": "users", "permission_level": "CAN_QUERY"}]
    levels = serving("get-permission-levels", lifecycle)["permission_levels"]
    assert {level["permission_level"] for level in levels} == {"CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"}, levels
    serving("set-permissions", lifecycle, body={"access_control_list": entry})
    serving("update-permissions", lifecycle, body={"access_control_list": entry})
    found = serving("get-permissions", lifecycle)
    assert "users" in [e.get("group_name") for e in found["access_control_list"]], found
    for command, body in (("set", {"access_control_list": entry}), ("update", {"access_control_list": entry}), ("get", None)):
        assert cli("permissions", command, "serving-endpoints", lifecycle, body=body) == found
    cli("permissions", "get-permission-levels", "serving-endpoints", lifecycle)
    refused("serving-endpoints", "get", f"{PREFIX}-nobody", saying="does not exist")


@check("serving-endpoints: deleted, and every command of the CLI was tried")
def all_commands():
    serving("delete", NAME)
    refused("serving-endpoints", "get", NAME, saying="does not exist")
    words = [line.split()[0] for line in run("serving-endpoints", "--help")[1].splitlines() if line.startswith("  ") and line.strip()]
    known = {word for word in words if word.islower() and run("serving-endpoints", word, "--help")[1].count(f"serving-endpoints {word}")}
    print(f"   {len(known)} commands", flush=True)
    assert len(known) > 20 and known <= tried, (known - tried, len(known))


@check("groups and service principals: created, listed, patched, replaced, deleted")
def people():
    for kind, key in (("groups", "Groups"), ("service-principals", "ServicePrincipals")):
        name = f"{PREFIX}-{kind}"
        made = cli(kind, "create", "--display-name", name)
        assert name in [one["displayName"] for one in cli(kind, "list")]
        schema = ["urn:ietf:params:scim:api:messages:2.0:PatchOp"]
        patch = {"schemas": schema, "Operations": [{"op": "replace", "path": "displayName", "value": f"{name}-2"}]}
        cli(kind, "patch", made["id"], body=patch)
        assert cli(kind, "get", made["id"])["displayName"] == f"{name}-2"
        cli(kind, "update", made["id"], body={"id": made["id"], "displayName": f"{name}-3"})
        assert cli(kind, "get", made["id"])["displayName"] == f"{name}-3"
        cli(kind, "delete", made["id"])
        assert get(f"{SCIM}/{key}/{made['id']}", base=HOST).status == 404


@check("tokens: created, used, renamed, listed, deleted and refused at once")
def tokens():
    made = cli("tokens", "create", "--comment", "one", "--lifetime-seconds", "600")
    token_id, value = made["token_info"]["token_id"], made["token_value"]
    assert cli("current-user", "me", token=value)["userName"] == "admin"
    cli("tokens", "update", token_id, body={"token": {"comment": "two"}, "update_mask": "comment"})
    assert "two" in [token["comment"] for token in cli("tokens", "list") if token["token_id"] == token_id]
    assert token_id in [token["token_id"] for token in cli("token-management", "list")]
    cli("tokens", "delete", token_id)
    refused("current-user", "me", token=value, saying="revoked")


@check("workspace: a folder goes up and comes down as it was")
def files():
    local, remote = HOME / "up", f"/Shared/{PREFIX}"
    (local / "inner").mkdir(parents=True)
    (local / "inner" / "a.txt").write_text("text\n")
    (local / "b.py").write_text("# Databricks notebook source\nprint(1)\n")
    cli("workspace", "mkdirs", remote)
    assert run("workspace", "import-dir", local, remote)[0] == 0
    assert run("workspace", "export-dir", remote, HOME / "down")[0] == 0
    assert (HOME / "down" / "inner" / "a.txt").read_text() == "text\n"
    assert (HOME / "down" / "b.py").read_text() == (local / "b.py").read_text()
    assert {one["path"]: one["object_type"] for one in cli("workspace", "list", remote)} == {
        f"{remote}/b": "NOTEBOOK", f"{remote}/inner": "DIRECTORY"}
    refused("workspace", "delete", remote, saying="not empty")
    cli("workspace", "delete", remote, "--recursive")
    refused("workspace", "get-status", remote, saying="doesn't exist")


def bundle(model, team):
    """A bundle with an endpoint, a scope, and grants on both."""
    folder = HOME / "bundle"
    folder.mkdir(exist_ok=True)
    endpoint = {"name": f"{PREFIX}-bundle", "config": {"served_entities": [openai_entity(model=model, name="main")], "traffic_config": {
        "routes": [{"served_model_name": "main", "traffic_percentage": 100}]}}, "tags": [{"key": "team", "value": team}],
        "ai_gateway": {"usage_tracking_config": {"enabled": True}, "rate_limits": [{"calls": 100, "key": "endpoint", "renewal_period": "minute"}]},
        "permissions": [{"level": "CAN_QUERY", "group_name": "users"}]}
    scope = {"name": f"{PREFIX}-bundle", "permissions": [{"level": "READ", "group_name": "users"}]}
    # JSON is YAML.
    (folder / "databricks.yml").write_text(json.dumps({
        "bundle": {"name": PREFIX}, "targets": {"dev": {"default": True, "workspace": {"host": HOST}}},
        "resources": {"model_serving_endpoints": {"chat": endpoint}, "secret_scopes": {"keys": scope}}}))
    return folder


def bundle_says(folder, *words):
    code, said, complaint = run("bundle", *words, cwd=folder)
    assert code == 0, f"bundle {' '.join(words)}: exit code {code}: {said} {complaint}"
    return said + complaint


def version(name):
    return get(f"{ENDPOINTS}/{name}").ok()["config"]["config_version"]


@check("bundle deploy, then a second one: nothing to do, nothing written to the endpoint")
def deploy():
    folder, name = bundle("echo", "a"), f"{PREFIX}-bundle"
    assert "Deployment complete" in bundle_says(folder, "deploy")
    before = get(f"{ENDPOINTS}/{name}").ok()
    assert before["config"]["served_entities"][0]["external_model"]["name"] == "echo"
    assert "0 to add, 0 to change, 0 to delete, 4 unchanged" in bundle_says(folder, "plan")
    assert "Deployment complete" in bundle_says(folder, "deploy")
    after = get(f"{ENDPOINTS}/{name}").ok()
    assert after == before, (before, after)
    # From a machine that has not deployed yet: the state is found in the workspace.
    local = folder / ".databricks"
    local.rename(HOME / "put-aside")
    assert "0 to add, 0 to change, 0 to delete, 4 unchanged" in bundle_says(folder, "plan")


@check("bundle deploy of a change updates the endpoint, and the next plan is empty")
def change():
    folder, name = bundle("echo-2", "b"), f"{PREFIX}-bundle"
    old = version(name)
    plan = bundle_says(folder, "plan")
    # The grants are planned along with the endpoint that they are on.
    assert "update model_serving_endpoints.chat\n" in plan and "0 to add, 2 to change, 0 to delete" in plan, plan
    bundle_says(folder, "deploy")
    endpoint = get(f"{ENDPOINTS}/{name}").ok()
    assert endpoint["config"]["served_entities"][0]["external_model"]["name"] == "echo-2" and endpoint["config"]["config_version"] == old + 1
    assert endpoint["tags"] == [{"key": "team", "value": "b"}], endpoint["tags"]
    assert "0 to add, 0 to change, 0 to delete, 4 unchanged" in bundle_says(folder, "plan")


@check("bundle deploy waits for nobody: a lock that another holds is refused with the holder's name")
def locked():
    folder, state = HOME / "bundle", f"/Workspace/Users/admin/.bundle/{PREFIX}/dev/state"
    (HOME / "deploy.lock").write_text(json.dumps({"ID": "5f1c0e9a-b47d-4682-8c81-fa5be6d29733", "AcquisitionTime": "2026-01-01T00:00:00Z",
                                                  "IsForced": False, "User": "somebody"}))
    cli("workspace", "import", f"{state}/deploy.lock", "--file", HOME / "deploy.lock", "--format", "AUTO")
    refused("bundle", "deploy", cwd=folder, saying="somebody")
    cli("workspace", "delete", f"{state}/deploy.lock")
    bundle_says(folder, "deploy")


@check("bundle deploy with permissions of the whole bundle: its folder is shared with whom they name")
def shared():
    folder = bundle("echo-2", "b")
    robot = cli("service-principals", "create", "--display-name", f"{PREFIX}-robot")["applicationId"]
    token = cli("token-management", "create-obo-token", robot, "--lifetime-seconds", "600")["token_value"]
    written = json.loads((folder / "databricks.yml").read_text())
    written["permissions"] = [{"service_principal_name": robot, "level": "CAN_VIEW"}, {"user_name": "admin", "level": "CAN_MANAGE"}]
    root = f"/Workspace/Users/admin/.bundle/{PREFIX}/dev"
    refused("workspace", "list", root, token=token, saying="CAN_READ")
    (folder / "databricks.yml").write_text(json.dumps(written))
    bundle_says(folder, "deploy")
    assert f"{root}/state" in [one["path"] for one in cli("workspace", "list", root, token=token)]
    refused("workspace", "delete", f"{root}/state", "--recursive", token=token, saying="CAN_MANAGE")
    assert "0 to add, 0 to change, 0 to delete" in bundle_says(folder, "plan")


@check("bundle destroy: endpoint, scope and files are gone; a second one finds nothing")
def destroy():
    folder = HOME / "bundle"
    assert "Destroy complete" in bundle_says(folder, "destroy", "--auto-approve")
    get(f"{ENDPOINTS}/{PREFIX}-bundle").refused(404)
    assert f"{PREFIX}-bundle" not in [s["name"] for s in get("/api/2.0/secrets/scopes/list").ok()["scopes"]]
    refused("workspace", "get-status", f"/Workspace/Users/admin/.bundle/{PREFIX}/dev", saying="doesn't exist")
    assert "No active deployment" in bundle_says(folder, "destroy", "--auto-approve")


@check("no command printed the provider's key")
def quiet():
    assert PROVIDER_KEY not in str([run("secrets", "list-secrets", SCOPE), run("serving-endpoints", "list", "-o", "json")])


finish()
