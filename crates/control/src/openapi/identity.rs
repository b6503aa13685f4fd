//! SCIM: users, groups and service principals.

use serde_json::{Value, json};

use super::operation::{
    Answer, Area, Operation, Param, boolean, integer, list, number, object, optional, schema, text,
};

pub(super) const AREA: Area = Area {
    tag: "identity",
    description: "Users, groups and service principals, in SCIM 2.0.",
    error: "ScimError",
    operations: OPERATIONS,
    schemas,
};

const ONLY: Param = optional("attributes", "names of the attributes to show, separated by commas");
const WITHOUT: Param = optional("excludedAttributes", "names of attributes not to show, separated by commas");
const LIST: &[Param] = &[
    optional("filter", "which to show, such as `userName eq \"ann\"`"),
    number("startIndex", "the first one to show, from 1"),
    number("count", "how many to show"),
    optional("sortBy", "an attribute"),
    optional("sortOrder", "ascending or descending"),
    ONLY,
    WITHOUT,
];

const fn all(path: &'static str, id: &'static str, summary: &'static str, answer: &'static str) -> Operation {
    Operation::new("GET", path, id, summary).query(LIST).gives(answer)
}

const fn create(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    kind: &'static str,
) -> Operation {
    Operation::new("POST", path, id, summary).takes(kind).answers(201, Answer::Json(kind)).fails(&[404, 409])
}

const fn get(path: &'static str, id: &'static str, summary: &'static str, kind: &'static str) -> Operation {
    Operation::new("GET", path, id, summary).query(&[ONLY, WITHOUT]).gives(kind).fails(&[404])
}

const fn put(path: &'static str, id: &'static str, summary: &'static str, kind: &'static str) -> Operation {
    Operation::new("PUT", path, id, summary).takes(kind).gives(kind).fails(&[404, 409])
}

const fn patch(path: &'static str, id: &'static str, summary: &'static str, kind: &'static str) -> Operation {
    Operation::new("PATCH", path, id, summary).takes("ScimPatch").gives(kind).fails(&[404, 409])
}

const fn delete(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new("DELETE", path, id, summary).answers(204, Answer::None).fails(&[400, 404])
}

const USERS: &str = "/api/2.0/preview/scim/v2/Users";
const USER: &str = "/api/2.0/preview/scim/v2/Users/{id}";
const GROUPS: &str = "/api/2.0/preview/scim/v2/Groups";
const GROUP: &str = "/api/2.0/preview/scim/v2/Groups/{id}";
const SERVICES: &str = "/api/2.0/preview/scim/v2/ServicePrincipals";
const SERVICE: &str = "/api/2.0/preview/scim/v2/ServicePrincipals/{id}";

const OPERATIONS: &[Operation] = &[
    Operation::new("GET", "/api/2.0/preview/scim/v2/Me", "me", "Who the caller is").gives("Me").fails(&[404]),
    all(USERS, "listUsers", "Users", "UserList"),
    create(USERS, "createUser", "Make a user", "User"),
    get(USER, "getUser", "One user", "User"),
    put(USER, "putUser", "Replace a user; the user name stays", "User"),
    patch(USER, "patchUser", "Change a user", "User"),
    delete(USER, "deleteUser", "Delete a user, with its tokens and permissions"),
    all(GROUPS, "listGroups", "Groups", "GroupList"),
    create(GROUPS, "createGroup", "Make a group", "Group"),
    get(GROUP, "getGroup", "One group", "Group"),
    put(GROUP, "putGroup", "Replace a group", "Group"),
    patch(GROUP, "patchGroup", "Change a group", "Group"),
    delete(GROUP, "deleteGroup", "Delete a group, with its permissions"),
    all(SERVICES, "listServicePrincipals", "Service principals", "ServicePrincipalList"),
    create(SERVICES, "createServicePrincipal", "Make a service principal", "ServicePrincipal"),
    get(SERVICE, "getServicePrincipal", "One service principal", "ServicePrincipal"),
    put(SERVICE, "putServicePrincipal", "Replace a service principal", "ServicePrincipal"),
    patch(SERVICE, "patchServicePrincipal", "Change a service principal", "ServicePrincipal"),
    delete(SERVICE, "deleteServicePrincipal", "Delete a service principal, with its tokens and permissions"),
];

fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("User", user()),
        ("ServicePrincipal", service_principal()),
        ("Group", group()),
        ("Me", me()),
        ("UserList", page("User")),
        ("ServicePrincipalList", page("ServicePrincipal")),
        ("GroupList", page("Group")),
        ("ScimItem", item()),
        ("ScimPatch", patch_body()),
        ("ScimError", error()),
    ]
}

fn item() -> Value {
    object(
        &["value"],
        [
            ("value", text("an id or a name")),
            ("display", text("")),
            ("$ref", text("")),
            ("type", text("direct or indirect")),
        ],
    )
}

fn items() -> Value {
    list(schema("ScimItem"))
}

fn user() -> Value {
    let name = object(&[], [("givenName", text("")), ("familyName", text(""))]);
    object(
        &[],
        [
            ("schemas", list(text(""))),
            ("id", json!({"type": "string", "readOnly": true})),
            ("userName", text("stays for life; required to make one")),
            ("displayName", text("")),
            ("active", boolean("tokens of one that is not are refused")),
            ("externalId", text("")),
            ("emails", json!({"type": "array", "items": {"type": "object"}})),
            ("name", name),
            ("groups", items()),
            ("roles", items()),
            ("entitlements", items()),
        ],
    )
}

fn service_principal() -> Value {
    object(
        &[],
        [
            ("schemas", list(text(""))),
            ("id", json!({"type": "string", "readOnly": true})),
            (
                "applicationId",
                json!({"type": "string", "format": "uuid", "description": "made here where absent"}),
            ),
            ("displayName", text("")),
            ("active", boolean("")),
            ("externalId", text("")),
            ("groups", items()),
            ("roles", items()),
            ("entitlements", items()),
        ],
    )
}

fn me() -> Value {
    let mut me = user();
    me["properties"]["applicationId"] = text("of a service principal");
    me["required"] = json!(["id", "userName", "active", "groups"]);
    me
}

fn group() -> Value {
    object(
        &[],
        [
            ("schemas", list(text(""))),
            ("id", json!({"type": "string", "readOnly": true})),
            ("displayName", text("required to make one")),
            ("externalId", text("")),
            ("members", items()),
            ("groups", items()),
            ("roles", items()),
            ("entitlements", items()),
            ("meta", json!({"type": "object", "readOnly": true})),
        ],
    )
}

fn page(of: &str) -> Value {
    object(
        &["schemas", "totalResults", "startIndex", "itemsPerPage", "Resources"],
        [
            ("schemas", list(text(""))),
            ("totalResults", integer("")),
            ("startIndex", integer("from 1")),
            ("itemsPerPage", integer("")),
            ("Resources", list(schema(of))),
        ],
    )
}

fn patch_body() -> Value {
    let operation = object(
        &["op"],
        [
            ("op", json!({"type": "string", "enum": ["add", "remove", "replace"]})),
            ("path", text("such as `members` or `members[value eq \"7\"]`")),
            ("value", json!({})),
        ],
    );
    object(
        &["Operations"],
        [
            ("schemas", list(text(""))),
            ("Operations", json!({"type": "array", "minItems": 1, "items": operation})),
        ],
    )
}

fn error() -> Value {
    object(
        &["schemas", "detail", "status"],
        [
            ("schemas", list(text(""))),
            ("detail", text("what is wrong, and what to do")),
            ("status", text("the status, as a text")),
            ("scimType", text("")),
        ],
    )
}
