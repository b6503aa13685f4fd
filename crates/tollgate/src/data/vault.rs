//! The Transit engine of Vault and OpenBao: it wraps data keys and never gives its own key away.

use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use egress::{AddressPolicy, Client, ClientConfig};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use secrecy::SecretSlice;
use serde::Deserialize;
use store::{KeyEncryption, StoreError};
use zeroize::Zeroizing;

use crate::config::VaultConfig;

const CONNECT: Duration = Duration::from_secs(5);
/// For the whole of a call.
const CALL: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 1 << 20;
const MAX_SHOWN: usize = 300;
/// What its ciphertexts begin with.
const PREFIX: &str = "vault:";

pub(crate) struct VaultTransit {
    client: Client,
    config: VaultConfig,
}

/// Not `Debug`: it may hold a data key.
#[derive(Default, Deserialize)]
struct Answer {
    #[serde(default)]
    data: Data,
    #[serde(default)]
    errors: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Data {
    ciphertext: Option<String>,
    plaintext: Option<Zeroizing<String>>,
}

impl VaultTransit {
    pub(crate) fn new(config: VaultConfig) -> anyhow::Result<Self> {
        // Its own host is allowed, because the configuration names it, and no other one is.
        let policy = AddressPolicy::new(&[&config.authority]).context("keys.vault.address")?;
        let client = Client::new(ClientConfig { policy, ..ClientConfig::default() });
        Ok(Self { client: client.context("cannot read the machine's root certificates")?, config })
    }

    async fn call(&self, operation: &str, body: Zeroizing<Vec<u8>>) -> store::Result<Data> {
        let request = self.request(operation, body).await?;
        let answered = tokio::time::timeout(CALL, async {
            let response =
                self.client.send(request, CONNECT).await.map_err(|e| self.failed(&e.to_string()))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|_| self.failed("its answer broke off or is too long"))?.to_bytes();
            // An error page of something between is no JSON.
            let answer: Answer = serde_json::from_slice(&body).unwrap_or_default();
            Ok::<_, StoreError>((status, answer))
        });
        let (status, answer) = answered.await.map_err(|_| self.failed("no answer within 10 s"))??;
        if status == StatusCode::OK {
            Ok(answer.data)
        } else {
            Err(self.refused(operation, status, &answer.errors))
        }
    }

    async fn request(
        &self,
        operation: &str,
        body: Zeroizing<Vec<u8>>,
    ) -> store::Result<Request<Full<Bytes>>> {
        let VaultConfig { address, mount, key_name, .. } = &self.config;
        let request = Request::post(format!("{address}/v1/{mount}/{operation}/{key_name}"))
            .header("x-vault-token", self.token().await?)
            .header(CONTENT_TYPE, "application/json")
            // So that the key in it is wiped with it.
            .body(Full::new(Bytes::from_owner(body)));
        request.map_err(|_| self.failed("keys.vault.address is no url"))
    }

    /// Read each time: whoever renews the token writes it there.
    async fn token(&self) -> store::Result<HeaderValue> {
        let path = &self.config.token_file;
        let unusable = |reason: &str| {
            StoreError::KeyService(format!("keys.vault.token_file {}: {reason}", path.display()))
        };
        let text = tokio::fs::read_to_string(path).await.map(Zeroizing::new);
        let text = text.map_err(|error| unusable(&error.to_string()))?;
        let mut token = HeaderValue::from_str(text.trim()).map_err(|_| unusable("it holds no token"))?;
        if token.is_empty() {
            return Err(unusable("it is empty"));
        }
        token.set_sensitive(true);
        Ok(token)
    }

    fn failed(&self, reason: &str) -> StoreError {
        StoreError::KeyService(format!("vault at {}: {reason}", self.config.address))
    }

    fn refused(&self, operation: &str, status: StatusCode, errors: &[String]) -> StoreError {
        let VaultConfig { mount, key_name, token_file, .. } = &self.config;
        let said: String = errors.join("; ").chars().take(MAX_SHOWN).collect();
        // What another key made, or what was changed.
        let foreign = ["message authentication failed", "invalid ciphertext"];
        let judged = matches!(status, StatusCode::BAD_REQUEST | StatusCode::INTERNAL_SERVER_ERROR);
        if judged && foreign.iter().any(|text| said.contains(text)) {
            return StoreError::WrongKey;
        }
        let file = token_file.display();
        self.failed(&match status {
            StatusCode::FORBIDDEN => format!(
                "it refuses the token in {file}: renew it, or allow it update on {mount}/{operation}/{key_name} ({said})"
            ),
            StatusCode::NOT_FOUND => format!("it has no transit engine at {mount}: see keys.vault.mount ({said})"),
            StatusCode::SERVICE_UNAVAILABLE => format!("it is sealed or in standby ({said})"),
            _ => format!("it answered {} to {operation} with {key_name} ({said})", status.as_u16()),
        })
    }
}

#[async_trait]
impl KeyEncryption for VaultTransit {
    async fn wrap(&self, key: &[u8], place: &[u8]) -> store::Result<Vec<u8>> {
        let plaintext = Zeroizing::new(STANDARD.encode(bound(key, place)));
        let body = Zeroizing::new([br#"{"plaintext":""#, plaintext.as_bytes(), br#""}"#].concat());
        let data = self.call("encrypt", body).await?;
        let ciphertext = data.ciphertext.filter(|text| text.starts_with(PREFIX));
        ciphertext.map(String::into_bytes).ok_or_else(|| self.failed("it answered without a ciphertext"))
    }

    async fn unwrap(&self, wrapped: &[u8], place: &[u8]) -> store::Result<SecretSlice<u8>> {
        let text = std::str::from_utf8(wrapped).ok().filter(|text| text.starts_with(PREFIX));
        // What a key in memory has wrapped.
        let Some(text) = text else { return Err(StoreError::WrongKey) };
        let body = serde_json::json!({"ciphertext": text}).to_string();
        let data = self.call("decrypt", Zeroizing::new(body.into_bytes())).await?;
        let plaintext = data.plaintext.ok_or_else(|| self.failed("it answered without a plaintext"))?;
        let opened = STANDARD.decode(plaintext.as_bytes()).map(Zeroizing::new);
        let opened = opened.map_err(|_| self.failed("its plaintext is no base64"))?;
        unbound(&opened, place).map(|key| key.to_vec().into()).ok_or(StoreError::WrongKey)
    }
}

/// The key with its place before it. The place goes inside, because only some kinds of Transit keys take
/// associated data.
fn bound(key: &[u8], place: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(8 + place.len() + key.len()));
    out.extend_from_slice(&(place.len() as u64).to_be_bytes());
    out.extend_from_slice(place);
    out.extend_from_slice(key);
    out
}

fn unbound<'o>(opened: &'o [u8], place: &[u8]) -> Option<&'o [u8]> {
    let rest = opened.strip_prefix((place.len() as u64).to_be_bytes().as_slice())?;
    rest.strip_prefix(place)
}

#[cfg(test)]
mod tests;
