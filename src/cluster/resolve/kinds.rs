//! Kinds that lead to pods, with all the names kubectl knows them by.

use kube::core::{ApiResource, GroupVersionKind};

/// A kind netcheck knows without asking the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Pod,
    Node,
    Service,
    Namespace,
    CronJob,
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    ReplicationController,
    Job,
}

/// Kind, API group, version, kind in the API, plural, singular, short name.
type Row = (
    Kind,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const TABLE: &[Row] = &[
    (Kind::Pod, "", "v1", "Pod", "pods", "pod", "po"),
    (Kind::Node, "", "v1", "Node", "nodes", "node", "no"),
    (Kind::Service, "", "v1", "Service", "services", "service", "svc"),
    (Kind::Namespace, "", "v1", "Namespace", "namespaces", "namespace", "ns"),
    (Kind::CronJob, "batch", "v1", "CronJob", "cronjobs", "cronjob", "cj"),
    (
        Kind::Deployment,
        "apps",
        "v1",
        "Deployment",
        "deployments",
        "deployment",
        "deploy",
    ),
    (
        Kind::StatefulSet,
        "apps",
        "v1",
        "StatefulSet",
        "statefulsets",
        "statefulset",
        "sts",
    ),
    (
        Kind::DaemonSet,
        "apps",
        "v1",
        "DaemonSet",
        "daemonsets",
        "daemonset",
        "ds",
    ),
    (
        Kind::ReplicaSet,
        "apps",
        "v1",
        "ReplicaSet",
        "replicasets",
        "replicaset",
        "rs",
    ),
    (
        Kind::ReplicationController,
        "",
        "v1",
        "ReplicationController",
        "replicationcontrollers",
        "replicationcontroller",
        "rc",
    ),
    (Kind::Job, "batch", "v1", "Job", "jobs", "job", "job"),
];

impl Kind {
    /// The kind of this name, in any spelling, if the group fits as well (`deployments.apps`).
    pub(super) fn find(name: &str, group: Option<&str>) -> Option<Self> {
        let name = name.to_lowercase();
        TABLE
            .iter()
            .filter(|row| group.is_none_or(|group| group.eq_ignore_ascii_case(row.1)))
            .find(|row| [row.4, row.5, row.6].contains(&name.as_str()))
            .map(|row| row.0)
    }

    fn row(self) -> &'static Row {
        // Every kind has a row; a test holds it.
        TABLE.iter().find(|row| row.0 == self).unwrap_or(&TABLE[0])
    }

    /// `pod`, `deployment` …
    pub(super) fn word(self) -> &'static str {
        self.row().5
    }

    /// Whether its objects live in namespaces.
    pub(super) fn is_namespaced(self) -> bool {
        !matches!(self, Self::Node | Self::Namespace)
    }

    /// What to ask the API server for.
    pub(super) fn resource(self) -> ApiResource {
        let (_, group, version, kind, plural, ..) = *self.row();
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// Names of all kinds, for suggestions.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().flat_map(|row| [row.4, row.5, row.6])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::permissions::{Place, Verb, grants};

    #[test]
    fn names_are_those_of_kubectl() {
        for (name, group, kind) in [
            ("po", None, Some(Kind::Pod)),
            ("Pods", None, Some(Kind::Pod)),
            ("deploy", None, Some(Kind::Deployment)),
            ("deployments", Some("apps"), Some(Kind::Deployment)),
            ("deployments", Some("extensions"), None),
            ("svc", None, Some(Kind::Service)),
            ("services", Some("serving.knative.dev"), None),
            ("web", None, None),
        ] {
            assert_eq!(Kind::find(name, group), kind, "{name}");
        }
    }

    #[test]
    fn what_the_resolver_asks_of_every_kind_is_in_the_printed_role() {
        let grants = grants(Verb::Matrix, &[]);
        for row in TABLE {
            // Pods, nodes, Services and CronJobs' pods of a name are found in the inventory, which lists them anyway.
            let verbs: &[&str] = match row.0 {
                Kind::Pod | Kind::Node | Kind::Service | Kind::CronJob => &["list"],
                // By label they would be asked of the whole cluster, which is more than a role for one namespace is to open.
                Kind::Namespace => &[],
                _ => &["get", "list"],
            };
            let place = if row.0.is_namespaced() {
                Place::Targets
            } else {
                Place::Cluster
            };
            for verb in verbs {
                assert!(
                    grants.iter().any(|grant| {
                        (grant.place, grant.group, grant.resource) == (place, row.1, row.4)
                            && grant.verbs.contains(verb)
                    }),
                    "{verb} {}",
                    row.4
                );
            }
        }
    }

    #[test]
    fn every_kind_has_a_row_and_no_name_means_two() {
        for row in TABLE {
            assert_eq!(row.0.row(), row);
            for name in [row.4, row.5, row.6] {
                assert_eq!(Kind::find(name, None), Some(row.0));
            }
        }
    }
}
