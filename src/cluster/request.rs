//! One request to the API server, never without a time limit.

use super::errors;
use crate::exit::Failure;
use kube::{client::UpgradeConnectionError, core::Status};
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

    /// The code of HTTP with which the server refused, also to open a stream.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Api(kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status))) => {
                Some(status.as_u16())
            }
            _ => self.status().map(|status| status.code),
        }
    }

    /// HTTP 401: the server does not know who asks; 403 is for those it knows.
    pub fn is_unauthorized(&self) -> bool {
        self.status().is_some_and(|status| status.code == 401)
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

    /// There is an object of this name.
    pub fn is_taken(&self) -> bool {
        self.status().is_some_and(|status| status.reason == "AlreadyExists")
    }

    /// Not the authorizer but an admission plugin, policy or webhook refuses; webhooks choose the code themselves. The authorizer's
    /// words name the user first: `User "x" cannot create resource …` (apiserver/pkg/endpoints/handlers/responsewriters/errors.go).
    pub fn is_admission(&self) -> bool {
        let Some(status) = self.status() else { return false };
        let says = |words: &str| status.message.contains(words);
        let by_the_authorizer = says("User \"") && says("\" cannot ");
        says("denied the request")
            || says("denied request")
            || says("violates PodSecurity")
            || (status.code == 403 && !by_the_authorizer && !self.is_namespace_ending())
    }

    /// The namespace is being removed and takes nothing new.
    pub fn is_namespace_ending(&self) -> bool {
        self.status()
            .is_some_and(|status| status.message.contains("because it is being terminated"))
    }

    /// The one clear line for the user.
    pub fn into_failure(self, doing: &str) -> Failure {
        match self {
            Self::Api(error) => errors::failure(doing, error),
            Self::Late(limit) => Failure::unknown(format!(
                "cannot {doing}: the API server did not answer within {limit:?}"
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

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(code: u16, message: &str) -> Problem {
        let status = Status {
            code,
            message: message.to_owned(),
            ..Status::default()
        };
        Problem::Api(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn admission_is_told_from_authorization() {
        for (code, message, expected) in [
            (
                403,
                r#"jobs.batch is forbidden: User "ada" cannot create resource "jobs" in API group "batch" in the namespace "n""#,
                false,
            ),
            (
                403,
                r#"pods "x" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)"#,
                true,
            ),
            (
                403,
                r#"admission webhook "p.example" denied the request: pods cannot use hostPID"#,
                true,
            ),
            (400, r#"admission webhook "p.example" denied the request: no"#, true),
            (
                422,
                "ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no",
                true,
            ),
            (403, r#"pods "x" is forbidden: exceeded quota: q"#, true),
            (
                403,
                r#"jobs.batch "x" is forbidden: unable to create new content in namespace n because it is being terminated"#,
                false,
            ),
            (404, r#"namespaces "n" not found"#, false),
            (422, "Pod \"x\" is invalid: spec.containers", false),
        ] {
            assert_eq!(problem(code, message).is_admission(), expected, "{message}");
        }
    }

    #[test]
    fn a_request_timeout_of_zero_is_long_but_not_for_ever() {
        assert_eq!(limit(Some(Duration::ZERO)), NO_LIMIT);
        assert_eq!(limit(Some(Duration::from_secs(3))), Duration::from_secs(3));
        assert_eq!(limit(None), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_says_how_long_it_waited() {
        let failure = call(
            Duration::from_millis(300),
            "list pods",
            std::future::pending::<kube::Result<()>>(),
        )
        .await;
        let message = failure.unwrap_err().message;
        assert_eq!(message, "cannot list pods: the API server did not answer within 300ms");
    }
}
