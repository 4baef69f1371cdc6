//! Requests to one repository of one registry, with authentication when the registry asks for it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use ureq::http::{self, HeaderMap, Method, Response, StatusCode, Uri, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::challenge::{self, Challenge};
use super::error::safe;
use super::{Credentials, Options, RegistryError, Scheme};
use crate::Reference;

/// How long one request may take, its body included: the toolbox's layer over a slow line.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Answers of a registry that we read are short; more is an attack or an error.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// A repository to talk to.
pub(super) struct Session {
    agent: Agent,
    /// `https://registry`
    origin: String,
    repository: String,
    access: Access,
    credentials: Option<Credentials>,
    /// The `Authorization` header that was last accepted.
    authorization: Option<String>,
}

/// What a session is for: a registry's token says what it may be used for.
#[derive(Clone, Copy)]
pub(super) enum Access {
    Pull,
    Push,
}

impl Access {
    fn word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
        }
    }

    fn actions(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
        }
    }
}

/// A request that can be sent again after the registry asked for authentication.
pub(super) struct Request<'a> {
    method: Method,
    target: Target,
    accept: Option<&'static str>,
    body: Option<(&'static str, &'a [u8])>,
}

enum Target {
    /// Below the repository.
    Path(String),
    /// Where the registry pointed to: an absolute URL or an absolute path.
    Location(String),
}

/// What the registry answered.
pub(super) struct Reply {
    pub status: StatusCode,
    pub location: Option<String>,
    /// The `Docker-Content-Digest` header.
    pub content_digest: Option<String>,
    pub body: Vec<u8>,
}

impl<'a> Request<'a> {
    pub fn new(method: Method, path: String) -> Self {
        Self {
            method,
            target: Target::Path(path),
            accept: None,
            body: None,
        }
    }

    pub fn at(method: Method, location: String) -> Self {
        Self {
            method,
            target: Target::Location(location),
            accept: None,
            body: None,
        }
    }

    pub fn accept(mut self, media_types: &'static str) -> Self {
        self.accept = Some(media_types);
        self
    }

    pub fn body(mut self, content_type: &'static str, bytes: &'a [u8]) -> Self {
        self.body = Some((content_type, bytes));
        self
    }
}

impl Session {
    pub fn new(target: &Reference, options: &Options, access: Access) -> Self {
        // The name of Docker's registry is not where its API is.
        let host = if target.registry == "docker.io" {
            "registry-1.docker.io"
        } else {
            &target.registry
        };
        let usual = if is_loopback(host) { Scheme::Http } else { Scheme::Https };
        let scheme = match options.scheme.unwrap_or(usual) {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_call(Some(REQUEST_TIMEOUT))
            // What the machine trusts: a company's own registry has a company's own authority.
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .user_agent(concat!("netcheck-oci/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: Agent::new_with_config(config),
            origin: format!("{scheme}://{host}"),
            repository: target.repository.clone(),
            access,
            credentials: options.credentials.clone(),
            authorization: None,
        }
    }

    /// The URL of a request.
    pub fn url(&self, request: &Request) -> String {
        match &request.target {
            Target::Path(path) => format!("{}/v2/{}/{path}", self.origin, self.repository),
            Target::Location(path) if path.starts_with('/') => format!("{}{path}", self.origin),
            Target::Location(url) => url.clone(),
        }
    }

    /// Sends the request and reads a short answer.
    pub fn send(&mut self, request: &Request) -> Result<Reply, RegistryError> {
        self.send_for(request, MAX_ANSWER_BYTES)
    }

    /// Sends the request and reads an answer of so many bytes at most.
    pub fn send_for(&mut self, request: &Request, limit: u64) -> Result<Reply, RegistryError> {
        let response = self.open(request)?;
        Reply::read(response, limit).map_err(|error| transport(&request.method, &self.url(request), error))
    }

    /// Sends the request, and once more with credentials if the registry asks for them. The answer's body is still to be read.
    pub fn open(&mut self, request: &Request) -> Result<Response<Body>, RegistryError> {
        let url = self.url(request);
        // Some registries keep content at other hosts' signed URLs, which must not see the credentials.
        let ours = same_origin(&url, &self.origin);
        let authorization = self.authorization.as_deref().filter(|_| ours);
        let response = self.exchange(request, &url, authorization)?;
        if response.status() != StatusCode::UNAUTHORIZED || !ours {
            return Ok(response);
        }
        self.authorize(&url, &response)?;
        let response = self.exchange(request, &url, self.authorization.as_deref())?;
        match response.status() {
            StatusCode::UNAUTHORIZED => Err(self.unauthorized(url, response.status())),
            _ => Ok(response),
        }
    }

    /// The error for an answer that is not foreseen, whose body is still to be read.
    pub fn refused(&self, response: Response<Body>, request: &Request) -> RegistryError {
        match Reply::read(response, MAX_ANSWER_BYTES) {
            Ok(reply) => reply.unexpected(self, request),
            Err(error) => transport(&request.method, &self.url(request), error),
        }
    }

    /// Gets what the registry's challenge asks for.
    fn authorize(&mut self, url: &str, refused: &Response<Body>) -> Result<(), RegistryError> {
        let header = text(refused.headers(), header::WWW_AUTHENTICATE.as_str()).unwrap_or_default();
        let header = header.as_str();
        let unusable = || RegistryError::Challenge {
            url: url.to_owned(),
            challenge: safe(header),
        };
        self.authorization = Some(match challenge::parse(header).ok_or_else(unusable)? {
            Challenge::Basic => self
                .basic()
                .ok_or_else(|| self.unauthorized(url.to_owned(), refused.status()))?,
            Challenge::Bearer { realm, service } => {
                // A password never travels in the clear because a registry reached by HTTPS said so.
                let in_the_clear_anyway = self.origin.starts_with("http://") && realm.starts_with("http://");
                if !(realm.starts_with("https://") || in_the_clear_anyway) {
                    return Err(unusable());
                }
                format!("Bearer {}", self.fetch_token(&realm, service.as_deref())?)
            }
        });
        Ok(())
    }

    fn fetch_token(&self, realm: &str, service: Option<&str>) -> Result<String, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }

        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        query.append_pair(
            "scope",
            &format!("repository:{}:{}", self.repository, self.access.actions()),
        );
        let separator = if realm.contains('?') { '&' } else { '?' };
        let url = format!("{realm}{separator}{}", query.finish());
        let request = Request::at(Method::GET, url.clone());
        let response = self.exchange(&request, &url, self.basic().as_deref())?;
        let reply = Reply::read(response, MAX_ANSWER_BYTES).map_err(|error| transport(&request.method, &url, error))?;
        match reply.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.unauthorized(url, reply.status)),
            _ => return Err(reply.into_error(&Method::GET, &url)),
        }
        let answer: Option<Answer> = serde_json::from_slice(&reply.body).ok();
        answer
            .and_then(|answer| answer.token.or(answer.access_token))
            .ok_or(RegistryError::NoToken { url })
    }

    fn basic(&self) -> Option<String> {
        let Credentials { username, password } = self.credentials.as_ref()?;
        Some(format!("Basic {}", BASE64.encode(format!("{username}:{password}"))))
    }

    fn unauthorized(&self, url: String, status: StatusCode) -> RegistryError {
        RegistryError::Unauthorized {
            url,
            status: status.as_u16(),
            anonymous: self.credentials.is_none(),
            access: self.access.word(),
        }
    }

    fn exchange(
        &self,
        request: &Request,
        url: &str,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, RegistryError> {
        let mut builder = http::Request::builder().method(&request.method).uri(url);
        if let Some(authorization) = authorization {
            builder = builder.header(header::AUTHORIZATION, authorization);
        }
        if let Some(media_types) = request.accept {
            builder = builder.header(header::ACCEPT, media_types);
        }
        let response = match request.body {
            Some((content_type, bytes)) => builder
                .header(header::CONTENT_TYPE, content_type)
                .body(bytes)
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request)),
            None => builder
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request)),
        };
        response.map_err(|error| transport(&request.method, url, error))
    }
}

fn transport(method: &Method, url: &str, source: ureq::Error) -> RegistryError {
    RegistryError::Transport {
        method: method.to_string(),
        url: safe(url),
        source: Box::new(source),
    }
}

/// A header that is there and is text.
fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

impl Reply {
    fn read(mut response: Response<Body>, limit: u64) -> Result<Self, ureq::Error> {
        Ok(Self {
            status: response.status(),
            location: text(response.headers(), "location"),
            content_digest: text(response.headers(), "docker-content-digest"),
            body: response.body_mut().with_config().limit(limit).read_to_vec()?,
        })
    }

    /// The error for an answer that is not foreseen.
    pub fn unexpected(self, session: &Session, request: &Request) -> RegistryError {
        let url = session.url(request);
        match self.status {
            StatusCode::FORBIDDEN => session.unauthorized(url, self.status),
            _ => self.into_error(&request.method, &url),
        }
    }

    fn into_error(self, method: &Method, url: &str) -> RegistryError {
        RegistryError::Status {
            method: method.to_string(),
            url: safe(url),
            status: self.status.as_u16(),
            detail: safe(&error_messages(&self.body)),
        }
    }
}

/// The messages of a registry's error answer (distribution-spec, "Error Codes"); other answers as they are.
fn error_messages(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Answer {
        errors: Vec<Message>,
    }
    #[derive(Deserialize)]
    struct Message {
        code: String,
        #[serde(default)]
        message: String,
    }

    match serde_json::from_slice::<Answer>(body) {
        Ok(answer) => answer
            .errors
            .iter()
            .map(|e| format!("{} {}", e.code, e.message))
            .collect::<Vec<_>>()
            .join("; "),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// Does the URL belong to this scheme, host and port?
fn same_origin(url: &str, origin: &str) -> bool {
    let parts = |url: &str| {
        let uri: Uri = url.parse().ok()?;
        Some((uri.scheme_str()?.to_owned(), uri.host()?.to_owned(), uri.port_u16()))
    };
    parts(url).is_some() && parts(url) == parts(origin)
}

fn is_loopback(registry: &str) -> bool {
    let host = registry
        .rsplit_once(':')
        .filter(|(_, port)| port.parse::<u16>().is_ok())
        .map_or(registry, |(host, _)| host);
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_without_asking_only_on_loopback() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.8.9.1",
            "[::1]:5000",
            "[::1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "ghcr.io",
            "10.0.0.1:5000",
            "localhost.example:5000",
            "127.0.0.1.example",
            "[2001:db8::1]:5000",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        assert!(same_origin("https://r.example/v2/x?y", "https://r.example"));
        for other in [
            "http://r.example/",
            "https://r.example:444/",
            "https://evil.example/",
            "/v2/x",
            "",
        ] {
            assert!(!same_origin(other, "https://r.example"), "{other}");
        }
    }

    #[test]
    fn a_registrys_words_are_shown_and_made_safe() {
        let body = br#"{"errors":[{"code":"DENIED","message":"quota\u001b[2J exceeded\n"}]}"#;
        assert_eq!(safe(&error_messages(body)), "DENIED quota [2J exceeded");
        assert_eq!(safe(&error_messages(b"plain\ttext")), "plain text");
        assert_eq!(safe(&"x".repeat(1000)).len(), 300);
    }
}
