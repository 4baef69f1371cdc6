//! Services: what a node does with packets to them, against their EndpointSlices. As kube-proxy programs them, in its modes iptables and nftables;
//! another one's programming is recognised and said to be unchecked.

mod endpoints;
mod object;

pub use object::{Endpoint, Policy, Readiness, ServiceObject, ServicePort, Services, SliceObject};

use super::{
    firewall::Scene,
    found::Found,
    group::Group,
    network::{Differences, Unchecked},
};
use endpoints::{Endpoints, Expected, Scope};
use netcheck_ruleset::{Hook, Outcome, Packet, Protocol, Ruleset};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

/// The device that kube-proxy makes in its mode ipvs.
const IPVS: &str = "kube-ipvs0";
/// More reasons than these say no more.
const REASONS: usize = 10;

/// Who programs Services on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proxy {
    /// kube-proxy, by rules of iptables.
    Iptables,
    /// kube-proxy, by rules of nftables.
    Nftables,
    /// kube-proxy, by IPVS.
    Ipvs,
    /// Cilium's programs.
    Cilium,
}

impl Proxy {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iptables => "kube-proxy (iptables)",
            Self::Nftables => "kube-proxy (nftables)",
            Self::Ipvs => "kube-proxy (ipvs)",
            Self::Cilium => "Cilium, instead of kube-proxy",
        }
    }
}

/// Who has programmed a node, by what is there.
///
/// # Errors
/// If its rules could not be read.
pub fn proxies(scene: &Scene<'_>) -> Result<BTreeSet<Proxy>, String> {
    let mut unread = Differences::default();
    let Some(ruleset) = scene.ruleset(Group::Services, &mut unread) else {
        let why = unread.unchecked.into_iter().next().map(|unchecked| unchecked.why);
        return Err(why.unwrap_or_else(|| "its rules were not read".to_owned()));
    };
    let mut proxies: BTreeSet<Proxy> = [false, true]
        .into_iter()
        .flat_map(|is_v6| rules_of(ruleset, is_v6))
        .collect();
    if has_ipvs(scene) {
        // In that mode it has a few rules of iptables, too.
        proxies.remove(&Proxy::Iptables);
        proxies.insert(Proxy::Ipvs);
    }
    if is_replaced(scene) {
        proxies.insert(Proxy::Cilium);
    }
    Ok(proxies)
}

fn has_ipvs(scene: &Scene<'_>) -> bool {
    scene.record.node.net.links.contains_key(IPVS)
}

/// Whether Cilium's programs do its work.
fn is_replaced(scene: &Scene<'_>) -> bool {
    let config = scene.objects.cilium.as_ref().map(|cilium| &cilium.config);
    let replaced = config.and_then(|config| config.get("kube-proxy-replacement"));
    replaced.is_some_and(|how| ["true", "strict"].contains(&how.as_str()))
}

/// By whose rules kube-proxy works in a family.
fn rules_of(ruleset: &Ruleset, is_v6: bool) -> BTreeSet<Proxy> {
    let by_iptables = ruleset
        .has_chain(is_v6, "nat", "KUBE-SERVICES")
        .then_some(Proxy::Iptables);
    let by_nftables = ruleset.has_table(is_v6, "kube-proxy").then_some(Proxy::Nftables);
    by_iptables.into_iter().chain(by_nftables).collect()
}

/// What is wrong with a node's Services.
pub fn differences(scene: &Scene<'_>) -> Differences {
    let mut differences = Differences::default();
    let services = match &scene.objects.services {
        Some(Ok(services)) => services,
        Some(Err(why)) => {
            unchecked(&mut differences, why);
            return differences;
        }
        None => {
            unchecked(&mut differences, "Services were not read when this was taken");
            return differences;
        }
    };
    if services.services.is_empty() {
        return differences;
    }
    if has_ipvs(scene) {
        let why = "kube-proxy works by IPVS here, which this version does not read: ipvsadm -Ln shows it";
        unchecked(&mut differences, why);
        return differences;
    }
    if is_replaced(scene) {
        let why = "Cilium's programs stand in for kube-proxy, and this version does not read them: cilium-dbg service list shows it";
        unchecked(&mut differences, why);
        return differences;
    }
    let Some(ruleset) = scene.ruleset(Group::Services, &mut differences) else {
        return differences;
    };
    let endpoints = Endpoints::of(services);
    for is_v6 in [false, true] {
        let mut of_family = services.services.iter();
        if !of_family.any(|service| service.has_family(is_v6)) {
            continue;
        }
        if rules_of(ruleset, is_v6).is_empty() {
            unprogrammed(scene, is_v6, &mut differences);
            continue;
        }
        let mut check = Check {
            scene,
            ruleset,
            is_v6,
            endpoints: &endpoints,
            source: source(scene, is_v6),
            outside: scene.device_outside(is_v6),
            unknown: BTreeSet::new(),
            found: Vec::new(),
        };
        check.all(services);
        let reasons = check.unknown.iter().take(REASONS);
        reasons.for_each(|why| unchecked(&mut differences, why));
        differences.found.append(&mut check.found);
    }
    differences
}

fn unchecked(differences: &mut Differences, why: &str) {
    differences.unchecked.push(Unchecked {
        group: Group::Services,
        why: why.to_owned(),
    });
}

/// No rules of kube-proxy: somebody else does its work, or nobody.
fn unprogrammed(scene: &Scene<'_>, is_v6: bool, differences: &mut Differences) {
    let family = if is_v6 { "IPv6" } else { "IPv4" };
    let mut here = scene.objects.pods.iter().filter(|pod| pod.node == scene.node);
    let proxy = here.find(|pod| pod.running && pod.namespace == "kube-system" && pod.name.starts_with("kube-proxy"));
    match proxy {
        Some(pod) => {
            let found = Found::new(
                "verify-service-proxy-missing",
                format!("Services of {family}"),
                format!("{} has its rules on the node", pod.full_name()),
                "neither a chain KUBE-SERVICES nor a table kube-proxy",
            );
            let look = "iptables-save -t nat | grep KUBE-SERVICES; nft list tables";
            let fix = format!("kubectl -n {} delete pod {}", pod.namespace, pod.name);
            differences.found.push(found.look(look).fix(fix));
        }
        None => unchecked(
            differences,
            &format!(
                "no rules of kube-proxy for {family}: Services are programmed by something that this version does not read"
            ),
        ),
    }
}

/// Who asks: a pod of the node, if there is one.
fn source(scene: &Scene<'_>, is_v6: bool) -> Option<(IpAddr, Option<String>)> {
    let here = scene.pods_here(is_v6);
    let end = here.first().cloned().or_else(|| scene.outside(is_v6))?;
    Some((end.ip, end.device.map(str::to_owned)))
}

struct Check<'a> {
    scene: &'a Scene<'a>,
    ruleset: &'a Ruleset,
    is_v6: bool,
    endpoints: &'a Endpoints<'a>,
    source: Option<(IpAddr, Option<String>)>,
    outside: Option<&'a str>,
    unknown: BTreeSet<String>,
    found: Vec<Found>,
}

/// A port of a Service, as a packet meets it.
struct Door<'a> {
    service: &'a ServiceObject,
    port: &'a ServicePort,
    to: SocketAddr,
    /// What it is in words: `shop/web 10.96.0.5:80/TCP`.
    name: String,
}

impl Check<'_> {
    fn all(&mut self, services: &Services) {
        let mut node_ports = Vec::new();
        let mut is_any_translated = false;
        let own = self.scene.own(self.is_v6).first().copied();
        for service in &services.services {
            for port in &service.ports {
                let Some(protocol) = Protocol::named(&port.protocol) else {
                    continue;
                };
                let is_v6 = self.is_v6;
                for ip in service.cluster_ips.iter().filter(|ip| ip.is_ipv6() == is_v6) {
                    let door = Door::new(service, port, SocketAddr::new(*ip, port.port), "");
                    self.cluster_ip(&door, protocol);
                }
                if let (Some(ip), Some(number), true) = (own, port.node_port, service.has_family(is_v6)) {
                    let door = Door::new(service, port, SocketAddr::new(ip, number), "NodePort ");
                    let (found, is_translated) = self.node_port(&door, protocol);
                    node_ports.extend(found);
                    is_any_translated |= is_translated;
                }
            }
        }
        // kube-proxy may be told to answer at other addresses only (--nodeport-addresses).
        if is_any_translated {
            self.found.append(&mut node_ports);
        }
    }

    fn walk(
        &mut self,
        protocol: Protocol,
        door: &Door<'_>,
        is_from_outside: bool,
        hooks: &[Hook],
    ) -> Option<Vec<Outcome>> {
        let (from, input) = if is_from_outside {
            let end = self.scene.outside(self.is_v6)?;
            (end.ip, end.device.map(str::to_owned))
        } else {
            self.source.clone()?
        };
        let packet = Packet::new(protocol, from, door.to.ip(), door.to.port()).by(input.as_deref(), self.outside);
        match self.ruleset.walk(hooks, &packet) {
            Ok(outcomes) => Some(outcomes),
            Err(why) => {
                // A cluster may have thousands of Services behind one rule.
                if self.unknown.len() <= REASONS {
                    self.unknown.insert(why.to_string());
                }
                None
            }
        }
    }

    fn cluster_ip(&mut self, door: &Door<'_>, protocol: Protocol) {
        // Somebody on the node answers at this address itself, past all translation: NodeLocal DNSCache does.
        let addresses = &self.scene.record.node.net.addresses;
        if addresses
            .iter()
            .any(|address| address.ip == door.to.ip() && address.interface != IPVS)
        {
            return;
        }
        let scope = Scope::new(door.service.internal, self.scene.node);
        let expected = self.endpoints.of_port(door.service, door.port, self.is_v6, scope);
        let Some(outcomes) = self.walk(protocol, door, false, &[Hook::Prerouting]) else {
            return;
        };
        let found = compare(door, &expected, &outcomes);
        let is_right = found.is_empty();
        self.found.extend(found);
        if expected.is_empty() && is_right && self.outside.is_some() {
            let through = [Hook::Prerouting, Hook::Forward];
            let outcomes = self.walk(protocol, door, false, &through).unwrap_or_default();
            if outcomes.iter().any(Outcome::is_accepted) {
                let found = Found::new(
                    "verify-service-unrejected",
                    &door.name,
                    "without endpoints, it is rejected or dropped",
                    "its packets leave the node by the default route",
                );
                self.found.push(found.look(door.look()));
            }
        }
    }

    fn node_port(&mut self, door: &Door<'_>, protocol: Protocol) -> (Vec<Found>, bool) {
        let scope = Scope::new(door.service.external, self.scene.node);
        let expected = self.endpoints.of_port(door.service, door.port, self.is_v6, scope);
        let Some(outcomes) = self.walk(protocol, door, true, &[Hook::Prerouting]) else {
            return (Vec::new(), false);
        };
        let is_translated = outcomes.iter().any(|outcome| outcome.dnat.is_some());
        (compare(door, &expected, &outcomes), is_translated)
    }
}

impl<'a> Door<'a> {
    fn new(service: &'a ServiceObject, port: &'a ServicePort, to: SocketAddr, kind: &str) -> Self {
        let name = format!("{} {kind}{to}/{}", service.full_name(), port.protocol);
        Self {
            service,
            port,
            to,
            name,
        }
    }

    fn look(&self) -> String {
        let ServiceObject { namespace, name, .. } = self.service;
        let slices = format!("kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name}");
        format!("iptables-save | grep {namespace}/{name}; nft list ruleset | grep {namespace}/{name}; {slices}")
    }
}

/// Where packets go against where they must.
fn compare(door: &Door<'_>, expected: &Expected, outcomes: &[Outcome]) -> Vec<Found> {
    let mut seen: BTreeSet<SocketAddr> = BTreeSet::new();
    let mut is_partly_bare = false;
    for outcome in outcomes {
        match outcome.dnat {
            Some(dnat) => {
                let to = dnat.to.unwrap_or(door.to.ip());
                seen.insert(SocketAddr::new(to, dnat.port));
            }
            None => is_partly_bare = true,
        }
    }
    let mut found = Vec::new();
    let mut say = |id, object: &str, expected: String, actual: String| {
        found.push(Found::new(id, object, expected, actual).look(door.look()));
    };
    if seen.is_empty() {
        if !expected.is_empty() {
            let wanted = format!("translated to one of {}", words(&expected.wanted));
            let actual = "its packets are not translated".to_owned();
            say("verify-service-missing", &door.name, wanted, actual);
        }
        return found;
    }
    let missing: Vec<SocketAddr> = if expected.is_hinted {
        // A node may be meant to use those of its zone only.
        Vec::new()
    } else {
        expected.wanted.difference(&seen).copied().collect()
    };
    let mut misled = BTreeSet::new();
    for stray in seen.difference(&expected.known) {
        let object = format!("{} {stray}", door.name);
        let other = missing.iter().find(|wanted| wanted.ip() == stray.ip());
        if let Some(wanted) = other {
            misled.insert(*wanted);
            let object = format!("{} {}", door.name, stray.ip());
            let (wanted, is) = (format!("port {}", wanted.port()), format!("port {}", stray.port()));
            say("verify-service-wrong-port", &object, wanted, is);
        } else {
            let wanted = match expected.wanted.len() {
                0 => "no endpoint is ready".to_owned(),
                _ => format!("only {}", words(&expected.wanted)),
            };
            let actual = format!("a part of its connections goes to {stray}, which is none of its endpoints");
            say("verify-service-endpoint-stale", &object, wanted, actual);
        }
    }
    let missing = missing.into_iter().filter(|wanted| !misled.contains(wanted));
    if is_partly_bare {
        // Worse than that an endpoint has no share: its share is lost.
        let lost: BTreeSet<SocketAddr> = missing.collect();
        let actual = match lost.len() {
            0 => "a part of them is not".to_owned(),
            _ => format!("a part of them is not, and nothing is sent to {}", words(&lost)),
        };
        say(
            "verify-service-missing",
            &door.name,
            "all its connections are translated".to_owned(),
            actual,
        );
        return found;
    }
    for wanted in missing {
        let object = format!("{} {wanted}", door.name);
        let share = format!("a share of its connections goes to {wanted}");
        say(
            "verify-service-endpoint-missing",
            &object,
            share,
            "nothing is sent there".to_owned(),
        );
    }
    found
}

fn words(addresses: &BTreeSet<SocketAddr>) -> String {
    const MOST: usize = 5;
    let some: Vec<String> = addresses.iter().take(MOST).map(ToString::to_string).collect();
    let rest = addresses.len().saturating_sub(MOST);
    if rest == 0 {
        some.join(", ")
    } else {
        format!("{} and {rest} more", some.join(", "))
    }
}

#[cfg(test)]
mod tests;
