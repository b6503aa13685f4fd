//! What a proxy on hyper costs at least: the yardstick beside nginx.
//!
//!   refproxy port=9302 mode=plain                     hyper server → hyper client, bodies untouched
//!   refproxy port=9303 mode=features log=FILE         … and the least an AI gateway with everything on must do:
//!       bearer token → SHA-256 → table of keys, a token bucket per user and per endpoint, the request buffered and
//!       parsed (model replaced, the rest kept raw), the provider's key put in, the usage read out of the response
//!       (of a stream: out of its last events), one record per request written to FILE
//!
//! Also: upstream=127.0.0.1:9100 threads=1

mod features;
mod records;
mod tap;

use anyhow::Context;
use bytes::Bytes;
use features::Features;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, Uri, header};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use protocol::args::Args;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

type Body = BoxBody<Bytes, hyper::Error>;

struct Proxy {
    client: Client<HttpConnector, Body>,
    upstream: String,
    features: Option<Features>,
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed()
}

fn refuse(status: StatusCode, error_code: &str) -> Response<Body> {
    let mut response = Response::new(full(Bytes::from(format!(r#"{{"error_code":"{error_code}"}}"#))));
    *response.status_mut() = status;
    response
}

impl Proxy {
    async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let Ok(uri) = format!("http://{}{path}", self.upstream).parse::<Uri>() else {
            return refuse(StatusCode::BAD_REQUEST, "BAD_REQUEST");
        };
        match &self.features {
            Some(features) => match self.with_features(features, request, uri).await {
                Ok(response) | Err(response) => response,
            },
            None => self.plain(request, uri).await,
        }
    }

    async fn plain(&self, mut request: Request<Incoming>, uri: Uri) -> Response<Body> {
        *request.uri_mut() = uri;
        request.headers_mut().remove(header::HOST);
        match self.client.request(request.map(BodyExt::boxed)).await {
            Ok(response) => response.map(BodyExt::boxed),
            Err(_) => refuse(StatusCode::BAD_GATEWAY, "BAD_GATEWAY"),
        }
    }

    async fn with_features(
        &self,
        features: &Features,
        request: Request<Incoming>,
        uri: Uri,
    ) -> Result<Response<Body>, Response<Body>> {
        let admitted = features.admit(request.headers())?;
        let bad_request = |_| refuse(StatusCode::BAD_REQUEST, "BAD_REQUEST");
        let body = request.into_body().collect().await.map_err(bad_request)?.to_bytes();
        let body = features::with_model(&body).map_err(|_| refuse(StatusCode::BAD_REQUEST, "BAD_REQUEST"))?;
        let upstream = Request::post(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, "Bearer sk-provider-key-0123456789")
            .body(full(body))
            .map_err(|_| refuse(StatusCode::BAD_REQUEST, "BAD_REQUEST"))?;
        let response = self.client.request(upstream).await;
        let (mut parts, body) =
            response.map_err(|_| refuse(StatusCode::BAD_GATEWAY, "BAD_GATEWAY"))?.into_parts();
        parts.headers.remove(header::CONNECTION);
        let tap = features.tap(admitted, &parts, body);
        Ok(Response::from_parts(parts, tap.boxed()))
    }
}

async fn serve(proxy: Arc<Proxy>, port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let connections = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let proxy = proxy.clone();
        connections.spawn(async move {
            let service = hyper::service::service_fn(|request| {
                let proxy = proxy.clone();
                async move { Ok::<_, Infallible>(proxy.handle(request).await) }
            });
            // A client that goes away ends its connection, and nothing else.
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
        });
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::from_process()?;
    let threads = args.number("threads", 1.0)? as usize;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads.max(1)).enable_all().build()?;
    let port = args.number("port", 9302.0)? as u16;
    let features = match args.get("mode").context("mode= is missing")? {
        "plain" => None,
        "features" => Some(Features::new(runtime.block_on(records::start(args.get("log")))?)),
        mode => anyhow::bail!("there is no mode `{mode}`"),
    };
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(4096).build(connector);
    let upstream = args.get("upstream").unwrap_or("127.0.0.1:9100").to_owned();
    runtime.block_on(serve(Arc::new(Proxy { client, upstream, features }), port))
}
