//! Lists of models and what else the data plane answers without an endpoint. Their routes are another
//! crate's; tests compare.

use serde_json::Value;

use super::operation::{Answer, Area, Operation, list, object, text};

pub(super) const AREA: Area = Area {
    tag: "models",
    description: "The endpoints that the caller may query, as other vendors list models.",
    error: "Error",
    operations: OPERATIONS,
    schemas,
};

pub(super) const PROBES: Area = Area {
    tag: "probes",
    description: "What clients ask before they have a credential.",
    error: "Error",
    operations: PROBES_OPERATIONS,
    schemas: Vec::new,
};

const fn openai(path: &'static str, id: &'static str) -> Operation {
    Operation::new("GET", path, id, "The models, as OpenAI lists them").gives("OpenAiModels")
}

const fn messages(path: &'static str, id: &'static str) -> Operation {
    Operation::new("GET", path, id, "The models, as the Messages format lists them").gives("MessagesModels")
}

const fn gemini(path: &'static str, id: &'static str) -> Operation {
    Operation::new("GET", path, id, "The models, as Gemini lists them").gives("GeminiModels")
}

const OPERATIONS: &[Operation] = &[
    openai("/serving-endpoints/models", "models"),
    openai("/ai-gateway/mlflow/v1/models", "modelsOfGateway"),
    openai("/mlflow/v1/models", "modelsOfMlflow"),
    openai("/ai-gateway/openai/v1/models", "modelsOfOpenAiGateway"),
    openai("/openai/v1/models", "modelsOfOpenAi"),
    openai("/ai-gateway/cursor/v1/models", "modelsOfCursorGateway"),
    openai("/cursor/v1/models", "modelsOfCursor"),
    openai("/ai-gateway/codex/v1/models", "modelsOfCodexGateway"),
    openai("/codex/v1/models", "modelsOfCodex"),
    messages("/ai-gateway/anthropic/v1/models", "modelsOfMessagesGateway"),
    messages("/anthropic/v1/models", "modelsOfMessages"),
    messages("/serving-endpoints/anthropic/v1/models", "modelsOfServingMessages"),
    gemini("/ai-gateway/gemini/{version}/models", "modelsOfGeminiGateway"),
    gemini("/gemini/{version}/models", "modelsOfGemini"),
    gemini("/serving-endpoints/gemini/{version}/models", "modelsOfServingGemini"),
];

const PROBES_OPERATIONS: &[Operation] = &[
    alive("/ai-gateway/anthropic", "isMessagesGatewayThere"),
    alive("/anthropic", "isMessagesThere"),
    alive("/serving-endpoints/anthropic", "isServingMessagesThere"),
];

const fn alive(path: &'static str, id: &'static str) -> Operation {
    Operation::new("HEAD", path, id, "Whether somebody is there").answers(200, Answer::None)
}

fn schemas() -> Vec<(&'static str, Value)> {
    let model = || object(&["id"], [("id", text("the name of the endpoint"))]);
    vec![
        ("OpenAiModels", object(&["object", "data"], [("object", text("list")), ("data", list(model()))])),
        ("MessagesModels", object(&["data"], [("data", list(model()))])),
        (
            "GeminiModels",
            object(
                &["models"],
                [(
                    "models",
                    list(object(&["name"], [("name", text("models/ and the name of the endpoint"))])),
                )],
            ),
        ),
    ]
}
