//! Which probes a selection of pairs means, once it is known what the namespaces hold. Pure.
//!
//! A row is one probe: a pair, a protocol, an IP family and a port. Rows that cannot be probed stay in the plan with their reason; nothing
//! disappears silently but what the notes say.

use super::{
    evidence::{Aim, Protocol},
    naming::Names,
    ports,
    report::Untold,
    select::{Goal, Named, Pair, Selection, backend_of},
};
use crate::{
    cluster::inventory::{Inventory, Pod, Port, Service, Subject},
    findings::{Absence, Obstacle},
};
use netcheck_wire::probe::{PlaceFacts, ProbeKind, Record};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
};

mod rounds;
pub use rounds::{Round, rounds};

/// An IP family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// The family of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// Its name in row ids and reports.
    pub fn id(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

/// What to probe with.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Protocols.
    pub protocols: BTreeSet<Protocol>,
    /// IP families.
    pub families: BTreeSet<Family>,
    /// Probes at most.
    pub max_probes: usize,
}

/// What the namespaces hold, or why that is not known.
pub type Facts = BTreeMap<Subject, Result<PlaceFacts, Absence>>;

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

/// All rows of a run.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The rows, in the order of the pairs.
    pub rows: Vec<Row>,
    /// Rows that the limit left out.
    pub over_limit: usize,
    /// What is no row and why, one line each.
    pub notes: Vec<String>,
    /// What was to be tested and could not even be made rows: with any, the run is not called good.
    pub untold: Vec<Untold>,
}

impl Plan {
    /// How many probes it sends.
    pub fn probes(&self) -> usize {
        self.rows.iter().filter(|row| row.probe.is_ok()).count()
    }
}

/// How many probes a selection means by declared ports alone, before any namespace was looked into.
pub fn estimate(selection: &Selection, inventory: &Inventory, wish: &Wish) -> usize {
    let unlimited = Wish {
        max_probes: usize::MAX,
        ..wish.clone()
    };
    Planner {
        inventory,
        pods: by_uid(inventory),
        facts: None,
        wish: &unlimited,
        named: None,
    }
    .plan(selection)
    .probes()
}

/// Makes the plan. `named` are destinations that the user named: they get a row even if they offer no port.
pub fn plan(selection: &Selection, inventory: &Inventory, facts: &Facts, wish: &Wish, named: Option<&Named>) -> Plan {
    Planner {
        inventory,
        pods: by_uid(inventory),
        facts: Some(facts),
        wish,
        named,
    }
    .plan(selection)
}

struct Planner<'a> {
    inventory: &'a Inventory,
    pods: HashMap<&'a str, &'a Pod>,
    facts: Option<&'a Facts>,
    wish: &'a Wish,
    named: Option<&'a Named>,
}

/// What a plan is made of before the limit.
#[derive(Default)]
struct Draft {
    rows: Vec<Row>,
    /// What is no row: why, and whom it is about.
    left_out: BTreeMap<&'static str, BTreeSet<String>>,
}

/// A port to dial.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Dial {
    port: u16,
    name: Option<String>,
}

impl<'a> Planner<'a> {
    fn plan(&self, selection: &Selection) -> Plan {
        let mut draft = Draft::default();
        for pair in &selection.pairs {
            match &pair.to {
                Goal::Pod(uid) => {
                    if let Some(pod) = self.pod(uid) {
                        self.to_pod(pair, pod, &mut draft);
                    }
                }
                Goal::Node(name) => self.to_node(pair, name, &mut draft),
                Goal::Service(namespace, name) => {
                    if let Some(service) = self.service(namespace, name) {
                        self.to_service(pair, service, &mut draft);
                    }
                }
                Goal::Dns(namespace, name) => {
                    if let Some(service) = self.service(namespace, name) {
                        self.to_dns(pair, service, &mut draft);
                    }
                }
            }
        }
        let notes = draft.left_out.iter();
        let mut plan = Plan {
            rows: draft.rows,
            notes: notes.map(|(why, whom)| format!("{why} {}", list(whom))).collect(),
            ..Plan::default()
        };
        plan.untold.extend(self.untold_dns());
        self.limit(&mut plan);
        plan
    }

    /// Cluster DNS, if it was to be tested and is not known. Who names destinations has not asked for it.
    fn untold_dns(&self) -> Option<Untold> {
        let known = self.inventory.services.iter().any(|service| service.is_dns);
        if known || self.named.is_some() || !self.wish.protocols.contains(&Protocol::Dns) {
            return None;
        }
        let why = self.inventory.dns_missing.as_deref();
        Some(Untold {
            what: "cluster DNS".into(),
            why: why.unwrap_or("there is no DNS Service").into(),
            hint: "--protocol tcp leaves DNS out".into(),
        })
    }

    // ---- destinations ----

    fn to_pod(&self, pair: &Pair, pod: &Pod, draft: &mut Draft) {
        let who = pod_name(pod);
        let end = |ip, port| EndPoint {
            who: who.clone(),
            subject: Some(Subject::Pod(pod.uid.clone())),
            ip,
            port,
            shares: pod.node.clone().filter(|_| pod.host_network),
        };
        let trouble: Option<Absence> = (!pod.running).then(|| not_running(&who, pod).into());
        let addresses = self.addresses(&pair.from, &pod.ips);
        if addresses.is_empty() && (trouble.is_some() || pod.ips.is_empty()) {
            let why = trouble.unwrap_or_else(|| format!("{who} has no address").into());
            for protocol in [Protocol::Tcp, Protocol::Icmp]
                .into_iter()
                .filter(|protocol| self.wish.protocols.contains(protocol))
            {
                draft
                    .rows
                    .push(self.unknown_target(pair, protocol, Aim::Pod, why.clone()));
            }
            return;
        }
        if addresses.is_empty() {
            self.leave_without_family(pair, Aim::Pod, &who, draft);
        }
        for ip in addresses {
            if self.wish.protocols.contains(&Protocol::Tcp) {
                match self.pod_ports(pod, ip) {
                    Ok(ports) if ports.is_empty() => {
                        let row = |why| Row {
                            family: Family::of(ip),
                            ..self.unknown_target(pair, Protocol::Tcp, Aim::Pod, why)
                        };
                        self.leave(pair, "no TCP port listens or is declared in", &who, row, draft);
                    }
                    Ok(ports) => draft.rows.extend(ports.into_iter().map(|dial| {
                        let probe = ProbeKind::Tcp {
                            to: SocketAddr::new(ip, dial.port),
                        };
                        self.row(
                            pair,
                            Aim::Pod,
                            vec![end(ip, dial.port)],
                            dial.name,
                            probe,
                            trouble.clone(),
                        )
                    })),
                    Err(why) => draft.rows.push(Row {
                        family: Family::of(ip),
                        ..self.unknown_target(pair, Protocol::Tcp, Aim::Pod, trouble.clone().unwrap_or(why))
                    }),
                }
            }
            if self.wish.protocols.contains(&Protocol::Icmp) {
                draft.rows.push(self.row(
                    pair,
                    Aim::Pod,
                    vec![end(ip, 0)],
                    None,
                    ProbeKind::Icmp { to: ip },
                    trouble.clone(),
                ));
            }
        }
    }

    /// Declared ports and those that listen. In a hostNetwork pod's namespace all of the node's sockets listen, so only declared ones count.
    fn pod_ports(&self, pod: &Pod, ip: IpAddr) -> Result<Vec<Dial>, Absence> {
        let mut ports: BTreeMap<u16, Option<String>> = pod
            .ports
            .iter()
            .filter(|port| port.protocol == "TCP")
            .map(|port| (port.port, port.name.clone()))
            .collect();
        if !pod.host_network {
            match self.facts_of(&Subject::Pod(pod.uid.clone())) {
                Some(Ok(facts)) => {
                    for port in ports::open_ports(&facts.listeners, ip) {
                        ports.entry(port).or_default();
                    }
                }
                Some(Err(why)) if ports.is_empty() => {
                    let who = pod_name(pod);
                    return Err(why.reworded(|why| format!("which ports listen in {who} is not known: {why}")));
                }
                _ => {}
            }
        }
        Ok(ports.into_iter().map(|(port, name)| Dial { port, name }).collect())
    }

    fn to_node(&self, pair: &Pair, name: &str, draft: &mut Draft) {
        let Some(node) = self.inventory.nodes.iter().find(|node| node.name == name) else {
            return;
        };
        let end = |ip, port| EndPoint {
            who: format!("node {name}"),
            subject: Some(Subject::Node(name.into())),
            ip,
            port,
            shares: Some(name.into()),
        };
        let who = format!("node {name}");
        let tcp = self.wish.protocols.contains(&Protocol::Tcp);
        let addresses = self.addresses(&pair.from, &node.ips);
        if node.ips.is_empty() {
            let row = |why| self.unknown_target(pair, self.any_protocol(), Aim::Node, why);
            self.leave(pair, "no InternalIP address is known of", &who, row, draft);
        } else if addresses.is_empty() {
            self.leave_without_family(pair, Aim::Node, &who, draft);
        } else if tcp && node.kubelet_port.is_none() {
            let row = |why| self.unknown_target(pair, Protocol::Tcp, Aim::Node, why);
            self.leave(pair, "no kubelet port is known of", &who, row, draft);
        }
        for ip in addresses {
            if let Some(port) = node.kubelet_port.filter(|_| tcp) {
                let probe = ProbeKind::Tcp {
                    to: SocketAddr::new(ip, port),
                };
                draft.rows.push(self.row(
                    pair,
                    Aim::Node,
                    vec![end(ip, port)],
                    Some("kubelet".into()),
                    probe,
                    None,
                ));
            }
            if self.wish.protocols.contains(&Protocol::Icmp) {
                draft.rows.push(self.row(
                    pair,
                    Aim::Node,
                    vec![end(ip, 0)],
                    None,
                    ProbeKind::Icmp { to: ip },
                    None,
                ));
            }
        }
    }

    fn to_service(&self, pair: &Pair, service: &Service, draft: &mut Draft) {
        if !self.wish.protocols.contains(&Protocol::Tcp) {
            return;
        }
        let who = format!("Service {}/{}", service.namespace, service.name);
        let aim = Aim::Service {
            ready_endpoints: service.endpoints.iter().filter(|endpoint| endpoint.ready).count(),
        };
        let row = |why| self.unknown_target(pair, Protocol::Tcp, aim, why);
        let addresses = self.addresses(&pair.from, &service.cluster_ips);
        let ports: Vec<&Port> = service.ports.iter().filter(|port| port.protocol == "TCP").collect();
        if service.cluster_ips.is_empty() {
            return self.leave(pair, "no cluster IP (headless or ExternalName):", &who, row, draft);
        }
        if ports.is_empty() && service.is_dns && self.wish.protocols.contains(&Protocol::Dns) {
            return; // It is asked for names.
        }
        if ports.is_empty() {
            return self.leave(pair, "no TCP port is offered by", &who, row, draft);
        }
        if addresses.is_empty() {
            return self.leave_without_family(pair, aim, &who, draft);
        }
        for port in ports {
            for ip in &addresses {
                let Some((aim, ends)) = self.backends(&pair.from, service, port, *ip) else {
                    self.leave_without_local(pair, service, row, draft);
                    continue;
                };
                let probe = ProbeKind::Tcp {
                    to: SocketAddr::new(*ip, port.port),
                };
                draft
                    .rows
                    .push(self.row(pair, aim, ends, port.name.clone(), probe, None));
            }
        }
    }

    /// Asks each server that the source would ask, and the DNS Service itself, for the DNS Service's own name: the one name whose right
    /// answer netcheck knows in every cluster. A source that is not configured for cluster DNS is left out.
    fn to_dns(&self, pair: &Pair, service: &Service, draft: &mut Draft) {
        let resolver = match self.facts_of(&pair.from) {
            Some(Ok(facts)) => facts.resolver.as_ref(),
            _ => None,
        };
        let domain = resolver.map(|resolver| cluster_domain(&resolver.search));
        if domain == Some(None) {
            let row = |why| self.unknown_target(pair, Protocol::Dns, Aim::Resolver, why);
            return self.leave(
                pair,
                "not configured for cluster DNS:",
                &self.source_name(&pair.from),
                row,
                draft,
            );
        }
        let domain = domain.flatten().unwrap_or("cluster.local");
        let mut servers: Vec<IpAddr> = resolver
            .map(|resolver| resolver.nameservers.clone())
            .unwrap_or_default();
        servers.extend(&service.cluster_ips);
        let mut seen = BTreeSet::new();
        servers.retain(|server| !server.is_loopback() && seen.insert(*server));
        let record = if service.cluster_ips.iter().any(IpAddr::is_ipv4) {
            Record::A
        } else {
            Record::Aaaa
        };
        let expects: Vec<IpAddr> = service
            .cluster_ips
            .iter()
            .copied()
            .filter(|ip| ip.is_ipv4() == (record == Record::A))
            .collect();
        let port = service
            .ports
            .iter()
            .find(|port| port.protocol == "UDP" && port.port == 53);
        let servers = self.addresses(&pair.from, &servers);
        if servers.is_empty() {
            let who = format!("cluster DNS {}/{}", service.namespace, service.name);
            self.leave_without_family(pair, Aim::Resolver, &who, draft);
        }
        for server in servers {
            let (aim, ends) = match port {
                Some(port) if service.cluster_ips.contains(&server) => {
                    let Some(found) = self.backends(&pair.from, service, port, server) else {
                        let row = |why| self.unknown_target(pair, Protocol::Dns, Aim::Resolver, why);
                        self.leave_without_local(pair, service, row, draft);
                        continue;
                    };
                    found
                }
                _ => (Aim::Resolver, Vec::new()),
            };
            let name = format!("{}.{}.svc.{domain}", service.name, service.namespace);
            let probe = ProbeKind::Dns {
                to: SocketAddr::new(server, 53),
                name,
                record,
            };
            let row = self.row(pair, aim, ends, Some("dns".into()), probe, None);
            draft.rows.push(Row {
                expects: expects.clone(),
                ..row
            });
        }
    }

    /// Backends that may get what is sent to a Service's port at an address of its own. `None` if all are on nodes to which the Service's
    /// policy sends nothing from this source.
    fn backends(&self, from: &Subject, service: &Service, port: &Port, ip: IpAddr) -> Option<(Aim, Vec<EndPoint>)> {
        let home = self.home(from).filter(|_| service.local_only);
        let mut elsewhere = false;
        let mut ends: Vec<EndPoint> = Vec::new();
        let mut ready_endpoints = 0;
        for endpoint in service
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.ip.is_ipv4() == ip.is_ipv4())
        {
            let Some(target) = endpoint
                .ports
                .iter()
                .find(|target| target.name == port.name && target.protocol == port.protocol)
            else {
                continue;
            };
            let pod = backend_of(self.inventory, endpoint);
            let node = self.inventory.nodes.iter().find(|node| node.ips.contains(&endpoint.ip));
            let its_node = (endpoint.node.as_deref())
                .or_else(|| pod?.node.as_deref())
                .or_else(|| node.map(|node| node.name.as_str()));
            if home.is_some_and(|home| its_node.is_some_and(|its_node| its_node != home)) {
                elsewhere = true;
                continue;
            }
            ready_endpoints += usize::from(endpoint.ready);
            let (who, subject) = match (pod, node) {
                (Some(pod), _) => (pod_name(pod), Some(Subject::Pod(pod.uid.clone()))),
                (None, Some(node)) => (format!("node {}", node.name), Some(Subject::Node(node.name.clone()))),
                (None, None) => match &endpoint.pod_name {
                    Some(name) => (format!("pod {name}"), None),
                    None => (format!("endpoint {}", endpoint.ip), None),
                },
            };
            let shares = match (pod, node) {
                (Some(pod), _) => pod.node.clone().filter(|_| pod.host_network),
                (None, node) => node.map(|node| node.name.clone()),
            };
            ends.push(EndPoint {
                who,
                subject,
                ip: endpoint.ip,
                port: target.port,
                shares,
            });
        }
        (!ends.is_empty() || !elsewhere).then_some((Aim::Service { ready_endpoints }, ends))
    }

    // ---- what is no probe ----

    /// Notes what cannot be probed; a destination that the user named also gets the row that says so.
    fn leave(&self, pair: &Pair, why: &'static str, whom: &str, row: impl FnOnce(Absence) -> Row, draft: &mut Draft) {
        let named = self.named.is_some_and(|named| match &pair.to {
            Goal::Pod(uid) => named.pods.contains(uid),
            Goal::Node(name) => named.nodes.contains(name),
            Goal::Service(namespace, name) | Goal::Dns(namespace, name) => {
                named.services.contains(&(namespace.clone(), name.clone()))
            }
        });
        if named {
            draft.rows.push(row(format!("{why} {whom}").into()));
        }
        draft.left_out.entry(why).or_default().insert(whom.to_owned());
    }

    fn leave_without_family(&self, pair: &Pair, aim: Aim, whom: &str, draft: &mut Draft) {
        let protocol = match pair.to {
            Goal::Service(..) => Protocol::Tcp,
            Goal::Dns(..) => Protocol::Dns,
            Goal::Pod(_) | Goal::Node(_) => self.any_protocol(),
        };
        let whom = format!("{whom} from {}", self.source_name(&pair.from));
        let row = |why| self.unknown_target(pair, protocol, aim, why);
        self.leave(
            pair,
            "no IP family, of those asked for, that both ends have:",
            &whom,
            row,
            draft,
        );
    }

    fn leave_without_local(&self, pair: &Pair, service: &Service, row: impl FnOnce(Absence) -> Row, draft: &mut Draft) {
        let from = self.source_name(&pair.from);
        let whom = format!("Service {}/{} from {from}", service.namespace, service.name);
        self.leave(
            pair,
            "internalTrafficPolicy is Local and no backend is on the source's node:",
            &whom,
            row,
            draft,
        );
    }

    /// How a pod or a node would be probed.
    fn any_protocol(&self) -> Protocol {
        if self.wish.protocols.contains(&Protocol::Tcp) {
            Protocol::Tcp
        } else {
            Protocol::Icmp
        }
    }

    // ---- rows ----

    fn row(
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

    fn unknown_target(&self, pair: &Pair, protocol: Protocol, aim: Aim, why: Absence) -> Row {
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
    fn transit(&self, from: &Subject, ends: &[EndPoint]) -> Vec<String> {
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
    fn trouble(&self, goal: &Goal) -> Option<String> {
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
    fn source_trouble(&self, from: &Subject, protocol: Protocol) -> Option<Absence> {
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

    /// Addresses of a destination in the families that are asked for and that the source has.
    fn addresses(&self, from: &Subject, ips: &[IpAddr]) -> Vec<IpAddr> {
        let own: &[IpAddr] = match from {
            Subject::Pod(uid) => self.pod(uid).map_or(&[], |pod| &pod.ips),
            Subject::Node(name) => self
                .inventory
                .nodes
                .iter()
                .find(|node| &node.name == name)
                .map_or(&[], |node| &node.ips),
        };
        // A source without any address by the API did not start; its rows are kept, to say so.
        let speaks = |family: Family| own.is_empty() || own.iter().any(|ip| Family::of(*ip) == family);
        ips.iter()
            .copied()
            .filter(|ip| self.wish.families.contains(&Family::of(*ip)) && speaks(Family::of(*ip)))
            .collect()
    }

    /// Keeps as many probes as the limit allows: those with the smallest hash of their stable name, so that every part of the cluster keeps
    /// its share and the same cluster gives the same choice, whatever its pods' UIDs and addresses are after a rollout.
    fn limit(&self, plan: &mut Plan) {
        let probes = plan.probes();
        if probes <= self.wish.max_probes {
            return;
        }
        let names = Names::new(self.inventory);
        // Replicas share a name; they are told apart by number.
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut ranked: Vec<(u64, usize)> = plan
            .rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.probe.is_ok())
            .map(|(index, row)| {
                let case = names.case(row);
                let number = numbers.entry(case.clone()).or_default();
                *number += 1;
                (fingerprint(&format!("{case} {number}")), index)
            })
            .collect();
        ranked.sort_unstable();
        let dropped: BTreeSet<usize> = ranked
            .into_iter()
            .skip(self.wish.max_probes)
            .map(|(_, index)| index)
            .collect();
        plan.over_limit = dropped.len();
        let mut index = 0;
        plan.rows.retain(|_| {
            index += 1;
            !dropped.contains(&(index - 1))
        });
    }

    // ---- look-ups ----

    fn facts_of(&self, subject: &Subject) -> Option<Result<&'a PlaceFacts, Absence>> {
        let facts = self.facts?;
        Some(match facts.get(subject) {
            Some(found) => found.as_ref().map_err(Clone::clone),
            None => Err(Obstacle::NotStarted.because("no agent was started for it")),
        })
    }

    fn pod(&self, uid: &str) -> Option<&'a Pod> {
        self.pods.get(uid).copied()
    }

    /// The node that a source is on.
    fn home<'b>(&self, subject: &'b Subject) -> Option<&'b str>
    where
        'a: 'b,
    {
        match subject {
            Subject::Pod(uid) => self.pod(uid)?.node.as_deref(),
            Subject::Node(name) => Some(name),
        }
    }

    fn service(&self, namespace: &str, name: &str) -> Option<&'a Service> {
        self.inventory
            .services
            .iter()
            .find(|service| service.namespace == namespace && service.name == name)
    }

    fn source_name(&self, subject: &Subject) -> String {
        match subject {
            Subject::Pod(uid) => self.pod(uid).map_or_else(|| format!("pod {uid}"), pod_name),
            Subject::Node(name) => format!("node {name}"),
        }
    }
}

fn by_uid(inventory: &Inventory) -> HashMap<&str, &Pod> {
    inventory.pods.iter().map(|pod| (pod.uid.as_str(), pod)).collect()
}

/// `pod NAMESPACE/NAME`.
pub fn pod_name(pod: &Pod) -> String {
    format!("pod {}/{}", pod.namespace, pod.name)
}

fn not_running(who: &str, pod: &Pod) -> String {
    match &pod.reason {
        Some(reason) => format!("{who} is not running: {reason}"),
        None => format!("{who} is not running"),
    }
}

/// The cluster's domain by a pod's search list, which the kubelet fills with `NAMESPACE.svc.DOMAIN svc.DOMAIN DOMAIN`.
fn cluster_domain(search: &[String]) -> Option<&str> {
    search
        .iter()
        .find_map(|entry| entry.strip_prefix("svc."))
        .map(|domain| domain.trim_end_matches('.'))
}

/// The first names, and how many more there are.
pub(super) fn list(names: &BTreeSet<String>) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// FNV-1a (64 bits): the same on every machine and in every version, unlike the standard library's hasher.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
