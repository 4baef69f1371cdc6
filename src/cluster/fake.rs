//! An API server in memory, for tests of what a real cluster cannot be made to answer on demand.

use super::Cluster;
use http::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

/// A request as the fake saw it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET /api/v1/pods?limit=500`.
    pub line: String,
    /// Its body; null if it has none.
    pub body: Value,
}

/// A cluster whose every request `answer` answers with a status and a body, and the record of requests.
pub fn cluster(
    answer: impl Fn(&Asked) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> (Cluster, Arc<Mutex<Vec<Asked>>>) {
    let record: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let asked = Arc::clone(&record);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (answer, asked) = (answer.clone(), Arc::clone(&asked));
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let bytes = request.into_body().collect_bytes().await.unwrap();
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let request = Asked { line, body };
            let (code, body) = answer(&request);
            asked.lock().unwrap().push(request);
            let response = Response::builder().status(StatusCode::from_u16(code).unwrap());
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            Ok::<_, Infallible>(response.body(body).unwrap())
        }
    });
    let cluster = Cluster {
        client: kube::Client::new(service, "default"),
        namespace: "default".to_owned(),
        context: None,
        user: None,
        server: "https://fake".to_owned(),
        request_timeout: None,
    };
    (cluster, record)
}

/// A refusal as the API server words it.
pub fn status(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    (code, status)
}

/// A list without a continuation.
pub fn list(items: &Value) -> (u16, Value) {
    (
        200,
        json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items }),
    )
}
