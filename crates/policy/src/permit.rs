//! Who may do what with an endpoint.

use crate::endpoint::Endpoint;
use crate::identity::{Principal, PrincipalKind};

/// CAN_MANAGE includes CAN_QUERY includes CAN_VIEW.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    View,
    Query,
    Manage,
}

impl Level {
    pub const ALL: [Self; 3] = [Self::View, Self::Query, Self::Manage];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::View => "CAN_VIEW",
            Self::Query => "CAN_QUERY",
            Self::Manage => "CAN_MANAGE",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.as_str() == text)
    }
}

/// One entry of an access control list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    pub to: Grantee,
    pub level: Level,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Grantee {
    User(String),
    Group(String),
    ServicePrincipal(String),
}

impl Grantee {
    pub fn covers(&self, principal: &Principal) -> bool {
        match self {
            Self::User(name) => principal.kind == PrincipalKind::User && principal.name.as_ref() == name,
            Self::ServicePrincipal(id) => {
                principal.kind == PrincipalKind::ServicePrincipal && principal.name.as_ref() == id
            }
            Self::Group(name) => principal.is_member(name),
        }
    }
}

/// What `principal` may do with `endpoint`; `None` is nothing. Members of `admins` may do everything.
pub fn level(principal: &Principal, endpoint: &Endpoint) -> Option<Level> {
    level_of(principal, &endpoint.grants)
}

pub fn level_of(principal: &Principal, grants: &[Grant]) -> Option<Level> {
    if principal.is_admin() {
        return Some(Level::Manage);
    }
    grants.iter().filter(|g| g.to.covers(principal)).map(|g| g.level).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, groups: &[&str]) -> Principal {
        Principal {
            id: "1".into(),
            name: name.into(),
            display_name: name.into(),
            kind: PrincipalKind::User,
            groups: groups.iter().map(|g| (*g).into()).collect(),
            can_create: false,
        }
    }

    #[test]
    fn the_highest_grant_counts_and_none_is_nothing() {
        let grants = [
            Grant { to: Grantee::Group("users".into()), level: Level::View },
            Grant { to: Grantee::User("ann".into()), level: Level::Query },
        ];
        assert_eq!(level_of(&user("ann", &["users"]), &grants), Some(Level::Query));
        assert_eq!(level_of(&user("bob", &["users"]), &grants), Some(Level::View));
        assert_eq!(level_of(&user("eve", &[]), &grants), None);
        assert_eq!(level_of(&user("root", &["admins"]), &grants), Some(Level::Manage));
    }

    #[test]
    fn a_user_is_no_service_principal_of_the_same_name() {
        let grants = [Grant { to: Grantee::ServicePrincipal("ann".into()), level: Level::Manage }];
        assert_eq!(level_of(&user("ann", &[]), &grants), None);
    }
}
