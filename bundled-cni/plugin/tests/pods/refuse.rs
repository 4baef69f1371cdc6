//! What is refused: with which code, with what status, and that nothing is left.

use crate::{
    sandbox::{Sandbox, trial},
    world::{VERSIONS, World, ip, refused},
};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::{fs, process::Command};

const VERBS: [&str; 5] = ["ADD", "DEL", "CHECK", "GC", "STATUS"];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("each_verb_in_each_version", each_verb_in_each_version),
        trial("input_that_is_no_configuration", input_that_is_no_configuration),
        trial(
            "an_environment_that_lacks_something",
            an_environment_that_lacks_something,
        ),
        trial("values_that_cannot_be_done", values_that_cannot_be_done),
        trial("namespaces_that_are_none", namespaces_that_are_none),
    ]
}

/// SPEC.md 8.1: which verbs there are in which version.
fn exists(verb: &str, version: &str) -> bool {
    match verb {
        "CHECK" => version != "0.3.1",
        "GC" | "STATUS" => version == "1.1.0",
        _ => true,
    }
}

fn each_verb_in_each_version() {
    let world = World::new();
    for version in VERSIONS {
        for verb in VERBS {
            let pod = Sandbox::new();
            let mut config = world.config(version);
            config["unknown"] = json!({"key": [1, 2]});
            let added = world.call("ADD").pod(&pod).config(&config).end().done().json();
            if verb != "ADD" {
                config["prevResult"] = added;
                let call = world.call(verb).pod(&pod).config(&config);
                if exists(verb, version) {
                    assert_eq!(call.end().done().stdout, "", "{verb} {version}");
                } else {
                    assert_eq!(refused(call).0, 1);
                }
            }
            world.del("a1b2c3d4");
            world.assert_empty(verb);
        }
    }
    for version in [
        json!("0.1.0"),
        json!("0.2.0"),
        json!("1.1"),
        json!("1.1.1"),
        json!("v1.0.0"),
        Value::Null,
    ] {
        for verb in VERBS {
            let pod = Sandbox::new();
            let mut config = world.config("1.0.0");
            config["cniVersion"] = version.clone();
            let (code, message) = refused(world.call(verb).pod(&pod).config(&config));
            assert_eq!(code, 1, "{verb} {version}");
            assert!(message.contains("1.1.0"), "{message}");
        }
    }
    world.assert_empty("unknown versions");
}

fn input_that_is_no_configuration() {
    let world = World::new();
    let pod = Sandbox::new();
    let code_of = |verb: &str, input: &[u8]| refused(world.call(verb).pod(&pod).input(input)).0;
    for verb in VERBS {
        for (input, code) in [("", 6), ("{", 6), ("null", 7), ("[1]", 7), ("{\"cniVersion\": 1}", 7)] {
            assert_eq!(code_of(verb, input.as_bytes()), code, "{verb} {input}");
        }
        for version in VERSIONS {
            let mut large = world.config(version);
            large["padding"] = json!("x".repeat(1 << 20));
            assert_eq!(code_of(verb, large.to_string().as_bytes()), 6, "{verb} {version}");
            let mut not_text = world.config(version).to_string().into_bytes();
            not_text.insert(20, 0xff);
            assert_eq!(code_of(verb, &not_text), 6, "{verb} {version}");
            let code = if exists(verb, version) { 7 } else { 1 };
            for keys in [json!({}), json!({"name": "a@b"}), json!({"name": "a", "ipam": 1})] {
                let mut input = keys;
                input["cniVersion"] = json!(version);
                let input = input.to_string();
                assert_eq!(code_of(verb, input.as_bytes()), code, "{verb} {input}");
            }
        }
    }
    // Just as long as it may be.
    let mut longest = world.config("1.1.0");
    longest["padding"] = json!("");
    let missing = (1 << 20) - longest.to_string().len();
    longest["padding"] = json!("x".repeat(missing));
    world.call("STATUS").config(&longest).end().done();
    world.assert_empty("bad input");
}

fn an_environment_that_lacks_something() {
    let world = World::new();
    let pod = Sandbox::new();
    let long = "e".repeat(16);
    for version in VERSIONS {
        let (code, message) = refused(
            world
                .call("ADD")
                .version(version)
                .unset("CNI_CONTAINERID")
                .unset("CNI_IFNAME")
                .unset("CNI_PATH"),
        );
        assert_eq!(code, 4);
        for name in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"] {
            assert!(message.contains(name), "{message}");
        }
        for (name, value) in [
            ("CNI_COMMAND", "ATTACH"),
            ("CNI_CONTAINERID", "a@b"),
            ("CNI_IFNAME", long.as_str()),
            ("CNI_IFNAME", "../x"),
            ("CNI_ARGS", "K8S_POD_NAME"),
        ] {
            let (code, message) = refused(world.call("ADD").version(version).pod(&pod).set(name, value));
            assert_eq!(code, 4, "{name}");
            assert!(message.contains(name), "{message}");
        }
    }
    // Where the input says no version that we speak.
    for input in ["", "{", "{\"cniVersion\": \"0.2.0\"}"] {
        assert_eq!(refused(world.call("ADD").input(input.as_bytes())).0, 4, "{input}");
    }
    assert_eq!(ip(&pod, "link").len(), 1);
    world.assert_empty("bad environment");
}

fn values_that_cannot_be_done() {
    let world = World::with_ranges(&["10.244.1.0/24"]);
    let pod = Sandbox::new();
    for (key, value, code) in [
        ("prevResult", json!([]), 7),
        (
            "prevResult",
            json!({"ips": [{"address": "10.0.0.1/32", "interface": 3}]}),
            7,
        ),
        ("runtimeConfig", json!({"ips": ["10.244.9.9"]}), 7),
        ("runtimeConfig", json!({"ips": ["10.244.1.1"]}), 7),
        ("runtimeConfig", json!({"ips": ["fd00::1"]}), 2),
        ("runtimeConfig", json!({"ips": "10.244.1.5"}), 7),
        ("runtimeConfig", json!({"mac": "ff:ff:ff:ff:ff:ff"}), 7),
        ("mtu", json!("1400"), 7),
        ("mtu", json!(20), 2),
        ("dns", json!("10.0.0.1"), 7),
        ("dataDir", json!("state"), 7),
        ("ipam", json!({"type": "there-is-none"}), 7),
    ] {
        for version in VERSIONS {
            let mut config = world.config(version);
            config[key] = value.clone();
            let (found, message) = refused(world.call("ADD").pod(&pod).config(&config));
            assert_eq!(found, code, "{version}: {message}");
        }
        assert_eq!(ip(&pod, "link").len(), 1);
        world.assert_empty(key);
    }
    // A key longer than a file's name.
    let long = "c".repeat(250);
    let dual = World::new();
    for version in VERSIONS {
        assert_eq!(refused(world.call("ADD").version(version).pod(&pod).id(&long)).0, 7);
        assert_eq!(refused(world.call("DEL").version(version).id(&long)).0, 7);
        let without_result = world.call("CHECK").version(version).pod(&pod);
        let code = if exists("CHECK", version) { 7 } else { 1 };
        assert_eq!(refused(without_result).0, code, "{version}");
        let mut config = dual.config(version);
        config["mtu"] = json!(1000);
        let (code, message) = refused(dual.call("ADD").pod(&pod).config(&config));
        assert_eq!(code, 2);
        assert!(message.contains("1280"), "{message}");
    }
    assert_eq!(ip(&pod, "link").len(), 1);
    dual.assert_empty("mtu");
}

fn namespaces_that_are_none() {
    let world = World::new();
    let file = world.state().join("file");
    fs::write(&file, "").unwrap();
    let fifo = world.state().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let another_kind = format!("/proc/{}/ns/mnt", world.node.pid());
    let own = world.node.path().display().to_string();
    for version in VERSIONS {
        for verb in ["ADD", "CHECK"].into_iter().filter(|verb| exists(verb, version)) {
            let mut config = world.config(version);
            config["prevResult"] = json!({});
            let call = |path: &str| world.call(verb).config(&config).set("CNI_NETNS", path);
            for path in [
                file.to_str().unwrap(),
                fifo.to_str().unwrap(),
                "/nowhere/at/all",
                "/",
                "/dev/zero",
                &another_kind,
            ] {
                let (code, message) = refused(call(path));
                assert_eq!(code, 4, "{message}");
                assert!(message.contains(path), "{message}");
            }
            assert_eq!(refused(call(&own)).0, 8);
        }
        // DEL needs none.
        for path in [file.to_str().unwrap(), "/nowhere/at/all", &own] {
            world.call("DEL").version(version).set("CNI_NETNS", path).end().done();
        }
    }
    world.assert_empty("bad namespaces");
    // The node itself, if that is wanted: another name, since it has eth0.
    let forced = world
        .call("ADD")
        .set("CNI_NETNS", &own)
        .set("CNI_NETNS_OVERRIDE", "1")
        .set("CNI_IFNAME", "pod0");
    forced.end().done();
    world.call("DEL").set("CNI_IFNAME", "pod0").end().done();
    world.assert_empty("own namespace");
}
