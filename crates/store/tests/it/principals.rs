//! Users, groups and the workspace id.

use tollgate_store::Store;

use crate::{grew, on_each, stayed};

#[tokio::test]
async fn a_user_is_made_once_with_its_groups() {
    on_each(async |store: &dyn Store| {
        let mut last = store.generation().await.unwrap();
        let ann = store.ensure_user("ann", &["users", "admins"]).await.unwrap();
        grew(store, &mut last).await;
        assert_eq!(store.ensure_user("ann", &["users"]).await.unwrap(), ann);
        stayed(store, last).await;
        let bob = store.ensure_user("bob", &["users"]).await.unwrap();
        let all = store.principals().await.unwrap();
        let seen: Vec<_> = all
            .iter()
            .map(|p| {
                (p.id.as_str(), p.name.as_str(), p.display_name.as_str(), p.active, p.is_service_principal)
            })
            .collect();
        assert_eq!(
            seen,
            [(ann.as_str(), "ann", "ann", true, false), (bob.as_str(), "bob", "bob", true, false)]
        );
        let groups = |at: usize| all[at].groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>();
        assert_eq!((groups(0), groups(1)), (vec!["admins", "users"], vec!["users"]));
        let names: Vec<String> = store.groups().await.unwrap().into_iter().map(|group| group.name).collect();
        assert_eq!(names, ["admins", "users"]);
        // The same group, not two of one name.
        assert_eq!(all[0].groups[1], all[1].groups[0]);
    })
    .await;
}

#[tokio::test]
async fn a_group_named_twice_is_joined_once() {
    on_each(async |store: &dyn Store| {
        store.ensure_user("ann", &["users", "users"]).await.unwrap();
        assert_eq!(store.principals().await.unwrap()[0].groups.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_workspace_id_stays() {
    on_each(async |store: &dyn Store| {
        let id = store.workspace_id().await.unwrap();
        assert!((1 << 51..1 << 53).contains(&id), "{id}");
        assert_eq!(store.workspace_id().await.unwrap(), id);
    })
    .await;
}
