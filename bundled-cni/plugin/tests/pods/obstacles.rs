//! Good calls that meet an obstacle: the node, the pod, the range, the disk, another process.

use crate::{
    sandbox::{Sandbox, trial},
    world::{VERSIONS, World, ip, refused, wait},
};
use libtest_mimic::Trial;
use serde_json::json;
use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

pub fn trials() -> Vec<Trial> {
    vec![
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
        for version in VERSIONS {
            let (code, message) = refused(world.call("ADD").version(version).pod(&pod));
            assert_eq!(code, add, "{message}");
        }
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
    for version in VERSIONS {
        let (code, message) = refused(world.call("ADD").version(version).pod(&pod));
        assert_eq!(code, 100);
        assert!(message.contains("eth0"), "{message}");
    }
    assert_eq!(ip(&pod, "link show eth0")[0]["linkinfo"]["info_kind"], "bridge");
    world.assert_empty("existing interface");

    let other = Sandbox::new();
    world.add("a1b2c3d4", &other);
    for version in VERSIONS {
        assert_eq!(refused(world.call("ADD").version(version).pod(&other)).0, 101);
    }
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
        for version in VERSIONS {
            assert_eq!(refused(world.call("ADD").version(version).pod(&pod)).0, 103);
            world.call("DEL").version(version).end().done();
        }
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
    for version in VERSIONS {
        let (code, message) = refused(world.call("ADD").version(version).pod(&one_more));
        assert_eq!(code, 11);
        assert!(message.contains("ipam/ip"), "{message}");
    }
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
