//! The one client. Connections are pooled per scheme and authority; a cancelled call drops its connection.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::RwLock;
use rustls::RootCertStore;

use crate::address::AddressPolicy;
use crate::connect::{ConnectError, Connector};
use crate::established::Since;
use crate::resolve::{Lookup, Resolver, SystemLookup};

type Pool = legacy::Client<HttpsConnector<Connector>, Full<Bytes>>;

/// Most bytes that are read ahead of who takes an answer, and that the head of one may have.
const MAX_BUFFER: usize = 64 << 10;

/// An upstream that was there and closes without a byte does so at once when the connection was stale, and
/// later when it had begun to work on the request.
const STALE_WITHIN: Duration = Duration::from_millis(500);

/// Connections of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PoolKey {
    connect_limit: Duration,
    tls: bool,
    /// Every request on a connection of its own.
    fresh: bool,
}

/// Connect limits that differ are few: each has its own pool, up to this many.
const MAX_POOLS: usize = 64;

#[derive(Clone, Debug)]
pub struct ClientConfig {
    pub policy: AddressPolicy,
    /// Idle connections kept per host.
    pub idle_per_host: usize,
    pub idle_timeout: Duration,
    /// The same for plain HTTP: engines on one's own machines close idle connections after 5 s and up, and
    /// a request that crosses that close is lost. A new connection to them costs next to nothing.
    pub plain_idle_timeout: Duration,
    /// Where names are looked up.
    pub lookup: Arc<dyn Lookup>,
    /// Whose certificates are trusted; none: those whom the machine trusts.
    pub roots: Option<Arc<RootCertStore>>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            policy: AddressPolicy::default(),
            idle_per_host: 1024,
            // Below the 60 s after which common load balancers close an idle connection.
            idle_timeout: Duration::from_secs(50),
            plain_idle_timeout: Duration::from_secs(4),
            lookup: Arc::new(SystemLookup),
            roots: None,
        }
    }
}

/// Sends requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    policy: Arc<AddressPolicy>,
    resolver: Resolver,
    tls: rustls::ClientConfig,
    pools: RwLock<HashMap<PoolKey, Pool>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Connect(String),
    /// The address policy said no: a matter of configuration, not of the network.
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    TimedOut(String),
    #[error("tls: {0}")]
    Tls(String),
    #[error("the connection broke: {0}")]
    Broken(String),
}

impl Client {
    /// Errors when the machine's root certificates cannot be read.
    pub fn new(config: ClientConfig) -> io::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let tls = match &config.roots {
            Some(roots) => tls.with_root_certificates(Arc::clone(roots)),
            None => hyper_rustls::ConfigBuilderExt::with_native_roots(tls)?,
        };
        let policy = Arc::new(config.policy.clone());
        let (resolver, tls) = (Resolver::new(Arc::clone(&config.lookup)), tls.with_no_client_auth());
        Ok(Self { inner: Arc::new(Inner { config, policy, resolver, tls, pools: RwLock::default() }) })
    }

    /// A client of its own, with connections of its own, under another policy.
    #[must_use]
    pub fn with_policy(&self, policy: AddressPolicy) -> Self {
        let config = ClientConfig { policy: policy.clone(), ..self.inner.config.clone() };
        let (policy, resolver) = (Arc::new(policy), self.inner.resolver.clone());
        let tls = self.inner.tls.clone();
        Self { inner: Arc::new(Inner { config, policy, resolver, tls, pools: RwLock::default() }) }
    }

    /// Sends one request; `connect_limit` bounds the connection, TLS apart, when a new one is needed.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        connect_limit: Duration,
    ) -> Result<Response<Incoming>, Failure> {
        let tls = request.uri().scheme_str() == Some("https");
        let key = PoolKey { connect_limit, tls, fresh: false };
        let (again, since) = (request.clone(), Instant::now());
        match self.pool(key).request(request).await {
            Ok(response) => Ok(response),
            // The upstream closed a kept connection just as it was used again: engines do so whenever they
            // like. Once more, on a connection of its own. On a new one nothing is ever repeated: there the
            // upstream may have read the request, and a model call may have been paid for.
            Err(error)
                if was_kept(&error, since) && since.elapsed() < STALE_WITHIN && closed_unanswered(&error) =>
            {
                tracing::debug!(host = again.uri().host(), "a kept connection was stale, trying a new one");
                self.pool(PoolKey { fresh: true, ..key }).request(again).await.map_err(|e| classify(&e))
            }
            Err(error) => Err(classify(&error)),
        }
    }

    fn pool(&self, key: PoolKey) -> Pool {
        if let Some(pool) = self.inner.pools.read().get(&key) {
            return pool.clone();
        }
        let mut pools = self.inner.pools.write();
        if pools.len() >= MAX_POOLS {
            pools.clear();
        }
        pools.entry(key).or_insert_with(|| self.build(key)).clone()
    }

    fn build(&self, key: PoolKey) -> Pool {
        let config = &self.inner.config;
        let (policy, resolver) = (Arc::clone(&self.inner.policy), self.inner.resolver.clone());
        let connector = Connector { policy, resolver, limit: key.connect_limit };
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(self.inner.tls.clone())
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(connector);
        legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(if key.tls { config.idle_timeout } else { config.plain_idle_timeout })
            .pool_max_idle_per_host(if key.fresh { 0 } else { config.idle_per_host })
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http1_max_buf_size(MAX_BUFFER)
            .retry_canceled_requests(true)
            .build(https)
    }
}

/// Whether the connection stood before the request was made.
fn was_kept(error: &legacy::Error, since: Instant) -> bool {
    let mut extras = http::Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut extras);
    }
    extras.get::<Since>().is_some_and(|established| established.0 < since)
}

/// Whether the connection ended before the first byte of an answer.
fn closed_unanswered(error: &legacy::Error) -> bool {
    if error.is_connect() {
        return false;
    }
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = source {
        let incomplete =
            cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message);
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        if incomplete || matches!(kind, Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)) {
            return true;
        }
        source = cause.source();
    }
    false
}

fn classify(error: &legacy::Error) -> Failure {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    let mut deepest = String::new();
    while let Some(cause) = source {
        if let Some(connect) = cause.downcast_ref::<ConnectError>() {
            let text = connect.to_string();
            return match connect {
                ConnectError::Denied(_) => Failure::Denied(text),
                ConnectError::TimedOut { .. } => Failure::TimedOut(text),
                ConnectError::NoHost | ConnectError::Resolve { .. } | ConnectError::Connect { .. } => {
                    Failure::Connect(text)
                }
            };
        }
        if let Some(tls) = tls_error(cause) {
            return Failure::Tls(tls);
        }
        deepest = cause.to_string();
        source = cause.source();
    }
    if error.is_connect() { Failure::Connect(deepest) } else { Failure::Broken(deepest) }
}

/// rustls hides in an `io::Error`, which may hide in another: their `source` skips what they hold.
fn tls_error(cause: &(dyn Error + 'static)) -> Option<String> {
    let inner = cause.downcast_ref::<io::Error>()?.get_ref()?;
    match inner.downcast_ref::<rustls::Error>() {
        Some(tls) => Some(tls.to_string()),
        None => tls_error(inner),
    }
}
