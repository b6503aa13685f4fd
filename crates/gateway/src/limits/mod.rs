//! Limits of use: what a call may take is asked for before it, and settled when it is over.

mod bound;
mod headers;
mod learned;
mod memory;
mod refusal;

use std::sync::Arc;

use journal::{CountedUsage, LimitHit, Outcome};
use policy::limits::{Applied, Asked, Hold, Limit, Limiter, Measure, Standing, Tokens, Verdict};

use crate::Gateway;
use crate::call::Call;
use crate::error::ServeError;
use crate::record::Open;

pub(crate) use headers::RateLimitHeaders;
pub(crate) use learned::Learned;
pub use memory::MemoryLimiter;
pub(crate) use refusal::{refusal, switched_off};

/// Errors when a limit of the endpoint has no room for the call. What is taken is given back when `open`
/// is settled.
pub(crate) async fn take(gateway: &Gateway, call: &Call<'_>, open: &mut Open) -> Result<(), ServeError> {
    let applied = call.endpoint.limits.of(&call.principal);
    if applied.is_empty() {
        return Ok(());
    }
    if let Some(off) = applied.iter().find(|applied| applied.limit.is_off_switch()) {
        let measure = if off.limit.calls == Some(0) { Measure::Calls } else { Measure::Tokens };
        open.limited(&hit(&off.limit, measure));
        return Err(switched_off(&off.limit).into());
    }
    let inner = &gateway.inner;
    match inner.limiter.admit(&asked(gateway, call, applied)).await {
        Verdict::Admitted { hold, standings, reported } => {
            reported.iter().for_each(|standing| open.limited(&hit(&standing.limit, standing.measure)));
            let learned = Arc::clone(&inner.learned);
            open.reserve(Reserved { limiter: Arc::clone(&inner.limiter), hold, learned });
            open.stand(RateLimitHeaders::of(&standings));
            Ok(())
        }
        Verdict::Refused { by, standings } => {
            open.limited(&hit(&by.limit, by.measure));
            open.stand(RateLimitHeaders::of(&standings));
            Err(refusal(&call.endpoint.name, &by))
        }
    }
}

/// What `call` asks of the limiter.
pub(crate) fn asked(gateway: &Gateway, call: &Call<'_>, applied: Vec<Applied>) -> Asked {
    let endpoint_id = Arc::clone(&call.endpoint.id);
    let tokens = match applied.iter().any(|applied| applied.limit.tokens.is_some()) {
        true => bound::tokens(call, gateway.inner.learned.expected(&endpoint_id)),
        false => Tokens::default(),
    };
    Asked { endpoint_id, applied, tokens }
}

/// Tokens that the answer to `call` is taken to have while it is made and nobody sees it: as many as the request
/// allows, or as are usual on the endpoint.
pub(crate) fn unseen_answer(gateway: &Gateway, call: &Call<'_>) -> u64 {
    bound::unseen(&call.body, gateway.inner.learned.expected(&call.endpoint.id))
}

fn hit(limit: &Limit, measure: Measure) -> LimitHit {
    LimitHit {
        key: limit.whose.key(),
        principal: limit.whose.principal().map(Into::into),
        measure: measure.as_str(),
        refused: !limit.report_only,
    }
}

/// What a call has taken from the limits.
pub(crate) struct Reserved {
    limiter: Arc<dyn Limiter>,
    hold: Hold,
    learned: Arc<Learned>,
}

impl Reserved {
    /// A call without usage used nothing, and its tokens are free again.
    pub(crate) fn settle(self, usage: Option<&CountedUsage>, outcome: Outcome) {
        let tokens = usage.map(CountedUsage::tokens);
        if let Some(tokens) = tokens.filter(|_| outcome == Outcome::Completed) {
            self.learned.push(&self.hold.endpoint_id, tokens.output());
        }
        self.limiter.settle(self.hold, tokens.map_or(0, |tokens| tokens.total()));
    }
}

/// The standing of `measure` with the least room, of the limits that refuse.
fn tightest(standings: &[Standing], measure: Measure) -> Option<&Standing> {
    let refusing = standings.iter().filter(|s| s.measure == measure && !s.limit.report_only);
    refusing.min_by_key(|standing| standing.remaining())
}
