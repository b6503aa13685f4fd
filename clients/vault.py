"""The master key: kept by Vault's Transit engine (a small fake of it), in a variable and in a file; its rotation under a running server; backup and restore.

Starts servers of its own: they are to be restarted, and to lose their Vault.
"""
import base64
import hashlib
import hmac
import json
import os
import secrets
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from harness import ENDPOINTS, PREFIX, UPSTREAM, call, check, endpoint_body, finish, openai_entity
from processes import Server, free_port, scratch_folder

VALUE = f"value-of-{PREFIX}-{secrets.token_hex(8)}"
TOKEN = "s." + secrets.token_hex(12)


class Transit:
    """encrypt and decrypt of the Transit API, with versions of the key. What it gives out opens with its keys alone."""
    def __init__(self, mount="transit"):
        self.port, self.mount, self.keys, self.token, self.calls = free_port(), mount, [secrets.token_bytes(32)], TOKEN, 0
        self.oldest, self.server = 1, None
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        transit = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, answer = transit.answer(self.path, self.headers.get("X-Vault-Token"), body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(data)
                self.close_connection = True

            def log_message(self, *_):
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def rotate(self):
        self.keys.append(secrets.token_bytes(32))

    def answer(self, path, token, body):
        self.calls += 1
        if token != self.token:
            return 403, {"errors": ["permission denied"]}
        operation = path.removeprefix(f"/v1/{self.mount}/")
        if operation == "encrypt/tollgate":
            return 200, {"data": {"ciphertext": self.encrypt(base64.b64decode(body["plaintext"]))}}
        if operation == "decrypt/tollgate":
            return self.decrypt(body["ciphertext"])
        return 404, {"errors": [f"no handler for route {path}"]}

    def encrypt(self, plaintext):
        nonce, key = secrets.token_bytes(16), self.keys[-1]
        sealed = nonce + xor(plaintext, key, nonce)
        tag = hmac.digest(key, sealed, "sha256")
        return f"vault:v{len(self.keys)}:" + base64.b64encode(sealed + tag).decode()

    def decrypt(self, ciphertext):
        _, version, text = ciphertext.split(":")
        if int(version[1:]) < self.oldest:
            return 400, {"errors": ["ciphertext or signature version is disallowed by policy (too old)"]}
        if int(version[1:]) > len(self.keys):
            return 400, {"errors": ["invalid ciphertext: version is too new"]}
        key, sealed = self.keys[int(version[1:]) - 1], base64.b64decode(text)
        if hmac.digest(key, sealed[:-32], "sha256") != sealed[-32:]:
            return 400, {"errors": ["cipher: message authentication failed"]}
        return 200, {"data": {"plaintext": base64.b64encode(xor(sealed[16:-32], key, sealed[:16])).decode()}}


def xor(data, key, nonce):
    return bytes(byte ^ mask for byte, mask in zip(data, hashlib.shake_256(key + nonce).digest(len(data))))


class Installation:
    """A data folder, the settings that go with it, and the server that runs on it."""
    def __init__(self, folder, settings):
        self.folder, self.settings, self.server = Path(folder), settings, None
        self.folder.mkdir(exist_ok=True)
        self.data = self.folder / "data"

    def start(self):
        self.server = Server(self.folder, UPSTREAM, self.settings)
        return self

    def stop(self):
        self.server.stop()

    def start_fails(self, *saying):
        try:
            Server(self.folder, UPSTREAM, self.settings).stop()
        except RuntimeError as error:
            missing = [text for text in saying if text not in str(error)]
            assert not missing, f"{missing} not in: {error}"
            return str(error)
        raise AssertionError("the server was not to start")

    def call(self, method, path, body=None):
        return call(method, path, body, token=self.server.token, base=self.server.url)

    def put(self, scope="s", key="k", value=VALUE):
        self.call("POST", "/api/2.0/secrets/put", {"scope": scope, "key": key, "string_value": value}).ok()

    def make(self, scope="s"):
        self.call("POST", "/api/2.0/secrets/scopes/create", {"scope": scope}).ok()
        self.put(scope)

    def opens(self, scope="s", key="k", value=VALUE):
        got = self.call("GET", f"/api/2.0/secrets/get?scope={scope}&key={key}").ok()
        assert base64.b64decode(got["value"]).decode() == value, "another value came back"

    def environment(self):
        ours = {name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")}
        return {**ours, "TOLLGATE_SERVER__DATA": str(self.data), **self.settings}

    def run(self, *words, code=0, settings=None):
        """A command on the folder."""
        done = subprocess.run([os.environ["TOLLGATE_BIN"], *map(str, words)], env={**self.environment(), **(settings or {})}, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, f"{words} ended with {done.returncode}: {done.stdout} {done.stderr}"
        return done.stdout + done.stderr


def by_vault(folder, transit):
    token_file = Path(folder) / "vault-token"
    token_file.write_text(TOKEN + "\n")
    return {"TOLLGATE_KEYS__SOURCE": "vault-transit", "TOLLGATE_KEYS__VAULT__ADDRESS": transit.url,
            "TOLLGATE_KEYS__VAULT__TOKEN_FILE": str(token_file), "TOLLGATE_EGRESS__ALLOW": "127.0.0.2"}


def vault_checks(folder):
    transit = Transit()
    vault = Installation(Path(folder) / "vault", by_vault(folder, transit))
    token_file = Path(vault.settings["TOLLGATE_KEYS__VAULT__TOKEN_FILE"])

    @check("vault: a wrong token stops the start and is not shown")
    def wrong_token():
        token_file.write_text("s.wrong-token-of-the-suite")
        said = vault.start_fails("the key service cannot be used", "refuses the token", "update on transit/encrypt/tollgate")
        assert "wrong-token-of-the-suite" not in said, said
        token_file.write_text(TOKEN)

    @check("vault: it wraps the keys, no master key is in the folder, its host needs no entry in egress.allow")
    def wraps():
        vault.start()
        vault.make()
        vault.opens()
        names = {path.name for path in vault.data.iterdir()}
        assert not {"master.key", "master.key.next"} & names, names
        assert TOKEN not in vault.server.log()

    @check("vault: a restart opens everything again")
    def restart():
        vault.stop()
        vault.start().opens()

    @check("vault: while it is down a running server reads and writes secrets, of scopes it had not used as well")
    def outage_running():
        vault.make("second")
        vault.stop()
        vault.start()
        transit.stop()
        for scope in ("s", "second"):
            vault.opens(scope)
            vault.put(scope, value=VALUE + "-later")
            vault.opens(scope, value=VALUE + "-later")
            vault.put(scope)
        vault.call("POST", "/api/2.0/secrets/scopes/create", {"scope": "third"}).refused(500)
        vault.run("key", "rotate", code=1)
        vault.opens()

    @check("vault: while it is down a start is refused with the reason")
    def outage_at_start():
        vault.stop()
        vault.start_fails("the key service cannot be used", transit.url)
        transit.start()
        vault.start().opens()

    @check("vault: a rotated transit key opens what the version before has sealed")
    def rotated():
        transit.rotate()
        vault.make("fourth")
        vault.stop()
        vault.start()
        for scope in ("s", "second", "fourth"):
            vault.opens(scope)

    @check("vault: `key rotate` leaves nothing that needs an old version, under a running server")
    def rotate_command():
        assert "scopes sealed anew: " in vault.run("key", "rotate")
        transit.oldest = len(transit.keys)
        vault.opens()
        vault.stop()
        vault.start().opens("second")

    @check("vault: `check` shows the settings and no token")
    def shown():
        said = vault.run("check")
        assert transit.url in said and TOKEN not in said, said

    @check("vault: a backup is restored with the same Vault and with no other")
    def backup():
        copy = vault.folder / "copy"
        vault.run("backup", copy)
        assert [path.name for path in copy.iterdir()] == ["tollgate.db"]
        vault.run("backup", vault.folder / "with", "--with-key", code=1)
        other = Transit()
        said = vault.run("restore", copy, "--data", vault.folder / "wrong", code=1, settings={"TOLLGATE_KEYS__VAULT__ADDRESS": other.url})
        assert "not the one of this backup" in said and not (vault.folder / "wrong").exists(), said
        other.stop()
        again = Installation(vault.folder / "again", vault.settings)
        vault.run("restore", copy, "--data", again.data)
        (again.data / "admin.token").write_text(vault.server.token)
        again.start().opens("second")
        again.stop()

    vault.stop()
    transit.stop()


def variable_checks(folder):
    env = Installation(Path(folder) / "env", {"TOLLGATE_KEYS__SOURCE": "env"})

    @check("env: without the variable, or with a wrong one, nothing starts and nothing is shown")
    def missing():
        env.start_fails("exit code 78", "TOLLGATE_MASTER_KEY", "key generate")
        env.settings["TOLLGATE_MASTER_KEY"] = "not-hexadecimal-at-all"
        said = env.start_fails("exit code 78", "64 hexadecimal digits")
        assert "not-hexadecimal" not in said, said

    @check("env: the variable is the key; `check` and the logs do not have it")
    def works():
        env.settings["TOLLGATE_MASTER_KEY"] = key = env.run("key", "generate").strip()
        env.start().make()
        env.opens()
        assert not (env.data / "master.key").exists()
        assert key not in env.run("check") and key not in env.server.log()
        env.stop()

    @check("env: it is changed to TOLLGATE_MASTER_KEY_NEXT under a running server that has both")
    def changed():
        env.start()
        assert "TOLLGATE_MASTER_KEY_NEXT" in env.run("key", "rotate", code=78)
        env.stop()
        env.settings["TOLLGATE_MASTER_KEY_NEXT"] = env.run("key", "generate").strip()
        env.start()
        env.run("key", "rotate")
        env.opens()
        env.make("later")
        env.stop()
        old, env.settings["TOLLGATE_MASTER_KEY"] = env.settings["TOLLGATE_MASTER_KEY"], env.settings.pop("TOLLGATE_MASTER_KEY_NEXT")
        env.start().opens()
        env.opens("later")
        env.stop()
        env.settings["TOLLGATE_MASTER_KEY"] = old
        env.start_fails("the master key does not open this data")


class Readers:
    """Threads that read and write secrets and ask a model, without a pause."""
    def __init__(self, installation):
        self.stop, self.problems, self.turns = threading.Event(), [], 0
        self.threads = [threading.Thread(target=self.run, args=(installation, number)) for number in range(6)]

    def run(self, installation, number):
        turn = 0
        while not self.stop.is_set():
            try:
                turn += 1
                installation.opens()
                installation.put(key=f"own-{number}", value=f"{turn}")
                installation.opens(key=f"own-{number}", value=f"{turn}")
                body = {"messages": [{"role": "user", "content": "hello"}]}
                installation.call("POST", f"/serving-endpoints/{PREFIX}/invocations", body).ok()
                self.turns += 1
            except Exception as error:
                self.problems.append(f"{type(error).__name__}: {error}")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def file_checks(folder):
    file = Installation(Path(folder) / "file", {}).start()

    @check("file: five rotations under load: a new key each time, no failed call")
    def under_load():
        file.make()
        entity = openai_entity()
        entity["external_model"]["openai_config"]["openai_api_key"] = "{{secrets/s/k}}"
        file.call("POST", ENDPOINTS, endpoint_body(PREFIX, entity)).ok()
        seen = {(file.data / "master.key").read_text()}
        with Readers(file) as readers:
            for turn in range(5):
                file.run("key", "rotate")
                seen.add((file.data / "master.key").read_text())
                file.make(f"scope-{turn}")
        assert not readers.problems, (len(readers.problems), readers.problems[:3])
        assert readers.turns > 5 and len(seen) == 6, (readers.turns, len(seen))
        assert not (file.data / "master.key.next").exists()
        assert (file.data / "master.key").stat().st_mode & 0o777 == 0o600

    @check("file: rotations that are killed, at any moment, lose nothing under a running server or for the next start")
    def killed():
        ended = 0
        with Readers(file) as readers:
            # How long a whole one takes differs from machine to machine.
            started = time.monotonic()
            file.run("key", "rotate")
            whole = time.monotonic() - started
            for turn in range(20):
                child = subprocess.Popen([os.environ["TOLLGATE_BIN"], "key", "rotate"], env=file.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                try:
                    ended += child.wait(whole * turn / 20) == 0
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
                file.opens("scope-0")
                # A command is a start of its own: it opens the folder as it was left.
                file.run("token", "create")
        assert not readers.problems, (len(readers.problems), readers.problems[:3])
        assert ended < 15, f"{ended} of 20 came to their end: the moments are badly chosen"
        assert not (file.data / "master.key.next").exists()

    @check("file: a restart after that opens every scope")
    def restart():
        file.stop()
        file.start().opens()
        for turn in range(5):
            file.opens(f"scope-{turn}")

    @check("file: a backup under a running server, restored with its key: secrets, tokens and endpoints work")
    def there_and_back():
        copy, again = file.folder / "copy", Installation(file.folder / "again", {})
        made = file.call("POST", "/api/2.0/token/create", {"comment": "kept"}).ok()["token_value"]
        assert "reads all secrets" in file.run("backup", copy, "--with-key")
        file.put(value="after the backup")
        assert "not empty" in file.run("backup", copy, code=1)
        file.run("restore", copy, "--data", again.data)
        assert "not empty" in file.run("restore", copy, "--data", again.data, code=1)
        assert all(path.stat().st_mode & 0o077 == 0 for path in [copy, *copy.iterdir(), again.data, *again.data.iterdir()])
        (again.data / "admin.token").write_text(made)
        again.start().opens()
        body = {"messages": [{"role": "user", "content": "hello"}]}
        again.call("POST", f"/serving-endpoints/{PREFIX}/invocations", body).ok()
        again.stop()

    @check("file: a backup without the key needs the right one")
    def without_key():
        copy, target = file.folder / "sealed", file.folder / "target"
        assert "master.key is not in it" in file.run("backup", copy)
        assert "--key FILE" in file.run("restore", copy, "--data", target, code=1)
        wrong = file.folder / "wrong.key"
        wrong.write_text(file.run("key", "generate"))
        assert "not the one of this backup" in file.run("restore", copy, "--data", target, "--key", wrong, code=1)
        assert not target.exists()
        file.run("restore", copy, "--data", target, "--key", file.data / "master.key")

    file.stop()


with scratch_folder("vault") as scratch:
    vault_checks(scratch)
    variable_checks(scratch)
    file_checks(scratch)
finish()
