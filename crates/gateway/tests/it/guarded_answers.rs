//! Guardrails on what is answered: texts and arguments of tools, on every surface, however a stream is cut.

use std::collections::BTreeMap;

use journal::{GuardKind, GuardOutcome, GuardPhase, Outcome};
use serde_json::{Value, json};

use crate::client::Got;
use crate::grid::{Role, Surface, surfaces};
use crate::guardrails::{MAIL, MASKED, guard, is_filtered, saying, verdict};
use crate::raw::{Play, Raw};
use crate::world::{CHAT, COMPLETIONS, EMBEDDINGS, Entity, World, world};

/// Each row of the grid that answers with text, on each provider, in each mode.
pub(crate) fn rows() -> impl Iterator<Item = (Surface, &'static str, bool)> {
    let rows = surfaces().into_iter().filter(|surface| surface.task != EMBEDDINGS);
    let rows =
        rows.flat_map(|surface| surface.providers().iter().map(move |provider| (surface.clone(), *provider)));
    rows.flat_map(|(surface, provider)| {
        surface.streams().iter().map(move |stream| (surface.clone(), provider, *stream))
    })
}

pub(crate) async fn ask(
    world: &World,
    surface: &Surface,
    provider: &'static str,
    model: &str,
    stream: bool,
) -> Got {
    world.endpoint("e", surface.task, false, &[Entity::new(provider, model)]);
    let mut body = (surface.body)(Role::User, "hello").unwrap();
    if surface.task == CHAT {
        surface.offer(&mut body);
    }
    surface.ask(world, body, stream).await
}

fn is_blocked(world: &World, surface: &Surface, stream: bool, got: &Got, case: &str) {
    if stream || surface.blocks_by_answer() {
        assert!(got.status == 200 && is_filtered(got), "{case}: {got:?}");
    } else {
        let (code, message) = got.error();
        let message: Value = serde_json::from_str(&message).unwrap();
        assert_eq!(
            (got.status, code.as_str(), &message["finishReason"]),
            (400, "BAD_REQUEST", &json!("output_guardrail_triggered")),
            "{case}"
        );
    }
    let settlement = world.records.last();
    assert_eq!((settlement.outcome, settlement.status), (Outcome::Refused, got.status), "{case}");
    assert!(settlement.usage.is_some(), "{case}: what the provider gave is counted");
}

#[tokio::test]
async fn what_is_answered_is_masked_on_every_surface_however_it_is_cut() {
    world(async |world| {
        guard(world, json!({"output": {"pii": {"behavior": "MASK"}}}));
        let said = format!(
            "{} Write to {MAIL}, or call 212-555-0147. {}",
            "It was a bright cold day. ".repeat(3),
            "And so on. ".repeat(40)
        );
        let expected = said.replace(MAIL, MASKED).replace("212-555-0147", "<PHONE_NUMBER>");
        let all = [1, 7, said.len()];
        for (surface, provider, stream) in rows() {
            // Each format has a path of the AI Gateway; its others are the same behind the door.
            let cuts = match (stream, surface.path.starts_with("/ai-gateway/")) {
                (false, _) => &all[..1],
                (true, false) => &all[..2],
                (true, true) => &all[..],
            };
            for chunks in cuts {
                let case = format!("{} {provider} stream={stream} chunks={chunks}", surface.path);
                let got = ask(world, &surface, provider, &saying(&said, *chunks), stream).await;
                assert_eq!(got.status, 200, "{case}: {got:?}");
                assert_eq!(answered(&surface, &got, stream), expected, "{case}");
                assert_eq!(
                    verdict(world, GuardKind::Pii, GuardPhase::Output),
                    GuardOutcome::Masked,
                    "{case}"
                );
                assert_eq!(world.records.last().outcome, Outcome::Completed, "{case}");
            }
        }
    })
    .await;
}

/// The text of an answer of any format, of its deltas where it is streamed.
fn answered(surface: &Surface, got: &Got, stream: bool) -> String {
    let text = |event: &Value| {
        let places = [
            "/choices/0/delta/content",
            "/choices/0/text",
            "/choices/0/message/content",
            "/candidates/0/content/parts/0/text",
            "/output/message/content/0/text",
        ];
        let deltas = (event["type"] == "content_block_delta"
            || event["type"] == "response.output_text.delta"
            || event["contentBlockIndex"].is_u64())
        .then(|| event["delta"]["text"].as_str().or(event["delta"].as_str()))
        .flatten();
        let blocks = ["/content/0/text", "/output/0/content/0/text"].iter().filter(|_| !stream);
        let found = places.iter().chain(blocks).find_map(|place| event.pointer(place)?.as_str());
        deltas.or(found).unwrap_or_default().to_owned()
    };
    surface.events(got, stream).iter().map(text).collect()
}

#[tokio::test]
async fn what_is_answered_is_blocked_on_every_surface_in_its_own_way() {
    world(async |world| {
        for (rules, kind, forbidden, parts) in [
            (
                json!({"invalid_keywords": ["Bluebird"]}),
                GuardKind::InvalidKeywords,
                "the blue\u{200b}bird flies",
                ["bird", "flies"],
            ),
            (
                json!({"pii": {"behavior": "BLOCK"}}),
                GuardKind::Pii,
                "write to bob@example.com soon",
                ["bob", "soon"],
            ),
        ] {
            guard(world, json!({ "output": rules }));
            let said = format!("{} {forbidden} {}", "Once upon a time. ".repeat(30), "The end. ".repeat(50));
            for (surface, provider, stream) in rows() {
                for chunks in if stream { &[5, 100][..] } else { &[1] } {
                    let case =
                        format!("{} {provider} {kind:?} stream={stream} chunks={chunks}", surface.path);
                    let got = ask(world, &surface, provider, &saying(&said, *chunks), stream).await;
                    let told =
                        if got.status == 200 { answered(&surface, &got, stream) } else { got.text.clone() };
                    assert!(parts.iter().all(|part| !told.contains(part)), "{case}: {got:?}");
                    is_blocked(world, &surface, stream, &got, &case);
                    assert_eq!(verdict(world, kind, GuardPhase::Output), GuardOutcome::Blocked, "{case}");
                }
            }
        }
    })
    .await;
}

/// A model that calls the tool `f`.
pub(crate) fn calling(arguments: &Value) -> String {
    let plan = json!([{"tool": "f", "arguments": arguments}]).to_string();
    let encoded: String = plan.bytes().map(|b| format!("%{b:02x}")).collect();
    format!("m;plan={encoded}")
}

/// The arguments of the call in an answer of any format, as JSON.
fn called(surface: &Surface, got: &Got, stream: bool) -> String {
    let mut out = String::new();
    for event in surface.events(got, stream) {
        for place in [
            "/choices/0/message/tool_calls/0/function/arguments",
            "/choices/0/delta/tool_calls/0/function/arguments",
            "/delta/partial_json",
            "/delta/toolUse/input",
        ] {
            out += event.pointer(place).and_then(Value::as_str).unwrap_or_default();
        }
        if event["type"] == "response.function_call_arguments.delta" {
            out += event["delta"].as_str().unwrap();
        }
        let list = |place: &str| event.pointer(place).and_then(Value::as_array).cloned().unwrap_or_default();
        for block in [
            list("/content"),
            list("/output"),
            list("/output/message/content"),
            list("/candidates/0/content/parts"),
        ]
        .concat()
        {
            for place in ["/input", "/toolUse/input", "/functionCall/args"] {
                out += &block.pointer(place).map(Value::to_string).unwrap_or_default();
            }
            out += block["arguments"].as_str().unwrap_or_default();
        }
    }
    out
}

#[tokio::test]
async fn what_tools_are_called_with_is_guarded_on_every_surface() {
    world(async |world| {
        // Halves of it, which the simulator streams, have half an address each.
        let arguments =
            json!({"q": format!("the Bluebird, {MAIL}, and more of them"), "ssn": -536_904_399_i64});
        let masked = json!({"q": format!("the Bluebird, {MASKED}, and more of them"), "ssn": "<US_SSN>"});
        for (rules, kind, outcome) in [
            (json!({"pii": {"behavior": "MASK"}}), GuardKind::Pii, GuardOutcome::Masked),
            (json!({"pii": {"behavior": "BLOCK"}}), GuardKind::Pii, GuardOutcome::Blocked),
            (json!({"invalid_keywords": ["bluebird"]}), GuardKind::InvalidKeywords, GuardOutcome::Blocked),
            (json!({"pii": {"behavior": "NONE"}}), GuardKind::Pii, GuardOutcome::Detected),
        ] {
            guard(world, json!({ "output": rules }));
            for (surface, provider, stream) in rows().filter(|(surface, ..)| surface.task != COMPLETIONS) {
                let case = format!("{} {provider} {kind:?} {outcome:?} stream={stream}", surface.path);
                let got = ask(world, &surface, provider, &calling(&arguments), stream).await;
                assert_eq!(verdict(world, kind, GuardPhase::Output), outcome, "{case}: {got:?}");
                if outcome == GuardOutcome::Blocked {
                    is_blocked(world, &surface, stream, &got, &case);
                    let told = if got.status == 200 { called(&surface, &got, stream) } else { String::new() };
                    let all = got.text + &told;
                    assert!(!all.contains("bob") && !all.contains("Bluebird"), "{case}: {all}");
                    continue;
                }
                assert_eq!(got.status, 200, "{case}: {got:?}");
                let told: Value = serde_json::from_str(&called(&surface, &got, stream)).unwrap();
                let masks = outcome == GuardOutcome::Masked;
                assert_eq!(told, *(if masks { &masked } else { &arguments }), "{case}");
                assert!(
                    !masks || !(got.text.contains(MAIL) || got.text.contains("536904399")),
                    "{case}: {got:?}"
                );
            }
        }
    })
    .await;
}

/// What `value` says under each key, one after the other.
fn by_key(value: &Value, key: &str, out: &mut BTreeMap<String, String>) {
    match value {
        Value::String(text) => *out.entry(key.to_owned()).or_default() += text,
        Value::Array(items) => items.iter().for_each(|item| by_key(item, key, out)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| by_key(value, key, out)),
        _ => {}
    }
}

/// An upstream that thinks aloud before it answers, whole or in pieces that have a piece of an address each.
async fn thinking(world: &World, stream: bool) -> Raw {
    let thought = format!("they are {MAIL}, I think");
    if !stream {
        let said = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
            "content": [{"type": "thinking", "thinking": thought, "signature": "c2ln"}, {"type": "text", "text": "well"}],
            "usage": {"input_tokens": 3, "output_tokens": 4}});
        let headers = "content-type: application/json\r\n";
        return Raw::start(world, Play::whole("200 OK", headers, &said.to_string())).await;
    }
    let delta =
        |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let begin = |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let (first, second) = thought.split_at(14);
    let events = [
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": {"input_tokens": 3}}}),
        begin(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": first})),
        delta(0, json!({"type": "thinking_delta", "thinking": second})),
        delta(0, json!({"type": "signature_delta", "signature": "c2ln"})),
        json!({"type": "content_block_stop", "index": 0}),
        begin(1, json!({"type": "text", "text": ""})),
        delta(1, json!({"type": "text_delta", "text": "well"})),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}),
        json!({"type": "message_stop"}),
    ];
    let events: Vec<String> = events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
        .collect();
    Raw::start(world, Play::stream(&events)).await
}

#[tokio::test]
async fn what_a_model_thinks_is_guarded_on_every_surface() {
    world(async |world| {
        for (behavior, outcome) in [("MASK", GuardOutcome::Masked), ("BLOCK", GuardOutcome::Blocked)] {
            guard(world, json!({"output": {"pii": {"behavior": behavior}}}));
            for stream in [false, true] {
                let raw = thinking(world, stream).await;
                world.chat("e", &[Entity::new("anthropic", "m").at(&raw.url)]);
                for (surface, ..) in rows().filter(|(surface, provider, streams)| {
                    surface.task == CHAT && *provider == "anthropic" && *streams == stream
                }) {
                    let case = format!("{} {behavior} stream={stream}", surface.path);
                    let body = (surface.body)(Role::User, "hello").unwrap();
                    let got = surface.ask(world, body, stream).await;
                    assert_eq!(
                        verdict(world, GuardKind::Pii, GuardPhase::Output),
                        outcome,
                        "{case}: {got:?}"
                    );
                    if outcome == GuardOutcome::Blocked {
                        is_blocked(world, &surface, stream, &got, &case);
                        assert!(!got.text.contains("bob"), "{case}: {got:?}");
                        continue;
                    }
                    assert_eq!(got.status, 200, "{case}: {got:?}");
                    let mut told = BTreeMap::new();
                    surface.events(&got, stream).iter().for_each(|event| by_key(event, "", &mut told));
                    let told: Vec<&String> = told.values().filter(|said| said.contains("they are")).collect();
                    let expected = format!("they are {MASKED}, I think");
                    assert!(
                        !told.is_empty() && told.iter().all(|said| said.contains(&expected)),
                        "{case}: {told:?}"
                    );
                    assert!(!got.text.contains(MAIL), "{case}: {got:?}");
                }
            }
        }
    })
    .await;
}
