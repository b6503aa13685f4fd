//! Configuration: defaults, then `tollgate.toml`, then `TOLLGATE_*` variables. Typed; an unknown key is
//! refused with the nearest known name. This is the only place that reads the environment.

mod accounting;
mod aws;
mod custody;
mod guardrails;
mod keys;
mod resolve;
mod telemetry;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use control::OidcConfig;
use egress::AddressPolicy;
use gateway::Retries;
use policy::endpoint::{Defaults, Timeouts};
use policy::federation::Rules;
use policy::limits::Counting;
use providers::provider::Defaults as ProviderDefaults;

pub(crate) use accounting::AccountingConfig;
pub(crate) use aws::aws_of_process;
pub(crate) use custody::{KeysConfig, VaultConfig};
pub(crate) use resolve::{Environment, Login, MasterKeyTexts, Resolved};
pub(crate) use telemetry::{OtlpHeaders, Sampler, TelemetryConfig};

/// What is wrong with a configuration, and what to do.
#[derive(Debug)]
pub(crate) struct ConfigProblem(pub(crate) String);

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigProblem {}

/// The effective configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) server: ServerConfig,
    pub(crate) log: LogConfig,
    pub(crate) keys: KeysConfig,
    pub(crate) egress: AddressPolicy,
    pub(crate) defaults: Defaults,
    pub(crate) retries: Retries,
    pub(crate) counting: Counting,
    pub(crate) oidc: Option<OidcConfig>,
    pub(crate) accounting: AccountingConfig,
    pub(crate) telemetry: TelemetryConfig,
}

#[derive(Clone, Debug)]
pub(crate) struct ServerConfig {
    pub(crate) listen: SocketAddr,
    /// Any free port will do when that of `listen` is taken. Not configurable: the demo sets it.
    pub(crate) any_port: bool,
    pub(crate) data: PathBuf,
    pub(crate) public_url: Option<String>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) max_body_bytes: usize,
    pub(crate) max_connections: usize,
    /// How long streams may go on after SIGTERM.
    pub(crate) drain: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LogConfig {
    pub(crate) level: tracing::Level,
    pub(crate) format: LogFormat,
    /// Audit lines. Not configurable: the demo, which audits nobody, turns them off.
    pub(crate) audit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    Json,
    Pretty,
}

impl Config {
    pub(crate) fn load(file: Option<&Path>, environment: &Environment) -> Result<Self, ConfigProblem> {
        Self::from_resolved(&Resolved::load(file, environment)?)
    }

    pub(crate) fn from_resolved(values: &Resolved) -> Result<Self, ConfigProblem> {
        values.check_foreign(|path| !telemetry::is_key(path))?;
        let server = server(values)?;
        let allow = values.list("egress.allow");
        let egress =
            AddressPolicy::new(&allow).map_err(|e| values.problem("egress.allow", &e.to_string()))?;
        let millis = |key: &str| Duration::from_millis(values.integer(key));
        let timeouts = Timeouts {
            connect: millis("upstream.connect_timeout_ms"),
            first_byte: millis("upstream.first_byte_timeout_ms"),
            idle: millis("upstream.idle_timeout_ms"),
        };
        let accounting = AccountingConfig::from_resolved(values, &server.data)?;
        let log = LogConfig {
            level: values
                .text("log.level")
                .parse()
                .map_err(|_| values.problem("log.level", "is no level"))?,
            format: match values.text("log.format") {
                "json" => LogFormat::Json,
                "pretty" => LogFormat::Pretty,
                _ => LogFormat::Auto,
            },
            audit: true,
        };
        Ok(Self {
            server,
            log,
            keys: KeysConfig::from_resolved(values)?,
            egress,
            defaults: Defaults {
                providers: provider_defaults(values),
                timeouts,
                guardrails: Arc::new(guardrails::settings(values)?),
            },
            retries: Retries {
                most: u32::try_from(values.integer("upstream.retries")).unwrap_or_default(),
                longest_wait: millis("upstream.longest_retry_wait_ms"),
            },
            counting: match values.text("limits.token_counting") {
                "after" => Counting::After,
                _ => Counting::Reserved,
            },
            oidc: oidc(values)?,
            accounting,
            telemetry: TelemetryConfig::from_resolved(values)?,
        })
    }
}

fn server(values: &Resolved) -> Result<ServerConfig, ConfigProblem> {
    let listen: SocketAddr = values
        .text("server.listen")
        .parse()
        .map_err(|_| values.problem("server.listen", "is no address and port, such as 127.0.0.1:8080"))?;
    let tls = match (values.optional("server.tls.cert"), values.optional("server.tls.key")) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert: cert.into(), key: key.into() }),
        (None, None) => None,
        (Some(_), None) => return Err(values.problem("server.tls.cert", "needs server.tls.key beside it")),
        (None, Some(_)) => return Err(values.problem("server.tls.key", "needs server.tls.cert beside it")),
    };
    if tls.is_none() && !listen.ip().is_loopback() && !values.flag("server.allow_plain_http") {
        let reason = "is not a loopback address, and tokens would cross the network unencrypted: set server.tls.cert \
                      and server.tls.key, or server.allow_plain_http = true where something else encrypts";
        return Err(values.problem("server.listen", reason));
    }
    let size = |key: &str| usize::try_from(values.integer(key)).unwrap_or(usize::MAX);
    Ok(ServerConfig {
        listen,
        any_port: false,
        data: values.text("server.data").into(),
        public_url: public_url(values)?,
        tls,
        max_body_bytes: size("server.max_body_bytes"),
        max_connections: size("server.max_connections"),
        drain: Duration::from_secs(values.integer("server.drain_seconds")),
    })
}

fn public_url(values: &Resolved) -> Result<Option<String>, ConfigProblem> {
    let Some(url) = values.optional("server.public_url") else { return Ok(None) };
    let url = url.trim_end_matches('/');
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(Some(url.to_owned()));
    }
    Err(values.problem("server.public_url", "must begin with https:// or http://"))
}

fn oidc(values: &Resolved) -> Result<Option<OidcConfig>, ConfigProblem> {
    let text = |key: &str| values.text(key).to_owned();
    let Some(issuer) = values.optional("identity.oidc.issuer") else {
        for key in ["identity.oidc.audience", "identity.oidc.jwks_url"] {
            if values.optional(key).is_some() {
                return Err(values.problem(key, "needs identity.oidc.issuer beside it"));
            }
        }
        return Ok(None);
    };
    let jwks_url = values.optional("identity.oidc.jwks_url");
    for (key, url) in [("identity.oidc.issuer", Some(issuer)), ("identity.oidc.jwks_url", jwks_url)] {
        if url.is_some_and(|url| !is_safe(url)) {
            let reason = "must begin with https://: whoever can change its keys on the way can be anybody";
            return Err(values.problem(key, reason));
        }
    }
    if values.optional("identity.oidc.audience").is_none() {
        let reason = "needs identity.oidc.audience beside it: tokens for other services are not for this one";
        return Err(values.problem("identity.oidc.issuer", reason));
    }
    let rules = Rules {
        issuer: issuer.to_owned(),
        audience: text("identity.oidc.audience"),
        user_claim: text("identity.oidc.user_claim"),
        groups_claim: text("identity.oidc.groups_claim"),
        provision: values.flag("identity.oidc.provision"),
    };
    Ok(Some(OidcConfig { rules, jwks_url: jwks_url.map(str::to_owned) }))
}

/// Encrypted, or on this machine.
fn is_safe(url: &str) -> bool {
    let local = url.strip_prefix("http://").is_some_and(|rest| {
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        ["127.0.0.1", "localhost", "[::1]"].contains(&host)
    });
    local || url.starts_with("https://")
}

fn provider_defaults(values: &Resolved) -> HashMap<String, ProviderDefaults> {
    let read = |r: &providers::Registration| {
        let set = r.settings.iter().filter_map(|setting| {
            let value = values.optional(&format!("providers.{}.{}", r.name, setting.key))?;
            Some((setting.key.to_owned(), value.to_owned()))
        });
        (r.name.to_owned(), ProviderDefaults::new(set))
    };
    providers::ALL.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let environment = Environment::of(environment);
        let resolved = Resolved::parse(Some(("t.toml", text)), &environment).map_err(|e| e.to_string())?;
        Config::from_resolved(&resolved).map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_are_safe() {
        let config = load("", &[]).unwrap();
        assert!(config.server.listen.ip().is_loopback());
        assert!(config.egress.check("h", "127.0.0.1".parse().unwrap(), 80).is_err());
        assert_eq!(config.accounting.location, "tollgate-data/tables");
    }

    #[test]
    fn entities_are_asked_once_and_tokens_reserved_unless_told_otherwise() {
        let config = load("", &[]).unwrap();
        assert_eq!((config.retries, config.counting), (Retries::default(), Counting::Reserved));
        let told =
            "[upstream]\nretries = 2\nlongest_retry_wait_ms = 50\n[limits]\ntoken_counting = \"after\"";
        let config = load(told, &[]).unwrap();
        let retries = Retries { most: 2, longest_wait: Duration::from_millis(50) };
        assert_eq!((config.retries, config.counting), (retries, Counting::After));
        assert!(load("[upstream]\nretries = 6", &[]).is_err());
    }

    #[test]
    fn an_issuer_needs_an_audience_and_encryption() {
        let oidc = |text: &str| load(&format!("[identity.oidc]\n{text}"), &[]).map(|c| c.oidc);
        assert!(load("", &[]).unwrap().oidc.is_none());
        let found = oidc("issuer = \"https://idp\"\naudience = \"a\"").unwrap().unwrap();
        assert_eq!((found.rules.user_claim.as_str(), found.rules.provision), ("email", false));
        assert!(oidc("issuer = \"http://localhost:1/x\"\naudience = \"a\"").is_ok());
        for (text, says) in [
            ("issuer = \"https://idp\"", "identity.oidc.audience"),
            ("issuer = \"http://idp\"\naudience = \"a\"", "https://"),
            ("issuer = \"http://127.0.0.1.evil.org\"\naudience = \"a\"", "https://"),
            ("issuer = \"http://localhost@evil.org\"\naudience = \"a\"", "https://"),
            ("issuer = \"https://idp\"\naudience = \"a\"\njwks_url = \"http://idp/keys\"", "https://"),
            ("audience = \"a\"", "identity.oidc.issuer"),
        ] {
            let error = oidc(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn plain_http_leaves_loopback_only_when_told() {
        let open = "[server]\nlisten = \"0.0.0.0:8080\"\n";
        assert!(load(open, &[]).unwrap_err().contains("allow_plain_http"));
        assert!(load(&format!("{open}allow_plain_http = true"), &[]).is_ok());
        assert!(load(&format!("{open}[server.tls]\ncert = \"c\"\nkey = \"k\""), &[]).is_ok());
        assert!(load(&format!("{open}[server.tls]\ncert = \"c\""), &[]).is_err());
    }

    #[test]
    fn variables_go_before_the_file() {
        let text = "[server]\nlisten = \"127.0.0.1:1\"\n[providers.anthropic]\nbase_url = \"http://file\"";
        let environment = [
            ("TOLLGATE_SERVER__LISTEN", "127.0.0.1:2"),
            ("TOLLGATE_EGRESS__ALLOW", "127.0.0.1, 10.0.0.0/8"),
            ("TOLLGATE_PROVIDERS__ANTHROPIC__BASE_URL", "http://env"),
            ("ANTHROPIC_BASE_URL", "http://last"),
        ];
        let config = load(text, &environment).unwrap();
        assert_eq!(config.server.listen.port(), 2);
        assert!(config.egress.check("h", "10.1.1.1".parse().unwrap(), 80).is_ok());
        assert_eq!(config.defaults.providers["anthropic"].base_url(), Some("http://env"));
    }

    #[test]
    fn the_variables_of_the_providers_own_tools_come_last() {
        let base = |text: &str, environment: &[(&str, &str)]| {
            load(text, environment).unwrap().defaults.providers["anthropic"].base_url().map(str::to_owned)
        };
        let foreign = ("ANTHROPIC_BASE_URL", "http://last");
        assert_eq!(base("", &[foreign]).as_deref(), Some("http://last"));
        assert_eq!(base("", &[("ANTHROPIC_BASE_URL", " ")]), None);
        let file = "[providers.anthropic]\nbase_url = \"http://file\"";
        assert_eq!(base(file, &[foreign]).as_deref(), Some("http://file"));
    }
}
