//! What there is.

use serde_json::{Value, json};
use store::model::{ObjectKind, ObjectRecord};

use super::path::{USERS, WorkspacePath};
use super::reach::{level, looked_at, owns};
use crate::reply::{Failure, Reply};
use crate::request::Call;

pub(super) async fn get_status(call: Call) -> Result<Reply, Failure> {
    let path = looked_at(&call, call.query("path")?).await?;
    let found = call.control.store().workspace_object(path.as_str()).await?;
    let mut shown = view(&found.ok_or_else(|| path.missing())?, &path);
    // Asked for by the CLI, which tells notebooks from files by it.
    if call.queries().get("return_export_info").is_some_and(|v| v == "true") && shown["language"].is_string()
    {
        shown["repos_export_format"] = "SOURCE".into();
    }
    Reply::json(&shown)
}

pub(super) async fn list(call: Call) -> Result<Reply, Failure> {
    let path = looked_at(&call, call.query("path")?).await?;
    let store = call.control.store();
    let found = store.workspace_object(path.as_str()).await?.ok_or_else(|| path.missing())?;
    // A file is a list of itself.
    let objects = match found.kind {
        ObjectKind::Directory => store.workspace_children(path.as_str()).await?,
        ObjectKind::File | ObjectKind::Notebook => vec![found],
    };
    let caller = call.caller()?;
    // Who may read the folder may read what is in it. Of the folders that are everybody's to see, one sees
    // those on the way and one's own.
    let whole = level(&call, &path).await?.is_some();
    let on_the_way = |inner: &WorkspacePath| inner.as_str() == USERS || owns(caller, inner);
    let seen = |object: &&ObjectRecord| {
        object.path != "/"
            && (whole || WorkspacePath::parse(&object.path).is_ok_and(|inner| on_the_way(&inner)))
    };
    let shown: Vec<Value> = objects.iter().filter(seen).map(|object| view(object, &path)).collect();
    Reply::json(&json!({"objects": shown}))
}

fn view(object: &ObjectRecord, asked: &WorkspacePath) -> Value {
    let mut out = json!({
        "object_type": object.kind.as_str(),
        "path": asked.shown(&object.path),
        // Databricks' clients read it as an integer, and the same id under the other name as a text.
        "object_id": object.id.parse::<i64>().unwrap_or_default(),
        "resource_id": object.id,
    });
    if object.kind != ObjectKind::Directory {
        out["created_at"] = object.created_at.into();
        out["modified_at"] = object.modified_at.into();
        out["size"] = object.size.into();
    }
    if object.kind == ObjectKind::Notebook {
        out["language"] = object.language.as_str().into();
    }
    out
}
