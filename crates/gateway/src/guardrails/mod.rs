//! Guardrails at work: what is asked before any upstream sees it, what is answered before the client does.
//! Texts are reached by one visitor, whatever the format; `policy::guardrails` says what is in them.

mod blocked;
mod events;
mod examine;
mod framed;
mod harmless;
mod judge;
mod presidio;
mod remote;
mod service;
mod stream;
mod texts;
mod visit;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use journal::{GuardPhase, GuardVerdict, Outcome};
use policy::Snapshot;
use policy::guardrails::Guard;
use providers::Task;
use wire::error::ApiError;

pub(crate) use blocked::Blocked;
pub(crate) use stream::Guarded;

use crate::Gateway;
use crate::answer::stream_type;
use crate::attended::Presence;
use crate::call::Call;
use crate::dialect::{ClientFraming, Format};
use crate::error::{At, ServeError};
use crate::record::Open;
use crate::stream::{Reading, Step, as_array};
use crate::upstream::{Success, SuccessBody};
use examine::{Examiner, Ruling, Sightings};
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

/// What goes to the client.
pub(crate) enum Outgoing {
    /// An upstream's answer; `guarded` watches what of a stream goes on.
    Success { success: Box<Success>, guarded: Option<Box<Guarded>> },
    /// What was written here, whole.
    Told { content_type: &'static str, body: Bytes, entity: Arc<str>, outcome: Outcome },
    /// Nothing: the client has left.
    Unheard,
}

impl From<Success> for Outgoing {
    fn from(success: Success) -> Self {
        Self::Success { success: Box::new(success), guarded: None }
    }
}

/// What the rules for `call` say of it, and how they refuse it, if they do. No service is asked.
pub(crate) fn ruled(call: &Call<'_>) -> Result<(Vec<GuardVerdict>, Option<ServeError>), ApiError> {
    let Some(guard) = &call.endpoint.guardrails.input else { return Ok((Vec::new(), None)) };
    let mut texts = match Document::of_request(&call.body) {
        Ok(mut document) => document.texts(),
        Err(error) if guard.acts() => return Err(error),
        Err(_) => return Ok((Vec::new(), None)),
    };
    let ruling = Sightings::of(&guard.rules, &mut texts).ruling(&guard.rules, GuardPhase::Input);
    Ok((ruling.verdicts, ruling.blocked.map(|blocked| ServeError::Blocked(Box::new(blocked)))))
}

impl Guards<'_> {
    /// Guards what is asked: it is masked in place, or an answer says that it is blocked.
    pub(crate) async fn input(
        &self,
        call: &mut Call<'_>,
        open: &mut Open,
    ) -> Result<Option<Outgoing>, ServeError> {
        stream::check_begins(call)?;
        let endpoint = Arc::clone(&call.endpoint);
        match &endpoint.guardrails.input {
            // The room for it is not for calls that nobody guards.
            Some(guard) => Box::pin(self.asked(call, guard, open)).await,
            None => Ok(None),
        }
    }

    async fn asked(
        &self,
        call: &mut Call<'_>,
        guard: &Guard,
        open: &mut Open,
    ) -> Result<Option<Outgoing>, ServeError> {
        let mut document = match Document::of_request(&call.body) {
            Ok(document) => document,
            Err(error) if guard.acts() => return Err(error.into()),
            Err(error) => {
                let examiner = self.examiner(call, guard, GuardPhase::Input, None, open);
                let verdicts = examiner.unread(&error.message);
                open.guarded(verdicts);
                return Ok(None);
            }
        };
        let mut texts = document.texts();
        let ruling = self.examiner(call, guard, GuardPhase::Input, None, open).examine(&mut texts).await;
        open.guarded(ruling.verdicts);
        if let Some(blocked) = ruling.blocked {
            return self.tell(call, blocked, "".into()).map(Some);
        }
        document.rewrite(&texts);
        document.put_into(&mut call.body)?;
        Ok(None)
    }

    fn examiner<'a>(
        &'a self,
        call: &'a Call<'_>,
        guard: &'a Guard,
        phase: GuardPhase,
        question: Option<String>,
        open: &'a Open,
    ) -> Examiner<'a> {
        let settings = &call.endpoint.guardrails.settings;
        Examiner { gateway: self.gateway, snapshot: self.snapshot, settings, guard, phase, question, open }
    }

    /// Guards what is answered.
    pub(crate) async fn output(
        &self,
        call: &Call<'_>,
        success: Success,
        open: &mut Open,
    ) -> Result<Outgoing, ServeError> {
        let writes = !call.dialect.counts() && call.endpoint.task != Task::Embeddings;
        let Some(guard) = call.endpoint.guardrails.output.as_ref().filter(|_| writes) else {
            return Ok(success.into());
        };
        let remote = guard.rules.pii().is_some() && call.endpoint.guardrails.settings.presidio.is_some();
        let format = call.dialect.format();
        let whole = matches!(success.body, SuccessBody::Whole { .. });
        match (whole, guard.asks() || remote) {
            (true, _) => Box::pin(self.whole(call, guard, success, open)).await,
            (false, true) => Box::pin(self.collected(call, (guard, format), success, open)).await,
            (false, false) => {
                let guarded = Guarded::new(format, &guard.rules, self.is_serving());
                Ok(Outgoing::Success { success: Box::new(success), guarded: Some(Box::new(guarded)) })
            }
        }
    }

    async fn whole(
        &self,
        call: &Call<'_>,
        guard: &Guard,
        mut success: Success,
        open: &mut Open,
    ) -> Result<Outgoing, ServeError> {
        let entity = &success.endpoint.entities[success.entity];
        let SuccessBody::Whole { body, usage, written } = &mut success.body else {
            return Ok(success.into());
        };
        open.used(usage.take(), written.take());
        let mut document = match Document::of_answer(body) {
            Ok(document) => document,
            Err(error) => {
                let reason = format!("the answer cannot be read by the guardrails: {error}");
                if guard.acts() {
                    return Err(ServeError::Broken { at: At::of(entity), reason });
                }
                let verdicts = self.examiner(call, guard, GuardPhase::Output, None, open).unread(&reason);
                open.guarded(verdicts);
                return Ok(success.into());
            }
        };
        let mut texts = document.texts();
        let ruling = self.judged(call, guard, &mut texts, open).await;
        open.guarded(ruling.verdicts);
        if let Some(blocked) = ruling.blocked {
            return self.tell(call, blocked, Arc::clone(&entity.name));
        }
        document.rewrite(&texts);
        if let Some(changed) = document.into_body()? {
            *body = changed;
        }
        Ok(success.into())
    }

    async fn judged(&self, call: &Call<'_>, guard: &Guard, texts: &mut [texts::Text], open: &Open) -> Ruling {
        let question = Document::of_request(&call.body).ok().and_then(|mut document| {
            let texts = document.texts();
            texts.into_iter().rev().find(|text| text.role == "user").map(|text| text.text)
        });
        self.examiner(call, guard, GuardPhase::Output, question, open).examine(texts).await
    }

    /// A stream that a model must judge: nothing of it goes on before all of it is there.
    async fn collected(
        &self,
        call: &Call<'_>,
        (guard, format): (&Guard, Format),
        success: Success,
        open: &mut Open,
    ) -> Result<Outgoing, ServeError> {
        let asked = &success.endpoint.entities[success.entity];
        let entity = Arc::clone(&asked.name);
        let SuccessBody::Stream { mut upstream, ready: mut out } = success.body else {
            return Ok(success.into());
        };
        call.presence.iter().for_each(|presence| presence.asks(asked));
        let ended = collect(call, Reading::new(&mut upstream, call.dialect, open), &mut out).await;
        call.presence.iter().for_each(Presence::rests);
        if call.is_left() {
            return Ok(Outgoing::Unheard);
        }
        let ended = match ended {
            Ok(Ended::TooLong) if !guard.acts() => {
                let verdicts = self.examiner(call, guard, GuardPhase::Output, None, open).unread(&too_long());
                open.guarded(verdicts);
                return Ok(Success { body: SuccessBody::Stream { upstream, ready: out }, ..success }.into());
            }
            Ok(Ended::TooLong) => Err(ApiError::internal(too_long()).with_status(502).into()),
            ended => ended,
        };
        let mut guarded = Guarded::keeping(format, &guard.rules, self.is_serving());
        let goes_on = guarded.take(&mut out, true, || upstream.usage());
        open.guarded(guarded.verdicts());
        let blocked = if goes_on { self.judge_kept(call, guard, &mut guarded, open).await } else { None };
        let outcome = match (&blocked, &ended) {
            _ if !goes_on => Outcome::Refused,
            (Some(_), _) => Outcome::Refused,
            (None, Ok(Ended::Complete)) => Outcome::Completed,
            (None, _) => Outcome::Failed,
        };
        match (blocked, ended) {
            (Some(blocked), _) => out = guarded.refusal(&blocked, &upstream.usage()),
            (None, _) if !goes_on => {}
            (None, Ok(Ended::Complete)) => out.extend_from_slice(call.dialect.terminator()),
            (None, Ok(Ended::Failed | Ended::TooLong)) => {}
            (None, Err(error)) => upstream.fail(&error, &mut out),
        }
        let body = if call.dialect.framing() == ClientFraming::Array { as_array(out) } else { out.freeze() };
        Ok(Outgoing::Told { content_type: stream_type(call.dialect), body, entity, outcome })
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
        let ruling = self.judged(call, &asking, &mut texts, open).await;
        open.guarded(ruling.verdicts);
        // What is written as events already is not masked any more.
        let masked = texts.iter().zip(&before).any(|(text, before)| text.text != *before);
        ruling.blocked.or_else(|| masked.then(Blocked::unmaskable))
    }

    /// Databricks' own paths; the others are those of its AI Gateway.
    fn is_serving(&self) -> bool {
        self.path.starts_with("/serving-endpoints/")
    }

    /// A block: on the AI Gateway's paths an answer with a reason to stop, where there are such answers.
    fn tell(&self, call: &Call<'_>, blocked: Blocked, entity: Arc<str>) -> Result<Outgoing, ServeError> {
        if self.is_serving() || call.endpoint.task == Task::Embeddings || call.dialect.counts() {
            return Err(ServeError::Blocked(Box::new(blocked)));
        }
        let (content_type, body) = blocked.answer(call)?;
        Ok(Outgoing::Told { content_type, body, entity, outcome: Outcome::Refused })
    }
}

/// How the collecting of a stream ended.
enum Ended {
    Complete,
    /// It told its own failure.
    Failed,
    /// There is more of it.
    TooLong,
}

fn too_long() -> String {
    format!("the answer is longer than {MAX_COLLECTED} bytes and cannot be judged")
}

/// Reads a stream to its end. Of one whose client has left nothing is kept.
async fn collect(call: &Call<'_>, mut reading: Reading<'_>, out: &mut BytesMut) -> Result<Ended, ServeError> {
    loop {
        match reading.step(out).await? {
            Step::Read if call.is_left() => {
                *out = BytesMut::new();
                reading.rest().await;
                return Ok(Ended::Complete);
            }
            Step::Read if out.len() > MAX_COLLECTED => return Ok(Ended::TooLong),
            Step::Read => {}
            Step::Complete => return Ok(Ended::Complete),
            Step::Failed => return Ok(Ended::Failed),
        }
    }
}
