"""What other programs read of the tables while the server itself puts files together and deletes the old ones, of a table that an earlier version made too.

Starts a server of its own, which looks after its tables all the time.
"""
import json
import shutil
import time
from pathlib import Path

import deltalake
import pyarrow as pa

import harness
import lake
from harness import ENDPOINTS, PREFIX, UPSTREAM, check, endpoint_body, finish
from processes import Server, scratch_folder

NAME = f"{PREFIX}-chat"
TABLE = {"catalog_name": "main", "schema_name": "logs", "table_name_prefix": "chat", "enabled": True}
PAYLOAD, USAGE, GATEWAY = "main/logs/chat_payload", "system/serving/endpoint_usage", "system/ai_gateway/usage"
BUSY = {PAYLOAD: ["status_code"], USAGE: ["input_token_count", "output_token_count"], GATEWAY: ["total_tokens"]}
BUSY_SECONDS = {"TOLLGATE_TABLES__FLUSH_SECONDS": "1", "TOLLGATE_TABLES__FLUSH_BYTES": "65536", "TOLLGATE_TABLES__KEEP_SECONDS": "1",
                "TOLLGATE_TABLES__UNUSED_FILES_HOURS": "0"}
ROUNDS = 24
# What tables of earlier forms did not have.
LATER = {"1": ["token_counts", "model", "provider", "request_tags", "requester_groups"], "2": ["request_tags", "requester_groups"]}


class Caller:
    """Calls the server, and adds up what its answers say was used."""
    def __init__(self):
        self.server, self.calls, self.tokens = None, {}, {}

    def call(self, method, path, body):
        return harness.call(method, path, body, token=self.server.token, base=self.server.url)

    def ask(self, table, path):
        reply = self.call("POST", path, {"model": NAME, "messages": [{"role": "user", "content": "x" * 30000}]}).ok()
        self.calls[table] = self.calls.get(table, 0) + 1
        self.tokens[table] = self.tokens.get(table, 0) + reply["usage"]["total_tokens"]

    def round(self):
        self.ask(USAGE, f"/serving-endpoints/{NAME}/invocations")
        self.ask(GATEWAY, "/ai-gateway/mlflow/v1/chat/completions")
        self.ask(GATEWAY, "/ai-gateway/mlflow/v1/chat/completions")

    def agreed(self, tables):
        """Both readers find what the clients were told."""
        for name, sums in BUSY.items():
            expected = self.calls.get(name) or sum(self.calls.values())
            found = lake.agree(tables, name, sums)
            assert found == expected, f"{name}: {found} rows of {expected} calls"
        for name, columns in ((USAGE, "sum(input_token_count + output_token_count)"), (GATEWAY, "sum(total_tokens)")):
            assert lake.rows(tables, name, columns) == [(self.tokens[name],)], (name, self.tokens)


def log(tables, name):
    """The actions of all commits of a table."""
    commits = sorted((tables / name / "_delta_log").glob("*.json"))
    return [json.loads(line) for commit in commits for line in commit.read_text().splitlines()]


def files(tables, name):
    return {str(path.relative_to(tables / name)) for path in (tables / name).rglob("*.parquet") if "_delta_log" not in path.parts}


def older(tables, name, form):
    """Puts the table as an earlier version made it, of that form, in its place."""
    path = tables / name
    now = deltalake.DeltaTable(str(path))
    rows, configuration = now.to_pyarrow_table().drop_columns(LATER[form]), {**now.metadata().configuration, "tollgate.form": form}
    if form == "1":
        at, verdict = rows.schema.get_field_index("guardrails"), pa.struct([(part, pa.string()) for part in ("guard", "phase", "outcome")])
        rows = rows.set_column(at, "guardrails", pa.nulls(len(rows), pa.list_(verdict)))
    shutil.rmtree(path)
    made = deltalake.DeltaTable.create(str(path), rows.schema, partition_by=["request_date"], configuration=configuration, raise_if_key_not_exists=False)
    deltalake.write_deltalake(made, rows, mode="append")


def active(tables, name):
    """The files of the table's last version."""
    uris = deltalake.DeltaTable(str(tables / name)).file_uris()
    return {str(Path(uri.removeprefix("file://")).relative_to(tables / name)) for uri in uris}


def until(what, is_so, seconds=60):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


with scratch_folder("upkeep") as folder:
    caller = Caller()
    tables = Path(folder, "data", "tables")
    with Server(folder, UPSTREAM, BUSY_SECONDS) as caller.server:
        body = endpoint_body(NAME, harness.openai_entity(name="main"))
        body["config"]["served_entities"][0]["external_model"]["openai_config"] = {"openai_api_key_plaintext": "sk-x", "openai_api_base": UPSTREAM + "/v1"}
        body["ai_gateway"] = {"usage_tracking_config": {"enabled": True}, "inference_table_config": TABLE}
        caller.call("POST", ENDPOINTS, body).ok()
        caller.round()

    @check("a table of each earlier version is brought up to date by the next server, and read alike before and after")
    def upgraded():
        for form, models, tagged in (("1", 1, 1), ("2", 2, 1)):
            older(tables, USAGE, form)
            caller.agreed(tables)
            with Server(folder, UPSTREAM, BUSY_SECONDS) as caller.server:
                caller.round()
            caller.agreed(tables)
            found = lake.rows(tables, USAGE, "count(model), count(token_counts), count(request_tags)")
            assert found == [(models, models, tagged)], (form, found)

    with Server(folder, UPSTREAM, BUSY_SECONDS) as caller.server:
        @check(f"while files are put together and deleted, {ROUNDS} times what was asked is read once by DuckDB and delta-rs")
        def busy():
            for _ in range(ROUNDS):
                seen = len(list((tables / PAYLOAD / "_delta_log").glob("*.json")))
                caller.round()
                until("a commit", lambda: len(list((tables / PAYLOAD / "_delta_log").glob("*.json"))) > seen)
            for name in BUSY:
                until(f"{name} was put together", lambda: len(files(tables, name)) < 10)
                # Before the stop, which may cut short what is just being written.
                until(f"every file there is one of {name}", lambda: files(tables, name) == active(tables, name))

    @check("after the server's own compaction and vacuum every table reads the same in DuckDB and delta-rs, and few files are left")
    def kept():
        caller.agreed(tables)
        for name in lake.SYSTEM:
            lake.agree(tables, name)
        for name in BUSY:
            actions = log(tables, name)
            operations = [action["commitInfo"]["operation"] for action in actions if "commitInfo" in action]
            assert "OPTIMIZE" in operations, (name, set(operations))
            added = {action["add"]["path"] for action in actions if "add" in action}
            there, known = files(tables, name), {str(Path(path)) for path in added}
            assert len(there) < len(known) / 2, f"{name}: of {len(known)} files {len(there)} are left"

    @check("a checkpoint is written, and read: without the commits that are in it both readers find the same")
    def checkpointed():
        other = Path(folder, "checkpointed")
        shutil.copytree(tables, other)
        for name in BUSY:
            commits = other / name / "_delta_log"
            version = json.loads((commits / "_last_checkpoint").read_text())["version"]
            assert list(commits.glob(f"{version:020d}.checkpoint*.parquet")), list(commits.iterdir())
            covered = [path for path in commits.glob("*.json") if int(path.stem) <= version]
            assert len(covered) >= 20, covered
            [path.unlink() for path in covered]
        caller.agreed(other)

finish()
