//! The fixtures of all providers, played by the simulator over real HTTP: what goes upstream, and what the
//! client gets, is what the codecs' own suite says.

use std::path::{Path, PathBuf};

use http::StatusCode;
use serde_json::{Value, json};
use simulator::Recording;
use wire::sse::Event;

use crate::client::{Got, invocations};
use crate::world::{Entity, PROVIDERS, World, world};

const STREAMS: [&str; 5] = ["text", "tools", "reasoning", "cut-mid-frame", "error-mid-stream"];

/// A provider and its fixtures; `azure` has those of `openai`.
struct Fixtures {
    provider: &'static str,
    folder: PathBuf,
    setup: Value,
}

impl Fixtures {
    fn all() -> impl Iterator<Item = Self> {
        PROVIDERS.into_iter().filter(|provider| *provider != "azure").map(|provider| {
            let folder = shared("../src").join(provider.replace('-', "_")).join("fixtures");
            let setup = json_of(&folder.join("provider.json"));
            Self { provider, folder, setup }
        })
    }

    fn model(&self, case: &str) -> &str {
        self.setup["models"][case].as_str().or(self.setup["model"].as_str()).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn endpoint(&self, world: &World, case: &str) {
        world.chat("e", &[Entity::new(self.provider, self.model(case))]);
    }

    fn play(&self, world: &World, case: &str, status: u16, content_type: &'static str, body: Vec<u8>) {
        let status = StatusCode::from_u16(status).unwrap();
        assert!(
            world.recordings.set(self.model(case), Recording { status, content_type, body: body.into() })
        );
    }

    /// The bytes of a stream, and their type.
    fn stream(&self, name: &str) -> (&'static str, Vec<u8>) {
        let binary = self.file(&format!("stream/{name}.events.json"));
        if !binary.exists() {
            return ("text/event-stream", bytes_of(&self.file(&format!("stream/{name}.sse"))));
        }
        let file = json_of(&binary);
        let frames = file["events"].as_array().unwrap().iter().map(|event| {
            let name = event["event"].as_str().unwrap().to_owned();
            wire::eventstream::frame(&Event { name, data: event["payload"].to_string().into() }).unwrap()
        });
        let mut bytes = frames.collect::<Vec<_>>().concat();
        bytes.truncate(bytes.len() - usize::try_from(file["cut"].as_u64().unwrap_or(0)).unwrap());
        ("application/vnd.amazon.eventstream", bytes)
    }
}

fn shared(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers/fixtures").join(name)
}

fn bytes_of(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&bytes_of(path)).unwrap()
}

fn request(case: &str) -> Value {
    json_of(&shared(&format!("chat/{case}.unified.json")))
}

fn cases() -> Vec<String> {
    let files =
        std::fs::read_dir(shared("chat")).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    files.map(|name| name.strip_suffix(".unified.json").unwrap().to_owned()).collect()
}

/// Without what the gateway fills in, and without nulls, which a stream that passes keeps and a codec drops.
fn bare(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let filled = |name: &str| {
                name == "model" || (["id", "created"].contains(&name) && fields.contains_key("choices"))
            };
            let kept = fields.iter().filter(|(name, value)| !filled(name) && !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), bare(value))).collect())
        }
        Value::Array(items) => items.iter().map(bare).collect(),
        other => other.clone(),
    }
}

/// Without the gateway's marks on what is signed.
fn unmarked(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, unmarked(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(unmarked).collect(),
        Value::String(text) => {
            let marked = text.strip_prefix("tg1-").and_then(|rest| rest.split_once('.'));
            let text = marked.map_or(text.as_str(), |(_, own)| own);
            // Twelve characters of mark stand before a signature in an id.
            match text.split_once("__thought__") {
                Some((plain, signed)) => format!("{plain}__thought__{}", &signed[12..]).into(),
                None => text.into(),
            }
        }
        other => other,
    }
}

#[tokio::test]
async fn every_reply_reaches_the_client_as_its_codec_says() {
    for fixtures in Fixtures::all() {
        world(async |world| {
            for case in cases() {
                fixtures.endpoint(world, &case);
                let place = format!("{}: {case}", fixtures.provider);
                let refused = fixtures.file(&format!("chat/{case}.refused.json"));
                if refused.exists() {
                    let got = world.post(&invocations("e"), &request(&case)).await;
                    let reason = json_of(&refused)["reason"].as_str().unwrap().to_owned();
                    assert!(got.status == 400 && got.error().1.contains(&reason), "{place}: {got:?}");
                    continue;
                }
                let reply = bytes_of(&fixtures.file(&format!("chat/{case}.reply.json")));
                fixtures.play(world, &case, 200, "application/json", reply);
                let got = world.post(&invocations("e"), &request(&case)).await;
                assert_eq!(got.status, 200, "{place}: {got:?}");
                let expected = json_of(&fixtures.file(&format!("chat/{case}.unified-reply.json")));
                assert_eq!(bare(&unmarked(got.json())), bare(&expected), "{place}");
                let sent = world.ledger.requests().pop().unwrap().body;
                let upstream = json_of(&fixtures.file(&format!("chat/{case}.upstream.json")));
                assert_eq!(sent, upstream, "{place}");
            }
        })
        .await;
    }
}

async fn streamed(world: &World, fixtures: &Fixtures, name: &str) -> Got {
    // The case whose model the stream is of.
    let case = if name == "reasoning" { name } else { "basic" };
    fixtures.endpoint(world, case);
    let (content_type, bytes) = fixtures.stream(name);
    fixtures.play(world, case, 200, content_type, bytes);
    let mut body = request(case);
    body["stream"] = true.into();
    world.post(&invocations("e"), &body).await
}

#[tokio::test]
async fn every_stream_reaches_the_client_as_its_codec_says() {
    for fixtures in Fixtures::all() {
        world(async |world| {
            for name in STREAMS {
                let place = format!("{}: {name}", fixtures.provider);
                let got = streamed(world, &fixtures, name).await;
                assert_eq!(got.status, 200, "{place}: {got:?}");
                let mut expected = json_of(&fixtures.file(&format!("stream/{name}.chunks.json")));
                let ending = expected.as_array_mut().unwrap().pop().unwrap();
                let whole = ending["end"] == "ok";
                assert_eq!(got.is_done(), whole, "{place}: {got:?}");
                let mut events = got.events();
                if !whole {
                    got.stream_error();
                    events.pop();
                }
                // An event of another kind passes where all do; it is no chunk.
                let chunks =
                    events.into_iter().filter(|e| e.get("choices").is_some() || e.get("usage").is_some());
                let chunks: Vec<Value> = chunks.map(|chunk| bare(&unmarked(chunk))).collect();
                // Where the format is the unified one, the bytes pass, also what a codec would read otherwise.
                let passed = fixtures.stream(name).1;
                let passes = String::from_utf8_lossy(&passed).contains(got.data()[0]);
                assert!(
                    passes || Value::from(chunks.clone()) == bare(&expected),
                    "{place}: {chunks:?}\n{expected}"
                );
                if passes {
                    let sent = got
                        .data()
                        .into_iter()
                        .filter(|data| *data != "[DONE]" && !data.contains("upstream_error"));
                    let missing =
                        sent.filter(|data| !String::from_utf8_lossy(&passed).contains(data)).count();
                    assert_eq!(missing, 0, "{place}: {got:?}");
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn every_error_reaches_the_client_with_its_status_and_body() {
    for fixtures in Fixtures::all() {
        world(async |world| {
            fixtures.endpoint(world, "basic");
            for status in [400, 401, 403, 404, 429, 500, 529] {
                let body = bytes_of(&fixtures.file(&format!("error/{status}.json")));
                fixtures.play(world, "basic", status, "application/json", body.clone());
                let got = world.post(&invocations("e"), &request("basic")).await;
                let place = format!("{}: {status}: {got:?}", fixtures.provider);
                assert_eq!(
                    (got.status, got.provider_error()),
                    (status, serde_json::from_slice(&body).unwrap()),
                    "{place}"
                );
            }
        })
        .await;
    }
}

/// An estimate is added where a stream tells no usage: no fixture may hide behind that.
#[test]
fn every_whole_stream_tells_its_usage() {
    for fixtures in Fixtures::all() {
        for name in ["text", "tools", "reasoning"] {
            let chunks = json_of(&fixtures.file(&format!("stream/{name}.chunks.json")));
            let told = chunks
                .as_array()
                .unwrap()
                .iter()
                .any(|chunk| chunk["usage"]["total_tokens"].as_u64() > Some(0));
            assert!(told, "{}: {name}: {}", fixtures.provider, json!(chunks.as_array().map(Vec::len)));
        }
    }
}
