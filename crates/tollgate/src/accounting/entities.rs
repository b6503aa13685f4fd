//! What is served, for the tables that say what ids mean.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use control::inference_table;
use store::Store;
use store::model::EndpointRecord;
use tables::{ServedEndpoint, ServedEntities, ServedEntity, ServedNow};

pub(super) struct StoredEntities(pub(super) Arc<dyn Store>);

#[async_trait]
impl ServedEntities for StoredEntities {
    async fn served(&self) -> Result<ServedNow, String> {
        // First what is past: an endpoint that is deleted between the two is in none, and past the next time.
        let past = self.0.past_endpoints().await.map_err(|e| e.to_string())?;
        let endpoints = self.0.endpoints().await.map_err(|e| e.to_string())?;
        let deleted = past.iter().filter_map(|past| Some((past.endpoint.id.clone(), past.deleted_at?)));
        let deleted: HashMap<_, _> = deleted.collect();
        Ok(ServedNow {
            current: endpoints.iter().flat_map(of).collect(),
            past: past.iter().flat_map(|past| of(&past.endpoint)).collect(),
            deleted,
            mark: past.last().map(|past| past.number),
        })
    }

    async fn forget(&self, mark: i64) -> Result<(), String> {
        self.0.forget_past_endpoints(mark).await.map_err(|e| e.to_string())
    }
}

fn of(endpoint: &EndpointRecord) -> impl Iterator<Item = ServedEntity> {
    let served = Arc::new(served_endpoint(endpoint));
    let config = &endpoint.document.config;
    config.served_entities.iter().filter_map(move |entity| {
        let (model, name) = (entity.external_model.as_ref()?, entity.name.as_deref()?);
        let mut routes = config.traffic_config.iter().flat_map(|traffic| &traffic.routes);
        Some(ServedEntity {
            endpoint: Arc::clone(&served),
            name: name.to_owned(),
            provider: model.provider.clone(),
            model: model.name.clone(),
            task: model.task.clone(),
            traffic_percentage: routes
                .find(|route| route.entity() == name)
                .map_or(0, |route| route.traffic_percentage),
        })
    })
}

fn served_endpoint(endpoint: &EndpointRecord) -> ServedEndpoint {
    let document = &endpoint.document;
    let fallbacks = document.ai_gateway.as_ref().and_then(|block| block.fallback_config);
    ServedEndpoint {
        id: endpoint.id.clone(),
        name: endpoint.name.clone(),
        tags: document.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        creator: endpoint.creator.clone(),
        created_at: endpoint.created_at,
        updated_at: endpoint.updated_at,
        config_version: endpoint.config_version,
        config_author: document.config_author.clone(),
        config_created_at: document.config_created_at,
        // What has no name that can be is told when the endpoint is published.
        inference_table: inference_table(endpoint).and_then(Result::ok).map(|name| name.to_string()),
        has_fallbacks: fallbacks.is_some_and(|fallbacks| fallbacks.enabled),
    }
}
