//! Responses by their ids: each is asked of the entity that keeps it.

use std::sync::Arc;
use std::time::Instant;

use axum::response::Response;
use bytes::Bytes;
use http::Method;
use http::request::Parts;
use wire::error::ApiError;
use wire::raw::RawObject;

use super::responses::RESPONSES;
use crate::call::{Call, Kept};
use crate::capture::Capture;
use crate::dialect::StoredResponses;
use crate::error::ServeError;
use crate::guardrails::Guards;
use crate::pipeline::{admit, authenticate, permit_query, recorded, request_id};
use crate::record::Known;
use crate::{Gateway, stored, tags};

/// What is asked of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Itself,
    InputItems,
    Cancel,
}

impl Part {
    const fn path(self) -> &'static str {
        match self {
            Self::Itself => "",
            Self::InputItems => "/input_items",
            Self::Cancel => "/cancel",
        }
    }
}

/// Parameters of the query that go on; in some of them is the id of an item.
const PARAMETERS: [&str; 9] = [
    "include",
    "include[]",
    "include_obfuscation",
    "starting_after",
    "stream",
    "after",
    "before",
    "limit",
    "order",
];
const ITEMS: [&str; 2] = ["after", "before"];

pub(super) async fn answer(gateway: &Gateway, part: Part, id: &str, parts: &Parts) -> Response {
    match run(gateway, part, id, parts).await {
        Ok(response) => response,
        Err(error) => RESPONSES.shape.respond(&error),
    }
}

async fn run(gateway: &Gateway, part: Part, id: &str, parts: &Parts) -> Result<Response, ServeError> {
    let started = Instant::now();
    let snapshot = Arc::clone(&gateway.inner.live.load());
    let principal = authenticate(&snapshot, &RESPONSES, parts)?;
    let (endpoint, held) = stored::endpoint(&snapshot, id)?;
    let item = |id: &str| match stored::item(snapshot.id_key.as_ref(), &endpoint, id) {
        Some(item) if item.entity == held.entity => Ok(item.id),
        _ => Err(ApiError::bad_request(format!("{id:?} is no item of this response"))),
    };
    let given = parts.uri.query().unwrap_or_default();
    let stream = parts.method == Method::GET
        && form_urlencoded::parse(given.as_bytes()).any(|(name, value)| name == "stream" && value == "true");
    let path = format!("/{}{}", held.id, part.path());
    let request_id = request_id(&parts.extensions);
    let nothing = RawObject::default();
    let known = Known {
        request_id: &request_id,
        endpoint: &endpoint,
        principal: &principal,
        parts,
        body: &nothing,
        streams: Some(stream),
        counts: true,
    };
    let open = admit(gateway, &known, |limit| Capture::new(&Bytes::new(), limit), started)?;
    let permitted =
        permit_query(&principal, &endpoint).and_then(|()| tags::check_request_tags(&parts.headers));
    let call = permitted.and_then(|()| query(given, &item)).map(|query| Call {
        request_id,
        endpoint: endpoint.clone(),
        principal: principal.clone(),
        body: RawObject::default(),
        stream,
        dialect: &StoredResponses,
        headers: &parts.headers,
        query: None,
        // It has no span that could be a parent.
        trace: None,
        pinned: Some(held.entity),
        kept: Some(Kept { method: parts.method.clone(), path, query }),
        id_key: snapshot.id_key.clone(),
        characters: 0,
        presence: None,
    });
    let guards = Guards { gateway, snapshot: &snapshot, path: parts.uri.path() };
    Ok(recorded(&guards, &RESPONSES, call, open).await)
}

/// What of the query goes on, with the entity's own ids.
fn query(given: &str, item: &dyn Fn(&str) -> Result<String, ApiError>) -> Result<String, ApiError> {
    let mut out = form_urlencoded::Serializer::new(String::new());
    let known =
        form_urlencoded::parse(given.as_bytes()).filter(|(name, _)| PARAMETERS.contains(&name.as_ref()));
    for (name, value) in known {
        if ITEMS.contains(&name.as_ref()) {
            out.append_pair(&name, &item(&value)?);
        } else {
            out.append_pair(&name, &value);
        }
    }
    Ok(out.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_belongs_to_responses_goes_on() {
        let item =
            |id: &str| if id == "ours" { Ok("own".to_owned()) } else { Err(ApiError::bad_request("no")) };
        let given = "limit=2&api_key=secret&after=ours&include[]=reasoning.encrypted_content&x=1";
        assert_eq!(
            query(given, &item).unwrap(),
            "limit=2&after=own&include%5B%5D=reasoning.encrypted_content"
        );
        assert!(query("before=other", &item).is_err());
        assert_eq!(query("", &item).unwrap(), "");
    }
}
