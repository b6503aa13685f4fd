//! Claude at hosts that are not its maker: the Messages format passes, in whatever a host wraps it.

use http::Request;
use http_body_util::Full;
use journal::{Outcome, Provenance};
use serde_json::{Value, json};
use wire::eventstream;
use wire::sse::Event;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::client::Got;
use crate::raw::{Play, Raw};
use crate::world::{Entity, TOKEN, World, world};

const PATH: &str = "/anthropic/v1/messages";
const HOSTS: [(&str, &str, &str); 2] = [
    ("amazon-bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock-2023-05-31"),
    ("google-cloud-vertex-ai", "claude-sonnet-4-5@20250929", "vertex-2023-10-16"),
];

const EVENTS: [&str; 4] = [
    r#"{"type":"message_start",  "message":{"usage":{"input_tokens":3,"output_tokens":1}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"hologram","x":1.50}}"#,
    r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":7}}"#,
    r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3}}"#,
];

fn name(event: &str) -> String {
    serde_json::from_str::<Value>(event).unwrap()["type"].as_str().unwrap().to_owned()
}

/// The events as the host sends them.
fn wrapped(provider: &str) -> Vec<Vec<u8>> {
    let wrap = |event: &&str| match provider {
        "amazon-bedrock" => chunk(event),
        _ => sse(event).into_bytes(),
    };
    EVENTS.iter().map(wrap).collect()
}

fn sse(event: &str) -> String {
    format!("event: {}\ndata: {event}\n\n", name(event))
}

fn chunk(event: &str) -> Vec<u8> {
    let data = json!({"bytes": STANDARD.encode(event), "p": "abcd"}).to_string();
    eventstream::frame(&Event { name: "chunk".into(), data: data.into() }).unwrap().to_vec()
}

async fn ask(world: &World, path: &str, body: &Value) -> Got {
    let request = Request::post(path)
        .header("host", "g")
        .header("x-api-key", TOKEN)
        .header("anthropic-beta", "interleaved-thinking-2025-05-14,claude-code-20250219")
        .body(Full::new(body.to_string().into()))
        .unwrap();
    world.send(request).await.read().await
}

fn asked(stream: bool) -> Value {
    json!({"model": "e", "max_tokens": 9, "stream": stream, "x_new": 1, "messages": [{"role": "user", "content": "hi"}]})
}

#[tokio::test]
async fn messages_pass_with_the_version_of_the_host() {
    let whole = r#"{"type":"message","content":[{"type":"hologram",  "x":1.50}],"usage":{"input_tokens":3,"output_tokens":7}}"#;
    for (provider, model, version) in HOSTS {
        world(async |world| {
            let raw = Raw::start(world, Play::whole("200 OK", "", whole)).await;
            world.chat("e", &[Entity::new(provider, model).at(raw.url.clone())]);
            let got = ask(world, PATH, &asked(false)).await;
            assert_eq!((got.status, got.text.as_str()), (200, whole), "{provider} {got:?}");
            let sent = raw.bodies().pop().unwrap();
            assert_eq!((&sent["anthropic_version"], &sent["x_new"]), (&json!(version), &json!(1)));
            assert!(sent.get("model").is_none(), "{sent}");
            if provider == "amazon-bedrock" {
                assert_eq!(sent["anthropic_beta"], json!(["interleaved-thinking-2025-05-14"]));
                assert!(sent.get("stream").is_none(), "{sent}");
            }
            assert_eq!(world.records.only().usage.unwrap().provenance, Provenance::Provider);
        })
        .await;
    }
}

#[tokio::test]
async fn events_come_to_the_client_as_the_maker_says_them() {
    for (provider, model, _) in HOSTS {
        world(async |world| {
            let raw = Raw::start(world, Play::stream(&wrapped(provider))).await;
            world.chat("e", &[Entity::new(provider, model).at(raw.url.clone())]);
            let got = ask(world, PATH, &asked(true)).await;
            assert_eq!(got.text, EVENTS.map(sse).concat(), "{provider}");
            assert_eq!(got.headers["content-type"], "text/event-stream; charset=utf-8");
            let settled = world.records.only();
            assert_eq!(
                (settled.outcome, settled.usage.unwrap().usage.total_tokens),
                (Outcome::Completed, 10)
            );
        })
        .await;
    }
}

#[tokio::test]
async fn an_exception_among_the_chunks_is_an_error_of_the_format() {
    let exception =
        Event { name: "exception:throttlingException".into(), data: r#"{"message":"slow down"}"#.into() };
    let exception = eventstream::frame(&exception).unwrap().to_vec();
    world(async |world| {
        let raw = Raw::start(world, Play::stream(&[chunk(EVENTS[0]), exception.clone()])).await;
        world.chat("e", &[Entity::new(HOSTS[0].0, HOSTS[0].1).at(raw.url.clone())]);
        let got = ask(world, PATH, &asked(true)).await;
        let last = got.text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
        let last: Value = serde_json::from_str(last).unwrap();
        assert_eq!(
            (&last["type"], &last["error"]["type"]),
            (&json!("error"), &json!("rate_limit_error")),
            "{got:?}"
        );
        let raw = Raw::start(world, Play::stream(&[exception])).await;
        world.chat("e", &[Entity::new(HOSTS[0].0, HOSTS[0].1).at(raw.url.clone())]);
        assert_eq!(ask(world, PATH, &asked(true)).await.status, 429);
    })
    .await;
}

#[tokio::test]
async fn tokens_are_counted_where_the_host_counts() {
    world(async |world| {
        let raw = Raw::start(world, Play::whole("200 OK", "", r#"{"input_tokens":42}"#)).await;
        let (provider, model, version) = HOSTS[1];
        world.chat("e", &[Entity::new(provider, model).at(raw.url.clone())]);
        let got = ask(world, &format!("{PATH}/count_tokens"), &asked(false)).await;
        assert_eq!(got.json(), json!({"input_tokens": 42}));
        let sent = raw.bodies().pop().unwrap();
        assert_eq!((&sent["model"], &sent["anthropic_version"]), (&json!(model), &json!(version)));
        world.chat("e", &[Entity::new(HOSTS[0].0, HOSTS[0].1).at(raw.url.clone())]);
        let got = ask(world, &format!("{PATH}/count_tokens"), &asked(false)).await;
        assert_eq!((got.json()["estimated"].clone(), raw.requests()), (json!(true), 1));
    })
    .await;
}

#[tokio::test]
async fn what_the_maker_alone_does_is_refused_by_name_where_nobody_else_can() {
    for (provider, model, _) in HOSTS {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, model)]);
            for field in ["mcp_servers", "container"] {
                let mut body = asked(false);
                body[field] = json!({"name": "x"});
                let got = ask(world, PATH, &body).await;
                let error = &got.json()["error"];
                assert_eq!((got.status, &error["type"]), (400, &json!("invalid_request_error")), "{got:?}");
                assert!(error["message"].as_str().unwrap().contains(field), "{provider} {got:?}");
            }
            assert!(world.ledger.requests().is_empty());
        })
        .await;
    }
}
