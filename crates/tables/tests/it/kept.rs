//! What becomes of tables over time, and of what is served.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use journal::{Admission, RecordSink};
use parking_lot::Mutex;
use tollgate_tables::{
    Retention, ServedEndpoint, ServedEntities, ServedEntity, ServedNow, Step, TableError, TableName,
};

use crate::world::{GATEWAY, RETENTION, SERVING, World, admission, calls, crash_at, settlement};

#[tokio::test(flavor = "multi_thread")]
async fn small_files_are_put_together_and_what_nothing_refers_to_is_deleted() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    for round in 0..10 {
        calls(&flusher.journal, &format!("c{round}"), 4);
        flusher.flush().await.unwrap();
    }
    let name = TableName::parse("main.logs.chat_payload").unwrap();
    assert_eq!(world.lake.info(&name).await.unwrap().unwrap().files, 10);
    flusher.keep().await;
    let info = world.lake.info(&name).await.unwrap().unwrap();
    assert_eq!((info.files, info.rows), (1, Some(40)));
    let day = world.lake.folder(&name).unwrap().join("request_date=2025-11-26");
    assert_eq!(std::fs::read_dir(day).unwrap().count(), 1, "the ten old files are gone");
    calls(&flusher.journal, "after", 2);
    flusher.flush().await.unwrap();
    assert_eq!(world.rows("main.logs.chat_payload").await, 42);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_that_died_was_writing_is_deleted_an_hour_later() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    calls(&flusher.journal, "c", 4);
    flusher.flush().await.unwrap();
    let folder = world.lake.folder(&TableName::parse("main.logs.chat_payload").unwrap()).unwrap();
    let day = folder.join("request_date=2025-11-26");
    let (new, old) =
        (day.join("new.parquet#1"), [day.join("x.parquet#1"), folder.join("_delta_log/9.json#12")]);
    std::fs::write(&new, "begun").unwrap();
    for old in &old {
        let file = std::fs::File::create(old).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        file.set_modified(written - Duration::from_secs(3700)).unwrap();
    }
    flusher.keep().await;
    assert!(new.exists() && old.iter().all(|old| !old.exists()));
    assert_eq!(world.rows("main.logs.chat_payload").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_tables_are_looked_after_loses_nothing() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    for round in 0..8 {
        calls(&flusher.journal, &format!("c{round}"), 4);
        flusher.flush().await.unwrap();
    }
    let name = TableName::parse("main.logs.chat_payload").unwrap();
    flusher.crash = Some(Arc::new(|step| step == Step::Kept));
    flusher.keep().await;
    let info = world.lake.info(&name).await.unwrap().unwrap();
    assert_eq!((info.files, info.rows), (8, Some(32)), "what was put together is not in the table");
    let day = world.lake.folder(&name).unwrap().join("request_date=2025-11-26");
    assert_eq!(std::fs::read_dir(&day).unwrap().count(), 9);
    flusher.retention = Retention { payload_days: Some(30), ..RETENTION };
    flusher.keep().await;
    assert_eq!(world.rows("main.logs.chat_payload").await, 32);
    (flusher.crash, flusher.retention) = (None, RETENTION);
    flusher.keep().await;
    let info = world.lake.info(&name).await.unwrap().unwrap();
    assert_eq!((info.files, info.rows), (1, Some(32)));
    assert_eq!(std::fs::read_dir(&day).unwrap().count(), 2, "somebody may be about to commit what is new");
    for file in std::fs::read_dir(&day).unwrap() {
        let file = std::fs::OpenOptions::new().append(true).open(file.unwrap().path()).unwrap();
        file.set_modified(file.metadata().unwrap().modified().unwrap() - Duration::from_secs(3601)).unwrap();
    }
    flusher.keep().await;
    assert_eq!(std::fs::read_dir(&day).unwrap().count(), 1, "what the crash left is gone");
    assert_eq!(world.rows("main.logs.chat_payload").await, 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_days_that_are_over_are_removed() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    calls(&flusher.journal, "c", 4);
    flusher.flush().await.unwrap();
    flusher.retention = Retention { payload_days: Some(30), ..RETENTION };
    flusher.keep().await;
    assert_eq!(world.rows("main.logs.chat_payload").await, 0);
    assert_eq!(world.rows("system.serving.endpoint_usage").await, 2);
    flusher.retention =
        Retention { usage_days: Some(30), payload_days: None, unused_files: Duration::from_secs(3600) };
    flusher.keep().await;
    assert_eq!(world.rows("system.serving.endpoint_usage").await, 0);
}

#[derive(Default)]
pub(crate) struct Endpoints(pub(crate) Mutex<Vec<ServedEntity>>);

#[async_trait]
impl ServedEntities for Endpoints {
    async fn served(&self) -> Result<ServedNow, String> {
        Ok(ServedNow { current: self.0.lock().clone(), ..ServedNow::default() })
    }

    async fn forget(&self, _mark: i64) -> Result<(), String> {
        Ok(())
    }
}

pub(crate) fn entity(endpoint: &str, config_version: i64, name: &str) -> ServedEntity {
    let endpoint = ServedEndpoint {
        id: format!("id-{endpoint}"),
        name: endpoint.to_owned(),
        config_version,
        config_author: "a".to_owned(),
        config_created_at: 1_764_200_000_000,
        ..ServedEndpoint::default()
    };
    ServedEntity { endpoint: Arc::new(endpoint), name: name.to_owned(), ..ServedEntity::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_of_what_is_served_has_one_row_and_it_says_when_it_ended() {
    let world = World::new();
    let served = Arc::new(Endpoints::default());
    let table = "system.serving.served_entities";
    for (now, rows) in [
        (vec![], 0),
        (vec![entity("a", 1, "x"), entity("a", 1, "y")], 2),
        (vec![entity("a", 1, "x"), entity("a", 1, "y")], 2),
        (vec![entity("a", 2, "x"), entity("b", 1, "z")], 4),
        (vec![entity("b", 1, "z")], 4),
        (vec![entity("b", 1, "z"), entity("c", 1, "x")], 5),
        (vec![], 5),
    ] {
        *served.0.lock() = now;
        // Once by one that goes on and once by one that starts: the second finds nothing to do.
        for journal in ["one", "two"] {
            let mut flusher = world.flusher(journal);
            flusher.served = Some(served.clone());
            flusher.flush().await.unwrap();
            assert_eq!(world.rows(table).await, rows);
        }
    }
    let rows = world.read(table).await;
    let ids: BTreeSet<&str> = rows.iter().map(|row| row["served_entity_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), rows.len(), "one row for each");
    for row in &rows {
        for known in
            ["endpoint_delete_time", "created_by", "endpoint_config_version", "external_model_config"]
        {
            assert!(!row[known].is_null(), "{known}: {row}");
        }
        assert_eq!(row["change_time"], "2025-11-26T23:33:20Z");
    }
}

/// What the control plane's store tells: what is past until it is forgotten.
#[derive(Default)]
struct History(Mutex<ServedNow>);

#[async_trait]
impl ServedEntities for History {
    async fn served(&self) -> Result<ServedNow, String> {
        Ok(self.0.lock().clone())
    }

    async fn forget(&self, mark: i64) -> Result<(), String> {
        let mut now = self.0.lock();
        assert_eq!(now.mark, Some(mark));
        *now = ServedNow { current: now.current.clone(), ..ServedNow::default() };
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_are_replaced_and_endpoints_that_are_deleted_between_flushes_have_their_rows() {
    let world = World::new();
    let table = "system.serving.served_entities";
    let served = Arc::new(History::default());
    served.0.lock().current = vec![entity("a", 1, "x"), entity("b", 1, "x")];
    let mut flusher = world.flusher("journal");
    flusher.served = Some(served.clone());
    flusher.flush().await.unwrap();
    // One is replaced twice, one replaced and deleted, one made and deleted.
    let deleted = [("id-b".to_owned(), 1_764_200_001_000), ("id-c".to_owned(), 1_764_200_002_000)];
    *served.0.lock() = ServedNow {
        current: vec![entity("a", 3, "x")],
        past: vec![entity("a", 1, "x"), entity("a", 2, "x"), entity("b", 2, "x"), entity("c", 1, "x")],
        deleted: deleted.into(),
        mark: Some(5),
    };
    let of_c = || Admission { endpoint_id: "id-c".into(), ..admission("late", GATEWAY) };
    flusher.journal.admit(&of_c()).unwrap();
    flusher.journal.settle(&of_c(), &settlement(10));
    for _ in 0..2 {
        flusher.flush().await.unwrap();
        let rows = world.read(table).await;
        let told = rows.iter().map(|row| {
            let end = row["endpoint_delete_time"].as_str().unwrap_or_default().to_owned();
            (row["endpoint_id"].as_str().unwrap(), row["endpoint_config_version"].as_i64().unwrap(), end)
        });
        let none = String::new;
        let (b, c) = ("2025-11-26T23:33:21Z".to_owned(), "2025-11-26T23:33:22Z".to_owned());
        let expected = [
            ("id-a", 1, none()),
            ("id-a", 2, none()),
            ("id-a", 3, none()),
            ("id-b", 1, b.clone()),
            ("id-b", 2, b.clone()),
            ("id-c", 1, c),
        ];
        assert_eq!(told.collect::<BTreeSet<_>>(), expected.into());
        assert_eq!(rows.len(), 6);
        assert_eq!(served.0.lock().mark, None, "it is told once");
    }
    let calls = world.read("system.ai_gateway.usage").await;
    assert!(!calls[0]["endpoint_metadata"].is_null(), "a deleted endpoint is described too");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_past_is_told_again_until_the_table_has_it() {
    let world = World::new();
    let served = Arc::new(History::default());
    *served.0.lock() = ServedNow { past: vec![entity("a", 1, "x")], mark: Some(1), ..ServedNow::default() };
    let mut flusher = world.flusher("journal");
    flusher.served = Some(served.clone());
    flusher.crash = Some(crash_at(Step::Served, 1));
    assert!(matches!(flusher.flush().await, Err(TableError::Crashed)));
    assert_eq!(served.0.lock().mark, Some(1));
    flusher.crash = None;
    flusher.flush().await.unwrap();
    assert_eq!(served.0.lock().mark, None);
    assert_eq!(world.rows("system.serving.served_entities").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_an_endpoint_that_is_deleted_are_counted_once() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    let served = Arc::new(Endpoints::default());
    *served.0.lock() = vec![ServedEntity { provider: "openai".to_owned(), ..entity("chat", 1, "m") }];
    flusher.served = Some(served.clone());
    let of = |id: &str| Admission { endpoint_id: "id-chat".into(), ..admission(id, SERVING) };
    for id in ["one", "two"] {
        flusher.journal.admit(&of(id)).unwrap();
        flusher.journal.settle(&of(id), &settlement(10));
    }
    for step in ["served", "deleted"] {
        flusher.flush().await.unwrap();
        let entities = world.read("system.serving.served_entities").await;
        let calls = world.read("system.serving.endpoint_usage").await;
        let joined = calls.iter().flat_map(|call| {
            entities.iter().filter(|entity| entity["served_entity_id"] == call["served_entity_id"])
        });
        let providers: Vec<_> = joined.map(|entity| &entity["external_model_config"]["provider"]).collect();
        assert_eq!(providers, ["openai", "openai"], "{step}");
        served.0.lock().clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_what_is_served_is_written_repeats_nothing() {
    let world = World::new();
    let served = Arc::new(Endpoints::default());
    for (now, steps, rows) in [
        (vec![entity("a", 1, "x")], 1, 1),
        // The new one's commit is there then, and the end of the other not.
        (vec![entity("b", 1, "x")], 2, 2),
        (vec![], 1, 2),
    ] {
        *served.0.lock() = now;
        for nth in (1..=steps).rev() {
            let mut flusher = world.flusher("journal");
            flusher.served = Some(served.clone());
            flusher.crash = Some(crash_at(Step::Served, nth));
            assert!(matches!(flusher.flush().await, Err(TableError::Crashed)));
        }
        let mut flusher = world.flusher("journal");
        flusher.served = Some(served.clone());
        flusher.flush().await.unwrap();
        assert_eq!(world.rows("system.serving.served_entities").await, rows);
    }
    let rows = world.read("system.serving.served_entities").await;
    assert!(rows.iter().all(|row| !row["endpoint_delete_time"].is_null()), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workspaces_in_one_table_leave_each_other_s_endpoints_alone() {
    let world = World::new();
    for (rounds, rows) in [(1, 2), (2, 2)] {
        for _ in 0..rounds {
            for workspace in ["1", "2"] {
                let mut flusher = world.flusher(workspace);
                flusher.workspace.workspace_id = workspace.to_owned();
                let endpoints = Endpoints::default();
                *endpoints.0.lock() = vec![entity(&format!("of-{workspace}"), 1, "x")];
                flusher.served = Some(Arc::new(endpoints));
                flusher.flush().await.unwrap();
            }
        }
        assert_eq!(world.rows("system.serving.served_entities").await, rows);
    }
}
