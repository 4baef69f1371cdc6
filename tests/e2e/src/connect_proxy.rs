//! An HTTP proxy as companies put before API servers: it takes `CONNECT` (RFC 9110 section 9.3.6) and nothing else.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// Longest request head that is read.
const HEAD_LINES: usize = 100;
/// How long a client may take to send it.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// What the proxy answers.
#[derive(Debug, Clone, Copy)]
pub enum Policy {
    /// 200, and a tunnel to this server, whatever name the client asked for: a name that only the proxy knows cannot be reached past it.
    TunnelTo(SocketAddr),
    /// 403.
    Forbid,
}

/// A running proxy. It ends with the test process.
#[derive(Debug)]
pub struct ConnectProxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ConnectProxy {
    /// Listens on a loopback port.
    pub fn start(policy: Policy) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxy = Self {
            address: listener.local_addr()?,
            asked: Arc::default(),
        };
        let asked = proxy.asked.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let asked = asked.clone();
                // A client that goes away is what every test ends with.
                thread::spawn(move || serve(&client, policy, &asked));
            }
        });
        Ok(proxy)
    }

    /// As `proxy-url` and `HTTPS_PROXY` want it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// First lines of the requests so far: `CONNECT host:port HTTP/1.1`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(client: &TcpStream, policy: Policy, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    client.set_read_timeout(Some(HEAD_WITHIN))?;
    // The client waits for the answer, so nothing of the tunnel is read ahead into the buffer.
    let mut head = BufReader::new(client).lines().take(HEAD_LINES);
    let first = head.next().transpose()?.unwrap_or_default();
    for line in head {
        if line?.is_empty() {
            break;
        }
    }
    client.set_read_timeout(None)?;
    let is_connect = first.starts_with("CONNECT ");
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(first);
    match policy {
        Policy::TunnelTo(server) if is_connect => {
            let upstream = TcpStream::connect(server)?;
            (&*client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            tunnel(client, &upstream);
            Ok(())
        }
        _ => (&*client).write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}

fn tunnel(client: &TcpStream, upstream: &TcpStream) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ended = io::copy(&mut &*client, &mut &*upstream);
            let _gone = upstream.shutdown(Shutdown::Write);
        });
        let _ended = io::copy(&mut &*upstream, &mut &*client);
        let _gone = (client.shutdown(Shutdown::Both), upstream.shutdown(Shutdown::Both));
    });
}
