//! Files come in, whole.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use store::StoreError;
use store::model::{NewObject, ObjectKind};
use wire::error::{ApiError, ErrorCode};
use zeroize::Zeroizing;

use super::change::in_the_way;
use super::path::WorkspacePath;
use super::reach::{Level, require};
use crate::reply::{Failure, Reply};
use crate::request::Call;

pub(super) const IMPORT: &str = "/api/2.0/workspace/import";
pub(super) const IMPORT_FILE: &str = "/api/2.0/workspace-files/import-file/{*path}";

/// Databricks' limit for what comes and goes in one call.
pub(super) const MAX_FILE: usize = 10 << 20;

const LANGUAGES: [&str; 4] = ["PYTHON", "SQL", "SCALA", "R"];

/// Not `Debug`: a bundle's state may hold credentials.
#[derive(Deserialize)]
struct Import {
    #[serde(default)]
    path: String,
    #[serde(default)]
    content: Zeroizing<String>,
    format: Option<String>,
    language: Option<String>,
    #[serde(default)]
    overwrite: bool,
}

pub(super) async fn import(call: Call) -> Result<Reply, Failure> {
    let asked: Import = call.json()?;
    let path = written(&call, &asked.path).await?;
    let decoded = STANDARD.decode(asked.content.as_bytes());
    let content = Zeroizing::new(decoded.map_err(|_| ApiError::invalid("content is no base64"))?);
    match asked.format.as_deref().unwrap_or("SOURCE") {
        "AUTO" => write_as_is(&call, &path, &content, asked.overwrite).await,
        "RAW" => write(&call, &path, (ObjectKind::File, ""), &content, asked.overwrite).await,
        "SOURCE" => {
            let language = language(asked.language.as_deref())?;
            write(&call, &path, (ObjectKind::Notebook, language), &content, asked.overwrite).await
        }
        other => {
            let shown: String = other.chars().take(40).collect();
            Err(ApiError::invalid(format!("format is {shown:?}, only AUTO, SOURCE and RAW are supported"))
                .into())
        }
    }
}

/// The path, when the caller may write there; what is not there yet takes more, which is asked when it is
/// known what is written.
async fn written(call: &Call, asked: &str) -> Result<WorkspacePath, Failure> {
    let path = WorkspacePath::parse(asked)?;
    require(call, &path, Level::Edit).await?;
    Ok(path)
}

fn language(asked: Option<&str>) -> Result<&'static str, ApiError> {
    let found = asked.and_then(|asked| LANGUAGES.into_iter().find(|known| *known == asked));
    found.ok_or_else(|| {
        ApiError::invalid(
            "language must be PYTHON, SQL, SCALA or R with format SOURCE; a file is imported with format AUTO",
        )
    })
}

/// The path is the end of the URL, the file is the body.
pub(super) async fn import_file(call: Call) -> Result<Reply, Failure> {
    let path = written(&call, &format!("/{}", call.path("path"))).await?;
    let overwrite = call.queries().get("overwrite").is_some_and(|value| value == "true");
    write_as_is(&call, &path, &call.body, overwrite).await
}

/// A notebook's source is told by its first line, and loses its extension; all else is a file.
async fn write_as_is(
    call: &Call,
    path: &WorkspacePath,
    content: &[u8],
    overwrite: bool,
) -> Result<Reply, Failure> {
    let Some((stem, language)) = notebook(path.as_str(), content) else {
        return write(call, path, (ObjectKind::File, ""), content, overwrite).await;
    };
    let path = WorkspacePath::parse(&path.shown(stem))?;
    write(call, &path, (ObjectKind::Notebook, language), content, overwrite).await
}

/// The path without its extension, and the language.
fn notebook<'a>(path: &'a str, content: &[u8]) -> Option<(&'a str, &'static str)> {
    let (stem, extension) = path.rsplit_once('.')?;
    let (language, mark) = match extension {
        "py" => ("PYTHON", "#"),
        "sql" => ("SQL", "--"),
        "scala" => ("SCALA", "//"),
        "r" | "R" => ("R", "#"),
        _ => return None,
    };
    let rest = content.strip_prefix(mark.as_bytes())?;
    let named = rest.starts_with(b" Databricks notebook source") && !stem.ends_with('/');
    named.then_some((stem, language))
}

async fn write(
    call: &Call,
    path: &WorkspacePath,
    (kind, language): (ObjectKind, &'static str),
    content: &[u8],
    overwrite: bool,
) -> Result<Reply, Failure> {
    if content.len() > MAX_FILE {
        let message = format!("{} bytes are too many: a file may have {MAX_FILE}", content.len());
        return Err(ApiError::invalid(message).into());
    }
    let store = call.control.store();
    // A notebook's path is not the one that was asked for, which had an extension.
    let needed =
        if store.workspace_object(path.as_str()).await?.is_none() { Level::Manage } else { Level::Edit };
    require(call, path, needed).await?;
    let object = NewObject { path: path.as_str(), kind, language, content, overwrite };
    match store.write_object(object).await {
        Ok(()) => Ok(Reply::empty()),
        Err(StoreError::Exists) if kind == ObjectKind::File => {
            let message = format!("File already exists at ({}).", path.shown(path.as_str()));
            Err(ApiError::new(ErrorCode::ResourceAlreadyExists, message).into())
        }
        Err(StoreError::Exists) => Err(in_the_way(path).into()),
        Err(StoreError::Missing) => {
            let parent = path.as_str().rsplit_once('/').map_or("/", |(parent, _)| parent);
            let message = format!("The parent folder ({}) does not exist.", path.shown(parent));
            Err(ApiError::not_found(message).into())
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notebooks_are_told_by_their_first_line() {
        let source = b"# Databricks notebook source\nprint(1)";
        assert_eq!(notebook("/Shared/a.b.py", source), Some(("/Shared/a.b", "PYTHON")));
        assert_eq!(notebook("/Shared/a.sql", b"-- Databricks notebook source"), Some(("/Shared/a", "SQL")));
        assert_eq!(notebook("/Shared/a.py", b"print(1)"), None);
        assert_eq!(notebook("/Shared/a.txt", source), None);
        assert_eq!(notebook("/Shared/.py", source), None);
    }
}
