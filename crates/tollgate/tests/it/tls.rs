//! TLS: both versions of HTTP, and certificates that are replaced while serving.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use crate::world::socket::Socket;
use crate::world::{PATIENCE, Server, World, eventually};

/// Writes a new certificate and its key for `localhost`.
fn certify(world: &World) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    world.write("cert.pem", &made.cert.pem());
    world.write("key.pem", &made.signing_key.serialize_pem());
    made.cert.der().clone()
}

async fn serve(world: &World) -> Server {
    let (cert, key) = (world.path("cert.pem"), world.path("key.pem"));
    let variables = [
        ("TOLLGATE_SERVER__TLS__CERT", cert.to_str().unwrap()),
        ("TOLLGATE_SERVER__TLS__KEY", key.to_str().unwrap()),
        // With TLS there is no need to stay on loopback.
        ("TOLLGATE_SERVER__LISTEN", "0.0.0.0:0"),
    ];
    world.serve(&variables).await
}

/// A connection to a server that must have one of these certificates.
async fn connect(
    server: &Server,
    known: &[&CertificateDer<'static>],
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    known.iter().for_each(|cert| roots.add((*cert).clone()).unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(server.client.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    tokio::time::timeout(PATIENCE, handshake).await.expect("no handshake")
}

async fn served(server: &Server, known: &[&CertificateDer<'static>]) -> CertificateDer<'static> {
    let stream = connect(server, known, b"http/1.1").await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn healthz() -> Request<Empty<Bytes>> {
    Request::builder()
        .method(Method::GET)
        .uri("https://localhost/healthz")
        .header("host", "localhost")
        .body(Empty::new())
        .unwrap()
}

#[tokio::test]
async fn both_versions_of_http_are_spoken() {
    let world = World::shared().await;
    let cert = certify(&world);
    let server = serve(&world).await;
    let tasks = TaskTracker::new();

    let stream = connect(&server, &[&cert], b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tasks.spawn(connection);
    let response = sender.send_request(healthz()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    assert!(response.headers().contains_key("x-request-id"));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok\n");

    let stream = connect(&server, &[&cert], b"http/1.1").await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tasks.spawn(connection);
    let response = sender.send_request(healthz()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_11));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok\n");
}

#[tokio::test]
async fn who_speaks_no_tls_is_sent_away() {
    let world = World::shared().await;
    let cert = certify(&world);
    let server = serve(&world).await;
    let mut socket = Socket::connect(server.client.address).await;
    socket.write(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n").await;
    let said = socket.closed(Duration::from_secs(5)).await.expect("not closed");
    assert!(!said.contains("200"), "{said:?}");
    assert_eq!(served(&server, &[&cert]).await, cert);
}

#[tokio::test]
async fn a_replaced_certificate_is_served() {
    let world = World::shared().await;
    let old = certify(&world);
    let server = serve(&world).await;
    assert_eq!(served(&server, &[&old]).await, old);
    let stream = connect(&server, &[&old], b"http/1.1").await.unwrap();
    let (mut before, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    TaskTracker::new().spawn(connection);

    // What cannot be used is not taken.
    world.write("cert.pem", "broken");
    server.process.stderr.until("not usable", |line| line.contains("not usable")).await;
    assert_eq!(served(&server, &[&old]).await, old);

    let new = certify(&world);
    let is_new = async || (served(&server, &[&old, &new]).await == new).then_some(());
    eventually(Duration::from_secs(3), is_new).await.expect("the old certificate is still served");
    let response = before.send_request(healthz()).await.unwrap();
    assert_eq!(response.status(), 200, "a connection of before goes on");
}

#[tokio::test]
async fn files_that_cannot_be_used_stop_the_start() {
    let world = World::shared().await;
    let (cert, key) = (world.path("cert.pem"), world.path("key.pem"));
    let variables = [
        ("TOLLGATE_SERVER__TLS__CERT", cert.to_str().unwrap()),
        ("TOLLGATE_SERVER__TLS__KEY", key.to_str().unwrap()),
    ];
    let done = world.start_server(&variables).done().await;
    assert!(done.code != Some(0) && done.stderr.contains("cert.pem"), "{done:?}");
    certify(&world);
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    world.write("key.pem", &other.signing_key.serialize_pem());
    let done = world.start_server(&variables).done().await;
    assert!(done.code != Some(0) && done.stderr.contains("do not go together"), "{done:?}");
}
