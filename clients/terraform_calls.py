"""The REST calls of the Terraform provider, in its order and form: apply, a plan that must be empty, change, destroy.

The bodies are those that provider 1.126.0 sent to this server; terraform.py runs the provider itself, where it can be built.
"""
from harness import ENDPOINTS, PREFIX, PROVIDER_KEY, UPSTREAM, call, check, delete, finish, get, post, put

SCOPE, NAME = f"{PREFIX}-tf-scope", f"{PREFIX}-tf"
SCIM = "/api/2.0/preview/scim/v2"
GROUP = f"{PREFIX}-tf-group"

ENTITY = {"name": "main", "external_model": {"name": "echo", "provider": "openai", "task": "llm/v1/chat", "openai_config": {
    "openai_api_key": "{{secrets/%s/openai}}" % SCOPE, "openai_api_base": f"{UPSTREAM}/v1"}}}
PLAIN = {"name": "plain", "external_model": {"name": "echo", "provider": "openai", "task": "llm/v1/chat", "openai_config": {
    "openai_api_key_plaintext": PROVIDER_KEY, "openai_api_base": f"{UPSTREAM}/v1"}}}
ROUTES = {"routes": [{"served_model_name": "main", "traffic_percentage": 90}, {"served_model_name": "plain", "traffic_percentage": 10}]}
GATEWAY = {"usage_tracking_config": {"enabled": True}, "fallback_config": {"enabled": True},
           "rate_limits": [{"calls": 100, "key": "user", "renewal_period": "minute"}]}
WANTED = {"name": NAME, "config": {"served_entities": [ENTITY, PLAIN], "traffic_config": ROUTES}, "ai_gateway": GATEWAY,
          "tags": [{"key": "team", "value": "a"}]}


def read():
    return get(f"{ENDPOINTS}/{NAME}").ok()


def wait():
    """The SDK's waiter: polls until the update is over."""
    endpoint = read()
    assert endpoint["state"]["config_update"] == "NOT_UPDATING" and endpoint["state"]["ready"] == "READY", endpoint["state"]
    return endpoint


def drift(path, wanted, found):
    """What Terraform would show as a change: it keeps write-only fields itself, and takes either name of a route."""
    if isinstance(wanted, dict):
        assert isinstance(found, dict), f"{path}: {found!r}"
        return [d for key, value in wanted.items() if not key.endswith("_plaintext") for d in drift(f"{path}.{key}", value, found.get(key))]
    if isinstance(wanted, list):
        if len(wanted) != len(found or []):
            return [f"{path}: {len(wanted)} wanted, {len(found or [])} found"]
        return [d for at, (a, b) in enumerate(zip(wanted, found)) for d in drift(f"{path}[{at}]", a, b)]
    return [] if wanted == found else [f"{path}: {wanted!r} wanted, {found!r} found"]


def no_plan(wanted):
    found = read()
    differences = drift("", wanted, found)
    assert not differences, differences
    # Optional fields that nobody set must come back empty, or every plan would remove them.
    for field in ("rate_limits", "email_notifications", "budget_policy_id", "telemetry_config"):
        assert not found.get(field), (field, found.get(field))
    assert found["description"] == "" and found["route_optimized"] is False, found
    assert "plaintext" not in str(found) and PROVIDER_KEY not in str(found), found


def acl(endpoint_id):
    return get(f"/api/2.0/permissions/serving-endpoints/{endpoint_id}").ok()["access_control_list"]


def modifiable(entries):
    """What the permissions resource keeps: not the caller, not admins, nothing inherited."""
    return {(e.get("user_name") or e.get("group_name") or e.get("service_principal_name"), p["permission_level"])
            for e in entries for p in e["all_permissions"]
            if not p["inherited"] and e.get("user_name") != "admin" and e.get("group_name") != "admins"}


@check("apply: scope, secret, endpoint; each is read back as the provider reads it")
def apply():
    post("/api/2.0/secrets/scopes/create", {"scope": SCOPE, "scope_backend_type": "DATABRICKS"}).ok()
    scopes = get("/api/2.0/secrets/scopes/list").ok()["scopes"]
    assert {"name": SCOPE, "backend_type": "DATABRICKS"} in scopes, scopes
    post("/api/2.0/secrets/put", {"scope": SCOPE, "key": "openai", "string_value": PROVIDER_KEY}).ok()
    secrets = get(f"/api/2.0/secrets/list?scope={SCOPE}").ok()["secrets"]
    assert [s["key"] for s in secrets] == ["openai"] and secrets[0]["last_updated_timestamp"] > 10**12, secrets
    post(ENDPOINTS, WANTED).ok()
    assert wait()["id"]


@check("plan after apply is empty")
def plan():
    no_plan(WANTED)


@check("permissions: Me, PUT with the caller as manager, read back; a second PUT changes nothing")
def permissions():
    endpoint_id = read()["id"]
    me = get(f"{SCIM}/Me?excludedAttributes=entitlements").ok()["userName"]
    group = call("POST", f"{SCIM}/Groups", {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": GROUP, "entitlements": [{}]})
    assert group.status == 201 and "entitlements" not in group.json, str(group)
    wanted = [{"group_name": GROUP, "permission_level": "CAN_QUERY"}, {"user_name": me, "permission_level": "CAN_MANAGE"}]
    for _ in range(2):
        put(f"/api/2.0/permissions/serving-endpoints/{endpoint_id}", {"access_control_list": wanted}).ok()
        assert modifiable(acl(endpoint_id)) == {(GROUP, "CAN_QUERY")}, acl(endpoint_id)
    return group.json["id"]


@check("change of config, tags and ai_gateway: PUT config, PATCH tags, PUT ai-gateway; the plan is empty again")
def change():
    entities = [dict(ENTITY, external_model=dict(ENTITY["external_model"], name="echo-2")), PLAIN]
    # What was read back is sent again: each route with both names.
    both = {"routes": [{"served_entity_name": route["served_model_name"], **route} for route in ROUTES["routes"]]}
    put(f"{ENDPOINTS}/{NAME}/config", {"served_entities": entities, "traffic_config": both}).ok()
    wait()
    old = {t["key"] for t in read()["tags"]}
    call("PATCH", f"{ENDPOINTS}/{NAME}/tags", {"add_tags": [{"key": "cost", "value": "b"}], "delete_tags": sorted(old)}).ok()
    put(f"{ENDPOINTS}/{NAME}/ai-gateway", {"usage_tracking_config": {"enabled": True}}).ok()
    changed = {**WANTED, "config": {"served_entities": entities, "traffic_config": ROUTES},
               "ai_gateway": {"usage_tracking_config": {"enabled": True}}, "tags": [{"key": "cost", "value": "b"}]}
    no_plan(changed)
    assert "rate_limits" not in read()["ai_gateway"]
    assert read()["config"]["config_version"] == 2


@check("a service principal: made, read by the attributes of users, put into a group and out of it, given a token, deleted")
def service_principal():
    schema, patch = "urn:ietf:params:scim:schemas:core:2.0:ServicePrincipal", "urn:ietf:params:scim:api:messages:2.0:PatchOp"
    made = call("POST", f"{SCIM}/ServicePrincipals", {"displayName": f"{PREFIX}-robot", "active": True, "schemas": [schema], "entitlements": [{}]})
    assert made.status == 201, str(made)
    one = f"{SCIM}/ServicePrincipals/{made.json['id']}"
    read_back = get(f"{one}?attributes=userName,displayName,active,externalId,entitlements").ok()
    assert read_back["applicationId"] == made.json["applicationId"] and read_back["active"] is True, read_back
    group = f"{SCIM}/Groups/{permissions}"
    add = {"op": "add", "path": "members", "value": [{"value": made.json["id"]}]}
    remove = {"op": "remove", "path": f'members[value eq "{made.json["id"]}"]'}
    for operation, count in ((add, 1), (remove, 0)):
        call("PATCH", group, {"schemas": [patch], "Operations": [operation]}).ok()
        assert len(get(f"{group}?attributes=members").ok().get("members", [])) == count
    token = post("/api/2.0/token-management/on-behalf-of/tokens", {"application_id": read_back["applicationId"], "lifetime_seconds": 3600, "comment": "c"}).ok()
    assert get(f"/api/2.0/token-management/tokens/{token['token_info']['token_id']}").ok()["token_info"]["comment"] == "c"
    delete(f"/api/2.0/token-management/tokens/{token['token_info']['token_id']}").ok()
    assert delete(one).status == 204


@check("destroy: permissions back to the caller's alone, then endpoint, secret and scope; gone is 404")
def destroy():
    endpoint_id = read()["id"]
    manager = [{"user_name": "admin", "permission_level": "CAN_MANAGE"}]
    put(f"/api/2.0/permissions/serving-endpoints/{endpoint_id}", {"access_control_list": manager}).ok()
    assert modifiable(acl(endpoint_id)) == set()
    delete(f"{ENDPOINTS}/{NAME}").ok()
    get(f"{ENDPOINTS}/{NAME}").refused(404, "RESOURCE_DOES_NOT_EXIST")
    post("/api/2.0/secrets/delete", {"scope": SCOPE, "key": "openai"}).ok()
    post("/api/2.0/secrets/scopes/delete", {"scope": SCOPE}).ok()
    assert SCOPE not in [s["name"] for s in get("/api/2.0/secrets/scopes/list").ok()["scopes"]]
    if permissions:
        assert delete(f"{SCIM}/Groups/{permissions}").status == 204


finish()
