//! The sums of finished calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::rollup::{Breakdown, Hourly, HourlyKey, HourlyRow, HourlySums, MAX_TAG_VALUES, OTHER, Rollups};
use journal::{Admission, CountedUsage, Outcome, Provenance, RequestId, Settlement};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tollgate_store::{EndpointStore, Grouping, Interval, Sees, SqliteStore, UsageQuery, UsageStore};
use wire::cost::Cost;
use wire::counts::{TokenCounts, TokenKind};
use wire::usage::Usage;

use crate::{key, open, stayed};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// A day that begins there.
const MONDAY: i64 = 20_772 * DAY;

fn row(hour: i64, breakdown: Breakdown, endpoint: &str, input: u64) -> HourlyRow {
    let key = HourlyKey {
        hour: MONDAY + hour * HOUR,
        breakdown,
        endpoint_id: format!("id-{endpoint}").into(),
        endpoint: endpoint.into(),
        entity: "m".into(),
        status: 200,
    };
    let tokens = TokenCounts::new(input, 1).and(TokenKind::CacheRead, 2);
    HourlyRow { key, sums: HourlySums { requests: 1, tokens, nano_usd: 7, ..HourlySums::default() } }
}

fn requester(name: &str) -> Breakdown {
    Breakdown::Requester(name.into())
}

fn all_of(hours: std::ops::Range<i64>) -> UsageQuery {
    let (from, to) = (MONDAY + hours.start * HOUR, MONDAY + hours.end * HOUR);
    UsageQuery { from, to, limit: 10_000, ..UsageQuery::default() }
}

async fn inputs(store: &SqliteStore, query: &UsageQuery) -> Vec<(String, u64)> {
    let groups = store.usage(query).await.unwrap();
    groups.into_iter().map(|g| (g.label + &g.endpoint, g.sums.tokens.get(TokenKind::Input))).collect()
}

async fn with_store(case: impl AsyncFn(&SqliteStore)) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    case(&store).await;
    store.close().await;
}

#[tokio::test]
async fn a_segment_is_in_the_sums_once() {
    with_store(async |store| {
        let last = store.generation().await.unwrap();
        let rows = [row(1, Breakdown::All, "e", 10)];
        for (journal, segment, added) in
            [("a", 1, true), ("a", 1, false), ("a", 2, true), ("a", 1, false), ("b", 1, true), ("b", 9, true)]
        {
            assert_eq!(store.apply(journal, segment, &rows).await.unwrap(), added, "{journal} {segment}");
        }
        assert_eq!(inputs(store, &all_of(0..24)).await, [(String::new(), 40)]);
        stayed(store, last).await;
    })
    .await;
}

#[tokio::test]
async fn any_time_is_the_sum_of_its_hours() {
    with_store(async |store| {
        let rows: Vec<HourlyRow> =
            (0..80).map(|hour| row(hour, Breakdown::All, "e", 1 << (hour / 4))).collect();
        store.apply("j", 1, &rows).await.unwrap();
        for (from, to) in [(0, 80), (3, 77), (24, 48), (23, 49), (30, 31), (5, 5), (47, 49), (0, 200)] {
            let expected: u64 = (from..to.min(80)).map(|hour| 1 << (hour / 4)).sum();
            let got = inputs(store, &all_of(from..to)).await.into_iter().map(|(_, input)| input).sum::<u64>();
            assert_eq!(got, expected, "{from}..{to}");
            for interval in [Interval::Hour, Interval::Day] {
                let query = UsageQuery { interval: Some(interval), ..all_of(from..to) };
                let groups = store.usage(&query).await.unwrap();
                assert_eq!(groups.iter().map(|g| g.sums.tokens.get(TokenKind::Input)).sum::<u64>(), expected);
                let length = if interval == Interval::Hour { HOUR } else { DAY };
                assert!(groups.iter().all(|g| g.start % length == 0) && groups.is_sorted_by_key(|g| g.start));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn sums_are_told_apart_and_filtered() {
    with_store(async |store| {
        let tag = |value: &str| Breakdown::Tag { key: "team".into(), value: value.into() };
        let rows = [
            row(0, Breakdown::All, "a", 1),
            row(0, Breakdown::All, "b", 2),
            row(0, requester("ann"), "a", 1),
            row(0, requester("bob"), "b", 2),
            row(0, Breakdown::Group("staff".into()), "a", 1),
            row(0, tag("x"), "a", 1),
            row(0, tag("y"), "b", 2),
        ];
        store.apply("j", 1, &rows).await.unwrap();
        let got = async |query: UsageQuery| {
            let got = inputs(store, &query).await;
            got.iter().map(|(name, input)| format!("{name}={input}")).collect::<Vec<_>>().join(" ")
        };
        let day = || all_of(0..24);
        assert_eq!(got(day()).await, "=3");
        assert_eq!(got(UsageQuery { by_endpoint: true, ..day() }).await, "a=1 b=2");
        assert_eq!(got(UsageQuery { endpoint: Some("b".into()), ..day() }).await, "=2");
        assert_eq!(got(UsageQuery { status: Some(500), ..day() }).await, "");
        let by = |grouping| UsageQuery { grouping, by_label: true, ..all_of(0..24) };
        assert_eq!(got(by(Grouping::Requester)).await, "ann=1 bob=2");
        assert_eq!(got(by(Grouping::Group)).await, "staff=1");
        assert_eq!(got(by(Grouping::Tag("team".into()))).await, "x=1 y=2");
        assert_eq!(got(by(Grouping::Tag("other".into()))).await, "");
        let bob = UsageQuery {
            label: Some("bob".into()),
            by_label: false,
            by_endpoint: true,
            ..by(Grouping::Requester)
        };
        assert_eq!(got(bob).await, "b=2");
        assert_eq!(got(UsageQuery { limit: 1, ..by(Grouping::Requester) }).await, "ann=1");
        let sees = |ids: &[&str]| {
            Some(Sees { requester: "ann".into(), endpoint_ids: ids.iter().map(|id| (*id).into()).collect() })
        };
        assert_eq!(got(UsageQuery { sees: sees(&[]), ..day() }).await, "=1");
        assert_eq!(got(UsageQuery { sees: sees(&["id-b"]), ..day() }).await, "=3");
        assert_eq!(
            got(UsageQuery { sees: sees(&["id-b"]), ..by(Grouping::Tag("team".into())) }).await,
            "y=2"
        );
        assert_eq!(got(UsageQuery { sees: sees(&[]), ..by(Grouping::Group) }).await, "");
    })
    .await;
}

/// Whatever the segments are that bring them.
#[tokio::test]
async fn tags_of_an_hour_are_bounded() {
    with_store(async |store| {
        for segment in 0..3 {
            let tags = (0..600).map(|at| Arc::<str>::from(format!("t{}", segment * 600 + at)));
            let rows: Vec<HourlyRow> =
                tags.map(|value| row(5, Breakdown::Tag { key: "k".into(), value }, "e", 1)).collect();
            store.apply("j", segment, &rows).await.unwrap();
        }
        let query = UsageQuery { grouping: Grouping::Tag("k".into()), by_label: true, ..all_of(0..24) };
        let got = inputs(store, &query).await;
        assert_eq!(got.len(), MAX_TAG_VALUES + 1);
        assert!(got.contains(&(OTHER.to_owned(), 800)), "{got:?}");
        assert_eq!(got.iter().map(|(_, input)| input).sum::<u64>(), 1800);
        // The next hour has room of its own.
        store
            .apply("j", 9, &[row(6, Breakdown::Tag { key: "k".into(), value: "new".into() }, "e", 1)])
            .await
            .unwrap();
        assert!(inputs(store, &query).await.iter().any(|(label, _)| label == "new"));
    })
    .await;
}

#[tokio::test]
async fn absurd_counts_neither_stop_the_sums_nor_the_reading() {
    with_store(async |store| {
        let absurd = row(1, Breakdown::All, "e", u64::MAX);
        let other = row(2, Breakdown::All, "f", u64::MAX);
        for segment in 0..4 {
            let rows = [absurd.clone(), other.clone(), row(1, Breakdown::All, "g", 5)];
            assert!(store.apply("j", segment, &rows).await.unwrap());
        }
        let largest = i64::MAX.unsigned_abs() / 2;
        let by = UsageQuery { by_endpoint: true, ..all_of(0..24) };
        let expected = [("e", largest), ("f", largest), ("g", 20)].map(|(name, sum)| (name.to_owned(), sum));
        let got = inputs(store, &by).await;
        // Beyond 2^53 it is rounded.
        assert!(got.iter().zip(&expected).all(|(a, b)| a.0 == b.0 && a.1.abs_diff(b.1) <= 1), "{got:?}");
        assert!(inputs(store, &all_of(0..24)).await[0].1 > largest);
    })
    .await;
}

#[tokio::test]
async fn hours_go_before_days_and_both_in_the_end() {
    with_store(async |store| {
        let rows: Vec<HourlyRow> = [0, 24, 48, 49].map(|hour| row(hour, requester("ann"), "e", 1)).into();
        store.apply("j", 1, &rows).await.unwrap();
        let count = async |interval| {
            let by = UsageQuery { grouping: Grouping::Requester, interval: Some(interval), ..all_of(0..72) };
            store.usage(&by).await.unwrap().iter().map(|group| group.sums.requests).sum::<u64>()
        };
        for (hours, days, left) in [
            (i64::MIN, i64::MIN, (4, 4)),
            (MONDAY + 49 * HOUR, i64::MIN, (1, 4)),
            (MONDAY + 49 * HOUR, MONDAY + DAY, (1, 3)),
            (i64::MIN, MONDAY + 72 * HOUR, (0, 0)),
        ] {
            store.expire(hours, days).await.unwrap();
            assert_eq!((count(Interval::Hour).await, count(Interval::Day).await), left);
        }
    })
    .await;
}

/// The calls of a day, one by one, with what they used. No two of a hundred are alike.
fn call(at: u64) -> (Admission, Settlement) {
    let tokens = TokenCounts::new(at % 1009, at % 251)
        .and(TokenKind::CacheRead, at % 4001)
        .and(TokenKind::CacheWrite1h, at % 3)
        .and(TokenKind::Reasoning, at % 97);
    let admission = Admission {
        request_id: RequestId(at.to_string().into()),
        received_at: (MONDAY * 1000) + i64::try_from(at).unwrap() * 173,
        endpoint: format!("e{}", at % 13).into(),
        endpoint_id: format!("id-e{}", at % 13).into(),
        requester: format!("u{}", at % 89).into(),
        groups: vec!["users".into()],
        usage_context: [("team".to_owned(), format!("t{}", at % 101))].into(),
        ..Admission::default()
    };
    let usage = Usage::new(tokens.input(), tokens.output()).with_counts(tokens);
    let settlement = Settlement {
        outcome: Outcome::Completed,
        status: if at.is_multiple_of(50) { 429 } else { 200 },
        entity: Some("m".into()),
        model: None,
        provider: None,
        attempts: Vec::new(),
        usage: Some(CountedUsage { usage, provenance: Provenance::Provider }),
        cost: Some(Cost { nano_usd: tokens.total() * 3, prices: "v".into() }),
        duration_ms: 2.0,
        first_byte_ms: None,
        bytes_out: 0,
        content_type: None,
        output_characters: None,
        guards: Vec::new(),
        payload: None,
        response: None,
    };
    (admission, settlement)
}

#[tokio::test]
async fn a_million_calls_are_summed_up_to_the_token() {
    const CALLS: u64 = 1_000_000;
    with_store(async |store| {
        let mut ledger = TokenCounts::default();
        for segment in 0..20 {
            let mut hourly = Hourly::default();
            for at in segment * CALLS / 20..(segment + 1) * CALLS / 20 {
                let (admission, settlement) = call(at);
                ledger += settlement.usage.as_ref().unwrap().tokens();
                hourly.add(&admission, &settlement);
            }
            let (segment, rows) = (i64::try_from(segment).unwrap(), hourly.rows());
            for again in [true, false] {
                assert_eq!(store.apply("j", segment, &rows).await.unwrap(), again);
            }
        }
        let tag = || Grouping::Tag("team".into());
        for grouping in [Grouping::Nothing, Grouping::Requester, Grouping::Group, tag()] {
            for by in [false, true] {
                let query =
                    UsageQuery { grouping: grouping.clone(), by_label: by, by_endpoint: by, ..all_of(0..72) };
                let groups = store.usage(&UsageQuery { limit: 100_000, ..query }).await.unwrap();
                assert_eq!(
                    groups.iter().map(|g| g.sums.tokens).sum::<TokenCounts>(),
                    ledger,
                    "{grouping:?} {by}"
                );
                assert_eq!(groups.iter().map(|g| g.sums.requests).sum::<u64>(), CALLS);
                assert_eq!(groups.iter().map(|g| g.sums.nano_usd).sum::<u64>(), ledger.total() * 3);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_record_from_the_future_makes_no_room_for_more_tags_of_today() {
    with_store(async |store| {
        let now = (journal::clock::least_ms() / 1000 - MONDAY) / HOUR;
        let tag =
            |hour, value: String| row(hour, Breakdown::Tag { key: "k".into(), value: value.into() }, "e", 1);
        let all: Vec<HourlyRow> = (0..MAX_TAG_VALUES).map(|at| tag(now, format!("t{at}"))).collect();
        store.apply("j", 1, &all).await.unwrap();
        store.apply("j", 2, &[tag(now + 401 * 24, "later".to_owned())]).await.unwrap();
        store.apply("j", 3, &[tag(now, "one more".to_owned())]).await.unwrap();
        let query =
            UsageQuery { grouping: Grouping::Tag("k".into()), by_label: true, ..all_of(now..now + 1) };
        let got = inputs(store, &query).await;
        assert!(got.len() == MAX_TAG_VALUES + 1 && got.contains(&(OTHER.to_owned(), 1)), "{}", got.len());
    })
    .await;
}

async fn database(folder: &tempfile::TempDir) -> SqlitePool {
    let file =
        SqliteConnectOptions::new().filename(folder.path().join("tollgate.db")).create_if_missing(true);
    SqlitePool::connect_with(file).await.unwrap()
}

/// Sums as a server wrote them before the key of a tag stood before its values.
#[tokio::test]
async fn what_was_summed_up_before_is_there_and_a_server_of_before_can_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let migrations = folder.path().join("migrations");
    std::fs::create_dir(&migrations).unwrap();
    let all = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    for file in std::fs::read_dir(all).unwrap().map(Result::unwrap) {
        if file.file_name().to_str().unwrap() < "0007" {
            std::fs::copy(file.path(), migrations.join(file.file_name())).unwrap();
        }
    }
    let pool = database(&folder).await;
    Migrator::new(migrations).await.unwrap().run(&pool).await.unwrap();
    let columns = async || {
        let sql = "SELECT name FROM pragma_table_info('usage_rollups')";
        sqlx::query_scalar::<_, String>(sql).fetch_all(&pool).await.unwrap()
    };
    let before = columns().await;
    let row = "INSERT INTO usage_rollups VALUES \
        ('tag', 'hour', $1, $2, $3, 'id-e', 'e', 'm', 200, 1, 0, 0, 7, 9, 10, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0)";
    for (tag, label) in [("a", "x"), ("b", "x"), ("a", "y"), ("b", "y")] {
        sqlx::query(row).bind(MONDAY).bind(tag).bind(label).execute(&pool).await.unwrap();
    }
    let store = SqliteStore::open(&folder.path().join("tollgate.db"), key()).await.unwrap();
    assert_eq!(columns().await, before);
    sqlx::query(row).bind(MONDAY).bind("a").bind("z").execute(&pool).await.unwrap();
    let mut rows = vec![self::row(0, Breakdown::Tag { key: "a".into(), value: "x".into() }, "e", 5)];
    rows.push(self::row(0, Breakdown::Tag { key: "c".into(), value: "x".into() }, "e", 5));
    assert!(store.apply("j", 1, &rows).await.unwrap());
    let by = |tag: &str| UsageQuery { grouping: Grouping::Tag(tag.into()), by_label: true, ..all_of(0..1) };
    let sums = async |tag| inputs(&store, &by(tag)).await;
    let named = |sums: &[(&str, u64)]| sums.iter().map(|(l, n)| (format!("{l}e"), *n)).collect::<Vec<_>>();
    let shown = |sums: Vec<(String, u64)>| sums.into_iter().map(|(l, n)| (l + "e", n)).collect::<Vec<_>>();
    assert_eq!(shown(sums("a").await), named(&[("x", 15), ("y", 10), ("z", 10)]));
    assert_eq!(shown(sums("b").await), named(&[("x", 10), ("y", 10)]));
    assert_eq!(shown(sums("c").await), named(&[("x", 5)]));
    store.close().await;
}

/// A day whose every hour has all the tags that are kept apart, each with a key of its own, on twenty endpoints.
#[tokio::test]
async fn who_asks_for_one_tag_does_not_wait_for_all_others() {
    const FILL: &str = "WITH RECURSIVE upto (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM upto WHERE n < 999) \
        INSERT INTO usage_rollups \
        SELECT 'tag', 'hour', $1 + hours.n * 3600, 'k' || tags.n, 'v', 'id-' || ends.n, 'e', 'm', 200, \
               1, 0, 0, 7, 9, 10, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0 \
        FROM upto hours CROSS JOIN upto tags CROSS JOIN upto ends WHERE hours.n < 23 AND ends.n < 20";
    let folder = tempfile::tempdir().unwrap();
    let (store, pool) = (open(&folder).await, database(&folder).await);
    sqlx::query(FILL).bind(MONDAY).execute(&pool).await.unwrap();
    let query = UsageQuery { grouping: Grouping::Tag("k777".into()), by_label: true, ..all_of(0..23) };
    let mut least = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        let groups = store.usage(&query).await.unwrap();
        least = least.min(begun.elapsed());
        assert_eq!(groups.len(), 1);
        assert_eq!((groups[0].label.as_str(), groups[0].sums.requests), ("v", 23 * 20));
    }
    // With slack for a machine that is busy; that no other row is read is in the plan.
    assert!(least < Duration::from_millis(250), "460 rows of 460000 took {least:?}");
    store.close().await;
}

/// Thirty days of 100 million calls: 40 endpoints of two entities, 1000 requesters of whom each calls one of them
/// every hour, 100 teams, and 900 other tags.
#[tokio::test]
#[ignore = "makes a large file; docs/usage.md has the command and the figures"]
async fn a_month_of_100_million_calls_is_answered_from_its_sums() {
    with_store(async |store| {
        let calls = 100_000_000 / (720 * 3000);
        for hour in 0..720 {
            let mut rows = Vec::new();
            for at in 0..3000 {
                let endpoint = format!("e{}", (at * 7) % 40);
                let mut add = |breakdown| {
                    let mut one = row(hour, breakdown, &endpoint, 1000);
                    one.key.entity = if at % 2 == 0 { "a" } else { "b" }.into();
                    one.sums.requests = calls;
                    rows.push(one);
                };
                add(Breakdown::All);
                add(requester(&format!("u{}", at % 1000)));
                add(Breakdown::Tag { key: "team".into(), value: format!("t{}", at % 100).into() });
                if at < 900 {
                    add(Breakdown::Tag { key: "run".into(), value: format!("r{at}").into() });
                }
            }
            store.apply("j", hour, &rows).await.unwrap();
        }
        let day = || UsageQuery { interval: Some(Interval::Day), ..all_of(0..720) };
        let month = || all_of(0..720);
        let tag = |key: &str| UsageQuery { grouping: Grouping::Tag(key.into()), by_label: true, ..month() };
        let questions = [
            ("the month in one", month(), 720 * 3000),
            ("by day and endpoint", UsageQuery { by_endpoint: true, ..day() }, 720 * 3000),
            (
                "a day by hour and endpoint",
                UsageQuery { interval: Some(Interval::Hour), by_endpoint: true, ..all_of(690..714) },
                24 * 3000,
            ),
            (
                "by requester",
                UsageQuery { grouping: Grouping::Requester, by_label: true, ..month() },
                720 * 3000,
            ),
            ("by team", tag("team"), 720 * 3000),
            ("by run, of 900 values", tag("run"), 720 * 900),
        ];
        for (what, query, requests) in questions {
            let mut least = Duration::MAX;
            for _ in 0..3 {
                let begun = Instant::now();
                let groups = store.usage(&query).await.unwrap();
                least = least.min(begun.elapsed());
                assert_eq!(groups.iter().map(|g| g.sums.requests).sum::<u64>(), requests * calls);
            }
            println!("{what}: {least:?}");
        }
    })
    .await;
}
