//! Messages to contents.

use ::wire::chat::{Content, Message, ToolCall};
use serde_json::{Value, json};

use super::media::parts;
use super::{calls, tools};
use crate::codec::Refused;
use crate::names::Names;
use crate::unified::arguments;

/// The system instruction, as parts, and the turns.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) system: Vec<Value>,
    pub(super) contents: Vec<Value>,
    /// The calls of the turn before, until their results are there.
    open: Vec<Open>,
    /// What results hold besides text, and results of no call; it follows them in a turn of its own.
    beside: Vec<Value>,
    call_ids: bool,
    signatures: bool,
}

/// A call that waits for its result.
#[derive(Debug)]
struct Open {
    id: String,
    name: String,
    response: Option<Value>,
}

impl Conversation {
    /// `call_ids`: calls and results carry ids. `signatures`: a call without one would be refused.
    pub(super) fn read(
        messages: &[Message],
        names: &mut Names,
        call_ids: bool,
        signatures: bool,
    ) -> Result<Self, Refused> {
        let mut conversation = Self { call_ids, signatures, ..Self::default() };
        for (at, message) in messages.iter().enumerate() {
            let path = format!("messages[{at}]");
            match message.role.as_str() {
                "system" | "developer" => {
                    let parts = parts(&path, message)?;
                    conversation.system.extend(parts);
                }
                "user" => conversation.push("user", parts(&path, message)?),
                "assistant" => conversation.assistant(&path, message, names)?,
                "tool" | "function" => conversation.result(&path, message)?,
                other => {
                    let reason = format!("{other:?} is none of system, developer, user, assistant, tool");
                    return Err(Refused::new(format!("{path}.role"), reason));
                }
            }
        }
        conversation.close();
        Ok(conversation)
    }

    /// Neighbours of one role are one turn, but for the results of calls, which stand alone.
    fn push(&mut self, role: &str, parts: Vec<Value>) {
        self.close();
        self.add(role, parts);
    }

    fn add(&mut self, role: &str, parts: Vec<Value>) {
        if parts.is_empty() {
            return;
        }
        let last = self.contents.last_mut().filter(|c| c["role"] == role && !is_results(c));
        match last.and_then(|content| content["parts"].as_array_mut()) {
            Some(before) => before.extend(parts),
            None => self.contents.push(json!({"role": role, "parts": parts})),
        }
    }

    fn assistant(&mut self, path: &str, message: &Message, names: &mut Names) -> Result<(), Refused> {
        let mut parts = parts(path, message)?;
        if let Some(refusal) = message.refusal.as_deref().filter(|r| !r.is_empty()) {
            parts.push(json!({"text": refusal}));
        }
        sign_text(message, &mut parts);
        let mut open = Vec::new();
        for (at, call) in message.tool_calls.iter().flatten().enumerate() {
            let name = tools::sent_name(names, &call.function.name);
            let mut part = self.call(&format!("{path}.tool_calls[{at}]"), call, &name)?;
            let signature = calls::signature(call);
            // Of parallel calls the first alone is signed.
            let stand_in = || (self.signatures && at == 0).then(|| calls::NO_SIGNATURE.to_owned());
            if let Some(signature) = signature.or_else(stand_in) {
                part["thoughtSignature"] = signature.into();
            }
            parts.push(part);
            open.push(Open { id: calls::plain(&call.id).to_owned(), name, response: None });
        }
        self.push("model", parts);
        self.open.extend(open);
        Ok(())
    }

    fn call(&self, path: &str, call: &ToolCall, name: &str) -> Result<Value, Refused> {
        let args = arguments(path, call)?;
        let mut function = json!({"name": name, "args": args});
        if self.call_ids {
            function["id"] = calls::plain(&call.id).into();
        }
        Ok(json!({"functionCall": function}))
    }

    /// A result goes to its call; one that answers none becomes text, which loses nothing and is not
    /// refused upstream.
    fn result(&mut self, path: &str, message: &Message) -> Result<(), Refused> {
        let given = message.tool_call_id.as_deref().unwrap_or_default();
        let id = calls::plain(given);
        let text = message.content.as_ref().map(Content::text).unwrap_or_default();
        let others = parts(path, message)?.into_iter().filter(|part| part.get("text").is_none());
        // The older form of a result has the name of the function alone.
        let named = message.extra.get("name").and_then(Value::as_str).filter(|_| given.is_empty());
        let is_meant = |call: &&mut Open| match named {
            Some(name) => call.name == name,
            None => call.id == id,
        };
        let waiting = self.open.iter_mut().filter(|call| call.response.is_none()).find(is_meant);
        match waiting {
            Some(call) => {
                call.response = Some(response(message, text));
                self.beside.extend(others);
            }
            None => {
                // Not a turn of its own yet: calls that are open may still get their results.
                self.beside.push(json!({"text": format!("[tool result {id}] {text}")}));
                self.beside.extend(others);
            }
        }
        Ok(())
    }

    /// Puts the results of the open calls into one turn, in the order of the calls: where there are no
    /// ids, the place says whose a result is, so that one which is missing must be said to be.
    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        let beside = std::mem::take(&mut self.beside);
        if open.iter().any(|call| call.response.is_some()) {
            self.results(open);
        }
        self.add("user", beside);
    }

    fn results(&mut self, open: Vec<Open>) {
        let results = open.into_iter().map(|call| {
            let missing = || json!({"error": "the tool gave no result"});
            let response = call.response.unwrap_or_else(missing);
            let mut function = json!({"name": call.name, "response": response});
            if self.call_ids {
                function["id"] = call.id.into();
            }
            json!({"functionResponse": function})
        });
        let results: Vec<Value> = results.collect();
        self.contents.push(json!({"role": "user", "parts": results}));
    }
}

fn is_results(content: &Value) -> bool {
    content["parts"][0].get("functionResponse").is_some()
}

/// A response must be an object.
fn response(message: &Message, text: String) -> Value {
    if message.extra.get("is_error").is_some_and(|e| *e == true) {
        return json!({"error": text});
    }
    match serde_json::from_str::<Value>(&text) {
        Ok(object @ Value::Object(_)) => object,
        _ => json!({"output": text}),
    }
}

/// Puts back the signature that came with the text of a turn.
fn sign_text(message: &Message, parts: &mut [Value]) {
    let blocks = message.thinking_blocks.iter().flatten();
    let mut signatures = blocks.filter(|block| block["type"] == "thought_signature");
    let Some(signature) = signatures.next_back().and_then(|block| block["signature"].as_str()) else {
        return;
    };
    if let Some(part) = parts.last_mut() {
        part["thoughtSignature"] = signature.into();
    }
}
