//! One probe as it is planned: what is sent where, or why nothing is.

use super::Planner;
use crate::{
    cluster::inventory::{Pod, Subject},
    findings::{Absence, Obstacle},
    matrix::{
        evidence::{Aim, Protocol},
        family::Family,
        select::{Goal, Pair},
        words::pod_name,
    },
};
use netcheck_wire::probe::ProbeKind;
use std::net::{IpAddr, SocketAddr};

/// A place where a probe may arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndPoint {
    /// Its name in messages.
    pub who: String,
    /// The namespace behind it; `None` if it is not one netcheck can enter.
    pub subject: Option<Subject>,
    /// Its address there.
    pub ip: IpAddr,
    /// Its port there; 0 for ICMP.
    pub port: u16,
    /// The node whose own namespace it lives in, which also forwards what is meant for others: it is that node, or a hostNetwork pod there.
    pub shares: Option<String>,
}

/// One probe to send, or the reason why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Source and destination.
    pub pair: Pair,
    /// How.
    pub protocol: Protocol,
    /// IP family of the packets.
    pub family: Family,
    /// Where to: address and port; `None` if no address or port is known.
    pub target: Option<SocketAddr>,
    /// The port's name by the API.
    pub port_name: Option<String>,
    /// Kind of destination.
    pub aim: Aim,
    /// Where it may arrive.
    pub ends: Vec<EndPoint>,
    /// Nodes it should pass, by name: the source's, then those of the ends.
    pub transit: Vec<String>,
    /// What to send, or why nothing is sent.
    pub probe: Result<ProbeKind, Absence>,
    /// For DNS: addresses of which the answer must hold one.
    pub expects: Vec<IpAddr>,
    /// What the API says is wrong with the destination, which explains a failure.
    pub trouble: Option<String>,
}

impl Planner<'_> {
    pub(super) fn row(
        &self,
        pair: &Pair,
        aim: Aim,
        ends: Vec<EndPoint>,
        port_name: Option<String>,
        probe: ProbeKind,
        trouble: Option<Absence>,
    ) -> Row {
        let (protocol, target) = match &probe {
            ProbeKind::Tcp { to } => (Protocol::Tcp, *to),
            ProbeKind::Dns { to, .. } => (Protocol::Dns, *to),
            ProbeKind::Icmp { to } => (Protocol::Icmp, SocketAddr::new(*to, 0)),
        };
        let transit = self.transit(&pair.from, &ends);
        let trouble = self.source_trouble(&pair.from, protocol).or(trouble);
        Row {
            pair: pair.clone(),
            protocol,
            family: Family::of(target.ip()),
            target: Some(target),
            port_name,
            aim,
            ends,
            transit,
            probe: trouble.map_or(Ok(probe), Err),
            expects: Vec::new(),
            trouble: self.trouble(&pair.to),
        }
    }

    pub(super) fn unknown_target(&self, pair: &Pair, protocol: Protocol, aim: Aim, why: Absence) -> Row {
        let family = self.wish.families.first().copied().unwrap_or(Family::Ipv4);
        let why = self.source_trouble(&pair.from, protocol).unwrap_or(why);
        Row {
            pair: pair.clone(),
            protocol,
            family,
            target: None,
            port_name: None,
            aim,
            ends: Vec::new(),
            transit: Vec::new(),
            probe: Err(why),
            expects: Vec::new(),
            trouble: self.trouble(&pair.to),
        }
    }

    /// Nodes between two pods. A node that is itself the source or an end is not on the way.
    pub(super) fn transit(&self, from: &Subject, ends: &[EndPoint]) -> Vec<String> {
        const MOST: usize = 4;
        let home = |subject: &Subject| match subject {
            Subject::Pod(uid) => self
                .pod(uid)
                .filter(|pod| !pod.host_network)
                .and_then(|pod| pod.node.clone()),
            Subject::Node(_) => None,
        };
        let mut nodes: Vec<String> = Vec::new();
        for node in std::iter::once(from)
            .chain(ends.iter().filter_map(|end| end.subject.as_ref()))
            .filter_map(home)
        {
            let is_end = |subject: &Subject| *subject == Subject::Node(node.clone());
            let ending = is_end(from) || ends.iter().filter_map(|end| end.subject.as_ref()).any(is_end);
            if !ending && !nodes.contains(&node) && nodes.len() < MOST {
                nodes.push(node);
            }
        }
        nodes
    }

    /// What the API says is wrong with a destination.
    pub(super) fn trouble(&self, goal: &Goal) -> Option<String> {
        match goal {
            Goal::Pod(uid) => {
                let pod = self.pod(uid).filter(|pod| !pod.ready)?;
                Some(match &pod.reason {
                    Some(reason) => format!("{} is not ready: {reason}", pod_name(pod)),
                    None => format!("{} is not ready", pod_name(pod)),
                })
            }
            Goal::Node(name) => {
                let node = self
                    .inventory
                    .nodes
                    .iter()
                    .find(|node| node.name == *name && !node.ready)?;
                Some(match &node.reason {
                    Some(reason) => format!("node {name} is not ready: {reason}"),
                    None => format!("node {name} is not ready"),
                })
            }
            Goal::Service(..) | Goal::Dns(..) => None,
        }
    }

    /// Why nothing can be sent from there.
    pub(super) fn source_trouble(&self, from: &Subject, protocol: Protocol) -> Option<Absence> {
        if let Subject::Pod(uid) = from
            && let Some(pod) = self.pod(uid)
            && !pod.running
        {
            return Some(not_running(&pod_name(pod), pod).into());
        }
        match self.facts_of(from)? {
            Err(why) => Some(why.reworded(|why| format!("{} cannot be entered: {why}", self.source_name(from)))),
            Ok(facts) if protocol == Protocol::Icmp => {
                let why = facts.cannot_ping.as_ref()?;
                let why = format!("{} cannot send an echo: {why}", self.source_name(from));
                Some(Obstacle::CapabilityMissing.because(why))
            }
            Ok(_) => None,
        }
    }
}

pub(super) fn not_running(who: &str, pod: &Pod) -> String {
    match &pod.reason {
        Some(reason) => format!("{who} is not running: {reason}"),
        None => format!("{who} is not running"),
    }
}
