//! `tollgate restore`: a data folder from a backup.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use super::{ConfigFile, Output, print_json, print_line, runtime};
use crate::config::{Config, Environment};
use crate::data;

#[derive(clap::Args)]
pub(super) struct RestoreArguments {
    /// The folder that `tollgate backup` made
    folder: PathBuf,
    /// The data folder to make; it must not be there, or be empty
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The master key that the backup was made under, unless it is in the backup
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) fn restore(arguments: &RestoreArguments, output: Output) -> anyhow::Result<()> {
    let config = Config::load(arguments.file.config.as_deref(), &Environment::of_process())?;
    let RestoreArguments { folder, data, key, .. } = arguments;
    let runtime = runtime().context("cannot start the runtime")?;
    runtime.block_on(data::restore(folder, data, &config.keys, key.as_deref()))?;
    let path = data.display().to_string();
    match output {
        Output::Json => print_json(&json!({"data": path})),
        Output::Table => {
            print_line(&format!("{path}: restored. set server.data to it and start the server"));
            Ok(())
        }
    }
}
