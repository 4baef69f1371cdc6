//! Counting by eBPF, as far as the node lets us: nothing else depends on it (SPEC.md, section 6).

use crate::{apply::Applied, arguments::Places};
use ipnet::IpNet;
use netcheck_cni_bpf::{
    AttachChange, Bpf, BpfError, Config, Contents, Endpoint, Hook, Hooking, Node, Options, Prefix, Program, remove_all,
};
use netcheck_cni_intent::{
    Desired, Finding,
    bpf::BpfMaps,
    config::Chained,
    names::{OVERLAY, PROTOCOL},
};
use netcheck_node_state::interface_names;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

/// The kind of these changes.
const KIND: &str = "bpf";

/// The folder of the pins of this layout.
pub fn root(places: &Places) -> PathBuf {
    places.bpf.join(format!("v{}", netcheck_cni_bpf::SCHEMA))
}

/// What keeps programs, maps and hooks as they must be.
pub struct Counting {
    root: PathBuf,
    /// How programs are hung on devices.
    hooking: Hooking,
    /// What was opened last.
    bpf: Option<Bpf>,
    /// Nothing of ours is left that was there before.
    is_removed: bool,
}

impl fmt::Debug for Counting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Counting")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// What a pass came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// Everything is counted.
    On(Hooking),
    /// The ConfigMap says that nothing shall be.
    Unwanted,
    /// The node does not let us, and why.
    Off(String),
}

impl fmt::Display for Counted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On(Hooking::Tcx) => formatter.write_str("tcx"),
            Self::On(Hooking::Clsact) => formatter.write_str("clsact"),
            Self::Unwanted => formatter.write_str("off: ConfigMap says ebpf: off"),
            Self::Off(why) => write!(formatter, "off: {why}"),
        }
    }
}

/// Devices by name, as they are numbered now, without those that have a name of ours and are not ours.
type Devices = BTreeMap<String, u32>;

impl Counting {
    /// Nothing is opened yet.
    pub fn under(root: PathBuf) -> Self {
        Self {
            root,
            hooking: Hooking::of_this_kernel(),
            bpf: None,
            is_removed: false,
        }
    }

    /// Brings maps and hooks to what is desired; to be called when all else is done. Changes and failures are added to `applied`; that
    /// there is no eBPF is none. `chain`: what is chained behind our plugin.
    pub fn pass(
        &mut self,
        desired: &Desired,
        chain: &[Chained],
        findings: &[Finding],
        applied: &mut Applied,
    ) -> Counted {
        let Some(maps) = &desired.bpf else {
            self.remove(applied);
            return Counted::Unwanted;
        };
        if let Some(why) = excluded(self.hooking, chain) {
            self.remove(applied);
            return Counted::Off(why.to_owned());
        }
        self.is_removed = false;
        let bpf = match self.opened() {
            Ok(bpf) => bpf,
            Err(error) => return Counted::Off(error.to_string()),
        };
        let devices = match devices(findings) {
            Ok(devices) => devices,
            Err(error) => {
                failed(applied, [error]);
                return Counted::On(bpf.hooking());
            }
        };
        // What is counted into is there before anything counts.
        match bpf.reconcile(&contents(maps, &devices)) {
            Ok(changes) => {
                for change in &changes {
                    tracing::info!(map = change.map, key = change.key, what = ?change.what, "mended");
                }
                applied.add(KIND, changes.len() as u64);
            }
            Err(errors) => failed(applied, errors),
        }
        match bpf.ensure_attached(&hooks(desired, maps, &devices)) {
            Ok(changes) => {
                changes.iter().for_each(log);
                applied.add(KIND, changes.len() as u64);
            }
            Err(errors) => failed(applied, errors),
        }
        Counted::On(bpf.hooking())
    }

    /// What was opened, or opened anew where somebody took the pins away.
    fn opened(&mut self) -> Result<&mut Bpf, BpfError> {
        let bpf = match self.bpf.take().filter(Bpf::is_pinned) {
            Some(bpf) => bpf,
            None => Bpf::open(
                &self.root,
                Options {
                    hooking: Some(self.hooking),
                },
            )?,
        };
        Ok(self.bpf.insert(bpf))
    }

    fn remove(&mut self, applied: &mut Applied) {
        self.bpf = None;
        let is_there = self.root.exists();
        if self.is_removed && !is_there {
            return;
        }
        match remove_all(&self.root) {
            Ok(()) => {
                self.is_removed = true;
                applied.add(KIND, u64::from(is_there));
            }
            Err(errors) => failed(applied, errors),
        }
    }
}

/// Why there can be no counting beside a chained plugin. `bandwidth` hangs an `ingress` qdisc on pods' devices, which takes the place of
/// `clsact` (`TC_H_CLSACT` is `TC_H_INGRESS`, include/uapi/linux/pkt_sched.h): whoever comes second fails, and pods would not start.
fn excluded(hooking: Hooking, chain: &[Chained]) -> Option<&'static str> {
    (hooking == Hooking::Clsact && chain.contains(&Chained::Bandwidth)).then_some(
        "before Linux 6.6 counting and the chained plugin bandwidth exclude each other; take bandwidth out of `chain`, or set `ebpf: off`",
    )
}

/// Removes all of it from the node.
pub fn uninstall(root: &Path) -> Vec<String> {
    let errors = remove_all(root).err().unwrap_or_default();
    errors.iter().map(ToString::to_string).collect()
}

fn failed(applied: &mut Applied, errors: impl IntoIterator<Item = BpfError>) {
    for error in errors {
        tracing::warn!(%error, "cannot mend");
        *applied.not_made.entry(KIND.to_owned()).or_default() += 1;
        applied.failed.push(error.to_string());
    }
}

fn log(change: &AttachChange) {
    match change {
        AttachChange::Attached(hook) => tracing::info!(device = hook.device, program = hook.program.name(), "hung"),
        AttachChange::Replaced(hook) => tracing::info!(device = hook.device, program = hook.program.name(), "replaced"),
        AttachChange::Detached(name) => tracing::info!(name, "taken off"),
    }
}

fn devices(findings: &[Finding]) -> Result<Devices, BpfError> {
    let mut devices: Devices = interface_names()?
        .into_iter()
        .map(|(index, name)| (name, index))
        .collect();
    for finding in findings {
        if let Finding::NameTaken { device, .. } = finding {
            devices.remove(device);
        }
    }
    Ok(devices)
}

/// The maps with devices by number. What is on a device that is not there is left out.
fn contents(maps: &BpfMaps, devices: &Devices) -> Contents {
    let config = maps.config.as_ref().map_or_else(Config::default, |config| {
        let overlay = config.overlay.as_ref().and_then(|name| devices.get(name));
        Config {
            schema: config.schema,
            sample: config.sample,
            flags: overlay.map_or(0, |_| Config::TUNNEL_EXISTS),
            tunnel_ifindex: overlay.copied().unwrap_or(0),
            own4: config.own.ipv4.as_ref().map(prefix),
            own6: config.own.ipv6.as_ref().map(prefix),
        }
    });
    let endpoints = maps.endpoints.iter().filter_map(|(ip, endpoint)| {
        let value = Endpoint {
            ifindex: *devices.get(&endpoint.device)?,
            pod_mac: endpoint.pod_mac,
            host_mac: endpoint.host_mac,
            pod_uid: endpoint.pod_uid,
        };
        Some(((*ip).into(), value))
    });
    let nodes = maps.nodes.iter().map(|(range, entry)| {
        let mut flags = 0;
        if entry.is_direct {
            flags |= Node::DIRECT;
        }
        if entry.is_self {
            flags |= Node::SELF;
        }
        let value = Node {
            internal_ip: entry.node.into(),
            vtep_mac: entry.mac,
            flags,
        };
        (prefix(range), value)
    });
    Contents {
        config,
        endpoints: endpoints.collect(),
        nodes: nodes.collect(),
    }
}

fn prefix(range: &IpNet) -> Prefix {
    Prefix::new(range.network(), range.prefix_len())
}

/// Where programs must hang: on each pod's veth, on the overlay device, and where direct routes lead.
fn hooks(desired: &Desired, maps: &BpfMaps, devices: &Devices) -> Vec<Hook> {
    let veths: BTreeSet<&String> = maps.endpoints.values().map(|endpoint| &endpoint.device).collect();
    let overlay = maps.config.iter().filter_map(|config| config.overlay.as_ref());
    let direct = desired
        .net
        .routes
        .iter()
        .filter(|route| route.protocol == PROTOCOL && route.gateway.is_some());
    let uplinks: BTreeSet<&String> = direct
        .filter_map(|route| route.device.as_ref())
        .filter(|device| *device != OVERLAY)
        .collect();
    let veths = veths
        .into_iter()
        .map(|device| (device, [Program::PodFrom, Program::PodTo]));
    let overlay = overlay.map(|device| (device, [Program::VxOut, Program::VxIn]));
    let uplinks = uplinks
        .into_iter()
        .map(|device| (device, [Program::UlOut, Program::UlIn]));
    let there = veths
        .chain(overlay)
        .chain(uplinks)
        .filter_map(|(device, programs)| Some((device, *devices.get(device)?, programs)));
    there
        .flat_map(|(device, ifindex, programs)| {
            programs.map(|program| Hook {
                device: device.clone(),
                ifindex,
                program,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_and_filters_exclude_each_other() {
        let both = [Chained::Portmap, Chained::Bandwidth];
        assert!(excluded(Hooking::Clsact, &both).is_some());
        assert!(excluded(Hooking::Clsact, &both[..1]).is_none());
        assert!(excluded(Hooking::Tcx, &both).is_none());
    }
}
