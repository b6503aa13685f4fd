//! One connection: resolve, check every address, connect to the first that answers.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::address::{AddressPolicy, Denied};
use crate::established::Established;
use crate::resolve::Resolver;

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the url has no host")]
    NoHost,
    #[error("{0}")]
    Denied(Denied),
    #[error("cannot resolve {host}: {reason}")]
    Resolve { host: String, reason: String },
    #[error("cannot connect to {host}:{port}: {source}")]
    Connect { host: String, port: u16, source: io::Error },
    #[error("no connection to {host}:{port} within {} ms", limit.as_millis())]
    TimedOut { host: String, port: u16, limit: Duration },
}

#[derive(Clone, Debug)]
pub(crate) struct Connector {
    pub(crate) policy: Arc<AddressPolicy>,
    pub(crate) resolver: Resolver,
    pub(crate) limit: Duration,
}

impl Service<Uri> for Connector {
    type Response = Established;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { policy, resolver, limit } = self.clone();
        Box::pin(async move {
            let host = uri.host().ok_or(ConnectError::NoHost)?.trim_matches(['[', ']']).to_owned();
            let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
            match tokio::time::timeout(limit, connect(&policy, &resolver, &host, port)).await {
                Ok(connected) => connected.map(Established::new),
                Err(_) => Err(ConnectError::TimedOut { host, port, limit }),
            }
        })
    }
}

pub(crate) async fn connect(
    policy: &AddressPolicy,
    resolver: &Resolver,
    host: &str,
    port: u16,
) -> Result<TcpStream, ConnectError> {
    let found = resolver.resolve(host).await;
    let addresses = found.map_err(|reason| ConnectError::Resolve { host: host.to_owned(), reason })?;
    // All addresses of a name are checked before one is tried: a name with a forbidden one among them is
    // not to be trusted with the others. Those that are remembered too: the policy knows nothing of them.
    for address in &addresses {
        policy.check(host, *address, port).map_err(ConnectError::Denied)?;
    }
    let mut last = None;
    for address in addresses {
        match TcpStream::connect((address, port)).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(|e| failed(host, port, e))?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(failed(host, port, last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())))
}

fn failed(host: &str, port: u16, source: io::Error) -> ConnectError {
    ConnectError::Connect { host: host.to_owned(), port, source }
}
