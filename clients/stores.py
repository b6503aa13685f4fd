"""Tables in an object store: two servers that write the same ones, a store that goes away and comes back, a folder that is read-only or full for a while.

Starts servers of its own, and a store: moto as S3 or, where AZURITE_BIN names it, Azurite as Azure's storage.
"""
import base64
import hashlib
import hmac
import http.client
import os
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import deltalake
import duckdb

from harness import ENDPOINTS, PREFIX, UPSTREAM, call, check, endpoint_body, finish, report
from mounts import fill, tmpfs
from processes import Program, Server, free_port, scratch_folder

NAME = f"{PREFIX}-chat"
TABLE = {"catalog_name": "main", "schema_name": "logs", "table_name_prefix": "chat", "enabled": True}
PAYLOAD = "main/logs/chat_payload"
KEY, KEY_SECRET = "AKIDOFTHELAKE", "secret-of-the-lake"
ACCOUNT, ACCOUNT_KEY = "tollgatelake", base64.b64encode(b"key-of-the-lake").decode()


@dataclass
class Store:
    """What servers and readers are told of a store."""
    location: str
    options: dict
    secrets: dict
    read: dict  # storage options of delta-rs


def s3(port, way):
    """The bucket, made in the store that listens at `port`."""
    call("PUT", "/lake", b"", token=None, base=f"http://127.0.0.1:{port}")
    address = f"http://127.0.0.1:{way.port}"
    return Store("s3://lake/tollgate", {"aws_endpoint": address, "aws_region": "eu-west-1", "allow_http": "true"},
                 {"aws_access_key_id": KEY, "aws_secret_access_key": KEY_SECRET},
                 {"AWS_ENDPOINT_URL": address, "AWS_REGION": "eu-west-1", "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": KEY,
                  "AWS_SECRET_ACCESS_KEY": KEY_SECRET, "aws_conditional_put": "etag"})


def azure(port, way):
    """The container, made in the store that listens at `port`."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    named = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    signed = "PUT" + "\n" * 12 + f"{named}/{ACCOUNT}/{ACCOUNT}/lake\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(ACCOUNT_KEY), signed.encode(), hashlib.sha256)).decode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("PUT", f"/{ACCOUNT}/lake?restype=container", headers={**headers, "Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"})
    made = connection.getresponse()
    assert made.status == 201, made.read()
    options = {"azure_storage_endpoint": f"http://127.0.0.1:{way.port}/{ACCOUNT}", "allow_http": "true"}
    secrets = {"azure_storage_account_key": ACCOUNT_KEY}
    return Store(f"abfss://lake@{ACCOUNT}.dfs.core.windows.net/tollgate", options, secrets, {**options, **secrets, "azure_storage_account_name": ACCOUNT})


class Way:
    """The way to the store, which can be closed."""
    def __init__(self, port):
        self.to, self.port, self.listener, self.links = port, free_port(), None, []
        self.open()

    def open(self):
        self.listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def close(self):
        """Who connects from now on is refused, and who is connected is cut off."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        links, self.links = self.links, []
        for link in links:
            try:
                link.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # It had gone already.

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.links.append(client)
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


def object_store(folder, way, store):
    secret = Path(folder, "store-options")
    secret.write_text("# of the store\n" + "".join(f"{name}={value}\n" for name, value in store.secrets.items()))
    settings = {"TOLLGATE_TABLES__LOCATION": store.location, "TOLLGATE_TABLES__FLUSH_SECONDS": "1",
                "TOLLGATE_TABLES__OPTIONS": ",".join(f"{name}={value}" for name, value in store.options.items()), "TOLLGATE_TABLES__OPTIONS_FILE": str(secret)}

    def read(name=PAYLOAD, column="databricks_request_id"):
        try:
            table = deltalake.DeltaTable(f"{store.location}/{name}", storage_options=store.read)
        except deltalake.exceptions.TableNotFoundError:
            return []
        batch = duckdb.connect()
        batch.register("t", table.to_pyarrow_table())
        return [row[0] for row in batch.sql(f"SELECT {column} FROM t").fetchall()]

    (one, two) = (Path(folder, name) for name in ("one", "two"))
    one.mkdir()
    two.mkdir()
    with Server(one, UPSTREAM, settings) as first, Server(two, UPSTREAM, settings) as second:
        @check(f"two servers write the same tables of {store.location.split(':')[0]}://, and every row is there once")
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
            until("somebody notices", lambda: metric(first, "tollgate_tables_failing") > 0)
            ask(first, 3)
            assert metric(first, "tollgate_journal_bytes") > 0
            way.open()
            until("the rows that waited", lambda: len(read()) >= 60, 150)
            assert len(set(read())) == len(read()) == 60, len(read())

        @check("no secret of the store is in the log, nor what tollgate check prints")
        def secrets():
            env = {**os.environ, **settings, "TOLLGATE_SERVER__DATA": str(first.data)}
            shown = subprocess.run([os.environ["TOLLGATE_BIN"], "check"], env=env, capture_output=True, text=True, timeout=60).stdout
            # Of the options themselves the names alone: somebody may have put a key there.
            assert "allow_http=" in shown and str(way.port) not in shown, shown
            for value in store.secrets.values():
                assert value not in shown + first.log(), shown

        @check("an option that the store does not have is refused by tollgate check, which names it")
        def misspelt():
            env = {**os.environ, **settings, "TOLLGATE_SERVER__DATA": str(first.data), "TOLLGATE_TABLES__OPTIONS": "allow_htpp=true"}
            refused = subprocess.run([os.environ["TOLLGATE_BIN"], "check"], env=env, capture_output=True, text=True, timeout=60)
            assert refused.returncode != 0 and 'no option "allow_htpp"' in refused.stderr, refused


def read_only(folder):
    @check("on a read-only folder rows wait, which a metric and the log say; they come when it can be written")
    def waits():
        with tmpfs(folder, "mounted") as mount:
            written_again(Path(folder), Path(mount))


def full(folder):
    @check("on a full disk of the tables calls are served and rows wait, which a metric and the log say; they come when there is room, each once")
    def waits():
        with tmpfs(folder, "small", "size=4m") as mount:
            written_with_room(Path(folder), Path(mount))


def written_with_room(folder, mount):
    (folder / "four").mkdir()
    settings = {"TOLLGATE_TABLES__LOCATION": str(mount), "TOLLGATE_TABLES__FLUSH_SECONDS": "1", "TOLLGATE_TABLES__KEEP_SECONDS": "1"}
    read = lambda: deltalake.DeltaTable(str(mount / PAYLOAD)).to_pyarrow_table()["databricks_request_id"].to_pylist()
    with Server(folder / "four", UPSTREAM, settings) as server:
        make_endpoint(server)
        ask(server, 3)
        until("three rows", lambda: (mount / PAYLOAD / "_delta_log").exists() and len(read()) == 3)
        filler = fill(mount)
        ask(server, 4)
        until("the metric", lambda: metric(server, "tollgate_tables_failing") > 0)
        ask(server, 4)
        assert "rows stay in the journal" in server.log() and "No space left" in server.log()
        assert metric(server, "tollgate_journal_full") == 0 and len(read()) == 3
        os.remove(filler)
        until("the rows that waited", lambda: len(read()) >= 11, 90)
        assert len(set(read())) == len(read()) == 11, read()
        until("the metric says that it is over", lambda: metric(server, "tollgate_tables_failing") == 0)
        until("the journal is empty", lambda: metric(server, "tollgate_journal_bytes") < 1000)


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
    port, azurite = free_port(), os.environ.get("AZURITE_BIN")
    way = Way(port)
    if azurite:
        program = [azurite, "--blobHost", "127.0.0.1", "--blobPort", port, "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
        with Program("azurite", program, folder, {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{ACCOUNT_KEY}"}) as program:
            program.wait_to_listen(port)
            object_store(folder, way, azure(port, way))
    else:
        with Program("s3", [os.environ["BESIDE_PYTHON"], "-m", "moto.server", "-H", "127.0.0.1", "-p", port], folder) as program:
            program.wait_for(f"http://127.0.0.1:{port}/moto-api/")
            object_store(folder, way, s3(port, way))
        read_only(folder)
        full(folder)

finish()
