//! Upstreams that fail, each with the figure that must hold: what callers wait, and how often the upstream is
//! asked.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::client::Got;
use crate::timeouts::within_tries;
use crate::world::{CHAT, Entity, KEY, World, world};

fn served(got: &Got) -> &str {
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
async fn a_name_that_is_not_there_is_passed_over_within_a_second() {
    world(async |world| {
        let first = Entity::new("openai", "m").named("a", 100).at("http://no-such-host.invalid");
        world.endpoint("e", CHAT, true, &[first, Entity::new("openai", "m").named("b", 0)]);
        within_tries(async || {
            let got = world.ask("e", true).await;
            assert_eq!(served(&got), "b");
            got.waited <= Duration::from_secs(1)
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key_is_named_and_not_shown_and_nothing_is_repeated() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "revoked;status=401").named("theirs", 100)]);
        let got = world.ask("e", false).await;
        assert_eq!(got.status, 401);
        let seen = format!("{:?} {}", got.headers, got.text);
        assert!(seen.contains("external_model_provider") && !seen.contains(KEY), "{seen}");
        assert_eq!(asked(world, "revoked"), 1);
    })
    .await;
}

/// A listener with a certificate that nobody vouches for.
async fn untrusted(world: &World) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let (acceptor, (listener, address)) = (TlsAcceptor::from(Arc::new(config)), listener().await);
    world.tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let accepted = acceptor.accept(stream).await;
            assert!(accepted.is_err(), "the certificate was taken");
        }
    });
    format!("https://{address}")
}

/// A listener that accepts and says nothing, not even a handshake.
async fn silent(world: &World) -> String {
    let (listener, address) = listener().await;
    world.tasks.spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    format!("https://{address}")
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    world(async |world| {
        let base = untrusted(world).await;
        let first = || Entity::new("openai", "m").named("a", 100).at(&base);
        world.chat("e", &[first()]);
        let got = world.ask("e", false).await;
        assert_eq!((got.status, got.error().0.as_str()), (502, "INTERNAL_ERROR"));
        assert!(got.provider_error().as_str().unwrap().contains("tls:"), "{got:?}");
        world.endpoint("e", CHAT, true, &[first(), Entity::new("openai", "m").named("b", 0)]);
        assert_eq!(served(&world.ask("e", true).await), "b");
    })
    .await;
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_waited_for_as_long_as_a_first_byte() {
    world(async |world| {
        let first = Entity::new("openai", "m").named("a", 100).at(silent(world).await).timeouts(300, 9_000);
        world.endpoint("e", CHAT, true, &[first, Entity::new("openai", "m").named("b", 0)]);
        within_tries(async || {
            let got = world.ask("e", true).await;
            assert_eq!(served(&got), "b");
            got.waited >= Duration::from_millis(300) && got.waited <= Duration::from_millis(400)
        })
        .await;
    })
    .await;
}
