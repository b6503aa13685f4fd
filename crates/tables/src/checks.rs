//! Whether a table is still as it was made. One that is not, is not written to.

use deltalake_core::DeltaTable;
use deltalake_core::kernel::StructField;
use wire::table::TableName;

use crate::columns::Kind;
use crate::lake::TableError;

/// The property that says that a table is one of ours, and of which form.
pub(crate) const MARK: &str = "tollgate.form";

/// The form of the tables that this version makes.
pub(crate) const FORM: &str = "3";

/// Those before, each with fewer columns than the next.
const SECOND: &str = "2";
const FIRST: &str = "1";

/// Of which form a table is that nobody altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Current,
    Earlier,
}

/// Whether a table that was read is one of ours.
pub(crate) fn is_ours(table: &DeltaTable) -> bool {
    table.snapshot().is_ok_and(|state| state.metadata().configuration().contains_key(MARK))
}

/// Errors where somebody changed the columns or the partitions, or where the table was never ours.
pub(crate) fn unaltered(table: &DeltaTable, name: &TableName) -> Result<Form, TableError> {
    let altered = |reason: String| TableError::Altered { table: name.clone(), reason };
    let state = table.snapshot().map_err(|e| delta(name, e))?;
    let kind = Kind::of(name);
    let (form, expected) = match state.metadata().configuration().get(MARK).map(String::as_str) {
        Some(FORM) => (Form::Current, kind.columns()),
        Some(SECOND) => (Form::Earlier, kind.columns_of_form_2()),
        Some(FIRST) => (Form::Earlier, kind.columns_of_form_1()),
        _ => return Err(altered(format!("its property {MARK} is not {FORM:?}"))),
    };
    let schema = state.schema();
    let found = schema.fields().collect::<Vec<_>>();
    for column in &expected {
        match found.iter().find(|field| field.name() == column.name()) {
            None => return Err(altered(format!("column {} is gone", column.name()))),
            Some(field) if !is_same(field, column) => {
                return Err(altered(format!("column {} is of another type", column.name())));
            }
            Some(_) => {}
        }
    }
    if let Some(more) =
        found.iter().find(|field| !expected.iter().any(|column| column.name() == field.name()))
    {
        return Err(altered(format!("column {} is not ours", more.name())));
    }
    let partitions = state.metadata().partition_columns().to_vec();
    if partitions.iter().map(String::as_str).ne(kind.partition()) {
        return Err(altered(format!("it is partitioned by {}", partitions.join(", "))));
    }
    Ok(form)
}

fn is_same(found: &StructField, expected: &StructField) -> bool {
    found.data_type() == expected.data_type() && found.is_nullable() == expected.is_nullable()
}

pub(crate) fn delta(table: &TableName, source: deltalake_core::DeltaTableError) -> TableError {
    TableError::Delta { table: table.clone(), source: Box::new(source) }
}
