//! Limits of use, over real sockets and without.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use futures_util::FutureExt;
use futures_util::future::{join_all, ready};
use http::Request;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use journal::{LimitHit, Outcome};
use parking_lot::Mutex;
use policy::guardrails::Protocol;
use policy::limits::{Admitting, Asked, Counting, Hold, Limiter, Looking, Measure, Standing, Verdict};
use policy::runtime::{Explain, Question};
use policy::{Principal, PrincipalKind};
use serde_json::{Value, json};
use simulator::State;
use tollgate_gateway::{GatewayConfig, MemoryLimiter};

use crate::client::{Got, chat, invocations};
use crate::judges::{judge, says, set};
use crate::world::{CHAT, EMBEDDINGS, Entity, Setup, TOKEN, World, eventually, world, world_with};

fn ann() -> Arc<Principal> {
    Arc::new(Principal {
        id: "ann".into(),
        name: "ann".into(),
        display_name: "ann".into(),
        kind: PrincipalKind::User,
        groups: Vec::new(),
        can_create: false,
    })
}

/// How `measure` of the endpoint `e` stands for ann.
async fn standing(world: &World, measure: Measure) -> Standing {
    standing_of(world, "e", measure).await
}

pub(crate) async fn standing_of(world: &World, endpoint: &str, measure: Measure) -> Standing {
    let endpoint = world.published(endpoint);
    let question = Question { principal: ann(), endpoint, request: Vec::new() };
    let explained = world.plane.explain(question).await;
    explained.limits.into_iter().find(|standing| standing.measure == measure).unwrap()
}

fn limit(extra: Value) -> Value {
    let mut limit = json!({"renewal_period": "minute"});
    limit.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!([limit])
}

fn header<'a>(got: &'a Got, name: &str) -> &'a str {
    got.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_thousand_at_once_exactly_a_hundred_get_in() {
    for _ in 0..10 {
        world(async |world| {
            world.limited("e", CHAT, false, &limit(json!({"calls": 100})), &[Entity::new("openai", "m")]);
            let body = chat(false).to_string();
            let calls = (0..10_000).map(|_| {
                let service = TowerToHyperService::new(world.router.clone());
                let request =
                    Request::post(invocations("e")).header("authorization", format!("Bearer {TOKEN}"));
                let request = request.body(Body::from(body.clone())).unwrap();
                world.tasks.spawn(async move {
                    let response = service.call(request).await.unwrap();
                    (response.status().as_u16(), response.headers().contains_key("retry-after"))
                })
            });
            let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
            let count = |answer| answers.iter().filter(|given| **given == answer).count();
            assert_eq!((count((200, false)), count((429, true))), (100, 9_900));
            assert_eq!(world.ledger.requests().len(), 100);
            assert_eq!(world.records.settlements().len(), 10_000, "who is refused is recorded too");
        })
        .await;
    }
}

#[tokio::test]
async fn a_refusal_says_which_limit_and_when_to_come_back() {
    world(async |world| {
        world.limited(
            "e",
            CHAT,
            false,
            &limit(json!({"calls": 2, "key": "user"})),
            &[Entity::new("openai", "m")],
        );
        for remaining in ["1", "0"] {
            let got = world.ask("e", remaining == "0").await;
            assert_eq!(got.status, 200);
            assert_eq!(header(&got, "x-ratelimit-limit-requests"), "2");
            assert_eq!(header(&got, "x-ratelimit-remaining-requests"), remaining);
            assert_eq!(header(&got, "x-ratelimit-reset-requests"), "30s");
        }
        let got = world.ask("e", true).await;
        assert_eq!((got.status, header(&got, "retry-after")), (429, "30"));
        assert_eq!(header(&got, "x-ratelimit-remaining-requests"), "0");
        let (code, message) = got.error();
        assert_eq!(code, "REQUEST_LIMIT_EXCEEDED");
        assert!(
            message
                .contains("the user default rate limit is 2 calls per minute, 2 are used; it resets in 30 s"),
            "{message}"
        );
        let settled = world.records.last();
        assert_eq!((settled.outcome, settled.status, settled.attempts.len()), (Outcome::Refused, 429, 0));
        let hit = LimitHit { key: "user", principal: None, measure: "calls", refused: true };
        assert_eq!(world.records.hits(), [hit]);
    })
    .await;
}

#[tokio::test]
async fn each_surface_says_it_in_its_own_shape() {
    world(async |world| {
        world.limited("e", CHAT, false, &limit(json!({"calls": 1})), &[Entity::new("openai", "m")]);
        assert_eq!(world.ask("e", false).await.status, 200);
        let messages = json!([{"role": "user", "content": "hi"}]);
        let contents = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
        let asks = [
            (
                "/openai/v1/chat/completions",
                json!({"model": "e", "messages": messages}),
                "/error/type",
                "rate_limit_error",
            ),
            ("/openai/v1/responses", json!({"model": "e", "input": "hi"}), "/error/type", "rate_limit_error"),
            (
                "/anthropic/v1/messages",
                json!({"model": "e", "max_tokens": 5, "messages": messages}),
                "/error/type",
                "rate_limit_error",
            ),
            ("/gemini/v1beta/models/e:generateContent", contents, "/error/status", "RESOURCE_EXHAUSTED"),
        ];
        for (path, body, place, says) in asks {
            let got = world.post(path, &body).await;
            assert_eq!((got.status, header(&got, "retry-after")), (429, "30"), "{path}");
            assert_eq!(got.json().pointer(place).unwrap(), says, "{path}");
            assert_eq!(got.error().0, "REQUEST_LIMIT_EXCEEDED", "{path}");
            assert_eq!(header(&got, "x-ratelimit-limit-requests"), "1", "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_limit_of_0_switches_the_endpoint_off() {
    world(async |world| {
        for measure in ["calls", "tokens"] {
            world.limited("e", CHAT, false, &limit(json!({measure: 0})), &[Entity::new("openai", "m")]);
            let got = world.ask("e", false).await;
            assert_eq!((got.status, got.error().0.as_str()), (403, "PERMISSION_DENIED"));
            assert!(
                got.error().1.contains("temporarily disabled due to a user defined endpoint rate limit of 0"),
                "{got:?}"
            );
        }
        assert!(world.ledger.requests().is_empty());
        assert_eq!(world.records.settlements().len(), 2);
        let hit = |measure| LimitHit { key: "endpoint", principal: None, measure, refused: true };
        assert_eq!(world.records.hits(), [hit("calls"), hit("tokens")]);
    })
    .await;
}

#[tokio::test]
async fn a_limit_that_only_reports_lets_everything_through() {
    world(async |world| {
        let limits = limit(json!({"calls": 1, "report_only": true}));
        world.limited("e", CHAT, false, &limits, &[Entity::new("openai", "m")]);
        for _ in 0..3 {
            let got = world.ask("e", false).await;
            assert_eq!((got.status, header(&got, "x-ratelimit-limit-requests")), (200, ""));
        }
        let hits = world.records.hits();
        assert!(hits.len() == 2 && hits.iter().all(|hit| !hit.refused), "{hits:?}");
    })
    .await;
}

/// Of 150 streams at once on 6,000 tokens: none is let in beyond the cap, and what is counted at the end is
/// what the provider said, to the token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_under_streaming_load_stay_under_the_cap_and_settle_to_what_was_used() {
    world(async |world| {
        let model = Entity::new("openai", "m;chunks=40;chunk_ms=1");
        world.limited("e", CHAT, false, &limit(json!({"tokens": 6_000})), &[model]);
        let mut body = chat(true);
        body["max_tokens"] = 200.into();
        let done = Arc::new(AtomicU64::new(0));
        let path = invocations("e");
        let streams = (0..150).map(|_| {
            let (done, path, body) = (Arc::clone(&done), path.clone(), &body);
            async move {
                let got = world.post(&path, body).await;
                done.fetch_add(1, Ordering::Relaxed);
                got
            }
        });
        let watch = async {
            let mut highest = 0;
            while done.load(Ordering::Relaxed) < 150 {
                highest = highest.max(standing(world, Measure::Tokens).await.used);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            highest
        };
        let (answers, highest) = futures_util::join!(join_all(streams), watch);
        let used: u64 = answers
            .iter()
            .filter(|got| got.status == 200)
            .map(|got| got.usage()["total_tokens"].as_u64().unwrap())
            .sum();
        // Each answer is shorter than what was reserved for it, so that the cap itself is the bound.
        assert!(highest <= 6_000, "{highest}");
        assert!((1_000..=6_000).contains(&used), "{used}");
        assert!(answers.iter().any(|got| got.status == 429), "the load was no load");
        assert_eq!(standing(world, Measure::Tokens).await.used, used);
    })
    .await;
}

/// A limiter that is looked at after each of its steps.
struct Watched {
    limiter: MemoryLimiter,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    last: Option<Asked>,
    /// By how much the calls that ended since somebody was let in exceeded what was reserved for them.
    beyond: u64,
    in_flight: u64,
    highest: u64,
    wrong: Vec<String>,
}

impl Watched {
    /// Nobody is let in beyond the cap; from then on only what is in flight, and by no more than it exceeds.
    fn check(&self, seen: &mut Seen) {
        let asked = seen.last.as_ref().unwrap();
        let standings = self.limiter.look(asked).now_or_never().unwrap();
        let tokens = standings.iter().find(|standing| standing.measure == Measure::Tokens).unwrap();
        seen.highest = seen.highest.max(tokens.used);
        if tokens.used > tokens.cap + seen.beyond {
            let (used, cap, beyond) = (tokens.used, tokens.cap, seen.beyond);
            seen.wrong.push(format!("{used} used, of {cap} and {beyond} with {} in flight", seen.in_flight));
        }
    }
}

impl Limiter for Watched {
    fn admit<'a>(&'a self, asked: &'a Asked) -> Admitting<'a> {
        let mut seen = self.seen.lock();
        let verdict = self.limiter.admit(asked).now_or_never().unwrap();
        if matches!(verdict, Verdict::Admitted { .. }) {
            (seen.last, seen.beyond) = (Some(asked.clone()), 0);
            seen.in_flight += 1;
            self.check(&mut seen);
        }
        Box::pin(ready(verdict))
    }

    fn settle(&self, hold: Hold, tokens: u64) {
        let mut seen = self.seen.lock();
        seen.beyond += tokens.saturating_sub(hold.reserved);
        seen.in_flight -= 1;
        self.limiter.settle(hold, tokens);
        self.check(&mut seen);
    }

    fn look<'a>(&'a self, asked: &'a Asked) -> Looking<'a> {
        self.limiter.look(asked)
    }
}

/// Answers that are longer than all before them, so that too little is reserved for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_go_beyond_the_cap_by_what_was_reserved_too_little_for_those_in_flight_and_no_more() {
    let limiter = MemoryLimiter::with_clock(Counting::Reserved, || 30_000);
    let watched = Arc::new(Watched { limiter, seen: Mutex::default() });
    let setup = Setup { limiter: Some(watched.clone()), ..Setup::default() };
    world_with(setup, async |world| {
        let answering = |script: &str| {
            let model = Entity::new("openai", &format!("m;{script}"));
            // No multiple of what an answer takes, so that the last to be let in has to do with less.
            world.limited("e", CHAT, false, &limit(json!({"tokens": 1_510})), &[model]);
        };
        answering("chunks=10");
        let mut used = 0;
        for _ in 0..20 {
            used += world.ask("e", true).await.usage()["total_tokens"].as_u64().unwrap();
        }
        // So late that all are let in before one ends, and more is known of how long they are.
        answering("first_token_ms=2000;chunks=60");
        let answers = join_all((0..300).map(|_| world.ask("e", true))).await;
        let served = answers.iter().filter(|got| got.status == 200);
        used += served.map(|got| got.usage()["total_tokens"].as_u64().unwrap()).sum::<u64>();
        let seen = std::mem::take(&mut *watched.seen.lock());
        assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
        assert!(seen.highest > 3_000, "{}: no answer was longer than expected", seen.highest);
        assert!(answers.iter().any(|got| got.status == 429), "the load was no load");
        assert_eq!(seen.in_flight, 0);
        assert_eq!(standing(world, Measure::Tokens).await.used, used);
    })
    .await;
}

#[tokio::test]
async fn an_answer_longer_than_what_was_reserved_is_all_that_goes_beyond_the_cap() {
    world(async |world| {
        // 20 tokens, of which each answer takes 5 for the prompt and 25 or more.
        let model = Entity::new("openai", "m;content_bytes=100");
        world.limited("e", CHAT, false, &limit(json!({"tokens": 20})), &[model]);
        let first = world.ask("e", false).await;
        assert_eq!((first.status, header(&first, "x-ratelimit-remaining-tokens")), (200, "0"));
        let used = first.json()["usage"]["total_tokens"].as_u64().unwrap();
        assert!(used > 20);
        assert_eq!(standing(world, Measure::Tokens).await.used, used);
        let second = world.ask("e", false).await;
        assert_eq!(second.status, 429);
        assert!(second.error().1.contains("tokens per minute"), "{second:?}");
    })
    .await;
}

#[tokio::test]
async fn a_prompt_that_no_window_holds_is_no_429() {
    world(async |world| {
        world.limited("e", CHAT, false, &limit(json!({"tokens": 10})), &[Entity::new("openai", "m")]);
        let body = json!({"messages": [{"role": "user", "content": "x".repeat(200)}]});
        let got = world.post(&invocations("e"), &body).await;
        assert_eq!((got.status, got.error().0.as_str()), (400, "BAD_REQUEST"));
        assert!(got.error().1.contains("an estimated 51 tokens"), "{got:?}");
    })
    .await;
}

#[tokio::test]
async fn what_was_not_used_is_free_again() {
    world(async |world| {
        let limits = limit(json!({"tokens": 2_000, "calls": 50}));
        for script in ["m;status=500", "m;status=429", "m;malformed"] {
            world.limited("e", CHAT, false, &limits, &[Entity::new("openai", script)]);
            assert_ne!(world.ask("e", false).await.status, 200);
        }
        // What the entity cannot say was let in, and no upstream was asked.
        world.limited("e", CHAT, false, &limits, &[Entity::new("anthropic", "m")]);
        let mut body = chat(false);
        body["n"] = 3.into();
        assert_eq!(world.post(&invocations("e"), &body).await.status, 400);
        assert_eq!(standing(world, Measure::Tokens).await.used, 0);
        assert_eq!(standing(world, Measure::Calls).await.used, 4);
    })
    .await;
}

#[tokio::test]
async fn what_a_guardrail_blocks_counts_as_a_call_and_its_tokens_are_free_again() {
    let limits = limit(json!({"tokens": 2_000, "calls": 50}));
    let body = |stream| json!({"model": "e", "stream": stream, "messages": [{"role": "user", "content": "to bob@example.com"}]});
    let ask_all = async |world: &World| {
        // Refused on serving endpoints, answered by the AI Gateway.
        for (path, status) in
            [(invocations("e").as_str(), 400), ("/ai-gateway/mlflow/v1/chat/completions", 200)]
        {
            for stream in [false, true] {
                let got = world.post(path, &body(stream)).await;
                assert_eq!(got.status, status, "{got:?}");
                assert_eq!(world.records.last().outcome, Outcome::Refused);
            }
        }
        assert_eq!(standing(world, Measure::Tokens).await.used, 0);
        assert_eq!(standing(world, Measure::Calls).await.used, 4);
    };
    world(async |world| {
        *world.guardrails.lock() = json!({"input": {"pii": {"behavior": "BLOCK"}}});
        world.limited("e", CHAT, false, &limits, &[Entity::new("openai", "m")]);
        ask_all(world).await;
        assert!(world.ledger.requests().is_empty());
    })
    .await;
    world(async |world| {
        let settings = judge(world, Protocol::LlamaGuard);
        world.chat("judge", &[says("unsafe\nS1")]);
        set(world, settings, json!({"input": {"safety": true}}));
        world.limited("e", CHAT, false, &limits, &[Entity::new("openai", "m")]);
        ask_all(world).await;
        assert_eq!(world.ledger.requests().len(), 4, "the judge alone was asked");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_gives_back_what_it_held() {
    world(async |world| {
        let limits = limit(json!({"tokens": 9_000, "concurrent_calls": 1}));
        world.limited("e", CHAT, false, &limits, &[Entity::new("openai", "m;chunks=50;chunk_ms=50")]);
        let mut running = world.ask_running("e").await;
        running.until("tok-1").await;
        let refused = world.ask("e", false).await;
        assert_eq!((refused.status, header(&refused, "retry-after")), (429, "1"));
        assert!(refused.error().1.contains("1 calls at once, and 1 are under way"), "{refused:?}");
        let reserved = standing(world, Measure::Tokens).await.used;
        drop(running);
        let settled = world.upstream(State::Cancelled, Duration::from_secs(1)).await;
        assert_eq!(settled.state, State::Cancelled);
        let free = async || (standing(world, Measure::ConcurrentCalls).await.used == 0).then_some(());
        assert!(eventually(Duration::from_secs(1), free).await.is_some());
        let used = standing(world, Measure::Tokens).await.used;
        assert!(
            used > 0 && used < 100 && used < reserved,
            "{used} of {reserved}: what was delivered is counted"
        );
    })
    .await;
}

#[tokio::test]
async fn calls_at_once_are_capped_and_the_end_of_one_makes_room() {
    world(async |world| {
        let limits = json!([{"key": "user", "concurrent_calls": 2}]);
        world.limited("e", CHAT, false, &limits, &[Entity::new("openai", "m;chunks=20;chunk_ms=10")]);
        let mut first = world.ask_running("e").await;
        first.until("tok-0").await;
        let mut second = world.ask_running("e").await;
        second.until("tok-0").await;
        assert_eq!(world.ask("e", true).await.status, 429);
        assert_eq!(first.read().await.status, 200);
        assert_eq!(world.ask("e", true).await.status, 200);
        drop(second);
    })
    .await;
}

#[tokio::test]
async fn counting_tokens_takes_none_and_embeddings_their_input_alone() {
    world(async |world| {
        let limits = limit(json!({"tokens": 40, "calls": 10}));
        world.limited("e", CHAT, false, &limits, &[Entity::new("openai", "m")]);
        let body = json!({"model": "e", "messages": [{"role": "user", "content": "x".repeat(2_000)}]});
        let got = world.post("/anthropic/v1/messages/count_tokens", &body).await;
        assert_eq!(got.status, 200, "{got:?}");
        assert_eq!(standing(world, Measure::Tokens).await.used, 0);
        assert_eq!(standing(world, Measure::Calls).await.used, 1);
        world.limited("e", EMBEDDINGS, false, &limits, &[Entity::new("openai", "m")]);
        let got = world.post(&invocations("e"), &json!({"input": "x".repeat(120)})).await;
        assert_eq!((got.status, header(&got, "x-ratelimit-remaining-tokens")), (200, "10"), "{got:?}");
        assert_eq!(standing(world, Measure::Tokens).await.used, 30);
    })
    .await;
}

#[tokio::test]
async fn a_change_of_the_endpoint_keeps_what_was_counted() {
    world(async |world| {
        world.limited("e", CHAT, false, &limit(json!({"calls": 2})), &[Entity::new("openai", "m")]);
        assert_eq!([world.ask("e", false).await.status, world.ask("e", false).await.status], [200, 200]);
        world.limited("e", CHAT, false, &limit(json!({"calls": 3})), &[Entity::new("anthropic", "other")]);
        assert_eq!([world.ask("e", false).await.status, world.ask("e", false).await.status], [200, 429]);
    })
    .await;
}

#[tokio::test]
async fn a_window_ends_with_the_minute() {
    let now = Arc::new(AtomicU64::new(59_000));
    let clock = Arc::clone(&now);
    let limiter = MemoryLimiter::with_clock(Counting::Reserved, move || clock.load(Ordering::Relaxed));
    let setup = Setup { limiter: Some(Arc::new(limiter)), ..Setup::default() };
    world_with(setup, async |world| {
        world.limited("e", CHAT, false, &limit(json!({"calls": 1})), &[Entity::new("openai", "m")]);
        assert_eq!(world.ask("e", false).await.status, 200);
        let got = world.ask("e", false).await;
        assert_eq!((got.status, header(&got, "retry-after")), (429, "1"));
        now.store(60_000, Ordering::Relaxed);
        assert_eq!(world.ask("e", false).await.status, 200);
        assert_eq!(world.ask("e", false).await.status, 429);
    })
    .await;
}

#[tokio::test]
async fn tokens_can_be_counted_after_the_answer_as_databricks_does() {
    let config = GatewayConfig { counting: Counting::After, ..GatewayConfig::default() };
    world_with(Setup { config, ..Setup::default() }, async |world| {
        let model = Entity::new("openai", "m;content_bytes=400");
        world.limited("e", CHAT, false, &limit(json!({"tokens": 100})), &[model]);
        let got = world.ask("e", false).await;
        assert_eq!((got.status, header(&got, "x-ratelimit-remaining-tokens")), (200, "100"));
        assert_eq!(world.ask("e", false).await.status, 429);
    })
    .await;
}

#[tokio::test]
async fn each_token_of_an_input_that_is_tokens_counts() {
    world(async |world| {
        let limits = limit(json!({"tokens": 40}));
        world.limited("e", EMBEDDINGS, false, &limits, &[Entity::new("openai", "m")]);
        let numbers: Vec<u32> = (0..50).collect();
        let got = world.post(&invocations("e"), &json!({"input": [numbers]})).await;
        assert_eq!(got.status, 400, "{got:?}");
        assert!(got.error().1.contains("an estimated 50 tokens"), "{got:?}");
        let got = world.post(&invocations("e"), &json!({"input": &numbers[..30]})).await;
        assert_eq!((got.status, header(&got, "x-ratelimit-remaining-tokens")), (200, "10"), "{got:?}");
    })
    .await;
}

/// What is estimated as nothing is not let in for ever.
#[tokio::test]
async fn a_full_window_has_no_room_for_an_empty_input() {
    world(async |world| {
        let limits = limit(json!({"tokens": 5}));
        world.limited("e", EMBEDDINGS, false, &limits, &[Entity::new("openai", "m")]);
        assert_eq!(world.post(&invocations("e"), &json!({"input": "x".repeat(20)})).await.status, 200);
        assert_eq!(world.post(&invocations("e"), &json!({"input": ""})).await.status, 429);
    })
    .await;
}
