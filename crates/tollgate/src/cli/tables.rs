//! `tollgate tables`: what tables there are, from where they lie. The server need not run.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tables::{Lake, TableError, TableInfo, TableName};

use super::{ConfigFile, Output, print_json, print_line, runtime};
use crate::config::{Config, Environment};

type Tables = BTreeMap<TableName, Result<TableInfo, TableError>>;

/// How many of them cannot be read: they are listed with the reason.
pub(super) fn tables(file: &ConfigFile, output: Output) -> anyhow::Result<usize> {
    let config = Config::load(file.config.as_deref(), &Environment::of_process())?;
    let lake = config.accounting.lake()?;
    let tables = runtime()?.block_on(lake.list())?;
    match output {
        Output::Json => {
            let of = |(name, table): (&TableName, &Result<TableInfo, TableError>)| match table {
                Ok(table) => json_of(table),
                Err(error) => {
                    json!({"name": name.to_string(), "location": lake.address(name), "error": error.to_string()})
                }
            };
            print_json(&tables.iter().map(of).collect::<Vec<Value>>())?;
        }
        Output::Table => print(&tables, &lake),
    }
    Ok(tables.values().filter(|table| table.is_err()).count())
}

fn json_of(table: &TableInfo) -> Value {
    json!({"name": table.name.to_string(), "location": table.location, "version": table.version, "rows": table.rows,
        "files": table.files, "bytes": table.bytes})
}

fn print(tables: &Tables, lake: &Lake) {
    let width = tables.keys().map(|name| name.to_string().len()).max().unwrap_or(0).max(5);
    print_line(&format!("{:width$}  {:>10}  {:>7}  {:>5}  location", "table", "rows", "version", "files"));
    for (name, table) in tables {
        let unknown = || "?".to_owned();
        let [rows, version, files] = match table {
            Ok(table) => [
                table.rows.map_or_else(unknown, |rows| rows.to_string()),
                table.version.to_string(),
                table.files.to_string(),
            ],
            Err(_) => [unknown(), unknown(), unknown()],
        };
        let (name, location) = (name.to_string(), lake.address(name));
        print_line(&format!("{name:width$}  {rows:>10}  {version:>7}  {files:>5}  {location}"));
        if let Err(error) = table {
            print_line(&format!("{:width$}  cannot be read: {error}", ""));
        }
    }
}
