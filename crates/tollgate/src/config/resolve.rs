//! From file and environment to one value a key, each with its origin.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};
use zeroize::Zeroizing;

use super::ConfigProblem;
use super::keys::{self, Key, Kind};

/// The variables that concern us, as they were at the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub(crate) fn of_process() -> Self {
        let utf8 =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        // Those without `__` are no keys of ours, and TOLLGATE_MASTER_KEY is to be in no map that is printed.
        let ours = |name: &str| name.starts_with("TOLLGATE_") && name.contains("__");
        let foreign: Vec<&str> = keys::all().iter().flat_map(|k| k.foreign).copied().collect();
        Self(utf8.filter(|(name, _)| ours(name) || foreign.contains(&name.as_str())).collect())
    }

    #[cfg(test)]
    pub(super) fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }
}

/// The server that commands talk to, in the variables that Databricks' own tools read.
pub(crate) struct Login {
    pub(crate) host: Option<String>,
    pub(crate) token: Option<Zeroizing<String>>,
}

impl Login {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub(crate) fn of_process() -> Self {
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self { host: read("DATABRICKS_HOST"), token: read("DATABRICKS_TOKEN").map(Zeroizing::new) }
    }
}

/// The master key of `keys.source = env`, and the one it is to be changed to.
pub(crate) struct MasterKeyTexts {
    pub(crate) current: Option<Zeroizing<String>>,
    pub(crate) next: Option<Zeroizing<String>>,
}

impl MasterKeyTexts {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub(crate) fn of_process() -> Self {
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty()).map(Zeroizing::new);
        Self { current: read("TOLLGATE_MASTER_KEY"), next: read("TOLLGATE_MASTER_KEY_NEXT") }
    }
}

/// Every key with its value and where that is from.
#[derive(Debug)]
pub(crate) struct Resolved {
    entries: BTreeMap<String, Entry>,
    /// What is wrong with other programs' variables, by the keys that would have their values.
    misread: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Entry {
    /// A list is kept as its items.
    value: Vec<String>,
    origin: String,
}

impl Entry {
    fn default_of(key: &Key) -> Self {
        Self { value: vec![key.default.to_owned()], origin: "default".to_owned() }
    }
}

impl Resolved {
    pub(crate) fn load(file: Option<&Path>, environment: &Environment) -> Result<Self, ConfigProblem> {
        let Some(path) = file else { return Self::parse(None, environment) };
        let name = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|e| ConfigProblem(format!("cannot read {name}: {e}")))?;
        Self::parse(Some((&name, &text)), environment)
    }

    pub(super) fn parse(
        file: Option<(&str, &str)>,
        environment: &Environment,
    ) -> Result<Self, ConfigProblem> {
        let keys = keys::all();
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        if let Some((name, text)) = file {
            let table: Table =
                text.parse().map_err(|e: toml::de::Error| ConfigProblem(format!("{name}: {e}")))?;
            let mut found = Vec::new();
            flatten("", &table, &mut found);
            for (path, value) in found {
                let key = find(&keys, &path, &format!("{name}: {path}"))?;
                let value = of_toml(key, value).map_err(|e| ConfigProblem(format!("{name}: {path} {e}")))?;
                entries.insert(path, Entry { value, origin: name.to_owned() });
            }
        }
        for (variable, text) in &environment.0 {
            // Without `__` it is no key of ours: Kubernetes makes variables such as TOLLGATE_PORT.
            if !variable.starts_with("TOLLGATE_") || !variable.contains("__") {
                continue;
            }
            let key = of_variable(&keys, variable)?;
            let value = of_text(key, text).map_err(|e| ConfigProblem(format!("{variable} {e}")))?;
            entries.insert(key.path.clone(), Entry { value, origin: variable.clone() });
        }
        let mut misread = BTreeMap::new();
        for key in &keys {
            if entries.contains_key(&key.path) {
                continue;
            }
            let entry = initial(key, environment).unwrap_or_else(|problem| {
                misread.insert(key.path.clone(), problem.0);
                Entry::default_of(key)
            });
            entries.insert(key.path.clone(), entry);
        }
        Ok(Self { entries, misread })
    }

    fn entry(&self, path: &str) -> &[String] {
        self.entries.get(path).map_or(&[], |e| e.value.as_slice())
    }

    pub(super) fn text(&self, path: &str) -> &str {
        self.entry(path).first().map_or("", String::as_str)
    }

    pub(super) fn optional(&self, path: &str) -> Option<&str> {
        Some(self.text(path)).filter(|text| !text.is_empty())
    }

    pub(super) fn flag(&self, path: &str) -> bool {
        self.text(path) == "true"
    }

    /// Checked when it was read.
    pub(super) fn integer(&self, path: &str) -> u64 {
        self.text(path).parse().unwrap_or_default()
    }

    pub(super) fn list(&self, path: &str) -> Vec<String> {
        self.entry(path).iter().filter(|item| !item.is_empty()).cloned().collect()
    }

    /// A problem with a value, saying where it was set.
    pub(super) fn problem(&self, path: &str, reason: &str) -> ConfigProblem {
        let origin = self.entries.get(path).map_or("", |e| e.origin.as_str());
        let value = self.entry(path).join(", ");
        ConfigProblem(format!("{path} = {value:?} ({origin}): {reason}"))
    }

    /// Errors when another program's variable, which counts for a key that `concerns` us, cannot be read. One
    /// that concerns nobody may be as it likes: it was not set for us.
    pub(super) fn check_foreign(&self, concerns: impl Fn(&str) -> bool) -> Result<(), ConfigProblem> {
        match self.misread.iter().find(|(path, _)| concerns(path)) {
            Some((_, problem)) => Err(ConfigProblem(problem.clone())),
            None => Ok(()),
        }
    }

    /// The same without the value, which may hold a secret.
    pub(super) fn secret_problem(&self, path: &str, reason: &str) -> ConfigProblem {
        let origin = self.entries.get(path).map_or("", |e| e.origin.as_str());
        ConfigProblem(format!("{path} ({origin}): {reason}"))
    }

    /// Key, value, origin. Of options of a store the names alone: who runs it may have put a secret there.
    pub(crate) fn rows(&self) -> Vec<[String; 3]> {
        let shown = |path: &str, item: &String| match (path, item.split_once('=')) {
            (keys::TABLES_OPTIONS, Some((name, _))) => format!("{name}=…"),
            _ => item.clone(),
        };
        let row = |(path, entry): (&String, &Entry)| {
            let value: Vec<String> = entry.value.iter().map(|item| shown(path, item)).collect();
            [path.clone(), value.join(", "), entry.origin.clone()]
        };
        self.entries.iter().map(row).collect()
    }
}

/// The value of a key that is set nowhere: that of the provider's own tools, else the default.
fn initial(key: &Key, environment: &Environment) -> Result<Entry, ConfigProblem> {
    let set = |name: &&&str| environment.0.get(**name).filter(|value| !value.trim().is_empty());
    let Some((name, text)) = key.foreign.iter().find_map(|name| Some((*name, set(&name)?))) else {
        return Ok(Entry::default_of(key));
    };
    let value = of_text(key, text).map_err(|e| ConfigProblem(format!("{name} {e}")))?;
    Ok(Entry { value, origin: name.to_owned() })
}

/// Dotted paths of all values.
fn flatten<'t>(prefix: &str, table: &'t Table, out: &mut Vec<(String, &'t Value)>) {
    for (name, value) in table {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => flatten(&path, inner, out),
            _ => out.push((path, value)),
        }
    }
}

fn find<'k>(keys: &'k [Key], path: &str, place: &str) -> Result<&'k Key, ConfigProblem> {
    keys.iter().find(|k| k.path == path).ok_or_else(|| {
        let near = providers::nearest(path, keys.iter().map(|k| k.path.as_str()));
        let hint = near
            .map_or_else(|| "see docs/configuration.md".to_owned(), |near| format!("did you mean {near}?"));
        ConfigProblem(format!("{place}: unknown key, {hint}"))
    })
}

fn of_variable<'k>(keys: &'k [Key], variable: &str) -> Result<&'k Key, ConfigProblem> {
    let names: Vec<String> = keys.iter().map(|k| keys::variable(&k.path).to_lowercase()).collect();
    let wanted = variable.to_lowercase();
    if let Some(at) = names.iter().position(|name| *name == wanted) {
        return Ok(&keys[at]);
    }
    let near = providers::nearest(&wanted, names.iter().map(String::as_str));
    let hint = near.map_or_else(
        || "see docs/configuration.md".to_owned(),
        |near| format!("did you mean {}?", near.to_uppercase()),
    );
    Err(ConfigProblem(format!("{variable}: unknown key, {hint}")))
}

fn of_toml(key: &Key, value: &Value) -> Result<Vec<String>, String> {
    match (key.kind, value) {
        (Kind::List, Value::Array(items)) => items
            .iter()
            .map(|item| {
                item.as_str().map(str::to_owned).ok_or_else(|| "must be a list of strings".to_owned())
            })
            .collect(),
        (Kind::Text | Kind::Choice(_) | Kind::List, Value::String(text)) => of_text(key, text),
        (Kind::Flag, Value::Boolean(flag)) => Ok(vec![flag.to_string()]),
        (Kind::Integer(..), Value::Integer(number)) => of_text(key, &number.to_string()),
        (kind, other) => Err(format!("must be {}, not {}", expectation(kind), other.type_str())),
    }
}

fn of_text(key: &Key, text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    let wrong = || format!("= {text:?} must be {}", expectation(key.kind));
    match key.kind {
        Kind::Text => Ok(vec![text.to_owned()]),
        // OpenTelemetry's variables, for one, may be written `True`.
        Kind::Flag => match text.to_lowercase().as_str() {
            "true" | "1" => Ok(vec!["true".to_owned()]),
            "false" | "0" => Ok(vec!["false".to_owned()]),
            _ => Err(wrong()),
        },
        Kind::Integer(low, high) => match text.parse::<u64>() {
            Ok(number) if (low..=high).contains(&number) => Ok(vec![number.to_string()]),
            _ => Err(wrong()),
        },
        Kind::Choice(choices) => {
            let lower = text.to_lowercase();
            if choices.contains(&lower.as_str()) { Ok(vec![lower]) } else { Err(wrong()) }
        }
        Kind::List => {
            let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
            // An address in brackets with a port is no list.
            let inner = if text.starts_with("[:") { text } else { inner };
            let items = inner.split([',', ' ']).map(|item| item.trim().trim_matches(['"', '\'']));
            Ok(items.filter(|item| !item.is_empty()).map(str::to_owned).collect())
        }
    }
}

fn expectation(kind: Kind) -> String {
    match kind {
        Kind::Text => "a string".to_owned(),
        Kind::Flag => "true or false".to_owned(),
        Kind::Integer(low, high) => format!("a whole number from {low} to {high}"),
        Kind::Choice(choices) => format!("one of {}", choices.join(", ")),
        Kind::List => "a list of strings".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str, environment: &[(&str, &str)]) -> String {
        Resolved::parse(Some(("t.toml", text)), &Environment::of(environment)).unwrap_err().to_string()
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        assert_eq!(
            problem("[server]\nlisen = \"x\"", &[]),
            "t.toml: server.lisen: unknown key, did you mean server.listen?"
        );
        assert_eq!(
            problem("", &[("TOLLGATE_SERVER__LISEN", "x")]),
            "TOLLGATE_SERVER__LISEN: unknown key, did you mean TOLLGATE_SERVER__LISTEN?"
        );
        assert!(
            problem("[providers.antropic]\nbase_url = \"x\"", &[]).contains("providers.anthropic.base_url")
        );
    }

    #[test]
    fn wrong_types_say_what_is_right() {
        assert!(
            problem("[server]\ndrain_seconds = \"x\"", &[]).contains("must be a whole number from 0 to 3600")
        );
        assert!(
            problem("", &[("TOLLGATE_LOG__LEVEL", "loud")])
                .contains("one of error, warn, info, debug, trace")
        );
        assert!(problem("[server]\nallow_plain_http = 1", &[]).contains("true or false"));
        assert!(problem("oops", &[]).contains("t.toml"));
    }

    #[test]
    fn variables_of_kubernetes_are_not_ours() {
        let environment =
            Environment::of(&[("TOLLGATE_PORT", "tcp://10.0.0.1:80"), ("TOLLGATE_SERVICE_HOST", "10.0.0.1")]);
        assert!(Resolved::parse(None, &environment).is_ok());
    }

    #[test]
    fn origins_are_kept() {
        let environment = Environment::of(&[("TOLLGATE_LOG__LEVEL", "WARN")]);
        let resolved = Resolved::parse(Some(("t.toml", "[server]\ndata = \"d\"")), &environment).unwrap();
        let row = |key: &str| resolved.rows().into_iter().find(|r| r[0] == key).unwrap();
        assert_eq!(row("log.level")[1..], ["warn", "TOLLGATE_LOG__LEVEL"]);
        assert_eq!(row("server.data")[1..], ["d", "t.toml"]);
        assert_eq!(row("server.drain_seconds")[1..], ["30", "default"]);
    }

    #[test]
    fn lists_are_read_from_text() {
        let read = |text: &str| {
            of_text(&keys::all().into_iter().find(|k| k.path == "egress.allow").unwrap(), text).unwrap()
        };
        assert_eq!(read("127.0.0.1, 10.0.0.0/8"), ["127.0.0.1", "10.0.0.0/8"]);
        assert_eq!(read(r#"["127.0.0.1", "::1"]"#), ["127.0.0.1", "::1"]);
        assert_eq!(read("[::1]:80"), ["[::1]:80"]);
        assert!(read("").is_empty());
    }
}
