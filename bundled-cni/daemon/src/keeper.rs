//! One pass: what should be, what is, what differs, what mends it (SPEC.md, section 9.1).

use crate::{
    actual::{self, Scope},
    apply::{Applied, apply},
    arguments::Arguments,
    attachments,
    chained::Versions,
    cluster::View,
    collect::Collector,
    contest::Contests,
    counting::{self, Counted, Counting},
    install::{self, Installed},
    nft,
    state_json::{LastPass, Said, StateJson},
};
use netcheck_cni::{
    disk::{self, DiskError},
    store::Store,
};
use netcheck_cni_intent::{
    Config, ConfigError, Desired, Finding, Hold, Inputs, LocalAddress, NodeObject, PerFamily,
    desired::Troubles,
    diff::{Delta, Diff, diff},
    guard::{self, Verdict},
    intent,
    local::local,
    names::{ANNOTATION_CONFIG, NODE_JSON},
    publish::{Condition, Degraded, conditions},
};
use netcheck_node_state::{NetState, snapshot};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

/// Period until a configuration says another one.
const PERIOD: Duration = Duration::from_secs(30);
/// How old a file that is not whole must be before nobody writes it any more.
const LEFTOVER_AGE: Duration = Duration::from_mins(1);

/// What a pass came to.
#[derive(Debug)]
pub struct Outcome {
    /// What the own Node is to carry.
    pub annotations: BTreeMap<String, String>,
    /// Its conditions.
    pub conditions: Vec<Condition>,
    /// Why the node is not ready for pods, if it is not.
    pub not_ready: Option<String>,
    /// Why the node is degraded.
    pub degraded: BTreeSet<Degraded>,
    /// When to look again although nothing is told.
    pub again_after: Duration,
    /// So many peers are gone that the API server is to be asked again before they are believed gone.
    pub list_again: bool,
    /// What was done, by kind.
    pub applied: Applied,
    /// Attachments, peers and refused nodes, for metrics.
    pub counts: Counts,
}

/// How many of what.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Finished attachments.
    pub endpoints: usize,
    /// Peers.
    pub peers: usize,
    /// Nodes that are refused.
    pub refused: usize,
}

/// Keeps one node.
#[derive(Debug)]
pub struct Keeper {
    arguments: Arguments,
    /// The plugin's binary, to be installed.
    plugin: Vec<u8>,
    store: Store,
    /// The last good configuration, and what is wrong with a newer one.
    config: Option<Config>,
    refused_config: Vec<ConfigError>,
    /// InternalIPs that this node has or had, as long as its devices hold them; whether one has gone since somebody asked.
    addresses: BTreeSet<IpAddr>,
    has_lost_address: bool,
    /// Peers of the last pass.
    peers: BTreeSet<String>,
    /// Since when the overlay device has been there for nothing.
    overlay_unwanted: Option<Instant>,
    /// Passes in a row in which something failed.
    failures: u32,
    /// Whether a pass has been whole.
    is_set_up: bool,
    collector: Collector,
    contests: Contests,
    versions: Versions,
    counting: Counting,
    /// The last look at all there is, and for what MTU of pods' routes.
    looked_at_all: Option<(Instant, Option<u32>)>,
    /// What was found out at that look.
    forward_dropped: Vec<Finding>,
    /// What the last pass was about, and how often that changed.
    last_view: Option<View>,
    generation: u64,
    said: Said,
}

impl Keeper {
    /// Nothing is known yet.
    pub fn new(arguments: Arguments, plugin: Vec<u8>) -> Self {
        let counting = Counting::under(counting::root(&arguments.places));
        Self {
            store: Store::at(&arguments.places.state),
            arguments,
            plugin,
            config: None,
            refused_config: Vec::new(),
            addresses: BTreeSet::new(),
            has_lost_address: false,
            peers: BTreeSet::new(),
            overlay_unwanted: None,
            failures: 0,
            is_set_up: false,
            collector: Collector::default(),
            contests: Contests::default(),
            versions: Versions::default(),
            counting,
            looked_at_all: None,
            forward_dropped: Vec::new(),
            last_view: None,
            generation: 0,
            said: Said::default(),
        }
    }

    /// Whether an address that this node was reached at has gone since the last call.
    pub fn has_lost_address(&mut self) -> bool {
        std::mem::take(&mut self.has_lost_address)
    }

    fn note_addresses(&mut self, net: &NetState, local: &PerFamily<LocalAddress>) {
        let before = self.addresses.len();
        self.addresses
            .retain(|ip| net.addresses.iter().any(|address| address.ip == *ip));
        self.has_lost_address |= self.addresses.len() < before;
        let found = [&local.ipv4, &local.ipv6].into_iter().flatten();
        self.addresses.extend(found.map(|local| local.address.addr()));
    }

    fn period(&self) -> Duration {
        let seconds = self.config.as_ref().map(|config| config.period_seconds.into());
        seconds.map_or(PERIOD, Duration::from_secs)
    }

    /// Looks at everything in the next pass, too, what changes rarely.
    pub fn look_at_all(&mut self) {
        self.looked_at_all = None;
    }

    /// Compares and mends, once. `was_asked_again`: the view's Nodes were listed anew because of the last outcome's `list_again`.
    pub fn pass(&mut self, view: &View, was_asked_again: bool) -> Outcome {
        if self.last_view.as_ref() != Some(view) {
            self.generation += 1;
            self.last_view = Some(view.clone());
        }
        let (Some(nodes), Some(data)) = (&view.nodes, &view.config) else {
            return self.waiting("the API server has not listed everything yet", &Troubles::new());
        };
        self.take_config(data.as_ref());
        let Some(config) = self.config.clone() else {
            let why = self.refused_config.iter().map(ToString::to_string).collect();
            return self.waiting(
                "there is no usable configuration",
                &Troubles::from([(Degraded::ConfigInvalid, why)]),
            );
        };
        let net = match snapshot() {
            Ok(net) => net,
            Err(error) => return self.failed(format!("cannot read the node's network: {error}")),
        };
        let known = match attachments::known(&self.store) {
            Ok(known) => known,
            Err(error) => return self.failed(error.to_string()),
        };
        let nodes: Vec<NodeObject> = nodes.values().cloned().collect();
        let own = nodes.iter().find(|node| node.name == self.arguments.node);
        let local = own.map_or_else(PerFamily::default, |own| local(&net, &own.internal_ips));
        self.note_addresses(&net, &local);
        let inputs = Inputs {
            own: &self.arguments.node,
            nodes: &nodes,
            config: &config,
            refused_config: &self.refused_config,
            local: &local,
            attachments: &known.finished,
        };
        let mut desired = match intent(&inputs) {
            Ok(desired) => desired,
            Err(Hold::InternalIPNotOnNode {
                degraded, annotations, ..
            }) => {
                let mut outcome = self.waiting("the node's InternalIP is on none of its devices", &degraded);
                outcome.annotations = without_config(annotations);
                return outcome;
            }
            Err(hold @ Hold::OwnNodeMissing { .. }) => return self.waiting(&hold.to_string(), &Troubles::new()),
        };
        let peers: BTreeSet<String> = desired.peers.keys().cloned().collect();
        if let Verdict::ListAgain { gone, of } = guard::judge(true, true, &self.peers, &peers, was_asked_again) {
            tracing::warn!(
                gone = gone.len(),
                of,
                "many peers vanished at once: asking again before anything is removed"
            );
            let mut outcome = self.waiting("many nodes vanished at once", &Troubles::new());
            outcome.list_again = true;
            outcome.not_ready = None;
            return outcome;
        }
        self.peers = peers;
        if !known.unreadable.is_empty() {
            let why = known.unreadable.into_iter().map(|(key, why)| {
                format!("what is known of {key} cannot be read ({why}): its pod is left as it is; re-create it")
            });
            desired.degraded.insert(Degraded::AttachmentUnreadable, why.collect());
        }
        self.reconcile(&desired, net, view)
    }

    /// Brings node and disk to what is desired.
    fn reconcile(&mut self, desired: &Desired, net: NetState, view: &View) -> Outcome {
        let scope = self.scope(desired);
        // For collection, which does not come with each event.
        let devices: Option<BTreeSet<String>> = scope.all.then(|| net.links.keys().cloned().collect());
        let (actual, unread) = actual::read(desired, net, scope);
        let mut difference = diff(desired, &actual);
        self.delay_removal_of_overlay(&mut difference);
        let due = self.contests.judge(&mut difference, Instant::now());
        let mut applied = apply(&difference, &self.arguments.places.state);
        applied.failed.extend(unread);
        if let Some(devices) = &devices {
            match nft::forward_dropped(&desired.node_json.pod_cidrs) {
                Ok(findings) => self.forward_dropped = findings,
                Err(error) => applied.failed.push(error.to_string()),
            }
            let collected = self.collector.pass(&self.store, devices, view, Instant::now());
            applied.add("attachment", collected.removed);
            applied.failed.extend(collected.failed);
        }

        difference.findings.extend(self.forward_dropped.iter().cloned());
        let chain = self.config.as_ref().map_or(&[][..], |config| &config.chain);
        let counted = self.counting.pass(desired, chain, &difference.findings, &mut applied);

        let mut troubles = desired.degraded.clone();
        if let Counted::Off(why) = &counted {
            troubles.entry(Degraded::BpfOff).or_default().insert(why.clone());
        }
        for finding in &difference.findings {
            tracing::debug!(%finding, "left alone");
            if let Some(reason) = finding.degraded() {
                troubles.entry(reason).or_default().insert(finding.to_string());
            }
        }
        let mut installed = Installed::default();
        let on_disk = self.on_disk(desired, scope, &mut installed);
        applied.add("file", installed.written);
        applied.failed.extend(on_disk.err().map(|error| error.to_string()));
        for (reason, why) in installed.degraded {
            troubles.entry(reason).or_default().extend(why);
        }
        if !applied.failed.is_empty() {
            troubles.insert(Degraded::ApplyFailed, applied.failed.iter().take(5).cloned().collect());
        }
        let mut outcome = self.finish(desired, scope, applied, &troubles, &counted);
        outcome.again_after = due.into_iter().fold(outcome.again_after, Duration::min);
        outcome
    }

    /// Files of the node, in the order in which a runtime may come to read them.
    fn on_disk(&mut self, desired: &Desired, scope: Scope, installed: &mut Installed) -> Result<(), DiskError> {
        let places = &self.arguments.places;
        if scope.all {
            // Two megabytes to read: not for each event.
            install::binaries(places, &self.plugin, installed)?;
            install::remove_leftovers(places, LEFTOVER_AGE)?;
        }
        let node_json = serde_json::to_vec(&desired.node_json).unwrap_or_default();
        installed.written += u64::from(disk::put(&places.state.join(NODE_JSON), &node_json, 0o600)?);
        if desired.node_json.ready || self.is_set_up {
            let chain = self
                .config
                .as_ref()
                .map(|config| config.chain.clone())
                .unwrap_or_default();
            install::configuration(places, &chain, &mut self.versions, installed)?;
        }
        Ok(())
    }

    fn finish(
        &mut self,
        desired: &Desired,
        scope: Scope,
        applied: Applied,
        troubles: &Troubles,
        counted: &Counted,
    ) -> Outcome {
        let is_whole = applied.failed.is_empty();
        if is_whole {
            self.is_set_up |= desired.refused.is_none();
            self.failures = 0;
        } else {
            self.failures += 1;
        }
        let state = StateJson {
            schema: netcheck_cni_intent::names::SCHEMA,
            config: self
                .config
                .as_ref()
                .map(|config| config.hash.clone())
                .unwrap_or_default(),
            generation: self.generation,
            peers: desired.peers.len(),
            refused: &desired.refused_peers,
            bpf: counted.to_string(),
            last_pass: LastPass::new(&applied),
        };
        if let Err(error) = self.said.say(&state, scope.all, &self.arguments.places.state) {
            // For people only; nothing depends on it.
            tracing::warn!(%error, "cannot say in state.json what was done");
        }
        let annotations = desired.annotations.clone();
        Outcome {
            annotations: if is_whole {
                annotations
            } else {
                without_config(annotations)
            },
            conditions: self.conditions(troubles),
            not_ready: (!self.is_set_up).then(|| "the node's network is not set up".to_owned()),
            degraded: troubles.keys().copied().collect(),
            again_after: self.again_after(),
            list_again: false,
            applied,
            counts: Counts {
                endpoints: desired.pods.as_ref().map_or(0, BTreeMap::len),
                peers: desired.peers.len(),
                refused: desired.refused_peers.len(),
            },
        }
    }

    /// Nothing can be done for now; all stays as it is.
    fn waiting(&self, why: &str, troubles: &Troubles) -> Outcome {
        Outcome {
            annotations: BTreeMap::new(),
            conditions: if troubles.is_empty() {
                Vec::new()
            } else {
                self.conditions(troubles)
            },
            not_ready: (!self.is_set_up).then(|| why.to_owned()),
            degraded: troubles.keys().copied().collect(),
            again_after: self.period(),
            list_again: false,
            applied: Applied::default(),
            counts: Counts::default(),
        }
    }

    fn failed(&mut self, why: String) -> Outcome {
        self.failures += 1;
        tracing::warn!(why, "the pass failed");
        let mut outcome = self.waiting(
            &why,
            &Troubles::from([(Degraded::ApplyFailed, BTreeSet::from([why.clone()]))]),
        );
        outcome.again_after = self.again_after();
        outcome.applied.failed.push(why);
        outcome
    }

    /// A failed change is tried again after 1, 2, 4 … seconds, at most the period.
    fn again_after(&self) -> Duration {
        if self.failures == 0 {
            return self.period();
        }
        let seconds = 1_u64 << (self.failures - 1).min(16);
        Duration::from_secs(seconds).min(self.period())
    }

    /// `NetworkUnavailable` is not said to be over before a pass has been whole.
    fn conditions(&self, troubles: &Troubles) -> Vec<Condition> {
        let all = conditions(troubles).into_iter();
        all.filter(|condition| {
            self.is_set_up
                || condition.kind != netcheck_cni_intent::names::CONDITION_NETWORK_UNAVAILABLE
                || condition.status
        })
        .collect()
    }

    /// A version that is bad is refused whole, and the last good one stays in force.
    fn take_config(&mut self, data: Option<&BTreeMap<String, String>>) {
        let none = BTreeMap::new();
        match Config::parse(data.unwrap_or(&none)) {
            Ok(config) => {
                self.config = Some(config);
                self.refused_config = Vec::new();
            }
            Err(errors) => self.refused_config = errors,
        }
    }

    /// All is looked at once in a period, and when the MTU of pods' routes changes.
    fn scope(&mut self, desired: &Desired) -> Scope {
        // A node that does not count has no MTU.
        let mtu = desired.mtus.as_ref().map(|mtus| mtus.route);
        let due = self
            .looked_at_all
            .is_none_or(|(when, before)| before != mtu || when.elapsed() >= self.period());
        if due {
            self.looked_at_all = Some((Instant::now(), mtu));
        }
        Scope { all: due }
    }

    /// Slower peers still send through the tunnel for a while after a switch of the backend (SPEC.md, section 10).
    fn delay_removal_of_overlay(&mut self, difference: &mut Diff) {
        let period = self.period();
        if !difference.deltas.iter().any(Delta::removes_overlay) {
            self.overlay_unwanted = None;
            return;
        }
        let since = *self.overlay_unwanted.get_or_insert_with(Instant::now);
        if since.elapsed() < period {
            difference.deltas.retain(|delta| !delta.removes_overlay());
        }
    }
}

/// What was not applied without failures must not be waited for as if it had been.
fn without_config(mut annotations: BTreeMap<String, String>) -> BTreeMap<String, String> {
    annotations.remove(ANNOTATION_CONFIG);
    annotations
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use netcheck_node_state::Address;

    fn held(ips: &[&str]) -> NetState {
        let mut net = NetState::default();
        net.addresses.extend(ips.iter().map(|ip| Address {
            interface: "eth0".to_owned(),
            ip: ip.parse().unwrap(),
            prefix: 24,
        }));
        net
    }

    fn local(net: &str) -> PerFamily<LocalAddress> {
        PerFamily {
            ipv4: Some(LocalAddress {
                device: "eth0".to_owned(),
                address: net.parse().unwrap(),
                mtu: 1500,
            }),
            ipv6: None,
        }
    }

    #[test]
    fn an_address_may_go_before_or_after_the_node_tells_another() {
        let nowhere = PerFamily::default();
        for steps in [
            // Gone, then told; told while both are there, then gone.
            [
                (held(&["192.0.2.21"]), nowhere.clone(), true),
                (held(&["192.0.2.21"]), local("192.0.2.21/24"), false),
            ],
            [
                (held(&["192.0.2.11", "192.0.2.21"]), local("192.0.2.21/24"), false),
                (held(&["192.0.2.21"]), local("192.0.2.21/24"), true),
            ],
        ] {
            let arguments = Arguments::parse_from(["netcheck-cni-daemon", "--node", "n1"]);
            let mut keeper = Keeper::new(arguments, Vec::new());
            keeper.note_addresses(&held(&["192.0.2.11"]), &local("192.0.2.11/24"));
            assert!(!keeper.has_lost_address());
            for (net, local, is_lost) in steps {
                keeper.note_addresses(&net, &local);
                assert_eq!(keeper.has_lost_address(), is_lost);
                assert!(!keeper.has_lost_address());
            }
        }
    }
}
