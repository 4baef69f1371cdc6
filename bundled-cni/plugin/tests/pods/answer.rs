//! What the plugin answers: results of each version, and what a runtime or another plugin has a say in.

use crate::{
    sandbox::{Sandbox, trial},
    world::{PLUGIN, VERSIONS, World, entry, ip, veth},
};
use libtest_mimic::Trial;
use serde_json::json;
use std::process::Command;

pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "results_have_the_shape_of_their_version",
            results_have_the_shape_of_their_version,
        ),
        trial("what_a_runtime_asks_for_is_given", what_a_runtime_asks_for_is_given),
        trial(
            "another_plugin_can_give_out_the_addresses",
            another_plugin_can_give_out_the_addresses,
        ),
        trial("loopback_is_one_of_our_roles", loopback_is_one_of_our_roles),
        trial("versions_are_told", versions_are_told),
    ]
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
