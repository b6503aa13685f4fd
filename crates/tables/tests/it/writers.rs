//! Several who write the same tables at once.

use crate::world::{World, calls};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_of_two_writers_is_there_once() {
    let world = World::new();
    let (mut one, mut two) = (world.flusher("one"), world.flusher("two"));
    for round in 0..6 {
        calls(&one.journal, &format!("one-{round}"), 6);
        calls(&two.journal, &format!("two-{round}"), 4);
        let (first, second) = tokio::join!(one.flush(), two.flush());
        first.unwrap();
        second.unwrap();
    }
    // What lost a race is written by the next flush.
    for flusher in [one, two] {
        drop(flusher);
    }
    for journal in ["one", "two"] {
        world.flusher(journal).flush().await.unwrap();
    }
    assert_eq!(world.rows("main.logs.chat_payload").await, 60);
    assert_eq!(world.rows("system.serving.endpoint_usage").await, 30);
    assert_eq!(world.rows("system.ai_gateway.usage").await, 30);
}
