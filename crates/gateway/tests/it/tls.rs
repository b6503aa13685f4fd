//! Upstreams whose TLS is not what it should be. There is no setting that would let any of them through.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use egress::ClientConfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::faults::served;
use crate::timeouts::within_tries;
use crate::world::{CHAT, Entity, Setup, World, world, world_with};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A world that trusts this authority and no other.
fn trusting(authority: &Authority) -> Setup {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    Setup {
        egress: ClientConfig { roots: Some(Arc::new(roots)), ..ClientConfig::default() },
        ..Setup::default()
    }
}

/// An upstream of this certificate. Who takes it is answered.
async fn presenting(world: &World, chain: CertificateDer<'static>, key: &KeyPair) -> String {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![chain], key).unwrap();
    let (acceptor, (listener, address)) = (TlsAcceptor::from(Arc::new(config)), listener().await);
    world.tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let body = r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            if stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    format!("https://{address}")
}

/// Of that authority, for that name, valid until the end of that year.
async fn certified(world: &World, by: &Authority, name: &str, year: i32) -> String {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, 12, 31);
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, by).unwrap();
    presenting(world, leaf.der().clone(), &key).await
}

/// A listener that answers every hello in TLS 1.1.
async fn outdated(world: &World) -> String {
    let (listener, address) = listener().await;
    world.tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // 3.2 is TLS 1.1; a random, no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
            let hello = [&[3, 2][..], &[7; 32], &[0, 0, 0x2f, 0]].concat();
            let length = u8::try_from(hello.len()).unwrap();
            let record = [&[22, 3, 2, 0, length + 4, 2, 0, 0, length][..], &hello].concat();
            let mut rest = Vec::new();
            if stream.read(&mut [0; 4096]).await.is_ok() && stream.write_all(&record).await.is_ok() {
                // Until the other side gives up.
                let _ = stream.read_to_end(&mut rest).await;
            }
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

/// Refused alone, and passed over where there is another; the error says what is wrong.
async fn is_refused(world: &World, base: &str, says: &str) {
    let first = || Entity::new("openai", "m").named("a", 100).at(base);
    world.chat("e", &[first()]);
    for stream in [false, true] {
        let got = world.ask("e", stream).await;
        assert_eq!((got.status, got.error().0.as_str()), (502, "INTERNAL_ERROR"), "{says}: {got:?}");
        let said = got.provider_error();
        let said = said.as_str().unwrap();
        assert!(said.starts_with("served entity a: tls: ") && said.contains(says), "{says}: {said}");
    }
    world.endpoint("e", CHAT, true, &[first(), Entity::new("openai", "m").named("b", 0)]);
    assert_eq!(served(&world.ask("e", true).await), "b", "{says}");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    world(async |world| {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let base = presenting(world, made.cert.der().clone(), &made.signing_key).await;
        is_refused(world, &base, "UnknownIssuer").await;
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_is_over_or_of_another_host_is_refused_and_tls_1_1_too() {
    let authority = authority();
    world_with(trusting(&authority), async |world| {
        // The authority itself is trusted, so that what is refused is refused for its own fault.
        let good = certified(world, &authority, "127.0.0.1", 2096).await;
        world.chat("e", &[Entity::new("openai", "m").at(good)]);
        assert_eq!(world.ask("e", false).await.status, 200);
        let expired = certified(world, &authority, "127.0.0.1", 2021).await;
        is_refused(world, &expired, "certificate expired").await;
        let foreign = certified(world, &authority, "api.example.com", 2096).await;
        is_refused(world, &foreign, "not valid for name").await;
        is_refused(world, &outdated(world).await, "ServerDoesNotSupportTls12Or13").await;
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
