//! `tool_choice` of the unified format, read once for all formats of their own.

use std::collections::HashSet;

use ::wire::Object;
use ::wire::chat::Tool;
use serde_json::Value;

use crate::codec::Refused;

/// What the model must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Must<'a> {
    /// As it likes.
    Choose,
    /// Call nothing.
    NotCall,
    /// Call any tool.
    Call,
    /// Call this function.
    CallThe(&'a str),
}

#[derive(Debug, Default)]
pub(crate) struct ToolChoice<'a> {
    /// `None` when nothing is said.
    pub(crate) must: Option<Must<'a>>,
    /// The functions of `{"type": "allowed_tools"}`; `None` when all are allowed.
    pub(crate) allowed: Option<HashSet<&'a str>>,
}

impl<'a> ToolChoice<'a> {
    /// The forms of Chat Completions, `any` beside `required`, and a name without its `function` as Responses has it.
    pub(crate) fn read(given: Option<&'a Value>) -> Result<Self, Refused> {
        match given {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(Value::String(word)) => Ok(Self { must: Some(word_of(word)?), allowed: None }),
            Some(Value::Object(choice)) => Self::object(choice),
            Some(other) => Err(Refused::new("tool_choice", format!("{other} is no tool choice"))),
        }
    }

    fn object(choice: &'a Object) -> Result<Self, Refused> {
        let kind = choice.get("type").and_then(Value::as_str);
        if kind == Some("allowed_tools") {
            let allowed = choice.get("allowed_tools").unwrap_or(&Value::Null);
            let tools = allowed["tools"].as_array().into_iter().flatten();
            let names = tools.filter_map(|t| t.get("function").unwrap_or(t).get("name")?.as_str()).collect();
            let must = word_of(allowed["mode"].as_str().unwrap_or("auto"))?;
            return Ok(Self { must: Some(must), allowed: Some(names) });
        }
        let name = choice.get("function").and_then(|f| f.get("name")).or_else(|| choice.get("name"));
        let must = match (name.and_then(Value::as_str), kind) {
            (Some(name), _) => Must::CallThe(name),
            (None, Some(word)) => word_of(word)?,
            (None, None) => {
                return Err(Refused::new("tool_choice", "has neither a type nor a function name"));
            }
        };
        Ok(Self { must: Some(must), allowed: None })
    }

    /// Whether the model may be offered the tool. One without a function has no name to be allowed by.
    pub(crate) fn allows(&self, tool: &Tool) -> bool {
        let name = tool.function.as_ref().map(|function| function.name.as_str());
        self.allowed.as_ref().is_none_or(|allowed| name.is_some_and(|name| allowed.contains(name)))
    }

    /// Of a request whose tools are all not allowed.
    pub(crate) fn names_none() -> Refused {
        Refused::new("tool_choice.allowed_tools", "names none of the tools")
    }
}

fn word_of(word: &str) -> Result<Must<'static>, Refused> {
    match word {
        "auto" => Ok(Must::Choose),
        "none" => Ok(Must::NotCall),
        "required" | "any" => Ok(Must::Call),
        other => Err(Refused::new("tool_choice", format!("{other:?} is none of auto, none, required"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_form_is_read_and_every_other_named() {
        let must = |choice: Value| match ToolChoice::read(Some(&choice)) {
            Ok(choice) => format!("{:?}", choice.must),
            Err(refused) => refused.to_string(),
        };
        assert_eq!(must(json!(null)), "None");
        assert_eq!(must(json!("auto")), "Some(Choose)");
        assert_eq!(must(json!("none")), "Some(NotCall)");
        assert_eq!(must(json!("required")), "Some(Call)");
        assert_eq!(must(json!({"type": "any"})), "Some(Call)");
        assert_eq!(must(json!({"type": "function", "function": {"name": "f"}})), r#"Some(CallThe("f"))"#);
        assert_eq!(must(json!({"type": "function", "name": "f"})), r#"Some(CallThe("f"))"#);
        for wrong in [json!("maybe"), json!({"type": "function"}), json!({}), json!(7)] {
            assert!(must(wrong.clone()).contains("tool_choice"), "{wrong}: {}", must(wrong.clone()));
        }
    }

    #[test]
    fn allowed_tools_are_the_named_ones() {
        let choice = json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools":
            [{"type": "function", "function": {"name": "a"}}, {"type": "function", "name": "b"}]}});
        let read = ToolChoice::read(Some(&choice)).unwrap();
        let tool = |of: Value| serde_json::from_value::<Tool>(of).unwrap();
        let named = |name: &str| tool(json!({"type": "function", "function": {"name": name}}));
        assert_eq!(read.must, Some(Must::Call));
        assert!(read.allows(&named("a")) && read.allows(&named("b")) && !read.allows(&named("c")));
        assert!(!read.allows(&tool(json!({"type": "web_search"}))));
        assert!(ToolChoice::default().allows(&tool(json!({"type": "web_search"}))));
    }
}
