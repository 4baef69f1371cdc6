//! Reads packets as they were on the wire, whatever bytes they are: nothing here fails, panics or trusts a length.
//!
//! - [`headers_length`] and [`redact`] find where headers end and payload begins, through tunnels. They allocate nothing and need
//!   no feature: this is what the agent uses for every packet.
//! - With the feature `text` (on by default), `describe` tells what a packet says, as a `Summary`, and `line` writes that as one
//!   line with the names of pods and Services.
//!
//! Understood are Ethernet, VLAN tags, ARP, IPv4 and IPv6 with their extension headers, IP in IP (RFC 2003, RFC 2473), VXLAN
//! (RFC 7348; ports 4789 and Linux's 8472), GENEVE (RFC 8926), TCP, UDP, ICMP, ICMPv6 with neighbour discovery, and DNS.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(feature = "text"),
    allow(dead_code, reason = "where headers end is asked for, not what they say")
)]

mod headers;
mod icmp;
mod ip;
mod link;
mod walk;

#[cfg(feature = "text")]
mod describe;
#[cfg(feature = "text")]
mod dns;
#[cfg(feature = "text")]
mod icmp_words;
#[cfg(feature = "text")]
mod line;
#[cfg(feature = "text")]
mod safe;
#[cfg(feature = "text")]
mod summary;

pub use headers::{headers_length, redact};
pub use link::Link;

#[cfg(feature = "text")]
pub use {
    describe::describe,
    icmp_words::icmp_meaning,
    line::{Names, line},
    safe::safe,
    summary::{
        Answer, Arp, Dns, Fragment, Frame, Icmp, IpPacket, Mac, Network, Other, Question, Quoted, Summary, Tcp,
        TcpFlags, Transport, Tunnel, TunnelKind, Udp,
    },
};
