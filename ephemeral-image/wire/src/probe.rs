//! Places, probes and what was seen of them.
//!
//! A probe is joined to what the destination saw by something that travels in the packet itself (a TCP sequence number, a DNS question's
//! id and letter case, an ICMP payload), never by addresses and ports, which NAT rewrites.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// A network namespace the agent is asked to find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Number by which later tasks name it, chosen by the plugin.
    pub id: u32,
    /// Which one it is.
    pub whereabouts: Whereabouts,
}

/// How to recognise a network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Whereabouts {
    /// The agent's own: the node's for a node agent, the pod's for an ephemeral container.
    Own,
    /// A pod's, found through `/proc/*/cgroup` by its UID, else by its addresses among `/run/netns`.
    Pod {
        /// `metadata.uid`; for static pods the value of `kubernetes.io/config.hash`.
        uid: String,
        /// `status.podIPs`.
        ips: Vec<IpAddr>,
    },
}

/// An outcome for one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed<T> {
    /// The place's number.
    pub place: u32,
    /// What came of it, or why nothing did (one line, without the place's name).
    pub outcome: Result<T, String>,
}

/// What a network namespace holds, as far as probing needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceFacts {
    /// Inode of the namespace: equal inodes are the same namespace.
    pub inode: u64,
    /// How it was found: `own`, `cgroup` or `address`.
    pub found_by: String,
    /// Addresses of its interfaces.
    pub addresses: Vec<Address>,
    /// TCP sockets in state LISTEN.
    pub listeners: Vec<Listener>,
    /// The resolver's configuration as a process of the pod sees it, if one could be read.
    pub resolver: Option<Resolver>,
    /// Why packets cannot be watched there; `None` if they can.
    pub cannot_watch: Option<String>,
    /// Why an ICMP echo cannot be sent from there; `None` if it can.
    pub cannot_ping: Option<String>,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Name of the interface.
    pub interface: String,
    /// The address.
    pub ip: IpAddr,
    /// Length of its prefix in bits.
    pub prefix: u8,
}

/// A TCP socket in state LISTEN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The address it is bound to; unspecified for all. An IPv6 wildcard also takes IPv4 unless `v6_only`.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// `IPV6_V6ONLY` is set.
    pub v6_only: bool,
}

/// `resolv.conf`, as far as it decides where a query goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    /// Name servers in their order.
    pub nameservers: Vec<IpAddr>,
    /// Search list.
    pub search: Vec<String>,
    /// `options ndots:n`.
    pub ndots: u8,
}

/// One probe to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Its number, chosen by the plugin, unique in the run.
    pub id: u32,
    /// The place it is sent from.
    pub from: u32,
    /// What is sent where.
    pub kind: ProbeKind,
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ProbeKind {
    /// A TCP handshake by the kernel's own stack, closed properly without a byte of payload.
    Tcp {
        /// The target.
        to: SocketAddr,
    },
    /// One DNS question over UDP. The agent chooses id and letter case (they are the nonce).
    Dns {
        /// The server.
        to: SocketAddr,
        /// Fully qualified name.
        name: String,
        /// `A` or `AAAA`.
        record: Record,
    },
    /// One ICMP or ICMPv6 echo request with a nonce in its payload.
    Icmp {
        /// The target.
        to: IpAddr,
    },
}

/// A DNS record type that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// IPv4 address, RFC 1035 section 3.4.1.
    A,
    /// IPv6 address, RFC 3596.
    #[serde(rename = "AAAA")]
    Aaaa,
}

/// What recognises a probe in a packet, whatever NAT did to its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Mark {
    /// Initial sequence number of the SYN, as it left.
    Tcp {
        /// The number.
        isn: u32,
    },
    /// Id and question name, letter case included.
    Dns {
        /// The query's id.
        id: u16,
        /// The name as spelled in the question, without a trailing dot.
        name: String,
    },
    /// Nonce in the echo's payload.
    Icmp {
        /// The nonce.
        nonce: u64,
    },
}

/// Outcome of a probe, as its source knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// The probe's number.
    pub id: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// From sending to the outcome, in microseconds.
    pub elapsed_us: u64,
    /// What recognises it; `None` if it never left or the source cannot watch.
    pub mark: Option<Mark>,
    /// What the watch in the source's own namespace saw of it.
    pub source_saw: Vec<Sighting>,
    /// Packets that the source's watch may have missed while the probe ran.
    pub source_missed: u64,
}

/// How a probe ended for the socket that sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Outcome {
    /// The TCP handshake completed.
    Connected,
    /// A DNS response came.
    Resolved {
        /// Response code, RFC 6895 section 2.3: 0 is NOERROR, 3 NXDOMAIN.
        rcode: u16,
        /// Addresses in the answer section.
        addresses: Vec<IpAddr>,
        /// Where the response came from.
        from: SocketAddr,
    },
    /// An echo reply came.
    Echoed,
    /// The kernel reported an error: `ECONNREFUSED`, `EHOSTUNREACH`, `ENETUNREACH`, `EACCES`, `EPERM` …
    Failed {
        /// Symbolic name of the error number.
        errno: String,
    },
    /// Nothing came in time.
    TimedOut,
    /// The probe was not sent, for this reason.
    NotSent {
        /// The reason, one line.
        why: String,
    },
}

/// What to look for in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// The probe's number, handed back.
    pub probe: u32,
    /// Where to look.
    pub place: u32,
    /// What to look for.
    pub mark: Mark,
}

/// What the watch of one place saw of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sightings {
    /// The probe's number.
    pub probe: u32,
    /// Where.
    pub place: u32,
    /// What, in the order of time; or why nothing can be said.
    pub seen: Result<Vec<Sighting>, String>,
    /// Packets the watch may have missed (ring drops, full table) since it began.
    pub missed: u64,
}

/// One packet of a probe, seen in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// When, in nanoseconds of the node's real-time clock.
    pub at_ns: u64,
    /// Name of the interface.
    pub interface: String,
    /// Which way it went, as seen from the namespace.
    pub direction: Direction,
    /// What it was.
    pub packet: Packet,
    /// Source address and port; port 0 for ICMP.
    pub source: SocketAddr,
    /// Destination address and port; port 0 for ICMP.
    pub destination: SocketAddr,
}

/// Direction of a packet relative to the namespace that saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// It came in.
    In,
    /// It went out.
    Out,
}

/// What kind of packet of a probe was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Packet {
    /// TCP SYN.
    Syn,
    /// TCP SYN with ACK.
    SynAck,
    /// TCP RST.
    Rst,
    /// ICMP or ICMPv6 error that quotes the probe.
    IcmpError {
        /// ICMP type (RFC 792) or ICMPv6 type (RFC 4443).
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// DNS query, or ICMP echo request.
    Request,
    /// DNS response, or ICMP echo reply.
    Reply,
}
