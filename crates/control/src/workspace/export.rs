//! Files go out, whole.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice};
use serde_json::json;
use store::model::{ObjectKind, ObjectRecord};
use wire::error::ApiError;
use zeroize::Zeroizing;

use super::path::WorkspacePath;
use super::reach::looked_at;
use crate::reply::{Failure, Reply};
use crate::request::Call;

pub(super) const EXPORT: &str = "/api/2.0/workspace/export";
pub(super) const EXPORT_FILE: &str = "/api/2.0/workspace-files/{*path}";

pub(super) async fn export(call: Call) -> Result<Reply, Failure> {
    let path = looked_at(&call, call.query("path")?).await?;
    let format = call.queries().get("format").map_or("", String::as_str);
    if !matches!(format, "" | "AUTO" | "SOURCE" | "RAW") {
        let shown: String = format.chars().take(40).collect();
        let message = format!("format is {shown:?}, only AUTO, SOURCE and RAW are supported");
        return Err(ApiError::invalid(message).into());
    }
    let (object, content) = opened(&call, &path).await?;
    if call.queries().get("direct_download").is_some_and(|value| value == "true") {
        return Ok(Reply::bytes(content.expose_secret().to_vec()));
    }
    let encoded = Zeroizing::new(STANDARD.encode(content.expose_secret()));
    let name = object.path.rsplit('/').next().unwrap_or_default();
    let extension = match (object.kind, name.rsplit_once('.')) {
        (ObjectKind::Notebook, _) => extension_of(&object.language),
        (_, Some((_, extension))) => extension,
        _ => "",
    };
    Reply::json(&json!({"content": *encoded, "file_type": extension}))
}

/// The file as it is; its path is the end of the URL. The CLI reads its state so.
pub(super) async fn export_file(call: Call) -> Result<Reply, Failure> {
    let path = looked_at(&call, &format!("/{}", call.path("path"))).await?;
    let (_, content) = opened(&call, &path).await?;
    Ok(Reply::bytes(content.expose_secret().to_vec()))
}

async fn opened(call: &Call, path: &WorkspacePath) -> Result<(ObjectRecord, SecretSlice<u8>), Failure> {
    let store = call.control.store();
    let object = store.workspace_object(path.as_str()).await?.ok_or_else(|| path.missing())?;
    if object.kind == ObjectKind::Directory {
        let message = format!("{} is a folder: export its files one by one", path.shown(&object.path));
        return Err(ApiError::invalid(message).into());
    }
    let content = store.workspace_content(&object.id).await?.ok_or_else(|| path.missing())?;
    Ok((object, content))
}

fn extension_of(language: &str) -> &'static str {
    match language {
        "SQL" => "sql",
        "SCALA" => "scala",
        "R" => "r",
        _ => "py",
    }
}
