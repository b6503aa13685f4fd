"""Tables in an object store (a local S3 server): two servers that write the same ones, a store that goes away and comes back, a folder that is read-only for a while.

Starts servers of its own.
"""
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import deltalake
import duckdb

from harness import ENDPOINTS, PREFIX, UPSTREAM, call, check, endpoint_body, finish, report
from mounts import tmpfs
from processes import Program, Server, free_port, scratch_folder

NAME = f"{PREFIX}-chat"
TABLE = {"catalog_name": "main", "schema_name": "logs", "table_name_prefix": "chat", "enabled": True}
PAYLOAD = "main/logs/chat_payload"
KEY, KEY_SECRET = "AKIDOFTHELAKE", "secret-of-the-lake"


class Way:
    """The way to the store, which can be closed."""
    def __init__(self, port):
        self.to, self.port, self.listener = port, free_port(), None
        self.open()

    def open(self):
        self.listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def close(self):
        """Who connects from now on is refused."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client):
        with client, socket.create_connection(("127.0.0.1", self.to)) as store:
            back = threading.Thread(target=self._copy, args=(store, client), daemon=True)
            back.start()
            self._copy(client, store)
            back.join(30)

    @staticmethod
    def _copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def make_endpoint(server):
    config = {"openai_api_key_plaintext": "sk-x", "openai_api_base": UPSTREAM + "/v1"}
    entity = {"name": "main", "external_model": {"name": "echo", "provider": "openai", "task": "llm/v1/chat", "openai_config": config}}
    body = endpoint_body(NAME, entity)
    body["ai_gateway"] = {"usage_tracking_config": {"enabled": True}, "inference_table_config": TABLE}
    call("POST", ENDPOINTS, body, token=server.token, base=server.url).ok()


def ask(server, count):
    for n in range(count):
        body = {"messages": [{"role": "user", "content": f"hello {n}"}]}
        call("POST", f"/serving-endpoints/{NAME}/invocations", body, token=server.token, base=server.url).ok()


def metric(server, name):
    text = call("GET", "/metrics", token=None, base=server.url).text
    return float(next(line for line in text.split("\n") if line.startswith(name + " ")).split()[1])


def until(what, is_so, seconds=60):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.3)


def object_store(folder, way):
    secret = Path(folder, "store-options")
    secret.write_text(f"# of the store\naws_access_key_id={KEY}\naws_secret_access_key={KEY_SECRET}\n")
    location = {"aws_endpoint": f"http://127.0.0.1:{way.port}", "aws_region": "eu-west-1", "allow_http": "true"}
    settings = {"TOLLGATE_TABLES__LOCATION": "s3://lake/tollgate", "TOLLGATE_TABLES__FLUSH_SECONDS": "1",
                "TOLLGATE_TABLES__OPTIONS": ",".join(f"{name}={value}" for name, value in location.items()), "TOLLGATE_TABLES__OPTIONS_FILE": str(secret)}
    options = {"AWS_ENDPOINT_URL": location["aws_endpoint"], "AWS_REGION": "eu-west-1", "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": KEY,
               "AWS_SECRET_ACCESS_KEY": KEY_SECRET, "aws_conditional_put": "etag"}
    call("PUT", "/lake", b"", token=None, base=f"http://127.0.0.1:{way.to}")

    def read(name=PAYLOAD, column="databricks_request_id"):
        try:
            table = deltalake.DeltaTable(f"s3://lake/tollgate/{name}", storage_options=options)
        except deltalake.exceptions.TableNotFoundError:
            return []
        batch = duckdb.connect()
        batch.register("t", table.to_pyarrow_table())
        return [row[0] for row in batch.sql(f"SELECT {column} FROM t").fetchall()]

    (one, two) = (Path(folder, name) for name in ("one", "two"))
    one.mkdir()
    two.mkdir()
    with Server(one, UPSTREAM, settings) as first, Server(two, UPSTREAM, settings) as second:
        @check("two servers write the same tables of an S3 store, and every row is there once")
        def both():
            make_endpoint(first)
            make_endpoint(second)
            askers = [threading.Thread(target=lambda s=server: [ask(s, 5) or time.sleep(1.1) for _ in range(5)]) for server in (first, second)]
            [asker.start() for asker in askers]
            [asker.join() for asker in askers]
            until("50 rows", lambda: len(read()) >= 50)
            assert len(set(read())) == len(read()) == 50, len(read())

        @check("neither takes what the other serves for deleted")
        def served():
            found = read("system/serving/served_entities", "endpoint_delete_time IS NULL AND workspace_id IS NOT NULL")
            assert found == [True, True], found

        @check("while the store is away calls are served and rows wait; when it is back they come, each once")
        def away():
            way.close()
            ask(first, 7)
            until("somebody notices", lambda: metric(first, "tollgate_journal_bytes") > 0)
            ask(first, 3)
            way.open()
            until("the rows that waited", lambda: len(read()) >= 60, 150)
            assert len(set(read())) == len(read()) == 60, len(read())

        @check("no secret of the store is in the log, nor what tollgate check prints")
        def secrets():
            env = {**os.environ, **settings, "TOLLGATE_SERVER__DATA": str(first.data)}
            shown = subprocess.run([os.environ["TOLLGATE_BIN"], "check"], env=env, capture_output=True, text=True, timeout=60).stdout
            # Of the options themselves the names alone: somebody may have put a key there.
            assert "aws_region=" in shown and "eu-west-1" not in shown, shown
            assert KEY not in shown + first.log() and KEY_SECRET not in shown + first.log(), shown


def read_only(folder):
    @check("on a read-only folder rows wait, which a metric and the log say; they come when it can be written")
    def waits():
        with tmpfs(folder, "mounted") as mount:
            written_again(Path(folder), Path(mount))


def written_again(folder, mount):
    (folder / "three").mkdir()
    with Server(folder / "three", UPSTREAM, {"TOLLGATE_TABLES__LOCATION": str(mount), "TOLLGATE_TABLES__FLUSH_SECONDS": "1"}) as server:
        make_endpoint(server)
        ask(server, 3)
        count = lambda: duckdb.connect().read_parquet(f"{mount}/{PAYLOAD}/*/*.parquet", hive_partitioning=True).count("*").fetchone()[0]
        until("three rows", lambda: list(mount.glob(f"{PAYLOAD}/*/*.parquet")))
        subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
        ask(server, 4)
        until("the metric", lambda: metric(server, "tollgate_tables_failing") > 0)
        assert "rows stay in the journal" in server.log()
        subprocess.run(["mount", "-o", "remount,rw", mount], check=True)
        until("the rows that waited", lambda: len(deltalake.DeltaTable(str(mount / PAYLOAD)).to_pyarrow_table()) == 7, 90)
        assert count() >= 7


with scratch_folder("stores") as folder:
    port = free_port()
    with Program("s3", [os.environ["BESIDE_PYTHON"], "-m", "moto.server", "-H", "127.0.0.1", "-p", port], folder) as store:
        store.wait_for(f"http://127.0.0.1:{port}/moto-api/")
        object_store(folder, Way(port))
    read_only(folder)

finish()
