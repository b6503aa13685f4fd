//! Tools and tool choice.

use ::wire::Object;
use ::wire::chat::{ChatRequest, Tool};
use serde_json::{Value, json};

use super::{models, schema};
use crate::codec::Refused;
use crate::names::Names;

/// Longest function name that every version of the API takes.
const NAME_LIMIT: usize = 64;

/// Tools that the provider runs itself, by the names of requests and its own.
const OWN_TOOLS: [(&str, &str); 5] = [
    ("google_search", "googleSearch"),
    ("google_search_retrieval", "googleSearchRetrieval"),
    ("google_maps", "googleMaps"),
    ("code_execution", "codeExecution"),
    ("url_context", "urlContext"),
];

pub(super) fn sent_name(names: &mut Names, name: &str) -> String {
    names.sent(name, NAME_LIMIT)
}

/// `tools` and `toolConfig`. All functions are in one element of the list.
pub(super) fn encode(model: &str, request: &ChatRequest, names: &mut Names) -> Result<Object, Refused> {
    let mut out = Object::new();
    let tools = request.tools.as_deref().unwrap_or_default();
    if tools.is_empty() {
        return Ok(out);
    }
    let choice = Choice::read(request.tool_choice.as_ref())?;
    let (mut functions, mut own) = (Vec::new(), Vec::new());
    for (at, tool) in tools.iter().enumerate() {
        match &tool.function {
            Some(function) if !choice.leaves(&function.name) => {}
            Some(_) => functions.extend(declaration(model, tool, names)),
            None => own.push(own_tool(at, tool)?),
        }
    }
    if functions.is_empty() && own.is_empty() {
        return Err(Refused::new("tool_choice.allowed_tools", "names none of the tools"));
    }
    let declared = (!functions.is_empty()).then(|| json!({"functionDeclarations": functions}));
    out.insert("tools".to_owned(), declared.into_iter().chain(own).collect());
    if let Some(mode) = choice.mode {
        let mut config = json!({"mode": mode});
        // The list is taken with this mode alone; with the others the tools are left out above.
        if mode == "ANY" && !choice.names.is_empty() {
            config["allowedFunctionNames"] = choice.names.iter().map(|name| sent_name(names, name)).collect();
        }
        out.insert("toolConfig".to_owned(), json!({"functionCallingConfig": config}));
    }
    Ok(out)
}

fn declaration(model: &str, tool: &Tool, names: &mut Names) -> Option<Value> {
    let function = tool.function.as_ref()?;
    let mut out = Object::new();
    out.insert("name".to_owned(), sent_name(names, &function.name).into());
    if let Some(description) = &function.description {
        out.insert("description".to_owned(), description.as_str().into());
    }
    // An object without properties is refused: a function without parameters has no schema.
    let given = function.parameters.as_ref().filter(|p| has_properties(p));
    if let Some(given) = given {
        if models::takes_json_schema(model) {
            out.insert("parametersJsonSchema".to_owned(), given.clone());
        } else {
            out.insert("parameters".to_owned(), schema::reduce(given));
        }
    }
    Some(Value::Object(out))
}

fn has_properties(schema: &Value) -> bool {
    let Some(schema) = schema.as_object() else { return false };
    let bare = schema.get("properties").is_none_or(|p| p.as_object().is_none_or(Object::is_empty));
    !bare || ["$ref", "anyOf", "oneOf", "allOf"].iter().any(|key| schema.contains_key(*key))
}

fn own_tool(at: usize, tool: &Tool) -> Result<Value, Refused> {
    let known = OWN_TOOLS.iter().find(|(asked, own)| tool.kind == *asked || tool.kind == *own);
    let Some((asked, own)) = known else {
        let reason = format!("{:?} is no tool of this provider", tool.kind);
        return Err(Refused::new(format!("tools[{at}].type"), reason));
    };
    let settings = tool.extra.get(*asked).or_else(|| tool.extra.get(*own)).filter(|s| s.is_object());
    Ok(Value::Object(Object::from_iter([(
        (*own).to_owned(),
        settings.cloned().unwrap_or_else(|| Value::Object(Object::new())),
    )])))
}

/// `tool_choice`, read.
#[derive(Debug, Default)]
struct Choice<'a> {
    mode: Option<&'static str>,
    /// The functions that may be called; none means all.
    names: Vec<&'a str>,
}

impl<'a> Choice<'a> {
    fn read(given: Option<&'a Value>) -> Result<Self, Refused> {
        match given {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(Value::String(word)) => Ok(Self { mode: Some(mode(word)?), names: Vec::new() }),
            Some(Value::Object(choice)) => Self::named(choice),
            Some(other) => Err(Refused::new("tool_choice", format!("{other} is no tool choice"))),
        }
    }

    fn named(choice: &'a Object) -> Result<Self, Refused> {
        let kind = choice.get("type").and_then(Value::as_str);
        if kind == Some("allowed_tools") {
            let allowed = choice.get("allowed_tools").unwrap_or(&Value::Null);
            let tools = allowed["tools"].as_array().into_iter().flatten();
            let names = tools.filter_map(|t| t.get("function").unwrap_or(t).get("name")?.as_str()).collect();
            return Ok(Self { mode: Some(mode(allowed["mode"].as_str().unwrap_or("auto"))?), names });
        }
        let function = choice.get("function").and_then(|f| f.get("name"));
        match (function.or_else(|| choice.get("name")).and_then(Value::as_str), kind) {
            (Some(name), _) => Ok(Self { mode: Some("ANY"), names: vec![name] }),
            (None, Some(word)) => Ok(Self { mode: Some(mode(word)?), names: Vec::new() }),
            (None, None) => Err(Refused::new("tool_choice", "has neither a type nor a function name")),
        }
    }

    /// Whether the tool is declared. One that must be called stays among the others.
    fn leaves(&self, name: &str) -> bool {
        self.names.is_empty() || self.mode == Some("ANY") || self.names.contains(&name)
    }
}

fn mode(word: &str) -> Result<&'static str, Refused> {
    match word {
        "auto" => Ok("AUTO"),
        "none" => Ok("NONE"),
        "required" | "any" => Ok("ANY"),
        other => Err(Refused::new("tool_choice", format!("{other:?} is none of auto, none, required"))),
    }
}
