// What the fuzz targets and the replay of their corpus do with one input. Included by both.

use super::providers;
use providers::provider::Defaults;
use providers::{Codec, Framing, Provider, Registration, Reply, Task};
use serde_json::Value;
use wire::chat::ChatRequest;
use wire::embeddings::EmbeddingsRequest;
use wire::raw::RawObject;
use wire::{Object, eventstream, sse};

/// A provider as its fixtures configure it.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    provider: Box<dyn Provider>,
    /// The models of its fixtures: what they are decides which codec answers.
    models: Vec<String>,
}

impl Subject {
    /// `setup` is the provider's `fixtures/provider.json`.
    pub(crate) fn new(registration: &'static Registration, setup: &[u8]) -> Option<Self> {
        let setup: Object = serde_json::from_slice(setup).ok()?;
        let config = setup.get("config")?.as_object()?;
        let mut models = vec![setup.get("model")?.as_str()?.to_owned()];
        let others = setup.get("models").and_then(Value::as_object).into_iter().flat_map(Object::values);
        models.extend(others.filter_map(|m| m.as_str().map(str::to_owned)));
        models.sort();
        models.dedup();
        let provider = (registration.build)(config, &Defaults::default()).ok()?;
        Some(Self { name: registration.name, provider, models })
    }

    fn codecs(&self) -> impl Iterator<Item = (&str, Task, Codec<'_>)> {
        let pairs = self.models.iter().flat_map(|m| Task::ALL.map(|task| (m.as_str(), task)));
        pairs.filter_map(|(m, task)| Some((m, task, self.provider.codec(m, task)?)))
    }

    /// `data` as the body of a client's request.
    pub(crate) fn request(&self, data: &[u8]) {
        for (model, task, codec) in self.codecs() {
            match codec {
                Codec::Splice(splice) => {
                    if let Ok(mut body) = RawObject::parse(data)
                        && splice.splice(model, task, true, &mut body).is_ok()
                    {
                        let _ = body.to_vec();
                    }
                }
                Codec::Chat(codec) => {
                    if let Ok(request) = serde_json::from_slice::<ChatRequest>(data) {
                        let _ = codec.encode(model, &request);
                    }
                }
                Codec::Embeddings(codec) => {
                    if let Ok(request) = serde_json::from_slice::<EmbeddingsRequest>(data) {
                        let _ = codec.encode(model, &request);
                    }
                }
            }
        }
    }

    /// `data` as the body of the provider's answer, good or bad.
    pub(crate) fn reply(&self, data: &[u8]) {
        for (_, _, codec) in self.codecs() {
            match codec {
                Codec::Splice(codec) => {
                    let _ = (codec.decode(data), codec.error(0, data), codec.error(429, data));
                }
                Codec::Chat(codec) => {
                    let _ = (codec.decode(data), codec.error(0, data), codec.error(429, data));
                }
                Codec::Embeddings(codec) => {
                    let reply = Reply { body: data, header: &|_| None };
                    let _ = (codec.decode(&reply), codec.error(400, data));
                }
            }
        }
    }

    /// `data` as the bytes of the provider's stream: whole, and byte by byte, which must say the same.
    pub(crate) fn stream(&self, data: &[u8]) {
        for (model, task, codec) in self.codecs() {
            let stream = || match codec {
                Codec::Splice(codec) => Some(codec.stream()),
                Codec::Chat(codec) => Some(codec.stream()),
                Codec::Embeddings(_) => None,
            };
            let framing = self.provider.target(model, task, true).framing;
            let (Some(whole), Some(bytewise)) = (stream(), stream()) else { continue };
            let whole = run(whole, framing, [data].into_iter());
            let bytewise = run(bytewise, framing, data.chunks(1));
            assert!(whole == bytewise, "{}: the cut of the bytes shows", self.name);
        }
    }
}

/// The chunks as JSON, and whether the stream ended well.
fn run<'a>(
    mut stream: Box<dyn providers::ChatStream>,
    framing: Framing,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (String, bool) {
    let (mut sse, mut frames) = (sse::Parser::new(1 << 20), eventstream::Parser::new(1 << 20));
    let mut chunks = Vec::new();
    let mut good = true;
    'pieces: for piece in pieces {
        match framing {
            Framing::Sse => sse.push(piece),
            Framing::AwsEventStream => frames.push(piece),
        }
        loop {
            let next = match framing {
                Framing::Sse => sse.next_event().map_err(drop),
                Framing::AwsEventStream => frames.next_event().map_err(drop),
            };
            match next {
                Ok(Some(event)) if stream.event(&event.name, &event.data, &mut chunks).is_ok() => {}
                Ok(None) => break,
                Ok(Some(_)) | Err(()) => {
                    good = false;
                    break 'pieces;
                }
            }
        }
    }
    if good
        && framing == Framing::Sse
        && let Some(event) = sse.finish()
    {
        good = stream.event(&event.name, &event.data, &mut chunks).is_ok();
    }
    good = good && stream.finish(&mut chunks).is_ok();
    (serde_json::to_string(&chunks).unwrap_or_default(), good)
}
