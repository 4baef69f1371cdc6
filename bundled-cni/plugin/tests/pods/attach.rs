//! ADD, and what a pod has after it.

use crate::{
    sandbox::{Sandbox, trial},
    world::{PLUGIN, VERSIONS, World, ip, veth},
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
            "results_have_the_shape_of_their_version",
            results_have_the_shape_of_their_version,
        ),
        trial("what_a_runtime_asks_for_is_given", what_a_runtime_asks_for_is_given),
        trial(
            "hardened_defaults_do_not_cut_a_pod_off",
            hardened_defaults_do_not_cut_a_pod_off,
        ),
        trial(
            "an_address_that_only_the_kernel_knows_is_passed_over",
            an_address_that_only_the_kernel_knows_is_passed_over,
        ),
        trial(
            "another_plugin_can_give_out_the_addresses",
            another_plugin_can_give_out_the_addresses,
        ),
        trial("loopback_is_one_of_our_roles", loopback_is_one_of_our_roles),
        trial("versions_are_told", versions_are_told),
    ]
}

const POD_ARGS: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=0000aaaa-0000";

/// The entry of a list that has these values.
fn entry<'a>(list: &'a [Value], values: &Value) -> &'a Value {
    let has = |one: &&Value| {
        values
            .as_object()
            .unwrap()
            .iter()
            .all(|(key, value)| one.get(key) == Some(value))
    };
    list.iter()
        .find(has)
        .unwrap_or_else(|| panic!("{values} is not in {list:#?}"))
}

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

fn results_have_the_shape_of_their_version() {
    for version in VERSIONS {
        let world = World::new();
        let pod = Sandbox::new();
        let mut config = world.config(version);
        config["dns"] = json!({"nameservers": ["10.96.0.10"], "search": ["cluster.local"]});
        config["prevResult"] = json!({
            "cniVersion": version, "interfaces": [{"name": "before", "mac": "02:00:00:00:00:01", "kept": [1]}],
            "ips": [{"version": "4", "address": "198.51.100.1/24", "interface": 0}], "routes": [{"dst": "198.51.100.0/24"}]
        });
        let result = world.call("ADD").pod(&pod).config(&config).end().done().json();
        assert_eq!(result["cniVersion"], version);
        assert_eq!(result["dns"], config["dns"]);
        let interfaces = result["interfaces"].as_array().unwrap();
        assert_eq!(interfaces[0], config["prevResult"]["interfaces"][0]);
        assert_eq!(interfaces.len(), 3);
        let is_newest = version == "1.1.0";
        assert_eq!(interfaces[2].get("mtu"), is_newest.then_some(&json!(1500)));
        assert_eq!(interfaces[2]["name"], "eth0");
        let ips = result["ips"].as_array().unwrap();
        assert_eq!(
            (&ips[0]["interface"], &ips[1]["interface"], &ips[2]["interface"]),
            (&json!(0), &json!(2), &json!(2))
        );
        let is_old = version.starts_with("0.");
        assert_eq!(ips[2].get("version"), is_old.then_some(&json!("6")));
        let routes = result["routes"].as_array().unwrap();
        assert_eq!(routes[0], json!({"dst": "198.51.100.0/24"}));
        assert_eq!(routes[1].get("scope"), is_newest.then_some(&json!(253)));
        assert_eq!(routes[2].get("mtu"), is_newest.then_some(&json!(1450)));
        world.call("DEL").config(&config).end().done();
        world.assert_empty(version);
    }
}

fn what_a_runtime_asks_for_is_given() {
    let world = World::new();
    let pod = Sandbox::new();
    let mut config = world.config("1.1.0");
    config["mtu"] = json!(1400);
    config["runtimeConfig"] = json!({"ips": ["10.244.1.77/24", "fd00:10:244:1::77"], "mac": "02:11:22:33:44:55"});
    let result = world.call("ADD").pod(&pod).config(&config).end().done().json();
    assert_eq!(result["ips"][0]["address"], "10.244.1.77/32");
    assert_eq!(result["ips"][1]["address"], "fd00:10:244:1::77/128");
    let link = ip(&pod, "link show eth0").remove(0);
    assert_eq!(
        (&link["address"], &link["mtu"]),
        (&json!("02:11:22:33:44:55"), &json!(1400))
    );
    assert_eq!(ip(&pod, "-4 route show default")[0]["metrics"], json!([{"mtu": 1400}]));
    let neighbours = world.ip(&format!("neigh show dev {}", veth("a1b2c3d4")));
    entry(
        &neighbours,
        &json!({"dst": "10.244.1.77", "lladdr": "02:11:22:33:44:55"}),
    );
    // The next pod gets the one after.
    let next = Sandbox::new();
    assert_eq!(world.add("next", &next)["ips"][0]["address"], "10.244.1.78/32");
    world.del("next");
    world.del("a1b2c3d4");
    world.assert_empty("DEL");
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

fn another_plugin_can_give_out_the_addresses() {
    let world = World::new();
    let pod = Sandbox::new();
    let config = world.delegating();
    let mut result = world.call("ADD").pod(&pod).config(&config).end().done().json();
    assert_eq!(result["ips"][0]["address"], "10.245.1.2/32");
    assert_eq!(result["ips"][1]["address"], "fd00:10:245:1::2/128");
    assert_eq!(world.host_local(), ["10.245.1.2", "fd00:10:245:1::2"]);
    assert_eq!(world.links(), Vec::<String>::new());
    assert_eq!(world.attachment("netcheck@a1b2c3d4@eth0")["ipam"], "host-local");
    pod.run("ping -q -c 1 -W 5 192.0.2.11 >/dev/null");
    let mut with_result = config.clone();
    with_result["prevResult"] = result.take();
    world.call("CHECK").pod(&pod).config(&with_result).end().done();
    // Its refusal is passed on, named, and nothing is left.
    let exhausted = Sandbox::new();
    let mut small = config.clone();
    small["ipam"]["ranges"] = json!([[{"subnet": "10.245.2.0/30"}]]);
    small["ipam"]["dataDir"] = json!(world.state().join("small"));
    world
        .call("ADD")
        .id("first")
        .pod(&exhausted)
        .config(&small)
        .end()
        .done();
    let second = Sandbox::new();
    let answer = world.call("ADD").id("second").pod(&second).config(&small).end();
    let code = answer.refused();
    assert_eq!(code, 999, "{answer:?}");
    assert!(
        answer.json()["msg"].as_str().unwrap().starts_with("host-local: "),
        "{answer:?}"
    );
    assert_eq!(ip(&second, "link").len(), 1);
    world.call("DEL").id("first").config(&small).end().done();
    world.call("DEL").config(&config).end().done();
    world.call("DEL").config(&config).end().done();
    world.assert_empty("DEL");
}

fn loopback_is_one_of_our_roles() {
    let world = World::new();
    let pod = Sandbox::new();
    for version in VERSIONS {
        let config = json!({"cniVersion": version, "name": "cni-loopback", "type": "loopback"});
        pod.run("ip link set lo down");
        let call = |verb| world.call(verb).pod(&pod).set("CNI_IFNAME", "lo").config(&config).end();
        if version != "0.3.1" {
            let mut with_result = config.clone();
            with_result["prevResult"] = json!({});
            assert_eq!(world.call("CHECK").pod(&pod).config(&with_result).end().refused(), 114);
        }
        let result = call("ADD").done().json();
        assert_eq!(result["ips"][0]["address"], "127.0.0.1/8");
        assert_eq!(result["interfaces"][0]["name"], "lo");
        pod.run("ping -q -c 1 -W 5 127.0.0.1 >/dev/null; ping -q -c 1 -W 5 ::1 >/dev/null");
        call("DEL").done();
        call("DEL").done();
    }
    let gone = json!({"cniVersion": "0.3.1", "name": "cni-loopback", "type": "loopback"});
    world
        .call("DEL")
        .set("CNI_NETNS", "/nowhere")
        .config(&gone)
        .end()
        .done();
}

fn versions_are_told() {
    let world = World::new();
    let expected = json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    for (input, version) in [
        ("{\"cniVersion\": \"0.4.0\"}", "0.4.0"),
        ("{\"cniVersion\": \"9.9.9\"}", "9.9.9"),
        ("", "1.1.0"),
        ("x", "1.1.0"),
    ] {
        let answer = world.call("VERSION").unset("CNI_PATH").input(input.as_bytes()).end();
        let expected = json!({"cniVersion": version, "supportedVersions": expected});
        assert_eq!(answer.done().json(), expected);
    }
    let about = Command::new(PLUGIN).env_clear().output().unwrap();
    assert!(about.status.success() && about.stdout.is_empty());
    let said = String::from_utf8(about.stderr).unwrap();
    assert!(
        said.contains("netcheck-cni") && said.contains("0.3.1, 0.4.0, 1.0.0, 1.1.0"),
        "{said}"
    );
}
