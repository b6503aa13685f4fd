//! Guardrails: one verdict on every surface, streamed or not, for every role, before any upstream is called
//! and before the client sees anything.

use journal::{GuardKind, GuardOutcome, GuardPhase, Outcome};
use serde_json::{Value, json};

use crate::client::{Got, invocations};
use crate::grid::{ROLES, Role, counting, surfaces, turns};
use crate::raw::{Play, Raw};
use crate::world::{EMBEDDINGS, Entity, TOKEN, World, world};

pub(crate) const MAIL: &str = "bob@example.com";
pub(crate) const MASKED: &str = "<EMAIL_ADDRESS>";

pub(crate) fn guard(world: &World, guardrails: Value) {
    *world.guardrails.lock() = guardrails;
}

pub(crate) fn is_filtered(got: &Got) -> bool {
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
pub(crate) fn verdict(world: &World, guard: GuardKind, phase: GuardPhase) -> GuardOutcome {
    let settlement = world.records.last();
    let of: Vec<_> = settlement.guards.iter().filter(|v| v.guard == guard && v.phase == phase).collect();
    assert_eq!(of.len(), 1, "{:?}", settlement.guards);
    of[0].outcome
}

#[tokio::test]
async fn what_is_asked_is_blocked_on_every_surface_whoever_says_it() {
    world(async |world| {
        guard(world, json!({"input": {"pii": {"behavior": "BLOCK"}}}));
        for surface in surfaces() {
            for provider in surface.providers() {
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
                    let by_answer = surface.blocks_by_answer();
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
        for surface in surfaces() {
            for provider in surface.providers() {
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
pub(crate) fn saying(text: &str, chunks: usize) -> String {
    let encoded: String = text.bytes().map(|b| format!("%{b:02x}")).collect();
    format!("m;answer={encoded};chunks={chunks}")
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
        for surface in surfaces() {
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
        assert_eq!(counting().len(), 6);
        for (surface, provider) in
            counting().iter().flat_map(|row| row.providers().iter().map(move |p| (row, p)))
        {
            world.chat("e", &[Entity::new(provider, "m")]);
            for body in ROLES.into_iter().filter_map(|role| (surface.body)(role, MAIL)) {
                let got = world.post(&surface.path, &body).await;
                assert_eq!(
                    (got.status, world.ledger.requests().len()),
                    (400, 0),
                    "{}: {got:?}",
                    surface.path
                );
            }
        }
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
