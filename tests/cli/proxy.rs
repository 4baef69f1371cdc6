//! The way to the API server through a CONNECT proxy.

use crate::{
    fake_api::{Answer, FakeApi, version},
    plugin::Plugin,
};

/// A proxy that says yes, and then is the API server itself.
fn proxy() -> FakeApi {
    FakeApi::start(|request| {
        if request.line.starts_with("CONNECT ") {
            Answer::Tunnel
        } else {
            version()
        }
    })
}

#[test]
fn the_environments_proxy_is_used() {
    let proxy = proxy();
    let plugin = Plugin::with_server("http://api.example.com:8080", "{token: t}").env("HTTP_PROXY", &proxy.url());
    let outcome = plugin.run(&["version"]);
    assert!(outcome.stdout.contains("v1.34.0"), "{}", outcome.stderr);
    let seen = proxy.seen();
    assert_eq!(seen[0].line, "CONNECT api.example.com:8080 HTTP/1.1");
    assert_eq!(
        seen[0].header("authorization"),
        None,
        "the proxy must not learn the token"
    );
    assert_eq!(seen[1].header("authorization"), Some("Bearer t"));
}

#[test]
fn the_kubeconfigs_proxy_is_used_with_its_password() {
    let proxy = proxy();
    let plugin = Plugin::new();
    plugin.write_kubeconfig(&format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: lab\n\
         contexts: [{{name: lab, context: {{cluster: lab}}}}]\n\
         clusters: [{{name: lab, cluster: {{server: 'http://api.example.com', proxy-url: 'http://me:secret@{}'}}}}]\n",
        proxy.address
    ));
    assert!(plugin.run(&["version"]).stdout.contains("v1.34.0"));
    assert_eq!(
        proxy.seen()[0].header("proxy-authorization"),
        Some("Basic bWU6c2VjcmV0")
    );
}

#[test]
fn no_proxy_and_loopback_go_directly() {
    let (proxy, api) = (proxy(), FakeApi::start(|_| version()));
    let direct = Plugin::with_server(&api.url(), "{}").env("HTTP_PROXY", &proxy.url());
    assert!(direct.run(&["version"]).stdout.contains("v1.34.0"));
    let exempt = Plugin::with_server("http://api.invalid", "{}")
        .env("HTTP_PROXY", &proxy.url())
        .env("NO_PROXY", ".invalid");
    exempt.look(&[]).assert_fails(3, "its name does not resolve", "VPN");
    assert!(proxy.seen().is_empty());
}

#[test]
fn a_proxy_that_refuses() {
    let asks = FakeApi::start(|_| Answer::Json(407, String::new()));
    let plugin = Plugin::with_server("http://api.example.com", "{}").env("HTTP_PROXY", &asks.url());
    plugin.look(&[]).assert_fails(
        3,
        &format!("behind the proxy {}, which asks for a name and password", asks.url()),
        "http://user:password@host",
    );
    let refuses = FakeApi::start(|_| Answer::Json(502, String::new()));
    let url = refuses.url();
    // The user may show the message to others, so the password is not in it.
    let with_password = url.replace("://", "://ada:secret@");
    let plugin = Plugin::with_server("http://api.example.com", "{}").env("HTTP_PROXY", &with_password);
    plugin.look(&[]).assert_fails(
        3,
        &format!("cannot be reached through the proxy {url}: it refuses to connect to the API server"),
        "NO_PROXY",
    );
    let nonsense = Plugin::with_server("http://api.example.com", "{}").env("HTTP_PROXY", "gopher://x");
    nonsense.look(&[]).assert_fails(2, "the proxy gopher://x", "socks5");
}
