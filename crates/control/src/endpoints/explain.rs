//! `/api/tollgate/v1/explain` and `…/circuits`: what would become of a call, and which upstreams are left
//! alone. Nobody is called and nothing is counted.

use std::sync::Arc;

use policy::identity::Unknown;
use policy::limits::Standing;
use policy::runtime::{CircuitView, Explanation, Question, Ruled, Stop};
use policy::{Endpoint, Level, Principal, PrincipalKind, permit};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use wire::error::ApiError;

use crate::access::no_such_endpoint;
use crate::people::People;
use crate::publish::caught_up;
use crate::reply::{Failure, Reply};
use crate::request::Call;

pub(crate) const PATH: &str = "/api/tollgate/v1/explain";

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    endpoint: String,
    /// User name or application id; the caller where absent.
    principal: Option<String>,
    /// The body of a call of `…/invocations`.
    request: Option<Map<String, Value>>,
}

pub(super) async fn explain(call: Call) -> Result<Reply, Failure> {
    let Asked { endpoint, principal, request } = call.json()?;
    if endpoint.is_empty() {
        return Err(ApiError::invalid("endpoint: is required, the name of a serving endpoint").into());
    }
    let caller = call.caller()?;
    let Named { principal, is_active } = named(&call, caller, principal.as_deref()).await?;
    caught_up(&call.control).await?;
    let found = find(&call, &endpoint)?;
    let request = request.map_or_else(Vec::new, |request| Value::Object(request).to_string().into_bytes());
    let question = Question { principal: Arc::clone(&principal), endpoint: Arc::clone(&found), request };
    let explanation = call.control.inner.explain.explain(question).await;
    let (status, message) = match is_active {
        true => outcome(&found, &principal, &explanation),
        false => (403, Unknown::BadToken.message().to_owned()),
    };
    let level = permit::level(&principal, &found);
    let mut out = json!({
        "endpoint": found.name,
        "principal": {"name": principal.name, "kind": kind(&principal), "groups": principal.groups},
        "permission": {"needs": Level::Query.as_str(), "has": level.map(Level::as_str)},
        "would": {"be_served": status == 200, "status": status, "message": message},
    });
    // How an endpoint is made is for those who may view it.
    if permit::level(caller, &found) >= Some(Level::View) {
        let record = call.control.store().endpoint(&endpoint).await?;
        let guardrails = record.and_then(|record| record.document.ai_gateway?.guardrails);
        out["limits"] = explanation.limits.iter().map(limit).collect();
        let tokens = explanation.tokens;
        out["tokens"] = json!({"least": tokens.least, "expected": tokens.expected, "most": tokens.most});
        out["fallback"] = found.fallback.into();
        out["route"] = explanation.route.iter().map(stop).collect();
        out["guardrails"] = guardrails.unwrap_or_default();
        out["guardrail_verdicts"] = explanation.guards.iter().map(ruled).collect();
    }
    Reply::json(&out)
}

pub(super) async fn circuits(call: Call) -> Result<Reply, Failure> {
    let endpoint = find(&call, call.path("name"))?;
    let views = call.control.inner.explain.circuits(&endpoint);
    let circuits = endpoint.entities.iter().zip(&views).map(|(entity, view)| {
        let mut out = circuit(view);
        out["served_entity_name"] = entity.name.as_ref().into();
        out
    });
    Reply::json(&json!({"circuits": circuits.collect::<Vec<_>>()}))
}

fn find(call: &Call, name: &str) -> Result<Arc<Endpoint>, ApiError> {
    let snapshot = call.control.inner.live.load();
    snapshot.endpoints.get(name).cloned().ok_or_else(|| no_such_endpoint(name))
}

/// Whose call is asked about.
struct Named {
    principal: Arc<Principal>,
    /// The tokens of others are as good as unknown.
    is_active: bool,
}

/// Administrators ask for anybody, others for themselves.
async fn named(call: &Call, caller: &Arc<Principal>, name: Option<&str>) -> Result<Named, Failure> {
    let Some(name) = name.filter(|name| *name != caller.name.as_ref()) else {
        return Ok(Named { principal: Arc::clone(caller), is_active: true });
    };
    let shown: String = name.chars().take(100).collect();
    if !caller.is_admin() {
        let message = format!("{} is not a member of admins and cannot ask for {shown:?}", caller.name);
        return Err(ApiError::denied(message).into());
    }
    let people = People::load(call.control.store()).await?;
    let found = people.principals.iter().find(|principal| principal.name == name);
    let found = found.ok_or_else(|| ApiError::not_found(format!("principal: {shown:?} does not exist")))?;
    Ok(Named { principal: people.effective(found), is_active: found.active })
}

/// Status and sentence of the answer that a call would get.
fn outcome(endpoint: &Endpoint, principal: &Principal, explanation: &Explanation) -> (u16, String) {
    if permit::level(principal, endpoint) < Some(Level::Query) {
        let (who, what) = (&principal.name, &endpoint.name);
        return (403, format!("{who} lacks {} on endpoint {what:?}", Level::Query.as_str()));
    }
    if let Some(refused) = &explanation.refused {
        return refused.clone();
    }
    let first = |stop: &&Stop| endpoint.fallback || stop.traffic_percentage > 0;
    let mut stops = explanation.route.iter().filter(first);
    let unable = |stop: &Stop| stop.cannot.clone();
    match stops.clone().all(|stop| stop.cannot.is_some()) {
        true => {
            (400, stops.find_map(unable).unwrap_or_else(|| "the endpoint has no served entity".to_owned()))
        }
        false => (200, "the first entity that answers".to_owned()),
    }
}

const fn kind(principal: &Principal) -> &'static str {
    match principal.kind {
        PrincipalKind::User => "user",
        PrincipalKind::ServicePrincipal => "service_principal",
    }
}

fn limit(standing: &Standing) -> Value {
    let limit = &standing.limit;
    json!({
        "key": limit.whose.key(),
        "principal": limit.whose.principal(),
        "renewal_period": limit.period.as_str(),
        "report_only": limit.report_only,
        "measure": standing.measure.as_str(),
        "cap": standing.cap,
        "used": standing.used,
        "remaining": standing.remaining(),
        "needs": standing.needs,
        "has_room": standing.has_room(),
        "resets_in_seconds": standing.resets_in.map(|left| left.as_secs_f64()),
    })
}

fn stop(stop: &Stop) -> Value {
    json!({
        "served_entity_name": stop.entity,
        "traffic_percentage": stop.traffic_percentage,
        "circuit": circuit(&stop.circuit),
        "cannot_serve": stop.cannot,
    })
}

fn ruled(ruled: &Ruled) -> Value {
    json!({"guardrail": ruled.guard, "outcome": ruled.outcome, "details": ruled.details})
}

fn circuit(view: &CircuitView) -> Value {
    json!({
        "state": view.state.as_str(),
        "blames": view.blame.map(|blame| blame.as_str()),
        "failures": view.failures,
        "probe_in_seconds": view.probe_in.map(|left| left.as_secs_f64()),
    })
}
