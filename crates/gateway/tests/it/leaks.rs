//! What must not pass from one side to the other.

use journal::Provenance;
use serde_json::json;

use crate::client::{chat, invocations, post};
use crate::raw::{Play, Raw};
use crate::world::{Entity, KEY, PROVIDERS, TOKEN, world};

const CANARY: &str = "canary-7f3a";

#[tokio::test]
async fn nothing_of_the_caller_s_own_reaches_the_upstream() {
    for provider in PROVIDERS {
        for stream in [false, true] {
            world(async |world| {
                world.chat("e", &[Entity::new(provider, "m")]);
                let mut body = chat(stream);
                body["client_request_id"] = CANARY.into();
                body["usage_context"] = json!({"team": CANARY});
                body["databricks_options"] = json!({"return_trace": true, "x": CANARY});
                body["extra_params"] = json!({"top_p": "0.5", "client_request_id": CANARY,
                    "usage_context": CANARY, "databricks_options": CANARY, "extra_params": CANARY,
                    "model": CANARY, "messages": CANARY});
                let mut request = post(&invocations("e"), TOKEN, body.to_string());
                for name in [
                    "x-api-key",
                    "x-goog-api-key",
                    "cookie",
                    "x-databricks-workspace-id",
                    "x-databricks-org-id",
                    "x-databricks-endpoints-api-client",
                    "databricks-model-provider-service",
                    "x-databricks-ai-gateway-token",
                    "x-forwarded-for",
                    "forwarded",
                    "referer",
                    "origin",
                    "traceparent",
                    "x-request-id",
                    "anthropic-beta",
                    "user-agent",
                    "openai-organization",
                    "x-simulator-script",
                ] {
                    request.headers_mut().insert(name, CANARY.parse().unwrap());
                }
                let tags = json!({ "team": CANARY }).to_string();
                request.headers_mut().insert("databricks-ai-gateway-request-tags", tags.parse().unwrap());
                let got = world.send(request).await.read().await;
                assert_eq!(got.status, 200, "{got:?}");
                assert_eq!(world.records.admissions()[0].request_tags["team"], CANARY);
                let record = world.ledger.requests().remove(0);
                let seen = format!("{} {:?} {}", record.path, record.headers, record.body);
                assert!(
                    !seen.contains(CANARY) && !seen.contains(TOKEN) && !seen.contains("databricks"),
                    "{seen}"
                );
                // A token goes in the place of a key that is never sent itself.
                assert!(seen.contains(KEY) || seen.contains("Bearer ya29."));
                assert!(!seen.contains("PRIVATE KEY"));
                for field in ["client_request_id", "usage_context", "extra_params", "databricks_options"] {
                    assert!(record.body.get(field).is_none(), "{seen}");
                }
                let places = ["/top_p", "/p", "/generationConfig/topP", "/inferenceConfig/topP"];
                let top_p = places.iter().find_map(|place| record.body.pointer(place));
                assert_eq!(top_p, Some(&json!(0.5)), "{seen}");
                let host = world.simulator.trim_start_matches("http://");
                assert_eq!(record.headers["host"], host);
                assert!(record.headers["user-agent"].starts_with("tollgate/"));
            })
            .await;
        }
    }
}

#[tokio::test]
async fn only_known_headers_go_out() {
    world(async |world| {
        for (provider, auth) in [
            ("openai", "authorization"),
            ("anthropic", "x-api-key"),
            ("custom", "authorization"),
            ("google", "x-goog-api-key"),
            ("google-cloud-vertex-ai", "authorization"),
        ] {
            world.chat("e", &[Entity::new(provider, "m")]);
            world.ask("e", true).await;
            let record = world.ledger.requests().pop().unwrap();
            let known = [
                "accept",
                "accept-encoding",
                "content-length",
                "content-type",
                "host",
                "user-agent",
                "anthropic-version",
                auth,
            ];
            let unknown: Vec<_> =
                record.headers.keys().filter(|name| !known.contains(&name.as_str())).collect();
            assert!(unknown.is_empty(), "{unknown:?}");
            assert_eq!(record.headers["accept-encoding"], "identity");
        }
    })
    .await;
}

#[tokio::test]
async fn no_header_of_the_upstream_reaches_the_client() {
    let headers = "set-cookie: a=b\r\nx-ratelimit-remaining: 1\r\nopenai-organization: org\r\nserver: s\r\n\
        x-request-id: r\r\nx-envoy: e\r\nalt-svc: h3\r\nstrict-transport-security: x\r\nconnection: keep-alive\r\n";
    let plays = [
        Play::whole("200 OK", headers, r#"{"choices":[]}"#),
        Play::whole("429 Slow", headers, r#"{"error":{"message":"m"}}"#),
        Play::whole("500 No", headers, "x"),
    ];
    for play in plays {
        world(async |world| {
            let raw = Raw::start(world, play.clone()).await;
            world.chat("e", &[Entity::new("custom", "m").at(&raw.url)]);
            let got = world.ask("e", false).await;
            let known = ["content-type", "content-length", "date", "cache-control", "served-model-name"];
            let unknown: Vec<_> = got.headers.keys().filter(|name| !known.contains(&name.as_str())).collect();
            assert!(unknown.is_empty(), "{unknown:?}");
        })
        .await;
    }
}

/// Whatever goes wrong, no answer holds the credential or the address of the upstream's key.
#[tokio::test]
async fn no_answer_holds_a_credential() {
    world(async |world| {
        let scripts = [
            "",
            "status=401",
            "status=500",
            "hang=headers",
            "cut_after=1",
            "malformed",
            "html",
            "error_after=1",
        ];
        for provider in PROVIDERS {
            for script in scripts {
                world.chat("e", &[Entity::new(provider, &format!("m;{script}")).timeouts(100, 100)]);
                for stream in [false, true] {
                    let got = world.ask("e", stream).await;
                    let seen = format!("{:?} {}", got.headers, got.text);
                    assert!(!seen.contains(KEY) && !seen.contains(TOKEN), "{seen}");
                }
            }
        }
        let records = format!("{:?} {:?}", world.records.admissions(), world.records.settlements());
        assert!(!records.contains(KEY) && !records.contains(TOKEN));
    })
    .await;
}

/// A custom engine gets the caller's bytes: only the model is another.
#[tokio::test]
async fn a_custom_engine_gets_what_was_sent() {
    world(async |world| {
        world.chat("e", &[Entity::new("custom", "theirs")]);
        let body = r#"{"messages":[{"role":"user","content":"\u00e9x","x-new":{"a":1.50}}],"stream":true,"max_tokens":5,"novel":[1e3]}"#;
        let got = world.post_text(&invocations("e"), body).await;
        assert!(got.is_done(), "{got:?}");
        let expected = format!("{},\"model\":\"theirs\"}}", &body[..body.len() - 1]);
        let record = world.ledger.requests().remove(0);
        assert_eq!(record.body_sha256, sha256(&expected));
        // It was not asked for usage, so that it gave none: the client gets some all the same.
        assert!(got.usage()["total_tokens"].as_u64() > Some(0));
        assert_eq!(world.records.only().usage.unwrap().provenance, Provenance::Estimated);
    })
    .await;
}

fn sha256(text: &str) -> String {
    // The hash that identifies tokens is the plain SHA-256 of a text.
    policy::identity::hash_token(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
