//! Providers that answer with an error, with nonsense, or not at all.

use std::time::Duration;

use journal::Outcome;
use serde_json::json;
use simulator::Gate;

use crate::raw::{End, Play, Raw};
use crate::world::{Entity, PROVIDERS, Setup, world, world_with};

#[tokio::test]
async fn a_provider_error_keeps_its_status_and_its_body() {
    for provider in PROVIDERS {
        world(async |world| {
            for status in [400, 401, 403, 404, 429, 500, 503, 529] {
                world.chat("e", &[Entity::new(provider, &format!("m;status={status};retry_after=20"))]);
                for stream in [false, true] {
                    let got = world.ask("e", stream).await;
                    assert_eq!(
                        (got.status, got.headers["retry-after"].as_bytes()),
                        (status, &b"20"[..]),
                        "{got:?}"
                    );
                    let said = got.provider_error();
                    let expected = format!("scripted {status} from m;status={status};retry_after=20");
                    let words = said.pointer("/error/message").or_else(|| said.get("message"));
                    assert_eq!(words.and_then(|w| w.as_str()), Some(&*expected), "{said}");
                    let settled = world.records.last();
                    assert_eq!((settled.outcome, settled.status), (Outcome::Failed, status));
                    assert_eq!(settled.attempts[0].status, Some(status));
                    assert!(settled.usage.is_none());
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn the_error_code_goes_with_the_status() {
    let codes = [
        (400, "BAD_REQUEST"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "RESOURCE_DOES_NOT_EXIST"),
        (429, "REQUEST_LIMIT_EXCEEDED"),
        (500, "INTERNAL_ERROR"),
    ];
    world(async |world| {
        for (status, code) in codes {
            world.chat("e", &[Entity::new("openai", &format!("fail-{status}"))]);
            assert_eq!(world.ask("e", false).await.error().0, code);
        }
    })
    .await;
}

#[tokio::test]
async fn retry_after_is_whole_seconds_or_nothing() {
    for (given, expected) in
        [("7", Some("7")), ("0.3", Some("1")), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("x", None)]
    {
        world(async |world| {
            let play =
                Play::whole("429 Slow", &format!("retry-after: {given}\r\n"), r#"{"error":{"message":"m"}}"#);
            let raw = Raw::start(world, play).await;
            world.chat("e", &[Entity::new("openai", "m").at(&raw.url)]);
            let got = world.ask("e", false).await;
            let passed = got.headers.get("retry-after").map(|value| value.to_str().unwrap());
            assert_eq!((got.status, passed), (429, expected));
        })
        .await;
    }
}

#[tokio::test]
async fn an_html_error_page_is_a_string() {
    for provider in PROVIDERS {
        world(async |world| {
            for (script, status) in [("html", 502), ("html;status=404", 404)] {
                world.chat("e", &[Entity::new(provider, &format!("m;{script}"))]);
                let got = world.ask("e", true).await;
                assert_eq!(got.status, status);
                assert!(got.provider_error().as_str().is_some_and(|text| text.contains("bad gateway")));
            }
        })
        .await;
    }
}

/// The status of an error decides about fallback and goes to the client, whatever its body is like.
#[tokio::test]
async fn an_error_keeps_its_status_when_its_body_is_unusable() {
    let long = "x".repeat(1 << 20);
    let cut = Play {
        pieces: vec![b"HTTP/1.1 400 No\r\ncontent-length: 500\r\n\r\n{\"error\":".to_vec()],
        ..Play::default()
    };
    let plays = [
        Play::whole("400 No", "", ""),
        Play::whole("400 No", "", &long),
        Play::whole("400 No", "content-encoding: gzip\r\n", "\u{1f}\u{8b}"),
        Play::whole("400 No", "content-type: application/json\r\n", "{\"error\":"),
        cut.clone().end(End::Close),
        cut.clone().end(End::Reset),
        cut.end(End::Hang),
    ];
    for play in plays {
        world(async |world| {
            let raw = Raw::start(world, play.clone()).await;
            let first = Entity::new("openai", "m").at(&raw.url).named("a", 100).timeouts(10_000, 60_000);
            world.endpoint("e", crate::world::CHAT, true, &[first, Entity::new("openai", "m").named("b", 0)]);
            let got = world.ask("e", false).await;
            assert_eq!(got.status, 400, "{play:?}: {got:?}");
            got.provider_error();
            assert!(got.text.len() < 10_000 && world.ledger.requests().is_empty());
        })
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_502() {
    for provider in PROVIDERS {
        world(async |world| {
            for script in ["malformed", "cut_after=1", "html;status=200"] {
                world.chat("e", &[Entity::new(provider, &format!("m;{script}"))]);
                let got = world.ask("e", false).await;
                assert_eq!(
                    (got.status, got.error().0.as_str()),
                    (502, "INTERNAL_ERROR"),
                    "{script}: {got:?}"
                );
                let said = got.provider_error();
                assert!(said.as_str().is_some_and(|text| text.starts_with("served entity one: ")), "{said}");
                assert!(!got.text.contains("<html>"));
                assert_eq!(world.records.last().outcome, Outcome::Failed);
            }
        })
        .await;
    }
}

#[tokio::test]
async fn transports_that_lie_are_502() {
    let plays = [
        Play::whole("200 OK", "content-encoding: gzip\r\n", "\u{1f}"),
        Play::whole("200 OK", "", ""),
        Play::whole("204 No Content", "", ""),
        Play {
            pieces: vec![b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{}".to_vec()],
            ..Play::default()
        }
        .end(End::Close),
        Play {
            pieces: vec![b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{}".to_vec()],
            ..Play::default()
        }
        .end(End::Reset),
        Play { pieces: vec![b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()], ..Play::default() }.end(End::Close),
        Play::default().end(End::Close),
        Play::default().end(End::Reset),
    ];
    for play in plays {
        for (provider, stream) in
            [("openai", false), ("openai", true), ("anthropic", false), ("anthropic", true)]
        {
            world(async |world| {
                let raw = Raw::start(world, play.clone()).await;
                world.chat("e", &[Entity::new(provider, "m").at(&raw.url)]);
                let got = world.ask("e", stream).await;
                assert_eq!(got.status, 502, "{play:?}: {got:?}");
                got.provider_error();
            })
            .await;
        }
    }
}

/// A call that an upstream may have read is paid for: it is not sent a second time.
#[tokio::test]
async fn a_call_is_not_repeated_behind_the_caller() {
    world(async |world| {
        let raw = Raw::start(world, Play::default().end(End::Close)).await;
        world.chat("e", &[Entity::new("openai", "m").at(&raw.url)]);
        assert_eq!(world.ask("e", false).await.status, 502);
        assert_eq!(raw.requests(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_error_in_a_200_is_an_error() {
    world(async |world| {
        let body = r#"{"error":{"message":"slow down","type":"rate_limit_error"}}"#;
        let raw = Raw::start(world, Play::whole("200 OK", "content-type: application/json\r\n", body)).await;
        world.chat("e", &[Entity::new("custom", "m").at(&raw.url)]);
        let got = world.ask("e", false).await;
        assert_eq!((got.status, &got.provider_error()["error"]["message"]), (429, &json!("slow down")));
    })
    .await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    world(async |world| {
        let target = Raw::start(world, Play::whole("200 OK", "", "{}")).await;
        let location = format!("location: {}/v1/chat/completions\r\n", target.url);
        for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
            let raw = Raw::start(world, Play::whole(status, &location, "")).await;
            world.chat("e", &[Entity::new("openai", "m").at(&raw.url)]);
            let got = world.ask("e", false).await;
            let said = got.provider_error();
            assert_eq!(got.status, 502);
            assert!(said.as_str().is_some_and(|text| text.contains("redirects are not followed")), "{said}");
            assert_eq!(raw.requests(), 1);
        }
        assert_eq!(target.connections(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_dead_upstream_is_502_and_named() {
    world(async |world| {
        let nowhere = world.gate(Gate::Closed).await;
        for provider in PROVIDERS {
            world.chat("e", &[Entity::new(provider, "m").named("primary", 100).at(nowhere.url())]);
            for stream in [false, true] {
                let got = world.ask("e", stream).await;
                let said = got.provider_error();
                assert_eq!((got.status, got.error().0.as_str()), (502, "INTERNAL_ERROR"));
                assert!(said.as_str().is_some_and(|text| text.contains("primary")), "{said}");
                assert!(got.waited < Duration::from_secs(1));
                let settled = world.records.last();
                assert_eq!((settled.outcome, settled.attempts[0].status), (Outcome::Failed, None));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_502_and_says_where_to_allow_it() {
    world_with(Setup { allow: Vec::new(), ..Setup::default() }, async |world| {
        world.chat("loopback", &[Entity::new("openai", "m")]);
        world.chat("name", &[Entity::new("openai", "m").at("http://localhost:9")]);
        world.chat("metadata", &[Entity::new("openai", "m").at("http://169.254.169.254")]);
        // A rule can open the first two; nothing opens link-local, and the message does not promise it.
        for (endpoint, says) in
            [("loopback", "egress.allow"), ("name", "egress.allow"), ("metadata", "never")]
        {
            let got = world.ask(endpoint, false).await;
            let said = got.provider_error();
            assert_eq!(got.status, 502);
            assert!(said.as_str().is_some_and(|text| text.contains(says)), "{said}");
        }
        assert!(world.ledger.requests().is_empty());
    })
    .await;
}
