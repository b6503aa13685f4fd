//! Asking the entities of an endpoint, one after the other, until one answers.

use std::collections::VecDeque;
use std::time::Duration;

use policy::circuit::{Gate, State};
use policy::routing;
use wire::error::ApiError;

use crate::attended::Presence;
use crate::call::Call;
use crate::error::ServeError;
use crate::record::Open;
use crate::upstream::{self, Success};
use crate::{Gateway, inference};

/// How often one entity is asked again before it is the next one's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// 0: never.
    pub most: u32,
    /// An upstream that asks to wait longer is not asked again.
    pub longest_wait: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { most: 0, longest_wait: Duration::from_secs(2) }
    }
}

/// Of the first wait; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);

impl Retries {
    /// How long to wait before the retry that comes after `done` others; `None` for no retry. What the
    /// upstream asks for is waited at least; `draw`, 0 to 1, keeps callers from coming back together.
    fn wait(self, done: u32, error: &ServeError, draw: f64) -> Option<Duration> {
        if done >= self.most || !error.allows_fallback() {
            return None;
        }
        let most = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(done)).min(self.longest_wait);
        let asked = error.retry_after().map_or(Duration::ZERO, |s| Duration::from_secs(s.into()));
        (asked <= self.longest_wait).then(|| asked + most.mul_f64(draw))
    }
}

/// Tries the planned entities until one answers or the fault is not theirs. The last failure is what
/// counts; that an entity cannot say what was asked, or has no secret, counts where no other failed.
pub(crate) async fn run(gateway: &Gateway, call: &Call<'_>, open: &mut Open) -> Result<Success, ServeError> {
    let (mut failed, mut refused) = (None, None);
    let mut turns = Turns::new(call);
    while let Some(turn) = turns.next(gateway, call) {
        match ask(gateway, call, open, turn).await {
            Ok(success) => return Ok(success),
            Err(error @ (ServeError::Refused(_) | ServeError::NoSecret { .. })) => {
                refused.get_or_insert(error);
            }
            Err(error) if error.allows_fallback() && !call.is_left() => failed = Some(error),
            Err(error) => return Err(error),
        }
    }
    let none = || ApiError::internal("the endpoint has no served entity").into();
    Err(failed.or(refused).unwrap_or_else(none))
}

/// The entities to try, in order. What one keeps, no other has.
fn plan(call: &Call<'_>) -> Vec<usize> {
    match call.pinned {
        Some(at) => vec![at],
        None => routing::plan(&call.endpoint, fastrand::u32(0..100)).collect(),
    }
}

/// Whose turn it is: the order of the plan, but those whose circuit is open after all others. So nobody is
/// turned away who might have been served.
struct Turns {
    planned: VecDeque<usize>,
    avoided: VecDeque<usize>,
}

/// An entity whose turn it is.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// Which one of the endpoint.
    at: usize,
    /// Whether the call finds out if it is well again.
    is_probe: bool,
}

impl Turns {
    pub(crate) fn new(call: &Call<'_>) -> Self {
        Self { planned: plan(call).into(), avoided: VecDeque::new() }
    }

    fn next(&mut self, gateway: &Gateway, call: &Call<'_>) -> Option<Turn> {
        while let Some(at) = self.planned.pop_front() {
            match gate(gateway, call, at) {
                Gate::Avoid => self.avoided.push_back(at),
                gate => return Some(Turn { at, is_probe: gate == Gate::Probe }),
            }
        }
        Some(Turn { at: self.avoided.pop_front()?, is_probe: false })
    }
}

/// A call that uses nothing finds nothing out: how it ends says nothing of the model.
fn gate(gateway: &Gateway, call: &Call<'_>, at: usize) -> Gate {
    let circuits = &gateway.inner.circuits;
    if !call.dialect.is_free() {
        return circuits.gate(&call.endpoint, at);
    }
    match circuits.look(&call.endpoint, at).0.state() {
        State::Closed => Gate::Ask,
        State::Open | State::HalfOpen => Gate::Avoid,
    }
}

/// Tells the circuit of an entity what came of its turn.
fn report(gateway: &Gateway, call: &Call<'_>, turn: Turn, tried: &Result<Success, ServeError>) {
    let (circuits, endpoint) = (&gateway.inner.circuits, &call.endpoint);
    match tried {
        _ if call.dialect.is_free() => {}
        Ok(_) => circuits.succeeded(endpoint, turn.at),
        // It may have been given up for its length.
        Err(_) if call.is_left() && !turn.is_probe => {}
        Err(_) if call.is_left() => circuits.not_probed(endpoint, turn.at),
        Err(error) if error.blame().is_some() => circuits.failed(endpoint, turn.at, error),
        Err(error) if turn.is_probe && !error.was_asked() => circuits.not_probed(endpoint, turn.at),
        Err(_) => {}
    }
}

/// Asks one entity, and again where that is configured. A probe is one call.
async fn ask(gateway: &Gateway, call: &Call<'_>, open: &mut Open, turn: Turn) -> Result<Success, ServeError> {
    let retries = gateway.inner.config.retries;
    let mut done = 0;
    loop {
        let error = match once(gateway, call, open, turn).await {
            Ok(success) => return Ok(success),
            Err(error) if turn.is_probe || !error.was_asked() || call.is_left() => return Err(error),
            Err(error) => error,
        };
        let Some(wait) = retries.wait(done, &error, fastrand::f64()) else { return Err(error) };
        tokio::time::sleep(wait).await;
        done += 1;
    }
}

async fn once(
    gateway: &Gateway,
    call: &Call<'_>,
    open: &mut Open,
    turn: Turn,
) -> Result<Success, ServeError> {
    let entity = &call.endpoint.entities[turn.at];
    let span = call.trace.as_ref().map(|_| inference::span_id());
    let described = span.filter(|_| open.is_described());
    open.trying(entity, described.map(|span| Box::new(inference::upstream(call, entity, span))));
    let tried = upstream::attempt(gateway, call, turn.at, span).await;
    call.presence.iter().for_each(Presence::rests);
    match &tried {
        Ok(Success { status: None, .. }) => open.not_tried(),
        Ok(success) => open.tried(success.status, None),
        Err(error) if error.was_asked() => open.tried(error.upstream_status(), error.fault()),
        Err(_) => open.not_tried(),
    }
    report(gateway, call, turn, &tried);
    if let Err(error) = &tried
        && error.allows_fallback()
    {
        tracing::warn!(endpoint = %call.endpoint.name, entity = %entity.name, requester = %call.principal.name, request_id = %call.request_id.0,
            error = error.sentence(), "attempt failed");
    }
    tried
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::At;
    use policy::endpoint::{Defaults, Meta, compile};
    use providers::UpstreamError;
    use serde_json::json;

    fn upstream(status: u16, retry_after: Option<u32>) -> ServeError {
        let at = At { provider: "p", entity: "e".into() };
        let error = Box::new(UpstreamError { status, message: String::new(), body: serde_json::Value::Null });
        ServeError::Upstream { at, error, retry_after }
    }

    /// Chi-square of two classes, below 6.63 for p > 0.01.
    #[test]
    fn of_a_hundred_thousand_requests_each_entity_gets_its_share() {
        let entity = |name: &str| {
            json!({"name": name, "external_model": {"name": "m", "provider": "custom", "task": "llm/v1/chat",
                "custom_provider_config": {"custom_provider_url": "http://h", "bearer_token_auth": {"token": "{{secrets/s/k}}"}}}})
        };
        let route = |name: &str, percentage: u32| json!({"served_entity_name": name, "traffic_percentage": percentage});
        let config = json!({"served_entities": [entity("a"), entity("b"), entity("c")],
            "traffic_config": {"routes": [route("a", 80), route("b", 20), route("c", 0)]}});
        let meta = Meta { fallback: true, ..Meta::default() };
        let config = serde_json::from_value(config).unwrap();
        let endpoint =
            compile(meta, &config, &Defaults::default(), &|_| Some("k".to_owned().into())).unwrap().endpoint;
        fastrand::seed(20_261_127);
        let mut counts = [0_u32; 3];
        for _ in 0..100_000 {
            let mut plan = routing::plan(&endpoint, fastrand::u32(0..100));
            counts[plan.next().unwrap()] += 1;
            assert_eq!(plan.last(), Some(2), "what has no share is the last resort");
        }
        let off = |count: u32, share: f64| (f64::from(count) - share).powi(2) / share;
        let chi_square = off(counts[0], 80_000.0) + off(counts[1], 20_000.0);
        assert!(chi_square < 6.63 && counts[2] == 0, "{chi_square} of {counts:?}");
    }

    #[test]
    fn a_retry_waits_as_long_as_the_upstream_says_and_a_little_more() {
        let retries = Retries { most: 3, longest_wait: Duration::from_secs(2) };
        let ms =
            |done, error: &ServeError, draw| retries.wait(done, error, draw).map(|wait| wait.as_millis());
        let busy = upstream(503, None);
        assert_eq!([0, 1, 2, 3].map(|done| ms(done, &busy, 1.0)), [Some(100), Some(200), Some(400), None]);
        assert_eq!(ms(0, &busy, 0.0), Some(0));
        assert_eq!(ms(0, &upstream(429, Some(2)), 0.5), Some(2_050));
        assert_eq!(ms(0, &upstream(429, Some(3)), 0.5), None);
        assert_eq!(ms(0, &upstream(400, None), 0.5), None);
        assert_eq!(Retries::default().wait(0, &busy, 0.5), None);
    }
}
