//! What the command line says about a configuration, and how it refuses one.

use serde_json::Value;

use crate::world::World;

/// `EX_CONFIG` of sysexits: a supervisor need not try again.
const EX_CONFIG: Option<i32> = Some(78);

#[tokio::test]
async fn beyond_loopback_it_wants_tls_or_a_word() {
    let world = World::shared().await;
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080"] {
        let done = world.start_server(&[("TOLLGATE_SERVER__LISTEN", listen)]).done().await;
        assert_eq!(done.code, EX_CONFIG, "{done:?}");
        for way in ["server.tls.cert", "server.tls.key", "server.allow_plain_http", listen] {
            assert!(done.stderr.contains(way), "{way}: {done:?}");
        }
        assert!(!world.data().exists(), "a refused start must not leave anything behind");
    }
    let server = world
        .serve(&[("TOLLGATE_SERVER__LISTEN", "0.0.0.0:0"), ("TOLLGATE_SERVER__ALLOW_PLAIN_HTTP", "true")])
        .await;
    assert!(server.address.ip().is_unspecified());
    assert!(server.client.is_known().await);
}

#[tokio::test]
async fn an_unknown_key_is_refused_with_the_nearest_one() {
    let world = World::shared().await;
    let file = world.write("tollgate.toml", "[server]\nlistne = \"127.0.0.1:0\"\n");
    let done = world.run(&["serve", "--config", &file], &[]).await;
    assert_eq!(done.code, EX_CONFIG, "{done:?}");
    assert!(done.stderr.contains("server.listne") && done.stderr.contains(&file), "{done:?}");
    assert!(done.stderr.contains("did you mean server.listen?"), "{done:?}");

    let done = world.start_server(&[("TOLLGATE_SERVER__DRAIN_SECOND", "1")]).done().await;
    assert_eq!(done.code, EX_CONFIG, "{done:?}");
    assert!(done.stderr.contains("did you mean TOLLGATE_SERVER__DRAIN_SECONDS?"), "{done:?}");
    assert!(!world.data().exists());
}

#[tokio::test]
async fn a_wrong_value_is_refused_with_its_place() {
    let world = World::shared().await;
    let cases = [
        ("[server]\ndrain_seconds = \"soon\"", "server.drain_seconds"),
        ("[server]\ndrain_seconds = 3601", "3600"),
        ("[server]\nlisten = \"here\"", "127.0.0.1:8080"),
        ("[server]\nallow_plain_http = 1", "server.allow_plain_http"),
        ("[log]\nlevel = \"loud\"", "warn"),
        ("[server\n", "tollgate.toml"),
        ("[egress]\nallow = [\"not an address\"]", "egress.allow"),
    ];
    for (text, expected) in cases {
        let file = world.write("tollgate.toml", text);
        let done = world.run(&["check", "--config", &file], &[]).await;
        assert_eq!(done.code, EX_CONFIG, "{text}: {done:?}");
        assert!(done.stderr.contains(expected) && done.stdout.is_empty(), "{text}: {done:?}");
    }
    let done = world.run(&["check", "--config", "no-such-file.toml"], &[]).await;
    assert_eq!(done.code, EX_CONFIG, "{done:?}");
    assert!(done.stderr.contains("no-such-file.toml"), "{done:?}");
}

#[tokio::test]
async fn check_shows_values_with_their_origin() {
    let world = World::shared().await;
    let file =
        world.write("tollgate.toml", "[server]\nlisten = \"127.0.0.1:1234\"\n[egress]\nallow = [\"::1\"]\n");
    let variables = [
        ("TOLLGATE_SERVER__DRAIN_SECONDS", "7"),
        // Kubernetes makes such variables.
        ("TOLLGATE_PORT", "tcp://10.0.0.1:80"),
        // The providers' own tools read such; whoever sets one here is to see it.
        ("ANTHROPIC_BASE_URL", "http://last.example"),
    ];
    let expected = [
        ("server.listen", "127.0.0.1:1234", file.as_str()),
        ("server.drain_seconds", "7", "TOLLGATE_SERVER__DRAIN_SECONDS"),
        ("server.max_connections", "10000", "default"),
        ("egress.allow", "::1", file.as_str()),
        ("providers.anthropic.base_url", "http://last.example", "ANTHROPIC_BASE_URL"),
        ("providers.cohere.base_url", "", "default"),
    ];
    let done = world.run(&["check", "--config", &file, "-o", "json"], &variables).await;
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    let rows: Vec<Value> = serde_json::from_str(&done.stdout).unwrap();
    for (key, value, origin) in expected {
        let row = rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("{key}: {rows:?}"));
        assert_eq!((row["value"].as_str(), row["origin"].as_str()), (Some(value), Some(origin)), "{key}");
    }
    let done = world.run(&["check", "--config", &file], &variables).await;
    let lines: Vec<Vec<&str>> = done.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["key", "value", "origin"]);
    assert_eq!(lines.len(), rows.len() + 1);
    assert!(lines.contains(&vec!["server.listen", "127.0.0.1:1234", &file]), "{lines:?}");
    assert!(!world.data().exists(), "check changes nothing");
}

#[tokio::test]
async fn the_small_commands_work() {
    let world = World::shared().await;
    let done = world.run(&["version"], &[]).await;
    assert_eq!((done.code, done.stdout), (Some(0), format!("tollgate {}", env!("CARGO_PKG_VERSION"))));
    let done = world.run(&["version", "-o", "json"], &[]).await;
    let version: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let done = world.run(&["completions", "bash"], &[]).await;
    assert!(done.code == Some(0) && done.stdout.contains("complete -F _tollgate"), "{done:?}");
    let done = world.run(&["srve"], &[]).await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("serve") && done.stdout.is_empty(), "{done:?}");
    let done = world.run(&[], &[]).await;
    assert!(done.code == Some(2) && done.stderr.contains("demo"), "{done:?}");
}
