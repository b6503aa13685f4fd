//! The simulator, the gateway and everything between, in one place.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic;
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use egress::{AddressPolicy, ClientConfig};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use journal::{Admission, Durable, Full, LimitHit, RecordSink, Settlement};
use parking_lot::Mutex;
use policy::endpoint::{Accounting, Defaults, Meta, compile, normalize};
use policy::guardrails::Settings;
use policy::identity::{Token, hash_token};
use policy::limits::{Counting, Limiter, Limits};
use policy::permit::{Grant, Grantee};
use policy::{Endpoint, IdKey, Level, Live, Principal, PrincipalKind, Snapshot};
use providers::provider::Defaults as ProviderDefaults;
use serde_json::{Value, json};
use simulator::{Exchanges, Gate, Gates, Ledger, Opened, Record, Recordings, Simulator, State};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tollgate_gateway::{Gateway, GatewayConfig, MemoryLimiter};

pub(crate) const TOKEN: &str = "dapi-ann";
/// Bob may view every endpoint and query none.
pub(crate) const VIEWER: &str = "dapi-bob";
pub(crate) const EXPIRED: &str = "dapi-old";
/// The credential of every upstream.
pub(crate) const KEY: &str = "sk-upstream";

pub(crate) const CHAT: &str = "llm/v1/chat";
pub(crate) const COMPLETIONS: &str = "llm/v1/completions";
pub(crate) const EMBEDDINGS: &str = "llm/v1/embeddings";

/// What `amazon-bedrock-profile` and `amazon-bedrock-unlisted` ask for.
pub(crate) const PROFILE: &str = "arn:aws:iam::1:instance-profile/p";
pub(crate) const UNLISTED_PROFILE: &str = "arn:aws:iam::2:instance-profile/p";

/// `azure` is a kind of `openai`, and so is `azure-entra`, whose calls need a token first.
pub(crate) const PROVIDERS: [&str; 10] = [
    "openai",
    "anthropic",
    "custom",
    "azure",
    "cohere",
    "ai21labs",
    "databricks-model-serving",
    "amazon-bedrock",
    "google",
    "google-cloud-vertex-ai",
];

/// Those whose streams are lines of text; the others frame theirs in binary, which `frames.rs` is about.
pub(crate) fn textual() -> impl Iterator<Item = &'static str> {
    PROVIDERS.into_iter().filter(|provider| *provider != "amazon-bedrock")
}

/// The private key of the service accounts. It is of these tests alone.
pub(crate) const ACCOUNT_KEY: &str = include_str!("service_account.pem");
/// The secret of Entra ID that the simulator refuses, under the name `wrong`.
pub(crate) const WRONG: &str = "wrong-secret";

/// Panics outside of this test binary's own files, that is in the gateway.
static PANICS: AtomicUsize = AtomicUsize::new(0);

pub(crate) struct World {
    pub(crate) gateway: SocketAddr,
    pub(crate) simulator: String,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) exchanges: Arc<Exchanges>,
    pub(crate) recordings: Arc<Recordings>,
    gates: Arc<Gates>,
    pub(crate) records: Arc<Recorder>,
    pub(crate) tasks: TaskTracker,
    /// Of the endpoints that are published from now on.
    pub(crate) accounting: Mutex<Accounting>,
    /// The data plane itself, and its routes, for calls without a socket.
    pub(crate) plane: Gateway,
    pub(crate) router: axum::Router,
    sts_endpoint: String,
    /// Of the endpoints that are published next.
    pub(crate) guardrails: Mutex<Value>,
    pub(crate) guard_settings: Mutex<Arc<Settings>>,
    live: Arc<Live>,
    shutdown: CancellationToken,
}

/// Keeps what the gateway records.
#[derive(Default)]
pub(crate) struct Recorder {
    hits: Mutex<Vec<LimitHit>>,
    admitted: Mutex<Vec<Admission>>,
    settled: Mutex<Vec<(Admission, Settlement)>>,
    pub(crate) is_full: AtomicBool,
    /// Whether records are waited for, how often that was asked, and for how many of these they are on the disk.
    pub(crate) is_strict: AtomicBool,
    asked: AtomicUsize,
    pub(crate) on_disk: watch::Sender<usize>,
}

impl RecordSink for Recorder {
    fn admit(&self, admission: &Admission) -> Result<(), Full> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(Full);
        }
        self.admitted.lock().push(admission.clone());
        Ok(())
    }

    fn settle(&self, admission: &Admission, settlement: &Settlement) {
        self.settled.lock().push((admission.clone(), settlement.clone()));
    }

    fn durable(&self) -> Option<Durable> {
        if !self.is_strict.load(Ordering::Relaxed) {
            return None;
        }
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let mut on_disk = self.on_disk.subscribe();
        Some(Box::pin(async move { drop(on_disk.wait_for(|count| *count >= asked).await) }))
    }

    fn limited(&self, _admission: &Admission, hit: &LimitHit) {
        self.hits.lock().push(hit.clone());
    }
}

impl Recorder {
    pub(crate) fn admissions(&self) -> Vec<Admission> {
        self.admitted.lock().clone()
    }

    pub(crate) fn settlements(&self) -> Vec<Settlement> {
        self.settled.lock().iter().map(|(_, settlement)| settlement.clone()).collect()
    }

    /// What was settled, with what is known of the request by then.
    pub(crate) fn settled(&self) -> Vec<(Admission, Settlement)> {
        self.settled.lock().clone()
    }

    pub(crate) fn hits(&self) -> Vec<LimitHit> {
        self.hits.lock().clone()
    }

    /// The settlement of the only request so far; there must be one by now.
    pub(crate) fn only(&self) -> Settlement {
        let settlements = self.settlements();
        assert_eq!(settlements.len(), 1, "{settlements:?}");
        settlements[0].clone()
    }

    pub(crate) fn last(&self) -> Settlement {
        self.settlements().pop().expect("nothing is settled")
    }
}

/// What the gateway of a world is configured with.
pub(crate) struct Setup {
    pub(crate) config: GatewayConfig,
    pub(crate) allow: Vec<&'static str>,
    /// All but the policy, which `allow` is.
    pub(crate) egress: ClientConfig,
    /// Of AWS; none: the simulator, which is none.
    pub(crate) sts_endpoint: Option<String>,
    /// None: one for which it is half past the minute, always.
    pub(crate) limiter: Option<Arc<dyn Limiter>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: GatewayConfig::default(),
            allow: vec!["127.0.0.1"],
            egress: ClientConfig::default(),
            sts_endpoint: None,
            limiter: None,
        }
    }
}

fn limiter(counting: Counting) -> Arc<dyn Limiter> {
    Arc::new(MemoryLimiter::with_clock(counting, || 30_000))
}

/// Runs `test` in a world, then checks what holds in every case: each admission is settled once, and
/// nothing panicked.
pub(crate) async fn world(test: impl AsyncFnOnce(&World)) {
    world_with(Setup::default(), test).await;
}

pub(crate) async fn world_with(setup: Setup, test: impl AsyncFnOnce(&World)) {
    let world = World::start(setup);
    test(&world).await;
    world.check().await;
    world.shutdown.cancel();
}

/// One external model of an endpoint.
pub(crate) struct Entity {
    name: String,
    model: String,
    provider: &'static str,
    base: Option<String>,
    secret: &'static str,
    percentage: i64,
    timeouts: Value,
    default_params: Value,
    on_disconnect: Value,
    prices: Value,
}

impl Entity {
    /// `model` may carry a script of the simulator.
    pub(crate) fn new(provider: &'static str, model: &str) -> Self {
        Self {
            name: "one".into(),
            model: model.into(),
            provider,
            base: None,
            secret: "key",
            percentage: 100,
            timeouts: Value::Null,
            default_params: Value::Null,
            on_disconnect: Value::Null,
            prices: Value::Null,
        }
    }

    pub(crate) fn named(self, name: &str, percentage: i64) -> Self {
        Self { name: name.into(), percentage, ..self }
    }

    pub(crate) fn at(self, base: impl Into<String>) -> Self {
        Self { base: Some(base.into()), ..self }
    }

    pub(crate) fn secret(self, secret: &'static str) -> Self {
        Self { secret, ..self }
    }

    pub(crate) fn default_params(self, default_params: Value) -> Self {
        Self { default_params, ..self }
    }

    pub(crate) fn on_disconnect(self, what: &str) -> Self {
        Self { on_disconnect: what.into(), ..self }
    }

    /// In US dollars, by kind of token.
    pub(crate) fn priced(self, per_million_tokens: Value) -> Self {
        Self { prices: per_million_tokens, ..self }
    }

    pub(crate) fn connect(self, connect: u64) -> Self {
        Self { timeouts: json!({"connect_ms": connect}), ..self }
    }

    pub(crate) fn timeouts(self, first_byte: u64, idle: u64) -> Self {
        Self { timeouts: json!({"connect_ms": 5000, "first_byte_ms": first_byte, "idle_ms": idle}), ..self }
    }

    fn json(&self, task: &str, simulator: &str) -> Value {
        let base = self.base.as_deref().unwrap_or(simulator);
        let secret = format!("{{{{secrets/s/{}}}}}", self.secret);
        let (field, block) = match self.provider {
            "openai" => {
                ("openai_config", json!({"openai_api_key": secret, "openai_api_base": format!("{base}/v1")}))
            }
            "anthropic" => {
                ("anthropic_config", json!({"anthropic_api_key": secret, "anthropic_api_base": base}))
            }
            "custom" => (
                "custom_provider_config",
                json!({"custom_provider_url": format!("{base}/v1"), "bearer_token_auth": {"token": secret}}),
            ),
            "amazon-bedrock" => (
                "amazon_bedrock_config",
                json!({"aws_access_key_id": secret, "aws_secret_access_key": secret, "aws_region": "us-east-1",
                    "bedrock_provider": "amazon", "bedrock_runtime_endpoint": base}),
            ),
            "amazon-bedrock-profile" => ("amazon_bedrock_config", profile(base, PROFILE)),
            "amazon-bedrock-unlisted" => ("amazon_bedrock_config", profile(base, UNLISTED_PROFILE)),
            "google" => ("google_config", json!({"google_api_key": secret, "google_api_base": base})),
            "google-cloud-vertex-ai" => {
                let secret = if self.secret == "key" { "{{secrets/s/account}}".into() } else { secret };
                let block = json!({"project_id": "p", "region": "global", "private_key": secret, "vertex_api_base": base});
                ("google_cloud_vertex_ai_config", block)
            }
            "azure" => ("openai_config", azure(base, &self.model, &json!({"openai_api_key": secret}))),
            "azure-entra" => {
                let entra = json!({"microsoft_entra_tenant_id": "tenant", "microsoft_entra_client_id": "client",
                    "microsoft_entra_client_secret": secret});
                ("openai_config", azure(base, &self.model, &entra))
            }
            "cohere" => ("cohere_config", json!({"cohere_api_key": secret, "cohere_api_base": base})),
            "ai21labs" => ("ai21labs_config", json!({"ai21labs_api_key": secret, "ai21labs_api_base": base})),
            "databricks-model-serving" => (
                "databricks_model_serving_config",
                json!({"databricks_workspace_url": base, "databricks_api_token": secret}),
            ),
            other => panic!("unknown provider {other}"),
        };
        let provider = match self.provider {
            "azure" | "azure-entra" => "openai",
            "amazon-bedrock-profile" | "amazon-bedrock-unlisted" => "amazon-bedrock",
            other => other,
        };
        let mut entity = json!({"name": self.name, "external_model": {
            "name": self.model, "provider": provider, "task": task, field: block}});
        if !self.default_params.is_null() {
            entity["external_model"]["default_params"] = self.default_params.clone();
        }
        if !self.on_disconnect.is_null() {
            entity["on_disconnect"] = self.on_disconnect.clone();
        }
        if !self.prices.is_null() {
            entity["price_per_million_tokens"] = self.prices.clone();
        }
        if !self.timeouts.is_null() {
            entity["timeouts"] = self.timeouts.clone();
        }
        entity
    }
}

fn limits_of(limits: &Value) -> Limits {
    let limits = limits.as_array().unwrap().iter().cloned();
    Limits::new(limits.map(|limit| policy::limits::read(&serde_json::from_value(limit).unwrap()).unwrap()))
}

fn profile(base: &str, arn: &str) -> Value {
    json!({"instance_profile_arn": arn, "aws_region": "us-east-1", "bedrock_provider": "amazon",
        "bedrock_runtime_endpoint": base})
}

/// The deployment is called like the model, which may carry a script.
fn azure(base: &str, deployment: &str, credentials: &Value) -> Value {
    let mut block = json!({"openai_api_type": "azure", "openai_api_base": base,
        "openai_api_version": "2024-10-21", "openai_deployment_name": deployment});
    for (field, value) in credentials.as_object().unwrap() {
        block[field] = value.clone();
    }
    block
}

impl World {
    fn start(setup: Setup) -> Self {
        count_panics();
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let upstream = Simulator::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let (simulator, ledger, exchanges) = (upstream.url(), upstream.ledger(), upstream.exchanges());
        let (recordings, gates) = (upstream.recordings(), upstream.gates());
        tasks.spawn(upstream.serve(shutdown.clone()));
        let live = Arc::new(Live::default());
        let id_key = Some(IdKey::new(&[7; 32]));
        live.publish(Snapshot { tokens: Arc::new(tokens()), id_key, ..Snapshot::default() });
        let policy = AddressPolicy::new(&setup.allow).unwrap();
        let client = egress::Client::new(ClientConfig { policy, ..setup.egress }).unwrap();
        let records = Arc::new(Recorder::default());
        let sink: Arc<dyn RecordSink> = records.clone();
        let limiter = setup.limiter.unwrap_or_else(|| limiter(setup.config.counting));
        let plane = Gateway::with_limiter(live.clone(), client, sink, setup.config, limiter);
        let router = tollgate_gateway::router(plane.clone());
        let listener = small_buffers();
        let gateway = listener.local_addr().unwrap();
        tasks.spawn(serve(listener, router.clone(), tasks.clone(), shutdown.clone()));
        let sts_endpoint = setup.sts_endpoint.unwrap_or_else(|| simulator.clone());
        Self {
            gateway,
            simulator,
            ledger,
            exchanges,
            recordings,
            gates,
            records,
            tasks,
            accounting: Mutex::default(),
            plane,
            router,
            sts_endpoint,
            guardrails: Mutex::default(),
            guard_settings: Mutex::default(),
            live,
            shutdown,
        }
    }

    /// Publishes an endpoint of chat.
    pub(crate) fn chat(&self, name: &str, entities: &[Entity]) {
        self.endpoint(name, CHAT, false, entities);
    }

    pub(crate) fn endpoint(&self, name: &str, task: &str, fallback: bool, entities: &[Entity]) {
        self.limited(name, task, fallback, &json!([]), entities);
    }

    /// `limits` is what `ai_gateway.rate_limits` holds.
    pub(crate) fn limited(
        &self,
        name: &str,
        task: &str,
        fallback: bool,
        limits: &Value,
        entities: &[Entity],
    ) {
        let routes: Vec<Value> = entities
            .iter()
            .map(|e| json!({"served_entity_name": e.name, "traffic_percentage": e.percentage}))
            .collect();
        let entities: Vec<Value> = entities.iter().map(|e| e.json(task, &self.simulator)).collect();
        let config = json!({"served_entities": entities, "traffic_config": {"routes": routes}});
        let authority = [("entra_authority".to_owned(), self.simulator.clone())];
        let sts = [
            ("sts_endpoint".to_owned(), self.sts_endpoint.clone()),
            ("instance_profiles".to_owned(), PROFILE.to_owned()),
        ];
        let providers = [
            ("openai".to_owned(), ProviderDefaults::new(authority)),
            ("amazon-bedrock".to_owned(), ProviderDefaults::new(sts)),
        ]
        .into();
        let defaults =
            Defaults { providers, guardrails: self.guard_settings.lock().clone(), ..Defaults::default() };
        let normalized = normalize(serde_json::from_value(config).unwrap(), &defaults).unwrap();
        let grant = |user: &str, level| Grant { to: Grantee::User(user.into()), level };
        let meta = Meta {
            id: format!("id-{name}").into(),
            name: name.into(),
            config_version: 1,
            fallback,
            grants: vec![grant("ann", Level::Query), grant("bob", Level::View)],
            guardrails: self.guardrails.lock().clone(),
            accounting: self.accounting.lock().clone(),
            limits: limits_of(limits),
        };
        let compiled = compile(meta, &normalized.config, &defaults, &|secret| {
            let secret = secret.to_string();
            let name = secret.strip_prefix("{{secrets/s/")?.strip_suffix("}}")?;
            match name {
                "key" => Some(KEY.to_owned().into()),
                "wrong" => Some(WRONG.to_owned().into()),
                "account" | "refused" | "revoked-once" => Some(self.service_account(name).into()),
                _ => None,
            }
        });
        let mut snapshot = Snapshot::clone(&self.live.load());
        let mut endpoints = HashMap::clone(&snapshot.endpoints);
        endpoints.insert(name.to_owned(), compiled.unwrap().endpoint);
        snapshot.endpoints = Arc::new(endpoints);
        self.live.publish(snapshot);
    }

    /// The JSON of a service account, whose tokens the simulator gives.
    fn service_account(&self, name: &str) -> String {
        json!({"type": "service_account", "project_id": "p", "private_key_id": "1", "private_key": ACCOUNT_KEY,
            "client_email": format!("{name}@p.iam.gserviceaccount.com"),
            "token_uri": format!("{}/google/token", self.simulator)})
        .to_string()
    }

    pub(crate) fn published(&self, name: &str) -> Arc<Endpoint> {
        Arc::clone(&self.live.load().endpoints[name])
    }

    /// An address where connections fail.
    pub(crate) async fn gate(&self, gate: Gate) -> Opened {
        self.gates.open(gate).await.unwrap()
    }

    /// The newest request at the simulator, once it stands like this.
    pub(crate) async fn upstream(&self, state: State, within: Duration) -> Record {
        let newest = async || self.ledger.requests().pop().filter(|record| record.state == state);
        eventually(within, newest)
            .await
            .unwrap_or_else(|| panic!("not {state:?}: {:?}", self.ledger.requests()))
    }

    /// The only settlement, once it is there.
    pub(crate) async fn settled(&self, within: Duration) -> Settlement {
        let one = async || self.records.settlements().pop();
        let settlement = eventually(within, one).await.expect("nothing was settled");
        assert_eq!(self.records.settlements().len(), 1);
        settlement
    }

    async fn check(&self) {
        let balanced =
            async || (self.records.admitted.lock().len() == self.records.settled.lock().len()).then_some(());
        let is_balanced = eventually(Duration::from_secs(5), balanced).await.is_some();
        let ids = |of: Vec<Admission>| {
            let mut ids: Vec<_> = of.into_iter().map(|admission| admission.request_id.0).collect();
            ids.sort_unstable();
            ids
        };
        let settled = self.records.settled.lock().iter().map(|(admission, _)| admission.clone()).collect();
        assert_eq!(ids(self.records.admissions()), ids(settled), "balanced: {is_balanced}");
        assert_eq!(PANICS.load(Ordering::SeqCst), 0, "something panicked");
    }
}

/// Asks until there is an answer or the time is up.
pub(crate) async fn eventually<T>(within: Duration, ask: impl AsyncFn() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A listener on loopback whose connections hold little in the kernel, so that what is measured is the
/// gateway's memory.
pub(crate) fn small_buffers() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(64 << 10).unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    socket.listen(1024).unwrap()
}

fn tokens() -> HashMap<[u8; 32], Token> {
    let token = |text: &str, user: &str, expires_at| {
        let principal = Principal {
            id: user.into(),
            name: user.into(),
            display_name: user.into(),
            kind: PrincipalKind::User,
            groups: Vec::new(),
            can_create: false,
        };
        let hash = hash_token(text);
        (hash, Token { id: text.into(), hash, principal: Arc::new(principal), expires_at })
    };
    [token(TOKEN, "ann", None), token(VIEWER, "bob", None), token(EXPIRED, "ann", Some(1))].into()
}

async fn serve(listener: TcpListener, router: axum::Router, tasks: TaskTracker, shutdown: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, _) = accepted.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = TowerToHyperService::new(router.clone());
        let mut http = http1::Builder::new();
        let serving = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                _ = serving => {}
            }
        });
    }
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.location().is_none_or(|at| !at.file().contains("tests/it")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            print(info);
        }));
    });
}
