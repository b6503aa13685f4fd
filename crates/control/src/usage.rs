//! `/api/tollgate/v1/usage`: what was used, by whom, at what cost. It is answered from sums by the hour and by the
//! day, never from the calls.

use std::fmt::Write;
use std::str::FromStr;

use http::Method;
use policy::{Level, Principal, permit};
use serde_json::{Map, Value, json};
use store::{Grouping, Interval, Sees, UsageGroup, UsageQuery};
use wire::counts::TokenKind;
use wire::error::ApiError;

use crate::access::{Needs, Route};
use crate::clock;
use crate::reply::{Failure, Reply};
use crate::request::Call;

pub(crate) const ROUTES: &[Route] = &[Route {
    method: Method::GET,
    path: "/api/tollgate/v1/usage",
    needs: Needs::Principal,
    handler: |call| Box::pin(usage(call)),
}];

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Groups that are given where nobody says how many, and at most.
const LIMIT: u32 = 10_000;
const MAX_LIMIT: u32 = 100_000;

/// What of a request is known by name.
const PARAMETERS: [&str; 12] = [
    "start_time",
    "end_time",
    "interval",
    "group_by",
    "endpoint",
    "entity",
    "status",
    "requester",
    "group",
    "tag",
    "limit",
    "format",
];

/// What is asked, and how it is answered.
struct Asked {
    query: UsageQuery,
    /// The name of the column of labels.
    label: &'static str,
    csv: bool,
}

async fn usage(call: Call) -> Result<Reply, Failure> {
    let asked = read(&call)?;
    let mut groups = call.control.store().usage(&asked.query).await?;
    // One more was asked for than is given.
    let most = asked.query.limit as usize - 1;
    let truncated = groups.len() > most;
    groups.truncate(most);
    if asked.csv {
        // A file has no place for a word that it is not whole.
        if truncated {
            return Err(ApiError::invalid(format!(
                "format: there are more than {most} groups, and CSV cannot say so: ask for a shorter time, for less in \
                 group_by, or for a limit of up to {MAX_LIMIT}"
            ))
            .into());
        }
        return Ok(Reply::csv(csv(&asked, &groups)));
    }
    let rows: Vec<Value> = groups.iter().map(|group| row(&asked, group)).collect();
    let UsageQuery { from, to, .. } = asked.query;
    Reply::json(
        &json!({"start_time": from * 1000, "end_time": to * 1000, "groups": rows, "truncated": truncated}),
    )
}

fn read(call: &Call) -> Result<Asked, ApiError> {
    if let Some(unknown) = call.queries().keys().find(|name| !PARAMETERS.contains(&name.as_str())) {
        let hint = providers::nearest(unknown, PARAMETERS).map(|near| format!("; did you mean {near:?}?"));
        return Err(ApiError::invalid(format!("{unknown:?} is no parameter{}", hint.unwrap_or_default())));
    }
    let mut query = UsageQuery { limit: limit(call)? + 1, ..UsageQuery::default() };
    (query.from, query.to) = time(call)?;
    query.interval = match call.query("interval").ok() {
        None => None,
        Some("hour") => Some(Interval::Hour),
        Some("day") => Some(Interval::Day),
        Some(other) => return Err(ApiError::invalid(format!("interval: {other:?} is neither hour nor day"))),
    };
    let text = |name: &str| call.query(name).ok().map(str::to_owned);
    (query.endpoint, query.entity) = (text("endpoint"), text("entity"));
    query.status = number(call, "status")?;
    let label = read_groups(call, &mut query)?;
    query.sees = sees(call)?;
    let csv = match call.query("format").ok() {
        None | Some("json") => false,
        Some("csv") => true,
        Some(other) => return Err(ApiError::invalid(format!("format: {other:?} is neither json nor csv"))),
    };
    Ok(Asked { query, label, csv })
}

fn number<T: FromStr>(call: &Call, name: &str) -> Result<Option<T>, ApiError> {
    let read = |text: &str| {
        text.parse().map_err(|_| ApiError::invalid(format!("{name}: {text:?} is no such number")))
    };
    call.query(name).ok().map(read).transpose()
}

fn limit(call: &Call) -> Result<u32, ApiError> {
    let limit = number(call, "limit")?.unwrap_or(LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        return Ok(limit);
    }
    Err(ApiError::invalid(format!("limit: {limit} must be between 1 and {MAX_LIMIT}")))
}

/// In seconds, on the hour: the hour of the start is whole, and so is that of the end.
fn time(call: &Call) -> Result<(i64, i64), ApiError> {
    let end = number(call, "end_time")?.unwrap_or_else(clock::now_ms);
    let start = number(call, "start_time")?.unwrap_or_else(|| end.saturating_sub(DAY_MS));
    // What is beyond these is no time in milliseconds.
    let times = 0..=253_402_300_800_000;
    if !times.contains(&start) || !times.contains(&end) || start > end {
        return Err(ApiError::invalid(
            "start_time and end_time must be milliseconds since the epoch, in order",
        ));
    }
    let hour = HOUR_MS / 1000;
    Ok((start / HOUR_MS * hour, (end + HOUR_MS - 1) / HOUR_MS * hour))
}

/// What the sums are told apart by and filtered by, of which requester, group and tag exclude each other: they are
/// summed up each for itself.
fn read_groups(call: &Call, query: &mut UsageQuery) -> Result<&'static str, ApiError> {
    let mut wanted: Vec<(Grouping, Option<String>, bool)> = Vec::new();
    for name in call.query("group_by").unwrap_or_default().split(',').filter(|name| !name.is_empty()) {
        match name {
            "endpoint" => query.by_endpoint = true,
            "entity" => query.by_entity = true,
            "status" => query.by_status = true,
            "requester" => wanted.push((Grouping::Requester, None, true)),
            "group" => wanted.push((Grouping::Group, None, true)),
            other => match other.strip_prefix("tag:") {
                Some(key) => wanted.push((Grouping::Tag(key.to_owned()), None, true)),
                None => {
                    let known = "endpoint, entity, status, requester, group or tag:<key>";
                    return Err(ApiError::invalid(format!("group_by: {other:?} is none of {known}")));
                }
            },
        }
    }
    let text = |name: &str| call.query(name).ok().map(str::to_owned);
    wanted.extend(text("requester").map(|name| (Grouping::Requester, Some(name), false)));
    wanted.extend(text("group").map(|name| (Grouping::Group, Some(name), false)));
    if let Some(tag) = text("tag") {
        let (key, value) = tag
            .split_once(':')
            .ok_or_else(|| ApiError::invalid(format!("tag: {tag:?} must be <key>:<value>")))?;
        wanted.push((Grouping::Tag(key.to_owned()), Some(value.to_owned()), false));
    }
    for (grouping, label, apart) in wanted {
        if query.grouping != Grouping::Nothing && query.grouping != grouping {
            let message =
                "requester, group and tags are summed up each for itself: ask for one of them at a time";
            return Err(ApiError::invalid(message));
        }
        query.grouping = grouping;
        query.label = label.or(query.label.take());
        query.by_label |= apart;
    }
    Ok(match query.grouping {
        Grouping::Nothing | Grouping::Requester => "requester",
        Grouping::Group => "group",
        Grouping::Tag(_) => "tag",
    })
}

/// Administrators see everything; others their own calls and those of the endpoints they manage.
fn sees(call: &Call) -> Result<Option<Sees>, ApiError> {
    let caller: &Principal = call.caller()?;
    if caller.is_admin() {
        return Ok(None);
    }
    let snapshot = call.control.inner.live.load();
    let managed = snapshot.endpoints.values().filter(|e| permit::level(caller, e) >= Some(Level::Manage));
    let endpoint_ids = managed.map(|endpoint| endpoint.id.to_string()).collect();
    Ok(Some(Sees { requester: caller.name.to_string(), endpoint_ids }))
}

/// What a group is told apart by.
fn names(asked: &Asked, group: &UsageGroup) -> Vec<(&'static str, Value)> {
    let query = &asked.query;
    let columns = [
        (true, "start_time", json!(group.start * 1000)),
        (query.by_label, asked.label, json!(group.label)),
        (query.by_endpoint, "endpoint", json!(group.endpoint)),
        (query.by_entity, "entity", json!(group.entity)),
        (query.by_status, "status", json!(group.status)),
    ];
    columns.into_iter().filter(|(shown, ..)| *shown).map(|(_, name, value)| (name, value)).collect()
}

/// What a group sums up to, but for its kinds of tokens.
fn sums(group: &UsageGroup) -> [(&'static str, u64); 7] {
    let sums = &group.sums;
    [
        ("requests", sums.requests),
        ("estimated_requests", sums.estimated),
        ("unpriced_requests", sums.unpriced),
        ("input_tokens", sums.tokens.input()),
        ("output_tokens", sums.tokens.output()),
        ("total_tokens", sums.tokens.total()),
        ("duration_ms", sums.duration_ms),
    ]
}

/// In dollars; `None` where no price is known of anything that was used.
fn cost(group: &UsageGroup) -> Option<String> {
    const NANO: u64 = 1_000_000_000;
    let nano = group.sums.nano_usd;
    (nano > 0 || group.sums.unpriced == 0).then(|| format!("{}.{:09}", nano / NANO, nano % NANO))
}

fn row(asked: &Asked, group: &UsageGroup) -> Value {
    let mut row: Map<String, Value> =
        names(asked, group).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    row.extend(sums(group).map(|(name, sum)| (name.to_owned(), sum.into())));
    row.insert("tokens".to_owned(), json!(group.sums.tokens));
    let cost = cost(group).and_then(|usd| usd.parse::<f64>().ok());
    row.insert("cost_usd".to_owned(), cost.into());
    Value::Object(row)
}

/// One line a group, under a line of names (RFC 4180).
fn csv(asked: &Asked, groups: &[UsageGroup]) -> String {
    let nobody = UsageGroup {
        start: 0,
        label: String::new(),
        endpoint: String::new(),
        entity: String::new(),
        status: 0,
        sums: journal::rollup::HourlySums::default(),
    };
    let mut out = String::new();
    let heading = names(asked, &nobody).into_iter().map(|(name, _)| name);
    let heading = heading.chain(sums(&nobody).map(|(name, _)| name));
    let heading: Vec<&str> =
        heading.chain(TokenKind::ALL.map(TokenKind::as_str)).chain(["cost_usd"]).collect();
    let _ = write!(out, "{}\r\n", heading.join(","));
    for group in groups {
        let names = names(asked, group).into_iter().map(|(_, value)| cell(&value));
        let sums = sums(group).map(|(_, sum)| sum.to_string());
        let tokens = group.sums.tokens.iter().map(|(_, count)| count.to_string());
        let cells: Vec<String> =
            names.chain(sums).chain(tokens).chain([cost(group).unwrap_or_default()]).collect();
        // Writing into a string cannot fail.
        let _ = write!(out, "{}\r\n", cells.join(","));
    }
    out
}

/// Text is quoted; what a spreadsheet would take for a formula is marked as text.
fn cell(value: &Value) -> String {
    let Some(text) = value.as_str() else { return value.to_string() };
    let mark = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{mark}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_text_whatever_is_in_them() {
        assert_eq!(cell(&json!("a,\"b\"")), "\"a,\"\"b\"\"\"");
        assert_eq!(cell(&json!("=1+1")), "\"'=1+1\"");
        assert_eq!(cell(&json!(7)), "7");
    }
}
