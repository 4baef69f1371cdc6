//! Health and metrics, on a loopback address: the kubelet and a scraper on the node read them, nobody else.

use crate::{
    asked::{self, Asking},
    metrics::Metrics,
};
use anyhow::{Context as _, Result};
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(5);
/// What Prometheus expects (OpenMetrics 1.0).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the probes of the kubelet are answered from.
#[derive(Debug)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last_turn: Instant,
    limit: Duration,
    not_ready: Option<String>,
}

impl Health {
    /// Nothing is ready yet; alive for `limit` from now.
    pub fn new(limit: Duration) -> Self {
        let state = State {
            last_turn: Instant::now(),
            limit,
            not_ready: Some("the first pass is not done".to_owned()),
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// A turn of the daemon ended: alive for another `limit`, and ready or not, with the reason.
    pub fn turned(&self, limit: Duration, not_ready: Option<String>) {
        let last_turn = Instant::now();
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State {
            last_turn,
            limit,
            not_ready,
        };
    }

    fn alive(&self) -> Result<(), String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let age = state.last_turn.elapsed();
        if age > state.limit {
            return Err(format!("no turn for {} s", age.as_secs()));
        }
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.not_ready.clone().map_or(Ok(()), Err)
    }
}

/// Listens; so that an address that is taken is known at once.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for health and metrics; --listen says where"))
}

/// Answers until the process ends.
pub async fn serve(listener: TcpListener, health: Arc<Health>, metrics: Arc<Metrics>, asking: Asking) {
    loop {
        let connection = match listener.accept().await {
            Ok((connection, _)) => connection,
            Err(error) => {
                // Out of descriptors, most likely: nothing is gained by asking again at once.
                tracing::warn!(%error, "cannot accept a connection for health and metrics");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (health, metrics, asking) = (health.clone(), metrics.clone(), asking.clone());
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let (health, metrics, asking) = (health.clone(), metrics.clone(), asking.clone());
            async move {
                let answer = if (&method, path.as_str()) == (&Method::POST, asked::PATH) {
                    reconcile(&asking).await
                } else {
                    answer(&method, &path, &health, &metrics)
                };
                Ok::<_, Infallible>(answer)
            }
        });
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(connection), service);
            // A client that breaks off is its own affair.
            drop(connection.await);
        });
    }
}

fn answer(method: &Method, path: &str, health: &Health, metrics: &Metrics) -> Response<Full<Bytes>> {
    if method != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned());
    }
    match path {
        "/healthz" => verdict(health.alive()),
        "/readyz" => verdict(health.alive().and_then(|()| health.ready())),
        "/metrics" => match metrics.text() {
            Ok(metrics) => {
                let mut response = text(StatusCode::OK, metrics);
                let kind = hyper::header::HeaderValue::from_static(OPEN_METRICS);
                response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
                response
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        _ => text(
            StatusCode::NOT_FOUND,
            "/healthz, /readyz, /metrics, and POST /reconcile\n".to_owned(),
        ),
    }
}

async fn reconcile(asking: &Asking) -> Response<Full<Bytes>> {
    let answer = asking.ask().await;
    let answer = answer.and_then(|answer| serde_json::to_string(&answer).map_err(|error| error.to_string()));
    match answer {
        Ok(answer) => text(StatusCode::OK, answer + "\n"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

fn verdict(verdict: Result<(), String>) -> Response<Full<Bytes>> {
    match verdict {
        Ok(()) => text(StatusCode::OK, "ok\n".to_owned()),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(path: &str, health: &Health) -> StatusCode {
        answer(&Method::GET, path, health, &Metrics::new("/nonexistent".into())).status()
    }

    #[test]
    fn ready_only_after_a_turn_that_says_so_and_while_turns_come() {
        let health = Health::new(Duration::from_mins(1));
        assert_eq!(status("/healthz", &health), StatusCode::OK);
        assert_eq!(status("/readyz", &health), StatusCode::SERVICE_UNAVAILABLE);
        health.turned(Duration::from_mins(1), None);
        assert_eq!(status("/readyz", &health), StatusCode::OK);
        health.turned(Duration::ZERO, None);
        assert_eq!(status("/healthz", &health), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status("/readyz", &health), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn only_what_is_there_is_answered() {
        let health = Health::new(Duration::from_mins(1));
        assert_eq!(status("/", &health), StatusCode::NOT_FOUND);
        assert_eq!(status("/metrics", &health), StatusCode::OK);
        let post = answer(&Method::POST, "/metrics", &health, &Metrics::new("/nonexistent".into()));
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
