//! Tools and tool choice.

use ::wire::Object;
use ::wire::chat::{ChatRequest, Tool};
use serde_json::{Value, json};

use super::{models, schema};
use crate::codec::Refused;
use crate::names::Names;
use crate::tool_choice::{Must, ToolChoice};

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
    let choice = ToolChoice::read(request.tool_choice.as_ref())?;
    // Where one must be called all are declared, and the list of names says which.
    let called = called(&choice, tools);
    let (mut functions, mut own) = (Vec::new(), Vec::new());
    for (at, tool) in tools.iter().enumerate() {
        match &tool.function {
            Some(_) if called.is_none() && !choice.allows(tool) => {}
            Some(_) => functions.extend(declaration(model, tool, names)),
            None => own.push(own_tool(at, tool)?),
        }
    }
    let nothing = functions.is_empty() && own.is_empty();
    if nothing || (choice.allowed.is_some() && called.as_ref().is_some_and(Vec::is_empty)) {
        return Err(ToolChoice::names_none());
    }
    let declared = (!functions.is_empty()).then(|| json!({"functionDeclarations": functions}));
    out.insert("tools".to_owned(), declared.into_iter().chain(own).collect());
    if let Some(must) = choice.must {
        let mut config = json!({"mode": mode(must)});
        if let Some(only) = called.filter(|only| !only.is_empty()) {
            config["allowedFunctionNames"] = only.into_iter().map(|name| sent_name(names, name)).collect();
        }
        out.insert("toolConfig".to_owned(), json!({"functionCallingConfig": config}));
    }
    Ok(out)
}

/// Which functions a call must be of, where one must be made; none means any.
fn called<'a>(choice: &ToolChoice<'a>, tools: &'a [Tool]) -> Option<Vec<&'a str>> {
    match choice.must? {
        Must::CallThe(name) => Some(vec![name]),
        Must::Call if choice.allowed.is_none() => Some(Vec::new()),
        Must::Call => {
            let allowed = tools.iter().filter(|tool| choice.allows(tool));
            Some(allowed.filter_map(|tool| Some(tool.function.as_ref()?.name.as_str())).collect())
        }
        Must::Choose | Must::NotCall => None,
    }
}

fn mode(must: Must<'_>) -> &'static str {
    match must {
        Must::Choose => "AUTO",
        Must::NotCall => "NONE",
        Must::Call | Must::CallThe(_) => "ANY",
    }
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
