//! SCIM resources of `/api/2.0/preview/scim/v2`.

use serde::Serialize;

pub const USER_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

/// A user as `Me` shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    pub schemas: Vec<&'static str>,
    pub id: String,
    pub user_name: String,
    pub display_name: String,
    pub active: bool,
    pub emails: Vec<Email>,
    pub name: Name,
    pub groups: Vec<GroupRef>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Email {
    pub value: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub primary: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Name {
    pub given_name: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct GroupRef {
    pub display: String,
    pub value: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
}
