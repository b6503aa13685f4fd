//! One conversation with a tool, in the unified format, against every provider: what it comes to is the same.

use serde_json::{Value, json};

use crate::client::{Got, invocations};
use crate::world::{Entity, PROVIDERS, World, world};

const QUESTION: &str = "what does the file say?";

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "read_file", "description": "Reads a file.", "parameters": {
        "type": "object", "properties": {"path": {"type": "string"}, "lines": {"type": "integer"}}, "required": ["path", "lines"]}}}])
}

/// What a turn came to, ids left out: they are each provider's own.
#[derive(Clone, Debug, PartialEq)]
struct Turn {
    text: String,
    calls: Vec<(String, Value)>,
    finish: Value,
}

/// The turn, and the message that goes into the history.
fn whole(got: &Got) -> (Turn, Value) {
    assert_eq!(got.status, 200, "{got:?}");
    let choice = got.json()["choices"][0].clone();
    let message = choice["message"].clone();
    let calls = message["tool_calls"].as_array().into_iter().flatten().map(|call| {
        let function = &call["function"];
        let arguments = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
        (function["name"].as_str().unwrap().to_owned(), arguments)
    });
    let text = message["content"].as_str().unwrap_or_default().to_owned();
    (Turn { text, calls: calls.collect(), finish: choice["finish_reason"].clone() }, message)
}

fn streamed(got: &Got) -> Turn {
    assert!(got.status == 200 && got.is_done(), "{got:?}");
    let (mut names, mut arguments, mut finish) = (Vec::new(), String::new(), Value::Null);
    for event in got.events() {
        let delta = &event["choices"][0]["delta"];
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            names.extend(call["function"]["name"].as_str().map(str::to_owned));
            arguments += call["function"]["arguments"].as_str().unwrap_or_default();
        }
        if let Some(reason) = event.pointer("/choices/0/finish_reason").filter(|r| !r.is_null()) {
            finish = reason.clone();
        }
    }
    let calls = names.into_iter().map(|name| (name, serde_json::from_str(&arguments).unwrap())).collect();
    Turn { text: got.streamed_text(), calls, finish }
}

/// The turns of the conversation, each asked whole and streamed, which must say the same.
async fn conversation(world: &World) -> Vec<Turn> {
    let mut messages = vec![
        json!({"role": "system", "content": "You read files."}),
        json!({"role": "user", "content": QUESTION}),
    ];
    let mut turns = Vec::new();
    for _ in 0..3 {
        let ask = async |stream: bool| {
            let body = json!({"messages": messages, "tools": tools(), "max_tokens": 100, "stream": stream});
            world.post(&invocations("e"), &body).await
        };
        let (turn, reply) = whole(&ask(false).await);
        assert_eq!(streamed(&ask(true).await), turn);
        messages.push(reply.clone());
        match reply["tool_calls"][0]["id"].as_str() {
            Some(id) => messages.push(json!({"role": "tool", "tool_call_id": id, "content": "a line"})),
            None => messages.push(json!({"role": "user", "content": "thank you"})),
        }
        turns.push(turn);
    }
    turns
}

#[tokio::test]
async fn a_conversation_with_a_tool_comes_to_the_same_with_every_provider() {
    let mut first: Option<Vec<Turn>> = None;
    for provider in PROVIDERS {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "m")]);
            let turns = conversation(world).await;
            assert_eq!(turns[0].calls.len(), 1, "{provider}: {turns:?}");
            assert!(turns[1].text.contains(QUESTION), "{provider}: {turns:?}");
            assert_eq!(&turns, first.get_or_insert_with(|| turns.clone()), "{provider}");
        })
        .await;
    }
}
