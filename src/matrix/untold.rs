//! What a run was to test and could not even make rows of, because a right is missing or a limit is in the way. Pure.

use super::{evidence::Protocol, report::Untold, select::Named};
use crate::cluster::inventory::{Inventory, Unread};
use std::collections::BTreeSet;

/// What was asked, as far as it decides whether something that may not be read matters.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Sources that the user named; `None` for all pods and nodes.
    pub sources: Option<&'a Named>,
    /// Destinations that the user named; `None` for pods, nodes, Services and DNS.
    pub destinations: Option<&'a Named>,
    /// Protocols.
    pub protocols: &'a BTreeSet<Protocol>,
    /// Nodes that nobody named are sources too.
    pub nodes_speak: bool,
}

/// What the user may not read and was to be tested. Names of the user's own are no part of it: resolving them says what is missing.
pub fn unread(inventory: &Inventory, asked: Asked<'_>) -> Vec<Untold> {
    let speaks = |protocol| asked.protocols.contains(&protocol);
    let from_nodes = match asked.sources {
        None => asked.nodes_speak,
        Some(named) => !named.nodes.is_empty(),
    };
    let to_nodes = match asked.destinations {
        None => speaks(Protocol::Tcp) || speaks(Protocol::Icmp),
        Some(named) => !named.nodes.is_empty(),
    };
    let to_services = asked.destinations.is_none() && speaks(Protocol::Tcp);
    let untold = inventory.unread.iter().filter_map(|unread| {
        let (what, left_out_by) = if *unread == Unread::nodes() {
            let matters = from_nodes || to_nodes;
            (
                matters.then(|| "nodes".to_owned())?,
                "naming pods or Services as TARGET and as --to leaves nodes out",
            )
        } else {
            let place = unread.namespace.as_ref();
            let place = place.map_or_else(String::new, |namespace| format!(" in namespace {namespace}"));
            (
                to_services.then(|| format!("Services{place}"))?,
                "naming other destinations with --to leaves them out",
            )
        };
        Some(Untold {
            what,
            why: unread.to_string(),
            hint: format!("kubectl netcheck rbac matrix prints the role that allows it; {left_out_by}"),
        })
    });
    untold.collect()
}

/// What a limit cut from a run that was to leave nothing out.
pub fn over_limit(what: &str, flag: &str, limit: usize, over: usize) -> Option<Untold> {
    (over > 0).then(|| Untold {
        what: format!("{what} over the limit"),
        why: format!(
            "--full means {} {what} here, {over} more than {flag} {limit} allows",
            limit + over
        ),
        hint: format!(
            "{flag} {} or --yes allows them; TARGET and --to narrow what is tested",
            limit + over
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(inventory: &Inventory, asked: Asked<'_>) -> Vec<String> {
        unread(inventory, asked).into_iter().map(|untold| untold.what).collect()
    }

    #[test]
    fn what_may_not_be_read_is_untold_where_it_was_to_be_tested() {
        let inventory = Inventory {
            unread: vec![Unread::nodes(), Unread::services(Some("shop"), true, false)],
            ..Inventory::default()
        };
        let tcp = [Protocol::Tcp].into();
        let everything = Asked {
            sources: None,
            destinations: None,
            protocols: &tcp,
            nodes_speak: true,
        };
        let found = unread(&inventory, everything);
        let lines: Vec<_> = found
            .iter()
            .map(|untold| (untold.what.as_str(), untold.why.as_str()))
            .collect();
        assert_eq!(
            lines,
            [
                ("nodes", "you may not list nodes"),
                (
                    "Services in namespace shop",
                    "you may not list services in namespace shop"
                ),
            ]
        );
        assert!(
            found.iter().all(|untold| untold.hint.contains("rbac matrix")),
            "{found:?}"
        );

        let pods = Named {
            pods: ["web".to_owned()].into(),
            ..Named::default()
        };
        let nodes = Named {
            nodes: ["n1".to_owned()].into(),
            ..Named::default()
        };
        let dns = [Protocol::Dns].into();
        for (what, asked, expected) in [
            (
                "pods to pods",
                Asked {
                    sources: Some(&pods),
                    destinations: Some(&pods),
                    ..everything
                },
                &[][..],
            ),
            (
                "everything to pods",
                Asked {
                    destinations: Some(&pods),
                    ..everything
                },
                &["nodes"],
            ),
            (
                "everything to pods, where nodes do not speak",
                Asked {
                    destinations: Some(&pods),
                    nodes_speak: false,
                    ..everything
                },
                &[],
            ),
            (
                "pods to everything",
                Asked {
                    sources: Some(&pods),
                    ..everything
                },
                &["nodes", "Services in namespace shop"],
            ),
            (
                "a node to pods",
                Asked {
                    sources: Some(&nodes),
                    destinations: Some(&pods),
                    ..everything
                },
                &["nodes"],
            ),
            (
                "pods to cluster DNS only",
                Asked {
                    sources: Some(&pods),
                    protocols: &dns,
                    ..everything
                },
                &[],
            ),
        ] {
            assert_eq!(whats(&inventory, asked), expected, "{what}");
        }
    }

    #[test]
    fn a_limit_that_cuts_nothing_leaves_nothing_untold() {
        assert_eq!(over_limit("probes", "--max-probes", 10, 0), None);
        let cut = over_limit("probes", "--max-probes", 10, 3).unwrap();
        assert_eq!(
            cut.why,
            "--full means 13 probes here, 3 more than --max-probes 10 allows"
        );
        assert!(cut.hint.starts_with("--max-probes 13 or --yes"), "{}", cut.hint);
    }
}
