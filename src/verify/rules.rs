//! Rules that send pods' packets past the main table, where the routes of most networks are.
//!
//! A rule that is narrower than what can be told here (by port, user, mark or device) is passed over: some packets may go another way by it, and
//! that is what such rules are for.

use super::found::Found;
use ipnet::IpNet;
use netcheck_cni_intent::words;
use netcheck_node_state::{NetState, Route, RouteKind, Rule, record::Space};
use std::collections::{BTreeMap, BTreeSet};

/// `RT_TABLE_LOCAL`, `RT_TABLE_MAIN` and `RT_TABLE_DEFAULT` of linux/rtnetlink.h.
const LOCAL: u32 = 255;
const MAIN: u32 = 254;
const DEFAULT: u32 = 253;
/// `FR_ACT_TO_TBL`, `FR_ACT_BLACKHOLE` and `FR_ACT_PROHIBIT` of linux/fib_rules.h.
const ASKS: u8 = 1;
const REFUSES: std::ops::RangeInclusive<u8> = 6..=8;
/// `RTN_THROW` of linux/rtnetlink.h: as if the table knew no way.
const THROW: RouteKind = RouteKind::Other(9);

/// Rules that send packets from a node's own ranges to these ranges of others elsewhere than its main table does, each told of once.
pub fn diversions(space: &Space, own: &[IpNet], others: &[IpNet]) -> Vec<Found> {
    let mut told = BTreeSet::new();
    let mut found = Vec::new();
    if space.rules.iter().all(is_usual) {
        return found;
    }
    let tables = Tables::new(&space.net);
    for to in others {
        let Some(from) = own.iter().find(|own| own.addr().is_ipv4() == to.addr().is_ipv4()) else {
            continue;
        };
        let Some(wanted) = tables.way(MAIN, to).filter(|route| route.destination.prefix_len() > 0) else {
            continue;
        };
        let first = space
            .rules
            .iter()
            .filter(|rule| rule.is_ipv6 != to.addr().is_ipv4() && fits(rule, from, to))
            .find_map(|rule| decision(rule, &tables, to).map(|decision| (rule, decision)));
        let Some((rule, Decision::Elsewhere(by))) = first else {
            continue;
        };
        let leads_alike = |route: &Route| {
            let what = |route: &Route| (route.kind, route.gateway, route.device.clone(), route.next_hops.clone());
            what(route) == what(wanted)
        };
        let actual = match by {
            Some(route) if leads_alike(route) => continue,
            Some(route) => format!("{} in table {}, by {}", words::route(route), rule.table, in_words(rule)),
            None => format!("nothing, by {}", in_words(rule)),
        };
        let family = if rule.is_ipv6 { "-6 " } else { "" };
        if told.insert((rule.is_ipv6, rule.priority)) {
            found.push(
                Found::new(
                    "verify-route-diverted",
                    format!("{family}rule {}", rule.priority),
                    format!("{} decides about what goes to {to}", words::route(wanted)),
                    actual,
                )
                .look(format!("ip {family}rule; ip {family}route show table {}", rule.table))
                .fix(format!(
                    "by whoever wrote it, or by hand: ip {family}rule del priority {}",
                    rule.priority
                )),
            );
        }
    }
    found
}

/// What a rule says of packets that it fits.
enum Decision<'a> {
    /// The main table is asked.
    Main,
    /// Another table's route, or none: they are dropped.
    Elsewhere(Option<&'a Route>),
}

/// `None` if the next rule is asked.
fn decision<'a>(rule: &Rule, tables: &Tables<'a>, to: &IpNet) -> Option<Decision<'a>> {
    match (rule.action, rule.table) {
        (ASKS, LOCAL) => None,
        (ASKS, table) => {
            let route = tables.way(table, to)?;
            let is_suppressed = rule
                .suppressed_prefix
                .is_some_and(|length| route.destination.prefix_len() <= length);
            match () {
                () if is_suppressed || route.kind == THROW => None,
                () if table == MAIN => Some(Decision::Main),
                () => Some(Decision::Elsewhere(Some(route))),
            }
        }
        (action, _) if REFUSES.contains(&action) => Some(Decision::Elsewhere(None)),
        _ => None,
    }
}

/// The rules that each namespace is born with (`fib_default_rules_init()`, net/ipv4/fib_rules.c).
fn is_usual(rule: &Rule) -> bool {
    let born = |priority, table| {
        *rule
            == Rule {
                is_ipv6: rule.is_ipv6,
                priority,
                action: ASKS,
                table,
                ..Rule::default()
            }
    };
    born(0, LOCAL) || born(32_766, MAIN) || born(32_767, DEFAULT)
}

/// Routes by table and range, of each the one that the kernel prefers.
struct Tables<'a>(BTreeMap<(u32, IpNet), &'a Route>);

impl<'a> Tables<'a> {
    fn new(net: &'a NetState) -> Self {
        let mut tables: BTreeMap<(u32, IpNet), &Route> = BTreeMap::new();
        for route in &net.routes {
            let known = tables.entry((route.table, route.destination)).or_insert(route);
            if route.metric < known.metric {
                *known = route;
            }
        }
        Self(tables)
    }

    /// The route for a whole range: that of the longest prefix that covers it.
    fn way(&self, table: u32, to: &IpNet) -> Option<&'a Route> {
        let supernets = std::iter::successors(Some(to.trunc()), IpNet::supernet);
        supernets.into_iter().find_map(|net| self.0.get(&(table, net)).copied())
    }
}

/// Whether a rule fits packets that are forwarded from some of a range to some of another, and bear no mark.
fn fits(rule: &Rule, from: &IpNet, to: &IpNet) -> bool {
    let meets = |wanted: &Option<IpNet>, range: &IpNet| {
        wanted.is_none_or(|wanted| wanted.contains(range) || range.contains(&wanted))
    };
    let by_addresses = meets(&rule.source, from) && meets(&rule.destination, to);
    let by_mark = rule.mark.is_none_or(|(value, mask)| value & mask == 0);
    let is_narrow = rule.in_device.is_some() || rule.out_device.is_some() || !rule.others.is_empty();
    // What is turned about and narrow fits nearly all.
    (by_addresses && by_mark && !is_narrow) != rule.is_inverted
}

/// As `ip rule` lists it.
fn in_words(rule: &Rule) -> String {
    let not = if rule.is_inverted { "not " } else { "" };
    let source = rule.source.map_or_else(|| "all".to_owned(), |net| net.to_string());
    let to = rule.destination.map(|net| format!(" to {net}")).unwrap_or_default();
    let mark = rule.mark.map(|(value, mask)| format!(" fwmark {value:#x}/{mask:#x}"));
    let action = match rule.action {
        ASKS => format!("lookup {}", rule.table),
        6 => "blackhole".to_owned(),
        7 => "unreachable".to_owned(),
        8 => "prohibit".to_owned(),
        other => format!("action {other}"),
    };
    format!(
        "rule {}: {not}from {source}{to}{} {action}",
        rule.priority,
        mark.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn route(table: u32, to: &str, via: &str) -> Route {
        Route {
            table,
            destination: net(to),
            metric: 0,
            kind: RouteKind::Unicast,
            gateway: via.parse().ok(),
            device: Some("eth0".to_owned()),
            scope: 0,
            protocol: 3,
            mtu: None,
            source: None,
            is_onlink: false,
            next_hops: Vec::new(),
        }
    }

    fn rule(priority: u32, table: u32) -> Rule {
        Rule {
            priority,
            action: ASKS,
            table,
            ..Rule::default()
        }
    }

    fn found(rules: &[Rule], more: &[Route]) -> Vec<String> {
        let usual = [rule(0, LOCAL), rule(32_766, MAIN), rule(32_767, 253)];
        let mut rules = [&usual[..1], rules, &usual[1..]].concat();
        rules.sort_by_key(|rule| rule.priority);
        let mut routes = BTreeSet::from([
            route(MAIN, "0.0.0.0/0", "192.0.2.254"),
            route(MAIN, "10.0.1.0/24", "10.0.1.0"),
        ]);
        routes.extend(more.iter().cloned());
        let space = Space {
            net: NetState {
                routes,
                ..NetState::default()
            },
            rules,
            ..Space::default()
        };
        let found = diversions(&space, &[net("10.0.0.0/24")], &[net("10.0.1.0/24"), net("10.0.2.0/24")]);
        found.into_iter().map(|one| one.object).collect()
    }

    #[test]
    fn a_rule_before_main_diverts_if_its_table_leads_elsewhere() {
        let table = [route(42, "0.0.0.0/0", "192.0.2.9")];
        assert_eq!(found(&[rule(99, 42)], &table), ["rule 99"]);
        let to_pods = |to: &str| Rule {
            destination: Some(net(to)),
            ..rule(99, 42)
        };
        assert_eq!(found(&[to_pods("10.0.1.7/32")], &table), ["rule 99"]);
        assert_eq!(found(&[to_pods("10.0.9.0/24")], &table), Vec::<String>::new());
        let refused = Rule {
            action: 6,
            ..to_pods("10.0.0.0/8")
        };
        assert_eq!(found(&[refused], &[]), ["rule 99"]);
        // Nothing in its table, the same way, or a rule that comes too late.
        assert_eq!(found(&[rule(99, 42)], &[]), Vec::<String>::new());
        assert_eq!(
            found(&[rule(99, 42)], &[route(42, "10.0.1.0/24", "10.0.1.0")]),
            Vec::<String>::new()
        );
        assert_eq!(found(&[rule(40_000, 42)], &table), Vec::<String>::new());
    }

    #[test]
    fn what_fits_other_packets_is_passed_over() {
        let table = [route(42, "0.0.0.0/0", "192.0.2.9")];
        let marked = Rule {
            mark: Some((0x100, 0xf00)),
            ..rule(99, 42)
        };
        let by_port = Rule {
            others: BTreeSet::from([24]),
            ..rule(99, 42)
        };
        let local = Rule {
            in_device: Some("lo".to_owned()),
            ..rule(99, 42)
        };
        let others = Rule {
            source: Some(net("172.16.0.0/12")),
            ..rule(99, 42)
        };
        for rule in [marked.clone(), by_port, local, others] {
            assert_eq!(
                found(std::slice::from_ref(&rule), &table),
                Vec::<String>::new(),
                "{rule:?}"
            );
        }
        let suppressed = Rule {
            suppressed_prefix: Some(0),
            ..rule(99, 42)
        };
        assert_eq!(found(&[suppressed], &table), Vec::<String>::new());
        let all_but_marked = Rule {
            is_inverted: true,
            ..marked
        };
        assert_eq!(found(&[all_but_marked], &table), ["rule 99"]);
    }
}
