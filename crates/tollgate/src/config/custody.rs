//! `keys.*`: who keeps the master key.

use std::net::IpAddr;
use std::path::PathBuf;

use http::Uri;

use super::{ConfigProblem, Resolved};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeysConfig {
    /// `master.key` in the data folder.
    File,
    /// The variable `TOLLGATE_MASTER_KEY`.
    Env,
    VaultTransit(VaultConfig),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VaultConfig {
    /// Without a trailing slash.
    pub(crate) address: String,
    /// Host and port of it, as the address policy wants them.
    pub(crate) authority: String,
    pub(crate) key_name: String,
    pub(crate) mount: String,
    pub(crate) token_file: PathBuf,
}

impl KeysConfig {
    pub(super) fn from_resolved(values: &Resolved) -> Result<Self, ConfigProblem> {
        match values.text("keys.source") {
            "env" => Ok(Self::Env),
            "vault-transit" => vault(values).map(Self::VaultTransit),
            _ => Ok(Self::File),
        }
    }
}

fn vault(values: &Resolved) -> Result<VaultConfig, ConfigProblem> {
    let required = |key: &str| {
        values.optional(key).ok_or_else(|| values.problem(key, "is needed with keys.source = vault-transit"))
    };
    let address = required("keys.vault.address")?.trim_end_matches('/');
    Ok(VaultConfig {
        address: address.to_owned(),
        authority: authority(address).map_err(|reason| values.problem("keys.vault.address", reason))?,
        key_name: segments(values, "keys.vault.key_name", false)?,
        mount: segments(values, "keys.vault.mount", true)?,
        token_file: required("keys.vault.token_file")?.into(),
    })
}

fn authority(address: &str) -> Result<String, &'static str> {
    const NO_URL: &str = "is no address such as https://vault.example.com:8200";
    let uri: Uri = address.parse().map_err(|_| NO_URL)?;
    let authority = uri.authority().filter(|a| !a.as_str().contains('@')).ok_or(NO_URL)?;
    let host = authority.host();
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if is_loopback(host) => {}
        // Data keys and the token would be readable on the network, and with them every secret.
        Some("http") => return Err("must begin with https://: only on loopback may it be http://"),
        _ => return Err(NO_URL),
    }
    Ok(authority.as_str().to_owned())
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What goes into the path of a request.
fn segments(values: &Resolved, key: &str, slashes: bool) -> Result<String, ConfigProblem> {
    let text = values.text(key).trim_matches('/');
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b) || (slashes && b == b'/');
    let odd = |part: &str| part.is_empty() || part.bytes().all(|b| b == b'.');
    if text.bytes().all(legal) && !text.split('/').any(odd) {
        return Ok(text.to_owned());
    }
    Err(values.problem(key, "must be letters, digits, `-`, `_` and `.`"))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Environment};
    use super::*;

    fn load(lines: &str) -> Result<KeysConfig, String> {
        let text = format!("[keys]\n{lines}");
        let resolved =
            Resolved::parse(Some(("t.toml", &text)), &Environment::of(&[])).map_err(|e| e.to_string())?;
        Config::from_resolved(&resolved).map(|config| config.keys).map_err(|e| e.to_string())
    }

    fn vault_at(address: &str) -> Result<KeysConfig, String> {
        load(&format!("source = \"vault-transit\"\nvault.address = \"{address}\"\nvault.token_file = \"t\""))
    }

    #[test]
    fn the_file_is_the_default() {
        assert_eq!(load(""), Ok(KeysConfig::File));
        assert_eq!(load("source = \"env\""), Ok(KeysConfig::Env));
        assert!(load("source = \"kms\"").unwrap_err().contains("file, env, vault-transit"));
    }

    #[test]
    fn vault_is_reached_encrypted_or_on_loopback() {
        for address in
            ["https://vault.internal", "http://127.0.0.1:8200/", "http://[::1]:8200", "http://localhost:1"]
        {
            assert!(vault_at(address).is_ok(), "{address}");
        }
        for address in
            ["http://vault.internal:8200", "http://10.0.0.1", "vault:8200", "ftp://x", "https://a@b", ""]
        {
            assert!(vault_at(address).unwrap_err().contains("keys.vault.address"), "{address}");
        }
        let Ok(KeysConfig::VaultTransit(vault)) = vault_at("http://127.0.0.1:8200/") else { panic!() };
        let (address, authority) = (vault.address.as_str(), vault.authority.as_str());
        assert_eq!((address, authority), ("http://127.0.0.1:8200", "127.0.0.1:8200"));
        assert_eq!((vault.mount.as_str(), vault.key_name.as_str()), ("transit", "tollgate"));
    }

    #[test]
    fn names_cannot_change_the_path() {
        let base = "source = \"vault-transit\"\nvault.address = \"https://v\"\nvault.token_file = \"t\"\n";
        for line in [
            "vault.key_name = \"a/b\"",
            "vault.mount = \"a/../b\"",
            "vault.mount = \"a?b\"",
            "vault.key_name = \"..\"",
        ] {
            assert!(load(&format!("{base}{line}")).is_err(), "{line}");
        }
        assert!(load(&format!("{base}vault.mount = \"team/transit\"")).is_ok());
        assert!(
            load("source = \"vault-transit\"\nvault.address = \"https://v\"")
                .unwrap_err()
                .contains("token_file")
        );
    }
}
