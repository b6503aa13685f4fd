//! The data plane and the server's own health. Their routes are other crates'; tests compare.

use serde_json::{Value, json};

use super::operation::{Answer, Area, Operation, anything, boolean, integer, list, object, schema, text};

pub(super) const AREA: Area = Area {
    tag: "queries",
    description: "Calls of models. All need CAN_QUERY on the endpoint.",
    error: "Error",
    operations: OPERATIONS,
    schemas,
};

pub(super) const HEALTH: Area = Area {
    tag: "health",
    description: "The state of the server.",
    error: "Error",
    operations: HEALTH_OPERATIONS,
    schemas: Vec::new,
};

const fn chat(path: &'static str, id: &'static str) -> Operation {
    Operation::new("POST", path, id, "A chat; the endpoint is the body's model")
        .takes("ChatByModel")
        .answers(200, Answer::Model("Chat"))
}

const fn completions(path: &'static str, id: &'static str) -> Operation {
    Operation::new("POST", path, id, "A completion; the endpoint is the body's model")
        .takes("CompletionsByModel")
        .answers(200, Answer::Model("Completions"))
}

const fn embeddings(path: &'static str, id: &'static str) -> Operation {
    Operation::new("POST", path, id, "Embeddings; the endpoint is the body's model")
        .takes("EmbeddingsByModel")
        .gives("Embeddings")
}

const OPERATIONS: &[Operation] = &[
    Operation::new(
        "POST",
        "/serving-endpoints/{name}/invocations",
        "query",
        "Query an endpoint; its own task decides what is asked and answered",
    )
    .takes("Query")
    .answers(200, Answer::Model("QueryAnswer")),
    chat("/serving-endpoints/chat/completions", "chat"),
    completions("/serving-endpoints/completions", "complete"),
    embeddings("/serving-endpoints/embeddings", "embed"),
    chat("/ai-gateway/mlflow/v1/chat/completions", "chatOfGateway"),
    completions("/ai-gateway/mlflow/v1/completions", "completeOfGateway"),
    embeddings("/ai-gateway/mlflow/v1/embeddings", "embedOfGateway"),
    chat("/mlflow/v1/chat/completions", "chatOfMlflow"),
    completions("/mlflow/v1/completions", "completeOfMlflow"),
    embeddings("/mlflow/v1/embeddings", "embedOfMlflow"),
];

const HEALTH_OPERATIONS: &[Operation] = &[
    Operation::new("GET", "/healthz", "isAlive", "Whether the process answers").answers(200, Answer::Text),
    Operation::new("GET", "/readyz", "isReady", "Whether new calls are welcome").answers(200, Answer::Text),
    Operation::new("GET", "/metrics", "metrics", "The server's metrics, as Prometheus text")
        .answers(200, Answer::Text),
];

fn schemas() -> Vec<(&'static str, Value)> {
    let mut out = vec![
        (
            "Query",
            json!({"anyOf": [schema("ChatRequest"), schema("CompletionsRequest"), schema("EmbeddingsRequest")]}),
        ),
        ("QueryAnswer", json!({"anyOf": [schema("Chat"), schema("Completions"), schema("Embeddings")]})),
        ("Chat", chat_answer()),
        ("Completions", completions_answer()),
        ("Embeddings", embeddings_answer()),
        ("Usage", usage()),
    ];
    for (name, by_model, request) in [
        ("ChatRequest", "ChatByModel", chat_request()),
        ("CompletionsRequest", "CompletionsByModel", completions_request()),
        ("EmbeddingsRequest", "EmbeddingsByModel", embeddings_request()),
    ] {
        let model = object(&["model"], [("model", text("the name of the endpoint"))]);
        out.push((name, request));
        out.push((by_model, json!({"allOf": [schema(name), model]})));
    }
    out
}

/// The fields that every task takes, in `request`. Others go to the provider as they are.
fn with_ours(mut request: Value) -> Value {
    let ours = [
        ("stream", boolean("answer with server-sent events")),
        ("client_request_id", text("kept in the records, not sent to the provider")),
        ("usage_context", json!({"type": "object", "additionalProperties": {"type": "string"}})),
        ("extra_params", json!({"type": "object", "description": "merged into the provider's body"})),
        ("databricks_options", anything("taken off")),
    ];
    for (name, value) in ours {
        request["properties"][name] = value;
    }
    request
}

fn chat_request() -> Value {
    let role = json!({"type": "string", "enum": ["system", "developer", "user", "assistant", "tool"]});
    let content = json!({"type": ["string", "array", "null"]});
    let message = object(&["role"], [("role", role), ("content", content), ("name", text(""))]);
    with_ours(object(
        &["messages"],
        [
            ("messages", json!({"type": "array", "minItems": 1, "items": message})),
            ("max_tokens", json!({"type": "integer", "minimum": 1})),
            ("temperature", json!({"type": "number", "minimum": 0, "maximum": 2})),
        ],
    ))
}

fn completions_request() -> Value {
    let prompt = json!({"type": ["string", "array"]});
    with_ours(object(
        &["prompt"],
        [("prompt", prompt), ("max_tokens", json!({"type": "integer", "minimum": 1}))],
    ))
}

fn embeddings_request() -> Value {
    let mut request = with_ours(object(&["input"], [("input", json!({"type": ["string", "array"]}))]));
    request["properties"]["stream"] = json!({"const": false});
    request
}

fn chat_answer() -> Value {
    let message = object(&["role"], [("role", text("")), ("content", anything("a text or a list of parts"))]);
    let choice =
        object(&["message"], [("index", integer("")), ("message", message), ("finish_reason", anything(""))]);
    object(
        &["choices"],
        [
            ("id", text("")),
            ("object", text("chat.completion")),
            ("created", integer("in seconds since the epoch")),
            ("model", text("as the provider calls it")),
            ("choices", list(choice)),
            ("usage", schema("Usage")),
        ],
    )
}

fn completions_answer() -> Value {
    let choice =
        object(&["text"], [("text", text("")), ("index", integer("")), ("finish_reason", anything(""))]);
    object(
        &["choices"],
        [("id", text("")), ("model", text("")), ("choices", list(choice)), ("usage", schema("Usage"))],
    )
}

fn embeddings_answer() -> Value {
    let embedding =
        json!({"type": ["array", "string"], "description": "numbers, or base64 where that was asked for"});
    let item = object(&["embedding"], [("index", integer("")), ("embedding", embedding)]);
    object(&["data"], [("model", text("")), ("data", list(item)), ("usage", schema("Usage"))])
}

fn usage() -> Value {
    object(
        &[],
        [("prompt_tokens", integer("")), ("completion_tokens", integer("")), ("total_tokens", integer(""))],
    )
}
