//! `/ServicePrincipals`.

use serde_json::Value;
use store::Store;
use store::model::PrincipalRecord;
use wire::error::ApiError;

use super::read;
use super::resource::{Resource, check_free};
use super::users::{self, Users};
use crate::people::People;
use crate::reply::Failure;

pub(super) struct ServicePrincipals;

impl Resource for ServicePrincipals {
    const NAME: &'static str = "Service principal";
    type Record = PrincipalRecord;

    fn all(people: &People) -> impl Iterator<Item = &PrincipalRecord> + Send {
        people.principals.iter().filter(|p| p.is_service_principal)
    }

    fn id(record: &PrincipalRecord) -> &str {
        &record.id
    }

    fn view(record: &PrincipalRecord, people: &People) -> Result<Value, Failure> {
        users::to_value(&users::view(record, people))
    }

    /// The application id is made here, unless the client brings one, as it does on Azure.
    fn new(body: &Value, people: &People) -> Result<PrincipalRecord, ApiError> {
        let name = match read::text(body, "applicationId")?.filter(|id| !id.is_empty()) {
            None => uuid::Uuid::new_v4(),
            Some(id) => uuid::Uuid::try_parse(&id).map_err(|_| {
                ApiError::invalid(format!("applicationId is {id:?}, it must be a UUID, or absent to get one"))
            })?,
        };
        let name = name.hyphenated().to_string();
        check_free(people, &name, "")?;
        let record = PrincipalRecord { is_service_principal: true, name, ..PrincipalRecord::default() };
        Ok(PrincipalRecord { active: true, ..record })
    }

    fn read(body: &Value, record: &mut PrincipalRecord, people: &People) -> Result<(), ApiError> {
        let default = match record.display_name.is_empty() {
            true => record.name.clone(),
            false => record.display_name.clone(),
        };
        users::read_common(body, record, people, default)
    }

    async fn create(store: &dyn Store, record: &PrincipalRecord) -> store::Result<String> {
        Users::create(store, record).await
    }

    async fn update(store: &dyn Store, record: &PrincipalRecord) -> store::Result<()> {
        Users::update(store, record).await
    }

    async fn delete(store: &dyn Store, id: &str) -> store::Result<bool> {
        Users::delete(store, id).await
    }
}
