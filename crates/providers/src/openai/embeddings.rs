//! The OpenAI embeddings format as a codec, for requests that take more than one call.

use serde_json::Value;
use wire::embeddings::{EmbeddingsRequest, EmbeddingsResponse, Vector};

use super::OpenAiChat;
use crate::codec::{ChatCodec, Embedded, EmbeddingsCodec, Malformed, Refused, Reply, UpstreamError};

/// Most inputs of one call: the reference of `POST /embeddings`.
pub(super) const MAX_INPUTS: usize = 2048;

#[derive(Clone, Copy, Debug)]
pub(super) struct OpenAiEmbeddings;

impl EmbeddingsCodec for OpenAiEmbeddings {
    fn encode(&self, model: &str, request: &EmbeddingsRequest) -> Result<Vec<Value>, Refused> {
        let body = |input| {
            let part = EmbeddingsRequest {
                model: Some(model.to_owned()),
                input,
                // The form the client wants is made when the parts are put together.
                encoding_format: Some("float".to_owned()),
                ..request.clone()
            };
            serde_json::to_value(part).map_err(|e| Refused::new("input", e.to_string()))
        };
        request.input.chunks(MAX_INPUTS).into_iter().map(body).collect()
    }

    fn decode(&self, reply: &Reply<'_>) -> Result<Embedded, Malformed> {
        let mut response: EmbeddingsResponse = serde_json::from_slice(reply.body)?;
        response.data.sort_by_key(|embedding| embedding.index);
        let vectors = response.data.into_iter().map(|embedding| match embedding.embedding {
            Vector::Numbers(numbers) => Ok(numbers),
            Vector::Packed(_) => Err(Malformed("a vector is no list of numbers".to_owned())),
        });
        Ok(Embedded {
            vectors: vectors.collect::<Result<_, _>>()?,
            prompt_tokens: response.usage.map(|usage| usage.prompt_tokens),
        })
    }

    fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        OpenAiChat::default().error(status, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_one_call_does_not_take_is_split() {
        let inputs: Vec<String> = (0..MAX_INPUTS + 1).map(|n| n.to_string()).collect();
        let request = json!({"input": inputs, "encoding_format": "base64", "dimensions": 3, "x_new": 1});
        let bodies = OpenAiEmbeddings.encode("m", &serde_json::from_value(request).unwrap()).unwrap();
        assert_eq!(bodies.len(), 2);
        let last =
            json!({"model": "m", "input": ["2048"], "dimensions": 3, "encoding_format": "float", "x_new": 1});
        assert_eq!(bodies[1], last);
    }

    #[test]
    fn vectors_come_in_the_order_of_their_indexes() {
        let decode = |body: Value| {
            let body = body.to_string();
            OpenAiEmbeddings.decode(&Reply { body: body.as_bytes(), header: &|_| None })
        };
        let body = json!({"data": [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1]}],
            "usage": {"prompt_tokens": 4, "total_tokens": 4}});
        let embedded = decode(body).unwrap();
        assert_eq!((embedded.vectors, embedded.prompt_tokens), (vec![vec![1.0], vec![2.0]], Some(4)));
        assert!(decode(json!({"data": [{"index": 0, "embedding": "AAAA"}]})).is_err());
        assert!(decode(json!({})).is_err());
    }
}
