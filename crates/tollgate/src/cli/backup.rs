//! `tollgate backup`: a consistent copy of the data folder, whether or not the server runs.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::json;

use super::{ConfigFile, Output, print_json, print_line, runtime};
use crate::config::{Config, Environment, KeysConfig};
use crate::data::{self, DataFolder};

#[derive(clap::Args)]
pub(super) struct BackupArguments {
    /// The folder to make; it must not be there, or be empty
    folder: PathBuf,
    /// Put the master key beside what it opens: then the copy alone gives all secrets away
    #[arg(long)]
    with_key: bool,
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) fn backup(arguments: &BackupArguments, output: Output) -> anyhow::Result<()> {
    let config = Config::load(arguments.file.config.as_deref(), &Environment::of_process())?;
    if arguments.with_key && config.keys != KeysConfig::File {
        bail!("--with-key: the master key is not in the data folder (keys.source), leave it out");
    }
    let folder = DataFolder::existing(&config.server.data)?;
    let runtime = runtime().context("cannot start the runtime")?;
    runtime.block_on(data::backup(&folder, &arguments.folder, arguments.with_key))?;
    let path = arguments.folder.display().to_string();
    if output == Output::Json {
        return print_json(&json!({"folder": path, "with_key": arguments.with_key}));
    }
    print_line(&format!("{path}: the database; secrets in it are sealed"));
    print_line(match (arguments.with_key, &config.keys) {
        (true, _) => "master.key is in it: whoever reads this folder reads all secrets",
        (false, KeysConfig::File) => {
            "master.key is not in it, and it opens with that alone: keep a copy elsewhere"
        }
        (false, _) => "it opens with the master key in force now",
    });
    Ok(())
}
