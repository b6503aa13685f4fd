//! The data folder: made once, private, and never half replaced.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::world::{World, eventually};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode()
        & 0o777
}

#[tokio::test]
async fn the_first_start_makes_a_private_folder() {
    let world = World::shared().await;
    let server = world.serve(&[("TOLLGATE_LOG__LEVEL", "trace")]).await;
    assert_eq!(mode(&world.data()), 0o700);
    for entry in std::fs::read_dir(world.data()).unwrap() {
        let path = entry.unwrap().path();
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
    assert!(server.client.is_known().await);
    let key = world.master_key();
    assert_eq!(key.len(), 64, "the key is 32 bytes in hex");
    let token = world.admin_token();
    let done = server.process.stop().await;
    assert_eq!(done.stdout, "");
    assert!(done.stderr.contains("admin.token"), "it must say where the token is: {}", done.stderr);
    assert!(!done.stderr.contains(&token), "a log is no place for a token: {}", done.stderr);
    assert!(!done.stderr.contains(&key), "the key is printed nowhere: {}", done.stderr);
}

#[tokio::test]
async fn the_second_start_keeps_token_and_key() {
    let world = World::shared().await;
    world.serve(&[]).await.process.stop().await;
    let (token, key) = (world.admin_token(), world.master_key());
    let server = world.serve(&[]).await;
    assert_eq!((world.admin_token(), world.master_key()), (token, key));
    assert!(server.client.is_known().await);
    let done = server.process.stop().await;
    assert!(!done.stderr.contains("first start"), "{}", done.stderr);
}

#[tokio::test]
async fn a_lost_or_wrong_key_is_refused() {
    let world = World::shared().await;
    let server = world.serve(&[]).await;
    server.client.create("kept", &world.chat_config("gpt")).await;
    server.process.stop().await;
    let (path, key) = (world.data().join("master.key"), world.master_key());

    std::fs::remove_file(&path).unwrap();
    let done = world.start_server(&[]).done().await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("master.key is gone") && done.stderr.contains("restore it"), "{done:?}");
    assert!(!path.exists(), "a new key would hide that the old one is lost");

    let other = if key.starts_with('0') { key.replacen('0', "1", 1) } else { format!("0{}", &key[1..]) };
    for (wrong, expected) in [(other.as_str(), "key"), ("", "master.key"), ("not hexadecimal", "master.key")]
    {
        std::fs::write(&path, wrong).unwrap();
        let done = world.start_server(&[]).done().await;
        assert_eq!(done.code, Some(1), "{wrong:?}: {done:?}");
        assert!(done.stderr.contains(expected), "{wrong:?}: {done:?}");
        assert!(wrong.is_empty() || !done.stderr.contains(wrong), "{done:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), wrong);
    }

    std::fs::write(&path, key).unwrap();
    let server = world.serve(&[]).await;
    assert_eq!(server.client.endpoints().await, ["kept"]);
    assert_eq!(server.client.ask("kept", false).await.content(), "echo: hello");
}

#[tokio::test]
async fn two_servers_on_one_folder_both_work() {
    let world = World::shared().await;
    let (first, second) = (world.serve(&[]).await, world.serve(&[]).await);
    first.client.create("of-the-first", &world.chat_config("gpt")).await;
    second.client.create("of-the-second", &world.chat_config("gpt")).await;
    for (server, foreign) in [(&first, "of-the-second"), (&second, "of-the-first")] {
        let seen = async || (server.client.ask(foreign, false).await.status == 200).then_some(());
        eventually(Duration::from_secs(5), seen).await.unwrap_or_else(|| panic!("{foreign} is not served"));
        assert_eq!(server.client.endpoints().await.len(), 2);
    }
    first.process.stop().await;
    assert!(second.client.is_known().await);
}
