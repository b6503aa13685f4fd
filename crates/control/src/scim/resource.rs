//! What users, groups and service principals have in common: the six things that can be done with them.

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use store::{Store, StoreError};
use wire::error::{ApiError, ErrorCode};

use super::paging::{Fields, Query};
use super::patch::{self, Operation};
use crate::people::People;
use crate::refresh;
use crate::reply::{Failure, Reply};
use crate::request::Call;

/// One kind of resource.
pub(super) trait Resource: Send + Sync + Sized + 'static {
    /// As in "User with id 7 does not exist".
    const NAME: &'static str;
    type Record: Clone + Send + Sync;

    fn all(people: &People) -> impl Iterator<Item = &Self::Record> + Send;
    fn id(record: &Self::Record) -> &str;
    fn view(record: &Self::Record, people: &People) -> Result<Value, Failure>;
    /// A new record from a body.
    fn new(body: &Value, people: &People) -> Result<Self::Record, ApiError>;
    /// Reads a whole resource into its record.
    fn read(body: &Value, record: &mut Self::Record, people: &People) -> Result<(), ApiError>;
    fn check_delete(_record: &Self::Record) -> Result<(), ApiError> {
        Ok(())
    }
    fn create(store: &dyn Store, record: &Self::Record)
    -> impl Future<Output = store::Result<String>> + Send;
    fn update(store: &dyn Store, record: &Self::Record) -> impl Future<Output = store::Result<()>> + Send;
    fn delete(store: &dyn Store, id: &str) -> impl Future<Output = store::Result<bool>> + Send;
}

#[derive(Deserialize)]
struct Patch {
    #[serde(default, rename = "Operations", alias = "operations")]
    operations: Vec<Operation>,
}

pub(super) async fn list<R: Resource>(call: Call) -> Result<Reply, Failure> {
    let query = Query::read(call.queries())?;
    let people = People::load(call.control.store()).await?;
    let resources = R::all(&people).map(|record| R::view(record, &people)).collect::<Result<_, _>>()?;
    Reply::json(&query.page(resources))
}

pub(super) async fn get<R: Resource>(call: Call) -> Result<Reply, Failure> {
    let people = People::load(call.control.store()).await?;
    let record = find::<R>(&people, call.path("id"))?;
    let fields = Fields::read(call.queries());
    Reply::json(&fields.keep(R::view(record, &people)?))
}

pub(super) async fn create<R: Resource>(call: Call) -> Result<Reply, Failure> {
    let body: Value = call.json()?;
    let control = &call.control;
    let _writing = control.inner.writing.lock().await;
    let people = People::load(control.store()).await?;
    let mut record = R::new(&body, &people)?;
    R::read(&body, &mut record, &people)?;
    let id = R::create(control.store(), &record).await.map_err(refused)?;
    done::<R>(&call, &id, "created").await.map(|reply| reply.status(StatusCode::CREATED))
}

pub(super) async fn put<R: Resource>(call: Call) -> Result<Reply, Failure> {
    let body: Value = call.json()?;
    change::<R>(&call, |_| Ok(body)).await
}

pub(super) async fn patch<R: Resource>(call: Call) -> Result<Reply, Failure> {
    let Patch { operations } = call.json()?;
    if operations.is_empty() {
        return Err(ApiError::invalid("Operations is empty: say what to add, remove or replace").into());
    }
    let patched = |mut resource: Value| {
        if let Some(fields) = resource.as_object_mut() {
            forget_inherited(fields);
            patch::apply(fields, operations).map_err(ApiError::invalid)?;
        }
        Ok(resource)
    };
    change::<R>(&call, patched).await
}

/// What is inherited is not there to be patched: it would keep the same from being added directly.
fn forget_inherited(fields: &mut wire::Object) {
    if let Some(groups) = fields.get_mut("groups").and_then(Value::as_array_mut) {
        groups.retain(|group| group.get("type").is_none_or(|kind| kind != "indirect"));
    }
}

async fn change<R: Resource>(
    call: &Call,
    body: impl FnOnce(Value) -> Result<Value, ApiError> + Send,
) -> Result<Reply, Failure> {
    let control = &call.control;
    let _writing = control.inner.writing.lock().await;
    let people = People::load(control.store()).await?;
    let mut record = find::<R>(&people, call.path("id"))?.clone();
    let body = body(R::view(&record, &people)?)?;
    R::read(&body, &mut record, &people)?;
    R::update(control.store(), &record).await.map_err(refused)?;
    done::<R>(call, R::id(&record), "changed").await
}

pub(super) async fn delete<R: Resource>(call: Call) -> Result<Reply, Failure> {
    let control = &call.control;
    let _writing = control.inner.writing.lock().await;
    let people = People::load(control.store()).await?;
    let record = find::<R>(&people, call.path("id"))?;
    R::check_delete(record)?;
    if !R::delete(control.store(), R::id(record)).await.map_err(refused)? {
        return Err(missing::<R>(call.path("id")).into());
    }
    refresh(control).await?;
    tracing::info!(kind = R::NAME, id = R::id(record), by = %call.caller()?.name, "identity deleted");
    Ok(Reply::no_content())
}

/// Publishes the change and shows what is stored now.
async fn done<R: Resource>(call: &Call, id: &str, what: &'static str) -> Result<Reply, Failure> {
    refresh(&call.control).await?;
    tracing::info!(kind = R::NAME, id, what, by = %call.caller()?.name, "identity written");
    let people = People::load(call.control.store()).await?;
    Reply::json(&R::view(find::<R>(&people, id)?, &people)?)
}

fn find<'p, R: Resource>(people: &'p People, id: &str) -> Result<&'p R::Record, ApiError> {
    R::all(people).find(|record| R::id(record) == id).ok_or_else(|| missing::<R>(id))
}

fn missing<R: Resource>(id: &str) -> ApiError {
    let shown: String = id.chars().take(100).collect();
    ApiError::not_found(format!("{} with id {shown} does not exist", R::NAME))
}

/// What the store says no to, in words for the caller.
fn refused(error: StoreError) -> Failure {
    match error {
        StoreError::LastAdmin => {
            let message = format!("{error}: make somebody else a member first");
            ApiError::new(ErrorCode::InvalidState, message).into()
        }
        other => other.into(),
    }
}

/// Errors when a name is taken. Users, service principals and groups share their names, whatever the case:
/// access control lists of secret scopes do not say which of them is meant.
pub(super) fn check_free(people: &People, name: &str, own_id: &str) -> Result<(), ApiError> {
    let lower = name.to_lowercase();
    let same = |other: &str, id: &str| id != own_id && other.to_lowercase() == lower;
    let what = if people.groups.iter().any(|g| same(&g.name, &g.id)) {
        "Group"
    } else {
        match people.principals.iter().find(|p| same(&p.name, &p.id)) {
            Some(principal) if principal.is_service_principal => "Service principal",
            Some(_) => "User",
            None => return Ok(()),
        }
    };
    Err(ApiError::new(ErrorCode::ResourceAlreadyExists, format!("{what} with name {name} already exists")))
}
