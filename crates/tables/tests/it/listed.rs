//! The tables as they are listed.

use std::fs;

use serde_json::json;
use tollgate_tables::TableName;

use crate::world::{World, calls};

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_are_listed_with_their_columns() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    calls(&flusher.journal, "c", 4);
    flusher.flush().await.unwrap();
    let tables = world.lake.list().await.unwrap();
    let names: Vec<String> = tables.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["main.logs.chat_payload", "system.ai_gateway.usage", "system.serving.endpoint_usage"]);
    let payload = tables[&TableName::parse("main.logs.chat_payload").unwrap()].as_ref().unwrap();
    let codes = payload.columns.iter().find(|column| column.name == "logging_error_codes").unwrap();
    assert_eq!(codes.type_text, "array<string>");
    assert!(payload.columns.iter().any(|column| column.partition_index == Some(0)));
    assert!(payload.location.starts_with("file://"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_read_is_listed_with_the_reason_beside_the_others() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    calls(&flusher.journal, "c", 2);
    flusher.flush().await.unwrap();
    let features = json!(["ofTheFuture"]);
    let future = json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": features, "writerFeatures": features}});
    let metadata = json!({"metaData": {"id": "x", "format": {"provider": "parquet", "options": {}},
        "schemaString": r#"{"type":"struct","fields":[]}"#, "partitionColumns": [], "configuration": {}}});
    let broken =
        [("a.b.damaged", "no log".to_owned()), ("main.logs.future", format!("{future}\n{metadata}"))];
    for (name, log) in &broken {
        let log_folder = world.lake.folder(&TableName::parse(name).unwrap()).unwrap().join("_delta_log");
        fs::create_dir_all(&log_folder).unwrap();
        fs::write(log_folder.join(format!("{:020}.json", 0)), log).unwrap();
    }
    // Neither is a table.
    fs::create_dir_all(world.folder.path().join("tables/main/logs/empty")).unwrap();
    let tables = world.lake.list().await.unwrap();
    assert_eq!(tables.len(), 5);
    for (name, _) in &broken {
        let error = tables[&TableName::parse(name).unwrap()].as_ref().unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    assert_eq!(tables.values().filter(|table| table.is_ok()).count(), 3);
    let names: Vec<String> = world.lake.names().await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names[..4], ["a.b.damaged", "main.logs.chat_payload", "main.logs.empty", "main.logs.future"]);
}
