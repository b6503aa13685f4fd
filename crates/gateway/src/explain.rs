//! What would become of a call, said without making it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use policy::Endpoint;
use policy::limits::{Asked as AskedOfLimits, Standing, refusing};
use policy::runtime::{CircuitView, Explain, Explaining, Explanation, Question, Ruled, Stop};
use wire::error::ApiError;
use wire::raw::RawObject;

use crate::call::{Asked, Call};
use crate::error::ServeError;
use crate::{Gateway, dialect, guardrails, limits, probe, upstream};

/// Status and sentence.
type Refusal = (u16, String);

impl Explain for Gateway {
    fn explain(&self, question: Question) -> Explaining<'_> {
        Box::pin(async move {
            let bytes = match question.request.as_slice() {
                [] => probe::shortest(question.endpoint.task),
                given => given,
            };
            match explained(self, &question, bytes).await {
                Ok(explanation) => explanation,
                Err(error) => {
                    Explanation { refused: Some((error.status, error.message)), ..Explanation::default() }
                }
            }
        })
    }

    fn circuits(&self, endpoint: &Endpoint) -> Vec<CircuitView> {
        (0..endpoint.entities.len()).map(|at| circuit(self, endpoint, at)).collect()
    }
}

/// Errors when the request cannot be read, as a call with it would.
async fn explained(gateway: &Gateway, question: &Question, bytes: &[u8]) -> Result<Explanation, ApiError> {
    let body = RawObject::parse(bytes)
        .map_err(|e| ApiError::bad_request(format!("request: it is no JSON object: {e}")))?;
    let (endpoint, headers) = (&question.endpoint, HeaderMap::new());
    let dialect = dialect::unified(endpoint.task);
    let asked = Asked::of_our_own(dialect, &headers, body);
    let principal = Arc::clone(&question.principal);
    let call = Call::read(probe::request_id(), Arc::clone(endpoint), principal, asked)?;
    let asked = limits::asked(gateway, &call, endpoint.limits.of(&call.principal));
    let limits = gateway.inner.limiter.look(&asked).await;
    let route: Vec<Stop> = (0..endpoint.entities.len()).map(|at| stop(gateway, &call, at)).collect();
    // Of a request that nobody sent there is nothing to tell.
    let (guards, blocked) = match question.request.is_empty() {
        true => (Vec::new(), None),
        false => ruled(&call)?,
    };
    let refused = refused(&call, &asked, &limits).or(blocked);
    Ok(Explanation { refused, limits, tokens: asked.tokens, route, guards })
}

/// As the call would be, by a limit.
fn refused(call: &Call<'_>, asked: &AskedOfLimits, standings: &[Standing]) -> Option<Refusal> {
    let error = match asked.applied.iter().find(|applied| applied.limit.is_off_switch()) {
        Some(off) => limits::switched_off(&off.limit).into(),
        None => limits::refusal(&call.endpoint.name, refusing(standings)?),
    };
    Some((error.status(), error.sentence()))
}

/// What the guardrails that need no model do with it, and how the call would be refused by them.
fn ruled(call: &Call<'_>) -> Result<(Vec<Ruled>, Option<Refusal>), ApiError> {
    let (verdicts, blocked) = guardrails::ruled(call)?;
    let ruled = verdicts.into_iter().map(|verdict| Ruled {
        guard: verdict.guard.as_str(),
        outcome: verdict.outcome.as_str(),
        details: verdict.details,
    });
    Ok((ruled.collect(), blocked.map(|error| (error.status(), error.sentence()))))
}

fn stop(gateway: &Gateway, call: &Call<'_>, at: usize) -> Stop {
    let entity = &call.endpoint.entities[at];
    Stop {
        entity: Arc::clone(&entity.name),
        traffic_percentage: entity.weight,
        circuit: circuit(gateway, &call.endpoint, at),
        cannot: upstream::check(call, at).err().as_ref().map(ServeError::sentence),
    }
}

fn circuit(gateway: &Gateway, endpoint: &Endpoint, at: usize) -> CircuitView {
    let (circuit, probe_in) = gateway.inner.circuits.look(endpoint, at);
    CircuitView {
        state: circuit.state(),
        blame: circuit.blame(),
        failures: circuit.failures(),
        probe_in: probe_in.map(Duration::from_millis),
    }
}
