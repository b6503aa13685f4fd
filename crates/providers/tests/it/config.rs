//! Config blocks: what is read, what is refused, and that no secret value gets through.

use serde_json::Value;
use tollgate_providers::fields::{Kind, lookup, take_plaintexts};
use tollgate_providers::provider::Defaults;
use tollgate_providers::{ConfigError, Provider, SecretRef, Task};
use wire::Object;

use crate::kit::{Subject, subjects};

const LITERAL: &str = "sk-live-6Jx0tQvLh2";

fn build(subject: &Subject, config: &Object) -> Result<Box<dyn Provider>, ConfigError> {
    (subject.registration.build)(config, &Defaults::default())
}

/// The object that holds the field at `path`, and the field's own name.
fn holder<'a>(config: &'a mut Object, path: &'static str) -> (&'a mut Object, &'static str) {
    match path.split_once('.') {
        None => (config, path),
        Some((outer, inner)) => {
            let holder = config.entry(outer).or_insert_with(|| Value::Object(Object::new()));
            (holder.as_object_mut().unwrap(), inner)
        }
    }
}

/// The paths of the secrets that the minimal block has.
fn secrets(subject: &Subject) -> Vec<&'static str> {
    let fields = subject.registration.fields.iter().filter(|f| f.kind == Kind::Secret);
    fields.map(|f| f.path).filter(|path| lookup(&subject.setup.config, path).is_some()).collect()
}

#[test]
fn the_minimal_block_says_where_to_send() {
    for subject in subjects() {
        assert!(!secrets(&subject).is_empty(), "{}: a provider without a secret", subject.name());
        for &task in subject.registration.tasks {
            for stream in [false, true] {
                let target = subject.provider.target(subject.setup.model_for(task), task, stream);
                assert!(target.url.starts_with("https://"), "{}: {}", subject.name(), target.url);
                assert!(!target.auth.secrets().is_empty(), "{}", subject.name());
                let lower = |name: &str| name.bytes().all(|b| !b.is_ascii_uppercase());
                assert!(target.headers.iter().all(|(name, _)| lower(name)), "{target:?}");
            }
        }
    }
}

#[test]
fn names_are_unique() {
    for (at, one) in subjects().iter().enumerate() {
        for other in subjects().iter().skip(at + 1) {
            assert_ne!(one.registration.name, other.registration.name);
            assert_ne!(one.registration.config_field, other.registration.config_field);
        }
    }
}

#[test]
fn an_unknown_field_is_refused_naming_the_nearest() {
    for subject in subjects() {
        for field in subject.registration.fields {
            let mut config = subject.setup.config.clone();
            let (holder, name) = holder(&mut config, field.path);
            holder.insert(format!("{name}s"), "x".into());
            let error = build(&subject, &config).unwrap_err();
            assert_eq!(error.field, format!("{}s", field.path));
            assert_eq!(error.reason, format!("unknown field, did you mean {}?", field.path));
        }
        let mut config = subject.setup.config.clone();
        config.insert("qqqq".to_owned(), "x".into());
        assert_eq!(build(&subject, &config).unwrap_err().reason, "unknown field");
    }
}

#[test]
fn a_missing_key_is_refused() {
    for subject in subjects() {
        assert!(build(&subject, &Object::new()).is_err(), "{}", subject.name());
        for path in secrets(&subject) {
            for nothing in [None, Some(Value::Null), Some("".into()), Some("  ".into())] {
                let mut config = subject.setup.config.clone();
                let (holder, name) = holder(&mut config, path);
                holder.shift_remove(name);
                holder.extend(nothing.map(|v| (name.to_owned(), v)));
                let error = build(&subject, &config).unwrap_err();
                assert_eq!(error.field, path);
                assert!(error.reason.contains(&format!("{path}_plaintext")), "{error}");
            }
        }
    }
}

#[test]
fn a_literal_key_is_refused_and_not_repeated() {
    for subject in subjects() {
        for path in secrets(&subject) {
            for wrong in [LITERAL.into(), Value::from(vec![LITERAL]), serde_json::json!({"value": [LITERAL]})]
            {
                let mut config = subject.setup.config.clone();
                let (holder, name) = holder(&mut config, path);
                holder.insert(name.to_owned(), wrong);
                let error = build(&subject, &config).unwrap_err();
                assert!(error.field.starts_with(path), "{error}");
                assert!(!format!("{error} {error:?}").contains(LITERAL), "{error}");
            }
        }
    }
}

#[test]
fn a_value_that_was_sealed_is_nowhere_to_be_seen() {
    for subject in subjects() {
        let mut config = subject.setup.config.clone();
        for path in secrets(&subject) {
            let (holder, name) = holder(&mut config, path);
            holder.shift_remove(name);
            holder.insert(format!("{name}_plaintext"), LITERAL.into());
        }
        // The block may come here before it was sealed: that is refused, in silence about the value.
        let error = build(&subject, &config).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(LITERAL), "{error}");

        let mut sealed = Vec::new();
        take_plaintexts(&mut config, subject.registration.fields, |value| {
            sealed.push(value);
            SecretRef::Internal(sealed.len().to_string())
        })
        .unwrap();
        assert_eq!(sealed, vec![LITERAL; secrets(&subject).len()]);
        let provider = build(&subject, &config).unwrap();
        assert!(!format!("{config:?} {provider:?}").contains(LITERAL));
        for task in Task::ALL {
            let target = provider.target("m", task, true);
            assert!(!format!("{target:?}").contains(LITERAL));
            assert!(target.auth.secrets().iter().all(|s| matches!(s, SecretRef::Internal(_))), "{target:?}");
        }
    }
}

#[test]
fn the_servers_base_stands_in_where_it_may() {
    let defaults = Defaults::new([("base_url".to_owned(), "http://127.0.0.1:9/proxy/".to_owned())]);
    for subject in subjects() {
        let provider = (subject.registration.build)(&subject.setup.config, &defaults).unwrap();
        let url = provider.target("m", subject.registration.tasks[0], false).url;
        let replaced = url.starts_with("http://127.0.0.1:9/proxy/");
        let has_base_url = subject.registration.settings.iter().any(|s| s.key == "base_url");
        assert_eq!(replaced, has_base_url, "{}: {url}", subject.name());
    }
}
