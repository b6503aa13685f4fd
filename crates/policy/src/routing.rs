//! Which entity a request goes to, and which ones after it.

use crate::endpoint::Endpoint;

/// The entities to try, in order, as indices: the one that `draw` (0 to 99) falls on by traffic
/// percentage, then, with fallback on, all others in served-entity order.
pub fn plan(endpoint: &Endpoint, draw: u32) -> impl Iterator<Item = usize> + use<> {
    let first = first(endpoint, draw);
    let others = if endpoint.fallback { endpoint.entities.len() } else { 0 };
    std::iter::once(first).chain((0..others).filter(move |at| *at != first))
}

fn first(endpoint: &Endpoint, draw: u32) -> usize {
    let mut below = 0;
    for (at, entity) in endpoint.entities.iter().enumerate() {
        below += entity.weight;
        if draw < below {
            return at;
        }
    }
    // Percentages add up to 100, so that a draw below 100 never gets here.
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Defaults, Meta, compile};
    use proptest::prelude::*;
    use serde_json::json;

    fn endpoint(weights: &[u32], fallback: bool) -> std::sync::Arc<Endpoint> {
        let entities: Vec<_> = (0..weights.len())
            .map(|at| {
                json!({"name": format!("e{at}"), "external_model": {"name": "m", "provider": "openai",
                    "task": "llm/v1/chat", "openai_config": {"openai_api_key": "{{secrets/s/k}}"}}})
            })
            .collect();
        let routes: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(at, w)| json!({"served_entity_name": format!("e{at}"), "traffic_percentage": w}))
            .collect();
        let config = json!({"served_entities": entities, "traffic_config": {"routes": routes}});
        let meta = Meta { id: "1".into(), name: "e".into(), fallback, ..Meta::default() };
        let config = serde_json::from_value(config).unwrap();
        compile(meta, &config, &Defaults::default(), &|_| Some("k".to_owned().into())).unwrap().endpoint
    }

    #[test]
    fn the_split_is_exact_over_all_draws() {
        let endpoint = endpoint(&[80, 0, 20], false);
        let mut counts = [0; 3];
        (0..100).for_each(|draw| counts[plan(&endpoint, draw).next().unwrap()] += 1);
        assert_eq!(counts, [80, 0, 20]);
    }

    #[test]
    fn fallback_goes_in_order_and_reaches_the_idle_ones() {
        let endpoint = endpoint(&[0, 100, 0], true);
        assert_eq!(plan(&endpoint, 5).collect::<Vec<_>>(), [1, 0, 2]);
    }

    proptest! {
        #[test]
        fn each_entity_is_tried_at_most_once(cut in 0u32..=100, draw in 0u32..100) {
            let endpoint = endpoint(&[cut, 100 - cut, 0], true);
            let order: Vec<usize> = plan(&endpoint, draw).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, vec![0, 1, 2]);
            prop_assert!(endpoint.entities[order[0]].weight > 0);
        }
    }
}
