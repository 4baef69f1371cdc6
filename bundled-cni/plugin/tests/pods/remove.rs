//! DEL and GC: what is gone already is no error, what is of others stays.

use crate::{
    sandbox::{Sandbox, trial},
    world::{World, ip, veth},
};
use libtest_mimic::Trial;
use serde_json::json;
use std::{fs, os::unix::fs::symlink};

pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "del_is_content_with_whatever_is_gone",
            del_is_content_with_whatever_is_gone,
        ),
        trial("del_needs_nothing_but_the_names", del_needs_nothing_but_the_names),
        trial(
            "gc_removes_those_that_are_not_valid",
            gc_removes_those_that_are_not_valid,
        ),
        trial("gc_goes_on_after_an_error", gc_goes_on_after_an_error),
        trial(
            "gc_and_status_are_passed_on_to_a_delegate",
            gc_and_status_are_passed_on_to_a_delegate,
        ),
    ]
}

fn del_is_content_with_whatever_is_gone() {
    let world = World::new();
    world.del("never-was");
    for loss in [
        "nothing",
        "netns",
        "veth",
        "att",
        "links",
        "one link",
        "ipam",
        "cut",
        "node.json",
    ] {
        let pod = Sandbox::new();
        let result = world.add("a1b2c3d4", &pod);
        let state = world.state();
        let att = state.join("att/netcheck@a1b2c3d4@eth0");
        let address = result["ips"][0]["address"]
            .as_str()
            .unwrap()
            .split('/')
            .next()
            .unwrap()
            .to_owned();
        match loss {
            "netns" => drop(pod),
            "veth" => drop(world.node.run(&format!("ip link del {}", veth("a1b2c3d4")))),
            "att" => fs::remove_file(&att).unwrap(),
            "links" => fs::remove_dir_all(state.join("ipam/ip")).unwrap(),
            "one link" => fs::remove_file(state.join("ipam/ip").join(&address)).unwrap(),
            "ipam" => fs::remove_dir_all(state.join("ipam")).unwrap(),
            "cut" => fs::write(&att, "{").unwrap(),
            "node.json" => fs::remove_file(state.join("node.json")).unwrap(),
            _ => {}
        }
        for _ in 0..2 {
            let answer = world.call("DEL").set("CNI_NETNS", "").end();
            assert_eq!(answer.done().stdout, "", "{loss}");
        }
        crate::sandbox::wait_for("the namespace's end", || world.ip("link").len() == 2);
        world.assert_empty(loss);
    }
    let world = World::new();
    let pod = Sandbox::new();
    world.add("a1b2c3d4", &pod);
    fs::remove_dir_all(world.state()).unwrap();
    world.del("a1b2c3d4");
    assert!(!world.state().exists(), "a DEL makes no folders");
    assert_eq!(ip(&pod, "link").len(), 1);
    world.assert_empty("a state directory that is gone");
}

fn del_needs_nothing_but_the_names() {
    let world = World::new();
    let pod = Sandbox::new();
    world.add("a1b2c3d4", &pod);
    let mut config = world.config("1.1.0");
    // What a runtime's cache may hold after a loss of power.
    config["prevResult"] = json!("broken");
    world.call("DEL").set("CNI_ARGS", "broken").config(&config).end().done();
    world.assert_empty("DEL");
    // An address of another is not released, even if the file claims it.
    world.add("a1b2c3d4", &pod);
    let link = world.state().join("ipam/ip").join(&world.links()[0]);
    fs::remove_file(&link).unwrap();
    symlink("netcheck@other@eth0", &link).unwrap();
    world.del("a1b2c3d4");
    assert_eq!(world.links().len(), 1);
}

fn gc_removes_those_that_are_not_valid() {
    let world = World::new();
    let pods: Vec<_> = (0..4).map(|_| Sandbox::new()).collect();
    for (number, pod) in pods.iter().enumerate() {
        world.add(&format!("c{number}"), pod);
    }
    let other_network = Sandbox::new();
    let mut other = world.config("1.1.0");
    other["name"] = json!("other");
    world.call("ADD").pod(&other_network).config(&other).end().done();
    // What an ADD that died left: links without file.
    let dead = Sandbox::new();
    let died = world
        .call("ADD")
        .id("dead")
        .pod(&dead)
        .die_after(netcheck_cni::steps::Step::AddReserved)
        .end();
    assert_eq!(died.signal, Some(9));
    let gc = |valid: serde_json::Value| {
        let mut config = world.config("1.1.0");
        config
            .as_object_mut()
            .unwrap()
            .extend(valid.as_object().unwrap().clone());
        let call = world
            .call("GC")
            .unset("CNI_CONTAINERID")
            .unset("CNI_IFNAME")
            .config(&config);
        call.end().done();
    };
    let one = |id: &str| json!({"containerID": id, "ifname": "eth0"});
    gc(json!({
        "cni.dev/valid-attachments": [one("c0"), one("c1"), one("unknown")],
        "cni.dev/attachments": [one("c2"), {"containerID": "c3", "ifname": "eth1"}]
    }));
    let kept = [
        "netcheck@c0@eth0",
        "netcheck@c1@eth0",
        "netcheck@c2@eth0",
        "other@a1b2c3d4@eth0",
    ];
    assert_eq!(world.attachments(), kept);
    assert_eq!(world.links().len(), 8);
    assert_eq!(ip(&pods[3], "link").len(), 1);
    pods[2].run("ping -q -c 1 -W 5 10.244.1.2 >/dev/null");
    gc(json!({"cni.dev/valid-attachments": null}));
    assert_eq!(world.attachments(), ["other@a1b2c3d4@eth0"]);
    world.call("DEL").config(&other).end().done();
    world.assert_empty("GC");
}

fn gc_goes_on_after_an_error() {
    let world = World::new();
    let pods: Vec<_> = (0..3).map(|_| Sandbox::new()).collect();
    for (number, pod) in pods.iter().enumerate() {
        world.add(&format!("c{number}"), pod);
    }
    // A folder in the file's place cannot be removed as a file is.
    for id in ["c0", "c1"] {
        let file = world.state().join("att").join(format!("netcheck@{id}@eth0"));
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
    }
    let mut config = world.config("1.1.0");
    config["cni.dev/valid-attachments"] = json!([]);
    let answer = world.call("GC").config(&config).end();
    assert_eq!(answer.refused(), 5);
    let said = answer.json();
    assert!(said["msg"].as_str().unwrap().contains("netcheck@c0@eth0"), "{said}");
    assert!(said["details"].as_str().unwrap().contains("netcheck@c1@eth0"), "{said}");
    assert_eq!(world.attachments(), ["netcheck@c0@eth0", "netcheck@c1@eth0"]);
    assert_eq!(world.ip("link").len(), 2, "their devices are gone all the same");
}

/// A stand-in for a delegate of today: Debian's knows neither verb.
fn gc_and_status_are_passed_on_to_a_delegate() {
    let world = World::new();
    let folder = world.state().join("bin");
    fs::create_dir(&folder).unwrap();
    let log = world.state().join("calls");
    let script = format!(
        "#!/bin/sh\ncat > /dev/null\necho $CNI_COMMAND $CNI_CONTAINERID >> {}\ncase $CNI_COMMAND in\nADD) echo '{{\"ips\": [{{\"address\": \"10.9.9.9/24\"}}]}}';;\n\
         STATUS) echo '{{\"code\": 50, \"msg\": \"pool is empty\"}}'; exit 1;;\nesac\n",
        log.display()
    );
    let program = folder.join("stand-in");
    fs::write(&program, script).unwrap();
    std::process::Command::new("chmod")
        .arg("+x")
        .arg(&program)
        .status()
        .unwrap();
    let mut config = world.config("1.1.0");
    config["ipam"] = json!({"type": "stand-in"});
    config["cni.dev/valid-attachments"] = json!([]);
    let call = |verb| {
        world
            .call(verb)
            .config(&config)
            .set("CNI_PATH", folder.to_str().unwrap())
    };
    let pod = Sandbox::new();
    call("ADD").pod(&pod).end().done();
    let status = call("STATUS").end();
    assert_eq!(status.refused(), 50);
    assert_eq!(status.json()["msg"], "stand-in: pool is empty");
    call("GC").unset("CNI_CONTAINERID").end().done();
    let calls = fs::read_to_string(log).unwrap();
    assert_eq!(calls, "ADD a1b2c3d4\nSTATUS a1b2c3d4\nDEL a1b2c3d4\nGC\n");
    world.assert_empty("GC");
}
