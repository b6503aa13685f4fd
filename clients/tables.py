"""Usage, bodies, audit and what is served, as Delta tables that DuckDB and delta-rs read alike, after compaction and vacuum too.

Starts a server of its own: its tables are to be whole when it has stopped.
"""
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import deltalake

import lake
from harness import ENDPOINTS, PREFIX, UPSTREAM, check, endpoint_body, finish
from processes import Server, scratch_folder

NAME = f"{PREFIX}-chat"
TABLE = {"catalog_name": "main", "schema_name": "logs", "table_name_prefix": "chat", "enabled": True}
PAYLOAD = "main/logs/chat_payload"
PRICED, MODEL = f"{PREFIX}-priced", "echo;chunks=4"
PRICES = {"input": 0.4, "cache_read": 0.04, "output": 1.6, "reasoning": 1.6}
USAGE, GATEWAY, SERVED = "system/serving/endpoint_usage", "system/ai_gateway/usage", "system/serving/served_entities"
DOCS = Path(__file__).resolve().parents[1] / "docs" / "tables.md"
QUICK = {"TOLLGATE_TABLES__FLUSH_SECONDS": "1", "TOLLGATE_TABLES__MAX_PAYLOAD_BYTES": "20000"}


def entity(name, model):
    config = {"openai_api_key_plaintext": "sk-x", "openai_api_base": UPSTREAM + "/v1"}
    return {"name": name, "external_model": {"name": model, "provider": "openai", "task": "llm/v1/chat", "openai_config": config}}


def documented(tables, beginning, replaced=("", ""), columns="*"):
    """What the statement of the documentation that begins so finds in the tables of this run; other words may be put into it."""
    text = DOCS.read_text()
    statement = text[text.index("    " + beginning):].split(";", 1)[0]
    statement = statement.replace("/var/lib/tollgate/tables", str(tables)).replace("'gpt-5'", f"'{MODEL}'").replace(*replaced)
    return lake.duck().sql(statement).project(columns).fetchall()


def documented_python(tables, name):
    """What the lines of the documentation for this program give."""
    text = DOCS.read_text().split(f"\n{name}:\n\n", 1)[1]
    lines = [line[4:] for line in text[:text.index("\n\n")].split("\n")]
    *before, last = [line.replace("/var/lib/tollgate", str(tables.parent)).replace("s3://company-lake/tollgate", str(tables)) for line in lines]
    names = {}
    exec("\n".join(before), names)
    return eval(last, names)


class Caller:
    """Calls the server and keeps what it answered, by request id."""
    def __init__(self, server):
        self.server, self.answers = server, {}

    def call(self, method, path, body=None, headers=None):
        import harness
        return harness.call(method, path, body, token=self.server.token, base=self.server.url, headers=headers)

    def ask(self, path, text, headers=None, **fields):
        body = {"messages": [{"role": "user", "content": text}], **fields}
        reply = self.call("POST", path, body, headers)
        self.answers[reply.headers["x-request-id"]] = (reply, path, bool(fields.get("stream")))
        return reply

    def tokens(self, prefix):
        """What the answers say was used, on paths with this beginning."""
        total = 0
        for reply, path, streamed in self.answers.values():
            if path.startswith(prefix) and reply.status == 200:
                lines = [line[6:] for line in reply.text.split("\n") if line.startswith("data: {")] if streamed else [reply.text]
                total += max((json.loads(line).get("usage") or {}).get("total_tokens", 0) for line in lines)
        return total


def command(server, *arguments, code=0):
    env = {**os.environ, "TOLLGATE_SERVER__DATA": str(server.data)}
    done = subprocess.run([os.environ["TOLLGATE_BIN"], *arguments], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done
    return done.stdout


with scratch_folder("tables") as folder:
    with Server(folder, UPSTREAM, QUICK) as server:
        caller = Caller(server)
        tables = server.data / "tables"
        serving, gateway = f"/serving-endpoints/{NAME}/invocations", "/ai-gateway/mlflow/v1/chat/completions"

        @check("an endpoint with usage tracking and an inference table answers on both families of paths")
        def asked():
            body = endpoint_body(NAME, entity("main", "echo"))
            body["tags"] = [{"key": "cost_centre", "value": "42"}]
            body["ai_gateway"] = {"usage_tracking_config": {"enabled": True}, "inference_table_config": TABLE}
            caller.call("POST", ENDPOINTS, body).ok()
            for n in range(40):
                context = {"usage_context": {"team": "blue"}} if n % 2 else {}
                for reply in (caller.ask(serving, f"marker-{n}", stream=n % 2 == 1, client_request_id=f"mine-{n}", **context),
                              caller.ask(gateway, f"gateway-{n}", model=NAME, stream=n % 3 == 1, client_request_id=f"gateway-{n}", **context)):
                    assert reply.status == 200, reply
            too_long = caller.ask(serving, "x" * 30000)
            assert too_long.status == 200, too_long
            refused = caller.ask(serving, "refused", stream="maybe")
            assert refused.status == 400, refused

        @check("a flush is in the tables within seconds, while the server runs")
        def flushed():
            deadline = time.monotonic() + 30
            for name, count in ((PAYLOAD, 82), ("system/serving/endpoint_usage", 42), ("system/ai_gateway/usage", 40)):
                while not (tables / name / "_delta_log").exists() or lake.rows(tables, name, "count(*)") < [(count,)]:
                    assert time.monotonic() < deadline, f"{name} was not written"
                    time.sleep(0.5)

        @check("every table has a row for each call, read alike by DuckDB and delta-rs")
        def counted():
            assert lake.agree(tables, PAYLOAD, ["execution_duration_ms", "status_code"]) == 82
            assert lake.agree(tables, "system/serving/endpoint_usage", ["input_token_count", "output_token_count"]) == 42
            assert lake.agree(tables, "system/ai_gateway/usage", ["total_tokens", "latency_ms"]) == 40
            assert lake.agree(tables, "system/serving/served_entities") == 1
            assert lake.agree(tables, "system/access/audit") >= 2

        @check("the ids are those that the clients were told, each once")
        def ids():
            found = [row[0] for row in lake.rows(tables, PAYLOAD, "databricks_request_id")]
            assert sorted(found) == sorted(caller.answers), "other ids"

        @check("the tokens add up to what the answers say")
        def summed():
            columns = "sum(input_token_count + output_token_count)"
            known = "usage_provenance = 'provider'"
            assert lake.rows(tables, "system/serving/endpoint_usage", columns, known)[0][0] == caller.tokens("/serving-endpoints/")
            assert lake.rows(tables, "system/ai_gateway/usage", "sum(total_tokens)", known)[0][0] == caller.tokens("/ai-gateway/")

        @check("bodies are kept whole, streams as one answer, and what is too long is said")
        def bodies():
            kept = lake.rows(tables, PAYLOAD, "request, response, client_request_id", "client_request_id LIKE 'mine-%' and status_code = 200")
            assert len(kept) == 40, len(kept)
            for request, response, context in kept:
                number = context.removeprefix("mine-")
                assert json.loads(request)["messages"][0]["content"] == f"marker-{number}", request
                answer = json.loads(response)
                assert answer["object"] == "chat.completion" and f"marker-{number}" in answer["choices"][0]["message"]["content"], response
            codes = lake.rows(tables, PAYLOAD, "request, logging_error_codes", "len(logging_error_codes) > 0")
            assert codes and all(request is None and "MAX_REQUEST_SIZE_EXCEEDED" in found for request, found in codes), codes
            refused = lake.rows(tables, PAYLOAD, "outcome, response", "status_code = 400")
            assert len(refused) == 1 and refused[0][0] == "refused" and "stream" in refused[0][1], refused

        @check("usage joins what is served, with context, requester and attempts")
        def joined():
            scan = lambda name: f"delta_scan('{tables / name}')"
            found = lake.duck().sql(
                f"SELECT e.served_entity_name, e.external_model_config.provider, count(*) FROM {scan('system/serving/endpoint_usage')} u "
                f"JOIN {scan('system/serving/served_entities')} e USING (served_entity_id) GROUP BY 1, 2").fetchall()
            assert found == [("main", "openai", 41)], found
            blue = lake.rows(tables, "system/serving/endpoint_usage", "count(*)", "usage_context['team'] = 'blue'")
            assert blue == [(20,)], blue
            attempts = lake.rows(tables, "system/ai_gateway/usage", "distinct routing_information.attempts[1].action, api_type, requester_type")
            assert attempts == [("INITIAL_ATTEMPT", "mlflow/v1/chat/completions", "USER")], attempts
            described = lake.rows(tables, "system/ai_gateway/usage", "distinct endpoint_tags['cost_centre'], endpoint_metadata.creator, "
                                  "endpoint_metadata.inference_table, endpoint_metadata.destinations, endpoint_metadata.fallbacks")
            destination = {"name": "main", "traffic_percent": 100.0, "type": "EXTERNAL_FOUNDATION_MODEL"}
            assert described == [("42", "admin", "main.logs.chat_payload", [destination], [])], described

        @check("Unity Catalog's paths list catalogs, schemas and tables with their columns")
        def listed():
            base = "/api/2.1/unity-catalog"
            names = [catalog["name"] for catalog in caller.call("GET", f"{base}/catalogs").ok()["catalogs"]]
            assert names == ["main", "system"], names
            found = caller.call("GET", f"{base}/tables?catalog_name=main&schema_name=logs").ok()["tables"]
            assert [table["full_name"] for table in found] == ["main.logs.chat_payload"], found
            columns = {column["name"]: column["type_name"] for column in found[0]["columns"]}
            assert columns["execution_duration_ms"] == "LONG" and columns["logging_error_codes"] == "ARRAY", columns

        @check("a table that somebody altered is left alone, and its rows come when it is moved away")
        def altered():
            path = str(tables / PAYLOAD)
            deltalake.DeltaTable(path).alter.add_columns([deltalake.Field("mine", "string")])
            caller.ask(serving, "after").ok()
            deadline = time.monotonic() + 20
            while "mine" not in server.log():
                assert time.monotonic() < deadline, "nobody was told"
                time.sleep(0.2)
            assert lake.agree(tables, PAYLOAD) == 82
            os.rename(path, str(tables / "moved"))
            deadline = time.monotonic() + 90
            while not list(Path(path).glob("_delta_log/*1.json")):
                assert time.monotonic() < deadline, "the table was not made anew"
                time.sleep(0.5)
            assert lake.agree(tables, PAYLOAD) == 1

        def wait_for(name, columns, where, expected):
            deadline = time.monotonic() + 30
            while (found := lake.rows(tables, name, columns, where)) != expected:
                assert time.monotonic() < deadline, found
                time.sleep(0.5)

        @check("costs, guardrails, times and kinds of content are those of the call, streamed or not")
        def priced():
            body = endpoint_body(PRICED, {**entity("dear", MODEL), "price_per_million_tokens": PRICES})
            body["ai_gateway"] = {"usage_tracking_config": {"enabled": True}, "guardrails": {"input": {"pii": {"behavior": "MASK"}}}}
            caller.call("POST", ENDPOINTS, body).ok()
            for n in range(6):
                tags = {"Databricks-Ai-Gateway-Request-Tags": json.dumps({"team": "red", "n": str(n)})} if n % 3 else {}
                caller.ask(f"/serving-endpoints/{PRICED}/invocations", f"write to bob{n}@example.com", tags, stream=n % 2 == 1,
                           usage_context={"team": "blue"})
            asked = {"contents": [{"role": "user", "parts": [{"text": "write to bob@example.com"}]}]}
            turn = {"messages": [{"role": "user", "content": [{"text": "write to bob@example.com"}]}]}
            caller.call("POST", f"/ai-gateway/gemini/v1beta/models/{PRICED}:streamGenerateContent", asked)
            caller.call("POST", f"/ai-gateway/gemini/v1beta/models/{PRICED}:streamGenerateContent?alt=sse", asked)
            caller.call("POST", f"/ai-gateway/model/{PRICED}/converse-stream", turn)
            caller.call("POST", f"/ai-gateway/model/{PRICED}/converse", {"messages": "wrong"})
            ours = f"endpoint_name = '{PRICED}'"
            wait_for(USAGE, "count(*)", ours, [(6,)])
            wait_for(GATEWAY, "count(*)", ours, [(4,)])
            whole = ("cost_nano_usd > 0 AND price_version = 'entity' AND model = 'echo;chunks=4' AND provider = 'openai' AND gateway_overhead_ms >= 0 "
                     "AND guardrails[1].outcome = 'masked' AND guardrails[1].details = ['EMAIL_ADDRESS'] AND guardrails[1].tokens = 0 AND token_counts['output'] > 0")
            for name, more in ((USAGE, "cache_read_input_tokens = 0 AND output_reasoning_tokens = 0"), (GATEWAY, "token_details.cache_read_input_tokens = 0")):
                found = lake.rows(tables, name, "*", f"{ours} AND status_code = 200 AND NOT ({whole} AND {more})")
                assert not found, found
            written = lake.rows(tables, USAGE, "request_streaming, output_character_count > 0, count(*)", f"{ours} GROUP BY ALL ORDER BY 1")
            assert written == [(False, True, 3), (True, True, 3)], written
            content = lake.rows(tables, GATEWAY, "api_type, status_code, response_content_type", f"{ours} ORDER BY ALL")
            assert content == [
                ("gemini/v1beta/streamGenerateContent", 200, "application/json"), ("gemini/v1beta/streamGenerateContent", 200, "text/event-stream"),
                ("model/converse", 400, "application/json"), ("model/converse-stream", 200, "application/vnd.amazon.eventstream")], content

        @check("costs computed anew from the tokens, as documented, are the costs")
        def recomputed():
            [(model, calls, tokens, cost)] = documented(tables, "WITH prices")
            ours = "model = 'echo;chunks=4'"
            expected = lake.rows(tables, USAGE, "count(*), sum(input_token_count + output_token_count), sum(cost_nano_usd)", ours)
            assert (model, [(calls, tokens, cost)]) == (MODEL, expected), (model, calls, tokens, cost, expected)

        @check("the sums of the usage API are those of the tables, by tag, group and requester, as documented")
        def same_sums():
            for label, by, column, least in (("tag", "tag:team", "tags['team']", 2), ("group", "group", "unnest(requester_groups)", 1),
                                             ("requester", "requester", "requester", 1)):
                path = f"/api/tollgate/v1/usage?interval=hour&group_by=endpoint,{by}"
                told = sorted((group["start_time"], group["endpoint"], group[label], group["requests"], group["input_tokens"], group["output_tokens"],
                               round(group["cost_usd"] or 0, 9)) for group in caller.call("GET", path).ok()["groups"])
                columns = "epoch_ms(hour), endpoint_name, who, requests, input_tokens, output_tokens, round(coalesce(cost_usd, 0), 9)"
                found = sorted(documented(tables, "WITH calls", ("tags['team']", column), columns))
                assert found == told, (label, found, told)
                assert len({row[2] for row in told}) >= least, told
            assert lake.rows(tables, GATEWAY, "count(client_request_id), count(usage_context['team'])", f"endpoint_name = '{NAME}'") == [(40, 20)]

        @check("the lines for Polars and delta-rs, as documented, read what DuckDB reads")
        def read_by_others():
            polars = sorted(documented_python(tables, "Polars").iter_rows())
            assert polars == lake.rows(tables, GATEWAY, "endpoint_name, sum(total_tokens)", "true GROUP BY ALL ORDER BY ALL"), polars
            ids = documented_python(tables, "delta-rs")["databricks_request_id"].to_pylist()
            assert sorted(ids) == sorted(row[0] for row in lake.rows(tables, PAYLOAD, "databricks_request_id")), ids

        @check("calls of a deleted endpoint join what was served once, as documented")
        def deleted():
            before = sorted(row for row in documented(tables, "SELECT e.endpoint_name") if row[0] == PRICED)
            assert before == [(PRICED, "openai", 6)], before
            caller.call("DELETE", f"{ENDPOINTS}/{PRICED}").ok()
            wait_for(SERVED, "count(*)", f"endpoint_name = '{PRICED}' AND endpoint_delete_time IS NOT NULL AND task = 'llm/v1/chat'", [(1,)])
            assert sorted(row for row in documented(tables, "SELECT e.endpoint_name") if row[0] == PRICED) == before
            assert lake.agree(tables, SERVED) == 2

        @check("the metrics say that all is in the tables")
        def told():
            text = caller.call("GET", "/metrics").text
            value = lambda name: float(next(line for line in text.split("\n") if line.startswith(name + " ")).split()[1])
            assert value("tollgate_journal_full") == 0 and value("tollgate_tables_segments_total") > 0, text[:500]

    @check("whatever served a call has its row, also where it was replaced or deleted before anything was written")
    def every_version():
        with scratch_folder("versions") as other:
            with Server(other, UPSTREAM, {"TOLLGATE_TABLES__FLUSH_SECONDS": "3600"}) as slow:
                mine = Caller(slow)
                for endpoint, versions in (("kept", 3), ("gone", 3), ("brief", 1)):
                    body = endpoint_body(endpoint, entity("v1", "echo"))
                    body["ai_gateway"] = {"usage_tracking_config": {"enabled": True}}
                    mine.call("POST", ENDPOINTS, body).ok()
                    for version in range(1, versions + 1):
                        if version > 1:
                            mine.call("PUT", f"{ENDPOINTS}/{endpoint}/config", {"served_entities": [entity(f"v{version}", "echo")]}).ok()
                        mine.ask(f"/serving-endpoints/{endpoint}/invocations", "hello").ok()
                for endpoint in ("gone", "brief"):
                    mine.call("DELETE", f"{ENDPOINTS}/{endpoint}").ok()
            joined = documented(slow.data / "tables", "SELECT e.endpoint_name")
            assert sorted(joined) == [("brief", "openai", 1), ("gone", "openai", 3), ("kept", "openai", 3)], joined
            told = lake.rows(slow.data / "tables", SERVED, "endpoint_name, served_entity_name, endpoint_config_version, endpoint_delete_time IS NOT NULL", "true ORDER BY ALL")
            assert told == [("brief", "v1", 1, True), *(("gone", f"v{n}", n, True) for n in (1, 2, 3)), *(("kept", f"v{n}", n, False) for n in (1, 2, 3))], told

    @check("tollgate tables lists them with rows and versions, also of a server that stopped")
    def commanded():
        listed = {table["name"]: table for table in json.loads(command(server, "--output", "json", "tables"))}
        assert listed["system.serving.endpoint_usage"]["rows"] == 49, listed
        assert "main.logs.chat_payload" in command(server, "tables")

    @check("a table that cannot be read is told with the reason, by Unity Catalog's paths too, and the others are listed")
    def unreadable():
        broken = tables / "main" / "logs" / "broken"
        (broken / "_delta_log").mkdir(parents=True)
        (broken / "_delta_log" / f"{0:020}.json").write_text("no log\n")
        listed = {table["name"]: table for table in json.loads(command(server, "--output", "json", "tables", code=3))}
        assert listed["main.logs.broken"]["error"] and listed["main.logs.chat_payload"]["rows"], listed
        assert "cannot be read: table main.logs.broken: " in command(server, "tables", code=3)
        with Server(folder, UPSTREAM, QUICK) as again:
            caller.server = again
            base = "/api/2.1/unity-catalog"
            assert [catalog["name"] for catalog in caller.call("GET", f"{base}/catalogs").ok()["catalogs"]] == ["main", "system"]
            found = caller.call("GET", f"{base}/tables?catalog_name=main&schema_name=logs").ok()["tables"]
            assert [table["full_name"] for table in found] == ["main.logs.chat_payload"], found
            caller.call("GET", f"{base}/tables/main.logs.broken").refused(500, "INTERNAL_ERROR", saying="main.logs.broken")
        shutil.rmtree(broken)

    @check("compacted and vacuumed by delta-rs, the tables read the same, and the server goes on with them")
    def kept():
        for name in (*lake.SYSTEM, PAYLOAD):
            before = lake.agree(tables, name)
            table = deltalake.DeltaTable(str(tables / name))
            table.optimize.compact()
            table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
            assert lake.agree(tables, name) == before, name
        with Server(folder, UPSTREAM, QUICK) as again:
            caller.server = again
            caller.ask(serving, "once more").ok()
        assert lake.agree(tables, "system/serving/endpoint_usage") == 50

finish()
