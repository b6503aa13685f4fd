//! Every configuration key there is: the single source for reading, checking and docs.

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Flag,
    /// Between two bounds, both allowed.
    Integer(u64, u64),
    /// Texts; in a variable, separated by commas.
    List,
    Choice(&'static [&'static str]),
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) path: String,
    pub(super) kind: Kind,
    /// Empty for a key that may stay unset.
    pub(super) default: &'static str,
    /// Printed by the docs' table.
    #[cfg_attr(not(test), expect(dead_code, reason = "the docs' table is made by a test"))]
    pub(super) doc: &'static str,
    /// Variables of other tools that mean the same; the first that is set counts, before the default alone.
    pub(super) foreign: &'static [&'static str],
}

/// What it holds may be secret.
pub(super) const TABLES_OPTIONS: &str = "tables.options";

const HOUR_MS: u64 = 3_600_000;
const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

/// Path, kind, default, meaning.
type Row = (&'static str, Kind, &'static str, &'static str);

const KEYS: &[Row] = &[
    ("server.listen", Kind::Text, "127.0.0.1:8080", "address and port to serve on"),
    (
        "server.data",
        Kind::Text,
        "tollgate-data",
        "folder of the database, the keys and, unless set elsewhere, the tables",
    ),
    ("server.allow_plain_http", Kind::Flag, "false", "serve beyond loopback without TLS"),
    ("server.public_url", Kind::Text, "", "the address clients know the server by; else the Host header"),
    ("server.tls.cert", Kind::Text, "", "certificate chain, PEM; read again when it changes"),
    ("server.tls.key", Kind::Text, "", "private key, PEM"),
    (
        "server.max_body_bytes",
        Kind::Integer(1 << 10, 1 << 30),
        "16777216",
        "longest request body of a model call",
    ),
    ("server.max_connections", Kind::Integer(1, 1 << 20), "10000", "connections served at once"),
    ("server.drain_seconds", Kind::Integer(0, 3600), "30", "how long calls may go on after SIGTERM"),
    ("log.level", Kind::Choice(LEVELS), "info", "least level that is logged"),
    (
        "log.format",
        Kind::Choice(&["auto", "json", "pretty"]),
        "auto",
        "auto is pretty on a terminal, else json",
    ),
    (
        "egress.allow",
        Kind::List,
        "",
        "loopback and private addresses, ranges or hosts that upstreams may be on",
    ),
    (
        "upstream.connect_timeout_ms",
        Kind::Integer(1, HOUR_MS),
        "5000",
        "to a connection; an entity may set its own",
    ),
    (
        "upstream.first_byte_timeout_ms",
        Kind::Integer(1, HOUR_MS),
        "120000",
        "to the first byte or event of an answer",
    ),
    ("upstream.idle_timeout_ms", Kind::Integer(1, HOUR_MS), "120000", "between two pieces of an answer"),
    (
        "upstream.retries",
        Kind::Integer(0, 5),
        "0",
        "how often an entity that answered 429 or 5xx, or not at all, is asked again before the next one is",
    ),
    (
        "upstream.longest_retry_wait_ms",
        Kind::Integer(1, 60_000),
        "2000",
        "an upstream that asks for a longer wait is not asked again",
    ),
    (
        "limits.token_counting",
        Kind::Choice(&["reserved", "after"]),
        "reserved",
        "reserved: before the call, corrected after it; after: when the answer is there, as Databricks does",
    ),
    (
        "keys.source",
        Kind::Choice(&["file", "env", "vault-transit"]),
        "file",
        "what wraps the keys of the secrets: a file in server.data, a variable, or Vault",
    ),
    ("keys.vault.address", Kind::Text, "", "address of Vault or OpenBao; it needs no entry in egress.allow"),
    ("keys.vault.key_name", Kind::Text, "tollgate", "name of the Transit key"),
    ("keys.vault.mount", Kind::Text, "transit", "path of the Transit engine"),
    ("keys.vault.token_file", Kind::Text, "", "file of the token; read for each call"),
    (
        "identity.oidc.issuer",
        Kind::Text,
        "",
        "the company's identity provider, whose tokens are accepted; as its tokens say it in `iss`",
    ),
    ("identity.oidc.audience", Kind::Text, "", "what `aud` of its tokens must be; required with an issuer"),
    ("identity.oidc.user_claim", Kind::Text, "email", "the claim that holds the user name"),
    ("identity.oidc.groups_claim", Kind::Text, "groups", "the claim that holds names of groups"),
    ("identity.oidc.jwks_url", Kind::Text, "", "where its public keys are; else its discovery document says"),
    ("identity.oidc.provision", Kind::Flag, "false", "make users who are not known; else they are refused"),
    (
        "guardrails.judge.endpoint",
        Kind::Text,
        "",
        "the chat endpoint of this server that judges safety; its model is a guard model, or any with the protocol json",
    ),
    (
        "guardrails.judge.protocol",
        Kind::Choice(&["llama-guard", "llama-guard-2", "json"]),
        "llama-guard",
        "how it answers: safe or unsafe with codes, of Llama Guard 3 and 4 or of 2, or a JSON verdict that it is told to give",
    ),
    (
        "guardrails.topics.endpoint",
        Kind::Text,
        "",
        "the chat endpoint that judges topics, by JSON verdicts; else that of guardrails.judge where its protocol is json",
    ),
    (
        "guardrails.moderation.url",
        Kind::Text,
        "",
        "address of a moderation API as OpenAI has it, to `/moderations`; it judges safety in place of guardrails.judge",
    ),
    ("guardrails.moderation.model", Kind::Text, "", "the model that it is asked for"),
    ("guardrails.moderation.token_file", Kind::Text, "", "file of its token; read at the start"),
    (
        "guardrails.presidio.url",
        Kind::Text,
        "",
        "address of a Presidio analyser, to `/analyze`, asked beside the recognisers",
    ),
    ("guardrails.presidio.language", Kind::Text, "en", "the language that it is told"),
    (
        "guardrails.presidio.least_score",
        Kind::Integer(0, 100),
        "50",
        "in percent: findings that it is less sure of do not count",
    ),
    (
        "guardrails.extended_pii",
        Kind::Flag,
        "false",
        "look for addresses of machines, API keys, ITINs and passports too",
    ),
    ("guardrails.timeout_ms", Kind::Integer(1, HOUR_MS), "10000", "how long one judgement may take"),
    (
        "guardrails.on_failure",
        Kind::Choice(&["block", "allow"]),
        "block",
        "what becomes of a text that cannot be judged",
    ),
    (
        "journal.fsync",
        Kind::Choice(&["group", "strict"]),
        "group",
        "when records of calls are brought onto the disk: in groups, or before an answer ends",
    ),
    (
        "journal.fsync_interval_ms",
        Kind::Integer(1, HOUR_MS),
        "50",
        "between two groups: what a power cut may cost",
    ),
    (
        "journal.max_bytes",
        Kind::Integer(1 << 20, 1 << 44),
        "4294967296",
        "records that wait for the tables; more, and the journal is full, as it is on a full disk",
    ),
    (
        "journal.on_full",
        Kind::Choice(&["refuse", "serve"]),
        "refuse",
        "calls while it is full: refused, or served while their records have room in memory",
    ),
    ("journal.queue_bytes", Kind::Integer(0, 1 << 34), "67108864", "that room"),
    (
        "tables.location",
        Kind::Text,
        "",
        "folder or URL (`s3://`, `abfss://`, `gs://`) of the tables; else `tables` in server.data",
    ),
    (TABLES_OPTIONS, Kind::List, "", "name=value of that URL's store, such as aws_region=eu-west-1"),
    ("tables.options_file", Kind::Text, "", "file of more of them, one a line: for those that are secret"),
    ("tables.flush_seconds", Kind::Integer(1, 3600), "10", "between two commits to the tables"),
    ("tables.flush_bytes", Kind::Integer(1 << 16, 1 << 30), "67108864", "records that are committed earlier"),
    (
        "tables.keep_seconds",
        Kind::Integer(1, 86400),
        "600",
        "least time until small files are put together again, and old and unused ones taken away",
    ),
    (
        "tables.max_payload_bytes",
        Kind::Integer(0, 1 << 26),
        "1048576",
        "longest request or answer that is kept where an endpoint has an inference table",
    ),
    ("tables.usage_retention_days", Kind::Integer(0, 36500), "0", "days of usage and audit; 0 keeps them"),
    ("tables.payload_retention_days", Kind::Integer(0, 36500), "0", "days of inference tables; 0 keeps them"),
    (
        "tables.unused_files_hours",
        Kind::Integer(0, 87600),
        "168",
        "how long files stay that a table no longer refers to, for those who still read them",
    ),
];

/// All keys, those of the providers included.
pub(super) fn all() -> Vec<Key> {
    let fixed = KEYS.iter().map(|(path, kind, default, doc)| Key {
        path: (*path).to_owned(),
        kind: *kind,
        default,
        doc,
        foreign: &[],
    });
    let settings = providers::ALL.iter().flat_map(|r| {
        r.settings.iter().map(|setting| Key {
            path: format!("providers.{}.{}", r.name, setting.key),
            kind: Kind::Text,
            default: "",
            doc: setting.doc,
            foreign: setting.variables,
        })
    });
    fixed.chain(super::telemetry::keys()).chain(settings).collect()
}

/// The variable of a key: `server.tls.cert` is `TOLLGATE_SERVER__TLS__CERT`.
pub(super) fn variable(path: &str) -> String {
    format!("TOLLGATE_{}", path.to_uppercase().replace('.', "__").replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table in the docs is this one.
    #[test]
    fn the_documented_keys_are_the_real_ones() {
        let mut table = String::from("| key | variable | default | meaning |\n| --- | --- | --- | --- |\n");
        for key in all() {
            let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
            let foreign: Vec<String> = key.foreign.iter().map(|name| format!("`{name}`")).collect();
            let doc = match foreign.as_slice() {
                [] => key.doc.to_owned(),
                _ => format!("{}; unset, {} is read", key.doc, foreign.join(" or else ")),
            };
            table += &format!("| `{}` | `{}` | {default} | {doc} |\n", key.path, variable(&key.path));
        }
        let docs = include_str!("../../../../docs/configuration.md");
        assert!(docs.contains(&table), "docs/configuration.md must hold this table:\n{table}");
    }

    #[test]
    fn hyphens_become_underscores() {
        assert_eq!(variable("providers.a-b.base_url"), "TOLLGATE_PROVIDERS__A_B__BASE_URL");
    }
}
