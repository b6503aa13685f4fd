//! Limits together: which meet whom, and what they let through.

use proptest::prelude::*;

use super::*;

fn limit(whose: Whose, calls: Option<u64>, tokens: Option<u64>) -> Limit {
    Limit { whose, period: Period::Minute, calls, tokens, concurrent_calls: None, report_only: false }
}

fn calls(whose: Whose, calls: u64) -> Limit {
    limit(whose, Some(calls), None)
}

fn principal(name: &str, kind: PrincipalKind, groups: &[&str]) -> Principal {
    Principal {
        id: format!("id-{name}").into(),
        name: name.into(),
        display_name: name.into(),
        kind,
        groups: groups.iter().map(|g| (*g).into()).collect(),
        can_create: false,
    }
}

fn user(name: &str, groups: &[&str]) -> Principal {
    principal(name, PrincipalKind::User, groups)
}

fn asked(limits: &Limits, who: &Principal, tokens: Tokens) -> Asked {
    Asked { endpoint_id: "e".into(), applied: limits.of(who), tokens }
}

fn admits(book: &mut Book, limits: &Limits, who: &Principal) -> bool {
    let verdict = book.take(0, &asked(limits, who, Tokens::default()), Counting::Reserved);
    matches!(verdict, Verdict::Admitted { .. })
}

/// How many calls in a row are let through, of at most 200.
fn admitted(limits: &Limits, who: &Principal) -> u64 {
    let mut book = Book::default();
    (0..200).take_while(|_| admits(&mut book, limits, who)).count() as u64
}

/// Every choice of six limits that all speak of one user: what is let through is the least of what counts.
#[test]
fn overlapping_limits_let_through_what_the_precedence_says() {
    let parts = [
        calls(Whose::Endpoint, 50),
        calls(Whose::EachUser, 20),
        calls(Whose::User("ann".into()), 30),
        calls(Whose::Group("g".into()), 12),
        calls(Whose::Group("h".into()), 10),
        calls(Whose::User("ann".into()), 25),
    ];
    let ann = user("ann", &["g", "h"]);
    for chosen in 0..64_u32 {
        let has = |at: usize| chosen & (1 << at) != 0;
        let limits = Limits::new((0..6).filter(|at| has(*at)).map(|at| parts[at].clone()));
        let named = has(2) || has(5);
        let counts = |at: usize| has(at) && (!named || [0, 2, 5].contains(&at));
        let least = (0..6).filter(|at| counts(*at)).map(|at| parts[at].calls.unwrap()).min();
        assert_eq!(admitted(&limits, &ann), least.unwrap_or(200), "{chosen:06b}");
        // Each call is counted once for each subject, whatever looks at it.
        let subjects: std::collections::HashSet<Subject> =
            limits.of(&ann).into_iter().map(|applied| applied.subject).collect();
        let mut book = Book::default();
        admits(&mut book, &limits, &ann);
        assert_eq!(book.len(), subjects.len(), "{chosen:06b}");
    }
}

#[test]
fn a_service_principal_takes_its_own_default_before_that_of_users() {
    let service = principal("app", PrincipalKind::ServicePrincipal, &[]);
    let limits = [
        calls(Whose::EachUser, 5),
        calls(Whose::EachServicePrincipal, 7),
        calls(Whose::ServicePrincipal("app".into()), 9),
        // A user's name is no service principal's.
        calls(Whose::User("app".into()), 1),
    ];
    assert_eq!(admitted(&Limits::new(limits[..1].to_vec()), &service), 5);
    assert_eq!(admitted(&Limits::new(limits[..2].to_vec()), &service), 7);
    assert_eq!(admitted(&Limits::new(limits.to_vec()), &service), 9);
    assert_eq!(admitted(&Limits::new(limits[1..2].to_vec()), &user("ann", &[])), 200);
}

#[test]
fn a_group_shares_its_window_and_users_do_not() {
    let limits = Limits::new([calls(Whose::Group("g".into()), 3), calls(Whose::EachUser, 2)]);
    let (ann, ben, cid) = (user("ann", &["g"]), user("ben", &["g"]), user("cid", &[]));
    let mut book = Book::default();
    let mut ask = |who: &Principal| admits(&mut book, &limits, who);
    assert_eq!([ask(&ann), ask(&ann), ask(&ann)], [true, true, false]);
    assert_eq!([ask(&ben), ask(&ben)], [true, false]);
    assert_eq!([ask(&cid), ask(&cid), ask(&cid)], [true, true, false]);
}

#[test]
fn what_is_refused_by_one_limit_is_counted_by_none() {
    let limits = Limits::new([calls(Whose::Endpoint, 3), calls(Whose::EachUser, 1)]);
    let (ann, ben, cid) = (user("ann", &[]), user("ben", &[]), user("cid", &[]));
    let mut book = Book::default();
    assert!(admits(&mut book, &limits, &ann));
    (0..50).for_each(|_| assert!(!admits(&mut book, &limits, &ann)));
    assert!(admits(&mut book, &limits, &ben) && admits(&mut book, &limits, &cid));
}

#[test]
fn a_limit_that_only_reports_refuses_nothing_and_replaces_nothing() {
    let reports = Limit { report_only: true, ..calls(Whose::User("ann".into()), 1) };
    let limits = Limits::new([calls(Whose::EachUser, 3), reports]);
    let ann = user("ann", &[]);
    let mut book = Book::default();
    let mut ask = || book.take(0, &asked(&limits, &ann, Tokens::default()), Counting::Reserved);
    let reported = |verdict| match verdict {
        Verdict::Admitted { reported, .. } => Some(reported.len()),
        Verdict::Refused { .. } => None,
    };
    let told: Vec<_> = (0..4).map(|_| reported(ask())).collect();
    assert_eq!(told, [Some(0), Some(1), Some(1), None]);
}

#[test]
fn a_limit_that_only_reports_reports_what_it_would_refuse() {
    let ann = user("ann", &[]);
    // What is asked for is far more than what is taken, as of agents.
    let agent = tokens(11, 100, u64::MAX);
    let run = |report_only: bool| {
        let limits = Limits::new([Limit { report_only, ..limit(Whose::EachUser, None, Some(1_000)) }]);
        let mut book = Book::default();
        let refused = (0..15).map(|_| match book.take(0, &asked(&limits, &ann, agent), Counting::Reserved) {
            Verdict::Admitted { reported, hold, .. } => {
                assert!(hold.reserved <= 1_000, "{}", hold.reserved);
                !reported.is_empty()
            }
            Verdict::Refused { .. } => true,
        });
        refused.collect::<Vec<_>>()
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn beside_a_limit_that_refuses_one_that_only_reports_takes_nothing_from_its_room() {
    let ann = user("ann", &[]);
    let reports = Limit { report_only: true, ..limit(Whose::EachUser, None, Some(50)) };
    let limits = Limits::new([limit(Whose::Endpoint, None, Some(1_000)), reports]);
    let mut book = Book::default();
    let mut reserved = || match book.take(0, &asked(&limits, &ann, tokens(60, 100, 400)), Counting::Reserved)
    {
        Verdict::Admitted { hold, reported, .. } => (hold.reserved, reported.len()),
        Verdict::Refused { .. } => (0, 0),
    };
    assert_eq!([reserved(), reserved()], [(100, 1), (100, 1)]);
}

#[test]
fn a_window_ends_and_another_cap_counts_on() {
    let ann = user("ann", &[]);
    let of = |n| Limits::new([calls(Whose::EachUser, n)]);
    let mut book = Book::default();
    let mut ask = |now, limits: &Limits| {
        matches!(
            book.take(now, &asked(limits, &ann, Tokens::default()), Counting::Reserved),
            Verdict::Admitted { .. }
        )
    };
    assert!(ask(59_000, &of(1)) && !ask(59_999, &of(1)));
    assert!(ask(59_999, &of(2)) && !ask(59_999, &of(2)), "the call of before counts under the new cap");
    assert!(ask(60_000, &of(1)) && !ask(60_001, &of(1)));
}

#[test]
fn the_window_that_lasts_longest_is_named() {
    let hourly = Limit { period: Period::Hour, ..calls(Whose::Endpoint, 1) };
    let limits = Limits::new([calls(Whose::Endpoint, 1), hourly]);
    let ann = user("ann", &[]);
    let mut book = Book::default();
    assert!(admits(&mut book, &limits, &ann));
    match book.take(0, &asked(&limits, &ann, Tokens::default()), Counting::Reserved) {
        Verdict::Refused { by, .. } => assert_eq!(by.limit.period, Period::Hour),
        Verdict::Admitted { .. } => panic!("both windows are full"),
    }
}

#[test]
fn calls_under_way_are_capped_and_the_end_of_one_makes_room() {
    let at_once = Limit { concurrent_calls: Some(2), calls: None, ..calls(Whose::EachUser, 0) };
    let limits = Limits::new([at_once]);
    let ann = user("ann", &[]);
    let mut book = Book::default();
    let mut holds = Vec::new();
    for _ in 0..3 {
        let verdict = book.take(0, &asked(&limits, &ann, Tokens::default()), Counting::Reserved);
        if let Verdict::Admitted { hold, .. } = verdict {
            holds.push(hold);
        }
    }
    assert_eq!(holds.len(), 2);
    book.sweep(10_000_000);
    assert!(!admits(&mut book, &limits, &ann), "a call under way is not forgotten");
    book.settle(10_000_000, &holds.pop().unwrap(), 0, Counting::Reserved);
    assert!(admits(&mut book, &limits, &ann));
}

fn tokens(least: u64, expected: u64, most: u64) -> Tokens {
    Tokens { least, expected, most }
}

#[test]
fn a_huge_bound_starves_nobody_where_there_is_room_for_an_answer() {
    let limits = Limits::new([limit(Whose::Endpoint, None, Some(10_000))]);
    let ann = user("ann", &[]);
    let mut book = Book::default();
    let mut reserved = |ask: Tokens| match book.take(0, &asked(&limits, &ann, ask), Counting::Reserved) {
        Verdict::Admitted { hold, .. } => Some(hold.reserved),
        Verdict::Refused { by, .. } => {
            assert_eq!(by.measure, Measure::Tokens);
            None
        }
    };
    assert_eq!(reserved(tokens(501, 1_500, 32_500)), Some(1_500), "a usual answer");
    assert_eq!(reserved(tokens(501, 1_500, 2_000)), Some(2_000), "all of it");
    assert_eq!(reserved(tokens(501, 6_000, 32_500)), Some(6_000));
    assert_eq!(reserved(tokens(400, 6_000, 32_500)), Some(500), "what there is");
    assert_eq!(reserved(tokens(1, 1, 1)), None);
    assert_eq!(reserved(Tokens::default()), Some(0), "what takes no tokens is not refused for them");
}

#[test]
fn a_request_that_no_window_can_hold_is_told_apart() {
    let limits = Limits::new([limit(Whose::Endpoint, None, Some(100))]);
    match Book::default().take(0, &asked(&limits, &user("a", &[]), tokens(101, 200, 300)), Counting::Reserved)
    {
        Verdict::Refused { by, .. } => assert!(by.fits_never()),
        Verdict::Admitted { .. } => panic!("101 of 100"),
    }
}

#[test]
fn counted_after_the_answer_calls_at_once_overshoot_and_the_next_waits() {
    let limits = Limits::new([limit(Whose::Endpoint, None, Some(100))]);
    let ann = user("ann", &[]);
    let mut book = Book::default();
    let take = |book: &mut Book, now| match book.take(
        now,
        &asked(&limits, &ann, tokens(50, 90, 500)),
        Counting::After,
    ) {
        Verdict::Admitted { hold, .. } => Some(hold),
        Verdict::Refused { .. } => None,
    };
    let holds: Vec<_> = (0..3).filter_map(|_| take(&mut book, 0)).collect();
    assert_eq!(holds.len(), 3);
    holds.iter().for_each(|hold| book.settle(61_000, hold, 80, Counting::After));
    assert!(take(&mut book, 61_000).is_none(), "240 tokens count where the answers ended");
    assert!(take(&mut book, 120_000).is_some());
}

#[test]
fn who_is_idle_is_forgotten() {
    let hourly = Limit { period: Period::Hour, ..calls(Whose::EachUser, 5) };
    let limits = Limits::new([calls(Whose::EachUser, 5), hourly]);
    let mut book = Book::default();
    for n in 0..1_000 {
        let who = user(&n.to_string(), &[]);
        let verdict = book.take(0, &asked(&limits, &who, Tokens::default()), Counting::Reserved);
        assert!(matches!(verdict, Verdict::Admitted { .. }));
    }
    book.sweep(3_599_999);
    assert_eq!(book.len(), 1_000);
    book.sweep(3_600_000);
    assert!(book.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    /// Milliseconds go by.
    Wait(u64),
    Ask {
        who: usize,
        least: u64,
        more: u64,
        much_more: u64,
    },
    /// The oldest call under way ends, with so many tokens.
    End(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => (0_u64..40_000).prop_map(Step::Wait),
        5 => (0_usize..3, 0_u64..60, 0_u64..60, 0_u64..60)
            .prop_map(|(who, least, more, much_more)| Step::Ask { who, least, more, much_more }),
        4 => (0_u64..200).prop_map(Step::End),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Against a model that remembers every call: no window lets in more than its calls, no admission takes
    /// the tokens above the cap, and what is counted at the end is what was used, to the token.
    #[test]
    fn any_order_of_calls_keeps_every_cap_and_settles_to_what_was_used(steps in steps()) {
        let limits = Limits::new([
            limit(Whose::Endpoint, Some(9), Some(300)),
            Limit { period: Period::Hour, ..limit(Whose::Endpoint, Some(40), Some(900)) },
            limit(Whose::EachUser, Some(4), Some(150)),
            Limit { concurrent_calls: Some(3), ..limit(Whose::EachUser, None, None) },
        ]);
        let people = [user("a", &[]), user("b", &[]), user("c", &[])];
        let (mut book, mut now) = (Book::default(), 0_u64);
        let mut under_way: std::collections::VecDeque<(Hold, usize, u64)> = Default::default();
        // Who, when, tokens counted: the reserved ones first, then those used.
        let mut called: Vec<(usize, u64, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(ms) => now += ms,
                Step::End(used) => {
                    if let Some((hold, at, _)) = under_way.pop_front() {
                        book.settle(now, &hold, used, Counting::Reserved);
                        called[at].2 = used;
                    }
                }
                Step::Ask { who, least, more, much_more } => {
                    let ask = tokens(least, least + more, least + more + much_more);
                    let asked = asked(&limits, &people[who], ask);
                    let before = book.look(now, &asked, Counting::Reserved);
                    for standing in &before {
                        let same = |(by, at, _): &&(usize, u64, u64)| {
                            standing.limit.period.window(*at) == standing.limit.period.window(now)
                                && (standing.limit.whose == Whose::Endpoint || *by == who)
                        };
                        let used = match standing.measure {
                            Measure::Calls => called.iter().filter(same).count() as u64,
                            Measure::Tokens => called.iter().filter(same).map(|c| c.2).sum(),
                            Measure::ConcurrentCalls => under_way.iter().filter(|u| called[u.1].0 == who).count() as u64,
                        };
                        prop_assert_eq!(standing.used, used, "{:?}", standing);
                    }
                    match book.take(now, &asked, Counting::Reserved) {
                        Verdict::Admitted { hold, standings, .. } => {
                            for standing in standings.iter().filter(|s| s.measure != Measure::Tokens || ask.least > 0) {
                                prop_assert!(standing.used <= standing.cap, "{:?}", standing);
                            }
                            prop_assert!(hold.reserved >= ask.least && hold.reserved <= ask.most);
                            let reserved = hold.reserved;
                            called.push((who, now, reserved));
                            under_way.push_back((hold, called.len() - 1, reserved));
                        }
                        Verdict::Refused { by, .. } => {
                            prop_assert!(!by.has_room());
                            prop_assert_eq!(book.look(now, &asked, Counting::Reserved), before);
                        }
                    }
                }
            }
        }
    }
}
