//! Tables that an earlier version made.

use std::sync::Arc;

use deltalake_core::kernel::{ArrayType, DataType, StructField, StructType};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::writer::{DeltaWriter, RecordBatchWriter};
use tollgate_tables::{Flusher, TableInfo, TableName};

use crate::world::{World, calls};

const USAGE: &str = "system.serving.endpoint_usage";

/// The earlier forms, and what their tables did not have.
const FORMS: [(&str, &[&str]); 2] = [
    ("1", &["token_counts", "model", "provider", "request_tags", "requester_groups"]),
    ("2", &["request_tags", "requester_groups"]),
];

async fn info(world: &World) -> TableInfo {
    world.lake.info(&TableName::parse(USAGE).unwrap()).await.unwrap().unwrap()
}

/// Puts a table of an earlier form, with a row, in the place of a table of usage of this form.
async fn older(world: &World, flusher: &mut Flusher, (form, later): (&str, &[&str])) {
    calls(&flusher.journal, "now", 2);
    flusher.flush().await.unwrap();
    let folder = world.lake.folder(&TableName::parse(USAGE).unwrap()).unwrap();
    let url = url::Url::from_directory_path(&folder).unwrap();
    let now = deltalake_core::open_table(url.clone()).await.unwrap();
    let verdict = ["guard", "phase", "outcome"].map(|name| StructField::nullable(name, DataType::STRING));
    let verdict = DataType::from(StructType::try_new(verdict).unwrap());
    let fields = now.snapshot().unwrap().schema();
    let fields = fields.fields().filter(|field| !later.contains(&field.name().as_str()));
    let fields = fields.map(|field| match field.name().as_str() {
        "guardrails" if form == "1" => {
            StructField::nullable("guardrails", DataType::from(ArrayType::new(verdict.clone(), true)))
        }
        _ => field.clone(),
    });
    let fields: Vec<StructField> = fields.collect();
    std::fs::rename(&folder, folder.with_extension("now")).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    let mut old = CreateBuilder::new()
        .with_location(url.as_str())
        .with_columns(fields)
        .with_partition_columns(["request_date"])
        .with_raise_if_key_not_exists(false)
        .with_configuration([("tollgate.form", Some(form))])
        .await
        .unwrap();
    let mut writer = RecordBatchWriter::for_table(&old).unwrap();
    let schema = old.snapshot().unwrap().snapshot().arrow_schema();
    let row = serde_json::json!({"databricks_request_id": "old", "request_date": "2025-11-26",
        "guardrails": [{"guard": "pii", "phase": "input", "outcome": "masked"}]});
    let mut decoder = arrow_json::ReaderBuilder::new(Arc::clone(&schema)).build_decoder().unwrap();
    decoder.serialize(&[row]).unwrap();
    writer.write(decoder.flush().unwrap().unwrap()).await.unwrap();
    writer.flush_and_commit(&mut old).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_form_1_gets_the_columns_that_it_lacks() {
    gets_the_columns_that_it_lacks(FORMS[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_form_2_gets_the_columns_that_it_lacks() {
    gets_the_columns_that_it_lacks(FORMS[1]).await;
}

async fn gets_the_columns_that_it_lacks(form: (&str, &[&str])) {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    older(&world, &mut flusher, form).await;
    drop(flusher);
    let mut flusher = world.flusher("journal");
    for round in 0..9 {
        calls(&flusher.journal, &format!("c{round}"), 2);
        flusher.flush().await.unwrap();
        assert_eq!(flusher.failing().get(&TableName::parse(USAGE).unwrap()), None);
    }
    let of_table = info(&world).await;
    let names: Vec<&str> = of_table.columns.iter().map(|column| column.name.as_str()).collect();
    assert!(names.ends_with(form.1), "{names:?}");
    // The row of before, the change of the columns, and each flush.
    assert_eq!((of_table.rows, of_table.version), (Some(10), 11));
    flusher.keep().await;
    assert_eq!(info(&world).await.files, 1, "files of both forms are put together");
    let rows = world.read(USAGE).await;
    let old = rows.iter().find(|row| row["databricks_request_id"] == "old").unwrap();
    assert_eq!(old["guardrails"][0]["outcome"], "masked");
    assert!(old["guardrails"][0]["tokens"].is_null() && old["model"].is_null());
    assert!(old["request_tags"].is_null() && old["requester_groups"].is_null());
    assert_eq!(rows.iter().filter(|row| row["token_counts"]["input"] == 10).count(), 9);
    assert_eq!(rows.iter().filter(|row| row["request_tags"]["cost"] == "y").count(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_an_earlier_form_that_somebody_altered_stays_as_it_is() {
    let world = World::new();
    let mut flusher = world.flusher("journal");
    older(&world, &mut flusher, FORMS[0]).await;
    let name = TableName::parse(USAGE).unwrap();
    let url = url::Url::from_directory_path(world.lake.folder(&name).unwrap()).unwrap();
    let table = deltalake_core::open_table(url).await.unwrap();
    // It is named as a later one of ours, and is not there by our doing.
    table.add_columns().with_fields([StructField::nullable("model", DataType::LONG)]).await.unwrap();
    let version = info(&world).await.version;
    drop(flusher);
    let mut flusher = world.flusher("journal");
    calls(&flusher.journal, "after", 2);
    flusher.flush().await.unwrap();
    assert!(flusher.failing()[&name].contains("model"));
    assert_eq!(info(&world).await.version, version);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rows_for_the_end_of_an_entity_become_one() {
    use async_trait::async_trait;
    use tollgate_tables::{ServedEndpoint, ServedEntities, ServedEntity, ServedNow};

    struct Only(Vec<ServedEntity>);

    #[async_trait]
    impl ServedEntities for Only {
        async fn served(&self) -> Result<ServedNow, String> {
            Ok(ServedNow { current: self.0.clone(), ..ServedNow::default() })
        }

        async fn forget(&self, _mark: i64) -> Result<(), String> {
            Ok(())
        }
    }

    let world = World::new();
    let endpoint = ServedEndpoint { id: "e".to_owned(), config_version: 1, ..ServedEndpoint::default() };
    let entity =
        ServedEntity { endpoint: Arc::new(endpoint), name: "x".to_owned(), ..ServedEntity::default() };
    let mut flusher = world.flusher("journal");
    flusher.served = Some(Arc::new(Only(vec![entity])));
    flusher.flush().await.unwrap();
    let table = "system.serving.served_entities";
    let id = world.read(table).await[0]["served_entity_id"].clone();
    let folder = world.lake.folder(&TableName::parse(table).unwrap()).unwrap();
    let mut delta = deltalake_core::open_table(url::Url::from_directory_path(folder).unwrap()).await.unwrap();
    let schema = delta.snapshot().unwrap().snapshot().arrow_schema();
    let second = serde_json::json!({"served_entity_id": id, "workspace_id": "1", "endpoint_id": "e",
        "endpoint_delete_time": "2025-11-27T00:00:00Z"});
    let mut decoder = arrow_json::ReaderBuilder::new(Arc::clone(&schema)).build_decoder().unwrap();
    decoder.serialize(&[second]).unwrap();
    let mut writer = RecordBatchWriter::for_table(&delta).unwrap();
    writer.write(decoder.flush().unwrap().unwrap()).await.unwrap();
    writer.flush_and_commit(&mut delta).await.unwrap();
    assert_eq!(world.rows(table).await, 2);
    let mut flusher = world.flusher("journal");
    flusher.served = Some(Arc::new(Only(Vec::new())));
    for _ in 0..2 {
        flusher.flush().await.unwrap();
        let rows = world.read(table).await;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0]["endpoint_delete_time"], "2025-11-27T00:00:00Z");
        assert_eq!(rows[0]["endpoint_config_version"], 1);
    }
}
