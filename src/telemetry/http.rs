//! `/metrics`, `/healthz` and `/readyz`.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::{Health, Metrics};

/// Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers on `listener` until `shutdown` is done.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    health: Health,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(metrics, health)).with_graceful_shutdown(shutdown).await
}

fn router(metrics: Metrics, health: Health) -> Router {
    let healthy = get(|State(health): State<Health>| async move { verdict(health.healthy()) });
    let ready = get(|State(health): State<Health>| async move { verdict(health.ready()) });
    Router::new()
        .route(
            "/metrics",
            get(|State(metrics): State<Metrics>| async move { shown(&metrics) }).with_state(metrics),
        )
        .route("/healthz", healthy.with_state(health.clone()))
        .route("/readyz", ready.with_state(health))
}

fn shown(metrics: &Metrics) -> Response {
    match metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn verdict(verdict: Result<(), String>) -> Response {
    match verdict {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()).into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::sync::Arc;

    use super::*;
    use crate::time::SystemClock;

    fn ask(address: SocketAddr, path: &str) -> String {
        let mut connection = TcpStream::connect(address).unwrap();
        write!(connection, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn metrics_and_health_answer_until_shutdown() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let health = Health::new(Arc::new(SystemClock));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let server = runtime.spawn(serve(listener, Metrics::new(&[], &[]), health.clone(), shutdown));

        let answer = ask(address, "/metrics");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(METRICS_TYPE), "{answer}");
        assert!(answer.contains("windrow_build_info{version="), "{answer}");
        assert!(ask(address, "/healthz").starts_with("HTTP/1.1 200"));
        let answer = ask(address, "/readyz");
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.contains("no partitions are assigned"),
            "{answer}"
        );
        health.assigned(1);
        health.sink_answers(true);
        assert!(ask(address, "/readyz").starts_with("HTTP/1.1 200"));
        assert!(ask(address, "/").starts_with("HTTP/1.1 404"));

        stop.send(()).unwrap();
        runtime.block_on(server).unwrap().unwrap();
    }
}
