//! What `cni install`, `status` and `uninstall` need.

use super::{Grant, Place, Way, grant};

const RBAC: &str = "rbac.authorization.k8s.io";
const LEASES: &str = "coordination.k8s.io";

/// A row for any way in: none of these verbs has an agent.
const fn need(
    place: Place,
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    why: &'static str,
) -> Grant {
    grant(place, Way::Both, group, resource, verbs, true, why)
}

/// A row without which less is known.
pub(super) const fn want(
    place: Place,
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    why: &'static str,
) -> Grant {
    grant(place, Way::Both, group, resource, verbs, false, why)
}

/// What server-side apply asks for.
const APPLY: &[&str] = &["get", "create", "patch"];

pub(super) const INSTALL: [Grant; 18] = [
    need(
        Place::Cluster,
        "",
        "nodes",
        &["list"],
        "pod ranges, and marks of other networks",
    ),
    need(
        Place::Cluster,
        "",
        "pods",
        &["list"],
        "pods that another network serves, and the control plane's flags",
    ),
    need(Place::Cluster, "apps", "daemonsets", &["list"], "other networks"),
    want(
        Place::Cluster,
        "networking.k8s.io",
        "networkpolicies",
        &["list"],
        "to say how many have no effect",
    ),
    want(
        Place::System,
        "",
        "configmaps",
        &["get"],
        "kubeadm-config tells pod ranges",
    ),
    need(Place::CniItself, "", "namespaces", APPLY, "its namespace"),
    need(
        Place::CniItself,
        RBAC,
        "clusterroles",
        APPLY,
        "the daemon's rights, here and below",
    ),
    need(Place::CniItself, RBAC, "clusterrolebindings", APPLY, ""),
    need(Place::CniItself, RBAC, "roles", APPLY, ""),
    need(Place::CniItself, RBAC, "rolebindings", APPLY, ""),
    need(
        Place::Cluster,
        "",
        "nodes",
        &["get", "watch", "patch"],
        "nobody may grant the daemon what he may not do himself, here and below",
    ),
    need(Place::Cluster, "", "nodes/status", &["patch"], ""),
    need(Place::Cluster, "", "pods", &["watch"], ""),
    need(Place::Cluster, "", "events", &["create"], ""),
    need(
        Place::Cni,
        "",
        "configmaps",
        &["get", "list", "watch", "create", "patch"],
        "the configuration",
    ),
    need(Place::Cni, "", "serviceaccounts", APPLY, "the daemon's account"),
    need(Place::Cni, "apps", "daemonsets", APPLY, "the daemon"),
    need(
        Place::Cni,
        LEASES,
        "leases",
        &["create", "get", "delete"],
        "one change at a time",
    ),
];

pub(super) const STATUS: [Grant; 4] = [
    need(Place::Cluster, "", "nodes", &["list"], "what each node says of itself"),
    need(Place::Cni, "", "pods", &["list"], "the daemon's pods"),
    need(Place::Cni, "apps", "daemonsets", &["get"], "whether it is installed"),
    need(
        Place::Cni,
        "",
        "configmaps",
        &["get"],
        "the configuration that nodes must have applied",
    ),
];

pub(super) const UNINSTALL: [Grant; 13] = [
    need(
        Place::Cluster,
        "",
        "nodes",
        &["list", "get", "patch"],
        "marks of the daemon; with --evict, the cordon",
    ),
    need(
        Place::Cluster,
        "",
        "nodes/status",
        &["patch"],
        "to remove its conditions",
    ),
    need(Place::Cluster, "", "pods", &["list"], "pods that live in the network"),
    want(Place::Cluster, "", "pods/eviction", &["create"], "with --evict"),
    need(
        Place::CniItself,
        "",
        "namespaces",
        &["get", "create", "patch", "delete"],
        "its namespace, with all that is in it",
    ),
    need(
        Place::CniItself,
        RBAC,
        "clusterroles",
        &["delete"],
        "the daemon's rights, here and below",
    ),
    need(Place::CniItself, RBAC, "clusterrolebindings", &["delete"], ""),
    need(Place::CniItself, RBAC, "roles", &["delete"], ""),
    need(Place::CniItself, RBAC, "rolebindings", &["delete"], ""),
    need(Place::Cni, "apps", "daemonsets", &["get", "delete"], "the daemon"),
    need(
        Place::Cni,
        "batch",
        "jobs",
        &["create", "list", "deletecollection"],
        "one on each node undoes what the daemon did",
    ),
    need(Place::Cni, "", "pods", &["list", "delete"], "those whose node died"),
    need(
        Place::Cni,
        LEASES,
        "leases",
        &["create", "get", "delete"],
        "one change at a time",
    ),
];

#[cfg(test)]
mod tests {
    use crate::{
        agents::permissions::{Verb, grants},
        output::Explained,
        verbs::cni,
    };

    /// The API server refuses a role to whoever holds less than it says (RBAC's escalation check).
    #[test]
    fn who_installs_holds_all_that_the_daemon_is_granted() {
        let held = grants(Verb::CniInstall, &[]);
        let mut asked = 0;
        for Explained { object, .. } in cni::daemon_roles() {
            for rule in object["rules"].as_array().into_iter().flatten() {
                let words = |key: &str| -> Vec<String> {
                    rule[key]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|word| word.as_str().unwrap().to_owned())
                        .collect()
                };
                for (group, resource) in words("apiGroups").iter().flat_map(|group| {
                    words("resources")
                        .into_iter()
                        .map(move |resource| (group.clone(), resource))
                }) {
                    for verb in words("verbs") {
                        asked += 1;
                        let is_held = held.iter().any(|grant| {
                            grant.group == group && grant.resource == resource && grant.verbs.contains(&verb.as_str())
                        });
                        assert!(is_held, "{verb} {resource}");
                    }
                }
            }
        }
        assert!(asked > 8, "{asked}");
    }
}
