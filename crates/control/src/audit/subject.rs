//! What a call is on, and how that is now: the `before` and the `after` of an audit record.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use store::Store;

use crate::access::Route;
use crate::people::People;
use crate::reply::Failure;
use crate::request::Call;
use crate::{endpoints, oauth, scim, token_management, workspace};

/// One object that a call names, in its path, its body or its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// What the call makes has no name before, or it is on nothing that is kept.
    Unnamed,
    Endpoint(String),
    EndpointById(String),
    Scope(String),
    Secret {
        scope: String,
        key: String,
    },
    Acl {
        scope: String,
        principal: String,
    },
    User(String),
    Group(String),
    ServicePrincipal(String),
    Token(String),
    ClientSecret {
        principal: String,
        id: String,
    },
    /// What is at a path of the workspace.
    File(String),
    FolderById(String),
}

/// What bodies name objects by. Not `Debug`: bodies hold secrets too.
#[derive(Default, Deserialize)]
struct Named {
    #[serde(default)]
    scope: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    principal: String,
    #[serde(default)]
    token_id: String,
    #[serde(default)]
    path: String,
}

impl Named {
    fn read(route: &Route, call: &Call) -> Self {
        if route.method != Method::GET {
            return call.json().unwrap_or_default();
        }
        let query = |name| call.query(name).unwrap_or_default().to_owned();
        Self {
            scope: query("scope"),
            key: query("key"),
            principal: query("principal"),
            path: query("path"),
            ..Self::default()
        }
    }
}

impl Subject {
    pub(crate) fn of(route: &Route, call: &Call) -> Self {
        let path = |name| call.path(name).to_owned();
        let rest = |base: &str| route.path.strip_prefix(base);
        if let Some(rest) = rest("/api/2.0/secrets/") {
            let Named { scope, key, principal, .. } = Named::read(route, call);
            return match rest {
                _ if rest.starts_with("scopes/") => Self::Scope(scope),
                _ if rest.starts_with("acls/") => Self::Acl { scope, principal },
                _ => Self::Secret { scope, key },
            };
        }
        if let Some(rest) = rest(scim::BASE) {
            return match rest {
                "Users/{id}" => Self::User(path("id")),
                "Groups/{id}" => Self::Group(path("id")),
                "ServicePrincipals/{id}" => Self::ServicePrincipal(path("id")),
                _ => Self::Unnamed,
            };
        }
        if let Some(rest) = rest("/api/2.0/workspace") {
            // The longer path has the file's in itself.
            let asked = if rest.starts_with("-files/") {
                format!("/{}", path("path"))
            } else {
                Named::read(route, call).path
            };
            return workspace::stored_path(&asked).map_or(Self::Unnamed, Self::File);
        }
        match route.path {
            at if at.starts_with("/api/2.0/permissions/directories/{id}") => Self::FolderById(path("id")),
            "/api/2.0/token/delete" => Self::Token(Named::read(route, call).token_id),
            at if at.ends_with("/{token_id}") => Self::Token(path("token_id")),
            at if at.ends_with("/{secret_id}") => {
                Self::ClientSecret { principal: path("id"), id: path("secret_id") }
            }
            at if at.starts_with("/api/tollgate/v1/service-principals/{id}") => {
                Self::ServicePrincipal(path("id"))
            }
            at if at.starts_with("/api/2.0/permissions/serving-endpoints/{id}") => {
                Self::EndpointById(path("id"))
            }
            at if at.contains("endpoints/{name}") => Self::Endpoint(path("name")),
            _ => Self::Unnamed,
        }
    }

    /// The object as it is stored now, without the values of secrets; `None` when it is not there.
    pub(crate) async fn state(&self, store: &dyn Store) -> Option<Value> {
        match self.read(store).await {
            Ok(state) => state,
            Err(error) => {
                tracing::error!(error = %error.0, "the object of an audit record cannot be read");
                None
            }
        }
    }

    async fn read(&self, store: &dyn Store) -> Result<Option<Value>, Failure> {
        Ok(match self {
            Self::Unnamed => None,
            Self::Endpoint(name) => store.endpoint(name).await?.as_ref().map(endpoints::audited),
            Self::EndpointById(id) => {
                store.endpoints().await?.iter().find(|e| e.id == *id).map(endpoints::audited)
            }
            Self::Scope(name) => scope(store, name).await?,
            Self::Secret { scope, key } => secret(store, scope, key).await?,
            Self::Acl { scope, principal } => acl(store, scope, principal).await?,
            Self::User(id) | Self::Group(id) | Self::ServicePrincipal(id) => {
                scim::audited(&People::load(store).await?, id)?
            }
            Self::Token(id) => token_management::audited(store, id).await?,
            Self::File(path) => workspace::audited(store, path).await?,
            Self::FolderById(id) => workspace::audited_folder(store, id).await?,
            Self::ClientSecret { principal, id } => oauth::secrets::audited(store, principal, id).await?,
        })
    }
}

async fn scope(store: &dyn Store, name: &str) -> Result<Option<Value>, Failure> {
    let Some(scope) = store.scope(name).await?.filter(|s| !s.hidden) else { return Ok(None) };
    let keys: Vec<String> = store.secrets(name).await?.into_iter().map(|s| s.key).collect();
    let acls: Vec<Value> = store
        .acls(name)
        .await?
        .into_iter()
        .map(|a| json!({"principal": a.principal, "permission": a.permission.as_str()}))
        .collect();
    Ok(Some(json!({"scope": scope.name, "keys": keys, "acls": acls})))
}

async fn secret(store: &dyn Store, scope: &str, key: &str) -> Result<Option<Value>, Failure> {
    if store.scope(scope).await?.is_none_or(|s| s.hidden) {
        return Ok(None);
    }
    let found = store.secrets(scope).await?.into_iter().find(|s| s.key == key);
    Ok(found.map(|s| json!({"scope": scope, "key": s.key, "last_updated_timestamp": s.updated_at})))
}

async fn acl(store: &dyn Store, scope: &str, principal: &str) -> Result<Option<Value>, Failure> {
    let found = store.acls(scope).await?.into_iter().find(|a| a.principal == principal);
    Ok(found.map(|a| json!({"scope": scope, "principal": a.principal, "permission": a.permission.as_str()})))
}
