//! The bytes of the answers.

use protocol::text;

/// Whole answers without streaming, head included.
pub(crate) struct Plain {
    pub(crate) chat: Vec<u8>,
    pub(crate) messages: Vec<u8>,
}

pub(crate) const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
pub(crate) const SSE_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-request-id: req_0123456789abcdef\r\ntransfer-encoding: chunked\r\n\r\n";

/// A JSON answer with its head.
pub(crate) fn json(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_0123456789abcdef\r\ncontent-length: {}\r\n\r\n{body}",
        body.len(),
    )
    .into_bytes()
}

impl Plain {
    pub(crate) fn new(chunks: u64) -> Self {
        let answer = text::answer(chunks);
        Self {
            chat: json(&format!(
                r#"{{"id":"chatcmpl-BnchStub0123456789abcdefgh","object":"chat.completion","created":1760000000,"model":"gpt-4o-mini","choices":[{{"index":0,"message":{{"role":"assistant","content":"{answer}","refusal":null}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":180,"completion_tokens":{chunks},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0}}}},"service_tier":"default","system_fingerprint":"fp_stub"}}"#,
                180 + chunks,
            )),
            messages: json(&format!(
                r#"{{"id":"msg_01StubStubStubStubStub","type":"message","role":"assistant","model":"claude-3-5-sonnet-20241022","content":[{{"type":"text","text":"{answer}"}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":180,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":{chunks}}}}}"#,
            )),
        }
    }
}

/// Whose events a stream speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Chat,
    Messages,
}

impl Format {
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            path if path.ends_with("/chat/completions") => Some(Self::Chat),
            path if path.ends_with("/messages") => Some(Self::Messages),
            _ => None,
        }
    }

    /// Events before the first token.
    pub(crate) fn opening(self) -> Vec<String> {
        match self {
            Self::Chat => vec![chat_event(r#"{"role":"assistant","content":"","refusal":null}"#, "null")],
            Self::Messages => vec![
                named(
                    "message_start",
                    r#""message":{"id":"msg_01StubStubStubStubStub","type":"message","role":"assistant","model":"claude-3-5-sonnet-20241022","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":180,"output_tokens":1}}"#,
                ),
                named("content_block_start", r#""index":0,"content_block":{"type":"text","text":""}"#),
            ],
        }
    }

    /// The event of one token.
    pub(crate) fn token(self, text: &str) -> String {
        match self {
            Self::Chat => chat_event(&format!(r#"{{"content":"{text}"}}"#), "null"),
            Self::Messages => named(
                "content_block_delta",
                &format!(r#""index":0,"delta":{{"type":"text_delta","text":"{text}"}}"#),
            ),
        }
    }

    /// Events after the last token.
    pub(crate) fn closing(self, chunks: u64, include_usage: bool) -> Vec<String> {
        if self == Self::Messages {
            return vec![
                named("content_block_stop", r#""index":0"#),
                named(
                    "message_delta",
                    &format!(
                        r#""delta":{{"stop_reason":"end_turn","stop_sequence":null}},"usage":{{"output_tokens":{chunks}}}"#
                    ),
                ),
                "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".to_owned(),
            ];
        }
        let mut events = vec![chat_event("{}", r#""stop""#)];
        if include_usage {
            let total = 180 + chunks;
            events.push(chat_frame(&format!(r#""choices":[],"usage":{{"prompt_tokens":180,"completion_tokens":{chunks},"total_tokens":{total}}}"#)));
        }
        events.push("data: [DONE]\n\n".to_owned());
        events
    }
}

fn named(event: &str, fields: &str) -> String {
    format!("event: {event}\ndata: {{\"type\":\"{event}\",{fields}}}\n\n")
}

fn chat_event(delta: &str, finish: &str) -> String {
    chat_frame(&format!(
        r#""choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]"#
    ))
}

fn chat_frame(fields: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-BnchStub0123456789abcdefgh\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"gpt-4o-mini\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_stub\",{fields}}}\n\n"
    )
}
