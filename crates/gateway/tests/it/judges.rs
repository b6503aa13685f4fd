//! Guardrails that a model or a service judges.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use journal::{Admission, GuardKind, GuardOutcome, GuardPhase, Outcome, Provenance, Settlement};
use policy::endpoint::Accounting;
use policy::guardrails::{JudgeSettings, Moderation, Presidio, Protocol, Settings};
use serde_json::{Value, json};
use simulator::State;

use crate::circuits::ready;
use crate::client::invocations;
use crate::raw::{Play, Raw};
use crate::world::{CHAT, Entity, World, world};

pub(crate) fn judge(world: &World, protocol: Protocol) -> Settings {
    // The judge itself has no guardrails; those that judge come with the next endpoint.
    *world.guardrails.lock() = Value::Null;
    Settings { judge: Some(JudgeSettings { endpoint: "judge".into(), protocol }), ..Settings::default() }
}

pub(crate) fn says(text: &str) -> Entity {
    let encoded: String = text.bytes().map(|b| format!("%{b:02x}")).collect();
    Entity::new("openai", &format!("judge;answer={encoded}"))
}

pub(crate) fn set(world: &World, settings: Settings, guardrails: Value) {
    *world.guard_settings.lock() = Arc::new(settings);
    *world.guardrails.lock() = guardrails;
}

fn asked(text: &str, stream: bool) -> Value {
    json!({"stream": stream, "messages": [{"role": "user", "content": text}]})
}

#[tokio::test]
async fn a_guard_model_says_what_is_unsafe_and_the_block_tells_the_categories() {
    world(async |world| {
        let settings = judge(world, Protocol::LlamaGuard);
        world.chat("judge", &[says("unsafe\nS1,S10")]);
        set(world, settings, json!({"input": {"safety": true}}));
        world.chat("e", &[Entity::new("openai", "m")]);
        let got = world.post(&invocations("e"), &asked("how to hurt", false)).await;
        let message: Value = serde_json::from_str(&got.error().1).unwrap();
        let item = &message["input_guardrail"][0];
        assert_eq!((got.status, &item["flagged"], &item["pii_detection"]), (400, &json!(true), &Value::Null));
        assert_eq!(
            (&item["categories"]["violent-crimes"], &item["categories"]["hate"]),
            (&json!(true), &json!(true))
        );
        assert_eq!(item["categories"].as_object().unwrap().len(), 11, "{item}");
        assert!(message["usage"]["total_tokens"].as_u64().unwrap() > 0, "{message}");
        // The judge was asked, and nobody else.
        let requests = world.ledger.requests();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].body["messages"], json!([{"role": "user", "content": "how to hurt"}]));
        let guards = world.records.last().guards;
        assert_eq!((guards[0].guard, guards[0].outcome), (GuardKind::Safety, GuardOutcome::Blocked));
        assert_eq!(guards[0].details, ["violent-crimes", "hate"]);
    })
    .await;
}

#[tokio::test]
async fn a_streamed_answer_is_judged_before_any_of_it_is_told() {
    world(async |world| {
        for (said, is_safe) in [("safe", true), ("unsafe\nS2", false)] {
            let settings = judge(world, Protocol::LlamaGuard);
            world.chat("judge", &[says(said)]);
            set(world, settings, json!({"output": {"safety": true}}));
            world.chat("e", &[Entity::new("openai", "m;answer=something%20said;chunks=4")]);
            let got = world.post(&invocations("e"), &asked("hello", true)).await;
            assert_eq!(got.status, 200);
            assert_eq!(got.streamed_text(), if is_safe { "something said" } else { "" }, "{got:?}");
            assert_eq!(got.text.contains("content_filter"), !is_safe, "{got:?}");
            assert!(got.is_done());
            let judged = world.ledger.requests().pop().unwrap().body;
            assert_eq!(judged["messages"], json!([{"role": "user", "content": "hello"}, {"role": "assistant", "content": "something said"}]));
            let outcome = if is_safe { GuardOutcome::Passed } else { GuardOutcome::Blocked };
            assert_eq!(world.records.last().guards.last().unwrap().outcome, outcome);
        }
    })
    .await;
}

#[tokio::test]
async fn topics_are_judged_by_the_last_that_the_user_said() {
    world(async |world| {
        let settings = judge(world, Protocol::Json);
        world.chat("judge", &[says("{\"flagged\": true, \"reason\": \"dogs\"}")]);
        set(world, settings, json!({"input": {"valid_topics": ["cats"]}}));
        world.chat("e", &[Entity::new("openai", "m")]);
        let body = json!({"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "about cats"}, {"role": "user", "content": "about dogs"}]});
        let got = world.post("/serving-endpoints/e/invocations", &body).await;
        let message: Value = serde_json::from_str(&got.error().1).unwrap();
        assert_eq!(message["input_guardrail"][0]["valid_topics"], false, "{message}");
        let asked = world.ledger.requests().pop().unwrap().body["messages"].clone();
        assert!(asked[0]["content"].as_str().unwrap().contains("- cats"), "{asked}");
        assert_eq!(asked[1]["content"], "<text>\nabout dogs\n</text>");
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_may_name_its_own_judge_and_a_judge_is_not_judged() {
    world(async |world| {
        // The judge has the same guardrails, and judges itself: no call of a judge is guarded.
        let rules = json!({"input": {"llm_judge": {"model": "judge", "prompt": "Flag what rhymes.", "behaviour": "NONE"}}});
        set(world, Settings::default(), rules.clone());
        world.chat("judge", &[says("{\"flagged\": true, \"categories\": [\"rhyme\"]}")]);
        world.chat("e", &[Entity::new("openai", "m")]);
        let got = world.post(&invocations("e"), &asked("cat hat", false)).await;
        assert_eq!((got.status, world.ledger.requests().len()), (200, 2), "{got:?}");
        let guards = world.records.last().guards;
        assert_eq!((guards[0].guard, guards[0].outcome), (GuardKind::Judge, GuardOutcome::Detected));
        assert_eq!(guards[0].details, ["rhyme"]);
    })
    .await;
}

#[tokio::test]
async fn a_judge_s_own_words_are_told_to_nobody_who_asks_another() {
    world(async |world| {
        let rules = |behaviour: &str| json!({"input": {"llm_judge": {"model": "judge", "prompt": "p", "behaviour": behaviour}}});
        world.chat("judge", &[says("{\"flagged\": true, \"categories\": [\"hate\", \"the password is swordfish\"]}")]);
        set(world, Settings::default(), rules("BLOCK"));
        world.chat("e", &[Entity::new("openai", "m")]);
        for path in ["/ai-gateway/mlflow/v1/chat/completions", "/serving-endpoints/e/invocations"] {
            let mut body = asked("hello", false);
            body["model"] = "e".into();
            let got = world.post(path, &body).await;
            assert!(!got.text.contains("swordfish"), "{got:?}");
            if got.status == 200 {
                assert_eq!(got.json()["databricks_service_policy"]["reason"], "flagged: hate");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn all_of_the_user_s_last_message_has_a_topic() {
    world(async |world| {
        let settings = judge(world, Protocol::Json);
        world.chat("judge", &[says("{\"flagged\": false}")]);
        set(world, settings, json!({"input": {"valid_topics": ["cats"]}}));
        world.chat("e", &[Entity::new("openai", "m")]);
        let parts = json!([{"type": "text", "text": "about dogs"}, {"type": "text", "text": "and cats"}]);
        let body = json!({"messages": [{"role": "user", "content": "hi"}, {"role": "user", "content": parts}], "stop": "x"});
        assert_eq!(world.post(&invocations("e"), &body).await.status, 200);
        let judged = &world.ledger.requests()[0].body["messages"][1]["content"];
        assert_eq!(judged, "<text>\nabout dogs\nand cats\n</text>");
    })
    .await;
}

#[tokio::test]
async fn what_only_records_lets_through_what_it_cannot_judge() {
    world(async |world| {
        world.chat("judge", &[Entity::new("openai", "judge;status=500")]);
        set(
            world,
            Settings::default(),
            json!({"input": {"llm_judge": {"model": "judge", "behaviour": "NONE"}}}),
        );
        world.chat("e", &[Entity::new("openai", "m")]);
        assert_eq!(world.post(&invocations("e"), &asked("hello", false)).await.status, 200);
        assert_eq!(world.records.last().guards[0].outcome, GuardOutcome::FailedOpen);
        let uri = "http://127.0.0.1:1/analyze".parse().unwrap();
        let presidio = Some(Presidio { uri, language: "en".into(), least_score: 50 });
        set(
            world,
            Settings { presidio, ..Settings::default() },
            json!({"input": {"pii": {"behavior": "NONE"}}}),
        );
        world.chat("e", &[Entity::new("openai", "m")]);
        assert_eq!(world.post(&invocations("e"), &asked("hello", false)).await.status, 200);
        assert_eq!(world.records.last().guards.last().unwrap().outcome, GuardOutcome::FailedOpen);
    })
    .await;
}

/// What is judged of a stream of these events.
async fn judged_of(world: &World, path: &str, events: &[Value]) -> String {
    let settings = judge(world, Protocol::LlamaGuard);
    world.chat("judge", &[says("safe")]);
    set(world, settings, json!({"output": {"safety": true}}));
    let events: Vec<String> = events
        .iter()
        .map(|event| match event["type"].as_str() {
            Some(kind) => format!("event: {kind}\ndata: {event}\n\n"),
            None => format!("data: {event}\n\n"),
        })
        .collect();
    let raw = Raw::start(world, Play::stream(&events)).await;
    let provider = if path.contains("gemini") { "google" } else { "openai" };
    world.chat("e", &[Entity::new(provider, "m").at(raw.url.clone())]);
    let body =
        json!({"model": "e", "stream": true, "input": "hi", "contents": [{"parts": [{"text": "hi"}]}]});
    let got = world.post(path, &body).await;
    assert_eq!(got.status, 200, "{got:?}");
    let requests = world.ledger.requests();
    let asked = requests.last().unwrap_or_else(|| panic!("{got:?}"));
    asked.body["messages"][1]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_a_stream_says_whole_is_judged_too_and_once() {
    world(async |world| {
        let call = json!({"candidates": [{"content": {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"q": "bad"}}}]}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}});
        let path = "/ai-gateway/gemini/v1beta/models/e:streamGenerateContent?alt=sse";
        assert_eq!(judged_of(world, path, &[call]).await, "{\"q\":\"bad\"}");
        let item = json!({"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "bad"}});
        let response = |status: &str, output: Value| json!({"id": "resp_1", "object": "response", "status": status, "model": "m", "output": output,
            "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}});
        let events = [
            json!({"type": "response.created", "sequence_number": 0, "response": response("in_progress", json!([]))}),
            json!({"type": "response.output_item.done", "sequence_number": 1, "output_index": 0, "item": item}),
            json!({"type": "response.completed", "sequence_number": 2, "response": response("completed", json!([item]))}),
        ];
        assert_eq!(judged_of(world, "/ai-gateway/openai/v1/responses", &events).await, "bad");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_judged_is_blocked_unless_told_otherwise() {
    world(async |world| {
        for broken in ["judge;status=500", "judge;answer=perhaps", "judge;hang=headers", "nobody"] {
            for allow in [false, true] {
                let settings = Settings {
                    timeout: Duration::from_millis(300),
                    allow_on_failure: allow,
                    ..judge(world, Protocol::LlamaGuard)
                };
                world.chat("judge", &[Entity::new("openai", broken)]);
                let settings =
                    if broken == "nobody" { Settings { judge: None, ..settings } } else { settings };
                set(world, settings, json!({"input": {"safety": true}}));
                world.chat("e", &[Entity::new("openai", "m")]);
                let got = world.post(&invocations("e"), &asked("hello", false)).await;
                assert_eq!(got.status, if allow { 200 } else { 400 }, "{broken}: {got:?}");
                let guards = world.records.last().guards;
                let outcome = if allow { GuardOutcome::FailedOpen } else { GuardOutcome::FailedClosed };
                assert_eq!(
                    (guards[0].outcome, guards[0].details.len()),
                    (outcome, 1),
                    "{broken}: {guards:?}"
                );
            }
        }
    })
    .await;
}

/// The calls of the endpoint `judge` on record, and the last call of `e`.
fn recorded(world: &World) -> (Vec<(Admission, Settlement)>, (Admission, Settlement)) {
    let (judges, mut asked): (Vec<_>, Vec<_>) =
        world.records.settled().into_iter().partition(|(admission, _)| &*admission.endpoint == "judge");
    (judges, asked.pop().expect("the call is not on record"))
}

#[tokio::test]
async fn what_a_judge_uses_is_on_record_as_a_call_of_whom_it_judges() {
    for stream in [false, true] {
        world(async |world| {
            *world.accounting.lock() =
                Accounting { usage_tracking: true, payload_table: Some("c.s.e_payload".into()) };
            let settings = judge(world, Protocol::LlamaGuard);
            world.chat("judge", &[says("safe").priced(json!({"input": 1, "output": 1}))]);
            set(world, settings, json!({"input": {"safety": true}, "output": {"safety": true}}));
            world.chat("e", &[Entity::new("openai", "m;answer=fine;chunks=2")]);
            let mut body = asked("hello", stream);
            body["usage_context"] = json!({"team": "a"});
            body["client_request_id"] = "mine".into();
            assert_eq!(world.post(&invocations("e"), &body).await.status, 200);
            let (judges, (call, settled)) = recorded(world);
            assert_eq!((judges.len(), call.client_request_id.as_deref()), (2, Some("mine")));
            for ((admission, judged), verdict) in judges.iter().zip(&settled.guards) {
                assert_eq!(
                    (&admission.requester, &admission.usage_context),
                    (&call.requester, &call.usage_context)
                );
                assert_eq!((&admission.path, admission.stream), (&call.path, false));
                assert_eq!(admission.made_for.as_ref(), Some(&call.request_id));
                assert_eq!(admission.client_request_id.as_deref(), Some(&*call.request_id.0));
                assert_ne!(admission.request_id, call.request_id);
                assert_eq!((judged.outcome, judged.status, judged.bytes_out), (Outcome::Completed, 200, 0));
                assert_eq!((judged.entity.as_deref(), judged.attempts.len()), (Some("one"), 1));
                assert!(judged.payload.is_none() && settled.payload.is_some());
                let usage = judged.usage.as_ref().unwrap();
                assert_eq!(
                    (usage.provenance, usage.usage.total_tokens),
                    (Provenance::Provider, verdict.tokens)
                );
                assert_eq!(judged.output_characters, Some(4));
                // A dollar a million is a thousand billionths a token.
                let cost = judged.cost.as_ref().map(|cost| cost.nano_usd);
                assert_eq!((cost, settled.cost.is_none()), (Some(verdict.tokens * 1000), true));
                assert!(verdict.tokens > 0 && admission.input_characters > Some(0));
            }
            // What the call itself used is its own alone.
            set(world, Settings::default(), Value::Null);
            world.chat("e", &[Entity::new("openai", "m;answer=fine;chunks=2")]);
            assert_eq!(world.post(&invocations("e"), &asked("hello", stream)).await.status, 200);
            assert_eq!(world.records.last().usage, settled.usage);
        })
        .await;
    }
}

#[tokio::test]
async fn a_judge_that_gives_no_verdict_is_on_record_as_it_ended() {
    world(async |world| {
        for (script, outcome, status, tokens) in [
            ("judge;status=500", Outcome::Failed, 500, None),
            // It is left when it is late, and has had the text.
            ("judge;hang=headers", Outcome::Cancelled, 499, Some(2)),
            ("judge;answer=perhaps", Outcome::Completed, 200, Some(4)),
        ] {
            let settings =
                Settings { timeout: Duration::from_millis(300), ..judge(world, Protocol::LlamaGuard) };
            world.chat("judge", &[Entity::new("openai", script)]);
            set(world, settings, json!({"input": {"safety": true}}));
            world.chat("e", &[Entity::new("openai", "m")]);
            assert_eq!(world.post(&invocations("e"), &asked("hello", false)).await.status, 400, "{script}");
            let (admission, judged) = recorded(world).0.pop().unwrap();
            assert_eq!((judged.outcome, judged.status), (outcome, status), "{script}");
            assert_eq!(judged.usage.map(|usage| usage.usage.total_tokens), tokens, "{script}");
            assert_eq!(admission.made_for, Some(recorded(world).1.0.request_id), "{script}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_judge_without_room_on_record_is_not_asked() {
    world(async |world| {
        let settings = judge(world, Protocol::LlamaGuard);
        world.chat("judge", &[says("safe")]);
        set(world, settings, json!({"output": {"safety": true}}));
        world.chat("e", &[Entity::new("openai", "m;latency_ms=200")]);
        let (path, body) = (invocations("e"), asked("hello", false));
        let asking = world.post(&path, &body);
        let filling = async {
            world.upstream(State::Open, Duration::from_secs(5)).await;
            world.records.is_full.store(true, Ordering::Relaxed);
        };
        let (got, ()) = tokio::join!(asking, filling);
        assert_eq!((got.status, world.ledger.requests().len()), (400, 1), "{got:?}");
        let guards = world.records.only().guards;
        assert_eq!(guards[0].outcome, GuardOutcome::FailedClosed);
        assert!(guards[0].details[0].contains("journal is full"), "{guards:?}");
    })
    .await;
}

/// Answers every call with `body`.
async fn service(world: &World, body: Value) -> Raw {
    Raw::start(world, Play::whole("200 OK", "content-type: application/json\r\n", &body.to_string())).await
}

#[tokio::test]
async fn a_moderation_api_judges_safety() {
    world(async |world| {
        let api = service(world, json!({"id": "m", "results": [{"flagged": true, "categories": {"hate": true, "violence": false}}]})).await;
        let uri = format!("{}/v1/moderations", api.url).parse().unwrap();
        let moderation = Some(Moderation { uri, model: Some("mod-1".into()), token: Some("sk-mod".to_owned().into()) });
        set(world, Settings { moderation, ..Settings::default() }, json!({"input": {"safety": true}}));
        world.chat("e", &[Entity::new("openai", "m")]);
        let got = world.post(&invocations("e"), &asked("hello", false)).await;
        let message: Value = serde_json::from_str(&got.error().1).unwrap();
        assert_eq!(message["input_guardrail"][0]["categories"]["hate"], true, "{message}");
        assert_eq!(api.bodies(), [json!({"input": "hello", "model": "mod-1"})]);
    })
    .await;
}

#[tokio::test]
async fn a_presidio_analyser_finds_more() {
    world(async |world| {
        let found = json!([{"entity_type": "PERSON", "start": 5, "end": 9, "score": 0.85}, {"entity_type": "DATE_TIME", "start": 0, "end": 4, "score": 0.2}]);
        let api = service(world, found).await;
        let uri = format!("{}/analyze", api.url).parse().unwrap();
        let presidio = Some(Presidio { uri, language: "en".into(), least_score: 50 });
        set(world, Settings { presidio, ..Settings::default() }, json!({"input": {"pii": {"behavior": "MASK"}}}));
        world.chat("e", &[Entity::new("openai", "m")]);
        let got = world.post(&invocations("e"), &asked("I am Jörg.", false)).await;
        assert_eq!(got.status, 200, "{got:?}");
        let sent = world.ledger.requests().pop().unwrap().body["messages"][0]["content"].clone();
        assert_eq!(sent, "I am <PERSON>.");
        let guards = world.records.last().guards;
        assert_eq!((guards[0].phase, guards[0].outcome, guards[0].details.as_slice()), (GuardPhase::Input, GuardOutcome::Masked, &["PERSON".to_owned()][..]));
    })
    .await;
}

const SAID: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const COUNTED: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":31,\"completion_tokens\":7,\"total_tokens\":38}}\n\n";

/// Guarded by a judge that finds everything safe, of an upstream that plays `pieces`.
async fn judged_stream(world: &World, pieces: &[&str], answer: &str) -> (Outcome, Provenance, u64) {
    let settings = judge(world, Protocol::LlamaGuard);
    world.chat("judge", &[says(answer)]);
    set(world, settings, json!({"output": {"safety": true}}));
    let raw = Raw::start(world, Play::stream(pieces).pause(Duration::from_millis(20))).await;
    world.chat("e", &[Entity::new("custom", "m").at(&raw.url)]);
    let got = world.post(&invocations("e"), &asked("hello", true)).await;
    assert_eq!(got.status, 200, "{got:?}");
    let settled = world.records.last();
    let counted = settled.usage.unwrap();
    (settled.outcome, counted.provenance, counted.usage.total_tokens)
}

#[tokio::test]
async fn a_judged_stream_is_charged_what_its_last_read_says() {
    world(async |world| {
        let end = format!("{COUNTED}data: [DONE]\n\n");
        let whole = [SAID, &end];
        let safe = judged_stream(world, &whole, "safe").await;
        assert_eq!(safe, (Outcome::Completed, Provenance::Provider, 38));
        let blocked = judged_stream(world, &whole, "unsafe").await;
        assert_eq!(blocked, (Outcome::Refused, Provenance::Provider, 38));
        // What came in the read that ended it badly was used as well.
        let broken = format!("{SAID}{SAID}data: {{\n\n");
        let (outcome, provenance, tokens) = judged_stream(world, &[SAID, &broken], "safe").await;
        assert_eq!((outcome, provenance), (Outcome::Failed, Provenance::Estimated));
        // Five characters of the prompt and six of the answer are two tokens each.
        assert_eq!(tokens, 4);
    })
    .await;
}

/// More than is collected: nobody holds up or ends what is only recorded.
#[tokio::test]
async fn a_stream_too_long_to_be_judged_goes_on_where_judging_only_records() {
    world(async |world| {
        judge(world, Protocol::Json);
        world.chat("judge", &[says("{\"flagged\": true}")]);
        let none = json!({"llm_judge": {"model": "judge", "prompt": "p", "behaviour": "NONE"}});
        set(world, Settings::default(), json!({"output": none}));
        let said = SAID.replace("hi", &"x".repeat(14 << 20));
        let pieces = [&said, &said, &said, &said, &said, "data: [DONE]\n\n"];
        let raw = Raw::start(world, Play::stream(&pieces)).await;
        world.chat("e", &[Entity::new("custom", "m").at(&raw.url)]);
        let got = world.post(&invocations("e"), &asked("hello", true)).await;
        assert_eq!((got.status, got.is_done()), (200, true));
        assert_eq!(got.text.matches("xx").count(), 5 * (7 << 20));
        let settled = world.records.last();
        assert_eq!((settled.outcome, settled.guards.len()), (Outcome::Completed, 1), "{:?}", settled.guards);
        assert_eq!(
            (settled.guards[0].guard, settled.guards[0].outcome),
            (GuardKind::Judge, GuardOutcome::FailedOpen)
        );
    })
    .await;
}

#[tokio::test]
async fn a_kept_response_that_is_judged_again_uses_nothing_again() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "gpt-x")]);
        let body = json!({"model": "e", "input": "hi", "background": true});
        let made = world.post("/openai/v1/responses", &body).await.json();
        let settings = judge(world, Protocol::LlamaGuard);
        world.chat("judge", &[says("safe")]);
        set(world, settings, json!({"output": {"safety": true}}));
        world.chat("e", &[Entity::new("openai", "gpt-x")]);
        let path = format!("/openai/v1/responses/{}?stream=true", made["id"].as_str().unwrap());
        let got = crate::stored::get(world, &path).await;
        assert!(got.status == 200 && got.text.contains("response.completed"), "{got:?}");
        let settled = world.records.last();
        assert_eq!((settled.outcome, settled.usage), (Outcome::Completed, None));
    })
    .await;
}

#[tokio::test]
async fn an_entity_that_fails_is_left_alone_by_who_judges_too() {
    world(async |world| {
        let settings = judge(world, Protocol::LlamaGuard);
        let busy = Entity::new("openai", "busy;status=429").named("a", 100);
        world.endpoint("judge", CHAT, true, &[busy, says("safe").named("b", 0)]);
        set(world, settings, json!({"input": {"safety": true}}));
        world.chat("e", &[Entity::new("openai", "m")]);
        let first = async |model: &str| {
            assert_eq!(world.post(&invocations("e"), &asked("hello", false)).await.status, 200);
            let asked = world.ledger.requests();
            asked
                .iter()
                .filter(|one| one.model.as_deref().is_some_and(|name| name.starts_with(model)))
                .count()
        };
        assert_eq!([first("busy").await, first("busy").await], [1, 1]);
        ready(world, "judge", 0).await;
        assert_eq!(first("busy").await, 2, "it is probed");
    })
    .await;
}
