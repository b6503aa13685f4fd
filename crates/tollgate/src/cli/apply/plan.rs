//! What must be done so that the server is as the files say. Fields that a file leaves out are left alone.

use http::Method;
use serde_json::{Map, Value, json};

use super::api::Api;
use super::files::Wanted;

const ENDPOINTS: &str = "/api/2.0/serving-endpoints";

/// One call.
#[derive(Debug, PartialEq)]
pub(super) struct Step {
    pub(super) action: &'static str,
    /// The kind and name of the object.
    pub(super) on: String,
    /// Paths that change.
    pub(super) what: Vec<String>,
    pub(super) method: Method,
    pub(super) path: Path,
    pub(super) body: Value,
}

#[derive(Debug, PartialEq)]
pub(super) enum Path {
    Fixed(String),
    /// Permissions are addressed by the endpoint's id, which a new one does not have yet.
    Permissions {
        endpoint: String,
    },
}

pub(super) async fn make(api: &Api, wanted: &Wanted) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    let scopes = api.get("/api/2.0/secrets/scopes/list").await?.unwrap_or_default();
    for scope in &wanted.scopes {
        plan_scope(api, &scopes, scope, &mut steps).await?;
    }
    for endpoint in &wanted.endpoints {
        let name = text(endpoint, "name");
        let current = api.get(&format!("{ENDPOINTS}/{name}")).await?;
        plan_endpoint(endpoint, current.as_ref(), &mut steps);
        if let Some(permissions) = endpoint.get("permissions") {
            let current = match current.as_ref().and_then(|c| c["id"].as_str()) {
                Some(id) => api.get(&format!("/api/2.0/permissions/serving-endpoints/{id}")).await?,
                None => None,
            };
            plan_permissions(&name, permissions, current.as_ref(), &mut steps);
        }
    }
    Ok(steps)
}

fn text(map: &Map<String, Value>, key: &str) -> String {
    map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

async fn plan_scope(
    api: &Api,
    scopes: &Value,
    scope: &Map<String, Value>,
    steps: &mut Vec<Step>,
) -> anyhow::Result<()> {
    let name = text(scope, "name");
    let on = format!("secret scope {name}");
    let is_there = scopes["scopes"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|s| s["name"].as_str().is_some_and(|n| n.eq_ignore_ascii_case(&name)));
    let step = |action, what: &str, path: &str, body| Step {
        action,
        on: on.clone(),
        what: vec![what.to_owned()],
        method: Method::POST,
        path: Path::Fixed(format!("/api/2.0/secrets/{path}")),
        body,
    };
    let mut acls = Value::Null;
    if is_there {
        acls = api.get(&format!("/api/2.0/secrets/acls/list?scope={name}")).await?.unwrap_or_default();
    } else {
        steps.push(step("create", "scope", "scopes/create", json!({"scope": name})));
    }
    for acl in scope.get("acls").and_then(Value::as_array).into_iter().flatten() {
        if !acls["items"].as_array().into_iter().flatten().any(|current| current == acl) {
            let body = json!({"scope": name, "principal": acl["principal"], "permission": acl["permission"]});
            steps.push(step("update", "acls", "acls/put", body));
        }
    }
    Ok(())
}

fn plan_endpoint(wanted: &Map<String, Value>, current: Option<&Value>, steps: &mut Vec<Step>) {
    let name = text(wanted, "name");
    let on = format!("endpoint {name}");
    let mut push = |action, what, method, path: &str, body| {
        let path = Path::Fixed(format!("{ENDPOINTS}{path}"));
        steps.push(Step { action, on: on.clone(), what, method, path, body });
    };
    let Some(current) = current else {
        let mut body = wanted.clone();
        body.remove("permissions");
        return push("create", vec!["endpoint".to_owned()], Method::POST, "", Value::Object(body));
    };
    // The last update that failed is tried again, though the config in force may be the wanted one.
    let in_force = match &current["pending_config"] {
        Value::Null => &current["config"],
        pending => pending,
    };
    if let Some(config) = wanted.get("config") {
        let mut what = differences("config", config, in_force);
        // It says how to update, not to what.
        what.retain(|path| path != "config.validate");
        if !what.is_empty() {
            push("update", what, Method::PUT, &format!("/{name}/config"), config.clone());
        }
    }
    if let Some(gateway) = wanted.get("ai_gateway") {
        // This block is replaced whole, so that what is there and not wanted is a difference too.
        let mut what = differences("ai_gateway", gateway, &current["ai_gateway"]);
        what.extend(differences("ai_gateway", &current["ai_gateway"], gateway));
        what.dedup();
        if !what.is_empty() {
            push("update", what, Method::PUT, &format!("/{name}/ai-gateway"), gateway.clone());
        }
    }
    if let Some(body) = wanted.get("tags").and_then(|tags| tag_changes(tags, &current["tags"])) {
        push("update", vec!["tags".to_owned()], Method::PATCH, &format!("/{name}/tags"), body);
    }
    if let Some(wanted) = wanted.get("email_notifications") {
        let what = differences("email_notifications", wanted, &current["email_notifications"]);
        if !what.is_empty() {
            let body = json!({"email_notifications": wanted});
            push("update", what, Method::PATCH, &format!("/{name}/notifications"), body);
        }
    }
}

fn tag_changes(wanted: &Value, current: &Value) -> Option<Value> {
    let tags = |value: &Value| -> Map<String, Value> {
        let tag =
            |t: &Value| Some((t["key"].as_str()?.to_owned(), t["value"].as_str().unwrap_or_default().into()));
        value.as_array().into_iter().flatten().filter_map(tag).collect()
    };
    let (wanted, current) = (tags(wanted), tags(current));
    let add: Vec<Value> = wanted
        .iter()
        .filter(|(key, value)| current.get(*key) != Some(*value))
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect();
    let delete: Vec<&String> = current.keys().filter(|key| !wanted.contains_key(*key)).collect();
    (!add.is_empty() || !delete.is_empty()).then(|| json!({"add_tags": add, "delete_tags": delete}))
}

fn plan_permissions(name: &str, wanted: &Value, current: Option<&Value>, steps: &mut Vec<Step>) {
    let principal = |entry: &Value| {
        let fields = ["user_name", "group_name", "service_principal_name"];
        fields.iter().find_map(|f| Some(((*f).to_owned(), entry[*f].as_str()?.to_owned())))
    };
    let level =
        |entry: &Value| entry.get("permission_level").or(entry.get("level")).cloned().unwrap_or_default();
    let entries: Vec<Value> = wanted
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let (field, name) = principal(entry)?;
            Some(json!({field: name, "permission_level": level(entry)}))
        })
        .collect();
    let has = |entry: &Value| {
        let acl = current.map(|c| &c["access_control_list"]).and_then(Value::as_array);
        acl.into_iter().flatten().any(|now| {
            let direct = now["all_permissions"].as_array().into_iter().flatten();
            principal(now) == principal(entry)
                && direct.clone().any(|p| p["inherited"] == false && p["permission_level"] == level(entry))
        })
    };
    if !entries.iter().all(has) {
        let path = Path::Permissions { endpoint: name.to_owned() };
        steps.push(Step {
            action: "update",
            on: format!("endpoint {name}"),
            what: vec!["permissions".to_owned()],
            method: Method::PATCH,
            path,
            body: json!({"access_control_list": entries}),
        });
    }
}

/// Paths at which `current` does not have what `wanted` says. What the server adds is no difference.
fn differences(path: &str, wanted: &Value, current: &Value) -> Vec<String> {
    match (wanted, current) {
        (Value::Object(wanted), Value::Object(current)) => wanted
            .iter()
            .filter(|(_, value)| !value.is_null())
            .flat_map(|(key, value)| {
                let now = current.get(key).unwrap_or(&Value::Null);
                differences(&format!("{path}.{key}"), value, now)
            })
            .collect(),
        (Value::Array(wanted), Value::Array(current)) if wanted.len() == current.len() => wanted
            .iter()
            .zip(current)
            .enumerate()
            .flat_map(|(at, (value, now))| differences(&format!("{path}[{at}]"), value, now))
            .collect(),
        _ if wanted == current => Vec::new(),
        _ => vec![path.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(wanted: Value, current: Option<Value>) -> Vec<(Method, Vec<String>)> {
        let mut steps = Vec::new();
        plan_endpoint(wanted.as_object().unwrap(), current.as_ref(), &mut steps);
        steps.into_iter().map(|s| (s.method, s.what)).collect()
    }

    #[test]
    fn only_what_differs_is_changed() {
        let entity = json!({"external_model": {"name": "m"}});
        let wanted = json!({"name": "e", "config": {"served_entities": [entity]}, "tags": [{"key": "a"}]});
        let shown = json!({"name": "m", "external_model": {"name": "m"}, "state": {}});
        let current = json!({"config": {"served_entities": [shown], "config_version": 3}, "tags": [{"key": "a", "value": ""}]});
        assert_eq!(planned(wanted.clone(), Some(current.clone())), []);
        assert_eq!(planned(wanted.clone(), None)[0].0, Method::POST);
        let mut other = current;
        other["config"]["served_entities"][0]["external_model"]["name"] = "n".into();
        other["tags"] = json!([{"key": "b", "value": ""}]);
        let steps = planned(wanted, Some(other));
        assert_eq!(steps[0].1, ["config.served_entities[0].external_model.name"]);
        assert_eq!(steps[1], (Method::PATCH, vec!["tags".to_owned()]));
    }

    #[test]
    fn notifications_are_kept_as_wanted() {
        let wanted = json!({"name": "e", "email_notifications": {"on_update_failure": ["a@b"]}});
        let before = json!({"email_notifications": {"on_update_failure": ["c@d"]}});
        let steps = planned(wanted.clone(), Some(before));
        assert_eq!(steps, [(Method::PATCH, vec!["email_notifications.on_update_failure[0]".to_owned()])]);
        assert_eq!(planned(wanted.clone(), Some(wanted)), []);
    }

    #[test]
    fn the_gateway_block_is_compared_whole() {
        let wanted = json!({"name": "e", "ai_gateway": {"fallback_config": {"enabled": true}}});
        let more =
            json!({"ai_gateway": {"fallback_config": {"enabled": true}, "rate_limits": [{"calls": 1}]}});
        assert_eq!(planned(wanted.clone(), Some(more))[0].1, ["ai_gateway.rate_limits"]);
        let same = json!({"ai_gateway": {"fallback_config": {"enabled": true}}});
        assert_eq!(planned(wanted, Some(same)), []);
    }
}
