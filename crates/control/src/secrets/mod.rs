//! `/api/2.0/secrets`: scopes, values, and who may do what with a scope.

pub(crate) mod acls;
pub(crate) mod scopes;
pub(crate) mod values;

use http::Method;
use policy::Principal;
use providers::SecretRef;
use providers::fields::{Kind, lookup};
use store::Store;
use store::model::ScopePermission;
use wire::endpoint::EndpointConfig;
use wire::error::ApiError;
use wire::secrets::ScopeRef;

use crate::reply::Failure;
use crate::request::Call;

/// The server's own scope, for credentials that came as `*_plaintext`. Its name is no legal scope name,
/// so that no request can name it.
pub(crate) const INTERNAL_SCOPE: &str = "#internal";

const MAX_NAME: usize = 128;

/// The place of a referenced secret in the store.
pub(crate) fn place(reference: &SecretRef) -> (&str, &str) {
    match reference {
        SecretRef::Scope { scope, key } => (scope, key),
        SecretRef::Internal(id) => (INTERNAL_SCOPE, id),
    }
}

/// Every secret that a config names.
pub(crate) fn references(config: &EndpointConfig) -> Vec<SecretRef> {
    let mut out: Vec<SecretRef> = named(config).into_iter().map(|(_, reference)| reference).collect();
    out.sort();
    out.dedup();
    out
}

/// The fields of a config that name a secret, with their paths.
pub(crate) fn named(config: &EndpointConfig) -> Vec<(String, SecretRef)> {
    let mut out = Vec::new();
    for (at, entity) in config.served_entities.iter().enumerate() {
        let Some(model) = &entity.external_model else { continue };
        let Some(registration) = providers::find(&model.provider) else { continue };
        let name = registration.config_field;
        let Some(block) = model.config.get(name).and_then(|b| b.as_object()) else { continue };
        let secrets = registration.fields.iter().filter(|f| f.kind == Kind::Secret);
        out.extend(secrets.filter_map(|f| {
            let reference = SecretRef::parse(lookup(block, f.path)?.as_str()?)?;
            Some((format!("config.served_entities[{at}].external_model.{name}.{}", f.path), reference))
        }));
    }
    out
}

/// Refuses what no scope or key can be called.
fn check_name(what: &str, name: &str) -> Result<(), ApiError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_@./".contains(&b);
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(legal) {
        return Ok(());
    }
    let shown: String = name.chars().take(MAX_NAME).collect();
    Err(ApiError::invalid(format!(
        "{what} {shown:?} must be 1 to {MAX_NAME} letters, digits, `-`, `_`, `@`, `.` or `/`"
    )))
}

/// What `principal` may do with a scope; `None` is nothing. Administrators may do everything.
pub(crate) async fn permission(
    store: &dyn Store,
    principal: &Principal,
    scope: &str,
) -> Result<Option<ScopePermission>, Failure> {
    // The server's own scopes are nobody's, administrators' neither: they hold credentials of others, the key
    // that signs tokens, and files.
    if scope.starts_with('#') {
        return Ok(None);
    }
    if principal.is_admin() {
        return Ok(Some(ScopePermission::Manage));
    }
    let acls = store.acls(scope).await?;
    let own = |name: &str| principal.name.as_ref() == name || principal.is_member(name);
    Ok(acls.iter().filter(|entry| own(&entry.principal)).map(|entry| entry.permission).max())
}

/// Errors unless the scope that a call names, in its query or its body, is there and the caller has `needed`
/// on it.
pub(crate) async fn admit(call: &Call, method: &Method, needed: ScopePermission) -> Result<(), Failure> {
    let scope = match *method {
        Method::GET => call.query("scope")?.to_owned(),
        _ => call.json::<ScopeRef>()?.scope,
    };
    require(call.control.store(), call.caller()?, &scope, needed).await
}

async fn require(
    store: &dyn Store,
    principal: &Principal,
    scope: &str,
    needed: ScopePermission,
) -> Result<(), Failure> {
    let found = store.scope(scope).await?.filter(|s| !s.hidden);
    if found.is_none() {
        let shown: String = scope.chars().take(MAX_NAME).collect();
        return Err(ApiError::not_found(format!("Scope {shown} does not exist!")).into());
    }
    if permission(store, principal, scope).await? >= Some(needed) {
        return Ok(());
    }
    let (who, needed) = (&principal.name, needed.as_str());
    Err(ApiError::denied(format!("{who} lacks {needed} on secret scope {scope}")).into())
}
