//! What a record of a node says of pins (netcheck-node-state), against bpftool.

use crate::{
    lab::{BpfFilesystem, Lab, Namespace},
    shell::{json, run, wait_until_equal},
};
use aya::maps::{Array, HashMap, Map, MapData};
use netcheck_cni_bpf::Hooking;
use netcheck_node_state::record::{NO_SUCH_FOLDER, PinnedLink, PinnedMap, PinnedProgram, Pins, Reading, limits, pins};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};
use tempfile::NamedTempFile;

/// `BPF_LINK_TYPE_TCX`.
const TCX: u32 = 11;
/// `BPF_MAP_TYPE_*` by bpftool's names.
const KINDS: [(&str, u32); 13] = [
    ("hash", 1),
    ("array", 2),
    ("prog_array", 3),
    ("percpu_hash", 5),
    ("percpu_array", 6),
    ("stack_trace", 7),
    ("lru_hash", 9),
    ("lru_percpu_hash", 10),
    ("lpm_trie", 11),
    ("hash_of_maps", 13),
    ("devmap", 14),
    ("queue", 22),
    ("ringbuf", 27),
];

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

fn hexadecimal(value: &Value) -> String {
    let bytes = value.as_array().unwrap().iter();
    bytes
        .map(|byte| byte.as_str().unwrap().trim_start_matches("0x"))
        .collect()
}

/// The files in a folder of pins, by their paths below the root.
fn files(root: &Path, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root.join(folder)).unwrap();
    entries
        .map(|entry| format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect()
}

/// A map as bpftool shows and dumps it.
fn their_map(root: &Path, path: &str) -> PinnedMap {
    let pin = root.join(path);
    let shown = json(&format!("bpftool -j map show pinned {}", pin.display()));
    let kind = shown["type"].as_str().unwrap();
    let entries = match kind {
        "ringbuf" | "queue" | "stack_trace" => BTreeMap::new(),
        _ => {
            let dump = json(&format!("bpftool -j map dump pinned {}", pin.display()));
            // What is not there is listed with an error.
            let entries = dump
                .as_array()
                .unwrap()
                .iter()
                .filter(|entry| entry["value"]["error"].is_null());
            let entries = entries.map(|entry| (hexadecimal(&entry["key"]), their_value(entry)));
            // Of arrays, whose places are all there, only what is not zero is told.
            entries
                .filter(|(_, value)| !kind.ends_with("array") || value.bytes().any(|digit| digit != b'0'))
                .collect()
        }
    };
    PinnedMap {
        id: number(&shown["id"]),
        kind: KINDS.iter().find(|(name, _)| *name == kind).unwrap().1,
        key: number(&shown["bytes_key"]),
        value: number(&shown["bytes_value"]),
        max_entries: number(&shown["max_entries"]),
        flags: number(&shown["flags"]),
        entries,
    }
}

/// One value, or that of each processor, filled up to eight bytes.
fn their_value(entry: &Value) -> String {
    let Some(values) = entry["values"].as_array() else {
        return hexadecimal(&entry["value"]);
    };
    let filled = values.iter().map(|value| {
        let digits = hexadecimal(&value["value"]);
        let width = digits.len().next_multiple_of(16);
        format!("{digits:0<width$}")
    });
    filled.collect()
}

/// What is pinned and what hangs on the namespace's devices, as bpftool sees it.
fn theirs(root: &Path, host: &Namespace) -> Pins {
    let mut pins = Pins::default();
    for path in files(root, "maps") {
        pins.maps.insert(path.clone(), Ok(their_map(root, &path)));
    }
    for path in files(root, "progs") {
        let shown = json(&format!("bpftool -j prog show pinned {}", root.join(&path).display()));
        let maps = shown["map_ids"].as_array().into_iter().flatten().map(number).collect();
        let program = PinnedProgram {
            id: number(&shown["id"]),
            tag: shown["tag"].as_str().unwrap().to_owned(),
            maps,
        };
        pins.programs.insert(path, Ok(program));
    }
    for path in files(root, "links") {
        let shown = host.pinned_link(&root.join(&path));
        assert_eq!(shown["type"], "tcx", "{shown}");
        let link = PinnedLink {
            id: number(&shown["id"]),
            kind: TCX,
            program: number(&shown["prog_id"]),
            ifindex: number(&shown["ifindex"]),
            attach_type: match shown["attach_type"].as_str() {
                Some("tcx_ingress") => 46,
                Some("tcx_egress") => 47,
                other => panic!("{other:?}"),
            },
        };
        pins.links.insert(path, Ok(link));
    }
    let shown: Value = serde_json::from_str(&host.run("bpftool -j net show")).unwrap();
    for hook in shown[0]["tc"].as_array().unwrap() {
        let (kind, side) = hook["kind"].as_str().unwrap().split_once('/').unwrap();
        assert_eq!(kind, "tcx", "{hook}");
        let place = format!("{} {side}", hook["devname"].as_str().unwrap());
        pins.hooks.entry(place).or_default().push(number(&hook["prog_id"]));
    }
    pins
}

pub fn pins_are_those_of_bpftool() {
    let lab = Lab::new();
    let root = lab.a.root();
    let _bpf = lab.a.start(&lab.b, Some(Hooking::Tcx));
    lab.a.pod.run(&format!("ping -qc3 -i0.2 -W1 {}", lab.b.pod_ip()));
    let mut ours = Pins::default();
    // Counters may still move.
    wait_until_equal("pins", || {
        ours = lab
            .a
            .host
            .within(|| pins(Path::new("/"), root.to_str().unwrap()))
            .unwrap();
        (ours.clone(), theirs(&root, &lab.a.host))
    });
    assert_eq!((ours.maps.len(), ours.links.len(), ours.hooks.len()), (7, 4, 4));
    let counted = ours.maps["maps/nc_ep_count"].as_ref().unwrap();
    assert!(
        counted
            .entries
            .values()
            .any(|value| value.bytes().any(|digit| digit != b'0'))
    );
    // The devices of another namespace are not the node's.
    let elsewhere = lab
        .b
        .host
        .within(|| pins(Path::new("/"), root.to_str().unwrap()))
        .unwrap();
    assert_ne!(elsewhere.hooks, ours.hooks);
    let nowhere = Namespace::new("empty");
    let nowhere = nowhere.within(|| pins(Path::new("/"), root.to_str().unwrap())).unwrap();
    assert_eq!((nowhere.hooks.len(), nowhere.links), (0, ours.links));
}

/// The path of a filesystem's folder, and what the library says of it.
fn read(folder: &Path) -> Reading<Pins> {
    pins(Path::new("/"), folder.to_str().unwrap())
}

pub fn maps_of_all_kinds_are_those_of_bpftool() {
    let filesystem = BpfFilesystem::mount();
    let folder = filesystem.path().join("deep/er");
    fs::create_dir_all(folder.join("maps")).unwrap();
    let maps = folder.join("maps");
    let at = |name: &str| maps.join(name).display().to_string();
    let create = |name: &str, words: &str| run(&format!("bpftool map create {} {words} name x", at(name)));
    create("hash", "type hash key 4 value 12 entries 8");
    create("lru", "type lru_hash key 3 value 5 entries 64");
    create("lazy", "type hash key 4 value 4 entries 6000 flags 1");
    create("array", "type array key 4 value 7 entries 5");
    create("counts", "type percpu_array key 4 value 12 entries 3");
    create("counts_by", "type percpu_hash key 2 value 4 entries 8");
    create("prefixes", "type lpm_trie key 8 value 2 entries 64 flags 1");
    create("programs", "type prog_array key 4 value 4 entries 4");
    create("devices", "type devmap key 4 value 4 entries 4");
    create("queue", "type queue key 0 value 4 entries 4");
    create("stacks", "type stack_trace key 4 value 80 entries 4");
    create("ring", "type ringbuf key 0 value 0 entries 4096");
    create("empty", "type hash key 4 value 4 entries 4");
    // So large that one bucket may have more than is asked for at once.
    create("large", "type hash key 4 value 150000 entries 8");
    let update = |name: &str, key: &str, value: &str| {
        run(&format!(
            "bpftool map update pinned {} key hex {key} value hex {value}",
            at(name)
        ));
    };
    update("hash", "01 02 03 04", "01 02 03 04 05 06 07 08 09 0a 0b 0c");
    update("hash", "ff ff ff ff", "00 00 00 00 00 00 00 00 00 00 00 0d");
    update("lru", "01 02 03", "05 04 03 02 01");
    update("array", "04 00 00 00", "01 02 03 04 05 06 07");
    update("counts", "01 00 00 00", "01 02 03 04 05 06 07 08 09 0a 0b 0c");
    update("counts_by", "01 02", "01 02 03 04");
    update("devices", "02 00 00 00", "01 00 00 00");
    update("prefixes", "10 00 00 00 0a 01 00 00", "01 02");
    update("prefixes", "18 00 00 00 0a 01 02 00", "03 04");
    let list = NamedTempFile::new().unwrap();
    let lines = (0..5000_u32).map(|number| {
        let [a, b, c, d] = number.to_ne_bytes();
        format!(
            "map update pinned {} key hex {a:02x} {b:02x} {c:02x} {d:02x} value hex {d:02x} {c:02x} {b:02x} {a:02x}\n",
            at("lazy")
        )
    });
    fs::write(list.path(), lines.collect::<String>()).unwrap();
    run(&format!("bpftool batch file {} >/dev/null", list.path().display()));
    let large = MapData::from_pin(maps.join("large")).unwrap();
    let mut large: HashMap<_, u32, [u8; 150_000]> = Map::HashMap(large).try_into().unwrap();
    let value = vec![7; 150_000];
    for key in 0..8 {
        large.insert(key, value.as_array().unwrap(), 0).unwrap();
    }

    let ours = read(&folder).unwrap();
    assert_eq!(ours.maps.len(), 14);
    for (path, map) in &ours.maps {
        let theirs = their_map(&folder, path);
        assert!(map.as_ref() == Ok(&theirs), "{path}: {map:?}");
    }
    let count = |name: &str| ours.maps[&format!("maps/{name}")].as_ref().unwrap().entries.len();
    assert_eq!(
        [
            "hash", "lazy", "array", "counts", "prefixes", "devices", "ring", "large"
        ]
        .map(count),
        [2, 5000, 1, 1, 2, 1, 0, 8]
    );
}

/// Writes all of an array's places.
fn fill<const N: usize>(pin: &Path) {
    let map = Map::Array(MapData::from_pin(pin).unwrap());
    let mut array: Array<_, [u8; N]> = map.try_into().unwrap();
    for place in 0..array.len() {
        array.set(place, [1; N], 0).unwrap();
    }
}

pub fn what_cannot_be_read_of_pins_is_told() {
    let filesystem = BpfFilesystem::mount();
    let folder = filesystem.path().join("v1");
    fs::create_dir_all(folder.join("maps/inner")).unwrap();
    let create = |path: &str, words: &str| {
        run(&format!(
            "bpftool map create {} {words} name x",
            folder.join(path).display()
        ));
    };
    let many = limits::MAP_ENTRIES + 1;
    create("maps/a_many", &format!("type array key 4 value 4 entries {many}"));
    fill::<4>(&folder.join("maps/a_many"));
    create("maps/b_heavy", "type array key 4 value 1024 entries 20000");
    fill::<1024>(&folder.join("maps/b_heavy"));
    create("maps/inner/c_fits", "type array key 4 value 8 entries 200000");
    create("loose", "type array key 4 value 8 entries 1");
    std::os::unix::fs::symlink(folder.join("loose"), folder.join("maps/link")).unwrap();
    let ours = read(&folder).unwrap();
    let why = |path: &str| ours.maps[path].clone().err();
    assert_eq!(
        ours.maps.keys().map(String::as_str).collect::<Vec<_>>(),
        ["loose", "maps/a_many", "maps/b_heavy", "maps/inner/c_fits"]
    );
    assert_eq!(why("maps/a_many").as_deref(), Some("more than 100000 entries"));
    let heavy = "not read: what is read here would have more than 16 MiB";
    assert_eq!(why("maps/b_heavy").as_deref(), Some(heavy));
    assert_eq!((why("maps/inner/c_fits"), why("loose")), (None, None));

    assert_eq!(read(&folder.join("none")), Err(NO_SUCH_FOLDER.to_owned()));
    assert_eq!(read(Path::new("/tmp")), Err("not in a BPF filesystem".to_owned()));
}
