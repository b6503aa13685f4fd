//! Upstreams that fail, each with the figure that must hold: what callers wait, and how often the upstream is
//! asked.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{Got, invocations};
use crate::raw::{Play, Raw};
use crate::timeouts::within_tries;
use crate::world::{CHAT, Entity, KEY, World, textual, world};

pub(crate) fn served(got: &Got) -> &str {
    got.headers.get("served-model-name").map_or("", |name| name.to_str().unwrap())
}

fn asked(world: &World, model: &str) -> usize {
    let requests = world.ledger.requests();
    requests.iter().filter(|record| record.model.as_deref().is_some_and(|m| m.starts_with(model))).count()
}

async fn median(world: &World, endpoint: &str) -> Duration {
    let mut waits = Vec::new();
    for _ in 0..40 {
        let got = world.ask(endpoint, false).await;
        assert_eq!((got.status, served(&got)), (200, "b"), "{got:?}");
        waits.push(got.waited);
    }
    waits.sort_unstable();
    waits[waits.len() / 2]
}

/// A storm of 429, 503 or 529 costs the calls that the next entity serves 5 ms at most, and the entity is not
/// hammered: what opens its circuit, and then one probe a second.
#[tokio::test]
async fn a_storm_costs_callers_next_to_nothing_and_the_upstream_is_let_be() {
    world(async |world| {
        let well = || Entity::new("openai", "well").named("b", 100);
        world.chat("calm", &[well()]);
        for (status, opens) in [(429, 1), (503, 5), (529, 5)] {
            let first = Entity::new("openai", &format!("storm-{status};status={status}")).named("a", 100);
            world.endpoint("e", CHAT, true, &[first, well().named("b", 0)]);
            let began = Instant::now();
            for _ in 0..opens {
                assert_eq!(served(&world.ask("e", false).await), "b");
            }
            within_tries(async || {
                median(world, "e").await <= median(world, "calm").await + Duration::from_millis(5)
            })
            .await;
            let (calls, seconds) = (asked(world, &format!("storm-{status}")), began.elapsed().as_secs() + 1);
            assert!(
                calls <= opens + usize::try_from(seconds).unwrap(),
                "{status}: {calls} calls in {seconds} s"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key_is_named_and_not_shown_and_nothing_is_repeated() {
    world(async |world| {
        let half = &KEY[..KEY.len() - 2];
        for shown in [KEY.to_owned(), half.to_owned(), format!("sk-u******{}", &KEY[KEY.len() - 4..])] {
            let body = format!(r#"{{"error":{{"message":"Incorrect API key provided: {shown}.","code":"bad"}}}}"#);
            let raw = Raw::start(world, Play::whole("401 Unauthorized", "", &body)).await;
            // That of Vertex AI goes to who gives tokens for it, and to no upstream.
            for provider in textual().filter(|provider| *provider != "google-cloud-vertex-ai") {
                let before = raw.requests();
                let entity = Entity::new(provider, "m").named("theirs", 100).at(&raw.url);
                world.chat("e", &[entity]);
                for path in [invocations("e"), "/anthropic/v1/messages".into(), "/openai/v1/chat/completions".into()] {
                    let body = json!({"model": "e", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
                    let got = world.post(&path, &body).await;
                    let case = format!("{provider} {path} {shown}: {got:?}");
                    assert_eq!(got.status, 401, "{case}");
                    let seen = format!("{:?} {}", got.headers, got.text);
                    assert!(!seen.contains(half) && !seen.contains(&shown), "{case}");
                    assert!(seen.contains("Incorrect API key provided: ***"), "{case}");
                    let message: Value = serde_json::from_str(&got.error().1).unwrap();
                    assert_eq!(message["served_entity_name"], "theirs", "{case}");
                }
                assert_eq!(raw.requests(), before + 3, "{provider}");
            }
        }
    })
    .await;
}
