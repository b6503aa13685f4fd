//! The tables as Unity Catalog lists them.

use serde_json::{Value, json};

use crate::world::World;

const BASE: &str = "/api/2.1/unity-catalog";

#[tokio::test]
async fn catalogs_schemas_and_tables_are_listed_and_cannot_be_changed() {
    let world = World::new().await;
    let get = async |path: &str| world.act("GET", &format!("{BASE}{path}"), Value::Null).await;
    assert_eq!(get("/catalogs").await.is(200)["catalogs"][0]["name"], "main");
    assert_eq!(get("/catalogs/main").await.is(200)["catalog_type"], "MANAGED_CATALOG");
    assert_eq!(get("/schemas?catalog_name=main").await.is(200)["schemas"][0]["full_name"], "main.logs");
    assert_eq!(get("/schemas?catalog_name=other").await.is(200)["schemas"], json!([]));
    assert_eq!(get("/schemas/main.logs").await.is(200)["catalog_name"], "main");
    let tables = get("/tables?catalog_name=main&schema_name=logs").await.is(200);
    assert_eq!(tables["tables"][0]["storage_location"], "file:///t/main/logs/chat_payload");
    let table = get("/tables/main.logs.chat_payload").await.is(200);
    assert_eq!(table["columns"][1]["type_name"], "LONG");
    for path in ["/catalogs/x", "/schemas/main.x", "/schemas/x", "/tables/main.logs.x", "/tables/.."] {
        get(path).await.is(404);
    }
    get("/schemas").await.is(400);
    for method in ["PATCH", "DELETE"] {
        let path = format!("{BASE}/tables/main.logs.chat_payload");
        world.act(method, &path, json!({})).await.is(405);
    }
}

#[tokio::test]
async fn a_table_that_cannot_be_read_keeps_nobody_from_the_others_and_says_why() {
    let world = World::new().await;
    let get = async |path: &str| world.act("GET", &format!("{BASE}{path}"), Value::Null).await;
    let names = |list: &Value| {
        list.as_array().unwrap().iter().map(|of| of["full_name"].clone()).collect::<Vec<Value>>()
    };
    assert_eq!(names(&get("/catalogs").await.is(200)["catalogs"]), ["main", "spoilt"]);
    assert_eq!(names(&get("/schemas?catalog_name=spoilt").await.is(200)["schemas"]), ["spoilt.only"]);
    get("/schemas/spoilt.only").await.is(200);
    let listed = get("/tables?catalog_name=main&schema_name=logs").await.is(200);
    assert_eq!(names(&listed["tables"]), ["main.logs.chat_payload"]);
    let told = get("/tables/main.logs.broken").await.is(500);
    assert!(told["message"].as_str().unwrap().contains("main.logs.broken: no such feature"), "{told}");
    get("/tables/main.logs.foreign").await.is(404);
}
