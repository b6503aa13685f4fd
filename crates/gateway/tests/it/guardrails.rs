//! Guardrails: one verdict on every surface, streamed or not, for every role, before any upstream is called
//! and before the client sees anything.

use std::time::Duration;

use journal::{GuardKind, GuardOutcome, GuardPhase, Outcome};
use serde_json::{Value, json};

use crate::client::{Got, invocations};
use crate::raw::{Play, Raw};
use crate::world::{CHAT, COMPLETIONS, EMBEDDINGS, Entity, TOKEN, World, world};

const MAIL: &str = "bob@example.com";
const MASKED: &str = "<EMAIL_ADDRESS>";

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    System,
    User,
    Assistant,
    Arguments,
    Result,
}

const ROLES: [Role; 5] = [Role::System, Role::User, Role::Assistant, Role::Arguments, Role::Result];

/// A surface: its path, whether it is of the AI Gateway, and a request in which `role` says `text`.
struct Surface {
    path: &'static str,
    task: &'static str,
    body: fn(Role, &str) -> Option<Value>,
}

const SURFACES: [Surface; 10] = [
    Surface { path: "/serving-endpoints/e/invocations", task: CHAT, body: chat },
    Surface { path: "/ai-gateway/mlflow/v1/chat/completions", task: CHAT, body: chat },
    Surface { path: "/ai-gateway/openai/v1/chat/completions", task: CHAT, body: chat },
    Surface { path: "/serving-endpoints/completions", task: COMPLETIONS, body: completions },
    Surface { path: "/serving-endpoints/embeddings", task: EMBEDDINGS, body: embeddings },
    Surface { path: "/ai-gateway/anthropic/v1/messages", task: CHAT, body: messages },
    Surface { path: "/serving-endpoints/anthropic/v1/messages", task: CHAT, body: messages },
    Surface { path: "/ai-gateway/codex/v1/responses", task: CHAT, body: responses },
    Surface { path: "/ai-gateway/gemini/v1beta/models/e:generateContent", task: CHAT, body: contents },
    Surface { path: "/ai-gateway/model/e/converse", task: CHAT, body: turns },
];

/// `more` after `first`.
fn said(first: Value, more: Vec<Value>) -> Vec<Value> {
    std::iter::once(first).chain(more).collect()
}

fn chat(role: Role, text: &str) -> Option<Value> {
    let user = json!({"role": "user", "content": if role == Role::User { text } else { "hello" }});
    let call = |arguments: Value| json!({"role": "assistant", "content": null, "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": arguments.to_string()}}]});
    let result = |text: &str| json!({"role": "tool", "tool_call_id": "t", "content": text});
    let more = match role {
        Role::System => {
            return Some(json!({"model": "e", "messages": [{"role": "system", "content": text}, user]}));
        }
        Role::User => vec![],
        Role::Assistant => vec![
            json!({"role": "assistant", "content": [{"type": "text", "text": text}]}),
            json!({"role": "user", "content": "go on"}),
        ],
        Role::Arguments => vec![call(json!({ "q": text })), result("ok")],
        Role::Result => vec![call(json!({})), result(text)],
    };
    Some(json!({"model": "e", "messages": said(user, more)}))
}

fn completions(role: Role, text: &str) -> Option<Value> {
    (role == Role::User).then(|| json!({"model": "e", "prompt": text}))
}

fn embeddings(role: Role, text: &str) -> Option<Value> {
    (role == Role::User).then(|| json!({"model": "e", "input": ["hello", text]}))
}

fn messages(role: Role, text: &str) -> Option<Value> {
    let user = json!({"role": "user", "content": if role == Role::User { text } else { "hello" }});
    let call = |input: Value| json!({"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": input}]});
    let result = |text: &str| json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": text}]}]});
    let (system, more) = match role {
        Role::System => (json!([{"type": "text", "text": text}]), vec![]),
        Role::User => (json!("be brief"), vec![]),
        Role::Assistant => (
            json!("be brief"),
            vec![json!({"role": "assistant", "content": text}), json!({"role": "user", "content": "go on"})],
        ),
        Role::Arguments => (json!("be brief"), vec![call(json!({ "q": text })), result("ok")]),
        Role::Result => (json!("be brief"), vec![call(json!({})), result(text)]),
    };
    Some(json!({"model": "e", "max_tokens": 50, "system": system, "messages": said(user, more)}))
}

fn responses(role: Role, text: &str) -> Option<Value> {
    let user = json!({"role": "user", "content": [{"type": "input_text", "text": if role == Role::User { text } else { "hello" }}]});
    let call = |arguments: Value| json!({"type": "function_call", "call_id": "t", "name": "f", "arguments": arguments.to_string()});
    let result = |text: &str| json!({"type": "function_call_output", "call_id": "t", "output": text});
    let more = match role {
        Role::System => return Some(json!({"model": "e", "instructions": text, "input": [user]})),
        Role::User => vec![],
        Role::Assistant => vec![
            json!({"role": "assistant", "content": [{"type": "output_text", "text": text}]}),
            json!({"role": "user", "content": "go on"}),
        ],
        Role::Arguments => vec![call(json!({ "q": text })), result("ok")],
        Role::Result => vec![call(json!({})), result(text)],
    };
    Some(json!({"model": "e", "input": said(user, more)}))
}

fn contents(role: Role, text: &str) -> Option<Value> {
    let user = json!({"role": "user", "parts": [{"text": if role == Role::User { text } else { "hello" }}]});
    let call =
        |args: Value| json!({"role": "model", "parts": [{"functionCall": {"name": "f", "args": args}}]});
    let result = |text: &str| json!({"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": text}}}]});
    let more = match role {
        Role::System => {
            return Some(json!({"systemInstruction": {"parts": [{"text": text}]}, "contents": [user]}));
        }
        Role::User => vec![],
        Role::Assistant => vec![
            json!({"role": "model", "parts": [{"text": text}]}),
            json!({"role": "user", "parts": [{"text": "go on"}]}),
        ],
        Role::Arguments => vec![call(json!({ "q": text })), result("ok")],
        Role::Result => vec![call(json!({})), result(text)],
    };
    Some(json!({"contents": said(user, more)}))
}

fn turns(role: Role, text: &str) -> Option<Value> {
    let turn = |role: &str, block: Value| json!({"role": role, "content": [block]});
    let user = turn("user", json!({"text": if role == Role::User { text } else { "hello" }}));
    let call =
        |input: Value| turn("assistant", json!({"toolUse": {"toolUseId": "t", "name": "f", "input": input}}));
    let result =
        |content: Value| turn("user", json!({"toolResult": {"toolUseId": "t", "content": [content]}}));
    let more = match role {
        Role::System => return Some(json!({"system": [{"text": text}], "messages": [user]})),
        Role::User => vec![],
        Role::Assistant => {
            vec![turn("assistant", json!({"text": text})), turn("user", json!({"text": "go on"}))]
        }
        Role::Arguments => vec![call(json!({ "q": text })), result(json!({"text": "ok"}))],
        Role::Result => vec![call(json!({})), result(json!({"json": {"said": text}}))],
    };
    let tool = json!({"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}});
    Some(json!({"messages": said(user, more), "toolConfig": {"tools": [tool]}}))
}

impl Surface {
    fn is_serving(&self) -> bool {
        self.path.starts_with("/serving-endpoints/")
    }

    async fn ask(&self, world: &World, mut body: Value, stream: bool) -> Got {
        if self.path.contains(":generateContent") {
            let path = if stream {
                self.path.replace(":generateContent", ":streamGenerateContent?alt=sse")
            } else {
                self.path.to_owned()
            };
            return world.post(&path, &body).await;
        }
        if stream && self.path.ends_with("/converse") {
            return self.frames(world, &body).await;
        }
        if stream {
            body["stream"] = true.into();
        }
        world.post(self.path, &body).await
    }

    /// Frames as if they were events.
    async fn frames(&self, world: &World, body: &Value) -> Got {
        let got = crate::converse::stream(world, self.path, body).await;
        let text = if got.status == 200 {
            got.events().iter().map(|(name, said)| format!("event: {name}\ndata: {said}\n\n")).collect()
        } else {
            String::from_utf8_lossy(&got.bytes).into_owned()
        };
        let (broke, waited, took) = (false, Duration::ZERO, Duration::ZERO);
        Got { status: got.status, headers: got.headers, text, broke, waited, took }
    }

    fn streams(&self) -> &'static [bool] {
        if self.task == EMBEDDINGS { &[false] } else { &[false, true] }
    }
}

/// Those whose format each surface may meet; what serves only chat is left out elsewhere.
fn providers(surface: &Surface) -> &'static [&'static str] {
    match surface.task {
        CHAT if surface.path.ends_with("/converse") => &["openai", "anthropic", "google", "amazon-bedrock"],
        CHAT => &["openai", "anthropic", "google"],
        _ => &["openai"],
    }
}

fn guard(world: &World, guardrails: Value) {
    *world.guardrails.lock() = guardrails;
}

fn is_filtered(got: &Got) -> bool {
    ["\"content_filter\"", "\"content_filtered\"", "\"refusal\"", "\"SAFETY\"", "\"SPII\"", "\"BLOCKLIST\""]
        .iter()
        .any(|reason| got.text.contains(reason))
}

/// What is told; a response repeats the instructions of its request, which are the caller's own.
fn without_instructions(got: &Got) -> String {
    let mut body: Value = serde_json::from_str(&got.text).unwrap_or_else(|_| got.text.as_str().into());
    if let Some(body) = body.as_object_mut() {
        body.remove("instructions");
    }
    let told = body.to_string();
    told.replace(&format!(r#"\"instructions\":\"write to {MAIL}\""#), "")
}

/// The verdict on something that only one guard of a phase may have given.
fn verdict(world: &World, guard: GuardKind, phase: GuardPhase) -> GuardOutcome {
    let settlement = world.records.last();
    let of: Vec<_> = settlement.guards.iter().filter(|v| v.guard == guard && v.phase == phase).collect();
    assert_eq!(of.len(), 1, "{:?}", settlement.guards);
    of[0].outcome
}

#[tokio::test]
async fn what_is_asked_is_blocked_on_every_surface_whoever_says_it() {
    world(async |world| {
        guard(world, json!({"input": {"pii": {"behavior": "BLOCK"}}}));
        for surface in SURFACES {
            for provider in providers(&surface) {
                world.endpoint("e", surface.task, false, &[Entity::new(provider, "m")]);
                for (role, stream) in ROLES
                    .into_iter()
                    .flat_map(|role| surface.streams().iter().map(move |stream| (role, *stream)))
                {
                    let Some(body) = (surface.body)(role, &format!("write to {MAIL}")) else { continue };
                    let case = format!("{} {provider} {role:?} stream={stream}", surface.path);
                    let before = world.ledger.requests().len();
                    let got = surface.ask(world, body, stream).await;
                    assert_eq!(world.ledger.requests().len(), before, "{case}: the upstream was called");
                    let by_answer = !surface.is_serving() && surface.task == CHAT;
                    assert_eq!(got.status, if by_answer { 200 } else { 400 }, "{case}: {got:?}");
                    if by_answer {
                        assert!(
                            is_filtered(&got)
                                && got.text.contains("databricks_service_policy")
                                && !without_instructions(&got).contains(MAIL),
                            "{case}: {got:?}"
                        );
                    } else {
                        let (code, message) = got.error();
                        let message: Value = serde_json::from_str(&message).unwrap();
                        assert_eq!(
                            (code.as_str(), &message["finishReason"]),
                            ("BAD_REQUEST", &json!("input_guardrail_triggered")),
                            "{case}"
                        );
                        assert_eq!(message["input_guardrail"][0]["pii_detection"], true, "{case}");
                        let told = message.to_string();
                        assert!(told.contains(MASKED) && !told.contains(MAIL), "{case}: {told}");
                    }
                    assert_eq!(
                        verdict(world, GuardKind::Pii, GuardPhase::Input),
                        GuardOutcome::Blocked,
                        "{case}"
                    );
                    let settlement = world.records.last();
                    assert_eq!(
                        (settlement.outcome, settlement.status),
                        (Outcome::Refused, got.status),
                        "{case}"
                    );
                    assert!(
                        settlement.usage.is_none() && settlement.attempts.is_empty(),
                        "{case}: {settlement:?}"
                    );
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_asked_is_masked_on_every_surface_whoever_says_it() {
    world(async |world| {
        guard(world, json!({"input": {"pii": {"behavior": "MASK"}}}));
        for surface in SURFACES {
            for provider in providers(&surface) {
                world.endpoint("e", surface.task, false, &[Entity::new(provider, "m")]);
                for (role, stream) in ROLES
                    .into_iter()
                    .flat_map(|role| surface.streams().iter().map(move |stream| (role, *stream)))
                {
                    let Some(body) = (surface.body)(role, &format!("write to {MAIL} \"now\"")) else {
                        continue;
                    };
                    let case = format!("{} {provider} {role:?} stream={stream}", surface.path);
                    let got = surface.ask(world, body, stream).await;
                    assert_eq!(got.status, 200, "{case}: {got:?}");
                    let asked = world.ledger.requests().pop().unwrap().body.to_string();
                    assert!(asked.contains(MASKED) && !asked.contains(MAIL), "{case}: {asked}");
                    assert_eq!(
                        verdict(world, GuardKind::Pii, GuardPhase::Input),
                        GuardOutcome::Masked,
                        "{case}"
                    );
                }
            }
        }
    })
    .await;
}

/// What a model says on its way out, cut into `chunks` pieces.
fn saying(text: &str, chunks: usize) -> String {
    let encoded: String = text.bytes().map(|b| format!("%{b:02x}")).collect();
    format!("m;answer={encoded};chunks={chunks}")
}

#[tokio::test]
async fn what_is_answered_is_masked_on_every_surface_however_it_is_cut() {
    world(async |world| {
        guard(world, json!({"output": {"pii": {"behavior": "MASK"}}}));
        let said = format!(
            "{} Write to {MAIL}, or call 212-555-0147. {}",
            "It was a bright cold day. ".repeat(20),
            "And so on. ".repeat(60)
        );
        let expected = said.replace(MAIL, MASKED).replace("212-555-0147", "<PHONE_NUMBER>");
        for surface in SURFACES.iter().filter(|surface| surface.task != EMBEDDINGS) {
            for provider in providers(surface) {
                let cuts = [(false, 1), (true, 1), (true, 7), (true, said.len())];
                for (stream, chunks) in
                    cuts.into_iter().filter(|(stream, _)| surface.streams().contains(stream))
                {
                    let case = format!("{} {provider} stream={stream} chunks={chunks}", surface.path);
                    world.endpoint(
                        "e",
                        surface.task,
                        false,
                        &[Entity::new(provider, &saying(&said, chunks))],
                    );
                    let got = surface.ask(world, (surface.body)(Role::User, "hello").unwrap(), stream).await;
                    assert_eq!(got.status, 200, "{case}: {got:?}");
                    assert_eq!(answered(&got, stream), expected, "{case}");
                    assert_eq!(
                        verdict(world, GuardKind::Pii, GuardPhase::Output),
                        GuardOutcome::Masked,
                        "{case}"
                    );
                    assert_eq!(world.records.last().outcome, Outcome::Completed, "{case}");
                }
            }
        }
    })
    .await;
}

/// The text of an answer of any format, of its deltas where it is streamed.
fn answered(got: &Got, stream: bool) -> String {
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
    events(got, stream).iter().map(text).collect()
}

fn events(got: &Got, stream: bool) -> Vec<Value> {
    if !stream {
        return vec![got.json()];
    }
    let data =
        got.text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn what_is_answered_is_blocked_on_every_surface_in_its_own_way() {
    world(async |world| {
        guard(world, json!({"output": {"invalid_keywords": ["Bluebird"]}}));
        let said = format!(
            "{} the blue\u{200b}bird flies {}",
            "Once upon a time. ".repeat(40),
            "The end. ".repeat(80)
        );
        for surface in SURFACES.iter().filter(|surface| surface.task != EMBEDDINGS) {
            for provider in providers(surface) {
                let cuts = [(false, 1), (true, 5), (true, 400)];
                for (stream, chunks) in
                    cuts.into_iter().filter(|(stream, _)| surface.streams().contains(stream))
                {
                    let case = format!("{} {provider} stream={stream} chunks={chunks}", surface.path);
                    world.endpoint(
                        "e",
                        surface.task,
                        false,
                        &[Entity::new(provider, &saying(&said, chunks))],
                    );
                    let got = surface.ask(world, (surface.body)(Role::User, "hello").unwrap(), stream).await;
                    let told = if got.status == 200 { answered(&got, stream) } else { got.text.clone() };
                    assert!(!told.contains("bird") && !told.contains("flies"), "{case}: {got:?}");
                    if stream || !surface.is_serving() {
                        assert!(got.status == 200 && is_filtered(&got), "{case}: {got:?}");
                    } else {
                        let (code, message) = got.error();
                        let message: Value = serde_json::from_str(&message).unwrap();
                        assert_eq!(
                            (got.status, code.as_str(), &message["finishReason"]),
                            (400, "BAD_REQUEST", &json!("output_guardrail_triggered")),
                            "{case}"
                        );
                    }
                    assert_eq!(
                        verdict(world, GuardKind::InvalidKeywords, GuardPhase::Output),
                        GuardOutcome::Blocked,
                        "{case}"
                    );
                    let settlement = world.records.last();
                    assert_eq!(
                        (settlement.outcome, settlement.status),
                        (Outcome::Refused, got.status),
                        "{case}"
                    );
                    assert!(settlement.usage.is_some(), "{case}: what the provider gave is counted");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_only_looked_for_goes_on_as_it_came_and_is_recorded() {
    world(async |world| {
        let said = format!("write to {MAIL}");
        world.chat("free", &[Entity::new("openai", &saying(&said, 9))]);
        guard(
            world,
            json!({"input": {"pii": {"behavior": "NONE"}}, "output": {"pii": {"behavior": "NONE"}}}),
        );
        world.chat("e", &[Entity::new("openai", &saying(&said, 9))]);
        let body = |stream: bool| json!({"stream": stream, "messages": [{"role": "user", "content": said}]});
        for stream in [false, true] {
            let free = world.post(&invocations("free"), &body(stream)).await;
            let sent = world.ledger.requests().pop().unwrap().body_sha256;
            assert!(world.records.last().guards.is_empty());
            let got = world.post(&invocations("e"), &body(stream)).await;
            assert_eq!(world.ledger.requests().pop().unwrap().body_sha256, sent);
            assert_eq!(got.text.len(), free.text.len(), "{got:?}");
            for phase in [GuardPhase::Input, GuardPhase::Output] {
                assert_eq!(verdict(world, GuardKind::Pii, phase), GuardOutcome::Detected);
            }
            assert_eq!(world.records.last().guards[0].details, ["EMAIL_ADDRESS"]);
        }
    })
    .await;
}

#[tokio::test]
async fn texts_that_are_clean_pass_and_every_guard_that_ran_is_recorded() {
    world(async |world| {
        guard(world, json!({"input": {"pii": {"behavior": "BLOCK"}, "invalid_keywords": ["x"]}, "output": {"pii": {"behavior": "MASK"}}}));
        for surface in SURFACES {
            world.endpoint("e", surface.task, false, &[Entity::new("openai", "m")]);
            for stream in surface.streams() {
                let got = surface.ask(world, (surface.body)(Role::User, "order 112-3456789-1234567").unwrap(), *stream).await;
                assert_eq!(got.status, 200, "{}: {got:?}", surface.path);
                let guards = world.records.last().guards;
                let expected = if surface.task == EMBEDDINGS { 2 } else { 3 };
                assert_eq!(guards.len(), expected, "{}: {guards:?}", surface.path);
                assert!(guards.iter().all(|verdict| verdict.outcome == GuardOutcome::Passed), "{guards:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn tokens_in_place_of_text_are_refused_where_they_cannot_be_guarded() {
    world(async |world| {
        world.endpoint("free", EMBEDDINGS, false, &[Entity::new("openai", "m")]);
        guard(world, json!({"input": {"pii": {"behavior": "BLOCK"}}}));
        world.endpoint("e", EMBEDDINGS, false, &[Entity::new("openai", "m")]);
        let body = json!({"input": [[1, 2, 3]]});
        assert_eq!(world.post(&invocations("free"), &body).await.status, 200);
        let got = world.post(&invocations("e"), &body).await;
        assert!(got.status == 400 && got.error().1.contains("tokens"), "{got:?}");
        // What only records refuses nothing.
        guard(world, json!({"input": {"pii": {"behavior": "NONE"}}}));
        world.endpoint("e", EMBEDDINGS, false, &[Entity::new("openai", "m")]);
        assert_eq!(world.post(&invocations("e"), &body).await.status, 200);
        let told = world.records.last().guards;
        assert_eq!((told[0].guard, told[0].outcome), (GuardKind::Pii, GuardOutcome::FailedOpen));
    })
    .await;
}

#[tokio::test]
async fn counting_is_guarded_as_asking_is() {
    world(async |world| {
        guard(world, json!({"input": {"pii": {"behavior": "BLOCK"}}}));
        world.chat("e", &[Entity::new("anthropic", "m")]);
        let body = messages(Role::User, MAIL).unwrap();
        let got = world.post("/ai-gateway/anthropic/v1/messages/count_tokens", &body).await;
        assert_eq!((got.status, world.ledger.requests().len()), (400, 0), "{got:?}");
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_breaks_off_tells_what_was_clean_and_the_error() {
    world(async |world| {
        guard(world, json!({"output": {"pii": {"behavior": "MASK"}}}));
        let model = format!("{};error_after=3", saying(&format!("hello {MAIL} and more"), 6));
        world.chat("e", &[Entity::new("openai", &model)]);
        let got = world.ask("e", true).await;
        assert!(
            got.text.contains("hello") && !got.text.contains(MAIL) && got.text.contains("\"error\""),
            "{got:?}"
        );
        assert_eq!(world.records.last().outcome, Outcome::Failed);
    })
    .await;
}

#[tokio::test]
async fn a_blocked_answer_is_handed_out_in_no_way() {
    world(async |world| {
        guard(world, json!({"output": {"pii": {"behavior": "BLOCK"}}}));
        world.chat("e", &[Entity::new("openai", &saying(&format!("the plan is secret, ask {MAIL}"), 1))]);
        let got = world.ask("e", false).await;
        let message: Value = serde_json::from_str(&got.error().1).unwrap();
        assert_eq!(message["output_guardrail"][0]["anonymized_input"], Value::Null, "{message}");
        assert!(!got.text.contains("the plan"), "{got:?}");
    })
    .await;
}

async fn get(world: &World, path: &str) -> Got {
    let request = http::Request::get(path).header("host", "g");
    let request =
        request.header("authorization", format!("Bearer {TOKEN}")).body(http_body_util::Full::default());
    world.send(request.unwrap()).await.read().await
}

#[tokio::test]
async fn kept_responses_are_guarded_as_answers_are() {
    const PATH: &str = "/ai-gateway/openai/v1/responses";
    world(async |world| {
        let entities = [Entity::new("openai", &saying(&format!("write to {MAIL}"), 3))];
        world.chat("e", &entities);
        let made = world
            .post(PATH, &json!({"model": "e", "input": format!("I am {MAIL}"), "background": true}))
            .await;
        let id = made.json()["id"].as_str().unwrap().to_owned();
        guard(world, json!({"output": {"pii": {"behavior": "MASK"}}}));
        world.chat("e", &entities);
        for path in ["", "/input_items", "?stream=true"] {
            let got = get(world, &format!("{PATH}/{id}{path}")).await;
            assert!(
                got.status == 200 && got.text.contains(MASKED) && !got.text.contains(MAIL),
                "{path}: {got:?}"
            );
        }
        for path in ["?stream=true&starting_after=3", "?stream=true&starting%5Fafter=3"] {
            let got = get(world, &format!("{PATH}/{id}{path}")).await;
            assert!(got.status == 400 && got.text.contains("starting_after"), "{path}: {got:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_no_json_in_a_guarded_stream_ends_it() {
    world(async |world| {
        guard(world, json!({"output": {"pii": {"behavior": "MASK"}}}));
        let deep = format!("{}\"{MAIL}\"{}", "[".repeat(200), "]".repeat(200));
        let said = json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "hello"});
        for hidden in [format!("{{\"delta\": {deep}}}"), format!("write to {MAIL}"), format!("\"{MAIL}\"")] {
            let raw = Raw::start(world, Play::stream(&[format!("data: {said}\n\n"), format!("data: {hidden}\n\n")])).await;
            world.chat("e", &[Entity::new("openai", "m").at(raw.url.clone())]);
            let body = json!({"model": "e", "input": "hi", "stream": true});
            let got = world.post("/ai-gateway/openai/v1/responses", &body).await;
            assert!(!got.text.contains(MAIL), "{hidden}: {got:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn whatever_else_is_asked_is_guarded_too() {
    world(async |world| {
        guard(world, json!({"input": {"pii": {"behavior": "MASK"}}}));
        world.chat("e", &[Entity::new("openai", "m")]);
        for (name, value) in [
            ("prediction", json!({"type": "content", "content": MAIL})),
            ("documents", json!([{"name": MAIL}])),
            ("chat_template", json!(MAIL)),
        ] {
            let mut body = json!({"messages": [{"role": "user", "content": "hi", "name": "bob"}]});
            body[name] = value;
            assert_eq!(world.post(&invocations("e"), &body).await.status, 200);
            let asked = world.ledger.requests().pop().unwrap().body[name].to_string();
            assert!(asked.contains(MASKED) && !asked.contains(MAIL), "{name}: {asked}");
        }
    })
    .await;
}

#[tokio::test]
async fn all_that_frames_say_is_guarded() {
    const PATH: &str = "/ai-gateway/model/e/converse";
    let frame = |name: &str, said: Value| {
        wire::eventstream::frame(&wire::sse::Event { name: name.to_owned(), data: said.to_string().into() })
            .unwrap()
            .to_vec()
    };
    let delta = |index: u64, delta: Value| {
        frame("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta, "p": "abcdefgh"}))
    };
    let stop = |index: u64| frame("contentBlockStop", json!({ "contentBlockIndex": index }));
    world(async |world| {
        guard(world, json!({"output": {"pii": {"behavior": "MASK"}}}));
        let signature = json!({"reasoningContent": {"signature": "c2ln"}});
        let frames = [
            frame("messageStart", json!({"role": "assistant"})),
            delta(0, json!({"reasoningContent": {"text": "they are bob@exa"}})),
            delta(0, json!({"reasoningContent": {"text": "mple.com, I think"}})),
            delta(0, signature.clone()),
            stop(0),
            frame(
                "contentBlockStart",
                json!({"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}),
            ),
            delta(1, json!({"toolUse": {"input": "{\"to\": \"bob@"}})),
            delta(1, json!({"toolUse": {"input": "example.com\"}"}})),
            stop(1),
            delta(2, json!({"hologram": {"of": MAIL}})),
            stop(2),
            frame(
                "messageStop",
                json!({"stopReason": "tool_use", "additionalModelResponseFields": {"x": MAIL}}),
            ),
            frame("metadata", json!({"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}})),
        ];
        let raw = Raw::start(world, Play::stream(&frames)).await;
        world.chat("e", &[Entity::new("amazon-bedrock", "m").at(raw.url.clone())]);
        let got = crate::converse::stream(world, PATH, &turns(Role::User, "hello").unwrap()).await;
        let events = got.events();
        let said = |pointer: &str| -> String {
            events.iter().filter_map(|(_, said)| said.pointer(pointer)?.as_str()).collect()
        };
        assert_eq!(said("/delta/reasoningContent/text"), format!("they are {MASKED}, I think"));
        assert_eq!(said("/delta/toolUse/input"), format!("{{\"to\": \"{MASKED}\"}}"));
        assert_eq!(
            (said("/delta/hologram/of"), said("/additionalModelResponseFields/x")),
            (MASKED.into(), MASKED.into())
        );
        assert!(events.iter().any(|(_, said)| said["delta"] == signature), "{events:?}");
        // What is held back goes on before its block ends.
        let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
        let stops = names.iter().filter(|name| **name == "contentBlockStop").count();
        assert_eq!((names[0], stops, names[names.len() - 1]), ("messageStart", 3, "metadata"), "{names:?}");
        let open = events.iter().try_fold(None, |_, (name, said)| match name.as_str() {
            "contentBlockDelta" => Ok(said["contentBlockIndex"].as_u64()),
            "contentBlockStop" => Ok(None),
            name => {
                if name.starts_with("content") || name.starts_with("me") {
                    Ok(None)
                } else {
                    Err(name.to_owned())
                }
            }
        });
        assert_eq!(open, Ok(None));
    })
    .await;
}

#[tokio::test]
async fn frames_that_cannot_be_looked_into_end_the_stream() {
    world(async |world| {
        let frame = |name: &str, said: &str| {
            let event = wire::sse::Event { name: name.to_owned(), data: said.to_owned().into() };
            wire::eventstream::frame(&event).unwrap().to_vec()
        };
        let frames = [
            frame("messageStart", r#"{"role": "assistant"}"#),
            frame("contentBlockDelta", &format!("\"{MAIL}\"")),
        ];
        for (behavior, passes) in [("MASK", false), ("NONE", true)] {
            guard(world, json!({"output": {"pii": {"behavior": behavior}}}));
            let raw = Raw::start(world, Play::stream(&frames)).await;
            world.chat("e", &[Entity::new("amazon-bedrock", "m").at(raw.url.clone())]);
            let asked = turns(Role::User, "hello").unwrap();
            let got = crate::converse::stream(world, "/ai-gateway/model/e/converse", &asked).await;
            assert_eq!(String::from_utf8_lossy(&got.bytes).contains(MAIL), passes, "{behavior}");
        }
    })
    .await;
}
