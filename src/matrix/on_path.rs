//! Which of the things that are wrong on nodes lie on a failed row's path.

use super::{
    class::Meaning,
    report::{Observation, Row},
};
use crate::{findings, output::safe, verify::report::NodeFinding};
use ipnet::IpNet;
use std::{collections::BTreeSet, net::IpAddr};

/// Nodes at the ends of rows that failed.
pub fn nodes(rows: &[Row]) -> BTreeSet<String> {
    let failed = rows.iter().filter(|row| row.class.meaning() == Meaning::Failed);
    failed.flat_map(ends).map(str::to_owned).collect()
}

fn ends(row: &Row) -> impl Iterator<Item = &str> {
    [&row.source, &row.destination]
        .into_iter()
        .filter_map(|party| party.node.as_deref())
}

/// Tells each failed row of what is wrong at its ends; `addresses` are a node's.
pub fn attach(rows: &mut [Row], found: &[NodeFinding], addresses: impl Fn(&str) -> Vec<IpAddr>) {
    for row in rows.iter_mut().filter(|row| row.class.meaning() == Meaning::Failed) {
        let touched = touched(row, &addresses);
        let on_path = found.iter().filter(|one| {
            one.follows_from.is_none() && ends(row).any(|node| node == one.node) && may_touch(one, &touched)
        });
        row.on_path = on_path.map(words).collect();
    }
}

fn words(one: &NodeFinding) -> String {
    let finding = &one.finding;
    let title = findings::page(&finding.id).map_or("", |page| page.title);
    safe(&format!(
        "{}: {title}: expected {}, actual {} ({})",
        finding.subject, finding.expected, finding.actual, finding.id
    ))
}

/// Addresses that the row's packets have, or are carried by.
fn touched(row: &Row, addresses: impl Fn(&str) -> Vec<IpAddr>) -> Vec<IpAddr> {
    let seen = |saw: &Observation| {
        let packets = saw.packets.iter();
        packets
            .flat_map(|packet| [packet.from.ip(), packet.to.ip()])
            .collect::<Vec<_>>()
    };
    let mut all: Vec<IpAddr> = ends(row).flat_map(addresses).collect();
    all.extend(row.target.map(|target| target.ip()));
    all.extend(row.source_saw.iter().flat_map(seen));
    all
}

/// What names addresses or ranges, and none that is touched, is about somebody else.
fn may_touch(one: &NodeFinding, touched: &[IpAddr]) -> bool {
    let finding = &one.finding;
    let texts = [&finding.subject, &finding.expected, &finding.actual];
    let mut named = texts
        .iter()
        .flat_map(|text| text.split([' ', ',', ';', ':']).chain(text.split([' ', ',', ';'])))
        .filter_map(range)
        .peekable();
    named.peek().is_none() || named.any(|range| touched.iter().any(|ip| range.contains(ip)))
}

fn range(word: &str) -> Option<IpNet> {
    word.parse().or_else(|_| word.parse::<IpAddr>().map(IpNet::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        findings::{Finding, Harm, Severity},
        matrix::{class::Class, family::Family, sample},
        verify::group::Group,
    };

    fn found(node: &str, object: &str, expected: &str) -> NodeFinding {
        NodeFinding {
            node: node.to_owned(),
            group: Group::Routes,
            finding: Finding {
                id: "verify-route-missing".to_owned(),
                severity: Severity::Error,
                subject: format!("node/{node} {object}"),
                expected: expected.to_owned(),
                actual: "nothing".to_owned(),
                evidence: Vec::new(),
                cause: None,
                fix: None,
            },
            harm: Harm::default(),
            follows_from: None,
        }
    }

    fn told(found: &[NodeFinding]) -> usize {
        let (web, api) = (sample::pod("web", "n1"), sample::pod("api", "n2"));
        let mut rows = vec![sample::row(&web, &api, 80, Family::Ipv4, Class::NeverArrived)];
        let address = |node: &str| vec![if node == "n1" { [192, 0, 2, 1] } else { [192, 0, 2, 2] }.into()];
        attach(&mut rows, found, address);
        rows[0].on_path.len()
    }

    #[test]
    fn what_is_wrong_at_its_ends_is_told_of_a_failed_row() {
        assert_eq!(
            told(&[found("n1", "route 10.0.0.0/24", "10.0.0.0/24 via 192.0.2.2")]),
            1
        );
        assert_eq!(told(&[found("n2", "sysctl net.ipv4.ip_forward", "1")]), 1);
        // By the address that carries it.
        assert_eq!(
            told(&[found("n1", "fdb 0a:00:00:00:00:02", "0a:00:00:00:00:02 dst 192.0.2.2")]),
            1
        );
    }

    #[test]
    fn what_is_about_others_is_not() {
        assert_eq!(told(&[found("n3", "sysctl net.ipv4.ip_forward", "1")]), 0);
        assert_eq!(
            told(&[found("n1", "route 10.9.0.0/24", "10.9.0.0/24 via 192.0.2.9")]),
            0
        );
        assert_eq!(told(&[found("n1", "route fd00:9::/64", "fd00:9::/64 via fd00::9")]), 0);
        let follows = NodeFinding {
            follows_from: Some("node/n1 link ncvx0".to_owned()),
            ..found("n1", "route 10.0.0.0/24", "")
        };
        assert_eq!(told(&[follows]), 0);
    }

    #[test]
    fn rows_that_held_ask_for_no_node() {
        let (web, api) = (sample::pod("web", "n1"), sample::pod("api", "n2"));
        let row = |class| sample::row(&web, &api, 80, Family::Ipv4, class);
        assert!(nodes(&[row(Class::Reached), row(Class::NotTested)]).is_empty());
        assert_eq!(nodes(&[row(Class::Refused)]).len(), 2);
    }
}
