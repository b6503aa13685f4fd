//! `/api/2.0/permissions/serving-endpoints/{id}`: who may do what. Addressed by id, not by name.

use std::collections::BTreeMap;

use policy::identity::ADMINS;
use policy::{Level, Principal, PrincipalKind};
use serde::Deserialize;
use serde_json::{Value, json};
use store::Store;
use store::model::{EndpointRecord, GrantRecord, GranteeKind};
use wire::error::ApiError;

use crate::publish::caught_up;
use crate::reply::{Failure, Reply};
use crate::request::Call;
use crate::{clock, refresh};

#[derive(Deserialize)]
pub(crate) struct AccessControl {
    #[serde(default)]
    pub(crate) access_control_list: Vec<Entry>,
}

#[derive(Deserialize)]
pub(crate) struct Entry {
    user_name: Option<String>,
    group_name: Option<String>,
    service_principal_name: Option<String>,
    #[serde(default)]
    pub(crate) permission_level: String,
}

impl Entry {
    /// Whom it is for.
    pub(crate) fn grantee(&self) -> Result<(GranteeKind, String), String> {
        let named = [
            (GranteeKind::User, &self.user_name),
            (GranteeKind::Group, &self.group_name),
            (GranteeKind::ServicePrincipal, &self.service_principal_name),
        ];
        let mut given = named.into_iter().filter_map(|(kind, name)| Some((kind, name.clone()?)));
        match (given.next(), given.next()) {
            (Some(only), None) => Ok(only),
            _ => Err("set exactly one of user_name, group_name and service_principal_name".to_owned()),
        }
    }
}

pub(super) async fn levels(_call: Call) -> Result<Reply, Failure> {
    let describe = |level: Level| match level {
        Level::View => "Can view the endpoint and its configuration",
        Level::Query => "Can view and query the endpoint",
        Level::Manage => "Can view, query, change and delete the endpoint and its permissions",
    };
    let levels: Vec<Value> = Level::ALL
        .iter()
        .map(|level| json!({"permission_level": level.as_str(), "description": describe(*level)}))
        .collect();
    Reply::json(&json!({"permission_levels": levels}))
}

pub(super) async fn get(call: Call) -> Result<Reply, Failure> {
    let record = by_id(call.control.store(), call.path("id")).await?;
    caught_up(&call.control).await?;
    Reply::json(&view(&record))
}

/// Replaces all direct grants. Whoever calls, and the creator, keep what they have: nobody locks
/// themselves out.
pub(super) async fn put(call: Call) -> Result<Reply, Failure> {
    write(call, |caller, record| {
        let kept: Vec<GrantRecord> =
            record.grants.iter().filter(|g| keeps(g, caller, record)).cloned().collect();
        kept
    })
    .await
}

/// Adds to the direct grants; a grantee that is there gets the new level.
pub(super) async fn patch(call: Call) -> Result<Reply, Failure> {
    write(call, |_, record| record.grants.clone()).await
}

fn keeps(grant: &GrantRecord, caller: &Principal, record: &EndpointRecord) -> bool {
    let manages = grant.level == Level::Manage.as_str() && grant.kind != GranteeKind::Group;
    manages && (grant.grantee == caller.name.as_ref() || grant.grantee == record.creator)
}

async fn write(
    call: Call,
    base: fn(&Principal, &EndpointRecord) -> Vec<GrantRecord>,
) -> Result<Reply, Failure> {
    let asked: AccessControl = call.json()?;
    let control = &call.control;
    let caller = call.caller()?;
    let _writing = control.inner.writing.lock().await;
    let mut record = by_id(control.store(), call.path("id")).await?;
    let mut grants = base(caller, &record);
    for (at, entry) in asked.access_control_list.iter().enumerate() {
        let grant = read(entry).map_err(|e| ApiError::invalid(format!("access_control_list[{at}]: {e}")))?;
        check_exists(control.store(), &grant).await?;
        let same = |g: &GrantRecord| g.kind == grant.kind && g.grantee == grant.grantee;
        // Members of admins manage everything already; a lower grant cannot take that away.
        if grant.kind == GranteeKind::Group && grant.grantee == ADMINS {
            continue;
        }
        match grants.iter_mut().find(|g| same(g)) {
            Some(old) => old.level.clone_from(&grant.level),
            None => grants.push(grant),
        }
    }
    record.grants = grants;
    record.updated_at = clock::now_ms();
    control.store().update_endpoint(&record).await?;
    refresh(control).await?;
    tracing::info!(endpoint = record.name, by = %caller.name, "endpoint permissions changed");
    Reply::json(&view(&record))
}

fn read(entry: &Entry) -> Result<GrantRecord, String> {
    let (kind, grantee) = entry.grantee()?;
    match Level::parse(&entry.permission_level) {
        Some(level) => Ok(GrantRecord { kind, grantee, level: level.as_str().to_owned() }),
        None => {
            let levels: Vec<&str> = Level::ALL.iter().map(|l| l.as_str()).collect();
            Err(format!("permission_level {:?} is none of {}", entry.permission_level, levels.join(", ")))
        }
    }
}

pub(crate) async fn check_exists(store: &dyn Store, grant: &GrantRecord) -> Result<(), Failure> {
    let name = &grant.grantee;
    let (found, what) = match grant.kind {
        GranteeKind::Group => (store.groups().await?.iter().any(|g| g.name == *name), "GroupName"),
        kind => {
            let service = kind == GranteeKind::ServicePrincipal;
            let found = store
                .principals()
                .await?
                .iter()
                .any(|p| p.is_service_principal == service && p.name == *name);
            (found, if service { "ServicePrincipalName" } else { "UserName" })
        }
    };
    if found {
        Ok(())
    } else {
        Err(ApiError::not_found(format!("Principal: {what}({name}) does not exist")).into())
    }
}

async fn by_id(store: &dyn Store, id: &str) -> Result<EndpointRecord, Failure> {
    let found = store.endpoints().await?.into_iter().find(|e| e.id == id);
    found
        .ok_or_else(|| ApiError::not_found(format!("Serving endpoint with id {id:?} does not exist.")).into())
}

fn view(record: &EndpointRecord) -> Value {
    let path = format!("/serving-endpoints/{}", record.id);
    // One entry a grantee; `admins` first, inherited by everything.
    let inherited = json!({"permission_level": Level::Manage.as_str(), "inherited": true,
        "inherited_from_object": ["/serving-endpoints/"]});
    let mut entries = vec![json!({"group_name": ADMINS, "all_permissions": [inherited]})];
    for grant in &record.grants {
        let own = json!({"permission_level": grant.level, "inherited": false});
        entries.push(entry(grant.kind, &grant.grantee, &[own]));
    }
    json!({"object_id": path, "object_type": "serving-endpoint", "access_control_list": entries})
}

/// What one grantee has.
pub(crate) fn entry(kind: GranteeKind, grantee: &str, permissions: &[Value]) -> Value {
    let field = match kind {
        GranteeKind::User => "user_name",
        GranteeKind::Group => "group_name",
        GranteeKind::ServicePrincipal => "service_principal_name",
    };
    let mut entry = BTreeMap::from([(field, Value::from(grantee))]);
    if kind != GranteeKind::Group {
        entry.insert("display_name", grantee.into());
    }
    entry.insert("all_permissions", permissions.into());
    json!(entry)
}

/// The grant that a creator gets.
pub(super) fn owner(caller: &Principal) -> GrantRecord {
    let kind = match caller.kind {
        PrincipalKind::User => GranteeKind::User,
        PrincipalKind::ServicePrincipal => GranteeKind::ServicePrincipal,
    };
    GrantRecord { kind, grantee: caller.name.to_string(), level: Level::Manage.as_str().to_owned() }
}
