//! How much an endpoint may be used: which limits it has, which of them meet a caller, and how calls are
//! counted against them.

mod book;
mod limiter;
mod outputs;
mod period;
mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::identity::{Principal, PrincipalKind};

pub use book::Book;
pub use limiter::{
    Admitting, Asked, Counting, Held, Hold, Limiter, Looking, Measure, Standing, Tokens, Verdict, refusing,
};
pub use outputs::Outputs;
pub use period::Period;
pub use read::{InvalidLimit, read};

/// One entry of `ai_gateway.rate_limits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub whose: Whose,
    pub period: Period,
    /// Calls in a period.
    pub calls: Option<u64>,
    /// Tokens in a period, of prompts and answers together.
    pub tokens: Option<u64>,
    /// Calls under way at once.
    pub concurrent_calls: Option<u64>,
    /// Refuses nothing; what it would have refused is reported.
    pub report_only: bool,
}

impl Limit {
    /// Whether it lets nothing through at all.
    pub fn is_off_switch(&self) -> bool {
        !self.report_only && (self.calls == Some(0) || self.tokens == Some(0))
    }
}

/// Whose calls a limit counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// All of the endpoint together.
    Endpoint,
    /// Each user apart, and each service principal where none is for [`Self::EachServicePrincipal`].
    EachUser,
    EachServicePrincipal,
    User(Arc<str>),
    ServicePrincipal(Arc<str>),
    /// The members of a group together.
    Group(Arc<str>),
}

impl Whose {
    /// As `key` says it on the wire.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::EachUser | Self::User(_) => "user",
            Self::EachServicePrincipal | Self::ServicePrincipal(_) => "service_principal",
            Self::Group(_) => "user_group",
        }
    }

    /// As `principal` says it on the wire.
    pub fn principal(&self) -> Option<&str> {
        match self {
            Self::Endpoint | Self::EachUser | Self::EachServicePrincipal => None,
            Self::User(name) | Self::ServicePrincipal(name) | Self::Group(name) => Some(name),
        }
    }

    fn names(&self, principal: &Principal) -> bool {
        match (self, principal.kind) {
            (Self::User(name), PrincipalKind::User)
            | (Self::ServicePrincipal(name), PrincipalKind::ServicePrincipal) => **name == *principal.name,
            _ => false,
        }
    }
}

/// What is counted together. A counter is of a subject and outlives the limits that look at it: with
/// another cap it counts on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Endpoint,
    /// The name of a principal, which it keeps for life; who has just come by an issuer's token has no id.
    Principal(Arc<str>),
    /// The name of a group.
    Group(Arc<str>),
}

/// A limit that meets a caller, and the counter it looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub limit: Arc<Limit>,
    pub subject: Subject,
}

/// The limits of an endpoint.
#[derive(Clone, Debug, Default)]
pub struct Limits(Vec<Arc<Limit>>);

impl Limits {
    pub fn new(limits: impl IntoIterator<Item = Limit>) -> Self {
        Self(limits.into_iter().map(Arc::new).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The limits that meet a call of `principal`: all must have room.
    ///
    /// Those of the endpoint always do. Those that name the caller replace what is for each user and for
    /// groups. A limit that only reports replaces none that refuses: it stands beside them where it would
    /// stand if it refused.
    pub fn of(&self, principal: &Principal) -> Vec<Applied> {
        let refusing = select(self.0.iter().filter(|limit| !limit.report_only), principal);
        let reporting = select(self.0.iter(), principal).into_iter().filter(|limit| limit.report_only);
        refusing.into_iter().chain(reporting).map(|limit| applied(limit, principal)).collect()
    }
}

fn select<'a>(
    limits: impl Iterator<Item = &'a Arc<Limit>> + Clone,
    principal: &Principal,
) -> Vec<&'a Arc<Limit>> {
    let named = limits.clone().any(|limit| limit.whose.names(principal));
    let is_service = principal.kind == PrincipalKind::ServicePrincipal;
    let own_default = is_service && limits.clone().any(|l| l.whose == Whose::EachServicePrincipal);
    let meets = |limit: &&Arc<Limit>| match &limit.whose {
        Whose::Endpoint => true,
        Whose::User(_) | Whose::ServicePrincipal(_) => limit.whose.names(principal),
        Whose::Group(name) => !named && principal.is_member(name),
        Whose::EachServicePrincipal => !named && is_service,
        Whose::EachUser => !named && !own_default,
    };
    limits.filter(meets).collect()
}

fn applied(limit: &Arc<Limit>, principal: &Principal) -> Applied {
    let subject = match &limit.whose {
        Whose::Endpoint => Subject::Endpoint,
        Whose::Group(name) => Subject::Group(Arc::clone(name)),
        _ => Subject::Principal(Arc::clone(&principal.name)),
    };
    Applied { limit: Arc::clone(limit), subject }
}
