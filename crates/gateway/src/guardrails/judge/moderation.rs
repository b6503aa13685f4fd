//! A moderation API as OpenAI has it: `POST …/moderations` with `input`, answered with `results`.

use http::Request;
use http::header::AUTHORIZATION;
use policy::guardrails::Moderation;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::Judged;
use crate::Gateway;
use crate::guardrails::remote;

pub(super) async fn ask(gateway: &Gateway, api: &Moderation, text: &str) -> Result<Judged, String> {
    let mut body = json!({ "input": text });
    if let Some(model) = &api.model {
        body["model"] = model.as_str().into();
    }
    let mut request = Request::post(api.uri.clone());
    if let Some(token) = &api.token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
    }
    let answer = remote::post(gateway, "the moderation API", request, &body).await?;
    let results = answer["results"].as_array().filter(|results| !results.is_empty());
    let results = results.ok_or("the moderation API's answer has no results")?;
    let mut judged = Judged::default();
    for result in results {
        judged.flagged |= result["flagged"]
            .as_bool()
            .ok_or("a result of the moderation API says not whether it is flagged")?;
        let flags = result["categories"].as_object().into_iter().flatten();
        judged
            .categories
            .extend(flags.filter(|(_, flag)| **flag == Value::Bool(true)).map(|(name, _)| name.clone()));
    }
    judged.told.clone_from(&judged.categories);
    Ok(judged)
}
