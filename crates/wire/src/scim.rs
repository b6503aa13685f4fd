//! SCIM resources of `/api/2.0/preview/scim/v2`.

use serde::Serialize;
use serde_json::Value;

pub const USER_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub const GROUP_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
pub const SERVICE_PRINCIPAL_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:ServicePrincipal";
pub const LIST_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
pub const ERROR_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// A user or, with an `applicationId`, a service principal.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Principal {
    pub schemas: Vec<&'static str>,
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_id: Option<String>,
    pub display_name: String,
    pub active: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub external_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    pub groups: Vec<Item>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Item>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entitlements: Vec<Item>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    pub schemas: Vec<&'static str>,
    pub id: String,
    pub display_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub external_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Item>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Item>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Item>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entitlements: Vec<Item>,
    pub meta: Meta,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Name {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub given_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub family_name: String,
}

/// One of a list: a member, a group, a role, an entitlement.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Item {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    pub value: String,
    #[serde(rename = "$ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    pub resource_type: &'static str,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct List {
    pub schemas: [&'static str; 1],
    pub total_results: usize,
    /// From 1.
    pub start_index: usize,
    pub items_per_page: usize,
    #[serde(rename = "Resources")]
    pub resources: Vec<Value>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Error<'a> {
    pub schemas: [&'static str; 1],
    pub detail: &'a str,
    /// A text, although it is a number.
    pub status: String,
    /// Empty where SCIM has no word for it. Never absent: the Python SDK would write "None" in its place.
    pub scim_type: &'static str,
}
