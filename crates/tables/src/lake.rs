//! Where the tables lie: a folder of this machine or a prefix of an object store.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use deltalake_core::logstore::{StorageConfig, default_logstore};
use deltalake_core::{DeltaTable, DeltaTableError};
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
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
    /// store, in the names of the `object_store` crate. No store is called. Errors where the store cannot be made of these:
    /// what it is not told of is not passed over.
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
        let store_options = Options::of(root.scheme()).ok_or_else(|| wrong(Options::NO_STORE.to_owned()))?;
        if let Some((name, _)) = options.iter().find(|(name, _)| !store_options.knows(name)) {
            return Err(wrong(format!("{} has no option {name:?}", store_options.named())));
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

/// Whose options a location has.
#[derive(Clone, Copy)]
enum Options {
    None,
    S3,
    Azure,
    Google,
}

impl Options {
    const NO_STORE: &str = "it must be a folder or begin with s3://, abfss:// or gs://";

    fn of(scheme: &str) -> Option<Self> {
        match scheme {
            "file" => Some(Self::None),
            "s3" | "s3a" => Some(Self::S3),
            "abfs" | "abfss" | "az" | "azure" | "adl" => Some(Self::Azure),
            "gs" => Some(Self::Google),
            _ => None,
        }
    }

    /// The library that makes the store passes over what it does not know.
    fn knows(self, option: &str) -> bool {
        let option = option.to_ascii_lowercase();
        match self {
            Self::None => false,
            Self::S3 => option.parse::<AmazonS3ConfigKey>().is_ok(),
            Self::Azure => option.parse::<AzureConfigKey>().is_ok(),
            Self::Google => option.parse::<GoogleConfigKey>().is_ok(),
        }
    }

    const fn named(self) -> &'static str {
        match self {
            Self::None => "a folder",
            Self::S3 => "S3",
            Self::Azure => "Azure's storage",
            Self::Google => "Google's storage",
        }
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
    }

    fn opened(location: &str, options: &[(&str, &str)]) -> Result<Lake, String> {
        let options: Vec<_> =
            options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Lake::open(location, &options).map_err(|error| error.to_string())
    }

    const ABFSS: &str = "abfss://container@account.dfs.core.windows.net/some/where";
    const NAME: &str = "azure_storage_account_name";

    #[test]
    fn stores_of_azure_and_google_are_made_of_their_options() {
        let name = TableName::new("main", "logs", "t").unwrap();
        let key = "a2V5";
        for (location, options) in [
            (ABFSS, &[("azure_storage_account_key", key)][..]),
            (ABFSS, &[("azure_storage_sas_token", "sv=1&sig=x")]),
            (ABFSS, &[("azure_client_id", "i"), ("azure_client_secret", "s"), ("azure_tenant_id", "t")]),
            // The machine's own identity.
            (ABFSS, &[]),
            ("az://container/some/where", &[(NAME, "account"), ("AZURE_STORAGE_ACCOUNT_KEY", key)]),
            ("gs://bucket/some/where", &[("google_service_account_key", SERVICE_ACCOUNT)]),
        ] {
            let lake = opened(location, options).unwrap();
            assert_eq!(lake.address(&name), format!("{location}/main/logs/t"));
            let table = lake.table(&name).unwrap();
            assert_eq!(table.table_url().as_str(), format!("{location}/main/logs/t/"));
        }
    }

    /// The key is none.
    const SERVICE_ACCOUNT: &str = r#"{"private_key": "no key", "private_key_id": "1", "client_email": "a@b.c",
        "gcs_base_url": "http://127.0.0.1:1", "disable_oauth": true}"#;

    #[test]
    fn what_no_store_can_be_made_of_is_an_error_that_names_it() {
        for (location, options, said) in [
            ("ftp://x/y", &[][..], "it must be a folder or begin with s3://, abfss:// or gs://"),
            ("memory:///x", &[], "it must be a folder or begin with"),
            ("https://account.blob.core.windows.net/c/x", &[], "it must be a folder or begin with"),
            (ABFSS, &[("azure_storage_acount_key", "a2V5")], "has no option \"azure_storage_acount_key\""),
            (ABFSS, &[("aws_region", "x")], "Azure's storage has no option \"aws_region\""),
            ("gs://bucket/x", &[("azure_tenant_id", "x")], "Google's storage has no option"),
            ("s3://bucket/x", &[("aws_regoin", "x")], "S3 has no option \"aws_regoin\""),
            (ABFSS, &[("azure_storage_account_key", "\u{1}secret\u{1}")], "Invalid Access Key"),
            ("az://container/x", &[], "Account must be specified"),
            ("gs://bucket/x", &[("google_service_account", "/no/such/file")], "/no/such/file"),
            ("gs://bucket/x", &[("google_service_account_key", "{\"secret\"}")], "decode service account"),
        ] {
            let error = opened(location, options).unwrap_err();
            assert!(error.contains(location) && error.contains(said), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let error = opened(folder.path().to_str().unwrap(), &[("aws_region", "x")]).unwrap_err();
        assert!(error.contains("a folder has no option \"aws_region\""), "{error}");
    }
}
