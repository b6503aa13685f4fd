#!/usr/bin/env python3
"""Claude Code and Codex finish a task with tools, on an entity of their own format and on one of each foreign format.

The simulator plays the model by a plan: read a file, edit it, run a command, say that it is done.
"""
import os
import subprocess
from pathlib import Path
from urllib.parse import quote

from client_pages import page_has
from harness import *

AGENT_SECONDS = 60
DONE = "the note is edited"
AWS = {"aws_access_key_id_plaintext": "AKIDEXAMPLE", "aws_secret_access_key_plaintext": PROVIDER_KEY, "aws_region": "us-east-1"}
ENTITIES = {
    "anthropic": anthropic_entity,
    "openai": openai_entity,
    "google": google_entity,
    "bedrock": lambda model, name: {"name": name, "external_model": {"name": model, "provider": "amazon-bedrock", "task": "llm/v1/chat",
        "amazon_bedrock_config": {**AWS, "bedrock_provider": "amazon", "bedrock_runtime_endpoint": UPSTREAM}}},
    "cohere": lambda model, name: {"name": name, "external_model": {"name": model, "provider": "cohere", "task": "llm/v1/chat",
        "cohere_config": {"cohere_api_key_plaintext": PROVIDER_KEY, "cohere_api_base": UPSTREAM}}},
}


def claude_plan(note):
    return [
        {"tool": "Read", "arguments": {"file_path": str(note)}},
        {"tool": "Edit", "arguments": {"file_path": str(note), "old_string": "one", "new_string": "two"}},
        {"tool": "Bash", "arguments": {"command": f"cp {note} {note}.copy", "description": "copy the note"}},
        {"text": DONE},
    ]


def codex_plan(note):
    run = lambda command: {"tool": "exec_command", "arguments": {"cmd": command}}
    return [run(f"cat {note}"), run(f"sed -i s/one/two/ {note}"), run(f"cp {note} {note}.copy"), {"text": DONE}]


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


def task(agent, plan, kind, host=HOST):
    """Runs the agent on an endpoint of that kind; the files must show that it did what it was told."""
    name, model = f"{PREFIX}-{agent.__name__}-{kind}", f"{agent.__name__}-on-{kind}"
    home = Path(os.environ["TMPDIR"]) / name
    (home / "project").mkdir(parents=True)
    note = home / "project" / "note.txt"
    note.write_text("one\n")
    call("POST", "/_script", {"model": model, "script": "plan=" + quote(json.dumps(plan(note)))}, base=UPSTREAM, token=None).ok()
    make_endpoint(name, ENTITIES[kind](model, name="coder"))
    agent(name, home, host)
    copy = Path(f"{note}.copy")
    assert note.read_text() == "two\n", f"the file was not edited: {note.read_text()!r}"
    assert copy.exists() and copy.read_text() == "two\n", "the command was not run"


if __name__ == "__main__":
    make_scope()
    for agent, plan in ((claude, claude_plan), (codex, codex_plan)):
        for kind in ENTITIES:
            check(f"{agent.__name__} on {kind}: reads a file, edits it, runs a command")(lambda: task(agent, plan, kind))
    finish()
