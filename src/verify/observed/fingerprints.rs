//! Fingerprints: which counters and reasons move when packets die in which way.

use super::{
    scene::{Lost, Place, Scene},
    total,
};
use netcheck_node_state::counters::{Counters, Numbers};

/// Where the counters of a fingerprint are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// Protocols of the node's own namespace.
    Node,
    /// Protocols of pods' namespaces.
    Pods,
    /// Protocols of any of them.
    Anywhere,
    /// The node's tunnels.
    Tunnels,
    /// The node's other devices.
    Devices,
    /// The node's connection tracking.
    Tracking,
    /// The node's processors.
    Processors,
}

/// What a way to die leaves behind.
#[derive(Debug)]
pub struct Fingerprint {
    /// Id of its finding.
    pub id: &'static str,
    pub place: Where,
    /// Counters that grow.
    pub counters: &'static [&'static str],
    /// Reasons that the kernel gives.
    pub reasons: &'static [&'static str],
    /// It is also part of a healthy node's day: told only where probes got lost, or nobody has probed.
    pub only_with_loss: bool,
    /// Findings on the same node that it follows from, the likeliest first.
    pub follows: &'static [&'static str],
    /// Findings on other nodes that explain it.
    pub elsewhere: &'static [&'static str],
}

/// All of them.
pub const FINGERPRINTS: [Fingerprint; 14] = [
    Fingerprint {
        id: "observe-tunnel-otherhost",
        place: Where::Tunnels,
        counters: &["rx_otherhost_dropped"],
        reasons: &["OTHERHOST"],
        only_with_loss: false,
        follows: &["verify-overlay-mac", "verify-overlay-settings"],
        elsewhere: &[
            "verify-fdb-wrong",
            "verify-fdb-stale",
            "verify-neighbour-wrong",
            "verify-overlay-mac",
        ],
    },
    Fingerprint {
        id: "observe-tunnel-undeliverable",
        place: Where::Tunnels,
        counters: &["tx_dropped", "tx_carrier_errors", "tx_errors"],
        reasons: &["NO_TX_TARGET", "NEIGH_FAILED", "NEIGH_CREATEFAIL"],
        only_with_loss: false,
        follows: &[
            "verify-overlay-down",
            "verify-overlay-mac",
            "verify-neighbour-missing",
            "verify-fdb-missing",
            "verify-neighbour-wrong",
            "verify-overlay-source",
        ],
        elsewhere: &[],
    },
    Fingerprint {
        id: "observe-tunnel-unknown",
        place: Where::Node,
        counters: &[],
        reasons: &["VXLAN_VNI_NOT_FOUND", "VXLAN_INVALID_HDR"],
        only_with_loss: false,
        follows: &[
            "verify-overlay-missing",
            "verify-overlay-down",
            "verify-overlay-settings",
            "verify-vni-taken",
        ],
        elsewhere: &["verify-overlay-settings"],
    },
    Fingerprint {
        id: "observe-no-socket",
        place: Where::Node,
        counters: &["UdpNoPorts", "Udp6NoPorts"],
        reasons: &[],
        only_with_loss: true,
        follows: &[
            "verify-overlay-missing",
            "verify-overlay-down",
            "verify-overlay-settings",
        ],
        elsewhere: &["verify-overlay-settings"],
    },
    Fingerprint {
        id: "observe-not-forwarded",
        place: Where::Node,
        counters: &["IpInAddrErrors", "Ip6InAddrErrors"],
        reasons: &["IP_INADDRERRORS"],
        only_with_loss: false,
        follows: &["verify-forwarding-off", "verify-sysctl"],
        elsewhere: &[],
    },
    Fingerprint {
        id: "observe-misdelivered",
        place: Where::Pods,
        counters: &["IpInAddrErrors", "Ip6InAddrErrors"],
        reasons: &["IP_INADDRERRORS", "OTHERHOST"],
        only_with_loss: true,
        follows: &[
            "verify-pod-neighbour-wrong",
            "verify-pod-veth-mac",
            "verify-pod-route-wrong",
            "verify-bpf-endpoint-wrong",
            "verify-bpf-endpoint-stale",
        ],
        elsewhere: &[],
    },
    Fingerprint {
        id: "observe-reverse-path",
        place: Where::Anywhere,
        counters: &["TcpExtIPReversePathFilter"],
        reasons: &["IP_RPFILTER"],
        only_with_loss: false,
        follows: &["verify-sysctl"],
        elsewhere: &[],
    },
    Fingerprint {
        id: "observe-no-route",
        // Whatever is not forwarded is nobody's to route.
        place: Where::Node,
        counters: &["IpExtInNoRoutes", "Ip6InNoRoutes"],
        reasons: &["IP_INNOROUTES"],
        only_with_loss: false,
        follows: &[
            "verify-overlay-missing",
            "verify-overlay-down",
            "verify-route-missing",
            "verify-pod-veth-down",
            "verify-pod-route-missing",
            "verify-pod-route-wrong",
            "verify-range-route-missing",
            "verify-route-wrong",
        ],
        elsewhere: &[],
    },
    Fingerprint {
        id: "observe-too-big",
        place: Where::Anywhere,
        counters: &[
            "IpFragFails",
            "Ip6FragFails",
            "Ip6InTooBigErrors",
            "IpReasmFails",
            "Ip6ReasmFails",
        ],
        reasons: &["PKT_TOO_BIG", "FRAG_REASM_TIMEOUT", "FRAG_TOO_FAR"],
        only_with_loss: false,
        follows: &["verify-overlay-mtu", "verify-pod-mtu", "verify-pod-veth-mtu"],
        elsewhere: &["verify-overlay-mtu"],
    },
    Fingerprint {
        id: "observe-checksum",
        place: Where::Anywhere,
        counters: &[
            "IpExtInCsumErrors",
            "UdpInCsumErrors",
            "Udp6InCsumErrors",
            "TcpInCsumErrors",
            "IcmpInCsumErrors",
            "Icmp6InCsumErrors",
        ],
        reasons: &["IP_CSUM", "UDP_CSUM", "TCP_CSUM", "ICMP_CSUM", "SKB_CSUM"],
        only_with_loss: false,
        follows: &["verify-overlay-checksum"],
        elsewhere: &["verify-overlay-checksum"],
    },
    Fingerprint {
        id: "observe-backlog",
        place: Where::Processors,
        counters: &["dropped", "flow_limit"],
        reasons: &["CPU_BACKLOG"],
        only_with_loss: false,
        follows: &[],
        elsewhere: &[],
    },
    Fingerprint {
        id: "observe-tracking",
        place: Where::Tracking,
        counters: &["insert_failed", "drop", "early_drop"],
        reasons: &[],
        only_with_loss: true,
        follows: &[],
        elsewhere: &[],
    },
    Fingerprint {
        id: "observe-firewall",
        place: Where::Anywhere,
        counters: &[],
        reasons: &["NETFILTER_DROP"],
        only_with_loss: true,
        follows: &["verify-forward-dropped", "verify-nft-wrong", "verify-nft-stale"],
        elsewhere: &[],
    },
    Fingerprint {
        id: "observe-device",
        place: Where::Devices,
        counters: &["tx_dropped", "tx_errors", "tx_carrier_errors"],
        reasons: &["QDISC_DROP", "QDISC_OVERLIMIT", "DEV_READY", "FULL_RING"],
        only_with_loss: false,
        follows: &["verify-pod-veth-down", "verify-pod-veth-missing", "verify-pod-changed"],
        elsewhere: &[],
    },
];

/// What moved, of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// The pod, the device, or what of the node.
    pub object: String,
    pub device: Option<String>,
    /// Counters and reasons, with by how much.
    pub moved: Vec<String>,
    /// The command that shows it.
    pub look: String,
}

impl Fingerprint {
    /// Where it is to be seen on a node.
    pub fn signs(&self, scene: &Scene) -> Vec<Sign> {
        if self.only_with_loss && !scene.may_lose() {
            return Vec::new();
        }
        let places = scene.counters.iter().filter(|(place, _)| match self.place {
            Where::Pods => **place != Place::Node,
            Where::Anywhere => true,
            _ => **place == Place::Node,
        });
        let mut signs = Vec::new();
        for (place, counters) in places {
            match self.place {
                Where::Node | Where::Pods | Where::Anywhere => {
                    let dropped = self.dropped(scene, |lost| lost.place == *place);
                    let object = match place {
                        Place::Node => "its network".to_owned(),
                        Place::Pod(name) => name.clone(),
                    };
                    signs.extend(self.sign(object, None, &counters.protocols, dropped));
                }
                Where::Tunnels | Where::Devices => signs.extend(self.devices(scene, counters)),
                Where::Tracking => {
                    signs.extend(self.sign("connection tracking".to_owned(), None, &counters.conntrack, Vec::new()));
                }
                Where::Processors => {
                    let dropped = self.dropped(scene, |lost| lost.place == Place::Node);
                    signs.extend(self.sign("its processors".to_owned(), None, &scene.softnet, dropped));
                }
            }
        }
        signs
    }

    fn devices(&self, scene: &Scene, counters: &Counters) -> Vec<Sign> {
        let wants_tunnel = self.place == Where::Tunnels;
        let mut signs = Vec::new();
        for (name, device) in &counters.devices {
            if scene.overlays.contains(name) != wants_tunnel {
                continue;
            }
            let mut numbers = device.counters.clone();
            let mut dropped = self.dropped(scene, |lost| {
                lost.place == Place::Node && lost.device.as_deref() == Some(name)
            });
            // What a device says of itself when it comes up goes to a group that a tunnel may have no way to: it is nobody's loss.
            let greetings =
                total(["Icmp6OutMLDv2Reports", "Icmp6OutRouterSolicits"].map(|name| counters.protocol(name)));
            for counter in ["tx_dropped", "tx_carrier_errors"] {
                numbers
                    .entry(counter.to_owned())
                    .and_modify(|count| *count = count.saturating_sub(greetings));
            }
            for (_, packets) in &mut dropped {
                *packets = packets.saturating_sub(greetings);
            }
            signs.extend(self.sign(name.clone(), Some(name.clone()), &numbers, dropped));
        }
        signs
    }

    /// Packets dropped for its reasons, by reason.
    fn dropped(&self, scene: &Scene, is_here: impl Fn(&Lost) -> bool) -> Vec<(&'static str, u64)> {
        let of_reason = |reason: &&'static str| {
            let here = scene.lost.iter().filter(|lost| lost.reason == *reason && is_here(lost));
            (*reason, total(here.map(|lost| lost.packets)))
        };
        self.reasons.iter().map(of_reason).collect()
    }

    fn sign(
        &self,
        object: String,
        device: Option<String>,
        numbers: &Numbers,
        dropped: Vec<(&'static str, u64)>,
    ) -> Option<Sign> {
        let counted = self.counters.iter().filter_map(|name| {
            let by = *numbers.get(*name)?;
            (by > 0).then(|| format!("{name} +{by}"))
        });
        let dropped = dropped.into_iter().filter(|(_, packets)| *packets > 0);
        let dropped = dropped.map(|(reason, packets)| format!("{packets} dropped for {reason}"));
        let moved: Vec<String> = counted.chain(dropped).collect();
        let look = match (self.place, &device) {
            (_, Some(device)) => format!("ip -s -s link show dev {device}"),
            (Where::Tracking, _) => "conntrack -S".to_owned(),
            (Where::Processors, _) => "cat /proc/net/softnet_stat".to_owned(),
            _ if self.counters.is_empty() => "perf record -a -e skb:kfree_skb sleep 5; perf script".to_owned(),
            _ => format!("nstat -az {}", self.counters.join(" ")),
        };
        (!moved.is_empty()).then_some(Sign {
            object,
            device,
            moved,
            look,
        })
    }
}
