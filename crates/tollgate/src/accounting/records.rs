//! Who is told of a call and of a management call: the journal first, then the metrics and the log.

use journal::audit::{AuditRecord, AuditSink};
use journal::{Admission, Durable, Full, Journal, LimitHit, RecordSink, Settlement};

use crate::telemetry::audit::AuditLog;
use crate::telemetry::metrics::MetricsSink;

pub(crate) struct Records {
    pub(crate) journal: Journal,
    pub(crate) metrics: MetricsSink,
}

impl RecordSink for Records {
    fn admit(&self, admission: &Admission) -> Result<(), Full> {
        self.journal.admit(admission)?;
        self.metrics.admit(admission)
    }

    fn settle(&self, admission: &Admission, settlement: &Settlement) {
        self.journal.settle(admission, settlement);
        self.metrics.settle(admission, settlement);
    }

    fn limited(&self, admission: &Admission, hit: &LimitHit) {
        self.metrics.limited(admission, hit);
    }

    fn durable(&self) -> Option<Durable> {
        self.journal.durable()
    }
}

pub(crate) struct AuditTrail {
    pub(crate) journal: Journal,
}

impl AuditSink for AuditTrail {
    fn record(&self, record: &AuditRecord) {
        self.journal.record(record);
        AuditLog.record(record);
    }
}
