//! What the caller did wrong, said before any upstream is called.

use std::sync::atomic::Ordering;
use std::time::Duration;

use journal::Outcome;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_gateway::GatewayConfig;

use crate::client::{Got, chat, invocations, post};
use crate::world::{
    COMPLETIONS, EMBEDDINGS, EXPIRED, Entity, Setup, TOKEN, VIEWER, World, world, world_with,
};

fn check(got: &Got, status: u16, code: &str, part: &str) {
    assert_eq!(got.status, status, "{got:?}");
    let (said, message) = got.error();
    assert!(said == code && message.contains(part), "{said}: {message}, not {code}: {part}");
}

fn endpoints(world: &World) {
    world.chat("c", &[Entity::new("openai", "m")]);
    world.chat("a", &[Entity::new("anthropic", "m")]);
    world.endpoint("p", COMPLETIONS, false, &[Entity::new("openai", "m")]);
    world.endpoint("v", EMBEDDINGS, false, &[Entity::new("openai", "m")]);
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    world(async |world| {
        endpoints(world);
        let (path, body) = (invocations("c"), chat(false).to_string());
        let with = async |token: &str| world.send(post(&path, token, body.clone())).await.read().await;
        check(&with("dapi-nobody").await, 403, "PERMISSION_DENIED", "invalid access token");
        check(&with(EXPIRED).await, 403, "PERMISSION_DENIED", "invalid access token");
        check(&with(VIEWER).await, 403, "PERMISSION_DENIED", "bob lacks CAN_QUERY on endpoint \"c\"");
        let mut request = post(&path, TOKEN, body.clone());
        request.headers_mut().remove("authorization");
        check(&world.send(request).await.read().await, 401, "UNAUTHENTICATED", "Authorization: Bearer");
        assert!(world.ledger.requests().is_empty());
        // Who is known and may not is on record, who is nobody is not.
        let refused = world.records.only();
        assert_eq!((refused.outcome, refused.status), (Outcome::Refused, 403));
        assert_eq!(world.records.admissions()[0].requester.as_ref(), "bob");
    })
    .await;
}

#[tokio::test]
async fn what_has_no_room_on_record_is_refused_before_the_upstream() {
    world(async |world| {
        endpoints(world);
        world.records.is_full.store(true, Ordering::Relaxed);
        check(&world.ask("c", false).await, 503, "TEMPORARILY_UNAVAILABLE", "USAGE_STORE_FULL");
        assert!(world.ledger.requests().is_empty() && world.records.settlements().is_empty());
        world.records.is_full.store(false, Ordering::Relaxed);
        assert_eq!(world.ask("c", false).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    world(async |world| {
        endpoints(world);
        check(&world.ask("nope", false).await, 404, "RESOURCE_DOES_NOT_EXIST", "\"nope\"");
        let mut body = chat(false);
        body["model"] = "nope".into();
        let path = "/serving-endpoints/chat/completions";
        check(&world.post(path, &body).await, 404, "RESOURCE_DOES_NOT_EXIST", "\"nope\"");
        check(&world.ask("%ff", false).await, 404, "RESOURCE_DOES_NOT_EXIST", "does not exist");
        check(&world.ask(&"x".repeat(4000), false).await, 404, "RESOURCE_DOES_NOT_EXIST", "xxx");
        check(&world.post(path, &chat(false)).await, 400, "BAD_REQUEST", "model is required");
        check(&world.post(path, &json!({"model": 7})).await, 400, "BAD_REQUEST", "model");
    })
    .await;
}

#[tokio::test]
async fn the_task_of_path_body_and_endpoint_must_agree() {
    world(async |world| {
        endpoints(world);
        let to = async |path: &str, model: &str| {
            let body = json!({"model": model, "messages": [{"role": "user", "content": "x"}], "prompt": "x", "input": "x"});
            world.post(&format!("/serving-endpoints/{path}"), &body).await
        };
        check(&to("embeddings", "c").await, 400, "BAD_REQUEST", "serves llm/v1/chat");
        check(&to("chat/completions", "v").await, 400, "BAD_REQUEST", "serves llm/v1/embeddings");
        check(&to("completions", "c").await, 400, "BAD_REQUEST", "serves llm/v1/chat");
        let input = json!({"input": "x"});
        check(&world.post(&invocations("c"), &input).await, 400, "BAD_REQUEST", "messages is required");
        check(&world.post(&invocations("p"), &input).await, 400, "BAD_REQUEST", "prompt is required");
        check(&world.post(&invocations("v"), &chat(false)).await, 400, "BAD_REQUEST", "input is required");
        let streamed = json!({"input": "x", "stream": true});
        check(&world.post(&invocations("v"), &streamed).await, 400, "BAD_REQUEST", "cannot be streamed");
        let rows = json!({"dataframe_records": [], "messages": [{}]});
        check(&world.post(&invocations("c"), &rows).await, 400, "BAD_REQUEST", "dataframe_records");
        assert!(world.ledger.requests().is_empty());
    })
    .await;
}

#[tokio::test]
async fn bodies_that_say_nothing_are_refused() {
    world(async |world| {
        endpoints(world);
        let bodies = [
            "",
            "{",
            "[]",
            "null",
            "\"x\"",
            "{\"messages\":[{}]} x",
            "{\"messages\":NaN}",
            "{'messages':[]}",
            "{\"messages\":[]}",
            "{\"messages\":[ \n]}",
            "{\"messages\":null}",
            "{\"messages\":\"hi\"}",
            "{\"messages\":{}}",
            "{\"messages\":[{}],\"stream\":\"yes\"}",
            "{\"messages\":[{}],\"usage_context\":[1]}",
            "{\"messages\":[{}],\"client_request_id\":{}}",
            "{\"messages\":[{}],\"extra_params\":\"x\"}",
            "\u{feff}{}",
        ];
        for endpoint in ["c", "a"] {
            for body in bodies {
                let got = world.post_text(&invocations(endpoint), body).await;
                assert_eq!((got.status, got.error().0.as_str()), (400, "BAD_REQUEST"), "{body}: {got:?}");
            }
        }
        let not_utf8 =
            world.post_text(&invocations("c"), &b"{\"messages\":[{\"content\":\"\xff\"}]}"[..]).await;
        check(&not_utf8, 400, "BAD_REQUEST", "no JSON object");
        assert!(world.ledger.requests().is_empty());
    })
    .await;
}

#[tokio::test]
async fn of_a_repeated_key_the_last_counts_here_and_upstream() {
    world(async |world| {
        endpoints(world);
        let body = r#"{"stream":true,"messages":[],"model":"a","model":"c","stream":false,"messages":[{"role":"user","content":"x"}]}"#;
        let got = world.post_text("/serving-endpoints/chat/completions", body).await;
        assert_eq!((got.status, got.json()["object"].as_str()), (200, Some("chat.completion")), "{got:?}");
        let sent = world.ledger.requests().remove(0).body;
        assert_eq!((&sent["model"], &sent["stream"]), (&"m".into(), &false.into()));
        assert_eq!(sent["messages"].as_array().map(Vec::len), Some(1));
    })
    .await;
}

#[tokio::test]
async fn deep_json_crashes_nothing() {
    world(async |world| {
        endpoints(world);
        for (open, close) in [("[", "]"), ("{\"content\":", "}")] {
            let deep = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
            for endpoint in ["c", "a"] {
                for stream in [true, false] {
                    let bodies = [
                        deep.clone(),
                        format!("{{\"messages\":[{deep}],\"stream\":{stream}}}"),
                        format!(
                            "{{\"messages\":[{{\"role\":\"user\",\"content\":{deep}}}],\"stream\":{stream}}}"
                        ),
                        format!("{{\"messages\":[{{}}],\"extra_params\":{deep}}}"),
                        format!("{{\"messages\":[{{}}],\"usage_context\":{{\"a\":{deep}}}}}"),
                        format!("{{\"model\":{deep},\"messages\":[{{}}]}}"),
                    ];
                    for body in bodies {
                        let got = world.post_text(&invocations(endpoint), body).await;
                        assert!((200..500).contains(&got.status), "{got:?}");
                    }
                }
            }
        }
        assert_eq!(world.ask("c", false).await.status, 200);
    })
    .await;
}

/// 100,000 keys, once each and twice each, cost no more than a moment.
#[tokio::test]
async fn many_keys_are_read_in_a_moment() {
    world(async |world| {
        endpoints(world);
        let keys = |round: u8| (0..50_000).map(move |at| format!("\"k{at}\":{round}"));
        let all: Vec<String> = keys(1).chain(keys(2)).collect();
        let body = format!("{{\"messages\":[],{}}}", all.join(","));
        let got = world.post_text(&invocations("c"), body).await;
        check(&got, 400, "BAD_REQUEST", "at least one message");
        assert!(got.waited < Duration::from_secs(2), "{:?}", got.waited);
    })
    .await;
}

fn small() -> Setup {
    let config = GatewayConfig {
        max_body_bytes: 10_000,
        body_timeout: Duration::from_millis(300),
        ..GatewayConfig::default()
    };
    Setup { config, ..Setup::default() }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    world_with(small(), async |world| {
        endpoints(world);
        let path = invocations("c");
        let exactly = |length: usize| {
            let filler = length - r#"{"messages":[{}],"x":""}"#.len();
            format!(r#"{{"messages":[{{}}],"x":"{}"}}"#, "y".repeat(filler))
        };
        assert_ne!(world.post_text(&path, exactly(10_000)).await.status, 413);
        for length in [10_001, 5_000_000] {
            let got = world.post_text(&path, exactly(length)).await;
            check(&got, 413, "REQUEST_ENTITY_TOO_LARGE", "server.max_body_bytes");
        }
        let chunks = "1000\r\n".to_owned() + &"y".repeat(0x1000) + "\r\n";
        let request =
            format!("{}transfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", head(&path), chunks.repeat(300));
        let (status, body) = exchange(world, &[request.as_bytes()]).await;
        assert_eq!((status, body["error_code"].as_str()), (413, Some("REQUEST_ENTITY_TOO_LARGE")));
        assert_eq!(world.ledger.requests().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    world_with(small(), async |world| {
        endpoints(world);
        let request = format!("{}content-length: 100\r\n\r\n{{\"mess", head(&invocations("c")));
        let since = tokio::time::Instant::now();
        let (status, body) = exchange(world, &[request.as_bytes()]).await;
        assert_eq!(status, 408, "{body}");
        assert!(body["message"].as_str().unwrap().contains("300 ms"), "{body}");
        let took = since.elapsed();
        assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(2), "{took:?}");
    })
    .await;
}

#[tokio::test]
async fn a_body_in_many_pieces_is_one_body() {
    world(async |world| {
        endpoints(world);
        let body = chat(false).to_string();
        let head = format!("{}content-length: {}\r\n\r\n", head(&invocations("c")), body.len());
        let pieces: Vec<&[u8]> = std::iter::once(head.as_bytes()).chain(body.as_bytes().chunks(7)).collect();
        assert_eq!(exchange(world, &pieces).await.0, 200);
    })
    .await;
}

fn head(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n")
}

/// Writes the pieces and reads the answer by hand: status and JSON body.
async fn exchange(world: &World, pieces: &[&[u8]]) -> (u16, Value) {
    let mut socket = TcpStream::connect(world.gateway).await.unwrap();
    socket.set_nodelay(true).unwrap();
    for piece in pieces {
        socket.write_all(piece).await.unwrap();
    }
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
}

#[tokio::test]
async fn a_missing_secret_is_named() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "m").secret("gone")]);
        for stream in [false, true] {
            let got = world.ask("e", stream).await;
            check(&got, 400, "INVALID_PARAMETER_VALUE", "{{secrets/s/gone}} of served entity one");
        }
        assert!(world.records.settlements().iter().all(|s| s.outcome == Outcome::Refused && s.status == 400));
        assert!(world.ledger.requests().is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_a_provider_cannot_express_is_refused_by_name() {
    world(async |world| {
        world.chat("a", &[Entity::new("anthropic", "m")]);
        let mut body = chat(false);
        body["n"] = 3.into();
        let got = world.post(&invocations("a"), &body).await;
        check(&got, 400, "INVALID_PARAMETER_VALUE", "n:");
        assert_eq!(world.records.only().outcome, Outcome::Refused);
    })
    .await;
}

#[tokio::test]
async fn tags_that_are_no_texts_are_refused_before_anything_is_sent() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "m")]);
        for (tags, status) in [(r#"{"team":"a"}"#, 200), ("team=a", 400), (r#"{"team":1}"#, 400), ("[]", 400)]
        {
            let mut request = post(&invocations("e"), TOKEN, chat(false).to_string());
            request.headers_mut().insert("Databricks-Ai-Gateway-Request-Tags", tags.parse().unwrap());
            let got = world.send(request).await.read().await;
            assert_eq!(got.status, status, "{tags} {got:?}");
        }
        // What is refused is on record all the same.
        assert_eq!((world.ledger.requests().len(), world.records.admissions().len()), (1, 4));
    })
    .await;
}
