//! Outgoing HTTP, once: one client, TLS by rustls, and the address policy.
//!
//! An upstream's host is checked on the address it resolves to, when the connection is made, so that no
//! spelling of an address and no changing DNS answer gets past the policy. Redirects are not followed and
//! proxy variables are not read.

mod address;
mod client;
mod connect;
mod established;
mod resolve;

pub use address::{AddressPolicy, BadRule, Denied};
pub use client::{Client, ClientConfig, Failure};
pub use connect::ConnectError;
pub use resolve::{LookingUp, Lookup, SystemLookup};
