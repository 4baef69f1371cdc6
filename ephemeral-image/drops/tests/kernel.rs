//! Packets that are dropped in known ways, against what was counted: exactly that reason in exactly that namespace. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]

#[path = "../../node-state/tests/sandbox/mod.rs"]
mod sandbox;

use libtest_mimic::{Arguments, Trial};
use netcheck_drops::{Counting, Reasons};
use netcheck_node_state::{interface_names, observation::Drops, within};
use sandbox::{Sandbox, trial, wait_for};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

/// A fault and a packet that meets it.
struct Case {
    name: &'static str,
    /// Where the packet dies.
    place: Place,
    /// The device that it is on then; `None` if it is on none.
    device: Option<&'static str>,
    /// What is done there before.
    fault: &'static str,
    /// Run by the client.
    packet: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Client,
    Router,
    Server,
}

/// To the server's port without a socket, which answers with an ICMP error.
const TO_SERVER: &str = "echo x >/dev/udp/198.51.100.2/9";

const CASES: [Case; 7] = [
    Case {
        name: "no_route",
        place: Place::Router,
        device: Some("to-client"),
        fault: "true",
        packet: "echo x >/dev/udp/203.0.113.1/9",
        reason: "IP_INNOROUTES",
    },
    Case {
        name: "forwarding_off",
        place: Place::Router,
        device: Some("to-client"),
        fault: "echo 0 >/proc/sys/net/ipv4/ip_forward",
        packet: TO_SERVER,
        reason: "IP_INADDRERRORS",
    },
    Case {
        name: "another_way_back",
        place: Place::Router,
        device: Some("to-client"),
        fault: "echo 1 >/proc/sys/net/ipv4/conf/to-client/rp_filter; ip route add 192.0.2.77 dev to-server",
        packet: "ip addr add 192.0.2.77/32 dev eth0; ip route add 198.51.100.2 via 192.0.2.1 src 192.0.2.77; echo x >/dev/udp/198.51.100.2/9",
        reason: "IP_RPFILTER",
    },
    Case {
        name: "a_firewall",
        place: Place::Router,
        // It goes to another one later.
        device: Some("to-client"),
        fault: "nft 'add table ip t; add chain ip t c { type filter hook forward priority 0; }; add rule ip t c udp dport 9 drop'",
        packet: TO_SERVER,
        reason: "NETFILTER_DROP",
    },
    Case {
        name: "no_forwarding_entry",
        place: Place::Client,
        device: Some("vx0"),
        fault: "ip link add vx0 type vxlan id 42 local 192.0.2.2 dstport 8472 nolearning
            ip link set vx0 addrgenmode none; ip link set vx0 up; ip addr add 10.9.0.1/24 dev vx0
            ip neigh add 10.9.0.2 lladdr 0a:00:00:00:00:02 dev vx0 nud permanent",
        packet: "echo x >/dev/udp/10.9.0.2/9",
        reason: "NO_TX_TARGET",
    },
    Case {
        name: "no_socket",
        place: Place::Server,
        device: Some("eth0"),
        fault: "true",
        packet: TO_SERVER,
        reason: "NO_SOCKET",
    },
    Case {
        name: "a_firewall_at_the_source",
        place: Place::Client,
        device: None,
        fault: "nft 'add table ip t; add chain ip t c { type filter hook output priority 0; }; add rule ip t c udp dport 9 drop'",
        packet: "echo x >/dev/udp/198.51.100.2/9 || true",
        reason: "NETFILTER_DROP",
    },
];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = CASES.iter().map(trial_of).collect();
    trials.extend([
        trial("reasons_are_those_of_bpftool", reasons_are_those_of_bpftool),
        trial("nothing_stays_behind", nothing_stays_behind),
        trial("without_the_right_it_says_so", without_the_right_it_says_so),
    ]);
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial_of(case: &'static Case) -> Trial {
    netcheck_trials::trial(case.name, &[netcheck_trials::Need::Root], move || is_counted(case))
}

/// Client, router and server in a row, without IPv6, whose own packets would come between.
struct Lab(BTreeMap<Place, Sandbox>);

impl Lab {
    fn new() -> Self {
        let lab = Self(
            [Place::Client, Place::Router, Place::Server]
                .map(|place| (place, Sandbox::new()))
                .into(),
        );
        for sandbox in lab.0.values() {
            sandbox.run("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; ip link set lo up");
        }
        let router = lab.0[&Place::Router].pid();
        for (place, own, other, back) in [
            (Place::Client, "192.0.2.2/24", "192.0.2.1", "to-client"),
            (Place::Server, "198.51.100.2/24", "198.51.100.1", "to-server"),
        ] {
            lab.0[&place].run(&format!(
                "ip link add eth0 type veth peer name {back} netns {router}
                 ip addr add {own} dev eth0; ip link set eth0 up"
            ));
            lab.0[&Place::Router].run(&format!("ip addr add {other}/24 dev {back}; ip link set {back} up"));
            lab.0[&place].run(&format!("ip route add default via {other}"));
        }
        lab.0[&Place::Router].run("echo 1 >/proc/sys/net/ipv4/ip_forward");
        // Neighbours are known from then on.
        lab.0[&Place::Client].run("ping -c 1 -W 5 -q 198.51.100.2 >/dev/null");
        lab
    }

    /// What was dropped in the lab's namespaces: place, device, reason, packets.
    fn dropped(&self, drops: &Drops) -> Vec<(Place, Option<String>, String, u64)> {
        let mut found = Vec::new();
        for (place, sandbox) in &self.0 {
            let netns = sandbox.netns();
            let names: BTreeMap<u32, String> = within(&netns, interface_names).unwrap().unwrap().into_iter().collect();
            for one in drops.counts.iter().filter(|one| one.inode == netns.inode()) {
                found.push((*place, names.get(&one.device).cloned(), one.reason.clone(), one.packets));
            }
        }
        found
    }
}

fn is_counted(case: &Case) {
    let lab = Lab::new();
    lab.0[&case.place].run(case.fault);
    let counting = Counting::start().unwrap();
    lab.0[&Place::Client].run(&format!("bash -c '{}'", case.packet));
    let expected = vec![(case.place, case.device.map(str::to_owned), case.reason.to_owned(), 1)];
    let mut seen = Vec::new();
    // It is counted when the packet dies, on whichever processor carries it.
    wait_for("a dropped packet", || {
        seen = lab.dropped(&counting.read().unwrap());
        !seen.is_empty()
    });
    assert_eq!(seen, expected);
    assert_eq!(counting.read().unwrap().uncounted, 0);
}

fn reasons_are_those_of_bpftool() {
    let dump = Command::new("bpftool")
        .args(["btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"])
        .output()
        .unwrap();
    let dump = String::from_utf8(dump.stdout).unwrap();
    let theirs = dump.split_once("enum skb_drop_reason {").unwrap().1;
    let theirs: Vec<(u32, &str)> = theirs
        .lines()
        .take_while(|line| *line != "};")
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(" = "))
        .map(|(name, number)| (number.parse().unwrap(), name))
        .filter(|(_, name)| !["SKB_DROP_REASON_MAX", "SKB_DROP_REASON_SUBSYS_MASK"].contains(name))
        .collect();
    assert!(theirs.len() > 50, "the oracle sees too little: {theirs:?}");
    let ours = Reasons::read(&fs::read("/sys/kernel/btf/vmlinux").unwrap()).unwrap();
    assert!(ours.are_given());
    for (number, name) in theirs {
        let short = name.trim_start_matches("SKB_").trim_start_matches("DROP_REASON_");
        assert_eq!(ours.name(number), short);
    }
}

/// Numbers of programs like ours that are in the kernel.
fn programs() -> BTreeSet<String> {
    let listed = Command::new("bpftool").args(["prog", "list"]).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let lines = text
        .lines()
        .filter_map(|line| line.split_once(": tracing  name count "));
    lines.map(|(id, _)| id.to_owned()).collect()
}

fn nothing_stays_behind() {
    let counting = Counting::start().unwrap();
    let there = programs();
    assert!(!there.is_empty(), "the oracle does not see it");
    drop(counting);
    // Those of other tests go as well.
    wait_for("none of the programs", || programs().is_disjoint(&there));
}

fn without_the_right_it_says_so() {
    let words = [
        "--bounding-set=-sys_admin,-bpf,-perfmon",
        "--inh-caps=-sys_admin,-bpf,-perfmon",
    ];
    let program = std::env::current_exe().unwrap();
    if std::env::var_os("WITHOUT_THE_RIGHT").is_some() {
        let error = Counting::start().err().unwrap().to_string();
        assert!(error.contains("not permitted") && !error.contains('\n'), "{error}");
        return;
    }
    let run = Command::new("setpriv")
        .args(words)
        .arg(program)
        .args(["without_the_right_it_says_so", "--exact"])
        .env("WITHOUT_THE_RIGHT", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}
