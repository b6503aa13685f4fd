//! Upstreams whose names do not resolve, and what that costs their callers and all others.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use egress::{ClientConfig, LookingUp, Lookup};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::faults::served;
use crate::timeouts::within_tries;
use crate::world::{CHAT, Entity, Setup, World, world, world_with};

/// Ten seconds for names that begin with `slow`, a server's failure for `broken`; all others are this machine.
#[derive(Debug, Default)]
struct Script {
    under_way: Arc<AtomicUsize>,
    most: AtomicUsize,
}

impl Lookup for Script {
    fn addresses(&self, host: String) -> LookingUp {
        let under_way = Arc::clone(&self.under_way);
        self.most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Box::pin(async move {
            if host.starts_with("slow") {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            under_way.fetch_sub(1, Ordering::SeqCst);
            if host.starts_with("broken") {
                return Err(io::Error::other("server failure"));
            }
            Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
        })
    }
}

fn resolving(script: &Arc<Script>) -> Setup {
    let lookup: Arc<dyn Lookup> = script.clone();
    Setup { egress: ClientConfig { lookup, ..ClientConfig::default() }, ..Setup::default() }
}

/// An endpoint whose first entity is at `host`, with another after it.
fn first_at(world: &World, name: &str, host: &str) {
    let first = Entity::new("openai", "m").named("a", 100).at(format!("http://{host}"));
    world.endpoint(name, CHAT, true, &[first, Entity::new("openai", "m").named("b", 0)]);
}

const FIGURE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_name_that_is_not_there_is_passed_over_within_a_second() {
    world(async |world| {
        first_at(world, "e", "no-such-host.invalid");
        within_tries(async || {
            let got = world.ask("e", true).await;
            assert_eq!(served(&got), "b");
            got.waited <= FIGURE
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_resolver_that_fails_or_takes_ten_seconds_is_passed_over_within_a_second() {
    let script = Arc::<Script>::default();
    world_with(resolving(&script), async |world| {
        for (host, says) in [("broken", "server failure"), ("slow", "no answer within 900 ms")] {
            world.chat("alone", &[Entity::new("openai", "m").at(format!("http://{host}"))]);
            let got = world.ask("alone", false).await;
            assert_eq!(got.status, 502);
            assert_eq!(got.provider_error(), format!("served entity one: cannot resolve {host}: {says}"));
            let at = AtomicUsize::new(0);
            within_tries(async || {
                // Another each time: those who ask for one that hangs already are told at once.
                first_at(world, "e", &format!("{host}-{}", at.fetch_add(1, Ordering::Relaxed)));
                let got = world.ask("e", true).await;
                assert_eq!(served(&got), "b");
                got.waited <= FIGURE
            })
            .await;
            assert_eq!(served(&world.ask("e", true).await), "b");
        }
    })
    .await;
}

/// A resolver takes a thread until it answers: no more than four do, and names that are known go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_look_ups_do_not_pile_up_and_do_not_hold_up_known_names() {
    let script = Arc::<Script>::default();
    world_with(resolving(&script), async |world| {
        let here = world.simulator.replace("127.0.0.1", "here");
        world.chat("known", &[Entity::new("openai", "m").at(here)]);
        assert_eq!(world.ask("known", false).await.status, 200);
        let endpoints: Vec<String> = (0..40).map(|at| format!("e{at}")).collect();
        for name in &endpoints {
            first_at(world, name, &format!("slow-{name}"));
        }
        let since = Instant::now();
        let asked = join_all(endpoints.iter().map(|name| world.ask(name, false)));
        let beside = within_tries(async || {
            let got = world.ask("known", true).await;
            assert!(got.is_done(), "{got:?}");
            got.waited + got.took <= Duration::from_millis(100)
        });
        let (answers, ()) = futures_util::join!(asked, beside);
        assert!(answers.iter().all(|got| served(got) == "b"), "{answers:?}");
        assert!(since.elapsed() < FIGURE * 3, "{:?}", since.elapsed());
        assert_eq!(script.most.load(Ordering::SeqCst), 4);
    })
    .await;
}
