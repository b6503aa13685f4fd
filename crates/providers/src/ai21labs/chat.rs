//! Unified chat to Jamba's, and back.

use serde_json::{Value, json};
use wire::Object;
use wire::chat::{ChatChunk, ChatRequest, ChatResponse, Message, Tool};

use crate::codec::{ChatCodec, ChatStream, Encoded, Malformed, Refused, StreamFault, UpstreamError};
use crate::names::Names;
use crate::openai::OpenAiChat;
use crate::tool_choice::{Must, ToolChoice};
use crate::unified::plain_text;

#[derive(Clone, Copy, Debug)]
pub(super) struct Jamba;

impl ChatCodec for Jamba {
    fn encode(&self, model: &str, request: &ChatRequest) -> Result<Encoded, Refused> {
        let mut body = Object::new();
        body.insert("model".to_owned(), model.into());
        let messages = request.messages.iter().enumerate().map(|(at, m)| message(at, m));
        body.insert("messages".to_owned(), messages.collect::<Result<Value, _>>()?);
        tools(request, &mut body)?;
        response_format(request, &mut body)?;
        let numbers = [
            ("max_tokens", request.output_bound().map(Value::from)),
            ("temperature", request.temperature.map(Value::from)),
            ("top_p", request.top_p.map(Value::from)),
            ("n", request.n.map(Value::from)),
            ("stop", request.stop.as_ref().map(|stop| json!(stop))),
            ("documents", request.extra.get("documents").cloned()),
            ("stream", request.stream.filter(|stream| *stream).map(Value::from)),
        ];
        body.extend(numbers.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Ok(Encoded { body: Value::Object(body), names: Names::default() })
    }

    fn decode(&self, body: &[u8]) -> Result<ChatResponse, Malformed> {
        let mut reply = OpenAiChat::default().decode(body)?;
        "chat.completion".clone_into(&mut reply.object);
        Ok(reply)
    }

    fn stream(&self) -> Box<dyn ChatStream> {
        Box::new(JambaStream(OpenAiChat::default().stream()))
    }

    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        let mut error = OpenAiChat::default().error(status, body);
        // A request that does not fit is `{"detail": [{"loc", "msg"}]}`.
        let details = error.body["detail"].as_array().into_iter().flatten();
        let words: Vec<&str> = details.filter_map(|detail| detail["msg"].as_str()).collect();
        if !words.is_empty() {
            error.message = words.join("; ");
        }
        error
    }
}

fn message(at: usize, message: &Message) -> Result<Value, Refused> {
    let path = format!("messages[{at}]");
    let role = match message.role.as_str() {
        "developer" => "system",
        role @ ("system" | "user" | "assistant" | "tool") => role,
        other => {
            let reason = format!("{other:?} is none of system, developer, user, assistant, tool");
            return Err(Refused::new(format!("{path}.role"), reason));
        }
    };
    let mut sent = Object::new();
    sent.insert("role".to_owned(), role.into());
    sent.insert("content".to_owned(), text(&path, message)?.into());
    let calls = message.tool_calls.iter().flatten().map(|call| {
        let arguments = if call.function.arguments.trim().is_empty() { "{}" } else { &call.function.arguments };
        json!({"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": arguments}})
    });
    let calls: Vec<Value> = calls.collect();
    if !calls.is_empty() {
        sent.insert("tool_calls".to_owned(), calls.into());
    }
    if let Some(id) = &message.tool_call_id {
        sent.insert("tool_call_id".to_owned(), id.as_str().into());
    }
    Ok(Value::Object(sent))
}

/// Content is a text here.
fn text(path: &str, message: &Message) -> Result<String, Refused> {
    plain_text(message).map_err(|(at, kind)| {
        let reason = format!("this provider takes text only, not a part of type {kind:?}");
        Refused::new(format!("{path}.content[{at}]"), reason)
    })
}

fn tools(request: &ChatRequest, body: &mut Object) -> Result<(), Refused> {
    let choice = ToolChoice::read(request.tool_choice.as_ref())?;
    match choice.must {
        Some(Must::NotCall) => return Ok(()),
        None | Some(Must::Choose) => {}
        Some(Must::Call | Must::CallThe(_)) => {
            return Err(Refused::new("tool_choice", "this provider cannot be made to call a tool"));
        }
    }
    let sent = |(at, tool): (usize, &Tool)| match &tool.function {
        Some(function) => Ok(json!({"type": "function", "function": function})),
        None => {
            let reason = format!("{:?} is no tool of this provider, only functions are", tool.kind);
            Err(Refused::new(format!("tools[{at}].type"), reason))
        }
    };
    let offered = request.tools.iter().flatten().enumerate();
    let tools: Vec<Value> =
        offered.clone().filter(|(_, tool)| choice.allows(tool)).map(sent).collect::<Result<_, _>>()?;
    if tools.is_empty() && offered.count() > 0 {
        return Err(ToolChoice::names_none());
    }
    if !tools.is_empty() {
        body.insert("tools".to_owned(), tools.into());
    }
    Ok(())
}

fn response_format(request: &ChatRequest, body: &mut Object) -> Result<(), Refused> {
    match request.response_format.as_ref().map(|format| format["type"].as_str().unwrap_or_default()) {
        None | Some("text") => {}
        Some("json_object") => {
            body.insert("response_format".to_owned(), json!({"type": "json_object"}));
        }
        Some(other) => {
            let reason = format!("this provider knows text and json_object, not {other:?}");
            return Err(Refused::new("response_format.type", reason));
        }
    }
    Ok(())
}

/// The chunks have no `object`.
struct JambaStream(Box<dyn ChatStream>);

impl ChatStream for JambaStream {
    fn event(&mut self, name: &str, data: &[u8], out: &mut Vec<ChatChunk>) -> Result<(), StreamFault> {
        let before = out.len();
        let result = self.0.event(name, data, out);
        for chunk in &mut out[before..] {
            "chat.completion.chunk".clone_into(&mut chunk.object);
        }
        result
    }

    fn ended(&self) -> bool {
        self.0.ended()
    }

    fn finish(&mut self, out: &mut Vec<ChatChunk>) -> Result<(), Malformed> {
        self.0.finish(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(body: Value) -> Result<Value, Refused> {
        Jamba.encode("jamba-large", &serde_json::from_value(body).unwrap()).map(|encoded| encoded.body)
    }

    #[test]
    fn hints_are_left_out_and_fields_are_spelled_its_way() {
        let sent = encode(
            json!({"messages": [{"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "x"}],
            "max_completion_tokens": 9, "seed": 1, "presence_penalty": 1, "top_k": 3, "user": "u", "stream_options": {}, "documents": [{"content": "d"}]}),
        );
        let expected = json!({"model": "jamba-large", "messages": [{"role": "system", "content": "ab"}], "max_tokens": 9,
            "documents": [{"content": "d"}]});
        assert_eq!(sent.unwrap(), expected);
    }

    #[test]
    fn what_it_cannot_say_is_refused_by_name() {
        let field = |extra: (&str, Value)| {
            let mut body = json!({"messages": [{"role": "user", "content": "a"}]});
            body[extra.0] = extra.1;
            encode(body).unwrap_err().field
        };
        assert_eq!(
            field(("tool_choice", json!({"type": "function", "function": {"name": "f"}}))),
            "tool_choice"
        );
        assert_eq!(field(("response_format", json!({"type": "json_schema"}))), "response_format.type");
        assert_eq!(field(("tools", json!([{"type": "web_search"}]))), "tools[0].type");
        let image =
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]);
        assert_eq!(field(("messages", image)), "messages[0].content[0]");
        assert_eq!(field(("messages", json!([{"role": "robot", "content": "a"}]))), "messages[0].role");
    }

    #[test]
    fn no_choice_of_tools_is_no_tools() {
        let sent = encode(json!({"messages": [{"role": "user", "content": "a"}], "tool_choice": "none",
            "tools": [{"type": "function", "function": {"name": "f"}}]}));
        assert!(sent.unwrap().get("tools").is_none());
    }

    #[test]
    fn errors_of_both_forms_have_words() {
        let words = |body: Value| Jamba.error(422, body.to_string().as_bytes()).message;
        assert_eq!(words(json!({"detail": "bad"})), "bad");
        assert_eq!(words(json!({"detail": [{"loc": ["body"], "msg": "a"}, {"msg": "b"}]})), "a; b");
    }

    #[test]
    fn what_the_assistant_said_goes_back_as_text() {
        let parts = json!([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "text", "text": "a"}, {"type": "refusal", "refusal": "no"}]);
        let of = |role: &str| json!({"messages": [{"role": role, "content": parts, "refusal": "!"}]});
        assert_eq!(encode(of("assistant")).unwrap()["messages"][0]["content"], "ano!");
        assert_eq!(encode(of("user")).unwrap_err().field, "messages[0].content[0]");
    }
}
