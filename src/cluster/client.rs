//! A client made from kubectl's flags.

use std::time::Duration;

use http::{HeaderMap, Request, Uri, header::DATE};
use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use kube::{
    Config,
    client::{Body, ClientBuilder},
    config::{KubeConfigOptions, KubeconfigError},
};
use tower::{ServiceBuilder, timeout::TimeoutLayer};

use super::{
    errors::{self, RequestError, Route},
    kubeconfig,
    proxy::ProxyEnvironment,
    request::{self, attempt},
};
use crate::{exit::Failure, flags::KubectlFlags, output::safe};

/// How long one request waits for the head of its answer where `--request-timeout` does not say. Large lists take the API
/// server up to its own limit of 60 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(65);
/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A cluster, as somebody. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    /// The client. Every request of it has a deadline for the head of its answer; streams then run on.
    pub client: kube::Client,
    /// `-n`, else the context's namespace, else `default`.
    pub namespace: String,
    /// Name of the context, if the kubeconfig has one.
    pub context: Option<String>,
    /// Name of the kubeconfig's user; the API server may know it by another name.
    pub user: Option<String>,
    /// Address of the API server.
    pub server: String,
    /// `--request-timeout`: `None` if not given, zero for ever.
    pub request_timeout: Option<Duration>,
}

impl Cluster {
    /// Reads the kubeconfig (or, inside a pod, its service account) and builds a client. Sends nothing yet.
    ///
    /// # Errors
    /// If there is no usable configuration.
    pub async fn connect(flags: &KubectlFlags) -> Result<Self, Failure> {
        let flags = &flags.connect.clone().without_empty();
        let file = kubeconfig::read(flags)?;
        let says_nothing = flags.context.is_none() && flags.server.is_none() && flags.cluster.is_none();
        let file_is_empty = file
            .as_ref()
            .is_none_or(|file| file.contexts.is_empty() && file.clusters.is_empty());
        let (mut config, context, user) =
            if says_nothing && file_is_empty && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
                let mut config = Config::incluster().map_err(|error| {
                    Failure::usage(format!(
                        "no kubeconfig, and the pod's service account cannot be used: {error}"
                    ))
                })?;
                if let Some(namespace) = &flags.namespace {
                    config.default_namespace.clone_from(namespace);
                }
                (config, None, None)
            } else if file.is_none() && says_nothing {
                return Err(Failure::usage(format!("no kubeconfig: {}", kubeconfig::places()))
                    .hint("--kubeconfig FILE or KUBECONFIG says which file to use"));
            } else {
                let chosen = kubeconfig::choose(file, flags)?;
                let no_environment = chosen.kubeconfig.clusters.iter().any(|entry| {
                    entry
                        .cluster
                        .as_ref()
                        .is_some_and(|cluster| cluster.proxy_url.as_ref().is_some_and(|url| !url.is_empty()))
                });
                let mut config = Config::from_custom_kubeconfig(chosen.kubeconfig, &KubeConfigOptions::default())
                    .await
                    .map_err(|error| unusable(&chosen.server, no_environment, &error))?;
                if !no_environment {
                    config.proxy_url = environment_proxy(&config.cluster_url)?;
                }
                (config, chosen.context, chosen.user)
            };
        config.connect_timeout = Some(CONNECT_TIMEOUT);

        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let namespace = config.default_namespace.clone();
        let route = route(&config, &server);
        let client = client(config, &route, flags.request_timeout).map_err(|error| errors::no_client(&route, error))?;
        tracing::debug!(%server, ?context, ?user, %namespace, "cluster chosen");
        Ok(Self {
            client,
            namespace,
            context,
            user,
            server,
            request_timeout: flags.request_timeout,
        })
    }

    /// The time by the server's clock, to the second: what it writes into objects is compared with this, since the clock here may be
    /// minutes off. Without an answer that tells, the time by the clock here.
    pub async fn now(&self) -> Timestamp {
        // Any answer will do, a refusal too: servers of HTTP date them all (RFC 9110, section 6.6.1).
        let date = match Request::get("/version").body(Body::empty()) {
            Ok(request) => attempt(request::limit(self.request_timeout), self.client.send(request))
                .await
                .ok()
                .and_then(|answer| date_of(answer.headers())),
            Err(_) => None,
        };
        date.unwrap_or_else(|| {
            tracing::debug!(server = %self.server, "the server does not tell the time");
            Timestamp::now()
        })
    }
}

/// When an answer was made. The date of HTTP is one of RFC 2822.
fn date_of(headers: &HeaderMap) -> Option<Timestamp> {
    let date = headers.get(DATE)?.to_str().ok()?;
    DateTimeParser::new().parse_timestamp(date).ok()
}

fn route(config: &Config, server: &str) -> Route {
    Route {
        server: server.to_owned(),
        proxy: config.proxy_url.as_ref().map(errors::without_password),
        credential_plugin: config.auth_info.exec.as_ref().and_then(|exec| exec.command.clone()),
    }
}

fn client(config: Config, route: &Route, request_timeout: Option<Duration>) -> Result<kube::Client, kube::Error> {
    let route = route.clone();
    let timeout = match request_timeout {
        None => Some(REQUEST_TIMEOUT),
        Some(Duration::ZERO) => None,
        some => some,
    };
    let layers = ServiceBuilder::new()
        .map_err(move |source: tower::BoxError| RequestError {
            route: route.clone(),
            source,
        })
        .option_layer(timeout.map(TimeoutLayer::new));
    Ok(ClientBuilder::try_from(config)?.with_layer(&layers).build())
}

fn environment_proxy(server: &Uri) -> Result<Option<Uri>, Failure> {
    match ProxyEnvironment::read().for_server(server) {
        Some(proxy) => proxy_of(proxy, variable(server)).map(Some),
        None => Ok(None),
    }
}

/// Which variable names the proxy for this server.
fn variable(server: &Uri) -> &'static str {
    match server.scheme_str() {
        Some("https") => "HTTPS_PROXY",
        _ => "HTTP_PROXY",
    }
}

/// Reads what `place` says. As in Go, a proxy without a scheme is an HTTP proxy.
fn proxy_of(written: &str, place: &str) -> Result<Uri, Failure> {
    let url = if written.contains("://") {
        written.to_owned()
    } else {
        format!("http://{written}")
    };
    url.parse().map_err(|_| no_proxy_url(place))
}

/// Says where the wrong value is, never the value: there may be a password in it.
fn no_proxy_url(place: &str) -> Failure {
    Failure::usage(format!("{place} is no URL")).hint("it should look like http://host:3128")
}

fn unusable(server: &str, has_proxy_url: bool, error: &KubeconfigError) -> Failure {
    // Without a proxy-url it was the environment that kube read.
    let place = if has_proxy_url {
        "the kubeconfig's proxy-url"
    } else {
        "HTTPS_PROXY"
    };
    match error {
        KubeconfigError::ParseProxyUrl(_) => no_proxy_url(place),
        other => Failure::usage(format!(
            "the kubeconfig's entry for {} cannot be used: {}",
            safe(server),
            safe(&other.to_string())
        ))
        .hint("kubectl config view --minify shows it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    /// A cluster whose server refuses everything, with these headers.
    fn refusing(headers: HeaderMap) -> Cluster {
        let service = tower::service_fn(move |_: Request<Body>| {
            let mut refusal = Response::new(Body::from(b"{}".to_vec()));
            *refusal.status_mut() = http::StatusCode::FORBIDDEN;
            *refusal.headers_mut() = headers.clone();
            std::future::ready(Ok::<_, std::convert::Infallible>(refusal))
        });
        Cluster {
            client: kube::Client::new(service, "default"),
            namespace: "default".to_owned(),
            context: None,
            user: None,
            server: "https://fake".to_owned(),
            request_timeout: None,
        }
    }

    #[tokio::test]
    async fn the_time_is_the_servers() {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, "Thu, 01 Jan 2026 00:00:30 GMT".parse().unwrap());
        assert_eq!(
            refusing(headers).now().await,
            "2026-01-01T00:00:30Z".parse::<Timestamp>().unwrap()
        );
    }

    #[tokio::test]
    async fn a_server_that_tells_no_time_is_no_obstacle() {
        let mut headers = HeaderMap::new();
        let from = Timestamp::now();
        assert!(refusing(headers.clone()).now().await >= from);
        headers.insert(DATE, "soon".parse().unwrap());
        assert!(refusing(headers).now().await >= from);
    }

    #[test]
    fn a_proxy_that_is_no_url_is_named_by_its_place_and_never_shown() {
        let wrong = "http://ada:hunter2@proxy host:3128";
        let server = Uri::from_static("https://prod:6443");
        let failure = proxy_of(wrong, variable(&server)).unwrap_err();
        assert_eq!(failure.message, "HTTPS_PROXY is no URL");
        let error = wrong
            .parse::<Uri>()
            .map_err(KubeconfigError::ParseProxyUrl)
            .unwrap_err();
        let failure = unusable("https://prod:6443", true, &error);
        assert_eq!(failure.message, "the kubeconfig's proxy-url is no URL");
        assert_eq!(
            unusable("https://prod:6443", false, &error).message,
            "HTTPS_PROXY is no URL"
        );
    }

    #[test]
    fn a_proxy_without_a_scheme_is_an_http_proxy() {
        assert_eq!(
            proxy_of("proxy:3128", "HTTPS_PROXY").unwrap(),
            "http://proxy:3128".parse::<Uri>().unwrap()
        );
    }
}
