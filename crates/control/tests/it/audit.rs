//! Which calls leave a record, and when.

use journal::audit::AuditPhase;
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn a_change_is_recorded_before_and_after() {
    let world = World::new().await;
    world.audit.take();
    world.act("POST", "/api/2.0/secrets/scopes/create", json!({"scope": "s"})).await.is(200);
    let records = world.audit.take();
    let phases: Vec<&AuditPhase> = records.iter().map(|r| &r.phase).collect();
    assert!(
        matches!(phases[..], [AuditPhase::Allowed { .. }, AuditPhase::Done { status: 200, .. }]),
        "{phases:?}"
    );
    assert!(records.iter().all(|r| r.principal.as_deref() == Some("admin")));
}

#[tokio::test]
async fn a_refused_read_is_recorded_wherever_it_is_refused_and_others_are_not() {
    let world = World::new().await;
    world.act("POST", "/api/2.0/secrets/scopes/create", json!({"scope": "s"})).await.is(200);
    let (_, name, robot) = world.robot("robot").await;
    world.audit.take();
    // The handler refuses, because only the request names the scope.
    world.call(&robot, "GET", "/api/2.0/secrets/list?scope=s", Value::Null).await.is(403);
    let records = world.audit.take();
    assert!(
        matches!(records[..], [ref only] if only.phase == AuditPhase::Denied { status: 403 }),
        "{records:?}"
    );
    assert_eq!(records[0].principal.as_deref(), Some(name.as_str()));
    world.act("GET", "/api/2.0/secrets/list?scope=s", Value::Null).await.is(200);
    assert!(world.audit.take().is_empty());
}
