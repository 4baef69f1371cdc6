//! TCP sockets in state LISTEN, by sock_diag(7): what `/proc/net/tcp` shows, plus whether an IPv6 wildcard takes IPv4 too.

use crate::netlink::{DumpError, dump};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags, nlas::Nla},
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use std::{collections::BTreeSet, net::IpAddr};

/// A TCP socket in state LISTEN.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// The address it is bound to; unspecified for all.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// `IPV6_V6ONLY` is set: an IPv6 wildcard does not take IPv4.
    pub v6_only: bool,
}

/// Listening TCP sockets of both families in the calling thread's network namespace, each once however many processes share it.
pub fn listeners() -> Result<BTreeSet<Listener>, DumpError> {
    let mut found = BTreeSet::new();
    for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let request = SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::LISTEN,
            socket_id,
        });
        for message in dump(NETLINK_SOCK_DIAG, "listening sockets", &request)? {
            let SockDiagMessage::InetResponse(socket) = message else {
                continue;
            };
            found.insert(Listener {
                ip: socket.header.socket_id.source_address,
                port: socket.header.socket_id.source_port,
                v6_only: socket.nlas.iter().any(|nla| matches!(nla, Nla::SkV6Only(true))),
            });
        }
    }
    Ok(found)
}
