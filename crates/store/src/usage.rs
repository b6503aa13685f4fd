//! The sums of finished calls: what is asked of them.

use async_trait::async_trait;
use journal::rollup::HourlySums;

use crate::error::Result;

/// Reads the sums. They are written by `journal::rollup::Rollups`.
#[async_trait]
pub trait UsageStore: Send + Sync {
    /// The groups, by interval and then by what they are told apart by.
    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageGroup>>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    Hour,
    /// Of UTC.
    Day,
}

impl Interval {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// What calls are told apart by, besides endpoint, entity and status: one of these at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    #[default]
    Nothing,
    Requester,
    Group,
    /// The values of the tag with this key.
    Tag(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// Seconds since the epoch, on the hour: the first that counts, and the first that does not any more.
    pub from: i64,
    pub to: i64,
    /// Whether each hour or day is apart; `None` for the whole time in one.
    pub interval: Option<Interval>,
    pub grouping: Grouping,
    /// Whether the values of `grouping` are apart, or only filtered by.
    pub by_label: bool,
    pub by_endpoint: bool,
    pub by_entity: bool,
    pub by_status: bool,
    pub endpoint: Option<String>,
    pub entity: Option<String>,
    pub status: Option<u16>,
    /// Of `grouping`, the one value that counts.
    pub label: Option<String>,
    /// Who may not see everything.
    pub sees: Option<Sees>,
    /// Most groups that are given.
    pub limit: u32,
}

/// What somebody sees: the calls of their own and those of some endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sees {
    pub requester: String,
    pub endpoint_ids: Vec<String>,
}

/// What is not told apart is empty or zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageGroup {
    /// The begin of the interval, or of the whole time, in seconds since the epoch.
    pub start: i64,
    pub label: String,
    pub endpoint: String,
    pub entity: String,
    pub status: u16,
    pub sums: HourlySums,
}
