//! Serving endpoints of a Databricks workspace, which speak the unified format. Wire facts: the REST
//! reference, `POST /serving-endpoints/{name}/invocations`.

use wire::Object;

use crate::auth::Auth;
use crate::fields::{Block, ConfigError, Field, base_url, path_segment};
use crate::openai::{Edits, OpenAiChat};
use crate::provider::{Codec, Defaults, Framing, Provider, Registration, Target, Task};
use crate::secret::SecretRef;

const FIELDS: &[Field] = &[Field::text("databricks_workspace_url"), Field::secret("databricks_api_token")];

pub(crate) const REGISTRATION: Registration = Registration {
    name: "databricks-model-serving",
    config_field: "databricks_model_serving_config",
    tasks: &[Task::Chat, Task::Completions, Task::Embeddings],
    fields: FIELDS,
    settings: &[],
    build,
};

#[derive(Debug)]
struct ModelServing {
    workspace: String,
    token: SecretRef,
    codec: OpenAiChat,
}

fn build(config: &Object, _defaults: &Defaults) -> Result<Box<dyn Provider>, ConfigError> {
    let block = Block::read(config, FIELDS)?;
    let workspace = block.required("databricks_workspace_url")?;
    Ok(Box::new(ModelServing {
        workspace: base_url("databricks_workspace_url", workspace, &["/serving-endpoints"])?,
        token: block.required_secret("databricks_api_token")?,
        // Usage is always there: nothing is to be asked for.
        codec: OpenAiChat { edits: Edits::ModelOnly },
    }))
}

impl Provider for ModelServing {
    fn target(&self, model: &str, _task: Task, _stream: bool) -> Target {
        let (workspace, endpoint) = (&self.workspace, path_segment(model));
        Target {
            url: format!("{workspace}/serving-endpoints/{endpoint}/invocations"),
            headers: Vec::new(),
            auth: Auth::Bearer(self.token.clone()),
            framing: Framing::Sse,
        }
    }

    fn telemetry_name(&self) -> Option<&'static str> {
        Some("databricks")
    }

    fn codec(&self, _model: &str, _task: Task) -> Option<Codec<'_>> {
        Some(Codec::Splice(&self.codec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ChatCodec;
    use serde_json::json;

    #[test]
    fn the_model_is_an_endpoint_of_the_workspace() {
        let config = json!({"databricks_workspace_url": "https://w.example/serving-endpoints/",
            "databricks_api_token": "{{secrets/a/b}}"});
        let provider = build(config.as_object().unwrap(), &Defaults::default()).unwrap();
        for task in Task::ALL {
            let url = provider.target("my endpoint", task, true).url;
            assert_eq!(url, "https://w.example/serving-endpoints/my%20endpoint/invocations");
        }
    }

    #[test]
    fn reasoning_in_a_list_of_parts_survives() {
        let content = json!([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "text", "text": "Hi"}]);
        let body = json!({"id": "c", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": content}}]});
        let reply = OpenAiChat::default().decode(body.to_string().as_bytes()).unwrap();
        assert_eq!(serde_json::to_value(&reply.choices[0].message.content).unwrap(), content);
    }

    #[test]
    fn errors_of_the_workspace_keep_their_words() {
        let body = json!({"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "Exceeded the rate limit."});
        let error = OpenAiChat::default().error(429, body.to_string().as_bytes());
        assert!(error.allows_fallback() && error.message == "Exceeded the rate limit.");
    }
}
