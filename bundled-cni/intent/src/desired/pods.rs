//! A pod's attachment, on both sides of its veth (SPEC.md, sections 5.3 and 5.4), and for BPF.

use crate::{
    bpf::{BpfMaps, Endpoint, uid_bytes},
    derive::pod_mac,
    inputs::Attachment,
    mtu::Mtus,
    names::HOST_MAC,
    objects::{host_neighbours, host_routes, pod_addresses, pod_neighbours, pod_routes},
};
use netcheck_node_state::{Address, Link, LinkKind, Mac, Neighbour, NetState, Route};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The inside of one attachment's namespace, as far as it is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Path of the namespace, if it was told.
    pub netns: Option<String>,
    /// The interface.
    pub if_name: String,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// Its addresses, without the kernel's own.
    pub addresses: BTreeSet<Address>,
    /// Its routes, without the kernel's own.
    pub routes: BTreeSet<Route>,
    /// Its permanent neighbours.
    pub neighbours: BTreeSet<Neighbour>,
}

fn mac_of(attachment: &Attachment) -> Option<Mac> {
    attachment.mac.or_else(|| pod_mac(&attachment.ips))
}

/// Each attachment with those of its addresses that no earlier one has. IPAM gives an address out once; if its folder was falsified,
/// two attachments must not fight about a route for ever.
fn owners<'a>(attachments: &[&'a Attachment]) -> Vec<(&'a Attachment, Vec<IpAddr>)> {
    let mut seen = BTreeSet::new();
    let mut owners = Vec::new();
    for attachment in attachments {
        let ips = attachment.ips.iter().copied().filter(|ip| seen.insert(*ip)).collect();
        owners.push((*attachment, ips));
    }
    owners
}

/// The host's end of each veth, and what leads to it.
pub(super) fn host_side(net: &mut NetState, attachments: &[&Attachment]) {
    for (attachment, ips) in owners(attachments) {
        let name = attachment.key.host_veth();
        let link = Link {
            mac: Some(HOST_MAC),
            mtu: attachment.link_mtu,
            is_up: true,
            alias: Some(attachment.key.alias(&attachment.pod)),
            makes_link_local: Some(false),
            kind: LinkKind::Veth,
        };
        net.routes.extend(host_routes(&name, &ips));
        if let Some(mac) = mac_of(attachment) {
            net.neighbours.extend(host_neighbours(&name, &ips, mac));
        }
        net.links.insert(name, link);
    }
}

/// The inside of each attachment's namespace, by key.
pub(super) fn insides(attachments: &[&Attachment], mtus: &Mtus) -> BTreeMap<String, Pod> {
    let inside = |attachment: &&Attachment| (attachment.key.to_string(), inside(attachment, mtus));
    attachments.iter().map(inside).collect()
}

fn inside(attachment: &Attachment, mtus: &Mtus) -> Pod {
    let (if_name, ips) = (&attachment.key.if_name, &attachment.ips);
    let mtu = attachment.link_mtu;
    // A route with more than its device takes would make packets that the veth drops.
    let route_mtu = mtus.route.min(mtu);
    Pod {
        netns: attachment.netns.clone(),
        if_name: if_name.clone(),
        mac: mac_of(attachment),
        mtu,
        addresses: pod_addresses(if_name, ips).collect(),
        routes: pod_routes(if_name, ips, route_mtu).collect(),
        neighbours: pod_neighbours(if_name, ips).collect(),
    }
}

/// What BPF knows of the attachments.
pub(super) fn endpoints(attachments: &[&Attachment]) -> BpfMaps {
    let mut maps = BpfMaps::default();
    for (attachment, ips) in owners(attachments) {
        let Some(mac) = mac_of(attachment) else {
            continue;
        };
        let endpoint = Endpoint {
            device: attachment.key.host_veth(),
            pod_mac: mac,
            host_mac: HOST_MAC,
            pod_uid: uid_bytes(&attachment.pod.uid),
        };
        maps.endpoints.extend(ips.iter().map(|ip| (*ip, endpoint.clone())));
        maps.counted_endpoints.extend(ips);
    }
    maps
}
