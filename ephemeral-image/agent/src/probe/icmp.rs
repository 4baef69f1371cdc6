//! One ICMP or ICMPv6 echo with a nonce in its payload (RFC 792, RFC 4443 section 4).

use crate::sys::set_option;
use netcheck_wire::probe::{Mark, Outcome};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// What follows the nonce, so that whoever reads the packet knows whose it is.
const SIGNATURE: &[u8; 16] = b"kubectl-netcheck";

/// An echo under way.
#[derive(Debug)]
pub struct Echo {
    nonce: u64,
    /// A raw IPv4 socket hands up the IP header too.
    strips_ip_header: bool,
    reply_type: u8,
}

/// Sends an echo. The inner result is the kernel's immediate answer; the outer error means that nothing was sent.
pub fn open(to: IpAddr) -> Result<(Socket, Echo, io::Result<()>), String> {
    let (socket, is_raw) = socket(to).map_err(|error| cannot_ping(&error))?;
    let nonce = u64::from_ne_bytes(super::random().map_err(|error| format!("no random numbers: {error}"))?);
    let (level, option) = match to {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    // Without it only some errors reach the socket; the outcome is then a timeout, and the watch still has the error.
    let _ = set_option(&socket, level, option, 1);
    let echo = Echo {
        nonce,
        strips_ip_header: is_raw && to.is_ipv4(),
        reply_type: if to.is_ipv4() { 0 } else { 129 },
    };
    let request = request(to, nonce);
    let sent = socket
        .connect(&SocketAddr::new(to, 0).into())
        .and_then(|()| socket.send(&request))
        .map(drop);
    Ok((socket, echo, sent))
}

/// Why an echo cannot be sent from the calling thread's namespace, if it cannot.
pub fn cannot_ping_here() -> Option<String> {
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
        .into_iter()
        .find_map(|ip| match socket(ip) {
            // A node without IPv6 has no IPv6 targets either.
            Err(error) if error.raw_os_error() != Some(libc::EAFNOSUPPORT) => Some(cannot_ping(&error)),
            _ => None,
        })
}

fn cannot_ping(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "an ICMP echo needs the capability NET_RAW, or this group in net.ipv4.ping_group_range".to_owned()
        }
        _ => format!("cannot open an ICMP socket: {error}"),
    }
}

/// A raw socket, or where that is not allowed the kernel's ping socket; whether it is raw.
fn socket(to: IpAddr) -> io::Result<(Socket, bool)> {
    let (domain, protocol) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let open = |kind: Type| Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol));
    match open(Type::RAW) {
        Ok(socket) => Ok((socket, true)),
        Err(_) => open(Type::DGRAM).map(|socket| (socket, false)),
    }
}

/// The echo request. The kernel fills in ICMPv6's checksum, and a ping socket's identifier.
fn request(to: IpAddr, nonce: u64) -> Vec<u8> {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    let [id_high, id_low, ..] = nonce.to_be_bytes();
    let mut message = vec![kind, 0, 0, 0, id_high, id_low, 0, 1];
    message.extend_from_slice(&nonce.to_be_bytes());
    message.extend_from_slice(SIGNATURE);
    if to.is_ipv4() {
        let checksum = internet_checksum(&message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    message
}

/// RFC 1071.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

impl Echo {
    /// What recognises it.
    pub fn mark(&self) -> Mark {
        Mark::Icmp { nonce: self.nonce }
    }

    /// Reads the socket until the reply is found, or nothing is left.
    pub fn outcome(&self, socket: &Socket) -> io::Result<Option<Outcome>> {
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        let mut buffer = [0u8; 512];
        loop {
            match rustix::io::read(socket, &mut buffer) {
                Ok(length) if self.is_reply(&buffer[..length]) => return Ok(Some(Outcome::Echoed)),
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn is_reply(&self, packet: &[u8]) -> bool {
        let header = if self.strips_ip_header {
            packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4)
        } else {
            0
        };
        let Some(message) = packet.get(header..) else {
            return false;
        };
        message.first() == Some(&self.reply_type) && message.get(8..16) == Some(&self.nonce.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_request_verifies() {
        // Summing a message with its checksum gives zero (RFC 1071).
        assert_eq!(
            internet_checksum(&request(Ipv4Addr::LOCALHOST.into(), 0x0123_4567_89ab_cdef)),
            0
        );
        assert_eq!(internet_checksum(&[0xff]), 0x00ff);
    }

    #[test]
    fn only_the_reply_with_the_nonce_is_ours() {
        let echo = Echo {
            nonce: 7,
            strips_ip_header: true,
            reply_type: 0,
        };
        let packet =
            |kind: u8, nonce: u64| [&[0x45; 20][..], &[kind, 0, 0, 0, 0, 0, 0, 1], &nonce.to_be_bytes()].concat();
        assert!(echo.is_reply(&packet(0, 7)));
        assert!(!echo.is_reply(&packet(8, 7)));
        assert!(!echo.is_reply(&packet(0, 8)));
        assert!(!echo.is_reply(&[0x4f]));
        assert!(!echo.is_reply(&[]));
    }
}
