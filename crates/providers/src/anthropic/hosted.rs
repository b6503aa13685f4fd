//! The Messages format in the client's own bytes at hosts that are not its maker: the address names the model,
//! the body the version, and what the host does not know, which it would refuse, is left out.
//!
//! Wire facts: `anthropic.lib.bedrock` and `anthropic.lib.vertex` of the Python SDK.

use ::wire::Object;
use ::wire::raw::RawObject;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::codec::Refused;

/// The header of a client that asks for features to come.
pub(crate) const BETA: &str = "anthropic-beta";
/// The same in a body.
pub(crate) const BETA_FIELD: &str = "anthropic_beta";
/// What the betas begin with without which the field of that name is refused.
const MANAGES_CONTEXT: &str = "context-management-";

/// Fields that the maker's own API alone takes, and without which the answer is to the same question.
const ITS_OWN: [&str; 4] = ["diagnostics", "speed", "service_tier", "inference_geo"];
/// Fields of what only the maker's own servers do: an answer without it would be another one.
const DONE_BY_THE_MAKER: [&str; 2] = ["mcp_servers", "container"];
/// An older place of `output_config.format`.
const OUTPUT_FORMAT: &str = "output_format";

/// What a host takes.
#[derive(Debug)]
pub(crate) struct Host {
    /// Of `anthropic_version`.
    pub(crate) version: &'static str,
    /// A host refuses a request for one that it does not know.
    pub(crate) betas: &'static [&'static str],
    /// Whether a body says that its answer is a stream.
    pub(crate) says_stream: bool,
}

impl Host {
    /// Makes the body what the host takes. Of the betas that the caller asks for, in headers or in the body,
    /// those that the host knows are returned; the body has none.
    pub(crate) fn pass(
        &self,
        headers: &[(&'static str, String)],
        body: &mut RawObject<'_>,
    ) -> Result<Vec<String>, Refused> {
        let in_body: Option<Vec<String>> = body.get(BETA_FIELD).map_err(|e| invalid(BETA_FIELD, &e))?;
        let in_headers =
            headers.iter().filter(|(name, _)| *name == BETA).flat_map(|(_, value)| value.split(','));
        let given = in_headers.map(|beta| beta.trim().to_owned()).chain(in_body.into_iter().flatten());
        let mut betas: Vec<String> = given.filter(|beta| self.betas.contains(&beta.as_str())).collect();
        betas.sort_unstable();
        betas.dedup();
        if let Some(field) =
            DONE_BY_THE_MAKER.into_iter().find(|field| body.raw(field).is_some_and(says_more))
        {
            return Err(Refused::new(
                field,
                "is for the maker's own API: this host of its models has no such thing",
            ));
        }
        move_format(body)?;
        for field in [BETA_FIELD, "model"].iter().chain(&DONE_BY_THE_MAKER).chain(&ITS_OWN) {
            body.remove(field);
        }
        if !betas.iter().any(|beta| beta.starts_with(MANAGES_CONTEXT)) {
            body.remove("context_management");
        }
        if !self.says_stream {
            body.remove("stream");
        }
        body.set("anthropic_version", self.version).map_err(|e| invalid("anthropic_version", &e))?;
        hoist(body)?;
        for field in ["system", "messages", "tools"] {
            without_scope(field, body)?;
        }
        Ok(betas)
    }
}

fn invalid(field: &'static str, e: &serde_json::Error) -> Refused {
    Refused::new(field, e.to_string())
}

/// Whether a value is more than null or an empty list.
fn says_more(raw: &RawValue) -> bool {
    !matches!(raw.get().replace(char::is_whitespace, "").as_str(), "null" | "[]")
}

/// The schema of an answer stands where hosts take it.
fn move_format(body: &mut RawObject<'_>) -> Result<(), Refused> {
    let format: Option<Value> = body.get(OUTPUT_FORMAT).map_err(|e| invalid(OUTPUT_FORMAT, &e))?;
    body.remove(OUTPUT_FORMAT);
    let Some(format) = format.filter(|format| !format.is_null()) else { return Ok(()) };
    let config: Option<Object> = body.get("output_config").map_err(|e| invalid("output_config", &e))?;
    let mut config = config.unwrap_or_default();
    config.entry("format").or_insert(format);
    body.set("output_config", &config).map_err(|e| invalid("output_config", &e))
}

/// Turns of the system within a conversation are the maker's own as well: they go before it.
fn hoist(body: &mut RawObject<'_>) -> Result<(), Refused> {
    if !body.raw("messages").is_some_and(|raw| raw.get().contains("\"system\"")) {
        return Ok(());
    }
    let turns: Vec<Value> = body.get("messages").map_err(|e| invalid("messages", &e))?.unwrap_or_default();
    let (of_system, turns): (Vec<Value>, Vec<Value>) =
        turns.into_iter().partition(|turn| turn["role"] == "system");
    if of_system.is_empty() {
        return Ok(());
    }
    let system: Option<Value> = body.get("system").map_err(|e| invalid("system", &e))?;
    let said = system.into_iter().chain(of_system.into_iter().map(|mut turn| turn["content"].take()));
    let blocks: Vec<Value> = said.flat_map(blocks).collect();
    body.set("system", &blocks).map_err(|e| invalid("system", &e))?;
    body.set("messages", &turns).map_err(|e| invalid("messages", &e))
}

fn blocks(content: Value) -> Vec<Value> {
    match content {
        Value::Array(blocks) => blocks,
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => vec![json!({"type": "text", "text": text})],
        _ => Vec::new(),
    }
}

/// Who shares a cache is told to the maker alone.
fn without_scope(field: &'static str, body: &mut RawObject<'_>) -> Result<(), Refused> {
    if !body.raw(field).is_some_and(|raw| raw.get().contains("\"scope\"")) {
        return Ok(());
    }
    let mut value: Value = body.get(field).map_err(|e| invalid(field, &e))?.unwrap_or_default();
    if unscope(&mut value) {
        body.set(field, &value).map_err(|e| invalid(field, &e))?;
    }
    Ok(())
}

/// As deep as serde reads it.
fn unscope(value: &mut Value) -> bool {
    match value {
        Value::Array(items) => items.iter_mut().fold(false, |changed, item| unscope(item) | changed),
        Value::Object(fields) => {
            let control = fields.get_mut("cache_control").and_then(Value::as_object_mut);
            let removed = control.is_some_and(|control| control.shift_remove("scope").is_some());
            fields.values_mut().fold(removed, |changed, inner| unscope(inner) | changed)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host =
        Host { version: "v-1", betas: &["a-1", "d-4", "context-management-1"], says_stream: false };

    fn passed(body: &Value, header: &str) -> (Value, Vec<String>) {
        let bytes = body.to_string();
        let mut raw = RawObject::parse(bytes.as_bytes()).unwrap();
        let betas = HOST.pass(&[(BETA, header.to_owned())], &mut raw).unwrap();
        (serde_json::from_slice(&raw.to_vec().unwrap()).unwrap(), betas)
    }

    #[test]
    fn only_what_the_host_knows_goes_on() {
        let body = json!({"model": "e", "stream": true, "max_tokens": 9, "x_new": 1, "speed": "fast", "anthropic_beta": ["b-2", "d-4"],
            "context_management": {"edits": []},
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral", "scope": "global"}}]}]});
        let mut expected = json!({"max_tokens": 9, "x_new": 1,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}]});
        let version = ("anthropic_version".to_owned(), json!("v-1"));
        expected.as_object_mut().unwrap().extend([version]);
        assert_eq!(passed(&body, "a-1, c-3,a-1"), (expected, vec!["a-1".to_owned(), "d-4".to_owned()]));
        let (kept, betas) = passed(&body, "context-management-1");
        assert!(kept.get("context_management").is_some() && betas.len() == 2, "{kept}");
    }

    #[test]
    fn a_schema_of_the_answer_goes_where_hosts_take_it() {
        let format = json!({"type": "json_schema", "schema": {"type": "object"}});
        let (got, _) = passed(&json!({"output_format": format, "output_config": {"effort": "low"}}), "");
        assert_eq!(got["output_config"], json!({"effort": "low", "format": format}));
        let (got, _) = passed(&json!({ "output_format": format }), "");
        assert_eq!((&got["output_config"], got.get("output_format")), (&json!({"format": format}), None));
        let (got, _) = passed(&json!({"output_format": null, "output_config": {"format": format}}), "");
        assert_eq!((&got["output_config"], got.get("output_format")), (&json!({"format": format}), None));
    }

    #[test]
    fn what_no_host_does_is_refused_by_name() {
        for (field, value) in [
            ("mcp_servers", json!([{"type": "url", "url": "https://x", "name": "x"}])),
            ("container", json!("container_1")),
            ("container", json!({"skills": []})),
        ] {
            let bytes = json!({ field: value }).to_string();
            let refused = HOST.pass(&[], &mut RawObject::parse(bytes.as_bytes()).unwrap()).unwrap_err();
            assert_eq!(refused.field, field);
        }
        let (got, _) = passed(&json!({"mcp_servers": [], "container": null}), "");
        assert_eq!(got, json!({"anthropic_version": "v-1"}));
    }

    #[test]
    fn turns_of_the_system_go_before_the_conversation() {
        let body = json!({"system": "be brief", "messages": [{"role": "user", "content": "hi"},
            {"role": "system", "content": [{"type": "text", "text": "stay brief"}]}, {"role": "user", "content": "say \"system\""}]});
        let (got, _) = passed(&body, "");
        assert_eq!(
            got["system"],
            json!([{"type": "text", "text": "be brief"}, {"type": "text", "text": "stay brief"}])
        );
        assert_eq!(got["messages"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn every_other_byte_is_kept() {
        let body = br#"{"messages":[ {"role":"user","content":"\u00f6"} ],"x":1.50}"#;
        let mut raw = RawObject::parse(body).unwrap();
        HOST.pass(&[], &mut raw).unwrap();
        let expected =
            r#"{"messages":[ {"role":"user","content":"\u00f6"} ],"x":1.50,"anthropic_version":"v-1"}"#;
        assert_eq!(str::from_utf8(&raw.to_vec().unwrap()).unwrap(), expected);
    }
}
