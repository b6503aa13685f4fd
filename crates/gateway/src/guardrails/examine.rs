//! Everything that guards a set of texts, in order: the rules, a remote analyser, the judges.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use journal::{GuardKind, GuardOutcome, GuardPhase, GuardVerdict};
use policy::Snapshot;
use policy::guardrails::{Behavior, Guard, Rules, Settings, What, whole};

use super::blocked::Blocked;
use super::judge::{Judged, Judging};
use super::presidio;
use super::texts::Text;
use crate::Gateway;
use crate::record::Open;

pub(super) struct Examiner<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) snapshot: &'a Snapshot,
    pub(super) settings: &'a Settings,
    pub(super) guard: &'a Guard,
    pub(super) phase: GuardPhase,
    /// What an answer answers.
    pub(super) question: Option<String>,
    /// The call whose texts they are.
    pub(super) open: &'a Open,
}

/// What is to happen.
#[derive(Debug, Default)]
pub(super) struct Ruling {
    pub(super) verdicts: Vec<GuardVerdict>,
    pub(super) blocked: Option<Blocked>,
}

/// What rules found, in a text or in many.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    keyword: bool,
    unreadable: bool,
    kinds: BTreeSet<String>,
}

impl Sightings {
    /// What `rules` find in `texts`, in which they mask what is to be masked.
    pub(super) fn of(rules: &Arc<Rules>, texts: &mut [Text]) -> Self {
        let mut seen = Self::default();
        for text in texts {
            let released = whole(rules, text.writing, &text.text);
            seen.add(&released.found);
            if rules.pii() == Some(Behavior::Mask) {
                text.text = released.text;
            }
        }
        seen
    }

    /// What `rules` do about it.
    pub(super) fn ruling(&self, rules: &Rules, phase: GuardPhase) -> Ruling {
        let blocked = self.blocks(rules).map(|guard| Blocked::new(guard, phase));
        Ruling { verdicts: self.verdicts(rules, phase), blocked }
    }

    pub(super) fn add(&mut self, found: &[What]) {
        for what in found {
            match what {
                What::Keyword => self.keyword = true,
                What::Unreadable => self.unreadable = true,
                What::Pii(entity) => drop(self.kinds.insert(entity.as_str().to_owned())),
            }
        }
    }

    /// The guard that does not let it through, if there is one.
    pub(super) fn blocks(&self, rules: &Rules) -> Option<GuardKind> {
        let pii = rules.pii().is_some_and(|pii| pii == Behavior::Block) && !self.kinds.is_empty();
        let first = if rules.has_keywords() { GuardKind::InvalidKeywords } else { GuardKind::Pii };
        let unreadable = (self.unreadable && rules.act()).then_some(first);
        let keyword = self.keyword.then_some(GuardKind::InvalidKeywords);
        keyword.or_else(|| pii.then_some(GuardKind::Pii)).or(unreadable)
    }

    /// A verdict of each rule.
    pub(super) fn verdicts(&self, rules: &Rules, phase: GuardPhase) -> Vec<GuardVerdict> {
        let verdict = |guard, outcome, details| GuardVerdict { guard, phase, outcome, details, tokens: 0 };
        let keywords = rules.has_keywords().then(|| {
            let outcome = match (self.keyword, self.unreadable) {
                (true, _) => GuardOutcome::Blocked,
                (_, true) => GuardOutcome::FailedClosed,
                _ => GuardOutcome::Passed,
            };
            verdict(GuardKind::InvalidKeywords, outcome, Vec::new())
        });
        let pii = rules.pii().map(|behavior| {
            let outcome = match (self.kinds.is_empty(), behavior) {
                (true, Behavior::Block | Behavior::Mask) if self.unreadable => GuardOutcome::FailedClosed,
                (true, _) => GuardOutcome::Passed,
                (false, Behavior::Detect) => GuardOutcome::Detected,
                (false, Behavior::Mask) => GuardOutcome::Masked,
                (false, Behavior::Block) => GuardOutcome::Blocked,
            };
            verdict(GuardKind::Pii, outcome, self.kinds.iter().cloned().collect())
        });
        keywords.into_iter().chain(pii).collect()
    }
}

impl Examiner<'_> {
    /// Masks in place what is to be masked, and says what is to happen.
    pub(super) async fn examine(&self, texts: &mut [Text]) -> Ruling {
        let mut ruling = self.rule(texts).await;
        if ruling.blocked.is_none() && self.guard.asks() {
            self.judge(texts, &mut ruling).await;
        }
        ruling
    }

    async fn rule(&self, texts: &mut [Text]) -> Ruling {
        let rules = &self.guard.rules;
        if rules.are_none() {
            return Ruling::default();
        }
        let originals = texts.to_vec();
        let mut seen = Sightings::of(rules, texts);
        let mut failure = None;
        if let Some(analyser) = self.settings.presidio.as_ref().filter(|_| rules.pii().is_some()) {
            let (limit, masks) = (self.settings.timeout, rules.pii() == Some(Behavior::Mask));
            match presidio::analyse(self.gateway, analyser, limit, texts, masks).await {
                Ok(kinds) => seen.kinds.extend(kinds),
                Err(reason) => {
                    let acts = rules.pii() != Some(Behavior::Detect);
                    failure = Some(self.failed(GuardKind::Pii, reason, acts));
                }
            }
        }
        let mut ruling = seen.ruling(rules, self.phase);
        // What is answered is not handed out, masked or not.
        if let Some(blocked) = &mut ruling.blocked
            && seen.blocks(rules) == Some(GuardKind::Pii)
            && self.phase == GuardPhase::Input
        {
            blocked.anonymized = Some(anonymized(rules, originals));
        }
        if let Some((verdict, blocked)) = failure {
            ruling.verdicts.push(verdict);
            ruling.blocked = ruling.blocked.or(blocked);
        }
        ruling
    }

    /// All judges at once.
    async fn judge(&self, texts: &[Text], ruling: &mut Ruling) {
        let judging = Judging { examiner: self, texts };
        let asks = judging.asks();
        let answers = join_all(asks.iter().map(|ask| judging.ask(ask))).await;
        for (ask, answer) in asks.iter().zip(answers) {
            let (verdict, blocked) = match answer {
                Ok(judged) => self.judged(ask.guard, ask.blocks, judged),
                Err(reason) => self.failed(ask.guard, reason, ask.blocks),
            };
            ruling.verdicts.push(verdict);
            if let Some(blocked) = blocked {
                ruling.blocked.get_or_insert(blocked);
            }
        }
    }

    fn judged(&self, guard: GuardKind, blocks: bool, judged: Judged) -> (GuardVerdict, Option<Blocked>) {
        let outcome = match (judged.flagged, blocks) {
            (false, _) => GuardOutcome::Passed,
            (true, true) => GuardOutcome::Blocked,
            (true, false) => GuardOutcome::Detected,
        };
        let (tokens, details) = (judged.usage.total_tokens, judged.categories.clone());
        let verdict = GuardVerdict { guard, phase: self.phase, outcome, details, tokens };
        let blocked = (outcome == GuardOutcome::Blocked).then(|| {
            let mut blocked = Blocked::new(guard, self.phase);
            blocked.categories = Some(judged.told);
            blocked.usage = judged.usage;
            blocked
        });
        (verdict, blocked)
    }

    /// What is recorded of what cannot be read, where guards only record.
    pub(super) fn unread(&self, reason: &str) -> Vec<GuardVerdict> {
        let pii = self.guard.rules.pii().map(|_| GuardKind::Pii);
        let judges = self.guard.judges.iter().map(|_| GuardKind::Judge);
        pii.into_iter().chain(judges).map(|guard| self.failed(guard, reason.to_owned(), false).0).collect()
    }

    /// A guard that could not judge: nothing goes on, unless the configuration says otherwise, or the guard
    /// lets everything through and only records it.
    fn failed(&self, guard: GuardKind, reason: String, acts: bool) -> (GuardVerdict, Option<Blocked>) {
        let open = self.settings.allow_on_failure || !acts;
        tracing::warn!(
            guard = guard.as_str(),
            phase = self.phase.as_str(),
            reason,
            let_through = open,
            "a guardrail could not judge"
        );
        let outcome = if open { GuardOutcome::FailedOpen } else { GuardOutcome::FailedClosed };
        let verdict = GuardVerdict { guard, phase: self.phase, outcome, details: vec![reason], tokens: 0 };
        let blocked = (!open).then(|| Blocked::failed(guard, self.phase));
        (verdict, blocked)
    }
}

/// The texts as they would be if they were masked.
fn anonymized(rules: &Rules, texts: Vec<Text>) -> Vec<Text> {
    let masking = rules.masking();
    let masked = |text: Text| Text { text: whole(&masking, text.writing, &text.text).text, ..text };
    texts.into_iter().map(masked).collect()
}
