//! The nftables table (SPEC.md, section 5.8), as a value.

use crate::{config::Config, family::Family, names::OVERLAY_ALIAS};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// Priority of the chain at hook postrouting: `srcnat + 5`, after kube-proxy's.
pub const PRIORITY: i32 = 105;

/// A table of family `inet`. Counters' values are no part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftTable {
    /// Its comment.
    pub comment: String,
    /// Its sets, by name.
    pub sets: BTreeMap<String, NftSet>,
    /// Its chains, by name.
    pub chains: BTreeMap<String, NftChain>,
}

/// A set of ranges (`flags interval`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftSet {
    /// `ipv4_addr` or `ipv6_addr`.
    pub family: Family,
    /// Whether overlapping ranges are merged (`auto-merge`).
    pub auto_merge: bool,
    /// What it holds, in the fewest ranges that say it: see [`fewest`].
    pub elements: BTreeSet<IpNet>,
}

/// A base chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftChain {
    /// `nat` or `filter`.
    pub kind: String,
    /// Where it hangs.
    pub hook: String,
    /// Its place among others there.
    pub priority: i32,
    /// `accept` or `drop`.
    pub policy: String,
    /// Its rules, in order.
    pub rules: Vec<NftRule>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NftRule {
    /// `FAMILY saddr @from FAMILY daddr != @unless_to counter masquerade fully-random comment …`
    Masquerade {
        /// Of source and destination.
        family: Family,
        /// The set that the source must be in.
        from: String,
        /// The set that the destination must not be in.
        unless_to: String,
        /// Its comment.
        comment: String,
    },
    /// Any other, as it was read: never ours.
    Other(String),
}

/// The fewest ranges that hold the same addresses: the one way to write a set down, whatever way it was put in or is listed.
pub fn fewest(ranges: impl IntoIterator<Item = IpNet>) -> BTreeSet<IpNet> {
    let ranges: Vec<IpNet> = ranges.into_iter().collect();
    IpNet::aggregate(&ranges).into_iter().collect()
}

impl NftTable {
    /// The table of an accepted node: `own` are its ranges, `accepted` those of all accepted nodes.
    pub fn new<'a>(config: &'a Config, own: &[IpNet], accepted: impl Iterator<Item = &'a IpNet>) -> Self {
        let configured = || config.cluster_cidrs.iter().chain(&config.no_masquerade_cidrs);
        let not_masqueraded = fewest(configured().chain(accepted).copied());
        let of = |family: Family, ranges: &mut dyn Iterator<Item = &IpNet>| {
            ranges.filter(|net| Family::of_net(net) == family).copied().collect()
        };
        let mut sets = BTreeMap::new();
        let mut rules = Vec::new();
        for (family, digit) in [(Family::V4, 4), (Family::V6, 6)] {
            let (from, unless_to) = (format!("pods{digit}"), format!("nomasq{digit}"));
            let pods = NftSet {
                family,
                auto_merge: false,
                elements: of(family, &mut own.iter()),
            };
            let destinations = NftSet {
                family,
                auto_merge: true,
                elements: of(family, &mut not_masqueraded.iter()),
            };
            sets.extend([(from.clone(), pods), (unless_to.clone(), destinations)]);
            rules.push(NftRule::Masquerade {
                family,
                from,
                unless_to,
                comment: format!("netcheck-cni:masq{digit}"),
            });
        }
        if !config.masquerade {
            rules.clear();
        }
        let postrouting = NftChain {
            kind: "nat".to_owned(),
            hook: "postrouting".to_owned(),
            priority: PRIORITY,
            policy: "accept".to_owned(),
            rules,
        };
        Self {
            comment: OVERLAY_ALIAS.to_owned(),
            sets,
            chains: BTreeMap::from([("postrouting".to_owned(), postrouting)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::NftTable;
    use crate::config::Config;
    use ipnet::IpNet;
    use std::collections::BTreeMap;

    fn table(pairs: &[(&str, &str)], accepted: &[&str]) -> NftTable {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let config = Config::parse(&pairs.collect::<BTreeMap<_, _>>()).unwrap();
        let accepted: Vec<IpNet> = accepted.iter().map(|text| text.parse().unwrap()).collect();
        NftTable::new(&config, &accepted[..1], accepted.iter())
    }

    fn elements(table: &NftTable, set: &str) -> Vec<String> {
        table.sets[set].elements.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ranges_outside_are_added_and_all_are_merged() {
        let config = [
            ("clusterCIDRs", "10.244.0.0/17,10.244.128.0/17"),
            ("noMasqueradeCIDRs", "10.9.0.0/16,10.244.3.0/24"),
        ];
        let table = table(&config, &["172.16.1.0/24", "10.244.1.0/24", "fd00::/64"]);
        assert_eq!(elements(&table, "pods4"), ["172.16.1.0/24"]);
        assert_eq!(
            elements(&table, "nomasq4"),
            ["10.9.0.0/16", "10.244.0.0/16", "172.16.1.0/24"]
        );
        assert_eq!(elements(&table, "nomasq6"), ["fd00::/64"]);
        assert!(elements(&table, "pods6").is_empty());
    }

    #[test]
    fn without_masquerade_sets_and_chain_stay_and_rules_go() {
        let table = table(
            &[("clusterCIDRs", "10.244.0.0/16"), ("masquerade", "false")],
            &["10.244.1.0/24"],
        );
        assert_eq!(table.sets.len(), 4);
        assert!(table.chains["postrouting"].rules.is_empty());
    }
}
