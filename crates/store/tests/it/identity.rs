//! Principals, groups and client secrets as SCIM and OAuth need them, and data from before there were any.

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tollgate_store::model::{GroupRecord, GroupRef, NewOauthSecret, PrincipalRecord, Profile};
use tollgate_store::{PrincipalStore as _, Store, StoreError, TokenStore as _};

use crate::{grew, on_each, open, stayed};

fn robot(name: &str) -> PrincipalRecord {
    PrincipalRecord {
        is_service_principal: true,
        name: name.into(),
        display_name: "a robot".into(),
        active: true,
        profile: Profile { external_id: "x".into(), ..Profile::default() },
        entitlements: vec!["e".into()],
        roles: vec!["r".into()],
        ..PrincipalRecord::default()
    }
}

async fn find(store: &dyn Store, id: &str) -> PrincipalRecord {
    store.principals().await.unwrap().into_iter().find(|p| p.id == id).unwrap()
}

async fn group(store: &dyn Store, name: &str) -> GroupRecord {
    store.group_records().await.unwrap().into_iter().find(|g| g.name == name).unwrap()
}

#[tokio::test]
async fn a_principal_comes_back_as_it_went() {
    on_each(async |store: &dyn Store| {
        let mut last = store.generation().await.unwrap();
        let id = store.create_principal(&robot("app")).await.unwrap();
        grew(store, &mut last).await;
        let made = find(store, &id).await;
        assert!(made.epoch > 1_600_000_000_000 && made.created_at == made.epoch);
        let (epoch, created_at) = (made.epoch, made.created_at);
        assert_eq!(made, PrincipalRecord { id: id.clone(), epoch, created_at, ..robot("app") });
        assert!(matches!(store.create_principal(&robot("app")).await, Err(StoreError::Exists)));
        stayed(store, last).await;
        // The name and the kind stay, and a deactivation begins an epoch, once.
        let off =
            PrincipalRecord { name: "other".into(), is_service_principal: false, active: false, ..made };
        store.update_principal(&off).await.unwrap();
        grew(store, &mut last).await;
        let now = find(store, &id).await;
        assert!(now.name == "app" && now.is_service_principal && !now.active && now.epoch > epoch);
        store.update_principal(&PrincipalRecord { active: true, ..off.clone() }).await.unwrap();
        assert_eq!(find(store, &id).await.epoch, now.epoch);
        assert!(store.bump_epoch(&id).await.unwrap());
        assert!(find(store, &id).await.epoch > now.epoch);
        assert!(store.delete_principal(&id).await.unwrap());
        assert!(!store.delete_principal(&id).await.unwrap() && !store.bump_epoch(&id).await.unwrap());
        assert!(matches!(store.update_principal(&off).await, Err(StoreError::Missing)));
    })
    .await;
}

#[tokio::test]
async fn the_last_active_administrator_is_kept_by_the_store_itself() {
    on_each(async |store: &dyn Store| {
        let ann = store.ensure_user("ann", &["admins"]).await.unwrap();
        let last = store.generation().await.unwrap();
        let record = find(store, &ann).await;
        let admins = group(store, "admins").await;
        let off = PrincipalRecord { active: false, ..record.clone() };
        let out = PrincipalRecord { groups: Vec::new(), ..record };
        let empty = GroupRecord { principals: Vec::new(), ..admins.clone() };
        for refused in [
            store.update_principal(&off).await.err(),
            store.update_principal(&out).await.err(),
            store.delete_principal(&ann).await.err(),
            store.update_group(&empty).await.err(),
            store.delete_group(&admins.id).await.err(),
        ] {
            assert!(matches!(refused, Some(StoreError::LastAdmin)), "{refused:?}");
        }
        stayed(store, last).await;
        // One in a group in `admins` is another.
        let robot = store.create_principal(&robot("app")).await.unwrap();
        let inner = GroupRecord { name: "inner".into(), principals: vec![robot], ..GroupRecord::default() };
        let inner = store.create_group(&inner).await.unwrap();
        store.update_group(&GroupRecord { groups: vec![inner], ..admins }).await.unwrap();
        assert!(store.delete_principal(&ann).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn permissions_go_with_a_group_and_move_with_its_name() {
    on_each(async |store: &dyn Store| {
        let id =
            store.create_group(&GroupRecord { name: "dev".into(), ..GroupRecord::default() }).await.unwrap();
        let scope = tollgate_store::model::NewScope { name: "s", hidden: false, managers: &["dev"] };
        store.create_scope(scope).await.unwrap();
        let record = GroupRecord { name: "ops".into(), ..group(store, "dev").await };
        store.update_group(&record).await.unwrap();
        assert_eq!(store.acls("s").await.unwrap()[0].principal, "ops");
        assert!(matches!(
            store.update_group(&GroupRecord { name: "users".into(), ..record }).await,
            Err(StoreError::Exists)
        ));
        assert!(store.delete_group(&id).await.unwrap());
        assert!(store.acls("s").await.unwrap().is_empty());
        assert!(!store.delete_group(&id).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn client_secrets_are_counted_and_deleted_alone() {
    on_each(async |store: &dyn Store| {
        let id = store.create_principal(&robot("app")).await.unwrap();
        let new = |at: u8, hash| NewOauthSecret {
            principal_id: &id,
            hash,
            expires_at: if at == 0 { 1 } else { i64::MAX },
        };
        let hashes: Vec<[u8; 32]> = (0..7).map(|at| [at; 32]).collect();
        // The first has run out and makes room.
        for at in 0..6 {
            store.create_oauth_secret(new(at, &hashes[usize::from(at)])).await.unwrap();
        }
        assert!(matches!(store.create_oauth_secret(new(6, &hashes[6])).await, Err(StoreError::Full(_))));
        let all = store.oauth_secrets().await.unwrap();
        assert_eq!(all.len(), 5);
        let epoch = find(store, &id).await.epoch;
        assert!(!store.delete_oauth_secret("other", &all[0].id).await.unwrap());
        assert_eq!(find(store, &id).await.epoch, epoch);
        assert!(store.delete_oauth_secret(&id, &all[0].id).await.unwrap());
        assert_eq!((find(store, &id).await.epoch, store.oauth_secrets().await.unwrap().len()), (epoch, 4));
        store.delete_principal(&id).await.unwrap();
        assert!(store.oauth_secrets().await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_signing_key_is_made_once_and_replaced_on_request() {
    use secrecy::ExposeSecret;
    on_each(async |store: &dyn Store| {
        assert!(store.signing_key().await.unwrap().is_none());
        store.ensure_signing_key().await.unwrap();
        let key = store.signing_key().await.unwrap().unwrap();
        assert_eq!(key.expose_secret().len(), 32);
        let last = store.generation().await.unwrap();
        store.ensure_signing_key().await.unwrap();
        assert_eq!(store.signing_key().await.unwrap().unwrap().expose_secret(), key.expose_secret());
        stayed(store, last).await;
        store.replace_signing_key().await.unwrap();
        assert_ne!(store.signing_key().await.unwrap().unwrap().expose_secret(), key.expose_secret());
        assert!(store.generation().await.unwrap() > last);
        assert!(store.scopes().await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_key_of_ids_is_made_once() {
    use secrecy::ExposeSecret;
    on_each(async |store: &dyn Store| {
        let key = store.id_key().await.unwrap();
        assert_eq!(key.expose_secret().len(), 32);
        let last = store.generation().await.unwrap();
        assert_eq!(store.id_key().await.unwrap().expose_secret(), key.expose_secret());
        stayed(store, last).await;
        store.ensure_signing_key().await.unwrap();
        store.replace_signing_key().await.unwrap();
        assert_eq!(store.id_key().await.unwrap().expose_secret(), key.expose_secret());
        assert!(store.scopes().await.unwrap().is_empty());
    })
    .await;
}

/// What the first migration made gets numbers as ids, and everything stays with everything.
#[tokio::test]
async fn data_from_before_is_renumbered() {
    let folder = tempfile::tempdir().unwrap();
    let migrations = folder.path().join("migrations");
    std::fs::create_dir(&migrations).unwrap();
    std::fs::write(migrations.join("0001_init.sql"), include_str!("../../migrations/0001_init.sql")).unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("tollgate.db"))
        .create_if_missing(true)
        .foreign_keys(true);
    let pool = SqlitePoolOptions::new().connect_with(options).await.unwrap();
    Migrator::new(migrations).await.unwrap().run(&pool).await.unwrap();
    for sql in [
        "INSERT INTO principals (id, kind, name, display_name, created_at) VALUES ('aa', 'user', 'ann', 'Ann', 1), ('bb', 'user', 'bob', 'Bob', 2)",
        "INSERT INTO groups (id, name) VALUES ('g1', 'admins'), ('g2', 'dev')",
        "INSERT INTO memberships (group_id, principal_id) VALUES ('g1', 'aa'), ('g2', 'aa'), ('g2', 'bb')",
        "INSERT INTO tokens (id, hash, principal_id, comment, created_at) VALUES ('t', zeroblob(32), 'bb', 'c', 3)",
    ] {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
    pool.close().await;
    let store = open(&folder).await;
    let principals = store.principals().await.unwrap();
    let seen: Vec<(&str, Vec<&str>)> = principals
        .iter()
        .map(|p| (p.name.as_str(), p.groups.iter().map(|g: &GroupRef| g.name.as_str()).collect()))
        .collect();
    assert_eq!(seen, [("ann", vec!["admins", "dev"]), ("bob", vec!["dev"])]);
    for id in principals.iter().map(|p| &p.id).chain(store.groups().await.unwrap().iter().map(|g| &g.id)) {
        assert!((1 << 51..1 << 52).contains(&id.parse::<i64>().unwrap()), "{id}");
    }
    let token = &store.tokens().await.unwrap()[0];
    assert_eq!((&token.principal_id, &token.created_by), (&principals[1].id, &principals[1].id));
    let names: Vec<String> = store.groups().await.unwrap().into_iter().map(|g| g.name).collect();
    assert_eq!(names, ["admins", "dev", "users"]);
}
