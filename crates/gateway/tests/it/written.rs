//! How many characters a model wrote: on record of every answer, whole or streamed, in every format.

use serde_json::json;

use crate::guarded_answers::{ask, calling, rows};
use crate::guardrails::saying;
use crate::world::{COMPLETIONS, EMBEDDINGS, Entity, world};

#[tokio::test]
async fn what_a_model_wrote_is_counted_in_every_format_whole_and_streamed() {
    world(async |world| {
        let said = "höre mir zu, it was a bright cold day";
        let arguments = json!({"q": "wie schön", "n": [1, 2.5, true, null], "deep": {"er": "x"}});
        for (surface, provider, stream) in rows() {
            let case = format!("{} {provider} stream={stream}", surface.path);
            let got = ask(world, &surface, provider, &saying(said, 3), stream).await;
            assert_eq!(got.status, 200, "{case}: {got:?}");
            assert_eq!(world.records.last().output_characters, Some(37), "{case}: {got:?}");
            if surface.task == COMPLETIONS {
                continue;
            }
            let got = ask(world, &surface, provider, &calling(&arguments), stream).await;
            let expected = arguments.to_string().chars().count() as u64;
            assert_eq!(world.records.last().output_characters, Some(expected), "{case}: {got:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn where_nothing_is_written_nothing_is_counted() {
    world(async |world| {
        world.endpoint("e", EMBEDDINGS, false, &[Entity::new("openai", "m")]);
        world.endpoint("split", EMBEDDINGS, false, &[Entity::new("cohere", "m")]);
        for name in ["e", "split"] {
            let got = world.post(&crate::client::invocations(name), &json!({"input": ["a", "b"]})).await;
            assert_eq!((got.status, world.records.last().output_characters), (200, None), "{got:?}");
        }
        world.chat("e", &[Entity::new("anthropic", "m")]);
        let body = json!({"model": "e", "messages": [{"role": "user", "content": "hi"}]});
        let got = world.post("/anthropic/v1/messages/count_tokens", &body).await;
        assert_eq!((got.status, world.records.last().output_characters), (200, None), "{got:?}");
        world.chat("e", &[Entity::new("openai", "m;status=500")]);
        assert_eq!(world.ask("e", false).await.status, 500);
        assert_eq!(world.records.last().output_characters, None);
    })
    .await;
}
