//! Any interleaving of what can be done to an endpoint's config leaves one active version: it is what is
//! served, its history has no gap and does not change, and no update is left running.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use policy::Endpoint;
use policy::runtime::{Probe, Probed, Probing};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::world::World;

const ENDPOINT: &str = "/api/2.0/serving-endpoints/e";
const OURS: &str = "/api/tollgate/v1/endpoints/e";

/// Holds every probe until it is let go; a model whose name says so does not answer.
struct Gate(Semaphore);

impl Probe for Gate {
    fn probe(&self, endpoint: Arc<Endpoint>) -> Probing<'_> {
        Box::pin(async move {
            self.0.acquire().await.unwrap().forget();
            let entity = &endpoint.entities[0];
            let problem = entity.model.starts_with("dead").then(|| "no answer".to_owned());
            vec![Probed { entity: Arc::clone(&entity.name), problem }]
        })
    }
}

#[derive(Clone, Debug)]
enum Step {
    Create,
    Delete,
    Update {
        model: u8,
    },
    /// Probed before it is swapped in.
    Validate {
        model: u8,
        dead: bool,
    },
    /// Fails its check.
    Wrong,
    Cancel,
    Rollback {
        revision: u8,
    },
    Fallback {
        enabled: bool,
    },
    LetGo,
    /// What a start after a crash does.
    Recover,
}

/// Steps of one batch run at the same time.
fn batches() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![
        1 => Just(Step::Create),
        1 => Just(Step::Delete),
        4 => (0..4u8).prop_map(|model| Step::Update { model }),
        4 => (0..4u8, any::<bool>()).prop_map(|(model, dead)| Step::Validate { model, dead }),
        1 => Just(Step::Wrong),
        2 => Just(Step::Cancel),
        3 => (1..6u8).prop_map(|revision| Step::Rollback { revision }),
        2 => any::<bool>().prop_map(|enabled| Step::Fallback { enabled }),
        3 => Just(Step::LetGo),
        1 => Just(Step::Recover),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..4), 1..8)
}

fn config(model: &str) -> Value {
    json!({"served_entities": [{"name": "m", "external_model": {"name": model, "provider": "openai",
        "task": "llm/v1/chat", "openai_config": {"openai_api_key_plaintext": "k"}}}]})
}

fn validated(model: u8, dead: bool) -> Value {
    let mut body = config(&format!("{}{model}", if dead { "dead" } else { "alive" }));
    body["validate"] = true.into();
    body
}

struct Field {
    world: World,
    gate: Arc<Gate>,
    /// Every revision that was ever seen, by endpoint id and number.
    seen: BTreeMap<(String, i64), Value>,
}

impl Field {
    async fn new() -> Self {
        let gate = Arc::new(Gate(Semaphore::new(0)));
        let world = World::probed(Arc::clone(&gate) as _).await;
        let field = Self { world, gate, seen: BTreeMap::new() };
        field.step(&Step::Create).await;
        field
    }

    async fn step(&self, step: &Step) {
        let (method, path, body) = match step {
            Step::Create => {
                let body = json!({"name": "e", "config": config("first")});
                ("POST", "/api/2.0/serving-endpoints".to_owned(), body)
            }
            Step::Delete => ("DELETE", ENDPOINT.to_owned(), Value::Null),
            Step::Update { model } => ("PUT", format!("{ENDPOINT}/config"), config(&format!("m{model}"))),
            Step::Validate { model, dead } => ("PUT", format!("{ENDPOINT}/config"), validated(*model, *dead)),
            Step::Wrong => ("PUT", format!("{ENDPOINT}/config"), json!({"served_entities": []})),
            Step::Cancel => ("POST", format!("{OURS}/cancel-update"), Value::Null),
            Step::Rollback { revision } => {
                ("POST", format!("{OURS}/rollback"), json!({"revision": revision}))
            }
            Step::Fallback { enabled } => {
                let body = json!({"fallback_config": {"enabled": enabled}});
                ("PUT", format!("{ENDPOINT}/ai-gateway"), body)
            }
            Step::LetGo => return self.gate.0.add_permits(1),
            Step::Recover => return self.world.control.start().await.unwrap(),
        };
        let answer = self.world.act(method, &path, body).await;
        assert!([200, 400, 404, 409].contains(&answer.status.as_u16()), "{step:?}: {}", answer.body);
    }

    /// What is stored is what is served, and the history only grows.
    async fn check(&mut self) -> Result<(), TestCaseError> {
        // An update that was let go may be between its write and its publication.
        let mut found = self.look().await;
        for _ in 0..200 {
            if found.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            found = self.look().await;
        }
        found
    }

    async fn look(&mut self) -> Result<(), TestCaseError> {
        let snapshot = Arc::clone(&self.world.live.load());
        let Some(record) = self.world.store.endpoint("e").await.unwrap() else {
            prop_assert!(snapshot.endpoints.is_empty());
            return Ok(());
        };
        prop_assert!(snapshot.endpoints.contains_key("e"));
        let served = &snapshot.endpoints["e"];
        let active = record.document.config.served_entities[0].external_model.as_ref().unwrap();
        prop_assert_eq!(served.id.as_ref(), record.id.as_str());
        prop_assert_eq!(served.config_version, record.config_version);
        prop_assert_eq!(&served.entities[0].model, &active.name);
        let fallback = record.document.ai_gateway.as_ref().and_then(|g| g.fallback_config);
        prop_assert_eq!(served.fallback, fallback.is_some_and(|f| f.enabled));
        let revisions = self.world.store.revisions(&record.id).await.unwrap();
        let last = revisions.last().unwrap();
        prop_assert_eq!(&last.document.config, &record.document.config);
        prop_assert_eq!(&last.document.ai_gateway, &record.document.ai_gateway);
        prop_assert!(last.config_version <= record.config_version);
        for (at, revision) in revisions.iter().enumerate() {
            prop_assert_eq!(usize::try_from(revision.number).unwrap(), at + 1);
            let now =
                json!([revision.config_version, revision.author, revision.created_at, revision.document]);
            let place = (record.id.clone(), revision.number);
            let before = self.seen.entry(place).or_insert_with(|| now.clone());
            prop_assert_eq!(&*before, &now, "revision {} changed", revision.number);
        }
        let versions: Vec<i64> = revisions.iter().map(|r| r.config_version).collect();
        prop_assert!(versions.is_sorted(), "{:?}", versions);
        Ok(())
    }

    /// Lets every update end.
    async fn settle(&self) {
        self.gate.0.add_permits(1000);
        self.world.control.finish().await;
    }
}

#[test]
fn any_interleaving_of_updates_leaves_one_active_version() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // Each case has a store of its own, on disk.
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let run = runner.run(&batches(), |batches| {
        runtime.block_on(async {
            let mut field = Field::new().await;
            for batch in &batches {
                futures_util::future::join_all(batch.iter().map(|step| field.step(step))).await;
                field.check().await?;
            }
            field.settle().await;
            field.check().await?;
            let shown = field.world.act("GET", ENDPOINT, Value::Null).await;
            if shown.status.is_success() {
                let state = &shown.body["state"];
                prop_assert_ne!(&state["config_update"], "IN_PROGRESS", "{}", state);
                prop_assert_eq!(&state["ready"], "READY");
            }
            Ok(())
        })
    });
    run.unwrap();
}

impl Field {
    /// What another process does; gives the version that then is stored.
    async fn raise(&self) -> i64 {
        let mut record = self.world.store.endpoint("e").await.unwrap().unwrap();
        record.config_version += 1;
        self.world.store.revise_endpoint(&record, "another process").await.unwrap();
        record.config_version
    }

    /// The version that serves.
    fn serves(&self) -> Option<i64> {
        self.world.live.load().endpoints.get("e").map(|e| e.config_version)
    }
}

/// The store is written first. Whoever reads the config in between, or one that another process wrote, would
/// be told of what does not serve yet.
#[tokio::test]
async fn what_is_read_of_an_endpoint_is_what_serves() {
    let field = Field::new().await;
    let id = field.world.store.endpoint("e").await.unwrap().unwrap().id;
    let reads = [
        ("GET", ENDPOINT.to_owned(), Value::Null),
        ("GET", "/api/2.0/serving-endpoints".to_owned(), Value::Null),
        ("GET", "/api/2.0/serving-endpoints:foundation-models".to_owned(), Value::Null),
        ("GET", format!("{ENDPOINT}/openapi"), Value::Null),
        ("GET", format!("{OURS}/revisions"), Value::Null),
        ("GET", format!("{OURS}/revisions/1"), Value::Null),
        ("GET", format!("/api/2.0/permissions/serving-endpoints/{id}"), Value::Null),
        ("POST", "/api/tollgate/v1/explain".to_owned(), json!({"endpoint": "e"})),
    ];
    for (method, path, body) in reads {
        let before = field.serves();
        let stored = field.raise().await;
        assert_eq!(field.serves(), before, "published by somebody else");
        field.world.act(method, &path, body).await.is(200);
        assert_eq!(field.serves(), Some(stored), "{path}");
    }
    field.world.store.delete_endpoint("e").await.unwrap();
    field.world.act("GET", ENDPOINT, Value::Null).await.is(404);
    assert_eq!(field.serves(), None);
}

#[tokio::test]
async fn while_nothing_can_be_published_endpoints_are_read_and_updates_cancelled() {
    let field = Field::new().await;
    field.world.act("PUT", &format!("{ENDPOINT}/config"), validated(0, false)).await.is(200);
    let damage = "CREATE TABLE kept AS SELECT key, sealed FROM secrets; UPDATE secrets SET sealed = x'00'";
    drop(field.world.execute(damage).await);
    let stored = field.raise().await;
    for _ in 0..2 {
        let told = field.world.act("GET", ENDPOINT, Value::Null).await.is(200);
        assert_eq!((&told["config"]["config_version"], field.serves()), (&json!(stored), Some(1)));
    }
    field.world.act("POST", &format!("{OURS}/cancel-update"), Value::Null).await.is(200);
    let mend = "UPDATE secrets SET sealed = (SELECT sealed FROM kept WHERE kept.key = secrets.key)";
    drop(field.world.execute(mend).await);
    tollgate_control::refresh(&field.world.control).await.unwrap();
    let stored = field.raise().await;
    field.world.act("GET", ENDPOINT, Value::Null).await.is(200);
    assert_eq!(field.serves(), Some(stored), "waited for again");
}

/// The probe of the first, let go late, must not speak for the second.
#[tokio::test]
async fn a_cancelled_update_does_not_end_the_one_after_it() {
    for cancelled in [validated(0, false), validated(0, true), validated(1, false)] {
        let field = Field::new().await;
        let path = format!("{ENDPOINT}/config");
        field.world.act("PUT", &path, cancelled).await.is(200);
        field.world.act("POST", &format!("{OURS}/cancel-update"), Value::Null).await.is(200);
        field.world.act("PUT", &path, validated(1, false)).await.is(200);
        let answer = field.world.act("PUT", &path, config("m")).await;
        assert_eq!(answer.is(409)["error_code"], "RESOURCE_CONFLICT");
        field.settle().await;
        let now = field.world.act("GET", ENDPOINT, Value::Null).await.is(200);
        assert_eq!(now["state"]["config_update"], "NOT_UPDATING");
        assert_eq!(now["config"]["config_version"], 2);
        assert_eq!(now["config"]["served_entities"][0]["external_model"]["name"], "alive1");
    }
}

#[tokio::test]
async fn an_update_that_fails_leaves_the_inference_table_as_it_was() {
    for (dead, expected) in [(true, Value::Null), (false, json!("main"))] {
        let field = Field::new().await;
        let mut body = validated(0, dead);
        body["auto_capture_config"] = json!({"enabled": true, "catalog_name": "main", "schema_name": "s"});
        let began = field.world.act("PUT", &format!("{ENDPOINT}/config"), body).await.is(200);
        assert!(began["ai_gateway"].is_null(), "{began}");
        field.settle().await;
        let now = field.world.act("GET", ENDPOINT, Value::Null).await.is(200);
        assert_eq!(now["ai_gateway"]["inference_table_config"]["catalog_name"], expected, "{now}");
    }
}

/// A trigger stands for a disk that is full for a while.
#[tokio::test]
async fn an_outcome_that_cannot_be_written_is_written_later() {
    let field = Field::new().await;
    field.world.act("PUT", &format!("{ENDPOINT}/config"), validated(0, false)).await.is(200);
    let trigger = "CREATE TRIGGER full BEFORE UPDATE ON endpoints BEGIN SELECT RAISE(ABORT, 'no room'); END";
    field.world.execute(trigger).await;
    field.gate.0.add_permits(1);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let now = field.world.act("GET", ENDPOINT, Value::Null).await.is(200);
    assert_eq!(now["state"]["config_update"], "IN_PROGRESS");
    field.world.execute("DROP TRIGGER full").await;
    for _ in 0..200 {
        let now = field.world.act("GET", ENDPOINT, Value::Null).await.is(200);
        if now["state"]["config_update"] == "NOT_UPDATING" {
            assert_eq!(now["config"]["served_entities"][0]["external_model"]["name"], "alive0");
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the update did not end");
}

#[tokio::test]
async fn a_rollback_does_not_rename_a_table_that_is_enabled() {
    let field = Field::new().await;
    let table = |name: &str, enabled| json!({"inference_table_config": {"enabled": enabled, "catalog_name": name, "schema_name": "s"}});
    for body in [table("a", true), table("a", false), table("b", true)] {
        field.world.act("PUT", &format!("{ENDPOINT}/ai-gateway"), body).await.is(200);
    }
    let refused = field.world.act("POST", &format!("{OURS}/rollback"), json!({"revision": 2})).await.is(400);
    assert!(refused["message"].as_str().unwrap().contains("catalog_name"), "{refused}");
    field.world.act("POST", &format!("{OURS}/rollback"), json!({"revision": 3})).await.is(200);
}
