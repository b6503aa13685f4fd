//! The format in the client's own bytes.

use ::wire::raw::RawObject;

use super::{Gemini, response};
use crate::codec::{Refused, UpstreamError};
use crate::native::{NativeCall, NativeCodec};

/// The method of a native call; `None` for one in another format.
pub(crate) fn method(call: NativeCall, stream: bool) -> Option<&'static str> {
    match call {
        NativeCall::GenerateContent => Some(super::chat_method(stream)),
        NativeCall::CountContent => Some("countTokens"),
        NativeCall::Messages | NativeCall::CountMessages | NativeCall::Responses | NativeCall::Converse => {
            None
        }
    }
}

/// Of `countTokens`: a request whose length is asked for, which names its model once more.
const INNER: [&str; 2] = ["generateContentRequest", "generate_content_request"];

impl NativeCodec for Gemini {
    /// The path names the model. Where the body does too, the names must agree.
    fn pass(&self, model: &str, body: &mut RawObject<'_>) -> Result<(), Refused> {
        let invalid = |field: &'static str| move |e: serde_json::Error| Refused::new(field, e.to_string());
        let name = format!("models/{}", super::bare(model));
        if body.contains("model") {
            body.set("model", &name).map_err(invalid("model"))?;
        }
        for field in INNER {
            let Some(raw) = body.raw(field).map(|raw| raw.get().to_owned()) else { continue };
            let mut inner = RawObject::parse(raw.as_bytes()).map_err(invalid(field))?;
            inner.set("model", &name).map_err(invalid(field))?;
            body.set(field, &inner).map_err(invalid(field))?;
        }
        Ok(())
    }

    fn failure(&self, status: u16, body: &[u8]) -> UpstreamError {
        response::error(status, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(body: &str) -> String {
        let mut body = RawObject::parse(body.as_bytes()).unwrap();
        Gemini { call_ids: true }.pass("gemini-2.5-flash", &mut body).unwrap();
        String::from_utf8(body.to_vec().unwrap()).unwrap()
    }

    #[test]
    fn only_a_model_that_the_body_names_changes() {
        let plain = r#"{"contents":[ {"parts":[{"hologram":1.50}]} ],"x_new":{"a":  1}}"#;
        assert_eq!(passed(plain), plain);
        assert_eq!(passed(r#"{"model":"models/e","x":1}"#), r#"{"model":"models/gemini-2.5-flash","x":1}"#);
        assert_eq!(
            passed(r#"{"generateContentRequest":{"model":"models/e","contents":[ 1 ]}}"#),
            r#"{"generateContentRequest":{"model":"models/gemini-2.5-flash","contents":[ 1 ]}}"#
        );
    }

    #[test]
    fn an_inner_request_must_be_an_object() {
        let mut body = RawObject::parse(br#"{"generateContentRequest":7}"#).unwrap();
        assert!(Gemini { call_ids: true }.pass("m", &mut body).is_err());
    }
}
