//! What a name resolves to. One look-up of a name at a time, few at once, and nobody waits for one that hangs:
//! the addresses it had before serve on for a while.
//!
//! Nothing here says whether an address may be connected to: that is asked of each, remembered or not.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

/// Finds the addresses of names.
pub trait Lookup: fmt::Debug + Send + Sync {
    /// In the order in which they are to be tried.
    fn addresses(&self, host: String) -> LookingUp;
}

pub type LookingUp = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// The machine's own resolver. It takes a thread until it answers and cannot be told to stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses(&self, host: String) -> LookingUp {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Look-ups under way. The machine's resolver takes a thread for each, of those that files are written with.
const AT_ONCE: usize = 4;
/// Names that are remembered; at that many, all but those that are being looked up are forgotten.
const MOST_NAMES: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Times {
    /// Addresses older than this are given and looked up again behind the answer.
    renewed_after: Duration,
    /// Older ones are waited for,
    waited_for_after: Duration,
    /// as long as this at most, from the beginning of the look-up.
    patience: Duration,
    /// Older ones are not used, whatever the resolver does.
    dropped_after: Duration,
}

const TIMES: Times = Times {
    renewed_after: Duration::from_secs(15),
    waited_for_after: Duration::from_secs(30),
    patience: Duration::from_millis(900),
    dropped_after: Duration::from_secs(600),
};

#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    lookup: Arc<dyn Lookup>,
    times: Times,
    room: Semaphore,
    names: Mutex<HashMap<String, Name>>,
}

#[derive(Debug, Default)]
struct Name {
    found: Option<Found>,
    flight: Option<Flight>,
}

#[derive(Debug)]
struct Found {
    at: Instant,
    addresses: Vec<IpAddr>,
}

/// A look-up, over when its sender is gone.
#[derive(Clone, Debug)]
struct Flight {
    began: Instant,
    landed: watch::Receiver<Option<Result<Vec<IpAddr>, String>>>,
}

impl Resolver {
    pub(crate) fn new(lookup: Arc<dyn Lookup>) -> Self {
        Self::with_times(lookup, TIMES)
    }

    fn with_times(lookup: Arc<dyn Lookup>, times: Times) -> Self {
        let room = Semaphore::new(AT_ONCE);
        Self { inner: Arc::new(Inner { lookup, times, room, names: Mutex::default() }) }
    }

    /// At least one address. Errors say why there is none.
    pub(crate) async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let mut flight = match self.known(host) {
            Ok(addresses) => return Ok(addresses),
            Err(flight) => flight,
        };
        let patience = self.inner.times.patience;
        let landed = flight.landed.wait_for(Option::is_some);
        let reason = match timeout_at(flight.began + patience, landed).await {
            Ok(Ok(landed)) => match &*landed {
                Some(Ok(addresses)) => return Ok(addresses.clone()),
                Some(Err(reason)) => reason.clone(),
                None => BROKE_OFF.to_owned(),
            },
            Ok(Err(_)) => BROKE_OFF.to_owned(),
            Err(_) => format!("no answer within {} ms", patience.as_millis()),
        };
        self.inner.remembered(host).ok_or(reason)
    }

    /// The addresses if they are young, else the look-up that is under way now.
    fn known(&self, host: &str) -> Result<Vec<IpAddr>, Flight> {
        let (now, times) = (Instant::now(), &self.inner.times);
        let mut names = self.inner.names.lock();
        if names.len() >= MOST_NAMES && !names.contains_key(host) {
            names.retain(|_, name| name.flight().is_some());
        }
        let name = names.entry(host.to_owned()).or_default();
        let young = name.young(now, times.waited_for_after);
        if let (Some(addresses), Some(_)) = (&young, name.young(now, times.renewed_after)) {
            return Ok(addresses.clone());
        }
        let flight = match name.flight() {
            Some(flight) => flight,
            None => self.begin(host, now),
        };
        name.flight = Some(flight.clone());
        young.ok_or(flight)
    }

    /// Looks up on its own, since whoever asked may leave before the machine's resolver is done.
    #[expect(clippy::disallowed_methods, reason = "it holds nothing that a shutdown would have to wait for")]
    fn begin(&self, host: &str, began: Instant) -> Flight {
        let (told, landed) = watch::channel(None);
        let (inner, host) = (Arc::clone(&self.inner), host.to_owned());
        tokio::spawn(async move {
            let found = inner.look_up(&host, began).await;
            match &found {
                Ok(addresses) => {
                    let found = Found { at: Instant::now(), addresses: addresses.clone() };
                    inner.names.lock().entry(host).or_default().found = Some(found);
                }
                Err(reason) if inner.remembered(&host).is_some() => {
                    tracing::warn!(host, reason, "a name does not resolve: its last addresses are used");
                }
                // Who asked is told.
                Err(_) => {}
            }
            // Those who asked may all have left.
            let _ = told.send(Some(found));
        });
        Flight { began, landed }
    }
}

const BROKE_OFF: &str = "the look-up broke off";

impl Inner {
    fn remembered(&self, host: &str) -> Option<Vec<IpAddr>> {
        self.names.lock().get(host)?.young(Instant::now(), self.times.dropped_after)
    }

    async fn look_up(&self, host: &str, began: Instant) -> Result<Vec<IpAddr>, String> {
        let room = timeout_at(began + self.times.patience, self.room.acquire()).await;
        let Ok(Ok(_room)) = room else {
            return Err(format!("{AT_ONCE} look-ups hang, and no more are begun"));
        };
        match self.lookup.addresses(host.to_owned()).await {
            Ok(addresses) if addresses.is_empty() => Err("the name has no address".to_owned()),
            Ok(addresses) => Ok(addresses),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Name {
    fn young(&self, now: Instant, below: Duration) -> Option<Vec<IpAddr>> {
        let found = self.found.as_ref().filter(|found| now.duration_since(found.at) < below)?;
        Some(found.addresses.clone())
    }

    /// The look-up that is under way.
    fn flight(&self) -> Option<Flight> {
        self.flight.clone().filter(|flight| flight.landed.has_changed().is_ok())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpListener;
    use tokio::time::{sleep, sleep_until};

    use super::*;
    use crate::address::AddressPolicy;
    use crate::connect::{ConnectError, connect};

    const SOON: Times = Times {
        renewed_after: Duration::from_millis(100),
        waited_for_after: Duration::from_millis(200),
        patience: Duration::from_millis(300),
        dropped_after: Duration::from_millis(2_000),
    };

    #[derive(Clone, Debug)]
    enum Answer {
        Addresses(&'static [&'static str]),
        Fails,
        Hangs,
    }

    /// A resolver that answers as it is told, 10 ms later.
    #[derive(Debug)]
    struct Scripted {
        answer: Mutex<Answer>,
        asked: AtomicUsize,
        under_way: Arc<Semaphore>,
    }

    impl Scripted {
        fn new(answer: Answer) -> Arc<Self> {
            let under_way = Arc::new(Semaphore::new(1000));
            Arc::new(Self { answer: Mutex::new(answer), asked: AtomicUsize::new(0), under_way })
        }

        fn says(&self, answer: Answer) {
            *self.answer.lock() = answer;
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }

        fn under_way(&self) -> usize {
            1000 - self.under_way.available_permits()
        }
    }

    impl Lookup for Scripted {
        fn addresses(&self, _host: String) -> LookingUp {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let (answer, under_way) = (self.answer.lock().clone(), Arc::clone(&self.under_way));
            Box::pin(async move {
                let _under_way = under_way.acquire_owned().await;
                sleep(Duration::from_millis(10)).await;
                match answer {
                    Answer::Addresses(list) => Ok(list.iter().map(|a| a.parse().unwrap()).collect()),
                    Answer::Fails => Err(io::Error::other("server failure")),
                    Answer::Hangs => std::future::pending().await,
                }
            })
        }
    }

    const ONE: Answer = Answer::Addresses(&["192.0.2.1"]);
    const OTHER: Answer = Answer::Addresses(&["192.0.2.2", "192.0.2.3"]);

    async fn first(resolver: &Resolver, host: &str) -> Result<String, String> {
        Ok(resolver.resolve(host).await?[0].to_string())
    }

    #[tokio::test]
    async fn an_address_is_no_name() {
        let lookup = Scripted::new(Answer::Fails);
        let resolver = Resolver::with_times(lookup.clone(), SOON);
        assert_eq!(first(&resolver, "::1").await.unwrap(), "::1");
        assert_eq!(lookup.asked(), 0);
    }

    #[tokio::test]
    async fn many_at_once_look_up_once_and_a_young_answer_is_used_again() {
        let lookup = Scripted::new(ONE);
        let resolver = Resolver::new(lookup.clone());
        let (a, b, c) = tokio::join!(first(&resolver, "h"), first(&resolver, "h"), first(&resolver, "h"));
        assert!([a, b, c].iter().all(|address| address.as_deref() == Ok("192.0.2.1")));
        first(&resolver, "h").await.unwrap();
        assert_eq!(lookup.asked(), 1);
        first(&resolver, "another").await.unwrap();
        assert_eq!(lookup.asked(), 2);
    }

    #[tokio::test]
    async fn a_change_is_seen_behind_the_answer_and_an_old_answer_is_not_given_before_the_new_one() {
        let lookup = Scripted::new(ONE);
        let (times, since) = (Times { waited_for_after: TIMES.waited_for_after, ..SOON }, Instant::now());
        let resolver = Resolver::with_times(lookup.clone(), times);
        first(&resolver, "h").await.unwrap();
        lookup.says(OTHER);
        sleep(times.renewed_after).await;
        assert_eq!(first(&resolver, "h").await.unwrap(), "192.0.2.1", "given at once");
        // Renewed behind it.
        while first(&resolver, "h").await.unwrap() != "192.0.2.2" {
            sleep(Duration::from_millis(2)).await;
            assert!(since.elapsed() < Duration::from_secs(5));
        }
        let resolver = Resolver::with_times(lookup.clone(), SOON);
        first(&resolver, "h").await.unwrap();
        lookup.says(ONE);
        sleep(SOON.waited_for_after).await;
        assert_eq!(first(&resolver, "h").await.unwrap(), "192.0.2.1", "waited for");
    }

    #[tokio::test]
    async fn a_resolver_that_fails_or_hangs_leaves_the_last_addresses_for_a_while() {
        for broken in [Answer::Fails, Answer::Hangs] {
            let lookup = Scripted::new(ONE);
            let resolver = Resolver::with_times(lookup.clone(), SOON);
            first(&resolver, "h").await.unwrap();
            let found = Instant::now();
            lookup.says(broken.clone());
            sleep_until(found + SOON.waited_for_after).await;
            for _ in 0..3 {
                assert_eq!(first(&resolver, "h").await.unwrap(), "192.0.2.1", "{broken:?}");
            }
            // The first waited; those after it do not wait for what hangs already.
            assert!(found.elapsed() < SOON.waited_for_after + SOON.patience * 2, "{broken:?}");
            sleep_until(found + SOON.dropped_after).await;
            let error = first(&resolver, "h").await.unwrap_err();
            assert!(["server failure", "no answer within 300 ms"].contains(&error.as_str()), "{error}");
        }
    }

    #[tokio::test]
    async fn what_failed_is_looked_up_again() {
        let lookup = Scripted::new(Answer::Fails);
        let resolver = Resolver::with_times(lookup.clone(), SOON);
        assert_eq!(first(&resolver, "h").await.unwrap_err(), "server failure");
        lookup.says(Answer::Addresses(&[]));
        assert_eq!(first(&resolver, "h").await.unwrap_err(), "the name has no address");
        lookup.says(ONE);
        assert_eq!(first(&resolver, "h").await.unwrap(), "192.0.2.1");
    }

    #[tokio::test]
    async fn no_more_than_four_look_ups_hang_and_nobody_waits_for_them() {
        let lookup = Scripted::new(Answer::Hangs);
        let resolver = Resolver::with_times(lookup.clone(), SOON);
        let since = Instant::now();
        let hosts: Vec<String> = (0..20).map(|at| format!("h{at}")).collect();
        let asked = hosts.iter().map(|host| first(&resolver, host));
        let answers = futures_util::future::join_all(asked).await;
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
        assert!(since.elapsed() < SOON.patience * 2, "{:?}", since.elapsed());
        assert_eq!((lookup.asked(), lookup.under_way()), (AT_ONCE, AT_ONCE));
    }

    /// A caller who leaves takes neither the look-up nor its room with it.
    #[tokio::test]
    async fn a_look_up_outlives_who_asked() {
        let lookup = Scripted::new(ONE);
        let resolver = Resolver::with_times(lookup.clone(), SOON);
        assert!(tokio::time::timeout(Duration::from_millis(2), first(&resolver, "h")).await.is_err());
        assert_eq!(first(&resolver, "h").await.unwrap(), "192.0.2.1");
        assert_eq!((lookup.asked(), lookup.under_way()), (1, 0));
    }

    /// Also by one that is remembered, and no address of before serves in its place.
    #[tokio::test]
    async fn a_name_that_comes_to_a_forbidden_address_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let policy = AddressPolicy::new(&["127.0.0.1"]).unwrap();
        for forbidden in [&["169.254.169.254"][..], &["127.0.0.1", "169.254.169.254"]] {
            let lookup = Scripted::new(Answer::Addresses(&["127.0.0.1"]));
            let resolver = Resolver::with_times(lookup.clone(), SOON);
            connect(&policy, &resolver, "h", port).await.unwrap();
            lookup.says(Answer::Addresses(forbidden));
            sleep(SOON.waited_for_after).await;
            for broken in [Answer::Fails, Answer::Hangs] {
                let refused = connect(&policy, &resolver, "h", port).await.unwrap_err();
                assert!(matches!(refused, ConnectError::Denied(_)), "{refused}");
                lookup.says(broken);
                sleep(SOON.waited_for_after).await;
            }
        }
    }

    #[tokio::test]
    async fn names_are_not_remembered_without_bound() {
        let resolver = Resolver::with_times(Scripted::new(ONE), SOON);
        for at in 0..MOST_NAMES {
            resolver.inner.names.lock().insert(format!("h{at}"), Name::default());
        }
        first(&resolver, "one more").await.unwrap();
        assert_eq!(resolver.inner.names.lock().len(), 1);
    }
}
