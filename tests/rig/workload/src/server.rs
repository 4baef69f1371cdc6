//! Servers that say who they are.

use anyhow::{Context, Result};
use rustix::system::uname;
use std::{
    io::{BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

/// A client that says nothing for so long is gone.
const IDLE: Duration = Duration::from_mins(1);

/// Binds all ports before any is served, so that a workload with one port taken ends instead of half-working.
pub fn start(bind: Option<IpAddr>, tcp: &[u16], udp: &[u16]) -> Result<()> {
    let listeners = tcp.iter().map(|port| listen(bind, *port)).collect::<Result<Vec<_>>>()?;
    let sockets = udp
        .iter()
        .map(|port| receive(bind, *port))
        .collect::<Result<Vec<_>>>()?;
    for listener in listeners {
        thread::spawn(move || serve(&listener));
    }
    for socket in sockets {
        thread::spawn(move || echo(&socket));
    }
    Ok(())
}

/// Without an address, `::` takes both families; a host without IPv6 has only the other.
fn addresses(bind: Option<IpAddr>, port: u16) -> Vec<SocketAddr> {
    match bind {
        Some(address) => vec![(address, port).into()],
        None => vec![
            (Ipv6Addr::UNSPECIFIED, port).into(),
            (Ipv4Addr::UNSPECIFIED, port).into(),
        ],
    }
}

fn listen(bind: Option<IpAddr>, port: u16) -> Result<TcpListener> {
    TcpListener::bind(&*addresses(bind, port)).with_context(|| format!("listen on TCP port {port}"))
}

fn receive(bind: Option<IpAddr>, port: u16) -> Result<UdpSocket> {
    UdpSocket::bind(&*addresses(bind, port)).with_context(|| format!("receive on UDP port {port}"))
}

fn serve(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        thread::spawn(move || answer_lines(stream));
    }
}

/// A client's failure is its own affair: its connection ends, the server goes on.
fn answer_lines(mut stream: TcpStream) {
    let name = uname();
    let _ = stream.set_read_timeout(Some(IDLE));
    let Ok(reading) = stream.try_clone() else { return };
    for line in BufReader::new(reading).lines() {
        if line.is_err() || writeln!(stream, "{}", name.nodename().to_string_lossy()).is_err() {
            return;
        }
    }
}

fn echo(socket: &UdpSocket) {
    let mut buffer = vec![0; 65536];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(&buffer[..length], from);
    }
}
