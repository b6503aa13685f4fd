//! The sums of finished calls.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use journal::rollup::{Breakdown, HourTags, HourlyRow, HourlySums, Rollups};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};
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
    let mut tags = read_tags(&mut tx, rows).await?;
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
fn places(row: &HourlyRow, tags: &mut HashMap<i64, HourTags>) -> [Key; 2] {
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

const ADD: &str = "INSERT INTO usage_rollups \
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, \
           value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15, value ->> 16, \
           value ->> 17, value ->> 18, value ->> 19, value ->> 20, value ->> 21, value ->> 22, value ->> 23, value ->> 24 \
    FROM json_each($1) WHERE true \
    ON CONFLICT DO UPDATE SET \
        requests = requests + excluded.requests, estimated = estimated + excluded.estimated, \
        unpriced = unpriced + excluded.unpriced, nano_usd = nano_usd + excluded.nano_usd, \
        duration_ms = duration_ms + excluded.duration_ms, input = input + excluded.input, \
        cache_read = cache_read + excluded.cache_read, cache_write_5m = cache_write_5m + excluded.cache_write_5m, \
        cache_write_1h = cache_write_1h + excluded.cache_write_1h, input_audio = input_audio + excluded.input_audio, \
        cache_read_audio = cache_read_audio + excluded.cache_read_audio, input_image = input_image + excluded.input_image, \
        output = output + excluded.output, reasoning = reasoning + excluded.reasoning, \
        output_audio = output_audio + excluded.output_audio, output_image = output_image + excluded.output_image";

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

/// The counts are of others: what is too large for the table is as large as it can be.
fn stored(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The tags that are known of the hours in `rows`.
async fn read_tags(
    tx: &mut Transaction<'static, Sqlite>,
    rows: &[HourlyRow],
) -> Result<HashMap<i64, HourTags>> {
    let hours: BTreeSet<i64> = rows.iter().map(|row| row.key.hour).collect();
    let sql = "SELECT hour, tag, value FROM usage_tags WHERE hour IN (SELECT value FROM json_each($1))";
    let known: Vec<(i64, String, String)> =
        sqlx::query_as(sql).bind(json!(hours).to_string()).fetch_all(&mut **tx).await?;
    let mut tags: HashMap<i64, HourTags> = HashMap::new();
    for (hour, tag, value) in known {
        tags.entry(hour).or_default().keep(&tag.into(), &value.into());
    }
    Ok(tags)
}

async fn write_tags(
    tx: &mut Transaction<'static, Sqlite>,
    rows: &[HourlyRow],
    tags: &mut HashMap<i64, HourTags>,
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
    sqlx::query("DELETE FROM usage_tags WHERE hour < $1").bind(newest - TAGS_KEPT).execute(&mut **tx).await?;
    Ok(())
}

/// Days that are whole are read as days, what is before and after them as hours.
const READ: &str = "SELECT \
        CASE $1 WHEN 'hour' THEN start WHEN 'day' THEN start - start % 86400 ELSE $2 END AS begin, \
        CASE WHEN $3 THEN label ELSE '' END AS who, CASE WHEN $4 THEN endpoint ELSE '' END AS at, \
        CASE WHEN $5 THEN entity ELSE '' END AS model, CASE WHEN $6 THEN status ELSE 0 END AS code, \
        SUM(requests), SUM(estimated), SUM(unpriced), SUM(nano_usd), SUM(duration_ms), \
        SUM(input), SUM(cache_read), SUM(cache_write_5m), SUM(cache_write_1h), SUM(input_audio), SUM(cache_read_audio), \
        SUM(input_image), SUM(output), SUM(reasoning), SUM(output_audio), SUM(output_image) \
    FROM (SELECT value ->> 0 AS of, value ->> 1 AS low, value ->> 2 AS high FROM json_each($7)) \
    CROSS JOIN usage_rollups ON breakdown = $8 AND span = of AND start >= low AND start < high \
    WHERE ($9 IS NULL OR tag = $9) AND ($10 IS NULL OR label = $10) AND ($11 IS NULL OR endpoint = $11) \
        AND ($12 IS NULL OR entity = $12) AND ($13 IS NULL OR status = $13) \
        AND ($14 IS NULL OR (breakdown = 'requester' AND label = $14) OR endpoint_id IN (SELECT value FROM json_each($15))) \
    GROUP BY begin, who, at, model, code ORDER BY begin, who, at, model, code LIMIT $16";

#[async_trait]
impl UsageStore for SqliteStore {
    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageGroup>> {
        let (breakdown, tag) = match &query.grouping {
            // Who sees their own calls needs the rows that tell whose a call is. Each call is in one of them.
            Grouping::Nothing if query.sees.is_some() => ("requester", None),
            Grouping::Nothing => ("", None),
            Grouping::Requester => ("requester", None),
            Grouping::Group => ("group", None),
            Grouping::Tag(key) => ("tag", Some(key)),
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
