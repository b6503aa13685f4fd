//! Signed reasoning goes back to the entity that made it and to no other.

use serde_json::{Value, json};

use crate::client::{Got, invocations};
use crate::raw::{Play, Raw};
use crate::world::{CHAT, Entity, World, world};

const SIGNATURE: &str = "c2lnbmVkIGJ5IG9uZQ==";

fn thought() -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "thinking", "thinking": "hm", "signature": SIGNATURE}, {"type": "text", "text": "answer"}],
        "usage": {"input_tokens": 3, "output_tokens": 4}})
}

/// The same as a stream.
fn events() -> String {
    let events = [
        json!({"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 3}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": SIGNATURE}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": "answer"}}),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}),
        json!({"type": "message_stop"}),
    ];
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

/// Thinks at first, and fails from the second call on where it is told to.
async fn thinking(world: &World, fails: bool) -> Raw {
    Raw::with(world, move |at| match at {
        0 => Play::whole("200 OK", "content-type: application/json\r\n", &thought().to_string()),
        _ if fails => Play::whole("500 Oops", "", "{}"),
        _ => Play::stream(&[events()]),
    })
    .await
}

async fn first_turn(world: &World) -> Value {
    let got = world.post(&invocations("e"), &json!({"messages": [{"role": "user", "content": "q"}]})).await;
    assert_eq!(got.status, 200, "{got:?}");
    got.json()["choices"][0]["message"].clone()
}

async fn second_turn(world: &World, reply: &Value, stream: bool) -> Got {
    let messages = json!([{"role": "user", "content": "q"}, reply, {"role": "user", "content": "go on"}]);
    world.post(&invocations("e"), &json!({"messages": messages, "stream": stream})).await
}

#[tokio::test]
async fn the_entity_that_signed_gets_its_signature_back_unchanged() {
    world(async |world| {
        let raw = thinking(world, false).await;
        world.chat("e", &[Entity::new("anthropic", "m").at(&raw.url)]);
        let reply = first_turn(world).await;
        assert_eq!(reply["reasoning_content"], "hm");
        let got = second_turn(world, &reply, true).await;
        let sent = &raw.bodies()[1]["messages"][1]["content"][0];
        assert_eq!(*sent, json!({"type": "thinking", "thinking": "hm", "signature": SIGNATURE}));
        // Streamed, it is marked in the same way.
        let blocks: Vec<Value> = got
            .events()
            .iter()
            .filter_map(|e| e.pointer("/choices/0/delta/thinking_blocks/0").cloned())
            .collect();
        assert_eq!(blocks, [reply["thinking_blocks"][0].clone()]);
    })
    .await;
}

#[tokio::test]
async fn an_entity_of_the_same_format_does_not_get_what_another_signed() {
    for other in ["anthropic", "openai"] {
        world(async |world| {
            let raw = thinking(world, true).await;
            let first = Entity::new("anthropic", "m").named("a", 100).at(&raw.url);
            world.endpoint("e", CHAT, true, &[first, Entity::new(other, "m").named("b", 0)]);
            let reply = first_turn(world).await;
            let got = second_turn(world, &reply, false).await;
            assert_eq!(
                (got.status, got.headers["served-model-name"].to_str().unwrap()),
                (200, "b"),
                "{got:?}"
            );
            let sent = world.ledger.requests().pop().unwrap().body.to_string();
            assert!(sent.contains("answer") && sent.contains("go on"), "{sent}");
            assert!(
                !sent.contains(SIGNATURE) && !sent.contains("thinking") && !sent.contains("tg1-"),
                "{sent}"
            );
        })
        .await;
    }
}
