//! `PATCH …/tags` and `PATCH …/notifications`.

use serde::Deserialize;
use serde_json::{Value, json};
use wire::endpoint::Tag;

use super::change::change;
use super::create::check_tags;
use crate::reply::{Failure, Reply};
use crate::request::Call;

#[derive(Deserialize)]
struct PatchTags {
    #[serde(default)]
    add_tags: Vec<Tag>,
    #[serde(default)]
    delete_tags: Vec<String>,
}

/// Deletes first, then adds; a tag that is there gets the new value.
pub(super) async fn tags(call: Call) -> Result<Reply, Failure> {
    let asked: PatchTags = call.json()?;
    let record = change(&call, |record| {
        let tags = &mut record.document.tags;
        tags.retain(|tag| {
            !asked.delete_tags.contains(&tag.key) && !asked.add_tags.iter().any(|a| a.key == tag.key)
        });
        tags.extend(asked.add_tags);
        Ok(check_tags(tags)?)
    })
    .await?;
    Reply::json(&json!({"tags": record.document.tags}))
}

#[derive(Deserialize)]
struct Notifications {
    email_notifications: Option<Value>,
}

pub(super) async fn notifications(call: Call) -> Result<Reply, Failure> {
    let asked: Notifications = call.json()?;
    let record = change(&call, |record| {
        record.document.email_notifications = asked.email_notifications;
        Ok(())
    })
    .await?;
    Reply::json(&json!({"name": record.name, "email_notifications": record.document.email_notifications}))
}
