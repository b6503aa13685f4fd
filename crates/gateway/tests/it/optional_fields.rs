//! A stream that was translated for an engine asks it for usage; one that does not know how to be asked is asked
//! without, and remembered.

use std::time::Duration;

use journal::Provenance;
use serde_json::json;

use crate::grid::{Role, Surface, surfaces};
use crate::raw::{End, Play, Raw};
use crate::retries::attempts;
use crate::world::{CHAT, Entity, World, world};

const WORD: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USED: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":17,\"completion_tokens\":4,\"total_tokens\":21}}\n\n";
const DONE: &str = "data: [DONE]\n\n";
/// As engines say it whose validators refuse what they do not know.
const REFUSAL: &str = r#"{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}"#;

/// Those that are not the engine's own format.
fn translated() -> impl Iterator<Item = Surface> {
    let own =
        |surface: &Surface| surface.path.ends_with("/completions") || surface.path.ends_with("/invocations");
    surfaces().into_iter().filter(move |s| s.task == CHAT && s.streams().contains(&true) && !own(s))
}

async fn ask(world: &World, surface: &Surface, raw: &Raw) -> (u16, Provenance, u64) {
    world.chat("e", &[Entity::new("custom", "m").at(format!("{}/v1", raw.url))]);
    let got = surface.ask(world, (surface.body)(Role::User, "hello").unwrap(), true).await;
    let usage = world.records.last().usage.unwrap();
    (got.status, usage.provenance, usage.tokens().total())
}

fn refused() -> Play {
    Play::whole("422 Unprocessable Entity", "content-type: application/json\r\n", REFUSAL)
}

#[tokio::test]
async fn a_translated_stream_has_the_usage_of_the_engine() {
    world(async |world| {
        let raw = Raw::start(world, Play::stream(&[WORD, STOP, USED, DONE])).await;
        let mut count = 0;
        for surface in translated() {
            let asked = ask(world, &surface, &raw).await;
            assert_eq!(asked, (200, Provenance::Provider, 21), "{}", surface.path);
            count += 1;
        }
        assert!(count >= 4, "{count} surfaces");
        let asks = |body: &serde_json::Value| body["stream_options"] == json!({"include_usage": true});
        assert!(raw.bodies().iter().all(asks), "{:?}", raw.bodies());
    })
    .await;
}

#[tokio::test]
async fn a_callers_own_body_asks_for_what_the_caller_asked() {
    world(async |world| {
        let raw = Raw::start(world, Play::stream(&[WORD, STOP, USED, DONE])).await;
        world.chat("e", &[Entity::new("custom", "m").at(format!("{}/v1", raw.url))]);
        assert_eq!(world.ask("e", true).await.status, 200);
        assert!(raw.bodies()[0]["stream_options"].is_null(), "{:?}", raw.bodies());
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_cannot_be_asked_is_asked_without_and_remembered() {
    for surface in translated() {
        world(async |world| {
            let raw = Raw::with(world, |at| match at {
                0 => refused(),
                _ => Play::stream(&[WORD, STOP, DONE]),
            })
            .await;
            for _ in 0..2 {
                let (status, provenance, _) = ask(world, &surface, &raw).await;
                assert_eq!((status, provenance), (200, Provenance::Estimated), "{}", surface.path);
                assert_eq!(attempts(world), [("one".to_owned(), Some(200))]);
            }
            let asked: Vec<bool> =
                raw.bodies().iter().map(|body| body.get("stream_options").is_some()).collect();
            assert_eq!(asked, [true, false, false], "{}", surface.path);
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_refused_without_the_field_too_is_the_callers() {
    world(async |world| {
        let raw = Raw::start(world, refused()).await;
        world.chat("e", &[Entity::new("custom", "m").at(format!("{}/v1", raw.url))]);
        let surface = translated().next().unwrap();
        for asked in [2, 4] {
            let got = surface.ask(world, (surface.body)(Role::User, "hello").unwrap(), true).await;
            assert_eq!((got.status, raw.requests()), (422, asked), "{got:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_that_has_no_such_field_is_sent_once() {
    world(async |world| {
        let raw = Raw::start(world, refused()).await;
        world.chat("e", &[Entity::new("custom", "m").at(format!("{}/v1", raw.url))]);
        let whole = |surface: &Surface| surface.task == CHAT && surface.streams().contains(&false);
        for (at, surface) in surfaces().into_iter().filter(whole).enumerate() {
            let got = surface.ask(world, (surface.body)(Role::User, "hello").unwrap(), false).await;
            assert_eq!((got.status, raw.requests()), (422, at + 1), "{}", surface.path);
        }
    })
    .await;
}

#[tokio::test]
async fn both_requests_are_within_the_time_of_one_attempt() {
    world(async |world| {
        let raw = Raw::with(world, |at| match at {
            0 => {
                // Nothing, and after a while the answer, on a connection that is not used again.
                let mut late = Play::whole("422 Unprocessable Entity", "connection: close\r\n", REFUSAL);
                late.pieces.insert(0, Vec::new());
                late.pause(Duration::from_millis(700))
            }
            _ => Play::default().end(End::Hang),
        })
        .await;
        let entity = Entity::new("custom", "m").at(format!("{}/v1", raw.url)).timeouts(1_000, 1_000);
        world.chat("e", &[entity]);
        let surface = translated().next().unwrap();
        let got = surface.ask(world, (surface.body)(Role::User, "hello").unwrap(), true).await;
        assert_eq!((got.status, raw.requests()), (504, 2), "{got:?}");
        let waited = got.waited.as_millis();
        assert!((1_000..1_600).contains(&waited), "{waited} ms");
    })
    .await;
}
