//! Upstreams that send anything: every answer is a valid one, and nothing panics.

use serde_json::json;

use crate::client::Got;
use crate::raw::{End, Play, Raw};
use crate::world::{Entity, PROVIDERS, world};

/// xorshift: the same bytes in each run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.next(of.len())]
    }
}

const TOKENS: &[&str] = &[
    "data: ",
    "data:",
    "event: ",
    "\n",
    "\n\n",
    "\r\n\r\n",
    "\r",
    ": x",
    "{",
    "}",
    "[",
    "]",
    "null",
    "1e999",
    "-1",
    "\"",
    "\\u",
    "\"\\ud800\"",
    "{\"choices\":",
    "[{\"index\":0,\"delta\":{\"content\":\"x\"}}]",
    "\"finish_reason\":\"stop\"",
    "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":18446744073709551615,\"total_tokens\":1}",
    "{\"error\":{}}",
    "[DONE]",
    "data: [DONE]\n\n",
    "\u{feff}",
    "\u{0}",
    "é",
    "{\"type\":\"message_start\",\"message\":{}}",
    "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"y\"}}",
    "{\"type\":\"content_block_start\",\"index\":99999999999,\"content_block\":{\"type\":\"tool_use\",\"input\":3}}",
    "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":18446744073709551615}}",
    "{\"type\":\"message_stop\"}",
    "message_start",
    "error",
    "id: 3\n",
    "retry: x\n",
    ",",
    "data: {\"choices\":[{\"delta\":{}}]}\n\n",
];

fn chunk(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=random.next(8) {
        if random.next(6) == 0 {
            bytes.extend((0..random.next(20)).map(|_| random.next(256) as u8));
        } else {
            bytes.extend_from_slice(random.pick(TOKENS).as_bytes());
        }
    }
    // An empty chunk would be the end of the transfer.
    bytes.push(b"\n :}"[random.next(4)]);
    bytes
}

fn play(random: &mut Random) -> Play {
    let pieces: Vec<Vec<u8>> = (0..=random.next(10)).map(|_| chunk(random)).collect();
    match random.next(8) {
        0 => Play::open_stream(&pieces).end(End::Close),
        1 => Play::open_stream(&pieces).end(End::Reset),
        2 => Play { pieces, ..Play::default() }.end(End::Close),
        _ => Play::stream(&pieces),
    }
}

/// Whether not a byte of an answer comes: of a connection that was kept, if it was, that is the end of an idle one
/// for all that one can see, and the request is made once more.
fn says_nothing(play: &Play) -> bool {
    play.pieces.iter().flatten().all(|byte| b"\r\n".contains(byte))
}

fn check(got: &Got) {
    assert!(!got.broke, "{got:?}");
    if got.status != 200 {
        assert!((400..600).contains(&got.status), "{got:?}");
        got.error();
    } else if got.headers["content-type"] == "application/json" {
        got.json();
    } else if got.is_done() {
        got.usage();
        assert!(got.events().iter().all(|event| !event["error"].is_object()), "{got:?}");
    } else {
        got.stream_error();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_bytes_give_a_valid_answer() {
    for (seed, provider) in PROVIDERS.into_iter().enumerate() {
        world(async |world| {
            let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ seed as u64);
            let plays: Vec<Play> = (0..400).map(|_| play(&mut random)).collect();
            let shown = plays.clone();
            let raw = Raw::with(world, move |at| plays[at % plays.len()].clone()).await;
            world.chat("e", &[Entity::new(provider, "m").at(&raw.url).timeouts(3000, 1000)]);
            let mut made = 0;
            for at in 0..shown.len() {
                let most = if says_nothing(&shown[made % shown.len()]) { 2 } else { 1 };
                let got = world.ask("e", at % 3 != 0).await;
                check(&got);
                let more = raw.requests() - made;
                assert!((1..=most).contains(&more), "{more} requests for one, after {made}");
                made += more;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_bytes_of_a_client_give_a_valid_answer() {
    world(async |world| {
        world.chat("e", &[Entity::new("openai", "m")]);
        world.chat("a", &[Entity::new("anthropic", "m")]);
        world.chat("g", &[Entity::new("google", "m")]);
        let fields = [
            "messages",
            "model",
            "stream",
            "extra_params",
            "usage_context",
            "tools",
            "max_tokens",
            "stop",
            "n",
            "tool_choice",
            "response_format",
            "stream_options",
            "temperature",
        ];
        let values = [
            json!(null),
            json!(true),
            json!(-1),
            json!(1e300),
            json!(""),
            json!("x"),
            json!([]),
            json!({}),
            json!([[]]),
            json!([{}]),
            json!([{"role": "user", "content": "x"}]),
            json!([{"role": "tool", "content": [{"type": "text"}]}]),
            json!([{"role": 7}]),
            json!({"type": "function", "function": {}}),
            json!([{"type": "function"}]),
            json!({"a": {"b": []}}),
            json!([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]),
        ];
        let mut random = Random(42);
        for at in 0..1500 {
            let mut body = json!({"messages": [{"role": "user", "content": "x"}]});
            for _ in 0..=random.next(4) {
                body[random.pick(&fields)] = values[random.next(values.len())].clone();
            }
            let path = crate::client::invocations(["e", "a", "g"][at % 3]);
            check(&world.post(&path, &body).await);
        }
    })
    .await;
}
