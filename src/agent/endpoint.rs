//! The status endpoint: metrics, liveness and readiness over HTTP, on this host only.

use super::health::Health;
use super::roster::Roster;
use super::{Clock, metrics};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// What is served: the last word of each stream.
#[derive(Clone)]
pub struct Board {
    /// The streams.
    pub roster: Roster,
    /// The time.
    pub clock: Clock,
}

/// Listens on `address`, and serves until the process ends. Gives the address, whose port the system chose if it was 0.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, board: Board) -> std::io::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(Arc::new(board));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the status endpoint has ended");
        }
    });
    Ok(address)
}

async fn metrics_page(State(board): State<Arc<Board>>) -> Response {
    match metrics::encode(board.roster.read(), (board.clock)()) {
        Ok(text) => {
            let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, format)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The process is alive while each of its streams has somebody who looks after it, and is heard of.
async fn alive(State(board): State<Arc<Board>>) -> Response {
    let healths = board.roster.healths();
    let gone: Vec<_> = healths
        .iter()
        .filter(|health| is_deserted(health))
        .map(|health| health.borrow().stream.clone())
        .collect();
    match gone.is_empty() {
        true => "ok\n".into_response(),
        false => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("nobody archives {}\n", gone.join(", ")),
        )
            .into_response(),
    }
}

/// Whether nobody looks after a stream any more: its task is gone, or hangs.
pub fn is_deserted(health: &watch::Receiver<Health>) -> bool {
    health.has_changed().is_err() || health.borrow().is_overdue(Instant::now())
}

/// The agent is ready when the last run of each stream did what it was to do.
async fn ready(State(board): State<Arc<Board>>) -> Response {
    let mut text = String::new();
    for health in board
        .roster
        .read()
        .iter()
        .filter(|health| !health.is_ready())
    {
        let why = match (&health.last_error, health.totals.runs) {
            (Some(error), _) => error,
            (None, 0) => "has not run yet",
            (None, _) => "fails",
        };
        text += &format!("{}: {why}\n", health.stream);
    }
    match text.is_empty() {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, text).into_response(),
    }
}
