//! Models of other makers.

use serde_json::Value;
use wire::chat::{ChatRequest, ChatResponse};
use wire::raw::RawObject;

use crate::Messages;
use crate::codec::{ChatCodec, ChatStream, Encoded, Malformed, Refused, UpstreamError};
use crate::google;
use crate::hosted::{BETA, Host};
use crate::native::NativeCodec;
use crate::openai::OpenAiChat;
use crate::provider::{Splice, Task};

const MESSAGES_VERSION: &str = "vertex-2023-10-16";

/// The Messages format, whose model is in the address and whose version is in the body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claude;

impl ChatCodec for Claude {
    fn encode(&self, model: &str, request: &ChatRequest) -> Result<Encoded, Refused> {
        // Versions follow an @ here: `claude-sonnet-4-5@20250929`.
        let mut encoded = Messages.encode(&model.replace('@', "-"), request)?;
        if let Value::Object(body) = &mut encoded.body {
            body.shift_remove("model");
            body.insert("anthropic_version".to_owned(), MESSAGES_VERSION.into());
        }
        Ok(encoded)
    }

    fn decode(&self, body: &[u8]) -> Result<ChatResponse, Malformed> {
        Messages.decode(body)
    }

    fn stream(&self) -> Box<dyn ChatStream> {
        Messages.stream()
    }

    /// The host's own errors, of quotas and permissions, are in its own form.
    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        if status == 0 { Messages.error(status, body) } else { google::error(status, body) }
    }
}

const HOST: Host = Host {
    version: MESSAGES_VERSION,
    betas: &[
        "context-1m-2025-08-07",
        "context-management-2025-06-27",
        "fine-grained-tool-streaming-2025-05-14",
        "interleaved-thinking-2025-05-14",
        "web-search-2025-03-05",
    ],
    says_stream: true,
};

impl NativeCodec for Claude {
    fn pass_with(
        &self,
        _model: &str,
        headers: &mut Vec<(&'static str, String)>,
        body: &mut RawObject<'_>,
    ) -> Result<(), Refused> {
        let betas = HOST.pass(headers, body)?;
        headers.clear();
        if !betas.is_empty() {
            headers.push((BETA, betas.join(",")));
        }
        Ok(())
    }

    fn failure(&self, status: u16, body: &[u8]) -> UpstreamError {
        self.error(status, body)
    }
}

/// The same where tokens are counted: the body names the model.
#[derive(Clone, Copy, Debug)]
pub(super) struct CountClaude;

impl NativeCodec for CountClaude {
    fn pass_with(
        &self,
        model: &str,
        headers: &mut Vec<(&'static str, String)>,
        body: &mut RawObject<'_>,
    ) -> Result<(), Refused> {
        Claude.pass_with(model, headers, body)?;
        body.set("model", model).map_err(|e| Refused::new("model", e.to_string()))
    }

    fn failure(&self, status: u16, body: &[u8]) -> UpstreamError {
        Claude.error(status, body)
    }
}

/// OpenAI's format, with the name of the model alone, without its maker's.
#[derive(Clone, Copy, Debug)]
pub(super) struct BareModel(pub(super) OpenAiChat);

fn bare(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}

impl ChatCodec for BareModel {
    fn encode(&self, model: &str, request: &ChatRequest) -> Result<Encoded, Refused> {
        self.0.encode(bare(model), request)
    }

    fn decode(&self, body: &[u8]) -> Result<ChatResponse, Malformed> {
        self.0.decode(body)
    }

    fn stream(&self) -> Box<dyn ChatStream> {
        self.0.stream()
    }

    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        self.0.error(status, body)
    }
}

impl Splice for BareModel {
    fn adopt(&self, model: &str, request: ChatRequest) -> Result<ChatRequest, Refused> {
        self.0.adopt(bare(model), request)
    }

    fn splice(&self, model: &str, task: Task, stream: bool, body: &mut RawObject<'_>) -> Result<(), Refused> {
        self.0.splice(bare(model), task, stream, body)
    }
}
