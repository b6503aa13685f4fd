//! The spans of a call: one of the server, and one of the client for each attempt, made from its records.

use journal::inference::{Request, Upstream};
use journal::trace::{SpanId, TraceContext};
use journal::{Admission, Attempt, CountedUsage, Outcome, Provenance, Settlement};

use super::messages::{Span, Status};
use super::names::{
    Attributes, ERROR_TYPE, Names, OPERATION, PROVIDER, REQUEST_MODEL, RESPONSE_MODEL, SERVER_ADDRESS,
    SERVER_PORT,
};

/// Kinds of spans.
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// Flags besides those of the trace: it is known where the parent is, and it is in another process.
const PARENT_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;

const STATUS_ERROR: i32 = 2;

/// Nothing where the call has no place in a trace. `ended_ns` is when it was settled, since the epoch.
pub(super) fn of_call(
    admission: &Admission,
    settlement: &Settlement,
    ended_ns: u64,
    names: Names,
) -> Vec<Span> {
    let (Some(trace), Some(request)) = (&admission.trace, &admission.inference) else { return Vec::new() };
    let call = Call { admission, settlement, trace, request, ended_ns, names };
    let attempts = settlement.attempts.iter().enumerate();
    let clients =
        attempts.filter_map(|(at, attempt)| Some(call.client(at, attempt, attempt.upstream.as_ref()?)));
    std::iter::once(call.server()).chain(clients).collect()
}

/// What `error.type` says of an attempt; `None` for one that went well.
pub(super) fn error_of_attempt(attempt: &Attempt) -> Option<String> {
    match attempt.status {
        Some(status) if status < 400 => None,
        Some(status) => Some(status.to_string()),
        None => Some(attempt.fault.unwrap_or("_OTHER").to_owned()),
    }
}

/// The same of the last attempt, which may have begun its answer well and not ended it.
pub(super) fn error_of_last(attempt: &Attempt, outcome: Outcome) -> Option<String> {
    error_of_attempt(attempt).or_else(|| match outcome {
        Outcome::Completed | Outcome::Refused => None,
        Outcome::Failed => Some("stream".to_owned()),
        Outcome::Cancelled => Some("cancelled".to_owned()),
        Outcome::Aborted => Some("aborted".to_owned()),
    })
}

/// What `error.type` says of the whole call.
pub(super) fn error_of_call(settlement: &Settlement) -> Option<String> {
    match settlement.outcome {
        Outcome::Cancelled => Some("cancelled".to_owned()),
        Outcome::Aborted => Some("aborted".to_owned()),
        Outcome::Failed if settlement.status < 400 => Some("stream".to_owned()),
        _ => (settlement.status >= 400).then(|| settlement.status.to_string()),
    }
}

struct Call<'a> {
    admission: &'a Admission,
    settlement: &'a Settlement,
    trace: &'a TraceContext,
    request: &'a Request,
    ended_ns: u64,
    names: Names,
}

impl Call<'_> {
    fn server(&self) -> Span {
        let (admission, settlement) = (self.admission, self.settlement);
        let mut attributes = Attributes::default();
        attributes.text(OPERATION, self.request.operation);
        attributes.text(REQUEST_MODEL, &*admission.endpoint);
        attributes.text("http.request.method", "POST");
        attributes.integer("http.response.status_code", settlement.status);
        attributes.text("dbx.endpoint.name", &*admission.endpoint);
        attributes.some_text("dbx.served_entity.name", settlement.entity.as_deref());
        attributes.text("dbx.requester.kind", self.request.requester_kind);
        attributes.integer("dbx.config.version", self.request.config_version);
        attributes.text("dbx.request.id", &*admission.request_id.0);
        if let Some(counted) = &settlement.usage {
            attributes.flag("dbx.usage.estimated", counted.provenance == Provenance::Estimated);
        }
        let error = error_of_call(settlement);
        attributes.some_text(ERROR_TYPE, error.as_deref());
        // The convention of HTTP: what the caller did wrong is no error of the server.
        let failed = error.filter(|_| settlement.status >= 500 || settlement.outcome == Outcome::Failed);
        let remote = if self.trace.parent_id.is_some() { PARENT_IS_REMOTE } else { 0 };
        let name = format!("{} {}", self.request.operation, admission.endpoint);
        let span = self.span(name, SERVER, self.trace.span_id, attributes);
        Span {
            parent_span_id: self.trace.parent_id.map_or_else(Vec::new, |parent| parent.0.to_vec()),
            start_time_unix_nano: self.at(0.0),
            end_time_unix_nano: self.ended_ns,
            status: status(failed),
            flags: span.flags | remote,
            ..span
        }
    }

    fn client(&self, at: usize, attempt: &Attempt, upstream: &Upstream) -> Span {
        let is_last = at + 1 == self.settlement.attempts.len();
        let mut attributes = Attributes::default();
        attributes.text(OPERATION, self.request.operation);
        attributes.text(PROVIDER, upstream.provider);
        attributes.text(REQUEST_MODEL, &*upstream.model);
        attributes.text(SERVER_ADDRESS, &*upstream.address);
        attributes.integer(SERVER_PORT, upstream.port);
        self.parameters(&mut attributes);
        attributes.text("dbx.endpoint.name", &*self.admission.endpoint);
        attributes.text("dbx.served_entity.name", &*attempt.entity);
        attributes.integer("dbx.fallback.attempt", at as u64);
        let error = if is_last {
            self.answer(&mut attributes, attempt);
            error_of_last(attempt, self.settlement.outcome)
        } else {
            error_of_attempt(attempt)
        };
        attributes.some_text(ERROR_TYPE, error.as_deref());
        // The records end an attempt with the first event of its stream; the call ends with the last.
        let answered = is_last && attempt.status.is_some_and(|status| status < 400);
        let end = if answered { self.ended_ns } else { self.at(attempt.began_ms + attempt.duration_ms) };
        let name = format!("{} {}", self.request.operation, upstream.model);
        Span {
            parent_span_id: self.trace.span_id.0.to_vec(),
            start_time_unix_nano: self.at(attempt.began_ms),
            end_time_unix_nano: end,
            status: status(error),
            ..self.span(name, CLIENT, upstream.span_id, attributes)
        }
    }

    fn parameters(&self, attributes: &mut Attributes) {
        let request = self.request;
        attributes.some_integer("gen_ai.request.choice.count", request.choices.filter(|count| *count != 1));
        attributes.some_integer("gen_ai.request.max_tokens", request.max_tokens);
        attributes.some_double("gen_ai.request.temperature", request.temperature);
        attributes.some_double("gen_ai.request.top_p", request.top_p);
        match self.names {
            Names::V1_41 => attributes.some_double("gen_ai.request.top_k", request.top_k),
            #[expect(clippy::cast_possible_truncation, reason = "a count; what is no count is cut")]
            Names::Latest => attributes.some_integer("gen_ai.request.top_k", request.top_k.map(|k| k as i64)),
        }
        attributes.some_double("gen_ai.request.frequency_penalty", request.frequency_penalty);
        attributes.some_double("gen_ai.request.presence_penalty", request.presence_penalty);
        attributes.some_integer("gen_ai.request.seed", request.seed);
        attributes.texts("gen_ai.request.stop_sequences", &request.stop_sequences);
        attributes.some_text("gen_ai.output.type", request.output_type);
        if let Some(format) = &request.encoding_format {
            attributes.texts("gen_ai.request.encoding_formats", std::slice::from_ref(format));
        }
        attributes.some_integer("gen_ai.embeddings.dimension.count", request.dimensions);
        if self.admission.stream {
            attributes.flag("gen_ai.request.stream", true);
        }
    }

    fn answer(&self, attributes: &mut Attributes, attempt: &Attempt) {
        if let Some(response) = &self.settlement.response {
            attributes.some_text("gen_ai.response.id", response.id.as_deref());
            attributes.some_text(RESPONSE_MODEL, response.model.as_deref());
            attributes.texts("gen_ai.response.finish_reasons", &response.finish_reasons);
        }
        if self.admission.stream && attempt.status.is_some_and(|status| status < 400) {
            attributes.some_double("gen_ai.response.time_to_first_chunk", Some(attempt.duration_ms / 1e3));
        }
        if let Some(CountedUsage { usage, provenance }) = &self.settlement.usage {
            attributes.integer("gen_ai.usage.input_tokens", usage.prompt_tokens);
            attributes.integer("gen_ai.usage.output_tokens", usage.completion_tokens);
            attributes.some_integer("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens());
            attributes.some_integer(self.names.cache_written(), usage.cache_creation_tokens());
            attributes.some_integer("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens());
            attributes.flag("dbx.usage.estimated", *provenance == Provenance::Estimated);
        }
    }

    fn span(&self, name: String, kind: i32, id: SpanId, attributes: Attributes) -> Span {
        Span {
            trace_id: self.trace.trace_id.0.to_vec(),
            span_id: id.0.to_vec(),
            trace_state: self.trace.state.as_deref().unwrap_or_default().to_owned(),
            name,
            kind,
            attributes: attributes.0,
            flags: PARENT_KNOWN | u32::from(self.trace.sampled),
            ..Span::default()
        }
    }

    /// Since the epoch; `after_ms` is since receipt.
    fn at(&self, after_ms: f64) -> u64 {
        // Durations of calls are far below what a double holds exactly in nanoseconds.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and small"
        )]
        let before = ((self.settlement.duration_ms - after_ms).max(0.0) * 1e6) as u64;
        self.ended_ns.saturating_sub(before)
    }
}

fn status(error: Option<String>) -> Option<Status> {
    error.map(|message| Status { message, code: STATUS_ERROR })
}
