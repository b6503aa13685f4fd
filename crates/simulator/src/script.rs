//! Behaviour scripts: what a request asks the simulator to do wrong, slowly, or at length.
//!
//! A script is `key=value;key=value;flag`. It can be part of the model name, be posted for a model, or travel in a header;
//! the three are merged key by key, the header first and the model name last, so that a posted `status=200` heals `fail-500`.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parking_lot::RwLock;

use crate::fault::Fault;
use crate::plan::Plan;

/// The request header that carries a script.
pub const SCRIPT_HEADER: &str = "x-simulator-script";

const MAX_PAUSE_MS: u64 = 3_600_000;
const MAX_CHUNKS: usize = 100_000;
const MAX_CONTENT_BYTES: usize = 16 << 20;
const MAX_TOKENS: usize = 10_000_000;
const MAX_POSTED: usize = 10_000;

/// Where a request hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hang {
    /// Nowhere: undoes a `hang` of a lower precedence.
    None,
    /// No response headers are ever sent.
    Headers,
    /// Headers are sent, and nothing of the body.
    Answer,
    /// Headers and the first chunk are sent, then nothing.
    Body,
}

/// One behaviour script; a key that is `None` was not given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// `latency_ms`: from the arrival of the request to the response headers.
    pub latency: Option<Duration>,
    /// `first_token_ms`: from the response headers to the first byte of the body.
    pub first_token: Option<Duration>,
    /// `chunk_ms` or `tokens_per_second`: the pause between stream chunks.
    pub chunk_gap: Option<Duration>,
    /// `chunks`: the answer is made of exactly this many text chunks.
    pub chunks: Option<usize>,
    /// `answer`: the text of the answer.
    pub answer: Option<String>,
    /// `plan`: what an agent is answered, turn by turn; url-encoded JSON.
    pub plan: Option<Arc<Plan>>,
    /// `content_bytes`: the answer is a deterministic text of this many bytes.
    pub content_bytes: Option<usize>,
    /// `status`: answer with the provider's own error body for this status.
    pub status: Option<StatusCode>,
    /// `retry_after`: the value of the `retry-after` header, in seconds.
    pub retry_after: Option<u64>,
    /// `malformed`: status 200 with broken JSON, or with one broken data line in a stream.
    pub malformed: Option<bool>,
    /// `html`: an HTML error page, status 502 unless `status` says otherwise.
    pub html: Option<bool>,
    /// `cut_after`: drop the connection after this many chunks; an unstreamed body is cut in the middle.
    pub cut_after: Option<usize>,
    /// As `cut_after`, for streams only: what the model name `fail-stream` means.
    pub cut_stream_after: Option<usize>,
    /// `error_after`: an error event after this many chunks, then the stream ends.
    pub error_after: Option<usize>,
    /// `hang`: `headers`, `answer`, `body` or `none`.
    pub hang: Option<Hang>,
    /// `no_usage`: leave the usage out.
    pub no_usage: Option<bool>,
    /// `no_done`: leave the terminator of the stream out.
    pub no_done: Option<bool>,
    /// `fault`: what is wrong with the bytes or the connection.
    pub fault: Option<Fault>,
    /// `cached_tokens`: the prompt has this many more, read from a cache.
    pub cached_tokens: Option<usize>,
    /// `cache_write_tokens`: the prompt has this many more, written to a cache.
    pub cache_write_tokens: Option<usize>,
    /// `reasoning_tokens`: the output has this many more, which the model wrote to itself.
    pub reasoning_tokens: Option<usize>,
}

/// Why a script was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// The key does not exist.
    #[error("unknown script key `{0}`")]
    UnknownKey(String),
    /// The key exists and the value cannot be used.
    #[error("script key `{key}` needs {wants}, not `{value}`")]
    BadValue {
        /// The key.
        key: String,
        /// What was given.
        value: String,
        /// What would be accepted.
        wants: &'static str,
    },
    /// The header is not text.
    #[error("the script header is not visible ascii text")]
    NotText,
    /// Too many models have a posted script.
    #[error("scripts are posted for {MAX_POSTED} models already; reset first")]
    TooMany,
}

impl Script {
    /// Reads `key=value;key=value;flag`; empty parts are skipped.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let mut script = Self::default();
        script.read(text.split(';'))?;
        Ok(script)
    }

    /// Reads the script inside a model name: what the plain name means, then the directives after the first `;`.
    pub fn for_model(model: &str) -> Result<Self, ScriptError> {
        let mut parts = model.split(';');
        let mut script = Self::for_base(parts.next().unwrap_or_default());
        script.read(parts)?;
        Ok(script)
    }

    fn for_base(base: &str) -> Self {
        let mut script = Self::default();
        if base == "fail-stream" {
            script.cut_stream_after = Some(2);
        } else if let Some(status) = base.strip_prefix("fail-") {
            script.status = StatusCode::from_str(status).ok().filter(|status| status.as_u16() >= 400);
            script.retry_after = (script.status == Some(StatusCode::TOO_MANY_REQUESTS)).then_some(1);
        } else if base.starts_with("slow-") {
            script.latency = Some(Duration::from_secs(1));
        } else if base.starts_with("pii-") {
            script.answer = Some("mail bob@example.com ssn 536-90-4399".to_owned());
        }
        script
    }

    /// Merges two scripts: a key given here wins over the same key in `lower`.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        Self {
            latency: self.latency.or(lower.latency),
            first_token: self.first_token.or(lower.first_token),
            chunk_gap: self.chunk_gap.or(lower.chunk_gap),
            chunks: self.chunks.or(lower.chunks),
            answer: self.answer.or(lower.answer),
            plan: self.plan.or(lower.plan),
            content_bytes: self.content_bytes.or(lower.content_bytes),
            status: self.status.or(lower.status),
            retry_after: self.retry_after.or(lower.retry_after),
            malformed: self.malformed.or(lower.malformed),
            html: self.html.or(lower.html),
            cut_after: self.cut_after.or(lower.cut_after),
            cut_stream_after: self.cut_stream_after.or(lower.cut_stream_after),
            error_after: self.error_after.or(lower.error_after),
            hang: self.hang.or(lower.hang),
            no_usage: self.no_usage.or(lower.no_usage),
            no_done: self.no_done.or(lower.no_done),
            fault: self.fault.or(lower.fault),
            cached_tokens: self.cached_tokens.or(lower.cached_tokens),
            cache_write_tokens: self.cache_write_tokens.or(lower.cache_write_tokens),
            reasoning_tokens: self.reasoning_tokens.or(lower.reasoning_tokens),
        }
    }

    fn read<'a>(&mut self, parts: impl Iterator<Item = &'a str>) -> Result<(), ScriptError> {
        for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            self.set(Directive { key: key.trim(), value: value.trim() })?;
        }
        Ok(())
    }

    fn set(&mut self, given: Directive<'_>) -> Result<(), ScriptError> {
        match given.key {
            "latency_ms" => self.latency = Some(given.pause()?),
            "first_token_ms" => self.first_token = Some(given.pause()?),
            "chunk_ms" => self.chunk_gap = Some(given.pause()?),
            "tokens_per_second" => self.chunk_gap = Some(given.rate()?),
            "chunks" => self.chunks = Some(given.number(MAX_CHUNKS, "a number of chunks up to 100000")?),
            "answer" => self.answer = Some(given.text()?),
            "plan" => self.plan = Some(given.plan()?),
            "content_bytes" => {
                self.content_bytes = Some(given.number(MAX_CONTENT_BYTES, "a number of bytes up to 16 MiB")?);
            }
            "status" => self.status = Some(given.status()?),
            "retry_after" => {
                self.retry_after = Some(given.value.parse().map_err(|_| given.refuse("seconds"))?);
            }
            "malformed" => self.malformed = Some(given.flag()?),
            "html" => self.html = Some(given.flag()?),
            "cut_after" => self.cut_after = Some(given.number(usize::MAX, "a number of chunks")?),
            "error_after" => self.error_after = Some(given.number(usize::MAX, "a number of chunks")?),
            "hang" => self.hang = Some(given.hang()?),
            "no_usage" => self.no_usage = Some(given.flag()?),
            "no_done" => self.no_done = Some(given.flag()?),
            "fault" => self.fault = Some(given.fault()?),
            "cached_tokens" => self.cached_tokens = Some(given.tokens()?),
            "cache_write_tokens" => self.cache_write_tokens = Some(given.tokens()?),
            "reasoning_tokens" => self.reasoning_tokens = Some(given.tokens()?),
            unknown => return Err(ScriptError::UnknownKey(unknown.to_owned())),
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Directive<'a> {
    key: &'a str,
    value: &'a str,
}

impl Directive<'_> {
    fn refuse(&self, wants: &'static str) -> ScriptError {
        ScriptError::BadValue { key: self.key.to_owned(), value: self.value.to_owned(), wants }
    }

    fn number(&self, most: usize, wants: &'static str) -> Result<usize, ScriptError> {
        self.value.parse().ok().filter(|number| *number <= most).ok_or_else(|| self.refuse(wants))
    }

    fn pause(&self) -> Result<Duration, ScriptError> {
        let given: Option<u64> = self.value.parse().ok();
        let pause = given.filter(|ms| *ms <= MAX_PAUSE_MS).map(Duration::from_millis);
        pause.ok_or_else(|| self.refuse("milliseconds up to one hour"))
    }

    fn rate(&self) -> Result<Duration, ScriptError> {
        let given: Option<f64> = self.value.parse().ok();
        let rate = given.filter(|rate| (0.001..=1_000_000.0).contains(rate));
        rate.map(|rate| Duration::from_secs_f64(1.0 / rate)).ok_or_else(|| self.refuse("a rate above zero"))
    }

    fn status(&self) -> Result<StatusCode, ScriptError> {
        // 1xx would be taken for an interim response by the HTTP layer.
        let given =
            StatusCode::from_str(self.value).ok().filter(|status| (200..600).contains(&status.as_u16()));
        given.ok_or_else(|| self.refuse("a status from 200 to 599"))
    }

    fn flag(&self) -> Result<bool, ScriptError> {
        match self.value {
            "" | "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(self.refuse("no value, `true` or `false`")),
        }
    }

    fn hang(&self) -> Result<Hang, ScriptError> {
        match self.value {
            "headers" => Ok(Hang::Headers),
            "answer" => Ok(Hang::Answer),
            "body" => Ok(Hang::Body),
            "none" => Ok(Hang::None),
            _ => Err(self.refuse("`headers`, `answer`, `body` or `none`")),
        }
    }

    fn fault(&self) -> Result<Fault, ScriptError> {
        Fault::named(self.value).ok_or_else(|| self.refuse("the name of a fault"))
    }

    fn tokens(&self) -> Result<usize, ScriptError> {
        self.number(MAX_TOKENS, "a number of tokens up to 10000000")
    }

    fn plan(&self) -> Result<Arc<Plan>, ScriptError> {
        let plan = percent_decoded(self.value).and_then(|text| Plan::parse(&text));
        plan.map(Arc::new).ok_or_else(|| self.refuse("a url-encoded json array of turns"))
    }

    fn text(&self) -> Result<String, ScriptError> {
        percent_decoded(self.value).ok_or_else(|| self.refuse("url-encoded utf-8 text"))
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = str::from_utf8(after.get(..2)?).ok()?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

/// The scripts posted for exact model names.
#[derive(Debug, Default)]
pub struct Scripts {
    posted: RwLock<HashMap<String, Script>>,
}

impl Scripts {
    /// Sets the script of a model until the next [`Scripts::clear`]; an empty text removes it.
    pub fn set(&self, model: &str, text: &str) -> Result<(), ScriptError> {
        let script = Script::parse(text)?;
        let mut posted = self.posted.write();
        if script == Script::default() {
            posted.remove(model);
        } else if posted.len() >= MAX_POSTED && !posted.contains_key(model) {
            return Err(ScriptError::TooMany);
        } else {
            posted.insert(model.to_owned(), script);
        }
        Ok(())
    }

    /// Forgets every posted script.
    pub fn clear(&self) {
        self.posted.write().clear();
    }

    /// The script of one request: header over posted over model name.
    pub(crate) fn resolve(
        &self,
        model: &str,
        header: Option<&http::HeaderValue>,
    ) -> Result<Script, ScriptError> {
        let mut script = Script::for_model(model)?;
        if let Some(posted) = self.posted.read().get(model) {
            script = posted.clone().over(script);
        }
        if let Some(header) = header {
            let text = header.to_str().map_err(|_| ScriptError::NotText)?;
            script = Script::parse(text)?.over(script);
        }
        Ok(script)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read() {
        let script = Script::parse(
            "latency_ms=1;first_token_ms=2;chunk_ms=3;chunks=4;answer=a%20b%3B;plan=[{\"text\":\"a\"}];content_bytes=5;status=529;\
             retry_after=6;malformed;html;cut_after=7;error_after=8;hang=body;no_usage;no_done=false;\
             fault=reset_body;cached_tokens=9;cache_write_tokens=10;reasoning_tokens=11",
        )
        .unwrap();
        let expected = Script {
            latency: Some(Duration::from_millis(1)),
            first_token: Some(Duration::from_millis(2)),
            chunk_gap: Some(Duration::from_millis(3)),
            chunks: Some(4),
            answer: Some("a b;".to_owned()),
            plan: Plan::parse(r#"[{"text": "a"}]"#).map(Arc::new),
            content_bytes: Some(5),
            status: Some(StatusCode::from_u16(529).unwrap()),
            retry_after: Some(6),
            malformed: Some(true),
            html: Some(true),
            cut_after: Some(7),
            cut_stream_after: None,
            error_after: Some(8),
            hang: Some(Hang::Body),
            no_usage: Some(true),
            no_done: Some(false),
            fault: Some(Fault::ResetBody),
            cached_tokens: Some(9),
            cache_write_tokens: Some(10),
            reasoning_tokens: Some(11),
        };
        assert_eq!(script, expected);
        let paced = Script::parse("tokens_per_second=50").unwrap();
        assert_eq!(paced.chunk_gap, Some(Duration::from_millis(20)));
    }

    #[test]
    fn refusals_name_the_key() {
        let unknown = Script::for_model("echo;speed=9").unwrap_err();
        assert_eq!(unknown.to_string(), "unknown script key `speed`");
        for bad in [
            "status=99",
            "status=600",
            "chunks=-1",
            "hang=maybe",
            "answer=%zz",
            "answer=%ff",
            "html=2",
            "plan=[]",
            "fault=flood",
            "cached_tokens=-1",
        ] {
            let key = bad.split('=').next().unwrap();
            let refused = Script::parse(bad).unwrap_err().to_string();
            assert!(refused.contains(&format!("`{key}`")), "{refused}");
        }
        for bad in ["tokens_per_second=0", "tokens_per_second=nan", "latency_ms=99999999", "chunks=100001"] {
            assert!(Script::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_names_mean_what_the_python_model_means() {
        let failing = Script::for_model("fail-429").unwrap();
        assert_eq!(failing.status, Some(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(failing.retry_after, Some(1));
        assert_eq!(Script::for_model("fail-stream").unwrap().cut_stream_after, Some(2));
        assert_eq!(Script::for_model("slow-x").unwrap().latency, Some(Duration::from_secs(1)));
        assert_eq!(Script::for_model("gpt-4o").unwrap(), Script::default());
    }

    #[test]
    fn the_header_wins_over_posted_over_the_name() {
        let scripts = Scripts::default();
        let model = "echo;chunks=1;status=500;latency_ms=5";
        scripts.set(model, "chunks=2;status=200").unwrap();
        let header = http::HeaderValue::from_static("chunks=3");
        let script = scripts.resolve(model, Some(&header)).unwrap();
        assert_eq!(script.chunks, Some(3));
        assert_eq!(script.status, Some(StatusCode::OK));
        assert_eq!(script.latency, Some(Duration::from_millis(5)));
        scripts.set(model, "").unwrap();
        assert_eq!(scripts.resolve(model, None).unwrap().chunks, Some(1));
    }
}
