//! Rulesets of a few lines, and recorded ones. What the kernel makes of the same is in `tests/kernel`.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use super::*;
use proptest::prelude::*;
use std::{collections::BTreeSet, net::IpAddr};

const FLANNEL: &str = include_str!("../tests/recorded/flannel.iptables-save");
const CALICO: &str = include_str!("../tests/recorded/calico.iptables-save");
const KUBE_PROXY: &str = include_str!("../tests/recorded/kube-proxy.json");

const THROUGH: [Hook; 3] = [Hook::Prerouting, Hook::Forward, Hook::Postrouting];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn iptables(text: &str) -> Ruleset {
    Ruleset::read(None, [(Family::Ip, Flavour::IptablesNft, text)], &Sets::default()).with_locals([ip("10.90.0.21")])
}

fn nft(text: &str) -> Ruleset {
    Ruleset::read(Some(&serde_json::from_str(text).unwrap()), [], &Sets::default()).with_locals([ip("10.90.0.21")])
}

fn tcp(source: &str, destination: &str, port: u16) -> Packet {
    Packet::new(Protocol::TCP, ip(source), ip(destination), port).by(Some("cni0"), Some("eth0"))
}

fn targets(outcomes: &[Outcome]) -> BTreeSet<String> {
    let word = |dnat: Dnat| format!("{}:{}", dnat.to.unwrap(), dnat.port);
    let each = outcomes
        .iter()
        .map(|one| one.dnat.map_or_else(|| "none".to_owned(), word));
    each.collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(ToString::to_string).collect()
}

/// A chain of the table filter at hook forward with these rules.
fn forward(policy: &str, rules: &str) -> Ruleset {
    iptables(&format!(
        "*filter\n:FORWARD {policy} [0:0]\n:user - [0:0]\n{rules}\nCOMMIT\n"
    ))
}

fn verdict(ruleset: &Ruleset) -> Result<Vec<Verdict>, String> {
    let packet = tcp("10.244.0.9", "10.244.1.4", 80);
    let outcomes = ruleset.walk(&[Hook::Forward], &packet).map_err(|why| why.to_string())?;
    let verdicts: BTreeSet<Verdict> = outcomes.into_iter().map(|outcome| outcome.verdict).collect();
    Ok(verdicts.into_iter().collect())
}

#[test]
fn kube_proxy_in_iptables_mode_sends_to_each_endpoint() {
    let ruleset = iptables(FLANNEL);
    let outcomes = ruleset.walk(&THROUGH, &tcp("10.244.0.9", "10.96.21.143", 80)).unwrap();
    let endpoints = set(&["10.244.0.3:8080", "10.244.1.3:8080", "10.244.2.5:8080"]);
    assert_eq!(targets(&outcomes), endpoints);
    assert!(outcomes.iter().all(Outcome::is_accepted));
    let trail = &outcomes[0].trail;
    assert_eq!(trail[1..3], ["ip nat PREROUTING", "ip nat KUBE-SERVICES"], "{trail:?}");
    // From outside by a NodePort: masqueraded.
    let outcomes = ruleset.walk(&THROUGH, &tcp("10.90.0.1", "10.90.0.21", 30080)).unwrap();
    assert_eq!(targets(&outcomes), endpoints);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.snat.is_some() && outcome.mark == 0)
    );
    // An endpoint that reaches itself by the Service.
    let outcomes = ruleset.walk(&THROUGH, &tcp("10.244.0.3", "10.96.21.143", 80)).unwrap();
    let to_itself = outcomes
        .iter()
        .filter(|one| one.dnat.unwrap().to == Some(ip("10.244.0.3")));
    assert!(to_itself.into_iter().all(|outcome| outcome.snat.is_some()));
}

#[test]
fn kube_proxy_in_nftables_mode_sends_to_each_endpoint() {
    let ruleset = nft(KUBE_PROXY);
    let outcomes = ruleset.walk(&THROUGH, &tcp("10.244.0.9", "10.96.9.1", 80)).unwrap();
    let endpoints = set(&["10.244.0.2:8080", "10.244.1.2:8080", "10.244.2.2:8080"]);
    assert_eq!(targets(&outcomes), endpoints);
    let outcomes = ruleset.walk(&THROUGH, &tcp("10.90.0.1", "10.90.0.21", 30080)).unwrap();
    assert_eq!(targets(&outcomes), endpoints);
    assert!(outcomes.iter().all(|outcome| outcome.snat.is_some()));
    // A port that the Service does not have.
    let outcomes = ruleset.walk(&THROUGH, &tcp("10.244.0.9", "10.96.9.1", 81)).unwrap();
    let [
        Outcome {
            verdict: Verdict::Rejected(place),
            ..
        },
    ] = outcomes.as_slice()
    else {
        panic!("{outcomes:?}");
    };
    assert_eq!(
        place.to_string(),
        "ip kube-proxy cluster-ips-check: ip daddr @cluster-ips reject"
    );
}

#[test]
fn a_number_without_an_entry_goes_on_untranslated() {
    let text = KUBE_PROXY.replace(
        r#"[2, {"goto": {"target": "endpoint-7Z3UCCZI-default/box/tcp/__10.244.2.2/8080"}}]"#,
        r#"[9, {"drop": null}]"#,
    );
    assert_ne!(text, KUBE_PROXY);
    let outcomes = nft(&text).walk(&THROUGH, &tcp("10.244.0.9", "10.96.9.1", 80)).unwrap();
    // Untranslated it comes to where unknown ports of known addresses are rejected.
    assert_eq!(targets(&outcomes), set(&["10.244.0.2:8080", "10.244.1.2:8080", "none"]));
}

#[test]
fn flannel_masquerades_what_leaves_the_cluster_only() {
    let ruleset = iptables(FLANNEL);
    let is_masqueraded = |destination| {
        let outcomes = ruleset.walk(&THROUGH, &tcp("10.244.0.9", destination, 80)).unwrap();
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        outcomes[0].snat.is_some()
    };
    assert!(is_masqueraded("203.0.113.1"));
    assert!(!is_masqueraded("10.244.1.4"));
}

#[test]
fn calico_drops_what_comes_from_devices_that_it_does_not_know() {
    let ruleset = iptables(CALICO);
    let from = |device| {
        let packet = tcp("10.246.40.129", "10.246.98.1", 80).by(Some(device), Some("vxlan.calico"));
        ruleset.walk(&[Hook::Forward], &packet).unwrap()
    };
    assert!(from("cali94c53c942a1").iter().all(Outcome::is_accepted));
    let unknown = from("cali00000000000");
    assert!(matches!(&unknown[0].verdict, Verdict::Dropped(place) if place.chain == "cali-from-wl-dispatch"));
}

/// Two rules that ask sets of all the kinds that policy engines make.
fn with_sets(rule: &str, sets: &str) -> Ruleset {
    let text = format!("*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD {rule} -j DROP\nCOMMIT\n");
    Ruleset::read(
        None,
        [(Family::Ip, Flavour::IptablesNft, text.as_str())],
        &Sets::read(sets),
    )
}

#[test]
fn sets_of_ipset_are_asked() {
    const SETS: &str = "create a hash:ip family inet hashsize 1024 maxelem 65536\nadd a 10.244.0.9\n\
        create n hash:net family inet hashsize 1024 maxelem 65536\nadd n 10.244.1.0/24\n\
        create p hash:ip,port family inet hashsize 1024 maxelem 65536\nadd p 10.244.1.4,tcp:80\nadd p 10.244.1.5,udp:80\n\
        create t hash:ip family inet timeout 300\nadd t 10.244.0.9 timeout 12\n\
        create x hash:net family inet\nadd x 10.244.0.0/16\nadd x 10.244.0.9 nomatch\n\
        create l list:set size 8\nadd l a\n";
    let of = |rule: &str| verdict(&with_sets(rule, SETS)).map(|verdicts| verdicts.contains(&Verdict::Accepted));
    // The packet is of 10.244.0.9 to 10.244.1.4, TCP port 80.
    assert_eq!(of("-m set --match-set a src"), Ok(false));
    assert_eq!(of("-m set --match-set a dst"), Ok(true));
    assert_eq!(of("-m set ! --match-set a src"), Ok(true));
    assert_eq!(of("-m set --match-set n dst ! --update-counters"), Ok(false));
    assert_eq!(of("-m set --match-set p dst,dst"), Ok(false));
    assert_eq!(of("-m set --match-set p src,dst"), Ok(true));
    // What goes by itself may be there and may not.
    assert_eq!(of("-m set --match-set t src"), Ok(true));
    for unknown in ["x", "l", "nowhere"] {
        let why = of(&format!("-m set --match-set {unknown} src")).unwrap_err();
        assert!(why.contains(&format!("--match-set {unknown} src")), "{why}");
    }
}

#[test]
fn what_is_not_known_and_decides_is_undecidable() {
    let ruleset = iptables(CALICO);
    let packet = Packet::new(Protocol::UDP, ip("10.90.0.22"), ip("10.90.0.21"), 4789).by(Some("eth0"), None);
    let why = ruleset.walk(&[Hook::Input], &packet).unwrap_err();
    assert_eq!(
        why.to_string(),
        "not decidable: -m set --match-set cali40all-vxlan-net src in ip filter cali-INPUT"
    );
}

#[test]
fn what_is_not_known_and_changes_nothing_does_not_matter() {
    let rules = "-A FORWARD -m wonder --of x -j LOG\n-A FORWARD -m wonder --of x -j MARK --set-xmark 0x1/0x1\n\
                 -A FORWARD -m limit --limit 5/min -j ACCEPT";
    assert_eq!(verdict(&forward("ACCEPT", rules)), Ok(vec![Verdict::Accepted]));
    let why = verdict(&forward("DROP", rules)).unwrap_err();
    assert_eq!(why, "not decidable: -m limit --limit 5/min in ip filter FORWARD");
    // Another condition settles it.
    let rules = "-A FORWARD -s 192.0.2.0/24 -m wonder --of x -j DROP";
    assert_eq!(verdict(&forward("ACCEPT", rules)), Ok(vec![Verdict::Accepted]));
    let why = verdict(&forward("ACCEPT", "-A FORWARD -j NFQUEUE --queue-num 1")).unwrap_err();
    assert!(why.contains("NFQUEUE"), "{why}");
}

#[test]
fn a_drop_names_its_rule_and_a_policy_its_chain() {
    let dropped = |ruleset: &Ruleset| match verdict(ruleset).unwrap().as_slice() {
        [Verdict::Dropped(place)] => place.to_string(),
        other => panic!("{other:?}"),
    };
    let rules = "-A FORWARD -j user\n-A user ! -d 10.244.0.0/24 -p tcp -m multiport --dports 22,80:90 -j DROP";
    assert_eq!(
        dropped(&forward("ACCEPT", rules)),
        "ip filter user: -A user ! -d 10.244.0.0/24 -p tcp -m multiport --dports 22,80:90 -j DROP"
    );
    let rules = "-A FORWARD -j user\n-A user -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A user -j RETURN\n-A user -j ACCEPT";
    assert_eq!(dropped(&forward("DROP", rules)), "ip filter FORWARD: its policy");
    let rules = "-A FORWARD -g user\n-A FORWARD -j ACCEPT\n-A user -p udp -j ACCEPT";
    assert_eq!(dropped(&forward("DROP", rules)), "ip filter FORWARD: its policy");
}

#[test]
fn a_loop_ends() {
    let why = verdict(&forward(
        "ACCEPT",
        "-A FORWARD -j user\n-A user -j user\n-A user -j DROP",
    ))
    .unwrap_err();
    assert!(why.contains("within each other"), "{why}");
    let many = "-A FORWARD -m statistic --mode random --probability 0.5 -j MARK --set-xmark 0x1/0x0\n".repeat(20);
    let why = verdict(&forward("ACCEPT", &many)).unwrap_err();
    assert!(why.contains("ways"), "{why}");
}

#[test]
fn affinity_leads_to_the_same_endpoints() {
    let ruleset = iptables(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n-A PREROUTING -m recent --rcheck --seconds 10800 --reap --name A --mask 255.255.255.255 --rsource -j A\n\
         -A PREROUTING -m statistic --mode random --probability 0.5 -j A\n-A PREROUTING -j B\n\
         -A A -p tcp -m recent --set --name A --mask 255.255.255.255 --rsource -m tcp -j DNAT --to-destination 10.244.1.4:1\n\
         -A B -p tcp -m recent --set --name B --mask 255.255.255.255 --rsource -m tcp -j DNAT --to-destination 10.244.1.5:1\nCOMMIT\n",
    );
    let outcomes = ruleset.walk(&THROUGH, &tcp("10.244.0.9", "10.96.0.1", 80)).unwrap();
    assert_eq!(targets(&outcomes), set(&["10.244.1.4:1", "10.244.1.5:1"]));
}

/// A chain of an inet table at a hook with these rules, each a list of expressions.
fn table(flags: &str, rules: &[&str]) -> Ruleset {
    let rule =
        |expr: &&str| format!(r#", {{"rule": {{"family": "inet", "table": "t", "chain": "c", "expr": {expr}}}}}"#);
    let rules = rules.iter().map(rule).collect::<Vec<_>>().concat();
    nft(&format!(
        r#"{{"nftables": [{{"table": {{"family": "inet", "name": "t"{flags}}}}},
            {{"set": {{"family": "inet", "table": "t", "name": "seen", "type": "ipv4_addr", "flags": ["timeout"], "elem": ["10.244.0.9"]}}}},
            {{"chain": {{"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}}}}{rules}]}}"#
    ))
}

#[test]
fn a_table_that_is_switched_off_decides_nothing() {
    let drop = [r#"[{"drop": null}]"#];
    assert!(matches!(verdict(&table("", &drop)).unwrap()[0], Verdict::Dropped(_)));
    assert_eq!(
        verdict(&table(r#", "flags": ["dormant"]"#, &drop)),
        Ok(vec![Verdict::Accepted])
    );
    // Old versions of nft say this of any flag.
    let why = verdict(&table(r#", "flags": "inet""#, &drop)).unwrap_err();
    assert_eq!(why, "not decidable: flags inet of the table in inet t");
    assert_eq!(
        verdict(&table(r#", "flags": "inet""#, &[])),
        Ok(vec![Verdict::Accepted])
    );
}

#[test]
fn what_comes_and_goes_in_a_set_happens_both_ways() {
    let rule = r#"[{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@seen"}}, {"drop": null}]"#;
    assert_eq!(verdict(&table("", &[rule])).unwrap().len(), 2);
}

#[test]
fn a_header_that_the_packet_does_not_have_matches_nothing() {
    let rules = [
        r#"[{"match": {"op": "!=", "left": {"payload": {"protocol": "ip6", "field": "saddr"}}, "right": "fd00::1"}}, {"drop": null}]"#,
        r#"[{"match": {"op": "!=", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 53}}, {"drop": null}]"#,
        r#"[{"match": {"op": "==", "left": {"payload": {"protocol": "icmp", "field": "type"}}, "right": "echo-request"}}, {"drop": null}]"#,
    ];
    assert_eq!(verdict(&table("", &rules)), Ok(vec![Verdict::Accepted]));
}

#[test]
fn translations_are_set_up_once_for_a_hook() {
    let ruleset = iptables(
        "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.1.4:8080\n\
         -A PREROUTING -p tcp -j REDIRECT --to-ports 1\nCOMMIT\n",
    );
    let outcomes = ruleset.walk(&THROUGH, &tcp("10.244.0.9", "10.96.0.1", 80)).unwrap();
    assert_eq!(targets(&outcomes), set(&["10.244.1.4:8080"]));
    let other = ruleset.walk(&THROUGH, &tcp("10.244.0.9", "10.96.0.1", 81)).unwrap();
    assert_eq!(other[0].dnat, Some(Dnat { to: None, port: 1 }));
    let known = Packet {
        state: State::Established,
        ..tcp("10.244.0.9", "10.96.0.1", 80)
    };
    assert_eq!(ruleset.walk(&THROUGH, &known).unwrap()[0].dnat, None);
}

#[test]
fn flavours_are_told_apart() {
    let ruleset = Ruleset::read(
        None,
        [
            (
                Family::Ip,
                Flavour::IptablesLegacy,
                "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n",
            ),
            (Family::Ip, Flavour::IptablesNft, FLANNEL),
        ],
        &Sets::default(),
    );
    let deciding = ruleset.deciding();
    assert_eq!(deciding[&Flavour::IptablesLegacy], ["ip filter"]);
    assert_eq!(deciding[&Flavour::IptablesNft], ["ip filter", "ip nat"]);
    let empty = "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n";
    assert!(iptables(empty).deciding().is_empty());
}

#[test]
fn many_services_are_found_by_their_address() {
    use std::fmt::Write as _;
    let mut text = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j KUBE-SERVICES\n".to_owned();
    for number in 0..5_000_u32 {
        let address = IpAddr::V4((0x0a60_0000 + number).into());
        let _ = writeln!(
            text,
            "-A KUBE-SERVICES -d {address}/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-{number}"
        );
        let _ = writeln!(
            text,
            "-A KUBE-SVC-{number} -p tcp -j DNAT --to-destination 10.244.1.4:{number}"
        );
    }
    text.push_str("COMMIT\n");
    let ruleset = iptables(&text);
    for number in [0, 17, 4_999] {
        let address = IpAddr::V4((0x0a60_0000 + number).into());
        let outcomes = ruleset
            .walk(&THROUGH, &tcp("10.244.0.9", &address.to_string(), 80))
            .unwrap();
        assert_eq!(targets(&outcomes), set(&[&format!("10.244.1.4:{number}")]));
    }
}

/// Anything that might stand in a ruleset.
fn json(depth: u32) -> BoxedStrategy<serde_json::Value> {
    const WORDS: [&str; 28] = [
        "table", "chain", "rule", "expr", "match", "left", "right", "op", "==", "in", "payload", "ip", "daddr", "vmap",
        "data", "key", "set", "@s", "numgen", "mod", "concat", "goto", "target", "family", "hook", "forward",
        "10.0.0.0", "prefix",
    ];
    let word = prop::sample::select(&WORDS[..]);
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<u64>().prop_map(serde_json::Value::from),
        word.clone().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(depth, 64, 4, move |inner| {
        let word = word.clone();
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::vec((word, inner), 0..4).prop_map(|pairs| serde_json::Value::Object(
                pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    })
    .boxed()
}

proptest! {
    #[test]
    fn any_expressions_are_read_and_walked(expr in json(6)) {
        let listing = serde_json::json!({"nftables": [
            {"table": {"family": "ip", "name": "t"}},
            {"map": {"family": "ip", "table": "t", "name": "s", "map": "verdict", "elem": expr}},
            {"chain": {"family": "ip", "table": "t", "name": "c", "type": "nat", "hook": "forward", "prio": 0, "policy": "drop"}},
            {"rule": {"family": "ip", "table": "t", "chain": "c", "expr": [expr, {"match": expr}, {"vmap": expr}, {"dnat": expr}]}},
            expr,
        ]});
        let _ = Ruleset::read(Some(&listing), [], &Sets::default()).walk(&THROUGH, &tcp("10.0.0.1", "10.0.0.2", 80));
    }

    #[test]
    fn any_text_is_read_and_walked(text in r#"(\*(nat|filter)\n)?(:(FORWARD|a) (DROP|-)?\n|-A (FORWARD|a) (! )?(-[dsmjgp] |--[a-z]{1,9} |"|\\|[0-9./:]{1,9} |tcp |mark |a |DNAT |MARK ){0,9}\n){0,9}"#) {
        let ruleset = Ruleset::read(None, [(Family::Ip, Flavour::IptablesLegacy, text.as_str())], &Sets::read(&text));
        let _ = ruleset.walk(&THROUGH, &tcp("10.0.0.1", "10.0.0.2", 80));
    }

    #[test]
    fn a_damaged_recording_is_read_and_walked(at in any::<prop::sample::Index>(), instead in "\\PC{0,3}") {
        let characters: Vec<char> = FLANNEL.chars().collect();
        let at = at.index(characters.len());
        let text: String = characters[..at].iter().copied().chain(instead.chars()).chain(characters[at..].iter().copied().skip(2)).collect();
        let _ = iptables(&text).walk(&THROUGH, &tcp("10.244.0.9", "10.96.21.143", 80));
    }
}
