"""`system.access.audit` against the acts of two people: each act that changes something, gives out a secret or is refused has its rows, and nothing else has any.

Starts a server of its own.
"""
import json

import harness
import lake
from harness import ENDPOINTS, UPSTREAM, check, endpoint_body, finish
from processes import Server, scratch_folder

AUDIT = "system/access/audit"
SECRETS = {"a provider's key": "sk-audit-plaintext-1", "another": "sk-audit-plaintext-2", "a secret's value": "value-of-the-secret-3"}
ADMIN, ANN = "admin", "ann@example.com"


class Acts:
    """Acts on the server, and what the table is to say of each."""
    def __init__(self, server):
        self.server, self.expected, self.given = server, [], []

    def act(self, method, path, body=None, *, status=200, who=ADMIN, token=None, route=None, told=(), recorded=True, refused=False):
        """`told`: the parameters that the rows are to name, each with the text that they hold. `refused`: before it had any effect."""
        reply = harness.call(method, path, body, token=token or self.server.token, base=self.server.url)
        assert reply.status == status, reply
        if recorded:
            self.expected.append((reply.headers["x-request-id"], who, f"{method} {route or path.split('?')[0]}", status, dict(told), refused))
        return reply.json if reply.text else {}


def entity(key):
    config = {"openai_api_key_plaintext": key, "openai_api_base": UPSTREAM + "/v1"}
    return {"name": "main", "external_model": {"name": "echo", "provider": "openai", "task": "llm/v1/chat", "openai_config": config}}


def happened(acts):
    one, named = f"{ENDPOINTS}/{{name}}", {"route": f"{ENDPOINTS}/{{name}}"}
    keys = list(SECRETS.values())
    made = acts.act("POST", ENDPOINTS, endpoint_body("e", entity(keys[0])), told={"name": "e"})
    acts.act("PUT", f"{ENDPOINTS}/e/config", {"served_entities": [entity(keys[1])]}, route=f"{one}/config")
    limits = {"rate_limits": [{"calls": 7, "renewal_period": "minute"}]}
    acts.act("PUT", f"{ENDPOINTS}/e/ai-gateway", limits, route=f"{one}/ai-gateway", told={"rate_limits": json.dumps(limits["rate_limits"])})
    acts.act("PATCH", f"{ENDPOINTS}/e/tags", {"add_tags": [{"key": "team", "value": "a"}]}, route=f"{one}/tags")
    acts.act("POST", "/api/2.0/secrets/scopes/create", {"scope": "s"}, told={"scope": "s"})
    acts.act("POST", "/api/2.0/secrets/put", {"scope": "s", "key": "k", "string_value": keys[2]}, told={"scope": "s", "key": "k"})
    acts.act("GET", "/api/2.0/secrets/get?scope=s&key=k", told={"scope": "s", "key": "k"})
    acts.act("POST", "/api/2.0/preview/scim/v2/Users", {"userName": ANN}, status=201, told={"userName": ANN})
    acts.act("POST", "/api/2.0/secrets/acls/put", {"scope": "s", "principal": ANN, "permission": "READ"}, told={"principal": ANN, "permission": "READ"})
    on_behalf = acts.act("POST", "/api/2.0/token/create", {"comment": "mine", "lifetime_seconds": 600}, told={"comment": "mine"})
    SECRETS["a token"] = on_behalf["token_value"]
    acts.act("POST", "/api/2.0/token/delete", {"token_id": on_behalf["token_info"]["token_id"]})
    grants = {"access_control_list": [{"user_name": ANN, "permission_level": "CAN_QUERY"}]}
    acts.act("PATCH", f"/api/2.0/permissions/serving-endpoints/{made['id']}", grants, route="/api/2.0/permissions/serving-endpoints/{id}")
    # What is wrong, and what is not there.
    acts.act("PUT", f"{ENDPOINTS}/e/config", {"served_entities": [{"external_model": {"provider": "opnai"}}]}, status=400, route=f"{one}/config")
    acts.act("DELETE", f"{ENDPOINTS}/none", status=404, refused=True, **named)
    # Reads have no rows.
    acts.act("GET", f"{ENDPOINTS}/e", recorded=False)
    acts.act("GET", "/api/2.0/secrets/list?scope=s", recorded=False)
    acts.act("POST", "/serving-endpoints/e/invocations", {"messages": [{"role": "user", "content": "hello"}]}, recorded=False)
    acts.act("DELETE", f"{ENDPOINTS}/e", **named)


def rows(tables):
    found = lake.rows(tables, AUDIT, "request_id, phase, user_identity.email, action_name, response.status_code, request_params, event_id, "
                      "source_ip_address, service_name, object_before, object_after, response.error_message")
    assert len({row[6] for row in found}) == len(found), "an event is there twice"
    return found


with scratch_folder("audit") as folder:
    with Server(folder, UPSTREAM, {"TOLLGATE_TABLES__FLUSH_SECONDS": "1"}) as server:
        acts = Acts(server)

        @check("acts on endpoints, configs, gateways, tags, secrets, permissions, users and tokens are answered as they should be")
        def acted():
            happened(acts)

        @check("an act of somebody who may not is refused, a read too, and so is one of nobody")
        def denied():
            service = harness.call("POST", "/api/2.0/preview/scim/v2/ServicePrincipals", {"displayName": "robot"}, token=server.token, base=server.url)
            assert service.status == 201, service
            acts.expected.append((service.headers["x-request-id"], ADMIN, "POST /api/2.0/preview/scim/v2/ServicePrincipals", 201, {"displayName": "robot"}, False))
            robot = service.json["applicationId"]
            token = acts.act("POST", "/api/2.0/token-management/on-behalf-of/tokens", {"application_id": robot, "lifetime_seconds": 600})["token_value"]
            SECRETS["a robot's token"] = token
            acts.act("POST", ENDPOINTS, endpoint_body("f", entity("sk-audit-plaintext-1")), status=403, who=robot, token=token, refused=True)
            acts.act("GET", "/api/2.0/secrets/get?scope=s&key=k", status=403, who=robot, token=token, refused=True)
            acts.act("DELETE", f"{ENDPOINTS}/e", status=403, who=None, token="dapi-of-nobody", route=f"{ENDPOINTS}/{{name}}", refused=True)

    tables = server.data / "tables"

    @check("each act has one row before its effect and one after it, a refused one has one, and nothing else has a row")
    def once():
        by_request = {}
        for row in rows(tables):
            by_request.setdefault(row[0], []).append(row)
        for request, who, action, status, told, refused in acts.expected:
            mine = sorted(by_request.pop(request, []), key=lambda row: row[1])
            phases = [row[1] for row in mine]
            assert phases == (["denied"] if refused else ["allowed", "done"]), (action, status, phases)
            for row in mine:
                assert row[2:4] == (who, action), (row, who, action)
                assert row[7] == "127.0.0.1" and row[8], row
            *_, last = [row for row in mine if row[1] != "allowed"]
            assert last[4] == status, (action, last)
            assert (last[11] is not None) == (status >= 400), (action, last)
            for name, value in told.items():
                assert mine[0][5].get(name) == value or json.loads(mine[0][5][name]) == json.loads(value), (action, mine[0][5])
        assert not by_request, list(by_request.values())

    @check("what was changed is shown before and after")
    def shown():
        changed = f"PUT {ENDPOINTS}/{{name}}/ai-gateway"
        [(before, after)] = [(one[9], two[10]) for one in rows(tables) for two in rows(tables) if (one[1], two[1], one[3], two[3]) == ("allowed", "done", changed, changed)]
        assert '"calls":7' not in before.replace(" ", "") and '"calls":7' in after.replace(" ", ""), (before, after)

    @check(f"no secret is in a row: {', '.join(SECRETS)}")
    def secret():
        text = repr(lake.duck().sql(f"SELECT to_json(row) FROM delta_scan('{tables / AUDIT}') row").fetchall())
        assert "elided" in text
        hits = [name for name, value in SECRETS.items() if value in text]
        assert not hits, hits

    @check("DuckDB and delta-rs read the same rows")
    def agreed():
        assert lake.agree(tables, AUDIT) == len(rows(tables)) > 30

finish()
