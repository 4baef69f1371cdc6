//! A TCP handshake by the kernel's own stack.
//!
//! The initial sequence number, which recognises the probe elsewhere, is read from the socket (`TCP_REPAIR`, needs `NET_ADMIN`); without
//! that right it is learnt from the source's watch by the local port, which is then the socket's alone.

use crate::{
    capabilities,
    sys::{option_u32, set_option},
};
use netcheck_wire::probe::Outcome;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

// linux/tcp.h; not all of them are in libc.
const TCP_REPAIR: libc::c_int = 19;
const TCP_REPAIR_QUEUE: libc::c_int = 20;
const TCP_QUEUE_SEQ: libc::c_int = 21;
const TCP_REPAIR_ON: libc::c_int = 1;
/// Leaves the mode without sending a window probe (Linux 4.19).
const TCP_REPAIR_OFF_NO_WP: libc::c_int = -1;
const TCP_SEND_QUEUE: libc::c_int = 2;

/// What is known of a handshake under way.
#[derive(Debug)]
pub struct Handshake {
    /// Its initial sequence number, if the kernel told it.
    pub isn: Option<u32>,
    /// The socket's addresses, if the number is to be learnt from what the watch saw of them.
    pub to_learn: Option<Endpoints>,
}

/// Both ends of a connection as its socket knows them, before any NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoints {
    /// Ours.
    pub local: SocketAddr,
    /// The target.
    pub to: SocketAddr,
}

/// Begins a handshake. `expect` is told the local port, before a packet leaves, if the number has to be learnt from the watch.
///
/// The inner result is the kernel's immediate answer; the outer error means that nothing was sent.
pub fn open(to: SocketAddr, expect: impl FnOnce(u16)) -> Result<(Socket, Handshake, io::Result<()>), String> {
    let cannot = |what: &str, error: io::Error| format!("cannot {what} a TCP socket: {error}");
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket =
        Socket::new(Domain::for_address(to), kind, Some(Protocol::TCP)).map_err(|error| cannot("open", error))?;
    let mut handshake = Handshake {
        isn: None,
        to_learn: None,
    };
    let may_repair = capabilities::has(capabilities::NET_ADMIN);
    if !may_repair {
        // A bound port is not shared with other connections, as one that connect() chooses may be.
        socket
            .bind(&SocketAddr::new(unspecified(to), 0).into())
            .map_err(|error| cannot("bind", error))?;
        let local = socket.local_addr().map_err(|error| cannot("bind", error))?;
        if let Some(local) = local.as_socket() {
            expect(local.port());
            handshake.to_learn = Some(Endpoints { local, to });
        }
    }
    let sent = match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        other => other,
    };
    if may_repair && sent.is_ok() {
        handshake.isn = initial_sequence_number(&socket).ok();
    }
    // Only connect() has chosen the address.
    if let (Some(endpoints), Ok(local)) = (&mut handshake.to_learn, socket.local_addr()) {
        endpoints.local = local.as_socket().unwrap_or(endpoints.local);
    }
    Ok((socket, handshake, sent))
}

/// How the handshake ended, once the socket can be written to.
pub fn outcome(socket: &Socket) -> io::Result<Option<Outcome>> {
    match socket.take_error()? {
        Some(error) => Err(error),
        // Readable or broken without an error is no connection yet; a peer says that there is one.
        None => Ok(socket.peer_addr().is_ok().then_some(Outcome::Connected)),
    }
}

/// `write_seq` is one more than the SYN's number until data is sent, which a probe never does.
fn initial_sequence_number(socket: &Socket) -> io::Result<u32> {
    set_option(socket, libc::IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON)?;
    let next = set_option(socket, libc::IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE)
        .and_then(|()| option_u32(socket, libc::IPPROTO_TCP, TCP_QUEUE_SEQ));
    set_option(socket, libc::IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP)?;
    Ok(next?.wrapping_sub(1))
}

fn unspecified(to: SocketAddr) -> IpAddr {
    match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
