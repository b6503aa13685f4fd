//! Which trace a request belongs to: the caller's, or one that begins here.

use http::HeaderMap;
use journal::trace::{Caller, SpanId, TraceContext, TraceId};

use crate::config::Sampler;

/// `sampler` is `None` where no spans are sent.
pub(crate) fn of_request(headers: &HeaderMap, sampler: Option<Sampler>) -> TraceContext {
    let lines = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
    let caller = Caller::read(lines("traceparent"), lines("tracestate"));
    let new = || TraceId(fastrand::u128(1..).to_be_bytes());
    let trace_id = caller.as_ref().map_or_else(new, |caller| caller.trace_id);
    let told = caller.as_ref().map(|caller| caller.sampled);
    let sampled = match sampler {
        Some(sampler) => decide(sampler, told, trace_id),
        None => told.unwrap_or(false),
    };
    TraceContext {
        trace_id,
        span_id: SpanId(fastrand::u64(1..).to_be_bytes()),
        parent_id: caller.as_ref().map(|caller| caller.parent_id),
        sampled,
        state: caller.and_then(|caller| caller.state),
    }
}

/// By the lowest 56 bits of the id, which are random in every id, so that all who sample the same share of
/// traces sample the same traces.
fn decide(sampler: Sampler, told: Option<bool>, trace_id: TraceId) -> bool {
    if let (true, Some(told)) = (sampler.parent_based, told) {
        return told;
    }
    let [.., a, b, c, d, e, f, g] = trace_id.0;
    let random = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
    // Not negative, and at most 2^56, which a double holds.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 2^56")]
    let rejected = ((1.0 - sampler.ratio) * (1_u64 << 56) as f64) as u64;
    random >= rejected
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    const ALWAYS: Sampler = Sampler { parent_based: true, ratio: 1.0 };

    fn of(lines: &[(&'static str, &'static str)], sampler: Option<Sampler>) -> TraceContext {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        of_request(&headers, sampler)
    }

    #[test]
    fn a_caller_s_trace_goes_on_and_its_decision_counts() {
        let context =
            of(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")], Some(ALWAYS));
        assert_eq!(context.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.parent_id.unwrap().to_string(), "00f067aa0ba902b7");
        assert_eq!(context.state.as_deref(), Some("a=1,b=2"));
        assert!(!context.sampled);
        let own = Sampler { parent_based: false, ..ALWAYS };
        assert!(of(&[("traceparent", PARENT)], Some(own)).sampled);
    }

    #[test]
    fn what_is_no_trace_begins_one() {
        for lines in [&[][..], &[("traceparent", "oops"), ("tracestate", "a=1")]] {
            let context = of(lines, Some(ALWAYS));
            assert_ne!(context.trace_id.0, [0; 16]);
            assert_eq!((context.parent_id, context.state.as_deref(), context.sampled), (None, None, true));
        }
        assert!(!of(&[], None).sampled);
    }

    #[test]
    fn about_the_share_is_sampled_that_is_asked_for() {
        let quarter = Sampler { parent_based: true, ratio: 0.25 };
        let ids = (0..4000).map(|_| of(&[], None).trace_id);
        let sampled = ids.filter(|id| decide(quarter, None, *id)).count();
        assert!((800..1200).contains(&sampled), "{sampled}");
        let never = Sampler { ratio: 0.0, ..quarter };
        assert!(!decide(never, None, TraceId([0xff; 16])) && decide(ALWAYS, None, TraceId([0; 16])));
    }
}
