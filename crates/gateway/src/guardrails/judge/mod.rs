//! Models that judge: which are asked, and what they say. Their calls go to their entities past guardrails and
//! limits, so that no judge is judged.

mod chat;
mod moderation;
mod protocol;

use journal::GuardKind;
use policy::guardrails::{Judge, Protocol};
use wire::usage::Usage;

use super::examine::Examiner;
use super::texts::Text;

/// Longest piece that is judged at once, in bytes, and most pieces of one text.
const PIECE: usize = 16 << 10;
const MAX_PIECES: usize = 32;

/// What was said of a text.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) flagged: bool,
    /// For the record.
    pub(super) categories: Vec<String>,
    /// For the client: of what a model says, the names that are known, and no words of its own.
    pub(super) told: Vec<String>,
    pub(super) usage: Usage,
}

/// One judgement to be asked for.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) guard: GuardKind,
    pub(super) blocks: bool,
    who: Who,
}

#[derive(Debug)]
enum Who {
    /// A chat endpoint of this server.
    Endpoint {
        name: String,
        protocol: Protocol,
        prompt: Option<String>,
    },
    Moderation,
    /// The configuration no longer has what it had when the guardrail was set.
    Nobody,
}

pub(super) struct Judging<'a> {
    pub(super) examiner: &'a Examiner<'a>,
    pub(super) texts: &'a [Text],
}

impl Judging<'_> {
    pub(super) fn asks(&self) -> Vec<Ask> {
        let guard = self.examiner.guard;
        let mut asks = Vec::new();
        if guard.safety {
            asks.push(Ask { guard: GuardKind::Safety, blocks: true, who: self.safety() });
        }
        if !guard.topics.is_empty() {
            asks.push(Ask { guard: GuardKind::ValidTopics, blocks: true, who: self.topics() });
        }
        asks.extend(guard.judges.iter().map(|judge| {
            let prompt = judge.prompt.as_deref().map(protocol::instructed);
            Ask { guard: GuardKind::Judge, blocks: judge.blocks, who: endpoint(judge, prompt) }
        }));
        asks
    }

    fn safety(&self) -> Who {
        let (settings, own) = (self.examiner.settings, self.examiner.guard.judges.first());
        match (&settings.moderation, &settings.judge, own) {
            (Some(_), ..) => Who::Moderation,
            (None, Some(judge), _) => {
                let prompt = (judge.protocol == Protocol::Json).then(protocol::safety);
                Who::Endpoint { name: judge.endpoint.clone(), protocol: judge.protocol, prompt }
            }
            (None, None, Some(judge)) => endpoint(judge, Some(protocol::safety())),
            (None, None, None) => Who::Nobody,
        }
    }

    fn topics(&self) -> Who {
        let (settings, guard) = (self.examiner.settings, self.examiner.guard);
        let prompt = Some(protocol::topics(&guard.topics));
        let general = settings.judge.as_ref().filter(|judge| judge.protocol == Protocol::Json);
        match (settings.topics.as_ref().or(general.map(|judge| &judge.endpoint)), guard.judges.first()) {
            (Some(name), _) => Who::Endpoint { name: name.clone(), protocol: Protocol::Json, prompt },
            (None, Some(judge)) => endpoint(judge, prompt),
            (None, None) => Who::Nobody,
        }
    }

    /// Errors with why there is no judgement.
    pub(super) async fn ask(&self, ask: &Ask) -> Result<Judged, String> {
        let limit = self.examiner.settings.timeout;
        match tokio::time::timeout(limit, self.ask_all(ask)).await {
            Ok(judged) => judged,
            Err(_) => Err(format!("no judgement within {} ms", limit.as_millis())),
        }
    }

    /// Piece by piece, until one is flagged.
    async fn ask_all(&self, ask: &Ask) -> Result<Judged, String> {
        let mut all = Judged::default();
        let text = match ask.guard {
            // What a user asks for has a topic; what instructs the model has none that counts.
            GuardKind::ValidTopics => self.last_said(),
            _ => self.all_said(),
        };
        let pieces = pieces(&text);
        if pieces.len() > MAX_PIECES {
            return Err(format!("{} bytes are more than is judged", text.len()));
        }
        for piece in pieces {
            let judged = self.ask_one(ask, piece).await?;
            let usage = &judged.usage;
            let (prompt, completion) = (all.usage.prompt_tokens, all.usage.completion_tokens);
            all.usage = Usage::new(prompt + usage.prompt_tokens, completion + usage.completion_tokens);
            if judged.flagged {
                return Ok(Judged { usage: all.usage, ..judged });
            }
        }
        Ok(all)
    }

    async fn ask_one(&self, ask: &Ask, text: &str) -> Result<Judged, String> {
        let examiner = self.examiner;
        match &ask.who {
            Who::Endpoint { name, protocol, prompt } => {
                let question = examiner.question.as_deref();
                let messages = protocol::messages(*protocol, prompt.as_deref(), question, text);
                let (said, usage) = chat::ask(examiner, name, messages).await?;
                let (flagged, categories) = protocol::read(*protocol, &said)?;
                let known = |name: &&String| Protocol::is_category(name);
                let told = categories.iter().filter(known).cloned().collect();
                Ok(Judged { flagged, categories, told, usage })
            }
            Who::Moderation => match &examiner.settings.moderation {
                Some(api) => moderation::ask(examiner.gateway, api, text).await,
                None => Err(NOBODY.to_owned()),
            },
            Who::Nobody => Err(NOBODY.to_owned()),
        }
    }

    fn all_said(&self) -> String {
        let texts: Vec<&str> = self.texts.iter().map(|text| text.text.as_str()).collect();
        texts.join("\n\n")
    }

    /// All of the last message of the user; all there is where there is none.
    fn last_said(&self) -> String {
        let by_user = |text: &&Text| text.role == "user";
        let Some(last) = self.texts.iter().rev().find(by_user) else { return self.all_said() };
        let said = self.texts.iter().filter(by_user).filter(|text| text.message == last.message);
        said.map(|text| text.text.as_str()).collect::<Vec<_>>().join("\n")
    }
}

const NOBODY: &str = "no judge is configured: see guardrails.judge.endpoint and guardrails.moderation.url";

fn endpoint(judge: &Judge, prompt: Option<String>) -> Who {
    Who::Endpoint { name: judge.endpoint.clone(), protocol: Protocol::Json, prompt }
}

fn pieces(text: &str) -> Vec<&str> {
    let (mut out, mut rest) = (Vec::new(), text);
    while rest.len() > PIECE {
        let at = rest.floor_char_boundary(PIECE);
        // Not within a word, where there are words.
        let at = rest[..at].rfind(char::is_whitespace).filter(|space| *space > PIECE / 2).unwrap_or(at);
        out.push(&rest[..at]);
        rest = &rest[at..];
    }
    if !rest.trim().is_empty() {
        out.push(rest);
    }
    out
}
