//! Traffic control: what holds packets back or takes them away before a route or a firewall sees them.

use crate::verify::found::Found;
use netcheck_node_state::{
    LinkKind, NetState,
    record::{Filter, NodeRecord, Qdisc, Side, Space},
};

/// The discipline for trials, which loses and delays packets (tc-netem(8)). No network sets it up.
const NETEM: &str = "netem";
/// Disciplines that let no more than a rate through. Networks have them on pods' devices, where an annotation asks for a bandwidth, and
/// administrators on uplinks; on a tunnel nobody has.
const SHAPERS: [&str; 5] = ["tbf", "htb", "hfsc", "cbq", "plug"];
/// Kinds of devices that are tunnels, besides VXLAN.
const TUNNELS: [&str; 6] = ["ipip", "sit", "geneve", "gre", "ip6tnl", "wireguard"];
/// `TC_ACT_SHOT` of linux/pkt_cls.h.
const DROP: i32 = 2;

/// What is wrong in the node's namespace and its pods'. `is_known`: the network is one that takes no packets by filters.
pub fn judge<'a>(
    record: &NodeRecord,
    pods: impl Iterator<Item = (String, &'a Space)>,
    is_known: bool,
    found: &mut Vec<Found>,
) {
    found.extend(of_space(&record.node, None, is_known));
    for (pod, space) in pods {
        found.extend(of_space(space, Some(&pod), is_known));
    }
}

fn of_space(space: &Space, pod: Option<&str>, is_known: bool) -> Vec<Found> {
    let object = |device: &str| match pod {
        Some(pod) => format!("{pod} {device}"),
        None => device.to_owned(),
    };
    let shaping = space.qdiscs.iter().filter(|qdisc| {
        qdisc.kind == NETEM || (SHAPERS.contains(&qdisc.kind.as_str()) && is_tunnel(&space.net, &qdisc.device))
    });
    let shaping = shaping.map(|qdisc| shaped(qdisc, object(&qdisc.device), pod.is_some()));
    let taking = space.filters.iter().filter_map(|filter| {
        let what = taken(filter, &space.net, is_known)?;
        Some(filtered(filter, &object(&filter.device), &what, pod.is_some()))
    });
    shaping.chain(taking).collect()
}

fn is_tunnel(net: &NetState, device: &str) -> bool {
    net.links.get(device).is_some_and(|link| match &link.kind {
        LinkKind::Vxlan(_) => true,
        LinkKind::Other(kind) => TUNNELS.contains(&kind.as_str()),
        LinkKind::Veth => false,
    })
}

/// Tunnels of a kernel that may compute outer checksums wrong: until 5.7 those of packets that were masqueraded. Distributions have mended that in
/// some older kernels, and their versions do not tell: it is only for where wrong checksums are seen to arrive.
pub fn checksums(record: &NodeRecord, found: &mut Vec<Found>) {
    const CHECKSUMS: &str = "tx-checksumming";
    let mut parts = record
        .kernel
        .split(|letter: char| !letter.is_ascii_digit())
        .map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) else {
        return;
    };
    if (major, minor) >= (5, 7) {
        return;
    }
    for (name, link) in &record.node.net.links {
        let device = record.node.devices.get(name);
        let is_left = device.is_some_and(|device| device.features.contains(CHECKSUMS));
        if is_left && matches!(link.kind, LinkKind::Vxlan(_)) {
            found.push(
                Found::new(
                    "verify-overlay-checksum",
                    format!("link {name}"),
                    format!("{CHECKSUMS} off, or a kernel from 5.7 on"),
                    format!("{CHECKSUMS} on, kernel {}", record.kernel),
                )
                .look(format!("ethtool -k {name} | grep tx-checksum"))
                .fix(format!("ethtool -K {name} tx-checksum-ip-generic off"))
                .on(name),
            );
        }
    }
}

/// Commands in a pod are of its namespace, which the reader has to enter.
fn on_node(command: String, is_in_pod: bool) -> Option<String> {
    (!is_in_pod).then_some(command)
}

fn shaped(qdisc: &Qdisc, object: String, is_in_pod: bool) -> Found {
    let Qdisc {
        device, kind, dropped, ..
    } = qdisc;
    let actual = match (kind.as_str(), dropped) {
        (NETEM, dropped) => format!("netem, which delays or loses packets on purpose; it has dropped {dropped}"),
        (kind, dropped) => format!("{kind}, which lets a rate through; it has dropped {dropped} packets"),
    };
    let mut found = Found::new(
        "verify-traffic-shaped",
        object,
        "nothing that holds packets back",
        actual,
    )
    .on(device);
    found.look = on_node(format!("tc -s qdisc show dev {device}"), is_in_pod);
    found.fix = on_node(format!("tc qdisc del dev {device} root"), is_in_pod);
    found
}

/// What becomes of packets that a filter fits, if they do not go on.
fn taken(filter: &Filter, net: &NetState, is_known: bool) -> Option<String> {
    // The plugin bandwidth sends what pods send through a device of this kind, to shape it.
    let shapes = |device: &str| {
        let link = net.links.get(device);
        link.is_some_and(|link| link.kind == LinkKind::Other("ifb".to_owned()))
    };
    filter.actions.iter().find_map(|action| {
        if action.verdict == Some(DROP) {
            return Some("drops the packets that it fits".to_owned());
        }
        let to = action.device.as_deref().unwrap_or("a device of another namespace");
        (is_known && action.is_redirect && !shapes(to)).then(|| format!("sends the packets that it fits to {to}"))
    })
}

fn filtered(filter: &Filter, object: &str, what: &str, is_in_pod: bool) -> Found {
    let Filter {
        device,
        side,
        kind,
        preference,
        ..
    } = filter;
    let side = match side {
        Side::Ingress => "ingress",
        Side::Egress => "egress",
    };
    let mut found = Found::new(
        "verify-filter-takes",
        format!("{object} {side}"),
        "no filter that takes pods' packets away",
        format!("filter {preference} ({kind}) {what}"),
    )
    .on(device);
    found.look = on_node(format!("tc -s filter show dev {device} {side}"), is_in_pod);
    found.fix = on_node(
        format!("tc filter del dev {device} {side} pref {preference}"),
        is_in_pod,
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcheck_node_state::{
        Link,
        record::{Action, Device},
    };
    use std::collections::BTreeMap;

    fn space(qdiscs: &[(&str, &str)], filters: &[(&str, Action)]) -> Space {
        let link = |kind: LinkKind| Link {
            mac: None,
            mtu: 1500,
            is_up: true,
            alias: None,
            makes_link_local: None,
            kind,
        };
        let other = |kind: &str| link(LinkKind::Other(kind.to_owned()));
        let links = [
            ("eth0", other("")),
            ("tunl0", other("ipip")),
            ("veth1", link(LinkKind::Veth)),
            ("bwp1", other("ifb")),
        ];
        Space {
            net: NetState {
                links: links.map(|(name, link)| (name.to_owned(), link)).into(),
                ..NetState::default()
            },
            qdiscs: qdiscs
                .iter()
                .map(|(device, kind)| Qdisc {
                    device: (*device).to_owned(),
                    kind: (*kind).to_owned(),
                    ..Qdisc::default()
                })
                .collect(),
            filters: filters
                .iter()
                .map(|(device, action)| Filter {
                    device: (*device).to_owned(),
                    kind: "u32".to_owned(),
                    actions: vec![action.clone()],
                    ..Filter::default()
                })
                .collect(),
            ..Space::default()
        }
    }

    fn found(space: Space, is_known: bool) -> Vec<String> {
        let mut found = Vec::new();
        judge(&NodeRecord::of(space), std::iter::empty(), is_known, &mut found);
        found
            .into_iter()
            .map(|one| format!("{} {}", one.id, one.object))
            .collect()
    }

    #[test]
    fn what_shapes_a_tunnel_or_is_for_trials_is_told_and_what_is_usual_is_not() {
        let usual = [
            ("eth0", "htb"),
            ("veth1", "tbf"),
            ("eth0", "fq_codel"),
            ("tunl0", "noqueue"),
            ("veth1", "clsact"),
        ];
        assert_eq!(found(space(&usual, &[]), true), [""; 0]);
        let shaped = [("tunl0", "tbf"), ("veth1", "netem")];
        assert_eq!(
            found(space(&shaped, &[]), false),
            ["verify-traffic-shaped tunl0", "verify-traffic-shaped veth1"]
        );
    }

    fn redirect(device: &str, is_redirect: bool) -> Action {
        Action {
            kind: "mirred".to_owned(),
            verdict: Some(4),
            device: Some(device.to_owned()),
            is_redirect,
        }
    }

    #[test]
    fn a_filter_that_takes_packets_is_told_and_a_copy_or_bandwidth_is_not() {
        let drop = Action {
            kind: "gact".to_owned(),
            verdict: Some(DROP),
            ..Action::default()
        };
        let usual = [("veth1", redirect("eth0", false)), ("veth1", redirect("bwp1", true))];
        assert_eq!(found(space(&[], &usual), true), [""; 0]);
        let taking = [("veth1", redirect("eth0", true)), ("eth0", drop)];
        assert_eq!(
            found(space(&[], &taking), true),
            ["verify-filter-takes veth1 ingress", "verify-filter-takes eth0 ingress"]
        );
        // A network that nobody knows may work like that.
        assert_eq!(found(space(&[], &taking), false), ["verify-filter-takes eth0 ingress"]);
    }

    #[test]
    fn an_old_kernels_tunnel_that_leaves_checksums_to_it_is_told() {
        let vxlan = serde_json::from_value(serde_json::json!({
            "vni": 1, "port": 8472, "local": null, "device": null, "learns": false, "unusual": {},
        }));
        let told = |kernel: &str, feature: &str| {
            let mut space = space(&[], &[]);
            let link = space.net.links.get_mut("tunl0").unwrap();
            link.kind = LinkKind::Vxlan(vxlan.as_ref().map(Clone::clone).unwrap());
            let device = Device {
                features: [feature.to_owned()].into(),
                ..Device::default()
            };
            space.devices.insert("tunl0".to_owned(), device);
            let record = NodeRecord {
                kernel: kernel.to_owned(),
                ..NodeRecord::of(space)
            };
            let mut found = Vec::new();
            checksums(&record, &mut found);
            found.len()
        };
        assert_eq!(told("5.4.0-42-generic", "tx-checksumming"), 1);
        assert_eq!(told("4.18.0-372.el8", "tx-checksumming"), 1);
        assert_eq!(told("5.4.0-42-generic", "rx-checksumming"), 0);
        assert_eq!(told("5.10.0", "tx-checksumming"), 0);
        assert_eq!(told("", "tx-checksumming"), 0);
    }

    #[test]
    fn in_a_pod_it_is_the_pods() {
        let record = NodeRecord::of(Space::default());
        let inside = space(&[("eth0", NETEM)], &[]);
        let mut found = Vec::new();
        judge(
            &record,
            BTreeMap::from([("shop/web-1".to_owned(), &inside)]).into_iter(),
            true,
            &mut found,
        );
        let told: Vec<_> = found
            .iter()
            .map(|one| (one.object.as_str(), one.fix.as_deref()))
            .collect();
        assert_eq!(told, [("shop/web-1 eth0", None)]);
    }
}
