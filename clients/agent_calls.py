#!/usr/bin/env python3
"""What Claude Code, Codex and Gemini CLI send in the suites `agents` and `gemini_cli`, sent again without them: the events that come back are in their formats' order.

The calls lie in recorded/, with the client's prose cut short; recorder.py writes them.
"""
from agent_plans import DONE, ENTITIES, PLANS, post_plan
from harness import *
from recorder import FOLDER, HOME

NOTE = f"{HOME}/project/note.txt"


def events_of(reply):
    """The events, each with the name that its data has."""
    assert reply.status == 200 and reply.headers["content-type"].startswith("text/event-stream"), str(reply)
    events = []
    for block in reply.text.strip().split("\n\n"):
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}", block
    return events


def message_says(events):
    """A streamed message, its order checked: what it calls with what, or its text."""
    kinds = [event["type"] for event in events if event["type"] != "ping"]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds
    blocks, is_open = [], False
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert not is_open and event["index"] == len(blocks), event
                is_open = True
                blocks.append((event["content_block"], []))
            case "content_block_delta":
                assert is_open and event["index"] == len(blocks) - 1, event
                assert all(value is not None for value in event["delta"].values()), event
                blocks[-1][1].append(event["delta"])
            case "content_block_stop":
                assert is_open and event["index"] == len(blocks) - 1, event
                is_open = False
    stop = events[-2]
    assert not is_open and stop["usage"]["output_tokens"] > 0, stop
    said = [(block, deltas) for block, deltas in blocks if block["type"] != "thinking"]
    assert len(said) == 1 and len(blocks) <= 2, blocks
    [(block, deltas)] = said
    if block["type"] == "tool_use":
        assert stop["delta"]["stop_reason"] == "tool_use" and block["id"], (block, stop)
        return block["name"], json.loads("".join(delta["partial_json"] for delta in deltas))
    assert stop["delta"]["stop_reason"] == "end_turn", stop
    return "".join(delta["text"] for delta in deltas)


def response_says(events):
    """A streamed response, its order checked: what it calls with what, or its text."""
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.completed", kinds
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    added = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    answer = events[-1]["response"]
    assert added == [item["id"] for item in done] == [item["id"] for item in answer["output"]], (added, done)
    assert answer["id"] and answer["usage"]["total_tokens"] > 0, answer
    [item] = [item for item in done if item["type"] != "reasoning"]
    if item["type"] == "function_call":
        arguments = "".join(event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta")
        assert arguments == item["arguments"] and item["call_id"], item
        return item["name"], json.loads(arguments)
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert text == item["content"][0]["text"], item
    return text


def candidate_says(chunks):
    """Streamed candidates: what they call with what, or their text."""
    assert all(len(chunk["candidates"]) == 1 for chunk in chunks if chunk.get("candidates")), chunks
    candidates = [chunk["candidates"][0] for chunk in chunks if chunk.get("candidates")]
    assert [candidate["finishReason"] for candidate in candidates if candidate.get("finishReason")] == ["STOP"], candidates
    assert chunks[-1]["usageMetadata"]["totalTokenCount"] > 0, chunks[-1]
    parts = [part for candidate in candidates for part in candidate.get("content", {}).get("parts", []) if not part.get("thought")]
    if calls := [part["functionCall"] for part in parts if "functionCall" in part]:
        [called] = calls
        return called["name"], called["args"]
    return "".join(part.get("text", "") for part in parts)


def chunks_of(reply):
    """The data of the events, which have no names."""
    assert reply.status == 200 and reply.headers["content-type"].startswith("text/event-stream"), str(reply)
    return [json.loads(block.removeprefix("data: ")) for block in reply.text.strip().split("\n\n")]


def again(agent, kind, says):
    name, model, plan = f"{PREFIX}-{agent}-{kind}", f"{agent}-again-on-{kind}", PLANS[agent](NOTE)
    recorded = json.loads((FOLDER / f"{agent}.json").read_text())
    post_plan(model, plan)
    make_endpoint(name, ENTITIES[kind](model, name="coder"))
    said = []
    for sent in recorded["calls"]:
        model = {} if "ENDPOINT" in sent["path"] else {"model": name}
        body = {**sent["body"], **model, **({"tools": recorded["tools"]} if sent["with_tools"] else {})}
        said.append(says(post(sent["path"].replace("ENDPOINT", name), body, headers=sent["headers"])))
    assert said == [(turn["tool"], turn["arguments"]) if "tool" in turn else turn["text"] for turn in plan], said
    assert said[-1] == DONE


make_scope()
for agent, says in (("claude", lambda reply: message_says(events_of(reply))), ("codex", lambda reply: response_says(events_of(reply))),
                    ("gemini", lambda reply: candidate_says(chunks_of(reply)))):
    for kind in ENTITIES:
        check(f"{agent} on {kind}: each call of its task is answered as planned, in the order of the format")(lambda: again(agent, kind, says))
finish()
