//! `guardrails.*`: who judges, and what happens when nobody can.

use std::time::Duration;

use policy::guardrails::{JudgeSettings, Moderation, Presidio, Protocol, Settings};
use secrecy::SecretString;

use super::{ConfigProblem, Resolved};

pub(super) fn settings(values: &Resolved) -> Result<Settings, ConfigProblem> {
    let protocol =
        Protocol::ALL.into_iter().find(|(name, _)| *name == values.text("guardrails.judge.protocol"));
    let protocol = protocol.map_or(Protocol::LlamaGuard, |(_, protocol)| protocol);
    let judge = values.optional("guardrails.judge.endpoint");
    let uri = |key: &str| match values.optional(key) {
        None => Ok(None),
        // What stands before the @ may be a password: it must not come back in the message.
        Some(url) if url.contains('@') => {
            Err(values.secret_problem(key, "must be a URL without credentials in it"))
        }
        Some(url) if url.starts_with("https://") || url.starts_with("http://") => {
            url.parse().map(Some).map_err(|_| values.problem(key, "is no URL"))
        }
        Some(_) => Err(values.problem(key, "must begin with https:// or http://")),
    };
    let presidio = uri("guardrails.presidio.url")?.map(|uri| Presidio {
        uri,
        language: values.text("guardrails.presidio.language").to_owned(),
        least_score: values.integer("guardrails.presidio.least_score"),
    });
    let moderation = match uri("guardrails.moderation.url")? {
        None => None,
        Some(uri) => {
            let model = values.optional("guardrails.moderation.model").map(str::to_owned);
            Some(Moderation { uri, model, token: token(values)? })
        }
    };
    Ok(Settings {
        extended: values.flag("guardrails.extended_pii"),
        judge: judge.map(|endpoint| JudgeSettings { endpoint: endpoint.to_owned(), protocol }),
        topics: values.optional("guardrails.topics.endpoint").map(str::to_owned),
        moderation,
        presidio,
        timeout: Duration::from_millis(values.integer("guardrails.timeout_ms")),
        allow_on_failure: values.text("guardrails.on_failure") == "allow",
    })
}

fn token(values: &Resolved) -> Result<Option<SecretString>, ConfigProblem> {
    let key = "guardrails.moderation.token_file";
    let Some(file) = values.optional(key) else { return Ok(None) };
    let text =
        std::fs::read_to_string(file).map_err(|e| values.problem(key, &format!("cannot be read: {e}")))?;
    let token = text.trim();
    let legal = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if legal { Ok(Some(token.into())) } else { Err(values.problem(key, "holds no token")) }
}

#[cfg(test)]
mod tests {
    use super::super::Environment;
    use super::*;

    fn load(text: &str) -> Result<Settings, String> {
        let resolved =
            Resolved::parse(Some(("t.toml", text)), &Environment::of(&[])).map_err(|e| e.to_string())?;
        settings(&resolved).map_err(|e| e.to_string())
    }

    #[test]
    fn nobody_judges_unless_told_and_failures_block() {
        let settings = load("").unwrap();
        assert!(settings.judge.is_none() && settings.moderation.is_none() && settings.presidio.is_none());
        assert!(!settings.allow_on_failure && !settings.extended);
        let text =
            "[guardrails]\non_failure = \"allow\"\njudge.endpoint = \"guard\"\njudge.protocol = \"json\"";
        let settings = load(text).unwrap();
        assert_eq!(
            settings.judge,
            Some(JudgeSettings { endpoint: "guard".into(), protocol: Protocol::Json })
        );
        assert!(settings.allow_on_failure);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let error = load("[guardrails]\npresidio.url = \"presidio:3000\"").unwrap_err();
        assert!(error.contains("guardrails.presidio.url"), "{error}");
        let error =
            load("[guardrails.moderation]\nurl = \"https://h/v1/moderations\"\ntoken_file = \"no/such\"")
                .unwrap_err();
        assert!(error.contains("guardrails.moderation.token_file"), "{error}");
    }
}
