//! Reads a config as an administrator sent it, refuses what cannot work, and fills in the defaults that
//! the API echoes. Every refusal has the path of the field and, where one is near, the right spelling.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use providers::provider::Defaults as ProviderDefaults;
use providers::{Provider, Registration, SecretRef, Task, nearest};
use serde_json::Value;
use wire::endpoint::{EndpointConfig, ExternalModel, Route, ServedEntity, TrafficConfig};

use super::{MAX_ENTITIES, params};
use crate::{guardrails, price};

/// The server's settings that a config is read with.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    pub providers: HashMap<String, ProviderDefaults>,
    pub timeouts: super::Timeouts,
    pub guardrails: Arc<guardrails::Settings>,
}

/// A field that cannot be, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub path: String,
    pub reason: String,
}

impl Invalid {
    fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// A config that is complete and consistent.
#[derive(Debug)]
pub struct Normalized {
    /// As it is stored and echoed.
    pub config: EndpointConfig,
    pub task: Task,
    /// Every secret that it names.
    pub secrets: Vec<SecretRef>,
}

/// Checks `config` and fills in entity names and the single route.
pub fn normalize(mut config: EndpointConfig, defaults: &Defaults) -> Result<Normalized, Invalid> {
    let count = config.served_entities.len();
    if count == 0 {
        return Err(Invalid::new("config.served_entities", "needs at least one served entity"));
    }
    if count > MAX_ENTITIES {
        return Err(Invalid::new(
            "config.served_entities",
            format!("has {count} entities, at most {MAX_ENTITIES} are allowed"),
        ));
    }
    let mut secrets = Vec::new();
    let mut tasks = Vec::with_capacity(count);
    for (at, entity) in config.served_entities.iter_mut().enumerate() {
        let path = format!("config.served_entities[{at}]");
        let (task, provider) = read_entity(&path, entity, defaults)?;
        secrets.extend(provider.target(&model_name(entity), task, false).auth.secrets().into_iter().cloned());
        tasks.push(task);
    }
    let task = one_task(&tasks)?;
    let names = unique_names(&config.served_entities)?;
    config.traffic_config = Some(traffic(config.traffic_config.take(), &names)?);
    secrets.sort();
    secrets.dedup();
    Ok(Normalized { config, task, secrets })
}

fn read_entity(
    path: &str,
    entity: &mut ServedEntity,
    defaults: &Defaults,
) -> Result<(Task, Box<dyn Provider>), Invalid> {
    let Some(model) = &mut entity.external_model else {
        let reason = match &entity.entity_name {
            Some(name) => format!("{name:?} is no external model; this server serves external models only"),
            None => "is required".to_owned(),
        };
        return Err(Invalid::new(format!("{path}.external_model"), reason));
    };
    if entity.entity_name.is_some() {
        return Err(Invalid::new(format!("{path}.entity_name"), "cannot stand beside external_model"));
    }
    check_timeouts(path, entity.timeouts)?;
    if let Some(rates) = &entity.price_per_million_tokens {
        let invalid =
            |(kind, reason)| Invalid::new(format!("{path}.price_per_million_tokens.{kind}"), reason);
        price::check(rates).map_err(invalid)?;
    }
    let path = format!("{path}.external_model");
    if model.name.trim().is_empty() {
        return Err(Invalid::new(format!("{path}.name"), "is required"));
    }
    let registration = find_provider(&path, model)?;
    if registration.tasks.is_empty() {
        return Err(retired(&path, registration));
    }
    let task = find_task(&path, model, registration)?;
    params::check(&path, model, task)?;
    let provider = build(&path, model, registration, defaults)?;
    if provider.codec(&model.name, task).is_none() {
        let (model, task) = (&model.name, task.as_str());
        let reason = format!("provider {:?} does not serve {task:?} with {model:?}", registration.name);
        return Err(Invalid::new(format!("{path}.task"), reason));
    }
    let name = entity.name.get_or_insert_with(|| default_name(&model.name));
    check_name(&path.replace(".external_model", ".name"), name)?;
    Ok((task, provider))
}

fn model_name(entity: &ServedEntity) -> String {
    entity.external_model.as_ref().map(|model| model.name.clone()).unwrap_or_default()
}

fn find_provider(path: &str, model: &ExternalModel) -> Result<&'static Registration, Invalid> {
    let path = format!("{path}.provider");
    if model.provider.is_empty() {
        return Err(Invalid::new(path, "is required"));
    }
    providers::find(&model.provider).ok_or_else(|| {
        let known = || providers::ALL.iter().map(|r| r.name);
        let hint = match nearest(&model.provider, known()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("known are {}", known().collect::<Vec<_>>().join(", ")),
        };
        Invalid::new(path, format!("unknown provider {:?}, {hint}", model.provider))
    })
}

/// A provider that serves no task any more says what to use instead.
fn retired(path: &str, registration: &Registration) -> Invalid {
    let said = (registration.build)(&wire::Object::new(), &ProviderDefaults::default()).err();
    let reason = said.map_or_else(|| "serves no task any more".to_owned(), |error| error.reason);
    Invalid::new(format!("{path}.provider"), format!("{:?}: {reason}", registration.name))
}

fn find_task(path: &str, model: &ExternalModel, registration: &Registration) -> Result<Task, Invalid> {
    let path = format!("{path}.task");
    let Some(task) = Task::parse(&model.task) else {
        let known = || Task::ALL.iter().map(|t| t.as_str());
        let ending = known().find(|task| task.rsplit('/').next() == Some(model.task.as_str()));
        let hint = match ending.or_else(|| nearest(&model.task, known())) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("known are {}", known().collect::<Vec<_>>().join(", ")),
        };
        return Err(Invalid::new(path, format!("unknown task {:?}, {hint}", model.task)));
    };
    if !registration.tasks.contains(&task) {
        let serves: Vec<&str> = registration.tasks.iter().map(|t| t.as_str()).collect();
        let reason = format!(
            "provider {:?} does not serve {:?}, only {}",
            registration.name,
            model.task,
            serves.join(", ")
        );
        return Err(Invalid::new(path, reason));
    }
    Ok(task)
}

fn build(
    path: &str,
    model: &mut ExternalModel,
    registration: &Registration,
    defaults: &Defaults,
) -> Result<Box<dyn Provider>, Invalid> {
    let field = registration.config_field;
    let foreign =
        model.config.keys().find(|k| *k != field && providers::ALL.iter().any(|r| r.config_field == *k));
    if let Some(foreign) = foreign {
        let reason = format!("does not go with provider {:?}, whose block is {field}", registration.name);
        return Err(Invalid::new(format!("{path}.{foreign}"), reason));
    }
    let misspelt = model.config.keys().find(|key| *key != field && nearest(key, [field]).is_some()).cloned();
    // Fields of a newer schema are accepted and not kept.
    model.config.retain(|key, _| key == field);
    let Some(Value::Object(block)) = model.config.get(field) else {
        let hint = misspelt.map_or_else(String::new, |key| format!("; {key:?} is not its name"));
        let reason = format!("is required for provider {:?}{hint}", registration.name);
        return Err(Invalid::new(format!("{path}.{field}"), reason));
    };
    let none = ProviderDefaults::default();
    let provider_defaults = defaults.providers.get(registration.name).unwrap_or(&none);
    (registration.build)(block, provider_defaults).map_err(|error| {
        let path = if error.field.is_empty() {
            format!("{path}.{field}")
        } else {
            format!("{path}.{field}.{}", error.field)
        };
        Invalid::new(path, error.reason)
    })
}

fn check_timeouts(path: &str, timeouts: Option<wire::endpoint::Timeouts>) -> Result<(), Invalid> {
    let Some(t) = timeouts else { return Ok(()) };
    for (name, value) in
        [("connect_ms", t.connect_ms), ("first_byte_ms", t.first_byte_ms), ("idle_ms", t.idle_ms)]
    {
        if value.is_some_and(|v| !(1..=3_600_000).contains(&v)) {
            return Err(Invalid::new(
                format!("{path}.timeouts.{name}"),
                "must be between 1 and 3600000 milliseconds",
            ));
        }
    }
    Ok(())
}

/// The name that the real service gives an entity without one.
fn default_name(model: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    model.chars().map(|c| if legal(c) { c } else { '-' }).take(63).collect()
}

fn check_name(path: &str, name: &str) -> Result<(), Invalid> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if (1..=63).contains(&name.len()) && name.bytes().all(legal) {
        return Ok(());
    }
    Err(Invalid::new(path, format!("{name:?} must be 1 to 63 letters, digits, `-` or `_`")))
}

fn one_task(tasks: &[Task]) -> Result<Task, Invalid> {
    let first = tasks[0];
    match tasks.iter().position(|t| *t != first) {
        None => Ok(first),
        Some(at) => {
            let reason = format!(
                "is {:?} while the first entity's is {:?}: one endpoint has one task",
                tasks[at].as_str(),
                first.as_str()
            );
            Err(Invalid::new(format!("config.served_entities[{at}].external_model.task"), reason))
        }
    }
}

fn unique_names(entities: &[ServedEntity]) -> Result<Vec<String>, Invalid> {
    let mut seen = HashSet::new();
    let mut names = Vec::with_capacity(entities.len());
    for (at, entity) in entities.iter().enumerate() {
        let name = entity.name.clone().unwrap_or_default();
        if !seen.insert(name.clone()) {
            let reason = format!("{name:?} is the name of two entities, give each its own");
            return Err(Invalid::new(format!("config.served_entities[{at}].name"), reason));
        }
        names.push(name);
    }
    Ok(names)
}

fn traffic(given: Option<TrafficConfig>, names: &[String]) -> Result<TrafficConfig, Invalid> {
    let routes = given.map(|t| t.routes).unwrap_or_default();
    if routes.is_empty() {
        return match names {
            [only] => Ok(TrafficConfig { routes: vec![route(only, 100)] }),
            _ => Err(Invalid::new("config.traffic_config", "is required for more than one served entity")),
        };
    }
    let mut seen = HashSet::new();
    let mut out = Vec::with_capacity(routes.len());
    for (at, given) in routes.iter().enumerate() {
        let path = format!("config.traffic_config.routes[{at}]");
        check_route(&path, given, names)?;
        if !seen.insert(given.entity()) {
            return Err(Invalid::new(path, format!("{:?} has two routes", given.entity())));
        }
        out.push(route(given.entity(), given.traffic_percentage));
    }
    let sum: i64 = out.iter().map(|r| r.traffic_percentage).sum();
    if sum != 100 {
        return Err(Invalid::new(
            "config.traffic_config.routes",
            format!("the percentages add up to {sum}, not to 100"),
        ));
    }
    Ok(TrafficConfig { routes: out })
}

fn check_route(path: &str, given: &Route, names: &[String]) -> Result<(), Invalid> {
    if let (Some(entity), Some(model)) = (&given.served_entity_name, &given.served_model_name)
        && entity != model
    {
        return Err(Invalid::new(
            path,
            format!("served_entity_name {entity:?} and served_model_name {model:?} differ"),
        ));
    }
    if !names.iter().any(|n| n == given.entity()) {
        let near = nearest(given.entity(), names.iter().map(String::as_str));
        let hint = near.map_or_else(String::new, |near| format!(", did you mean {near:?}?"));
        let reason = format!("no served entity is named {:?}{hint}", given.entity());
        return Err(Invalid::new(format!("{path}.served_entity_name"), reason));
    }
    if !(0..=100).contains(&given.traffic_percentage) {
        let reason = format!("{} is not between 0 and 100", given.traffic_percentage);
        return Err(Invalid::new(format!("{path}.traffic_percentage"), reason));
    }
    Ok(())
}

fn route(entity: &str, percentage: i64) -> Route {
    Route {
        served_entity_name: Some(entity.to_owned()),
        served_model_name: Some(entity.to_owned()),
        traffic_percentage: percentage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entity(name: &str) -> Value {
        json!({"name": name, "external_model": {"name": "gpt-4.1:x", "provider": "openai", "task": "llm/v1/chat",
            "openai_config": {"openai_api_key": "{{secrets/s/k}}"}}})
    }

    fn read(config: Value) -> Result<Normalized, Invalid> {
        normalize(serde_json::from_value(config).unwrap(), &Defaults::default())
    }

    fn refusal(config: Value) -> String {
        read(config).unwrap_err().to_string()
    }

    #[test]
    fn fills_in_name_and_route() {
        let mut one = entity("x");
        one.as_object_mut().unwrap().remove("name");
        let normalized = read(json!({"served_entities": [one]})).unwrap();
        let config = serde_json::to_value(&normalized.config).unwrap();
        assert_eq!(config["served_entities"][0]["name"], "gpt-4-1-x");
        let route = json!({"served_entity_name": "gpt-4-1-x", "served_model_name": "gpt-4-1-x", "traffic_percentage": 100});
        assert_eq!(config["traffic_config"]["routes"], json!([route]));
        assert_eq!(normalized.secrets, [SecretRef::parse("{{secrets/s/k}}").unwrap()]);
    }

    #[test]
    fn names_the_field_and_the_nearest_spelling() {
        let mut wrong = entity("a");
        wrong["external_model"]["provider"] = "opnai".into();
        assert_eq!(
            refusal(json!({"served_entities": [wrong]})),
            "config.served_entities[0].external_model.provider: unknown provider \"opnai\", did you mean \"openai\"?"
        );
        let mut wrong = entity("a");
        wrong["external_model"]["task"] = "llm/v1/chats".into();
        assert!(refusal(json!({"served_entities": [wrong]})).contains("did you mean \"llm/v1/chat\"?"));
        let mut wrong = entity("a");
        wrong["external_model"]["task"] = "chat".into();
        assert!(refusal(json!({"served_entities": [wrong]})).contains("did you mean \"llm/v1/chat\"?"));
        let mut wrong = entity("a");
        let block = wrong["external_model"].as_object_mut().unwrap().remove("openai_config").unwrap();
        wrong["external_model"]["openai_conf"] = block;
        let refused = refusal(json!({"served_entities": [wrong]}));
        assert!(refused.ends_with("provider \"openai\"; \"openai_conf\" is not its name"), "{refused}");
        let mut wrong = entity("a");
        wrong["external_model"]["openai_config"]["openai_apikey"] = "x".into();
        assert!(refusal(json!({"served_entities": [wrong]})).contains(
            "external_model.openai_config.openai_apikey: unknown field, did you mean openai_api_key?"
        ));
    }

    #[test]
    fn a_provider_that_is_gone_says_what_to_use_instead() {
        let gone: Vec<_> = providers::ALL.iter().filter(|r| r.tasks.is_empty()).collect();
        assert!(!gone.is_empty());
        for registration in gone {
            let mut one = entity("a");
            one["external_model"]["provider"] = registration.name.into();
            let refusal = refusal(json!({"served_entities": [one]}));
            let place = "config.served_entities[0].external_model.provider: ";
            assert!(refusal.starts_with(place) && refusal.contains("use provider"), "{refusal}");
        }
    }

    #[test]
    fn traffic_must_add_up_over_known_entities() {
        let routes = |a: i64, b: i64, other: &str| {
            json!({"served_entities": [entity("a"), entity("b")], "traffic_config": {"routes": [
                {"served_model_name": "a", "traffic_percentage": a}, {"served_entity_name": other, "traffic_percentage": b}]}})
        };
        assert!(read(routes(100, 0, "b")).is_ok());
        assert!(refusal(routes(60, 60, "b")).contains("add up to 120"));
        assert!(refusal(routes(50, 50, "bb")).contains("did you mean \"b\"?"));
        assert!(refusal(routes(150, -50, "b")).contains("not between 0 and 100"));
        assert!(refusal(routes(50, 50, "a")).contains("two routes"));
        assert!(
            refusal(json!({"served_entities": [entity("a"), entity("b")]}))
                .contains("traffic_config: is required")
        );
    }

    #[test]
    fn default_parameters_are_kept_and_checked() {
        let mut one = entity("a");
        one["external_model"]["default_params"] = json!({"max_tokens": 9});
        let normalized = read(json!({"served_entities": [one.clone()]})).unwrap();
        let config = serde_json::to_value(&normalized.config).unwrap();
        assert_eq!(
            config["served_entities"][0]["external_model"]["default_params"],
            json!({"max_tokens": 9})
        );
        one["external_model"]["default_params"] = json!({"max_token": 9});
        assert_eq!(
            refusal(json!({"served_entities": [one]})),
            "config.served_entities[0].external_model.default_params.max_token: unknown parameter, did you mean max_tokens?"
        );
    }

    #[test]
    fn refuses_mixtures() {
        let mut embeddings = entity("b");
        embeddings["external_model"]["task"] = "llm/v1/embeddings".into();
        let routes = json!({"routes": [{"served_model_name": "a", "traffic_percentage": 100}]});
        let mixed = json!({"served_entities": [entity("a"), embeddings], "traffic_config": routes});
        assert!(refusal(mixed).contains("one endpoint has one task"));
        let twice = json!({"served_entities": [entity("a"), entity("a")], "traffic_config": routes});
        assert!(refusal(twice).contains("is the name of two entities"));
        let custom = json!({"served_entities": [{"entity_name": "main.default.m", "entity_version": "1"}]});
        assert!(refusal(custom).contains("external models only"));
        assert!(refusal(json!({"served_entities": []})).contains("at least one"));
    }
}
