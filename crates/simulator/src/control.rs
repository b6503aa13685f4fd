//! The simulator's own routes: posting scripts, resetting, and reading the ledger.

use std::fmt::Display;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Query, State};
use axum::routing::{get, post};
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::exchange::{self, Shared};
use crate::gates::Gate;
use crate::google_token;
use crate::ledger::{Record, Summary};

const DEFAULT_LIMIT: usize = 1_000;

#[derive(Deserialize)]
struct PostedScript {
    model: String,
    script: String,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    since: u64,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Requests {
    requests: Vec<Record>,
}

#[derive(Deserialize)]
struct AskedGate {
    gate: Gate,
}

#[derive(Serialize)]
struct OpenedGate {
    url: String,
}

#[derive(Serialize)]
struct Done {
    ok: bool,
}

#[derive(Serialize)]
struct Problem {
    error: String,
}

/// All routes: the simulator's own, and every other path for the provider formats.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/_script", post(script))
        .route("/_reset", post(reset))
        .route("/_gate", post(gate))
        .route("/_ledger", get(ledger))
        .route("/_ledger/summary", get(summary))
        .route(google_token::PATH, post(google_token::exchange))
        .fallback(exchange::handle)
        .with_state(shared)
}

// The bytes and not `Json`, which insists on a content type that `curl -d` does not send.
async fn script(
    State(shared): State<Arc<Shared>>,
    body: Bytes,
) -> Result<Json<Done>, (StatusCode, Json<Problem>)> {
    let posted: PostedScript = serde_json::from_slice(&body).map_err(problem)?;
    shared.scripts.set(&posted.model, &posted.script).map_err(problem)?;
    Ok(Json(Done { ok: true }))
}

fn problem(error: impl Display) -> (StatusCode, Json<Problem>) {
    (StatusCode::BAD_REQUEST, Json(Problem { error: error.to_string() }))
}

async fn gate(
    State(shared): State<Arc<Shared>>,
    body: Bytes,
) -> Result<Json<OpenedGate>, (StatusCode, Json<Problem>)> {
    let asked: AskedGate = serde_json::from_slice(&body).map_err(problem)?;
    let opened = shared.gates.open(asked.gate).await.map_err(problem)?;
    Ok(Json(OpenedGate { url: opened.url() }))
}

async fn reset(State(shared): State<Arc<Shared>>) -> Json<Done> {
    shared.ledger.reset();
    shared.scripts.clear();
    shared.recordings.clear();
    shared.responses.clear();
    Json(Done { ok: true })
}

async fn ledger(State(shared): State<Arc<Shared>>, Query(page): Query<Page>) -> Json<Requests> {
    let limit = page.limit.unwrap_or(DEFAULT_LIMIT);
    Json(Requests { requests: shared.ledger.since(page.since, limit) })
}

async fn summary(State(shared): State<Arc<Shared>>) -> Json<Summary> {
    Json(shared.ledger.summary())
}
