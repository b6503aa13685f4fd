//! What every format of its own reads from and writes to the unified one in the same way.

use ::wire::Object;
use ::wire::chat::{Delta, FunctionDelta, ToolCall, ToolCallDelta};
use serde_json::Value;

use crate::codec::Refused;

/// Stands between the id of a tool call and a signature that the id carries, where a format signs calls:
/// the id is the one place that every client keeps.
pub const SIGNED_ID: &str = "__thought__";

/// Media type and data of `data:<type>;base64,<data>`.
pub(crate) fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media_type = head.strip_suffix(";base64")?.split(';').next()?;
    Some((media_type, data))
}

/// The arguments of a call as the object they spell; none at all is an empty one. `path` is the call's.
pub(crate) fn arguments(path: &str, call: &ToolCall) -> Result<Value, Refused> {
    let arguments = call.function.arguments.trim();
    if arguments.is_empty() {
        return Ok(Value::Object(Object::new()));
    }
    let object = serde_json::from_str(arguments).ok().filter(Value::is_object);
    object.ok_or_else(|| Refused::new(format!("{path}.function.arguments"), "is no JSON object"))
}

/// The first delta of a tool call.
pub(crate) fn call_opened(index: u64, id: String, name: String) -> Delta {
    let function =
        FunctionDelta { name: Some(name), arguments: Some(String::new()), ..FunctionDelta::default() };
    let call = ToolCallDelta {
        index,
        id: Some(id),
        kind: Some("function".to_owned()),
        function: Some(function),
        ..ToolCallDelta::default()
    };
    Delta { tool_calls: Some(vec![call]), ..Delta::default() }
}

/// More of a tool call's arguments.
pub(crate) fn call_arguments(index: u64, arguments: String) -> Delta {
    let function = FunctionDelta { arguments: Some(arguments), ..FunctionDelta::default() };
    let call = ToolCallDelta { index, function: Some(function), ..ToolCallDelta::default() };
    Delta { tool_calls: Some(vec![call]), ..Delta::default() }
}
