//! Serving endpoints, their permissions, and the revisions that are ours.

use serde_json::{Value, json};

use super::operation::{
    Answer, Area, Operation, boolean, extension, integer, list, object, one_of, schema, text, timestamp,
};
use super::{configs, operation::anything};

pub(super) const AREA: Area = Area {
    tag: "serving-endpoints",
    description: "Endpoints of external models.",
    error: "Error",
    operations: OPERATIONS,
    schemas,
};

pub(super) const PERMISSIONS: Area = Area {
    tag: "permissions",
    description: "Who may do what with an endpoint, which is addressed by its id.",
    error: "Error",
    operations: PERMISSION_OPERATIONS,
    schemas: permission_schemas,
};

pub(super) const REVISIONS: Area = Area {
    tag: "revisions",
    description: "What an endpoint was before, and the way back. These routes are Tollgate's own.",
    error: "Error",
    operations: REVISION_OPERATIONS,
    schemas: revision_schemas,
};

const OPERATIONS: &[Operation] = &[
    Operation::new("POST", "/api/2.0/serving-endpoints", "createEndpoint", "Create an endpoint")
        .says("The answer comes when the endpoint serves. The caller gets CAN_MANAGE on it.")
        .takes("CreateEndpoint")
        .gives("EndpointDetailed")
        .fails(&[409]),
    Operation::new("GET", "/api/2.0/serving-endpoints", "listEndpoints", "The endpoints the caller may view")
        .gives("EndpointList"),
    Operation::new("GET", "/api/2.0/serving-endpoints/{name}", "getEndpoint", "One endpoint")
        .gives("EndpointDetailed"),
    Operation::new("DELETE", "/api/2.0/serving-endpoints/{name}", "deleteEndpoint", "Delete an endpoint"),
    Operation::new(
        "PUT",
        "/api/2.0/serving-endpoints/{name}/config",
        "updateEndpointConfig",
        "Replace the config of an endpoint",
    )
    .says("The config in force serves until the new one is checked; a new one that fails leaves it in force.")
    .takes("UpdateConfig")
    .gives("EndpointDetailed")
    .fails(&[409]),
    Operation::new(
        "PUT",
        "/api/2.0/serving-endpoints/{name}/ai-gateway",
        "putAiGateway",
        "Replace the ai_gateway block: what is left out is cleared",
    )
    .takes("AiGateway")
    .gives("AiGateway"),
    Operation::new(
        "PUT",
        "/api/2.0/serving-endpoints/{name}/rate-limits",
        "putRateLimits",
        "Replace the rate limits of the ai_gateway block (the older form)",
    )
    .takes("RateLimits")
    .gives("RateLimits"),
    Operation::new(
        "PATCH",
        "/api/2.0/serving-endpoints/{name}/tags",
        "patchTags",
        "Delete tags, then add tags",
    )
    .takes("PatchTags")
    .gives("Tags"),
    Operation::new(
        "PATCH",
        "/api/2.0/serving-endpoints/{name}/notifications",
        "patchNotifications",
        "Replace the addresses that are told of updates",
    )
    .takes("PatchNotifications")
    .gives("Notifications"),
    Operation::new(
        "PATCH",
        "/api/2.0/serving-endpoints/{name}/telemetry-config",
        "patchTelemetryConfig",
        "Refused: not for external models",
    )
    .takes("Anything")
    .answers(200, Answer::Refused),
    Operation::new(
        "GET",
        "/api/2.0/serving-endpoints/{name}/metrics",
        "exportEndpointMetrics",
        "The last minute of an endpoint, as Prometheus text",
    )
    .answers(200, Answer::Text),
    Operation::new(
        "GET",
        "/api/2.0/serving-endpoints/{name}/openapi",
        "getEndpointOpenApi",
        "An OpenAPI document of the endpoint's invocations",
    )
    .gives("Document"),
    Operation::new(
        "GET",
        "/api/2.0/serving-endpoints/{name}/served-models/{entity}/logs",
        "getEntityLogs",
        "The log of a served entity: empty, the model runs elsewhere",
    )
    .gives("Logs"),
    Operation::new(
        "GET",
        "/api/2.0/serving-endpoints/{name}/served-models/{entity}/build-logs",
        "getEntityBuildLogs",
        "The build log of a served entity: empty, nothing is built",
    )
    .gives("Logs"),
    Operation::new(
        "POST",
        "/api/2.0/serving-endpoints/pt",
        "createProvisionedThroughput",
        "Refused: no models are hosted here",
    )
    .takes("Anything")
    .answers(200, Answer::Refused),
    Operation::new(
        "PUT",
        "/api/2.0/serving-endpoints/pt/{name}/config",
        "updateProvisionedThroughput",
        "Refused: no models are hosted here",
    )
    .takes("Anything")
    .answers(200, Answer::Refused),
    Operation::new(
        "GET",
        "/api/2.0/serving-endpoints:foundation-models",
        "listFoundationModels",
        "The endpoints that the caller may query, as Databricks lists its own models",
    )
    .gives("FoundationModels"),
    Operation::new(
        "GET",
        "/api/2.1/unity-catalog/models",
        "listRegisteredModels",
        "The endpoints that the caller may query, as Unity Catalog lists models",
    )
    .gives("RegisteredModels"),
    Operation::new(
        "GET",
        "/api/2.1/unity-catalog/model-services",
        "listModelServices",
        "The model services of Unity Catalog: none",
    )
    .gives("ModelServices"),
    Operation::new(
        "GET",
        "/api/ai-gateway/v2/endpoints",
        "listGatewayEndpoints",
        "The endpoints of the second AI Gateway: none, all are serving endpoints",
    )
    .gives("FoundationModels"),
    Operation::new(
        "POST",
        "/api/2.0/external-function",
        "callExternalFunction",
        "Refused: connections to other services are not supported",
    )
    .takes("Anything")
    .answers(200, Answer::Refused)
    .fails(&[501]),
];

const PERMISSION_OPERATIONS: &[Operation] = &[
    Operation::new(
        "GET",
        "/api/2.0/permissions/serving-endpoints/{id}",
        "getPermissions",
        "The access control list of an endpoint",
    )
    .gives("Permissions"),
    Operation::new(
        "PUT",
        "/api/2.0/permissions/serving-endpoints/{id}",
        "putPermissions",
        "Replace the direct grants; caller and creator keep CAN_MANAGE",
    )
    .takes("AccessControl")
    .gives("Permissions"),
    Operation::new(
        "PATCH",
        "/api/2.0/permissions/serving-endpoints/{id}",
        "patchPermissions",
        "Add to the direct grants",
    )
    .takes("AccessControl")
    .gives("Permissions"),
    Operation::new(
        "GET",
        "/api/2.0/permissions/serving-endpoints/{id}/permissionLevels",
        "getPermissionLevels",
        "The levels there are",
    )
    .gives("PermissionLevels"),
];

const REVISION_OPERATIONS: &[Operation] = &[
    Operation::new(
        "GET",
        "/api/tollgate/v1/endpoints/{name}/revisions",
        "listRevisions",
        "All revisions, oldest first, each with what it changed",
    )
    .gives("RevisionList"),
    Operation::new(
        "GET",
        "/api/tollgate/v1/endpoints/{name}/revisions/{number}",
        "getRevision",
        "One revision, whole",
    )
    .gives("Revision"),
    Operation::new(
        "POST",
        "/api/tollgate/v1/endpoints/{name}/rollback",
        "rollBack",
        "Put the config and the ai_gateway block of a revision back in force, as a new revision",
    )
    .takes("Rollback")
    .gives("EndpointDetailed")
    .fails(&[409]),
    Operation::new(
        "POST",
        "/api/tollgate/v1/endpoints/{name}/cancel-update",
        "cancelUpdate",
        "End the running update; the config in force stays",
    )
    .gives("EndpointDetailed")
    .fails(&[400]),
];

fn schemas() -> Vec<(&'static str, Value)> {
    let mut out = vec![
        ("CreateEndpoint", create()),
        ("UpdateConfig", update()),
        ("EndpointDetailed", detailed()),
        ("Endpoint", listed()),
        ("EndpointList", object(&["endpoints"], [("endpoints", list(schema("Endpoint")))])),
        ("FoundationModels", object(&["endpoints"], [("endpoints", list(json!({"type": "object"})))])),
        (
            "RegisteredModels",
            object(
                &["registered_models"],
                [(
                    "registered_models",
                    list(object(&["name", "full_name"], [("name", text("")), ("full_name", text(""))])),
                )],
            ),
        ),
        ("ModelServices", object(&["model_services"], [("model_services", list(json!({"type": "object"})))])),
        ("State", state()),
        ("Tag", object(&["key"], [("key", text("")), ("value", text("empty where absent"))])),
        ("Tags", object(&["tags"], [("tags", list(schema("Tag")))])),
        (
            "PatchTags",
            object(&[], [("add_tags", list(schema("Tag"))), ("delete_tags", list(text("the key of a tag")))]),
        ),
        ("PatchNotifications", object(&[], [("email_notifications", email_notifications())])),
        (
            "Notifications",
            object(
                &["name"],
                [("name", text("of the endpoint")), ("email_notifications", anything("as it was sent"))],
            ),
        ),
        ("Logs", object(&["logs"], [("logs", text(""))])),
    ];
    out.extend(configs::schemas());
    out
}

fn create() -> Value {
    object(
        &["name", "config"],
        [
            (
                "name",
                json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,63}$", "description": "must not begin with databricks-"}),
            ),
            ("config", schema("Config")),
            ("ai_gateway", schema("AiGateway")),
            ("rate_limits", older("ai_gateway.rate_limits", list(schema("RateLimit")))),
            ("tags", list(schema("Tag"))),
            ("description", text("")),
            ("email_notifications", email_notifications()),
            ("budget_policy_id", text("kept and given back")),
            ("usage_policy_id", text("kept and given back")),
            ("route_optimized", boolean("true is refused: not for external models")),
            ("validate", extension(boolean("call each upstream once before the endpoint is made"))),
        ],
    )
}

/// The older place of a field.
pub(super) fn older(place: &str, mut schema: Value) -> Value {
    schema["deprecated"] = true.into();
    schema["description"] = format!("the older place of {place}").into();
    schema
}

fn update() -> Value {
    object(
        &["served_entities"],
        [
            ("served_entities", json!({"type": "array", "minItems": 1, "items": schema("ServedEntity")})),
            ("traffic_config", schema("TrafficConfig")),
            ("auto_capture_config", configs::auto_capture()),
            (
                "served_models",
                json!({"type": "array", "maxItems": 0, "description": "for custom models: refused unless empty"}),
            ),
            (
                "validate",
                extension(boolean(
                    "call each upstream once before the config is swapped in: the answer comes at once, with config_update IN_PROGRESS",
                )),
            ),
        ],
    )
}

fn email_notifications() -> Value {
    object(
        &[],
        [("on_update_success", list(text("an address"))), ("on_update_failure", list(text("an address")))],
    )
}

fn state() -> Value {
    object(
        &["ready", "config_update"],
        [
            ("ready", one_of(&["READY", "NOT_READY"], "")),
            (
                "config_update",
                one_of(&["NOT_UPDATING", "IN_PROGRESS", "UPDATE_FAILED", "UPDATE_CANCELED"], ""),
            ),
        ],
    )
}

fn detailed() -> Value {
    let mut out = listed();
    out["properties"]["config"] = schema("ConfigOut");
    out["properties"]["pending_config"] = schema("ConfigOut");
    out["properties"]["permission_level"] = permission_level("the caller's own");
    out
}

fn listed() -> Value {
    object(
        &[
            "name",
            "id",
            "creator",
            "creation_timestamp",
            "last_updated_timestamp",
            "state",
            "config",
            "tags",
            "task",
        ],
        [
            ("name", text("")),
            ("id", text("by which permissions are addressed")),
            ("creator", text("user name or application id")),
            ("creation_timestamp", timestamp("when it was made")),
            ("last_updated_timestamp", timestamp("when it was last changed")),
            ("state", schema("State")),
            ("config", object(&["served_entities"], [("served_entities", list(schema("ServedEntity")))])),
            ("ai_gateway", schema("AiGateway")),
            ("tags", list(schema("Tag"))),
            (
                "task",
                one_of(&["llm/v1/chat", "llm/v1/completions", "llm/v1/embeddings"], "of all its entities"),
            ),
            ("route_optimized", json!({"const": false})),
            ("description", text("")),
            ("email_notifications", anything("as it was sent")),
            ("budget_policy_id", text("")),
            ("usage_policy_id", text("")),
            ("endpoint_type", json!({"const": "EXTERNAL_MODEL"})),
            ("creator_kind", text("")),
        ],
    )
}

fn permission_level(description: &str) -> Value {
    one_of(&["CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"], description)
}

fn permission_schemas() -> Vec<(&'static str, Value)> {
    vec![
        (
            "AccessControl",
            object(&["access_control_list"], [("access_control_list", list(schema("AccessEntry")))]),
        ),
        ("AccessEntry", access_entry(permission_level(""))),
        ("Permissions", permissions("serving-endpoint", permission_level(""))),
        ("PermissionLevels", permission_levels(permission_level(""))),
    ]
}

pub(super) fn permission_levels(level: Value) -> Value {
    let described = object(
        &["permission_level", "description"],
        [("permission_level", level), ("description", text(""))],
    );
    object(&["permission_levels"], [("permission_levels", list(described))])
}

pub(super) fn access_entry(level: Value) -> Value {
    let mut entry = object(
        &["permission_level"],
        [
            ("user_name", text("")),
            ("group_name", text("")),
            ("service_principal_name", text("an application id")),
            ("permission_level", level),
        ],
    );
    entry["description"] = "exactly one of the names".into();
    entry["oneOf"] = json!([
        {"required": ["user_name"]}, {"required": ["group_name"]}, {"required": ["service_principal_name"]}]);
    entry
}

pub(super) fn permissions(kind: &str, level: Value) -> Value {
    let one = object(
        &["permission_level", "inherited"],
        [("permission_level", level), ("inherited", boolean("")), ("inherited_from_object", list(text("")))],
    );
    let entry = object(
        &["all_permissions"],
        [
            ("user_name", text("")),
            ("group_name", text("")),
            ("service_principal_name", text("")),
            ("display_name", text("")),
            ("all_permissions", list(one)),
        ],
    );
    object(
        &["object_id", "object_type", "access_control_list"],
        [
            ("object_id", text("its id, behind the name of its kind")),
            ("object_type", json!({"const": kind})),
            ("access_control_list", list(entry)),
        ],
    )
}

fn revision_schemas() -> Vec<(&'static str, Value)> {
    let head = || {
        object(
            &["revision", "config_version", "author", "created_at"],
            [
                ("revision", integer("from 1, without gaps")),
                ("config_version", integer("Databricks' count, which goes up with the config alone")),
                ("author", text("")),
                ("created_at", timestamp("when it came into force")),
            ],
        )
    };
    let (mut item, mut whole) = (head(), head());
    item["properties"]["changes"] =
        list(object(&["path"], [("path", text("")), ("before", anything("")), ("after", anything(""))]));
    whole["properties"]["config"] = schema("Config");
    whole["properties"]["ai_gateway"] = anything("the block; null where there was none");
    vec![
        ("RevisionList", object(&["revisions"], [("revisions", list(item))])),
        ("Revision", whole),
        ("Rollback", object(&["revision"], [("revision", integer("the number of the one to go back to"))])),
    ]
}
