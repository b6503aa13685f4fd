//! `tollgate tables`: what tables there are, from where they lie. The server need not run.

use serde_json::{Value, json};
use tables::TableInfo;

use super::{ConfigFile, Output, print_json, print_line, runtime};
use crate::config::{Config, Environment};

pub(super) fn tables(file: &ConfigFile, output: Output) -> anyhow::Result<()> {
    let config = Config::load(file.config.as_deref(), &Environment::of_process())?;
    let lake = config.accounting.lake()?;
    let tables = runtime()?.block_on(lake.list())?;
    match output {
        Output::Json => print_json(&tables.iter().map(json_of).collect::<Vec<Value>>())?,
        Output::Table => print(&tables),
    }
    Ok(())
}

fn json_of(table: &TableInfo) -> Value {
    json!({"name": table.name.to_string(), "location": table.location, "version": table.version, "rows": table.rows,
        "files": table.files, "bytes": table.bytes})
}

fn print(tables: &[TableInfo]) {
    let rows = |table: &TableInfo| table.rows.map_or_else(|| "?".to_owned(), |rows| rows.to_string());
    let width = tables.iter().map(|table| table.name.to_string().len()).max().unwrap_or(0).max(5);
    print_line(&format!("{:width$}  {:>10}  {:>7}  {:>5}  location", "table", "rows", "version", "files"));
    for table in tables {
        let (name, rows, location) = (table.name.to_string(), rows(table), &table.location);
        print_line(&format!(
            "{name:width$}  {rows:>10}  {:>7}  {:>5}  {location}",
            table.version, table.files
        ));
    }
}
