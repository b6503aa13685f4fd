//! The names of tables.

use std::fmt;

/// The three-part name of a table. Each part is checked, so that no name can leave the location.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

    /// Of `<catalog>.<schema>.<table>`.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let parts: Vec<&str> = text.split('.').collect();
        match parts.as_slice() {
            [catalog, schema, table] => Self::new(catalog, schema, table),
            _ => Err(BadName { part: text.to_owned() }),
        }
    }

    pub fn catalog(&self) -> &str {
        &self.catalog
    }

    pub fn schema(&self) -> &str {
        &self.schema
    }

    pub fn table(&self) -> &str {
        &self.table
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
    fn a_name_is_read_as_it_is_written() {
        let name = TableName::new("system", "serving", "endpoint_usage").unwrap();
        assert_eq!(name.to_string(), "system.serving.endpoint_usage");
        assert_eq!(TableName::parse("system.serving.endpoint_usage"), Ok(name));
        assert!(TableName::parse("a.b").is_err() && TableName::parse("a.b.c.d").is_err());
    }

    #[test]
    fn no_name_leaves_the_location() {
        for part in ["", "..", "a/b", "a.b", "a\0"] {
            assert!(TableName::new("c", part, "t").is_err(), "{part:?}");
        }
    }
}
