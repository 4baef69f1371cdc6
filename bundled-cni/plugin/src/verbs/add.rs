//! ADD, in the steps of SPEC.md 7.3.

use super::Call;
use crate::{
    Code, Failure,
    attachment::{Attachment, Progress, netns_identity},
    config::Dns,
    delegate::Delegate,
    detach::detach,
    previous::{Made, Previous},
    range::Range,
    request::Verb,
    steps::Step,
    store::{Locked, Store},
    wiring::{Sandbox, WireError},
};
use jiff::{Timestamp, Unit};
use netcheck_cni_intent::{
    AttachmentKey,
    derive::pod_mac,
    names::{IPV6_MIN_MTU, PLUGIN, SCHEMA},
    publish::NodeJson,
};
use serde_json::Value;
use std::{collections::BTreeSet, net::IpAddr, path::PathBuf};

/// An ADD in progress.
struct Adding<'a> {
    call: &'a Call<'a>,
    store: Store,
    key: AttachmentKey,
    node: NodeJson,
    netns: PathBuf,
    identity: (u64, u64),
    delegate: Option<Delegate<'a>>,
}

pub(super) fn add(call: &Call<'_>) -> Result<Value, Failure> {
    let previous = call.config.previous()?.unwrap_or_default();
    let key = call.key()?;
    let store = call.store();
    let node = ready_node(&store)?;
    let netns = call.request.netns.clone().unwrap_or_default();
    let mut sandbox = Sandbox::open(&netns, call.request.may_be_own_netns)?;
    let adding = Adding {
        identity: netns_identity(&netns).unwrap_or_default(),
        delegate: call.delegate()?,
        call,
        store,
        key,
        node,
        netns,
    };
    adding.clear_way()?;
    sandbox.must_not_have(&call.request.if_name)?;
    Step::AddRead.done();
    let made = match adding.attach(&mut sandbox, &BTreeSet::new()) {
        // The folder was lost, or another program's pod has it. Which ones are out there is asked only then: it takes time.
        Err(Stopped::AddressInUse(_)) if adding.delegate.is_none() && call.config.wanted_ips.is_empty() => {
            adding.attach(&mut sandbox, &routed_addresses()?)
        }
        other => other,
    };
    Ok(previous.with(&made?, call.config.version))
}

/// Why an attempt came to nothing; what it had made is gone.
enum Stopped {
    AddressInUse(Failure),
    Failed(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::AddressInUse(failure) | Stopped::Failed(failure) => failure,
        }
    }
}

fn ready_node(store: &Store) -> Result<NodeJson, Failure> {
    let node = store.node().map_err(|error| Failure::new(Code::AGAIN, error))?;
    if node.ready {
        return Ok(node);
    }
    let what = format!("node {} is not ready for pods: {}", node.node, node.reason);
    Err(Failure::new(Code::AGAIN, what))
}

/// Addresses to which this node has a host route.
fn routed_addresses() -> Result<BTreeSet<IpAddr>, Failure> {
    let state = netcheck_node_state::snapshot().map_err(|error| Failure::new(Code::KERNEL, error))?;
    let host_routes = state.routes.into_iter().filter(|route| {
        let destination = route.destination;
        destination.prefix_len() == destination.max_prefix_len()
    });
    Ok(host_routes.map(|route| route.destination.addr()).collect())
}

impl Adding<'_> {
    /// What an ADD of the same attachment left behind is removed; one that came to its end is not touched.
    fn clear_way(&self) -> Result<(), Failure> {
        match self.store.attachment(&self.key)? {
            None => Ok(()),
            Some(Ok(attachment)) if attachment.state == Progress::Done => {
                let what = format!("{} exists already; DEL it first", self.key);
                Err(Failure::new(Code::ATTACHED, what))
            }
            Some(_) => self.detach(),
        }
    }

    fn detach(&self) -> Result<(), Failure> {
        detach(&self.store, &self.key, || self.release())
    }

    fn release(&self) -> Result<(), Failure> {
        self.delegate
            .as_ref()
            .map_or(Ok(()), |delegate| delegate.call(Verb::Del, &[]).map(|_| ()))
    }

    /// Steps 2 to 7. An error undoes them, in reverse.
    fn attach(&self, sandbox: &mut Sandbox, in_use: &BTreeSet<IpAddr>) -> Result<Made, Stopped> {
        let (mut attachment, dns) = self.reserve(in_use)?;
        let wired = sandbox.wire(&attachment);
        let is_in_use = matches!(wired, Err(WireError::AddressInUse(_)));
        let done = wired.map_err(Failure::from).and_then(|()| {
            attachment.state = Progress::Done;
            self.store.lock()?.record(&attachment)
        });
        match done {
            Ok(()) => Step::AddDone.done(),
            Err(failure) => {
                let failure = self.undone(failure);
                return Err(if is_in_use {
                    Stopped::AddressInUse(failure)
                } else {
                    failure.into()
                });
            }
        }
        Ok(Made {
            host_veth: attachment.host_veth,
            if_name: attachment.if_name,
            mac: attachment.mac,
            sandbox: attachment.netns,
            ips: attachment.ips,
            link_mtu: attachment.link_mtu,
            route_mtu: attachment.route_mtu,
            dns,
        })
    }

    fn undone(&self, failure: Failure) -> Failure {
        match self.detach() {
            Ok(()) => failure,
            Err(undo) => failure.and(&undo),
        }
    }

    /// Steps 2 and 3: addresses, and the file that says whose they are.
    fn reserve(&self, in_use: &BTreeSet<IpAddr>) -> Result<(Attachment, Option<Dns>), Failure> {
        let config = &self.call.config;
        let Some(delegate) = &self.delegate else {
            let locked = self.store.lock()?;
            let ranges: Vec<Range> = self.node.pod_cidrs.iter().filter_map(|net| Range::of(*net)).collect();
            if ranges.is_empty() {
                let what = format!("node {} has no podCIDR for pods", self.node.node);
                return Err(Failure::new(Code::AGAIN, what));
            }
            let ips = locked.reserve(&self.key, &ranges, &config.wanted_ips, in_use)?;
            Step::AddReserved.done();
            let recorded = self.record(&locked, ips);
            return match recorded {
                Ok(attachment) => Ok((attachment, config.dns.clone())),
                Err(failure) => {
                    drop(locked);
                    Err(self.undone(failure))
                }
            };
        };
        let record = |result: &Previous| self.record(&self.store.lock()?, result.ips());
        let result = delegate.add().map_err(|failure| self.undone(failure))?;
        Step::AddReserved.done();
        let attachment = record(&result).map_err(|failure| self.undone(failure))?;
        Ok((attachment, config.dns.clone().or_else(|| result.dns())))
    }

    fn record(&self, locked: &Locked<'_>, ips: Vec<IpAddr>) -> Result<Attachment, Failure> {
        let config = &self.call.config;
        if let Some(mtu) = config.mtu.filter(|mtu| *mtu < IPV6_MIN_MTU)
            && ips.iter().any(IpAddr::is_ipv6)
        {
            let what = format!("mtu {mtu} is below {IPV6_MIN_MTU}, the least that IPv6 can do with");
            return Err(Failure::new(Code::UNSUPPORTED, what));
        }
        let mac = config.wanted_mac.or_else(|| pod_mac(&ips));
        let attachment = Attachment {
            schema: SCHEMA,
            state: Progress::Intent,
            network: self.key.network.clone(),
            container_id: self.key.container_id.clone(),
            if_name: self.key.if_name.clone(),
            netns: self.netns.display().to_string(),
            netns_dev: self.identity.0,
            netns_ino: self.identity.1,
            ips,
            mac: mac.ok_or_else(|| Failure::new(Code::BUG, "an attachment without address"))?,
            host_veth: self.key.host_veth(),
            link_mtu: config.limit(self.node.link_mtu),
            route_mtu: config.limit(self.node.route_mtu),
            ipam: match &self.call.config.ipam {
                crate::config::Ipam::Own => PLUGIN.to_owned(),
                crate::config::Ipam::Delegate(name) => name.clone(),
            },
            pod: self.call.request.pod.clone(),
            created: now(),
        };
        locked.record(&attachment)?;
        Step::AddIntent.done();
        Ok(attachment)
    }
}

/// RFC 3339, UTC, whole seconds.
fn now() -> String {
    let now = Timestamp::now();
    now.round(Unit::Second).unwrap_or(now).to_string()
}
