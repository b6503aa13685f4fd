//! Health, metrics, request ids, logs.

use std::collections::HashSet;

use http::Method;
use serde_json::{Value, json};

use crate::world::client::Answer;
use crate::world::{Server, World, chat};

#[tokio::test]
async fn health_and_metrics() {
    let world = World::shared().await;
    let server = world.serve(&[]).await;
    let client = server.client.with_token("");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    server.client.create("counted", &world.chat_config("gpt")).await;
    assert_eq!(server.client.ask("counted", false).await.status, 200);
    assert_eq!(server.client.ask("counted", true).await.status, 200);
    let answer = client.get("/metrics").await;
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    assert!(!answer.text.contains(&world.admin_token()) && !answer.text.contains("sk-upstream"));
    for line in answer.text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        assert!(name.starts_with("tollgate_") && value.parse::<f64>().is_ok(), "{line:?}");
    }
    let labelled = |name: &str, labels: &[&str]| {
        let mut lines = answer.text.lines().filter(|line| line.starts_with(name));
        let line = lines.find(|line| labels.iter().all(|label| line.contains(label)));
        let line = line.unwrap_or_else(|| panic!("no {name} {labels:?} in {}", answer.text));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    let of = ["endpoint=\"counted\"", "entity=\"one\""];
    assert!((labelled("tollgate_requests_total{", &[of[0], of[1], "status=\"200\""]) - 2.0).abs() < 0.1);
    assert!(
        labelled("tollgate_tokens_total{", &[of[0], of[1], "kind=\"output\"", "source=\"provider\""]) >= 2.0
    );
    assert!((labelled("tollgate_request_duration_seconds_count{", &of[..1]) - 2.0).abs() < 0.1);
    assert!(labelled("tollgate_requests_in_flight", &[]).abs() < 0.1);
    assert!(answer.text.contains("# TYPE tollgate_requests_total counter"));
}

/// One request of each kind of answer that there is.
async fn all_kinds(world: &World, server: &Server) -> Vec<(&'static str, u16, Answer)> {
    let client = &server.client;
    client.create("good", &world.chat_config("gpt")).await;
    client.create("bad", &world.chat_config("fail-500")).await;
    client.create("cut", &world.chat_config("fail-stream")).await;
    let long = json!({"messages": [{"role": "user", "content": "x".repeat(5000)}]});
    let call = "/serving-endpoints/good/invocations";
    vec![
        ("health", 200, client.get("/healthz").await),
        ("metrics", 200, client.get("/metrics").await),
        ("a list", 200, client.get("/api/2.0/serving-endpoints").await),
        ("no such path", 404, client.get("/nothing/here").await),
        ("no such endpoint", 404, client.ask("none", false).await),
        ("wrong method", 405, client.send(Method::DELETE, call, "").await),
        ("wrong token", 403, client.with_token("dapi-no").ask("good", false).await),
        ("no JSON", 400, client.send(Method::POST, call, "{").await),
        ("too long", 413, client.post(call, &long).await),
        ("an answer", 200, client.ask("good", false).await),
        ("a stream", 200, client.ask("good", true).await),
        ("a failing upstream", 500, client.ask("bad", false).await),
        ("a failing upstream, streamed", 500, client.ask("bad", true).await),
        ("a stream that is cut", 200, client.ask("cut", true).await),
    ]
}

#[tokio::test]
async fn every_answer_has_an_id_and_every_line_names_it() {
    let world = World::shared().await;
    let server =
        world.serve(&[("TOLLGATE_LOG__LEVEL", "trace"), ("TOLLGATE_SERVER__MAX_BODY_BYTES", "4096")]).await;
    let answers = all_kinds(&world, &server).await;
    let mut ids = HashSet::new();
    for (what, status, answer) in &answers {
        assert_eq!(answer.status, *status, "{what}: {answer:?}");
        assert_eq!(answer.request_id().len(), 36, "{what}");
        assert!(ids.insert(answer.request_id().to_owned()), "{what}: the id was there before");
    }
    let done = server.process.stop().await;
    let lines: Vec<Value> = done
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for (what, _, answer) in &answers {
        let about = lines.iter().filter(|line| id_of(line) == Some(answer.request_id()));
        assert!(about.count() > 0, "no line is about {what}");
    }
    let is_frame = |line: &&Value| {
        let message = line["message"].as_str().unwrap_or_default();
        ["first start", "serving", "stopping", "stopped"].iter().any(|frame| message.starts_with(frame))
    };
    let first = lines.iter().position(|line| line["message"] == "serving").unwrap();
    let of_requests = lines[first..].iter().filter(|line| !is_frame(line));
    for line in of_requests {
        assert!(id_of(line).is_some(), "a line without the id of its request: {line}");
        for key in ["timestamp", "level", "target", "message"] {
            assert!(line[key].is_string(), "no {key}: {line}");
        }
    }
}

/// The request that a line is about.
fn id_of(line: &Value) -> Option<&str> {
    line["request_id"].as_str().or_else(|| line["span"]["request_id"].as_str())
}

#[tokio::test]
async fn pretty_lines_name_the_request_too() {
    let world = World::shared().await;
    // Pretty lines cannot be asked for the port.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let process = world.start_server(&[
        ("TOLLGATE_SERVER__LISTEN", &address.to_string()),
        ("TOLLGATE_LOG__FORMAT", "pretty"),
    ]);
    process.stderr.until("serving", |line| line.contains("serving")).await;
    let client = crate::world::client::Client::new(address, "dapi-no");
    let answer = client.post("/serving-endpoints/x/invocations", &chat(false)).await;
    let done = process.stop().await;
    let about = done.stderr.lines().find(|line| line.contains(answer.request_id()));
    let about = about.unwrap_or_else(|| panic!("{}", done.stderr));
    assert!(!about.contains('\u{1b}'), "colours are for terminals: {about:?}");
}
