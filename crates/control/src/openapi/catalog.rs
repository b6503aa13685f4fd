//! The tables as Unity Catalog lists them.

use serde_json::Value;

use super::operation::{
    Area, Operation, Param, boolean, integer, list, object, required, schema, text, timestamp,
};

pub(super) const AREA: Area = Area {
    tag: "catalog",
    description: "The Delta tables of usage, bodies and audit, where they are and what is in them. They are read with \
                  other programs and changed with none.",
    error: "Error",
    operations: OPERATIONS,
    schemas,
};

const CATALOG: Param = required("catalog_name", "the name of a catalog");

const OPERATIONS: &[Operation] = &[
    Operation::new("GET", "/api/2.1/unity-catalog/catalogs", "listCatalogs", "The catalogs that have tables")
        .gives("Catalogs"),
    Operation::new("GET", "/api/2.1/unity-catalog/catalogs/{catalog}", "getCatalog", "A catalog")
        .gives("Catalog")
        .fails(&[404]),
    Operation::new("GET", "/api/2.1/unity-catalog/schemas", "listSchemas", "The schemas of a catalog")
        .query(&[CATALOG])
        .gives("Schemas"),
    Operation::new("GET", "/api/2.1/unity-catalog/schemas/{schema}", "getSchema", "A schema")
        .gives("Schema")
        .fails(&[404]),
    Operation::new("GET", "/api/2.1/unity-catalog/tables", "listTables", "The tables of a schema")
        .query(&[CATALOG, required("schema_name", "the name of a schema of it")])
        .gives("Tables"),
    Operation::new("GET", "/api/2.1/unity-catalog/tables/{table}", "getTable", "A table")
        .gives("Table")
        .fails(&[404]),
];

fn schemas() -> Vec<(&'static str, Value)> {
    let named = || ("full_name", text("with the names of what it is in, and dots between"));
    let column = object(
        &["name", "type_text", "type_name", "position", "nullable"],
        [
            ("name", text("the column's name")),
            ("type_text", text("its type in SQL")),
            ("type_name", text("that type without what is in it, such as LONG or MAP")),
            ("position", integer("counted from 0")),
            ("nullable", boolean("always")),
            ("partition_index", integer("where the files are kept apart by it")),
        ],
    );
    vec![
        (
            "Catalog",
            object(
                &["name"],
                [
                    ("name", text("the catalog's name")),
                    named(),
                    ("catalog_type", text("SYSTEM_CATALOG or MANAGED_CATALOG")),
                ],
            ),
        ),
        ("Catalogs", object(&["catalogs"], [("catalogs", list(schema("Catalog")))])),
        (
            "Schema",
            object(
                &["name", "catalog_name"],
                [
                    ("name", text("the schema's name")),
                    ("catalog_name", text("the catalog it is in")),
                    named(),
                ],
            ),
        ),
        ("Schemas", object(&["schemas"], [("schemas", list(schema("Schema")))])),
        ("TableColumn", column),
        (
            "Table",
            object(
                &["name", "catalog_name", "schema_name", "full_name", "storage_location", "columns"],
                [
                    ("name", text("the table's name")),
                    ("catalog_name", text("the catalog it is in")),
                    ("schema_name", text("the schema it is in")),
                    named(),
                    ("table_type", text("EXTERNAL")),
                    ("data_source_format", text("DELTA")),
                    ("storage_location", text("where its files are")),
                    ("comment", text("what is in it")),
                    ("created_at", timestamp("when it was made")),
                    ("columns", list(schema("TableColumn"))),
                ],
            ),
        ),
        ("Tables", object(&["tables"], [("tables", list(schema("Table")))])),
    ]
}
