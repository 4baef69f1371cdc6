//! Changes to a namespace, judged by `ip` and `bridge`. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]

mod sandbox;
mod values;

use libtest_mimic::Arguments;
use netcheck_node_state::{
    Change, ChangeError, Changer, CreateVethError, LinkSetting, Neighbour, Route, VethEnd, Vxlan, within,
};
use sandbox::{Sandbox, trial, wait_for};
use serde_json::{Value, json};
use values::{address, fdb, mac, neighbour, node, route, unreachable, via};

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("a_pod_is_wired", a_pod_is_wired),
        trial("a_taken_name_is_told_which", a_taken_name_is_told_which),
        trial("an_overlay_is_made", an_overlay_is_made),
        trial("again_and_gone_are_fine", again_and_gone_are_fine),
        trial("a_refusal_says_what_and_why", a_refusal_says_what_and_why),
        trial("a_device_made_anew_is_found", a_device_made_anew_is_found),
        trial("parameters_are_the_threads_own", parameters_are_the_threads_own),
        trial("devices_are_mended_in_place", devices_are_mended_in_place),
        trial("a_device_without_ipv6_is_fine", a_device_without_ipv6_is_fine),
        trial("a_way_is_switched_without_a_gap", a_way_is_switched_without_a_gap),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

const NEAR_MAC: &str = "0e:6e:63:00:00:01";
const POD_MAC: &str = "0a:58:0a:f4:01:02";

fn end(name: &str, mac_text: &str, mtu: u32) -> VethEnd {
    VethEnd {
        name: name.to_owned(),
        mac: mac(mac_text),
        mtu,
    }
}

/// Runs `work` with a fresh socket inside a sandbox.
fn inside<T: Send>(sandbox: &Sandbox, work: impl FnOnce(&mut Changer) -> T + Send) -> T {
    within(&sandbox.netns(), || work(&mut Changer::open().unwrap())).unwrap()
}

fn apply(sandbox: &Sandbox, changes: &[Change]) {
    let failed: Vec<ChangeError> = inside(sandbox, |changer| {
        changes
            .iter()
            .filter_map(|change| changer.apply(change).err())
            .collect()
    });
    assert!(failed.is_empty(), "{failed:?}");
}

fn json_of(sandbox: &Sandbox, command: &str) -> Value {
    serde_json::from_str(&sandbox.run(command)).unwrap()
}

/// The part of each element that has these keys, in the order of the list.
fn only(list: &Value, keys: &[&str]) -> Value {
    let part = |element: &Value| -> Value {
        let pairs = keys
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), element.get(key)?.clone())));
        Value::Object(pairs.collect())
    };
    list.as_array().unwrap().iter().map(part).collect()
}

fn a_pod_is_wired() {
    let (node, pod) = (Sandbox::new(), Sandbox::new());
    let veth = "nc53ffe5c7906";
    let gateways = ["169.254.1.1", "fe80::1"];
    inside(&node, |changer| {
        let near = end(veth, NEAR_MAC, 1500);
        let far = end("eth0", POD_MAC, 1500);
        changer.create_veth(&near, &far, &pod.netns()).unwrap();
        let alias = LinkSetting::Alias("netcheck-cni netcheck@a1b2c3d4@eth0 default/web".to_owned());
        let settings = [alias, LinkSetting::MakesLinkLocal(false), LinkSetting::Up];
        changer.set_link(veth, &settings).unwrap();
    });
    let mut changes = vec![
        Change::AddAddress(address("eth0", "10.244.1.2/32")),
        Change::AddAddress(address("eth0", "fd00:10:244:1::2/128")),
        Change::SetLink {
            name: "eth0".to_owned(),
            set: LinkSetting::Up,
        },
    ];
    for gateway in gateways {
        changes.push(Change::ReplaceNeighbour(Neighbour {
            protocol: 0,
            ..neighbour("eth0", gateway, NEAR_MAC)
        }));
    }
    changes.push(Change::ReplaceRoute(Route {
        protocol: 3,
        ..route("169.254.1.1/32", "eth0")
    }));
    for (prefix, gateway) in ["0.0.0.0/0", "::/0"].into_iter().zip(gateways) {
        changes.push(Change::ReplaceRoute(Route {
            protocol: 3,
            mtu: Some(1450),
            ..via(prefix, gateway, "eth0")
        }));
    }
    apply(&pod, &changes);
    inside(&node, |changer| {
        for (prefix, ip) in [
            ("10.244.1.2/32", "10.244.1.2"),
            ("fd00:10:244:1::2/128", "fd00:10:244:1::2"),
        ] {
            let permanent = Change::ReplaceNeighbour(neighbour(veth, ip, POD_MAC));
            changer.apply(&permanent).unwrap();
            changer.add_route_exclusively(&route(prefix, veth)).unwrap();
            let again = changer.add_route_exclusively(&route(prefix, veth)).unwrap_err();
            assert!(again.is_exists(), "{again}");
        }
    });

    let link = json_of(&node, &format!("ip -j -d link show {veth}"));
    assert_eq!(
        only(
            &link,
            &["address", "mtu", "ifalias", "inet6_addr_gen_mode", "operstate"]
        ),
        json!([{"address": NEAR_MAC, "mtu": 1500, "ifalias": "netcheck-cni netcheck@a1b2c3d4@eth0 default/web",
            "inet6_addr_gen_mode": "none", "operstate": "UP"}])
    );
    assert_eq!(
        json_of(&node, &format!("ip -j addr show {veth}"))[0]["addr_info"],
        json!([])
    );
    assert_eq!(
        only(
            &json_of(&node, "ip -j route"),
            &["dst", "dev", "protocol", "scope", "gateway"]
        ),
        json!([{"dst": "10.244.1.2", "dev": veth, "protocol": "147", "scope": "link"}])
    );
    assert_eq!(
        only(
            &json_of(&node, "ip -j -6 route show proto 147"),
            &["dst", "dev", "metric", "gateway"]
        ),
        json!([{"dst": "fd00:10:244:1::2", "dev": veth, "metric": 1024}])
    );
    let neighbours = json_of(&node, "ip -j neigh show nud permanent");
    assert_eq!(
        only(&neighbours, &["dst", "dev", "lladdr", "state", "protocol"]),
        json!([
            {"dst": "10.244.1.2", "dev": veth, "lladdr": POD_MAC, "state": ["PERMANENT"], "protocol": "147"},
            {"dst": "fd00:10:244:1::2", "dev": veth, "lladdr": POD_MAC, "state": ["PERMANENT"], "protocol": "147"}
        ])
    );
    let routes = json_of(&pod, "ip -j route");
    assert_eq!(
        only(&routes, &["dst", "gateway", "dev", "scope", "protocol", "metrics"]),
        json!([{"dst": "default", "gateway": "169.254.1.1", "dev": "eth0", "metrics": [{"mtu": 1450}]},
            {"dst": "169.254.1.1", "dev": "eth0", "scope": "link"}])
    );
    // The wire and the tables together: the node answers to the pod, and back, with nobody resolving an address.
    // Without `nodad` the address is tentative until a worker of the kernel comes to it, on the loopback device too.
    node.run("ip link set lo up; ip addr add 192.0.2.11/32 dev lo; ip addr add 2001:db8:99::11/128 dev lo nodad");
    pod.run("ping -c 1 -W 5 192.0.2.11; ping -c 1 -W 5 2001:db8:99::11");
}

fn a_taken_name_is_told_which() {
    let (node, pod) = (Sandbox::new(), Sandbox::new());
    node.run("ip link add taken type bridge");
    pod.run("ip link add eth0 type bridge");
    inside(&node, |changer| {
        let near = changer.create_veth(&end("taken", NEAR_MAC, 1500), &end("eth1", POD_MAC, 1500), &pod.netns());
        assert!(matches!(near, Err(CreateVethError::NearNameTaken(_))), "{near:?}");
        let far = changer.create_veth(&end("nc1", NEAR_MAC, 1500), &end("eth0", POD_MAC, 1500), &pod.netns());
        assert!(matches!(far, Err(CreateVethError::FarNameTaken(_))), "{far:?}");
        let invalid = changer.create_veth(&end("a/b", NEAR_MAC, 1500), &end("eth1", POD_MAC, 1500), &pod.netns());
        assert!(matches!(&invalid, Err(CreateVethError::Other(error)) if error.errno() == Some(libc::EINVAL)));
    });
    for (sandbox, names) in [(&node, ["lo", "taken"]), (&pod, ["lo", "eth0"])] {
        let links = json_of(sandbox, "ip -j link");
        let left: Vec<_> = links
            .as_array()
            .unwrap()
            .iter()
            .map(|link| link["ifname"].clone())
            .collect();
        assert_eq!(left, names, "nothing of a refused pair stays");
    }
}

/// What SPEC.md puts on a node for itself and one peer.
fn overlay(local: &str, peer: &str) -> Vec<Change> {
    let (own_mac, peer_mac) = ("0a:3d:1f:b3:8c:45", "0a:48:9d:da:b5:3d");
    vec![
        Change::CreateVxlan {
            name: "ncvx0".to_owned(),
            mac: mac(own_mac),
            mtu: 1400,
            alias: "netcheck-cni v1".to_owned(),
            vxlan: Vxlan {
                vni: 4242,
                port: 8472,
                local: Some(local.parse().unwrap()),
                device: Some("eth0".to_owned()),
                learns: false,
                unusual: std::collections::BTreeMap::new(),
            },
        },
        Change::AddAddress(address("ncvx0", "10.244.1.0/32")),
        Change::AddAddress(address("ncvx0", "fd00:10:244:1::/128")),
        Change::SetLink {
            name: "ncvx0".to_owned(),
            set: LinkSetting::Up,
        },
        Change::ReplaceNeighbour(neighbour("ncvx0", "10.244.2.0", peer_mac)),
        Change::ReplaceNeighbour(neighbour("ncvx0", "fd00:10:244:2::", peer_mac)),
        Change::ReplaceFdb(fdb("ncvx0", peer_mac, peer)),
        Change::ReplaceRoute(Route {
            is_onlink: true,
            ..via("10.244.2.0/24", "10.244.2.0", "ncvx0")
        }),
        Change::ReplaceRoute(Route {
            is_onlink: true,
            ..via("fd00:10:244:2::/64", "fd00:10:244:2::", "ncvx0")
        }),
        Change::ReplaceRoute(unreachable("10.244.1.0/24")),
        Change::ReplaceRoute(unreachable("fd00:10:244:1::/64")),
    ]
}

fn an_overlay_is_made() {
    for (local, peer) in [("192.0.2.11", "192.0.2.12"), ("2001:db8:99::11", "2001:db8:99::12")] {
        let node = node();
        apply(&node, &overlay(local, peer));
        let link = json_of(&node, "ip -j -d link show ncvx0");
        assert_eq!(
            only(&link, &["address", "mtu", "ifalias", "inet6_addr_gen_mode"]),
            json!([{"address": "0a:3d:1f:b3:8c:45", "mtu": 1400, "ifalias": "netcheck-cni v1", "inet6_addr_gen_mode": "none"}])
        );
        let data = &link[0]["linkinfo"]["info_data"];
        let is_v4 = local.contains('.');
        for (key, value) in [
            ("id", json!(4242)),
            ("link", json!("eth0")),
            ("port", json!(8472)),
            ("learning", json!(false)),
            ("ttl", json!(0)),
            ("udp_csum", json!(true)),
            (if is_v4 { "local" } else { "local6" }, json!(local)),
        ] {
            assert_eq!(data[key], value, "{key} in {data}");
        }
        assert!(link[0]["flags"].as_array().unwrap().contains(&json!("UP")), "{link}");
        assert_eq!(
            only(
                &json_of(&node, "ip -j addr show ncvx0")[0]["addr_info"],
                &["local", "prefixlen", "scope"]
            ),
            json!([{"local": "10.244.1.0", "prefixlen": 32, "scope": "global"},
                {"local": "fd00:10:244:1::", "prefixlen": 128, "scope": "global"}])
        );
        assert_eq!(
            only(
                &json_of(&node, "bridge -j fdb show dev ncvx0"),
                &["mac", "dst", "flags", "state"]
            ),
            json!([{"mac": "0a:48:9d:da:b5:3d", "dst": peer, "flags": ["self"], "state": "permanent"}])
        );
        assert_eq!(
            node.run("ip route show proto 147; ip -6 route show proto 147"),
            "unreachable 10.244.1.0/24 metric 2147483647 \n\
             10.244.2.0/24 via 10.244.2.0 dev ncvx0 onlink \n\
             unreachable fd00:10:244:1::/64 dev lo metric 2147483647 pref medium\n\
             fd00:10:244:2::/64 via fd00:10:244:2:: dev ncvx0 metric 1024 onlink pref medium\n"
        );
    }
}

fn again_and_gone_are_fine() {
    let node = node();
    let changes = overlay("192.0.2.11", "192.0.2.12");
    apply(&node, &changes);
    // The uplink is left out: it looks for duplicates of its addresses for a while.
    let all = "ip -d -o link show ncvx0; ip -br addr show ncvx0; ip neigh show dev ncvx0; bridge fdb show dev ncvx0
        ip -d route; ip -6 -d route show proto 147; ip -6 -d route show dev ncvx0";
    let before = node.run(all);
    apply(&node, &changes);
    assert_eq!(node.run(all), before, "the second time changes nothing");

    let undo: Vec<Change> = changes
        .into_iter()
        .rev()
        .filter_map(|change| match change {
            Change::AddAddress(address) => Some(Change::DeleteAddress(address)),
            Change::ReplaceRoute(route) => Some(Change::DeleteRoute(route)),
            Change::ReplaceNeighbour(neighbour) => Some(Change::DeleteNeighbour(neighbour)),
            Change::ReplaceFdb(entry) => Some(Change::DeleteFdb(entry)),
            Change::CreateVxlan { name, .. } => Some(Change::DeleteLink(name)),
            _ => None,
        })
        .collect();
    let (last, entries) = undo.split_last().unwrap();
    apply(&node, entries);
    assert_eq!(
        node.run(
            "ip route show proto 147; ip -6 route show proto 147; ip neigh show dev ncvx0; bridge fdb show dev ncvx0"
        ),
        ""
    );
    assert_eq!(json_of(&node, "ip -j addr show ncvx0")[0]["addr_info"], json!([]));
    // Gone one by one, then with the device, then with no device there at all.
    apply(&node, entries);
    apply(&node, std::slice::from_ref(last));
    assert!(!node.run("ip link").contains("ncvx0"));
    apply(&node, &undo);
}

fn a_refusal_says_what_and_why() {
    let node = node();
    let error_of = |change: &Change| inside(&node, |changer| changer.apply(change).unwrap_err().to_string());
    let no_device = error_of(&Change::ReplaceRoute(route("10.0.0.0/24", "absent")));
    assert_eq!(
        no_device,
        "route replace 10.0.0.0/24 table 254 metric 0: No such device (os error 19): no device absent is here"
    );
    let no_way = error_of(&Change::ReplaceRoute(via("10.0.0.0/24", "198.51.100.1", "eth0")));
    assert_eq!(
        no_way,
        "route replace 10.0.0.0/24 table 254 metric 0: Network is unreachable (os error 101): Nexthop has invalid gateway"
    );
    apply(&node, &[Change::AddAddress(address("eth0", "2001:db8:5::1/64"))]);
    let other_prefix = error_of(&Change::AddAddress(address("eth0", "2001:db8:5::1/128")));
    assert!(
        other_prefix.starts_with("address add 2001:db8:5::1/128 dev eth0: File exists"),
        "{other_prefix}"
    );
    node.run("ip link add ncvx0 type bridge");
    let foreign = error_of(&overlay("192.0.2.11", "192.0.2.12")[0]);
    assert!(foreign.starts_with("link add vxlan ncvx0: File exists"), "{foreign}");
    node.run("ip link del ncvx0; ip link add ncvx0 type vxlan id 4242 dstport 8472 local 192.0.2.11 dev eth0; ip link set ncvx0 alias mine");
    let mine = error_of(&overlay("192.0.2.11", "192.0.2.12")[0]);
    assert!(mine.starts_with("link add vxlan ncvx0: File exists"), "{mine}");
    assert_eq!(json_of(&node, "ip -j link show ncvx0")[0]["ifalias"], json!("mine"));
}

fn a_device_made_anew_is_found() {
    let node = Sandbox::new();
    node.run("ip link add d0 up type bridge");
    inside(&node, |changer| {
        let first = Change::ReplaceNeighbour(neighbour("d0", "192.0.2.1", POD_MAC));
        changer.apply(&first).unwrap();
        node.run("ip link del d0; ip link add d0 up type bridge");
        for change in [
            first,
            Change::AddAddress(address("d0", "192.0.2.9/24")),
            Change::ReplaceRoute(route("198.51.100.0/24", "d0")),
        ] {
            changer.apply(&change).unwrap();
        }
    });
    assert_eq!(json_of(&node, "ip -j neigh show dev d0")[0]["dst"], json!("192.0.2.1"));
}

fn parameters_are_the_threads_own() {
    let sandbox = Sandbox::new();
    sandbox.run("ip link add eth0 type bridge; ip link add eth0.1 type bridge");
    let own = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    let wanted = if own.trim() == "1" { "0" } else { "1" };
    let write = |key: &str| Change::WriteSysctl {
        key: key.to_owned(),
        value: wanted.to_owned(),
    };
    apply(
        &sandbox,
        &[write("net.ipv4.ip_forward"), write("net.ipv4.conf.eth0/1.rp_filter")],
    );
    let read = "sysctl -n net.ipv4.ip_forward net.ipv4.conf.eth0/1.rp_filter";
    assert_eq!(sandbox.run(read), format!("{wanted}\n{wanted}\n"));
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), own);
    // A socket that left its namespace still changes that one's tables, but would write the wrong parameters.
    let mut outside = within(&sandbox.netns(), || Changer::open().unwrap()).unwrap();
    let error = outside.apply(&write("net.ipv4.ip_forward")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "sysctl write net.ipv4.ip_forward: the calling thread is in another network namespace"
    );
    outside.apply(&Change::DeleteLink("eth0.1".to_owned())).unwrap();
    assert!(!sandbox.run("ip link").contains("eth0.1"));
}

fn devices_are_mended_in_place() {
    let node = node();
    apply(&node, &overlay("192.0.2.11", "192.0.2.12"));
    node.run("ip addr add 192.0.2.21/24 dev eth0; ip link add eth1 up type bridge");
    let set = |set| Change::SetLink {
        name: "ncvx0".to_owned(),
        set,
    };
    let routes = node.run("ip route; ip neigh show dev ncvx0; bridge fdb show dev ncvx0");
    apply(
        &node,
        &[
            set(LinkSetting::Mtu(1300)),
            set(LinkSetting::Alias("other".to_owned())),
            set(LinkSetting::MakesLinkLocal(true)),
            set(LinkSetting::VxlanSource {
                local: "192.0.2.21".parse().unwrap(),
                device: "eth1".to_owned(),
            }),
            set(LinkSetting::VxlanLearns(true)),
        ],
    );
    let link = json_of(&node, "ip -j -d link show ncvx0");
    assert_eq!(
        only(&link, &["mtu", "ifalias", "inet6_addr_gen_mode"]),
        json!([{"mtu": 1300, "ifalias": "other", "inet6_addr_gen_mode": "eui64"}])
    );
    let data = &link[0]["linkinfo"]["info_data"];
    assert_eq!(
        (&data["local"], &data["link"], &data["learning"], &data["id"]),
        (&json!("192.0.2.21"), &json!("eth1"), &json!(true), &json!(4242))
    );
    assert_eq!(
        node.run("ip route; ip neigh show dev ncvx0; bridge fdb show dev ncvx0"),
        routes,
        "what hangs on it stays"
    );
    apply(&node, &[set(LinkSetting::Mac(mac("0a:00:00:00:00:07")))]);
    assert_eq!(
        json_of(&node, "ip -j link show ncvx0")[0]["address"],
        json!("0a:00:00:00:00:07")
    );
}

/// A kernel without IPv6 says the same as one that has none on a device, as below its least MTU.
fn a_device_without_ipv6_is_fine() {
    let sandbox = Sandbox::new();
    sandbox.run("ip link add d0 mtu 1000 type bridge; ip link set d0 mtu 1000");
    inside(&sandbox, |changer| {
        let settings = [
            LinkSetting::Alias("thin".to_owned()),
            LinkSetting::MakesLinkLocal(false),
            LinkSetting::Up,
        ];
        changer.set_link("d0", &settings).unwrap();
        let error = changer
            .set_link("d0", &[LinkSetting::MakesLinkLocal(true)])
            .unwrap_err();
        assert_eq!(error.errno(), Some(libc::EAFNOSUPPORT));
    });
    let link = json_of(&sandbox, "ip -j -d link show d0");
    assert_eq!(
        only(&link, &["ifalias", "inet6_addr_gen_mode"]),
        json!([{"ifalias": "thin"}])
    );
    assert!(link[0]["flags"].as_array().unwrap().contains(&json!("UP")), "{link}");
}

/// What SPEC.md does when the backend is switched: the same prefix, straight or by the tunnel.
fn a_way_is_switched_without_a_gap() {
    let node = node();
    apply(&node, &overlay("192.0.2.11", "192.0.2.12"));
    let monitor = Monitor::new(&node, "ip -o monitor route");
    for round in 0..3 {
        apply(
            &node,
            &[
                Change::ReplaceRoute(via("10.244.2.0/24", "192.0.2.12", "eth0")),
                Change::ReplaceRoute(via("fd00:10:244:2::/64", "2001:db8:99::12", "eth0")),
            ],
        );
        assert_eq!(
            node.run("ip route show 10.244.2.0/24; ip -6 route show fd00:10:244:2::/64"),
            "10.244.2.0/24 via 192.0.2.12 dev eth0 proto 147 \n\
             fd00:10:244:2::/64 via 2001:db8:99::12 dev eth0 proto 147 metric 1024 pref medium\n"
        );
        apply(&node, &overlay("192.0.2.11", "192.0.2.12"));
        assert_eq!(
            node.run("ip route show root 10.244.2.0/24; ip -6 route show root fd00:10:244:2::/64"),
            "10.244.2.0/24 via 10.244.2.0 dev ncvx0 proto 147 onlink \n\
             fd00:10:244:2::/64 via fd00:10:244:2:: dev ncvx0 proto 147 metric 1024 onlink pref medium\n",
            "round {round}, and nothing more special stays"
        );
    }
    let seen = monitor.end();
    assert!(
        seen.contains("fd00:10:244:2::/64 via 2001:db8:99::12 dev eth0"),
        "{seen}"
    );
    for prefix in ["10.244.2.0/24", "fd00:10:244:2::/64"] {
        assert!(!seen.contains(&format!("Deleted {prefix}")), "{seen}");
    }
}

/// `ip monitor`, from when it hears until it has heard all.
struct Monitor<'a> {
    sandbox: &'a Sandbox,
    file: std::path::PathBuf,
    _shell: sandbox::Shell,
}

impl<'a> Monitor<'a> {
    fn new(sandbox: &'a Sandbox, command: &str) -> Self {
        let file = std::env::temp_dir().join(format!("netcheck-monitor-{}", sandbox.pid()));
        let shell = sandbox.spawn(&format!("exec {command} > {}", file.display()));
        let monitor = Self {
            sandbox,
            file,
            _shell: shell,
        };
        monitor.hears("198.51.100.1");
        monitor
    }

    /// Waits until a change made now was written down.
    fn hears(&self, mark: &str) {
        wait_for("the monitor", || {
            self.sandbox.run(&format!(
                "ip route add blackhole {mark} table 9; ip route del {mark} table 9"
            ));
            std::fs::read_to_string(&self.file).is_ok_and(|text| text.contains(mark))
        });
    }

    fn end(self) -> String {
        self.hears("198.51.100.2");
        std::fs::read_to_string(&self.file).unwrap()
    }
}

impl Drop for Monitor<'_> {
    fn drop(&mut self) {
        std::fs::remove_file(&self.file).unwrap();
    }
}
