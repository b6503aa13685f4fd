//! Scopes, sealed values, access control lists.

use secrecy::ExposeSecret;
use tollgate_store::model::{AclEntry, NewScope, ScopePermission};
use tollgate_store::{Store, StoreError};

use crate::{grew, on_each, stayed};

pub(crate) fn scope<'a>(name: &'a str, managers: &'a [&'a str]) -> NewScope<'a> {
    NewScope { name, hidden: false, managers }
}

async fn opened(store: &dyn Store, scope: &str, key: &str) -> Option<Vec<u8>> {
    let value = store.open_secret(scope, key).await.unwrap();
    value.map(|value| value.expose_secret().to_vec())
}

#[tokio::test]
async fn scopes_are_known_in_any_case() {
    on_each(async |store: &dyn Store| {
        let mut last = store.generation().await.unwrap();
        store.create_scope(scope("Keys", &["ann"])).await.unwrap();
        grew(store, &mut last).await;
        for name in ["Keys", "keys", "KEYS"] {
            assert!(matches!(store.create_scope(scope(name, &[])).await, Err(StoreError::Exists)), "{name}");
            // As it was written first.
            assert_eq!(store.scope(name).await.unwrap().unwrap().name, "Keys");
        }
        assert_eq!(store.scope("other").await.unwrap(), None);
        store.create_scope(scope("a", &[])).await.unwrap();
        let names: Vec<String> = store.scopes().await.unwrap().into_iter().map(|scope| scope.name).collect();
        assert_eq!(names, ["a", "Keys"]);
        last += 1;
        assert!(store.delete_scope("kEYS").await.unwrap());
        grew(store, &mut last).await;
        assert!(!store.delete_scope("Keys").await.unwrap());
        stayed(store, last).await;
    })
    .await;
}

#[tokio::test]
async fn any_bytes_are_a_value() {
    on_each(async |store: &dyn Store| {
        store.create_scope(scope("s", &[])).await.unwrap();
        let all: Vec<u8> = (0..=255).collect();
        let long = vec![0xff; 128 << 10];
        for (key, value) in
            [("all", &all[..]), ("long", &long), ("empty", b""), ("zero", b"\0"), ("line", b"a\r\n")]
        {
            store.put_secret("S", key, value).await.unwrap();
            assert_eq!(opened(store, "s", key).await.as_deref(), Some(value), "{key}");
        }
        let keys: Vec<String> =
            store.secrets("s").await.unwrap().into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys, ["all", "empty", "line", "long", "zero"]);
    })
    .await;
}

#[tokio::test]
async fn a_value_is_overwritten_and_deleted() {
    on_each(async |store: &dyn Store| {
        store.create_scope(scope("s", &[])).await.unwrap();
        assert!(matches!(store.put_secret("t", "k", b"x").await, Err(StoreError::Missing)));
        let mut last = store.generation().await.unwrap();
        for value in ["first", "second, and longer", ""] {
            store.put_secret("s", "k", value.as_bytes()).await.unwrap();
            grew(store, &mut last).await;
            assert_eq!(opened(store, "s", "k").await.as_deref(), Some(value.as_bytes()));
        }
        let entries = store.secrets("s").await.unwrap();
        assert!(entries.len() == 1 && entries[0].updated_at > 1_600_000_000_000, "{entries:?}");
        // Keys are as they are written.
        assert_eq!(opened(store, "s", "K").await, None);
        assert!(
            !store.delete_secret("s", "K").await.unwrap() && !store.delete_secret("t", "k").await.unwrap()
        );
        stayed(store, last).await;
        assert!(store.delete_secret("S", "k").await.unwrap());
        grew(store, &mut last).await;
        assert_eq!(opened(store, "s", "k").await, None);
        assert!(store.secrets("s").await.unwrap().is_empty());
        // A key that was deleted begins anew.
        store.put_secret("s", "k", b"again").await.unwrap();
        assert_eq!(opened(store, "s", "k").await.as_deref(), Some(&b"again"[..]));
    })
    .await;
}

#[tokio::test]
async fn a_deleted_scope_takes_its_secrets_and_lists_along() {
    on_each(async |store: &dyn Store| {
        store.create_scope(scope("s", &["ann"])).await.unwrap();
        store.create_scope(scope("t", &[])).await.unwrap();
        store.put_secret("s", "k", b"1").await.unwrap();
        store.put_secret("t", "k", b"2").await.unwrap();
        assert!(store.delete_scope("s").await.unwrap());
        assert_eq!(opened(store, "s", "k").await, None);
        store.create_scope(scope("s", &[])).await.unwrap();
        assert_eq!(opened(store, "s", "k").await, None);
        assert!(store.acls("s").await.unwrap().is_empty() && store.secrets("s").await.unwrap().is_empty());
        assert_eq!(opened(store, "t", "k").await.as_deref(), Some(&b"2"[..]));
    })
    .await;
}

#[tokio::test]
async fn access_control_lists_are_kept_per_principal() {
    on_each(async |store: &dyn Store| {
        let entry = |principal: &str, permission| AclEntry { principal: principal.to_owned(), permission };
        store.create_scope(scope("S", &["zoe", "ann", "zoe"])).await.unwrap();
        let managers = [entry("ann", ScopePermission::Manage), entry("zoe", ScopePermission::Manage)];
        assert_eq!(store.acls("s").await.unwrap(), managers);
        let mut last = store.generation().await.unwrap();
        store.put_acl("s", "users", ScopePermission::Read).await.unwrap();
        grew(store, &mut last).await;
        store.put_acl("S", "ann", ScopePermission::Write).await.unwrap();
        grew(store, &mut last).await;
        let expected = [
            entry("ann", ScopePermission::Write),
            entry("users", ScopePermission::Read),
            entry("zoe", ScopePermission::Manage),
        ];
        assert_eq!(store.acls("S").await.unwrap(), expected);
        assert!(store.delete_acl("s", "ann").await.unwrap());
        grew(store, &mut last).await;
        assert!(!store.delete_acl("s", "ann").await.unwrap() && !store.delete_acl("t", "zoe").await.unwrap());
        stayed(store, last).await;
        assert_eq!(store.acls("s").await.unwrap().len(), 2);
        assert!(matches!(store.put_acl("t", "ann", ScopePermission::Read).await, Err(StoreError::Missing)));
        assert!(store.acls("t").await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_server_s_own_scope_is_used_and_not_shown() {
    on_each(async |store: &dyn Store| {
        store.create_scope(NewScope { name: "internal", hidden: true, managers: &[] }).await.unwrap();
        store.create_scope(scope("shown", &[])).await.unwrap();
        store.put_secret("internal", "k", b"v").await.unwrap();
        assert_eq!(opened(store, "internal", "k").await.as_deref(), Some(&b"v"[..]));
        let names: Vec<String> = store.scopes().await.unwrap().into_iter().map(|scope| scope.name).collect();
        assert_eq!(names, ["shown"]);
        assert!(store.scope("internal").await.unwrap().unwrap().hidden);
        assert!(!store.delete_scope("internal").await.unwrap());
        assert!(matches!(store.create_scope(scope("Internal", &[])).await, Err(StoreError::Exists)));
        assert_eq!(opened(store, "internal", "k").await.as_deref(), Some(&b"v"[..]));
    })
    .await;
}

#[tokio::test]
async fn a_scope_takes_a_thousand_secrets() {
    on_each(async |store: &dyn Store| {
        store.create_scope(scope("s", &[])).await.unwrap();
        store.create_scope(NewScope { name: "internal", hidden: true, managers: &[] }).await.unwrap();
        for at in 0..1000 {
            store.put_secret("s", &format!("k{at}"), b"v").await.unwrap();
        }
        let last = store.generation().await.unwrap();
        assert!(matches!(store.put_secret("s", "one-more", b"v").await, Err(StoreError::Full(_))));
        stayed(store, last).await;
        // What is there can still be written, and another scope has its own thousand.
        store.put_secret("s", "k7", b"new").await.unwrap();
        assert_eq!(opened(store, "s", "k7").await.as_deref(), Some(&b"new"[..]));
        store.put_secret("internal", "k", b"v").await.unwrap();
        assert!(store.delete_secret("s", "k0").await.unwrap());
        store.put_secret("s", "one-more", b"v").await.unwrap();
        assert_eq!(store.secrets("s").await.unwrap().len(), 1000);
    })
    .await;
}

#[tokio::test]
async fn there_are_a_thousand_scopes_at_most() {
    on_each(async |store: &dyn Store| {
        for at in 0..1000 {
            store.create_scope(scope(&format!("s{at}"), &[])).await.unwrap();
        }
        assert!(matches!(store.create_scope(scope("one-more", &[])).await, Err(StoreError::Full(_))));
        // The server's own does not count.
        store.create_scope(NewScope { name: "internal", hidden: true, managers: &[] }).await.unwrap();
        assert!(store.delete_scope("s5").await.unwrap());
        store.create_scope(scope("one-more", &[])).await.unwrap();
        assert_eq!(store.scopes().await.unwrap().len(), 1000);
    })
    .await;
}
