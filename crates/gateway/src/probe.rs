//! Trying an endpoint that nobody calls yet.

use std::sync::Arc;

use http::HeaderMap;
use journal::RequestId;
use policy::runtime::{Probe, Probed, Probing};
use policy::{Endpoint, Principal, PrincipalKind};
use providers::Task;
use wire::raw::RawObject;

use crate::call::{Asked, Call};
use crate::error::ServeError;
use crate::{Gateway, dialect, upstream};

impl Probe for Gateway {
    fn probe(&self, endpoint: Arc<Endpoint>) -> Probing<'_> {
        Box::pin(async move {
            let mut out = Vec::with_capacity(endpoint.entities.len());
            for (at, entity) in endpoint.entities.iter().enumerate() {
                let problem = problem(self, &endpoint, at).await;
                out.push(Probed { entity: Arc::clone(&entity.name), problem });
            }
            out
        })
    }
}

async fn problem(gateway: &Gateway, endpoint: &Arc<Endpoint>, at: usize) -> Option<String> {
    let object = RawObject::parse(shortest(endpoint.task)).ok()?;
    let id = request_id();
    let headers = HeaderMap::new();
    let dialect = dialect::unified(endpoint.task);
    let asked = Asked::of_our_own(dialect, &headers, object);
    let call = match Call::read(id, Arc::clone(endpoint), nobody(), asked) {
        Ok(call) => call,
        Err(error) => return Some(error.message),
    };
    match upstream::attempt(gateway, &call, at, None).await {
        Ok(_) => None,
        // It is there and busy: its credentials and its model are right.
        Err(ServeError::Upstream { error, .. }) if error.status == 429 => None,
        Err(error) => Some(error.sentence()),
    }
}

/// The smallest request of a task.
pub(crate) const fn shortest(task: Task) -> &'static [u8] {
    match task {
        Task::Chat => br#"{"messages":[{"role":"user","content":"ping"}],"max_tokens":1}"#,
        Task::Completions => br#"{"prompt":"ping","max_tokens":1}"#,
        Task::Embeddings => br#"{"input":"ping"}"#,
    }
}

/// Of a call that nobody sent.
pub(crate) fn request_id() -> RequestId {
    RequestId(uuid::Uuid::now_v7().to_string().into())
}

/// The server itself. It holds no grant and no token.
pub(crate) fn nobody() -> Arc<Principal> {
    Arc::new(Principal {
        id: "".into(),
        name: "tollgate".into(),
        display_name: "tollgate".into(),
        kind: PrincipalKind::ServicePrincipal,
        groups: Vec::new(),
        can_create: false,
    })
}
