//! `/Users`, and what service principals share with them.

use serde_json::{Value, json};
use store::Store;
use store::model::{GroupRef, PrincipalRecord, Profile};
use wire::error::ApiError;
use wire::scim::{Item, Name, Principal, SERVICE_PRINCIPAL_SCHEMA, USER_SCHEMA};

use super::read;
use super::resource::{Resource, check_free};
use crate::people::People;
use crate::reply::Failure;

pub(super) struct Users;

impl Resource for Users {
    const NAME: &'static str = "User";
    type Record = PrincipalRecord;

    fn all(people: &People) -> impl Iterator<Item = &PrincipalRecord> + Send {
        people.principals.iter().filter(|p| !p.is_service_principal)
    }

    fn id(record: &PrincipalRecord) -> &str {
        &record.id
    }

    fn view(record: &PrincipalRecord, people: &People) -> Result<Value, Failure> {
        to_value(&view(record, people))
    }

    fn new(body: &Value, people: &People) -> Result<PrincipalRecord, ApiError> {
        let name = read::required(body, "userName")?;
        check_free(people, &name, "")?;
        let emails = match super::filter::attribute(body, "emails") {
            Some(Value::Array(emails)) => emails.iter().filter(|e| e.is_object()).take(20).cloned().collect(),
            _ => Vec::new(),
        };
        let profile = Profile { emails, ..Profile::default() };
        Ok(PrincipalRecord { name, active: true, profile, ..PrincipalRecord::default() })
    }

    /// A user name and emails stay for life, as Databricks has it: what is sent is passed over.
    fn read(body: &Value, record: &mut PrincipalRecord, people: &People) -> Result<(), ApiError> {
        let name = super::filter::attribute(body, "name").cloned().unwrap_or_default();
        record.profile.given_name = read::text(&name, "givenName")?.unwrap_or_default();
        record.profile.family_name = read::text(&name, "familyName")?.unwrap_or_default();
        let Profile { given_name, family_name, .. } = &record.profile;
        let both = format!("{given_name} {family_name}").trim().to_owned();
        let default = if both.is_empty() { record.name.clone() } else { both };
        read_common(body, record, people, default)
    }

    async fn create(store: &dyn Store, record: &PrincipalRecord) -> store::Result<String> {
        store.create_principal(record).await
    }

    async fn update(store: &dyn Store, record: &PrincipalRecord) -> store::Result<()> {
        store.update_principal(record).await
    }

    async fn delete(store: &dyn Store, id: &str) -> store::Result<bool> {
        store.delete_principal(id).await
    }
}

pub(super) fn to_value(view: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(view).map_err(|e| ApiError::internal(format!("the answer: {e}")).into())
}

/// Lists that are absent are emptied, as PUT means it, and two things stay: memberships, so that an update
/// of a name takes nobody out of a group, and `active`, because Go leaves a `false` out.
pub(super) fn read_common(
    body: &Value,
    record: &mut PrincipalRecord,
    people: &People,
    default_name: String,
) -> Result<(), ApiError> {
    let shown = read::text(body, "displayName")?.filter(|name| !name.is_empty());
    record.display_name = shown.unwrap_or(default_name);
    record.active = read::flag(body, "active")?.unwrap_or(record.active);
    record.profile.external_id = read::text(body, "externalId")?.unwrap_or_default();
    record.entitlements = read::names(body, "entitlements")?;
    record.roles = read::names(body, "roles")?;
    if let Some(ids) = read::values(body, "groups")? {
        let group = |id: &String| {
            let group = people.group(id).map(|g| GroupRef { id: g.id.clone(), name: g.name.clone() });
            group.ok_or_else(|| ApiError::not_found(format!("Group with id {id} does not exist")))
        };
        record.groups = ids.iter().map(group).collect::<Result<_, _>>()?;
    }
    Ok(())
}

pub(super) fn items(names: &[String]) -> Vec<Item> {
    names.iter().map(|name| Item { value: name.clone(), ..Item::default() }).collect()
}

pub(super) fn view(record: &PrincipalRecord, people: &People) -> Principal {
    let groups = people.groups_of(record).into_iter().map(|group| {
        let direct = record.groups.iter().any(|g| g.id == group.id);
        Item {
            display: Some(group.name.clone()),
            value: group.id.clone(),
            reference: Some(format!("Groups/{}", group.id)),
            kind: Some(if direct { "direct" } else { "indirect" }),
        }
    });
    let service = record.is_service_principal;
    let profile = &record.profile;
    let emails = match profile.emails.is_empty() {
        true => vec![json!({"value": record.name, "type": "work", "primary": true})],
        false => profile.emails.clone(),
    };
    let unnamed = profile.given_name.is_empty() && profile.family_name.is_empty();
    let given_name = if unnamed { record.display_name.clone() } else { profile.given_name.clone() };
    Principal {
        schemas: vec![if service { SERVICE_PRINCIPAL_SCHEMA } else { USER_SCHEMA }],
        id: record.id.clone(),
        user_name: (!service).then(|| record.name.clone()),
        application_id: service.then(|| record.name.clone()),
        display_name: record.display_name.clone(),
        active: record.active,
        external_id: profile.external_id.clone(),
        emails: if service { Vec::new() } else { emails },
        name: (!service).then(|| Name { given_name, family_name: profile.family_name.clone() }),
        groups: groups.collect(),
        roles: items(&record.roles),
        entitlements: items(&record.entitlements),
    }
}
