//! What would become of a call, and which upstreams are left alone.

use serde_json::{Value, json};

use super::operation::{Area, Operation, boolean, list, object, one_of, schema, text};

pub(super) const AREA: Area = Area {
    tag: "explain",
    description: "What would become of a call, without making it. These routes are Tollgate's own.",
    error: "Error",
    operations: OPERATIONS,
    schemas,
};

const OPERATIONS: &[Operation] = &[
    Operation::new("POST", "/api/tollgate/v1/explain", "explain", "What would become of a call")
        .says(
            "Nobody is called and nothing is counted. Members of admins ask for any principal, others for themselves. Limits, \
             route and guardrails are shown to those who may view the endpoint.",
        )
        .takes("Explain")
        .gives("Explanation")
        .fails(&[404]),
    Operation::new(
        "GET",
        "/api/tollgate/v1/endpoints/{name}/circuits",
        "listCircuits",
        "The circuit of each served entity: whether calls go to it, and who is to blame if not",
    )
    .gives("Circuits"),
];

fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("Explain", asked()),
        ("Explanation", explanation()),
        ("Circuit", circuit()),
        ("Circuits", object(&["circuits"], [("circuits", list(circuit_of_entity()))])),
    ]
}

fn asked() -> Value {
    object(
        &["endpoint"],
        [
            ("endpoint", text("the name of an endpoint")),
            ("principal", text("user name or application id; the caller where absent")),
            (
                "request",
                json!({"type": "object", "description": "the body of a call of …/invocations; any short one where absent"}),
            ),
        ],
    )
}

fn explanation() -> Value {
    let count = || json!({"type": "integer", "minimum": 0});
    let nothing_or = |kind: &str| json!({"type": [kind, "null"]});
    let limit = object(
        &["key", "measure", "cap", "used", "has_room"],
        [
            ("key", text("as in ai_gateway.rate_limits")),
            ("principal", nothing_or("string")),
            ("renewal_period", one_of(&["minute", "hour"], "")),
            ("report_only", boolean("it refuses nothing")),
            ("measure", one_of(&["calls", "tokens", "concurrent_calls"], "")),
            ("cap", count()),
            ("used", count()),
            ("remaining", count()),
            ("needs", count()),
            ("has_room", boolean("whether the call would fit")),
            ("resets_in_seconds", nothing_or("number")),
        ],
    );
    let stop = object(
        &["served_entity_name", "traffic_percentage", "circuit"],
        [
            ("served_entity_name", text("")),
            ("traffic_percentage", count()),
            ("circuit", schema("Circuit")),
            ("cannot_serve", nothing_or("string")),
        ],
    );
    let ruled = object(
        &["guardrail", "outcome", "details"],
        [
            ("guardrail", one_of(&["invalid_keywords", "pii"], "one that needs no model")),
            ("outcome", one_of(&["passed", "detected", "masked", "blocked", "failed_closed"], "")),
            ("details", list(text("kinds of personal data"))),
        ],
    );
    object(
        &["endpoint", "principal", "permission", "would"],
        [
            ("endpoint", text("")),
            ("principal", json!({"type": "object"})),
            ("permission", json!({"type": "object"})),
            (
                "would",
                object(
                    &["be_served", "status", "message"],
                    [("be_served", boolean("")), ("status", count()), ("message", text(""))],
                ),
            ),
            ("limits", list(limit)),
            (
                "tokens",
                json!({"type": "object", "description": "estimated: input and first token, usual, and longest"}),
            ),
            ("fallback", boolean("")),
            ("route", list(stop)),
            ("guardrails", json!({"description": "as configured"})),
            ("guardrail_verdicts", list(ruled)),
        ],
    )
}

fn circuit_of_entity() -> Value {
    let mut circuit = circuit();
    circuit["properties"]["served_entity_name"] = text("");
    circuit
}

fn circuit() -> Value {
    let fields = [
        ("state", one_of(&["closed", "open", "half_open"], "")),
        ("blames", json!({"type": ["string", "null"], "enum": ["key", "model", "provider", "quota", null]})),
        ("failures", json!({"type": "integer", "minimum": 0, "description": "since the last success"})),
        ("probe_in_seconds", json!({"type": ["number", "null"], "description": "until it is asked again"})),
    ];
    object(&["state", "failures"], fields)
}
