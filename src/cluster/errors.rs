//! What the API server, or the way to it, answered, in one clear line with what to do about it.

use std::{error::Error as StdError, io};

use http::Uri;
use kube::{client::AuthError, core::Status};

use crate::{exit::Failure, output::safe};

/// What to do about a missing right.
pub(super) const ASK_AN_ADMIN: &str =
    "an admin can allow it: kubectl netcheck rbac VERB prints the least that the verb needs";

/// By what a request goes on its way, as the user knows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Route {
    /// Address of the API server.
    pub(super) server: String,
    /// The proxy before it, without name and password.
    pub(super) proxy: Option<String>,
    /// The program that hands out credentials (`users[].user.exec.command`).
    pub(super) credential_plugin: Option<String>,
}

/// A request that got no answer, and the way it was to go.
#[derive(Debug, thiserror::Error)]
#[error("request to {} failed", .route.server)]
pub(super) struct RequestError {
    pub(super) route: Route,
    #[source]
    pub(super) source: tower::BoxError,
}

/// A proxy as messages may show it: scheme, host and port. All else can hold a secret, even a name before a misplaced colon.
pub(super) fn without_password(proxy: &Uri) -> String {
    let scheme = proxy
        .scheme_str()
        .map_or(String::new(), |scheme| format!("{scheme}://"));
    let port = proxy.port_u16().map_or(String::new(), |port| format!(":{port}"));
    format!("{scheme}{}{port}", proxy.host().unwrap_or_default())
}

/// Says why there is no client; building one asks for the first credentials.
pub(super) fn no_client(route: &Route, error: kube::Error) -> Failure {
    match error {
        kube::Error::Auth(error) => not_logged_in(&format!("log in to {}", safe(&route.server)), &error, Some(route)),
        other => failure("build a client", other),
    }
}

/// Says what went wrong while `doing` ("list pods in namespace shop").
pub fn failure(doing: &str, error: kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => answered(doing, &status),
        kube::Error::ProxyProtocolUnsupported { proxy_url } => Failure::usage(format!(
            "cannot {doing}: the proxy {} is of an unknown kind",
            safe(&without_password(&proxy_url))
        ))
        .hint("proxies are http://, https:// or socks5://"),
        kube::Error::RustlsTls(error) => Failure::usage(format!(
            "cannot {doing}: the kubeconfig's certificates cannot be used: {error}"
        ))
        .hint("kubectl config view --minify shows the entry"),
        kube::Error::SerdeError(error) => Failure::unknown(format!(
            "cannot {doing}: the answer is not what the API server should send: {error}"
        ))
        .hint("is the address in the kubeconfig that of an API server?"),
        kube::Error::UpgradeConnection(error) => Failure::unknown(format!(
            "cannot {doing}: the API server or a proxy before it does not open the stream: {}",
            safe(&error.to_string())
        ))
        .hint("exec and attach need WebSockets all the way; Kubernetes 1.30 or newer, and proxies that let them pass"),
        kube::Error::InferKubeconfig(error) => Failure::usage(format!("cannot {doing}: {error}")),
        kube::Error::Auth(error) => not_logged_in(doing, &error, None),
        other => unanswered(doing, &other),
    }
}

fn answered(doing: &str, status: &Status) -> Failure {
    let message = safe(status.message.trim());
    match status.code {
        401 => Failure::unknown(format!(
            "cannot {doing}: the API server does not accept the credentials: {}",
            or(&message, "Unauthorized")
        ))
        .hint("they may have expired: log in again; kubectl auth whoami shows what the server knows of you"),
        _ if is_admission(&status.message) => {
            Failure::unknown(format!("cannot {doing}: refused by admission: {message}"))
        }
        403 => match Denied::parse(&status.message) {
            Some(denied) => Failure::unknown(format!("cannot {doing}: {}", denied.sentence())).hint(ASK_AN_ADMIN),
            None => Failure::unknown(format!("cannot {doing}: forbidden: {message}")),
        },
        404 => Failure::usage(format!("cannot {doing}: {}", or(&message, "not found"))),
        400 if message.contains("unable to parse") || message.contains("selector") => {
            Failure::usage(format!("cannot {doing}: {message}"))
        }
        400 if message.contains("HTTP request to an HTTPS server") => Failure::usage(format!(
            "cannot {doing}: the API server's address begins with http://, but it speaks https"
        ))
        .hint("correct the server in the kubeconfig, or --server"),
        409 => Failure::unknown(format!("cannot {doing}: it changed meanwhile: {message}")).hint("try again"),
        429 => Failure::unknown(format!("cannot {doing}: the API server is overloaded: {message}"))
            .hint("try again in a minute"),
        500.. => Failure::unknown(format!(
            "cannot {doing}: the API server failed ({}): {message}",
            status.code
        ))
        .hint("kubectl get --raw '/readyz?verbose' shows its own checks"),
        _ => Failure::unknown(format!(
            "cannot {doing}: {}",
            or(&message, "the API server refused without a reason")
        )),
    }
}

/// Pod Security, policies and webhooks word their refusals themselves.
fn is_admission(message: &str) -> bool {
    [
        "violates PodSecurity",
        "ValidatingAdmissionPolicy",
        "admission webhook",
        "exceeded quota",
        "denied request",
    ]
    .iter()
    .any(|sign| message.contains(sign))
}

/// RBAC's refusal, taken apart. The wording is stable since Kubernetes 1.9
/// (`k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go`, `forbiddenMessage`).
#[derive(Debug, PartialEq, Eq)]
struct Denied<'a> {
    user: &'a str,
    verb: &'a str,
    resource: &'a str,
    group: &'a str,
    /// `None`: cluster scope.
    namespace: Option<&'a str>,
}

impl<'a> Denied<'a> {
    fn parse(message: &'a str) -> Option<Self> {
        let (_, rest) = message.split_once("User \"")?;
        let (user, rest) = rest.split_once("\" cannot ")?;
        let (verb, rest) = rest.split_once(" resource \"")?;
        let (resource, rest) = rest.split_once("\" in API group \"")?;
        let (group, rest) = rest.split_once('"')?;
        let namespace = rest
            .split_once("in the namespace \"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(namespace, _)| namespace);
        Some(Self {
            user,
            verb,
            resource,
            group,
            namespace,
        })
    }

    fn sentence(&self) -> String {
        let resource = match self.group {
            "" => self.resource.to_owned(),
            group => format!("{}.{group}", self.resource),
        };
        let place = match self.namespace {
            Some(namespace) => format!("in namespace {}", safe(namespace)),
            None => "in the whole cluster".into(),
        };
        format!(
            "user {} may not {} {} {place}",
            safe(self.user),
            safe(self.verb),
            safe(&resource)
        )
    }
}

fn not_logged_in(doing: &str, error: &AuthError, route: Option<&Route>) -> Failure {
    let hint = "log in again as you do for kubectl, then retry";
    let plugin = route.and_then(|route| route.credential_plugin.as_deref());
    let plugin = plugin.map_or_else(
        || "the kubeconfig's credential plugin".into(),
        |command| format!("the credential plugin {}", safe(command)),
    );
    match error {
        AuthError::AuthExecStart(source) if source.kind() == io::ErrorKind::NotFound => {
            Failure::unknown(format!("cannot {doing}: {plugin} is not installed: {source}"))
                .hint("kubectl config view --minify shows where the kubeconfig asks for it")
        }
        AuthError::AuthExecStart(source) => {
            Failure::unknown(format!("cannot {doing}: {plugin} cannot be started: {source}"))
                .hint("kubectl config view --minify shows where the kubeconfig asks for it")
        }
        // `cmd` is left out: it spells out the environment, secrets included.
        AuthError::AuthExecRun { cmd: _, out } => {
            let said = String::from_utf8_lossy(&out.stderr);
            let said = said.lines().map(str::trim).rfind(|line| !line.is_empty());
            // A plugin that may talk to the user has written to the terminal itself.
            let said = said.map_or_else(|| out.status.to_string(), safe);
            Failure::unknown(format!("cannot {doing}: {plugin} failed: {said}")).hint(hint)
        }
        AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed | AuthError::MalformedTokenExpirationDate(_) => {
            let why = error.to_string();
            Failure::unknown(format!(
                "cannot {doing}: {plugin} did not answer with credentials: {}",
                safe(why.lines().next().unwrap_or_default())
            ))
            .hint("it should print an ExecCredential of client.authentication.k8s.io")
        }
        other => Failure::unknown(format!(
            "cannot {doing}: no valid credentials: {}",
            safe(&other.to_string())
        ))
        .hint(hint),
    }
}

fn unanswered(doing: &str, error: &kube::Error) -> Failure {
    let chain = Chain::of(error);
    let request = chain.errors.iter().find_map(|link| link.downcast_ref::<RequestError>());
    let route = request.map(|request| &request.route);
    if let Some(auth) = chain.errors.iter().find_map(|link| link.downcast_ref::<AuthError>()) {
        return not_logged_in(doing, auth, route);
    }
    let at = route.map_or_else(|| "the API server".into(), |route| safe(&route.server));
    let proxy = route.and_then(|route| route.proxy.as_deref());
    let is_proxied = proxy.is_some();
    let proxy = proxy.map_or_else(|| "a proxy".into(), |proxy| format!("the proxy {}", safe(proxy)));
    let wording = chain.wording();
    let unreachable = |why: &str| Failure::unknown(format!("cannot {doing}: {at} {why}"));
    if chain
        .errors
        .iter()
        .any(|link| link.is::<tower::timeout::error::Elapsed>())
    {
        return unreachable("did not answer in time").hint("--request-timeout allows more");
    }
    if let Some(tls) = chain
        .errors
        .iter()
        .find_map(|link| link.downcast_ref::<rustls::Error>())
    {
        return tls_failure(doing, &at, tls);
    }
    // The connector through proxies is a private type that can only be told by its words.
    if wording.contains("proxy authorization required") {
        return unreachable(&format!("is behind {proxy}, which asks for a name and password"))
            .hint("HTTPS_PROXY or the kubeconfig's proxy-url can carry them: http://user:password@host:3128");
    }
    let of_the_proxy = |word: &&str| wording.contains(*word);
    if wording.contains("tunnel error") || is_proxied && ["proxy", "socks"].iter().any(of_the_proxy) {
        // The tunnel's word for any answer but 200 and 407.
        let why = match chain.last() {
            word if word == "tunnel error: unsuccessful" => "it refuses to connect to the API server".into(),
            other => other,
        };
        return unreachable(&format!("cannot be reached through {proxy}: {why}"))
            .hint("HTTPS_PROXY, NO_PROXY and the kubeconfig's proxy-url decide about proxies");
    }
    if wording.contains("dns error") || wording.contains("lookup address") {
        return unreachable("cannot be reached: its name does not resolve")
            .hint("is the right context chosen, and the VPN up?");
    }
    let hint = "is the right context chosen, and the VPN up? kubectl config current-context tells";
    match chain
        .errors
        .iter()
        .find_map(|link| link.downcast_ref::<io::Error>())
        .map(io::Error::kind)
    {
        Some(io::ErrorKind::ConnectionRefused) => unreachable("refuses connections: nothing listens there").hint(hint),
        Some(io::ErrorKind::TimedOut) => unreachable("cannot be reached: no answer").hint(hint),
        Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) => {
            unreachable("cannot be reached: there is no route to it").hint(hint)
        }
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => {
            unreachable("closed the connection in mid-request")
                .hint("try again; if it stays, look at load balancers and proxies on the way")
        }
        _ => unreachable(&format!("cannot be reached: {}", chain.last())).hint(hint),
    }
}

fn tls_failure(doing: &str, at: &str, error: &rustls::Error) -> Failure {
    use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
    let (why, hint) = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => (
            "shows a certificate that the kubeconfig's authority did not sign",
            "certificate-authority in the kubeconfig, or --certificate-authority, must be the one of this cluster",
        ),
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => (
            "shows an expired certificate",
            "check this machine's clock; else an admin must renew it",
        ),
        Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => (
            "shows a certificate that is not valid yet",
            "check this machine's clock",
        ),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => (
            "shows a certificate for another name",
            "--tls-server-name says which name to expect",
        ),
        Error::AlertReceived(AlertDescription::CertificateExpired) => (
            "says the client certificate has expired",
            "log in again, or renew the kubeconfig",
        ),
        Error::AlertReceived(_) => (
            "does not accept the client certificate",
            "log in again, or renew the kubeconfig",
        ),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            ("does not speak TLS", "is it http:// rather than https://?")
        }
        _ => (
            "cannot be spoken to by TLS",
            "openssl s_client -connect HOST:PORT shows what it offers",
        ),
    };
    Failure::unknown(format!("cannot {doing}: {at} {why}: {}", safe(&error.to_string()))).hint(hint)
}

/// An error and all that caused it, outermost first, looking into `io::Error`s, whose inner error is not their source.
struct Chain<'a> {
    errors: Vec<&'a (dyn StdError + 'static)>,
}

impl<'a> Chain<'a> {
    fn of(error: &'a (dyn StdError + 'static)) -> Self {
        let mut errors = Vec::new();
        let mut next = Some(error);
        while let Some(error) = next {
            errors.push(error);
            next = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
                .map(|inner| inner as &(dyn StdError + 'static))
                .or_else(|| error.source());
        }
        Self { errors }
    }

    fn wording(&self) -> String {
        self.errors
            .iter()
            .map(|error| error.to_string().to_lowercase())
            .collect::<Vec<_>>()
            .join(": ")
    }

    fn last(&self) -> String {
        self.errors
            .last()
            .map(|error| safe(&error.to_string()))
            .unwrap_or_default()
    }
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn api(code: u16, message: &str) -> Failure {
        failure(
            "list pods",
            kube::Error::Api(Status::failure(message, "").with_code(code).boxed()),
        )
    }

    fn request(source: impl Into<tower::BoxError>) -> Failure {
        by(None, source)
    }

    fn by(proxy: Option<&str>, source: impl Into<tower::BoxError>) -> Failure {
        let route = Route {
            server: "https://prod:6443".into(),
            proxy: proxy.map(str::to_owned),
            credential_plugin: Some("/opt/login".into()),
        };
        let source = source.into();
        failure("list pods", kube::Error::Service(RequestError { route, source }.into()))
    }

    fn exec_failure(stderr: &str) -> AuthError {
        let out = std::process::Output {
            status: std::process::ExitStatus::default(),
            stdout: Vec::new(),
            stderr: stderr.into(),
        };
        AuthError::AuthExecRun {
            cmd: "SECRET=hunter2 \"/opt/login\"".into(),
            out: Box::new(out),
        }
    }

    #[test]
    fn a_credential_plugin_is_named_without_its_environment() {
        assert_eq!(
            request(exec_failure("trying\n\u{1b}[1mtoken expired\n")).message,
            "cannot list pods: the credential plugin /opt/login failed: \\u{1b}[1mtoken expired"
        );
        assert!(!request(exec_failure("")).message.contains("hunter2"));
    }

    #[test]
    fn a_proxy_is_named_when_it_is_to_blame_and_only_then() {
        let proxy = Some("http://proxy:3128");
        assert_eq!(
            by(proxy, "tunnel error: unsuccessful").message,
            "cannot list pods: https://prod:6443 cannot be reached through the proxy http://proxy:3128: it refuses to connect to the API server"
        );
        assert_eq!(
            by(proxy, "tunnel error: proxy authorization required").message,
            "cannot list pods: https://prod:6443 is behind the proxy http://proxy:3128, which asks for a name and password"
        );
        assert_eq!(
            by(None, "connection to squid-proxy lost").message,
            "cannot list pods: https://prod:6443 cannot be reached: connection to squid-proxy lost"
        );
    }

    #[test]
    fn a_proxy_of_an_unknown_kind_is_shown_without_its_secrets() {
        for (written, shown) in [
            ("ftp://ada:hunter2@proxy:3128/hunter2?hunter2", "ftp://proxy:3128"),
            ("ftp://ada:hun@hunter2@proxy", "ftp://proxy"),
            ("ada:hunter2", "ada"),
        ] {
            let proxy_url = Box::new(written.parse::<Uri>().unwrap());
            let failure = failure("build a client", kube::Error::ProxyProtocolUnsupported { proxy_url });
            assert_eq!(
                failure.message,
                format!("cannot build a client: the proxy {shown} is of an unknown kind")
            );
        }
    }

    #[test]
    fn forbidden_names_user_verb_resource_and_place() {
        let failure = api(
            403,
            r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "shop""#,
        );
        assert_eq!(
            failure.message,
            "cannot list pods: user jane may not list pods in namespace shop"
        );
        assert_eq!(failure.exit, Exit::Unknown);
        let failure = api(
            403,
            r#"jobs.batch is forbidden: User "jane" cannot create resource "jobs" in API group "batch" at the cluster scope: RBAC: role not found"#,
        );
        assert_eq!(
            failure.message,
            "cannot list pods: user jane may not create jobs.batch in the whole cluster"
        );
        assert!(failure.hint.unwrap().contains("kubectl netcheck rbac"));
    }

    #[test]
    fn admission_refusals_are_shown_whole() {
        for refusal in [
            r#"pods "x" is forbidden: violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true, hostPID=true)"#,
            r#"pods "x" is forbidden: ValidatingAdmissionPolicy 'no-host' with binding 'b' denied request: hostPID is not for you"#,
            r#"admission webhook "policy.example.com" denied the request: images must be signed"#,
        ] {
            let failure = api(403, refusal);
            assert!(failure.message.ends_with(refusal), "{}", failure.message);
        }
    }

    #[test]
    fn what_the_user_got_wrong_is_usage_and_the_rest_is_unknown() {
        for (code, message, exit) in [
            (401, "Unauthorized", Exit::Unknown),
            (403, "no", Exit::Unknown),
            (404, r#"pods "x" not found"#, Exit::Usage),
            (400, "unable to parse requirement: found '='", Exit::Usage),
            (409, "conflict", Exit::Unknown),
            (429, "too many requests", Exit::Unknown),
            (503, "etcd is gone", Exit::Unknown),
        ] {
            assert_eq!(api(code, message).exit, exit, "{code}");
        }
    }

    #[test]
    fn no_answer_names_the_server_and_the_reason() {
        let kind = |kind| io::Error::from(kind);
        assert_eq!(
            request(kind(io::ErrorKind::ConnectionRefused)).message,
            "cannot list pods: https://prod:6443 refuses connections: nothing listens there"
        );
        assert_eq!(
            request(kind(io::ErrorKind::TimedOut)).message,
            "cannot list pods: https://prod:6443 cannot be reached: no answer"
        );
        assert_eq!(
            request(tower::timeout::error::Elapsed::new()).message,
            "cannot list pods: https://prod:6443 did not answer in time"
        );
        assert_eq!(
            request("tunnel error: proxy authorization required").message,
            "cannot list pods: https://prod:6443 is behind a proxy, which asks for a name and password"
        );
        assert_eq!(
            request("dns error").message,
            "cannot list pods: https://prod:6443 cannot be reached: its name does not resolve"
        );
    }

    #[test]
    fn tls_errors_inside_io_errors_are_found() {
        let inner = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let failure = request(io::Error::new(io::ErrorKind::InvalidData, inner));
        assert!(
            failure.message.starts_with(
                "cannot list pods: https://prod:6443 shows a certificate that the kubeconfig's authority did not sign"
            ),
            "{}",
            failure.message
        );
    }

    #[test]
    fn hostile_messages_are_made_safe() {
        assert!(!api(404, "pods \"\x1b[2J\" not found").message.contains('\x1b'));
    }
}
