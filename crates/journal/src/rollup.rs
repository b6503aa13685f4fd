//! Finished requests summed up by the hour: what the usage API answers from.
//!
//! A segment of records becomes rows once and is applied once, so that a crash at any moment neither loses nor
//! doubles a request. Each request is in several breakdowns, each of which sums up to all requests but for that
//! by group, where somebody may be in several or in none.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use wire::counts::TokenCounts;

use crate::{Admission, Provenance, Settlement};

/// Values of tags that are kept apart in an hour; what comes after is [`OTHER`].
pub const MAX_TAG_VALUES: usize = 1000;

/// Stands for the values beyond [`MAX_TAG_VALUES`].
pub const OTHER: &str = "__other__";

const HOUR_MS: i64 = 3_600_000;

/// Where rows are summed up for good.
#[async_trait]
pub trait Rollups: Send + Sync {
    /// Adds the rows of a segment, all or none of them. The segments of a journal are numbered upwards and
    /// applied in order: one that is not above the last adds nothing, and gives false.
    async fn apply(
        &self,
        journal_id: &str,
        segment: i64,
        rows: &[HourlyRow],
    ) -> Result<bool, Box<dyn Error + Send + Sync>>;

    /// The tags that are kept apart in these hours already.
    async fn tags(
        &self,
        hours: &BTreeSet<i64>,
    ) -> Result<BTreeMap<i64, HourTags>, Box<dyn Error + Send + Sync>>;

    /// Deletes the sums by the hour of what was before `hours`, and all sums of what was before `days`, both in
    /// seconds since the epoch.
    async fn expire(&self, hours: i64, days: i64) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// What requests are told apart by, besides endpoint, entity and status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Breakdown {
    /// By nothing.
    All,
    Requester(Arc<str>),
    /// Each group of the requester.
    Group(Arc<str>),
    /// Each tag of the request.
    Tag {
        key: Arc<str>,
        value: Arc<str>,
    },
}

/// What a row sums up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HourlyKey {
    /// The begin of the hour, in seconds since the epoch.
    pub hour: i64,
    pub breakdown: Breakdown,
    pub endpoint_id: Arc<str>,
    /// The name at that time.
    pub endpoint: Arc<str>,
    /// Empty where none was tried.
    pub entity: Arc<str>,
    pub status: u16,
}

/// The sums of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HourlySums {
    pub requests: u64,
    /// Of the requests, those whose tokens the provider did not count whole.
    pub estimated: u64,
    /// Of the requests, those that used tokens whose price is not known.
    pub unpriced: u64,
    pub tokens: TokenCounts,
    /// Billionths of a US dollar, of the requests that have a price.
    pub nano_usd: u64,
    /// Milliseconds from receipt to the last byte.
    pub duration_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourlyRow {
    pub key: HourlyKey,
    pub sums: HourlySums,
}

impl HourlySums {
    fn of(settlement: &Settlement) -> Self {
        let usage = settlement.usage.as_ref();
        let tokens = usage.map(crate::CountedUsage::tokens).unwrap_or_default();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a duration; the cast saturates"
        )]
        let duration_ms = settlement.duration_ms.round() as u64;
        Self {
            requests: 1,
            estimated: usage.is_some_and(|usage| usage.provenance != Provenance::Provider).into(),
            unpriced: (tokens.total() > 0 && settlement.cost.is_none()).into(),
            tokens,
            nano_usd: settlement.cost.as_ref().map_or(0, |cost| cost.nano_usd),
            duration_ms,
        }
    }

    pub fn add(&mut self, more: &Self) {
        let Self { requests, estimated, unpriced, tokens, nano_usd, duration_ms } = more;
        self.requests = self.requests.saturating_add(*requests);
        self.estimated = self.estimated.saturating_add(*estimated);
        self.unpriced = self.unpriced.saturating_add(*unpriced);
        self.tokens += *tokens;
        self.nano_usd = self.nano_usd.saturating_add(*nano_usd);
        self.duration_ms = self.duration_ms.saturating_add(*duration_ms);
    }
}

/// Sums up finished requests. Its size is that of what they are told apart by, not that of their number.
#[derive(Clone, Debug, Default)]
pub struct Hourly {
    rows: HashMap<HourlyKey, HourlySums>,
    tags: BTreeMap<i64, HourTags>,
}

impl Hourly {
    /// With the tags that are kept apart already in an hour of which it has no request yet.
    pub fn learn(&mut self, tags: BTreeMap<i64, HourTags>) {
        self.tags.extend(tags);
    }

    pub fn add(&mut self, admission: &Admission, settlement: &Settlement) {
        let hour = hour_of(admission);
        let sums = HourlySums::of(settlement);
        let entity = settlement.entity.clone().unwrap_or_else(|| "".into());
        let mut add = |breakdown| {
            let key = HourlyKey {
                hour,
                breakdown,
                endpoint_id: Arc::clone(&admission.endpoint_id),
                endpoint: Arc::clone(&admission.endpoint),
                entity: Arc::clone(&entity),
                status: settlement.status,
            };
            self.rows.entry(key).or_default().add(&sums);
        };
        add(Breakdown::All);
        add(Breakdown::Requester(Arc::clone(&admission.requester)));
        for group in &admission.groups {
            add(Breakdown::Group(Arc::clone(group)));
        }
        let known = self.tags.entry(hour).or_default();
        let mut tags = BTreeSet::new();
        // What is attached to the request counts before what stands in its body.
        let body = admission.usage_context.iter();
        let body = body.filter(|(key, _)| !admission.request_tags.contains_key(*key));
        for (key, value) in body.chain(&admission.request_tags) {
            let (key, value) = known.keep(&key.as_str().into(), &value.as_str().into());
            tags.insert(Breakdown::Tag { key, value });
        }
        // Several that have no room are one.
        tags.into_iter().for_each(add);
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, in order.
    pub fn rows(self) -> Vec<HourlyRow> {
        let mut rows: Vec<HourlyRow> =
            self.rows.into_iter().map(|(key, sums)| HourlyRow { key, sums }).collect();
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        rows
    }
}

/// The tags that are kept apart in an hour, at most [`MAX_TAG_VALUES`].
#[derive(Clone, Debug, Default)]
pub struct HourTags {
    tags: HashSet<(Arc<str>, Arc<str>)>,
    keys: HashSet<Arc<str>>,
}

impl HourTags {
    /// The tag, or what stands for it where there is no room for one more: its key stays where it is known.
    pub fn keep(&mut self, key: &Arc<str>, value: &Arc<str>) -> (Arc<str>, Arc<str>) {
        let tag = (Arc::clone(key), Arc::clone(value));
        if self.tags.contains(&tag) {
            return tag;
        }
        if self.tags.len() >= MAX_TAG_VALUES {
            let known = if self.keys.contains(key) { Arc::clone(key) } else { OTHER.into() };
            return (known, OTHER.into());
        }
        self.keys.insert(Arc::clone(key));
        self.tags.insert(tag.clone());
        tag
    }
}

/// The begin of the hour that a request was received in, in seconds since the epoch.
pub fn hour_of(admission: &Admission) -> i64 {
    admission.received_at.div_euclid(HOUR_MS) * (HOUR_MS / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CountedUsage, Outcome, RequestId};
    use wire::cost::Cost;
    use wire::usage::Usage;

    fn admission(at: usize) -> Admission {
        Admission {
            request_id: RequestId(at.to_string().into()),
            received_at: 1_795_000_000_000 + at as i64 * 10,
            endpoint: format!("e{}", at % 7).into(),
            endpoint_id: format!("id{}", at % 7).into(),
            requester: format!("user{}", at % 101).into(),
            groups: (0..at % 3).map(|group| format!("g{group}").into()).collect(),
            usage_context: BTreeMap::from([("team".to_owned(), format!("t{}", at % 1500))]),
            ..Admission::default()
        }
    }

    fn settlement(at: usize) -> Settlement {
        let (input, output) = (at as u64 % 1000, at as u64 % 77);
        let usage = CountedUsage { usage: Usage::new(input, output), provenance: Provenance::ALL[at % 3] };
        Settlement {
            outcome: Outcome::Completed,
            status: if at.is_multiple_of(11) { 429 } else { 200 },
            entity: Some(format!("m{}", at % 2).into()),
            model: None,
            provider: None,
            attempts: Vec::new(),
            usage: (!at.is_multiple_of(5)).then_some(usage),
            cost: (!at.is_multiple_of(4)).then(|| Cost { nano_usd: input * 3, prices: "v".into() }),
            duration_ms: 1.5,
            first_byte_ms: None,
            bytes_out: 0,
            content_type: None,
            output_characters: None,
            guards: Vec::new(),
            payload: None,
            response: None,
        }
    }

    fn hourly<'a>(finished: impl IntoIterator<Item = (&'a Admission, &'a Settlement)>) -> Vec<HourlyRow> {
        let mut sums = Hourly::default();
        finished.into_iter().for_each(|(admission, settlement)| sums.add(admission, settlement));
        sums.rows()
    }

    fn total<'a>(rows: impl Iterator<Item = &'a HourlyRow>) -> HourlySums {
        rows.fold(HourlySums::default(), |mut sum, row| {
            sum.add(&row.sums);
            sum
        })
    }

    #[test]
    fn every_breakdown_sums_up_to_the_ledger() {
        let ledger: Vec<(Admission, Settlement)> =
            (0..20_000).map(|at| (admission(at), settlement(at))).collect();
        let rows = hourly(ledger.iter().map(|(admission, settlement)| (admission, settlement)));
        let all = total(rows.iter().filter(|row| row.key.breakdown == Breakdown::All));
        assert_eq!(all.requests, 20_000);
        let tokens: TokenCounts = ledger.iter().filter_map(|(_, s)| Some(s.usage.as_ref()?.tokens())).sum();
        assert_eq!(all.tokens, tokens);
        assert_eq!(
            all.nano_usd,
            ledger.iter().filter_map(|(_, s)| Some(s.cost.as_ref()?.nano_usd)).sum::<u64>()
        );
        assert!(all.unpriced > 0 && all.estimated > 0);
        for is in [(|b| matches!(b, Breakdown::Requester(_))) as fn(&Breakdown) -> bool, |b| {
            matches!(b, Breakdown::Tag { .. })
        }] {
            assert_eq!(total(rows.iter().filter(|row| is(&row.key.breakdown))), all);
        }
        assert!(rows.is_sorted_by(|a, b| a.key < b.key));
    }

    #[test]
    fn tags_beyond_the_bound_are_summed_up_as_other() {
        let mut sums = Hourly::default();
        for at in 0..1500 {
            sums.add(&admission(at), &settlement(at));
        }
        let rows = sums.rows();
        let values: HashSet<&str> = rows
            .iter()
            .filter_map(|row| match &row.key.breakdown {
                Breakdown::Tag { value, .. } => Some(&**value),
                _ => None,
            })
            .collect();
        assert_eq!(values.len(), MAX_TAG_VALUES + 1);
        assert!(values.contains(OTHER) && values.contains("t0") && !values.contains("t1400"));
    }

    #[test]
    fn a_request_of_many_tags_is_one_request_of_other() {
        let tags = |from: usize| (from..from + 1500).map(|at| (format!("k{at}"), "v".to_owned())).collect();
        let many = |from| Admission { usage_context: tags(from), ..admission(1) };
        let other = |rows: &[HourlyRow]| {
            let is_other = |key: &Breakdown| matches!(key, Breakdown::Tag { key, value } if &**key == OTHER && &**value == OTHER);
            total(rows.iter().filter(|row| is_other(&row.key.breakdown))).requests
        };
        let rows = hourly([(&many(0), &settlement(1)), (&many(5000), &settlement(1))]);
        assert_eq!(other(&rows), 2);
        // Where the hour's tags are known from elsewhere there is no more room than that.
        let mut known = HourTags::default();
        (0..MAX_TAG_VALUES).for_each(|at| drop(known.keep(&format!("x{at}").into(), &"v".into())));
        let mut sums = Hourly::default();
        sums.learn([(hour_of(&many(0)), known)].into());
        sums.add(&many(0), &settlement(1));
        assert_eq!(other(&sums.rows()), 1);
    }

    #[test]
    fn hours_begin_where_they_do_before_the_epoch_too() {
        for (at, hour) in [(0, 0), (3_599_999, 0), (3_600_000, 3600), (-1, -3600)] {
            let admission = Admission { received_at: at, ..admission(1) };
            assert_eq!(hourly([(&admission, &settlement(1))])[0].key.hour, hour);
        }
    }
}
