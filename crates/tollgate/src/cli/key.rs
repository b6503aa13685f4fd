//! `tollgate key`: works on the data folder, as `token` does, so that no key crosses a network and the
//! change needs neither a running server nor a right that a stolen token could have. A running server
//! follows at once.

use anyhow::Context;
use clap::Subcommand;
use serde_json::json;
use store::MasterKey;

use super::{ConfigFile, Output, print_json, print_line, runtime};
use crate::config::{Config, Environment};
use crate::data::{self, Custody, DataFolder};

#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Change the master key and every data key, and seal all secrets anew; servers may run
    Rotate(ConfigFile),
    /// Print a new master key, for the variables of `keys.source = env`
    Generate,
}

pub(super) fn run(command: &KeyCommand, output: Output) -> anyhow::Result<()> {
    match command {
        KeyCommand::Rotate(file) => rotate(file, output),
        KeyCommand::Generate => {
            let key = MasterKey::generate()?;
            match output {
                Output::Json => print_json(&json!({"master_key": *key})),
                Output::Table => {
                    print_line(&key);
                    Ok(())
                }
            }
        }
    }
}

fn rotate(file: &ConfigFile, output: Output) -> anyhow::Result<()> {
    let config = Config::load(file.config.as_deref(), &Environment::of_process())?;
    let folder = DataFolder::existing(&config.server.data)?;
    let custody = Custody::new(folder.path(), &config.keys)?;
    let runtime = runtime().context("cannot start the runtime")?;
    let scopes = runtime.block_on(data::rotate(&folder, custody, &|_| Ok(())))?;
    match output {
        Output::Json => print_json(&json!({"scopes": scopes})),
        Output::Table => {
            print_line(&format!(
                "rotated; scopes sealed anew: {scopes}. backups from before need the old key"
            ));
            Ok(())
        }
    }
}
