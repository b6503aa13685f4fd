#!/usr/bin/env python3
"""Claude Code, Codex and Gemini CLI finish a task with tools, on an entity of their own format and on one of each foreign format.

The suite runs those whose program it was given. The simulator plays the model by a plan: read a file, edit it, run a command, say that it is done.
"""
import os
import subprocess
from pathlib import Path

from agent_plans import DONE, ENTITIES, PLANS, post_plan
from client_pages import page_has
from harness import *
from recorder import Recorder

AGENT_SECONDS = 60
def run_agent(argv, settings, home):
    """An agent in a HOME of its own that sends nothing to anyone but the server."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = {**kept, "HOME": str(home), "TMPDIR": str(home), "NO_PROXY": "127.0.0.1,localhost", **settings}
    ended = subprocess.run([str(word) for word in argv], env=environment, cwd=home / "project", stdin=subprocess.DEVNULL, capture_output=True,
                           text=True, timeout=AGENT_SECONDS)
    assert ended.returncode == 0, f"exit code {ended.returncode}: {ended.stdout[-300:]} {ended.stderr[-600:]}"
    return ended.stdout


def claude(endpoint, home, host):
    settings = {"ANTHROPIC_BASE_URL": f"{host}/ai-gateway/anthropic", "ANTHROPIC_AUTH_TOKEN": TOKEN, "ANTHROPIC_MODEL": endpoint,
                "ANTHROPIC_DEFAULT_HAIKU_MODEL": endpoint}
    page_has("claude-code", *(f"export {name}={value}" for name, value in settings.items()), endpoint=endpoint, host=host, token=TOKEN)
    quiet = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_TELEMETRY": "1", "DISABLE_AUTOUPDATER": "1", "DISABLE_ERROR_REPORTING": "1"}
    out = run_agent([os.environ["CLAUDE_BIN"], "-p", "edit the note", "--output-format", "json", "--allowedTools", "Read,Edit,Bash"],
                    settings | quiet, home)
    answer = json.loads(out)
    assert answer["is_error"] is False and answer["result"] == DONE, out[:600]


def codex(endpoint, home, host):
    config = home / ".codex" / "config.toml"
    config.parent.mkdir()
    lines = [f'model = "{endpoint}"', 'model_provider = "tollgate"', "[model_providers.tollgate]", 'name = "tollgate"',
             f'base_url = "{host}/ai-gateway/codex/v1"', 'env_key = "TOLLGATE_TOKEN"', 'wire_api = "responses"']
    page_has("codex", *lines, endpoint=endpoint, host=host, token=TOKEN)
    config.write_text("\n".join(lines + ["[analytics]", "enabled = false"]) + "\n")
    out = run_agent([os.environ["CODEX_BIN"], "exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", "edit the note"],
                    {"TOLLGATE_TOKEN": TOKEN, "CODEX_HOME": str(config.parent)}, home)
    assert DONE in out, out[-600:]


def gemini(endpoint, home, host):
    settings = {"GOOGLE_GEMINI_BASE_URL": f"{host}/ai-gateway/gemini", "GEMINI_API_KEY": TOKEN, "GEMINI_API_KEY_AUTH_MECHANISM": "bearer"}
    page_has("gemini-cli", *(f"export {name}={value}" for name, value in settings.items()), "gemini -m ENDPOINT", host=host, token=TOKEN)
    config = home / ".gemini" / "settings.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"privacy": {"usageStatisticsEnabled": False}, "general": {"enableAutoUpdate": False},
                                  "security": {"auth": {"selectedType": "gemini-api-key"}}}))
    out = run_agent([os.environ["GEMINI_BIN"], "-m", endpoint, "-p", "edit the note", "--approval-mode", "yolo", "--skip-trust", "--output-format", "json"],
                    settings, home)
    answer = json.loads(out)
    assert answer["response"].strip() == DONE, out[:600]


def task(agent, kind, host=HOST):
    """Runs the agent on an endpoint of that kind; the files must show that it did what it was told."""
    name, model = f"{PREFIX}-{agent.__name__}-{kind}", f"{agent.__name__}-on-{kind}"
    home = Path(os.environ["TMPDIR"]) / name
    (home / "project").mkdir(parents=True)
    note = home / "project" / "note.txt"
    note.write_text("one\n")
    post_plan(model, PLANS[agent.__name__](note))
    make_endpoint(name, ENTITIES[kind](model, name="coder"))
    agent(name, home, host)
    copy = Path(f"{note}.copy")
    assert note.read_text() == "two\n", f"the file was not edited: {note.read_text()!r}"
    assert copy.exists() and copy.read_text() == "two\n", "the command was not run"
    return home


def record(agent, kind):
    """The task once more on the agent's own format, its calls written down for the suite `agent_calls`."""
    with Recorder(HOST) as recorder:
        home = task(agent, kind, recorder.url)
    recorder.write(agent.__name__, home, f"{PREFIX}-{agent.__name__}-{kind}")


make_scope()
for agent, own in ((claude, "anthropic"), (codex, "openai"), (gemini, "google")):
    if f"{agent.__name__.upper()}_BIN" not in os.environ:
        continue
    if os.environ.get("RECORD"):
        check(f"{agent.__name__}: its calls are recorded")(lambda: record(agent, own))
        continue
    for kind in ENTITIES:
        check(f"{agent.__name__} on {kind}: reads a file, edits it, runs a command")(lambda: task(agent, kind))
finish()
