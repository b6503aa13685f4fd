//! Streams that end in another way than they should.

use std::sync::atomic::Ordering;
use std::time::Duration;

use journal::Outcome;
use serde_json::{Value, json};
use tollgate_gateway::GatewayConfig;

use crate::client::{chat, invocations};
use crate::raw::{End, Play, Raw};
use crate::world::{Entity, PROVIDERS, Setup, World, textual, world, world_with};

#[tokio::test]
async fn a_cut_stream_is_an_error_and_no_clean_end() {
    for provider in PROVIDERS {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "m;chunks=10;cut_after=3")]);
            let got = world.ask("e", true).await;
            assert_eq!(got.status, 200);
            let error = got.stream_error();
            assert!(error["message"].as_str().unwrap().contains("served entity one"), "{error}");
            let events = got.events();
            let text: String =
                events.iter().filter_map(|e| e.pointer("/choices/0/delta/content")?.as_str()).collect();
            assert_eq!(text, "tok-0 tok-1 tok-2 ");
            let settled = world.records.only();
            assert_eq!((settled.outcome, settled.status), (Outcome::Failed, 200));
            assert!(settled.usage.is_some());
        })
        .await;
    }
}

/// The upstream closes in good order in the middle of its answer.
#[tokio::test]
async fn a_stream_that_ends_early_is_cut_too() {
    for provider in textual() {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "m;chunks=2;hang=none")]);
            let whole = world.ask("e", true).await;
            assert!(whole.is_done());
            let events = upstream_events(provider);
            let raw = Raw::start(world, Play::stream(&events[..events.len() - 2])).await;
            world.chat("e", &[Entity::new(provider, "m").at(&raw.url)]);
            let got = world.ask("e", true).await;
            got.stream_error();
            assert!(got.text.contains("\"a\""), "{got:?}");
        })
        .await;
    }
}

/// Every event of a small answer; the last two are what makes it whole.
fn upstream_events(provider: &str) -> Vec<String> {
    let data = |value: Value| format!("data: {value}\n\n");
    if provider == "cohere" {
        let content = |text: &str| {
            let message = json!({"content": {"text": text}});
            data(json!({"type": "content-delta", "index": 0, "delta": {"message": message}}))
        };
        return vec![
            data(json!({"type": "message-start", "id": "i"})),
            content("a"),
            content("ö😀"),
            data(json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE"}})),
        ];
    }
    if provider == "anthropic" {
        let named =
            |value: Value| format!("event: {}\n{}", value["type"].as_str().unwrap(), data(value.clone()));
        return vec![
            named(
                json!({"type": "message_start", "message": {"id": "i", "model": "m", "usage": {"input_tokens": 1}}}),
            ),
            named(
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            ),
            named(
                json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}}),
            ),
            named(
                json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ö😀"}}),
            ),
            named(json!({"type": "content_block_stop", "index": 0})),
            named(
                json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}),
            ),
            named(json!({"type": "message_stop"})),
        ];
    }
    if provider.starts_with("google") {
        let event = |text: &str, finish: Value| {
            let candidate =
                json!({"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": finish});
            data(json!({"candidates": [candidate], "modelVersion": "m", "responseId": "i",
                "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}}))
        };
        return vec![event("a", Value::Null), event("ö😀", Value::Null), event("", "STOP".into())];
    }
    let chunk = |delta: Value, finish: Value| {
        data(json!({"id": "i", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
    };
    vec![
        chunk(json!({"role": "assistant", "content": "a"}), Value::Null),
        chunk(json!({"content": "ö😀"}), Value::Null),
        chunk(json!({}), "stop".into()),
        "data: [DONE]\n\n".to_owned(),
    ]
}

async fn through(world: &World, provider: &'static str, play: Play) -> crate::client::Got {
    let raw = Raw::start(world, play).await;
    world.chat("e", &[Entity::new(provider, "m").at(&raw.url)]);
    world.ask("e", true).await
}

#[tokio::test]
async fn bytes_may_come_in_any_pieces_and_line_ends() {
    for provider in textual() {
        world(async |world| {
            let events = upstream_events(provider);
            let expected = through(world, provider, Play::stream(&events)).await;
            assert!(expected.is_done() && expected.streamed_text() == "aö😀", "{expected:?}");
            let all = events.concat();
            let commented = format!(": hello\n\n{}", events.join(": keep-alive\n\n"));
            // A blank line that a server forgets at the very end.
            let unended = all.trim_end();
            for text in [&all.replace('\n', "\r\n"), &all.replace('\n', "\r"), &commented, unended] {
                for length in [1, 2, 3, 7, 4096] {
                    let pieces: Vec<&[u8]> = text.as_bytes().chunks(length).collect();
                    let got = through(world, provider, Play::stream(&pieces)).await;
                    assert!(got.is_done(), "{provider} {length}: {got:?}");
                    assert_eq!(got.streamed_text(), "aö😀");
                    assert_eq!(got.events().len(), expected.events().len(), "{got:?}");
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_cut_at_any_byte_is_a_valid_stream_and_an_error() {
    for provider in PROVIDERS {
        world(async |world| {
            let all = upstream_events(provider).concat();
            // Every byte of one format; of the others as many as show that theirs is no different.
            let step = if provider == "openai" { 1 } else { 11 };
            for at in (1..all.len() - 20).step_by(step) {
                let play = Play::open_stream(&[&all.as_bytes()[..at]]).end(End::Close);
                let got = through(world, provider, play).await;
                if got.status == 200 {
                    got.stream_error();
                } else {
                    assert_eq!(got.status, 502, "{at}: {got:?}");
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn an_unfinished_choice_beside_a_finished_one_is_a_cut() {
    world(async |world| {
        let chunk = |index: u64, finish: Value| {
            let choice = json!({"index": index, "delta": {"content": "x"}, "finish_reason": finish});
            format!("data: {}\n\n", json!({"choices": [choice]}))
        };
        let pieces = [chunk(0, Value::Null), chunk(1, Value::Null), chunk(0, "stop".into())];
        through(world, "openai", Play::stream(&pieces)).await.stream_error();
    })
    .await;
}

#[tokio::test]
async fn a_stream_without_its_terminator_is_whole_when_it_says_so() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "m;no_done")]);
        assert!(world.ask("e", true).await.is_done());
    })
    .await;
}

#[tokio::test]
async fn an_error_as_the_first_event_becomes_the_status() {
    world(async |world| {
        for (provider, status) in [("openai", 500), ("custom", 500), ("anthropic", 529)] {
            world.chat("e", &[Entity::new(provider, "m;error_after=0")]);
            let got = world.ask("e", true).await;
            assert_eq!(got.status, status, "{got:?}");
            assert_eq!(got.provider_error()["error"]["message"], "scripted error in the stream");
            assert_eq!(world.records.last().attempts[0].status, Some(status));
        }
    })
    .await;
}

#[tokio::test]
async fn an_error_after_that_becomes_an_event() {
    for provider in PROVIDERS {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "m;chunks=5;error_after=2")]);
            let got = world.ask("e", true).await;
            assert_eq!(got.status, 200);
            assert_eq!(got.stream_error()["message"], "scripted error in the stream");
            assert!(got.text.contains("tok-1") && !got.text.contains("tok-2"));
            assert_eq!(world.records.only().outcome, Outcome::Failed);
        })
        .await;
    }
}

/// The ways in which engines of the OpenAI format say it.
#[tokio::test]
async fn errors_of_every_spelling_are_errors() {
    let errors = [
        "data: {\"object\":\"error\",\"message\":\"no\",\"code\":400}\n\n",
        "event: error\ndata: {\"message\":\"no\"}\n\n",
        "data: {\"error\":\"no\"}\n\n",
        "data: {\"error\":{\"message\":\"no\"},\"choices\":null}\n\n",
        "data: {\"error\":{\"message\":\"no\"},\"usage\":\"?\"}\n\n",
    ];
    for error in errors {
        world(async |world| {
            let first = &upstream_events("custom")[0];
            let got = through(world, "custom", Play::stream(&[first, error])).await;
            assert_eq!(got.stream_error()["message"], "no", "{error}");
            let got = through(world, "custom", Play::stream(&[error])).await;
            assert!(got.status >= 400, "{error}: {got:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn an_event_that_is_no_json_is_an_error() {
    for provider in PROVIDERS {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "m;chunks=3;malformed")]);
            let got = world.ask("e", true).await;
            if got.status == 200 {
                got.stream_error();
            } else {
                assert_eq!(got.status, 502, "{got:?}");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_200_that_is_no_stream_is_502() {
    world(async |world| {
        for body in ["", "<html>oops</html>", "{\"choices\":[]}", "data:\n\n", ": only a comment\n\n"] {
            let play = Play::whole("200 OK", "content-type: text/html\r\n", body);
            for provider in ["openai", "anthropic"] {
                let got = through(world, provider, play.clone()).await;
                assert_eq!(got.status, 502, "{body}: {got:?}");
                got.provider_error();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn unknown_events_and_keep_alives_are_harmless() {
    for provider in textual() {
        world(async |world| {
            let odd = "event: novelty\ndata: {\"type\":\"novelty\",\"x\":[1,{}]}\n\ndata:\n\ndata: {\"type\":\"ping\"}\n\n";
            let got = through(world, provider, Play::stream(&[upstream_events(provider).join(odd)])).await;
            assert!(got.is_done() && got.streamed_text() == "aö😀", "{provider}: {got:?}");
        })
        .await;
    }
}

/// A repeated usage counts once, and the last of them.
#[tokio::test]
async fn the_last_usage_counts() {
    world(async |world| {
        let usage = |total: u64| {
            let usage = json!({"prompt_tokens": 1, "completion_tokens": total - 1, "total_tokens": total});
            format!("data: {}\n\n", json!({"choices": [], "usage": usage}))
        };
        let mut events = upstream_events("openai");
        events.insert(1, usage(2));
        events.insert(4, usage(9));
        let got = through(world, "openai", Play::stream(&events)).await;
        assert!(got.is_done() && got.usage()["total_tokens"] == 9, "{got:?}");
        assert_eq!(world.records.only().usage.unwrap().usage.total_tokens, 9);
    })
    .await;
}

#[tokio::test]
async fn one_event_of_ten_megabytes_passes_and_one_of_twenty_does_not() {
    for provider in textual() {
        world(async |world| {
            for (mebibytes, passes) in [(10, true), (20, false)] {
                let long = "x".repeat(mebibytes << 20);
                let events: Vec<String> =
                    upstream_events(provider).iter().map(|event| event.replace("ö😀", &long)).collect();
                let got = through(world, provider, Play::stream(&events)).await;
                assert_eq!(got.is_done(), passes);
                if !passes {
                    got.stream_error();
                }
            }
        })
        .await;
    }
}

/// After its terminator an upstream may say what it likes, for as long as it likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_waited_for_after_the_terminator() {
    world(async |world| {
        let endless = vec![upstream_events("openai").concat(); 1]
            .into_iter()
            .chain(std::iter::repeat_n(": more\n\n".repeat(1000), 2000));
        let pieces: Vec<String> = endless.collect();
        for end in [End::Hang, End::Close] {
            let play = Play::open_stream(&pieces).end(end);
            let got = through(world, "openai", play).await;
            assert!(got.is_done() && got.took < Duration::from_secs(1), "{end:?}: {:?}", got.took);
        }
        let silent = Play::open_stream(&[upstream_events("openai").concat()]).end(End::Hang);
        let got = through(world, "openai", silent).await;
        assert!(got.is_done() && got.took < Duration::from_secs(1), "{:?}", got.took);
    })
    .await;
}

/// A byte a millisecond, each in a packet of its own: slower than the idle limit in sum, never in one step.
#[tokio::test]
async fn a_drip_is_a_stream() {
    world(async |world| {
        let all = upstream_events("anthropic").concat();
        let pieces: Vec<&[u8]> = all.as_bytes().chunks(1).collect();
        let raw = Raw::start(world, Play::stream(&pieces).pause(Duration::from_millis(1))).await;
        world.chat("e", &[Entity::new("anthropic", "m").at(&raw.url).timeouts(5000, 400)]);
        let got = world.ask("e", true).await;
        assert!(got.is_done() && got.streamed_text() == "aö😀", "{got:?}");
        assert!(got.took > Duration::from_millis(400), "{:?}", got.took);
    })
    .await;
}

#[tokio::test]
async fn upstream_and_last_byte_wait_for_the_disk_where_that_is_asked() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "m;chunks=3")]);
        world.records.is_strict.store(true, Ordering::Relaxed);
        let asked = tokio::time::timeout(Duration::from_millis(300), world.ask("e", true)).await;
        assert!(asked.is_err() && world.ledger.requests().is_empty(), "the upstream was called");
        // That one, then the admission and the answer's beginning of the next.
        world.records.on_disk.send_replace(3);
        let mut running = world.open(&invocations("e"), &chat(true)).await;
        running.until("tok-1").await;
        let ended = tokio::time::timeout(Duration::from_millis(300), running.until("[DONE]")).await;
        assert!(ended.is_err(), "the end did not wait");
        world.records.on_disk.send_replace(4);
        running.until("[DONE]").await;
    })
    .await;
}

/// The service of Messages sends pings, those of the other formats send nothing, and some clients break on more.
#[tokio::test]
async fn only_who_knows_pings_gets_them_while_the_upstream_is_silent() {
    let ping = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
    for (path, pings) in [
        ("/anthropic/v1/messages", true),
        ("/serving-endpoints/chat/completions", false),
        ("/codex/v1/responses", false),
        ("/gemini/v1/models/e:streamGenerateContent?alt=sse", false),
    ] {
        let config = GatewayConfig { ping_every: Duration::from_millis(40), ..GatewayConfig::default() };
        world_with(Setup { config, ..Setup::default() }, async |world| {
            world.chat("e", &[Entity::new("cohere", "m;chunk_ms=150")]);
            let body = json!({"model": "e", "stream": true, "max_tokens": 50, "messages": [{"role": "user", "content": "a b"}],
                "input": "a b", "contents": [{"role": "user", "parts": [{"text": "a b"}]}]});
            let got = world.post(path, &body).await;
            assert_eq!(got.status, 200, "{got:?}");
            assert_eq!(got.text.contains(ping), pings, "{path} {got:?}");
            assert!(!got.text.contains("ping") || pings, "{path} {got:?}");
            // Nothing is torn: each event begins where one ended.
            let events = got.text.split("\n\n").filter(|event| !event.is_empty());
            assert!(events.clone().all(|event| event.starts_with("event: ") || event.starts_with("data: ")));
        })
        .await;
    }
}
