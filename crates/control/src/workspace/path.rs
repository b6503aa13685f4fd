//! Paths of the workspace.

use wire::error::ApiError;

/// The mount that a path may begin with and means the same without.
const MOUNT: &str = "Workspace";

/// In bytes, and in characters.
const MAX_PATH: usize = 2048;
const MAX_PART: usize = 256;

/// The folder that homes are in, and the one that is everybody's.
pub(super) const USERS: &str = "/Users";
pub(super) const SHARED: &str = "/Shared";

/// An absolute path, without the mount, empty parts or a slash at its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WorkspacePath {
    text: String,
    mounted: bool,
}

impl WorkspacePath {
    /// Errors with 400 on what is not absolute, leads upwards or is too long.
    pub(super) fn parse(asked: &str) -> Result<Self, ApiError> {
        if asked.is_empty() {
            return Err(ApiError::invalid("path is required"));
        }
        let shown: String = asked.chars().take(100).collect();
        if !asked.starts_with('/') {
            return Err(ApiError::invalid(format!("path {shown:?} is not absolute: it must begin with /")));
        }
        if asked.len() > MAX_PATH {
            return Err(ApiError::invalid(format!("path {shown:?}… has more than {MAX_PATH} bytes")));
        }
        let mut parts = asked.split('/').filter(|part| !part.is_empty()).peekable();
        let mounted = parts.next_if_eq(&MOUNT).is_some();
        let mut text = String::with_capacity(asked.len());
        for part in parts {
            if matches!(part, "." | "..") || part.chars().any(char::is_control) {
                let message = format!("path {shown:?} has the part {part:?}, which cannot be in a path");
                return Err(ApiError::invalid(message));
            }
            if part.chars().count() > MAX_PART {
                let message = format!("path {shown:?}… has a part of more than {MAX_PART} characters");
                return Err(ApiError::invalid(message));
            }
            text.push('/');
            text.push_str(part);
        }
        if text.is_empty() {
            text.push('/');
        }
        Ok(Self { text, mounted })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// A stored path as the caller writes paths.
    pub(super) fn shown(&self, stored: &str) -> String {
        match (self.mounted, stored) {
            (false, _) => stored.to_owned(),
            (true, "/") => format!("/{MOUNT}"),
            (true, _) => format!("/{MOUNT}{stored}"),
        }
    }

    pub(super) fn is_within(&self, folder: &str) -> bool {
        self.text.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whose home this is, when it is one and no part of it.
    pub(super) fn home_of(&self) -> Option<&str> {
        let name = self.text.strip_prefix(USERS)?.strip_prefix('/')?;
        (!name.contains('/')).then_some(name)
    }

    /// In whose home this lies.
    pub(super) fn owner(&self) -> Option<&str> {
        self.text.strip_prefix(USERS)?.strip_prefix('/')?.split('/').next()
    }

    pub(super) fn missing(&self) -> ApiError {
        ApiError::not_found(format!("Path ({}) doesn't exist.", self.shown(&self.text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_means_nothing_and_stays_in_what_is_shown() {
        for (asked, text, shown) in [
            ("/Workspace/Users/ann/x", "/Users/ann/x", "/Workspace/Users/ann/x"),
            ("/Users//ann/x/", "/Users/ann/x", "/Users/ann/x"),
            ("/Workspace", "/", "/Workspace"),
            ("/", "/", "/"),
            ("/Workspace/Workspace", "/Workspace", "/Workspace/Workspace"),
        ] {
            let path = WorkspacePath::parse(asked).unwrap();
            assert_eq!((path.as_str(), path.shown(path.as_str()).as_str()), (text, shown), "{asked}");
        }
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        let long = format!("/{}", "x".repeat(300));
        let deep = "/x".repeat(2000);
        for asked in ["", "x", "/Users/ann/../bob", "/./x", "/a\0b", "/a\nb", &long, &deep] {
            assert_eq!(WorkspacePath::parse(asked).unwrap_err().status, 400, "{asked}");
        }
    }

    #[test]
    fn a_neighbour_with_the_same_beginning_is_not_within() {
        let path = WorkspacePath::parse("/Users/anna/x").unwrap();
        assert!(path.is_within("/Users/anna") && !path.is_within("/Users/ann"));
        assert_eq!(path.home_of(), None);
        assert_eq!(WorkspacePath::parse("/Users/anna").unwrap().home_of(), Some("anna"));
    }
}
