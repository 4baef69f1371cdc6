//! What a verb needs to be allowed, as one table: `rbac` prints it, `--via auto` asks the server about it, hints name it. Pure.

mod cni;
mod debug;
mod doctor;
mod run;

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
    /// In the bundled CNI's namespace.
    Cni,
    /// For objects that are named as the bundled CNI is, wherever they are.
    CniItself,
    /// In kube-system.
    System,
}

/// Objects that a rule is narrowed to, by their name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    /// The agents' namespace itself.
    AgentNamespace,
    /// What is named as the bundled CNI is.
    Cni,
}

impl Place {
    /// What a rule for this place is narrowed to.
    fn only(self) -> Option<Only> {
        match self {
            Self::AgentNamespaceItself => Some(Only::AgentNamespace),
            Self::CniItself => Some(Only::Cni),
            _ => None,
        }
    }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Verb {
    /// Who can reach whom
    Matrix,
    /// Packets of pods and nodes
    Capture,
    /// What nodes hold against what they must
    Verify,
    /// A shell in a pod or on a node
    Debug,
    /// A throw-away pod with a shell
    Run,
    /// What is where, and who may do what
    Doctor,
    /// Remove all that any run left
    Cleanup,
    /// Install the bundled pod network
    CniInstall,
    /// How the bundled pod network stands
    CniStatus,
    /// Remove the bundled pod network
    CniUninstall,
}

impl Verb {
    /// The verb as typed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Matrix => "matrix",
            Self::Capture => "capture",
            Self::Verify => "verify",
            Self::Debug => "debug",
            Self::Run => "run",
            Self::Doctor => "doctor",
            Self::Cleanup => "cleanup",
            Self::CniInstall => "cni-install",
            Self::CniStatus => "cni-status",
            Self::CniUninstall => "cni-uninstall",
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

const MATRIX: [Grant; 23] = [
    grant(
        Place::Targets,
        Way::Both,
        "",
        "pods",
        &["list"],
        true,
        "which pods there are",
    ),
    grant(
        Place::Targets,
        Way::Both,
        "",
        "services",
        &["list"],
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
    grant(Place::Targets, Way::Both, "batch", "cronjobs", &["list"], false, ""),
    grant(
        Place::Targets,
        Way::Both,
        "",
        "replicationcontrollers",
        &["get", "list"],
        false,
        "",
    ),
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
        &["list"],
        false,
        "addresses and conditions of nodes",
    ),
    grant(
        Place::Targets,
        Way::Ephemeral,
        "",
        "pods",
        &["get", "watch"],
        true,
        "to see what the pod holds already, and the agent's container start",
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

/// What a capture wants besides: without it, pods are listed again and again instead.
const CAPTURE: [Grant; 1] = [grant(
    Place::Targets,
    Way::Both,
    "",
    "pods",
    &["watch"],
    false,
    "to note when a captured pod goes; with --follow and --wait, when one comes",
)];

/// What a verifier reads; for its agents it needs what a matrix needs for those on nodes.
const VERIFY: [Grant; 12] = [
    grant(
        Place::Cluster,
        Way::Both,
        "",
        "nodes",
        &["list"],
        true,
        "what every node must hold follows from all Nodes",
    ),
    grant(
        Place::Cluster,
        Way::Both,
        "",
        "pods",
        &["list"],
        true,
        "and from the pods on it",
    ),
    grant(
        Place::Cluster,
        Way::Both,
        "",
        "services",
        &["list"],
        false,
        "what a node must do with packets to Services",
    ),
    grant(
        Place::Cluster,
        Way::Both,
        "discovery.k8s.io",
        "endpointslices",
        &["list"],
        false,
        "and where they must go",
    ),
    grant(
        Place::Cluster,
        Way::Both,
        "networking.k8s.io",
        "networkpolicies",
        &["list"],
        false,
        "with --observe, not to take for lost what a policy forbids",
    ),
    grant(
        Place::Cni,
        Way::Both,
        "",
        "configmaps",
        &["get"],
        false,
        "the configuration of the bundled pod network",
    ),
    grant(
        Place::System,
        Way::Both,
        "",
        "configmaps",
        &["get"],
        false,
        "the configuration of flannel or Cilium",
    ),
    grant(
        Place::Cluster,
        Way::Both,
        "crd.projectcalico.org",
        "ippools",
        &["list"],
        false,
        "where Calico is: its pools, which node has which block, and its settings",
    ),
    grant(
        Place::Cluster,
        Way::Both,
        "crd.projectcalico.org",
        "blockaffinities",
        &["list"],
        false,
        "",
    ),
    grant(
        Place::Cluster,
        Way::Both,
        "crd.projectcalico.org",
        "felixconfigurations",
        &["list"],
        false,
        "",
    ),
    grant(
        Place::Cluster,
        Way::Both,
        "cilium.io",
        "ciliumnodes",
        &["list"],
        false,
        "where Cilium is: which node has which ranges",
    ),
    grant(
        Place::Cni,
        Way::Both,
        "",
        "pods/exec",
        &["get", "create"],
        false,
        "with --fix: to ask the bundled network's daemons to put right what was found",
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
    if verb == Verb::Run {
        return run::grants(&grants(Verb::Debug, &[Way::Node]));
    }
    let (table, more): (&[Grant], &[Grant]) = match verb {
        Verb::Matrix => (&MATRIX, &[]),
        Verb::Capture => (&MATRIX, &CAPTURE),
        Verb::Verify | Verb::Doctor => (&VERIFY, &MATRIX),
        Verb::Debug => (&debug::DEBUG, &MATRIX),
        Verb::Run => (&[], &[]),
        Verb::Cleanup => (&CLEANUP, &[]),
        Verb::CniInstall => (&cni::INSTALL, &[]),
        Verb::CniStatus => (&cni::STATUS, &[]),
        Verb::CniUninstall => (&cni::UNINSTALL, &[]),
    };
    table
        .iter()
        .chain(more.iter().filter(|grant| verb != Verb::Debug || debug::shares(grant)))
        // Only the matrix asks the cluster's DNS anything.
        .filter(|grant| grant.place != Place::Dns || verb == Verb::Matrix)
        // A verifier's agents are on nodes, and it asks the whole cluster at once.
        .filter(|grant| {
            !matches!(verb, Verb::Verify | Verb::Doctor)
                || (grant.place != Place::Targets && grant.way != Way::Ephemeral)
        })
        .filter(|grant| verb != Verb::Doctor || !doctor::SPARED.contains(&(grant.place, grant.resource)))
        .chain((verb == Verb::Doctor).then_some(&doctor::OWN).into_iter().flatten())
        .filter(|grant| grant.way == Way::Both || ways.contains(&grant.way))
        .copied()
        .collect()
}

/// All that is to be allowed on one resource in one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resource, with its subresource: `pods/exec`.
    pub resource: &'static str,
    /// Only on these objects.
    pub only: Option<Only>,
    /// Verbs, each once.
    pub verbs: Vec<&'static str>,
    /// Something that is wanted cannot do its work without it.
    pub required: bool,
    /// What it is for, each once.
    pub why: Vec<&'static str>,
}

/// Unites what is needed of each resource, in the order in which resources come first. Grants that are to share a role only: their places
/// are not looked at, but that a rule for one named object is kept apart.
pub fn united(grants: impl IntoIterator<Item = Grant>) -> Vec<Need> {
    fn add(known: &mut Vec<&'static str>, word: &'static str) {
        if !word.is_empty() && !known.contains(&word) {
            known.push(word);
        }
    }
    let mut needs: Vec<Need> = Vec::new();
    for grant in grants {
        let only = grant.place.only();
        let key = (grant.group, grant.resource, only);
        let known = needs
            .iter()
            .position(|need| (need.group, need.resource, need.only) == key);
        let at = known.unwrap_or_else(|| {
            needs.push(Need {
                group: grant.group,
                resource: grant.resource,
                only,
                verbs: Vec::new(),
                required: false,
                why: Vec::new(),
            });
            needs.len() - 1
        });
        let need = &mut needs[at];
        grant.verbs.iter().for_each(|verb| add(&mut need.verbs, verb));
        need.required |= grant.required;
        add(&mut need.why, grant.why);
    }
    needs
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
pub fn words(group: &str, resource: &str, verbs: &[&str]) -> String {
    let verbs = verbs.join(",");
    match (group, resource.split_once('/')) {
        ("", _) => format!("{verbs} {resource}"),
        (group, Some((resource, subresource))) => format!("{verbs} {resource}.{group}/{subresource}"),
        (group, None) => format!("{verbs} {resource}.{group}"),
    }
}

/// Each missing verb, resource by resource: `create,list jobs.batch; watch pods`.
pub fn sentence(missing: &[(Grant, &'static str)]) -> String {
    let parts = missing.chunk_by(|(one, _), (other, _)| one == other).map(|chunk| {
        let verbs: Vec<_> = chunk.iter().map(|(_, verb)| *verb).collect();
        words(chunk[0].0.group, chunk[0].0.resource, &verbs)
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
    fn what_several_verbs_need_of_a_resource_is_one_need() {
        let both = grants(Verb::Cleanup, &[])
            .into_iter()
            .chain(grants(Verb::Matrix, &[Way::Node]));
        let needs = united(both.filter(|grant| grant.place == Place::Agents));
        let jobs: Vec<_> = needs.iter().filter(|need| need.resource == "jobs").collect();
        assert_eq!(jobs.len(), 1, "{needs:?}");
        assert_eq!(jobs[0].verbs, ["list", "deletecollection", "create"]);
        assert_eq!(
            jobs[0].why,
            ["agents of earlier runs", "one agent per node; removed at the end"]
        );
        assert!(jobs[0].required);
        let optional = grant(Place::Cluster, Way::Both, "", "pods", &["list"], false, "");
        let required = Grant {
            required: true,
            ..optional
        };
        assert!(!united([optional])[0].required);
        assert!(
            united([optional, required])[0].required,
            "one that requires it is enough"
        );
    }

    #[test]
    fn a_need_of_one_namespace_is_not_one_of_all() {
        let cluster_wide = |grant: &Grant| matches!(grant.place, Place::Cluster | Place::AgentNamespaceItself);
        let needs = united(grants(Verb::Cleanup, &[]).into_iter().filter(cluster_wide));
        let namespaces = needs.iter().filter(|need| need.resource == "namespaces");
        let verbs: Vec<_> = namespaces.map(|need| (need.only, need.verbs.clone())).collect();
        assert_eq!(
            verbs,
            [
                (None, vec!["list"]),
                (Some(Only::AgentNamespace), vec!["get", "delete"])
            ]
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
        for verb in [
            Verb::Matrix,
            Verb::Capture,
            Verb::Verify,
            Verb::Debug,
            Verb::Doctor,
            Verb::Cleanup,
        ] {
            for grant in grants(verb, &[Way::Node, Way::Ephemeral]) {
                assert_ne!(grant.resource, "secrets");
                assert!(!grant.verbs.contains(&"*"));
                let writes = grant.verbs.iter().any(|verb| !["get", "list", "watch"].contains(verb));
                let ours = matches!(grant.place, Place::Agents | Place::AgentNamespaceItself)
                    || ["pods/ephemeralcontainers", "pods/exec", "pods/attach"].contains(&grant.resource);
                assert!(!writes || ours, "{grant:?}");
            }
        }
    }
}
