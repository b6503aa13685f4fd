//! Files and folders of the workspace.

use secrecy::ExposeSecret;
use tollgate_store::model::{
    Deletion, GrantRecord, GranteeKind, GroupRecord, NewObject, ObjectKind, PrincipalRecord,
};
use tollgate_store::{Store, StoreError, WorkspaceStore};

use crate::{on_each, open};

fn file<'a>(path: &'a str, content: &'a [u8], overwrite: bool) -> NewObject<'a> {
    NewObject { path, kind: ObjectKind::File, language: "", content, overwrite }
}

async fn paths(store: &dyn Store, folder: &str) -> Vec<String> {
    store.workspace_children(folder).await.unwrap().into_iter().map(|object| object.path).collect()
}

async fn content(store: &dyn Store, path: &str) -> Option<Vec<u8>> {
    let object = store.workspace_object(path).await.unwrap()?;
    let content = store.workspace_content(&object.id).await.unwrap();
    content.map(|content| content.expose_secret().to_vec())
}

#[tokio::test]
async fn a_file_comes_back_as_it_went_and_is_overwritten_only_when_told() {
    on_each(async |store: &dyn Store| {
        store.make_directories("/Shared/a/b").await.unwrap();
        store.make_directories("/Shared/a/b").await.unwrap();
        assert_eq!(paths(store, "/Shared").await, ["/Shared/a"]);
        store.write_object(file("/Shared/a/b/f", b"one", false)).await.unwrap();
        let first = store.workspace_object("/Shared/a/b/f").await.unwrap().unwrap();
        assert_eq!((first.kind, first.size), (ObjectKind::File, 3));
        let again = store.write_object(file("/Shared/a/b/f", b"two!", false)).await;
        assert!(matches!(again, Err(StoreError::Exists)));
        assert_eq!(content(store, "/Shared/a/b/f").await.unwrap(), b"one");
        store.write_object(file("/Shared/a/b/f", b"two!", true)).await.unwrap();
        assert_eq!(content(store, "/Shared/a/b/f").await.unwrap(), b"two!");
        let second = store.workspace_object("/Shared/a/b/f").await.unwrap().unwrap();
        assert_eq!((second.id, second.size), (first.id, 4));
    })
    .await;
}

#[tokio::test]
async fn a_file_needs_a_folder_around_it_and_takes_no_folder_s_place() {
    on_each(async |store: &dyn Store| {
        let write = async |path: &str| store.write_object(file(path, b"x", true)).await;
        assert!(matches!(write("/Shared/none/f").await, Err(StoreError::Missing)));
        write("/Shared/f").await.unwrap();
        assert!(matches!(write("/Shared/f/g").await, Err(StoreError::Missing)));
        assert!(matches!(write("/Shared").await, Err(StoreError::Exists)));
        assert!(matches!(store.make_directories("/Shared/f/g").await, Err(StoreError::Exists)));
    })
    .await;
}

#[tokio::test]
async fn a_folder_is_deleted_with_what_is_in_it_only_when_told_and_no_neighbour_with_it() {
    on_each(async |store: &dyn Store| {
        for folder in ["/Shared/a/b", "/Shared/a0", "/Shared/ab", "/Shared/a-"] {
            store.make_directories(folder).await.unwrap();
        }
        store.write_object(file("/Shared/a/b/f", b"x", false)).await.unwrap();
        let inside = store.workspace_object("/Shared/a/b/f").await.unwrap().unwrap();
        assert_eq!(store.delete_object("/Shared/a", false).await.unwrap(), Deletion::NotEmpty);
        assert_eq!(store.delete_object("/Shared/a", true).await.unwrap(), Deletion::Done);
        assert_eq!(store.delete_object("/Shared/a", true).await.unwrap(), Deletion::Missing);
        assert!(store.workspace_content(&inside.id).await.unwrap().is_none());
        assert_eq!(paths(store, "/Shared").await, ["/Shared/a-", "/Shared/a0", "/Shared/ab"]);
        assert_eq!(store.delete_object("/Shared/ab", false).await.unwrap(), Deletion::Done);
    })
    .await;
}

#[tokio::test]
async fn everybody_has_a_home_and_the_next_of_the_name_finds_it_empty() {
    on_each(async |store: &dyn Store| {
        let ann = PrincipalRecord { name: "ann".to_owned(), active: true, ..PrincipalRecord::default() };
        let first = store.create_principal(&ann).await.unwrap();
        store.ensure_user("anna", &[]).await.unwrap();
        store.ensure_user("a/b", &[]).await.unwrap();
        assert_eq!(paths(store, "/Users").await, ["/Users/ann", "/Users/anna"]);
        store.make_directories("/Users/ann/x").await.unwrap();
        store.write_object(file("/Users/ann/x/f", b"mine", false)).await.unwrap();
        assert!(store.delete_principal(&first).await.unwrap());
        let aside = format!("/Deleted/ann-{first}");
        assert_eq!(paths(store, "/Users").await, ["/Users/anna"]);
        assert_eq!(paths(store, "/Deleted").await, [aside.as_str()]);
        assert!(paths(store, "/").await.contains(&"/Deleted".to_owned()));
        // Nor does who is named to fit: it is no home of anybody's.
        store.ensure_user(&format!("ann-{first}"), &[]).await.unwrap();
        assert!(paths(store, &format!("/Users/ann-{first}")).await.is_empty());
        store.create_principal(&ann).await.unwrap();
        assert!(paths(store, "/Users/ann").await.is_empty());
        assert_eq!(paths(store, &aside).await, [format!("{aside}/x")]);
        assert_eq!(content(store, &format!("{aside}/x/f")).await.unwrap(), b"mine");
    })
    .await;
}

#[tokio::test]
async fn what_was_given_on_a_folder_follows_names_and_ends_with_them() {
    on_each(async |store: &dyn Store| {
        let ann = PrincipalRecord { name: "ann".to_owned(), active: true, ..PrincipalRecord::default() };
        let id = store.create_principal(&ann).await.unwrap();
        let group = GroupRecord { name: "dev".to_owned(), ..GroupRecord::default() };
        let group_id = store.create_group(&group).await.unwrap();
        store.make_directories("/x/y").await.unwrap();
        let folder = store.workspace_object("/x").await.unwrap().unwrap().id;
        let grant = |kind, grantee: &str| GrantRecord {
            kind,
            grantee: grantee.to_owned(),
            level: "CAN_READ".to_owned(),
        };
        let given = [grant(GranteeKind::User, "ann"), grant(GranteeKind::Group, "dev")];
        store.put_folder_grants(&folder, &given).await.unwrap();
        let missing = store.put_folder_grants("4711", &given).await;
        assert!(matches!(missing, Err(StoreError::Missing)));
        let around = async |path: &str| -> Vec<GrantRecord> {
            store.folder_grants(path).await.unwrap().into_iter().map(|(_, grant)| grant).collect()
        };
        // For all that is in it, there or not, and for no neighbour.
        for (path, count) in [("/x", 2), ("/x/y/z", 2), ("/xy", 0), ("/", 0)] {
            assert_eq!(around(path).await.len(), count, "{path}");
        }
        store
            .update_group(&GroupRecord { id: group_id.clone(), name: "devs".to_owned(), ..group })
            .await
            .unwrap();
        assert_eq!(around("/x").await[1].grantee, "devs");
        store.delete_principal(&id).await.unwrap();
        store.delete_group(&group_id).await.unwrap();
        assert!(around("/x").await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_new_data_key_seals_files_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    store.write_object(file("/Shared/f", b"content", false)).await.unwrap();
    for (scope_id, _) in store.sealed_scopes().await.unwrap() {
        assert!(store.renew_data_key(&scope_id).await.unwrap());
    }
    assert_eq!(content(&store, "/Shared/f").await.unwrap(), b"content");
    store.write_object(file("/Shared/f", b"more", true)).await.unwrap();
    assert_eq!(content(&store, "/Shared/f").await.unwrap(), b"more");
}
