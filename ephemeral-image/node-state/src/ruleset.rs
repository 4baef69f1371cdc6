//! nftables, as `nft -j` lists them (libnftables-json(5)), reduced to what decides about packets: no counters, no handles.
//!
//! What is written is read back equal, so that two tables can be compared as values. Of what others put there, expressions are kept as
//! they are: whatever a newer nft lists can be read.

#[cfg(feature = "kernel")]
mod nft;

#[cfg(feature = "kernel")]
pub use nft::{Nft, NftError};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NftTable {
    /// `inet`, `ip` …
    pub family: String,
    /// Its name.
    pub name: String,
    /// Its sets, by name.
    pub sets: BTreeMap<String, NftSet>,
    /// Its chains, by name.
    pub chains: BTreeMap<String, NftChain>,
    /// What else it holds or is, as kind and name: `map x`. Cannot be written.
    pub others: BTreeSet<String>,
}

/// A set of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NftSet {
    /// `ipv4_addr`, `ipv6_addr` …; in JSON where it is made of several.
    pub kind: String,
    /// `interval`, `timeout` …
    pub flags: BTreeSet<String>,
    /// The addresses it holds, in as few prefixes as there can be, in order: see [`NftSet::prefixes`].
    pub elements: Vec<IpNet>,
    /// Elements that are no addresses, in JSON. Cannot be written.
    pub others: Vec<String>,
}

impl NftSet {
    /// A set of these prefixes: `ipv4_addr` or `ipv6_addr`. Overlapping and adjacent ones become one, as `elements` wants it.
    pub fn of_prefixes(kind: &str, prefixes: &[IpNet]) -> Self {
        Self {
            kind: kind.to_owned(),
            flags: BTreeSet::from(["interval".to_owned()]),
            elements: Self::prefixes(prefixes),
            others: vec![],
        }
    }

    /// The same addresses in as few prefixes as there can be, in order.
    pub fn prefixes(prefixes: &[IpNet]) -> Vec<IpNet> {
        IpNet::aggregate(&prefixes.iter().map(IpNet::trunc).collect())
    }
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NftChain {
    /// Where packets enter it; `None` if only other chains lead to it.
    pub base: Option<NftBase>,
    /// Its rules, in order.
    pub rules: Vec<NftRule>,
}

/// Where packets enter a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftBase {
    /// `filter`, `nat`, `route`.
    pub kind: String,
    /// `forward`, `postrouting` …
    pub hook: String,
    /// The lowest is first.
    pub priority: i32,
    /// What becomes of packets that no rule decided on: `accept` or `drop`.
    pub policy: String,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NftRule {
    /// Its comment.
    pub comment: Option<String>,
    /// Its expressions as libnftables-json(5) has them; a counter without its counts, `{"counter": null}`, a single flag as a word.
    pub expressions: Vec<Value>,
}

/// A chain of some table where packets enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseChain {
    /// `inet`, `ip` …
    pub family: String,
    /// Name of the table.
    pub table: String,
    /// Its own name.
    pub name: String,
    /// Where packets enter it.
    pub base: NftBase,
    /// Its rules, in order.
    pub rules: Vec<NftRule>,
}

impl NftTable {
    /// Reads a table out of the answer to `nft -j list ruleset`; `None` if there is none of this name.
    pub fn in_ruleset(listing: &Value, family: &str, name: &str) -> Option<Self> {
        let is_it = |object: &Value| text(object, "family") == family && text(object, "name") == name;
        let is_there = objects(listing).any(|(kind, object)| kind == "table" && is_it(object));
        is_there.then(|| Self::read(listing, family, name))
    }

    /// Reads the answer to `nft -j list table`. What is not of the table is passed over.
    pub fn read(listing: &Value, family: &str, name: &str) -> Self {
        let mut table = Self {
            family: family.to_owned(),
            name: name.to_owned(),
            ..Self::default()
        };
        for (kind, object) in objects(listing) {
            if text(object, "family") != family || kind != "table" && text(object, "table") != name {
                continue;
            }
            match kind {
                "set" => drop(table.sets.insert(text(object, "name"), set(object))),
                "chain" => table.chains.entry(text(object, "name")).or_default().base = base(object),
                "rule" => {
                    let chain = table.chains.entry(text(object, "chain")).or_default();
                    chain.rules.push(rule(object));
                }
                "table" if text(object, "name") == name && object.get("flags").is_some() => {
                    table.others.extend(Self::flagged(family, name).others);
                }
                "table" => {}
                _ => drop(table.others.insert(format!("{kind} {}", text(object, "name")))),
            }
        }
        table
    }

    /// A table with flags, such as `dormant`, which switches off all that it holds.
    fn flagged(family: &str, name: &str) -> Self {
        Self {
            family: family.to_owned(),
            name: name.to_owned(),
            others: BTreeSet::from(["flags of the table".to_owned()]),
            ..Self::default()
        }
    }

    #[cfg(feature = "kernel")]
    /// The input of `nft -j -f -` that puts this table into the place of any other of its name, in one transaction.
    fn to_commands(&self) -> Value {
        let object = |kind: &str, mut fields: Value| {
            fields["family"] = json!(self.family);
            if kind != "table" {
                fields["table"] = json!(self.name);
            }
            json!({ kind: fields })
        };
        let mut commands = removal(&self.family, &self.name);
        let mut add = |kind: &str, fields: Value| commands.push(json!({"add": object(kind, fields)}));
        add("table", json!({"name": self.name}));
        for (name, set) in &self.sets {
            let elements: Vec<Value> = set.elements.iter().map(element_of).collect();
            let mut fields = json!({"name": name, "type": set.kind, "flags": set.flags});
            // An empty list is refused.
            if !elements.is_empty() {
                fields["elem"] = elements.into();
            }
            add("set", fields);
        }
        // All chains before any rule, which may lead to another chain.
        for (name, chain) in &self.chains {
            add(
                "chain",
                match &chain.base {
                    Some(base) => {
                        json!({"name": name, "type": base.kind, "hook": base.hook, "prio": base.priority, "policy": base.policy})
                    }
                    None => json!({"name": name}),
                },
            );
        }
        for (name, chain) in &self.chains {
            for rule in &chain.rules {
                let mut fields = json!({"chain": name, "expr": rule.expressions});
                if let Some(comment) = &rule.comment {
                    fields["comment"] = json!(comment);
                }
                add("rule", fields);
            }
        }
        transaction(commands)
    }
}

impl BaseChain {
    /// Reads the base chains at a hook from the answer to `nft -j list chains`, and their rules if the answer has any.
    pub fn read(listing: &Value, hook: &str) -> Vec<Self> {
        let mut chains: Vec<Self> = objects(listing)
            .filter(|(kind, _)| *kind == "chain")
            .filter_map(|(_, object)| {
                Some(Self {
                    family: text(object, "family"),
                    table: text(object, "table"),
                    name: text(object, "name"),
                    base: base(object).filter(|base| base.hook == hook)?,
                    rules: vec![],
                })
            })
            .collect();
        for (_, object) in objects(listing).filter(|(kind, _)| *kind == "rule") {
            let place = [text(object, "family"), text(object, "table"), text(object, "chain")];
            let is_here = |chain: &&mut Self| [&chain.family, &chain.table, &chain.name] == place.each_ref();
            if let Some(chain) = chains.iter_mut().find(is_here) {
                chain.rules.push(rule(object));
            }
        }
        chains
    }
}

#[cfg(feature = "kernel")]
/// Commands that remove a table, whether it is there or not: `destroy` is unknown to older versions.
fn removal(family: &str, name: &str) -> Vec<Value> {
    let table = json!({"table": {"family": family, "name": name}});
    vec![json!({"add": table}), json!({"delete": table})]
}

#[cfg(feature = "kernel")]
fn transaction(commands: Vec<Value>) -> Value {
    let mut all = vec![json!({"metainfo": {"json_schema_version": 1}})];
    all.extend(commands);
    json!({ "nftables": all })
}

/// The objects of a listing with their kinds.
fn objects(listing: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let list = listing["nftables"].as_array().into_iter().flatten();
    list.filter_map(Value::as_object)
        .flatten()
        .map(|(kind, object)| (kind.as_str(), object))
}

fn text(object: &Value, key: &str) -> String {
    object[key].as_str().unwrap_or_default().to_owned()
}

/// A word or a list of words: which of both stands for a single one differs by version.
fn words(value: &Value) -> BTreeSet<String> {
    let one = value.as_str().into_iter();
    let several = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    one.chain(several).map(str::to_owned).collect()
}

fn base(chain: &Value) -> Option<NftBase> {
    let hook = chain["hook"].as_str()?.to_owned();
    let priority = chain["prio"].as_i64().and_then(|priority| priority.try_into().ok());
    Some(NftBase {
        kind: text(chain, "type"),
        hook,
        priority: priority.unwrap_or_default(),
        // nft lists none for chains that cannot have another.
        policy: chain["policy"].as_str().unwrap_or("accept").to_owned(),
    })
}

fn rule(rule: &Value) -> NftRule {
    NftRule {
        comment: rule["comment"].as_str().map(str::to_owned),
        expressions: rule["expr"].as_array().into_iter().flatten().map(expression).collect(),
    }
}

/// An expression without counts, a single flag as a word.
fn expression(listed: &Value) -> Value {
    // A counter that has a name is no part of the rule.
    if let Some(Value::Object(_)) = listed.get("counter") {
        return json!({"counter": null});
    }
    let mut expression = listed.clone();
    for statement in expression
        .as_object_mut()
        .into_iter()
        .flat_map(|fields| fields.values_mut())
    {
        if let Some([flag]) = statement.get("flags").and_then(Value::as_array).map(Vec::as_slice) {
            statement["flags"] = flag.clone();
        }
    }
    expression
}

fn set(set: &Value) -> NftSet {
    let mut read = NftSet {
        kind: match &set["type"] {
            Value::String(kind) => kind.clone(),
            other => other.to_string(),
        },
        flags: words(&set["flags"]),
        ..NftSet::default()
    };
    for element in set["elem"].as_array().into_iter().flatten() {
        // Comments, time limits and counters stand around the value.
        let value = element.get("elem").map_or(element, |inner| &inner["val"]);
        match addresses(value) {
            Some(prefixes) => read.elements.extend(prefixes),
            None => read.others.push(value.to_string()),
        }
    }
    read.elements = NftSet::prefixes(&read.elements);
    read
}

/// The addresses of an element: one, a prefix or a range.
fn addresses(value: &Value) -> Option<Vec<IpNet>> {
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    if let Some(address) = address(value) {
        return Some(vec![address.into()]);
    }
    if let Some(prefix) = value.get("prefix") {
        let length = prefix["len"].as_u64()?.try_into().ok()?;
        return Some(vec![IpNet::new(address(&prefix["addr"])?, length).ok()?]);
    }
    let range = value.get("range")?;
    match (address(&range[0])?, address(&range[1])?) {
        (IpAddr::V4(first), IpAddr::V4(last)) => Some(Ipv4Subnets::new(first, last, 0).map(IpNet::from).collect()),
        (IpAddr::V6(first), IpAddr::V6(last)) => Some(Ipv6Subnets::new(first, last, 0).map(IpNet::from).collect()),
        _ => None,
    }
}

#[cfg(feature = "kernel")]
fn element_of(prefix: &IpNet) -> Value {
    json!({"prefix": {"addr": prefix.network(), "len": prefix.prefix_len()}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements_are_read_in_all_their_forms() {
        let listing = json!({"nftables": [{"set": {"family": "inet", "table": "t", "name": "s", "type": "ipv4_addr",
            "flags": ["interval"], "elem": ["10.0.0.0", {"prefix": {"addr": "10.0.1.0", "len": 24}},
            {"range": ["10.0.0.1", "10.0.0.255"]}, {"elem": {"val": "192.0.2.1", "comment": "x", "timeout": 5}},
            {"concat": ["1.1.1.1", 80]}, {"prefix": {"addr": "10.0.1.0", "len": 99}}]}}]});
        let table = NftTable::read(&listing, "inet", "t");
        let wanted: Vec<IpNet> = ["10.0.0.0/23", "192.0.2.1/32"].map(|net| net.parse().unwrap()).into();
        assert_eq!(table.sets["s"].elements, wanted);
        assert_eq!(table.sets["s"].others.len(), 2);
    }

    #[test]
    fn versions_that_spell_one_flag_as_a_list_say_the_same() {
        let table = |flags: Value, random: Value| {
            let listing = json!({"nftables": [
                {"set": {"family": "inet", "table": "t", "name": "s", "type": "ipv4_addr", "flags": flags}},
                {"rule": {"family": "inet", "table": "t", "chain": "c", "handle": 5, "expr":
                    [{"counter": {"packets": 7, "bytes": 9}}, {"masquerade": {"flags": random}}, {"accept": null}]}}]});
            NftTable::read(&listing, "inet", "t")
        };
        let written = table(json!("interval"), json!("fully-random"));
        assert_eq!(table(json!(["interval"]), json!(["fully-random"])), written);
        assert_eq!(written.sets["s"].flags, BTreeSet::from(["interval".to_owned()]));
    }

    #[test]
    fn what_is_of_another_table_is_passed_over() {
        let listing = json!({"nftables": [{"chain": {"family": "ip", "table": "t", "name": "a"}},
            {"chain": {"family": "inet", "table": "u", "name": "b"}}, {"map": {"family": "inet", "table": "t", "name": "m"}}]});
        let table = NftTable::read(&listing, "inet", "t");
        assert!(table.chains.is_empty());
        assert_eq!(table.others, BTreeSet::from(["map m".to_owned()]));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let word = prop::sample::select(vec![
            "nftables", "set", "chain", "rule", "elem", "val", "prefix", "addr", "len", "range", "expr", "counter",
            "hook", "forward", "prio", "type", "family", "table", "name", "10.0.0.0", "::",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            word.clone().prop_map(Value::from)
        ];
        leaf.prop_recursive(5, 60, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((word.clone(), inner), 0..5).prop_map(|pairs| Value::Object(
                    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
                )),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_listing_is_read(objects in prop::collection::vec(any_json(), 0..6)) {
            let listing = json!({"nftables": objects});
            NftTable::read(&listing, "", "");
            BaseChain::read(&listing, "forward");
        }
    }
}
