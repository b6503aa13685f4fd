//! The sums of finished calls.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use journal::rollup::{Breakdown, HourTags, HourlyRow, HourlySums, Rollups};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, SqliteExecutor, Transaction};
use wire::counts::TokenKind;

use super::SqliteStore;
use crate::error::Result;
use crate::usage::{Grouping, Interval, UsageGroup, UsageQuery, UsageStore};

const DAY: i64 = 86_400;
/// Rows of one statement.
const BATCH: usize = 500;
/// How long the tags of an hour are known, for segments that come late. In seconds.
const TAGS_KEPT: i64 = 7 * DAY;

/// A row's place in the table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    breakdown: &'static str,
    span: &'static str,
    start: i64,
    label: Arc<str>,
    tag: Arc<str>,
    endpoint_id: Arc<str>,
    endpoint: Arc<str>,
    entity: Arc<str>,
    status: u16,
}

#[async_trait]
impl Rollups for SqliteStore {
    async fn apply(
        &self,
        journal_id: &str,
        segment: i64,
        rows: &[HourlyRow],
    ) -> std::result::Result<bool, Box<dyn Error + Send + Sync>> {
        Ok(apply(self, journal_id, segment, rows).await?)
    }

    async fn tags(
        &self,
        hours: &BTreeSet<i64>,
    ) -> std::result::Result<BTreeMap<i64, HourTags>, Box<dyn Error + Send + Sync>> {
        Ok(read_tags(&self.pool, hours).await?)
    }

    async fn expire(&self, hours: i64, days: i64) -> std::result::Result<(), Box<dyn Error + Send + Sync>> {
        Ok(expire(self, hours, days).await?)
    }
}

/// By the table's key, so that it costs nothing where there is nothing to do.
async fn expire(store: &SqliteStore, hours: i64, days: i64) -> Result<()> {
    let mut tx = store.write().await?;
    let sql = "DELETE FROM usage_rollups WHERE breakdown IN ('', 'requester', 'group', 'tag') AND span = $1 AND start < $2";
    for (span, before) in [("hour", hours.max(days)), ("day", days)] {
        sqlx::query(sql).bind(span).bind(before).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The generation stays: nothing of this is published.
async fn apply(store: &SqliteStore, journal_id: &str, segment: i64, rows: &[HourlyRow]) -> Result<bool> {
    let mut tx = store.write().await?;
    let sql = "INSERT INTO usage_journals (journal_id, segment) VALUES ($1, $2) \
               ON CONFLICT (journal_id) DO UPDATE SET segment = $2 WHERE segment < $2";
    let done = sqlx::query(sql).bind(journal_id).bind(segment).execute(&mut *tx).await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let hours = rows.iter().map(|row| row.key.hour).collect();
    let mut tags = read_tags(&mut *tx, &hours).await?;
    let mut sums: BTreeMap<Key, HourlySums> = BTreeMap::new();
    for row in rows {
        for key in places(row, &mut tags) {
            sums.entry(key).or_default().add(&row.sums);
        }
    }
    let sums: Vec<Value> = sums.iter().map(|(key, sums)| written(key, sums)).collect();
    for batch in sums.chunks(BATCH) {
        sqlx::query(ADD).bind(Value::from(batch).to_string()).execute(&mut *tx).await?;
    }
    write_tags(&mut tx, rows, &mut tags).await?;
    tx.commit().await?;
    Ok(true)
}

/// In the hour and in the day.
fn places(row: &HourlyRow, tags: &mut BTreeMap<i64, HourTags>) -> [Key; 2] {
    let key = &row.key;
    let none = || Arc::<str>::from("");
    let (breakdown, tag, label) = match &key.breakdown {
        Breakdown::All => ("", none(), none()),
        Breakdown::Requester(name) => ("requester", none(), Arc::clone(name)),
        Breakdown::Group(name) => ("group", none(), Arc::clone(name)),
        Breakdown::Tag { key: tag, value } => {
            let (tag, value) = tags.entry(key.hour).or_default().keep(tag, value);
            ("tag", tag, value)
        }
    };
    [("hour", key.hour), ("day", key.hour - key.hour.rem_euclid(DAY))].map(|(span, start)| Key {
        breakdown,
        span,
        start,
        label: Arc::clone(&label),
        tag: Arc::clone(&tag),
        endpoint_id: Arc::clone(&key.endpoint_id),
        endpoint: Arc::clone(&key.endpoint),
        entity: Arc::clone(&key.entity),
        status: key.status,
    })
}

/// No sum is above [`MAX`], so that none of two is beyond what an integer holds.
const ADD: &str = "INSERT INTO usage_rollups \
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, \
           value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15, value ->> 16, \
           value ->> 17, value ->> 18, value ->> 19, value ->> 20, value ->> 21, value ->> 22, value ->> 23, value ->> 24 \
    FROM json_each($1) WHERE true \
    ON CONFLICT DO UPDATE SET \
        requests = MIN(requests + excluded.requests, 4611686018427387903), estimated = MIN(estimated + excluded.estimated, 4611686018427387903), \
        unpriced = MIN(unpriced + excluded.unpriced, 4611686018427387903), nano_usd = MIN(nano_usd + excluded.nano_usd, 4611686018427387903), \
        duration_ms = MIN(duration_ms + excluded.duration_ms, 4611686018427387903), input = MIN(input + excluded.input, 4611686018427387903), \
        cache_read = MIN(cache_read + excluded.cache_read, 4611686018427387903), cache_write_5m = MIN(cache_write_5m + excluded.cache_write_5m, 4611686018427387903), \
        cache_write_1h = MIN(cache_write_1h + excluded.cache_write_1h, 4611686018427387903), input_audio = MIN(input_audio + excluded.input_audio, 4611686018427387903), \
        cache_read_audio = MIN(cache_read_audio + excluded.cache_read_audio, 4611686018427387903), input_image = MIN(input_image + excluded.input_image, 4611686018427387903), \
        output = MIN(output + excluded.output, 4611686018427387903), reasoning = MIN(reasoning + excluded.reasoning, 4611686018427387903), \
        output_audio = MIN(output_audio + excluded.output_audio, 4611686018427387903), output_image = MIN(output_image + excluded.output_image, 4611686018427387903)";

/// In the order of the table's columns.
fn written(key: &Key, sums: &HourlySums) -> Value {
    let Key { breakdown, span, start, label, tag, endpoint_id, endpoint, entity, status } = key;
    let mut columns = vec![
        json!(breakdown),
        json!(span),
        json!(start),
        json!(&**tag),
        json!(&**label),
        json!(&**endpoint_id),
        json!(&**endpoint),
        json!(&**entity),
        json!(status),
    ];
    let HourlySums { requests, estimated, unpriced, tokens, nano_usd, duration_ms } = sums;
    let counts = [*requests, *estimated, *unpriced, *nano_usd, *duration_ms];
    columns.extend(counts.into_iter().chain(tokens.iter().map(|(_, count)| count)).map(|n| json!(stored(n))));
    Value::Array(columns)
}

/// Half of what an integer of the table holds.
const MAX: i64 = i64::MAX / 2;

/// The counts are of others: what is too large for the table is as large as it can be.
fn stored(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(MAX).min(MAX)
}

/// The tags that are known of these hours.
async fn read_tags(from: impl SqliteExecutor<'_>, hours: &BTreeSet<i64>) -> Result<BTreeMap<i64, HourTags>> {
    let sql = "SELECT hour, tag, value FROM usage_tags WHERE hour IN (SELECT value FROM json_each($1))";
    let known: Vec<(i64, String, String)> =
        sqlx::query_as(sql).bind(json!(hours).to_string()).fetch_all(from).await?;
    let mut tags: BTreeMap<i64, HourTags> = BTreeMap::new();
    for (hour, tag, value) in known {
        tags.entry(hour).or_default().keep(&tag.into(), &value.into());
    }
    Ok(tags)
}

async fn write_tags(
    tx: &mut Transaction<'static, Sqlite>,
    rows: &[HourlyRow],
    tags: &mut BTreeMap<i64, HourTags>,
) -> Result<()> {
    let mut kept = BTreeSet::new();
    for row in rows {
        if let Breakdown::Tag { key, value } = &row.key.breakdown {
            let (key, value) = tags.entry(row.key.hour).or_default().keep(key, value);
            kept.insert((row.key.hour, key.to_string(), value.to_string()));
        }
    }
    let Some(newest) = kept.last().map(|(hour, ..)| *hour) else { return Ok(()) };
    let sql = "INSERT OR IGNORE INTO usage_tags \
               SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1)";
    sqlx::query(sql).bind(json!(kept).to_string()).execute(&mut **tx).await?;
    // A record from the future, by a clock that was wrong, does not make the tags of today old.
    let before = newest.min(journal::clock::least_ms() / 1000) - TAGS_KEPT;
    sqlx::query("DELETE FROM usage_tags WHERE hour < $1").bind(before).execute(&mut **tx).await?;
    Ok(())
}

/// Days that are whole are read as days, what is before and after them as hours. Each hour and day that there is, is
/// looked up for itself: the key of a tag stands behind the time in the table's key, and no row of another is read.
/// `TOTAL` is exact up to 2^53; beyond that it is rounded, where `SUM` fails once a sum is more than an integer holds.
const READ: &str = include_str!("usage.sql");

#[async_trait]
impl UsageStore for SqliteStore {
    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageGroup>> {
        let (breakdown, tag) = match &query.grouping {
            // Who sees their own calls needs the rows that tell whose a call is. Each call is in one of them.
            Grouping::Nothing if query.sees.is_some() => ("requester", ""),
            Grouping::Nothing => ("", ""),
            Grouping::Requester => ("requester", ""),
            Grouping::Group => ("group", ""),
            Grouping::Tag(key) => ("tag", key.as_str()),
        };
        let sees = query.sees.as_ref();
        let rows = sqlx::query(READ)
            .bind(query.interval.map(Interval::as_str))
            .bind(query.from)
            .bind(query.by_label)
            .bind(query.by_endpoint)
            .bind(query.by_entity)
            .bind(query.by_status)
            .bind(ranges(query).to_string())
            .bind(breakdown)
            .bind(tag)
            .bind(&query.label)
            .bind(&query.endpoint)
            .bind(&query.entity)
            .bind(query.status)
            .bind(sees.map(|sees| &sees.requester))
            .bind(sees.map(|sees| json!(sees.endpoint_ids).to_string()))
            .bind(query.limit)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(group).collect()
    }
}

/// The spans and times to read, for `from` and `to` that are on the hour.
fn ranges(query: &UsageQuery) -> Value {
    let UsageQuery { from, to, .. } = *query;
    let (first, last) = ((from + DAY - 1).div_euclid(DAY) * DAY, to.div_euclid(DAY) * DAY);
    if query.interval == Some(Interval::Hour) || first >= last {
        return json!([["hour", from, to]]);
    }
    json!([["hour", from, first], ["day", first, last], ["hour", last, to]])
}

fn group(row: &SqliteRow) -> Result<UsageGroup> {
    let count = |at: usize| -> Result<u64> { Ok(row.try_get::<i64, _>(at)?.unsigned_abs()) };
    let mut tokens = Vec::with_capacity(TokenKind::ALL.len());
    for (at, kind) in (10..).zip(TokenKind::ALL) {
        tokens.push((kind, count(at)?));
    }
    Ok(UsageGroup {
        start: row.try_get(0)?,
        label: row.try_get(1)?,
        endpoint: row.try_get(2)?,
        entity: row.try_get(3)?,
        status: row.try_get(4)?,
        sums: HourlySums {
            requests: count(5)?,
            estimated: count(6)?,
            unpriced: count(7)?,
            nano_usd: count(8)?,
            duration_ms: count(9)?,
            tokens: tokens.into_iter().collect(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;

    #[tokio::test]
    async fn rows_are_looked_up_by_hour_and_tag_and_none_is_read_in_vain() {
        let folder = tempfile::tempdir().unwrap();
        let key = crate::MasterKey::from_hex(&crate::MasterKey::generate().unwrap()).unwrap();
        let store = SqliteStore::open(&folder.path().join("tollgate.db"), key).await.unwrap();
        let plan = sqlx::query(concat!("EXPLAIN QUERY PLAN ", include_str!("usage.sql")));
        let plan = plan.fetch_all(&store.pool).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        let reads: Vec<&str> =
            plan.iter().filter(|step| step.contains("usage_rollups")).map(String::as_str).collect();
        let next = "SEARCH usage_rollups USING PRIMARY KEY (breakdown=? AND span=? AND start>? AND start<?)";
        let rows = "SEARCH usage_rollups USING PRIMARY KEY (breakdown=? AND span=? AND start=? AND tag=?)";
        assert_eq!(reads, [next, next, rows], "{plan:?}");
        store.close().await;
    }

    #[test]
    fn whole_days_are_read_as_days() {
        let of = |from, to, interval| ranges(&UsageQuery { from, to, interval, ..UsageQuery::default() });
        assert_eq!(
            of(HOUR, 3 * DAY + 2 * HOUR, None),
            json!([["hour", HOUR, DAY], ["day", DAY, 3 * DAY], ["hour", 3 * DAY, 3 * DAY + 2 * HOUR]])
        );
        assert_eq!(of(0, DAY, None), json!([["hour", 0, 0], ["day", 0, DAY], ["hour", DAY, DAY]]));
        assert_eq!(of(HOUR, DAY, None), json!([["hour", HOUR, DAY]]));
        assert_eq!(of(0, 9 * DAY, Some(Interval::Hour)), json!([["hour", 0, 9 * DAY]]));
    }
}
