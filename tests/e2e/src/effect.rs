//! What a fault does to traffic, by sending some.

use crate::{
    catalogue::Injection,
    lab::{Lab, Namespace},
    manifests,
};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::{fmt, net::IpAddr, thread, time::Duration};

/// How long a new pod may take on a healthy node, many times over.
const STARTED: Duration = Duration::from_secs(12);
/// Table of the rig's router that counts.
const SEEN: &str = "seen";
/// Headers of an echo request, in bytes.
const HEADERS: u32 = 20 + 8;

const DEFAULT_ROUTE: [&str; 6] = ["ip", "-4", "-j", "route", "show", "default"];

fn default_route(listing: &str) -> Result<Value> {
    let routes: Value = serde_json::from_str(listing).context("read the default route")?;
    Ok(routes[0].clone())
}

/// What a pod's packets may measure on their way out, in bytes.
fn largest(namespace: &Namespace<'_>) -> Result<u32> {
    let route = default_route(&namespace.in_pod("on-n1", &DEFAULT_ROUTE.join(" "))?)?;
    let links: Value = serde_json::from_str(&namespace.in_pod("on-n1", "ip -j link show eth0")?)?;
    let of_route = route["metrics"][0]["mtu"].as_u64();
    let mtu = of_route.or(links[0]["mtu"].as_u64()).context("no MTU")?;
    Ok(mtu.try_into()?)
}

/// What a fault does to traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Packets of pods that ran before are lost: to pods of other nodes, or to their own node.
    Broken,
    /// Some go and some do not: large ones, those to the outside.
    Degraded,
    /// What runs is well, and no new pod starts.
    NewPods,
    /// Nothing is lost, by luck: a detour, a spare entry, or what will harm only later.
    Lucky,
}

impl Effect {
    /// Its word in the product's reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Degraded => "degraded",
            Self::NewPods => "new-pods",
            Self::Lucky => "lucky",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken => "broken: pods' packets are lost",
            Self::Degraded => "degraded: large packets, or those to the outside, are lost",
            Self::NewPods => "broken for new pods: none starts on the node",
            Self::Lucky => "lucky: nothing is lost yet",
        })
    }
}

/// What probes saw.
#[derive(Debug)]
pub struct Seen {
    effect: Effect,
    is_seen_outside: bool,
    lost: Vec<String>,
}

impl Seen {
    /// What differs from what the catalogue says of a fault.
    #[must_use]
    pub fn is_not(&self, injection: &Injection) -> Option<String> {
        (self.effect != injection.effect).then(|| {
            format!(
                "{}: {:?} expected, and it is {:?}; lost: {}",
                injection.what,
                injection.effect,
                self.effect,
                self.lost.join(", ")
            )
        })
    }
}

/// Where from, what to, and whether that is everyday traffic.
#[derive(Debug)]
struct Probe {
    what: String,
    command: String,
    is_everyday: bool,
}

/// Probes between pods `on-n1` and `on-n2`, of n1's network namespace, and to the outside.
#[derive(Debug)]
pub struct Probes<'a> {
    lab: &'a Lab,
    namespace: &'a Namespace<'a>,
    /// IPv4 address of the pod that sends.
    sender: IpAddr,
    /// Whether the outside sees the node's address where all is well: not every network masquerades.
    is_masqueraded: bool,
    all: Vec<Probe>,
    starts_pods: bool,
}

impl<'a> Probes<'a> {
    /// Probes while all is well: with the addresses that pods have now, and packets as large as pods may send.
    pub fn new(lab: &'a Lab, namespace: &'a Namespace<'a>) -> Result<Self> {
        let mut probes = Vec::new();
        let mut add = |what: &str, options: &str, is_everyday| {
            probes.push(Probe {
                what: what.to_owned(),
                command: format!("ping -c 3 -i 0.2 -W 1 {options}"),
                is_everyday,
            });
        };
        for v6 in [false, true] {
            let Ok(to) = namespace.address("on-n2", v6) else {
                continue;
            };
            add(if v6 { "IPv6" } else { "IPv4" }, &to.to_string(), true);
        }
        let to = namespace.address("on-n2", false)?;
        let mtu = largest(namespace)?;
        let outside = default_route(&lab.rig.node("n1")?.run(DEFAULT_ROUTE)?)?;
        let outside = outside["gateway"].as_str().context("no default gateway")?;
        add("large packets", &format!("-M do -s {} {to}", mtu - HEADERS), false);
        add("the outside", outside, false);
        let mut healthy = Self {
            lab,
            namespace,
            sender: namespace.address("on-n1", false)?,
            is_masqueraded: true,
            all: probes,
            starts_pods: false,
        };
        healthy.is_masqueraded = !healthy.effect()?.is_seen_outside;
        Ok(healthy)
    }

    /// Starts a pod on n1 as well, where nothing else is lost.
    #[must_use]
    pub fn starting_pods(self) -> Self {
        Self {
            starts_pods: true,
            ..self
        }
    }

    /// Sends all of them at once. A probe is lost if none of its packets is answered.
    pub fn effect(&self) -> Result<Seen> {
        // What the kernel has learned of a path's MTU outlives the fault.
        for family in ["-4", "-6"] {
            self.namespace
                .in_pod("on-n1", &format!("ip {family} route flush cache"))?;
        }
        self.lab.rig.hub_exec(["nft", &self.watch()])?;
        let is_lost = |probe: &Probe| self.namespace.in_pod("on-n1", &probe.command).is_err();
        let lost: Vec<&Probe> = thread::scope(|scope| {
            let running: Vec<_> = self
                .all
                .iter()
                .map(|probe| (probe, scope.spawn(move || is_lost(probe))))
                .collect();
            let ended = running.into_iter();
            ended
                .filter_map(|(probe, running)| running.join().unwrap_or(true).then_some(probe))
                .collect()
        });
        let mut seen = Seen {
            effect: match lost.as_slice() {
                [] => Effect::Lucky,
                lost if lost.iter().any(|probe| probe.is_everyday) => Effect::Broken,
                _ => Effect::Degraded,
            },
            is_seen_outside: false,
            lost: lost.iter().map(|probe| probe.what.clone()).collect(),
        };
        seen.is_seen_outside = self.is_seen_outside()?;
        if seen.is_seen_outside && self.is_masqueraded {
            seen.lost
                .push("the outside, which sees the pod's own address".to_owned());
            if seen.effect == Effect::Lucky {
                seen.effect = Effect::Degraded;
            }
        }
        if seen.effect == Effect::Lucky && self.starts_pods && !self.starts()? {
            seen.effect = Effect::NewPods;
            seen.lost.push("a new pod's start".to_owned());
        }
        Ok(seen)
    }

    /// The rig's router answers pods by ways of the API server's; any other would not know them.
    fn watch(&self) -> String {
        format!(
            "add table inet {SEEN}; delete table inet {SEEN}; add table inet {SEEN}; \
             add chain inet {SEEN} c {{ type filter hook input priority 0 ; }}; \
             add rule inet {SEEN} c ip saddr {} icmp type echo-request counter",
            self.sender
        )
    }

    fn is_seen_outside(&self) -> Result<bool> {
        let listing = self
            .lab
            .rig
            .hub_exec(["nft", "-j", "list", "chain", "inet", SEEN, "c"])?;
        let listing: Value = serde_json::from_slice(&listing.stdout).context("read the router's counter")?;
        let objects = listing["nftables"].as_array().into_iter().flatten();
        let mut expressions = objects.flat_map(|object| object["rule"]["expr"].as_array().into_iter().flatten());
        let counter = expressions.find_map(|expression| expression["counter"]["packets"].as_u64());
        Ok(counter.context("the router's counter is gone")? > 0)
    }

    fn starts(&self) -> Result<bool> {
        const NAME: &str = "newcomer";
        let namespace = self.namespace;
        namespace.apply(&manifests::server_pod(
            &namespace.name,
            NAME,
            "n1",
            &["serve", "--tcp", "8080"],
            8080,
        ))?;
        let is_ready = namespace.kubectl(&format!(
            "wait --for=condition=Ready pod/{NAME} --timeout={}s",
            STARTED.as_secs()
        ));
        namespace.kubectl(&format!("delete pod {NAME} --grace-period=0 --force --wait"))?;
        Ok(is_ready.is_ok())
    }
}
