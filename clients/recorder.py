"""Notes the calls that a client makes on their way to the server, and writes them down without what is of this machine or of the client's prose.

    RECORD=1 clients/run agents gemini_cli      # writes clients/recorded/ anew
"""
import json
import re
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "recorded"
HOME = "/srv/agent"
# Instructions and descriptions are the client's own work and of no interest: what has more words than a command has is left out.
MOST_WORDS = 6
DROPPED = ("host", "authorization", "x-api-key", "x-goog-api-key", "content-length", "connection", "accept-encoding")
IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32,}")


class Recorder:
    """A server in front of the server, while the `with` block lasts."""

    def __init__(self, host):
        self.calls, recorder = [], self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                recorder._pass_on(self, host)

            do_GET = do_HEAD = do_POST

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()

    def _pass_on(self, handler, host):
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        if body:
            self.calls.append((handler.path, dict(handler.headers.items()), json.loads(body)))
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in ("host", "connection", "accept-encoding")}
        request = urllib.request.Request(host + handler.path, data=body or None, method=handler.command, headers=headers)
        try:
            answer = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            handler.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    handler.send_header(name, value)
            handler.send_header("connection", "close")
            handler.end_headers()
            handler.wfile.write(answer.read())
        handler.close_connection = True

    def write(self, name, home, endpoint):
        """The calls as clients/recorded/<name>.json; the tools, the same in each call of the task, only once."""
        clean = lambda value: _clean(value, str(home), endpoint)
        tools = next(body["tools"] for _, _, body in self.calls if body.get("tools"))
        calls = []
        for path, headers, body in self.calls:
            kept = {key.lower(): _unnamed(value, str(home), endpoint) for key, value in headers.items() if key.lower() not in DROPPED}
            shown = {key: value for key, value in body.items() if key != "tools" or value != tools}
            calls.append({"path": path.replace(endpoint, "ENDPOINT"), "headers": kept, "body": clean(shown), "with_tools": body.get("tools") == tools})
        FOLDER.mkdir(exist_ok=True)
        text = json.dumps({"tools": clean(tools), "calls": calls}, indent=1, ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(text + "\n")


def _clean(value, home, endpoint):
    if isinstance(value, dict):
        return {key: "…" if key == "description" and isinstance(inner, str) else _clean(inner, home, endpoint) for key, inner in value.items()}
    if isinstance(value, list):
        return [_clean(inner, home, endpoint) for inner in value]
    if not isinstance(value, str):
        return value
    text = _unnamed(value, home, endpoint)
    return text if len(text.split()) <= MOST_WORDS else "…"


def _unnamed(text, home, endpoint):
    # Claude Code names folders after paths, with dashes.
    text = text.replace(home, HOME).replace(home.replace("/", "-"), HOME.replace("/", "-")).replace(endpoint, "ENDPOINT")
    return IDS.sub(lambda found: re.sub("[0-9a-f]", "0", found.group()), text)
