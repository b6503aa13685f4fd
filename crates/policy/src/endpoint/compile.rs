//! A normalised config and the secrets it names, made into what the data plane uses.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Uri};
use providers::auth::{Auth, AwsCredentials, SigV4};
use providers::{NativeCall, Provider, SecretRef, Target, Task};
use secrecy::SecretString;
use serde_json::Value;
use wire::endpoint::{EndpointConfig, ServedEntity};

use super::credentials::{Credentials, Unauthorized, authorize, identity};
use super::normalize::Invalid;
use super::{Accounting, DefaultParams, Defaults, Destination, Endpoint, Entity, NativeRoute, Timeouts};
use crate::guardrails;
use crate::limits::Limits;
use crate::permit::Grant;
use crate::price::Prices;

/// What an endpoint is beside its config.
#[derive(Clone, Debug, Default)]
pub struct Meta {
    pub id: Arc<str>,
    pub name: Arc<str>,
    pub config_version: i64,
    pub fallback: bool,
    pub grants: Vec<Grant>,
    pub accounting: Accounting,
    /// `ai_gateway.guardrails`; null where there are none.
    pub guardrails: Value,
    pub limits: Limits,
}

/// The endpoint, and the secrets it names that do not exist. It is served all the same: calls to an
/// entity without its secret are refused, one by one.
#[derive(Debug)]
pub struct Compiled {
    pub endpoint: Arc<Endpoint>,
    pub missing: Vec<SecretRef>,
}

/// Compiles a config that [`super::normalize`] made. `secret` finds a secret's value.
pub fn compile(
    meta: Meta,
    config: &EndpointConfig,
    defaults: &Defaults,
    secret: &dyn Fn(&SecretRef) -> Option<SecretString>,
) -> Result<Compiled, Invalid> {
    let mut task = None;
    let mut entities = Vec::with_capacity(config.served_entities.len());
    for (at, served) in config.served_entities.iter().enumerate() {
        let path = format!("config.served_entities[{at}]");
        let weight = weight(config, served.name.as_deref().unwrap_or_default());
        let (entity, its_task) = entity(&path, served, weight, defaults, secret)?;
        task.get_or_insert(its_task);
        entities.push(entity);
    }
    let task =
        task.ok_or_else(|| Invalid { path: "config.served_entities".into(), reason: "is empty".into() })?;
    let mut missing: Vec<SecretRef> =
        entities.iter().filter_map(|e: &Entity| Some(e.unary.headers.as_ref().err()?.0.clone())).collect();
    missing.sort();
    missing.dedup();
    let Meta { id, name, config_version, fallback, grants, accounting, guardrails, limits } = meta;
    let guardrails = match guardrails {
        Value::Null => guardrails::Guardrails::default(),
        block => guardrails::compile(&block, &defaults.guardrails)?,
    };
    let endpoint = Endpoint {
        id,
        name,
        task,
        config_version,
        entities,
        fallback,
        grants,
        accounting,
        guardrails,
        limits,
    };
    Ok(Compiled { endpoint: Arc::new(endpoint), missing })
}

fn weight(config: &EndpointConfig, name: &str) -> u32 {
    let routes = config.traffic_config.iter().flat_map(|t| &t.routes);
    let percentage = routes.filter(|r| r.entity() == name).map(|r| r.traffic_percentage).sum::<i64>();
    u32::try_from(percentage).unwrap_or(0)
}

fn entity(
    path: &str,
    served: &ServedEntity,
    weight: u32,
    defaults: &Defaults,
    secret: &dyn Fn(&SecretRef) -> Option<SecretString>,
) -> Result<(Entity, Task), Invalid> {
    let invalid = |field: &str, reason: String| Invalid { path: format!("{path}.{field}"), reason };
    let model =
        served.external_model.as_ref().ok_or_else(|| invalid("external_model", "is required".into()))?;
    let registration = providers::find(&model.provider)
        .ok_or_else(|| invalid("external_model.provider", "is unknown".into()))?;
    let task = Task::parse(&model.task).ok_or_else(|| invalid("external_model.task", "is unknown".into()))?;
    let field = registration.config_field;
    let block = model.config.get(field).and_then(Value::as_object);
    let block = block.ok_or_else(|| invalid(&format!("external_model.{field}"), "is required".into()))?;
    let provider_defaults = defaults.providers.get(registration.name).cloned().unwrap_or_default();
    let provider = (registration.build)(block, &provider_defaults)
        .map_err(|e| invalid(&format!("external_model.{field}.{}", e.field), e.reason))?;
    let aim = |target: Target| {
        destination(target, secret).map_err(|reason| invalid(&format!("external_model.{field}"), reason))
    };
    let unary = aim(provider.target(&model.name, task, false))?;
    let streaming = aim(provider.target(&model.name, task, true))?;
    let native = natives(provider.as_ref(), &model.name, task, &aim)?;
    let entity = Entity {
        name: served.name.as_deref().unwrap_or_default().into(),
        model: model.name.clone(),
        provider_name: registration.name,
        mark: mark(registration.name, &model.name, &provider.target(&model.name, task, false)),
        provider,
        weight,
        timeouts: timeouts(served, defaults.timeouts),
        prices: Prices::of_entity(served.price_per_million_tokens.as_ref())
            .or_else(|| Prices::bundled(registration.name, &model.name)),
        on_disconnect: served.on_disconnect.unwrap_or_default(),
        default_params: DefaultParams::new(model.default_params.as_ref()),
        unary,
        streaming,
        native,
    };
    Ok((entity, task))
}

/// 48 bits: enough that no two entities of a server share one.
fn mark(provider: &str, model: &str, target: &Target) -> Arc<str> {
    let secrets: Vec<String> = target.auth.secrets().into_iter().map(ToString::to_string).collect();
    let mut parts = vec![provider, model, &target.url];
    parts.extend(secrets.iter().map(String::as_str));
    // The machine's credentials are no secrets of ours: the accounts they lead to tell them apart.
    if let Auth::SigV4(SigV4 {
        credentials: AwsCredentials::Chain { role_arn, instance_profile_arn, .. },
        ..
    }) = &target.auth
    {
        parts.extend([role_arn, instance_profile_arn].map(|arn| arn.as_deref().unwrap_or_default()));
    }
    identity(&parts).iter().take(6).map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// Clients' own formats are chat, whatever else a provider serves.
fn natives(
    provider: &dyn Provider,
    model: &str,
    task: Task,
    aim: &dyn Fn(Target) -> Result<Destination, Invalid>,
) -> Result<Vec<NativeRoute>, Invalid> {
    if task != Task::Chat {
        return Ok(Vec::new());
    }
    let mut routes = Vec::new();
    for call in NativeCall::ALL {
        let target = |stream: bool| Some(provider.native(model, call, stream)?.target);
        if let (Some(unary), Some(streaming)) = (target(false), target(true)) {
            routes.push(NativeRoute { call, unary: aim(unary)?, streaming: aim(streaming)? });
        }
    }
    Ok(routes)
}

fn timeouts(served: &ServedEntity, defaults: Timeouts) -> Timeouts {
    let given = served.timeouts.unwrap_or_default();
    let or = |ms: Option<u64>, default: Duration| ms.map_or(default, Duration::from_millis);
    Timeouts {
        connect: or(given.connect_ms, defaults.connect),
        first_byte: or(given.first_byte_ms, defaults.first_byte),
        idle: or(given.idle_ms, defaults.idle),
    }
}

fn destination(
    target: Target,
    secret: &dyn Fn(&SecretRef) -> Option<SecretString>,
) -> Result<Destination, String> {
    let uri = target.url.parse::<Uri>().map_err(|e| format!("{:?} is no URL: {e}", target.url))?;
    let mut headers = HeaderMap::with_capacity(target.headers.len() + 4);
    for (name, value) in &target.headers {
        let value =
            HeaderValue::from_str(value).map_err(|_| format!("the value of {name} is no header value"))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    let (headers, credentials) = match authorize(&target.auth, &mut headers, secret) {
        Ok(credentials) => (Ok(headers), credentials),
        Err(Unauthorized::Missing(missing)) => (Err(missing), Credentials::InPlace),
        Err(Unauthorized::Invalid(reason)) => return Err(reason),
    };
    Ok(Destination { uri, headers, credentials, framing: target.framing })
}

#[cfg(test)]
mod tests {
    use super::super::normalize;
    use super::*;
    use http::header::AUTHORIZATION;
    use providers::Framing;
    use serde_json::json;

    fn compiled(secret: Option<&str>) -> Result<Compiled, Invalid> {
        let config = json!({"served_entities": [{"name": "a", "timeouts": {"idle_ms": 7},
            "external_model": {"name": "m", "provider": "openai", "task": "llm/v1/chat",
                "openai_config": {"openai_api_key": "{{secrets/s/k}}", "openai_api_base": "http://h:1/v1"}}}]});
        let defaults = Defaults::default();
        let normalized = normalize(serde_json::from_value(config).unwrap(), &defaults).unwrap();
        let meta = Meta { id: "1".into(), name: "e".into(), ..Meta::default() };
        compile(meta, &normalized.config, &defaults, &|_| secret.map(|s| s.to_owned().into()))
    }

    #[test]
    fn credentials_are_in_place_and_not_printable() {
        let compiled = compiled(Some("sk-canary\n")).unwrap();
        let entity = &compiled.endpoint.entities[0];
        let headers = entity.unary.headers.as_ref().unwrap();
        assert_eq!(headers[AUTHORIZATION], "Bearer sk-canary");
        assert_eq!(entity.unary.uri, "http://h:1/v1/chat/completions");
        assert_eq!(entity.timeouts.idle, Duration::from_millis(7));
        assert_eq!(entity.weight, 100);
        assert!(!format!("{compiled:?}").contains("sk-canary"));
    }

    #[test]
    fn a_missing_secret_leaves_the_endpoint_standing() {
        let compiled = compiled(None).unwrap();
        assert_eq!(compiled.missing.len(), 1);
        assert!(compiled.endpoint.entities[0].streaming.headers.is_err());
    }

    #[test]
    fn a_secret_that_no_header_can_carry_is_refused_without_showing_it() {
        let error = compiled(Some("sk-\u{7f}canary")).unwrap_err().to_string();
        assert!(error.contains("{{secrets/s/k}}") && !error.contains("canary"), "{error}");
    }

    #[test]
    fn entities_of_other_roles_have_other_marks() {
        let chain = |role: Option<&str>, profile: Option<&str>| {
            let credentials = AwsCredentials::Chain {
                role_arn: role.map(str::to_owned),
                instance_profile_arn: profile.map(str::to_owned),
                sts_endpoint: None,
            };
            let auth = Auth::SigV4(SigV4 { region: "r".into(), service: "s", credentials });
            let target = Target { url: "http://h".into(), auth, headers: Vec::new(), framing: Framing::Sse };
            mark("p", "m", &target)
        };
        let marks = [
            chain(None, None),
            chain(Some("arn:a"), None),
            chain(Some("arn:b"), None),
            chain(None, Some("arn:a")),
        ];
        let distinct: std::collections::BTreeSet<_> = marks.iter().collect();
        assert_eq!(distinct.len(), marks.len(), "{marks:?}");
        assert_eq!(marks[1], chain(Some("arn:a"), None));
    }
}
