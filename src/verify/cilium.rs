//! What must be on the nodes of Cilium besides its programs: its devices and routes between nodes, by its ConfigMap and what its nodes publish
//! (`pkg/datapath/linux/node.go`). Layouts of its maps change with each version and are its own business.

pub mod objects;
#[cfg(test)]
mod tests;
mod ways;

use super::{
    evidence::Looked,
    expected::{self, Expected, Tunnel, TunnelKind},
    found::Found,
    generic::Concern,
    group::Group,
    network::{Differences, Network, Unchecked},
    objects::Objects,
    relate::relate,
};
use netcheck_cni_intent::words;
use netcheck_node_state::{LinkKind, NetState, record::Space};
use netcheck_wire::message::RecordOrder;
use objects::{CiliumObjects, TUNNEL_PORT};

const HOST: &str = "cilium_host";
const VXLAN: &str = "cilium_vxlan";
const GENEVE: &str = "cilium_geneve";
/// Its port for VXLAN where `tunnel-port` is 0 or not there.
const PORT: u16 = 8472;
const RP_FILTER: &str = "net.ipv4.conf.*.rp_filter";
/// Cilium.
#[derive(Debug, Clone, Copy)]
pub struct Cilium;

/// Whether it is configured, and its agents run.
pub fn is_at_work(objects: &Objects) -> bool {
    objects.cilium.is_some() && objects.has_agent_of(Cilium.name())
}

/// How packets get to other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Routing {
    /// By a tunnel, made by this device.
    Tunnel(&'static str),
    /// By routes that each agent makes.
    Direct,
    /// By something else.
    Elsewhere,
}

impl CiliumObjects {
    fn is(&self, key: &str, value: &str) -> bool {
        self.config.get(key).is_some_and(|is| is == value)
    }

    fn routing(&self) -> Routing {
        // `tunnel` is that of versions before 1.14.
        if self.is("routing-mode", "native") || self.is("tunnel", "disabled") {
            let is_direct = self.is("auto-direct-node-routes", "true");
            return if is_direct { Routing::Direct } else { Routing::Elsewhere };
        }
        let is_geneve = self.is("tunnel-protocol", "geneve") || self.is("tunnel", "geneve");
        Routing::Tunnel(if is_geneve { GENEVE } else { VXLAN })
    }

    /// Whether each node has ranges of its own.
    fn has_node_ranges(&self) -> bool {
        let ipam = self.config.get("ipam").map_or("cluster-pool", String::as_str);
        matches!(ipam, "cluster-pool" | "kubernetes") && !self.is("single-cluster-route", "true")
    }
}

impl Network for Cilium {
    fn name(&self) -> &'static str {
        "Cilium"
    }

    fn order(&self) -> RecordOrder {
        RecordOrder {
            sysctls: vec![RP_FILTER.to_owned()],
            ..RecordOrder::default()
        }
    }

    fn uses_node_ranges(&self) -> bool {
        false
    }

    fn covers(&self) -> &'static [Concern] {
        &[Concern::Ways, Concern::PodRoutes]
    }

    fn differences(&self, objects: &Objects, node: &str, looked: &Looked) -> Differences {
        let mut differences = Differences::default();
        let cilium = objects.cilium.clone().unwrap_or_default();
        let host = &looked.record.node;
        unchecked(
            &mut differences,
            Group::Bpf,
            "Cilium's programs and maps are its own business: cilium-dbg status --verbose in its pod tells of them",
        );
        if cilium.is("enable-ipv6", "true") {
            unchecked(
                &mut differences,
                Group::Routes,
                "of Cilium this version checks no IPv6 routes",
            );
        }
        devices(&host.net, &mut differences.found);
        let mut expected = Expected {
            agent: "cilium",
            ..Expected::default()
        };
        let routing = cilium.routing();
        if let Routing::Tunnel(device) = routing {
            tunnel(&cilium, device, &host.net, &mut expected, &mut differences.found);
        }
        if !cilium.is("enable-ipv4", "false") {
            ways::expect(objects, &cilium, node, routing, host, &mut expected, &mut differences);
        }
        differences.found.extend(expected::differences(&expected, &host.net));
        differences.found.extend(reverse_path(host));
        relate(&mut differences.found);
        differences
    }
}

fn unchecked(differences: &mut Differences, group: Group, why: &str) {
    differences.unchecked.push(Unchecked {
        group,
        why: why.to_owned(),
    });
}

fn restart() -> &'static str {
    "delete the cilium pod of this node: its agent makes that anew when it starts"
}

/// The pair that joins the host with the programs.
fn devices(net: &NetState, found: &mut Vec<Found>) {
    let mut say = |id, name: &str, actual: String| {
        found.push(
            Found::new(id, format!("link {name}"), "a veth that is up", actual)
                .look(format!("ip -d address show dev {name}"))
                .fix(restart())
                .on(name),
        );
    };
    for name in [HOST, "cilium_net"] {
        match net.links.get(name) {
            None => {
                say("verify-device-missing", name, "no such device".to_owned());
                // They are made and lost together.
                return;
            }
            Some(link) if !link.is_up => say("verify-device-down", name, words::link(link)),
            Some(_) => {}
        }
    }
}

/// The tunnel's device: one for all nodes, whose other ends programs tell it.
fn tunnel(
    cilium: &CiliumObjects,
    device: &'static str,
    net: &NetState,
    expected: &mut Expected,
    found: &mut Vec<Found>,
) {
    let port = cilium.config.get(TUNNEL_PORT).and_then(|port| port.parse().ok());
    if device == VXLAN {
        expected.tunnels.push(Tunnel {
            name: VXLAN.to_owned(),
            kind: TunnelKind::Vxlan {
                vni: 0,
                port: port.filter(|port| *port != 0).unwrap_or(PORT),
                local: None,
                learns: false,
            },
            mac: None,
            mtu: None,
            addresses: Vec::new(),
        });
    }
    let (id, actual) = match net.links.get(device) {
        Some(link) => match &link.kind {
            LinkKind::Vxlan(vxlan) if device == VXLAN && !vxlan.unusual.contains_key("external") => (
                "verify-overlay-settings",
                "one that sends to one other end only".to_owned(),
            ),
            _ if device == GENEVE && !link.is_up => ("verify-overlay-down", words::link(link)),
            _ => return,
        },
        None if device == GENEVE => ("verify-overlay-missing", "no such device".to_owned()),
        // Said with the rest of the tunnel.
        None => return,
    };
    found.push(
        Found::new(
            id,
            format!("link {device}"),
            "a tunnel in external mode (collect metadata) that is up",
            actual,
        )
        .look(format!("ip -d link show dev {device}"))
        .fix(restart())
        .on(device),
    );
}

/// Programs answer from devices that packets did not come in by: where the kernel is strict about that, it drops them (systemd 245 sets it anew).
fn reverse_path(host: &Space) -> Option<Found> {
    let value = |device: &str| {
        let key = format!("net.ipv4.conf.{}.rp_filter", device.replace('.', "/"));
        host.sysctls.get(&key).and_then(|value| value.parse::<u8>().ok())
    };
    let all = value("all")?;
    let is_ours = |name: &&String| *name == HOST || name.starts_with("lxc");
    // The higher of both counts.
    let device = host
        .net
        .links
        .keys()
        .filter(is_ours)
        .find(|name| value(name).is_some_and(|own| own.max(all) == 1))?;
    let key = format!("net.ipv4.conf.{}.rp_filter", if all == 1 { "all" } else { device });
    Some(
        Found::new(
            "verify-rp-filter",
            format!("sysctl {key}"),
            "0",
            "1: strict, so on its devices as well",
        )
        .look(format!("sysctl {key}"))
        .fix(format!(
            "sysctl -w {key}=0, and a file of your own in /etc/sysctl.d/ behind systemd's 50-default.conf"
        )),
    )
}
