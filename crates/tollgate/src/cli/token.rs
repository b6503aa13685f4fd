//! `tollgate token`: works on the data folder, so that a lost administrator token can be replaced whether
//! or not the server runs. A running server takes the new one within a second.

use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use serde_json::json;

use super::{ConfigFile, Output, print_json, print_line, runtime};
use crate::config::{Config, Environment};
use crate::data::{self, DataFolder};

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Create an access token of the administrator and print it, this once
    Create {
        #[command(flatten)]
        file: ConfigFile,
        /// What it is for
        #[arg(long, default_value = "created by `tollgate token create`")]
        comment: String,
        /// Seconds until it expires; without it the token does not expire
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
        lifetime_seconds: Option<u32>,
    },
}

pub(super) fn run(command: &TokenCommand, output: Output) -> anyhow::Result<()> {
    let TokenCommand::Create { file, comment, lifetime_seconds } = command;
    let config = Config::load(file.config.as_deref(), &Environment::of_process())?;
    let folder = DataFolder::existing(&config.server.data)?;
    let runtime = runtime().context("cannot start the runtime")?;
    let token = runtime.block_on(async {
        let store = folder.open_store(&config.keys).await?;
        let lifetime = lifetime_seconds.map(|s| Duration::from_secs(s.into()));
        let expires_at = lifetime.map(data::millis_from_now);
        let token = control::create_admin_token(&store, comment, expires_at).await?;
        store.close().await;
        anyhow::Ok(token)
    })?;
    match output {
        Output::Json => print_json(&json!({"token_value": *token})),
        Output::Table => {
            print_line(&token);
            Ok(())
        }
    }
}
