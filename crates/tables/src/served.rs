//! `system.serving.served_entities`: a row for each served entity of each version of an endpoint's
//! configuration, which gets the time when the endpoint is deleted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow_array::{RecordBatch, StringArray, cast::AsArray};
use arrow_schema::{ArrowError, SchemaRef};
use async_trait::async_trait;
use deltalake_core::DeltaTable;
use serde::Serialize;
use wire::table::TableName;

use crate::append::{self, ATTEMPTS, Append, Committed, last_number};
use crate::aside::{Pace, aside};
use crate::checks::delta;
use crate::clock;
use crate::columns::Kind;
use crate::compact::read;
use crate::ended::{self, Columns, Ends};
use crate::lake::{Lake, TableError};
use crate::rows::{Row, Rows, Workspace, micros, serialized, served_entity_id};
use crate::upgrade::up_to_date;

/// All who write this table write it under one name, so that two who see the same change write it once.
const APPLICATION: &str = "tollgate-served-entities";

/// An endpoint as it is now. Times are milliseconds since the epoch.
#[derive(Clone, Debug, Default)]
pub struct ServedEndpoint {
    pub id: String,
    pub name: String,
    pub tags: BTreeMap<String, String>,
    pub creator: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub config_version: i64,
    /// Who made this version of its configuration.
    pub config_author: String,
    pub config_created_at: i64,
    /// Its table of bodies.
    pub inference_table: Option<String>,
    /// Whether entities without traffic are asked when others fail.
    pub has_fallbacks: bool,
}

/// An entity that is served now.
#[derive(Clone, Debug, Default)]
pub struct ServedEntity {
    pub endpoint: Arc<ServedEndpoint>,
    pub name: String,
    pub provider: String,
    /// The provider's id of the model.
    pub model: String,
    pub task: String,
    pub traffic_percentage: i64,
}

/// What is served, and what was and is not in the table yet.
#[derive(Clone, Debug, Default)]
pub struct ServedNow {
    pub current: Vec<ServedEntity>,
    /// Of configurations that were replaced and endpoints that were deleted.
    pub past: Vec<ServedEntity>,
    /// When endpoints were deleted, in milliseconds since the epoch, by their ids: those of `past` alone.
    pub deleted: HashMap<String, i64>,
    /// Up to where `past` goes; `None` where there is nothing to forget.
    pub mark: Option<i64>,
}

impl ServedNow {
    fn all(&self) -> impl Iterator<Item = &ServedEntity> {
        self.past.iter().chain(&self.current)
    }

    /// Of each endpoint what it is now, or was last.
    pub(crate) fn latest(&self) -> Vec<ServedEntity> {
        let mut latest: HashMap<&str, i64> = HashMap::new();
        for ServedEntity { endpoint, .. } in self.all() {
            latest.insert(&endpoint.id, endpoint.config_version);
        }
        let is_latest = |entity: &&ServedEntity| {
            latest.get(entity.endpoint.id.as_str()) == Some(&entity.endpoint.config_version)
        };
        self.all().filter(is_latest).cloned().collect()
    }
}

/// Tells what is served.
#[async_trait]
pub trait ServedEntities: Send + Sync {
    /// Everything that a call can have met since what was forgotten; an error says why it cannot be known.
    async fn served(&self) -> Result<ServedNow, String>;
    /// What is past up to `mark` is in the table, and need not be told again.
    async fn forget(&self, mark: i64) -> Result<(), String>;
}

#[derive(Debug, Serialize)]
pub(crate) struct ServedRow {
    served_entity_id: String,
    account_id: String,
    workspace_id: String,
    created_by: Option<String>,
    endpoint_name: Option<String>,
    endpoint_id: String,
    served_entity_name: Option<String>,
    entity_type: &'static str,
    entity_name: Option<String>,
    entity_version: Option<String>,
    endpoint_config_version: Option<i64>,
    task: Option<String>,
    external_model_config: Option<External>,
    change_time: i64,
    endpoint_delete_time: Option<i64>,
}

#[derive(Debug, Serialize)]
struct External {
    provider: String,
}

impl Row for ServedRow {
    fn day(&self) -> Option<i32> {
        None
    }

    fn batch(rows: &[Self], schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        serialized(rows, schema)
    }
}

impl ServedRow {
    fn new(entity: &ServedEntity, id: &str, workspace: &Workspace, deleted_at: Option<i64>) -> Self {
        Self {
            served_entity_id: id.to_owned(),
            account_id: workspace.account_id.clone(),
            workspace_id: workspace.workspace_id.clone(),
            created_by: Some(entity.endpoint.config_author.clone()),
            endpoint_name: Some(entity.endpoint.name.clone()),
            endpoint_id: entity.endpoint.id.clone(),
            served_entity_name: Some(entity.name.clone()),
            entity_type: "EXTERNAL_MODEL",
            entity_name: Some(entity.model.clone()),
            entity_version: None,
            endpoint_config_version: Some(entity.endpoint.config_version),
            task: Some(entity.task.clone()),
            external_model_config: Some(External { provider: entity.provider.clone() }),
            change_time: micros(entity.endpoint.config_created_at),
            endpoint_delete_time: deleted_at.map(micros),
        }
    }
}

/// What the table says of an entity.
#[derive(Clone, Debug, Default)]
struct Known {
    endpoint_id: String,
    is_deleted: bool,
    /// When it ended, by a row of its own that an earlier version wrote: there is to be one row for an entity.
    second: Option<i64>,
}

/// What is to be written.
struct Changes {
    new: Vec<ServedRow>,
    ends: Ends,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.ends.is_empty()
    }
}

/// Keeps the table up to date. It remembers what it has seen there, so that no change costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Served {
    known: Option<HashMap<String, Known>>,
}

/// What may end an update between two of its steps.
pub(crate) type Written<'a> = &'a (dyn Fn() -> Result<(), TableError> + Send + Sync);

impl Served {
    /// Writes what is new; whether the table has all of it then. `written` is called between files and each commit, and its
    /// error ends it there.
    pub(crate) async fn update(
        &mut self,
        lake: &Lake,
        served: &ServedNow,
        workspace: &Workspace,
        written: Written<'_>,
    ) -> Result<bool, TableError> {
        if self.known.as_ref().is_some_and(|known| changes(known, served, workspace, 0).is_empty()) {
            return Ok(true);
        }
        let Some(name) = Kind::ServedEntities.table() else { return Ok(false) };
        let mut table = lake.table(&name)?;
        if served.all().next().is_none() && !append::exists(&table, &name).await? {
            // No table is made for nothing.
            return Ok(true);
        }
        table = append::open_or_create(lake, &name).await?;
        let known = aside(Pace::Patient, known(table.clone(), name.clone(), workspace.workspace_id.clone()))
            .await??;
        let Changes { new, ends } = changes(&known, served, workspace, clock::now_ms());
        if !new.is_empty() {
            let number = next_number(&table, &name).await?;
            table = add(table, &name, number, Rows::ServedEntities(new), written).await?;
        }
        if !ends.is_empty() {
            end(&mut table, &name, ends, written).await?;
        }
        // Whoever was quicker may have written something else: the table says what it holds.
        let known = self::known(table, name, workspace.workspace_id.clone());
        let known = aside(Pace::Patient, known).await??;
        let has_all = changes(&known, served, workspace, 0).is_empty();
        self.known = Some(known);
        Ok(has_all)
    }
}

async fn next_number(table: &DeltaTable, name: &TableName) -> Result<i64, TableError> {
    Ok(last_number(table, name, APPLICATION).await?.map_or(1, |last| last + 1))
}

/// Rows under a number that another may be quicker to write under: then it is not written again.
async fn add(
    table: DeltaTable,
    name: &TableName,
    number: i64,
    rows: Rows,
    written: Written<'_>,
) -> Result<DeltaTable, TableError> {
    let rows = Arc::new(rows);
    for _ in 0..ATTEMPTS {
        let mut append = Append::begin(table.clone(), name, APPLICATION.to_owned()).await?;
        if append.has.is_some_and(|has| number <= has) {
            return Ok(append.into_table());
        }
        let rows = Arc::clone(&rows);
        let write = async move {
            append.write(&rows).await?;
            let files = append.files().await?;
            Ok::<_, TableError>((append, files))
        };
        let (append, files) = aside(Pace::Patient, write).await??;
        written()?;
        match append.commit(files, number).await? {
            Committed::Done(table) => return Ok(table),
            Committed::Raced => {}
        }
    }
    Err(append::always_raced(name.clone()))
}

/// Of two who see the same at the same time one loses the race: what is left to do the next update finds.
async fn end(
    table: &mut DeltaTable,
    name: &TableName,
    ends: Ends,
    written: Written<'_>,
) -> Result<(), TableError> {
    up_to_date(table, name).await?;
    let actions =
        aside(Pace::Patient, ended::rewrite(table.clone(), ends)).await?.map_err(|e| delta(name, e))?;
    written()?;
    ended::commit(table, actions).await.map_err(|e| delta(name, e))
}

fn changes(known: &HashMap<String, Known>, served: &ServedNow, workspace: &Workspace, now: i64) -> Changes {
    let id = |entity: &ServedEntity| {
        served_entity_id(&entity.endpoint.id, entity.endpoint.config_version, &entity.name)
    };
    let endpoints: HashSet<&str> = served.current.iter().map(|entity| entity.endpoint.id.as_str()).collect();
    // Of an endpoint that is gone, and whose time of deletion is not told, it is this one.
    let ended_at = |endpoint_id: &str| {
        let told = served.deleted.get(endpoint_id).copied();
        told.or_else(|| (!endpoints.contains(endpoint_id)).then_some(now))
    };
    let mut told = HashSet::new();
    let new = served.all().map(|entity| (id(entity), entity));
    let new = new.filter(|(id, _)| !known.contains_key(id) && told.insert(id.clone()));
    let row = |(id, entity): (String, &ServedEntity)| {
        ServedRow::new(entity, &id, workspace, ended_at(&entity.endpoint.id))
    };
    let new = new.map(row).collect();
    let end = |known: &Known| {
        known.second.or_else(|| ended_at(&known.endpoint_id).filter(|_| !known.is_deleted).map(micros))
    };
    let ends = known.iter().filter_map(|(id, known)| Some((id.clone(), end(known)?))).collect();
    Changes { new, ends }
}

/// What the table holds of one workspace: others may write it too.
async fn known(
    table: DeltaTable,
    name: TableName,
    workspace_id: String,
) -> Result<HashMap<String, Known>, TableError> {
    let state = table.snapshot().map_err(|e| delta(&name, e))?;
    let files: Vec<_> = state.log_data().iter().collect();
    let mut found: HashMap<String, Known> = HashMap::new();
    for file in files {
        for batch in read(&table, &file).await.map_err(|e| delta(&name, e))? {
            learn(&mut found, &batch, &workspace_id);
        }
    }
    Ok(found)
}

fn learn(found: &mut HashMap<String, Known>, batch: &RecordBatch, workspace_id: &str) {
    let text = |column: &str| -> Option<&StringArray> { batch.column_by_name(column)?.as_string_opt() };
    let (Some(columns), Some(endpoints), Some(workspaces)) =
        (Columns::of(batch), text("endpoint_id"), text("workspace_id"))
    else {
        return;
    };
    for row in (0..batch.num_rows()).filter(|row| workspaces.value(*row) == workspace_id) {
        let known = found.entry(columns.ids.value(row).to_owned()).or_default();
        endpoints.value(row).clone_into(&mut known.endpoint_id);
        known.is_deleted |= columns.end(row).is_some();
        if columns.is_second(row) {
            known.second = columns.end(row);
        }
    }
}
