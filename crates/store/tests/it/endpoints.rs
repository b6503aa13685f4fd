//! Endpoints and grants.

use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tollgate_store::model::{EndpointRecord, GrantRecord, GranteeKind};
use tollgate_store::{
    EndpointDocument, EndpointStore as _, PastStore as _, RevisionStore as _, Store, StoreError,
};

use crate::{grew, on_each, open, stayed};

pub(crate) fn grant(kind: GranteeKind, grantee: &str, level: &str) -> GrantRecord {
    GrantRecord { kind, grantee: grantee.to_owned(), level: level.to_owned() }
}

pub(crate) fn endpoint(name: &str) -> EndpointRecord {
    let config = json!({"served_entities": [{"name": "a", "external_model": {"name": "m", "provider": "openai",
        "task": "llm/v1/chat", "openai_config": {"openai_api_key": "{{secrets/s/k}}", "odd": [1.5, null, "é\u{0}"]}}}]});
    EndpointRecord {
        id: format!("id-{name}"),
        name: name.to_owned(),
        creator: "ann".to_owned(),
        created_at: 1,
        updated_at: 2,
        config_version: 3,
        document: EndpointDocument {
            description: "it's \"quoted\"; DROP TABLE endpoints; --".to_owned(),
            config: serde_json::from_value(config).unwrap(),
            config_author: "ann".to_owned(),
            config_created_at: 4,
            ..EndpointDocument::default()
        },
        grants: vec![
            grant(GranteeKind::User, "zoe", "CAN_MANAGE"),
            grant(GranteeKind::Group, "users", "CAN_QUERY"),
            grant(GranteeKind::ServicePrincipal, "app", "CAN_VIEW"),
            grant(GranteeKind::User, "ann", "CAN_VIEW"),
            grant(GranteeKind::Group, "zoe", "CAN_VIEW"),
        ],
    }
}

#[tokio::test]
async fn an_endpoint_comes_back_as_it_went() {
    on_each(async |store: &dyn Store| {
        assert!(store.endpoints().await.unwrap().is_empty());
        let (a, b) = (endpoint("a"), endpoint("B"));
        let mut last = store.generation().await.unwrap();
        store.create_endpoint(&b).await.unwrap();
        grew(store, &mut last).await;
        store.create_endpoint(&a).await.unwrap();
        grew(store, &mut last).await;
        // Grants in the order in which they were given, not in one of the store's.
        assert_eq!(store.endpoint("a").await.unwrap().as_ref(), Some(&a));
        let mut all = store.endpoints().await.unwrap();
        all.sort_by(|x, y| x.id.cmp(&y.id));
        assert_eq!(all, [b, a]);
        // Names are as they are written.
        assert_eq!(store.endpoint("A").await.unwrap(), None);
        assert_eq!(store.endpoint("' OR 1=1 --").await.unwrap(), None);
        stayed(store, last).await;
    })
    .await;
}

#[tokio::test]
async fn a_name_and_an_id_are_taken_once() {
    on_each(async |store: &dyn Store| {
        store.create_endpoint(&endpoint("a")).await.unwrap();
        let last = store.generation().await.unwrap();
        let same_name = EndpointRecord { id: "other".into(), creator: "eve".into(), ..endpoint("a") };
        let same_id = EndpointRecord { name: "other".into(), creator: "eve".into(), ..endpoint("a") };
        for taken in [same_name, same_id] {
            assert!(matches!(store.create_endpoint(&taken).await, Err(StoreError::Exists)));
        }
        assert_eq!(store.endpoints().await.unwrap(), [endpoint("a")]);
        stayed(store, last).await;
    })
    .await;
}

#[tokio::test]
async fn an_update_replaces_document_and_grants() {
    on_each(async |store: &dyn Store| {
        let mut changed = endpoint("a");
        assert!(matches!(store.update_endpoint(&changed).await, Err(StoreError::Missing)));
        store.create_endpoint(&changed).await.unwrap();
        store.create_endpoint(&endpoint("b")).await.unwrap();
        let mut last = store.generation().await.unwrap();
        changed.updated_at = 20;
        changed.config_version = 4;
        changed.document.description = String::new();
        changed.grants =
            vec![grant(GranteeKind::User, "new", "CAN_QUERY"), grant(GranteeKind::User, "ann", "CAN_MANAGE")];
        store.update_endpoint(&changed).await.unwrap();
        grew(store, &mut last).await;
        assert_eq!(store.endpoint("a").await.unwrap().as_ref(), Some(&changed));
        assert_eq!(store.endpoint("b").await.unwrap(), Some(endpoint("b")));
        changed.grants.clear();
        store.update_endpoint(&changed).await.unwrap();
        assert_eq!(store.endpoint("a").await.unwrap().unwrap().grants, []);
    })
    .await;
}

/// One grantee has one level: of two grants the last counts, and it is no reason to say the endpoint exists.
#[tokio::test]
async fn a_repeated_grantee_keeps_its_last_level() {
    on_each(async |store: &dyn Store| {
        let mut twice = endpoint("a");
        twice.grants = vec![
            grant(GranteeKind::User, "ann", "CAN_VIEW"),
            grant(GranteeKind::User, "bob", "CAN_VIEW"),
            grant(GranteeKind::User, "ann", "CAN_MANAGE"),
        ];
        let expected =
            [grant(GranteeKind::User, "ann", "CAN_MANAGE"), grant(GranteeKind::User, "bob", "CAN_VIEW")];
        store.create_endpoint(&twice).await.unwrap();
        assert_eq!(store.endpoint("a").await.unwrap().unwrap().grants, expected);
        store.update_endpoint(&twice).await.unwrap();
        assert_eq!(store.endpoint("a").await.unwrap().unwrap().grants, expected);
    })
    .await;
}

#[tokio::test]
async fn a_failed_write_leaves_nothing_behind() {
    on_each(async |store: &dyn Store| {
        let last = store.generation().await.unwrap();
        let mut bad = endpoint("a");
        bad.grants.push(grant(GranteeKind::User, "eve", "CAN_DO_ANYTHING"));
        assert!(store.create_endpoint(&bad).await.is_err());
        assert!(store.endpoints().await.unwrap().is_empty());
        store.create_endpoint(&endpoint("a")).await.unwrap();
        bad.document.description = "half".into();
        assert!(store.update_endpoint(&bad).await.is_err());
        assert_eq!(store.endpoint("a").await.unwrap(), Some(endpoint("a")));
        stayed(store, last + 1).await;
    })
    .await;
}

#[tokio::test]
async fn a_deleted_endpoint_takes_its_grants_along() {
    on_each(async |store: &dyn Store| {
        store.create_endpoint(&endpoint("a")).await.unwrap();
        let mut last = store.generation().await.unwrap();
        assert!(!store.delete_endpoint("b").await.unwrap());
        stayed(store, last).await;
        assert!(store.delete_endpoint("a").await.unwrap());
        grew(store, &mut last).await;
        assert!(!store.delete_endpoint("a").await.unwrap());
        let bare = EndpointRecord { grants: Vec::new(), ..endpoint("a") };
        store.create_endpoint(&bare).await.unwrap();
        assert_eq!(store.endpoint("a").await.unwrap(), Some(bare));
    })
    .await;
}

#[tokio::test]
async fn every_version_that_was_in_force_is_kept_until_it_is_forgotten() {
    on_each(async |store: &dyn Store| {
        store.create_endpoint(&endpoint("a")).await.unwrap();
        store.create_endpoint(&endpoint("b")).await.unwrap();
        let mut changed = endpoint("a");
        changed.document.description = "no other config".to_owned();
        store.update_endpoint(&changed).await.unwrap();
        assert!(store.past_endpoints().await.unwrap().is_empty());
        for version in 4..6 {
            changed.config_version = version;
            store.revise_endpoint(&changed, "ann").await.unwrap();
        }
        assert!(store.delete_endpoint("a").await.unwrap());
        assert!(!store.delete_endpoint("a").await.unwrap());
        let past = store.past_endpoints().await.unwrap();
        let told: Vec<_> =
            past.iter().map(|past| (past.endpoint.config_version, past.deleted_at.is_some())).collect();
        assert_eq!(told, [(3, false), (4, false), (5, true)]);
        assert!(past.iter().all(|past| past.endpoint.name == "a"));
        assert_eq!(past[2].endpoint, EndpointRecord { grants: Vec::new(), ..changed.clone() });
        let last = store.generation().await.unwrap();
        store.forget_past_endpoints(past[1].number).await.unwrap();
        assert_eq!(store.past_endpoints().await.unwrap(), past[2..]);
        stayed(store, last).await;
    })
    .await;
}

/// A version that the table of what is served may lack is told of once more.
#[tokio::test]
async fn revisions_from_before_are_past_endpoints() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    let mut record = endpoint("a");
    store.create_endpoint(&record).await.unwrap();
    record.document.ai_gateway = Some(wire::endpoint::AiGateway::default());
    store.revise_endpoint(&record, "bob").await.unwrap();
    record.config_version = 4;
    record.document.config.served_entities[0].name = Some("b".to_owned());
    store.revise_endpoint(&record, "cid").await.unwrap();
    store.close().await;
    let options = SqliteConnectOptions::new().filename(folder.path().join("tollgate.db"));
    let pool = SqlitePoolOptions::new().connect_with(options).await.unwrap();
    for sql in ["DROP TABLE past_endpoints", "DELETE FROM _sqlx_migrations WHERE version = 6"] {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
    pool.close().await;
    let past = open(&folder).await.past_endpoints().await.unwrap();
    let told = past.iter().map(|past| {
        let document = &past.endpoint.document;
        let entity = document.config.served_entities[0].name.as_deref();
        (past.endpoint.config_version, entity, document.config_author.as_str(), past.deleted_at)
    });
    assert_eq!(told.collect::<Vec<_>>(), [(3, Some("a"), "ann", None)]);
}
