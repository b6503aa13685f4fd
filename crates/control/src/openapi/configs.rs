//! The config of an endpoint and its `ai_gateway` block. The blocks of the providers come from their tables
//! of fields.

use policy::endpoint::params::{Kind as ParamKind, PARAMS};
use providers::fields::Kind;
use providers::{Field, Registration, Task};
use serde_json::{Map, Value, json};

use wire::counts::TokenKind;

use super::endpoints::older;
use super::operation::{
    anything, boolean, extension, integer, list, object, one_of, schema, text, timestamp,
};

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let mut out = vec![
        ("Config", config()),
        ("ConfigOut", config_out()),
        ("ServedEntity", entity()),
        ("ServedEntityOut", entity_out()),
        ("Timeouts", timeouts()),
        ("ExternalModel", model()),
        ("DefaultParams", default_params()),
        ("TrafficConfig", object(&[], [("routes", list(schema("TrafficRoute")))])),
        ("TrafficRoute", route()),
        ("AiGateway", ai_gateway()),
        ("RateLimit", rate_limit()),
        ("RateLimits", object(&["rate_limits"], [("rate_limits", list(schema("RateLimit")))])),
    ];
    out.extend(providers::ALL.iter().map(|provider| (provider.config_field, block(provider))));
    out
}

fn config() -> Value {
    object(
        &["served_entities"],
        [
            ("served_entities", json!({"type": "array", "minItems": 1, "items": schema("ServedEntity")})),
            ("traffic_config", schema("TrafficConfig")),
            ("auto_capture_config", auto_capture()),
        ],
    )
}

pub(super) fn auto_capture() -> Value {
    let names = ["catalog_name", "schema_name", "table_name_prefix"].map(|name| (name, text("")));
    let mut fields = object(&[], names);
    fields["properties"]["enabled"] = boolean("");
    older("ai_gateway.inference_table_config", fields)
}

fn config_out() -> Value {
    object(
        &["served_entities", "traffic_config", "config_version"],
        [
            ("served_entities", list(schema("ServedEntityOut"))),
            ("traffic_config", schema("TrafficConfig")),
            ("config_version", integer("")),
            ("start_time", timestamp("of a pending config: when the update began")),
        ],
    )
}

fn entity() -> Value {
    let name = json!({"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "description": "the model's name where absent"});
    object(
        &["external_model"],
        [
            ("name", name),
            ("external_model", schema("ExternalModel")),
            ("timeouts", extension(schema("Timeouts"))),
            ("price_per_million_tokens", prices()),
            ("on_disconnect", on_disconnect()),
        ],
    )
}

fn entity_out() -> Value {
    let mut out = entity();
    let state = object(
        &["deployment", "deployment_state_message"],
        [("deployment", text("")), ("deployment_state_message", text(""))],
    );
    out["required"] = json!(["name", "external_model", "creator", "creation_timestamp", "state"]);
    out["properties"]["creator"] = text("");
    out["properties"]["creation_timestamp"] = timestamp("when the config was made");
    out["properties"]["state"] = state;
    out
}

fn prices() -> Value {
    let kinds = TokenKind::ALL.map(|kind| (kind.as_str(), json!({"type": "number", "minimum": 0})));
    let mut out = object(&[], kinds);
    out["description"] = "USD per million tokens by kind, in place of the bundled price table; a kind that is absent costs what the kind does that it is a part of".into();
    out["additionalProperties"] = false.into();
    extension(out)
}

fn on_disconnect() -> Value {
    extension(json!({
        "type": "string",
        "enum": ["cancel", "drain"],
        "default": "cancel",
        "description": "when the client leaves: `cancel` leaves the upstream at once and counts what was delivered, `drain` reads the upstream's answer to its end, within bounds, for its own count",
    }))
}

fn timeouts() -> Value {
    let limit = |description: &str| json!({"type": "integer", "minimum": 1, "description": description});
    let mut out = object(
        &[],
        [
            ("connect_ms", limit("to a connection, TLS apart")),
            (
                "first_byte_ms",
                limit(
                    "from sending the request to the first byte of the answer, or the first event of a stream",
                ),
            ),
            ("idle_ms", limit("between two pieces of the answer")),
        ],
    );
    out["description"] = "limits of calls to this entity; what is absent takes the server's default".into();
    out["additionalProperties"] = false.into();
    extension(out)
}

fn model() -> Value {
    let names: Vec<&str> = providers::ALL.iter().map(|p| p.name).collect();
    let tasks = Task::ALL.map(Task::as_str);
    let mut out = object(
        &["name", "provider", "task"],
        [
            (
                "name",
                json!({"type": "string", "minLength": 1, "description": "the model's name at the provider"}),
            ),
            ("provider", one_of(&names, "")),
            ("task", one_of(&tasks, "one and the same for all entities of an endpoint")),
        ],
    );
    for provider in providers::ALL {
        out["properties"][provider.config_field] = schema(provider.config_field);
    }
    out["properties"]["default_params"] = extension(schema("DefaultParams"));
    out["description"] = "with the config block of its provider".into();
    out
}

fn default_params() -> Value {
    let value = |kind: ParamKind| match kind {
        ParamKind::Integer { least, most } => json!({"type": "integer", "minimum": least, "maximum": most}),
        ParamKind::Number { least, most } => json!({"type": "number", "minimum": least, "maximum": most}),
        ParamKind::Flag => json!({"type": "boolean"}),
        ParamKind::Text => json!({"type": "string", "minLength": 1}),
    };
    let properties: Map<String, Value> =
        PARAMS.iter().map(|param| (param.name.to_owned(), value(param.kind))).collect();
    extension(json!({"type": "object", "additionalProperties": false, "properties": properties,
        "description": "parameters of calls where the caller sends none; max_tokens and max_completion_tokens are the same"}))
}

/// A provider's block. A secret is a reference, or its value under `<field>_plaintext`, which is in no answer.
fn block(provider: &Registration) -> Value {
    let mut out = json!({"type": "object", "additionalProperties": false});
    for field in provider.fields {
        let (holder, name) = match field.path.split_once('.') {
            None => (&mut out, field.path),
            Some((outer, inner)) => {
                let holder = &mut out["properties"][outer];
                if holder.is_null() {
                    *holder = json!({"type": "object", "additionalProperties": false});
                }
                (holder, inner)
            }
        };
        holder["properties"][name] = field_schema(field);
        if field.kind == Kind::Secret {
            holder["properties"][format!("{name}_plaintext")] =
                json!({"type": "string", "writeOnly": true, "description": "the secret itself, kept sealed"});
        }
    }
    out
}

fn field_schema(field: &Field) -> Value {
    let value = match field.kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Secret => json!({"type": "string", "description": "{{secrets/<scope>/<key>}}"}),
    };
    if field.extension { extension(value) } else { value }
}

fn route() -> Value {
    object(
        &["traffic_percentage"],
        [
            ("served_entity_name", text("")),
            ("served_model_name", text("the older name of the same; both are answered, equal")),
            (
                "traffic_percentage",
                json!({"type": "integer", "minimum": 0, "maximum": 100, "description": "0 is a fallback only; the sum is 100"}),
            ),
        ],
    )
}

fn ai_gateway() -> Value {
    object(
        &[],
        [
            (
                "fallback_config",
                object(&[], [("enabled", boolean("try the other entities after a failure"))]),
            ),
            (
                "guardrails",
                anything("what of `input` and `output` is blocked or masked; see docs/guardrails.md"),
            ),
            ("inference_table_config", anything("kept and given back")),
            ("rate_limits", json!({"type": "array", "maxItems": 20, "items": schema("RateLimit")})),
            ("usage_tracking_config", anything("kept and given back")),
        ],
    )
}

fn rate_limit() -> Value {
    let count = |least: u32, description: &str| json!({"type": "integer", "minimum": least, "description": description});
    let fields: Map<String, Value> = [
        ("calls", count(0, "calls in a period; 0 switches the endpoint off")),
        ("tokens", count(0, "tokens in a period; 0 switches the endpoint off")),
        ("concurrent_calls", extension(count(1, "calls under way at once"))),
        ("report_only", extension(boolean("refuse nothing, report what would have been refused"))),
        ("key", one_of(&["endpoint", "user", "user_group", "service_principal"], "endpoint where absent")),
        ("principal", text("whom it is for; required for user_group")),
        (
            "renewal_period",
            one_of(&["minute", "hour"], "hour is an extension; may be absent beside concurrent_calls alone"),
        ),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    let one_of_these = [
        json!(["renewal_period", "calls"]),
        json!(["renewal_period", "tokens"]),
        json!(["concurrent_calls"]),
    ];
    let any_of: Vec<Value> = one_of_these.into_iter().map(|required| json!({"required": required})).collect();
    json!({"type": "object", "anyOf": any_of, "properties": fields})
}
