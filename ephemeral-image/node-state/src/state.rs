//! What a network namespace holds, as values: the same types say what is there and what should be.
//!
//! Devices are named, never numbered: a number says nothing about what should be. Everything is of the tables that `ip`, `bridge` and
//! `nft` show to a person who looks by hand, in their words.

use crate::{
    Mac,
    numbers::{RTN_LOCAL, RTN_UNICAST, RTN_UNREACHABLE},
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// One network namespace, read at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetState {
    /// Network devices, by name.
    pub links: BTreeMap<String, Link>,
    /// Addresses of all devices.
    pub addresses: BTreeSet<Address>,
    /// Routes of all tables, of both families; without those that hold only for some sources or types of service.
    pub routes: BTreeSet<Route>,
    /// Neighbours of both families, as far as `ip neighbour` shows them of itself: without proxies and groups.
    pub neighbours: BTreeSet<Neighbour>,
    /// Forwarding entries of `AF_BRIDGE`: where a vxlan or bridge sends a hardware address.
    pub fdb: BTreeSet<FdbEntry>,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// Name of the interface.
    pub interface: String,
    /// The address.
    pub ip: IpAddr,
    /// Length of its prefix in bits.
    pub prefix: u8,
}

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its hardware address, if it is of six bytes.
    pub mac: Option<Mac>,
    /// In bytes, without the link layer's header.
    pub mtu: u32,
    /// `IFF_UP`: whether somebody set it up.
    pub is_up: bool,
    /// `IFLA_IFALIAS`, free text.
    pub alias: Option<String>,
    /// Whether the kernel makes link-local IPv6 addresses of its own; `None` where the device has no IPv6.
    pub makes_link_local: Option<bool>,
    /// What kind of device it is.
    pub kind: LinkKind,
}

/// What kind of device, with what is particular to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkKind {
    /// One end of a pair of interfaces.
    Veth,
    /// A VXLAN tunnel (RFC 7348).
    Vxlan(Vxlan),
    /// Any other, by `IFLA_INFO_KIND`; empty for hardware and `lo`.
    Other(String),
}

/// A VXLAN device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vxlan {
    /// VXLAN network identifier.
    pub vni: u32,
    /// UDP port that it sends to and listens on.
    pub port: u16,
    /// Source of what it sends.
    pub local: Option<IpAddr>,
    /// The device below it; `#7` if that is device 7 of another namespace.
    pub device: Option<String>,
    /// Whether it learns forwarding entries from packets.
    pub learns: bool,
    /// What is otherwise than a device has it that is made with the above alone, by the words of `ip -j -d link`: `ttl`, `remote` …
    pub unusual: BTreeMap<String, String>,
}

impl Vxlan {
    /// What of [`Vxlan::unusual`] can be changed back, as [`crate::LinkSetting::VxlanUsual`] does; all else the kernel settles when it makes a
    /// device (`vxlan_nl2conf()`, drivers/net/vxlan/vxlan_core.c).
    pub const CHANGEABLE: [&'static str; 6] = ["ageing", "df", "label", "remote", "tos", "ttl"];
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Number of its table: 254 is `main`, 255 `local`.
    pub table: u32,
    /// Where to; a prefix length of 0 is `default`.
    pub destination: IpNet,
    /// `metric` of ip(8): the lowest wins. IPv6 has 1024 where nothing is said, and 0 only where the kernel put it.
    pub metric: u32,
    /// What becomes of a packet.
    pub kind: RouteKind,
    /// The next hop, if it is not the destination itself.
    pub gateway: Option<IpAddr>,
    /// The device.
    pub device: Option<String>,
    /// `RT_SCOPE_*` of linux/rtnetlink.h; always 0 for IPv6.
    pub scope: u8,
    /// `RTPROT_*`: who put it there.
    pub protocol: u8,
    /// `RTAX_MTU`, in bytes.
    pub mtu: Option<u32>,
    /// `src` of ip(8): the address that the host itself sends from.
    pub source: Option<IpAddr>,
    /// `RTNH_F_ONLINK`: the gateway counts as reachable on the device whatever the routes say.
    pub is_onlink: bool,
    /// All next hops of a route that has several, in the kernel's order; `gateway`, `device` and `is_onlink` then say nothing.
    pub next_hops: Vec<NextHop>,
}

/// One of the ways that a multipath route shares packets out to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NextHop {
    /// The next hop, if it is not the destination itself.
    pub gateway: Option<IpAddr>,
    /// The device.
    pub device: Option<String>,
    /// `RTNH_F_ONLINK`.
    pub is_onlink: bool,
    /// Its share, 1 to 256.
    pub weight: u16,
}

/// What becomes of a packet that a route fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RouteKind {
    /// It is sent on.
    Unicast,
    /// It is for this host.
    Local,
    /// It is answered by ICMP unreachable.
    Unreachable,
    /// Another, by `RTN_*` of linux/rtnetlink.h.
    Other(u8),
}

impl RouteKind {
    /// `RTN_*` of linux/rtnetlink.h.
    pub fn number(self) -> u8 {
        match self {
            Self::Unicast => RTN_UNICAST,
            Self::Local => RTN_LOCAL,
            Self::Unreachable => RTN_UNREACHABLE,
            Self::Other(number) => number,
        }
    }
}

impl From<u8> for RouteKind {
    fn from(number: u8) -> Self {
        match number {
            RTN_UNICAST => Self::Unicast,
            RTN_LOCAL => Self::Local,
            RTN_UNREACHABLE => Self::Unreachable,
            number => Self::Other(number),
        }
    }
}

/// A rule that chooses a routing table: the first that fits a packet and whose table knows a way decides.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Of IPv6, not of IPv4.
    #[serde(default)]
    pub is_ipv6: bool,
    /// The lowest is asked first.
    pub priority: u32,
    /// `not` of ip(8): it fits what the rest of it does not.
    #[serde(default)]
    pub is_inverted: bool,
    /// `from`; `None` is `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpNet>,
    /// `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpNet>,
    /// `iif`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_device: Option<String>,
    /// `oif`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_device: Option<String>,
    /// `fwmark`: a value and its mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<(u32, u32)>,
    /// `FR_ACT_*` of linux/fib_rules.h: 1 asks a table.
    pub action: u8,
    /// The table that it asks.
    pub table: u32,
    /// `suppress_prefixlength`: ways with a prefix of at most that many bits do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed_prefix: Option<u8>,
    /// What else narrows it, by `FRA_*` of linux/fib_rules.h; 0 is the type of service.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub others: BTreeSet<u16>,
}

/// A neighbour: the hardware address behind an address on a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Neighbour {
    /// The device.
    pub device: String,
    /// The address.
    pub ip: IpAddr,
    /// Its hardware address, where one is known.
    pub mac: Option<Mac>,
    /// Whether it was put there for good (`NUD_PERMANENT`).
    pub is_permanent: bool,
    /// `NDA_PROTOCOL`: who put it there; 0 is nobody in particular.
    pub protocol: u8,
    /// Of `NTF_*` of linux/neighbour.h those that somebody sets and that last: `router`, `extern_learn`.
    pub flags: u8,
}

/// A forwarding entry of a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FdbEntry {
    /// The device.
    pub device: String,
    /// The hardware address it is for; all zero is for what nothing else fits.
    pub mac: Mac,
    /// The other end of the tunnel.
    pub destination: Option<IpAddr>,
    /// UDP port there, if not the tunnel's.
    pub port: Option<u16>,
    /// VXLAN network identifier there, if not the tunnel's.
    pub vni: Option<u32>,
    /// The device that leads there, if the routes do not decide; `#7` if that is device 7 of another namespace.
    pub via: Option<String>,
    /// Whether it was put there for good (`NUD_PERMANENT` or `NUD_NOARP`), not learned.
    pub is_permanent: bool,
    /// Of `NTF_*` of linux/neighbour.h those that somebody sets and that last: `router`, `sticky`, `extern_learn`.
    pub flags: u8,
}
