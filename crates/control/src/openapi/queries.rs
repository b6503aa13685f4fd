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

const fn messages(path: &'static str, id: &'static str) -> Operation {
    Operation::new("POST", path, id, "A message in the Messages format; the endpoint is the body's model")
        .takes("MessagesByModel")
        .answers(200, Answer::Model("MessagesAnswer"))
}

const fn count(path: &'static str, id: &'static str) -> Operation {
    Operation::new("POST", path, id, "How many tokens a message in the Messages format has")
        .takes("MessagesByModel")
        .gives("CountedTokens")
}

const fn responses(path: &'static str, id: &'static str) -> Operation {
    Operation::new(
        "POST",
        path,
        id,
        "A response in OpenAI's Responses format; the endpoint is the body's model",
    )
    .takes("ResponsesByModel")
    .answers(200, Answer::Model("ResponsesAnswer"))
}

const fn converse(path: &'static str, id: &'static str) -> Operation {
    Operation::new("POST", path, id, "A turn of a conversation, in the format of Converse")
        .takes("Conversation")
        .gives("Turn")
}

const fn converse_stream(path: &'static str, id: &'static str) -> Operation {
    Operation::new("POST", path, id, "The same as a binary stream of events")
        .takes("Conversation")
        .answers(200, Answer::EventStream)
}

const fn generate(path: &'static str, id: &'static str) -> Operation {
    Operation::new("POST", path, id, "Content, streamed or not, or a count of tokens, in Gemini's format")
        .takes("Contents")
        .answers(200, Answer::Model("Candidates"))
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
    chat("/ai-gateway/openai/v1/chat/completions", "chatOfOpenAiGateway"),
    completions("/ai-gateway/openai/v1/completions", "completeOfOpenAiGateway"),
    embeddings("/ai-gateway/openai/v1/embeddings", "embedOfOpenAiGateway"),
    chat("/openai/v1/chat/completions", "chatOfOpenAi"),
    completions("/openai/v1/completions", "completeOfOpenAi"),
    embeddings("/openai/v1/embeddings", "embedOfOpenAi"),
    chat("/ai-gateway/cursor/v1/chat/completions", "chatOfCursorGateway"),
    chat("/cursor/v1/chat/completions", "chatOfCursor"),
    messages("/ai-gateway/anthropic/v1/messages", "messageOfGateway"),
    count("/ai-gateway/anthropic/v1/messages/count_tokens", "countTokensOfGateway"),
    messages("/anthropic/v1/messages", "message"),
    count("/anthropic/v1/messages/count_tokens", "countTokens"),
    messages("/serving-endpoints/anthropic/v1/messages", "messageOfServing"),
    count("/serving-endpoints/anthropic/v1/messages/count_tokens", "countTokensOfServing"),
    responses("/serving-endpoints/responses", "respondOfServing"),
    responses("/ai-gateway/openai/v1/responses", "respondOfOpenAiGateway"),
    responses("/openai/v1/responses", "respond"),
    responses("/ai-gateway/codex/v1/responses", "respondOfCodexGateway"),
    responses("/codex/v1/responses", "respondOfCodex"),
    responses("/ai-gateway/mlflow/v1/responses", "respondOfGateway"),
    responses("/mlflow/v1/responses", "respondOfMlflow"),
    generate("/ai-gateway/gemini/{version}/models/{call}", "generateOfGateway"),
    generate("/gemini/{version}/models/{call}", "generate"),
    generate("/serving-endpoints/gemini/{version}/models/{call}", "generateOfServing"),
    converse("/ai-gateway/model/{name}/converse", "converseOfGateway"),
    converse_stream("/ai-gateway/model/{name}/converse-stream", "converseStreamOfGateway"),
    converse("/model/{name}/converse", "converse"),
    converse_stream("/model/{name}/converse-stream", "converseStream"),
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
        ("MessagesByModel", by_model("messages", "max_tokens and all other fields of the format")),
        ("MessagesAnswer", answer("content")),
        (
            "CountedTokens",
            object(
                &["input_tokens"],
                [
                    ("input_tokens", integer("")),
                    (
                        "estimated",
                        boolean("there when the provider does not count and the number is an estimate"),
                    ),
                ],
            ),
        ),
        ("ResponsesByModel", by_model("input", "a text or a list of items")),
        ("ResponsesAnswer", answer("output")),
        (
            "Contents",
            json!({"type": "object", "required": ["contents"], "properties": {"contents": {"type": "array"}}}),
        ),
        (
            "Conversation",
            json!({"type": "object", "required": ["messages"], "properties": {"messages": {"type": "array"}}}),
        ),
        ("Turn", json!({"type": "object", "description": "output, stopReason and usage"})),
        ("Candidates", json!({"type": "object", "description": "candidates, or a count"})),
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

/// A request in another vendor's format, whose documentation has the rest.
fn by_model(field: &'static str, description: &str) -> Value {
    object(&["model", field], [("model", text("the name of the endpoint")), (field, anything(description))])
}

fn answer(field: &'static str) -> Value {
    object(
        &["id", field],
        [
            ("id", text("")),
            ("model", text("as the provider calls it")),
            (field, list(json!({"type": "object"}))),
        ],
    )
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
