//! What tables there are.

use std::collections::BTreeMap;

use deltalake_core::kernel::{DataType, PrimitiveType};
use wire::table::TableName;

use crate::append::exists;
use crate::checks::{delta, is_ours};
use crate::lake::{Lake, TableError};

/// A table as it is now.
#[derive(Clone, Debug)]
pub struct TableInfo {
    pub name: TableName,
    /// Its address.
    pub location: String,
    pub version: u64,
    /// `None` where a file of it does not say how many it has.
    pub rows: Option<u64>,
    pub files: usize,
    pub bytes: u64,
    pub comment: String,
    /// Milliseconds since the epoch.
    pub created_at: Option<i64>,
    pub columns: Vec<ColumnInfo>,
}

#[derive(Clone, Debug)]
pub struct ColumnInfo {
    pub name: String,
    /// As SQL says it: `map<string,string>`.
    pub type_text: String,
    /// The column's place among those by which the files are kept apart.
    pub partition_index: Option<usize>,
}

impl Lake {
    /// All tables of ours, and why each table that cannot be read cannot: nobody knows whose that is.
    pub async fn list(&self) -> Result<BTreeMap<TableName, Result<TableInfo, TableError>>, TableError> {
        let mut found = BTreeMap::new();
        for name in self.names().await? {
            if let Some(info) = self.info(&name).await.transpose() {
                found.insert(name, info);
            }
        }
        Ok(found)
    }

    /// Every folder that may be a table, in the order of the alphabet. None of them is read.
    pub async fn names(&self) -> Result<Vec<TableName>, TableError> {
        let mut found = Vec::new();
        for catalog in self.folders(&[]).await? {
            for schema in self.folders(&[&catalog]).await? {
                let tables = self.folders(&[&catalog, &schema]).await?;
                found.extend(tables.iter().filter_map(|table| TableName::new(&catalog, &schema, table).ok()));
            }
        }
        Ok(found)
    }

    /// One table; `None` where it is not there, or is not ours. Errors where its log cannot be read.
    pub async fn info(&self, name: &TableName) -> Result<Option<TableInfo>, TableError> {
        let mut table = self.table(name)?;
        if !exists(&table, name).await? {
            return Ok(None);
        }
        table.load().await.map_err(|e| delta(name, e))?;
        if !is_ours(&table) {
            return Ok(None);
        }
        let state = table.snapshot().map_err(|e| delta(name, e))?;
        let (mut rows, mut files, mut bytes) = (Some(0), 0, 0);
        for file in state.log_data().iter() {
            rows = rows.zip(file.num_records()).map(|(sum, more)| sum + more as u64);
            files += 1;
            bytes += u64::try_from(file.size()).unwrap_or_default();
        }
        let metadata = state.metadata();
        let partitions = metadata.partition_columns();
        let schema = state.schema();
        let columns = schema.fields().map(|field| ColumnInfo {
            name: field.name().clone(),
            type_text: type_text(field.data_type()),
            partition_index: partitions.iter().position(|name| name == field.name()),
        });
        Ok(Some(TableInfo {
            name: name.clone(),
            location: self.address(name),
            version: table.version().unwrap_or_default(),
            rows,
            files,
            bytes,
            comment: metadata.description().unwrap_or_default().to_owned(),
            created_at: metadata.created_time(),
            columns: columns.collect(),
        }))
    }
}

/// A type as Databricks' catalogue says it.
pub(crate) fn type_text(kind: &DataType) -> String {
    match kind {
        DataType::Primitive(PrimitiveType::Long) => "bigint".to_owned(),
        DataType::Primitive(PrimitiveType::Integer) => "int".to_owned(),
        DataType::Array(array) => format!("array<{}>", type_text(array.element_type())),
        DataType::Map(map) => format!("map<{},{}>", type_text(map.key_type()), type_text(map.value_type())),
        DataType::Struct(structure) => {
            let fields = structure.fields().map(|f| format!("{}:{}", f.name(), type_text(f.data_type())));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}
