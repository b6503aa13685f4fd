//! `tollgate check`: what a configuration comes to, and where each value is from.

use serde_json::json;

use super::output::print_table;
use super::{ConfigFile, Output, print_json};
use crate::config::{Config, Environment, OtlpHeaders, Resolved};
use crate::server;

pub(super) fn check(file: &ConfigFile, output: Output) -> anyhow::Result<()> {
    let resolved = Resolved::load(file.config.as_deref(), &Environment::of_process())?;
    // Values may each be well and not go together.
    let config = Config::from_resolved(&resolved)?;
    if let Some(files) = &config.server.tls {
        server::check_tls(files)?;
    }
    config.accounting.check()?;
    OtlpHeaders::of_process(&config.telemetry)?;
    let rows = resolved.rows();
    match output {
        Output::Json => {
            let values: Vec<_> = rows
                .iter()
                .map(|[key, value, origin]| json!({"key": key, "value": value, "origin": origin}))
                .collect();
            print_json(&values)
        }
        Output::Table => {
            print_table(["key", "value", "origin"], &rows);
            Ok(())
        }
    }
}
