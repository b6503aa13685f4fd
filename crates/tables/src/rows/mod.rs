//! From what the journal holds to rows of the tables.

mod audit;
mod batches;
mod calls;
mod endpoints;
mod gateway;
mod guards;
mod payload;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow_schema::{ArrowError, SchemaRef};
use journal::{Call, Entry};
use sha2::{Digest, Sha256};
use wire::counts::TokenCounts;
use wire::table::TableName;

use crate::columns::Kind;
use crate::served::ServedRow;
use audit::AuditRow;
use batches::batches;
pub(crate) use batches::{Batch, Row, serialized};
use calls::UsageRow;
pub(crate) use endpoints::{Endpoints, described};
use gateway::GatewayRow;
use payload::PayloadRow;

/// Whose tables they are: in the columns that Databricks tells its accounts and workspaces apart by.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    pub account_id: String,
    pub workspace_id: String,
}

/// Rows of one table.
#[derive(Debug)]
pub(crate) enum Rows {
    Payload(Vec<PayloadRow>),
    EndpointUsage(Vec<UsageRow>),
    GatewayUsage(Vec<GatewayRow>),
    Audit(Vec<AuditRow>),
    ServedEntities(Vec<ServedRow>),
}

/// All endpoints are of models elsewhere.
const DESTINATION_TYPE: &str = "EXTERNAL_FOUNDATION_MODEL";

impl Rows {
    /// As Arrow's batches in the columns of the table.
    pub(crate) fn batches<'a>(
        &'a self,
        schema: &'a SchemaRef,
    ) -> Box<dyn Iterator<Item = Result<Batch, ArrowError>> + Send + 'a> {
        match self {
            Self::Payload(rows) => Box::new(batches(rows, schema)),
            Self::EndpointUsage(rows) => Box::new(batches(rows, schema)),
            Self::GatewayUsage(rows) => Box::new(batches(rows, schema)),
            Self::Audit(rows) => Box::new(batches(rows, schema)),
            Self::ServedEntities(rows) => Box::new(batches(rows, schema)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Payload(rows) => rows.len(),
            Self::EndpointUsage(rows) => rows.len(),
            Self::GatewayUsage(rows) => rows.len(),
            Self::Audit(rows) => rows.len(),
            Self::ServedEntities(rows) => rows.len(),
        }
    }

    /// Bytes of bodies.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Payload(rows) => rows.iter().map(Row::bytes).sum(),
            Self::EndpointUsage(_) | Self::GatewayUsage(_) | Self::Audit(_) | Self::ServedEntities(_) => 0,
        }
    }

    /// Puts `more` behind; gives them back where they are rows of another kind.
    pub(crate) fn append(&mut self, more: Self) -> Option<Self> {
        match (self, more) {
            (Self::Payload(rows), Self::Payload(mut more)) => rows.append(&mut more),
            (Self::EndpointUsage(rows), Self::EndpointUsage(mut more)) => rows.append(&mut more),
            (Self::GatewayUsage(rows), Self::GatewayUsage(mut more)) => rows.append(&mut more),
            (Self::Audit(rows), Self::Audit(mut more)) => rows.append(&mut more),
            (Self::ServedEntities(rows), Self::ServedEntities(mut more)) => rows.append(&mut more),
            (_, more) => return Some(more),
        }
        None
    }
}

/// The rows of some entries, by table; of the `wanted` ones, where not all are.
pub(crate) fn of(
    entries: &[Entry],
    workspace: &Workspace,
    endpoints: &Endpoints,
    wanted: Option<&BTreeSet<TableName>>,
) -> BTreeMap<TableName, Rows> {
    let wants = |table: &TableName| wanted.is_none_or(|wanted| wanted.contains(table));
    let wants_kind = |kind: Kind| kind.table().is_some_and(|table| wants(&table));
    let (wants_usage, wants_gateway) = (wants_kind(Kind::EndpointUsage), wants_kind(Kind::GatewayUsage));
    let wants_audit = wants_kind(Kind::Audit);
    let mut found = BTreeMap::new();
    let (mut usage, mut gateway, mut audited) = (Vec::new(), Vec::new(), Vec::new());
    let mut ids = EntityIds::default();
    let mut payloads = Payloads::default();
    for entry in entries {
        match entry {
            Entry::Admitted(_) => {}
            Entry::Audited(record) => {
                audited.extend(wants_audit.then(|| AuditRow::new(record, workspace)));
            }
            Entry::Settled(call) => {
                if !of_serving_endpoints(call) {
                    gateway
                        .extend(wants_gateway.then(|| GatewayRow::new(call, workspace, endpoints, &mut ids)));
                } else if call.admission.usage_tracking {
                    usage.extend(wants_usage.then(|| UsageRow::new(call, workspace, &mut ids)));
                }
                let table = call.admission.payload_table.as_deref();
                if let Some(rows) = table.and_then(|table| payloads.of(table, wants)) {
                    rows.push(PayloadRow::new(call, &mut ids));
                }
            }
        }
    }
    found.extend(payloads.tables.into_iter().flatten().map(|(table, rows)| (table, Rows::Payload(rows))));
    let mut add = |kind: Kind, is_empty: bool, rows: Rows| {
        if let Some(table) = kind.table().filter(|_| !is_empty) {
            found.insert(table, rows);
        }
    };
    add(Kind::EndpointUsage, usage.is_empty(), Rows::EndpointUsage(usage));
    add(Kind::GatewayUsage, gateway.is_empty(), Rows::GatewayUsage(gateway));
    add(Kind::Audit, audited.is_empty(), Rows::Audit(audited));
    found
}

/// Rows with bodies, by the name that their endpoints have for the table.
#[derive(Default)]
struct Payloads<'a> {
    /// Nothing of those that are not wanted.
    tables: Vec<Option<(TableName, Vec<PayloadRow>)>>,
    places: HashMap<&'a str, usize>,
    /// Most calls are of the same as the one before.
    last: Option<(&'a str, usize)>,
}

impl<'a> Payloads<'a> {
    /// Of a table that is wanted.
    fn of(&mut self, table: &'a str, wants: impl Fn(&TableName) -> bool) -> Option<&mut Vec<PayloadRow>> {
        let place = match self.last {
            Some((last, place)) if last == table => place,
            _ => *self.places.entry(table).or_insert_with(|| {
                // The name was checked when the endpoint was configured.
                let name = TableName::parse(table).ok().filter(wants);
                self.tables.push(name.map(|name| (name, Vec::new())));
                self.tables.len() - 1
            }),
        };
        self.last = Some((table, place));
        self.tables.get_mut(place)?.as_mut().map(|(_, rows)| rows)
    }
}

/// The path that a call came by decides which of the two usage tables it is in.
fn of_serving_endpoints(call: &Call) -> bool {
    call.admission.path.starts_with("/serving-endpoints/")
}

/// What joins a call to `system.serving.served_entities`: the same entity of another version of the
/// endpoint's configuration is another one.
pub(crate) fn served_entity_id(endpoint_id: &str, config_version: i64, entity: &str) -> String {
    let digest = Sha256::digest(format!("{endpoint_id}\n{config_version}\n{entity}").as_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The ids of the entities of calls, of which there are few.
#[derive(Default)]
struct EntityIds<'a> {
    ids: HashMap<EntityKey<'a>, Arc<str>>,
    /// Most calls are of the same as the one before.
    last: Option<(EntityKey<'a>, Arc<str>)>,
}

/// The endpoint's id, the version of its configuration, and the entity's name.
type EntityKey<'a> = (&'a str, i64, &'a str);

impl<'a> EntityIds<'a> {
    /// Of the entity that answered a call.
    fn of(&mut self, call: &'a Call) -> Option<Arc<str>> {
        Some(self.of_entity(call, call.settlement.entity.as_deref()?))
    }

    fn of_entity(&mut self, call: &'a Call, entity: &'a str) -> Arc<str> {
        let key = (&*call.admission.endpoint_id, call.admission.config_version, entity);
        if let Some((_, id)) = self.last.as_ref().filter(|(last, _)| *last == key) {
            return Arc::clone(id);
        }
        let id = self.ids.entry(key).or_insert_with(|| served_entity_id(key.0, key.1, key.2).into());
        self.last = Some((key, Arc::clone(id)));
        Arc::clone(id)
    }
}

/// A time of day as the tables hold it: microseconds since the epoch.
pub(crate) const fn micros(millis: i64) -> i64 {
    millis.saturating_mul(1000)
}

/// A day as the tables hold it: days since the epoch, in UTC.
pub(crate) fn day(millis: i64) -> i32 {
    i32::try_from(millis.div_euclid(86_400_000)).unwrap_or_default()
}

/// The status of an answer; none where nobody knows it.
fn status(call: &Call) -> Option<i32> {
    Some(i32::from(call.settlement.status)).filter(|status| *status != 0)
}

/// Milliseconds as a whole number.
#[expect(clippy::cast_possible_truncation, reason = "saturates, and no call takes that long")]
fn whole(millis: f64) -> i64 {
    millis.round() as i64
}

/// Milliseconds that went by outside of calls of upstreams: of a stream, up to its first byte, since an attempt
/// that begins a stream is over with its first event.
fn overhead(call: &Call) -> Option<f64> {
    let settlement = &call.settlement;
    let attempts: f64 = settlement.attempts.iter().map(|attempt| attempt.duration_ms).sum();
    let first_byte = settlement.first_byte_ms.filter(|_| call.admission.stream);
    let all = first_byte.unwrap_or(settlement.duration_ms);
    (!settlement.attempts.is_empty()).then(|| (all - attempts).max(0.0))
}

/// Tokens by kind, of those kinds of which there were some.
fn by_kind(counts: &TokenCounts) -> BTreeMap<&'static str, i64> {
    let some = counts.iter().filter(|(_, tokens)| *tokens > 0);
    some.map(|(kind, tokens)| (kind.as_str(), count(tokens))).collect()
}

/// Counts as the tables hold them.
fn count(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}
