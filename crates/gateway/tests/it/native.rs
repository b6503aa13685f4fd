//! The provider's own format in and out, for formats whose address names the model.

use http::Request;
use http_body_util::Full;
use journal::{Outcome, Provenance};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::raw::{Play, Raw};
use crate::world::{CHAT, Entity, TOKEN, World, world};

const GENERATE: &str = "/gemini/v1beta/models/e:generateContent";
const STREAM: &str = "/gemini/v1beta1/models/e:streamGenerateContent";

fn said(text: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

/// What is sent upstream, as it is.
fn assert_sent(world: &World, path: &str, body: &str) {
    let sent = world.ledger.requests().pop().unwrap();
    let hash = Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(sent.path, path);
    assert_eq!(sent.body_sha256, hash, "{}", sent.body);
    let told = format!("{:?} {}", sent.headers, sent.path);
    assert!(!told.contains(TOKEN) && !told.contains("x-other"), "{told}");
}

/// The provider takes the first and, as it is strict, not the second, of which nothing is taken away.
const CONTENTS: [(&str, u16); 2] = [
    (r#"{"contents":[{"role":"user",  "parts":[{"text":"h\u00f6"}]} ]}"#, 200),
    (
        r#"{"x_new":1.50,"contents":[{"role":"user", "parts":[{"text":"hi"},{"hologram":{"a":  2e-3}}]}]}"#,
        400,
    ),
];

#[tokio::test]
async fn contents_pass_as_they_came_without_the_callers_credentials() {
    let vertex = "/v1/projects/p/locations/global/publishers/google/models";
    for (provider, prefix) in [("google", "/v1beta/models"), ("google-cloud-vertex-ai", vertex)] {
        for method in ["generateContent", "streamGenerateContent", "countTokens"] {
            for (body, status) in CONTENTS {
                world(async |world| {
                    world.chat("e", &[Entity::new(provider, "gemini-2.5-flash")]);
                    let request = Request::post(format!("/gemini/v1/models/e:{method}?key={TOKEN}&x=1"))
                        .header("host", "g")
                        .header("x-goog-api-key", TOKEN)
                        .header("x-other", "kept here")
                        .body(Full::new(body.into()))
                        .unwrap();
                    let got = world.send(request).await.read().await;
                    assert_eq!(got.status, status, "{got:?}");
                    let alt = if method == "streamGenerateContent" { "?alt=sse" } else { "" };
                    assert_sent(world, &format!("{prefix}/gemini-2.5-flash:{method}{alt}"), body);
                    let counted = world.records.only().usage;
                    assert_eq!(counted.is_some(), status == 200 && method != "countTokens");
                    assert!(counted.is_none_or(|usage| usage.provenance == Provenance::Provider));
                    if status == 400 {
                        assert_eq!(got.json()["error"]["status"], "INVALID_ARGUMENT");
                    }
                })
                .await;
            }
        }
    }
}

/// An answer in three events, as its provider sends it.
const EVENTS: [&str; 3] = [
    "data: {\"candidates\":  [{\"content\":{\"parts\":[{\"text\":\"a\",\"thoughtSignature\":\"c2ln\"}]}}],\"usageMetadata\":{\"promptTokenCount\":3}}\n\n",
    "data: {\"hologram\":[1, 2]}\n\n",
    "data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":3,\"candidatesTokenCount\":7,\"totalTokenCount\":10}}\n\n",
];

#[tokio::test]
async fn candidates_pass_whatever_is_in_them() {
    world(async |world| {
        let raw = Raw::start(world, Play::stream(&EVENTS)).await;
        world.chat("e", &[Entity::new("google", "m").at(raw.url.clone())]);
        let got = world.post(&format!("{STREAM}?alt=sse"), &said("hi")).await;
        assert_eq!(got.text, EVENTS.concat());
        let usage = world.records.only().usage.unwrap();
        assert_eq!((usage.usage.prompt_tokens, usage.usage.completion_tokens), (3, 7));
        assert_eq!(usage.provenance, Provenance::Provider);
        let whole =
            r#"{"candidates":[{"finishReason":"STOP",  "x":1.50}],"usageMetadata":{"promptTokenCount":2}}"#;
        let raw = Raw::start(world, Play::whole("200 OK", "", whole)).await;
        world.chat("e", &[Entity::new("google", "m").at(raw.url.clone())]);
        assert_eq!(world.post(GENERATE, &said("hi")).await.text, whole);
    })
    .await;
}

#[tokio::test]
async fn half_an_event_is_not_passed_on() {
    for length in [30, EVENTS[2].len() - 3] {
        world(async |world| {
            let raw = Raw::start(world, Play::stream(&[EVENTS[0], &EVENTS[2][..length]])).await;
            world.chat("e", &[Entity::new("google", "m").at(raw.url.clone())]);
            let got = world.post(&format!("{STREAM}?alt=sse"), &said("hi")).await;
            let told = got.text.strip_prefix(EVENTS[0]).unwrap();
            let told: Value = serde_json::from_str(told.strip_prefix("data: ").unwrap()).unwrap();
            assert!(told["error"]["message"].is_string(), "{got:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn without_alt_a_stream_is_one_array() {
    world(async |world| {
        let raw = Raw::start(world, Play::stream(&EVENTS)).await;
        world.chat("e", &[Entity::new("google", "m").at(raw.url.clone())]);
        let got = world.post(STREAM, &said("hi")).await;
        assert_eq!(got.headers["content-type"], "application/json");
        let elements: Vec<&str> = EVENTS.iter().map(|event| event["data: ".len()..].trim_end()).collect();
        assert_eq!(got.text, format!("[{}\n]\n", elements.join("\n,\r\n")));
        assert_eq!(world.records.only().usage.unwrap().usage.completion_tokens, 7);
    })
    .await;
    for provider in ["openai", "amazon-bedrock", "google"] {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "gpt-4o")]);
            let got = world.post(STREAM, &said("hi")).await.json();
            let texts = got
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|e| e["candidates"][0]["content"]["parts"][0]["text"].as_str());
            assert_eq!(texts.collect::<String>(), "echo: hi", "{provider}");
        })
        .await;
    }
}

#[tokio::test]
async fn an_array_that_is_cut_ends_in_an_error() {
    for tail in ["", "data: {\"error\":{\"code\":503,\"status\":\"UNAVAILABLE\",\"message\":\"busy\"}}\n\n"] {
        world(async |world| {
            let raw = Raw::start(world, Play::stream(&[EVENTS[0], tail])).await;
            world.chat("e", &[Entity::new("google", "m").at(raw.url.clone())]);
            let got = world.post(STREAM, &said("hi")).await.json();
            let last = got.as_array().unwrap().last().unwrap();
            assert!(last["error"]["message"].is_string() && last["error_code"].is_string(), "{got}");
            assert_eq!(world.records.only().outcome, Outcome::Failed);
        })
        .await;
    }
}

#[tokio::test]
async fn a_signature_that_passed_is_not_sent_to_another_format() {
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [{"text": "a", "thoughtSignature": "c2lnbmF0dXJl"}]}, {"role": "user", "parts": [{"text": "go on"}]}]});
    let messages = json!({"model": "e", "max_tokens": 2000, "messages": [{"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "c2lnbmF0dXJl"}, {"type": "text", "text": "a"}]},
        {"role": "user", "content": "go on"}]});
    for (path, body, own, others) in [
        (GENERATE, contents, "google", ["anthropic", "openai", "amazon-bedrock"]),
        ("/anthropic/v1/messages", messages, "anthropic", ["google", "openai", "amazon-bedrock"]),
    ] {
        for other in others {
            world(async |world| {
                let busy = Entity::new(own, "claude-x;status=429").named("own", 100);
                world.endpoint("e", CHAT, true, &[busy, Entity::new(other, "gpt-4o").named("other", 0)]);
                let got = world.post(path, &body).await;
                assert_eq!(
                    (got.status, &got.headers["served-model-name"]),
                    (200, &"other".parse().unwrap()),
                    "{other} {got:?}"
                );
                let sent: Vec<bool> = world
                    .ledger
                    .requests()
                    .iter()
                    .map(|r| r.body.to_string().contains("c2lnbmF0dXJl"))
                    .collect();
                assert_eq!(sent, [true, false], "{path} {other}");
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_request_in_a_request_is_for_counting_alone() {
    for provider in ["google", "openai"] {
        for inner in ["generateContentRequest", "generate_content_request"] {
            world(async |world| {
                let raw = Raw::start(world, Play::whole("200 OK", "", r#"{"totalTokens":9}"#)).await;
                world.chat("e", &[Entity::new(provider, "gemini-2.5-flash").at(raw.url.clone())]);
                let asked = json!({ inner: said("what is the length of this?") });
                let counted = world.post("/gemini/v1beta/models/e:countTokens", &asked).await;
                assert_eq!(counted.status, 200, "{provider} {inner} {counted:?}");
                assert!(counted.json()["totalTokens"].as_u64() > Some(1), "{provider} {inner} {counted:?}");
                let sent = raw.requests();
                // Who speaks the format says itself what it makes of both.
                let both = json!({ inner: said("a"), "contents": said("b")["contents"] });
                for body in std::iter::once(asked).chain((provider != "google").then_some(both)) {
                    let got = world.post(GENERATE, &body).await;
                    assert_eq!((got.status, raw.requests()), (400, sent), "{got:?}");
                }
            })
            .await;
        }
    }
}

#[tokio::test]
async fn every_line_of_a_header_that_goes_on_goes_on() {
    world(async |world| {
        world.chat("e", &[Entity::new("anthropic", "claude-x")]);
        let body = json!({"model": "e", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
        let request = Request::post("/anthropic/v1/messages")
            .header("host", "g")
            .header("x-api-key", TOKEN)
            .header("anthropic-beta", "one-2025-01-01")
            .header("anthropic-beta", "two-2025-02-02")
            .body(Full::new(body.to_string().into()))
            .unwrap();
        let got = world.send(request).await.read().await;
        assert_eq!(got.status, 200, "{got:?}");
        let sent = world.ledger.requests().pop().unwrap();
        assert_eq!(sent.headers["anthropic-beta"], "one-2025-01-01, two-2025-02-02");
    })
    .await;
}

/// The upstream says itself that its answer failed: the client reads that in its words, and so does the record.
#[tokio::test]
async fn a_response_that_failed_passes_and_is_recorded_as_failed() {
    let events = [
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{}}\n\n",
        "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\"},\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n",
    ];
    for pieces in [events.to_vec(), vec![events[0], events[1], "data: [DONE]\n\n"]] {
        world(async |world| {
            let raw = Raw::start(world, Play::stream(&pieces)).await;
            world.chat("e", &[Entity::new("openai", "m").at(raw.url.clone())]);
            let body = json!({"model": "e", "input": "hi", "stream": true});
            let got = world.post("/codex/v1/responses", &body).await;
            assert_eq!((got.status, got.text.as_str()), (200, events.concat().as_str()), "{got:?}");
            let settled = world.records.only();
            assert_eq!((settled.outcome, settled.usage.unwrap().usage.total_tokens), (Outcome::Failed, 4));
        })
        .await;
    }
}
