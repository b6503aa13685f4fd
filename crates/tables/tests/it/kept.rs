//! What becomes of tables over time, and of what is served.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use journal::{Admission, RecordSink};
use parking_lot::Mutex;
use tollgate_tables::{Retention, ServedEndpoint, ServedEntities, ServedEntity, Step, TableError, TableName};

use crate::world::{RETENTION, SERVING, World, admission, calls, crash_at, settlement};

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
    assert_eq!(std::fs::read_dir(&day).unwrap().count(), 1, "what the crash left is gone");
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
    async fn current(&self) -> Result<Vec<ServedEntity>, String> {
        Ok(self.0.lock().clone())
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

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_are_listed_with_their_columns() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    calls(&flusher.journal, "c", 4);
    flusher.flush().await.unwrap();
    let tables = world.lake.list().await.unwrap();
    let names: Vec<String> = tables.iter().map(|info| info.name.to_string()).collect();
    assert_eq!(names, ["main.logs.chat_payload", "system.ai_gateway.usage", "system.serving.endpoint_usage"]);
    let codes = tables[0].columns.iter().find(|column| column.name == "logging_error_codes").unwrap();
    assert_eq!(codes.type_text, "array<string>");
    assert!(tables[0].columns.iter().any(|column| column.partition_index == Some(0)));
    assert!(tables[0].location.starts_with("file://"));
}
