//! What `system.ai_gateway.usage` says of the endpoint of a call, as it is when the row is written.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::{DESTINATION_TYPE, micros};
use crate::served::{ServedEndpoint, ServedEntity};

/// By id.
pub(crate) type Endpoints = HashMap<String, Described>;

#[derive(Debug)]
pub(crate) struct Described {
    pub(super) tags: BTreeMap<String, String>,
    pub(super) metadata: Arc<Metadata>,
}

#[derive(Debug, Serialize)]
pub(super) struct Metadata {
    creator: String,
    creation_time: i64,
    last_updated_time: i64,
    destinations: Vec<Destination>,
    inference_table: Option<String>,
    fallbacks: Vec<Destination>,
}

#[derive(Debug, Serialize)]
struct Destination {
    name: String,
    traffic_percent: f64,
    #[serde(rename = "type")]
    kind: &'static str,
}

pub(crate) fn described(served: &[ServedEntity]) -> Endpoints {
    let mut entities: HashMap<&str, Vec<&ServedEntity>> = HashMap::new();
    for entity in served {
        entities.entry(&entity.endpoint.id).or_default().push(entity);
    }
    let described = |entities: Vec<&ServedEntity>| {
        let endpoint = &entities.first()?.endpoint;
        let metadata = Arc::new(metadata(endpoint, &entities));
        Some((endpoint.id.clone(), Described { tags: endpoint.tags.clone(), metadata }))
    };
    entities.into_values().filter_map(described).collect()
}

fn metadata(endpoint: &ServedEndpoint, entities: &[&ServedEntity]) -> Metadata {
    let (without, with): (Vec<_>, Vec<_>) =
        entities.iter().partition(|entity| entity.traffic_percentage == 0);
    Metadata {
        creator: endpoint.creator.clone(),
        creation_time: micros(endpoint.created_at),
        last_updated_time: micros(endpoint.updated_at),
        destinations: with.into_iter().map(destination).collect(),
        inference_table: endpoint.inference_table.clone(),
        fallbacks: without.into_iter().filter(|_| endpoint.has_fallbacks).map(destination).collect(),
    }
}

fn destination(entity: &ServedEntity) -> Destination {
    let traffic_percent = i32::try_from(entity.traffic_percentage).map_or(0.0, f64::from);
    Destination { name: entity.name.clone(), traffic_percent, kind: DESTINATION_TYPE }
}
