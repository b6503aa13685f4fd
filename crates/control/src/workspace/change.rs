//! Folders are made, and whatever is there deleted.

use serde::Deserialize;
use store::StoreError;
use store::model::Deletion;
use wire::error::{ApiError, ErrorCode};

use super::path::{SHARED, USERS, WorkspacePath};
use super::reach::changed;
use crate::reply::{Failure, Reply};
use crate::request::Call;

#[derive(Deserialize)]
struct Mkdirs {
    #[serde(default)]
    path: String,
}

pub(super) async fn mkdirs(call: Call) -> Result<Reply, Failure> {
    let asked: Mkdirs = call.json()?;
    let path = changed(&call, &asked.path).await?;
    match call.control.store().make_directories(path.as_str()).await {
        Ok(()) => Ok(Reply::empty()),
        Err(StoreError::Exists) => Err(in_the_way(&path).into()),
        Err(error) => Err(error.into()),
    }
}

/// 400, as the workspace API has it for all but files.
pub(super) fn in_the_way(path: &WorkspacePath) -> ApiError {
    let message = format!("Path ({}) already exists.", path.shown(path.as_str()));
    ApiError::new(ErrorCode::ResourceAlreadyExists, message).with_status(400)
}

#[derive(Deserialize)]
struct Delete {
    #[serde(default)]
    path: String,
    #[serde(default)]
    recursive: bool,
}

pub(super) async fn delete(call: Call) -> Result<Reply, Failure> {
    let asked: Delete = call.json()?;
    let path = changed(&call, &asked.path).await?;
    if is_kept(&call, &path).await? {
        let message = format!("Folder {} is protected: it always exists", path.shown(path.as_str()));
        return Err(ApiError::bad_request(message).into());
    }
    match call.control.store().delete_object(path.as_str(), asked.recursive).await? {
        Deletion::Done => Ok(Reply::empty()),
        Deletion::Missing => Err(path.missing().into()),
        Deletion::NotEmpty => {
            let message = format!("Folder ({}) is not empty: set recursive", path.shown(path.as_str()));
            Err(ApiError::new(ErrorCode::DirectoryNotEmpty, message).into())
        }
    }
}

/// The folders that there always are, and the homes of those who are there.
async fn is_kept(call: &Call, path: &WorkspacePath) -> Result<bool, Failure> {
    if matches!(path.as_str(), "/" | USERS | SHARED) {
        return Ok(true);
    }
    let Some(name) = path.home_of() else { return Ok(false) };
    Ok(call.control.store().principals().await?.iter().any(|principal| principal.name == name))
}
