//! A server's REST API, as its client.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use egress::{AddressPolicy, Client, ClientConfig};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::plan::{Path, Step};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

pub(super) struct Api {
    client: Client,
    host: String,
    authorization: HeaderValue,
}

impl Api {
    pub(super) fn new(host: &str, token: zeroize::Zeroizing<String>) -> anyhow::Result<Self> {
        // The person at the terminal chose the server: any address but link-local will do.
        let policy = AddressPolicy::new(&["0.0.0.0/0", "::/0"])?;
        let client = Client::new(ClientConfig { policy, ..ClientConfig::default() })?;
        let bearer = zeroize::Zeroizing::new(format!("Bearer {}", token.trim()));
        let mut authorization = HeaderValue::from_str(&bearer).context("DATABRICKS_TOKEN is no token")?;
        authorization.set_sensitive(true);
        Ok(Self { client, host: host.trim_end_matches('/').to_owned(), authorization })
    }

    /// `None` when there is no such object.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let (status, answer) = self.call(Method::GET, path, &Value::Null).await?;
        match status {
            404 => Ok(None),
            200 => Ok(Some(answer)),
            _ => bail!("{path} answered {status}: {}", message(&answer)),
        }
    }

    pub(super) async fn send(&self, step: &Step) -> anyhow::Result<()> {
        let path = match &step.path {
            Path::Fixed(path) => path.clone(),
            Path::Permissions { endpoint } => {
                let found = self.get(&format!("/api/2.0/serving-endpoints/{endpoint}")).await?;
                let id = found.as_ref().and_then(|e| e["id"].as_str()).unwrap_or_default();
                format!("/api/2.0/permissions/serving-endpoints/{id}")
            }
        };
        let (status, answer) = self.call(step.method.clone(), &path, &step.body).await?;
        if status == 200 {
            return Ok(());
        }
        bail!("{}: {} answered {status}: {}", step.on, path, message(&answer))
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let body = if body.is_null() { Bytes::new() } else { json!(body).to_string().into() };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.host))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .with_context(|| format!("{} is no server address", self.host))?;
        let answer = async {
            let response = self.client.send(request, CONNECT_WITHIN).await?;
            let status = response.status().as_u16();
            let bytes = response.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
        };
        tokio::time::timeout(ANSWER_WITHIN, answer)
            .await
            .with_context(|| format!("{} does not answer", self.host))?
    }
}

fn message(answer: &Value) -> &str {
    answer["message"].as_str().unwrap_or("no message")
}
