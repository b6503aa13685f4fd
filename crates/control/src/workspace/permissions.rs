//! `/api/2.0/permissions/directories/{id}`: who may do what with a folder and all that is in it.

use policy::identity::{ADMINS, USERS as EVERYBODY};
use serde_json::{Value, json};
use store::model::{GrantRecord, GranteeKind, ObjectKind, ObjectRecord};
use wire::error::ApiError;

use super::path::{SHARED, USERS, WorkspacePath};
use super::reach::{Level, require};
use crate::endpoints::permissions::{AccessControl, check_exists, entry};
use crate::reply::{Failure, Reply};
use crate::request::Call;

/// Grants on one folder.
const MAX_GRANTS: usize = 200;

pub(super) async fn levels(call: Call) -> Result<Reply, Failure> {
    folder(&call).await?;
    let describe = |level: Level| match level {
        Level::Read => "Can read what is in the folder",
        Level::Run => "Can read what is in the folder; nothing is run here",
        Level::Edit => "Can read and overwrite what is in the folder",
        Level::Manage => {
            "Can read, make, overwrite and delete what is in the folder, and give others a permission"
        }
    };
    let levels =
        Level::ALL.map(|level| json!({"permission_level": level.as_str(), "description": describe(level)}));
    Reply::json(&json!({"permission_levels": levels}))
}

pub(super) async fn get(call: Call) -> Result<Reply, Failure> {
    let (object, path) = folder(&call).await?;
    view(&call, &object, &path).await
}

/// Replaces what was given on the folder itself.
pub(super) async fn put(call: Call) -> Result<Reply, Failure> {
    write(call, false).await
}

/// Adds to it; a grantee that is there gets the new level.
pub(super) async fn patch(call: Call) -> Result<Reply, Failure> {
    write(call, true).await
}

async fn write(call: Call, adds: bool) -> Result<Reply, Failure> {
    let asked: AccessControl = call.json()?;
    let (object, path) = folder(&call).await?;
    if matches!(path.as_str(), "/" | USERS) || path.is_within(SHARED) {
        let message = format!("the permissions of {} are fixed", path.as_str());
        return Err(ApiError::bad_request(message).into());
    }
    let store = call.control.store();
    let _writing = call.control.inner.writing.lock().await;
    let mut grants: Vec<GrantRecord> = Vec::new();
    if adds {
        let old = store.folder_grants(path.as_str()).await?.into_iter();
        grants.extend(old.filter(|(id, _)| *id == object.id).map(|(_, grant)| grant));
    }
    if asked.access_control_list.len() + grants.len() > MAX_GRANTS {
        let message = format!("access_control_list: a folder takes at most {MAX_GRANTS} entries");
        return Err(ApiError::invalid(message).into());
    }
    for (at, entry) in asked.access_control_list.iter().enumerate() {
        let place = |says: String| ApiError::invalid(format!("access_control_list[{at}]: {says}"));
        let (kind, grantee) = entry.grantee().map_err(place)?;
        let level = Level::parse(&entry.permission_level).ok_or_else(|| {
            let levels = Level::ALL.map(Level::as_str).join(", ");
            place(format!("permission_level {:?} is none of {levels}", entry.permission_level))
        })?;
        let grant = GrantRecord { kind, grantee, level: level.as_str().to_owned() };
        check_exists(store, &grant).await?;
        grants.push(grant);
    }
    store.put_folder_grants(&object.id, &grants).await?;
    view(&call, &object, &path).await
}

/// The folder with the id in the path, for those who manage it.
async fn folder(call: &Call) -> Result<(ObjectRecord, WorkspacePath), Failure> {
    let id = call.path("id");
    let found = call.control.store().workspace_object_of(id).await?;
    let Some(object) = found.filter(|object| object.kind == ObjectKind::Directory) else {
        let shown: String = id.chars().take(100).collect();
        return Err(ApiError::not_found(format!("Directory with id {shown:?} does not exist.")).into());
    };
    let path = WorkspacePath::parse(&object.path)?;
    require(call, &path, Level::Manage).await?;
    Ok((object, path))
}

/// One entry a grantee: what everybody has by the place of the folder, what comes from folders around it,
/// and what was given on it.
async fn view(call: &Call, object: &ObjectRecord, path: &WorkspacePath) -> Result<Reply, Failure> {
    let store = call.control.store();
    let manage = |id: &str| json!({"permission_level": Level::Manage.as_str(), "inherited": true, "inherited_from_object": [format!("/directories/{id}")]});
    let mut entries = vec![(GranteeKind::Group, ADMINS.to_owned(), vec![manage("")])];
    if path.is_within(SHARED) {
        entries.push((GranteeKind::Group, EVERYBODY.to_owned(), vec![manage("")]));
    }
    let owner = path.owner().unwrap_or_default();
    if let Some(owner) = store.principals().await?.iter().find(|principal| principal.name == owner) {
        let kind = if owner.is_service_principal { GranteeKind::ServicePrincipal } else { GranteeKind::User };
        entries.push((kind, owner.name.clone(), vec![manage(&owner.id)]));
    }
    for (id, grant) in store.folder_grants(path.as_str()).await? {
        let mut permission = json!({"permission_level": grant.level, "inherited": id != object.id});
        if id != object.id {
            permission["inherited_from_object"] = json!([format!("/directories/{id}")]);
        }
        match entries.iter_mut().find(|(kind, grantee, _)| (*kind, grantee) == (grant.kind, &grant.grantee)) {
            Some((_, _, permissions)) => permissions.push(permission),
            None => entries.push((grant.kind, grant.grantee, vec![permission])),
        }
    }
    let list: Vec<Value> =
        entries.iter().map(|(kind, grantee, permissions)| entry(*kind, grantee, permissions)).collect();
    let object_id = format!("/directories/{}", object.id);
    Reply::json(&json!({"object_id": object_id, "object_type": "directory", "access_control_list": list}))
}
