//! What is known about one probe when it is judged: what was asked, what the source says, what was seen at each end.

use super::book::Book;
use crate::findings::Absence;
use netcheck_wire::probe::{Direction, Outcome, Packet, Sighting};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// How a destination is probed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// A TCP handshake.
    Tcp,
    /// A DNS question over UDP.
    Dns,
    /// An ICMP echo.
    Icmp,
}

impl Protocol {
    /// Its name in row ids and reports.
    pub fn id(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Dns => "dns",
            Self::Icmp => "icmp",
        }
    }
}

/// What a probe was meant to do.
#[derive(Debug, Clone)]
pub struct Case<'a> {
    /// How.
    pub protocol: Protocol,
    /// Where to; port 0 for ICMP.
    pub target: SocketAddr,
    /// Kind of destination.
    pub aim: Aim,
    /// The source's name in messages, such as `pod shop/web-1`.
    pub source: &'a str,
    /// The source's own addresses.
    pub source_ips: &'a [IpAddr],
    /// For DNS: the addresses of which the answer must hold one; empty if they are not known.
    pub expects: &'a [IpAddr],
    /// What the API says is wrong with the destination.
    pub trouble: Option<&'a str>,
    /// Owners of addresses.
    pub book: &'a Book,
}

/// The kind of a destination, as far as it changes a judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// A pod's own address.
    Pod,
    /// A node's own address.
    Node,
    /// A Service address (cluster DNS included): any backend may answer.
    Service {
        /// Backends that should be in rotation by the API.
        ready_endpoints: usize,
    },
    /// An address that a pod's `resolv.conf` names and that is no Service of the cluster, such as a node-local cache.
    Resolver,
}

/// All that was observed of one probe.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The source's side, or why there is none.
    pub source: Result<SourceSide, Absence>,
    /// Every place where the probe may have arrived.
    pub ends: Vec<End>,
    /// Nodes it should have passed, in the request's direction; asked only if the probe did not succeed.
    pub transit: Vec<End>,
}

/// What the source knows.
#[derive(Debug, Clone)]
pub struct SourceSide {
    /// How the probe ended for its socket.
    pub outcome: Outcome,
    /// From sending to the outcome.
    pub elapsed: Duration,
    /// Whether the packet's mark is known. Without it no other place can recognise the packet.
    pub marked: bool,
    /// Why the source's own namespace cannot be watched, if it cannot.
    pub blind: Option<String>,
    /// What the watch in the source's namespace saw.
    pub saw: Vec<Sighting>,
    /// Packets that watch may have missed.
    pub missed: u64,
}

/// A place where a probe may arrive.
#[derive(Debug, Clone)]
pub struct End {
    /// Its name in messages, such as `pod shop/api-1`.
    pub who: String,
    /// Its own address and port there (0 for ICMP); `None` for a node on the way.
    pub at: Option<SocketAddr>,
    /// The node whose own namespace it lives in, which also forwards what is meant for others.
    pub shares: Option<String>,
    /// Whether something listens there for this probe; `None` if it could not be asked or makes no sense.
    pub serving: Option<super::ports::Serving>,
    /// What its watch says.
    pub watch: Watch,
}

/// What the watch of a place says about a probe.
#[derive(Debug, Clone)]
pub enum Watch {
    /// Nothing, for this reason.
    Blind(String),
    /// It looked.
    Looked {
        /// What it saw, in the order of time.
        seen: Vec<Sighting>,
        /// Packets it may have missed: if not 0, the absence of a sighting proves nothing.
        missed: u64,
    },
}

/// What became of the request at a place, by its last sighting there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake<'a> {
    /// It was not seen.
    Unseen,
    /// It came in, and was meant for this end.
    Taken,
    /// It came into the node's namespace that the end shares, still under the Service's address: its own backend may have got it, or it was
    /// dropped on its way to another.
    Unclear(&'a Sighting),
    /// It came into the node's namespace that the end shares, under another's address, and did not leave it again.
    Swallowed(&'a Sighting),
    /// It left again.
    SentOn,
}

impl End {
    /// What was seen there; nothing if it could not be watched.
    pub fn seen(&self) -> &[Sighting] {
        match &self.watch {
            Watch::Blind(_) => &[],
            Watch::Looked { seen, .. } => seen,
        }
    }

    /// The request as it was seen last; of two sightings with one time stamp, the one listed last.
    fn last_request(&self) -> Option<&Sighting> {
        self.seen()
            .iter()
            .filter(|sighting| is_request(&sighting.packet))
            .max_by_key(|sighting| sighting.at_ns)
    }

    /// Whether the request ended here. What only passes through is seen coming in and then going out, retransmissions alike; what a
    /// namespace sends to itself goes out and then comes in.
    pub fn took_in(&self) -> bool {
        self.last_request()
            .is_some_and(|sighting| sighting.direction == Direction::In)
    }

    /// What became of a request to a Service here. `asked` is the Service's address: where its translation happens behind the watched interface,
    /// as on the source's own node, that is what a packet still carries when it comes in.
    pub fn intake(&self, asked: SocketAddr) -> Intake<'_> {
        let same = |one: SocketAddr, other: SocketAddr| {
            one.ip().to_canonical() == other.ip().to_canonical() && one.port() == other.port()
        };
        let Some(last) = self.last_request() else {
            return Intake::Unseen;
        };
        if last.direction == Direction::Out {
            return Intake::SentOn;
        }
        match self.at.filter(|_| self.shares.is_some()) {
            Some(own) if same(last.destination, own) => Intake::Taken,
            Some(_) if same(last.destination, asked) => Intake::Unclear(last),
            Some(_) => Intake::Swallowed(last),
            None => Intake::Taken,
        }
    }

    /// The request as it went out of here to somewhere else.
    pub fn sent_on(&self) -> Option<&Sighting> {
        self.last_request()
            .filter(|sighting| sighting.direction == Direction::Out)
    }

    /// Why the absence of a sighting proves nothing here, if so.
    pub fn doubt(&self) -> Option<String> {
        match &self.watch {
            Watch::Blind(why) => Some(format!("{} could not be watched: {why}", self.who)),
            Watch::Looked { missed: 0, .. } => None,
            Watch::Looked { missed, .. } => Some(format!("the watch of {} may have missed {missed} packets", self.who)),
        }
    }
}

/// The request's direction is out at its source and in at its destination; an answer's the other way round.
pub fn find(seen: &[Sighting], direction: Direction, what: impl Fn(&Packet) -> bool) -> Option<&Sighting> {
    seen.iter()
        .find(|sighting| sighting.direction == direction && what(&sighting.packet))
}

/// A packet that asks.
pub fn is_request(packet: &Packet) -> bool {
    matches!(packet, Packet::Syn | Packet::Request)
}

/// A packet that says yes.
pub fn is_answer(packet: &Packet) -> bool {
    matches!(packet, Packet::SynAck | Packet::Reply)
}

/// A packet that says no.
pub fn is_refusal(packet: &Packet) -> bool {
    matches!(packet, Packet::Rst | Packet::IcmpError { .. })
}
