//! Files and folders: what comes back, who gets where, and what the CLI goes by.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use crate::world::{Answer, World, text};

const API: &str = "/api/2.0/workspace";

async fn write(world: &World, token: &str, path: &str, query: &str, content: &'static [u8]) -> Answer {
    let encoded = path.trim_start_matches('/').replace('/', "%2F");
    let request = Request::post(format!("/api/2.0/workspace-files/import-file/{encoded}{query}"))
        .header("authorization", format!("Bearer {token}"));
    world.send(request.body(Body::from(content)).unwrap()).await
}

async fn status(world: &World, token: &str, path: &str) -> Answer {
    world.call(token, "GET", &format!("{API}/get-status?path={path}"), Value::Null).await
}

async fn post(world: &World, token: &str, action: &str, body: Value) -> Answer {
    world.call(token, "POST", &format!("{API}/{action}"), body).await
}

async fn listed(world: &World, token: &str, path: &str) -> Vec<String> {
    let list = world.call(token, "GET", &format!("{API}/list?path={path}"), Value::Null).await.is(200);
    list["objects"].as_array().unwrap().iter().map(|object| text(object, "path")).collect()
}

#[tokio::test]
async fn a_file_comes_back_as_it_went() {
    let world = World::new().await;
    let folder = "/Workspace/Users/admin/.bundle/b";
    // What the CLI does: the folder is not there, so it makes it and tries again.
    write(&world, &world.admin, &format!("{folder}/state"), "", b"{}").await.is(404);
    post(&world, &world.admin, "mkdirs", json!({"path": folder})).await.is(200);
    write(&world, &world.admin, &format!("{folder}/state"), "", b"{\"a\":1}").await.is(200);
    let found = status(&world, &world.admin, &format!("{folder}/state")).await.is(200);
    assert_eq!(text(&found, "path"), format!("{folder}/state"));
    assert_eq!((text(&found, "object_type").as_str(), found["size"].as_i64()), ("FILE", Some(7)));
    assert_eq!(found["object_id"].as_i64().unwrap().to_string(), text(&found, "resource_id"));
    // By each of the three ways, with and without the mount.
    for path in [folder.to_owned(), folder.replace("/Workspace", "")] {
        let export = format!("{API}/export?path={path}/state");
        let content = world.act("GET", &export, Value::Null).await.is(200);
        assert_eq!(text(&content, "content"), "eyJhIjoxfQ==");
        assert_eq!(
            world.act("GET", &format!("{export}&direct_download=true"), Value::Null).await.body["a"],
            1
        );
        let direct = format!("/api/2.0/workspace-files/{}/state", &path[1..]);
        assert_eq!(world.act("GET", &direct, Value::Null).await.is(200)["a"], 1);
    }
    assert_eq!(listed(&world, &world.admin, folder).await, [format!("{folder}/state")]);
    // Of a file it is a list of itself.
    assert_eq!(listed(&world, &world.admin, &format!("{folder}/state")).await, [format!("{folder}/state")]);
}

#[tokio::test]
async fn a_lock_is_taken_once() {
    let world = World::new().await;
    let path = "/Users/admin/deploy.lock";
    write(&world, &world.admin, path, "?overwrite=false", b"1").await.is(200);
    let taken = write(&world, &world.admin, path, "?overwrite=false", b"2").await.is(409);
    assert_eq!(taken["error_code"], "RESOURCE_ALREADY_EXISTS");
    write(&world, &world.admin, path, "?overwrite=true", b"3").await.is(200);
}

#[tokio::test]
async fn everybody_gets_into_their_own_home_and_into_shared_only() {
    let world = World::new().await;
    let (_, robot, token) = world.robot("robot").await;
    let (_, other, _) = world.robot("other").await;
    let mine = format!("/Users/{robot}");
    for folder in [format!("{mine}/x"), "/Shared/x".to_owned(), format!("/Workspace{mine}/y")] {
        post(&world, &token, "mkdirs", json!({"path": folder})).await.is(200);
    }
    let theirs =
        [format!("/Users/{other}"), "/Users/admin".to_owned(), format!("/Users/{robot}x"), "/new".to_owned()];
    for path in
        theirs.iter().flat_map(|path| [path.clone(), format!("{path}/x"), format!("/Workspace{path}")])
    {
        for action in ["mkdirs", "delete", "import"] {
            post(&world, &token, action, json!({"path": path, "format": "AUTO"})).await.is(403);
        }
        write(&world, &token, &path, "", b"").await.is(403);
        status(&world, &token, &path).await.is(403);
        for route in ["list", "export"] {
            world.call(&token, "GET", &format!("{API}/{route}?path={path}"), Value::Null).await.is(403);
        }
    }
    // On the way there one sees nothing of others.
    assert_eq!(listed(&world, &token, "/").await, ["/Shared", "/Users"]);
    assert_eq!(listed(&world, &token, "/Users").await, [mine]);
    assert_eq!(listed(&world, &world.admin, "/Users").await.len(), 3);
    for path in ["/", "/Users"] {
        post(&world, &token, "mkdirs", json!({"path": path})).await.is(403);
    }
}

#[tokio::test]
async fn folders_that_there_always_are_stay() {
    let world = World::new().await;
    for path in ["/", "/Workspace", "/Users", "/Shared", "/Users/admin"] {
        post(&world, &world.admin, "delete", json!({"path": path, "recursive": true})).await.is(400);
    }
    post(&world, &world.admin, "mkdirs", json!({"path": "/Users/nobody/x"})).await.is(200);
    let full = post(&world, &world.admin, "delete", json!({"path": "/Users/nobody"})).await.is(400);
    assert_eq!(full["error_code"], "DIRECTORY_NOT_EMPTY");
    let all = json!({"path": "/Users/nobody", "recursive": true});
    post(&world, &world.admin, "delete", all.clone()).await.is(200);
    post(&world, &world.admin, "delete", all).await.is(404);
}

#[tokio::test]
async fn a_notebook_loses_its_extension_and_keeps_its_language() {
    let world = World::new().await;
    write(&world, &world.admin, "/Shared/n.py", "", b"# Databricks notebook source\n1").await.is(200);
    let found = status(&world, &world.admin, "/Shared/n&return_export_info=true").await.is(200);
    assert_eq!((&found["object_type"], &found["language"]), (&json!("NOTEBOOK"), &json!("PYTHON")));
    assert_eq!(found["repos_export_format"], "SOURCE");
    let source = json!({"path": "/Shared/q", "content": "MQ==", "language": "SQL"});
    post(&world, &world.admin, "import", source.clone()).await.is(200);
    assert_eq!(
        post(&world, &world.admin, "import", source).await.is(400)["error_code"],
        "RESOURCE_ALREADY_EXISTS"
    );
    let content = world.act("GET", &format!("{API}/export?path=/Shared/q"), Value::Null).await.is(200);
    assert_eq!(content, json!({"content": "MQ==", "file_type": "sql"}));
    for wrong in [
        json!({"path": "/Shared/r", "content": "MQ=="}),
        json!({"path": "/Shared/r", "content": "MQ==", "format": "DBC"}),
        json!({"path": "/Shared/r", "content": "?", "format": "AUTO"}),
        json!({"path": "r", "format": "AUTO"}),
        json!({"path": "/Shared/../Users/x", "format": "AUTO"}),
    ] {
        post(&world, &world.admin, "import", wrong).await.is(400);
    }
}

#[tokio::test]
async fn what_a_file_holds_is_in_no_audit_record() {
    let world = World::new().await;
    world.audit.take();
    write(&world, &world.admin, "/Shared/f", "", b"{\"note\": \"planted\"}").await.is(200);
    let import = json!({"path": "/Shared/g", "content": "cGxhbnRlZA==", "format": "AUTO"});
    post(&world, &world.admin, "import", import).await.is(200);
    let records = format!("{:?}", world.audit.take());
    assert!(records.contains("import-file/Shared%2Ff") && records.contains("/Shared/g"), "{records}");
    assert!(!records.contains("planted") && !records.contains("cGxhbnRlZA"), "{records}");
}

#[tokio::test]
async fn a_file_is_no_secret_that_a_config_may_name() {
    let world = World::new().await;
    write(&world, &world.admin, "/Shared/f", "", b"sk").await.is(200);
    let id = text(&status(&world, &world.admin, "/Shared/f").await.is(200), "resource_id");
    let entity = json!({"name": "e", "external_model": {"name": "m", "provider": "openai", "task": "llm/v1/chat",
        "openai_config": {"openai_api_key": format!("{{{{secrets/#workspace/{id}}}}}")}}});
    let body = json!({"name": "e", "config": {"served_entities": [entity]}});
    let refused = world.act("POST", "/api/2.0/serving-endpoints", body).await;
    assert!(refused.status.is_client_error(), "{}", refused.body);
    world.act("GET", "/api/2.0/secrets/list?scope=%23workspace", Value::Null).await.is(404);
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused() {
    let world = World::new().await;
    let request = Request::post("/api/2.0/workspace-files/import-file/Shared%2Ff")
        .header("authorization", format!("Bearer {}", world.admin));
    let body = vec![0; (10 << 20) + 1];
    world.send(request.body(Body::from(body)).unwrap()).await.is(413);
    status(&world, &world.admin, "/Shared/f").await.is(404);
}

#[tokio::test]
async fn a_folder_is_shared_level_by_level_and_with_nobody_else() {
    let world = World::new().await;
    let (id, robot, token) = world.robot("robot").await;
    let (_, _, stranger) = world.robot("stranger").await;
    world.group("dev", &[&id]).await;
    post(&world, &world.admin, "mkdirs", json!({"path": "/Users/admin/b/state"})).await.is(200);
    write(&world, &world.admin, "/Users/admin/b/state/f", "", b"1").await.is(200);
    let folder = text(&status(&world, &world.admin, "/Users/admin/b").await.is(200), "resource_id");
    let permissions = format!("/api/2.0/permissions/directories/{folder}");
    let file = "/Users/admin/b/state/f";
    // What one may do: read, overwrite, make, delete, give.
    let expected = [
        ("CAN_READ", [200, 403, 403, 403, 403]),
        ("CAN_RUN", [200, 403, 403, 403, 403]),
        ("CAN_EDIT", [200, 200, 403, 403, 403]),
        ("CAN_MANAGE", [200, 200, 200, 200, 200]),
    ];
    for (level, right) in expected {
        for grantee in [json!({"group_name": "dev"}), json!({"service_principal_name": robot})] {
            let mut entry = grantee;
            entry["permission_level"] = level.into();
            let given = world.act("PUT", &permissions, json!({"access_control_list": [entry]})).await.is(200);
            assert!(given.to_string().contains(level), "{given}");
            let found = [
                status(&world, &token, file).await.status,
                write(&world, &token, file, "?overwrite=true", b"2").await.status,
                write(&world, &token, "/Users/admin/b/new", "?overwrite=true", b"2").await.status,
                post(&world, &token, "delete", json!({"path": "/Users/admin/b/new"})).await.status,
                world.call(&token, "GET", &permissions, Value::Null).await.status,
            ];
            assert_eq!(found.map(|status| status.as_u16()), right, "{level}");
            status(&world, &stranger, file).await.is(403);
        }
    }
    assert_eq!(listed(&world, &token, "/Users/admin/b").await, ["/Users/admin/b/state"]);
    // Neither around it nor beside it.
    for path in ["/Users/admin", "/Users/admin/bb", "/Users/admin/b0"] {
        status(&world, &token, path).await.is(403);
    }
    // A notebook is written under another name: it takes what something new takes.
    let entry = json!({"service_principal_name": robot, "permission_level": "CAN_EDIT"});
    world.act("PUT", &permissions, json!({"access_control_list": [entry]})).await.is(200);
    write(&world, &world.admin, "/Users/admin/b/n.py", "", b"1").await.is(200);
    let notebook =
        write(&world, &token, "/Users/admin/b/n.py", "?overwrite=true", b"# Databricks notebook source")
            .await;
    notebook.is(403);
    world.act("PUT", &permissions, json!({"access_control_list": []})).await.is(200);
    status(&world, &token, file).await.is(403);
}

#[tokio::test]
async fn the_permissions_of_a_folder_say_where_they_are_from() {
    let world = World::new().await;
    post(&world, &world.admin, "mkdirs", json!({"path": "/Users/admin/b/inner"})).await.is(200);
    let id = async |path: &str| text(&status(&world, &world.admin, path).await.is(200), "resource_id");
    let (home, outer, inner) =
        (id("/Users/admin").await, id("/Users/admin/b").await, id("/Users/admin/b/inner").await);
    let entry = json!({"group_name": "users", "permission_level": "CAN_READ"});
    let grants = json!({"access_control_list": [entry]});
    world.act("PATCH", &format!("/api/2.0/permissions/directories/{outer}"), grants.clone()).await.is(200);
    let found =
        world.act("GET", &format!("/api/2.0/permissions/directories/{inner}"), Value::Null).await.is(200);
    let manage = |from: &str| json!([{"permission_level": "CAN_MANAGE", "inherited": true, "inherited_from_object": [format!("/directories/{from}")]}]);
    let expected = json!({"object_id": format!("/directories/{inner}"), "object_type": "directory", "access_control_list": [
        {"group_name": "admins", "all_permissions": manage("")},
        {"user_name": "admin", "display_name": "admin", "all_permissions": manage(&home)},
        {"group_name": "users", "all_permissions": [{"permission_level": "CAN_READ", "inherited": true,
            "inherited_from_object": [format!("/directories/{outer}")]}]}]});
    assert_eq!(found, expected);
    // Those of the folders that everybody has are fixed, and there is none of a file.
    for path in ["/", "/Users", "/Shared"] {
        let fixed = format!("/api/2.0/permissions/directories/{}", id(path).await);
        world.act("PUT", &fixed, grants.clone()).await.is(400);
    }
    let unknown = json!({"access_control_list": [{"group_name": "nobody", "permission_level": "CAN_READ"}]});
    world.act("PUT", &format!("/api/2.0/permissions/directories/{outer}"), unknown).await.is(404);
    let wrong = json!({"access_control_list": [{"group_name": "users", "permission_level": "CAN_QUERY"}]});
    world.act("PUT", &format!("/api/2.0/permissions/directories/{outer}"), wrong).await.is(400);
    world.act("GET", "/api/2.0/permissions/directories/4711", Value::Null).await.is(404);
}
