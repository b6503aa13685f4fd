//! A company's own identity provider: its public keys are fetched and kept here, and users whom it vouches
//! for are made.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use policy::Principal;
use policy::federation::{Federation, Keys, Reach, Rules, Wants};
use policy::identity::{ADMINS, CREATE_ENTITLEMENT, USERS};
use serde_json::Value;
use store::StoreError;
use store::model::PrincipalRecord;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::people::People;
use crate::{Control, refresh};

/// How often the keys are fetched anyway.
const EVERY: Duration = Duration::from_secs(600);
/// At least so long between two fetches that a failure or an unknown key asks for.
const AT_MOST: Duration = Duration::from_secs(60);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
const MAX_DOCUMENT: usize = 1 << 20;
/// Users who wait to be made. More are made at their next call.
const MAX_NEWCOMERS: usize = 1000;

/// The issuer that tokens are accepted from.
#[derive(Clone, Debug)]
pub struct OidcConfig {
    pub rules: Rules,
    /// Where its keys are; else its discovery document says.
    pub jwks_url: Option<String>,
}

/// What is known of the issuer, and what is wanted.
pub(crate) struct Desk {
    config: OidcConfig,
    rules: Arc<Rules>,
    keys: Mutex<Arc<Keys>>,
    wanted: Arc<Wanted>,
}

#[derive(Default)]
struct Wanted {
    key: AtomicBool,
    users: Mutex<BTreeSet<String>>,
    bell: Notify,
}

impl Wants for Wanted {
    fn key(&self) {
        // The bell once a question: whoever holds a wrong token may call as often as they like.
        if !self.key.swap(true, Ordering::Relaxed) {
            self.bell.notify_one();
        }
    }

    fn user(&self, name: &str) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() < MAX_NEWCOMERS && users.insert(name.to_owned()) {
            self.bell.notify_one();
        }
    }
}

impl Desk {
    pub(crate) fn new(config: OidcConfig) -> Self {
        let rules = Arc::new(config.rules.clone());
        Self { config, rules, keys: Mutex::default(), wanted: Arc::default() }
    }

    /// What the snapshot gets to know.
    pub(super) fn publish(&self, people: &People, active: &HashMap<&str, Arc<Principal>>) -> Federation {
        let reach = |id: &str| {
            let groups = people.around(std::iter::once(id));
            let entitles = |g: &&&store::model::GroupRecord| {
                g.name == ADMINS || g.entitlements.iter().any(|name| name == CREATE_ENTITLEMENT)
            };
            let can_create = groups.iter().any(|g| entitles(&g));
            Reach { groups: groups.iter().map(|g| g.name.as_str().into()).collect(), can_create }
        };
        // Groups and service principals come last: their names are nobody's.
        let users = people.principals.iter().filter(|p| !p.is_service_principal);
        let users = users.map(|p| (p.name.to_lowercase(), active.get(p.id.as_str()).cloned()));
        let services = people.principals.iter().filter(|p| p.is_service_principal);
        let taken = people.groups.iter().map(|g| &g.name).chain(services.map(|p| &p.name));
        Federation {
            rules: Arc::clone(&self.rules),
            keys: Arc::clone(&self.keys.lock().unwrap_or_else(PoisonError::into_inner)),
            users: users.chain(taken.map(|name| (name.to_lowercase(), None))).collect(),
            groups: people.groups.iter().map(|g| (g.name.clone(), reach(&g.id))).collect(),
            everybody: people
                .groups
                .iter()
                .find(|g| g.name == USERS)
                .map(|g| reach(&g.id))
                .unwrap_or_default(),
            wants: Arc::clone(&self.wanted) as Arc<dyn Wants>,
        }
    }

    async fn fetch(&self, client: &egress::Client) -> Result<Keys, String> {
        let url = match &self.config.jwks_url {
            Some(url) => url.clone(),
            None => {
                let issuer = &self.rules.issuer;
                let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
                let document = get(client, &url).await?;
                if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
                    return Err(format!("{url} is of another issuer than {issuer}"));
                }
                let found = document.get("jwks_uri").and_then(Value::as_str);
                found.ok_or_else(|| format!("{url} names no jwks_uri"))?.to_owned()
            }
        };
        let keys = Keys::read(&get(client, &url).await?).map_err(|e| format!("{url}: {e}"))?;
        if keys.is_empty() {
            return Err(format!("{url} has no RS256 or ES256 key"));
        }
        Ok(keys)
    }
}

async fn get(client: &egress::Client, url: &str) -> Result<Value, String> {
    let request = Request::get(url).header("accept", "application/json").body(Full::new(Bytes::new()));
    let request = request.map_err(|e| format!("{url}: {e}"))?;
    let answer = async {
        let response = client.send(request, CONNECT_WITHIN).await.map_err(|e| e.to_string())?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("it answered {status}"));
        }
        let body = Limited::new(response.into_body(), MAX_DOCUMENT).collect().await;
        let body = body.map_err(|e| e.to_string())?.to_bytes();
        serde_json::from_slice(&body).map_err(|e| format!("it is no JSON: {e}"))
    };
    match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(answer) => answer.map_err(|e| format!("{url}: {e}")),
        Err(_) => Err(format!("{url} did not answer within {} s", ANSWER_WITHIN.as_secs())),
    }
}

/// Keeps the issuer's keys fresh and makes its users, until `shutdown`. Nothing to do without an issuer.
pub async fn watch_issuer(control: Control, client: egress::Client, shutdown: CancellationToken) {
    let Some(desk) = control.inner.issuer.as_ref() else { return };
    let mut fetched: Option<Instant> = None;
    let mut good = false;
    loop {
        let wanted = desk.wanted.key.load(Ordering::Relaxed);
        let due = if good && !wanted { EVERY } else { AT_MOST };
        if fetched.is_none_or(|at| at.elapsed() >= due) {
            fetched = Some(Instant::now());
            good = fetch(&control, desk, &client).await;
            desk.wanted.key.store(false, Ordering::Relaxed);
        }
        provision_all(&control, desk).await;
        let wanted = desk.wanted.key.load(Ordering::Relaxed);
        let pause = if good && !wanted { EVERY } else { AT_MOST };
        let pause = fetched.map_or(Duration::ZERO, |at| pause.saturating_sub(at.elapsed()));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = desk.wanted.bell.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn fetch(control: &Control, desk: &Desk, client: &egress::Client) -> bool {
    let issuer = &desk.rules.issuer;
    match desk.fetch(client).await {
        Ok(keys) => {
            tracing::info!(%issuer, keys = keys.len(), "the issuer's keys were fetched");
            *desk.keys.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
            if let Err(error) = refresh(control).await {
                tracing::warn!(%error, "the issuer's keys could not be published");
            }
            true
        }
        Err(error) => {
            tracing::warn!(%issuer, error, "the issuer's keys could not be fetched, those from before stay");
            false
        }
    }
}

async fn provision_all(control: &Control, desk: &Desk) {
    let names = std::mem::take(&mut *desk.wanted.users.lock().unwrap_or_else(PoisonError::into_inner));
    for name in names {
        if let Err(error) = provision(control, &name).await {
            tracing::warn!(user = name, %error, "a user of the issuer could not be made");
        }
    }
}

/// Makes the user whom the issuer vouched for. One who is there by now is left as they are.
pub(crate) async fn provision(control: &Control, name: &str) -> Result<(), StoreError> {
    let _writing = control.inner.writing.lock().await;
    let people = People::load(control.store()).await?;
    let lower = name.to_lowercase();
    let mut names =
        people.principals.iter().map(|p| &p.name).chain(people.groups.iter().map(|group| &group.name));
    if names.any(|taken| taken.to_lowercase() == lower) {
        return Ok(());
    }
    let user = PrincipalRecord {
        name: name.to_owned(),
        display_name: name.to_owned(),
        active: true,
        ..PrincipalRecord::default()
    };
    control.store().create_principal(&user).await?;
    tracing::info!(user = name, "user made: the issuer vouches for them");
    refresh(control).await
}
