//! Tables of nftables, against what `nft` and packets say. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]

mod sandbox;

use libtest_mimic::Arguments;
use netcheck_node_state::{
    ruleset::{Nft, NftBase, NftChain, NftError, NftRule, NftSet, NftTable},
    within,
};
use sandbox::{Sandbox, trial};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("a_table_is_read_as_it_was_written", a_table_is_read_as_it_was_written),
        trial("a_tables_traces_of_others_are_seen", a_tables_traces_of_others_are_seen),
        trial(
            "a_table_that_is_switched_off_is_another_one",
            a_table_that_is_switched_off_is_another_one,
        ),
        trial("a_refused_table_leaves_the_old_one", a_refused_table_leaves_the_old_one),
        trial(
            "chains_that_drop_forwarded_packets_are_found",
            chains_that_drop_forwarded_packets_are_found,
        ),
        trial("without_nft_it_is_told", without_nft_it_is_told),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn prefixes(kind: &str, texts: &[&str]) -> NftSet {
    let nets: Vec<_> = texts.iter().map(|text| text.parse().unwrap()).collect();
    NftSet::of_prefixes(kind, &nets)
}

/// The table of SPEC.md 5.8.
fn masquerade() -> NftTable {
    let rule = |protocol: &str, version: char| NftRule {
        comment: Some(format!("netcheck-cni:masq{version}")),
        expressions: vec![
            json!({"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": "saddr"}}, "right": format!("@pods{version}")}}),
            json!({"match": {"op": "!=", "left": {"payload": {"protocol": protocol, "field": "daddr"}}, "right": format!("@nomasq{version}")}}),
            json!({"counter": null}),
            json!({"masquerade": {"flags": "fully-random"}}),
        ],
    };
    NftTable {
        family: "inet".to_owned(),
        name: "netcheck-cni".to_owned(),
        sets: BTreeMap::from([
            ("pods4".to_owned(), prefixes("ipv4_addr", &["10.244.1.0/24"])),
            ("pods6".to_owned(), prefixes("ipv6_addr", &[])),
            (
                "nomasq4".to_owned(),
                prefixes(
                    "ipv4_addr",
                    &["10.244.0.0/16", "10.244.3.0/24", "10.245.0.0/16", "192.0.2.7/32"],
                ),
            ),
            (
                "nomasq6".to_owned(),
                prefixes("ipv6_addr", &["fd00:10:244::/48", "::/0"]),
            ),
        ]),
        chains: BTreeMap::from([(
            "postrouting".to_owned(),
            NftChain {
                base: Some(NftBase {
                    kind: "nat".to_owned(),
                    hook: "postrouting".to_owned(),
                    priority: 105,
                    policy: "accept".to_owned(),
                }),
                rules: vec![rule("ip", '4'), rule("ip6", '6')],
            },
        )]),
        others: BTreeSet::new(),
    }
}

fn table(sandbox: &Sandbox) -> Option<NftTable> {
    within(&sandbox.netns(), || Nft::default().table("inet", "netcheck-cni"))
        .unwrap()
        .unwrap()
}

fn write(sandbox: &Sandbox, table: &NftTable) -> Result<(), NftError> {
    within(&sandbox.netns(), || Nft::default().replace_table(table)).unwrap()
}

fn a_table_is_read_as_it_was_written() {
    let sandbox = Sandbox::new();
    sandbox.run("nft add table ip other; nft add chain ip other x");
    assert_eq!(table(&sandbox), None);
    let wanted = masquerade();
    for _ in 0..2 {
        write(&sandbox, &wanted).unwrap();
        assert_eq!(table(&sandbox), Some(wanted.clone()));
    }
    let shown = sandbox.run("nft list table inet netcheck-cni");
    for line in [
        "elements = { 10.244.1.0/24 }",
        "elements = { 10.244.0.0/15, 192.0.2.7 }",
        "elements = { ::/0 }",
        "type nat hook postrouting priority srcnat + 5; policy accept;",
        "ip saddr @pods4 ip daddr != @nomasq4 counter packets 0 bytes 0 masquerade fully-random comment \"netcheck-cni:masq4\"",
        "ip6 saddr @pods6 ip6 daddr != @nomasq6 counter packets 0 bytes 0 masquerade fully-random comment \"netcheck-cni:masq6\"",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    // Counts are no difference.
    sandbox.run(
        "ip link set lo up; ip addr add 10.244.1.2/32 dev lo; ip addr add 203.0.113.1/32 dev lo
         nft add chain inet netcheck-cni postrouting; ping -c 1 -W 5 -I 10.244.1.2 203.0.113.1",
    );
    assert!(
        !sandbox
            .run("nft list table inet netcheck-cni")
            .contains("@nomasq4 counter packets 0")
    );
    assert_eq!(table(&sandbox), Some(wanted));
    within(&sandbox.netns(), || {
        assert!(Nft::default().has_table("inet", "netcheck-cni").unwrap());
        assert!(!Nft::default().has_table("ip", "netcheck-cni").unwrap());
        Nft::default().delete_table("inet", "netcheck-cni").unwrap();
        Nft::default().delete_table("inet", "netcheck-cni").unwrap();
        assert!(!Nft::default().has_table("inet", "netcheck-cni").unwrap());
    })
    .unwrap();
    assert_eq!(sandbox.run("nft list tables"), "table ip other\n");
}

fn a_tables_traces_of_others_are_seen() {
    let sandbox = Sandbox::new();
    let wanted = masquerade();
    for tampering in [
        "add element inet netcheck-cni pods4 { 10.9.0.0/16 }",
        "delete element inet netcheck-cni pods4 { 10.244.1.0/24 }",
        "flush chain inet netcheck-cni postrouting",
        "insert rule inet netcheck-cni postrouting accept",
        "add chain inet netcheck-cni more",
        "add chain inet netcheck-cni postrouting { policy drop; }",
        "add map inet netcheck-cni m { type ipv4_addr : verdict; }",
        "add set inet netcheck-cni ports { type inet_service; elements = { 80 }; }",
    ] {
        write(&sandbox, &wanted).unwrap();
        sandbox.run(&format!("nft '{tampering}'"));
        let found = table(&sandbox).unwrap();
        assert_ne!(found, wanted, "{tampering}");
        if !found.others.is_empty() {
            let error = write(&sandbox, &found).unwrap_err();
            assert_eq!(
                error.to_string(),
                "nft: table inet netcheck-cni cannot be written: map m is not known here"
            );
        }
    }
    write(&sandbox, &wanted).unwrap();
    assert_eq!(table(&sandbox), Some(wanted));
}

fn a_table_that_is_switched_off_is_another_one() {
    let sandbox = Sandbox::new();
    let wanted = masquerade();
    write(&sandbox, &wanted).unwrap();
    // nft 1.0 answers with what lies in its memory: sometimes that is JSON, sometimes not.
    for _ in 0..20 {
        sandbox.run("nft add table inet netcheck-cni '{ flags dormant; }'");
        assert_ne!(table(&sandbox).unwrap(), wanted);
        write(&sandbox, &wanted).unwrap();
        assert_eq!(table(&sandbox).unwrap(), wanted);
        assert!(!sandbox.run("nft list table inet netcheck-cni").contains("dormant"));
    }
}

fn a_refused_table_leaves_the_old_one() {
    let sandbox = Sandbox::new();
    write(&sandbox, &masquerade()).unwrap();
    let mut broken = masquerade();
    broken.sets.clear();
    let error = write(&sandbox, &broken).unwrap_err();
    assert!(
        matches!(&error, NftError::Refused { said, .. } if said.contains("No such file or directory")),
        "{error}"
    );
    assert_eq!(table(&sandbox), Some(masquerade()));
}

fn chains_that_drop_forwarded_packets_are_found() {
    let sandbox = Sandbox::new();
    sandbox.run(
        "nft -f - <<'END'
         table ip filter {
             chain DOCKER { }
             chain FORWARD {
                 type filter hook forward priority 0; policy drop;
                 ip saddr 10.0.0.1-10.0.0.7 counter accept
                 jump DOCKER
             }
             chain INPUT { type filter hook input priority 0; policy drop; }
         }
         table inet calm {
             chain later { type filter hook forward priority 10; }
         }
END
         iptables -w -P FORWARD DROP; ip6tables -w -A FORWARD -m comment --comment hello -j ACCEPT",
    );
    let chains = within(&sandbox.netns(), || Nft::default().base_chains("forward"))
        .unwrap()
        .unwrap();
    let found: BTreeSet<_> = chains
        .iter()
        .map(|chain| {
            (
                chain.family.as_str(),
                chain.table.as_str(),
                chain.name.as_str(),
                chain.base.priority,
                chain.base.policy.as_str(),
                chain.rules.len(),
            )
        })
        .collect();
    let is_nft = sandbox.run("iptables -V").contains("nf_tables");
    let mut wanted = BTreeSet::from([
        ("ip", "filter", "FORWARD", 0, "drop", 2),
        ("inet", "calm", "later", 10, "accept", 0),
    ]);
    if is_nft {
        wanted.insert(("ip6", "filter", "FORWARD", 0, "accept", 1));
    }
    assert_eq!(found, wanted);
    let forward = chains.iter().find(|chain| chain.family == "ip").unwrap();
    assert_eq!(
        forward.rules[0].expressions[1..],
        [json!({"counter": null}), json!({"accept": null})]
    );
}

fn without_nft_it_is_told() {
    let nft = Nft::at("/nonexistent/nft");
    let error = nft.table("inet", "netcheck-cni").unwrap_err();
    assert!(matches!(error, NftError::Missing(_)), "{error}");
    assert_eq!(
        error.to_string(),
        "nft: no program /nonexistent/nft is here: install nftables"
    );
    let silent = Nft::at("/bin/false").base_chains("forward").unwrap_err();
    assert_eq!(silent.to_string(), "nft -j list chains: it gave no reason");
    let other = Nft::at("/bin/echo").base_chains("forward").unwrap_err();
    assert!(matches!(other, NftError::Decode { .. }), "{other}");
}
