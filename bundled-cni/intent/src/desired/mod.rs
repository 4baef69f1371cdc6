//! The state that a node should have, as a function of the inputs (SPEC.md).

mod judge;
mod kernel;
mod pods;
mod sysctls;

pub use pods::Pod;
pub use sysctls::{Sysctls, accept_ra, forwarding, forwarding_of_all};

use crate::{
    bpf::{BpfConfig, BpfMaps, NodeEntry, Place},
    census::{Census, Member, Reason, census},
    family::Family,
    inputs::{Attachment, Inputs},
    mtu::{Mtus, own_underlay},
    names::{OVERLAY, SCHEMA},
    nft,
    publish::{Degraded, NodeJson, annotations},
    ways::{Way, way},
};
use netcheck_node_state::{NetState, ruleset::NftTable};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What is not as it should be, and why in words, a line each.
pub type Troubles = BTreeMap<Degraded, BTreeSet<String>>;

/// Everything that one node should hold and say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The Node's name.
    pub node: String,
    /// Why the node does not count, if it does not.
    pub refused: Option<Reason>,
    /// Peers, and the way to each.
    pub peers: BTreeMap<String, Way>,
    /// All other nodes, and why each is no peer; empty on a node that does not count itself.
    pub refused_peers: BTreeMap<String, Reason>,
    /// What the inputs alone say is wrong here.
    pub degraded: Troubles,
    /// What the inputs alone say is wrong with other nodes, by their names: for `state.json` and metrics, never for this Node's conditions.
    pub others: BTreeMap<String, Troubles>,
    /// Annotations of the own Node.
    pub annotations: BTreeMap<String, String>,
    /// Content of `node.json`.
    pub node_json: NodeJson,
    /// The MTUs; none on a node that does not count.
    pub mtus: Option<Mtus>,
    /// What is ours in the node's network namespace, complete.
    pub net: NetState,
    /// Kernel parameters.
    pub sysctls: Sysctls,
    /// The nftables table; `None`: there is none.
    pub nft: Option<NftTable>,
    /// Inside of each attachment's namespace, by key; `None`: not looked at.
    pub pods: Option<BTreeMap<String, Pod>>,
    /// Contents of the BPF maps; `None`: BPF is off.
    pub bpf: Option<BpfMaps>,
}

/// Why nothing may be changed. What the node says of itself goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Hold {
    /// The own Node object is not among those given.
    #[error(
        "Node {node} is not among the {given} Node objects that the API server listed; nothing is changed until it is"
    )]
    OwnNodeMissing {
        /// The name that was looked for.
        node: String,
        /// How many there are.
        given: usize,
    },
    /// An InternalIP that is needed is on none of the node's devices.
    #[error(
        "InternalIP {ip} of Node {node} is on none of its devices; give the node that address, or start its kubelet with another --node-ip"
    )]
    InternalIPNotOnNode {
        /// The node.
        node: String,
        /// The address.
        ip: IpAddr,
        /// What to say of the node meanwhile.
        degraded: Troubles,
        /// Annotations of the own Node, those that are known.
        annotations: BTreeMap<String, String>,
    },
}

/// Computes the state that the inputs lead to. Same inputs, same state, whatever their order.
///
/// # Errors
/// [`Hold`]: the state must stay as it is.
pub fn intent(inputs: &Inputs<'_>) -> Result<Desired, Hold> {
    let census = census(inputs.nodes, inputs.config);
    let mut attachments: Vec<&Attachment> = inputs.attachments.iter().collect();
    attachments.sort_by_key(|attachment| &attachment.key);
    if let Some(own) = census.accepted.get(inputs.own) {
        accepted(inputs, &census, own, &attachments)
    } else if let Some((own, reason)) = census.refused.get(inputs.own) {
        Ok(refused(inputs, own, *reason, &attachments))
    } else {
        Err(Hold::OwnNodeMissing {
            node: inputs.own.to_owned(),
            given: inputs.nodes.len(),
        })
    }
}

fn own_annotations(inputs: &Inputs<'_>, own: &Member<'_>, mtu: Option<u32>) -> BTreeMap<String, String> {
    annotations(own.mac, &own.internal, inputs.local, mtu, &inputs.config.hash)
}

/// A node that nobody programs and that programs nobody; its pods keep what they have.
fn refused(inputs: &Inputs<'_>, own: &Member<'_>, reason: Reason, attachments: &[&Attachment]) -> Desired {
    let mtu = own_underlay(own, inputs.config, inputs.local);
    let mut net = NetState::default();
    pods::host_side(&mut net, attachments);
    let bpf = inputs.config.ebpf.then(|| {
        let mut maps = pods::endpoints(attachments);
        maps.config = Some(BpfConfig::new(inputs.config.event_sample, None, &[]));
        maps
    });
    let mut degraded = judge::configuration(inputs);
    degraded
        .entry(Degraded::Refused(reason))
        .or_default()
        .insert(judge::advice(own, reason));
    Desired {
        node: inputs.own.to_owned(),
        refused: Some(reason),
        peers: BTreeMap::new(),
        refused_peers: BTreeMap::new(),
        degraded,
        others: BTreeMap::new(),
        annotations: own_annotations(inputs, own, mtu),
        node_json: NodeJson::refused(inputs.own, reason),
        mtus: None,
        net,
        sysctls: Sysctls::default(),
        nft: None,
        pods: None,
        bpf,
    }
}

fn accepted(
    inputs: &Inputs<'_>,
    census: &Census<'_>,
    own: &Member<'_>,
    attachments: &[&Attachment],
) -> Result<Desired, Hold> {
    let config = inputs.config;
    let own_mtu = own_underlay(own, config, inputs.local);
    let annotations = own_annotations(inputs, own, own_mtu);
    let mut refused_peers: BTreeMap<String, Reason> = census
        .refused
        .iter()
        .map(|(name, (_, reason))| ((*name).to_owned(), *reason))
        .collect();
    let mut peers = Vec::new();
    for member in census.accepted.values().filter(|member| member.name() != inputs.own) {
        match way(own, member, config.backend) {
            Ok(way) => peers.push((member, way)),
            Err(reason) => {
                refused_peers.insert(member.name().to_owned(), reason);
            }
        }
    }
    let mut degraded = judge::own(inputs, own, attachments);
    judge::peers(&mut degraded, config, &peers, &refused_peers);
    let places = kernel::Places::find(inputs, own, &peers).map_err(|ip| Hold::InternalIPNotOnNode {
        node: inputs.own.to_owned(),
        ip,
        degraded: degraded.clone(),
        annotations: annotations.clone(),
    })?;
    let same_family = census
        .accepted
        .values()
        .filter(|member| member.underlay == own.underlay);
    let published = same_family
        .filter(|member| member.name() != inputs.own)
        .filter_map(|member| member.published_mtu?.ok());
    let tunnels = peers.iter().any(|(_, way)| *way == Way::Vxlan);
    let own_mtu = own_mtu.unwrap_or(places.underlay.mtu);
    let mtus = Mtus::new(own_mtu, published, places.family, config, tunnels);
    judge::mtus(&mut degraded, config, own, &mtus, places.family);

    let mut net = NetState::default();
    kernel::own_side(&mut net, inputs, own, &places, &mtus);
    for (peer, way) in &peers {
        kernel::peer(&mut net, peer, *way, &places);
    }
    pods::host_side(&mut net, attachments);
    let all_ranges = census.accepted.values().flat_map(|member| &member.ranges);
    Ok(Desired {
        node: inputs.own.to_owned(),
        refused: None,
        others: judge::others(census, inputs),
        annotations,
        node_json: NodeJson {
            schema: SCHEMA,
            node: inputs.own.to_owned(),
            ready: true,
            reason: String::new(),
            pod_cidrs: own.ranges.clone(),
            link_mtu: mtus.own,
            route_mtu: mtus.route,
        },
        sysctls: Sysctls::new(own, inputs.local, &net),
        nft: Some(nft::table(config, &own.ranges, all_ranges)),
        pods: Some(pods::insides(attachments, &mtus)),
        bpf: config
            .ebpf
            .then(|| bpf(inputs, own, &peers, places.family, attachments)),
        peers: peers.iter().map(|(peer, way)| (peer.name().to_owned(), *way)).collect(),
        refused_peers,
        degraded,
        mtus: Some(mtus),
        net,
    })
}

fn bpf(
    inputs: &Inputs<'_>,
    own: &Member<'_>,
    peers: &[(&Member<'_>, Way)],
    family: Family,
    attachments: &[&Attachment],
) -> BpfMaps {
    let mut maps = pods::endpoints(attachments);
    let overlay = inputs.config.has_overlay().then_some(OVERLAY);
    maps.config = Some(BpfConfig::new(inputs.config.event_sample, overlay, &own.ranges));
    let all = peers.iter().map(|(peer, way)| (*peer, Some(*way)));
    for (member, way) in std::iter::once((own, None)).chain(all) {
        let Some(&node) = member.internal.get(family) else {
            continue;
        };
        let entry = NodeEntry {
            node,
            mac: member.mac,
            is_direct: way == Some(Way::Direct),
            is_self: way.is_none(),
            place: if way.is_some() { Place::Own } else { Place::None },
        };
        maps.nodes.extend(member.ranges.iter().map(|range| (*range, entry)));
    }
    maps
}
