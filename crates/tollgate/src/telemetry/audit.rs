//! Audit records as log lines of a target of their own, which no log level turns off.

use journal::audit::{AuditPhase, AuditRecord, AuditSink};

/// The target of audit lines.
pub(crate) const TARGET: &str = "tollgate_audit";

pub(crate) struct AuditLog;

impl AuditSink for AuditLog {
    fn record(&self, record: &AuditRecord) {
        let (phase, status, before, after) = match &record.phase {
            AuditPhase::Allowed { before } => ("allowed", None, Some(before.as_str()), None),
            AuditPhase::Denied { status, .. } => ("denied", Some(*status), None, None),
            AuditPhase::Done { status, after } => ("done", Some(*status), None, Some(after.as_str())),
        };
        let some = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
        tracing::info!(
            target: TARGET,
            audit_request_id = %record.request_id.0,
            phase,
            status,
            principal = record.principal.as_deref(),
            peer = record.peer.map(|ip| ip.to_string()),
            user_agent = record.user_agent,
            method = record.method,
            route = %record.route,
            path = record.path,
            request = some(Some(&record.request)),
            before = some(before),
            after = some(after),
            "audit"
        );
    }
}
