//! The control plane: endpoints, secrets, tokens and identity over the Databricks REST API.
//!
//! Every write goes to the store first and is then published as a new snapshot, which is all that the
//! data plane ever sees.

mod access;
mod bootstrap;
mod clock;
mod discovery;
mod endpoints;
mod publish;
mod reply;
mod request;
mod scim;
mod secrets;
mod tokens;

use std::sync::Arc;

use axum::Router;
use policy::endpoint::Defaults;
use policy::{Live, RuntimeView};
use store::Store;
use tokio::sync::Mutex;

pub use access::{Needs, Route};
pub use bootstrap::{ADMIN_USER, create_admin_token, ensure_admin};
pub use publish::{PublishError, refresh, watch};

#[derive(Clone, Debug, Default)]
pub struct ControlConfig {
    /// How configs are read: provider base URLs and time limits.
    pub defaults: Defaults,
    /// The address that clients know the server by, without a trailing slash. Without it the `Host` header
    /// of the request is used, for discovery documents only.
    pub public_url: Option<String>,
    pub tls: bool,
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
    config: ControlConfig,
    workspace_id: i64,
    /// Changes are made one after the other: what is checked is then still true when it is written.
    writing: Mutex<()>,
    /// Snapshots are made one after the other: an older one never replaces a newer.
    publishing: Mutex<()>,
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
        runtime: Arc<dyn RuntimeView>,
        config: ControlConfig,
    ) -> store::Result<Self> {
        let workspace_id = store.workspace_id().await?;
        let (writing, publishing) = (Mutex::new(()), Mutex::new(()));
        Ok(Self {
            inner: Arc::new(Inner { store, live, runtime, config, workspace_id, writing, publishing }),
        })
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
    [discovery::ROUTES, scim::ROUTES, tokens::ROUTES, secrets::scopes::ROUTES, secrets::values::ROUTES]
        .into_iter()
        .chain([secrets::acls::ROUTES, endpoints::ROUTES])
        .flatten()
}

/// The control plane's paths.
pub fn router(control: Control) -> Router {
    access::router(routes(), control)
}
