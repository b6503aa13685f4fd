//! Calls whose body is still to come. Where the path names the endpoint, one that breaks off is on record.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use journal::RequestId;
use policy::{Endpoint, Principal, Snapshot};
use wire::error::ApiError;
use wire::raw::RawObject;

use crate::Gateway;
use crate::body::{self, Unread};
use crate::capture::Capture;
use crate::pipeline::{Addressing, Ask, admit};
use crate::record::{Known, Open};

/// Dropped while its body is read, its client has left.
pub(crate) struct Arriving<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) ask: &'a Ask,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) parts: &'a Parts,
    pub(crate) request_id: &'a RequestId,
    pub(crate) principal: &'a Principal,
    pub(crate) started: Instant,
    /// Whether it is known what there is of the body: what becomes of it then is for others to record.
    pub(crate) has_arrived: bool,
}

impl Arriving<'_> {
    pub(crate) async fn body(&mut self, body: Body) -> Result<Bytes, Unread> {
        let config = &self.gateway.inner.config;
        let came = body::read(&self.parts.headers, body, config.max_body_bytes, config.body_timeout).await;
        self.has_arrived = !matches!(came, Err(Unread::BrokenOff(_)));
        came
    }

    /// From here on it is on record.
    pub(crate) fn admit(
        &self,
        endpoint: &Arc<Endpoint>,
        body: &RawObject<'_>,
        capture: impl FnOnce(usize) -> Capture,
    ) -> Result<Box<Open>, ApiError> {
        let known = Known {
            request_id: self.request_id,
            endpoint,
            principal: self.principal,
            parts: self.parts,
            body,
            streams: self.ask.streams,
            counts: (self.ask.surface.dialect)(endpoint.task).counts(),
        };
        admit(self.gateway, &known, capture, self.started)
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        let Addressing::Path(name) = &self.ask.addressing else { return };
        if let Some(endpoint) = self.snapshot.endpoints.get(name).filter(|_| !self.has_arrived) {
            // Dropped at once, it is a call whose client has left. Without room for it there is nobody to tell.
            drop(self.admit(endpoint, &RawObject::default(), Capture::without_request));
        }
    }
}
