//! What was used, and who may see it.

use journal::rollup::{Breakdown, HourlyKey, HourlyRow, HourlySums};
use serde_json::{Value, json};
use wire::counts::{TokenCounts, TokenKind};

use crate::world::World;

/// The begin of an hour, in seconds since the epoch.
const HOUR: i64 = 1_795_003_200;
const PATH: &str = "/api/tollgate/v1/usage?start_time=1795003200000&end_time=1795006800000";

fn rows(endpoint_id: &str, endpoint: &str, requester: &str, tokens: u64, priced: bool) -> Vec<HourlyRow> {
    let breakdowns = [
        Breakdown::All,
        Breakdown::Requester(requester.into()),
        Breakdown::Group("staff".into()),
        Breakdown::Tag { key: "team".into(), value: "=cmd".into() },
    ];
    let sums = HourlySums {
        requests: 1,
        unpriced: (!priced).into(),
        nano_usd: if priced { tokens } else { 0 },
        tokens: TokenCounts::new(tokens, 1).and(TokenKind::Reasoning, 2),
        ..HourlySums::default()
    };
    let row = |breakdown| HourlyRow {
        key: HourlyKey {
            hour: HOUR,
            breakdown,
            endpoint_id: endpoint_id.into(),
            endpoint: endpoint.into(),
            entity: "m".into(),
            status: 200,
        },
        sums,
    };
    breakdowns.map(row).into()
}

/// Two endpoints; ann manages the first, and both ann and bob call both.
async fn used() -> (World, String, String) {
    let world = World::new().await;
    let mut tokens = Vec::new();
    let mut names = Vec::new();
    for name in ["ann", "bob"] {
        let (_, application_id, token) = world.robot(name).await;
        tokens.push(token);
        names.push(application_id);
    }
    let grant = json!([{"service_principal_name": names[0], "permission_level": "CAN_MANAGE"}]);
    let managed = world.endpoint("managed", grant).await;
    let other = world.endpoint("other", json!([])).await;
    let mut all = Vec::new();
    for (id, endpoint, requester, tokens, priced) in [
        (&managed, "managed", &names[0], 1, true),
        (&managed, "managed", &names[1], 10, true),
        (&other, "other", &names[0], 100, true),
        (&other, "other", &names[1], 1000, false),
    ] {
        all.extend(rows(id, endpoint, requester, tokens, priced));
    }
    assert!(world.rollups.apply("j", 1, &all).await.unwrap());
    (world, tokens.remove(0), tokens.remove(0))
}

fn inputs(answer: &Value) -> Vec<u64> {
    answer["groups"].as_array().unwrap().iter().map(|g| g["input_tokens"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn administrators_see_all_and_others_their_own_and_what_they_manage() {
    let (world, ann, bob) = used().await;
    for (token, all, by_endpoint, by_group) in [
        (&world.admin, vec![1111], vec![11, 1100], vec![1111]),
        (&ann, vec![111], vec![11, 100], vec![11]),
        (&bob, vec![1010], vec![10, 1000], vec![]),
    ] {
        let get = async |rest: &str| {
            inputs(&world.call(token, "GET", &format!("{PATH}{rest}"), Value::Null).await.is(200))
        };
        assert_eq!(get("").await, all);
        assert_eq!(get("&group_by=endpoint").await, by_endpoint);
        assert_eq!(get("&group_by=group").await, by_group);
        assert_eq!(get("&group_by=tag:team").await, by_group);
        assert_eq!(get("&group_by=requester").await.iter().sum::<u64>(), all[0]);
    }
}

#[tokio::test]
async fn sums_have_tokens_and_cost_and_an_unknown_price_is_null() {
    let (world, ..) = used().await;
    let answer = world
        .act("GET", &format!("{PATH}&group_by=endpoint,entity,status&interval=hour"), Value::Null)
        .await
        .is(200);
    let expected = json!({"start_time": 1_795_003_200_000_i64, "endpoint": "managed", "entity": "m", "status": 200, "requests": 2,
        "estimated_requests": 0, "unpriced_requests": 0, "input_tokens": 11, "output_tokens": 6, "total_tokens": 17, "duration_ms": 0,
        "tokens": {"input": 11, "output": 2, "reasoning": 4}, "cost_usd": 1.1e-8});
    assert_eq!(answer["groups"][0], expected);
    assert_eq!((&answer["truncated"], answer["end_time"].as_i64()), (&json!(false), Some(1_795_006_800_000)));
    let bob =
        world.act("GET", &format!("{PATH}&endpoint=other&group_by=requester"), Value::Null).await.is(200);
    let costs: Vec<&Value> =
        bob["groups"].as_array().unwrap().iter().map(|group| &group["cost_usd"]).collect();
    assert!(costs.contains(&&Value::Null) && costs.contains(&&json!(1e-7)), "{costs:?}");
    let one = world.act("GET", &format!("{PATH}&group_by=endpoint&limit=1"), Value::Null).await.is(200);
    assert_eq!((inputs(&one), &one["truncated"]), (vec![11], &json!(true)));
}

#[tokio::test]
async fn a_table_that_is_not_whole_is_refused() {
    let (world, ..) = used().await;
    let answer =
        world.act("GET", &format!("{PATH}&group_by=endpoint&format=csv&limit=1"), Value::Null).await.is(400);
    assert!(answer["message"].as_str().unwrap().contains("limit"), "{answer}");
    let whole = world.act("GET", &format!("{PATH}&group_by=endpoint&format=csv&limit=2"), Value::Null).await;
    assert_eq!(whole.text.lines().count(), 3);
}

#[tokio::test]
async fn tables_are_csv_too() {
    let (world, ..) = used().await;
    let answer = world.act("GET", &format!("{PATH}&group_by=tag:team&format=csv"), Value::Null).await;
    assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8");
    let lines: Vec<&str> = answer.text.split("\r\n").collect();
    assert!(
        lines[0].starts_with("start_time,tag,requests,") && lines[0].ends_with(",output_image,cost_usd"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("1795003200000,\"'=cmd\",4,") && lines[1].ends_with(",0.000000111"),
        "{lines:?}"
    );
    assert_eq!(lines[0].split(',').count(), lines[1].split(',').count());
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_by_name() {
    let (world, ..) = used().await;
    for (rest, says) in [
        ("&group_by=model", "group_by"),
        ("&interval=week", "interval"),
        ("&status=ok", "status"),
        ("&limit=0", "limit"),
        ("&tag=team", "tag"),
        ("&endpont=e", "\"endpoint\""),
        ("&group_by=requester,group", "one of them"),
        ("&group_by=requester&tag=a:b", "one of them"),
        ("&format=xml", "format"),
    ] {
        let answer = world.act("GET", &format!("{PATH}{rest}"), Value::Null).await.is(400);
        assert!(answer["message"].as_str().unwrap().contains(says), "{rest} {answer}");
    }
    let past = "/api/tollgate/v1/usage?start_time=9&end_time=3";
    world.act("GET", past, Value::Null).await.is(400);
}
