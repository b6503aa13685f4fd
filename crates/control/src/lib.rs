//! The control plane: endpoints, secrets, tokens and identity over the Databricks REST API.
//!
//! Every write goes to the store first and is then published as a new snapshot, which is all that the
//! data plane ever sees.

mod access;
mod audit;
mod bootstrap;
mod catalog;
mod clock;
mod credentials;
mod discovery;
mod endpoints;
mod oauth;
mod openapi;
mod people;
mod publish;
mod reply;
mod request;
mod scim;
mod secrets;
mod token_management;
mod tokens;
mod update;
mod usage;
mod workspace;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use journal::audit::AuditSink;
use policy::endpoint::Defaults;
use policy::{Explain, Live, Probe, RuntimeView};
use secrecy::ExposeSecret;
use store::Store;
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

pub use access::{Needs, Route};
pub use bootstrap::{ADMIN_USER, create_admin_token, ensure_admin};
pub use catalog::{ListedColumn, ListedTable, TableListing};
pub use oauth::federation::{OidcConfig, watch_issuer};
pub use openapi::document as openapi_document;
pub use publish::{PublishError, inference_table, refresh, watch};

#[derive(Clone, Debug, Default)]
pub struct ControlConfig {
    /// How configs are read: provider base URLs and time limits.
    pub defaults: Defaults,
    /// The address that clients know the server by, without a trailing slash. Without it the `Host` header
    /// of the request is used, for discovery documents only.
    pub public_url: Option<String>,
    pub tls: bool,
    /// A company's own identity provider.
    pub oidc: Option<OidcConfig>,
}

/// What control asks of others; the binary wires who answers.
#[derive(Clone)]
pub struct Ports {
    pub runtime: Arc<dyn RuntimeView>,
    pub probe: Arc<dyn Probe>,
    pub explain: Arc<dyn Explain>,
    pub audit: Arc<dyn AuditSink>,
    pub tables: Arc<dyn TableListing>,
}

/// The control plane's state. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    live: Arc<Live>,
    runtime: Arc<dyn RuntimeView>,
    probe: Arc<dyn Probe>,
    explain: Arc<dyn Explain>,
    audit: Arc<dyn AuditSink>,
    tables: Arc<dyn TableListing>,
    config: ControlConfig,
    issuer: Option<oauth::federation::Desk>,
    workspace_id: i64,
    /// For the snapshot.
    id_key: policy::IdKey,
    /// Updates that run in the background.
    jobs: TaskTracker,
    /// Changes are made one after the other: what is checked is then still true when it is written.
    writing: Mutex<()>,
    /// Snapshots are made one after the other: an older one never replaces a newer.
    publishing: Mutex<()>,
    /// Whether the last attempt failed, or one took too long.
    publishing_fails: AtomicBool,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl Control {
    /// Errors when the store cannot be read.
    pub async fn new(
        store: Arc<dyn Store>,
        live: Arc<Live>,
        ports: Ports,
        config: ControlConfig,
    ) -> store::Result<Self> {
        let workspace_id = store.workspace_id().await?;
        let id_key = policy::IdKey::new(store.id_key().await?.expose_secret());
        let Ports { runtime, probe, explain, audit, tables } = ports;
        let issuer = config.oidc.clone().map(oauth::federation::Desk::new);
        let jobs = TaskTracker::new();
        let (writing, publishing) = (Mutex::new(()), Mutex::new(()));
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                live,
                runtime,
                probe,
                explain,
                audit,
                tables,
                jobs,
                config,
                issuer,
                workspace_id,
                id_key,
                writing,
                publishing,
                publishing_fails: AtomicBool::new(false),
            }),
        })
    }

    /// Takes up what a stopped server left: updates that ran are failed, and what is stored is published.
    pub async fn start(&self) -> Result<(), PublishError> {
        if let Err(failure) = update::recover(self).await {
            tracing::error!(error = %failure.0, "updates that were left running could not be ended");
        }
        refresh(self).await
    }

    /// Waits for the updates under way.
    pub async fn finish(&self) {
        self.inner.jobs.close();
        self.inner.jobs.wait().await;
    }

    /// The account's id, which is this installation's own.
    pub fn account_id(&self) -> String {
        discovery::account_id(self.inner.workspace_id)
    }

    fn store(&self) -> &dyn Store {
        self.inner.store.as_ref()
    }

    fn runtime(&self) -> &dyn RuntimeView {
        self.inner.runtime.as_ref()
    }
}

/// Every route there is, with what it needs.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    let identity = [scim::ME, scim::USERS, scim::GROUPS, scim::SERVICE_PRINCIPALS, token_management::ROUTES];
    let oauth = [oauth::ROUTES, oauth::secrets::ROUTES, openapi::ROUTES];
    [discovery::ROUTES, tokens::ROUTES, secrets::scopes::ROUTES, secrets::values::ROUTES]
        .into_iter()
        .chain([secrets::acls::ROUTES, endpoints::ROUTES, workspace::ROUTES, catalog::ROUTES, usage::ROUTES])
        .chain(identity)
        .chain(oauth)
        .flatten()
}

/// The control plane's paths.
pub fn router(control: Control) -> Router {
    access::router(routes(), control)
}
