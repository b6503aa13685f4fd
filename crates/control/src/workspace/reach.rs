//! How far somebody reaches: administrators everywhere, everybody in their own home, in `/Shared`, and in
//! folders that they were given something on.

use policy::{Principal, PrincipalKind};
use store::model::{GrantRecord, GranteeKind};
use wire::error::ApiError;

use super::path::{SHARED, USERS, WorkspacePath};
use crate::reply::Failure;
use crate::request::Call;

/// Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Read,
    /// As the one before: nothing is run here.
    Run,
    /// To write files that are there.
    Edit,
    /// To make and delete, and to give others something.
    Manage,
}

impl Level {
    pub(super) const ALL: [Self; 4] = [Self::Read, Self::Run, Self::Edit, Self::Manage];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "CAN_READ",
            Self::Run => "CAN_RUN",
            Self::Edit => "CAN_EDIT",
            Self::Manage => "CAN_MANAGE",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// Whether `caller` manages what is at `path` without having been given anything.
pub(super) fn owns(caller: &Principal, path: &WorkspacePath) -> bool {
    // A name with a slash has no home: it would lie in somebody else's.
    let home = format!("{USERS}/{}", caller.name);
    caller.is_admin() || path.is_within(SHARED) || !caller.name.contains('/') && path.is_within(&home)
}

fn is_for(grant: &GrantRecord, caller: &Principal) -> bool {
    let named = caller.name.as_ref() == grant.grantee;
    match grant.kind {
        GranteeKind::Group => caller.is_member(&grant.grantee),
        GranteeKind::User => named && caller.kind == PrincipalKind::User,
        GranteeKind::ServicePrincipal => named && caller.kind == PrincipalKind::ServicePrincipal,
    }
}

/// What the caller may do with what is at `path`; `None` is nothing.
pub(super) async fn level(call: &Call, path: &WorkspacePath) -> Result<Option<Level>, Failure> {
    let caller = call.caller()?;
    if owns(caller, path) {
        return Ok(Some(Level::Manage));
    }
    let grants = call.control.store().folder_grants(path.as_str()).await?;
    let own = grants.iter().filter(|(_, grant)| is_for(grant, caller));
    Ok(own.filter_map(|(_, grant)| Level::parse(&grant.level)).max())
}

/// The path, when the caller may look at it. The folders on the way are everybody's to see; whether there is
/// anything elsewhere is not told to others.
pub(super) async fn looked_at(call: &Call, asked: &str) -> Result<WorkspacePath, Failure> {
    let path = WorkspacePath::parse(asked)?;
    if !matches!(path.as_str(), "/" | USERS) {
        require(call, &path, Level::Read).await?;
    }
    Ok(path)
}

/// The path, when the caller may make and delete there.
pub(super) async fn changed(call: &Call, asked: &str) -> Result<WorkspacePath, Failure> {
    let path = WorkspacePath::parse(asked)?;
    require(call, &path, Level::Manage).await?;
    Ok(path)
}

/// Errors with 403 unless the caller has `needed` on what is at `path`.
pub(super) async fn require(call: &Call, path: &WorkspacePath, needed: Level) -> Result<(), Failure> {
    if level(call, path).await? >= Some(needed) {
        return Ok(());
    }
    let (who, what, needed) = (&call.caller()?.name, path.shown(path.as_str()), needed.as_str());
    Err(ApiError::denied(format!("{who} lacks {needed} on {what}")).into())
}
