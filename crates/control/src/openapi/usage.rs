//! What was used.

use serde_json::{Value, json};
use wire::counts::TokenKind;

use super::operation::{
    Answer, Area, Operation, boolean, integer, list, number, object, optional, schema, text, timestamp,
};

pub(super) const AREA: Area = Area {
    tag: "usage",
    description: "What was used, by whom, at what cost: sums of finished calls by the hour.",
    error: "Error",
    operations: OPERATIONS,
    schemas,
};

const OPERATIONS: &[Operation] =
    &[Operation::new("GET", "/api/tollgate/v1/usage", "getUsage", "What was used, in sums")
        .says(
            "Members of admins see all calls, others their own and those of the endpoints they manage; by group and by tag, \
             those of the endpoints they manage. Calls are summed up by requester, by group and by tag each for itself, so that \
             a request names at most one of them.",
        )
        .query(&[
            number("start_time", "milliseconds since the epoch, taken down to the hour; a day before end_time where absent"),
            number("end_time", "milliseconds since the epoch, taken up to the hour; now where absent"),
            optional("interval", "`hour` or `day` (UTC): sums of each; the whole time in one where absent"),
            optional("group_by", "a list of endpoint, entity, status, and one of requester, group and tag:<key>"),
            optional("endpoint", "calls of this endpoint alone"),
            optional("entity", "calls that this entity answered, or was the last to be tried for"),
            number("status", "calls that ended with this status"),
            optional("requester", "calls of this user name or application id"),
            optional("group", "calls of members of this group"),
            optional("tag", "calls with this tag: <key>:<value>"),
            number("limit", "most groups that are given; 10000 where absent, at most 100000"),
            optional("format", "`json` or `csv`"),
        ])
        .answers(200, Answer::JsonOrFile("UsageSums"))
        .fails(&[400])];

fn schemas() -> Vec<(&'static str, Value)> {
    let sums = object(
        &["start_time", "end_time", "groups", "truncated"],
        [
            ("start_time", timestamp("the first that counts")),
            ("end_time", timestamp("the first that does not any more")),
            ("groups", list(schema("UsageGroup"))),
            ("truncated", boolean("whether there are more groups")),
        ],
    );
    vec![("UsageSums", sums), ("UsageGroup", group())]
}

fn group() -> Value {
    let kinds = TokenKind::ALL.map(|kind| (kind.as_str(), json!({"type": "integer"})));
    let mut tokens = object(&[], kinds);
    tokens["description"] = "kinds that do not overlap; those of which there are none are absent".into();
    object(
        &["start_time", "requests", "total_tokens", "tokens", "cost_usd"],
        [
            ("start_time", timestamp("the begin of the interval")),
            ("requester", text("where that is told apart, as the next ones")),
            ("group", text("")),
            ("tag", text("the tag's value; __other__ for those beyond the first 1000 of an hour")),
            ("endpoint", text("")),
            ("entity", text("")),
            ("status", integer("")),
            ("requests", integer("")),
            ("estimated_requests", integer("those whose tokens the provider did not count whole")),
            (
                "unpriced_requests",
                integer("those that used tokens whose price is not known: they are not in cost_usd"),
            ),
            ("input_tokens", integer("")),
            ("output_tokens", integer("")),
            ("total_tokens", integer("")),
            ("duration_ms", integer("from receipt to the last byte, of all requests together")),
            ("tokens", tokens),
            ("cost_usd", json!({"type": ["number", "null"], "description": "null where no price is known"})),
        ],
    )
}
