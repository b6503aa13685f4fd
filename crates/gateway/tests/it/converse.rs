//! The Converse surface: what clients of AWS get, whatever the entity speaks.

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request};
use http_body_util::Full;
use journal::{Outcome, Provenance, Settlement};
use serde_json::{Value, json};
use wire::eventstream::{self, Parser};
use wire::sse::Event;

use crate::client::post;
use crate::raw::{Play, Raw};
use crate::world::{CHAT, Entity, PROVIDERS, TOKEN, VIEWER, World, world};

const PATHS: [&str; 2] = ["/ai-gateway/model/e/converse", "/model/e/converse"];

fn hi() -> Value {
    json!({"messages": [{"role": "user", "content": [{"text": "höre mir zu"}]}], "inferenceConfig": {"maxTokens": 50}})
}

fn with_tool() -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let spec = json!({"name": "get_weather", "description": "d", "inputSchema": {"json": schema}});
    let mut body = hi();
    body["toolConfig"] = json!({"tools": [{"toolSpec": spec}]});
    body
}

pub(crate) struct Streamed {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Streamed {
    pub(crate) fn events(&self) -> Vec<(String, Value)> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.bytes));
        assert_eq!(self.headers["content-type"], "application/vnd.amazon.eventstream");
        let mut parser = Parser::new(1 << 20);
        parser.push(&self.bytes);
        let mut events = Vec::new();
        while let Some(event) = parser.next_event().unwrap() {
            events.push((event.name, serde_json::from_slice(&event.data).unwrap()));
        }
        assert!(!parser.is_cut());
        events
    }
}

pub(crate) async fn stream(world: &World, path: &str, body: &Value) -> Streamed {
    let mut running = world.send(post(&format!("{path}-stream"), TOKEN, body.to_string())).await;
    let (status, headers) = (running.status, running.headers.clone());
    let mut bytes = Vec::new();
    while let Some(Ok(piece)) = running.piece().await {
        bytes.extend_from_slice(&piece);
    }
    Streamed { status, headers, bytes }
}

fn deltas<'a>(events: &'a [(String, Value)], pointer: &'a str) -> String {
    let deltas = events.iter().filter(|(name, _)| name == "contentBlockDelta");
    deltas.filter_map(|(_, event)| event["delta"].pointer(pointer)?.as_str()).collect()
}

#[tokio::test]
async fn every_provider_answers_whole_and_streamed() {
    for provider in PROVIDERS {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "command-r")]);
            for path in PATHS {
                let got = world.post(path, &hi()).await;
                assert_eq!(got.status, 200, "{provider} {got:?}");
                let body = got.json();
                assert_eq!(
                    body["output"]["message"],
                    json!({"role": "assistant", "content": [{"text": "echo: höre mir zu"}]}),
                    "{provider}"
                );
                assert_eq!(body["stopReason"], "end_turn");
                assert!(
                    body["usage"]["inputTokens"].as_u64() > Some(0)
                        && body["usage"]["outputTokens"].as_u64() > Some(0),
                    "{body}"
                );
                let streamed = stream(world, path, &hi()).await;
                let events = streamed.events();
                assert_eq!(deltas(&events, "/text"), "echo: höre mir zu", "{provider}");
                let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(names[0], "messageStart");
                assert_eq!(
                    names[names.len() - 3..],
                    ["contentBlockStop", "messageStop", "metadata"],
                    "{provider}"
                );
                let usage = &events.last().unwrap().1["usage"];
                assert_eq!(usage["outputTokens"], body["usage"]["outputTokens"], "{provider}");
            }
            let settled = world.records.settlements();
            assert!(settled.len() == 4 && settled.iter().all(|s| s.outcome == Outcome::Completed));
            // Some have a format whose streams tell no usage unless asked, and are not asked.
            let tells = !["custom", "databricks-model-serving", "ai21labs"].contains(&provider);
            let told = |s: &Settlement| s.usage.as_ref().unwrap().provenance == Provenance::Provider;
            assert!(settled.iter().all(|s| told(s) || !tells), "{provider} {settled:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn tools_are_called_and_their_results_come_back() {
    for provider in ["openai", "anthropic", "amazon-bedrock", "google", "cohere"] {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "gpt-4o")]);
            let got = world.post(PATHS[0], &with_tool()).await.json();
            assert_eq!(got["stopReason"], "tool_use", "{provider} {got}");
            let message = &got["output"]["message"];
            let blocks = message["content"].as_array().unwrap();
            let call = &blocks.iter().find(|block| block.get("toolUse").is_some()).unwrap()["toolUse"];
            assert!(call["name"] == "get_weather" && call["input"]["city"].is_string(), "{provider} {got}");
            let events = stream(world, PATHS[0], &with_tool()).await.events();
            let input: Value = serde_json::from_str(&deltas(&events, "/toolUse/input")).unwrap();
            assert_eq!(input, call["input"], "{provider}");
            let start = events.iter().find(|(name, _)| name == "contentBlockStart").unwrap();
            assert_eq!(start.1["start"]["toolUse"]["name"], "get_weather");
            let mut next = with_tool();
            let result = json!({"toolUseId": call["toolUseId"], "content": [{"text": "sunny"}]});
            next["messages"]
                .as_array_mut()
                .unwrap()
                .extend([message.clone(), json!({"role": "user", "content": [{"toolResult": result}]})]);
            let got = world.post(PATHS[0], &next).await;
            assert_eq!(
                got.json()["output"]["message"]["content"][0]["text"],
                "echo: höre mir zu",
                "{provider} {got:?}"
            );
        })
        .await;
    }
}

#[tokio::test]
async fn a_call_that_another_signed_is_only_a_call_to_bedrock() {
    world(async |world| {
        let call = r#"{"candidates":[{"finishReason":"STOP","content":{"role":"model","parts":[
            {"functionCall":{"name":"get_weather","args":{"city":"Paris"}},"thoughtSignature":"c2lnbmVk"}]}}],
            "usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":1,"totalTokenCount":4}}"#;
        let raw = Raw::start(world, Play::whole("200 OK", "", call)).await;
        world.chat("e", &[Entity::new("google", "gemini-3-pro").at(raw.url.clone())]);
        let message = world.post(PATHS[0], &with_tool()).await.json()["output"]["message"].take();
        let id = message["content"][0]["toolUse"]["toolUseId"].as_str().unwrap().to_owned();
        assert!(id.contains("__thought__"), "{id}");
        let mut next = with_tool();
        let result = json!({"toolResult": {"toolUseId": id, "content": [{"text": "sunny"}]}});
        next["messages"]
            .as_array_mut()
            .unwrap()
            .extend([message, json!({"role": "user", "content": [result]})]);
        world.chat("e", &[Entity::new("amazon-bedrock", "amazon.nova-lite-v1:0")]);
        assert_eq!(world.post(PATHS[0], &next).await.status, 200);
        let sent = world.ledger.requests().pop().unwrap().body;
        let plain = &sent["messages"][1]["content"][0]["toolUse"]["toolUseId"];
        assert!(plain.is_string() && !sent.to_string().contains("__thought__"), "{sent}");
        assert_eq!(sent["messages"][2]["content"][0]["toolResult"]["toolUseId"], *plain);
    })
    .await;
}

/// The frame of an event.
fn frame(name: &str, data: &'static str) -> Vec<u8> {
    eventstream::frame(&Event { name: name.to_owned(), data: data.into() }).unwrap().to_vec()
}

#[tokio::test]
async fn turns_pass_whatever_is_in_them_where_the_entity_speaks_the_format() {
    let sent =
        r#"{"messages":[{"role":"user",  "content":[{"text":"h\u00f6"},{"hologram":2e-3}]}],"x_new":1.50}"#;
    let whole = r#"{"output":{"message":{"role":"assistant","content":[{"hologram":1.50}]}},  "stopReason":"new","usage":{"inputTokens":3,"outputTokens":7}}"#;
    world(async |world| {
        let raw = Raw::start(world, Play::whole("200 OK", "", whole)).await;
        world.chat("e", &[Entity::new("amazon-bedrock", "amazon.nova-lite-v1:0").at(raw.url.clone())]);
        let got = world.post_text(PATHS[0], sent).await;
        assert_eq!((got.status, got.text.as_str()), (200, whole));
        assert_eq!(raw.bodies(), [serde_json::from_str::<Value>(sent).unwrap()]);
        assert_eq!(world.records.only().usage.unwrap().usage.completion_tokens, 7);
    })
    .await;
    let frames = [
        frame("messageStart", r#"{"role":"assistant","p":"ab"}"#),
        frame("hologram", r#"{"x":  1.50}"#),
        frame("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"new":1}}"#),
        frame("messageStop", r#"{"stopReason":"end_turn"}"#),
        frame("metadata", r#"{"usage":{"inputTokens":3,"outputTokens":7,"totalTokens":10}}"#),
    ];
    world(async |world| {
        let raw = Raw::start(world, Play::stream(&frames)).await;
        world.chat("e", &[Entity::new("amazon-bedrock", "m").at(raw.url.clone())]);
        let got = stream(world, PATHS[0], &hi()).await;
        assert_eq!(got.bytes, frames.concat());
        assert_eq!(world.records.only().usage.unwrap().usage.total_tokens, 10);
    })
    .await;
}

#[tokio::test]
async fn errors_are_exceptions() {
    for (provider, status, name) in [
        ("openai", 429, "ThrottlingException"),
        ("openai", 400, "ValidationException"),
        ("amazon-bedrock", 403, "AccessDeniedException"),
        ("amazon-bedrock", 429, "ThrottlingException"),
        ("anthropic", 529, "ServiceUnavailableException"),
        ("google", 500, "InternalServerException"),
    ] {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, &format!("m;status={status}"))]);
            let got = world.post(PATHS[0], &hi()).await;
            assert_eq!(
                (got.status, &got.headers["x-amzn-errortype"]),
                (status, &name.parse().unwrap()),
                "{got:?}"
            );
            assert!(got.json()["message"].as_str().unwrap().contains("scripted"), "{got:?}");
            assert_eq!(stream(world, PATHS[0], &hi()).await.status, status);
        })
        .await;
    }
}

#[tokio::test]
async fn an_error_in_a_stream_is_its_last_event() {
    for provider in ["amazon-bedrock", "openai", "anthropic"] {
        for fault in ["error_after=1", "cut_after=1"] {
            world(async |world| {
                world.chat("e", &[Entity::new(provider, &format!("m;{fault}"))]);
                let events = stream(world, PATHS[0], &hi()).await.events();
                let (name, said) = events.last().unwrap();
                assert!(
                    name.starts_with("exception:") && said["message"].is_string(),
                    "{provider} {name} {said}"
                );
                assert!(events.iter().all(|(name, _)| name != "messageStop"), "{provider}");
                assert_eq!(world.records.only().outcome, Outcome::Failed);
            })
            .await;
        }
    }
}

#[tokio::test]
async fn the_token_comes_as_a_bearer_token_or_as_the_access_key_of_a_signature() {
    world(async |world| {
        world.chat("e", &[Entity::new("amazon-bedrock", "m")]);
        let signed = |key: &str| {
            format!("AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=00")
        };
        for (value, status) in [
            (format!("Bearer {TOKEN}"), 200),
            (signed(TOKEN), 200),
            (signed("AKIDEXAMPLE"), 403),
            (signed(VIEWER), 403),
            (signed(""), 401),
        ] {
            let request = Request::post(PATHS[0])
                .header("host", "g")
                .header(AUTHORIZATION, &value)
                .header("x-amz-security-token", TOKEN)
                .body(Full::new(hi().to_string().into()))
                .unwrap();
            let got = world.send(request).await.read().await;
            assert_eq!(got.status, status, "{value} {got:?}");
            assert!(status == 200 || got.headers.contains_key("x-amzn-errortype"));
        }
        let seen = format!("{:?}", world.ledger.requests());
        assert!(!seen.contains(TOKEN), "{seen}");
    })
    .await;
}

#[tokio::test]
async fn thoughts_come_back_to_whom_they_are_of() {
    world(async |world| {
        let signed = r#"{"id":"m","type":"message","role":"assistant","model":"c","stop_reason":"end_turn","content":[
            {"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"redacted_thinking","data":"ZGF0YQ=="},{"type":"text","text":"a"}],
            "usage":{"input_tokens":1,"output_tokens":1}}"#;
        let raw = Raw::start(world, Play::whole("200 OK", "", signed)).await;
        world.chat("e", &[Entity::new("anthropic", "claude-x").at(raw.url.clone())]);
        let mut body = hi();
        body["additionalModelRequestFields"] = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
        body["inferenceConfig"]["maxTokens"] = 4096.into();
        let got = world.post(PATHS[0], &body).await.json();
        let message = got["output"]["message"].clone();
        assert_eq!(message["content"][0]["reasoningContent"]["reasoningText"]["text"], "hm", "{got}");
        body["messages"].as_array_mut().unwrap().extend([message, json!({"role": "user", "content": [{"text": "go on"}]})]);
        world.post(PATHS[0], &body).await;
        let again = raw.bodies().pop().unwrap();
        let content = &again["messages"][1]["content"];
        assert_eq!((&content[0]["signature"], &content[1]["data"]), (&json!("c2ln"), &json!("ZGF0YQ==")), "{again}");
        world.endpoint("e", CHAT, false, &[Entity::new("amazon-bedrock", "claude-y")]);
        assert_eq!(world.post(PATHS[0], &body).await.status, 200);
        let other = world.ledger.requests().pop().unwrap().body;
        assert!(!other.to_string().contains("reasoningContent"), "{other}");
    })
    .await;
}
