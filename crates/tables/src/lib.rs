//! The tables: where each of them lies. Writing them comes with accounting; the layout is fixed from
//! the start because outside scripts rely on it.

use std::fmt;
use std::path::{Path, PathBuf};

/// The three-part name of a table. Each part is checked, so that no name can leave the location.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableName {
    catalog: String,
    schema: String,
    table: String,
}

/// A part of a table name that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadName {
    pub part: String,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = &self.part;
        write!(f, "{part:?} is no table name part: use 1 to 255 letters, digits, `_` or `-`")
    }
}

impl std::error::Error for BadName {}

impl TableName {
    pub fn new(catalog: &str, schema: &str, table: &str) -> Result<Self, BadName> {
        for part in [catalog, schema, table] {
            let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            if part.is_empty() || part.len() > 255 || !part.bytes().all(legal) {
                return Err(BadName { part: part.to_owned() });
            }
        }
        Ok(Self { catalog: catalog.to_owned(), schema: schema.to_owned(), table: table.to_owned() })
    }

    /// `<location>/<catalog>/<schema>/<table>`.
    pub fn path(&self, location: &Path) -> PathBuf {
        location.join(&self.catalog).join(&self.schema).join(&self.table)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.catalog, self.schema, self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lies_under_its_catalog_and_schema() {
        let name = TableName::new("system", "serving", "endpoint_usage").unwrap();
        assert_eq!(name.path(Path::new("/t")), Path::new("/t/system/serving/endpoint_usage"));
        assert_eq!(name.to_string(), "system.serving.endpoint_usage");
    }

    #[test]
    fn no_name_leaves_the_location() {
        for part in ["", "..", "a/b", "a.b", "a\0"] {
            assert!(TableName::new("c", part, "t").is_err(), "{part:?}");
        }
    }
}
