//! Snapshots of a namespace, against what `ip` and `bridge` say of it. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]

mod oracle;
mod sandbox;

use libtest_mimic::Arguments;
use netcheck_node_state::{Changer, LinkKind, NetState, Table, refresh, snapshot, sysctl, within};
use oracle::{assert_same, assert_snapshot_is_theirs, theirs};
use sandbox::{Sandbox, trial};

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("an_empty_namespace_is_read", an_empty_namespace_is_read),
        trial("a_rich_namespace_is_read", a_rich_namespace_is_read),
        trial("a_thousand_of_each_are_read", a_thousand_of_each_are_read),
        trial(
            "what_changes_meanwhile_is_read_whole",
            what_changes_meanwhile_is_read_whole,
        ),
        trial("one_table_is_read_again", one_table_is_read_again),
        trial(
            "a_tunnel_from_elsewhere_names_no_device",
            a_tunnel_from_elsewhere_names_no_device,
        ),
        trial("parameters_are_read", parameters_are_read),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// One of everything that a node of a real cluster may hold.
const RICH: &str = r#"
ip link set lo up
ip link add eth0 type veth peer name wire; ip link add eth1 type veth peer name wire1
ip link add br0 type bridge; ip link set wire1 master br0
ip addr add 192.0.2.11/24 dev eth0; ip addr add 192.0.2.9/32 peer 192.0.2.10 dev eth0
ip addr add 2001:db8:99::11/64 dev eth0 nodad; ip addr add 2001:db8:99::13 peer 2001:db8:99::14/128 dev eth0 nodad
ip addr add 203.0.113.1/24 brd + dev eth1; ip addr add 2001:db8:98::11/64 dev eth1 nodad
for link in wire wire1 br0 eth0 eth1; do ip link set $link up; done
ip link add vx4 address 0a:00:00:00:00:01 type vxlan id 4242 dstport 8472 local 192.0.2.11 dev eth0 nolearning
ip link set vx4 alias "netcheck-cni v1"; ip link set vx4 addrgenmode none; ip link set vx4 up
ip link add vx6 type vxlan id 4243 dstport 4789 local 2001:db8:99::11 dev eth0; ip link set vx6 up
ip link add vxgroup type vxlan id 7 dstport 4790 group 239.1.1.1 dev eth0
ip link add vxexternal type vxlan external dstport 4791
bridge fdb add 0a:48:9d:da:b5:3d dev vx4 dst 192.0.2.12 self permanent
bridge fdb append 00:00:00:00:00:00 dev vx4 dst 192.0.2.13; bridge fdb append 00:00:00:00:00:00 dev vx4 dst 192.0.2.14
bridge fdb add 0a:48:9d:da:b5:3e dev vx6 dst 2001:db8:99::12 dynamic
bridge fdb add 0a:48:9d:da:b5:3f dev wire1 master static
ip route add blackhole 198.51.100.0/24
ip route add unreachable 198.51.101.0/24 metric 2147483647 proto 147
ip route add prohibit 198.51.102.0/24 table 100; ip route add throw 198.51.103.0/24 table 5000
ip route add 10.1.0.0/16 via 10.1.0.0 dev vx4 onlink proto 147
ip route add 10.2.0.0/16 dev eth0 mtu 1400 advmss 1300
ip route add 10.3.0.0/16 metric 7 nexthop via 192.0.2.1 dev eth0 weight 1 nexthop via 203.0.113.9 dev eth1 weight 5 onlink
ip route append 10.2.0.0/16 dev eth1
ip route add 10.4.0.0/16 via inet6 fe80::1 dev eth0
ip route add 10.5.0.0/16 via 192.0.2.1 src 192.0.2.11 mtu lock 1300
ip route add 10.6.0.0/16 tos 0x10 dev eth0
ip route add default via 192.0.2.1 dev eth0; ip route add local 192.0.2.99 dev lo
ip -6 route add unreachable fd00:1::/64 metric 2147483647 proto 147; ip -6 route add blackhole fd00:2::/64
ip -6 route add fd00:3::/64 via fd00:3:: dev vx4 onlink proto 147
ip -6 route add fd00:4::/64 metric 9 nexthop via 2001:db8:99::1 dev eth0 weight 3 nexthop via 2001:db8:98::1 dev eth1
ip -6 route add fd00:5::/64 dev eth1 table 77; ip -6 route add fd00:6::/64 from fd00:7::/64 dev eth0
ip -6 route add default via fe80::1 dev eth0 mtu 1450
ip neigh add 192.0.2.12 lladdr 0a:00:00:00:00:12 dev eth0 nud permanent protocol 147
ip neigh add 192.0.2.13 lladdr 0a:00:00:00:00:13 dev eth0 nud stale
ip neigh add 192.0.2.14 lladdr 0a:00:00:00:00:15 dev eth0 nud noarp; ip neigh add proxy 192.0.2.200 dev eth0
ip neigh add 2001:db8:99::12 lladdr 0a:00:00:00:00:14 dev eth0 nud permanent
ip neigh add 2001:db8:99::15 lladdr 0a:00:00:00:00:16 dev eth0 nud permanent router
ip neigh add 192.0.2.16 lladdr 0a:00:00:00:00:17 dev eth0 nud permanent extern_learn
ip -6 route add fd00:8::/64 via 2001:db8:99::1 src 2001:db8:99::11
bridge fdb add 0a:48:9d:da:b5:40 dev vx4 dst 192.0.2.12 self permanent port 5000 vni 7 via eth0 router
bridge fdb add 0a:48:9d:da:b5:41 dev wire1 master static sticky
ip link add vxodd4 type vxlan id 11 dstport 4792 local 192.0.2.11 dev eth0 ttl 5 tos 0x4 df set ageing 9 maxaddress 6 srcport 1000 2000 proxy rsc l2miss l3miss noudpcsum remcsumtx remcsumrx gbp
ip link add vxodd6 type vxlan id 12 dstport 4793 local 2001:db8:99::11 remote 2001:db8:99::50 dev eth0 ttl inherit flowlabel 0x12345 udp6zerocsumtx udp6zerocsumrx
"#;

fn rich() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.run(RICH);
    sandbox
}

fn an_empty_namespace_is_read() {
    let state = assert_snapshot_is_theirs(&Sandbox::new());
    assert_eq!(state.links.keys().collect::<Vec<_>>(), ["lo"]);
    assert!(state.routes.is_empty());
}

fn a_rich_namespace_is_read() {
    let sandbox = rich();
    let state = assert_snapshot_is_theirs(&sandbox);
    // The oracle saw what was put there.
    assert_eq!(state.links.len(), 12, "{:?}", state.links.keys());
    within(&sandbox.netns(), || {
        let mut changer = Changer::open().unwrap();
        for (name, link) in &state.links {
            assert_eq!(
                changer.find_link(name).unwrap().as_ref(),
                Some(link),
                "{name} by itself"
            );
        }
        assert_eq!(changer.find_link("absent").unwrap(), None);
        assert!(changer.find_link("a name that is too long").is_err());
    })
    .unwrap();
    assert_eq!(
        state.routes.iter().filter(|route| route.next_hops.len() == 2).count(),
        2
    );
    let tables: Vec<u32> = state.routes.iter().map(|route| route.table).collect();
    for table in [77, 100, 254, 255, 5000] {
        assert!(tables.contains(&table), "table {table}");
    }
    assert_eq!(state.fdb.iter().filter(|entry| entry.device == "vx4").count(), 4);
    let LinkKind::Vxlan(odd) = &state.links["vxodd4"].kind else {
        panic!("{state:?}")
    };
    assert!(odd.unusual.len() >= 12, "{odd:?}");
    let LinkKind::Vxlan(usual) = &state.links["vx4"].kind else {
        panic!("{state:?}")
    };
    assert!(usual.unusual.is_empty(), "{usual:?}");
    assert_eq!(
        state
            .neighbours
            .iter()
            .filter(|neighbour| neighbour.protocol == 147)
            .count(),
        1
    );
}

fn a_thousand_of_each_are_read() {
    let sandbox = Sandbox::new();
    fill(&sandbox, 1000);
    let state = assert_snapshot_is_theirs(&sandbox);
    let counts = (state.routes.len(), state.neighbours.len(), state.fdb.len());
    assert!(counts.0 >= 2000 && counts.1 >= 2000 && counts.2 >= 1000, "{counts:?}");
}

/// What `count` peers leave on a node.
fn fill(sandbox: &Sandbox, count: u32) {
    let (mut batch, mut fdb) = (vec![], vec![]);
    for peer in 1..=count {
        let (high, low) = (peer / 256, peer % 256);
        let mac = format!("0a:00:00:00:{high:02x}:{low:02x}");
        for (prefix, length) in [(format!("10.{high}.{low}.0"), 24), (format!("fd00:{peer:x}::"), 64)] {
            batch.push(format!("neigh add {prefix} lladdr {mac} dev vx nud permanent"));
            batch.push(format!(
                "route add {prefix}/{length} via {prefix} dev vx onlink proto 147"
            ));
        }
        fdb.push(format!("fdb add {mac} dev vx dst 172.16.{high}.{low} self permanent"));
    }
    let (batch, fdb) = (batch.join("\n"), fdb.join("\n"));
    sandbox.run(&format!(
        "ip link add eth0 type veth peer name wire; ip addr add 192.0.2.1/16 dev eth0; ip link set wire up; ip link set eth0 up
         ip link add vx type vxlan id 1 dstport 8472 local 192.0.2.1 dev eth0 nolearning
         ip link set vx addrgenmode none; ip link set vx up
         ip -batch - <<'END'\n{batch}\nEND\nbridge -batch - <<'END'\n{fdb}\nEND\n"
    ));
}

fn what_changes_meanwhile_is_read_whole() {
    let sandbox = Sandbox::new();
    fill(&sandbox, 300);
    let lasting = |mut state: NetState| {
        state.addresses.clear();
        state.routes.retain(|route| route.protocol == 147);
        state
            .neighbours
            .retain(|neighbour| neighbour.is_permanent && neighbour.protocol == 0);
        state.fdb.retain(|entry| {
            entry.device == "vx" && entry.destination.is_some_and(|to| to.to_string().starts_with("172."))
        });
        state
    };
    let wanted = lasting(assert_snapshot_is_theirs(&sandbox));
    let churn = sandbox.spawn(
        "while :; do for n in 1 2 3 4 5 6 7 8 9; do
            echo \"route add 10.0.$n.128/25 dev eth0\"; echo \"-6 route add fd00:$n::/96 dev eth0\"
            echo \"neigh replace 10.0.$n.200 lladdr 0a:00:00:00:00:01 dev eth0 protocol 9\"
            echo \"-6 route del fd00:$n::/96 dev eth0\"; echo \"route del 10.0.$n.128/25 dev eth0\"; echo \"neigh del 10.0.$n.200 dev eth0\"
        done; done | ip -batch - 2>&1",
    );
    let mut steady = 0;
    for _ in 0..30 {
        let Ok(state) = within(&sandbox.netns(), snapshot).unwrap() else {
            // The kernel said that the table changed, each time anew: that is told, not passed over.
            continue;
        };
        assert_same(&lasting(state), &wanted);
        steady += 1;
    }
    drop(churn);
    assert!(steady > 0, "no snapshot came about");
}

fn one_table_is_read_again() {
    let sandbox = rich();
    let mut state = assert_snapshot_is_theirs(&sandbox);
    let old = state.clone();
    sandbox.run("ip link add later type bridge; ip link set later up; ip route add 10.9.0.0/16 dev later; ip neigh flush dev eth0 nud permanent");
    within(&sandbox.netns(), || refresh(&mut state, &[Table::Routes]))
        .unwrap()
        .unwrap();
    let now = theirs(&sandbox);
    assert!(state.links.contains_key("later"));
    assert!(
        state
            .routes
            .iter()
            .any(|route| route.device.as_deref() == Some("later"))
    );
    assert_eq!(
        (&state.neighbours, &state.fdb),
        (&old.neighbours, &old.fdb),
        "not asked for"
    );
    assert_ne!(state.neighbours, now.neighbours);
    within(&sandbox.netns(), || refresh(&mut state, &[Table::Neighbours]))
        .unwrap()
        .unwrap();
    let permanent = |state: &NetState| state.neighbours.iter().filter(|found| found.is_permanent).count();
    assert_eq!(permanent(&state), 0);
}

fn a_tunnel_from_elsewhere_names_no_device() {
    let (here, there) = (Sandbox::new(), Sandbox::new());
    here.run(&format!(
        "ip link add eth0 type veth peer name wire; ip link add vx type vxlan id 1 dstport 8472 dev eth0; ip link set vx netns {}",
        there.pid()
    ));
    // The number of the device below is one of another namespace; here it would be a stranger's.
    there.run("ip link add eth1 type veth peer name eth2");
    let state = within(&there.netns(), snapshot).unwrap().unwrap();
    let LinkKind::Vxlan(vxlan) = &state.links["vx"].kind else {
        panic!("{state:?}")
    };
    assert!(
        vxlan.device.as_ref().is_some_and(|device| device.starts_with('#')),
        "{vxlan:?}"
    );
}

fn parameters_are_read() {
    let sandbox = Sandbox::new();
    sandbox.run("ip link add eth0.1 type bridge; sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.eth0/1.rp_filter=2");
    let keys = [
        "net.ipv4.ip_forward",
        "net.ipv4.conf.eth0/1.rp_filter",
        "net.ipv4.conf.absent.rp_filter",
        "net.ipv4.ip_local_port_range",
    ];
    let read = within(&sandbox.netns(), || sysctl::read_all(keys)).unwrap().unwrap();
    let range = sandbox.run("cat /proc/sys/net/ipv4/ip_local_port_range");
    assert_eq!(
        read.iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect::<Vec<_>>(),
        [(keys[1], "2"), (keys[0], "1"), (keys[3], range.trim_end())]
    );
}
