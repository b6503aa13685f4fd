//! A stream on its way to the client: its text is held back as long as it may be the beginning of something,
//! and goes on in the places it had. Every other event keeps its place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::BytesMut;
use journal::{CountedUsage, GuardPhase, GuardVerdict};
use policy::guardrails::{Guard, Rules, What, Window, Writing};
use serde_json::{Value, json};
use wire::error::ApiError;
use wire::sse::{self, Event};

use super::blocked::Blocked;
use super::events::{Key, Over, Spot, head, is_vacuous, over, piece, visit};
use super::examine::Sightings;
use super::framed::{frames, pass, read, write};
use super::harmless::Harmless;
use super::texts::Text;
use super::visit::drop_probabilities;
use crate::call::Call;
use crate::dialect::Format;
use crate::stream::Frames;

/// Most texts of one answer that are under way.
const MAX_CHANNELS: usize = 4096;

pub(crate) struct Guarded {
    format: Format,
    rules: Arc<Rules>,
    /// Whether a block is told as serving endpoints do.
    serving: bool,
    frames: Frames,
    channels: BTreeMap<Key, Channel>,
    seen: Sightings,
    harmless: Harmless,
    /// All that was let through, where it is judged as a whole.
    kept: Option<Kept>,
    /// What the last events said of the answer as a whole.
    head: Value,
    /// Blocks that have begun and not ended.
    open: BTreeSet<u64>,
    /// The number of the next event, where events have numbers.
    next: Option<u64>,
}

/// One text under way.
struct Channel {
    window: Window,
    /// The last event that had a piece of it.
    like: Value,
}

impl Guarded {
    pub(crate) fn new(format: Format, rules: &Arc<Rules>, serving: bool) -> Self {
        Self {
            format,
            rules: Arc::clone(rules),
            serving,
            frames: frames(format),
            channels: BTreeMap::new(),
            seen: Sightings::default(),
            harmless: Harmless::default(),
            kept: None,
            head: json!({}),
            open: BTreeSet::new(),
            next: None,
        }
    }

    /// The same, keeping what it lets through.
    pub(crate) fn keeping(format: Format, rules: &Arc<Rules>, serving: bool) -> Self {
        Self { kept: Some(Kept::default()), ..Self::new(format, rules, serving) }
    }

    /// Takes the whole events in `out` and puts in their place what may go on; `last` when nothing follows.
    /// False when something is blocked: then `out` ends the stream.
    pub(crate) fn take(
        &mut self,
        out: &mut BytesMut,
        last: bool,
        usage: impl FnOnce() -> CountedUsage,
    ) -> bool {
        let events = out.split();
        self.frames.push(&events);
        loop {
            match self.frames.next_event() {
                Ok(Some(event)) => self.event(&event, out),
                Ok(None) => break,
                Err(_) => {
                    self.seen.add(&[What::Unreadable]);
                    break;
                }
            }
            if self.seen.blocks(&self.rules).is_some() {
                break;
            }
        }
        if last {
            self.flush(&Over::Everything, out);
        }
        let Some(guard) = self.seen.blocks(&self.rules) else { return true };
        let refusal = self.refusal(&Blocked::new(guard, GuardPhase::Output), &usage());
        out.extend_from_slice(&refusal);
        false
    }

    pub(crate) fn verdicts(&mut self) -> Vec<GuardVerdict> {
        std::mem::take(&mut self.seen).verdicts(&self.rules, GuardPhase::Output)
    }

    pub(super) fn kept(&mut self) -> Vec<Text> {
        self.kept.take().unwrap_or_default().texts()
    }

    fn event(&mut self, event: &Event, out: &mut BytesMut) {
        let Some(mut value) = read(self.format, event) else { return self.unread(event, out) };
        let ends = over(self.format, &value);
        let changed = self.guard(&mut value, &ends);
        if self.seen.blocks(&self.rules).is_some() {
            return;
        }
        self.flush(&ends, out);
        if self.seen.blocks(&self.rules).is_some() {
            return;
        }
        self.note(&value);
        match (changed, self.rules.act()) {
            (true, _) if is_vacuous(self.format, &value) => {}
            (_, false) => pass(out, self.format, event),
            (changed, true) => {
                let numbered = self.number(&mut value);
                if changed || numbered {
                    write(out, self.format, &value);
                } else {
                    pass(out, self.format, event);
                }
            }
        }
    }

    /// What is no object of JSON goes on where it says nothing, or nobody acts on what it says.
    fn unread(&mut self, event: &Event, out: &mut BytesMut) {
        if !matches!(event.data.trim_ascii(), b"" | b"[DONE]") {
            self.seen.add(&[What::Unreadable]);
            if let Some(kept) = &mut self.kept {
                kept.add_whole(Writing::Plain, &String::from_utf8_lossy(&event.data));
            }
        }
        if self.seen.blocks(&self.rules).is_none() {
            pass(out, self.format, event);
        }
    }

    /// Puts in place of each text what of it may go on. Whether anything is another.
    fn guard(&mut self, value: &mut Value, ends: &Over) -> bool {
        let Self { rules, channels, seen, kept, harmless, .. } = self;
        let (mut touched, mut changed) = (Vec::new(), false);
        visit(self.format, value, &mut |spot, text| {
            let (released, key, writing) = match spot {
                Spot::Whole(writing) => (harmless.whole(rules, writing, text), None, writing),
                Spot::Piece(key, writing) => {
                    let channel = channels.entry(key.clone()).or_insert_with(|| Channel::new(rules, writing));
                    let mut released = channel.window.push(text);
                    if ends.hold(key.0) {
                        let rest = channel.window.finish();
                        released.text += &rest.text;
                        released.found.extend(rest.found);
                    }
                    (released, Some(key), writing)
                }
            };
            seen.add(&released.found);
            let text_on = if rules.act() { &released.text } else { &*text };
            match (kept.as_mut(), &key) {
                (Some(kept), Some(key)) => kept.add_piece(key, writing, text_on),
                (Some(kept), None) => kept.add_whole(writing, text_on),
                (None, _) => {}
            }
            if rules.act() && released.text != *text {
                *text = released.text;
                changed = true;
            }
            touched.extend(key);
        });
        for key in touched {
            if let Some(channel) = channels.get_mut(&key) {
                channel.like.clone_from(value);
            }
        }
        if channels.len() > MAX_CHANNELS {
            seen.add(&[What::Unreadable]);
        }
        changed | (rules.act() && drop_probabilities(value))
    }

    /// Lets go what is held back of texts that are over.
    fn flush(&mut self, ends: &Over, out: &mut BytesMut) {
        let keys: Vec<Key> = self.channels.keys().filter(|(group, _)| ends.hold(*group)).cloned().collect();
        let mut pieces = Vec::new();
        for key in keys {
            let Some(mut channel) = self.channels.remove(&key) else { continue };
            let (writing, released) = (channel.window.writing(), channel.window.finish());
            self.seen.add(&released.found);
            if self.rules.act() && !released.text.is_empty() {
                if let Some(kept) = &mut self.kept {
                    kept.add_piece(&key, writing, &released.text);
                }
                pieces.push(piece(self.format, &channel.like, &key, &released.text));
            }
        }
        if self.seen.blocks(&self.rules).is_some() {
            return;
        }
        for mut event in pieces {
            self.number(&mut event);
            write(out, self.format, &event);
        }
    }

    /// Gives an event that has a number the next. Whether that is another.
    fn number(&mut self, event: &mut Value) -> bool {
        let Some(own) = event["sequence_number"].as_u64().filter(|_| self.format == Format::Responses) else {
            return false;
        };
        let number = *self.next.get_or_insert(own);
        self.next = Some(number + 1);
        if number != own {
            event["sequence_number"] = number.into();
        }
        number != own
    }

    /// What an early end needs.
    fn note(&mut self, event: &Value) {
        match self.format {
            Format::Chat | Format::Completions => self.note_choices(event),
            Format::Contents => self.head = head(event, "candidates"),
            Format::Responses if event["response"].is_object() => self.head = event["response"].clone(),
            Format::Messages => match event["type"].as_str() {
                Some("content_block_start") => drop(self.open.insert(event["index"].as_u64().unwrap_or(0))),
                Some("content_block_stop") => drop(self.open.remove(&event["index"].as_u64().unwrap_or(0))),
                _ => {}
            },
            Format::Converse => self.note_blocks(event),
            Format::Responses => {}
        }
    }

    /// Blocks of text and of thoughts have no event for their beginning.
    fn note_blocks(&mut self, event: &Value) {
        for name in ["contentBlockStart", "contentBlockDelta"] {
            self.open.extend(event[name]["contentBlockIndex"].as_u64());
        }
        if let Some(index) = event["contentBlockStop"]["contentBlockIndex"].as_u64() {
            self.open.remove(&index);
        }
    }

    fn note_choices(&mut self, event: &Value) {
        for choice in event["choices"].as_array().into_iter().flatten() {
            let index = choice["index"].as_u64().unwrap_or(0);
            if choice["finish_reason"].is_null() {
                self.open.insert(index)
            } else {
                self.open.remove(&index)
            };
            self.head = head(event, "choices");
        }
    }

    /// What ends the stream in place of the rest.
    pub(super) fn refusal(&mut self, blocked: &Blocked, usage: &CountedUsage) -> BytesMut {
        let mut out = BytesMut::new();
        let (prompt, completion) = (usage.usage.prompt_tokens, usage.usage.completion_tokens);
        let mut last = match self.format {
            Format::Chat | Format::Completions => {
                let mut event = std::mem::take(&mut self.head);
                let open =
                    if self.open.is_empty() { BTreeSet::from([0]) } else { std::mem::take(&mut self.open) };
                let said =
                    if self.format == Format::Chat { ("delta", json!({})) } else { ("text", "".into()) };
                let choice =
                    |index| json!({"index": index, said.0: said.1, "finish_reason": "content_filter"});
                event["choices"] = open.into_iter().map(choice).collect();
                event["usage"] = json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": usage.usage.total_tokens});
                event
            }
            Format::Messages => {
                for index in std::mem::take(&mut self.open) {
                    write(&mut out, self.format, &json!({"type": "content_block_stop", "index": index}));
                }
                json!({"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_sequence": null}, "usage": {"output_tokens": completion}})
            }
            Format::Responses => {
                let mut response = std::mem::take(&mut self.head);
                response["status"] = "incomplete".into();
                response["output"] = json!([]);
                response["incomplete_details"] = json!({"reason": "content_filter"});
                response["usage"] = json!({"input_tokens": prompt, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": completion,
                    "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": usage.usage.total_tokens});
                json!({"type": "response.incomplete", "sequence_number": self.next.unwrap_or(0), "response": response})
            }
            Format::Contents => {
                let mut event = std::mem::take(&mut self.head);
                let content = json!({"role": "model", "parts": []});
                event["candidates"] =
                    json!([{"content": content, "index": 0, "finishReason": blocked.contents_reason()}]);
                event["usageMetadata"] = json!({"promptTokenCount": prompt, "candidatesTokenCount": completion, "totalTokenCount": usage.usage.total_tokens});
                event
            }
            Format::Converse => {
                for index in std::mem::take(&mut self.open) {
                    let stop = json!({"contentBlockStop": {"contentBlockIndex": index}});
                    write(&mut out, self.format, &stop);
                }
                json!({"messageStop": {"stopReason": "content_filtered"}})
            }
        };
        let told = if self.format == Format::Converse { &mut last["messageStop"] } else { &mut last };
        blocked.mark(told, self.serving);
        write(&mut out, self.format, &last);
        match self.format {
            Format::Messages => write(&mut out, self.format, &json!({"type": "message_stop"})),
            Format::Chat | Format::Completions => out.extend_from_slice(sse::DONE),
            Format::Converse => {
                let usage = json!({"inputTokens": prompt, "outputTokens": completion, "totalTokens": usage.usage.total_tokens});
                write(&mut out, self.format, &json!({"metadata": {"usage": usage}}));
            }
            Format::Responses | Format::Contents => {}
        }
        out
    }
}

impl Channel {
    fn new(rules: &Arc<Rules>, writing: Writing) -> Self {
        Self { window: Window::new(Arc::clone(rules), writing), like: Value::Null }
    }
}

impl Over {
    /// Whether a group of texts is over.
    fn hold(&self, group: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Groups(groups) => groups.contains(&group),
            Self::Everything => true,
        }
    }
}

/// Errors where a stream that is guarded would begin within a text: what is held back of it depends on what
/// came before.
pub(super) fn check_begins(call: &Call<'_>) -> Result<(), ApiError> {
    let query = call.kept.as_ref().filter(|_| call.stream).map_or("", |kept| &kept.query);
    let mut names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    let acts = call.endpoint.guardrails.output.as_ref().is_some_and(Guard::acts);
    if acts && names.any(|name| name == "starting_after") {
        let name = &call.endpoint.name;
        return Err(ApiError::bad_request(format!(
            "starting_after: endpoint {name:?} guards its answers, whose streams cannot begin in the middle; ask without it"
        )));
    }
    Ok(())
}

/// What a stream said.
#[derive(Default)]
struct Kept {
    pieces: BTreeMap<Key, Text>,
    wholes: Vec<Text>,
}

impl Kept {
    fn add_piece(&mut self, key: &Key, writing: Writing, text: &str) {
        let of = || said(writing, String::new());
        self.pieces.entry(key.clone()).or_insert_with(of).text.push_str(text);
    }

    fn add_whole(&mut self, writing: Writing, text: &str) {
        if !text.trim().is_empty() {
            self.wholes.push(said(writing, text.to_owned()));
        }
    }

    /// Each once: what came in pieces is often said again as a whole, more than once.
    fn texts(self) -> Vec<Text> {
        let mut told = BTreeSet::new();
        let all = self.pieces.into_values().chain(self.wholes);
        all.filter(|text| told.insert(text.text.clone())).collect()
    }
}

fn said(writing: Writing, text: String) -> Text {
    Text { role: "assistant".to_owned(), writing, message: 0, text }
}
