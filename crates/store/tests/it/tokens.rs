//! Access tokens.

use tollgate_store::model::NewToken;
use tollgate_store::{Store, StoreError};

use crate::{grew, on_each, stayed};

fn token<'a>(hash: &'a [u8; 32], principal_id: &'a str, expires_at: Option<i64>) -> NewToken<'a> {
    NewToken { hash, principal_id, created_by: principal_id, comment: "laptop", expires_at }
}

#[tokio::test]
async fn a_token_comes_back_as_it_went() {
    on_each(async |store: &dyn Store| {
        let ann = store.ensure_user("ann", &[]).await.unwrap();
        let mut last = store.generation().await.unwrap();
        let first = store.create_token(token(&[1; 32], &ann, None)).await.unwrap();
        grew(store, &mut last).await;
        assert_eq!(
            (first.hash, first.principal_id.as_str(), first.comment.as_str()),
            ([1; 32], ann.as_str(), "laptop")
        );
        assert!(first.created_at > 1_600_000_000_000 && first.expires_at.is_none());
        let second = store.create_token(token(&[0xff; 32], &ann, Some(i64::MAX))).await.unwrap();
        assert_ne!(first.id, second.id);
        let mut all = store.tokens().await.unwrap();
        all.sort_by_key(|token| token.hash);
        assert_eq!(all, [first, second]);
    })
    .await;
}

#[tokio::test]
async fn a_hash_is_taken_once_and_its_owner_must_be_there() {
    on_each(async |store: &dyn Store| {
        let ann = store.ensure_user("ann", &[]).await.unwrap();
        store.create_token(token(&[1; 32], &ann, None)).await.unwrap();
        let last = store.generation().await.unwrap();
        assert!(matches!(store.create_token(token(&[1; 32], &ann, None)).await, Err(StoreError::Exists)));
        assert!(matches!(
            store.create_token(token(&[2; 32], "nobody", None)).await,
            Err(StoreError::Missing)
        ));
        assert_eq!(store.tokens().await.unwrap().len(), 1);
        stayed(store, last).await;
    })
    .await;
}

#[tokio::test]
async fn a_token_is_deleted_by_its_owner_only() {
    on_each(async |store: &dyn Store| {
        let ann = store.ensure_user("ann", &[]).await.unwrap();
        let bob = store.ensure_user("bob", &[]).await.unwrap();
        let token = store.create_token(token(&[1; 32], &ann, None)).await.unwrap();
        let mut last = store.generation().await.unwrap();
        assert!(!store.delete_token(&bob, &token.id).await.unwrap());
        assert!(!store.delete_token(&ann, "other").await.unwrap());
        stayed(store, last).await;
        assert!(store.delete_token(&ann, &token.id).await.unwrap());
        grew(store, &mut last).await;
        assert!(!store.delete_token(&ann, &token.id).await.unwrap());
        assert!(store.tokens().await.unwrap().is_empty());
    })
    .await;
}
