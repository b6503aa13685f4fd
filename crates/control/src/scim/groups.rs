//! `/Groups`, and groups in them.

use policy::identity::{ADMINS, USERS};
use serde_json::Value;
use store::Store;
use store::model::GroupRecord;
use wire::error::{ApiError, ErrorCode};
use wire::scim::{GROUP_SCHEMA, Group, Item, Meta};

use super::read;
use super::resource::{Resource, check_free};
use super::users::{items, to_value};
use crate::people::People;
use crate::reply::Failure;

pub(super) struct Groups;

impl Resource for Groups {
    const NAME: &'static str = "Group";
    type Record = GroupRecord;

    fn all(people: &People) -> impl Iterator<Item = &GroupRecord> + Send {
        people.groups.iter()
    }

    fn id(record: &GroupRecord) -> &str {
        &record.id
    }

    fn view(record: &GroupRecord, people: &People) -> Result<Value, Failure> {
        // Those that it is in; `users` holds everybody and is in nothing.
        let outer = people.around(std::iter::once(record.id.as_str())).into_iter();
        let groups = outer.filter(|g| g.id != record.id).map(|group| Item {
            display: Some(group.name.clone()),
            value: group.id.clone(),
            reference: Some(format!("Groups/{}", group.id)),
            kind: Some(if group.groups.contains(&record.id) { "direct" } else { "indirect" }),
        });
        to_value(&Group {
            schemas: vec![GROUP_SCHEMA],
            id: record.id.clone(),
            display_name: record.name.clone(),
            external_id: record.external_id.clone(),
            members: members(record, people),
            groups: groups.collect(),
            roles: items(&record.roles),
            entitlements: items(&record.entitlements),
            meta: Meta { resource_type: "WorkspaceGroup" },
        })
    }

    fn new(body: &Value, _people: &People) -> Result<GroupRecord, ApiError> {
        read::required(body, "displayName").map(|_| GroupRecord::default())
    }

    fn read(body: &Value, record: &mut GroupRecord, people: &People) -> Result<(), ApiError> {
        let name = read::text(body, "displayName")?.filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| record.name.clone());
        if name != record.name {
            check_system(record, "renamed")?;
            check_free(people, &name, &record.id)?;
        }
        record.name = name;
        record.external_id = read::text(body, "externalId")?.unwrap_or_default();
        record.entitlements = read::names(body, "entitlements")?;
        record.roles = read::names(body, "roles")?;
        // Everybody is in `users` whatever is written.
        if record.name != USERS {
            read_members(body, record, people)?;
        }
        Ok(())
    }

    fn check_delete(record: &GroupRecord) -> Result<(), ApiError> {
        check_system(record, "deleted")
    }

    async fn create(store: &dyn Store, record: &GroupRecord) -> store::Result<String> {
        store.create_group(record).await
    }

    async fn update(store: &dyn Store, record: &GroupRecord) -> store::Result<()> {
        store.update_group(record).await
    }

    async fn delete(store: &dyn Store, id: &str) -> store::Result<bool> {
        store.delete_group(id).await
    }
}

fn check_system(record: &GroupRecord, what: &str) -> Result<(), ApiError> {
    if record.name == ADMINS || record.name == USERS {
        let message = format!("the group {} cannot be {what}: the server needs it", record.name);
        return Err(ApiError::new(ErrorCode::InvalidState, message));
    }
    Ok(())
}

fn members(record: &GroupRecord, people: &People) -> Vec<Item> {
    let principal = |id: &str| {
        let (name, service) = people.named(id)?;
        let place = if service { "ServicePrincipals" } else { "Users" };
        Some(Item {
            display: Some(name.to_owned()),
            value: id.to_owned(),
            reference: Some(format!("{place}/{id}")),
            kind: None,
        })
    };
    if record.name == USERS {
        return people.principals.iter().filter_map(|p| principal(&p.id)).collect();
    }
    let groups = record.groups.iter().filter_map(|id| people.group(id)).map(|group| Item {
        display: Some(group.name.clone()),
        value: group.id.clone(),
        reference: Some(format!("Groups/{}", group.id)),
        kind: None,
    });
    record.principals.iter().filter_map(|id| principal(id)).chain(groups).collect()
}

fn read_members(body: &Value, record: &mut GroupRecord, people: &People) -> Result<(), ApiError> {
    record.principals.clear();
    record.groups.clear();
    // What a circle would go through.
    let outer: Vec<&str> =
        people.around(std::iter::once(record.id.as_str())).iter().map(|g| g.id.as_str()).collect();
    for id in read::values(body, "members")?.unwrap_or_default() {
        if people.named(&id).is_some() {
            record.principals.push(id);
            continue;
        }
        let Some(inner) = people.group(&id) else {
            let message = format!("members: there is no user, service principal or group with id {id}");
            return Err(ApiError::not_found(message));
        };
        if inner.name == USERS {
            let message = "members: users holds everybody and cannot be in another group";
            return Err(ApiError::invalid(message));
        }
        if outer.contains(&id.as_str()) {
            let message = format!("members: {} holds {}, the circle would not end", inner.name, record.name);
            return Err(ApiError::invalid(message));
        }
        record.groups.push(id);
    }
    Ok(())
}
