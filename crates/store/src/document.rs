//! The stored JSON of an endpoint. It says its version; every version that was ever written stays
//! readable and has a file in `test-data/`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::endpoint::{AiGateway, EndpointConfig, Tag};

/// The current form.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointDocument {
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub tags: Vec<Tag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ai_gateway: Option<AiGateway>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_notifications: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_policy_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_policy_id: Option<String>,
    pub config: EndpointConfig,
    /// Who made the active config, and when (milliseconds since the epoch).
    pub config_author: String,
    pub config_created_at: i64,
    /// A config update that runs, or the last one when it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<PendingUpdate>,
}

/// A config on its way to being the active one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PendingUpdate {
    /// Tells it from another of the same config; empty in documents from before there was one.
    #[serde(default)]
    pub id: String,
    pub status: UpdateStatus,
    pub config: EndpointConfig,
    /// The inference table in its older form, where the update brings one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_capture_config: Option<Value>,
    pub author: String,
    /// Milliseconds since the epoch.
    pub started_at: i64,
    /// Why it failed.
    #[serde(default)]
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateStatus {
    InProgress,
    Failed,
    Canceled,
}

/// The stored JSON of a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevisionDocument {
    pub config: EndpointConfig,
    #[serde(default)]
    pub ai_gateway: Option<AiGateway>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "version")]
enum VersionedRevision {
    #[serde(rename = "1")]
    V1(RevisionDocument),
}

impl RevisionDocument {
    pub fn of(document: &EndpointDocument) -> Self {
        Self { config: document.config.clone(), ai_gateway: document.ai_gateway.clone() }
    }

    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&VersionedRevision::V1(self.clone()))
    }

    pub(crate) fn from_json(text: &str) -> serde_json::Result<Self> {
        let VersionedRevision::V1(document) = serde_json::from_str(text)?;
        Ok(document)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "version")]
enum Versioned {
    #[serde(rename = "1")]
    V1(EndpointDocument),
}

impl EndpointDocument {
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Versioned::V1(self.clone()))
    }

    pub(crate) fn from_json(text: &str) -> serde_json::Result<Self> {
        let Versioned::V1(document) = serde_json::from_str(text)?;
        Ok(document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_that_was_written_can_be_read() {
        let document = EndpointDocument::from_json(include_str!("../test-data/endpoint/v1.json")).unwrap();
        let expected: Value =
            serde_json::from_str(include_str!("../test-data/endpoint/v1.expected.json")).unwrap();
        assert_eq!(serde_json::to_value(&document).unwrap(), expected);
        let again = EndpointDocument::from_json(&document.to_json().unwrap()).unwrap();
        assert_eq!(again, document);
    }

    #[test]
    fn every_version_of_a_revision_can_be_read() {
        let document = RevisionDocument::from_json(include_str!("../test-data/revision/v1.json")).unwrap();
        let expected: Value =
            serde_json::from_str(include_str!("../test-data/revision/v1.expected.json")).unwrap();
        assert_eq!(serde_json::to_value(&document).unwrap(), expected);
        assert_eq!(RevisionDocument::from_json(&document.to_json().unwrap()).unwrap(), document);
    }

    #[test]
    fn an_unknown_version_is_refused() {
        assert!(EndpointDocument::from_json(r#"{"version":"99","config":{}}"#).is_err());
    }
}
