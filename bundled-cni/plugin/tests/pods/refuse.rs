//! What is refused: with which code, with what status, and that nothing is left.

use crate::{
    sandbox::{Sandbox, trial},
    world::{Calling, VERSIONS, World, ip, wait},
};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

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
        trial("a_node_that_is_not_ready", a_node_that_is_not_ready),
        trial(
            "an_interface_or_attachment_that_exists",
            an_interface_or_attachment_that_exists,
        ),
        trial("a_device_of_someone_else", a_device_of_someone_else),
        trial("a_range_that_is_exhausted", a_range_that_is_exhausted),
        trial("a_disk_that_cannot_be_written", a_disk_that_cannot_be_written),
        trial("a_lock_that_is_held", a_lock_that_is_held),
        trial("a_result_that_nobody_reads", a_result_that_nobody_reads),
    ]
}

fn refused(calling: Calling<'_>) -> (u64, String) {
    let answer = calling.end();
    (answer.refused(), answer.json()["msg"].as_str().unwrap().to_owned())
}

/// SPEC.md 8.1: which verbs there are in which version.
fn each_verb_in_each_version() {
    let world = World::new();
    for version in VERSIONS {
        for verb in VERBS {
            let pod = Sandbox::new();
            let exists = match verb {
                "CHECK" => version != "0.3.1",
                "GC" | "STATUS" => version == "1.1.0",
                _ => true,
            };
            let mut config = world.config(version);
            config["unknown"] = json!({"key": [1, 2]});
            let added = world.call("ADD").pod(&pod).config(&config).end().done().json();
            if verb == "ADD" {
                assert!(exists);
            } else {
                config["prevResult"] = added;
                let answer = world.call(verb).pod(&pod).config(&config).end();
                if exists {
                    assert_eq!(answer.done().stdout, "", "{verb} {version}");
                } else {
                    assert_eq!(answer.refused(), 1);
                    assert_eq!(answer.json()["cniVersion"], version);
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
    let mut large = world.config("1.1.0");
    large["padding"] = json!("x".repeat(1 << 20));
    let large = large.to_string();
    let mut not_text = world.config("1.1.0").to_string().into_bytes();
    not_text.insert(20, 0xff);
    for verb in VERBS {
        for (input, code) in [
            (&b""[..], 6),
            (b"{", 6),
            (b"null", 7),
            (b"[1]", 7),
            (large.as_bytes(), 6),
            (&not_text, 6),
            (b"{\"cniVersion\": 1}", 7),
            (b"{\"cniVersion\": \"1.1.0\"}", 7),
            (b"{\"cniVersion\": \"1.1.0\", \"name\": \"a@b\"}", 7),
            (b"{\"cniVersion\": \"1.1.0\", \"name\": \"a\", \"ipam\": 1}", 7),
        ] {
            let (found, message) = refused(world.call(verb).pod(&pod).input(input));
            assert_eq!(found, code, "{verb}: {message}");
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
    let (code, message) = refused(
        world
            .call("ADD")
            .unset("CNI_CONTAINERID")
            .unset("CNI_IFNAME")
            .unset("CNI_PATH"),
    );
    assert_eq!(code, 4);
    for name in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"] {
        assert!(message.contains(name), "{message}");
    }
    let long = "e".repeat(16);
    for (name, value) in [
        ("CNI_COMMAND", "ATTACH"),
        ("CNI_CONTAINERID", "a@b"),
        ("CNI_IFNAME", long.as_str()),
        ("CNI_IFNAME", "../x"),
        ("CNI_ARGS", "K8S_POD_NAME"),
    ] {
        let (code, message) = refused(world.call("ADD").pod(&pod).set(name, value));
        assert_eq!(code, 4, "{name}");
        assert!(message.contains(name), "{message}");
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
        let mut config = world.config("1.1.0");
        config[key] = value;
        let (found, message) = refused(world.call("ADD").pod(&pod).config(&config));
        assert_eq!(found, code, "{message}");
        assert_eq!(ip(&pod, "link").len(), 1);
        world.assert_empty(key);
    }
    // A key longer than a file's name.
    let long = "c".repeat(250);
    assert_eq!(refused(world.call("ADD").pod(&pod).id(&long)).0, 7);
    assert_eq!(refused(world.call("DEL").id(&long)).0, 7);
    assert_eq!(refused(world.call("CHECK").pod(&pod)).0, 7);
    let dual = World::new();
    let mut config = dual.config("1.1.0");
    config["mtu"] = json!(1000);
    let (code, message) = refused(dual.call("ADD").pod(&pod).config(&config));
    assert_eq!(code, 2);
    assert!(message.contains("1280"), "{message}");
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
    for verb in ["ADD", "CHECK"] {
        let mut config = world.config("1.1.0");
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
        world.call("DEL").set("CNI_NETNS", path).end().done();
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

fn a_node_that_is_not_ready() {
    let world = World::new();
    let pod = Sandbox::new();
    let ready = fs::read(world.state().join("node.json")).unwrap();
    let not_ready =
        json!({"schema": 1, "node": "n1", "ready": false, "reason": "DuplicatePodCIDR", "linkMtu": 0, "routeMtu": 0});
    let no_range = json!({"schema": 1, "node": "n1", "ready": true, "reason": "", "podCIDRs": [], "linkMtu": 1500, "routeMtu": 1450});
    let next = json!({"schema": 2, "node": "n1", "ready": true});
    for (content, add, status) in [
        (not_ready.to_string(), 11, Some(51)),
        (no_range.to_string(), 11, None),
        (next.to_string(), 11, Some(50)),
        ("{".to_owned(), 11, Some(50)),
    ] {
        fs::write(world.state().join("node.json"), &content).unwrap();
        let (code, message) = refused(world.call("ADD").pod(&pod));
        assert_eq!(code, add, "{message}");
        let answer = world.call("STATUS").unset("CNI_PATH").end();
        match status {
            Some(status) => assert_eq!(answer.refused(), status, "{content}"),
            None => assert_eq!(answer.done().stdout, ""),
        }
    }
    fs::write(world.state().join("node.json"), not_ready.to_string()).unwrap();
    assert!(refused(world.call("STATUS")).1.contains("DuplicatePodCIDR"));
    fs::remove_file(world.state().join("node.json")).unwrap();
    assert_eq!(refused(world.call("ADD").pod(&pod)).0, 11);
    assert_eq!(refused(world.call("STATUS")).0, 50);
    fs::write(world.state().join("node.json"), ready).unwrap();
    world.call("STATUS").end().done();
    assert_eq!(ip(&pod, "link").len(), 1);
    world.assert_empty("not ready");
}

fn an_interface_or_attachment_that_exists() {
    let world = World::new();
    let pod = Sandbox::new();
    pod.run("ip link add eth0 type bridge");
    let (code, message) = refused(world.call("ADD").pod(&pod));
    assert_eq!(code, 100);
    assert!(message.contains("eth0"), "{message}");
    assert_eq!(ip(&pod, "link show eth0")[0]["linkinfo"]["info_kind"], "bridge");
    world.assert_empty("existing interface");

    let other = Sandbox::new();
    world.add("a1b2c3d4", &other);
    assert_eq!(refused(world.call("ADD").pod(&other)).0, 101);
    // The one that is there lives on.
    other.run("ping -q -c 1 -W 5 192.0.2.11 >/dev/null");
    world.del("a1b2c3d4");
    world.assert_empty("DEL");
}

fn a_device_of_someone_else() {
    let world = World::new();
    let pod = Sandbox::new();
    let name = "nc53ffe5c7906";
    for kind in ["type bridge", "type veth peer name other0"] {
        world.node.run(&format!(
            "ip link add {name} {kind}; ip link set {name} alias 'netcheck-cni netcheck@other@eth0 a/b'"
        ));
        assert_eq!(refused(world.call("ADD").pod(&pod)).0, 103);
        world.call("DEL").end().done();
        assert_eq!(
            world.ip(&format!("link show {name}")).len(),
            1,
            "it is not ours to remove"
        );
        world.node.run(&format!("ip link del {name}"));
        world.assert_empty(kind);
    }
    world.node.run(&format!("ip link add {name} type bridge"));
    assert_eq!(refused(world.call("ADD").pod(&pod)).0, 103);
    world.call("DEL").end().done();
    world.node.run(&format!("ip link del {name}"));
    assert_eq!(ip(&pod, "link").len(), 1);
}

fn a_range_that_is_exhausted() {
    // Five addresses for pods.
    let world = World::with_ranges(&["10.244.1.0/29"]);
    let pods: Vec<_> = (0..5).map(|_| Sandbox::new()).collect();
    for (number, pod) in pods.iter().enumerate() {
        world.add(&format!("c{number}"), pod);
    }
    let one_more = Sandbox::new();
    let (code, message) = refused(world.call("ADD").pod(&one_more));
    assert_eq!(code, 11);
    assert!(message.contains("ipam/ip"), "{message}");
    world.call("STATUS").end().done();
    world.del("c3");
    assert_eq!(world.add("a1b2c3d4", &one_more)["ips"][0]["address"], "10.244.1.5/32");
    let mut asks = world.config("1.1.0");
    asks["runtimeConfig"] = json!({"ips": ["10.244.1.5"]});
    let another = Sandbox::new();
    assert_eq!(refused(world.call("ADD").id("c9").pod(&another).config(&asks)).0, 11);
    for id in ["c0", "c1", "c2", "c4", "a1b2c3d4"] {
        world.del(id);
    }
    world.assert_empty("DEL of all");
}

/// The state directory is mounted read-only where the plugin sees it.
fn a_disk_that_cannot_be_written() {
    let world = World::new();
    let pod = Sandbox::new();
    world.add("there", &pod);
    let other = Sandbox::new();
    let state = world.state().display().to_string();
    let read_only = |verb: &str, id: &str, pod: &Sandbox| {
        let script = format!(
            "mount --bind {state} {state} && mount -o remount,ro,bind {state} && exec nsenter --net={} {}",
            world.node.path().display(),
            crate::world::PLUGIN
        );
        let mut child = Command::new("timeout")
            .args(["60", "unshare", "--mount", "sh", "-ec", &script])
            .envs([
                ("CNI_COMMAND", verb),
                ("CNI_CONTAINERID", id),
                ("CNI_IFNAME", "eth0"),
                ("CNI_PATH", "/nowhere"),
            ])
            .env("CNI_NETNS", pod.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let config = world.config("1.1.0").to_string();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), config.as_bytes()).unwrap();
        wait(child)
    };
    let answer = read_only("ADD", "new", &other);
    assert_eq!(answer.refused(), 5, "{answer:?}");
    assert_eq!(ip(&other, "link").len(), 1);
    assert_eq!(read_only("DEL", "there", &pod).refused(), 5);
    assert_eq!(world.attachments().len(), 1);
    // STATUS and CHECK only read.
    read_only("STATUS", "", &pod).done();
    world.del("there");
    world.assert_empty("DEL");
}

fn a_lock_that_is_held() {
    let world = World::new();
    let pod = Sandbox::new();
    world.add("there", &pod);
    let mut holder = Command::new("flock")
        .arg(world.state().join("ipam/lock"))
        .args(["-c", "echo held; read forever"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 5];
    holder.stdout.as_mut().unwrap().read_exact(&mut held).unwrap();
    let begun = Instant::now();
    let other = Sandbox::new();
    for (verb, id, pod) in [("ADD", "other", &other), ("DEL", "there", &pod)] {
        let (code, message) = refused(world.call(verb).id(id).pod(pod).set("NETCHECK_CNI_LOCK_MS", "200"));
        assert_eq!(code, 11);
        assert!(message.contains("ipam/lock"), "{message}");
    }
    assert!(begun.elapsed() >= Duration::from_millis(400));
    // An ADD that is waiting goes on as soon as it can.
    let waiting = world.call("ADD").id("other").pod(&other).start();
    drop(holder.stdin.take());
    holder.wait().unwrap();
    wait(waiting).done();
    world.del("there");
    world.del("other");
    world.assert_empty("DEL");
}

/// The runtime is gone before it has the result: the pod that nobody was told of goes too.
fn a_result_that_nobody_reads() {
    let world = World::new();
    let pod = Sandbox::new();
    let mut child = world.call("ADD").pod(&pod).start();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(ip(&pod, "link").len(), 1);
    world.assert_empty("a result that nobody reads");
}
