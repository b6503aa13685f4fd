//! Guardrails at work: what is asked before any upstream sees it, what is answered before the client does.
//! Texts are reached by one visitor, whatever the format; `policy::guardrails` says what is in them.

mod blocked;
mod events;
mod examine;
mod judge;
mod presidio;
mod remote;
mod service;
mod stream;
mod texts;
mod visit;

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use journal::{GuardPhase, Outcome};
use policy::Snapshot;
use policy::guardrails::Guard;
use providers::Task;
use wire::error::ApiError;

pub(crate) use blocked::Blocked;
pub(crate) use stream::Guarded;

use crate::call::Call;
use crate::error::ServeError;
use crate::record::Open;
use crate::stream::{Step, Upstream};
use crate::upstream::{Success, SuccessBody};
use crate::{Gateway, answer};
use examine::{Examiner, Ruling};
use texts::Document;

/// Longest streamed answer that is collected to be judged as a whole.
const MAX_COLLECTED: usize = 64 << 20;

/// What guardrails need beside the call.
pub(crate) struct Guards<'a> {
    pub(crate) gateway: &'a Gateway,
    /// Where the endpoints that judge are.
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) path: &'a str,
}

impl Guards<'_> {
    /// Guards what is asked: it is masked in place, or a response says that it is blocked.
    pub(crate) async fn input(
        &self,
        call: &mut Call<'_>,
        open: &mut Open,
    ) -> Result<Option<Response>, ServeError> {
        let endpoint = Arc::clone(&call.endpoint);
        let Some(guard) = &endpoint.guardrails.input else { return Ok(None) };
        match self.ask(guard, call, open).await {
            Ok(None) => Ok(None),
            Ok(Some(blocked)) => {
                open.settle(Outcome::Refused, self.status(call, &blocked));
                self.tell(call, blocked, "").map(Some)
            }
            Err(error) => {
                open.settle(Outcome::Refused, error.status);
                Err(error.into())
            }
        }
    }

    async fn ask(
        &self,
        guard: &Guard,
        call: &mut Call<'_>,
        open: &mut Open,
    ) -> Result<Option<Blocked>, ApiError> {
        let mut document = Document::of_request(&call.body)?;
        let mut texts = document.texts();
        let ruling = self.examiner(call, guard, GuardPhase::Input, None).examine(&mut texts).await;
        let Ruling { verdicts, blocked } = ruling;
        open.guarded(verdicts);
        if blocked.is_none() {
            document.rewrite(&texts);
            document.put_into(&mut call.body)?;
        }
        Ok(blocked)
    }

    fn examiner<'a>(
        &'a self,
        call: &'a Call<'_>,
        guard: &'a Guard,
        phase: GuardPhase,
        question: Option<String>,
    ) -> Examiner<'a> {
        let settings = &call.endpoint.guardrails.settings;
        Examiner { gateway: self.gateway, snapshot: self.snapshot, settings, guard, phase, question }
    }

    /// Guards what is answered, and makes the response of it.
    pub(crate) async fn output(
        &self,
        call: &Call<'_>,
        success: Success,
        open: Open,
    ) -> Result<Response, ServeError> {
        let writes = !call.dialect.counts() && call.endpoint.task != Task::Embeddings;
        let Some(guard) = call.endpoint.guardrails.output.as_ref().filter(|_| writes) else {
            return Ok(answer::respond(success, open, None));
        };
        let looks_at_all = guard.asks()
            || (guard.rules.pii().is_some() && call.endpoint.guardrails.settings.presidio.is_some());
        let whole = matches!(success.body, SuccessBody::Whole { .. });
        match (whole, looks_at_all) {
            (true, _) => self.whole(call, guard, success, open).await,
            (false, true) => self.collected(call, guard, success, open).await,
            (false, false) => {
                let guarded = Guarded::new(call.dialect.format(), &guard.rules, self.is_serving());
                Ok(answer::respond(success, open, Some(Box::new(guarded))))
            }
        }
    }

    async fn whole(
        &self,
        call: &Call<'_>,
        guard: &Guard,
        mut success: Success,
        mut open: Open,
    ) -> Result<Response, ServeError> {
        let SuccessBody::Whole { body, usage } = &mut success.body else {
            return Ok(answer::respond(success, open, None));
        };
        if let Some(usage) = usage.take() {
            open.count(*usage);
        }
        let ruling = match Document::of_answer(body) {
            Ok(mut document) => {
                let mut texts = document.texts();
                let ruling = self.judged(call, guard, &mut texts).await;
                document.rewrite(&texts);
                if let Some(changed) = document.into_body()? {
                    *body = changed;
                }
                ruling
            }
            Err(error) => {
                open.settle(Outcome::Failed, error.status);
                return Err(error.into());
            }
        };
        open.guarded(ruling.verdicts);
        match ruling.blocked {
            None => Ok(answer::respond(success, open, None)),
            Some(blocked) => {
                open.settle(Outcome::Refused, self.status(call, &blocked));
                self.tell(call, blocked, &success.endpoint.entities[success.entity].name)
            }
        }
    }

    async fn judged(&self, call: &Call<'_>, guard: &Guard, texts: &mut [texts::Text]) -> Ruling {
        let question = Document::of_request(&call.body).ok().and_then(|mut document| {
            let texts = document.texts();
            texts.into_iter().rev().find(|text| text.role == "user").map(|text| text.text)
        });
        self.examiner(call, guard, GuardPhase::Output, question).examine(texts).await
    }

    /// A stream that a model must judge: nothing of it goes on before all of it is there.
    async fn collected(
        &self,
        call: &Call<'_>,
        guard: &Guard,
        success: Success,
        mut open: Open,
    ) -> Result<Response, ServeError> {
        let entity = Arc::clone(&success.endpoint.entities[success.entity].name);
        let SuccessBody::Stream { mut upstream, ready: mut out } = success.body else {
            return Ok(answer::respond(success, open, None));
        };
        let ended = collect(&mut upstream, &mut out, &mut open).await;
        let mut guarded = Guarded::keeping(call.dialect.format(), &guard.rules, self.is_serving());
        let goes_on = guarded.take(&mut out, true, || upstream.usage());
        open.guarded(guarded.verdicts());
        let blocked =
            if goes_on { self.judge_kept(call, guard, &mut guarded, &mut open).await } else { None };
        let outcome = match (&blocked, &ended) {
            _ if !goes_on => Outcome::Refused,
            (Some(_), _) => Outcome::Refused,
            (None, Ok(true)) => Outcome::Completed,
            (None, _) => Outcome::Failed,
        };
        match (blocked, ended) {
            (Some(blocked), _) => out = guarded.refusal(&blocked, &upstream.usage()),
            (None, _) if !goes_on => {}
            (None, Ok(true)) => out.extend_from_slice(call.dialect.terminator()),
            (None, Ok(false)) => {}
            (None, Err(error)) => upstream.fail(&error, &mut out),
        }
        Ok(sent(call, out, open, outcome, &entity))
    }

    /// Has all that a stream said judged.
    async fn judge_kept(
        &self,
        call: &Call<'_>,
        guard: &Guard,
        guarded: &mut Guarded,
        open: &mut Open,
    ) -> Option<Blocked> {
        let mut texts = guarded.kept();
        let before: Vec<String> = texts.iter().map(|text| text.text.clone()).collect();
        let remote = call.endpoint.guardrails.settings.presidio.is_some();
        let asking = Guard { rules: guard.rules.remainder(remote), ..guard.clone() };
        let ruling = self.judged(call, &asking, &mut texts).await;
        open.guarded(ruling.verdicts);
        // What is written as events already is not masked any more.
        let masked = texts.iter().zip(&before).any(|(text, before)| text.text != *before);
        ruling.blocked.or_else(|| masked.then(Blocked::unmaskable))
    }

    /// Databricks' own paths; the others are those of its AI Gateway.
    fn is_serving(&self) -> bool {
        self.path.starts_with("/serving-endpoints/")
    }

    /// Whether the block is told as an answer with a reason to stop, as the AI Gateway does.
    fn as_answer(&self, call: &Call<'_>) -> bool {
        !self.is_serving() && call.endpoint.task != Task::Embeddings && !call.dialect.counts()
    }

    fn status(&self, call: &Call<'_>, _blocked: &Blocked) -> u16 {
        if self.as_answer(call) { 200 } else { 400 }
    }

    fn tell(&self, call: &Call<'_>, blocked: Blocked, entity: &str) -> Result<Response, ServeError> {
        if self.as_answer(call) {
            let (content_type, body) = blocked.answer(call)?;
            return Ok(answer::with_headers(Body::from(body), content_type, entity));
        }
        Err(ServeError::Blocked(Box::new(blocked)))
    }
}

/// The whole stream into `out`: whether it is complete, or told its own failure.
async fn collect(upstream: &mut Upstream, out: &mut BytesMut, open: &mut Open) -> Result<bool, ServeError> {
    loop {
        // Of a client that leaves, what has come by now is counted.
        open.count(upstream.usage());
        match std::future::poll_fn(|cx| upstream.poll_step(cx, out)).await? {
            Step::Read if out.len() > MAX_COLLECTED => {
                let message = format!("the answer is longer than {MAX_COLLECTED} bytes and cannot be judged");
                return Err(ApiError::internal(message).with_status(502).into());
            }
            Step::Read => {}
            Step::Complete => return Ok(true),
            Step::Failed => return Ok(false),
        }
    }
}

/// The settlement is recorded before the bytes are handed over.
fn sent(call: &Call<'_>, out: BytesMut, mut open: Open, outcome: Outcome, entity: &str) -> Response {
    let body = if call.dialect.streams_array() { crate::stream::as_array(out) } else { out.freeze() };
    open.sent(body.len());
    open.settle(outcome, 200);
    answer::with_headers(Body::from(Bytes::from(body)), answer::stream_type(call.dialect), entity)
}
