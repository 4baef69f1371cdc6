//! One request to the API server, never without a time limit.

use super::errors;
use crate::exit::Failure;
use kube::core::Status;
use std::{future::Future, time::Duration};

/// How long a request may take when the user said nothing about it. (kubectl waits for ever.)
const LIMIT: Duration = Duration::from_secs(30);
/// `--request-timeout 0` means "do not limit"; a plugin that removes what it creates must come to an end all the same.
const NO_LIMIT: Duration = Duration::from_hours(1);

/// Why a request has no answer.
#[derive(Debug)]
pub enum Problem {
    /// The server, or the way to it, reports an error.
    Api(kube::Error),
    /// No answer in time.
    Late(Duration),
}

impl Problem {
    /// What the server said, if it was the server.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status),
            _ => None,
        }
    }

    /// HTTP 404.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(|status| status.code == 404)
    }

    /// HTTP 403: no permission, or an admission policy; see [`Self::is_admission`].
    pub fn is_forbidden(&self) -> bool {
        self.status().is_some_and(|status| status.code == 403)
    }

    /// HTTP 409: it exists already, or changed meanwhile, or its namespace is being removed.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(|status| status.code == 409)
    }

    /// Not the authorizer but an admission plugin, policy or webhook refuses. RBAC's own words name the user first (`User "x" cannot
    /// create resource …`, apiserver/pkg/endpoints/handlers/responsewriters/errors.go); admission's do not.
    pub fn is_admission(&self) -> bool {
        self.status().is_some_and(|status| match status.code {
            403 => !status.message.contains(" cannot ") || status.message.contains("violates PodSecurity"),
            422 => status.message.contains("denied request") || status.message.contains("ValidatingAdmissionPolicy"),
            400 => status.message.contains("admission webhook"),
            _ => false,
        })
    }

    /// The one clear line for the user.
    pub fn into_failure(self, doing: &str) -> Failure {
        match self {
            Self::Api(error) => errors::failure(doing, error),
            Self::Late(limit) => Failure::unknown(format!(
                "cannot {doing}: the API server did not answer within {} s",
                limit.as_secs()
            ))
            .hint("--request-timeout gives it longer"),
        }
    }
}

/// The limit of one request.
pub fn limit(request_timeout: Option<Duration>) -> Duration {
    match request_timeout {
        Some(Duration::ZERO) => NO_LIMIT,
        Some(limit) => limit,
        None => LIMIT,
    }
}

/// Awaits a request, for callers who look at what went wrong.
pub async fn attempt<T>(limit: Duration, request: impl Future<Output = kube::Result<T>>) -> Result<T, Problem> {
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer.map_err(Problem::Api),
        Err(_) => Err(Problem::Late(limit)),
    }
}

/// Awaits a request; `doing` continues "cannot …".
pub async fn call<T>(
    limit: Duration,
    doing: &str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Failure> {
    attempt(limit, request)
        .await
        .map_err(|problem| problem.into_failure(doing))
}
