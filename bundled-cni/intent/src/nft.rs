//! The nftables table (SPEC.md, section 5.8).

use crate::{config::Config, family::Family, names::NFT_TABLE};
use ipnet::IpNet;
use netcheck_node_state::ruleset::{NftBase, NftChain, NftRule, NftSet, NftTable};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Priority of the chain at hook postrouting: `srcnat + 5`, after kube-proxy's.
pub const PRIORITY: i32 = 105;

/// The table of an accepted node: `own` are its ranges, `accepted` those of all accepted nodes.
pub(crate) fn table<'a>(config: &Config, own: &[IpNet], accepted: impl Iterator<Item = &'a IpNet>) -> NftTable {
    let configured = config.cluster_cidrs.iter().chain(&config.no_masquerade_cidrs);
    let not_masqueraded: Vec<IpNet> = configured.copied().chain(accepted.copied()).collect();
    let mut sets = BTreeMap::new();
    let mut rules = Vec::new();
    for family in Family::BOTH {
        let (digit, kind, protocol) = match family {
            Family::V4 => (4, "ipv4_addr", "ip"),
            Family::V6 => (6, "ipv6_addr", "ip6"),
        };
        let (pods, nomasq) = (format!("pods{digit}"), format!("nomasq{digit}"));
        rules.push(masquerade(
            protocol,
            &pods,
            &nomasq,
            format!("netcheck-cni:masq{digit}"),
        ));
        for (name, ranges) in [(pods, own), (nomasq, &not_masqueraded)] {
            let ranges: Vec<IpNet> = ranges
                .iter()
                .filter(|net| Family::of_net(net) == family)
                .copied()
                .collect();
            sets.insert(name, NftSet::of_prefixes(kind, &ranges));
        }
    }
    if !config.masquerade {
        rules.clear();
    }
    let postrouting = NftChain {
        base: Some(NftBase {
            kind: "nat".to_owned(),
            hook: "postrouting".to_owned(),
            priority: PRIORITY,
            policy: "accept".to_owned(),
        }),
        rules,
    };
    NftTable {
        family: "inet".to_owned(),
        name: NFT_TABLE.to_owned(),
        sets,
        chains: BTreeMap::from([("postrouting".to_owned(), postrouting)]),
        others: BTreeSet::new(),
    }
}

/// `PROTOCOL saddr @from PROTOCOL daddr != @unless_to counter masquerade fully-random comment …`
fn masquerade(protocol: &str, from: &str, unless_to: &str, comment: String) -> NftRule {
    let matching = |op: &str, field: &str, set: &str| -> Value {
        let left = json!({ "payload": { "protocol": protocol, "field": field } });
        json!({ "match": { "op": op, "left": left, "right": format!("@{set}") } })
    };
    NftRule {
        comment: Some(comment),
        expressions: vec![
            matching("==", "saddr", from),
            matching("!=", "daddr", unless_to),
            json!({ "counter": null }),
            json!({ "masquerade": { "flags": "fully-random" } }),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::table;
    use crate::config::Config;
    use ipnet::IpNet;
    use netcheck_node_state::ruleset::NftTable;
    use std::collections::BTreeMap;

    fn of(pairs: &[(&str, &str)], accepted: &[&str]) -> NftTable {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let config = Config::parse(&pairs.collect::<BTreeMap<_, _>>()).unwrap();
        let accepted: Vec<IpNet> = accepted.iter().map(|text| text.parse().unwrap()).collect();
        table(&config, &accepted[..1], accepted.iter())
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
        let table = of(&config, &["172.16.1.0/24", "10.244.1.0/24", "fd00::/64"]);
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
        let table = of(
            &[("clusterCIDRs", "10.244.0.0/16"), ("masquerade", "false")],
            &["10.244.1.0/24"],
        );
        assert_eq!(table.sets.len(), 4);
        assert!(table.chains["postrouting"].rules.is_empty());
    }
}
