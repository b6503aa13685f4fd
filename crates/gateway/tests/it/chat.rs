//! Answers in good order: every provider, streamed and not, on every path.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use journal::{Outcome, Provenance};
use serde_json::{Value, json};
use simulator::State;

use crate::client::{Got, chat, invocations};
use crate::raw::{Play, Raw};
use crate::world::{CHAT, COMPLETIONS, EMBEDDINGS, Entity, PROVIDERS, world};

const TEXT: &str = "echo: höre mir zu";
/// A quarter of the 19 characters that went in and of the 17 that came out.
const USAGE: (u64, u64) = (5, 5);

fn counts(usage: &Value) -> (u64, u64) {
    let count = |key: &str| usage[key].as_u64().unwrap_or_else(|| panic!("no {key}: {usage}"));
    assert_eq!(count("total_tokens"), count("prompt_tokens") + count("completion_tokens"));
    (count("prompt_tokens"), count("completion_tokens"))
}

fn check_whole(got: &Got) {
    assert_eq!(
        (got.status, got.headers[CONTENT_TYPE].as_bytes()),
        (200, &b"application/json"[..]),
        "{got:?}"
    );
    assert_eq!(got.headers["served-model-name"], "one");
    let body = got.json();
    assert_eq!(body["object"], "chat.completion", "{body}");
    assert_eq!(body["choices"][0]["message"]["content"], TEXT);
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert!(body["created"].as_i64().unwrap() > 0 && body["id"].is_string(), "{body}");
    assert_eq!(counts(&body["usage"]), USAGE);
}

fn check_stream(got: &Got) {
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(got.headers["served-model-name"], "one");
    assert_eq!(got.headers["cache-control"], "no-cache");
    assert!(got.is_done() && !got.broke, "{got:?}");
    assert_eq!(got.data().iter().filter(|data| **data == "[DONE]").count(), 1);
    assert_eq!(got.streamed_text(), TEXT);
    let events = got.events();
    assert!(events.iter().all(|e| e["object"] == "chat.completion.chunk" && e["id"] == events[0]["id"]));
    assert!(events.iter().any(|e| e["choices"][0]["finish_reason"] == "stop"));
    assert_eq!(events.iter().filter(|e| e["usage"].is_object()).count(), 1, "{}", got.text);
    assert_eq!(counts(&got.usage()), USAGE);
}

#[tokio::test]
async fn each_provider_answers_unstreamed_and_streamed() {
    for provider in PROVIDERS {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "gpt-4o")]);
            let whole = world.ask("e", false).await;
            check_whole(&whole);
            assert_eq!(whole.json()["model"], "gpt-4o");
            check_stream(&world.ask("e", true).await);
            for settlement in world.records.settlements() {
                assert_eq!((settlement.outcome, settlement.status), (Outcome::Completed, 200));
                let usage = settlement.usage.clone().unwrap();
                assert_eq!((usage.usage.prompt_tokens, usage.usage.completion_tokens), USAGE);
                // A custom engine is asked for nothing that the caller did not ask for.
                let own =
                    provider != "custom" || !settlement.attempts.is_empty() && usage.usage.extra.is_empty();
                assert!(own && settlement.entity.as_deref() == Some("one"), "{settlement:?}");
                assert_eq!(settlement.attempts.len(), 1);
                assert_eq!(settlement.attempts[0].status, Some(200));
            }
        })
        .await;
    }
}

#[tokio::test]
async fn usage_that_the_provider_does_not_give_is_estimated() {
    for provider in PROVIDERS {
        for stream in [false, true] {
            world(async |world| {
                world.chat("e", &[Entity::new(provider, "gpt-4o;no_usage")]);
                let got = world.ask("e", stream).await;
                if stream {
                    check_stream(&got);
                }
                let usage = world.records.only().usage.unwrap();
                assert_eq!(usage.provenance, Provenance::Estimated);
                assert_eq!((usage.usage.prompt_tokens, usage.usage.completion_tokens), USAGE, "{provider}");
            })
            .await;
        }
    }
}

#[tokio::test]
async fn usage_of_the_provider_is_said_to_be_its_own() {
    for provider in ["openai", "anthropic"] {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "gpt-4o")]);
            world.ask("e", true).await;
            assert_eq!(world.records.only().usage.unwrap().provenance, Provenance::Provider);
        })
        .await;
    }
}

#[tokio::test]
async fn every_base_serves_every_task() {
    world(async |world| {
        for (name, task) in [("c", CHAT), ("p", COMPLETIONS), ("v", EMBEDDINGS)] {
            world.endpoint(name, task, false, &[Entity::new("openai", "gpt-4o")]);
        }
        for base in ["/serving-endpoints", "/ai-gateway/mlflow/v1", "/mlflow/v1"] {
            let mut body = chat(false);
            body["model"] = "c".into();
            check_whole(&world.post(&format!("{base}/chat/completions"), &body).await);
            body["stream"] = true.into();
            check_stream(&world.post(&format!("{base}/chat/completions"), &body).await);
            let prompt = json!({"model": "p", "prompt": "abc"});
            let got = world.post(&format!("{base}/completions"), &prompt).await;
            assert_eq!(
                (got.status, got.json()["object"].as_str()),
                (200, Some("text_completion")),
                "{got:?}"
            );
            let input = json!({"model": "v", "input": ["abc", "d"]});
            let got = world.post(&format!("{base}/embeddings"), &input).await;
            assert_eq!(got.json()["data"].as_array().map(Vec::len), Some(2), "{got:?}");
        }
        let base64 = json!({"input": "abc", "encoding_format": "base64"});
        let got = world.post(&invocations("v"), &base64).await;
        assert!(got.json()["data"][0]["embedding"].is_string(), "{got:?}");
    })
    .await;
}

#[tokio::test]
async fn completions_are_streamed_too() {
    world(async |world| {
        world.endpoint("p", COMPLETIONS, false, &[Entity::new("openai", "gpt-3.5;chunks=3")]);
        let got = world.post(&invocations("p"), &json!({"prompt": "abc", "stream": true})).await;
        assert!(got.is_done(), "{got:?}");
        let text: String =
            got.events().iter().filter_map(|e| e.pointer("/choices/0/text")?.as_str()).collect();
        assert_eq!(text, "tok-0 tok-1 tok-2 ");
        counts(&got.usage());
    })
    .await;
}

#[tokio::test]
async fn the_model_of_the_body_is_ignored_where_the_path_names_the_endpoint() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "gpt-4o")]);
        let mut body = chat(false);
        body["model"] = "anything".into();
        let got = world.post(&invocations("e"), &body).await;
        assert_eq!(got.json()["model"], "gpt-4o");
    })
    .await;
}

#[tokio::test]
async fn a_basic_credential_is_a_token_too() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "gpt-4o")]);
        let mut request = crate::client::post(&invocations("e"), "", chat(false).to_string());
        // base64("token:dapi-ann")
        request.headers_mut().insert("authorization", "Basic dG9rZW46ZGFwaS1hbm4=".parse().unwrap());
        request.headers_mut().remove("content-type");
        assert_eq!(world.send(request).await.read().await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn tool_calls_come_through_from_each_provider() {
    for provider in PROVIDERS {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "gpt-4o")]);
            let mut body = chat(false);
            body["tools"] = json!([{"type": "function", "function": {"name": "files.read", "parameters":
                {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}}]);
            let got = world.post(&invocations("e"), &body).await.json();
            let call = &got["choices"][0]["message"]["tool_calls"][0];
            assert_eq!(call["function"]["name"], "files.read", "{got}");
            let arguments: Value =
                serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
            assert!(arguments["path"].is_string());
            assert_eq!(got["choices"][0]["finish_reason"], "tool_calls");
            body["stream"] = true.into();
            let events = world.post(&invocations("e"), &body).await.events();
            let part = |e: &Value, pointer: &str| e.pointer(pointer)?.as_str().map(str::to_owned);
            let joined = |pointer: &str| events.iter().filter_map(|e| part(e, pointer)).collect::<String>();
            assert_eq!(joined("/choices/0/delta/tool_calls/0/function/name"), "files.read");
            let streamed = joined("/choices/0/delta/tool_calls/0/function/arguments");
            assert_eq!(serde_json::from_str::<Value>(&streamed).unwrap(), arguments);
        })
        .await;
    }
}

/// An update goes into force between two requests; one that runs keeps what it began with.
#[tokio::test]
async fn a_published_change_counts_for_the_next_request() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "old;chunks=3;chunk_ms=50")]);
        let mut running = world.ask_running("e").await;
        running.until("tok-0").await;
        world.chat("e", &[Entity::new("openai", "new")]);
        assert_eq!(world.ask("e", false).await.json()["model"], "new");
        let rest = running.read().await;
        assert!(rest.text.contains("tok-2") && rest.is_done(), "{rest:?}");
    })
    .await;
}

#[tokio::test]
async fn connections_to_the_upstream_are_reused() {
    for (provider, last) in [
        (
            "openai",
            "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        ),
        (
            "anthropic",
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"a\"}}\n\n\
            event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ),
    ] {
        world(async |world| {
            let raw = Raw::start(world, Play::stream(&[last])).await;
            world.chat("e", &[Entity::new(provider, "m").at(&raw.url)]);
            for _ in 0..50 {
                let got = world.ask("e", true).await;
                assert!(got.is_done(), "{got:?}");
            }
            assert_eq!((raw.requests(), raw.connections()), (50, 1));
        })
        .await;
    }
}

/// The settlement is there when the client has its last byte, not some time after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_settlement_comes_before_the_last_byte() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "m;chunks=5")]);
        for count in 1..=20 {
            let mut running = world.ask_running("e").await;
            running.until("[DONE]").await;
            assert_eq!(world.records.settlements().len(), 2 * count - 1);
            let settled = world.records.last();
            assert_eq!((settled.outcome, settled.bytes_out > 0), (Outcome::Completed, true));
            assert_eq!(world.ask("e", false).await.status, 200);
            assert_eq!(world.records.settlements().len(), 2 * count);
        }
    })
    .await;
}

#[tokio::test]
async fn the_records_say_who_and_what() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "m;first_token_ms=30")]);
        let mut body = chat(true);
        body["client_request_id"] = "mine-7".into();
        body["usage_context"] = json!({"team": "a"});
        let got = world.post(&invocations("e"), &body).await;
        let admission = world.records.admissions().remove(0);
        assert_eq!(
            (&*admission.endpoint, &*admission.endpoint_id, &*admission.requester),
            ("e", "id-e", "ann")
        );
        assert_eq!(admission.client_request_id.as_deref(), Some("mine-7"));
        assert_eq!(admission.usage_context.get("team").map(String::as_str), Some("a"));
        assert!(admission.stream && admission.received_at > 0);
        let settled = world.records.only();
        assert_eq!(settled.bytes_out as usize, got.text.len());
        let first = settled.first_byte_ms.unwrap();
        assert!((25.0..=settled.duration_ms).contains(&first), "{settled:?}");
        let record = world.upstream(State::Completed, Duration::from_secs(1)).await;
        assert_eq!(record.model.as_deref(), Some("m;first_token_ms=30"));
    })
    .await;
}
