//! One request from its arrival to its response: read, record, refuse or answer, and hand the body over to the pace.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use tokio::time::Instant;

use crate::fault::Fault;
use crate::format::{Call, Format, Refusal, Reply, broken_json, up_to_chunk};
use crate::frames::{Frame, FrameWriter, Kind};
use crate::gates::Gates;
use crate::google_token::Exchanges;
use crate::ledger::{Arrival, Ledger, Track};
use crate::openai::KeptResponses;
use crate::pace::{Ending, Pace, PacedBody, Playlist};
use crate::recording::{Recording, Recordings};
use crate::script::{Hang, SCRIPT_HEADER, Script, Scripts};
use crate::stage::{Stage, Take};
use crate::{clock, format_of, unclaimed};

/// The largest request body that is read.
const MAX_REQUEST: usize = 64 << 20;
/// Between two bytes of a drip, unless the script says otherwise.
const DRIP_GAP: Duration = Duration::from_secs(1);

/// What all requests share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) scripts: Arc<Scripts>,
    pub(crate) exchanges: Arc<Exchanges>,
    pub(crate) recordings: Arc<Recordings>,
    pub(crate) responses: KeptResponses,
    pub(crate) gates: Arc<Gates>,
}

/// A request that has been read.
struct Asked {
    format: Option<&'static dyn Format>,
    method: Method,
    path: String,
    query: String,
    body: Result<Value, Refusal>,
    model: Option<String>,
    is_head: bool,
}

/// What is to be sent.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) encoding: Option<&'static str>,
    pub(crate) play: Playlist,
    pub(crate) retry_after: Option<u64>,
    /// Bytes in place of all that, on the socket itself.
    pub(crate) take: Option<Take>,
}

impl Sending {
    fn new(status: StatusCode, content_type: &'static str, play: Playlist, script: &Script) -> Self {
        let retry_after = script.retry_after;
        Self { status, content_type, encoding: None, play, retry_after, take: None }
    }
}

pub(crate) async fn handle(
    State(shared): State<Arc<Shared>>,
    Extension(stage): Extension<Stage>,
    request: Request,
) -> Response {
    let arrived = Instant::now();
    let (asked, track) = read(&shared, stage.connection, request).await;
    let format = asked.format.unwrap_or(unclaimed());
    let request_id = format!("req_sim_{:08}", track.id());
    let mut sending = match perform(&shared, &asked, arrived, &track, &request_id).await {
        Ok(sending) => sending,
        Err(refusal) => refused(format, &refusal, &request_id, &Script::default()),
    };
    // hyper never asks for these bodies, which would look as if the client had left.
    if asked.is_head || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&sending.status) {
        sending.play = whole(Vec::new(), &Script::default());
    }
    respond(format, sending, &request_id, &stage, track)
}

async fn read(shared: &Shared, connection: u64, request: Request) -> (Asked, Track) {
    let received_at_ms = clock::now_ms();
    let (parts, body) = request.into_parts();
    let read = Limited::new(body, MAX_REQUEST).collect().await;
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let format = if parts.method == Method::POST { format_of(&path) } else { None };
    let (raw, body) = match read {
        Ok(read) => {
            let raw = read.to_bytes();
            let body = format.unwrap_or(unclaimed()).parse(&raw);
            (raw, body)
        }
        Err(_) => {
            let refusal = Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the request body cannot be read");
            (Bytes::new(), Err(refusal))
        }
    };
    let model = match (&body, format) {
        (Ok(body), Some(format)) => format.model(&path, body).map(Cow::into_owned),
        _ => None,
    };
    let is_head = parts.method == Method::HEAD;
    let method = parts.method.clone();
    let arrival = Arrival { received_at_ms, connection, parts, model: model.clone(), body: &raw };
    (Asked { format, method, path, query, body, model, is_head }, shared.ledger.open(arrival))
}

async fn perform(
    shared: &Shared,
    asked: &Asked,
    arrived: Instant,
    track: &Track,
    request_id: &str,
) -> Result<Sending, Refusal> {
    let Some(format) = asked.format else {
        let Asked { method, path, query, .. } = asked;
        if let Some(answer) = shared.responses.answer(method, path, query, track.headers()) {
            return send(unclaimed(), answer?, &Script::default());
        }
        return Err(Refusal::new(StatusCode::NOT_FOUND, format!("no such route: {}", asked.path)));
    };
    format.authorize(track.headers())?;
    format.check_query(&asked.path, &asked.query)?;
    let body = asked.body.as_ref().map_err(Clone::clone)?;
    let model = asked.model.as_deref().unwrap_or_default();
    let script = shared.scripts.resolve(model, track.headers().get(SCRIPT_HEADER));
    let script = script.map_err(|error| Refusal::bad_request(error.to_string()))?;
    if let Some(latency) = script.latency {
        tokio::time::sleep_until(arrived + latency).await;
    }
    if script.hang == Some(Hang::Headers) {
        std::future::pending::<()>().await;
    }
    if let Some(sending) = scripted_failure(format, &script, model, request_id) {
        return Ok(sending);
    }
    let billed = Cell::default();
    let call = Call {
        path: &asked.path,
        model,
        body,
        script: &script,
        responses: &shared.responses,
        billed: &billed,
    };
    // The request is judged as ever, also where the answer is a recording.
    let reply = format.reply(&call)?;
    if let Some(Recording { status, content_type, body }) = shared.recordings.get(model) {
        let play = whole(body.to_vec(), &script);
        return Ok(Sending::new(status, content_type, play, &script));
    }
    if call.with_usage() {
        track.billed(billed.get());
    }
    send(format, reply, &script)
}

fn send(format: &dyn Format, reply: Reply, script: &Script) -> Result<Sending, Refusal> {
    let (play, content_type) = match reply {
        Reply::Whole(body) => (whole(body, script), "application/json"),
        Reply::Stream(frames) => (stream(format, frames, script)?, format.stream_type()),
    };
    let sending = Sending::new(StatusCode::OK, content_type, play, script);
    script.fault.unwrap_or(Fault::None).play(sending)
}

fn scripted_failure(format: &dyn Format, script: &Script, model: &str, request_id: &str) -> Option<Sending> {
    let status = script.status.filter(|status| *status != StatusCode::OK);
    if script.html == Some(true) {
        let page =
            b"<html><head><title>error</title></head><body><h1>bad gateway</h1></body></html>\n".to_vec();
        let play = whole(page, &Script { first_token: script.first_token, ..Script::default() });
        return Some(Sending::new(
            script.status.unwrap_or(StatusCode::BAD_GATEWAY),
            "text/html",
            play,
            script,
        ));
    }
    let refusal = scripted_refusal(status?, model);
    Some(refused(format, &refusal, request_id, script))
}

fn scripted_refusal(status: StatusCode, model: &str) -> Refusal {
    Refusal::new(status, format!("scripted {} from {model}", status.as_u16()))
}

fn refused(format: &dyn Format, refusal: &Refusal, request_id: &str, script: &Script) -> Sending {
    let body = format.error_body(refusal, request_id).unwrap_or_default();
    Sending::new(refusal.status, "application/json", whole(body, script), script)
}

/// A body in one piece, as the script wants it: broken, cut in the middle, or stuck in the middle.
fn whole(body: Vec<u8>, script: &Script) -> Playlist {
    let broken = script.malformed == Some(true);
    let mut bytes = if broken { Bytes::copy_from_slice(broken_json(&body)) } else { Bytes::from(body) };
    let length = bytes.len() as u64;
    let ending = match (script.cut_after, script.hang) {
        (Some(_), _) => Ending::Cut,
        (None, Some(Hang::Body | Hang::Answer)) => Ending::Hang,
        _ => Ending::End,
    };
    if ending != Ending::End {
        bytes.truncate(bytes.len() / 2);
    }
    if script.hang == Some(Hang::Answer) {
        bytes.clear();
    }
    let frames = if bytes.is_empty() { Vec::new() } else { vec![Frame { kind: Kind::Chunk, bytes }] };
    Playlist { frames, ending, pace: pace(script), length: Some(length) }
}

fn stream(format: &dyn Format, mut frames: Vec<Frame>, script: &Script) -> Result<Playlist, Refusal> {
    if script.no_done == Some(true) {
        frames.retain(|frame| frame.kind != Kind::Done);
    }
    if script.malformed == Some(true)
        && let Some(chunk) = frames.iter_mut().find(|frame| frame.kind == Kind::Chunk)
    {
        chunk.bytes = format.broken(chunk);
    }
    let cut_after = script.cut_after.or(script.cut_stream_after);
    let (frames, ending) = match (script.error_after, cut_after, script.hang) {
        (Some(chunks), _, _) => (with_error(format, up_to_chunk(frames, chunks))?, Ending::End),
        (None, Some(chunks), _) => (up_to_chunk(frames, chunks), Ending::Cut),
        (None, None, Some(Hang::Body)) => (up_to_chunk(frames, 1), Ending::Hang),
        (None, None, Some(Hang::Answer)) => (Vec::new(), Ending::Hang),
        _ => (frames, Ending::End),
    };
    Ok(Playlist { frames, ending, pace: pace(script), length: None })
}

fn with_error(format: &dyn Format, mut frames: Vec<Frame>) -> Result<Vec<Frame>, Refusal> {
    let mut writer = FrameWriter::default();
    let status = StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    format.error_frame(&mut writer, &Refusal::new(status, "scripted error in the stream"))?;
    // As the first frame of all it waits for the first token like any head.
    let kind = if frames.is_empty() { Kind::Head } else { Kind::Tail };
    frames.extend(writer.finish().into_iter().map(|frame| Frame { kind, bytes: frame.bytes }));
    Ok(frames)
}

fn pace(script: &Script) -> Pace {
    let drip = script.fault == Some(Fault::Drip);
    let gap = script.chunk_gap.unwrap_or(if drip { DRIP_GAP } else { Duration::ZERO });
    Pace { first: script.first_token.unwrap_or_default(), gap, drip }
}

fn respond(
    format: &dyn Format,
    mut sending: Sending,
    request_id: &str,
    stage: &Stage,
    track: Track,
) -> Response {
    if let Some(take) = sending.take.take() {
        if take.bytes.starts_with(b"HTTP/") {
            track.answered(sending.status);
        }
        stage.take(take, track);
        return Response::default();
    }
    track.answered(sending.status);
    let mut response = Response::new(Body::new(PacedBody::new(sending.play, track)));
    *response.status_mut() = sending.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(sending.content_type));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(HeaderName::from_static(format.request_id_header()), id);
    }
    if let Some(encoding) = sending.encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    if let Some(seconds) = sending.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
