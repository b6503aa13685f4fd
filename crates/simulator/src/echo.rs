//! The deterministic answer and its usage, independent of any format.

use std::borrow::Cow;
use std::ops::AddAssign;

use serde_json::{Map, Value};

use crate::plan::Turn;
use crate::script::Script;

/// How deep a JSON schema is followed: schemas can refer to themselves.
const MAX_DEPTH: usize = 8;
const FILLER: &str = "lorem ipsum dolor sit amet ";

/// What a format read out of a request.
#[derive(Debug, Default)]
pub(crate) struct Prompt<'a> {
    /// Characters of all input texts.
    pub(crate) chars: usize,
    /// The text of the last user turn.
    pub(crate) last_user: String,
    /// How many results of tools the conversation has.
    pub(crate) results: usize,
    /// The names of all tools on offer.
    pub(crate) offered: Vec<&'a str>,
    /// The tool to call, when one is due.
    pub(crate) tool: Option<Tool<'a>>,
    /// The JSON that is asked for.
    pub(crate) json: Option<Shape<'a>>,
}

/// A tool on offer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool<'a> {
    pub(crate) name: &'a str,
    pub(crate) schema: &'a Value,
}

/// The shape of a JSON answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape<'a> {
    /// Any object.
    Any,
    /// What the schema says.
    Schema(&'a Value),
}

/// Tokens used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) input: usize,
    pub(crate) output: usize,
    /// Of the input, what was read from a cache, and what was written to one.
    pub(crate) cached: usize,
    pub(crate) cache_written: usize,
    /// Of the output, what the model wrote to itself.
    pub(crate) reasoning: usize,
}

impl Tokens {
    pub(crate) fn new(input: usize, output: usize) -> Self {
        Self { input, output, ..Self::default() }
    }

    /// The input that is neither read from a cache nor written to one.
    pub(crate) fn uncached(self) -> usize {
        self.input - self.cached - self.cache_written
    }

    pub(crate) fn total(self) -> usize {
        self.input + self.output
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, more: Self) {
        self.input += more.input;
        self.output += more.output;
        self.cached += more.cached;
        self.cache_written += more.cache_written;
        self.reasoning += more.reasoning;
    }
}

/// The answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) said: Said,
    pub(crate) tokens: Tokens,
}

/// What the answer says.
#[derive(Debug)]
pub(crate) enum Said {
    /// Text, cut into chunks.
    Text(Text),
    /// A call of one tool.
    Call {
        /// The name of the tool.
        name: String,
        /// Its arguments, rendered as JSON and cut in two.
        arguments: Text,
        /// Which call of the conversation it is, from 1.
        number: usize,
    },
}

impl Said {
    /// The id of the call, unlike that of any other call of the conversation.
    pub(crate) fn call_id(&self, prefix: &str) -> String {
        match self {
            Self::Call { number, .. } => format!("{prefix}{number}"),
            Self::Text(_) => prefix.to_owned(),
        }
    }
}

/// A text and where it is cut into chunks; the chunks put together are always the text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) whole: String,
    ends: Vec<usize>,
}

impl Text {
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, end)| self.whole.get(start..*end))
    }

    fn by_words(whole: String) -> Self {
        let mut end = 0;
        let lengths = whole.split_inclusive(' ').map(str::len);
        let ends = lengths.map(|length| {
            end += length;
            end
        });
        Self { ends: ends.collect(), whole }
    }

    fn evenly(whole: String, pieces: usize) -> Self {
        let mut starts: Vec<usize> = whole.char_indices().map(|(at, _)| at).collect();
        starts.push(whole.len());
        let chars = starts.len() - 1;
        let ends = (1..=pieces).map(|piece| starts[chars * piece / pieces]);
        Self { ends: ends.collect(), whole }
    }

    fn numbered(chunks: usize) -> Self {
        let mut text = Self { whole: String::new(), ends: Vec::with_capacity(chunks) };
        for chunk in 0..chunks {
            text.whole.push_str("tok-");
            text.whole.push_str(&chunk.to_string());
            text.whole.push(' ');
            text.ends.push(text.whole.len());
        }
        text
    }
}

/// A quarter of the characters, rounded up, and never zero.
pub(crate) fn tokens_of(chars: usize) -> usize {
    chars.div_ceil(4).max(1)
}

/// Answers a prompt. A plan wins over a scripted text, which wins over a tool call, which wins over JSON, which wins over the echo.
pub(crate) fn answer(prompt: &Prompt<'_>, script: &Script) -> Answer {
    let said = say(prompt, script);
    let text = match &said {
        Said::Text(text) => text,
        Said::Call { arguments, .. } => arguments,
    };
    let cached = script.cached_tokens.unwrap_or_default();
    let cache_written = script.cache_write_tokens.unwrap_or_default();
    let reasoning = script.reasoning_tokens.unwrap_or_default();
    let input = tokens_of(prompt.chars) + cached + cache_written;
    let output = tokens_of(text.whole.chars().count()) + reasoning;
    Answer { tokens: Tokens { input, output, cached, cache_written, reasoning }, said }
}

fn say(prompt: &Prompt<'_>, script: &Script) -> Said {
    let call = |name: &str, arguments: Value| Said::Call {
        name: name.to_owned(),
        arguments: Text::evenly(arguments.to_string(), 2),
        number: prompt.results + 1,
    };
    match script.plan.as_ref().and_then(|plan| plan.turn(prompt.results, &prompt.offered)) {
        Some(Turn::Text(planned)) => return Said::Text(Text::by_words(planned.text.clone())),
        Some(Turn::Call(planned)) => return call(&planned.tool, Value::Object(planned.arguments.clone())),
        None => {}
    }
    if let Some(text) = scripted(script) {
        return Said::Text(text);
    }
    if let Some(tool) = prompt.tool {
        return call(tool.name, example(tool.schema, "value"));
    }
    match prompt.json {
        Some(shape) => Said::Text(Text::evenly(json_answer(shape).to_string(), 2)),
        None => Said::Text(Text::by_words(format!("echo: {}", prompt.last_user))),
    }
}

fn scripted(script: &Script) -> Option<Text> {
    let given = match (&script.answer, script.content_bytes) {
        (Some(answer), _) => Some(answer.clone()),
        (None, Some(bytes)) => Some(FILLER.chars().cycle().take(bytes).collect()),
        (None, None) => None,
    };
    match (given, script.chunks) {
        (Some(given), Some(chunks)) if chunks > 0 => Some(Text::evenly(given, chunks)),
        (Some(given), _) => Some(Text::by_words(given)),
        (None, Some(chunks)) => Some(Text::numbered(chunks)),
        (None, None) => None,
    }
}

fn json_answer(shape: Shape<'_>) -> Value {
    match shape {
        Shape::Schema(schema) => example(schema, "42"),
        Shape::Any => Value::Object(Map::from_iter([("answer".to_owned(), Value::from("42"))])),
    }
}

/// An instance of a JSON schema: the required properties, strings filled with `text`, and Paris for every city.
fn example(schema: &Value, text: &str) -> Value {
    Filler { root: schema, text }.object(schema, 0)
}

struct Filler<'a> {
    root: &'a Value,
    text: &'a str,
}

impl Filler<'_> {
    fn object(&self, schema: &Value, depth: usize) -> Value {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return Value::Object(Map::new());
        };
        let required: Vec<&str> = match schema.get("required").and_then(Value::as_array) {
            Some(names) => names.iter().filter_map(Value::as_str).collect(),
            None => properties.keys().map(String::as_str).collect(),
        };
        let fill = |name: &str| {
            let value = match properties.get(name) {
                Some(property) => self.value(name, property, depth + 1),
                None => Value::from(self.text),
            };
            (name.to_owned(), value)
        };
        Value::Object(required.into_iter().map(fill).collect())
    }

    fn value(&self, name: &str, schema: &Value, depth: usize) -> Value {
        if depth > MAX_DEPTH {
            return Value::Null;
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = self.root.pointer(target.trim_start_matches('#')).unwrap_or(&Value::Null);
            return self.value(name, target, depth + 1);
        }
        let choices = schema.get("enum").and_then(Value::as_array);
        if let Some(fixed) = schema.get("const").or_else(|| choices.and_then(|choices| choices.first())) {
            return fixed.clone();
        }
        if let Some(first) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(|any| any.get(0)) {
            return self.value(name, first, depth + 1);
        }
        self.typed(name, schema, depth)
    }

    fn typed(&self, name: &str, schema: &Value, depth: usize) -> Value {
        let declared = schema.get("type");
        let declared = declared.and_then(|kind| kind.get(0)).or(declared).and_then(Value::as_str);
        match declared {
            Some("integer") => Value::from(42),
            Some("number") => Value::from(42.5),
            Some("boolean") => Value::from(true),
            Some("null") => Value::Null,
            Some("object") => self.object(schema, depth),
            Some("array") => match schema.get("items") {
                Some(items) => Value::Array(vec![self.value(name, items, depth + 1)]),
                None => Value::Array(Vec::new()),
            },
            _ if schema.get("properties").is_some() => self.object(schema, depth),
            // The fixed value of the Python model, for tools and JSON answers apart.
            _ if name == "city" && self.text != "42" => Value::from("Paris"),
            _ => Value::from(self.text),
        }
    }
}

/// The text of a message content: a string, or the texts of its parts joined with a space.
pub(crate) fn text_of(content: &Value) -> Cow<'_, str> {
    match content {
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
            Cow::Owned(texts.collect::<Vec<_>>().join(" "))
        }
        _ => Cow::Borrowed(""),
    }
}

/// The names of the tools in a list, which stand at a JSON pointer in each.
pub(crate) fn names_of<'a>(tools: Option<&'a Value>, at: &str) -> Vec<&'a str> {
    let tools = tools.and_then(Value::as_array).into_iter().flatten();
    tools.filter_map(|tool| tool.pointer(at)?.as_str()).collect()
}

/// The characters of a text.
pub(crate) fn chars_of(content: &Value) -> usize {
    text_of(content).chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(script: &str, last_user: &str) -> Text {
        let prompt = Prompt { last_user: last_user.to_owned(), ..Prompt::default() };
        match answer(&prompt, &Script::parse(script).unwrap()).said {
            Said::Text(text) => text,
            Said::Call { .. } => panic!("no tool was offered"),
        }
    }

    #[test]
    fn chunks_put_together_are_the_text() {
        for script in
            ["", "chunks=5", "chunks=0", "content_bytes=100;chunks=7", "answer=%C3%A9%C3%A9;chunks=5"]
        {
            let text = text(script, "höre  mir zu ");
            assert_eq!(text.chunks().collect::<String>(), text.whole, "{script}");
        }
    }

    #[test]
    fn scripted_texts_are_exact() {
        assert_eq!(text("", "hi").whole, "echo: hi");
        assert_eq!(text("chunks=3", "hi").chunks().collect::<Vec<_>>(), ["tok-0 ", "tok-1 ", "tok-2 "]);
        assert_eq!(text("content_bytes=1000", "").whole.len(), 1000);
        assert_eq!(text("answer=abcd;chunks=2", "").chunks().collect::<Vec<_>>(), ["ab", "cd"]);
        assert_eq!(text("answer=a;chunks=3", "").chunks().count(), 3);
    }

    #[test]
    fn tokens_are_a_quarter_of_the_characters() {
        assert_eq!([0, 1, 4, 5, 8].map(tokens_of), [1, 1, 1, 2, 2]);
    }

    #[test]
    fn schemas_are_filled() {
        let schema = json!({
            "type": "object", "required": ["city", "count", "kind", "nested", "maybe", "loop"],
            "properties": {
                "city": {"type": "string"}, "count": {"type": "integer"}, "kind": {"enum": ["a", "b"]},
                "nested": {"type": "array", "items": {"$ref": "#/$defs/item"}},
                "maybe": {"type": ["boolean", "null"]}, "loop": {"$ref": "#/properties/loop"},
                "optional": {"type": "string"}
            },
            "$defs": {"item": {"type": "object", "properties": {"name": {"type": "string"}}}}
        });
        let expected = json!({
            "city": "Paris", "count": 42, "kind": "a", "nested": [{"name": "value"}], "maybe": true, "loop": null
        });
        assert_eq!(example(&schema, "value"), expected);
        assert_eq!(example(&schema, "42")["city"], "42");
    }
}
