//! `system.serving.served_entities`: a row for each served entity of each version of an endpoint's
//! configuration, and one more when the endpoint is deleted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow_array::{Array, RecordBatch, StringArray, cast::AsArray};
use async_trait::async_trait;
use deltalake_core::DeltaTable;
use serde::Serialize;
use wire::table::TableName;

use crate::append::{self, Batch, Numbered, last_number};
use crate::aside::{Pace, aside};
use crate::checks::delta;
use crate::clock;
use crate::columns::Kind;
use crate::compact::read;
use crate::lake::{Lake, TableError};
use crate::rows::{Rows, Workspace, micros, served_entity_id};

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

/// Tells what is served.
#[async_trait]
pub trait ServedEntities: Send + Sync {
    /// Everything; an error says why it cannot be known.
    async fn current(&self) -> Result<Vec<ServedEntity>, String>;
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

impl ServedRow {
    fn new(entity: &ServedEntity, id: &str, workspace: &Workspace) -> Self {
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
            endpoint_delete_time: None,
        }
    }

    fn deleted(id: &str, known: &Known, now: i64, workspace: &Workspace) -> Self {
        Self {
            served_entity_id: id.to_owned(),
            account_id: workspace.account_id.clone(),
            workspace_id: workspace.workspace_id.clone(),
            created_by: None,
            endpoint_name: known.endpoint.clone(),
            endpoint_id: known.endpoint_id.clone(),
            served_entity_name: known.name.clone(),
            entity_type: "EXTERNAL_MODEL",
            entity_name: known.model.clone(),
            entity_version: None,
            endpoint_config_version: None,
            task: None,
            external_model_config: None,
            change_time: micros(now),
            endpoint_delete_time: Some(micros(now)),
        }
    }
}

/// What the table says of an entity.
#[derive(Clone, Debug, Default)]
struct Known {
    endpoint: Option<String>,
    endpoint_id: String,
    name: Option<String>,
    model: Option<String>,
    is_deleted: bool,
}

/// Keeps the table up to date. It remembers what it has seen there, so that no change costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Served {
    known: Option<HashMap<String, Known>>,
}

impl Served {
    /// Writes what is new; whether there was anything.
    pub(crate) async fn update(
        &mut self,
        lake: &Lake,
        current: &[ServedEntity],
        workspace: &Workspace,
    ) -> Result<bool, TableError> {
        if self.known.as_ref().is_some_and(|known| changes(known, current, workspace, 0).is_empty()) {
            return Ok(false);
        }
        let Some(name) = Kind::ServedEntities.table() else { return Ok(false) };
        if self.known.is_none() && current.is_empty() {
            // No table is made for nothing.
            return Ok(false);
        }
        let mut table = append::open_or_create(lake, &name).await?;
        let known = aside(Pace::Patient, known(table.clone(), name.clone(), workspace.workspace_id.clone()))
            .await??;
        let rows = changes(&known, current, workspace, clock::now_ms());
        let is_change = !rows.is_empty();
        if is_change {
            let number = last_number(&table, &name, APPLICATION).await?.map_or(1, |last| last + 1);
            let rows: Arc<[Numbered]> = Arc::new([Numbered { number, rows: Rows::ServedEntities(rows) }]);
            let batch = Batch { application: APPLICATION, rows: &rows, fresh: None, pace: Pace::Patient };
            append::append(&mut table, &name, batch, &|| Ok(())).await?;
        }
        // Whoever was quicker may have written something else: the table says what it holds.
        let known = self::known(table, name, workspace.workspace_id.clone());
        self.known = Some(aside(Pace::Patient, known).await??);
        Ok(is_change)
    }
}

fn changes(
    known: &HashMap<String, Known>,
    current: &[ServedEntity],
    workspace: &Workspace,
    now: i64,
) -> Vec<ServedRow> {
    let id = |entity: &ServedEntity| {
        served_entity_id(&entity.endpoint.id, entity.endpoint.config_version, &entity.name)
    };
    let new = current.iter().map(|entity| (id(entity), entity)).filter(|(id, _)| !known.contains_key(id));
    let mut rows: Vec<ServedRow> = new.map(|(id, entity)| ServedRow::new(entity, &id, workspace)).collect();
    let endpoints: HashSet<&str> = current.iter().map(|entity| entity.endpoint.id.as_str()).collect();
    let gone = known.iter().filter(|(_, k)| !k.is_deleted && !endpoints.contains(k.endpoint_id.as_str()));
    rows.extend(gone.map(|(id, known)| ServedRow::deleted(id, known, now, workspace)));
    rows
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
    let at = |column: Option<&StringArray>, row: usize| {
        column.filter(|values| values.is_valid(row)).map(|values| values.value(row).to_owned())
    };
    let (ids, endpoints, endpoint_ids) =
        (text("served_entity_id"), text("endpoint_name"), text("endpoint_id"));
    let (names, models) = (text("served_entity_name"), text("entity_name"));
    let workspaces = text("workspace_id");
    let deleted = batch.column_by_name("endpoint_delete_time");
    for row in 0..batch.num_rows() {
        let Some(id) = at(ids, row).filter(|_| at(workspaces, row).as_deref() == Some(workspace_id)) else {
            continue;
        };
        let is_deleted = deleted.is_some_and(|times| times.is_valid(row));
        let known = found.entry(id).or_insert_with(|| Known {
            endpoint: at(endpoints, row),
            endpoint_id: at(endpoint_ids, row).unwrap_or_default(),
            name: at(names, row),
            model: at(models, row),
            is_deleted: false,
        });
        known.is_deleted |= is_deleted;
    }
}
