//! The way to the API server through a proxy, by CONNECT or by SOCKS.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

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

/// A SOCKS5 server (RFC 1928) without authentication that connects everything to one address. Says which names it was asked for.
fn socks_proxy(to: SocketAddr) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, names) = mpsc::channel();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let asked = asked.clone();
            // A client that leaves early is none of this test's business.
            thread::spawn(move || drop(serve_socks(client, to, &asked)));
        }
    });
    (address, names)
}

fn serve_socks(mut client: TcpStream, to: SocketAddr, asked: &mpsc::Sender<String>) -> io::Result<()> {
    let bytes = |client: &mut TcpStream, count: u8| -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count.into()];
        client.read_exact(&mut bytes).map(|()| bytes)
    };
    // Version 5 and methods; method 0 is chosen: no authentication.
    let greeting = bytes(&mut client, 2)?;
    bytes(&mut client, greeting[1])?;
    client.write_all(&[5, 0])?;
    // Version, command 1 (connect), reserved, address type.
    let request = bytes(&mut client, 4)?;
    assert_eq!(request[..3], [5, 1, 0]);
    let name = match request[3] {
        1 => format!("{:?}", bytes(&mut client, 4)?),
        3 => {
            let length = bytes(&mut client, 1)?[0];
            String::from_utf8(bytes(&mut client, length)?).unwrap()
        }
        _ => format!("{:?}", bytes(&mut client, 16)?),
    };
    let port = bytes(&mut client, 2)?;
    let port = u16::from_be_bytes([port[0], port[1]]);
    drop(asked.send(format!("{name}:{port}")));
    let mut server = TcpStream::connect(to)?;
    // Succeeded; bound to 0.0.0.0:0, which nobody looks at.
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || io::copy(&mut from_client, &mut to_server));
    io::copy(&mut server, &mut client).map(drop)
}

#[test]
fn a_socks_proxy_is_used_and_resolves_the_servers_name() {
    let api = FakeApi::start(|_| version());
    let (proxy, names) = socks_proxy(api.address);
    let plugin = Plugin::new();
    plugin.write_kubeconfig(&format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: lab\n\
         contexts: [{{name: lab, context: {{cluster: lab, user: jane}}}}]\n\
         clusters: [{{name: lab, cluster: {{server: 'http://api.invalid:8080', proxy-url: 'socks5://{proxy}'}}}}]\n\
         users: [{{name: jane, user: {{token: t}}}}]\n"
    ));
    let outcome = plugin.run(&["version"]);
    assert!(outcome.stdout.contains("v1.34.0"), "{}", outcome.stderr);
    assert_eq!(names.try_recv().unwrap(), "api.invalid:8080");
    assert_eq!(api.seen()[0].header("authorization"), Some("Bearer t"));
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
