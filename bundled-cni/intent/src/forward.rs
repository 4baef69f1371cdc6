//! Whether somebody's firewall drops what pods send through this node (SPEC.md, section 5.8, "The FORWARD trap").
//!
//! A packet of a new connection between two of this node's pods is led through each base chain at hook forward, as far as its rules can be
//! read: told is only what drops it for sure. What cannot be read may let it through, and then nothing is said.

use crate::{
    diff::Finding,
    family::Family,
    names::{NFT_POLICY_TABLE, NFT_TABLE, VETH_NAME_START},
};
use ipnet::IpNet;
use netcheck_node_state::ruleset::{BaseChain, NftRule};
use serde_json::Value;
use std::net::IpAddr;

/// Chains behind chains that are followed: more are a loop, or nobody's firewall.
const DEPTH: u32 = 8;
/// Chains of kube-proxy (`iptables/proxier.go`) and ufw (`before.rules`) that let through what belongs to known connections, and nothing
/// new. nft shows nothing of what iptables' match `conntrack` is about.
const ONLY_KNOWN_CONNECTIONS: [&str; 3] = ["KUBE-FORWARD", "ufw-before-forward", "ufw6-before-forward"];
/// iptables' targets that decide nothing.
const UNDECIDED_TARGETS: [&str; 8] = ["LOG", "NFLOG", "MARK", "CONNMARK", "CT", "CHECKSUM", "TCPMSS", "TRACE"];

/// Gives the rules of another chain of a base chain's table; `None` where they cannot be read.
pub type Follow<'a> = &'a mut dyn FnMut(&BaseChain, &str) -> Option<Vec<NftRule>>;

/// Which of these chains, in the order of hook forward, drop what pods in these ranges of this node send to each other.
pub fn dropped(chains: &[BaseChain], ranges: &[IpNet], follow: Follow<'_>) -> Vec<Finding> {
    let is_ours =
        |chain: &BaseChain| chain.family == "inet" && (chain.table == NFT_TABLE || chain.table == NFT_POLICY_TABLE);
    let mut findings = Vec::new();
    for chain in chains.iter().filter(|chain| !is_ours(chain)) {
        for range in ranges.iter().filter(|range| sees(chain, Family::of_net(range))) {
            let probe = Probe { range: *range };
            let by_policy = chain.base.policy == "drop";
            // Where there is nothing that drops, no chain needs to be followed: there may be thousands.
            let by_rule = chain.rules.iter().any(|rule| probe.rule(rule, "").1 == Verdict::Drops);
            if !by_policy && !by_rule {
                continue;
            }
            let mut walk = Walk {
                probe: &probe,
                chain,
                follow: &mut *follow,
            };
            let how = match walk.chain(&chain.rules, &chain.name, DEPTH) {
                Fate::Dropped => "a rule",
                Fate::Left if by_policy => "its policy",
                Fate::Left | Fate::MaybeAccepted => continue,
            };
            findings.push(Finding::ForwardDropped {
                chain: format!("{} {} {}", chain.family, chain.table, chain.name),
                how,
                range: *range,
                fix: fix(chain, range),
            });
        }
    }
    findings
}

fn sees(chain: &BaseChain, family: Family) -> bool {
    match chain.family.as_str() {
        "inet" => true,
        "ip" => family == Family::V4,
        "ip6" => family == Family::V6,
        _ => false,
    }
}

/// The command that lets pods' packets through, in the language of who made the chain.
fn fix(chain: &BaseChain, range: &IpNet) -> String {
    let (program, word) = match Family::of_net(range) {
        Family::V4 => ("iptables", "ip"),
        Family::V6 => ("ip6tables", "ip6"),
    };
    if chain.family != "inet" && chain.table == "filter" && chain.name == "FORWARD" {
        return format!("{program} -I FORWARD -s {range} -j ACCEPT; {program} -I FORWARD -d {range} -j ACCEPT");
    }
    let place = format!("{} {} {}", chain.family, chain.table, chain.name);
    format!("nft insert rule {place} {word} saddr {range} accept; nft insert rule {place} {word} daddr {range} accept")
}

/// Whether something is so of every packet that is asked about, of none, or cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Always,
    Never,
    Unknown,
}

impl Is {
    fn when(condition: bool) -> Self {
        if condition { Self::Always } else { Self::Never }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never, _) | (_, Self::Never) => Self::Never,
            (Self::Always, Self::Always) => Self::Always,
            _ => Self::Unknown,
        }
    }

    /// Of several, one of which is enough.
    fn any(each: impl Iterator<Item = Self>) -> Self {
        each.fold(Self::Never, |so_far, one| match (so_far, one) {
            (Self::Always, _) | (_, Self::Always) => Self::Always,
            (Self::Never, Self::Never) => Self::Never,
            _ => Self::Unknown,
        })
    }

    fn not(self) -> Self {
        match self {
            Self::Always => Self::Never,
            Self::Never => Self::Always,
            Self::Unknown => Self::Unknown,
        }
    }
}

/// What a rule does with a packet that fits it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Nothing,
    Accepts,
    Drops,
    Returns,
    Jumps(String),
    GoesTo(String),
    Unknown,
}

/// What became of a packet in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Dropped,
    MaybeAccepted,
    /// It went on behind the chain.
    Left,
}

/// The first packet of a connection from one of this node's pods to another: not marked, not translated, in and out by veths of ours.
struct Probe {
    range: IpNet,
}

impl Probe {
    /// Whether a rule fits, and what it does then. `chain` is where it stands.
    fn rule(&self, rule: &NftRule, chain: &str) -> (Is, Verdict) {
        let mut fits = Is::Always;
        let mut verdict = Verdict::Nothing;
        for expression in &rule.expressions {
            let Some((key, value)) = expression.as_object().and_then(|object| object.iter().next()) else {
                fits = fits.and(Is::Unknown);
                continue;
            };
            let target = || value["target"].as_str().unwrap_or_default().to_owned();
            match key.as_str() {
                "match" => fits = fits.and(self.matches(value)),
                "counter" | "log" | "mangle" => {}
                "accept" => verdict = Verdict::Accepts,
                "drop" | "reject" => verdict = Verdict::Drops,
                "return" => verdict = Verdict::Returns,
                "jump" => verdict = Verdict::Jumps(target()),
                "goto" => verdict = Verdict::GoesTo(target()),
                "xt" => match (value["type"].as_str(), value["name"].as_str().unwrap_or_default()) {
                    (Some("match"), "comment") => {}
                    (Some("match"), "conntrack") if ONLY_KNOWN_CONNECTIONS.contains(&chain) => fits = Is::Never,
                    (Some("target"), "REJECT") => verdict = Verdict::Drops,
                    (Some("target"), name) if UNDECIDED_TARGETS.contains(&name) => {}
                    (Some("target"), _) => verdict = Verdict::Unknown,
                    _ => fits = fits.and(Is::Unknown),
                },
                // They decide by what they find in a map, or hand the packet to somebody.
                "vmap" | "queue" => verdict = Verdict::Unknown,
                _ => fits = fits.and(Is::Unknown),
            }
        }
        (fits, verdict)
    }

    fn matches(&self, value: &Value) -> Is {
        let (left, right) = (&value["left"], &value["right"]);
        let is = match right.get("set").unwrap_or(right) {
            Value::Array(several) => Is::any(several.iter().map(|one| self.is(left, one))),
            one => self.is(left, one),
        };
        match value["op"].as_str() {
            Some("==" | "in") => is,
            Some("!=") => is.not(),
            _ => Is::Unknown,
        }
    }

    /// Whether a property of the packet has a value.
    fn is(&self, left: &Value, right: &Value) -> Is {
        let family = Family::of_net(&self.range);
        let key = |of: &str| left[of]["key"].as_str();
        match (key("meta"), key("ct"), right.as_str()) {
            (Some("iifname" | "oifname"), _, Some(name)) => is_veth(name),
            (Some("nfproto"), _, Some(name)) => Is::when((name == "ipv4") == (family == Family::V4)),
            (_, Some("state"), Some(state)) => Is::when(state == "new"),
            (_, Some("status"), Some("dnat" | "snat")) => Is::Never,
            _ if left["payload"]["field"] == "saddr" || left["payload"]["field"] == "daddr" => {
                let is_of_family = left["payload"]["protocol"] == if family == Family::V4 { "ip" } else { "ip6" };
                if is_of_family { self.address(right) } else { Is::Never }
            }
            _ if key("meta") == Some("mark") || left["&"][0]["meta"]["key"] == "mark" => {
                right.as_u64().map_or(Is::Unknown, |mark| Is::when(mark == 0))
            }
            _ => Is::Unknown,
        }
    }

    fn address(&self, right: &Value) -> Is {
        let parse = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
        let net = match right.get("prefix") {
            Some(prefix) => {
                let length = prefix["len"].as_u64().and_then(|length| u8::try_from(length).ok());
                parse(&prefix["addr"])
                    .zip(length)
                    .and_then(|(ip, length)| IpNet::new(ip, length).ok())
            }
            None => parse(right).map(IpNet::from),
        };
        match net {
            Some(net) if net.contains(&self.range) => Is::Always,
            Some(net) if !self.range.contains(&net) => Is::Never,
            _ => Is::Unknown,
        }
    }
}

/// Whether a veth of ours has this name, which may end with `*`.
fn is_veth(name: &str) -> Is {
    match name.strip_suffix('*') {
        Some(start) if VETH_NAME_START.starts_with(start) => Is::Always,
        _ if name.starts_with(VETH_NAME_START) => Is::Unknown,
        _ => Is::Never,
    }
}

/// A packet's way through a base chain and what it leads to.
struct Walk<'a, 'b> {
    probe: &'a Probe,
    chain: &'a BaseChain,
    follow: Follow<'b>,
}

impl Walk<'_, '_> {
    fn chain(&mut self, rules: &[NftRule], name: &str, depth: u32) -> Fate {
        // A rule before may have led the packet elsewhere: what follows drops it perhaps, and that is not told.
        let mut is_here = Is::Always;
        for rule in rules {
            let (fits, verdict) = self.probe.rule(rule, name);
            if fits == Is::Never {
                continue;
            }
            let is_sure = fits.and(is_here) == Is::Always;
            let leaves = match verdict {
                Verdict::Accepts | Verdict::Unknown => return Fate::MaybeAccepted,
                Verdict::Drops if is_sure => return Fate::Dropped,
                Verdict::Nothing | Verdict::Drops => continue,
                Verdict::Returns => true,
                Verdict::Jumps(target) | Verdict::GoesTo(target) if depth == 0 || target.is_empty() => {
                    return Fate::MaybeAccepted;
                }
                Verdict::Jumps(ref target) | Verdict::GoesTo(ref target) => {
                    let Some(rules) = (self.follow)(self.chain, target) else {
                        return Fate::MaybeAccepted;
                    };
                    match self.chain(&rules, target, depth - 1) {
                        Fate::Dropped if is_sure => return Fate::Dropped,
                        Fate::MaybeAccepted => return Fate::MaybeAccepted,
                        Fate::Dropped | Fate::Left => matches!(verdict, Verdict::GoesTo(_)),
                    }
                }
            };
            match (leaves, fits) {
                (true, Is::Always) => return Fate::Left,
                (true, _) => is_here = Is::Unknown,
                _ => {}
            }
        }
        Fate::Left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcheck_node_state::ruleset::NftBase;
    use serde_json::json;

    fn rules(expressions: &[Value]) -> Vec<NftRule> {
        let rule = |expressions: &Value| NftRule {
            comment: None,
            expressions: expressions.as_array().unwrap().clone(),
        };
        expressions.iter().map(rule).collect()
    }

    /// What is told of a chain FORWARD, where KUBE-FORWARD is as kube-proxy has it and all other chains are `other`.
    fn told(policy: &str, forward: &[Value], other: &[Value]) -> Vec<String> {
        let chain = BaseChain {
            family: "ip".to_owned(),
            table: "filter".to_owned(),
            name: "FORWARD".to_owned(),
            base: NftBase {
                kind: "filter".to_owned(),
                hook: "forward".to_owned(),
                priority: 0,
                policy: policy.to_owned(),
            },
            rules: rules(forward),
        };
        let kube = [
            json!([{"xt": {"type": "match", "name": "conntrack"}}, {"counter": null}, {"drop": null}]),
            json!([{"xt": {"type": "match", "name": "comment"}},
                {"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, 16384]}, "right": 16384}}, {"accept": null}]),
            json!([{"xt": {"type": "match", "name": "comment"}}, {"xt": {"type": "match", "name": "conntrack"}}, {"accept": null}]),
        ];
        let ranges = ["10.244.1.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()];
        let findings = dropped(&[chain], &ranges, &mut |_, name| {
            Some(rules(if name == "KUBE-FORWARD" { &kube } else { other }))
        });
        findings.iter().map(ToString::to_string).collect()
    }

    fn jump(target: &str) -> Value {
        json!([{"counter": null}, {"jump": {"target": target}}])
    }

    fn address(op: &str, address: &str, length: u8) -> Value {
        let left = json!({"payload": {"protocol": "ip", "field": "saddr"}});
        json!({"match": {"op": op, "left": left, "right": {"prefix": {"addr": address, "len": length}}}})
    }

    fn state(states: &[&str]) -> Value {
        json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": states}})
    }

    fn interface(key: &str, op: &str, name: &str) -> Value {
        json!({"match": {"op": op, "left": {"meta": {"key": key}}, "right": name}})
    }

    #[test]
    fn a_policy_is_told_unless_something_may_accept_before() {
        let docker =
            json!([interface("iifname", "==", "docker0"), interface("oifname", "!=", "docker0"), {"accept": null}]);
        let known = json!([state(&["established", "related"]), {"accept": null}]);
        let opaque = json!([{"xt": {"type": "match", "name": "conntrack"}}, {"accept": null}]);
        for forward in [
            vec![],
            vec![jump("KUBE-FORWARD"), jump("DOCKER-USER"), docker.clone(), known.clone()],
            vec![json!([address("==", "10.245.0.0", 16), {"accept": null}])],
            vec![json!([address("!=", "10.0.0.0", 8), {"accept": null}])],
            vec![json!([{"xt": {"type": "target", "name": "LOG"}}])],
        ] {
            let told = told("drop", &forward, &[json!([{"return": null}])]);
            assert!(
                told.len() == 1 && told[0].contains("ip filter FORWARD") && told[0].contains("policy"),
                "{told:?}"
            );
            assert!(
                told[0].contains("iptables -I FORWARD -s 10.244.1.0/24 -j ACCEPT"),
                "{told:?}"
            );
        }
        for accept in [
            json!([{"accept": null}]),
            json!([address("==", "10.244.0.0", 16), {"accept": null}]),
            json!([address("==", "10.244.1.128", 25), {"accept": null}]),
            json!([interface("iifname", "==", "nc*"), {"accept": null}]),
            json!([interface("oifname", "!=", "docker0"), {"accept": null}]),
            json!([state(&["new", "established"]), {"accept": null}]),
            json!([{"something": "new"}, {"accept": null}]),
            json!([{"vmap": {}}]),
            json!([{"xt": {"type": "target", "name": "UNHEARD"}}]),
            opaque,
        ] {
            assert_eq!(
                told("drop", &[jump("KUBE-FORWARD"), accept.clone()], &[]),
                [""; 0],
                "{accept}"
            );
            assert_eq!(
                told("drop", &[jump("any")], std::slice::from_ref(&accept)),
                [""; 0],
                "{accept} behind a jump"
            );
        }
    }

    #[test]
    fn a_rule_is_told_if_it_is_sure() {
        let drop = json!([{"counter": null}, {"drop": null}]);
        for forward in [
            vec![drop.clone()],
            vec![jump("KUBE-FORWARD"), drop.clone()],
            vec![json!([address("==", "10.244.0.0", 16), {"reject": null}])],
            vec![json!([{"xt": {"type": "target", "name": "REJECT"}}])],
            vec![json!([state(&["established"]), {"accept": null}]), drop.clone()],
        ] {
            let told = told("accept", &forward, &[]);
            assert!(told.len() == 1 && told[0].contains("a rule"), "{forward:?}: {told:?}");
        }
        for forward in [
            vec![],
            vec![json!([state(&["invalid"]), {"drop": null}])],
            vec![json!([address("==", "10.244.1.7", 32), {"drop": null}])],
            vec![
                json!([{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}, {"drop": null}]),
            ],
            vec![json!([{"accept": null}]), drop.clone()],
            vec![json!([{"return": null}]), drop.clone()],
            vec![json!([{"limit": {}}, {"return": null}]), drop.clone()],
            vec![jump("any"), drop],
        ] {
            assert_eq!(
                told("accept", &forward, &[json!([{"accept": null}])]),
                [""; 0],
                "{forward:?}"
            );
        }
    }

    #[test]
    fn a_loop_ends() {
        assert_eq!(told("drop", &[jump("a")], &[jump("a")]), [""; 0]);
    }
}
