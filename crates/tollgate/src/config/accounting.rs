//! The journal and the tables.

use std::path::Path;
use std::time::Duration;

use journal::{Fsync, JournalConfig, OnFull};
use tables::{Lake, Retention};

use super::keys::TABLES_OPTIONS;
use super::{ConfigProblem, Resolved};

/// Where records of calls are kept, and where their tables lie.
#[derive(Clone, Debug)]
pub(crate) struct AccountingConfig {
    pub(crate) journal: JournalConfig,
    /// A folder or a URL: `<location>/<catalog>/<schema>/<table>`.
    pub(crate) location: String,
    /// Of the location's store, by the names of the `object_store` crate. Those that are secret are in a file.
    options: Vec<(String, String)>,
    options_file: Option<String>,
    pub(crate) flush_every: Duration,
    pub(crate) keep_every: Duration,
    pub(crate) max_payload_bytes: usize,
    pub(crate) retention: Retention,
}

impl AccountingConfig {
    pub(super) fn from_resolved(values: &Resolved, data: &Path) -> Result<Self, ConfigProblem> {
        let size = |key: &str| usize::try_from(values.integer(key)).unwrap_or(usize::MAX);
        let location = values
            .optional("tables.location")
            .map_or_else(|| data.join("tables").display().to_string(), str::to_owned);
        let options: Option<Vec<_>> = values.list(TABLES_OPTIONS).iter().map(|line| option(line)).collect();
        let options = options.ok_or_else(|| {
            values.secret_problem(TABLES_OPTIONS, "must be name=value, such as aws_region=eu-west-1")
        })?;
        Ok(Self {
            journal: journal(values, data),
            location,
            options,
            options_file: values.optional("tables.options_file").map(str::to_owned),
            flush_every: Duration::from_secs(values.integer("tables.flush_seconds")),
            keep_every: Duration::from_secs(values.integer("tables.keep_seconds")),
            max_payload_bytes: size("tables.max_payload_bytes"),
            retention: Retention {
                usage_days: days(values, "tables.usage_retention_days"),
                payload_days: days(values, "tables.payload_retention_days"),
                unused_files: Duration::from_secs(3600 * values.integer("tables.unused_files_hours")),
            },
        })
    }

    /// Puts both into `folder`.
    pub(crate) fn lie_in(&mut self, folder: &Path) {
        self.journal.folder = folder.join("journal");
        self.location = folder.join("tables").display().to_string();
    }

    /// The place of the tables. Errors where the options cannot be read, or name no store.
    pub(crate) fn lake(&self) -> anyhow::Result<Lake> {
        Ok(Lake::open(&self.location, &self.all_options()?)?)
    }

    /// Errors as [`AccountingConfig::lake`] does, and makes no folder.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let options = self.all_options()?;
        if self.location.contains("://") {
            Lake::open(&self.location, &options)?;
        }
        Ok(())
    }

    /// Those of the file too. Errors where it cannot be read.
    fn all_options(&self) -> Result<Vec<(String, String)>, ConfigProblem> {
        let mut options = self.options.clone();
        if let Some(path) = &self.options_file {
            let text = std::fs::read_to_string(path);
            let text =
                text.map_err(|e| ConfigProblem(format!("cannot read tables.options_file {path}: {e}")))?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            for (line, number) in lines.zip(1..) {
                let read = option(line);
                let wrong = || ConfigProblem(format!("{path}: option {number} is not name=value"));
                options.push(read.ok_or_else(wrong)?);
            }
        }
        Ok(options)
    }
}

fn journal(values: &Resolved, data: &Path) -> JournalConfig {
    JournalConfig {
        folder: data.join("journal"),
        fsync: match values.text("journal.fsync") {
            "strict" => Fsync::Strict,
            _ => Fsync::Every(Duration::from_millis(values.integer("journal.fsync_interval_ms"))),
        },
        segment_bytes: values.integer("tables.flush_bytes"),
        max_bytes: values.integer("journal.max_bytes"),
        on_full: match values.text("journal.on_full") {
            "serve" => OnFull::Serve,
            _ => OnFull::Refuse,
        },
        queue_bytes: usize::try_from(values.integer("journal.queue_bytes")).unwrap_or(usize::MAX),
    }
}

/// 0 keeps for good.
fn days(values: &Resolved, key: &str) -> Option<u32> {
    u32::try_from(values.integer(key)).ok().filter(|days| *days > 0)
}

fn option(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}
