//! The same through cnitool, the CNI project's own caller, with Debian's plugins chained and as delegates.

use crate::{
    sandbox::{Sandbox, trial, wait_for},
    world::{PLUGIN, REFERENCE, VERSIONS, World, entry, ip},
};
use libtest_mimic::Trial;
use netcheck_node_state::within;
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

/// How long to wait for a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that are sent through limits of bandwidth, more than their bursts.
const SENT: usize = 500_000;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("cnitool_in_each_version", cnitool_in_each_version),
        trial("cnitool_is_told_why_an_add_fails", cnitool_is_told_why_an_add_fails),
        trial("cnitool_with_portmap", cnitool_with_portmap),
        trial("cnitool_with_bandwidth", cnitool_with_bandwidth),
        trial("cnitool_check_with_tuning", cnitool_check_with_tuning),
        trial("cnitool_with_host_local", cnitool_with_host_local),
        trial("cnitool_gc_and_status", cnitool_gc_and_status),
    ]
}

struct Tool<'a> {
    world: &'a World,
    pod: &'a Sandbox,
}

impl<'a> Tool<'a> {
    fn new(world: &'a World, pod: &'a Sandbox, list: &Value) -> Self {
        fs::create_dir_all(world.state().join("net.d")).unwrap();
        fs::create_dir_all(world.state().join("cache")).unwrap();
        fs::write(world.state().join("net.d/05-netcheck.conflist"), list.to_string()).unwrap();
        Self { world, pod }
    }

    /// libcni keeps its cache in a fixed place, so that this one has its own view of that.
    fn run(&self, verb: &str, capabilities: &Value) -> (bool, String) {
        let tool = netcheck_rig::cnitool(&netcheck_rig::Silent).unwrap();
        let cache = self.world.state().join("cache");
        let script = format!(
            "mount -t tmpfs none /var/lib && mkdir /var/lib/cni && mount --bind {} /var/lib/cni && exec nsenter --net={} {} {verb} netcheck {}",
            cache.display(),
            self.world.node.path().display(),
            tool.display(),
            self.pod.path().display()
        );
        let output = Command::new("timeout")
            .args(["60", "unshare", "--mount", "sh", "-ec", &script])
            .env(
                "CNI_PATH",
                format!("{}:{REFERENCE}", Path::new(PLUGIN).parent().unwrap().display()),
            )
            .env("NETCONFPATH", self.world.state().join("net.d"))
            .env("CAP_ARGS", capabilities.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        (
            output.status.success(),
            format!("{}{said}", String::from_utf8_lossy(&output.stdout)),
        )
    }

    fn done(&self, verb: &str, capabilities: &Value) -> String {
        let (is_success, said) = self.run(verb, capabilities);
        assert!(is_success, "{verb}: {said}");
        said
    }

    /// cnitool prints an error's message, not its code.
    fn fails(&self, verb: &str, reason: &str) {
        let (is_success, said) = self.run(verb, &json!({}));
        assert!(!is_success && said.contains(reason), "{verb}: {said}");
    }
}

fn list(world: &World, version: &str, plugins: Value) -> Value {
    let mut plugins = plugins;
    plugins[0]["dataDir"] = json!(world.state());
    plugins[0]["type"] = json!("netcheck-cni");
    json!({"cniVersion": version, "name": "netcheck", "plugins": plugins})
}

fn cnitool_in_each_version() {
    for version in VERSIONS {
        let world = World::new();
        let pod = Sandbox::new();
        let tool = Tool::new(&world, &pod, &list(&world, version, json!([{}])));
        let none = json!({});
        let result: Value = serde_json::from_str(&tool.done("add", &none)).unwrap();
        assert_eq!(result["cniVersion"], version);
        if version == "0.3.1" {
            tool.fails("check", "does not support the CHECK command");
        } else {
            tool.done("check", &none);
        }
        pod.run("ping -q -c 1 -W 5 192.0.2.11 >/dev/null");
        tool.done("del", &none);
        assert_eq!(ip(&pod, "link").len(), 1, "{version}");
        world.assert_empty(version);
        // Runtimes repeat it.
        tool.done("del", &none);
    }
}

fn cnitool_is_told_why_an_add_fails() {
    for version in VERSIONS {
        // Room for one pod, by the second range.
        let world = World::with_ranges(&["fd00:10:244:1::/64", "10.244.1.0/30"]);
        let pod = Sandbox::new();
        let alone = list(&world, version, json!([{}]));
        pod.run("ip link add eth0 type bridge");
        Tool::new(&world, &pod, &alone).fails("add", "eth0 exists");
        assert_eq!(ip(&pod, "link show eth0")[0]["linkinfo"]["info_kind"], "bridge");
        world.assert_empty("an interface that exists");
        pod.run("ip link del eth0");

        let first = Sandbox::new();
        world.add("first", &first);
        Tool::new(&world, &pod, &alone).fails("add", "ipam/ip");
        assert_eq!(ip(&pod, "link").len(), 1);
        assert_eq!((world.links().len(), world.attachments().len()), (2, 1));
        world.del("first");
        world.assert_empty("a range that is exhausted");

        // What ours made before another plugin failed goes by the DEL that runtimes call then. Debian's are too old for 1.1.0.
        if version != "1.1.0" {
            let tuning = json!({"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.there_is_none": "1"}});
            let tool = Tool::new(&world, &pod, &list(&world, version, json!([{}, tuning])));
            tool.fails("add", "there_is_none");
            assert_eq!(world.attachments().len(), 1);
            tool.done("del", &json!({}));
            assert_eq!(ip(&pod, "link").len(), 1);
            world.assert_empty("a chained plugin that fails");
        }
    }
}

/// A device's disciplines, with what each has sent.
fn disciplines(world: &World, device: &str) -> Vec<Value> {
    serde_json::from_str(&world.node.run(&format!("tc -j -s qdisc show dev {device}"))).unwrap()
}

fn cnitool_with_bandwidth() {
    for version in ["0.4.0", "1.0.0"] {
        let world = World::new();
        let pod = Sandbox::new();
        let plugins = json!([{}, {"type": "bandwidth", "capabilities": {"bandwidth": true}}]);
        let tool = Tool::new(&world, &pod, &list(&world, version, plugins));
        // In bits.
        let capabilities = json!({"bandwidth": {
            "ingressRate": 80_000_000, "ingressBurst": 800_000, "egressRate": 40_000_000, "egressBurst": 800_000
        }});
        let result: Value = serde_json::from_str(&tool.done("add", &capabilities)).unwrap();
        tool.done("check", &capabilities);

        let to_pod = result["interfaces"][0]["name"].as_str().unwrap();
        let links = world.ip("link");
        let ifb = links
            .iter()
            .find(|link| link["linkinfo"]["info_kind"] == "ifb")
            .unwrap();
        let from_pod = ifb["ifname"].as_str().unwrap();
        let limit = |device: &str| entry(&disciplines(&world, device), &json!({"kind": "tbf"})).clone();
        for (device, bytes_per_second) in [(to_pod, 10_000_000), (from_pod, 5_000_000)] {
            assert_eq!(limit(device)["options"]["rate"], bytes_per_second, "{device}");
        }

        // There and back, all of it through the limits.
        let address: SocketAddr = "192.0.2.11:8080".parse().unwrap();
        let listener = within(&world.node.netns(), || TcpListener::bind(address))
            .unwrap()
            .unwrap();
        let mut client = within(&pod.netns(), || TcpStream::connect_timeout(&address, PATIENCE))
            .unwrap()
            .unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.set_write_timeout(Some(PATIENCE)).unwrap();
        let echo = thread::spawn(move || {
            let (mut server, _) = listener.accept().unwrap();
            server.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut bytes = vec![0; SENT];
            server.read_exact(&mut bytes).unwrap();
            server.write_all(&bytes).unwrap();
        });
        client.write_all(&vec![7; SENT]).unwrap();
        let mut bytes = vec![0; SENT];
        client.read_exact(&mut bytes).unwrap();
        echo.join().unwrap();
        assert!(bytes.iter().all(|byte| *byte == 7));
        for device in [to_pod, from_pod] {
            let passed = limit(device)["bytes"].as_u64().unwrap();
            assert!(passed >= SENT as u64, "{device}: {passed}");
        }
        drop(client);

        tool.done("del", &capabilities);
        assert_eq!(ip(&pod, "link").len(), 1);
        world.assert_empty(version);
    }
}

fn cnitool_with_portmap() {
    for version in ["0.3.1", "0.4.0", "1.0.0"] {
        let world = World::new();
        let pod = Sandbox::new();
        let plugins = json!([
            {"capabilities": {"ips": true, "mac": true}},
            {"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}
        ]);
        let tool = Tool::new(&world, &pod, &list(&world, version, plugins));
        let capabilities = json!({
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}], "ips": ["10.244.1.50"]
        });
        let result: Value = serde_json::from_str(&tool.done("add", &capabilities)).unwrap();
        assert_eq!(result["ips"][0]["address"], "10.244.1.50/32");
        // From another pod to the node's port, so to this pod.
        let listener = within(&pod.netns(), || TcpListener::bind("10.244.1.50:80"))
            .unwrap()
            .unwrap();
        let client = Sandbox::new();
        world.add("client", &client);
        let node = SocketAddr::from(([192, 0, 2, 11], 8080));
        within(&client.netns(), || TcpStream::connect_timeout(&node, PATIENCE))
            .unwrap()
            .unwrap();
        drop(listener);
        world.del("client");
        tool.done("del", &capabilities);
        tool.done("del", &capabilities);
        let rules = world.node.run("iptables-save -t nat");
        assert!(!rules.contains("10.244.1.50"), "{rules}");
        assert_eq!(ip(&pod, "link").len(), 1);
        world.assert_empty(version);
    }
}

/// Debian's portmap cannot check where IPv6 is (it looks for IPv4's chains there too), so that tuning stands for the chain.
fn cnitool_check_with_tuning() {
    for version in ["0.4.0", "1.0.0"] {
        let world = World::new();
        let pod = Sandbox::new();
        let plugins = json!([{}, {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.arp_filter": "1"}, "mtu": 1400}]);
        let tool = Tool::new(&world, &pod, &list(&world, version, plugins));
        let none = json!({});
        tool.done("add", &none);
        tool.done("check", &none);
        pod.run("ip route del default");
        tool.fails("check", "0.0.0.0/0 via 169.254.1.1");
        tool.done("del", &none);
        world.assert_empty(version);
    }
}

fn cnitool_with_host_local() {
    let world = World::new();
    let pod = Sandbox::new();
    let ipam = world.delegating()["ipam"].clone();
    let tool = Tool::new(&world, &pod, &list(&world, "1.0.0", json!([{"ipam": ipam}])));
    let none = json!({});
    let result: Value = serde_json::from_str(&tool.done("add", &none)).unwrap();
    assert_eq!(result["ips"][1]["address"], "fd00:10:245:1::2/128");
    tool.done("check", &none);
    pod.run("ping -q -c 1 -W 5 192.0.2.11 >/dev/null; ping -q -c 1 -W 5 2001:db8:99::11 >/dev/null");
    tool.done("del", &none);
    world.assert_empty("del");
}

fn cnitool_gc_and_status() {
    let world = World::new();
    let pod = Sandbox::new();
    let tool = Tool::new(&world, &pod, &list(&world, "1.1.0", json!([{}])));
    let none = json!({});
    tool.done("status", &none);
    tool.done("add", &none);
    tool.done("check", &none);
    let told = fs::read(world.state().join("node.json")).unwrap();
    fs::remove_file(world.state().join("node.json")).unwrap();
    tool.fails("status", "node.json");
    fs::write(world.state().join("node.json"), told).unwrap();
    // cnitool names no valid attachment, which means that none is.
    let forgotten = Sandbox::new();
    world.add("forgotten", &forgotten);
    tool.done("gc", &none);
    wait_for("both pods to be detached", || {
        ip(&pod, "link").len() == 1 && ip(&forgotten, "link").len() == 1
    });
    world.assert_empty("gc");
}
