//! How an operation is written down: what cannot be read off its route.

use serde_json::{Value, json};

/// One operation. Its method and path are those of a route; which errors it can end in follows from what the
/// route needs, and from `errors`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    pub(super) query: &'static [Param],
    pub(super) body: Body,
    pub(super) status: u16,
    pub(super) answer: Answer,
    pub(super) errors: &'static [u16],
}

/// A parameter of the query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) description: &'static str,
    /// The type in the sense of JSON schema.
    pub(super) kind: &'static str,
}

/// The name of a schema, where there is a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    None,
    Json(&'static str),
    Form(&'static str),
    /// Bytes of any kind.
    File,
}

/// What is answered where nothing goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing: the status says it.
    None,
    /// The name of a schema.
    Json(&'static str),
    Text,
    /// Bytes of any kind.
    File,
    /// The name of a schema, or bytes, as the query says.
    JsonOrFile(&'static str),
    /// The schema of the whole answer; a stream of events when that was asked for.
    Model(&'static str),
    /// AWS's binary stream of events.
    EventStream,
    /// There is no such answer: the route says why not, with the status in `errors`.
    Refused,
}

impl Operation {
    pub(super) const fn new(
        method: &'static str,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
    ) -> Self {
        let (body, answer) = (Body::None, Answer::Json("Empty"));
        Self {
            method,
            path,
            id,
            summary,
            description: "",
            query: &[],
            body,
            status: 200,
            answer,
            errors: &[],
        }
    }

    pub(super) const fn says(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    pub(super) const fn query(mut self, query: &'static [Param]) -> Self {
        self.query = query;
        self
    }

    /// Takes a JSON body of this schema.
    pub(super) const fn takes(mut self, schema: &'static str) -> Self {
        self.body = Body::Json(schema);
        self
    }

    pub(super) const fn takes_form(mut self, schema: &'static str) -> Self {
        self.body = Body::Form(schema);
        self
    }

    /// Takes the bytes of a file.
    pub(super) const fn takes_file(mut self) -> Self {
        self.body = Body::File;
        self
    }

    /// Answers with this schema.
    pub(super) const fn gives(mut self, schema: &'static str) -> Self {
        self.answer = Answer::Json(schema);
        self
    }

    pub(super) const fn answers(mut self, status: u16, answer: Answer) -> Self {
        self.status = status;
        self.answer = answer;
        self
    }

    /// Errors that do not follow from what the route needs.
    pub(super) const fn fails(mut self, errors: &'static [u16]) -> Self {
        self.errors = errors;
        self
    }
}

pub(super) const fn required(name: &'static str, description: &'static str) -> Param {
    Param { name, required: true, description, kind: "string" }
}

pub(super) const fn optional(name: &'static str, description: &'static str) -> Param {
    Param { name, required: false, description, kind: "string" }
}

pub(super) const fn number(name: &'static str, description: &'static str) -> Param {
    Param { name, required: false, description, kind: "integer" }
}

/// Operations that belong together.
pub(super) struct Area {
    pub(super) tag: &'static str,
    pub(super) description: &'static str,
    /// The schema of its errors.
    pub(super) error: &'static str,
    pub(super) operations: &'static [Operation],
    pub(super) schemas: fn() -> Vec<(&'static str, Value)>,
}

pub(super) fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

pub(super) fn integer(description: &str) -> Value {
    json!({"type": "integer", "description": description})
}

/// Milliseconds since the epoch.
pub(super) fn timestamp(description: &str) -> Value {
    json!({"type": "integer", "format": "int64", "description": format!("{description}, in milliseconds since the epoch")})
}

pub(super) fn boolean(description: &str) -> Value {
    json!({"type": "boolean", "description": description})
}

pub(super) fn one_of(values: &[&str], description: &str) -> Value {
    json!({"type": "string", "enum": values, "description": description})
}

/// Any JSON value: kept and given back as it came.
pub(super) fn anything(description: &str) -> Value {
    json!({"description": description})
}

pub(super) fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

pub(super) fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// An object with these fields. Others may be there: unknown fields of requests are ignored.
pub(super) fn object<const N: usize>(required: &[&str], fields: [(&str, Value); N]) -> Value {
    let properties: serde_json::Map<String, Value> =
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    if required.is_empty() {
        return json!({"type": "object", "properties": properties});
    }
    json!({"type": "object", "required": required, "properties": properties})
}

/// `value`, marked as something that Databricks does not have.
pub(super) fn extension(mut value: Value) -> Value {
    value["x-tollgate-extension"] = true.into();
    value
}
