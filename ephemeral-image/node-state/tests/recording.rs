//! What a record holds of namespaces and folders, against what `ip` and `sysctl` say and against folders made here. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]

mod sandbox;

use libtest_mimic::Arguments;
use netcheck_node_state::{
    Rule,
    record::{Action, Device, Filter, NO_SUCH_FOLDER, Qdisc, Side, Space, folder, limits, space},
    within,
};
use sandbox::{Sandbox, trial, wait_for};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("devices_are_those_of_ip", devices_are_those_of_ip),
        trial("rules_are_those_of_ip", rules_are_those_of_ip),
        trial("traffic_control_is_that_of_tc", traffic_control_is_that_of_tc),
        trial("parameters_are_those_of_sysctl", parameters_are_those_of_sysctl),
        trial("a_folder_is_read_and_never_left", a_folder_is_read_and_never_left),
        trial(
            "the_way_to_a_folder_stays_in_the_root",
            the_way_to_a_folder_stays_in_the_root,
        ),
        trial("too_much_is_told", too_much_is_told),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn record(sandbox: &Sandbox, sysctls: &[&str]) -> Space {
    within(&sandbox.netns(), || space(sysctls)).unwrap().unwrap()
}

/// What `ip` says of devices, in the library's type. Counters are those that it shows.
fn theirs(sandbox: &Sandbox) -> BTreeMap<String, Device> {
    let links: Value = serde_json::from_str(&sandbox.run("ip -j -s -s -d link")).unwrap();
    let links = links.as_array().unwrap();
    let number = |value: &Value| u32::try_from(value.as_u64().unwrap()).unwrap();
    let index_of = |name: &str| {
        links
            .iter()
            .find(|link| link["ifname"] == name)
            .map(|link| number(&link["ifindex"]))
    };
    let device = |link: &Value| Device {
        index: number(&link["ifindex"]),
        has_carrier: link["flags"].as_array().unwrap().iter().any(|flag| flag == "LOWER_UP"),
        master: link["master"].as_str().map(str::to_owned),
        peer: match (&link["link_index"], link["link"].as_str()) {
            (Value::Number(_), _) => Some(number(&link["link_index"])),
            (_, name) => name.and_then(index_of),
        },
        features: match link["linkinfo"]["info_kind"].as_str() {
            Some("veth") => BTreeSet::new(),
            _ => features(&sandbox.run(&format!("ethtool -k {}", link["ifname"].as_str().unwrap()))),
        },
        counters: counters(&link["stats64"]),
    };
    links
        .iter()
        .map(|link| (link["ifname"].as_str().unwrap().to_owned(), device(link)))
        .collect()
}

/// Those that are on, of the ones that ethtool has short letters for, as it lists them: parts of them are indented.
fn features(listing: &str) -> BTreeSet<String> {
    let ours = [
        "rx-checksumming",
        "tx-checksumming",
        "scatter-gather",
        "generic-segmentation-offload",
        "generic-receive-offload",
    ];
    let lines = listing.lines().filter_map(|line| line.split_once(": "));
    let on = lines.filter(|(name, value)| ours.contains(name) && value.starts_with("on"));
    on.map(|(name, _)| name.to_owned()).collect()
}

fn counters(stats: &Value) -> BTreeMap<String, u64> {
    let side = |side: &'static str| {
        let words = stats[side].as_object().unwrap().iter();
        words.map(move |(word, count)| {
            let name = match word.as_str() {
                "multicast" | "collisions" => word.clone(),
                "otherhost" => "rx_otherhost_dropped".to_owned(),
                word => format!("{side}_{word}"),
            };
            (name, count.as_u64().unwrap())
        })
    };
    let shown = side("rx").chain(side("tx"));
    // No member of the structure.
    shown
        .filter(|(name, count)| *count != 0 && name != "tx_carrier_changes")
        .collect()
}

fn devices_are_those_of_ip() {
    let (sandbox, elsewhere) = (Sandbox::new(), Sandbox::new());
    sandbox.run(&format!(
        "ip link set lo up; ip link add br0 type bridge; ip link set br0 up
         ip link add eth0 type veth peer name wire; ip link set wire master br0; ip link set wire up
         ip link add away type veth peer name far netns {}; ip link add vx type vxlan id 7 dstport 4789 dev eth0
         ethtool -K vx tx off gro off >/dev/null
         ip link add eth0.5 type bridge; ip link add idle type veth peer name idle1
         ip addr add 192.0.2.1/24 dev eth0; ip addr add 192.0.2.2/24 dev br0; ip link set eth0 up; ip link set eth0.5 up
         ip neigh add 192.0.2.7 lladdr 0a:00:00:00:00:07 dev eth0
         ping -qc3 -i0.1 -W1 127.0.0.1 >/dev/null; ping -qc2 -i0.1 -W1 -I eth0 192.0.2.7 >/dev/null || true",
        elsewhere.pid()
    ));
    let (mut ours, mut judged) = (BTreeMap::new(), BTreeMap::new());
    // Packets of the kernel's own come now and then: its word counts where it was the same before and after.
    wait_for("the counters to rest", || {
        let before = theirs(&sandbox);
        ours = record(&sandbox, &[]).devices;
        judged = theirs(&sandbox);
        before == judged
    });
    // Not every ip shows it.
    let shown = |mut devices: BTreeMap<String, Device>| {
        for device in devices.values_mut() {
            device.counters.remove("rx_otherhost_dropped");
        }
        devices
    };
    assert_eq!(shown(ours.clone()), shown(judged));
    assert_eq!(ours["lo"].counters["rx_packets"], 6);
    let does = |device: &str, feature| ours[device].features.contains(feature);
    assert!(
        does("br0", "tx-checksumming") && !does("vx", "tx-checksumming"),
        "{ours:?}"
    );
    assert!(ours["eth0"].counters["tx_packets"] >= 2, "{ours:?}");
    assert_eq!(
        (ours["wire"].master.as_deref(), ours["wire"].peer, ours["vx"].peer),
        (Some("br0"), Some(ours["eth0"].index), None)
    );
    assert!(!ours["idle"].has_carrier && ours["eth0"].has_carrier);
    assert_eq!(ours["away"].peer, Some(record(&elsewhere, &[]).devices["far"].index));
}

/// As tc writes numbers: `1:`, `ffff:fff1`.
fn handle(text: &Value) -> u32 {
    let (major, minor) = text.as_str().unwrap().split_once(':').unwrap();
    let part = |part: &str| u32::from_str_radix(part, 16).unwrap_or_default();
    part(major) << 16 | part(minor)
}

fn their_qdiscs(sandbox: &Sandbox) -> Vec<Qdisc> {
    let listed: Value = serde_json::from_str(&sandbox.run("tc -j -s qdisc show")).unwrap();
    let listed = listed.as_array().unwrap().iter();
    let qdisc = |one: &Value| Qdisc {
        device: one["dev"].as_str().unwrap().to_owned(),
        kind: one["kind"].as_str().unwrap().to_owned(),
        handle: handle(&one["handle"]),
        parent: if one["root"] == true {
            u32::MAX
        } else {
            handle(&one["parent"])
        },
        dropped: u32::try_from(one["drops"].as_u64().unwrap_or_default()).unwrap(),
    };
    listed.map(qdisc).collect()
}

/// Devices, sides, preferences, kinds and what is done, in words of `tc -j filter`.
fn their_filters(sandbox: &Sandbox) -> Vec<Value> {
    let mut filters = Vec::new();
    for (device, side) in [("west", "ingress"), ("east", "ingress"), ("east", "egress")] {
        let listed = sandbox.run(&format!("tc -j filter show dev {device} {side}"));
        let listed: Value = serde_json::from_str(&listed).unwrap();
        // A preference as such is listed, too, and what a filter of u32 hashes by.
        let is_filter = |one: &&Value| !one["options"]["actions"].is_null() || !one["options"]["bpf_name"].is_null();
        filters.extend(listed.as_array().unwrap().iter().filter(is_filter).map(|one| {
            let actions = one["options"]["actions"].as_array();
            let actions = actions
                .into_iter()
                .flatten()
                .map(|action| json!([action["kind"], action["mirred_action"], action["to_dev"]]));
            json!([
                device,
                side,
                one["pref"],
                one["kind"],
                one["options"]["bpf_name"],
                actions.collect::<Vec<_>>()
            ])
        }));
    }
    filters
}

fn traffic_control_is_that_of_tc() {
    let sandbox = Sandbox::new();
    sandbox.run(
        "ip link add east type veth peer name west; ip link add north type veth peer name south; ip link set east up; ip link set west up
         tc qdisc add dev east root handle 7: tbf rate 8bit burst 1 limit 1
         tc qdisc add dev north root handle 1: htb default 1; tc class add dev north parent 1: classid 1:1 htb rate 1mbit
         tc qdisc add dev north parent 1:1 pfifo
         tc qdisc add dev east clsact; tc qdisc add dev west ingress
         tc filter add dev east ingress pref 3 protocol ip u32 match u32 0 0 action mirred egress redirect dev west
         tc filter add dev east egress pref 4 protocol all u32 match u32 0 0 action mirred ingress mirror dev north
         tc filter add dev west ingress pref 5 protocol all u32 match u32 0 0 action mirred egress mirror dev north action mirred ingress redirect dev south
         tc filter add dev west ingress pref 9 protocol all bpf da bytecode '1,6 0 0 0'
         ip neigh add 192.0.2.7 lladdr 0a:00:00:00:00:07 dev east; ip addr add 192.0.2.1/24 dev east
         ping -qc3 -i0.1 -W1 192.0.2.7 >/dev/null || true",
    );
    let (mut ours, mut judged) = (record(&sandbox, &[]), Vec::new());
    wait_for("the counters to rest", || {
        let before = their_qdiscs(&sandbox);
        ours = record(&sandbox, &[]);
        judged = their_qdiscs(&sandbox);
        before == judged
    });
    assert_eq!(ours.qdiscs, judged);
    let shaper = ours.qdiscs.iter().find(|qdisc| qdisc.kind == "tbf").unwrap();
    assert!(shaper.dropped >= 3 && shaper.handle == 7 << 16, "{shaper:?}");
    let filters = ours
        .filters
        .iter()
        .filter(|filter| !filter.actions.is_empty() || filter.program.is_some());
    let in_words = |filter: &Filter| {
        let side = match filter.side {
            Side::Ingress => "ingress",
            Side::Egress => "egress",
        };
        let actions = filter.actions.iter().map(|action: &Action| {
            json!([
                action.kind,
                if action.is_redirect { "redirect" } else { "mirror" },
                action.device
            ])
        });
        json!([
            filter.device,
            side,
            filter.preference,
            filter.kind,
            filter.program,
            actions.collect::<Vec<_>>()
        ])
    };
    let ours: Vec<Value> = filters.map(in_words).collect();
    assert_eq!(ours, their_filters(&sandbox));
    assert!(ours.len() >= 3, "{ours:?}");
}

/// What a rule says, in the words of `ip -j -N rule`; a prefix of all bits is left out there.
fn in_words_of_ip(rule: &Rule) -> Value {
    let mut words = json!({
        "priority": rule.priority,
        "src": rule.source.map_or_else(|| "all".to_owned(), |net| net.addr().to_string()),
    });
    let mut put = |key: &str, value: Value| words[key] = value;
    if rule.is_inverted {
        put("not", Value::Null);
    }
    if let Some(net) = rule.source.filter(|net| net.prefix_len() < net.max_prefix_len()) {
        put("srclen", json!(net.prefix_len()));
    }
    if let Some(net) = rule.destination {
        put("dst", json!(net.addr().to_string()));
        if net.prefix_len() < net.max_prefix_len() {
            put("dstlen", json!(net.prefix_len()));
        }
    }
    if let Some(name) = &rule.in_device {
        put("iif", json!(name));
    }
    if let Some(name) = &rule.out_device {
        put("oif", json!(name));
    }
    if let Some((value, mask)) = rule.mark {
        put("fwmark", json!(format!("{value:#x}")));
        if mask != u32::MAX {
            put("fwmask", json!(format!("{mask:#x}")));
        }
    }
    if let Some(length) = rule.suppressed_prefix {
        put("suppress_prefixlen", json!(length));
    }
    match rule.action {
        1 => put("table", json!(rule.table.to_string())),
        6 => put("action", json!("6")),
        _ => {}
    }
    words
}

fn rules_are_those_of_ip() {
    let sandbox = Sandbox::new();
    sandbox.run(
        "ip rule add from 10.0.0.0/24 to 10.0.1.0/24 lookup 4242 priority 100
         ip rule add not from 10.0.9.1 fwmark 0x100/0xf00 lookup 77 priority 101
         ip rule add iif lo oif lo lookup 300 suppress_prefixlength 0 priority 102
         ip rule add to 10.0.8.0/24 blackhole priority 103
         ip rule add fwmark 7 lookup 78 priority 104
         ip -6 rule add from fd00:1::/64 lookup 4243 priority 105",
    );
    let theirs = |family: &str| -> Vec<Value> {
        let listing = sandbox.run(&format!("ip {family} -j -N rule"));
        let mut rules: Vec<Value> = serde_json::from_str(&listing).unwrap();
        for rule in rules.iter_mut().filter_map(Value::as_object_mut) {
            // Who put it there is nothing of what it fits.
            rule.remove("protocol");
        }
        rules
    };
    let ours = |is_ipv6: bool| -> Vec<Value> {
        let rules = record(&sandbox, &[]).rules;
        let of_family = rules.iter().filter(|rule| rule.is_ipv6 == is_ipv6);
        of_family.map(in_words_of_ip).collect()
    };
    assert_eq!(ours(false), theirs("-4"));
    assert_eq!(ours(true), theirs("-6"));
    assert_eq!(ours(false).len(), 8);
    // What no field has narrows a rule.
    sandbox.run("ip rule add ipproto tcp dport 80 lookup 79 priority 106");
    let narrow = record(&sandbox, &[]).rules;
    let narrow = narrow.iter().find(|rule| rule.priority == 106).unwrap();
    // FRA_IP_PROTO and FRA_DPORT_RANGE; newer kernels say a mask as well.
    assert!(
        [22, 24].iter().all(|number| narrow.others.contains(number)),
        "{narrow:?}"
    );
}

fn parameters_are_those_of_sysctl() {
    const PATTERNS: [&str; 7] = [
        "net.ipv4.ip_forward",
        "net.ipv4.conf.*.rp_filter",
        "net.ipv6.conf.*.forwarding",
        "net.ipv4.neigh.*.gc_stale_time",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.no_such_parameter",
        "kernel.panic",
    ];
    let sandbox = Sandbox::new();
    sandbox.run("ip link add eth0.1 type bridge; ip link add eth1 type bridge; sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.eth0/1.rp_filter=2");
    let space = record(&sandbox, &PATTERNS);
    let listed = sandbox.run(
        r"sysctl -a 2>/dev/null | grep -E '^net\.(ipv4\.(ip_forward|ip_local_port_range|conf\.[^.]*\.rp_filter|neigh\.[^.]*\.gc_stale_time)|ipv6\.conf\.[^.]*\.forwarding) ='",
    );
    let theirs: BTreeMap<String, String> = listed
        .lines()
        .map(|line| line.split_once(" = ").unwrap())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(space.sysctls, theirs);
    assert_eq!(theirs["net.ipv4.conf.eth0/1.rp_filter"], "2");
    assert!(
        theirs.len() >= 13 && theirs.contains_key("net.ipv4.neigh.eth0/1.gc_stale_time"),
        "{theirs:?}"
    );
    let inode = sandbox.run("stat -Lc %i /proc/self/ns/net");
    assert_eq!(space.inode.to_string(), inode.trim());
}

fn a_folder_is_read_and_never_left() {
    let root = tempfile::tempdir().unwrap();
    let made = root.path().join("etc/made");
    fs::create_dir_all(made.join("inner")).unwrap();
    fs::write(root.path().join("secret"), "secret").unwrap();
    fs::write(made.join("10-a.conflist"), "{\"plugins\": []}\n").unwrap();
    fs::set_permissions(made.join("10-a.conflist"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(made.join("binary"), [0xff, 0xfe, 0]).unwrap();
    fs::write(made.join("largest"), "x".repeat(1 << 20)).unwrap();
    fs::write(made.join("too-large"), "x".repeat((1 << 20) + 1)).unwrap();
    symlink("../../secret", made.join("out")).unwrap();
    symlink("/proc/self/root", made.join("away")).unwrap();
    let _socket = UnixListener::bind(made.join("socket")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(made.join("fifo"))
            .status()
            .unwrap()
            .success()
    );
    let old = fs::File::options().write(true).open(made.join("binary")).unwrap();
    old.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();

    let with_text = folder(root.path(), "/etc/made", true).unwrap();
    let names: Vec<&str> = with_text.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["10-a.conflist", "away", "binary", "largest", "out", "too-large"]
    );
    let text = |name: &str| with_text[name].text.clone().unwrap();
    assert_eq!(text("10-a.conflist").as_deref(), Ok("{\"plugins\": []}\n"));
    assert_eq!(
        (text("out").as_deref(), text("away").as_deref()),
        (Ok("../../secret"), Ok("/proc/self/root"))
    );
    assert_eq!(
        (text("binary"), text("too-large")),
        (Err("not UTF-8".to_owned()), Err("larger than 1 MiB".to_owned()))
    );
    assert_eq!(text("largest").map(|text| text.len()), Ok(1 << 20));
    let conflist = &with_text["10-a.conflist"];
    assert_eq!((conflist.length, conflist.mode, conflist.is_link), (16, 0o640, false));
    assert!(with_text["out"].is_link && with_text["too-large"].length == (1 << 20) + 1);
    assert!((3600..3700).contains(&with_text["binary"].age_seconds) && conflist.age_seconds < 100);

    let without = folder(root.path(), "/etc/made", false).unwrap();
    assert_eq!(without.keys().collect::<Vec<_>>(), with_text.keys().collect::<Vec<_>>());
    assert_eq!(without["10-a.conflist"].text, None);
    assert_eq!(without["out"].text, Some(Ok("../../secret".to_owned())));
}

fn the_way_to_a_folder_stays_in_the_root() {
    let root = tempfile::tempdir().unwrap();
    let (path, here) = (root.path(), |name: &str| root.path().join(name));
    fs::create_dir_all(here("run/netns")).unwrap();
    fs::create_dir_all(here("var")).unwrap();
    fs::write(here("run/netns/cni-1"), "").unwrap();
    symlink("/run", here("var/run")).unwrap();
    symlink("../../../../../../../run", here("var/up")).unwrap();
    symlink("/proc/self/root/etc", here("var/etc")).unwrap();
    for way in ["/var/run/netns", "var/run/netns/", "/var/up/netns", "/../../run/netns"] {
        let found = folder(path, way, false).map(|files| files.into_keys().collect::<Vec<_>>());
        assert_eq!(found, Ok(vec!["cni-1".to_owned()]), "{way}");
    }
    for missing in ["/no/such", "/var/etc", "", "/run/netns/none"] {
        assert_eq!(folder(path, missing, true), Err(NO_SUCH_FOLDER.to_owned()), "{missing}");
    }
    assert_eq!(folder(path, "/run/netns/cni-1", true), Err("not a folder".to_owned()));
    // A link of the kernel's leads anywhere.
    let refused = folder(Path::new("/"), "/proc/self/root/etc", false).unwrap_err();
    assert!(refused.starts_with("cannot open the folder"), "{refused}");
}

fn too_much_is_told() {
    let root = tempfile::tempdir().unwrap();
    let here = |name: String| root.path().join(name);
    for number in 0..17 {
        fs::write(here(format!("{number:02}")), "x".repeat(1 << 20)).unwrap();
    }
    let files = folder(root.path(), "/", true).unwrap();
    let read = files.values().filter(|file| matches!(&file.text, Some(Ok(_)))).count();
    assert_eq!((files.len(), read), (17, 15));
    let why = files["16"].text.clone().unwrap().unwrap_err();
    assert_eq!(why, "not read: what is read here would have more than 16 MiB");
    for number in 17..limits::NAMES {
        fs::write(here(format!("{number:02}")), "").unwrap();
    }
    assert_eq!(folder(root.path(), "/", false).unwrap().len(), limits::NAMES);
    fs::write(here("one more".to_owned()), "").unwrap();
    assert_eq!(
        folder(root.path(), "/", false),
        Err("more than 10000 entries".to_owned())
    );
}
