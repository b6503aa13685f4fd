//! A chat answer as a response.

use serde_json::{Value, json};
use wire::Object;
use wire::chat::ChatResponse;
use wire::raw::RawObject;
use wire::usage::Usage;

use super::tools::{self, Known};
use crate::dialect::blocks::{Block, What, of_message};
use crate::dialect::opaque;

/// What a response repeats of its request, and what is needed to undo the request's translation.
#[derive(Debug, Default)]
pub(super) struct Asked {
    repeated: Object,
    known: Vec<Known>,
    /// Whether reasoning is to come back in a form that a later call can hold.
    keeps_reasoning: bool,
}

/// Fields that a response has from its request, and what stands for one that was not sent.
fn repeated() -> [(&'static str, Value); 12] {
    [
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("metadata", json!({})),
        ("parallel_tool_calls", true.into()),
        ("reasoning", json!({"effort": null, "summary": null})),
        ("temperature", Value::Null),
        ("text", json!({"format": {"type": "text"}})),
        ("tool_choice", "auto".into()),
        ("tools", json!([])),
        ("top_p", Value::Null),
        ("truncation", "disabled".into()),
        ("user", Value::Null),
    ]
}

impl Asked {
    pub(super) fn read(body: &RawObject<'_>) -> Self {
        let sent = |name: &str| body.get::<Value>(name).ok().flatten();
        let repeated =
            repeated().into_iter().map(|(name, absent)| (name.to_owned(), sent(name).unwrap_or(absent)));
        let include = sent("include").unwrap_or_default();
        let mut include = include.as_array().into_iter().flatten();
        Self {
            repeated: repeated.collect(),
            known: tools::known(sent("tools").unwrap_or_default().as_array().map_or(&[], Vec::as_slice)),
            keeps_reasoning: include.any(|what| what == "reasoning.encrypted_content"),
        }
    }

    pub(super) fn known(&self, function: &str) -> Known {
        let found = self.known.iter().find(|known| known.function == function);
        found.cloned().unwrap_or_else(|| Known {
            function: function.to_owned(),
            name: function.to_owned(),
            ..Known::default()
        })
    }

    /// The response without its output.
    pub(super) fn response(&self, id: &str, created: i64, model: &str, status: &str) -> Value {
        let mut out = json!({"id": id, "object": "response", "created_at": created, "status": status, "error": null,
            "incomplete_details": null, "model": model, "output": [], "previous_response_id": null, "store": false,
            "background": false, "usage": null});
        for (name, value) in &self.repeated {
            out[name] = value.clone();
        }
        out
    }

    /// A block that is over, as an item.
    pub(super) fn item(&self, id: &str, block: &Block) -> Value {
        match &block.what {
            What::Text => {
                json!({"id": id, "type": "message", "status": "completed", "role": "assistant", "content": [text_part(&block.text)]})
            }
            What::Thought { replay } => self.reasoning(id, &block.text, replay.as_ref()),
            What::Hidden(hidden) => self.reasoning(id, "", Some(hidden)),
            What::Call { id: call, name, .. } => {
                let known = self.known(name);
                let mut item = call_item(id, call, &known, "completed");
                if known.freeform {
                    item["input"] = freeform_input(&block.text).into();
                } else {
                    let arguments = if block.text.trim().is_empty() { "{}" } else { &block.text };
                    item["arguments"] = arguments.into();
                }
                item
            }
        }
    }

    fn reasoning(&self, id: &str, text: &str, replay: Option<&Value>) -> Value {
        let mut item = json!({"id": id, "type": "reasoning", "summary": summary(text)});
        let sealed =
            replay.filter(|_| self.keeps_reasoning).and_then(|b| opaque::seal(std::slice::from_ref(b)));
        if let Some(sealed) = sealed {
            item["encrypted_content"] = sealed.into();
        }
        item
    }
}

fn summary(text: &str) -> Value {
    if text.is_empty() { json!([]) } else { json!([{"type": "summary_text", "text": text}]) }
}

pub(super) fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

/// A call before anything of it is said.
pub(super) fn call_item(id: &str, call: &str, known: &Known, status: &str) -> Value {
    let (kind, field) =
        if known.freeform { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
    let mut item =
        json!({"id": id, "type": kind, "status": status, "call_id": call, "name": known.name, field: ""});
    if let Some(namespace) = &known.namespace {
        item["namespace"] = namespace.as_str().into();
    }
    item
}

/// What the model wrote into the one argument of a free-form tool; all of it where it wrote no such argument.
pub(super) fn freeform_input(arguments: &str) -> String {
    let read = serde_json::from_str::<Object>(arguments).ok();
    let input = read.as_ref().and_then(|read| read.get(tools::INPUT)).and_then(Value::as_str);
    input.unwrap_or(arguments).to_owned()
}

/// The id of an item, by what it is.
pub(super) fn item_id(what: &What) -> String {
    let prefix = match what {
        What::Text => "msg",
        What::Thought { .. } | What::Hidden(_) => "rs",
        What::Call { .. } => "fc",
    };
    new_id(prefix)
}

/// Clients send ids back, and some cut those that are longer than 64 characters.
pub(super) fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::now_v7().simple())
}

/// Why an answer is not whole, where it is not.
pub(super) fn incomplete(finish_reason: Option<&str>) -> Option<&'static str> {
    match finish_reason {
        Some("length") => Some("max_output_tokens"),
        Some("content_filter") => Some("content_filter"),
        _ => None,
    }
}

pub(super) fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens().unwrap_or(0)},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens().unwrap_or(0)},
        "total_tokens": usage.total_tokens,
    })
}

/// Puts in what is known at the end.
pub(super) fn complete(
    response: &mut Value,
    output: Vec<Value>,
    finish_reason: Option<&str>,
    counted: Option<&Usage>,
) {
    response["output"] = Value::Array(output);
    response["usage"] = counted.map(usage).unwrap_or_default();
    match incomplete(finish_reason) {
        None => response["status"] = "completed".into(),
        Some(reason) => {
            response["status"] = "incomplete".into();
            response["incomplete_details"] = json!({ "reason": reason });
        }
    }
}

pub(super) fn write(asked: &Asked, reply: ChatResponse) -> Result<Vec<u8>, serde_json::Error> {
    let choice = reply.choices.into_iter().next().unwrap_or_default();
    let mut response = asked.response(&new_id("resp"), reply.created, &reply.model, "completed");
    let blocks = of_message(choice.message);
    let output = blocks.iter().map(|block| asked.item(&item_id(&block.what), block)).collect();
    complete(&mut response, output, choice.finish_reason.as_deref(), reply.usage.as_ref());
    serde_json::to_vec(&response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &Value) -> Asked {
        Asked::read(&RawObject::parse(body.to_string().as_bytes()).unwrap())
    }

    fn response(asked: &Asked, choice: Value) -> Value {
        let reply = json!({"id": "c", "model": "m", "created": 5, "choices": [choice],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}});
        serde_json::from_slice(&write(asked, serde_json::from_value(reply).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn an_answer_becomes_items() {
        let tools = json!([{"type": "custom", "name": "patch"},
            {"type": "namespace", "name": "mcp__x", "tools": [{"type": "function", "name": "read"}]}]);
        let asked =
            asked(&json!({"include": ["reasoning.encrypted_content"], "temperature": 0.5, "tools": tools}));
        let thought = json!({"type": "thinking", "thinking": "hm", "signature": "s"});
        let got = response(
            &asked,
            json!({"finish_reason": "tool_calls", "message": {"role": "assistant", "content": "look", "thinking_blocks": [thought],
                "tool_calls": [
                    {"id": "c1", "function": {"name": "patch", "arguments": "{\"input\":\"*** x\"}"}},
                    {"id": "c2", "function": {"name": "mcp__x__read", "arguments": ""}}]}}),
        );
        assert_eq!(
            (&got["status"], &got["temperature"], &got["created_at"]),
            (&json!("completed"), &json!(0.5), &json!(5))
        );
        assert_eq!(got["usage"]["total_tokens"], 5);
        let output = got["output"].as_array().unwrap();
        assert_eq!(output[0]["summary"][0]["text"], "hm");
        let sealed = output[0]["encrypted_content"].as_str().unwrap();
        assert_eq!(opaque::open(sealed).unwrap(), [thought]);
        assert_eq!(output[1]["content"][0]["text"], "look");
        assert_eq!(
            (&output[2]["type"], &output[2]["input"], &output[2]["call_id"]),
            (&json!("custom_tool_call"), &json!("*** x"), &json!("c1"))
        );
        assert_eq!(
            (&output[3]["name"], &output[3]["namespace"], &output[3]["arguments"]),
            (&json!("read"), &json!("mcp__x"), &json!("{}"))
        );
        let ids = output.iter().chain([&got]).map(|o| o["id"].as_str().unwrap());
        assert!(ids.clone().all(|id| id.len() <= 64), "{:?}", ids.collect::<Vec<_>>());
    }

    #[test]
    fn a_cut_answer_is_incomplete() {
        let got = response(
            &asked(&json!({})),
            json!({"finish_reason": "length", "message": {"role": "assistant", "content": "x"}}),
        );
        assert_eq!(got["status"], "incomplete");
        assert_eq!(got["incomplete_details"], json!({"reason": "max_output_tokens"}));
    }

    #[test]
    fn reasoning_is_sealed_for_those_only_who_ask() {
        let message = json!({"role": "assistant", "content": "x", "thinking_blocks": [{"type": "redacted_thinking", "data": "d"}]});
        let got = response(&asked(&json!({})), json!({"finish_reason": "stop", "message": message}));
        assert_eq!(got["output"][0]["type"], "reasoning");
        assert!(got["output"][0].get("encrypted_content").is_none());
    }
}
