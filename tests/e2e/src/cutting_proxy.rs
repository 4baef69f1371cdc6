//! A TCP proxy that cuts connections on purpose, to stand between the plugin and the API server.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// What the proxy does to the bytes that the server sends.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// Cut the connection that carries the n-th byte since start, once; let everything through afterwards.
    OnceAfter(u64),
    /// From the n-th byte on, cut every connection and take no new ones.
    ForGoodAfter(u64),
}

/// A running proxy. It ends with the test process.
#[derive(Debug)]
pub struct CuttingProxy {
    address: SocketAddr,
    carried: Arc<AtomicU64>,
    cuts: Arc<AtomicU64>,
}

impl CuttingProxy {
    /// Listens on a loopback port and forwards to `server`.
    pub fn start(server: SocketAddr, cut: Cut) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxy = Self {
            address: listener.local_addr()?,
            carried: Arc::default(),
            cuts: Arc::default(),
        };
        let (carried, cuts) = (proxy.carried.clone(), proxy.cuts.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if matches!(cut, Cut::ForGoodAfter(_)) && cuts.load(Ordering::SeqCst) > 0 {
                    continue;
                }
                let (carried, cuts) = (carried.clone(), cuts.clone());
                thread::spawn(move || forward(&client, server, cut, &carried, &cuts));
            }
        });
        Ok(proxy)
    }

    /// Where the plugin is to be pointed at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes carried from server to client so far.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::SeqCst)
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::SeqCst)
    }
}

fn forward(client: &TcpStream, server: SocketAddr, cut: Cut, carried: &AtomicU64, cuts: &AtomicU64) {
    let Ok(upstream) = TcpStream::connect(server) else {
        return;
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ended = io::copy(&mut &*client, &mut &upstream);
            let _gone = upstream.shutdown(Shutdown::Write);
        });
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = (&upstream).read(&mut buffer) {
            let after = carried.fetch_add(read as u64, Ordering::SeqCst) + read as u64;
            let pass = match cut {
                Cut::OnceAfter(limit) if after >= limit && cuts.load(Ordering::SeqCst) == 0 => {
                    (read as u64).saturating_sub(after - limit)
                }
                Cut::ForGoodAfter(limit) if after >= limit => (read as u64).saturating_sub(after - limit),
                _ => read as u64,
            };
            let passed = (&*client).write_all(&buffer[..pass as usize]);
            if passed.is_err() || pass < read as u64 {
                cuts.fetch_add(u64::from(pass < read as u64), Ordering::SeqCst);
                break;
            }
        }
        let _gone = (client.shutdown(Shutdown::Both), upstream.shutdown(Shutdown::Both));
    });
}
