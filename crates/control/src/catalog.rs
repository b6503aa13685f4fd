//! The tables as Unity Catalog lists them: to look, not to change.

use std::collections::BTreeSet;

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};
use wire::error::ApiError;
use wire::table::TableName;

use crate::access::{Needs, Route};
use crate::reply::{Failure, Reply};
use crate::request::Call;

/// A table, as far as it is shown.
#[derive(Clone, Debug)]
pub struct ListedTable {
    pub name: TableName,
    pub location: String,
    pub comment: String,
    /// Milliseconds since the epoch.
    pub created_at: Option<i64>,
    pub columns: Vec<ListedColumn>,
}

#[derive(Clone, Debug)]
pub struct ListedColumn {
    pub name: String,
    /// As SQL says it: `map<string,string>`.
    pub type_text: String,
    /// The column's place among those by which the files are kept apart.
    pub partition_index: Option<usize>,
}

/// Tells what tables there are; the binary wires who answers. Errors say why it cannot be known.
#[async_trait]
pub trait TableListing: Send + Sync {
    /// Every folder that may be a table, by its place alone: whether it can be read is not looked at.
    async fn names(&self) -> Result<Vec<TableName>, String>;

    /// `None` where it is not there, or is not ours.
    async fn table(&self, name: &TableName) -> Result<Option<ListedTable>, String>;
}

pub(crate) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/api/2.1/unity-catalog/catalogs",
        needs: Needs::Admin,
        handler: |call| Box::pin(catalogs(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.1/unity-catalog/catalogs/{catalog}",
        needs: Needs::Admin,
        handler: |call| Box::pin(catalog(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.1/unity-catalog/schemas",
        needs: Needs::Admin,
        handler: |call| Box::pin(schemas(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.1/unity-catalog/schemas/{schema}",
        needs: Needs::Admin,
        handler: |call| Box::pin(schema(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.1/unity-catalog/tables",
        needs: Needs::Admin,
        handler: |call| Box::pin(tables(call)),
    },
    Route {
        method: Method::GET,
        path: "/api/2.1/unity-catalog/tables/{table}",
        needs: Needs::Admin,
        handler: |call| Box::pin(table(call)),
    },
];

async fn names(call: &Call) -> Result<Vec<TableName>, Failure> {
    let names = call.control.inner.tables.names().await;
    Ok(names.map_err(|e| ApiError::internal(format!("the tables cannot be listed: {e}")))?)
}

async fn catalogs(call: Call) -> Result<Reply, Failure> {
    let tables = names(&call).await?;
    let catalogs: BTreeSet<&str> = tables.iter().map(TableName::catalog).collect();
    let catalogs: Vec<Value> = catalogs.into_iter().map(catalog_of).collect();
    Reply::json(&json!({ "catalogs": catalogs }))
}

async fn catalog(call: Call) -> Result<Reply, Failure> {
    let name = call.path("catalog");
    if names(&call).await?.iter().any(|table| table.catalog() == name) {
        return Reply::json(&catalog_of(name));
    }
    Err(ApiError::not_found(format!("Catalog '{name}' does not exist.")).into())
}

fn catalog_of(name: &str) -> Value {
    let kind = if name == "system" { "SYSTEM_CATALOG" } else { "MANAGED_CATALOG" };
    json!({"name": name, "full_name": name, "catalog_type": kind})
}

async fn schemas(call: Call) -> Result<Reply, Failure> {
    let catalog = call.query("catalog_name")?;
    let tables = names(&call).await?;
    let within = tables.iter().filter(|table| table.catalog() == catalog);
    let schemas: BTreeSet<&str> = within.map(TableName::schema).collect();
    let schemas: Vec<Value> = schemas.into_iter().map(|name| schema_of(catalog, name)).collect();
    Reply::json(&json!({ "schemas": schemas }))
}

async fn schema(call: Call) -> Result<Reply, Failure> {
    let full = call.path("schema");
    if let Some((catalog, name)) = full.split_once('.') {
        let is_it = |table: &TableName| table.catalog() == catalog && table.schema() == name;
        if names(&call).await?.iter().any(is_it) {
            return Reply::json(&schema_of(catalog, name));
        }
    }
    Err(ApiError::not_found(format!("Schema '{full}' does not exist.")).into())
}

fn schema_of(catalog: &str, name: &str) -> Value {
    json!({"name": name, "catalog_name": catalog, "full_name": format!("{catalog}.{name}")})
}

async fn tables(call: Call) -> Result<Reply, Failure> {
    let (catalog, schema) = (call.query("catalog_name")?, call.query("schema_name")?);
    let mut tables: Vec<Value> = Vec::new();
    for name in names(&call).await?.iter().filter(|name| name.catalog() == catalog && name.schema() == schema)
    {
        match call.control.inner.tables.table(name).await {
            Ok(found) => tables.extend(found.as_ref().map(table_of)),
            // It keeps nobody from the others; who asks for it is told.
            Err(error) => tracing::warn!(table = %name, error, "the table cannot be read and is not listed"),
        }
    }
    Reply::json(&json!({ "tables": tables }))
}

async fn table(call: Call) -> Result<Reply, Failure> {
    let full = call.path("table");
    let missing = || ApiError::not_found(format!("Table '{full}' does not exist."));
    let name = TableName::parse(full).map_err(|_| missing())?;
    let found = call.control.inner.tables.table(&name).await;
    let found = found.map_err(|e| ApiError::internal(format!("the table cannot be read: {e}")))?;
    Reply::json(&table_of(&found.ok_or_else(missing)?))
}

fn table_of(table: &ListedTable) -> Value {
    let name = &table.name;
    let columns: Vec<Value> =
        table.columns.iter().enumerate().map(|(at, column)| column_of(at, column)).collect();
    json!({
        "name": name.table(),
        "catalog_name": name.catalog(),
        "schema_name": name.schema(),
        "full_name": name.to_string(),
        "table_type": "EXTERNAL",
        "data_source_format": "DELTA",
        "storage_location": table.location,
        "comment": table.comment,
        "created_at": table.created_at,
        "columns": columns,
    })
}

fn column_of(position: usize, column: &ListedColumn) -> Value {
    let kind = column.type_text.split('<').next().unwrap_or_default();
    let type_name = if kind == "bigint" { "LONG".to_owned() } else { kind.to_uppercase() };
    let mut out = json!({"name": column.name, "type_text": column.type_text, "type_name": type_name,
        "position": position, "nullable": true});
    if let Some(index) = column.partition_index {
        out["partition_index"] = index.into();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_told_as_unity_catalog_tells_it() {
        let column = |type_text: &str, partition_index| {
            column_of(3, &ListedColumn { name: "c".into(), type_text: type_text.into(), partition_index })
        };
        assert_eq!(column("bigint", None)["type_name"], "LONG");
        assert_eq!(column("map<string,string>", None)["type_name"], "MAP");
        assert_eq!(column("date", Some(0))["partition_index"], 0);
    }
}
