//! `tollgate apply` and `tollgate diff`: endpoints and secret scopes from YAML files, in the field names of
//! the REST API or as a Databricks Asset Bundle has them. A second apply changes nothing.

mod api;
mod files;
mod plan;
mod spelling;

use std::path::PathBuf;

use anyhow::bail;
use serde_json::json;

use super::output::print_table;
use super::{Output, print_json, print_line, runtime};
use api::Api;
use plan::Step;

#[derive(clap::Args)]
pub(super) struct ApplyArguments {
    /// A YAML file, or a folder of them
    #[arg(short = 'f', long = "file", value_name = "PATH")]
    path: PathBuf,
    /// The server; else DATABRICKS_HOST
    #[arg(long, value_name = "URL")]
    host: Option<String>,
}

/// Prints what `apply` would do. Exits with 2 when that is anything, as `diff` does.
pub(super) fn diff(arguments: &ApplyArguments, output: Output) -> anyhow::Result<bool> {
    let steps =
        runtime()?.block_on(async { plan::make(&api(arguments)?, &files::read(&arguments.path)?).await })?;
    show(&steps, output)?;
    Ok(steps.is_empty())
}

pub(super) fn apply(arguments: &ApplyArguments, output: Output) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let api = api(arguments)?;
        let steps = plan::make(&api, &files::read(&arguments.path)?).await?;
        for (at, step) in steps.iter().enumerate() {
            if let Err(error) = api.send(step).await {
                show(&steps[..at], output)?;
                return Err(error);
            }
        }
        show(&steps, output)
    })
}

fn api(arguments: &ApplyArguments) -> anyhow::Result<Api> {
    let login = crate::config::Login::of_process();
    let Some(host) = arguments.host.clone().or(login.host) else {
        bail!("which server? give --host, or set DATABRICKS_HOST");
    };
    let Some(token) = login.token else { bail!("set DATABRICKS_TOKEN to an access token of {host}") };
    Api::new(&host, token)
}

fn show(steps: &[Step], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        let steps: Vec<_> =
            steps.iter().map(|s| json!({"action": s.action, "on": s.on, "what": s.what})).collect();
        return print_json(&steps);
    }
    if steps.is_empty() {
        print_line("nothing to change");
        return Ok(());
    }
    let rows: Vec<[String; 3]> =
        steps.iter().map(|s| [s.action.to_owned(), s.on.clone(), s.what.join(", ")]).collect();
    print_table(["action", "on", "what"], &rows);
    Ok(())
}
