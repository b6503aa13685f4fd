//! Reading bodies, bounded in size and time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use wire::error::{ApiError, ErrorCode};

/// Why a client's body is not there.
#[derive(Debug)]
pub(crate) enum Unread {
    /// Longer than so many bytes.
    TooLarge(usize),
    /// It took longer than this.
    TooSlow(Duration),
    BrokenOff(axum::Error),
}

impl Unread {
    pub(crate) fn error(&self) -> ApiError {
        match self {
            Self::TooLarge(limit) => {
                let message = format!(
                    "the request body is larger than {limit} bytes, the limit set by server.max_body_bytes"
                );
                ApiError::new(ErrorCode::RequestEntityTooLarge, message)
            }
            Self::TooSlow(within) => {
                let message = format!("the request body did not arrive within {} ms", within.as_millis());
                ApiError::new(ErrorCode::BadRequest, message).with_status(408)
            }
            Self::BrokenOff(error) => ApiError::bad_request(format!("the request body broke off: {error}")),
        }
    }
}

/// The whole body of a client's request. One that is too long is refused as soon as that is known; what
/// is left of it is the server's to deal with.
pub(crate) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    within: Duration,
) -> Result<Bytes, Unread> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(Unread::TooLarge(limit));
    }
    match tokio::time::timeout(within, collect(&mut body, limit)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(Unread::TooLarge(limit)),
        Ok(Err(error)) => Err(Unread::BrokenOff(error)),
        Err(_) => Err(Unread::TooSlow(within)),
    }
}

/// `None` when the body is longer than `limit`. A body of one piece is not copied.
async fn collect(body: &mut Body, limit: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        length += data.len();
        if length > limit {
            return Ok(None);
        }
        match &first {
            None => first = Some(data),
            Some(head) => {
                if rest.is_empty() {
                    rest.extend_from_slice(head);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    let whole = if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() };
    Ok(Some(whole))
}

/// Why an upstream's body could not be read.
#[derive(Debug)]
pub(crate) enum ReadFault {
    Broken(String),
    Idle,
    TooLarge,
}

/// The whole body of an upstream's answer; `idle` bounds the wait for each piece. `limit` may fall meanwhile.
pub(crate) async fn read_upstream<B>(
    body: B,
    limit: impl Fn() -> usize,
    idle: Duration,
) -> Result<Bytes, ReadFault>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let (bytes, fault) = read_up_to(body, limit, idle).await;
    fault.map_or(Ok(bytes), Err)
}

/// As much of an upstream's body as came before it ended, failed or reached `limit`, and what stopped it.
pub(crate) async fn read_up_to<B>(
    mut body: B,
    limit: impl Fn() -> usize,
    idle: Duration,
) -> (Bytes, Option<ReadFault>)
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut length = 0;
    let fault = loop {
        let frame = match tokio::time::timeout(idle, body.frame()).await {
            Err(_) => break Some(ReadFault::Idle),
            Ok(None) => break None,
            Ok(Some(Err(error))) => break Some(ReadFault::Broken(error.to_string())),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(mut data) = frame.into_data() else { continue };
        let room = limit().saturating_sub(length);
        let too_large = data.len() > room;
        data.truncate(room);
        length += data.len();
        pieces.push(data);
        if too_large {
            break Some(ReadFault::TooLarge);
        }
    };
    let bytes = if pieces.len() == 1 { pieces.swap_remove(0) } else { pieces.concat().into() };
    (bytes, fault)
}
