"""The task that agents are given: a plan for the simulator in the tools of each agent, and an entity of each format to run it on."""
from urllib.parse import quote

from harness import *

DONE = "the note is edited"
AWS = {"aws_access_key_id_plaintext": "AKIDEXAMPLE", "aws_secret_access_key_plaintext": PROVIDER_KEY, "aws_region": "us-east-1"}


def _entity(provider, block, config):
    return lambda model, name: {"name": name, "external_model": {"name": model, "provider": provider, "task": "llm/v1/chat", block: config}}


ENTITIES = {
    "anthropic": anthropic_entity,
    "openai": openai_entity,
    "google": google_entity,
    "bedrock": _entity("amazon-bedrock", "amazon_bedrock_config", {**AWS, "bedrock_provider": "amazon", "bedrock_runtime_endpoint": UPSTREAM}),
    "cohere": _entity("cohere", "cohere_config", {"cohere_api_key_plaintext": PROVIDER_KEY, "cohere_api_base": UPSTREAM}),
}


def _claude(note):
    return [
        {"tool": "Read", "arguments": {"file_path": str(note)}},
        {"tool": "Edit", "arguments": {"file_path": str(note), "old_string": "one", "new_string": "two"}},
        {"tool": "Bash", "arguments": {"command": f"cp {note} {note}.copy", "description": "copy the note"}},
        {"text": DONE},
    ]


def _codex(note):
    run = lambda command: {"tool": "exec_command", "arguments": {"cmd": command}}
    return [run(f"cat {note}"), run(f"sed -i s/one/two/ {note}"), run(f"cp {note} {note}.copy"), {"text": DONE}]


def _gemini(note):
    edit = {"file_path": str(note), "instruction": "say two in place of one", "old_string": "one", "new_string": "two"}
    return [
        {"tool": "read_file", "arguments": {"file_path": str(note)}},
        {"tool": "replace", "arguments": edit},
        {"tool": "run_shell_command", "arguments": {"command": f"cp {note} {note}.copy", "description": "copy the note"}},
        {"text": DONE},
    ]


PLANS = {"claude": _claude, "codex": _codex, "gemini": _gemini}


def post_plan(model, plan):
    call("POST", "/_script", {"model": model, "script": "plan=" + quote(json.dumps(plan))}, base=UPSTREAM, token=None).ok()
