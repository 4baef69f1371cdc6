//! What `ip` and `bridge` say of a namespace, in the library's own types: the judge of its snapshots.

use crate::sandbox::Sandbox;
use ipnet::IpNet;
use netcheck_node_state::{
    Address, FdbEntry, Link, LinkKind, Mac, Neighbour, NetState, NextHop, Route, Vxlan, snapshot, within,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Asserts that a snapshot is what `ip` and `bridge` say. The kernel moves by itself (duplicate addresses are looked for, neighbours
/// age), so their word counts only where it was the same before and after.
pub fn assert_snapshot_is_theirs(sandbox: &Sandbox) -> NetState {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut before = theirs(sandbox);
    loop {
        let ours = within(&sandbox.netns(), snapshot).unwrap().unwrap();
        let after = theirs(sandbox);
        if before == after {
            assert_same(&ours, &after);
            return ours;
        }
        assert!(Instant::now() < deadline, "the namespace does not come to rest");
        before = after;
    }
}

/// Asserts that two states are the same, table by table.
pub fn assert_same(ours: &NetState, theirs: &NetState) {
    differ("links", &ours.links, &theirs.links);
    differ("addresses", &ours.addresses, &theirs.addresses);
    differ("routes", &ours.routes, &theirs.routes);
    differ("neighbours", &ours.neighbours, &theirs.neighbours);
    differ("fdb", &ours.fdb, &theirs.fdb);
    assert_eq!(ours, theirs);
}

/// Fails with what only one side has, which is easier to read than two whole tables.
fn differ<'a, C, T>(table: &str, ours: &'a C, theirs: &'a C)
where
    &'a C: IntoIterator<Item = T>,
    T: PartialEq + std::fmt::Debug,
{
    let without = |these: &'a C, others: &'a C| -> Vec<T> {
        let others: Vec<T> = others.into_iter().collect();
        these.into_iter().filter(|this| !others.contains(this)).collect()
    };
    let (only_ours, only_theirs) = (without(ours, theirs), without(theirs, ours));
    assert!(
        only_ours.is_empty() && only_theirs.is_empty(),
        "{table}: only ours {only_ours:#?}, only theirs {only_theirs:#?}"
    );
}

/// Everything that `ip` and `bridge` show of themselves.
pub fn theirs(sandbox: &Sandbox) -> NetState {
    let commands = [
        "ip -j -d link",
        "ip -j addr",
        "ip -j -N -d route show table all",
        "ip -j -N neigh",
        "bridge -j fdb",
    ];
    // A record separator: no JSON has one as it is, whatever an alias says.
    let text = sandbox.run(&commands.join(r"; printf '\036'; "));
    let mut lists = text.split('\x1e').map(|list| match list.trim() {
        "" => Value::Array(vec![]),
        list => serde_json::from_str(list).unwrap(),
    });
    let mut next = || match lists.next() {
        Some(Value::Array(list)) => list,
        other => panic!("{other:?}"),
    };
    let (links, addressed, routes, neighbours, fdb) = (next(), next(), next(), next(), next());
    NetState {
        links: links
            .iter()
            .map(|value| (text_of(value, "ifname"), link(value)))
            .collect(),
        addresses: addressed.iter().flat_map(addresses).collect(),
        routes: routes.iter().filter(|value| is_whole(value)).map(route).collect(),
        neighbours: neighbours.iter().map(neighbour).collect(),
        fdb: fdb.iter().map(fdb_entry).collect(),
    }
}

fn text_of(value: &Value, key: &str) -> String {
    maybe(value, key).unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn maybe(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

fn number<N: TryFrom<u64>>(value: &Value, key: &str) -> Option<N> {
    match value.get(key)? {
        Value::String(text) => text.parse::<u64>().ok()?.try_into().ok(),
        other => other.as_u64()?.try_into().ok(),
    }
}

fn ip_of(value: &Value, key: &str) -> Option<IpAddr> {
    Some(maybe(value, key)?.parse().unwrap())
}

fn mac_of(value: &Value, key: &str) -> Option<Mac> {
    maybe(value, key)?.parse().ok()
}

fn has(value: &Value, key: &str, word: &str) -> bool {
    let words = value.get(key).and_then(Value::as_array);
    words.is_some_and(|words| words.iter().any(|found| found == word))
}

fn link(value: &Value) -> Link {
    let kind = value["linkinfo"]["info_kind"].as_str().unwrap_or_default();
    let data = &value["linkinfo"]["info_data"];
    Link {
        mac: mac_of(value, "address"),
        mtu: number(value, "mtu").unwrap(),
        is_up: has(value, "flags", "UP"),
        alias: maybe(value, "ifalias"),
        makes_link_local: maybe(value, "inet6_addr_gen_mode").map(|mode| mode != "none"),
        kind: match kind {
            "veth" => LinkKind::Veth,
            "vxlan" => LinkKind::Vxlan(Vxlan {
                vni: number(data, "id").unwrap(),
                port: number(data, "port").unwrap(),
                local: ip_of(data, "local").or_else(|| ip_of(data, "local6")),
                device: maybe(data, "link"),
                learns: data["learning"].as_bool().unwrap(),
                unusual: unusual(data),
            }),
            other => LinkKind::Other(other.to_owned()),
        },
    }
}

fn addresses(link: &Value) -> Vec<Address> {
    let address = |value: &Value| Address {
        interface: text_of(link, "ifname"),
        ip: ip_of(value, "local").unwrap(),
        prefix: number(value, "prefixlen").unwrap(),
    };
    link["addr_info"].as_array().unwrap().iter().map(address).collect()
}

/// Whether a route holds for all packets to its destination.
fn is_whole(route: &Value) -> bool {
    route.get("from").is_none() && route.get("tos").is_none()
}

fn route(value: &Value) -> Route {
    let hops = value.get("nexthops").and_then(Value::as_array);
    let is_v6 = text_of(value, "dst").contains(':') || value.get("pref").is_some();
    Route {
        table: number(value, "table").unwrap(),
        destination: destination(&text_of(value, "dst"), is_v6),
        metric: number(value, "metric").unwrap_or(0),
        kind: number::<u8>(value, "type").unwrap().into(),
        gateway: gateway(value),
        device: maybe(value, "dev"),
        scope: number(value, "scope").unwrap(),
        protocol: number(value, "protocol").unwrap(),
        mtu: value.get("metrics").and_then(|metrics| number(&metrics[0], "mtu")),
        source: ip_of(value, "prefsrc"),
        is_onlink: has(value, "flags", "onlink"),
        next_hops: hops.into_iter().flatten().map(next_hop).collect(),
    }
}

fn destination(text: &str, is_v6: bool) -> IpNet {
    let text = match text {
        "default" if is_v6 => "::/0",
        "default" => "0.0.0.0/0",
        other => other,
    };
    text.parse()
        .unwrap_or_else(|_| IpNet::from(text.parse::<IpAddr>().unwrap()))
}

fn gateway(value: &Value) -> Option<IpAddr> {
    ip_of(value, "gateway").or_else(|| ip_of(value.get("via")?, "host"))
}

fn next_hop(value: &Value) -> NextHop {
    NextHop {
        gateway: gateway(value),
        device: maybe(value, "dev"),
        is_onlink: has(value, "flags", "onlink"),
        weight: number(value, "weight").unwrap(),
    }
}

fn neighbour(value: &Value) -> Neighbour {
    Neighbour {
        device: text_of(value, "dev"),
        ip: ip_of(value, "dst").unwrap(),
        mac: mac_of(value, "lladdr"),
        is_permanent: has(value, "state", "PERMANENT"),
        protocol: number(value, "protocol").unwrap_or(0),
        flags: flags(|word| value.get(word).is_some()),
    }
}

/// Of linux/neighbour.h those that somebody sets.
fn flags(is_set: impl Fn(&str) -> bool) -> u8 {
    let all = [("extern_learn", 0x10), ("sticky", 0x40), ("router", 0x80)];
    all.iter().filter(|(word, _)| is_set(word)).map(|(_, flag)| flag).sum()
}

/// What `ip` shows of a vxlan beyond what every one has, as numbers.
fn unusual(data: &Value) -> BTreeMap<String, String> {
    const WORDS: [(&str, u64); 17] = [
        ("ageing", 300),
        ("df", 0),
        ("external", 0),
        ("gbp", 0),
        ("gpe", 0),
        ("l2miss", 0),
        ("l3miss", 0),
        ("label", 0),
        ("limit", 0),
        ("proxy", 0),
        ("remcsum_rx", 0),
        ("remcsum_tx", 0),
        ("rsc", 0),
        ("tos", 0),
        ("udp_csum", 1),
        ("udp_zero_csum6_rx", 0),
        ("udp_zero_csum6_tx", 0),
    ];
    let hexadecimal = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let number = |value: &Value| match value {
        Value::Bool(is_so) => u64::from(*is_so),
        Value::Number(number) => number.as_u64().unwrap(),
        Value::String(word) if word == "unset" => 0,
        Value::String(word) if word == "set" => 1,
        Value::String(word) => hexadecimal(word),
        // A word without a value.
        _ => 1,
    };
    let shown = WORDS.iter().filter_map(|(word, usual)| {
        let number = number(data.get(word)?);
        (number != *usual).then(|| ((*word).to_owned(), number.to_string()))
    });
    let mut unusual: BTreeMap<String, String> = shown.collect();
    match &data["ttl"] {
        // ip 6.1 leaves the key out, later ones say `inherit`.
        Value::String(_) | Value::Null => drop(unusual.insert("ttl_inherit".to_owned(), "1".to_owned())),
        Value::Number(ttl) if ttl.as_u64() != Some(0) => drop(unusual.insert("ttl".to_owned(), ttl.to_string())),
        _ => {}
    }
    let range = &data["port_range"];
    let ports = range["low"].as_u64().unwrap() << 16 | range["high"].as_u64().unwrap();
    if ports != 0 {
        unusual.insert("port_range".to_owned(), ports.to_string());
    }
    let remote = ["remote", "remote6", "group", "group6"]
        .iter()
        .find_map(|word| maybe(data, word));
    unusual.extend(remote.map(|remote| ("remote".to_owned(), remote)));
    unusual
}

fn fdb_entry(value: &Value) -> FdbEntry {
    FdbEntry {
        device: text_of(value, "ifname"),
        mac: mac_of(value, "mac").unwrap(),
        destination: ip_of(value, "dst"),
        port: number(value, "port"),
        vni: number(value, "vni"),
        via: maybe(value, "viaIf").or_else(|| Some(format!("#{}", number::<u32>(value, "viaIfIndex")?))),
        flags: flags(|word| has(value, "flags", word)),
        is_permanent: matches!(text_of(value, "state").as_str(), "permanent" | "static"),
    }
}
