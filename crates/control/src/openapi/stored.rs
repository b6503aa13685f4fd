//! Responses that upstreams keep. Their routes are another crate's; tests compare.

use serde_json::Value;

use super::operation::{Answer, Area, Operation, list, object, text};

pub(super) const AREA: Area = Area {
    tag: "stored responses",
    description: "Responses that the upstream of an endpoint keeps, for those who may query the endpoint.",
    error: "Error",
    operations: OPERATIONS,
    schemas,
};

const fn get(path: &'static str, id: &'static str) -> Operation {
    Operation::new("GET", path, id, "A response that is kept")
        .answers(200, Answer::Model("StoredResponse"))
        .fails(&[400, 404])
}

const fn delete(path: &'static str, id: &'static str) -> Operation {
    Operation::new("DELETE", path, id, "Delete a response that is kept")
        .gives("DeletedResponse")
        .fails(&[400, 404])
}

const fn items(path: &'static str, id: &'static str) -> Operation {
    Operation::new("GET", path, id, "What a response that is kept answers")
        .gives("InputItems")
        .fails(&[400, 404])
}

const fn cancel(path: &'static str, id: &'static str) -> Operation {
    Operation::new("POST", path, id, "Cancel a response that is made in the background")
        .gives("StoredResponse")
        .fails(&[400, 404])
}

macro_rules! kept {
    ($($base:literal, $name:literal;)*) => {
        &[$(
            get(concat!($base, "/responses/{id}"), concat!("getResponse", $name)),
            delete(concat!($base, "/responses/{id}"), concat!("deleteResponse", $name)),
            items(concat!($base, "/responses/{id}/input_items"), concat!("getInputItems", $name)),
            cancel(concat!($base, "/responses/{id}/cancel"), concat!("cancelResponse", $name)),
        )*]
    };
}

const OPERATIONS: &[Operation] = kept! {
    "/serving-endpoints", "OfServing";
    "/ai-gateway/openai/v1", "OfOpenAiGateway";
    "/openai/v1", "";
    "/ai-gateway/codex/v1", "OfCodexGateway";
    "/codex/v1", "OfCodex";
    "/ai-gateway/mlflow/v1", "OfGateway";
    "/mlflow/v1", "OfMlflow";
};

fn schemas() -> Vec<(&'static str, Value)> {
    let item = || object(&[], [("id", text("the id of the item"))]);
    let id = || text("the id of the response");
    vec![
        ("StoredResponse", object(&["id"], [("id", id())])),
        ("DeletedResponse", object(&["id"], [("id", id())])),
        ("InputItems", object(&["data"], [("data", list(item()))])),
    ]
}
