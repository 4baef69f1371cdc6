//! What the library reads, against what `ip` and `ss` say and against namespaces made here. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]

mod sandbox;

use libtest_mimic::Arguments;
use netcheck_node_state::{
    FoundBy, Listener, Netns, Wanted, addresses, find, interface_names, listeners, resolver, within,
};
use sandbox::{Sandbox, trial, wait_for};
use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener},
    os::unix::fs::{MetadataExt, symlink},
    path::PathBuf,
    process::Command,
};

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("addresses_are_those_of_ip", addresses_are_those_of_ip),
        trial("listeners_are_those_of_ss", listeners_are_those_of_ss),
        trial(
            "a_thread_leaves_its_namespace_alone",
            a_thread_leaves_its_namespace_alone,
        ),
        trial("a_pod_is_found_by_its_cgroup", a_pod_is_found_by_its_cgroup),
        trial("a_pod_is_found_by_its_address", a_pod_is_found_by_its_address),
        trial("an_unknown_pod_is_not_found", an_unknown_pod_is_not_found),
        trial("links_in_a_root_stay_in_it", links_in_a_root_stay_in_it),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn addresses_are_those_of_ip() {
    let sandbox = Sandbox::new();
    sandbox.run(
        "ip link set lo up
         ip link add veth-a type veth peer name veth-b
         ip addr add 192.0.2.1/24 dev veth-a
         ip addr add 192.0.2.9/32 peer 192.0.2.10 dev veth-a
         ip -6 addr add 2001:db8::1/64 dev veth-b nodad
         ip -6 addr add fe80::9/64 dev veth-a nodad
         # The kernel's own would come between the two readings.
         ip link set veth-a addrgenmode none; ip link set veth-b addrgenmode none
         ip link set veth-a up; ip link set veth-b up",
    );
    let ours: BTreeSet<_> = within(&sandbox.netns(), addresses)
        .unwrap()
        .unwrap()
        .into_iter()
        .map(|address| (address.interface, address.ip))
        .collect();
    let links: serde_json::Value = serde_json::from_str(&sandbox.run("ip -j addr")).unwrap();
    let mut theirs = BTreeSet::new();
    let mut names = BTreeSet::new();
    for link in links.as_array().unwrap() {
        let name = link["ifname"].as_str().unwrap();
        names.insert((
            u32::try_from(link["ifindex"].as_u64().unwrap()).unwrap(),
            name.to_owned(),
        ));
        for address in link["addr_info"].as_array().unwrap() {
            theirs.insert((
                name.to_owned(),
                address["local"].as_str().unwrap().parse::<IpAddr>().unwrap(),
            ));
        }
    }
    assert!(theirs.len() >= 6, "the oracle sees too little: {theirs:?}");
    assert_eq!(ours, theirs);
    let our_names: BTreeSet<_> = within(&sandbox.netns(), interface_names)
        .unwrap()
        .unwrap()
        .into_iter()
        .collect();
    assert_eq!(our_names, names);
}

fn listeners_are_those_of_ss() {
    let sandbox = Sandbox::new();
    sandbox.run("ip link set lo up");
    let netns = sandbox.netns();
    let bind = |address: &str| {
        let address: SocketAddr = address.parse().unwrap();
        within(&netns, || TcpListener::bind(address)).unwrap().unwrap()
    };
    let sockets = [
        bind("127.0.0.1:8080"),
        bind("0.0.0.0:9090"),
        bind("[::1]:8080"),
        bind("[::]:7070"),
    ];
    let v6_only = within(&netns, || {
        let socket = rustix::net::socket(rustix::net::AddressFamily::INET6, rustix::net::SocketType::STREAM, None)?;
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
        rustix::net::bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, 6060)))?;
        rustix::net::listen(&socket, 1)?;
        rustix::io::Result::Ok(socket)
    });
    let ours = within(&netns, listeners).unwrap().unwrap();
    let theirs: BTreeSet<Listener> = sandbox.run("ss -H -tln").lines().map(listener_of_ss).collect();
    assert_eq!(theirs.len(), 5, "the oracle sees too little: {theirs:?}");
    assert_eq!(ours, theirs);
    drop((sockets, v6_only));
}

/// One line of `ss -H -tln`. It spells a wildcard that takes both families as `*`; a socket bound to one IPv6 address takes no IPv4.
fn listener_of_ss(line: &str) -> Listener {
    let (ip, port) = line.split_whitespace().nth(3).unwrap().rsplit_once(':').unwrap();
    let (ip, v6_only) = match ip {
        "*" => ("::", false),
        "[::]" => ("::", true),
        other => (other.trim_matches(['[', ']']), other.starts_with('[')),
    };
    Listener {
        ip: ip.parse().unwrap(),
        port: port.parse().unwrap(),
        v6_only,
    }
}

fn a_thread_leaves_its_namespace_alone() {
    let sandbox = Sandbox::new();
    let here = || fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
    let before = here();
    let inside = within(&sandbox.netns(), here).unwrap();
    assert_eq!((inside, here()), (sandbox.netns().inode(), before));
    assert_ne!(inside, before);
    assert_eq!(within(&Netns::own().unwrap(), here).unwrap(), before);
}

/// A cgroup folder named as the kubelet names a pod's, in whichever hierarchy this machine has.
struct PodCgroup(PathBuf);

impl PodCgroup {
    fn new(name: &str) -> Self {
        let root = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup"]
            .into_iter()
            .find(|path| fs::metadata(format!("{path}/cgroup.procs")).is_ok());
        let parent = format!(
            "{}/netcheck-test-{}-{}",
            root.expect("no cgroup hierarchy is mounted"),
            std::process::id(),
            name.len()
        );
        let path = PathBuf::from(parent).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn add(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for PodCgroup {
    fn drop(&mut self) {
        wait_for("the cgroup to be empty", || {
            fs::read_to_string(self.0.join("cgroup.procs")).unwrap().is_empty()
        });
        fs::remove_dir(&self.0).unwrap();
        fs::remove_dir(self.0.parent().unwrap()).unwrap();
    }
}

fn a_pod_is_found_by_its_cgroup() {
    let uid = format!("{:08x}-b29f-11e7-9350-020968147796", std::process::id());
    let other = format!("{:08x}-b29f-11e7-9350-020968147797", std::process::id());
    let cgroup = PodCgroup::new(&format!("pod{uid}"));
    let host_cgroup = PodCgroup::new(&format!("kubepods-burstable-pod{}.slice", other.replace('-', "_")));
    // Three processes of one pod: one in the host's namespace, one in the pod's, one in a namespace that the pod made itself.
    let in_host = Command::new("sleep").arg("600").spawn().unwrap();
    let nested = Sandbox::new();
    let pod = Sandbox::new();
    pod.run("ip link set lo up; ip addr add 192.0.2.77/32 dev lo");
    for pid in [in_host.id(), nested.pid(), pod.pid()] {
        cgroup.add(pid);
    }
    let lone = Command::new("sleep").arg("600").spawn().unwrap();
    host_cgroup.add(lone.id());

    let wanted = [
        Wanted {
            uid,
            ips: vec!["192.0.2.77".parse().unwrap()],
        },
        Wanted {
            uid: other,
            ips: vec![],
        },
    ];
    let outcomes = find(&wanted);
    for mut child in [in_host, lone] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let [Ok(found), Ok(on_host)] = outcomes.as_slice() else {
        panic!("{outcomes:?}")
    };
    assert_eq!(found.netns.inode(), pod.netns().inode());
    assert!(
        matches!(&found.by, FoundBy::Cgroup { pids } if pids.first() == Some(&pod.pid()) && pids.len() == 3),
        "{found:?}"
    );
    assert_eq!(on_host.netns.inode(), Netns::own().unwrap().inode());
    drop((nested, pod, cgroup, host_cgroup));
}

fn a_pod_is_found_by_its_address() {
    let name = format!("netcheck-test-{}", std::process::id());
    let ip = |arguments: &[&str]| {
        assert!(
            Command::new("ip").args(arguments).status().unwrap().success(),
            "ip {arguments:?}"
        );
    };
    ip(&["netns", "add", &name]);
    ip(&["-n", &name, "addr", "add", "2001:db8:77::1/128", "dev", "lo"]);
    let outcome = find(&[Wanted {
        uid: "no-such".to_owned(),
        ips: vec!["2001:db8:77::1".parse().unwrap()],
    }])
    .remove(0);
    let inode = fs::metadata(format!("/run/netns/{name}")).unwrap().ino();
    ip(&["netns", "delete", &name]);
    let found = outcome.unwrap();
    assert_eq!((found.netns.inode(), found.by), (inode, FoundBy::Address));
}

fn an_unknown_pod_is_not_found() {
    let wanted = Wanted {
        uid: "00000000-0000-0000-0000-000000000000".to_owned(),
        ips: vec!["192.0.2.250".parse().unwrap()],
    };
    let outcome = find(&[wanted]).remove(0);
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "no process of the pod was found on this node, and none of its addresses in a named network namespace"
    );
}

fn links_in_a_root_stay_in_it() {
    let root = std::env::temp_dir().join(format!("netcheck-root-{}", std::process::id()));
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::create_dir_all(root.join("run")).unwrap();
    symlink("/run/resolv.conf", root.join("etc/resolv.conf")).unwrap();
    let absent = resolver::read(&root).unwrap_err();
    fs::write(root.join("run/resolv.conf"), "nameserver 192.0.2.53\n").unwrap();
    let inside = resolver::read(&root).unwrap();
    fs::remove_file(root.join("etc/resolv.conf")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(root.join("etc/resolv.conf"))
            .status()
            .unwrap()
            .success()
    );
    let fifo = resolver::read(&root).unwrap_err();
    fs::remove_dir_all(&root).unwrap();
    assert_eq!(absent.kind(), std::io::ErrorKind::NotFound);
    assert_eq!(inside.nameservers, ["192.0.2.53".parse::<IpAddr>().unwrap()]);
    assert_eq!(fifo.to_string(), "resolv.conf is not a file");
}
