//! Replies and streams.

use serde_json::{Value, json};

use super::{candidate, run};
use crate::codec::{ChatCodec, StreamFault};
use crate::google::Gemini;

fn decode(body: &Value) -> Value {
    let decoded = Gemini { call_ids: false }.decode(body.to_string().as_bytes());
    serde_json::to_value(decoded.unwrap()).unwrap()
}

fn usage(counts: Value) -> Value {
    let mut body = candidate(json!([{"text": "a"}]), "STOP".into());
    body["usageMetadata"] = counts;
    decode(&body)["usage"].clone()
}

#[test]
fn thoughts_are_counted_once() {
    let apart = usage(
        json!({"promptTokenCount": 10, "candidatesTokenCount": 10, "totalTokenCount": 25, "thoughtsTokenCount": 5}),
    );
    assert_eq!((&apart["completion_tokens"], &apart["total_tokens"]), (&json!(15), &json!(25)));
    let within = usage(
        json!({"promptTokenCount": 10, "candidatesTokenCount": 10, "totalTokenCount": 20, "thoughtsTokenCount": 5}),
    );
    assert_eq!((&within["completion_tokens"], &within["total_tokens"]), (&json!(10), &json!(20)));
    assert_eq!(within["completion_tokens_details"]["reasoning_tokens"], 5);
    let cached =
        usage(json!({"promptTokenCount": 10, "cachedContentTokenCount": 4, "toolUsePromptTokenCount": 3}));
    assert_eq!(
        (&cached["prompt_tokens"], &cached["prompt_tokens_details"]["cached_tokens"]),
        (&json!(13), &json!(4))
    );
    assert_eq!(usage(json!({"promptTokenCount": null})), Value::Null);
}

#[test]
fn reasons_to_finish() {
    let finish = |reason: &str, parts: Value| {
        decode(&candidate(parts, reason.into()))["choices"][0]["finish_reason"].clone()
    };
    let text = || json!([{"text": "a"}]);
    let call = || json!([{"functionCall": {"name": "f", "args": {}}}]);
    for (reason, expected) in [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "stop"),
        ("NEW", "stop"),
    ] {
        assert_eq!(finish(reason, text()), expected, "{reason}");
    }
    assert_eq!(finish("STOP", call()), "tool_calls");
    assert_eq!(finish("MAX_TOKENS", call()), "length");
}

#[test]
fn a_blocked_prompt_is_an_answer_that_was_filtered() {
    let body = json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 3}});
    let choice = decode(&body)["choices"][0].clone();
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("content_filter"), &json!(""))
    );
    let (chunks, end) = run(&[body]);
    assert_eq!(end, Ok(()));
    assert_eq!(chunks[1].choices[0].finish_reason.as_deref(), Some("content_filter"));
    assert_eq!(chunks.last().unwrap().usage.as_ref().unwrap().prompt_tokens, 3);
}

#[test]
fn an_answer_without_candidates_is_none() {
    for body in [json!({}), json!({"candidates": []}), json!({"error": {"code": 500}}), json!([])] {
        assert!(Gemini { call_ids: false }.decode(body.to_string().as_bytes()).is_err(), "{body}");
    }
    assert!(run(&[json!({"usageMetadata": {"promptTokenCount": 3}})]).1.is_err());
}

#[test]
fn several_candidates_are_several_choices() {
    let one = |index: u64, finish: Value| json!({"index": index, "content": {"parts": [{"text": "a"}]}, "finishReason": finish});
    let body = json!({"candidates": [one(0, "STOP".into()), one(1, "STOP".into())]});
    assert_eq!(decode(&body)["choices"][1]["index"], 1);
    let (chunks, end) = run(&[
        json!({"candidates": [one(0, Value::Null)]}),
        json!({"candidates": [one(1, "STOP".into())]}),
        json!({"candidates": [one(0, "STOP".into())]}),
    ]);
    assert_eq!(end, Ok(()));
    let finished: Vec<u64> = chunks
        .iter()
        .flat_map(|c| &c.choices)
        .filter(|c| c.finish_reason.is_some())
        .map(|c| c.index)
        .collect();
    assert_eq!(finished, [0, 1]);
    assert!(run(&[json!({"candidates": [one(0, "STOP".into()), one(1, Value::Null)]})]).1.is_err());
}

#[test]
fn usage_is_told_once_and_last() {
    let mut first = candidate(json!([{"text": "a"}]), Value::Null);
    first["usageMetadata"] = json!({"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4});
    let mut last = candidate(json!([{"text": "b"}]), "STOP".into());
    last["usageMetadata"] = json!({"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5});
    let (chunks, _) = run(&[first, last]);
    let told: Vec<u64> = chunks.iter().filter_map(|c| Some(c.usage.as_ref()?.total_tokens)).collect();
    assert_eq!(told, [5]);
}

#[test]
fn errors_in_a_list_and_in_a_stream_have_their_status() {
    let error = json!({"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}});
    for event in [error.clone(), json!([error])] {
        let Err(StreamFault::Upstream(told)) = run(std::slice::from_ref(&event)).1 else { panic!("{event}") };
        assert_eq!((told.status, told.message.as_str()), (429, "m"));
        let whole = Gemini { call_ids: false }.error(400, event.to_string().as_bytes());
        assert_eq!((whole.status, whole.message.as_str()), (400, "m"));
    }
    let named = json!({"error": {"message": "m", "status": "UNAVAILABLE"}});
    let Err(StreamFault::Upstream(told)) = run(&[named]).1 else { panic!() };
    assert_eq!(told.status, 503);
}

#[test]
fn probabilities_are_in_openais_form() {
    let mut body = candidate(json!([{"text": "a"}]), "STOP".into());
    body["candidates"][0]["logprobsResult"] = json!({"chosenCandidates": [{"token": "a", "tokenId": 1, "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "a", "logProbability": -0.5}, {"token": "é", "logProbability": -1.5}]}]});
    let expected = json!({"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [
        {"token": "a", "logprob": -0.5, "bytes": [97]}, {"token": "é", "logprob": -1.5, "bytes": [195, 169]}]}]});
    assert_eq!(decode(&body)["choices"][0]["logprobs"], expected);
    let (chunks, _) = run(&[body]);
    assert!(chunks.iter().flat_map(|c| &c.choices).any(|c| c.extra.get("logprobs") == Some(&expected)));
}

#[test]
fn an_image_that_was_made_is_carried() {
    let body = candidate(json!([{"inlineData": {"mimeType": "image/png", "data": "QQ=="}}]), "STOP".into());
    let url = "data:image/png;base64,QQ==";
    assert_eq!(decode(&body)["choices"][0]["message"]["images"][0]["image_url"]["url"], url);
    let (chunks, _) = run(&[body]);
    assert_eq!(chunks[1].choices[0].delta.extra["images"][0]["image_url"]["url"], url);
}

#[test]
fn equal_calls_have_ids_of_their_own() {
    let call = json!({"functionCall": {"name": "f", "args": {"a": 1}}});
    let body = decode(&candidate(json!([call, call]), "STOP".into()));
    let id = |at: usize| body["choices"][0]["message"]["tool_calls"][at]["id"].clone();
    assert!(id(0) != id(1) && id(0).is_string());
    let own = json!([{"functionCall": {"id": "adk-1", "name": "f"}, "thoughtSignature": "QQ=="}]);
    let body = decode(&candidate(own, "STOP".into()));
    let call = &body["choices"][0]["message"]["tool_calls"][0];
    assert_eq!((&call["id"], &call["function"]["arguments"]), (&json!("adk-1__thought__QQ"), &json!("{}")));
}
