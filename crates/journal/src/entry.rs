//! A record as it is stored: JSON that says its version, and the bodies of a call behind it as they are.
//!
//! `[length of the JSON: u32 LE][JSON][request][response]`

use std::sync::Arc;

use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::audit::AuditRecord;
use crate::frame::{Frame, HEAD, TooLong};
use crate::payload::{Captured, Payload};
use crate::{Admission, Settlement};

/// What the journal holds.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A call that was let in. It is in each segment that was begun while the call went on.
    Admitted(Box<Admission>),
    /// A call that ended, with everything there is to know of it.
    Settled(Arc<Call>),
    Audited(Box<Audited>),
}

/// A call that ended.
#[derive(Clone, Debug)]
pub struct Call {
    pub admission: Admission,
    pub settlement: Settlement,
}

/// A management call, and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Audited {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// Tells two records of one call apart.
    pub event_id: String,
    pub record: AuditRecord,
}

/// Where a body is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    #[default]
    Absent,
    TooLong,
    Dropped,
    /// Behind the JSON, with this length.
    Behind(usize),
}

#[derive(Serialize, Deserialize)]
struct Bodies {
    request: Place,
    response: Place,
}

/// What is written, without a copy.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Written<'a> {
    Admitted(&'a Admission),
    Settled { admission: &'a Admission, settlement: &'a Settlement, bodies: Option<Bodies> },
    Audited(&'a Audited),
}

/// The same, read. A later version has another number, so that an unknown variant is damage.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Read<A> {
    Admitted(A),
    Settled { admission: Box<Admission>, settlement: Box<Settlement>, bodies: Option<Bodies> },
    Audited(Box<Audited>),
}

/// The version of [`Versioned`] that is written.
const VERSION: &str = "1";

#[derive(Serialize, Deserialize)]
#[serde(tag = "version", content = "entry")]
enum Versioned<E> {
    #[serde(rename = "1")]
    V1(E),
}

pub(crate) fn admitted(admission: &Admission) -> Result<Frame, TooLong> {
    encode(Written::Admitted(admission), <[Bytes; 2]>::default())
}

pub(crate) fn audited(audited: &Audited) -> Result<Frame, TooLong> {
    encode(Written::Audited(audited), <[Bytes; 2]>::default())
}

pub(crate) fn settled(admission: &Admission, settlement: &Settlement) -> Result<Frame, TooLong> {
    let Some(payload) = &settlement.payload else {
        return encode(Written::Settled { admission, settlement, bodies: None }, <[Bytes; 2]>::default());
    };
    let ((request, first), (response, second)) = (place(&payload.request), place(&payload.response));
    let bodies = Some(Bodies { request, response });
    encode(Written::Settled { admission, settlement, bodies }, [first, second])
}

fn place(body: &Captured) -> (Place, Bytes) {
    match body {
        Captured::Absent => (Place::Absent, Bytes::new()),
        Captured::TooLong => (Place::TooLong, Bytes::new()),
        Captured::Dropped => (Place::Dropped, Bytes::new()),
        Captured::Whole(bytes) => (Place::Behind(bytes.len()), bytes.clone()),
    }
}

/// Bytes of most records without their bodies.
const USUAL: usize = 1536;

fn encode(entry: Written<'_>, bodies: [Bytes; 2]) -> Result<Frame, TooLong> {
    const BEFORE: usize = HEAD + size_of::<u32>();
    let mut head = Vec::with_capacity(USUAL);
    head.resize(BEFORE, 0);
    // Maps with text for keys, numbers and text: nothing that JSON cannot say.
    if serde_json::to_writer(&mut head, &Versioned::V1(entry)).is_err() {
        head.truncate(BEFORE);
    }
    let length = u32::try_from(head.len() - BEFORE).unwrap_or(u32::MAX).to_le_bytes();
    head[HEAD..BEFORE].copy_from_slice(&length);
    Frame::new(head, bodies)
}

/// Why a record that is whole cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Another version wrote it, which can read it.
    Version(String),
    /// Nobody can.
    Damaged(String),
}

/// What the record says of itself, whatever else is in it.
#[derive(Deserialize)]
struct Head {
    version: String,
}

fn unread(json: &[u8], error: String) -> Unread {
    match serde_json::from_slice::<Head>(json) {
        Ok(head) if head.version != VERSION => Unread::Version(head.version),
        _ => Unread::Damaged(error),
    }
}

/// A record, whatever it is of.
pub(crate) fn decode(body: &Bytes) -> Result<Option<Entry>, Unread> {
    Ok(Some(read(body)?.unwrap_or_else(Entry::Admitted)))
}

/// A record that the tables want: of a call that was let in only that it is one is looked at.
pub(crate) fn decode_ended(body: &Bytes) -> Result<Option<Entry>, Unread> {
    read::<IgnoredAny>(body).map(Result::ok)
}

/// The entry, or what there is of a call that was let in.
fn read<A: DeserializeOwned>(body: &Bytes) -> Result<Result<Entry, A>, Unread> {
    let cut = || Unread::Damaged("it ends too early".to_owned());
    let (length, rest) = body.split_first_chunk::<4>().ok_or_else(cut)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (json, mut behind) = rest.split_at_checked(length).ok_or_else(cut)?;
    // Looked at once: it is all text, whose every piece would else be looked at for itself.
    let text = str::from_utf8(json).map_err(|e| unread(json, e.to_string()))?;
    let Versioned::V1(read) = serde_json::from_str(text).map_err(|e| unread(json, e.to_string()))?;
    let mut take = |place: Place| {
        Ok::<_, Unread>(match place {
            Place::Absent => Captured::Absent,
            Place::TooLong => Captured::TooLong,
            Place::Dropped => Captured::Dropped,
            Place::Behind(length) => {
                let (taken, rest) = behind.split_at_checked(length).ok_or_else(cut)?;
                behind = rest;
                Captured::Whole(body.slice_ref(taken))
            }
        })
    };
    Ok(Ok(match read {
        Read::Admitted(admission) => return Ok(Err(admission)),
        Read::Audited(audited) => Entry::Audited(audited),
        Read::Settled { admission, mut settlement, bodies } => {
            if let Some(bodies) = bodies {
                let (request, response) = (take(bodies.request)?, take(bodies.response)?);
                settlement.payload = Some(Box::new(Payload { request, response }));
            }
            Entry::Settled(Arc::new(Call { admission: *admission, settlement: *settlement }))
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::AuditPhase;
    use crate::frame::records;
    use crate::{Attempt, CountedUsage, Outcome, Provenance, RequestId};
    use wire::usage::Usage;

    fn call() -> (Admission, Settlement) {
        let admission = Admission {
            request_id: RequestId("r".into()),
            payload_table: Some("c.s.t".into()),
            ip: "10.0.0.1".parse().ok(),
            ..Admission::default()
        };
        let settlement = Settlement {
            outcome: Outcome::Completed,
            status: 200,
            entity: Some("e".into()),
            model: Some("m".into()),
            provider: Some("openai".into()),
            attempts: vec![Attempt {
                entity: "e".into(),
                started_at: 7,
                status: Some(200),
                duration_ms: 1.5,
                began_ms: 0.5,
                fault: Some("timeout"),
                upstream: None,
            }],
            usage: Some(CountedUsage { usage: Usage::new(3, 4), provenance: Provenance::Provider }),
            cost: None,
            duration_ms: 2.0,
            first_byte_ms: None,
            bytes_out: 9,
            content_type: Some("application/json".into()),
            output_characters: Some(12),
            guards: Vec::new(),
            payload: Some(Box::new(Payload {
                request: Captured::Whole(Bytes::from_static(b"{\"a\":1}")),
                response: Captured::TooLong,
            })),
            response: None,
        };
        (admission, settlement)
    }

    fn first(frame: &Frame) -> Entry {
        let data = Bytes::from(frame.parts().concat());
        decode(&data.slice_ref(records(&data).bodies[0])).unwrap().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let (admission, settlement) = call();
        let data = settled(&admission, &settlement).unwrap();
        let Entry::Settled(read) = first(&data) else { panic!("no settlement") };
        // Of usage the totals and the kinds are kept.
        let usage = |settlement: &Settlement| {
            let usage = &settlement.usage.as_ref().unwrap().usage;
            (usage.total_tokens, usage.counts())
        };
        assert_eq!(usage(&read.settlement), usage(&settlement));
        let without = |settlement: Settlement| format!("{:?}", Settlement { usage: None, ..settlement });
        assert_eq!(without(read.settlement.clone()), without(settlement));
        assert_eq!(format!("{:?}", read.admission), format!("{admission:?}"));
        let data = admitted(&admission).unwrap();
        assert!(matches!(first(&data), Entry::Admitted(read) if read.ip == admission.ip));
        let data = Bytes::from(data.parts().concat());
        assert!(matches!(decode_ended(&data.slice_ref(records(&data).bodies[0])), Ok(None)));
    }

    #[test]
    fn an_audit_record_is_read() {
        let record = AuditRecord {
            request_id: RequestId("r".into()),
            phase: AuditPhase::Denied { status: 403, message: String::new() },
            principal: None,
            peer: None,
            user_agent: String::new(),
            method: "PUT".into(),
            route: "/x/{name}".into(),
            path: "/x/1".into(),
            request: String::new(),
        };
        let data = audited(&Audited { at: 1, event_id: "e".into(), record }).unwrap();
        let Entry::Audited(read) = first(&data) else { panic!("no audit record") };
        assert_eq!((read.at, read.record.route.as_ref()), (1, "/x/{name}"));
    }

    /// The first version as it was written, so that a change of the types is seen.
    #[test]
    fn every_version_that_was_written_can_be_read() {
        let json = include_bytes!("../test-data/settled.v1.json").trim_ascii();
        let length = u32::try_from(json.len()).unwrap().to_le_bytes();
        let record = [&length[..], json, b"{}"].concat().into();
        let Some(Entry::Settled(read)) = decode(&record).unwrap() else { panic!() };
        assert_eq!(read.admission.request_id.0.as_ref(), "r1");
        assert_eq!(read.settlement.usage.as_ref().unwrap().usage.total_tokens, 7);
        assert_eq!(
            read.settlement.payload.as_ref().unwrap().request,
            Captured::Whole(Bytes::from_static(b"{}"))
        );
    }

    fn read(json: &[u8]) -> Unread {
        let length = u32::try_from(json.len()).unwrap().to_le_bytes();
        decode(&[&length[..], json].concat().into()).unwrap_err()
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        assert_eq!(read(br#"{"version":"2","entry":{}}"#), Unread::Version("2".to_owned()));
        assert_eq!(read(br#"{"entry":{"x":[1]},"version":"2"}"#), Unread::Version("2".to_owned()));
        assert_eq!(read(b"{\"version\":\"2\",\"entry\":{\"\xff\":1}}"), Unread::Version("2".to_owned()));
        for damaged in
            [&br#"{"version":"1","entry":{}}"#[..], b"", b"{}", br#"{"version":"1","entry":{"admitted":[]}}"#]
        {
            assert!(matches!(read(damaged), Unread::Damaged(_)), "{damaged:?}");
        }
        assert!(matches!(decode(&Bytes::from_static(b"\x09\0\0\0{}")), Err(Unread::Damaged(_))));
    }
}
