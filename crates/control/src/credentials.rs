//! The credentials in a config: plaintext ones are taken out and sealed, referenced ones must exist and be
//! readable by who names them.

use std::collections::HashMap;

use policy::Principal;
use providers::SecretRef;
use providers::fields::take_plaintexts;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use store::model::{NewScope, ScopePermission};
use store::{Store, StoreError};
use wire::endpoint::EndpointConfig;
use wire::error::ApiError;

use crate::publish::open;
use crate::reply::Failure;
use crate::secrets::{INTERNAL_SCOPE, named, permission, references};

/// Plaintext credentials on their way into the store, by the id that stands for them in the config.
#[derive(Default)]
pub(crate) struct Plaintexts(HashMap<String, SecretString>);

impl Plaintexts {
    /// Takes every `*_plaintext` out of `config` and puts a reference in its place.
    pub(crate) fn take(config: &mut EndpointConfig) -> Result<Self, ApiError> {
        let mut taken = Self::default();
        for (at, entity) in config.served_entities.iter_mut().enumerate() {
            let Some(model) = &mut entity.external_model else { continue };
            let Some(registration) = providers::find(&model.provider) else { continue };
            let field = registration.config_field;
            let Some(block) = model.config.get_mut(field).and_then(Value::as_object_mut) else { continue };
            let path = format!("config.served_entities[{at}].external_model.{field}");
            refuse_internal(&path, &Value::Object(block.clone()))?;
            let seal = |value: String| {
                let id = uuid::Uuid::new_v4().simple().to_string();
                taken.0.insert(id.clone(), SecretString::from(value));
                SecretRef::Internal(id)
            };
            take_plaintexts(block, registration.fields, seal)
                .map_err(|e| ApiError::invalid(format!("{path}.{}: {}", e.field, e.reason)))?;
        }
        Ok(taken)
    }

    pub(crate) async fn save(&self, store: &dyn Store) -> Result<(), StoreError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let scope = NewScope { name: INTERNAL_SCOPE, hidden: true, managers: &[] };
        match store.create_scope(scope).await {
            Ok(()) | Err(StoreError::Exists) => {}
            Err(error) => return Err(error),
        }
        for (id, value) in &self.0 {
            store.put_secret(INTERNAL_SCOPE, id, value.expose_secret().as_bytes()).await?;
        }
        Ok(())
    }
}

/// The server's own references are not for callers: one could name another endpoint's credential.
fn refuse_internal(path: &str, value: &Value) -> Result<(), ApiError> {
    match value {
        Value::String(text) if matches!(SecretRef::parse(text), Some(SecretRef::Internal(_))) => {
            Err(ApiError::invalid(format!("{path}: {{{{internal/…}}}} references cannot be used")))
        }
        Value::Object(map) => map.values().try_for_each(|v| refuse_internal(path, v)),
        _ => Ok(()),
    }
}

/// The values of all credentials of a config; errors unless each exists and `caller` may read it.
pub(crate) async fn resolve(
    store: &dyn Store,
    caller: &Principal,
    config: &EndpointConfig,
    plaintexts: &Plaintexts,
) -> Result<HashMap<SecretRef, SecretString>, Failure> {
    let named = named(config);
    for (path, reference) in &named {
        let SecretRef::Scope { scope, .. } = reference else { continue };
        if permission(store, caller, scope).await? < Some(ScopePermission::Read) {
            // The same sentence whether or not it exists: names of others' secrets are not for guessing.
            return Err(unreadable(path, caller, reference).into());
        }
    }
    let mut values = open(store, &references(config)).await?;
    for (id, value) in &plaintexts.0 {
        values.insert(SecretRef::Internal(id.clone()), value.clone());
    }
    match named.iter().find(|(_, reference)| !values.contains_key(reference)) {
        Some((path, missing)) => Err(unreadable(path, caller, missing).into()),
        None => Ok(values),
    }
}

fn unreadable(path: &str, caller: &Principal, reference: &SecretRef) -> ApiError {
    let who = &caller.name;
    ApiError::invalid(format!(
        "{path}: the secret {reference} does not exist, or {who} may not read it: put it, or correct the reference"
    ))
}

/// Deletes the sealed copies that no config names any more.
pub(crate) async fn forget(store: &dyn Store, references: &[SecretRef]) {
    for reference in references {
        let SecretRef::Internal(id) = reference else { continue };
        if let Err(error) = store.delete_secret(INTERNAL_SCOPE, id).await {
            tracing::warn!(%error, "a sealed credential that is no longer used could not be deleted");
        }
    }
}
