//! What `run` needs: what a session on a node needs in the agents' namespace, in the namespace of its pod.

use super::{Grant, Place, Way};

/// From what `debug` needs for nodes.
pub(super) fn grants(on_nodes: &[Grant]) -> Vec<Grant> {
    let there = on_nodes.iter().filter(|grant| grant.place == Place::Agents);
    let nodes = on_nodes.iter().filter(|grant| grant.place == Place::Cluster);
    let moved = there.map(|grant| Grant {
        place: Place::Targets,
        way: Way::Both,
        why: why(grant),
        ..*grant
    });
    let nodes = nodes.map(|grant| Grant {
        way: Way::Both,
        why: "with --node: whether it is there, and what it runs",
        ..*grant
    });
    moved
        .chain(nodes.filter(|grant| grant.verbs.contains(&"get")))
        .collect()
}

fn why(grant: &Grant) -> &'static str {
    match grant.resource {
        "jobs" => "the throw-away pod comes by a Job; removed at the end",
        "pods" => {
            "create only as a dry run, to ask admission; list and watch to see it start; delete if no kubelet took it up, or its node died"
        }
        "leases" => "says when it expires",
        _ => grant.why,
    }
}

#[cfg(test)]
mod tests {
    use crate::agents::permissions::{Place, Verb, Way, grants};

    #[test]
    fn all_is_in_the_namespace_of_the_pod_and_nothing_in_the_agents() {
        let grants = grants(Verb::Run, &[Way::Node, Way::Ephemeral]);
        assert!(grants.iter().all(|grant| grant.way == Way::Both));
        let required: Vec<_> = grants.iter().filter(|grant| grant.required).collect();
        assert!(
            required.iter().all(|grant| grant.place == Place::Targets),
            "{required:?}"
        );
        for resource in ["jobs", "pods", "pods/attach", "pods/exec", "leases"] {
            assert!(required.iter().any(|grant| grant.resource == resource), "{resource}");
        }
        assert!(
            grants
                .iter()
                .all(|grant| grant.resource != "namespaces" && grant.resource != "pods/ephemeralcontainers")
        );
    }
}
