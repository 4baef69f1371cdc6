//! Which proxy the environment asks for, by the rules of Go's `net/http`, which kubectl follows.
//! (`golang.org/x/net/http/httpproxy`: `NO_PROXY` is matched against the server, and loopback is never proxied.)

use std::{env, net::IpAddr};

use http::Uri;
use ipnet::IpNet;

/// The environment's proxy variables, lower-case spellings included.
#[derive(Debug, Clone, Default)]
pub(super) struct ProxyEnvironment {
    https: Option<String>,
    http: Option<String>,
    none: Option<String>,
}

impl ProxyEnvironment {
    pub(super) fn read() -> Self {
        let read = |upper: &str| {
            [upper.to_owned(), upper.to_lowercase()]
                .iter()
                .find_map(|name| env::var(name).ok())
                .filter(|value| !value.is_empty())
        };
        Self {
            https: read("HTTPS_PROXY"),
            http: read("HTTP_PROXY"),
            none: read("NO_PROXY"),
        }
    }

    /// The proxy for this server, as written in the environment.
    pub(super) fn for_server(&self, server: &Uri) -> Option<&str> {
        let host = server.host()?.trim_matches(['[', ']']);
        let is_https = server.scheme_str() == Some("https");
        let port = server.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let proxy = if is_https {
            self.https.as_deref()
        } else {
            self.http.as_deref()
        };
        proxy.filter(|_| !is_exempt(host, port, self.none.as_deref().unwrap_or_default()))
    }
}

fn is_exempt(host: &str, port: u16, none: &str) -> bool {
    let host = host.trim_end_matches('.').to_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    none.split(',')
        .map(|entry| entry.trim().to_lowercase())
        .filter(|entry| !entry.is_empty())
        .any(|entry| {
            if entry == "*" {
                return true;
            }
            if let (Ok(net), Some(address)) = (entry.parse::<IpNet>(), address) {
                return net.contains(&address);
            }
            let (name, only_port) = split_port(&entry);
            if only_port.is_some_and(|only| only != port) {
                return false;
            }
            match (name.parse::<IpAddr>(), address) {
                (Ok(exempt), Some(address)) => exempt == address,
                (Ok(_), None) | (Err(_), Some(_)) => false,
                (Err(_), None) => {
                    let name = name.strip_prefix('*').unwrap_or(name);
                    match name.strip_prefix('.') {
                        // ".example.com" exempts subdomains only.
                        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
                        None => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
                    }
                }
            }
        })
}

/// `host:port`, `[v6]:port`, or a host alone.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        Some((name, port)) if name.starts_with('[') || !name.contains(':') => {
            (name.trim_matches(['[', ']']), port.parse().ok())
        }
        _ => (entry.trim_matches(['[', ']']), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_follows_go() {
        let cases = [
            ("https://api.example.com:6443", "", true),
            ("https://api.example.com:6443", "example.com", false),
            ("https://api.example.com:6443", ".example.com", false),
            ("https://example.com", ".example.com", true),
            ("https://badexample.com", "example.com", true),
            ("https://api.example.com:6443", "api.example.com:6443", false),
            ("https://api.example.com:6443", "api.example.com:443", true),
            ("https://10.1.2.3:6443", "10.0.0.0/8", false),
            ("https://10.1.2.3:6443", "10.1.2.3", false),
            ("https://10.1.2.3:6443", "192.168.0.0/16, *", false),
            ("https://[fd00::1]:6443", "fd00::/8", false),
            ("https://[fd00::1]:6443", "[fd00::1]:6443", false),
            ("https://localhost:6443", "", false),
            ("https://127.0.0.1:6443", "", false),
            ("http://api.example.com", "", false),
        ];
        for (server, none, proxied) in cases {
            let environment = ProxyEnvironment {
                https: Some("http://proxy:3128".into()),
                http: None,
                none: Some(none.into()),
            };
            assert_eq!(
                environment.for_server(&server.parse().unwrap()).is_some(),
                proxied,
                "{server} NO_PROXY={none}"
            );
        }
    }
}
