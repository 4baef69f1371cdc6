//! ADD, and what a pod has after it.

use crate::{
    sandbox::{Sandbox, trial},
    world::{World, entry, ip},
};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::MetadataExt, panic::catch_unwind, path::Path, process::Command};

pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_pod_has_what_the_specification_says",
            a_pod_has_what_the_specification_says,
        ),
        trial("a_pod_of_one_family_has_only_that", a_pod_of_one_family_has_only_that),
        trial(
            "pods_reach_each_other_and_their_node",
            pods_reach_each_other_and_their_node,
        ),
        trial("a_pods_first_packets_arrive", a_pods_first_packets_arrive),
        trial(
            "hardened_defaults_do_not_cut_a_pod_off",
            hardened_defaults_do_not_cut_a_pod_off,
        ),
        trial(
            "an_address_that_only_the_kernel_knows_is_passed_over",
            an_address_that_only_the_kernel_knows_is_passed_over,
        ),
    ]
}

const POD_ARGS: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=0000aaaa-0000";

/// The values of SPEC.md 5.3, 5.4 and 7.3, by hand.
fn a_pod_has_what_the_specification_says() {
    let world = World::new();
    let pod = Sandbox::new();
    let result = world
        .call("ADD")
        .pod(&pod)
        .set("CNI_ARGS", POD_ARGS)
        .end()
        .done()
        .json();

    let host = "nc53ffe5c7906";
    let link = world.ip(&format!("link show {host}")).remove(0);
    assert_eq!(
        json!({
            "address": "0e:6e:63:00:00:01", "mtu": 1500, "ifalias": "netcheck-cni netcheck@a1b2c3d4@eth0 default/web",
            "inet6_addr_gen_mode": "none", "operstate": "UP"
        }),
        json!({
            "address": link["address"], "mtu": link["mtu"], "ifalias": link["ifalias"], "inet6_addr_gen_mode": link["inet6_addr_gen_mode"],
            "operstate": link["operstate"]
        })
    );
    assert_eq!(link["linkinfo"]["info_kind"], "veth");
    assert_eq!(world.ip(&format!("addr show {host}"))[0]["addr_info"], json!([]));
    let routes = world.ip("-4 route show table main");
    entry(
        &routes,
        &json!({"dst": "10.244.1.2", "dev": host, "protocol": "147", "scope": "link"}),
    );
    let routes = world.ip("-6 route show table main");
    entry(
        &routes,
        &json!({"dst": "fd00:10:244:1::2", "dev": host, "protocol": "147", "metric": 1024}),
    );
    let neighbours = world.ip(&format!("neigh show dev {host} nud permanent"));
    for address in ["10.244.1.2", "fd00:10:244:1::2"] {
        let wanted = json!({"dst": address, "lladdr": "0a:58:0a:f4:01:02", "state": ["PERMANENT"], "protocol": "147"});
        entry(&neighbours, &wanted);
    }
    assert_eq!(neighbours.len(), 2);

    let link = ip(&pod, "link show eth0").remove(0);
    assert_eq!(
        (&link["address"], &link["mtu"]),
        (&json!("0a:58:0a:f4:01:02"), &json!(1500))
    );
    // Up, with the queue that sends: what a pod sends first is not lost.
    assert_eq!((&link["operstate"], &link["qdisc"]), (&json!("UP"), &json!("noqueue")));
    let addresses = ip(&pod, "addr show eth0").remove(0)["addr_info"]
        .as_array()
        .unwrap()
        .clone();
    entry(
        &addresses,
        &json!({"local": "10.244.1.2", "prefixlen": 32, "scope": "global"}),
    );
    let v6 = entry(
        &addresses,
        &json!({"local": "fd00:10:244:1::2", "prefixlen": 128, "scope": "global"}),
    );
    // Usable at once: no address is looked for twice.
    assert_eq!((v6.get("tentative"), &v6["nodad"]), (None, &json!(true)));
    let routes = ip(&pod, "-4 route");
    assert_eq!(routes.len(), 2);
    entry(&routes, &json!({"dst": "169.254.1.1", "dev": "eth0", "scope": "link"}));
    let default = json!({"dst": "default", "gateway": "169.254.1.1", "dev": "eth0", "metrics": [{"mtu": 1450}]});
    entry(&routes, &default);
    let default =
        json!({"dst": "default", "gateway": "fe80::1", "dev": "eth0", "metric": 1024, "metrics": [{"mtu": 1450}]});
    entry(&ip(&pod, "-6 route"), &default);
    let neighbours = ip(&pod, "neigh show nud permanent");
    for gateway in ["169.254.1.1", "fe80::1"] {
        entry(
            &neighbours,
            &json!({"dst": gateway, "dev": "eth0", "lladdr": "0e:6e:63:00:00:01"}),
        );
    }

    assert_eq!(result["ips"][0]["address"], "10.244.1.2/32");
    assert_eq!(result["interfaces"][1]["sandbox"], pod.path().display().to_string());
    let mut file = world.attachment("netcheck@a1b2c3d4@eth0");
    let created = file["created"].take();
    assert!(
        created.as_str().unwrap().ends_with('Z') && created.as_str().unwrap().len() == 20,
        "{created}"
    );
    let netns = fs::metadata(pod.path()).unwrap();
    assert_eq!(
        file,
        json!({
            "schema": 1, "state": "done", "network": "netcheck", "containerID": "a1b2c3d4", "ifName": "eth0",
            "netns": pod.path(), "netnsDev": netns.dev(), "netnsIno": netns.ino(), "ips": ["10.244.1.2", "fd00:10:244:1::2"],
            "mac": "0a:58:0a:f4:01:02", "hostVeth": host, "linkMtu": 1500, "routeMtu": 1450, "ipam": "netcheck-cni",
            "pod": {"namespace": "default", "name": "web", "uid": "0000aaaa-0000"}, "created": null
        })
    );
    let target = fs::read_link(world.state().join("ipam/ip/fd00:10:244:1::2")).unwrap();
    assert_eq!(target, Path::new("netcheck@a1b2c3d4@eth0"));
    world.del("a1b2c3d4");
    assert_eq!(ip(&pod, "link").len(), 1);
    world.assert_empty("DEL");
}

fn a_pod_of_one_family_has_only_that() {
    for (range, address, mac, default) in [
        ("10.244.1.0/24", "10.244.1.2/32", "0a:58:0a:f4:01:02", "0.0.0.0/0"),
        (
            "fd00:10:244:1::/64",
            "fd00:10:244:1::2/128",
            "0a:58:1e:02:46:41",
            "::/0",
        ),
    ] {
        let world = World::with_ranges(&[range]);
        let pod = Sandbox::new();
        let result = world.add("a1b2c3d4", &pod);
        assert_eq!(result["ips"].as_array().unwrap().len(), 1);
        assert_eq!(result["ips"][0]["address"], address);
        assert_eq!(result["interfaces"][1]["mac"], mac);
        assert!(
            result["routes"]
                .as_array()
                .unwrap()
                .iter()
                .any(|route| route["dst"] == default)
        );
        assert_eq!(world.links().len(), 1);
        let other = if address.contains(':') { "-4" } else { "-6" };
        assert_eq!(ip(&pod, &format!("{other} route show default")), Vec::<Value>::new());
        world.del("a1b2c3d4");
        world.assert_empty(range);
    }
}

fn pods_reach_each_other_and_their_node() {
    let world = World::new();
    let (one, other) = (Sandbox::new(), Sandbox::new());
    world.add("one", &one);
    world.add("other", &other);
    let reach = |from: &Sandbox, to: &str| {
        // A single packet each: with PERMANENT neighbours none is lost to asking who has the address.
        from.run(&format!("ping -q -c 1 -W 5 {to} >/dev/null"));
    };
    for node in ["192.0.2.11", "2001:db8:99::11"] {
        reach(&one, node);
    }
    for (from, to) in [
        (&one, "10.244.1.3"),
        (&one, "fd00:10:244:1::3"),
        (&other, "10.244.1.2"),
        (&other, "fd00:10:244:1::2"),
    ] {
        reach(from, to);
    }
    for to in ["10.244.1.2", "fd00:10:244:1::3"] {
        reach(&world.node, to);
    }
    // The route's MTU is what the pod sends by, not the device's.
    let too_long = "ping -q -c 1 -W 1 -M do -s 1430 10.244.1.3";
    one.run(&format!(
        "! {too_long} 2>&1 | grep -v 'mtu=1450\\|mtu = 1450' | grep -q '1 received'"
    ));
    one.run("ping -q -c 1 -W 5 -M do -s 1422 10.244.1.3 >/dev/null");
    world.del("one");
    world.del("other");
    world.assert_empty("DEL of both");
}

/// The kernel's worker threads finish a link and an IPv6 address some time after both are made; a program that starts at once must not lose
/// what it sends. (Of 150 pods, 7 lost their first IPv6 packet before ADD waited.)
fn a_pods_first_packets_arrive() {
    let world = World::new();
    let noise = Sandbox::new();
    let mut busy = Command::new("nsenter")
        .arg(format!("--net={}", noise.path().display()))
        .args(["sh", "-c", "while ip link add va type veth peer name vb; do ip link set va up; ip link set vb up; ip link del va; done"])
        .spawn()
        .unwrap();
    let rounds = catch_unwind(|| {
        for _ in 0..20 {
            let pod = Sandbox::new();
            world.add("a1b2c3d4", &pod);
            pod.run("ping -q -c 1 -W 1 2001:db8:99::11 >/dev/null");
            world.del("a1b2c3d4");
            world.add("a1b2c3d4", &pod);
            pod.run("ping -q -c 1 -W 1 192.0.2.11 >/dev/null");
            world.del("a1b2c3d4");
        }
    });
    busy.kill().unwrap();
    busy.wait().unwrap();
    assert!(rounds.is_ok(), "see above");
    world.assert_empty("DEL of all");
}

fn hardened_defaults_do_not_cut_a_pod_off() {
    let world = World::new();
    world
        .node
        .run("sysctl -qw net.ipv4.conf.default.forwarding=0 net.ipv6.conf.default.forwarding=0");
    let (one, other) = (Sandbox::new(), Sandbox::new());
    one.run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.all.disable_ipv6=1");
    world.add("one", &one);
    world.add("other", &other);
    other.run("ping -q -c 1 -W 5 10.244.1.2 >/dev/null; ping -q -c 1 -W 5 fd00:10:244:1::2 >/dev/null");
}

/// The folder was lost while the pods lived on.
fn an_address_that_only_the_kernel_knows_is_passed_over() {
    let world = World::new();
    let pods: Vec<_> = (0..3).map(|_| Sandbox::new()).collect();
    for (number, pod) in pods.iter().enumerate() {
        world.add(&format!("c{number}"), pod);
    }
    fs::remove_dir_all(world.state().join("ipam")).unwrap();
    fs::remove_dir_all(world.state().join("att")).unwrap();
    let pod = Sandbox::new();
    let result = world.add("later", &pod);
    assert_eq!(result["ips"][0]["address"], "10.244.1.5/32");
    assert_eq!(result["ips"][1]["address"], "fd00:10:244:1::5/128");
    assert_eq!(world.links().len(), 2);
    // One's own veth is no obstacle, where the pod that it led to is gone.
    let anew = Sandbox::new();
    world.add("c1", &anew);
    for id in ["c0", "c1", "c2", "later"] {
        world.del(id);
    }
    world.assert_empty("DEL of all");
}
