//! How far somebody reaches: administrators everywhere, everybody in their own home and in `/Shared`.

use policy::Principal;
use wire::error::ApiError;

use super::path::{SHARED, USERS, WorkspacePath};
use crate::request::Call;

/// Whether `caller` may read and change what is at `path`.
fn manages(caller: &Principal, path: &WorkspacePath) -> bool {
    // A name with a slash has no home: it would lie in somebody else's.
    let home = format!("{USERS}/{}", caller.name);
    caller.is_admin() || path.is_within(SHARED) || !caller.name.contains('/') && path.is_within(&home)
}

/// Whether `caller` may know of what is at `path`. The folders on the way are everybody's to see.
pub(super) fn sees(caller: &Principal, path: &WorkspacePath) -> bool {
    matches!(path.as_str(), "/" | USERS) || manages(caller, path)
}

/// The path, when the caller may look at it. Whether there is anything is not told to others.
pub(super) fn looked_at(call: &Call, asked: &str) -> Result<WorkspacePath, ApiError> {
    let path = WorkspacePath::parse(asked)?;
    if sees(call.caller()?, &path) { Ok(path) } else { Err(denied(call.caller()?, &path)) }
}

/// The path, when the caller may change what is there.
pub(super) fn changed(call: &Call, asked: &str) -> Result<WorkspacePath, ApiError> {
    let path = WorkspacePath::parse(asked)?;
    if manages(call.caller()?, &path) { Ok(path) } else { Err(denied(call.caller()?, &path)) }
}

fn denied(caller: &Principal, path: &WorkspacePath) -> ApiError {
    let (who, what) = (&caller.name, path.shown(path.as_str()));
    ApiError::denied(format!(
        "{who} has no access to {what}: it is neither in {USERS}/{who} nor in {SHARED}, and {who} is not a member of admins"
    ))
}
