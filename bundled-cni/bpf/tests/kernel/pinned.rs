//! Pins: what they are, what is in them, who finds them.

use crate::{
    lab::{BpfFilesystem, Lab},
    shell::{json, run, wait_until_equal},
    traffic::udp_flow,
};
use netcheck_cni_bpf::{
    AttachChange, Bpf, BpfError, Change, Maps, Off, Options, Program, What, capability, remove_all,
};
use netcheck_trials::wait_for;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use serde_json::Value;
use std::path::Path;

const MAPS: [&str; 7] = [
    "nc_cfg",
    "nc_ep",
    "nc_ep_count",
    "nc_node",
    "nc_peer",
    "nc_reason",
    "nc_event",
];

fn map(root: &Path, command: &str, name: &str) -> Value {
    json(&format!(
        "bpftool -j map {command} pinned {}/maps/{name}",
        root.display()
    ))
}

fn program(root: &Path, program: Program) -> Value {
    json(&format!(
        "bpftool -j prog show pinned {}/progs/{}",
        root.display(),
        program.name()
    ))
}

pub fn maps_are_as_specified() {
    let filesystem = BpfFilesystem::mount();
    let root = filesystem.root();
    drop(Bpf::open(&root, Options::default()).unwrap());
    // SPEC.md section 6.2: type, key, value, entries, flags.
    for (name, kind, key, value, entries, flags) in [
        ("nc_cfg", "array", 4, 56, 1, 0),
        ("nc_ep", "hash", 16, 32, 1024, 0),
        ("nc_ep_count", "percpu_hash", 20, 32, 1024, 1),
        ("nc_node", "lpm_trie", 20, 28, 16384, 1),
        ("nc_peer", "percpu_array", 4, 32, 8192, 0),
        ("nc_reason", "percpu_array", 4, 16, 32, 0),
        ("nc_event", "ringbuf", 0, 0, 262_144, 0),
    ] {
        let shown = map(&root, "show", name);
        assert_eq!((&shown["name"], &shown["type"]), (&name.into(), &kind.into()));
        let number = |key: &str| shown[key].as_u64().unwrap();
        let sizes = (
            number("bytes_key"),
            number("bytes_value"),
            number("max_entries"),
            number("flags"),
        );
        assert_eq!(sizes, (key, value, entries, flags), "{name}");
    }
    for kind in Program::ALL {
        let shown = program(&root, kind);
        assert_eq!(
            (&shown["name"], &shown["type"]),
            (&kind.name().into(), &"sched_cls".into())
        );
        assert_eq!(shown["gpl_compatible"], false);
        // It decides nothing: -1 hands any packet on, here one without an IP header worth the name.
        let path = root.join("progs").join(kind.name());
        let command = "head -c 64 /dev/zero | bpftool -j prog run pinned";
        let outcome = json(&format!("{command} {} data_in - repeat 1", path.display()));
        assert_eq!(outcome["retval"], u32::MAX, "{outcome}");
    }
}

/// Bytes as bpftool's JSON has them.
fn bytes(value: &Value) -> Vec<u8> {
    let bytes = value.as_array().unwrap().iter();
    bytes
        .map(|byte| u8::from_str_radix(byte.as_str().unwrap().trim_start_matches("0x"), 16).unwrap())
        .collect()
}

/// Keys and values of a map, in order.
pub fn entries(root: &Path, name: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let dump = map(root, "dump", name);
    let entries = dump.as_array().unwrap().iter();
    let mut entries: Vec<_> = entries
        .map(|entry| (bytes(&entry["key"]), bytes(&entry["value"])))
        .collect();
    entries.sort();
    entries
}

/// The entry of a map whose key ends so.
pub fn entry(root: &Path, name: &str, end: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut entries = entries(root, name).into_iter();
    entries.find(|(key, _)| key.ends_with(end)).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    let bytes = bytes.iter().map(|byte| format!("{byte:02x}"));
    bytes.collect::<Vec<_>>().join(" ")
}

/// Writes an entry by hand, for each processor where there is one value for each.
pub fn update(root: &Path, name: &str, key: &[u8], value: &[u8]) {
    run(&format!(
        "bpftool map update pinned {}/maps/{name} key hex {} value hex {}",
        root.display(),
        hex(key),
        hex(value)
    ));
}

pub fn maps_hold_what_is_wanted() {
    let lab = Lab::new();
    let root = lab.a.root();
    let mut bpf = lab.a.open(None);
    let wanted = lab.a.contents(&[&lab.b], false);
    let changes = bpf.reconcile(&wanted).unwrap();
    // Configuration, a peer, two addresses in two maps, two prefixes of two nodes.
    assert_eq!(changes.len(), 1 + 1 + 2 * 2 + 4, "{changes:?}");
    assert_eq!(bpf.reconcile(&wanted).unwrap(), []);

    let before = entries(&root, "nc_node");
    assert_eq!(before.len(), 4);
    let peer = before.iter().find(|(key, _)| key[16..] == [10, 244, 2, 0]).unwrap();
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    assert_eq!(peer.0, [&120_u32.to_ne_bytes()[..], &mapped, &[10, 244, 2, 0]].concat());
    assert_eq!(
        peer.1,
        [&mapped[..], &[192, 0, 2, 139], &[0x0a, 0, 0, 0, 0, 2], &[0; 6]].concat()
    );
    let own = before
        .iter()
        .find(|(key, _)| key[4..12] == [0xfd, 0, 0, 0x10, 2, 0x44, 0, 1])
        .unwrap();
    assert_eq!(
        (&own.0[..4], &own.1[22..24], &own.1[24..]),
        (&64_u32.to_ne_bytes()[..], &2_u16.to_ne_bytes()[..], &[0xff; 4][..])
    );
    let (_, endpoint) = entry(&root, "nc_ep", &[10, 244, 1, 2]);
    let value = [
        &lab.a.host.ifindex("vethp").to_ne_bytes()[..],
        &[0x0a, 0x58, 0x0a, 0xf4, 1, 2, 0x0e, 0x6e, 0x63, 0, 0, 1],
        &[7; 16],
    ];
    assert_eq!(endpoint, value.concat());
    let config = map(&root, "dump", "nc_cfg");
    let words = [1_u32, 0, 1, lab.a.host.ifindex("ncvx0")]
        .map(u32::to_ne_bytes)
        .concat();
    let own4 = [&120_u32.to_ne_bytes()[..], &mapped, &[10, 244, 1, 0]].concat();
    let own6 = [&64_u32.to_ne_bytes()[..], &[0xfd, 0, 0, 0x10, 2, 0x44, 0, 1], &[0; 8]].concat();
    assert_eq!(bytes(&config[0]["value"]), [words, own4, own6].concat());
    assert_eq!(Maps::open(&root).unwrap().dump().unwrap().contents, wanted);

    // What someone falsified, added or took is put right.
    update(&root, "nc_node", &peer.0, &[9; 28]);
    let mut stray = peer.0.clone();
    stray[18] = 99;
    update(&root, "nc_node", &stray, &peer.1);
    run(&format!(
        "bpftool map delete pinned {}/maps/nc_ep key hex {}",
        root.display(),
        hex(&lab.a.pod_ip_bytes())
    ));
    update(&root, "nc_cfg", &0_u32.to_ne_bytes(), &[8; 56]);
    let change = |map, key: &str, what| Change {
        map,
        key: key.to_owned(),
        what,
    };
    let changes = bpf.reconcile(&wanted).unwrap();
    assert_eq!(
        changes,
        [
            change("nc_cfg", "0", What::Changed),
            change("nc_node", "10.244.2.0/24", What::Changed),
            change("nc_ep", "10.244.1.2", What::Added),
            change("nc_node", "10.244.99.0/24", What::Removed),
        ]
    );
    assert_eq!(entries(&root, "nc_node"), before);

    // A peer that left takes its counts along; what stays keeps its own.
    lab.a.attach(&mut bpf, &lab.a.hooks());
    lab.a.pod.run(&format!("ping -q -c 2 -i 0.01 {}", lab.b.pod_ip()));
    let before = bpf.read_counters().unwrap();
    assert_eq!(before.peers[&lab.b.internal_ip()].sent.packets, 2);
    bpf.reconcile(&lab.a.contents(&[], false)).unwrap();
    let after = bpf.read_counters().unwrap();
    assert_eq!((after.peers.len(), &after.endpoints), (0, &before.endpoints));
    bpf.reconcile(&wanted).unwrap();
    assert_eq!(bpf.read_counters().unwrap().peers[&lab.b.internal_ip()].sent.packets, 0);
}

pub fn another_layout_is_refused() {
    let filesystem = BpfFilesystem::mount();
    let root = filesystem.root();
    run(&format!("mkdir -p {}/maps", root.display()));
    let pin = root.join("maps/nc_peer");
    for (create, found) in [
        (
            "type percpu_array key 4 value 16 entries 8192",
            "PerCpuArray with key 4 B, value 16 B, 8192 entries, flags 0x0",
        ),
        (
            "type percpu_hash key 4 value 32 entries 8192 flags 1",
            "PerCpuHash with key 4 B, value 32 B, 8192 entries, flags 0x1",
        ),
        (
            "type array key 4 value 32 entries 8192",
            "Array with key 4 B, value 32 B, 8192 entries, flags 0x0",
        ),
        (
            "type percpu_array key 4 value 32 entries 64",
            "PerCpuArray with key 4 B, value 32 B, 64 entries, flags 0x0",
        ),
    ] {
        run(&format!("bpftool map create {} {create} name nc_peer", pin.display()));
        let id = map(&root, "show", "nc_peer")["id"].clone();
        let error = Bpf::open(&root, Options::default()).err().unwrap();
        assert!(matches!(error, BpfError::ForeignMap { .. }), "{error}");
        let wanted = "PerCpuArray with key 4 B, value 32 B, 8192 entries, flags 0x0";
        let text = format!(
            "pinned map {} is {found}, but must be {wanted}: remove the file if it is nobody else's",
            pin.display()
        );
        assert_eq!(error.to_string(), text);
        // Nothing was touched, and nothing was put beside it.
        assert_eq!(map(&root, "show", "nc_peer")["id"], id);
        assert_eq!(
            run(&format!("ls {}/maps {0}/progs", root.display()))
                .matches("nc_")
                .count(),
            1
        );
        run(&format!("rm {}", pin.display()));
    }
    drop(Bpf::open(&root, Options::default()).unwrap());
}

pub fn counts_survive_a_new_process() {
    let lab = Lab::new();
    let root = lab.a.root();
    let ids = || {
        let mut ids: Vec<_> = MAPS.iter().map(|name| map(&root, "show", name)["id"].clone()).collect();
        ids.extend(Program::ALL.map(|kind| program(&root, kind)["id"].clone()));
        ids
    };
    let a = lab.a.start(&lab.b, None);
    let first = ids();
    lab.a.pod.run(&format!("ping -q -c 4 -i 0.01 {}", lab.b.pod_ip()));
    // Nobody is there to look, and programs count on.
    drop(a);
    lab.a.pod.run(&format!("ping -q -c 3 -i 0.01 {}", lab.b.pod_ip()));
    let mut a = lab.a.open(None);
    assert_eq!(ids(), first);
    assert_eq!(lab.a.attach(&mut a, &lab.a.hooks()), []);
    assert_eq!(a.reconcile(&lab.a.contents(&[&lab.b], false)).unwrap(), []);
    let counters = a.read_counters().unwrap();
    let peer = counters.peers[&lab.b.internal_ip()];
    assert_eq!((peer.sent.packets, peer.received.packets), (7, 7));
    // Ethernet's 14, IPv4's 20, ICMP's 8 and ping's 56.
    assert_eq!(peer.sent.bytes, 7 * 98);
    assert_eq!(counters.endpoints[&lab.a.pod_ip().into()].from_pod, peer.sent);
}

pub fn a_program_of_another_build_is_replaced() {
    let lab = Lab::new();
    let root = lab.a.root();
    drop(lab.a.start(&lab.b, None));
    let before = program(&root, Program::VxOut)["id"].clone();
    let link = |root: &Path| lab.a.host.pinned_link(&root.join("links/ncvx0_out"));
    let old_link = link(&root);
    // Stands for an older build: other instructions under the name.
    run(&format!("mv {0}/nc_ul_out {0}/nc_vx_out", root.join("progs").display()));
    let mut a = lab.a.open(None);
    let changes = lab.a.attach(&mut a, &lab.a.hooks());
    assert_eq!(changes, [AttachChange::Replaced(lab.a.hook("ncvx0", Program::VxOut))]);
    let (new, new_link) = (program(&root, Program::VxOut), link(&root));
    assert_ne!(new["id"], before);
    // The same link, with another program behind it: there was no gap.
    assert_eq!(new_link["id"], old_link["id"]);
    assert_eq!(new_link["prog_id"], new["id"]);
    udp_flow(&lab.a.pod, &lab.b.pod, lab.b.pod_ip(), 10, 10);
    wait_until_equal("packets", || {
        (a.read_counters().unwrap().peers[&lab.b.internal_ip()].sent.packets, 10)
    });

    // A program that works on maps that are nobody's any more counts into the void.
    drop(a);
    run(&format!("rm {}/maps/nc_peer", root.display()));
    let mut a = lab.a.open(None);
    a.reconcile(&lab.a.contents(&[&lab.b], false)).unwrap();
    let changes = lab.a.attach(&mut a, &lab.a.hooks());
    assert_eq!(changes.len(), 2, "both programs of the tunnel: {changes:?}");
    udp_flow(&lab.a.pod, &lab.b.pod, lab.b.pod_ip(), 10, 10);
    wait_until_equal("packets", || {
        (a.read_counters().unwrap().peers[&lab.b.internal_ip()].sent.packets, 10)
    });
}

pub fn without_a_bpf_filesystem_it_says_so() {
    let folder = tempfile::TempDir::new().unwrap();
    let root = folder.path().join("netcheck-cni/v1");
    let off = capability(&root).unwrap_err();
    assert!(matches!(off, Off::NoBpffs { .. }), "{off}");
    let error = Bpf::open(&root, Options::default()).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "no BPF filesystem at {}: mount one, `mount -t bpf bpf /sys/fs/bpf`",
            root.display()
        )
    );
    let filesystem = BpfFilesystem::mount();
    capability(&filesystem.root()).unwrap();
    assert!(
        !filesystem.path().join("netcheck-cni").exists(),
        "asking leaves nothing behind"
    );
}

pub fn without_the_capability_it_says_so() {
    let filesystem = BpfFilesystem::mount();
    let root = filesystem.root();
    // A thread's capabilities are its own.
    let (off, error) = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let none = CapabilitySet::empty();
            let sets = CapabilitySets {
                effective: none,
                permitted: none,
                inheritable: none,
            };
            set_capabilities(None, sets).unwrap();
            let off = capability(&root).unwrap_err();
            (off, Bpf::open(&root, Options::default()).err().unwrap())
        });
        thread.join().unwrap()
    });
    assert!(matches!(off, Off::NotAllowed), "{off}");
    assert_eq!(error.to_string(), off.to_string());
    assert!(off.to_string().contains("CAP_BPF"), "{off}");
}

pub fn nothing_is_left() {
    let lab = Lab::new();
    let root = lab.a.root();
    let a = lab.a.start(&lab.b, None);
    let maps = MAPS.map(|name| map(&root, "show", name)["id"].clone());
    let programs = Program::ALL.map(|kind| program(&root, kind)["id"].clone());
    drop(a);
    lab.a.host.within(|| remove_all(&root)).unwrap();
    assert!(!lab.a.filesystem.path().join("netcheck-cni").exists());
    // The kernel frees them a moment later.
    for (what, ids) in [("map", &maps[..]), ("prog", &programs[..])] {
        wait_for(&format!("no {what} of ours"), || {
            let there = json(&format!("bpftool -j {what} show"));
            there.as_array().unwrap().iter().all(|item| !ids.contains(&item["id"]))
        });
    }
    assert!(
        lab.a
            .pod
            .run(&format!("ping -q -c 1 {}", lab.b.pod_ip()))
            .contains(" 0% packet loss")
    );
    // Once more is no error.
    lab.a.host.within(|| remove_all(&root)).unwrap();
}
