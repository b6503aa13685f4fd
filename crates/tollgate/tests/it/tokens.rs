//! `tollgate token create`, beside a server that runs.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::world::{World, eventually};

#[tokio::test]
async fn a_new_token_is_taken_within_a_second() {
    let world = World::alone().await;
    let server = world.serve(&[]).await;
    let data = world.data();
    let variables = [("TOLLGATE_SERVER__DATA", data.to_str().unwrap())];
    let done = world.run(&["token", "create"], &variables).await;
    let created = Instant::now();
    assert_eq!((done.code, done.stdout.lines().count()), (Some(0), 1), "{done:?}");
    let client = server.client.with_token(&done.stdout);
    let known = async || client.is_known().await.then_some(());
    eventually(Duration::from_secs(1), known).await.expect("the token is not taken");
    assert!(created.elapsed() < Duration::from_secs(1), "{:?}", created.elapsed());
    assert!(server.client.is_known().await, "the first token stays good");
    assert!(!server.process.stderr.text().contains(&done.stdout), "a log is no place for a token");
}

#[tokio::test]
async fn a_token_with_a_lifetime_expires() {
    let world = World::shared().await;
    let server = world.serve(&[]).await;
    let data = world.data();
    let variables = [("TOLLGATE_SERVER__DATA", data.to_str().unwrap())];
    let arguments = ["token", "create", "--lifetime-seconds", "3", "--comment", "soon gone", "-o", "json"];
    let done = world.run(&arguments, &variables).await;
    let created: Value = serde_json::from_str(&done.stdout).unwrap();
    let client = server.client.with_token(created["token_value"].as_str().unwrap());
    let known = async |wanted: bool| (client.is_known().await == wanted).then_some(());
    eventually(Duration::from_secs(2), async || known(true).await).await.expect("the token is not taken");
    let listed = server.client.get("/api/2.0/token/list").await;
    assert!(listed.text.contains("soon gone"), "{listed:?}");
    eventually(Duration::from_secs(5), async || known(false).await).await.expect("the token is still good");
    let answer = client.get("/api/2.0/serving-endpoints").await;
    assert!(answer.json()["message"].as_str().is_some_and(|m| m.contains("expired")), "{answer:?}");
}

#[tokio::test]
async fn tokens_need_an_installation() {
    let world = World::shared().await;
    let done = world.run(&["token", "create"], &[("TOLLGATE_SERVER__DATA", "nowhere")]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("nowhere") && done.stderr.contains("server.data"), "{done:?}");
    assert!(!world.path("nowhere").exists());
    let done = world.run(&["token", "create", "--lifetime-seconds", "0"], &[]).await;
    assert_eq!(done.code, Some(2), "{done:?}");
}
