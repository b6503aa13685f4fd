//! The tables as the control plane lists them.

use async_trait::async_trait;
use control::{ListedColumn, ListedTable, TableListing};
use tables::{Lake, TableInfo, TableName};

pub(crate) struct Listing(pub(super) Lake);

#[async_trait]
impl TableListing for Listing {
    async fn names(&self) -> Result<Vec<TableName>, String> {
        self.0.names().await.map_err(|e| e.to_string())
    }

    async fn table(&self, name: &TableName) -> Result<Option<ListedTable>, String> {
        Ok(self.0.info(name).await.map_err(|e| e.to_string())?.map(listed))
    }
}

fn listed(info: TableInfo) -> ListedTable {
    let columns = info.columns.into_iter().map(|column| ListedColumn {
        name: column.name,
        type_text: column.type_text,
        partition_index: column.partition_index,
    });
    ListedTable {
        name: info.name,
        location: info.location,
        comment: info.comment,
        created_at: info.created_at,
        columns: columns.collect(),
    }
}
