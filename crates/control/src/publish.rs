//! From the store to the snapshot: what the data plane sees.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use policy::endpoint::{Accounting, Meta, compile};
use policy::identity::Token;
use policy::limits::Limits;
use policy::permit::{Grant, Grantee, Level};
use policy::{Endpoint, Principal, Snapshot};
use providers::SecretRef;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use store::model::{EndpointRecord, GrantRecord, GranteeKind};
use store::{Store, StoreError};
use tokio_util::sync::CancellationToken;
use wire::table::{BadName, TableName};

use crate::people::People;
use crate::secrets::references;
use crate::{Control, oauth};

/// Longest that a read waits for what it tells of to serve.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// How often the store is asked whether another process changed it.
const POLL: Duration = Duration::from_millis(500);

/// The store could not be read; the snapshot in force stays.
pub type PublishError = StoreError;

/// Publishes what the store holds now.
pub async fn refresh(control: &Control) -> Result<(), PublishError> {
    let _publishing = control.inner.publishing.lock().await;
    publish(control).await
}

/// Returns once everything that the store holds now is published, by whomever. A write is in the store
/// before it is in the snapshot: a read that answered in between would tell of what does not serve yet.
/// While publishing fails nobody waits: what is stored can be read all the same, and `watch` tells why.
pub(crate) async fn caught_up(control: &Control) -> Result<(), PublishError> {
    let stored = control.store().generation().await?;
    let waits = || {
        let (live, failing) = (&control.inner.live, &control.inner.publishing_fails);
        live.load().generation < stored && !failing.load(Ordering::Relaxed)
    };
    if !waits() {
        return Ok(());
    }
    let published = async {
        let _publishing = control.inner.publishing.lock().await;
        // Whoever held the lock may have published it, or failed.
        if waits() { publish(control).await } else { Ok(()) }
    };
    // Unless it was published just then.
    if tokio::time::timeout(LONGEST_WAIT, published).await.is_err() && waits() {
        control.inner.publishing_fails.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// The caller holds the lock of all publishing.
async fn publish(control: &Control) -> Result<(), PublishError> {
    let published = snapshot(control).await.map(|snapshot| control.inner.live.publish(snapshot));
    control.inner.publishing_fails.store(published.is_err(), Ordering::Relaxed);
    published
}

async fn snapshot(control: &Control) -> Result<Snapshot, StoreError> {
    let store = control.store();
    // Read first: a write that slips in between is then noticed by `watch`.
    let generation = store.generation().await?;
    let people = People::load(store).await?;
    let active = active(&people);
    let tokens = tokens(store, &active).await?;
    let oauth = oauth::publish(control, &people, &active).await?;
    let mut endpoints = HashMap::new();
    for record in store.endpoints().await? {
        if let Some(endpoint) = endpoint(control, &record).await? {
            endpoints.insert(record.name, endpoint);
        }
    }
    Ok(Snapshot {
        generation,
        endpoints: Arc::new(endpoints),
        tokens: Arc::new(tokens),
        oauth: Arc::new(oauth),
        id_key: Some(control.inner.id_key.clone()),
    })
}

/// Publishes the changes of other processes until `shutdown`.
pub async fn watch(control: Control, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(POLL) => {}
        }
        let published = control.inner.live.load().generation;
        let result = match control.store().generation().await {
            Ok(generation) if generation == published => continue,
            Ok(_) => refresh(&control).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::warn!(%error, "the store cannot be read, serving what was published before");
        }
    }
}

/// The active principals by id.
type Active<'p> = HashMap<&'p str, Arc<Principal>>;

fn active(people: &People) -> Active<'_> {
    people.principals.iter().filter(|p| p.active).map(|p| (p.id.as_str(), people.effective(p))).collect()
}

async fn tokens(store: &dyn Store, active: &Active<'_>) -> Result<HashMap<[u8; 32], Token>, StoreError> {
    let tokens = store.tokens().await?.into_iter().filter_map(|token| {
        let principal = Arc::clone(active.get(token.principal_id.as_str())?);
        let expires_at = token.expires_at;
        Some((token.hash, Token { id: token.id.into(), hash: token.hash, principal, expires_at }))
    });
    Ok(tokens.collect())
}

/// `None` for a record that this program cannot compile: it is left out, loudly, and all others serve.
async fn endpoint(control: &Control, record: &EndpointRecord) -> Result<Option<Arc<Endpoint>>, StoreError> {
    let secrets = open(control.store(), &references(&record.document.config)).await?;
    let config = &record.document.config;
    match compile(meta(record), config, &control.inner.config.defaults, &|r| secrets.get(r).cloned()) {
        Ok(compiled) => {
            for secret in compiled.missing {
                tracing::warn!(endpoint = record.name, %secret, "a secret of the endpoint does not exist");
            }
            Ok(Some(compiled.endpoint))
        }
        Err(error) => {
            tracing::error!(endpoint = record.name, %error, "the stored endpoint cannot be served");
            Ok(None)
        }
    }
}

pub(crate) fn meta(record: &EndpointRecord) -> Meta {
    let gateway = record.document.ai_gateway.as_ref();
    Meta {
        id: record.id.as_str().into(),
        name: record.name.as_str().into(),
        config_version: record.config_version,
        fallback: gateway.and_then(|g| g.fallback_config).is_some_and(|f| f.enabled),
        grants: record.grants.iter().filter_map(grant).collect(),
        guardrails: gateway.and_then(|g| g.guardrails.clone()).unwrap_or_default(),
        accounting: accounting(record),
        limits: limits(record),
    }
}

fn accounting(record: &EndpointRecord) -> Accounting {
    let gateway = record.document.ai_gateway.as_ref();
    let is_enabled = |config: &&Value| config.get("enabled") == Some(&Value::Bool(true));
    let tracked = gateway.and_then(|g| g.usage_tracking_config.as_ref()).filter(is_enabled);
    let payload_table = inference_table(record).and_then(|name| {
        name.inspect_err(|error| {
            tracing::error!(endpoint = record.name, %error, "the inference table has no name that can be: no bodies are kept");
        })
        .ok()
    });
    Accounting {
        usage_tracking: tracked.is_some(),
        payload_table: payload_table.map(|name| name.to_string().into()),
    }
}

/// Where the bodies of an endpoint's calls go, if they are kept; an error where it has no name that can be.
pub fn inference_table(record: &EndpointRecord) -> Option<Result<TableName, BadName>> {
    let config = record.document.ai_gateway.as_ref()?.inference_table_config.as_ref()?;
    let is_enabled = config.get("enabled") == Some(&Value::Bool(true));
    is_enabled.then(|| payload_table(&record.name, config))
}

/// The name that a configuration gives the table.
pub(crate) fn payload_table(endpoint: &str, config: &Value) -> Result<TableName, BadName> {
    let part = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
    let prefix = Some(part("table_name_prefix")).filter(|prefix| !prefix.is_empty()).unwrap_or(endpoint);
    TableName::new(part("catalog_name"), part("schema_name"), &format!("{prefix}_payload"))
}

/// All were read when they were stored; one that no longer can be is left out, loudly.
fn limits(record: &EndpointRecord) -> Limits {
    let stored = record.document.ai_gateway.iter().flat_map(|block| block.rate_limits.iter().flatten());
    Limits::new(stored.filter_map(|limit| {
        let read = policy::limits::read(limit);
        read.inspect_err(|error| {
            tracing::error!(endpoint = record.name, %error, "a stored rate limit cannot be read");
        })
        .ok()
    }))
}

fn grant(record: &GrantRecord) -> Option<Grant> {
    let name = record.grantee.clone();
    let to = match record.kind {
        GranteeKind::User => Grantee::User(name),
        GranteeKind::Group => Grantee::Group(name),
        GranteeKind::ServicePrincipal => Grantee::ServicePrincipal(name),
    };
    Some(Grant { to, level: Level::parse(&record.level)? })
}

/// The values of `references` that exist and are text.
pub(crate) async fn open(
    store: &dyn Store,
    references: &[SecretRef],
) -> Result<HashMap<SecretRef, SecretString>, StoreError> {
    let mut out = HashMap::with_capacity(references.len());
    for reference in references {
        let (scope, key) = crate::secrets::place(reference);
        let Some(bytes) = store.open_secret(scope, key).await? else { continue };
        match std::str::from_utf8(bytes.expose_secret()) {
            Ok(text) => {
                out.insert(reference.clone(), SecretString::from(text));
            }
            Err(_) => tracing::warn!(secret = %reference, "the secret is binary and cannot be a credential"),
        }
    }
    Ok(out)
}
