//! What audit records there is room for.

use tollgate_journal::audit::{AuditPhase, AuditRecord, AuditSink};
use tollgate_journal::{Entry, Journal, JournalConfig, RecordSink, RequestId};

use crate::world::{admission, config};

const FLOOD: usize = 10_000;
/// Of callers who are not known, in a minute.
const TAKEN: usize = 600;

fn record(principal: Option<&str>, phase: AuditPhase) -> AuditRecord {
    AuditRecord {
        request_id: RequestId("r".into()),
        phase,
        principal: principal.map(Into::into),
        peer: None,
        user_agent: "curl".into(),
        method: "POST".into(),
        route: "/api/2.0/secrets/put".into(),
        path: "/api/2.0/secrets/put".into(),
        request: String::new(),
    }
}

fn denied(principal: Option<&str>) -> AuditRecord {
    record(principal, AuditPhase::Denied { status: 401, message: "no".into() })
}

fn change() -> AuditRecord {
    record(Some("admin"), AuditPhase::Allowed { before: String::new() })
}

/// All audit records of what is sealed, which is deleted.
fn taken(journal: &Journal) -> Vec<AuditRecord> {
    journal.seal().unwrap();
    let mut found = Vec::new();
    for segment in journal.sealed().unwrap() {
        for entry in segment.read().unwrap().entries {
            if let Entry::Audited(audited) = entry {
                found.push(audited.record);
            }
        }
        journal.delete(&segment).unwrap();
    }
    found
}

#[test]
fn a_flood_of_callers_who_are_not_known_is_bounded_and_hides_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(config(folder.path())).unwrap();
    for _ in 0..FLOOD {
        journal.record(&denied(None));
        journal.record(&record(None, AuditPhase::Allowed { before: String::new() }));
        journal.record(&record(None, AuditPhase::Done { status: 401, after: String::new() }));
    }
    assert_eq!(journal.status().left_out_audits, (3 * FLOOD - TAKEN) as u64);
    assert!(journal.status().bytes < TAKEN as u64 * 500, "{}", journal.status().bytes);
    let others = [
        change(),
        denied(Some("ann")),
        record(Some("ann"), AuditPhase::Done { status: 400, after: String::new() }),
        // Whose secret was right.
        record(None, AuditPhase::Done { status: 200, after: String::new() }),
    ];
    others.iter().for_each(|record| journal.record(record));
    let taken = taken(&journal);
    assert_eq!(taken.len(), TAKEN + others.len());
    for (record, other) in taken[TAKEN..].iter().zip(&others) {
        assert_eq!((&record.principal, &record.phase), (&other.principal, &other.phase));
    }
}

#[test]
fn a_full_journal_takes_no_refusals_and_some_changes_until_there_is_room() {
    const MOST: u64 = 64 << 10;
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(JournalConfig { max_bytes: MOST, ..config(folder.path()) }).unwrap();
    // They leave the last quarter to calls, however many there are.
    for _ in 0..FLOOD {
        journal.record(&denied(Some("ann")));
    }
    assert!(journal.status().bytes < MOST - MOST / 4 + 1000 && !journal.status().is_full);
    let calls = (0..).take_while(|n| journal.admit(&admission(&format!("r{n}"))).is_ok()).count();
    assert!(calls > 10, "{calls}");
    let full = journal.status().bytes;
    for _ in 0..FLOOD {
        journal.record(&denied(Some("ann")));
        journal.record(&denied(None));
    }
    assert_eq!((journal.status().bytes, journal.status().is_full), (full, true));
    journal.record(&change());
    assert!(journal.status().bytes > full);
    for _ in 0..FLOOD {
        journal.record(&change());
    }
    let (bytes, most) = (journal.status().bytes, MOST + MOST / 16);
    assert!((most..most + 1000).contains(&bytes), "{bytes}");
    let before = taken(&journal);
    assert_eq!(before.len() as u64 + journal.status().left_out_audits, 4 * FLOOD as u64 + 1);
    assert!(before.iter().any(|record| record.phase == change().phase));

    // Calls under way are in the new segment as well: they end.
    (0..calls).for_each(|n| journal.settle(&admission(&format!("r{n}")), &crate::world::settlement()));
    taken(&journal);
    let (left_out, again) = (journal.status().left_out_audits, [denied(Some("ann")), denied(None), change()]);
    again.iter().for_each(|record| journal.record(record));
    let after = taken(&journal);
    let AuditPhase::Done { after: told, .. } = &after[0].phase else { panic!("{after:?}") };
    assert_eq!(told, &format!(r#"{{"left_out":{left_out}}}"#));
    assert_eq!(after[1..].iter().map(|r| &r.phase).collect::<Vec<_>>(), again.each_ref().map(|r| &r.phase));
    assert_eq!(journal.status().left_out_audits, left_out);
}
