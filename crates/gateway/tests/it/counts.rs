//! Streams in which a provider tells what was used more than once, or not where its format has it.

use bytes::Bytes;
use journal::{Outcome, Provenance};
use serde_json::{Value, json};
use wire::eventstream::frame;
use wire::sse::Event;

use crate::raw::{Play, Raw};
use crate::world::{Entity, World, world};

const CHAT: &str = "/serving-endpoints/chat/completions";

/// Of every stream here, however it is told.
const USED: (u64, u64) = (9, 5);

fn lines(events: &[Value]) -> Vec<Bytes> {
    let line = |event: &Value| match event["type"].as_str() {
        Some(name) => format!("event: {name}\ndata: {event}\n\n"),
        None => format!("data: {event}\n\n"),
    };
    events.iter().map(|event| line(event).into()).collect()
}

fn unified(events: &[Value]) -> Vec<Bytes> {
    lines(events).into_iter().chain([Bytes::from("data: [DONE]\n\n")]).collect()
}

fn frames(events: &[(&str, Value)]) -> Vec<Bytes> {
    let event =
        |(name, data): &(&str, Value)| Event { name: (*name).to_owned(), data: data.to_string().into() };
    events.iter().map(|each| frame(&event(each)).unwrap()).collect()
}

/// Chunks of OpenAI and of who speaks like it.
fn chunks() -> Vec<(&'static str, Vec<Bytes>)> {
    let said =
        |usage: Value| json!({"choices": [{"index": 0, "delta": {"content": "abcd"}}], "usage": usage});
    let end = |usage: Value| json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage});
    let alone = |usage: Value| json!({"choices": [], "usage": usage});
    let so_far =
        |output: u64| json!({"prompt_tokens": 9, "completion_tokens": output, "total_tokens": 9 + output});
    let (used, no) = (so_far(5), Value::Null);
    vec![
        ("twice", unified(&[said(no.clone()), end(no.clone()), alone(used.clone()), alone(used.clone())])),
        (
            "with every chunk",
            unified(&[said(so_far(1)), said(so_far(3)), end(used.clone()), alone(used.clone())]),
        ),
        (
            "at the end and once more with nothing",
            unified(&[said(no.clone()), end(used.clone()), alone(no.clone())]),
        ),
        ("first", unified(&[alone(used.clone()), said(no.clone()), end(no.clone())])),
        ("before the end", unified(&[said(no.clone()), alone(used), end(no)])),
    ]
}

fn messages() -> Vec<(&'static str, Vec<Bytes>)> {
    let start = |usage: Value| {
        json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "m",
            "content": [], "stop_reason": null, "usage": usage}})
    };
    let open =
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let said =
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "abcd"}});
    let close = json!({"type": "content_block_stop", "index": 0});
    let end =
        |usage: Value| json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage});
    let stop = json!({"type": "message_stop"});
    let (begun, done) = (json!({"input_tokens": 9, "output_tokens": 1}), json!({"output_tokens": 5}));
    let all = json!({"input_tokens": 9, "output_tokens": 5});
    let of = |from: &Value, ends: &[Value]| {
        let ends = ends.iter().cloned();
        let head = [start(from.clone()), open.clone(), said.clone(), close.clone()].into_iter();
        lines(&head.chain(ends).chain([stop.clone()]).collect::<Vec<_>>())
    };
    vec![
        ("twice", of(&begun, &[end(done.clone()), end(done.clone())])),
        ("all of it again", of(&begun, &[end(all.clone())])),
        ("all of it twice", of(&all, &[end(all.clone()), end(all.clone())])),
        ("all of it last", of(&json!({}), &[end(all.clone())])),
        (
            "before what was said",
            lines(&[start(begun), end(done), open.clone(), said.clone(), close.clone(), stop.clone()]),
        ),
    ]
}

fn candidates() -> Vec<(&'static str, Vec<Bytes>)> {
    let chunk = |text: &str, reason: Value, usage: Value| {
        let mut chunk = json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": text}]}, "finishReason": reason}]});
        if !usage.is_null() {
            chunk["usageMetadata"] = usage;
        }
        chunk
    };
    let so_far = |output: u64| json!({"promptTokenCount": 9, "candidatesTokenCount": output, "totalTokenCount": 9 + output});
    let (no, used, stop) = (Value::Null, so_far(5), json!("STOP"));
    vec![
        ("twice", lines(&[chunk("ab", no.clone(), used.clone()), chunk("cd", stop.clone(), used.clone())])),
        (
            "with every chunk",
            lines(&[chunk("ab", no.clone(), so_far(2)), chunk("cd", stop.clone(), used.clone())]),
        ),
        ("first", lines(&[chunk("ab", no.clone(), used.clone()), chunk("cd", stop.clone(), no.clone())])),
        ("after the end", lines(&[chunk("abcd", stop, no), json!({ "usageMetadata": used })])),
    ]
}

fn turns() -> Vec<(&'static str, Vec<Bytes>)> {
    let start = ("messageStart", json!({"role": "assistant"}));
    let said = ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": "abcd"}}));
    let close = ("contentBlockStop", json!({"contentBlockIndex": 0}));
    let stop = ("messageStop", json!({"stopReason": "end_turn"}));
    let used = ("metadata", json!({"usage": {"inputTokens": 9, "outputTokens": 5, "totalTokens": 14}}));
    let of = |events: &[&(&'static str, Value)]| frames(&events.iter().copied().cloned().collect::<Vec<_>>());
    vec![
        ("twice", of(&[&start, &said, &close, &stop, &used, &used])),
        ("before the end and after it", of(&[&start, &said, &used, &close, &stop, &used])),
        ("before the end", of(&[&start, &said, &close, &used, &stop])),
    ]
}

fn cohere() -> Vec<(&'static str, Vec<Bytes>)> {
    let start = json!({"type": "message-start", "id": "m", "delta": {"message": {"role": "assistant"}}});
    let said =
        json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "abcd"}}}});
    let usage = json!({"billed_units": {"input_tokens": 3, "output_tokens": 5}, "tokens": {"input_tokens": 9, "output_tokens": 5}});
    let end = json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}});
    vec![("twice", lines(&[start, said, end.clone(), end]))]
}

fn responses() -> Vec<(&'static str, Vec<Bytes>)> {
    let usage = json!({"input_tokens": 9, "output_tokens": 5, "total_tokens": 14});
    let response = |status: &str, usage: &Value| json!({"id": "r", "object": "response", "status": status, "output": [], "usage": usage});
    let event =
        |kind: &str, status: &str, usage: &Value| json!({"type": kind, "response": response(status, usage)});
    let said = json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "i", "delta": "abcd"});
    let begun = |usage: &Value| event("response.created", "in_progress", usage);
    let end = event("response.completed", "completed", &usage);
    vec![
        ("twice", lines(&[begun(&Value::Null), said.clone(), end.clone(), end.clone()])),
        ("at the beginning too", lines(&[begun(&usage), said, end])),
    ]
}

async fn check(world: &World, provider: &'static str, path: &str, streams: Vec<(&'static str, Vec<Bytes>)>) {
    for (case, pieces) in streams {
        // Each event alone, and all in one read.
        for pieces in [pieces.clone(), vec![Bytes::from(pieces.concat())]] {
            let case = format!("{provider} {path} {case} in {}", pieces.len());
            let raw = Raw::start(world, Play::stream(&pieces)).await;
            world.chat("e", &[Entity::new(provider, "m").at(&raw.url)]);
            let text = json!([{"role": "user", "content": "hi"}]);
            let body = match path {
                path if path.contains(":streamGenerateContent") => {
                    json!({"contents": [{"parts": [{"text": "hi"}]}]})
                }
                path if path.ends_with("converse-stream") => {
                    json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]})
                }
                path if path.ends_with("responses") => json!({"model": "e", "stream": true, "input": "hi"}),
                _ => json!({"model": "e", "stream": true, "max_tokens": 9, "messages": text}),
            };
            let mut running = world.open(path, &body).await;
            assert_eq!(running.status, 200, "{case}");
            while let Some(piece) = running.piece().await {
                piece.unwrap_or_else(|e| panic!("{case}: {e}"));
            }
            let settled = world.records.last();
            assert_eq!(settled.outcome, Outcome::Completed, "{case}: {settled:?}");
            let usage = settled.usage.unwrap();
            let tokens = usage.tokens();
            assert_eq!((tokens.input(), tokens.output(), tokens.total()), (USED.0, USED.1, 14), "{case}");
            assert_eq!(usage.provenance, Provenance::Provider, "{case}");
        }
    }
}

#[tokio::test]
async fn what_is_told_twice_or_out_of_order_is_counted_once() {
    let native = "/gemini/v1beta/models/e:streamGenerateContent?alt=sse";
    world(async |world| {
        for provider in ["openai", "custom", "ai21labs", "databricks-model-serving", "azure"] {
            check(world, provider, CHAT, chunks()).await;
        }
        for path in [CHAT, "/anthropic/v1/messages"] {
            check(world, "anthropic", path, messages()).await;
        }
        for path in [CHAT, native] {
            check(world, "google", path, candidates()).await;
        }
        for path in [CHAT, "/model/e/converse-stream"] {
            check(world, "amazon-bedrock", path, turns()).await;
        }
        check(world, "cohere", CHAT, cohere()).await;
        check(world, "openai", "/openai/v1/responses", responses()).await;
    })
    .await;
}

/// Engines that do not count: an empty usage, nulls, zeros.
#[tokio::test]
async fn a_usage_that_tells_nothing_is_estimated() {
    let zero = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
    let null = json!({"prompt_tokens": null, "completion_tokens": null, "total_tokens": null});
    let hello = json!([{"role": "user", "content": "hello there"}]);
    let unified = json!({"model": "e", "messages": hello});
    let messages = json!({"model": "e", "max_tokens": 9, "messages": hello});
    for usage in [json!({}), null, zero] {
        for (path, body) in [(CHAT, &unified), ("/ai-gateway/anthropic/v1/messages", &messages)] {
            for stream in [false, true] {
                world(async |world| {
                    let said = json!({"role": "assistant", "content": "abcd"});
                    let play = if stream {
                        Play::stream(&self::unified(&[
                            json!({"choices": [{"index": 0, "delta": said}], "usage": null}),
                            json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage}),
                        ]))
                    } else {
                        let answer = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage,
                            "choices": [{"index": 0, "message": said, "finish_reason": "stop"}]});
                        Play::whole("200 OK", "content-type: application/json\r\n", &answer.to_string())
                    };
                    let raw = Raw::start(world, play).await;
                    world.chat("e", &[Entity::new("custom", "m").at(format!("{}/v1", raw.url))]);
                    let mut body = body.clone();
                    body["stream"] = stream.into();
                    let got = world.post(path, &body).await;
                    let told = world.records.last().usage.unwrap();
                    let tokens = (told.tokens().input(), told.tokens().output());
                    let case = format!("{path} stream={stream} {usage}: {got:?}");
                    assert_eq!((got.status, told.provenance, tokens), (200, Provenance::Estimated, (3, 1)), "{case}");
                })
                .await;
            }
        }
    }
}

/// As engines that changed the name of it send it.
#[tokio::test]
async fn reasoning_of_two_names_is_counted_once_whole_and_streamed() {
    let said = json!({"content": "abcd", "reasoning": "efgh", "reasoning_content": "efgh"});
    for stream in [false, true] {
        world(async |world| {
            let play = if stream {
                Play::stream(&unified(&[
                    json!({"choices": [{"index": 0, "delta": said}]}),
                    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
                ]))
            } else {
                let answer = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
                    "choices": [{"index": 0, "message": said, "finish_reason": "stop"}]});
                Play::whole("200 OK", "content-type: application/json\r\n", &answer.to_string())
            };
            let raw = Raw::start(world, play).await;
            world.chat("e", &[Entity::new("custom", "m").at(format!("{}/v1", raw.url))]);
            let got = world.ask("e", stream).await;
            let told = world.records.last();
            let output = told.usage.as_ref().unwrap().tokens().output();
            assert_eq!((told.output_characters, output), (Some(8), 2), "stream={stream} {got:?}");
        })
        .await;
    }
}
