//! What a namespace holds, as `ip`, `bridge` and `nft` say it, in the words of the golden vectors: our own reader has no part in it.

use crate::sandbox::Sandbox;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Each object as one line, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub lines: BTreeMap<&'static str, BTreeSet<String>>,
    /// Our nftables table, reduced as in a vector.
    pub nft: Value,
}

/// What lies behind a name and may be replaced by an equal one unseen: numbers that the kernel gives once.
#[derive(Debug, PartialEq, Eq)]
pub struct Identities(Vec<Value>);

/// What the tools say of every object of a kind alike, or what says nothing of it.
const DULL: &[(&str, &str)] = &[
    ("label", "*"),
    ("family", "*"),
    ("valid_life_time", "4294967295"),
    ("preferred_life_time", "4294967295"),
    ("scope", "\"global\""),
    ("flags", "[]"),
    ("pref", "\"medium\""),
    // A vxlan as `ip link add` makes it.
    ("port_range", r#"{"high":0,"low":0}"#),
    ("ttl", "0"),
    ("df", "\"unset\""),
    ("ageing", "300"),
    ("udp_csum", "true"),
    ("udp_zero_csum6_tx", "false"),
    ("udp_zero_csum6_rx", "false"),
];

/// Of a link only these are decided by anybody here.
const OF_LINK: &[&str] = &["ifname", "address", "mtu", "ifalias", "inet6_addr_gen_mode"];

/// Text with sorted keys, whatever features the JSON library was built with.
fn text(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            let pairs = sorted
                .iter()
                .map(|(key, value)| format!("{}:{}", json!(key), text(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(text).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// Without what is dull, and without what comes and goes with a carrier.
fn reduced(value: &Value) -> Map<String, Value> {
    let mut object = value.as_object().unwrap().clone();
    if let Some(Value::Array(flags)) = object.get_mut("flags") {
        flags.retain(|flag| flag != "linkdown" && flag != "dead");
    }
    object.retain(|key, value| {
        let is_dull = |(name, dull): &(&str, &str)| name == key && (*dull == "*" || *dull == text(value));
        !DULL.iter().any(is_dull)
    });
    object
}

fn line(value: &Value) -> String {
    text(&Value::Object(reduced(value)))
}

/// A link, of the tool or of a vector: all links of vectors are up.
fn link(value: &Value, is_expected: bool) -> String {
    let mut object = Map::new();
    for key in OF_LINK {
        if let Some(value) = value.get(*key) {
            object.insert((*key).to_owned(), value.clone());
        }
    }
    let info = &value["linkinfo"];
    if let Some(kind) = info.get("info_kind") {
        object.insert("kind".to_owned(), kind.clone());
        if kind == "vxlan" {
            object.insert("vxlan".to_owned(), Value::Object(reduced(&info["info_data"])));
        }
    }
    let is_up = |flags: &Value| flags.as_array().unwrap().contains(&json!("UP"));
    object.insert("up".to_owned(), (is_expected || is_up(&value["flags"])).into());
    text(&Value::Object(object))
}

/// The address's device beside it, as in a vector.
fn addresses(links: &[Value]) -> impl Iterator<Item = Value> {
    links.iter().flat_map(|link| {
        let with_device = |address: &Value| {
            let mut address = address.clone();
            address["dev"] = link["ifname"].clone();
            // SPEC.md wants it of IPv6, and it means nothing for IPv4.
            let is_v6 = address["family"] == "inet6";
            if let Some(nodad) = address.as_object_mut().unwrap().remove("nodad") {
                assert_eq!((nodad, is_v6), (json!(true), true));
            } else if is_v6 && address["scope"] == "global" {
                address["nodad"] = json!(false);
            }
            address
        };
        let all = link["addr_info"].as_array().unwrap();
        all.iter().map(with_device).collect::<Vec<_>>()
    })
}

fn without(mut object: Value, key: &str) -> Value {
    object.as_object_mut().unwrap().remove(key);
    object
}

/// What devices other than vxlan list of themselves: groups that they listen to.
fn is_multicast(entry: &Value) -> bool {
    let mac = entry["mac"].as_str().unwrap();
    mac.starts_with("33:33:") || mac.starts_with("01:00:5e:")
}

/// Of the kernel's own making: the range of an address, multicast, whom it met on an uplink.
fn is_kernels(line: &str) -> bool {
    let is_learnt = ["INCOMPLETE", "REACHABLE", "STALE", "DELAY", "PROBE", "FAILED"]
        .iter()
        .any(|state| line.contains(&format!(r#""state":["{state}"]"#)));
    // A pod's link-local address shows itself on its veth.
    let is_on_ours = line.contains(r#""dev":"ncvx0""#);
    line.contains(r#""protocol":"kernel""#)
        || line.contains(r#""state":["NOARP"]"#)
        || is_learnt && !is_on_ours && !line.contains(r#""protocol""#)
}

fn list(text: &str) -> Vec<Value> {
    match text.trim() {
        "" => Vec::new(),
        text => serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")),
    }
}

impl Held {
    /// Everything that the tools show of a namespace.
    pub fn by(sandbox: &Sandbox) -> Self {
        let said = sandbox.run(
            "ip -j -d link; echo %%; ip -j addr; echo %%; ip -j -4 route show table main; echo %%
             ip -j -6 route show table main; echo %%; ip -j -4 rule; echo %%; ip -j -6 rule; echo %%
             ip -j -4 neigh show nud all; echo %%; ip -j -6 neigh show nud all; echo %%
             bridge -j fdb; echo %%; nft -j list ruleset",
        );
        let parts: Vec<&str> = said.split("%%").collect();
        let [
            links,
            with_addresses,
            routes4,
            routes6,
            rules4,
            rules6,
            neigh4,
            neigh6,
            fdb,
            nft,
        ] = <[&str; 10]>::try_from(parts).unwrap();
        let sorted = |lists: &[&str]| lists.iter().flat_map(|text| list(text)).map(|one| line(&one)).collect();
        let links = list(links).iter().map(|one| link(one, false)).collect();
        let (fdb, foreign_fdb): (Vec<Value>, Vec<Value>) =
            list(fdb).into_iter().partition(|entry| entry["ifname"] == "ncvx0");
        let addresses = addresses(&list(with_addresses)).map(|one| line(&one)).collect();
        let ruleset: Value = serde_json::from_str(nft).unwrap();
        let (ours, foreign): (Vec<Value>, Vec<Value>) = objects(&ruleset)
            .filter(|object| object.get("metainfo").is_none())
            .partition(is_of_our_table);
        Self {
            lines: BTreeMap::from([
                ("links", links),
                ("addresses", addresses),
                ("routes", sorted(&[routes4, routes6])),
                ("rules", sorted(&[rules4, rules6])),
                ("neighbours", sorted(&[neigh4, neigh6])),
                (
                    "fdb",
                    fdb.into_iter().map(|entry| line(&without(entry, "ifname"))).collect(),
                ),
                (
                    "foreign fdb",
                    foreign_fdb
                        .iter()
                        .filter(|entry| !is_multicast(entry))
                        .map(line)
                        .collect(),
                ),
                ("foreign nft", foreign.iter().map(text).collect()),
            ]),
            nft: nft_words(&ours),
        }
    }

    /// `before` and what a vector expects of a node, and nothing besides; each difference is a line of the answer.
    pub fn differences(&self, before: &Self, expected: &Value) -> String {
        let mut found = String::new();
        for (kind, there) in &self.lines {
            let mut wanted: BTreeSet<String> = before.lines[kind].clone();
            let more = expected.get(*kind).and_then(Value::as_array);
            let words = |one: &Value| if *kind == "links" { link(one, true) } else { line(one) };
            wanted.extend(more.into_iter().flatten().map(words));
            for missing in wanted.difference(there).filter(|line| !is_kernels(line)) {
                writeln!(found, "{kind}: missing       {missing}").unwrap();
            }
            for extra in there.difference(&wanted).filter(|line| !is_kernels(line)) {
                writeln!(found, "{kind}: not expected  {extra}").unwrap();
            }
        }
        let wanted = sorted_sets(&expected["nft"]);
        if self.nft != wanted {
            writeln!(found, "nft: expected {wanted}\n     found    {}", self.nft).unwrap();
        }
        found
    }
}

impl Identities {
    pub fn of(sandbox: &Sandbox) -> Self {
        let links = list(&sandbox.run("ip -j link"));
        let mut all: Vec<Value> = links.iter().map(|link| link["ifindex"].clone()).collect();
        let ruleset: Value = serde_json::from_str(&sandbox.run("nft -j -a list ruleset")).unwrap();
        all.extend(objects(&ruleset).map(|object| {
            let body = object.as_object().unwrap().values().next().unwrap();
            json!([body["table"], body["name"], body["handle"]])
        }));
        Self(all)
    }
}

/// The inside of a pod beside what a vector says of it.
pub fn pod_differences(pod: &Sandbox, expected: &Value) -> String {
    let said = pod.run(
        "ip -j -d link show dev eth0; echo %%; ip -j addr show dev eth0; echo %%; ip -j -4 route show table main; echo %%
         ip -j -6 route show table main; echo %%; ip -j neigh show nud all",
    );
    let parts: Vec<&str> = said.split("%%").collect();
    let [link, addressed, routes4, routes6, neighbours] = <[&str; 5]>::try_from(parts).unwrap();
    let mut found = String::new();
    let mut compare = |kind: &str, there: BTreeSet<String>, wanted: BTreeSet<String>| {
        let there: BTreeSet<String> = there.into_iter().filter(|line| !is_kernels(line)).collect();
        if there != wanted {
            writeln!(
                found,
                "{kind} in the pod:\n  expected {wanted:#?}\n  found    {there:#?}"
            )
            .unwrap();
        }
    };
    let pick = |link: &Value| {
        let one: Map<String, Value> = ["ifname", "address", "mtu"]
            .map(|key| (key.to_owned(), link[key].clone()))
            .into_iter()
            .collect();
        BTreeSet::from([text(&Value::Object(one))])
    };
    let links = list(link);
    assert!(
        links[0]["flags"].as_array().unwrap().contains(&json!("UP")),
        "{}",
        links[0]
    );
    compare("link", pick(&links[0]), pick(&expected["link"]));
    let addressed = list(addressed);
    let global = addresses(&addressed)
        .filter(|one| one["scope"] == "global")
        .map(|one| line(&without(one, "dev")));
    let wanted = |kind: &str| expected[kind].as_array().unwrap().iter().map(line).collect();
    compare("addresses", global.collect(), wanted("addresses"));
    let routes = [routes4, routes6].into_iter().flat_map(list).map(|one| line(&one));
    compare("routes", routes.collect(), wanted("routes"));
    compare(
        "neighbours",
        list(neighbours).iter().map(line).collect(),
        wanted("neighbours"),
    );
    found
}

fn objects(ruleset: &Value) -> impl Iterator<Item = Value> {
    ruleset["nftables"].as_array().unwrap().clone().into_iter()
}

fn is_of_our_table(object: &Value) -> bool {
    let body = object.as_object().unwrap().values().next().unwrap();
    let name = if object.get("table").is_some() {
        &body["name"]
    } else {
        &body["table"]
    };
    body["family"] == "inet" && name == "netcheck-cni"
}

/// As a vector has it; chains and expressions, which no vector spells out, must be those of SPEC.md, section 5.8.
fn nft_words(objects: &[Value]) -> Value {
    if objects.is_empty() {
        return Value::Null;
    }
    let mut words = json!({ "rules": [] });
    for object in objects {
        if let Some(set) = object.get("set") {
            let elements = set["elem"].as_array().cloned().unwrap_or_default();
            let elements = elements.iter().map(|element| match element.get("prefix") {
                Some(prefix) => json!(format!("{}/{}", prefix["addr"].as_str().unwrap(), prefix["len"])),
                None => element.clone(),
            });
            words[set["name"].as_str().unwrap()] = elements.collect();
        } else if let Some(chain) = object.get("chain") {
            let hook = ["name", "type", "hook", "prio", "policy"].map(|key| &chain[key]);
            assert_eq!(json!(hook), json!(["postrouting", "nat", "postrouting", 105, "accept"]));
        } else if let Some(rule) = object.get("rule") {
            let comment = rule["comment"].as_str().unwrap();
            let (protocol, family) = if comment.ends_with('4') {
                ("ip", "4")
            } else {
                ("ip6", "6")
            };
            let matches = |operator: &str, field: &str, set: &str| {
                let left = json!({ "payload": { "protocol": protocol, "field": field } });
                json!({ "match": { "op": operator, "left": left, "right": format!("@{set}{family}") } })
            };
            let mut expressions = rule["expr"].clone();
            expressions[2]["counter"] = Value::Null;
            let wanted = json!([
                matches("==", "saddr", "pods"),
                matches("!=", "daddr", "nomasq"),
                { "counter": null },
                { "masquerade": { "flags": "fully-random" } },
            ]);
            assert_eq!(expressions, wanted, "{comment}");
            words["rules"].as_array_mut().unwrap().push(json!(comment));
        }
    }
    sorted_sets(&words)
}

/// Sets have no order, rules do.
fn sorted_sets(words: &Value) -> Value {
    let mut words = words.clone();
    for (_, set) in words
        .as_object_mut()
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != "rules")
    {
        let mut elements: Vec<String> = set
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one.as_str().unwrap().to_owned())
            .collect();
        elements.sort();
        *set = json!(elements);
    }
    words
}
