//! What a verb needs to be allowed, as one table: `rbac` prints it, `--via auto` asks the server about it, hints name it. Pure.

use k8s_openapi::api::authorization::v1::ResourceRule;

/// Where a permission is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In every namespace that is looked at.
    Targets,
    /// In the agents' namespace.
    Agents,
    /// In the namespace of the cluster's DNS.
    Dns,
    /// For the whole cluster.
    Cluster,
    /// For one object of the whole cluster: the agents' namespace.
    AgentNamespaceItself,
}

/// For which way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Whatever the way.
    Both,
    /// Node agents.
    Node,
    /// Ephemeral containers.
    Ephemeral,
}

/// A verb of the plugin that works on a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Verb {
    /// Who can reach whom
    Matrix,
    /// Remove all that any run left
    Cleanup,
}

impl Verb {
    /// The verb as typed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Matrix => "matrix",
            Self::Cleanup => "cleanup",
        }
    }
}

/// One permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resource, with its subresource: `pods/exec`.
    pub resource: &'static str,
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// Where.
    pub place: Place,
    /// For which way in.
    pub way: Way,
    /// Without it the verb cannot do its work this way; otherwise it says less, or warns.
    pub required: bool,
    /// What it is for, for the comment in the printed role.
    pub why: &'static str,
}

/// A row of the table, short enough to read.
const fn grant(
    place: Place,
    way: Way,
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    required: bool,
    why: &'static str,
) -> Grant {
    Grant {
        group,
        resource,
        verbs,
        place,
        way,
        required,
        why,
    }
}

const MATRIX: [Grant; 21] = [
    grant(
        Place::Targets,
        Way::Both,
        "",
        "pods",
        &["get", "list"],
        true,
        "which pods there are",
    ),
    grant(
        Place::Targets,
        Way::Both,
        "",
        "services",
        &["get", "list"],
        false,
        "which Services there are",
    ),
    grant(
        Place::Targets,
        Way::Both,
        "discovery.k8s.io",
        "endpointslices",
        &["list"],
        false,
        "what is behind a Service",
    ),
    grant(
        Place::Targets,
        Way::Both,
        "apps",
        "deployments",
        &["get", "list"],
        false,
        "targets named TYPE/NAME, here and below",
    ),
    grant(
        Place::Targets,
        Way::Both,
        "apps",
        "statefulsets",
        &["get", "list"],
        false,
        "",
    ),
    grant(
        Place::Targets,
        Way::Both,
        "apps",
        "daemonsets",
        &["get", "list"],
        false,
        "",
    ),
    grant(
        Place::Targets,
        Way::Both,
        "apps",
        "replicasets",
        &["get", "list"],
        false,
        "",
    ),
    grant(Place::Targets, Way::Both, "batch", "jobs", &["get", "list"], false, ""),
    grant(
        Place::Dns,
        Way::Both,
        "",
        "pods",
        &["list"],
        false,
        "the cluster's DNS: its pods",
    ),
    grant(
        Place::Dns,
        Way::Both,
        "",
        "services",
        &["list"],
        false,
        "and its Service",
    ),
    grant(
        Place::Dns,
        Way::Both,
        "discovery.k8s.io",
        "endpointslices",
        &["list"],
        false,
        "",
    ),
    grant(
        Place::Cluster,
        Way::Both,
        "",
        "nodes",
        &["get", "list"],
        false,
        "addresses and conditions of nodes",
    ),
    grant(
        Place::Targets,
        Way::Ephemeral,
        "",
        "pods",
        &["watch"],
        true,
        "to see the agent's container start",
    ),
    grant(
        Place::Targets,
        Way::Ephemeral,
        "",
        "pods/ephemeralcontainers",
        &["patch"],
        true,
        "one agent per pod and run",
    ),
    grant(
        Place::Targets,
        Way::Ephemeral,
        "",
        "pods/exec",
        &["get", "create"],
        true,
        "the stream to the agent; a WebSocket is authorised as get, by newer servers as create too",
    ),
    grant(
        Place::Agents,
        Way::Node,
        "batch",
        "jobs",
        &["create", "list", "deletecollection"],
        true,
        "one agent per node; removed at the end",
    ),
    grant(
        Place::Agents,
        Way::Node,
        "",
        "pods",
        &["create", "list", "watch", "delete"],
        true,
        "create only as a dry run, to ask admission; delete for agents that no kubelet took up, or whose node died",
    ),
    grant(
        Place::Agents,
        Way::Node,
        "",
        "pods/exec",
        &["get", "create"],
        true,
        "the stream to the agent; a WebSocket is authorised as get, by newer servers as create too",
    ),
    grant(
        Place::Agents,
        Way::Node,
        "coordination.k8s.io",
        "leases",
        &["create", "list", "patch", "delete"],
        true,
        "one Lease per run says when it expires",
    ),
    grant(
        Place::Agents,
        Way::Node,
        "",
        "events",
        &["list"],
        false,
        "why a Job could not create its pod",
    ),
    grant(
        Place::AgentNamespaceItself,
        Way::Node,
        "",
        "namespaces",
        &["get"],
        false,
        "to see that it is there",
    ),
];

const CLEANUP: [Grant; 8] = [
    grant(
        Place::Cluster,
        Way::Both,
        "",
        "pods",
        &["list"],
        false,
        "to list ephemeral containers, which nobody can remove, and agents whose Job is gone",
    ),
    grant(
        Place::Cluster,
        Way::Both,
        "batch",
        "jobs",
        &["list"],
        false,
        "to find runs with another agents' namespace, here and below",
    ),
    grant(
        Place::Cluster,
        Way::Both,
        "coordination.k8s.io",
        "leases",
        &["list"],
        false,
        "",
    ),
    grant(
        Place::Agents,
        Way::Both,
        "batch",
        "jobs",
        &["list", "deletecollection"],
        true,
        "agents of earlier runs",
    ),
    grant(
        Place::Agents,
        Way::Both,
        "coordination.k8s.io",
        "leases",
        &["list", "delete"],
        true,
        "Leases of earlier runs",
    ),
    grant(
        Place::Agents,
        Way::Both,
        "",
        "pods",
        &["list", "delete"],
        true,
        "agents that no kubelet took up, or whose node died",
    ),
    grant(
        Place::Cluster,
        Way::Both,
        "",
        "namespaces",
        &["list"],
        false,
        "namespaces that runs created",
    ),
    grant(
        Place::AgentNamespaceItself,
        Way::Both,
        "",
        "namespaces",
        &["get", "delete"],
        false,
        "to remove it",
    ),
];

/// What a verb needs; `ways` narrows it to the ways in that shall be possible.
pub fn grants(verb: Verb, ways: &[Way]) -> Vec<Grant> {
    let table: &[Grant] = match verb {
        Verb::Matrix => &MATRIX,
        Verb::Cleanup => &CLEANUP,
    };
    table
        .iter()
        .filter(|grant| grant.way == Way::Both || ways.contains(&grant.way))
        .copied()
        .collect()
}

/// Whether the rules that hold in a namespace allow a verb on a resource, as RBAC reads them (rbac.authorization.k8s.io/v1).
pub fn allows(rules: &[ResourceRule], group: &str, resource: &str, verb: &str) -> bool {
    let has = |list: Option<&Vec<String>>, wanted: &str| {
        list.into_iter().flatten().any(|entry| entry == "*" || entry == wanted)
    };
    let any_subresource = resource
        .split_once('/')
        .map(|(_, subresource)| format!("*/{subresource}"));
    rules.iter().any(|rule| {
        // A rule for named objects says nothing about others.
        rule.resource_names.as_ref().is_none_or(Vec::is_empty)
            && (has(Some(&rule.verbs), verb))
            && has(rule.api_groups.as_ref(), group)
            && (has(rule.resources.as_ref(), resource)
                || any_subresource
                    .as_ref()
                    .is_some_and(|wildcard| has(rule.resources.as_ref(), wildcard)))
    })
}

/// What is required in the agents' namespace and not allowed by the rules there: `create jobs.batch`.
pub fn missing(rules: &[ResourceRule], grants: &[Grant], place: Place) -> Vec<(Grant, &'static str)> {
    let required = grants.iter().filter(|grant| grant.required && grant.place == place);
    required
        .flat_map(|grant| grant.verbs.iter().map(move |verb| (*grant, *verb)))
        .filter(|(grant, verb)| !allows(rules, grant.group, grant.resource, verb))
        .collect()
}

/// `create,list jobs.batch`, as kubectl writes it.
pub fn words(grant: &Grant, verbs: &str) -> String {
    match grant.group {
        "" => format!("{verbs} {}", grant.resource),
        group => match grant.resource.split_once('/') {
            Some((resource, subresource)) => format!("{verbs} {resource}.{group}/{subresource}"),
            None => format!("{verbs} {}.{group}", grant.resource),
        },
    }
}

/// Each missing verb, resource by resource: `create,list jobs.batch; watch pods`.
pub fn sentence(missing: &[(Grant, &'static str)]) -> String {
    let parts = missing.chunk_by(|(one, _), (other, _)| one == other).map(|chunk| {
        let verbs: Vec<_> = chunk.iter().map(|(_, verb)| *verb).collect();
        words(&chunk[0].0, &verbs.join(","))
    });
    parts.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> ResourceRule {
        let owned = |list: &[&str]| list.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>();
        ResourceRule {
            api_groups: Some(owned(groups)),
            resources: Some(owned(resources)),
            verbs: owned(verbs),
            resource_names: None,
        }
    }

    #[test]
    fn rules_are_read_as_rbac_reads_them() {
        let rules = [
            rule(&[""], &["pods", "*/exec"], &["get"]),
            rule(&["batch"], &["*"], &["*"]),
        ];
        for (group, resource, verb, expected) in [
            ("", "pods", "get", true),
            ("", "pods", "list", false),
            ("", "pods/exec", "get", true),
            ("", "pods/log", "get", false),
            ("apps", "pods", "get", false),
            ("batch", "jobs", "deletecollection", true),
            ("batch", "jobs/status", "patch", true),
        ] {
            assert_eq!(
                allows(&rules, group, resource, verb),
                expected,
                "{verb} {resource}.{group}"
            );
        }
    }

    #[test]
    fn a_rule_for_named_objects_allows_nothing_in_general() {
        let mut named = rule(&[""], &["pods"], &["get"]);
        named.resource_names = Some(vec!["web".to_owned()]);
        assert!(!allows(&[named], "", "pods", "get"));
    }

    #[test]
    fn each_missing_verb_is_named_and_optional_ones_are_not_missed() {
        let grants = grants(Verb::Matrix, &[Way::Node]);
        let rules = [
            rule(&["batch"], &["jobs"], &["create", "list"]),
            rule(&[""], &["pods", "pods/exec"], &["*"]),
            rule(&["coordination.k8s.io"], &["leases"], &["*"]),
        ];
        assert_eq!(
            sentence(&missing(&rules, &grants, Place::Agents)),
            "deletecollection jobs.batch"
        );
        assert_eq!(
            sentence(&missing(&rules[1..2], &grants, Place::Agents)),
            "create,list,deletecollection jobs.batch; create,list,patch,delete leases.coordination.k8s.io"
        );
    }

    #[test]
    fn exec_is_always_granted_both_verbs() {
        for way in [Way::Node, Way::Ephemeral] {
            let exec: Vec<_> = grants(Verb::Matrix, &[way])
                .into_iter()
                .filter(|grant| grant.resource == "pods/exec")
                .collect();
            assert!(exec.iter().any(|grant| grant.verbs == ["get", "create"]), "{way:?}");
        }
    }

    #[test]
    fn secrets_and_writes_outside_our_own_are_never_asked_for() {
        for verb in [Verb::Matrix, Verb::Cleanup] {
            for grant in grants(verb, &[Way::Node, Way::Ephemeral]) {
                assert_ne!(grant.resource, "secrets");
                assert!(!grant.verbs.contains(&"*"));
                let writes = grant.verbs.iter().any(|verb| !["get", "list", "watch"].contains(verb));
                let ours = matches!(grant.place, Place::Agents | Place::AgentNamespaceItself)
                    || ["pods/ephemeralcontainers", "pods/exec"].contains(&grant.resource);
                assert!(!writes || ours, "{grant:?}");
            }
        }
    }
}
