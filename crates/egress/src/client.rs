//! The one client. Connections are pooled per scheme and authority; a cancelled call drops its connection.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::RwLock;

use crate::address::AddressPolicy;
use crate::connect::{ConnectError, Connector};

type Pool = legacy::Client<HttpsConnector<Connector>, Full<Bytes>>;

/// The connect limit, and whether the connections are TLS.
type PoolKey = (Duration, bool);

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
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            policy: AddressPolicy::default(),
            idle_per_host: 1024,
            // Below the 60 s after which common load balancers close an idle connection.
            idle_timeout: Duration::from_secs(50),
            plain_idle_timeout: Duration::from_secs(4),
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
        let tls = hyper_rustls::ConfigBuilderExt::with_native_roots(tls)?.with_no_client_auth();
        let policy = Arc::new(config.policy.clone());
        Ok(Self { inner: Arc::new(Inner { config, policy, tls, pools: RwLock::default() }) })
    }

    /// Sends one request; `connect_limit` bounds the connection, TLS apart, when a new one is needed.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        connect_limit: Duration,
    ) -> Result<Response<Incoming>, Failure> {
        let tls = request.uri().scheme_str() == Some("https");
        self.pool((connect_limit, tls)).request(request).await.map_err(|e| classify(&e))
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

    fn build(&self, (limit, tls): PoolKey) -> Pool {
        let config = &self.inner.config;
        let connector = Connector { policy: Arc::clone(&self.inner.policy), limit };
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(self.inner.tls.clone())
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(connector);
        legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(if tls { config.idle_timeout } else { config.plain_idle_timeout })
            .pool_max_idle_per_host(config.idle_per_host)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            // A model call that was sent may have been paid for: it is never repeated behind our back
            // once the upstream could have read it. Hyper repeats only what a stale pooled connection
            // never took.
            .retry_canceled_requests(true)
            .build(https)
    }
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

/// rustls hides in an `io::Error`, whose `source` skips it.
fn tls_error(cause: &(dyn Error + 'static)) -> Option<String> {
    let inner = cause.downcast_ref::<io::Error>()?.get_ref()?;
    Some(inner.downcast_ref::<rustls::Error>()?.to_string())
}
