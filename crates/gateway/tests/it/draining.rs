//! Clients that leave, where the upstream is read on for its own count.

use std::time::Duration;

use journal::{Outcome, Provenance};
use simulator::State;

use crate::world::{Entity, PROVIDERS, eventually, world};

const AT_LAST: Duration = Duration::from_secs(5);

#[tokio::test]
async fn the_upstream_is_read_to_its_end_for_its_own_count() {
    for provider in PROVIDERS {
        world(async |world| {
            let entity = || Entity::new(provider, "m;chunks=40;chunk_ms=5");
            world.chat("whole", &[entity()]);
            world.chat("left", &[entity().on_disconnect("drain")]);
            let mut whole = world.ask_running("whole").await;
            whole.until("tok-39").await;
            let told = eventually(AT_LAST, async || world.records.settlements().pop()).await.unwrap();
            let mut left = world.ask_running("left").await;
            left.until("tok-3 ").await;
            drop(left);
            let second = async || world.records.settlements().get(1).cloned();
            let settled = eventually(AT_LAST, second).await.unwrap();
            assert_eq!((settled.outcome, settled.status), (Outcome::Cancelled, 499), "{provider}");
            // Some are not asked to count their streams, and what came is estimated as ever.
            if ["openai", "anthropic", "cohere", "amazon-bedrock", "google"].contains(&provider) {
                assert_eq!(told.usage.as_ref().unwrap().provenance, Provenance::Provider, "{provider}");
            }
            assert_eq!(settled.usage, told.usage, "{provider}");
            assert!(
                world.ledger.requests().iter().all(|record| record.state != State::Cancelled),
                "{provider}"
            );
        })
        .await;
    }
}

#[tokio::test]
async fn an_upstream_that_fails_after_the_client_left_is_counted_as_far_as_it_came() {
    world(async |world| {
        let entity = Entity::new("openai", "m;chunks=40;chunk_ms=5;cut_after=10");
        world.chat("e", &[entity.on_disconnect("drain")]);
        let mut left = world.ask_running("e").await;
        left.until("tok-3 ").await;
        drop(left);
        let settled = world.settled(AT_LAST).await;
        let usage = settled.usage.unwrap();
        assert_eq!((settled.outcome, usage.provenance), (Outcome::Cancelled, Provenance::Estimated));
        // Ten pieces of six characters.
        assert_eq!(usage.tokens().output(), 15);
    })
    .await;
}
