//! Who there is: principals and groups as they are stored, and what follows from groups in groups.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use policy::identity::{ADMINS, CREATE_ENTITLEMENT, USERS};
use policy::{Principal, PrincipalKind};
use store::Store;
use store::model::{GroupRecord, PrincipalRecord};

/// Everybody, read at once.
pub(crate) struct People {
    pub(crate) principals: Vec<PrincipalRecord>,
    pub(crate) groups: Vec<GroupRecord>,
    /// Places in `groups`.
    by_id: HashMap<String, usize>,
    /// The groups that a group is in, by place.
    outer: Vec<Vec<usize>>,
    names: HashMap<String, (String, bool)>,
}

impl People {
    pub(crate) async fn load(store: &dyn Store) -> store::Result<Self> {
        Ok(Self::new(store.principals().await?, store.group_records().await?))
    }

    fn new(principals: Vec<PrincipalRecord>, groups: Vec<GroupRecord>) -> Self {
        let by_id: HashMap<String, usize> =
            groups.iter().enumerate().map(|(at, group)| (group.id.clone(), at)).collect();
        let mut outer = vec![Vec::new(); groups.len()];
        for (at, group) in groups.iter().enumerate() {
            for inner in group.groups.iter().filter_map(|id| by_id.get(id)) {
                outer[*inner].push(at);
            }
        }
        let names = principals
            .iter()
            .map(|p| (p.id.clone(), (p.display_name.clone(), p.is_service_principal)))
            .collect();
        Self { principals, groups, by_id, outer, names }
    }

    pub(crate) fn principal(&self, id: &str) -> Option<&PrincipalRecord> {
        self.principals.iter().find(|p| p.id == id)
    }

    pub(crate) fn group(&self, id: &str) -> Option<&GroupRecord> {
        self.by_id.get(id).map(|at| &self.groups[*at])
    }

    /// The display name of a principal, and whether it is a service principal.
    pub(crate) fn named(&self, id: &str) -> Option<(&str, bool)> {
        self.names.get(id).map(|(name, service)| (name.as_str(), *service))
    }

    /// All groups around those with the ids `inside`, and they themselves, by name. A circle, which cannot
    /// be written, would do no harm.
    pub(crate) fn around<'a>(&self, inside: impl Iterator<Item = &'a str>) -> Vec<&GroupRecord> {
        let mut left: Vec<usize> = inside.filter_map(|id| self.by_id.get(id).copied()).collect();
        let mut seen: HashSet<usize> = HashSet::new();
        while let Some(at) = left.pop() {
            if seen.insert(at) {
                left.extend(&self.outer[at]);
            }
        }
        let mut found: Vec<&GroupRecord> = seen.into_iter().map(|at| &self.groups[at]).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// The groups of a principal, inherited ones included. Everybody is in `users`.
    pub(crate) fn groups_of(&self, principal: &PrincipalRecord) -> Vec<&GroupRecord> {
        let users = self.groups.iter().find(|g| g.name == USERS).map(|g| g.id.as_str());
        self.around(principal.groups.iter().map(|g| g.id.as_str()).chain(users))
    }

    /// What the data plane gets to know of a principal.
    pub(crate) fn effective(&self, record: &PrincipalRecord) -> Arc<Principal> {
        let kind =
            if record.is_service_principal { PrincipalKind::ServicePrincipal } else { PrincipalKind::User };
        let groups = self.groups_of(record);
        let entitled = |names: &[String]| names.iter().any(|name| name == CREATE_ENTITLEMENT);
        let can_create = entitled(&record.entitlements)
            || groups.iter().any(|g| g.name == ADMINS || entitled(&g.entitlements));
        Arc::new(Principal {
            id: record.id.as_str().into(),
            name: record.name.as_str().into(),
            display_name: record.display_name.as_str().into(),
            kind,
            groups: groups.iter().map(|g| g.name.as_str().into()).collect(),
            can_create,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::model::GroupRef;

    fn group(id: &str, inner: &[&str], entitlements: &[&str]) -> GroupRecord {
        GroupRecord {
            id: id.into(),
            name: id.into(),
            groups: inner.iter().map(|g| (*g).to_owned()).collect(),
            entitlements: entitlements.iter().map(|e| (*e).to_owned()).collect(),
            ..GroupRecord::default()
        }
    }

    fn ann(group: &str) -> PrincipalRecord {
        let groups = vec![GroupRef { id: group.into(), name: group.into() }];
        PrincipalRecord { id: "1".into(), name: "ann".into(), groups, ..PrincipalRecord::default() }
    }

    #[test]
    fn groups_are_inherited_and_circles_end() {
        let groups = vec![
            group("a", &["b"], &[]),
            group("b", &["c"], &[]),
            group("c", &["a"], &[]),
            group("users", &[], &[]),
        ];
        let people = People::new(vec![ann("c")], groups);
        let ann = people.effective(&people.principals[0]);
        assert_eq!(ann.groups.iter().map(AsRef::as_ref).collect::<Vec<_>>(), ["a", "b", "c", "users"]);
        assert!(!ann.can_create && !ann.is_admin());
    }

    #[test]
    fn an_outer_group_entitles_and_an_inner_one_does_not() {
        let groups = |outer: &[&str], inner: &[&str]| {
            vec![group("outer", &["mine"], outer), group("mine", &["inner"], &[]), group("inner", &[], inner)]
        };
        let can_create = |groups| {
            let people = People::new(vec![ann("mine")], groups);
            people.effective(&people.principals[0]).can_create
        };
        assert!(can_create(groups(&[CREATE_ENTITLEMENT], &[])));
        assert!(!can_create(groups(&[], &[CREATE_ENTITLEMENT])));
        assert!(!can_create(groups(&["workspace-access"], &[])));
    }
}
