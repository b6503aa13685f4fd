//! Secrets: scopes, values, and who may do what with a scope.

use serde_json::{Value, json};

use super::operation::{Area, Operation, Param, list, object, one_of, required, schema, text, timestamp};

pub(super) const AREA: Area = Area {
    tag: "secrets",
    description: "Secrets that configs refer to. Names of scopes are case-insensitive.",
    error: "Error",
    operations: OPERATIONS,
    schemas,
};

const SCOPE: Param = required("scope", "the name of a scope");
const KEY: Param = required("key", "the name of a secret in it");
const PRINCIPAL: Param = required("principal", "a user name, a group name or an application id");

const OPERATIONS: &[Operation] = &[
    Operation::new(
        "POST",
        "/api/2.0/secrets/scopes/create",
        "createScope",
        "Make a scope; the caller gets MANAGE",
    )
    .takes("CreateScope"),
    Operation::new(
        "POST",
        "/api/2.0/secrets/scopes/delete",
        "deleteScope",
        "Delete a scope with its secrets",
    )
    .takes("ScopeRef"),
    Operation::new(
        "GET",
        "/api/2.0/secrets/scopes/list",
        "listScopes",
        "The scopes that the caller has a permission on",
    )
    .gives("ScopeList"),
    Operation::new("POST", "/api/2.0/secrets/put", "putSecret", "Write or overwrite a secret")
        .takes("PutSecret"),
    Operation::new("GET", "/api/2.0/secrets/list", "listSecrets", "The keys in a scope, without values")
        .query(&[SCOPE])
        .gives("SecretList"),
    Operation::new("GET", "/api/2.0/secrets/get", "getSecret", "A secret's value, in base64")
        .query(&[SCOPE, KEY])
        .gives("Secret"),
    Operation::new("POST", "/api/2.0/secrets/delete", "deleteSecret", "Delete a secret").takes("SecretRef"),
    Operation::new("POST", "/api/2.0/secrets/acls/put", "putAcl", "Give a principal a permission on a scope")
        .takes("PutAcl"),
    Operation::new("GET", "/api/2.0/secrets/acls/get", "getAcl", "What a principal may do with a scope")
        .query(&[SCOPE, PRINCIPAL])
        .gives("AclItem"),
    Operation::new("GET", "/api/2.0/secrets/acls/list", "listAcls", "Who may do what with a scope")
        .query(&[SCOPE])
        .gives("AclList"),
    Operation::new("POST", "/api/2.0/secrets/acls/delete", "deleteAcl", "Take a principal's permission away")
        .takes("AclRef"),
];

fn name(description: &str) -> Value {
    json!({"type": "string", "pattern": "^[A-Za-z0-9_@./-]{1,128}$", "description": description})
}

fn permission() -> Value {
    one_of(&["READ", "WRITE", "MANAGE"], "each includes those before it")
}

fn schemas() -> Vec<(&'static str, Value)> {
    let acl = |required: &[&str]| {
        object(
            required,
            [("scope", text("")), ("principal", text("a user name, a group name or an application id"))],
        )
    };
    let mut put_acl = acl(&["scope", "principal", "permission"]);
    put_acl["properties"]["permission"] = permission();
    vec![
        ("CreateScope", create_scope()),
        ("ScopeRef", object(&["scope"], [("scope", text(""))])),
        ("ScopeList", object(&["scopes"], [("scopes", list(scope()))])),
        ("PutSecret", put_secret()),
        ("SecretRef", object(&["scope", "key"], [("scope", text("")), ("key", text(""))])),
        ("SecretList", object(&["secrets"], [("secrets", list(metadata()))])),
        (
            "Secret",
            object(
                &["key", "value"],
                [("key", text("")), ("value", json!({"type": "string", "contentEncoding": "base64"}))],
            ),
        ),
        ("PutAcl", put_acl),
        ("AclRef", acl(&["scope", "principal"])),
        (
            "AclItem",
            object(&["principal", "permission"], [("principal", text("")), ("permission", permission())]),
        ),
        ("AclList", object(&["items"], [("items", list(schema("AclItem")))])),
    ]
}

fn create_scope() -> Value {
    object(
        &["scope"],
        [
            ("scope", name("its name")),
            ("initial_manage_principal", one_of(&["users"], "gives everybody MANAGE")),
            ("scope_backend_type", one_of(&["DATABRICKS"], "kept by this server")),
        ],
    )
}

fn scope() -> Value {
    object(&["name", "backend_type"], [("name", text("")), ("backend_type", json!({"const": "DATABRICKS"}))])
}

fn metadata() -> Value {
    object(
        &["key", "last_updated_timestamp"],
        [("key", text("")), ("last_updated_timestamp", timestamp("when it was last written"))],
    )
}

fn put_secret() -> Value {
    let mut out = object(
        &["scope", "key"],
        [
            ("scope", text("")),
            ("key", name("its name")),
            ("string_value", json!({"type": "string", "writeOnly": true})),
            ("bytes_value", json!({"type": "string", "writeOnly": true, "description": "in base64"})),
        ],
    );
    out["description"] = "exactly one of the two values, of at most 128 KiB".into();
    out
}
