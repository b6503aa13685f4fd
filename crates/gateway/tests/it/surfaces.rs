//! Every surface on every provider: whole, streamed, with tools, and in error.

use http::header::AUTHORIZATION;
use http::{Method, Request};
use http_body_util::Full;
use journal::{Outcome, Provenance};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::{Got, post};
use crate::raw::{Play, Raw};
use crate::world::{CHAT, Entity, PROVIDERS, TOKEN, VIEWER, World, world};

const SAID: &str = "echo: höre mir zu";

/// A surface as its clients see it.
struct Surface {
    path: &'static str,
    streaming_path: &'static str,
    body: fn() -> Value,
    tools: fn() -> Value,
    /// The same call with the result of the tool.
    answered: fn() -> Value,
    text: fn(&Value) -> Option<&str>,
    /// Name and arguments of the call in an answer.
    call: fn(&Value) -> (String, Value),
    usage: fn(&Value) -> (u64, u64),
    /// Checks the order of events and gives the answer that they make.
    assemble: fn(&Got) -> Value,
    error: fn(&Value) -> &Value,
}

impl Surface {
    /// The same call for a stream, where it is not the path that says so.
    fn streaming(&self, body: Value) -> Value {
        if self.path == self.streaming_path { with(body, json!({"stream": true})) } else { body }
    }
}

const SURFACES: [Surface; 3] = [MESSAGES, RESPONSES, GENERATE];

const MESSAGES: Surface = Surface {
    path: "/ai-gateway/anthropic/v1/messages",
    streaming_path: "/ai-gateway/anthropic/v1/messages",
    body: || json!({"model": "e", "max_tokens": 50, "system": "be brief", "messages": [{"role": "user", "content": "höre mir zu"}]}),
    tools: || json!({"tools": [{"name": "get_weather", "description": "d", "input_schema": schema()}]}),
    answered: || {
        json!({"messages": [{"role": "user", "content": "höre mir zu"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "x"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sunny"}]}]}]})
    },
    text: |body| body["content"].as_array()?.iter().find(|b| b["type"] == "text")?["text"].as_str(),
    call: |body| {
        assert_eq!(body["stop_reason"], "tool_use", "{body}");
        let call = body["content"].as_array().unwrap().iter().find(|b| b["type"] == "tool_use").unwrap();
        (call["name"].as_str().unwrap().to_owned(), call["input"].clone())
    },
    usage: |body| counts(&body["usage"], "input_tokens", "output_tokens"),
    assemble: messages,
    error: |body| {
        assert_eq!(body["type"], "error", "{body}");
        &body["error"]
    },
};

const RESPONSES: Surface = Surface {
    path: "/codex/v1/responses",
    streaming_path: "/codex/v1/responses",
    body: || json!({"model": "e", "instructions": "be brief", "input": [{"role": "user", "content": [{"type": "input_text", "text": "höre mir zu"}]}]}),
    tools: || json!({"tools": [{"type": "function", "name": "get_weather", "description": "d", "parameters": schema()}, {"type": "web_search"}]}),
    answered: || {
        json!({"input": [{"role": "user", "content": "höre mir zu"},
            {"type": "function_call", "call_id": "t1", "name": "get_weather", "arguments": "{\"city\":\"x\"}"},
            {"type": "function_call_output", "call_id": "t1", "output": "sunny"}]})
    },
    text: |body| {
        let message = body["output"].as_array()?.iter().find(|i| i["type"] == "message")?;
        message["content"][0]["text"].as_str()
    },
    call: |body| {
        let call = body["output"].as_array().unwrap().iter().find(|i| i["type"] == "function_call").unwrap();
        let arguments = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
        (call["name"].as_str().unwrap().to_owned(), arguments)
    },
    usage: |body| counts(&body["usage"], "input_tokens", "output_tokens"),
    assemble: responses,
    error: |body| &body["error"],
};

const GENERATE: Surface = Surface {
    path: "/gemini/v1beta/models/e:generateContent",
    streaming_path: "/gemini/v1beta/models/e:streamGenerateContent?alt=sse",
    body: || json!({"systemInstruction": {"parts": [{"text": "be brief"}]}, "contents": [{"role": "user", "parts": [{"text": "höre mir zu"}]}]}),
    tools: || json!({"tools": [{"functionDeclarations": [{"name": "get_weather", "description": "d", "parameters": schema()}]}]}),
    answered: || {
        json!({"contents": [{"role": "user", "parts": [{"text": "höre mir zu"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "get_weather", "args": {"city": "x"}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "get_weather", "response": {"output": "sunny"}}}]}]})
    },
    text: |body| {
        body["candidates"][0]["content"]["parts"].as_array()?.iter().find_map(|p| p["text"].as_str())
    },
    call: |body| {
        let parts = body["candidates"][0]["content"]["parts"].as_array().unwrap();
        let call = parts.iter().find_map(|p| p.get("functionCall")).unwrap();
        (call["name"].as_str().unwrap().to_owned(), call["args"].clone())
    },
    usage: |body| counts(&body["usageMetadata"], "promptTokenCount", "candidatesTokenCount"),
    assemble: candidates,
    error: |body| &body["error"],
};

fn schema() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
}

fn counts(usage: &Value, input: &str, output: &str) -> (u64, u64) {
    let count = |key: &str| usage[key].as_u64().unwrap_or_else(|| panic!("no {key}: {usage}"));
    (count(input), count(output))
}

fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Name and data of each event.
fn events(got: &Got) -> Vec<(String, Value)> {
    assert!(got.status == 200 && !got.broke, "{got:?}");
    assert_eq!(got.headers["content-type"], "text/event-stream; charset=utf-8");
    let blocks = got.text.split("\n\n").filter(|block| !block.is_empty());
    let events = blocks.map(|block| {
        let name = block.lines().find_map(|line| line.strip_prefix("event: ")).unwrap_or_default();
        let data =
            block.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_else(|| panic!("{block}"));
        (name.to_owned(), serde_json::from_str(data).unwrap_or_else(|e| panic!("{e}: {data}")))
    });
    events.collect()
}

fn messages(got: &Got) -> Value {
    let (mut message, mut open, mut input) = (Value::Null, None, String::new());
    let mut stopped = false;
    for (name, event) in events(got) {
        assert!(event["type"] == *name && !stopped, "{name}: {event}");
        match name.as_str() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                assert_eq!(open, None);
                open = event["index"].as_u64();
                input.clear();
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
            }
            "content_block_delta" => {
                assert_eq!(open, event["index"].as_u64());
                let block = message["content"].as_array_mut().unwrap().last_mut().unwrap();
                match &event["delta"]["text"] {
                    Value::String(more) => {
                        block["text"] = (block["text"].as_str().unwrap().to_owned() + more).into();
                    }
                    _ => input.push_str(event["delta"]["partial_json"].as_str().unwrap_or_default()),
                }
            }
            "content_block_stop" => {
                assert_eq!(open.take(), event["index"].as_u64());
                let block = message["content"].as_array_mut().unwrap().last_mut().unwrap();
                if block["type"] == "tool_use" {
                    block["input"] = serde_json::from_str(&input).unwrap();
                }
            }
            "message_delta" => {
                assert_eq!(open, None);
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                for (key, value) in event["usage"].as_object().into_iter().flatten() {
                    message["usage"][key] = value.clone();
                }
            }
            "message_stop" => stopped = true,
            "ping" => {}
            other => panic!("{other}"),
        }
    }
    assert!(stopped);
    message
}

fn responses(got: &Got) -> Value {
    let events = events(got);
    for (number, (name, event)) in events.iter().enumerate() {
        assert_eq!((event["sequence_number"].as_u64(), &event["type"]), (Some(number as u64), &json!(name)));
    }
    assert_eq!(events[0].0, "response.created");
    let (name, last) = events.last().unwrap();
    assert_eq!(name, "response.completed");
    let deltas: String = events
        .iter()
        .filter(|(name, _)| name == "response.output_text.delta")
        .filter_map(|(_, e)| e["delta"].as_str())
        .collect();
    let text = (RESPONSES.text)(&last["response"]).unwrap_or_default();
    assert_eq!(deltas, text);
    last["response"].clone()
}

fn candidates(got: &Got) -> Value {
    let (mut parts, mut text, mut last) = (Vec::new(), String::new(), Value::Null);
    for (name, event) in events(got) {
        assert_eq!(name, "");
        for part in event["candidates"][0]["content"]["parts"].as_array().into_iter().flatten() {
            match part["text"].as_str() {
                Some(more) => text.push_str(more),
                None => parts.push(part.clone()),
            }
        }
        last = event;
    }
    assert!(last["candidates"][0]["finishReason"].is_string() && last["usageMetadata"].is_object(), "{last}");
    parts.insert(0, json!({ "text": text }));
    last["candidates"][0]["content"]["parts"] = parts.into();
    last
}

/// Whole and streamed, as one JSON document each.
async fn both(world: &World, surface: &Surface, body: Value) -> [Value; 2] {
    let whole = world.post(surface.path, &body).await;
    assert_eq!(whole.status, 200, "{whole:?}");
    assert_eq!(whole.headers["served-model-name"], "one");
    let streamed = world.post(surface.streaming_path, &surface.streaming(body)).await;
    [whole.json(), (surface.assemble)(&streamed)]
}

#[tokio::test]
async fn each_surface_is_served_by_each_provider() {
    for provider in PROVIDERS {
        for surface in &SURFACES {
            world(async |world| {
                world.chat("e", &[Entity::new(provider, "gpt-4o")]);
                for answer in both(world, surface, (surface.body)()).await {
                    assert_eq!((surface.text)(&answer), Some(SAID), "{provider} {}: {answer}", surface.path);
                    assert_eq!((surface.usage)(&answer), (5, 5), "{provider} {}: {answer}", surface.path);
                }
                for settlement in world.records.settlements() {
                    assert_eq!((settlement.outcome, settlement.status), (Outcome::Completed, 200));
                    let usage = settlement.usage.unwrap();
                    assert_eq!(
                        (usage.usage.prompt_tokens, usage.usage.completion_tokens),
                        (5, 5),
                        "{provider}"
                    );
                }
            })
            .await;
        }
    }
}

#[tokio::test]
async fn tools_go_there_and_back() {
    for provider in PROVIDERS {
        for surface in &SURFACES {
            world(async |world| {
                world.chat("e", &[Entity::new(provider, "gpt-4o")]);
                let body = with((surface.body)(), (surface.tools)());
                for answer in both(world, surface, body.clone()).await {
                    let (name, arguments) = (surface.call)(&answer);
                    assert_eq!(name, "get_weather", "{provider} {}", surface.path);
                    assert!(arguments["city"].is_string(), "{provider} {}: {answer}", surface.path);
                }
                for answer in both(world, surface, with(body, (surface.answered)())).await {
                    assert!((surface.text)(&answer).is_some(), "{provider} {}: {answer}", surface.path);
                }
            })
            .await;
        }
    }
}

#[tokio::test]
async fn errors_have_the_shape_of_the_surface() {
    for provider in PROVIDERS {
        for surface in &SURFACES {
            world(async |world| {
                world.chat("e", &[Entity::new(provider, "gpt-4o;status=429")]);
                for path in [surface.path, surface.streaming_path] {
                    let got = world
                        .post(
                            path,
                            &with((surface.body)(), json!({"stream": path == surface.streaming_path})),
                        )
                        .await;
                    assert_eq!(got.status, 429, "{provider} {path}: {got:?}");
                    let body = got.json();
                    assert!((surface.error)(&body)["message"].is_string(), "{body}");
                    assert_eq!(body["error_code"], "REQUEST_LIMIT_EXCEEDED");
                }
                let unknown = with((surface.body)(), json!({"model": "nope"}));
                let got = world.post(&surface.path.replace("/e:", "/nope:"), &unknown).await;
                assert_eq!(got.status, 404, "{got:?}");
                assert!((surface.error)(&got.json())["message"].is_string());
                let got =
                    world.send(post(surface.path, VIEWER, (surface.body)().to_string())).await.read().await;
                assert_eq!((got.status, got.json()["error_code"].as_str()), (403, Some("PERMISSION_DENIED")));
            })
            .await;
        }
    }
}

/// A message of two events and an end, as its provider sends it.
const NATIVE: [&str; 4] = [
    "event: message_start\ndata: {\"type\":\"message_start\",  \"message\":{\"id\":\"m\",\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n",
    "event: hologram\ndata: {\"type\":\"hologram\",\"x\":[1, 2]}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
];

#[tokio::test]
async fn a_format_that_the_entity_speaks_passes_through_whatever_is_in_it() {
    world(async |world| {
        let raw = Raw::start(world, Play::stream(&NATIVE)).await;
        world.chat("e", &[Entity::new("anthropic", "m").at(raw.url.clone())]);
        let body = with((MESSAGES.body)(), json!({"stream": true}));
        let got = world.post(MESSAGES.path, &body).await;
        assert_eq!(got.text, NATIVE.concat());
        let usage = world.records.only().usage.unwrap();
        assert_eq!((usage.usage.prompt_tokens, usage.usage.completion_tokens), (3, 7));
        assert_eq!(usage.provenance, Provenance::Provider);
    })
    .await;
}

#[tokio::test]
async fn only_the_model_and_the_credentials_of_a_native_call_change() {
    world(async |world| {
        world.chat("e", &[Entity::new("anthropic", "gpt-4o")]);
        let body = r#"{"x_new":1.50,"model":"e","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text", "text":"hi"}]}],"client_request_id":"c"}"#;
        let request = Request::post("/anthropic/v1/messages?beta=true&other=1")
            .header("host", "g")
            .header("x-api-key", TOKEN)
            .header("anthropic-version", "2023-01-01")
            .header("anthropic-beta", "new-thing-1")
            .header("x-other", "kept here")
            .body(Full::new(body.into()))
            .unwrap();
        let got = world.send(request).await.read().await;
        assert_eq!(got.status, 200, "{got:?}");
        let sent = world.ledger.requests().pop().unwrap();
        let expected = r#"{"x_new":1.50,"model":"gpt-4o","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text", "text":"hi"}]}]}"#;
        let hash = Sha256::digest(expected.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(sent.body_sha256, hash, "{}", sent.body);
        assert_eq!(sent.path, "/v1/messages?beta=true");
        let header = |name: &str| sent.headers.get(name).cloned();
        assert_eq!(header("anthropic-beta").as_deref(), Some("new-thing-1"));
        assert_eq!(header("anthropic-version").as_deref(), Some("2023-01-01"));
        assert_eq!((header("x-other"), header(AUTHORIZATION.as_str())), (None, None));
    })
    .await;
}

#[tokio::test]
async fn a_native_stream_that_is_cut_or_fails_is_no_clean_end() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n";
    for tail in ["", error] {
        world(async |world| {
            let raw = Raw::start(world, Play::stream(&[NATIVE[0], NATIVE[1], tail])).await;
            world.chat("e", &[Entity::new("anthropic", "m").at(raw.url.clone())]);
            let got = world.post(MESSAGES.path, &with((MESSAGES.body)(), json!({"stream": true}))).await;
            let events = events(&got);
            let (name, last) = events.last().unwrap();
            assert_eq!((name.as_str(), &last["type"]), ("error", &json!("error")), "{}", got.text);
            assert!(last["error"]["type"].is_string() && last["error_code"].is_string(), "{last}");
            assert_eq!(world.records.only().outcome, Outcome::Failed);
        })
        .await;
    }
}

#[tokio::test]
async fn an_error_in_the_first_event_is_a_status_and_another_entity_is_tried() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n";
    world(async |world| {
        let raw = Raw::start(world, Play::stream(&[error])).await;
        let busy = || Entity::new("anthropic", "m").at(raw.url.clone()).named("busy", 100);
        world.endpoint("alone", CHAT, false, &[busy()]);
        let body = |model: &str| with((MESSAGES.body)(), json!({"stream": true, "model": model}));
        let got = world.post(MESSAGES.path, &body("alone")).await;
        assert_eq!((got.status, got.json()["error"]["type"].as_str()), (529, Some("overloaded_error")));
        // The other one speaks another format.
        world.endpoint("two", CHAT, true, &[busy(), Entity::new("openai", "gpt-4o").named("other", 0)]);
        let got = world.post(MESSAGES.path, &body("two")).await;
        assert_eq!(got.headers["served-model-name"], "other");
        assert_eq!((MESSAGES.text)(&messages(&got)), Some(SAID));
    })
    .await;
}

#[tokio::test]
async fn tokens_are_counted_by_who_can_and_estimated_else() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "gpt-4o")]);
        let got = world.post("/anthropic/v1/messages/count_tokens", &(MESSAGES.body)()).await;
        assert_eq!(got.json(), json!({"input_tokens": 5, "estimated": true}));
        let raw = Raw::start(world, Play::whole("200 OK", "", r#"{"input_tokens":  42}"#)).await;
        world.chat("n", &[Entity::new("anthropic", "m").at(raw.url.clone())]);
        let got = world
            .post("/anthropic/v1/messages/count_tokens", &with((MESSAGES.body)(), json!({"model": "n"})))
            .await;
        assert_eq!(got.text, r#"{"input_tokens":  42}"#);
        let raw = Raw::start(world, Play::whole("404 Not Found", "", "{}")).await;
        world.chat("o", &[Entity::new("anthropic", "m").at(raw.url.clone())]);
        let path = "/anthropic/v1/messages/count_tokens";
        let got = world.post(path, &with((MESSAGES.body)(), json!({"model": "o"}))).await;
        assert_eq!(got.json()["estimated"], true);
        assert!(world.records.settlements().iter().all(|settlement| settlement.usage.is_none()));
        let got = world.post("/gemini/v1/models/e:countTokens", &(GENERATE.body)()).await;
        assert_eq!(got.json()["totalTokens"], 5);
    })
    .await;
}

async fn get(world: &World, method: Method, path: &str, token: Option<&str>) -> Got {
    let mut request = Request::builder().method(method).uri(path).header("host", "g");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    world.send(request.body(Full::default()).unwrap()).await.read().await
}

#[tokio::test]
async fn lists_of_models_show_what_the_caller_may_query() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "gpt-4o")]);
        for (path, list, id) in [
            ("/openai/v1/models", "data", "id"),
            ("/serving-endpoints/models", "data", "id"),
            ("/ai-gateway/anthropic/v1/models", "data", "id"),
            ("/gemini/v1beta/models", "models", "displayName"),
        ] {
            let got = get(world, Method::GET, path, Some(TOKEN)).await;
            assert_eq!(got.json()[list][0][id], "e", "{path}");
            // Who may only view sees none.
            let got = get(world, Method::GET, path, Some(VIEWER)).await;
            assert_eq!(got.json()[list], json!([]), "{path}");
            assert_eq!(get(world, Method::GET, path, None).await.status, 401);
        }
        for (token, status) in [(None, 401), (Some(TOKEN), 404)] {
            let got = get(world, Method::POST, "/gemini/v1/models/e:fly", token).await;
            assert_eq!((got.status, got.json()["error"]["code"].as_u64()), (status, Some(status.into())));
        }
        assert_eq!(get(world, Method::HEAD, "/ai-gateway/anthropic", None).await.status, 200);
        let kept = get(world, Method::GET, "/openai/v1/responses/resp_1", Some(TOKEN)).await;
        assert_eq!(kept.status, 404);
        assert!(kept.json()["error"]["message"].is_string());
    })
    .await;
}

#[tokio::test]
async fn usage_in_a_stream_is_for_those_who_ask_on_the_paths_of_openai() {
    for provider in PROVIDERS {
        world(async |world| {
            world.chat("e", &[Entity::new(provider, "gpt-4o")]);
            let body = json!({"model": "e", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
            let told = async |path: &str, body: &Value| {
                let got = world.post(path, body).await;
                assert!(got.is_done(), "{got:?}");
                got.events().iter().any(|event| event["usage"].is_object())
            };
            assert!(!told("/openai/v1/chat/completions", &body).await, "{provider}");
            assert!(told("/mlflow/v1/chat/completions", &body).await);
            let asked = with(body, json!({"stream_options": {"include_usage": true}}));
            assert!(told("/openai/v1/chat/completions", &asked).await);
            assert!(world.records.settlements().iter().all(|s| s.usage.is_some()));
            let error = world.post("/openai/v1/chat/completions", &json!({"model": "nope"})).await;
            assert_eq!(
                (error.status, error.json()["error"]["type"].as_str()),
                (404, Some("not_found_error"))
            );
        })
        .await;
    }
}

#[tokio::test]
async fn a_token_may_come_in_the_surface_s_own_header() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "gpt-4o")]);
        let ask = async |path: &str, headers: &[(&str, String)], body: Value| {
            let mut request = Request::post(path).header("host", "g");
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            world.send(request.body(Full::new(body.to_string().into())).unwrap()).await.read().await.status
        };
        let bearer = ("authorization", format!("Bearer {TOKEN}"));
        let key = |name: &'static str, value: &str| (name, value.to_owned());
        assert_eq!(ask(MESSAGES.path, &[key("x-api-key", TOKEN)], (MESSAGES.body)()).await, 200);
        assert_eq!(ask(MESSAGES.path, &[key("x-api-key", ""), bearer.clone()], (MESSAGES.body)()).await, 200);
        assert_eq!(ask(MESSAGES.path, &[key("x-api-key", "")], (MESSAGES.body)()).await, 401);
        assert_eq!(
            ask(GENERATE.path, &[key("x-goog-api-key", "databricks"), bearer], (GENERATE.body)()).await,
            200
        );
        assert_eq!(ask(&format!("{}?key={TOKEN}", GENERATE.path), &[], (GENERATE.body)()).await, 200);
        assert_eq!(ask(RESPONSES.path, &[key("x-api-key", TOKEN)], (RESPONSES.body)()).await, 401);
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_may_have_a_name_that_other_paths_begin_with() {
    world(async |world| {
        for name in ["responses", "chat", "completions", "embeddings", "models"] {
            world.chat(name, &[Entity::new("openai", "m")]);
            let body = json!({"messages": [{"role": "user", "content": "hi"}]});
            let got = world.post(&format!("/serving-endpoints/{name}/invocations"), &body).await;
            assert_eq!(got.status, 200, "{name}: {got:?}");
        }
    })
    .await;
}
