//! A stream that is read where no client pulls it.

use std::future::poll_fn;

use bytes::BytesMut;

use super::upstream::{Step, Upstream};
use crate::dialect::Dialect;
use crate::error::ServeError;
use crate::record::Open;

/// Whatever ends it, what has come is on record.
pub(crate) struct Reading<'a> {
    upstream: &'a mut Upstream,
    dialect: &'static dyn Dialect,
    open: &'a mut Open,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(upstream: &'a mut Upstream, dialect: &'static dyn Dialect, open: &'a mut Open) -> Self {
        Self { upstream, dialect, open }
    }

    /// Appends what comes next to `out`.
    pub(crate) async fn step(&mut self, out: &mut BytesMut) -> Result<Step, ServeError> {
        poll_fn(|cx| self.upstream.poll_step(cx, out)).await
    }

    /// All that is left, for its count alone.
    pub(crate) async fn rest(self) {
        self.upstream.read_rest().await;
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.upstream.record(self.dialect, self.open);
    }
}
