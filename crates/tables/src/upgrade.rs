//! Tables that an earlier version made get the columns that it did not know. No row is touched: it has nothing in
//! the new columns.

use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, MetadataExt, StructField, StructType};
use deltalake_core::protocol::DeltaOperation;
use deltalake_core::{DeltaTable, DeltaTableError};
use wire::table::TableName;

use crate::checks::{FORM, Form, MARK, delta, unaltered};
use crate::columns::Kind;
use crate::lake::TableError;

/// Errors as [`unaltered`] does; a table of an earlier form becomes one of this form.
pub(crate) async fn up_to_date(table: &mut DeltaTable, name: &TableName) -> Result<(), TableError> {
    if unaltered(table, name)? == Form::Current {
        return Ok(());
    }
    let upgraded = upgrade(table, Kind::of(name)).await;
    table.update_state().await.map_err(|e| delta(name, e))?;
    match upgraded {
        // Another server may have been quicker.
        Err(error) if unaltered(table, name)? != Form::Current => Err(delta(name, error)),
        _ => {
            tracing::info!(table = %name, form = FORM, "the table got the columns that an earlier version did not know");
            Ok(())
        }
    }
}

async fn upgrade(table: &DeltaTable, kind: Kind) -> Result<(), DeltaTableError> {
    let state = table.snapshot()?;
    let (schema, columns) = (state.schema(), kind.columns());
    // Those that are there keep their places, since readers may go by them.
    let current = |field: &StructField| columns.iter().find(|column| column.name() == field.name());
    let kept = schema.fields().filter_map(current);
    let added: Vec<StructField> =
        columns.iter().filter(|column| schema.field(column.name()).is_none()).cloned().collect();
    let schema = StructType::try_new(kept.cloned().chain(added.iter().cloned()))?;
    let metadata = state.metadata().clone().with_schema(&schema)?;
    let metadata = metadata.add_config_key(MARK.to_owned(), FORM.to_owned())?;
    CommitBuilder::from(CommitProperties::default())
        .with_actions(vec![Action::Metadata(metadata)])
        .build(Some(state), table.log_store(), DeltaOperation::AddColumn { fields: added })
        .await
        .map(drop)
}
