//! One connection: resolve, check every address, connect to the first that answers.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::address::{AddressPolicy, Denied};
use crate::established::Established;

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the url has no host")]
    NoHost,
    #[error("{0}")]
    Denied(Denied),
    #[error("cannot resolve {host}: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("cannot connect to {host}:{port}: {source}")]
    Connect { host: String, port: u16, source: io::Error },
    #[error("no connection to {host}:{port} within {} ms", limit.as_millis())]
    TimedOut { host: String, port: u16, limit: Duration },
}

#[derive(Clone, Debug)]
pub(crate) struct Connector {
    pub(crate) policy: Arc<AddressPolicy>,
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
        let Self { policy, limit } = self.clone();
        Box::pin(async move {
            let host = uri.host().ok_or(ConnectError::NoHost)?.trim_matches(['[', ']']).to_owned();
            let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
            match tokio::time::timeout(limit, connect(&policy, &host, port)).await {
                Ok(connected) => connected.map(Established::new),
                Err(_) => Err(ConnectError::TimedOut { host, port, limit }),
            }
        })
    }
}

async fn connect(policy: &AddressPolicy, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let addresses = resolve(host, port).await?;
    // All addresses of a name are checked before one is tried: a name with a forbidden one among them is
    // not to be trusted with the others.
    for address in &addresses {
        policy.check(host, address.ip(), port).map_err(ConnectError::Denied)?;
    }
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(|e| failed(host, port, e))?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(failed(host, port, last.unwrap_or_else(|| io::Error::other("the name has no address"))))
}

fn failed(host: &str, port: u16, source: io::Error) -> ConnectError {
    ConnectError::Connect { host: host.to_owned(), port, source }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = tokio::net::lookup_host((host, port)).await;
    found.map(Iterator::collect).map_err(|source| ConnectError::Resolve { host: host.to_owned(), source })
}
