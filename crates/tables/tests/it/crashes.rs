//! A flush that ends anywhere, and the next one.

use tollgate_tables::{Flusher, Step, TableError};

use crate::world::{World, calls, crash_at};

const STEPS: [(Step, usize); 9] = [
    (Step::Sealed, 1),
    (Step::Read, 1),
    (Step::Written, 1),
    (Step::Written, 3),
    (Step::Committed, 1),
    (Step::Committed, 2),
    (Step::Committed, 3),
    (Step::Observed, 1),
    (Step::Deleted, 1),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_loses_nothing_and_repeats_nothing() {
    let world = World::new();
    let mut expected = 0;
    for (at, (step, nth)) in STEPS.into_iter().enumerate() {
        let mut flusher = world.flusher("journal");
        calls(&flusher.journal, &format!("c{at}"), 10);
        expected += 10;
        flusher.crash = Some(crash_at(step, nth));
        assert!(matches!(flusher.flush().await, Err(TableError::Crashed)), "{step:?} {nth}");
        drop(flusher);
        world.flusher("journal").flush().await.unwrap();
        assert_eq!(world.rows("main.logs.chat_payload").await, expected, "{step:?} {nth}");
        assert_eq!(world.rows("system.serving.endpoint_usage").await, expected / 2, "{step:?} {nth}");
        assert_eq!(world.rows("system.ai_gateway.usage").await, expected / 2, "{step:?} {nth}");
    }
    let flusher = world.flusher("journal");
    assert!(flusher.journal.sealed().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flusher_flushes_a_last_time_when_it_is_stopped() {
    let world = World::new();
    let flusher: Flusher = world.flusher("journal");
    let journal = flusher.journal.clone();
    let (stop, tasks) = (tokio_util::sync::CancellationToken::new(), tokio_util::task::TaskTracker::new());
    tasks.spawn(flusher.run(stop.clone()));
    calls(&journal, "c", 4);
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    assert_eq!(world.rows("main.logs.chat_payload").await, 4);
    assert_eq!(journal.sealed().unwrap().len(), 0);
}
