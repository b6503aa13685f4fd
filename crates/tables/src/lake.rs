//! Where the tables lie: a folder of this machine or a prefix of an object store.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use deltalake_core::logstore::{StorageConfig, default_logstore};
use deltalake_core::{DeltaTable, DeltaTableError};
use object_store::path::Path as StorePath;
use object_store::prefix::PrefixStore;
use object_store::{DynObjectStore, parse_url_opts};
use url::Url;
use wire::table::TableName;

/// The place of all tables: `<location>/<catalog>/<schema>/<table>`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lake {
    root: Url,
    /// With its root where the scheme has it: the bucket, the container, the machine's `/`.
    store: Arc<DynObjectStore>,
}

#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("the location of the tables, {location:?}, cannot be used: {reason}")]
    Location { location: String, reason: String },
    /// Somebody changed a table, and what is written no longer fits.
    #[error(
        "table {table} is not as it was made ({reason}): it is left alone, and its rows stay in the journal; \
         undo the change, or move the table away so that a new one is made"
    )]
    Altered { table: TableName, reason: String },
    #[error("table {table}: {source}")]
    Delta { table: TableName, source: Box<DeltaTableError> },
    #[error("table {table}: {reason}")]
    Rows { table: TableName, reason: String },
    /// Another copy of the journal's folder wrote under its name.
    #[error(
        "table {table} has rows of segment {has} of this journal, which begins with {fresh}: the data folder was \
         restored from an older copy, or there are two of it; nothing is written or deleted. Stop the server and \
         delete the file `id` in the journal's folder"
    )]
    Copied { table: TableName, has: i64, fresh: i64 },
    #[error("table {table}: it was not written within {seconds} s")]
    Slow { table: TableName, seconds: u64 },
    #[error(
        "what was written to the tables may not be on the disk ({0}): a power cut now may leave files there that \
         nobody can read"
    )]
    NotOnDisk(io::Error),
    #[error("the tables' store: {0}")]
    Store(#[from] object_store::Error),
    /// A test ended a flush here.
    #[error("ended as a crash would end it")]
    Crashed,
    #[error("the journal: {0}")]
    Journal(#[from] std::io::Error),
}

impl Lake {
    /// A folder, made where it is not there, or a URL (`s3://`, `abfss://`, `gs://`) with the options of its
    /// store, in the names of the `object_store` crate.
    pub fn open(location: &str, options: &[(String, String)]) -> Result<Self, TableError> {
        let wrong = |reason: String| TableError::Location { location: location.to_owned(), reason };
        let mut root = if location.contains("://") {
            Url::parse(location).map_err(|e| wrong(e.to_string()))?
        } else {
            folder(Path::new(location)).map_err(wrong)?
        };
        if !root.path().ends_with('/') {
            root.set_path(&format!("{}/", root.path()));
        }
        let options = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let (store, _) = parse_url_opts(&root, options).map_err(|e| wrong(e.to_string()))?;
        Ok(Self { root, store: store.into() })
    }

    /// The address of a table, without a slash at its end.
    pub fn address(&self, table: &TableName) -> String {
        let mut url = self.url(table).to_string();
        url.pop();
        url
    }

    /// The path of a table on this machine, where it is on one.
    pub fn folder(&self, table: &TableName) -> Option<std::path::PathBuf> {
        let path = self.url(table).to_file_path().ok()?;
        // Without the slash at its end.
        Some(path.components().collect())
    }

    fn url(&self, table: &TableName) -> Url {
        let mut url = self.root.clone();
        // The parts are letters, digits, `_` and `-`: nothing in them needs an escape.
        url.set_path(&format!("{}{}/{}/{}/", url.path(), table.catalog(), table.schema(), table.table()));
        url
    }

    /// Brings what was written onto the disk, where the tables are in a folder of this machine: an object store has done
    /// so when it answers. It waits for the disk, so that it is not called on a thread that others need.
    pub(crate) fn sync(&self) -> Result<(), TableError> {
        let Some(folder) = (self.root.scheme() == "file").then(|| self.root.to_file_path().ok()).flatten()
        else {
            return Ok(());
        };
        // The library that writes the files gives none of them to sync.
        let synced = File::open(folder).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
        synced.map_err(TableError::NotOnDisk)
    }

    /// The table, whose log is not read yet.
    pub(crate) fn table(&self, name: &TableName) -> Result<DeltaTable, TableError> {
        let url = self.url(name);
        let path = StorePath::from_url_path(url.path()).map_err(object_store::Error::from)?;
        let prefixed = Arc::new(PrefixStore::new(Arc::clone(&self.store), path));
        let config = StorageConfig::default();
        Ok(DeltaTable::new(default_logstore(prefixed, Arc::clone(&self.store), &url, &config)))
    }

    /// Names of the folders under `<location>/<parts>`, in the alphabet's order.
    pub(crate) async fn folders(&self, parts: &[&str]) -> Result<Vec<String>, TableError> {
        let mut path = StorePath::from_url_path(self.root.path()).map_err(object_store::Error::from)?;
        for part in parts {
            path = path.join(*part);
        }
        let listed = self.store.list_with_delimiter(Some(&path)).await?;
        let names = listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned));
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        Ok(names)
    }
}

fn folder(path: &Path) -> Result<Url, String> {
    // What is in the tables is for the server's own user, unless somebody opens the folder to others.
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| e.to_string())?;
    let path = path.canonicalize().map_err(|e| e.to_string())?;
    Url::from_directory_path(&path).map_err(|()| "it is no path that a URL can say".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lies_under_its_catalog_and_schema() {
        let folder = tempfile::tempdir().unwrap();
        let name = TableName::new("system", "serving", "endpoint_usage").unwrap();
        let lake = Lake::open(folder.path().to_str().unwrap(), &[]).unwrap();
        let path = folder.path().canonicalize().unwrap().join("system/serving/endpoint_usage");
        assert_eq!(lake.folder(&name), Some(path));
        let options = [("aws_region".to_owned(), "x".to_owned())];
        let lake = Lake::open("s3://bucket/some/where", &options).unwrap();
        assert_eq!(lake.address(&name), "s3://bucket/some/where/system/serving/endpoint_usage");
        assert!(Lake::open("ftp://x/y", &[]).is_err());
    }
}
