//! What was acknowledged is there after a crash.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::world::client::Client;
use crate::world::{Server, World, eventually};

/// Creates endpoints until the server is gone; counts those that were acknowledged.
async fn write(client: &Client, world: &World, round: usize, acknowledged: &AtomicUsize) {
    for number in 0.. {
        let body = json!({"name": format!("round-{round}-{number}"), "config": world.chat_config("gpt")});
        let request = client.request(http::Method::POST, "/api/2.0/serving-endpoints", body.to_string());
        match client.try_send(request).await {
            Some(answer) if answer.status == 200 => acknowledged.store(number + 1, Ordering::SeqCst),
            // Cut off: nobody said that it was done.
            None => return,
            Some(answer) => panic!("{answer:?}"),
        }
    }
}

async fn crash(world: &World, server: Server, round: usize) -> usize {
    let acknowledged = AtomicUsize::new(0);
    let client = server.client.clone();
    let crashing = async {
        let some = async || (acknowledged.load(Ordering::SeqCst) >= 15).then_some(());
        eventually(Duration::from_secs(20), some).await.expect("too slow");
        // Each round somewhere else in a write.
        tokio::time::sleep(Duration::from_millis(3 * round as u64)).await;
        server.process.kill().await;
    };
    tokio::join!(crashing, write(&client, world, round, &acknowledged));
    acknowledged.load(Ordering::SeqCst)
}

#[tokio::test]
async fn acknowledged_endpoints_survive_kill_9() {
    let world = World::shared().await;
    let mut expected = Vec::new();
    for round in 0..4 {
        let server = world.serve(&[]).await;
        let acknowledged = crash(&world, server, round).await;
        expected.extend((0..acknowledged).map(|number| format!("round-{round}-{number}")));
        let server = world.serve(&[]).await;
        let there = server.client.endpoints().await;
        let lost: Vec<_> = expected.iter().filter(|name| !there.contains(name)).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        // At most the one that was being written in each round.
        assert!(there.len() <= expected.len() + round + 1, "{there:?}");
        let last = expected.last().unwrap();
        assert_eq!(server.client.ask(last, false).await.content(), "echo: hello", "its secret is lost");
        server.process.stop().await;
    }
}
