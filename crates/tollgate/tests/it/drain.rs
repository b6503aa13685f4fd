//! Shutdown: what runs may end, nothing new begins, and it is over in time.

use std::time::Duration;

use simulator::State;
use tokio::time::Instant;

use crate::world::socket::Socket;
use crate::world::{PATIENCE, World};

#[tokio::test]
async fn a_stream_may_end() {
    let world = World::shared().await;
    for signal in ["TERM", "INT"] {
        let mut server = world.serve(&[]).await;
        let name = format!("paced-{}", signal.to_lowercase());
        server.client.create(&name, &world.chat_config("echo;chunks=64;chunk_ms=20")).await;
        let mut running = server.client.ask_running(&name).await;
        let mut text = running.until("tok-3 ").await;
        server.process.signal(signal).await;
        assert!(server.client.is_refused(Duration::from_secs(1)).await, "new connections are taken");
        let rest = running.read().await;
        text.push_str(&rest.text);
        assert!(rest.is_done() && !rest.broke, "{signal}: {text}");
        assert!(text.contains("tok-63 ") && text.contains("\"usage\""), "{signal}: {text}");
        assert_eq!(server.process.exit(PATIENCE).await, Some(0));
        let log = server.process.stderr.text();
        assert!(log.contains("\"drained\":true") && log.contains("call settled"), "{log}");
    }
}

#[tokio::test]
async fn an_answer_may_end() {
    let world = World::shared().await;
    let mut server = world.serve(&[]).await;
    server.client.create("slow", &world.chat_config("echo;latency_ms=1000")).await;
    let asking = async {
        let answer = server.client.ask("slow", false).await;
        assert_eq!(answer.content(), "echo: hello");
    };
    let stopping = async {
        world.upstream(State::Open, PATIENCE).await;
        server.process.signal("TERM").await;
    };
    tokio::join!(asking, stopping);
    assert_eq!(server.process.exit(PATIENCE).await, Some(0));
}

#[tokio::test]
async fn idle_connections_hold_nothing_up() {
    let world = World::shared().await;
    let mut server = world.serve(&[]).await;
    let _silent = Socket::connect(server.client.address).await;
    let mut kept_alive = Socket::connect(server.client.address).await;
    kept_alive.write(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n").await;
    kept_alive.until("ok\n").await;
    server.process.signal("TERM").await;
    assert_eq!(server.process.exit(Duration::from_secs(5)).await, Some(0));
    assert!(server.process.stderr.text().contains("\"drained\":true"));
}

#[tokio::test]
async fn a_second_interrupt_ends_it_at_once() {
    let world = World::shared().await;
    let mut server = world.serve(&[]).await;
    server.client.create("long", &world.chat_config("echo;chunks=10000;chunk_ms=20")).await;
    let mut running = server.client.ask_running("long").await;
    running.until("tok-3 ").await;
    server.process.signal("INT").await;
    server.process.stderr.until("stopping", |line| line.contains("stopping")).await;
    server.process.signal("INT").await;
    assert_eq!(server.process.exit(Duration::from_secs(5)).await, Some(130));
    assert!(!running.read().await.is_done());
}

#[tokio::test]
async fn the_drain_is_bounded() {
    let world = World::shared().await;
    let mut server = world.serve(&[("TOLLGATE_SERVER__DRAIN_SECONDS", "1")]).await;
    server.client.create("long", &world.chat_config("echo;chunks=10000;chunk_ms=20")).await;
    server.client.create("stuck", &world.chat_config("echo;hang=headers")).await;
    let mut running = server.client.ask_running("long").await;
    running.until("tok-3 ").await;
    let body = crate::world::chat(false);
    let mut stuck = Socket::ask(server.client.address, &world.admin_token(), "stuck", &body).await;
    world.upstream(State::Open, PATIENCE).await;
    let signalled = Instant::now();
    server.process.signal("TERM").await;
    assert_eq!(server.process.exit(PATIENCE).await, Some(0));
    let took = signalled.elapsed();
    assert!(took > Duration::from_millis(900), "the stream had a second: {took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    let rest = running.read().await;
    assert!(!rest.is_done(), "{}", rest.text);
    assert!(stuck.closed(PATIENCE).await.is_some());
    let log = server.process.stderr.text();
    assert!(log.contains("the drain is over") && log.contains("\"drained\":false"), "{log}");
    for record in world.ledger.requests() {
        assert_eq!(record.state, State::Cancelled, "{record:?}");
    }
}
