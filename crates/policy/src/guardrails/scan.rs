//! What a text holds: its readings, and those of what is encoded in it, under all rules.

use super::decode;
use super::fold::View;
use super::keywords::{Keywords, lower};
use super::pii::{self, Entity};

/// The rules that need no model.
#[derive(Debug, Default)]
pub struct Rules {
    pub(super) keywords: Option<Keywords>,
    pub(super) pii: Option<Behavior>,
    /// Whether the extended set is looked for too.
    pub(super) extended: bool,
}

/// What becomes of personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behavior {
    /// It is recorded that there is some.
    Detect,
    Block,
    Mask,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Keyword,
    Pii(Entity),
    /// The text cannot be judged: too much of it is invisible.
    Unreadable,
}

/// Something found, and where in the text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) what: What,
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Rules {
    pub fn are_none(&self) -> bool {
        self.keywords.is_none() && self.pii.is_none()
    }

    pub fn has_keywords(&self) -> bool {
        self.keywords.is_some()
    }

    pub fn pii(&self) -> Option<Behavior> {
        self.pii
    }

    /// Whether what they find changes what goes on.
    pub fn act(&self) -> bool {
        self.keywords.is_some() || self.pii.is_some_and(|behavior| behavior != Behavior::Detect)
    }

    /// The same eyes for personal data, masking it.
    pub fn masking(&self) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self { keywords: None, pii: Some(Behavior::Mask), extended: self.extended })
    }

    /// What is left to do for a remote analyser, if there is one, where these rules have been applied.
    pub fn remainder(&self, remote: bool) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self {
            keywords: None,
            pii: self.pii.filter(|_| remote),
            extended: self.extended,
        })
    }

    /// Longest that something found can be with what tells what it is, in bytes of the text as it reads.
    pub(super) fn longest(&self) -> usize {
        let keyword = self.keywords.as_ref().map_or(0, Keywords::longest);
        keyword.max(pii::LONGEST) + pii::REACH
    }

    /// All that `readings` of one text hold.
    pub(super) fn find(&self, readings: &[View]) -> Vec<Found> {
        let mut found = Vec::new();
        readings.iter().for_each(|view| self.look(view, 0, &mut found));
        found
    }

    fn look(&self, view: &View, depth: usize, out: &mut Vec<Found>) {
        let small = lower(&view.text);
        let mut push = |what: What, from: usize, to: usize| {
            let (from, to) = view.span(from, to);
            out.push(Found { what, from: from as usize, to: to as usize });
        };
        if let Some(keywords) = &self.keywords {
            keywords.find(&small, depth > 0).for_each(|(from, to)| push(What::Keyword, from, to));
        }
        if self.pii.is_some() {
            let hits = pii::find(&view.text, &small, self.extended);
            hits.iter().for_each(|hit| push(What::Pii(hit.entity), hit.from, hit.to));
        }
        if depth < decode::DEPTH {
            decode::children(view).iter().for_each(|child| self.look(child, depth + 1, out));
        }
    }
}
