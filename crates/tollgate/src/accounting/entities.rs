//! What is served, for the table that says what its ids mean.

use std::sync::Arc;

use async_trait::async_trait;
use store::Store;
use store::model::EndpointRecord;
use tables::{ServedEntities, ServedEntity};

pub(super) struct StoredEntities(pub(super) Arc<dyn Store>);

#[async_trait]
impl ServedEntities for StoredEntities {
    async fn current(&self) -> Result<Vec<ServedEntity>, String> {
        let endpoints = self.0.endpoints().await.map_err(|e| e.to_string())?;
        Ok(endpoints.iter().flat_map(of).collect())
    }
}

fn of(endpoint: &EndpointRecord) -> impl Iterator<Item = ServedEntity> {
    endpoint.document.config.served_entities.iter().filter_map(|entity| {
        let model = entity.external_model.as_ref()?;
        Some(ServedEntity {
            endpoint: endpoint.name.clone(),
            endpoint_id: endpoint.id.clone(),
            config_version: endpoint.config_version,
            name: entity.name.clone()?,
            provider: model.provider.clone(),
            model: model.name.clone(),
            task: model.task.clone(),
            created_by: endpoint.document.config_author.clone(),
            changed_at: endpoint.document.config_created_at,
        })
    })
}
