//! What is known of a call is in its rows.

use std::sync::Arc;

use bytes::Bytes;
use journal::audit::{AuditPhase, AuditRecord, AuditSink};
use journal::{
    Admission, Attempt, Captured, CountedUsage, GuardKind, GuardOutcome, GuardPhase, GuardVerdict, Outcome,
    Payload, Provenance, RecordSink, RequestId, Settlement,
};
use serde_json::{Value, json};
use wire::cost::Cost;
use wire::counts::{TokenCounts, TokenKind};
use wire::usage::Usage;

use crate::world::{GATEWAY, SERVING, World, admission, settlement};

const USAGE: &str = "system.serving.endpoint_usage";
const GATEWAY_USAGE: &str = "system.ai_gateway.usage";
const PAYLOAD: &str = "main.logs.chat_payload";

/// The rows of `table` after these calls, in the order of their ids.
async fn rows(table: &str, calls: Vec<(Admission, Settlement)>) -> Vec<Value> {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    for (admission, settlement) in calls {
        flusher.journal.admit(&admission).unwrap();
        flusher.journal.settle(&admission, &settlement);
    }
    flusher.flush().await.unwrap();
    let mut rows = world.read(table).await;
    let id = if table == GATEWAY_USAGE { "request_id" } else { "databricks_request_id" };
    rows.sort_by_key(|row| row[id].as_str().unwrap().to_owned());
    rows
}

fn attempt(entity: &str, status: Option<u16>, fault: Option<&'static str>) -> Attempt {
    let entity = entity.into();
    Attempt { entity, started_at: 0, status, duration_ms: 2.0, began_ms: 4.0, fault, upstream: None }
}

fn priced() -> Settlement {
    let tokens = TokenCounts::new(100, 40)
        .of_which(TokenKind::CacheRead, Some(20))
        .of_which(TokenKind::CacheWrite5m, Some(7))
        .of_which(TokenKind::CacheWrite1h, Some(5))
        .of_which(TokenKind::InputImage, Some(3))
        .of_which(TokenKind::Reasoning, Some(30));
    let verdict = GuardVerdict {
        guard: GuardKind::Judge,
        phase: GuardPhase::Input,
        outcome: GuardOutcome::Detected,
        details: vec!["S1".to_owned()],
        tokens: 91,
    };
    Settlement {
        usage: Some(CountedUsage {
            usage: Usage::new(100, 40).with_counts(tokens),
            provenance: Provenance::Provider,
        }),
        cost: Some(Cost { nano_usd: 4321, prices: "2026-11".into() }),
        guards: vec![verdict],
        ..settlement(0)
    }
}

fn expected() -> Value {
    json!({
        "token_counts": {"input": 65, "cache_read": 20, "cache_write_5m": 7, "cache_write_1h": 5, "input_image": 3,
            "output": 10, "reasoning": 30},
        "cost_nano_usd": 4321, "price_version": "2026-11", "model": "gpt", "provider": "openai",
        "guardrails": [
            {"guard": "llm_judge", "phase": "input", "outcome": "detected", "details": ["S1"], "tokens": 91}
        ],
    })
}

fn assert_has(row: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(row[name], *value, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_by_kind_what_they_cost_and_what_judges_used_are_in_both_tables_of_usage() {
    let serving = rows(USAGE, vec![(admission("r", SERVING), priced())]).await;
    assert_has(&serving[0], &expected());
    let totals = json!({"input_token_count": 100, "output_token_count": 40, "cache_read_input_tokens": 20,
        "cache_creation_input_tokens": 12, "output_reasoning_tokens": 30, "output_character_count": 4});
    assert_has(&serving[0], &totals);
    let gateway = rows(GATEWAY_USAGE, vec![(admission("r", GATEWAY), priced())]).await;
    assert_has(&gateway[0], &expected());
    let details = json!({"cache_read_input_tokens": 20, "cache_creation_input_tokens": 12, "output_reasoning_tokens": 30});
    assert_has(&gateway[0], &json!({"input_tokens": 100, "output_tokens": 40, "token_details": details}));
}

/// As the sums by the hour do, so that these can be made of the tables.
#[tokio::test(flavor = "multi_thread")]
async fn who_asked_and_what_for_is_in_both_tables_of_usage() {
    let expected = json!({"requester": "a@example.com", "requester_groups": ["admins", "users"],
        "usage_context": {"team": "x"}, "request_tags": {"cost": "y"}, "client_request_id": "client's r"});
    for (table, path) in [(USAGE, SERVING), (GATEWAY_USAGE, GATEWAY)] {
        let row = rows(table, vec![(admission("r", path), settlement(1))]).await.remove(0);
        assert_has(&row, &expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_say_what_was_tried_again_and_what_was_wrong() {
    let attempts = vec![
        attempt("a", None, Some("timeout")),
        attempt("a", None, Some("connection")),
        attempt("b", Some(503), None),
        attempt("a", Some(200), None),
    ];
    let found =
        rows(GATEWAY_USAGE, vec![(admission("r", GATEWAY), Settlement { attempts, ..settlement(1) })]).await;
    let attempts = found[0]["routing_information"]["attempts"].as_array().unwrap().iter();
    let told: Vec<_> = attempts.map(|attempt| (&attempt["action"], &attempt["error_code"])).collect();
    let expected = [
        ("INITIAL_ATTEMPT", json!("TIMEOUT")),
        ("RETRY", json!("CONNECTION_ERROR")),
        ("FALLBACK", json!("SERVER_ERROR")),
        ("FALLBACK", Value::Null),
    ];
    assert!(
        told.iter().zip(&expected).all(|((action, code), (a, c))| *action == a && *code == c),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_streams_are_those_of_the_gateway_and_of_the_model() {
    // 4 ms of guards, 2 ms to the first event, which goes out at 7 ms, and the end at 50 ms.
    let stream = |id: &str, path| Admission { stream: true, ..admission(id, path) };
    let streamed = || Settlement {
        attempts: vec![attempt("m", Some(200), None)],
        first_byte_ms: Some(7.0),
        duration_ms: 50.0,
        ..settlement(1)
    };
    let failed = || Settlement {
        attempts: vec![attempt("m", Some(500), None)],
        first_byte_ms: None,
        duration_ms: 9.0,
        status: 500,
        outcome: Outcome::Failed,
        ..settlement(1)
    };
    for (table, path) in [(USAGE, SERVING), (GATEWAY_USAGE, GATEWAY)] {
        let calls = vec![(stream("1", path), streamed()), (stream("2", path), failed())];
        let found = rows(table, calls).await;
        let overhead: Vec<_> = found.iter().map(|row| row["gateway_overhead_ms"].as_f64().unwrap()).collect();
        assert_eq!(overhead, [5.0, 7.0], "{table}");
    }
    let calls = vec![(stream("1", SERVING), streamed()), (stream("2", SERVING), failed())];
    let found = rows(PAYLOAD, calls).await;
    let model: Vec<_> = found.iter().map(|row| row["execution_duration_ms"].as_i64().unwrap()).collect();
    assert_eq!(model, [46, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_say_what_was_called_and_a_stream_that_was_left_is_put_together() {
    let chunk = |text: &str| {
        let chunk =
            json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]});
        format!("data: {chunk}\n\n")
    };
    let response = Captured::Whole(Bytes::from([chunk("a"), chunk("b")].concat()));
    let left = Settlement {
        status: 499,
        outcome: Outcome::Cancelled,
        payload: Some(Box::new(Payload { request: Captured::Absent, response })),
        ..settlement(1)
    };
    let request_tags = [("team".to_owned(), "x".to_owned())].into();
    let asked = Admission { stream: true, request_tags, ..admission("r", GATEWAY) };
    let found = rows(PAYLOAD, vec![(asked, left)]).await.remove(0);
    let answer: Value = serde_json::from_str(found["response"].as_str().unwrap()).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "ab");
    let told = json!({"path": GATEWAY, "request_tags": {"team": "x"}, "time_to_first_byte_ms": 3,
        "destination_model": "gpt"});
    assert_has(&found, &told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_the_gateway_names_its_service_and_its_content() {
    let of = |id: &str, content_type: Option<&str>| {
        let content_type = content_type.map(str::to_owned);
        (admission(id, GATEWAY), Settlement { content_type, ..settlement(1) })
    };
    let calls = vec![of("1", Some("application/vnd.amazon.eventstream")), of("2", None)];
    let found = rows(GATEWAY_USAGE, calls).await;
    let told = json!({"service_type": "MODEL_SERVICE", "service_name": "chat",
        "response_content_type": "application/vnd.amazon.eventstream"});
    assert_has(&found[0], &told);
    assert!(found[1]["response_content_type"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_made_for_another_names_it() {
    let made_for = Some(RequestId("asked".into()));
    let judge = Admission { made_for, ..admission("judge", GATEWAY) };
    let calls = vec![(admission("asked", GATEWAY), settlement(1)), (judge, settlement(1))];
    let found = rows(GATEWAY_USAGE, calls).await;
    assert_has(&found[0], &json!({"request_id": "asked", "invocation_id": "asked"}));
    assert_has(&found[1], &json!({"request_id": "judge", "invocation_id": "asked"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audited_call_that_was_refused_says_why() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    let after = json!({"error_code": "INVALID_PARAMETER_VALUE", "message": "no such provider"}).to_string();
    flusher.journal.record(&audited(AuditPhase::Done { status: 400, after }));
    flusher.journal.record(&audited(AuditPhase::Denied { status: 403, message: "no member".to_owned() }));
    flusher
        .journal
        .record(&audited(AuditPhase::Done { status: 200, after: json!({"message": "x"}).to_string() }));
    flusher.flush().await.unwrap();
    let rows = world.read("system.access.audit").await;
    let told: Vec<_> = rows.iter().map(|row| &row["response"]["error_message"]).collect();
    assert_eq!(told, [&json!("no such provider"), &json!("no member"), &Value::Null]);
}

pub(crate) fn audited(phase: AuditPhase) -> AuditRecord {
    AuditRecord {
        request_id: RequestId("r".into()),
        phase,
        principal: Some(Arc::from("a")),
        peer: None,
        user_agent: String::new(),
        method: "PUT".to_owned(),
        route: "/api/2.0/serving-endpoints/{name}/config".into(),
        path: "/api/2.0/serving-endpoints/x/config".to_owned(),
        request: String::new(),
    }
}
