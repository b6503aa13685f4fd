//! What is recorded of a management call: once before its effect, once after.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{RequestId, shared};

/// Where a request came from, as far as the connection tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// A management call. Values that may be secret are elided before they get here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditRecord {
    pub request_id: RequestId,
    pub phase: AuditPhase,
    /// User name or application id; `None` where nobody was recognised.
    #[serde(with = "shared::optional_text")]
    pub principal: Option<Arc<str>>,
    pub peer: Option<IpAddr>,
    pub user_agent: String,
    pub method: String,
    /// The route, with its parameters' names.
    pub route: Cow<'static, str>,
    /// The path as it was called: what the action was on.
    pub path: String,
    /// The request's body as JSON text; empty for none.
    pub request: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditPhase {
    /// The caller may do it, and it is about to be done. `before` is the object as it is, as JSON text; empty
    /// where there is none yet.
    Allowed { before: String },
    /// The caller may not, and was told why.
    Denied {
        status: u16,
        #[serde(default)]
        message: String,
    },
    /// It was tried. `after` is the object as it is now, as JSON text, or the answer where there is none.
    Done { status: u16, after: String },
}

/// Takes audit records. Called before the effect, so that it must not fail silently.
pub trait AuditSink: Send + Sync {
    fn record(&self, record: &AuditRecord);
}
