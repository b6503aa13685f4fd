//! Plans, in the formats of all providers.

use serde_json::{Value, json};

use crate::harness::{Bench, CHAT, MESSAGES};

const RESPONSES: &str = "/v1/responses";
const GEMINI: &str = "/v1beta/models/coder:generateContent";
const COHERE: &str = "/v2/chat";
const SCRIPT: &str = r#"plan=[{"tool": "write", "arguments": {"path": "a"}}, {"tool": "run", "arguments": {}}, {"text": "done"}]"#;

async fn planned() -> Bench {
    let bench = Bench::start();
    let posted = bench.post("/_script", &json!({"model": "coder", "script": SCRIPT})).await;
    assert_eq!(posted.text, r#"{"ok":true}"#);
    bench
}

/// A conversation with so many results, and the pointers to the called tool's name, its arguments and the text.
fn asked(path: &str, results: usize) -> (Value, [&'static str; 3]) {
    let user = json!({"role": "user", "content": "go"});
    let function = |name| json!({"name": name, "parameters": {"type": "object"}});
    let with = |mut turns: Vec<Value>, turn: Value| {
        turns.extend(std::iter::repeat_n(turn, results));
        turns
    };
    match path {
        MESSAGES => {
            let turn = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"}]});
            let tools =
                ["write", "run"].map(|name| json!({"name": name, "input_schema": {"type": "object"}}));
            (
                json!({"model": "coder", "max_tokens": 9, "messages": with(vec![user], turn), "tools": tools}),
                ["/content/0/name", "/content/0/input", "/content/0/text"],
            )
        }
        RESPONSES => {
            let turn = json!({"type": "function_call_output", "call_id": "c", "output": "r"});
            let tools = ["write", "run"].map(|name| json!({"type": "function", "name": name}));
            (
                json!({"model": "coder", "input": with(vec![user], turn), "tools": tools}),
                ["/output/0/name", "/output/0/arguments", "/output/0/content/0/text"],
            )
        }
        GEMINI => {
            let user = json!({"role": "user", "parts": [{"text": "go"}]});
            let call =
                json!({"functionCall": {"name": "run", "args": {}}, "thoughtSignature": "c2ln+m5h/HVyZQ=="});
            let result = json!({"functionResponse": {"name": "run", "response": {"a": 1}}});
            let declared = ["write", "run"].map(function);
            let pair =
                [json!({"role": "model", "parts": [call]}), json!({"role": "user", "parts": [result]})];
            let turns: Vec<Value> =
                [user].into_iter().chain(std::iter::repeat_n(pair, results).flatten()).collect();
            (
                json!({"contents": turns, "tools": [{"functionDeclarations": declared}]}),
                [
                    "/candidates/0/content/parts/0/functionCall/name",
                    "/candidates/0/content/parts/0/functionCall/args",
                    "/candidates/0/content/parts/0/text",
                ],
            )
        }
        _ => {
            let turn = json!({"role": "tool", "tool_call_id": "c", "content": "r"});
            let tools = ["write", "run"].map(|name| json!({"type": "function", "function": function(name)}));
            let at = if path == COHERE {
                [
                    "/message/tool_calls/0/function/name",
                    "/message/tool_calls/0/function/arguments",
                    "/message/content/0/text",
                ]
            } else {
                [
                    "/choices/0/message/tool_calls/0/function/name",
                    "/choices/0/message/tool_calls/0/function/arguments",
                    "/choices/0/message/content",
                ]
            };
            (json!({"model": "coder", "messages": with(vec![user], turn), "tools": tools}), at)
        }
    }
}

#[tokio::test]
async fn the_results_in_the_conversation_choose_the_turn() {
    let bench = planned().await;
    for path in [CHAT, MESSAGES, RESPONSES, GEMINI, COHERE] {
        for (results, tool) in [(0, "write"), (1, "run")] {
            let (body, [name, arguments, _]) = asked(path, results);
            let answer = bench.post(path, &body).await.json();
            assert_eq!(answer.pointer(name), Some(&json!(tool)), "{path}: {answer}");
            let given = answer.pointer(arguments).unwrap();
            let given: Value =
                given.as_str().map_or_else(|| given.clone(), |text| serde_json::from_str(text).unwrap());
            assert_eq!(given, if results == 0 { json!({"path": "a"}) } else { json!({}) }, "{path}");
        }
        for results in [2, 3] {
            let (body, [_, _, text]) = asked(path, results);
            let answer = bench.post(path, &body).await.json();
            assert_eq!(answer.pointer(text), Some(&json!("done")), "{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn each_call_of_a_conversation_has_an_id_of_its_own() {
    let bench = planned().await;
    for (path, id) in [
        (CHAT, "/choices/0/message/tool_calls/0/id"),
        (MESSAGES, "/content/0/id"),
        (RESPONSES, "/output/0/call_id"),
        (COHERE, "/message/tool_calls/0/id"),
    ] {
        let mut ids = Vec::new();
        for results in 0..2 {
            let answer = bench.post(path, &asked(path, results).0).await.json();
            ids.push(answer.pointer(id).and_then(Value::as_str).unwrap().to_owned());
        }
        assert_ne!(ids[0], ids[1], "{path}");
    }
}

#[tokio::test]
async fn a_request_without_the_tool_is_no_part_of_the_task() {
    let bench = planned().await;
    let title = json!({"model": "coder", "messages": [{"role": "user", "content": "a title"}]});
    assert_eq!(bench.post(CHAT, &title).await.json()["choices"][0]["message"]["content"], "echo: a title");
}
