//! What the shared suite cannot know of this provider.

use ::wire::chat::ChatRequest;
use serde_json::{Value, json};

use super::{Converse, Maker, REGISTRATION};
use crate::codec::{ChatCodec, Encoded, Refused};
use crate::provider::{Codec, Defaults, Provider, Task};

const CLAUDE: &str = "us.anthropic.claude-3-7-sonnet-20250219-v1:0";

fn encode(model: &str, body: Value) -> Result<Encoded, Refused> {
    let request: ChatRequest = serde_json::from_value(body).unwrap();
    Converse { maker: Maker("anthropic") }.encode(model, &request)
}

fn sent(body: Value) -> Value {
    encode(CLAUDE, body).unwrap().body
}

fn user(content: Value) -> Value {
    sent(json!({"messages": [{"role": "user", "content": content}]}))["messages"][0]["content"].clone()
}

fn build(block: Value) -> Result<Box<dyn Provider>, String> {
    let credentials = ("service_credentials".to_owned(), "lake=arn:aws:iam::1:role/lake, x=arn:y".to_owned());
    let profiles = "arn:aws:iam::1:instance-profile/p, arn:aws:iam::1:role/p".to_owned();
    let defaults = Defaults::new([credentials, ("instance_profiles".to_owned(), profiles)]);
    (REGISTRATION.build)(block.as_object().unwrap(), &defaults).map_err(|e| e.to_string())
}

fn block(extra: Value) -> Value {
    let mut block = json!({"aws_region": "us-east-1", "bedrock_provider": "Anthropic"});
    block.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    block
}

#[test]
fn a_model_is_one_segment_of_the_path() {
    let provider = build(block(json!({"instance_profile_arn": "arn:aws:iam::1:role/p"}))).unwrap();
    let url = provider.target("arn:aws:bedrock:us-east-1:1:inference-profile/us.x", Task::Chat, true).url;
    assert_eq!(
        url,
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/converse-stream"
    );
}

#[test]
fn there_is_exactly_one_way_to_authenticate() {
    let keys = json!({"aws_access_key_id": "{{secrets/a/b}}", "aws_secret_access_key": "{{secrets/a/c}}"});
    assert_eq!(build(block(keys.clone())).unwrap().target("m", Task::Chat, false).auth.secrets().len(), 2);
    assert!(build(block(json!({}))).unwrap_err().contains("aws_access_key_id"));
    let half = build(block(json!({"aws_access_key_id": "{{secrets/a/b}}"}))).unwrap_err();
    assert!(half.starts_with("aws_secret_access_key"), "{half}");
    let mut both = keys;
    both["instance_profile_arn"] = "arn:aws:iam::1:instance-profile/p".into();
    assert!(build(block(both)).unwrap_err().contains("not several"));
}

#[test]
fn roles_come_from_profiles_and_from_named_credentials() {
    let auth = |extra| format!("{:?}", build(block(extra)).unwrap().target("m", Task::Chat, false).auth);
    let profile = auth(json!({"instance_profile_arn": "arn:aws:iam::1:instance-profile/p"}));
    assert!(profile.contains("arn:aws:iam::1:role/p"), "{profile}");
    assert!(auth(json!({"uc_service_credential_name": "lake"})).contains("arn:aws:iam::1:role/lake"));
    let unknown = build(block(json!({"uc_service_credential_name": "lakes"}))).unwrap_err();
    assert!(unknown.contains("did you mean \"lake\""), "{unknown}");
    assert!(build(block(json!({"instance_profile_arn": "p"}))).is_err());
    let unlisted = auth(json!({"instance_profile_arn": "arn:aws:iam::2:role/p"}));
    assert!(unlisted.contains("role_arn: None"), "{unlisted}");
}

#[test]
fn a_region_or_a_maker_that_cannot_be_is_refused() {
    let with = |region: &str, maker: &str| {
        build(
            json!({"aws_region": region, "bedrock_provider": maker, "instance_profile_arn": "arn:aws:iam::1:role/p"}),
        )
    };
    assert!(with("us-east-1.evil.org/", "amazon").unwrap_err().contains("is no region"));
    assert!(with("us-east-1", "antropic").unwrap_err().contains("did you mean \"anthropic\""));
    assert!(with("us-east-1", "ai21labs").is_ok());
}

#[test]
fn what_a_model_does_is_told_by_its_name() {
    let provider = build(block(json!({"instance_profile_arn": "arn:aws:iam::1:role/p"}))).unwrap();
    let chats = |model| matches!(provider.codec(model, Task::Chat), Some(Codec::Chat(_)));
    let embeds = |model| matches!(provider.codec(model, Task::Embeddings), Some(Codec::Embeddings(_)));
    for model in [
        "us.anthropic.claude-sonnet-4-5-v1:0",
        "amazon.nova-pro-v1:0",
        "arn:aws:bedrock:x:1:inference-profile/y",
    ] {
        assert!(chats(model) && !embeds(model), "{model}");
    }
    for model in
        ["amazon.titan-embed-text-v1", "eu.cohere.embed-v4:0", "amazon.nova-2-multimodal-embeddings-v1:0"]
    {
        assert!(embeds(model) && !chats(model), "{model}");
    }
}

#[test]
fn what_a_profile_without_a_name_does_is_told_by_the_task_and_the_maker() {
    let hidden = "arn:aws:bedrock:us-east-1:1:application-inference-profile/a1b2c3";
    let named = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0";
    let sent = |maker: &str, model: &str| {
        let block =
            block(json!({"instance_profile_arn": "arn:aws:iam::1:role/p", "bedrock_provider": maker}));
        let provider = build(block).unwrap();
        assert!(matches!(provider.codec(model, Task::Chat), Some(Codec::Chat(_))), "{maker} {model}");
        let Some(Codec::Embeddings(codec)) = provider.codec(model, Task::Embeddings) else { return None };
        let request = serde_json::from_value(json!({"input": "a"})).unwrap();
        Some(codec.encode(model, &request).unwrap())
    };
    let embed = json!({"texts": ["a"], "input_type": "search_document"});
    assert_eq!(sent("cohere", hidden), Some(vec![embed]));
    assert_eq!(sent("amazon", hidden), Some(vec![json!({"inputText": "a"})]));
    assert_eq!((sent("anthropic", hidden), sent("amazon", named)), (None, None));
}

#[test]
fn tools_of_the_history_are_declared() {
    let history = json!([{"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [{"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": " "}]);
    let body = sent(json!({"messages": history, "tool_choice": "none", "tools": [
        {"type": "function", "function": {"name": "g", "parameters": {}}}]}));
    assert_eq!(
        body["toolConfig"],
        json!({"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]})
    );
    let result = &body["messages"][2]["content"][0]["toolResult"];
    assert_eq!(*result, json!({"toolUseId": "functions.f:0", "content": [{"json": {}}]}));
}

#[test]
fn a_failed_tool_says_so_and_an_orphan_result_is_text() {
    let body = sent(json!({"messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "exit 1", "is_error": true},
        {"role": "tool", "tool_call_id": "other", "content": "lost"}]}));
    let blocks = &body["messages"][2]["content"];
    assert_eq!(blocks[0]["toolResult"]["status"], "error");
    assert_eq!(blocks[1]["text"], "[tool result other] lost");
}

#[test]
fn cache_points_stand_behind_what_they_mark() {
    let marker = json!({"type": "ephemeral", "ttl": "1h"});
    let content =
        user(json!([{"type": "text", "text": "a", "cache_control": marker}, {"type": "text", "text": "b"}]));
    assert_eq!(
        content,
        json!([{"text": "a"}, {"cachePoint": {"type": "default", "ttl": "1h"}}, {"text": "b"}])
    );
}

#[test]
fn documents_have_legal_names_once_and_a_text_beside_them() {
    let file = |name: &str| json!({"type": "file", "file": {"filename": name, "file_data": "data:application/pdf;base64,JVBERg=="}});
    let content = user(json!([file("a  b.c.pdf"), file("a_b.c.pdf"), file("…")]));
    let names: Vec<&str> =
        content.as_array().unwrap().iter().filter_map(|b| b["document"]["name"].as_str()).collect();
    assert_eq!(names, ["a b c", "a b c (2)", "document"]);
    assert_eq!(content[0], json!({"text": "a b c"}));
    let csv =
        json!({"type": "file", "file": {"filename": "t.csv", "file_data": "data:text/plain;base64,YQ=="}});
    assert_eq!(user(json!([csv]))[1]["document"]["format"], "csv");
}

#[test]
fn what_it_cannot_fetch_or_read_is_refused_by_its_path() {
    let refused =
        |part: Value| encode(CLAUDE, json!({"messages": [{"role": "user", "content": [part]}]})).unwrap_err();
    let image = refused(json!({"type": "image_url", "image_url": {"url": "https://h/a.png"}}));
    assert_eq!(image.field, "messages[0].content[0].image_url.url");
    assert!(refused(json!({"type": "video_url"})).reason.contains("video_url"));
}

#[test]
fn a_budget_leaves_room_and_excludes_sampling_and_force() {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    let body = sent(
        json!({"messages": [{"role": "user", "content": "q"}], "reasoning_effort": "high", "temperature": 0.5,
        "max_tokens": 2000, "tools": tools, "tool_choice": "required"}),
    );
    assert_eq!(
        body["additionalModelRequestFields"]["thinking"],
        json!({"type": "enabled", "budget_tokens": 1999})
    );
    assert_eq!(body["inferenceConfig"], json!({"maxTokens": 2000}));
    assert_eq!(body["toolConfig"]["toolChoice"], json!({"auto": {}}));
    let unbounded = sent(json!({"messages": [{"role": "user", "content": "q"}], "reasoning_effort": "high"}));
    let (bound, thinking) =
        (&unbounded["inferenceConfig"]["maxTokens"], &unbounded["additionalModelRequestFields"]);
    assert!(bound.as_u64() > thinking["thinking"]["budget_tokens"].as_u64(), "{unbounded}");
}

#[test]
fn each_family_has_its_own_word_for_effort() {
    let additional = |model: &str| {
        let body = json!({"messages": [{"role": "user", "content": "q"}], "reasoning_effort": "high"});
        encode(model, body).unwrap().body["additionalModelRequestFields"].clone()
    };
    assert_eq!(additional("amazon.nova-2-lite-v1:0")["reasoningConfig"]["maxReasoningEffort"], "high");
    assert_eq!(additional("openai.gpt-oss-120b-1:0"), json!({"reasoning_effort": "high"}));
    assert_eq!(additional("anthropic.claude-opus-4-7-v1:0")["thinking"], json!({"type": "adaptive"}));
    assert_eq!(additional("meta.llama3-70b-instruct-v1:0"), Value::Null);
    assert_eq!(
        additional("arn:aws:bedrock:x:1:application-inference-profile/y")["thinking"]["type"],
        "enabled"
    );
}

#[test]
fn signed_reasoning_goes_back_as_it_came_and_unsigned_stays_away() {
    let body = sent(
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "thinking_blocks": [
        {"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "redacted_thinking", "data": "ZA=="},
        {"type": "thinking", "thinking": "unsigned"}]}, {"role": "user", "content": "r"}]}),
    );
    assert_eq!(
        body["messages"][1]["content"],
        json!([{"reasoningContent": {"reasoningText": {"text": "t", "signature": "s"}}},
            {"reasoningContent": {"redactedContent": "ZA=="}}, {"text": "a"}])
    );
}

#[test]
fn long_names_and_ids_are_made_to_fit() {
    let name = "mcp__a_server_with_a_very_long_name__a_tool_with_an_even_longer_name_than_that";
    let id = "x".repeat(70) + "tail";
    let encoded = encode(CLAUDE, json!({"messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [{"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": id, "content": "r"}]})).unwrap();
    let used = &encoded.body["messages"][1]["content"][0]["toolUse"];
    assert!(used["name"].as_str().unwrap().len() <= 64 && used["toolUseId"].as_str().unwrap().len() == 64);
    assert_eq!(used["toolUseId"], encoded.body["messages"][2]["content"][0]["toolResult"]["toolUseId"]);
}

#[test]
fn faults_of_the_service_let_another_entity_try() {
    let codec = Converse { maker: Maker("anthropic") };
    assert_eq!(codec.error(408, br#"{"message":"m"}"#).status, 504);
    assert_eq!(codec.error(424, br#"{"message":"m"}"#).status, 502);
    assert_eq!(codec.error(400, br#"{"__type":"ValidationException","Message":"m"}"#).message, "m");
    let mut stream = codec.stream();
    let fault =
        stream.event("exception:throttlingException", br#"{"message":"slow"}"#, &mut Vec::new()).unwrap_err();
    assert!(
        matches!(fault, crate::StreamFault::Upstream(e) if (e.status, e.message.as_str()) == (429, "slow"))
    );
}

#[test]
fn thousands_of_documents_and_results_cost_little() {
    let file = |name: &str| json!({"type": "file", "file": {"filename": name, "file_data": "data:application/pdf;base64,JVBERg=="}});
    let mut parts = vec![json!({"type": "text", "text": "q"}), file("a (3).pdf")];
    parts.extend((0..20_000).map(|_| file("a.pdf")));
    let blocks = user(parts.into());
    let names: Vec<&str> =
        blocks.as_array().unwrap()[1..].iter().map(|b| b["document"]["name"].as_str().unwrap()).collect();
    assert_eq!(names[..4], ["a (3)", "a", "a (2)", "a (4)"]);
    assert_eq!(names.iter().collect::<std::collections::HashSet<_>>().len(), names.len());

    let ids: Vec<String> = (0..10_000).map(|n| format!("c{n}")).collect();
    let call = |id: &String| json!({"id": id, "type": "function", "function": {"name": id, "arguments": ""}});
    let mut messages = vec![
        json!({"role": "user", "content": "q"}),
        json!({"role": "assistant", "tool_calls": ids.iter().map(call).collect::<Vec<_>>()}),
    ];
    messages.extend(ids.iter().map(|id| json!({"role": "tool", "tool_call_id": id, "content": "r"})));
    let tools: Vec<Value> =
        ids.iter().map(|id| json!({"type": "function", "function": {"name": id}})).collect();
    let names: Vec<Value> = ids.iter().map(|id| json!({"name": id})).collect();
    let allowed = json!({"type": "allowed_tools", "allowed_tools": {"tools": names}});
    let body = sent(json!({"messages": messages, "tools": tools, "tool_choice": allowed}));
    assert!(body["messages"][2]["content"].as_array().unwrap().iter().all(|b| b.get("toolResult").is_some()));
    assert_eq!(body["toolConfig"]["tools"].as_array().unwrap().len(), ids.len());
}

/// The history may have called what may not be called now: it is declared as it is, not as a name.
#[test]
fn a_tool_that_was_called_keeps_its_schema_when_it_is_not_offered() {
    let tool = |name: &str| {
        json!({"type": "function", "function": {"name": name, "description": name,
        "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}})
    };
    let messages = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "a", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "r"},
    ]);
    let declared = |choice: Value| {
        let asked =
            json!({"messages": messages, "tools": [tool("a"), tool("b"), tool("c")], "tool_choice": choice});
        let body = sent(asked);
        let specs = body["toolConfig"]["tools"].as_array().unwrap().clone();
        let read = |spec: &Value| {
            assert!(spec["toolSpec"]["inputSchema"]["json"]["properties"].get("x").is_some(), "{spec}");
            spec["toolSpec"]["name"].as_str().unwrap().to_owned()
        };
        specs.iter().map(read).collect::<Vec<_>>()
    };
    assert_eq!(declared("none".into()), ["a"]);
    let allowed = json!({"type": "allowed_tools", "allowed_tools": {"tools": [{"name": "b"}]}});
    assert_eq!(declared(allowed), ["a", "b"]);
    assert_eq!(declared("auto".into()), ["a", "b", "c"]);
}
