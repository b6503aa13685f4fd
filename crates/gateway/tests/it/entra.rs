//! Tokens of Entra ID: got once for all, got anew when refused, and never shown.

use futures_util::future::join_all;

use crate::raw::{Play, Raw};
use crate::world::{Entity, KEY, WRONG, World, world};

const ANSWER: &str =
    r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}"#;

fn exchanges(world: &World) -> usize {
    world.ledger.requests().iter().filter(|record| record.path == "/tenant/oauth2/v2.0/token").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_calls_at_once_get_one_token() {
    world(async |world| {
        world.chat("e", &[Entity::new("azure-entra", "m")]);
        let answers = join_all((0..100).map(|_| world.ask("e", false))).await;
        assert!(answers.iter().all(|got| got.status == 200), "{:?}", answers[0]);
        assert_eq!(exchanges(world), 1);
        let records = world.ledger.requests();
        let call = records.iter().find(|record| record.path.contains("/deployments/")).unwrap();
        // The simulator masks nothing: the token went where the key would have gone, and no key did.
        assert_eq!(call.headers["authorization"], "Bearer entra-simulated");
        assert!(!call.headers.contains_key("api-key"));
    })
    .await;
}

#[tokio::test]
async fn a_token_that_was_revoked_is_got_anew_once() {
    for (refusals, status) in [(1, 200), (9, 401)] {
        world(async |world| {
            let raw = Raw::with(world, move |at| {
                if at < refusals {
                    Play::whole("401 Unauthorized", "", r#"{"error":{"message":"the token is revoked"}}"#)
                } else {
                    Play::whole("200 OK", "", ANSWER)
                }
            })
            .await;
            world.chat("e", &[Entity::new("azure-entra", "m").at(&raw.url)]);
            let got = world.ask("e", false).await;
            assert_eq!((got.status, raw.requests(), exchanges(world)), (status, 2, 2), "{got:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_refused_secret_is_no_fault_of_the_caller_and_is_not_shown() {
    world(async |world| {
        world.chat("e", &[Entity::new("azure-entra", "m").secret("wrong")]);
        for stream in [false, true] {
            let got = world.ask("e", stream).await;
            assert_eq!(got.status, 502, "{got:?}");
            assert!(got.text.contains("AADSTS7000215"), "{got:?}");
            assert!(!got.text.contains(WRONG) && !got.text.contains(KEY), "{got:?}");
        }
        assert!(world.ledger.requests().iter().all(|record| !record.path.contains("/deployments/")));
    })
    .await;
}
