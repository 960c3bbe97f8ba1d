//! The HTTP server of metrics and health. It reads snapshots; it can neither slow nor change the way of the data.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::telemetry::metrics::CONTENT_TYPE;
use crate::telemetry::{Health, Metrics};

#[derive(Debug, Clone)]
struct Seen {
    metrics: Metrics,
    health: Health,
}

/// Serves `/metrics`, `/livez` and `/readyz` until the task is dropped.
pub async fn serve(listener: TcpListener, metrics: Metrics, health: Health) {
    let app = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(Seen { metrics, health });
    if let Err(error) = axum::serve(listener, app).await {
        tracing::error!(%error, "the server of metrics and health ended; flows go on");
    }
}

async fn metrics_text(State(seen): State<Seen>) -> impl IntoResponse {
    match seen.metrics.text() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, CONTENT_TYPE)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

async fn ready(State(seen): State<Seen>) -> (StatusCode, String) {
    match seen.health.ready() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    }
}
