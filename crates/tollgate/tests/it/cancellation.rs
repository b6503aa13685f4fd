//! A client that goes away takes its upstream call with it.

use std::time::Duration;

use simulator::State;

use crate::world::socket::Socket;
use crate::world::{PATIENCE, Server, World, chat, now_ms};

/// From the close of the client's connection to the end of the upstream's.
const WITHIN_MS: u64 = 100;

#[derive(Clone, Copy, Debug)]
enum Leave {
    Close,
    Reset,
}

async fn leaves(world: &World, server: &Server, model: &str, stream: bool, leave: Leave) {
    // Each case has an endpoint of its own; names are letters and digits.
    let name: String =
        format!("{model}-{stream}-{leave:?}").chars().filter(|c| c.is_alphanumeric()).collect();
    server.client.create(&name, &world.chat_config(model)).await;
    let token = world.admin_token();
    let mut socket = Socket::ask(server.client.address, &token, &name, &chat(stream)).await;
    world.upstream(State::Open, PATIENCE).await;
    let has_begun = stream && !model.contains("headers") && !model.contains("first_token");
    if has_begun {
        socket.until("tok-0").await;
    }
    // So that it is waiting for the upstream, and not on its way there.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let closed = now_ms();
    match leave {
        Leave::Close => drop(socket),
        Leave::Reset => socket.reset(),
    }
    let record = world.upstream(State::Cancelled, Duration::from_secs(2)).await;
    let after = record.finished_at_ms.unwrap().saturating_sub(closed);
    println!("{name}: {after} ms");
    assert!(after <= WITHIN_MS, "{name}: the upstream was left after {after} ms: {record:?}");
}

#[tokio::test]
async fn the_upstream_is_left_within_100_ms() {
    let world = World::alone().await;
    let server = world.serve(&[]).await;
    for leave in [Leave::Close, Leave::Reset] {
        leaves(&world, &server, "echo;chunks=1000;chunk_ms=20", true, leave).await;
        leaves(&world, &server, "echo;chunks=1000;chunk_ms=5000", true, leave).await;
        leaves(&world, &server, "echo;chunks=9;hang=body", true, leave).await;
        leaves(&world, &server, "echo;chunks=9;first_token_ms=60000", true, leave).await;
        leaves(&world, &server, "echo;hang=headers", true, leave).await;
        leaves(&world, &server, "echo;hang=headers", false, leave).await;
        leaves(&world, &server, "echo;latency_ms=60000", false, leave).await;
    }
    let metrics = server.client.get("/metrics").await.text;
    assert!(metrics.contains("\ntollgate_requests_in_flight 0\n"), "{metrics}");
    assert_eq!(server.process.stop().await.code, Some(0));
}
