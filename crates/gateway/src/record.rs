//! The two records of a request. The settlement is written exactly once: by whoever ends the request, or,
//! when the client leaves and everything is dropped, by the drop.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::request::Parts;
use journal::audit::Peer;
use journal::trace::TraceContext;
use journal::{
    Admission, Attempt, CountedUsage, Durable, Full, GuardVerdict, LimitHit, Outcome, RecordSink, RequestId,
    RequesterKind, Settlement, inference,
};
use policy::identity::PrincipalKind;
use policy::{Endpoint, Entity, Principal, estimate};
use wire::cost::Cost;
use wire::raw::RawObject;

use crate::call::Call;
use crate::capture::Capture;
use crate::error::ServeError;
use crate::estimate::Lengths;
use crate::limits::{RateLimitHeaders, Reserved};
use crate::shape::Shape;
use crate::{clock, tags};

/// Characters that are kept of a user agent.
const MAX_USER_AGENT: usize = 200;

/// Characters that are kept of a path: longer than that of any route.
const MAX_PATH: usize = 1024;

/// A request on an endpoint that there is, of somebody who is known.
pub(crate) struct Known<'a> {
    pub(crate) request_id: &'a RequestId,
    pub(crate) endpoint: &'a Arc<Endpoint>,
    pub(crate) principal: &'a Principal,
    pub(crate) parts: &'a Parts,
    pub(crate) body: &'a RawObject<'a>,
    /// Where it is the path that says so.
    pub(crate) streams: Option<bool>,
    /// Whether only the length of the prompt is asked for, which uses nothing.
    pub(crate) counts: bool,
}

impl Known<'_> {
    fn admission(&self) -> Admission {
        let Self { endpoint, principal, parts, body, .. } = self;
        // What is asked in a way that cannot be read is refused later, and recorded all the same.
        let streams = || body.get("stream").ok().flatten();
        let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        let characters = (!self.counts).then(|| Lengths::of_request(body).prompt);
        Admission {
            request_id: self.request_id.clone(),
            received_at: journal::clock::record_ms(),
            endpoint: Arc::clone(&endpoint.name),
            endpoint_id: Arc::clone(&endpoint.id),
            config_version: endpoint.config_version,
            requester: Arc::clone(&principal.name),
            groups: principal.groups.clone(),
            requester_kind: match principal.kind {
                PrincipalKind::User => RequesterKind::User,
                PrincipalKind::ServicePrincipal => RequesterKind::ServicePrincipal,
            },
            stream: self.streams.or_else(streams).unwrap_or(false),
            client_request_id: body.get("client_request_id").ok().flatten().and_then(tags::kept_id),
            made_for: None,
            usage_context: tags::kept(body.get("usage_context").ok().flatten().unwrap_or_default()),
            request_tags: tags::kept(tags::request_tags(&parts.headers).unwrap_or_default()),
            path: parts.uri.path().chars().take(MAX_PATH).collect(),
            ip: parts.extensions.get::<Peer>().map(|peer| peer.0),
            user_agent: agent.map(|agent| agent.chars().take(MAX_USER_AGENT).collect()),
            usage_tracking: endpoint.accounting.usage_tracking,
            payload_table: endpoint.accounting.payload_table.clone(),
            input_characters: characters,
            estimated_input_tokens: characters.map(estimate::tokens),
            trace: parts.extensions.get::<TraceContext>().cloned(),
            inference: None,
        }
    }
}

/// An admitted request that is not settled yet. Kept in a box: it is large, and goes from hand to hand.
pub(crate) struct Open {
    sink: Arc<dyn RecordSink>,
    admission: Admission,
    started: Instant,
    first_byte: Option<Instant>,
    attempts: Vec<Attempt>,
    /// The attempt that is under way, and since when.
    trying: Option<Trying>,
    entity: Option<Arc<str>>,
    model: Option<String>,
    provider: Option<&'static str>,
    usage: Option<CountedUsage>,
    /// What it took from limits.
    reserved: Option<Reserved>,
    stands: RateLimitHeaders,
    bytes_out: u64,
    content_type: Option<&'static str>,
    output_characters: Option<u64>,
    guards: Vec<GuardVerdict>,
    /// Where the endpoint's bodies are kept.
    capture: Option<Capture>,
    response: Option<Box<inference::Response>>,
    settled: bool,
    endpoint: Arc<Endpoint>,
}

struct Trying {
    entity: Arc<str>,
    since: Instant,
    /// Milliseconds since the epoch.
    started_at: i64,
    upstream: Option<Box<inference::Upstream>>,
}

impl Open {
    /// Errors when there is no room for its record: then it must not go on.
    pub(crate) fn admit(
        sink: Arc<dyn RecordSink>,
        known: &Known<'_>,
        capture: impl FnOnce() -> Capture,
        started: Instant,
    ) -> Result<Box<Self>, Full> {
        let admission = known.admission();
        sink.admit(&admission)?;
        let capture = admission.payload_table.is_some().then(capture);
        Ok(Self::admitted(sink, admission, capture, started, known.endpoint))
    }

    /// A call to `endpoint` that is made for this one and that no client sent, on record for itself: its tokens
    /// are the requester's as well. Its bodies are in no table: they are those of this one. Errors as
    /// [`Open::admit`] does.
    pub(crate) fn made_for(
        &self,
        request_id: &RequestId,
        endpoint: &Arc<Endpoint>,
        body: &RawObject<'_>,
    ) -> Result<Box<Self>, Full> {
        let this = &self.admission;
        let characters = Lengths::of_request(body).prompt;
        let admission = Admission {
            request_id: request_id.clone(),
            received_at: journal::clock::record_ms(),
            endpoint: Arc::clone(&endpoint.name),
            endpoint_id: Arc::clone(&endpoint.id),
            config_version: endpoint.config_version,
            requester: Arc::clone(&this.requester),
            groups: this.groups.clone(),
            requester_kind: this.requester_kind,
            stream: false,
            client_request_id: Some(this.request_id.0.to_string()),
            made_for: Some(this.request_id.clone()),
            usage_context: this.usage_context.clone(),
            request_tags: this.request_tags.clone(),
            path: this.path.clone(),
            ip: this.ip,
            user_agent: this.user_agent.clone(),
            usage_tracking: endpoint.accounting.usage_tracking,
            payload_table: None,
            input_characters: Some(characters),
            estimated_input_tokens: Some(estimate::tokens(characters)),
            trace: None,
            inference: None,
        };
        let sink = Arc::clone(&self.sink);
        sink.admit(&admission)?;
        Ok(Self::admitted(sink, admission, None, Instant::now(), endpoint))
    }

    fn admitted(
        sink: Arc<dyn RecordSink>,
        admission: Admission,
        capture: Option<Capture>,
        started: Instant,
        endpoint: &Arc<Endpoint>,
    ) -> Box<Self> {
        Box::new(Self {
            sink,
            admission,
            started,
            first_byte: None,
            attempts: Vec::with_capacity(1),
            trying: None,
            entity: None,
            model: None,
            provider: None,
            usage: None,
            reserved: None,
            stands: RateLimitHeaders::default(),
            bytes_out: 0,
            content_type: None,
            output_characters: None,
            guards: Vec::new(),
            capture,
            response: None,
            settled: false,
            endpoint: Arc::clone(endpoint),
        })
    }

    /// What is asked, for those who want to know.
    pub(crate) fn describe(&mut self, request: Box<inference::Request>) {
        self.admission.inference = Some(request);
    }

    /// Characters of what is asked, where they are counted.
    pub(crate) fn characters(&self) -> Option<u64> {
        self.admission.input_characters
    }

    /// What is to be waited for before the client gets its last byte.
    pub(crate) fn durable(&self) -> Option<Durable> {
        self.sink.durable()
    }

    /// An attempt begins: from here on it is on record, also when the client does not wait for its end.
    pub(crate) fn trying(&mut self, entity: &Entity, upstream: Option<Box<inference::Upstream>>) {
        self.entity = Some(Arc::clone(&entity.name));
        self.model = Some(entity.model.clone());
        self.provider = Some(entity.provider_name);
        let (since, started_at) = (Instant::now(), clock::now_ms());
        self.trying = Some(Trying { entity: Arc::clone(&entity.name), since, started_at, upstream });
    }

    /// The attempt ended; `status` is the upstream's, if it answered.
    pub(crate) fn tried(&mut self, status: Option<u16>, fault: Option<&'static str>) {
        if let Some(Trying { entity, since, started_at, upstream }) = self.trying.take() {
            let began_ms = since.duration_since(self.started).as_secs_f64() * 1e3;
            let duration_ms = ms(since);
            self.attempts.push(Attempt {
                entity,
                started_at,
                status,
                duration_ms,
                began_ms,
                fault,
                upstream,
            });
        }
    }

    /// Whether somebody wants to know what the answer says of itself.
    pub(crate) fn is_described(&self) -> bool {
        self.admission.inference.is_some()
    }

    pub(crate) fn answered(&mut self, response: inference::Response) {
        self.response = Some(Box::new(response));
    }

    /// There was nothing to try: no upstream was called. Which one it would have been stays known.
    pub(crate) fn not_tried(&mut self) {
        self.trying = None;
    }

    /// It went over a limit, of those that refuse or of those that only report.
    pub(crate) fn limited(&self, hit: &LimitHit) {
        self.sink.limited(&self.admission, hit);
    }

    /// What it took from limits is given back when it is settled.
    pub(crate) fn reserve(&mut self, reserved: Reserved) {
        self.reserved = Some(reserved);
    }

    pub(crate) fn stand(&mut self, headers: RateLimitHeaders) {
        self.stands = headers;
    }

    /// How the caller stands after it.
    pub(crate) fn stands(&mut self) -> RateLimitHeaders {
        std::mem::take(&mut self.stands)
    }

    /// There is a whole answer.
    pub(crate) fn describe_answer(&mut self, answer: &Bytes) {
        if self.is_described() {
            self.answered(crate::inference::response(answer));
        }
    }

    /// What a whole answer used, and how many characters the model wrote.
    pub(crate) fn used(&mut self, usage: Option<Box<CountedUsage>>, written: Option<u64>) {
        usage.into_iter().for_each(|usage| self.count(*usage));
        written.into_iter().for_each(|written| self.wrote(written));
    }

    pub(crate) fn count(&mut self, usage: CountedUsage) {
        self.usage = Some(usage);
    }

    /// Characters that the model wrote.
    pub(crate) fn wrote(&mut self, characters: u64) {
        self.output_characters = Some(characters);
    }

    /// What kind of content the client is told that it gets.
    pub(crate) fn tells(&mut self, content_type: &'static str) {
        self.content_type = content_type.split(';').next();
    }

    /// What guardrails said.
    pub(crate) fn guarded(&mut self, verdicts: Vec<GuardVerdict>) {
        self.guards.extend(verdicts);
    }

    /// A piece of the answer goes out.
    pub(crate) fn sent(&mut self, piece: &[u8]) {
        if let Some(capture) = &mut self.capture {
            capture.piece(piece);
        }
        self.goes_out(piece.len());
    }

    /// The whole answer goes out.
    pub(crate) fn sent_whole(&mut self, answer: &Bytes) {
        if let Some(capture) = &mut self.capture {
            capture.whole(answer);
        }
        self.goes_out(answer.len());
    }

    fn goes_out(&mut self, bytes: usize) {
        self.first_byte.get_or_insert_with(Instant::now);
        self.bytes_out += bytes as u64;
    }

    /// The call ends with an error, told in `shape`, before anything went out.
    pub(crate) fn refuse(&mut self, error: &ServeError, shape: Shape) {
        if let Some(capture) = &mut self.capture {
            capture.whole(&shape.body(error).to_string().into());
        }
        self.tells("application/json");
        self.end(error);
    }

    /// There is no answer.
    pub(crate) fn end(&mut self, error: &ServeError) {
        let outcome = if error.was_asked() { Outcome::Failed } else { Outcome::Refused };
        self.settle(outcome, error.status());
    }

    fn cost(&self) -> Option<Cost> {
        let entity =
            self.endpoint.entities.iter().find(|entity| Some(&entity.name) == self.entity.as_ref())?;
        entity.prices.as_ref()?.cost(&self.usage.as_ref()?.tokens(), self.admission.received_at)
    }

    pub(crate) fn settle(&mut self, outcome: Outcome, status: u16) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        self.tried(None, Some("cancelled"));
        if let Some(reserved) = self.reserved.take() {
            reserved.settle(self.usage.as_ref(), outcome);
        }
        let settlement = Settlement {
            outcome,
            status,
            cost: self.cost(),
            entity: self.entity.take(),
            model: self.model.take(),
            provider: self.provider.map(str::to_owned),
            attempts: std::mem::take(&mut self.attempts),
            usage: self.usage.take(),
            duration_ms: ms(self.started),
            first_byte_ms: self.first_byte.map(|at| at.duration_since(self.started).as_secs_f64() * 1e3),
            bytes_out: self.bytes_out,
            content_type: self.content_type.map(str::to_owned),
            output_characters: self.output_characters,
            guards: std::mem::take(&mut self.guards),
            payload: self.capture.take().map(|capture| Box::new(capture.payload())),
            response: self.response.take(),
        };
        self.sink.settle(&self.admission, &settlement);
    }
}

/// The time in which an attempt may be under way. A client that leaves in it has had its prompt sent, and
/// no provider will tell what that cost: it is estimated then, and only then. Counting tokens costs nothing.
pub(crate) struct Waiting<'a, 'b> {
    open: &'a mut Open,
    call: &'a Call<'b>,
    over: bool,
}

impl<'a, 'b> Waiting<'a, 'b> {
    pub(crate) fn new(open: &'a mut Open, call: &'a Call<'b>) -> Self {
        Self { open, call, over: false }
    }

    pub(crate) fn open(&mut self) -> &mut Open {
        self.open
    }

    pub(crate) fn over(mut self) {
        self.over = true;
    }
}

impl Drop for Waiting<'_, '_> {
    fn drop(&mut self) {
        // Between two attempts nobody has the prompt.
        if !self.over && self.open.trying.is_some() && !self.call.dialect.is_free() {
            self.open.count(self.call.lengths().counted());
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.settle(Outcome::Cancelled, 499);
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
