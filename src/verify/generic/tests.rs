//! Generic checks on a node of reference plugins (by hand) and on one of flannel (a recording of a real node's state; its API objects, its pods'
//! namespaces and its libcni cache are written by hand to match).

use crate::verify::samples::{Sample, roots};
use netcheck_node_state::{FdbEntry, Link, LinkKind, Neighbour, Route, RouteKind};

const PTP: &str = include_str!("ptp.json");
const BRIDGE: &str = include_str!("bridge.json");

fn ptp(change: impl FnOnce(&mut Sample)) -> Vec<&'static str> {
    roots(PTP, change)
}

fn bridge(change: impl FnOnce(&mut Sample)) -> Vec<&'static str> {
    roots(BRIDGE, change)
}

fn route(sample: &mut Sample, to: &str) -> Route {
    let to = to.parse().unwrap();
    let routes = &mut sample.net().routes;
    let route = routes.iter().find(|route| route.destination == to).unwrap().clone();
    routes.remove(&route);
    route
}

fn device(kind: &str) -> Link {
    Link {
        mac: None,
        mtu: 1500,
        is_up: true,
        alias: None,
        makes_link_local: None,
        kind: LinkKind::Other(kind.to_owned()),
    }
}

#[test]
fn healthy_nodes_have_no_findings() {
    assert_eq!(ptp(|_| {}), [] as [&str; 0]);
    assert_eq!(Sample::of(PTP).network(), Some("reference plugins (ptp)"));
    assert_eq!(bridge(|_| {}), [] as [&str; 0]);
    assert_eq!(Sample::of(BRIDGE).network(), Some("flannel"));
}

#[test]
fn the_first_configuration_counts_and_needs_its_plugins() {
    const NET_D: &str = "/etc/cni/net.d";
    // A known network has one; of others the runtime may have it elsewhere.
    assert_eq!(bridge(|node| node.folder(NET_D).clear()), ["verify-conf-missing"]);
    assert_eq!(ptp(|node| node.folder(NET_D).clear()), [] as [&str; 0]);
    let cut = ptp(|node| node.put(NET_D, "10-plain.conflist", "{\"name\": \"pl", 9));
    assert_eq!(cut, ["verify-conf-broken"]);
    let without = ptp(|node| node.put(NET_D, "00-x.conf", "{}", 9));
    assert_eq!(without, ["verify-conf-broken"]);
    // What comes after the first is not read, and what is no configuration neither.
    let later = ptp(|node| {
        node.put(NET_D, "99-x.conf", "{", 9);
        node.put(NET_D, "00-kubeconfig", "{", 9);
    });
    assert_eq!(later, [] as [&str; 0]);
    for plugin in ["ptp", "host-local", "portmap", "loopback"] {
        let gone = ptp(|node| drop(node.folder("/opt/cni/bin").remove(plugin)));
        assert_eq!(gone, ["verify-plugin-missing"], "{plugin}");
    }
    let flannel = bridge(|node| node.folder("/opt/cni/bin").get_mut("bridge").unwrap().mode = 0o644);
    assert_eq!(flannel, ["verify-plugin-missing"]);
    // Whoever keeps them elsewhere is not told that they are missing.
    let elsewhere = ptp(|node| {
        let folders = &mut node.record().folders;
        folders.insert(NET_D.to_owned(), Err("no such folder".to_owned()));
        folders.insert("/opt/cni/bin".to_owned(), Err("no such folder".to_owned()));
    });
    assert_eq!(elsewhere, [] as [&str; 0]);
}

#[test]
fn the_nodes_own_address_is_on_it() {
    let gone = ptp(|node| node.net().addresses.retain(|address| address.interface != "eth0"));
    assert_eq!(gone, ["verify-internal-ip"]);
}

#[test]
fn what_is_wrong_inside_a_pod_is_said_once() {
    let absent = ptp(|node| node.pod(1).net.addresses.retain(|address| address.interface != "eth0"));
    assert_eq!(absent, ["verify-pod-ip-absent"]);
    let down = ptp(|node| {
        let net = &mut node.pod(1).net;
        net.links.get_mut("eth0").unwrap().is_up = false;
        net.routes.clear();
    });
    assert_eq!(down, ["verify-pod-interface-down"]);
    let loopback = ptp(|node| node.pod(1).net.links.get_mut("lo").unwrap().is_up = false);
    assert_eq!(loopback, ["verify-pod-loopback-down"]);
    assert_eq!(
        ptp(|node| node.pod(2).net.routes.clear()),
        ["verify-pod-default-missing"]
    );
    // Nobody says that there must be one.
    let none = ptp(|node| {
        node.pod(1).net.routes.clear();
        node.pod(2).net.routes.clear();
        node.folder("/var/lib/cni/results").clear();
    });
    assert_eq!(none, [] as [&str; 0]);
}

#[test]
fn a_pods_device_leads_there_and_back() {
    let down = ptp(|node| {
        node.net().links.get_mut("veth4d44b1b3").unwrap().is_up = false;
        node.without_route("10.244.0.3/32");
    });
    assert_eq!(down, ["verify-pod-veth-down"]);
    let mtu = ptp(|node| node.net().links.get_mut("veth4d44b1b3").unwrap().mtu = 1400);
    assert_eq!(mtu, ["verify-pod-veth-mtu"]);
    let mtu = bridge(|node| node.pod(1).net.links.get_mut("eth0").unwrap().mtu = 1500);
    assert_eq!(mtu, ["verify-pod-veth-mtu"]);
    assert_eq!(
        ptp(|node| node.without_route("10.244.0.3/32")),
        ["verify-pod-route-missing"]
    );
    let others = ptp(|node| {
        let mut stray = route(node, "10.244.0.3/32");
        stray.device = Some("veth731a75fa".to_owned());
        node.net().routes.insert(stray);
    });
    assert_eq!(others, ["verify-pod-route-wrong"]);
    let beaten = ptp(|node| {
        let mut own = route(node, "10.244.0.3/32");
        node.net().routes.insert(Route {
            device: Some("eth0".to_owned()),
            ..own.clone()
        });
        own.metric = 100;
        node.net().routes.insert(own);
    });
    assert_eq!(beaten, ["verify-pod-route-wrong"]);
    // Rules may lead to other tables.
    let elsewhere = ptp(|node| {
        let mut own = route(node, "10.244.0.3/32");
        own.table = 100;
        node.net().routes.insert(own);
    });
    assert_eq!(elsewhere, [] as [&str; 0]);
    // A device of a kind that delivers by itself.
    let by_program = ptp(|node| {
        let mut own = route(node, "10.244.0.3/32");
        own.device = Some("x_host".to_owned());
        own.destination = "10.244.0.0/24".parse().unwrap();
        node.net().routes.insert(own);
    });
    assert_eq!(by_program, [] as [&str; 0]);
}

#[test]
fn a_bridge_has_the_route_to_all_its_pods() {
    let lost = bridge(|node| {
        node.net().addresses.retain(|address| address.interface != "cni0");
        node.without_route("10.244.0.0/24");
    });
    assert_eq!(lost, ["verify-bridge-route-missing"]);
    let stray = bridge(|node| {
        let mut one = route(node, "10.244.1.0/24");
        node.net().routes.insert(one.clone());
        one.destination = "10.244.0.3/32".parse().unwrap();
        node.net().routes.insert(one);
    });
    assert!(stray.contains(&"verify-pod-route-wrong"), "{stray:?}");
    // The pods' gateway is another's on the bridge's link.
    let on_link = ptp(|node| {
        for name in ["veth4d44b1b3", "veth731a75fa"] {
            node.record().node.devices.get_mut(name).unwrap().master = Some("br0".to_owned());
        }
        node.net().links.insert("br0".to_owned(), device("bridge"));
        node.without_route("10.244.0.3/32");
        node.without_route("10.244.0.4/32");
    });
    assert_eq!(on_link, [] as [&str; 0]);
}

#[test]
fn ways_to_other_nodes_are_where_others_have_them() {
    assert_eq!(
        ptp(|node| node.without_route("10.244.1.0/24")),
        ["verify-route-missing"]
    );
    // The fabric does it.
    let fabric = ptp(|node| {
        node.without_route("10.244.1.0/24");
        node.without_route("10.244.2.0/24");
    });
    assert_eq!(fabric, [] as [&str; 0]);
    let blocked = ptp(|node| {
        let mut one = route(node, "10.244.1.0/24");
        one.kind = RouteKind::Unreachable;
        node.net().routes.insert(one);
    });
    assert_eq!(blocked, ["verify-route-wrong"]);
    let third = ptp(|node| {
        let mut one = route(node, "10.244.1.0/24");
        one.gateway = "10.90.0.23".parse().ok();
        node.net().routes.insert(one);
    });
    assert_eq!(third, ["verify-route-wrong"]);
    let part = ptp(|node| {
        let mut one = route(node, "10.244.1.0/24");
        node.net().routes.insert(one.clone());
        one.destination = "10.244.1.0/25".parse().unwrap();
        one.gateway = "10.90.0.254".parse().ok();
        node.net().routes.insert(one);
    });
    assert_eq!(part, ["verify-route-shadowed"]);
    // flannel's own comparison says it.
    assert_eq!(
        bridge(|node| node.without_route("10.244.1.0/24")),
        ["verify-route-missing"]
    );
}

#[test]
fn the_kernel_forwards() {
    assert_eq!(
        ptp(|node| node.sysctl("net.ipv4.ip_forward", "0")),
        ["verify-forwarding-off"]
    );
    for device in ["eth0", "veth4d44b1b3"] {
        let off = ptp(|node| node.sysctl(&format!("net.ipv4.conf.{device}.forwarding"), "0"));
        assert_eq!(off, ["verify-forwarding-off"], "{device}");
    }
    let unused = ptp(|node| {
        node.sysctl("net.ipv4.conf.lo.forwarding", "0");
        node.sysctl("net.ipv6.conf.all.forwarding", "0");
        node.sysctl("net.bridge.bridge-nf-call-iptables", "0");
    });
    assert_eq!(unused, [] as [&str; 0]);
    let hidden = bridge(|node| node.sysctl("net.bridge.bridge-nf-call-iptables", "0"));
    assert_eq!(hidden, ["verify-bridge-netfilter"]);
}

#[test]
fn tables_have_room() {
    let neighbours = |limit: &'static str| {
        ptp(move |node| {
            node.sysctl("net.ipv4.neigh.default.gc_thresh2", limit);
            for number in 0..20 {
                node.pod(1).net.neighbours.insert(Neighbour {
                    device: "eth0".to_owned(),
                    ip: std::net::Ipv4Addr::from(number).into(),
                    mac: None,
                    is_permanent: number >= 10,
                    protocol: 0,
                    flags: 0,
                });
            }
        })
    };
    assert_eq!(neighbours("10"), ["verify-neighbours-full"]);
    assert_eq!(neighbours("11"), [] as [&str; 0]);
    let connections = |count| {
        ptp(move |node| {
            node.sysctl("net.netfilter.nf_conntrack_count", count);
            node.sysctl("net.netfilter.nf_conntrack_max", "1000");
        })
    };
    assert_eq!(connections("801"), ["verify-conntrack-full"]);
    assert_eq!(connections("800"), [] as [&str; 0]);
}

#[test]
fn what_another_network_left_is_told() {
    for name in [
        "flannel.1",
        "vxlan.calico",
        "cilium_vxlan",
        "weave",
        "kube-bridge",
        "ncvx0",
        "cni0",
    ] {
        let left = ptp(|node| drop(node.net().links.insert(name.to_owned(), device("x"))));
        assert_eq!(left, ["verify-leftover"], "{name}");
    }
    let not = |name: &str| ptp(|node| drop(node.net().links.insert(name.to_owned(), device("x"))));
    assert_eq!(not("flannel.x"), [] as [&str; 0]);
    assert_eq!(not("docker0"), [] as [&str; 0]);
    // By it go packets to another node's pods: it works, whoever made it (k3s has flannel inside).
    let at_work = ptp(|node| {
        node.net().links.insert("flannel.1".to_owned(), device("vxlan"));
        let way = route(node, "10.244.1.0/24");
        node.net().routes.insert(Route {
            device: Some("flannel.1".to_owned()),
            ..way
        });
    });
    assert_eq!(at_work, [] as [&str; 0]);
    // Its agent runs: it is somebody's.
    let running = ptp(|node| {
        node.net().links.insert("cilium_host".to_owned(), device("x"));
        node.agent("cilium-x7x7x");
    });
    assert_eq!(running, [] as [&str; 0]);
}

#[test]
fn what_was_written_down_is_of_pods_that_are_there() {
    const CACHE: &str = "/var/lib/cni/results";
    let of_nobody = |node: &mut Sample, age| {
        let text = node.folder(CACHE)["plain-c1-eth0"].text.clone().unwrap().unwrap();
        let text = text
            .replace("\"u1\"", "\"gone\"")
            .replace("cni-c1", "cni-c9")
            .replace("\"c1\"", "\"c9\"");
        node.put(CACHE, "plain-c9-eth0", &text, age);
    };
    assert_eq!(ptp(|node| of_nobody(node, 9000)), ["verify-cache-leaked"]);
    let with_loopback = ptp(|node| {
        of_nobody(node, 9000);
        let text = node.folder(CACHE)["plain-c9-eth0"].text.clone().unwrap().unwrap();
        node.put(
            CACHE,
            "cni-loopback-c9-lo",
            &text.replace("\"ifName\": \"eth0\"", "\"ifName\": \"lo\""),
            9000,
        );
    });
    assert_eq!(with_loopback, ["verify-cache-leaked"]);
    // It may be under way, and what has a namespace may still be alive.
    assert_eq!(ptp(|node| of_nobody(node, 30)), [] as [&str; 0]);
    let alive = ptp(|node| {
        of_nobody(node, 9000);
        node.put("/run/netns", "cni-c9", "", 9);
    });
    assert_eq!(alive, [] as [&str; 0]);
    let cut = ptp(|node| node.put(CACHE, "plain-c1-eth0", "{\"kind\": \"cni", 9));
    assert_eq!(cut, [] as [&str; 0]);
    let other = ptp(|node| {
        let text = node.folder(CACHE)["plain-c1-eth0"].text.clone().unwrap().unwrap();
        let text = text.replace("10.244.0.3/", "10.244.0.77/");
        node.put(CACHE, "plain-c1-eth0", &text, 9);
    });
    assert_eq!(other, ["verify-pod-address"]);
}

#[test]
fn host_local_gives_each_address_to_one_container() {
    const GIVEN: &str = "/var/lib/cni/networks/plain";
    let leaked = |age| ptp(move |node| node.put(GIVEN, "10.244.0.9", "c9\r\neth0", age));
    assert_eq!(leaked(9000), ["verify-address-leaked"]);
    assert_eq!(leaked(30), [] as [&str; 0]);
    assert_eq!(
        ptp(|node| drop(node.folder(GIVEN).remove("10.244.0.3"))),
        ["verify-address-lost"]
    );
    let other = ptp(|node| node.put(GIVEN, "10.244.0.3", "c2\r\neth0", 9000));
    assert_eq!(other, ["verify-address-lost"]);
    let rest = ptp(|node| node.put(GIVEN, "last_reserved_ip.0", "10.244.0.4", 9000));
    assert_eq!(rest, [] as [&str; 0]);
}

#[test]
fn flannels_entries_are_still_its_own() {
    let left = bridge(|node| {
        node.net().fdb.insert(FdbEntry {
            device: "flannel.1".to_owned(),
            mac: "02:00:00:00:00:09".parse().unwrap(),
            destination: "10.90.0.29".parse().ok(),
            port: None,
            vni: None,
            via: None,
            is_permanent: true,
            flags: 0,
        });
    });
    assert_eq!(left, ["verify-fdb-stale"]);
}
