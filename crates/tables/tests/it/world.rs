//! A journal, a lake, and calls to record.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use deltalake_core::kernel::schema::cast::cast_record_batch;
use journal::{
    Admission, Attempt, Captured, CountedUsage, Fsync, Journal, JournalConfig, OnFull, Outcome, Payload,
    Provenance, RecordSink, RequestId, Settlement,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tollgate_tables::{Crash, Flusher, Lake, Retention, Step, TableName, Workspace};
use wire::usage::Usage;

pub(crate) const RETENTION: Retention =
    Retention { usage_days: None, payload_days: None, unused_files: Duration::ZERO };

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) lake: Lake,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(folder.path().join("tables").to_str().unwrap(), &[]).unwrap();
        Self { folder, lake }
    }

    pub(crate) fn journal(&self, name: &str) -> Journal {
        open(&self.folder.path().join(name))
    }

    /// As a process makes it that starts.
    pub(crate) fn flusher(&self, journal: &str) -> Flusher {
        let workspace = Workspace { account_id: "a".to_owned(), workspace_id: "1".to_owned() };
        Flusher::new(self.journal(journal), self.lake.clone(), workspace, RETENTION)
    }

    /// Something in the place of a table, which cannot be written then.
    pub(crate) fn block(&self, table: &str) -> PathBuf {
        let place = self.lake.folder(&TableName::parse(table).unwrap()).unwrap();
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(&place, "").unwrap();
        place
    }

    /// The rows of a table, as JSON, without the columns that are in paths.
    pub(crate) async fn read(&self, table: &str) -> Vec<serde_json::Value> {
        let folder = self.lake.folder(&TableName::parse(table).unwrap()).unwrap();
        let url = url::Url::from_directory_path(&folder).unwrap();
        let table = deltalake_core::open_table(url).await.unwrap();
        let schema = table.snapshot().unwrap().snapshot().arrow_schema();
        let mut text = arrow_json::LineDelimitedWriter::new(Vec::new());
        for file in table.get_file_uris().unwrap() {
            let path = file.strip_prefix("file://").unwrap_or(&file).to_owned();
            let file = std::fs::File::open(path).unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
            for batch in reader {
                text.write(&cast_record_batch(&batch.unwrap(), schema.clone(), false, true).unwrap())
                    .unwrap();
            }
        }
        text.finish().unwrap();
        let text = String::from_utf8(text.into_inner()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) async fn rows(&self, table: &str) -> u64 {
        let info = self.lake.info(&TableName::parse(table).unwrap()).await.unwrap();
        info.map_or(0, |info| info.rows.unwrap())
    }
}

fn open(folder: &Path) -> Journal {
    Journal::open(JournalConfig {
        folder: folder.to_owned(),
        fsync: Fsync::Every(Duration::from_millis(50)),
        segment_bytes: 64 << 20,
        max_bytes: 1 << 30,
        on_full: OnFull::Refuse,
        queue_bytes: 1 << 20,
    })
    .unwrap()
}

/// Damages the last record of what is sealed first, and gives the file.
pub(crate) fn damage_last(journal: &Journal) -> PathBuf {
    journal.seal().unwrap();
    let path = journal.sealed().unwrap()[0].path.clone();
    let mut data = std::fs::read(&path).unwrap();
    let last = data.len() - 3;
    data[last] ^= 1;
    std::fs::write(&path, data).unwrap();
    path
}

/// Ends the flush at the `nth` time that it comes to `step`.
pub(crate) fn crash_at(step: Step, nth: usize) -> Crash {
    let seen = AtomicUsize::new(0);
    Arc::new(move |at| at == step && seen.fetch_add(1, Ordering::Relaxed) + 1 == nth)
}

pub(crate) fn admission(id: &str, path: &str) -> Admission {
    Admission {
        request_id: RequestId(id.into()),
        received_at: 1_764_200_000_000,
        endpoint: "chat".into(),
        endpoint_id: "e1".into(),
        config_version: 1,
        requester: "a@example.com".into(),
        groups: vec!["admins".into(), "users".into()],
        client_request_id: Some(format!("client's {id}")),
        usage_context: [("team".to_owned(), "x".to_owned())].into(),
        request_tags: [("cost".to_owned(), "y".to_owned())].into(),
        path: path.to_owned(),
        usage_tracking: true,
        payload_table: Some("main.logs.chat_payload".into()),
        ..Admission::default()
    }
}

pub(crate) fn settlement(tokens: u64) -> Settlement {
    Settlement {
        outcome: Outcome::Completed,
        status: 200,
        entity: Some("m".into()),
        model: Some("gpt".to_owned()),
        provider: Some("openai".to_owned()),
        attempts: vec![Attempt {
            entity: "m".into(),
            started_at: 1_764_200_000_001,
            status: Some(200),
            duration_ms: 2.0,
            began_ms: 0.5,
            fault: None,
            upstream: None,
        }],
        usage: Some(CountedUsage { usage: Usage::new(tokens, 1), provenance: Provenance::Provider }),
        cost: None,
        duration_ms: 3.0,
        first_byte_ms: Some(2.5),
        bytes_out: 10,
        content_type: Some("application/json".to_owned()),
        output_characters: Some(4),
        guards: Vec::new(),
        payload: Some(Box::new(Payload {
            request: Captured::Whole(Bytes::from_static(b"{\"messages\":[]}")),
            response: Captured::TooLong,
        })),
        response: None,
    }
}

pub(crate) const SERVING: &str = "/serving-endpoints/chat/invocations";
pub(crate) const GATEWAY: &str = "/ai-gateway/mlflow/v1/chat/completions";

/// `count` calls, half by each family of paths.
pub(crate) fn calls(journal: &Journal, name: &str, count: usize) {
    for n in 0..count {
        let admission = admission(&format!("{name}-{n}"), if n % 2 == 0 { SERVING } else { GATEWAY });
        journal.admit(&admission).unwrap();
        journal.settle(&admission, &settlement(10));
    }
}
