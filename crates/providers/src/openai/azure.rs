//! Azure OpenAI: the same format under a resource's deployments, with a key or with a token of Entra ID.
//! Wire facts: `openai.AzureOpenAI` of the Python SDK and `azure-identity`.

use wire::raw::RawObject;

use crate::auth::{Auth, EntraId};
use crate::codec::{Refused, UpstreamError};
use crate::fields::{Block, ConfigError, base_url, path_segment};
use crate::native::{Native, NativeCall, NativeCodec};
use crate::provider::{Codec, Defaults, Framing, Provider, Setting, Target, Task};

use super::{Edits, OpenAiChat};

const AUTHORITY: &str = "https://login.microsoftonline.com";
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";
/// From this version on, streams take `stream_options`.
const STREAM_OPTIONS_SINCE: &str = "2024-09-01";

const TENANT: &str = "microsoft_entra_tenant_id";
const CLIENT: &str = "microsoft_entra_client_id";
const CLIENT_SECRET: &str = "microsoft_entra_client_secret";

pub(super) const ENTRA_AUTHORITY: Setting = Setting {
    key: "entra_authority",
    variables: &["AZURE_AUTHORITY_HOST"],
    doc: "stands in for the address of Microsoft Entra ID, where tokens for Azure OpenAI are got",
};

#[derive(Debug)]
struct Azure {
    auth: Auth,
    /// Up to the operation.
    deployment: String,
    /// Of the resource's own paths, and what a body's `model` is there.
    responses: String,
    deployment_name: String,
    version: String,
    codec: OpenAiChat,
}

/// `kind` is the type that the block names: `azure`, or `azuread` for Entra ID.
pub(super) fn build(
    block: &Block<'_>,
    kind: &str,
    defaults: &Defaults,
) -> Result<Box<dyn Provider>, ConfigError> {
    let base = base_url("openai_api_base", block.required("openai_api_base")?, &["/openai"])?;
    let version = block.required("openai_api_version")?;
    if !version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
        return Err(ConfigError::new("openai_api_version", format!("{version:?} is no version of the API")));
    }
    let deployment_name = block.required("openai_deployment_name")?.to_owned();
    let deployment = path_segment(&deployment_name);
    let stream_usage = !version.starts_with(|c: char| c.is_ascii_digit()) || version >= STREAM_OPTIONS_SINCE;
    Ok(Box::new(Azure {
        auth: auth(block, kind, defaults)?,
        deployment: format!("{base}/openai/deployments/{deployment}"),
        responses: responses(&base, version),
        deployment_name,
        version: version.to_owned(),
        codec: OpenAiChat { edits: Edits::OpenAi { stream_usage } },
    }))
}

/// The Responses API is of the resource and has no dated versions; `preview` and its like are still said.
fn responses(base: &str, version: &str) -> String {
    let is_dated = version.starts_with(|c: char| c.is_ascii_digit());
    let query = if is_dated { String::new() } else { format!("?api-version={version}") };
    format!("{base}/openai/v1/responses{query}")
}

/// Databricks' own notebooks set the Entra fields together with the type `azure`: they win over a key.
fn auth(block: &Block<'_>, kind: &str, defaults: &Defaults) -> Result<Auth, ConfigError> {
    if kind != "azuread" && ![TENANT, CLIENT, CLIENT_SECRET].iter().any(|field| block.contains(field)) {
        return Ok(Auth::Header("api-key".to_owned(), block.required_secret("openai_api_key")?));
    }
    let tenant = block.required(TENANT)?;
    if !tenant.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
        return Err(ConfigError::new(TENANT, format!("{tenant:?} is neither an id nor a domain")));
    }
    Ok(Auth::EntraId(EntraId {
        authority: authority(defaults)?,
        tenant_id: tenant.to_owned(),
        client_id: block.required(CLIENT)?.to_owned(),
        client_secret: block.required_secret(CLIENT_SECRET)?,
        scope: SCOPE,
    }))
}

/// Microsoft's own tools take the host alone, too.
fn authority(defaults: &Defaults) -> Result<String, ConfigError> {
    let given = defaults.get(ENTRA_AUTHORITY.key).map(str::trim).filter(|text| !text.is_empty());
    let Some(given) = given else { return Ok(AUTHORITY.to_owned()) };
    let url = if given.contains("://") { given.to_owned() } else { format!("https://{given}") };
    base_url(ENTRA_AUTHORITY.key, &url, &[])
}

impl Provider for Azure {
    fn target(&self, _model: &str, task: Task, _stream: bool) -> Target {
        Target {
            url: format!("{}/{}?api-version={}", self.deployment, task.operation(), self.version),
            headers: Vec::new(),
            auth: self.auth.clone(),
            framing: Framing::Sse,
        }
    }

    fn telemetry_name(&self) -> Option<&'static str> {
        Some("azure.ai.openai")
    }

    fn codec(&self, _model: &str, _task: Task) -> Option<Codec<'_>> {
        Some(Codec::Splice(&self.codec))
    }

    fn native(&self, model: &str, call: NativeCall, stream: bool) -> Option<Native<'_>> {
        let target = Target { url: self.responses.clone(), ..self.target(model, Task::Chat, stream) };
        (call == NativeCall::Responses).then_some(Native { target, codec: self, headers: &[], query: &[] })
    }
}

/// The body names the deployment, where the unified format has it in the path.
impl NativeCodec for Azure {
    fn pass(&self, _model: &str, body: &mut RawObject<'_>) -> Result<(), Refused> {
        self.codec.pass(&self.deployment_name, body)
    }

    fn failure(&self, status: u16, body: &[u8]) -> UpstreamError {
        self.codec.failure(status, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretRef;
    use serde_json::{Value, json};

    fn with(fields: Value, defaults: &Defaults) -> Result<Box<dyn Provider>, ConfigError> {
        let mut config = json!({"openai_api_type": "azure", "openai_api_base": "https://acme.openai.azure.com/",
            "openai_api_version": "2024-10-21", "openai_deployment_name": "my gpt"});
        for (key, value) in fields.as_object().unwrap() {
            config[key] = value.clone();
        }
        (super::super::REGISTRATION.build)(config.as_object().unwrap(), defaults)
    }

    fn target(fields: Value) -> Target {
        with(fields, &Defaults::default()).unwrap().target("gpt-4o", Task::Chat, true)
    }

    fn entra() -> Value {
        json!({"microsoft_entra_tenant_id": "t-1", "microsoft_entra_client_id": "c-1",
            "microsoft_entra_client_secret": "{{secrets/a/b}}"})
    }

    #[test]
    fn a_key_goes_into_its_own_header() {
        let target = target(json!({"openai_api_key": "{{secrets/a/b}}"}));
        assert_eq!(
            target.url,
            "https://acme.openai.azure.com/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"
        );
        let key = SecretRef::parse("{{secrets/a/b}}").unwrap();
        assert_eq!(target.auth, Auth::Header("api-key".to_owned(), key));
    }

    #[test]
    fn entra_fields_win_whatever_the_type_says() {
        for kind in ["azure", "azuread"] {
            let mut fields = entra();
            fields["openai_api_type"] = kind.into();
            fields["openai_api_key"] = "{{secrets/a/key}}".into();
            let Auth::EntraId(entra) = target(fields).auth else { panic!("{kind}") };
            assert_eq!((entra.authority.as_str(), entra.scope), (AUTHORITY, SCOPE));
        }
    }

    #[test]
    fn the_authority_is_the_servers_to_choose() {
        for (given, expected) in
            [("http://127.0.0.1:9/", "http://127.0.0.1:9"), ("login.example", "https://login.example")]
        {
            let defaults = Defaults::new([("entra_authority".to_owned(), given.to_owned())]);
            let target = with(entra(), &defaults).unwrap().target("m", Task::Chat, false);
            let Auth::EntraId(entra) = target.auth else { panic!("{given}") };
            assert_eq!(entra.authority, expected);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |fields: Value| with(fields, &Defaults::default()).unwrap_err().field;
        assert_eq!(missing(json!({})), "openai_api_key");
        assert_eq!(missing(json!({"openai_api_type": "azuread"})), TENANT);
        for field in
            ["openai_api_base", "openai_api_version", "openai_deployment_name", CLIENT, CLIENT_SECRET]
        {
            let mut fields = entra();
            fields[field] = Value::Null;
            assert_eq!(missing(fields), field);
        }
        let mut fields = entra();
        fields[TENANT] = "a/../b".into();
        assert_eq!(missing(fields), TENANT);
        assert_eq!(missing(json!({"openai_api_version": "1&x=2"})), "openai_api_version");
    }

    #[test]
    fn responses_are_asked_of_the_resource_with_the_deployment_as_the_model() {
        for (version, query) in [("2024-10-21", ""), ("preview", "?api-version=preview")] {
            let fields = json!({"openai_api_key": "{{secrets/a/b}}", "openai_api_version": version});
            let provider = with(fields, &Defaults::default()).unwrap();
            let native = provider.native("gpt-4o", NativeCall::Responses, true).unwrap();
            let base = "https://acme.openai.azure.com/openai/v1/responses";
            assert_eq!(native.target.url, format!("{base}{query}"));
            let mut body = RawObject::parse(br#"{"x": 1.50,"model":"e"}"#).unwrap();
            native.codec.pass("gpt-4o", &mut body).unwrap();
            assert_eq!(body.to_vec().unwrap(), br#"{"x":1.50,"model":"my gpt"}"#);
            assert!(provider.native("gpt-4o", NativeCall::Messages, true).is_none());
        }
    }

    #[test]
    fn older_versions_are_not_asked_for_usage_in_streams() {
        let sent = |version: &str| {
            let fields = json!({"openai_api_key": "{{secrets/a/b}}", "openai_api_version": version});
            let provider = with(fields, &Defaults::default()).unwrap();
            let Some(Codec::Splice(splice)) = provider.codec("gpt-4o", Task::Chat) else { panic!() };
            let mut body =
                RawObject::parse(br#"{"stream":true,"stream_options":{"include_usage":true}}"#).unwrap();
            splice.splice("gpt-4o", Task::Chat, true, &mut body).unwrap();
            body.contains("stream_options")
        };
        assert!(sent("2024-10-21") && sent("2024-09-01-preview") && sent("preview"));
        assert!(!sent("2024-02-01") && !sent("2023-12-01-preview"));
    }

    /// The first event tells what the filter found in the prompt; it has neither choices nor an id.
    #[test]
    fn the_filters_results_are_no_answer_and_no_fault() {
        let mut stream = OpenAiChat::default().stream();
        let mut out = Vec::new();
        for data in [
            r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{"content":"a"},"content_filter_results":{"hate":{"filtered":false}}}]}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"content_filter"}]}"#,
        ] {
            stream.event("", data.as_bytes(), &mut out).unwrap();
        }
        assert!(stream.finish(&mut out).is_ok());
        assert_eq!(out[2].choices[0].finish_reason.as_deref(), Some("content_filter"));
    }

    #[test]
    fn a_filtered_prompt_and_a_missing_deployment_keep_their_status_and_words() {
        let error = |status, body: Value| OpenAiChat::default().error(status, body.to_string().as_bytes());
        let filtered = json!({"error": {"message": "The response was filtered", "code": "content_filter",
            "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation"}}});
        assert!(!error(400, filtered.clone()).allows_fallback());
        assert_eq!(error(0, filtered).status, 400);
        let missing =
            json!({"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}});
        assert_eq!(error(404, missing).message, "The API deployment does not exist.");
    }

    use crate::codec::ChatCodec;
}
