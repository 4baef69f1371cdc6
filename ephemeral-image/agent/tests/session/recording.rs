//! What the agent tells of a whole node, against what the programs say that a person would use.

use crate::support::{
    needs_root,
    plugin::{Agent, Plugin},
    world::{CLIENT, World},
};
use libtest_mimic::Trial;
use netcheck_node_state::record::{NO_SUCH_FOLDER, NodeRecord, RECORD};
use netcheck_wire::{
    Task,
    message::{Folder, Plugins, RecordOrder},
};
use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _};
use tempfile::{TempDir, tempdir};

pub fn trials() -> Vec<Trial> {
    vec![
        needs_root("a_node_is_recorded", a_node_is_recorded),
        needs_root("what_is_not_there_is_told", what_is_not_there_is_told),
        needs_root("a_large_record_comes_in_pieces", a_large_record_comes_in_pieces),
    ]
}

/// Mounts a BPF filesystem that ends with the agent, pins a map in it, and goes on as an agent on a node: with its capabilities and no others.
const ON_A_NODE: &str = "mount -t bpf bpf $0; mkdir -p $0/v1/maps
    bpftool map create $0/v1/maps/counts type hash key 4 value 2 entries 4 name counts
    bpftool map update pinned $0/v1/maps/counts key 1 0 0 0 value 2 0
    exec setpriv --inh-caps=-all --bounding-set=-all,+net_admin,+net_raw,+sys_admin,+sys_ptrace \"$@\"";

/// An agent whose node is the router, with a BPF filesystem on a folder. It is process 1, so that the disk is its own whatever runs this test.
fn on_the_router(world: &World, bpf: &TempDir) -> Agent {
    let namespace = format!("--net={}", world.path("router").display());
    let own_numbers = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let on_a_node = ["sh", "-ec", ON_A_NODE, bpf.path().to_str().unwrap()];
    let words = [&["nsenter", &namespace], &own_numbers[..], &on_a_node].concat();
    Agent::start_by(&words, &["--deadline", "120"])
}

/// The most memory that it ever had, in kilobytes.
fn peak_kb(agent: &Agent) -> u64 {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", agent.pid())).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", children.trim())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// What a record's data frames say, and how long each is.
fn record(plugin: &mut Plugin, order: RecordOrder) -> (NodeRecord, Vec<usize>) {
    let id = plugin.start(Task::Record(order));
    assert_eq!(plugin.done(id), []);
    let pieces: Vec<&[u8]> = plugin
        .data
        .iter()
        .filter(|(of, _)| *of == id)
        .map(|(_, bytes)| bytes.as_slice())
        .collect();
    let lengths = pieces.iter().map(|piece| piece.len()).collect();
    (serde_json::from_slice(&pieces.concat()).unwrap(), lengths)
}

fn folder(path: &str, with_text: bool) -> Folder {
    Folder {
        path: path.to_owned(),
        with_text,
    }
}

/// Without comments, which have the time in them.
fn rules(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

fn a_node_is_recorded() {
    let world = World::new();
    world.run(
        "router",
        "ipset create by-set hash:ip; ipset add by-set 10.9.9.9
         iptables-legacy -A FORWARD -m comment --comment by-legacy -j ACCEPT
         iptables-nft -A FORWARD -p tcp --dport 81 -m comment --comment by-nft -j ACCEPT
         ip6tables-nft -A INPUT -s 2001:db8:77::/48 -j DROP",
    );
    world.rule("router", "input", "tcp dport 8080 drop");
    let files = tempdir().unwrap();
    let list = r#"{"plugins":[{"type":"tells","ipam":{"type":"repeats"}},{"type":"../fails"},{"type":"fails"},{"type":"missing"}]}"#;
    fs::write(files.path().join("10-net.conflist"), list).unwrap();
    fs::write(files.path().join("20-broken.conflist"), "{").unwrap();
    // Programs that show how they were run: with which variables, and what they were told.
    let programs = tempdir().unwrap();
    for (name, program) in [("tells", "env"), ("repeats", "cat"), ("fails", "false")] {
        fs::copy(format!("/usr/bin/{program}"), programs.path().join(name)).unwrap();
    }
    let networks = files.path().join("networks");
    fs::create_dir_all(networks.join("plain")).unwrap();
    fs::write(networks.join("plain/192.0.2.7"), "c1\r\neth0").unwrap();
    fs::write(networks.join("no-folder"), "").unwrap();
    let networks = networks.to_str().unwrap();
    let path = files.path().to_str().unwrap();
    let bpf = tempdir().unwrap();

    let mut agent = on_the_router(&world, &bpf);
    let mut plugin = Plugin::joining(&agent);
    plugin.task(Task::Locate { places: world.places() });
    let order = RecordOrder {
        places: vec![CLIENT],
        sysctls: vec!["net.ipv4.ip_forward".to_owned(), "net.ipv4.conf.*.rp_filter".to_owned()],
        // Read once, with its text.
        folders: vec![
            folder(path, true),
            folder(path, false),
            folder(&format!("{networks}/*"), true),
            folder("/nowhere/*", true),
        ],
        pins: Some(format!("{}/v1", bpf.path().display())),
        plugins: Some(Plugins {
            configuration: path.to_owned(),
            programs: programs.path().to_str().unwrap().to_owned(),
        }),
    };
    let (record, _) = record(&mut plugin, order);
    plugin.finish_with(&mut agent);

    assert_eq!(
        (record.record, record.kernel),
        (
            RECORD,
            fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap()
                .trim()
                .to_owned()
        )
    );
    let inode = |node: &str| fs::metadata(world.path(node)).unwrap().ino();
    let client = record.pods[&CLIENT].as_ref().unwrap();
    assert_eq!((record.node.inode, client.inode), (inode("router"), inode("client")));
    let devices: Vec<&str> = record.node.devices.keys().map(String::as_str).collect();
    assert_eq!(devices, ["lo", "to-client", "to-server"]);
    assert_eq!(
        record.node.net.links.keys().collect::<Vec<_>>(),
        record.node.devices.keys().collect::<Vec<_>>()
    );
    assert_eq!(
        client.devices["eth0"].peer,
        Some(record.node.devices["to-client"].index)
    );
    assert!(
        client
            .net
            .routes
            .iter()
            .any(|route| route.gateway == Some(world.router(false)))
    );
    let forward = |space: &netcheck_node_state::record::Space| space.sysctls["net.ipv4.ip_forward"].clone();
    assert_eq!(
        (forward(&record.node), forward(client)),
        ("1".to_owned(), "0".to_owned())
    );
    assert!(record.node.sysctls.contains_key("net.ipv4.conf.to-client.rp_filter"));

    let theirs: serde_json::Value = serde_json::from_str(&world.output("router", "nft -j list ruleset")).unwrap();
    assert_eq!(record.nft, Ok(theirs));
    let programs: Vec<&str> = record.iptables.keys().map(String::as_str).collect();
    assert_eq!(
        programs,
        [
            "ip6tables-legacy-save",
            "ip6tables-nft-save",
            "ipset",
            "iptables-legacy-save",
            "iptables-nft-save"
        ]
    );
    for (program, answer) in &record.iptables {
        let command = if program == "ipset" { "ipset save" } else { program };
        let theirs = world.output("router", command);
        assert_eq!(rules(answer.as_ref().unwrap()), rules(&theirs), "{program}");
    }
    for (program, rule) in [
        ("iptables-legacy-save", "by-legacy"),
        ("ipset", "add by-set 10.9.9.9"),
        ("iptables-nft-save", "by-nft"),
        ("ip6tables-nft-save", "2001:db8:77::/48"),
    ] {
        assert!(record.iptables[program].as_ref().unwrap().contains(rule), "{program}");
    }
    let folders = record.folders[path].as_ref().unwrap();
    assert_eq!(folders["10-net.conflist"].text, Some(Ok(list.to_owned())));
    let mut paths: Vec<&str> = record.folders.keys().map(String::as_str).collect();
    paths.sort_unstable();
    let below = format!("{networks}/plain");
    assert_eq!(paths, ["/nowhere", path, &below]);
    let given = record.folders[&below].as_ref().unwrap();
    assert_eq!(given["192.0.2.7"].text, Some(Ok("c1\r\neth0".to_owned())));
    let not_there = |why: &str| Err(why.to_owned());
    let versions = BTreeMap::from([
        ("tells".to_owned(), Ok("CNI_COMMAND=VERSION\n".to_owned())),
        ("repeats".to_owned(), Ok(r#"{"cniVersion":"1.0.0"}"#.to_owned())),
        ("fails".to_owned(), not_there("fails: exit status: 1: ")),
        ("missing".to_owned(), not_there("not there")),
        ("../fails".to_owned(), not_there("not a file's name")),
    ]);
    assert_eq!(record.plugins, versions);
    let pins = record.pins.unwrap().unwrap();
    let counts = pins.maps["maps/counts"].as_ref().unwrap();
    assert_eq!(
        counts.entries,
        BTreeMap::from([("01000000".to_owned(), "0200".to_owned())])
    );
    assert_eq!((pins.maps.len(), pins.programs.len(), pins.links.len()), (1, 0, 0));
}

fn what_is_not_there_is_told() {
    let world = World::new();
    let mut agent = on_the_router(&world, &tempdir().unwrap());
    let mut plugin = Plugin::joining(&agent);
    let order = RecordOrder {
        places: vec![CLIENT, 99],
        sysctls: vec!["net.no.such".to_owned(), "kernel.panic".to_owned(), String::new()],
        folders: vec![folder("/no/such/folder", true), folder("", false)],
        pins: Some("/tmp".to_owned()),
        plugins: None,
    };
    let (record, _) = record(&mut plugin, order);
    plugin.finish_with(&mut agent);
    for place in [CLIENT, 99] {
        assert_eq!(record.pods[&place], Err(format!("place {place} was not located")));
    }
    for path in ["/no/such/folder", ""] {
        assert_eq!(record.folders[path], Err(NO_SUCH_FOLDER.to_owned()));
    }
    assert_eq!(record.pins, Some(Err("not in a BPF filesystem".to_owned())));
    assert!(record.node.sysctls.is_empty());
    assert_eq!(record.iptables["ip6tables-legacy-save"], Ok(String::new()));
    assert!(record.nft.unwrap()["nftables"].is_array());
    // And reading it has made none.
    assert_eq!(
        world.output("router", "cat /proc/net/ip_tables_names /proc/net/ip6_tables_names"),
        ""
    );
}

fn a_large_record_comes_in_pieces() {
    /// In each of two folders: nearly as much as is read of one.
    const FILES: usize = 15;
    let world = World::new();
    let files = tempdir().unwrap();
    let folders = ["a", "b"].map(|name| files.path().join(name));
    for number in 0..FILES {
        let line = format!("{number} \"quoted\"\n");
        for folder in &folders {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join(format!("{number}")), line.repeat((1 << 20) / line.len())).unwrap();
        }
    }
    let bpf = tempdir().unwrap();
    let agent = on_the_router(&world, &bpf);
    // Cut in the midst of it, and gone on with on another stream.
    let mut plugin = Plugin::cut(&agent, vec![5_000_000, usize::MAX]);
    let order = RecordOrder {
        folders: folders
            .iter()
            .map(|path| folder(path.to_str().unwrap(), true))
            .collect(),
        ..RecordOrder::default()
    };
    let (record, lengths) = record(&mut plugin, order);
    assert_eq!((plugin.connects, record.pins), (2, None));
    let most = netcheck_wire::frame::MAX_PAYLOAD - netcheck_wire::message::DATA_HEADER;
    assert!(
        lengths.len() > FILES && lengths.iter().all(|length| (1..=most).contains(length)),
        "{lengths:?}"
    );
    for path in &folders {
        let folder = record.folders[path.to_str().unwrap()].as_ref().unwrap();
        assert_eq!(folder.len(), FILES);
        for (name, file) in folder {
            let text = file.text.clone().unwrap().unwrap();
            assert!(text == fs::read_to_string(path.join(name)).unwrap(), "{name}");
        }
    }
    // An agent on a node may have 64 MiB.
    let peak = peak_kb(&agent);
    assert!(peak < 48 << 10, "{peak} kB");
}
