//! TCP sockets in state LISTEN, by sock_diag(7): what `/proc/net/tcp` shows, plus whether an IPv6 wildcard takes IPv4 too.

use crate::{
    netlink::{DumpError, dump},
    numbers::{AF_INET, AF_INET6},
    wire::{Message, ip},
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

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// `TCP_LISTEN` of net/tcp_states.h.
const LISTEN: u32 = 10;
/// `struct inet_diag_sockid` of linux/inet_diag.h, in bytes: two ports, two addresses of 16 bytes, interface and cookie.
const SOCKET_ID: usize = 48;
/// `struct inet_diag_msg`, in bytes: it begins with four bytes and the above.
const ANSWER: usize = 72;
/// `INET_DIAG_SKV6ONLY`.
const V6_ONLY: u16 = 11;

/// Listening TCP sockets of both families in the calling thread's network namespace, each once however many processes share it.
pub fn listeners() -> Result<BTreeSet<Listener>, DumpError> {
    let mut found = BTreeSet::new();
    for family in [AF_INET, AF_INET6] {
        // struct inet_diag_req_v2: family, protocol, wanted extensions, padding, states, and any socket.
        let mut request = vec![family, libc::IPPROTO_TCP as u8, 0, 0];
        request.extend((1_u32 << LISTEN).to_ne_bytes());
        request.extend([0; SOCKET_ID]);
        let answers = dump(
            NETLINK_SOCK_DIAG,
            "listening sockets",
            &Message::new(BY_FAMILY, &request),
        )?;
        found.extend(answers.iter().filter_map(read_listener));
    }
    Ok(found)
}

fn read_listener(answer: &Message) -> Option<Listener> {
    let address = match *answer.body.first()? {
        AF_INET => 8..12,
        AF_INET6 => 8..24,
        _ => return None,
    };
    let is_v6_only = |(number, value): (u16, &[u8])| number == V6_ONLY && value.first().is_some_and(|&only| only != 0);
    Some(Listener {
        ip: ip(answer.body.get(address)?)?,
        port: u16::from_be_bytes(answer.body.get(4..6)?.try_into().ok()?),
        v6_only: answer.attributes(ANSWER).any(is_v6_only),
    })
}
