//! The OpenAPI document of everything that is served.
//!
//! Methods, paths and what a caller needs come from the routes themselves; what cannot be read off them is in
//! one file per area. A route that is in none is in the document without an `operationId`, which a test
//! refuses.

mod catalog;
mod configs;
mod endpoints;
mod explain;
mod identity;
mod models;
mod operation;
mod queries;
mod secrets;
mod stored;
mod tokens;
mod usage;
mod workspace;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use http::Method;
use serde_json::{Map, Value, json};

use crate::access::{Needs, Route};
use crate::reply::{Failure, Reply};
use crate::request::Call;
use operation::{Answer, Area, Body, Operation, Param, object, schema, text};

pub(crate) const ROUTES: &[Route] = &[Route {
    method: Method::GET,
    path: "/openapi.json",
    needs: Needs::Nobody,
    handler: |call| Box::pin(get(call)),
}];

/// In the order that tools show them.
const AREAS: &[Area] = &[
    endpoints::AREA,
    queries::AREA,
    stored::AREA,
    models::AREA,
    models::PROBES,
    endpoints::PERMISSIONS,
    endpoints::REVISIONS,
    explain::AREA,
    secrets::AREA,
    workspace::AREA,
    usage::AREA,
    catalog::AREA,
    identity::AREA,
    tokens::AREA,
    tokens::CLIENTS,
    tokens::OAUTH,
    tokens::DISCOVERY,
    queries::HEALTH,
];

/// The media type of bytes of any kind.
const FILE: &str = "application/octet-stream";

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

async fn get(_call: Call) -> Result<Reply, Failure> {
    Reply::json(&*DOCUMENT)
}

/// The whole document.
pub fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tollgate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Names and shapes are Databricks'. What Databricks does not have is marked with \
                x-tollgate-extension, or lies below /api/tollgate/v1. x-tollgate-needs is what a caller must be or have.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"basic": []}],
        "tags": AREAS.iter().map(|a| json!({"name": a.tag, "description": a.description})).collect::<Vec<_>>(),
        "paths": paths(),
        "components": {"securitySchemes": security_schemes(), "responses": error_responses(), "schemas": schemas()},
    })
}

fn security_schemes() -> Value {
    json!({
        "bearer": {"type": "http", "scheme": "bearer", "description": "a personal access token or an OAuth access token"},
        "basic": {"type": "http", "scheme": "basic", "description": "the user `token` with a personal access token"},
    })
}

fn paths() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut add = |method: &str, path: &'static str, operation: Value| {
        let methods = paths.entry(path).or_insert_with(|| path_parameters(path));
        methods.insert(method.to_ascii_lowercase(), operation);
    };
    for route in crate::routes() {
        let found = find(route);
        let path = found.map_or(route.path, |(_, operation)| operation.path);
        let operation = found.map_or_else(|| undescribed(route), |(area, op)| written(area, op, route.needs));
        add(route.method.as_str(), path, operation);
    }
    // What other crates serve.
    for (area, needs) in [
        (&queries::AREA, Needs::Endpoint(policy::Level::Query)),
        (&stored::AREA, Needs::Principal),
        (&models::AREA, Needs::Principal),
        (&models::PROBES, Needs::Nobody),
        (&queries::HEALTH, Needs::Nobody),
    ] {
        for operation in area.operations {
            add(operation.method, operation.path, written(area, operation, needs));
        }
    }
    let paths = paths.into_iter().map(|(path, methods)| (path.to_owned(), Value::Object(methods)));
    Value::Object(paths.collect())
}

fn find(route: &Route) -> Option<(&'static Area, &'static Operation)> {
    AREAS.iter().find_map(|area| Some((area, area.operations.iter().find(|o| is_of(o, route))?)))
}

/// OpenAPI knows no parameter with slashes in it, `{*path}`: it is described as `{path}`.
fn is_of(operation: &Operation, route: &Route) -> bool {
    operation.method == route.method.as_str() && operation.path == route.path.replace("{*", "{")
}

fn undescribed(route: &Route) -> Value {
    json!({"x-tollgate-needs": route.needs.to_string(), "responses": {"default": {"description": "not described"}}})
}

/// The parameters in a path, which all its methods share.
fn path_parameters(path: &str) -> Map<String, Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<Value> = names
        .map(|name| {
            let (kind, description) = match name {
                "name" => ("string", "the name of an endpoint"),
                "entity" => ("string", "the name of a served entity"),
                "number" => ("integer", "the number of a revision"),
                "path" => ("string", "an absolute path, without its first slash"),
                "catalog" => ("string", "the name of a catalog"),
                "schema" => ("string", "<catalog>.<schema>"),
                "table" => ("string", "<catalog>.<schema>.<table>"),
                "version" => ("string", "v1, v1beta or v1beta1"),
                "call" => ("string", "<endpoint>:generateContent, :streamGenerateContent or :countTokens"),
                _ => ("string", "an id"),
            };
            json!({"name": name, "in": "path", "required": true, "description": description, "schema": {"type": kind}})
        })
        .collect();
    if parameters.is_empty() {
        return Map::new();
    }
    Map::from_iter([("parameters".to_owned(), parameters.into())])
}

fn written(area: &Area, operation: &Operation, needs: Needs) -> Value {
    let mut out = json!({"operationId": operation.id, "summary": operation.summary, "tags": [area.tag],
        "x-tollgate-needs": needs.to_string()});
    if !operation.description.is_empty() {
        out["description"] = operation.description.into();
    }
    if operation.path.starts_with("/api/tollgate/") {
        out["x-tollgate-extension"] = true.into();
    }
    if needs == Needs::Nobody {
        out["security"] = json!([]);
    }
    if !operation.query.is_empty() {
        out["parameters"] = operation.query.iter().map(parameter).collect();
    }
    let body = match operation.body {
        Body::None => None,
        Body::Json(name) => Some(("application/json", name)),
        Body::Form(name) => Some(("application/x-www-form-urlencoded", name)),
        Body::File => Some((FILE, "FileContent")),
    };
    if let Some((kind, name)) = body {
        out["requestBody"] = json!({"required": true, "content": {kind: {"schema": schema(name)}}});
    }
    out["responses"] = responses(area, operation, needs);
    out
}

fn parameter(param: &Param) -> Value {
    let Param { name, required, description, kind } = param;
    json!({"name": name, "in": "query", "required": required, "description": description, "schema": {"type": kind}})
}

fn responses(area: &Area, operation: &Operation, needs: Needs) -> Value {
    let json_of = |name: &str| json!({"application/json": {"schema": schema(name)}});
    let content = match operation.answer {
        Answer::None | Answer::Refused => Value::Null,
        Answer::Json(name) => json_of(name),
        Answer::File => json!({FILE: {"schema": schema("FileContent")}}),
        Answer::JsonOrFile(name) => {
            let mut content = json_of(name);
            content[FILE] = json!({"schema": schema("FileContent")});
            content
        }
        Answer::EventStream => json!({"application/vnd.amazon.eventstream": {}}),
        Answer::Text => json!({"text/plain": {"schema": {"type": "string"}}}),
        Answer::Model(name) => {
            let mut content = json_of(name);
            // No schema: the specification does not say whether one is of the text or of an event.
            content["text/event-stream"] = json!({});
            content
        }
    };
    let mut out = Map::new();
    if operation.answer != Answer::Refused {
        let mut good = json!({"description": "done"});
        if !content.is_null() {
            good["content"] = content;
        }
        out.insert(operation.status.to_string(), good);
    }
    for status in errors(area, operation, needs) {
        let name = match area.tag == queries::HEALTH.tag {
            true => "#/components/responses/NotReady".to_owned(),
            false => format!("#/components/responses/{}{status}", area.error),
        };
        out.insert(status.to_string(), json!({"$ref": name}));
    }
    if asks_upstreams(area) {
        // A provider's own status is passed on.
        for range in ["4XX", "5XX"] {
            out.insert(range.to_owned(), json!({"$ref": "#/components/responses/ProviderError"}));
        }
    }
    Value::Object(out)
}

fn asks_upstreams(area: &Area) -> bool {
    [queries::AREA.tag, stored::AREA.tag].contains(&area.tag)
}

/// The errors that an operation can end in. Every body is read with limits, whether it means anything or not.
fn errors(area: &Area, operation: &Operation, needs: Needs) -> BTreeSet<u16> {
    if area.tag == queries::HEALTH.tag {
        return if operation.path == "/readyz" { BTreeSet::from([503]) } else { BTreeSet::new() };
    }
    let mut out = BTreeSet::from([408, 413, 500, 503]);
    if needs != Needs::Nobody {
        out.extend([401, 403]);
    }
    if operation.body != Body::None || !operation.query.is_empty() {
        out.insert(400);
    }
    if matches!(needs, Needs::Endpoint(_) | Needs::EndpointById(_) | Needs::Scope(_) | Needs::Folder) {
        out.insert(404);
    }
    if asks_upstreams(area) {
        out.extend([429, 502, 504]);
    }
    out.extend(operation.errors);
    out
}

const ERRORS: &[(u16, &str)] = &[
    (400, "something in the request is wrong; the message names it"),
    (401, "no credential"),
    (403, "an unknown, revoked or expired token, or one without the permission that is needed"),
    (404, "there is no such object"),
    (408, "the request's body did not arrive in time"),
    (409, "it exists already, or is being changed"),
    (413, "the request's body is too large"),
    (429, "too many calls"),
    (500, "the server made a mistake; its log says more"),
    (501, "not supported"),
    (502, "the provider was not reached, or broke off"),
    (503, "the server's own store is held by somebody else, or there is no room to record a call"),
    (504, "the provider took too long"),
];

fn error_responses() -> Value {
    let mut out = Map::new();
    let response = |description: &str, name: &str| json!({"description": description, "content": {"application/json": {"schema": schema(name)}}});
    let used: BTreeSet<&str> = AREAS.iter().map(|a| a.error).collect();
    for name in used {
        for (status, description) in ERRORS {
            out.insert(format!("{name}{status}"), response(description, name));
        }
    }
    let plain = json!({"text/plain": {"schema": {"type": "string"}}});
    out.insert("NotReady".to_owned(), json!({"description": "not ready", "content": plain}));
    out.insert(
        "ProviderError".to_owned(),
        response("the provider's own error, passed on in `message`", "Error"),
    );
    Value::Object(out)
}

fn schemas() -> Value {
    let error = object(
        &["error_code", "message"],
        [
            ("error_code", text("such as RESOURCE_DOES_NOT_EXIST")),
            ("message", text("what is wrong, and what to do")),
        ],
    );
    let mut out: BTreeMap<&str, Value> = BTreeMap::from([
        ("Error", error),
        ("Empty", json!({"type": "object", "additionalProperties": false})),
        ("Anything", json!({"type": "object"})),
    ]);
    out.extend(AREAS.iter().flat_map(|area| (area.schemas)()));
    out.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_described_that_is_not_a_route() {
        let elsewhere =
            [queries::AREA.tag, stored::AREA.tag, models::AREA.tag, models::PROBES.tag, queries::HEALTH.tag];
        for operation in AREAS.iter().filter(|a| !elsewhere.contains(&a.tag)).flat_map(|a| a.operations) {
            let found = crate::routes().any(|route| is_of(operation, route));
            assert!(found, "no route is {} {}", operation.method, operation.path);
        }
    }
}
