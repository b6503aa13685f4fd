//! What an endpoint means. Pure decisions: no I/O, no clock, no environment; time and state come in as
//! arguments.

pub mod circuit;
pub mod endpoint;
pub mod estimate;
pub mod federation;
pub mod guardrails;
pub mod id_key;
pub mod identity;
pub mod limits;
pub mod oauth;
pub mod permit;
pub mod price;
pub mod routing;
pub mod runtime;
pub mod snapshot;

pub use endpoint::{Compiled, Endpoint, Entity};
pub use id_key::IdKey;
pub use identity::{Credential, Principal, PrincipalKind};
pub use permit::Level;
pub use runtime::{Explain, Probe, RuntimeView};
pub use snapshot::{Live, Snapshot};
