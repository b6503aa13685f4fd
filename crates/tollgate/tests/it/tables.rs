//! What `tollgate tables` says.

use serde_json::Value;

use crate::world::World;

#[tokio::test]
async fn a_table_that_cannot_be_read_is_told_with_the_reason_and_by_the_exit_code() {
    let world = World::shared().await;
    let data = world.data().to_str().unwrap().to_owned();
    let env = [("TOLLGATE_SERVER__DATA", data.as_str())];
    let done = world.run(&["tables"], &env).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let log = world.data().join("tables/main/logs/broken/_delta_log");
    std::fs::create_dir_all(&log).unwrap();
    std::fs::write(log.join(format!("{:020}.json", 0)), "no log").unwrap();
    let done = world.run(&["tables"], &env).await;
    assert_eq!(done.code, Some(3), "{done:?}");
    assert!(done.stdout.contains("cannot be read: table main.logs.broken: "), "{done:?}");
    assert!(done.stderr.contains("tables that cannot be read: 1"), "{done:?}");
    let done = world.run(&["tables", "-o", "json"], &env).await;
    let listed: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((done.code, &listed[0]["name"]), (Some(3), &"main.logs.broken".into()));
    assert!(listed[0]["error"].is_string() && listed[0]["location"].is_string(), "{listed}");
}
