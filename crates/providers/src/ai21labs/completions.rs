//! Jurassic-2's completions: `POST /{model}/complete`. The prompt comes as the one message of a chat.

use serde_json::{Value, json};
use wire::Object;
use wire::chat::{ChatRequest, ChatResponse, Choice, Content, Message};

use super::chat::Jamba;
use crate::codec::{ChatCodec, ChatStream, Encoded, Malformed, Refused, UpstreamError};
use crate::names::Names;

#[derive(Clone, Copy, Debug)]
pub(super) struct Jurassic;

impl ChatCodec for Jurassic {
    fn encode(&self, _model: &str, request: &ChatRequest) -> Result<Encoded, Refused> {
        if request.stream == Some(true) {
            return Err(Refused::new("stream", "this model gives its answer in one piece"));
        }
        let texts = request.messages.iter().filter_map(|message| message.content.as_ref());
        let mut body = Object::new();
        body.insert("prompt".to_owned(), texts.map(Content::text).collect::<String>().into());
        let fields = [
            ("maxTokens", request.output_bound().map(Value::from)),
            ("numResults", request.n.map(Value::from)),
            ("temperature", request.temperature.map(Value::from)),
            ("topP", request.top_p.map(Value::from)),
            ("stopSequences", request.stop.as_ref().map(|stop| json!(stop.as_slice()))),
        ];
        body.extend(fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Ok(Encoded { body: Value::Object(body), names: Names::default() })
    }

    fn decode(&self, body: &[u8]) -> Result<ChatResponse, Malformed> {
        let reply: Value = serde_json::from_slice(body)?;
        let completions = reply["completions"].as_array();
        let completions = completions.ok_or_else(|| Malformed("the reply has no completions".to_owned()))?;
        let id = match &reply["id"] {
            Value::String(id) => id.clone(),
            Value::Number(id) => id.to_string(),
            _ => String::new(),
        };
        Ok(ChatResponse {
            id,
            object: "chat.completion".to_owned(),
            choices: (0..).zip(completions).map(|(index, completion)| choice(index, completion)).collect(),
            ..ChatResponse::default()
        })
    }

    fn stream(&self) -> Box<dyn ChatStream> {
        Jamba.stream()
    }

    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        Jamba.error(status, body)
    }
}

fn choice(index: u64, completion: &Value) -> Choice {
    let text = completion["data"]["text"].as_str().unwrap_or_default().to_owned();
    let finish = match completion["finishReason"]["reason"].as_str() {
        Some("length") => "length",
        _ => "stop",
    };
    let message =
        Message { role: "assistant".to_owned(), content: Some(Content::Text(text)), ..Message::default() };
    Choice { index, message, finish_reason: Some(finish.to_owned()), ..Choice::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_said_in_its_own_words() {
        let request = json!({"messages": [{"role": "user", "content": "This is a test"}], "max_tokens": 7, "n": 2,
            "temperature": 0.2, "top_p": 0.5, "stop": "END", "seed": 1});
        let sent = Jurassic.encode("j2-ultra", &serde_json::from_value(request).unwrap()).unwrap().body;
        let expected = json!({"prompt": "This is a test", "maxTokens": 7, "numResults": 2, "temperature": 0.2,
            "topP": 0.5, "stopSequences": ["END"]});
        assert_eq!(sent, expected);
        let stream = serde_json::from_value(json!({"messages": [], "stream": true})).unwrap();
        assert_eq!(Jurassic.encode("j2-ultra", &stream).unwrap_err().field, "stream");
    }

    #[test]
    fn each_result_is_a_choice() {
        let body = json!({"id": 7921, "completions": [
            {"data": {"text": "a"}, "finishReason": {"reason": "length", "length": 2}},
            {"data": {"text": "b"}, "finishReason": {"reason": "endoftext"}}]});
        let reply = Jurassic.decode(body.to_string().as_bytes()).unwrap();
        let told: Vec<_> =
            reply.choices.iter().map(|c| (c.index, c.finish_reason.as_deref().unwrap())).collect();
        assert_eq!(told, [(0, "length"), (1, "stop")]);
        assert_eq!(reply.id, "7921");
        for body in ["{}", "[]", "7", "", "{\"completions\":{}}"] {
            assert!(Jurassic.decode(body.as_bytes()).is_err(), "{body}");
        }
        assert_eq!(Jurassic.decode(b"{\"completions\":[7,null]}").unwrap().choices.len(), 2);
    }
}
